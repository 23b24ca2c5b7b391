//! Names that stand for an image on several platforms, and the indexes that say so to others.

use std::collections::{BTreeMap, BTreeSet};

use carrack_diag::{Diagnostic, Result};
use carrack_oci::{Descriptor, Digest, Index, Manifest, Platform, Reference, media_type};

use crate::files::Durability;
use crate::image::{NameRecord, in_use, name_key};
use crate::lock::{DEFAULT_WAIT, Lock, Sharing};
use crate::{Image, Lease, Store, codes};

/// What a name stands for where it is not one image.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageIndex {
    /// The index (image-spec `image-index.md`), whose bytes are the blob of that digest. None where the images have come one
    /// by one.
    pub descriptor: Option<Descriptor>,
    /// One a platform, in the index's order.
    pub images: Vec<Image>,
}

impl Store {
    /// As [`Store::find_image`], of a name that has an image for that platform: the one for it. Else the name's own.
    ///
    /// # Errors
    /// As [`Store::find_image`].
    pub fn find_image_for(&self, text: &str, platform: &Platform) -> Result<Option<Image>> {
        let own = self.find_image(text)?;
        if own.as_ref().is_none_or(|image| image.config.platform().matches(platform)) {
            return Ok(own);
        }
        let Ok(name) = text.parse::<Reference>() else { return Ok(own) };
        let Some(record) = self.name_records().get(&name_key(&name))? else { return Ok(own) };
        for id in &record.platforms {
            let image = self.image_by_id(id, None)?;
            if image.config.platform().matches(platform) {
                return Ok(Some(image));
            }
        }
        Ok(own)
    }

    /// What a name stands for on several platforms; none where it stands for one image.
    ///
    /// # Errors
    /// `store/corrupt-record`; where an image of it is gone.
    pub fn index_of(&self, name: &Reference) -> Result<Option<ImageIndex>> {
        let record = self.name_records().get(&name_key(name))?.filter(|record| !record.platforms.is_empty());
        let Some(record) = record else { return Ok(None) };
        let listed = match &record.index {
            Some(index) => self.listed(index)?,
            None => Vec::new(),
        };
        let images = record.platforms.iter().map(|id| self.image_among(id, &listed)).collect::<Result<_>>()?;
        Ok(Some(ImageIndex { descriptor: record.index, images }))
    }

    /// The manifests that an index lists.
    fn listed(&self, index: &Descriptor) -> Result<Vec<Digest>> {
        let index: Index = self.json("index", &index.digest)?;
        Ok(index.manifests.into_iter().map(|entry| entry.digest).collect())
    }

    /// What an index lists beside its images, as far as it is here.
    ///
    /// # Errors
    /// `store/invalid-image`; where a blob can't be read.
    pub fn attestations(&self, index: &Descriptor) -> Result<Vec<(Descriptor, Manifest)>> {
        let index: Index = self.json("index", &index.digest)?;
        let is_here = |entry: &Descriptor| entry.is_attestation() && self.blob_size_bytes(&entry.digest).is_some();
        let entries = index.manifests.into_iter().filter(is_here);
        entries.map(|entry| self.json("attestation", &entry.digest).map(|manifest| (entry, manifest))).collect()
    }

    /// An image under whichever of its manifests is one of these.
    fn image_among(&self, id: &Digest, manifests: &[Digest]) -> Result<Image> {
        for manifest in manifests {
            let image = self.image_by_id(id, Some(manifest))?;
            if image.manifest.digest == *manifest {
                return Ok(image);
            }
        }
        self.image_by_id(id, None)
    }

    /// All names that an index has.
    ///
    /// # Errors
    /// `store/corrupt-record`.
    pub fn names_of_index(&self, index: &Digest) -> Result<Vec<Reference>> {
        let records = self.name_records().list()?.into_values();
        let of_index = records.filter(|record| record.index.as_ref().is_some_and(|known| known.digest == *index));
        of_index.map(|record| record.name.parse()).collect()
    }

    /// Lets a name stand for a further image, on that image's platform, without taking it from the one that has it.
    ///
    /// # Errors
    /// As [`Store::tag`].
    pub fn tag_platform(&self, image: &Image, name: &Reference) -> Result<()> {
        let platform = image.config.platform();
        // Builds for several platforms come here at once, each with its own image for the name.
        let _guard = self.lock(Lock::Content, DEFAULT_WAIT)?;
        let matches =
            |id: &Digest| self.image_by_id(id, None).is_ok_and(|other| other.config.platform().matches(&platform));
        let mut own = NameRecord {
            name: name.to_string(),
            image: image.id,
            manifest: Some(image.manifest.digest),
            platforms: Vec::new(),
            index: None,
        };
        let record = match self.name_records().get(&name_key(name))?.filter(|record| !matches(&record.image)) {
            None => own,
            Some(record) => {
                let others = record.platforms.iter().filter(|id| **id != record.image && !matches(id));
                let platforms = [record.image, image.id].into_iter().chain(others.copied()).collect();
                // Here the name means what this machine runs.
                if !platform.matches(&Platform::host()) {
                    (own.image, own.manifest) = (record.image, record.manifest);
                }
                NameRecord { platforms, ..own }
            }
        };
        self.name_records().put(&name_key(name), &record, Durability::Synced)
    }

