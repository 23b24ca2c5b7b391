//! What every [`Snapshotter`] has to do, whatever it keeps on disk. A second implementation gets a line in [`every`].

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

use carrack_oci::Digest;
use carrack_testkit::tar::Builder;

use super::{Snapshotter, chain_of};
use crate::testing::{Scene, below, is_root, list, without_counts};

/// Each implementation on a store of its own.
fn every(test: impl Fn(&Scene, &dyn Snapshotter)) {
    if !is_root() {
        return;
    }
    for scene in std::iter::once(Scene::on_disk()).chain(Scene::one_file()).chain(Scene::auto()) {
        test(&scene, &scene.store);
    }
}

fn layer(text: &str) -> Vec<u8> {
    Builder::new().file(text, text).build()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

struct Unreadable;

impl Read for Unreadable {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("a layer that is there is not read"))
    }
}

#[test]
fn a_layer_is_there_once_it_is_committed() {
    every(|scene, snapshotter| {
        let tar = layer("base");
        let base = Digest::of(&tar);
        assert_eq!(snapshotter.snapshot(&base).unwrap(), None);
        assert_eq!(snapshotter.lower_dirs(Some(&base)).unwrap_err().code.id, "store/not-found");
        let snapshot = snapshotter.apply(&scene.lease, None, &base, &mut tar.as_slice()).unwrap();
        assert_eq!((snapshot.chain, snapshot.parent, snapshot.diff_id), (base, None, base));
        assert_eq!(snapshotter.snapshot(&base).unwrap().as_ref(), Some(&snapshot));
        assert_eq!(snapshotter.apply(&scene.lease, None, &base, &mut Unreadable).unwrap(), snapshot);
        assert_eq!(snapshotter.snapshots().unwrap(), [snapshot]);
    });
}

#[test]
fn a_child_comes_after_its_parent() {
    every(|scene, snapshotter| {
        let (base, child) = (layer("base"), layer("child"));
        let (base_id, child_id) = (Digest::of(&base), Digest::of(&child));
        let apply = |tar: &Vec<u8>, parent, id| snapshotter.apply(&scene.lease, parent, id, &mut tar.as_slice());
        assert_eq!(apply(&child, Some(&base_id), &child_id).unwrap_err().code.id, "store/not-found");
        apply(&base, None, &base_id).unwrap();
        let snapshot = apply(&child, Some(&base_id), &child_id).unwrap();
        assert_eq!(snapshot.chain, chain_of(Some(&base_id), &child_id));
        let dirs = snapshotter.lower_dirs(Some(&snapshot.chain)).unwrap();
        assert!(dirs[0].join("child").is_file(), "topmost first");
        assert_eq!(dirs[1..], snapshotter.lower_dirs(Some(&base_id)).unwrap());
        assert_eq!(apply(&child, None, &child_id).unwrap().parent, None, "the same layer, another chain");
    });
}

#[test]
fn what_is_not_its_digest_leaves_nothing() {
    every(|scene, snapshotter| {
        let other = Digest::of("other");
        let error = snapshotter.apply(&scene.lease, None, &other, &mut layer("x").as_slice()).unwrap_err();
        assert_eq!(error.code.id, "store/digest-mismatch");
        assert_eq!(snapshotter.snapshots().unwrap(), []);
        assert!(fs::read_dir(scene.store.new_snapshots_dir()).unwrap().next().is_none());
    });
}

#[test]
fn gzip_and_zstd_are_read_and_others_are_named() {
    every(|scene, snapshotter| {
        let tar = layer("base");
        let base = Digest::of(&tar);
        snapshotter.apply(&scene.lease, None, &base, &mut gzip(&tar).as_slice()).unwrap();
        let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 1).unwrap();
        let child = layer("child");
        snapshotter.apply(&scene.lease, Some(&base), &Digest::of(&child), &mut zstd(&child).as_slice()).unwrap();
        let xz = [0xfd, b'7', b'z', b'X', b'Z', 0];
        let error = snapshotter.apply(&scene.lease, None, &Digest::of(xz), &mut xz.as_slice()).unwrap_err();
        assert_eq!((error.code.id, error.message.as_str()), ("store/compression", "the layer is compressed with xz"));
        for cut in [&gzip(&layer("cut"))[..30], &zstd(&layer("cut"))[..30]] {
            let error = snapshotter.apply(&scene.lease, None, &Digest::of(layer("cut")), &mut &cut[..]).unwrap_err();
            assert_eq!(error.code.id, "store/invalid-tar");
        }
    });
}

