//! Other limits and another restart policy for a container that is there.

use carrack_diag::{Diagnostic, Result};
use carrack_runtime::host;
use carrack_runtime::state::Status;
use carrack_specgen::container::{Resources, RestartPolicy};
use carrack_store::KeepKind;

use super::create::durability;
use crate::codes;
use crate::engine::Engine;

/// What is to be otherwise; the rest stays.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct UpdateRequest {
    /// Those that are given.
    pub resources: Resources,
    /// What follows its next exit.
    pub restart: Option<RestartPolicy>,
}

impl Engine {
    /// Changes a container: of one that runs the kernel's limits first, then its record, which the next start and the next
    /// exit go by. What is to be known of it, if anything.
    pub fn update_container(&self, name: &str, request: &UpdateRequest) -> Result<Option<Diagnostic>> {
        let found = self.find(name)?;
        let _guard = self.lock_container(&found.id)?;
        let mut record = self.still(&found)?;
        if request.restart.as_ref().is_some_and(|policy| *policy != RestartPolicy::No) && record.container.auto_remove {
            return Err(refused(&record.name, "it is removed when it exits: no restart policy can hold for it"));
        }
        host::check_limits(&request.resources)?;
        let resources = updated(&record.name, &record.container.resources, &request.resources)?;
        let hierarchies = self.hierarchies()?;
        let limits_of = |resources: &Resources| -> Result<carrack_oci::runtime::Resources> {
            let limits = carrack_specgen::resources(resources, &hierarchies.facts())?;
            Ok(carrack_oci::runtime::Resources { block_io: carrack_specgen::block_weight(&resources.block)?, ..limits })
        };
        let limits = limits_of(&resources)?;
        let is_active = matches!(self.status_of(&record)?, Status::Running | Status::Paused);
        let mut is_unseen = false;
        if is_active && resources != record.container.resources {
            let mut cgroup = self.cgroup_of(&record)?;
            let had_none = limits_of(&record.container.resources)? == carrack_oci::runtime::Resources::default();
            let has_joined = cgroup.update(&limits).inspect_err(|_| {
                // What the kernel took of it is taken back; the first error is the one to tell.
                let _ = limits_of(&record.container.resources).and_then(|before| cgroup.update(&before));
            })?;
            is_unseen = had_none && has_joined;
        }
        record.container.resources = resources;
        if let Some(policy) = &request.restart {
            record.container.restart.clone_from(policy);
        }
        // With a policy that holds beyond a reboot both must be there after it.
        let durability = durability(&record.container);
        self.store.keep(KeepKind::Container, &record.id, &[record.image], durability)?;
        self.records().put(&record.id, &record, durability)?;
        self.emit(&record, "update", &[]);
        Ok(is_unseen.then(|| unseen(&record.name)))
    }
}

fn unseen(name: &str) -> Diagnostic {
    Diagnostic::note(&codes::LIMITS_UNSEEN, format!("{name} is held to its limits, and does not see them yet"))
        .cause("it had none when it started, so that its /sys/fs/cgroup lacks them")
        .hint(format!("a program that looks there for them needs `carrack restart {name}`"))
}

/// As in Docker, 0 says nothing; of processes it is no limit.
fn updated(name: &str, old: &Resources, new: &Resources) -> Result<Resources> {
    let mut all = old.clone();
    let unsigned = |new: Option<u64>, old: Option<u64>| new.filter(|number| *number != 0).or(old);
    let signed = |new: Option<i64>, old: Option<i64>| new.filter(|number| *number != 0).or(old);
    let text = |new: &Option<String>, old: &Option<String>| new.clone().filter(|text| !text.is_empty()).or(old.clone());
    all.memory_bytes = unsigned(new.memory_bytes, old.memory_bytes);
    all.memory_swap_bytes = signed(new.memory_swap_bytes, old.memory_swap_bytes);
    if let (Some(limit), Some(before), None) = (new.memory_bytes, old.memory_bytes, new.memory_swap_bytes) {
        // What holds now, asked for or not: twice the memory.
        let doubled = i64::try_from(before).unwrap_or(i64::MAX).saturating_mul(2);
        let swap = old.memory_swap_bytes.filter(|swap| *swap != 0).unwrap_or(doubled);
        if u64::try_from(swap).is_ok_and(|swap| limit > swap) {
            return Err(refused(
                name,
                "the limit of memory would be above that of memory and swap together: give both",
            ));
        }
        all.memory_swap_bytes = Some(swap);
    }
    all.memory_reservation_bytes = unsigned(new.memory_reservation_bytes, old.memory_reservation_bytes);
    all.nano_cpus = unsigned(new.nano_cpus, old.nano_cpus);
    all.cpu_shares = unsigned(new.cpu_shares, old.cpu_shares);
    all.cpu_period_us = unsigned(new.cpu_period_us, old.cpu_period_us);
    all.cpu_quota_us = signed(new.cpu_quota_us, old.cpu_quota_us);
    all.cpu_rt_period_us = unsigned(new.cpu_rt_period_us, old.cpu_rt_period_us);
    all.cpu_rt_runtime_us = signed(new.cpu_rt_runtime_us, old.cpu_rt_runtime_us);
    all.cpuset_cpus = text(&new.cpuset_cpus, &old.cpuset_cpus);
    all.cpuset_mems = text(&new.cpuset_mems, &old.cpuset_mems);
    all.pids = new.pids.map(|limit| if limit == 0 { -1 } else { limit }).or(old.pids);
    all.block.weight = new.block.weight.filter(|weight| *weight != 0).or(old.block.weight);
    Ok(all)
}

fn refused(name: &str, cause: &str) -> Box<Diagnostic> {
    Diagnostic::error(&codes::UPDATE, format!("{name} can't be changed so")).cause(cause).boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_given_stays() {
        let old =
            Resources { memory_bytes: Some(50 << 20), pids: Some(9), cpu_shares: Some(7), ..Resources::default() };
        let given =
            Resources { memory_bytes: Some(60 << 20), pids: Some(0), cpu_shares: Some(0), ..Resources::default() };
        let all = updated("box", &old, &given).unwrap();
        assert_eq!((all.memory_bytes, all.memory_swap_bytes), (Some(60 << 20), Some(100 << 20)));
        assert_eq!((all.pids, all.cpu_shares), (Some(-1), Some(7)));
        let more = Resources { memory_bytes: Some(101 << 20), ..Resources::default() };
        assert_eq!(updated("box", &old, &more).unwrap_err().code.id, "engine/update");
        let both = Resources { memory_swap_bytes: Some(-1), ..more };
        assert_eq!(updated("box", &old, &both).unwrap().memory_swap_bytes, Some(-1));
    }
}
