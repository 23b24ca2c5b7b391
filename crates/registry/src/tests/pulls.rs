use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use carrack_oci::{Digest, Platform, media_type};
use carrack_testkit::registry::{Access, Registry, Reply};

use super::{Fixture, Scene, descriptor};
use crate::{Client, RegistrySettings};

#[test]
fn an_image_arrives_whole_and_a_second_time_nothing_is_fetched() {
    let scene = Scene::new();
    let fixture = Fixture::new(1, &[3 << 20, 10, 0, 10]);
    fixture.put(&scene.registry, "team/app", "1");
    scene.pull(&scene.client(), &scene.name("team/app:1")).unwrap();
    assert!(scene.holds(&fixture));
    scene.said();
    scene.registry.take_seen();
    scene.pull(&scene.client(), &scene.name("team/app:1")).unwrap();
    assert!(scene.said().iter().all(|line| line == "present"));
    let config = Digest::of(&fixture.config).to_string();
    let seen = scene.registry.take_seen();
    assert!(!seen.iter().any(|seen| seen.path.contains("/blobs/") && !seen.path.ends_with(&config)));
}

#[test]
fn tokens_are_fetched_for_what_is_done_and_renewed_when_they_end() {
    let scene = Scene::new();
    let fixture = Fixture::new(1, &[100, 200, 300]);
    fixture.put(&scene.registry, "team/app", "1");
    scene.registry.set_access(Access::Bearer { account: None, uses: 2 });
    scene.pull(&scene.client(), &scene.name("team/app:1")).unwrap();
    assert!(scene.holds(&fixture));
    let seen = scene.registry.take_seen();
    let tokens: Vec<_> = seen.iter().filter(|seen| seen.path.starts_with("/token")).collect();
    // Five requests, two a token; how the threads' requests fall on them is open.
    assert!(tokens.len() >= 3, "{}", tokens.len());
    assert!(tokens[0].path.contains("scope=repository%3Ateam%2Fapp%3Apull&"), "{}", tokens[0].path);
    assert!(tokens[0].path.contains("service=testkit"));
    assert!(tokens[0].header("authorization").is_none(), "nothing is known for the host");
}

#[test]
fn a_password_is_sent_to_the_token_server_and_a_wrong_one_is_told_without_it() {
    let scene = Scene::new();
    Fixture::new(1, &[100]).put(&scene.registry, "team/app", "1");
    for access in [Access::Bearer { account: Some("ann:s3cret".into()), uses: 100 }, Access::Basic("ann:s3cret".into())]
    {
        scene.registry.set_access(access);
        let refused = scene.fails("team/app:1");
        assert!(refused.starts_with("registry/unauthorised"), "{refused}");
        let host = scene.registry.host();
        scene.credentials().store(&host, "ann", "wr0ng").unwrap();
        let error = scene.pull(&scene.client(), &scene.name("team/app:1")).unwrap_err();
        assert_eq!(error.code.id, "registry/unauthorised");
        assert!(error.hints.iter().any(|hint| hint.contains(&format!("carrack login {host}"))), "{error:?}");
        assert!(!format!("{error:?}").contains("wr0ng"));
        scene.credentials().store(&host, "ann", "s3cret").unwrap();
        scene.pull(&scene.client(), &scene.name("team/app:1")).unwrap();
        scene.credentials().erase(&host).unwrap();
    }
}

