use std::collections::{HashMap, HashSet};

use carrack_diag::Result;
use carrack_oci::{Digest, chain_ids};
use serde::Serialize;

use crate::image::ImageRecord;
use crate::lock::{DEFAULT_WAIT, Guard, Lock};
use crate::{Snapshotter as _, Store};

/// Which images go before what nothing refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// None: only blobs and layers that no image, keep or lease needs.
    Unreferenced,
    /// Images without a name that nothing keeps.
    Dangling,
    /// All images that nothing keeps.
    Unused,
}

/// What can go, or went.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Garbage {
    /// Image ids.
    pub images: Vec<Digest>,
    /// Chain ids of unpacked layers, children before their parents.
    pub chains: Vec<Digest>,
    /// Blobs.
    pub blobs: Vec<Digest>,
    /// On disk.
    pub size_bytes: u64,
}

impl Store {
    /// What nothing refers to. Changes nothing (I-5).
    ///
    /// # Errors
    /// `store/corrupt-record`: what can't be read might refer to anything.
    pub fn garbage(&self, scope: Scope) -> Result<Garbage> {
        self.garbage_among(scope, None)
    }

    fn garbage_among(&self, scope: Scope, candidates: Option<&HashSet<Digest>>) -> Result<Garbage> {
        let mut named: HashSet<Digest> = self.names()?.into_values().collect();
        let (elsewhere, indexes) = self.named_elsewhere()?;
        named.extend(elsewhere);
        let mut kept = self.leased()?;
        kept.extend(self.keeps()?.into_iter().flat_map(|keep| keep.digests));
        let mut garbage = Garbage::default();
        let mut needed: HashSet<Digest> = indexes.into_iter().collect();
        for (hex, record) in self.image_records().list()? {
            let Some(id) = Digest::from_hex(&hex) else { continue };
            let goes = match scope {
                Scope::Unreferenced => false,
                Scope::Dangling => !named.contains(&id),
                Scope::Unused => true,
            };
            if goes && !kept.contains(&id) && candidates.is_none_or(|candidates| candidates.contains(&id)) {
                garbage.images.push(id);
            } else {
                needed.extend(needs(id, &record));
            }
        }
        needed.extend(kept);
        self.unneeded_chains(&mut needed, &mut garbage)?;
        for blob in self.blobs()? {
            if !needed.contains(&blob) {
                garbage.size_bytes += self.blob_size_bytes(&blob).unwrap_or(0);
                garbage.blobs.push(blob);
            }
        }
        Ok(garbage)
    }

    /// A needed chain needs its parents.
    fn unneeded_chains(&self, needed: &mut HashSet<Digest>, garbage: &mut Garbage) -> Result<()> {
        let snapshots = self.snapshots()?;
        let parents: HashMap<Digest, Option<Digest>> =
            snapshots.iter().map(|snapshot| (snapshot.chain, snapshot.parent)).collect();
        let parent_of = |chain: &Digest| parents.get(chain).copied().flatten();
        let mut open: Vec<Digest> =
            snapshots.iter().map(|snapshot| snapshot.chain).filter(|chain| needed.contains(chain)).collect();
        while let Some(chain) = open.pop() {
            if let Some(parent) = parent_of(&chain)
                && needed.insert(parent)
            {
                open.push(parent);
            }
        }
        let depth = |chain: &Digest| std::iter::successors(Some(*chain), parent_of).count();
        let mut unneeded: Vec<_> = snapshots.iter().filter(|snapshot| !needed.contains(&snapshot.chain)).collect();
        unneeded.sort_by_key(|snapshot| std::cmp::Reverse(depth(&snapshot.chain)));
        for snapshot in unneeded {
            garbage.size_bytes += self.bytes_beside_blob(snapshot);
            garbage.chains.push(snapshot.chain);
        }
        Ok(())
    }

    /// Takes away what [`Store::garbage`] finds. Safe beside pulls, builds and starts: whoever begins to use something
    /// waits for this (see [`crate::Lease`]). Killed half-way, the rest is garbage still.
    ///
    /// # Errors
    /// As [`Store::garbage`]; where something can't be removed.
    pub fn prune(&self, scope: Scope) -> Result<Garbage> {
        self.prune_among(scope, None)
    }

    /// The same of no other images than these.
    ///
    /// # Errors
    /// As [`Store::prune`].
    pub fn prune_among(&self, scope: Scope, candidates: Option<&HashSet<Digest>>) -> Result<Garbage> {
        let guard = self.lock(Lock::Content, DEFAULT_WAIT)?;
        let garbage = self.garbage_among(scope, candidates)?;
        self.collect(&garbage, &guard)?;
        Ok(garbage)
    }

    /// Takes away those of some blobs that nothing needs, such as members of an archive that are no part of its images.
    pub(crate) fn drop_unneeded(&self, candidates: &HashSet<Digest>) -> Result<()> {
        let guard = self.lock(Lock::Content, DEFAULT_WAIT)?;
        let mut garbage = self.garbage(Scope::Unreferenced)?;
        garbage.chains.clear();
        garbage.blobs.retain(|blob| candidates.contains(blob));
        self.collect(&garbage, &guard)
    }

    /// Images first, then what they need, then blobs: nothing is ever there without what it needs.
    fn collect(&self, garbage: &Garbage, _content: &Guard) -> Result<()> {
        for image in &garbage.images {
            for (name, named) in self.names()? {
                if named == *image {
                    self.untag(&name)?;
                }
            }
            self.image_records().remove(&image.hex())?;
        }
        for chain in &garbage.chains {
            self.remove(chain)?;
        }
        for blob in &garbage.blobs {
            crate::files::remove_file(&self.blob_path(blob))?;
        }
        Ok(())
    }
}

/// What an image cannot be without.
pub(crate) fn needs(id: Digest, record: &ImageRecord) -> impl Iterator<Item = Digest> {
    let of_manifest = |known: &crate::image::ManifestRecord| {
        let diff_ids: Vec<Digest> = known.layers.iter().map(|layer| layer.diff_id).collect();
        let blobs = known.layers.iter().map(|layer| layer.blob.digest).collect::<Vec<_>>();
        std::iter::once(known.manifest.digest).chain(chain_ids(&diff_ids)).chain(blobs)
    };
    let said: Vec<Digest> = record.predicates.iter().map(|predicate| predicate.content.digest).collect();
    std::iter::once(id).chain(said).chain(record.manifests().flat_map(of_manifest).collect::<Vec<_>>())
}
