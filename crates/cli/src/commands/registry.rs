//! `pull`, `push`, `login`, `logout`, `manifest inspect`, `history`; and images that other verbs find missing.

mod progress;

use std::io::{IsTerminal, Read};
use std::time::Duration;

use carrack_diag::{Diagnostic, Result};
use carrack_engine::Engine;
use carrack_engine::build::{CacheRegistry, Images, RegistryCaches};
use carrack_engine::registry::{Client, CredentialFile, HistoryView, PullPolicy, Pulled, Settings};
use carrack_oci::{Platform, Reference};
use serde_json::json;

use super::Session;
use crate::arguments::{
    HistoryArguments, LoginArguments, LogoutArguments, ManifestInspectArguments, Pull, PullArguments, PushArguments,
};
use crate::output::{Outcome, exit, human_duration, human_size, note, print, table};
use crate::{codes, flags};
use progress::{Lines, Verb};

/// How long a registry may take to answer at all where nobody named one: somebody waits for something else.
const IMPLIED_CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// No password is longer, in bytes.
const PASSWORD_LIMIT: u64 = 64 << 10;

fn client() -> Result<Client> {
    Ok(Client::new(Settings::of_environment()?, CredentialFile::of_environment()))
}

pub(crate) fn pull(session: &Session, arguments: &PullArguments) -> Outcome {
    let reference: Reference = arguments.name.parse()?;
    let platform = arguments.platform.as_deref().map(str::parse::<Platform>).transpose()?;
    let engine = session.engine()?;
    let is_quiet = arguments.quiet || session.output.json;
    let lines = Lines::new(Verb::Pull, is_quiet, false);
    if !is_quiet {
        if arguments.name.parse::<Reference>().is_ok() && !has_tag(&arguments.name) {
            print("Using default tag: latest\n");
        }
        let wanted =
            reference.tag().map_or_else(|| reference.digest().map(ToString::to_string), |tag| Some(tag.into()));
        print(&format!("{}: Pulling from {}\n", wanted.unwrap_or_default(), short_repository(&reference)));
    }
    let pulled = engine.pull(&client()?, &reference, platform.as_ref(), &lines)?;
    lines.end();
    session.output.result("pull", &pulled, |pulled| {
        let name = complete(&reference);
        if arguments.quiet {
            return format!("{name}\n");
        }
        let status = match pulled.is_new {
            true => format!("Downloaded newer image for {}", pulled.name),
            false => format!("Image is up to date for {}", pulled.name),
        };
        format!("Digest: {}\nStatus: {status}\n{name}\n", pulled.digest)
    });
    Ok(exit::DONE)
}

/// Whether the tag or digest was written.
fn has_tag(name: &str) -> bool {
    name.contains('@') || name.rsplit('/').next().is_some_and(|last| last.contains(':'))
}

fn short_repository(reference: &Reference) -> &str {
    reference.path()
}

/// As Docker ends its output: with the host.
fn complete(reference: &Reference) -> String {
    reference.to_string()
}

pub(crate) fn push(session: &Session, arguments: &PushArguments) -> Outcome {
    let reference: Reference = arguments.name.parse()?;
    let engine = session.engine()?;
    let is_quiet = arguments.quiet || session.output.json;
    let lines = Lines::new(Verb::Push, is_quiet, false);
    if !is_quiet {
        if !has_tag(&arguments.name) {
            print("Using default tag: latest\n");
        }
        print(&format!("The push refers to repository [{}/{}]\n", reference.host(), reference.path()));
    }
    let pushed = engine.push(&client()?, &reference, &lines)?;
    lines.end();
    session.output.result("push", &pushed, |pushed| {
        if arguments.quiet {
            return format!("{}\n", complete(&reference));
        }
        let tag = reference.tag().unwrap_or_default();
        format!("{tag}: digest: {} size: {}\n", pushed.digest, pushed.size_bytes)
    });
    Ok(exit::DONE)
}

/// Sees to it that an image is here before something is made of it. What happens is told on standard error: standard
/// output is the container's.
pub(crate) fn ensure(
    session: &Session,
    engine: &Engine,
    name: &str,
    platform: Option<&str>,
    policy: Pull,
    quiet: bool,
) -> Result<()> {
    let policy = match policy {
        Pull::Always => PullPolicy::Always,
        Pull::Missing => PullPolicy::Missing,
        Pull::Never => PullPolicy::Never,
    };
    let platform = platform.map(str::parse::<Platform>).transpose()?;
    let Some(pulled) = implied(session, engine, name, platform.as_ref(), policy, quiet)? else { return Ok(()) };
    if !quiet && !session.output.json {
        note(&format!("Digest: {}\n", pulled.digest));
        note(&format!(
            "Status: {} {}\n",
            if pulled.is_new { "Downloaded newer image for" } else { "Image is up to date for" },
            pulled.name
        ));
    }
    Ok(())
}

