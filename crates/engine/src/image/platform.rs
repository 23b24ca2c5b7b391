//! Images of a name on one platform of several.

use carrack_diag::{Diagnostic, Result};
use carrack_oci::{Platform, Reference};
use carrack_store::{Image, Scope};

use crate::codes;
use crate::engine::Engine;

impl Engine {
    /// The image of that name or id; where a platform is asked for, the one for it.
    ///
    /// # Errors
    /// `store/not-found`, `engine/no-such-platform`.
    pub(crate) fn image_on(&self, name: &str, platform: Option<&Platform>) -> Result<Image> {
        let own = self.store.image(name)?;
        let Some(platform) = platform else { return Ok(own) };
        let found = self.store.find_image_for(name, platform)?.unwrap_or(own);
        if found.config.platform().matches(platform) {
            return Ok(found);
        }
        let message = format!("the image {name} is here, but not for the platform {platform}");
        Err(Diagnostic::error(&codes::NO_SUCH_PLATFORM, message)
            .cause(format!("it is for {}", found.config.platform()))
            .hint(format!("`carrack pull --platform {platform} {name}` asks its registry"))
            .boxed())
    }

    /// Removes what a name stands for on one platform; with the last one the name. The lines are Docker's.
    pub fn remove_image_on(&self, name: &str, platform: &Platform, force: bool) -> Result<Vec<String>> {
        let image = self.image_on(name, Some(platform))?;
        let reference = name.parse::<Reference>().ok();
        let index = reference.as_ref().map(|name| self.store.index_of(name)).transpose()?.flatten();
        let (Some(reference), Some(index)) = (reference, index) else { return self.remove_image(name, force) };
        if index.images.iter().all(|other| other.id == image.id) {
            return self.remove_image(name, force);
        }
        let is_gone = self.store.untag_platform(&reference, &image, force)?;
        self.emit_image("untag", &reference.familiar(), &image);
        let mut lines = vec![format!("Untagged: {} ({platform})", reference.familiar())];
        if is_gone {
            self.emit_image("delete", &image.id.to_string(), &image);
            lines.push(format!("Deleted: {}", image.id));
        }
        self.store.prune(Scope::Unreferenced)?;
        Ok(lines)
    }
}
