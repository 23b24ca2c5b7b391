//! Why a step was not taken from the cache: what it is made of now is held against what the most similar earlier step was
//! made of.

mod operation;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Formatter};
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::time::SystemTime;

use carrack_diag::Result;
use carrack_dockerfile::IgnoreFile;
use carrack_llb::{Op, Source as Origin, Vertex, VertexId};
use carrack_oci::Digest;
use carrack_store::Store;
use rustix::fs::FileType;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cache::{self, CacheRecord};
use crate::context::{Folder, IgnoreText};
use crate::select::{Source, State};
use crate::vertex::Solver;

/// A step of a build, and how it came by its result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StepExplanation {
    /// As shown to people: `[build 2/5] RUN make`.
    pub name: String,
    /// Whether the cache has it.
    pub is_cached: bool,
    /// Why not.
    pub reasons: Vec<Reason>,
}

/// Why the cache does not have a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Reason {
    /// The cache was not to be used.
    NoCache,
    /// Nothing like it was built before.
    New,
    /// It was built before, and its result is no longer there.
    Forgotten,
    /// Another instruction stood in its place.
    Instruction {
        /// What stood there.
        was: String,
    },
    /// A variable that it sees.
    Variable {
        /// `ARG` or `ENV`.
        instruction: &'static str,
        /// Its name.
        name: String,
        /// Before; none where there was none.
        was: Option<String>,
        /// Now; none where there is none.
        is: Option<String>,
    },
    /// Something else that is said of it, of which there is nothing to show.
    Option {
        /// In people's words.
        what: String,
    },
    /// Something else that is said of it: the user, the folder, mounts, the network, limits.
    Value {
        /// In people's words.
        what: String,
        /// Before; none where nothing was said.
        was: Option<String>,
        /// Now; none where nothing is said.
        is: Option<String>,
    },
    /// A mount that it has or had.
    Mount {
        /// Where.
        target: String,
        /// Whether it has it now.
        is_new: bool,
    },
    /// The image that it begins with or takes from.
    Image {
        /// Its name.
        name: String,
        /// Manifest or layers before.
        was: String,
        /// Manifest or layers now.
        is: String,
    },
    /// A step that it builds on is done again, or gave something else.
    Step {
        /// Which.
        name: String,
    },
    /// What it takes from elsewhere is not known before it is asked for.
    Fetched {
        /// The address.
        address: String,
    },
    /// A file that it copies or mounts.
    File {
        /// In its context, stage or image.
        path: String,
        /// How it differs.
        change: FileChange,
    },
    /// Files that it copies or mounts have changed, and it is no longer known which.
    Files,
}

/// How a file differs from what it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileChange {
    /// It was not there.
    Added,
    /// It is not there.
    Removed,
    /// It is there, and left out.
    Ignored {
        /// The name of the ignore file.
        by: String,
    },
    /// It was left out.
    Heeded {
        /// The name of the ignore file.
        by: String,
    },
    /// Its bytes.
    Content,
    /// Where the link leads.
    Target,
    /// It has the bytes and the mode of one that is gone.
    Renamed {
        /// What that was called.
        was: String,
    },
    /// Permission bits, in octal.
    Mode {
        /// Before.
        was: String,
        /// Now.
        is: String,
    },
    /// `file`, `folder`, `link` …
    Kind {
        /// Before.
        was: String,
        /// Now.
        is: String,
    },
    /// `UID:GID`.
    Owner {
        /// Before.
        was: String,
        /// Now.
        is: String,
    },
    /// Extended attributes.
    Attributes,
}

