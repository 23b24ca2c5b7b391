//! Base images without a registry: a root file system made from a Debian archive by `mmdebstrap`, which has apt verify the
//! archive's signatures.
//!
//! The same state of the archive gives the same bytes: every time stamp is that of the newest release file involved, and
//! what differs between hosts and runs (names, resolver, machine id, logs, caches) is left out. Manuals, translations and
//! documentation other than copyright files are left out too, as in the slim images that people know.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

use carrack_diag::{Code, Diagnostic, Result};
use carrack_oci::{Config, Reference};
use carrack_store::TemporaryFolder;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, Signal, kill_process};

use crate::interrupt::Interrupts;
use sources::Source;

mod sources;

/// The name looks like somebody else's image.
pub static OFFICIAL_NAME: Code = Code {
    id: "bootstrap/official-name",
    title: "a home-made image would take an official name",
    cause: "Whoever reads `debian:bookworm` expects Docker's official image; this one is made on this host.",
    check: "Look at the name: a host, `library/`, or the bare name of a distribution makes it look official.",
    fix: "Choose a name of your own, such as `base:bookworm` or `local/debian:bookworm`, or insist with --force-name.",
};

/// What was asked for can't be handed to mmdebstrap.
pub static INVALID_REQUEST: Code = Code {
    id: "bootstrap/invalid-request",
    title: "malformed suite, variant, package or mirror",
    cause: "A suite is a name such as bookworm, a package a name such as ca-certificates, a mirror an address such as \
            http://deb.debian.org/debian.",
    check: "Look for spaces, capitals and leading dashes.",
    fix: "Correct the value that the message shows.",
};

/// mmdebstrap is not there.
pub static NO_MMDEBSTRAP: Code = Code {
    id: "bootstrap/no-mmdebstrap",
    title: "mmdebstrap is not installed",
    cause: "Base images are made by mmdebstrap, a package of Debian and its derivatives.",
    check: "Run `mmdebstrap --version`.",
    fix: "Install it: apt-get install -y mmdebstrap",
};

/// The archive does not answer.
pub static NO_ARCHIVE: Code = Code {
    id: "bootstrap/no-archive",
    title: "the Debian archive can't be read",
    cause: "The mirror can't be reached from this host, or it has no such suite.",
    check: "Fetch the address of the message with curl; look at proxies and at the resolver.",
    fix: "Correct suite or network, or name a mirror that answers with --mirror.",
};

/// mmdebstrap failed.
pub static FAILED: Code = Code {
    id: "bootstrap/failed",
    title: "mmdebstrap failed",
    cause: "A package does not exist in the suite, a signature does not verify, or the temporary folder is full or mounted \
            with noexec or nodev.",
    check: "The causes are the last lines that mmdebstrap wrote; `df -h /tmp` and `findmnt -T /tmp` show the folder.",
    fix: "Correct what they say; another temporary folder is taken from TMPDIR.",
};

/// Somebody wanted no image after all.
pub static INTERRUPTED: Code = Code {
    id: "bootstrap/interrupted",
    title: "making a base image was interrupted",
    cause: "Ctrl-C was pressed, or the command was sent SIGTERM or SIGHUP.",
    check: "Nothing is left to look for: mmdebstrap was ended and its folder removed.",
    fix: "Repeat the command.",
};

/// The codes of this module.
pub static CODES: &[&Code] = &[&FAILED, &INTERRUPTED, &INVALID_REQUEST, &NO_ARCHIVE, &NO_MMDEBSTRAP, &OFFICIAL_NAME];

/// What to make.
#[derive(Debug, Clone)]
pub struct BootstrapRequest {
    /// Name of the image.
    pub name: String,
    /// Debian's release: `bookworm`.
    pub suite: String,
    /// Which packages beside the named ones: one of mmdebstrap's variants.
    pub variant: String,
    /// Further packages.
    pub include: Vec<String>,
    /// Address of the only archive to use. Without one: what the host's own apt uses for the suite, else Debian's.
    pub mirror: Option<String>,
    /// Take a name that looks official all the same.
    pub force_name: bool,
}

/// What was made, beside the layer's tar.
#[derive(Debug, Clone)]
pub struct BootstrapOutcome {
    /// Of the image.
    pub config: Config,
    /// Time of the archive's state, RFC 3339.
    pub created: String,
}

/// The programs that do the work, and where the host says which archives it uses.
#[derive(Debug)]
struct Tools {
    mmdebstrap: PathBuf,
    apt_helper: PathBuf,
    apt_folder: PathBuf,
}

