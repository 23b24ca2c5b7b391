//! What the engine says of its own deeds in the root's events file, with Docker's names and attributes. Whoever acts says
//! so, with one call; an event that can't be written must not undo what happened.

mod follow;

use std::collections::BTreeMap;

use carrack_network::Endpoint;
use carrack_oci::{Config, Digest};
use carrack_runtime::event::{self, Event};
use carrack_store::Image;

use crate::container::ContainerRecord;
use crate::engine::Engine;

pub use follow::EventSpan;

/// The file on the run root.
pub(crate) const EVENTS_FILE: &str = "events";

/// What is said beside an action.
type Said<'a> = [(&'a str, String)];

impl Engine {
    /// Of a container.
    pub(crate) fn emit(&self, record: &ContainerRecord, action: &str, said: &Said<'_>) {
        self.emit_as(record, &self.image_config(record), action, said);
    }

    /// The same where its image's configuration is at hand.
    pub(crate) fn emit_as(&self, record: &ContainerRecord, image: &Config, action: &str, said: &Said<'_>) {
        let attributes = attributes_of(record, image);
        self.write_event("container", action, &record.id, attributes, said);
    }

    /// Of an image. Its labels are told where it is still there to be asked.
    pub(crate) fn emit_image(&self, action: &str, name: &str, image: &Image) {
        let attributes = image.config.config.labels.clone();
        self.write_event("image", action, &image.id.to_string(), attributes, &[("name", name.to_owned())]);
    }

    /// The same of one that is known by its id.
    pub(crate) fn emit_image_id(&self, action: &str, name: &str, id: &Digest) {
        match self.store.find_image(&id.to_string()) {
            Ok(Some(image)) => self.emit_image(action, name, &image),
            _ => self.write_event("image", action, &id.to_string(), BTreeMap::new(), &[("name", name.to_owned())]),
        }
    }

    /// Of a network. `container` is who came or left.
    pub(crate) fn emit_network(&self, action: &str, id: &str, name: &str, container: Option<&str>) {
        let kind = if matches!(name, "host" | "none") { name.replace("none", "null") } else { "bridge".to_owned() };
        let container = container.map(|container| ("container", container.to_owned()));
        let said: Vec<_> = [("name", name.to_owned()), ("type", kind)].into_iter().chain(container).collect();
        self.write_event("network", action, id, BTreeMap::new(), &said);
    }

    pub(crate) fn emit_endpoints(&self, action: &str, endpoints: &[Endpoint]) {
        for endpoint in endpoints {
            self.emit_network(action, &endpoint.network_id, &endpoint.network, Some(&endpoint.container));
        }
    }

    /// Of a volume.
    pub(crate) fn emit_volume(&self, action: &str, name: &str, said: &Said<'_>) {
        self.write_event("volume", action, name, [("driver".to_owned(), "local".to_owned())].into(), said);
    }

    /// That a container begins to use its volumes.
    pub(crate) fn emit_mounts(&self, record: &ContainerRecord) {
        for mount in &record.container.mounts {
            let Some(used) = record.volumes.get(&mount.target) else { continue };
            let said = [
                ("container", record.id.clone()),
                ("destination", mount.target.clone()),
                ("propagation", String::new()),
                ("read/write", (!mount.read_only).to_string()),
            ];
            self.emit_volume("mount", &used.name, &said);
        }
    }

    /// That it has ended to.
    pub(crate) fn emit_unmounts(&self, record: &ContainerRecord) {
        for used in record.volumes.values() {
            self.emit_volume("unmount", &used.name, &[("container", record.id.clone())]);
        }
    }

    /// That everything of a kind that nobody uses was removed.
    pub(crate) fn emit_prune(&self, kind: &str, reclaimed_bytes: u64) {
        self.write_event(kind, "prune", "", BTreeMap::new(), &[("reclaimed", reclaimed_bytes.to_string())]);
    }

    fn write_event(
        &self,
        kind: &str,
        action: &str,
        id: &str,
        mut attributes: BTreeMap<String, String>,
        said: &Said<'_>,
    ) {
        attributes.extend(said.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        let (kind, action, id) = (kind.to_owned(), action.to_owned(), id.to_owned());
        let event = Event { kind, action, id, attributes, ..Event::default() };
        let _ = event::append(&self.roots().run.join(EVENTS_FILE), &event);
    }
}

/// What every event of a container says about it: its labels and its image's, its name, the image's name.
pub(crate) fn attributes_of(record: &ContainerRecord, image: &Config) -> BTreeMap<String, String> {
    let mut attributes = image.labels.clone();
    attributes.extend(record.container.labels.clone());
    attributes.insert("name".into(), record.name.clone());
    attributes.insert("image".into(), record.container.image.clone());
    attributes
}
