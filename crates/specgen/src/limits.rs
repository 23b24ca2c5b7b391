//! Limits of the control groups, as asked for and as the runtime specification has them.

use std::collections::BTreeMap;

use carrack_diag::Result;
use carrack_oci::runtime::{BlockIo, Cpu, DeviceRule, Memory, Pids, Resources, ThrottleDevice, WeightDevice};

use crate::container::{self, BlockLimits, DeviceLimit};
use crate::facts::Cgroups;
use crate::spec::invalid;

/// Docker's bound: less than this is not enough to set a container up in.
const MEMORY_MIN_BYTES: u64 = 6 << 20;
/// The kernel's period, in which `--cpus` is counted.
const PERIOD_US: u64 = 100_000;
/// The kernel's least quota.
const QUOTA_MIN_US: i64 = 1_000;
/// The kernel's bounds of a period.
const PERIODS_US: std::ops::RangeInclusive<u64> = 1_000..=1_000_000;

/// The kernel's greatest share.
const SHARES_MAX: u64 = 262_144;

/// What is wrong with limits on every host.
pub(crate) fn check(asked: &container::Resources) -> Result<()> {
    resources_of(asked)?;
    block_weights(&asked.block)
}

/// What is wrong with limits on a host whose processors and memory nodes have these numbers, as the kernel lists them:
/// `0-3,8`. Of a list that is empty nothing is known.
///
/// # Errors
/// `container/invalid-setting`.
pub fn check_on_host(asked: &container::Resources, processors: &str, nodes: &str) -> Result<()> {
    let count: Option<u64> =
        ranges(processors).map(|all| all.iter().map(|(first, last)| u64::from(last - first) + 1).sum());
    if let (Some(nano), Some(count)) = (asked.nano_cpus, count)
        && nano > count.saturating_mul(1_000_000_000)
    {
        let message = format!("limit the processors to {}", nano as f64 / 1e9);
        return Err(invalid(message, format!("this host has {count}: the number lies between 0.01 and {count}.00")));
    }
    let lists = [(&asked.cpuset_cpus, processors, "processors"), (&asked.cpuset_mems, nodes, "memory nodes")];
    for (list, present, what) in lists {
        let Some(list) = list.as_deref().filter(|list| !list.is_empty()) else { continue };
        let (Some(wanted), Some(there)) = (ranges(list), ranges(present)) else { continue };
        let is_there = |(first, last): &(u32, u32)| there.iter().any(|(from, to)| from <= first && last <= to);
        if !wanted.iter().all(is_there) {
            return Err(invalid(format!("use the {what} {list}"), format!("this host has {present}")));
        }
    }
    Ok(())
}

/// As in Docker, 0 is the same as nothing asked for. What this version of the control groups lacks is refused.
///
/// # Errors
/// `container/invalid-setting`.
pub fn resources(asked: &container::Resources, cgroups: &Cgroups) -> Result<Resources> {
    if *cgroups == Cgroups::V2 {
        let lacking = [
            ("set the memory swappiness", asked.memory_swappiness.is_some()),
            ("disable the out-of-memory killer", asked.oom_kill_disable),
            ("limit real-time scheduling", asked.cpu_rt_runtime_us.is_some() || asked.cpu_rt_period_us.is_some()),
        ];
        if let Some((attempt, _)) = lacking.iter().find(|(_, wanted)| *wanted) {
            return Err(invalid(*attempt, "version 2 of the control groups, which this host has, can't"));
        }
    }
    resources_of(asked)
}

fn resources_of(asked: &container::Resources) -> Result<Resources> {
    let (memory, cpu) = (memory(asked)?, cpu(asked)?);
    Ok(Resources {
        memory: (memory != Memory::default()).then_some(memory),
        cpu: (cpu != Cpu::default()).then_some(cpu),
        pids: asked.pids.filter(|pids| *pids != 0).map(|limit| Pids { limit }),
        ..Resources::default()
    })
}

