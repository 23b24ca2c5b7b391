use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use carrack_diag::{Diagnostic, Result};
use carrack_runtime::cgroup::Cgroup;
use carrack_runtime::shim::{AttachEnd, AttachOptions, Client};
use carrack_runtime::state::{State, Status};
use carrack_specgen::container::RestartPolicy;
use carrack_store::Lock;
use carrack_sys::process::send_signal;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::{ContainerRecord, event};
use crate::codes;
use crate::engine::{Engine, host_error};
use crate::signal;

/// What Docker gives a program between the stop signal and SIGKILL.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the kernel and the shim may take once a program was killed.
const DEATH_TIMEOUT: Duration = Duration::from_secs(30);

/// How a container is stopped.
#[derive(Debug, Clone, Default)]
pub struct StopOptions {
    /// Name or number; none is the container's own, else SIGTERM.
    pub signal: Option<String>,
    /// Between the signal and SIGKILL; none is the container's own, else 10,000.
    pub timeout_ms: Option<u64>,
}

impl Engine {
    /// Stops a container. One that does not run is stopped already.
    pub fn stop(&self, name: &str, options: &StopOptions) -> Result<()> {
        self.stop_record(&self.find(name)?, options)
    }

    /// Stops a container and starts it; one with `--rm` stays the same meanwhile, as in Docker.
    pub fn restart(&self, name: &str, options: &StopOptions) -> Result<()> {
        let record = self.find(name)?;
        self.stop_and(&record, options, event::TO_COME_BACK)?;
        self.start_record(&record)?;
        self.emit(&record, "restart", &[]);
        Ok(())
    }

    pub(crate) fn stop_record(&self, record: &ContainerRecord, options: &StopOptions) -> Result<()> {
        self.stop_and(record, options, b"")
    }

    pub(crate) fn stop_and(&self, record: &ContainerRecord, options: &StopOptions, intent: &[u8]) -> Result<()> {
        let signal = self.stop_signal(record, options.signal.as_deref())?;
        let Some(target) = self.intend_stop(record, intent)? else { return Ok(()) };
        let timeout = options.timeout_ms.or(record.container.stop_timeout_ms).map(Duration::from_millis);
        self.signal(record, &target, signal)?;
        self.thaw(record)?;
        if !target.wait(timeout.unwrap_or(STOP_TIMEOUT))? {
            self.kill_all(record, &target)?;
        }
        self.settle_end(record, &target)?;
        self.emit(record, "stop", &[]);
        Ok(())
    }

    fn stop_signal(&self, record: &ContainerRecord, given: Option<&str>) -> Result<i32> {
        let config = self.image_config(record);
        let name = given.or(record.container.stop_signal.as_deref()).or(config.stop_signal.as_deref());
        name.map_or(Ok(signal::TERM), signal::parse)
    }

    /// Ends the program of a container on behalf of its shim, which sees to what follows and is not waited for.
    pub(crate) fn end_for_shim(&self, record: &ContainerRecord, target: &Target, at_once: bool) -> Result<()> {
        if !at_once {
            target.signal(self.stop_signal(record, None)?)?;
            let timeout = record.container.stop_timeout_ms.map_or(STOP_TIMEOUT, Duration::from_millis);
            if target.wait(timeout)? {
                return Ok(());
            }
        }
        self.kill_all(record, target)
    }

    /// Sends a signal to a container's first process. SIGKILL and its own stop signal are also a wish that it stays down.
    pub fn kill(&self, name: &str, signal: &str) -> Result<()> {
        let record = self.find(name)?;
        let signal = signal::parse(signal)?;
        if signal != signal::KILL {
            let is_stop = signal == self.stop_signal(&record, None)?;
            let target = if is_stop {
                self.intend_stop(&record, b"")?
            } else {
                self.state(&record.id)?.and_then(|state| Target::of(&state))
            };
            let target = target.filter(|target| target.program.is_some());
            self.signal(&record, &target.ok_or_else(|| not_running(&record))?, signal)?;
            // As in Docker: a program that was told what ends it, as far as anybody said, is not to sleep over it.
            let names_another = record.container.stop_signal.is_some() && !is_stop;
            return if names_another { Ok(()) } else { self.thaw(&record) };
        }
        let target = self.intend_stop(&record, b"")?.ok_or_else(|| not_running(&record))?;
        self.kill_all(&record, &target)?;
        self.settle_end(&record, &target)
    }

