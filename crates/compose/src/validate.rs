//! What no single value shows: names that have to exist, services that wait for each other, ports taken twice.

use std::collections::BTreeMap;
use std::net::IpAddr;

use carrack_diag::{Code, Diagnostic, Diagnostics, FileId, Span, Spanned, nearest};

use crate::codes;
use crate::node::Node;
use crate::project::{Build, Condition, Content, MountKind, NamespaceTarget, Port, Project, Service};
use crate::read::MAX_DIAGNOSTICS;
use crate::units;

pub(crate) fn check(project: &mut Project, root: &Node, base: Option<FileId>, diagnostics: &mut Diagnostics) {
    let mut checks = Checks { project, diagnostics };
    if checks.project.services.is_empty() && checks.project.inactive.is_empty() {
        if checks.diagnostics.iter().any(Diagnostic::is_error) {
            return;
        }
        let mut diagnostic = Diagnostic::error(&codes::NO_SERVICES, "the project defines no service")
            .hint("add one below `services:`, as `web: {image: nginx:1.27}`");
        if let Some(services) = root.entries().iter().find(|entry| entry.key.value == "services") {
            diagnostic = diagnostic.at(services.key.span, "empty");
        } else if base.is_some() {
            diagnostic = diagnostic.at(root.span, "no `services:` here");
        }
        checks.diagnostics.push(diagnostic);
        return;
    }
    let nodes: BTreeMap<&str, &Node> = root
        .get("services")
        .map(|services| services.entries().iter().map(|entry| (entry.key.value.as_str(), &entry.value)).collect())
        .unwrap_or_default();
    for service in checks.project.services.values() {
        if checks.diagnostics.len() < MAX_DIAGNOSTICS {
            images(service, nodes.get(service.name.as_str()).copied(), base, checks.project, checks.diagnostics);
        }
    }
    checks.dependencies();
    for service in checks.project.services.values() {
        if checks.diagnostics.len() >= MAX_DIAGNOSTICS {
            break;
        }
        references(service, checks.project, checks.diagnostics);
        options(service, checks.diagnostics);
        replicas(service, checks.diagnostics);
        unpublishable(service, checks.diagnostics);
        addresses(service, checks.project, checks.diagnostics);
    }
    platform(checks.project, checks.diagnostics);
    container_names(checks.project, checks.diagnostics);
    ports(checks.project, checks.diagnostics);
    checks.cycles();
}

struct Checks<'a> {
    project: &'a mut Project,
    diagnostics: &'a mut Diagnostics,
}

fn images(
    service: &Service,
    node: Option<&Node>,
    base: Option<FileId>,
    project: &Project,
    diagnostics: &mut Diagnostics,
) {
    let elsewhere = node.is_some_and(|node| node.get("provider").is_some() || node.get("extends").is_some());
    if service.image.is_some() || service.build.is_some() || elsewhere {
        return;
    }
    let name = &service.name;
    let others = project.services.values().chain(project.inactive.values());
    let overriding = base.is_some_and(|base| service.span.file != base);
    let near = nearest(name, others.filter(|other| Some(other.span.file) == base).map(|other| other.name.as_str()));
    let diagnostic = if overriding {
        let message = format!("this override of `{name}` reaches no service: no base file has one of this name");
        Diagnostic::error(&codes::OVERRIDE_WITHOUT_BASE, message).at(service.span, "neither overrides nor has an image")
    } else {
        Diagnostic::error(&codes::NO_IMAGE, format!("the service `{name}` has neither `image` nor `build`"))
            .at(service.span, "can't be run")
    };
    let hint = match near.filter(|_| overriding) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "add `image:` or `build:`".to_owned(),
    };
    diagnostics.push(diagnostic.hint(hint));
}

