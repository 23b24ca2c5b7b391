//! A registry as carrack sees it: hosts, requests with their authorisation, repetitions and redirections; manifests
//! and tags.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use carrack_diag::{Diagnostic, Result};
use carrack_http::{absolute, is_loopback};
use carrack_oci::{Digest, Reference, media_type};
use ureq::http::Method;

use crate::auth::{Authorisations, Scope, unanswered, words};
use crate::codes;
use crate::credentials::{Credential, CredentialFile};
use crate::http::{Content, Fault, Http, Request, Response, pause, protocol};
use crate::referrers::next_page;
use crate::settings::Settings;

/// How often a request gets a new token: those beside it may have used up the one that was got for it.
pub(crate) const RENEWALS: u32 = 5;
/// How often a request is sent again.
pub(crate) const REPETITIONS: u32 = 5;
/// The longest that is waited because a registry asks for it.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
const REDIRECTIONS: u32 = 5;
/// More pages of tags than this are a mistake.
const PAGES_MAX: u32 = 256;
/// All pages of a list together are no longer, in bytes.
pub(crate) const LIST_MAX_BYTES: usize = 16 << 20;

/// Talks to registries. One serves any number of threads; connections and tokens are kept between requests.
pub struct Client {
    pub(crate) http: Http,
    credentials: Option<CredentialFile>,
    sites: Mutex<HashMap<String, Arc<Site>>>,
}

/// One host.
pub(crate) struct Site {
    /// As in images' names.
    pub(crate) host: String,
    /// `https://registry-1.docker.io`.
    base: OnceLock<String>,
    authorisations: Authorisations,
    credential: OnceLock<Option<Credential>>,
    /// Why it can't be reached, where that is known.
    silent: OnceLock<Box<Diagnostic>>,
}

/// A manifest or index, verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Its bytes, which the digest is of.
    pub bytes: Vec<u8>,
    /// What it is.
    pub media_type: String,
    /// Of the bytes.
    pub digest: Digest,
}

impl Client {
    /// A client that knows these settings and credentials.
    pub fn new(settings: Settings, credentials: Option<CredentialFile>) -> Self {
        Self { http: Http::new(settings), credentials, sites: Mutex::new(HashMap::new()) }
    }

    /// Asks the registry whether it takes a user and password.
    ///
    /// # Errors
    /// `registry/unauthorised` where it does not; whatever keeps it from answering.
    pub fn check_login(&self, host: &str, user: &str, secret: &str) -> Result<()> {
        let site = self.site(host);
        let credential = Credential::Password { user: user.to_owned(), secret: secret.to_owned() };
        let _ = site.credential.set(Some(credential));
        let response = self.get(&site, &Scope::default(), "/v2/", &[])?;
        match response.status {
            200 => Ok(()),
            401 | 403 => Err(Diagnostic::error(&codes::UNAUTHORISED, format!("{host} refuses `{user}`"))
                .cause("the user name or the password is wrong")
                .hint("some registries want an access token in place of the password")
                .boxed()),
            _ => Err(self.refusal(&site, response, host)),
        }
    }

    /// A manifest or index by the reference's digest, or by its tag.
    ///
    /// # Errors
    /// `registry/not-found` and whatever keeps it from arriving whole.
    pub fn manifest(&self, reference: &Reference) -> Result<Document> {
        let digest = reference.digest();
        self.first(reference, |site| self.manifest_at(site, reference, digest)).map(|(document, _)| document)
    }

    /// What a tag names now, by the registry's word and without its content: cheap, and not counted as a pull. None
    /// where the registry does not say.
    ///
    /// # Errors
    /// As [`Client::manifest`].
    pub fn digest_of_tag(&self, reference: &Reference) -> Result<Option<Digest>> {
        let found = self.first(reference, |site| {
            let path = format!("/v2/{}/manifests/{}", reference.path(), reference.tag().unwrap_or("latest"));
            let request = self.request(site, Method::HEAD, &path)?.header("accept", ACCEPT.join(", "));
            let response = self.call(site, &Scope::pull(reference.path()), request, None)?;
            if response.status != 200 {
                return Err(self.missing(site, response, reference));
            }
            Ok(response.header("docker-content-digest").and_then(|digest| digest.parse().ok()))
        });
        found.map(|(digest, _)| digest)
    }