#[test]
fn an_identity_token_is_exchanged() {
    let scene = Scene::new();
    Fixture::new(1, &[100]).put(&scene.registry, "team/app", "1");
    scene.registry.set_access(Access::Bearer { account: Some("refresh:r3fresh".into()), uses: 100 });
    let folder = scene.dir.path().join("docker");
    std::fs::create_dir_all(&folder).unwrap();
    let auths = format!(r#"{{"auths":{{"{}":{{"identitytoken":"r3fresh"}}}}}}"#, scene.registry.host());
    std::fs::write(folder.join("config.json"), auths).unwrap();
    scene.pull(&scene.client(), &scene.name("team/app:1")).unwrap();
}

#[test]
fn after_a_cut_it_goes_on_where_it_stopped() {
    let scene = Scene::new();
    let fixture = Fixture::new(1, &[2 << 20]);
    fixture.put(&scene.registry, "app", "1");
    let blob = fixture.layers[0].clone();
    let path = format!("/v2/app/blobs/{}", Digest::of(&blob));
    let cuts = Arc::new(AtomicUsize::new(0));
    let count = cuts.clone();
    scene.registry.lie(move |seen| {
        if seen.path != path || count.fetch_add(1, Ordering::SeqCst) > 0 {
            return None;
        }
        Some(Reply::body(200, blob.clone()).cut(1 << 20))
    });
    scene.pull(&scene.client(), &scene.name("app:1")).unwrap();
    assert!(scene.holds(&fixture));
    assert_eq!(scene.said(), ["interrupted", "done"]);
    let seen = scene.registry.take_seen();
    let start: u64 = seen
        .iter()
        .find_map(|seen| seen.header("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok())
        .unwrap();
    assert!(start > 0 && start <= 1 << 20, "{start}");
}

#[test]
fn after_a_cut_a_server_without_ranges_sends_it_again() {
    let scene = Scene::new();
    let fixture = Fixture::new(1, &[2 << 20]);
    fixture.put(&scene.registry, "app", "1");
    let blob = fixture.layers[0].clone();
    let path = format!("/v2/app/blobs/{}", Digest::of(&blob));
    let count = AtomicUsize::new(0);
    scene.registry.lie(move |seen| {
        let reply = Reply::body(200, blob.clone());
        let is_first = count.fetch_add(usize::from(seen.path == path), Ordering::SeqCst) == 0;
        (seen.path == path).then(|| if is_first { reply.cut(1 << 20) } else { reply })
    });
    scene.pull(&scene.client(), &scene.name("app:1")).unwrap();
    assert!(scene.holds(&fixture));
}

#[test]
fn a_connection_that_is_always_cut_is_given_up() {
    let scene = Scene::new();
    let fixture = Fixture::new(1, &[1000]);
    fixture.put(&scene.registry, "app", "1");
    let path = format!("/v2/app/blobs/{}", Digest::of(&fixture.layers[0]));
    scene.registry.lie(move |seen| (seen.path == path).then(|| Reply::body(200, [0; 1000]).cut(0)));
    assert!(scene.fails("app:1").starts_with("registry/unreachable"));
    let seen = scene.registry.take_seen();
    assert_eq!(seen.iter().filter(|seen| seen.path.contains(&Digest::of(&fixture.layers[0]).to_string())).count(), 6);
    assert_eq!(scene.store.blobs().unwrap(), [], "nothing half-written is visible");
}

/// Where the registry lies, nothing is kept and the error says what was expected and what came.
#[test]
fn what_was_not_asked_for_is_not_taken() {
    let fixture = Fixture::new(1, &[1000]);
    let blob = fixture.layers[0].clone();
    let digest = Digest::of(&blob);
    let blob_path = format!("/v2/app/blobs/{digest}");
    let other = vec![7; 1000];
    let replies: Vec<(&str, Reply)> = vec![
        ("other bytes", Reply::body(200, other.clone())),
        ("too long", Reply::body(200, [blob.clone(), vec![1]].concat())),
        ("too short", Reply::body(200, blob[..999].to_vec())),
        ("endless", Reply { is_endless: true, ..Reply::body(200, blob.clone()) }),
        (
            "endless in chunks",
            Reply { is_endless: true, ..Reply::body(200, "4\r\nabcd\r\n") }.header("Transfer-Encoding", "chunked"),
        ),
    ];
    for (what, reply) in replies {
        let scene = Scene::new();
        fixture.put(&scene.registry, "app", "1");
        let path = blob_path.clone();
        scene.registry.lie(move |seen| (seen.path == path).then(|| reply.clone()));
        let failure = scene.fails("app:1");
        assert!(failure.starts_with("registry/digest-mismatch"), "{what}: {failure}");
        assert!(failure.contains(&digest.to_string()), "{what}: {failure}");
        assert_eq!(scene.store.blobs().unwrap(), [], "{what}");
        if what == "other bytes" {
            assert!(failure.contains(&Digest::of(&other).to_string()), "{failure}");
        }
    }
}

#[test]
fn a_manifest_that_is_another_or_too_large_is_refused() {
    let scene = Scene::new();
    let fixture = Fixture::new(1, &[1000]);
    let digest = fixture.put(&scene.registry, "app", "1");
    let other = Fixture::new(2, &[10]);
    let manifest = other.manifest.clone();
    scene.registry.lie(move |seen| {
        seen.path
            .contains("/manifests/")
            .then(|| Reply::body(200, manifest.clone()).header("Content-Type", media_type::MANIFEST))
    });
    let failure = scene.fails(&format!("app@{digest}"));
    assert!(failure.starts_with("registry/digest-mismatch"), "{failure}");
    assert!(failure.contains(&digest.to_string()) && failure.contains(&Digest::of(&other.manifest).to_string()));
    // The tag names whatever it names, but not against the registry's own word.
    let promised = digest.to_string();
    let manifest = other.manifest.clone();
    scene.registry.lie(move |_| {
        let reply = Reply::body(200, manifest.clone()).header("Content-Type", media_type::MANIFEST);
        Some(reply.header("Docker-Content-Digest", promised.clone()))
    });
    assert!(scene.fails("app:1").starts_with("registry/digest-mismatch"));
    scene.registry.lie(|seen| {
        let endless = Reply { is_endless: true, ..Reply::body(200, vec![b' '; 1 << 16]) };
        seen.path.contains("/manifests/").then(|| endless.header("Content-Type", media_type::MANIFEST))
    });
    assert!(scene.fails("app:1").starts_with("registry/too-large"));
}

/// A list whose every page names another one is no list; nor is a part of it taken for the whole.
#[test]
fn lists_that_do_not_end_are_refused() {
    let scene = Scene::new();
    let pages = AtomicUsize::new(0);
    let page = format!("{{\"tags\":[\"{}\"]}}", "x".repeat(2 << 20));
    scene.registry.lie(move |_| {
        let next = format!("</v2/app/tags/list?last={}>; rel=\"next\"", pages.fetch_add(1, Ordering::SeqCst));
        Some(Reply::body(200, page.clone()).header("Link", next))
    });
    let error = scene.client().tags(&scene.name("app:1")).unwrap_err();
    assert_eq!(error.code.id, "registry/protocol");
    let seen = scene.registry.take_seen().iter().filter(|seen| seen.path.contains("/tags/list")).count();
    assert!((2..20).contains(&seen), "{seen} pages");
}

#[test]
fn redirections_are_followed_without_credentials() {
    let scene = Scene::new();
    let fixture = Fixture::new(1, &[1000]);
    fixture.put(&scene.registry, "app", "1");
    let elsewhere = Registry::start();
    elsewhere.put_blob("app", &fixture.layers[0]);
    scene.registry.set_access(Access::Basic("ann:s3cret".into()));
    scene.credentials().store(&scene.registry.host(), "ann", "s3cret").unwrap();
    let digest = Digest::of(&fixture.layers[0]);
    let location = format!("http://{}/v2/app/blobs/{digest}?signature=x", elsewhere.host());
    scene.registry.lie(move |seen| {
        let is_layer = seen.path.ends_with(&digest.to_string()) && seen.header("authorization").is_some();
        is_layer.then(|| Reply::status(307).header("Location", location.clone()))
    });
    scene.pull(&scene.client(), &scene.name("app:1")).unwrap();
    assert!(scene.holds(&fixture));
    let seen = elsewhere.take_seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].header("authorization"), None);
}

#[test]
fn redirections_in_a_circle_end() {
    let scene = Scene::new();
    Fixture::new(1, &[1000]).put(&scene.registry, "app", "1");
    scene.registry.lie(|seen| {
        seen.path.contains("/manifests/").then(|| Reply::status(302).header("Location", "/v2/app/manifests/1"))
    });
    assert!(scene.fails("app:1").starts_with("registry/protocol"));
}

#[test]
fn of_an_index_the_platform_s_image_is_taken() {
    let scene = Scene::new();
    let mine = Fixture::new(1, &[100]);
    let theirs = Fixture::new(2, &[200]);
    let mut children = Vec::new();
    let foreign: Platform = "linux/s390x".parse().unwrap();
    for (fixture, platform) in [(&theirs, &foreign), (&mine, &Platform::host())] {
        fixture.put(&scene.registry, "app", "x");
        let mut child = descriptor(media_type::DOCKER_MANIFEST, &fixture.manifest);
        child.platform = Some(platform.clone());
        children.push(child);
    }
    let index = serde_json::json!({"schemaVersion": 2, "mediaType": media_type::DOCKER_INDEX, "manifests": children});
    let digest = scene.registry.put_manifest("app", "1", media_type::DOCKER_INDEX, index.to_string().as_bytes());
    let client = scene.client();
    let image = client.resolve(&scene.name("app:1"), &Platform::host(), true).unwrap();
    assert_eq!((image.named, image.manifest.digest), (digest, Digest::of(&mine.manifest)));
    let arm = "linux/arm/v7".parse().unwrap();
    let error = client.resolve(&scene.name("app:1"), &arm, true).err().unwrap();
    assert_eq!(error.code.id, "registry/no-such-platform");
    assert_eq!(error.causes, [format!("it is there for {}, linux/s390x", Platform::host())]);
}

#[test]
fn an_artefact_is_no_image() {
    let scene = Scene::new();
    let chart = br#"{"schemaVersion":2,"config":{"mediaType":"application/vnd.cncf.helm.config.v1+json","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":0},"layers":[]}"#;
    scene.registry.put_manifest("chart", "1", media_type::MANIFEST, chart);
    assert!(scene.fails("chart:1").starts_with("registry/not-an-image"));
    scene.registry.put_manifest("page", "1", "text/html", b"<html>");
    assert!(scene.fails("page:1").starts_with("registry/protocol"));
}

#[test]
fn a_busy_registry_is_asked_again_but_not_for_ever() {
    let scene = Scene::new();
    let fixture = Fixture::new(1, &[100]);
    fixture.put(&scene.registry, "app", "1");
    let count = AtomicUsize::new(0);
    scene.registry.lie(move |seen| {
        let is_busy = seen.path.contains("/blobs/") && count.fetch_add(1, Ordering::SeqCst) < 3;
        is_busy.then(|| Reply::status(503))
    });
    scene.pull(&scene.client(), &scene.name("app:1")).unwrap();
    assert!(scene.holds(&fixture));
    scene.registry.take_seen();
    scene.registry.lie(|_| {
        let body = r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"pull rate limit"}]}"#;
        Some(Reply::body(429, body).header("Retry-After", "3600"))
    });
    let failure = scene.fails("app:1");
    assert!(failure.starts_with("registry/rate-limited") && failure.contains("pull rate limit"), "{failure}");
    assert_eq!(scene.registry.take_seen().iter().filter(|seen| seen.path.contains("/manifests/")).count(), 1);
}

