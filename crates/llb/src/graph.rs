//! The graph and its keys.

use std::collections::BTreeMap;

use carrack_diag::{Diagnostic, Span};
use carrack_oci::{Digest, History, ImageConfig, Platform};
use serde::Serialize;

use crate::{FileMode, GitAddress};

/// A vertex of one [`Graph`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VertexId(pub usize);

/// Something that a vertex works on: the root file system that another vertex made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edge {
    /// Who makes it.
    pub vertex: VertexId,
}

/// One step of a build. Its result is a root file system, as a list of layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vertex {
    /// What is done.
    pub op: Op,
    /// What it is done to. The first is what `Exec` and `File` write a layer on.
    pub inputs: Vec<Edge>,
    /// The instructions it comes from.
    pub origin: Vec<Span>,
    /// As shown to people: `[build 2/5] RUN make`.
    pub name: String,
}

/// What a vertex does. In JSON it is the canonical form that cache keys are made of, so a changed field is a changed key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Op {
    /// Something from outside.
    Source(Source),
    /// Runs a program on the first input; what it changes is one layer.
    Exec(Box<Exec>),
    /// Changes files of the first input; the changes are one layer.
    File(Vec<Action>),
    /// The layers of all inputs above each other.
    Merge,
}

/// Where files come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Source {
    /// No files at all.
    Scratch,
    /// An image.
    Image {
        /// Its complete name. Its layers alone decide about keys.
        #[serde(skip)]
        reference: String,
        /// Of its manifest.
        #[serde(skip)]
        manifest: Digest,
        /// What it is for.
        #[serde(skip)]
        platform: Platform,
        /// Uncompressed layers, base first.
        diff_ids: Vec<Digest>,
    },
    /// A folder: the build context, or the named one of this name. Its content, as far as it is used, is part of the keys
    /// of those that use it, as that of what follows is.
    Context(Option<String>),
    /// A file behind an address.
    Http(HttpAddress),
    /// A folder of a git repository.
    Git(GitAddress),
}

/// A file behind an `http://` or `https://` address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HttpAddress {
    /// The address.
    pub url: String,
    /// What the file is called.
    pub name: String,
    /// What its content must be.
    pub checksum: Option<Digest>,
}

impl HttpAddress {
    /// The address, with the name that its path gives the file. None for what is no such address.
    pub fn parse(url: &str, checksum: Option<Digest>) -> Option<Self> {
        let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"))?;
        let path = rest.split(['?', '#']).next()?.split_once('/').map_or("", |(_, path)| path);
        let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        let name = if matches!(name, "" | "." | "..") { "__unnamed__" } else { name };
        Some(Self { url: url.to_owned(), name: unescape(name), checksum })
    }
}

/// A part of a path without its `%2e` escapes, where that is still one name.
fn unescape(name: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = name.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escaped = after.get(..2).filter(|_| *first == b'%').and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 16).ok()
        });
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &after[2..] } else { after };
    }
    match String::from_utf8(bytes) {
        Ok(text) if !matches!(text.as_str(), "" | "." | "..") && !text.contains(['/', '\0']) => text,
        _ => name.to_owned(),
    }
}

/// A program to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Exec {
    /// Program and arguments.
    pub arguments: Vec<String>,
    /// The program that somebody who looks around gets: the stage's shell.
    #[serde(skip)]
    pub shell: String,
    /// `NAME=VALUE`, in order.
    pub environment: Vec<String>,
    /// `NAME=VALUE` of the proxies, which are no part of the key.
    #[serde(skip)]
    pub proxy_environment: Vec<String>,
    /// Absolute.
    pub working_directory: String,
    /// `USER[:GROUP]`, by name or number; empty is root.
    pub user: String,
    /// Beside the root file system.
    pub mounts: Vec<ExecMount>,
    /// How it is connected.
    pub network: Network,
    /// Whether it runs with every privilege (`--security=insecure`).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub insecure: bool,
    /// Whose programs it runs, where they are not those of the machine that builds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub foreign: Option<Platform>,
    /// What the build says of all its programs.
    #[serde(skip_serializing_if = "ExecSettings::is_default")]
    pub settings: ExecSettings,
}

/// What a build says of all its programs; part of keys where it says anything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ExecSettings {
    /// Name and address, for /etc/hosts; `host-gateway` is the host as the program reaches it.
    pub hosts: Vec<(String, String)>,
    /// What programs are told that their machine is called; none is the executor's choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Size of /dev/shm; none is the default.
    pub shm_size_bytes: Option<u64>,
    /// `nofile` → soft and hard limit; −1 is unlimited.
    pub ulimits: BTreeMap<String, (i64, i64)>,
}