impl Display for Reason {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCache => out.write_str("the cache is not to be used for it"),
            Self::New => out.write_str("no earlier build has done it"),
            Self::Forgotten => out.write_str("its result is gone from the cache"),
            Self::Instruction { was } => write!(out, "the instruction was `{was}`"),
            Self::Variable { instruction, name, was, is } => match (was, is) {
                (Some(was), Some(is)) => write!(out, "{instruction} {name} is `{is}`, was `{was}`"),
                (None, Some(is)) => write!(out, "{instruction} {name} is new: `{is}`"),
                (_, None) => write!(out, "{instruction} {name} is gone"),
            },
            Self::Option { what } => write!(out, "{what} changed"),
            Self::Value { what, was, is } => match (was, is) {
                (Some(was), Some(is)) => write!(out, "{what} is `{is}`, was `{was}`"),
                (None, Some(is)) => write!(out, "{what} is `{is}`, was not given"),
                (Some(was), None) => write!(out, "{what} is not given, was `{was}`"),
                (None, None) => write!(out, "{what} changed"),
            },
            Self::Mount { target, is_new: true } => write!(out, "the mount at {target} is new"),
            Self::Mount { target, is_new: false } => write!(out, "the mount at {target} is gone"),
            Self::Image { name, was, is } => write!(out, "the image {name} is {is}, was {was}"),
            Self::Step { name } => write!(out, "the step `{name}` gives something else or has to be done first"),
            Self::Fetched { address } => write!(out, "what {address} holds is known once it is asked for"),
            Self::File { path, change } => match change {
                FileChange::Added => write!(out, "{path} is new"),
                FileChange::Removed => write!(out, "{path} is gone"),
                FileChange::Ignored { by } => write!(out, "{path} is left out by {by}"),
                FileChange::Heeded { by } => write!(out, "{path} is no longer left out by {by}"),
                FileChange::Content => write!(out, "{path} has another content"),
                FileChange::Target => write!(out, "{path} leads elsewhere"),
                FileChange::Renamed { was } => write!(out, "{path} was called {was}"),
                FileChange::Mode { was, is } => write!(out, "{path} has mode {is}, had {was}"),
                FileChange::Kind { was, is } => write!(out, "{path} is a {is}, was a {was}"),
                FileChange::Owner { was, is } => write!(out, "{path} belongs to {is}, did to {was}"),
                FileChange::Attributes => write!(out, "{path} has other extended attributes"),
            },
            Self::Files => out.write_str("files that it takes have changed"),
        }
    }
}

/// What a step was made of, kept with its result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepInputs {
    /// Which Dockerfile and context.
    place: Digest,
    op: Value,
    inputs: Vec<Input>,
    /// Index of the input and digest of what is taken of it; a list of files under that digest may be there.
    selections: Vec<(usize, Digest)>,
    /// Index of the input and what its ignore file was.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    ignores: Vec<(usize, IgnoreText)>,
}

impl StepInputs {
    /// The layers that it took files of, by their topmost chains; of a folder there is none.
    pub(crate) fn copied_from(&self) -> impl Iterator<Item = Digest> {
        self.inputs.iter().skip(1).filter_map(|input| input.id)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Input {
    /// The step's name or the image's.
    name: String,
    /// Of an image's manifest.
    manifest: Option<Digest>,
    /// Of its layers; none where they are not known before something else is done.
    id: Option<Digest>,
    /// Whether it comes from elsewhere; its name is the address.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    is_fetched: bool,
}

impl Input {
    fn unknown(&self) -> Reason {
        match self.is_fetched {
            true => Reason::Fetched { address: self.name.clone() },
            false => Reason::Step { name: self.name.clone() },
        }
    }
}

/// The files that a step takes of one input.
pub(crate) struct Taken<'a> {
    pub(crate) input: usize,
    pub(crate) digest: Digest,
    pub(crate) sources: &'a [Source],
    pub(crate) states: Vec<State>,
}

/// A line of a list of files.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    path: String,
    #[serde(flatten)]
    state: State,
}

/// What earlier builds have left, and what has been found out so far.
pub(crate) struct Explainer {
    place: Digest,
    former: Vec<(SystemTime, CacheRecord)>,
    environment: BTreeSet<String>,
    found: std::sync::Mutex<BTreeMap<usize, Vec<Reason>>>,
}

impl Explainer {
    /// `environment` is the names that ENV sets.
    pub(crate) fn new(store: &Store, place: Digest, environment: BTreeSet<String>) -> Result<Self> {
        let records = cache::records(store);
        let mut former = Vec::new();
        for (key, record) in records.list()? {
            former.extend(records.used(&key)?.map(|used| (used, record)));
        }
        Ok(Self { place, former, environment, found: std::sync::Mutex::default() })
    }

