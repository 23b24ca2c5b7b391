//! Published ports on the kernel path: elements of the root's maps, remembered with the endpoint that they lead to.

use std::net::{IpAddr, SocketAddr};

use carrack_diag::Result;
use carrack_store::{DEFAULT_WAIT, Lock};
use carrack_sys::conntrack;
use carrack_sys::netlink::Socket;
use serde::{Deserialize, Serialize};

use crate::fault::Context as _;
use crate::firewall::{self, Translation};
use crate::networks::open_filter;
use crate::obstacles::{Obstacle, obstacles};
use crate::{Endpoint, Networks, Transport};

/// A port of the host that leads to one of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publication {
    /// What its shim has bound.
    pub host: SocketAddr,
    /// TCP or UDP.
    pub transport: Transport,
    /// In the container.
    pub container_port: u16,
}

impl Publication {
    /// Whether the kernel path can lead there. What is for loopback is the forwarder's: no packet of the kernel path may
    /// come from 127.0.0.1, nor go there.
    fn translation(&self, endpoint: &Endpoint) -> Option<Translation> {
        let address = endpoint.address_like(self.host.ip())?;
        let can = !self.host.ip().is_loopback() && !endpoint.internal;
        can.then(|| Translation { to: SocketAddr::new(address, self.container_port), ..self.key() })
    }

    /// By which the kernel path finds where it leads, and so to itself.
    pub(crate) fn key(&self) -> Translation {
        let protocol = match self.transport {
            Transport::Tcp => 6,
            Transport::Udp => 17,
        };
        Translation { host: self.host, protocol, to: self.host }
    }
}

impl Endpoint {
    /// Its address of the same family.
    pub fn address_like(&self, other: IpAddr) -> Option<IpAddr> {
        self.addresses().find(|address| address.is_ipv4() == other.is_ipv4())
    }

    fn translations(&self) -> Vec<Translation> {
        self.published.iter().filter_map(|publication| publication.translation(self)).collect()
    }
}

impl Networks {
    /// Leads ports that are bound on the host to a container, in the kernel where its rules allow that. Of its endpoints,
    /// which are all given, the one that has the default route is published: answers leave through it.
    ///
    /// # Errors
    /// `network/kernel`, `store/…`.
    pub fn publish(&self, own: &[Endpoint], publications: &[Publication]) -> Result<()> {
        let _guard = self.store.lock(Lock::Network, DEFAULT_WAIT)?;
        let Some(gateway) = own.iter().find(|endpoint| endpoint.is_gateway).or(own.first()) else { return Ok(()) };
        for endpoint in own.iter().filter(|endpoint| !endpoint.published.is_empty() || endpoint.port == gateway.port) {
            self.unpublish(&[endpoint])?;
            let mut leases = self.leases(&endpoint.network)?;
            let publish = |leased: &mut Endpoint| {
                let is_gateway = leased.port == gateway.port;
                leased.published = if is_gateway { publications.to_vec() } else { Vec::new() };
                true
            };
            if leases.change(&endpoint.container, publish)? {
                // The record first: an element that no record knows would never go.
                self.put_leases(&endpoint.network, &leases)?;
            }
        }
        let gateway = Endpoint { published: publications.to_vec(), ..gateway.clone() };
        let mut filter = open_filter()?;
        firewall::add_translations(&mut filter, &self.tag, &gateway.translations())?;
        self.judge(&mut filter)
    }

    /// Opens or shuts the kernel path of published ports by what the host's own rules are now. Whether that changed.
    ///
    /// # Errors
    /// `network/kernel`.
    pub fn judge_kernel_path(&self) -> Result<()> {
        let _guard = self.store.lock(Lock::Network, DEFAULT_WAIT)?;
        let mut filter = open_filter()?;
        if firewall::exists(&mut filter, &self.tag)? { self.judge(&mut filter) } else { Ok(()) }
    }

    pub(crate) fn judge(&self, filter: &mut Socket) -> Result<()> {
        let wanted = obstacles(filter, &self.tag)?.is_empty();
        if firewall::is_kernel_path_open(filter, &self.tag)? == wanted {
            return Ok(());
        }
        firewall::set_kernel_path(filter, &self.tag, wanted)
    }

    /// What keeps the kernel path of published ports shut; nothing where it is open. Changes nothing.
    ///
    /// # Errors
    /// `network/kernel`.
    pub fn kernel_path_obstacles(&self) -> Result<Vec<Obstacle>> {
        obstacles(&mut open_filter()?, &self.tag)
    }

    /// Whether the kernel leads a port of a container's on the host to it now.
    ///
    /// # Errors
    /// `network/kernel`, `store/corrupt-record`.
    pub fn is_on_kernel_path(&self, container: &str, host: SocketAddr, transport: Transport) -> Result<bool> {
        let mut filter = open_filter()?;
        let leads = |endpoint: &Endpoint| {
            let mut published = endpoint.published.iter();
            published.any(|one| one.host == host && one.transport == transport && one.translation(endpoint).is_some())
        };
        let is_recorded = self.endpoints_of(container)?.iter().any(leads);
        Ok(is_recorded
            && firewall::exists(&mut filter, &self.tag)?
            && firewall::is_kernel_path_open(&mut filter, &self.tag)?)
    }

    /// The reverse of [`Networks::publish`] for endpoints that are about to go. What a client of UDP goes on sending would
    /// otherwise follow its old translation for as long as it sends.
    pub(crate) fn unpublish(&self, endpoints: &[&Endpoint]) -> Result<()> {
        let translations: Vec<Translation> = endpoints.iter().flat_map(|endpoint| endpoint.translations()).collect();
        if translations.is_empty() {
            return Ok(());
        }
        let mut filter = open_filter()?;
        if firewall::exists(&mut filter, &self.tag)? {
            firewall::remove_translations(&mut filter, &self.tag, &translations)?;
        }
        for translation in translations.iter().filter(|translation| translation.protocol == 17) {
            conntrack::forget(&mut filter, translation.protocol, translation.to)
                .context(|| format!("can't end the flows to {}", translation.to))?;
        }
        Ok(())
    }

    /// Puts back what was published, after somebody flushed the packet filter.
    pub(crate) fn republish(&self, filter: &mut Socket) -> Result<()> {
        for network in self.leased_networks()? {
            let endpoints = self.endpoints(&network)?;
            let translations: Vec<Translation> = endpoints.iter().flat_map(Endpoint::translations).collect();
            firewall::add_translations(filter, &self.tag, &translations)?;
        }
        self.judge(filter)
    }
}
