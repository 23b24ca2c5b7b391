//! The exec form: a JSON array of strings, each with its place.

use carrack_diag::Spanned;

use crate::lines::Line;

/// The strings of `start..` of a line, which must be nothing but a JSON array of strings.
pub(crate) fn strings(line: &Line, start: usize) -> Option<Vec<Spanned<String>>> {
    let mut reader = Reader { text: &line.text, position: start };
    reader.blanks();
    reader.take('[')?;
    reader.blanks();
    let mut strings = Vec::new();
    if reader.take(']').is_none() {
        loop {
            reader.blanks();
            let at = reader.position;
            let value = reader.string()?;
            strings.push(Spanned::new(value, line.span(at, reader.position)));
            reader.blanks();
            if reader.take(',').is_none() {
                reader.take(']')?;
                break;
            }
        }
    }
    reader.blanks();
    (reader.position == line.text.len()).then_some(strings)
}

/// Whether `start..` of a line is a JSON array, of whatever. The reference refuses such a one instead of giving it to a shell.
pub(crate) fn is_array(line: &Line, start: usize) -> bool {
    let mut reader = Reader { text: &line.text, position: start };
    reader.blanks();
    let begins = reader.text[reader.position..].starts_with('[');
    begins && reader.value(0).is_some() && reader.text[reader.position..].trim().is_empty()
}

/// So deep may arrays and objects stand in each other, as in Go's decoder but far less.
const MAX_DEPTH: usize = 64;

struct Reader<'a> {
    text: &'a str,
    position: usize,
}

impl Reader<'_> {
    fn next(&mut self) -> Option<char> {
        let character = self.text[self.position..].chars().next()?;
        self.position += character.len_utf8();
        Some(character)
    }

    fn take(&mut self, wanted: char) -> Option<()> {
        self.text[self.position..].starts_with(wanted).then(|| self.position += wanted.len_utf8())
    }

    fn blanks(&mut self) {
        let rest = &self.text[self.position..];
        self.position += rest.len() - rest.trim_start().len();
    }

    /// Any value, with blanks around it.
    fn value(&mut self, depth: usize) -> Option<()> {
        if depth > MAX_DEPTH {
            return None;
        }
        self.blanks();
        let rest = &self.text[self.position..];
        match rest.chars().next()? {
            '"' => self.string().map(drop)?,
            '[' => self.members(']', |reader| reader.value(depth + 1))?,
            '{' => self.members('}', |reader| {
                reader.blanks();
                reader.string()?;
                reader.blanks();
                reader.take(':')?;
                reader.value(depth + 1)
            })?,
            _ => {
                let word = rest.find(|c: char| !(c.is_ascii_alphanumeric() || "+-.".contains(c))).unwrap_or(rest.len());
                let known = matches!(&rest[..word], "true" | "false" | "null");
                let is_number = rest.starts_with(|c: char| c == '-' || c.is_ascii_digit());
                if !(known || is_number && rest[..word].parse::<f64>().is_ok()) {
                    return None;
                }
                self.position += word;
            }
        }
        self.blanks();
        Some(())
    }

    fn members(&mut self, end: char, mut member: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.next();
        self.blanks();
        if self.take(end).is_some() {
            return Some(());
        }
        loop {
            member(self)?;
            self.blanks();
            if self.take(',').is_none() {
                return self.take(end);
            }
        }
    }

    fn string(&mut self) -> Option<String> {
        self.take('"')?;
        let mut value = String::new();
        loop {
            match self.next()? {
                '"' => return Some(value),
                '\\' => value.push(self.escaped()?),
                character if character < ' ' => return None,
                character => value.push(character),
            }
        }
    }

    fn escaped(&mut self) -> Option<char> {
        Some(match self.next()? {
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let high = self.hex4()?;
                if (0xd800..0xdc00).contains(&high) && self.text[self.position..].starts_with("\\u") {
                    self.position += 2;
                    let low = self.hex4()?;
                    let joined = (0x10000 + ((high - 0xd800) << 10)).wrapping_add(low.wrapping_sub(0xdc00));
                    char::from_u32(joined).unwrap_or(char::REPLACEMENT_CHARACTER)
                } else {
                    char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER)
                }
            }
            character @ ('"' | '\\' | '/') => character,
            _ => return None,
        })
    }

    fn hex4(&mut self) -> Option<u32> {
        let mut number = 0;
        for _ in 0..4 {
            number = number * 16 + self.next()?.to_digit(16)?;
        }
        Some(number)
    }
}
