use std::path::Path;

use carrack_oci::Digest;
use serde::{Deserialize, Serialize};

use crate::testing::{Scene, roots};
use crate::{Durability, Layout, Lock, Records, Roots, Scope, Snapshotter as _, Store};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Thing {
    number: u32,
}

fn things(scene: &Scene, layout: Layout) -> Records<Thing> {
    scene.store.records("things", "thing", layout)
}

#[test]
fn records_come_and_go_in_both_layouts() {
    for layout in [Layout::Flat, Layout::Folder("record.json")] {
        let scene = Scene::new();
        let things = things(&scene, layout);
        assert_eq!(things.list().unwrap().len(), 0);
        assert_eq!(things.get("a").unwrap(), None);
        things.put("b", &Thing { number: 1 }, Durability::Synced).unwrap();
        things.put("a", &Thing { number: 2 }, Durability::Cached).unwrap();
        things.put("b", &Thing { number: 3 }, Durability::Cached).unwrap();
        assert_eq!(things.names().unwrap(), ["a", "b"]);
        assert_eq!(things.list().unwrap()["b"], Thing { number: 3 });
        assert!(things.remove("a").unwrap());
        assert!(!things.remove("a").unwrap());
    }
}

/// Torn, foreign and hand-edited files are told, never a panic.
#[test]
fn torn_records_are_told() {
    let scene = Scene::new();
    let things = things(&scene, Layout::Flat);
    things.put("a", &Thing { number: 1 }, Durability::Cached).unwrap();
    let path = things.path("a").unwrap();
    for torn in [&b"{"[..], b"{\"number\":", b"{\"number\":-1}", b"\xff\xfe", b"[]", b"null"] {
        std::fs::write(&path, torn).unwrap();
        let error = things.get("a").unwrap_err();
        assert_eq!(error.code.id, "store/corrupt-record");
        assert!(error.message.contains(path.to_str().unwrap()), "{error}");
        assert!(things.list().is_err());
    }
}

#[test]
fn a_record_that_a_power_failure_emptied_was_never_there() {
    let scene = Scene::new();
    let things = things(&scene, Layout::Flat);
    std::fs::create_dir(scene.dir.path().join("data/things")).unwrap();
    std::fs::write(things.path("a").unwrap(), "").unwrap();
    assert_eq!(things.get("a").unwrap(), None);
    assert_eq!(things.list().unwrap().len(), 0);
    things.put("a", &Thing { number: 1 }, Durability::Cached).unwrap();
    assert_eq!(things.list().unwrap().len(), 1);
}

#[test]
fn other_files_beside_records_are_not_records() {
    let scene = Scene::new();
    let things = things(&scene, Layout::Flat);
    things.put("a", &Thing { number: 1 }, Durability::Cached).unwrap();
    let dir = scene.dir.path().join("data/things");
    for name in [".tmp-0123.json", "notes.txt", "-x.json", ".json"] {
        std::fs::write(dir.join(name), "").unwrap();
    }
    assert_eq!(things.names().unwrap(), ["a"]);
}

#[test]
fn names_are_no_paths() {
    let scene = Scene::new();
    let things = things(&scene, Layout::Flat);
    for name in ["", ".", "..", "../x", "a/b", "/etc", ".hidden", "a\0", "a b", "ä", "-a", &"x".repeat(129)] {
        assert_eq!(things.get(name).unwrap_err().code.id, "store/invalid-name", "{name:?}");
        assert!(scene.store.container_dir(name).is_err() && scene.store.ledger(name).is_err(), "{name:?}");
    }
    for name in ["a", "0", "A.b_c-d", &"x".repeat(128)] {
        things.put(name, &Thing { number: 1 }, Durability::Cached).unwrap();
    }
}

