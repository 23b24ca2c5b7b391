//! From a template's tree and a value to text.

use std::collections::BTreeMap;

use super::functions;
use super::parse::{Command, Node, Operand, Parsed, Pipe, Problem, Templates, Term};
use super::print::{self, TEXT_MAX};
use super::value::Value;

/// Templates that call each other go no deeper.
const DEPTH_MAX: usize = 100;
/// What one text may cost: a node 32, a byte that a function or action makes 1.
const BUDGET: usize = 64 << 20;

/// Fills a template. In a heading, functions that would change a column's title do not.
pub(super) fn evaluate(templates: &Templates, data: &Value<'_>, heading: bool) -> Parsed<String> {
    let mut state = State { templates, out: String::new(), variables: Vec::new(), budget: BUDGET, depth: 0, heading };
    state.template("", data, 0)?;
    Ok(state.out)
}

/// How a list of nodes ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    On,
    Break,
    Continue,
}

struct State<'t, 'a> {
    templates: &'t Templates,
    out: String,
    variables: Vec<(&'t str, Value<'a>)>,
    budget: usize,
    depth: usize,
    heading: bool,
}

impl<'t, 'a> State<'t, 'a> {
    fn spend(&mut self, cost: usize, at: usize) -> Parsed<()> {
        match self.budget.checked_sub(cost) {
            Some(left) => {
                self.budget = left;
                Ok(())
            }
            None => Err(Problem::new(at, "it makes too much of it: the text is too long, or its loops go on for ever")),
        }
    }

    fn template(&mut self, name: &str, data: &Value<'a>, at: usize) -> Parsed<()> {
        let templates: &'t BTreeMap<_, _> = self.templates;
        let nodes = templates.get(name).ok_or_else(|| Problem::new(at, format!("template `{name}` not defined")))?;
        if self.depth == DEPTH_MAX {
            return Err(Problem::new(at, format!("template `{name}` calls itself too often")));
        }
        self.depth += 1;
        let outside = std::mem::replace(&mut self.variables, vec![("$", data.clone())]);
        self.nodes(nodes, data)?;
        self.variables = outside;
        self.depth -= 1;
        Ok(())
    }

    /// Nodes with the variables that are theirs.
    fn scope(&mut self, nodes: &'t [Node], dot: &Value<'a>, mark: usize) -> Parsed<Flow> {
        let flow = self.nodes(nodes, dot);
        self.variables.truncate(mark);
        flow
    }

    fn nodes(&mut self, nodes: &'t [Node], dot: &Value<'a>) -> Parsed<Flow> {
        for node in nodes {
            let flow = self.node(node, dot)?;
            if flow != Flow::On {
                return Ok(flow);
            }
        }
        Ok(Flow::On)
    }

    fn node(&mut self, node: &'t Node, dot: &Value<'a>) -> Parsed<Flow> {
        let mark = self.variables.len();
        match node {
            Node::Text(text) => self.write(text, 0)?,
            Node::Action(pipe) => {
                let value = self.pipe(pipe, dot)?;
                if pipe.variables.is_empty() {
                    self.write(&print::written(&value), pipe.at)?;
                }
            }
            Node::If { condition, then, otherwise } => {
                let chosen = if self.pipe(condition, dot)?.truth() { then } else { otherwise };
                return self.scope(chosen, dot, mark);
            }
            Node::With { value, then, otherwise } => {
                let value = self.pipe(value, dot)?;
                let (chosen, dot) = if value.truth() { (then, &value) } else { (otherwise, dot) };
                return self.scope(chosen, dot, mark);
            }
            Node::Range { over, each, otherwise } => return self.range(over, each, otherwise, dot),
            Node::Template { at, name, with } => {
                let data = with.as_ref().map_or(Ok(Value::Missing), |pipe| self.pipe(pipe, dot))?;
                self.variables.truncate(mark);
                self.template(name, &data, *at)?;
            }
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::On)
    }

    fn write(&mut self, text: &str, at: usize) -> Parsed<()> {
        self.spend(32 + text.len(), at)?;
        if self.out.len() + text.len() > TEXT_MAX {
            return Err(Problem::new(at, "the text becomes too long"));
        }
        self.out.push_str(text);
        Ok(())
    }

