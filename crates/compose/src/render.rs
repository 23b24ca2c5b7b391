//! The canonical form of a project: names first, long forms, everything sorted. Loading it gives the same project.

use std::collections::BTreeMap;

use carrack_diag::Spanned;
use carrack_oci::probe::OnUnhealthy;
use serde_json::{Map, Value, json};

use crate::project::{
    BlockLimits, Build, Content, FileSource, Grant, Limits, Mount, MountKind, NamespaceTarget, Network,
    NetworkAttachment, Port, Project, Restart, Service, Tuning, Volume,
};
use crate::units::{decimal, format_duration};

/// The project as JSON. Values that look like variables are not escaped: this is data, not a file to be loaded.
pub fn json(project: &Project) -> Value {
    let mut root = Object::new();
    root.set("name", project.name.clone());
    root.all("services", &project.services, service);
    root.all("networks", &project.networks, network);
    root.all("volumes", &project.volumes, volume);
    root.all("secrets", &project.secrets, file_source);
    root.all("configs", &project.configs, file_source);
    root.0.extend(project.extensions.clone());
    Value::Object(root.0)
}

/// The project as a Compose file that loads to the same project: `$` is doubled.
pub fn yaml(project: &Project) -> String {
    let mut out = String::new();
    write_mapping(&mut out, &escaped(json(project)), 0);
    out
}

/// [`yaml`] in JSON, which is YAML too.
pub fn json_file(project: &Project) -> String {
    format!("{:#}\n", escaped(json(project)))
}

fn escaped(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(text.replace('$', "$$")),
        Value::Array(items) => items.into_iter().map(escaped).collect(),
        Value::Object(fields) => {
            fields.into_iter().map(|(key, value)| (key, escaped(value))).collect::<Map<_, _>>().into()
        }
        other => other,
    }
}

/// Fields in the order they are set; what is empty is left out.
struct Object(Map<String, Value>);

impl Object {
    fn new() -> Self {
        Self(Map::new())
    }

    fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.0.insert(key.to_owned(), value.into());
    }

    fn some(&mut self, key: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.set(key, value);
        }
    }

    fn text(&mut self, key: &str, value: &Option<Spanned<String>>) {
        self.some(key, value.as_ref().map(|text| text.value.clone()));
    }

    fn flag(&mut self, key: &str, value: bool) {
        self.some(key, value.then_some(true));
    }

    fn list(&mut self, key: &str, values: &[Spanned<String>]) {
        self.filled(key, values.iter().map(|value| Value::from(value.value.clone())).collect());
    }

    fn filled(&mut self, key: &str, value: Value) {
        let empty = match &value {
            Value::Array(items) => items.is_empty(),
            Value::Object(fields) => fields.is_empty(),
            _ => false,
        };
        if !empty {
            self.set(key, value);
        }
    }

    fn all<T>(&mut self, key: &str, values: &BTreeMap<String, T>, render: impl Fn(&T) -> Value) {
        let fields: Map<String, Value> = values.iter().map(|(name, value)| (name.clone(), render(value))).collect();
        self.filled(key, fields.into());
    }

    fn duration(&mut self, key: &str, ns: Option<u64>) {
        self.some(key, ns.map(format_duration));
    }

    fn size(&mut self, key: &str, bytes: Option<u64>) {
        self.some(key, bytes.map(|bytes| bytes.to_string()));
    }
}

fn tuning(tuning: &Tuning, object: &mut Object) {
    object.all("annotations", &tuning.annotations, |value| json!(value.value));
    object.filled("blkio_config", block_limits(&tuning.block));
    object.text("cgroup_parent", &tuning.cgroup_parent);
    object.some("cpu_period", tuning.cpu_period_us.map(|time| time.to_string()));
    object.some("cpu_quota", tuning.cpu_quota_us.map(|time| time.to_string()));
    object.some("cpu_rt_period", tuning.cpu_rt_period_us.map(|time| time.to_string()));
    object.some("cpu_rt_runtime", tuning.cpu_rt_runtime_us.map(|time| time.to_string()));
    object.list("device_cgroup_rules", &tuning.device_rules);
    object.some("mem_swappiness", tuning.memory_swappiness);
    object.flag("oom_kill_disable", tuning.oom_kill_disable);
    object.text("runtime", &tuning.runtime);
}

