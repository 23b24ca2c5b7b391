//! `update` and `stats`.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use carrack_diag::{Result, SourceMap};
use carrack_engine::{ContainerView, Engine, UpdateRequest, Usage};
use carrack_specgen::container::{BlockLimits, Resources};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Value, json};

use super::Session;
use super::container::each;
use crate::arguments::{StatsArguments, UpdateArguments};
use crate::output::{Outcome, binary_size, exit, human_size, print, table};
use crate::{docker_config, flags, template};

pub(crate) fn update(session: &Session, arguments: &UpdateArguments) -> Outcome {
    let size =
        |flag: &str, text: &Option<String>| text.as_deref().map(|text| flags::size_bytes(flag, text)).transpose();
    let swap = match arguments.memory_swap.as_deref() {
        Some("-1") => Some(-1),
        Some(text) => i64::try_from(flags::size_bytes("--memory-swap", text)?).ok(),
        None => None,
    };
    let request = UpdateRequest {
        resources: Resources {
            memory_bytes: size("--memory", &arguments.memory)?,
            memory_swap_bytes: swap,
            memory_reservation_bytes: size("--memory-reservation", &arguments.memory_reservation)?,
            nano_cpus: arguments.cpus.as_deref().map(|text| flags::nano_cpus("--cpus", text)).transpose()?,
            cpu_shares: arguments.cpu_shares,
            cpu_period_us: arguments.cpu_period,
            cpu_quota_us: arguments.cpu_quota,
            cpu_rt_period_us: arguments.cpu_rt_period,
            cpu_rt_runtime_us: arguments.cpu_rt_runtime,
            cpuset_cpus: arguments.cpuset_cpus.clone(),
            cpuset_mems: arguments.cpuset_mems.clone(),
            pids: arguments.pids_limit,
            block: BlockLimits { weight: arguments.blkio_weight, ..BlockLimits::default() },
            ..Resources::default()
        },
        restart: arguments.restart.as_deref().map(flags::restart).transpose()?,
    };
    if request == UpdateRequest::default() {
        return Err(
            flags::invalid("update", &arguments.names.join(" "), "one or more flags: what is to be otherwise").into()
        );
    }
    let engine = session.engine()?;
    each(session, &arguments.names, |name| {
        let note = engine.update_container(name, &request)?;
        session.output.diagnostics(note.as_slice(), &SourceMap::new());
        Ok(())
    })
}

/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(1);
/// Between the two looks that one answer takes.
const INTERVAL_ONCE: Duration = Duration::from_millis(500);

const HEADINGS: [(&str, &str); 9] = [
    ("Container", "CONTAINER"),
    ("ID", "CONTAINER ID"),
    ("Name", "NAME"),
    ("CPUPerc", "CPU %"),
    ("MemUsage", "MEM USAGE / LIMIT"),
    ("MemPerc", "MEM %"),
    ("NetIO", "NET I/O"),
    ("BlockIO", "BLOCK I/O"),
    ("PIDs", "PIDS"),
];

pub(crate) fn stats(session: &Session, arguments: &StatsArguments) -> Outcome {
    let engine = session.observer()?;
    let once = arguments.no_stream || session.output.json;
    let live = !once && std::io::stdout().is_terminal();
    let format = arguments.format.clone().or_else(|| docker_config::format("statsFormat"));
    let mut before = look(&engine, &shown(&engine, arguments)?)?;
    loop {
        if is_left_after(if once { INTERVAL_ONCE } else { INTERVAL }) {
            return Ok(exit::DONE);
        }
        let views = match shown(&engine, arguments) {
            // All of those that were named were there when it began.
            Err(_) if !arguments.names.is_empty() && !once => return Ok(exit::DONE),
            views => views?,
        };
        let now = look(&engine, &views)?;
        let rows: Vec<Value> = views.iter().map(|view| row(view, arguments, &before, &now)).collect();
        if session.output.json {
            session.output.result("stats", &rows, |_| String::new());
            return Ok(exit::DONE);
        }
        let text = text(format.as_deref(), &rows)?;
        if live {
            // Home, each line over the last one, and nothing below.
            print(&format!("\x1b[H{}\x1b[J", text.replace('\n', "\x1b[K\n")));
        } else {
            print(&text);
        }
        if once {
            return Ok(exit::DONE);
        }
        before = now;
    }
}

