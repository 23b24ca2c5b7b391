//! What becomes of a file of addresses in use that can't be understood: it is made anew, so that it stands in nobody's way.

use carrack_diag::Result;
use carrack_network::{Attachment, Networks, Running};
use carrack_specgen::container::NetworkMode;
use carrack_store::codes::CORRUPT_RECORD;

use super::connect::namespace_of;
use super::start::{attachment_of, publications};
use crate::engine::Engine;

impl Engine {
    /// Does `work`, and where that finds a file of addresses in use that can't be understood once more, with a new one.
    pub(super) fn with_leases<T>(&self, work: impl Fn() -> Result<T>) -> Result<T> {
        match work() {
            Err(error) if error.code == &CORRUPT_RECORD => {
                self.relearn_leases()?;
                work()
            }
            done => done,
        }
    }

    fn relearn_leases(&self) -> Result<()> {
        let mut running = Vec::new();
        let mut ended = Vec::new();
        for record in self.records().list()?.into_values() {
            let NetworkMode::Networks(attachments) = &record.container.network else { continue };
            let Some(state) = self.state(&record.id)? else { continue };
            let bound = publications(&state.ports);
            let namespace = match self.running(&record)? {
                Some(state) => namespace_of(&state).ok(),
                None => None,
            };
            // What it had on a network is gone with its namespace; what led there from the host is not.
            let Some(namespace) = namespace else {
                ended.extend(bound);
                continue;
            };
            let attachment = |one| {
                let wanted = attachment_of(&record, one, true)?;
                let links = wanted.links.iter().chain(&record.container.links).cloned().collect();
                Ok(Attachment { links, ..wanted })
            };
            let attachments = attachments.iter().map(attachment).collect::<Result<_>>()?;
            running.push(Running { container: record.id.clone(), namespace, attachments, published: bound });
        }
        ended.retain(|port| !running.iter().any(|one| one.published.iter().any(|bound| bound.host == port.host)));
        let networks = Networks::new(&self.store);
        let relearned = networks.relearn(&running)?;
        networks.unpublish_ports(&ended)?;
        for network in relearned {
            if let Some(network) = networks.get(&network)? {
                self.emit_network("restore", &network.id, &network.name, None);
            }
        }
        Ok(())
    }
}
