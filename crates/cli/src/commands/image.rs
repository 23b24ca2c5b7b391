//! `images`, `load`, `save`, `import`, `tag`, `rmi`, `image bootstrap`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{IsTerminal, Read};

use carrack_diag::{Diagnostic, Result, Severity, SourceMap};
use carrack_engine::{BootstrapRequest, Engine, ImageView, config_of};
use carrack_oci::{Config, Digest, Platform};
use serde_json::{Value, json};

use super::{Session, image_tree, ps};
use crate::arguments::{
    BootstrapArguments, ImagesArguments, ImportArguments, LoadArguments, RmiArguments, SaveArguments, TagArguments,
};
use crate::destination::Destination;
use crate::filters::Filters;
use crate::output::{Failure, Outcome, exit, human_duration, human_size, human_sum, note, print, table};
use crate::template::{Row, Template};
use crate::{codes, docker_config, flags};

pub(crate) fn list(session: &Session, arguments: &ImagesArguments) -> Outcome {
    let engine = session.observer()?;
    if arguments.tree {
        return image_tree::show(session, &engine, arguments);
    }
    let mut views = engine.images()?;
    views.sort_by(|left, right| right.created.cmp(&left.created));
    retain(&engine, arguments, &mut views)?;
    const HEADINGS: [(&str, &str); 11] = [
        ("Repository", "REPOSITORY"),
        ("Tag", "TAG"),
        ("Digest", "DIGEST"),
        ("ID", "IMAGE ID"),
        ("CreatedSince", "CREATED"),
        ("CreatedAt", "CREATED AT"),
        ("Size", "SIZE"),
        ("VirtualSize", "SIZE"),
        ("SharedSize", "SHARED SIZE"),
        ("UniqueSize", "UNIQUE SIZE"),
        ("Containers", "CONTAINERS"),
    ];
    let configured = match arguments.format {
        None if !arguments.quiet && !arguments.digests => docker_config::format("imagesFormat"),
        _ => None,
    };
    let format = arguments.format.as_deref().or(configured.as_deref());
    // Looked for only where it is asked for.
    let asks_containers = |format: &str| format.contains("json") || format.contains(".Containers");
    let used: Vec<Digest> = match format.is_some_and(asks_containers) {
        true => engine.containers()?.iter().map(|view| view.record.image).collect(),
        false => Vec::new(),
    };
    let rows = || -> Vec<Row> {
        views.iter().map(|view| Row { fields: fields(view, arguments, &used), ..Row::default() }).collect()
    };
    let text = match format {
        _ if arguments.quiet => {
            let mut ids: Vec<String> = views.iter().map(|view| format!("{}\n", id(view, arguments))).collect();
            ids.dedup();
            ids.concat()
        }
        Some("json") => rows().iter().map(|row| row.json() + "\n").collect(),
        Some(format) if format != "table" => Template::of_list(format)?.lines(&rows(), &HEADINGS)?,
        _ => images_table(&views, arguments),
    };
    session.output.result("images", &views, |_| text);
    Ok(exit::DONE)
}

/// Keeps what is asked for.
fn retain(engine: &Engine, arguments: &ImagesArguments, views: &mut Vec<ImageView>) -> Result<()> {
    let filters =
        Filters::parse(&arguments.filter, &["before", "dangling", "label", "reference", "since", "until"], &[])?;
    let dangling = filters.truth("dangling")?;
    // When an image was made that others are compared with.
    let created = |key: &str| -> Result<Option<String>> {
        let Some(name) = filters.values(key).last() else { return Ok(None) };
        Ok(Some(engine.inspect_image(name, None)?["Created"].as_str().unwrap_or_default().to_owned()))
    };
    let (before, since) = (created("before")?, created("since")?);
    let until = match filters.values("until").last() {
        Some(text) => Some(flags::time("--filter until", text, jiff::Timestamp::now())?.to_string()),
        None => None,
    };
    let made = |view: &ImageView| view.created.clone().unwrap_or_default();
    views.retain(|view| {
        arguments.repository.as_ref().is_none_or(|pattern| is_reference(pattern, view))
            && filters.any("reference", |pattern| is_reference(pattern, view))
            && dangling.is_none_or(|wanted| wanted == (view.repository == "<none>"))
            && before.as_ref().is_none_or(|time| made(view) < *time)
            && since.as_ref().is_none_or(|time| made(view) > *time)
            && until.as_ref().is_none_or(|time| made(view) < *time)
    });
    if filters.has("label") {
        let mut kept = Vec::new();
        for view in views.drain(..) {
            let shown = engine.inspect_image(&view.id.to_string(), None)?;
            let labels = shown["Config"]["Labels"].as_object().into_iter().flatten();
            let labels: BTreeMap<String, String> =
                labels.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned())).collect();
            if filters.labels(&labels) {
                kept.push(view);
            }
        }
        *views = kept;
    }
    Ok(())
}

