//! Values of expressions.

use carrack_diag::{Diagnostic, FileId, Result, Span, nearest};
use hcl_edit::expr::{
    BinaryOperator, Expression, ForExpr, FuncCall, ObjectKey, Traversal, TraversalOperator, UnaryOperator,
};
use hcl_edit::template::Template;
use serde_json::{Map, Value};

use crate::codes;
use crate::functions::{self, Arguments};
use crate::scope::Scope;
use crate::types::Type;
use crate::value::{calculated, number, number_of, sorted, text, truth, weight, wrong};

/// So deep may values stand in each other, and lead to each other.
const MAX_DEPTH: usize = 200;

/// Where an expression stands, and the names that have values of their own there. Parts of a JSON string have the place of
/// the string.
#[derive(Clone, Copy)]
pub(crate) struct Origin<'l> {
    pub(crate) file: FileId,
    pub(crate) fixed: Option<Span>,
    pub(crate) locals: Option<&'l Locals<'l>>,
}

impl Origin<'_> {
    pub(crate) fn with<'l>(self, locals: &'l Locals<'l>) -> Origin<'l> {
        Origin { file: self.file, fixed: self.fixed, locals: Some(locals) }
    }
}

/// Values of parameters, of loops, of a matrix.
#[derive(Default)]
pub(crate) struct Locals<'l> {
    named: Vec<(String, Value)>,
    above: Option<&'l Self>,
}

impl<'l> Locals<'l> {
    pub(crate) fn new<'n>(above: Option<&'l Self>, named: impl IntoIterator<Item = (&'n str, Value)>) -> Self {
        Self { named: named.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(), above }
    }

    fn get(&self, name: &str) -> Option<&Value> {
        let own = self.named.iter().find(|(known, _)| known == name).map(|(_, value)| value);
        own.or_else(|| self.above?.get(name))
    }
}

