//! A registry that wants harm, and a network that breaks wherever it can.

use std::collections::HashSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use carrack_oci::{Digest, Platform, media_type};
use carrack_testkit::registry::{Access, Registry, Reply};

use super::{Fixture, Scene};
use crate::{Client, Settings};

const IDLE: Duration = Duration::from_millis(80);

fn hurried(scene: &Scene) -> Client {
    Client::new(Settings { idle_timeout: IDLE, ..scene.settings() }, Some(scene.credentials()))
}

/// Whatever comes a byte at a time is given up, and what has come of it is not seen.
#[test]
fn a_server_that_trickles_is_given_up() {
    let fixture = Fixture::new(1, &[1000]);
    let digest = |bytes: &[u8]| Digest::of(bytes).to_string();
    let parts = [
        ("/manifests/1".to_owned(), fixture.manifest.clone()),
        (digest(&fixture.config), fixture.config.clone()),
        (digest(&fixture.layers[0]), fixture.layers[0].clone()),
        ("/token".to_owned(), br#"{"token":"slow"}"#.to_vec()),
    ];
    for (end, bytes) in parts {
        let scene = Scene::new();
        fixture.put(&scene.registry, "app", "1");
        if end == "/token" {
            scene.registry.set_access(Access::Bearer { account: None, uses: 100 });
        }
        let what = end.clone();
        scene.registry.lie(move |seen| {
            let reply = Reply::body(200, bytes.clone()).header("Content-Type", media_type::MANIFEST);
            let path = seen.path.split('?').next().unwrap();
            (seen.method == "GET" && path.ends_with(&end)).then(|| reply.trickling(IDLE / 5))
        });
        let error = scene.pull(&hurried(&scene), &scene.name("app:1")).unwrap_err();
        assert_eq!(error.code.id, "registry/unreachable", "{what}: {error:?}");
        assert!(error.causes.iter().any(|cause| cause.contains("nothing came for")), "{what}: {error:?}");
        assert_eq!(scene.store.blobs().unwrap(), [], "{what}");
    }
}

/// Neither an answer that never begins nor one whose head never ends holds anybody.
#[test]
fn a_head_that_does_not_end_is_given_up() {
    let scene = Scene::new();
    for head in ["", "HTTP/1.1 200 OK\r\nX: "] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let name = format!("{}/app:1", listener.local_addr().unwrap()).parse().unwrap();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                std::thread::spawn(move || {
                    let mut asked = BufReader::new(stream.try_clone().unwrap());
                    // No TLS here.
                    if asked.fill_buf().is_ok_and(|start| start.first() == Some(&0x16)) {
                        return;
                    }
                    let mut rest = head.bytes().chain(std::iter::repeat_n(b'x', 10_000));
                    while !head.is_empty() && rest.next().is_some_and(|byte| stream.write_all(&[byte]).is_ok()) {
                        std::thread::sleep(IDLE / 10);
                    }
                    let _ = asked.read_to_end(&mut Vec::new());
                });
            }
        });
        let begun = Instant::now();
        let error = hurried(&scene).resolve(&name, &Platform::host(), false).err().unwrap();
        assert_eq!(error.code.id, "registry/unreachable", "{error:?}");
        assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    }
}

/// An upload that nobody reads ends, too.
#[test]
fn a_registry_that_takes_no_more_is_given_up() {
    let scene = Scene::new();
    // More than the kernel keeps for a connection.
    let fixture = Fixture::new(1, &[48 << 20]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let name: carrack_oci::Reference = format!("{}/app:1", listener.local_addr().unwrap()).parse().unwrap();
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        for mut stream in listener.incoming().flatten() {
            let mut line = String::new();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let _ = reader.read_line(&mut line);
            let answer = match line.split(' ').next() {
                Some("PATCH") => "",
                Some("PUT") => "HTTP/1.1 201 C\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                Some("POST") => "HTTP/1.1 202 A\r\nLocation: /up\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                Some("HEAD") => "HTTP/1.1 404 N\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                _ => "HTTP/1.1 200 O\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            };
            let mut head = String::new();
            while reader.read_line(&mut head).is_ok_and(|count| count > 2) {}
            let _ = stream.write_all(answer.as_bytes());
            if answer.is_empty() {
                kept.push(stream);
            }
        }
    });
    let error = scene.push_by(&hurried(&scene), &fixture, &name, &[]).unwrap_err();
    assert_eq!(error.code.id, "registry/unreachable", "{error:?}");
}