/// Whether a pattern is that of an image's repository, or of its name with its tag.
fn is_reference(pattern: &str, view: &ImageView) -> bool {
    is_glob_of(pattern, &view.repository) || is_glob_of(pattern, &format!("{}:{}", view.repository, view.tag))
}

/// A pattern of a shell, in which neither `*` nor `?` is a slash.
fn is_glob_of(pattern: &str, text: &str) -> bool {
    let mut expression = String::from("^");
    for character in pattern.chars() {
        match character {
            '*' => expression.push_str("[^/]*"),
            '?' => expression.push_str("[^/]"),
            '[' | ']' | '-' => expression.push(character),
            _ => expression.push_str(&regex_lite::escape(character.encode_utf8(&mut [0; 4]))),
        }
    }
    regex_lite::Regex::new(&(expression + "$")).map_or(pattern == text, |expression| expression.is_match(text))
}

fn id(view: &ImageView, arguments: &ImagesArguments) -> String {
    if arguments.no_trunc { view.id.to_string() } else { view.id.short() }
}

/// Docker's keys.
fn fields(view: &ImageView, arguments: &ImagesArguments, used: &[Digest]) -> Value {
    let containers = used.iter().filter(|image| **image == view.id).count().to_string();
    json!({
        "Containers": containers,
        "CreatedAt": view.created.as_deref().map_or("N/A".into(), ps::go_time),
        "CreatedSince": view.age_seconds.map_or("N/A".into(), |age| format!("{} ago", human_duration(age))),
        "Digest": view.manifest,
        "ID": id(view, arguments),
        "Repository": view.repository,
        "SharedSize": "N/A",
        "Size": human_size(view.size_bytes),
        "Tag": view.tag,
        "UniqueSize": "N/A",
        "VirtualSize": human_sum(view.size_bytes),
    })
}

fn images_table(views: &[ImageView], arguments: &ImagesArguments) -> String {
    let mut header = vec!["REPOSITORY", "TAG"];
    if arguments.digests {
        header.push("DIGEST");
    }
    header.extend(["IMAGE ID", "CREATED", "SIZE"]);
    let rows: Vec<Vec<String>> = views
        .iter()
        .map(|view| {
            let mut row = vec![view.repository.clone(), view.tag.clone()];
            if arguments.digests {
                row.push(view.manifest.to_string());
            }
            row.push(id(view, arguments));
            row.push(view.age_seconds.map_or("N/A".into(), |age| format!("{} ago", human_duration(age))));
            row.push(human_size(view.size_bytes));
            row
        })
        .collect();
    table(&header, &rows)
}

/// What --platform says.
pub(super) fn platform(text: Option<&String>) -> Result<Option<Platform>> {
    text.map(|text| text.parse()).transpose()
}

pub(crate) fn load(session: &Session, arguments: &LoadArguments) -> Outcome {
    let platform = platform(arguments.platform.as_ref())?;
    let mut input: Box<dyn Read> = match &arguments.input {
        Some(path) => Box::new(open(path)?),
        None if std::io::stdin().is_terminal() => {
            return Err(flags::invalid("--input", "-", "an archive: standard input is a terminal").into());
        }
        None => Box::new(std::io::stdin().lock()),
    };
    let names = session.engine()?.load(&mut input, platform.as_ref())?;
    session.output.result("load", &names, |names| names.iter().map(|name| format!("Loaded image: {name}\n")).collect());
    Ok(exit::DONE)
}

pub(crate) fn save(session: &Session, arguments: &SaveArguments) -> Outcome {
    let (engine, platform) = (session.observer()?, platform(arguments.platform.as_ref())?);
    match &arguments.output {
        Some(path) => {
            let (destination, mut file) = Destination::open(path)?;
            engine.save(&arguments.names, platform.as_ref(), &mut file)?;
            destination.finish()?;
        }
        None if std::io::stdout().is_terminal() => {
            return Err(flags::invalid("--output", "-", "--output FILE: standard output is a terminal").into());
        }
        None => engine.save(&arguments.names, platform.as_ref(), &mut std::io::stdout().lock())?,
    }
    Ok(exit::DONE)
}

