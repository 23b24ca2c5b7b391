//! `deploy`, and the service's own keys for the same limits.

use carrack_diag::{Diagnostic, Spanned};

use crate::node::Node;
use crate::project::{Limits, Restart, Service, UpdateConfig};
use crate::read::Reading;
use crate::{codes, schema, units};

const CPUS: &str = "it is a number of processors, as `0.5`";
const PIDS: &str = "it is a whole number; -1 is unlimited";

/// What `deploy` says.
#[derive(Default)]
pub(crate) struct Deploy {
    pub(crate) replicas: Option<Spanned<u32>>,
    pub(crate) endpoint_mode: Option<Spanned<String>>,
    pub(crate) limits: Limits,
    pub(crate) reservations: Limits,
    pub(crate) restart: Option<Spanned<Restart>>,
    pub(crate) update: Option<UpdateConfig>,
}

impl Reading<'_> {
    pub(crate) fn replicas(&mut self, node: &Node, path: &str, deployed: Option<Spanned<u32>>) -> Option<Spanned<u32>> {
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

    pub(crate) fn deploy(&mut self, service: &Node, path: &str) -> Deploy {
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
        // 0 is "no limit".
        Limits {
            nano_cpus: self.converted_of(node, &path, "cpus", CPUS, units::nano_cpus).filter(|cpus| cpus.value > 0),
            memory_bytes: self.size_of(node, &path, "memory").filter(|size| size.value > 0),
            pids: self.parsed_of(node, &path, "pids", PIDS).filter(|pids: &Spanned<i64>| pids.value != 0),
        }
    }

    /// `cpus`, `mem_limit`, `mem_reservation`, `pids_limit`: the same limits as under `deploy`.
    pub(crate) fn plain_limits(&mut self, node: &Node, path: &str, service: &mut Service) {
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
}
