//! What brought a package into the stage that a COPY took it from, as far as the build cache still tells.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use carrack_attestation::{Bill, Origin, Package};
use carrack_diag::Result;
use carrack_oci::Digest;
use carrack_store::{Layer, Snapshotter as _, Store};

use crate::cache;
use crate::inventory::{bill_of, instructions};

/// Stages are copied from stages; so many lead to each other.
const DEPTH_MAX: usize = 16;

/// What a stage's packages came by.
type Found = BTreeMap<Package, Arc<Origin>>;

pub(crate) struct Stages<'a> {
    store: &'a Store,
    /// Layers of images and of steps with what made each, by their chains.
    layers: HashMap<Digest, (Layer, String)>,
    /// The chains that copies were made from, by the chain and by the content of what they made.
    sources: HashMap<Digest, Vec<Digest>>,
    found: HashMap<Digest, Arc<Found>>,
}

impl<'a> Stages<'a> {
    fn new(store: &'a Store) -> Result<Self> {
        let mut layers = HashMap::new();
        for image in store.images()? {
            let told = instructions(&image.config.history);
            for (layer, instruction) in image.layers.iter().zip(told.chain(std::iter::repeat(String::new()))) {
                layers.insert(layer.chain, (layer.clone(), instruction));
            }
        }
        let mut sources: HashMap<Digest, Vec<Digest>> = HashMap::new();
        for record in cache::records(store).list()?.into_values() {
            let Some(layer) = record.layer else { continue };
            let copied = record.inputs.iter().flat_map(|inputs| inputs.copied_from());
            for chain in copied {
                // One of --link lies on another base in the image.
                for key in [layer.chain, layer.diff_id] {
                    let known = sources.entry(key).or_default();
                    if !known.contains(&chain) {
                        known.push(chain);
                    }
                }
            }
            layers.insert(layer.chain, (layer, record.name));
        }
        sources.values_mut().for_each(|chains| chains.sort());
        Ok(Self { store, layers, sources, found: HashMap::new() })
    }

    /// Completes a bill of these layers.
    pub(crate) fn complete(store: &'a Store, layers: &[Layer], bill: &mut Bill) -> Result<()> {
        let is_copied = |origin: &Origin| origin.instruction.contains("COPY ");
        if bill.packages.iter().any(|listed| is_copied(&listed.origin)) {
            Self::new(store)?.find(layers, bill, 0)?;
        }
        Ok(())
    }

    fn find(&mut self, layers: &[Layer], bill: &mut Bill, depth: usize) -> Result<()> {
        for listed in &mut bill.packages {
            let layer = layers.iter().find(|layer| layer.diff_id == listed.origin.layer);
            let sources = layer
                .and_then(|layer| self.sources.get(&layer.chain).or_else(|| self.sources.get(&layer.diff_id)).cloned());
            for chain in sources.unwrap_or_default() {
                if let Some(origin) = self.of_stage(chain, depth)?.get(&listed.package) {
                    listed.from = Some(origin.clone());
                    break;
                }
            }
        }
        Ok(())
    }

    /// The packages of a stage; none where a layer of it is not here any more.
    fn of_stage(&mut self, chain: Digest, depth: usize) -> Result<Arc<Found>> {
        if let Some(known) = self.found.get(&chain) {
            return Ok(known.clone());
        }
        let mut found = Found::new();
        if let Some(layers) = self.stack(chain)?.filter(|_| depth < DEPTH_MAX) {
            let (layers, told): (Vec<Layer>, Vec<String>) = layers.into_iter().unzip();
            let mut bill = bill_of(self.store, &layers, told)?;
            self.find(&layers, &mut bill, depth + 1)?;
            found
                .extend(bill.packages.into_iter().map(|listed| (listed.package, listed.from.unwrap_or(listed.origin))));
        }
        let found = Arc::new(found);
        self.found.insert(chain, found.clone());
        Ok(found)
    }

    /// The layers of a chain, base first; none where one is unknown.
    fn stack(&self, top: Digest) -> Result<Option<Vec<(Layer, String)>>> {
        let (mut layers, mut next) = (Vec::new(), Some(top));
        while let Some(chain) = next {
            let (Some(known), Some(snapshot)) = (self.layers.get(&chain), self.store.snapshot(&chain)?) else {
                return Ok(None);
            };
            if !self.store.has_blob(&known.0.blob.digest) {
                return Ok(None);
            }
            layers.push(known.clone());
            next = snapshot.parent;
        }
        layers.reverse();
        Ok(Some(layers))
    }
}
