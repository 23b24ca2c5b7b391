use std::os::fd::OwnedFd;
use std::time::Instant;

use carrack_sys::process::SingleThreaded;

use super::poll::{Interest, Poll, Token};
use super::{BoundPort, PublishedPort, StartError};

pub(super) struct Forwarder {}

impl Forwarder {
    pub(super) fn open(
        _ports: &[PublishedPort],
        _former: &[BoundPort],
        _network: Option<&OwnedFd>,
        _proof: SingleThreaded,
        _poll: &Poll,
    ) -> Result<Self, StartError> {
        Ok(Self {})
    }
    pub(super) fn bound(&self) -> Vec<BoundPort> {
        Vec::new()
    }
    pub(super) fn handle(&mut self, _token: Token, _interest: Interest, _poll: &Poll) {}
    pub(super) fn deadline(&self) -> Option<Instant> {
        None
    }
    pub(super) fn tick(&mut self, _now: Instant, _poll: &Poll) {}
    pub(super) fn drop_connections(&mut self) {}
}
