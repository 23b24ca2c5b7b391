//! What becomes of a built image: an image of the store, an archive, the files alone.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use carrack_diag::{Diagnostic, Result};
use carrack_llb::CopyAction;
use carrack_oci::{Artifact, Descriptor, Digest, Platform, Reference};
use carrack_store::{
    Compression, Image, ImageIndex, Layer, Lease, NewImage, Predicate, Snapshotter as _, Store, write_tree,
};
use std::os::fd::AsRawFd as _;

use crate::tree::{Owner, Tree};
use crate::{codes, copy, select};

/// As much as is read of a configuration, in bytes.
const CONFIG_LIMIT_BYTES: u64 = 4 << 20;

/// Something that a build is to leave.
#[derive(Debug, Clone)]
pub enum BuildOutput {
    /// An image of the store, under the request's tags.
    Image,
    /// An archive that is an OCI layout and that `docker load` reads.
    Archive {
        /// Written from where it stands.
        file: Arc<File>,
        /// What the image is called in it.
        names: Vec<Reference>,
        /// Of its layers.
        compression: Compression,
        /// Whether layers that are compressed in another way are compressed again.
        force: bool,
    },
    /// The files as one tar.
    Tar(Arc<File>),
    /// The files in a folder, beside what is there. They belong to whoever builds.
    Folder(PathBuf),
}

/// Puts an image together and gives it out. Without an output of the kind, it is no image of the store.
pub(crate) fn export(
    store: &Store,
    lease: &Lease,
    outputs: &[BuildOutput],
    (config, new): (&[u8], NewImage),
) -> Result<Image> {
    let is_kept = outputs.is_empty() || outputs.iter().any(|output| matches!(output, BuildOutput::Image));
    let layers = new.layers.clone();
    let annotations = new.annotations.clone();
    let said: Vec<Predicate> = new.predicates.iter().filter(|predicate| predicate.is_asked).cloned().collect();
    let image =
        if is_kept { store.put_image(lease, config, new)? } else { store.unlisted_image(lease, config, new)? };
    for output in outputs {
        match output {
            BuildOutput::Image => {}
            BuildOutput::Archive { file, names, compression, force } => {
                let packed: Result<Vec<Layer>> =
                    layers.iter().map(|layer| store.recompress(lease, layer, *compression, *force)).collect();
                let new = NewImage { layers: packed?, annotations: annotations.clone(), ..NewImage::default() };
                let packed = store.unlisted_image(lease, config, new)?;
                let artifacts: Result<Vec<Artifact>> =
                    said.iter().map(|predicate| attestation(store, predicate, &packed.manifest, names)).collect();
                store.save_all(&[(packed, names.clone())], &[], &artifacts?, file.as_ref())?;
            }
            BuildOutput::Tar(file) => {
                let tree = tree(store, image.chain())?;
                write_tree(&tree.path(), "", file.as_ref())?;
            }
            BuildOutput::Folder(folder) => files(&tree(store, image.chain())?, folder)?,
        }
    }
    Ok(image)
}

/// What is said of an image as an artefact that refers to this manifest of it, under these names.
///
/// # Errors
/// `store/not-found` where its content is gone.
pub fn attestation(
    store: &Store,
    predicate: &Predicate,
    manifest: &Descriptor,
    names: &[Reference],
) -> Result<Artifact> {
    let content = store.read_blob(&predicate.content.digest, predicate.content.size)?;
    let names: Vec<String> = names.iter().map(purl).collect();
    carrack_attestation::attestation(&predicate.kind, &content, manifest, &names)
        .map_err(|error| failed("read what is said of images of", &store.roots().data, &error.into()))
}

/// As BuildKit names the subjects of statements (purl-spec, type docker).
fn purl(name: &Reference) -> String {
    let tag = name.tag().map(|tag| format!("@{tag}")).unwrap_or_default();
    format!("pkg:docker/{}{tag}", name.familiar_repository().replace(':', "%3A"))
}

