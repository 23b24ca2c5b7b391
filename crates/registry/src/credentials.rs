//! Credentials as Docker keeps them: `config.json` with `auths`, or with programs that keep them (`credsStore`,
//! `credHelpers`; protocol: docker-credential-helpers).

use std::fmt;
use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use carrack_diag::{Diagnostic, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde_json::{Map, Value, json};

use crate::settings::wrong;
use crate::{base64, codes};

/// Who somebody is to a registry. Never shown: its `Debug` has no secret.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// A name and a password or access token.
    Password {
        /// The name.
        user: String,
        /// The password.
        secret: String,
    },
    /// A refresh token, as `docker login` may have kept one.
    IdentityToken(String),
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password { user, .. } => write!(f, "Password({user})"),
            Self::IdentityToken(_) => f.write_str("IdentityToken"),
        }
    }
}

/// `config.json` of the user.
#[derive(Debug, Clone)]
pub struct CredentialFile {
    path: PathBuf,
    helper_timeout: Duration,
}

/// Docker Hub's key, from before images named hosts.
const HUB_KEY: &str = "https://index.docker.io/v1/";
/// The user name under which helpers hand out refresh tokens.
const TOKEN_USER: &str = "<token>";
/// Most that a helper may answer, in bytes.
const HELPER_LIMIT: u64 = 1 << 20;
/// Helpers may ask a keychain, and that somebody for a password.
const HELPER_TIMEOUT: Duration = Duration::from_secs(60);

impl CredentialFile {
    /// A folder's `config.json`; the file need not be there.
    pub fn in_folder(folder: &Path) -> Self {
        Self { path: folder.join("config.json"), helper_timeout: HELPER_TIMEOUT }
    }