/// Makes a root file system and writes it to `tar_sink` as one uncompressed tar. Takes some tens of seconds and needs root.
///
/// A failure may leave part of the tar in the sink: commit nothing before this returns.
pub fn bootstrap(request: &BootstrapRequest, tar_sink: &mut dyn Write) -> Result<BootstrapOutcome> {
    check(request)?;
    if !rustix::process::geteuid().is_root() {
        return Err(Diagnostic::error(&crate::codes::NOT_ROOT, format!("can't make the image {}", request.name))
            .cause("mmdebstrap changes owners and enters the new root, which only root may do")
            .hint("repeat the command with sudo")
            .boxed());
    }
    let tools = Tools {
        mmdebstrap: "mmdebstrap".into(),
        apt_helper: "/usr/lib/apt/apt-helper".into(),
        apt_folder: "/etc/apt".into(),
    };
    make(request, &tools, tar_sink)
}

/// How the folder is called that mmdebstrap unpacks into.
const WORKPLACE: &str = "carrack-bootstrap.";

fn make(request: &BootstrapRequest, tools: &Tools, tar_sink: &mut dyn Write) -> Result<BootstrapOutcome> {
    let sources = match &request.mirror {
        Some(mirror) => vec![Source::new(mirror, &request.suite)],
        None => sources::of_host(&tools.apt_folder, &request.suite).unwrap_or_else(|| sources::debian(&request.suite)),
    };
    let interrupts = Interrupts::new()?;
    TemporaryFolder::sweep(WORKPLACE);
    // Not on the data root: apt fetches as a user of its own, who may not enter there.
    let workplace = TemporaryFolder::new(WORKPLACE, 0o755)?;
    let made = archive_time(&sources, tools, workplace.path()).and_then(|epoch_seconds| {
        run_mmdebstrap(request, &sources, epoch_seconds, tools, (workplace.path(), &interrupts), tar_sink)?;
        Ok(BootstrapOutcome { config: config(request, &sources), created: rfc3339(epoch_seconds) })
    });
    if made.is_err() && interrupts.take() {
        return Err(interrupted(request));
    }
    made
}

const VARIANTS: [&str; 7] = ["apt", "buildd", "custom", "essential", "extract", "minbase", "required"];

/// Names that people take for Docker's official images of operating systems.
const OFFICIAL: [&str; 14] = [
    "almalinux",
    "alpine",
    "alt",
    "amazonlinux",
    "archlinux",
    "busybox",
    "centos",
    "debian",
    "fedora",
    "opensuse",
    "oraclelinux",
    "rockylinux",
    "scratch",
    "ubuntu",
];

fn check(request: &BootstrapRequest) -> Result<()> {
    let reference: Reference = request.name.parse()?;
    let written_out =
        ["docker.io/", "index.docker.io/", "library/"].iter().any(|start| request.name.starts_with(start));
    let bare = reference.host() == "docker.io" && OFFICIAL.contains(&reference.familiar_repository().as_str());
    if (written_out || bare) && !request.force_name {
        return Err(Diagnostic::error(&OFFICIAL_NAME, format!("refused to name a home-made image {}", request.name))
            .cause(format!("people and tools take {} for an image of Docker Hub", reference.familiar_repository()))
            .hint(format!("name it local/{}, or add --force-name", reference.path().replace("library/", "")))
            .boxed());
    }
    let malformed = |what: &str, value: &str| {
        Err(Diagnostic::error(&INVALID_REQUEST, format!("`{value}` is no {what}")).hint(INVALID_REQUEST.cause).boxed())
    };
    if !is_word(&request.suite) {
        return malformed("suite", &request.suite);
    }
    if !VARIANTS.contains(&request.variant.as_str()) {
        return Err(Diagnostic::error(&INVALID_REQUEST, format!("`{}` is no variant", request.variant))
            .hint(format!("choose one of {}", VARIANTS.join(", ")))
            .boxed());
    }
    if let Some(package) = request.include.iter().find(|package| !is_word(package)) {
        return malformed("package", package);
    }
    if let Some(mirror) = request.mirror.as_deref().filter(|mirror| !sources::is_address(mirror)) {
        return malformed("mirror", mirror);
    }
    Ok(())
}

/// Whether a text is safe as a part of an option and can be a suite or package (deb-control(5): lower case, digits, `+-.`).
fn is_word(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(c))
}

/// Time of the newest of the archives' release files, in seconds since 1970.
///
/// Only used for time stamps, so it needs no verification: mmdebstrap verifies what it unpacks.
fn archive_time(sources: &[Source], tools: &Tools, folder: &Path) -> Result<i64> {
    let mut newest = None;
    for (number, source) in sources.iter().enumerate() {
        let file = folder.join(number.to_string());
        let time = release_time(source, &file, tools)?;
        newest = newest.max(Some(time));
    }
    newest.ok_or_else(|| Diagnostic::error(&NO_ARCHIVE, "no archive to make an image from").boxed())
}

