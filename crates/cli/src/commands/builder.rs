//! `builder du`, `builder prune`, `builder mounts`.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use carrack_diag::{Diagnostic, Result};
use carrack_engine::build::{CacheEntry, CacheKind, MountFate, MountsRequest, PruneRequest};
use serde_json::{Value, json};

use super::{Session, current_folder};
use crate::arguments::{BuilderPruneArguments, BuilderUsageArguments, MountsCommand};
use crate::output::{Failure, Outcome, exit, human_duration, human_size, note, table};
use crate::{codes, flags};

pub(crate) fn usage(session: &Session, arguments: &BuilderUsageArguments) -> Outcome {
    let mut request = PruneRequest { all: true, ..PruneRequest::default() };
    arguments.filter.iter().try_for_each(|text| filter(&mut request, text))?;
    let mut entries = session.observer()?.build_cache()?;
    let now = std::time::SystemTime::now();
    entries.retain(|entry| request.selects(entry, now));
    // What was used last stands first, as in Docker.
    entries.reverse();
    let sum = |wanted: &dyn Fn(&CacheEntry) -> bool| -> u64 {
        entries.iter().filter(|entry| wanted(entry)).map(|entry| entry.size_bytes).sum()
    };
    let shared = sum(&|entry| entry.is_shared);
    let reclaimable = sum(&|entry| !entry.is_shared && !entry.is_in_use);
    let total = sum(&|_| true);
    let result = json!({
        "entries": entries.iter().map(view).collect::<Vec<_>>(),
        "shared_bytes": shared,
        "reclaimable_bytes": reclaimable,
        "size_bytes": total,
    });
    session.output.result("builder-du", &result, |_| {
        let mut text = entries_table(&entries, arguments.verbose);
        if shared > 0 {
            text.push_str(&format!("Shared:\t\t{}\nPrivate:\t{}\n", human_size(shared), human_size(total - shared)));
        }
        text.push_str(&format!("Reclaimable:\t{}\nTotal:\t\t{}\n", human_size(reclaimable), human_size(total)));
        text
    });
    Ok(exit::DONE)
}

pub(crate) fn prune(session: &Session, arguments: &BuilderPruneArguments) -> Outcome {
    let mut request = PruneRequest { all: arguments.all, ..PruneRequest::default() };
    let bytes =
        |flag: &str, text: &Option<String>| text.as_deref().map(|text| flags::size_bytes(flag, text)).transpose();
    request.max_used_bytes = bytes("--max-used-space", &arguments.max_used_space)?;
    request.reserved_bytes = bytes("--reserved-space", &arguments.reserved_space)?;
    request.min_free_bytes = bytes("--min-free-space", &arguments.min_free_space)?;
    arguments.filter.iter().try_for_each(|text| filter(&mut request, text))?;
    if !arguments.force && !confirmed(session, arguments.all)? {
        return Ok(exit::DONE);
    }
    let pruned = session.engine()?.prune_build_cache(&request)?;
    let result = json!({
        "entries": pruned.entries.iter().map(view).collect::<Vec<_>>(),
        "freed_bytes": pruned.freed_bytes,
    });
    session.output.result("builder-prune", &result, |_| {
        let table =
            if pruned.entries.is_empty() { String::new() } else { entries_table(&pruned.entries, arguments.verbose) };
        format!("{table}Total:\t{}\n", human_size(pruned.freed_bytes))
    });
    Ok(exit::DONE)
}

pub(crate) fn mounts(session: &Session, command: &MountsCommand) -> Outcome {
    let (arguments, replace) = match command {
        MountsCommand::Export(arguments) => (&**arguments, false),
        MountsCommand::Import(arguments) => (&arguments.mounts, arguments.replace),
    };
    let size_bytes = arguments.max_size.as_deref().map(|text| flags::size_bytes("--max-size", text)).transpose()?;
    let request = MountsRequest { ids: arguments.id.clone(), size_bytes, replace };
    let folder = current_folder().join(&arguments.folder);
    let engine = session.engine()?;
    let moved = match command {
        MountsCommand::Export(_) => engine.export_mounts(&folder, &request)?,
        MountsCommand::Import(_) => engine.import_mounts(&folder, &request)?,
    };
    if let Some(id) = arguments.id.iter().find(|id| moved.iter().all(|mount| mount.id != **id)) {
        let known = "the id of a cache mount; `carrack builder du --verbose` shows those that are here";
        return Err(flags::invalid("--id", id, known).into());
    }
    session.output.result("builder-mounts", &json!({ "mounts": moved }), |_| {
        let rows: Vec<Vec<String>> = moved
            .iter()
            .map(|mount| {
                let fate = match mount.fate {
                    MountFate::Done => "done",
                    MountFate::InUse => "left out: a step works with it",
                    MountFate::TooLarge => "left out: larger than what --max-size leaves",
                    MountFate::Kept => "kept: there is one here (--replace)",
                };
                vec![mount.id.clone(), human_size(mount.size_bytes), fate.to_owned()]
            })
            .collect();
        table(&["MOUNT", "SIZE", "RESULT"], &rows)
    });
    Ok(exit::DONE)
}

