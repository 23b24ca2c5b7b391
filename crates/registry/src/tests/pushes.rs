use std::sync::atomic::AtomicBool;

use carrack_diag::Result;
use carrack_oci::{Digest, Reference, media_type};
use carrack_testkit::registry::{Access, Reply};

use super::{Fixture, Scene, descriptor};
use crate::{Push, PushBlob, Transfer};

impl Scene {
    fn push(&self, fixture: &Fixture, name: &Reference, mounts: &[&str]) -> Result<Digest> {
        let mut blobs = Vec::new();
        for blob in fixture.layers.iter().chain([&fixture.config]) {
            self.store.ingest_bytes(&self.lease, blob).unwrap();
            let mounts = mounts.iter().map(|mount| (*mount).to_owned()).collect();
            blobs.push(PushBlob { blob: descriptor(media_type::LAYER_GZIP, blob), mounts });
        }
        let push = Push { blobs, manifest: fixture.manifest.clone(), media_type: media_type::MANIFEST.into() };
        let cancel = AtomicBool::new(false);
        let transfer = Transfer { store: &self.store, lease: &self.lease, watch: &self.said, cancel: &cancel };
        self.client().push(name, &push, transfer)
    }

    fn has(&self, fixture: &Fixture, repository: &str, tag: &str) -> bool {
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
