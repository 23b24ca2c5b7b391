//! `pull`, `push`, `login`, `logout`, `manifest inspect`, `history`; and images that other verbs find missing.

mod indexes;
mod progress;
mod services;

use std::io::{IsTerminal, Read};
use std::sync::OnceLock;
use std::time::Duration;

use carrack_diag::{Diagnostic, Result};
use carrack_engine::build::{CacheRegistry, Compression, Images, RegistryCaches};
use carrack_engine::registry::{Client, CredentialFile, HistoryView, PullPolicy, Pulled, Settings};
use carrack_engine::{Engine, interrupt};
use carrack_oci::{Platform, Reference};
use serde_json::{Value, json};

use super::{Session, current_folder, image};
use crate::arguments::{HistoryArguments, LoginArguments, LogoutArguments, Pull, PullArguments, PushArguments};
use crate::output::{Outcome, exit, human_duration, human_size, note, print, table};
use crate::{codes, docker_config, flags, template};
pub(crate) use indexes::{imagetools_create, imagetools_inspect, manifest};
use progress::{Lines, Verb};
pub(crate) use services::{services_pull, services_push};

/// How long a registry may take to answer at all where nobody named one: somebody waits for something else.
const IMPLIED_CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// No password is longer, in bytes.
const PASSWORD_LIMIT: u64 = 64 << 10;

fn client() -> Result<Client> {
    Ok(Client::new(Settings::of_environment()?, docker_config::credentials()))
}

/// A client for which the hosts of some images need no TLS.
fn client_for(insecure: &[&Reference]) -> Result<Client> {
    let mut settings = Settings::of_environment()?;
    for reference in insecure {
        settings.registries.entry(reference.host().to_owned()).or_default().insecure = true;
    }
    Ok(Client::new(settings, docker_config::credentials()))
}

pub(crate) fn pull(session: &Session, arguments: &PullArguments) -> Outcome {
    let reference: Reference = arguments.name.parse()?;
    if arguments.all_tags {
        if has_tag(&arguments.name) {
            return Err(flags::invalid("--all-tags", &arguments.name, "a name without tag and digest").into());
        }
        let mut tags = client()?.tags(&reference)?;
        tags.sort();
        for tag in tags {
            let name = reference.with_tag(&tag);
            pull_one(session, arguments, &name, &name.familiar())?;
        }
        return Ok(exit::DONE);
    }
    pull_one(session, arguments, &reference, &arguments.name)
}

