//! A text becomes blocks with places, the same for HCL and JSON.

use carrack_diag::{Diagnostic, FileId, Result, SourceFile, Span, Spanned, nearest};
use hcl_edit::expr::Expression;
use hcl_edit::structure::{Body, Structure};
use hcl_edit::template::Template;
use serde_json::Value;

use crate::codes;

/// How a text is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// HCL.
    Hcl,
    /// JSON with the same keys, whose strings are HCL templates.
    Json,
}

/// A file as written.
#[derive(Debug, Clone)]
pub struct File {
    pub(crate) variables: Vec<Block>,
    pub(crate) groups: Vec<Block>,
    pub(crate) targets: Vec<Block>,
    pub(crate) functions: Vec<Block>,
    /// Values at the top of the file.
    pub(crate) values: Vec<(Spanned<String>, Expr)>,
}

/// A block with its name.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    pub(crate) name: Spanned<String>,
    pub(crate) attributes: Vec<(Spanned<String>, Expr)>,
    /// `validation` of a variable.
    pub(crate) blocks: Vec<Block>,
}

impl Block {
    /// The value of a key.
    pub(crate) fn attribute(&self, wanted: &str) -> Option<&Expr> {
        self.attributes.iter().rev().find(|(key, _)| key.value == wanted).map(|(_, expr)| expr)
    }
}

/// A value that is not evaluated yet.
#[derive(Debug, Clone)]
pub(crate) enum Expr {
    Hcl(FileId, Box<Expression>),
    Json(Span, Value),
}

impl Expr {
    pub(crate) fn span(&self) -> Span {
        match self {
            Self::Hcl(file, expression) => place(*file, expression.as_ref()),
            Self::Json(span, _) => *span,
        }
    }
}

/// The place of a part of an HCL file. Inside of JSON's strings there is none, and it is that of the string.
pub(crate) fn place(file: FileId, part: &impl hcl_edit::Span) -> Span {
    let range = part.span().unwrap_or(0..0);
    Span::new(file, range.start, range.end)
}

/// Reads a file.
///
/// # Errors
/// `bake/invalid-file`, `bake/unknown-key`.
pub fn parse(file: FileId, source: &SourceFile, format: Format) -> Result<File> {
    let mut parsed = File {
        variables: Vec::new(),
        groups: Vec::new(),
        targets: Vec::new(),
        functions: Vec::new(),
        values: Vec::new(),
    };
    let text = source.text.strip_prefix('\u{feff}').unwrap_or(&source.text);
    let shift = source.text.len() - text.len();
    match format {
        Format::Hcl => {
            let body: Body = text.parse().map_err(|error: hcl_edit::parser::Error| {
                let offset = (shift + error.location().offset()).min(source.text.len());
                let message = error.message().trim_start_matches("invalid expression; ").to_owned();
                Diagnostic::error(&codes::INVALID_FILE, format!("{} cannot be read", source.path))
                    .at(Span::new(file, offset, offset), message)
                    .hint("strings stand in double quotes, lists in brackets, blocks are `target \"name\" { … }`")
                    .boxed()
            })?;
            hcl(file, body, &mut parsed)?;
        }
        Format::Json => json(file, source, text, &mut parsed)?,
    }
    Ok(parsed)
}

const BLOCKS: [&str; 4] = ["variable", "group", "target", "function"];

fn hcl(file: FileId, body: Body, parsed: &mut File) -> Result<()> {
    for structure in body {
        match structure {
            Structure::Attribute(attribute) => {
                let name = Spanned::new(attribute.key.to_string(), place(file, &attribute.key));
                parsed.values.push((name, Expr::Hcl(file, Box::new(attribute.value))));
            }
            Structure::Block(block) => {
                let kind = Spanned::new(block.ident.to_string(), place(file, &block.ident));
                let label = block.labels.first().map(|label| {
                    let span = match label {
                        hcl_edit::structure::BlockLabel::Ident(name) => place(file, name),
                        hcl_edit::structure::BlockLabel::String(name) => place(file, name),
                    };
                    Spanned::new(label.as_str().to_owned(), span)
                });
                let name = label.filter(|_| block.labels.len() == 1).ok_or_else(|| {
                    Diagnostic::error(&codes::INVALID_FILE, format!("a block `{}` has one name", kind.value))
                        .at(kind.span, "not one name")
                        .hint(format!("write {} \"name\" {{ … }}", kind.value))
                        .boxed()
                });
                let list = list(&kind, parsed)?;
                list.push(block_of(file, name?, block.body)?);
            }
        }
    }
    Ok(())
}

