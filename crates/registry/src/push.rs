//! Images out: blobs first, several at once, each only where the registry does not have it; the manifest last.

use std::io::{self, Read, Seek as _, SeekFrom};
use std::time::{Duration, Instant};

use carrack_diag::Result;
use carrack_oci::{Descriptor, Digest, Reference};
use ureq::http::Method;

use crate::auth::{Scope, escape, unanswered};
use crate::client::{Client, RENEWALS, REPETITIONS, Site, absolute};
use crate::http::{Content, Fault, Request, Response, pause, protocol};
use crate::transfer::{Event, Transfer};

/// An image to be pushed.
#[derive(Debug, Clone)]
pub struct Push {
    /// Configuration and layers; all in the store.
    pub blobs: Vec<PushBlob>,
    /// The manifest's bytes.
    pub manifest: Vec<u8>,
    /// Its type.
    pub media_type: String,
}

/// A blob and where else the registry may have it.
#[derive(Debug, Clone)]
pub struct PushBlob {
    /// The blob.
    pub blob: Descriptor,
    /// Repositories of the same registry that have it, as far as we know.
    pub mounts: Vec<String>,
}

/// Blobs up to this size go in one request, in bytes.
const MONOLITHIC_MAX: u64 = 1 << 20;

impl Client {
    /// Pushes an image under a tag, and gives its digest.
    ///
    /// # Errors
    /// `registry/unauthorised`; whatever keeps a blob from being taken. Blobs that were taken stay there, and are not sent
    /// again.
    pub fn push(&self, reference: &Reference, image: &Push, transfer: Transfer<'_>) -> Result<Digest> {
        let site = self.site(reference.host());
        let mut mounts: Vec<String> = image.blobs.iter().flat_map(|blob| blob.mounts.iter().cloned()).collect();
        mounts.sort();
        mounts.dedup();
        mounts.retain(|other| other != reference.path());
        let scope = Scope::push(reference.path(), &mounts);
        let mut blobs: Vec<&PushBlob> = Vec::new();
        for blob in &image.blobs {
            if blobs.iter().all(|known| known.blob.digest != blob.blob.digest) {
                transfer.watch.event(Event::Waiting { digest: blob.blob.digest, size_bytes: blob.blob.size });
                blobs.push(blob);
            }
        }
        transfer.all(&blobs, |blob| {
            let upload = Upload { client: self, site: &site, scope: &scope, reference, transfer };
            upload.blob(blob)
        })?;
        let tag = reference.tag().unwrap_or("latest");
        self.put_manifest(&site, &scope, reference, tag, &image.media_type, &image.manifest)?;
        Ok(Digest::of(&image.manifest))
    }
}

#[derive(Clone, Copy)]
struct Upload<'a> {
    client: &'a Client,
    site: &'a Site,
    scope: &'a Scope,
    reference: &'a Reference,
    transfer: Transfer<'a>,
}

/// Where an upload stands.
struct Session {
    location: String,
    offset: u64,
}

