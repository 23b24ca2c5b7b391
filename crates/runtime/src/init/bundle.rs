//! The bundle of a container that another runtime makes: what the engine decided, and what only a look into the
//! container's root and at the spawner tells.

use carrack_oci::runtime::Spec;
use carrack_specgen::external;
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::process::Signal;

use super::interpret::{Done, Failure, State};

pub(super) fn write(state: &State, template: &str, folder: &str, network: Option<&str>) -> Done {
    // A runtime whose caller is gone would make a container that nobody knows of. It keeps this over execve, and what it
    // makes does not inherit it. A spawner that is gone already is found out by the report that comes next.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // It makes its own files by it.
    rustix::process::umask(Mode::from_raw_mode(0o022));
    let failed =
        |path: &str, error: &std::io::Error| Failure::new(Errno::from_io_error(error).unwrap_or(Errno::IO), path);
    let text = std::fs::read(template).map_err(|error| failed(template, &error))?;
    let mut spec: Spec =
        serde_json::from_slice(&text).map_err(|error| Failure::new(Errno::INVAL, format!("{template}: {error}")))?;
    external::identify(&mut spec, &state.identity);
    if let Some(path) = network {
        external::join_network(&mut spec, path);
    }
    let path = format!("{folder}/config.json");
    let text = serde_json::to_vec(&spec).map_err(|error| Failure::new(Errno::INVAL, error.to_string()))?;
    std::fs::write(&path, text).map_err(|error| failed(&path, &error))
}