    /// The repository's tags.
    ///
    /// # Errors
    /// As [`Client::manifest`].
    pub fn tags(&self, reference: &Reference) -> Result<Vec<String>> {
        let site = self.site(reference.host());
        self.tags_at(&site, reference)
    }

    fn tags_at(&self, site: &Site, reference: &Reference) -> Result<Vec<String>> {
        #[derive(serde::Deserialize)]
        struct Tags {
            #[serde(default)]
            tags: Option<Vec<String>>,
        }
        let mut path = format!("/v2/{}/tags/list?n=1000", reference.path());
        let (mut found, mut size_bytes) = (Vec::new(), 0);
        for _ in 0..PAGES_MAX {
            let response = self.get(site, &Scope::pull(reference.path()), &path, &[])?;
            if response.status != 200 {
                return Err(self.refusal(site, response, &reference.familiar_repository()));
            }
            let url = response.url.clone();
            let next = next_page(&url, response.header("link"));
            let bytes = response.small("the list of tags").map_err(|fault| unanswered(&url, fault))?;
            size_bytes += bytes.len();
            let tags: Tags = serde_json::from_slice(&bytes).map_err(|error| protocol(&url, error.to_string()))?;
            found.extend(tags.tags.unwrap_or_default());
            match next.filter(|next| self.is_of(site, next) && *next != path) {
                Some(_) if size_bytes > LIST_MAX_BYTES => break,
                Some(next) => path = next,
                None => return Ok(found),
            }
        }
        Err(protocol(&path, format!("its list of tags has {} and does not end", found.len())))
    }

    /// Where to look for an image: its registry's mirrors, then the registry.
    pub(crate) fn sources(&self, reference: &Reference) -> Vec<Arc<Site>> {
        let mirrors = self.http.settings.registry(reference.host()).mirrors;
        mirrors.iter().map(String::as_str).chain([reference.host()]).map(|host| self.site(host)).collect()
    }

    /// From the first source that has it; the error is the registry's own.
    pub(crate) fn first<T>(
        &self,
        reference: &Reference,
        ask: impl Fn(&Site) -> Result<T>,
    ) -> Result<(T, Vec<Arc<Site>>)> {
        let mut sources = self.sources(reference);
        loop {
            match ask(&sources[0]) {
                Ok(answer) => return Ok((answer, sources)),
                Err(_) if sources.len() > 1 => drop(sources.remove(0)),
                Err(error) => return Err(error),
            }
        }
    }

    pub(crate) fn site(&self, host: &str) -> Arc<Site> {
        let mut sites = self.sites.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || {
            Arc::new(Site {
                host: host.to_owned(),
                base: OnceLock::new(),
                authorisations: Authorisations::default(),
                credential: OnceLock::new(),
                silent: OnceLock::new(),
            })
        };
        sites.entry(host.to_owned()).or_insert_with(new).clone()
    }

    pub(crate) fn manifest_at(&self, site: &Site, reference: &Reference, digest: Option<&Digest>) -> Result<Document> {
        let wanted = match digest {
            Some(digest) => digest.to_string(),
            None => reference.tag().unwrap_or("latest").to_owned(),
        };
        let path = format!("/v2/{}/manifests/{wanted}", reference.path());
        let mut repetition = 0;
        let (response, bytes) = loop {
            let scope = Scope::pull(reference.path());
            let response = self.get(site, &scope, &path, &[("accept", ACCEPT.join(", "))])?;
            if response.status != 200 {
                return Err(self.missing(site, response, reference));
            }
            let (url, headers) = (response.url.clone(), response.headers.clone());
            match response.small("the manifest") {
                Ok(bytes) => break ((url, headers), bytes),
                Err(Fault::Cut(_)) if repetition < REPETITIONS => {
                    crate::http::wait(pause(self.http.settings.backoff, repetition));
                    repetition += 1;
                }
                Err(fault) => return Err(unanswered(&url, fault)),
            }
        };
        let (url, headers) = response;
        let found = Digest::of(&bytes);
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let promised = header("docker-content-digest").and_then(|digest| digest.parse::<Digest>().ok());
        if let Some(expected) = [digest.copied(), promised].into_iter().flatten().find(|expected| *expected != found) {
            return Err(mismatch(format!("the manifest of {}", reference.familiar()), &expected, &found));
        }
        let said = header("content-type").and_then(|kind| kind.split(';').next()).unwrap_or_default().trim();
        let media_type = match is_known(said) {
            true => said.to_owned(),
            // Some servers say `application/json` or text; the document has the last word.
            false => media_type_within(&bytes).ok_or_else(|| protocol(&url, format!("`{said}` is no manifest")))?,
        };
        Ok(Document { bytes, media_type, digest: found })
    }

