//! Control groups of containers: one folder a container in each hierarchy that it needs.
//!
//! A v2 hierarchy, also an empty one beside v1, is where a container is born, frozen and killed and where its device
//! rules are; v1 hierarchies are joined for limits, for device rules where there is no v2, and where the caller is not in
//! the root, so that nothing done to the caller's group reaches the container.

mod block_io;
mod devices;
mod hierarchies;
mod limits;
mod shims;
mod stats;
pub(crate) mod systemd;

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use carrack_diag::{Diagnostic, Result};
use carrack_oci::runtime::{Resources, Spec};

use crate::codes;
pub use hierarchies::{Hierarchies, Version};
pub use shims::SHIMS;
/// Name of the group beside those of containers in which a process keeps the scope that they are in.
pub const KEEPER: &str = systemd::KEEPER;
pub use stats::{Limits, Stats};

/// How long a killed container may take to leave its control groups; a process in the kernel can't be hurried.
const EMPTY_TIMEOUT: Duration = Duration::from_secs(10);

/// Which v1 hierarchies a container joins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Membership {
    /// Those of its limits and those that every container is in.
    Needed,
    /// Each ([`carrack_specgen::joins_every_hierarchy`]).
    Every,
}

impl Membership {
    /// What a container of this specification needs.
    pub fn of(spec: &Spec) -> Self {
        if carrack_specgen::joins_every_hierarchy(spec) { Self::Every } else { Self::Needed }
    }
}

/// The control groups of one container.
#[derive(Debug)]
pub struct Cgroup {
    hierarchies: Hierarchies,
    /// `carrack-TAG/ID`, the same in each hierarchy.
    name: String,
    /// The v2 folder.
    unified: Option<OwnedFd>,
    /// `tasks` of v1 folders that a process joins.
    joined: Vec<OwnedFd>,
    /// Folders that nobody may remove meanwhile.
    held: Vec<OwnedFd>,
}

impl Cgroup {
    /// Makes the folders of `parent/id`, with device rules always and limits where they are set. What a former container
    /// of that id left is used again.
    pub fn create(
        hierarchies: &Hierarchies,
        parent: &str,
        id: &str,
        resources: &Resources,
        membership: Membership,
    ) -> Result<Self> {
        let mut cgroup = Self::unopened(hierarchies, parent, id);
        cgroup.make_unified(resources)?;
        cgroup.make_v1(resources, membership)?;
        Ok(cgroup)
    }

    /// The folders of `parent/id` as they are.
    pub fn open(hierarchies: &Hierarchies, parent: &str, id: &str) -> Result<Self> {
        let mut cgroup = Self::unopened(hierarchies, parent, id);
        // One that is taken away meanwhile is as good as one that was not there.
        let opened = |folder: PathBuf, opened: Result<OwnedFd>| match opened {
            Err(_) if !folder.exists() => Ok(None),
            opened => opened.map(Some),
        };
        if let Some(folder) = cgroup.unified_folder().filter(|folder| folder.exists()) {
            let descriptor = open_folder(&folder);
            cgroup.unified = opened(folder, descriptor)?;
        }
        for folder in cgroup.v1_folders() {
            let descriptor = open_tasks(&folder);
            cgroup.joined.extend(opened(folder, descriptor)?);
        }
        Ok(cgroup)
    }

    fn unopened(hierarchies: &Hierarchies, parent: &str, id: &str) -> Self {
        let name = format!("{parent}/{id}");
        Self { hierarchies: hierarchies.clone(), name, unified: None, joined: Vec::new(), held: Vec::new() }
    }

    /// A group within this one, made where there is none yet; none where the host has no v2 hierarchy.
    pub(crate) fn below(&self, name: &str) -> Result<Option<Self>> {
        let mut group = Self::unopened(&self.hierarchies, &self.name, name);
        let Some(folder) = group.unified_folder().filter(|_| self.unified.is_some()) else { return Ok(None) };
        make_folder(&folder)?;
        group.unified = Some(open_folder(&folder)?);
        // v1 knows no reason for another group: the container's limits hold.
        for folder in self.v1_folders() {
            group.joined.push(open_tasks(&folder)?);
        }
        Ok(Some(group))
    }

    /// Takes a group made by [`Self::below`] away, unless somebody is in it.
    pub(crate) fn remove_where_empty(self) {
        if let Some(folder) = self.unified_folder() {
            let _occupied = fs::remove_dir(folder);
        }
    }

