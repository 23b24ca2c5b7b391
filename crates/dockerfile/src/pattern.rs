//! Go's `path.Match`, which `COPY` and ignore files are written against.

/// A pattern that no path can be held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidPattern;

/// Whether `text` holds a character that makes it a pattern.
pub fn has_wildcard(text: &str) -> bool {
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => {
                characters.next();
            }
            '*' | '?' | '[' => return true,
            _ => {}
        }
    }
    false
}

/// One element of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Token {
    /// This character.
    Literal(char),
    /// `?`: one character other than `/`.
    One,
    /// `*`: any characters other than `/`.
    Star,
    /// `**/` of an ignore file: nothing, or anything that ends in `/`.
    Folders,
    /// `**` at the end of an ignore pattern: anything.
    Anything,
    /// `[a-z]`: one character of these ranges, or of none of them.
    Class { negated: bool, ranges: Vec<(char, char)> },
}

/// Whether `path` as a whole matches `pattern`; `*` and `?` stop at `/`.
pub fn matches(pattern: &str, path: &str) -> Result<bool, InvalidPattern> {
    Ok(run(&compile(pattern)?, path))
}

/// The tokens of a pattern without `**`.
pub(crate) fn compile(pattern: &str) -> Result<Vec<Token>, InvalidPattern> {
    let mut tokens = Vec::new();
    let mut rest = pattern.chars().peekable();
    while let Some(character) = rest.next() {
        tokens.push(match character {
            '*' => Token::Star,
            '?' => Token::One,
            '\\' => Token::Literal(rest.next().ok_or(InvalidPattern)?),
            '[' => class(&mut rest)?,
            character => Token::Literal(character),
        });
    }
    Ok(tokens)
}

/// What follows an opening bracket, as Go reads it: at least one range, `-` and `]` only escaped.
pub(crate) fn class(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Token, InvalidPattern> {
    let negated = rest.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    loop {
        if !ranges.is_empty() && rest.next_if_eq(&']').is_some() {
            return Ok(Token::Class { negated, ranges });
        }
        let low = class_character(rest)?;
        let high = if rest.next_if_eq(&'-').is_some() { class_character(rest)? } else { low };
        ranges.push((low, high));
    }
}

fn class_character(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<char, InvalidPattern> {
    match rest.next() {
        None | Some('-' | ']') => Err(InvalidPattern),
        Some('\\') => rest.next().ok_or(InvalidPattern),
        Some(character) => Ok(character),
    }
}

/// Whether the tokens match all of `text`. Advances a set of positions in the pattern along the text, so the time is
/// bounded by the product of both lengths whatever the pattern is.
pub(crate) fn run(tokens: &[Token], text: &str) -> bool {
    let mut states = vec![false; tokens.len() + 1];
    enter(tokens, &mut states, 0);
    for character in text.chars() {
        let mut next = vec![false; tokens.len() + 1];
        for (index, token) in tokens.iter().enumerate().filter(|(index, _)| states[*index]) {
            let consumed = match token {
                Token::Literal(literal) => *literal == character,
                Token::One => character != '/',
                Token::Class { negated, ranges } => {
                    ranges.iter().any(|(low, high)| (*low..=*high).contains(&character)) != *negated
                }
                Token::Star if character != '/' => {
                    enter(tokens, &mut next, index);
                    false
                }
                Token::Star => false,
                Token::Anything => {
                    enter(tokens, &mut next, index);
                    false
                }
                // Inside of `(.*/)?`: once begun it ends at a slash only, so the way past it is not taken here.
                Token::Folders => {
                    next[index] = true;
                    character == '/'
                }
            };
            if consumed {
                enter(tokens, &mut next, index + 1);
            }
        }
        if !next.contains(&true) {
            return false;
        }
        states = next;
    }
    states[tokens.len()]
}

/// Marks a position and those behind it that are reached without a character.
fn enter(tokens: &[Token], states: &mut [bool], mut index: usize) {
    states[index] = true;
    while matches!(tokens.get(index), Some(Token::Star | Token::Anything | Token::Folders)) {
        index += 1;
        states[index] = true;
    }
}
