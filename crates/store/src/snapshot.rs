//! Snapshots: layers made ready to be mounted, by chain id.
//!
//! A snapshot's life has three states and no way back:
//!
//! ```text
//!   in progress ──── commit ────▶ committed ──── remove ────▶ gone
//!   snapshots/new/RANDOM          snapshots/CHAIN
//!   held by flock                 immutable
//! ```
//!
//! - *In progress*: a folder that its process holds. If the process dies, the next mutating open sweeps it.
//! - *Committed*: it is on disk (`syncfs`) before it gets its name, so a chain id that can be seen survives a power
//!   failure. It never changes, and it comes after the layers that it lies on: a parent is committed before its child.
//! - *Gone*: first renamed away, then deleted, so a half-deleted layer is never seen under its chain id. A parent goes
//!   after its children (see [`crate::Store::prune`]).
//!
//! A committed layer is an unpacked folder or one file (see [`LayerForm`]); which, is seen by what is there.
//!
//! What a container or a build step writes to is no snapshot but an *upper directory*: made by [`Store::prepare_upper`] or
//! [`Store::scratch`], never synced, owned by one overlay mount at a time, and either thrown away or adopted by
//! [`Snapshotter::commit_upper`] once nothing has it mounted.

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Seek as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, PoisonError};

use carrack_diag::{Diagnostic, Result};
use carrack_oci::{Descriptor, Digest, Hasher, chain_ids, media_type};
use serde::{Deserialize, Serialize};

use crate::compression::decompress;
use crate::content::{Ingest, Sealed};
use crate::fault::{Context as _, fault};
use crate::files::{self, Durability, Held};
use crate::layer::{self, Indexer, LayerWriter, View};
use crate::record::{parse, to_json};
use crate::{Lease, Store, codes};

mod one_file;

pub use one_file::LayerForm;
use one_file::{INDEX, TAR};

/// A committed layer on the layers below it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Of this layer and all below (image-spec `config.md`, "Layer ChainID").
    pub chain: Digest,
    /// The chain id of the layers below; none for a base layer.
    pub parent: Option<Digest>,
    /// Of this layer's plain tar.
    pub diff_id: Digest,
    /// What the layer takes on disk, ready to be mounted. Of one file that is another name of its blob, as if it were
    /// not.
    pub size_bytes: u64,
}

/// A layer as images hold it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// Of the plain tar.
    pub diff_id: Digest,
    /// Of this layer and all below.
    pub chain: Digest,
    /// The blob that holds it, plain or compressed.
    pub blob: Descriptor,
}

/// Makes layers mountable. What an implementation keeps of a layer is its own affair; that overlays of it show the same
/// tree as those of every other implementation is held by one conformance suite (`snapshot/conformance.rs`).
pub trait Snapshotter {
    /// A committed layer; none where it is not there.
    ///
    /// # Errors
    /// `store/corrupt-record`.
    fn snapshot(&self, chain: &Digest) -> Result<Option<Snapshot>>;

    /// All committed layers.
    ///
    /// # Errors
    /// `store/corrupt-record`.
    fn snapshots(&self) -> Result<Vec<Snapshot>>;

    /// Commits a layer from its tar (plain, gzip or zstd), kept by `lease`. A layer that is there already is not read.
    ///
    /// # Errors
    /// `store/not-found` for the parent, `store/digest-mismatch` where the plain tar is not `diff_id`, and what makes a
    /// tar unusable. Nothing is kept then.
    fn apply(&self, lease: &Lease, parent: Option<&Digest>, diff_id: &Digest, tar: &mut dyn Read) -> Result<Snapshot>;

    /// Writes an upper directory that is no longer mounted as a layer on `parent`: its plain tar goes to content, hashed
    /// as it is written, and the layer is committed, both kept by `lease` and both on disk before they are visible. The
    /// directory is gone afterwards.
    ///
    /// # Errors
    /// Where it can't be written; where its names can't be a layer's.
    fn commit_upper(&self, lease: &Lease, parent: Option<&Digest>, upper: &Path) -> Result<Layer>;

