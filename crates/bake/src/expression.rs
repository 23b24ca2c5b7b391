//! Values of expressions.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use carrack_diag::{Diagnostic, FileId, Result, Span, nearest};
use hcl_edit::expr::{BinaryOperator, Expression, ObjectKey, TraversalOperator, UnaryOperator};
use hcl_edit::template::{Directive, Element, Template};
use serde_json::{Map, Number, Value};

use crate::codes;
use crate::file::{Block, Expr, place, template};

/// Everything that expressions may name. Values are made when they are first asked for.
pub(crate) struct Scope<'a> {
    /// Blocks of one name from several files, in their order.
    pub(crate) variables: BTreeMap<&'a str, Vec<&'a Block>>,
    /// Values at the top of files.
    pub(crate) values: BTreeMap<&'a str, &'a Expr>,
    /// What the caller gives.
    pub(crate) environment: &'a dyn Fn(&str) -> Option<String>,
    /// None is being made.
    known: RefCell<BTreeMap<String, Option<Value>>>,
    depth: Cell<usize>,
}

/// So deep may values stand in each other, and lead to each other.
const MAX_DEPTH: usize = 200;

/// Where an expression stands. Parts of a JSON string have the place of the string.
#[derive(Clone, Copy)]
struct Origin {
    file: FileId,
    fixed: Option<Span>,
}

impl Origin {
    fn of(self, part: &impl hcl_edit::Span) -> Span {
        self.fixed.unwrap_or_else(|| place(self.file, part))
    }
}

impl<'a> Scope<'a> {
    pub(crate) fn new(environment: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self {
            variables: BTreeMap::new(),
            values: BTreeMap::new(),
            environment,
            known: RefCell::default(),
            depth: Cell::new(0),
        }
    }

    /// The value of an expression.
    pub(crate) fn value(&self, expr: &Expr) -> Result<Value> {
        match expr {
            Expr::Hcl(file, expression) => self.evaluate(Origin { file: *file, fixed: None }, expression),
            Expr::Json(span, value) => self.json(*span, value),
        }
    }

    fn json(&self, span: Span, value: &Value) -> Result<Value> {
        Ok(match value {
            Value::String(text) if text.contains("${") || text.contains("%{") => {
                let origin = Origin { file: span.file, fixed: Some(span) };
                self.template(origin, &template(text, span)?)?
            }
            Value::Array(items) => Value::Array(items.iter().map(|item| self.json(span, item)).collect::<Result<_>>()?),
            Value::Object(fields) => {
                let fields = fields.iter().map(|(key, value)| Ok((key.clone(), self.json(span, value)?)));
                Value::Object(fields.collect::<Result<_>>()?)
            }
            other => other.clone(),
        })
    }

    fn evaluate(&self, origin: Origin, expression: &Expression) -> Result<Value> {
        let span = origin.of(expression);
        if self.depth.get() >= MAX_DEPTH {
            let message = format!("values lead to more than {MAX_DEPTH} others");
            let diagnostic = Diagnostic::error(&codes::INVALID_EXPRESSION, message).at(span, "too deep here");
            return Err(diagnostic.hint("write some of them out").boxed());
        }
        self.depth.set(self.depth.get() + 1);
        let value = self.made(origin, expression, span);
        self.depth.set(self.depth.get() - 1);
        value
    }

