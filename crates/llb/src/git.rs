//! Addresses of git repositories, as `ADD` and contexts take them.

use serde::Serialize;

/// What is taken of a repository.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct GitAddress {
    /// As git is given it.
    pub repository: String,
    /// A branch, tag, full reference or commit; none is the repository's own HEAD.
    pub reference: Option<String>,
    /// The folder that is taken, without a slash around it; none is all.
    pub folder: Option<String>,
    /// The commit that must come out, or its first digits.
    pub checksum: Option<String>,
    /// Whether `.git` stays.
    pub keep_git_folder: bool,
    /// Whether submodules are fetched too.
    pub submodules: bool,
}

impl GitAddress {
    /// Reads an address. None where the text does not name a repository; the error completes "the address of a git
    /// repository is malformed".
    pub fn parse(text: &str) -> Option<Result<Self, String>> {
        if text.starts_with(['.', '/']) {
            return None;
        }
        let (address, fragment) = text.split_once('#').map_or((text, None), |(address, rest)| (address, Some(rest)));
        let (address, query) = match address.split_once('?') {
            Some((address, query)) if address.contains("://") => (address, Some(query)),
            _ => (address, None),
        };
        let repository = repository(address)?;
        Some(Self::new(repository, query, fragment))
    }

    fn new(repository: String, query: Option<&str>, fragment: Option<&str>) -> Result<Self, String> {
        let mut address = Self { repository, submodules: true, ..Self::default() };
        if address.repository.chars().any(char::is_control) {
            return Err("it holds a control character".into());
        }
        if let Some(fragment) = fragment {
            if query.is_some() {
                return Err("it has both a query (`?`) and a fragment (`#`)".into());
            }
            let (reference, folder) = fragment.split_once(':').unwrap_or((fragment, ""));
            address.reference = Some(reference.to_owned());
            address.folder = Some(folder.to_owned());
        }
        for pair in query.into_iter().flat_map(|query| query.split('&')).filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let truth = || match value {
                "" | "1" | "true" => Ok(true),
                "0" | "false" => Ok(false),
                _ => Err(format!("`{key}` is true or false, not `{value}`")),
            };
            match key {
                "ref" | "branch" | "tag" => {
                    if address.reference.is_some() {
                        return Err("it names more than one of ref, branch and tag".into());
                    }
                    let prefix = match key {
                        "branch" => "refs/heads/",
                        "tag" => "refs/tags/",
                        _ => "",
                    };
                    address.reference = Some(format!("{prefix}{value}"));
                }
                "subdir" => address.folder = Some(value.to_owned()),
                "checksum" | "commit" => address.checksum = Some(value.to_owned()),
                "keep-git-dir" => address.keep_git_folder = truth()?,
                "submodules" => address.submodules = truth()?,
                _ => {
                    return Err(format!(
                        "`{key}` is no key of it: ref, branch, tag, subdir, checksum, keep-git-dir, submodules are"
                    ));
                }
            }
        }
        address.reference = address.reference.filter(|reference| !reference.is_empty());
        // What begins with a hyphen would be an option of git's.
        for word in [Some(&address.repository), address.reference.as_ref()].into_iter().flatten() {
            if word.starts_with('-') {
                return Err(format!("`{word}` begins with a hyphen"));
            }
        }
        let folder = address.folder.take().unwrap_or_default();
        let folder = folder.trim_matches('/');
        if folder.split('/').any(|part| part == "..") {
            return Err(format!("its folder `{folder}` leads out of the repository"));
        }
        address.folder = Some(folder.to_owned()).filter(|folder| !folder.is_empty() && folder != ".");
        Ok(address)
    }
}

/// What git is given; none where it is no repository's address.
fn repository(text: &str) -> Option<String> {
    if text.starts_with("github.com/") {
        return Some(format!("https://{text}"));
    }
    if let Some((scheme, rest)) = text.split_once("://") {
        let is_named = rest.split_once('/').is_some_and(|(host, path)| !host.is_empty() && !path.is_empty());
        return match scheme {
            "git" | "ssh" if is_named => Some(text.to_owned()),
            // Others are files: only the ending tells them apart.
            "http" | "https" if is_named && text.trim_end_matches('/').ends_with(".git") => Some(text.to_owned()),
            _ => None,
        };
    }
    // As scp(1) writes it: user@host:path.
    let (user, rest) = text.split_once('@')?;
    let (host, path) = rest.split_once(':')?;
    let is_name = |part: &str| {
        !part.is_empty() && part.chars().all(|letter| letter.is_ascii_alphanumeric() || "._-".contains(letter))
    };
    (is_name(user) && is_name(host) && !path.is_empty()).then(|| text.to_owned())
}
