//! Targets of `fuzz/`: what registries, archives and command lines say.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::probe::{Probe, test_of};
use crate::{ImageConfig, Index, Manifest, Platform, Reference, chain_ids};

/// The name of its seeds, and what is fed with them.
pub type Target = (&'static str, fn(&[u8]));

/// What `fuzz/` and a test feed.
pub const TARGETS: &[Target] = &[("image", image), ("probe", probe), ("reference", reference)];

/// What can be read can be written, and says the same then.
fn again<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(data: &[u8]) -> Option<T> {
    let read: T = serde_json::from_slice(data).ok()?;
    let written = serde_json::to_vec(&read).expect("what was read can be written");
    assert_eq!(serde_json::from_slice::<T>(&written).ok().as_ref(), Some(&read));
    Some(read)
}

/// Manifests, indexes and configurations of images.
fn image(data: &[u8]) {
    let _ = (again::<Manifest>(data), again::<Index>(data));
    if let Some(config) = again::<ImageConfig>(data) {
        let platform = config.platform();
        assert!(platform.matches(&platform));
        assert_eq!(chain_ids(&config.rootfs.diff_ids).len(), config.rootfs.diff_ids.len());
    }
}

/// Names of images, platforms.
fn reference(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(reference) = text.parse::<Reference>() {
        for shown in [reference.to_string(), reference.familiar()] {
            assert_eq!(shown.parse::<Reference>().ok().as_ref(), Some(&reference), "{text:?} {shown:?}");
        }
        assert!(!reference.path().split('/').any(|part| part.is_empty() || part == ".." || part == "."), "{text:?}");
    }
    if let Ok(platform) = text.parse::<Platform>() {
        assert_eq!(platform.to_string().parse::<Platform>().ok().as_ref(), Some(&platform), "{text:?}");
    }
}

/// A health check of carrack's own, and a command as a label says it.
fn probe(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    if let Ok(Probe::Http(request)) = Probe::parse(&words) {
        assert!(!request.path.contains(['\r', '\n', ' ']) && !request.host.contains(['\r', '\n', ' ']), "{text:?}");
    }
    let _ = test_of(text);
}

#[cfg(test)]
#[test]
fn no_input_breaks_what_reads_it() {
    carrack_testkit::fuzz::check(TARGETS);
}
