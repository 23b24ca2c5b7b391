//! Expansion of words: variables with every operator, quotes and escapes.

use std::fmt;

use crate::pattern::Token;

/// Where variables come from.
pub trait Variables {
    /// The value of a variable; none where it is not set.
    fn get(&self, name: &str) -> Option<String>;
}

impl<F: Fn(&str) -> Option<String>> Variables for F {
    fn get(&self, name: &str) -> Option<String> {
        self(name)
    }
}

/// Why a word can't be expanded, in a few words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpandError(pub String);

impl fmt::Display for ExpandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How words are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lexer {
    /// The escape character of the file.
    pub escape: char,
    /// Whether quotes stay and mean nothing (here-documents' contents).
    pub keep_quotes: bool,
    /// Whether an expression whose variable is not set stays as written.
    pub keep_unset: bool,
    /// Whether escape characters stay.
    pub keep_escapes: bool,
}

/// So many braces may stand inside of each other. The reference has no bound and ends on its stack.
const MAX_DEPTH: usize = 64;

/// So much may a word grow by, in bytes: a value that doubles itself line by line would soon be larger than any machine. The
/// kernel hands no program a variable of more than 128 KiB.
const MAX_GROWTH_BYTES: usize = 1 << 20;

/// So many comparisons may the patterns of one word take.
const MAX_COMPARISONS: usize = 1 << 25;

impl Lexer {
    /// Words of a file with this escape character.
    pub fn new(escape: char) -> Self {
        Self { escape, keep_quotes: false, keep_unset: false, keep_escapes: false }
    }

    /// The word with everything expanded, as one.
    pub fn word(&self, text: &str, variables: &dyn Variables) -> Result<String, ExpandError> {
        self.process(text, variables).map(|(word, _)| word)
    }

    /// The same, split at blanks that are not quoted, those of expanded values included.
    pub fn words(&self, text: &str, variables: &dyn Variables) -> Result<Vec<String>, ExpandError> {
        self.process(text, variables).map(|(_, words)| words)
    }

    /// The names of the variables that expanding would look up.
    pub fn names(&self, text: &str) -> Vec<String> {
        let names = std::cell::RefCell::new(Vec::new());
        let record = |name: &str| -> Option<String> {
            names.borrow_mut().push(name.to_owned());
            None
        };
        // A word that cannot be expanded is reported where its value is needed; here only the names are of interest.
        let _ = self.process(text, &record);
        names.into_inner()
    }

    fn process(&self, text: &str, variables: &dyn Variables) -> Result<(String, Vec<String>), ExpandError> {
        let limit_bytes = text.len() + MAX_GROWTH_BYTES;
        let rest = text.chars().peekable();
        let mut run = Run { lexer: *self, rest, variables, depth: 0, limit_bytes, comparisons: MAX_COMPARISONS };
        run.until(None)
    }
}

struct Run<'a> {
    lexer: Lexer,
    rest: std::iter::Peekable<std::str::Chars<'a>>,
    variables: &'a dyn Variables,
    depth: usize,
    /// How long a text may become.
    limit_bytes: usize,
    /// How many comparisons are left to it.
    comparisons: usize,
}

/// Words as they grow.
#[derive(Default)]
struct Words {
    words: Vec<String>,
    word: String,
}

impl Words {
    fn split(&mut self, text: &str) {
        for character in text.chars() {
            if !character.is_whitespace() {
                self.word.push(character);
            } else if !self.word.is_empty() {
                self.words.push(std::mem::take(&mut self.word));
            }
        }
    }

    fn finish(mut self) -> Vec<String> {
        if !self.word.is_empty() {
            self.words.push(self.word);
        }
        self.words
    }
}