impl Scope<'_> {
    pub(crate) fn evaluate(&self, origin: Origin<'_>, expression: &Expression) -> Result<Value> {
        let span = origin.of(expression);
        if self.depth.get() >= MAX_DEPTH {
            let message = format!("values lead to more than {MAX_DEPTH} others");
            let diagnostic = Diagnostic::error(&codes::INVALID_EXPRESSION, message).at(span, "too deep here");
            return Err(diagnostic.hint("write some of them out").boxed());
        }
        self.spend(1, span)?;
        self.depth.set(self.depth.get() + 1);
        let value = self.made(origin, expression, span);
        self.depth.set(self.depth.get() - 1);
        value
    }

    fn made(&self, origin: Origin<'_>, expression: &Expression, span: Span) -> Result<Value> {
        Ok(match expression {
            Expression::Null(_) => Value::Null,
            Expression::Bool(value) => Value::Bool(*value.value()),
            Expression::Number(number) => match number.value().as_i64() {
                Some(whole) => Value::from(whole),
                None => number.value().as_f64().map_or(Value::Null, number_of),
            },
            Expression::String(text) => Value::String(text.value().clone()),
            Expression::Array(items) => {
                let items = items.iter().map(|item| self.evaluate(origin, item));
                Value::Array(items.collect::<Result<_>>()?)
            }
            Expression::Object(object) => self.object(origin, object)?,
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
            Expression::Variable(name) => self.named(origin, name.as_str(), span)?,
            Expression::Conditional(parts) => {
                let chosen = truth(&self.evaluate(origin, &parts.cond_expr)?, origin.of(&parts.cond_expr))?;
                self.evaluate(origin, if chosen { &parts.true_expr } else { &parts.false_expr })?
            }
            Expression::UnaryOp(operation) => {
                let value = self.evaluate(origin, &operation.expr)?;
                let at = origin.of(&operation.expr);
                match operation.operator.value() {
                    UnaryOperator::Not => Value::Bool(!truth(&value, at)?),
                    UnaryOperator::Neg => number_of(-number(&value, at)?),
                }
            }
            Expression::BinaryOp(operation) => {
                let left = self.evaluate(origin, &operation.lhs_expr)?;
                let sides = (origin.of(&operation.lhs_expr), origin.of(&operation.rhs_expr));
                let right = || self.evaluate(origin, &operation.rhs_expr);
                binary(*operation.operator.value(), &left, right, sides)?
            }
            Expression::Traversal(traversal) => self.traversal(origin, traversal, span)?,
            Expression::FuncCall(call) => self.call(origin, call, span)?,
            Expression::ForExpr(loops) => self.loops(origin, loops)?,
        })
    }

    fn object(&self, origin: Origin<'_>, object: &hcl_edit::expr::Object) -> Result<Value> {
        let mut fields = Map::new();
        for (key, value) in object {
            let key = match key {
                ObjectKey::Ident(name) => name.to_string(),
                ObjectKey::Expression(Expression::Variable(name)) => name.to_string(),
                ObjectKey::Expression(key) => text(&self.evaluate(origin, key)?, origin.of(key))?,
            };
            fields.insert(key, self.evaluate(origin, value.expr())?);
        }
        Ok(Value::Object(fields))
    }

    fn named(&self, origin: Origin<'_>, name: &str, span: Span) -> Result<Value> {
        match origin.locals.and_then(|locals| locals.get(name)) {
            Some(value) => {
                self.spend(weight(value), span)?;
                Ok(value.clone())
            }
            None => self.variable(name, span),
        }
    }

    fn traversal(&self, origin: Origin<'_>, traversal: &Traversal, span: Span) -> Result<Value> {
        let mut operators = traversal.operators.as_slice();
        let mut value = match (&traversal.expr, operators) {
            (Expression::Variable(kind), [name, key, rest @ ..])
                if matches!(kind.as_str(), "target" | "group") && self.is_free(origin, kind.as_str()) =>
            {
                operators = rest;
                match (name.value(), key.value()) {
                    (TraversalOperator::GetAttr(name), TraversalOperator::GetAttr(key)) => {
                        self.other(kind.as_str(), name.as_str(), key.as_str(), span)?
                    }
                    _ => return Err(not_yet(span, "a value of another target by such a path")),
                }
            }
            (expression, _) => self.evaluate(origin, expression)?,
        };
        for (index, operator) in operators.iter().enumerate() {
            if let TraversalOperator::AttrSplat(_) | TraversalOperator::FullSplat(_) = operator.value() {
                let items = match value {
                    Value::Array(items) => items,
                    Value::Null => Vec::new(),
                    one => vec![one],
                };
                let rest = &operators[index + 1..];
                let each = |item: Value| {
                    rest.iter().try_fold(item, |item, operator| self.element(origin, &item, operator.value(), span))
                };
                return Ok(Value::Array(items.into_iter().map(each).collect::<Result<_>>()?));
            }
            value = self.element(origin, &value, operator.value(), span)?;
        }
        Ok(value)
    }

    /// Whether a name is no variable's, so that it may mean something else.
    fn is_free(&self, origin: Origin<'_>, name: &str) -> bool {
        origin.locals.and_then(|locals| locals.get(name)).is_none()
            && !self.variables.contains_key(name)
            && !self.values.contains_key(name)
    }

    fn element(&self, origin: Origin<'_>, value: &Value, operator: &TraversalOperator, span: Span) -> Result<Value> {
        let key = match operator {
            TraversalOperator::GetAttr(name) => Value::String(name.to_string()),
            TraversalOperator::Index(index) => self.evaluate(origin, index)?,
            TraversalOperator::LegacyIndex(index) => Value::from(*index.value()),
            TraversalOperator::AttrSplat(_) | TraversalOperator::FullSplat(_) => {
                return Err(not_yet(span, "`*` twice in a path"));
            }
        };
        let found = match (value, &key) {
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

    fn call(&self, origin: Origin<'_>, call: &FuncCall, span: Span) -> Result<Value> {
        let name = call.name.name.as_str();
        let arguments: Vec<&Expression> = call.args.iter().collect();
        match (name, arguments.as_slice()) {
            // The first that has a value.
            ("try", [first, rest @ ..]) => {
                let first = self.evaluate(origin, first);
                return rest.iter().fold(first, |found, next| found.or_else(|_| self.evaluate(origin, next)));
            }
            ("can", [one]) => return Ok(Value::Bool(self.evaluate(origin, one).is_ok())),
            ("convert", [one, kind]) => {
                let (kind, value) = (Type::read(origin, kind)?, self.evaluate(origin, one)?);
                return kind.convert(&value).ok_or_else(|| wrong(origin.of(*one), kind.describe()));
            }
            _ => {}
        }
        let mut values = Vec::new();
        let mut spans = Vec::new();
        for (index, argument) in arguments.iter().enumerate() {
            let (value, at) = (self.evaluate(origin, argument)?, origin.of(*argument));
            match value {
                Value::Array(items) if call.args.expand_final() && index + 1 == arguments.len() => {
                    spans.extend(items.iter().map(|_| at));
                    values.extend(items);
                }
                _ if call.args.expand_final() && index + 1 == arguments.len() => return Err(wrong(at, "a list")),
                value => {
                    values.push(value);
                    spans.push(at);
                }
            }
        }
        let value = match self.functions.get(name) {
            Some(block) => self.defined(block, values, span)?,
            None if name == "homedir" => Value::String((self.environment)("HOME").unwrap_or_default()),
            None if name == "timestamp" => Value::String((self.environment)(crate::NOW).unwrap_or_default()),
            None => {
                let arguments = Arguments { name, values: &values, spans: &spans, span };
                functions::call(&arguments).unwrap_or_else(|| Err(self.unknown_function(name, span)))?
            }
        };
        self.spend(weight(&value), span)?;
        Ok(value)
    }

    fn unknown_function(&self, name: &str, span: Span) -> Box<Diagnostic> {
        if functions::NOT_YET.split(' ').any(|known| known == name) {
            return not_yet(span, &format!("the function `{name}`"));
        }
        let known = self.functions.keys().copied().chain(functions::NAMES.split(' '));
        let diagnostic = Diagnostic::error(&codes::UNKNOWN_FUNCTION, format!("there is no function `{name}`"));
        let diagnostic = diagnostic.at(span, "called here");
        match (name, nearest(name, known)) {
            ("tostring" | "tonumber" | "tobool" | "tolist" | "toset" | "tomap", _) => {
                diagnostic.hint("bake files say convert(value, string), convert(value, list(string)) and so on")
            }
            (_, Some(near)) => diagnostic.hint(format!("did you mean `{near}`?")),
            (_, None) => diagnostic.hint("define it: function \"name\" { params = [a] result = a }"),
        }
        .boxed()
    }

    fn loops(&self, origin: Origin<'_>, loops: &ForExpr) -> Result<Value> {
        let collection = self.evaluate(origin, &loops.intro.collection_expr)?;
        let (mut list, mut fields) = (Vec::new(), Map::new());
        for (key, value) in each(&collection, origin.of(&loops.intro.collection_expr))? {
            let key = loops.intro.key_var.as_ref().map(|name| (name.as_str(), key));
            let locals = Locals::new(origin.locals, key.into_iter().chain([(loops.intro.value_var.as_str(), value)]));
            let inner = origin.with(&locals);
            if let Some(condition) = &loops.cond
                && !truth(&self.evaluate(inner, &condition.expr)?, origin.of(&condition.expr))?
            {
                continue;
            }
            let Some(key) = &loops.key_expr else {
                list.push(self.evaluate(inner, &loops.value_expr)?);
                continue;
            };
            let (name, at) = (self.evaluate(inner, key)?, origin.of(key));
            let name = text(&name, at)?;
            let value = self.evaluate(inner, &loops.value_expr)?;
            match fields.get_mut(&name) {
                Some(Value::Array(group)) if loops.grouping => group.push(value),
                Some(_) => {
                    let message = format!("the loop makes `{name}` twice");
                    return Err(Diagnostic::error(&codes::INVALID_EXPRESSION, message)
                        .at(at, "made again")
                        .hint("write `...` behind the value to have lists of them")
                        .boxed());
                }
                None => {
                    fields.insert(name, if loops.grouping { Value::Array(vec![value]) } else { value });
                }
            }
        }
        Ok(if loops.key_expr.is_some() { Value::Object(fields) } else { Value::Array(list) })
    }
}

/// What a loop goes through: keys, or places from 0, with their values.
pub(crate) fn each(collection: &Value, span: Span) -> Result<Vec<(Value, Value)>> {
    match collection {
        Value::Array(items) => {
            Ok(items.iter().enumerate().map(|(index, item)| (Value::from(index), item.clone())).collect())
        }
        Value::Object(fields) => {
            Ok(sorted(fields).into_iter().map(|(key, value)| (Value::String(key.clone()), value.clone())).collect())
        }
        _ => Err(wrong(span, "a list or map")),
    }
}

pub(crate) fn not_yet(span: Span, what: &str) -> Box<Diagnostic> {
    let diagnostic = Diagnostic::error(&codes::NOT_YET, format!("{what} is not there yet"));
    diagnostic.at(span, "used here").hint("write the value out").boxed()
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
        Eq => Value::Bool(functions::is_equal(left, &right)),
        NotEq => Value::Bool(!functions::is_equal(left, &right)),
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
            calculated(match operator {
                Plus => left + right,
                Minus => left - right,
                Mul => left * right,
                Div => left / right,
                _ => left % right,
            })
        }
    })
}
