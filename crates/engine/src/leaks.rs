//! What the machine holds that no record accounts for: the oracle of every kill test. Looks, and changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use carrack_diag::Result;
use carrack_network::Networks;
use carrack_runtime::cgroup::{KEEPER, SHIMS};
use carrack_runtime::state::{FILE, State, Status, start_ticks_of};
use carrack_store::KeepKind;
use serde::Serialize;

use crate::container::ContainerRecord;
use crate::engine::{Engine, entries};

/// Something that is there and should not be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Leak {
    /// `mount`, `cgroup`, `network`, `process`, `file`, `name`, `keep`, `build step`, `deleted root`.
    pub kind: &'static str,
    /// Where, or which.
    pub name: String,
    /// Why it should not be.
    pub reason: String,
    /// What removes it.
    pub fix: String,
}

/// What puts away whatever is accounted for by no record: each command does before its own work.
const SWEPT: &str = "the next command that changes anything";

impl Engine {
    /// Compares the kernel and the files with the records.
    pub fn leaks(&self) -> Result<Vec<Leak>> {
        let records = self.records().list()?;
        let mut active = BTreeSet::new();
        for id in records.keys() {
            let state = self.state(id)?;
            let status = state.map_or(Status::Created, |state| state.actual_status());
            if matches!(status, Status::Running | Status::Paused | Status::Restarting) {
                active.insert(id.clone());
            }
        }
        let mut leaks = Vec::new();
        for (id, is_held) in carrack_solver::steps(&self.store) {
            if is_held {
                active.insert(id);
            } else {
                leaks.push(leak("build step", id, "its build is gone"));
            }
        }
        self.leaked_mounts(&mut leaks)?;
        self.leaked_cgroups(&active, &mut leaks)?;
        self.leaked_files(&records, &active, &mut leaks);
        self.leaked_names(&records, &mut leaks);
        for keep in self.store.keeps()? {
            if keep.kind == KeepKind::Container && !records.contains_key(&keep.owner) {
                leaks.push(leak("keep", keep.owner, "its container does not exist"));
            }
        }
        for network in Networks::new(&self.store).leaks(&|id| active.contains(id))? {
            leaks.push(leak("network", network.to_string(), "no network or running container has it"));
        }
        for orphan in Networks::new(&self.store).orphans()? {
            let (name, root) = (&orphan.table.name, orphan.root.display());
            let reason = format!("the data root {root} does not exist any more");
            leaks.push(leak("deleted root", name.clone(), reason).fixed_by(orphan.removal()));
        }
        self.leaked_processes(&active, &mut leaks);
        leaks.sort();
        Ok(leaks)
    }

    /// Containers mount in namespaces of their own: the host's has nothing of ours but layers that are in use.
    fn leaked_mounts(&self, leaks: &mut Vec<Leak>) -> Result<()> {
        let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let roots = [&self.roots().data, &self.roots().run];
        let idle = self.store.idle_layers()?;
        for target in table.lines().filter_map(|line| line.split(' ').nth(4)) {
            let path = Path::new(target);
            if self.store.is_layer(path) {
                if idle.iter().any(|layer| layer == path) {
                    let reason = "no container and no command has the layer";
                    leaks.push(leak("mount", target.to_owned(), reason));
                }
            } else if !self.is_volume_in_use(path)
                && roots.iter().any(|root| path.starts_with(root) && path != root.as_path())
            {
                // The roots themselves may be mounts.
                let reason = "nothing is mounted below a root in the host's namespace";
                leaks.push(leak("mount", target.to_owned(), reason).fixed_by(format!("umount {target}")));
            }
        }
        Ok(())
    }

    fn leaked_cgroups(&self, active: &BTreeSet<String>, leaks: &mut Vec<Leak>) -> Result<()> {
        let parent = self.cgroup_parent();
        for folder in self.hierarchies()?.folders(&parent) {
            for name in entries(&folder).into_iter().filter(|name| folder.join(name).is_dir()) {
                if !active.contains(&name) && ![SHIMS, KEEPER].contains(&name.as_str()) {
                    let path = folder.join(&name).to_string_lossy().into_owned();
                    let fix = format!("rmdir {path}");
                    leaks.push(leak("cgroup", path, "no running container has it").fixed_by(fix));
                }
            }
        }
        Ok(())
    }