pub(crate) fn import(session: &Session, arguments: &ImportArguments) -> Outcome {
    let mut input: Box<dyn Read> = if arguments.source.as_os_str() == "-" {
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(open(&arguments.source)?)
    };
    let (config, platform) = (changed(&arguments.change)?, platform(arguments.platform.as_ref())?);
    let name = arguments.name.as_deref();
    let id = session.engine()?.import(&mut input, platform.as_ref(), config, arguments.message.as_deref(), name)?;
    session.output.result("import", &json!({ "id": id }), |_| format!("{id}\n"));
    Ok(exit::DONE)
}

/// What `import --change` takes, as in Docker: what says something of the image and changes no file.
const CHANGES: [&str; 11] = [
    "CMD",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "HEALTHCHECK",
    "LABEL",
    "ONBUILD",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

pub(super) fn changed(changes: &[String]) -> std::result::Result<Config, Failure> {
    for text in changes {
        let keyword = text.split_whitespace().next().unwrap_or_default();
        if text.contains('\n') || !CHANGES.iter().any(|known| keyword.eq_ignore_ascii_case(known)) {
            return Err(
                flags::invalid("--change", text, &format!("one of {} with its value", CHANGES.join(", "))).into()
            );
        }
    }
    let mut sources = SourceMap::new();
    config_of(changes, &mut sources).map_err(|errors| Failure::new(errors, sources))
}

pub(crate) fn tag(session: &Session, arguments: &TagArguments) -> Outcome {
    session.engine()?.tag(&arguments.source, &arguments.target)?;
    Ok(exit::DONE)
}

pub(crate) fn remove(session: &Session, arguments: &RmiArguments) -> Outcome {
    let (engine, platform) = (session.engine()?, platform(arguments.platform.as_ref())?);
    let (mut lines, mut failures) = (Vec::new(), Vec::new());
    for name in &arguments.names {
        let removed = match &platform {
            Some(platform) => engine.remove_image_on(name, platform, arguments.force),
            None => engine.remove_image(name, arguments.force),
        };
        match removed {
            Ok(removed) => lines.extend(removed),
            // As in Docker what is not there is no failure where it is forced.
            Err(error) if arguments.force && error.code.id == "store/image-not-found" => {
                session.output.diagnostics(&[Diagnostic { severity: Severity::Warning, ..*error }], &SourceMap::new());
            }
            Err(error) => failures.push(*error),
        }
    }
    let text = |lines: &Vec<String>| lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    if failures.is_empty() {
        session.output.result("rmi", &lines, text);
        return Ok(exit::DONE);
    }
    if !session.output.json {
        print(&text(&lines));
    }
    Err(Failure::new(failures, SourceMap::new()))
}

pub(crate) fn bootstrap(session: &Session, arguments: &BootstrapArguments) -> Outcome {
    let request = BootstrapRequest {
        name: arguments.name.clone(),
        suite: arguments.suite.clone(),
        variant: arguments.variant.clone(),
        include: arguments.include.clone(),
        mirror: arguments.mirror.clone(),
        force_name: arguments.force_name,
    };
    if !session.output.json {
        note(&format!("making {} from Debian {} …\n", arguments.name, arguments.suite));
    }
    let id = session.engine()?.bootstrap(&request).map_err(|error| {
        let is_interrupted = error.code.id == "bootstrap/interrupted";
        let failure = Failure::from(error);
        if is_interrupted { failure.exit(exit::INTERRUPTED) } else { failure }
    })?;
    session.output.result("bootstrap", &json!({ "id": id, "name": arguments.name }), |_| format!("{id}\n"));
    Ok(exit::DONE)
}

fn open(path: &std::path::Path) -> Result<File> {
    File::open(path).map_err(|error| {
        Diagnostic::error(&codes::UNREADABLE_FILE, format!("can't read {}", path.display()))
            .cause(error.to_string())
            .boxed()
    })
}

#[cfg(test)]
mod tests {
    use super::is_glob_of;

    #[test]
    fn references_are_patterns_of_a_shell() {
        for (pattern, text, is) in [
            ("busy*", "busybox", true),
            ("busybox", "busybox", true),
            ("*", "localhost:5000/d/big", false),
            ("localhost:5000/*/*", "localhost:5000/d/big", true),
            ("t:[12]", "t:1", true),
            ("t:?", "t:12", false),
            ("a.b", "axb", false),
            ("t:[", "t:[", true),
        ] {
            assert_eq!(is_glob_of(pattern, text), is, "{pattern} {text}");
        }
    }
}