    /// Writes a layer on `parent` entry by entry, as [`Snapshotter::commit_upper`] does a directory.
    ///
    /// # Errors
    /// What `write` tells; where it can't be written. Nothing is kept then.
    fn commit_written(&self, lease: &Lease, parent: Option<&Digest>, write: Write<'_>) -> Result<Layer>;

    /// The read-only folders of an overlay that shows the chain, topmost first; never empty: no chain is one empty folder.
    ///
    /// # Errors
    /// `store/not-found`.
    fn lower_dirs(&self, chain: Option<&Digest>) -> Result<Vec<PathBuf>>;

    /// Removes one layer. The caller has seen that nothing refers to it and nothing lies on it.
    ///
    /// # Errors
    /// Where it can't be removed.
    fn remove(&self, chain: &Digest) -> Result<()>;
}

/// `OVL_MAX_STACK` of the kernel.
const LOWER_DIRS_MAX: usize = 500;

/// Adds what a layer is to have.
pub type Write<'a> = &'a mut dyn FnMut(&mut LayerWriter<'_>) -> Result<()>;

/// A layer's tar without a name, and its index where one was made.
struct Written {
    sealed: Sealed,
    index: Option<Vec<u8>>,
}

/// A writable directory of an overlay, and the work directory that the kernel wants beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upper {
    /// What is written to.
    pub upper: PathBuf,
    /// Empty, on the same file system.
    pub work: PathBuf,
}

/// An upper directory for a build step: gone with this value, or when the process dies.
#[derive(Debug)]
pub struct Scratch {
    held: Held,
}

impl Scratch {
    /// Its directories.
    pub fn upper(&self) -> Upper {
        Upper { upper: self.held.path.join("upper"), work: self.held.path.join("work") }
    }

    /// A folder beside them for whatever the step needs on the data root.
    pub fn dir(&self) -> &Path {
        &self.held.path
    }
}

/// The chain id of a layer on others.
pub fn chain_of(parent: Option<&Digest>, diff_id: &Digest) -> Digest {
    match parent {
        None => *diff_id,
        Some(parent) => Digest::of(format!("{parent} {diff_id}")),
    }
}

const RECORD: &str = "layer.json";
const TREE: &str = "fs";

impl Snapshotter for Store {
    fn snapshot(&self, chain: &Digest) -> Result<Option<Snapshot>> {
        let path = self.snapshot_dir(chain).join(RECORD);
        files::read(&path)?.map(|bytes| parse("layer", &path, &bytes)).transpose()
    }

    fn snapshots(&self) -> Result<Vec<Snapshot>> {
        let mut snapshots = Vec::new();
        for name in files::names(&self.snapshots_dir())? {
            if let Some(chain) = Digest::from_hex(&name) {
                snapshots.extend(self.snapshot(&chain)?);
            }
        }
        Ok(snapshots)
    }

    fn apply(&self, lease: &Lease, parent: Option<&Digest>, diff_id: &Digest, tar: &mut dyn Read) -> Result<Snapshot> {
        let chain = chain_of(parent, diff_id);
        lease.add(&[chain])?;
        if let Some(snapshot) = self.snapshot(&chain)? {
            return Ok(snapshot);
        }
        if !self.keeps_one_file()? {
            let unpacked = self.unpack_layer(parent, diff_id, tar, &|| self.lower_dirs(parent))?;
            self.commit(&unpacked.held, &unpacked.snapshot, || Ok(()))?;
            return Ok(unpacked.snapshot);
        }
        let held = Held::dir(&self.new_snapshots_dir())?;
        let found = self.apply_one_file(&held, parent, tar);
        let found = found.map_err(|error| error.cause(format!("it is the layer {diff_id}")).boxed())?;
        check_diff_id(diff_id, &found)?;
        if held.path.join(INDEX).exists() && self.has_blob(diff_id) {
            self.share_blob(&held, &self.blob_path(diff_id))?;
        }
        let size_bytes = files::disk_usage(&held.path);
        let snapshot = Snapshot { chain, parent: parent.copied(), diff_id: *diff_id, size_bytes };
        self.commit(&held, &snapshot, || Ok(()))?;
        Ok(snapshot)
    }

    fn commit_upper(&self, lease: &Lease, parent: Option<&Digest>, upper: &Path) -> Result<Layer> {
        let below = self.lower_dirs(parent)?;
        let is_indexed = self.keeps_one_file()?;
        let written =
            self.write_tar(parent, is_indexed, upper, |ingest, each| layer::diff(upper, &below[0], ingest, each))?;
        let layer = self.commit_tar(lease, parent, written, |tree, _| {
            fs::rename(upper, tree).context("adopt", upper)?;
            set_root_time(&below[0], tree)
        })?;
        files::remove_tree(upper)?;
        Ok(layer)
    }

