//! Layers as one file: the plain tar as it is, and beside it an EROFS image of names and attributes that says where in the
//! tar each file's bytes lie. Nothing is unpacked. The kernel mounts the two together, once a host, so that all programs of
//! all containers share the pages of a file.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use carrack_diag::{Diagnostic, Result};
use carrack_oci::{Digest, Hasher};
use carrack_sys::mount;
use carrack_sys::overlay::{Overlay, Refusal};
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::mount::MountAttrFlags;

use super::{Snapshot, Snapshotter as _};
use crate::compression::decompress;
use crate::erofs::{self, Data, Inode};
use crate::fault::{Context as _, fault};
use crate::files;
use crate::garbage::needs;
use crate::layer::{self, Indexer, Stop, View};
use crate::lock::Lock;
use crate::tar::{Reader, Time};
use crate::{KeepKind, Store, codes};

/// The plain tar; another name of the blob, where that is plain.
pub(super) const TAR: &str = "layer.tar";
pub(super) const INDEX: &str = "index.erofs";

/// What new layers are kept as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LayerForm {
    /// A folder of files.
    Unpacked,
    /// The tar with an index, but for layers that no index can express.
    OneFile,
    /// A folder, but for what a build writes entry by entry and would unpack for long: that stays one file, where this host
    /// can mount it.
    #[default]
    Auto,
}

/// What is less than both is unpacked sooner than the starts of its containers would make up for, which cost a mount each.
const MANY_ENTRIES: u64 = 512;
const LARGE_BYTES: u64 = 32 << 20;

/// How long a command waits at its end for others to be done with looking.
const PATIENCE: Duration = Duration::from_secs(1);

/// What a tar that was read to its end came to.
pub(super) struct Taken {
    pub(super) diff_id: Digest,
    /// None where the layer must be unpacked.
    pub(super) index: Option<Vec<u8>>,
}

/// Writes the plain tar to `to` as it reads it, and makes its index on the way.
pub(super) fn take(tar: &mut dyn Read, to: &Path, below: Option<&View>) -> Result<Taken> {
    let file = File::create(to).context("create", to)?;
    let out = Hasher::new(io::BufWriter::with_capacity(1 << 18, file));
    let plain = BufReader::with_capacity(1 << 18, decompress(tar)?);
    let mut reader = Reader::new(Tee { inner: plain, out, count: 0 });
    let mut indexer = Some(Indexer::new(below).context("look at the layers below", to)?);
    while let Some(known) = &mut indexer {
        let Some(member) = reader.next().map_err(|error| layer::malformed(to, error))? else { break };
        match known.member(&member, reader.get_ref().count) {
            Ok(()) => {}
            Err(Stop::Trouble(trouble)) => return Err(layer::told(to, &member.path, trouble)),
            Err(Stop::Inexpressible) => indexer = None,
        }
    }
    let mut tee = reader.into_inner();
    io::copy(&mut tee, &mut io::sink()).map_err(|error| layer::malformed(to, error.into()))?;
    let (mut out, diff_id, size_bytes) = tee.out.finish();
    out.flush().context("write", to)?;
    Ok(Taken { diff_id, index: indexer.and_then(|indexer| indexer.image(size_bytes).ok()) })
}

/// Writes what is read through it.
struct Tee<R> {
    inner: R,
    out: Hasher<io::BufWriter<File>>,
    count: u64,
}

impl<R: Read> Read for Tee<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.out.write_all(&buffer[..count])?;
        self.count += count as u64;
        Ok(count)
    }
}

impl Store {
    /// The same store, keeping new layers in another form. Those that are there stay what they are.
    #[must_use]
    pub fn with_form(mut self, form: LayerForm) -> Self {
        self.form = form;
        self
    }

    /// Whether all new layers are kept as one file here.
    ///
    /// # Errors
    /// `store/layer-form` where they should be and can't.
    pub(crate) fn keeps_one_file(&self) -> Result<bool> {
        if self.form != LayerForm::OneFile {
            return Ok(false);
        }
        self.probed().map(|()| true).map_err(|reason| {
            Diagnostic::error(&codes::LAYER_FORM, "layers can't be kept as one file here")
                .cause(reason)
                .hint("leave CARRACK_SNAPSHOTTER and --snapshotter out: then layers are unpacked")
                .boxed()
        })
    }

    /// Whether what is written entry by entry may stay one file.
    ///
    /// # Errors
    /// As [`Store::keeps_one_file`].
    pub(super) fn may_keep_one_file(&self) -> Result<bool> {
        match self.form {
            LayerForm::Auto => Ok(self.probed().is_ok()),
            LayerForm::Unpacked | LayerForm::OneFile => self.keeps_one_file(),
        }
    }

    /// Whether it should, now that it is written.
    pub(super) fn stays_one_file(&self, entries: u64, size_bytes: u64) -> bool {
        self.form != LayerForm::Auto || entries >= MANY_ENTRIES || size_bytes >= LARGE_BYTES
    }

