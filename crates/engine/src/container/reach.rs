//! Who reaches a container's ports: tried from machines made for it, with the reason of each outcome.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use carrack_diag::{Diagnostic, Result};
use carrack_network::{Endpoint, Network, Networks, Obstacle, Transport, Visitor};
use carrack_specgen::container::NetworkMode;
use serde::Serialize;

use super::{ContainerView, PublishedPort};
use crate::codes;
use crate::engine::Engine;

/// How long a connection that nobody answers is waited for: what is tried is a link away.
const PATIENCE: Duration = Duration::from_millis(700);

/// One attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reach {
    /// Name of the container.
    pub container: String,
    /// The container's, `80/tcp`.
    pub port: String,
    /// `this host`, `the network outside`, `a container on NAME`.
    pub from: String,
    /// Address and port that it was tried at.
    pub to: String,
    /// `yes`, `refused`, `no`, or `not tried`.
    pub reached: &'static str,
    /// Why.
    pub reason: String,
}

/// What the attempts are made with.
struct Ground {
    networks: Networks,
    all: Vec<Network>,
    neighbour: Visitor,
    obstacles: Vec<Obstacle>,
}

/// Where an attempt is made from.
enum Source<'a> {
    Host,
    Outside,
    Guest { network: &'a str, visitor: &'a Visitor },
}

impl Engine {
    /// Tries who reaches the ports of a container, or of all that run: this host, its network outside, containers of its
    /// own networks and of another one.
    pub fn reach(&self, name: Option<&str>) -> Result<Vec<Reach>> {
        let views = match name {
            Some(name) => vec![self.container(name)?],
            None => self.containers()?.into_iter().filter(ContainerView::is_active).collect(),
        };
        if let Some(view) = views.iter().find(|view| !view.is_active()) {
            let message = format!("{} is not running", view.record.name);
            let error = Diagnostic::error(&codes::NOT_RUNNING, message).cause("its ports were to be tried");
            return Err(error.hint(format!("start it first: `carrack start {}`", view.record.name)).boxed());
        }
        let networks = Networks::new(&self.store);
        let ground = Ground {
            all: networks.list()?,
            neighbour: networks.neighbour()?,
            obstacles: networks.kernel_path_obstacles()?,
            networks,
        };
        let mut found = Vec::new();
        for view in &views {
            found.extend(ground.reach(view)?);
        }
        Ok(found)
    }
}

