//! The container's program: its start, its end, its health.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use carrack_specgen::{External, InitPlan, InitStep};
use carrack_sys::process;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};

use super::{RLIMIT_NOFILE, Shim, complain, since_boot_ns};
use crate::cgroup::Cgroup;
use crate::external;
use crate::init::{self, SpawnRequest};
use crate::shim::StartError;
use crate::shim::event_process::Kind;
use crate::shim::health::Monitor;
use crate::shim::poll::Token;
use crate::shim::probe;
use crate::shim::stdio::{Ends, Stream};
use crate::state::{HealthStatus, Probe, State, Status, start_ticks_of, status_of_zombie};
use crate::time::{now_ns, rfc3339_nano};

/// Of `/proc/PID/stat`: the kernel's USER_HZ, the same on all architectures of ours.
const TICK_NS: u64 = 10_000_000;
/// How many reads at most empty what a dead program has left in its streams: others may go on writing.
const LAST_READS: usize = 64;

/// A program that runs.
#[derive(Debug)]
pub(super) struct Program {
    pid: i32,
    start_ticks: u64,
    pidfd: OwnedFd,
    /// Whether we are its parent and can reap it.
    child: bool,
    started_ns: u64,
    cgroup: Option<Cgroup>,
    oom_kills_before: Option<u64>,
}

impl Program {
    pub(super) fn pid(&self) -> i32 {
        self.pid
    }

    pub(super) fn signal(&self, number: i32) -> Result<(), Errno> {
        let signal = Signal::from_named_raw(number).ok_or(Errno::INVAL)?;
        rustix::process::pidfd_send_signal(&self.pidfd, signal)
    }

    /// Its status, once the descriptor says that it has ended.
    fn status(&self) -> Option<i32> {
        if !self.child {
            return status_of_zombie(self.pid, self.start_ticks).or_else(|| {
                // Its reaper was quicker: then newer kernels tell.
                let patience = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
                let _ = rustix::event::poll(&mut [PollFd::new(&self.pidfd, PollFlags::empty())], Some(&patience));
                carrack_sys::pidfd::exit_status(&self.pidfd)
            });
        }
        match rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED) {
            Ok(Some(status)) => status.exit_status().or(status.terminating_signal().map(|signal| 128 + signal)),
            _ => None,
        }
    }
}

/// The network namespace of a container that runs already.
pub(super) fn network_of(state: &State) -> Option<OwnedFd> {
    let path = format!("/proc/{}/ns/net", state.pid);
    let namespace = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    state.is_alive().then_some(namespace)
}

/// The program is to find its terminal as large as it is from the first moment on.
fn set_terminal_size(plan: &mut InitPlan, size: (u16, u16)) {
    for step in &mut plan.steps {
        if let InitStep::Terminal { columns, rows, .. } = step {
            (*columns, *rows) = size;
        }
    }
}

impl Shim {
    /// Starts the program, and says so to all who ought to know.
    pub(super) fn start_program(&mut self) -> Result<i32, StartError> {
        self.restart_at = None;
        let started = self.spawn_program();
        self.state.stop_requested = false;
        match started {
            Ok(program) => {
                let pid = program.pid;
                self.state.status = Status::Running;
                self.state.pid = pid;
                self.state.pid_start_ticks = program.start_ticks;
                self.state.started_at = Some(rfc3339_nano(now_ns()));
                self.state.finished_at = None;
                self.state.exit_code = None;
                self.state.oom_killed = false;
                self.state.error.clear();
                self.watch_health(Monitor::new(self.check(), program.started_ns));
                self.program = Some(program);
                self.release_code_soon();
                self.write_state();
                self.append_event("start".into(), &[]);
                Ok(pid)
            }
            Err(error) => {
                if self.state.started_at.is_some() {
                    self.state.status = Status::Exited;
                }
                self.state.exit_code = Some(error.exit_status());
                self.state.error = error.to_string();
                self.write_state();
                self.clients.tell_exit(Some(error.exit_status()));
                Err(error)
            }
        }
    }

    fn check(&self) -> crate::shim::Check {
        self.config.health.as_ref().map(|health| health.check).unwrap_or_default()
    }

    fn spawn_program(&mut self) -> Result<Program, StartError> {
        let at = |attempt: &'static str| move |errno: Errno| StartError::shim(attempt, errno);
        let ends = self.streams.ends(&self.config.folder).map_err(at("open the container's streams"))?;
        if let Some(size) = self.streams.size() {
            set_terminal_size(&mut self.plan, size);
        }
        if let Some(external) = self.config.external.clone() {
            return self.make_by(&external, &ends);
        }
        let cgroup = self.cgroup()?;
        let oom_kills_before = cgroup.as_ref().and_then(Cgroup::oom_kills);
        let (soft, hard) = self.open_files_limit;
        process::set_rlimit(RLIMIT_NOFILE, soft, hard).map_err(at("set the limit of open files"))?;
        let spawned = init::spawn(&SpawnRequest {
            plan: &self.plan,
            stdio: ends.0.each_ref().map(AsFd::as_fd),
            network_namespace: self.network.as_ref().map(|network| network.container()),
            container: None,
            cgroup: cgroup.as_ref(),
        });
        self.allow_many_files();
        let child = spawned.map_err(StartError::Init)?;
        if let Some(terminal) = child.terminal {
            self.streams.set_terminal(terminal).map_err(at("take the terminal"))?;
        }
        self.poll.watch_input(&child.pidfd, Token::Child).map_err(at("watch the program"))?;
        Ok(Program {
            pid: child.pid,
            start_ticks: start_ticks_of(child.pid).unwrap_or(0),
            pidfd: child.pidfd,
            child: true,
            started_ns: since_boot_ns(),
            cgroup,
            oom_kills_before,
        })
    }

