//! What the kernel holds a running container to, read back from it and not from what was asked for (F2).

use carrack_diag::Result;
use carrack_specgen::capability::Set;
use serde_json::{Map, Value, json};

use super::ContainerRecord;
use crate::engine::Engine;

impl Engine {
    /// The limits of its control groups, and the rights and limits of its first process.
    pub(super) fn effective(&self, record: &ContainerRecord, pid: i32) -> Result<Value> {
        let cgroup = self.cgroup_of(record)?;
        let limits = cgroup.limits();
        let (cpus, mems) = cgroup.cpuset();
        let mut effective = json!({
            "Memory": limits.memory_bytes,
            "MemorySwap": limits.memory_swap_bytes,
            "MemoryReservation": limits.memory_reservation_bytes,
            "MemorySwappiness": limits.memory_swappiness,
            "OomKillDisable": limits.oom_kill_disabled,
            "NanoCpus": limits.nano_cpus,
            "CpuQuota": limits.cpu_quota_us,
            "CpuPeriod": limits.cpu_period_us,
            "CpuShares": limits.cpu_shares,
            "CpuWeight": limits.cpu_weight,
            "CpusetCpus": cpus,
            "CpusetMems": mems,
            "PidsLimit": limits.pids,
        });
        let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).ok();
        if let (Some(all), Some(status)) = (effective.as_object_mut(), read("status")) {
            all.extend(rights(&status));
            all.insert("Ulimits".into(), read("limits").map_or(Value::Null, |text| ulimits(&text)));
            let number = read("oom_score_adj").and_then(|text| text.trim().parse::<i32>().ok());
            all.insert("OomScoreAdj".into(), json!(number));
            let label = read("attr/current").map(|text| text.trim_end_matches(['\n', '\0']).to_owned());
            all.insert("SecurityLabel".into(), json!(label.filter(|label| !label.is_empty())));
        }
        Ok(effective)
    }
}

/// From the text of `/proc/PID/status` (proc(5)).
fn rights(status: &str) -> Map<String, Value> {
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.map(str::trim)
    };
    let set = |name: &str| {
        let mask = field(name).and_then(|hex| u64::from_str_radix(hex, 16).ok());
        json!(mask.map(|mask| Set(mask & Set::all().0).names()))
    };
    // Real, effective, saved, file system.
    let id = |name: &str| json!(field(name).and_then(|ids| ids.split_whitespace().nth(1)?.parse::<u32>().ok()));
    let groups = field("Groups").map(|groups| groups.split_whitespace().filter_map(|id| id.parse::<u32>().ok()));
    let seccomp = field("Seccomp").map(|mode| match mode {
        "0" => "unconfined",
        "1" => "strict",
        _ => "filter",
    });
    [
        ("Uid", id("Uid")),
        ("Gid", id("Gid")),
        ("Groups", json!(groups.map(Iterator::collect::<Vec<_>>))),
        ("CapEffective", set("CapEff")),
        ("CapBounding", set("CapBnd")),
        ("NoNewPrivileges", json!(field("NoNewPrivs").map(|value| value == "1"))),
        ("Seccomp", json!(seccomp)),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

/// From the text of `/proc/PID/limits`, with the names of `--ulimit`; −1 is unlimited.
fn ulimits(text: &str) -> Value {
    const NAMES: [(&str, &str); 16] = [
        ("Max cpu time", "cpu"),
        ("Max file size", "fsize"),
        ("Max data size", "data"),
        ("Max stack size", "stack"),
        ("Max core file size", "core"),
        ("Max resident set", "rss"),
        ("Max processes", "nproc"),
        ("Max open files", "nofile"),
        ("Max locked memory", "memlock"),
        ("Max address space", "as"),
        ("Max file locks", "locks"),
        ("Max pending signals", "sigpending"),
        ("Max msgqueue size", "msgqueue"),
        ("Max nice priority", "nice"),
        ("Max realtime priority", "rtprio"),
        ("Max realtime timeout", "rttime"),
    ];
    let number = |word: Option<&str>| match word {
        Some("unlimited") => Some(-1),
        word => word?.parse::<i64>().ok(),
    };
    let limits = text.lines().filter_map(|line| {
        let (label, name) = NAMES.iter().find(|(label, _)| line.starts_with(label))?;
        let mut words = line.get(label.len()..)?.split_whitespace();
        let (soft, hard) = (number(words.next())?, number(words.next())?);
        Some(json!({ "Name": name, "Soft": soft, "Hard": hard }))
    });
    Value::Array(limits.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_are_those_of_the_process() {
        let status = "Name:\tsh\nUid:\t0\t1000\t0\t0\nGid:\t7\t8\t9\t9\nGroups:\t4 20 \nCapEff:\t0000000000000001\n\
                      CapBnd:\t0000000000000021\nNoNewPrivs:\t1\nSeccomp:\t2\n";
        let rights = Value::Object(rights(status));
        assert_eq!((&rights["Uid"], &rights["Gid"], &rights["Groups"]), (&json!(1000), &json!(8), &json!([4, 20])));
        assert_eq!(
            (&rights["CapEffective"], &rights["CapBounding"]),
            (&json!(["CAP_CHOWN"]), &json!(["CAP_CHOWN", "CAP_KILL"]))
        );
        assert_eq!((&rights["NoNewPrivileges"], &rights["Seccomp"]), (&json!(true), &json!("filter")));
    }

    #[test]
    fn limits_have_the_names_of_their_flags() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                    Max open files            1024                 unlimited            files     \n";
        assert_eq!(ulimits(text), json!([{ "Name": "nofile", "Soft": 1024, "Hard": -1 }]));
    }
}