    fn made(&self, origin: Origin, expression: &Expression, span: Span) -> Result<Value> {
        Ok(match expression {
            Expression::Null(_) => Value::Null,
            Expression::Bool(value) => Value::Bool(*value.value()),
            Expression::Number(number) => number_of(number.value().as_f64()),
            Expression::String(text) => Value::String(text.value().clone()),
            Expression::Array(items) => {
                let items = items.iter().map(|item| self.evaluate(origin, item));
                Value::Array(items.collect::<Result<_>>()?)
            }
            Expression::Object(object) => {
                let mut fields = Map::new();
                for (key, value) in object {
                    let key = match key {
                        ObjectKey::Ident(name) => name.to_string(),
                        ObjectKey::Expression(Expression::Variable(name)) => name.to_string(),
                        ObjectKey::Expression(key) => text(&self.evaluate(origin, key)?, origin.of(key))?,
                    };
                    fields.insert(key, self.evaluate(origin, value.expr())?);
                }
                Value::Object(fields)
            }
            Expression::StringTemplate(template) => {
                let mut parts = Template::new();
                template.iter().for_each(|element| parts.push(element.clone()));
                self.template(origin, &parts)?
            }
            Expression::HeredocTemplate(heredoc) => {
                let mut heredoc = heredoc.clone();
                heredoc.dedent();
                self.template(origin, &heredoc.template)?
            }
            Expression::Parenthesis(inner) => self.evaluate(origin, inner.inner())?,
            Expression::Variable(name) => self.variable(name.as_str(), span)?,
            Expression::Conditional(parts) => {
                let chosen = truth(&self.evaluate(origin, &parts.cond_expr)?, origin.of(&parts.cond_expr))?;
                self.evaluate(origin, if chosen { &parts.true_expr } else { &parts.false_expr })?
            }
            Expression::UnaryOp(operation) => {
                let value = self.evaluate(origin, &operation.expr)?;
                let at = origin.of(&operation.expr);
                match operation.operator.value() {
                    UnaryOperator::Not => Value::Bool(!truth(&value, at)?),
                    UnaryOperator::Neg => number_of(Some(-number(&value, at)?)),
                }
            }
            Expression::BinaryOp(operation) => {
                let left = self.evaluate(origin, &operation.lhs_expr)?;
                let sides = (origin.of(&operation.lhs_expr), origin.of(&operation.rhs_expr));
                let right = || self.evaluate(origin, &operation.rhs_expr);
                binary(*operation.operator.value(), &left, right, sides)?
            }
            Expression::Traversal(traversal) => {
                if let Expression::Variable(name) = &traversal.expr
                    && matches!(name.as_str(), "target" | "group")
                {
                    return Err(not_yet(span, "a value of another target"));
                }
                let mut value = self.evaluate(origin, &traversal.expr)?;
                for operator in &traversal.operators {
                    value = self.element(origin, value, operator.value(), span)?;
                }
                value
            }
            Expression::FuncCall(call) => {
                return Err(not_yet(span, &format!("the function `{}`", call.name.name.as_str())));
            }
            Expression::ForExpr(_) => return Err(not_yet(span, "`for` in an expression")),
        })
    }

    fn element(&self, origin: Origin, value: Value, operator: &TraversalOperator, span: Span) -> Result<Value> {
        let key = match operator {
            TraversalOperator::GetAttr(name) => Value::String(name.to_string()),
            TraversalOperator::Index(index) => self.evaluate(origin, index)?,
            TraversalOperator::LegacyIndex(index) => Value::from(*index.value()),
            _ => return Err(not_yet(span, "`*` in a path")),
        };
        let found = match (&value, &key) {
            (Value::Array(items), key) => {
                key.as_f64().and_then(|index| items.get(index as usize)).filter(|_| key.as_f64() >= Some(0.0))
            }
            (Value::Object(fields), Value::String(name)) => fields.get(name),
            _ => None,
        };
        found.cloned().ok_or_else(|| {
            Diagnostic::error(&codes::INVALID_EXPRESSION, format!("there is no element {key}"))
                .at(span, "names none")
                .hint("look at the value that it is taken from")
                .boxed()
        })
    }

