use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use crate::source::floor_boundary;
use crate::{Diagnostic, FileId, Severity, SourceMap, Span};

/// How a diagnostic is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rendering {
    /// Whether ANSI colours may be used. The text makes sense without.
    pub color: bool,
}

/// A diagnostic as a person reads it: message, source lines with underlines, causes, hints. Ends with a newline.
pub fn text(diagnostic: &Diagnostic, sources: &SourceMap, rendering: Rendering) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Note => Level::NOTE,
    };
    let title = level.primary_title(printable(&diagnostic.message)).id(diagnostic.code.id);
    let mut group = Group::with_title(title);
    for file in files(diagnostic, sources) {
        let source = sources.get(file);
        let labels = || diagnostic.labels.iter().enumerate().filter(|(_, label)| label.span.file == file);
        // The renderer takes every line of what it gets apart.
        let shown = lines_of(&source.text, labels().map(|(_, label)| byte_range(&source.text, label.span)));
        let first = source.text[..shown.start].bytes().filter(|byte| *byte == b'\n').count() + 1;
        let lines = &source.text[shown.clone()];
        let mut snippet = Snippet::source(lines).line_start(first).path(&*source.path).fold(true);
        for (index, label) in labels() {
            let kind = if index == 0 { AnnotationKind::Primary } else { AnnotationKind::Context };
            let range = byte_range(&source.text, label.span);
            let annotation = kind.span(range.start - shown.start..range.end - shown.start);
            snippet = snippet.annotation(if label.text.is_empty() {
                annotation
            } else {
                annotation.label(printable(&label.text))
            });
        }
        group = group.element(snippet);
    }
    for cause in &diagnostic.causes {
        group = group.element(Level::NOTE.with_name("because").message(printable(cause)));
    }
    for hint in &diagnostic.hints {
        group = group.element(Level::HELP.message(printable(hint)));
    }
    let renderer = if rendering.color { Renderer::styled() } else { Renderer::plain() };
    let mut out = renderer.render(&[group]);
    out.push('\n');
    out
}

/// The JSON form: `code`, `severity`, `message`, `labels` (with `path`, `line`, `column`, byte `start` and `end`,
/// `text`), `causes`, `hints`.
pub fn json(diagnostic: &Diagnostic, sources: &SourceMap) -> serde_json::Value {
    let labels: Vec<_> = diagnostic
        .labels
        .iter()
        .filter(|label| sources.find(label.span.file).is_some())
        .map(|label| {
            let position = sources.position(label.span);
            serde_json::json!({
                "path": position.path,
                "line": position.line,
                "column": position.column,
                "start": label.span.start,
                "end": label.span.end,
                "text": label.text,
            })
        })
        .collect();
    serde_json::json!({
        "code": diagnostic.code.id,
        "severity": diagnostic.severity,
        "message": diagnostic.message,
        "labels": labels,
        "causes": diagnostic.causes,
        "hints": diagnostic.hints,
    })
}

/// The files that the labels point into, the primary one first.
fn files(diagnostic: &Diagnostic, sources: &SourceMap) -> Vec<FileId> {
    let mut files = Vec::new();
    for label in &diagnostic.labels {
        if sources.find(label.span.file).is_some() && !files.contains(&label.span.file) {
            files.push(label.span.file);
        }
    }
    files
}

/// The whole lines that hold some ranges.
fn lines_of(text: &str, ranges: impl Iterator<Item = Range<usize>>) -> Range<usize> {
    let both = |one: Range<usize>, other: Range<usize>| one.start.min(other.start)..one.end.max(other.end);
    let range = ranges.reduce(both).unwrap_or(0..0);
    let start = text[..range.start].rfind('\n').map_or(0, |newline| newline + 1);
    let end = text[range.end..].find('\n').map_or(text.len(), |newline| range.end + newline + 1);
    start..end
}

fn byte_range(text: &str, span: Span) -> Range<usize> {
    let start = floor_boundary(text, span.start as usize);
    let end = floor_boundary(text, span.end as usize).max(start);
    start..end
}

/// Names and outputs come from outside: a control character in one must not drive the reader's terminal.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() && c != '\n' && c != '\t' { char::REPLACEMENT_CHARACTER } else { c })
        .collect()
}