    /// The v2 folder that a process can be born into.
    pub(crate) fn born_into(&self) -> Option<BorrowedFd<'_>> {
        self.unified.as_ref().map(AsFd::as_fd)
    }

    /// The files that a process of one thread must write `0` to: v1's.
    pub(crate) fn joined_by_writing(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.joined.iter().map(AsFd::as_fd)
    }

    fn make_unified(&mut self, resources: &Resources) -> Result<()> {
        let Some(folder) = self.unified_folder() else { return Ok(()) };
        self.held.extend(self.hierarchies.prepare(&self.name)?);
        if self.hierarchies.version() == Version::V2 {
            limits::delegate(&self.hierarchies, &self.name, resources)?;
        }
        make_folder(&folder)?;
        let descriptor = open_folder(&folder)?;
        if let Err(errno) = devices::attach(&descriptor, &resources.devices) {
            // A kernel without BPF for control groups: v1's controller does it, where there is one.
            if self.hierarchies.v1_mount("devices").is_none() {
                return Err(failed("attach the device rules", &folder, &errno.into()).boxed());
            }
        }
        if self.hierarchies.version() == Version::V2 {
            limits::write_v2(&folder, resources)?;
        }
        self.unified = Some(descriptor);
        Ok(())
    }

    fn make_v1(&mut self, resources: &Resources, membership: Membership) -> Result<()> {
        let limited: Vec<&Path> = limits::controllers(resources)
            .into_iter()
            .filter_map(|controller| self.hierarchies.v1_mount(controller))
            .collect();
        let is_joined = |mount: &&Path| {
            membership == Membership::Every || limited.contains(mount) || self.hierarchies.is_always_joined(mount)
        };
        let mounts: Vec<PathBuf> = self.hierarchies.all_v1_mounts().filter(is_joined).map(Path::to_owned).collect();
        for mount in mounts {
            let folder = mount.join(&self.name);
            limits::prepare_cpuset(&mount, &self.name)?;
            make_folder(&folder)?;
            limits::write_v1(&folder, resources)?;
            if self.unified.is_none() && folder.join("devices.deny").exists() {
                devices::write_v1(&folder, &resources.devices)?;
            }
            self.joined.push(open_tasks(&folder)?);
        }
        Ok(())
    }

    /// Changes the limits of a running container, which joins controllers that it was not in: whether there was one.
    pub fn update(&mut self, resources: &Resources) -> Result<bool> {
        if let Some(folder) = self.unified_folder().filter(|_| self.hierarchies.version() == Version::V2) {
            limits::delegate(&self.hierarchies, &self.name, resources)?;
            return limits::write_v2(&folder, resources).map(|()| false);
        }
        let mut has_joined = false;
        for controller in limits::controllers(resources) {
            let Some(mount) = self.hierarchies.v1_mount(controller) else { continue };
            let folder = mount.join(&self.name);
            has_joined |= !folder.exists();
            limits::prepare_cpuset(mount, &self.name)?;
            make_folder(&folder)?;
            limits::write_v1(&folder, resources)?;
            // Also where the folder was there before: an update that failed may have made it.
            self.move_all(&folder)?;
        }
        Ok(has_joined)
    }

    /// Moves every process into another folder of the container's. What is born meanwhile of one that was moved is there
    /// already; of another, it is found by the next look.
    fn move_all(&self, folder: &Path) -> Result<()> {
        let deadline = Instant::now() + EMPTY_TIMEOUT;
        loop {
            let mut there = Vec::new();
            collect_processes(folder, &mut there).map_err(|error| failed("list the processes of", folder, &error))?;
            let mut missing = self.processes()?;
            missing.retain(|process| !there.contains(process));
            if missing.is_empty() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(timed_out("move every process into", folder).boxed());
            }
            for process in missing {
                let _gone_meanwhile = fs::write(folder.join("cgroup.procs"), process.to_string());
            }
        }
    }

    /// Takes a process into every folder that there is, also where another runtime has left it out.
    pub(crate) fn take_in(&self, process: i32) -> Result<()> {
        for folder in self.folders() {
            write(&folder, "cgroup.procs", &process.to_string())?;
        }
        Ok(())
    }

    /// The numbers of its processes in our process namespace.
    pub fn processes(&self) -> Result<Vec<i32>> {
        let mut numbers = Vec::new();
        for folder in self.folders() {
            collect_processes(&folder, &mut numbers)
                .map_err(|error| failed("list the processes of", &folder, &error))?;
        }
        numbers.sort_unstable();
        numbers.dedup();
        Ok(numbers)
    }

    /// Stops every process where it is, or lets them go on. A group that goes away meanwhile has none left to go on.
    pub fn freeze(&self, frozen: bool) -> Result<()> {
        if let Some(folder) = self.unified_folder() {
            let written = write(&folder, "cgroup.freeze", if frozen { "1" } else { "0" });
            if !frozen && !folder.exists() {
                return Ok(());
            }
            written?;
            let state = format!("frozen {}", u8::from(frozen));
            let settled = || read(&folder, "cgroup.events").is_none_or(|events| events.contains(&state));
            return await_condition(settled).then_some(()).ok_or_else(|| timed_out("freeze", &folder).boxed());
        }
        let Some(mount) = self.hierarchies.v1_mount("freezer") else {
            return Err(Diagnostic::error(&codes::CGROUP, format!("pause {}", self.name))
                .cause("the host has neither a v2 hierarchy nor a v1 freezer")
                .boxed());
        };
        let folder = mount.join(&self.name);
        let state = if frozen { "FROZEN" } else { "THAWED" };
        write(&folder, "freezer.state", state)?;
        await_condition(|| read(&folder, "freezer.state").is_none_or(|now| now.trim() == state))
            .then_some(())
            .ok_or_else(|| timed_out("freeze", &folder).boxed())
    }

    /// Whether every process was stopped where it is.
    pub fn is_frozen(&self) -> bool {
        if let Some(folder) = self.unified_folder() {
            return read(&folder, "cgroup.events").is_some_and(|events| events.contains("frozen 1"));
        }
        let Some(mount) = self.hierarchies.v1_mount("freezer") else { return false };
        read(&mount.join(&self.name), "freezer.state").is_some_and(|state| state.trim() == "FROZEN")
    }

    /// Kills every process, those that it starts meanwhile included, and waits until none is left.
    ///
    /// Not by `cgroup.kill`, after which newer kernels let nothing be born into the group any more (`init::spawn`).
    pub fn kill(&self) -> Result<()> {
        let v1_freezer = || self.hierarchies.v1_mount("freezer").is_some_and(|mount| mount.join(&self.name).exists());
        let can_freeze = self.unified_folder().map_or_else(v1_freezer, |folder| folder.exists());
        let deadline = Instant::now() + EMPTY_TIMEOUT;
        let mut pause = Duration::from_micros(50);
        loop {
            // Frozen, it starts no new ones between listing and killing; one stuck in the kernel does not freeze, nor start any.
            if can_freeze {
                let _stuck = self.freeze(true);
            }
            let processes = self.processes()?;
            for process in processes.iter().filter_map(|number| rustix::process::Pid::from_raw(*number)) {
                let _gone_meanwhile = rustix::process::kill_process(process, rustix::process::Signal::KILL);
            }
            if can_freeze {
                let _stuck = self.freeze(false);
            }
            if processes.is_empty() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(timed_out("kill", Path::new(&self.name)).boxed());
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }

    /// Takes the folders away, those that the container made in its own included. They must be empty of processes; what
    /// is not there is as good as removed.
    pub fn remove(self) -> Result<()> {
        for folder in self.folders() {
            let mut outcome = remove_tree(&folder);
            // A process that was waited for leaves a moment later.
            let gone = await_condition(|| {
                let busy = outcome.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::ResourceBusy);
                if busy {
                    outcome = remove_tree(&folder);
                }
                !busy
            });
            if !gone || outcome.is_err() {
                let error = outcome.err().unwrap_or_else(|| io::ErrorKind::TimedOut.into());
                return Err(failed("remove the control group", &folder, &error).boxed());
            }
            // The parent goes with its last container.
            if !self.hierarchies.keeps_parents() {
                let _others = folder.parent().map(fs::remove_dir);
            }
        }
        Ok(())
    }

    fn unified_folder(&self) -> Option<PathBuf> {
        self.hierarchies.unified_folder(&self.name)
    }

    fn v1_folders(&self) -> Vec<PathBuf> {
        let folders = self.hierarchies.all_v1_mounts().map(|mount| mount.join(&self.name));
        folders.filter(|folder| folder.exists()).collect()
    }

    /// All that exist.
    fn folders(&self) -> Vec<PathBuf> {
        let mut folders = self.v1_folders();
        folders.extend(self.unified_folder().filter(|folder| folder.exists()));
        folders
    }
}

