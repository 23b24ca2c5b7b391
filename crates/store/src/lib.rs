//! Everything on disk: content by digest, images, layers and their snapshots, records, volumes, versions of secrets and
//! configs, the ledger of releases; and what keeps several processes from spoiling it for each other:
//! locks, leases, commits by rename.
//!
//! This crate never starts a process or opens a connection: it reads and writes files below its two roots, and mounts
//! nothing but layers that are kept as one file.

mod archive;
pub mod codes;
mod compression;
mod content;
mod erofs;
mod fault;
mod files;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod garbage;
mod gzip;
mod image;
mod layer;
mod lease;
mod ledger;
mod lock;
mod members;
mod oci_layout;
mod platforms;
mod recompress;
mod record;
mod root;
mod snapshot;
mod tar;
mod temporary;
mod vault;
mod volume;

pub use archive::{Import, ReadStatements, STATEMENT_LIMIT};
pub use compression::decompress;
pub use content::{Ingest, Sealed};
pub use files::{Durability, check_name, check_room, disk_usage, remove_tree, replace};
pub use garbage::{Garbage, Scope};
pub use image::{Image, NewImage, Predicate};
pub use layer::{
    EntryKind, Found, LayerAttributes, LayerContent, LayerEntry, LayerWriter, NameChange, Place, View, changes,
    copy_tree, extract, write_tree,
};
pub use lease::{Keep, KeepKind, Lease};
pub use ledger::{Entry, Ledger};
pub use lock::{DEFAULT_WAIT, Guard, Lock, Sharing};
pub use members::LayerMember;
pub use oci_layout::split_layout;
pub use platforms::ImageIndex;
pub use recompress::{Compression, compress};
pub use record::{Layout, Records};
pub use root::{Roots, Store};
pub use snapshot::{Layer, LayerForm, Scratch, Snapshot, Snapshotter, Unpacked, Upper, Write, chain_of, try_one_file};

pub use temporary::TemporaryFolder;
pub use vault::VersionId;
pub use volume::{Volume, anonymous_volume_name};

pub(crate) use root::read_only;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
