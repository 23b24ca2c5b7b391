//! Images out: blobs first, several at once, each only where the registry does not have it; the manifest last. A plain
//! layer is compressed while it is sent.

use std::io::{self, BufReader, Read, Seek as _, SeekFrom};
use std::time::{Duration, Instant};

use carrack_diag::{Diagnostic, Result};
use carrack_http::absolute;
use carrack_oci::{Descriptor, Digest, Reference};
use carrack_store::{Compression, Durability, Ingest, Layer, compress};
use ureq::http::Method;

use crate::auth::{Scope, escape, unanswered};
use crate::client::{Client, RENEWALS, REPETITIONS, Site};
use crate::codes;
use crate::http::{Content, Fault, Request, Response, pause, protocol};
use crate::transfer::{Event, Transfer};

/// A blob of the store, and where else the registry may have it.
#[derive(Debug, Clone)]
pub struct PushBlob {
    /// The blob.
    pub blob: Descriptor,
    /// Repositories of the same registry that have it, as far as we know.
    pub mounts: Vec<String>,
}

/// Blobs up to this size go in one request, in bytes.
const MONOLITHIC_MAX: u64 = 1 << 20;
/// Plain layers are read in pieces of this size, in bytes.
const READ_BYTES: usize = 256 << 10;

/// A repository that something is pushed to.
pub struct Destination<'a> {
    pub(crate) client: &'a Client,
    site: std::sync::Arc<Site>,
    scope: Scope,
    pub(crate) reference: &'a Reference,
    pub(crate) transfer: Transfer<'a>,
}

impl Client {
    /// Begins to push to the repository of a reference. `mounts` are all repositories that blobs may come from there.
    pub fn destination<'a>(
        &'a self,
        reference: &'a Reference,
        mut mounts: Vec<String>,
        transfer: Transfer<'a>,
    ) -> Destination<'a> {
        mounts.sort();
        mounts.dedup();
        mounts.retain(|other| other != reference.path());
        let scope = Scope::push(reference.path(), &mounts);
        Destination { client: self, site: self.site(reference.host()), scope, reference, transfer }
    }
}

/// Where an upload stands.
struct Session {
    location: String,
    offset: u64,
}