#[test]
fn padding_behind_the_end_counts_for_the_digest() {
    every(|scene, snapshotter| {
        let mut tar = layer("padded");
        tar.resize(10_240, 0);
        snapshotter.apply(&scene.lease, None, &Digest::of(&tar), &mut tar.as_slice()).unwrap();
    });
}

#[test]
fn no_layers_are_one_empty_folder() {
    every(|_, snapshotter| {
        let dirs = snapshotter.lower_dirs(None).unwrap();
        assert_eq!(dirs.len(), 1);
        assert!(fs::read_dir(&dirs[0]).unwrap().next().is_none());
    });
}

#[test]
fn what_is_removed_is_gone() {
    every(|scene, snapshotter| {
        let base = scene.apply(&[layer("base")]).unwrap();
        snapshotter.remove(&base).unwrap();
        assert_eq!(snapshotter.snapshot(&base).unwrap(), None);
        snapshotter.remove(&base).unwrap();
        scene.apply(&[layer("base")]).unwrap();
    });
}

fn base() -> Builder {
    Builder::new()
        .mtime(50)
        .dir("etc/")
        .file("etc/kept", "kept")
        .file("etc/gone", "gone")
        .dir("old/")
        .file("old/content", "x")
        .dir("remade/")
        .file("remade/before", "x")
        .file("tool", "v1")
        .hard_link("tool-alias", "tool")
        .xattr("security.capability", [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
        .file("capable", "x")
}

/// What a program may do to its root file system.
fn work_in(root: &std::os::fd::OwnedFd) {
    let at = |path: &str| below(root, path);
    fs::remove_file(at("etc/gone")).unwrap();
    fs::remove_dir_all(at("old")).unwrap();
    fs::remove_dir_all(at("remade")).unwrap();
    fs::create_dir(at("remade")).unwrap();
    fs::write(at("remade/after"), "new").unwrap();
    fs::write(at("tool"), "v2").unwrap();
    fs::set_permissions(at("capable"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::create_dir_all(at("deep/").join("long-name-".repeat(12)).join("x")).unwrap();
    fs::write(at("deep/two"), "linked").unwrap();
    fs::hard_link(at("deep/two"), at("deep/also-two")).unwrap();
    symlink("/../etc", at("link")).unwrap();
    rustix::fs::mkfifoat(root, "pipe", rustix::fs::Mode::RUSR).unwrap();
    rustix::fs::chownat(
        root,
        "deep/two",
        Some(rustix::fs::Uid::from_raw(3_000_000)),
        Some(rustix::fs::Gid::from_raw(12)),
        rustix::fs::AtFlags::empty(),
    )
    .unwrap();
    std::os::unix::net::UnixListener::bind(at("socket")).map(drop).unwrap();
    fs::set_permissions(at("."), fs::Permissions::from_mode(0o751)).unwrap();
}

/// A committed upper directory, and its layer applied anew from its tar, show one tree.
#[test]
fn a_committed_upper_directory_is_what_its_tar_says() {
    every(|scene, snapshotter| {
        let parent = scene.apply(&[base().build()]).unwrap();
        let upper = scene.store.prepare_upper("0123", Some(&parent)).unwrap();
        let lowers = snapshotter.lower_dirs(Some(&parent)).unwrap();
        let Some(root) = scene.overlay(&lowers, Some(&upper)) else { return };
        work_in(&root);
        // The program wrote through the mount; its tree is what has to come out, less what no layer can hold.
        fs::remove_file(below(&root, "socket")).unwrap();
        let wanted = list(root.as_fd());
        drop(root);
        let layer = snapshotter.commit_upper(&scene.lease, Some(&parent), &upper.upper).unwrap();
        assert!(!upper.upper.exists());
        let but_the_roots_time = |tree: &str| without_counts(tree)[1..].to_vec();
        let shown = scene.show(&layer.chain);
        assert_eq!(but_the_roots_time(&shown), but_the_roots_time(&wanted));
        assert!(shown.starts_with("d0751 0:0 0 /\n"), "{shown}");

        let anew = Scene::new();
        anew.apply(&[base().build()]).unwrap();
        let mut tar = scene.store.blob(&layer.diff_id).unwrap();
        anew.store.apply(&anew.lease, Some(&parent), &layer.diff_id, &mut tar).unwrap();
        assert_eq!(anew.show(&layer.chain), shown);
        assert!(wanted.contains("capable =x security.capability="), "{wanted}");
        assert!(!wanted.contains("/old"), "{wanted}");
    });
}

/// A layer that is written entry by entry, and that layer applied anew from its tar, show one tree.
#[test]
fn a_written_layer_is_what_its_tar_says() {
    use crate::{LayerAttributes, LayerContent};
    use std::path::Path;
    every(|scene, snapshotter| {
        let parent = scene.apply(&[base().build()]).unwrap();
        let with = |mode| LayerAttributes { mode, uid: 7, gid: 3_000_000, modified: (5, 250), xattrs: Vec::new() };
        let layer = snapshotter.commit_written(&scene.lease, Some(&parent), &mut |writer| {
            let capable = LayerAttributes { xattrs: vec![(b"user.note".to_vec(), b"x".to_vec())], ..with(0o4711) };
            let mut add = |path: &str, attributes: LayerAttributes, content: LayerContent<'_>| {
                writer.add(Path::new(path), attributes, content).unwrap();
            };
            add("etc", with(0o750), LayerContent::Folder);
            add("etc/gone", capable, LayerContent::File(3, &mut &b"new"[..]));
            add("etc/again", with(0), LayerContent::HardLink(Path::new("etc/gone")));
            add("tool", with(0o777), LayerContent::Symlink(Path::new("etc/gone")));
            add("null", with(0o666), LayerContent::CharDevice(1, 3));
            add("disk", with(0o600), LayerContent::BlockDevice(259, 300));
            add("pipe", with(0o600), LayerContent::Fifo);
            Ok(())
        });
        let layer = layer.unwrap();
        let shown = scene.show(&layer.chain);
        let lines: Vec<&str> = shown.lines().filter(|line| line.contains(" 7:3000000 ")).collect();
        assert_eq!(
            lines,
            [
                "b0600 7:3000000 5.000000250 /disk 259:300",
                "d0750 7:3000000 5.000000250 /etc",
                "-4711 7:3000000 5.000000250 /etc/again x2 =new user.note=x",
                "-4711 7:3000000 5.000000250 /etc/gone x2 =new user.note=x",
                "c0666 7:3000000 5.000000250 /null 1:3",
                "p0600 7:3000000 5.000000250 /pipe",
                "l0777 7:3000000 5.000000250 /tool -> etc/gone",
            ]
        );
        assert!(shown.contains("/etc/kept =kept"), "{shown}");
        let anew = Scene::new();
        anew.apply(&[base().build()]).unwrap();
        let mut tar = scene.store.blob(&layer.diff_id).unwrap();
        anew.store.apply(&anew.lease, Some(&parent), &layer.diff_id, &mut tar).unwrap();
        assert_eq!(anew.show(&layer.chain), shown);
    });
}

#[test]
fn a_layer_whose_writing_fails_leaves_nothing() {
    use crate::{LayerAttributes, LayerContent};
    every(|scene, snapshotter| {
        let with = || LayerAttributes { mode: 0o644, uid: 0, gid: 0, modified: (0, 0), xattrs: Vec::new() };
        let mut said = String::new();
        let failed = snapshotter.commit_written(&scene.lease, None, &mut |writer| {
            let mut add = |path: &str, size_bytes| {
                writer.add(std::path::Path::new(path), with(), LayerContent::File(size_bytes, &mut &b"abc"[..]))
            };
            add("whole", 3).unwrap();
            for result in [add(".wh.removed", 3), add("short", 4)] {
                said.push_str(&format!("{}; ", result.unwrap_err()));
            }
            Err(carrack_diag::Diagnostic::error(&crate::codes::IO, "given up").boxed())
        });
        assert_eq!(failed.unwrap_err().message, "given up");
        assert_eq!(
            said,
            "`.wh.removed` would read as a removal: layers reserve names with .wh.; `short` became shorter while it was \
             read; "
        );
        assert_eq!(snapshotter.snapshots().unwrap(), []);
        assert_eq!(scene.store.blobs().unwrap(), []);
        for folder in [scene.store.new_snapshots_dir(), scene.store.ingest_dir()] {
            assert!(fs::read_dir(folder).unwrap().next().is_none());
        }
    });
}

/// A tar has no holes: a file of them would fill the disk.
#[test]
fn holes_larger_than_the_disk_are_refused() {
    every(|scene, snapshotter| {
        let scratch = scene.store.scratch(None).unwrap();
        let upper = scratch.upper().upper;
        File::create(upper.join("holes")).unwrap().set_len(1 << 42).unwrap();
        let refused = snapshotter.commit_upper(&scene.lease, None, &upper).unwrap_err();
        assert_eq!(refused.code.id, "store/disk-full");
        assert_eq!(snapshotter.snapshots().unwrap(), []);
        assert!(fs::read_dir(scene.store.ingest_dir()).unwrap().next().is_none());
    });
}

#[test]
fn the_same_tree_is_the_same_layer() {
    every(|_, _| {
        let commit = || {
            let scene = Scene::new();
            let upper = scene.store.scratch(None).unwrap();
            let dir = upper.upper().upper;
            for name in ["b", "a", "c"] {
                fs::write(dir.join(name), name).unwrap();
                let file = File::options().write(true).open(dir.join(name)).unwrap();
                file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(7)).unwrap();
            }
            let layer = scene.store.commit_upper(&scene.lease, None, &dir).unwrap();
            assert_eq!(scene.store.blob_size_bytes(&layer.diff_id), Some(layer.blob.size));
            layer
        };
        let layer = commit();
        assert_eq!(commit(), layer);
        // Three members with a header and a block each, and the end: no pax header, no root.
        assert_eq!(layer.blob.size, 8 * 512);
    });
}

#[test]
fn an_equal_upper_directory_is_committed_once() {
    every(|scene, snapshotter| {
        let commit = || {
            let scratch = scene.store.scratch(None).unwrap();
            snapshotter.commit_upper(&scene.lease, None, &scratch.upper().upper).unwrap()
        };
        assert_eq!(commit(), commit());
        assert_eq!(snapshotter.snapshots().unwrap().len(), 1);
    });
}

#[test]
fn names_that_would_read_as_removals_are_told() {
    every(|scene, snapshotter| {
        let scratch = scene.store.scratch(None).unwrap();
        fs::write(scratch.upper().upper.join(".wh.file"), "").unwrap();
        let error = snapshotter.commit_upper(&scene.lease, None, &scratch.upper().upper).unwrap_err();
        assert_eq!(error.code.id, "store/hostile-layer");
        assert!(error.causes[0].contains("`.wh.file`"), "{error}");
        assert_eq!(snapshotter.snapshots().unwrap(), []);
    });
}

#[test]
fn an_upper_directory_stays_until_it_is_removed() {
    every(|scene, _| {
        let base = scene.apply(&[Builder::new().mode(0o711).owner(3, 4).dir("./").build()]).unwrap();
        let upper = scene.store.prepare_upper("abcd", Some(&base)).unwrap();
        let metadata = fs::metadata(&upper.upper).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o7777, 0o755, "a root that anybody may enter");
        assert_eq!((metadata.uid(), metadata.gid()), (3, 4), "else it looks as below");
        fs::write(upper.upper.join("f"), "").unwrap();
        assert_eq!(scene.store.prepare_upper("abcd", Some(&base)).unwrap(), upper);
        assert!(upper.upper.join("f").exists());
        assert!(scene.store.prepare_upper("../x", Some(&base)).is_err());
    });
}
