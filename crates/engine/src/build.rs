//! Builds: the solver on this root's store, its steps on the root's default network.

use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use carrack_diag::{Diagnostic, Result, SourceMap};
use carrack_network::{Attachment, DEFAULT_NETWORK, Namespace, Networks, host_resolvers};
use carrack_oci::{Digest, ImageConfig, Platform, Reference};
use carrack_plan::Image;
use carrack_runtime::foreground;
use carrack_solver::{BuildNetwork, Connection, ContainerExecutor, Services};

pub use carrack_attestation::{Mode, Vcs};
pub use carrack_llb::{ArgumentOutline, GitAddress, HttpAddress, MountOutline, Outline, TargetOutline};
pub use carrack_solver::{
    Arrival, ArrivedContext, Attestations, BuildOutput, BuildReport, BuildRequest, BuildResult, CacheDestination,
    CacheEntry, CacheExport, CacheImport, CacheKind, CacheReader, CacheRegistry, ContextReport, DockerfileSource,
    Event, Images, MountFate, MountsRequest, MovedMount, NamedContext, Progress, ProvenanceRequest, PruneRequest,
    Pruned, Reason, Secrets, SharedCache, Silent, StepExplanation, StoreOnly, Stream, Together,
};

pub use crate::build_cache::RegistryCaches;
pub use carrack_llb::{ExecSettings, Network as StepNetwork};
pub use carrack_specgen::container::Resources;
pub use carrack_store::{Compression, Image as StoredImage, ImageIndex};

use crate::engine::{Engine, host_error};

impl Engine {
    /// What is asked for where nothing is but a folder.
    pub fn build_request(&self, context: &Path) -> BuildRequest {
        BuildRequest::new(self.store.clone(), context)
    }

    /// A context, or a Dockerfile, from a stream.
    pub fn arrival(&self, stream: impl std::io::Read) -> Result<Arrival> {
        Arrival::of_stream(&self.store, stream)
    }

    /// A context, or a Dockerfile, from an address. None where the text is no address. `keeps_git` leaves a repository its
    /// `.git`. `cancel`, set, ends it.
    pub fn arrival_from(
        &self,
        text: &str,
        keeps_git: bool,
        secrets: &Secrets,
        cancel: &AtomicBool,
    ) -> Result<Option<Arrival>> {
        if let Some(address) = GitAddress::parse(text) {
            let mut address = address.map_err(|reason| {
                Diagnostic::error(&carrack_llb::codes::INVALID_VALUE, format!("`{text}` cannot be used as a context"))
                    .cause(reason)
                    .hint("write for example https://host/repository.git#branch:folder")
                    .boxed()
            })?;
            address.keep_git_folder |= keeps_git;
            return ArrivedContext::git(&self.store, &address, secrets, cancel)
                .map(|context| Some(Arrival::Context(context)));
        }
        let Some(address) = HttpAddress::parse(text, None) else { return Ok(None) };
        Arrival::of_address(&self.store, &address, secrets, cancel).map(Some)
    }

    /// The image that `FOLDER[:TAG][@DIGEST]` of an OCI layout means, taken into the store.
    pub fn layout_image(&self, text: &str, platform: &Platform) -> Result<Reference> {
        let (folder, wanted) = carrack_store::split_layout(text);
        let image = self.store.load_layout(folder, wanted, platform)?;
        built_reference(&image)
    }