fn release_time(source: &Source, file: &Path, tools: &Tools) -> Result<i64> {
    let address = source.release_address();
    let failed = || Diagnostic::error(&NO_ARCHIVE, format!("can't read {address}"));
    let output = Command::new(&tools.apt_helper)
        .arg("download-file")
        .arg(&address)
        .arg(file)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| start_error(&tools.apt_helper, &error.to_string()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(with_lines(failed(), said.lines()).boxed());
    }
    let text = std::fs::read_to_string(file).map_err(|error| failed().cause(error.to_string()).boxed())?;
    let date = text.lines().find_map(|line| line.strip_prefix("Date: ")).unwrap_or_default();
    parse_date(date).ok_or_else(|| failed().cause(format!("its Date is `{date}`")).boxed())
}

/// `Sat, 12 Jul 2025 09:07:42 UTC`, the form of release files, in seconds since 1970.
fn parse_date(date: &str) -> Option<i64> {
    let date = date.trim().replace(" UTC", " +0000");
    Some(jiff::fmt::rfc2822::parse(&date).ok()?.timestamp().as_second())
}

fn rfc3339(epoch_seconds: i64) -> String {
    jiff::Timestamp::from_second(epoch_seconds).unwrap_or_default().to_string()
}

/// As long as the causes of a diagnostic stay readable.
const LAST_LINES: usize = 12;

fn run_mmdebstrap(
    request: &BootstrapRequest,
    sources: &[Source],
    epoch_seconds: i64,
    tools: &Tools,
    (folder, interrupts): (&Path, &Interrupts),
    tar_sink: &mut dyn Write,
) -> Result<()> {
    // In a mount and process namespace of its own, it can be killed at any instant and leaves a folder only: by itself it
    // mounts on the host, and misses a signal that comes early.
    let mut child = Command::new("unshare")
        .args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"])
        .arg(&tools.mmdebstrap)
        .args(arguments(request, sources))
        .env("SOURCE_DATE_EPOCH", epoch_seconds.to_string())
        .env("LC_ALL", "C.UTF-8")
        .env("TMPDIR", folder)
        // The terminal's Ctrl-C is for us alone, who wait until all is put away.
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| start_error(Path::new("unshare"), &error.to_string()))?;
    let stderr = child.stderr.take();
    // Both pipes must be read at once, or the child waits for ever on the one that is full.
    let (copied, last_lines) = std::thread::scope(|scope| {
        let lines = scope.spawn(move || stderr.map(last_lines).unwrap_or_default());
        let copied = copy_tar(&mut child, tar_sink, interrupts);
        (copied, lines.join().unwrap_or_default())
    });
    let ended = copied.map_err(|error| {
        Diagnostic::error(&crate::codes::HOST, format!("can't store the image {}", request.name))
            .cause(error.to_string())
            .boxed()
    })?;
    let Some(status) = ended else {
        return Err(interrupted(request));
    };
    if status.success() {
        return Ok(());
    }
    // What env(1), unshare(1) and shells say of a program that they don't find.
    if status.code() == Some(127) {
        return Err(start_error(
            &tools.mmdebstrap,
            &last_lines.iter().map(String::as_str).collect::<Vec<_>>().join("; "),
        ));
    }
    let message = format!("can't make {} from Debian {}: mmdebstrap ended with {status}", request.name, request.suite);
    Err(with_lines(Diagnostic::error(&FAILED, message), last_lines.iter().map(String::as_str)).boxed())
}

fn interrupted(request: &BootstrapRequest) -> Box<Diagnostic> {
    Diagnostic::error(&INTERRUPTED, format!("did not make {}: interrupted", request.name)).boxed()
}

/// How the child ended, none where somebody interrupted.
fn copy_tar(
    child: &mut Child,
    tar_sink: &mut dyn Write,
    interrupts: &Interrupts,
) -> std::io::Result<Option<ExitStatus>> {
    let pid = Pid::from_child(child);
    let mut is_interrupted = false;
    let copied = match child.stdout.take() {
        Some(stdout) => copy_until_end(stdout, tar_sink, interrupts, &mut || {
            is_interrupted = true;
            // Its first process dies with it, and with that every other; the pipes close behind the last.
            let _ = kill_process(pid, Signal::KILL);
        }),
        None => Ok(()),
    };
    let status = child.wait()?;
    copied?;
    Ok((!is_interrupted).then_some(status))
}