fn block_limits(block: &BlockLimits) -> Value {
    let mut object = Object::new();
    object.some("weight", block.weight);
    for (key, value, limits) in [
        ("weight_device", "weight", &block.device_weights),
        ("device_read_bps", "rate", &block.read_bps),
        ("device_write_bps", "rate", &block.write_bps),
        ("device_read_iops", "rate", &block.read_iops),
        ("device_write_iops", "rate", &block.write_iops),
    ] {
        object.filled(key, limits.iter().map(|limit| json!({ "path": limit.device, value: limit.value })).collect());
    }
    Value::Object(object.0)
}

fn service(service: &Service) -> Value {
    let mut object = Object::new();
    object.some("attach", (!service.attach).then_some(false));
    object.some("build", service.build.as_ref().map(build));
    object.list("cap_add", &service.cap_add);
    object.list("cap_drop", &service.cap_drop);
    object.some("cgroup", service.cgroup.as_ref().map(namespace));
    object.set("command", words(&service.command));
    object.filled("configs", service.configs.iter().map(grant).collect());
    object.text("container_name", &service.container_name);
    object.some("cpu_shares", service.cpu_shares);
    object.text("cpuset", &service.cpuset);
    object.filled("depends_on", depends_on(service));
    object.filled("deploy", deploy(service));
    object.filled("devices", service.devices.iter().map(|device| device_json(&device.value)).collect());
    object.filled("dns", service.dns.iter().map(|address| Value::from(address.value.to_string())).collect());
    object.list("dns_opt", &service.dns_options);
    object.list("dns_search", &service.dns_search);
    object.text("domainname", &service.domainname);
    object.set("entrypoint", words(&service.entrypoint));
    object.all("environment", &service.environment, |value| json!(value.value));
    object.list("expose", &service.expose);
    object.filled("extra_hosts", hosts(&service.extra_hosts));
    object.list("group_add", &service.group_add);
    object.some("healthcheck", service.healthcheck.as_ref().map(healthcheck));
    object.text("hostname", &service.hostname);
    object.text("image", &service.image);
    object.some("init", service.init);
    object.some("ipc", service.ipc.as_ref().map(namespace));
    object.all("labels", &service.labels, |value| json!(value.value));
    object.filled(
        "links",
        service.links.iter().map(|link| json!(format!("{}:{}", link.value.0, link.value.1))).collect(),
    );
    object.some(
        "logging",
        service.logging.as_ref().map(|logging| {
            let mut object = Object::new();
            object.text("driver", &logging.driver);
            object.all("options", &logging.options, |value| json!(value.value));
            Value::Object(object.0)
        }),
    );
    object.some("memswap_limit", service.memory_swap_bytes.map(|size| size.to_string()));
    object.some("network_mode", service.network_mode.as_ref().map(network_mode));
    object.all("networks", &service.networks, attachment);
    object.some("oom_score_adj", service.oom_score_adj);
    object.some("pid", service.pid.as_ref().map(namespace));
    object.text("platform", &service.platform);
    object.filled("ports", service.ports.iter().map(port).collect());
    object.flag("privileged", service.privileged);
    object.list("profiles", &service.profiles);
    object.text("pull_policy", &service.pull_policy);
    object.flag("read_only", service.read_only);
    object.some("restart", service.restart.as_ref().map(|restart| restart_text(restart.value)));
    object.filled("secrets", service.secrets.iter().map(grant).collect());
    object.list("security_opt", &service.security_opt);
    object.size("shm_size", service.shm_size_bytes);
    object.flag("stdin_open", service.stdin_open);
    object.duration("stop_grace_period", service.stop_grace_period_ns);
    object.text("stop_signal", &service.stop_signal);
    object.all("sysctls", &service.sysctls, |value| json!(value.value));
    object.filled("tmpfs", service.volumes.iter().filter_map(short_tmpfs).collect());
    object.flag("tty", service.tty);
    object.all("ulimits", &service.ulimits, ulimit);
    object.text("user", &service.user);
    object.some("uts", service.uts.as_ref().map(namespace));
    object.filled("volumes", service.volumes.iter().filter_map(mount).collect());
    object.text("working_dir", &service.working_dir);
    tuning(&service.tuning, &mut object);
    object.0.extend(service.extensions.clone());
    Value::Object(object.0)
}

/// Null is the image's, an empty list is none: both have to be told.
fn words(words: &Option<Spanned<Vec<String>>>) -> Value {
    words.as_ref().map_or(Value::Null, |words| json!(words.value))
}

