//! Physical lines become logical ones: continuations joined, comments dropped, every byte with its place.

use carrack_diag::{FileId, Span, Spanned};

/// Text with the way back to where each byte was written.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) text: String,
    origin: Origin,
}

#[derive(Debug, Clone)]
enum Origin {
    /// Runs that are contiguous in the source: offset in the text, offset in the source.
    Runs { file: FileId, runs: Vec<(usize, usize)> },
    /// Text that comes from elsewhere, such as a base image's ONBUILD: everything was written at one place.
    Fixed(Span),
}

impl Line {
    fn new(file: FileId) -> Self {
        Self { text: String::new(), origin: Origin::Runs { file, runs: Vec::new() } }
    }

    /// Text all of whose spans are `span`.
    pub(crate) fn fixed(text: &str, span: Span) -> Self {
        Self { text: text.to_owned(), origin: Origin::Fixed(span) }
    }

    fn push(&mut self, text: &str, source: usize) {
        if let Origin::Runs { runs, .. } = &mut self.origin {
            runs.push((self.text.len(), source));
        }
        self.text.push_str(text);
    }

    /// The source span of `start..end` of the text.
    pub(crate) fn span(&self, start: usize, end: usize) -> Span {
        match &self.origin {
            Origin::Fixed(span) => *span,
            Origin::Runs { file, runs } => {
                let source = |offset: usize| {
                    let index = runs.partition_point(|(text, _)| *text <= offset).saturating_sub(1);
                    runs.get(index).map_or(0, |(text, source)| source + (offset - text))
                };
                // The end is counted from the last byte, since the next one may stand on another line.
                let last = if end > start { source(end - 1) + 1 } else { source(start) };
                Span::new(*file, source(start), last)
            }
        }
    }

    /// A part of the text with its place.
    pub(crate) fn part(&self, start: usize, end: usize) -> Spanned<String> {
        Spanned::new(self.text[start..end].to_owned(), self.span(start, end))
    }
}

/// Reads a source text line by line.
pub(crate) struct Reader<'a> {
    file: FileId,
    text: &'a str,
    position: usize,
    pub(crate) escape: char,
}

/// A physical line without its end.
pub(crate) struct Physical<'a> {
    pub(crate) text: &'a str,
    pub(crate) start: usize,
    /// Where the next line starts.
    pub(crate) next: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(file: FileId, text: &'a str) -> Self {
        let position = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        Self { file, text, position, escape: '\\' }
    }

    pub(crate) fn file(&self) -> FileId {
        self.file
    }

    /// The source with its line ends.
    pub(crate) fn source(&self, start: usize, end: usize) -> &'a str {
        &self.text[start..end]
    }

    /// The next physical line, not yet taken.
    pub(crate) fn peek(&self) -> Option<Physical<'a>> {
        let start = self.position;
        let rest = self.text.get(start..).filter(|rest| !rest.is_empty())?;
        let length = rest.find('\n').map_or(rest.len(), |newline| newline + 1);
        let text = rest[..length].trim_end_matches(['\n', '\r']);
        Some(Physical { text, start, next: start + length })
    }

    /// Takes the next physical line.
    pub(crate) fn next(&mut self) -> Option<Physical<'a>> {
        let line = self.peek()?;
        self.position = line.next;
        Some(line)
    }

    /// The next logical line that is not blank and no comment. `empty` receives the place of its first empty
    /// continuation line.
    pub(crate) fn logical(&mut self, empty: &mut Option<Span>) -> Option<Line> {
        loop {
            let first = self.next()?;
            let trimmed = first.text.trim_start();
            if trimmed.is_empty() || trimmed.starts_with('#') {
                continue;
            }
            let mut line = Line::new(self.file);
            let indent = first.text.len() - trimmed.len();
            let (part, mut continued) = self.continuation(trimmed);
            line.push(part, first.start + indent);
            while continued {
                let Some(next) = self.next() else { break };
                let trimmed = next.text.trim_start();
                if trimmed.starts_with('#') {
                    continue;
                }
                if trimmed.is_empty() {
                    empty.get_or_insert(Span::new(self.file, next.start, next.start));
                    continue;
                }
                let (part, more) = self.continuation(next.text);
                line.push(part, next.start);
                continued = more;
            }
            if !line.text.trim().is_empty() {
                return Some(line);
            }
        }
    }

    /// The line without a continuation character at its end, and whether there was one. An escaped one is none.
    fn continuation<'b>(&self, line: &'b str) -> (&'b str, bool) {
        let end = line.trim_end_matches([' ', '\t']);
        match end.strip_suffix(self.escape) {
            Some(before) if !before.ends_with(self.escape) => (before, true),
            _ => (line, false),
        }
    }
}
