use carrack_diag::Result;
use serde_json::{Map, Value};

use super::{Arguments, is_equal};
use crate::types::set;
use crate::value::{calculated, sorted, wrong};

/// As in go-cty.
const RANGE_MAX: usize = 1024;

pub(super) fn call(arguments: &Arguments<'_>) -> Option<Result<Value>> {
    Some(match arguments.name {
        "length" => arguments.exactly(1).and_then(|()| match arguments.at(0)? {
            Value::Array(items) => Ok(items.len().into()),
            Value::Object(fields) => Ok(fields.len().into()),
            _ => Err(wrong(arguments.place(0), "a list or map")),
        }),
        "concat" => every(arguments).map(Value::Array),
        "contains" | "sethaselement" => pair(arguments).map(|(items, wanted)| Value::Bool(has(items, wanted))),
        "indexof" => pair(arguments).and_then(|(items, wanted)| {
            let place = items.iter().position(|item| is_equal(item, wanted));
            place.map(Value::from).ok_or_else(|| arguments.refuse("a value that is in the list"))
        }),
        "element" => pair(arguments).and_then(|(items, _)| {
            let place = usize::try_from(arguments.whole(1)?.rem_euclid(items.len().max(1) as i64)).unwrap_or(0);
            items.get(place).cloned().ok_or_else(|| arguments.refuse("a list that is not empty"))
        }),
        "index" => arguments.exactly(2).and_then(|()| {
            found(arguments)?.ok_or_else(|| arguments.refuse("a place that the list, or a key that the map has"))
        }),
        "hasindex" => arguments.exactly(2).and_then(|()| Ok(Value::Bool(found(arguments)?.is_some()))),
        "lookup" => arguments.between(2, 3).and_then(|()| {
            let value = arguments.map(0)?.get(&arguments.text(1)?).or(arguments.values.get(2));
            value.cloned().ok_or_else(|| arguments.refuse("a key that the map has, or a value for others"))
        }),
        "keys" => arguments.exactly(1).and_then(|()| {
            Ok(sorted(arguments.map(0)?).into_iter().map(|(key, _)| Value::String(key.clone())).collect())
        }),
        "values" => arguments
            .exactly(1)
            .and_then(|()| Ok(sorted(arguments.map(0)?).into_iter().map(|(_, value)| value.clone()).collect())),
        "merge" => merge(arguments),
        "zipmap" => zip(arguments),
        "flatten" => arguments.exactly(1).and_then(|()| Ok(Value::Array(flat(arguments.list(0)?)))),
        "distinct" => arguments.exactly(1).and_then(|()| Ok(Value::Array(distinct(arguments.list(0)?)))),
        "compact" => arguments.exactly(1).and_then(|()| {
            let is_empty = |value: &&Value| value.is_null() || value.as_str() == Some("");
            Ok(arguments.list(0)?.iter().filter(|value| !is_empty(value)).cloned().collect())
        }),
        "coalescelist" => {
            let mut lists =
                arguments.values.iter().filter(|value| value.as_array().is_some_and(|list| !list.is_empty()));
            lists.next().cloned().ok_or_else(|| arguments.refuse("a list that is not empty"))
        }
        "sort" => arguments.exactly(1).and_then(|()| {
            let texts = arguments.list(0)?.iter().map(|item| crate::value::text(item, arguments.place(0)));
            let mut texts = texts.collect::<Result<Vec<_>>>()?;
            texts.sort();
            Ok(texts.into_iter().map(Value::String).collect())
        }),
        "reverselist" => arguments.exactly(1).and_then(|()| Ok(arguments.list(0)?.iter().rev().cloned().collect())),
        "slice" => slice(arguments),
        "chunklist" => pair(arguments).and_then(|(items, _)| {
            let size = usize::try_from(arguments.whole(1)?).ok().filter(|size| *size > 0);
            let size = size.ok_or_else(|| wrong(arguments.place(1), "a size of 1 at least"))?;
            Ok(items.chunks(size).map(|chunk| Value::Array(chunk.to_vec())).collect())
        }),
        "range" => range(arguments),
        "setunion" => every(arguments).map(set),
        "setintersection" => sets(arguments, |first, others| others.iter().all(|other| has(other, first))),
        "setsubtract" => sets(arguments, |first, others| !others.iter().any(|other| has(other, first))),
        "setproduct" => product(arguments),
        _ => return None,
    })
}

fn has(items: &[Value], wanted: &Value) -> bool {
    items.iter().any(|item| is_equal(item, wanted))
}

fn pair<'a>(arguments: &'a Arguments<'_>) -> Result<(&'a [Value], &'a Value)> {
    arguments.exactly(2)?;
    Ok((arguments.list(0)?, arguments.at(1)?))
}

