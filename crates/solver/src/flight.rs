//! Builds of one process that come to the same step at once: one does it, the others find it in the cache.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use carrack_oci::Digest;

static FLIGHTS: LazyLock<(Mutex<HashSet<Digest>>, Condvar)> = LazyLock::new(Default::default);

/// A step that is being done, by its key.
pub(crate) struct Flight(Digest);

fn flights() -> MutexGuard<'static, HashSet<Digest>> {
    FLIGHTS.0.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Flight {
    /// Waits until no other build does the step. Ends early once `cancel` is set: then nothing is to be done anyway.
    pub(crate) fn take(key: Digest, cancel: &AtomicBool) -> Option<Self> {
        // An interrupt wakes nobody.
        const LOOK: Duration = Duration::from_millis(100);
        let mut taken = flights();
        while !taken.insert(key) {
            if cancel.load(Ordering::SeqCst) {
                return None;
            }
            taken = FLIGHTS.1.wait_timeout(taken, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
        Some(Self(key))
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        flights().remove(&self.0);
        FLIGHTS.1.notify_all();
    }
}

/// Builds of one command: what one of them has done counts for the others even where the cache is not to be used.
#[derive(Debug, Clone, Default)]
pub struct Together(Arc<Mutex<HashSet<Digest>>>);

impl Together {
    fn done(&self) -> MutexGuard<'_, HashSet<Digest>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn has_done(&self, keys: &[Digest]) -> bool {
        let done = self.done();
        keys.iter().any(|key| done.contains(key))
    }

    pub(crate) fn add(&self, keys: &[Digest]) {
        self.done().extend(keys);
    }
}