    fn commit_written(&self, lease: &Lease, parent: Option<&Digest>, write: Write<'_>) -> Result<Layer> {
        let place = self.snapshots_dir();
        if !self.may_keep_one_file()? {
            return self.commit_beside(lease, parent, write);
        }
        let written = self.write_tar(parent, true, &place, |ingest, each| {
            let mut writer = LayerWriter::new(ingest, each);
            write(&mut writer)?;
            writer.finish().context("write the layer in", &place)
        })?;
        self.commit_tar(lease, parent, written, |tree, tar| self.unpack_written(parent, tree, tar))
    }

    fn lower_dirs(&self, chain: Option<&Digest>) -> Result<Vec<PathBuf>> {
        let mut dirs = Vec::new();
        let mut next = chain.copied();
        while let Some(chain) = next {
            let Some(snapshot) = self.snapshot(&chain)? else {
                return Err(
                    Diagnostic::error(&codes::NOT_FOUND, format!("the layer chain {chain} is not unpacked")).boxed()
                );
            };
            let dir = self.snapshot_dir(&chain);
            dirs.push(if dir.join(INDEX).exists() { self.attached(&chain)? } else { dir.join(TREE) });
            next = snapshot.parent;
        }
        if dirs.is_empty() {
            dirs.push(self.empty_dir());
        }
        Ok(dirs)
    }

    fn remove(&self, chain: &Digest) -> Result<()> {
        self.mutable()?;
        self.detach(chain)?;
        let held = Held::dir(&self.new_snapshots_dir())?;
        let path = self.snapshot_dir(chain);
        match fs::rename(&path, held.path.join("removed")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other.context("remove", &path)?,
        }
        files::remove_tree(&held.path)
    }
}

/// A layer that is unpacked and verified, and has no name yet.
pub struct Unpacked {
    held: Held,
    snapshot: Snapshot,
}

impl Unpacked {
    /// What it will be.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Where its files are until it gets its name.
    pub fn tree(&self) -> PathBuf {
        self.held.path.join(TREE)
    }
}

impl Store {
    /// Whether layers are unpacked here, so that [`Store::unpack_layer`] may be used; else [`Snapshotter::apply`] only.
    ///
    /// # Errors
    /// `store/layer-form`.
    pub fn unpacks_layers(&self) -> Result<bool> {
        self.keeps_one_file().map(|keeps| !keeps)
    }

    /// Unpacks a layer without committing it. The folders of the layers below, topmost first, are asked for where it takes
    /// something from them, which most layers do not.
    ///
    /// # Errors
    /// As [`Snapshotter::apply`], and what `below` says.
    pub fn unpack_layer(
        &self,
        parent: Option<&Digest>,
        diff_id: &Digest,
        tar: &mut dyn Read,
        below: &dyn Fn() -> Result<Vec<PathBuf>>,
    ) -> Result<Unpacked> {
        let held = Held::dir(&self.new_snapshots_dir())?;
        let open = || View::open(&below()?);
        let below = parent.map(|_| layer::Below::new(&open));
        let found = unpack(&held.path.join(TREE), below.as_ref(), tar)
            .map_err(|error| error.cause(format!("it is the layer {diff_id}")).boxed())?;
        check_diff_id(diff_id, &found)?;
        let size_bytes = files::disk_usage(&held.path);
        let chain = chain_of(parent, diff_id);
        Ok(Unpacked { held, snapshot: Snapshot { chain, parent: parent.copied(), diff_id: *diff_id, size_bytes } })
    }

    /// Whether a layer's tar (plain, gzip or zstd) is what it should be, without unpacking it.
    ///
    /// # Errors
    /// `store/digest-mismatch`, `store/invalid-tar` where it can't be decompressed.
    pub fn check_layer(&self, diff_id: &Digest, tar: &mut dyn Read) -> Result<()> {
        let mut hasher = Hasher::new(io::sink());
        io::copy(&mut decompress(tar)?, &mut hasher).map_err(|error| {
            Diagnostic::error(&codes::INVALID_TAR, format!("can't read the layer {diff_id}"))
                .cause(error.to_string())
                .boxed()
        })?;
        check_diff_id(diff_id, &hasher.finish().1)
    }