    /// The same by another runtime.
    fn make_by(&mut self, external: &External, ends: &Ends) -> Result<Program, StartError> {
        let at = |attempt: &'static str| move |errno: Errno| StartError::shim(attempt, errno);
        let network = self.network.clone();
        let stdio = ends.0.each_ref().map(AsFd::as_fd);
        let network = network.as_ref().map(|network| network.container());
        let (soft, hard) = self.open_files_limit;
        process::set_rlimit(RLIMIT_NOFILE, soft, hard).map_err(at("set the limit of open files"))?;
        let created = external::create(external, &self.plan, stdio, network, self.config.tty);
        self.allow_many_files();
        let failed = |shim: &mut Self, failure: external::Failure| {
            // What it also told the container's own standard error is no output of the container.
            shim.streams.discard();
            match failure {
                external::Failure::Ground(failure) => StartError::Init(failure),
                external::Failure::Runtime { verb, message } => {
                    StartError::Runtime { program: external.program.clone(), verb: verb.into(), message }
                }
            }
        };
        let mut created = created.map_err(|failure| failed(self, failure))?;
        if let Some(terminal) = created.terminal.take() {
            let size = self.streams.size();
            self.streams.set_terminal(terminal).map_err(at("take the terminal"))?;
            if let Some((columns, rows)) = size {
                self.streams.resize(columns, rows);
            }
        }
        let ready = self.join(&created);
        let cgroup = match ready {
            Ok(cgroup) => cgroup,
            Err(error) => {
                created.discard(external);
                return Err(error);
            }
        };
        let oom_kills_before = cgroup.as_ref().and_then(Cgroup::oom_kills);
        let started_ns = since_boot_ns();
        if let Err(failure) = created.start(external) {
            created.discard(external);
            return Err(failed(self, failure));
        }
        if let Err(errno) = self.poll.watch_input(&created.pidfd, Token::Child) {
            created.discard(external);
            return Err(StartError::shim("watch the program", errno));
        }
        Ok(Program {
            pid: created.pid,
            start_ticks: start_ticks_of(created.pid).unwrap_or(0),
            pidfd: created.pidfd,
            child: created.child,
            started_ns,
            cgroup,
            oom_kills_before,
        })
    }

    /// Puts a container of another runtime's into every control group of ours: that one may know fewer hierarchies.
    fn join(&self, created: &external::Created) -> Result<Option<Cgroup>, StartError> {
        let cgroup = self.cgroup()?;
        let joined = cgroup.as_ref().map_or(Ok(()), |cgroup| cgroup.take_in(created.pid));
        joined.map_err(|diagnostic| StartError::Shim { attempt: diagnostic.to_string(), errno: 0 })?;
        Ok(cgroup)
    }

    fn cgroup(&self) -> Result<Option<Cgroup>, StartError> {
        let open = |name| probe::open_cgroup(name);
        self.config
            .cgroup
            .as_ref()
            .map(open)
            .transpose()
            .map_err(|diagnostic| StartError::Shim { attempt: diagnostic.to_string(), errno: 0 })
    }

