use std::io::Read as _;
use std::sync::atomic::AtomicBool;

use carrack_diag::Result;
use carrack_oci::{Digest, Reference, media_type};
use carrack_store::{Compression, Layer};
use carrack_testkit::registry::{Access, Reply};

use super::{Fixture, Scene, descriptor};
use crate::{Client, PushBlob, Transfer};

impl Scene {
    pub(super) fn push(&self, fixture: &Fixture, name: &Reference, mounts: &[&str]) -> Result<Digest> {
        self.push_by(&self.client(), fixture, name, mounts)
    }

    pub(super) fn push_by(
        &self,
        client: &Client,
        fixture: &Fixture,
        name: &Reference,
        mounts: &[&str],
    ) -> Result<Digest> {
        let mut blobs = Vec::new();
        for blob in fixture.layers.iter().chain([&fixture.config]) {
            self.store.ingest_bytes(&self.lease, blob).unwrap();
            let mounts = mounts.iter().map(|mount| (*mount).to_owned()).collect();
            blobs.push(PushBlob { blob: descriptor(media_type::LAYER_GZIP, blob), mounts });
        }
        let cancel = AtomicBool::new(false);
        let transfer = Transfer { store: &self.store, lease: &self.lease, watch: &self.said, cancel: &cancel };
        let mounts = mounts.iter().map(|mount| (*mount).to_owned()).collect();
        let destination = client.destination(name, mounts, transfer);
        transfer.all(&blobs, |blob| destination.send(blob))?;
        destination.put_manifest(name.tag().unwrap(), media_type::MANIFEST, &fixture.manifest)
    }

    pub(super) fn has(&self, fixture: &Fixture, repository: &str, tag: &str) -> bool {
        let blobs = fixture.layers.iter().chain([&fixture.config]);
        blobs.clone().all(|blob| self.registry.blob(repository, &Digest::of(blob)).as_ref() == Some(blob))
            && self.registry.manifest(repository, tag).as_ref() == Some(&fixture.manifest)
    }
}

#[test]
fn blobs_go_once_and_the_manifest_last() {
    let scene = Scene::new();
    let fixture = Fixture::new(1, &[3 << 20, 100, 0]);
    let account = Some("ann:s3cret".to_owned());
    scene.registry.set_access(Access::Bearer { account, uses: 8 });
    scene.credentials().store(&scene.registry.host(), "ann", "s3cret").unwrap();
    let digest = scene.push(&fixture, &scene.name("team/app:1"), &[]).unwrap();
    assert_eq!(digest, Digest::of(&fixture.manifest));
    assert!(scene.has(&fixture, "team/app", "1"));
    let seen = scene.registry.take_seen();
    let last = seen.iter().rposition(|seen| seen.path.contains("/blobs/")).unwrap();
    let manifest = seen.iter().position(|seen| seen.line() == "PUT /v2/team/app/manifests/1").unwrap();
    assert!(manifest > last);
    assert!(seen.iter().any(|seen| seen.path.contains("scope=repository%3Ateam%2Fapp%3Apull%2Cpush")));

    scene.push(&fixture, &scene.name("team/app:2"), &[]).unwrap();
    let seen = scene.registry.take_seen();
    assert!(!seen.iter().any(|seen| matches!(seen.method.as_str(), "POST" | "PATCH")), "nothing is sent twice");
    assert!(scene.has(&fixture, "team/app", "2"));
}

#[test]
fn what_another_repository_has_is_mounted() {
    let scene = Scene::new();
    let fixture = Fixture::new(1, &[2 << 20]);
    scene.registry.put_blob("base", &fixture.layers[0]);
    scene.push(&fixture, &scene.name("app:1"), &["base"]).unwrap();
    assert!(scene.has(&fixture, "app", "1"));
    assert!(scene.said().contains(&"mounted from base".to_owned()));
    assert!(!scene.registry.take_seen().iter().any(|seen| seen.method == "PATCH"));
    // A registry that does not mount opens an upload; that one is used.
    scene.push(&fixture, &scene.name("other:1"), &["nowhere"]).unwrap();
    assert!(scene.has(&fixture, "other", "1"));
    let begun = scene.registry.take_seen().iter().filter(|seen| seen.method == "POST").count();
    assert_eq!(begun, 2, "one a blob");
}

#[test]
fn after_a_cut_an_upload_goes_on_where_it_stopped() {
    let scene = Scene::new();
    let fixture = Fixture::new(1, &[3 << 20]);
    scene.registry.cut_upload_after(2 << 20);
    scene.push(&fixture, &scene.name("app:1"), &[]).unwrap();
    assert!(scene.has(&fixture, "app", "1"));
    assert!(scene.said().contains(&"interrupted".to_owned()));
    let seen = scene.registry.take_seen();
    let resumed = seen.iter().find_map(|seen| seen.header("content-range")).unwrap();
    assert_eq!(resumed, format!("{}-{}", 2 << 20, (3 << 20) - 1));
}

#[test]
fn an_upload_that_the_registry_forgot_begins_anew() {
    let scene = Scene::new();
    let fixture = Fixture::new(1, &[3 << 20]);
    scene.registry.cut_upload_after(2 << 20);
    let mut forgotten = false;
    scene.registry.lie(move |seen| {
        let is_first = seen.method == "GET" && seen.path.contains("/uploads/") && !forgotten;
        forgotten |= is_first;
        is_first.then(|| Reply::status(404))
    });
    scene.push(&fixture, &scene.name("app:1"), &[]).unwrap();
    assert!(scene.has(&fixture, "app", "1"));
}

