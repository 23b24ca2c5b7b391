use std::os::fd::AsFd as _;
use std::path::Path;

use carrack_testkit::tar::Builder;
use proptest::prelude::*;

use crate::testing::{Scene, is_root, list};

fn tar() -> Builder {
    Builder::new()
}

/// A base with a little of everything.
fn base() -> Builder {
    tar()
        .mtime(100)
        .dir("etc/")
        .mtime(101)
        .file("etc/passwd", "root")
        .mode(0o700)
        .owner(7, 8)
        .mtime(102)
        .xattr("user.key", "value")
        .dir("opt/")
        .file("opt/tool", "v1")
        .dir("usr/")
        .dir("usr/bin/")
        .symlink("bin", "usr/bin")
        .hard_link("opt/alias", "opt/tool")
}

macro_rules! tree {
    ($layers:expr, @$expected:literal) => {
        if is_root() {
            insta::assert_snapshot!(Scene::new().tree($layers), @$expected);
        }
    };
}

macro_rules! refusal {
    ($layers:expr, @$expected:literal) => {
        if is_root() {
            insta::assert_snapshot!(Scene::new().refusal($layers), @$expected);
        }
    };
}

#[test]
fn a_base_layer() {
    tree!(&[base()], @r#"
    d0755 0:0 0 /
    l0777 0:0 0 /bin -> usr/bin
    d0755 0:0 100 /etc
    -0644 0:0 101 /etc/passwd =root
    d0700 7:8 102 /opt user.key=value
    -0644 0:0 0 /opt/alias x2 =v1
    -0644 0:0 0 /opt/tool x2 =v1
    d0755 0:0 0 /usr
    d0755 0:0 0 /usr/bin
    "#);
}

#[test]
fn every_attribute() {
    let layer = tar()
        .mode(0o4755)
        .owner(1000, 70_000)
        .pax("mtime", "1700000000.123456789")
        .xattr("user.a", "1")
        .xattr("security.capability", [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
        .file("suid", "x")
        .fifo("pipe")
        .char_device("null", 1, 3)
        .member("disk", b'4', "", (8, 0), b"")
        .pax("mtime", "-1.5")
        .symlink("link", "/nowhere")
        .file(&format!("{}end", "a-long-name-of-a-folder/".repeat(5)), "deep");
    tree!(&[layer], @r#"
    d0755 0:0 0 /
    d0755 0:0 0 /a-long-name-of-a-folder
    d0755 0:0 0 /a-long-name-of-a-folder/a-long-name-of-a-folder
    d0755 0:0 0 /a-long-name-of-a-folder/a-long-name-of-a-folder/a-long-name-of-a-folder
    d0755 0:0 0 /a-long-name-of-a-folder/a-long-name-of-a-folder/a-long-name-of-a-folder/a-long-name-of-a-folder
    d0755 0:0 0 /a-long-name-of-a-folder/a-long-name-of-a-folder/a-long-name-of-a-folder/a-long-name-of-a-folder/a-long-name-of-a-folder
    -0644 0:0 0 /a-long-name-of-a-folder/a-long-name-of-a-folder/a-long-name-of-a-folder/a-long-name-of-a-folder/a-long-name-of-a-folder/end =deep
    b0644 0:0 0 /disk 8:0
    l0777 0:0 -2.500000000 /link -> /nowhere
    c0644 0:0 0 /null 1:3
    p0644 0:0 0 /pipe
    -4755 1000:70000 1700000000.123456789 /suid =x security.capability=\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00 user.a=1
    "#);
}

#[test]
fn implicit_folders_are_as_below() {
    tree!(&[base(), tar().file("opt/new", "n").file("none/of/it", "")], @r#"
    d0755 0:0 0 /
    l0777 0:0 0 /bin -> usr/bin
    d0755 0:0 100 /etc
    -0644 0:0 101 /etc/passwd =root
    d0755 0:0 0 /none
    d0755 0:0 0 /none/of
    -0644 0:0 0 /none/of/it
    d0700 7:8 102 /opt user.key=value
    -0644 0:0 0 /opt/alias x2 =v1
    -0644 0:0 0 /opt/new =n
    -0644 0:0 0 /opt/tool x2 =v1
    d0755 0:0 0 /usr
    d0755 0:0 0 /usr/bin
    "#);
}

#[test]
fn a_folder_said_after_its_content_counts() {
    tree!(&[base(), tar().file("opt/new", "n").mode(0o750).mtime(5).dir("opt/")], @r#"
    d0755 0:0 0 /
    l0777 0:0 0 /bin -> usr/bin
    d0755 0:0 100 /etc
    -0644 0:0 101 /etc/passwd =root
    d0750 0:0 5 /opt
    -0644 0:0 0 /opt/alias x2 =v1
    -0644 0:0 0 /opt/new =n
    -0644 0:0 0 /opt/tool x2 =v1
    d0755 0:0 0 /usr
    d0755 0:0 0 /usr/bin
    "#);
}

#[test]
fn whiteouts_remove_what_is_below() {
    tree!(&[base(), tar().file("etc/.wh.passwd", "").file(".wh.opt", "").file(".wh.nothing", "")], @r#"
    d0755 0:0 0 /
    l0777 0:0 0 /bin -> usr/bin
    d0755 0:0 100 /etc
    d0755 0:0 0 /usr
    d0755 0:0 0 /usr/bin
    "#);
}

#[test]
fn whiteouts_do_not_remove_what_the_layer_brings() {
    let before = tar().file("etc/.wh.passwd", "").file("etc/passwd", "new");
    tree!(&[base(), before], @r#"
    d0755 0:0 0 /
    l0777 0:0 0 /bin -> usr/bin
    d0755 0:0 100 /etc
    -0644 0:0 0 /etc/passwd =new
    d0700 7:8 102 /opt user.key=value
    -0644 0:0 0 /opt/alias x2 =v1
    -0644 0:0 0 /opt/tool x2 =v1
    d0755 0:0 0 /usr
    d0755 0:0 0 /usr/bin
    "#);
    let after = tar().file("opt/new", "n").file(".wh.opt", "");
    tree!(&[base(), after], @r#"
    d0755 0:0 0 /
    l0777 0:0 0 /bin -> usr/bin
    d0755 0:0 100 /etc
    -0644 0:0 101 /etc/passwd =root
    d0700 7:8 102 /opt user.key=value
    -0644 0:0 0 /opt/new =n
    d0755 0:0 0 /usr
    d0755 0:0 0 /usr/bin
    "#);
}

#[test]
fn a_device_0_0_is_a_whiteout() {
    tree!(&[base(), tar().char_device("opt", 0, 0).char_device("usr", 0, 0)], @r#"
    d0755 0:0 0 /
    l0777 0:0 0 /bin -> usr/bin
    d0755 0:0 100 /etc
    -0644 0:0 101 /etc/passwd =root
    "#);
}

#[test]
fn opaque_folders_hide_what_is_below() {
    let opaque = tar().file("opt/.wh..wh..opq", "").file("opt/.wh.tool", "").file("opt/new", "n");
    tree!(&[base(), opaque], @r#"
    d0755 0:0 0 /
    l0777 0:0 0 /bin -> usr/bin
    d0755 0:0 100 /etc
    -0644 0:0 101 /etc/passwd =root
    d0700 7:8 102 /opt user.key=value
    -0644 0:0 0 /opt/new =n
    d0755 0:0 0 /usr
    d0755 0:0 0 /usr/bin
    "#);
}

#[test]
fn whiteouts_before_an_opaque_mark_are_not_seen_as_files() {
    tree!(&[base(), tar().file("opt/.wh.tool", "").file("opt/.wh..wh..opq", "").file("opt/new", "")], @r#"
    d0755 0:0 0 /
    l0777 0:0 0 /bin -> usr/bin
    d0755 0:0 100 /etc
    -0644 0:0 101 /etc/passwd =root
    d0700 7:8 102 /opt user.key=value
    -0644 0:0 0 /opt/new
    d0755 0:0 0 /usr
    d0755 0:0 0 /usr/bin
    "#);
}

#[test]
fn a_hard_link_to_itself_changes_nothing() {
    tree!(&[tar().file("f", "x").hard_link("./f", "/f")], @r#"
    d0755 0:0 0 /
    -0644 0:0 0 /f =x
    "#);
}

#[test]
fn aufs_files_are_left_out() {
    tree!(&[tar().dir(".wh..wh.plnk/").file(".wh..wh.plnk/1.2", "x").file(".wh..wh.aufs", "").file("f", "")], @r#"
    d0755 0:0 0 /
    -0644 0:0 0 /f
    "#);
}

#[test]
fn replaced_folders_and_files() {
    let layer = tar().file("opt", "a file now").dir("etc/passwd/").file("etc/passwd/entry", "");
    tree!(&[base(), layer], @r#"
    d0755 0:0 0 /
    l0777 0:0 0 /bin -> usr/bin
    d0755 0:0 100 /etc
    d0755 0:0 0 /etc/passwd
    -0644 0:0 0 /etc/passwd/entry
    -0644 0:0 0 /opt =a file now
    d0755 0:0 0 /usr
    d0755 0:0 0 /usr/bin
    "#);
    let again = tar().file("opt", "a file").dir("opt/").file("opt/only", "");
    tree!(&[base(), again], @r#"
    d0755 0:0 0 /
    l0777 0:0 0 /bin -> usr/bin
    d0755 0:0 100 /etc
    -0644 0:0 101 /etc/passwd =root
    d0755 0:0 0 /opt
    -0644 0:0 0 /opt/only
    d0755 0:0 0 /usr
    d0755 0:0 0 /usr/bin
    "#);
}

#[test]
fn of_duplicates_the_last_wins() {
    tree!(&[tar().file("f", "one").file("f", "two").dir("d/").file("d/x", "").symlink("d", "f").mode(0o600).file("g", "").mode(0o640).file("g", "2")], @r#"
    d0755 0:0 0 /
    l0777 0:0 0 /d -> f
    -0644 0:0 0 /f =two
    -0640 0:0 0 /g =2
    "#);
}

#[test]
fn hard_links_below_are_copied_up() {
    tree!(&[base(), tar().hard_link("opt/third", "opt/tool").hard_link("fourth", "/opt/third")], @r#"
    d0755 0:0 0 /
    l0777 0:0 0 /bin -> usr/bin
    d0755 0:0 100 /etc
    -0644 0:0 101 /etc/passwd =root
    -0644 0:0 0 /fourth x3 =v1
    d0700 7:8 102 /opt user.key=value
    -0644 0:0 0 /opt/alias =v1
    -0644 0:0 0 /opt/third x3 =v1
    -0644 0:0 0 /opt/tool x3 =v1
    d0755 0:0 0 /usr
    d0755 0:0 0 /usr/bin
    "#);
}

#[test]
fn links_in_the_way_are_followed_within_the_image() {
    tree!(&[base(), tar().file("bin/sh", "shell")], @r#"
    d0755 0:0 0 /
    l0777 0:0 0 /bin -> usr/bin
    d0755 0:0 100 /etc
    -0644 0:0 101 /etc/passwd =root
    d0700 7:8 102 /opt user.key=value
    -0644 0:0 0 /opt/alias x2 =v1
    -0644 0:0 0 /opt/tool x2 =v1
    d0755 0:0 0 /usr
    d0755 0:0 0 /usr/bin
    -0644 0:0 0 /usr/bin/sh =shell
    "#);
    tree!(&[tar().symlink("out", "/../../../../etc").file("out/passwd", "inside")], @r#"
    d0755 0:0 0 /
    d0755 0:0 0 /etc
    -0644 0:0 0 /etc/passwd =inside
    l0777 0:0 0 /out -> /../../../../etc
    "#);
    tree!(&[tar().symlink("a", "../../..").dir("etc/").file("a/etc/f", "inside")], @r#"
    d0755 0:0 0 /
    l0777 0:0 0 /a -> ../../..
    d0755 0:0 0 /etc
    -0644 0:0 0 /etc/f =inside
    "#);
}

#[test]
fn a_link_as_last_component_is_replaced_not_followed() {
    tree!(&[tar().symlink("etc", "/etc").dir("etc/").file("etc/f", "")], @r#"
    d0755 0:0 0 /
    d0755 0:0 0 /etc
    -0644 0:0 0 /etc/f
    "#);
    tree!(&[tar().symlink("f", "/etc/passwd").file("f", "mine")], @r#"
    d0755 0:0 0 /
    -0644 0:0 0 /f =mine
    "#);
}

#[test]
fn absolute_names_count_from_the_root() {
    tree!(&[tar().file("/etc/f", "").file("./g", "").file("//h//i", "")], @r#"
    d0755 0:0 0 /
    d0755 0:0 0 /etc
    -0644 0:0 0 /etc/f
    -0644 0:0 0 /g
    d0755 0:0 0 /h
    -0644 0:0 0 /h/i
    "#);
}

#[test]
fn the_root_folder_can_be_described() {
    tree!(&[tar().mode(0o711).owner(1, 2).mtime(9).dir("./").file("f", ""), tar().file("g", "")], @r#"
    d0711 1:2 9 /
    -0644 0:0 0 /f
    -0644 0:0 0 /g
    "#);
}

#[test]
fn names_with_dots_are_refused() {
    refusal!(&[tar().file("../f", "")], @"the layer member `../f` was refused: it has `..` in its name or link: ../f");
    refusal!(&[tar().file("a/../../f", "")], @"the layer member `a/../../f` was refused: it has `..` in its name or link: a/../../f");
    refusal!(&[tar().file("f", "").hard_link("g", "../f")], @"the layer member `g` was refused: it has `..` in its name or link: ../f");
}

#[test]
fn hard_links_to_nothing_or_outside_are_refused() {
    refusal!(&[tar().hard_link("l", "/etc/passwd")], @"the layer member `l` was refused: it is a hard link to nothing");
    refusal!(&[tar().symlink("out", "/etc").hard_link("l", "out/passwd")], @"the layer member `l` was refused: it is a hard link to nothing");
    refusal!(&[tar().dir("d/").hard_link("l", "d")], @"the layer member `l` was refused: it is a hard link to a folder");
    refusal!(&[tar().hard_link("l", "/")], @"the layer member `l` was refused: it is a hard link to the root folder");
    refusal!(&[base(), tar().file("etc/.wh.passwd", "").hard_link("l", "etc/passwd")], @"the layer member `l` was refused: it is a hard link to something that this layer removes");
}

#[test]
fn whiteouts_of_no_name_are_refused() {
    refusal!(&[tar().file(".wh.", "")], @"the layer member `.wh.` was refused: it is a whiteout of no name");
    refusal!(&[tar().file("d/.wh...", "")], @"the layer member `d/.wh...` was refused: it is a whiteout of no name");
    refusal!(&[tar().file(".wh..", "")], @"the layer member `.wh..` was refused: it is a whiteout of no name");
    refusal!(&[tar().file(".wh.d/f", "")], @"the layer member `.wh.d/f` was refused: it lies below a whiteout");
}

#[test]
fn the_overlays_own_attributes_are_refused() {
    refusal!(&[tar().xattr("trusted.overlay.redirect", "/etc").dir("d/")], @"the layer member `d/` was refused: it sets trusted.overlay.redirect, which only the kernel's overlay may");
    refusal!(&[tar().xattr("user.overlay.opaque", "y").dir("d/")], @"the layer member `d/` was refused: it sets user.overlay.opaque, which only the kernel's overlay may");
}

#[test]
fn files_in_the_way_of_folders_are_refused() {
    refusal!(&[tar().file("f", "").file("f/g", "")], @"the layer member `f/g` was refused: it lies below `f`, which is no folder");
    refusal!(&[base(), tar().file("etc/passwd/g", "")], @"the layer member `etc/passwd/g` was refused: it lies below `etc/passwd`, which is no folder");
}

#[test]
fn the_root_stays_a_folder() {
    refusal!(&[tar().symlink(".", "/etc")], @"the layer member `.` was refused: it would replace the root folder");
    refusal!(&[tar().file("/", "x")], @"the layer member `/` was refused: it would replace the root folder");
}

#[test]
fn circles_of_links_end() {
    refusal!(&[tar().symlink("a", "b").symlink("b", "a").file("a/f", "")], @"can't unpack `a/f` into NEW: Too many levels of symbolic links (os error 40)");
}

#[test]
fn names_that_no_file_system_takes_are_told() {
    let scene = Scene::new();
    assert!(scene.refusal(&[tar().file(&"n".repeat(300), "")]).contains("File name too long"));
    assert!(scene.refusal(&[tar().file(&"d/".repeat(3000), "")]).contains("File name too long"));
}

#[test]
fn nobody_owns_nothing() {
    refusal!(&[tar().pax("uid", "4294967295").file("f", "")], @"the layer member `f` was refused: it belongs to user or group 4294967295, which means nobody at all to the kernel");
}

#[test]
fn a_claimed_size_beyond_the_stream_is_told() {
    refusal!(&[tar().claimed_size(1 << 32).file("f", "short")], @"can't unpack a tar into NEW: the tar ends in the middle of a member");
}

#[test]
fn extracting_for_add_replaces_owners_and_keeps_whiteouts_as_files() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("kept")).unwrap();
    std::os::unix::fs::symlink("kept", dir.path().join("link")).unwrap();
    let archive = tar().file("link/f", "x").file(".wh.kept", "").file("/../up", "").build();
    let error = crate::extract(archive.as_slice(), dir.path(), Path::new("/shown"), Some((5, 6))).unwrap_err();
    assert_eq!(error.code.id, "store/hostile-layer");
    let archive = tar().mtime(3).file("link/f", "x").mtime(4).file(".wh.kept", "").build();
    crate::extract(archive.as_slice(), dir.path(), Path::new("/shown"), Some((5, 6))).unwrap();
    let listed = list(std::fs::File::open(dir.path()).unwrap().as_fd());
    assert!(listed.contains("-0644 5:6 4 /.wh.kept\n"), "{listed}");
    assert!(listed.contains("-0644 5:6 3 /kept/f =x\n"), "{listed}");
}

#[test]
fn a_view_follows_links_within_the_image() {
    if !is_root() {
        return;
    }
    let scene = Scene::new();
    let layers = [base(), tar().symlink("etc/alias", "/../etc/passwd").symlink("loop", "loop").file("usr/bin/sh", "s")];
    let layers: Vec<_> = layers.into_iter().map(Builder::build).collect();
    let chain = scene.apply(&layers).unwrap();
    let view = scene.store.view(Some(&chain)).unwrap();
    assert_eq!(view.read(Path::new("/etc/alias"), 100).unwrap().as_deref(), Some(&b"root"[..]));
    assert_eq!(view.read(Path::new("bin/sh"), 100).unwrap().as_deref(), Some(&b"s"[..]));
    assert_eq!(view.read(Path::new("/missing"), 100).unwrap(), None);
    assert_eq!(view.read(Path::new("/etc"), 100).unwrap(), None);
    assert!(view.read(Path::new("/etc/passwd"), 3).is_err());
    assert!(view.read(Path::new("/loop"), 3).is_err());
    assert_eq!(view.resolve(Path::new("../bin")).unwrap().as_deref(), Some(Path::new("usr/bin")));
    assert!(view.is_dir(Path::new("/bin")).unwrap());
}

/// A name of a megabyte is no message.
#[test]
fn long_names_are_cut_in_messages() {
    let name = format!("../{}end", "x".repeat(1 << 16));
    let archive = tar().file(&name, "").build();
    let dir = tempfile::tempdir().unwrap();
    let error = crate::extract(archive.as_slice(), dir.path(), Path::new("/shown"), None).unwrap_err();
    assert!(error.message.len() < 500 && error.message.contains("xend`"), "{}", error.message);
    let text = format!("{error:?}");
    assert!(text.len() < 2000, "nor is it anywhere else");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// An archive with any bytes changed is unpacked or refused, and what it holds lies in its folder.
    #[test]
    fn damaged_archives_stay_inside(
        changes in prop::collection::vec((any::<prop::sample::Index>(), prop_oneof![any::<u8>(), Just(b'/'), Just(b'.'), b'0'..=b'7']), 1..12),
        kept in any::<prop::sample::Index>(),
    ) {
        const BLOCK: usize = 512;
        prop_assume!(is_root());
        let archive = base().symlink("up", "../outside").file("up/x", "x").hard_link("again", "up/x").fifo("pipe");
        let mut archive = archive.pax("path", "deep/er/name").file("short", "y").build();
        let length = archive.len() / 2 + kept.index(archive.len() / 2 + 1);
        archive.truncate(length);
        for (index, value) in changes {
            let at = index.index(archive.len());
            archive[at] = value;
            let start = at / BLOCK * BLOCK;
            // With a right checksum, so that the damage is reached.
            if let Some(block) = archive.get_mut(start..start + BLOCK) {
                let mut header = ::tar::Header::new_ustar();
                header.as_mut_bytes().copy_from_slice(block);
                header.set_cksum();
                block.copy_from_slice(header.as_bytes());
            }
        }
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        std::fs::create_dir(&root).unwrap();
        let _ = crate::extract(archive.as_slice(), &root, Path::new("/shown"), Some((0, 0)));
        let beside: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        prop_assert_eq!(beside, ["root"]);
    }
}