    pub(crate) fn put(&self, id: VertexId, reasons: Vec<Reason>) {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).insert(id.0, reasons);
    }

    /// What was found out of a step that is not cached.
    pub(crate) fn reasons(&self, id: usize) -> Vec<Reason> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.get(&id).cloned().unwrap_or_else(|| vec![Reason::Forgotten])
    }

    /// The earlier step that a step is held against: the same instruction, best of the same Dockerfile; else what stood in
    /// its place.
    fn former(&self, vertex: &Vertex) -> Option<(&StepInputs, Option<Reason>)> {
        let known = self.former.iter().filter_map(|(used, record)| Some((used, record, record.inputs.as_ref()?)));
        let text = text(&vertex.name);
        let same = known.clone().filter(|(_, record, _)| self::text(&record.name) == text);
        if let Some((_, _, inputs)) = same.max_by_key(|(used, _, inputs)| (inputs.place == self.place, **used)) {
            return Some((inputs, None));
        }
        let position = position(&vertex.name);
        let here = known.filter(|(_, record, inputs)| {
            inputs.place == self.place && self::position(&record.name) == position && !position.is_empty()
        });
        let (_, record, inputs) = here.max_by_key(|(used, ..)| **used)?;
        Some((inputs, Some(Reason::Instruction { was: self::text(&record.name).to_owned() })))
    }

    /// Whether a step of the same Dockerfile was done on it, which tells that it was there.
    fn is_built_on(&self, vertex: &Vertex) -> bool {
        let known = self.former.iter().filter_map(|(_, record)| record.inputs.as_ref());
        let mut inputs = known.filter(|inputs| inputs.place == self.place).flat_map(|inputs| &inputs.inputs);
        inputs.any(|input| input.name == vertex.name)
    }

    /// Why a step is not in the cache.
    pub(crate) fn why<'a>(
        &self,
        store: &Store,
        vertex: &Vertex,
        now: &StepInputs,
        taken: &[Taken<'_>],
        folder: &dyn Fn(usize) -> Option<&'a Folder>,
    ) -> Vec<Reason> {
        let earlier = now.inputs.iter().filter(|input| input.id.is_none());
        let mut reasons: Vec<Reason> = earlier.map(Input::unknown).collect();
        let Some((was, instruction)) = self.former(vertex) else {
            reasons.insert(0, if self.is_built_on(vertex) { Reason::Forgotten } else { Reason::New });
            return reasons;
        };
        if let Some(instruction) = instruction {
            reasons.insert(0, instruction);
            return reasons;
        }
        reasons.extend(operation::differences(&was.op, &now.op, &self.environment));
        let former =
            |index: usize| was.selections.iter().filter(move |(input, _)| *input == index).map(|(_, digest)| digest);
        for (index, input) in now.inputs.iter().enumerate() {
            let here = taken.iter().filter(|taken| taken.input == index);
            let is_taken = here.clone().next().is_some();
            if is_taken {
                let pairs = here.zip(former(index));
                // Of several contexts it is told which.
                let place = Some(input.name.as_str()).filter(|name| name.starts_with("the context"));
                let ignore = was.ignores.iter().find(|(input, _)| *input == index).map(|(_, text)| text);
                let left_out = LeftOut { was: ignore.map(|text| (text, text.read())), is: folder(index) };
                pairs.filter(|(taken, was)| taken.digest != **was).for_each(|(taken, was)| {
                    reasons.extend(files(store, was, taken, place, &left_out));
                });
                continue;
            }
            let Some(was) = was.inputs.get(index) else { continue };
            if input.id.is_none() || input.id == was.id {
                continue;
            }
            reasons.push(match (input.manifest, was.manifest) {
                (Some(is), before) => Reason::Image {
                    name: input.name.clone(),
                    was: before.map_or_else(|| was.name.clone(), |digest| digest.short()),
                    is: is.short(),
                },
                (None, _) => Reason::Step { name: input.name.clone() },
            });
        }
        if reasons.is_empty() {
            reasons.push(Reason::Forgotten);
        }
        reasons
    }
}