    /// Takes over a container from a shim that was killed.
    pub(super) fn adopt(&mut self, former: &State) -> Result<(), StartError> {
        let at = |attempt: &'static str| move |errno: Errno| StartError::shim(attempt, errno);
        let lost = |shim: &mut Self| {
            shim.state.status = Status::Lost;
            shim.state.pid = 0;
            shim.state.pid_start_ticks = 0;
            shim.state.exit_code = None;
            shim.state.error = "it ended while it had no shim".into();
            shim.write_state();
            Err(StartError::Shim { attempt: "adopt the container: it ended while it had no shim".into(), errno: 0 })
        };
        let Some(pid) = Pid::from_raw(former.pid) else { return lost(self) };
        let pidfd = match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            Err(Errno::SRCH) => return lost(self),
            Err(errno) => return Err(StartError::shim("open the container's process", errno)),
        };
        // Asked after the descriptor was opened: what lives now is what it refers to.
        if !former.is_alive() {
            return lost(self);
        }
        self.poll.watch_input(&pidfd, Token::Child).map_err(at("watch the program"))?;
        let started_ns = former.pid_start_ticks * TICK_NS;
        let cgroup = self.cgroup()?;
        self.program = Some(Program {
            pid: former.pid,
            start_ticks: former.pid_start_ticks,
            pidfd,
            child: false,
            started_ns,
            oom_kills_before: cgroup.as_ref().and_then(Cgroup::oom_kills),
            cgroup,
        });
        let monitor = Monitor::new(self.check(), started_ns);
        self.watch_health(match &former.health {
            Some(health) => monitor.resume(health.clone()),
            None => monitor,
        });
        self.release_code_soon();
        self.write_state();
        Ok(())
    }

    pub(super) fn program_ended(&mut self) {
        let Some(program) = self.program.take() else { return };
        let status = program.status();
        let oom_kills = program.cgroup.as_ref().and_then(Cgroup::oom_kills);
        self.drain();
        if let Some(external) = &self.config.external
            && let Err(failure) = external::delete(external)
        {
            complain(&format!("shim: {failure:?}"));
        }
        self.stop_probing();
        self.forwarder.drop_connections();

        self.state.ran_ns = since_boot_ns().saturating_sub(program.started_ns);
        self.state.oom_killed = oom_kills > program.oom_kills_before;
        self.state.status = if status.is_some() { Status::Exited } else { Status::Lost };
        self.state.pid = 0;
        self.state.pid_start_ticks = 0;
        self.state.exit_code = status;
        self.state.finished_at = Some(rfc3339_nano(now_ns()));
        self.write_state();
        if self.state.oom_killed {
            self.append_event("oom".into(), &[]);
        }
        let code = status.map_or_else(|| "unknown".to_owned(), |status| status.to_string());
        let lived_seconds = since_boot_ns().saturating_sub(program.started_ns) / 1_000_000_000;
        self.append_event("die".into(), &[("execDuration", lived_seconds.to_string()), ("exitCode", code)]);
        if self.clients.tell_exit(status) {
            self.report_at = Some(Instant::now() + super::PUT_AWAY_PATIENCE);
        } else {
            self.tell(Kind::Exited);
        }
    }

    /// What the program wrote before its end still goes to the log and to clients.
    fn drain(&mut self) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            for _ in 0..LAST_READS {
                let data = self.streams.read(stream, &mut self.buffer, &mut self.log, now_ns());
                if data.is_empty() {
                    break;
                }
                self.clients.broadcast(stream, data);
            }
        }
        self.streams.finish(&mut self.log, now_ns());
    }

    fn watch_health(&mut self, monitor: Monitor) {
        self.stop_probing();
        if self.config.health.is_some() {
            self.state.health = Some(monitor.health().clone());
            self.monitor = Some(monitor);
            if self.state.status != Status::Paused {
                self.schedule_probe();
            }
        }
    }

    pub(super) fn schedule_probe(&mut self) {
        if let Some(monitor) = &self.monitor {
            let delay = Duration::from_nanos(monitor.delay_ns(since_boot_ns()));
            self.next_probe = Instant::now().checked_add(delay);
        }
    }

    /// No probe runs or will run; what was found stays.
    pub(super) fn stop_probing(&mut self) {
        self.next_probe = None;
        if let Some(probe) = self.probe.take() {
            probe.kill();
        }
    }

    pub(super) fn start_probe(&mut self) {
        let (Some(health), Some(program)) = (&self.config.health, &self.program) else { return };
        let request = probe::Request {
            probe: &health.probe,
            timeout_ns: health.check.timeout_ns(),
            container: program.pidfd.as_fd(),
            cgroup: self.config.cgroup.as_ref(),
            open_files_limit: self.open_files_limit,
        };
        let started = probe::spawn(&request, since_boot_ns(), now_ns()).and_then(|probe| {
            match self.poll.watch_input(&probe.channel, Token::Probe) {
                Ok(()) => Ok(probe),
                Err(errno) => {
                    probe.kill();
                    Err(errno)
                }
            }
        });
        match started {
            Ok(probe) => self.probe = Some(probe),
            Err(errno) => {
                complain(&format!("shim: starting a probe: {errno}"));
                self.schedule_probe();
            }
        }
    }

    pub(super) fn probe_ended(&mut self) {
        let Some(outcome) = self.probe.as_ref().and_then(probe::Running::outcome) else { return };
        let (Some(probe), Some(monitor)) = (self.probe.take(), self.monitor.as_mut()) else { return };
        let (began_ns, began_wall_ns) = (probe.began_ns, probe.began_wall_ns);
        probe.kill();
        let changed = monitor.record(
            began_ns,
            Probe {
                start: rfc3339_nano(began_wall_ns),
                end: rfc3339_nano(now_ns()),
                exit_code: outcome.exit_code,
                output: outcome.output,
            },
        );
        let status: HealthStatus = monitor.health().status;
        self.state.health = Some(monitor.health().clone());
        self.release_code_soon();
        self.write_state();
        self.schedule_probe();
        if changed {
            self.append_event(format!("health_status: {status}"), &[]);
            self.tell(Kind::Health);
        }
    }
}
