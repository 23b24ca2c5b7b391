use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

use carrack_oci::{Config, Digest, Platform, Reference, media_type};
use carrack_testkit::image::{config, docker_archive, oci_layout};
use carrack_testkit::tar::Builder;

use crate::testing::{Scene, is_root};
use crate::{Compression, Durability, Image, Import, KeepKind, NewImage, Scope, Snapshotter as _};

fn name(text: &str) -> Reference {
    text.parse().unwrap()
}

fn layers() -> Vec<Vec<u8>> {
    vec![Builder::new().file("base", "b").build(), Builder::new().file("top", "t").build()]
}

fn web_config() -> Config {
    Config { cmd: Some(vec!["/web".into()]), ..Config::default() }
}

fn load(scene: &Scene, archive: &[u8]) -> carrack_diag::Result<Vec<Image>> {
    let loaded = scene.store.load(archive, &Platform::host(), &|_, _, _| Ok(Vec::new()))?;
    assert!(loaded.iter().all(|(image, names)| names.iter().all(|name| image.names.contains(name))));
    Ok(loaded.into_iter().map(|(image, _)| image).collect())
}

fn load_web(scene: &Scene, tag: &str) -> Image {
    let config = config(&layers(), web_config());
    load(scene, &docker_archive(tag, &config, &layers())).unwrap().remove(0)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_docker_archive_is_loaded_whole() {
    if !is_root() {
        return;
    }
    let scene = Scene::new();
    let config = config(&layers(), web_config());
    let image = load_web(&scene, "web:1");
    assert_eq!(image.id, Digest::of(&config));
    assert_eq!(image.names, [name("web:1")]);
    assert_eq!(image.config.config.cmd, web_config().cmd);
    assert_eq!(scene.store.lower_dirs(image.chain()).unwrap().len(), 2);
    let view = scene.store.view(image.chain()).unwrap();
    assert_eq!(view.read(Path::new("top"), 10).unwrap().as_deref(), Some(&b"t"[..]));
    // Two layers, configuration and manifest; what else the archive held is gone.
    assert_eq!(scene.store.blobs().unwrap().len(), 4);
}

#[test]
fn an_oci_layout_keeps_its_manifest_and_its_compressed_layers() {
    if !is_root() {
        return;
    }
    let scene = Scene::new();
    let config = config(&layers(), Config::default());
    let blobs: Vec<_> = layers().iter().map(|layer| (media_type::LAYER_GZIP, gzip(layer))).collect();
    let archive = oci_layout("host:5000/team/web:2", &config, &blobs);
    let image = load(&scene, &gzip(&archive)).unwrap().remove(0);
    assert_eq!(image.names, [name("host:5000/team/web:2")]);
    assert_eq!(image.layers[0].blob.digest, Digest::of(&blobs[0].1));
    assert_eq!(image.layers[0].blob.media_type, media_type::LAYER_GZIP);
    assert_eq!(image.manifest.digest, scene.store.image("host:5000/team/web:2").unwrap().manifest.digest);
    assert_eq!(scene.store.image(&image.manifest.digest.to_string()).unwrap().id, image.id);
}

#[test]
fn an_image_keeps_each_manifest_that_it_comes_with() {
    if !is_root() {
        return;
    }
    let scene = Scene::new();
    let first = load_web(&scene, "web:1");
    let config = config(&layers(), web_config());
    let blobs: Vec<_> = layers().iter().map(|layer| (media_type::LAYER_GZIP, gzip(layer))).collect();
    let archive = oci_layout("web:2", &config, &blobs);
    let loaded = scene.store.load(archive.as_slice(), &Platform::host(), &|_, _, _| Ok(Vec::new())).unwrap();
    assert_eq!(loaded[0].1, [name("web:2")]);
    let again = &loaded[0].0;
    assert_eq!(again.layers[0].blob.digest, Digest::of(&blobs[0].1), "as the archive has it");
    assert_eq!(again.names, [name("web:1"), name("web:2")]);
    assert_eq!(scene.store.image("web:1").unwrap().manifest, first.manifest);
    // An archive that names no manifest has no say in it.
    let third = load_web(&scene, "web:3");
    assert_eq!((third.id, third.manifest), (first.id, again.manifest.clone()));
}

#[test]
fn what_is_saved_is_loaded_and_always_the_same() {
    if !is_root() {
        return;
    }
    let (scene, other) = (Scene::new(), Scene::new());
    let image = load_web(&scene, "web:1");
    let save = |image: &Image| {
        let mut archive = Vec::new();
        scene.store.save(&[(image.clone(), vec![name("web:1"), name("web:latest")])], &mut archive).unwrap();
        archive
    };
    let archive = save(&image);
    assert_eq!(save(&image), archive);
    let loaded = load(&other, &archive).unwrap();
    assert_eq!(loaded.len(), 1);
    assert_eq!((loaded[0].id, loaded[0].manifest.digest), (image.id, image.manifest.digest));
    assert_eq!(loaded[0].names, [name("web:1"), name("web:latest")]);

    // Readers of `docker save` archives look into manifest.json alone.
    let mut members = BTreeMap::new();
    for entry in tar::Archive::new(archive.as_slice()).entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut content).unwrap();
        members.insert(entry.path().unwrap().display().to_string(), content);
    }
    let manifest: serde_json::Value = serde_json::from_slice(&members["manifest.json"]).unwrap();
    assert_eq!(manifest[0]["RepoTags"], serde_json::json!(["web:1", "web:latest"]));
    let config_path = manifest[0]["Config"].as_str().unwrap();
    assert_eq!(Digest::of(&members[config_path]), image.id);
    for (path, layer) in manifest[0]["Layers"].as_array().unwrap().iter().zip(layers()) {
        assert_eq!(members[path.as_str().unwrap()], layer);
    }
}