impl Checks<'_> {
    /// Dependencies exist and are active; those that may be missing and are, go.
    fn dependencies(&mut self) {
        let active: Vec<String> = self.project.services.keys().cloned().collect();
        let inactive: BTreeMap<String, String> = self
            .project
            .inactive
            .values()
            .map(|service| {
                let profile = service.profiles.first().map(|profile| profile.value.clone());
                (service.name.clone(), profile.unwrap_or_default())
            })
            .collect();
        let checks: BTreeMap<String, Check> =
            self.project.services.values().map(|service| (service.name.clone(), Check::of(service))).collect();
        for service in self.project.services.values_mut() {
            let name = service.name.clone();
            service.depends_on.retain(|wanted, dependency| {
                if let Some(check) = checks.get(wanted) {
                    if dependency.condition == Condition::Healthy {
                        self.diagnostics.extend(no_healthcheck(&name, wanted, *check, dependency.span));
                    }
                    return true;
                }
                if !dependency.required || self.diagnostics.len() >= MAX_DIAGNOSTICS {
                    return false;
                }
                self.diagnostics.push(match inactive.get(wanted) {
                    Some(profile) => Diagnostic::error(
                        &codes::INACTIVE_SERVICE,
                        format!("`{name}` needs `{wanted}`, which is not active"),
                    )
                    .at(dependency.span, "depends on it here")
                    .hint(format!("add `--profile {profile}`, or `required: false` to this dependency")),
                    None => {
                        let names = active.iter().chain(inactive.keys()).map(String::as_str);
                        let message = format!("`{name}` depends on `{wanted}`, which is not defined");
                        Diagnostic::error(&codes::UNKNOWN_SERVICE, message)
                            .at(dependency.span, "no such service")
                            .hint(did_you_mean(wanted, names, "define it under `services:`"))
                    }
                });
                false
            });
        }
    }

    /// Services are taken away that wait for none of the rest; what can't be taken away waits in a ring, or for one.
    fn cycles(&mut self) {
        let services = &self.project.services;
        let mut waiting: BTreeMap<&str, usize> =
            services.iter().map(|(name, service)| (name.as_str(), service.depends_on.len())).collect();
        let mut dependents: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (name, service) in services {
            for wanted in service.depends_on.keys() {
                dependents.entry(wanted).or_default().push(name);
            }
        }
        let mut free: Vec<&str> = waiting.iter().filter(|(_, count)| **count == 0).map(|(name, _)| *name).collect();
        while !waiting.is_empty() && self.diagnostics.len() < MAX_DIAGNOSTICS {
            while let Some(name) = free.pop() {
                waiting.remove(name);
                for dependent in dependents.get(name).into_iter().flatten() {
                    if let Some(count) = waiting.get_mut(dependent) {
                        *count = count.saturating_sub(1);
                        if *count == 0 {
                            free.push(dependent);
                        }
                    }
                }
            }
            let ring = ring(services, &waiting);
            if ring.is_empty() {
                return;
            }
            self.diagnostics.push(cycle(&ring));
            free.extend(ring.iter().map(|(name, _)| *name));
        }
    }
}

/// A ring among the services that wait: whoever follows their dependencies comes around. Each with the place it waits at.
fn ring<'a>(services: &'a BTreeMap<String, Service>, waiting: &BTreeMap<&'a str, usize>) -> Vec<(&'a str, Span)> {
    let mut way: Vec<(&str, Span)> = Vec::new();
    let mut met: BTreeMap<&str, usize> = BTreeMap::new();
    let mut next = waiting.keys().next().copied();
    while let Some(name) = next {
        if let Some(start) = met.insert(name, way.len()) {
            return way.split_off(start);
        }
        let mut dependencies = services.get(name).into_iter().flat_map(|service| &service.depends_on);
        let Some((wanted, dependency)) = dependencies.find(|(wanted, _)| waiting.contains_key(wanted.as_str())) else {
            break;
        };
        way.push((name, dependency.span));
        next = Some(wanted);
    }
    Vec::new()
}

fn cycle(ring: &[(&str, Span)]) -> Diagnostic {
    let mut names: Vec<&str> = ring.iter().map(|(name, _)| *name).collect();
    names.extend(names.first().copied());
    let message = format!("services wait for each other: {}", names.join(" → "));
    let mut diagnostic = Diagnostic::error(&codes::DEPENDENCY_CYCLE, message);
    for (index, (from, span)) in ring.iter().enumerate() {
        diagnostic = diagnostic.at(*span, format!("`{from}` waits for `{}`", names[index + 1]));
    }
    diagnostic.hint("remove one of these dependencies")
}

