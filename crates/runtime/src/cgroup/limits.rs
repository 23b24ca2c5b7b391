//! Limits as the files of both versions take them (Documentation/admin-guide/cgroup-v1, cgroup-v2.rst of the kernel).

use std::path::Path;

use carrack_diag::{Diagnostic, Result};
use carrack_oci::runtime::{Cpu, Memory, Resources};

use super::{Hierarchies, block_io, make_folder, read, write};
use crate::codes;

/// The controllers that these limits need, by their names in v1.
pub(super) fn controllers(resources: &Resources) -> Vec<&'static str> {
    let mut names = Vec::new();
    if resources.memory.as_ref().is_some_and(|memory| *memory != Memory::default()) {
        names.push("memory");
    }
    if let Some(cpu) = &resources.cpu {
        let realtime = cpu.realtime_period.is_some() || cpu.realtime_runtime.is_some();
        if cpu.shares.is_some() || cpu.quota.is_some() || cpu.period.is_some() || realtime {
            names.push("cpu");
        }
        if !cpu.cpus.is_empty() || !cpu.mems.is_empty() {
            names.push("cpuset");
        }
    }
    if resources.pids.is_some() {
        names.push("pids");
    }
    if resources.block_io.is_some() {
        names.push("blkio");
    }
    names
}

/// What v2 gives every container for its counters, limited or not: there it costs nothing.
const COUNTED: &[&str] = &["cpu", "memory", "pids"];

/// Hands the controllers down the folders of a v2 hierarchy to the container's: those that limits need, and where there
/// are any those that count.
pub(super) fn delegate(hierarchies: &Hierarchies, name: &str, resources: &Resources) -> Result<()> {
    let Some(mut folder) = hierarchies.unified().map(Path::to_owned) else { return Ok(()) };
    let needed: Vec<&str> =
        controllers(resources).into_iter().map(|name| if name == "blkio" { "io" } else { name }).collect();
    hand_down(&folder, &needed)?;
    for component in hierarchies.below_unified(name).parent().unwrap_or(Path::new("")) {
        folder.push(component);
        make_folder(&folder)?;
        hand_down(&folder, &needed)?;
    }
    Ok(())
}

fn hand_down(folder: &Path, needed: &[&str]) -> Result<()> {
    let list = |file: &str| read(folder, file).unwrap_or_default();
    let (available, handed_down) = (list("cgroup.controllers"), list("cgroup.subtree_control"));
    let has = |text: &str, name: &str| text.split_whitespace().any(|controller| controller == name);
    for controller in needed.iter().filter(|controller| !has(&handed_down, controller)) {
        write(folder, "cgroup.subtree_control", &format!("+{controller}"))?;
    }
    let wanted =
        COUNTED.iter().filter(|name| !needed.contains(name) && has(&available, name) && !has(&handed_down, name));
    for controller in wanted {
        let _not_counted_then = std::fs::write(folder.join("cgroup.subtree_control"), format!("+{controller}"));
    }
    Ok(())
}

pub(super) fn write_v2(folder: &Path, resources: &Resources) -> Result<()> {
    if let Some(memory) = &resources.memory {
        if let Some(limit) = memory.limit {
            write(folder, "memory.max", &or_max(limit))?;
        }
        if let (Some(swap), Some(limit)) = (memory.swap, memory.limit) {
            // Together in the specification, apart in v2.
            let swap = if swap < 0 { swap } else { (swap - limit).max(0) };
            write_where_there_is(folder, "memory.swap.max", &or_max(swap))?;
        }
        if let Some(reservation) = memory.reservation {
            write(folder, "memory.low", &or_max(reservation))?;
        }
    }
    if let Some(cpu) = &resources.cpu {
        if let Some(shares) = cpu.shares.filter(|shares| *shares > 0) {
            write(folder, "cpu.weight", &cpu_weight(shares).to_string())?;
        }
        if cpu.quota.is_some() || cpu.period.is_some() {
            let period = cpu.period.unwrap_or(DEFAULT_PERIOD_US);
            write(folder, "cpu.max", &format!("{} {period}", or_max(cpu.quota.unwrap_or(-1))))?;
        }
        write_cpuset(folder, cpu)?;
    }
    if let Some(pids) = &resources.pids {
        write(folder, "pids.max", &pids_limit(pids.limit))?;
    }
    resources.block_io.as_ref().map_or(Ok(()), |block| block_io::write_v2(folder, block))
}

