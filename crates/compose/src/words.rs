//! A command written as one text, split into words as a shell would, without expanding anything.

/// The words of `text`; the error is the offset of a quote that is never closed.
pub fn split(text: &str) -> Result<Vec<String>, usize> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            ' ' | '\t' | '\n' | '\r' => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_with(String::new);
                loop {
                    match characters.next() {
                        Some((_, '\'')) => break,
                        Some((_, inside)) => word.push(inside),
                        None => return Err(at),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_with(String::new);
                loop {
                    match characters.next() {
                        Some((_, '"')) => break,
                        Some((_, '\\')) => match characters.next() {
                            Some((_, escaped @ ('"' | '\\' | '$' | '`'))) => word.push(escaped),
                            Some((_, '\n')) => {}
                            Some((_, other)) => word.extend(['\\', other]),
                            None => return Err(at),
                        },
                        Some((_, inside)) => word.push(inside),
                        None => return Err(at),
                    }
                }
            }
            '\\' => match characters.next() {
                Some((_, '\n')) => {}
                Some((_, escaped)) => word.get_or_insert_with(String::new).push(escaped),
                None => word.get_or_insert_with(String::new).push('\\'),
            },
            other => word.get_or_insert_with(String::new).push(other),
        }
    }
    words.extend(word);
    Ok(words)
}
