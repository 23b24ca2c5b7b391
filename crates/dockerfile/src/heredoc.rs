//! Here-documents of `RUN`, `COPY` and `ADD`.

use carrack_diag::{Diagnostic, Span, Spanned};

use crate::ast::Heredoc;
use crate::codes;
use crate::expand::Lexer;
use crate::lines::{Line, Reader};
use crate::words;

/// The opening of a here-document.
struct Opening {
    name: Spanned<String>,
    expand: bool,
    strip_tabs: bool,
}

/// Takes the here-documents that a line opens from the lines behind it. The offset is where the source goes on.
pub(crate) fn read(
    line: &Line,
    arguments: usize,
    reader: &mut Reader<'_>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<Heredoc> {
    let mut heredocs = Vec::new();
    for word in words::quoted(line, arguments, reader.escape) {
        let Some(opening) = opening(&word, reader.escape) else { continue };
        match body(&opening, reader) {
            Ok(content) => heredocs.push(Heredoc {
                name: opening.name,
                content,
                expand: opening.expand,
                strip_tabs: opening.strip_tabs,
            }),
            Err(()) => {
                let name = &opening.name;
                diagnostics.push(
                    Diagnostic::error(
                        &codes::UNTERMINATED_HEREDOC,
                        format!("the here-document `{}` never ends", name.value),
                    )
                    .at(name.span, "opened here")
                    .hint(format!("end it with a line that holds `{}` alone", name.value)),
                );
                // Nothing is left for those behind it.
                break;
            }
        }
    }
    heredocs
}

/// Whether a word as written opens a here-document.
pub(crate) fn is_opening(word: &Spanned<String>, escape: char) -> bool {
    opening(word, escape).is_some()
}

/// `[N]<<[-]NAME`. A quoted name stands for a content that is taken literally.
fn opening(word: &Spanned<String>, escape: char) -> Option<Opening> {
    let rest = word.value.trim_start_matches(|character: char| character.is_ascii_digit()).strip_prefix("<<")?;
    let (rest, strip_tabs) = rest.strip_prefix('-').map_or((rest, false), |rest| (rest, true));
    if rest.is_empty() || rest.contains('<') {
        return None;
    }
    let lexer = Lexer { keep_unset: true, ..Lexer::new(escape) };
    let none = |_: &str| -> Option<String> { None };
    let names = lexer.words(rest, &none).ok()?;
    let [name] = names.as_slice() else { return None };
    Some(Opening { name: Spanned::new(name.clone(), word.span), expand: name == rest, strip_tabs })
}

fn body(opening: &Opening, reader: &mut Reader<'_>) -> Result<Spanned<String>, ()> {
    let start = reader.peek().map_or(0, |line| line.start);
    while let Some(line) = reader.next() {
        let text = if opening.strip_tabs { line.text.trim_start_matches('\t') } else { line.text };
        if text == opening.name.value {
            let content = reader.source(start, line.start).to_owned();
            return Ok(Spanned::new(content, Span::new(reader.file(), start, line.start)));
        }
    }
    Err(())
}
