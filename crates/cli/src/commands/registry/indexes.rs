//! `manifest create|annotate|inspect|push|rm`, `buildx imagetools inspect|create`.

use std::collections::BTreeMap;
use std::path::Path;

use carrack_diag::{Diagnostic, Result};
use carrack_engine::registry::{Client, Document, Draft, DraftEntry, PlatformChange, inspected, to_json};
use carrack_oci::{Digest, Index, Platform, Reference, media_type};
use serde_json::{Value, json};

use super::progress::{Lines, Verb};
use super::{client, client_for};
use crate::arguments::{
    ImagetoolsCreateArguments, ImagetoolsInspectArguments, ManifestAnnotateArguments, ManifestCommand,
    ManifestCreateArguments, ManifestInspectArguments, ManifestPushArguments,
};
use crate::commands::Session;
use crate::output::{Outcome, exit, print};
use crate::{codes, flags, template};

pub(crate) fn manifest(session: &Session, command: &ManifestCommand) -> Outcome {
    match command {
        ManifestCommand::Create(arguments) => create(session, arguments),
        ManifestCommand::Annotate(arguments) => annotate(session, arguments),
        ManifestCommand::Inspect(arguments) => inspect(session, arguments),
        ManifestCommand::Push(arguments) => push(session, arguments),
        ManifestCommand::Rm(arguments) => {
            let engine = session.engine()?;
            for name in &arguments.names {
                engine.remove_index(&name.parse()?)?;
            }
            session.output.result("manifest", &arguments.names, |_| String::new());
            Ok(exit::DONE)
        }
    }
}

fn create(session: &Session, arguments: &ManifestCreateArguments) -> Outcome {
    let name: Reference = arguments.name.parse()?;
    let sources: Vec<Reference> = arguments.images.iter().map(|image| image.parse()).collect::<Result<_>>()?;
    let hosts: Vec<&Reference> = if arguments.insecure { sources.iter().collect() } else { Vec::new() };
    session.engine()?.create_index(&client_for(&hosts)?, &name, &sources, arguments.amend)?;
    session
        .output
        .result("manifest", &json!({ "name": name.familiar() }), |_| format!("Created manifest list {name}\n"));
    Ok(exit::DONE)
}

fn annotate(session: &Session, arguments: &ManifestAnnotateArguments) -> Outcome {
    let change = PlatformChange {
        os: arguments.os.clone(),
        architecture: arguments.arch.clone(),
        variant: arguments.variant.clone(),
        os_version: arguments.os_version.clone(),
    };
    let name: Reference = arguments.name.parse()?;
    session.engine()?.annotate_index(&name, &arguments.image.parse()?, &change)?;
    session.output.result("manifest", &json!({ "name": name.familiar() }), |_| String::new());
    Ok(exit::DONE)
}

/// One that is being put together comes before the registry's, as in Docker.
fn inspect(session: &Session, arguments: &ManifestInspectArguments) -> Outcome {
    let (list, name) = match arguments.names.as_slice() {
        [list, name] => (Some(list), name),
        [name] => (None, name),
        _ => return Err(flags::invalid("MANIFEST", "", "[MANIFEST_LIST] MANIFEST").into()),
    };
    let reference: Reference = name.parse()?;
    let drafted = match list {
        // Without a root there is nothing in the making.
        None => session.observer().ok().and_then(|engine| engine.index_draft(&reference).transpose()).transpose()?,
        Some(list) => {
            let list: Reference = list.parse()?;
            let draft = session.observer()?.index_draft(&list)?;
            let entries = draft.into_iter().flat_map(|draft| draft.entries);
            let entry = entries.into_iter().find(|entry| entry.source == reference.to_string()).ok_or_else(|| {
                Diagnostic::error(&codes::INVALID_VALUE, format!("{} has no image {name}", list.familiar()))
                    .hint("`carrack manifest inspect` of the list alone shows them")
            })?;
            let value = json!({
                "Ref": entry.source, "Descriptor": entry.descriptor,
            });
            session.output.result("manifest", &value, |value| format!("{value:#}\n"));
            return Ok(exit::DONE);
        }
    };
    if let Some(draft) = drafted {
        let index = draft.index(BTreeMap::new());
        session.output.result("manifest", &json!({ "manifest": index }), |value| format!("{:#}\n", value["manifest"]));
        return Ok(exit::DONE);
    }
    let hosts: Vec<&Reference> = if arguments.insecure { vec![&reference] } else { Vec::new() };
    let client = client_for(&hosts)?;
    let document = client.manifest(&reference)?;
    let manifest = parsed(&reference, &document)?;
    if arguments.verbose {
        let platform = client.platform_of(&reference, &document)?;
        let descriptor = json!({
            "mediaType": document.media_type, "digest": document.digest, "size": document.bytes.len(),
            "platform": platform,
        });
        let value = json!({ "Ref": reference.to_string(), "Descriptor": descriptor, "Manifest": manifest });
        session.output.result("manifest", &value, |value| format!("{value:#}\n"));
        return Ok(exit::DONE);
    }
    let result = json!({ "digest": document.digest, "media_type": document.media_type, "manifest": manifest });
    session.output.result("manifest", &result, |result| format!("{:#}\n", result["manifest"]));
    Ok(exit::DONE)
}

