//! The ledger of a project: what it was, release by release (X1).

use carrack_diag::{Diagnostic, Result};
use carrack_oci::Digest;
use carrack_plan::Release;
use carrack_store::{Durability, Guard, KeepKind};
use serde::{Deserialize, Serialize};

use crate::codes;
use crate::engine::{Engine, now};

/// One entry of the ledger.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum Record {
    /// The project was brought to this.
    Release(Box<Release>),
    /// The project was taken down.
    Retired {
        /// RFC 3339.
        time: String,
    },
}

impl Engine {
    /// The releases of a project, oldest first.
    pub fn releases(&self, project: &str) -> Result<Vec<Release>> {
        let ledger = self.store.ledger(project)?;
        let mut releases = Vec::new();
        for entry in ledger.list()? {
            if let Record::Release(release) = ledger.read(entry.number)? {
                releases.push(*release);
            }
        }
        Ok(releases)
    }

    /// The release that is deployed; none before the first and after `down`.
    pub fn current_release(&self, project: &str) -> Result<Option<Release>> {
        let ledger = self.store.ledger(project)?;
        let Some(head) = ledger.head()? else { return Ok(None) };
        match ledger.read(head.number)? {
            Record::Release(release) => Ok(Some(*release)),
            Record::Retired { .. } => Ok(None),
        }
    }

    /// The release of a number; without one, the one before the current.
    pub fn release(&self, project: &str, number: Option<u64>) -> Result<Release> {
        let releases = self.releases(project)?;
        let current = self.current_release(project)?;
        let found = match number {
            Some(number) => releases.iter().find(|release| release.number == number),
            None => {
                let before = current.as_ref().map_or(u64::MAX, |current| current.number);
                releases.iter().rev().find(|release| release.number < before)
            }
        };
        found.cloned().ok_or_else(|| {
            let wanted = number.map_or("earlier release".to_owned(), |number| format!("release {number}"));
            let known: Vec<String> = releases.iter().map(|release| release.number.to_string()).collect();
            let diagnostic = Diagnostic::error(&codes::NO_SUCH_RELEASE, format!("{project} has no {wanted}"));
            if known.is_empty() {
                diagnostic.hint("the first `carrack up` records the first release").boxed()
            } else {
                diagnostic.hint(format!("releases: {}", known.join(", "))).boxed()
            }
        })
    }

    /// Records a release and keeps what it needs: its images, its versions of secrets and configs. Repeatable.
    pub(crate) fn record_release(&self, guard: &Guard, release: &Release) -> Result<()> {
        let project = &release.content.project;
        if self.current_release(project)?.is_some_and(|head| head.id == release.id) {
            return Ok(());
        }
        let ledger = self.store.ledger(project)?;
        let number = ledger.head()?.map_or(1, |head| head.number + 1);
        let images: Vec<Digest> = release
            .content
            .services
            .values()
            .flat_map(|service| &service.replicas)
            .map(|replica| replica.image)
            .collect();
        self.store.keep(KeepKind::Release, &format!("{project}-{number}"), &images, Durability::Synced)?;
        ledger
            .append(guard, |number| Record::Release(Box::new(Release { number, created: now(), ..release.clone() })))?;
        Ok(())
    }

    /// Records that the project is down. Its releases stay.
    pub(crate) fn retire_release(&self, guard: &Guard, project: &str) -> Result<()> {
        if self.current_release(project)?.is_some() {
            self.store.ledger(project)?.append(guard, |_| Record::Retired { time: now() })?;
        }
        Ok(())
    }
}