#[test]
fn a_missing_tag_is_answered_with_those_that_there_are() {
    let scene = Scene::new();
    Fixture::new(1, &[100]).put(&scene.registry, "app", "1.25");
    let error = scene.pull(&scene.client(), &scene.name("app:1.52")).unwrap_err();
    assert_eq!(error.code.id, "registry/not-found");
    assert_eq!(error.hints, [format!("did you mean `{}/app:1.25`?", scene.registry.host())]);
    assert!(scene.fails("none:1").starts_with("registry/not-found"));
}

#[test]
fn a_mirror_comes_first_and_what_it_lacks_comes_from_the_registry() {
    let scene = Scene::new();
    let mirror = Registry::start();
    let fixture = Fixture::new(1, &[100, 200]);
    fixture.put(&scene.registry, "app", "1");
    let mut settings = scene.settings();
    let registry = RegistrySettings { mirrors: vec![mirror.host()], ..RegistrySettings::default() };
    settings.registries.insert(scene.registry.host(), registry);
    let client = Client::new(settings, None);
    scene.pull(&client, &scene.name("app:1")).unwrap();
    assert!(scene.holds(&fixture) && !mirror.take_seen().is_empty());

    let other = Fixture::new(9, &[300, 400]);
    other.put(&scene.registry, "other", "1");
    mirror.put_manifest("other", "1", media_type::MANIFEST, &other.manifest);
    mirror.put_blob("other", &other.config);
    mirror.put_blob("other", &other.layers[0]);
    scene.registry.take_seen();
    scene.pull(&client, &scene.name("other:1")).unwrap();
    let asked: Vec<String> = scene.registry.take_seen().iter().map(|seen| seen.line()).collect();
    assert_eq!(asked, [format!("GET /v2/other/blobs/{}", Digest::of(&other.layers[1]))]);
}

#[test]
fn nobody_there_is_told_at_once() {
    let scene = Scene::new();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error =
        scene.client().resolve(&format!("{free}/app").parse().unwrap(), &Platform::host(), false).err().unwrap();
    assert_eq!(error.code.id, "registry/unreachable");
    let unknown = "no-such-host.invalid/app".parse().unwrap();
    let error = scene.client().resolve(&unknown, &Platform::host(), false).err().unwrap();
    // Where the name server does not answer either, nobody knows that there is no such host.
    assert!(["registry/unknown-host", "registry/unreachable"].contains(&error.code.id), "{error}");
}

#[test]
fn whoever_asks_once_does_not_wait_twice() {
    let scene = Scene::new();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let name: carrack_oci::Reference = format!("{free}/app").parse().unwrap();
    let client = Client::new(crate::Settings { asks_once: true, ..scene.settings() }, None);
    assert_eq!(client.manifest(&name).unwrap_err().code.id, "registry/unreachable");
    // It comes up in between, and is not looked at.
    let listener = std::net::TcpListener::bind(free).unwrap();
    listener.set_nonblocking(true).unwrap();
    assert_eq!(client.manifest(&name).unwrap_err().code.id, "registry/unreachable");
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}
