//! Limits as the files of both versions take them (Documentation/admin-guide/cgroup-v1, cgroup-v2.rst of the kernel).

use std::path::Path;

use carrack_diag::Result;
use carrack_oci::runtime::{Cpu, Memory, Resources};

use super::{Hierarchies, make_folder, read, write};

/// The v1 controllers that these limits need.
pub(super) fn controllers(resources: &Resources) -> Vec<&'static str> {
    let mut names = Vec::new();
    if resources.memory.as_ref().is_some_and(|memory| *memory != Memory::default()) {
        names.push("memory");
    }
    if let Some(cpu) = &resources.cpu {
        if cpu.shares.is_some() || cpu.quota.is_some() || cpu.period.is_some() {
            names.push("cpu");
        }
        if !cpu.cpus.is_empty() || !cpu.mems.is_empty() {
            names.push("cpuset");
        }
    }
    if resources.pids.is_some() {
        names.push("pids");
    }
    names
}

/// What v2 gives every container for its counters, limited or not: there it costs nothing.
const COUNTED: &[&str] = &["cpu", "memory", "pids"];

/// Hands the controllers down the folders of a v2 hierarchy to the container's: those that limits need, and where there
/// are any those that count.
pub(super) fn delegate(hierarchies: &Hierarchies, name: &str, resources: &Resources) -> Result<()> {
    let Some((mut folder, below)) = hierarchies.ground(name) else { return Ok(()) };
    let needed = controllers(resources);
    hand_down(&folder, &needed)?;
    for component in below.parent().unwrap_or(Path::new("")) {
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
            // 2…262144 onto 1…10000, as the specification's conversion has it.
            let weight = 1 + (shares.clamp(2, 262_144) - 2) * 9_999 / 262_142;
            write(folder, "cpu.weight", &weight.to_string())?;
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
    Ok(())
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
        }
        if folder.join("cpuset.cpus").exists() {
            write_cpuset(folder, cpu)?;
        }
    }
    if let Some(pids) = resources.pids.as_ref().filter(|_| folder.join("pids.max").exists()) {
        write(folder, "pids.max", &pids_limit(pids.limit))?;
    }
    Ok(())
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
    if memory.disable_oom_killer == Some(true) {
        write(folder, "memory.oom_control", "1")?;
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