    fn leaked_files(
        &self,
        records: &BTreeMap<String, ContainerRecord>,
        active: &BTreeSet<String>,
        leaks: &mut Vec<Leak>,
    ) {
        for (root, of_the_run) in [(&self.roots().data, false), (&self.roots().run, true)] {
            let folder = root.join("containers");
            for id in entries(&folder) {
                let path = folder.join(&id);
                if !records.contains_key(&id) {
                    let path = path.to_string_lossy().into_owned();
                    let fix = format!("rm -r {path}");
                    leaks.push(leak("file", path, "its container does not exist").fixed_by(fix));
                } else if of_the_run && !active.contains(&id) {
                    for name in entries(&path).into_iter().filter(|name| name != FILE) {
                        let file = path.join(name).to_string_lossy().into_owned();
                        let fix = format!("rm -r {file}");
                        leaks.push(leak("file", file, "its container does not run").fixed_by(fix));
                    }
                }
            }
        }
        for path in self.store.abandoned().unwrap_or_default() {
            let reason = "whoever was making it is gone";
            leaks.push(leak("file", path.to_string_lossy().into_owned(), reason));
        }
    }

    fn leaked_names(&self, records: &BTreeMap<String, ContainerRecord>, leaks: &mut Vec<Leak>) {
        let folder = self.roots().data.join("names");
        for name in entries(&folder) {
            let owner = std::fs::read_link(folder.join(&name)).unwrap_or_default();
            let owner = owner.to_string_lossy();
            if records.get(owner.as_ref()).is_none_or(|record| record.name != name) {
                let fix = format!("rm {}", folder.join(&name).display());
                leaks.push(leak("name", name, "no container has it").fixed_by(fix));
            }
        }
    }

    /// Processes in control groups of this root, and shims of it, whose container does not run.
    fn leaked_processes(&self, active: &BTreeSet<String>, leaks: &mut Vec<Leak>) {
        let tag = self.roots().tag();
        let run = self.roots().run.join("containers");
        for pid in entries(Path::new("/proc")).iter().filter_map(|name| name.parse::<i32>().ok()) {
            let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
            let groups = read("cgroup");
            // One that has ended and waits for its parent to notice holds nothing.
            if start_ticks_of(pid).is_none() {
                continue;
            }
            // Below the group of the root, whatever that is called on this host.
            let member = groups.lines().find_map(|line| {
                let mut names = line.split('/').skip_while(|name| !(name.contains("carrack") && name.contains(&tag)));
                names.nth(1).map(str::to_owned)
            });
            if let Some(id) = member.filter(|id| !active.contains(id) && ![SHIMS, KEEPER].contains(&id.as_str())) {
                let reason = format!("it is in the control group of {id}, which does not run");
                leaks.push(leak("process", pid.to_string(), reason).fixed_by(format!("kill -9 {pid}")));
            }
        }
        // A shim without its container's record can be known by the socket it serves.
        for id in entries(&run).into_iter().filter(|id| !active.contains(id)) {
            let shim = State::read(&run.join(&id)).ok().flatten().filter(State::has_shim);
            if let Some(state) = shim {
                let reason = format!("it is the shim of {id}, which does not run");
                let fix = format!("kill -9 {}", state.shim_pid);
                leaks.push(leak("process", state.shim_pid.to_string(), reason).fixed_by(fix));
            }
        }
    }
}

fn leak(kind: &'static str, name: String, reason: impl Into<String>) -> Leak {
    Leak { kind, name, reason: reason.into(), fix: SWEPT.to_owned() }
}

impl Leak {
    fn fixed_by(self, fix: impl Into<String>) -> Self {
        Self { fix: fix.into(), ..self }
    }
}