fn memory(asked: &container::Resources) -> Result<Memory> {
    let bytes = |name: &str, value: u64| {
        i64::try_from(value)
            .map_err(|_| invalid(format!("limit {name} to {value} bytes"), "it is more than Linux can count"))
    };
    let mut memory = Memory::default();
    let swap = asked.memory_swap_bytes.filter(|swap| *swap != 0);
    if let Some(limit) = asked.memory_bytes.filter(|limit| *limit > 0) {
        if limit < MEMORY_MIN_BYTES {
            return Err(invalid(
                format!("limit memory to {limit} bytes"),
                "no container starts with less than 6 MiB; 0 is no limit",
            ));
        }
        let limit = bytes("memory", limit)?;
        memory.limit = Some(limit);
        // Docker's: as much swap again, where nobody says.
        memory.swap = Some(swap.unwrap_or(limit.saturating_mul(2)));
        if memory.swap.is_some_and(|swap| swap >= 0 && swap < limit) {
            return Err(invalid("limit memory and swap", "together they can't be less than the memory alone"));
        }
    } else if swap.is_some_and(|swap| swap > 0) {
        return Err(invalid("limit memory and swap", "that takes a limit of the memory alone as well"));
    }
    if let Some(reservation) = asked.memory_reservation_bytes.filter(|reservation| *reservation > 0) {
        if reservation < MEMORY_MIN_BYTES {
            return Err(invalid("reserve memory", "a reservation of less than 6 MiB is none; 0 is no reservation"));
        }
        let reservation = bytes("the memory reservation", reservation)?;
        if memory.limit.is_some_and(|limit| limit < reservation) {
            return Err(invalid("reserve memory", "the reservation can't be above the limit"));
        }
        memory.reservation = Some(reservation);
    }
    if asked.memory_swappiness.is_some_and(|swappiness| swappiness > 100) {
        return Err(invalid("set the memory swappiness", "it is a number from 0 to 100"));
    }
    memory.swappiness = asked.memory_swappiness;
    memory.disable_oom_killer = asked.oom_kill_disable.then_some(true);
    Ok(memory)
}

fn cpu(asked: &container::Resources) -> Result<Cpu> {
    if asked.cpu_shares == Some(1) {
        return Err(invalid("give the processors the weight 1", "the least share that Linux knows is 2"));
    }
    if let Some(shares) = asked.cpu_shares.filter(|shares| *shares > SHARES_MAX) {
        let cause = format!("the greatest share that Linux knows is {SHARES_MAX}");
        return Err(invalid(format!("give the processors the weight {shares}"), cause));
    }
    let mut cpu = Cpu {
        cpus: asked.cpuset_cpus.clone().unwrap_or_default(),
        mems: asked.cpuset_mems.clone().unwrap_or_default(),
        shares: asked.cpu_shares.filter(|shares| *shares > 0),
        period: asked.cpu_period_us.filter(|period| *period > 0),
        quota: asked.cpu_quota_us.filter(|quota| *quota != 0),
        realtime_period: asked.cpu_rt_period_us.filter(|period| *period > 0),
        realtime_runtime: asked.cpu_rt_runtime_us.filter(|runtime| *runtime != 0),
    };
    for list in [&cpu.cpus, &cpu.mems] {
        if !list.is_empty() && ranges(list).is_none() {
            return Err(invalid(format!("use the processors or memory nodes {list:?}"), "write numbers as 0-2,4"));
        }
    }
    if cpu.period.is_some_and(|period| !PERIODS_US.contains(&period)) {
        return Err(invalid("limit the processors", "a period lies between 1 ms and 1 s: 1000 to 1000000"));
    }
    if cpu.quota.is_some_and(|quota| (0..QUOTA_MIN_US).contains(&quota)) {
        return Err(invalid("limit the processors", "a quota of less than 1 ms, 1000, is below what Linux can give"));
    }
    let runtime = cpu.realtime_runtime.unwrap_or(0);
    if cpu.realtime_period.is_some_and(|period| u64::try_from(runtime).is_ok_and(|runtime| runtime > period)) {
        return Err(invalid("limit real-time scheduling", "the time can't be longer than the period"));
    }
    if let Some(nano) = asked.nano_cpus.filter(|nano| *nano > 0) {
        if cpu.period.is_some() || cpu.quota.is_some() {
            return Err(invalid("limit the processors", "say it by their number or by period and quota, not by both"));
        }
        cpu.period = Some(PERIOD_US);
        let quota = i64::try_from(nano / (1_000_000_000 / PERIOD_US)).unwrap_or(i64::MAX);
        if quota < QUOTA_MIN_US {
            return Err(invalid("limit the processors", "less than 0.01 of a processor is below what Linux can give"));
        }
        cpu.quota = Some(quota);
    }
    Ok(cpu)
}

/// Numbers and ranges, as cpuset(7) reads them, each with its last number.
fn ranges(text: &str) -> Option<Vec<(u32, u32)>> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.parse().ok()?, last.parse().ok()?);
        (first <= last).then_some((first, last))
    };
    text.trim().split(',').map(range).collect()
}

fn block_weights(asked: &BlockLimits) -> Result<()> {
    let weights = asked.weight.iter().map(|weight| u64::from(*weight));
    let mut weights = weights.chain(asked.device_weights.iter().map(|limit| limit.value));
    match weights.find(|weight| *weight != 0 && !(10..=1000).contains(weight)) {
        Some(weight) => {
            Err(invalid(format!("give block devices the weight {weight}"), "it is a number from 10 to 1000"))
        }
        None => Ok(()),
    }
}

