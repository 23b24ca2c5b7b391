use carrack_diag::Result;
use serde_json::Value;

use super::Arguments;
use crate::value::{calculated, number_of, wrong};

pub(super) fn call(arguments: &Arguments<'_>) -> Option<Result<Value>> {
    let one = |with: fn(f64) -> f64| {
        arguments.exactly(1)?;
        Ok(number_of(with(arguments.number(0)?)))
    };
    let two = |with: fn(f64, f64) -> f64| {
        arguments.exactly(2)?;
        Ok(calculated(with(arguments.number(0)?, arguments.number(1)?)))
    };
    let compare = |with: fn(&f64, &f64) -> bool| {
        arguments.exactly(2)?;
        Ok(Value::Bool(with(&arguments.number(0)?, &arguments.number(1)?)))
    };
    let divide = |with: fn(f64, f64) -> f64| match arguments.number(1) {
        Ok(0.0) => Err(wrong(arguments.place(1), "a number other than 0")),
        _ => two(with),
    };
    Some(match arguments.name {
        "absolute" => one(f64::abs),
        "negate" => one(|number| -number),
        "ceil" => one(f64::ceil),
        "floor" => one(f64::floor),
        "int" => one(f64::trunc),
        "signum" => one(|number| if number == 0.0 { 0.0 } else { number.signum() }),
        "add" => two(|left, right| left + right),
        "subtract" => two(|left, right| left - right),
        "multiply" => two(|left, right| left * right),
        "divide" => divide(|left, right| left / right),
        "modulo" => divide(|left, right| left % right),
        "pow" => two(f64::powf),
        "greaterthan" => compare(f64::gt),
        "greaterthanorequalto" => compare(f64::ge),
        "lessthan" => compare(f64::lt),
        "lessthanorequalto" => compare(f64::le),
        "max" => most(arguments, |best, other| other > best),
        "min" => most(arguments, |best, other| other < best),
        "parseint" => parse(arguments),
        _ => return None,
    })
}

fn most(arguments: &Arguments<'_>, is_better: fn(f64, f64) -> bool) -> Result<Value> {
    let mut best = arguments.number(0)?;
    for index in 1..arguments.values.len() {
        let other = arguments.number(index)?;
        best = if is_better(best, other) { other } else { best };
    }
    Ok(number_of(best))
}

fn parse(arguments: &Arguments<'_>) -> Result<Value> {
    arguments.exactly(2)?;
    let base = u32::try_from(arguments.whole(1)?).ok().filter(|base| (2..=36).contains(base));
    let base = base.ok_or_else(|| wrong(arguments.place(1), "a base from 2 to 36"))?;
    let parsed = i64::from_str_radix(&arguments.text(0)?, base);
    parsed.map(Value::from).map_err(|_| wrong(arguments.place(0), &format!("a whole number of base {base}")))
}
