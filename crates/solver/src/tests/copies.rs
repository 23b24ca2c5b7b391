use std::os::unix::fs::symlink;
use std::path::Path;

use insta::assert_snapshot;

use super::{Yard, is_able};

/// D1: where things go.
#[test]
fn destinations() {
    if !is_able() {
        return;
    }
    let yard = Yard::new();
    yard.write("f", "f").write("g", "g").write("d/x", "x").write("d/e/y", "y");
    let files = |text: &str| yard.files(&yard.build(&format!("FROM scratch\n{text}\n")));
    assert_eq!(files("COPY f /to"), "644 0:0 to \"f\"\n");
    assert_eq!(files("COPY f /to/"), "755 0:0 to/\n644 0:0 to/f \"f\"\n");
    assert_eq!(files("COPY f g /to/"), "755 0:0 to/\n644 0:0 to/f \"f\"\n644 0:0 to/g \"g\"\n");
    assert_eq!(files("COPY f /to/\nCOPY g /to"), "755 0:0 to/\n644 0:0 to/f \"f\"\n644 0:0 to/g \"g\"\n");
    assert_eq!(files("COPY d /to"), "755 0:0 to/\n755 0:0 to/e/\n644 0:0 to/e/y \"y\"\n644 0:0 to/x \"x\"\n");
    assert_eq!(files("COPY d/ /to/"), files("COPY d /to"));
    assert_eq!(
        files("COPY d/* /to/"),
        "755 0:0 to/\n644 0:0 to/x \"x\"\n644 0:0 to/y \"y\"\n",
        "a matched folder's content is copied"
    );
    assert_eq!(files("COPY [fg] /"), "644 0:0 f \"f\"\n644 0:0 g \"g\"\n");
    assert_eq!(
        files("COPY --parents d/e/y f /to/"),
        "755 0:0 to/\n755 0:0 to/d/\n755 0:0 to/d/e/\n644 0:0 to/d/e/y \"y\"\n644 0:0 to/f \"f\"\n"
    );
    assert_eq!(files("COPY --parents d/./e /to/"), "755 0:0 to/\n755 0:0 to/e/\n644 0:0 to/e/y \"y\"\n");
    assert_eq!(files("COPY --exclude=e d /to"), "755 0:0 to/\n644 0:0 to/x \"x\"\n");
    assert_eq!(files("COPY <<A <<B /to/\n1\nA\n2\nB"), "755 0:0 to/\n644 0:0 to/A \"1\\n\"\n644 0:0 to/B \"2\\n\"\n");
}

/// A folder that a copy makes is as old as what it is a copy of; one that is there stays as it is.
#[test]
fn times_of_folders() {
    if !is_able() {
        return;
    }
    let yard = Yard::new();
    yard.write("d/x", "x");
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    std::fs::File::open(yard.context().join("d")).unwrap().set_modified(time).unwrap();
    let image = yard.build("FROM scratch\nCOPY d /new/\nCOPY d /deep/er\nWORKDIR /there\nCOPY d /there\n");
    let tree = yard.tree(&image);
    let modified = |path: &str| tree.stat(Path::new(path)).unwrap().unwrap().st_mtime;
    assert_eq!((modified("new"), modified("deep/er")), (1_000_000_000, 1_000_000_000));
    assert!(modified("there") > 1_000_000_000 && modified("deep") > 1_000_000_000);
}