/// The weight alone, for a container that runs: what else its block devices are held to stays as it is.
///
/// # Errors
/// `container/invalid-setting`.
pub fn block_weight(asked: &BlockLimits) -> Result<Option<BlockIo>> {
    block_weights(asked)?;
    let weight = asked.weight.filter(|weight| *weight != 0);
    Ok(weight.map(|weight| BlockIo { weight: Some(weight), ..BlockIo::default() }))
}

/// `numbers` are those of the devices by their paths on the host.
pub(crate) fn block_io(asked: &BlockLimits, numbers: &BTreeMap<String, (i64, i64)>) -> Result<Option<BlockIo>> {
    block_weights(asked)?;
    let number = |device: &str| {
        numbers.get(device).copied().ok_or_else(|| invalid(format!("limit {device}"), "it was not found on the host"))
    };
    let throttled = |limits: &[DeviceLimit]| -> Result<Vec<ThrottleDevice>> {
        let limit = |limit: &DeviceLimit| {
            let (major, minor) = number(&limit.device)?;
            Ok(ThrottleDevice { major, minor, rate: limit.value })
        };
        limits.iter().map(limit).collect()
    };
    let weighed = |limit: &DeviceLimit| {
        let (major, minor) = number(&limit.device)?;
        Ok(WeightDevice { major, minor, weight: u16::try_from(limit.value).unwrap_or(u16::MAX) })
    };
    let block = BlockIo {
        weight: asked.weight.filter(|weight| *weight != 0),
        weight_device: asked.device_weights.iter().map(weighed).collect::<Result<_>>()?,
        throttle_read_bps_device: throttled(&asked.read_bps)?,
        throttle_write_bps_device: throttled(&asked.write_bps)?,
        throttle_read_iops_device: throttled(&asked.read_iops)?,
        throttle_write_iops_device: throttled(&asked.write_iops)?,
    };
    Ok((block != BlockIo::default()).then_some(block))
}

/// A rule as `c 1:3 rwm` or `a *:* rwm` (cgroup-v1/devices.rst of the kernel).
///
/// # Errors
/// `container/invalid-setting`.
pub fn device_rule(text: &str) -> Result<DeviceRule> {
    let wrong = || invalid(format!("allow the devices {text:?}"), "write a rule as `c 1:3 rwm` or `b 8:* r`");
    let words: Vec<&str> = text.split(' ').collect();
    let [kind @ ("a" | "b" | "c"), numbers, access] = words.as_slice() else { return Err(wrong()) };
    let number = |text: &str| match text {
        "*" => Ok(None),
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            digits.parse::<u32>().map(|number| Some(i64::from(number))).map_err(|_| wrong())
        }
        _ => Err(wrong()),
    };
    let (major, minor) = numbers.split_once(':').ok_or_else(wrong)?;
    let known = |byte: u8| matches!(byte, b'r' | b'w' | b'm');
    if access.is_empty() || access.len() > 3 || !access.bytes().all(known) {
        return Err(wrong());
    }
    Ok(DeviceRule {
        allow: true,
        kind: (*kind).to_owned(),
        major: number(major)?,
        minor: number(minor)?,
        access: (*access).to_owned(),
    })
}