impl Destination<'_> {
    /// Puts a manifest or index there under a tag or its digest, its parts being there. Gives its digest.
    ///
    /// # Errors
    /// `registry/unauthorised`, `registry/protocol`.
    pub fn put_manifest(&self, name: &str, media_type: &str, bytes: &[u8]) -> Result<Digest> {
        self.client.put_manifest(&self.site, &self.scope, self.reference, name, media_type, bytes)?;
        Ok(Digest::of(bytes))
    }

    /// Sends a blob of the store, where it is not there yet.
    ///
    /// # Errors
    /// `registry/unauthorised`; whatever keeps it from being taken. What was taken stays there, and is not sent again.
    pub fn send(&self, wanted: &PushBlob) -> Result<()> {
        self.send_from(wanted, &|| Ok(()))
    }

    /// As [`Destination::send`]; `bring` sees to it that the store has it where it has to be sent.
    pub(crate) fn send_from(&self, wanted: &PushBlob, bring: &dyn Fn() -> Result<()>) -> Result<()> {
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
        bring()?;
        self.send_bytes(blob, session)?;
        self.transfer.watch.event(Event::Done { digest });
        Ok(())
    }

    /// Sends a plain layer compressed, which is made while it is sent, and kept. Gives the layer with that blob.
    ///
    /// # Errors
    /// As [`Destination::send`], and where it can't be read or kept.
    pub fn send_compressed(&self, layer: &Layer, compression: Compression) -> Result<Layer> {
        let store = self.transfer.store;
        let plain = Outgoing::new(store.blob(&layer.blob.digest)?, self.transfer, &layer.blob);
        let plain = BufReader::with_capacity(READ_BYTES, plain);
        let compressed = compress(plain, compression).map_err(|error| self.not_compressed(layer, &error))?;
        let mut kept = Kept { compressed, ingest: store.ingest()?, failure: None };
        let response = self.begin("")?;
        if response.status != 202 {
            return Err(self.refused(response, "pushing"));
        }
        let opened = self.session(&response, 0)?;
        let request = Request::new(Method::PATCH, opened.location.clone(), &self.site.host)
            .header("content-type", "application/octet-stream");
        let outcome = self.client.http.send(&self.authorised(&request), Content::Chunked(&mut kept));
        // Where sending ended early, the rest is made nevertheless: it goes the way of a blob that is here.
        io::copy(&mut kept, &mut io::sink()).map_err(|error| self.not_compressed(layer, &error))?;
        if let Some(failure) = kept.failure {
            return Err(failure);
        }
        let sealed = kept.ingest.seal(None, Durability::Cached)?;
        let blob = Descriptor::new(compression.media_type(), sealed.digest, sealed.size_bytes);
        let closing = match outcome {
            Ok(response) if response.status == 202 => Some(self.session(&response, blob.size)?),
            Err(Fault::Final(diagnostic)) => return Err(diagnostic),
            _ => None,
        };
        let is_closed = match closing {
            Some(session) => matches!(self.step(&blob, session)?, Step::Done),
            None => false,
        };
        let digest = layer.blob.digest;
        sealed.sync()?;
        store.publish(sealed, self.transfer.lease, Durability::Synced)?;
        if !is_closed {
            self.transfer
                .watch
                .event(Event::Interrupted { digest, reason: "it did not take the layer as it was made" });
            self.send_bytes(&blob, self.status(&opened.location)?)?;
        }
        self.transfer.watch.event(Event::Done { digest });
        Ok(Layer { blob, ..layer.clone() })
    }

    fn not_compressed(&self, layer: &Layer, error: &io::Error) -> Box<Diagnostic> {
        match self.transfer.check() {
            Err(cancelled) => cancelled,
            Ok(()) => {
                Diagnostic::error(&codes::UNREADABLE_LAYER, format!("can't compress the layer {}", layer.diff_id))
                    .cause(error.to_string())
                    .boxed()
            }
        }
    }

    fn authorised(&self, request: &Request) -> Request {
        let used = self.authorisation();
        match used.filter(|_| self.client.is_of(&self.site, &request.url)) {
            Some(used) => request.clone().header("authorization", used),
            None => request.clone(),
        }
    }

    fn is_there(&self, blob: &Descriptor) -> Result<bool> {
        self.head(&format!("/v2/{}/blobs/{}", self.reference.path(), blob.digest))
    }

    /// Whether the registry has something.
    pub(crate) fn head(&self, path: &str) -> Result<bool> {
        let request = self.client.request(&self.site, Method::HEAD, path)?;
        let response = self.client.call(&self.site, &self.scope, request, None)?;
        match response.status {
            200 => Ok(true),
            404 => Ok(false),
            _ => Err(self.refused(response, "pushing")),
        }
    }

    fn begin(&self, query: &str) -> Result<Response> {
        let path = format!("/v2/{}/blobs/uploads/{query}", self.reference.path());
        let request = self.client.request(&self.site, Method::POST, &path)?;
        self.client.call(&self.site, &self.scope, request, None)
    }

    fn send_bytes(&self, blob: &Descriptor, mut session: Option<Session>) -> Result<()> {
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
            let sent = self.authorised(&request);
            let outcome = if rest == 0 {
                self.client.http.send(&sent, Content::Bytes(&[]))
            } else {
                let mut file = self.transfer.store.blob(&blob.digest)?;
                if let Err(error) = file.seek(SeekFrom::Start(session.offset)) {
                    return Ok(Step::Cut(error.to_string()));
                }
                let mut outgoing = Outgoing::new(file.take(rest), self.transfer, blob);
                outgoing.done_bytes = session.offset;
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
                    && self.client.renew(&self.site, &self.scope, &response, used.as_deref())? =>
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
        self.client.authorisation(&self.site, &self.scope)
    }

    /// How much the registry has after a cut; none where it has forgotten the upload.
    fn status(&self, location: &str) -> Result<Option<Session>> {
        let request = Request::new(Method::GET, location, &self.site.host);
        let response = self.client.call(&self.site, &self.scope, request, None)?;
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

    fn refused(&self, response: Response, what: &str) -> Box<Diagnostic> {
        self.client.refusal(&self.site, response, &format!("{what} {}", self.reference.familiar()))
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

impl<'a, R> Outgoing<'a, R> {
    fn new(inner: R, transfer: Transfer<'a>, blob: &'a Descriptor) -> Self {
        Self { inner, transfer, blob, done_bytes: 0, told: Instant::now() }
    }
}

/// Keeps what is read through it.
struct Kept<'a> {
    compressed: Box<dyn Read + 'a>,
    ingest: Ingest,
    /// Why it could not be kept.
    failure: Option<Box<Diagnostic>>,
}

impl Read for Kept<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.failure.is_some() {
            return Ok(0);
        }
        let count = self.compressed.read(buffer)?;
        if let Err(failure) = self.ingest.append(&buffer[..count]) {
            self.failure = Some(failure);
            return Err(io::Error::other("the layer can't be kept"));
        }
        Ok(count)
    }
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
