//! One block as several targets: `matrix` and `name`.

use std::collections::BTreeSet;

use carrack_diag::{Diagnostic, Result, Span};
use serde_json::Value;

use crate::codes;
use crate::expression::Locals;
use crate::file::{Block, Expr};
use crate::scope::Scope;
use crate::value::text;

/// More targets of one block are a mistake.
const TARGETS_MAX: usize = 10_000;

/// A target as a block makes it.
pub(crate) struct Instance<'a> {
    pub(crate) name: String,
    pub(crate) block: &'a Block,
    /// Of a matrix.
    pub(crate) values: Vec<(String, Value)>,
}

impl Instance<'_> {
    pub(crate) fn locals(&self) -> Locals<'_> {
        Locals::new(None, self.values.iter().map(|(name, value)| (name.as_str(), value.clone())))
    }
}

/// The targets of a block: one, but for a matrix, which also makes a group of them.
pub(crate) fn instances<'a>(scope: &Scope<'_>, block: &'a Block) -> Result<Vec<Instance<'a>>> {
    let Some(matrix) = block.attribute("matrix") else {
        if let Some(name) = block.attribute("name") {
            return Err(wrong(name.span(), "`name` of a target is for a matrix"));
        }
        check(&block.name.value, block.name.span)?;
        return Ok(vec![Instance { name: block.name.value.clone(), block, values: Vec::new() }]);
    };
    let Value::Object(axes) = scope.value(matrix)? else {
        return Err(wrong(matrix.span(), "a matrix is a map of lists"));
    };
    let mut rows: Vec<Vec<(String, Value)>> = vec![Vec::new()];
    for (axis, values) in crate::value::sorted(&axes) {
        let Value::Array(values) = values else {
            return Err(wrong(matrix.span(), &format!("`{axis}` of a matrix is a list")));
        };
        if rows.len().saturating_mul(values.len()) > TARGETS_MAX {
            return Err(wrong(matrix.span(), &format!("a matrix makes {TARGETS_MAX} targets at most")));
        }
        // As in buildx, the first axis changes first.
        let longer = values.iter().flat_map(|value| {
            rows.iter().map(move |row| row.iter().cloned().chain([(axis.clone(), value.clone())]).collect())
        });
        rows = longer.collect();
    }
    let mut known = BTreeSet::new();
    let mut instances = Vec::new();
    for values in rows {
        scope.spend(values.iter().map(|(_, value)| crate::value::weight(value)).sum(), matrix.span())?;
        let mut instance = Instance { name: block.name.value.clone(), block, values };
        let name = block.attribute("name");
        if let Some(name) = name {
            instance.name = text(&scope.value_with(name, &instance.locals())?, name.span())?;
        }
        let at = name.map_or(block.name.span, Expr::span);
        check(&instance.name, at)?;
        if !known.insert(instance.name.clone()) {
            return Err(wrong(at, &format!("two targets of the matrix are called `{}`", instance.name)));
        }
        instances.push(instance);
    }
    Ok(instances)
}

/// As buildx has them: names are parts of commands and of others' names.
fn check(name: &str, span: Span) -> Result<()> {
    let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if !name.is_empty() && name.bytes().all(is_fit) {
        return Ok(());
    }
    let shown: String = name.chars().filter(|letter| !letter.is_control()).take(100).collect();
    Err(Diagnostic::error(&codes::INVALID_MATRIX, format!("`{shown}` is no name of a target"))
        .at(span, "letters, digits, `-` and `_` only")
        .hint("sanitize(…) makes a text fit")
        .boxed())
}

fn wrong(span: Span, message: &str) -> Box<Diagnostic> {
    Diagnostic::error(&codes::INVALID_MATRIX, message)
        .at(span, "not that")
        .hint("write name = \"app-${version}\" and matrix = { version = [\"1\", \"2\"] }")
        .boxed()
}
