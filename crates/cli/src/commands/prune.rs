//! `container|image|volume|network|system prune`.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use carrack_diag::{Diagnostic, Result};
use carrack_engine::build::PruneRequest;
use carrack_engine::{LabelFilter, PruneFilter, Removed, until_of_volumes};
use serde_json::json;

use super::{Session, builder};
use crate::arguments::{ImagePruneArguments, PruneArguments, SystemPruneArguments, VolumePruneArguments};
use crate::filters::no_filter;
use crate::output::{Failure, Outcome, exit, human_sum, note};
use crate::{codes, flags};

pub(crate) fn containers(session: &Session, arguments: &PruneArguments) -> Outcome {
    let filter = filter(&arguments.filter)?;
    confirm(session, arguments, "all stopped containers.", "container prune", &[])?;
    let removed = session.engine()?.prune_containers(&filter)?;
    show(session, "container-prune", "Deleted Containers:", &removed)
}

pub(crate) fn networks(session: &Session, arguments: &PruneArguments) -> Outcome {
    let filter = filter(&arguments.filter)?;
    confirm(session, arguments, "all custom networks not used by at least one container.", "network prune", &[])?;
    let removed = session.engine()?.prune_networks(&filter)?;
    // They take no room, and Docker does not say so.
    session.output.result("network-prune", &removed, |removed| listed("Deleted Networks:", removed));
    Ok(exit::DONE)
}

pub(crate) fn images(session: &Session, arguments: &ImagePruneArguments) -> Outcome {
    let filter = filter(&arguments.prune.filter)?;
    let (what, flags) = if arguments.all {
        ("all images without at least one container associated to them.", ["--all"].as_slice())
    } else {
        ("all dangling images.", [].as_slice())
    };
    confirm(session, &arguments.prune, what, "image prune", flags)?;
    let removed = session.engine()?.prune_images(&filter, arguments.all)?;
    show(session, "image-prune", "Deleted Images:", &removed)
}

pub(crate) fn volumes(session: &Session, arguments: &VolumePruneArguments) -> Outcome {
    let mut all = arguments.all;
    let is_all = |text: &&String| matches!(text.as_str(), "all" | "all=1" | "all=true");
    all |= arguments.prune.filter.iter().any(|text| is_all(&text));
    let rest: Vec<String> = arguments.prune.filter.iter().filter(|text| !is_all(text)).cloned().collect();
    let filter = filter(&rest)?;
    if filter.until.is_some() {
        return Err(until_of_volumes().into());
    }
    let (what, flags) = if all {
        ("all local volumes not used by at least one container.", ["--all"].as_slice())
    } else {
        ("anonymous local volumes not used by at least one container.", [].as_slice())
    };
    confirm(session, &arguments.prune, what, "volume prune", flags)?;
    let removed = session.engine()?.prune_volumes(&filter, all)?;
    show(session, "volume-prune", "Deleted Volumes:", &removed)
}

pub(crate) fn system(session: &Session, arguments: &SystemPruneArguments) -> Outcome {
    let chosen = filter(&arguments.prune.filter)?;
    if arguments.volumes && chosen.until.is_some() {
        return Err(until_of_volumes().into());
    }
    let mut what = vec!["all stopped containers", "all networks not used by at least one container"];
    let mut flags = Vec::new();
    if arguments.volumes {
        what.push("all anonymous volumes not used by at least one container");
        flags.push("--volumes");
    }
    // Nothing of the build cache has a label.
    let with_cache = chosen.labels.is_empty();
    if arguments.all {
        what.push("all images without at least one container associated to them");
        flags.push("--all");
    } else {
        what.push("all dangling images");
    }
    if with_cache {
        what.push(if arguments.all { "all build cache" } else { "unused build cache" });
    }
    let what = what.iter().map(|line| format!("\n  - {line}")).collect::<String>();
    confirm(session, &arguments.prune, &format!("{what}\n"), "system prune", &flags)?;
    let engine = session.engine()?;
    // What others use goes after those who use it.
    let containers = engine.prune_containers(&chosen)?;
    let networks = engine.prune_networks(&chosen)?;
    let volumes = if arguments.volumes { Some(engine.prune_volumes(&chosen, false)?) } else { None };
    let images = engine.prune_images(&chosen, arguments.all)?;
    let cache = if with_cache {
        let unused_for = chosen.until.map(|until| {
            let age = jiff::Timestamp::now().duration_since(until);
            Duration::try_from(age).unwrap_or_default()
        });
        Some(engine.prune_build_cache(&PruneRequest { all: arguments.all, unused_for, ..PruneRequest::default() })?)
    } else {
        None
    };
    let bytes = [Some(&containers), Some(&networks), volumes.as_ref(), Some(&images)];
    let reclaimed_bytes = bytes.into_iter().flatten().map(|removed| removed.reclaimed_bytes).sum::<u64>()
        + cache.as_ref().map_or(0, |pruned| pruned.freed_bytes);
    let result = json!({
        "containers": containers.names,
        "networks": networks.names,
        "volumes": volumes.as_ref().map(|removed| &removed.names),
        "images": images.names,
        "build_cache": cache.iter().flat_map(|pruned| &pruned.entries).map(builder::view).collect::<Vec<_>>(),
        "reclaimed_bytes": reclaimed_bytes,
    });
    session.output.result("system-prune", &result, |_| {
        let mut text = listed("Deleted Containers:", &containers) + &listed("Deleted Networks:", &networks);
        text.extend(volumes.iter().map(|removed| listed("Deleted Volumes:", removed)));
        text.push_str(&listed("Deleted Images:", &images));
        let entries: Vec<String> = cache.iter().flat_map(|pruned| &pruned.entries).map(|one| one.id.clone()).collect();
        text.push_str(&listed("Deleted build cache objects:", &Removed { names: entries, reclaimed_bytes: 0 }));
        text + &total(reclaimed_bytes)
    });
    Ok(exit::DONE)
}