    /// The end of a container that its caller removes next, and so puts away: the shim need not have it done by a process
    /// of its own.
    pub(crate) fn kill_to_remove(&self, record: &ContainerRecord) -> Result<()> {
        let Some(target) = self.intend_stop(record, b"")? else { return Ok(()) };
        let folder = self.store.container_run_dir(&record.id)?;
        let options = AttachOptions { puts_away: true, ..AttachOptions::default() };
        let attached = Client::connect(&folder).and_then(|client| client.attach(options));
        self.kill_all(record, &target)?;
        match attached.map(|attached| attached.wait_at_most(DEATH_TIMEOUT)) {
            Ok(AttachEnd::Exited(_)) => Ok(()),
            _ => self.settle_end(record, &target),
        }
    }

    /// The end of a container in one go.
    pub(crate) fn kill_record(&self, record: &ContainerRecord) -> Result<()> {
        let Some(target) = self.intend_stop(record, b"")? else { return Ok(()) };
        self.kill_all(record, &target)?;
        self.settle_end(record, &target)
    }

    /// Writes down that the end is wanted, before anything is done about it, so that no restart races the stop.
    /// None where nothing runs and nothing is about to.
    pub(crate) fn intend_stop(&self, record: &ContainerRecord, intent: &[u8]) -> Result<Option<Target>> {
        let _guard = self.lock_container(&record.id)?;
        let Some(state) = self.state(&record.id)? else { return Ok(None) };
        let status = state.actual_status();
        // One that has just ended may be started again before anybody hears of the wish.
        let may_come_back = status == Status::Restarting
            || (status == Status::Exited && state.has_shim() && record.container.restart != RestartPolicy::No);
        match status {
            Status::Running | Status::Paused => {}
            _ if may_come_back => {}
            Status::Lost => {
                self.tear_down(record)?;
                return Ok(None);
            }
            Status::Created | Status::Exited | Status::Restarting => return Ok(None),
        }
        let folder = self.store.container_dir(&record.id)?;
        std::fs::write(folder.join(event::STOP_INTENT), intent)
            .map_err(|error| host_error("can't write down that the container is to stop", error))?;
        if may_come_back {
            // Nobody is to wait for the end of a back-off only to be told that it is off.
            self.dismiss_shim(&record.id, &state)?;
            self.tear_down(record)?;
            return Ok(Some(Target::default()));
        }
        Ok(Some(Target::of(&state).unwrap_or_default()))
    }

    /// Waits until the shim of a container whose program has ended is gone, and with it its hold on ports and addresses,
    /// without waiting for what it still means to do. The caller holds the container's lock.
    pub(crate) fn dismiss_shim(&self, id: &str, state: &State) -> Result<()> {
        let Some(Target { shim: Some(shim), .. }) = Target::of(state) else { return Ok(()) };
        if !self.forget_restart(id)? {
            // Nobody hears from it any more; how its program ended is on disk.
            let _ = pidfd_send_signal(&shim, Signal::KILL);
        }
        if wait_for_end(Some(&shim), DEATH_TIMEOUT)? {
            Cgroup::remove_shims(self.hierarchies()?, &self.cgroup_parent());
            return Ok(());
        }
        Err(host_error(format!("the shim of {id} does not end"), "it is still at work for its last run"))
    }

    /// Waits for the end of a shim that was killed; false where it takes too long.
    pub(crate) fn wait_for_shim(&self, state: &State) -> Result<bool> {
        match Target::of(state) {
            Some(Target { shim, .. }) => wait_for_end(shim.as_ref(), DEATH_TIMEOUT),
            None => Ok(true),
        }
    }

    /// Has the shim of a container whose program has ended end as well, whatever it waits for; false where there is none
    /// to be reached.
    pub(crate) fn forget_restart(&self, id: &str) -> Result<bool> {
        let folder = self.store.container_run_dir(id)?;
        let Ok(mut shim) = Client::connect(&folder) else { return Ok(false) };
        match shim.shutdown() {
            Ok(()) => Ok(true),
            Err(error) if Client::connect(&folder).is_ok() => Err(error),
            Err(_) => Ok(false),
        }
    }

    /// Kills every process of the container at once, so that none is left to start others.
    fn kill_all(&self, record: &ContainerRecord, target: &Target) -> Result<()> {
        self.signal(record, target, signal::KILL)?;
        // A frozen process of a v1 hierarchy does not even die.
        self.thaw(record)?;
        if !target.wait(DEATH_TIMEOUT)? {
            return Err(host_error(
                format!("{} does not die", record.name),
                "a process of it is in the kernel and can't be interrupted",
            ));
        }
        Ok(())
    }

