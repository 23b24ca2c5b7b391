//! `top`: the processes of a container, in the columns of ps(1).
//!
//! The host may have no ps: its options that people use daily are understood here, the rest is refused by name.

use std::collections::BTreeMap;

use carrack_diag::Result;
use carrack_engine::ProcessView;
use serde_json::json;

use super::Session;
use super::stack::container_or_service;
use crate::arguments::TopArguments;
use crate::flags;
use crate::output::{Outcome, exit};

/// Docker's: `ps -ef`.
const FULL: &[&str] = &["uid_hack=UID", "pid", "ppid", "c", "stime", "tname=TTY", "time", "cmd"];
/// `ps u`.
const USER: &[&str] =
    &["user", "pid", "%cpu", "%mem", "vsz", "rss", "tname=TTY", "stat", "bsdstart", "bsdtime", "args"];
/// `ps` alone.
const SHORT: &[&str] = &["pid", "tname=TTY", "time", "ucmd=CMD"];

pub(crate) fn top(session: &Session, arguments: &TopArguments) -> Outcome {
    let columns = columns(&arguments.options)?;
    let engine = session.observer()?;
    let processes = engine.processes(&container_or_service(&engine, &arguments.name)?)?;
    let host = Host::look();
    let rows: Vec<Vec<String>> =
        processes.iter().map(|process| columns.iter().map(|column| (column.cell)(process, &host)).collect()).collect();
    let titles: Vec<&str> = columns.iter().map(|column| column.title.as_str()).collect();
    let result = json!({ "Titles": titles, "Processes": rows });
    session.output.result("top", &result, |_| text(&titles, &rows));
    Ok(exit::DONE)
}

/// As Docker's: columns of at least 20.
fn text(titles: &[&str], rows: &[Vec<String>]) -> String {
    let width = |index: usize, title: &str| {
        let widest = rows.iter().map(|row| row[index].chars().count()).max().unwrap_or(0).max(title.chars().count());
        (widest + 3).max(20)
    };
    let widths: Vec<usize> = titles.iter().enumerate().map(|(index, title)| width(index, title)).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: String = cells.zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        format!("{}\n", padded.trim_end())
    };
    let head = line(&mut titles.iter().copied());
    rows.iter().fold(head, |text, row| text + &line(&mut row.iter().map(String::as_str)))
}

struct Column {
    title: String,
    cell: fn(&ProcessView, &Host) -> String,
}

/// What times and names are told by.
struct Host {
    users: BTreeMap<u32, String>,
    groups: BTreeMap<u32, String>,
    now: jiff::Zoned,
    uptime_seconds: u64,
    memory_bytes: u64,
}

impl Host {
    fn look() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let names = |text: &str| {
            let entry = |line: &str| {
                let fields: Vec<&str> = line.split(':').collect();
                Some((fields.get(2)?.parse().ok()?, (*fields.first()?).to_owned()))
            };
            text.lines().filter_map(entry).collect()
        };
        let uptime = read("/proc/uptime");
        let total = read("/proc/meminfo");
        let total = total.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB"));
        Self {
            users: names(&read("/etc/passwd")),
            groups: names(&read("/etc/group")),
            now: jiff::Zoned::now(),
            uptime_seconds: uptime.split('.').next().and_then(|text| text.parse().ok()).unwrap_or(0),
            memory_bytes: total.and_then(|text| text.parse::<u64>().ok()).unwrap_or(0) * 1024,
        }
    }

    fn elapsed(&self, process: &ProcessView) -> u64 {
        self.uptime_seconds.saturating_sub(process.start_ticks / TICKS)
    }

    fn start(&self, process: &ProcessView) -> jiff::Zoned {
        let ago = i64::try_from(self.elapsed(process)).unwrap_or(0);
        self.now.checked_sub(jiff::SignedDuration::from_secs(ago)).unwrap_or_else(|_| self.now.clone())
    }
}

/// A second, in the kernel's USER_HZ.
const TICKS: u64 = 100;

