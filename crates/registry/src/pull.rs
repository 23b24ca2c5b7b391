//! Images in: from a name to a manifest for one platform, then its blobs into the store.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use carrack_diag::{Diagnostic, Result};
use carrack_http::Pace;
use carrack_oci::{Descriptor, Digest, ImageConfig, Index, Manifest, Platform, Reference, media_type};
use carrack_store::{Durability, Ingest, Sealed};
use ureq::http::Method;

use crate::arriving::Arriving;
use crate::auth::{Scope, unanswered};
use crate::client::{Client, DISTRUST, Document, REPETITIONS, Site, mismatch};
use crate::codes;
use crate::http::{Fault, SMALL_LIMIT, pause, protocol};
use crate::transfer::{Event, Transfer};

/// An index in an index in an index is a mistake.
const DEPTH_MAX: u32 = 4;
/// So much progress makes a connection worth as many further tries as at the beginning.
const PROGRESS_BYTES: u64 = 1 << 20;

/// An image of a registry for one platform, its blobs not fetched yet.
pub struct Resolved {
    /// What the name named: the digest of the index, or of the manifest where there is no index.
    pub named: Digest,
    /// The manifest.
    pub manifest: Document,
    /// The same, read.
    pub parsed: Manifest,
    pub(crate) reference: Reference,
    pub(crate) sources: Vec<Arc<Site>>,
}

impl Resolved {
    /// The layers' blobs, each once.
    pub fn blobs(&self) -> Vec<Descriptor> {
        let mut blobs: Vec<Descriptor> = Vec::new();
        for layer in &self.parsed.layers {
            if blobs.iter().all(|known| known.digest != layer.digest) {
                blobs.push(layer.clone());
            }
        }
        blobs
    }
}

impl Client {
    /// Finds the manifest of a name for a platform. With `is_strict` an image that is published for one platform only
    /// has to be for this one.
    ///
    /// # Errors
    /// `registry/not-found`, `registry/no-such-platform`, `registry/not-an-image`, and whatever keeps it from arriving
    /// whole.
    pub fn resolve(&self, reference: &Reference, platform: &Platform, is_strict: bool) -> Result<Resolved> {
        let (resolved, sources) = self.first(reference, |site| self.resolve_at(site, reference, platform))?;
        let (named, manifest, parsed, has_index) = resolved;
        let resolved = Resolved { named, manifest, parsed, reference: reference.clone(), sources };
        if is_strict && !has_index {
            let config: ImageConfig = serde_json::from_slice(&self.config(&resolved)?)
                .map_err(|error| not_an_image(reference, error.to_string()))?;
            if !config.platform().matches(platform) {
                return Err(no_platform(reference, platform, &[config.platform().to_string()]));
            }
        }
        Ok(resolved)
    }

    /// Finds a build cache: an image for a platform, or a manifest whose configuration is a cache's.
    ///
    /// # Errors
    /// As [`Client::resolve`].
    pub fn resolve_cache(&self, reference: &Reference, platform: &Platform) -> Result<Resolved> {
        let (found, sources) = self.first(reference, |site| self.manifest_for(site, reference, platform))?;
        let (named, manifest, parsed, _) = found;
        Ok(Resolved { named, manifest, parsed, reference: reference.clone(), sources })
    }

    fn resolve_at(
        &self,
        site: &Site,
        reference: &Reference,
        platform: &Platform,
    ) -> Result<(Digest, Document, Manifest, bool)> {
        let found = self.manifest_for(site, reference, platform)?;
        let kind = &found.2.config.media_type;
        if !matches!(kind.as_str(), media_type::CONFIG | media_type::DOCKER_CONFIG) {
            return Err(not_an_image(reference, format!("it is `{kind}`")));
        }
        Ok(found)
    }

    fn manifest_for(
        &self,
        site: &Site,
        reference: &Reference,
        platform: &Platform,
    ) -> Result<(Digest, Document, Manifest, bool)> {
        let mut document = self.manifest_at(site, reference, reference.digest())?;
        let named = document.digest;
        let mut depth = 0;
        while media_type::is_index(&document.media_type) {
            let index: Index =
                serde_json::from_slice(&document.bytes).map_err(|error| not_an_image(reference, error.to_string()))?;
            let child = choose(&index, platform).ok_or_else(|| no_platform(reference, platform, &platforms(&index)))?;
            depth += 1;
            if depth > DEPTH_MAX {
                return Err(not_an_image(reference, "its indexes lie too deep".into()));
            }
            document = self.manifest_at(site, reference, Some(&child.digest))?;
        }
        let manifest: Manifest =
            serde_json::from_slice(&document.bytes).map_err(|error| not_an_image(reference, error.to_string()))?;
        Ok((named, document, manifest, depth > 0))
    }