/// A path of control groups below the root of the hierarchy, with or without a leading slash; where systemd has the tree, the
/// name of a slice.
///
/// # Errors
/// For any other.
pub fn check_cgroup_parent(parent: &str) -> Result<()> {
    let attempt = || format!("put the control group below {parent:?}");
    let plain = |name: &str| !matches!(name, "." | "..") && !name.contains(['\0', '\n']);
    let names: Vec<&str> = parent.split('/').filter(|name| !name.is_empty()).collect();
    if names.is_empty() || !names.iter().all(|name| plain(name)) {
        return Err(invalid(attempt(), "write a path as /a/b, without `.` and `..`"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::Resources as Asked;

    const V1: Cgroups = Cgroups::V1 { hierarchies: Vec::new() };

    /// F2: what can't be met is told for what it is, as Docker tells it, and never dropped.
    #[test]
    fn limits_that_contradict_are_refused() {
        let cases: [(Asked, &str); 12] = [
            (Asked { memory_bytes: Some(5 << 20), ..Asked::default() }, "6 MiB"),
            (Asked { memory_swap_bytes: Some(1 << 30), ..Asked::default() }, "a limit of the memory alone"),
            (
                Asked { memory_bytes: Some(9 << 20), memory_swap_bytes: Some(8 << 20), ..Asked::default() },
                "less than the memory",
            ),
            (
                Asked { memory_bytes: Some(9 << 20), memory_reservation_bytes: Some(10 << 20), ..Asked::default() },
                "above the limit",
            ),
            (Asked { memory_swappiness: Some(101), ..Asked::default() }, "0 to 100"),
            (Asked { cpu_period_us: Some(10), ..Asked::default() }, "1000 to 1000000"),
            (Asked { cpu_quota_us: Some(500), ..Asked::default() }, "1000"),
            (Asked { nano_cpus: Some(1), ..Asked::default() }, "0.01"),
            (Asked { nano_cpus: Some(1 << 30), cpu_quota_us: Some(5000), ..Asked::default() }, "not by both"),
            (Asked { cpuset_cpus: Some("0-x".into()), ..Asked::default() }, "0-2,4"),
            (
                Asked { cpu_rt_runtime_us: Some(2000), cpu_rt_period_us: Some(1000), ..Asked::default() },
                "longer than the period",
            ),
            (
                Asked { block: BlockLimits { weight: Some(9), ..BlockLimits::default() }, ..Asked::default() },
                "10 to 1000",
            ),
        ];
        for (asked, cause) in cases {
            let error = check(&asked).expect_err(cause);
            assert!(error.causes.iter().any(|text| text.contains(cause)), "{asked:?}: {error:?}");
        }
    }

    /// As Docker does: a limit that this host can't be held to is a mistake.
    #[test]
    fn a_host_has_so_many_processors_and_no_more() {
        let cpus = |text: &str| Asked { cpuset_cpus: Some(text.into()), ..Asked::default() };
        let nano = |number| Asked { nano_cpus: Some(number), ..Asked::default() };
        let on_host = |asked: &Asked| check_on_host(asked, "0-1,4", "0");
        for right in [cpus(""), cpus("0"), cpus("0-1,4"), cpus("1,0"), nano(3_000_000_000), nano(0)] {
            assert!(on_host(&right).is_ok(), "{right:?}");
        }
        let mems = Asked { cpuset_mems: Some("1".into()), ..Asked::default() };
        for (wrong, cause) in
            [(cpus("2"), "0-1,4"), (cpus("0-4"), "0-1,4"), (mems, "has 0"), (nano(3_000_000_001), "0.01 and 3.00")]
        {
            let error = on_host(&wrong).expect_err(cause);
            assert!(error.causes.iter().any(|text| text.contains(cause)), "{wrong:?}: {error:?}");
        }
        assert!(check(&cpus("1-0")).is_err() && check(&cpus(",")).is_err());
    }

    #[test]
    fn what_version_2_lacks_is_refused_there_only() {
        let asked = Asked { oom_kill_disable: true, ..Asked::default() };
        assert!(resources(&asked, &V1).is_ok());
        assert!(resources(&asked, &Cgroups::V2).is_err());
        let asked = Asked { cpu_quota_us: Some(-1), cpu_period_us: Some(50_000), ..Asked::default() };
        let cpu = resources(&asked, &Cgroups::V2).expect("limits").cpu.expect("a limit");
        assert_eq!((cpu.quota, cpu.period), (Some(-1), Some(50_000)));
    }

    #[test]
    fn device_rules_have_the_kernels_form() {
        let rule = device_rule("c 1:* rw").expect("a rule");
        assert_eq!((rule.kind.as_str(), rule.major, rule.minor, rule.access.as_str()), ("c", Some(1), None, "rw"));
        assert!(device_rule("a *:* rwm").is_ok());
        for wrong in ["", "c", "c 1:3", "c 1:3 x", "d 1:3 r", "c 1 r", "c 1:3 rwmr", "c +1:3 r", "c 1:4294967296 r"] {
            assert_eq!(device_rule(wrong).expect_err(wrong).code.id, "container/invalid-setting");
        }
    }

    #[test]
    fn block_devices_are_limited_by_their_numbers() {
        let limit = |value| vec![DeviceLimit { device: "/dev/vda".into(), value }];
        let asked = BlockLimits { read_bps: limit(1 << 20), device_weights: limit(300), ..BlockLimits::default() };
        let block = block_io(&asked, &[("/dev/vda".to_owned(), (254, 0))].into()).expect("known").expect("limits");
        assert_eq!(block.throttle_read_bps_device, [ThrottleDevice { major: 254, minor: 0, rate: 1 << 20 }]);
        assert_eq!(block.weight_device, [WeightDevice { major: 254, minor: 0, weight: 300 }]);
        assert!(block_io(&asked, &BTreeMap::new()).is_err());
        assert_eq!(block_io(&BlockLimits::default(), &BTreeMap::new()).expect("nothing"), None);
    }

    #[test]
    fn control_groups_are_named_by_paths() {
        assert!(check_cgroup_parent("/a/b").is_ok() && check_cgroup_parent("shop.slice").is_ok());
        for wrong in ["", "/", "/a/../b"] {
            assert!(check_cgroup_parent(wrong).is_err(), "{wrong}");
        }
    }
}
