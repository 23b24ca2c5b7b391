//! Indexes: put together of images that registries have, kept here until they are pushed.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use carrack_diag::{Diagnostic, Result};
use carrack_oci::{Descriptor, Digest, Index, Platform, Reference, media_type};
use carrack_registry::{Client, Destination, Document, Transfer, Watch};
use carrack_store::{Durability, Layout, Records, Scope};
use serde::{Deserialize, Serialize};

use super::{Pushed, by_digest};
use crate::codes;
use crate::engine::{Engine, host_error};

/// An index that is being put together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draft {
    /// As it will be pushed.
    pub name: String,
    /// Its images.
    pub entries: Vec<DraftEntry>,
}

/// An image of an index, under one of the names that it was given by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DraftEntry {
    /// As it was named.
    pub source: String,
    /// As the index will have it.
    pub descriptor: Descriptor,
}

/// What is said of an image that an index has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlatformChange {
    /// GOOS.
    pub os: Option<String>,
    /// GOARCH.
    pub architecture: Option<String>,
    /// Of the processor.
    pub variant: Option<String>,
    /// Of Windows.
    pub os_version: Option<String>,
}

impl Draft {
    /// The index, with what is said alike under several names once. Of Docker's older type where all images are.
    pub fn index(&self, annotations: BTreeMap<String, String>) -> Index {
        let is_docker = annotations.is_empty()
            && self.entries.iter().all(|entry| entry.descriptor.media_type == media_type::DOCKER_MANIFEST);
        let kind = if is_docker { media_type::DOCKER_INDEX } else { media_type::INDEX };
        let mut manifests: Vec<Descriptor> = Vec::new();
        for entry in &self.entries {
            if !manifests.contains(&entry.descriptor) {
                manifests.push(entry.descriptor.clone());
            }
        }
        Index { schema_version: 2, media_type: kind.to_owned(), manifests, annotations }
    }
}

impl Engine {
    fn drafts(&self) -> Records<Draft> {
        self.store.records("images/indexes", "index", Layout::Flat)
    }

    /// The images of a name: those of its index, or the one. What is no image, such as an attestation, comes with them.
    pub fn index_entries(&self, client: &Client, source: &Reference) -> Result<Vec<DraftEntry>> {
        let document = client.manifest(source)?;
        let entry = |descriptor: Descriptor| DraftEntry { source: source.to_string(), descriptor };
        if media_type::is_index(&document.media_type) {
            return Ok(read_index(source, &document)?.manifests.into_iter().map(entry).collect());
        }
        let mut descriptor = Descriptor::new(&document.media_type, document.digest, document.bytes.len() as u64);
        descriptor.platform = client.platform_of(source, &document)?;
        Ok(vec![entry(descriptor)])
    }

    /// Begins an index of images that registries have, or adds to one.
    pub fn create_index(&self, client: &Client, name: &Reference, sources: &[Reference], amend: bool) -> Result<()> {
        let key = key(name);
        let known = self.drafts().get(&key)?;
        if known.is_some() && !amend {
            return Err(Diagnostic::error(
                &codes::INDEX_EXISTS,
                format!("there is an index {} already", name.familiar()),
            )
            .hint("add to it by --amend, or remove it: `carrack manifest rm NAME`")
            .boxed());
        }
        let mut draft = known.unwrap_or_else(|| Draft { name: name.to_string(), entries: Vec::new() });
        for source in sources {
            let entries = self.index_entries(client, source)?;
            // By name, as with Docker: two names may be of one image, and get platforms of their own.
            draft.entries.retain(|known| known.source != source.to_string());
            draft.entries.extend(entries);
        }
        self.drafts().put(&key, &draft, Durability::Synced)
    }

    /// An index that is being put together; none where there is none of that name.
    pub fn index_draft(&self, name: &Reference) -> Result<Option<Draft>> {
        self.drafts().get(&key(name))
    }

    fn draft(&self, name: &Reference) -> Result<Draft> {
        self.index_draft(name)?.ok_or_else(|| no_such_index(name))
    }

    /// Says what an image of an index runs on.
    pub fn annotate_index(&self, name: &Reference, source: &Reference, change: &PlatformChange) -> Result<()> {
        let mut draft = self.draft(name)?;
        let by_digest = source.digest().copied();
        let is_meant =
            |entry: &DraftEntry| entry.source == source.to_string() || Some(entry.descriptor.digest) == by_digest;
        let Some(entry) = draft.entries.iter_mut().find(|entry| is_meant(entry)) else {
            let message = format!("the index {} has no image {}", name.familiar(), source.familiar());
            return Err(Diagnostic::error(&codes::NO_SUCH_INDEX, message)
                .hint("`carrack manifest inspect NAME` lists its images by digest")
                .boxed());
        };
        let platform = entry.descriptor.platform.get_or_insert_with(Platform::host);
        let set = |field: &mut String, value: &Option<String>| {
            if let Some(value) = value {
                field.clone_from(value);
            }
        };
        set(&mut platform.os, &change.os);
        set(&mut platform.architecture, &change.architecture);
        for (field, value) in [(&mut platform.variant, &change.variant), (&mut platform.os_version, &change.os_version)]
        {
            if value.is_some() {
                field.clone_from(value);
            }
        }
        self.drafts().put(&key(name), &draft, Durability::Synced)
    }