fn pull_one(session: &Session, arguments: &PullArguments, reference: &Reference, written: &str) -> Outcome {
    let platforms: Vec<Platform> = arguments.platform.iter().map(|text| text.parse()).collect::<Result<_>>()?;
    let engine = session.engine()?;
    let is_quiet = arguments.quiet || session.output.json;
    let lines = Lines::new(Verb::Pull, is_quiet, false);
    if !is_quiet {
        if !has_tag(written) {
            print("Using default tag: latest\n");
        }
        let wanted =
            reference.tag().map_or_else(|| reference.digest().map(ToString::to_string), |tag| Some(tag.into()));
        print(&format!("{}: Pulling from {}\n", wanted.unwrap_or_default(), short_repository(reference)));
    }
    let pulled = match platforms.as_slice() {
        [] if !arguments.all_platforms => engine.pull(&client()?, reference, None, &lines)?,
        [platform] => engine.pull(&client()?, reference, Some(platform), &lines)?,
        several => engine.pull_platforms(&client()?, reference, several, &lines)?,
    };
    lines.end();
    session.output.result("pull", &pulled, |pulled| {
        let name = complete(reference);
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
pub(super) fn has_tag(name: &str) -> bool {
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
    let engine = session.engine()?;
    let client = client()?;
    let mut names = Vec::new();
    let conventional = match &arguments.tags_from {
        Some(_) => carrack_engine::git_tags::of_folder(&current_folder())?,
        None => Vec::new(),
    };
    for name in &arguments.names {
        let reference: Reference = name.parse()?;
        if !conventional.is_empty() {
            for tag in &conventional {
                let tagged = reference.with_tag(tag);
                engine.tag(&reference.to_string(), &tagged.to_string())?;
                names.push((tagged, true));
            }
            continue;
        }
        if !arguments.all_tags {
            names.push((reference, has_tag(name)));
        } else if has_tag(name) {
            return Err(flags::invalid("--all-tags", name, "a name without tag and digest").into());
        } else {
            let tags = engine.tags_of(&reference)?;
            if tags.is_empty() {
                return Err(engine.no_image(&reference.familiar_repository())?.into());
            }
            names.extend(tags.into_iter().map(|tag| (tag, true)));
        }
    }
    let platform: Option<Platform> = arguments.platform.as_deref().map(str::parse).transpose()?;
    // All of them before the first is sent.
    for (name, _) in &names {
        engine.image_for(&name.to_string(), platform.as_ref())?;
    }
    let quiet = arguments.quiet;
    let mut pushed = Vec::new();
    for (reference, has_tag) in &names {
        if !quiet && !session.output.json {
            if !has_tag {
                print("Using default tag: latest\n");
            }
            print(&format!("The push refers to repository [{}/{}]\n", reference.host(), reference.path()));
        }
        let one = push_one(session, (&engine, &client), reference, platform.as_ref(), quiet)?;
        if !session.output.json {
            let tag = reference.tag().unwrap_or_default();
            print(&match quiet {
                true => format!("{}\n", complete(reference)),
                false => format!("{tag}: digest: {} size: {}\n", one.digest, one.size_bytes),
            });
        }
        pushed.push(one);
    }
    match pushed.as_slice() {
        [one] => session.output.result("push", one, |_| String::new()),
        several => session.output.result("push", &several, |_| String::new()),
    }
    Ok(exit::DONE)
}

fn push_one(
    session: &Session,
    (engine, client): (&Engine, &Client),
    reference: &Reference,
    platform: Option<&Platform>,
    quiet: bool,
) -> Result<carrack_engine::registry::Pushed> {
    let lines = Lines::new(Verb::Push, quiet || session.output.json, false);
    let pushed = engine.push(client, reference, platform, Compression::OUTGOING, &lines);
    lines.end();
    pushed
}

/// Sends what was built under all its names. Standard output is the build's own.
pub(crate) fn push_built(
    session: &Session,
    engine: &Engine,
    names: &[Reference],
    compression: Compression,
    quiet: bool,
) -> Result<()> {
    let client = client()?;
    let is_quiet = quiet || session.output.json;
    for name in names {
        let lines = Lines::new(Verb::Push, is_quiet, true);
        let pushed = engine.push(&client, name, None, compression, &lines);
        lines.end();
        let pushed = pushed?;
        if !is_quiet {
            note(&format!("pushed {}@{}\n", name.familiar(), pushed.digest));
        }
    }
    Ok(())
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
    let client = implied_client()?;
    let is_quiet = quiet || session.output.json;
    if policy == PullPolicy::Missing
        && !is_quiet
        && name.parse::<Reference>().is_ok()
        && engine.image_id(name)?.is_none()
    {
        note(&format!("Unable to find image '{}' locally\n", name.parse::<Reference>()?.familiar()));
    }
    let lines = Lines::new(Verb::Pull, is_quiet, true);
    let pulled = engine.ensure_image(client, name, platform, policy, &lines);
    lines.end();
    pulled
}

/// One for the process: of a project with ten images that are nowhere to be had, a silent name server is waited for once.
fn implied_client() -> Result<&'static Client> {
    static CLIENT: OnceLock<Client> = OnceLock::new();
    if let Some(client) = CLIENT.get() {
        return Ok(client);
    }
    let mut settings = Settings::of_environment()?;
    settings.connect_timeout = IMPLIED_CONNECT_TIMEOUT;
    settings.asks_once = true;
    Ok(CLIENT.get_or_init(|| Client::new(settings, docker_config::credentials())))
}

/// Base images of builds.
pub(crate) struct BaseImages<'a> {
    pub(crate) session: &'a Session,
    pub(crate) engine: &'a Engine,
    pub(crate) quiet: bool,
}

impl Images for BaseImages<'_> {
    fn fetch(&self, reference: &Reference, platform: &Platform) -> Result<bool> {
        let here = self.engine.image_id(&reference.to_string())?.is_some();
        let platform = (here || *platform != Platform::host()).then_some(platform);
        let mut settings = Settings::of_environment()?;
        settings.connect_timeout = IMPLIED_CONNECT_TIMEOUT;
        let client = Client::new(settings, docker_config::credentials());
        let lines = Lines::new(Verb::Pull, self.quiet || self.session.output.json, true);
        let pulled = self.engine.pull_base(&client, reference, platform, &lines);
        lines.end();
        pulled.map(|_| true)
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
    docker_config::credentials().ok_or_else(|| {
        Diagnostic::error(&codes::UNREADABLE_FILE, "there is no place to keep credentials")
            .cause("neither --config nor DOCKER_CONFIG nor HOME is set")
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
        let before = before.clone();
        // Who thinks better of it gets the terminal back as it was.
        interrupt::on_signal(move || {
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &before);
            note("\n");
        })?;
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

pub(crate) fn history(session: &Session, arguments: &HistoryArguments) -> Outcome {
    const HEADINGS: [(&str, &str); 6] = [
        ("ID", "IMAGE"),
        ("CreatedSince", "CREATED"),
        ("CreatedAt", "CREATED AT"),
        ("CreatedBy", "CREATED BY"),
        ("Size", "SIZE"),
        ("Comment", "COMMENT"),
    ];
    let views = session.observer()?.history(&arguments.name, image::platform(arguments.platform.as_ref())?.as_ref())?;
    let rows: Vec<Vec<String>> = views.iter().map(|view| history_row(view, arguments)).collect();
    let values = || views.iter().zip(&rows).map(|(view, row)| history_fields(view, row));
    let text = match arguments.format.as_deref() {
        _ if arguments.quiet => views.iter().map(|view| format!("{}\n", image_id(view, arguments))).collect(),
        Some("json" | "{{json .}}") => values().map(|value| format!("{value}\n")).collect(),
        Some(format) if format != "table" => template::rows(format, &values().collect::<Vec<_>>(), &HEADINGS)?,
        _ => {
            let created = if arguments.human { "CREATED" } else { "CREATED AT" };
            table(&["IMAGE", created, "CREATED BY", "SIZE", "COMMENT"], &rows)
        }
    };
    session.output.result("history", &views, |_| text);
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
        (false, _) => created_at(view),
    };
    let mut created_by: String = view.created_by.replace(['\t', '\n'], " ");
    if !arguments.no_trunc && created_by.chars().count() > 45 {
        created_by = created_by.chars().take(44).chain(['…']).collect();
    }
    let size = if arguments.human { human_size(view.size_bytes) } else { view.size_bytes.to_string() };
    vec![image_id(view, arguments), created, created_by, size, view.comment.clone()]
}

/// RFC 3339 to the second.
fn created_at(view: &HistoryView) -> String {
    let time = view.created.as_deref().unwrap_or_default();
    time.split_once('.').map_or(time.to_owned(), |(seconds, _)| format!("{seconds}Z"))
}

/// Docker's keys.
fn history_fields(view: &HistoryView, row: &[String]) -> Value {
    json!({
        "Comment": view.comment,
        "CreatedAt": created_at(view),
        "CreatedBy": row[2],
        "CreatedSince": row[1],
        "ID": row[0],
        "Size": row[3],
    })
}
