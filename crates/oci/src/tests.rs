use proptest::prelude::*;

use super::*;

fn reference(text: &str) -> Reference {
    text.parse().expect(text)
}

#[test]
fn references_are_completed_as_docker_does() {
    for (text, complete, familiar) in [
        ("nginx", "docker.io/library/nginx:latest", "nginx:latest"),
        ("user/app:1", "docker.io/user/app:1", "user/app:1"),
        ("localhost/app", "localhost/app:latest", "localhost/app:latest"),
        ("host:5000/a/b:x", "host:5000/a/b:x", "host:5000/a/b:x"),
        ("index.docker.io/nginx", "docker.io/library/nginx:latest", "nginx:latest"),
        ("a__b/c---d.e", "docker.io/a__b/c---d.e:latest", "a__b/c---d.e:latest"),
        ("[::1]:5000/app", "[::1]:5000/app:latest", "[::1]:5000/app:latest"),
    ] {
        assert_eq!(reference(text).to_string(), complete);
        assert_eq!(reference(text).familiar(), familiar);
    }
}

#[test]
fn a_path_that_begins_like_a_host_is_shown_with_its_host() {
    for text in ["docker.io/r.io/app:v1", "docker.io/localhost/app:v1"] {
        assert_eq!(reference(text).familiar(), text);
        assert_eq!(reference(&reference(text).familiar()), reference(text));
    }
    assert_eq!(reference("docker.io/team/app:v1").familiar(), "team/app:v1");
}

#[test]
fn a_digest_needs_no_tag() {
    let digest = Digest::of(b"");
    let pinned = reference(&format!("nginx@{digest}"));
    assert_eq!((pinned.tag(), pinned.digest()), (None, Some(&digest)));
    assert_eq!(reference(&format!("nginx:1@{digest}")).tag(), Some("1"));
}

#[test]
fn malformed_references_are_refused_with_advice() {
    for text in
        ["", "Nginx", "a//b", "a:", "-a", "a..b", "a___b", "a/", "/a", "a@sha256:12", "a b", "host:99999/a", "a:-x"]
    {
        let error = text.parse::<Reference>().expect_err(text);
        assert_eq!(error.code.id, "oci/invalid-reference");
        assert!(!error.hints.is_empty());
    }
    assert_eq!("Team-App".parse::<Reference>().unwrap_err().hints, ["names are lower case: `team-app`"]);
    assert!("a".repeat(64).parse::<Reference>().is_err(), "an id is no name");
}

#[test]
fn digests_have_one_spelling() {
    let digest = Digest::of(b"");
    assert_eq!(digest.to_string(), "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
    assert!(digest.to_string().to_uppercase().parse::<Digest>().is_err());
}

#[test]
fn platforms_have_aliases() {
    let platform: Platform = "linux/aarch64".parse().unwrap();
    assert!(platform.matches(&"arm64".parse().unwrap()));
    assert!(platform.matches(&"linux/arm64/v8".parse().unwrap()));
    assert!("nonsense".parse::<Platform>().is_err());
    assert_eq!("linux".parse::<Platform>().unwrap().architecture, Platform::host().architecture);
    assert!("linux/".parse::<Platform>().is_err());
}

#[test]
fn chain_ids_follow_the_specification() {
    let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
    assert_eq!(chain_ids(&[a, b]), [a, Digest::of(format!("{a} {b}"))]);
}

#[test]
fn configurations_written_by_go_are_read() {
    let text = r#"{"architecture":"amd64","os":"linux","config":{"Env":null,"Cmd":null,"Volumes":null,"Labels":null,
        "OnBuild":null,"User":"","Healthcheck":{"Test":["CMD","true"],"Interval":30000000000}},
        "rootfs":{"type":"layers","diff_ids":null},"history":null}"#;
    let config: ImageConfig = serde_json::from_str(text).unwrap();
    assert_eq!(config.config.healthcheck.unwrap().interval, 30_000_000_000);
    assert_eq!(config.config.cmd, None);
}

