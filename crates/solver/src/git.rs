//! Sources from git repositories, fetched by the host's `git`.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use carrack_attestation::Material;
use carrack_diag::{Diagnostic, Result};
use carrack_llb::GitAddress;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags};

use crate::authorization::{self, Secrets};
use crate::codes;

/// How often a running git looks whether the build is over.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
/// How much of what git says is repeated.
const TAIL_BYTES: usize = 4 << 10;

/// What a repository's own configuration and files must not make git do: run programs, follow other transports, ask.
const SAFE: [&str; 9] = [
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.symlinks=true",
    "protocol.allow=never",
    "protocol.https.allow=always",
    "protocol.http.allow=always",
    "protocol.git.allow=always",
    "protocol.ssh.allow=always",
    "advice.detachedHead=false",
];

/// Checks a repository out below `folder`, and gives the folder that is taken of it, with what it is.
pub(crate) fn checkout(
    address: &GitAddress,
    secrets: &Secrets,
    folder: &Path,
    cancel: &AtomicBool,
) -> Result<(PathBuf, Material)> {
    let authorization = authorization::of_repository(secrets, &address.repository)?;
    let git = Git { address, authorization, tree: folder.join("tree"), cancel };
    fs::create_dir_all(&git.tree).map_err(|error| git.failed("make a folder", &error.to_string()))?;
    git.run(&["init", "--quiet"])?;
    git.fetch()?;
    git.run(&["checkout", "--quiet", "--force", "--detach", "FETCH_HEAD"])?;
    let commit = git.text(&["rev-parse", "HEAD"])?;
    git.check(&commit)?;
    if address.submodules && git.tree.join(".gitmodules").is_file() {
        // Their addresses may be relative to the repository's.
        git.run(&["remote", "add", "origin", "--", &address.repository])?;
        let update = ["submodule", "--quiet", "update", "--init", "--recursive", "--depth=1"];
        match git.run(&update) {
            Err(why) if is_without_depth(&why) => git.run(&update[..5])?,
            done => done?,
        }
    }
    if !address.keep_git_folder {
        forget(&git.tree).map_err(|error| git.failed("take .git away", &error.to_string()))?;
    }
    let reference = address.reference.as_ref().map(|reference| format!("#{reference}")).unwrap_or_default();
    // Commits of repositories that name them by SHA-256 are longer.
    let algorithm = if commit.len() == 64 { "sha256" } else { "sha1" };
    let material = Material { uri: format!("{}{reference}", git.shown()), digest: (algorithm.to_owned(), commit) };
    Ok((git.taken()?, material))
}

struct Git<'a> {
    address: &'a GitAddress,
    /// Header lines, each with the addresses that it is for. Git hands them on to what fetches submodules.
    authorization: Vec<(String, String)>,
    tree: PathBuf,
    cancel: &'a AtomicBool,
}