    /// `$DOCKER_CONFIG/config.json`, by default in `~/.docker`; none without a home.
    pub fn of_environment() -> Option<Self> {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let folder = variable("DOCKER_CONFIG").or_else(|| variable("HOME").map(|home| home.join(".docker")))?;
        Some(Self::in_folder(&folder))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is known for a host; none where nothing is.
    ///
    /// # Errors
    /// `registry/settings`, `registry/credential-helper`.
    pub fn get(&self, host: &str) -> Result<Option<Credential>> {
        let config = self.read()?;
        if let Some(helper) = helper(&config, host) {
            return self.ask_helper(&helper, key(host));
        }
        let Some(auths) = config.get("auths").and_then(Value::as_object) else { return Ok(None) };
        let Some((_, entry)) = auths.iter().find(|(known, _)| is_key_of(known, host)) else { return Ok(None) };
        let text = |name: &str| entry.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        if let Some(token) = text("identitytoken") {
            return Ok(Some(Credential::IdentityToken(token.to_owned())));
        }
        let (user, secret) = match text("auth") {
            Some(auth) => decode(auth).ok_or_else(|| wrong(&self.path, format!("malformed `auth` of {host}")))?,
            None => match (text("username"), text("password")) {
                (Some(user), Some(secret)) => (user.to_owned(), secret.to_owned()),
                _ => return Ok(None),
            },
        };
        Ok(Some(Credential::Password { user, secret }))
    }

    /// Keeps a password; with the helper for the host if there is one. Whether it now stands in the file itself, readable
    /// by whoever reads the file.
    ///
    /// # Errors
    /// `registry/settings`, `registry/credential-helper`.
    pub fn store(&self, host: &str, user: &str, secret: &str) -> Result<bool> {
        let mut config = self.read()?;
        let key = key(host);
        let helper = helper(&config, host);
        let entry = match &helper {
            Some(helper) => {
                let question = json!({ "ServerURL": key, "Username": user, "Secret": secret });
                self.run_helper(helper, "store", &question.to_string())?;
                json!({})
            }
            None => json!({ "auth": base64::encode(format!("{user}:{secret}").as_bytes()) }),
        };
        let auths = config.entry("auths").or_insert_with(|| json!({}));
        let Some(auths) = auths.as_object_mut() else { return Err(wrong(&self.path, "`auths` is not an object")) };
        auths.retain(|known, _| !is_key_of(known, host));
        auths.insert(key.to_owned(), entry);
        self.write(&config)?;
        Ok(helper.is_none())
    }

    /// Forgets what is known for a host; whether anything was.
    ///
    /// # Errors
    /// `registry/settings`, `registry/credential-helper`.
    pub fn erase(&self, host: &str) -> Result<bool> {
        let mut config = self.read()?;
        let mut was_known = false;
        if let Some(helper) = helper(&config, host) {
            was_known = self.ask_helper(&helper, key(host))?.is_some();
            if was_known {
                self.run_helper(&helper, "erase", key(host))?;
            }
        }
        if let Some(auths) = config.get_mut("auths").and_then(Value::as_object_mut) {
            let before = auths.len();
            auths.retain(|known, _| !is_key_of(known, host));
            if auths.len() != before {
                was_known = true;
                self.write(&config)?;
            }
        }
        Ok(was_known)
    }

    fn read(&self) -> Result<Map<String, Value>> {
        match fs::read(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Map::new()),
            // serde_json's reason names a line and column, never the text there.
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| wrong(&self.path, error)),
            Err(error) => Err(wrong(&self.path, error)),
        }
    }

    /// By rename; a link stays a link. Keys that are not ours stay, in their order.
    fn write(&self, config: &Map<String, Value>) -> Result<()> {
        let path = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let write = || -> std::io::Result<()> {
            let folder = path.parent().unwrap_or(Path::new("/"));
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            let partial = folder.join(format!(".config.json.{}", std::process::id()));
            let mut text = serde_json::to_string_pretty(config)?;
            text.push('\n');
            let written = fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&partial)
                .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
                .and_then(|()| fs::rename(&partial, &path));
            if written.is_err() {
                let _ = fs::remove_file(&partial);
            }
            written
        };
        write().map_err(|error| {
            Diagnostic::error(&codes::SETTINGS, format!("can't write {}", path.display()))
                .cause(error.to_string())
                .boxed()
        })
    }

    fn ask_helper(&self, helper: &str, server: &str) -> Result<Option<Credential>> {
        let answer = match self.run_helper(helper, "get", server)? {
            Answer::Said(answer) => answer,
            Answer::Unknown => return Ok(None),
        };
        let failed = |reason: &str| helper_failed(helper, "get").cause(reason).boxed();
        let answer: Value = serde_json::from_str(&answer).map_err(|_| failed("its answer is not JSON"))?;
        let text = |name: &str| answer.get(name).and_then(Value::as_str).map(str::to_owned);
        let (Some(user), Some(secret)) = (text("Username"), text("Secret")) else {
            return Err(failed("its answer has no Username and Secret"));
        };
        Ok(Some(if user == TOKEN_USER {
            Credential::IdentityToken(secret)
        } else {
            Credential::Password { user, secret }
        }))
    }

    fn run_helper(&self, helper: &str, action: &str, input: &str) -> Result<Answer> {
        let failed = |reason: String| helper_failed(helper, action).cause(reason).boxed();
        if helper.is_empty() || helper.contains('/') {
            return Err(failed("its name is no program's".into()));
        }
        let mut command = Command::new(format!("docker-credential-{helper}"));
        command.arg(action);
        let (answer, status) = converse(command, input, self.helper_timeout).map_err(failed)?;
        match status.success() {
            true => Ok(Answer::Said(answer)),
            // The protocol's words for an unknown server are all that tells it from a failure.
            false if answer.contains("credentials not found") => Ok(Answer::Unknown),
            // What it printed may hold secrets.
            false => Err(failed(format!("it ended with {status}"))),
        }
    }
}

enum Answer {
    Said(String),
    Unknown,
}

/// What a program says to its input, and how it ended; or why that could not be had in time.
fn converse(mut command: Command, input: &str, timeout: Duration) -> std::result::Result<(String, ExitStatus), String> {
    let end = Instant::now() + timeout;
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let (sender, receiver) = mpsc::channel();
    let input = input.to_owned();
    // Left alone where the helper, or what it started, keeps the pipe open beyond the time: it ends with it.
    std::thread::spawn(move || {
        if let Some(mut stdin) = stdin {
            // A helper that does not read its input says by its status what it thinks of it.
            let _ = stdin.write_all(input.as_bytes());
        }
        let mut answer = String::new();
        let read = stdout.map(|stdout| stdout.take(HELPER_LIMIT).read_to_string(&mut answer));
        let _ = sender.send(read.transpose().map(|_| answer));
    });
    let answer = receiver.recv_timeout(timeout);
    let status = if answer.is_ok() { wait_until(&mut child, end) } else { Ok(None) };
    if !matches!(status, Ok(Some(_))) {
        // What can't be killed has ended.
        let _ = child.kill().and_then(|()| child.wait());
    }
    let seconds = timeout.as_secs();
    let answer = answer.map_err(|_| format!("no answer within {seconds} s"))?.map_err(|error| error.to_string())?;
    let status = status.map_err(|error| error.to_string())?;
    let status = status.ok_or_else(|| format!("it closed its output, but did not end within {seconds} s"))?;
    Ok((answer, status))
}

