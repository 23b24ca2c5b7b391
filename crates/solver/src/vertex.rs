//! Evaluates one vertex: from the cache where it can, else by doing it.

mod file;
mod run;
mod shell;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use carrack_attestation::Material;
use carrack_diag::{Diagnostic, Result};
use carrack_llb::{Graph, Op, Source, Vertex, VertexId, cache_key};
use carrack_oci::Digest;
use carrack_specgen::container::Resources;
use carrack_store::{Image, Layer, Lease, Scratch, Snapshotter as _, Store, chain_of};

use crate::cache::import::Imports;
use crate::cache::{Cache, CacheRecord};
use crate::codes;
use crate::context::{Contexts, Folder, Usage};
use crate::exec::Executor;
use crate::explain::{self, Explainer, Reason, Taken};
use crate::flight::{Flight, Together};
use crate::plan::BuildPlan;
use crate::progress::Progress;
use crate::request::{BuildRequest, Services};
use crate::tree::Tree;

/// A root file system, and what the vertex that made it added.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Base first.
    pub(crate) layers: Vec<Layer>,
    /// None of sources and merges, whose layers others made.
    pub(crate) record: Option<CacheRecord>,
    /// What it is cached under.
    pub(crate) keys: Vec<Digest>,
    pub(crate) is_cached: bool,
    /// Of a source that is no image: files that are in no layer.
    pub(crate) folder: Option<Arc<Folder>>,
}

impl Outcome {
    fn of(folder: Option<Arc<Folder>>) -> Self {
        Self { layers: Vec::new(), record: None, keys: Vec::new(), is_cached: true, folder }
    }

    pub(crate) fn chain(&self) -> Option<&Digest> {
        self.layers.last().map(|layer| &layer.chain)
    }

    /// What the files are, for keys.
    pub(crate) fn identity(&self) -> Digest {
        self.chain().copied().unwrap_or_else(|| Digest::of(""))
    }
}

/// What is to be done with a step that the cache does not have.
enum Begun {
    /// Nothing any more.
    Done(Box<Outcome>),
    /// It.
    Work(Work),
}

/// A step that is done.
struct Work {
    /// Its folders.
    scratch: Scratch,
    began: Instant,
    /// Against other builds.
    _flight: Option<Flight>,
}

/// What all vertices of one build share.
pub(crate) struct Solver<'a> {
    pub(crate) graph: &'a Graph,
    store: &'a Store,
    /// None where nothing may be written: then a step that is not cached is an error.
    lease: Option<&'a Lease>,
    cache: Cache<'a>,
    pub(crate) imports: Imports<'a>,
    contexts: Contexts,
    images: &'a [Image],
    executor: &'a dyn Executor,
    pub(crate) progress: &'a dyn Progress,
    secrets: &'a BTreeMap<String, Vec<u8>>,
    agents: &'a BTreeMap<String, PathBuf>,
    no_cache: bool,
    together: &'a Together,
    uncached: &'a BTreeSet<usize>,
    resources: &'a Resources,
    pub(crate) cancel: &'a AtomicBool,
    pub(crate) usage: Mutex<Usage>,
    pub(crate) warnings: Mutex<Vec<Diagnostic>>,
    /// What sources have brought from elsewhere.
    pub(crate) materials: Mutex<BTreeSet<Material>>,
    /// Which Dockerfile and context this is.
    pub(crate) place: Digest,
    /// Where the misses are to be explained.
    pub(crate) explainer: Option<Explainer>,
    /// Whether somebody looks around where a step fails.
    pub(crate) debug: bool,
    /// The vertex that is a shell, and how it ended.
    pub(crate) stops_at: Option<VertexId>,
    pub(crate) shell_status: Mutex<Option<i32>>,
    /// The first that failed.
    pub(crate) failed: Mutex<Option<VertexId>>,
    /// How long each vertex has taken.
    pub(crate) durations: Mutex<BTreeMap<usize, Duration>>,
}

