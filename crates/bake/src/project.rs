//! Services of a Compose file as targets.

use std::collections::BTreeMap;

use carrack_compose::Project;
use carrack_compose::project::{Build, Content, Service};

use crate::target::{Setting, Target};

/// The targets of the services that are built, by name. A target's name has no points.
pub(crate) fn targets(project: &Project) -> BTreeMap<String, Target> {
    let built = project.services.values().chain(project.inactive.values());
    let built = built.filter_map(|service| Some((service, service.build.as_ref()?)));
    built.map(|(service, build)| (target_name(&service.name), target(project, service, build))).collect()
}

/// The targets of services that are active, which are the default group.
pub(crate) fn active(project: &Project) -> Vec<String> {
    let active = project.services.values().filter(|service| service.build.is_some());
    active.map(|service| target_name(&service.name)).collect()
}

fn target_name(service: &str) -> String {
    service.replace('.', "_")
}

fn target(project: &Project, service: &Service, build: &Build) -> Target {
    let mut target = Target::default();
    let mut text = |key: &'static str, value: Option<&String>| {
        if let Some(value) = value {
            target.set(key, Setting::Text(value.clone()));
        }
    };
    text("context", Some(&build.context.value));
    text("dockerfile", build.dockerfile.as_ref().map(|file| &file.value));
    text("dockerfile-inline", build.dockerfile_inline.as_ref().map(|text| &text.value));
    text("target", build.target.as_ref().map(|target| &target.value));
    text("network", build.network.as_ref().map(|network| &network.value));
    text("shm-size", build.shm_size_bytes.map(|size| size.to_string()).as_ref());
    let mut list = |key: &'static str, items: Vec<String>| {
        if !items.is_empty() {
            target.set(key, Setting::List(items));
        }
    };
    let image = service.image.iter().map(|image| image.value.clone());
    list("tags", image.chain(build.tags.iter().map(|tag| tag.value.clone())).collect());
    list("platforms", build.platforms.iter().map(|platform| platform.value.clone()).collect());
    list("cache-from", build.cache_from.iter().map(|cache| cache.value.clone()).collect());
    list("cache-to", build.cache_to.iter().map(|cache| cache.value.clone()).collect());
    let privileged = build.privileged.then(|| "security.insecure".to_owned());
    list("entitlements", build.entitlements.iter().map(|right| right.value.clone()).chain(privileged).collect());
    let limit = |(name, limit): (&String, &carrack_diag::Spanned<(i64, i64)>)| {
        let (soft, hard) = limit.value;
        format!("{name}={soft}:{hard}")
    };
    list("ulimits", build.ulimits.iter().map(limit).collect());
    let agent = |(id, socket): (&String, &carrack_diag::Spanned<Option<String>>)| match &socket.value {
        Some(socket) => format!("{id}={socket}"),
        None => id.clone(),
    };
    list("ssh", build.ssh.iter().map(agent).collect());
    let secret = |grant: &carrack_compose::project::Grant| {
        let id = if grant.target.is_empty() { &grant.source.value } else { &grant.target };
        match &project.secrets.get(&grant.source.value)?.content {
            Content::File(path) => Some(format!("id={id},src={}", path.value)),
            Content::Environment(name) => Some(format!("id={id},env={}", name.value)),
            Content::Inline(_) | Content::External => None,
        }
    };
    list("secret", build.secrets.iter().filter_map(secret).collect());
    let mut pairs = |key: &'static str, pairs: BTreeMap<String, Option<String>>| {
        if !pairs.is_empty() {
            target.set(key, Setting::Pairs(pairs));
        }
    };
    pairs("args", build.args.iter().map(|(name, value)| (name.clone(), value.value.clone())).collect());
    pairs("labels", build.labels.iter().map(|(name, value)| (name.clone(), Some(value.value.clone()))).collect());
    let contexts = build.additional_contexts.iter().map(|(name, place)| {
        let place = match place.value.strip_prefix("service:") {
            Some(service) => format!("target:{}", target_name(service)),
            None => place.value.clone(),
        };
        (name.clone(), Some(place))
    });
    pairs("contexts", contexts.collect());
    let hosts = build.extra_hosts.iter().map(|host| (host.value.0.clone(), Some(host.value.1.clone())));
    pairs("extra-hosts", hosts.collect());
    for (key, is_set) in [("pull", build.pull), ("no-cache", build.no_cache)] {
        if is_set {
            target.set(key, Setting::Flag(true));
        }
    }
    target
}