    fn range(&mut self, over: &'t Pipe, each: &'t [Node], otherwise: &'t [Node], dot: &Value<'a>) -> Parsed<Flow> {
        let mark = self.variables.len();
        let value = self.commands(over, dot)?;
        let declared = |state: &mut Self, index: &Value<'a>, item: &Value<'a>| -> Parsed<()> {
            match over.variables.as_slice() {
                [] => Ok(()),
                [only] => state.assign(only, item.clone(), over),
                [first, second, ..] => {
                    state.assign(first, index.clone(), over)?;
                    state.assign(second, item.clone(), over)
                }
            }
        };
        let mut count = 0_i64;
        // A number is that many rounds.
        let number = match &value {
            Value::Json(json) => json.as_i64(),
            _ => None,
        };
        let pairs = match number {
            Some(_) => Vec::new(),
            None => value.pairs().map_err(|problem| Problem::new(over.at, problem))?,
        };
        let mut pairs = pairs.into_iter();
        loop {
            let (index, item) = match number {
                Some(number) if count < number => (Value::integer(count), Value::integer(count)),
                Some(_) => break,
                None => match pairs.next() {
                    Some(pair) => pair,
                    None => break,
                },
            };
            count += 1;
            self.spend(32, over.at)?;
            declared(self, &index, &item)?;
            let flow = self.scope(each, &item, mark)?;
            if flow == Flow::Break {
                return Ok(Flow::On);
            }
        }
        if count == 0 {
            return self.scope(otherwise, dot, mark);
        }
        Ok(Flow::On)
    }

    fn assign(&mut self, name: &'t str, value: Value<'a>, pipe: &Pipe) -> Parsed<()> {
        if pipe.declares {
            self.variables.push((name, value));
            return Ok(());
        }
        match self.variables.iter_mut().rev().find(|(known, _)| *known == name) {
            Some((_, place)) => {
                *place = value;
                Ok(())
            }
            None => Err(Problem::new(pipe.at, format!("undefined variable `{name}`"))),
        }
    }