    fn template(&self, origin: Origin, template: &Template) -> Result<Value> {
        let mut whole = String::new();
        let mut single = None;
        for element in template {
            match element {
                Element::Literal(literal) => whole.push_str(literal.value()),
                Element::Interpolation(part) => {
                    let value = self.evaluate(origin, &part.expr)?;
                    if template.len() == 1 && !value.is_string() {
                        single = Some(value);
                        continue;
                    }
                    whole.push_str(&text(&value, origin.of(&part.expr))?);
                }
                Element::Directive(directive) => {
                    let what = match directive.as_ref() {
                        Directive::If(_) => "`%{ if }` in a text",
                        Directive::For(_) => "`%{ for }` in a text",
                    };
                    return Err(not_yet(origin.of(directive.as_ref()), what));
                }
            }
        }
        Ok(single.unwrap_or(Value::String(whole)))
    }

    /// What a defined variable holds.
    pub(crate) fn variable_of(&self, name: &str, blocks: &[&Block]) -> Result<Value> {
        let span = blocks.last().map_or(Span::new(FileId(0), 0, 0), |block| block.name.span);
        self.variable(name, span)
    }

    fn variable(&self, name: &str, span: Span) -> Result<Value> {
        if let Some(known) = self.known.borrow().get(name) {
            return known.clone().ok_or_else(|| {
                Diagnostic::error(&codes::INVALID_EXPRESSION, format!("the value of `{name}` leads to itself"))
                    .at(span, "asked for while it is made")
                    .hint("take one of the names out of the circle")
                    .boxed()
            });
        }
        self.known.borrow_mut().insert(name.to_owned(), None);
        let value = self.make(name, span)?;
        self.known.borrow_mut().insert(name.to_owned(), Some(value.clone()));
        if let Some(blocks) = self.variables.get(name) {
            blocks.iter().flat_map(|block| &block.blocks).try_for_each(|block| self.validate(name, block))?;
        }
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
        let last = |key: &str| {
            blocks.iter().rev().find_map(|block| block.attributes.iter().find(|(name, _)| name.value == key))
        };
        let default = match last("default") {
            Some((_, expr)) => self.value(expr)?,
            None => Value::Null,
        };
        let kind = match last("type") {
            None => None,
            Some((_, Expr::Hcl(_, expression))) => match expression.as_ref() {
                Expression::Variable(kind) => Some(kind.to_string()),
                other => return Err(not_yet(place(span.file, other), "a variable of this type")),
            },
            Some((_, expr)) => self.value(expr)?.as_str().map(str::to_owned),
        };
        let kind = match (kind.as_deref(), &default) {
            (Some("string"), _) | (None, Value::String(_) | Value::Null) => "string",
            (Some("bool"), _) | (None, Value::Bool(_)) => "bool",
            (Some("number"), _) | (None, Value::Number(_)) => "number",
            _ => "other",
        };
        let Some(given) = (self.environment)(name) else { return Ok(default) };
        let at = blocks.last().map_or(span, |block| block.name.span);
        let refused = |form: &str| {
            Diagnostic::error(&codes::REFUSED_VARIABLE, format!("{name}=`{given}` of the environment is not {form}"))
                .at(at, "the variable")
                .hint("unset it, or give another value")
                .boxed()
        };
        match kind {
            "bool" => match given.to_ascii_lowercase().as_str() {
                "1" | "t" | "true" => Ok(Value::Bool(true)),
                "0" | "f" | "false" => Ok(Value::Bool(false)),
                _ => Err(refused("true or false")),
            },
            "number" => match given.parse::<f64>() {
                Ok(value) => Ok(number_of(Some(value))),
                Err(_) => Err(refused("a number")),
            },
            "string" => Ok(Value::String(given)),
            _ => Err(not_yet(at, "a list or map from the environment")),
        }
    }

