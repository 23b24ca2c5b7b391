//! What `load` and `import` take: a stream, or members that refer to each other by digest, so that a changed one is still found.

use std::path::{Path, PathBuf};

use carrack_oci::{Config, Digest, Platform};

use crate::tar::{Kind, Member, Writer};
use crate::{Import, Roots, Store};

/// What stands before a member's name; its content follows on the next line, up to the next one.
const MEMBER: &str = "=== ";

pub(super) fn archive(data: &[u8]) {
    let thread = std::thread::current().id();
    let folder = PathBuf::from(format!("/dev/shm/carrack-fuzz-archive-{}-{thread:?}", std::process::id()));
    let _ = crate::remove_tree(&folder);
    let roots = Roots { data: folder.join("data"), run: folder.join("run") };
    let store = Store::open(roots).expect("a store");
    let text = std::str::from_utf8(data).ok().filter(|text| text.starts_with(MEMBER));
    let stream = text.map_or_else(|| data.to_vec(), composed);
    let platform: Platform = "linux/amd64".parse().expect("a platform");
    if let Ok(images) = store.load(stream.as_slice(), &platform, &|_, _, _| Ok(Vec::new())) {
        for (image, names) in images {
            let found = store.image(&image.id.to_string()).expect("an image that was loaded");
            assert!(names.iter().all(|name| found.names.contains(name)), "a name that was loaded is not its own");
        }
    }
    let import = Import { config: Config::default(), platform, created: None, message: None, names: Vec::new() };
    if let Ok(image) = store.import(stream.as_slice(), import) {
        store.image(&image.id.to_string()).expect("an image that was imported");
    }
    assert_eq!(names(&folder), ["data", "run"], "something lies beside the roots");
    assert_eq!(names(&folder.join("data/content/ingest")), [""; 0], "something half written is left");
    crate::remove_tree(&folder).expect("nothing that can't be removed");
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// `@1` stands for the digest of the first member in those after it, and in their names for its digits; `@@` in a name for
/// those of the member itself. A member without content is a small layer.
fn composed(text: &str) -> Vec<u8> {
    let mut tar = Writer::new(Vec::new());
    let mut digests: Vec<Digest> = Vec::new();
    for part in text.split(MEMBER).skip(1).take(16) {
        let (name, content) = part.split_once('\n').unwrap_or((part, ""));
        let mut content = content.trim_end().to_owned();
        let mut name = name.to_owned();
        for (index, digest) in digests.iter().enumerate() {
            let mark = format!("@{}", index + 1);
            content = content.replace(&mark, &digest.to_string());
            name = name.replace(&mark, &digest.hex());
        }
        let content = if content.is_empty() { layer() } else { content.into_bytes() };
        let digest = Digest::of(&content);
        digests.push(digest);
        let mut member = Member::new(name.replace("@@", &digest.hex()), Kind::File);
        member.size_bytes = content.len() as u64;
        if tar.append(&member, &mut content.as_slice()).is_err() {
            break;
        }
    }
    tar.finish().unwrap_or_default()
}

fn layer() -> Vec<u8> {
    let mut tar = Writer::new(Vec::new());
    let mut member = Member::new("file", Kind::File);
    member.size_bytes = 2;
    let _ = tar.append(&member, &mut &b"hi"[..]);
    tar.finish().unwrap_or_default()
}

/// A seed that is no archive would try nothing.
#[cfg(test)]
#[test]
fn seeds_are_archives() {
    let scene = crate::testing::Scene::new();
    for name in ["docker", "oci", "statement"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/archive").join(name);
        let stream = composed(&std::fs::read_to_string(path).unwrap());
        let platform = "linux/amd64".parse().unwrap();
        let loaded = scene.store.load(stream.as_slice(), &platform, &|_, _, _| Ok(Vec::new()));
        assert_eq!(loaded.unwrap_or_else(|error| panic!("{name}: {error:?}")).len(), 1 + usize::from(name == "oci"));
    }
}
