//! What takes room on the data root, and what of it could go.

use std::collections::{BTreeMap, BTreeSet};

use carrack_diag::Result;
use carrack_oci::Digest;
use carrack_store::{Image, KeepKind, Scope, Snapshotter as _, disk_usage};

use crate::build::CacheEntry;
use crate::container::ContainerView;
use crate::engine::Engine;
use crate::image::ImageView;

/// Everything on a data root that grows.
#[derive(Debug, Clone)]
pub struct DiskUsage {
    /// A line a name.
    pub images: Vec<ImageUsage>,
    /// Distinct images.
    pub image_count: usize,
    /// Of them, those that containers have.
    pub active_image_count: usize,
    /// Their layers, each once, unpacked and as blobs, in bytes.
    pub images_bytes: u64,
    /// Of that, what `image prune --all` would free: what no container, release or cached step needs.
    pub images_reclaimable_bytes: u64,
    /// Running or not.
    pub containers: Vec<ContainerUsage>,
    /// Of this root.
    pub volumes: Vec<VolumeUsage>,
    /// What builds have left.
    pub cache: Vec<CacheEntry>,
}

/// An image under one of its names.
#[derive(Debug, Clone)]
pub struct ImageUsage {
    /// As `images` shows it.
    pub view: ImageView,
    /// Unpacked layers that other images have too, in bytes.
    pub shared_bytes: u64,
    /// Unpacked layers that no other image has, in bytes.
    pub unique_bytes: u64,
    /// How many containers have it.
    pub containers: usize,
    /// Why it stays: `container NAME`, `release PROJECT-NUMBER`.
    pub used_by: Vec<String>,
}

/// A container.
#[derive(Debug, Clone)]
pub struct ContainerUsage {
    /// As `ps` shows it.
    pub view: ContainerView,
    /// What it has written, with its log, in bytes.
    pub size_bytes: u64,
}

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeUsage {
    /// Its name.
    pub name: String,
    /// How many containers have it.
    pub links: usize,
    /// Their names.
    pub used_by: Vec<String>,
    /// In bytes.
    pub size_bytes: u64,
}

impl Engine {
    /// What takes room. Reads only (I-5).
    pub fn disk_usage(&self) -> Result<DiskUsage> {
        let containers = self.containers()?;
        let images = self.store.images()?;
        let users = |id: &Digest| containers.iter().filter(|view| view.record.image == *id).count();
        let (active, idle): (Vec<&Image>, Vec<&Image>) = images.iter().partition(|image| users(&image.id) > 0);
        let all_bytes = self.layers_bytes(&images)?;
        let reclaimable_bytes = self.store.garbage(Scope::Unused)?.size_bytes;
        let mut used_by: BTreeMap<Digest, Vec<String>> = BTreeMap::new();
        for view in &containers {
            used_by.entry(view.record.image).or_default().push(format!("container {}", view.record.name));
        }
        for keep in self.store.keeps()?.into_iter().filter(|keep| keep.kind == KeepKind::Release) {
            for digest in keep.digests {
                used_by.entry(digest).or_default().push(format!("release {}", keep.owner));
            }
        }
        let mut holders: BTreeMap<Digest, usize> = BTreeMap::new();
        for chain in images.iter().flat_map(|image| image.layers.iter().map(|layer| layer.chain)) {
            *holders.entry(chain).or_default() += 1;
        }
        let mut lines = Vec::new();
        for view in self.images()? {
            let Some(image) = images.iter().find(|image| image.id == view.id) else { continue };
            let mut shared_bytes = 0;
            for layer in image.layers.iter().filter(|layer| holders.get(&layer.chain).is_some_and(|count| *count > 1)) {
                shared_bytes += self.store.snapshot(&layer.chain)?.map_or(0, |snapshot| snapshot.size_bytes);
            }
            let unique_bytes = view.size_bytes.saturating_sub(shared_bytes);
            let used_by = used_by.get(&view.id).cloned().unwrap_or_default();
            lines.push(ImageUsage { containers: users(&view.id), view, shared_bytes, unique_bytes, used_by });
        }
        let mut volumes = Vec::new();
        for name in self.volumes()? {
            let has = |view: &&ContainerView| view.record.volumes.values().any(|used| used.name == name);
            let used_by: Vec<String> = containers.iter().filter(has).map(|view| view.record.name.clone()).collect();
            let size_bytes = self.store.volume_size_bytes(&name)?;
            volumes.push(VolumeUsage { name, links: used_by.len(), used_by, size_bytes });
        }
        let containers = containers.into_iter().map(|view| {
            let size_bytes = disk_usage(&self.store.container_dir(&view.record.id)?);
            Ok(ContainerUsage { view, size_bytes })
        });
        Ok(DiskUsage {
            images: lines,
            image_count: active.len() + idle.len(),
            active_image_count: active.len(),
            images_bytes: all_bytes,
            images_reclaimable_bytes: reclaimable_bytes.min(all_bytes),
            containers: containers.collect::<Result<_>>()?,
            volumes,
            cache: self.build_cache()?,
        })
    }

    /// What images have on disk: layers and blobs, each once.
    fn layers_bytes<'a>(&self, images: impl IntoIterator<Item = &'a Image>) -> Result<u64> {
        Ok(self.room_of(images)?.0)
    }

    /// The same, and what of it are blobs.
    pub(crate) fn room_of<'a>(&self, images: impl IntoIterator<Item = &'a Image>) -> Result<(u64, u64)> {
        let (mut chains, mut blobs, mut total, mut content) = (BTreeSet::new(), BTreeSet::new(), 0, 0);
        for layer in images.into_iter().flat_map(|image| &image.layers) {
            if chains.insert(layer.chain) {
                let snapshot = self.store.snapshot(&layer.chain)?;
                total += snapshot.map_or(0, |snapshot| self.store.bytes_beside_blob(&snapshot));
            }
            if blobs.insert(layer.blob.digest) {
                content += self.store.blob_size_bytes(&layer.blob.digest).unwrap_or(0);
            }
        }
        Ok((total + content, content))
    }
}