    /// The index of images for the platforms that they are given with.
    ///
    /// # Errors
    /// Where it can't be written.
    pub fn put_index(&self, lease: &Lease, images: &[(Platform, Image)]) -> Result<Descriptor> {
        let entry = |(platform, image): &(Platform, Image)| Descriptor {
            platform: Some(platform.clone()),
            ..image.manifest.clone()
        };
        let index = Index {
            schema_version: 2,
            media_type: media_type::INDEX.into(),
            manifests: images.iter().map(entry).collect(),
            annotations: BTreeMap::new(),
        };
        let bytes = serde_json::to_vec(&index).map_err(|error| {
            Diagnostic::error(&codes::INVALID_IMAGE, "can't write the index").cause(error.to_string()).boxed()
        })?;
        let digest = self.ingest_bytes(lease, &bytes)?;
        Ok(Descriptor::new(media_type::INDEX, digest, bytes.len() as u64))
    }

    /// Gives a name to an index. Here it means the image for this machine, or the first.
    ///
    /// # Errors
    /// As [`Store::tag`].
    pub fn tag_index(&self, index: &ImageIndex, name: &Reference) -> Result<()> {
        let host = Platform::host();
        let own = index.images.iter().find(|image| image.config.platform().matches(&host)).or(index.images.first());
        let Some(own) = own else { return Ok(()) };
        self.tag(own, name)?;
        let mut platforms: Vec<Digest> = index.images.iter().map(|image| image.id).collect();
        // One file for all of them is one image.
        platforms.dedup();
        let record = NameRecord {
            name: name.to_string(),
            image: own.id,
            manifest: Some(own.manifest.digest),
            platforms,
            index: index.descriptor.clone(),
        };
        self.put_name(name, &record)
    }

    /// Images that a name stands for on other platforms than its own image's, and the blobs of indexes with those of what
    /// they list beside images.
    pub(crate) fn named_elsewhere(&self) -> Result<(BTreeSet<Digest>, BTreeSet<Digest>)> {
        let (mut images, mut indexes) = (BTreeSet::new(), BTreeSet::new());
        for record in self.name_records().list()?.into_values() {
            images.extend(record.platforms);
            if let Some(index) = record.index {
                indexes.insert(index.digest);
                indexes.extend(self.attestations(&index)?.iter().flat_map(parts));
            }
        }
        Ok((images, indexes))
    }

    /// Takes away those images of a name that has gone which no other name stands for and nothing keeps.
    pub(crate) fn drop_platforms(&self, gone: &[Digest]) -> Result<()> {
        let (elsewhere, _) = self.named_elsewhere()?;
        let named: BTreeSet<Digest> = self.names()?.into_values().collect();
        for id in gone {
            if !elsewhere.contains(id) && !named.contains(id) && self.image_users(id)?.is_empty() {
                self.image_records().remove(&id.hex())?;
            }
        }
        Ok(())
    }

    /// Takes one image of those away that a name stands for on several platforms; whether nothing has it any more.
    ///
    /// # Errors
    /// `store/image-in-use` where a container, release or running command keeps it, unless forced.
    pub fn untag_platform(&self, name: &Reference, image: &Image, force: bool) -> Result<bool> {
        let _guard = self.lock(Lock::Content, DEFAULT_WAIT)?;
        let users = self.image_users(&image.id)?;
        if !users.is_empty() && !force {
            return Err(in_use(&image.id, &users));
        }
        let Some(mut record) = self.name_records().get(&name_key(name))? else { return Ok(false) };
        record.platforms.retain(|id| *id != image.id);
        if record.image == image.id
            && let Some(other) = record.platforms.first()
        {
            (record.image, record.manifest) = (*other, None);
        }
        // What said all of it says more than there is; one image alone needs nothing to say so.
        record.index = None;
        if record.platforms.len() < 2 {
            record.platforms.clear();
        }
        self.name_records().put(&name_key(name), &record, Durability::Synced)?;
        self.drop_platforms(&[image.id])?;
        Ok(self.image_records().get(&image.id.hex())?.is_none())
    }

    /// Takes those of some images away that no name stands for and nothing keeps.
    ///
    /// # Errors
    /// `store/corrupt-record`.
    pub fn forget_unnamed(&self, ids: &[Digest]) -> Result<()> {
        let _guard = self.lock(Lock::Content, DEFAULT_WAIT)?;
        self.drop_platforms(ids)
    }

    fn put_name(&self, name: &Reference, record: &NameRecord) -> Result<()> {
        let _guard = self.lock_as(Lock::Content, Sharing::Shared, DEFAULT_WAIT)?;
        self.name_records().put(&name_key(name), record, Durability::Synced)
    }
}

/// The blobs of a manifest, its own with them.
pub(crate) fn parts((descriptor, manifest): &(Descriptor, Manifest)) -> Vec<Digest> {
    let blobs = manifest.layers.iter().chain([&manifest.config, descriptor]);
    blobs.map(|blob| blob.digest).collect()
}
