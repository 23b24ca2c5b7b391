//! A service out of its node.

use std::collections::BTreeMap;

use carrack_diag::{Diagnostic, Spanned};
use carrack_oci::probe::OnUnhealthy;

use crate::node::{Entry, Node, Value};
use crate::project::{
    Condition, Dependency, DependencyKind, Device, Grant, Healthcheck, Logging, NamespaceTarget, Restart, Service,
};
use crate::read::{Reading, extensions, mode};
use crate::{codes, dotenv, schema, units, words};

impl Reading<'_> {
    pub(crate) fn service(&mut self, entry: &Entry, path: &str) -> Option<Service> {
        let node = &entry.value;
        self.mapping(node, path, schema::SERVICE).then_some(())?;
        let deploy = self.deploy(node, path);
        let init = self.boolean_of(node, path, "init");
        let oom = "it is a number from -1000 to 1000";
        let nice = |text: &str| text.parse().ok().filter(|score| (-1000..=1000).contains(score));
        let swap = |text: &str| if text == "-1" { Some(-1) } else { units::size_bytes(text)?.try_into().ok() };
        let mut service = Service {
            name: entry.key.value.clone(),
            span: entry.key.span,
            image: self.image(node, path),
            build: node.get("build").and_then(|build| self.build(build, &format!("{path}.build"))),
            pull_policy: self.pull_policy(node, path),
            platform: self.filled_of(node, path, "platform"),
            entrypoint: self.command_of(node, path, "entrypoint"),
            command: self.command_of(node, path, "command"),
            environment: self.environment(node, path),
            labels: self.labels_of(node, path),
            depends_on: self.depends_on(node, path),
            healthcheck: node
                .get("healthcheck")
                .and_then(|check| self.healthcheck(check, &format!("{path}.healthcheck"))),
            restart: self.restart(node, path).or(deploy.restart),
            profiles: self.list_of(node, path, "profiles", false),
            replicas: self.replicas(node, path, deploy.replicas),
            update: deploy.update,
            endpoint_mode: deploy.endpoint_mode,
            container_name: self.container_name(node, path),
            hostname: self.filled_of(node, path, "hostname"),
            domainname: self.filled_of(node, path, "domainname"),
            user: self.filled_of(node, path, "user"),
            group_add: self.list_of(node, path, "group_add", false),
            working_dir: self.filled_of(node, path, "working_dir"),
            tty: self.boolean_of(node, path, "tty").unwrap_or(false),
            stdin_open: self.boolean_of(node, path, "stdin_open").unwrap_or(false),
            init,
            attach: self.boolean_of(node, path, "attach").unwrap_or(true),
            stop_signal: self.filled_of(node, path, "stop_signal"),
            stop_grace_period_ns: self.duration_of(node, path, "stop_grace_period"),
            ports: self.ports(node, path),
            expose: self.exposed(node, path),
            network_mode: self.namespace(node, path, "network_mode"),
            networks: self.attachments(node, path),
            extra_hosts: self.extra_hosts(node, path),
            dns: self.name_servers(node, path),
            dns_search: self.list_of(node, path, "dns_search", true),
            dns_options: self.list_of(node, path, "dns_opt", false),
            links: self.links(node, path),
            pid: self.namespace(node, path, "pid"),
            ipc: self.namespace(node, path, "ipc"),
            uts: self.namespace(node, path, "uts"),
            cgroup: self.namespace(node, path, "cgroup"),
            volumes: self.mounts(node, path),
            secrets: self.grants(node, path, "secrets", "/run/secrets/"),
            configs: self.grants(node, path, "configs", "/"),
            devices: self.devices(node, path),
            read_only: self.boolean_of(node, path, "read_only").unwrap_or(false),
            shm_size_bytes: self.size_of(node, path, "shm_size").map(|size| size.value),
            privileged: self.boolean_of(node, path, "privileged").unwrap_or(false),
            cap_add: self.list_of(node, path, "cap_add", false),
            cap_drop: self.list_of(node, path, "cap_drop", false),
            security_opt: self.list_of(node, path, "security_opt", false),
            seccomp_profile: self.seccomp_profile(node, path),
            sysctls: self.sysctls(node, path),
            ulimits: self.ulimits(node, path),
            oom_score_adj: self.converted_of(node, path, "oom_score_adj", oom, nice).map(|score| score.value),
            limits: deploy.limits,
            reservations: deploy.reservations,
            memory_swap_bytes: self
                .converted_of(node, path, "memswap_limit", "it is a size, as `1g`, or -1", swap)
                .map(|size| size.value)
                .filter(|size| *size != 0),
            cpu_shares: self
                .parsed_of(node, path, "cpu_shares", "it is a whole number; 1024 is the usual weight")
                .map(|shares| shares.value),
            cpuset: self.filled_of(node, path, "cpuset"),
            tuning: self.tuning(node, path),
            logging: node.get("logging").and_then(|logging| self.logging(logging, &format!("{path}.logging"))),
            extensions: extensions(node),
        };
        self.plain_limits(node, path, &mut service);
        self.exclusive(node, path, "network_mode", "networks");
        self.implied_dependencies(&mut service);
        Some(service)
    }

    pub(crate) fn exclusive(&mut self, node: &Node, path: &str, first: &str, second: &str) {
        if let (Some(one), Some(other)) = (node.get(first), node.get(second))
            && !one.is_null()
            && !other.is_null()
        {
            let message = format!("`{path}` has both `{first}` and `{second}`");
            self.report(
                Diagnostic::error(&codes::CONFLICTING_KEYS, message)
                    .at(other.span, format!("`{second}` is set here"))
                    .at(one.span, format!("`{first}` is set here"))
                    .hint("keep one of them; an override removes the other with `!reset null`"),
            );
        }
    }

    fn image(&mut self, node: &Node, path: &str) -> Option<Spanned<String>> {
        let image = self.filled_of(node, path, "image")?;
        if let Err(cause) = image.value.parse::<carrack_oci::Reference>() {
            let mut diagnostic = Diagnostic::error(
                &codes::INVALID_VALUE,
                format!("`{path}.image` is not the name of an image: `{}`", image.value),
            )
            .at(image.span, "can't be understood")
            .cause(cause.message);
            diagnostic.hints = cause.hints;
            if diagnostic.hints.is_empty() {
                diagnostic.hints.push("an image is written `[HOST[:PORT]/]PATH[:TAG][@DIGEST]`, in lower case".into());
            }
            self.report(diagnostic);
        }
        Some(image)
    }

    fn pull_policy(&mut self, node: &Node, path: &str) -> Option<Spanned<String>> {
        let known = |text: &str| match text {
            "always" | "never" | "missing" | "build" | "daily" | "weekly" | "refresh" => Some(text.to_owned()),
            "if_not_present" => Some("missing".to_owned()),
            every => {
                let period = every.strip_prefix("every_")?;
                units::duration_ns(period).map(|_| every.to_owned())
            }
        };
        let hint = "it is `always`, `never`, `missing`, `build`, `daily`, `weekly` or `every_12h`";
        self.converted_of(node, path, "pull_policy", hint, known)
    }

    fn container_name(&mut self, node: &Node, path: &str) -> Option<Spanned<String>> {
        let hint = "a name is letters, digits, `_`, `.` and `-`, two at least, beginning with a letter or digit";
        self.converted_of(node, path, "container_name", hint, |text| {
            let first = text.bytes().next()?.is_ascii_alphanumeric();
            let rest = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
            (first && text.len() > 1 && text.bytes().all(rest)).then(|| text.to_owned())
        })
    }

    /// `command` and `entrypoint`: text is split as a shell does, null is the image's.
    fn command_of(&mut self, node: &Node, path: &str, key: &str) -> Option<Spanned<Vec<String>>> {
        let value = node.get(key)?;
        let path = format!("{path}.{key}");
        let words = match &value.value {
            Value::Null => return None,
            Value::Scalar(scalar) => match words::split(&scalar.text) {
                Ok(words) => words,
                Err(_) => {
                    self.invalid(value.span, &path, &scalar.text, "a quote in it is never closed");
                    return None;
                }
            },
            Value::Sequence(items) => {
                items.iter().filter_map(|item| self.text(item, &path)).map(|item| item.value).collect()
            }
            Value::Mapping(_) => {
                self.wrong_type(value, &path, "text or a list");
                return None;
            }
        };
        Some(Spanned::new(words, value.span))
    }

    fn environment(&mut self, node: &Node, path: &str) -> BTreeMap<String, Spanned<Option<String>>> {
        let mut environment = BTreeMap::new();
        for file in self.env_files(node, path) {
            self.env_file(&file, &mut environment);
        }
        for (name, value) in self.pairs_of(node, path, "environment") {
            let value = match value.value {
                Some(text) => Spanned::new(Some(text), value.span),
                None => Spanned::new(self.env.get(&name).cloned(), value.span),
            };
            environment.insert(name, value);
        }
        environment
    }

    fn env_file(&mut self, file: &EnvFile, environment: &mut BTreeMap<String, Spanned<Option<String>>>) {
        let Some(found) = self.files.get(&file.path.value).copied().flatten() else {
            if file.required {
                self.report(
                    Diagnostic::error(
                        &codes::ENV_FILE_MISSING,
                        format!("the env file {} does not exist or can't be read", file.path.value),
                    )
                    .at(file.path.span, "named here")
                    .hint("create it, or write `{path: …, required: false}` where it may be missing"),
                );
            }
            return;
        };
        let Some(source) = self.sources.find(found) else { return };
        let parsed = if file.raw {
            dotenv::parse_raw(found, &source.text)
        } else {
            let earlier = |name: &str| environment.get(name).and_then(|value| value.value.clone());
            dotenv::parse(found, &source.text, &|name| self.env.get(name).cloned(), &earlier)
        };
        match parsed {
            Ok(assignments) => {
                for (name, value) in assignments {
                    let value = value.or_else(|| self.env.get(&name.value).cloned());
                    environment.insert(name.value, Spanned::new(value, name.span));
                }
            }
            Err(diagnostic) => self.report(*diagnostic),
        }
    }

    /// The entries of `env_file`, paths absolute.
    pub(crate) fn env_files(&mut self, node: &Node, path: &str) -> Vec<EnvFile> {
        let Some(value) = node.get("env_file") else { return Vec::new() };
        let path = format!("{path}.env_file");
        let single = std::slice::from_ref(value);
        let items = match &value.value {
            Value::Null => return Vec::new(),
            Value::Sequence(items) => items.as_slice(),
            Value::Scalar(_) | Value::Mapping(_) => single,
        };
        let mut files = Vec::new();
        for item in items {
            let (file, required, raw) = if item.entries().is_empty() {
                (self.text(item, &path), true, false)
            } else {
                self.mapping(item, &path, schema::ENV_FILE);
                let format = self.filled_of(item, &path, "format");
                if let Some(format) = format.as_ref().filter(|format| format.value != "raw") {
                    self.invalid(format.span, &format!("{path}.format"), &format.value, "the only format is `raw`");
                }
                let required = self.boolean_of(item, &path, "required").unwrap_or(true);
                (self.text_of(item, &path, "path"), required, format.is_some())
            };
            if let Some(file) = file.filter(|file| !file.value.is_empty()) {
                let absolute = self.absolute(&file.value, file.span);
                files.push(EnvFile { path: Spanned::new(absolute, file.span), required, raw });
            }
        }
        files
    }

    /// The file of a profile in `security_opt`, its path absolute.
    pub(crate) fn seccomp_file(&mut self, node: &Node, path: &str) -> Option<Spanned<String>> {
        let options = self.list_of(node, path, "security_opt", false);
        let file = options.iter().find_map(|option| {
            let file = option.value.strip_prefix("seccomp").and_then(|rest| rest.strip_prefix([':', '=']))?;
            (!matches!(file, "" | "unconfined" | "builtin")).then(|| Spanned::new(file.to_owned(), option.span))
        })?;
        Some(Spanned::new(self.absolute(&file.value, file.span), file.span))
    }

    fn seccomp_profile(&mut self, node: &Node, path: &str) -> Option<String> {
        let file = self.seccomp_file(node, path)?;
        let found = self.files.get(&file.value).copied().flatten();
        let text = found.and_then(|found| self.sources.find(found)).map(|source| source.text.to_string());
        // Before the first call that has files at hand none is missing.
        if text.is_none() && self.files.contains_key(&file.value) {
            let message = format!("the seccomp profile {} does not exist or can't be read", file.value);
            let report = Diagnostic::error(&codes::SECCOMP_FILE_MISSING, message).at(file.span, "named here");
            self.report(report.hint("create it, or write `seccomp:unconfined` for none"));
        }
        text
    }

    fn depends_on(&mut self, node: &Node, path: &str) -> BTreeMap<String, Dependency> {
        let Some(value) = node.get("depends_on") else { return BTreeMap::new() };
        let path = format!("{path}.depends_on");
        let mut dependencies = BTreeMap::new();
        match &value.value {
            Value::Null => {}
            Value::Scalar(_) => self.wrong_type(value, &path, "a list or a mapping"),
            Value::Sequence(items) => {
                for name in items.iter().filter_map(|item| self.text(item, &path)).collect::<Vec<_>>() {
                    dependencies.insert(name.value, Dependency::started(name.span, DependencyKind::Declared));
                }
            }
            Value::Mapping(entries) => {
                for entry in entries {
                    let path = format!("{path}.{}", entry.key.value);
                    if !self.mapping(&entry.value, &path, schema::DEPENDENCY) {
                        continue;
                    }
                    let mut dependency = Dependency::started(entry.key.span, DependencyKind::Declared);
                    let hint = "it is `service_started`, `service_healthy` or `service_completed_successfully`";
                    if let Some(condition) = self.converted_of(&entry.value, &path, "condition", hint, condition) {
                        dependency.condition = condition.value;
                        dependency.span = entry.key.span.to(condition.span);
                    }
                    dependency.required = self.boolean_of(&entry.value, &path, "required").unwrap_or(true);
                    dependency.restart = self.boolean_of(&entry.value, &path, "restart").unwrap_or(false);
                    dependencies.insert(entry.key.value.clone(), dependency);
                }
            }
        }
        dependencies
    }

    fn implied_dependencies(&mut self, service: &mut Service) {
        for link in &service.links {
            let dependency = Dependency::started(link.span, DependencyKind::Implied);
            service.depends_on.entry(link.value.0.clone()).or_insert(dependency);
        }
        for mode in [&service.network_mode, &service.pid, &service.ipc].into_iter().flatten() {
            if let NamespaceTarget::Service(name) = &mode.value {
                let dependency = Dependency::started(mode.span, DependencyKind::SharedNamespace);
                let dependency = service.depends_on.entry(name.clone()).or_insert(dependency);
                dependency.kind = DependencyKind::SharedNamespace;
            }
        }
    }

    fn healthcheck(&mut self, node: &Node, path: &str) -> Option<Healthcheck> {
        if node.is_null() || !self.mapping(node, path, schema::HEALTHCHECK) {
            return None;
        }
        let mut check = Healthcheck {
            span: node.span,
            test: self.health_test(node, path),
            probe: self.probe(node, path),
            on_unhealthy: self
                .converted_of(
                    node,
                    path,
                    "x-carrack-on-failure",
                    format!("it is {}", OnUnhealthy::FORMS),
                    OnUnhealthy::parse,
                )
                .map(|action| action.value)
                .unwrap_or_default(),
            interval_ns: self.duration_of(node, path, "interval"),
            timeout_ns: self.duration_of(node, path, "timeout"),
            start_period_ns: self.duration_of(node, path, "start_period"),
            start_interval_ns: self.duration_of(node, path, "start_interval"),
            retries: self.parsed_of(node, path, "retries", "it is a whole number").map(|retries| retries.value),
        };
        if self.boolean_of(node, path, "disable").unwrap_or(false) {
            check.test = vec!["NONE".into()];
        }
        Some(check)
    }

    fn probe(&mut self, node: &Node, path: &str) -> Option<String> {
        let text = self.filled_of(node, path, "x-carrack-probe")?;
        match carrack_oci::probe::test_of(&text.value) {
            Ok(_) => Some(text.value),
            Err(wrong) => {
                self.invalid(text.span, &format!("{path}.x-carrack-probe"), &text.value, wrong);
                None
            }
        }
    }

    fn health_test(&mut self, node: &Node, path: &str) -> Vec<String> {
        let path = format!("{path}.test");
        match node.get("test").map(|test| (test, &test.value)) {
            None | Some((_, Value::Null)) => Vec::new(),
            Some((_, Value::Scalar(scalar))) => vec!["CMD-SHELL".into(), scalar.text.clone()],
            Some((test, Value::Sequence(items))) => {
                let words: Vec<_> =
                    items.iter().filter_map(|item| self.text(item, &path)).map(|item| item.value).collect();
                match words.first().map(String::as_str) {
                    Some("NONE" | "CMD" | "CMD-SHELL") => words,
                    first => {
                        let first = first.unwrap_or("[]").to_owned();
                        let hint = "the list begins with `CMD`, `CMD-SHELL` or `NONE`";
                        self.invalid(test.span, &path, &first, hint);
                        Vec::new()
                    }
                }
            }
            Some((test, Value::Mapping(_))) => {
                self.wrong_type(test, &path, "text or a list");
                Vec::new()
            }
        }
    }

    fn restart(&mut self, node: &Node, path: &str) -> Option<Spanned<Restart>> {
        let hint = "it is `\"no\"`, `always`, `unless-stopped`, `on-failure` or `on-failure:N`";
        self.converted_of(node, path, "restart", hint, |text| match text {
            // Without quotes `no` is a boolean for other readers of YAML.
            "no" | "false" => Some(Restart::No),
            "always" => Some(Restart::Always),
            "unless-stopped" => Some(Restart::UnlessStopped),
            "on-failure" => Some(Restart::OnFailure(None)),
            other => {
                let retries = other.strip_prefix("on-failure:")?.parse().ok()?;
                Some(Restart::OnFailure(Some(retries).filter(|retries| *retries > 0)))
            }
        })
    }

    /// Secrets or configs; relative targets lie in `folder`.
    pub(crate) fn grants(&mut self, node: &Node, path: &str, key: &str, folder: &str) -> Vec<Grant> {
        let path_of_list = format!("{path}.{key}");
        let mut grants = Vec::new();
        for item in self.items_of(node, path, key) {
            let path = &path_of_list;
            let short = item.as_text().is_some();
            if !short && !self.mapping(item, path, schema::GRANT) {
                continue;
            }
            let source = if short { self.text(item, path) } else { self.filled_of(item, path, "source") };
            let Some(source) = source.filter(|source| !source.value.is_empty()) else {
                self.invalid(item.span, path, "", "give the name of one, or a mapping with `source`");
                continue;
            };
            let target =
                self.filled_of(item, path, "target").map_or_else(|| source.value.clone(), |target| target.value);
            let target = if target.starts_with('/') { target } else { format!("{folder}{target}") };
            let number = "it is a number";
            let bits = item.get("mode").filter(|mode| !mode.is_null()).and_then(|bits| {
                let read = mode(bits);
                if read.is_none() {
                    let text = bits.as_text().unwrap_or_default().to_owned();
                    self.invalid(bits.span, &format!("{path}.mode"), &text, "it is an octal number, as `0440`");
                }
                read
            });
            grants.push(Grant {
                uid: self.parsed_of(item, path, "uid", number),
                gid: self.parsed_of(item, path, "gid", number),
                mode: bits,
                source,
                target,
            });
        }
        grants
    }

    fn devices(&mut self, node: &Node, path: &str) -> Vec<Spanned<Device>> {
        let path_of_list = format!("{path}.devices");
        let mut devices = Vec::new();
        for item in self.items_of(node, path, "devices") {
            let path = &path_of_list;
            let device = if let Some(text) = item.as_text() {
                let mut parts = text.splitn(3, ':');
                let source = parts.next().unwrap_or_default().to_owned();
                let target = parts.next().unwrap_or(&source).to_owned();
                Device { target, permissions: parts.next().unwrap_or("rwm").to_owned(), source }
            } else {
                if !self.mapping(item, path, schema::DEVICE) {
                    continue;
                }
                let Some(source) = self.filled_of(item, path, "source") else {
                    self.invalid(item.span, path, "", "a device needs a `source`");
                    continue;
                };
                let target = self.filled_of(item, path, "target").map_or_else(|| source.value.clone(), |it| it.value);
                let permissions = self.filled_of(item, path, "permissions").map_or_else(|| "rwm".into(), |it| it.value);
                Device { source: source.value, target, permissions }
            };
            let permitted =
                !device.permissions.is_empty() && device.permissions.bytes().all(|byte| b"rwm".contains(&byte));
            let text = item.as_text().unwrap_or(&device.source);
            if carrack_oci::is_device_name(text) {
                let (source, target) = (text.to_owned(), text.to_owned());
                devices.push(Spanned::new(Device { source, target, ..device }, item.span));
            } else if !device.source.starts_with('/') {
                self.invalid(
                    item.span,
                    path,
                    text,
                    "it is a path, as `/dev/fuse`, or a name, as `vendor.com/class=name`",
                );
            } else if !permitted || !device.target.starts_with('/') {
                let text = item.as_text().unwrap_or(&device.permissions).to_owned();
                self.invalid(item.span, path, &text, "it is written `HOST_PATH[:CONTAINER_PATH[:rwm]]`");
            } else {
                devices.push(Spanned::new(device, item.span));
            }
        }
        devices
    }

    fn sysctls(&mut self, node: &Node, path: &str) -> BTreeMap<String, Spanned<String>> {
        let mut sysctls = BTreeMap::new();
        for (name, value) in self.pairs_of(node, path, "sysctls") {
            match value.value {
                Some(text) => drop(sysctls.insert(name, Spanned::new(text, value.span))),
                None => self.invalid(value.span, &format!("{path}.sysctls"), &name, "it is written `NAME=VALUE`"),
            }
        }
        sysctls
    }

    pub(crate) fn ulimits(&mut self, node: &Node, path: &str) -> BTreeMap<String, Spanned<(i64, i64)>> {
        let Some(limits) = node.get("ulimits") else { return BTreeMap::new() };
        let path = format!("{path}.ulimits");
        if !limits.is_null() && limits.entries().is_empty() && limits.as_text().is_some() {
            self.wrong_type(limits, &path, "a mapping");
        }
        let mut found = BTreeMap::new();
        for entry in limits.entries() {
            let name = &entry.key.value;
            let whole = "it is a whole number; -1 is unlimited";
            let own = format!("{path}.{name}");
            let pair = if entry.value.as_text().is_some() {
                let both = self.parsed_of(limits, &path, name, whole);
                both.map(|both: Spanned<i64>| (both.value, both.value))
            } else if self.mapping(&entry.value, &own, schema::ULIMIT) {
                let soft: Option<Spanned<i64>> = self.parsed_of(&entry.value, &own, "soft", whole);
                let hard: Option<Spanned<i64>> = self.parsed_of(&entry.value, &own, "hard", whole);
                if soft.is_none() || hard.is_none() {
                    self.invalid(entry.key.span, &path, name, "it has both `soft` and `hard`");
                }
                soft.zip(hard).map(|(soft, hard)| (soft.value, hard.value))
            } else {
                None
            };
            if let Some(pair) = pair {
                found.insert(name.clone(), Spanned::new(pair, entry.key.span.to(entry.value.span)));
            }
        }
        found
    }

    fn logging(&mut self, node: &Node, path: &str) -> Option<Logging> {
        if node.is_null() || !self.mapping(node, path, schema::LOGGING) {
            return None;
        }
        Some(Logging {
            span: node.span,
            driver: self.filled_of(node, path, "driver"),
            options: self.options_of(node, path, "options"),
        })
    }
}

/// An entry of `env_file`.
#[derive(Debug, Clone)]
pub(crate) struct EnvFile {
    pub(crate) path: Spanned<String>,
    pub(crate) required: bool,
    raw: bool,
}

fn condition(text: &str) -> Option<Condition> {
    match text {
        "service_started" => Some(Condition::Started),
        "service_healthy" => Some(Condition::Healthy),
        "service_completed_successfully" => Some(Condition::CompletedSuccessfully),
        _ => None,
    }
}

impl Dependency {
    fn started(span: carrack_diag::Span, kind: DependencyKind) -> Self {
        Self { span, condition: Condition::Started, required: true, restart: false, kind }
    }
}