/// Every file and folder with its times and sizes.
fn state(dir: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(path) = open.pop() {
        let metadata = std::fs::symlink_metadata(&path).unwrap();
        lines.push(format!("{} {:?} {}", path.display(), metadata.modified().unwrap(), metadata.len()));
        if metadata.is_dir() {
            open.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    lines.sort();
    lines
}

/// I-5: looking writes, locks and sweeps nothing; a missing root reads as an empty one.
#[test]
fn looking_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open_read_only(roots(dir.path())).unwrap();
    let look = |store: &Store| {
        (store.images().unwrap().len(), store.volumes().unwrap().len(), store.snapshots().unwrap().len())
    };
    assert_eq!(look(&store), (0, 0, 0));
    assert!(store.image("x").is_err());
    assert!(std::fs::read_dir(dir.path()).unwrap().next().is_none());

    let scene = Scene::at(dir);
    scene.store.create_volume("v", false, Default::default()).unwrap();
    scene.store.put_version(b"secret").unwrap();
    // A leftover that a mutating open would sweep.
    std::fs::write(scene.dir.path().join("data/content/ingest/leftover"), "x").unwrap();
    let before = state(scene.dir.path());
    let store = Store::open_read_only(roots(scene.dir.path())).unwrap();
    assert_eq!(look(&store), (0, 1, 0));
    store.garbage(Scope::Unused).unwrap();
    store.keeps().unwrap();
    store.version_of(b"secret").unwrap().unwrap();
    store.ledger("shop").unwrap().list().unwrap();
    assert_eq!(state(scene.dir.path()), before);
}

#[test]
fn a_store_opened_for_looking_refuses_changes() {
    let scene = Scene::new();
    let store = Store::open_read_only(roots(scene.dir.path())).unwrap();
    let records: Records<Thing> = store.records("things", "thing", Layout::Flat);
    let digest = Digest::of("x");
    let refusals = [
        store.ingest().err(),
        store.lease().err(),
        store.lock(Lock::Network, crate::DEFAULT_WAIT).err(),
        store.prune(Scope::Unused).err(),
        store.create_volume("v", true, Default::default()).err(),
        store.remove_volume("v").err(),
        store.put_version(b"x").err(),
        store.prepare_upper("c", None).err(),
        store.scratch(None).err(),
        store.remove(&digest).err(),
        store.remove_image(&digest, true).err(),
        store.untag(&"x".parse().unwrap()).err(),
        records.put("a", &Thing { number: 1 }, Durability::Cached).err(),
        records.remove("a").err(),
    ];
    for (at, refusal) in refusals.into_iter().enumerate() {
        assert_eq!(refusal.map(|error| error.code.id), Some("store/read-only"), "number {at}");
    }
}

/// Credentials are a thread's own, so the thread takes the loss of root with it.
#[test]
fn no_permission_is_told() {
    if !crate::testing::is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let roots = roots(dir.path());
    let error = std::thread::spawn(move || {
        let nobody = rustix::process::Uid::from_raw(65_534);
        rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
        Store::open(roots).unwrap_err()
    })
    .join()
    .unwrap();
    assert_eq!(error.code.id, "store/no-permission");
    assert!(error.message.contains(dir.path().to_str().unwrap()), "{error}");
    assert_eq!(error.hints, ["run as the owner of the root, or choose another with --root and --run-root"]);
}

#[test]
fn a_root_of_another_layout_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("data")).unwrap();
    std::fs::write(dir.path().join("data/version"), "2\n").unwrap();
    for open in [Store::open, Store::open_read_only] {
        assert_eq!(open(roots(dir.path())).unwrap_err().code.id, "store/unknown-version");
    }
    assert!(!dir.path().join("data/content").exists());
}

#[test]
fn roots_are_private_and_their_tag_follows_links() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let before = roots(dir.path()).tag();
    let scene = Scene::at(dir);
    assert_eq!(before.len(), 8);
    assert_eq!(scene.store.roots().tag(), before, "the same before and after it is made");
    for root in ["data", "run", "data/content", "run/locks"] {
        let mode = std::fs::metadata(scene.dir.path().join(root)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{root}");
    }
    let link = scene.dir.path().join("link");
    std::os::unix::fs::symlink("data", &link).unwrap();
    assert_eq!(Roots { data: link, run: "/none".into() }.tag(), before);
    assert_ne!(Scene::new().store.roots().tag(), before);
}

#[test]
fn content_is_what_its_digest_says() {
    use std::io::{Read as _, Write as _};
    let scene = Scene::new();
    let ingest = |bytes: &[u8]| {
        let mut ingest = scene.store.ingest().unwrap();
        ingest.write_all(bytes).unwrap();
        ingest
    };
    let digest = Digest::of("content");
    let unfinished = ingest(b"content");
    assert!(!scene.store.has_blob(&digest), "invisible until committed");
    drop(unfinished);
    let wrong = ingest(b"other").commit(&scene.lease, Some(&digest)).unwrap_err();
    assert_eq!(wrong.code.id, "store/digest-mismatch");
    assert_eq!(ingest(b"content").commit(&scene.lease, Some(&digest)).unwrap(), (digest, 7));
    assert_eq!(ingest(b"content").commit(&scene.lease, None).unwrap(), (digest, 7));
    let mut content = String::new();
    scene.store.blob(&digest).unwrap().read_to_string(&mut content).unwrap();
    assert_eq!(content, "content");
    assert_eq!(scene.store.blobs().unwrap(), [digest]);
    assert_eq!(scene.store.read_blob(&digest, 6).unwrap_err().code.id, "store/invalid-image");
    assert!(std::fs::read_dir(scene.store.ingest_dir()).unwrap().next().is_none());
    std::fs::write(scene.store.blob_path(&digest), "damaged").unwrap();
    assert_eq!(scene.store.read_blob(&digest, 100).unwrap_err().code.id, "store/digest-mismatch");
    assert_eq!(scene.store.blob(&Digest::of("none")).unwrap_err().code.id, "store/not-found");
}

#[test]
fn every_code_has_its_entry() {
    let mut ids: Vec<_> = crate::codes::ALL.iter().map(|code| code.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), crate::codes::ALL.len());
    assert!(ids.iter().all(|id| id.starts_with("store/")));
}
