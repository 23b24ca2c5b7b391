mod expand;
mod ignore;
mod parse;
mod properties;

use carrack_diag::{Diagnostic, SourceMap};

use crate::Dockerfile;

/// A parsed text and its diagnostics, each as `code line:column message [hints]`.
fn parsed(text: &str) -> (Dockerfile, Vec<String>) {
    let mut sources = SourceMap::new();
    let file = sources.add("Dockerfile", text);
    let (dockerfile, diagnostics) = crate::parse(file, sources.get(file));
    (dockerfile, diagnostics.iter().map(|diagnostic| line(diagnostic, &sources)).collect())
}

fn line(diagnostic: &Diagnostic, sources: &SourceMap) -> String {
    let position = sources.position(diagnostic.labels[0].span);
    format!(
        "{} {}:{}:{} {} [{}]",
        diagnostic.code.id,
        position.path,
        position.line,
        position.column,
        diagnostic.message,
        diagnostic.hints.join("; ")
    )
}

#[test]
fn codes_are_unique_and_of_this_area() {
    let mut ids: Vec<_> = crate::codes::ALL.iter().map(|code| code.id).collect();
    ids.sort_unstable();
    let count = ids.len();
    ids.dedup();
    assert_eq!(ids.len(), count);
    assert!(ids.iter().all(|id| id.starts_with("dockerfile/")));
}