/// The columns that options of ps ask for. Which processes to show is settled already.
fn columns(options: &[String]) -> Result<Vec<Column>> {
    let unknown = |option: &str| {
        flags::invalid("top", option, "-e, -f, -o LIST, aux or such: other options of ps are not understood")
    };
    let (mut asked, mut style) = (Vec::new(), if options.is_empty() { FULL } else { SHORT });
    let mut words = options.iter();
    while let Some(word) = words.next() {
        let (letters, is_unix) = match word.strip_prefix('-') {
            Some(rest) if rest.starts_with('-') || rest.is_empty() => return Err(unknown(word)),
            Some(rest) => (rest, true),
            None => (word.as_str(), false),
        };
        for (at, letter) in letters.char_indices() {
            match letter {
                'o' => {
                    let rest = &letters[at + 1..];
                    let list = if rest.is_empty() { words.next().map(String::as_str) } else { Some(rest) };
                    asked.extend(names(list.ok_or_else(|| unknown(word))?));
                    break;
                }
                'f' if is_unix => style = FULL,
                'e' | 'A' | 'd' if is_unix => {}
                'u' if !is_unix => style = USER,
                'a' | 'w' | 'x' => {}
                _ => return Err(unknown(word)),
            }
        }
    }
    let asked = if asked.is_empty() { style.to_vec() } else { asked };
    let column = |word: &str| {
        let (name, title) = word.split_once('=').map_or((word, None), |(name, title)| (name, Some(title)));
        let (usual, cell) = column(name)
            .ok_or_else(|| flags::invalid("top -o", name, "columns of ps such as pid,user,%cpu,rss,stat,time,args"))?;
        Ok(Column { title: title.unwrap_or(usual).to_owned(), cell })
    };
    asked.into_iter().map(column).collect()
}

/// The names of a list, between commas or blanks. A title of one's own goes on to the list's end, as in ps.
fn names(list: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let mut rest = list;
    while !rest.is_empty() {
        let end = rest.find([',', ' ']).unwrap_or(rest.len());
        let end = if rest[..end].contains('=') { rest.len() } else { end };
        names.push(&rest[..end]);
        rest = rest[end..].trim_start_matches([',', ' ']);
    }
    names
}

type Cell = fn(&ProcessView, &Host) -> String;

