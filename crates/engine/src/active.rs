//! Which containers hold something on this host, or are being made or removed: a mark each in `active/` on the run root,
//! from before the first thing is made until the last is given back. Its name is the container's id, and the number of
//! its shim where it has one, so that a command sees with a look at one folder and one control group whether any shim or
//! command was killed, however many containers there are.

use std::collections::{BTreeMap, HashSet};
use std::io::ErrorKind;
use std::path::PathBuf;

use carrack_diag::Result;
use carrack_runtime::cgroup::{Cgroup, Hierarchies};

use crate::engine::{Engine, entries, host_error};

/// Between a container's id and its shim's number.
const SEPARATOR: char = '.';

/// How many shims a command asks after one by one, so that it takes no longer however many there are.
const LOOKED_AT: usize = 2;

impl Engine {
    /// Marks a container that has no shim. The caller holds its lock.
    pub(crate) fn mark_active(&self, id: &str) -> Result<()> {
        let path = self.mark(id);
        let made = std::fs::File::create(&path).map(drop);
        made.map_err(|error| host_error(format!("can't make the mark {}", path.display()), error))
    }

    /// Writes down the shim of a marked container, in the place of `former`, the one it had. The caller holds its lock.
    pub(crate) fn mark_shim(&self, id: &str, shim_pid: i32, former: Option<i32>) -> Result<()> {
        let (before, path) = (self.mark(&name(id, former)), self.mark(&name(id, Some(shim_pid))));
        let failed = |error| host_error(format!("can't make the mark {}", path.display()), error);
        match std::fs::rename(before, &path) {
            Err(error) if error.kind() == ErrorKind::NotFound => std::fs::File::create(&path).map(drop).map_err(failed),
            renamed => renamed.map_err(failed),
        }
    }

    /// Takes a container's mark away, as it holds nothing any more. The caller holds its lock, and knows perhaps which
    /// shim it had.
    pub(crate) fn unmark_active(&self, id: &str, shim_pid: Option<i32>) -> Result<()> {
        let remove = |name: &str| match std::fs::remove_file(self.mark(name)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(host_error(format!("can't remove the mark {}", self.mark(name).display()), error)),
        };
        let with_shim = shim_pid.map_or(Ok(false), |_| remove(&name(id, shim_pid)))?;
        let without = remove(id)?;
        if !with_shim && !without {
            for other in entries(&self.roots().run.join("active")).iter().filter(|other| split(other).0 == id) {
                remove(other)?;
            }
        }
        Ok(())
    }

    /// The marked containers.
    pub(crate) fn marked(&self) -> Vec<String> {
        entries(&self.roots().run.join("active")).iter().map(|name| split(name).0.to_owned()).collect()
    }

    /// The marked containers whose shim or command may be gone; none where no container is marked.
    pub(crate) fn suspects(&self, hierarchies: &Hierarchies) -> Result<Option<Vec<String>>> {
        let names = entries(&self.roots().run.join("active"));
        if names.is_empty() {
            return Ok(None);
        }
        let alive: HashSet<i32> = Cgroup::shims(hierarchies, &self.cgroup_parent())?;
        let mut by_shim: BTreeMap<i32, Vec<&str>> = BTreeMap::new();
        for name in &names {
            let (id, shim) = split(name);
            by_shim.entry(shim).or_default().push(id);
        }
        let (mut suspects, mut likely) = (Vec::new(), Vec::new());
        for (shim, ids) in by_shim {
            match ids.as_slice() {
                [id] if alive.contains(&shim) => likely.push((shim, *id)),
                // A number that two have was given to a new shim after the old one's death.
                _ => suspects.extend(ids.into_iter().map(str::to_owned)),
            }
        }
        // Its number may be another process's by now, an event's or a probe's, and one that was killed a moment ago has it
        // still: some are looked at more closely, other ones by each command.
        let first = std::process::id() as usize % likely.len().max(1);
        for (shim, id) in likely.iter().cycle().skip(first).take(likely.len().min(LOOKED_AT)) {
            // One that is about to write its first state is none of them.
            let state = self.state(id).ok().flatten();
            if state.is_some_and(|state| state.shim_pid == *shim && !state.is_served()) {
                suspects.push((*id).to_owned());
            }
        }
        Ok(Some(suspects))
    }

    fn mark(&self, name: &str) -> PathBuf {
        self.roots().run.join("active").join(name)
    }
}

fn name(id: &str, shim_pid: Option<i32>) -> String {
    match shim_pid {
        Some(pid) => format!("{id}{SEPARATOR}{pid}"),
        None => id.to_owned(),
    }
}

/// A mark's container, and the number of its shim; 0 where it has none.
fn split(name: &str) -> (&str, i32) {
    let (id, pid) = name.split_once(SEPARATOR).unwrap_or((name, ""));
    (id, pid.parse().unwrap_or(0))
}