fn build(build: &Build) -> Value {
    let mut object = Object::new();
    object.all("additional_contexts", &build.additional_contexts, |value| json!(value.value));
    object.all("args", &build.args, |value| json!(value.value));
    object.list("cache_from", &build.cache_from);
    object.list("cache_to", &build.cache_to);
    object.set("context", build.context.value.clone());
    object.text("dockerfile", &build.dockerfile);
    object.text("dockerfile_inline", &build.dockerfile_inline);
    object.list("entitlements", &build.entitlements);
    object.filled("extra_hosts", hosts(&build.extra_hosts));
    object.all("labels", &build.labels, |value| json!(value.value));
    object.text("network", &build.network);
    object.flag("no_cache", build.no_cache);
    object.list("platforms", &build.platforms);
    object.flag("privileged", build.privileged);
    object.text("provenance", &build.provenance);
    object.flag("pull", build.pull);
    object.text("sbom", &build.sbom);
    object.filled("secrets", build.secrets.iter().map(grant).collect());
    object.size("shm_size", build.shm_size_bytes);
    let agents = build.ssh.iter().map(|(id, socket)| match &socket.value {
        Some(socket) => format!("{id}={socket}"),
        None => id.clone(),
    });
    object.filled("ssh", agents.collect());
    object.list("tags", &build.tags);
    object.text("target", &build.target);
    object.all("ulimits", &build.ulimits, ulimit);
    Value::Object(object.0)
}

fn ulimit(limit: &Spanned<(i64, i64)>) -> Value {
    match limit.value {
        (soft, hard) if soft == hard => json!(soft),
        (soft, hard) => json!({"soft": soft, "hard": hard}),
    }
}

fn depends_on(service: &Service) -> Value {
    let mut object = Object::new();
    for (name, dependency) in &service.depends_on {
        let mut entry = json!({"condition": dependency.condition.as_str(), "required": dependency.required});
        if dependency.restart {
            entry["restart"] = true.into();
        }
        object.set(name, entry);
    }
    Value::Object(object.0)
}

fn deploy(service: &Service) -> Value {
    let mut object = Object::new();
    object.text("endpoint_mode", &service.endpoint_mode);
    object.some("replicas", service.replicas.as_ref().map(|replicas| replicas.value));
    let mut resources = Object::new();
    resources.filled("limits", limits(&service.limits));
    resources.filled("reservations", limits(&service.reservations));
    object.filled("resources", Value::Object(resources.0));
    object.some(
        "update_config",
        service.update.map(|update| {
            let order = if update.start_first { "start-first" } else { "stop-first" };
            json!({"order": order, "parallelism": update.parallelism})
        }),
    );
    Value::Object(object.0)
}

fn limits(limits: &Limits) -> Value {
    let mut object = Object::new();
    object.some("cpus", limits.nano_cpus.as_ref().map(|cpus| decimal(cpus.value, 1_000_000_000)));
    object.size("memory", limits.memory_bytes.as_ref().map(|memory| memory.value));
    object.some("pids", limits.pids.as_ref().map(|pids| pids.value));
    Value::Object(object.0)
}

fn device_json(device: &crate::project::Device) -> Value {
    json!({"source": device.source, "target": device.target, "permissions": device.permissions})
}

fn hosts(hosts: &[Spanned<(String, String)>]) -> Value {
    hosts.iter().map(|host| json!(format!("{}={}", host.value.0, host.value.1))).collect()
}

fn healthcheck(check: &crate::project::Healthcheck) -> Value {
    let mut object = Object::new();
    if check.is_disabled() {
        object.set("disable", true);
    } else {
        object.filled("test", json!(check.test));
    }
    object.duration("interval", check.interval_ns);
    object.duration("timeout", check.timeout_ns);
    object.duration("start_period", check.start_period_ns);
    object.duration("start_interval", check.start_interval_ns);
    object.some("retries", check.retries);
    object.some("x-carrack-probe", check.probe.clone());
    if check.on_unhealthy != OnUnhealthy::default() {
        object.set("x-carrack-on-failure", check.on_unhealthy.to_string());
    }
    Value::Object(object.0)
}

/// As the Compose file writes it.
pub(crate) fn restart_text(restart: Restart) -> String {
    match restart {
        Restart::No => "no".into(),
        Restart::Always => "always".into(),
        Restart::UnlessStopped => "unless-stopped".into(),
        Restart::OnFailure(None) => "on-failure".into(),
        Restart::OnFailure(Some(retries)) => format!("on-failure:{retries}"),
    }
}

