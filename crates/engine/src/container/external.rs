//! Containers that another runtime makes: which program that is, and what is put away after it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use carrack_diag::{Diagnostic, Result};
use carrack_oci::runtime::Spec;
use carrack_runtime::cgroup::{Cgroup, Membership};
use carrack_specgen::External;

use super::ContainerRecord;
use super::exec::SPEC_FILE;
use crate::codes;
use crate::engine::{Engine, host_error};

/// Below a container's run folder: everything of the other runtime's.
const FOLDER: &str = "runtime";

/// Where administrators' programs are.
const FOLDERS: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// The program of an external runtime, by name or path; none is our own.
pub(super) fn found(runtime: Option<&str>) -> Result<Option<String>> {
    let Some(name) = runtime else { return Ok(None) };
    if name.starts_with('/') {
        return if is_program(Path::new(name)) { Ok(Some(name.to_owned())) } else { Err(missing(name, name)) };
    }
    on_path(name).map(Some).ok_or_else(|| {
        let folders: Vec<String> = folders().map(|folder| folder.display().to_string()).collect();
        missing(name, &folders.join(":"))
    })
}

/// Refuses a container by a runtime that is not here, before anything is made for it.
pub(crate) fn check_runtime(container: &carrack_specgen::Container) -> Result<()> {
    found(container.runtime.as_deref()).map(drop)
}

/// Refuses a start by a program that is gone, before anything is made for it.
pub(super) fn still_there(record: &ContainerRecord) -> Result<()> {
    match &record.runtime {
        Some(program) if !is_program(Path::new(program)) => Err(missing(program, program)),
        _ => Ok(()),
    }
}

/// A program by its name.
pub(crate) fn on_path(name: &str) -> Option<String> {
    let found = folders().map(|folder| folder.join(name)).find(|path| is_program(path));
    found.map(|path| path.to_string_lossy().into_owned())
}

/// The caller's path, then where administrators' programs are.
fn folders() -> impl Iterator<Item = PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = Vec::new();
    for folder in std::env::split_paths(&path).chain(FOLDERS.map(PathBuf::from)) {
        if folder.is_absolute() && !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    folders.into_iter()
}

fn is_program(path: &Path) -> bool {
    let is_file = path.metadata().is_ok_and(|status| status.is_file());
    is_file && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}

fn missing(name: &str, looked: &str) -> Box<Diagnostic> {
    Diagnostic::error(&codes::NO_RUNTIME, format!("there is no runtime {name}"))
        .cause(format!("no program was found in {looked}"))
        .hint("install it, name it by its path, or leave --runtime (`runtime:`) out: carrack needs no other runtime")
        .boxed()
}

/// How the runtime of a container is called, where it is not our own.
pub(super) fn of(record: &ContainerRecord, run: &Path, template: &Path) -> Option<External> {
    let text = |path: &Path| OsStr::to_string_lossy(path.as_os_str()).into_owned();
    Some(External {
        program: record.runtime.clone()?,
        id: record.id.clone(),
        folder: text(&run.join(FOLDER)),
        template: text(template),
    })
}

/// Has the runtime forget a container of its own. What it fails at is done without it, as far as it lies in the
/// container's control groups and run folder.
pub(super) fn forget(record: &ContainerRecord, run: &Path) {
    if let Some(external) = of(record, run, Path::new("")) {
        let _done_without_it = carrack_runtime::external::delete(&external);
    }
}

impl Engine {
    /// What a runtime took away with its container, for the next run in the same shim: control groups, and the limits that
    /// hold by now.
    pub(super) fn renew_ground(&self, record: &ContainerRecord, run: &Path) -> Result<()> {
        let path = run.join(SPEC_FILE);
        let failed = |error: &dyn std::fmt::Display| host_error(format!("can't renew {}", path.display()), error);
        let text = std::fs::read(&path).map_err(|error| failed(&error))?;
        let mut spec: Spec = serde_json::from_slice(&text).map_err(|error| failed(&error))?;
        let hierarchies = self.hierarchies()?;
        let wanted = carrack_specgen::resources(&record.container.resources, &hierarchies.facts())?;
        let before = spec.linux.resources.take().unwrap_or_default();
        let resources =
            carrack_oci::runtime::Resources { devices: before.devices, block_io: before.block_io, ..wanted };
        let parent = self.cgroup_parent_of(Some(&record.container));
        drop(Cgroup::create(hierarchies, &parent, &record.id, &resources, Membership::Needed)?);
        spec.linux.resources = Some(resources);
        let text = serde_json::to_vec(&spec).unwrap_or_default();
        std::fs::write(&path, text).map_err(|error| failed(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtime_is_found_by_name_or_path_and_else_told_where_it_is_not() {
        assert_eq!(found(None).unwrap(), None);
        assert_eq!(found(Some("/bin/sh")).unwrap(), Some("/bin/sh".into()));
        assert!(found(Some("sh")).unwrap().unwrap().ends_with("/sh"));
        for missing in ["no-such-runtime", "/no/such/runtime", "/etc", "/etc/passwd"] {
            let error = found(Some(missing)).unwrap_err();
            assert_eq!(error.code.id, "engine/no-runtime", "{missing}");
        }
        let error = found(Some("no-such-runtime")).unwrap_err();
        assert!(format!("{error}").contains("no-such-runtime"));
    }
}