#[test]
fn wherever_it_is_cut_it_arrives() {
    let fixture = Fixture::new(1, &[400]);
    let parts = [fixture.manifest.clone(), fixture.config.clone(), fixture.layers[0].clone()];
    for (part, bytes) in parts.into_iter().enumerate() {
        for end in (0..bytes.len()).step_by(29).chain([bytes.len() - 1]) {
            let scene = Scene::new();
            fixture.put(&scene.registry, "app", "1");
            let (digest, bytes) = (Digest::of(&bytes).to_string(), bytes.clone());
            let mut cut = HashSet::new();
            scene.registry.lie(move |seen| {
                let is_it = seen.path.ends_with(&digest) || part == 0 && seen.path.ends_with("/manifests/1");
                let reply = Reply::body(200, bytes.clone()).header("Content-Type", media_type::MANIFEST);
                (is_it && cut.insert(seen.path.clone())).then(|| reply.cut(end))
            });
            scene.pull(&scene.client(), &scene.name("app:1")).unwrap();
            assert!(scene.holds(&fixture), "{part} {end}");
        }
    }
}

#[test]
fn wherever_an_upload_is_cut_it_arrives() {
    for (size, ends) in [(100, [0, 1, 50, 99]), (2 << 20, [0, 1, 70_000, (2 << 20) - 1])] {
        for end in ends {
            let scene = Scene::new();
            let fixture = Fixture::new(1, &[size]);
            scene.registry.cut_upload_after(end);
            scene.push(&fixture, &scene.name("app:1"), &[]).unwrap();
            assert!(scene.has(&fixture, "app", "1"), "{size} {end}");
        }
    }
}

