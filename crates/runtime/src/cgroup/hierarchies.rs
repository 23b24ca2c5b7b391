use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use carrack_diag::{Diagnostic, Result};
use carrack_specgen::facts;

use super::systemd::{self, Scope};
use crate::codes;

/// Where limits are set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// One hierarchy with every controller.
    V2,
    /// One hierarchy a controller, perhaps with a v2 without controllers beside them.
    V1,
}

/// The hierarchies of this host that we can see.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hierarchies {
    unified: Option<PathBuf>,
    /// Controller, or `name=…`, to mount point. Controllers mounted together share it.
    v1: BTreeMap<String, PathBuf>,
    /// Mount points of hierarchies in whose root the caller is not.
    left_by_caller: Vec<PathBuf>,
    /// Whether the v2 tree is systemd's.
    of_systemd: bool,
}

impl Hierarchies {
    /// Asks the kernel.
    pub fn detect() -> Result<Self> {
        let read = |path: &str| {
            // Room for all of it, so that one call reads it.
            let mut text = String::with_capacity(16 << 10);
            match fs::File::open(path).and_then(|mut file| file.read_to_string(&mut text)) {
                Ok(_) => Ok(text),
                Err(error) => {
                    Err(Diagnostic::error(&codes::CGROUP, format!("read {path}")).cause(error.to_string()).boxed())
                }
            }
        };
        let found = Self::parse(&read("/proc/self/mountinfo")?, &read("/proc/self/cgroup")?);
        let of_systemd = found.version() == Version::V2 && systemd::is_init();
        Ok(Self { of_systemd, ..found })
    }

    /// From the texts of `/proc/self/mountinfo` and `/proc/self/cgroup` (proc(5), cgroups(7)).
    fn parse(mounts: &str, memberships: &str) -> Self {
        let mut found = Self::default();
        for line in mounts.lines() {
            let Some((mount, file_system)) = line.split_once(" - ") else { continue };
            let Some(point) = mount.split(' ').nth(4) else { continue };
            let mut fields = file_system.split(' ');
            match fields.next() {
                Some("cgroup2") => found.unified = found.unified.or(Some(point.into())),
                Some("cgroup") => {
                    let options = fields.nth(1).unwrap_or("").split(',').filter(|option| is_controller(option));
                    for controller in options {
                        found.v1.entry(controller.to_owned()).or_insert_with(|| point.into());
                    }
                }
                _ => {}
            }
        }
        for line in memberships.lines() {
            let mut fields = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
            let mount = controllers.split(',').find_map(|controller| found.v1.get(controller));
            found.left_by_caller.extend(mount.filter(|_| path != "/").cloned());
        }
        found
    }

    /// The same host without its v2 hierarchy, for tests of the v1 paths.
    #[must_use]
    pub fn without_unified(mut self) -> Self {
        self.unified = None;
        self.of_systemd = false;
        self
    }

    /// What plans need to know of them.
    pub fn facts(&self) -> facts::Cgroups {
        match self.version() {
            Version::V2 => facts::Cgroups::V2,
            Version::V1 => {
                let mut hierarchies: Vec<facts::Hierarchy> = Vec::new();
                for mount in self.all_v1_mounts() {
                    let options = self.v1.iter().filter(|(_, point)| *point == mount).map(|(name, _)| name.clone());
                    hierarchies.push(facts::Hierarchy {
                        mountpoint: mount.to_string_lossy().into_owned(),
                        options: options.collect(),
                        is_always_joined: self.is_always_joined(mount),
                    });
                }
                facts::Cgroups::V1 { hierarchies }
            }
        }
    }

    /// Where limits are set on this host.
    pub fn version(&self) -> Version {
        if self.v1.is_empty() { Version::V2 } else { Version::V1 }
    }

    /// The folders of a group of this name, `carrack-TAG`, whether they are there or not.
    pub fn folders(&self, name: &str) -> Vec<PathBuf> {
        self.unified_folder(name).into_iter().chain(self.all_v1_mounts().map(|mount| mount.join(name))).collect()
    }

    /// Where a group of this name lies, from the mount point of its hierarchy on.
    pub fn path_of(&self, name: &str) -> PathBuf {
        match self.version() {
            Version::V2 => self.below_unified(name),
            Version::V1 => name.into(),
        }
    }

    /// The v2 folder of a group of this name.
    pub(super) fn unified_folder(&self, name: &str) -> Option<PathBuf> {
        self.unified().map(|mount| mount.join(self.below_unified(name)))
    }

    /// The same from the mount point on.
    pub(super) fn below_unified(&self, name: &str) -> PathBuf {
        match self.scope(name) {
            Some((scope, below)) if below.as_os_str().is_empty() => scope.folder(),
            Some((scope, below)) => scope.folder().join(below),
            None => name.into(),
        }
    }

    /// Where controllers are handed down from, and the name of what is below: systemd does it as far as its scope.
    pub(super) fn ground(&self, name: &str) -> Option<(PathBuf, PathBuf)> {
        let mount = self.unified()?;
        Some(match self.scope(name) {
            Some((scope, below)) => (mount.join(scope.folder()), below),
            None => (mount.to_owned(), name.into()),
        })
    }