/// What the file says of a service's health check.
#[derive(Clone, Copy)]
enum Check {
    Given,
    /// The image may have one.
    Unsaid,
    Disabled(Span),
}

impl Check {
    fn of(service: &Service) -> Self {
        match &service.healthcheck {
            Some(check) if check.is_disabled() => Self::Disabled(check.span),
            Some(check) if !check.effective_test().is_empty() => Self::Given,
            _ => Self::Unsaid,
        }
    }
}

fn no_healthcheck(name: &str, wanted: &str, check: Check, span: Span) -> Option<Diagnostic> {
    let hint = format!("add a `healthcheck:` to `{wanted}`, or wait for `service_started`");
    match check {
        Check::Given => None,
        Check::Unsaid => {
            let message = format!("`{name}` waits for `{wanted}` to be healthy, and the file gives it no health check");
            let hint = format!("unless the image of `{wanted}` has one, {hint}");
            Some(Diagnostic::note(&codes::NO_HEALTHCHECK, message).at(span, "waits here").hint(hint))
        }
        Check::Disabled(disabled) => {
            let message = format!("`{name}` waits for `{wanted}` to be healthy, which it can never be");
            let diagnostic = Diagnostic::error(&codes::NO_HEALTHCHECK, message).at(span, "waits here");
            Some(diagnostic.at(disabled, "the check is switched off").hint(hint))
        }
    }
}

fn did_you_mean<'a>(word: &str, names: impl Iterator<Item = &'a str>, otherwise: &str) -> String {
    nearest(word, names).map_or_else(|| otherwise.to_owned(), |near| format!("did you mean `{near}`?"))
}

/// Networks, volumes, secrets and configs that a service names are defined.
fn references(service: &Service, project: &Project, diagnostics: &mut Diagnostics) {
    let mut missing = |code: &'static Code, kind: &str, name: &str, span: Span, known: Vec<&String>| {
        if known.iter().any(|known| *known == name) {
            return;
        }
        let otherwise = format!("define it under the top-level `{kind}s:`");
        diagnostics.push(
            Diagnostic::error(code, format!("`{}` uses the {kind} `{name}`, which is not defined", service.name))
                .at(span, format!("no such {kind}"))
                .hint(did_you_mean(name, known.into_iter().map(String::as_str), &otherwise)),
        );
    };
    for (name, attachment) in &service.networks {
        let known = project.networks.keys().collect();
        missing(&codes::UNKNOWN_NETWORK, "network", name, attachment.span, known);
    }
    for mount in &service.volumes {
        if let MountKind::Volume { source: Some(source), .. } = &mount.kind {
            let known = project.volumes.keys().collect();
            missing(&codes::UNKNOWN_VOLUME, "volume", &source.value, source.span, known);
        }
    }
    for (_, named) in service.build.iter().flat_map(Build::services) {
        let known = project.services.keys().chain(project.inactive.keys()).collect();
        missing(&codes::UNKNOWN_SERVICE, "service", named.value, named.span, known);
    }
    let built = service.build.iter().flat_map(|build| &build.secrets);
    for grant in service.secrets.iter().chain(built) {
        let known = project.secrets.keys().collect();
        missing(&codes::UNKNOWN_SECRET, "secret", &grant.source.value, grant.source.span, known);
    }
    for grant in &service.configs {
        let known = project.configs.keys().collect();
        missing(&codes::UNKNOWN_CONFIG, "config", &grant.source.value, grant.source.span, known);
    }
}

