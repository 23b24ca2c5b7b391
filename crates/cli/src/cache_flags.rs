//! `--cache-from` and `--cache-to`, in buildx's form: an image's name, or `type=…,KEY=VALUE,…`.

use std::path::Path;

use carrack_diag::{Diagnostic, Result};
use carrack_engine::build::{BuildRequest, CacheDestination, CacheExport, CacheImport, Compression, SharedCache};
use carrack_oci::Digest;

use crate::{codes, flags};

/// What of a request stands in the flags, and in a Compose file's keys of the same names. Folders count from `folder`.
pub(crate) fn apply<'a>(
    request: &mut BuildRequest,
    from: impl IntoIterator<Item = &'a String>,
    to: impl IntoIterator<Item = &'a String>,
    folder: &Path,
) -> Result<()> {
    for text in from {
        request.cache_from.push(import(text, folder)?);
    }
    for text in to {
        match export(text, folder)? {
            Some(export) => request.cache_to.push(export),
            None => request.inline_cache = true,
        }
    }
    Ok(())
}

/// Builds of several platforms write one cache, which holds the results of all.
pub(crate) fn share(request: &mut BuildRequest, builds: usize) {
    for export in &mut request.cache_to {
        export.shared = Some(SharedCache::of(builds));
    }
}

/// The build argument that asks BuildKit for an inline cache.
pub(crate) fn inline(request: &mut BuildRequest) -> Result<()> {
    const NAME: &str = "BUILDKIT_INLINE_CACHE";
    let Some(text) = request.build_args.get(NAME) else { return Ok(()) };
    request.inline_cache |= is_true(text).ok_or_else(|| flags::invalid(NAME, text, "0 or 1"))?;
    Ok(())
}

fn is_true(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "t" | "true" => Some(true),
        "0" | "f" | "false" | "" => Some(false),
        _ => None,
    }
}

/// `KEY=VALUE` pairs, keys in small letters; a name alone is `type=registry,ref=NAME`.
fn pairs<'a>(flag: &str, text: &'a str) -> Result<Vec<(String, &'a str)>> {
    if !text.contains('=') && !text.is_empty() {
        return Ok(vec![("type".into(), "registry"), ("ref".into(), text)]);
    }
    let pair = |part: &'a str| match part.split_once('=') {
        Some((key, value)) => Ok((key.trim().to_ascii_lowercase(), value)),
        None => Err(flags::invalid(flag, text, "an image's name, or KEY=VALUE pairs with commas between them")),
    };
    text.split(',').map(pair).collect()
}

fn value<'a>(pairs: &[(String, &'a str)], key: &str) -> Option<&'a str> {
    pairs.iter().rev().find(|(name, _)| name == key).map(|(_, value)| *value)
}

/// The kind of cache, and no key that is none of its.
fn kind<'a>(flag: &str, text: &str, pairs: &[(String, &'a str)], known: &[(&str, &[&str])]) -> Result<&'a str> {
    let kinds: Vec<&str> = known.iter().map(|(kind, _)| *kind).collect();
    let kind = value(pairs, "type");
    if let Some(kind @ ("gha" | "s3" | "azblob")) = kind {
        return Err(Diagnostic::error(&codes::NOT_YET, format!("build {flag} type={kind} is not there yet"))
            .hint("keep the cache at a registry, type=registry, or in a folder, type=local")
            .boxed());
    }
    let Some((kind, keys)) = kind.and_then(|kind| Some((kind, known.iter().find(|(known, _)| *known == kind)?.1)))
    else {
        return Err(flags::invalid(flag, text, &format!("type={}", kinds.join(" or type="))));
    };
    for (key, _) in pairs {
        if key != "type" && !keys.contains(&key.as_str()) {
            let form = format!("no `{key}` with type={kind}; there are {}", keys.join(", "));
            return Err(flags::invalid(flag, text, &form));
        }
    }
    Ok(kind)
}