fn confirmed(session: &Session, all: bool) -> std::result::Result<bool, Failure> {
    let what = if all { "all build cache" } else { "all build cache that no image has" };
    if session.output.json || !std::io::stdin().is_terminal() {
        let diagnostic = Diagnostic::error(&codes::CONFIRM, format!("this would remove {what}"))
            .hint(format!("to do it: carrack builder prune --force{}", if all { " --all" } else { "" }));
        return Err(Failure::from(diagnostic).exit(exit::CONFIRM));
    }
    note(&format!("WARNING! This will remove {what}. Are you sure you want to continue? [y/N] "));
    let _ = std::io::stderr().flush();
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer);
    Ok(read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// `KEY=VALUE` of `--filter`, as Docker's builder knows them.
fn filter(request: &mut PruneRequest, text: &str) -> Result<()> {
    const FORM: &str = "until=24h, id=, type=regular, exec.cachemount or source.http, description=, inuse, mutable, immutable, shared or private";
    let wrong = || flags::invalid("--filter", text, FORM);
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    let is_true = match value {
        "" | "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    };
    match (key, value, is_true) {
        ("until" | "unused-for", value, _) => {
            request.unused_for = Some(Duration::from_nanos(flags::duration_ns("--filter", value)?));
        }
        ("id", id, _) if !id.is_empty() => request.ids.push(id.to_owned()),
        ("description", text, _) if !text.is_empty() => request.descriptions.push(text.to_owned()),
        ("type", "regular", _) => request.kinds.push(CacheKind::Step),
        ("type", "exec.cachemount", _) => request.kinds.push(CacheKind::Mount),
        ("type", "source.http", _) => request.kinds.push(CacheKind::Fetched),
        ("shared", _, Some(is)) => request.shared = Some(is),
        ("private", _, Some(is)) => request.shared = Some(!is),
        ("inuse", _, Some(is)) => request.in_use = Some(is),
        ("mutable", _, Some(is)) => request.mutable = Some(is),
        ("immutable", _, Some(is)) => request.mutable = Some(!is),
        _ => return Err(wrong()),
    }
    Ok(())
}

pub(crate) fn view(entry: &CacheEntry) -> Value {
    json!({
        "id": entry.id,
        "type": kind(entry),
        "description": entry.description,
        "used": jiff::Timestamp::try_from(entry.used).map(|time| time.to_string()).unwrap_or_default(),
        "size_bytes": entry.size_bytes,
        "shared": entry.is_shared,
        "in_use": entry.is_in_use,
    })
}

pub(crate) fn kind(entry: &CacheEntry) -> &'static str {
    match entry.kind {
        CacheKind::Step => "regular",
        CacheKind::Mount => "exec.cachemount",
        CacheKind::Fetched => "source.http",
    }
}

fn entries_table(entries: &[CacheEntry], verbose: bool) -> String {
    let mut header = vec!["ID", "RECLAIMABLE", "SIZE", "LAST ACCESSED"];
    if verbose {
        header.extend(["TYPE", "DESCRIPTION"]);
    }
    let rows: Vec<Vec<String>> = entries
        .iter()
        .map(|entry| {
            let id = if verbose { entry.id.as_str() } else { &entry.id[..entry.id.len().min(12)] };
            let age = entry.used.elapsed().map_or(0, |age| i64::try_from(age.as_secs()).unwrap_or(i64::MAX));
            let mut row = vec![
                id.to_owned(),
                (!entry.is_shared && !entry.is_in_use).to_string(),
                // Shared sizes carry a star in Docker.
                format!("{}{}", human_size(entry.size_bytes), if entry.is_shared { "*" } else { "" }),
                format!("{} ago", human_duration(age)),
            ];
            if verbose {
                row.extend([kind(entry).to_owned(), entry.description.clone()]);
            }
            row
        })
        .collect();
    table(&header, &rows)
}