    /// What the probe has said in this process.
    fn probed(&self) -> std::result::Result<(), String> {
        static PROBED: Mutex<Option<HashMap<PathBuf, std::result::Result<(), String>>>> = Mutex::new(None);
        let mut probed = PROBED.lock().unwrap_or_else(PoisonError::into_inner);
        let known = probed
            .get_or_insert_default()
            .entry(self.roots().data.clone())
            .or_insert_with(|| try_one_file(&self.roots().data));
        known.clone()
    }

    /// What a layer takes on disk besides its blob: the tar of one file may be that.
    pub fn bytes_beside_blob(&self, snapshot: &Snapshot) -> u64 {
        let of = |path: &Path| fs::metadata(path).ok();
        let tar = of(&self.snapshot_dir(&snapshot.chain).join(TAR));
        let shared = tar.zip(of(&self.blob_path(&snapshot.diff_id)));
        let shared = shared.filter(|(tar, blob)| (tar.dev(), tar.ino()) == (blob.dev(), blob.ino()));
        snapshot.size_bytes.saturating_sub(shared.map_or(0, |(tar, _)| tar.blocks() * 512))
    }

    /// Where a layer of this form is attached, for all processes of the host.
    pub(super) fn attached(&self, chain: &Digest) -> Result<PathBuf> {
        let folder = self.attached_dir().join(chain.hex());
        if mount::is_attached(&folder) {
            return Ok(folder);
        }
        if !self.is_writable() {
            return self.mounted_for_looking(chain);
        }
        files::make_dir(&folder)?;
        let all = self.attached_dir();
        let lock = File::open(&all).context("open", &all)?;
        rustix::fs::flock(&lock, FlockOperation::LockExclusive).context("lock", &all)?;
        if !mount::is_attached(&folder) {
            files::make_dir(&folder)?;
            let mounted = self.mounted(chain)?;
            mount::attach(mounted, &folder).context("attach a layer to", &folder)?;
        }
        Ok(folder)
    }

    /// Commands that only look attach nothing: their mounts end with them.
    fn mounted_for_looking(&self, chain: &Digest) -> Result<PathBuf> {
        static MOUNTED: Mutex<Option<HashMap<PathBuf, OwnedFd>>> = Mutex::new(None);
        let mut mounted = MOUNTED.lock().unwrap_or_else(PoisonError::into_inner);
        let mounted = mounted.get_or_insert_default();
        let key = self.snapshot_dir(chain);
        if let Some(layer) = mounted.get(&key) {
            return Ok(descriptor_path(layer));
        }
        let layer = self.mounted(chain)?;
        let path = descriptor_path(&layer);
        mounted.insert(key, layer);
        Ok(path)
    }

    fn mounted(&self, chain: &Digest) -> Result<OwnedFd> {
        let dir = self.snapshot_dir(chain);
        mount::erofs(&dir.join(INDEX), &dir.join(TAR)).map_err(|refusal| {
            let error = io::Error::from(refusal.errno);
            fault("mount the layer in", &dir, io::Error::new(error.kind(), format!("{}: {error}", refusal.detail)))
        })
    }

    /// Whether a path is where a layer is attached.
    pub fn is_layer(&self, path: &Path) -> bool {
        path.parent() == Some(&self.attached_dir())
    }

    /// Layers that are attached and that neither a container nor a command at work has. Changes nothing.
    ///
    /// # Errors
    /// `store/corrupt-record`: what can't be read might have anything.
    pub fn idle_layers(&self) -> Result<Vec<PathBuf>> {
        let attached = self.attached_layers()?;
        if attached.is_empty() {
            return Ok(Vec::new());
        }
        let mut used: HashSet<Digest> = self.leased()?;
        used.extend(self.keep_records(KeepKind::Container).list()?.into_values().flat_map(|keep| keep.digests));
        for id in used.clone() {
            if let Some(image) = self.image_records().get(&id.hex())? {
                used.extend(needs(id, &image));
            }
        }
        let mut open: Vec<Digest> = used.iter().copied().collect();
        while let Some(chain) = open.pop() {
            let parent = self.snapshot(&chain)?.and_then(|snapshot| snapshot.parent);
            open.extend(parent.filter(|parent| used.insert(*parent)));
        }
        let is_used = |name: &str| Digest::from_hex(name).is_some_and(|chain| used.contains(&chain));
        Ok(attached.iter().filter(|name| !is_used(name)).map(|name| self.attached_dir().join(name)).collect())
    }

    /// By their names. Their folders stay: as long as another namespace has something there, which is on its way out, the
    /// kernel takes its time to remove one.
    fn attached_layers(&self) -> Result<Vec<String>> {
        let mut names = files::names(&self.attached_dir())?;
        names.retain(|name| mount::is_attached(&self.attached_dir().join(name)));
        Ok(names)
    }

