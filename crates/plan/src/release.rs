use carrack_oci::Digest;
use serde::{Deserialize, Serialize};

use crate::compare::{Change, containers, networks, volumes};
use crate::{Desired, label};

/// A state that a project was in: what to go back to, without a network and without a registry (X1, M3).
///
/// Its id is the digest of its content; number, time, message and commit are what is said about it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Release {
    /// The digest of `content`, without the labels that Compose itself sets.
    pub id: Digest,
    /// Counted from 1 in each project's ledger; 0 until it is recorded.
    #[serde(default)]
    pub number: u64,
    /// RFC 3339; empty until it is recorded.
    #[serde(default)]
    pub created: String,
    /// Why, in the words of whoever made it.
    #[serde(default)]
    pub message: String,
    /// The commit of the project's files, where they are in a repository.
    #[serde(default)]
    pub commit: Option<String>,
    /// The model, the containers with their images' digests, networks, volumes, versions of secrets and configs.
    pub content: Desired,
}

impl Release {
    /// A release that is not recorded yet.
    pub fn new(content: Desired) -> Self {
        Self { id: id(&content), number: 0, created: String::new(), message: String::new(), commit: None, content }
    }

    /// Whether its content is what its id says.
    pub fn is_intact(&self) -> bool {
        id(&self.content) == self.id
    }
}

/// Compose's own labels are left out: they follow from the rest, and from the folder that the command was typed in.
fn id(content: &Desired) -> Digest {
    let mut content = content.clone();
    for replica in content.services.values_mut().flat_map(|service| &mut service.replicas) {
        replica.container.labels.retain(|name, _| !name.starts_with(label::PREFIX));
        // A fact about the image, which is named already.
        replica.health_checked = false;
    }
    // Maps with text keys and plain data: writing them can't fail.
    Digest::of(serde_json::to_vec(&content).unwrap_or_default())
}

/// What one release has and the other has not, or has otherwise.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Difference {
    /// One entry a container, network, volume, secret or config.
    pub entries: Vec<DifferenceEntry>,
}

/// One thing that differs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DifferenceEntry {
    /// `container`, `network`, `volume`, `secret`, `config`.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// In what way.
    #[serde(flatten)]
    pub how: How,
}

/// In what way something differs.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "how")]
pub enum How {
    /// Only the second release has it.
    Added,
    /// Only the first release has it.
    Removed,
    /// Both have it.
    Changed {
        /// Field by field.
        changes: Vec<Change>,
    },
}

/// From `before` to `after`.
pub fn diff(before: &Release, after: &Release) -> Difference {
    let mut entries = Vec::new();
    let replicas = |release: &Release| {
        let services = release.content.services.values();
        services
            .flat_map(|service| service.replicas.iter())
            .map(|replica| (replica.container.name.clone(), replica.clone()))
            .collect()
    };
    compare("container", &replicas(before), &replicas(after), &mut entries, |old, new| {
        containers((&old.container, &old.image), (&new.container, &new.image))
    });
    compare("network", &before.content.networks, &after.content.networks, &mut entries, networks);
    compare("volume", &before.content.volumes, &after.content.volumes, &mut entries, volumes);
    for (kind, secret) in [("secret", true), ("config", false)] {
        let files = |release: &Release| {
            let files = release.content.files.iter().filter(|file| file.secret == secret);
            files.map(|file| (file.name.clone(), file.version.clone())).collect()
        };
        compare(kind, &files(before), &files(after), &mut entries, |old, new| {
            if old == new { Vec::new() } else { vec![Change::unnamed("content")] }
        });
    }
    Difference { entries }
}

fn compare<T>(
    kind: &'static str,
    before: &std::collections::BTreeMap<String, T>,
    after: &std::collections::BTreeMap<String, T>,
    entries: &mut Vec<DifferenceEntry>,
    changes: impl Fn(&T, &T) -> Vec<Change>,
) {
    for (name, old) in before {
        let how = match after.get(name) {
            None => How::Removed,
            Some(new) => {
                let changes = changes(old, new);
                if changes.is_empty() {
                    continue;
                }
                How::Changed { changes }
            }
        };
        entries.push(DifferenceEntry { kind, name: name.clone(), how });
    }
    for name in after.keys().filter(|name| !before.contains_key(*name)) {
        entries.push(DifferenceEntry { kind, name: name.clone(), how: How::Added });
    }
}

/// One line an entry: `~ container shop-web-1: image changed`.
impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for entry in &self.entries {
            match &entry.how {
                How::Added => writeln!(f, "+ {} {}", entry.kind, entry.name)?,
                How::Removed => writeln!(f, "- {} {}", entry.kind, entry.name)?,
                How::Changed { changes } => {
                    let changes: Vec<String> = changes.iter().map(Change::to_string).collect();
                    writeln!(f, "~ {} {}: {}", entry.kind, entry.name, changes.join(", "))?;
                }
            }
        }
        Ok(())
    }
}