#[test]
fn archives_that_are_none_are_told() {
    if !is_root() {
        return;
    }
    let scene = Scene::new();
    let refusal = |archive: &[u8]| {
        let error = load(&scene, archive).unwrap_err();
        assert_eq!(scene.store.blobs().unwrap(), [], "nothing stays");
        format!("{}: {error}", error.code.id)
    };
    let good = config(&layers(), Config::default());
    insta::assert_snapshot!(refusal(b"no tar at all"), @"store/invalid-tar: the archive can't be read: it ends in the middle of a header");
    insta::assert_snapshot!(refusal(&Builder::new().file("etc/passwd", "").build()), @"store/invalid-image: the archive holds no image: it has neither `index.json` (OCI layout) nor `manifest.json` (docker save)");
    insta::assert_snapshot!(refusal(&Builder::new().file("index.json", "[").build()), @"store/invalid-image: the image's index.json can't be read: EOF while parsing a list at line 1 column 1");
    insta::assert_snapshot!(refusal(&Builder::new().file("manifest.json", r#"[{"Config":"../../etc/passwd"}]"#).build()), @"store/invalid-image: the archive's manifest.json names `../../etc/passwd`, which is not there");
    insta::assert_snapshot!(refusal(&docker_archive("web", &good, &layers()[..1])), @"store/invalid-image: the image's configuration names 2 layers, its manifest 1");
    let swapped: Vec<_> = layers().into_iter().rev().collect();
    insta::assert_snapshot!(refusal(&docker_archive("web", &good, &swapped)), @"store/digest-mismatch: the layer sha256:e98a4b0b42768a7248c173886cd3c100514b06edaf0c44b9a3a083a641ce7609 unpacks to sha256:e11e83dd4ceb7cd2e300dc7fb3922f47637555510ed893ff64e8edc1fd8ba93d");
    insta::assert_snapshot!(refusal(&docker_archive("Web", &good, &layers())), @"oci/invalid-reference: `Web` is not an image reference: `Web` is not a component of a repository's name");
    let cut = docker_archive("web", &good, &layers());
    insta::assert_snapshot!(refusal(&cut[..cut.len() / 2 - 100]), @"store/invalid-tar: the archive can't be read: it ends in the middle of a member");
}

#[test]
fn links_in_an_archive_are_names_not_paths() {
    if !is_root() {
        return;
    }
    let scene = Scene::new();
    let layer = layers().remove(0);
    let config = config(std::slice::from_ref(&layer), Config::default());
    let manifest = r#"[{"Config":"c.json","RepoTags":null,"Layers":["b/layer.tar"]}]"#;
    let archive = Builder::new()
        .file("a/layer.tar", &layer)
        .symlink("b/layer.tar", "../a/layer.tar")
        .file("c.json", &config)
        .file("manifest.json", manifest);
    assert_eq!(load(&scene, &archive.clone().build()).unwrap()[0].names, []);
    let outside = archive.symlink("b/layer.tar", "/etc/passwd").build();
    assert_eq!(load(&scene, &outside).unwrap_err().code.id, "store/invalid-image");
}

#[test]
fn of_an_index_the_platform_counts() {
    if !is_root() {
        return;
    }
    let scene = Scene::new();
    let layer = layers().remove(0);
    let config = config(std::slice::from_ref(&layer), Config::default());
    let describe = |kind: &str, bytes: &[u8]| serde_json::json!({"mediaType": kind, "digest": Digest::of(bytes), "size": bytes.len()});
    let manifest = serde_json::json!({"schemaVersion": 2, "config": describe(media_type::CONFIG, &config),
        "layers": [describe(media_type::LAYER, &layer)]})
    .to_string();
    let mut of_host = describe(media_type::MANIFEST, manifest.as_bytes());
    of_host["platform"] = serde_json::json!(Platform::host());
    let mut of_other = describe(media_type::MANIFEST, b"not even there");
    of_other["platform"] = serde_json::json!({"os": "linux", "architecture": "s390x"});
    let mut attestation = describe(media_type::MANIFEST, b"nor this");
    attestation["annotations"] = serde_json::json!({"vnd.docker.reference.type": "attestation-manifest"});
    let inner = serde_json::json!({"schemaVersion": 2, "manifests": [of_other, attestation, of_host]}).to_string();
    let mut entry = describe(media_type::INDEX, inner.as_bytes());
    entry["annotations"] = serde_json::json!({"io.containerd.image.name": "docker.io/library/web:3"});
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [entry]}).to_string();
    let mut archive = Builder::new().file("index.json", index);
    for blob in [config.as_slice(), &layer, manifest.as_bytes(), inner.as_bytes()] {
        archive = archive.file(&format!("blobs/sha256/{}", Digest::of(blob).hex()), blob);
    }
    let archive = archive.build();
    let images = load(&scene, &archive).unwrap();
    assert_eq!((images.len(), images[0].id), (1, Digest::of(&config)));
    assert_eq!(images[0].names, [name("web:3")]);
    let riscv = "linux/riscv64".parse().unwrap();
    let error = scene.store.load(archive.as_slice(), &riscv, &|_, _, _| Ok(Vec::new())).unwrap_err();
    assert_eq!(error.message, "the archive holds no image for linux/riscv64");
}

/// Five indexes, each of which names the next a thousand times, are five.
#[test]
fn indexes_that_name_each_other_are_followed_once() {
    if !is_root() {
        return;
    }
    let scene = Scene::new();
    let describe = |kind: &str, bytes: &[u8]| serde_json::json!({"mediaType": kind, "digest": Digest::of(bytes), "size": bytes.len()});
    let mut of_other = describe(media_type::MANIFEST, b"not even there");
    of_other["platform"] = serde_json::json!({"os": "linux", "architecture": "s390x"});
    let mut archive = Builder::new();
    let mut inner = of_other;
    for _ in 0..4 {
        let index = serde_json::json!({"schemaVersion": 2, "manifests": vec![inner; 1000]}).to_string();
        inner = describe(media_type::INDEX, index.as_bytes());
        archive = archive.file(&format!("blobs/sha256/{}", Digest::of(&index).hex()), index);
    }
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [inner]}).to_string();
    let error = load(&scene, &archive.file("index.json", index).build()).unwrap_err();
    assert_eq!(error.code.id, "store/invalid-image");
}

