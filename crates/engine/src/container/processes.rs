//! What runs in a container and what it uses, as the kernel tells.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;

use carrack_diag::Result;
use carrack_runtime::cgroup::{Cgroup, Stats};
use carrack_specgen::container::NetworkMode;

use super::stop::not_running;
use crate::engine::{Engine, host_error};

/// A process of a container, as the host numbers it (proc_pid_stat(5)).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProcessView {
    /// Its number.
    pub pid: i32,
    /// Its parent's.
    pub parent: i32,
    /// Of its process group.
    pub group: i32,
    /// Of its session.
    pub session: i32,
    /// User and group that it acts as.
    pub owner: (u32, u32),
    /// `R`, `S`, `D`, `T`, `Z`, …
    pub state: char,
    /// Number of its terminal's device; 0 without one.
    pub terminal: u32,
    /// The process group in the foreground of its terminal.
    pub foreground_group: i32,
    /// −20 to 19.
    pub nice: i64,
    /// As the kernel counts it.
    pub priority: i64,
    /// Threads.
    pub threads: u64,
    /// Processor time so far in hundredths of a second.
    pub cpu_ticks: u64,
    /// When it began, in hundredths of a second since boot.
    pub start_ticks: u64,
    /// Address space in bytes.
    pub virtual_bytes: u64,
    /// Resident memory in bytes.
    pub resident_bytes: u64,
    /// What the kernel calls it.
    pub name: String,
    /// What it was started as; empty for one that has ended.
    pub arguments: Vec<String>,
}

/// What a container uses now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time so far in microseconds.
    pub cpu_us: u64,
    /// Memory without the page cache that could go, in bytes.
    pub memory_bytes: u64,
    /// Its limit of memory, the host's memory where it has none.
    pub memory_limit_bytes: u64,
    /// Bytes received and sent on its networks.
    pub network_bytes: (u64, u64),
    /// Bytes read from and written to block devices.
    pub block_bytes: (u64, u64),
    /// Processes and threads.
    pub pids: u64,
}

impl Engine {
    /// All processes of a running container, those of `exec` too, by their numbers.
    pub fn processes(&self, name: &str) -> Result<Vec<ProcessView>> {
        let record = self.find(name)?;
        if !self.state(&record.id)?.is_some_and(|state| state.is_alive()) {
            return Err(not_running(&record));
        }
        self.emit(&record, "top", &[]);
        // One that has just ended has no line.
        Ok(self.cgroup_of(&record)?.processes()?.into_iter().filter_map(process).collect())
    }

    /// What containers use, by id. Those that do not run are not there.
    pub fn usages(&self, ids: &[String]) -> Result<BTreeMap<String, Usage>> {
        let hierarchies = self.hierarchies()?;
        let memory =
            std::fs::read_to_string("/proc/meminfo").map_err(|error| host_error("can't read /proc/meminfo", error))?;
        let total = memory.lines().find_map(|line| line.strip_prefix("MemTotal:")).and_then(kibibytes).unwrap_or(0);
        let mut usages = BTreeMap::new();
        for id in ids {
            let Some(state) = self.state(id)?.filter(|state| state.is_alive()) else { continue };
            let Ok(cgroup) = Cgroup::open(hierarchies, &self.cgroup_parent(), id) else { continue };
            let network = match self.records().get(id)? {
                // As in Docker: what goes over the host's network is not the container's alone.
                Some(record) if record.container.network == NetworkMode::Host => (0, 0),
                _ => network_bytes(state.pid),
            };
            usages.insert(id.clone(), usage(&cgroup, network, total));
        }
        Ok(usages)
    }
}

/// The processes are asked where no controller counts for the container: on v1 it is in those of its limits only.
fn usage(cgroup: &Cgroup, network_bytes: (u64, u64), total: u64) -> Usage {
    let Stats { memory_bytes, cpu_us, pids, .. } = cgroup.stats();
    let block = cgroup.block_bytes();
    let mut asked = Asked::default();
    if memory_bytes.is_none() || pids.is_none() || block.is_none() || cpu_us.is_none() {
        for pid in cgroup.processes().unwrap_or_default() {
            asked.add(pid);
        }
    }
    Usage {
        cpu_us: cpu_us.unwrap_or(asked.cpu_ticks * 10_000),
        memory_bytes: memory_bytes.unwrap_or(asked.memory_bytes),
        memory_limit_bytes: cgroup.limits().memory_bytes.filter(|limit| *limit < total).unwrap_or(total),
        network_bytes,
        block_bytes: block.unwrap_or(asked.block_bytes),
        pids: pids.unwrap_or(asked.threads),
    }
}

