//! What expressions may name, and what it holds.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use carrack_diag::{Diagnostic, FileId, Result, Span, nearest};
use hcl_edit::expr::Expression;
use serde_json::Value;

use crate::codes;
use crate::expression::{Locals, Origin, not_yet};
use crate::file::{Block, Expr, place, template};
use crate::functions;
use crate::types::Type;
use crate::value::{text, truth, weight};

/// Everything that expressions may name. Values are made when they are first asked for.
pub(crate) struct Scope<'a> {
    /// Blocks of one name from several files, in their order.
    pub(crate) variables: BTreeMap<&'a str, Vec<&'a Block>>,
    /// Values at the top of files.
    pub(crate) values: BTreeMap<&'a str, &'a Expr>,
    pub(crate) functions: BTreeMap<&'a str, &'a Block>,
    /// Targets and groups whose values may be named.
    pub(crate) others: BTreeMap<(&'a str, &'a str), &'a Block>,
    /// What the caller gives.
    pub(crate) environment: &'a dyn Fn(&str) -> Option<String>,
    /// None is being made.
    known: RefCell<BTreeMap<String, Option<Value>>>,
    pub(crate) depth: Cell<usize>,
    work: Cell<usize>,
    /// Functions of the files that are being called.
    calls: RefCell<Vec<String>>,
}

/// How much of the depth a call takes beside its operands.
const CALL_DEPTH: usize = 4;

/// So much may be evaluated: steps, and the bytes of what they make. A few lines can stand for more than any machine holds.
const MAX_WORK: usize = 1 << 24;

impl<'a> Scope<'a> {
    pub(crate) fn new(environment: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self {
            variables: BTreeMap::new(),
            values: BTreeMap::new(),
            functions: BTreeMap::new(),
            others: BTreeMap::new(),
            environment,
            known: RefCell::default(),
            depth: Cell::new(0),
            work: Cell::new(0),
            calls: RefCell::default(),
        }
    }

    /// Counts what is made.
    pub(crate) fn spend(&self, amount: usize, span: Span) -> Result<()> {
        let work = self.work.get().saturating_add(amount);
        self.work.set(work);
        if work <= MAX_WORK {
            return Ok(());
        }
        Err(Diagnostic::error(&codes::INVALID_EXPRESSION, "the values of the file come to too much")
            .at(span, "more than can be sensible here")
            .cause(format!("steps and bytes together are more than {} million", MAX_WORK / 1_000_000))
            .hint("make lists and texts shorter, or have values made before and given by variables")
            .boxed())
    }

    /// The value of an expression.
    pub(crate) fn value(&self, expr: &Expr) -> Result<Value> {
        self.value_with(expr, &Locals::default())
    }

    /// The same where some names have values of their own.
    pub(crate) fn value_with(&self, expr: &Expr, locals: &Locals<'_>) -> Result<Value> {
        match expr {
            Expr::Hcl(file, expression) => {
                self.evaluate(Origin { file: *file, fixed: None, locals: Some(locals) }, expression)
            }
            Expr::Json(span, value) => self.json(*span, value, locals),
        }
    }

    fn json(&self, span: Span, value: &Value, locals: &Locals<'_>) -> Result<Value> {
        Ok(match value {
            Value::String(text) if text.contains("${") || text.contains("%{") => {
                let origin = Origin { file: span.file, fixed: Some(span), locals: Some(locals) };
                self.template(origin, &template(text, span)?)?
            }
            Value::Array(items) => {
                Value::Array(items.iter().map(|item| self.json(span, item, locals)).collect::<Result<_>>()?)
            }
            Value::Object(fields) => {
                let fields = fields.iter().map(|(key, value)| {
                    let key = text(&self.json(span, &Value::String(key.clone()), locals)?, span)?;
                    Ok((key, self.json(span, value, locals)?))
                });
                Value::Object(fields.collect::<Result<_>>()?)
            }
            other => other.clone(),
        })
    }

    /// What a defined variable holds.
    pub(crate) fn variable_of(&self, name: &str, blocks: &[&Block]) -> Result<Value> {
        let span = blocks.last().map_or(Span::new(FileId(0), 0, 0), |block| block.name.span);
        self.variable(name, span)
    }

    pub(crate) fn variable(&self, name: &str, span: Span) -> Result<Value> {
        self.once(name, span, || {
            let value = self.make(name, span)?;
            // Its own conditions name it.
            self.known.borrow_mut().insert(name.to_owned(), Some(value.clone()));
            if let Some(blocks) = self.variables.get(name) {
                blocks.iter().flat_map(|block| &block.blocks).try_for_each(|block| self.validate(name, block))?;
            }
            Ok(value)
        })
    }