impl Upload<'_> {
    fn blob(&self, wanted: &PushBlob) -> Result<()> {
        let blob = &wanted.blob;
        let digest = blob.digest;
        self.transfer.lease.add(&[digest])?;
        if self.is_there(blob)? {
            self.transfer.watch.event(Event::Present { digest });
            return Ok(());
        }
        let mut session = None;
        for from in wanted.mounts.iter().filter(|from| *from != self.reference.path()).take(2) {
            let query = format!("?mount={}&from={}", escape(&digest.to_string()), escape(from));
            let response = self.begin(&query)?;
            match response.status {
                201 => {
                    self.transfer.watch.event(Event::Mounted { digest, from });
                    return Ok(());
                }
                202 => {
                    session = Some(self.session(&response, 0)?);
                    break;
                }
                // It may not be allowed to read there; then the blob is sent.
                _ => {}
            }
        }
        self.send(blob, session)?;
        self.transfer.watch.event(Event::Done { digest });
        Ok(())
    }

    fn is_there(&self, blob: &Descriptor) -> Result<bool> {
        let path = format!("/v2/{}/blobs/{}", self.reference.path(), blob.digest);
        let request = self.client.request(self.site, Method::HEAD, &path)?;
        let response = self.client.call(self.site, self.scope, request, None)?;
        match response.status {
            200 => Ok(true),
            404 => Ok(false),
            _ => Err(self.refused(response, "pushing")),
        }
    }

    fn begin(&self, query: &str) -> Result<Response> {
        let path = format!("/v2/{}/blobs/uploads/{query}", self.reference.path());
        let request = self.client.request(self.site, Method::POST, &path)?;
        self.client.call(self.site, self.scope, request, None)
    }

    fn send(&self, blob: &Descriptor, mut session: Option<Session>) -> Result<()> {
        let mut repetition = 0;
        let mut last_offset = 0;
        loop {
            self.transfer.check()?;
            let at = match session.take() {
                Some(session) => session,
                None => {
                    let response = self.begin("")?;
                    if response.status != 202 {
                        return Err(self.refused(response, "pushing"));
                    }
                    self.session(&response, 0)?
                }
            };
            let location = at.location.clone();
            let reason = match self.step(blob, at)? {
                Step::Done => return Ok(()),
                Step::On(next) => {
                    session = Some(next);
                    continue;
                }
                Step::Cut(reason) => reason,
            };
            if repetition == REPETITIONS {
                return Err(unanswered(&location, Fault::Cut(reason)));
            }
            self.transfer.watch.event(Event::Interrupted { digest: blob.digest, reason: &reason });
            crate::http::wait(pause(self.client.http.settings.backoff, repetition));
            repetition += 1;
            session = self.status(&location)?;
            if let Some(found) = &session
                && found.offset > last_offset
            {
                last_offset = found.offset;
                repetition = 0;
            }
        }
    }

    /// Sends what is missing, or, where nothing is, the closing request.
    fn step(&self, blob: &Descriptor, session: Session) -> Result<Step> {
        let rest = blob.size.saturating_sub(session.offset);
        let closes = rest == 0 || session.offset == 0 && blob.size <= MONOLITHIC_MAX;
        let request = if closes {
            let separator = if session.location.contains('?') { '&' } else { '?' };
            let digest = escape(&blob.digest.to_string());
            Request::new(Method::PUT, format!("{}{separator}digest={digest}", session.location), &self.site.host)
        } else {
            let request = Request::new(Method::PATCH, session.location.clone(), &self.site.host);
            match session.offset {
                0 => request,
                offset => request.header("content-range", format!("{offset}-{}", blob.size - 1)),
            }
        };
        let request = request.header("content-type", "application/octet-stream");
        let mut renewals = 0;
        loop {
            let used = self.authorisation();
            let mut sent = request.clone();
            if let Some(used) = used.as_ref().filter(|_| self.client.is_of(self.site, &request.url)) {
                sent = sent.header("authorization", used);
            }
            let outcome = if rest == 0 {
                self.client.http.send(&sent, Content::Bytes(&[]))
            } else {
                let mut file = self.transfer.store.blob(&blob.digest)?;
                if let Err(error) = file.seek(SeekFrom::Start(session.offset)) {
                    return Ok(Step::Cut(error.to_string()));
                }
                let mut outgoing = Outgoing {
                    inner: file.take(rest),
                    transfer: self.transfer,
                    blob,
                    done_bytes: session.offset,
                    told: Instant::now(),
                };
                self.client.http.send(&sent, Content::Stream(&mut outgoing, rest))
            };
            self.transfer.check()?;
            let response = match outcome {
                Err(Fault::Cut(reason)) => return Ok(Step::Cut(reason)),
                Err(Fault::Final(diagnostic)) => return Err(diagnostic),
                Ok(response) => response,
            };
            return match response.status {
                201 | 204 if closes => Ok(Step::Done),
                202 if !closes => self.session(&response, blob.size).map(Step::On),
                401 if renewals < RENEWALS
                    && self.client.renew(self.site, self.scope, &response, used.as_deref())? =>
                {
                    renewals += 1;
                    continue;
                }
                404 | 408 | 416 | 429 | 500 | 502..=504 => Ok(Step::Cut(format!("it answers {}", response.status))),
                _ => Err(self.refused(response, "taking a blob of")),
            };
        }
    }

    fn authorisation(&self) -> Option<String> {
        self.client.authorisation(self.site, self.scope)
    }

    /// How much the registry has after a cut; none where it has forgotten the upload.
    fn status(&self, location: &str) -> Result<Option<Session>> {
        let request = Request::new(Method::GET, location, &self.site.host);
        let response = self.client.call(self.site, self.scope, request, None)?;
        if !matches!(response.status, 200 | 202 | 204) {
            return Ok(None);
        }
        let range = response.header("range").map(|range| range.trim().trim_start_matches("bytes="));
        let end = range.and_then(|range| range.split_once('-')).and_then(|(_, end)| end.parse::<u64>().ok());
        // `0-0` is one byte or none: the specification leaves no way to say none.
        let offset = end.filter(|end| *end > 0).map_or(0, |end| end + 1);
        match offset {
            0 => Ok(None),
            offset => self
                .session(&response, offset)
                .map(Some)
                .or_else(|_| Ok(Some(Session { location: location.to_owned(), offset }))),
        }
    }

    fn session(&self, response: &Response, offset: u64) -> Result<Session> {
        let location = response.header("location").and_then(|location| absolute(&response.url, location));
        let location =
            location.ok_or_else(|| protocol(&response.url, "it opens an upload without a Location".into()))?;
        if response.url.starts_with("https://") && !location.starts_with("https://") {
            return Err(protocol(&response.url, "it wants the blob at an address without TLS".into()));
        }
        Ok(Session { location, offset })
    }

    fn refused(&self, response: Response, what: &str) -> Box<carrack_diag::Diagnostic> {
        self.client.refusal(self.site, response, &format!("{what} {}", self.reference.familiar()))
    }
}

enum Step {
    Done,
    On(Session),
    Cut(String),
}

/// Counts what leaves, and ends it where it is cancelled.
struct Outgoing<'a, R> {
    inner: R,
    transfer: Transfer<'a>,
    blob: &'a Descriptor,
    done_bytes: u64,
    told: Instant,
}

impl<R: Read> Read for Outgoing<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.transfer.check().is_err() {
            return Err(io::Error::other("cancelled"));
        }
        let count = self.inner.read(buffer)?;
        self.done_bytes += count as u64;
        if self.told.elapsed() > Duration::from_millis(100) || self.done_bytes == self.blob.size {
            self.told = Instant::now();
            let (digest, size_bytes) = (self.blob.digest, self.blob.size);
            self.transfer.watch.event(Event::Moved { digest, done_bytes: self.done_bytes, size_bytes });
        }
        Ok(count)
    }
}
