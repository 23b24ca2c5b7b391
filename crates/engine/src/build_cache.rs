//! Build caches at registries.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use carrack_diag::Result;
use carrack_oci::{Descriptor, Manifest, Platform, Reference};
use carrack_registry::{Arriving, Client, Event, PushBlob, Resolved, Transfer, Watch};
use carrack_solver::{CacheReader, CacheRegistry};
use carrack_store::{Lease, Store};

use crate::engine::host_error;

/// Caches behind a client of registries.
#[derive(Clone)]
pub struct RegistryCaches(Arc<Client>);

impl RegistryCaches {
    /// Those that this client reaches.
    pub fn new(client: Client) -> Self {
        Self(Arc::new(client))
    }
}

struct Found {
    client: Arc<Client>,
    resolved: Resolved,
}

/// A transfer's failure ends the transfer and not the build, whose end ends both.
struct Follow<'a> {
    build: &'a AtomicBool,
    own: AtomicBool,
}

impl<'a> Follow<'a> {
    fn new(build: &'a AtomicBool) -> Self {
        Self { build, own: AtomicBool::new(build.load(Ordering::SeqCst)) }
    }

    fn transfer<'b>(&'b self, store: &'b Store, lease: &'b Lease) -> Transfer<'b> {
        Transfer { store, lease, watch: self, cancel: &self.own }
    }
}

impl Watch for Follow<'_> {
    fn event(&self, _event: Event<'_>) {
        if self.build.load(Ordering::SeqCst) {
            self.own.store(true, Ordering::SeqCst);
        }
    }
}

impl CacheRegistry for RegistryCaches {
    fn open(&self, reference: &Reference, platform: &Platform) -> Result<Box<dyn CacheReader>> {
        let resolved = self.0.resolve_cache(reference, platform)?;
        Ok(Box::new(Found { client: self.0.clone(), resolved }))
    }

    fn push(
        &self,
        reference: &Reference,
        manifest: &Manifest,
        store: &Store,
        lease: &Lease,
        cancel: &AtomicBool,
    ) -> Result<()> {
        let follow = Follow::new(cancel);
        let bytes =
            serde_json::to_vec(manifest).map_err(|error| host_error("can't write the cache's manifest", error))?;
        let blobs = manifest.layers.iter().chain([&manifest.config]);
        let blobs: Vec<PushBlob> = blobs.map(|blob| PushBlob { blob: blob.clone(), mounts: Vec::new() }).collect();
        let transfer = follow.transfer(store, lease);
        let destination = self.0.destination(reference, Vec::new(), transfer);
        transfer.all(&blobs, |blob| destination.send(blob))?;
        let tag = reference.tag().unwrap_or("latest");
        destination.put_manifest(tag, &manifest.media_type, &bytes).map(|_| ())
    }
}

impl CacheReader for Found {
    fn manifest(&self) -> &Manifest {
        &self.resolved.parsed
    }

    fn config(&self) -> Result<Vec<u8>> {
        self.client.config(&self.resolved)
    }

    fn fetch(&self, blobs: &[Descriptor], store: &Store, lease: &Lease, cancel: &AtomicBool) -> Result<()> {
        let follow = Follow::new(cancel);
        let arriving: Vec<Arriving> = blobs.iter().map(|_| Arriving::default()).collect();
        let blobs: Vec<(Descriptor, &Arriving)> = blobs.iter().cloned().zip(&arriving).collect();
        let arrived = Mutex::default();
        let fetched = self.client.fetch_blobs(&self.resolved, &blobs, follow.transfer(store, lease), &arrived);
        // What has arrived need not come again.
        store.commit_all(lease, arrived.into_inner().unwrap_or_else(PoisonError::into_inner), Vec::new())?;
        fetched
    }
}