    /// Gives blobs and layers their names, base layer first, all on disk with one call; kept by `lease`.
    ///
    /// # Errors
    /// Where they can't be written.
    pub fn commit_all(&self, lease: &Lease, blobs: Vec<Sealed>, layers: Vec<Unpacked>) -> Result<()> {
        let chains: Vec<Digest> = layers.iter().map(|layer| layer.snapshot.chain).collect();
        lease.add(&chains)?;
        for layer in &layers {
            write_record(&layer.held, &layer.snapshot)?;
        }
        if !(blobs.is_empty() && layers.is_empty()) {
            files::sync_tree(&self.roots().data)?;
        }
        for blob in blobs {
            self.publish(blob, lease, Durability::Cached)?;
        }
        files::sync_dir(&self.blobs_dir())?;
        for layer in &layers {
            self.name_layer(&layer.held, &layer.snapshot)?;
        }
        files::sync_dir(&self.snapshots_dir())
    }

    /// Writes an upper directory as a layer on `parent` and leaves it as it is, mounted or not. What stands at `left_out`, paths
    /// from its root, is no part of it.
    ///
    /// # Errors
    /// As [`Snapshotter::commit_upper`]; where a file becomes shorter meanwhile.
    pub fn commit_copy(
        &self,
        lease: &Lease,
        parent: Option<&Digest>,
        upper: &Path,
        left_out: &[Vec<u8>],
    ) -> Result<Layer> {
        let below = self.lower_dirs(parent)?;
        let is_indexed = self.keeps_one_file()?;
        let written = self.write_tar(parent, is_indexed, upper, |ingest, each| {
            layer::diff_without(upper, &below[0], left_out, ingest, each)
        })?;
        self.commit_tar(lease, parent, written, |tree, tar| self.unpack_written(parent, tree, tar))
    }

    fn unpack_written(&self, parent: Option<&Digest>, tree: &Path, tar: &Path) -> Result<()> {
        let open = || self.view(parent);
        let below = parent.map(|_| layer::Below::new(&open));
        files::make_dir(tree)?;
        layer::apply(File::open(tar).context("read", tar)?, tree, below.as_ref())
    }

    /// Makes the upper directory of a container on a chain, kept by nobody: see [`Store::keep`]. What was there before is
    /// kept as it is, so that a stopped container starts where it stopped.
    ///
    /// # Errors
    /// `store/not-found` for the chain; where the folders can't be made.
    pub fn prepare_upper(&self, container: &str, chain: Option<&Digest>) -> Result<Upper> {
        self.mutable()?;
        let dir = self.container_dir(container)?;
        let upper = Upper { upper: dir.join("upper"), work: dir.join("work") };
        if !upper.upper.is_dir() {
            self.make_upper(&upper, chain)?;
        }
        Ok(upper)
    }

    /// Makes the upper directory of a build step.
    ///
    /// # Errors
    /// As [`Store::prepare_upper`].
    pub fn scratch(&self, chain: Option<&Digest>) -> Result<Scratch> {
        self.mutable()?;
        let scratch = Scratch { held: Held::dir(&self.new_snapshots_dir())? };
        self.make_upper(&scratch.upper(), chain)?;
        Ok(scratch)
    }

    /// The root of a mounted overlay looks as its upper directory does. The upper directory comes last, as its presence
    /// says that all is made.
    fn make_upper(&self, upper: &Upper, chain: Option<&Digest>) -> Result<()> {
        let below = self.lower_dirs(chain)?;
        files::make_dir(&upper.work)?;
        let fresh = upper.upper.with_extension("new");
        files::make_dir(&fresh)?;
        layer::copy_attributes(&below[0], &fresh)?;
        fs::set_permissions(&fresh, Permissions::from_mode(layer::ROOT_MODE)).context("set the mode of", &fresh)?;
        fs::rename(&fresh, &upper.upper).context("make", &upper.upper)
    }

    /// The tree that a chain shows, without mounting it.
    ///
    /// # Errors
    /// `store/not-found`.
    pub fn view(&self, chain: Option<&Digest>) -> Result<View> {
        View::open(&self.lower_dirs(chain)?)
    }

