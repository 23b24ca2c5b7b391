//! YAML text to [`Node`]s: anchors and merge keys resolved, every value with its place.

use std::collections::{HashMap, HashSet};

use carrack_diag::{Diagnostic, FileId, Span, Spanned};
use saphyr_parser::{Event, Parser, ScalarStyle, Tag};

use crate::codes;
use crate::node::{Entry, MergeTag, Node, Scalar, Value};

/// How deep values may nest. Real files stay below 15; the bound keeps the recursion off the end of the stack.
const MAX_DEPTH: usize = 100;

/// How many values a file may stand for once its aliases are expanded: a bound for "billion laughs" documents.
const MAX_NODES: usize = 100_000;

/// Reads the documents of one file. A document that can't be read is left out, with its error in `diagnostics`.
pub(crate) fn documents(file: FileId, text: &str, diagnostics: &mut Vec<Diagnostic>) -> Vec<Node> {
    let mut reader = Reader {
        file,
        text,
        offsets: Offsets::new(text),
        parser: Parser::new_from_str(text),
        anchors: HashMap::new(),
        nodes: 0,
        diagnostics,
    };
    match reader.stream() {
        Ok(documents) => documents,
        Err(diagnostic) => {
            diagnostics.push(*diagnostic);
            Vec::new()
        }
    }
}

/// Byte offsets of character indices, every 64th kept.
struct Offsets<'t> {
    text: &'t str,
    marks: Vec<usize>,
}

impl<'t> Offsets<'t> {
    fn new(text: &'t str) -> Self {
        Self { text, marks: text.char_indices().step_by(64).map(|(offset, _)| offset).collect() }
    }

    fn byte(&self, character: usize) -> usize {
        let Some(&mark) = self.marks.get(character / 64) else { return self.text.len() };
        self.text[mark..].char_indices().nth(character % 64).map_or(self.text.len(), |(offset, _)| mark + offset)
    }
}

struct Anchored {
    node: Node,
    size: usize,
    height: usize,
}

struct Reader<'t, 'd> {
    file: FileId,
    text: &'t str,
    offsets: Offsets<'t>,
    parser: Parser<'t, saphyr_parser::StrInput<'t>>,
    anchors: HashMap<usize, Anchored>,
    nodes: usize,
    diagnostics: &'d mut Vec<Diagnostic>,
}