/// Puts the images of several builds, one a platform, together and gives them out as [`export`] does one.
///
/// # Errors
/// Where something can't be written, and for a tar, which has no place for several.
pub fn export_index(
    store: &Store,
    images: &[(Platform, Image)],
    names: &[Reference],
    outputs: &[BuildOutput],
) -> Result<ImageIndex> {
    let lease = store.lease()?;
    let put = |images: &[(Platform, Image)]| -> Result<ImageIndex> {
        let descriptor = Some(store.put_index(&lease, images)?);
        Ok(ImageIndex { descriptor, images: images.iter().map(|(_, image)| image.clone()).collect() })
    };
    let index = put(images)?;
    if outputs.is_empty() || outputs.iter().any(|output| matches!(output, BuildOutput::Image)) {
        names.iter().try_for_each(|name| store.tag_index(&index, name))?;
    }
    for output in outputs {
        match output {
            BuildOutput::Image => {}
            BuildOutput::Archive { file, names, compression, force } => {
                let packed: Result<Vec<(Platform, Image)>> = images
                    .iter()
                    .map(|(platform, image)| {
                        let layers = image.layers.iter();
                        let layers: Result<Vec<Layer>> =
                            layers.map(|layer| store.recompress(&lease, layer, *compression, *force)).collect();
                        let config = store.read_blob(&image.id, CONFIG_LIMIT_BYTES)?;
                        let predicates = image.predicates.clone();
                        let new = NewImage { layers: layers?, predicates, ..NewImage::default() };
                        Ok((platform.clone(), store.unlisted_image(&lease, &config, new)?))
                    })
                    .collect();
                let packed = packed?;
                let mut artifacts = Vec::new();
                for (_, image) in &packed {
                    for predicate in image.predicates.iter().filter(|predicate| predicate.is_asked) {
                        artifacts.push(attestation(store, predicate, &image.manifest, names)?);
                    }
                }
                store.save_all(&[], &[(put(&packed)?, names.clone())], &artifacts, file.as_ref())?;
            }
            BuildOutput::Tar(_) => {
                let message = "a tar has no place for the files of several platforms";
                let diagnostic = Diagnostic::error(&codes::STEP_FAILED, message);
                return Err(diagnostic.hint("take type=local, a folder a platform, or build for one").boxed());
            }
            BuildOutput::Folder(folder) => {
                for (platform, image) in images {
                    let name = platform.to_string().replace('/', "_");
                    files(&tree(store, image.chain())?, &folder.join(name))?;
                }
            }
        }
    }
    Ok(index)
}

fn tree(store: &Store, chain: Option<&Digest>) -> Result<Tree> {
    let mut lower = store.lower_dirs(chain)?;
    if lower.len() == 1 {
        lower.extend(store.lower_dirs(None)?);
        lower.dedup();
    }
    let opened = match lower.as_slice() {
        [only] => Tree::folder(only),
        several => Tree::overlay(several, None),
    };
    opened.map_err(|error| failed("open the layers", &store.roots().data, &error))
}

fn files(tree: &Tree, folder: &Path) -> Result<()> {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let span = carrack_diag::Span::new(carrack_diag::FileId(0), 0, 0);
    let action = CopyAction::whole(0, "/", span);
    let work = || -> std::io::Result<()> {
        std::fs::create_dir_all(folder)?;
        let sources = select::sources(tree, &action, None)?;
        let to = Tree::folder(folder)?;
        copy::copy_to_disk(tree, &sources, &to, &action, Some(Owner { uid, gid }), false)
            .map_err(|failure| failure.error)
    };
    work().map_err(|error| failed("write the files to", folder, &error))
}

fn failed(what: &str, path: &Path, error: &std::io::Error) -> Box<Diagnostic> {
    let message = format!("can't {what} {}", path.display());
    Diagnostic::error(&codes::STEP_FAILED, message).cause(error.to_string()).boxed()
}

impl Tree {
    /// A way to its root by name, as long as this value lives.
    fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.descriptor().as_raw_fd()).into()
    }
}
