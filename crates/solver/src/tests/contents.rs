use std::fs;
use std::path::Path;

use carrack_oci::Digest;
use carrack_store::{Roots, Store};
use rustix::fs::Stat;

use crate::contents::{Content, Contents};

fn content(text: &str) -> Content {
    Content { digest: Some(Digest::of(text)), attributes: String::new() }
}

/// A file's, as if it had been written a while ago.
fn settled(path: &Path) -> Stat {
    let mut stat = rustix::fs::stat(path).unwrap();
    stat.st_ctime -= 10;
    stat
}

#[test]
fn a_file_is_read_again_only_when_its_inode_has_changed() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(Roots { data: folder.path().join("data"), run: folder.path().join("run") }).unwrap();
    let place = Digest::of("place");
    let open = || Contents::open(&store, &place, folder.path());
    let file = folder.path().join("file");
    fs::write(&file, "text").unwrap();
    let stat = settled(&file);

    let contents = open();
    assert_eq!(contents.get(&stat), None);
    contents.learn(&stat, || Ok((content("text"), Some(stat)))).unwrap();
    contents.save().unwrap();
    assert_eq!(open().get(&stat), Some(content("text")));
    let changes: [fn(&mut Stat); 5] = [
        |stat| stat.st_ino += 1,
        |stat| stat.st_dev += 1,
        |stat| stat.st_size += 1,
        |stat| stat.st_mtime += 1,
        |stat| stat.st_ctime_nsec += 1,
    ];
    for (index, change) in changes.iter().enumerate() {
        let mut changed = stat;
        change(&mut changed);
        assert_eq!(open().get(&changed), None, "{index}");
    }
    assert_eq!(Contents::open(&store, &Digest::of("another"), folder.path()).get(&stat), None);

    // What a build has not seen is forgotten after it; a build that only reads keeps nothing.
    let other = folder.path().join("other");
    fs::write(&other, "").unwrap();
    let later = open();
    later.learn(&settled(&other), || Ok((content(""), Some(settled(&other))))).unwrap();
    assert!(open().get(&stat).is_some());
    later.save().unwrap();
    assert_eq!((open().get(&stat), open().get(&settled(&other))), (None, Some(content(""))));
}

#[test]
fn what_may_have_changed_while_it_was_read_is_not_kept() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(Roots { data: folder.path().join("data"), run: folder.path().join("run") }).unwrap();
    let place = Digest::of("place");
    let file = folder.path().join("file");
    fs::write(&file, "text").unwrap();
    let (stat, mut after) = (settled(&file), settled(&file));
    after.st_ctime += 1;
    let mut just_now = stat;
    just_now.st_ctime = i64::MAX;
    for (stat, after) in [(stat, Some(after)), (stat, None), (just_now, Some(just_now))] {
        let contents = Contents::open(&store, &place, folder.path());
        assert_eq!(contents.learn(&stat, || Ok((content("text"), after))).unwrap(), content("text"));
        contents.save().unwrap();
        assert_eq!(Contents::open(&store, &place, folder.path()).get(&stat), None);
    }
}

#[test]
fn a_list_that_was_cut_short_says_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(Roots { data: folder.path().join("data"), run: folder.path().join("run") }).unwrap();
    let place = Digest::of("place");
    fs::write(folder.path().join("file"), "text").unwrap();
    let stat = settled(&folder.path().join("file"));
    let contents = Contents::open(&store, &place, folder.path());
    contents.learn(&stat, || Ok((content("text"), Some(stat)))).unwrap();
    contents.save().unwrap();
    let kept = fs::read_dir(folder.path().join("data/build/contents")).unwrap().next().unwrap().unwrap().path();
    let whole = fs::read(&kept).unwrap();
    for length in [0, 16, 32, whole.len() - 1] {
        fs::write(&kept, &whole[..length]).unwrap();
        assert_eq!(Contents::open(&store, &place, folder.path()).get(&stat), None, "{length}");
    }
    fs::write(&kept, vec![0; whole.len()]).unwrap();
    assert_eq!(Contents::open(&store, &place, folder.path()).get(&stat), None);
    assert!(crate::contents::prune(&store).unwrap() > 0);
    assert!(!kept.exists());
}
