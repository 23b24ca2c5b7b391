//! What the container sends, and the worker that reads it.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use carrack_specgen::container::LogDriver;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::SocketType;
use rustix::process::{Pid, PidfdFlags, Signal};

use super::{Shim, complain};
use crate::shim::log::LogFiles;
use crate::shim::names::path_of_network;
use crate::shim::network::socket;
use crate::shim::packing::Packing;
use crate::shim::stdio::Stream;
use crate::shim::worker::{Asked, Told, Worker};
use crate::state::{State, start_ticks_of};
use crate::time::now_ns;

/// How long nobody reads after a worker has ended; twice as long after each that did not last.
const REST_MIN: Duration = Duration::from_millis(100);
const REST_MAX: Duration = Duration::from_secs(10);
/// A worker that lived longer was no failure from the first.
const LASTING: Duration = Duration::from_secs(10);
/// How long a killed process may take to be gone.
const DEATH_TIMEOUT: Duration = Duration::from_secs(5);

/// The pause after a worker's end.
#[derive(Debug, Default)]
pub(super) struct Rest {
    length: Duration,
    until: Option<Instant>,
}

impl Rest {
    pub(super) fn until(&self) -> Option<Instant> {
        self.until
    }

    pub(super) fn is_over(&mut self, now: Instant) -> bool {
        self.until.take_if(|until| *until <= now).is_some()
    }

    fn begin(&mut self, now: Instant, lived: Duration) {
        self.length = if lived > LASTING { REST_MIN } else { (self.length * 2).clamp(REST_MIN, REST_MAX) };
        self.until = Some(now + self.length);
    }
}

impl Shim {
    /// Passes on what an output has; says whether there was anything.
    pub(super) fn pump(&mut self, stream: Stream) -> bool {
        let logs = self.config.log.driver != LogDriver::None;
        let data = self.streams.read(stream, &mut self.buffer);
        if data.is_empty() {
            return false;
        }
        self.clients.broadcast(stream, data);
        let length = data.len();
        if logs {
            self.have_worker();
            let bytes = self.buffer.get(..length).unwrap_or_default();
            match &mut self.worker {
                Some(worker) => worker.tell(&Told::Output { stream, time_ns: now_ns(), bytes }),
                None => self.lost_bytes += length as u64,
            }
        }
        true
    }

    /// Makes a worker where there is none, unless the last one has ended just now.
    pub(super) fn have_worker(&mut self) {
        if self.worker.is_some() || self.rest.until().is_some() {
            return;
        }
        let started = self
            .sockets
            .watch(&self.poll, false)
            .and_then(|()| Worker::start(&self.proof, &self.sockets, &self.config, &self.poll));
        match started {
            Ok(mut worker) => {
                if self.lost_bytes > 0 {
                    worker.tell(&Told::Lost { bytes: std::mem::take(&mut self.lost_bytes), time_ns: now_ns() });
                }
                self.state.worker_pid = worker.pid();
                self.state.worker_start_ticks = start_ticks_of(worker.pid()).unwrap_or(0);
                self.worker = Some(worker);
                self.write_state();
                self.release_code_soon();
            }
            Err(errno) => {
                complain(&format!("shim: making a worker: {errno}"));
                self.rest.begin(Instant::now(), Duration::ZERO);
            }
        }
    }

    /// The pause after a worker is over: the next one comes when there is something for it.
    pub(super) fn rested(&mut self) {
        if let Err(errno) = self.sockets.watch(&self.poll, true) {
            complain(&format!("shim: watching ports: {errno}"));
        }
        if self.lost_bytes > 0 {
            self.have_worker();
        }
    }

    /// What it has not heard is lost; connections and questions are too.
    pub(super) fn worker_ended(&mut self) {
        let Some(worker) = self.worker.take() else { return };
        let lived = worker.born.elapsed();
        self.lost_bytes += worker.unheard_bytes();
        let why = match worker.end() {
            Some(signal) if signal == Signal::SYS.as_raw() => "its filter refused a system call".to_owned(),
            Some(signal) => format!("signal {signal}"),
            None => "by itself".to_owned(),
        };
        complain(&format!("shim: the worker has ended: {why}"));
        self.rest.begin(Instant::now(), lived);
    }