/// Texts with a grammar of their own.
fn options(service: &Service, diagnostics: &mut Diagnostics) {
    let not_yet = |span: Span, what: String| Diagnostic::warning(&codes::NOT_YET, what).at(span, "has no effect");
    let name = &service.name;
    for option in &service.security_opt {
        let text = option.value.as_str();
        let (key, value) = text.split_once([':', '=']).unwrap_or((text, ""));
        match (key, value) {
            ("no-new-privileges", "" | "true" | "false") | ("apparmor" | "seccomp", _) => {}
            ("systempaths", "unconfined") | ("writable-cgroups", "true" | "false") | ("label", "disable") => {}
            ("label", _) => diagnostics.push(not_yet(
                option.span,
                format!("`{name}`: SELinux labels are not implemented yet: the container gets none"),
            )),
            _ => diagnostics.push(
                Diagnostic::error(&codes::INVALID_VALUE, format!("`{name}` has an unknown security option `{text}`"))
                    .at(option.span, "can't be understood")
                    .hint("it is `no-new-privileges:true`, `seccomp=unconfined` or `apparmor=PROFILE`"),
            ),
        }
    }
    if let Some(mode) = service.endpoint_mode.as_ref().filter(|mode| mode.value == "vip") {
        let message = format!("`{name}`: `vip` is not implemented yet: the name gives the containers' own addresses");
        diagnostics.push(not_yet(mode.span, message));
    }
    for (option, value) in service.logging.iter().flat_map(|logging| &logging.options) {
        let (valid, hint) = match option.as_str() {
            "max-size" => (units::size_bytes(&value.value).is_some_and(|size| size > 0), "it is a size, as `10m`"),
            "max-file" => (value.value.parse::<u32>().is_ok_and(|files| files > 0), "it is a number from 1"),
            "labels" | "env" | "labels-regex" | "env-regex" | "tag" => (true, ""),
            "max-buffer-size" => (units::size_bytes(&value.value).is_some(), "it is a size, as `4m`"),
            "mode" => {
                (matches!(value.value.as_str(), "blocking" | "non-blocking"), "it is `blocking` or `non-blocking`")
            }
            "compress" => {
                let one_file = service.logging.as_ref().and_then(|logging| logging.options.get("max-file"));
                let is_alone = value.value == "true" && one_file.is_some_and(|files| files.value == "1");
                let is_known = matches!(value.value.as_str(), "true" | "false");
                (is_known && !is_alone, "it is `true` or `false`, and `true` with a `max-file` from 2 only")
            }
            _ => {
                let message = format!("`{name}`: the log option `{option}` is not implemented yet");
                diagnostics.push(not_yet(value.span, message));
                continue;
            }
        };
        if !valid {
            let message = format!("`{name}` has the log option `{option}`, which can't be `{}`", value.value);
            diagnostics.push(
                Diagnostic::error(&codes::INVALID_VALUE, message).at(value.span, "can't be understood").hint(hint),
            );
        }
    }
    if let Some(driver) = service.logging.as_ref().and_then(|logging| logging.driver.as_ref())
        && !matches!(driver.value.as_str(), "json-file" | "local" | "none")
    {
        diagnostics.push(not_yet(
            driver.span,
            format!(
                "`{name}`: the log driver `{}` is not implemented yet: the log is kept as `json-file`",
                driver.value
            ),
        ));
    }
}

/// What the host would have to offer.
fn platform(project: &Project, diagnostics: &mut Diagnostics) {
    for (name, network) in &project.networks {
        for subnet in network.subnets.iter().skip(1).filter_map(|subnet| subnet.subnet.as_ref()) {
            let message =
                format!("`networks.{name}`: a second subnet is not implemented yet: addresses come from the first");
            diagnostics.push(Diagnostic::warning(&codes::NOT_YET, message).at(subnet.span, "has no effect"));
        }
        if let Some(driver) =
            network.driver.as_ref().filter(|driver| !matches!(driver.value.as_str(), "bridge" | "default" | ""))
        {
            diagnostics.push(unknown_driver(
                format!("networks.{name}"),
                driver,
                match driver.value.as_str() {
                    "host" | "none" | "null" => "write `network_mode:` of a service for that",
                    "overlay" => "an overlay spans the hosts of a Swarm; on one host a bridge does the same: remove it",
                    _ => "remove it: what a bridge does not do, nothing here does yet",
                },
            ));
        }
    }
    for (name, volume) in &project.volumes {
        if let Some(driver) = volume.driver.as_ref().filter(|driver| !matches!(driver.value.as_str(), "local" | "")) {
            let hint = "a volume of the driver `local` mounts NFS and much else by its `driver_opts`";
            diagnostics.push(unknown_driver(format!("volumes.{name}"), driver, hint));
        }
    }
    for (kind, sources) in [("secrets", &project.secrets), ("configs", &project.configs)] {
        for (name, source) in sources.iter().filter(|(_, source)| source.content == Content::External) {
            let message = format!("`{kind}.{name}` is external, which is not implemented yet: nothing provides it");
            diagnostics.push(Diagnostic::warning(&codes::NOT_YET, message).at(source.span, "has no content"));
        }
    }
}

