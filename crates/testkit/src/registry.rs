//! A registry in the test's own process, which can be told to lie.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use carrack_oci::Digest;

/// A request as it came.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// `GET`.
    pub method: String,
    /// With its query.
    pub path: String,
    /// By name in lower case.
    pub headers: BTreeMap<String, String>,
    /// What was sent; as much as came.
    pub body: Vec<u8>,
}

impl Seen {
    /// `GET /v2/`.
    pub fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// One header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// An answer.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    /// 200.
    pub status: u16,
    /// `Content-Length` is added where it is missing.
    pub headers: Vec<(String, String)>,
    /// All of it, or the piece that is sent for ever.
    pub body: Vec<u8>,
    /// The connection ends after so many bytes of the body.
    pub cut_after: Option<usize>,
    /// The body is sent again and again, until nobody reads.
    pub is_endless: bool,
    /// Between one byte of the body and the next, where it trickles.
    pub pause: Option<Duration>,
}

impl Reply {
    /// A status without a body.
    pub fn status(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    /// A status with a body.
    pub fn body(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, body: body.into(), ..Self::default() }
    }

    /// With a header more.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Cut after so many bytes of the body.
    #[must_use]
    pub fn cut(mut self, after: usize) -> Self {
        self.cut_after = Some(after);
        self
    }

    /// A byte of the body, then nothing for so long, and so on.
    #[must_use]
    pub fn trickling(mut self, pause: Duration) -> Self {
        self.pause = Some(pause);
        self
    }
}

/// Who is let in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Access {
    /// Everybody.
    #[default]
    Open,
    /// `Authorization: Basic` with these, `user:password`.
    Basic(String),
    /// Tokens of this registry's own `/token`, each good for so many requests. With an account, `user:password`, only
    /// who names it gets one; `refresh:TOKEN` is who sends that refresh token.
    Bearer {
        /// None is anybody.
        account: Option<String>,
        /// How many requests a token lives.
        uses: usize,
    },
}

type Lie = Box<dyn FnMut(&Seen) -> Option<Reply> + Send>;

#[derive(Default)]
struct State {
    blobs: HashMap<(String, String), Vec<u8>>,
    manifests: HashMap<(String, String), (String, Vec<u8>)>,
    uploads: HashMap<String, Vec<u8>>,
    access: Access,
    tokens: HashMap<String, (usize, String)>,
    seen: Vec<Seen>,
    lie: Option<Lie>,
    next: usize,
    cut_upload_after: Option<usize>,
    knows_referrers: bool,
}

