//! From a template's text to its tree: the grammar of Go's text/template.

use std::collections::BTreeMap;

use super::functions;

/// Past this, nesting is a mistake or an attack.
const DEPTH_MAX: usize = 100;

/// What is wrong with a template, and where: a byte of its text.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Problem {
    pub(super) at: usize,
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

impl Problem {
    pub(super) fn new(at: usize, message: impl Into<String>) -> Self {
        Self { at, message: message.into(), hint: None }
    }
}

pub(super) type Parsed<T> = Result<T, Problem>;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Text(String),
    Action(Pipe),
    If { condition: Pipe, then: Vec<Node>, otherwise: Vec<Node> },
    With { value: Pipe, then: Vec<Node>, otherwise: Vec<Node> },
    Range { over: Pipe, each: Vec<Node>, otherwise: Vec<Node> },
    Template { at: usize, name: String, with: Option<Pipe> },
    Break,
    Continue,
}

/// `$a, $b := command | command`
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pipe {
    pub(super) at: usize,
    pub(super) variables: Vec<String>,
    /// Whether the variables are new: `:=`.
    pub(super) declares: bool,
    pub(super) commands: Vec<Command>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Command {
    pub(super) at: usize,
    /// At least one.
    pub(super) operands: Vec<Operand>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Operand {
    pub(super) at: usize,
    pub(super) term: Term,
    /// `.A.B` behind it.
    pub(super) fields: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Term {
    Dot,
    Nil,
    Boolean(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    Variable(String),
    Function(&'static str),
    Pipe(Box<Pipe>),
}

/// Templates by name; the text itself is under an empty one.
pub(super) type Templates = BTreeMap<String, Vec<Node>>;

/// Reads a template. Backslash sequences in text are characters where `escapes` says so.
pub(super) fn parse(text: &str, escapes: bool) -> Parsed<Templates> {
    let mut parser = Parser {
        text,
        at: 0,
        escapes,
        trims: false,
        variables: Vec::new(),
        loops: 0,
        depth: 0,
        templates: Templates::new(),
    };
    let (nodes, end) = parser.list(true)?;
    if let Some((at, word)) = end {
        return Err(Problem::new(at, format!("unexpected {{{{{word}}}}}")));
    }
    let mut templates = parser.templates;
    templates.insert(String::new(), nodes);
    Ok(templates)
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
    escapes: bool,
    /// Whether the action before ended with `-}}`.
    trims: bool,
    variables: Vec<String>,
    loops: usize,
    depth: usize,
    templates: Templates,
}

/// What ends a list of nodes: `end` or `else`, and where it stands.
type End = Option<(usize, &'static str)>;

impl Parser<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn wrong<T>(&self, message: impl Into<String>) -> Parsed<T> {
        Err(Problem::new(self.at, message))
    }

    /// Nodes to the `end` or `else` that is theirs. After `else`, its own action is still to be read.
    fn list(&mut self, top: bool) -> Parsed<(Vec<Node>, End)> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return self.wrong("it is nested too deeply");
        }
        let mut nodes = Vec::new();
        loop {
            let rest = self.rest();
            let length = rest.find("{{").unwrap_or(rest.len());
            let (mut text, open) = (&rest[..length], length < rest.len());
            let trims_end = open && after_trim(&rest[length + 2..]);
            if self.trims {
                text = text.trim_start_matches(is_space);
            }
            if trims_end {
                text = text.trim_end_matches(is_space);
            }
            if !text.is_empty() {
                nodes.push(Node::Text(if self.escapes { unescaped(text) } else { text.to_owned() }));
            }
            self.trims = false;
            self.at += length;
            if !open {
                self.depth -= 1;
                return Ok((nodes, None));
            }
            let start = self.at;
            self.at += if trims_end { 3 } else { 2 };
            self.spaces();
            if self.rest().starts_with("/*") {
                self.comment(start)?;
                continue;
            }
            let word = self.keyword();
            self.at += word.len();
            match word {
                "end" => {
                    self.close()?;
                    self.depth -= 1;
                    return Ok((nodes, Some((start, "end"))));
                }
                "else" => {
                    self.depth -= 1;
                    return Ok((nodes, Some((start, "else"))));
                }
                "if" | "with" | "range" => nodes.push(self.control(start, word)?),
                "define" => {
                    if !top {
                        return Err(Problem::new(start, "unexpected {{define}}: it stands at the top"));
                    }
                    let name = self.quoted_name()?;
                    self.close()?;
                    let body = self.body(start)?;
                    self.templates.insert(name, body);
                }
                "block" => {
                    let name = self.quoted_name()?;
                    let with = self.pipe(false)?;
                    self.close()?;
                    let body = self.body(start)?;
                    self.templates.entry(name.clone()).or_insert(body);
                    nodes.push(Node::Template { at: start, name, with: Some(with) });
                }
                "template" => {
                    let name = self.quoted_name()?;
                    self.spaces();
                    let with = if self.closing().is_some() { None } else { Some(self.pipe(false)?) };
                    self.close()?;
                    nodes.push(Node::Template { at: start, name, with });
                }
                "break" | "continue" => {
                    if self.loops == 0 {
                        return Err(Problem::new(start, format!("{{{{{word}}}}} outside {{{{range}}}}")));
                    }
                    self.close()?;
                    nodes.push(if word == "break" { Node::Break } else { Node::Continue });
                }
                _ => {
                    if self.closing().is_some() {
                        return self.wrong("missing value for command");
                    }
                    let pipe = self.pipe(false)?;
                    self.close()?;
                    nodes.push(Node::Action(pipe));
                }
            }
        }
    }

    /// The word of an action that is no pipeline, else nothing.
    fn keyword(&self) -> &'static str {
        const WORDS: [&str; 10] =
            ["block", "break", "continue", "define", "else", "end", "if", "range", "template", "with"];
        let rest = self.rest();
        let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        WORDS.into_iter().find(|word| *word == &rest[..length]).unwrap_or("")
    }

    fn comment(&mut self, start: usize) -> Parsed<()> {
        let Some(length) = self.rest().find("*/") else {
            return Err(Problem::new(start, "unclosed comment"));
        };
        self.at += length + 2;
        let rest = self.rest();
        if rest.starts_with("}}")
            || (rest.starts_with(is_space) && rest.trim_start_matches(is_space).starts_with("-}}"))
        {
            return self.close();
        }
        self.wrong("comment ends before closing delimiter")
    }

    /// A template's own body: none of the variables and loops around it.
    fn body(&mut self, start: usize) -> Parsed<Vec<Node>> {
        let variables = std::mem::take(&mut self.variables);
        let loops = std::mem::take(&mut self.loops);
        let (nodes, end) = self.list(false)?;
        match end {
            Some((_, "end")) => {}
            Some((at, word)) => return Err(Problem::new(at, format!("unexpected {{{{{word}}}}}"))),
            None => return Err(Problem::new(start, "unexpected end of the template: {{end}} is missing")),
        }
        self.variables = variables;
        self.loops = loops;
        Ok(nodes)
    }

    fn control(&mut self, start: usize, word: &str) -> Parsed<Node> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return self.wrong("it is nested too deeply");
        }
        let scope = self.variables.len();
        self.spaces();
        if self.closing().is_some() {
            return self.wrong(format!("missing value for {word}"));
        }
        let pipe = self.pipe(word == "range")?;
        self.close()?;
        self.loops += usize::from(word == "range");
        let inner_scope = self.variables.len();
        let (then, end) = self.list(false)?;
        self.loops -= usize::from(word == "range");
        self.variables.truncate(inner_scope);
        let missing =
            || Problem::new(start, format!("unexpected end of the template: {{{{{word}}}}} has no {{{{end}}}}"));
        let otherwise = match end.ok_or_else(missing)? {
            (_, "end") => Vec::new(),
            (at, _) => {
                self.spaces();
                let next = self.keyword();
                if (next == "if" && word != "range") || (next == "with" && word == "with") {
                    self.at += next.len();
                    // It shares the end of this one.
                    vec![self.control(at, next)?]
                } else {
                    self.close()?;
                    let (nodes, end) = self.list(false)?;
                    match end.ok_or_else(missing)? {
                        (_, "end") => nodes,
                        (at, word) => return Err(Problem::new(at, format!("unexpected {{{{{word}}}}}"))),
                    }
                }
            }
        };
        self.variables.truncate(scope);
        self.depth -= 1;
        Ok(match word {
            "if" => Node::If { condition: pipe, then, otherwise },
            "with" => Node::With { value: pipe, then, otherwise },
            _ => Node::Range { over: pipe, each: then, otherwise },
        })
    }

    fn spaces(&mut self) -> bool {
        let length = self.rest().len() - self.rest().trim_start_matches(is_space).len();
        self.at += length;
        length > 0
    }

    /// The length of the action's end where one stands here, and whether it trims.
    fn closing(&self) -> Option<(usize, bool)> {
        let rest = self.rest();
        if rest.starts_with("}}") {
            return Some((2, false));
        }
        (rest.starts_with("-}}") && self.text[..self.at].ends_with(is_space)).then_some((3, true))
    }

    fn close(&mut self) -> Parsed<()> {
        self.spaces();
        match self.closing() {
            Some((length, trims)) => {
                self.at += length;
                self.trims = trims;
                Ok(())
            }
            None if self.rest().is_empty() => self.wrong("unclosed action: }} is missing"),
            None => self.wrong(format!("unexpected {} in the action", self.word_here())),
        }
    }

    fn word_here(&self) -> String {
        let word: String = self.rest().chars().take_while(|c| !is_space(*c) && *c != '}').take(20).collect();
        format!("`{word}`")
    }

    fn quoted_name(&mut self) -> Parsed<String> {
        self.spaces();
        match self.rest().chars().next() {
            Some('"') => self.quoted(),
            Some('`') => self.raw(),
            _ => self.wrong("the name of a template is to stand here, in quotes"),
        }
    }

    fn pipe(&mut self, is_range: bool) -> Parsed<Pipe> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return self.wrong("it is nested too deeply");
        }
        self.spaces();
        let at = self.at;
        let (variables, declares) = self.declaration(is_range)?;
        let mut commands = vec![self.command()?];
        while self.rest().starts_with('|') {
            self.at += 1;
            commands.push(self.command()?);
        }
        // What follows the first gets its value, so it must be able to take one.
        for command in &commands[1..] {
            let first = &command.operands[0];
            let takes = matches!(first.term, Term::Function(_)) || !first.fields.is_empty();
            if !takes {
                return Err(Problem::new(command.at, "what follows a | is to be a function"));
            }
        }
        if declares {
            self.variables.extend(variables.iter().cloned());
        }
        self.depth -= 1;
        Ok(Pipe { at, variables, declares, commands })
    }

    /// `$a :=`, `$a =`, in a range `$a, $b :=`.
    fn declaration(&mut self, is_range: bool) -> Parsed<(Vec<String>, bool)> {
        let start = self.at;
        let mut names = Vec::new();
        while self.rest().starts_with('$') {
            names.push(self.variable_name());
            self.spaces();
            if self.rest().starts_with(":=") {
                self.at += 2;
                return Ok((names, true));
            }
            if self.rest().starts_with('=') {
                self.at += 1;
                if let Some(name) = names.iter().find(|name| !self.knows(name)) {
                    return Err(Problem::new(start, format!("undefined variable \"{name}\"")));
                }
                return Ok((names, false));
            }
            if !(is_range && names.len() == 1 && self.rest().starts_with(',')) {
                break;
            }
            self.at += 1;
            self.spaces();
        }
        self.at = start;
        Ok((Vec::new(), false))
    }

    fn knows(&self, name: &str) -> bool {
        name == "$" || self.variables.iter().any(|known| known == name)
    }

    /// With its dollar.
    fn variable_name(&mut self) -> String {
        let rest = self.rest();
        let length = rest[1..].find(|c| !is_word(c)).map_or(rest.len(), |length| length + 1);
        let name = rest[..length].to_owned();
        self.at += length;
        name
    }

    fn command(&mut self) -> Parsed<Command> {
        self.spaces();
        let at = self.at;
        let mut operands = Vec::new();
        loop {
            let spaced = self.spaces();
            let rest = self.rest();
            if self.closing().is_some() || rest.starts_with(['|', ')']) {
                break;
            }
            if rest.is_empty() {
                return self.wrong("unclosed action: }} is missing");
            }
            if !operands.is_empty() && !spaced {
                return self.wrong(format!("unexpected {} in operand", self.word_here()));
            }
            operands.push(self.operand()?);
        }
        if operands.is_empty() {
            return self.wrong("missing value for command");
        }
        Ok(Command { at, operands })
    }

    fn operand(&mut self) -> Parsed<Operand> {
        let at = self.at;
        let mut rest = self.rest().chars();
        let (first, second) = (rest.next().unwrap_or('\0'), rest.next().unwrap_or('\0'));
        let is_digit = |c: char| c.is_ascii_digit();
        let term = match first {
            '.' if !is_digit(second) => {
                if !is_word_start(second) {
                    self.at += 1;
                }
                Term::Dot
            }
            '$' => {
                let name = self.variable_name();
                if !self.knows(&name) {
                    return Err(Problem::new(at, format!("undefined variable \"{name}\"")));
                }
                Term::Variable(name)
            }
            '(' => {
                self.at += 1;
                let pipe = self.pipe(false)?;
                if !self.rest().starts_with(')') {
                    return self.wrong("unclosed left paren");
                }
                self.at += 1;
                Term::Pipe(Box::new(pipe))
            }
            '"' => Term::Text(self.quoted()?),
            '`' => Term::Text(self.raw()?),
            '\'' => Term::Integer(self.character()?),
            '+' | '-' if is_digit(second) || second == '.' => self.number()?,
            _ if is_digit(first) || first == '.' => self.number()?,
            _ if is_word_start(first) => {
                let rest = self.rest();
                let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                let word = &rest[..length];
                let term = match word {
                    "true" => Term::Boolean(true),
                    "false" => Term::Boolean(false),
                    "nil" => Term::Nil,
                    _ => Term::Function(functions::named(word).ok_or_else(|| {
                        let mut problem = Problem::new(at, format!("function `{word}` not defined"));
                        problem.hint = Some(format!("functions: {}", functions::NAMES.join(", ")));
                        problem
                    })?),
                };
                self.at += length;
                term
            }
            _ => return self.wrong(format!("unexpected {} in command", self.word_here())),
        };
        let mut fields = Vec::new();
        while self.rest().starts_with('.') && self.rest()[1..].starts_with(is_word_start) {
            let rest = &self.rest()[1..];
            let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            fields.push(rest[..length].to_owned());
            self.at += length + 1;
        }
        if !fields.is_empty()
            && matches!(term, Term::Nil | Term::Boolean(_) | Term::Integer(_) | Term::Float(_) | Term::Text(_))
        {
            return Err(Problem::new(at, "a constant has no fields"));
        }
        Ok(Operand { at, term, fields })
    }

    fn number(&mut self) -> Parsed<Term> {
        let rest = self.rest();
        let sign = usize::from(rest.starts_with(['+', '-']));
        let is_hex = rest[sign..].starts_with("0x") || rest[sign..].starts_with("0X");
        let mut length = sign;
        for (index, c) in rest[sign..].char_indices() {
            let before = rest[..sign + index].chars().last().unwrap_or(' ');
            let is_exponent_sign = matches!(c, '+' | '-') && matches!(before, 'e' | 'E') && !is_hex;
            if !(is_word(c) || c == '.' || is_exponent_sign) {
                break;
            }
            length = sign + index + c.len_utf8();
        }
        let text = &rest[..length];
        let wrong = || Problem::new(self.at, format!("bad number syntax: `{text}`"));
        let digits = text[sign..].replace('_', "").to_lowercase();
        let radix = |prefix: &str, radix| digits.strip_prefix(prefix).map(|digits| i64::from_str_radix(digits, radix));
        let octal = || (digits.len() > 1 && !digits.contains(['.', 'e', '8', '9'])).then(|| radix("0", 8)).flatten();
        let magnitude = radix("0x", 16).or_else(|| radix("0o", 8)).or_else(|| radix("0b", 2)).or_else(octal);
        let negative = text.starts_with('-');
        let term = match magnitude {
            Some(number) => {
                let number = number.map_err(|_| wrong())?;
                Term::Integer(if negative { -number } else { number })
            }
            None if digits.contains(['.', 'e']) => {
                let is_plain = digits.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | '+' | '-'));
                let number: f64 =
                    digits.parse().ok().filter(|number: &f64| is_plain && number.is_finite()).ok_or_else(wrong)?;
                Term::Float(if negative { -number } else { number })
            }
            None => {
                let sign = if negative { "-" } else { "" };
                Term::Integer(format!("{sign}{digits}").parse().map_err(|_| wrong())?)
            }
        };
        self.at += length;
        Ok(term)
    }

    fn raw(&mut self) -> Parsed<String> {
        let Some(length) = self.rest()[1..].find('`') else { return self.wrong("unterminated raw quoted string") };
        let text = &self.rest()[1..=length];
        let text = if self.escapes { unescaped(text) } else { text.to_owned() };
        self.at += length + 2;
        Ok(text)
    }

    fn character(&mut self) -> Parsed<i64> {
        let start = self.at;
        self.at += 1;
        let mut bytes = Vec::new();
        let wrong = || Problem::new(start, "malformed character constant");
        self.one_character('\'', &mut bytes)?;
        let text = String::from_utf8(bytes).map_err(|_| wrong())?;
        if !self.rest().starts_with('\'') {
            return Err(wrong());
        }
        self.at += 1;
        text.chars().next().map(|c| i64::from(u32::from(c))).ok_or_else(wrong)
    }

    fn quoted(&mut self) -> Parsed<String> {
        let start = self.at;
        self.at += 1;
        let mut bytes = Vec::new();
        while !self.rest().starts_with('"') {
            self.one_character('"', &mut bytes).map_err(|problem| Problem { at: start, ..problem })?;
        }
        self.at += 1;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// One character of a quoted constant, as Go writes them.
    fn one_character(&mut self, quote: char, bytes: &mut Vec<u8>) -> Parsed<()> {
        let unterminated = || Problem::new(self.at, "unterminated quoted string");
        let mut rest = self.rest().chars();
        let first = rest.next().filter(|c| *c != quote && *c != '\n').ok_or_else(unterminated)?;
        if first != '\\' {
            self.at += first.len_utf8();
            bytes.extend(first.encode_utf8(&mut [0; 4]).bytes());
            return Ok(());
        }
        let escape = rest.next().ok_or_else(unterminated)?;
        let wrong = || Problem::new(self.at, format!("invalid escape `\\{escape}` in a quoted string"));
        let simple = match escape {
            'n' => Some(b'\n'),
            't' => Some(b'\t'),
            'r' => Some(b'\r'),
            'a' => Some(7),
            'b' => Some(8),
            'f' => Some(12),
            'v' => Some(11),
            '\\' => Some(b'\\'),
            _ if escape == quote => u8::try_from(quote).ok(),
            _ => None,
        };
        if let Some(byte) = simple {
            bytes.push(byte);
            self.at += 2;
            return Ok(());
        }
        let (skip, count, radix) = match escape {
            'x' => (2, 2, 16),
            'u' => (2, 4, 16),
            'U' => (2, 8, 16),
            '0'..='7' => (1, 3, 8),
            _ => return Err(wrong()),
        };
        let digits = self.rest().get(skip..skip + count).filter(|digits| digits.chars().all(|c| c.is_digit(radix)));
        let number = digits.and_then(|digits| u32::from_str_radix(digits, radix).ok()).ok_or_else(wrong)?;
        if matches!(escape, 'u' | 'U') {
            let character = char::from_u32(number).ok_or_else(wrong)?;
            bytes.extend(character.encode_utf8(&mut [0; 4]).bytes());
        } else {
            bytes.push(u8::try_from(number).map_err(|_| wrong())?);
        }
        self.at += skip + count;
        Ok(())
    }
}

/// Whether what follows `{{` trims the text before it.
fn after_trim(rest: &str) -> bool {
    rest.strip_prefix('-').is_some_and(|rest| rest.starts_with(is_space))
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

fn is_word_start(c: char) -> bool {
    c == '_' || c.is_alphabetic()
}

fn unescaped(text: &str) -> String {
    text.replace("\\t", "\t").replace("\\n", "\n")
}
