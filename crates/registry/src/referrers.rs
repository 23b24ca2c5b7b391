//! Artefacts that refer to an image: attestations, signatures, bills of materials (distribution-spec 1.1 "Pushing
//! Manifests with Subject", "Listing Referrers"). Where a registry does not know referrers, a tag lists them.

use std::collections::BTreeMap;

use carrack_diag::{Diagnostic, Result};
use carrack_http::absolute;
use carrack_oci::{Artifact, ArtifactBlob, Descriptor, Digest, Index, Manifest, Reference, media_type};
use ureq::http::Method;

use crate::auth::{Scope, escape, unanswered};
use crate::client::{Client, Document, REPETITIONS, Site, mismatch};
use crate::codes;
use crate::http::protocol;
use crate::pull::Resolved;

/// How often the tag that lists referrers is written again because somebody else wrote it meanwhile.
const TAG_WRITES: u32 = 5;
/// More pages of referrers than this are a mistake.
const PAGES_MAX: u32 = 64;

/// More artefacts than this are not asked for with an image.
const ARTIFACTS_MAX: usize = 16;

/// Blobs with their descriptors, in the manifest's order.
pub type Contents = Vec<(Descriptor, Vec<u8>)>;

impl Client {
    /// Pushes an artefact to the repository of `repository`, whose tag does not matter. Gives the descriptor of its
    /// manifest, as a list of referrers has it. The subject need not be there yet.
    ///
    /// # Errors
    /// `registry/unauthorised`; whatever keeps it from being taken.
    pub fn push_artifact(&self, repository: &Reference, artifact: &Artifact) -> Result<Descriptor> {
        let site = self.site(repository.host());
        let scope = Scope::push(repository.path(), &[]);
        let empty = ArtifactBlob {
            media_type: media_type::EMPTY.to_owned(),
            bytes: Artifact::EMPTY.to_vec(),
            annotations: BTreeMap::new(),
        };
        for blob in artifact.blobs.iter().chain([&empty]) {
            self.put_bytes(&site, &scope, repository, &blob.bytes)?;
        }
        let manifest = artifact.manifest();
        let digest = Digest::of(&manifest);
        let response =
            self.put_manifest(&site, &scope, repository, &digest.to_string(), media_type::MANIFEST, &manifest)?;
        let is_listed = response.header("oci-subject").is_some();
        let mut entry = Descriptor::new(media_type::MANIFEST, digest, manifest.len() as u64);
        entry.artifact_type = Some(artifact.artifact_type.clone());
        entry.annotations.clone_from(&artifact.annotations);
        if !is_listed {
            self.add_to_tag(&site, &scope, repository, &artifact.subject.digest, &entry)?;
        }
        Ok(entry)
    }

