//! What clients say, and what comes of it.

use std::time::{Duration, Instant};

use super::Shim;
use crate::shim::clients::Connection;
use crate::shim::poll::Interest;
use crate::shim::protocol::{Answer, Frames, Malformed, Order, attach};
use crate::state::Status;

impl Shim {
    pub(super) fn hear_client(&mut self, number: u64, interest: Interest) {
        let Some(mut connection) = self.clients.take(number) else { return };
        if interest.contains(Interest::OUT) {
            connection.flush();
        }
        let gone = interest.intersects(Interest::ERR | Interest::HUP);
        if gone || interest.intersects(Interest::IN | Interest::RDHUP) {
            self.listen_to(&mut connection);
        }
        // What it said before it left still counts, and is no more than the kernel has kept of it.
        while gone && self.listen_to(&mut connection) {}
        if gone {
            connection.give_up();
        }
        self.clients.put(number, connection);
    }

    /// Reads once and obeys; says whether there was anything.
    fn listen_to(&mut self, connection: &mut Connection) -> bool {
        if connection.ended || connection.is_given_up() {
            return false;
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let heard = connection.read(&mut buffer);
        let any = heard.is_some();
        if let Some(bytes) = heard {
            connection.frames.push(bytes);
        }
        self.buffer = buffer;
        self.obey_all(connection);
        any
    }

    fn obey_all(&mut self, connection: &mut Connection) {
        let mut frames: Frames = std::mem::take(&mut connection.frames);
        loop {
            match frames.next_order() {
                Ok(Some(order)) => self.obey(connection, &order),
                Ok(None) => break,
                Err(Malformed) => {
                    connection.give_up();
                    break;
                }
            }
        }
        connection.frames = frames;
        if connection.ended && connection.has(attach::STDIN) && self.config.stdin_once {
            self.streams.end_stdin();
        }
    }

    fn obey(&mut self, connection: &mut Connection, order: &Order<'_>) {
        match *order {
            Order::Attach { flags } => self.attach(connection, flags),
            Order::Stdin(bytes) if connection.has(attach::STDIN) => self.streams.push_stdin(bytes),
            Order::StdinEnd if connection.has(attach::STDIN) => {
                if self.config.stdin_once {
                    self.streams.end_stdin();
                }
            }
            Order::Stdin(_) | Order::StdinEnd => {}
            Order::Resize { columns, rows } => {
                self.streams.resize(columns, rows);
                self.append_event("resize".into(), &[("height", rows.to_string()), ("width", columns.to_string())]);
            }
            Order::Restart => self.restart(connection),
            Order::RestartIn { delay_ms } => match Instant::now().checked_add(Duration::from_millis(delay_ms)) {
                _ if self.program.is_some() => connection.answer(&Answer::Refused("the container runs")),
                None => connection.answer(&Answer::Refused("the delay is out of bounds")),
                at => {
                    self.restart_at = at;
                    self.state.backoff_ms = delay_ms;
                    self.state.status = Status::Restarting;
                    self.write_state();
                    connection.answer(&Answer::Done);
                }
            },
            Order::StopIntended => {
                self.state.stop_requested = true;
                if self.restart_at.take().is_some() {
                    self.state.status = Status::Exited;
                }
                self.write_state();
                connection.answer(&Answer::Done);
            }
            Order::Shutdown if self.program.is_some() => connection.answer(&Answer::Refused("the container runs")),
            Order::Shutdown => {
                self.ending = Some(Instant::now());
                self.restart_at = None;
                if self.state.status == Status::Restarting {
                    self.state.status = Status::Exited;
                }
                connection.answer(&Answer::Done);
            }
            Order::Signal(number) => match self.program.as_ref().map(|program| program.signal(number)) {
                Some(Ok(())) => connection.answer(&Answer::Done),
                Some(Err(errno)) => connection.answer(&Answer::Refused(&errno.to_string())),
                None => connection.answer(&Answer::Refused("the container does not run")),
            },
            Order::Paused(paused) => self.pause(connection, paused),
            Order::Lead(addresses) => {
                let (address, ipv6) = addresses.map_or((None, None), |(address, ipv6)| (Some(address.into()), ipv6));
                self.forwarder.lead_to(address, ipv6);
                connection.answer(&Answer::Done);
            }
            Order::Named(name) => {
                self.config.attributes.insert("name".into(), name.to_owned());
                connection.answer(&Answer::Done);
            }
            Order::Keep => {
                self.keep = true;
                connection.answer(&Answer::Done);
            }
        }
    }

    fn attach(&mut self, connection: &mut Connection, flags: u8) {
        connection.attached = Some(flags);
        connection.answer(&Answer::Attached { tty: self.config.tty });
        // Before the first start there is somebody to come; afterwards there was.
        if self.program.is_none() && self.control.is_none() {
            connection.answer(&Answer::Exited { status: self.state.exit_code });
            connection.leave();
        }
    }

    fn restart(&mut self, connection: &mut Connection) {
        if self.program.is_some() || self.control.is_some() {
            connection.answer(&Answer::Refused("the container runs"));
            return;
        }
        match self.start_program() {
            Ok(pid) => {
                self.state.restart_count = self.state.restart_count.saturating_add(1);
                self.write_state();
                connection.answer(&Answer::Started { pid });
            }
            Err(error) => connection.answer(&Answer::Failed(error)),
        }
    }

    fn pause(&mut self, connection: &mut Connection, paused: bool) {
        if self.program.is_none() {
            connection.answer(&Answer::Refused("the container does not run"));
            return;
        }
        self.state.status = if paused { Status::Paused } else { Status::Running };
        self.write_state();
        self.append_event(if paused { "pause".into() } else { "unpause".into() }, &[]);
        if paused {
            self.stop_probing();
        } else {
            self.schedule_probe();
        }
        connection.answer(&Answer::Done);
    }
}
