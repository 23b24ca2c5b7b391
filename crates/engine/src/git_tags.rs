//! Tags of images by convention, from the commit that they are made of.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use carrack_diag::{Diagnostic, Result};

use crate::codes;

/// What git says of a folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Commit {
    /// The first digits of its name.
    pub id: String,
    /// Whether files differ from it.
    pub is_dirty: bool,
    /// Where one is checked out.
    pub branch: Option<String>,
    /// Git's tags of this commit.
    pub tags: Vec<String>,
    /// Git's tags of the repository.
    pub all_tags: Vec<String>,
}

/// `1.2.3` or `v1.2.3`, with or without `-PRERELEASE` (semver.org 2.0.0). Build metadata can't stand in an image's tag.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Version {
    numbers: (u64, u64, u64),
    prerelease: Option<String>,
}

impl Version {
    fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let (numbers, prerelease) = match text.split_once('-') {
            Some((numbers, prerelease)) => (numbers, Some(prerelease)),
            None => (text, None),
        };
        let number = |text: &str| {
            let is_plain = text == "0" || !text.starts_with('0');
            let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
            (is_plain && is_number).then(|| text.parse::<u64>().ok()).flatten()
        };
        let parts: Vec<u64> = numbers.split('.').map(number).collect::<Option<_>>()?;
        let [major, minor, patch] = parts.as_slice() else { return None };
        let is_usable = |text: &str| {
            !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'))
        };
        if prerelease.is_some_and(|text| !is_usable(text)) {
            return None;
        }
        Some(Self { numbers: (*major, *minor, *patch), prerelease: prerelease.map(str::to_owned) })
    }
}

/// `sha-` and the commit; of a commit that has a version's tag, the version, and those of `MAJOR.MINOR`, `MAJOR` and `latest`
/// that move on to it because no higher version has them; the branch. What differs from its commit gets nothing that says
/// more than that.
pub fn conventional(commit: &Commit) -> Vec<String> {
    if commit.is_dirty {
        return vec![format!("sha-{}-dirty", commit.id)];
    }
    let mut tags = vec![format!("sha-{}", commit.id)];
    let released = |tags: &[String]| -> BTreeSet<(u64, u64, u64)> {
        tags.iter()
            .filter_map(|tag| Version::parse(tag))
            .filter(|version| version.prerelease.is_none())
            .map(|version| version.numbers)
            .collect()
    };
    let everything = released(&commit.all_tags);
    let versions: BTreeSet<(u64, u64, u64, Option<String>)> = commit
        .tags
        .iter()
        .filter_map(|tag| Version::parse(tag))
        .map(|Version { numbers: (major, minor, patch), prerelease }| (major, minor, patch, prerelease))
        .collect();
    for (major, minor, patch, prerelease) in versions {
        let full = format!("{major}.{minor}.{patch}");
        if let Some(prerelease) = prerelease {
            tags.push(format!("{full}-{prerelease}"));
            continue;
        }
        tags.push(full);
        let own = (major, minor, patch);
        let is_highest = |of: &dyn Fn(&(u64, u64, u64)) -> bool| {
            everything.iter().filter(|known| of(known)).all(|known| *known <= own)
        };
        if is_highest(&|known| (known.0, known.1) == (major, minor)) {
            tags.push(format!("{major}.{minor}"));
        }
        // Before 1.0.0 every minor version may break what uses it.
        if major > 0 && is_highest(&|known| known.0 == major) {
            tags.push(major.to_string());
        }
        if is_highest(&|_| true) {
            tags.push("latest".to_owned());
        }
    }
    tags.extend(commit.branch.as_deref().and_then(branch_tag));
    let mut seen = BTreeSet::new();
    tags.retain(|tag| seen.insert(tag.clone()));
    tags
}

/// As a tag can hold it: `feature/x` is `feature-x`.
fn branch_tag(branch: &str) -> Option<String> {
    let usable = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '.' | '-');
    let tag: String = branch.chars().map(|letter| if usable(letter) { letter } else { '-' }).take(128).collect();
    let tag = tag.trim_start_matches(['.', '-']).to_owned();
    (!tag.is_empty()).then_some(tag)
}

/// Of the commit that is checked out in a folder.
pub fn of_folder(folder: &Path) -> Result<Vec<String>> {
    let lines = |text: String| text.lines().map(str::to_owned).collect::<Vec<String>>();
    let commit = Commit {
        id: git(folder, &["rev-parse", "--short=12", "HEAD"])?,
        is_dirty: !git(folder, &["status", "--porcelain", "--untracked-files=normal", "."])?.is_empty(),
        // None of a detached HEAD.
        branch: git(folder, &["symbolic-ref", "--quiet", "--short", "HEAD"]).ok(),
        tags: lines(git(folder, &["tag", "--points-at", "HEAD"])?),
        all_tags: lines(git(folder, &["tag", "--list"])?),
    };
    Ok(conventional(&commit))
}

fn git(folder: &Path, arguments: &[&str]) -> Result<String> {
    let failed = |reason: String| {
        Diagnostic::error(&codes::NO_COMMIT, format!("can't tell the commit of {}", folder.display()))
            .cause(reason)
            .hint("run it in a git repository with a commit, or give the tags by name")
            .boxed()
    };
    let output = Command::new("git")
        .arg("-C")
        .arg(folder)
        .args(arguments)
        .env("GIT_OPTIONAL_LOCKS", "0")
        .stdin(std::process::Stdio::null())
        .output()
        .map_err(|error| failed(format!("git can't be run: {error}")))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let clean: String = said.trim().chars().filter(|letter| !letter.is_control()).take(400).collect();
        return Err(failed(clean));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(own: &[&str], all: &[&str], branch: Option<&str>) -> String {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<String>>();
        let commit = Commit {
            id: "0123456789ab".into(),
            is_dirty: false,
            branch: branch.map(str::to_owned),
            tags: texts(own),
            all_tags: texts(&[own, all].concat()),
        };
        conventional(&commit).join(" ").replace("sha-0123456789ab", "SHA")
    }

    #[test]
    fn a_commit_gives_its_name_its_version_and_what_moves_on_to_it() {
        assert_eq!(tags(&[], &["v1.0.0"], Some("main")), "SHA main");
        assert_eq!(tags(&["v1.2.3"], &["v1.2.2", "v0.9.0"], Some("main")), "SHA 1.2.3 1.2 1 latest main");
        assert_eq!(tags(&["v1.2.3"], &["v1.10.0", "v2.0.0"], None), "SHA 1.2.3 1.2", "a mend of an old one");
        assert_eq!(tags(&["1.2.3"], &["v1.2.10"], None), "SHA 1.2.3", "numbers are no text");
        assert_eq!(tags(&["v0.3.0"], &[], None), "SHA 0.3.0 0.3 latest", "0 promises nothing");
        assert_eq!(tags(&["v2.0.0-rc.1"], &["v1.0.0"], None), "SHA 2.0.0-rc.1", "what is tried moves nothing");
        assert_eq!(tags(&["v1.0.0"], &["v2.0.0-rc.1"], None), "SHA 1.0.0 1.0 1 latest");
        assert_eq!(
            tags(&["release", "v01.2.3", "v1.2", "v1.2.3+b", "vx.1.2"], &[], Some("feature/Ü x")),
            "SHA feature---x"
        );
        let dirty = Commit { id: "ab".into(), is_dirty: true, tags: vec!["v1.0.0".into()], ..Commit::default() };
        assert_eq!(conventional(&dirty), ["sha-ab-dirty"]);
    }
}