impl<'a> Solver<'a> {
    pub(crate) fn new(
        request: &'a BuildRequest,
        services: Services<'a>,
        lease: Option<&'a Lease>,
        plan: &'a BuildPlan,
        contexts: Contexts,
    ) -> Self {
        Self {
            graph: &plan.graph,
            store: &request.store,
            lease,
            cache: Cache::new(&request.store, lease),
            imports: Imports::new(&request.cache_from, services.images, request.platform.as_ref()),
            contexts,
            images: &plan.images,
            executor: services.executor,
            progress: services.progress,
            secrets: &request.secrets,
            agents: &request.agents,
            no_cache: request.no_cache,
            together: &request.together,
            uncached: &plan.uncached,
            resources: &request.resources,
            cancel: services.cancel,
            usage: Mutex::default(),
            warnings: Mutex::default(),
            materials: Mutex::default(),
            place: request.place(),
            explainer: None,
            debug: request.debug,
            stops_at: None,
            shell_status: Mutex::default(),
            failed: Mutex::default(),
            durations: Mutex::default(),
        }
    }

    /// Keeps what has been read of the contexts for the next build, which without it reads them again.
    pub(crate) fn save_contents(&self) {
        for folder in self.contexts.main.iter().chain(self.contexts.named.values()) {
            if let Err(error) = folder.contents.save() {
                let warning =
                    Diagnostic::warning(&codes::STEP_FAILED, format!("cannot note what {} held", folder.name));
                self.warnings.lock().unwrap_or_else(PoisonError::into_inner).push(warning.cause(error.to_string()));
            }
        }
    }

    /// The lease that what a step makes is kept by; none and an end in a prediction.
    fn lease(&self, vertex: &Vertex) -> Result<&Lease> {
        self.lease.ok_or_else(|| not_cached(vertex))
    }

    pub(crate) fn evaluate(&self, id: VertexId, inputs: &[Arc<Outcome>]) -> Result<Outcome> {
        let vertex = self.graph.vertex(id);
        match &vertex.op {
            Op::Source(Source::Image { manifest, .. }) => self.image(vertex, manifest),
            Op::Source(Source::Scratch) => Ok(Outcome::of(None)),
            Op::Source(Source::Context(None)) => Ok(Outcome::of(self.contexts.main.clone())),
            Op::Source(Source::Context(Some(name))) => match self.contexts.named.get(name) {
                Some(folder) => Ok(Outcome::of(Some(folder.clone()))),
                None => Err(failed(vertex, "use the context").cause(format!("there is no folder `{name}`")).boxed()),
            },
            Op::Source(source @ (Source::Http(_) | Source::Git(_))) => self.fetched(vertex, source),
            Op::Merge => self.merge(vertex, inputs),
            Op::File(actions) => self.file(id, actions, inputs),
            Op::Exec(exec) if self.stops_at == Some(id) => self.stop(id, exec, inputs),
            Op::Exec(exec) => self.exec(id, exec, inputs),
        }
    }

    /// Files from elsewhere, in a folder of this build. Their content, not their address, is part of keys.
    fn fetched(&self, vertex: &Vertex, source: &Source) -> Result<Outcome> {
        self.lease(vertex)?;
        let hold = self.store.scratch(None)?;
        let folder = hold.dir().join("fetched");
        let made = std::fs::create_dir(&folder);
        made.map_err(|error| failed(vertex, "make a folder").cause(error.to_string()).boxed())?;
        let fetched = match source {
            Source::Http(address) => crate::fetch::fetch(self.store, address, self.secrets, &folder, self.cancel)
                .map(|digest| (folder, crate::fetch::material(address, &digest))),
            Source::Git(address) => crate::git::checkout(address, self.secrets, &folder, self.cancel),
            _ => return Ok(Outcome::of(None)),
        };
        let (path, material) = fetched.map_err(|diagnostic| at_origin(*diagnostic, vertex).boxed())?;
        self.materials.lock().unwrap_or_else(PoisonError::into_inner).insert(material);
        let folder = Folder::fetched(&path, "what was fetched".to_owned(), hold);
        let folder =
            folder.map_err(|error| failed(vertex, "open what was fetched").cause(error.to_string()).boxed())?;
        Ok(Outcome::of(Some(Arc::new(folder))))
    }