    /// Unpacks what is missing of layers whose blobs are there, base first; gives the topmost chain id.
    ///
    /// # Errors
    /// As [`Snapshotter::apply`], and `store/not-found` for a blob.
    pub fn unpack(&self, lease: &Lease, layers: &[Layer]) -> Result<Option<Digest>> {
        let diff_ids: Vec<Digest> = layers.iter().map(|layer| layer.diff_id).collect();
        let mut parent = None;
        for (layer, chain) in layers.iter().zip(chain_ids(&diff_ids)) {
            lease.add(&[chain])?;
            if self.snapshot(&chain)?.is_none() {
                self.apply(lease, parent.as_ref(), &layer.diff_id, &mut self.blob(&layer.blob.digest)?)?;
            }
            parent = Some(chain);
        }
        Ok(parent)
    }

    /// Unpacks a layer while its tar is written.
    fn commit_beside(&self, lease: &Lease, parent: Option<&Digest>, write: Write<'_>) -> Result<Layer> {
        let place = self.snapshots_dir();
        let held = Held::dir(&self.new_snapshots_dir())?;
        let tree = held.path.join(TREE);
        files::make_dir(&tree)?;
        let mut ingest = self.ingest()?;
        let following = Following::new(ingest.reader()?);
        let (written, unpacked) = std::thread::scope(|scope| {
            let unpacking = scope.spawn(|| {
                let open = || self.view(parent);
                let below = parent.map(|_| layer::Below::new(&open));
                layer::apply(&following, &tree, below.as_ref())
            });
            // However the writing ends, nobody waits for more.
            let mut out = Leading { ingest: &mut ingest, following: &following };
            let each = &mut |_: &crate::tar::Member, _| Ok(());
            let mut writer = LayerWriter::new(&mut out, each);
            let written = write(&mut writer).and_then(|()| writer.finish().context("write the layer in", &place));
            drop(out);
            (written, unpacking.join())
        });
        written?;
        unpacked.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        let sealed = ingest.seal(None, Durability::Cached)?;
        self.commit_tar_in(held, lease, parent, Written { sealed, index: None }, |_, _| Ok(()))
    }