/// Without the place in the stage.
fn text(name: &str) -> &str {
    name.split_once("] ").map_or(name, |(_, text)| text)
}

/// Stage and number: `[build 2`.
fn position(name: &str) -> &str {
    name.split_once('/').map_or("", |(position, _)| position)
}

impl Solver<'_> {
    /// What a step is made of. Inputs that are not known yet are none.
    pub(crate) fn made_of(&self, vertex: &Vertex, ids: &[Option<Digest>], taken: &[Taken<'_>]) -> StepInputs {
        let inputs = vertex.inputs.iter().zip(ids).map(|(edge, id)| {
            let input = self.graph.vertex(edge.vertex);
            let (name, manifest) = match &input.op {
                Op::Source(Origin::Image { reference, manifest, .. }) => (reference.clone(), Some(*manifest)),
                Op::Source(Origin::Context(None)) => ("the build context".to_owned(), None),
                Op::Source(Origin::Context(Some(name))) => (format!("the context `{name}`"), None),
                Op::Source(Origin::Http(_) | Origin::Git(_)) => (text(&input.name).to_owned(), None),
                _ => (input.name.clone(), None),
            };
            let is_fetched = matches!(input.op, Op::Source(Origin::Http(_) | Origin::Git(_)));
            Input { name, manifest, id: *id, is_fetched }
        });
        let contexts: BTreeSet<usize> = taken.iter().map(|taken| taken.input).collect();
        let ignores = contexts.into_iter().filter_map(|input| {
            let text = self.folder(vertex, input)?.ignore_text.clone()?;
            Some((input, text))
        });
        StepInputs {
            place: self.place,
            op: serde_json::to_value(&vertex.op).unwrap_or_default(),
            inputs: inputs.collect(),
            selections: taken.iter().map(|taken| (taken.input, taken.digest)).collect(),
            ignores: ignores.collect(),
        }
    }
}

/// Where lists of files are, by the digest of what is in them.
fn lists(store: &Store) -> PathBuf {
    store.roots().data.join("build/lists")
}

/// Keeps the list of what a step has taken, so that a later build can say what changed.
pub(crate) fn keep(store: &Store, taken: &Taken<'_>) -> io::Result<()> {
    let path = lists(store).join(taken.digest.hex());
    if path.exists() {
        return Ok(());
    }
    fs::create_dir_all(lists(store))?;
    let partial = path.with_extension(format!("{}-{:?}", std::process::id(), std::thread::current().id()));
    let write = || -> io::Result<()> {
        let mut out = BufWriter::new(File::create(&partial)?);
        for (path, state) in paths(taken.sources).zip(&taken.states) {
            serde_json::to_writer(&mut out, &Line { path, state: state.clone() })?;
            out.write_all(b"\n")?;
        }
        out.flush()?;
        fs::rename(&partial, &path)
    };
    write().inspect_err(|_| {
        // The error that is told is the first.
        let _ = fs::remove_file(&partial);
    })
}