/// v2's weight of v1's shares: 2 onto 1, 1024 onto 100 and 262144 onto 10000, so that both versions' defaults meet, as runc
/// and crun have it since 2025.
fn cpu_weight(shares: u64) -> u64 {
    let magnitude = (shares.clamp(2, 262_144) as f64).log2();
    let exponent = (magnitude * magnitude + 125.0 * magnitude) / 612.0 - 7.0 / 34.0;
    (10f64.powf(exponent).ceil() as u64).clamp(1, 10_000)
}

/// Writes those limits whose controllers this folder has.
pub(super) fn write_v1(folder: &Path, resources: &Resources) -> Result<()> {
    if let Some(memory) = resources.memory.as_ref().filter(|_| folder.join("memory.limit_in_bytes").exists()) {
        write_v1_memory(folder, memory)?;
    }
    if let Some(cpu) = resources.cpu.as_ref() {
        if folder.join("cpu.shares").exists() {
            if let Some(shares) = cpu.shares.filter(|shares| *shares > 0) {
                write(folder, "cpu.shares", &shares.to_string())?;
            }
            if let Some(period) = cpu.period {
                write(folder, "cpu.cfs_period_us", &period.to_string())?;
            }
            if let Some(quota) = cpu.quota {
                write(folder, "cpu.cfs_quota_us", &quota.to_string())?;
            }
            write_realtime(folder, cpu)?;
        }
        if folder.join("cpuset.cpus").exists() {
            write_cpuset(folder, cpu)?;
        }
    }
    if let Some(pids) = resources.pids.as_ref().filter(|_| folder.join("pids.max").exists()) {
        write(folder, "pids.max", &pids_limit(pids.limit))?;
    }
    match resources.block_io.as_ref().filter(|_| folder.join("blkio.reset_stats").exists()) {
        Some(block) => block_io::write_v1(folder, block),
        None => Ok(()),
    }
}

const REALTIME_RUNTIME: &str = "cpu.rt_runtime_us";

/// A group has no more real-time scheduling than its parent, which starts with none: ours gets what its children have.
fn write_realtime(folder: &Path, cpu: &Cpu) -> Result<()> {
    if cpu.realtime_period.is_none() && cpu.realtime_runtime.is_none() {
        return Ok(());
    }
    require(folder, REALTIME_RUNTIME, "limit real-time scheduling")?;
    if let Some(period) = cpu.realtime_period {
        write(folder, "cpu.rt_period_us", &period.to_string())?;
    }
    let Some(runtime) = cpu.realtime_runtime else { return Ok(()) };
    let of = |folder: &Path| read(folder, REALTIME_RUNTIME).and_then(|text| text.trim().parse::<i64>().ok());
    if let Some(parent) = folder.parent().filter(|parent| of(parent) == Some(0) || runtime > 0) {
        let siblings = std::fs::read_dir(parent).into_iter().flatten().flatten().map(|entry| entry.path());
        let others: i64 = siblings.filter(|path| path.is_dir() && path != folder).filter_map(|path| of(&path)).sum();
        if of(parent).is_some_and(|held| held < others + runtime) {
            write(parent, REALTIME_RUNTIME, &(others + runtime).to_string())?;
        }
    }
    write(folder, REALTIME_RUNTIME, &runtime.to_string())
}