/// Lets an interval pass; whether meanwhile whoever reads what is printed has gone away.
fn is_left_after(interval: Duration) -> bool {
    let stdout = std::io::stdout();
    let timeout =
        Timespec { tv_sec: interval.as_secs().try_into().unwrap_or(1), tv_nsec: interval.subsec_nanos().into() };
    // Nothing is asked for: an error or a hang-up is told anyway.
    poll(&mut [PollFd::new(&stdout, PollFlags::empty())], Some(&timeout)).is_ok_and(|ready| ready > 0)
}

fn shown(engine: &Engine, arguments: &StatsArguments) -> Result<Vec<ContainerView>> {
    if !arguments.names.is_empty() {
        return arguments.names.iter().map(|name| engine.container(name)).collect();
    }
    let mut views = engine.containers()?;
    views.retain(|view| arguments.all || view.is_active());
    views.sort_by(|left, right| right.record.created.cmp(&left.record.created));
    Ok(views)
}

/// What was used at a moment.
struct Look {
    at: Instant,
    usages: BTreeMap<String, Usage>,
}

fn look(engine: &Engine, views: &[ContainerView]) -> Result<Look> {
    let ids: Vec<String> = views.iter().map(|view| view.record.id.clone()).collect();
    Ok(Look { at: Instant::now(), usages: engine.usages(&ids)? })
}

fn row(view: &ContainerView, arguments: &StatsArguments, before: &Look, now: &Look) -> Value {
    let record = &view.record;
    let usage = now.usages.get(&record.id).copied().unwrap_or_default();
    let earlier = before.usages.get(&record.id).map_or(usage.cpu_us, |usage| usage.cpu_us);
    let elapsed_us = now.at.duration_since(before.at).as_micros() as f64;
    let percent = |part: f64, whole: f64| if whole > 0.0 { part / whole * 100.0 } else { 0.0 };
    let asked = arguments.names.iter().find(|name| **name == record.name || record.id.starts_with(name.as_str()));
    json!({
        "Container": asked.map_or(record.short_id(), String::as_str),
        "ID": if arguments.no_trunc { &record.id } else { record.short_id() },
        "Name": record.name,
        "CPUPerc": format!("{:.2}%", percent(usage.cpu_us.saturating_sub(earlier) as f64, elapsed_us)),
        "MemUsage": format!("{} / {}", binary_size(usage.memory_bytes), binary_size(usage.memory_limit_bytes)),
        "MemPerc": format!("{:.2}%", percent(usage.memory_bytes as f64, usage.memory_limit_bytes as f64)),
        "NetIO": pair(usage.network_bytes),
        "BlockIO": pair(usage.block_bytes),
        "PIDs": usage.pids.to_string(),
    })
}

fn text(format: Option<&str>, rows: &[Value]) -> Result<String> {
    match format {
        Some("json") => Ok(rows.iter().map(|row| format!("{row}\n")).collect()),
        Some(text) if text != "table" => template::rows(text, rows, &HEADINGS),
        _ => {
            let header: Vec<&str> = HEADINGS[1..].iter().map(|(_, heading)| *heading).collect();
            let cells = |row: &Value| {
                let cell = |(field, _): &(&str, &str)| row[*field].as_str().unwrap_or_default().to_owned();
                HEADINGS[1..].iter().map(cell).collect::<Vec<_>>()
            };
            Ok(table(&header, &rows.iter().map(cells).collect::<Vec<_>>()))
        }
    }
}

fn pair((first, second): (u64, u64)) -> String {
    format!("{} / {}", human_size(first), human_size(second))
}
