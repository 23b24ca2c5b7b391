//! Who we are to a registry: challenges, tokens (distribution "Token Authentication"; RFC 7235, 6750, 7617).

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use carrack_diag::{Diagnostic, Result};
use carrack_http::is_loopback;
use serde::Deserialize;
use ureq::http::Method;

use crate::credentials::Credential;
use crate::http::{Content, Fault, Http, Request, Response, protocol};
use crate::{base64, codes};

/// What a request may do, in the words of the token specification: `repository:library/nginx:pull`. The first is about
/// the request's own repository.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Scope(Vec<String>);

impl Scope {
    pub(crate) fn pull(repository: &str) -> Self {
        Self(vec![format!("repository:{repository}:pull")])
    }

    /// Also reading others, to mount their blobs.
    pub(crate) fn push(repository: &str, others: &[String]) -> Self {
        let mut scopes = vec![format!("repository:{repository}:pull,push")];
        scopes.extend(others.iter().map(|other| format!("repository:{other}:pull")));
        Self(scopes)
    }

    /// With what the registry asks for beside it: it may know the repository under another name.
    fn with(&self, asked: &str) -> Vec<String> {
        let mut scopes = self.0.clone();
        for scope in asked.split(' ').filter(|scope| !scope.is_empty()) {
            let resource = scope.rsplit_once(':').map_or(scope, |(resource, _)| resource);
            if !scopes.iter().any(|own| own.rsplit_once(':').is_some_and(|(own, _)| own == resource)) {
                scopes.push(scope.to_owned());
            }
        }
        scopes
    }
}

/// `Authorization` headers by what they allow, of one host.
#[derive(Default)]
pub(crate) struct Authorisations(Mutex<HashMap<Scope, String>>);

impl Authorisations {
    fn lock(&self) -> MutexGuard<'_, HashMap<Scope, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self, scope: &Scope) -> Option<String> {
        self.lock().get(scope).cloned()
    }

    /// After a 401 to a request that carried `used`: whether there is something better now. Several threads may come
    /// with the same answer; one asks, the others find what it got.
    pub(crate) fn renew(
        &self,
        http: &Http,
        host: &str,
        credential: &dyn Fn() -> Result<Option<Credential>>,
        scope: &Scope,
        refused: &Response,
        used: Option<&str>,
    ) -> Result<bool> {
        let mut known = self.lock();
        if known.get(scope).map(String::as_str) != used {
            return Ok(true);
        }
        let challenges: Vec<Challenge> = refused
            .headers
            .get_all("www-authenticate")
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(challenges)
            .collect();
        let by_scheme = |scheme: &str| challenges.iter().find(|challenge| challenge.scheme == scheme);
        let header = if let Some(challenge) = by_scheme("bearer") {
            Some(format!("Bearer {}", token(http, host, credential()?, scope, challenge, &refused.url)?))
        } else if by_scheme("basic").is_some() {
            match credential()? {
                Some(Credential::Password { user, secret }) => Some(basic(&user, &secret)),
                _ => None,
            }
        } else {
            None
        };
        // The same password once more is no better.
        let Some(header) = header.filter(|header| !(header.starts_with("Basic ") && used == Some(header))) else {
            return Ok(false);
        };
        known.insert(scope.clone(), header);
        Ok(true)
    }
}

fn basic(user: &str, secret: &str) -> String {
    format!("Basic {}", base64::encode(format!("{user}:{secret}").as_bytes()))
}

#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
}