impl<'t> Reader<'t, '_> {
    fn stream(&mut self) -> carrack_diag::Result<Vec<Node>> {
        let mut documents = Vec::new();
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(documents),
                Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing => {}
                event => {
                    self.anchors.clear();
                    documents.push(self.node(event, span, 0)?);
                }
            }
        }
    }

    fn next(&mut self) -> carrack_diag::Result<(Event<'t>, Span)> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => {
                let start = self.offsets.byte(span.start.index());
                let end = self.offsets.byte(span.end.index());
                Ok((event, Span::new(self.file, start, end)))
            }
            Some(Err(error)) => {
                let at = self.offsets.byte(error.marker().index());
                let end = self.text[at..].chars().next().map_or(at, |character| at + character.len_utf8());
                Err(Diagnostic::error(&codes::YAML_SYNTAX, "this file is not valid YAML")
                    .at(Span::new(self.file, at, end), error.info())
                    .hint(hint_for(self.text, at))
                    .boxed())
            }
            None => Ok((Event::StreamEnd, Span::new(self.file, self.text.len(), self.text.len()))),
        }
    }

    fn node(&mut self, event: Event<'t>, span: Span, depth: usize) -> carrack_diag::Result<Node> {
        self.count(1, span)?;
        check_depth(depth, span)?;
        let before = self.nodes;
        let (mut node, anchor) = match event {
            Event::Alias(id) => return self.alias(id, span, depth),
            Event::Scalar(text, style, anchor, tag) => {
                (self.scalar(&text, style, tag.as_deref(), trimmed(self.text, span))?, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                let mut node = self.sequence(span, depth)?;
                node.tag = self.merge_tag(tag.as_deref(), span)?;
                (node, anchor)
            }
            Event::MappingStart(anchor, tag) => {
                let mut node = self.mapping(span, depth)?;
                node.tag = self.merge_tag(tag.as_deref(), span)?;
                (node, anchor)
            }
            _ => (Node::new(Value::Null, span), 0),
        };
        if anchor != 0 {
            let size = self.nodes - before + 1;
            // The tag speaks to the place where it is written, not to those that repeat the value.
            let tag = node.tag.take();
            self.anchors.insert(anchor, Anchored { node: node.clone(), size, height: height(&node) });
            node.tag = tag;
        }
        Ok(node)
    }

    fn count(&mut self, nodes: usize, span: Span) -> carrack_diag::Result<()> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes <= MAX_NODES {
            return Ok(());
        }
        let message = format!("this file stands for more than {MAX_NODES} values");
        Err(Diagnostic::error(&codes::YAML_LIMIT, message)
            .at(span, "the limit is passed here")
            .hint("aliases that repeat aliases multiply: write the values out, or split the file")
            .boxed())
    }

    fn alias(&mut self, id: usize, span: Span, depth: usize) -> carrack_diag::Result<Node> {
        let Some(anchored) = self.anchors.get(&id) else {
            return Err(Diagnostic::error(&codes::YAML_SYNTAX, "an alias stands inside the value that it repeats")
                .at(span, "this value would contain itself")
                .hint("write out what is meant here")
                .boxed());
        };
        let (size, height) = (anchored.size, anchored.height);
        self.count(size, span)?;
        check_depth(depth + height, span)?;
        Ok(self.anchors[&id].node.clone())
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, tag: Option<&Tag>, span: Span) -> carrack_diag::Result<Node> {
        let as_text = tag.is_some_and(|tag| tag.is_yaml_core_schema() && tag.suffix == "str");
        let merge_tag = self.merge_tag(tag, span)?;
        let plain = style == ScalarStyle::Plain && !as_text;
        let value = if plain && matches!(text, "" | "~" | "null" | "Null" | "NULL") {
            Value::Null
        } else {
            Value::Scalar(Scalar { text: text.to_owned(), plain })
        };
        Ok(Node { value, span, tag: merge_tag })
    }

    fn merge_tag(&mut self, tag: Option<&Tag>, span: Span) -> carrack_diag::Result<Option<MergeTag>> {
        match tag {
            None => Ok(None),
            Some(tag) if tag.is_yaml_core_schema() => Ok(None),
            Some(tag) if tag.handle == "!" && tag.suffix == "reset" => Ok(Some(MergeTag::Reset)),
            Some(tag) if tag.handle == "!" && tag.suffix == "override" => Ok(Some(MergeTag::Override)),
            // `!` alone only says "not to be guessed at".
            Some(tag) if tag.suffix.is_empty() => Ok(None),
            Some(tag) => Err(Diagnostic::error(&codes::UNKNOWN_TAG, format!("unknown YAML tag `{tag}`"))
                .at(span, "the value it stands at")
                .hint("Compose files know `!reset` and `!override`")
                .boxed()),
        }
    }

    fn sequence(&mut self, start: Span, depth: usize) -> carrack_diag::Result<Node> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::SequenceEnd => {
                    let whole = items.last().map_or(start.to(span), |last: &Node| covering(start, last.span, span));
                    return Ok(Node::new(Value::Sequence(items), whole));
                }
                Event::StreamEnd => return Ok(Node::new(Value::Sequence(items), start)),
                event => items.push(self.node(event, span, depth + 1)?),
            }
        }
    }

    fn mapping(&mut self, start: Span, depth: usize) -> carrack_diag::Result<Node> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut merges: Vec<Merge> = Vec::new();
        let mut known: HashMap<String, Span> = HashMap::new();
        let mut whole = start;
        loop {
            let (event, key_span) = self.next()?;
            if matches!(event, Event::MappingEnd | Event::StreamEnd) {
                whole = covering(start, whole, key_span);
                break;
            }
            let quoted = !matches!(event, Event::Scalar(_, ScalarStyle::Plain, ..));
            let key = self.node(event, key_span, depth + 1)?;
            let (event, value_span) = self.next()?;
            let value = self.node(event, value_span, depth + 1)?;
            whole = whole.to(key.span).to(value_span);
            let name = self.key_text(&key, key_span)?;
            if name == "<<" && !quoted {
                merges.push(Merge { key: key_span, at: value_span, value });
                continue;
            }
            if let Some(first) = known.insert(name.clone(), key_span) {
                return Err(Diagnostic::error(&codes::DUPLICATE_KEY, format!("the key `{name}` is given twice"))
                    .at(key_span, "given again here")
                    .at(first, "first given here")
                    .hint("keep one of them: YAML has no rule for which would win")
                    .boxed());
            }
            entries.push(Entry { key: Spanned::new(name, trimmed(self.text, key_span)), value });
        }
        self.apply_merges(&mut entries, merges)?;
        Ok(Node::new(Value::Mapping(entries), whole))
    }

    fn key_text(&self, key: &Node, span: Span) -> carrack_diag::Result<String> {
        match &key.value {
            Value::Scalar(scalar) => Ok(scalar.text.clone()),
            Value::Null => Ok(self.text.get(span.start as usize..span.end as usize).unwrap_or("").trim().to_owned()),
            _ => Err(Diagnostic::error(&codes::YAML_SYNTAX, format!("{} can't be a key", key.kind()))
                .at(span, "keys are single values")
                .boxed()),
        }
    }

    /// The YAML merge type: keys written out win, then earlier items of a `<<` list. A doubled `<<` is what
    /// docker-compose 1 accepted, the later one winning; the current tool refuses it (Z5).
    fn apply_merges(&mut self, entries: &mut Vec<Entry>, merges: Vec<Merge>) -> carrack_diag::Result<()> {
        if merges.is_empty() {
            return Ok(());
        }
        if let [first, .., last] = merges.as_slice() {
            let names: Vec<&str> = merges.iter().rev().map(|merge| self.source(merge.at)).collect();
            let message = "the merge key `<<` stands twice in one mapping";
            self.diagnostics.push(
                Diagnostic::warning(&codes::DOUBLED_MERGE_KEY, message)
                    .at(last.key, "this one wins where both give a key")
                    .at(first.key, "first given here")
                    .hint(format!("write `<<: [{}]`: other tools refuse this file", names.join(", "))),
            );
        }
        let mut known: HashSet<String> = entries.iter().map(|entry| entry.key.value.clone()).collect();
        for merge in merges.into_iter().rev() {
            let sources = match merge.value.value {
                Value::Sequence(items) => items,
                _ => vec![merge.value],
            };
            for source in sources {
                let Value::Mapping(merged) = source.value else {
                    return Err(Diagnostic::error(
                        &codes::YAML_SYNTAX,
                        format!("`<<` takes a mapping, not {}", source.kind()),
                    )
                    .at(merge.at, "merged here")
                    .at(source.span, "this is what it stands for")
                    .hint("a list can't be merged into a mapping: write both as mappings")
                    .boxed());
                };
                entries.extend(merged.into_iter().filter(|entry| known.insert(entry.key.value.clone())));
            }
        }
        Ok(())
    }

    fn source(&self, span: Span) -> &'t str {
        self.text.get(span.start as usize..span.end as usize).unwrap_or("…").trim()
    }
}