#[test]
fn a_registry_that_takes_nothing_is_given_up() {
    let scene = Scene::new();
    let fixture = Fixture::new(1, &[100]);
    scene.registry.lie(|seen| (seen.method == "PUT").then(|| Reply::status(500)));
    let error = scene.push(&fixture, &scene.name("app:1"), &[]).unwrap_err();
    assert_eq!(error.code.id, "registry/unreachable");
    scene.registry.lie(|seen| {
        let body = r#"{"errors":[{"code":"DENIED","message":"read only"}]}"#;
        (seen.method == "POST").then(|| Reply::body(403, body))
    });
    let error = scene.push(&fixture, &scene.name("app:1"), &[]).unwrap_err();
    assert_eq!(error.code.id, "registry/unauthorised");
    assert!(error.causes[0].contains("read only"), "{error:?}");
    assert!(scene.registry.manifest("app", "1").is_none());
}

#[test]
fn an_upload_that_is_sent_elsewhere_carries_no_credentials() {
    let scene = Scene::new();
    let fixture = Fixture::new(1, &[3 << 20]);
    let elsewhere = carrack_testkit::registry::Registry::start();
    scene.registry.set_access(Access::Basic("ann:s3cret".into()));
    scene.credentials().store(&scene.registry.host(), "ann", "s3cret").unwrap();
    let location = format!("http://{}/upload?signature=x", elsewhere.host());
    elsewhere.lie(|seen| {
        let (status, next) = if seen.method == "PUT" { (201, "/done") } else { (202, "/upload?signature=y") };
        Some(Reply::status(status).header("Location", next))
    });
    scene.registry.lie(move |seen| {
        let is_begin = seen.method == "POST" && seen.header("authorization").is_some();
        is_begin.then(|| Reply::status(202).header("Location", location.clone()))
    });
    scene.push(&fixture, &scene.name("app:1"), &[]).unwrap();
    let seen = elsewhere.take_seen();
    assert!(seen.iter().any(|seen| seen.method == "PATCH" && seen.body == fixture.layers[0]));
    assert!(seen.iter().all(|seen| seen.header("authorization").is_none()));
}

/// What a plain layer is sent as, however the sending goes.
#[test]
fn a_plain_layer_is_compressed_while_it_is_sent() {
    let plain: Vec<u8> = (0..3_000_000_u32).flat_map(|number| (number / 3).to_le_bytes()).collect();
    let mut blobs = Vec::new();
    for trouble in ["", "cut", "forgotten", "no chunks", "busy"] {
        let scene = Scene::new();
        let diff_id = scene.store.ingest_bytes(&scene.lease, &plain).unwrap();
        let layer = Layer { diff_id, chain: diff_id, blob: descriptor(media_type::LAYER, &plain) };
        let mut is_first = true;
        match trouble {
            "cut" => scene.registry.cut_upload_after(1 << 20),
            "forgotten" => {
                scene.registry.cut_upload_after(1 << 20);
                scene
                    .registry
                    .lie(|seen| (seen.method == "GET" && seen.path.contains("/uploads/")).then(|| Reply::status(404)));
            }
            "no chunks" => scene.registry.lie(|seen| {
                (seen.header("transfer-encoding").is_some() && seen.method == "PATCH").then(|| Reply::status(411))
            }),
            "busy" => scene.registry.lie(move |seen| {
                let is_closing = seen.method == "PUT" && std::mem::take(&mut is_first);
                is_closing.then(|| Reply::status(503))
            }),
            _ => {}
        }
        let cancel = AtomicBool::new(false);
        let transfer = Transfer { store: &scene.store, lease: &scene.lease, watch: &scene.said, cancel: &cancel };
        let (client, name) = (scene.client(), scene.name("app:1"));
        let destination = client.destination(&name, Vec::new(), transfer);
        let sent = destination.send_compressed(&layer, Compression::OUTGOING).unwrap();
        let there = scene.registry.blob("app", &sent.blob.digest).unwrap();
        assert_eq!(there.len() as u64, sent.blob.size, "{trouble}");
        assert_eq!(scene.store.read_blob(&sent.blob.digest, 1 << 30).unwrap(), there, "{trouble}");
        let mut back = Vec::new();
        carrack_store::decompress(there.as_slice()).unwrap().read_to_end(&mut back).unwrap();
        assert!(back == plain, "{trouble}");
        assert_eq!(sent.blob.media_type, media_type::LAYER_GZIP);
        blobs.push(sent.blob.digest);
    }
    assert!(blobs.iter().all(|digest| *digest == blobs[0]), "the same bytes each time");
}

#[test]
fn a_layer_that_is_refused_is_told_with_the_registry_s_words() {
    let scene = Scene::new();
    let plain = vec![7; 1 << 20];
    let diff_id = scene.store.ingest_bytes(&scene.lease, &plain).unwrap();
    let layer = Layer { diff_id, chain: diff_id, blob: descriptor(media_type::LAYER, &plain) };
    scene.registry.lie(|seen| {
        let body = r#"{"errors":[{"code":"DENIED","message":"over quota"}]}"#;
        (seen.path.contains("/uploads/") && seen.method != "POST").then(|| Reply::body(403, body))
    });
    let cancel = AtomicBool::new(false);
    let transfer = Transfer { store: &scene.store, lease: &scene.lease, watch: &scene.said, cancel: &cancel };
    let (client, name) = (scene.client(), scene.name("app:1"));
    let destination = client.destination(&name, Vec::new(), transfer);
    let error = destination.send_compressed(&layer, Compression::OUTGOING).unwrap_err();
    assert_eq!(error.code.id, "registry/unauthorised");
    assert!(error.causes[0].contains("over quota"), "{error:?}");
}