impl Run<'_> {
    fn until(&mut self, stop: Option<char>) -> Result<(String, Vec<String>), ExpandError> {
        let mut text = String::new();
        let mut words = Words::default();
        while let Some(character) = self.rest.peek().copied() {
            if Some(character) == stop {
                self.rest.next();
                return Ok((text, words.finish()));
            }
            match character {
                '\'' | '"' if !self.lexer.keep_quotes => {
                    let quoted = if character == '"' { self.double_quoted()? } else { self.single_quoted()? };
                    words.word.push_str(&quoted);
                    text.push_str(&quoted);
                }
                '$' => {
                    let value = self.dollar()?;
                    self.fits(text.len() + value.len())?;
                    words.split(&value);
                    text.push_str(&value);
                }
                _ => {
                    self.rest.next();
                    if character != self.lexer.escape {
                        words.split(character.encode_utf8(&mut [0; 4]));
                        text.push(character);
                        continue;
                    }
                    if self.lexer.keep_escapes {
                        words.word.push(character);
                        text.push(character);
                    }
                    // An escape character at the very end escapes nothing and goes.
                    let Some(escaped) = self.rest.next() else { break };
                    words.word.push(escaped);
                    text.push(escaped);
                }
            }
        }
        match stop {
            None => Ok((text, words.finish())),
            Some(stop) => Err(ExpandError(format!("the matching `{stop}` is missing"))),
        }
    }

    fn fits(&self, length: usize) -> Result<(), ExpandError> {
        if length <= self.limit_bytes {
            return Ok(());
        }
        Err(ExpandError(format!("it grows by more than {} KiB", MAX_GROWTH_BYTES >> 10)))
    }

    fn single_quoted(&mut self) -> Result<String, ExpandError> {
        let mut text = String::new();
        self.rest.next();
        for character in self.rest.by_ref() {
            if character == '\'' {
                return Ok(text);
            }
            text.push(character);
        }
        Err(ExpandError("a single quote is not closed".into()))
    }

    fn double_quoted(&mut self) -> Result<String, ExpandError> {
        let unclosed = || ExpandError("a double quote is not closed".into());
        let mut text = String::new();
        self.rest.next();
        loop {
            match self.rest.peek().copied().ok_or_else(unclosed)? {
                '"' => {
                    self.rest.next();
                    return Ok(text);
                }
                '$' => {
                    let value = self.dollar()?;
                    self.fits(text.len() + value.len())?;
                    text.push_str(&value);
                }
                character => {
                    self.rest.next();
                    if character != self.lexer.escape {
                        text.push(character);
                        continue;
                    }
                    let escaped = self.rest.next().ok_or_else(unclosed)?;
                    if self.lexer.keep_escapes || !(escaped == '"' || escaped == '$' || escaped == self.lexer.escape) {
                        text.push(character);
                    }
                    text.push(escaped);
                }
            }
        }
    }

    fn dollar(&mut self) -> Result<String, ExpandError> {
        self.rest.next();
        match self.rest.peek() {
            None => Ok("$".into()),
            Some('{') => {
                self.rest.next();
                self.depth += 1;
                if self.depth > MAX_DEPTH {
                    return Err(ExpandError(format!("more than {MAX_DEPTH} braces stand inside of each other")));
                }
                let value = self.braced();
                self.depth -= 1;
                value
            }
            Some(_) => {
                let name = self.name();
                if name.is_empty() {
                    return Ok("$".into());
                }
                match self.variables.get(&name) {
                    Some(value) => Ok(value),
                    None if self.lexer.keep_unset => Ok(format!("${name}")),
                    None => Ok(String::new()),
                }
            }
        }
    }

    /// A name, a positional number, or one special parameter; empty where none stands here.
    fn name(&mut self) -> String {
        let mut name = String::new();
        match self.rest.peek() {
            Some(first) if first.is_ascii_digit() => {
                while let Some(digit) = self.rest.next_if(char::is_ascii_digit) {
                    name.push(digit);
                }
            }
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => name.extend(self.rest.next()),
            _ => {
                while let Some(letter) = self.rest.next_if(|letter| letter.is_alphanumeric() || *letter == '_') {
                    name.push(letter);
                }
            }
        }
        name
    }

    fn braced(&mut self) -> Result<String, ExpandError> {
        let unclosed = || ExpandError("the matching `}` is missing".into());
        if matches!(self.rest.peek().ok_or_else(unclosed)?, '{' | '}' | ':') {
            return Err(ExpandError("bad substitution: a variable's name is missing".into()));
        }
        let name = self.name();
        let operator = self.rest.next().ok_or_else(unclosed)?;
        match operator {
            '}' => Ok(match self.variables.get(&name) {
                Some(value) => value,
                None if self.lexer.keep_unset => format!("${{{name}}}"),
                None => String::new(),
            }),
            ':' => {
                let operator = self.rest.next().ok_or_else(unclosed)?;
                if !matches!(operator, '-' | '+' | '?') {
                    return Err(ExpandError(format!("`:{operator}` is not an operator")));
                }
                self.conditional(&name, operator, true)
            }
            '-' | '+' | '?' => self.conditional(&name, operator, false),
            '#' | '%' => self.trimmed(&name, operator),
            '/' => self.replaced(&name),
            operator => Err(ExpandError(format!("`{operator}` is not an operator"))),
        }
    }

    /// `-`, `+` and `?`, with or without the colon that counts an empty value as none.
    fn conditional(&mut self, name: &str, operator: char, empty_is_unset: bool) -> Result<String, ExpandError> {
        let (word, _) = self.until(Some('}'))?;
        let value = self.variables.get(name);
        let colon = if empty_is_unset { ":" } else { "" };
        if value.is_none() && self.lexer.keep_unset {
            return Ok(format!("${{{name}{colon}{operator}{word}}}"));
        }
        let is_set = value.is_some();
        let value = value.filter(|value| !(empty_is_unset && value.is_empty()));
        match (operator, value) {
            ('-', value) => Ok(value.unwrap_or(word)),
            ('+', value) => Ok(value.map_or_else(String::new, |_| word)),
            (_, Some(value)) => Ok(value),
            (_, None) if !word.is_empty() => Err(ExpandError(format!("{name}: {word}"))),
            (_, None) if is_set => Err(ExpandError(format!("{name} is required and empty"))),
            (_, None) => Err(ExpandError(format!("{name} is required and not set"))),
        }
    }

    /// `#`, `##`, `%` and `%%`.
    fn trimmed(&mut self, name: &str, operator: char) -> Result<String, ExpandError> {
        let (word, _) = self.raw_until('}')?;
        let Some(value) = self.variables.get(name) else {
            return Ok(if self.lexer.keep_unset { format!("${{{name}{operator}{word}}}") } else { String::new() });
        };
        let (pattern, longest) = match word.strip_prefix(operator) {
            Some(pattern) => (pattern, true),
            None => (word.as_str(), false),
        };
        let mut tokens = shell_pattern(pattern)?;
        let mut characters: Vec<char> = value.chars().collect();
        if operator == '%' {
            tokens.reverse();
            characters.reverse();
        }
        let length = prefix(&tokens, &characters, longest, &mut self.comparisons)?.unwrap_or(0);
        let mut kept = characters.split_off(length);
        if operator == '%' {
            kept.reverse();
        }
        Ok(kept.into_iter().collect())
    }

    /// `/pattern/replacement` and `//pattern/replacement`.
    fn replaced(&mut self, name: &str) -> Result<String, ExpandError> {
        let all = self.rest.next_if_eq(&'/').is_some();
        let (pattern, _) = self.raw_until('/')?;
        let (replacement, _) = self.raw_until('}')?;
        let Some(value) = self.variables.get(name) else {
            return Ok(if self.lexer.keep_unset {
                format!("${{{name}/{pattern}/{replacement}}}")
            } else {
                String::new()
            });
        };
        let tokens = shell_pattern(&pattern)?;
        let characters: Vec<char> = value.chars().collect();
        let mut result = String::new();
        let mut position = 0;
        let mut done = false;
        while position < characters.len() {
            let found =
                if done { None } else { prefix(&tokens, &characters[position..], true, &mut self.comparisons)? };
            match found.filter(|length| *length > 0) {
                Some(length) => {
                    self.fits(result.len() + replacement.len())?;
                    result.push_str(&replacement);
                    position += length;
                    done = !all;
                }
                None => {
                    result.push(characters[position]);
                    position += 1;
                }
            }
        }
        Ok(result)
    }

    /// Up to `stop`, with escape characters kept: a pattern needs them.
    fn raw_until(&mut self, stop: char) -> Result<(String, Vec<String>), ExpandError> {
        let keep = std::mem::replace(&mut self.lexer.keep_escapes, true);
        let result = self.until(Some(stop));
        self.lexer.keep_escapes = keep;
        result
    }
}