#[test]
fn a_root_file_system_is_imported_as_one_plain_layer() {
    if !is_root() {
        return;
    }
    let scene = Scene::new();
    let rootfs = Builder::new().file("etc/os-release", "debian").build();
    let import = Import {
        config: web_config(),
        platform: Platform::host(),
        created: Some("2024-01-01T00:00:00Z".into()),
        message: Some("from a tar".into()),
        names: vec![name("home/debian")],
    };
    let image = scene.store.import(gzip(&rootfs).as_slice(), import.clone()).unwrap();
    assert_eq!(image.layers[0].blob.media_type, media_type::LAYER);
    assert_eq!(image.config.rootfs.diff_ids, [Digest::of(&rootfs)]);
    assert_eq!(scene.store.import(rootfs.as_slice(), import.clone()).unwrap().id, image.id, "reproducible");
    let hostile = Builder::new().file("../x", "").build();
    assert_eq!(scene.store.import(hostile.as_slice(), import).unwrap_err().code.id, "store/hostile-layer");
    assert!(!scene.store.has_blob(&Digest::of(&hostile)));
}

#[test]
fn images_are_found_by_name_id_prefix_and_digest() {
    if !is_root() {
        return;
    }
    let scene = Scene::new();
    let image = load_web(&scene, "web:1");
    let hex = image.id.hex();
    for text in [
        "web:1",
        "docker.io/library/web:1",
        &hex,
        &format!("sha256:{hex}"),
        &hex[..12],
        &hex[..3],
        &image.manifest.digest.to_string(),
    ] {
        assert_eq!(scene.store.image(text).unwrap().id, image.id, "{text}");
    }
    for text in ["web", "webb:1", "nothing/like/it", "WEB:1", "", "zzz"] {
        assert_eq!(scene.store.image(text).unwrap_err().code.id, "store/image-not-found", "{text}");
    }
    let error = scene.store.image("webb:1").unwrap_err();
    assert_eq!(error.hints, ["did you mean `web:1`?"]);
    let empty = Scene::new();
    insta::assert_snapshot!(empty.store.image("web").unwrap_err().hints[0], @"get one with `carrack pull`, `carrack load`, `carrack build` or `carrack image bootstrap`");
}