    /// What refers to a manifest or index of the repository, of one type or of all.
    ///
    /// # Errors
    /// `registry/unauthorised`; whatever keeps the list from arriving whole. A subject that nobody speaks about, or that
    /// is not there, has no referrers.
    pub fn referrers(
        &self,
        repository: &Reference,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>> {
        let site = self.site(repository.host());
        let mut found = match self.referrers_listed(&site, repository, subject, artifact_type, REPETITIONS)? {
            Some(found) => found,
            None => self.referrers_of_tag(&site, repository, subject)?.map(|index| index.manifests).unwrap_or_default(),
        };
        // A registry may leave the choice to whoever asks.
        found.retain(|entry| artifact_type.is_none_or(|wanted| entry.artifact_type.as_deref() == Some(wanted)));
        Ok(found)
    }

    /// The content of an artefact that a list of referrers names: its manifest, and its blobs with their descriptors.
    ///
    /// # Errors
    /// `registry/not-found`, `registry/digest-mismatch`, `registry/too-large` above `limit_bytes` in all.
    pub fn artifact(
        &self,
        repository: &Reference,
        entry: &Descriptor,
        limit_bytes: u64,
    ) -> Result<(Document, Contents)> {
        self.artifact_at(&self.site(repository.host()), repository, entry, limit_bytes)
    }

    /// The contents of all artefacts of one type that refer to a resolved image, from where its manifest came, no more than
    /// `limit_bytes` of each; and whether they stand among the registry's tags. A registry that fails is not asked again: the
    /// image does not wait for what is said of it.
    ///
    /// # Errors
    /// As [`Client::referrers`] and [`Client::artifact`].
    pub fn referring(&self, image: &Resolved, artifact_type: &str, limit_bytes: u64) -> Result<(Vec<Vec<u8>>, bool)> {
        let Some(site) = image.sources.first() else { return Ok((Vec::new(), false)) };
        let (repository, subject) = (&image.reference, &image.manifest.digest);
        let (listed, is_tagged) = match self.referrers_listed(site, repository, subject, Some(artifact_type), 0)? {
            Some(listed) => (listed, false),
            None => {
                let tag = format!("/v2/{}/manifests/{}", repository.path(), referrers_tag(subject));
                let request = self.request(site, Method::HEAD, &tag)?.header("accept", media_type::INDEX);
                let index = match self.call(site, &Scope::pull(repository.path()), request, None)?.status {
                    200 => self.referrers_of_tag(site, repository, subject)?,
                    _ => None,
                };
                (index.map(|index| index.manifests).unwrap_or_default(), true)
            }
        };
        let mut contents = Vec::new();
        let is_meant = |entry: &&Descriptor| entry.artifact_type.as_deref() == Some(artifact_type);
        for entry in listed.iter().filter(is_meant).take(ARTIFACTS_MAX) {
            let (_, blobs) = self.artifact_at(site, repository, entry, limit_bytes)?;
            contents.extend(blobs.into_iter().map(|(_, bytes)| bytes));
        }
        Ok((contents, is_tagged))
    }

    fn artifact_at(
        &self,
        site: &Site,
        repository: &Reference,
        entry: &Descriptor,
        limit_bytes: u64,
    ) -> Result<(Document, Contents)> {
        let document = self.manifest_at(site, repository, Some(&entry.digest))?;
        let manifest: Manifest = serde_json::from_slice(&document.bytes)
            .map_err(|error| protocol(&repository.familiar(), format!("a referrer is no manifest: {error}")))?;
        let total = manifest.layers.iter().try_fold(0_u64, |total, blob| total.checked_add(blob.size));
        if total.is_none_or(|total| total > limit_bytes) {
            let message = format!("the artefact {} of {} is too large", entry.digest, repository.familiar_repository());
            return Err(Diagnostic::error(&codes::TOO_LARGE, message)
                .cause(format!("more than {limit_bytes} bytes"))
                .boxed());
        }
        let mut blobs = Vec::new();
        for blob in manifest.layers {
            let bytes = self.blob_bytes(site, repository, &blob)?;
            blobs.push((blob, bytes));
        }
        Ok((document, blobs))
    }

    /// Whether the registry keeps lists of referrers itself, so that none shows up among the tags.
    ///
    /// # Errors
    /// As [`Client::referrers`].
    pub fn knows_referrers(&self, repository: &Reference, subject: &Digest) -> Result<bool> {
        let site = self.site(repository.host());
        Ok(self.referrers_listed(&site, repository, subject, None, REPETITIONS)?.is_some())
    }

    /// None where the registry does not know referrers.
    fn referrers_listed(
        &self,
        site: &Site,
        repository: &Reference,
        subject: &Digest,
        artifact_type: Option<&str>,
        repetitions: u32,
    ) -> Result<Option<Vec<Descriptor>>> {
        let scope = Scope::pull(repository.path());
        let filter = artifact_type.map(|kind| format!("?artifactType={}", escape(kind))).unwrap_or_default();
        let mut path = format!("/v2/{}/referrers/{subject}{filter}", repository.path());
        let (mut found, mut size_bytes) = (Vec::new(), 0);
        for _ in 0..PAGES_MAX {
            let request = self.request(site, Method::GET, &path)?.header("accept", media_type::INDEX);
            let response = self.call_repeatedly(site, &scope, request, None, repetitions)?;
            // A page that is served for whatever nobody knows is no list either.
            let is_index = response.header("content-type").is_some_and(|kind| kind.starts_with(media_type::INDEX));
            if response.status == 404 || response.status == 200 && !is_index {
                return Ok(None);
            }
            if response.status != 200 {
                return Err(self.refusal(site, response, &format!("referrers of {}", repository.familiar())));
            }
            let next = next_page(&response.url, response.header("link"));
            let url = response.url.clone();
            let bytes = response.small("the list of referrers").map_err(|fault| unanswered(&url, fault))?;
            let index: Index = serde_json::from_slice(&bytes).map_err(|error| protocol(&url, error.to_string()))?;
            found.extend(index.manifests);
            size_bytes += bytes.len();
            match next {
                Some(_) if size_bytes > crate::client::LIST_MAX_BYTES => break,
                Some(next) if self.is_of(site, &next) => path = next,
                Some(_) => return Err(protocol(&url, "its list of referrers goes on at another host".into())),
                None => return Ok(Some(found)),
            }
        }
        Err(protocol(&path, format!("its list of referrers has {} and does not end", found.len())))
    }

    fn referrers_of_tag(&self, site: &Site, repository: &Reference, subject: &Digest) -> Result<Option<Index>> {
        let tagged = repository.with_tag(&referrers_tag(subject));
        let document = match self.manifest_at(site, &tagged, None) {
            Ok(document) => document,
            Err(error) if error.code == &codes::NOT_FOUND => return Ok(None),
            Err(error) => return Err(error),
        };
        let index = serde_json::from_slice(&document.bytes)
            .map_err(|error| protocol(&tagged.familiar(), format!("it lists no referrers: {error}")))?;
        Ok(Some(index))
    }

    /// Reads, adds, writes, and looks again: there is no other way to notice that somebody else did the same.
    fn add_to_tag(
        &self,
        site: &Site,
        scope: &Scope,
        repository: &Reference,
        subject: &Digest,
        entry: &Descriptor,
    ) -> Result<()> {
        let tag = referrers_tag(subject);
        for _ in 0..TAG_WRITES {
            let mut index = self.referrers_of_tag(site, repository, subject)?.unwrap_or_else(|| Index {
                schema_version: 2,
                media_type: media_type::INDEX.to_owned(),
                manifests: Vec::new(),
                annotations: BTreeMap::new(),
            });
            if index.manifests.iter().any(|known| known.digest == entry.digest) {
                return Ok(());
            }
            index.manifests.push(entry.clone());
            let bytes = serde_json::to_vec(&index).unwrap_or_default();
            self.put_manifest(site, scope, repository, &tag, media_type::INDEX, &bytes)?;
        }
        let listed = self.referrers_of_tag(site, repository, subject)?;
        match listed.is_some_and(|index| index.manifests.iter().any(|known| known.digest == entry.digest)) {
            true => Ok(()),
            false => Err(protocol(
                &format!("{}:{tag}", repository.familiar_repository()),
                "others write the list of referrers all the time".into(),
            )),
        }
    }

    /// A small blob, where it is not there yet.
    fn put_bytes(&self, site: &Site, scope: &Scope, repository: &Reference, bytes: &[u8]) -> Result<()> {
        let digest = Digest::of(bytes);
        let what = || format!("taking a blob of {}", repository.familiar_repository());
        let head = self.request(site, Method::HEAD, &format!("/v2/{}/blobs/{digest}", repository.path()))?;
        if self.call(site, scope, head, None)?.status == 200 {
            return Ok(());
        }
        let begin = self.request(site, Method::POST, &format!("/v2/{}/blobs/uploads/", repository.path()))?;
        let begun = self.call(site, scope, begin, None)?;
        if begun.status != 202 {
            return Err(self.refusal(site, begun, &what()));
        }
        let location = begun.header("location").and_then(|location| absolute(&begun.url, location));
        let location = location.ok_or_else(|| protocol(&begun.url, "it opens an upload without a Location".into()))?;
        if begun.url.starts_with("https://") && !location.starts_with("https://") {
            return Err(protocol(&begun.url, "it wants the blob at an address without TLS".into()));
        }
        let separator = if location.contains('?') { '&' } else { '?' };
        let url = format!("{location}{separator}digest={}", escape(&digest.to_string()));
        let put = self.request(site, Method::PUT, &url)?.header("content-type", "application/octet-stream");
        let response = self.call(site, scope, put, Some(bytes))?;
        match response.status {
            201 | 204 => Ok(()),
            _ => Err(self.refusal(site, response, &what())),
        }
    }
}

impl Client {
    /// Puts a manifest or index under a tag or its digest, and sees that the registry keeps what it was given.
    pub(crate) fn put_manifest(
        &self,
        site: &Site,
        scope: &Scope,
        repository: &Reference,
        name: &str,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<crate::http::Response> {
        let request = self
            .request(site, Method::PUT, &format!("/v2/{}/manifests/{name}", repository.path()))?
            .header("content-type", media_type);
        let response = self.call(site, scope, request, Some(bytes))?;
        if !matches!(response.status, 200..=202) {
            let what = format!("taking the manifest of {}", repository.familiar());
            return Err(self.refusal(site, response, &what));
        }
        let digest = Digest::of(bytes);
        match response.header("docker-content-digest").and_then(|kept| kept.parse::<Digest>().ok()) {
            Some(kept) if kept != digest => Err(mismatch(
                format!("the manifest that the registry kept of {}", repository.familiar()),
                &digest,
                &kept,
            )),
            _ => Ok(response),
        }
    }
}

/// `sha256-…`, as the specification's "Referrers Tag Schema" has it.
fn referrers_tag(subject: &Digest) -> String {
    format!("sha256-{}", subject.hex())
}

/// `<address>; rel="next"` (RFC 5988).
pub(crate) fn next_page(url: &str, link: Option<&str>) -> Option<String> {
    let link = link?.split(',').find(|link| link.contains("rel=\"next\"") || link.contains("rel=next"))?;
    let target = link.trim().strip_prefix('<')?.split('>').next()?;
    absolute(url, target)
}