fn show(session: &Session, schema: &str, heading: &str, removed: &Removed) -> Outcome {
    session.output.result(schema, removed, |removed| listed(heading, removed) + &total(removed.reclaimed_bytes));
    Ok(exit::DONE)
}

fn listed(heading: &str, removed: &Removed) -> String {
    if removed.names.is_empty() { String::new() } else { format!("{heading}\n{}\n\n", removed.names.join("\n")) }
}

fn total(bytes: u64) -> String {
    format!("Total reclaimed space: {}\n", human_sum(bytes))
}

/// Asks on a terminal; elsewhere refuses with what to type instead.
fn confirm(
    session: &Session,
    arguments: &PruneArguments,
    what: &str,
    verb: &str,
    flags: &[&str],
) -> std::result::Result<(), Failure> {
    if arguments.force {
        return Ok(());
    }
    if session.output.json || !std::io::stdin().is_terminal() {
        let mut words = vec![format!("carrack {verb} --force")];
        words.extend(flags.iter().map(|flag| (*flag).to_owned()));
        words.extend(arguments.filter.iter().map(|text| format!("--filter {}", quoted(text))));
        let what = what.trim().trim_end_matches('.').replace("\n  - ", ", ").replacen("- ", "", 1);
        let diagnostic = Diagnostic::error(&codes::CONFIRM, format!("this would remove {what}"))
            .hint(format!("to do it: {}", words.join(" ")));
        return Err(Failure::from(diagnostic).exit(exit::CONFIRM));
    }
    let colon = if what.starts_with('\n') { ":" } else { "" };
    let blank = if colon.is_empty() { " " } else { "" };
    note(&format!("WARNING! This will remove{colon}{blank}{what}\nAre you sure you want to continue? [y/N] "));
    let _ = std::io::stderr().flush();
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer);
    if read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(());
    }
    Err(Failure::from(Diagnostic::error(&codes::CONFIRM, "nothing was removed").cause("it was not confirmed")))
}

/// For a shell, where it needs it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "=-_.:/,@%+".contains(c);
    if word.chars().all(is_plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}

pub(crate) fn filter(texts: &[String]) -> Result<PruneFilter> {
    let now = jiff::Timestamp::now();
    let mut filter = PruneFilter::default();
    for text in texts {
        const FORM: &str = "until=24h, label=KEY[=VALUE] or label!=KEY[=VALUE]";
        let wrong = || flags::invalid("--filter", text, FORM);
        let (key, value) = text.split_once('=').ok_or_else(|| no_filter(text, FORM))?;
        match key {
            "until" => filter.until = Some(flags::time("--filter", value, now)?),
            "label" | "label!" if !value.is_empty() => {
                let (name, value) = value.split_once('=').map_or((value, None), |(name, value)| (name, Some(value)));
                filter.labels.push(LabelFilter {
                    key: name.to_owned(),
                    value: value.map(str::to_owned),
                    is_absent: key == "label!",
                });
            }
            _ => return Err(wrong()),
        }
    }
    Ok(filter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_docker_s_and_words_for_a_shell_are_whole() {
        let parsed = filter(&["label=a".into(), "label!=b=c".into(), "until=24h".into()]).unwrap();
        assert_eq!(parsed.labels.len(), 2);
        assert!(parsed.labels[1].is_absent && parsed.labels[1].value.as_deref() == Some("c"));
        assert!(parsed.until.unwrap() < jiff::Timestamp::now());
        for wrong in ["", "label", "label=", "until=yesterday", "dangling=true"] {
            let code = if wrong.contains('=') { "cli/invalid-value" } else { "cli/no-filter" };
            assert_eq!(filter(&[wrong.into()]).unwrap_err().code.id, code, "{wrong}");
        }
        assert_eq!(quoted("until=24h"), "until=24h");
        assert_eq!(quoted("label=a b'c"), "'label=a b'\\''c'");
    }
}
