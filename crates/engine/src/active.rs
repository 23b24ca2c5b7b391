//! Which containers hold something on this host: a link each in `active/` on the run root, from before the first thing is
//! made until the last is given back. It leads to the number of the shim, so that a command sees with a look at one
//! folder and one control group whether any shim was killed, however many there are.

use std::collections::{BTreeMap, HashSet};
use std::io::ErrorKind;
use std::path::PathBuf;

use carrack_diag::Result;
use carrack_runtime::cgroup::{Cgroup, Hierarchies};

use crate::engine::{Engine, entries, host_error};

/// How many shims a command asks after one by one, so that it takes no longer however many there are.
const LOOKED_AT: usize = 8;

/// What a mark begins with while it replaces another.
const NEW: char = '.';

impl Engine {
    /// Marks a container; 0 while it has no shim. The caller holds its lock.
    pub(crate) fn mark_active(&self, id: &str, shim_pid: i32) -> Result<()> {
        let (path, new) = (self.mark(id), self.mark(&format!("{NEW}{id}")));
        let failed = |error| host_error(format!("can't make the mark {}", path.display()), error);
        match std::fs::remove_file(&new) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        std::os::unix::fs::symlink(shim_pid.to_string(), &new).map_err(failed)?;
        std::fs::rename(&new, &path).map_err(failed)
    }

    /// Takes a container's mark away, as it holds nothing any more. The caller holds its lock.
    pub(crate) fn unmark_active(&self, id: &str) -> Result<()> {
        for path in [self.mark(&format!("{NEW}{id}")), self.mark(id)] {
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(host_error(format!("can't remove the mark {}", path.display()), error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The marked containers.
    pub(crate) fn marked(&self) -> Vec<String> {
        let names = entries(&self.roots().run.join("active"));
        names.into_iter().map(|name| name.trim_start_matches(NEW).to_owned()).collect()
    }

    /// The marked containers whose shim may be gone; none where no container is marked.
    pub(crate) fn suspects(&self, hierarchies: &Hierarchies) -> Result<Option<Vec<String>>> {
        let names = entries(&self.roots().run.join("active"));
        if names.is_empty() {
            return Ok(None);
        }
        let alive: HashSet<i32> = Cgroup::shims(hierarchies, &self.cgroup_parent())?;
        let mut by_shim: BTreeMap<i32, Vec<String>> = BTreeMap::new();
        for name in names {
            let target = std::fs::read_link(self.mark(&name)).ok();
            let shim = target.and_then(|target| target.to_str()?.parse().ok()).unwrap_or(0);
            by_shim.entry(shim).or_default().push(name.trim_start_matches(NEW).to_owned());
        }
        // A number that two have was given to a new shim after the old one's death.
        let is_likely = |shim: &i32, ids: &Vec<String>| ids.len() == 1 && alive.contains(shim);
        let likely: BTreeMap<i32, Vec<String>> = by_shim.extract_if(.., |shim, ids| is_likely(shim, ids)).collect();
        let likely: Vec<(i32, String)> =
            likely.into_iter().flat_map(|(shim, ids)| ids.into_iter().map(move |id| (shim, id))).collect();
        // Its number may be another process's by now, an event's or a probe's, and one that was killed a moment ago has it
        // still: some are looked at more closely, other ones by each command.
        let first = std::process::id() as usize % likely.len().max(1);
        let in_turn = likely.iter().cycle().skip(first).take(likely.len().min(LOOKED_AT));
        let mut suspects: Vec<String> = by_shim.into_values().flatten().collect();
        for (shim, id) in in_turn {
            // One that is about to write its first state is none of them.
            let state = self.state(id).ok().flatten();
            if state.is_some_and(|state| state.shim_pid == *shim && !state.is_served()) {
                suspects.push(id.clone());
            }
        }
        Ok(Some(suspects))
    }

    fn mark(&self, name: &str) -> PathBuf {
        self.roots().run.join("active").join(name)
    }
}