/// Another one in its place would keep other promises.
fn unknown_driver(path: String, driver: &Spanned<String>, hint: &str) -> Diagnostic {
    let message = format!("`{path}`: there is no driver `{}`", driver.value);
    Diagnostic::error(&codes::UNKNOWN_DRIVER, message).at(driver.span, "can't be had").hint(hint)
}

fn replicas(service: &Service, diagnostics: &mut Diagnostics) {
    let Some(replicas) = service.replicas.as_ref().filter(|replicas| replicas.value > 1) else { return };
    if let Some(name) = &service.container_name {
        let message = format!("`{}` wants {} replicas and one container name", service.name, replicas.value);
        diagnostics.push(
            Diagnostic::error(&codes::REPLICAS_WITH_NAME, message)
                .at(name.span, "names one container")
                .at(replicas.span, "wants several")
                .hint("remove `container_name`, or run one replica"),
        );
    }
    let short = service
        .ports
        .iter()
        .find(|port| port.published.is_some_and(|(low, high)| u32::from(high - low) + 1 < replicas.value));
    if let Some(port) = short {
        let (low, high) = port.published.unwrap_or_default();
        let wanted = replicas.value;
        let message = format!("`{}` wants {wanted} replicas, which can't all publish the port {low}", service.name);
        let last = u32::from(low) + wanted - 1;
        let hint = if last <= 65535 {
            format!("give a range, as \"{low}-{last}:{}\", or let a proxy publish the port", port.target)
        } else {
            "let a proxy publish the port".to_owned()
        };
        let label = if low == high { "one port of the host" } else { "fewer ports than replicas" };
        diagnostics.push(
            Diagnostic::error(&codes::REPLICAS_WITH_PORT, message)
                .at(port.span, label)
                .at(replicas.span, "wants several")
                .hint(hint),
        );
    }
}

/// A container that has no network namespace of its own publishes nothing.
fn unpublishable(service: &Service, diagnostics: &mut Diagnostics) {
    let (Some(port), Some(mode)) = (service.ports.first(), &service.network_mode) else { return };
    let name = &service.name;
    let diagnostic = match &mode.value {
        NamespaceTarget::Private | NamespaceTarget::Shareable => return,
        // The port is reachable all the same, under the number that the program listens on.
        NamespaceTarget::Host => Diagnostic::warning(
            &codes::CONFLICTING_KEYS,
            format!("`{name}` publishes no ports: it is on the host's own network"),
        )
        .hint("remove `ports`: the program's ports are the host's"),
        NamespaceTarget::None | NamespaceTarget::Service(_) | NamespaceTarget::Container(_) => Diagnostic::error(
            &codes::CONFLICTING_KEYS,
            format!("`{name}` can't publish ports: it has no network of its own"),
        )
        .hint("publish them on the service whose network it shares, or remove `network_mode`"),
    };
    diagnostics.push(diagnostic.at(port.span, "published here").at(mode.span, "without a network of its own"));
}

