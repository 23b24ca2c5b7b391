//! `COPY` and `ADD`.

use std::fmt::Write as _;

use carrack_diag::{Diagnostic, Span, Spanned};
use carrack_dockerfile::IgnoreFile;
use carrack_dockerfile::ast::{Copy, CopySource, Heredoc, Instruction, Word};
use carrack_oci::Digest;

use super::Lowering;
use super::stage::{Stage, clean};
use crate::codes;
use crate::graph::{Action, CopyAction, Edge, FileContent, HttpAddress, Op, Source, Vertex};
use crate::{FileMode, GitAddress};

/// Flags of one instruction, expanded.
struct Flags {
    owner: Option<String>,
    mode: Option<FileMode>,
    exclude: Vec<String>,
    checksum: Option<Word>,
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
        let (Some(flags), Some(mut destination)) =
            (self.flags(stage, copy), stage.scope.word(&copy.destination, &mut self.diagnostics))
        else {
            return;
        };
        if destination.is_empty() {
            // As in BuildKit.
            self.diagnostics.push(
                Diagnostic::warning(&codes::INVALID_VALUE, "the destination is empty: the working directory is taken")
                    .at(copy.destination.span, "expands to nothing")
                    .hint("give the variable a value, or write `.` for the working directory"),
            );
            destination.push('.');
        }
        let is_folder = destination.ends_with('/') || destination == "." || destination.ends_with("/.");
        if copy.sources.len() > 1 && !is_folder {
            // The reference wants the slash, and BuildKit takes a folder that is there without.
            self.diagnostics.push(
                Diagnostic::warning(&codes::INVALID_VALUE, "several sources need a folder as their destination")
                    .at(copy.destination.span, "is taken as a folder")
                    .hint(format!("write `{}/`", copy.destination.value)),
            );
            destination.push('/');
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
        self.commit(stage, instruction, copy, is_add, (inputs, actions, names, written));
    }

    /// A here-document as a file, and how the history names it.
    fn written(&mut self, stage: &Stage, heredoc: &Heredoc, target: &Target<'_>) -> Option<(Action, String)> {
        let mut content = heredoc.stripped();
        if heredoc.expand {
            content = stage.scope.heredoc(&heredoc.content, &content, &mut self.diagnostics)?;
        }
        // In a folder it is a file of that folder, whatever path its name looks like.
        let path = clean(&heredoc.name.value);
        let name = path.rsplit('/').next().unwrap_or_default().to_owned();
        if name.is_empty() {
            let message = format!("the here-document `{}` cannot be a file", heredoc.name.value);
            self.invalid(heredoc.name.span, message, "no name of a file", "give it another name");
            return None;
        }
        let file = FileContent {
            name,
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
        if path.is_empty() {
            self.diagnostics.push(
                Diagnostic::error(&codes::INVALID_VALUE, "a source is empty")
                    .at(word.span, "expands to nothing")
                    .hint("give the variable a value, or write `.` for everything"),
            );
            return None;
        }
        let remote = if target.is_add { self.remote(&path, word, target)? } else { None };
        let is_remote = remote.is_some();
        let unpack = target.is_add && target.copy.unpack.unwrap_or(remote.is_none());
        let (files, source) = match remote {
            Some(source) => {
                let within = match &source {
                    Source::Http(file) => format!("/{}", file.name),
                    _ => "/".to_owned(),
                };
                let shown = without_password(&path);
                (Edge { vertex: self.source(source, format!("[fetch] {shown}"), word.span) }, within)
            }
            None => {
                let from = target.copy.from.as_ref().filter(|from| !from.value.is_empty());
                let files = self.files(from.map(|from| (from.value.as_str(), from.span)), origin, stage.index)?;
                (files, source_path(&path, target.copy.parents))
            }
        };
        let action = CopyAction {
            input: position(inputs, files),
            source,
            destination: target.destination.clone(),
            owner: target.flags.owner.clone(),
            mode: target.flags.mode.clone(),
            parents: target.copy.parents,
            exclude: target.flags.exclude.clone(),
            unpack,
            span: word.span,
        };
        Some((Action::Copy(action), if is_remote { without_password(&path) } else { path }))
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
        let checksum = match &copy.checksum {
            None => None,
            Some(word) => Some(Spanned::new(stage.scope.word(word, &mut self.diagnostics)?, word.span)),
        };
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
        Some(Flags { owner, mode, exclude, checksum })
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

    /// What an address after ADD means; the inner none is a path.
    fn remote(&mut self, path: &str, word: &Word, target: &Target<'_>) -> Option<Option<Source>> {
        let checksum = target.flags.checksum.as_ref();
        if let Some(address) = GitAddress::parse(path) {
            let mut address = match address {
                Ok(address) => address,
                Err(reason) => {
                    self.invalid(word.span, format!("`{path}` cannot be used"), "malformed address", &reason);
                    return None;
                }
            };
            address.keep_git_folder |= target.copy.keep_git_dir;
            if let Some(checksum) = checksum {
                let is_commit = (1..=64).contains(&checksum.value.len())
                    && checksum.value.bytes().all(|digit| digit.is_ascii_hexdigit());
                if !is_commit || address.checksum.as_ref().is_some_and(|other| *other != checksum.value) {
                    let message = format!("--checksum cannot be `{}`", checksum.value);
                    self.invalid(
                        checksum.span,
                        message,
                        "no commit",
                        "of a repository it is a commit's digits, given once",
                    );
                    return None;
                }
                address.checksum = Some(checksum.value.clone());
            }
            return Some(Some(Source::Git(address)));
        }
        if target.copy.keep_git_dir {
            self.invalid(
                word.span,
                "--keep-git-dir is for git repositories".into(),
                "no repository",
                "leave the flag away",
            );
            return None;
        }
        let digest = match checksum.map(|word| (word, word.value.parse::<Digest>())) {
            None => None,
            Some((_, Ok(digest))) => Some(digest),
            Some((word, Err(_))) => {
                let message = format!("--checksum cannot be `{}`", word.value);
                self.invalid(word.span, message, "no digest", "write --checksum=sha256: and 64 hexadecimal digits");
                return None;
            }
        };
        let remote = HttpAddress::parse(path, digest);
        if let (None, Some(checksum)) = (&remote, checksum) {
            self.invalid(
                checksum.span,
                "--checksum is for addresses".into(),
                "the source is a path",
                "leave the flag away",
            );
            return None;
        }
        Some(remote.map(Source::Http))
    }

    fn invalid(&mut self, span: Span, message: String, label: &str, hint: &str) {
        self.diagnostics.push(Diagnostic::error(&codes::INVALID_VALUE, message).at(span, label).hint(hint));
    }
}

/// An address as histories and logs may show it, in BuildKit's way.
fn without_password(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else { return address.to_owned() };
    let (host, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    match host.rsplit_once('@') {
        Some((user, host)) if user.contains(':') => format!("{scheme}://xxxxx:xxxxx@{host}{path}"),
        _ => address.to_owned(),
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
