//! What the kernel counts, and which limits hold.

use std::path::PathBuf;

use super::{Cgroup, Version, read};

/// What a container uses now. A field is none where no controller of the container counts it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Memory without the page cache that could go, in bytes: what `docker stats` shows.
    pub memory_bytes: Option<u64>,
    /// Highest use of memory so far, in bytes.
    pub memory_peak_bytes: Option<u64>,
    /// Processor time so far, in microseconds.
    pub cpu_us: Option<u64>,
    /// Time kept from running by the quota, in microseconds.
    pub throttled_us: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// How often the kernel killed for want of memory.
    pub oom_kills: Option<u64>,
}

/// The limits that hold, read back from the kernel (F2). None is unlimited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Memory in bytes.
    pub memory_bytes: Option<u64>,
    /// Memory and swap together in bytes.
    pub memory_swap_bytes: Option<u64>,
    /// What is kept free for it in bytes.
    pub memory_reservation_bytes: Option<u64>,
    /// How readily its memory is swapped out; v1 only.
    pub memory_swappiness: Option<u64>,
    /// Whether its programs wait instead of being killed where memory runs out; v1 only.
    pub oom_kill_disabled: Option<bool>,
    /// Billionths of a processor.
    pub nano_cpus: Option<u64>,
    /// Microseconds of processor time a period.
    pub cpu_quota_us: Option<u64>,
    /// Microseconds.
    pub cpu_period_us: Option<u64>,
    /// v1's weight of the processors, 1024 by default.
    pub cpu_shares: Option<u64>,
    /// v2's weight of the processors, 100 by default.
    pub cpu_weight: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
}

impl Cgroup {
    /// The processors and memory nodes that it is held to, `0-1,3`; none where it has no cpuset of its own.
    pub fn cpuset(&self) -> (Option<String>, Option<String>) {
        let v2 = self.hierarchies.version() == Version::V2;
        let text = |file: &str| {
            let text = match v2 {
                true => read(&self.unified_folder()?, &format!("{file}.effective")),
                false => self.v1("cpuset", file),
            };
            text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
        };
        (text("cpuset.cpus"), text("cpuset.mems"))
    }

    /// What the container uses.
    pub fn stats(&self) -> Stats {
        match self.hierarchies.version() {
            Version::V2 => self.stats_v2(),
            Version::V1 => self.stats_v1(),
        }
    }

    /// How often the kernel killed for want of memory: one of [`Self::stats`], read alone.
    pub fn oom_kills(&self) -> Option<u64> {
        let events = match self.hierarchies.version() {
            Version::V2 => read(&self.unified_folder()?, "memory.events"),
            Version::V1 => self.v1("memory", "memory.oom_control"),
        };
        field(&events?, "oom_kill")
    }

    /// The limits that the kernel holds it to.
    pub fn limits(&self) -> Limits {
        match self.hierarchies.version() {
            Version::V2 => self.limits_v2(),
            Version::V1 => self.limits_v1(),
        }
    }

    fn stats_v2(&self) -> Stats {
        let Some(folder) = self.unified_folder() else { return Stats::default() };
        let number = |file: &str| read(&folder, file).and_then(|text| limit(&text));
        let inactive = read(&folder, "memory.stat").and_then(|text| field(&text, "inactive_file")).unwrap_or(0);
        let cpu = read(&folder, "cpu.stat").unwrap_or_default();
        Stats {
            memory_bytes: number("memory.current").map(|used| used.saturating_sub(inactive)),
            memory_peak_bytes: number("memory.peak"),
            cpu_us: field(&cpu, "usage_usec"),
            throttled_us: field(&cpu, "throttled_usec"),
            pids: number("pids.current"),
            oom_kills: self.oom_kills(),
        }
    }

