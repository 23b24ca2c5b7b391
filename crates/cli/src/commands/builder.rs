//! `builder du`, `builder prune`.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use carrack_diag::{Diagnostic, Result};
use carrack_engine::build::{CacheEntry, CacheKind, PruneRequest};
use serde_json::{Value, json};

use super::Session;
use crate::arguments::{BuilderPruneArguments, BuilderUsageArguments};
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
    if let Some(text) = &arguments.keep_storage {
        request.keep_bytes = Some(flags::size_bytes("--keep-storage", text)?);
    }
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
    let wrong =
        || flags::invalid("--filter", text, "until=24h, id=, type=regular, type=exec.cachemount, shared or private");
    match text.split_once('=').unwrap_or((text, "")) {
        ("until" | "unused-for", value) => {
            request.unused_for = Some(Duration::from_nanos(flags::duration_ns("--filter", value)?));
        }
        ("id", id) if !id.is_empty() => request.ids.push(id.to_owned()),
        ("type", "regular") => request.kinds.push(CacheKind::Step),
        ("type", "exec.cachemount") => request.kinds.push(CacheKind::Mount),
        ("shared", "" | "true") | ("private", "false") => request.shared = Some(true),
        ("private", "" | "true") | ("shared", "false") => request.shared = Some(false),
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

fn kind(entry: &CacheEntry) -> &'static str {
    match entry.kind {
        CacheKind::Step => "regular",
        CacheKind::Mount => "exec.cachemount",
    }
}

pub(crate) fn entries_table(entries: &[CacheEntry], verbose: bool) -> String {
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