fn namespace(target: &Spanned<NamespaceTarget>) -> String {
    match &target.value {
        NamespaceTarget::Host => "host".into(),
        NamespaceTarget::Private => "private".into(),
        NamespaceTarget::None => "none".into(),
        NamespaceTarget::Shareable => "shareable".into(),
        NamespaceTarget::Service(name) => format!("service:{name}"),
        NamespaceTarget::Container(name) => format!("container:{name}"),
    }
}

fn network_mode(target: &Spanned<NamespaceTarget>) -> String {
    match &target.value {
        NamespaceTarget::Private => "bridge".into(),
        _ => namespace(target),
    }
}

fn attachment(attachment: &NetworkAttachment) -> Value {
    let mut object = Object::new();
    object.list("aliases", &attachment.aliases);
    object.all("driver_opts", &attachment.driver_options, |value| json!(value));
    object.some("gw_priority", Some(attachment.gateway_priority).filter(|priority| *priority != 0));
    object.some("ipv4_address", attachment.ipv4.as_ref().map(|address| address.value.to_string()));
    object.some("ipv6_address", attachment.ipv6.as_ref().map(|address| address.value.to_string()));
    object.text("interface_name", &attachment.interface);
    let link_local: Vec<String> = attachment.link_local.iter().map(|address| address.value.to_string()).collect();
    object.some("link_local_ips", Some(link_local).filter(|all| !all.is_empty()));
    object.text("mac_address", &attachment.mac);
    object.some("priority", Some(attachment.priority).filter(|priority| *priority != 0));
    if object.0.is_empty() { Value::Null } else { Value::Object(object.0) }
}

fn port(port: &Port) -> Value {
    let mut object = Object::new();
    object.some("name", port.name.clone());
    object.set("mode", port.mode.clone().unwrap_or_else(|| "ingress".into()));
    object.some("host_ip", port.host_ip.map(|address| address.to_string()));
    object.set("target", port.target);
    object.some(
        "published",
        port.published.map(|range| match range {
            (low, high) if low == high => low.to_string(),
            (low, high) => format!("{low}-{high}"),
        }),
    );
    object.set("protocol", port.protocol);
    object.some("app_protocol", port.app_protocol.clone());
    Value::Object(object.0)
}

/// A temporary file system with options that only the short form can express.
fn short_tmpfs(mount: &Mount) -> Option<Value> {
    let MountKind::Tmpfs { size_bytes, mode, options } = &mount.kind else { return None };
    if options.is_empty() {
        return None;
    }
    let size = size_bytes.map(|size| format!("size={size}"));
    let mode = mode.map(|mode| format!("mode={mode:04o}"));
    let options: Vec<String> = size.into_iter().chain(mode).chain(options.iter().cloned()).collect();
    Some(json!(format!("{}:{}", mount.target.value, options.join(","))))
}

fn mount(mount: &Mount) -> Option<Value> {
    let mut object = Object::new();
    let mut options = Object::new();
    let (kind, source) = match &mount.kind {
        MountKind::Bind { source, create, propagation, recursive, writable_below } => {
            options.set("create_host_path", *create);
            options.some("propagation", propagation.clone());
            let recursive = if *writable_below { Some("writable") } else { (!recursive).then_some("disabled") };
            options.some("recursive", recursive);
            ("bind", Some(source.value.clone()))
        }
        MountKind::Volume { source, subpath, no_copy } => {
            options.flag("nocopy", *no_copy);
            options.some("subpath", subpath.clone());
            ("volume", source.as_ref().map(|source| source.value.clone()))
        }
        MountKind::Tmpfs { size_bytes, mode, options: others } if others.is_empty() => {
            options.size("size", *size_bytes);
            options.some("mode", mode.map(|mode| format!("{mode:04o}")));
            ("tmpfs", None)
        }
        MountKind::Tmpfs { .. } => return None,
    };
    object.set("type", kind);
    object.some("source", source);
    object.set("target", mount.target.value.clone());
    object.flag("read_only", mount.read_only);
    object.filled(kind, Value::Object(options.0));
    Some(Value::Object(object.0))
}

fn grant(grant: &Grant) -> Value {
    let mut object = Object::new();
    object.set("source", grant.source.value.clone());
    object.set("target", grant.target.clone());
    object.some("uid", grant.uid.as_ref().map(|uid| uid.value.to_string()));
    object.some("gid", grant.gid.as_ref().map(|gid| gid.value.to_string()));
    object.some("mode", grant.mode.map(|mode| format!("{mode:04o}")));
    Value::Object(object.0)
}