    /// `target.NAME.KEY` as it is written there, without what is inherited.
    pub(crate) fn other(&self, kind: &str, name: &str, key: &str, span: Span) -> Result<Value> {
        let found = self.others.get(&(kind, name)).and_then(|block| block.attribute(key));
        let Some(expr) = found else {
            let diagnostic = Diagnostic::error(&codes::UNKNOWN_VARIABLE, format!("there is no {kind}.{name}.{key}"));
            return Err(diagnostic.at(span, "not defined").hint("what another inherits has to be named there").boxed());
        };
        self.once(&format!("{kind}.{name}.{key}"), span, || self.value(expr))
    }

    /// Makes a value unless it is known.
    fn once(&self, name: &str, span: Span, make: impl FnOnce() -> Result<Value>) -> Result<Value> {
        let known = self.known.borrow().get(name).cloned();
        let value = match known {
            Some(Some(value)) => value,
            Some(None) => {
                return Err(Diagnostic::error(
                    &codes::INVALID_EXPRESSION,
                    format!("the value of `{name}` leads to itself"),
                )
                .at(span, "asked for while it is made")
                .hint("take one of the names out of the circle")
                .boxed());
            }
            None => {
                self.known.borrow_mut().insert(name.to_owned(), None);
                let made = make();
                // Somebody may go on without it (`try`).
                self.known.borrow_mut().remove(name);
                let value = made?;
                self.known.borrow_mut().insert(name.to_owned(), Some(value.clone()));
                value
            }
        };
        self.spend(weight(&value), span)?;
        Ok(value)
    }

    fn make(&self, name: &str, span: Span) -> Result<Value> {
        let Some(blocks) = self.variables.get(name) else {
            if let Some(value) = self.values.get(name) {
                return self.value(value);
            }
            // What the tool itself gives.
            if let Some(value) = Some(name).filter(|name| name.starts_with("BAKE_")).and_then(self.environment) {
                return Ok(Value::String(value));
            }
            let known = self.variables.keys().chain(self.values.keys()).copied();
            let diagnostic = Diagnostic::error(&codes::UNKNOWN_VARIABLE, format!("there is no variable `{name}`"))
                .at(span, "not defined");
            return Err(match nearest(name, known) {
                Some(near) => diagnostic.hint(format!("did you mean `{near}`?")),
                None => diagnostic.hint(format!("define it: variable \"{name}\" {{ default = \"\" }}")),
            }
            .boxed());
        };
        let last = |key: &str| blocks.iter().rev().find_map(|block| block.attribute(key));
        let kind = match last("type") {
            None => None,
            Some(Expr::Hcl(file, expression)) => {
                Some(Type::read(Origin { file: *file, fixed: None, locals: None }, expression)?)
            }
            Some(Expr::Json(span, Value::String(text))) => {
                let origin = Origin { file: span.file, fixed: Some(*span), locals: None };
                let parsed: Expression = text.parse().map_err(|_| not_a_type(*span))?;
                Some(Type::read(origin, &parsed)?)
            }
            Some(Expr::Json(span, _)) => return Err(not_a_type(*span)),
        };
        let default = match (last("default"), &kind) {
            (None, _) => Value::Null,
            (Some(expr), None) => self.value(expr)?,
            (Some(expr), Some(kind)) => kind.convert(&self.value(expr)?).ok_or_else(|| {
                Diagnostic::error(&codes::REFUSED_VARIABLE, format!("the default of `{name}` is not of its type"))
                    .at(expr.span(), format!("not {}", kind.describe()))
                    .hint("correct the default or the type")
                    .boxed()
            })?,
        };
        let at = blocks.last().map_or(span, |block| block.name.span);
        if let (Some(kind), Some(given)) = (&kind, (self.environment)(&format!("{name}_JSON"))) {
            let read = serde_json::from_str(&given).ok().and_then(|value| kind.convert(&value));
            return read.ok_or_else(|| refused(&format!("{name}_JSON"), &given, "JSON of its type", at));
        }
        let Some(given) = (self.environment)(name) else { return Ok(default) };
        let kind = match (kind, &default) {
            (Some(kind), _) => kind,
            (None, Value::String(_) | Value::Null) => Type::Text,
            (None, Value::Bool(_)) => Type::Flag,
            (None, Value::Number(_)) => Type::Number,
            (None, Value::Array(_) | Value::Object(_)) => {
                return Err(not_yet(at, "a list or map from the environment, of a variable without a type,"));
            }
        };
        if matches!(kind, Type::Map(_) | Type::Tuple(_) | Type::Object(_)) {
            return Err(refused(name, &given, &format!("a text for this type: set {name}_JSON"), at));
        }
        kind.of_text(&given).ok_or_else(|| refused(name, &given, kind.describe(), at))
    }

