//! What the kernel reads in the images that are written, and what `fsck.erofs` says of them.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::process::Command;

use carrack_testkit::tar::Builder;

use crate::Snapshotter as _;
use crate::erofs::{Data, Inode, image};
use crate::tar::Time;
use crate::testing::{Scene, below, fsck_erofs, has_erofs_utils, list};

const NO_EROFS_UTILS: &str = "skipped: no erofs-utils 1.7 here";

fn inode(mode: u32, data: Data) -> Inode {
    Inode { mode, uid: 0, gid: 0, mtime: Time::default(), xattrs: Vec::new(), links: 1, data }
}

/// A folder with entries, which come after it.
fn root(entries: Vec<(Vec<u8>, Inode)>) -> Vec<Inode> {
    let names = entries.iter().enumerate().map(|(index, (name, _))| (name.clone(), index + 1)).collect();
    let root = inode(0o040_755, Data::Dir { entries: names, parent: 0 });
    std::iter::once(root).chain(entries.into_iter().map(|(_, inode)| inode)).collect()
}

/// The mount of an image over a tar; none where this host can't.
fn mounted(dir: &Path, image: &[u8], tar: &Path) -> Option<OwnedFd> {
    let path = dir.join("image");
    fs::write(&path, image).unwrap();
    if !fsck_erofs(&path, tar) {
        eprintln!("{NO_EROFS_UTILS}");
    }
    match carrack_sys::mount::erofs(&path, tar) {
        Ok(mount) => Some(mount),
        Err(refusal) => {
            eprintln!("skipped: no mount of files here ({refusal:?})");
            None
        }
    }
}