/// A fixed address lies in a subnet that its network asks for.
fn addresses(service: &Service, project: &Project, diagnostics: &mut Diagnostics) {
    for (name, attachment) in &service.networks {
        let Some(network) = project.networks.get(name).filter(|network| !network.external) else { continue };
        let wanted = [
            attachment.ipv4.as_ref().map(|address| Spanned::new(IpAddr::V4(address.value), address.span)),
            attachment.ipv6.as_ref().map(|address| Spanned::new(IpAddr::V6(address.value), address.span)),
        ];
        for address in wanted.into_iter().flatten() {
            let ranges: Vec<&Spanned<String>> =
                network.subnets.iter().filter_map(|subnet| subnet.subnet.as_ref()).collect();
            if ranges.iter().any(|range| contains(&range.value, address.value)) {
                continue;
            }
            let message = format!("{} is in no subnet of the network `{name}`", address.value);
            let mut diagnostic = Diagnostic::error(&codes::INVALID_VALUE, message).at(address.span, "fixed here");
            for range in &ranges {
                diagnostic = diagnostic.at(range.span, "not in this one");
            }
            diagnostics.push(diagnostic.hint(format!("give `networks.{name}.ipam.config` a `subnet` that covers it")));
        }
    }
}

fn contains(range: &str, address: IpAddr) -> bool {
    let Some((network, bits)) = range.split_once('/') else { return false };
    let Ok(bits) = bits.parse::<u32>() else { return false };
    match (network.parse(), address) {
        (Ok(IpAddr::V4(network)), IpAddr::V4(address)) => {
            let shift = 32u32.saturating_sub(bits);
            u64::from(u32::from(network)) >> shift == u64::from(u32::from(address)) >> shift
        }
        (Ok(IpAddr::V6(network)), IpAddr::V6(address)) => {
            let shift = 128u32.saturating_sub(bits);
            let cut = |address| u128::from(address).checked_shr(shift).unwrap_or(0);
            cut(network) == cut(address)
        }
        _ => false,
    }
}

fn container_names(project: &Project, diagnostics: &mut Diagnostics) {
    let mut taken: BTreeMap<&str, Span> = BTreeMap::new();
    for name in project.services.values().filter_map(|service| service.container_name.as_ref()) {
        match taken.get(name.value.as_str()) {
            None => drop(taken.insert(&name.value, name.span)),
            Some(first) => diagnostics.push(
                Diagnostic::error(
                    &codes::DUPLICATE_CONTAINER_NAME,
                    format!("two services take the container name `{}`", name.value),
                )
                .at(name.span, "taken again here")
                .at(*first, "taken here")
                .hint("change or remove one of them"),
            ),
        }
    }
}

fn ports(project: &Project, diagnostics: &mut Diagnostics) {
    let running =
        project.services.values().filter(|service| service.replicas.as_ref().is_none_or(|replicas| replicas.value > 0));
    let fixed: Vec<(&Service, &Port)> = running
        .flat_map(|service| service.ports.iter().map(move |port| (service, port)))
        .filter(|(_, port)| port.published.is_some_and(|(low, high)| low == high))
        .collect();
    type Published<'a> = Vec<(&'a Service, &'a Port)>;
    let mut taken: BTreeMap<_, Published<'_>> = BTreeMap::new();
    for (service, port) in fixed {
        let others = taken.entry((port.published, port.protocol)).or_default();
        let clash = others.iter().find(|(_, other)| same_address(port.host_ip, other.host_ip)).copied();
        if let Some((other_service, other)) = clash {
            let (published, _) = port.published.unwrap_or_default();
            let message = format!(
                "`{}` and `{}` both publish the port {published} of the host",
                other_service.name, service.name
            );
            diagnostics.push(
                Diagnostic::error(&codes::PORT_CONFLICT, message)
                    .at(port.span, "published again here")
                    .at(other.span, "published here")
                    .hint("change one of them, or bind them to different addresses"),
            );
        } else {
            others.push((service, port));
        }
    }
}

/// Whether a port can't be bound at both. None is every address.
fn same_address(one: Option<IpAddr>, other: Option<IpAddr>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => {
            one == other || (one.is_ipv4() == other.is_ipv4() && (one.is_unspecified() || other.is_unspecified()))
        }
        _ => true,
    }
}