impl Ground {
    fn reach(&self, view: &ContainerView) -> Result<Vec<Reach>> {
        let name = view.record.name.clone();
        let not_tried = |from: &str, reason: &str| Reach {
            container: name.clone(),
            from: from.into(),
            port: "-".into(),
            to: "-".into(),
            reached: "not tried",
            reason: reason.into(),
        };
        let endpoints = self.networks.endpoints_of(&view.record.id)?;
        if endpoints.is_empty() {
            let reason = match &view.record.container.network {
                NetworkMode::Host => "it is on this host's network: its ports are this host's".to_owned(),
                NetworkMode::Container(other) => format!("it shares the network of {other}: see that one's ports"),
                _ => "it is on no network".to_owned(),
            };
            return Ok(vec![not_tried("anywhere", &reason)]);
        }
        let mut guests = Vec::new();
        for endpoint in &endpoints {
            if let Some(network) = self.all.iter().find(|network| network.name == endpoint.network) {
                guests.push((network, self.networks.guest(network)?));
            }
        }
        let stranger = self.all.iter().find(|network| {
            let is_own = endpoints.iter().any(|endpoint| endpoint.network == network.name);
            !is_own && self.networks.endpoints(&network.name).is_ok_and(|endpoints| !endpoints.is_empty())
        });
        let stranger = stranger.map(|network| Ok::<_, Box<Diagnostic>>((network, self.networks.guest(network)?)));
        let stranger = stranger.transpose()?;
        let mut attempts = Vec::new();
        for port in &view.ports {
            let mut published = |source: Source<'_>| {
                attempts.push(self.try_published(view, port, &source));
            };
            published(Source::Host);
            published(Source::Outside);
            for (network, visitor) in guests.iter().chain(&stranger) {
                published(Source::Guest { network: &network.name, visitor });
            }
        }
        let inside = ports_inside(view);
        for endpoint in &endpoints {
            for (protocol, port) in &inside {
                let mut direct = |source: Source<'_>| {
                    attempts.push(self.try_direct(view, endpoint, (protocol, *port), &source));
                };
                direct(Source::Outside);
                for (network, visitor) in guests.iter().chain(&stranger) {
                    direct(Source::Guest { network: &network.name, visitor });
                }
            }
        }
        let mut found = attempts.into_iter().collect::<Result<Vec<Reach>>>()?;
        if found.is_empty() {
            found.push(not_tried("anywhere", "it publishes no port, and its image exposes none"));
        }
        Ok(found)
    }

    /// A port of the host, at the address that the source has for it.
    fn try_published(&self, view: &ContainerView, port: &PublishedPort, source: &Source<'_>) -> Result<Reach> {
        let seen = match source {
            Source::Host if port.address.is_unspecified() => loopback(port.address),
            Source::Outside if !port.address.is_ipv6() => self.neighbour.host.into(),
            Source::Guest { visitor, .. } if !port.address.is_ipv6() => visitor.host.into(),
            _ => port.address,
        };
        let transport = transport_of(&port.protocol);
        let bound = SocketAddr::new(port.address, port.host_port);
        let in_kernel = self.networks.is_on_kernel_path(&view.record.id, bound, transport)?;
        let to = SocketAddr::new(seen, port.host_port);
        let outcome = self.attempt(source, to, transport)?;
        let is_only_here = port.address.is_loopback() && !matches!(source, Source::Host);
        let is_elsewhere = !port.address.is_unspecified() && port.address != seen;
        let reason = match (&outcome, source) {
            (Outcome::NotTried(why), _) => (*why).to_owned(),
            (Outcome::Reached, Source::Host) if seen.is_loopback() => "through the forwarder".into(),
            (Outcome::Reached, _) if in_kernel => {
                "through the kernel, with the source address kept: no rule of this host's can drop it".into()
            }
            (Outcome::Reached, _) => match self.obstacles.first() {
                Some(obstacle) => format!("through the forwarder, as this host's firewall lets it ({obstacle})"),
                None => "through the forwarder".into(),
            },
            (_, _) if is_only_here => format!("it is published on {} only", port.address),
            (_, _) if is_elsewhere => format!("it is published on {} only", port.address),
            (Outcome::Refused, _) => {
                format!("nothing in the container listens on port {}/{}", port.container_port, port.protocol)
            }
            (Outcome::Silent, _) => match self.obstacles.as_slice() {
                [] => "nobody answered; this host's rules let it through".into(),
                obstacles => {
                    let chains: Vec<String> = obstacles.iter().map(ToString::to_string).collect();
                    format!("this host's firewall may drop it: {}", chains.join("; "))
                }
            },
        };
        let inside = format!("{}/{}", port.container_port, port.protocol);
        Ok(reach(view, source, (inside, to.to_string()), &outcome, reason))
    }

    /// A port of the container's, by the container's own address.
    fn try_direct(
        &self,
        view: &ContainerView,
        endpoint: &Endpoint,
        (protocol, port): (&str, u16),
        source: &Source<'_>,
    ) -> Result<Reach> {
        let to = SocketAddr::new(endpoint.address.into(), port);
        let outcome = self.attempt(source, to, transport_of(protocol))?;
        let is_same = matches!(source, Source::Guest { network, .. } if *network == endpoint.network);
        let reason = match &outcome {
            Outcome::NotTried(why) => (*why).to_owned(),
            Outcome::Reached if is_same => format!("both are on the network {}", endpoint.network),
            Outcome::Reached => "this host's packet filter lets it through".into(),
            Outcome::Refused => format!("nothing in the container listens on port {port}/{protocol}"),
            Outcome::Silent if is_same => "nobody answered on the network".into(),
            Outcome::Silent if matches!(source, Source::Outside) => {
                "by the container's own address only what is published is reached".into()
            }
            Outcome::Silent => "networks are kept apart".into(),
        };
        Ok(reach(view, source, (format!("{port}/{protocol}"), to.to_string()), &outcome, reason))
    }

    fn attempt(&self, source: &Source<'_>, to: SocketAddr, transport: Transport) -> Result<Outcome> {
        if transport == Transport::Udp {
            return Ok(Outcome::NotTried("by UDP nobody answers a question that they do not know"));
        }
        if to.is_ipv6() && !matches!(source, Source::Host) {
            return Ok(Outcome::NotTried("the machines that it is tried from have IPv4 only"));
        }
        let result = match source {
            Source::Host => carrack_network::connect(to, PATIENCE),
            Source::Outside => self.neighbour.connect(to, PATIENCE)?,
            Source::Guest { visitor, .. } => visitor.connect(to, PATIENCE)?,
        };
        Ok(match result {
            Ok(()) => Outcome::Reached,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => Outcome::Refused,
            Err(_) => Outcome::Silent,
        })
    }
}

enum Outcome {
    Reached,
    Refused,
    Silent,
    NotTried(&'static str),
}

fn reach(
    view: &ContainerView,
    source: &Source<'_>,
    (port, to): (String, String),
    outcome: &Outcome,
    reason: String,
) -> Reach {
    let from = match source {
        Source::Host => "this host".into(),
        Source::Outside => "the network outside".into(),
        Source::Guest { network, .. } => format!("a container on {network}"),
    };
    let reached = match outcome {
        Outcome::Reached => "yes",
        Outcome::Refused => "refused",
        Outcome::Silent => "no",
        Outcome::NotTried(_) => "not tried",
    };
    Reach { container: view.record.name.clone(), port, from, to, reached, reason }
}

fn loopback(address: IpAddr) -> IpAddr {
    if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { std::net::Ipv6Addr::LOCALHOST.into() }
}

fn transport_of(protocol: &str) -> Transport {
    if protocol == "udp" { Transport::Udp } else { Transport::Tcp }
}

/// What it publishes and what its image exposes, each once.
fn ports_inside(view: &ContainerView) -> Vec<(String, u16)> {
    let mut ports: Vec<(String, u16)> =
        view.ports.iter().map(|port| (port.protocol.clone(), port.container_port)).collect();
    ports.extend(view.exposed.iter().filter_map(|text| {
        let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        Some((protocol.to_owned(), port.parse().ok()?))
    }));
    ports.sort();
    ports.dedup();
    ports
}
