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

proptest! {
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
