//! `build` of a service.

use std::collections::BTreeMap;

use carrack_diag::Spanned;

use crate::node::Node;
use crate::project::Build;
use crate::read::Reading;
use crate::schema;

impl Reading<'_> {
    pub(crate) fn build(&mut self, node: &Node, path: &str) -> Option<Build> {
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
            let place = context.value.take().map(|text| match text.strip_prefix(LAYOUT) {
                Some(folder) => format!("{LAYOUT}{}", self.absolute(folder, context.span)),
                None if is_remote(&text) || ["service:", "target:"].iter().any(|kind| text.starts_with(kind)) => text,
                None => self.absolute(&text, context.span),
            });
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
            ssh: self.pairs_of(node, path, "ssh"),
            cache_from: self.list_of(node, path, "cache_from", false),
            cache_to: self.list_of(node, path, "cache_to", false),
            entitlements: self.list_of(node, path, "entitlements", false),
            privileged: self.boolean_of(node, path, "privileged").unwrap_or(false),
            ulimits: self.ulimits(node, path),
            provenance: self.filled_of(node, path, "provenance"),
            sbom: self.filled_of(node, path, "sbom"),
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

/// A named context that is an OCI layout.
const LAYOUT: &str = "oci-layout://";

/// Whether a build context is a repository's URL rather than a folder.
pub(crate) fn is_remote(context: &str) -> bool {
    ["https://", "http://", "git://", "ssh://", "git@", "github.com/", "docker-image://"]
        .iter()
        .any(|scheme| context.starts_with(scheme))
}