    pub(crate) fn get(
        &self,
        site: &Site,
        scope: &Scope,
        path: &str,
        headers: &[(&'static str, String)],
    ) -> Result<Response> {
        let mut request = self.request(site, Method::GET, path)?;
        request.headers.extend_from_slice(headers);
        self.call(site, scope, request, None)
    }

    /// A request to the registry; `path` is relative to it, or an address that it gave.
    pub(crate) fn request(&self, site: &Site, method: Method, path: &str) -> Result<Request> {
        let url = match path.starts_with('/') {
            true => format!("{}{path}", self.base(site)?),
            false => path.to_owned(),
        };
        Ok(Request::new(method, url, &site.host))
    }

    /// Sends a request as often as needed: with an authorisation where one is asked for, again after what passes by
    /// itself, on to where GET and HEAD are sent. The answer is the last one, whatever its status.
    pub(crate) fn call(&self, site: &Site, scope: &Scope, request: Request, bytes: Option<&[u8]>) -> Result<Response> {
        self.call_repeatedly(site, scope, request, bytes, REPETITIONS)
    }

    /// As [`Client::call`], but again only so often.
    pub(crate) fn call_repeatedly(
        &self,
        site: &Site,
        scope: &Scope,
        request: Request,
        bytes: Option<&[u8]>,
        repetitions: u32,
    ) -> Result<Response> {
        if let Some(silent) = site.silent.get().filter(|_| self.http.settings.asks_once) {
            return Err(silent.clone());
        }
        let mut repetition = 0;
        let mut renewals = 0;
        loop {
            let content = || bytes.map_or(Content::Nothing, Content::Bytes);
            let wait = match self.once(site, scope, &request, &content) {
                Ok((response, used)) if response.status == 401 && renewals < RENEWALS => {
                    if !self.renew(site, scope, &response, used.as_deref())? {
                        return Ok(response);
                    }
                    renewals += 1;
                    continue;
                }
                Ok((response, _)) if is_passing(response.status) && repetition < repetitions => {
                    match response.header("retry-after").map(|wait| wait.trim().parse::<u64>()) {
                        Some(Ok(seconds)) if Duration::from_secs(seconds) > LONGEST_WAIT => return Ok(response),
                        Some(Ok(seconds)) => Duration::from_secs(seconds).max(pause(self.http.settings.backoff, 0)),
                        _ => pause(self.http.settings.backoff, repetition),
                    }
                }
                Ok((response, _)) => return Ok(response),
                Err(Fault::Cut(_)) if repetition < repetitions => pause(self.http.settings.backoff, repetition),
                Err(fault) => {
                    let error = unanswered(&request.url, fault);
                    if [&codes::UNREACHABLE, &codes::UNKNOWN_HOST].contains(&error.code) {
                        let _ = site.silent.set(error.clone());
                    }
                    return Err(error);
                }
            };
            crate::http::wait(wait);
            repetition += 1;
        }
    }

    /// One request and what it is redirected to; also the authorisation that it carried.
    pub(crate) fn once<'a>(
        &self,
        site: &Site,
        scope: &Scope,
        request: &Request,
        content: &dyn Fn() -> Content<'a>,
    ) -> Result<(Response, Option<String>), Fault> {
        let base = self.base(site)?;
        let used = site.authorisations.get(scope);
        let mut request = request.clone();
        for _ in 0..=REDIRECTIONS {
            let mut sent = request.clone();
            // Credentials are for the registry, never for where it points to.
            if let Some(used) = used.as_ref().filter(|_| is_below(&sent.url, base)) {
                sent = sent.header("authorization", used);
            }
            let response = self.http.send(&sent, content())?;
            let is_redirection = matches!(response.status, 301 | 302 | 303 | 307 | 308);
            if !is_redirection || !matches!(request.method, Method::GET | Method::HEAD) {
                return Ok((response, used));
            }
            let location = response.header("location").and_then(|location| absolute(&response.url, location));
            let Some(location) = location else {
                return Err(protocol(&request.url, "it redirects to nowhere".into()).into());
            };
            if request.url.starts_with("https://") && !location.starts_with("https://") {
                return Err(protocol(&request.url, "it redirects to an address without TLS".into()).into());
            }
            request.url = location;
        }
        Err(protocol(&request.url, format!("more than {REDIRECTIONS} redirections")).into())
    }

    pub(crate) fn renew(&self, site: &Site, scope: &Scope, refused: &Response, used: Option<&str>) -> Result<bool> {
        // An address that the registry sent us to has nothing to ask us.
        if !is_below(&refused.url, self.base(site)?) {
            return Ok(false);
        }
        let credential = || self.credential(site);
        site.authorisations.renew(&self.http, &site.host, &credential, scope, refused, used)
    }

    pub(crate) fn authorisation(&self, site: &Site, scope: &Scope) -> Option<String> {
        site.authorisations.get(scope)
    }

    /// Whether an address is the registry's own, so that it may see its credentials.
    pub(crate) fn is_of(&self, site: &Site, url: &str) -> bool {
        site.base.get().is_some_and(|base| is_below(url, base))
    }

    fn credential(&self, site: &Site) -> Result<Option<Credential>> {
        if let Some(known) = site.credential.get() {
            return Ok(known.clone());
        }
        let found = self.credentials.as_ref().map(|file| file.get(&site.host)).transpose()?.flatten();
        Ok(site.credential.get_or_init(|| found).clone())
    }

    /// `https://` and the host. Where plain HTTP is allowed, that is taken if there is no TLS.
    fn base<'a>(&self, site: &'a Site) -> Result<&'a String> {
        if let Some(known) = site.base.get() {
            return Ok(known);
        }
        let host = if site.host == "docker.io" { "registry-1.docker.io" } else { &site.host };
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        let secure = format!("https://{host}");
        let may_be_plain = is_loopback(name) || self.http.settings.registry(&site.host).insecure;
        let is_plain = may_be_plain && {
            let ping = Request::new(Method::GET, format!("{secure}/v2/"), &site.host);
            match self.http.send(&ping, Content::Nothing) {
                Ok(_) => false,
                Err(Fault::Final(diagnostic)) if diagnostic.code == &codes::TLS => {
                    let is_distrusted = diagnostic.causes.iter().any(|cause| cause.contains("certificate"));
                    if is_distrusted {
                        return Err(diagnostic);
                    }
                    true
                }
                Err(Fault::Final(diagnostic)) if diagnostic.code == &codes::SETTINGS => return Err(diagnostic),
                Err(_) => true,
            }
        };
        let base = if is_plain { format!("http://{host}") } else { secure };
        Ok(site.base.get_or_init(|| base))
    }

    /// A manifest that is not given: for a missing tag with the tags that there are.
    fn missing(&self, site: &Site, response: Response, reference: &Reference) -> Box<Diagnostic> {
        let status = response.status;
        let mut diagnostic = *self.refusal(site, response, &reference.familiar());
        if status == 404
            && reference.digest().is_none()
            && let Ok(mut tags) = self.tags_at(site, reference)
            && !tags.is_empty()
        {
            let wanted = reference.tag().unwrap_or_default();
            diagnostic = match carrack_diag::nearest(wanted, tags.iter().map(String::as_str)) {
                Some(tag) => diagnostic.hint(format!("did you mean `{}`?", reference.with_tag(tag).familiar())),
                None => {
                    tags.sort();
                    let some: Vec<String> = tags.iter().rev().take(8).map(|tag| shown(tag)).collect();
                    diagnostic.hint(format!("among its tags are {}", some.join(", ")))
                }
            };
        }
        diagnostic.boxed()
    }

    /// The diagnostic of an answer that is no success.
    pub(crate) fn refusal(&self, site: &Site, response: Response, what: &str) -> Box<Diagnostic> {
        let host = &site.host;
        let status = response.status;
        let retry_after = response.header("retry-after").map(shown);
        let url = crate::http::without_query(&response.url);
        let words = response.small("the error").ok().and_then(|bytes| words(&bytes));
        // Names of its images begin with its host, but for Docker Hub's.
        let registry =
            if what.contains(host.as_str()) { "the registry".to_owned() } else { format!("the registry {host}") };
        let diagnostic = match status {
            401 | 403 => Diagnostic::error(&codes::UNAUTHORISED, format!("{registry} gives no access to {what}")),
            404 => Diagnostic::error(&codes::NOT_FOUND, format!("{registry} does not have {what}")),
            429 => {
                Diagnostic::error(&codes::RATE_LIMITED, format!("the registry {host} takes no more requests for now"))
            }
            _ => Diagnostic::error(&codes::PROTOCOL, format!("{registry} fails at {what}"))
                .cause(format!("{url} answers {status}")),
        };
        let diagnostic = words.into_iter().fold(diagnostic, Diagnostic::cause);
        match status {
            401 | 403 => {
                let known = site.credential.get().is_some_and(Option::is_some);
                let reason =
                    if known { "the known credentials do not allow it" } else { "no credentials are known for it" };
                diagnostic
                    .cause(format!("it does not exist, or it is private and {reason}"))
                    .hint(format!("check the name; for a private one: `carrack login {host}`"))
            }
            429 => match retry_after {
                Some(wait) => diagnostic.hint(format!("it asks to wait {wait} s")),
                None => diagnostic.hint(format!("wait, or log in for a higher limit: `carrack login {host}`")),
            },
            500.. => diagnostic.hint("try again later; the registry's log has the reason"),
            _ => diagnostic,
        }
        .boxed()
    }
}

