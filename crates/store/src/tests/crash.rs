//! Kill -9 in the middle of things, and a full disk (I-3).

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use carrack_oci::Digest;
use carrack_testkit::tar::Builder;

use crate::testing::{Scene, is_root, roots};
use crate::{Durability, Layout, Lock, Scope, Snapshotter as _, Store, chain_of};

const CHILD: &str = "CARRACK_STORE_TEST_CHILD";
const DIR: &str = "CARRACK_STORE_TEST_DIR";

/// Runs one of [`child`]'s tasks in a process of its own and waits for its first line.
fn start(task: &str, dir: &Path) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "tests::crash::child", "--nocapture"])
        .env(CHILD, task)
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().ends_with("READY")), "the child is at work");
    child
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Not a test of its own: the other side of those below.
#[test]
fn child() {
    let Ok(task) = std::env::var(CHILD) else { return };
    let store = Store::open(roots(Path::new(&std::env::var_os(DIR).unwrap()))).unwrap();
    let lease = store.lease().unwrap();
    let ready = || {
        println!("READY");
        std::io::stdout().flush().unwrap();
    };
    match task.as_str() {
        "hold" => {
            let mut ingest = store.ingest().unwrap();
            ingest.write_all(b"half").unwrap();
            let scratch = store.scratch(None).unwrap();
            std::fs::write(scratch.upper().upper.join("file"), "half").unwrap();
            let _lock = store.lock(Lock::Network, crate::DEFAULT_WAIT).unwrap();
            lease.add(&[Digest::of("kept")]).unwrap();
            ready();
            std::thread::park();
        }
        "work" => {
            ready();
            for number in 0_u64.. {
                let text = number.to_string();
                store.ingest_bytes(&lease, text.repeat(100).as_bytes()).unwrap();
                let layer = Builder::new().file("f", &text).dir("d/").file("d/g", text.repeat(3000)).build();
                store.apply(&lease, None, &Digest::of(&layer), &mut layer.as_slice()).unwrap();
                let scratch = store.scratch(None).unwrap();
                std::fs::write(scratch.upper().upper.join("f"), &text).unwrap();
                store.commit_upper(&lease, None, &scratch.upper().upper).unwrap();
                store
                    .records("things", "thing", Layout::Flat)
                    .put("one", &text.repeat(500), Durability::Cached)
                    .unwrap();
                let guard = store.lock(Lock::Stack("shop".into()), crate::DEFAULT_WAIT).unwrap();
                store.ledger("shop").unwrap().append(&guard, |_| text).unwrap();
            }
        }
        other => panic!("{other}"),
    }
}

fn leftovers(store: &Store) -> Vec<PathBuf> {
    let dirs = [store.ingest_dir(), store.new_snapshots_dir(), store.run_ingest_dir(), store.leases_dir()];
    dirs.iter().flat_map(|dir| std::fs::read_dir(dir).unwrap()).map(|entry| entry.unwrap().path()).collect()
}

/// Files that are neither records nor content.
fn files_beside(dir: &Path) -> Vec<PathBuf> {
    let mut beside = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(path) = open.pop() {
        let name = path.file_name().unwrap().to_str().unwrap();
        let is_known =
            name.ends_with(".json") || Digest::from_hex(name).is_some() || matches!(name, "version" | "fs" | "common");
        let is_lock = path.parent().is_some_and(|parent| parent.ends_with("locks"));
        // What every container has is in place or not, as a whole.
        if path.is_dir() && !matches!(name, "fs" | "common") {
            open.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if !is_known && !is_lock {
            beside.push(path);
        }
    }
    beside
}

#[test]
fn what_a_living_process_holds_is_not_swept_and_what_a_dead_one_left_is() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let child = start("hold", dir.path());
    let store = Store::open(roots(dir.path())).unwrap();
    assert_eq!(leftovers(&store).len(), 3, "an ingest, an upper directory, a lease");
    assert!(store.leased().unwrap().contains(&Digest::of("kept")));
    let locked = store.lock(Lock::Network, std::time::Duration::from_millis(1)).unwrap_err();
    assert!(locked.causes[0].contains(&format!("process {} holds it", child.id())), "{locked}");
    kill(child);
    store.lock(Lock::Network, std::time::Duration::from_secs(5)).unwrap();
    assert_eq!(leftovers(&store).len(), 3, "nothing but a mutating open sweeps");
    Store::open_read_only(roots(dir.path())).unwrap();
    assert_eq!(leftovers(&store).len(), 3);
    Store::open(roots(dir.path())).unwrap();
    assert_eq!(leftovers(&store), Vec::<PathBuf>::new());
}