fn make_folder(folder: &Path) -> Result<()> {
    match until_it_stays(|| fs::create_dir_all(folder)) {
        Ok(()) => Ok(()),
        Err(error) => Err(failed("make the control group", folder, &error).boxed()),
    }
}

/// More races in a row are no accident.
const RACES_MAX: u32 = 16;

/// The last other container may take the parent away between its making and ours, and the folder itself between the
/// kernel's word that it exists and a look at it.
fn until_it_stays(mut make: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    let is_race = |error: &io::Error| matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists);
    let mut made = make();
    for _ in 0..RACES_MAX {
        if made.as_ref().is_err_and(is_race) {
            made = make();
        }
    }
    made
}

fn open_folder(folder: &Path) -> Result<OwnedFd> {
    match fs::File::open(folder) {
        Ok(file) => Ok(file.into()),
        Err(error) => Err(failed("open the control group", folder, &error).boxed()),
    }
}

/// The file by which a process joins the group behind a descriptor of its folder.
pub(crate) fn processes_of(folder: BorrowedFd<'_>) -> rustix::io::Result<OwnedFd> {
    use rustix::fs::{Mode, OFlags};
    rustix::fs::openat(folder, "cgroup.procs", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
}

/// The file by which the only thread of a process joins a v1 group. By `cgroup.procs` it would wait for a grace period of
/// RCU, 10 to 20 ms: that one moves whole processes, and stops every fork and exit on the host for it.
fn open_tasks(folder: &Path) -> Result<OwnedFd> {
    match fs::OpenOptions::new().write(true).open(folder.join("tasks")) {
        Ok(file) => Ok(file.into()),
        Err(error) => Err(failed("open the control group", folder, &error).boxed()),
    }
}

fn write(folder: &Path, file: &str, value: &str) -> Result<()> {
    let path = folder.join(file);
    match fs::write(&path, value) {
        Ok(()) => Ok(()),
        Err(error) => Err(failed(&format!("write {value:?} to"), &path, &error).boxed()),
    }
}

fn read(folder: &Path, file: &str) -> Option<String> {
    fs::read_to_string(folder.join(file)).ok()
}

fn failed(attempt: &str, path: &Path, error: &io::Error) -> Diagnostic {
    Diagnostic::error(&codes::CGROUP, format!("{attempt} {}", path.display())).cause(error.to_string())
}

fn timed_out(attempt: &str, path: &Path) -> Diagnostic {
    Diagnostic::error(&codes::CGROUP, format!("{attempt} {}", path.display()))
        .cause(format!("its processes did not follow within {} s", EMPTY_TIMEOUT.as_secs()))
}

/// Polls with growing pauses: what is awaited takes micro- or milliseconds and v1 announces none of it.
fn await_condition(mut holds: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + EMPTY_TIMEOUT;
    let mut pause = Duration::from_micros(50);
    while !holds() {
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
    true
}

fn collect_processes(folder: &Path, numbers: &mut Vec<i32>) -> io::Result<()> {
    let text = fs::read_to_string(folder.join("cgroup.procs"))?;
    numbers.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            match collect_processes(&entry.path(), numbers) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                collected => collected?,
            }
        }
    }
    Ok(())
}

fn remove_tree(folder: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    match fs::remove_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How it ends where the kernel answers so, one after the other, and how often it was asked.
    fn ended(answers: &[Option<io::ErrorKind>]) -> (Option<io::ErrorKind>, usize) {
        let mut asked = 0;
        let made = until_it_stays(|| {
            let answer = answers[asked.min(answers.len() - 1)];
            asked += 1;
            answer.map_or(Ok(()), |kind| Err(kind.into()))
        });
        (made.err().map(|error| error.kind()), asked)
    }

    #[test]
    fn a_folder_that_is_taken_away_is_made_again() {
        use io::ErrorKind::{AlreadyExists, NotFound, PermissionDenied};
        assert_eq!(ended(&[None]), (None, 1));
        assert_eq!(ended(&[Some(NotFound), Some(AlreadyExists), None]), (None, 3));
        assert_eq!(ended(&[Some(PermissionDenied)]), (Some(PermissionDenied), 1));
        assert_eq!(ended(&[Some(NotFound), Some(PermissionDenied)]), (Some(PermissionDenied), 2));
        assert_eq!(ended(&[Some(AlreadyExists)]), (Some(AlreadyExists), 1 + RACES_MAX as usize));
    }
}