    /// The image's configuration.
    ///
    /// # Errors
    /// `registry/digest-mismatch`, `registry/too-large`, and whatever keeps it from arriving whole.
    pub fn config(&self, image: &Resolved) -> Result<Vec<u8>> {
        let wanted = &image.parsed.config;
        if wanted.size > SMALL_LIMIT {
            let message = format!("the configuration of {} has {} bytes", image.reference.familiar(), wanted.size);
            return Err(Diagnostic::error(&codes::TOO_LARGE, message).boxed());
        }
        let mut bytes = Vec::new();
        self.at_any_source(image, |site| {
            bytes = self.blob_bytes(site, &image.reference, wanted)?;
            Ok(())
        })?;
        Ok(bytes)
    }

    /// A blob in memory; the caller has looked at its size.
    pub(crate) fn blob_bytes(&self, site: &Site, reference: &Reference, wanted: &Descriptor) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.copy_blob(site, reference, wanted, &mut bytes, &mut |_, _| Ok(()), &mut |_| ())?;
        let found = Digest::of(&bytes);
        match found == wanted.digest {
            true => Ok(bytes),
            false => Err(mismatch(format!("a blob of {}", reference.familiar()), &wanted.digest, &found)),
        }
    }

    /// Brings blobs into the store, several at once, the first ones first, each with somebody who may read along. They go
    /// to `arrived` whole and verified, without a name yet; what was there already does not.
    ///
    /// # Errors
    /// `registry/digest-mismatch`, and whatever keeps one from arriving whole. What did arrive is in `arrived`
    /// nevertheless.
    pub fn fetch_blobs(
        &self,
        image: &Resolved,
        blobs: &[(Descriptor, &Arriving)],
        transfer: Transfer<'_>,
        arrived: &Mutex<Vec<Sealed>>,
    ) -> Result<()> {
        for (blob, _) in blobs {
            transfer.watch.event(Event::Waiting { digest: blob.digest, size_bytes: blob.size });
        }
        let fetched = transfer.all(blobs, |(blob, arriving)| {
            let sealed = self.fetch_blob(image, blob, arriving, transfer);
            arriving.end(sealed.is_ok());
            arrived.lock().unwrap_or_else(PoisonError::into_inner).extend(sealed?);
            Ok(())
        });
        for (_, arriving) in blobs {
            arriving.end(false);
        }
        fetched
    }

    /// Brings one blob into the store, kept by the transfer's lease.
    pub(crate) fn fetch_one(&self, reference: &Reference, blob: &Descriptor, transfer: Transfer<'_>) -> Result<()> {
        transfer.lease.add(&[blob.digest])?;
        if transfer.store.blob_size_bytes(&blob.digest) == Some(blob.size) {
            return Ok(());
        }
        let mut ingest = transfer.store.ingest()?;
        let site = self.site(reference.host());
        self.copy_blob(&site, reference, blob, &mut ingest, &mut |_, _| transfer.check(), &mut |_| ())?;
        ingest.commit(transfer.lease, Some(&blob.digest)).map(|_| ())
    }

    /// None where it is there already.
    fn fetch_blob(
        &self,
        image: &Resolved,
        blob: &Descriptor,
        arriving: &Arriving,
        transfer: Transfer<'_>,
    ) -> Result<Option<Sealed>> {
        let digest = blob.digest;
        transfer.lease.add(&[digest])?;
        if transfer.store.blob_size_bytes(&digest) == Some(blob.size) {
            arriving.begin(transfer.store.blob(&digest)?);
            arriving.advance(blob.size);
            transfer.watch.event(Event::Present { digest });
            return Ok(None);
        }
        let mut ingest = transfer.store.ingest()?;
        arriving.begin(ingest.reader()?);
        let mut last = Instant::now();
        let size_bytes = blob.size;
        let mut moved = |done_bytes: u64, is_last: bool| {
            transfer.check()?;
            arriving.advance(done_bytes);
            if is_last || last.elapsed() > Duration::from_millis(100) {
                last = Instant::now();
                transfer.watch.event(Event::Moved { digest, done_bytes, size_bytes });
            }
            Ok(())
        };
        let mut interrupted = |reason: &str| transfer.watch.event(Event::Interrupted { digest, reason });
        self.at_any_source(image, |site| {
            self.copy_blob(site, &image.reference, blob, &mut ingest, &mut moved, &mut interrupted)
        })?;
        let sealed = ingest.seal(Some(&digest), Durability::Cached).map_err(|error| match error.code.id {
            id if id == carrack_store::codes::DIGEST_MISMATCH.id => {
                let what = format!("a layer of {} is not what was asked for", image.reference.familiar());
                let error = Diagnostic::error(&codes::DIGEST_MISMATCH, what).cause(error.message);
                error.hint(DISTRUST).boxed()
            }
            _ => error,
        })?;
        transfer.watch.event(Event::Done { digest });
        Ok(Some(sealed))
    }

    /// From whichever source has it.
    fn at_any_source(&self, image: &Resolved, mut copy: impl FnMut(&Site) -> Result<()>) -> Result<()> {
        let mut sources = image.sources.iter();
        loop {
            let Some(site) = sources.next() else {
                return Err(not_an_image(&image.reference, "it has no source".into()));
            };
            match copy(site) {
                Err(error) if error.code != &codes::CANCELLED && !sources.as_slice().is_empty() => drop(error),
                other => return other,
            }
        }
    }

    /// Copies what `sink` does not have yet of a blob. After a cut it goes on where it stopped.
    fn copy_blob(
        &self,
        site: &Site,
        reference: &Reference,
        blob: &Descriptor,
        sink: &mut dyn Sink,
        moved: &mut dyn FnMut(u64, bool) -> Result<()>,
        interrupted: &mut dyn FnMut(&str),
    ) -> Result<()> {
        let path = format!("/v2/{}/blobs/{}", reference.path(), blob.digest);
        let scope = Scope::pull(reference.path());
        let mut repetition = 0;
        let mut begun_at = sink.size_bytes();
        while sink.size_bytes() < blob.size || blob.size == 0 {
            let offset = sink.size_bytes();
            let mut request = self.request(site, Method::GET, &path)?;
            if offset > 0 {
                request = request.header("range", format!("bytes={offset}-"));
            }
            let response = self.call(site, &scope, request, None)?;
            let skipped = match response.status {
                // The whole again.
                200 => offset,
                206 if starts_at(response.header("content-range"), offset) => 0,
                206 => return Err(protocol(&response.url, "it sends another part than was asked for".into())),
                _ => {
                    let what = format!("the blob {} of {}", blob.digest, reference.familiar());
                    return Err(self.refusal(site, response, &what));
                }
            };
            let url = response.url.clone();
            let said = response.header("content-length").and_then(|length| length.parse::<u64>().ok());
            if let Some(said) = said
                && said != blob.size - (offset - skipped)
            {
                let said = said.saturating_add(offset - skipped);
                return Err(wrong_size(reference, blob, &format!("{said} bytes")));
            }
            let (mut stream, mut pace) = response.stream();
            match copy(&mut stream, sink, skipped, blob.size, &mut pace, moved) {
                Ok(()) if sink.size_bytes() == blob.size => break,
                Ok(()) => {}
                Err(Stop::TooLong) => return Err(wrong_size(reference, blob, "more")),
                Err(Stop::Failed(error)) => return Err(error),
                Err(Stop::Cut(reason)) => {
                    if sink.size_bytes() - begun_at >= PROGRESS_BYTES {
                        begun_at = sink.size_bytes();
                        repetition = 0;
                    }
                    if repetition == REPETITIONS {
                        return Err(unanswered(&url, Fault::Cut(reason)));
                    }
                    interrupted(&reason);
                    crate::http::wait(pause(self.http.settings.backoff, repetition));
                    repetition += 1;
                }
            }
        }
        moved(sink.size_bytes(), true)
    }
}