/// D1: owners by number and name, modes.
#[test]
fn owners_and_modes() {
    if !is_able() {
        return;
    }
    let yard = Yard::new();
    yard.write("passwd", "root:x:0:0::/:\napp:x:101:102::/:\n")
        .write("group", "root:x:0:\nweb:x:103:\n")
        .write("d/x", "x");
    let text = "FROM scratch\nCOPY passwd group /etc/\nCOPY --chown=app d /a/\nCOPY --chown=app:web --chmod=640 d/x /b/\n\
                COPY --chown=7 d/x /c\nCOPY --chown=8:9 d/x /e\nUSER app\nWORKDIR /home/app\n";
    assert_snapshot!(yard.files(&yard.build(text)), @r#"
    755 101:102 a/
    644 101:102 a/x "x"
    640 101:103 b/
    640 101:103 b/x "x"
    644 7:7 c "x"
    644 8:9 e "x"
    755 0:0 etc/
    644 0:0 etc/group "root:x:0:\nweb:x:103:\n"
    644 0:0 etc/passwd "root:x:0:0::/:\napp:x:101:102::/:\n"
    755 101:102 home/
    755 101:102 home/app/
    "#);
    let kept = yard.build("FROM scratch AS a\nCOPY --chown=7:8 d /d\nFROM scratch\nCOPY --from=a / /\n");
    assert_snapshot!(yard.files(&kept), @r#"
    755 7:8 d/
    644 7:8 d/x "x"
    "#);
}

/// As the reference implementation does it, found by comparing with it.
#[test]
fn corners_of_the_reference() {
    if !is_able() {
        return;
    }
    let yard = Yard::new();
    yard.write("f", "f").write("s1", "1").write("s2", "2");
    let files = |text: &str| yard.files(&yard.build(&format!("FROM scratch\n{text}\n")));
    assert_eq!(files("COPY --chmod=711 f /x/y"), "711 0:0 x/\n711 0:0 x/y \"f\"\n", "--chmod is for new folders too");
    assert_eq!(files("COPY --chmod=u=rwX,go= f /x/y"), "755 0:0 x/\n600 0:0 x/y \"f\"\n");
    assert_eq!(files("COPY --from= f /x"), "644 0:0 x \"f\"\n");
    let overwritten = yard.build("FROM scratch\nCOPY s* /x\n");
    assert_eq!(yard.files(&overwritten), "644 0:0 x \"2\"\n");
    assert_eq!(overwritten.warnings[0].code.id, "build/overwritten");
    let into = yard.build("FROM scratch\nCOPY f /d/\nCOPY s* /d\n");
    assert!(into.warnings.is_empty() && yard.files(&into).contains("d/s2"));
    symlink("nowhere", yard.context().join("s3")).unwrap();
    assert!(yard.fail("FROM scratch\nCOPY s* /x/\n").contains("a link that leads nowhere"));
    assert!(yard.fail("FROM scratch\nCOPY --chown=4294967295 f /x\n").starts_with("build/unknown-owner"));
}

/// Every hostile path stays inside or is refused with a place.
#[test]
fn links_and_dots_lead_nowhere_outside() {
    if !is_able() {
        return;
    }
    let yard = Yard::new();
    std::fs::write(yard.folder.path().join("outside"), "outside").unwrap();
    yard.write("d/f", "inside").write("outside", "inside");
    for (name, target) in
        [("up", "../outside"), ("abs", "/outside"), ("far", "../../../../etc/passwd"), ("loop", "loop")]
    {
        symlink(target, yard.context().join(name)).unwrap();
    }
    symlink(yard.folder.path(), yard.context().join("d/parent")).unwrap();
    let files = |text: &str| yard.files(&yard.build(&format!("FROM scratch\n{text}\n")));
    assert_eq!(files("COPY up /x"), "644 0:0 x \"inside\"\n", "`..` ends at the root of the context");
    assert_eq!(files("COPY abs /x"), "644 0:0 x \"inside\"\n", "an absolute link starts there");
    assert_eq!(files("COPY ../../outside /x"), "644 0:0 x \"inside\"\n");
    assert_eq!(files("COPY d/f /../../x"), "644 0:0 x \"inside\"\n");
    assert!(yard.fail("FROM scratch\nCOPY far /x\n").starts_with("build/source-not-found Dockerfile:2:6"));
    assert!(yard.fail("FROM scratch\nCOPY loop /x\n").starts_with("build/copy-failed Dockerfile:2:6"));
    assert!(yard.fail("FROM scratch\nCOPY d/parent/outside /x\n").starts_with("build/source-not-found Dockerfile:2:6"));
    let inside = files("COPY d /d");
    assert!(inside.contains("d/parent -> /"), "links in a folder stay links: {inside}");
}

/// Links of the image: followed within it, never replaced by a folder, never a way out.
#[test]
fn links_of_the_image() {
    if !is_able() {
        return;
    }
    let yard = Yard::new();
    yard.write("f", "f").write("g", "g");
    std::fs::create_dir(yard.context().join("links")).unwrap();
    symlink("usr/lib", yard.context().join("links/lib")).unwrap();
    symlink("../../../../../../tmp", yard.context().join("links/out")).unwrap();
    symlink("/etc/target", yard.context().join("links/file")).unwrap();
    yard.write("tree/lib/h", "h");
    let base = "FROM scratch\nCOPY links /\nCOPY f /usr/lib/\n";
    let result = yard.build(&format!("{base}COPY g /lib/\nCOPY g /out/escaped\nCOPY g /file\n"));
    assert_snapshot!(yard.files(&result), @r#"
    755 0:0 etc/
    644 0:0 etc/target "g"
    777 0:0 file -> /etc/target
    777 0:0 lib -> usr/lib
    777 0:0 out -> ../../../../../../tmp
    755 0:0 tmp/
    644 0:0 tmp/escaped "g"
    755 0:0 usr/
    755 0:0 usr/lib/
    644 0:0 usr/lib/f "f"
    644 0:0 usr/lib/g "g"
    "#);
    assert!(!Path::new("/tmp/escaped").exists());
    let refused = yard.fail(&format!("{base}COPY tree /\n"));
    assert_snapshot!(refused, @"build/copy-failed Dockerfile:4:1 cannot write /lib | a folder cannot replace what is no folder [a file or link stands where a folder is needed: copy elsewhere, or remove it]");
}

/// A tar of `x`, packed by xz(1).
const XZ: &str = "fd377a585a0000016922de360200210116000000742fe5a3e007ff003f5d003c0033501868898301dce26e210546577cd873072d863c6be14e815e2a\
                  17136124a681220b67c7bfcae7fcf5d364381962b828b6fa04b7ae13d9342c37700000005099a68200015780100000009f0b21333e300d8b02000000\
                  0001595a";

/// ADD unpacks archives; COPY does not.
#[test]
fn archives() {
    if !is_able() {
        return;
    }
    let yard = Yard::new();
    yard.write("t/x", "x");
    let mut tar = Vec::new();
    carrack_store::write_tree(&yard.context().join("t"), "", &mut tar).unwrap();
    std::fs::write(yard.context().join("t.tar"), &tar).unwrap();
    std::fs::write(yard.context().join("t.xz"), b"\xfd7zXZ\0rest").unwrap();
    let unpacked = yard.build("FROM scratch\nADD t.tar /d/\n");
    assert_eq!(yard.files(&unpacked), "755 0:0 d/\n644 0:0 d/x \"x\"\n");
    let copied = yard.build("FROM scratch\nCOPY t.xz /d/\n");
    assert!(yard.files(&copied).contains("t.xz"));
    let plain = yard.build("FROM scratch\nADD t/x /d/\nADD --unpack=false t.tar /e/\n");
    assert!(yard.files(&plain).contains("d/x") && yard.files(&plain).contains("e/t.tar"));
    // What only begins like an archive is a file.
    assert!(yard.files(&yard.build("FROM scratch\nADD t.xz /d/\n")).contains("d/t.xz"));
    let zstd = zstd::stream::encode_all(tar.as_slice(), 1).unwrap();
    let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    std::io::Write::write_all(&mut bzip2, &tar).unwrap();
    let bytes = |text: &str| u8::from_str_radix(text, 16).unwrap();
    let xz: Vec<u8> = (0..XZ.len() / 2).map(|index| bytes(&XZ[2 * index..2 * index + 2])).collect();
    for packed in [zstd, bzip2.finish().unwrap(), xz] {
        std::fs::write(yard.context().join("packed"), &packed).unwrap();
        assert_eq!(yard.files(&yard.build("FROM scratch\nADD packed /d/\n")), "755 0:0 d/\n644 0:0 d/x \"x\"\n");
        // Cut off, it is an error with a place; never half of a layer that is kept.
        std::fs::write(yard.context().join("packed"), &packed[..packed.len() - 30]).unwrap();
        let cut = yard.run(&yard.request("FROM scratch\nADD packed /d/\n"));
        assert!(
            cut.as_ref().is_err_and(|error| error.contains("Dockerfile:2:1"))
                || yard.files(&cut.unwrap()).contains("packed")
        );
    }
}

/// An archive brings its owners and modes; --chown replaces the owners, --chmod is not for it.
#[test]
fn archives_keep_their_owners() {
    if !is_able() {
        return;
    }
    let yard = Yard::new();
    yard.write("t/x", "x");
    let file = yard.context().join("t/x");
    std::os::unix::fs::chown(&file, Some(5), Some(7)).unwrap();
    let mut tar = Vec::new();
    carrack_store::write_tree(&yard.context().join("t"), "", &mut tar).unwrap();
    std::fs::write(yard.context().join("t.tar"), &tar).unwrap();
    let files = |flags: &str| yard.files(&yard.build(&format!("FROM scratch\nADD {flags} t.tar /d/\n")));
    assert_eq!(files(""), "755 0:0 d/\n644 5:7 d/x \"x\"\n");
    assert_eq!(files("--chown=8:9"), "755 8:9 d/\n644 8:9 d/x \"x\"\n");
    assert_eq!(files("--chmod=700"), "755 0:0 d/\n644 5:7 d/x \"x\"\n");
}

/// `/./` marks from where folders are kept, below each folder that a pattern before it names.
#[test]
fn patterns_before_the_pivot() {
    if !is_able() {
        return;
    }
    let yard = Yard::new();
    yard.write("a/one/x.txt", "1").write("a/two/s/y.txt", "2").write("b/one/z.md", "3");
    let made = yard.build("FROM scratch\nCOPY --parents a/*/./**/*.txt ?/./one/ /d/\n");
    let files = yard.files(&made);
    for (path, content) in [("d/x.txt", "1"), ("d/s/y.txt", "2"), ("d/one/x.txt", "1"), ("d/one/z.md", "3")] {
        assert!(files.contains(&format!("644 0:0 {path} \"{content}\"\n")), "{path} in {files}");
    }
    // BuildKit's, and how a workspace's manifests are copied.
    yard.write("package.json", "4").write("a/two/s/package.json", "5");
    let files = yard.files(&yard.build("FROM scratch\nCOPY --parents **/package.json /d/\n"));
    for line in ["644 0:0 d/package.json \"4\"", "644 0:0 d/a/two/s/package.json \"5\""] {
        assert!(files.contains(line), "{line} in {files}");
    }
    assert!(!files.contains("txt"), "{files}");
}

#[test]
fn hard_links_stay_links_and_times_are_kept() {
    if !is_able() {
        return;
    }
    use std::os::unix::fs::MetadataExt as _;
    let yard = Yard::new();
    yard.write("d/a", "a");
    std::fs::hard_link(yard.context().join("d/a"), yard.context().join("d/b")).unwrap();
    std::fs::File::open(yard.context().join("d/a")).unwrap().set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    let result = yard.build("FROM scratch\nCOPY d /d\n");
    let lower = carrack_store::Snapshotter::lower_dirs(&yard.store, result.image.chain()).unwrap();
    let (a, b) = (lower[0].join("d/a").metadata().unwrap(), lower[0].join("d/b").metadata().unwrap());
    assert_eq!((a.ino(), a.mtime()), (b.ino(), 0));
}

/// A file with holes may claim more than any disk has: it is refused before it is read.
#[test]
fn holes_larger_than_the_disk() {
    if !is_able() {
        return;
    }
    let yard = Yard::new();
    yard.write("small", "small").write("d/whole", "whole");
    let holes = std::fs::File::create(yard.context().join("d/holes")).unwrap();
    holes.set_len(1 << 42).unwrap();
    let refused = yard.fail("FROM scratch\nCOPY d /d\n");
    let wanted =
        "store/disk-full Dockerfile:2:1 cannot copy the sources | files with holes come to 4398046511104 bytes";
    assert!(refused.starts_with(wanted), "{refused}");
    assert_eq!(yard.files(&yard.build("FROM scratch\nCOPY small /\n")), "644 0:0 small \"small\"\n");
    // What there is room for is copied as what it reads as.
    holes.set_len(9000).unwrap();
    assert!(yard.files(&yard.build("FROM scratch\nCOPY d /d\n")).contains("d/holes \"\\0\\0"));
}

/// The class of CVE-2024-23651: whatever a folder becomes while it is copied, nothing from outside of the context comes in.
#[test]
fn a_folder_that_becomes_a_link_while_it_is_copied() {
    use std::sync::atomic::{AtomicBool, Ordering};
    if !is_able() {
        return;
    }
    let yard = Yard::new();
    let outside = yard.folder.path().join("outside");
    for folder in [&outside, &yard.context().join("d/e")] {
        std::fs::create_dir_all(folder).unwrap();
    }
    for number in 0..50 {
        std::fs::write(outside.join(format!("f{number}")), "secret").unwrap();
        yard.write(&format!("d/e/f{number}"), "public");
    }
    let (folder, link) = (yard.context().join("d/e"), yard.folder.path().join("link"));
    symlink(&outside, &link).unwrap();
    let is_over = AtomicBool::new(false);
    let exchange = || {
        rustix::fs::renameat_with(rustix::fs::CWD, &folder, rustix::fs::CWD, &link, rustix::fs::RenameFlags::EXCHANGE)
    };
    let mut shown = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                exchange().unwrap();
            }
        });
        for number in 0..40 {
            let built = yard.run(&yard.request(&format!("FROM scratch\nCOPY d /to{number}\n")));
            shown.extend(built.map(|image| yard.files(&image)));
        }
        is_over.store(true, Ordering::Relaxed);
    });
    assert!(!shown.iter().any(|files| files.contains("secret")), "{shown:?}");
}