impl Git<'_> {
    /// Only what is asked for, without its history; all of it where the server gives no single commit.
    fn fetch(&self) -> Result<()> {
        let address = self.address;
        let wanted = address.reference.as_deref().or(address.checksum.as_deref().filter(|sum| sum.len() >= 40));
        let reference = wanted.unwrap_or("HEAD");
        let shallow = self.run(&["fetch", "--quiet", "--depth=1", "--no-tags", "--", &address.repository, reference]);
        let Err(mut why) = shallow else { return Ok(()) };
        if is_without_depth(&why) {
            match self.run(&["fetch", "--quiet", "--no-tags", "--", &address.repository, reference]) {
                Ok(()) => return Ok(()),
                Err(other) => why = other,
            }
        }
        let is_commit = (7..=64).contains(&reference.len()) && reference.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_commit || self.cancel.load(Ordering::SeqCst) {
            return Err(why);
        }
        self.run(&["fetch", "--quiet", "--tags", "--", &address.repository, "+refs/heads/*:refs/remotes/origin/*"])?;
        self.run(&["fetch", "--quiet", "--", ".", reference]).or_else(|_| {
            let commit = self.text(&["rev-parse", "--verify", "--quiet", &format!("{reference}^{{commit}}")])?;
            fs::write(self.tree.join(".git/FETCH_HEAD"), format!("{commit}\t\t{reference}\n"))
                .map_err(|error| self.failed("note the commit", &error.to_string()))
        })
    }

    /// Whether the commit is the one that --checksum names.
    fn check(&self, commit: &str) -> Result<()> {
        let Some(wanted) = &self.address.checksum else { return Ok(()) };
        if commit.starts_with(&wanted.to_ascii_lowercase()) {
            return Ok(());
        }
        let message = format!("the commit of {} is not what --checksum says", self.shown());
        Err(Diagnostic::error(&codes::CHECKSUM, message)
            .cause(format!("it is {commit}, and {wanted} is wanted"))
            .hint("find out who moved the reference; write the new commit only if that was meant")
            .boxed())
    }

    /// The folder that was asked for, which no link of the repository may lead out of.
    fn taken(&self) -> Result<PathBuf> {
        let Some(folder) = &self.address.folder else { return Ok(self.tree.clone()) };
        let missing = || self.failed(&format!("find the folder `{folder}`"), "the repository has no such folder");
        let root = fs::canonicalize(&self.tree).map_err(|error| self.failed("open it", &error.to_string()))?;
        let path = fs::canonicalize(self.tree.join(folder)).map_err(|_| missing())?;
        if path.starts_with(&root) && path.is_dir() { Ok(path) } else { Err(missing()) }
    }

    fn run(&self, arguments: &[&str]) -> Result<()> {
        self.text(arguments).map(|_| ())
    }

    fn text(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new("git");
        command.args(SAFE.iter().flat_map(|setting| ["-c", setting])).args(arguments).current_dir(&self.tree);
        // What the caller's git is told, such as a hook's GIT_DIR, is not for this one.
        for (name, _) in std::env::vars_os() {
            let is_told = name.to_str().is_some_and(|name| name.starts_with("GIT_") && !name.starts_with("GIT_SSH"));
            if is_told {
                command.env_remove(name);
            }
        }
        let asks = "ssh -o BatchMode=yes -o ConnectTimeout=30";
        if std::env::var_os("GIT_SSH_COMMAND").is_none() && std::env::var_os("GIT_SSH").is_none() {
            command.env("GIT_SSH_COMMAND", asks);
        }
        command.env("GIT_TERMINAL_PROMPT", "0").env("GIT_ASKPASS", "true").env("GIT_DIR", self.tree.join(".git"));
        command.env("GIT_WORK_TREE", &self.tree).env("LC_ALL", "C");
        // In the environment, since everybody sees the arguments of a process.
        command.env("GIT_CONFIG_COUNT", self.authorization.len().to_string());
        for (number, (origin, header)) in self.authorization.iter().enumerate() {
            command.env(format!("GIT_CONFIG_KEY_{number}"), format!("http.{origin}.extraHeader"));
            command.env(format!("GIT_CONFIG_VALUE_{number}"), header);
        }
        command.env("GIT_HTTP_LOW_SPEED_LIMIT", "1").env("GIT_HTTP_LOW_SPEED_TIME", "60");
        // Its library knows this one in lower case only, as web servers take names in upper case from their callers.
        if let Some(proxy) = std::env::var_os("HTTP_PROXY").filter(|_| std::env::var_os("http_proxy").is_none()) {
            command.env("http_proxy", proxy);
        }
        if arguments.first() == Some(&"submodule") {
            // It is a script that finds its repository itself.
            command.env_remove("GIT_DIR").env_remove("GIT_WORK_TREE");
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                Diagnostic::error(&codes::FETCH_FAILED, format!("cannot fetch {}: there is no git", self.shown()))
                    .cause("no program `git` is in PATH")
                    .hint("install git, or add the files from the context")
                    .boxed()
            }
            _ => self.failed("start git", &error.to_string()),
        })?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let outcome = std::thread::scope(|scope| {
            let out = scope.spawn(|| read(out));
            let err = scope.spawn(|| read(err));
            let status = self.wait(&mut child);
            (status, out.join().unwrap_or_default(), err.join().unwrap_or_default())
        });
        let (status, out, err) = outcome;
        if self.cancel.load(Ordering::SeqCst) {
            return Err(Diagnostic::error(&codes::CANCELLED, "the build was cancelled").boxed());
        }
        let status = status.map_err(|error| self.failed("wait for git", &error.to_string()))?;
        if status.success() {
            return Ok(out.trim().to_owned());
        }
        let what = format!("git {}", arguments.first().unwrap_or(&""));
        Err(self.failed(&what, if err.trim().is_empty() { "it gave no reason" } else { err.trim() }))
    }

    fn failed(&self, what: &str, reason: &str) -> Box<Diagnostic> {
        Diagnostic::error(&codes::FETCH_FAILED, format!("cannot fetch {}: {what}", self.shown()))
            .cause(reason)
            .hint("check the address, the reference after `#` and your access to the repository")
            .boxed()
    }

    /// Waits for git, and ends it where the build is over.
    fn wait(&self, child: &mut Child) -> io::Result<ExitStatus> {
        let process = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::NotFound)?;
        let running = rustix::process::pidfd_open(process, PidfdFlags::empty())?;
        loop {
            let mut ready = [PollFd::new(&running, PollFlags::IN)];
            match poll(&mut ready, Some(&LOOK)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return child.wait(),
                Err(errno) => return Err(errno.into()),
            }
            if self.cancel.load(Ordering::SeqCst) {
                // With what it has started; gone already is as good.
                let _ = rustix::process::kill_process_group(process, rustix::process::Signal::KILL);
                return child.wait();
            }
        }
    }

    /// Without a password.
    fn shown(&self) -> String {
        let repository = &self.address.repository;
        let Some((scheme, rest)) = repository.split_once("://") else { return repository.clone() };
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        format!("{scheme}://{}/{path}", host.rsplit_once('@').map_or(host, |(_, host)| host))
    }
}

/// A plain file server has no histories that are cut.
fn is_without_depth(why: &Diagnostic) -> bool {
    why.causes.iter().any(|cause| cause.contains("shallow"))
}

/// The last part of what a program says.
fn read(pipe: Option<impl io::Read>) -> String {
    let mut bytes = Vec::new();
    let Some(mut pipe) = pipe else { return String::new() };
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = pipe.read(&mut buffer) {
        bytes.extend_from_slice(&buffer[..length]);
        let surplus = bytes.len().saturating_sub(TAIL_BYTES);
        bytes.drain(..surplus);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Takes `.git` away, that of submodules too.
fn forget(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        if entry.file_name() == ".git" {
            if kind.is_dir() { fs::remove_dir_all(&path)? } else { fs::remove_file(&path)? }
        } else if kind.is_dir() {
            forget(&path)?;
        }
    }
    Ok(())
}
