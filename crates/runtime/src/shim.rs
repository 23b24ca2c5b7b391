//! The one process that stays with a container: its streams, its log, its exit status, the timers of its health check
//! and restart, its names, its published ports.
//!
//! ```text
//! engine                                    shim (this binary, executed again by descriptor)
//! ------                                    ----
//! sow: control socket ────────────────────► own session, forked once more so that nobody has to reap it
//! … what else a start needs …
//! prepare: sealed configuration and plan ─► streams, DNS sockets in the container's network, host ports, shim.sock
//!          ◄── Prepared(ports) or Failed ─
//! NAT rules for DNS, initial attach
//! go       ──────────────────────────────►  init plan
//!          ◄── Started(pid) or Failed ────
//! ```
//!
//! Afterwards it serves `shim.sock` in the container's folder on the run root; the chart of that protocol stands at the
//! top of `shim/protocol.rs`, its client is [`Client`]. At an exit, a change of health or a due restart it runs
//! [`EventCommand`] and does what it is told over the socket; told nothing, it ends with its container.
//!
//! What the container sends is read by another process, which can do nothing else (`shim/worker.rs`): this one makes it
//! when there is something to read.
//!
//! One thread over epoll. A slow client that runs the container in the foreground slows the program down as it would
//! without carrack; any other is dropped when it takes nothing for [`CLIENT_PATIENCE`]. A full disk loses log lines,
//! which are counted. A frame that is no frame ends its connection and nothing else.

mod client;
mod clients;
mod config;
mod dns;
mod event_process;
mod forward;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod health;
mod log;
mod names;
mod network;
mod packing;
mod poll;
mod probe;
mod protocol;
mod resolver;
mod server;
mod sockets;
mod start;
mod stdio;
mod tcp;
mod udp;
mod worker;

#[cfg(test)]
mod tests;

use std::time::Duration;

pub(crate) use client::Detacher;
pub use client::{AttachEnd, AttachOptions, Attached, Client, DetachKeys};
pub use config::{
    BoundPort, CgroupName, DnsConfig, DnsPorts, EventCommand, HealthConfig, HealthProbe, LogConfig, PublishedPort,
    ShimConfig, StartError,
};
pub use health::{Check, Monitor};
pub use protocol::SOCKET;
pub use start::{Prepared, Seed, ShimRequest, Started};

#[cfg(test)]
pub(crate) use worker::confined_main;

pub(crate) use event_process::{ARGV0 as EVENT_ARGV0, main as event_main};
pub(crate) use probe::{ARGV0 as PROBE_ARGV0, main as probe_main};
pub(crate) use server::{ARGV0, main};

/// How long a client may take nothing before it is dropped; one that runs the container in the foreground may for ever.
pub const CLIENT_PATIENCE: Duration = Duration::from_secs(10);

/// How long an answer of a container's name server may be kept.
pub const ANSWER_TTL: Duration = Duration::from_secs(1);