/// Takes lists away that no step of the cache names.
pub(crate) fn sweep(store: &Store, records: &BTreeMap<String, CacheRecord>) -> io::Result<()> {
    let selections = records.values().flat_map(|record| &record.inputs).flat_map(|inputs| &inputs.selections);
    let needed: BTreeSet<String> = selections.map(|(_, digest)| digest.hex()).collect();
    let entries = match fs::read_dir(lists(store)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let entry = entry?;
        if !needed.contains(entry.file_name().to_string_lossy().as_ref()) {
            match fs::remove_file(entry.path()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}

/// In the order in which [`crate::select::digest`] goes through them.
fn paths(sources: &[Source]) -> impl Iterator<Item = String> {
    let shown = |path: &Path| path.to_string_lossy().into_owned();
    sources.iter().flat_map(move |source| -> Vec<String> {
        if source.is_folder() {
            source.entries.iter().map(|entry| shown(&source.real.join(&entry.path))).collect()
        } else {
            vec![shown(&source.real)]
        }
    })
}

/// What ignore files leave out of a context, before and now.
struct LeftOut<'a> {
    was: Option<(&'a IgnoreText, IgnoreFile)>,
    is: Option<&'a Folder>,
}

impl LeftOut<'_> {
    /// The ignore file that a file is left out by which was not before.
    fn now(&self, path: &str) -> Option<String> {
        let folder = self.is?;
        let is_there = folder.tree.stat(Path::new(path)).is_ok_and(|stat| stat.is_some());
        let text = folder.ignore_text.as_ref().filter(|_| is_there && folder.ignore.is_ignored(path))?;
        Some(text.name.clone())
    }

    /// The ignore file that a file was left out by which is not now.
    fn before(&self, path: &str) -> Option<String> {
        self.was.as_ref().filter(|(_, ignore)| ignore.is_ignored(path)).map(|(text, _)| text.name.clone())
    }
}

fn files(store: &Store, was: &Digest, taken: &Taken<'_>, place: Option<&str>, left_out: &LeftOut<'_>) -> Vec<Reason> {
    let read = || -> io::Result<BTreeMap<String, State>> {
        let mut states = BTreeMap::new();
        for line in BufReader::new(File::open(lists(store).join(was.hex()))?).lines() {
            let line: Line = serde_json::from_str(&line?)?;
            states.insert(line.path, line.state);
        }
        Ok(states)
    };
    // Without the list it is known all the same that something changed.
    let Ok(mut before) = read() else { return vec![Reason::Files] };
    let mut changes = Vec::new();
    let mut added = Vec::new();
    for (path, is) in paths(taken.sources).zip(&taken.states) {
        match before.remove(&path) {
            Some(was) => changes.extend(difference(&was, is).map(|change| (path, change))),
            None => added.push((path, is)),
        }
    }
    let ignored: Vec<(String, String)> =
        before.keys().filter_map(|path| Some((path.clone(), left_out.now(path)?))).collect();
    for (path, by) in ignored {
        before.remove(&path);
        changes.push((path, FileChange::Ignored { by }));
    }
    for (path, is) in added {
        if let Some(by) = left_out.before(&path) {
            changes.push((path, FileChange::Heeded { by }));
            continue;
        }
        let same = before.iter().find(|(_, was)| is.content.is_some() && *was == is).map(|(was, _)| was.clone());
        changes.push(match same {
            Some(was) => {
                before.remove(&was);
                (path, FileChange::Renamed { was })
            }
            None => (path, FileChange::Added),
        });
    }
    changes.extend(before.into_keys().map(|path| (path, FileChange::Removed)));
    let shown = |path: String| place.map_or_else(|| path.clone(), |place| format!("{place}: {path}"));
    let reasons = changes.into_iter().map(|(path, change)| Reason::File { path: shown(path), change });
    let reasons: Vec<Reason> = reasons.collect();
    if reasons.is_empty() { vec![Reason::Files] } else { reasons }
}

fn difference(was: &State, is: &State) -> Option<FileChange> {
    let kind = |state: &State| match FileType::from_raw_mode(state.mode) {
        FileType::RegularFile => "file",
        FileType::Directory => "folder",
        FileType::Symlink => "link",
        FileType::Fifo => "pipe",
        _ => "device",
    };
    let owner = |state: &State| state.owner.map_or_else(String::new, |(uid, gid)| format!("{uid}:{gid}"));
    if kind(was) != kind(is) {
        return Some(FileChange::Kind { was: kind(was).to_owned(), is: kind(is).to_owned() });
    }
    if was.content != is.content {
        return Some(if kind(is) == "link" { FileChange::Target } else { FileChange::Content });
    }
    let mode = |state: &State| format!("{:o}", state.mode & 0o7777);
    if was.mode != is.mode {
        return Some(FileChange::Mode { was: mode(was), is: mode(is) });
    }
    if was.owner != is.owner {
        return Some(FileChange::Owner { was: owner(was), is: owner(is) });
    }
    (was.attributes != is.attributes).then_some(FileChange::Attributes)
}