    fn image(&self, vertex: &Vertex, manifest: &Digest) -> Result<Outcome> {
        let image = self.images.iter().find(|image| image.manifest.digest == *manifest);
        let Some(image) = image else {
            return Err(failed(vertex, "use the image").cause(format!("{manifest} is gone")).boxed());
        };
        if let Some(lease) = self.lease {
            self.store.unpack(lease, &image.layers)?;
        }
        Ok(Outcome { layers: image.layers.clone(), ..Outcome::of(None) })
    }

    /// Layers above each other have chain ids of their own, though their content is the same.
    fn merge(&self, vertex: &Vertex, inputs: &[Arc<Outcome>]) -> Result<Outcome> {
        let mut layers: Vec<Layer> = Vec::new();
        let mut is_whole = true;
        for layer in inputs.iter().flat_map(|input| &input.layers) {
            let parent = layers.last().map(|below| below.chain);
            let chain = chain_of(parent.as_ref(), &layer.diff_id);
            is_whole &= !self.imports.is_pending(self.store, layer)?;
            if !is_whole {
                self.imports.lay(layer, chain);
            } else if self.lease.is_some() || self.store.snapshot(&chain)?.is_none() {
                let mut tar = self.store.blob(&layer.blob.digest)?;
                self.store.apply(self.lease(vertex)?, parent.as_ref(), &layer.diff_id, &mut tar)?;
            }
            layers.push(Layer { chain, ..layer.clone() });
        }
        let is_cached = inputs.iter().all(|input| input.is_cached);
        Ok(Outcome { layers, is_cached, ..Outcome::of(None) })
    }

