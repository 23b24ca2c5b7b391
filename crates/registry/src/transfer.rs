//! What pulls and pushes have in common: who watches, who interrupts, and many blobs at once.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use carrack_diag::{Diagnostic, Result};
use carrack_oci::Digest;
use carrack_store::{Lease, Store};

use crate::codes;

/// How many blobs are under way at once.
const PARALLEL: usize = 4;

/// Where blobs come to and from, and who is told.
#[derive(Clone, Copy)]
pub struct Transfer<'a> {
    /// The store.
    pub store: &'a Store,
    /// Keeps what arrives.
    pub lease: &'a Lease,
    /// Is told what happens.
    pub watch: &'a dyn Watch,
    /// Set, it ends the transfer at the next piece.
    pub cancel: &'a AtomicBool,
}

/// Something that happened to a blob. `digest` says which.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// It is to be transferred.
    Waiting {
        /// The blob.
        digest: Digest,
        /// Its size in bytes.
        size_bytes: u64,
    },
    /// It is where it should be already.
    Present {
        /// The blob.
        digest: Digest,
    },
    /// So much has arrived or left.
    Moved {
        /// The blob.
        digest: Digest,
        /// Of its bytes.
        done_bytes: u64,
        /// All of them.
        size_bytes: u64,
    },
    /// The connection broke; it goes on where it stopped.
    Interrupted {
        /// The blob.
        digest: Digest,
        /// Why.
        reason: &'a str,
    },
    /// The registry took it from another of its repositories.
    Mounted {
        /// The blob.
        digest: Digest,
        /// The repository.
        from: &'a str,
    },
    /// It has arrived, verified.
    Done {
        /// The blob.
        digest: Digest,
    },
    /// Whoever asked for it has made of it what it was wanted for: an unpacked layer, or a compressed one to be sent.
    Ready {
        /// The blob.
        digest: Digest,
    },
}

/// Receives events, from several threads.
pub trait Watch: Sync {
    /// Must not block for long: the transfer waits.
    fn event(&self, event: Event<'_>);
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ignore;

impl Watch for Ignore {
    fn event(&self, _event: Event<'_>) {}
}

impl Transfer<'_> {
    pub(crate) fn check(&self) -> Result<()> {
        match self.cancel.load(Ordering::Relaxed) {
            true => Err(Diagnostic::error(&codes::CANCELLED, "the transfer was cancelled").boxed()),
            false => Ok(()),
        }
    }

    /// Does something with all items, several at once. The first error ends it, and the others at their next piece.
    ///
    /// # Errors
    /// The first.
    pub fn all<T: Sync>(&self, items: &[T], act: impl Fn(&T) -> Result<()> + Sync) -> Result<()> {
        let next = AtomicUsize::new(0);
        let failure: Mutex<Option<Box<Diagnostic>>> = Mutex::new(None);
        let work = || {
            while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                if let Err(error) = self.check().and_then(|()| act(item)) {
                    self.cancel.store(true, Ordering::Relaxed);
                    failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                    return;
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..items.len().min(PARALLEL) {
                scope.spawn(work);
            }
            work();
        });
        match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}
