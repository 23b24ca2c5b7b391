//! What is said of a built image: the packages in it, how it was built.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use carrack_attestation::{Material, Mode, PROVENANCE, Provenance, SBOM, Step, Vcs, spdx};
use carrack_diag::{Diagnostic, Result, SourceMap, Span};
use carrack_llb::{Network, Op, Source, is_secret_name};
use carrack_oci::{Descriptor, Digest, ImageConfig, Platform};
use carrack_store::{Layer, Lease, Predicate};

use crate::codes;
use crate::inventory::{bill, subject_of};
use crate::plan::BuildPlan;
use crate::request::{BuildRequest, DockerfileSource, NamedContext};
use crate::vertex::Outcome;

/// What a build is to say of its image.
#[derive(Debug, Clone, Default)]
pub struct Attestations {
    /// The packages in it.
    pub sbom: bool,
    /// How it was built.
    pub provenance: Option<ProvenanceRequest>,
    /// Where the context came from, if not from this machine.
    pub context: Option<Material>,
    /// The working copy that the context is.
    pub vcs: Option<Vcs>,
}

/// How the provenance is to be.
#[derive(Debug, Clone, Default)]
pub struct ProvenanceRequest {
    /// How much is told.
    pub mode: Mode,
    /// Who builds: an address. Empty is this program.
    pub builder_id: String,
    /// Whether the same inputs are meant to give the same image.
    pub is_reproducible: bool,
    /// Whether somebody asked for it.
    pub is_asked: bool,
}

/// What came of a build.
pub(crate) struct Made<'a> {
    pub(crate) config: (&'a [u8], &'a ImageConfig),
    pub(crate) layers: &'a [Layer],
    pub(crate) outcomes: &'a [std::sync::Arc<Outcome>],
    /// Fetched while it ran.
    pub(crate) materials: &'a BTreeSet<Material>,
    pub(crate) began: jiff::Timestamp,
}

/// The predicates, their contents kept by the lease; and what is missing in them.
pub(crate) fn predicates(
    request: &BuildRequest,
    lease: &Lease,
    plan: &BuildPlan,
    made: &Made<'_>,
    sources: &SourceMap,
) -> Result<(Vec<Predicate>, Vec<Diagnostic>)> {
    let wanted = &request.attestations;
    let (mut predicates, mut warnings) = (Vec::new(), Vec::new());
    let mut add = |kind: &str, content: serde_json::Value, is_asked| -> Result<()> {
        let bytes = content.to_string().into_bytes();
        let digest = request.store.ingest_bytes(lease, &bytes)?;
        let content = Descriptor::new("application/json", digest, bytes.len() as u64);
        predicates.push(Predicate { kind: kind.to_owned(), content, is_asked });
        Ok(())
    };
    let id = Digest::of(made.config.0);
    if wanted.sbom {
        let bill = bill(&request.store, made.layers, &made.config.1.history)?;
        warnings.extend(bill.unread.iter().map(incomplete));
        let name = request.tags.first().map_or_else(|| id.short(), |tag| tag.familiar());
        add(SBOM, spdx(&bill, &subject_of(name, id, made.config.1)), true)?;
    }
    if let Some(provenance) = &wanted.provenance {
        let known = request.store.predicates(&id)?;
        // It tells of the build that made the image, not of one that found it made.
        if provenance.is_asked || known.iter().all(|predicate| predicate.kind != PROVENANCE) {
            add(PROVENANCE, told(request, provenance, plan, made, sources).predicate(), provenance.is_asked)?;
        }
    }
    Ok((predicates, warnings))
}

/// A package database that can't be read, as a warning.
pub fn incomplete(unread: &carrack_attestation::Unread) -> Diagnostic {
    let message = format!("the packages that /{} knows are not listed", unread.path);
    Diagnostic::warning(&codes::SBOM_INCOMPLETE, message).cause(unread.reason.clone())
}

fn told(
    request: &BuildRequest,
    wanted: &ProvenanceRequest,
    plan: &BuildPlan,
    made: &Made<'_>,
    sources: &SourceMap,
) -> Provenance {
    let mut materials: BTreeSet<Material> = made.materials.clone();
    materials.extend(plan.graph.vertices.iter().filter_map(|vertex| image(&vertex.op)));
    materials.extend(request.attestations.context.clone());
    materials.extend(request.arrived.iter().filter_map(|arrived| arrived.origin().cloned()));
    let reaches_out = |op: &Op| match op {
        Op::Exec(exec) => exec.network != Network::None,
        Op::Source(source) => matches!(source, Source::Http(_) | Source::Git(_)),
        _ => false,
    };
    let is_hermetic = !plan.graph.vertices.iter().any(|vertex| reaches_out(&vertex.op));
    let ids = |ids: Vec<&String>| ids.into_iter().cloned().collect();
    let builder = format!("pkg:generic/carrack@{}", env!("CARGO_PKG_VERSION"));
    let now = jiff::Timestamp::now();
    Provenance {
        mode: wanted.mode,
        builder_id: if wanted.builder_id.is_empty() { builder } else { wanted.builder_id.clone() },
        invocation_id: Digest::of(format!("{} {} {}", made.began, std::process::id(), request.place())).hex(),
        started: made.began.to_string(),
        finished: now.to_string(),
        platform: Platform::host().to_string(),
        context: request.attestations.context.clone(),
        path: path(request),
        arguments: arguments(request),
        locals: locals(request),
        secrets: ids(request.secrets.keys().collect()),
        agents: ids(request.agents.keys().collect()),
        materials: materials.into_iter().collect(),
        source: sources.get(plan.dockerfile).text.to_string(),
        steps: steps(plan, made, sources),
        vcs: request.attestations.vcs.clone(),
        is_hermetic,
        is_reproducible: wanted.is_reproducible,
    }
}

