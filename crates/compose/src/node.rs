use carrack_diag::{Span, Spanned};

/// A YAML value with the place it was written at.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    /// What it is.
    pub(crate) value: Value,
    /// Where it stands. After an alias or a merge key this is the place of the anchored value.
    pub(crate) span: Span,
    /// `!reset` or `!override`, which speak to the merge of several files.
    pub(crate) tag: Option<MergeTag>,
}

/// The kinds of YAML value. Scalars keep their text: whether `1.10` is a number or a version is for its reader to say.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// Any other scalar.
    Scalar(Scalar),
    /// A list.
    Sequence(Vec<Node>),
    /// A mapping in the order of its keys' first appearance; keys are unique.
    Mapping(Vec<Entry>),
}

/// A scalar's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scalar {
    /// The text, escapes and folding resolved.
    pub(crate) text: String,
    /// Written without quotes, so that it may stand for a number or a boolean.
    pub(crate) plain: bool,
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    /// The key's text.
    pub(crate) key: Spanned<String>,
    /// The value.
    pub(crate) value: Node,
}

/// The specification's tags for merging (Compose specification, "Merge and override").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MergeTag {
    /// Take the attribute away.
    Reset,
    /// Replace the attribute instead of merging it.
    Override,
}

impl Node {
    /// A scalar that reads as text.
    pub(crate) fn text(text: impl Into<String>, span: Span) -> Self {
        Self { value: Value::Scalar(Scalar { text: text.into(), plain: false }), span, tag: None }
    }

    /// A value without a tag.
    pub(crate) fn new(value: Value, span: Span) -> Self {
        Self { value, span, tag: None }
    }

    /// The value of `key`, where this is a mapping that has it.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.entries().iter().find(|entry| entry.key.value == key).map(|entry| &entry.value)
    }

    /// The entries of a mapping; none for anything else.
    pub(crate) fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Mapping(entries) => entries,
            _ => &[],
        }
    }

    /// The items of a sequence; none for anything else.
    pub(crate) fn items(&self) -> &[Node] {
        match &self.value {
            Value::Sequence(items) => items,
            _ => &[],
        }
    }

    /// The text of a scalar.
    pub(crate) fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar(scalar) => Some(&scalar.text),
            _ => None,
        }
    }

    /// Whether this is null.
    pub(crate) fn is_null(&self) -> bool {
        matches!(self.value, Value::Null)
    }

    /// What people call this kind of value.
    pub(crate) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Null => "null",
            Value::Scalar(_) => "a single value",
            Value::Sequence(_) => "a list",
            Value::Mapping(_) => "a mapping",
        }
    }

    /// The value as JSON, numbers and booleans by YAML's core schema.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Scalar(scalar) => scalar.to_json(),
            Value::Sequence(items) => items.iter().map(Node::to_json).collect(),
            Value::Mapping(entries) => entries
                .iter()
                .map(|entry| (entry.key.value.clone(), entry.value.to_json()))
                .collect::<serde_json::Map<_, _>>()
                .into(),
        }
    }
}

impl Scalar {
    fn to_json(&self) -> serde_json::Value {
        if !self.plain {
            return self.text.clone().into();
        }
        match self.text.as_str() {
            "true" | "True" | "TRUE" => return true.into(),
            "false" | "False" | "FALSE" => return false.into(),
            _ => {}
        }
        if let Ok(number) = self.text.parse::<i64>() {
            return number.into();
        }
        let numeric = self.text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
        match self.text.parse::<f64>() {
            Ok(number) if numeric && number.is_finite() => number.into(),
            _ => self.text.clone().into(),
        }
    }
}
