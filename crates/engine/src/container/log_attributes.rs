//! What each line of a container's log says beside its text.

use std::collections::BTreeMap;

use carrack_diag::{Diagnostic, Result};
use carrack_oci::Config;
use carrack_specgen::container::LogConfig;
use carrack_specgen::log_tag;
use regex_lite::Regex;

use super::ContainerRecord;
use crate::codes;

/// What the labels and variables of container and image say that were asked for, by name or by pattern, and the tag.
pub(super) fn log_attributes(record: &ContainerRecord, image: &Config) -> Result<BTreeMap<String, String>> {
    let container = &record.container;
    let log = &container.log;
    let mut attributes = BTreeMap::new();
    let (labels, variables) = (pattern(log.labels_regex.as_deref())?, pattern(log.env_regex.as_deref())?);
    let is_asked_for = |name: &str, names: &[String], pattern: &Option<Regex>| {
        names.iter().any(|known| known == name) || pattern.as_ref().is_some_and(|pattern| pattern.is_match(name))
    };
    for (name, value) in image.labels.iter().chain(&container.labels) {
        if is_asked_for(name, &log.labels, &labels) {
            attributes.insert(name.clone(), value.clone());
        }
    }
    let inherited = image.env.iter().filter_map(|entry| entry.split_once('=')).map(|(name, value)| (name, Some(value)));
    let own = container.env.iter().map(|(name, value)| (name.as_str(), value.as_deref()));
    for (name, value) in inherited.chain(own).filter(|(name, _)| is_asked_for(name, &log.env, &variables)) {
        match value {
            Some(value) => drop(attributes.insert(name.to_owned(), value.to_owned())),
            None => drop(attributes.remove(name)),
        }
    }
    if let Some(tag) = &log.tag {
        attributes.insert("tag".into(), rendered(tag, record, image)?);
    }
    Ok(attributes)
}

/// Refuses what could only be told at the start.
pub(super) fn check(log: &LogConfig) -> Result<()> {
    pattern(log.labels_regex.as_deref())?;
    pattern(log.env_regex.as_deref())?;
    log.tag
        .as_deref()
        .map_or(Ok(()), |tag| log_tag::render(tag, |_| String::new()).map(drop).map_err(|what| unknown(tag, &what)))
}

fn pattern(text: Option<&str>) -> Result<Option<Regex>> {
    text.map(Regex::new).transpose().map_err(|error| {
        Diagnostic::error(&codes::INVALID_LOG, format!("`{}` is no regular expression", text.unwrap_or_default()))
            .cause(error.to_string())
            .hint("correct labels-regex or env-regex of the log's options")
            .boxed()
    })
}

fn rendered(tag: &str, record: &ContainerRecord, image: &Config) -> Result<String> {
    let image_id = record.image.to_string();
    let hexadecimal = image_id.split_once(':').map_or(image_id.as_str(), |(_, digits)| digits);
    let value = |field: &str| match field {
        "ID" => record.short_id().to_owned(),
        "FullID" | "ContainerID" => record.id.clone(),
        "Name" => record.name.clone(),
        "ContainerName" => format!("/{}", record.name),
        "ImageID" => hexadecimal.chars().take(12).collect(),
        "ImageFullID" | "ContainerImageID" => image_id.clone(),
        "ImageName" | "ContainerImageName" => record.container.image.clone(),
        "Command" => record.container.arguments(image).join(" "),
        _ => "carrack".to_owned(),
    };
    log_tag::render(tag, value).map_err(|what| unknown(tag, &what))
}

fn unknown(tag: &str, what: &str) -> Box<Diagnostic> {
    Diagnostic::error(&codes::INVALID_LOG, format!("`{what}` of the log's tag `{tag}` is unknown"))
        .hint(format!("a tag's fields are {}", log_tag::FIELDS.map(|field| format!("{{{{.{field}}}}}")).join(" ")))
        .boxed()
}
