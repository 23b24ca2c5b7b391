//! What a build is asked for, and what it makes use of.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use carrack_llb::{ExecSettings, Network};
use carrack_oci::{Digest, Platform, Reference};
use carrack_specgen::container::Resources;
use carrack_store::Store;

use crate::arrived::ArrivedContext;
use crate::attest::Attestations;
use crate::cache::export::{CacheExport, CacheRegistry};
use crate::cache::import::CacheImport;
use crate::exec::Executor;
use crate::export::BuildOutput;
use crate::flight::Together;
use crate::progress::Progress;

/// Where a Dockerfile comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DockerfileSource {
    /// A file. An ignore file of its own may lie beside it.
    Path(PathBuf),
    /// A file of the context, which no link leads out of. An ignore file of its own may lie beside it.
    Inside(PathBuf),
    /// A text, such as standard input or `dockerfile_inline`.
    Text {
        /// What diagnostics call it.
        name: String,
        /// The whole of it.
        text: String,
    },
}

/// A context that has a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedContext {
    /// A folder.
    Folder(PathBuf),
    /// An image of the store, or of a registry.
    Image(Reference),
    /// An image of the store that no registry is asked for, such as what another build has made.
    Built(Reference),
}

/// What is to be built.
#[derive(Debug, Clone)]
pub struct BuildRequest {
    /// Where images and cache are.
    pub store: Store,
    /// The folder that COPY copies from; none for a build without files.
    pub context: Option<PathBuf>,
    /// The instructions.
    pub dockerfile: DockerfileSource,
    /// Name or number of a stage; none is the last.
    pub target: Option<String>,
    /// `--build-arg`.
    pub build_args: BTreeMap<String, String>,
    /// What the image is for; none is this machine.
    pub platform: Option<Platform>,
    /// Names that the image takes over.
    pub tags: Vec<Reference>,
    /// Added to the image's labels.
    pub labels: BTreeMap<String, String>,
    /// Whether base images are asked for at their registries although they are here.
    pub pull: bool,
    /// Whether every step is done again. Its results are cached all the same.
    pub no_cache: bool,
    /// The builds that this one is done with: none of them repeats what another one has done.
    pub together: Together,
    /// Stages by name or number, of which every step is done again.
    pub no_cache_stages: Vec<String>,
    /// How steps are connected that do not say it themselves.
    pub network: Network,
    /// What holds for the programs of all steps.
    pub settings: ExecSettings,
    /// Limits of each step. No part of keys.
    pub resources: Resources,
    /// What the control groups of steps are below; carrack's own where none. No part of keys.
    pub cgroup_parent: Option<String>,
    /// Of the image's manifest.
    pub annotations: BTreeMap<String, String>,
    /// What is left of the build; empty is an image of the store.
    pub outputs: Vec<BuildOutput>,
    /// Seconds since 1970 that no time in the image is later than (`SOURCE_DATE_EPOCH`).
    pub epoch: Option<i64>,
    /// Whether that holds for the times of files too.
    pub rewrite_times: bool,
    /// Contents by id.
    pub secrets: BTreeMap<String, Vec<u8>>,
    /// Sockets of SSH agents by id (`--ssh`).
    pub agents: BTreeMap<String, PathBuf>,
    /// What names after FROM and `--from` mean before they are stages or images (`--build-context`).
    pub contexts: BTreeMap<String, NamedContext>,
    /// Where contexts lie that have been fetched: they are there as long as this is.
    pub arrived: Vec<Arc<ArrivedContext>>,
    /// Whether a RUN may have every privilege (`--allow security.insecure`).
    pub allows_insecure: bool,
    /// Whether a RUN may have the host's network (`--allow network.host`) where `network` is another.
    pub allows_host_network: bool,
    /// Whether it is told of each step why it was not cached.
    pub explain: bool,
    /// Caches to take results from, beside this root's own.
    pub cache_from: Vec<CacheImport>,
    /// Caches to write.
    pub cache_to: Vec<CacheExport>,
    /// Whether the image carries what of the cache its layers are (`type=inline`).
    pub inline_cache: bool,
    /// Whether the result comes with a report.
    pub report: bool,
    /// Whether somebody gets a shell where a step fails, before the build ends.
    pub debug: bool,
    /// How many steps run at once (D3); 0 is as many as there are processors, and 16 at least.
    pub parallelism: usize,
    /// What is said of the image beside it.
    pub attestations: Attestations,
}

impl BuildRequest {
    /// The `Dockerfile` of a folder, with nothing asked for beside it.
    pub fn new(store: Store, context: &Path) -> Self {
        Self {
            store,
            context: Some(context.to_owned()),
            dockerfile: DockerfileSource::Path(context.join("Dockerfile")),
            target: None,
            build_args: BTreeMap::new(),
            platform: None,
            tags: Vec::new(),
            labels: BTreeMap::new(),
            pull: false,
            no_cache: false,
            together: Together::default(),
            no_cache_stages: Vec::new(),
            network: Network::Default,
            settings: ExecSettings::default(),
            resources: Resources::default(),
            cgroup_parent: None,
            annotations: BTreeMap::new(),
            outputs: Vec::new(),
            epoch: None,
            rewrite_times: false,
            secrets: BTreeMap::new(),
            agents: BTreeMap::new(),
            contexts: BTreeMap::new(),
            arrived: Vec::new(),
            allows_insecure: false,
            allows_host_network: false,
            explain: false,
            cache_from: Vec::new(),
            cache_to: Vec::new(),
            inline_cache: false,
            report: false,
            debug: false,
            parallelism: 0,
            attestations: Attestations::default(),
        }
    }
}

impl BuildRequest {
    /// Which Dockerfile and context this is, for telling builds of one apart from those of others.
    pub(crate) fn place(&self) -> Digest {
        let file = match &self.dockerfile {
            DockerfileSource::Path(path) | DockerfileSource::Inside(path) => path.display().to_string(),
            DockerfileSource::Text { name, .. } => name.clone(),
        };
        let context = self.context.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
        Digest::of(format!("{context}\n{file}"))
    }
}

/// Where base images come from that the store does not have.
pub trait Images: Sync {
    /// Brings an image into the store; whether there was any place to look for it.
    ///
    /// # Errors
    /// Why it could not be had.
    fn fetch(&self, reference: &Reference, platform: &Platform) -> carrack_diag::Result<bool>;

    /// The registries, for caches; none where there are none to be asked.
    ///
    /// # Errors
    /// Where their settings can't be read.
    fn registries(&self) -> carrack_diag::Result<Option<Box<dyn CacheRegistry + '_>>> {
        Ok(None)
    }
}

/// Only what is in the store.
#[derive(Debug, Clone, Copy, Default)]
pub struct StoreOnly;

impl Images for StoreOnly {
    fn fetch(&self, _reference: &Reference, _platform: &Platform) -> carrack_diag::Result<bool> {
        Ok(false)
    }
}

/// What a build makes use of.
#[derive(Clone, Copy)]
pub struct Services<'a> {
    /// Runs the programs of RUN.
    pub executor: &'a dyn Executor,
    /// Is told what happens.
    pub progress: &'a dyn Progress,
    /// Gets base images that the store does not have.
    pub images: &'a dyn Images,
    /// Set from outside (an interrupt), it ends the build and the programs that run; a failing step sets it too.
    pub cancel: &'a AtomicBool,
}