    /// Forgets an index that is being put together.
    pub fn remove_index(&self, name: &Reference) -> Result<()> {
        match self.drafts().remove(&key(name))? {
            true => Ok(()),
            false => Err(no_such_index(name)),
        }
    }

    /// Sends an index that is being put together, after its images where their repository is another.
    pub fn push_index(&self, client: &Client, name: &Reference, purge: bool, watch: &dyn Watch) -> Result<Pushed> {
        let draft = self.draft(name)?;
        let bytes = to_json(&draft.index(BTreeMap::new()))?;
        let pushed = self.send_index(client, name, &draft, &bytes, watch)?;
        if purge {
            self.remove_index(name)?;
        }
        Ok(pushed)
    }

    /// Sends an index of the images of `draft` under a name.
    pub fn send_index(
        &self,
        client: &Client,
        name: &Reference,
        draft: &Draft,
        bytes: &[u8],
        watch: &dyn Watch,
    ) -> Result<Pushed> {
        let tag = tag_of(name)?;
        let kind = draft_kind(bytes);
        let mounts = draft.entries.iter().filter_map(|entry| entry.source.parse::<Reference>().ok());
        let mounts = mounts.filter(|source| source.host() == name.host()).map(|source| source.path().to_owned());
        self.copying(client, name, mounts.collect(), watch, |destination| {
            for entry in &draft.entries {
                let source: Reference = by_digest(&entry.source.parse()?, &entry.descriptor.digest)?;
                if source.host() != name.host() || source.path() != name.path() {
                    destination.copy(&source, &client.manifest(&source)?, &entry.descriptor.digest.to_string())?;
                }
            }
            destination.put_manifest(tag, &kind, bytes)
        })
        .map(|digest| Pushed { name: name.familiar(), digest, size_bytes: bytes.len() as u64 })
    }

    /// Copies what a registry has under one name to another, byte for byte.
    pub fn copy_image(&self, client: &Client, from: &Reference, to: &Reference, watch: &dyn Watch) -> Result<Pushed> {
        let tag = tag_of(to)?;
        let document = client.manifest(from)?;
        let mounts = if from.host() == to.host() { vec![from.path().to_owned()] } else { Vec::new() };
        let digest = self.copying(client, to, mounts, watch, |destination| destination.copy(from, &document, tag))?;
        Ok(Pushed { name: to.familiar(), digest, size_bytes: document.bytes.len() as u64 })
    }

    /// What came through the store on its way is gone afterwards.
    fn copying(
        &self,
        client: &Client,
        name: &Reference,
        mounts: Vec<String>,
        watch: &dyn Watch,
        copy: impl FnOnce(&Destination<'_>) -> Result<Digest>,
    ) -> Result<Digest> {
        let cancel = AtomicBool::new(false);
        let lease = self.store.lease()?;
        let transfer = Transfer { store: &self.store, lease: &lease, watch, cancel: &cancel };
        let copied = copy(&client.destination(name, mounts, transfer));
        drop(lease);
        self.store.prune(Scope::Unreferenced)?;
        copied
    }
}

/// An index as it is sent.
pub fn to_json(index: &Index) -> Result<Vec<u8>> {
    serde_json::to_vec(index).map_err(|error| host_error("can't write the index", error))
}

fn draft_kind(bytes: &[u8]) -> String {
    serde_json::from_slice::<Index>(bytes).map_or_else(|_| media_type::INDEX.to_owned(), |index| index.media_type)
}

fn read_index(name: &Reference, document: &Document) -> Result<Index> {
    serde_json::from_slice(&document.bytes)
        .map_err(|error| host_error(format!("can't read the index {}", name.familiar()), error))
}

fn tag_of(name: &Reference) -> Result<&str> {
    match (name.tag(), name.digest()) {
        (Some(tag), None) => Ok(tag),
        _ => Err(super::not_a_tag(name)),
    }
}

fn key(name: &Reference) -> String {
    Digest::of(name.to_string()).hex()
}

fn no_such_index(name: &Reference) -> Box<Diagnostic> {
    Diagnostic::error(&codes::NO_SUCH_INDEX, format!("there is no index {} in the making", name.familiar()))
        .hint("make one: `carrack manifest create NAME IMAGE …`")
        .boxed()
}