/// A registry on 127.0.0.1, until the test ends.
#[derive(Clone)]
pub struct Registry {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Registry {
    /// An empty one that lets everybody in.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port of the loopback");
        let registry = Self { address: listener.local_addr().expect("its address"), state: Arc::default() };
        let server = registry.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = server.clone();
                std::thread::spawn(move || server.serve(&stream));
            }
        });
        registry
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// Who is let in from now on.
    pub fn set_access(&self, access: Access) {
        self.lock().access = access;
    }

    /// Asked first, for each request: what it answers is sent.
    pub fn lie(&self, lie: impl FnMut(&Seen) -> Option<Reply> + Send + 'static) {
        self.lock().lie = Some(Box::new(lie));
    }

    /// The next upload's connection ends when so many bytes of its body have come; those are kept.
    pub fn cut_upload_after(&self, bytes: usize) {
        self.lock().cut_upload_after = Some(bytes);
    }

    /// From now on it lists what refers to a manifest, as distribution 1.1 does.
    pub fn know_referrers(&self) {
        self.lock().knows_referrers = true;
    }

    /// All requests so far; from now on they are counted anew.
    pub fn take_seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.lock().seen)
    }

    /// Puts a blob there.
    pub fn put_blob(&self, repository: &str, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        self.lock().blobs.insert((repository.to_owned(), digest.to_string()), bytes.to_vec());
        digest
    }

    /// Puts a manifest there, under its digest and a tag.
    pub fn put_manifest(&self, repository: &str, tag: &str, media_type: &str, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        for name in [tag.to_owned(), digest.to_string()] {
            let content = (media_type.to_owned(), bytes.to_vec());
            self.lock().manifests.insert((repository.to_owned(), name), content);
        }
        digest
    }

    /// A blob, if it is there.
    pub fn blob(&self, repository: &str, digest: &Digest) -> Option<Vec<u8>> {
        self.lock().blobs.get(&(repository.to_owned(), digest.to_string())).cloned()
    }

    /// A manifest, if it is there.
    pub fn manifest(&self, repository: &str, name: &str) -> Option<Vec<u8>> {
        self.lock().manifests.get(&(repository.to_owned(), name.to_owned())).map(|(_, bytes)| bytes.clone())
    }

    /// The manifests of a repository that refer to one of its digests.
    pub fn referrers(&self, repository: &str, subject: &str) -> Vec<Vec<u8>> {
        let state = self.lock();
        let by_digest =
            state.manifests.iter().filter(|((of, name), _)| of == repository && name.starts_with("sha256:"));
        let manifests = by_digest.map(|(_, (_, bytes))| bytes);
        manifests.filter(|bytes| subject_of(bytes).as_deref() == Some(subject)).cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, stream: &TcpStream) {
        let mut reader = BufReader::new(stream);
        // A TLS handshake: there is none here, as its sender shall notice.
        if reader.fill_buf().is_ok_and(|start| start.first() == Some(&0x16)) {
            let _ = (&*stream).write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n");
            return;
        }
        while let Some(seen) = self.request(&mut reader) {
            let is_head = seen.method == "HEAD";
            let Some(reply) = self.answer(&seen) else { return };
            if send(stream, &reply, is_head).is_err() || reply.cut_after.is_some() || reply.is_endless {
                return;
            }
        }
    }

    fn request(&self, reader: &mut BufReader<&TcpStream>) -> Option<Seen> {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
        let mut words = line.split_whitespace();
        let mut seen = Seen { method: words.next()?.to_owned(), path: words.next()?.to_owned(), ..Seen::default() };
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':')?;
            seen.headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        let cut = self.lock().cut_upload_after.filter(|_| matches!(seen.method.as_str(), "PATCH" | "PUT"));
        let is_cut = if seen.header("transfer-encoding") == Some("chunked") {
            read_chunks(reader, &mut seen.body, cut)?
        } else {
            let length: usize = seen.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
            let limit = cut.map_or(length, |limit| limit.min(length));
            seen.body = vec![0; limit];
            reader.read_exact(&mut seen.body).ok()?;
            limit < length
        };
        if is_cut {
            let mut state = self.lock();
            state.cut_upload_after = None;
            let id = id_of(&seen.path);
            state.uploads.entry(id).or_default().extend_from_slice(&seen.body);
            state.seen.push(seen);
            return None;
        }
        Some(seen)
    }

    fn answer(&self, seen: &Seen) -> Option<Reply> {
        let mut state = self.lock();
        state.seen.push(seen.clone());
        let lie = state.lie.take();
        if let Some(mut lie) = lie {
            let reply = lie(seen);
            state.lie = Some(lie);
            if reply.is_some() {
                return reply;
            }
        }
        let (path, query) = seen.path.split_once('?').unwrap_or((&seen.path, ""));
        let query: HashMap<String, String> = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(key, value)| (key.to_owned(), unescape(value)))
            .collect();
        if path == "/token" {
            return Some(state.token(seen, &query));
        }
        if !state.lets_in(seen) {
            let challenge = match &state.access {
                Access::Basic(_) => "Basic realm=\"registry\"".to_owned(),
                _ => format!("Bearer realm=\"http://{}/token\",service=\"testkit\",scope=\"x:y:z\"", self.address),
            };
            let body = r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#;
            return Some(Reply::body(401, body).header("WWW-Authenticate", challenge));
        }
        Some(state.serve(seen, path, &query))
    }
}

