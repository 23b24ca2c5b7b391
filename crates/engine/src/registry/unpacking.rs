//! Layers of one image, unpacked at once while they arrive.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use carrack_diag::{Diagnostic, Result};
use carrack_oci::Descriptor;
use carrack_registry::{Arriving, Event, Watch};
use carrack_store::{Layer, Lease, Snapshotter as _, Store, Unpacked};

use crate::codes;

pub(super) struct Unpacking<'a> {
    store: &'a Store,
    lease: &'a Lease,
    layers: &'a [Layer],
    blobs: &'a [(Descriptor, &'a Arriving)],
    cancel: &'a AtomicBool,
    next: AtomicUsize,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// By layer: where its files are.
    trees: Vec<Option<PathBuf>>,
    unpacked: Vec<Option<Unpacked>>,
    has_failed: bool,
}

impl<'a> Unpacking<'a> {
    pub(super) fn new(
        (store, lease): (&'a Store, &'a Lease),
        layers: &'a [Layer],
        blobs: &'a [(Descriptor, &'a Arriving)],
        cancel: &'a AtomicBool,
    ) -> Self {
        let state = State {
            trees: vec![None; layers.len()],
            unpacked: layers.iter().map(|_| None).collect(),
            has_failed: false,
        };
        let (next, state, changed) = (AtomicUsize::new(0), Mutex::new(state), Condvar::new());
        Self { store, lease, layers, blobs, cancel, next, state, changed }
    }

    /// Layer by layer, until none is left. Several threads may do so. The first error ends it for all.
    pub(super) fn work(&self, watch: &dyn Watch) -> Result<()> {
        loop {
            let place = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(layer) = self.layers.get(place) else { return Ok(()) };
            let done = self.layer(place, layer);
            let mut state = self.lock();
            match done {
                Ok((tree, unpacked)) => {
                    state.trees[place] = Some(tree);
                    state.unpacked[place] = unpacked;
                }
                // Whoever brings the layer says what was wrong with it; others wait for what does not come.
                Err(_) if state.has_failed => return Ok(()),
                Err(error) => {
                    state.has_failed = true;
                    self.changed.notify_all();
                    drop(state);
                    if self.arriving(layer).is_some_and(|arriving| !arriving.wait()) {
                        return Ok(());
                    }
                    self.cancel.store(true, Ordering::Relaxed);
                    return Err(error);
                }
            }
            self.changed.notify_all();
            drop(state);
            watch.event(Event::Ready { digest: layer.blob.digest });
        }
    }

    /// Those that are new, base layer first.
    pub(super) fn finish(self) -> Vec<Unpacked> {
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        state.unpacked.into_iter().flatten().collect()
    }

    fn layer(&self, place: usize, layer: &Layer) -> Result<(PathBuf, Option<Unpacked>)> {
        if self.store.snapshot(&layer.chain)?.is_some() {
            let tree = self.store.lower_dirs(Some(&layer.chain))?.swap_remove(0);
            // The layer is here, and the image will refer to a blob of which no image says yet that it is that layer.
            let is_same = |known: &Layer| known.diff_id == layer.diff_id && known.blob.digest == layer.blob.digest;
            if !self.store.images()?.iter().any(|image| image.layers.iter().any(is_same)) {
                let arriving = self.arriving(layer).ok_or_else(stopped)?;
                let mut stream = arriving.reader().map_err(|_| stopped())?;
                self.store.check_layer(&layer.diff_id, &mut stream)?;
            }
            return Ok((tree, None));
        }
        let arriving = self.arriving(layer).ok_or_else(stopped)?;
        let mut stream = arriving.reader().map_err(|_| stopped())?;
        let parent = place.checked_sub(1).map(|parent| self.layers[parent].chain);
        if !self.store.unpacks_layers()? {
            self.trees_below(place)?;
            self.store.apply(self.lease, parent.as_ref(), &layer.diff_id, &mut stream)?;
            return Ok((self.store.lower_dirs(Some(&layer.chain))?.swap_remove(0), None));
        }
        let below = || self.trees_below(place);
        let unpacked = self.store.unpack_layer(parent.as_ref(), &layer.diff_id, &mut stream, &below)?;
        // What is behind the end of the compressed stream counts for the blob's digest.
        if !arriving.wait() {
            return Err(stopped());
        }
        Ok((unpacked.tree(), Some(unpacked)))
    }

    fn arriving(&self, layer: &Layer) -> Option<&'a Arriving> {
        self.blobs.iter().find(|(blob, _)| blob.digest == layer.blob.digest).map(|(_, arriving)| *arriving)
    }

    /// Waits for the layers below; topmost first.
    fn trees_below(&self, place: usize) -> Result<Vec<PathBuf>> {
        let mut state = self.lock();
        loop {
            if state.has_failed {
                return Err(stopped());
            }
            let trees: Option<Vec<PathBuf>> = state.trees[..place].iter().rev().cloned().collect();
            match trees {
                Some(trees) => return Ok(trees),
                None => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Never shown: what stopped it is.
fn stopped() -> Box<Diagnostic> {
    Diagnostic::error(&codes::HOST, "another layer could not be unpacked").boxed()
}
