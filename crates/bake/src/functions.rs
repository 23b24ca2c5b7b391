//! The functions that every bake file has: those of buildx that give the same on every machine and at any time
//! (buildx, `docs/bake-stdlib.md`), but for the ones of [`NOT_YET`].

mod format;
mod lists;
mod numbers;
mod texts;
mod time;

use carrack_diag::{Diagnostic, Result, Span};
use serde_json::{Map, Value};

use crate::codes;
use crate::value::{number, text, truth, wrong};

/// What a function is called with.
pub(crate) struct Arguments<'a> {
    pub(crate) name: &'a str,
    pub(crate) values: &'a [Value],
    /// Of each.
    pub(crate) spans: &'a [Span],
    /// Of the call.
    pub(crate) span: Span,
}

/// Those that [`call`] knows, for hints.
pub(crate) const NAMES: &str = "absolute add and base64decode base64encode basename can ceil chomp chunklist coalesce coalescelist compact \
    concat contains convert dirname distinct divide element equal flatten floor format formatdate formatlist greaterthan \
    greaterthanorequalto hasindex homedir indent index indexof int join jsondecode jsonencode keys length lessthan \
    lessthanorequalto lookup lower max merge min modulo multiply negate not notequal or parseint pow range replace \
    reverse reverselist sanitize sethaselement setintersection setproduct setsubtract setunion signum slice sort \
    split strlen substr subtract timestamp title trim trimprefix trimspace trimsuffix try upper urlencode values zipmap";

/// Functions of buildx that are not there.
pub(crate) const NOT_YET: &str = "bcrypt byteslen bytesslice cidrhost cidrnetmask cidrsubnet cidrsubnets csvdecode log md5 regex \
    regex_replace regexall rsadecrypt setsymmetricdifference sha1 sha256 sha512 timeadd unix_timestamp \
    unixtimestampparse uuidv4 uuidv5";

/// No text that a function makes of others is longer, in bytes, and no list.
const RESULT_MAX: usize = 1 << 22;

/// What a function of this name gives; none where there is none.
pub(crate) fn call(arguments: &Arguments<'_>) -> Option<Result<Value>> {
    texts::call(arguments)
        .or_else(|| time::call(arguments))
        .or_else(|| lists::call(arguments))
        .or_else(|| numbers::call(arguments))
        .or_else(|| logic(arguments))
}

fn logic(arguments: &Arguments<'_>) -> Option<Result<Value>> {
    let both = |with: fn(bool, bool) -> bool| {
        arguments.exactly(2)?;
        Ok(Value::Bool(with(arguments.truth(0)?, arguments.truth(1)?)))
    };
    let equal = || {
        arguments.exactly(2)?;
        Ok(is_equal(arguments.at(0)?, arguments.at(1)?))
    };
    Some(match arguments.name {
        "and" => both(|left, right| left && right),
        "or" => both(|left, right| left || right),
        "not" => arguments.exactly(1).and_then(|()| Ok(Value::Bool(!arguments.truth(0)?))),
        "equal" => equal().map(Value::Bool),
        "notequal" => equal().map(|is_equal| Value::Bool(!is_equal)),
        "coalesce" => match arguments.values.iter().find(|value| !value.is_null()) {
            Some(value) => Ok(value.clone()),
            None => Err(arguments.refuse("a value that is not null")),
        },
        "jsonencode" => arguments.exactly(1).and_then(|()| Ok(Value::String(encoded(arguments.at(0)?).to_string()))),
        "jsondecode" => arguments
            .exactly(1)
            .and_then(|()| serde_json::from_str(&arguments.text(0)?).map_err(|_| wrong(arguments.place(0), "JSON"))),
        _ => return None,
    })
}

/// Numbers are equal by what they count.
pub(crate) fn is_equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => left.as_f64() == right.as_f64(),
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| is_equal(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            let has = |(key, value): (&String, &Value)| right.get(key).is_some_and(|other| is_equal(value, other));
            left.len() == right.len() && left.iter().all(has)
        }
        (left, right) => left == right,
    }
}

/// With the keys in their order.
fn encoded(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(encoded).collect(),
        Value::Object(fields) => {
            let sorted = crate::value::sorted(fields).into_iter();
            Value::Object(sorted.map(|(key, value)| (key.clone(), encoded(value))).collect())
        }
        other => other.clone(),
    }
}

pub(crate) fn count(count: usize) -> String {
    match count {
        0 => "no values".to_owned(),
        1 => "one value".to_owned(),
        count => format!("{count} values"),
    }
}

impl Arguments<'_> {
    fn refuse(&self, form: &str) -> Box<Diagnostic> {
        Diagnostic::error(&codes::INVALID_EXPRESSION, format!("`{}` takes {form}", self.name))
            .at(self.span, "called here")
            .hint("look at what it is given")
            .boxed()
    }

    fn exactly(&self, wanted: usize) -> Result<()> {
        if self.values.len() == wanted { Ok(()) } else { Err(self.refuse(&count(wanted))) }
    }

    fn between(&self, least: usize, most: usize) -> Result<()> {
        let is_right = (least..=most).contains(&self.values.len());
        if is_right { Ok(()) } else { Err(self.refuse(&format!("{least} to {most} values"))) }
    }

    fn at(&self, index: usize) -> Result<&Value> {
        self.values.get(index).ok_or_else(|| self.refuse("more values"))
    }

    fn place(&self, index: usize) -> Span {
        self.spans.get(index).copied().unwrap_or(self.span)
    }

    fn text(&self, index: usize) -> Result<String> {
        match self.at(index)? {
            Value::Null => Err(wrong(self.place(index), "a text")),
            value => text(value, self.place(index)),
        }
    }

    fn number(&self, index: usize) -> Result<f64> {
        number(self.at(index)?, self.place(index))
    }

    fn whole(&self, index: usize) -> Result<i64> {
        let value = self.number(index)?;
        let is_whole = value.fract() == 0.0 && value.abs() < 1e15;
        if is_whole { Ok(value as i64) } else { Err(wrong(self.place(index), "a whole number")) }
    }

    fn truth(&self, index: usize) -> Result<bool> {
        truth(self.at(index)?, self.place(index))
    }

    fn list(&self, index: usize) -> Result<&[Value]> {
        self.at(index)?.as_array().map(Vec::as_slice).ok_or_else(|| wrong(self.place(index), "a list"))
    }

    fn map(&self, index: usize) -> Result<&Map<String, Value>> {
        self.at(index)?.as_object().ok_or_else(|| wrong(self.place(index), "a map"))
    }

    /// Refuses what would become longer than anything sensible, before it is made.
    fn bounded(&self, size: usize) -> Result<()> {
        if size <= RESULT_MAX {
            Ok(())
        } else {
            Err(self.refuse(&format!("less: it would make more than {RESULT_MAX}")))
        }
    }
}