fn implied(
    session: &Session,
    engine: &Engine,
    name: &str,
    platform: Option<&Platform>,
    policy: PullPolicy,
    quiet: bool,
) -> Result<Option<Pulled>> {
    // Without a registry to ask, settings of registries must not matter.
    if policy == PullPolicy::Missing && platform.is_none() && engine.image_id(name)?.is_some() {
        return Ok(None);
    }
    let mut settings = Settings::of_environment()?;
    settings.connect_timeout = IMPLIED_CONNECT_TIMEOUT;
    let client = Client::new(settings, CredentialFile::of_environment());
    let is_quiet = quiet || session.output.json;
    if policy == PullPolicy::Missing
        && !is_quiet
        && name.parse::<Reference>().is_ok()
        && engine.image_id(name)?.is_none()
    {
        note(&format!("Unable to find image '{}' locally\n", name.parse::<Reference>()?.familiar()));
    }
    let lines = Lines::new(Verb::Pull, is_quiet, true);
    let pulled = engine.ensure_image(&client, name, platform, policy, &lines);
    lines.end();
    pulled
}

/// Base images of builds.
pub(crate) struct BaseImages<'a> {
    pub(crate) session: &'a Session,
    pub(crate) engine: &'a Engine,
    pub(crate) quiet: bool,
}

impl Images for BaseImages<'_> {
    fn fetch(&self, reference: &Reference, platform: &Platform) -> Result<bool> {
        let name = reference.to_string();
        if *platform != Platform::host() && name.parse::<Reference>().is_ok() {
            let mut settings = Settings::of_environment()?;
            settings.connect_timeout = IMPLIED_CONNECT_TIMEOUT;
            let client = Client::new(settings, CredentialFile::of_environment());
            let lines = Lines::new(Verb::Pull, self.quiet || self.session.output.json, true);
            let pulled = self.engine.pull_base(&client, reference, platform, &lines);
            lines.end();
            return pulled.map(|_| true);
        }
        let here = self.engine.image_id(&name)?.is_some();
        let platform = (here || *platform != Platform::host()).then_some(platform);
        implied(self.session, self.engine, &name, platform, PullPolicy::Always, self.quiet).map(|_| true)
    }

    fn registries(&self) -> Result<Option<Box<dyn CacheRegistry + '_>>> {
        Ok(Some(Box::new(RegistryCaches::new(client()?))))
    }
}

pub(crate) fn login(session: &Session, arguments: &LoginArguments) -> Outcome {
    let host = server(arguments.server.as_deref())?;
    let file = credential_file()?;
    let user = match &arguments.username {
        Some(user) => user.clone(),
        None if std::io::stdin().is_terminal() => ask(&format!("Username for {host}: "), true)?,
        None => return Err(flags::invalid("--username", "", "a user name: standard input is no terminal").into()),
    };
    let secret = match &arguments.password {
        Some(secret) => {
            note("WARNING! Using --password via the CLI is insecure. Use --password-stdin.\n");
            secret.clone()
        }
        None if arguments.password_stdin => {
            let mut secret = String::new();
            let read = std::io::stdin().lock().take(PASSWORD_LIMIT).read_to_string(&mut secret);
            read.map_err(|error| unreadable(&error))?;
            secret.trim_end_matches(['\r', '\n']).to_owned()
        }
        None if std::io::stdin().is_terminal() => ask("Password: ", false)?,
        None => {
            let diagnostic = Diagnostic::error(&codes::NO_TERMINAL, "can't ask for a password")
                .cause("standard input is not a terminal")
                .hint("hand it over by `--password-stdin`");
            return Err(diagnostic.into());
        }
    };
    if user.is_empty() || secret.is_empty() || user.contains(':') {
        return Err(flags::invalid("--username", &user, "a user name without a colon, and a password").into());
    }
    client()?.check_login(&host, &user, &secret)?;
    let is_readable = file.store(&host, &user, &secret)?;
    if is_readable && !session.output.json {
        note(&format!(
            "The password is kept unencrypted in {}; a credential helper (credsStore there) avoids that.\n",
            file.path().display()
        ));
    }
    let result = json!({ "server": host, "user": user });
    session.output.result("login", &result, |_| "Login Succeeded\n".to_owned());
    Ok(exit::DONE)
}

pub(crate) fn logout(session: &Session, arguments: &LogoutArguments) -> Outcome {
    let host = server(arguments.server.as_deref())?;
    let was_known = credential_file()?.erase(&host)?;
    let result = json!({ "server": host, "was_logged_in": was_known });
    session.output.result("logout", &result, |_| match was_known {
        true => format!("Removing login credentials for {host}\n"),
        false => format!("Not logged in to {host}\n"),
    });
    Ok(exit::DONE)
}