impl State {
    fn token(&mut self, seen: &Seen, query: &HashMap<String, String>) -> Reply {
        let Access::Bearer { account, uses } = self.access.clone() else { return Reply::status(404) };
        let form = String::from_utf8_lossy(&seen.body).into_owned();
        if let Some(account) = account {
            let is_known = match account.strip_prefix("refresh:") {
                Some(refresh) => seen.method == "POST" && form.contains(&format!("refresh_token={refresh}")),
                None => seen.header("authorization") == Some(&format!("Basic {}", base64(account.as_bytes()))),
            };
            if !is_known {
                return Reply::body(401, r#"{"details":"incorrect username or password"}"#);
            }
        }
        self.next += 1;
        let token = format!("token-{}", self.next);
        self.tokens.insert(token.clone(), (uses, query.get("scope").cloned().unwrap_or(form)));
        Reply::body(200, format!(r#"{{"token":"{token}","expires_in":60}}"#))
    }

    fn lets_in(&mut self, seen: &Seen) -> bool {
        let given = seen.header("authorization").unwrap_or_default();
        match &self.access {
            Access::Open => true,
            Access::Basic(account) => given == format!("Basic {}", base64(account.as_bytes())),
            Access::Bearer { .. } => {
                let token = given.strip_prefix("Bearer ").and_then(|token| self.tokens.get_mut(token));
                token.is_some_and(|(uses, _)| {
                    let is_alive = *uses > 0;
                    *uses = uses.saturating_sub(1);
                    is_alive
                })
            }
        }
    }

    fn serve(&mut self, seen: &Seen, path: &str, query: &HashMap<String, String>) -> Reply {
        let Some(path) = path.strip_prefix("/v2/") else { return Reply::status(404) };
        if path.is_empty() {
            return Reply::body(200, "{}");
        }
        if let Some(repository) = path.strip_suffix("/tags/list") {
            let mut tags: Vec<&String> =
                self.manifests.keys().filter(|(known, _)| known == repository).map(|(_, name)| name).collect();
            tags.retain(|name| !name.contains(':'));
            let tags: Vec<String> = tags.iter().map(|tag| format!("\"{tag}\"")).collect();
            return Reply::body(200, format!("{{\"tags\":[{}]}}", tags.join(",")));
        }
        if let Some((repository, subject)) = path.split_once("/referrers/").filter(|_| self.knows_referrers) {
            return self.referrers(repository, subject, query);
        }
        if let Some((repository, name)) = path.split_once("/manifests/") {
            return self.manifests(seen, repository, name);
        }
        if let Some((repository, rest)) = path.split_once("/blobs/uploads/") {
            return self.uploads(seen, repository, rest, query);
        }
        if let Some((repository, digest)) = path.split_once("/blobs/") {
            let Some(blob) = self.blobs.get(&(repository.to_owned(), digest.to_owned())) else {
                return Reply::body(404, r#"{"errors":[{"code":"BLOB_UNKNOWN","message":"blob unknown"}]}"#);
            };
            let start = seen.header("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-'));
            return match start.and_then(|start| start.parse::<usize>().ok()) {
                Some(start) if start < blob.len() => Reply::body(206, &blob[start..])
                    .header("Content-Range", format!("bytes {start}-{}/{}", blob.len() - 1, blob.len())),
                Some(_) => Reply::status(416),
                None => Reply::body(200, blob.clone()),
            };
        }
        Reply::status(404)
    }

    fn manifests(&mut self, seen: &Seen, repository: &str, name: &str) -> Reply {
        let key = (repository.to_owned(), name.to_owned());
        if seen.method == "PUT" {
            let digest = Digest::of(&seen.body).to_string();
            let content = (seen.header("content-type").unwrap_or_default().to_owned(), seen.body.clone());
            self.manifests.insert(key, content.clone());
            self.manifests.insert((repository.to_owned(), digest.clone()), content);
            let reply = Reply::status(201).header("Docker-Content-Digest", digest);
            return match subject_of(&seen.body).filter(|_| self.knows_referrers) {
                Some(subject) => reply.header("OCI-Subject", subject),
                None => reply,
            };
        }
        match self.manifests.get(&key) {
            Some((kind, bytes)) => Reply::body(200, bytes.clone())
                .header("Content-Type", kind)
                .header("Docker-Content-Digest", Digest::of(bytes).to_string()),
            None => Reply::body(404, r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#),
        }
    }

    /// One a page.
    fn referrers(&self, repository: &str, subject: &str, query: &HashMap<String, String>) -> Reply {
        let mut found: Vec<(&String, &Vec<u8>)> = self
            .manifests
            .iter()
            .filter(|((known, name), _)| known == repository && name.starts_with("sha256:"))
            .filter(|(_, (_, bytes))| subject_of(bytes).as_deref() == Some(subject))
            .map(|((_, name), (_, bytes))| (name, bytes))
            .collect();
        found.sort();
        let page: usize = query.get("page").and_then(|page| page.parse().ok()).unwrap_or(0);
        let entries: Vec<serde_json::Value> = found
            .iter()
            .skip(page)
            .take(1)
            .map(|(name, bytes)| {
                let manifest: serde_json::Value = serde_json::from_slice(bytes).unwrap_or_default();
                serde_json::json!({
                    "mediaType": manifest["mediaType"], "digest": name, "size": bytes.len(),
                    "artifactType": manifest["artifactType"],
                })
            })
            .collect();
        let index = serde_json::json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": entries,
        });
        let reply = Reply::body(200, index.to_string());
        let reply = reply.header("Content-Type", "application/vnd.oci.image.index.v1+json");
        match page + 1 < found.len() {
            true => {
                reply.header("Link", format!("</v2/{repository}/referrers/{subject}?page={}>; rel=\"next\"", page + 1))
            }
            false => reply,
        }
    }

    fn uploads(&mut self, seen: &Seen, repository: &str, id: &str, query: &HashMap<String, String>) -> Reply {
        let location = |id: &str| format!("/v2/{repository}/blobs/uploads/{id}?state=s");
        match seen.method.as_str() {
            "POST" => {
                if let (Some(digest), Some(from)) = (query.get("mount"), query.get("from"))
                    && let Some(blob) = self.blobs.get(&(from.clone(), digest.clone())).cloned()
                {
                    self.blobs.insert((repository.to_owned(), digest.clone()), blob);
                    return Reply::status(201);
                }
                self.next += 1;
                let id = format!("upload-{}", self.next);
                self.uploads.insert(id.clone(), Vec::new());
                Reply::status(202).header("Location", location(&id))
            }
            _ if !self.uploads.contains_key(id) => Reply::status(404),
            "GET" => {
                let end = self.uploads[id].len().saturating_sub(1);
                Reply::status(204).header("Location", location(id)).header("Range", format!("0-{end}"))
            }
            "PATCH" => {
                let upload = self.uploads.entry(id.to_owned()).or_default();
                let start = seen.header("content-range").and_then(|range| range.split('-').next()?.parse().ok());
                if start.unwrap_or(0) != upload.len() {
                    return Reply::status(416);
                }
                upload.extend_from_slice(&seen.body);
                let end = upload.len() - 1;
                Reply::status(202).header("Location", location(id)).header("Range", format!("0-{end}"))
            }
            "PUT" => {
                let mut blob = self.uploads.remove(id).unwrap_or_default();
                blob.extend_from_slice(&seen.body);
                let digest = Digest::of(&blob).to_string();
                if query.get("digest") != Some(&digest) {
                    return Reply::body(400, r#"{"errors":[{"code":"DIGEST_INVALID","message":"wrong"}]}"#);
                }
                self.blobs.insert((repository.to_owned(), digest), blob);
                Reply::status(201)
            }
            _ => Reply::status(405),
        }
    }
}

fn send(mut stream: &TcpStream, reply: &Reply, is_head: bool) -> std::io::Result<()> {
    let mut head = format!("HTTP/1.1 {} Status\r\n", reply.status);
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let has_length = reply
        .headers
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("content-length") || name.eq_ignore_ascii_case("transfer-encoding"));
    if !has_length && !reply.is_endless && reply.status != 204 {
        head.push_str(&format!("Content-Length: {}\r\n", reply.body.len()));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes())?;
    if is_head {
        return Ok(());
    }
    let end = reply.cut_after.unwrap_or(reply.body.len()).min(reply.body.len());
    if let Some(pause) = reply.pause {
        for byte in &reply.body[..end] {
            stream.write_all(&[*byte])?;
            std::thread::sleep(pause);
        }
        return Ok(());
    }
    stream.write_all(&reply.body[..end])?;
    if reply.is_endless {
        loop {
            // Until nobody reads.
            stream.write_all(&reply.body)?;
        }
    }
    stream.flush()
}

/// Whether it was cut, so many bytes having come.
fn read_chunks(reader: &mut BufReader<&TcpStream>, body: &mut Vec<u8>, cut: Option<usize>) -> Option<bool> {
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
        let size = usize::from_str_radix(line.trim_end(), 16).ok()?;
        let start = body.len();
        body.resize(start + size, 0);
        reader.read_exact(&mut body[start..]).ok()?;
        reader.read_line(&mut line).ok()?;
        if cut.is_some_and(|cut| body.len() > cut) {
            body.truncate(cut.unwrap_or_default());
            return Some(true);
        }
        if size == 0 {
            return Some(false);
        }
    }
}

/// Of a manifest that refers to another.
fn subject_of(manifest: &[u8]) -> Option<String> {
    let manifest: serde_json::Value = serde_json::from_slice(manifest).ok()?;
    Some(manifest["subject"]["digest"].as_str()?.to_owned())
}

fn id_of(path: &str) -> String {
    let path = path.split('?').next().unwrap_or(path);
    path.rsplit('/').next().unwrap_or(path).to_owned()
}

fn unescape(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let hex = |digit: u8| char::from(digit).to_digit(16).unwrap_or(0) as u8;
        match byte {
            b'%' => bytes.push(hex(rest.next().unwrap_or(b'0')) << 4 | hex(rest.next().unwrap_or(b'0'))),
            byte => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// As in `Authorization: Basic`.
pub fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let digit = (bits >> (18 - 6 * place)) & 63;
            text.push(if place <= chunk.len() { char::from(ALPHABET[digit as usize]) } else { '=' });
        }
    }
    text
}
