//! Everything on disk: content by digest, images, layers and their snapshots, records, volumes, versions of secrets and
//! configs, the ledger of releases, the events file; and what keeps several processes from spoiling it for each other:
//! locks, leases, commits by rename.
//!
//! This crate never starts a process, opens a connection or mounts a file system: it only reads and writes files below
//! its two roots.

pub mod codes;
mod content;
mod fault;
mod files;
mod lease;
mod lock;
mod record;
mod root;

pub use content::Ingest;
pub use files::{Durability, check_name};
pub use lease::{Keep, KeepKind, Lease};
pub use lock::{DEFAULT_WAIT, Guard, Lock, Sharing};
pub use record::{Layout, Records};
pub use root::{Roots, Store};

pub(crate) use root::read_only;
