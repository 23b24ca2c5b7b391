//! Which Debian archives an image is made from (sources.list(5)).

use std::fmt;
use std::path::Path;

/// One suite of one archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    address: String,
    suite: String,
}

impl Source {
    pub(super) fn new(address: &str, suite: &str) -> Self {
        Self { address: address.trim_end_matches('/').to_owned(), suite: suite.to_owned() }
    }

    /// Of the signed release file.
    pub(super) fn release_address(&self) -> String {
        format!("{}/dists/{}/InRelease", self.address, self.suite)
    }

    /// The line of a sources.list. It carries no option, so apt's own keyring decides.
    pub(super) fn line(&self) -> String {
        format!("deb {} {} main", self.address, self.suite)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.address, self.suite)
    }
}

/// Whether a text is an address that apt fetches from without running anything else.
pub(super) fn is_address(text: &str) -> bool {
    ["http://", "https://", "file:/"].iter().any(|scheme| text.starts_with(scheme))
        && !text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '[')
}

/// Debian's own archives.
pub(super) fn debian(suite: &str) -> Vec<Source> {
    let archive = "http://deb.debian.org/debian";
    if matches!(suite, "sid" | "unstable" | "experimental") {
        return vec![Source::new(archive, suite)];
    }
    vec![
        Source::new(archive, suite),
        Source::new(archive, &format!("{suite}-updates")),
        Source::new("http://deb.debian.org/debian-security", &format!("{suite}-security")),
    ]
}

/// What the host's apt uses for the suite with its updates; none where it uses nothing for it.
pub(super) fn of_host(apt_folder: &Path, suite: &str) -> Option<Vec<Source>> {
    let mut files = vec![apt_folder.join("sources.list")];
    let mut parts: Vec<_> = std::fs::read_dir(apt_folder.join("sources.list.d"))
        .map(|entries| entries.filter_map(Result::ok).map(|entry| entry.path()).collect())
        .unwrap_or_default();
    parts.sort();
    files.extend(parts);
    let mut all = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let found = match file.extension().and_then(|extension| extension.to_str()) {
            Some("sources") => deb822(&text),
            Some("list") => one_line(&text),
            _ => Vec::new(),
        };
        all.extend(found);
    }
    let wanted = [suite.to_owned(), format!("{suite}-updates"), format!("{suite}-security")];
    let mut chosen: Vec<Source> = Vec::new();
    for source in all.into_iter().filter(|source| wanted.contains(&source.suite)) {
        if !chosen.contains(&source) {
            chosen.push(source);
        }
    }
    // The suite itself must be among them, or there is nothing to start from.
    chosen.iter().any(|source| source.suite == suite).then_some(chosen)
}

/// `deb [options] address suite components`, a line each. Only what carries Debian's `main` counts.
fn one_line(text: &str) -> Vec<Source> {
    text.lines()
        .filter_map(|line| {
            let rest = line.split('#').next()?.trim().strip_prefix("deb ")?.trim_start();
            let rest = match rest.strip_prefix('[') {
                Some(options) => options.split_once(']')?.1,
                None => rest,
            };
            let mut words = rest.split_whitespace();
            let (address, suite) = (words.next()?, words.next()?);
            (is_address(address) && words.any(|word| word == "main")).then(|| Source::new(address, suite))
        })
        .collect()
}

/// Paragraphs of `Field: value` with `Types`, `URIs`, `Suites` and `Components`.
fn deb822(text: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    let text: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    for paragraph in text.join("\n").split("\n\n") {
        let field = |name: &str| {
            let value = paragraph.lines().find_map(|line| {
                let (field, value) = line.split_once(':')?;
                field.eq_ignore_ascii_case(name).then_some(value)
            });
            value.unwrap_or_default().split_whitespace().collect::<Vec<_>>()
        };
        let disabled = field("Enabled").first().is_some_and(|value| value.eq_ignore_ascii_case("no"));
        if disabled || !field("Types").contains(&"deb") || !field("Components").contains(&"main") {
            continue;
        }
        for address in field("URIs").into_iter().filter(|address| is_address(address)) {
            sources.extend(field("Suites").into_iter().map(|suite| Source::new(address, suite)));
        }
    }
    sources
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_sources_are_read() {
        let old = "# deb http://off.example/debian bookworm main\n\
                   deb [arch=amd64 signed-by=/x.gpg] http://a.example/debian/ bookworm main contrib # here\n\
                   deb-src http://a.example/debian bookworm main\n\
                   deb http://nodistro.example stable other\n\
                   deb [broken http://a.example/debian bookworm main\n";
        assert_eq!(one_line(old), [Source::new("http://a.example/debian", "bookworm")]);
        let new = "Types: deb deb-src\n# a comment\nURIs: http://b.example/debian\nSuites: bookworm bookworm-updates\nComponents: main\n\
                   \nTypes: deb\nURIs: http://c.example/debian\nSuites: bookworm\nComponents: main\nEnabled: no\n\
                   \nTypes: deb\nURIs: cdrom:x\nSuites: bookworm\nComponents: main\n";
        assert_eq!(
            deb822(new),
            [
                Source::new("http://b.example/debian", "bookworm"),
                Source::new("http://b.example/debian", "bookworm-updates")
            ]
        );
    }

    #[test]
    fn the_host_counts_only_where_it_has_the_suite_itself() -> std::io::Result<()> {
        let folder = tempfile::tempdir()?;
        std::fs::create_dir(folder.path().join("sources.list.d"))?;
        std::fs::write(folder.path().join("sources.list"), "deb http://a.example/debian trixie-updates main\n")?;
        assert_eq!(of_host(folder.path(), "trixie"), None);
        std::fs::write(folder.path().join("sources.list.d/b.list"), "deb http://a.example/debian trixie main\n")?;
        assert_eq!(
            of_host(folder.path(), "trixie"),
            Some(vec![
                Source::new("http://a.example/debian", "trixie-updates"),
                Source::new("http://a.example/debian", "trixie")
            ])
        );
        Ok(())
    }

    #[test]
    fn an_address_is_nothing_else() {
        assert!(is_address("http://deb.debian.org/debian"));
        for text in ["", "deb.debian.org", "[trusted=yes] http://x", "http://x y", "copy:/x", "-o", "http://x\nfoo"] {
            assert!(!is_address(text), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_parsers_panic(text in ".{0,400}") {
            for source in one_line(&text).into_iter().chain(deb822(&text)) {
                proptest::prop_assert!(is_address(&source.address));
            }
        }
    }
}
