use std::path::Path;

use carrack_diag::{FileId, Span};
use carrack_dockerfile::IgnoreFile;
use carrack_llb::CopyAction;

use crate::select::{changed, sources};
use crate::tree::Tree;

fn action(source: &str) -> CopyAction {
    CopyAction::whole(1, source, Span::new(FileId(0), 0, 0))
}

/// D7: what of a folder is seen through an ignore file.
#[test]
fn exceptions_bring_back_what_lies_in_ignored_folders() {
    let folder = tempfile::tempdir().unwrap();
    for path in ["a/keep/x", "a/drop/y", "b/z", "c"] {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "").unwrap();
    }
    let tree = Tree::folder(folder.path()).unwrap();
    let selected = |source: &str, patterns: &[&str]| -> Vec<String> {
        let ignore = IgnoreFile::from_patterns(patterns.iter().copied()).unwrap();
        let found = sources(&tree, &action(source), Some(&ignore)).unwrap();
        found
            .iter()
            .flat_map(|source| {
                let own = (!source.real.as_os_str().is_empty()).then(|| source.real.clone());
                own.into_iter().chain(source.entries.iter().map(|entry| source.real.join(&entry.path)))
            })
            .map(|path| path.display().to_string())
            .collect()
    };
    assert_eq!(selected("/", &["*", "!a/keep"]), ["a", "a/keep", "a/keep/x"]);
    assert_eq!(selected("/", &["a", "b"]), ["c"]);
    assert_eq!(selected("/a", &["**/drop"]), ["a", "a/keep", "a/keep/x"]);
    assert_eq!(selected("/*", &["b"]), ["a", "a/drop", "a/drop/y", "a/keep", "a/keep/x", "c"]);
    assert_eq!(selected("/a/*/x", &[]), ["a/keep/x"]);
    assert_eq!(selected("/c", &["c"]), Vec::<String>::new());
    assert_eq!(selected("/b", &["b"]), Vec::<String>::new());
}

#[test]
fn resolution_ends_at_the_root() {
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/etc", folder.path().join("abs")).unwrap();
    std::fs::create_dir(folder.path().join("etc")).unwrap();
    let tree = Tree::folder(folder.path()).unwrap();
    assert_eq!(tree.resolve(Path::new("abs")).unwrap(), Some("etc".into()));
    assert_eq!(tree.resolve(Path::new("../../etc/..")).unwrap(), Some("".into()));
    assert_eq!(tree.resolve(Path::new("abs/passwd")).unwrap(), None);
    assert!(tree.open(Path::new("abs"), rustix::fs::OFlags::RDONLY).is_err(), "a link is not opened");
    assert!(tree.open(Path::new("../x"), rustix::fs::OFlags::RDONLY).is_err());
}

/// What is written while it is copied is not taken for what it was.
#[test]
fn changes_since_the_selection_are_seen() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("d")).unwrap();
    std::fs::write(folder.path().join("d/x"), "1").unwrap();
    std::fs::write(folder.path().join("left"), "1").unwrap();
    let tree = Tree::folder(folder.path()).unwrap();
    let ignore = IgnoreFile::from_patterns(["left"]).unwrap();
    let select = || sources(&tree, &action("/"), Some(&ignore)).unwrap();
    let selected = select();
    std::fs::write(folder.path().join("left"), "more").unwrap();
    std::fs::write(folder.path().join("new"), "").unwrap();
    assert_eq!(changed(&tree, &selected).unwrap(), None);
    std::fs::write(folder.path().join("d/x"), "22").unwrap();
    assert_eq!(changed(&tree, &selected).unwrap().as_deref(), Some(Path::new("d/x")));
    let selected = select();
    std::fs::remove_file(folder.path().join("d/x")).unwrap();
    assert_eq!(changed(&tree, &selected).unwrap().as_deref(), Some(Path::new("d/x")));
}