/// What the kernel has no file for, it can't limit.
pub(super) fn require(folder: &Path, file: &str, attempt: &str) -> Result<()> {
    if folder.join(file).exists() {
        return Ok(());
    }
    Err(Diagnostic::error(&codes::CGROUP, format!("can't {attempt}"))
        .cause(format!("this kernel has no {file}"))
        .hint("leave the limit out, or boot a kernel that is built with it")
        .boxed())
}

/// The limit of memory and swap together may never lie below that of memory: the order depends on the direction.
fn write_v1_memory(folder: &Path, memory: &Memory) -> Result<()> {
    const LIMIT: &str = "memory.limit_in_bytes";
    const WITH_SWAP: &str = "memory.memsw.limit_in_bytes";
    let raised = |new: i64| {
        let old = read(folder, WITH_SWAP).and_then(|text| text.trim().parse::<i64>().ok());
        new < 0 || old.is_some_and(|old| new > old)
    };
    match (memory.limit, memory.swap) {
        (Some(limit), Some(swap)) if raised(swap) => {
            write_where_there_is(folder, WITH_SWAP, &swap.to_string())?;
            write(folder, LIMIT, &limit.to_string())?;
        }
        (limit, swap) => {
            if let Some(limit) = limit {
                write(folder, LIMIT, &limit.to_string())?;
            }
            if let Some(swap) = swap {
                write_where_there_is(folder, WITH_SWAP, &swap.to_string())?;
            }
        }
    }
    if let Some(reservation) = memory.reservation {
        write(folder, "memory.soft_limit_in_bytes", &reservation.to_string())?;
    }
    if let Some(swappiness) = memory.swappiness {
        write(folder, "memory.swappiness", &swappiness.to_string())?;
    }
    if let Some(disable) = memory.disable_oom_killer {
        write(folder, "memory.oom_control", if disable { "1" } else { "0" })?;
    }
    Ok(())
}

fn write_cpuset(folder: &Path, cpu: &Cpu) -> Result<()> {
    if !cpu.cpus.is_empty() {
        write(folder, "cpuset.cpus", &cpu.cpus)?;
    }
    if !cpu.mems.is_empty() {
        write(folder, "cpuset.mems", &cpu.mems)?;
    }
    Ok(())
}

/// A v1 cpuset starts empty and takes no process before it has processors and memory: its parent's.
pub(super) fn prepare_cpuset(mount: &Path, name: &str) -> Result<()> {
    if !mount.join("cpuset.cpus").exists() {
        return Ok(());
    }
    let mut parent = mount.to_owned();
    for component in Path::new(name) {
        let folder = parent.join(component);
        make_folder(&folder)?;
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let Some(inherited) = read(&parent, file) else { continue };
            if read(&folder, file).is_some_and(|own| own.trim().is_empty()) {
                write(&folder, file, inherited.trim())?;
            }
        }
        parent = folder;
    }
    Ok(())
}

/// Swap is accounted only by kernels that were told to; without, there is nothing to limit.
fn write_where_there_is(folder: &Path, file: &str, value: &str) -> Result<()> {
    if folder.join(file).exists() { write(folder, file, value) } else { Ok(()) }
}

/// The kernel's and Docker's.
const DEFAULT_PERIOD_US: u64 = 100_000;

fn or_max(value: i64) -> String {
    if value < 0 { "max".into() } else { value.to_string() }
}

fn pids_limit(limit: i64) -> String {
    if limit <= 0 { "max".into() } else { limit.to_string() }
}

#[cfg(test)]
mod tests {
    use super::cpu_weight;

    /// The bounds and defaults of both versions meet.
    #[test]
    fn shares_become_weights() {
        assert_eq!([2, 1024, 262_144].map(cpu_weight), [1, 100, 10_000]);
        assert!(cpu_weight(512) < 100 && cpu_weight(2048) > 100);
        assert_eq!([0, u64::MAX].map(cpu_weight), [1, 10_000]);
    }
}