fn every(arguments: &Arguments<'_>) -> Result<Vec<Value>> {
    let lists = (0..arguments.values.len()).map(|index| arguments.list(index));
    Ok(lists.collect::<Result<Vec<_>>>()?.concat())
}

fn found(arguments: &Arguments<'_>) -> Result<Option<Value>> {
    Ok(match arguments.at(0)? {
        Value::Object(fields) => fields.get(&arguments.text(1)?).cloned(),
        _ => {
            let items = arguments.list(0)?;
            usize::try_from(arguments.whole(1)?).ok().and_then(|place| items.get(place)).cloned()
        }
    })
}

fn merge(arguments: &Arguments<'_>) -> Result<Value> {
    let mut merged = Map::new();
    for (index, value) in arguments.values.iter().enumerate().filter(|(_, value)| !value.is_null()) {
        let fields = value.as_object().ok_or_else(|| wrong(arguments.place(index), "a map"))?;
        merged.extend(fields.iter().map(|(key, value)| (key.clone(), value.clone())));
    }
    Ok(Value::Object(merged))
}

fn zip(arguments: &Arguments<'_>) -> Result<Value> {
    arguments.exactly(2)?;
    let (keys, values) = (arguments.list(0)?, arguments.list(1)?);
    if keys.len() != values.len() {
        return Err(arguments.refuse("two lists of one length"));
    }
    let field = |(key, value): (&Value, &Value)| Ok((crate::value::text(key, arguments.place(0))?, value.clone()));
    Ok(Value::Object(keys.iter().zip(values).map(field).collect::<Result<_>>()?))
}

fn flat(items: &[Value]) -> Vec<Value> {
    let one = |item: &Value| match item {
        Value::Array(inner) => flat(inner),
        other => vec![other.clone()],
    };
    items.iter().flat_map(one).collect()
}

fn distinct(items: &[Value]) -> Vec<Value> {
    let mut seen = std::collections::HashSet::new();
    items.iter().filter(|item| seen.insert(item.to_string())).cloned().collect()
}

fn slice(arguments: &Arguments<'_>) -> Result<Value> {
    arguments.exactly(3)?;
    let items = arguments.list(0)?;
    let place = |index: usize| arguments.whole(index).map(|place| usize::try_from(place).unwrap_or(usize::MAX));
    let (from, to) = (place(1)?, place(2)?);
    let part = items.get(from..to).ok_or_else(|| arguments.refuse("places that the list has"))?;
    Ok(Value::Array(part.to_vec()))
}

fn range(arguments: &Arguments<'_>) -> Result<Value> {
    arguments.between(1, 3)?;
    let numbers = (0..arguments.values.len()).map(|index| arguments.number(index)).collect::<Result<Vec<_>>>()?;
    let (start, end) = if numbers.len() == 1 { (0.0, numbers[0]) } else { (numbers[0], numbers[1]) };
    let step = numbers.get(2).copied().unwrap_or(if end < start { -1.0 } else { 1.0 });
    let is_within = |at: f64| if step > 0.0 { at < end } else { at > end };
    if step == 0.0 || !step.is_finite() || start != end && !is_within(start) {
        return Err(arguments.refuse("a step that leads from the beginning to the end"));
    }
    let (mut items, mut at) = (Vec::new(), start);
    while is_within(at) {
        if items.len() == RANGE_MAX {
            return Err(arguments.refuse(&format!("what comes to {RANGE_MAX} numbers at most")));
        }
        items.push(calculated(at));
        at += step;
    }
    Ok(Value::Array(items))
}

fn sets(arguments: &Arguments<'_>, keeps: fn(&Value, &[&[Value]]) -> bool) -> Result<Value> {
    let others = (1..arguments.values.len()).map(|index| arguments.list(index)).collect::<Result<Vec<_>>>()?;
    let first = arguments.list(0)?;
    let compared = others.iter().map(|other| other.len()).fold(0, usize::saturating_add).saturating_mul(first.len());
    arguments.bounded(compared)?;
    Ok(set(first.iter().filter(|item| keeps(item, &others)).cloned().collect()))
}

fn product(arguments: &Arguments<'_>) -> Result<Value> {
    let lists = (0..arguments.values.len().max(2)).map(|index| arguments.list(index)).collect::<Result<Vec<_>>>()?;
    let size: usize =
        lists.iter().map(|list| list.iter().map(crate::value::weight).sum::<usize>()).fold(1, usize::saturating_mul);
    arguments.bounded(size)?;
    let mut made = vec![Vec::new()];
    for list in lists {
        let longer = made.iter().flat_map(|begun: &Vec<Value>| {
            list.iter().map(move |item| begun.iter().chain([item]).cloned().collect::<Vec<Value>>())
        });
        made = longer.collect();
    }
    Ok(made.into_iter().map(Value::Array).collect())
}
