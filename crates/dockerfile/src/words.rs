//! Splitting of an instruction's arguments at blanks. Quotes and escapes are honoured and kept.

use carrack_diag::Spanned;

use crate::lines::Line;

/// The words of `start..` of a line. A quote that is never closed takes the rest of the line.
pub(crate) fn quoted(line: &Line, start: usize, escape: char) -> Vec<Spanned<String>> {
    let mut words = Vec::new();
    let mut word_start = None;
    let mut quote = None;
    let mut characters = line.text[start..].char_indices();
    while let Some((index, character)) = characters.next() {
        let at = start + index;
        if character.is_whitespace() && quote.is_none() {
            if let Some(word_start) = word_start.take() {
                words.push(line.part(word_start, at));
            }
            continue;
        }
        word_start.get_or_insert(at);
        match quote {
            None if character == '\'' || character == '"' => quote = Some(character),
            Some(open) if character == open => quote = None,
            // Single quotes take an escape character literally.
            Some('\'') => {}
            _ if character == escape => {
                characters.next();
            }
            _ => {}
        }
    }
    if let Some(word_start) = word_start {
        words.push(line.part(word_start, line.text.len()));
    }
    words
}

/// The words of `start..` of a line, split at blanks whatever stands between them.
pub(crate) fn plain(line: &Line, start: usize) -> Vec<Spanned<String>> {
    let text = &line.text[start..];
    text.split_whitespace()
        .map(|word| {
            let at = start + (word.as_ptr() as usize - text.as_ptr() as usize);
            line.part(at, at + word.len())
        })
        .collect()
}

/// `start..` of a line without blanks around it.
pub(crate) fn rest(line: &Line, start: usize) -> Spanned<String> {
    let text = &line.text[start..];
    let trimmed = text.trim();
    let at = start + (text.len() - text.trim_start().len());
    line.part(at, at + trimmed.len())
}