    pub(super) fn hear_worker(&mut self) {
        let Some(worker) = self.worker.take() else { return };
        let heard = loop {
            match worker.asked() {
                Ok(Some(asked)) => {
                    if let Err(errno) = worker.answer(self.serve(asked)) {
                        break Err(errno);
                    }
                }
                Ok(None) => break Ok(()),
                Err(errno) => break Err(errno),
            }
        };
        self.worker = Some(worker);
        if let Err(errno) = heard {
            complain(&format!("shim: hearing the worker: {errno}"));
            self.worker_ended();
        }
    }

    /// All that a worker can get: nothing that is not its container's.
    fn serve(&mut self, asked: Asked) -> Result<OwnedFd, Errno> {
        let file = |file: std::io::Result<std::fs::File>| {
            file.map(OwnedFd::from).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
        };
        let socket_inside = |kind| {
            let network = self.network.as_ref().ok_or(Errno::NETUNREACH)?;
            network.inside(|| socket(Ipv4Addr::LOCALHOST.into(), kind))
        };
        let open = |path: &Path| rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        let names = || self.config.dns.as_ref().ok_or(Errno::NOENT).and_then(|dns| open(&dns.names));
        match asked {
            Asked::Log => file(self.log.current()),
            Asked::NextLog => file(self.next_log()),
            Asked::Names => names(),
            Asked::Network(number) => open(&path_of_network(&names()?, number.into())?),
            Asked::Tcp => socket_inside(SocketType::STREAM),
            Asked::Udp => socket_inside(SocketType::DGRAM),
            Asked::Finished => Err(Errno::INVAL),
        }
    }

    /// A number has one file at a time: what is at work ends first.
    fn next_log(&mut self) -> std::io::Result<std::fs::File> {
        self.finish_packing();
        let next = self.log.next()?;
        if self.config.log.compress && self.config.log.max_files > 1 {
            match Packing::start(&self.proof, &self.config.log.path, &self.poll) {
                Ok(packing) => self.packing = packing,
                Err(error) => complain(&format!("shim: compressing a rotated file: {error}")),
            }
        }
        Ok(next)
    }

    pub(super) fn finish_packing(&mut self) {
        if let Some(packing) = self.packing.take()
            && let Err(error) = packing.finish()
        {
            complain(&format!("shim: compressing a rotated file: {error}"));
        }
    }

    /// Has all output of a program that has ended written down.
    pub(super) fn finish_log(&mut self) {
        let Some(mut worker) = self.worker.take() else { return };
        let finished = worker.finish(now_ns(), |asked| self.serve(asked));
        self.worker = Some(worker);
        if let Err(errno) = finished {
            complain(&format!("shim: the log's end: {errno}"));
            self.worker_ended();
        }
        self.finish_packing();
    }

    /// Whoever was at the other end has ended.
    pub(super) fn forget_connections(&mut self) {
        if let Some(worker) = &mut self.worker {
            worker.tell(&Told::Ended);
        }
    }

    /// Where published ports lead from now on.
    pub(super) fn lead_to(&mut self, addresses: Option<(Ipv4Addr, Option<Ipv6Addr>)>) {
        let address = addresses.map(|(address, _)| address.into());
        self.sockets.lead_to(address, addresses.and_then(|(_, ipv6)| ipv6));
        if let Some(worker) = &mut self.worker {
            worker.tell(&Told::Lead(addresses));
        }
    }
}

/// The worker of a killed shim dies with it; it is gone only when its ports are free.
pub(super) fn end_worker_of(former: &State) -> Result<(), Errno> {
    let Some(pid) = Pid::from_raw(former.worker_pid) else { return Ok(()) };
    let pidfd = match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pidfd) => pidfd,
        Err(Errno::SRCH) => return Ok(()),
        Err(errno) => return Err(errno),
    };
    // Asked after the descriptor was opened: what lives now is what it refers to.
    if start_ticks_of(former.worker_pid) != Some(former.worker_start_ticks) {
        return Ok(());
    }
    match rustix::process::pidfd_send_signal(&pidfd, Signal::KILL) {
        Ok(()) | Err(Errno::SRCH) => {}
        Err(errno) => return Err(errno),
    }
    let timeout = Timespec { tv_sec: DEATH_TIMEOUT.as_secs() as i64, tv_nsec: 0 };
    match rustix::event::poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&timeout))? {
        0 => Err(Errno::TIMEDOUT),
        _ => Ok(()),
    }
}
