use std::collections::BTreeMap;

use base64::Engine as _;
use carrack_oci::Digest;
use serde_json::{Value, json};

/// How the predicate is to be read: BuildKit's "SLSA definitions", which it follows as far as they can be applied.
const BUILD_TYPE: &str = "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md";

/// How much is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Nothing that somebody chose for this build alone.
    #[default]
    Min,
    /// Arguments, the Dockerfile, steps.
    Max,
}

/// Something that went into a build from outside.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Material {
    /// What it is: a purl for images, else its address.
    pub uri: String,
    /// `sha256` or, of a Git commit, `sha1`; with its hexadecimal value.
    pub digest: (String, String),
}

/// The working copy that a build was made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vcs {
    /// Where it was cloned from; empty where nowhere.
    pub source: String,
    /// The commit.
    pub revision: String,
}

/// A step of the build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// As progress calls it.
    pub name: String,
    /// Numbers of steps.
    pub inputs: Vec<usize>,
    /// What it made.
    pub layer: Option<Digest>,
    /// First and last line of the Dockerfile, from 1.
    pub lines: Option<(usize, usize)>,
}

/// How an image was built. Never holds a secret's value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Provenance {
    /// How much of this is told.
    pub mode: Mode,
    /// Who built: an address.
    pub builder_id: String,
    /// Of this run.
    pub invocation_id: String,
    /// RFC 3339.
    pub started: String,
    /// RFC 3339.
    pub finished: String,
    /// OS and architecture of the builder.
    pub platform: String,
    /// The remote context, if there is one.
    pub context: Option<Material>,
    /// Of the Dockerfile, below its context.
    pub path: String,
    /// `target`, `build-arg:NAME`, `label:KEY`, and so on.
    pub arguments: BTreeMap<String, String>,
    /// Folders of this machine, by the name of the context.
    pub locals: Vec<String>,
    /// Ids.
    pub secrets: Vec<String>,
    /// Ids.
    pub agents: Vec<String>,
    /// What is known to have come from outside.
    pub materials: Vec<Material>,
    /// The Dockerfile.
    pub source: String,
    /// In an order in which they could run.
    pub steps: Vec<Step>,
    /// The working copy.
    pub vcs: Option<Vcs>,
    /// Whether no step could reach a network.
    pub is_hermetic: bool,
    /// Whether whoever builds says that the same inputs give the same image.
    pub is_reproducible: bool,
}

impl Provenance {
    /// SLSA provenance v1.
    pub fn predicate(&self) -> Value {
        let is_max = self.mode == Mode::Max;
        let digest = |material: &Material| json!({ material.digest.0.clone(): material.digest.1 });
        let mut source = json!({ "path": self.path });
        if let Some(context) = &self.context {
            source["uri"] = context.uri.clone().into();
            source["digest"] = digest(context);
        }
        let is_own = |name: &str| name.starts_with("build-arg:") || name.starts_with("label:");
        let arguments: BTreeMap<&String, &String> =
            self.arguments.iter().filter(|(name, _)| is_max || !is_own(name)).collect();
        let mut request = json!({ "frontend": "dockerfile.v0" });
        if !arguments.is_empty() {
            request["args"] = json!(arguments);
        }
        if !self.locals.is_empty() {
            request["locals"] = self.locals.iter().map(|name| json!({ "name": name })).collect();
        }
        for (key, ids) in [("secrets", &self.secrets), ("ssh", &self.agents)] {
            if is_max && !ids.is_empty() {
                request[key] = ids.iter().map(|id| json!({ "id": id })).collect();
            }
        }
        let materials =
            self.materials.iter().map(|material| json!({ "uri": material.uri, "digest": digest(material) }));
        let mut internal = json!({ "builderPlatform": self.platform });
        let mut metadata = json!({
            "invocationId": self.invocation_id,
            "startedOn": self.started,
            "finishedOn": self.finished,
        });
        let mut buildkit = json!({});
        if let Some(vcs) = &self.vcs {
            buildkit["vcs"] = json!({ "revision": vcs.revision });
            if !vcs.source.is_empty() {
                buildkit["vcs"]["source"] = vcs.source.clone().into();
            }
        }
        if is_max {
            let data = base64::engine::general_purpose::STANDARD.encode(&self.source);
            internal["buildConfig"] = json!({ "steps": self.steps.iter().enumerate().map(step).collect::<Vec<_>>() });
            buildkit["source"] =
                json!({ "infos": [{ "filename": self.path, "language": "Dockerfile", "data": data }] });
        }
        if buildkit.as_object().is_some_and(|object| !object.is_empty()) {
            metadata["buildkit_metadata"] = buildkit;
        }
        metadata["buildkit_hermetic"] = self.is_hermetic.into();
        // A folder of this machine is no dependency that anybody could look up.
        metadata["buildkit_completeness"] =
            json!({ "request": is_max, "resolvedDependencies": self.locals.is_empty() && self.is_hermetic });
        metadata["buildkit_reproducible"] = self.is_reproducible.into();
        json!({
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": { "configSource": source, "request": request },
                "internalParameters": internal,
                "resolvedDependencies": materials.collect::<Vec<_>>(),
            },
            "runDetails": {
                "builder": { "id": self.builder_id, "version": { "carrack": env!("CARGO_PKG_VERSION") } },
                "metadata": metadata,
            },
        })
    }
}

fn step((number, step): (usize, &Step)) -> Value {
    let name = |number: &usize| format!("step{number}");
    let mut value = json!({ "id": name(&number), "name": step.name });
    if !step.inputs.is_empty() {
        value["inputs"] = step.inputs.iter().map(name).collect();
    }
    if let Some(layer) = &step.layer {
        value["layer"] = layer.to_string().into();
    }
    if let Some((first, last)) = step.lines {
        value["lines"] = json!([first, last]);
    }
    value
}