    /// Builds an image; `images` gets what it is based on and the store does not have. Diagnostics point into texts that are added to `sources`; `cancel`, set, ends the build.
    pub fn build(
        &self,
        request: &BuildRequest,
        progress: &dyn Progress,
        images: &dyn Images,
        cancel: &AtomicBool,
        sources: &mut SourceMap,
    ) -> Result<BuildResult, Vec<Diagnostic>> {
        let network = DefaultNetwork(Networks::new(&self.store));
        let executor = ContainerExecutor::new(&self.store, &network)
            .and_then(|executor| executor.below(request.cgroup_parent.clone()))
            .map_err(|error| vec![*error])?;
        let mask = request.debug.then(foreground::keep_resizes).transpose();
        let _mask = mask.map_err(|error| vec![*host_error("can't wait for signals", error)])?;
        let services = Services { executor: &executor, progress, images, cancel };
        let built = carrack_solver::build(request, services, sources)?;
        self.emit_image("create", &built.image.id.to_string(), &built.image);
        for tag in &request.tags {
            self.emit_image("tag", &tag.familiar(), &built.image);
        }
        Ok(built)
    }

    /// Puts images that were built for several platforms together under the names, and gives them out. Those that nothing
    /// stands for then are no images of the store.
    pub fn join_platforms(
        &self,
        images: &[(Platform, StoredImage)],
        names: &[Reference],
        outputs: &[BuildOutput],
    ) -> Result<ImageIndex> {
        let index = carrack_solver::export_index(&self.store, images, names, outputs);
        let ids: Vec<Digest> = images.iter().map(|(_, image)| image.id).collect();
        self.store.forget_unnamed(&ids)?;
        index
    }

    /// Takes away those of some images that no name stands for and nothing keeps.
    pub fn forget_unnamed(&self, ids: &[Digest]) -> Result<()> {
        self.store.forget_unnamed(ids)
    }

    /// Builds up to a step and opens a shell before or after it; gives the shell's exit status. Nothing of the shell stays.
    pub fn debug_build(
        &self,
        request: &BuildRequest,
        at: &str,
        progress: &dyn Progress,
        images: &dyn Images,
        cancel: &AtomicBool,
        sources: &mut SourceMap,
    ) -> Result<i32, Vec<Diagnostic>> {
        let network = DefaultNetwork(Networks::new(&self.store));
        let executor = ContainerExecutor::new(&self.store, &network)
            .and_then(|executor| executor.below(request.cgroup_parent.clone()))
            .map_err(|error| vec![*error])?;
        let _mask = foreground::keep_resizes().map_err(|error| vec![*host_error("can't wait for signals", error)])?;
        carrack_solver::debug(request, at, Services { executor: &executor, progress, images, cancel }, sources)
    }

    /// What the build checks find. Reads only.
    pub fn check_build(
        &self,
        request: &BuildRequest,
        sources: &mut SourceMap,
    ) -> Result<Vec<Diagnostic>, Vec<Diagnostic>> {
        carrack_solver::check(request, sources)
    }

    /// What the target of a build can be given. Reads only.
    pub fn outline_build(&self, request: &BuildRequest, sources: &mut SourceMap) -> Result<Outline, Vec<Diagnostic>> {
        carrack_solver::outline(request, sources)
    }

    /// The targets of a Dockerfile. Reads only.
    pub fn build_targets(
        &self,
        request: &BuildRequest,
        sources: &mut SourceMap,
    ) -> Result<Vec<TargetOutline>, Vec<Diagnostic>> {
        carrack_solver::targets(request, sources)
    }

    /// The images that a build begins with, as far as its Dockerfile can be read.
    pub fn build_bases(&self, request: &BuildRequest) -> BTreeSet<Reference> {
        carrack_solver::bases(request)
    }

    /// Of each step that a build would take whether it is cached, and why not. Reads only (I-5).
    pub fn explain_build(
        &self,
        request: &BuildRequest,
        sources: &mut SourceMap,
    ) -> Result<Vec<StepExplanation>, Vec<Diagnostic>> {
        carrack_solver::explain(request, sources)
    }

    /// What earlier builds have left for later ones, least recently used first.
    pub fn build_cache(&self) -> Result<Vec<CacheEntry>> {
        carrack_solver::cache_usage(&self.store)
    }