    /// Writes a layer's tar, and its index where there is to be one. Errors call it `shown`.
    fn write_tar(
        &self,
        parent: Option<&Digest>,
        is_indexed: bool,
        shown: &Path,
        write: impl FnOnce(&mut Ingest, layer::Each<'_>) -> Result<()>,
    ) -> Result<Written> {
        let view = parent.filter(|_| is_indexed).map(|parent| self.view(Some(parent))).transpose()?;
        let mut indexer = match is_indexed {
            true => Some(Indexer::new(view.as_ref()).context("look at the layers below", shown)?),
            false => None,
        };
        let mut ingest = self.ingest()?;
        let mut entries = 0;
        write(&mut ingest, &mut |member, offset| {
            entries += 1;
            match indexer.as_mut().map(|indexer| indexer.member(member, offset)) {
                None | Some(Ok(())) => {}
                // Unpacking tells what is wrong with it, if anything is.
                Some(Err(_)) => indexer = None,
            }
            Ok(())
        })?;
        let sealed = ingest.seal(None, Durability::Cached)?;
        let indexer = indexer.filter(|_| self.stays_one_file(entries, sealed.size_bytes));
        let index = indexer.and_then(|indexer| indexer.image(sealed.size_bytes).ok());
        Ok(Written { sealed, index })
    }

    /// Commits a layer whose tar has been written; `unpack` makes the tree of one that has no index, from the tar.
    fn commit_tar(
        &self,
        lease: &Lease,
        parent: Option<&Digest>,
        written: Written,
        unpack: impl FnOnce(&Path, &Path) -> Result<()>,
    ) -> Result<Layer> {
        let held = Held::dir(&self.new_snapshots_dir())?;
        self.commit_tar_in(held, lease, parent, written, unpack)
    }

    /// The same, in a folder that may have the tree already.
    fn commit_tar_in(
        &self,
        held: Held,
        lease: &Lease,
        parent: Option<&Digest>,
        Written { sealed, index }: Written,
        unpack: impl FnOnce(&Path, &Path) -> Result<()>,
    ) -> Result<Layer> {
        let diff_id = sealed.digest;
        let chain = chain_of(parent, &diff_id);
        lease.add(&[chain])?;
        let layer = Layer { diff_id, chain, blob: Descriptor::new(media_type::LAYER, diff_id, sealed.size_bytes) };
        if self.snapshot(&chain)?.is_some() {
            files::sync_tree(&self.ingest_dir())?;
            self.publish(sealed, lease, Durability::Synced)?;
            return Ok(layer);
        }
        match index {
            Some(index) => {
                let path = held.path.join(INDEX);
                fs::write(&path, index).context("write", &path)?;
                let blob = self.blob_path(&diff_id);
                self.share_blob(&held, if blob.exists() { &blob } else { sealed.path() })?;
            }
            None => unpack(&held.path.join(TREE), sealed.path())?,
        }
        let size_bytes = files::disk_usage(&held.path);
        let snapshot = Snapshot { chain, parent: parent.copied(), diff_id, size_bytes };
        // The tar was written back with the rest.
        self.commit(&held, &snapshot, || self.publish(sealed, lease, Durability::Synced))?;
        Ok(layer)
    }

    /// Keeps the tar with its index; where there can be none, unpacks it. Gives the digest of the plain tar.
    fn apply_one_file(&self, held: &Held, parent: Option<&Digest>, tar: &mut dyn Read) -> Result<Digest> {
        let path = held.path.join(TAR);
        let open = || View::open(&self.lower_dirs(parent)?);
        let below = parent.map(|_| open()).transpose()?;
        let taken = one_file::take(tar, &path, below.as_ref())?;
        match taken.index {
            Some(index) => {
                let path = held.path.join(INDEX);
                fs::write(&path, index).context("write", &path)?;
            }
            None => {
                let mut tar = File::open(&path).context("read", &path)?;
                let below = parent.map(|_| layer::Below::new(&open));
                unpack(&held.path.join(TREE), below.as_ref(), &mut tar)?;
                files::remove_file(&path)?;
            }
        }
        Ok(taken.diff_id)
    }

    /// Makes a plain tar that is there the layer's own: one file with two names.
    fn share_blob(&self, held: &Held, blob: &Path) -> Result<()> {
        let path = held.path.join(TAR);
        files::remove_file(&path)?;
        fs::hard_link(blob, &path).context("keep the tar as", &path)
    }

    /// Gives the work its name once it is on disk; `before` comes between. Somebody who was faster made the same.
    fn commit(&self, held: &Held, snapshot: &Snapshot, before: impl FnOnce() -> Result<()>) -> Result<()> {
        write_record(held, snapshot)?;
        if held.path.join(INDEX).exists() {
            // What others are writing is not waited for.
            for name in files::names(&held.path)? {
                let path = held.path.join(name);
                File::open(&path).and_then(|file| file.sync_all()).context("sync", &path)?;
            }
            files::sync_dir(&held.path)?;
        } else {
            files::sync_tree(&held.path)?;
        }
        before()?;
        self.name_layer(held, snapshot)?;
        files::sync_dir(&self.snapshots_dir())
    }

    fn name_layer(&self, held: &Held, snapshot: &Snapshot) -> Result<()> {
        let path = self.snapshot_dir(&snapshot.chain);
        match fs::rename(&held.path, &path) {
            Err(error) if matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists) => {
                Ok(())
            }
            other => other.map_err(|error| fault("commit the layer", &path, error)),
        }
    }

    /// The read-only directories of a container's root, the topmost first: its layers, and below them what every container
    /// has, as in Docker's init layer: the places that something is mounted on in each, and `/etc/mtab`. Made in each
    /// container anew, they would cost more than all else that its start writes.
    ///
    /// # Errors
    /// As for [`Snapshotter::lower_dirs`].
    pub fn container_lower_dirs(&self, chain: Option<&Digest>) -> Result<Vec<PathBuf>> {
        let mut dirs = self.lower_dirs(chain)?;
        if dirs.len() < LOWER_DIRS_MAX {
            dirs.push(self.common_dir());
        }
        Ok(dirs)
    }

    /// Makes what stands for no layers, and what lies below all of them in a container.
    pub(crate) fn make_standing_dirs(&self) -> Result<()> {
        self.make_standing_dir(&self.empty_dir(), |_| Ok(()))?;
        self.make_standing_dir(&self.common_dir(), |path| {
            for folder in ["dev", "etc", "proc", "sys"] {
                fs::create_dir(path.join(folder))?;
                fs::set_permissions(path.join(folder), Permissions::from_mode(0o755))?;
            }
            for file in ["etc/hostname", "etc/hosts", "etc/resolv.conf"] {
                File::create(path.join(file))?.set_permissions(Permissions::from_mode(0o644))?;
            }
            std::os::unix::fs::symlink("/proc/mounts", path.join("etc/mtab"))
        })
    }