#[test]
fn names_owners_times_and_attributes() {
    if !crate::testing::is_root() {
        return;
    }
    let scene = Scene::on_disk();
    let tar = scene.dir.path().join("tar");
    fs::write(&tar, [[0; 512].as_slice(), b"content", &[0; 505]].concat()).unwrap();
    let mut file = inode(0o104_751, Data::File { offset: 512, size_bytes: 7 });
    (file.uid, file.gid) = (3_000_000, 70_000);
    file.mtime = Time { seconds: -2, nanoseconds: 123_456_789 };
    file.xattrs = vec![
        (b"user.note".to_vec(), b"one".to_vec()),
        (b"trusted.large".to_vec(), vec![b'x'; 3000]),
        (b"security.capability".to_vec(), vec![1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    ];
    let mut entries = vec![
        (b"!before-the-dots".to_vec(), inode(0o100_600, Data::None)),
        (b"device".to_vec(), inode(0o060_640, Data::Device(259, 0x12345))),
        (b"file".to_vec(), file),
        (b"pipe".to_vec(), inode(0o010_600, Data::None)),
        (b"t".to_vec(), inode(0o041_777, Data::Dir { entries: Vec::new(), parent: 0 })),
        (b"w".to_vec(), inode(0o020_000, Data::Device(0, 0))),
        (vec![0xff; 255], inode(0o100_600, Data::None)),
    ];
    for length in [1, 447, 448, 449, 511, 512, 513, 4095] {
        let link = inode(0o120_777, Data::Symlink(vec![b'l'; length]));
        entries.push((format!("link-{length:04}").into_bytes(), link));
    }
    entries.sort_by(|left, right| left.0.cmp(&right.0));
    let image = image(&root(entries), 1024).unwrap();
    let Some(mount) = mounted(scene.dir.path(), &image, &tar) else { return };
    let root = rustix::fs::openat(&mount, ".", rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty()).unwrap();
    let shown = list(root.as_fd()).replace(&"x".repeat(3000), "(3000 x)");
    let shown: Vec<&str> = shown.lines().filter(|line| !line.contains("/link-")).collect();
    assert_eq!(
        shown,
        [
            "d0755 0:0 0 /",
            "-0600 0:0 0 /!before-the-dots",
            "b0640 0:0 0 /device 259:74565",
            "-4751 3000000:70000 -2.123456789 /file =content security.capability=\\x01\\x00\\x00\\x02\\x00\\x04\\x00\\x00\
             \\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00 trusted.large=(3000 x) user.note=one",
            "p0600 0:0 0 /pipe",
            "d1777 0:0 0 /t",
            "c0000 0:0 0 /w 0:0",
            &format!("-0600 0:0 0 /{}", "\\xff".repeat(255)),
        ]
    );
    for length in [1, 447, 448, 449, 511, 512, 513, 4095] {
        let target = fs::read_link(below(&root, &format!("link-{length:04}"))).unwrap();
        assert_eq!(target.as_os_str().len(), length);
    }
}

#[test]
fn folders_of_any_size() {
    if !crate::testing::is_root() {
        return;
    }
    let scene = Scene::on_disk();
    let tar = scene.dir.path().join("tar");
    fs::write(&tar, [0; 512]).unwrap();
    for count in [0, 1, 29, 30, 31, 12_345] {
        let entries = (0..count).map(|number| (format!("{number:015}").into_bytes(), inode(0o100_644, Data::None)));
        let image = image(&root(entries.collect()), 512).unwrap();
        let Some(mount) = mounted(scene.dir.path(), &image, &tar) else { return };
        assert_eq!(fs::read_dir(below(&mount, ".")).unwrap().count(), count);
        for number in [0, count / 2, count.saturating_sub(1)] {
            assert_eq!(below(&mount, &format!("{number:015}")).exists(), number < count, "{number} of {count}");
        }
        assert!(!below(&mount, &format!("{count:015}")).exists());
    }
}

/// More than one chunk index would hold with smaller chunks, and more than 32 bits of bytes.
#[test]
fn files_beyond_four_gigabytes() {
    if !crate::testing::is_root() {
        return;
    }
    let scene = Scene::on_disk();
    let tar = scene.dir.path().join("tar");
    const SIZE: u64 = (5 << 30) + 3;
    let file = File::create(&tar).unwrap();
    file.set_len(1024 + SIZE + 509).unwrap();
    file.write_all_at(b"begin", 1024).unwrap();
    file.write_all_at(b"end", 1024 + SIZE - 3).unwrap();
    let entries = vec![(b"file".to_vec(), inode(0o100_644, Data::File { offset: 1024, size_bytes: SIZE }))];
    let image = image(&root(entries), 1024 + SIZE + 509).unwrap();
    let Some(mount) = mounted(scene.dir.path(), &image, &tar) else { return };
    let file = File::open(below(&mount, "file")).unwrap();
    assert_eq!(file.metadata().unwrap().size(), SIZE);
    let (mut begin, mut end) = ([0; 5], [0; 3]);
    file.read_exact_at(&mut begin, 0).unwrap();
    file.read_exact_at(&mut end, SIZE - 3).unwrap();
    assert_eq!((&begin, &end), (b"begin", b"end"));
}

/// The reference tool makes the same tree of the same tar. Left out is what it does otherwise: fractions of seconds, the
/// times of folders that no member describes.
#[test]
fn the_tree_is_that_of_mkfs_erofs() {
    let Some(scene) = Scene::one_file() else { return };
    if !has_erofs_utils() {
        eprintln!("{NO_EROFS_UTILS}");
        return;
    }
    let deep = "d/".repeat(300);
    let mut tar = Builder::new().mtime(1_700_000_000).dir("./").dir("etc/").dir("many/").dir("swapped/");
    tar = (1..=300).fold(tar, |tar, depth| tar.dir(&"d/".repeat(depth)));
    tar = (0..12_345)
        .fold(tar, |tar, number| tar.file(&format!("many/{number:07}"), if number % 3 == 0 { "x" } else { "" }));
    let tar = tar
        .file(&format!("{deep}leaf"), "leaf")
        .file(&format!("etc/{}", "n".repeat(255)), "long")
        .owner(3_000_000, 70_000)
        .mode(0o4751)
        .xattr("user.note", b"one")
        .xattr("user.large", [b'x'; 3000])
        .file("etc/file", "content".repeat(1000))
        .hard_link("etc/hard", "etc/file")
        .hard_link("etc/harder", "./etc/hard")
        .symlink("etc/link", "../etc/file")
        .symlink("etc/long-link", &"a/".repeat(2000))
        .char_device("etc/null", 1, 3)
        .file("twice", "first")
        .file("twice", "second")
        .file("swapped/file", "gone")
        .file("swapped", "a file")
        .build();
    let layer = scene.apply(std::slice::from_ref(&tar)).unwrap();
    let place = scene.dir.path();
    let (plain, theirs) = (place.join("tar"), place.join("theirs"));
    fs::write(&plain, tar).unwrap();
    let made = Command::new("mkfs.erofs").args(["--quiet", "--tar=i"]).args([&theirs, &plain]).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let shown = |mount: &OwnedFd| {
        let root = rustix::fs::openat(mount, ".", rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty()).unwrap();
        list(root.as_fd())
    };
    let theirs = carrack_sys::mount::erofs(&theirs, &plain).unwrap();
    let ours = File::open(&scene.store.lower_dirs(Some(&layer)).unwrap()[0]).unwrap();
    assert_eq!(shown(&theirs), list(ours.as_fd()));
}

#[test]
fn what_the_format_has_no_room_for_is_told() {
    let tree = |inode: Inode| image(&root(vec![(b"x".to_vec(), inode)]), 512).is_ok();
    let with = |name: &[u8], length: usize| {
        let mut file = inode(0o100_644, Data::None);
        file.xattrs = vec![(name.to_vec(), vec![0; length])];
        tree(file)
    };
    assert!(with(b"user.a", 65_535));
    assert!(!with(b"user.a", 65_536));
    assert!(!with(b"system.posix_acl_access", 4));
    assert!(!with(b"user.", 1));
    assert!(tree(inode(0o020_600, Data::Device(4095, (1 << 20) - 1))));
    assert!(!tree(inode(0o020_600, Data::Device(4096, 0))));
    assert!(!tree(inode(0o020_600, Data::Device(0, 1 << 20))));
    assert!(tree(inode(0o100_644, Data::File { offset: 512, size_bytes: (2 << 40) - 1024 })));
    assert!(!tree(inode(0o100_644, Data::File { offset: 512, size_bytes: 3 << 40 })));
}

/// A layer that the index can't say is unpacked; those above and below it are not.
#[test]
fn layers_of_both_forms_lie_on_each_other() {
    let Some(scene) = Scene::one_file() else { return };
    let base = Builder::new().file("a", "below").build();
    let linked = Builder::new().hard_link("b", "a").build();
    let top = Builder::new().file("c", "above").file(".wh.a", "").build();
    let chains: Vec<_> =
        (1..=3).map(|count| scene.apply(&[base.clone(), linked.clone(), top.clone()][..count]).unwrap()).collect();
    let forms: Vec<bool> = chains.iter().map(|chain| scene.store.is_one_file(chain)).collect();
    assert_eq!(forms, [true, false, true]);
    let shown = scene.show(&chains[2]);
    assert_eq!(shown, "d0755 0:0 0 /\n-0644 0:0 0 /b =below\n-0644 0:0 0 /c =above\n");
}

/// One file where that saves unpacking: what is written entry by entry, and is much.
#[test]
fn each_layer_has_the_form_that_costs_least() {
    use crate::{LayerAttributes, LayerContent};
    let Some(scene) = Scene::auto() else { return };
    let attributes = || LayerAttributes { mode: 0o644, uid: 0, gid: 0, modified: (0, 0), xattrs: Vec::new() };
    let is_one_file = |count: u32, size_bytes: u64| {
        let layer = scene.store.commit_written(&scene.lease, None, &mut |writer| {
            (0..count).try_for_each(|number| {
                let mut bytes = std::io::repeat(b'7').take(size_bytes);
                let content = LayerContent::File(size_bytes, &mut bytes);
                writer.add(Path::new(&number.to_string()), attributes(), content).unwrap();
                Ok(())
            })
        });
        let chain = layer.unwrap().chain;
        let shown = scene.store.view(Some(&chain)).unwrap().read(Path::new("0"), size_bytes).unwrap().unwrap();
        assert!(shown.len() as u64 == size_bytes && shown.iter().all(|byte| *byte == b'7'));
        scene.store.is_one_file(&chain)
    };
    assert!(!is_one_file(511, 1));
    assert!(is_one_file(512, 1));
    assert!(is_one_file(1, 32 << 20));
    let tar = (0..600).fold(Builder::new(), |tar, number| tar.file(&number.to_string(), "")).build();
    assert!(!scene.store.is_one_file(&scene.apply(&[tar]).unwrap()), "it is unpacked while it arrives");
    let upper = scene.store.scratch(None).unwrap();
    (0..600).for_each(|number| fs::write(upper.upper().upper.join(number.to_string()), "").unwrap());
    let layer = scene.store.commit_upper(&scene.lease, None, &upper.upper().upper).unwrap();
    assert!(!scene.store.is_one_file(&layer.chain), "it is a folder already");
}

/// One mount a layer, for as long as somebody keeps it.
#[test]
fn layers_are_attached_while_they_are_used() {
    use crate::{Durability, KeepKind};
    let Some(scene) = Scene::one_file() else { return };
    let base = scene.apply(&[Builder::new().file("a", "x").build()]).unwrap();
    let top = Builder::new().file("b", "x").build();
    let top = scene.apply(&[Builder::new().file("a", "x").build(), top]).unwrap();
    let attached = || {
        let names = crate::files::names(&scene.dir.path().join("run/layers")).unwrap();
        let folder = scene.dir.path().join("run/layers");
        names.iter().filter(|name| carrack_sys::mount::is_attached(&folder.join(name))).count()
    };
    let dirs = scene.store.lower_dirs(Some(&top)).unwrap();
    assert_eq!(scene.store.lower_dirs(Some(&top)).unwrap(), dirs);
    assert_eq!(attached(), 2);
    scene.store.put_layers_away().unwrap();
    assert_eq!(attached(), 2, "the lease keeps them");
    scene.store.keep(KeepKind::Container, "c", &[base], Durability::Cached).unwrap();
    fs::remove_file(fs::read_dir(scene.dir.path().join("run/leases")).unwrap().next().unwrap().unwrap().path())
        .unwrap();
    assert_eq!(scene.store.idle_layers().unwrap().len(), 1);
    scene.store.put_layers_away().unwrap();
    assert_eq!(attached(), 1, "a container keeps the other");
    scene.store.unkeep(KeepKind::Container, "c").unwrap();
    // A command that only looks attaches nothing.
    let looking = crate::Store::open_read_only(scene.store.roots().clone()).unwrap();
    assert!(looking.lower_dirs(Some(&top)).unwrap()[0].join("b").exists());
    assert_eq!(attached(), 1);
    drop(scene.store.lease().unwrap());
    assert_eq!(attached(), 0, "whoever ends puts away what nobody has");
    scene.store.lower_dirs(Some(&top)).unwrap();
    scene.store.remove(&top).unwrap();
    assert_eq!(attached(), 1);
}

/// A tar that blob and layer have in common is one file on disk.
#[test]
fn a_blob_and_its_layer_are_counted_once() {
    use crate::{LayerAttributes, LayerContent};
    let Some(scene) = Scene::one_file() else { return };
    let attributes = LayerAttributes { mode: 0o644, uid: 0, gid: 0, modified: (0, 0), xattrs: Vec::new() };
    let layer = scene.store.commit_written(&scene.lease, None, &mut |writer| {
        let content = LayerContent::File(1 << 20, &mut std::io::repeat(b'x'));
        writer.add(Path::new("file"), attributes.clone(), content).unwrap();
        Ok(())
    });
    let layer = layer.unwrap();
    let snapshot = scene.store.snapshot(&layer.chain).unwrap().unwrap();
    assert!(snapshot.size_bytes > 1 << 20);
    assert!(scene.store.bytes_beside_blob(&snapshot) < 100_000);
    fs::remove_file(scene.dir.path().join("data/content/blobs/sha256").join(layer.diff_id.hex())).unwrap();
    assert_eq!(scene.store.bytes_beside_blob(&snapshot), snapshot.size_bytes);
}