#[test]
fn a_prefix_of_several_ids_is_refused() {
    if !is_root() {
        return;
    }
    let scene = Scene::new();
    // Among 17 ids two share their first digit.
    for number in 0..17 {
        let layer = Builder::new().file("n", number.to_string()).build();
        let config = config(std::slice::from_ref(&layer), Config::default());
        load(&scene, &docker_archive("n", &config, &[layer])).unwrap();
    }
    let ambiguous = "0123456789abcdef".chars().filter_map(|digit| scene.store.image(&digit.to_string()).err());
    assert!(ambiguous.map(|error| error.code.id).any(|code| code == "store/image-ambiguous"));
    assert_eq!(scene.store.images().unwrap().len(), 17);
    assert_eq!(scene.store.names().unwrap().len(), 1, "the name moved on");
}

#[test]
fn tags_come_and_go() {
    if !is_root() {
        return;
    }
    let scene = Scene::new();
    let image = load_web(&scene, "web:1");
    scene.store.tag(&image, &name("web:stable")).unwrap();
    assert_eq!(scene.store.image("web:stable").unwrap().names, [name("web:1"), name("web:stable")]);
    assert!(scene.store.untag(&name("web:1")).unwrap());
    assert!(!scene.store.untag(&name("web:1")).unwrap());
    assert_eq!(scene.store.image("web:1").unwrap_err().code.id, "store/image-not-found");
    let pinned = name(&format!("web@{}", image.id));
    assert_eq!(scene.store.tag(&image, &pinned).unwrap_err().code.id, "store/invalid-name");
    let missing = Image { id: Digest::of("none"), ..image.clone() };
    assert_eq!(scene.store.tag(&missing, &name("x")).unwrap_err().code.id, "store/image-not-found");
}

