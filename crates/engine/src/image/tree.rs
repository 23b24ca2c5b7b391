//! Images with what each of their names stands for on several platforms, for `images --tree`.

use std::collections::BTreeSet;

use carrack_diag::Result;
use carrack_oci::{Digest, Reference};
use carrack_store::{Image, ImageIndex};
use serde::Serialize;

use crate::engine::Engine;

/// An image, or an index of images, with all its names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImageFamily {
    /// Its names; none where it has none.
    pub names: Vec<String>,
    /// The digest of an image's configuration, or of an index.
    pub id: Digest,
    /// Unpacked and as blobs, in bytes, layers that images share counted once.
    pub disk_bytes: u64,
    /// As blobs, in bytes.
    pub content_bytes: u64,
    /// Whether a container has it.
    pub is_used: bool,
    /// RFC 3339; of an index, that of its first image.
    pub created: Option<String>,
    /// The images of an index by platform.
    pub platforms: Vec<(String, Self)>,
}

impl Engine {
    /// All images that have a name, and those without one that no name's index has; the newest first.
    pub fn image_families(&self) -> Result<Vec<ImageFamily>> {
        let used: BTreeSet<Digest> = self.containers()?.iter().map(|view| view.record.image).collect();
        let images = self.store.images()?;
        let mut families: Vec<ImageFamily> = Vec::new();
        let mut within: BTreeSet<Digest> = BTreeSet::new();
        for name in images.iter().flat_map(|image| &image.names) {
            let Some(index) = self.store.index_of(name)? else { continue };
            within.extend(index.images.iter().map(|image| image.id));
            let id = index.descriptor.as_ref().map_or_else(|| index.images[0].id, |descriptor| descriptor.digest);
            match families.iter_mut().find(|family| family.id == id) {
                Some(family) => family.names.push(name.familiar()),
                None => families.push(self.family_of_index(id, name, &index, &used)?),
            }
        }
        let of_index: BTreeSet<String> = families.iter().flat_map(|family| family.names.clone()).collect();
        for image in &images {
            let mut names: Vec<String> = image.names.iter().map(Reference::familiar).collect();
            let had = !names.is_empty();
            names.retain(|name| !of_index.contains(name));
            let is_elsewhere = within.contains(&image.id) || families.iter().any(|family| family.id == image.id);
            if (had && names.is_empty()) || (!had && is_elsewhere) {
                continue;
            }
            match families.iter_mut().find(|family| family.id == image.id) {
                Some(family) => family.names.extend(names),
                None => families.push(ImageFamily { names, ..self.family_of(image, &used)? }),
            }
        }
        families.sort_by(|left, right| right.created.cmp(&left.created));
        Ok(families)
    }

    fn family_of(&self, image: &Image, used: &BTreeSet<Digest>) -> Result<ImageFamily> {
        let (disk_bytes, content_bytes) = self.room_of(std::slice::from_ref(image))?;
        Ok(ImageFamily {
            names: Vec::new(),
            id: image.id,
            disk_bytes,
            content_bytes,
            is_used: used.contains(&image.id),
            created: image.config.created.clone(),
            platforms: Vec::new(),
        })
    }

    fn family_of_index(
        &self,
        id: Digest,
        name: &Reference,
        index: &ImageIndex,
        used: &BTreeSet<Digest>,
    ) -> Result<ImageFamily> {
        let (disk_bytes, content_bytes) = self.room_of(&index.images)?;
        let platform = |image: &Image| Ok((image.config.platform().to_string(), self.family_of(image, used)?));
        Ok(ImageFamily {
            names: vec![name.familiar()],
            id,
            disk_bytes,
            content_bytes,
            is_used: index.images.iter().any(|image| used.contains(&image.id)),
            created: index.images.first().and_then(|image| image.config.created.clone()),
            platforms: index.images.iter().map(platform).collect::<Result<_>>()?,
        })
    }
}
