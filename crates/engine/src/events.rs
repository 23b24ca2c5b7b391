//! What the engine says of its own deeds in the root's events file.

use carrack_runtime::event::{self, Event};

use crate::container::ContainerRecord;
use crate::engine::Engine;

impl Engine {
    /// Says that something happened to a container. An event that can't be written must not undo what happened.
    pub(crate) fn emit(&self, record: &ContainerRecord, action: &str, attributes: &[(&str, String)]) {
        let mut all: std::collections::BTreeMap<String, String> =
            attributes.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        all.insert("name".into(), record.name.clone());
        all.insert("image".into(), record.container.image.clone());
        let event = Event {
            kind: "container".into(),
            action: action.into(),
            id: record.id.clone(),
            attributes: all,
            ..Event::default()
        };
        let _ = event::append(&self.roots().run.join("events"), &event);
    }
}
