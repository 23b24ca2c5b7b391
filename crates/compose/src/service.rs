//! A service out of its node.

use std::collections::BTreeMap;

use carrack_diag::{Diagnostic, Spanned};

use crate::node::{Entry, Node, Value};
use crate::project::{
    Build, Condition, Dependency, DependencyKind, Device, Grant, Healthcheck, Limits, Logging, NamespaceTarget,
    NetworkAttachment, Restart, Service, UpdateConfig,
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
            expose: self.list_of(node, path, "expose", false),
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
            logging: node.get("logging").and_then(|logging| self.logging(logging, &format!("{path}.logging"))),
            extensions: extensions(node),
        };
        self.plain_limits(node, path, &mut service);
        self.exclusive(node, path, "network_mode", "networks");
        self.implied_dependencies(&mut service);
        Some(service)
    }

    fn exclusive(&mut self, node: &Node, path: &str, first: &str, second: &str) {
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
            dotenv::parse(found, &source.text, &|name| self.env.get(name).cloned())
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

    fn replicas(&mut self, node: &Node, path: &str, deployed: Option<Spanned<u32>>) -> Option<Spanned<u32>> {
        let scale = self.parsed_of(node, path, "scale", "it is a whole number");
        match (scale, deployed) {
            (Some(scale), Some(replicas)) if scale.value != replicas.value => {
                self.differ(path, ("scale", &scale), ("deploy.replicas", &replicas));
                Some(scale)
            }
            (scale, replicas) => scale.or(replicas),
        }
    }

    fn differ<T>(&mut self, path: &str, first: (&str, &Spanned<T>), second: (&str, &Spanned<T>)) {
        let message = format!("`{path}` gives different values for `{}` and `{}`", first.0, second.0);
        self.report(
            Diagnostic::error(&codes::CONFLICTING_KEYS, message)
                .at(first.1.span, first.0)
                .at(second.1.span, second.0)
                .hint("keep one of them"),
        );
    }

    fn deploy(&mut self, service: &Node, path: &str) -> Deploy {
        let mut deploy = Deploy::default();
        let Some(node) = service.get("deploy") else { return deploy };
        let path = format!("{path}.deploy");
        if !self.mapping(node, &path, schema::DEPLOY) {
            return deploy;
        }
        deploy.replicas = self.parsed_of(node, &path, "replicas", "it is a whole number");
        let modes = |text: &str| matches!(text, "vip" | "dnsrr").then(|| text.to_owned());
        deploy.endpoint_mode = self.converted_of(node, &path, "endpoint_mode", "it is `vip` or `dnsrr`", modes);
        let known = |text: &str| {
            matches!(text, "replicated" | "global" | "replicated-job" | "global-job").then(|| text.to_owned())
        };
        if let Some(mode) = self.converted_of(node, &path, "mode", "it is `replicated` or `global`", known)
            && mode.value == "global"
        {
            // One container a host, and there is one host.
            deploy.replicas = Some(Spanned::new(1, mode.span));
        }
        if let Some(resources) = node.get("resources") {
            let path = format!("{path}.resources");
            if self.mapping(resources, &path, schema::RESOURCES) {
                deploy.limits = self.limits(resources, &path, "limits", schema::LIMITS);
                deploy.reservations = self.limits(resources, &path, "reservations", schema::RESERVATIONS);
            }
        }
        deploy.restart = node.get("restart_policy").and_then(|policy| {
            let path = format!("{path}.restart_policy");
            self.mapping(policy, &path, schema::RESTART_POLICY).then_some(())?;
            let attempts = self.parsed_of(policy, &path, "max_attempts", "it is a whole number");
            let attempts = attempts.map(|attempts| attempts.value).filter(|attempts| *attempts > 0);
            let hint = "it is `none`, `on-failure` or `any`";
            let restart = self.converted_of(policy, &path, "condition", hint, |text| match text {
                "none" => Some(Restart::No),
                "on-failure" => Some(Restart::OnFailure(attempts)),
                "any" => Some(Restart::Always),
                _ => None,
            });
            Some(restart.unwrap_or(Spanned::new(Restart::Always, policy.span)))
        });
        deploy.update = node.get("update_config").and_then(|update| {
            let path = format!("{path}.update_config");
            self.mapping(update, &path, schema::UPDATE_CONFIG).then_some(())?;
            let order = |text: &str| match text {
                "start-first" => Some(true),
                "stop-first" => Some(false),
                _ => None,
            };
            Some(UpdateConfig {
                span: update.span,
                parallelism: self
                    .parsed_of(update, &path, "parallelism", "it is a whole number")
                    .map_or(1, |parallelism| parallelism.value),
                start_first: self
                    .converted_of(update, &path, "order", "it is `stop-first` or `start-first`", order)
                    .is_some_and(|order| order.value),
            })
        });
        if let Some(rollback) = node.get("rollback_config") {
            self.mapping(rollback, &format!("{path}.rollback_config"), schema::UPDATE_CONFIG);
        }
        deploy
    }

    fn limits(&mut self, resources: &Node, path: &str, key: &str, keys: &[schema::Key]) -> Limits {
        let Some(node) = resources.get(key) else { return Limits::default() };
        let path = format!("{path}.{key}");
        if !self.mapping(node, &path, keys) {
            return Limits::default();
        }
        Limits {
            nano_cpus: self.converted_of(node, &path, "cpus", CPUS, units::nano_cpus),
            memory_bytes: self.size_of(node, &path, "memory"),
            pids: self.parsed_of(node, &path, "pids", PIDS),
        }
    }

    /// `cpus`, `mem_limit`, `mem_reservation`, `pids_limit`: the same limits as under `deploy`.
    fn plain_limits(&mut self, node: &Node, path: &str, service: &mut Service) {
        // 0 is "no limit" in these, as in the engine's flags.
        let cpus = self.converted_of(node, path, "cpus", CPUS, units::nano_cpus).filter(|cpus| cpus.value > 0);
        let memory = self.size_of(node, path, "mem_limit").filter(|size| size.value > 0);
        let reservation = self.size_of(node, path, "mem_reservation").filter(|size| size.value > 0);
        let pids = self.parsed_of(node, path, "pids_limit", PIDS).filter(|pids: &Spanned<i64>| pids.value != 0);
        let limits = &mut service.limits;
        self.same(path, ("cpus", cpus), ("deploy.resources.limits.cpus", &mut limits.nano_cpus));
        self.same(path, ("mem_limit", memory), ("deploy.resources.limits.memory", &mut limits.memory_bytes));
        self.same(path, ("pids_limit", pids), ("deploy.resources.limits.pids", &mut limits.pids));
        let reserved = ("deploy.resources.reservations.memory", &mut service.reservations.memory_bytes);
        self.same(path, ("mem_reservation", reservation), reserved);
    }

    fn same<T: PartialEq>(
        &mut self,
        path: &str,
        plain: (&str, Option<Spanned<T>>),
        deployed: (&str, &mut Option<Spanned<T>>),
    ) {
        let Some(value) = plain.1 else { return };
        if let Some(other) = deployed.1.as_ref().filter(|other| other.value != value.value) {
            self.differ(path, (plain.0, &value), (deployed.0, other));
        }
        *deployed.1 = Some(value);
    }

    fn namespace(&mut self, node: &Node, path: &str, key: &str) -> Option<Spanned<NamespaceTarget>> {
        let hint = match key {
            "network_mode" => "it is `bridge`, `host`, `none`, `service:NAME` or `container:NAME`",
            "uts" => "it is `host`",
            "cgroup" => "it is `host` or `private`",
            _ => "it is `host`, `service:NAME` or `container:NAME`",
        };
        let network = key == "network_mode";
        let joins = matches!(key, "network_mode" | "pid" | "ipc");
        self.converted_of(node, path, key, hint, |text| match text {
            "host" => Some(NamespaceTarget::Host),
            "private" | "shareable" if !network => Some(NamespaceTarget::Private),
            "bridge" | "default" if network => Some(NamespaceTarget::Private),
            "none" if network => Some(NamespaceTarget::None),
            other if joins => {
                let (kind, name) = other.split_once(':')?;
                match kind {
                    "service" if !name.is_empty() => Some(NamespaceTarget::Service(name.into())),
                    "container" if !name.is_empty() => Some(NamespaceTarget::Container(name.into())),
                    _ => None,
                }
            }
            _ => None,
        })
    }

    fn attachments(&mut self, node: &Node, path: &str) -> BTreeMap<String, NetworkAttachment> {
        let Some(value) = node.get("networks") else { return BTreeMap::new() };
        let path = format!("{path}.networks");
        let mut attachments = BTreeMap::new();
        match &value.value {
            Value::Null => {}
            Value::Scalar(_) => self.wrong_type(value, &path, "a list or a mapping"),
            Value::Sequence(items) => {
                for name in items.iter().filter_map(|item| self.text(item, &path)).collect::<Vec<_>>() {
                    attachments.insert(name.value, NetworkAttachment::at(name.span));
                }
            }
            Value::Mapping(entries) => {
                for entry in entries {
                    let path = format!("{path}.{}", entry.key.value);
                    if self.mapping(&entry.value, &path, schema::ATTACHMENT) {
                        let attachment = self.attachment(entry, &path);
                        attachments.insert(entry.key.value.clone(), attachment);
                    }
                }
            }
        }
        attachments
    }

    fn attachment(&mut self, entry: &Entry, path: &str) -> NetworkAttachment {
        let node = &entry.value;
        let whole = "it is a whole number";
        NetworkAttachment {
            aliases: self.list_of(node, path, "aliases", false),
            ipv4: self.parsed_of(node, path, "ipv4_address", "it is an address, as `172.20.0.10`"),
            ipv6: self.parsed_of(node, path, "ipv6_address", "it is an address, as `2001:db8::10`"),
            mac: self.filled_of(node, path, "mac_address"),
            gateway_priority: self.parsed_of(node, path, "gw_priority", whole).map_or(0, |priority| priority.value),
            priority: self.parsed_of(node, path, "priority", whole).map_or(0, |priority| priority.value),
            ..NetworkAttachment::at(entry.key.span)
        }
    }

    fn links(&mut self, node: &Node, path: &str) -> Vec<Spanned<(String, String)>> {
        let links = self.list_of(node, path, "links", false);
        let split = |link: String| match link.split_once(':') {
            Some((service, alias)) => (service.to_owned(), alias.to_owned()),
            None => (link.clone(), link),
        };
        links.into_iter().map(|link| link.map(split)).collect()
    }

    /// `HOST=ADDRESS`, `HOST:ADDRESS`, or a mapping of hosts to one or several addresses.
    pub(crate) fn extra_hosts(&mut self, node: &Node, path: &str) -> Vec<Spanned<(String, String)>> {
        let Some(value) = node.get("extra_hosts") else { return Vec::new() };
        let path = format!("{path}.extra_hosts");
        let mut written = Vec::new();
        match &value.value {
            Value::Null => {}
            Value::Scalar(_) => self.wrong_type(value, &path, "a list or a mapping"),
            Value::Sequence(items) => {
                for item in items.iter().filter_map(|item| self.text(item, &path)).collect::<Vec<_>>() {
                    match item.value.split_once('=').or_else(|| item.value.split_once(':')) {
                        Some((host, address)) => written.push((host.to_owned(), address.to_owned(), item.span)),
                        None => self.invalid(item.span, &path, &item.value, "it is written `HOST=ADDRESS`"),
                    }
                }
            }
            Value::Mapping(entries) => {
                for entry in entries {
                    let single = std::slice::from_ref(&entry.value);
                    let addresses = if entry.value.items().is_empty() { single } else { entry.value.items() };
                    for address in addresses.iter().filter_map(|address| self.text(address, &path)).collect::<Vec<_>>()
                    {
                        written.push((entry.key.value.clone(), address.value, address.span));
                    }
                }
            }
        }
        let mut hosts = Vec::new();
        for (host, address, span) in written {
            let address = address.trim().trim_start_matches('[').trim_end_matches(']').to_owned();
            if address != "host-gateway" && address.parse::<std::net::IpAddr>().is_err() {
                self.invalid(span, &path, &address, "it is an IP address or `host-gateway`");
            }
            hosts.push(Spanned::new((host.trim().to_owned(), address), span));
        }
        hosts
    }

    fn name_servers(&mut self, node: &Node, path: &str) -> Vec<Spanned<std::net::IpAddr>> {
        let mut servers = Vec::new();
        for server in self.list_of(node, path, "dns", true) {
            match server.value.parse() {
                Ok(address) => servers.push(Spanned::new(address, server.span)),
                Err(_) => self.invalid(server.span, &format!("{path}.dns"), &server.value, "it is an IP address"),
            }
        }
        servers
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
            if !device.source.starts_with('/') {
                let message = format!("`{path}` can't name a device by its kind yet: `{}`", device.source);
                self.report(
                    Diagnostic::error(&codes::NOT_YET, message)
                        .at(item.span, "not a path")
                        .hint("give the device's path, as `/dev/fuse`"),
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

    fn ulimits(&mut self, node: &Node, path: &str) -> BTreeMap<String, Spanned<(i64, i64)>> {
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

    fn build(&mut self, node: &Node, path: &str) -> Option<Build> {
        let directory = self.bases.get(&node.span.file).map_or(self.directory, String::as_str).to_owned();
        let context = if let Some(text) = node.as_text() {
            Spanned::new(text.to_owned(), node.span)
        } else {
            if node.is_null() || !self.mapping(node, path, schema::BUILD) {
                return None;
            }
            self.filled_of(node, path, "context").unwrap_or(Spanned::new(directory, node.span))
        };
        let remote = is_remote(&context.value);
        let context =
            if remote { context } else { Spanned::new(self.absolute(&context.value, context.span), context.span) };
        self.exclusive(node, path, "dockerfile", "dockerfile_inline");
        let labels = self.pairs_of(node, path, "labels");
        let mut contexts = self.pairs_of(node, path, "additional_contexts");
        for context in contexts.values_mut() {
            let local = |text: &String| !is_remote(text) && !text.starts_with("service:");
            let place =
                context.value.take().map(|text| if local(&text) { self.absolute(&text, context.span) } else { text });
            context.value = place;
        }
        let text = |pairs: BTreeMap<String, Spanned<Option<String>>>| {
            pairs.into_iter().map(|(name, value)| (name, value.map(Option::unwrap_or_default))).collect()
        };
        let mut secrets = self.grants(node, path, "secrets", "/");
        // A build's secret has an id where a container's has a path.
        secrets.iter_mut().for_each(|secret| secret.target = secret.target.trim_start_matches('/').to_owned());
        Some(Build {
            span: node.span,
            context,
            dockerfile: self.filled_of(node, path, "dockerfile"),
            dockerfile_inline: self.text_of(node, path, "dockerfile_inline"),
            target: self.filled_of(node, path, "target"),
            args: self.build_args(node, path),
            labels: text(labels),
            tags: self.list_of(node, path, "tags", false),
            network: self.filled_of(node, path, "network"),
            secrets,
            additional_contexts: text(contexts),
            extra_hosts: self.extra_hosts(node, path),
            shm_size_bytes: self.size_of(node, path, "shm_size").map(|size| size.value),
            no_cache: self.boolean_of(node, path, "no_cache").unwrap_or(false),
            pull: self.boolean_of(node, path, "pull").unwrap_or(false),
            platforms: self.list_of(node, path, "platforms", false),
        })
    }

    /// An argument without value takes the environment's.
    fn build_args(&mut self, node: &Node, path: &str) -> BTreeMap<String, Spanned<Option<String>>> {
        let mut args = self.pairs_of(node, path, "args");
        for (name, value) in &mut args {
            if value.value.is_none() {
                value.value = self.env.get(name).cloned();
            }
        }
        args
    }
}

/// An entry of `env_file`.
#[derive(Debug, Clone)]
pub(crate) struct EnvFile {
    pub(crate) path: Spanned<String>,
    pub(crate) required: bool,
    raw: bool,
}

#[derive(Default)]
struct Deploy {
    replicas: Option<Spanned<u32>>,
    endpoint_mode: Option<Spanned<String>>,
    limits: Limits,
    reservations: Limits,
    restart: Option<Spanned<Restart>>,
    update: Option<UpdateConfig>,
}

const CPUS: &str = "it is a number of processors, as `0.5`";
const PIDS: &str = "it is a whole number; -1 is unlimited";

fn condition(text: &str) -> Option<Condition> {
    match text {
        "service_started" => Some(Condition::Started),
        "service_healthy" => Some(Condition::Healthy),
        "service_completed_successfully" => Some(Condition::CompletedSuccessfully),
        _ => None,
    }
}

/// Whether a build context is a repository's URL rather than a folder.
fn is_remote(context: &str) -> bool {
    ["https://", "http://", "git://", "ssh://", "git@", "github.com/", "docker-image://"]
        .iter()
        .any(|scheme| context.starts_with(scheme))
}

impl Dependency {
    fn started(span: carrack_diag::Span, kind: DependencyKind) -> Self {
        Self { span, condition: Condition::Started, required: true, restart: false, kind }
    }
}

impl NetworkAttachment {
    pub(crate) fn at(span: carrack_diag::Span) -> Self {
        Self { span, aliases: Vec::new(), ipv4: None, ipv6: None, mac: None, gateway_priority: 0, priority: 0 }
    }
}
