use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use carrack_oci::Digest;
use carrack_store::{Image, Roots, Snapshotter as _, Store};
use rustix::fs::Stat;

use super::{Yard, is_able};
use crate::NamedContext;
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

/// What the next build copies of files that have not changed, it takes from the layer that has them: seen by a layer whose
/// bytes were others'. Without the layer it reads the files.
#[test]
fn files_that_have_not_changed_are_copied_from_their_layer() {
    if !is_able() {
        return;
    }
    let yard = Yard::new();
    // Files that were written long ago.
    let settled = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/tests");
    let build = |mode: u32| {
        let mut request =
            yard.request(&format!("FROM scratch\nCOPY --from=files --chmod={mode} keys.rs contents.rs /to/\n"));
        request.contexts = BTreeMap::from([("files".to_owned(), NamedContext::Folder(settled.clone()))]);
        yard.run(&request).unwrap().image
    };
    let content =
        |image: &Image| fs::read(yard.store.lower_dirs(image.chain()).unwrap()[0].join("to/keys.rs")).unwrap();
    let first = build(600);
    let file = fs::read(settled.join("keys.rs")).unwrap();
    assert_eq!(content(&first), file);

    let tar = yard.folder.path().join("data/content/blobs/sha256").join(first.layers[0].diff_id.hex());
    let mut bytes = fs::read(&tar).unwrap();
    let begin = bytes.windows(file.len()).position(|window| window == file).unwrap();
    bytes[begin..begin + 6].copy_from_slice(b"layer!");
    fs::write(&tar, bytes).unwrap();
    let second = build(640);
    assert_eq!(content(&second)[..6], *b"layer!");
    assert_eq!(content(&second)[6..], file[6..]);

    let tar = tar.with_file_name(second.layers[0].diff_id.hex());
    fs::remove_file(&tar).unwrap();
    assert_eq!(content(&build(644)), file);
}