    fn make_standing_dir(&self, path: &Path, fill: impl FnOnce(&Path) -> io::Result<()>) -> Result<()> {
        if path.is_dir() {
            return Ok(());
        }
        let held = Held::dir(&self.new_snapshots_dir())?;
        let fresh = held.path.join("standing");
        files::make_dir(&fresh)?;
        layer::make_implicit(&fresh)?;
        fill(&fresh).context("make", path)?;
        match fs::rename(&fresh, path) {
            // Somebody was faster, with the same.
            Err(_) if path.is_dir() => Ok(()),
            other => other.context("make", path),
        }
    }

    fn empty_dir(&self) -> PathBuf {
        self.snapshots_dir().join("empty")
    }

    fn common_dir(&self) -> PathBuf {
        self.snapshots_dir().join("common")
    }

    pub(crate) fn snapshots_dir(&self) -> PathBuf {
        self.roots().data.join("snapshots")
    }

    fn snapshot_dir(&self, chain: &Digest) -> PathBuf {
        self.snapshots_dir().join(chain.hex())
    }
}

fn write_record(held: &Held, snapshot: &Snapshot) -> Result<()> {
    let record = held.path.join(RECORD);
    fs::write(&record, to_json(&record, snapshot)?).context("write", &record)
}

/// The root's time changes with every entry and is no part of a layer.
fn set_root_time(below: &Path, tree: &Path) -> Result<()> {
    let set = || -> io::Result<()> {
        let modified = fs::metadata(below)?.modified()?;
        File::open(tree)?.set_times(fs::FileTimes::new().set_modified(modified))
    };
    set().context("set the time of", tree)
}

/// Unpacks a tar into a new folder; gives the digest of the plain tar.
fn unpack(tree: &Path, below: Option<&layer::Below<'_>>, tar: &mut dyn Read) -> Result<Digest> {
    files::make_dir(tree)?;
    let mut tee = Tee { inner: decompress(tar)?, hasher: Hasher::new(io::sink()) };
    layer::apply(&mut tee, tree, below)?;
    Ok(tee.hasher.finish().1)
}

fn check_diff_id(expected: &Digest, found: &Digest) -> Result<()> {
    match found == expected {
        true => Ok(()),
        false => Err(Diagnostic::error(&codes::DIGEST_MISMATCH, format!("the layer {expected} unpacks to {found}"))
            .hint("fetch or make the image again; nothing of the layer was kept")
            .boxed()),
    }
}

/// A file that somebody still writes, read up to where that one is.
struct Following {
    file: File,
    /// How many bytes are written, and whether these are all.
    written: Mutex<(u64, bool)>,
    more: Condvar,
}

impl Following {
    fn new(file: File) -> Self {
        Self { file, written: Mutex::default(), more: Condvar::new() }
    }

    fn tell(&self, size_bytes: u64, is_all: bool) {
        *self.written.lock().unwrap_or_else(PoisonError::into_inner) = (size_bytes, is_all);
        self.more.notify_one();
    }
}

impl Read for &Following {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut file = &self.file;
        let position = file.stream_position()?;
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = self.more.wait_while(written, |(size_bytes, is_all)| *size_bytes <= position && !*is_all);
        drop(wait.unwrap_or_else(PoisonError::into_inner));
        file.read(buffer)
    }
}

/// What is followed: whoever drops it has written all.
struct Leading<'a> {
    ingest: &'a mut Ingest,
    following: &'a Following,
}

impl io::Write for Leading<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.ingest.write(bytes)?;
        self.following.tell(self.ingest.size_bytes(), false);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.ingest.flush()
    }
}

impl Drop for Leading<'_> {
    fn drop(&mut self) {
        self.following.tell(self.ingest.size_bytes(), true);
    }
}

/// Hashes what is read through it.
struct Tee<R> {
    inner: R,
    hasher: Hasher<io::Sink>,
}

impl<R: Read> Read for Tee<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.write_all(&buffer[..count])?;
        Ok(count)
    }
}

#[cfg(test)]
mod conformance;
