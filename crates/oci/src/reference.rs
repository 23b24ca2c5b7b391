use std::fmt;
use std::str::FromStr;

use carrack_diag::Diagnostic;

use crate::{Digest, codes};

/// The name of an image, made complete as Docker does: `nginx` is `docker.io/library/nginx:latest`
/// (grammar: distribution-spec "Pulling manifests"; defaults: Docker's familiar names).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    host: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

const DEFAULT_HOST: &str = "docker.io";
const OFFICIAL: &str = "library/";
const DEFAULT_TAG: &str = "latest";

impl Reference {
    /// The registry's host, with its port if there is one.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The repository's path on the registry, `library/nginx`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The tag; none where only a digest was given.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, where the name pins one.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Repository without tag and digest, as people write it: `nginx`, `user/app`, `host:5000/app`.
    pub fn familiar_repository(&self) -> String {
        if self.host != DEFAULT_HOST {
            return format!("{}/{}", self.host, self.path);
        }
        let short = self.path.strip_prefix(OFFICIAL).filter(|rest| !rest.contains('/')).unwrap_or(&self.path);
        // A path that begins like a host would be read as one of that host.
        let is_read_so = split_host(short) == (self.host.clone(), self.path.clone());
        if is_read_so { short.to_owned() } else { format!("{}/{}", self.host, self.path) }
    }

    /// As people write it, with tag and digest.
    pub fn familiar(&self) -> String {
        self.with_suffix(self.familiar_repository())
    }

    /// The same repository under another tag.
    #[must_use]
    pub fn with_tag(&self, tag: &str) -> Self {
        Self { tag: Some(tag.to_owned()), digest: None, ..self.clone() }
    }

    fn with_suffix(&self, mut name: String) -> String {
        if let Some(tag) = &self.tag {
            name.push(':');
            name.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            name.push('@');
            name.push_str(&digest.to_string());
        }
        name
    }
}

/// Always complete: `docker.io/library/nginx:latest`.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.with_suffix(format!("{}/{}", self.host, self.path)))
    }
}

impl FromStr for Reference {
    type Err = Box<Diagnostic>;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).map_err(|reason| {
            let diagnostic =
                Diagnostic::error(&codes::INVALID_REFERENCE, format!("`{text}` is not an image reference"))
                    .cause(reason);
            let lower = text.to_lowercase();
            if lower != text && parse(&lower).is_ok() {
                diagnostic.hint(format!("names are lower case: `{lower}`")).boxed()
            } else {
                diagnostic.hint("write [HOST[:PORT]/]PATH[:TAG][@DIGEST]").boxed()
            }
        })
    }
}

fn parse(text: &str) -> Result<Reference, String> {
    if text.is_empty() {
        return Err("it is empty".into());
    }
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest.parse::<Digest>().map_err(|error| error.message)?)),
        None => (text, None),
    };
    let (name, tag) = match rest.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (rest, None),
    };
    if let Some(tag) = tag {
        check_tag(tag)?;
    }
    let (host, path) = split_host(name);
    check_host(&host)?;
    check_path(&path)?;
    if host.len() + path.len() > 254 {
        return Err("the repository is longer than 255 characters".into());
    }
    if digest.is_none() && tag.is_none() && Digest::from_hex(name).is_some() {
        return Err("64 hexadecimal digits are an image id, never a name".into());
    }
    let tag = tag.map(str::to_owned).or_else(|| digest.is_none().then(|| DEFAULT_TAG.to_owned()));
    Ok(Reference { host, path, tag, digest })
}

/// The first component is a host where it could not be a path (dot, colon, capital) or is `localhost`.
fn split_host(name: &str) -> (String, String) {
    let host_and_path = name.split_once('/').filter(|(first, _)| {
        first.contains(['.', ':']) || *first == "localhost" || first.bytes().any(|b| b.is_ascii_uppercase())
    });
    let (host, path) = host_and_path.unwrap_or((DEFAULT_HOST, name));
    let host = if host == "index.docker.io" { DEFAULT_HOST } else { host };
    let path = if host == DEFAULT_HOST && !path.contains('/') { format!("{OFFICIAL}{path}") } else { path.to_owned() };
    (host.to_owned(), path)
}

fn check_tag(tag: &str) -> Result<(), String> {
    let first = tag.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
    let rest = tag.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    if first && rest && tag.len() <= 128 { Ok(()) } else { Err(format!("`{tag}` is not a tag")) }
}

fn check_host(host: &str) -> Result<(), String> {
    let wrong = || format!("`{host}` is not a registry host");
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']').ok_or_else(wrong)?;
            address.parse::<std::net::Ipv6Addr>().map_err(|_| wrong())?;
            (None, port.strip_prefix(':').or(port.is_empty().then_some("0")).ok_or_else(wrong)?)
        }
        None => match host.split_once(':') {
            Some((name, port)) => (Some(name), port),
            None => (Some(host), "0"),
        },
    };
    let label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if port.is_empty() || port.parse::<u16>().is_err() || !name.is_none_or(|name| name.split('.').all(label)) {
        return Err(wrong());
    }
    Ok(())
}

fn check_path(path: &str) -> Result<(), String> {
    match path.split('/').find(|component| !is_path_component(component)) {
        Some(component) => Err(format!("`{component}` is not a component of a repository's name")),
        None => Ok(()),
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_path_component(component: &str) -> bool {
    let mut separator = String::new();
    let mut after_separator = true;
    for c in component.chars() {
        match c {
            'a'..='z' | '0'..='9' => {
                let valid = matches!(separator.as_str(), "" | "." | "_" | "__") || separator.chars().all(|c| c == '-');
                if !valid {
                    return false;
                }
                separator.clear();
                after_separator = false;
            }
            '.' | '_' | '-' if !after_separator || !separator.is_empty() => {
                separator.push(c);
                after_separator = true;
            }
            _ => return false,
        }
    }
    !after_separator
}