/// How a process ended; none where it has not by then.
fn wait_until(child: &mut Child, end: Instant) -> std::io::Result<Option<ExitStatus>> {
    let process = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(ErrorKind::NotFound)?;
    let running = pidfd_open(process, PidfdFlags::empty())?;
    loop {
        let left = Timespec::try_from(end.saturating_duration_since(Instant::now())).unwrap_or_default();
        match poll(&mut [PollFd::new(&running, PollFlags::IN)], Some(&left)) {
            Err(Errno::INTR) => continue,
            ended => ended?,
        };
        return child.try_wait();
    }
}

fn helper_failed(helper: &str, action: &str) -> Diagnostic {
    Diagnostic::error(&codes::CREDENTIAL_HELPER, format!("`docker-credential-{helper} {action}` failed"))
}

/// The host's own helper comes before the one for all; an empty name means none.
fn helper(config: &Map<String, Value>, host: &str) -> Option<String> {
    let own = config.get("credHelpers").and_then(Value::as_object);
    let own = own.and_then(|helpers| helpers.iter().find(|(known, _)| is_key_of(known, host)));
    let helper = own.map(|(_, helper)| helper).or(config.get("credsStore"))?;
    helper.as_str().filter(|name| !name.is_empty()).map(str::to_owned)
}

fn key(host: &str) -> &str {
    if host == "docker.io" { HUB_KEY } else { host }
}

/// Keys are hosts, or addresses of hosts as older Dockers wrote them.
fn is_key_of(key: &str, host: &str) -> bool {
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let key = key.split('/').next().unwrap_or(key);
    key == host || host == "docker.io" && matches!(key, "index.docker.io" | "registry-1.docker.io")
}

fn decode(auth: &str) -> Option<(String, String)> {
    let text = String::from_utf8(base64::decode(auth)?).ok()?;
    let (user, secret) = text.split_once(':')?;
    Some((user.to_owned(), secret.trim_end_matches('\0').to_owned()))
}

/// A file as somebody left it: what is kept for one host is found again, and takes nothing away from another.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz(data: &[u8]) {
    let thread = std::thread::current().id();
    let folder = PathBuf::from(format!("/dev/shm/carrack-fuzz-credentials-{}-{thread:?}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    let file = CredentialFile { path: folder.join("config.json"), helper_timeout: Duration::from_secs(1) };
    fs::write(&file.path, data).expect("a file");
    let hosts = ["docker.io", "registry.example:5000"];
    // A program is not part of what is tried.
    let is_plain = file.read().is_ok_and(|config| hosts.iter().all(|host| helper(&config, host).is_none()));
    if is_plain {
        let other = file.get(hosts[0]).map(|found| format!("{found:?}"));
        if file.store(hosts[1], "who", "what").is_ok() {
            let found = file.get(hosts[1]).expect("what was kept");
            let kept = Credential::Password { user: "who".into(), secret: "what".into() };
            assert!(found == Some(kept), "what was kept is not found");
            assert_eq!(file.get(hosts[0]).map(|found| format!("{found:?}")).ok(), other.ok());
            assert!(file.erase(hosts[1]).expect("a file that was written"), "what was kept is not known");
            assert!(file.get(hosts[1]).expect("a file that was written").is_none(), "what was erased is found");
        }
    }
    let _ = fs::remove_dir_all(&folder);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(script: &str, timeout: Duration) -> std::result::Result<(String, ExitStatus), String> {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        converse(command, "ghcr.io", timeout)
    }

    /// E4: a helper that says all and stays is no reason to wait for ever, nor is one that says nothing.
    #[test]
    fn a_helper_that_does_not_end_is_ended() {
        let timeout = Duration::from_millis(300);
        let error = run("exec >&-; exec sleep 1000", timeout).unwrap_err();
        assert!(error.contains("closed its output"), "{error}");
        let error = run("exec sleep 1000", timeout).unwrap_err();
        assert!(error.contains("no answer"), "{error}");
    }

    #[test]
    fn a_helper_that_ends_a_little_later_is_heard() {
        let (answer, status) = run("cat; exec >&-; sleep 0.05; exit 3", HELPER_TIMEOUT).unwrap();
        assert_eq!((answer.as_str(), status.code()), ("ghcr.io", Some(3)));
    }
}