/// Services of one project that come to the same image.
#[test]
fn who_makes_the_same_image_at_once_adds_to_it() {
    if !is_root() {
        return;
    }
    let scene = Scene::new();
    let (config, plain) = (config(&layers(), web_config()), load_web(&scene, "web:1"));
    std::thread::scope(|scope| {
        for number in 0..16 {
            let (scene, config, layers) = (&scene, &config, plain.layers.clone());
            scope.spawn(move || {
                let manifest = format!(r#"{{"schemaVersion":2,"number":{number}}}"#).into_bytes();
                let manifest = Some((manifest, media_type::MANIFEST.into()));
                let new = NewImage { layers, manifest, ..NewImage::default() };
                scene.store.put_image(&scene.lease, config, new).unwrap();
            });
        }
    });
    assert_eq!(scene.store.images().unwrap().len(), 17, "one for each manifest");
}

/// One configuration under two manifests: each name means the one that it came with.
#[test]
fn each_name_keeps_its_manifest() {
    if !is_root() {
        return;
    }
    let scene = Scene::new();
    let config = config(&layers(), web_config());
    let plain = load_web(&scene, "web:1");
    let pull = |compressed: bool, tag: &str, replaced: Option<Digest>| {
        let mut layers = plain.layers.clone();
        if compressed {
            for layer in &mut layers {
                *layer = scene.store.recompress(&scene.lease, layer, Compression::OUTGOING, true).unwrap();
            }
        }
        let manifest = format!(r#"{{"schemaVersion":2,"tag":"{tag}"}}"#).into_bytes();
        let origin = name(&format!("r.lan/{tag}@{}", Digest::of(&manifest)));
        let new = NewImage {
            layers,
            manifest: Some((manifest, media_type::MANIFEST.into())),
            names: if replaced.is_none() { vec![name(&format!("r.lan/{tag}:1"))] } else { Vec::new() },
            repo_digests: vec![origin],
            replaced,
            ..NewImage::default()
        };
        scene.store.put_image(&scene.lease, &config, new).unwrap()
    };
    let first = pull(true, "first", None);
    let second = pull(false, "second", None);
    assert_eq!((first.id, second.id), (plain.id, plain.id));
    let manifest = |text: &str| scene.store.image(text).unwrap().manifest.digest;
    assert_eq!(manifest("web:1"), plain.manifest.digest);
    assert_eq!(manifest("r.lan/first:1"), first.manifest.digest);
    assert_eq!(manifest("r.lan/second:1"), second.manifest.digest);
    assert_eq!(manifest(&plain.id.to_string()), second.manifest.digest, "an id means the one that came last");
    assert_eq!(manifest(&first.repo_digests[0].to_string()), first.manifest.digest);
    assert_ne!(scene.store.image("r.lan/first:1").unwrap().layers, second.layers);
    let by_digest = scene.store.image(&first.manifest.digest.to_string()).unwrap();
    scene.store.tag(&by_digest, &name("copy:1")).unwrap();
    assert_eq!(manifest("copy:1"), first.manifest.digest, "a further name means the same");
    // What was pushed is meant by the names of what it was made of.
    let pushed = pull(true, "pushed", Some(plain.manifest.digest));
    assert_eq!(manifest("web:1"), pushed.manifest.digest);
    assert_eq!(manifest("r.lan/second:1"), second.manifest.digest);
    assert_eq!(scene.store.images().unwrap().len(), 3, "one for each manifest");
    scene.store.prune(Scope::Unreferenced).unwrap();
    for text in ["web:1", "copy:1", "r.lan/second:1"] {
        let image = scene.store.image(text).unwrap();
        assert!(image.layers.iter().all(|layer| scene.store.has_blob(&layer.blob.digest)), "{text}");
    }
    let again = load_web(&scene, "web:2");
    assert_eq!(again.manifest.digest, pushed.manifest.digest, "made once more, it is what it was");
    scene.store.remove_image(&plain.id, true).unwrap();
    assert_eq!(scene.store.names().unwrap().len(), 0);
}

#[test]
fn an_image_in_use_stays_unless_forced() {
    if !is_root() {
        return;
    }
    let scene = Scene::new();
    let image = load_web(&scene, "web:1");
    scene.store.keep(KeepKind::Container, &"ab".repeat(32), &[image.id], Durability::Cached).unwrap();
    let error = scene.store.remove_image(&image.id, false).unwrap_err();
    insta::assert_snapshot!(error.causes[0], @"it is kept by container abababababab");
    for number in 1..=5 {
        scene.store.keep(KeepKind::Release, &format!("shop-{number}"), &[image.id], Durability::Cached).unwrap();
    }
    let error = scene.store.remove_image(&image.id, false).unwrap_err();
    assert!(error.causes[0].ends_with(" and 2 more"), "{}", error.causes[0]);
    for number in 1..=5 {
        scene.store.unkeep(KeepKind::Release, &format!("shop-{number}")).unwrap();
    }
    assert_eq!(scene.store.prune(Scope::Unused).unwrap().images, []);
    assert!(!scene.store.remove_image(&image.id, true).unwrap());
    assert_eq!(scene.store.image("web:1").unwrap_err().code.id, "store/image-not-found");
    scene.store.prune(Scope::Unused).unwrap();
    assert_eq!(scene.store.image(&image.id.hex()).unwrap().names, [], "what uses it has it whole");
    assert_eq!(scene.store.lower_dirs(image.chain()).unwrap().len(), 2);
    scene.store.unkeep(KeepKind::Container, &"ab".repeat(32)).unwrap();
    let garbage = scene.store.prune(Scope::Dangling).unwrap();
    assert_eq!((garbage.images.as_slice(), garbage.chains.len()), (&[image.id][..], 2));
    assert_eq!((scene.store.snapshots().unwrap().len(), scene.store.blobs().unwrap().len()), (0, 0));
    let image = load_web(&scene, "web:1");
    assert!(scene.store.remove_image(&image.id, false).unwrap());
}

#[test]
fn prune_takes_what_its_scope_says() {
    if !is_root() {
        return;
    }
    let scene = Scene::new();
    let image = load_web(&scene, "web:1");
    drop(scene.lease);
    assert_eq!(scene.store.prune(Scope::Unreferenced).unwrap(), crate::Garbage::default());
    assert_eq!(scene.store.garbage(Scope::Dangling).unwrap().images, []);
    scene.store.untag(&name("web:1")).unwrap();
    let garbage = scene.store.garbage(Scope::Dangling).unwrap();
    assert_eq!((garbage.images.as_slice(), garbage.chains.len(), garbage.blobs.len()), (&[image.id][..], 2, 4));
    assert_eq!(garbage.chains[0], *image.chain().unwrap(), "children first");
    assert!(scene.store.image(&image.id.hex()).is_ok(), "looking takes nothing");
    assert_eq!(scene.store.prune(Scope::Dangling).unwrap(), garbage);
    assert_eq!(scene.store.images().unwrap(), []);
    assert_eq!(scene.store.blobs().unwrap(), []);
}

#[test]
fn prune_beside_loading_takes_nothing_that_is_needed() {
    if !is_root() {
        return;
    }
    let scene = Scene::new();
    let (begins, begun) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let (scene, begins) = (&scene, begins);
        scope.spawn(move || {
            for number in 0..20 {
                begins.send(()).unwrap();
                let layer = Builder::new().file("n", number.to_string()).build();
                let config = config(std::slice::from_ref(&layer), Config::default());
                let archive = docker_archive(&format!("n:{number}"), &config, &[layer]);
                let image = load(scene, &archive).unwrap().remove(0);
                assert!(scene.store.view(image.chain()).unwrap().read(Path::new("n"), 9).unwrap().is_some());
            }
        });
        for () in begun {
            for _ in 0..3 {
                scene.store.prune(Scope::Dangling).unwrap();
            }
        }
    });
    assert_eq!(scene.store.images().unwrap().len(), 20);
    for image in scene.store.images().unwrap() {
        assert!(scene.store.has_blob(&image.layers[0].blob.digest) && scene.store.has_blob(&image.manifest.digest));
    }
}