impl ExecSettings {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Something mounted while a program runs. It leaves no trace in the layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExecMount {
    /// Absolute path; none for a secret that is given in the environment only.
    pub target: Option<String>,
    /// What is mounted.
    pub kind: MountKind,
}

/// What an [`ExecMount`] shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum MountKind {
    /// A folder or file of an input.
    Bind {
        /// Index into the vertex's inputs.
        input: usize,
        /// Path in it.
        source: String,
        /// Whether it can be written to; what is written is thrown away.
        writable: bool,
    },
    /// A folder that outlives the build.
    Cache(CacheMount),
    /// A temporary file system.
    Tmpfs {
        /// In bytes; none is the kernel's default.
        size_bytes: Option<u64>,
    },
    /// A secret of the build.
    Secret {
        /// Its name.
        id: String,
        /// Variable that receives it.
        environment: Option<String>,
        /// Whether its absence is an error.
        required: bool,
        /// Permission bits.
        mode: u32,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
    },
    /// The socket of an SSH agent.
    Ssh {
        /// Its name.
        id: String,
        /// Whether its absence is an error.
        required: bool,
        /// Permission bits.
        mode: u32,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
    },
    /// A file written for this run.
    File {
        /// Its text.
        content: String,
        /// Permission bits.
        mode: u32,
    },
}

/// A folder kept between builds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CacheMount {
    /// Steps with one id share it.
    pub id: String,
    /// `shared`, `private` or `locked`.
    pub sharing: String,
    /// What a new one starts from: an index into the vertex's inputs and a path.
    pub from: Option<(usize, String)>,
    /// Whether it cannot be written to.
    pub read_only: bool,
    /// Permission bits of a new one.
    pub mode: u32,
    /// Owner of a new one.
    pub uid: u32,
    /// Group of a new one.
    pub gid: u32,
}

/// How an [`Exec`] is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Network {
    /// The network of builds.
    Default,
    /// Loopback only.
    None,
    /// The host's.
    Host,
}

/// A change of files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Action {
    /// Makes a folder and those above it; nothing where it exists.
    MakeFolder {
        /// Absolute.
        path: String,
        /// Permission bits of new ones.
        mode: u32,
        /// `USER[:GROUP]` of new ones.
        owner: Option<String>,
    },
    /// Writes a file.
    MakeFile(FileContent),
    /// Copies files.
    Copy(CopyAction),
}

/// A file and what stands in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileContent {
    /// Its name, where the destination is a folder.
    pub name: String,
    /// Its text.
    pub content: String,
    /// Absolute; a folder where it ends in a slash.
    pub destination: String,
    /// `USER[:GROUP]`; none is root.
    pub owner: Option<String>,
    /// Permission bits; none is 0644.
    pub mode: Option<FileMode>,
}

/// Files copied from an input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CopyAction {
    /// Index into the vertex's inputs.
    pub input: usize,
    /// Absolute path or pattern in it, already cleaned: no `..` is left.
    pub source: String,
    /// Absolute; a folder where it ends in a slash.
    pub destination: String,
    /// `USER[:GROUP]`; none is root.
    pub owner: Option<String>,
    /// Permission bits of everything copied; none keeps the source's.
    pub mode: Option<FileMode>,
    /// Whether the folders of the source's path are kept.
    pub parents: bool,
    /// Patterns of an ignore file that are left out.
    pub exclude: Vec<String>,
    /// Whether a local archive is unpacked instead of copied (`ADD`).
    pub unpack: bool,
    /// Where the source was written.
    #[serde(skip)]
    pub span: Span,
}

impl CopyAction {
    /// What an input has at `source`, to the root, as it is.
    pub fn whole(input: usize, source: impl Into<String>, span: Span) -> Self {
        Self {
            input,
            source: source.into(),
            destination: "/".into(),
            owner: None,
            mode: None,
            parents: false,
            exclude: Vec::new(),
            unpack: false,
            span,
        }
    }
}

/// An entry of the image's history, with the vertex whose layer it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryStep {
    /// The entry. `empty_layer` is right only where `vertex` is none.
    pub entry: History,
    /// None where the step makes no layer, or the layer is one of the base image's.
    pub vertex: Option<VertexId>,
}

/// Everything that a target needs, and what the image made of it says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Graph {
    /// In an order in which inputs come before those that use them.
    pub vertices: Vec<Vertex>,
    /// Whose layers are the image.
    pub output: VertexId,
    /// Without layers and history, which are known when everything has run.
    pub config: ImageConfig,
    /// The history, base image's first.
    pub history: Vec<HistoryStep>,
    /// What stands in the way of nothing.
    pub warnings: Vec<Diagnostic>,
}

impl Graph {
    /// The vertex of an id that this graph gave out.
    pub fn vertex(&self, id: VertexId) -> &Vertex {
        &self.vertices[id.0]
    }

    /// Whether any step uses the build context.
    pub fn uses_context(&self) -> bool {
        self.vertices.iter().any(|vertex| vertex.op == Op::Source(Source::Context(None)))
    }
}

/// Changes when the meaning of an operation does, so that results of older versions are not taken for new ones.
const KEY_VERSION: &str = "carrack-llb-1";

/// The key that a vertex's result is cached under: its operation and what its inputs are. An input is told by the digest of
/// what it holds (a chain of layers) or of what is used of it (the selected files of a copy).
pub fn cache_key(op: &Op, inputs: &[Digest]) -> Digest {
    // Field order is that of the types and maps are sorted, so one operation has one text.
    let mut text = format!("{KEY_VERSION}\n").into_bytes();
    text.extend(serde_json::to_vec(op).unwrap_or_default());
    for input in inputs {
        text.push(b'\n');
        text.extend(input.to_string().into_bytes());
    }
    Digest::of(&text)
}