    /// Makes sure that a group of this name can be made as long as what it returns lives.
    pub(super) fn prepare(&self, name: &str) -> Result<Option<OwnedFd>> {
        match (self.unified(), self.scope(name)) {
            (Some(mount), Some((scope, _))) => scope.ensure(mount).map(Some),
            _ if self.of_systemd => Err(Diagnostic::error(&codes::CGROUP, format!("make the control group {name}"))
                .cause("systemd is process 1 here: the parent has to be one of its slices, named as in `shop.slice`")
                .boxed()),
            _ => Ok(None),
        }
    }

    /// Whether empty parents are somebody else's to take away.
    pub(super) fn keeps_parents(&self) -> bool {
        self.of_systemd
    }

    /// Who hands control groups down, as Docker's `info` calls them.
    pub fn driver(&self) -> &'static str {
        if self.of_systemd { "systemd" } else { "cgroupfs" }
    }

    fn scope(&self, name: &str) -> Option<(Scope, PathBuf)> {
        Scope::of(name).filter(|_| self.of_systemd)
    }

    /// The controllers that limits can be set with.
    pub fn controllers(&self) -> BTreeSet<String> {
        let unified = self.unified().filter(|_| self.version() == Version::V2);
        let of_v2 = unified.and_then(|mount| fs::read_to_string(mount.join("cgroup.controllers")).ok());
        let of_v1 = self.v1.keys().filter(|name| !name.contains('=')).cloned();
        of_v1.chain(of_v2.unwrap_or_default().split_whitespace().map(str::to_owned)).collect()
    }

    /// Whether swap is counted beside memory, so that it can be limited.
    pub fn counts_swap(&self) -> bool {
        match self.version() {
            Version::V1 => {
                self.v1_mount("memory").is_some_and(|mount| mount.join("memory.memsw.limit_in_bytes").exists())
            }
            // The root has none of the files that groups have.
            Version::V2 => {
                let groups = self.unified().and_then(|mount| fs::read_dir(mount).ok()).into_iter().flatten().flatten();
                let groups: Vec<PathBuf> = groups.map(|entry| entry.path()).collect();
                let have = |file: &str| groups.iter().any(|group| group.join(file).exists());
                have("memory.swap.max") || !have("memory.max")
            }
        }
    }

    pub(crate) fn unified(&self) -> Option<&Path> {
        self.unified.as_deref()
    }

    pub(super) fn v1_mount(&self, controller: &str) -> Option<&Path> {
        self.v1.get(controller).map(PathBuf::as_path)
    }

    /// Each once.
    pub(super) fn all_v1_mounts(&self) -> impl Iterator<Item = &Path> {
        let mut mounts: Vec<&Path> = self.v1.values().map(PathBuf::as_path).collect();
        mounts.sort_unstable();
        mounts.dedup();
        mounts.into_iter()
    }

    /// Device rules and pauses are v1's where there is no v2.
    pub(super) fn is_always_joined(&self, mount: &Path) -> bool {
        let has = |controller: &str| self.v1_mount(controller) == Some(mount);
        self.left_by_caller.iter().any(|left| left == mount)
            || (self.unified.is_none() && (has("devices") || has("freezer")))
    }

    pub(super) fn v1_mounts_left_by_caller(&self) -> impl Iterator<Item = PathBuf> {
        self.left_by_caller.iter().cloned()
    }
}

fn is_controller(option: &str) -> bool {
    const OTHER: &[&str] =
        &["rw", "ro", "xattr", "noprefix", "clone_children", "cpuset_v2_mode", "favordynmods", "none"];
    !OTHER.contains(&option) && !option.starts_with("release_agent=")
}

#[cfg(test)]
mod tests {
    use super::{Hierarchies, Version};

    const HYBRID: &str = "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
                          35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
                          36 31 0:33 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
                          41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n\
                          42 31 0:39 / /proc rw - proc proc rw\n";

    #[test]
    fn a_hybrid_host() {
        let found =
            Hierarchies::parse(HYBRID, "3:cpu,cpuacct:/\n2:memory:/user/1\n1:name=systemd:/init.scope\n0::/x\n");
        assert_eq!(found.version(), Version::V1);
        assert_eq!(found.unified(), Some("/sys/fs/cgroup/unified".as_ref()));
        assert_eq!(found.v1_mount("cpuacct"), Some("/sys/fs/cgroup/cpu,cpuacct".as_ref()));
        assert_eq!(found.v1_mount("pids"), None);
        assert_eq!(found.all_v1_mounts().count(), 3);
        let left: Vec<_> = found.v1_mounts_left_by_caller().collect();
        assert_eq!(left, ["/sys/fs/cgroup/memory", "/sys/fs/cgroup/systemd"].map(std::path::PathBuf::from));
    }

    #[test]
    fn a_v2_host() {
        let found =
            Hierarchies::parse("30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n", "0::/user.slice\n");
        assert_eq!((found.version(), found.unified()), (Version::V2, Some("/sys/fs/cgroup".as_ref())));
    }
}