    /// Detaches layers that nobody has any more. Whoever lets go of a layer last may meet others who have looked before that,
    /// and waits for them; where content is locked for long, this leaves it to the next command.
    ///
    /// # Errors
    /// Where one can't be detached.
    pub fn put_layers_away(&self) -> Result<()> {
        if self.attached_layers()?.is_empty() {
            return Ok(());
        }
        // Whoever begins to use a layer waits: see [`crate::Lease::add`].
        let Ok(_guard) = self.lock(Lock::Content, PATIENCE) else { return Ok(()) };
        self.idle_layers()?.iter().try_for_each(|folder| put_away(folder))
    }

    /// Detaches one layer that is to go.
    pub(super) fn detach(&self, chain: &Digest) -> Result<()> {
        let folder = self.attached_dir().join(chain.hex());
        put_away(&folder)?;
        match fs::remove_dir(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(fault("remove", &folder, error)),
            _ => Ok(()),
        }
    }

    /// Detaches all, so that the folders can be removed.
    #[cfg(test)]
    pub(crate) fn detach_all(&self) {
        for name in files::names(&self.attached_dir()).unwrap() {
            put_away(&self.attached_dir().join(name)).unwrap();
        }
    }

    /// Whether a layer is kept as one file.
    #[cfg(test)]
    pub(crate) fn is_one_file(&self, chain: &Digest) -> bool {
        self.snapshot_dir(chain).join(INDEX).exists()
    }

    /// Index and tar of each layer of this form.
    #[cfg(test)]
    pub(crate) fn one_files(&self) -> Vec<(PathBuf, PathBuf)> {
        let layers = self.snapshots().unwrap();
        let dirs = layers.iter().map(|layer| self.snapshot_dir(&layer.chain));
        dirs.map(|dir| (dir.join(INDEX), dir.join(TAR))).filter(|(index, _)| index.exists()).collect()
    }

    fn attached_dir(&self) -> PathBuf {
        self.roots().run.join("layers")
    }
}

/// Tries what layers as one file need of the kernel and of the file system below a folder: a mount of files, an overlay over
/// it, content through both, a removed name. What it makes has no name and goes with it. The error is the reason.
pub fn try_one_file(folder: &Path) -> std::result::Result<(), String> {
    let inode = |mode: u32, links: u32, data: Data| Inode {
        mode,
        uid: 0,
        gid: 0,
        mtime: Time::default(),
        xattrs: Vec::new(),
        links,
        data,
    };
    let entries = vec![(b"file".to_vec(), 1), (b"gone".to_vec(), 2)];
    let inodes = [
        inode(0o040_755, 2, Data::Dir { entries, parent: 0 }),
        inode(0o100_644, 1, Data::File { offset: 512, size_bytes: 5 }),
        inode(0o020_000, 1, Data::Device(0, 0)),
    ];
    let image = erofs::image(&inodes, 1024).map_err(|error| error.0.to_owned())?;
    let mut content = [0; 1024];
    content[512..517].copy_from_slice(b"probe");
    let file = |bytes: &[u8]| -> io::Result<OwnedFd> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let file = rustix::fs::open(folder, flags, Mode::RUSR | Mode::WUSR)?;
        rustix::io::retry_on_intr(|| rustix::io::pwrite(&file, bytes, 0))?;
        Ok(file)
    };
    let written =
        |bytes: &[u8]| file(bytes).map_err(|error| format!("no file can be made in {}: {error}", folder.display()));
    let (index, tar) = (written(&image)?, written(&content)?);
    let refused = |refusal: Refusal| format!("{}: {}", refusal.detail, io::Error::from(refusal.errno));
    let layer = mount::erofs(&descriptor_path(&index), &descriptor_path(&tar)).map_err(refused)?;
    let below = mount::shared_memory(1 << 20).map_err(refused)?;
    fs::write(descriptor_path(&below).join("gone"), "").map_err(|error| error.to_string())?;
    let overlay = Overlay {
        lower: &[descriptor_path(&layer), descriptor_path(&below)],
        upper: None,
        volatile: false,
        attributes: MountAttrFlags::MOUNT_ATTR_RDONLY,
    };
    let overlay = overlay.mount().map_err(refused)?;
    let shown = descriptor_path(&overlay);
    match (fs::read(shown.join("file")), shown.join("gone").exists()) {
        (Ok(read), false) if read == b"probe" => Ok(()),
        (Err(error), _) => Err(format!("a file can't be read through the mounts: {error}")),
        _ => Err("an overlay does not show what the mount says".to_owned()),
    }
}

fn put_away(folder: &Path) -> Result<()> {
    while mount::is_attached(folder) {
        mount::detach(folder).context("detach the layer at", folder)?;
    }
    Ok(())
}

fn descriptor_path(descriptor: &OwnedFd) -> PathBuf {
    format!("/proc/self/fd/{}", descriptor.as_raw_fd()).into()
}