const ACCEPT: [&str; 4] =
    [media_type::INDEX, media_type::MANIFEST, media_type::DOCKER_INDEX, media_type::DOCKER_MANIFEST];

fn is_known(kind: &str) -> bool {
    media_type::is_index(kind) || media_type::is_manifest(kind)
}

fn media_type_within(bytes: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Kind {
        #[serde(default)]
        media_type: String,
        manifests: Option<serde::de::IgnoredAny>,
        config: Option<serde::de::IgnoredAny>,
    }
    let kind: Kind = serde_json::from_slice(bytes).ok()?;
    match (is_known(&kind.media_type), kind.manifests, kind.config) {
        (true, ..) => Some(kind.media_type),
        // image-spec lets both leave their type out.
        (false, Some(_), _) if kind.media_type.is_empty() => Some(media_type::INDEX.to_owned()),
        (false, _, Some(_)) if kind.media_type.is_empty() => Some(media_type::MANIFEST.to_owned()),
        _ => None,
    }
}

pub(crate) const DISTRUST: &str =
    "nothing of it was kept; a broken proxy or cache in between does this, or somebody who changes what passes";

pub(crate) fn mismatch(what: String, expected: &Digest, found: &Digest) -> Box<Diagnostic> {
    Diagnostic::error(&codes::DIGEST_MISMATCH, format!("{what} is not what was asked for"))
        .cause(format!("expected {expected}"))
        .cause(format!("got {found}"))
        .hint(DISTRUST)
        .boxed()
}

fn is_passing(status: u16) -> bool {
    matches!(status, 408 | 429 | 500 | 502..=504)
}

fn is_below(url: &str, base: &str) -> bool {
    url.strip_prefix(base).is_some_and(|rest| rest.starts_with('/'))
}

/// Fit for a terminal.
fn shown(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(128).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_begins_alike_is_another_host() {
        assert!(is_below("https://r.lan/v2/", "https://r.lan"));
        assert!(!is_below("https://r.lan.evil/v2/", "https://r.lan"));
        assert!(!is_below("http://r.lan/v2/", "https://r.lan"));
    }
}
