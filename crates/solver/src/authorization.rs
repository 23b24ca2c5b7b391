//! What servers of files and repositories are told of who asks: tokens among the secrets of a build, under BuildKit's names.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use carrack_diag::{Diagnostic, Result};

use crate::codes;

/// Contents of secrets by id.
pub type Secrets = BTreeMap<String, Vec<u8>>;

/// The value of the header `Authorization` for the file behind an address: `HTTP_AUTH_HEADER_HOST` as it is, or
/// `HTTP_AUTH_TOKEN_HOST` as a bearer token.
pub(crate) fn of_file(secrets: &Secrets, url: &str) -> Result<Option<String>> {
    let Some((_, host)) = origin(url) else { return Ok(None) };
    if let Some(header) = text(secrets, &format!("HTTP_AUTH_HEADER_{host}"))? {
        return Ok(Some(header));
    }
    Ok(text(secrets, &format!("HTTP_AUTH_TOKEN_{host}"))?.map(|token| format!("Bearer {token}")))
}

/// Header lines, each with the addresses that it is for: `GIT_AUTH_HEADER` as it is, or `GIT_AUTH_TOKEN` as a password, for
/// the server of the repository, as with BuildKit; with `.HOST` at its end for that host alone, which submodules may be on.
/// A host that only submodules name is spoken to by HTTPS, whatever they say.
pub(crate) fn of_repository(secrets: &Secrets, repository: &str) -> Result<Vec<(String, String)>> {
    let own = origin(repository);
    let mut servers: BTreeMap<&str, String> = secrets
        .keys()
        .filter_map(|id| id.strip_prefix("GIT_AUTH_HEADER.").or_else(|| id.strip_prefix("GIT_AUTH_TOKEN.")))
        .map(|host| (host, format!("https://{host}")))
        .collect();
    servers.extend(own.iter().map(|(origin, host)| (*host, origin.clone())));
    let mut headers = Vec::new();
    for (host, origin) in &servers {
        let is_own = own.as_ref().is_some_and(|(_, own)| own == host);
        for suffix in [Some(format!(".{host}")), is_own.then(String::new)].into_iter().flatten() {
            let header = match text(secrets, &format!("GIT_AUTH_HEADER{suffix}"))? {
                Some(header) => Some(header),
                None => text(secrets, &format!("GIT_AUTH_TOKEN{suffix}"))?
                    .map(|token| format!("basic {}", STANDARD.encode(format!("x-access-token:{token}")))),
            };
            if let Some(header) = header {
                headers.push((format!("{origin}/"), format!("Authorization: {header}")));
                break;
            }
        }
    }
    Ok(headers)
}

/// `https://host[:port]` and `host[:port]` of an address.
pub(crate) fn origin(url: &str) -> Option<(String, &str)> {
    let (scheme, rest) = url.split_once("://").filter(|(scheme, _)| matches!(*scheme, "http" | "https"))?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    Some((format!("{scheme}://{host}"), host))
}

/// A secret as a line of a header.
fn text(secrets: &Secrets, id: &str) -> Result<Option<String>> {
    let Some(bytes) = secrets.get(id) else { return Ok(None) };
    let text = std::str::from_utf8(bytes).map(str::trim_ascii).unwrap_or("\0");
    if text.chars().any(char::is_control) {
        return Err(Diagnostic::error(&codes::FETCH_FAILED, format!("the secret `{id}` cannot be sent to a server"))
            .cause("it is not one line of text")
            .hint("give the token alone")
            .boxed());
    }
    Ok(Some(text.to_owned()).filter(|text| !text.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(pairs: &[(&str, &str)]) -> Secrets {
        pairs.iter().map(|(id, value)| ((*id).to_owned(), value.as_bytes().to_vec())).collect()
    }

    #[test]
    fn tokens_go_to_their_hosts_only() {
        let given = secrets(&[
            ("HTTP_AUTH_TOKEN_a.example:8080", "word\n"),
            ("HTTP_AUTH_HEADER_b.example", "Basic eDp5"),
            ("HTTP_AUTH_TOKEN_b.example", "other"),
        ]);
        let of = |url| of_file(&given, url).unwrap();
        assert_eq!(of("http://me@a.example:8080/x").as_deref(), Some("Bearer word"));
        assert_eq!(of("https://b.example?x").as_deref(), Some("Basic eDp5"));
        for other in
            ["http://a.example/x", "http://a.example:8080@c.example/", "http://c.example/b.example", "ftp://b.example/"]
        {
            assert_eq!(of(other), None, "{other}");
        }
        let given = secrets(&[("GIT_AUTH_TOKEN", "t"), ("GIT_AUTH_HEADER.own.example", "bearer h")]);
        let of = |url| of_repository(&given, url).unwrap();
        let basic = || "Authorization: basic eC1hY2Nlc3MtdG9rZW46dA==".to_owned();
        let header = || "Authorization: bearer h".to_owned();
        let other = ("https://own.example/".to_owned(), header());
        let first = ("https://a.example/".to_owned(), basic());
        assert_eq!(of("https://a.example/x.git"), [first, other.clone()], "its submodules may be there");
        assert_eq!(of("http://own.example/x.git"), [("http://own.example/".to_owned(), header())]);
        assert_eq!(of("git@own.example:x"), [other], "ssh has keys, submodules may be elsewhere");
        assert_eq!(of_repository(&secrets(&[("GIT_AUTH_TOKEN", "t")]), "git@a.example:x").unwrap(), []);
    }

    #[test]
    fn secrets_of_several_lines_are_no_headers() {
        for value in ["a\r\nHost: b", "\u{7}"] {
            let given = secrets(&[("HTTP_AUTH_TOKEN_a", value)]);
            let refused = of_file(&given, "http://a/").unwrap_err();
            assert!(!format!("{refused:?}").contains("Host: b"));
        }
    }
}
