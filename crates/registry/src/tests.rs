//! The client against a registry that issues tokens, cuts connections and lies.
#![allow(clippy::unwrap_used)]

mod credentials;
mod hostile;
mod pulls;
mod pushes;
mod referrers;

use std::io::Read as _;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use carrack_diag::Result;
use carrack_oci::{Descriptor, Digest, Manifest, Platform, Reference, media_type};
use carrack_store::{Lease, Roots, Store};
use carrack_testkit::registry::Registry;

use crate::{Arriving, Client, CredentialFile, Event, Settings, Transfer, Watch};

/// A store, a registry, and what was said.
struct Scene {
    dir: tempfile::TempDir,
    store: Store,
    lease: Lease,
    registry: Registry,
    said: Said,
}

#[derive(Default)]
struct Said(Mutex<Vec<String>>);

impl Watch for Said {
    fn event(&self, event: Event<'_>) {
        let line = match event {
            Event::Present { .. } => "present".to_owned(),
            Event::Interrupted { .. } => "interrupted".to_owned(),
            Event::Mounted { from, .. } => format!("mounted from {from}"),
            Event::Done { .. } => "done".to_owned(),
            _ => return,
        };
        self.0.lock().unwrap().push(line);
    }
}

/// An image of layers that nobody unpacks.
struct Fixture {
    layers: Vec<Vec<u8>>,
    config: Vec<u8>,
    manifest: Vec<u8>,
}

/// Bytes that do not repeat within a buffer.
fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

impl Fixture {
    fn new(seed: u64, sizes: &[usize]) -> Self {
        let layers: Vec<Vec<u8>> = sizes.iter().zip(seed..).map(|(size, seed)| noise(seed, *size)).collect();
        let config = carrack_testkit::image::config(&layers, carrack_oci::Config::default());
        let manifest = Manifest {
            schema_version: 2,
            media_type: media_type::MANIFEST.into(),
            artifact_type: None,
            config: descriptor(media_type::CONFIG, &config),
            layers: layers.iter().map(|layer| descriptor(media_type::LAYER_GZIP, layer)).collect(),
            subject: None,
            annotations: Default::default(),
        };
        Self { layers, config, manifest: serde_json::to_vec(&manifest).unwrap() }
    }

    fn put(&self, registry: &Registry, repository: &str, tag: &str) -> Digest {
        for blob in self.layers.iter().chain([&self.config]) {
            registry.put_blob(repository, blob);
        }
        registry.put_manifest(repository, tag, media_type::MANIFEST, &self.manifest)
    }
}

fn descriptor(kind: &str, bytes: &[u8]) -> Descriptor {
    Descriptor::new(kind, Digest::of(bytes), bytes.len() as u64)
}

impl Scene {
    fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let mut builder = tempfile::Builder::new();
        let builder = builder.prefix("carrack-registry-");
        let dir = if memory.is_dir() { builder.tempdir_in(memory) } else { builder.tempdir() }.unwrap();
        let store = Store::open(Roots { data: dir.path().join("data"), run: dir.path().join("run") }).unwrap();
        let lease = store.lease().unwrap();
        Self { dir, store, lease, registry: Registry::start(), said: Said::default() }
    }

    /// No wait takes long here.
    fn settings(&self) -> Settings {
        Settings { backoff: Duration::from_millis(1), idle_timeout: Duration::from_secs(10), ..Settings::default() }
    }

    fn client(&self) -> Client {
        Client::new(self.settings(), Some(self.credentials()))
    }

    fn credentials(&self) -> CredentialFile {
        CredentialFile::in_folder(&self.dir.path().join("docker"))
    }

    fn name(&self, rest: &str) -> Reference {
        format!("{}/{rest}", self.registry.host()).parse().unwrap()
    }

    fn said(&self) -> Vec<String> {
        std::mem::take(&mut self.said.0.lock().unwrap())
    }

    /// Manifest, configuration and layers.
    fn pull(&self, client: &Client, name: &Reference) -> Result<()> {
        let image = client.resolve(name, &Platform::host(), false)?;
        client.config(&image)?;
        let cancel = AtomicBool::new(false);
        let transfer = Transfer { store: &self.store, lease: &self.lease, watch: &self.said, cancel: &cancel };
        let blobs = image.blobs();
        let arriving: Vec<Arriving> = blobs.iter().map(|_| Arriving::default()).collect();
        let blobs: Vec<_> = blobs.into_iter().zip(&arriving).collect();
        let arrived = Mutex::default();
        let fetched = client.fetch_blobs(&image, &blobs, transfer, &arrived);
        for ((blob, arriving), is_whole) in blobs.iter().zip(arriving.iter().map(Arriving::wait)) {
            let mut read = Vec::new();
            let end = arriving.reader().and_then(|mut reader| reader.read_to_end(&mut read));
            assert_eq!(end.is_ok(), is_whole);
            assert!(!is_whole || Digest::of(&read) == blob.digest);
        }
        self.store.commit_all(&self.lease, arrived.into_inner().unwrap(), Vec::new()).unwrap();
        fetched
    }

    fn fails(&self, name: &str) -> String {
        let error = self.pull(&self.client(), &self.name(name)).unwrap_err();
        format!("{}: {}", error.code.id, error.causes.join(" | "))
    }

    /// All blobs arrived and nothing else; nothing is half there.
    fn holds(&self, fixture: &Fixture) -> bool {
        let mut wanted: Vec<Digest> = fixture.layers.iter().map(Digest::of).collect();
        let mut found = self.store.blobs().unwrap();
        wanted.sort();
        wanted.dedup();
        found.sort();
        wanted == found
    }
}