/// Whatever is visible after a kill is whole.
#[test]
fn nothing_visible_is_torn_after_a_kill() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for milliseconds in [3, 8, 15, 25, 40] {
        let child = start("work", dir.path());
        // The instant of the kill is the point of the test, not something to wait for.
        std::thread::sleep(std::time::Duration::from_millis(milliseconds));
        kill(child);
        let store = Store::open(roots(dir.path())).unwrap();
        assert_eq!(leftovers(&store), Vec::<PathBuf>::new());
        assert_eq!(files_beside(dir.path()), Vec::<PathBuf>::new(), "nothing half-written lies elsewhere");
        for blob in store.blobs().unwrap() {
            store.read_blob(&blob, 1 << 20).unwrap();
        }
        for snapshot in store.snapshots().unwrap() {
            assert_eq!(snapshot.chain, chain_of(None, &snapshot.diff_id));
            let view = store.view(Some(&snapshot.chain)).unwrap();
            let text = view.read(Path::new("f"), 100).unwrap().unwrap();
            if let Some(more) = view.read(Path::new("d/g"), 1 << 20).unwrap() {
                assert_eq!(more, text.repeat(3000));
            }
        }
        store.records::<String>("things", "thing", Layout::Flat).list().unwrap();
        let ledger = store.ledger("shop").unwrap();
        for entry in ledger.list().unwrap() {
            ledger.read::<String>(entry.number).unwrap();
        }
        store.prune(Scope::Unreferenced).unwrap();
        assert_eq!(store.blobs().unwrap(), []);
        assert_eq!(store.snapshots().unwrap(), []);
    }
}

/// Two processes on one store, with a prune beside them.
#[test]
fn two_processes_at_once_are_safe() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let children = [start("work", dir.path()), start("work", dir.path())];
    let scene = Scene::at(dir);
    for number in 0..15 {
        let layer = Builder::new().file("f", number.to_string()).build();
        let chain = scene.apply(&[layer]).unwrap();
        scene.store.prune(Scope::Unused).unwrap();
        assert!(scene.store.view(Some(&chain)).unwrap().read(Path::new("f"), 10).unwrap().is_some());
    }
    for mut child in children {
        assert!(child.try_wait().unwrap().is_none(), "it goes on");
        kill(child);
    }
    let ledger = scene.store.ledger("shop").unwrap();
    let numbers: Vec<u64> = ledger.list().unwrap().iter().map(|entry| entry.number).collect();
    assert!(numbers.iter().copied().eq(1..=numbers.len() as u64), "each number once: {numbers:?}");
}

/// A small file system of its own, gone with the value. None without the capability.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn mount(at: &Path, size: &str) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let options = std::ffi::CString::new(format!("size={size},mode=700")).unwrap();
        match rustix::mount::mount("tmpfs", at, "tmpfs", rustix::mount::MountFlags::empty(), options.as_c_str()) {
            Ok(()) => Some(Self(at.to_owned())),
            Err(error) => {
                eprintln!("skipped: no tmpfs mount here ({error})");
                None
            }
        }
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH);
    }
}

#[test]
fn a_full_disk_leaves_the_store_intact_and_says_what_to_do() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let Some(_tmpfs) = Tmpfs::mount(&dir.path().join("data"), "2m") else { return };
    let scene = Scene::at(dir);
    let kept = scene.store.ingest_bytes(&scene.lease, b"kept").unwrap();
    let things = scene.store.records::<String>("things", "thing", Layout::Flat);
    things.put("one", &"old".to_owned(), Durability::Synced).unwrap();
    let large = vec![7_u8; 4 << 20];

    let full = |error: Box<carrack_diag::Diagnostic>| {
        assert_eq!(error.code.id, "store/disk-full", "{error}");
        assert!(error.hints[0].contains("carrack rmi"), "{error}");
        assert_eq!(leftovers(&scene.store).len(), 1, "only the lease");
    };
    full(scene.store.ingest_bytes(&scene.lease, &large).unwrap_err());
    let layer = Builder::new().file("large", &large).build();
    full(scene.store.apply(&scene.lease, None, &Digest::of(&layer), &mut layer.as_slice()).unwrap_err());
    full(scene.store.load(layer.as_slice(), &carrack_oci::Platform::host(), &|_, _, _| Ok(Vec::new())).unwrap_err());

    // To the last block, so that not even a record fits.
    let mut filler = std::fs::File::create(scene.store.roots().data.join("filler")).unwrap();
    while filler.write_all(&[0; 4096]).is_ok() {}
    while filler.write_all(&[0]).is_ok() {}
    full(things.put("one", &"new".repeat(5000), Durability::Synced).unwrap_err());
    full(scene.store.put_version(&[1; 9000]).unwrap_err());
    assert_eq!(things.get("one").unwrap().as_deref(), Some("old"));
    assert_eq!(scene.store.read_blob(&kept, 100).unwrap(), b"kept");
    assert_eq!(scene.store.snapshots().unwrap(), []);

    drop(filler);
    std::fs::remove_file(scene.store.roots().data.join("filler")).unwrap();
    things.put("one", &"new".to_owned(), Durability::Synced).unwrap();
    scene.store.ingest_bytes(&scene.lease, &large[..1 << 20]).unwrap();
}

/// A bomb of zeros costs no memory, and the disk bounds it.
#[test]
fn a_bomb_is_bounded_by_the_disk() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let Some(_tmpfs) = Tmpfs::mount(&dir.path().join("data"), "8m") else { return };
    let scene = Scene::at(dir);
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    bomb.write_all(&Builder::new().claimed_size(1 << 30).file("zeros", "").build_cut()).unwrap();
    for _ in 0..64 {
        bomb.write_all(&[0; 1 << 20]).unwrap();
    }
    let bomb = bomb.finish().unwrap();
    let error = scene.store.apply(&scene.lease, None, &Digest::of("x"), &mut bomb.as_slice()).unwrap_err();
    assert_eq!(error.code.id, "store/disk-full", "{error}");
    assert_eq!(leftovers(&scene.store).len(), 1, "only the lease");
}