/// Sums over processes.
#[derive(Default)]
struct Asked {
    cpu_ticks: u64,
    memory_bytes: u64,
    block_bytes: (u64, u64),
    threads: u64,
}

impl Asked {
    fn add(&mut self, pid: i32) {
        let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        for line in read("status").lines() {
            match line.split_once(':') {
                Some(("RssAnon" | "RssShmem", rest)) => self.memory_bytes += kibibytes(rest).unwrap_or(0),
                Some(("Threads", rest)) => self.threads += rest.trim().parse::<u64>().unwrap_or(0),
                _ => {}
            }
        }
        for line in read("io").lines() {
            match line.split_once(": ") {
                Some(("read_bytes", rest)) => self.block_bytes.0 += rest.parse::<u64>().unwrap_or(0),
                Some(("write_bytes", rest)) => self.block_bytes.1 += rest.parse::<u64>().unwrap_or(0),
                _ => {}
            }
        }
        self.cpu_ticks += process(pid).map_or(0, |process| process.cpu_ticks);
    }
}

fn kibibytes(text: &str) -> Option<u64> {
    text.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|number| number * 1024)
}

/// Of all interfaces but the loopback of the network namespace that a process is in.
fn network_bytes(pid: i32) -> (u64, u64) {
    let text = std::fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap_or_default();
    let lines = text.lines().filter_map(|line| line.split_once(':')).filter(|(name, _)| name.trim() != "lo");
    lines.fold((0, 0), |(received, sent), (_, counts)| {
        let counts: Vec<u64> = counts.split_whitespace().map(|number| number.parse().unwrap_or(0)).collect();
        (received + counts.first().unwrap_or(&0), sent + counts.get(8).unwrap_or(&0))
    })
}

fn process(pid: i32) -> Option<ProcessView> {
    let folder = format!("/proc/{pid}");
    let owner = std::fs::metadata(&folder).ok()?;
    let stat = std::fs::read(format!("{folder}/stat")).ok()?;
    let arguments = std::fs::read(format!("{folder}/cmdline")).unwrap_or_default();
    let arguments = arguments.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned());
    let mut arguments: Vec<String> = arguments.collect();
    while arguments.last().is_some_and(String::is_empty) {
        arguments.pop();
    }
    let mut view = parse(&stat)?;
    view.pid = pid;
    view.owner = (owner.uid(), owner.gid());
    view.arguments = arguments;
    let status = std::fs::read_to_string(format!("{folder}/status")).unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).and_then(kibibytes);
    view.resident_bytes = resident.unwrap_or(0);
    Some(view)
}

/// The name in parentheses may hold anything, so counting begins behind the last one.
fn parse(stat: &[u8]) -> Option<ProcessView> {
    let begin = stat.iter().position(|byte| *byte == b'(')?;
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let name = String::from_utf8_lossy(stat.get(begin + 1..end)?).into_owned();
    let rest = std::str::from_utf8(stat.get(end + 1..)?).ok()?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // By the page's numbers: the state is the third.
    let number = |field: usize| fields.get(field - 3).and_then(|text| text.parse::<i64>().ok()).unwrap_or(0);
    let unsigned = |field: usize| u64::try_from(number(field)).unwrap_or(0);
    let small = |field: usize| i32::try_from(number(field)).unwrap_or(0);
    Some(ProcessView {
        parent: small(4),
        group: small(5),
        session: small(6),
        state: fields.first()?.chars().next()?,
        terminal: small(7).cast_unsigned(),
        foreground_group: small(8),
        cpu_ticks: unsigned(14) + unsigned(15),
        priority: number(18),
        nice: number(19),
        threads: unsigned(20),
        start_ticks: unsigned(22),
        virtual_bytes: unsigned(23),
        name,
        ..ProcessView::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_whatever_it_is_called() {
        let stat = b"12 (a) b (c) S 7 12 12 34816 12 4194560 105 0 0 0 150 50 0 0 20 5 3 0 6789 4096 2 18";
        let view = parse(stat).unwrap();
        assert_eq!((view.name.as_str(), view.state, view.parent, view.session), ("a) b (c", 'S', 7, 12));
        assert_eq!((view.cpu_ticks, view.nice, view.threads, view.start_ticks), (200, 5, 3, 6789));
        assert_eq!((view.virtual_bytes, view.terminal), (4096, 34816));
        assert!(parse(b"12 no name").is_none() && parse(b"").is_none());
        assert!(process(std::process::id() as i32).unwrap().resident_bytes > 0);
    }
}