fn network(network: &Network) -> Value {
    let mut object = Object::new();
    object.set("name", network.name.value.clone());
    if network.external {
        object.set("external", true);
        return Value::Object(object.0);
    }
    object.text("driver", &network.driver);
    object.all("driver_opts", &network.driver_options, |value| json!(value));
    object.flag("attachable", network.attachable);
    object.flag("internal", network.internal);
    object.some("enable_ipv4", (!network.ipv4).then_some(false));
    object.flag("enable_ipv6", network.ipv6);
    let subnets: Value = network.subnets.iter().map(subnet).collect();
    object.some("ipam", (!network.subnets.is_empty()).then(|| json!({"config": subnets})));
    object.all("labels", &network.labels, |value| json!(value.value));
    Value::Object(object.0)
}

fn subnet(subnet: &crate::project::Subnet) -> Value {
    let mut object = Object::new();
    object.text("subnet", &subnet.subnet);
    object.text("ip_range", &subnet.ip_range);
    object.some("gateway", subnet.gateway.as_ref().map(|gateway| gateway.value.to_string()));
    object.all("aux_addresses", &subnet.reserved, |value| json!(value));
    Value::Object(object.0)
}

fn volume(volume: &Volume) -> Value {
    let mut object = Object::new();
    object.set("name", volume.name.value.clone());
    if volume.external {
        object.set("external", true);
        return Value::Object(object.0);
    }
    object.text("driver", &volume.driver);
    object.all("driver_opts", &volume.driver_options, |value| json!(value));
    object.all("labels", &volume.labels, |value| json!(value.value));
    Value::Object(object.0)
}

fn file_source(source: &FileSource) -> Value {
    let mut object = Object::new();
    object.set("name", source.name.value.clone());
    match &source.content {
        Content::File(path) => object.set("file", path.value.clone()),
        Content::Environment(name) => object.set("environment", name.value.clone()),
        Content::Inline(text) => object.set("content", text.value.clone()),
        Content::External => object.set("external", true),
    }
    object.all("labels", &source.labels, |value| json!(value.value));
    Value::Object(object.0)
}

fn write_mapping(out: &mut String, value: &Value, indent: usize) {
    let Value::Object(fields) = value else { return };
    for (key, value) in fields {
        out.push_str(&" ".repeat(indent));
        write_entry(out, key, value, indent);
    }
}

fn write_entry(out: &mut String, key: &str, value: &Value, indent: usize) {
    out.push_str(&scalar(key));
    out.push(':');
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            out.push('\n');
            write_mapping(out, value, indent + 2);
        }
        Value::Array(items) if !items.is_empty() => {
            out.push('\n');
            write_sequence(out, items, indent + 2);
        }
        other => {
            out.push(' ');
            out.push_str(&leaf(other));
            out.push('\n');
        }
    }
}

fn write_sequence(out: &mut String, items: &[Value], indent: usize) {
    for item in items {
        out.push_str(&" ".repeat(indent));
        out.push_str("- ");
        match item {
            Value::Object(fields) if !fields.is_empty() => {
                for (index, (key, value)) in fields.iter().enumerate() {
                    if index > 0 {
                        out.push_str(&" ".repeat(indent + 2));
                    }
                    write_entry(out, key, value, indent + 2);
                }
            }
            // A list in a list: nobody reads it, so flow style will do. JSON is YAML.
            Value::Array(items) if !items.is_empty() => {
                out.push_str(&item.to_string());
                out.push('\n');
            }
            other => {
                out.push_str(&leaf(other));
                out.push('\n');
            }
        }
    }
}

fn leaf(value: &Value) -> String {
    match value {
        Value::String(text) => scalar(text),
        Value::Array(_) => "[]".into(),
        Value::Object(_) => "{}".into(),
        other => other.to_string(),
    }
}

/// A text as a YAML scalar: bare where every reader of YAML takes it for text, else in JSON's quotes.
fn scalar(text: &str) -> String {
    let bare = |character: char| character.is_ascii_alphanumeric() || "/_.@+$-".contains(character);
    let starts =
        text.starts_with(|character: char| character.is_ascii_alphabetic() || matches!(character, '/' | '_' | '$'));
    let word = text.to_ascii_lowercase();
    let reserved = matches!(word.as_str(), "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n" | "~");
    let colons = text.contains(':') && !text.contains(": ") && !text.ends_with(':');
    let plain = text.chars().all(|character| bare(character) || (colons && character == ':') || character == ' ');
    if starts && plain && !reserved && !text.ends_with(' ') && !text.contains("  ") {
        return text.to_owned();
    }
    Value::String(text.to_owned()).to_string()
}