/// A pattern of the operators that cut and replace: `*`, `?`, and everything else literal. In it the escape character is
/// always a backslash.
fn shell_pattern(pattern: &str) -> Result<Vec<Token>, ExpandError> {
    let mut tokens = Vec::new();
    let mut rest = pattern.chars();
    while let Some(character) = rest.next() {
        tokens.push(match character {
            '*' => Token::Anything,
            '?' => Token::One,
            '\\' => match rest.next() {
                Some(escaped @ ('*' | '?' | '\\' | '/' | '}')) => Token::Literal(escaped),
                Some(other) => return Err(ExpandError(format!("`\\{other}` is not an escape in a pattern"))),
                None => return Err(ExpandError("the pattern ends with an escape character".into())),
            },
            character => Token::Literal(character),
        });
    }
    Ok(tokens)
}

/// The length of the shortest or longest beginning of `text` that the tokens match.
fn prefix(
    tokens: &[Token],
    text: &[char],
    longest: bool,
    comparisons: &mut usize,
) -> Result<Option<usize>, ExpandError> {
    let enter = |states: &mut [bool], mut index: usize| {
        states[index] = true;
        while matches!(tokens.get(index), Some(Token::Anything)) {
            index += 1;
            states[index] = true;
        }
    };
    let mut states = vec![false; tokens.len() + 1];
    enter(&mut states, 0);
    let mut next = vec![false; tokens.len() + 1];
    let mut found = states[tokens.len()].then_some(0);
    for (position, character) in text.iter().enumerate() {
        if found.is_some() && !longest {
            break;
        }
        let left = comparisons.checked_sub(tokens.len() + 1);
        *comparisons = left.ok_or_else(|| ExpandError("its pattern takes too long to compare".into()))?;
        next.fill(false);
        for (index, token) in tokens.iter().enumerate().filter(|(index, _)| states[*index]) {
            match token {
                Token::Anything => enter(&mut next, index),
                Token::Literal(literal) if literal != character => {}
                _ => enter(&mut next, index + 1),
            }
        }
        if next[tokens.len()] {
            found = Some(position + 1);
        }
        if !next.contains(&true) {
            break;
        }
        std::mem::swap(&mut states, &mut next);
    }
    Ok(found)
}