    /// Lets go of some of it, and of what nothing else needs then.
    pub fn prune_build_cache(&self, request: &PruneRequest) -> Result<Pruned> {
        let pruned = carrack_solver::prune_cache(&self.store, request)?;
        self.emit_prune("builder", pruned.freed_bytes);
        Ok(pruned)
    }

    /// Writes cache mounts into a folder, for another machine.
    pub fn export_mounts(&self, to: &Path, request: &MountsRequest) -> Result<Vec<MovedMount>> {
        carrack_solver::export_mounts(&self.store, to, request)
    }

    /// Reads cache mounts from such a folder.
    pub fn import_mounts(&self, from: &Path, request: &MountsRequest) -> Result<Vec<MovedMount>> {
        carrack_solver::import_mounts(&self.store, from, request)
    }

    /// What a build would come to, once the names in `changing` stand for other images. Reads only (I-5).
    pub fn predict(
        &self,
        request: &BuildRequest,
        changing: &BTreeSet<Reference>,
        sources: &mut SourceMap,
    ) -> Result<Prediction, Vec<Diagnostic>> {
        Ok(match carrack_solver::predict(request, changing, sources)? {
            carrack_solver::Prediction::Image { id, config } => Prediction::Image(planned(id, &config)),
            carrack_solver::Prediction::Unknown(why) => Prediction::Unknown(why.message),
        })
    }
}

/// How a build names an image of the store that may have no name: by its manifest.
pub fn built_reference(image: &StoredImage) -> Result<Reference> {
    format!("built.invalid/image@{}", image.manifest.digest).parse()
}

/// What a build would come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prediction {
    /// This image, put together from cached steps.
    Image(Image),
    /// Something has to be done first: what.
    Unknown(String),
}

/// What plans need to know of an image.
pub(crate) fn planned(id: Digest, config: &ImageConfig) -> Image {
    let check = config.config.healthcheck.as_ref();
    let has_healthcheck = check.and_then(|check| check.test.first()).is_some_and(|kind| kind != "NONE");
    Image { id, has_healthcheck }
}

impl Engine {
    /// Ends what builds that were killed have left running, and takes it away.
    pub(crate) fn recover_builds(&self) -> Result<()> {
        if carrack_solver::steps(&self.store).iter().any(|(_, is_held)| !is_held) {
            ContainerExecutor::new(&self.store, &DefaultNetwork(Networks::new(&self.store)))?;
        }
        Ok(())
    }
}

/// The network that `run` uses too, without our resolver: a step is gone before anybody could ask for its name.
struct DefaultNetwork(Networks);

impl BuildNetwork for DefaultNetwork {
    fn connect(&self, id: &str) -> Result<Connection> {
        let namespace = Namespace::create()?;
        let attachment = Attachment { network: DEFAULT_NETWORK.into(), ..Attachment::default() };
        let endpoints = self.0.attach(id, &namespace, &[attachment])?;
        let gateway = endpoints.first().map(|endpoint| endpoint.gateway.into());
        let hold = Hold { networks: self.0.clone(), id: id.to_owned() };
        let resolvers = host_resolvers()?;
        let mut resolv_conf: String = resolvers.servers.iter().map(|server| format!("nameserver {server}\n")).collect();
        if !resolvers.search.is_empty() {
            resolv_conf.push_str(&format!("search {}\n", resolvers.search.join(" ")));
        }
        let namespace = namespace.as_fd().try_clone_to_owned();
        let namespace = namespace.map_err(|error| host_error("can't hold the step's network namespace", error))?;
        Ok(Connection { namespace: Some(namespace), resolv_conf, gateway, hold: Box::new(hold) })
    }

    fn release(&self, id: &str) -> Result<()> {
        self.0.detach(id)
    }
}

/// Gives a step's address back when the step is over.
struct Hold {
    networks: Networks,
    id: String,
}

impl Drop for Hold {
    fn drop(&mut self) {
        // What stays is found by the next build, and named by `doctor --leaks`.
        let _ = self.networks.detach(&self.id);
    }
}
