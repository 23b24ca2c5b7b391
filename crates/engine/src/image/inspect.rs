//! What `image inspect` answers: Docker's shape with the store that it has by default (`overlay2`), in its order. Of its other
//! store (containerd's) come `Descriptor` and, of a name for several platforms, `Manifests`; `History` is carrack's own.

use carrack_diag::Result;
use carrack_oci::{Config, Platform, Reference};
use carrack_store::{Image, ImageIndex};
use serde_json::{Map, Value, json};

use crate::engine::Engine;

impl Engine {
    /// Everything known of an image, in the shape of `docker image inspect`; of several platforms the one that is asked for.
    pub fn inspect_image(&self, name: &str, platform: Option<&Platform>) -> Result<Value> {
        let image = self.image_on(name, platform)?;
        let config = &image.config;
        let reference = name.parse::<Reference>().ok();
        let named = reference.filter(|name| platform.is_some() || image.names.contains(name));
        let index = named.map(|name| self.store.index_of(&name)).transpose()?.flatten();
        let comment = config.history.last().and_then(|last| last.comment.clone()).unwrap_or_default();
        let names = |names: &[Reference]| names.iter().map(Reference::familiar).collect::<Vec<_>>();
        let mut shown = json!({
            "Id": image.id,
            "RepoTags": names(&image.names),
            "RepoDigests": names(&image.repo_digests),
            "Parent": "",
            "Comment": comment,
            "Created": config.created,
            "DockerVersion": "",
            "Author": config.author.clone().unwrap_or_default(),
            "Architecture": config.architecture,
        });
        // In Docker's order; it has none where the processor has no variants.
        if let Some(variant) = &config.variant {
            shown["Variant"] = variant.clone().into();
        }
        shown["Os"] = config.os.clone().into();
        shown["Size"] = self.store.image_size_bytes(&image)?.into();
        shown["GraphDriver"] = json!({ "Data": self.layer_folders(&image), "Name": "overlay2" });
        shown["RootFS"] = json!({ "Type": "layers", "Layers": config.rootfs.diff_ids });
        shown["Metadata"] = json!({ "LastTagTime": image.added });
        shown["Config"] = config_of(&config.config);
        let of_index = index.as_ref().filter(|_| platform.is_none()).and_then(|index| index.descriptor.as_ref());
        shown["Descriptor"] = json!(of_index.unwrap_or(&image.manifest));
        if let Some(index) = index.filter(|_| platform.is_none()) {
            shown["Manifests"] = manifests(&index);
        }
        shown["History"] = json!(config.history);
        Ok(shown)
    }

    /// Where the layers are kept; one that is a single file has no folder until somebody has it mounted.
    fn layer_folders(&self, image: &Image) -> Value {
        let folder = |chain: &carrack_oci::Digest| self.roots().data.join("snapshots").join(chain.hex());
        let folders: Vec<String> = image
            .layers
            .iter()
            .rev()
            .map(|layer| folder(&layer.chain).join("fs").to_string_lossy().into_owned())
            .collect();
        let mut data = Map::new();
        if let [upper, lower @ ..] = folders.as_slice() {
            if !lower.is_empty() {
                data.insert("LowerDir".into(), lower.join(":").into());
            }
            data.insert("UpperDir".into(), upper.clone().into());
        }
        Value::Object(data)
    }
}

/// With those keys that Docker always has, by name.
fn config_of(config: &Config) -> Value {
    let mut shown = serde_json::to_value(config).unwrap_or_default();
    if let Value::Object(fields) = &mut shown {
        for key in ["Cmd", "Entrypoint", "Env", "Labels", "OnBuild", "Volumes"] {
            fields.entry(key).or_insert(Value::Null);
        }
        for key in ["User", "WorkingDir"] {
            fields.entry(key).or_insert_with(|| "".into());
        }
        fields.sort_keys();
    }
    shown
}

fn manifests(index: &ImageIndex) -> Value {
    let one = |image: &Image| {
        json!({
            "ID": image.manifest.digest,
            "Descriptor": image.manifest,
            "Available": true,
            "Kind": "image",
            "ImageData": { "Platform": image.config.platform() },
        })
    };
    index.images.iter().map(one).collect()
}
