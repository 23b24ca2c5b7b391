use std::os::fd::OwnedFd;
use std::time::Instant;

use carrack_sys::process::SingleThreaded;

use super::poll::{Interest, Poll, Token};
use super::{DnsConfig, DnsPorts, StartError};

pub(super) struct Resolver {}

impl Resolver {
    pub(super) fn open(
        _config: &DnsConfig,
        _former: Option<DnsPorts>,
        _network: &OwnedFd,
        _proof: &SingleThreaded,
        _poll: &Poll,
    ) -> Result<Self, StartError> {
        Ok(Self {})
    }
    pub(super) fn ports(&self) -> DnsPorts {
        DnsPorts { udp: 0, tcp: 0 }
    }
    pub(super) fn handle(&mut self, _token: Token, _interest: Interest, _poll: &Poll) {}
    pub(super) fn deadline(&self) -> Option<Instant> {
        None
    }
    pub(super) fn tick(&mut self, _now: Instant, _poll: &Poll) {}
}