/// What a blob is copied to.
trait Sink {
    fn size_bytes(&self) -> u64;
    fn append(&mut self, bytes: &[u8]) -> Result<()>;
}

impl Sink for Vec<u8> {
    fn size_bytes(&self) -> u64 {
        self.len() as u64
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.extend_from_slice(bytes);
        Ok(())
    }
}

impl Sink for Ingest {
    fn size_bytes(&self) -> u64 {
        Self::size_bytes(self)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        Self::append(self, bytes)
    }
}

/// Why copying ended before the end.
enum Stop {
    Cut(String),
    TooLong,
    Failed(Box<Diagnostic>),
}

fn copy(
    stream: &mut dyn std::io::Read,
    sink: &mut dyn Sink,
    mut skipped: u64,
    size_bytes: u64,
    pace: &mut Pace,
    moved: &mut dyn FnMut(u64, bool) -> Result<()>,
) -> Result<(), Stop> {
    let mut buffer = vec![0; 256 << 10];
    loop {
        let count = match stream.read(&mut buffer) {
            Ok(0) if sink.size_bytes() < size_bytes => return Err(Stop::Cut("the connection ended early".into())),
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Stop::Cut(error.to_string())),
        };
        let known = skipped.min(count as u64);
        skipped -= known;
        let fresh = &buffer[known as usize..count];
        if sink.size_bytes() + fresh.len() as u64 > size_bytes {
            return Err(Stop::TooLong);
        }
        sink.append(fresh).map_err(Stop::Failed)?;
        moved(sink.size_bytes(), false).map_err(Stop::Failed)?;
        pace.keep(count).map_err(Stop::Cut)?;
    }
}