fn block_of(file: FileId, name: Spanned<String>, body: Body) -> Result<Block> {
    let mut own = Block { name, attributes: Vec::new(), blocks: Vec::new() };
    for structure in body {
        match structure {
            Structure::Attribute(attribute) => {
                let name = Spanned::new(attribute.key.to_string(), place(file, &attribute.key));
                own.attributes.push((name, Expr::Hcl(file, Box::new(attribute.value))));
            }
            Structure::Block(block) => {
                let kind = Spanned::new(block.ident.to_string(), place(file, &block.ident));
                own.blocks.push(block_of(file, kind, block.body)?);
            }
        }
    }
    Ok(own)
}

fn list<'a>(kind: &Spanned<String>, parsed: &'a mut File) -> Result<&'a mut Vec<Block>> {
    match kind.value.as_str() {
        "variable" => Ok(&mut parsed.variables),
        "group" => Ok(&mut parsed.groups),
        "target" => Ok(&mut parsed.targets),
        "function" => Ok(&mut parsed.functions),
        other => {
            let diagnostic = Diagnostic::error(&codes::UNKNOWN_KEY, format!("bake files have no block `{other}`"))
                .at(kind.span, "unknown block");
            Err(match nearest(other, BLOCKS) {
                Some(known) => diagnostic.hint(format!("did you mean `{known}`?")),
                None => diagnostic.hint("they have variable, function, group and target"),
            }
            .boxed())
        }
    }
}

fn json(file: FileId, source: &SourceFile, text: &str, parsed: &mut File) -> Result<()> {
    let whole = Span::new(file, 0, 0);
    let malformed = |reason: String, span: Span| {
        Diagnostic::error(&codes::INVALID_FILE, format!("{} cannot be read", source.path))
            .at(span, reason)
            .hint("it is {\"target\": {\"name\": { … }}}, and groups and variables likewise")
            .boxed()
    };
    let value: Value = serde_json::from_str(text).map_err(|error| {
        let before: usize = text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
        let offset = before + error.column().saturating_sub(1);
        malformed(error.to_string(), Span::new(file, offset.min(text.len()), offset.min(text.len())))
    })?;
    let Value::Object(top) = value else { return Err(malformed("not an object".into(), whole)) };
    for (key, value) in top {
        let span = find(file, &source.text, &key);
        let kind = Spanned::new(key, span);
        if !BLOCKS.contains(&kind.value.as_str()) {
            parsed.values.push((kind, Expr::Json(span, value)));
            continue;
        }
        let Value::Object(named) = value else { return Err(malformed("not an object by names".into(), span)) };
        for (name, value) in named {
            let span = find(file, &source.text, &name);
            let Value::Object(attributes) = value else { return Err(malformed("not an object".into(), span)) };
            let own = |key: String, value: Value| {
                let span = find(file, &source.text, &key);
                (Spanned::new(key, span), Expr::Json(span, value))
            };
            let attributes = attributes.into_iter().map(|(key, value)| own(key, value)).collect();
            let block = Block { name: Spanned::new(name, span), attributes, blocks: Vec::new() };
            list(&kind, parsed)?.push(block);
        }
    }
    Ok(())
}

/// Where a key stands first: nearer places are not kept when JSON is read.
fn find(file: FileId, text: &str, key: &str) -> Span {
    let quoted = Value::String(key.to_owned()).to_string();
    let start = text.find(&quoted).unwrap_or(0);
    Span::new(file, start, if start == 0 { 0 } else { start + quoted.len() })
}

/// The template that a string of JSON is.
pub(crate) fn template(text: &str, span: Span) -> Result<Template> {
    text.parse().map_err(|error: hcl_edit::parser::Error| {
        Diagnostic::error(&codes::INVALID_FILE, format!("`{text}` is not a template"))
            .at(span, error.message().to_owned())
            .hint("write a variable as ${NAME}, and a literal `${` as `$${`")
            .boxed()
    })
}