    /// The result under the first key that has one; it is entered under the others too. What this root does not have, a
    /// cache from elsewhere may.
    fn cached(
        &self,
        id: VertexId,
        keys: &[Digest],
        inputs: &[Arc<Outcome>],
        taken: &[Taken<'_>],
    ) -> Result<Option<Outcome>> {
        if self.is_uncached(id) && !self.together.has_done(keys) {
            return Ok(None);
        }
        let base = &inputs[0];
        for (index, key) in keys.iter().enumerate() {
            if let Some(record) = self.cache.get(key)? {
                for other in &keys[..index] {
                    self.cache.put(other, &record)?;
                }
                return Ok(Some(outcome(base, record, keys, true)));
            }
        }
        let vertex = self.graph.vertex(id);
        let made_of = || {
            let ids: Vec<Option<Digest>> = inputs.iter().map(|input| Some(input.identity())).collect();
            self.made_of(vertex, &ids, taken)
        };
        let found = keys.iter().find_map(|key| self.imports.get(key, base.chain(), &vertex.name, made_of));
        let Some(record) = found else { return Ok(None) };
        if self.lease.is_some() {
            self.keep(vertex, taken)?;
            let is_here = match &record.layer {
                Some(layer) => self.store.snapshot(&layer.chain)?.is_some() && self.store.has_blob(&layer.blob.digest),
                None => true,
            };
            for key in keys.iter().filter(|_| is_here) {
                self.cache.put(key, &record)?;
            }
        }
        Ok(Some(outcome(base, record, keys, true)))
    }

    /// Sees to it that the layers of a result are here, which caches from elsewhere only promise.
    pub(crate) fn bring(&self, layers: &[Layer]) -> Result<()> {
        match self.lease {
            Some(lease) => self.imports.bring(layers, (self.store, lease), &self.cache, self.cancel),
            None => Ok(()),
        }
    }

    /// Has a step to itself, or its result where another build of this process was just doing it.
    fn begin(&self, id: VertexId, keys: &[Digest], inputs: &[Arc<Outcome>], taken: &[Taken<'_>]) -> Result<Begun> {
        let (base, began) = (&inputs[0], Instant::now());
        let mut flight = None;
        if let Some(key) = keys.last().filter(|_| self.lease.is_some()) {
            flight = Flight::take(*key, self.cancel);
            if let Some(outcome) = self.cached(id, keys, inputs, taken)? {
                return Ok(Begun::Done(Box::new(outcome)));
            }
        }
        let ids: Vec<_> = inputs.iter().map(|input| Some(input.identity())).collect();
        self.missed(id, &ids, taken);
        self.lease(self.graph.vertex(id))?;
        self.bring(&base.layers)?;
        Ok(Begun::Work(Work { scratch: self.store.scratch(base.chain())?, began, _flight: flight }))
    }

    fn is_uncached(&self, id: VertexId) -> bool {
        self.no_cache || self.uncached.contains(&id.0)
    }

    /// Notes why a step is not cached, where somebody wants to know. An input that is not known is none.
    pub(crate) fn missed(&self, id: VertexId, ids: &[Option<Digest>], taken: &[Taken<'_>]) {
        let Some(explainer) = &self.explainer else { return };
        let vertex = self.graph.vertex(id);
        explainer.put(
            id,
            match self.is_uncached(id) {
                true => vec![Reason::NoCache],
                false => explainer.why(self.store, vertex, &self.made_of(vertex, ids, taken), taken, &|input| {
                    self.folder(vertex, input)
                }),
            },
        );
    }

    /// Makes a layer of what was written, and only then enters it into the cache.
    fn commit(
        &self,
        vertex: &Vertex,
        keys: &[Digest],
        inputs: &[Arc<Outcome>],
        taken: &[Taken<'_>],
        work: &Work,
    ) -> Result<Outcome> {
        let upper = work.scratch.upper().upper;
        let layer = self.store.commit_upper(self.lease(vertex)?, inputs[0].chain(), &upper);
        let layer = layer.map_err(|diagnostic| at_origin(*diagnostic, vertex).boxed())?;
        self.enter(vertex, (keys, inputs, taken), layer, work)
    }

    /// Enters a layer into the cache, with the files that it was made of.
    fn enter(
        &self,
        vertex: &Vertex,
        (keys, inputs, taken): (&[Digest], &[Arc<Outcome>], &[Taken<'_>]),
        layer: Layer,
        work: &Work,
    ) -> Result<Outcome> {
        let base = &inputs[0];
        let is_empty = layer.diff_id == empty_layer();
        let created = jiff::Timestamp::now().to_string();
        self.keep(vertex, taken)?;
        let ids: Vec<Option<Digest>> = inputs.iter().map(|input| Some(input.identity())).collect();
        let inputs = Some(self.made_of(vertex, &ids, taken));
        let duration_ms = u64::try_from(work.began.elapsed().as_millis()).ok();
        let (layer, name) = ((!is_empty).then_some(layer), vertex.name.clone());
        let record = CacheRecord { layer, created, name, duration_ms, inputs };
        for key in keys {
            self.cache.put(key, &record)?;
        }
        self.together.add(keys);
        Ok(outcome(base, record, keys, false))
    }

    /// Notes which files a step has taken.
    fn keep(&self, vertex: &Vertex, taken: &[Taken<'_>]) -> Result<()> {
        for taken in taken {
            explain::keep(self.store, taken).map_err(|error| match is_full(&error) {
                true => disk_full(vertex, "cannot note which files were taken".into(), &error),
                false => failed(vertex, "note which files were taken").cause(error.to_string()).boxed(),
            })?;
        }
        Ok(())
    }

    /// The files of a result for reading.
    fn tree(&self, vertex: &Vertex, outcome: &Outcome) -> Result<Tree> {
        self.bring(&outcome.layers)?;
        let chain = outcome.chain();
        if let (None, Some(chain)) = (self.lease, chain)
            && self.store.snapshot(chain)?.is_none()
        {
            // Unpacking would write.
            return Err(not_cached(vertex));
        }
        let lower = self.lower(chain)?;
        let opened = match lower.as_slice() {
            [only] => Tree::folder(only),
            _ => Tree::overlay(&lower, None),
        };
        opened.map_err(|error| failed(vertex, "open the layers").cause(error.to_string()).boxed())
    }

    /// The folders of a chain. A chain of one gets an empty one below it, so that it can be shown by an overlay, which
    /// alone hides the notes that the kernel keeps in layers.
    fn lower(&self, chain: Option<&Digest>) -> Result<Vec<PathBuf>> {
        let mut lower = self.store.lower_dirs(chain)?;
        if chain.is_some() && lower.len() == 1 {
            lower.extend(self.store.lower_dirs(None)?);
        }
        Ok(lower)
    }

    /// The context that an input is.
    pub(crate) fn folder(&self, vertex: &Vertex, input: usize) -> Option<&Folder> {
        match &self.graph.vertex(vertex.inputs.get(input)?.vertex).op {
            Op::Source(Source::Context(None)) => self.contexts.main.as_deref(),
            Op::Source(Source::Context(Some(name))) => self.contexts.named.get(name).map(Arc::as_ref),
            _ => None,
        }
    }

    /// Whether the files of an input are a folder's, in no layer.
    fn is_folder_source(&self, vertex: &Vertex, input: usize) -> bool {
        let op = &self.graph.vertex(vertex.inputs[input].vertex).op;
        matches!(op, Op::Source(Source::Context(_) | Source::Http(_) | Source::Git(_)))
    }
}

/// Ends a prediction.
fn not_cached(vertex: &Vertex) -> Box<Diagnostic> {
    let message = format!("the step `{}` is not cached", vertex.name);
    at_origin(Diagnostic::error(&codes::NOT_CACHED, message), vertex).hint("build the image").boxed()
}

fn outcome(base: &Outcome, record: CacheRecord, keys: &[Digest], is_cached: bool) -> Outcome {
    let layers = base.layers.iter().chain(&record.layer).cloned().collect();
    Outcome { layers, record: Some(record), keys: keys.to_vec(), is_cached, folder: None }
}

/// The digest of a tar without members: two blocks of zeros.
fn empty_layer() -> Digest {
    Digest::of([0_u8; 1024])
}

/// A step that cannot be carried out, at its instruction.
fn failed(vertex: &Vertex, what: &str) -> Diagnostic {
    at_origin(Diagnostic::error(&codes::STEP_FAILED, format!("{}: {what}", vertex.name)), vertex)
}

/// What the store says where it has no room, for what is written past it.
fn disk_full(vertex: &Vertex, message: String, error: &std::io::Error) -> Box<Diagnostic> {
    at_origin(Diagnostic::error(&carrack_store::codes::DISK_FULL, message), vertex)
        .cause(error.to_string())
        .hint(DISK_FULL_HINT)
        .boxed()
}

/// Says what to do about links that lead nowhere.
fn led_astray(diagnostic: Diagnostic, error: &std::io::Error) -> Diagnostic {
    match error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) {
        true => diagnostic.hint(crate::container::LOOP_HINT),
        false => diagnostic,
    }
}

const DISK_FULL_HINT: &str = "free space, for example with `carrack builder prune` or `carrack rmi`, or move the root to a larger file system with --root";

fn is_full(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
}

fn at_origin(diagnostic: Diagnostic, vertex: &Vertex) -> Diagnostic {
    match vertex.origin.first() {
        Some(span) => diagnostic.at(*span, ""),
        None => diagnostic,
    }
}

fn keys_of(op: &Op, inputs: Vec<Digest>) -> Digest {
    cache_key(op, &inputs)
}