/// `bytes 100-199/200`.
fn starts_at(content_range: Option<&str>, offset: u64) -> bool {
    let start = content_range.and_then(|range| range.trim().strip_prefix("bytes")?.trim().split('-').next());
    start.is_some_and(|start| start.parse() == Ok(offset))
}

/// The first that fits, and is no attestation.
fn choose<'a>(index: &'a Index, wanted: &Platform) -> Option<&'a Descriptor> {
    let images = || images_of(index);
    let fitting = images().find(|child| child.platform.as_ref().is_some_and(|platform| platform.matches(wanted)));
    // One that says nothing of its platform may be for any.
    fitting.or_else(|| images().find(|child| child.platform.is_none()))
}

/// What an index lists but for attestations, which BuildKit puts beside its images.
pub fn images_of(index: &Index) -> impl Iterator<Item = &Descriptor> {
    index.manifests.iter().filter(|child| {
        !child.is_attestation()
            && (media_type::is_manifest(&child.media_type) || media_type::is_index(&child.media_type))
    })
}

fn platforms(index: &Index) -> Vec<String> {
    let platforms = images_of(index).filter_map(|child| child.platform.as_ref());
    let mut platforms: Vec<String> = platforms.map(Platform::to_string).collect();
    platforms.sort();
    platforms.dedup();
    platforms
}

fn no_platform(reference: &Reference, wanted: &Platform, there: &[String]) -> Box<Diagnostic> {
    let clean = |text: &String| text.chars().filter(|letter| !letter.is_control()).take(64).collect::<String>();
    let list: Vec<String> = there.iter().take(32).map(clean).collect();
    let diagnostic =
        Diagnostic::error(&codes::NO_PLATFORM, format!("{} is not there for {wanted}", reference.familiar()));
    match list.first() {
        Some(first) => diagnostic
            .cause(format!("it is there for {}", list.join(", ")))
            .hint(format!("name one of them: --platform {first}")),
        None => diagnostic.cause("its index names no image"),
    }
    .boxed()
}

fn not_an_image(reference: &Reference, reason: String) -> Box<Diagnostic> {
    let reason: String = reason.chars().filter(|letter| !letter.is_control()).take(200).collect();
    Diagnostic::error(&codes::NOT_AN_IMAGE, format!("{} is no container image", reference.familiar()))
        .cause(reason)
        .boxed()
}

fn wrong_size(reference: &Reference, blob: &Descriptor, found: &str) -> Box<Diagnostic> {
    let what = format!("the blob {} of {} is not what was asked for", blob.digest.short(), reference.familiar());
    Diagnostic::error(&codes::DIGEST_MISMATCH, what)
        .cause(format!("expected {} with {} bytes", blob.digest, blob.size))
        .cause(format!("got {found}"))
        .hint(DISTRUST)
        .boxed()
}