fn parsed(reference: &Reference, document: &Document) -> Result<Value> {
    serde_json::from_slice(&document.bytes).map_err(|error| {
        Diagnostic::error(&codes::UNREADABLE_FILE, format!("the manifest of {} is not JSON", reference.familiar()))
            .cause(error.to_string())
            .boxed()
    })
}

fn push(session: &Session, arguments: &ManifestPushArguments) -> Outcome {
    let name: Reference = arguments.name.parse()?;
    let hosts: Vec<&Reference> = if arguments.insecure { vec![&name] } else { Vec::new() };
    let lines = Lines::new(Verb::Push, true, false);
    let pushed = session.engine()?.push_index(&client_for(&hosts)?, &name, arguments.purge, &lines)?;
    session.output.result("push", &pushed, |pushed| format!("{}\n", pushed.digest));
    Ok(exit::DONE)
}

pub(crate) fn imagetools_inspect(session: &Session, arguments: &ImagetoolsInspectArguments) -> Outcome {
    let reference: Reference = arguments.name.parse()?;
    let client = client()?;
    let document = client.manifest(&reference)?;
    if arguments.raw {
        print(&String::from_utf8_lossy(&document.bytes));
        return Ok(exit::DONE);
    }
    let manifest = parsed(&reference, &document)?;
    if let Some(format) = &arguments.format {
        let mut fields = manifest.clone();
        for (field, value) in [
            ("Digest", json!(document.digest)),
            ("MediaType", json!(document.media_type)),
            ("Size", json!(document.bytes.len())),
        ] {
            fields[field] = value;
        }
        // `json .Manifest` shows what the registry has, and its fields by Docker's names are told with it.
        let mut value = json!({ "Name": reference.to_string(), "Manifest": fields });
        // More requests, for what may not be wanted.
        if [".Image", ".SBOM", ".Provenance", "json .}"].iter().any(|field| format.contains(field)) {
            let more = inspected(&client, &reference, &document)?;
            for (field, said) in more.as_object().into_iter().flatten() {
                value[field] = said.clone();
            }
        }
        print(&format!("{}\n", template::render(format, &value)?));
        return Ok(exit::DONE);
    }
    let result = json!({
        "name": reference.to_string(), "digest": document.digest, "media_type": document.media_type, "manifest": manifest,
    });
    session.output.result("imagetools", &result, |_| described(&reference, &document));
    Ok(exit::DONE)
}

/// As buildx shows it.
fn described(reference: &Reference, document: &Document) -> String {
    let mut text =
        format!("Name:      {reference}\nMediaType: {}\nDigest:    {}\n", document.media_type, document.digest);
    if !media_type::is_index(&document.media_type) {
        return text;
    }
    let Ok(index) = serde_json::from_slice::<Index>(&document.bytes) else { return text };
    text.push_str("\nManifests: \n");
    for child in &index.manifests {
        let repository = format!("{}/{}", reference.host(), reference.path());
        text.push_str(&format!("  Name:      {repository}@{}\n  MediaType: {}\n", child.digest, child.media_type));
        if let Some(platform) = &child.platform {
            text.push_str(&format!("  Platform:  {platform}\n"));
        }
        if !child.annotations.is_empty() {
            text.push_str("  Annotations: \n");
            for (key, value) in &child.annotations {
                text.push_str(&format!("    {key}: {value}\n"));
            }
        }
        text.push('\n');
    }
    // What a registry says goes to a terminal.
    text.chars().filter(|letter| *letter == '\n' || !letter.is_control()).collect()
}