    fn stats_v1(&self) -> Stats {
        let inactive =
            self.v1("memory", "memory.stat").and_then(|text| field(&text, "total_inactive_file")).unwrap_or(0);
        let number = |controller, file| self.v1(controller, file).and_then(|text| limit(&text));
        Stats {
            memory_bytes: number("memory", "memory.usage_in_bytes").map(|used| used.saturating_sub(inactive)),
            memory_peak_bytes: number("memory", "memory.max_usage_in_bytes"),
            cpu_us: number("cpuacct", "cpuacct.usage").map(|time_ns| time_ns / 1_000).or_else(|| self.unified_cpu()),
            throttled_us: self
                .v1("cpu", "cpu.stat")
                .and_then(|text| field(&text, "throttled_time"))
                .map(|ns| ns / 1_000),
            pids: number("pids", "pids.current"),
            oom_kills: self.oom_kills(),
        }
    }

    /// v2 counts processor time without any controller, also beside v1.
    fn unified_cpu(&self) -> Option<u64> {
        field(&read(&self.unified_folder()?, "cpu.stat")?, "usage_usec")
    }

    fn limits_v2(&self) -> Limits {
        let Some(folder) = self.unified_folder() else { return Limits::default() };
        let number = |file: &str| read(&folder, file).and_then(|text| limit(&text));
        let memory_bytes = number("memory.max");
        let cpu = read(&folder, "cpu.max").unwrap_or_default();
        let (quota, period) = cpu.trim().split_once(' ').unwrap_or_default();
        Limits {
            memory_bytes,
            memory_swap_bytes: number("memory.swap.max").map(|swap| swap + memory_bytes.unwrap_or(0)),
            memory_reservation_bytes: number("memory.low").filter(|bytes| *bytes > 0),
            memory_swappiness: None,
            oom_kill_disabled: None,
            nano_cpus: nano_cpus(quota.parse().ok(), period.parse().ok()),
            cpu_quota_us: quota.parse().ok(),
            cpu_period_us: period.parse().ok(),
            cpu_shares: None,
            cpu_weight: number("cpu.weight"),
            pids: number("pids.max"),
        }
    }

    fn limits_v1(&self) -> Limits {
        let number = |controller, file| self.v1(controller, file).and_then(|text| limit(&text));
        Limits {
            memory_bytes: number("memory", "memory.limit_in_bytes").filter(|bytes| *bytes < V1_UNLIMITED),
            memory_swap_bytes: number("memory", "memory.memsw.limit_in_bytes").filter(|bytes| *bytes < V1_UNLIMITED),
            memory_reservation_bytes: number("memory", "memory.soft_limit_in_bytes")
                .filter(|bytes| *bytes < V1_UNLIMITED),
            memory_swappiness: number("memory", "memory.swappiness"),
            oom_kill_disabled: self
                .v1("memory", "memory.oom_control")
                .and_then(|text| field(&text, "oom_kill_disable"))
                .map(|number| number == 1),
            nano_cpus: nano_cpus(number("cpu", "cpu.cfs_quota_us"), number("cpu", "cpu.cfs_period_us")),
            cpu_quota_us: number("cpu", "cpu.cfs_quota_us"),
            cpu_period_us: number("cpu", "cpu.cfs_period_us"),
            cpu_shares: number("cpu", "cpu.shares"),
            cpu_weight: None,
            pids: number("pids", "pids.max"),
        }
    }

    /// A file of the container's own folder; its parents' would speak of others too.
    fn v1(&self, controller: &str, file: &str) -> Option<String> {
        let folder: PathBuf = self.hierarchies.v1_mount(controller)?.join(&self.name);
        read(&folder, file)
    }
}

/// v1 says "none" by the largest number of whole pages.
const V1_UNLIMITED: u64 = 1 << 62;

/// A number, none for `max` and −1.
fn limit(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

fn nano_cpus(quota_us: Option<u64>, period_us: Option<u64>) -> Option<u64> {
    let (quota, period) = (quota_us?, period_us.filter(|period| *period > 0)?);
    u64::try_from(u128::from(quota) * 1_000_000_000 / u128::from(period)).ok()
}

/// The value of a line `key value`.
fn field(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}