fn check_depth(depth: usize, span: Span) -> carrack_diag::Result<()> {
    if depth <= MAX_DEPTH {
        return Ok(());
    }
    Err(Diagnostic::error(&codes::YAML_LIMIT, format!("values nest deeper than {MAX_DEPTH} levels"))
        .at(span, "this one is too deep")
        .hint("no Compose file needs this: write it flatter")
        .boxed())
}

fn height(node: &Node) -> usize {
    let values = node.items().iter().chain(node.entries().iter().map(|entry| &entry.value));
    1 + values.map(height).max().unwrap_or(0)
}

struct Merge {
    key: Span,
    at: Span,
    value: Node,
}

/// From `start` over the last item; flow collections end at their bracket, block collections at their last item.
fn covering(start: Span, items: Span, end: Span) -> Span {
    let whole = if items.file == start.file && items.start >= start.start { start.to(items) } else { start };
    if end.end > end.start { whole.to(end) } else { whole }
}

/// `span` without the white space around it: block scalars reach into the next line.
fn trimmed(text: &str, span: Span) -> Span {
    let Some(slice) = text.get(span.start as usize..span.end as usize) else { return span };
    let start = span.start as usize + (slice.len() - slice.trim_start().len());
    Span::new(span.file, start, start + slice.trim().len())
}

fn hint_for(text: &str, at: usize) -> &'static str {
    let line_start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    let line = text[line_start..].lines().next().unwrap_or("");
    if line.trim_start_matches(' ').starts_with('\t') {
        "YAML indents with spaces, never with tabs"
    } else {
        "look at the indentation and the quotes here and in the line before"
    }
}