    /// `validation { condition = … error_message = … }`.
    fn validate(&self, name: &str, block: &Block) -> Result<()> {
        let find = |key: &str| block.attributes.iter().find(|(name, _)| name.value == key).map(|(_, expr)| expr);
        let unknown = |span: Span| {
            Diagnostic::error(&codes::UNKNOWN_KEY, "a validation is a condition and an error_message")
                .at(span, "not that")
                .hint("write validation { condition = NAME != \"\" error_message = \"why\" }")
                .boxed()
        };
        if block.name.value != "validation" {
            return Err(unknown(block.name.span));
        }
        let condition = find("condition").ok_or_else(|| unknown(block.name.span))?;
        if truth(&self.value(condition)?, condition.span())? {
            return Ok(());
        }
        let reason = match find("error_message") {
            Some(message) => text(&self.value(message)?, message.span())?,
            None => "its condition is not met".to_owned(),
        };
        Err(Diagnostic::error(&codes::REFUSED_VARIABLE, format!("the value of `{name}` is refused"))
            .at(condition.span(), "not met")
            .cause(reason)
            .hint(format!("set {name} in the environment"))
            .boxed())
    }
}

fn not_yet(span: Span, what: &str) -> Box<Diagnostic> {
    let diagnostic = Diagnostic::error(&codes::NOT_YET, format!("{what} is not there yet"));
    diagnostic.at(span, "used here").hint("write the value out").boxed()
}

fn wrong(span: Span, form: &str) -> Box<Diagnostic> {
    Diagnostic::error(&codes::INVALID_EXPRESSION, format!("{form} belongs here"))
        .at(span, "something else")
        .hint("look at the types of both sides")
        .boxed()
}

fn truth(value: &Value, span: Span) -> Result<bool> {
    match value {
        Value::Bool(truth) => Ok(*truth),
        Value::String(text) if text == "true" => Ok(true),
        Value::String(text) if text == "false" => Ok(false),
        _ => Err(wrong(span, "true or false")),
    }
}

fn number(value: &Value, span: Span) -> Result<f64> {
    let parsed = value.as_str().and_then(|text| text.parse().ok());
    value.as_f64().or(parsed).ok_or_else(|| wrong(span, "a number"))
}

/// A whole number is one without a point.
fn number_of(value: Option<f64>) -> Value {
    let Some(value) = value else { return Value::Null };
    let whole = value.fract() == 0.0 && value.abs() < 9e15;
    if whole { Value::from(value as i64) } else { Number::from_f64(value).map_or(Value::Null, Value::Number) }
}

/// A value within a text.
pub(crate) fn text(value: &Value, span: Span) -> Result<String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Bool(truth) => Ok(truth.to_string()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Null => Ok(String::new()),
        Value::Array(_) | Value::Object(_) => Err(wrong(span, "a text")),
    }
}

fn binary(
    operator: BinaryOperator,
    left: &Value,
    right: impl FnOnce() -> Result<Value>,
    (at_left, at_right): (Span, Span),
) -> Result<Value> {
    use BinaryOperator::{And, Div, Eq, Greater, GreaterEq, Less, LessEq, Minus, Mod, Mul, NotEq, Or, Plus};
    match operator {
        And if !truth(left, at_left)? => return Ok(Value::Bool(false)),
        Or if truth(left, at_left)? => return Ok(Value::Bool(true)),
        _ => {}
    }
    let right = right()?;
    let numbers = || Ok::<_, Box<Diagnostic>>((number(left, at_left)?, number(&right, at_right)?));
    Ok(match operator {
        And | Or => Value::Bool(truth(&right, at_right)?),
        Eq => Value::Bool(*left == right),
        NotEq => Value::Bool(*left != right),
        Less | LessEq | Greater | GreaterEq => {
            let (left, right) = numbers()?;
            Value::Bool(match operator {
                Less => left < right,
                LessEq => left <= right,
                Greater => left > right,
                _ => left >= right,
            })
        }
        Plus | Minus | Mul | Div | Mod => {
            let (left, right) = numbers()?;
            if right == 0.0 && matches!(operator, Div | Mod) {
                return Err(wrong(at_right, "a number other than 0"));
            }
            number_of(Some(match operator {
                Plus => left + right,
                Minus => left - right,
                Mul => left * right,
                Div => left / right,
                _ => left % right,
            }))
        }
    })
}
