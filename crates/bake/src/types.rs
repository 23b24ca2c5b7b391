//! Types of variables and of `convert`.

use carrack_diag::{Diagnostic, Result};
use hcl_edit::expr::{Expression, ObjectKey};
use serde_json::{Map, Value};

use crate::codes;
use crate::expression::Origin;
use crate::value::number_of;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Type {
    Any,
    Text,
    Number,
    Flag,
    List(Box<Type>),
    /// Each value once, in order.
    Set(Box<Type>),
    Map(Box<Type>),
    Tuple(Vec<Type>),
    Object(Vec<(String, Type)>),
}

impl Type {
    /// A type as it is written: `list(string)`.
    pub(crate) fn read(origin: Origin<'_>, expression: &Expression) -> Result<Self> {
        let wrong = || {
            Diagnostic::error(&codes::INVALID_EXPRESSION, "a type belongs here")
                .at(origin.of(expression), "no type")
                .hint("types are string, number, bool, any, list(…), set(…), map(…), tuple([…]), object({…})")
                .boxed()
        };
        match expression {
            Expression::Variable(name) => Ok(match name.as_str() {
                "string" => Self::Text,
                "number" => Self::Number,
                "bool" => Self::Flag,
                "any" => Self::Any,
                "list" => Self::List(Box::new(Self::Any)),
                "set" => Self::Set(Box::new(Self::Any)),
                "map" => Self::Map(Box::new(Self::Any)),
                _ => return Err(wrong()),
            }),
            Expression::FuncCall(call) => {
                let mut arguments = call.args.iter();
                let (Some(argument), None) = (arguments.next(), arguments.next()) else { return Err(wrong()) };
                Ok(match (call.name.name.as_str(), argument) {
                    ("list", of) => Self::List(Box::new(Self::read(origin, of)?)),
                    ("set", of) => Self::Set(Box::new(Self::read(origin, of)?)),
                    ("map", of) => Self::Map(Box::new(Self::read(origin, of)?)),
                    ("tuple", Expression::Array(items)) => {
                        Self::Tuple(items.iter().map(|item| Self::read(origin, item)).collect::<Result<_>>()?)
                    }
                    ("object", Expression::Object(fields)) => {
                        let field = |(key, value): (&ObjectKey, &hcl_edit::expr::ObjectValue)| match key {
                            ObjectKey::Ident(name) => Ok((name.to_string(), Self::read(origin, value.expr())?)),
                            ObjectKey::Expression(Expression::Variable(name)) => {
                                Ok((name.to_string(), Self::read(origin, value.expr())?))
                            }
                            ObjectKey::Expression(_) => Err(wrong()),
                        };
                        Self::Object(fields.iter().map(field).collect::<Result<_>>()?)
                    }
                    _ => return Err(wrong()),
                })
            }
            _ => Err(wrong()),
        }
    }

    /// The value as one of the type; none where it is none. Null is of every type.
    pub(crate) fn convert(&self, value: &Value) -> Option<Value> {
        Some(match (self, value) {
            (_, Value::Null) | (Self::Any, _) => value.clone(),
            (Self::Text, Value::String(_)) | (Self::Number, Value::Number(_)) | (Self::Flag, Value::Bool(_)) => {
                value.clone()
            }
            (Self::Text, Value::Bool(_) | Value::Number(_)) => Value::String(value.to_string()),
            (Self::Number, Value::String(text)) => {
                number_of(text.parse::<f64>().ok().filter(|number| number.is_finite())?)
            }
            (Self::Flag, Value::String(text)) => match text.to_ascii_lowercase().as_str() {
                "1" | "t" | "true" => Value::Bool(true),
                "0" | "f" | "false" => Value::Bool(false),
                _ => return None,
            },
            (Self::List(of), Value::Array(items)) => {
                Value::Array(items.iter().map(|item| of.convert(item)).collect::<Option<_>>()?)
            }
            (Self::Set(of), Value::Array(items)) => {
                set(items.iter().map(|item| of.convert(item)).collect::<Option<_>>()?)
            }
            (Self::Map(of), Value::Object(fields)) => {
                let fields = fields.iter().map(|(key, value)| Some((key.clone(), of.convert(value)?)));
                Value::Object(fields.collect::<Option<_>>()?)
            }
            (Self::Tuple(of), Value::Array(items)) if of.len() == items.len() => {
                Value::Array(of.iter().zip(items).map(|(of, item)| of.convert(item)).collect::<Option<_>>()?)
            }
            // What else the value has is no part of the type.
            (Self::Object(of), Value::Object(fields)) => {
                let field = |(key, of): &(String, Self)| Some((key.clone(), of.convert(fields.get(key)?)?));
                Value::Object(of.iter().map(field).collect::<Option<Map<_, _>>>()?)
            }
            _ => return None,
        })
    }

    /// A text of the environment as a value of the type; none where it is none. Lists are written as CSV.
    pub(crate) fn of_text(&self, text: &str) -> Option<Value> {
        match self {
            Self::List(_) | Self::Set(_) if text.is_empty() => Some(Value::Array(Vec::new())),
            Self::List(_) | Self::Set(_) => {
                self.convert(&Value::Array(csv(text)?.into_iter().map(Value::String).collect()))
            }
            Self::Map(_) | Self::Tuple(_) | Self::Object(_) => None,
            plain => plain.convert(&Value::String(text.to_owned())),
        }
    }

    /// What messages call it.
    pub(crate) fn describe(&self) -> &'static str {
        match self {
            Self::Any => "a value",
            Self::Text => "a text",
            Self::Number => "a number",
            Self::Flag => "true or false",
            Self::List(_) | Self::Set(_) | Self::Tuple(_) => "a list of the type",
            Self::Map(_) | Self::Object(_) => "a map of the type",
        }
    }
}

/// The fields of a line of CSV (RFC 4180, 2); none where its quotes are not closed.
fn csv(line: &str) -> Option<Vec<String>> {
    let mut fields = vec![String::new()];
    let mut letters = line.chars().peekable();
    let mut is_quoted = false;
    while let Some(letter) = letters.next() {
        let field = fields.last_mut()?;
        match letter {
            '"' if is_quoted && letters.next_if_eq(&'"').is_some() => field.push('"'),
            '"' if is_quoted || field.is_empty() => is_quoted = !is_quoted,
            ',' if !is_quoted => fields.push(String::new()),
            letter => field.push(letter),
        }
    }
    (!is_quoted).then_some(fields)
}

/// Each value once, in order: numbers by size, what else there is as it is written.
pub(crate) fn set(mut items: Vec<Value>) -> Value {
    items.sort_by(|left, right| match (left.as_f64(), right.as_f64()) {
        (Some(left), Some(right)) => left.total_cmp(&right),
        _ => left.as_str().cmp(&right.as_str()).then_with(|| left.to_string().cmp(&right.to_string())),
    });
    items.dedup();
    Value::Array(items)
}