/// Title and content of a column of ps.
fn column(name: &str) -> Option<(&'static str, Cell)> {
    fn title<const N: usize>(name: &str, titles: [(&str, &'static str); N]) -> &'static str {
        titles.iter().find(|(known, _)| *known == name).map_or("", |(_, title)| title)
    }
    Some(match name {
        "pid" => ("PID", |process, _| process.pid.to_string()),
        "ppid" => ("PPID", |process, _| process.parent.to_string()),
        "pgid" | "pgrp" => (title(name, [("pgid", "PGID"), ("pgrp", "PGRP")]), |process, _| process.group.to_string()),
        "sid" | "sess" => (title(name, [("sid", "SID"), ("sess", "SESS")]), |process, _| process.session.to_string()),
        "uid" | "euid" => (title(name, [("uid", "UID"), ("euid", "EUID")]), |process, _| process.owner.0.to_string()),
        "gid" | "egid" => (title(name, [("gid", "GID"), ("egid", "EGID")]), |process, _| process.owner.1.to_string()),
        "user" | "euser" | "uname" | "uid_hack" => {
            (title(name, [("user", "USER"), ("euser", "EUSER"), ("uname", "USER")]), user)
        }
        "group" | "egroup" => (title(name, [("group", "GROUP"), ("egroup", "EGROUP")]), |process, host| {
            host.groups.get(&process.owner.1).cloned().unwrap_or_else(|| process.owner.1.to_string())
        }),
        "comm" | "ucmd" | "ucomm" => {
            (title(name, [("comm", "COMMAND"), ("ucmd", "CMD"), ("ucomm", "COMMAND")]), |process, _| {
                process.name.clone()
            })
        }
        "args" | "command" | "cmd" => {
            (title(name, [("args", "COMMAND"), ("command", "COMMAND"), ("cmd", "CMD")]), command)
        }
        "%cpu" | "pcpu" => ("%CPU", |process, host| format!("{:.1}", cpu_percent(process, host))),
        "c" => ("C", |process, host| format!("{:.0}", cpu_percent(process, host).floor())),
        "%mem" | "pmem" => ("%MEM", |process, host| {
            format!("{:.1}", process.resident_bytes as f64 * 100.0 / (host.memory_bytes.max(1) as f64))
        }),
        "vsz" | "vsize" => ("VSZ", |process, _| (process.virtual_bytes / 1024).to_string()),
        "rss" | "rssize" | "rsz" => (title(name, [("rss", "RSS"), ("rssize", "RSS"), ("rsz", "RSZ")]), |process, _| {
            (process.resident_bytes / 1024).to_string()
        }),
        "tty" | "tt" | "tname" => {
            (title(name, [("tty", "TT"), ("tt", "TT"), ("tname", "TTY")]), |process, _| terminal(process.terminal))
        }
        "stat" => ("STAT", stat),
        "s" | "state" => ("S", |process, _| process.state.to_string()),
        "time" | "cputime" => ("TIME", |process, _| clock(process.cpu_ticks / TICKS, true)),
        "bsdtime" => ("TIME", |process, _| {
            let seconds = process.cpu_ticks / TICKS;
            format!("{}:{:02}", seconds / 60, seconds % 60)
        }),
        "etime" => ("ELAPSED", |process, host| clock(host.elapsed(process), false)),
        "etimes" => ("ELAPSED", |process, host| host.elapsed(process).to_string()),
        "stime" | "start_time" | "bsdstart" => {
            (title(name, [("stime", "STIME"), ("start_time", "START"), ("bsdstart", "START")]), started)
        }
        "lstart" => ("STARTED", |process, host| host.start(process).strftime("%a %b %e %H:%M:%S %Y").to_string()),
        "ni" | "nice" => ("NI", |process, _| process.nice.to_string()),
        "pri" => ("PRI", |process, _| (39 - process.priority).to_string()),
        "nlwp" | "thcount" => {
            (title(name, [("nlwp", "NLWP"), ("thcount", "THCNT")]), |process, _| process.threads.to_string())
        }
        _ => return None,
    })
}

fn user(process: &ProcessView, host: &Host) -> String {
    host.users.get(&process.owner.0).cloned().unwrap_or_else(|| process.owner.0.to_string())
}

fn command(process: &ProcessView, _: &Host) -> String {
    if process.arguments.is_empty() {
        let ended = if process.state == 'Z' { " <defunct>" } else { "" };
        return format!("[{}]{ended}", process.name);
    }
    // What a program calls itself is not to move a cursor.
    process.arguments.join(" ").chars().map(|letter| if letter.is_control() { '?' } else { letter }).collect()
}

fn cpu_percent(process: &ProcessView, host: &Host) -> f64 {
    process.cpu_ticks as f64 * 100.0 / (TICKS * host.elapsed(process).max(1)) as f64
}

/// Major and minor number as the kernel packs them (proc_pid_stat(5)).
fn terminal(device: u32) -> String {
    let (major, minor) = (device >> 8 & 0xfff, device & 0xff | device >> 12 & 0xfff00);
    match major {
        _ if device == 0 => "?".to_owned(),
        136..=143 => format!("pts/{}", (major - 136) * 256 + minor),
        4 if minor < 64 => format!("tty{minor}"),
        4 => format!("ttyS{}", minor - 64),
        _ => format!("{major}:{minor}"),
    }
}

fn stat(process: &ProcessView, _: &Host) -> String {
    let mut text = process.state.to_string();
    for (holds, letter) in [
        (process.nice < 0, '<'),
        (process.nice > 0, 'N'),
        (process.session == process.pid, 's'),
        (process.threads > 1, 'l'),
        (process.terminal != 0 && process.foreground_group == process.group, '+'),
    ] {
        if holds {
            text.push(letter);
        }
    }
    text
}

/// `[DD-]HH:MM:SS`; without `hours` those only where there are any.
fn clock(seconds: u64, hours: bool) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    match (days, hour) {
        (0, 0) if !hours => format!("{minute:02}:{second:02}"),
        (0, _) => format!("{hour:02}:{minute:02}:{second:02}"),
        _ => format!("{days}-{hour:02}:{minute:02}:{second:02}"),
    }
}

fn started(process: &ProcessView, host: &Host) -> String {
    let start = host.start(process);
    let form = match () {
        () if start.date() == host.now.date() => "%H:%M",
        () if start.year() == host.now.year() => "%b%d",
        () => "%Y",
    };
    start.strftime(form).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn titles(options: &[&str]) -> Result<String> {
        let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        Ok(columns(&options)?.into_iter().map(|column| column.title).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn options_of_ps_are_columns() {
        for (options, expected) in [
            ([].as_slice(), "UID PID PPID C STIME TTY TIME CMD"),
            (&["-ef"], "UID PID PPID C STIME TTY TIME CMD"),
            (&["aux"], "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND"),
            (&["-eo", "pid,comm"], "PID COMMAND"),
            (&["-o", "pid,cmd"], "PID CMD"),
            (&["-opid", "-o", "ppid=PARENT"], "PID PARENT"),
            (&["-e"], "PID TTY TIME CMD"),
        ] {
            assert_eq!(titles(options).unwrap(), expected, "{options:?}");
        }
        for options in [["-o", "nix"], ["--sort", "pid"], ["-L", "-f"], ["-C", "sh"], ["-e", "-o"], ["-", "a"]] {
            assert!(titles(&options).is_err(), "{options:?}");
        }
    }

    #[test]
    fn times_and_terminals_are_told_as_by_ps() {
        assert_eq!([clock(0, true), clock(3_723, true), clock(90_061, true)], ["00:00:00", "01:02:03", "1-01:01:01"]);
        assert_eq!([clock(59, false), clock(3_600, false)], ["00:59", "01:00:00"]);
        assert_eq!([terminal(0), terminal(136 << 8 | 3), terminal(4 << 8 | 1)], ["?", "pts/3", "tty1"]);
    }
}
