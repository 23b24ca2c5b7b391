//! One cache of several builds, such as those for several platforms: its configuration holds the results of all, as BuildKit's
//! does, and the build that ends last writes it.

use std::fmt::{self, Debug, Formatter};
use std::sync::{Arc, Mutex};

use carrack_diag::Result;
use carrack_oci::{Descriptor, Digest};
use carrack_store::{Layer, Lease, Store};

use super::format::{CacheConfig, CacheLayer};
use super::import::lock;
use crate::vertex::Outcome;

/// A cache that several builds write together. Where one of them fails, it is not written.
#[derive(Clone)]
pub struct SharedCache(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// How many builds have not brought their share yet.
    missing: usize,
    share: Share,
    /// Keeps what the builds have brought that have ended.
    lease: Option<Lease>,
}

/// What one build brings, or all.
#[derive(Default)]
pub(crate) struct Share {
    pub(crate) part: Part,
    pub(crate) outcomes: Vec<Arc<Outcome>>,
    /// Of the results.
    pub(crate) layers: Vec<Layer>,
}

/// What all have brought, kept for as long as this is there.
pub(crate) struct Joined {
    pub(crate) share: Share,
    pub(crate) _lease: Option<Lease>,
}

/// A configuration and the blobs that it names.
#[derive(Default)]
pub(crate) struct Part {
    pub(crate) config: CacheConfig,
    pub(crate) blobs: Vec<Descriptor>,
}

impl SharedCache {
    /// Of so many builds.
    pub fn of(builds: usize) -> Self {
        Self(Arc::new(Mutex::new(State { missing: builds, ..State::default() })))
    }

    /// Adds what a build brings; all of it once nobody is missing.
    pub(crate) fn join(&self, store: &Store, own: Share) -> Result<Option<Joined>> {
        let mut state = lock(&self.0);
        let lease = match &mut state.lease {
            Some(lease) => lease,
            none => none.insert(store.lease()?),
        };
        let blobs = own.part.blobs.iter().map(|blob| blob.digest);
        let layers = own.outcomes.iter().flat_map(|outcome| &outcome.layers);
        let layers = layers.flat_map(|layer| [layer.chain, layer.blob.digest]);
        lease.add(&blobs.chain(layers).collect::<Vec<Digest>>())?;
        state.share.part.add(own.part);
        state.share.outcomes.extend(own.outcomes);
        state.share.layers.extend(own.layers);
        state.missing = state.missing.saturating_sub(1);
        let is_whole = state.missing == 0;
        Ok(is_whole.then(|| Joined { share: std::mem::take(&mut state.share), _lease: state.lease.take() }))
    }
}

impl Debug for SharedCache {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        out.write_str("SharedCache")
    }
}

impl PartialEq for SharedCache {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for SharedCache {}

impl Part {
    /// Takes over what another one says beside. The order in which parts come makes no difference to the records.
    fn add(&mut self, other: Self) {
        let mut places: Vec<usize> = Vec::new();
        for layer in other.config.layers {
            let below = usize::try_from(layer.parent).ok().and_then(|parent| places.get(parent));
            let parent = below.and_then(|parent| i64::try_from(*parent).ok()).unwrap_or(-1);
            let layers = &mut self.config.layers;
            let is_same = |known: &CacheLayer| known.blob == layer.blob && known.parent == parent;
            places.push(layers.iter().position(is_same).unwrap_or(layers.len()));
            if places.last() == Some(&layers.len()) {
                layers.push(CacheLayer { parent, ..layer });
            }
        }
        for mut record in other.config.records {
            record.results.retain_mut(|result| match places.get(result.layer) {
                Some(place) => {
                    result.layer = *place;
                    true
                }
                None => false,
            });
            self.config.records.push(record);
        }
        // Of one key the one that has the files.
        self.config.records.sort_by(|one, other| {
            (&one.digest, one.results.is_empty()).cmp(&(&other.digest, other.results.is_empty()))
        });
        self.config.records.dedup_by(|later, first| later.digest == first.digest);
        for blob in other.blobs {
            if self.blobs.iter().all(|known| known.digest != blob.digest) {
                self.blobs.push(blob);
            }
        }
    }
}