    fn pipe(&mut self, pipe: &'t Pipe, dot: &Value<'a>) -> Parsed<Value<'a>> {
        let value = self.commands(pipe, dot)?;
        for name in &pipe.variables {
            self.assign(name, value.clone(), pipe)?;
        }
        Ok(value)
    }

    fn commands(&mut self, pipe: &'t Pipe, dot: &Value<'a>) -> Parsed<Value<'a>> {
        let mut last = None;
        for command in &pipe.commands {
            last = Some(self.command(command, dot, last)?);
        }
        Ok(last.unwrap_or(Value::Missing))
    }

    fn command(&mut self, command: &'t Command, dot: &Value<'a>, last: Option<Value<'a>>) -> Parsed<Value<'a>> {
        self.spend(32, command.at)?;
        let (first, rest) = (&command.operands[0], &command.operands[1..]);
        if let Term::Function(name) = first.term
            && first.fields.is_empty()
        {
            return self.function(name, rest, dot, last, first.at);
        }
        if first.term == Term::Nil {
            return Err(Problem::new(first.at, "nil is not a command"));
        }
        if rest.is_empty() && last.is_none() {
            return self.operand(first, dot);
        }
        let Some((name, fields)) = first.fields.split_last() else {
            return Err(Problem::new(first.at, "can't give argument to what is no function"));
        };
        // A method with its arguments.
        let on = self.term(&first.term, first.at, dot)?;
        let on = follow(on, fields, first)?;
        let mut arguments = Vec::new();
        for operand in rest {
            arguments.push(self.operand(operand, dot)?);
        }
        arguments.extend(last);
        match (&on, name.as_str(), arguments.as_slice()) {
            (Value::Row(row), "Label", [key]) if key.kind() == "string" => {
                let key = print::written(key);
                Ok(Value::text(if self.heading {
                    heading_of_label(&key)
                } else {
                    row.labels.get(&key).cloned().unwrap_or_default()
                }))
            }
            (Value::Row(_), "Label", [_]) => Err(Problem::new(first.at, "the key of a label is text")),
            _ => Err(Problem::new(
                first.at,
                format!(
                    "wrong number of args for `{name}`: want {} got {}",
                    usize::from(name == "Label"),
                    arguments.len()
                ),
            )),
        }
    }

    fn function(
        &mut self,
        name: &'static str,
        operands: &'t [Operand],
        dot: &Value<'a>,
        last: Option<Value<'a>>,
        at: usize,
    ) -> Parsed<Value<'a>> {
        if matches!(name, "and" | "or") {
            let mut value = None;
            // What decides is the answer, and what follows it is not looked at.
            for operand in operands {
                let next = self.operand(operand, dot)?;
                if next.truth() == (name == "or") {
                    return Ok(next);
                }
                value = Some(next);
            }
            let none = || Problem::new(at, format!("wrong number of args for {name}: want at least 1 got 0"));
            return last.or(value).ok_or_else(none);
        }
        let mut arguments = Vec::with_capacity(operands.len() + 1);
        for operand in operands {
            arguments.push(self.operand(operand, dot)?);
        }
        arguments.extend(last);
        let value = functions::call(name, &arguments, self.heading).map_err(|problem| Problem::new(at, problem))?;
        if let Value::Json(json) = &value
            && matches!(json, std::borrow::Cow::Owned(_))
        {
            let length = size(json);
            if length > TEXT_MAX {
                return Err(Problem::new(at, format!("what {name} makes is too long")));
            }
            self.spend(length, at)?;
        }
        Ok(value)
    }

    fn operand(&mut self, operand: &'t Operand, dot: &Value<'a>) -> Parsed<Value<'a>> {
        self.spend(32, operand.at)?;
        let value = self.term(&operand.term, operand.at, dot)?;
        follow(value, &operand.fields, operand)
    }

    fn term(&mut self, term: &'t Term, at: usize, dot: &Value<'a>) -> Parsed<Value<'a>> {
        Ok(match term {
            Term::Dot => dot.clone(),
            Term::Nil => Value::Missing,
            Term::Boolean(value) => Value::boolean(*value),
            Term::Integer(number) => Value::integer(*number),
            Term::Float(number) => Value::Json(std::borrow::Cow::Owned((*number).into())),
            Term::Text(text) => {
                self.spend(text.len(), at)?;
                Value::text(text.as_str())
            }
            Term::Variable(name) => match self.variables.iter().rev().find(|(known, _)| known == name) {
                Some((_, value)) => value.clone(),
                None => return Err(Problem::new(at, format!("undefined variable `{name}`"))),
            },
            Term::Function(name) => self.function(name, &[], dot, None, at)?,
            Term::Pipe(pipe) => {
                let mark = self.variables.len();
                let value = self.pipe(pipe, dot)?;
                self.variables.truncate(mark);
                value
            }
        })
    }
}

/// The field behind fields. A value that is owned is copied on the way, so long ones cost.
fn follow<'a>(mut value: Value<'a>, fields: &[String], operand: &Operand) -> Parsed<Value<'a>> {
    let mut parent: Option<&str> = None;
    for name in fields {
        value = value.field(name, parent).map_err(|problem| {
            let mut problem = Problem::new(operand.at, problem);
            problem.hint = fields_of(&value);
            problem
        })?;
        parent = Some(name);
    }
    Ok(value)
}

fn fields_of(value: &Value<'_>) -> Option<String> {
    let json = value.json();
    let map = json.as_object()?;
    let names: Vec<&str> = map.keys().map(String::as_str).take(60).collect();
    Some(format!("fields: {}", if names.is_empty() { "none".to_owned() } else { names.join(", ") }))
}

/// `com.example.my-label` heads a column as `my label`.
fn heading_of_label(key: &str) -> String {
    key.rsplit('.').next().unwrap_or(key).replace(['-', '_'], " ")
}

/// About how many bytes a value takes.
fn size(json: &serde_json::Value) -> usize {
    match json {
        serde_json::Value::String(text) => text.len() + 32,
        serde_json::Value::Array(items) => items.iter().map(size).sum::<usize>() + 32,
        serde_json::Value::Object(map) => map.iter().map(|(key, value)| key.len() + size(value)).sum::<usize>() + 32,
        _ => 32,
    }
}