/// Closes `stdout` when it returns.
fn copy_until_end(
    mut stdout: ChildStdout,
    tar_sink: &mut dyn Write,
    interrupts: &Interrupts,
    on_interrupt: &mut dyn FnMut(),
) -> std::io::Result<()> {
    let mut buffer = vec![0; 1 << 18];
    loop {
        let mut sources = [PollFd::new(&stdout, PollFlags::IN), PollFd::new(interrupts, PollFlags::IN)];
        match poll(&mut sources, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let is_readable = !sources[0].revents().is_empty();
        if interrupts.take() {
            on_interrupt();
        }
        if is_readable {
            match stdout.read(&mut buffer)? {
                0 => return Ok(()),
                length => tar_sink.write_all(&buffer[..length])?,
            }
        }
    }
}

fn last_lines(stderr: impl Read) -> VecDeque<String> {
    let mut last = VecDeque::new();
    for line in BufReader::new(stderr).split(b'\n').map_while(std::result::Result::ok) {
        if last.len() == LAST_LINES {
            last.pop_front();
        }
        last.push_back(String::from_utf8_lossy(&line).into_owned());
    }
    last
}

fn with_lines<'a>(diagnostic: Diagnostic, lines: impl Iterator<Item = &'a str>) -> Diagnostic {
    lines.filter(|line| !line.trim().is_empty()).fold(diagnostic, |diagnostic, line| diagnostic.cause(line.trim()))
}

fn start_error(program: &Path, why: &str) -> Box<Diagnostic> {
    Diagnostic::error(&NO_MMDEBSTRAP, format!("can't run {}", program.display()))
        .cause(why)
        .hint("install it: apt-get install -y mmdebstrap")
        .boxed()
}

/// What the slim images leave out: a container's users read manuals elsewhere.
const DPKG_OPTIONS: [&str; 9] = [
    "force-unsafe-io",
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/groff/*",
    "path-exclude=/usr/share/lintian/*",
    "path-exclude=/usr/share/locale/*",
    "path-include=/usr/share/locale/locale.alias",
];

/// Installing a package must start no service: nothing is there to run it.
const POLICY_HOOK: &str =
    r##"printf '#!/bin/sh\nexit 101\n' >"$1/usr/sbin/policy-rc.d" && chmod 755 "$1/usr/sbin/policy-rc.d""##;

/// Without it, each `apt-get install` of a Dockerfile would leave the packages it fetched in the layer.
const CLEAN_HOOK: &str = r#"printf '%s\n' 'APT::Keep-Downloaded-Packages "false";' 'Dir::Cache::pkgcache "";' 'Dir::Cache::srcpkgcache "";' 'Acquire::Languages "none";' 'Apt::AutoRemove::SuggestsImportant "false";' >"$1/etc/apt/apt.conf.d/90container""#;

/// What tells this host or this run from another.
const REPRODUCIBLE_HOOK: &str = r#"rm -rf "$1/etc/resolv.conf" "$1/etc/hostname" "$1/var/cache/ldconfig" "$1/var/cache/apt/"*.bin "$1/var/cache/debconf/"*-old "$1/var/lib/dpkg/"*-old "$1/var/log/"*log"#;

fn arguments(request: &BootstrapRequest, sources: &[Source]) -> Vec<String> {
    let mut arguments = vec![
        "--mode=root".to_owned(),
        "--format=tar".to_owned(),
        format!("--variant={}", request.variant),
        // It removes its own policy-rc.d at the end, and with it the one that is to stay.
        "--skip=chroot/policy-rc.d".to_owned(),
        format!("--essential-hook={POLICY_HOOK}"),
        format!("--customize-hook={CLEAN_HOOK}"),
        format!("--customize-hook={REPRODUCIBLE_HOOK}"),
    ];
    arguments.extend(DPKG_OPTIONS.iter().map(|option| format!("--dpkgopt={option}")));
    if !request.include.is_empty() {
        arguments.push(format!("--include={}", request.include.join(",")));
    }
    arguments.push(request.suite.clone());
    arguments.push("-".to_owned());
    arguments.extend(sources.iter().map(Source::line));
    arguments
}

fn config(request: &BootstrapRequest, sources: &[Source]) -> Config {
    let addresses: Vec<String> = sources.iter().map(Source::to_string).collect();
    let labels = BTreeMap::from([
        ("org.opencontainers.image.title", request.name.clone()),
        ("org.opencontainers.image.version", request.suite.clone()),
        (
            "org.opencontainers.image.description",
            format!(
                "Debian {}, made from its archive by carrack image bootstrap; not an official image",
                request.suite
            ),
        ),
        ("dev.carrack.bootstrap", format!("suite={} variant={}", request.suite, request.variant)),
        ("dev.carrack.bootstrap.include", request.include.join(",")),
        ("dev.carrack.bootstrap.sources", addresses.join(", ")),
    ]);
    Config {
        env: vec!["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()],
        cmd: Some(vec!["bash".to_owned()]),
        labels: labels
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
        ..Config::default()
    }
}

#[cfg(test)]
mod tests;
