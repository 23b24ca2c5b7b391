use std::collections::BTreeMap;

use carrack_oci::{Digest, Manifest, media_type};
use carrack_testkit::registry::Reply;

use super::{Fixture, Scene, descriptor};
use crate::{Artifact, ArtifactBlob};

const KIND: &str = "application/vnd.in-toto+json";

fn artifact(fixture: &Fixture, kind: &str, content: &str) -> Artifact {
    Artifact {
        artifact_type: kind.into(),
        subject: descriptor(media_type::MANIFEST, &fixture.manifest),
        blobs: vec![ArtifactBlob {
            media_type: kind.into(),
            bytes: content.into(),
            annotations: BTreeMap::from([("of".into(), content.into())]),
        }],
        annotations: BTreeMap::from([("made".into(), "here".into())]),
    }
}

/// In both ways that registries have of it.
#[test]
fn artefacts_are_listed_with_what_they_speak_about() {
    for is_known in [true, false] {
        let scene = Scene::new();
        if is_known {
            scene.registry.know_referrers();
        }
        let fixture = Fixture::new(1, &[100]);
        let subject = fixture.put(&scene.registry, "app", "1");
        let (client, name) = (scene.client(), scene.name("app"));
        assert_eq!(client.referrers(&name, &subject, None).unwrap(), []);
        let first = client.push_artifact(&name, &artifact(&fixture, KIND, "one")).unwrap();
        let other = client.push_artifact(&name, &artifact(&fixture, "text/spdx+json", "two")).unwrap();
        assert_eq!(client.push_artifact(&name, &artifact(&fixture, KIND, "one")).unwrap(), first, "once");
        let mut listed: Vec<Digest> =
            client.referrers(&name, &subject, None).unwrap().iter().map(|entry| entry.digest).collect();
        listed.sort();
        let mut expected = vec![first.digest, other.digest];
        expected.sort();
        assert_eq!(listed, expected, "known: {is_known}");
        let attested = client.referrers(&name, &subject, Some(KIND)).unwrap();
        assert_eq!(attested.iter().map(|entry| entry.digest).collect::<Vec<_>>(), [first.digest]);
        let tag = format!("sha256-{}", subject.hex());
        assert_eq!(scene.registry.manifest("app", &tag).is_some(), !is_known, "the tag is for registries that need it");

        let (document, blobs) = client.artifact(&name, &attested[0], 1 << 20).unwrap();
        let manifest: Manifest = serde_json::from_slice(&document.bytes).unwrap();
        assert_eq!(manifest.subject.unwrap().digest, subject);
        assert_eq!(manifest.artifact_type.as_deref(), Some(KIND));
        assert_eq!((blobs[0].1.as_slice(), blobs[0].0.annotations["of"].as_str()), (b"one".as_slice(), "one"));
        let error = client.artifact(&name, &attested[0], 2).unwrap_err();
        assert_eq!(error.code.id, "registry/too-large");
    }
}

#[test]
fn a_list_of_referrers_that_leads_elsewhere_or_never_ends_is_refused() {
    let scene = Scene::new();
    let fixture = Fixture::new(1, &[100]);
    let subject = fixture.put(&scene.registry, "app", "1");
    for next in ["https://elsewhere.invalid/v2/", "/v2/app/referrers/again"] {
        scene.registry.lie(move |seen| {
            let index = format!(r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[]}}"#, media_type::INDEX);
            let reply = Reply::body(200, index).header("Content-Type", media_type::INDEX);
            seen.path.contains("/referrers/").then(|| reply.header("Link", format!("<{next}>; rel=\"next\"")))
        });
        let error = scene.client().referrers(&scene.name("app"), &subject, None).unwrap_err();
        assert_eq!(error.code.id, "registry/protocol", "{next}");
    }
    // What answers everything with a page knows no referrers.
    scene.registry.lie(|seen| seen.path.contains("/referrers/").then(|| Reply::body(200, "<html>")));
    assert_eq!(scene.client().referrers(&scene.name("app"), &subject, None).unwrap(), []);
}
