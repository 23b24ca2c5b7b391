//! The syntax tree. Words stand as written, not yet expanded: what a variable holds is known where the stage is.

use carrack_diag::{FileId, Span, Spanned};

/// A piece of text that variables may be expanded in, with quotes and escapes as written.
pub type Word = Spanned<String>;

/// A whole file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dockerfile {
    /// The file that every span counts in.
    pub file: FileId,
    /// The parser directives of its first lines.
    pub directives: Directives,
    /// `ARG` before the first `FROM`: visible to every `FROM`.
    pub global_args: Vec<Instruction>,
    /// At least one where no error was reported.
    pub stages: Vec<Stage>,
    /// Empty lines in continued instructions, the first of each.
    pub empty_continuations: Vec<Span>,
}

impl Dockerfile {
    /// The stage of a name or number, among the first `limit`. Names are compared without regard to case.
    pub fn stage(&self, name: &str, limit: usize) -> Option<usize> {
        let stages = &self.stages[..limit.min(self.stages.len())];
        // A repeated name means the last one: earlier ones are shadowed, as in the reference implementation.
        let by_name = stages.iter().rposition(|stage| {
            stage.from.name.as_ref().is_some_and(|stage_name| stage_name.value.eq_ignore_ascii_case(name))
        });
        by_name.or_else(|| name.parse::<usize>().ok().filter(|index| *index < stages.len()))
    }
}

/// `# directive=value` lines at the head of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directives {
    /// The frontend asked for; carrack is its own.
    pub syntax: Option<Spanned<String>>,
    /// `\` or a backtick.
    pub escape: char,
    /// Which build checks to skip or to make errors.
    pub check: Option<Spanned<String>>,
}

/// From one `FROM` to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// What it starts from.
    pub from: From,
    /// In order, without the `FROM`.
    pub instructions: Vec<Instruction>,
}

/// `FROM [--platform=P] IMAGE [AS NAME]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct From {
    /// The whole instruction.
    pub span: Span,
    /// The whole instruction on one line.
    pub text: String,
    /// An image, a stage before, or `scratch`.
    pub image: Word,
    /// Of the image.
    pub platform: Option<Word>,
    /// In lower case.
    pub name: Option<Spanned<String>>,
}

/// One instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction {
    /// From the keyword to the end of its last line, here-documents included.
    pub span: Span,
    /// As written.
    pub keyword: Spanned<String>,
    /// The instruction on one line, continuations joined, without here-documents.
    pub text: String,
    /// What it asks for.
    pub command: Command,
}

/// What an instruction asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// `ADD`.
    Add(Copy),
    /// `ARG`.
    Arg(Vec<Argument>),
    /// `CMD`.
    Cmd(CommandLine),
    /// `COPY`.
    Copy(Copy),
    /// `ENTRYPOINT`.
    Entrypoint(CommandLine),
    /// `ENV`.
    Env(Vec<Assignment>),
    /// `EXPOSE`; a word may expand to several ports.
    Expose(Vec<Word>),
    /// `HEALTHCHECK`.
    Healthcheck(Healthcheck),
    /// `LABEL`.
    Label(Vec<Assignment>),
    /// `MAINTAINER`.
    Maintainer(Word),
    /// `ONBUILD`, with what it defers.
    Onbuild(Box<Instruction>),
    /// `RUN`.
    Run(Run),
    /// `SHELL`.
    Shell(Vec<Spanned<String>>),
    /// `STOPSIGNAL`.
    StopSignal(Word),
    /// `USER`.
    User(Word),
    /// `VOLUME`.
    Volume(Vec<Word>),
    /// `WORKDIR`.
    Workdir(Word),
}

/// `NAME[=DEFAULT]` of an `ARG`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argument {
    /// The variable.
    pub name: Word,
    /// Its value where the build gives none.
    pub default: Option<Word>,
}

/// `NAME=VALUE` of an `ENV` or `LABEL`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// Left of the equals sign.
    pub name: Word,
    /// Right of it.
    pub value: Word,
    /// Whether it is of the old form `NAME VALUE`, whose value runs to the end of the line.
    pub legacy: bool,
}

/// A command in one of its two forms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandLine {
    /// One line for the stage's shell.
    Shell(Spanned<String>),
    /// An argument vector, from JSON.
    Exec(Vec<Spanned<String>>),
}