/// A base image by its name and manifest.
fn image(op: &Op) -> Option<Material> {
    let Op::Source(Source::Image { reference, manifest, platform, .. }) = op else { return None };
    let (name, tag) = match reference.parse::<carrack_oci::Reference>() {
        Ok(reference) => (reference.familiar_repository(), reference.tag().map(str::to_owned)),
        Err(_) => (reference.clone(), None),
    };
    let tag = tag.map(|tag| format!("@{tag}")).unwrap_or_default();
    let platform = platform.to_string().replace('/', "%2F");
    let uri = format!("pkg:docker/{}{tag}?digest={manifest}&platform={platform}", name.replace(':', "%3A"));
    Some(Material { uri, digest: ("sha256".to_owned(), manifest.hex()) })
}

/// The Dockerfile as whoever looks for it finds it: below its context where it is there.
fn path(request: &BuildRequest) -> String {
    match &request.dockerfile {
        DockerfileSource::Text { name, .. } => name.clone(),
        DockerfileSource::Inside(path) => path.display().to_string(),
        DockerfileSource::Path(path) => {
            let inside = request.context.as_ref().and_then(|context| path.strip_prefix(context).ok());
            let shown = inside.or_else(|| path.file_name().map(Path::new)).unwrap_or(path);
            shown.display().to_string()
        }
    }
}

/// What was chosen for this build. The value of an argument that is called like a secret is one, and a proxy's address
/// may hold a password.
fn arguments(request: &BuildRequest) -> BTreeMap<String, String> {
    let mut arguments = BTreeMap::new();
    for (name, value) in &request.build_args {
        let is_proxy = name.to_ascii_lowercase().ends_with("_proxy");
        let shown = if is_proxy || is_secret_name(name) { "(not told)" } else { value };
        arguments.insert(format!("build-arg:{name}"), shown.to_owned());
    }
    arguments.extend(request.labels.iter().map(|(key, value)| (format!("label:{key}"), value.clone())));
    let own = [
        ("target", request.target.clone()),
        ("platform", request.platform.as_ref().map(ToString::to_string)),
        ("no-cache", request.no_cache.then(String::new)),
        (
            "force-network-mode",
            Some(request.network).filter(|network| *network != Network::Default).map(|network| match network {
                Network::None => "none".to_owned(),
                _ => "host".to_owned(),
            }),
        ),
    ];
    arguments.extend(own.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    for (name, context) in &request.contexts {
        let place = match context {
            NamedContext::Image(reference) => Some(format!("docker-image://{}", reference.familiar())),
            NamedContext::Folder(path) => {
                let arrived = request.arrived.iter().find(|arrived| arrived.path() == path);
                arrived.and_then(|arrived| Some(arrived.origin()?.uri.clone()))
            }
            NamedContext::Built(_) => None,
        };
        arguments.extend(place.map(|place| (format!("context:{name}"), place)));
    }
    arguments
}

/// Folders of this machine that the build could take files from.
fn locals(request: &BuildRequest) -> Vec<String> {
    let is_local = request.context.is_some() && request.attestations.context.is_none();
    let has_arrived = |path: &Path| request.arrived.iter().any(|arrived| arrived.path() == path);
    let named = request
        .contexts
        .iter()
        .filter(|(_, context)| matches!(context, NamedContext::Folder(path) if !has_arrived(path)));
    is_local.then(|| "context".to_owned()).into_iter().chain(named.map(|(name, _)| name.clone())).collect()
}

fn steps(plan: &BuildPlan, made: &Made<'_>, sources: &SourceMap) -> Vec<Step> {
    let vertices = plan.graph.vertices.iter().enumerate();
    let step = vertices.map(|(index, vertex)| {
        let record = made.outcomes.get(index).and_then(|outcome| outcome.record.as_ref());
        let lines = vertex.origin.first().map(|span| {
            let line = |at: u32| sources.position(Span { start: at, ..*span }).line;
            (line(span.start), line(span.end))
        });
        Step {
            name: vertex.name.clone(),
            inputs: vertex.inputs.iter().map(|edge| edge.vertex.0).collect(),
            layer: record.and_then(|record| Some(record.layer.as_ref()?.diff_id)),
            lines,
        }
    });
    step.collect()
}