/// Documents with everything in them, for changing.
const CONFIG: &str = r#"{"architecture":"arm64","variant":"v8","os":"linux","created":"2020-01-01T00:00:00Z","config":{"Env":["A=b"],
"Cmd":["x"],"Entrypoint":["y"],"Volumes":{"/v":{}},"ExposedPorts":{"80/tcp":{}},"Labels":{"a":"b"},"User":"1:2","WorkingDir":"/w",
"Healthcheck":{"Test":["CMD","true"],"Interval":30000000000,"Retries":3},"StopSignal":"SIGTERM","Shell":["sh"],"OnBuild":["RUN x"]},
"rootfs":{"type":"layers","diff_ids":["sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"]},
"history":[{"created_by":"RUN x","empty_layer":true}]}"#;
const INDEX: &str = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":
"application/vnd.oci.image.manifest.v1+json","digest":"sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
"size":7,"platform":{"os":"linux","architecture":"amd64"},"annotations":{"a":"b"}}]}"#;
const MANIFEST: &str = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":
"application/vnd.oci.image.config.v1+json","digest":"sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
"size":7},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":
"sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef","size":18446744073709551615}]}"#;

/// What is read is written so that it is read the same.
fn same_again<T: serde::Serialize + serde::de::DeserializeOwned>(text: &[u8]) -> bool {
    let Ok(first) = serde_json::from_slice::<T>(text) else { return true };
    let written = serde_json::to_vec(&first).unwrap();
    let again: T = serde_json::from_slice(&written).unwrap();
    serde_json::to_vec(&again).unwrap() == written
}

#[test]
fn the_samples_are_whole() {
    let config: ImageConfig = serde_json::from_str(CONFIG).unwrap();
    assert_eq!(config.platform().to_string(), "linux/arm64/v8");
    assert_eq!(chain_ids(&config.rootfs.diff_ids).len(), 1);
    assert_eq!(serde_json::from_str::<Index>(INDEX).unwrap().manifests.len(), 1);
    assert_eq!(serde_json::from_str::<Manifest>(MANIFEST).unwrap().layers.len(), 1);
}

proptest! {
    #[test]
    fn mutations_of_documents_are_read_or_refused(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), 0u8..4, any::<u8>()), 1..6),
        sample in prop_oneof![Just(CONFIG), Just(INDEX), Just(MANIFEST)],
    ) {
        let mut text = sample.as_bytes().to_vec();
        for (index, kind, byte) in edits {
            let at = index.index(text.len());
            match kind {
                0 => { text.remove(at); }
                1 => text.insert(at, byte),
                2 => text[at] = byte,
                _ => text[at] = b"0\"{}[],:-"[usize::from(byte) % 9],
            }
        }
        prop_assert!(same_again::<ImageConfig>(&text) && same_again::<Index>(&text) && same_again::<Manifest>(&text));
        if let Ok(config) = serde_json::from_slice::<ImageConfig>(&text) {
            let _ = config.platform().to_string();
        }
    }

    #[test]
    fn parsing_survives_anything_and_round_trips(text in ".{0,80}") {
        if let Ok(parsed) = text.parse::<Reference>() {
            prop_assert_eq!(parsed.to_string().parse::<Reference>().unwrap(), parsed.clone());
            prop_assert_eq!(parsed.familiar().parse::<Reference>().unwrap(), parsed);
        }
        let _ = text.parse::<Digest>();
        let _ = text.parse::<Platform>();
    }

    #[test]
    fn plausible_references_round_trip(text in "([a-z]{1,5}(\\.[a-z]{1,3})?(:[0-9]{1,4})?/)?[a-z0-9._-]{1,12}(:[A-Za-z0-9_.-]{1,6})?") {
        if let Ok(parsed) = text.parse::<Reference>() {
            prop_assert_eq!(parsed.familiar().parse::<Reference>().unwrap(), parsed);
        }
    }
}