/// A here-document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heredoc {
    /// Its delimiter, and the file's name in a `COPY`.
    pub name: Spanned<String>,
    /// What stands between the delimiters, with leading tabs where they were asked to go.
    pub content: Spanned<String>,
    /// Whether variables are expanded: the delimiter was not quoted.
    pub expand: bool,
    /// Whether leading tabs are taken away (`<<-`).
    pub strip_tabs: bool,
}

impl Heredoc {
    /// The content without leading tabs where they were asked to go.
    pub fn stripped(&self) -> String {
        if !self.strip_tabs {
            return self.content.value.clone();
        }
        self.content.value.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
    }
}

/// One source of a `COPY` or `ADD`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopySource {
    /// A path, pattern, or (`ADD`) an address.
    Path(Word),
    /// A file written in place.
    Heredoc(Heredoc),
}

/// `COPY` or `ADD`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// At least one.
    pub sources: Vec<CopySource>,
    /// A folder where it ends in a slash.
    pub destination: Word,
    /// `--from`: a stage, image or named context; none is the build context.
    pub from: Option<Word>,
    /// `--chown=USER[:GROUP]`.
    pub chown: Option<Word>,
    /// `--chmod`: octal, or symbolic.
    pub chmod: Option<Word>,
    /// `--link`: independent of the layers below.
    pub link: bool,
    /// `--parents`: keeps the folders of a source's path.
    pub parents: bool,
    /// `--exclude`: patterns that are left out.
    pub exclude: Vec<Word>,
    /// `--keep-git-dir` of `ADD`.
    pub keep_git_dir: bool,
    /// `--checksum` of `ADD`.
    pub checksum: Option<Word>,
    /// `--unpack` of `ADD`; none unpacks local archives only.
    pub unpack: Option<bool>,
}

/// `HEALTHCHECK`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Healthcheck {
    /// Takes the base image's away.
    None,
    /// A probe. Times in nanoseconds; none is the default.
    Cmd {
        /// The probe.
        command: CommandLine,
        /// `--interval`.
        interval_ns: Option<u64>,
        /// `--timeout`.
        timeout_ns: Option<u64>,
        /// `--start-period`.
        start_period_ns: Option<u64>,
        /// `--start-interval`.
        start_interval_ns: Option<u64>,
        /// `--retries`.
        retries: Option<u32>,
    },
}

/// `RUN`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// What is run, without here-documents.
    pub command: CommandLine,
    /// The here-documents, in order.
    pub heredocs: Vec<Heredoc>,
    /// `--mount`.
    pub mounts: Vec<Mount>,
    /// `--network`.
    pub network: Option<Spanned<Network>>,
    /// `--security`.
    pub security: Option<Spanned<Security>>,
    /// `--device`.
    pub devices: Vec<Word>,
}

/// What a `RUN` is connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// The network of builds.
    Default,
    /// Loopback only.
    None,
    /// The host's.
    Host,
}

/// How a `RUN` is confined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// As other containers.
    Sandbox,
    /// Not at all.
    Insecure,
}

/// What a `RUN --mount` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MountKind {
    /// A folder or file of the context, a stage or an image.
    Bind,
    /// A folder kept between builds.
    Cache,
    /// A temporary file system.
    Tmpfs,
    /// A secret of the build.
    Secret,
    /// An SSH agent's socket.
    Ssh,
}

/// How a cache mount is shared between concurrent steps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Sharing {
    /// By several writers at once.
    #[default]
    Shared,
    /// Each writer has its own.
    Private,
    /// One writer after the other.
    Locked,
}

/// `RUN --mount=…`, as far as it is known before variables are. What it is with them, [`Mount::expanded`] tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// The whole flag's value.
    pub flag: Word,
    /// `type=`.
    pub kind: MountKind,
    /// `target=`, `dst=`, `destination=`.
    pub target: Option<Word>,
    /// `source=`, `src=`.
    pub source: Option<Word>,
    /// `from=`.
    pub from: Option<Word>,
    /// `id=`.
    pub id: Option<Word>,
    /// `env=` of a secret.
    pub env: Option<Word>,
    /// `ro`, `readonly`, `rw`, `readwrite`.
    pub read_only: Option<bool>,
    /// `required=` of a secret or agent.
    pub required: bool,
    /// `sharing=` of a cache.
    pub sharing: Sharing,
    /// `size=` of a temporary file system.
    pub size: Option<Word>,
    /// `mode=`, octal.
    pub mode: Option<Word>,
    /// `uid=`.
    pub uid: Option<Word>,
    /// `gid=`.
    pub gid: Option<Word>,
}