fn token(
    http: &Http,
    host: &str,
    credential: Option<Credential>,
    scope: &Scope,
    challenge: &Challenge,
    url: &str,
) -> Result<String> {
    let realm = challenge.get("realm").ok_or_else(|| protocol(url, "its challenge names no realm".into()))?;
    let is_local = realm
        .strip_prefix("http://")
        .and_then(|rest| rest.split(['/', '?']).next())
        .is_some_and(|authority| is_loopback(authority.rsplit_once(':').map_or(authority, |(name, _)| name)));
    if !realm.starts_with("https://") && !url.starts_with("http://") && !is_local {
        let reason = format!("it sends for a token to {realm}, where anybody could read the credentials on their way");
        return Err(protocol(url, reason));
    }
    let service = challenge.get("service").unwrap_or_default();
    let scopes = scope.with(challenge.get("scope").unwrap_or_default());
    let response = match &credential {
        Some(Credential::IdentityToken(refresh)) => {
            let form = [
                ("grant_type", "refresh_token"),
                ("service", service),
                ("scope", &scopes.join(" ")),
                ("client_id", "carrack"),
                ("refresh_token", refresh),
            ];
            let form: Vec<String> = form.iter().map(|(key, value)| format!("{key}={}", escape(value))).collect();
            let request =
                Request::new(Method::POST, realm, host).header("content-type", "application/x-www-form-urlencoded");
            repeat(http, &request, Some(form.join("&").as_bytes()))?
        }
        password => {
            let mut query: Vec<String> = scopes.iter().map(|scope| format!("scope={}", escape(scope))).collect();
            if !service.is_empty() {
                query.insert(0, format!("service={}", escape(service)));
            }
            let mut request;
            let separator = if realm.contains('?') { '&' } else { '?' };
            request = Request::new(Method::GET, format!("{realm}{separator}{}", query.join("&")), host);
            if let Some(Credential::Password { user, secret }) = password {
                request = request.header("authorization", basic(user, secret));
            }
            repeat(http, &request, None)?
        }
    };
    let said = |response: Response| {
        let (url, status) = (response.url.clone(), response.status);
        response.small("the token").map_err(|fault| unanswered(&url, fault)).map(|bytes| (url, status, bytes))
    };
    let (url, status, bytes) = said(response)?;
    match status {
        200..=299 => {
            let answer: TokenAnswer = serde_json::from_slice(&bytes)
                .map_err(|_| protocol(&url, "the token's answer is not what the specification says".into()))?;
            let token = if answer.token.is_empty() { answer.access_token } else { answer.token };
            if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(protocol(&url, "the answer has no usable token".into()));
            }
            Ok(token)
        }
        400 | 401 | 403 => {
            let diagnostic = Diagnostic::error(&codes::UNAUTHORISED, format!("{host} gives no access"));
            let reason = match credential {
                Some(Credential::Password { user, .. }) => format!("its token server refuses `{user}`"),
                Some(Credential::IdentityToken(_)) => "its token server refuses the kept identity token".into(),
                None => "its token server wants a user and password, and none are known".into(),
            };
            let mut diagnostic = diagnostic.cause(reason);
            if let Some(words) = words(&bytes) {
                diagnostic = diagnostic.cause(words);
            }
            Err(diagnostic.hint(format!("log in: `carrack login {host}`")).boxed())
        }
        status => Err(protocol(&url, format!("the token server answers {status}"))),
    }
}

/// Token servers fail as others do; a request for a token may be repeated.
fn repeat(http: &Http, request: &Request, form: Option<&[u8]>) -> Result<Response> {
    let mut attempt = 0;
    loop {
        let answer = http.send(request, form.map_or(Content::Nothing, Content::Bytes));
        match answer {
            Ok(response) if !matches!(response.status, 429 | 500 | 502..=504) || attempt == 3 => return Ok(response),
            Err(Fault::Final(diagnostic)) => return Err(diagnostic),
            Err(fault) if attempt == 3 => return Err(unanswered(&request.url, fault)),
            _ => crate::http::wait(crate::http::pause(http.settings.backoff, attempt)),
        }
        attempt += 1;
    }
}

pub(crate) fn unanswered(url: &str, fault: Fault) -> Box<Diagnostic> {
    match fault {
        Fault::Final(diagnostic) => diagnostic,
        Fault::Cut(reason) => Diagnostic::error(
            &codes::UNREACHABLE,
            format!("{} does not answer to the end", crate::http::without_query(url)),
        )
        .cause(reason)
        .hint("try again; where it stays, look at the registry's log and at proxies in between")
        .boxed(),
    }
}