pub(crate) fn imagetools_create(session: &Session, arguments: &ImagetoolsCreateArguments) -> Outcome {
    let tags: Vec<Reference> = arguments.tag.iter().map(|name| name.parse()).collect::<Result<_>>()?;
    let mut texts = arguments.file.iter().map(|path| text_of(path)).collect::<Result<Vec<String>>>()?;
    texts.extend_from_slice(&arguments.sources);
    let mut sources = texts.iter().map(|text| Source::of(text, tags.first())).collect::<Result<Vec<Source>>>()?;
    if arguments.append {
        let [first, ..] = tags.as_slice() else {
            return Err(flags::invalid("--append", "", "a --tag to append to").into());
        };
        sources.insert(0, Source::plain(first.clone()));
    }
    if sources.is_empty() || tags.is_empty() && !arguments.dry_run {
        return Err(flags::invalid("--tag", "", "at least one tag and one source").into());
    }
    let mut annotations = BTreeMap::new();
    for text in &arguments.annotation {
        let wrong = || flags::invalid("--annotation", text, "[index:]KEY=VALUE");
        let (key, value) = text.split_once('=').ok_or_else(wrong)?;
        let key = match key.split_once(':') {
            None => key,
            Some(("index", key)) => key,
            Some(_) => return Err(wrong().into()),
        };
        annotations.insert(key.to_owned(), value.to_owned());
    }
    let client = client()?;
    let engine = session.engine()?;
    // One source and nothing said of it: what it is stays as it is.
    if let ([Source { reference: source, told: None }], true) = (sources.as_slice(), annotations.is_empty()) {
        let document = client.manifest(source)?;
        if media_type::is_index(&document.media_type) || !arguments.prefer_index {
            if arguments.dry_run {
                print(&String::from_utf8_lossy(&document.bytes));
                return Ok(exit::DONE);
            }
            let push = |tag: &Reference| engine.copy_image(&client, source, tag, &quiet());
            return told(session, tags.iter().map(push).collect::<Result<Vec<_>>>()?);
        }
    }
    let draft = combined(&engine, &client, &sources)?;
    let mut index = draft.index(annotations);
    index.media_type = media_type::INDEX.to_owned();
    if arguments.dry_run {
        session.output.result("imagetools", &index, |index| format!("{:#}\n", json!(index)));
        return Ok(exit::DONE);
    }
    let bytes = to_json(&index)?;
    let push = |tag: &Reference| engine.send_index(&client, tag, &draft, &bytes, &quiet());
    told(session, tags.iter().map(push).collect::<Result<Vec<_>>>()?)
}

/// What an index is made of: an image that a registry has, and what is said of it here.
struct Source {
    reference: Reference,
    told: Option<Told>,
}

/// The fields of a descriptor (image-spec `descriptor.md`) that say what the registry does not know.
#[derive(serde::Deserialize)]
struct Told {
    digest: Digest,
    #[serde(default)]
    platform: Option<Platform>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

impl Source {
    fn plain(reference: Reference) -> Self {
        Self { reference, told: None }
    }

    /// A name, a digest, or a descriptor's JSON; the latter two are of the first tag's repository.
    fn of(text: &str, tag: Option<&Reference>) -> Result<Self> {
        let text = text.trim();
        let of_digest = |digest: &Digest| {
            let tag =
                tag.ok_or_else(|| flags::invalid("--tag", "", "a tag, whose repository has what a digest names"))?;
            format!("{}/{}@{digest}", tag.host(), tag.path()).parse::<Reference>()
        };
        if let Ok(digest) = text.parse::<Digest>() {
            return Ok(Self::plain(of_digest(&digest)?));
        }
        if !text.starts_with('{') {
            return text.parse().map(Self::plain);
        }
        let told: Told = serde_json::from_str(text).map_err(|error| {
            Diagnostic::error(&codes::INVALID_VALUE, "--file: a descriptor can't be read")
                .cause(error.to_string())
                .hint("it is JSON with `digest`, and `platform` and `annotations` where they are to be said")
                .boxed()
        })?;
        Ok(Self { reference: of_digest(&told.digest)?, told: Some(told) })
    }
}

fn text_of(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|error| {
        Diagnostic::error(&codes::UNREADABLE_FILE, format!("can't read {}", path.display()))
            .cause(error.to_string())
            .boxed()
    })
}

fn combined(engine: &carrack_engine::Engine, client: &Client, sources: &[Source]) -> Result<Draft> {
    let mut entries: Vec<DraftEntry> = Vec::new();
    for source in sources {
        for mut entry in engine.index_entries(client, &source.reference)? {
            if let Some(told) = source.told.as_ref().filter(|told| told.digest == entry.descriptor.digest) {
                entry.descriptor.platform = told.platform.clone().or(entry.descriptor.platform);
                entry.descriptor.annotations.extend(told.annotations.clone());
            }
            if entries.iter().all(|known| known.descriptor.digest != entry.descriptor.digest) {
                entries.push(entry);
            }
        }
    }
    Ok(Draft { name: String::new(), entries })
}

fn quiet() -> Lines {
    Lines::new(Verb::Push, true, false)
}

fn told(session: &Session, pushed: Vec<carrack_engine::registry::Pushed>) -> Outcome {
    session.output.result("imagetools", &pushed, |pushed| {
        pushed.iter().map(|pushed| format!("{} {}\n", pushed.digest, pushed.name)).collect()
    });
    Ok(exit::DONE)
}