#[test]
fn manifests_that_are_deep_or_speak_of_more_than_there_is_are_refused() {
    let scene = Scene::new();
    let fixture = Fixture::new(1, &[1000]);
    fixture.put(&scene.registry, "app", "1");
    let deep = [br#"{"schemaVersion":2,"config":"#.as_slice(), &vec![b'['; 1 << 20]].concat();
    for kind in [media_type::MANIFEST, media_type::INDEX, "application/json"] {
        scene.registry.put_manifest("app", "deep", kind, &deep);
        let failure = scene.fails("app:deep");
        assert!(failure.starts_with("registry/not-an-image") || failure.starts_with("registry/protocol"), "{failure}");
    }
    // An index of itself, by its tag's word: the digest is another then.
    let mut index = serde_json::json!({"schemaVersion": 2, "mediaType": media_type::INDEX, "manifests": [{
        "mediaType": media_type::INDEX, "digest": Digest::of("x").to_string(), "size": 1,
    }]});
    for depth in 0..6 {
        let digest = scene.registry.put_manifest("app", "nested", media_type::INDEX, index.to_string().as_bytes());
        index["manifests"][0]["digest"] = digest.to_string().into();
        index["depth"] = depth.into();
    }
    let failure = scene.fails("app:nested");
    assert!(failure.starts_with("registry/not-an-image") && failure.contains("too deep"), "{failure}");

    let manifest: serde_json::Value = serde_json::from_slice(&fixture.manifest).unwrap();
    for size in [0, 999, 1001, 1_u64 << 62, u64::MAX] {
        let mut forged = manifest.clone();
        forged["layers"][0]["size"] = size.into();
        scene.registry.put_manifest("app", "size", media_type::MANIFEST, forged.to_string().as_bytes());
        let failure = scene.fails("app:size");
        assert!(failure.starts_with("registry/digest-mismatch"), "{size}: {failure}");
        assert_eq!(scene.store.blobs().unwrap(), [], "{size}");
    }
    // The rest of a body is as long as none can be.
    let blob = fixture.layers[0].clone();
    let path = format!("/v2/app/blobs/{}", Digest::of(&blob));
    let mut is_first = true;
    scene.registry.lie(move |seen| {
        let cut = std::mem::take(&mut is_first) || !seen.headers.contains_key("range");
        let rest = Reply::body(206, blob.clone()).header("Content-Range", "bytes 500-999/1000");
        let rest = rest.header("Content-Length", u64::MAX.to_string());
        (seen.path == path).then(|| if cut { Reply::body(200, blob.clone()).cut(500) } else { rest })
    });
    let failure = scene.fails("app:1");
    assert!(failure.starts_with("registry/digest-mismatch"), "{failure}");
    assert_eq!(scene.store.blobs().unwrap(), []);
}

/// The token server may be another host, as Docker Hub's is: it gets the password, as the registry says, and the registry
/// then only the token. Nobody that either of them points to gets anything.
#[test]
fn credentials_go_to_the_realm_and_no_further() {
    let scene = Scene::new();
    Fixture::new(1, &[1000]).put(&scene.registry, "app", "1");
    let (tokens, elsewhere) = (Registry::start(), Registry::start());
    scene.credentials().store(&scene.registry.host(), "ann", "s3cret").unwrap();
    let challenge = format!("Bearer realm=\"http://{}/token\",service=\"x\"", tokens.host());
    scene.registry.lie(move |seen| match seen.header("authorization") {
        Some("Bearer t0ken") => None,
        _ => Some(Reply::status(401).header("WWW-Authenticate", challenge.clone())),
    });
    tokens.lie(|_| Some(Reply::body(200, r#"{"token":"t0ken"}"#)));
    scene.pull(&scene.client(), &scene.name("app:1")).unwrap();
    let given: HashSet<Option<String>> =
        tokens.take_seen().iter().map(|seen| seen.header("authorization").map(str::to_owned)).collect();
    assert_eq!(given, HashSet::from([Some("Basic YW5uOnMzY3JldA==".to_owned())]));
    let given = scene.registry.take_seen();
    assert!(given.iter().all(|seen| seen.header("authorization").is_none_or(|given| given == "Bearer t0ken")));

    let location = format!("http://{}/token", elsewhere.host());
    tokens.lie(move |_| Some(Reply::status(307).header("Location", location.clone())));
    let failure = scene.fails("app:1");
    assert!(failure.starts_with("registry/protocol"), "{failure}");
    assert!(elsewhere.take_seen().is_empty());
}

/// A host that a blob is redirected to may ask for a password, and gets none.
#[test]
fn whoever_is_redirected_to_gets_no_password_for_asking() {
    for challenge in ["Basic realm=\"x\"", "Bearer realm=\"http://REALM/token\""] {
        let scene = Scene::new();
        let fixture = Fixture::new(1, &[1000]);
        fixture.put(&scene.registry, "app", "1");
        let elsewhere = Registry::start();
        scene.registry.set_access(Access::Basic("ann:s3cret".into()));
        scene.credentials().store(&scene.registry.host(), "ann", "s3cret").unwrap();
        let location = format!("http://{}/blob", elsewhere.host());
        let path = format!("/v2/app/blobs/{}", Digest::of(&fixture.layers[0]));
        scene
            .registry
            .lie(move |seen| (seen.path == path).then(|| Reply::status(302).header("Location", location.clone())));
        let asks = challenge.replace("REALM", &elsewhere.host());
        elsewhere.lie(move |_| Some(Reply::status(401).header("WWW-Authenticate", asks.clone())));
        let failure = scene.fails("app:1");
        assert!(failure.starts_with("registry/unauthorised"), "{failure}");
        let seen = elsewhere.take_seen();
        assert!(!seen.is_empty() && seen.iter().all(|seen| seen.path == "/blob"));
        assert!(seen.iter().all(|seen| seen.header("authorization").is_none()));
    }
}