    /// Told before it is sent, so that it stands before what comes of it.
    fn signal(&self, record: &ContainerRecord, target: &Target, signal: i32) -> Result<()> {
        if target.program.is_some() {
            self.emit(record, "kill", &[("signal", signal.to_string())]);
        }
        target.signal(signal)
    }

    /// Waits until the shim has written the end down and everything that the container held is given back.
    fn settle_end(&self, record: &ContainerRecord, target: &Target) -> Result<()> {
        if target.shim.is_some() && wait_for_end(target.shim.as_ref(), DEATH_TIMEOUT)? {
            Cgroup::remove_shims(self.hierarchies()?, &self.cgroup_parent());
            // One that was killed has put nothing away.
            let was_seen = |state: State| !matches!(state.status, Status::Running | Status::Paused);
            if self.state(&record.id)?.is_none_or(was_seen) {
                return Ok(());
            }
        }
        let _guard = self.lock_container(&record.id)?;
        match self.records().get(&record.id)? {
            Some(_) => self.tear_down(record),
            None => self.store.forget_lock(&Lock::Container(record.id.clone())),
        }
    }

    /// Waits until what a container held is given back, once its program has ended: the shim ends last.
    pub(crate) fn wait_until_put_away(&self, record: &ContainerRecord) -> Result<()> {
        let target = self.state(&record.id)?.and_then(|state| Target::of(&state));
        self.settle_end(record, &target.unwrap_or_default())
    }

    /// Waits for the end of a container and returns its exit code.
    pub fn wait(&self, name: &str) -> Result<i32> {
        let record = self.find(name)?;
        let state = self.state(&record.id)?;
        let is_active = |status| matches!(status, Status::Running | Status::Paused);
        if state.as_ref().is_some_and(|state| is_active(state.actual_status()))
            && let Ok(shim) = Client::connect(&self.store.container_run_dir(&record.id)?)
            // From the shim itself: of a container with `--rm` nothing else tells for long.
            && let Ok(Some(status)) = shim.wait()
        {
            return Ok(status);
        }
        let last = state.and_then(|state| state.exit_code);
        let ended = self.wait_for_state(&record.id, None, |state| match state {
            None => Some(last.unwrap_or(0)),
            Some(state) if is_active(state.actual_status()) => None,
            Some(state) => Some(state.last_exit_code()),
        })?;
        Ok(ended.unwrap_or(0))
    }
}

pub(crate) fn not_running(record: &ContainerRecord) -> Box<Diagnostic> {
    Diagnostic::error(&codes::NOT_RUNNING, format!("{} is not running", record.name))
        .hint(format!("start it with `carrack start {}`", record.name))
        .boxed()
}

/// The processes of a running container, held so that no other can take their number.
#[derive(Debug, Default)]
pub(crate) struct Target {
    program: Option<OwnedFd>,
    shim: Option<OwnedFd>,
}

impl Target {
    /// None where neither lives.
    pub(crate) fn of(state: &State) -> Option<Self> {
        // The start times are looked at after the descriptor is held: then the number can't change hands any more.
        let hold = |pid: i32, lives: &dyn Fn() -> bool| {
            let fd = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
            lives().then_some(fd)
        };
        let program = hold(state.pid, &|| state.is_alive());
        let shim = hold(state.shim_pid, &|| state.has_shim());
        (program.is_some() || shim.is_some()).then_some(Self { program, shim })
    }

    fn signal(&self, signal: i32) -> Result<()> {
        let Some(program) = &self.program else { return Ok(()) };
        match send_signal(program, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(host_error("can't send a signal to the container", error)),
        }
    }

    fn wait(&self, timeout: Duration) -> Result<bool> {
        wait_for_end(self.program.as_ref(), timeout)
    }
}

/// Whether the process ended in time. Nobody has ended already.
fn wait_for_end(process: Option<&OwnedFd>, timeout: Duration) -> Result<bool> {
    let Some(process) = process else { return Ok(true) };
    // None is beyond what the clock can count: for ever.
    let deadline = Instant::now().checked_add(timeout);
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let left = left.map(|left| Timespec {
            tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        });
        match poll(&mut [PollFd::new(process, PollFlags::IN)], left.as_ref()) {
            Ok(ready) => return Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(host_error("can't wait for the container's end", error)),
        }
    }
}
