//! `COPY` and `ADD`.

use std::fmt::Write as _;

use carrack_diag::{Diagnostic, Span};
use carrack_dockerfile::IgnoreFile;
use carrack_dockerfile::ast::{Copy, CopySource, Heredoc, Instruction, Word};

use super::Lowering;
use super::stage::{Stage, clean};
use crate::FileMode;
use crate::codes;
use crate::graph::{Action, CopyAction, Edge, FileContent, Op, Source, Vertex};

/// Flags of one instruction, expanded.
struct Flags {
    owner: Option<String>,
    mode: Option<FileMode>,
    exclude: Vec<String>,
}

/// Where all sources of one instruction go, and how.
struct Target<'a> {
    copy: &'a Copy,
    is_add: bool,
    flags: Flags,
    destination: String,
}

impl Lowering<'_> {
    pub(super) fn copy(&mut self, stage: &mut Stage, instruction: &Instruction, copy: &Copy, is_add: bool) {
        let errors = self.diagnostics.len();
        let (Some(flags), Some(destination)) =
            (self.flags(stage, copy), stage.scope.word(&copy.destination, &mut self.diagnostics))
        else {
            return;
        };
        if destination.is_empty() {
            self.diagnostics.push(
                Diagnostic::error(&codes::INVALID_VALUE, "the destination is empty")
                    .at(copy.destination.span, "expands to nothing")
                    .hint("give the variable a value, or write `.` for the working directory"),
            );
            return;
        }
        let (written, destination) = (destination.clone(), stage.absolute(&destination));
        let target = Target { copy, is_add, flags, destination: destination.clone() };
        let mut inputs = vec![Edge { vertex: stage.vertex }];
        let mut actions = Vec::new();
        let mut names = Vec::new();
        for source in &copy.sources {
            let lowered = match source {
                CopySource::Heredoc(heredoc) => self.written(stage, heredoc, &target),
                CopySource::Path(word) => self.copied(stage, word, &target, instruction.span, &mut inputs),
            };
            if let Some((action, name)) = lowered {
                actions.push(action);
                names.push(name);
            }
        }
        if !self.late.is_empty() {
            return;
        }
        if self.diagnostics[errors..].iter().any(Diagnostic::is_error) {
            return;
        }
        if actions.len() > 1 && !destination.ends_with('/') {
            self.diagnostics.push(
                Diagnostic::error(&codes::INVALID_VALUE, "several sources need a folder as their destination")
                    .at(copy.destination.span, "does not end in a slash")
                    .hint(format!("write `{}/`", copy.destination.value)),
            );
            return;
        }
        self.commit(stage, instruction, copy, is_add, (inputs, actions, names, written));
    }

    /// A here-document as a file, and how the history names it.
    fn written(&mut self, stage: &Stage, heredoc: &Heredoc, target: &Target<'_>) -> Option<(Action, String)> {
        let mut content = heredoc.stripped();
        if heredoc.expand {
            content = stage.scope.heredoc(&heredoc.content, &content, &mut self.diagnostics)?;
        }
        let file = FileContent {
            name: heredoc.name.value.clone(),
            content,
            destination: target.destination.clone(),
            owner: target.flags.owner.clone(),
            mode: target.flags.mode.clone(),
        };
        Some((Action::MakeFile(file), format!("<<{}", heredoc.name.value)))
    }

    /// A path or pattern, and how the history names it.
    fn copied(
        &mut self,
        stage: &Stage,
        word: &Word,
        target: &Target<'_>,
        origin: Span,
        inputs: &mut Vec<Edge>,
    ) -> Option<(Action, String)> {
        let path = stage.scope.word(word, &mut self.diagnostics)?;
        if !self.is_local(&path, word, target.is_add) {
            return None;
        }
        let from = target.copy.from.as_ref().filter(|from| !from.value.is_empty());
        let files = self.files(from.map(|from| (from.value.as_str(), from.span)), origin, stage.index)?;
        let action = CopyAction {
            input: position(inputs, files),
            source: source_path(&path, target.copy.parents),
            destination: target.destination.clone(),
            owner: target.flags.owner.clone(),
            mode: target.flags.mode.clone(),
            parents: target.copy.parents,
            exclude: target.flags.exclude.clone(),
            unpack: target.is_add && target.copy.unpack != Some(false),
            span: word.span,
        };
        Some((Action::Copy(action), path))
    }

    fn commit(
        &mut self,
        stage: &mut Stage,
        instruction: &Instruction,
        copy: &Copy,
        is_add: bool,
        (mut inputs, actions, names, destination): (Vec<Edge>, Vec<Action>, Vec<String>, String),
    ) {
        let keyword = if is_add { "ADD" } else { "COPY" };
        let mut text = String::from(keyword);
        if let Some(chown) = &copy.chown {
            let _ = write!(text, " --chown={}", chown.value);
        }
        if let Some(chmod) = &copy.chmod {
            let _ = write!(text, " --chmod={}", chmod.value);
        }
        if copy.link {
            text.push_str(" --link");
        }
        let _ = write!(text, " {} {destination} # buildkit", names.join(" "));
        let name = format!("{}{}", stage.prefix(), instruction.text);
        let base = stage.vertex;
        if copy.link {
            // A linked layer is made on nothing, so that it stays the same whatever lies below it.
            inputs[0] = Edge { vertex: self.source(Source::Scratch, "scratch".into(), instruction.span) };
        }
        let origin = vec![instruction.span];
        let copied = self.add(Vertex { op: Op::File(actions), inputs, origin: origin.clone(), name: name.clone() });
        stage.vertex = copied;
        if copy.link {
            let inputs = vec![Edge { vertex: base }, Edge { vertex: copied }];
            stage.vertex = self.add(Vertex { op: Op::Merge, inputs, origin, name: format!("{name} (link)") });
        }
        stage.record(text, Some(copied));
    }

    fn flags(&mut self, stage: &Stage, copy: &Copy) -> Option<Flags> {
        if copy.keep_git_dir || copy.checksum.is_some() {
            let span = copy.checksum.as_ref().map_or(copy.destination.span, |word| word.span);
            self.not_yet(
                span,
                "ADD of an address and its flags",
                "fetch the file in a RUN, and check its digest there",
            );
            return None;
        }
        let owner = match &copy.chown {
            None => None,
            Some(word) => Some(stage.scope.word(word, &mut self.diagnostics)?),
        };
        let is_number = |text: &String| text.split(':').all(|part| part.parse::<u32>().is_ok());
        if let (Some(word), true) = (&copy.chown, copy.link && !owner.as_ref().is_none_or(is_number)) {
            self.diagnostics.push(
                Diagnostic::error(&codes::NAMED_OWNER, "an owner's name cannot be looked up with --link")
                    .at(word.span, "a name")
                    .hint("give numbers, for example --chown=1000:1000"),
            );
            return None;
        }
        let mode = match &copy.chmod {
            None => None,
            Some(word) => Some(self.mode(stage, word)?),
        };
        let mut exclude = Vec::new();
        for word in &copy.exclude {
            let pattern = stage.scope.word(word, &mut self.diagnostics)?;
            if IgnoreFile::from_patterns([pattern.as_str()]).is_err() {
                self.diagnostics.push(
                    Diagnostic::error(&codes::INVALID_VALUE, format!("`{pattern}` is not a pattern"))
                        .at(word.span, "malformed pattern")
                        .hint("close the bracket, or escape it with a backslash"),
                );
                return None;
            }
            exclude.push(pattern);
        }
        Some(Flags { owner, mode, exclude })
    }

    fn mode(&mut self, stage: &Stage, word: &Word) -> Option<FileMode> {
        let text = stage.scope.word(word, &mut self.diagnostics)?;
        let mode = FileMode::parse(&text);
        if mode.is_none() {
            self.diagnostics.push(
                Diagnostic::error(&codes::INVALID_VALUE, format!("--chmod cannot be `{text}`"))
                    .at(word.span, "not a mode")
                    .hint("write for example --chmod=0755 or --chmod=u=rwX,go=rX"),
            );
        }
        mode
    }

    /// Whether a source of ADD is a path. Addresses are answered with a diagnostic.
    fn is_local(&mut self, path: &str, word: &Word, is_add: bool) -> bool {
        let remote = ["http://", "https://", "git@", "git://", "ssh://"].iter().any(|scheme| path.starts_with(scheme));
        if is_add && remote {
            self.not_yet(word.span, "ADD of an address", "fetch it in a RUN with curl or git");
            return false;
        }
        if path.is_empty() {
            self.diagnostics.push(
                Diagnostic::error(&codes::INVALID_VALUE, "a source is empty")
                    .at(word.span, "expands to nothing")
                    .hint("give the variable a value, or write `.` for everything"),
            );
            return false;
        }
        true
    }

    pub(super) fn not_yet(&mut self, span: Span, what: &str, hint: &str) {
        self.diagnostics.push(
            Diagnostic::error(&codes::NOT_YET, format!("{what} is not supported yet")).at(span, "not yet").hint(hint),
        );
    }
}

/// The index of an input, added where it is new. The first is what is written to and is not shared with a source.
fn position(inputs: &mut Vec<Edge>, edge: Edge) -> usize {
    match inputs.iter().skip(1).position(|other| *other == edge) {
        Some(index) => index + 1,
        None => {
            inputs.push(edge);
            inputs.len() - 1
        }
    }
}

/// A source path from the root of its tree. Leading `..` have no effect, as documented. With --parents, `/./` marks from
/// where folders are kept.
fn source_path(path: &str, parents: bool) -> String {
    match path.split_once("/./").filter(|_| parents) {
        Some((before, after)) => {
            let before = clean(before);
            format!("{}/.{}", if before == "/" { "" } else { &before }, clean(after))
        }
        None => clean(path),
    }
}