#[test]
fn an_empty_volume_gets_what_the_image_holds() {
    if !is_root() {
        return;
    }
    let scene = Scene::new();
    let layer = Builder::new()
        .mode(0o750)
        .owner(999, 998)
        .dir("data/")
        .owner(999, 998)
        .xattr("user.key", "v")
        .file("data/file", "content")
        .symlink("alias", "data");
    let chain = scene.apply(&[layer.build()]).unwrap();
    let view = scene.store.view(Some(&chain)).unwrap();
    let volume = scene.store.create_volume("db", false, BTreeMap::new()).unwrap();
    assert_eq!(scene.store.create_volume("db", false, BTreeMap::from([("a".into(), "b".into())])).unwrap(), volume);
    assert!(scene.store.populate_volume("db", &view, Path::new("/alias")).unwrap());
    let data = scene.store.volume_data("db").unwrap();
    let listed = crate::testing::list(std::os::fd::AsFd::as_fd(&std::fs::File::open(&data).unwrap()));
    insta::assert_snapshot!(listed, @r#"
    d0750 999:998 0 /
    -0644 999:998 0 /file =content user.key=v
    "#);
    std::fs::write(data.join("file"), "changed").unwrap();
    assert!(!scene.store.populate_volume("db", &view, Path::new("/data")).unwrap());
    assert_eq!(std::fs::read(data.join("file")).unwrap(), b"changed");
    let anonymous = scene.store.create_volume(&crate::anonymous_volume_name().unwrap(), true, BTreeMap::new()).unwrap();
    assert!(anonymous.anonymous && anonymous.name.len() == 64);
    assert!(!scene.store.populate_volume(&anonymous.name, &view, Path::new("/none")).unwrap());
    assert_eq!(scene.store.populate_volume("none", &view, Path::new("/data")).unwrap_err().code.id, "store/not-found");
    assert!(scene.store.remove_volume("db").unwrap());
    assert!(!scene.store.remove_volume("db").unwrap());
    assert_eq!(scene.store.volumes().unwrap().into_keys().collect::<Vec<_>>(), [anonymous.name]);
    assert!(scene.store.create_volume("../up", false, BTreeMap::new()).is_err());
}

/// D10: the gzip of a layer is the same on every machine. What zlib-rs chooses by processor (how it compares and slides) finds
/// the same matches; what changes them is another version of it and the size of the pieces that it is given, and both are
/// seen here: they change the digests of images that are pushed.
#[test]
fn the_gzip_of_a_layer_is_the_same_everywhere() {
    let scene = Scene::new();
    let lease = scene.store.lease().unwrap();
    // Words that come again near and far, and noise.
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) as u8
    };
    let mut bytes = Vec::new();
    while bytes.len() < 1 << 20 {
        match next() % 4 {
            0 => bytes.extend((0..next()).map(|_| next()).collect::<Vec<_>>()),
            1 => bytes.extend(b"the quick brown fox jumps over the lazy dog"),
            _ => {
                let start = bytes.len() * usize::from(next()) / 256;
                let end = bytes.len().min(start + usize::from(next()));
                bytes.extend_from_within(start..end);
            }
        }
    }
    bytes.extend((0..200_000).map(|_| next()));
    let digest = scene.store.ingest_bytes(&lease, &bytes).unwrap();
    let blob = carrack_oci::Descriptor::new(media_type::LAYER, digest, bytes.len() as u64);
    let layer = crate::Layer { diff_id: digest, chain: digest, blob };
    let gzip = |level| {
        let packed = scene.store.recompress(&lease, &layer, Compression::Gzip { level }, false).unwrap();
        format!("{level} {}", packed.blob.digest.short())
    };
    assert_eq!([1, 6, 9].map(gzip), ["1 0980bc5af92a", "6 f28f71d57ae1", "9 375d180ed265"]);
}