    /// `validation { condition = … error_message = … }`.
    fn validate(&self, name: &str, block: &Block) -> Result<()> {
        let unknown = |span: Span| {
            Diagnostic::error(&codes::UNKNOWN_KEY, "a validation is a condition and an error_message")
                .at(span, "not that")
                .hint("write validation { condition = NAME != \"\" error_message = \"why\" }")
                .boxed()
        };
        if block.name.value != "validation" {
            return Err(unknown(block.name.span));
        }
        let condition = block.attribute("condition").ok_or_else(|| unknown(block.name.span))?;
        if truth(&self.value(condition)?, condition.span())? {
            return Ok(());
        }
        let reason = match block.attribute("error_message") {
            Some(message) => text(&self.value(message)?, message.span())?,
            None => "its condition is not met".to_owned(),
        };
        Err(Diagnostic::error(&codes::REFUSED_VARIABLE, format!("the value of `{name}` is refused"))
            .at(condition.span(), "not met")
            .cause(reason)
            .hint(format!("set {name} in the environment"))
            .boxed())
    }

    /// The result of a function of the files.
    pub(crate) fn defined(&self, block: &Block, values: Vec<Value>, span: Span) -> Result<Value> {
        let malformed = |at: Span, what: &str| {
            Diagnostic::error(&codes::UNKNOWN_KEY, format!("the function `{}` {what}", block.name.value))
                .at(at, "defined here")
                .hint("write params = [a, b], variadic_params = rest if there are more, and result")
                .boxed()
        };
        for (key, _) in &block.attributes {
            if !matches!(key.value.as_str(), "params" | "variadic_params" | "result") {
                return Err(malformed(key.span, &format!("has no key `{}`", key.value)));
            }
        }
        let names = |key: &str| match block.attribute(key) {
            None => Ok(Vec::new()),
            Some(expr) => names(expr).ok_or_else(|| malformed(expr.span(), &format!("names no {key}"))),
        };
        let (names, more) = (names("params")?, names("variadic_params")?);
        let result = block.attribute("result").ok_or_else(|| malformed(block.name.span, "has no result"))?;
        if values.len() < names.len() || values.len() > names.len() && more.is_empty() {
            let message =
                format!("`{}` takes {}, and gets {}", block.name.value, functions::count(names.len()), values.len());
            return Err(Diagnostic::error(&codes::INVALID_EXPRESSION, message)
                .at(span, "called here")
                .hint("give as many as it has `params`")
                .boxed());
        }
        let mut values = values.into_iter();
        let mut named: Vec<(&str, Value)> = names.iter().map(String::as_str).zip(values.by_ref()).collect();
        if let Some(more) = more.first() {
            named.push((more, Value::Array(values.collect())));
        }
        if self.calls.borrow().contains(&block.name.value) {
            let message = format!("the function `{}` leads to itself", block.name.value);
            let diagnostic = Diagnostic::error(&codes::INVALID_EXPRESSION, message).at(span, "called while it is made");
            return Err(diagnostic.hint("take one of the calls out of the circle").boxed());
        }
        self.calls.borrow_mut().push(block.name.value.clone());
        // A call goes deeper than an operand.
        self.depth.set(self.depth.get() + CALL_DEPTH);
        let value = self.value_with(result, &Locals::new(None, named));
        self.depth.set(self.depth.get() - CALL_DEPTH);
        self.calls.borrow_mut().pop();
        value
    }
}

/// Names, written as such or as texts: one, or a list.
fn names(expr: &Expr) -> Option<Vec<String>> {
    let name = |expression: &Expression| match expression {
        Expression::Variable(name) => Some(name.to_string()),
        Expression::String(text) => Some(text.value().clone()),
        _ => None,
    };
    match expr {
        Expr::Hcl(_, expression) => match expression.as_ref() {
            Expression::Array(items) => items.iter().map(name).collect(),
            one => name(one).map(|name| vec![name]),
        },
        Expr::Json(_, Value::Array(items)) => items.iter().map(|item| item.as_str().map(str::to_owned)).collect(),
        Expr::Json(_, value) => value.as_str().map(|name| vec![name.to_owned()]),
    }
}

fn not_a_type(span: Span) -> Box<Diagnostic> {
    let diagnostic = Diagnostic::error(&codes::INVALID_EXPRESSION, "a type belongs here").at(span, "no type");
    diagnostic.hint("write \"string\", \"list(string)\" or the like").boxed()
}

fn refused(name: &str, given: &str, form: &str, at: Span) -> Box<Diagnostic> {
    Diagnostic::error(&codes::REFUSED_VARIABLE, format!("{name}=`{given}` of the environment is not {form}"))
        .at(at, "the variable")
        .hint("unset it, or give another value")
        .boxed()
}

/// The place of a part of a file.
impl Origin<'_> {
    pub(crate) fn of(self, part: &impl hcl_edit::Span) -> Span {
        self.fixed.unwrap_or_else(|| place(self.file, part))
    }
}