/// What a registry says of an error (distribution-spec "Error Codes"), fit to be shown.
pub(crate) fn words(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Errors {
        #[serde(default)]
        errors: Vec<Error>,
        #[serde(default)]
        details: String,
    }
    #[derive(Deserialize)]
    struct Error {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let errors: Errors = serde_json::from_slice(body).ok()?;
    let said: Vec<String> = errors.errors.iter().map(|error| format!("{}: {}", error.code, error.message)).collect();
    let said = if said.is_empty() { errors.details } else { said.join("; ") };
    // It goes to a terminal.
    let clean: String = said.chars().filter(|letter| !letter.is_control()).take(400).collect();
    (!clean.is_empty()).then(|| format!("the registry says: {clean}"))
}

/// Everything but letters, digits and `-._~` as `%XX`.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => escaped.push(char::from(byte)),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

/// One way to authenticate that a server offers.
#[derive(Debug, PartialEq, Eq)]
struct Challenge {
    /// In lower case.
    scheme: String,
    parameters: Vec<(String, String)>,
}

impl Challenge {
    fn get(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// The challenges of one header, of which one may hold several.
fn challenges(header: &str) -> Vec<Challenge> {
    let mut challenges: Vec<Challenge> = Vec::new();
    let mut rest = header.trim_start();
    while !rest.is_empty() {
        let end = rest.find(|letter: char| !is_token(letter)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let tail = after.trim_start();
        if let Some(value) = tail.strip_prefix('=').filter(|_| !word.is_empty()) {
            let (value, after) = value_of(value.trim_start());
            if let Some(challenge) = challenges.last_mut() {
                challenge.parameters.push((word.to_ascii_lowercase(), value));
            }
            rest = after;
        } else if !word.is_empty() {
            challenges.push(Challenge { scheme: word.to_ascii_lowercase(), parameters: Vec::new() });
            rest = after;
        } else {
            // What is no challenge is passed over.
            let mut letters = rest.chars();
            letters.next();
            rest = letters.as_str();
        }
        rest = rest.trim_start_matches([' ', '\t', ',']);
    }
    challenges
}

/// A target of `fuzz/`: a header of a registry, and the body of its refusal.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz(data: &[u8]) {
    if let Ok(header) = std::str::from_utf8(data) {
        let challenges = challenges(header);
        let length: usize = challenges.iter().flat_map(|one| &one.parameters).map(|(_, value)| value.len()).sum();
        assert!(length <= header.len());
        for challenge in &challenges {
            let _ = Scope::pull("a/b").with(challenge.get("scope").unwrap_or_default());
        }
    }
    if let Some(said) = words(data) {
        assert!(!said.contains(char::is_control), "{said:?}");
    }
}

fn is_token(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(letter)
}

fn value_of(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut letters = quoted.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => break,
            '\\' => value.extend(letters.next()),
            letter => value.push(letter),
        }
    }
    (value, letters.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read_as_servers_write_them() {
        let hub = challenges(
            r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#,
        );
        assert_eq!(hub.len(), 1);
        assert_eq!(hub[0].scheme, "bearer");
        assert_eq!(hub[0].get("scope"), Some("repository:a/b:pull,push"));
        let two = challenges(r#"BASIC realm="a \"b\", c" , Bearer  realm = x, service="""#);
        assert_eq!(two[0].get("realm"), Some(r#"a "b", c"#));
        assert_eq!(
            (two[1].scheme.as_str(), two[1].get("realm"), two[1].get("service")),
            ("bearer", Some("x"), Some(""))
        );
        for text in ["", ",", "=", "\"", "Bearer realm=\"", "Bearer realm=\"\\", "é ü=ö", "a=b", "Bearer =x"] {
            challenges(text);
        }
    }

    #[test]
    fn a_scope_is_widened_by_what_is_asked_for() {
        let scope = Scope::push("a/b", &["c".into()]);
        assert_eq!(scope.with("repository:a/b:pull"), scope.0);
        assert_eq!(scope.with("repository:proxy/a/b:pull").last().unwrap(), "repository:proxy/a/b:pull");
        assert_eq!(escape("repository:a/b:pull,push ü"), "repository%3Aa%2Fb%3Apull%2Cpush%20%C3%BC");
    }

    #[test]
    fn words_of_a_registry_can_t_reach_into_the_terminal() {
        let body = br#"{"errors":[{"code":"DENIED","message":"no\u001b[31m way"}]}"#;
        assert_eq!(words(body).unwrap(), "the registry says: DENIED: no[31m way");
        assert_eq!(words(b"<html>"), None);
    }
}