fn credential_file() -> Result<CredentialFile> {
    CredentialFile::of_environment().ok_or_else(|| {
        Diagnostic::error(&codes::UNREADABLE_FILE, "there is no place to keep credentials")
            .cause("neither DOCKER_CONFIG nor HOME is set")
            .boxed()
    })
}

/// The host of a server as people write it: an address, Docker Hub's old one, a host.
fn server(text: Option<&str>) -> Result<String> {
    let text = text.unwrap_or("docker.io");
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or(text);
    let host = host.split('/').next().unwrap_or(host);
    let host = if matches!(host, "index.docker.io" | "registry-1.docker.io") { "docker.io" } else { host };
    // A reference's host is told from its path by a dot, a colon or `localhost`.
    let reference = format!("{host}/x").parse::<Reference>();
    match reference {
        Ok(reference) if reference.host() == host => Ok(host.to_owned()),
        _ => Err(flags::invalid("SERVER", text, "a registry's host: registry.example:5000")),
    }
}

fn ask(question: &str, shown: bool) -> Result<String> {
    use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

    note(question);
    let stdin = std::io::stdin();
    let before = if shown { None } else { tcgetattr(&stdin).ok() };
    if let Some(before) = &before {
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        let _ = tcsetattr(&stdin, OptionalActions::Flush, &silent);
    }
    let mut line = String::new();
    let read = stdin.read_line(&mut line);
    if let Some(before) = &before {
        let _ = tcsetattr(&stdin, OptionalActions::Flush, before);
        note("\n");
    }
    read.map_err(|error| unreadable(&error))?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

fn unreadable(error: &std::io::Error) -> Box<Diagnostic> {
    Diagnostic::error(&codes::UNREADABLE_FILE, "can't read standard input").cause(error.to_string()).boxed()
}

pub(crate) fn manifest_inspect(session: &Session, arguments: &ManifestInspectArguments) -> Outcome {
    let reference: Reference = arguments.name.parse()?;
    let document = client()?.manifest(&reference)?;
    let manifest: serde_json::Value = serde_json::from_slice(&document.bytes).map_err(|error| {
        Diagnostic::error(&codes::UNREADABLE_FILE, format!("the manifest of {} is not JSON", reference.familiar()))
            .cause(error.to_string())
    })?;
    let result = json!({ "digest": document.digest, "media_type": document.media_type, "manifest": manifest });
    session.output.result("manifest", &result, |result| format!("{:#}\n", result["manifest"]));
    Ok(exit::DONE)
}

pub(crate) fn history(session: &Session, arguments: &HistoryArguments) -> Outcome {
    let as_json = match arguments.format.as_deref() {
        None => false,
        Some("json" | "{{json .}}") => true,
        Some(other) => return Err(flags::invalid("--format", other, "json").into()),
    };
    let views = session.observer()?.history(&arguments.name)?;
    session.output.result("history", &views, |views| {
        if arguments.quiet {
            return views.iter().map(|view| format!("{}\n", image_id(view, arguments))).collect();
        }
        let rows: Vec<Vec<String>> = views.iter().map(|view| history_row(view, arguments)).collect();
        if as_json {
            return views.iter().zip(&rows).map(|(view, row)| history_json(view, row)).collect();
        }
        table(&["IMAGE", "CREATED", "CREATED BY", "SIZE", "COMMENT"], &rows)
    });
    Ok(exit::DONE)
}

fn image_id(view: &HistoryView, arguments: &HistoryArguments) -> String {
    match &view.id {
        Some(id) if arguments.no_trunc => id.to_string(),
        Some(id) => id.short(),
        None => "<missing>".into(),
    }
}

fn history_row(view: &HistoryView, arguments: &HistoryArguments) -> Vec<String> {
    let created = match (arguments.human, view.age_seconds) {
        (true, Some(age)) => format!("{} ago", human_duration(age)),
        (true, None) => "N/A".into(),
        (false, _) => view.created.clone().unwrap_or_default(),
    };
    let mut created_by: String = view.created_by.replace(['\t', '\n'], " ");
    if !arguments.no_trunc && created_by.chars().count() > 45 {
        created_by = created_by.chars().take(44).chain(['…']).collect();
    }
    let size = if arguments.human { human_size(view.size_bytes) } else { view.size_bytes.to_string() };
    vec![image_id(view, arguments), created, created_by, size, view.comment.clone()]
}

/// Docker's keys.
fn history_json(view: &HistoryView, row: &[String]) -> String {
    let value = json!({
        "Comment": view.comment,
        "CreatedAt": view.created,
        "CreatedBy": row[2],
        "CreatedSince": row[1],
        "ID": row[0],
        "Size": row[3],
    });
    format!("{value}\n")
}