fn import(text: &str, folder: &Path) -> Result<CacheImport> {
    const FLAG: &str = "--cache-from";
    let wrong = |form: &str| flags::invalid(FLAG, text, form);
    let pairs = pairs(FLAG, text)?;
    let kind = kind(FLAG, text, &pairs, &[("registry", &["ref"]), ("local", &["src", "tag", "digest"])])?;
    if kind == "registry" {
        let name = value(&pairs, "ref").ok_or_else(|| wrong("ref=NAME with type=registry"))?;
        return Ok(CacheImport::Registry(name.parse()?));
    }
    let path = value(&pairs, "src").filter(|path| !path.is_empty());
    let path = folder.join(path.ok_or_else(|| wrong("src=FOLDER with type=local"))?);
    let digest = value(&pairs, "digest").map(str::parse::<Digest>).transpose();
    let digest = digest.map_err(|_| wrong("digest=sha256:…"))?;
    Ok(CacheImport::Folder { path, tag: tag(&pairs), digest })
}

fn tag(pairs: &[(String, &str)]) -> String {
    value(pairs, "tag").filter(|tag| !tag.is_empty()).unwrap_or("latest").to_owned()
}

/// None is the image's own configuration.
fn export(text: &str, folder: &Path) -> Result<Option<CacheExport>> {
    const FLAG: &str = "--cache-to";
    const COMMON: [&str; 7] = [
        "mode",
        "compression",
        "compression-level",
        "force-compression",
        "ignore-error",
        "oci-mediatypes",
        "image-manifest",
    ];
    let wrong = |form: &str| flags::invalid(FLAG, text, form);
    let pairs = pairs(FLAG, text)?;
    let with = |own: &[&'static str]| -> Vec<&'static str> { own.iter().copied().chain(COMMON).collect() };
    let (registry, local) = (with(&["ref"]), with(&["dest", "tag"]));
    let known: [(&str, &[&str]); 3] = [("registry", &registry), ("local", &local), ("inline", &["mode"])];
    let kind = kind(FLAG, text, &pairs, &known)?;
    let yes = |key: &str| match value(&pairs, key) {
        None => Ok(None),
        Some(text) => is_true(text).map(Some).ok_or_else(|| wrong(&format!("{key}=true or {key}=false"))),
    };
    let all = match value(&pairs, "mode") {
        None | Some("min") => false,
        Some("max") => true,
        Some(_) => return Err(wrong("mode=min or mode=max")),
    };
    if kind == "inline" {
        return if all { Err(wrong("mode=min with type=inline: an image has its own layers only")) } else { Ok(None) };
    }
    for key in ["oci-mediatypes", "image-manifest"] {
        if yes(key)? == Some(false) {
            return Err(Diagnostic::error(
                &codes::NOT_YET,
                format!("build --cache-to with {key}=false is not there yet"),
            )
            .hint("leave it out: caches are OCI image manifests, which current registries take")
            .boxed());
        }
    }
    let destination = if kind == "registry" {
        let name = value(&pairs, "ref").ok_or_else(|| wrong("ref=NAME with type=registry"))?;
        CacheDestination::Registry(name.parse()?)
    } else {
        let path = value(&pairs, "dest").filter(|path| !path.is_empty());
        let path = folder.join(path.ok_or_else(|| wrong("dest=FOLDER with type=local"))?);
        CacheDestination::Folder { path, tag: tag(&pairs) }
    };
    let level = value(&pairs, "compression-level").map(str::parse::<u32>).transpose();
    let level = level.map_err(|_| wrong("a number after compression-level="))?;
    let compression = match (value(&pairs, "compression"), level) {
        (None, None) => None,
        (None | Some("gzip"), level) if level.is_none_or(|level| level <= 9) => {
            Some(Compression::Gzip { level: level.unwrap_or(6) })
        }
        (Some("zstd"), level) if level.is_none_or(|level| level <= 22) => {
            Some(Compression::Zstd { level: level.map_or(3, |level| i32::try_from(level).unwrap_or(3)) })
        }
        (Some("uncompressed"), _) => Some(Compression::Plain),
        (None | Some("gzip" | "zstd"), _) => return Err(wrong("a level from 0 to 9 for gzip, to 22 for zstd")),
        (Some("estargz"), _) => {
            let message = "build --cache-to with compression=estargz is not there yet";
            return Err(Diagnostic::error(&codes::NOT_YET, message).hint("leave it out").boxed());
        }
        (Some(_), _) => return Err(wrong("compression=gzip, zstd or uncompressed")),
    };
    Ok(Some(CacheExport {
        destination,
        all,
        compression,
        force: yes("force-compression")?.unwrap_or(false),
        ignore_error: yes("ignore-error")?.unwrap_or(false),
        shared: None,
    }))
}
