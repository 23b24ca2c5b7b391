//! D4: caches handed on to a root that has nothing.

use std::path::{Path, PathBuf};

use carrack_oci::{Digest, Index, Manifest};
use carrack_store::Compression;
use serde_json::Value;

use super::*;
use crate::{CacheDestination, CacheExport, CacheImport, Prediction, predict};

const STAGES: &str = "FROM scratch AS tools\nRUN write /tool made\nRUN write /other made\n\
    FROM scratch\nCOPY --from=tools /tool /copied\nCOPY file /\nRUN write /end made\n";

fn cache(folder: &Path) -> PathBuf {
    folder.join("cache")
}

fn to(folder: &Path, all: bool) -> CacheExport {
    CacheExport {
        destination: CacheDestination::Folder { path: cache(folder), tag: "latest".into() },
        all,
        compression: None,
        force: false,
        ignore_error: false,
        shared: None,
    }
}

fn from(folder: &Path) -> CacheImport {
    CacheImport::Folder { path: cache(folder), tag: "latest".into(), digest: None }
}

/// Builds and writes the cache beside.
fn written(folder: &Path, text: &str, all: bool) -> BuildResult {
    let yard = Yard::new();
    yard.write("file", "content");
    let mut request = yard.request(text);
    request.cache_to.push(to(folder, all));
    yard.run(&request).unwrap()
}

/// Builds on an empty root with the cache.
fn read(yard: &Yard, folder: &Path, text: &str) -> BuildResult {
    let mut request = yard.request(text);
    request.cache_from.push(from(folder));
    yard.run(&request).unwrap_or_else(|errors| panic!("{errors}"))
}

fn empty() -> Yard {
    let yard = Yard::new();
    yard.write("file", "content");
    yard
}

fn json<T: serde::de::DeserializeOwned>(path: &Path) -> T {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn blob(folder: &Path, digest: &Digest) -> PathBuf {
    cache(folder).join("blobs/sha256").join(digest.hex())
}

fn manifest(folder: &Path) -> Manifest {
    let index: Index = json(&cache(folder).join("index.json"));
    assert_eq!(index.manifests.len(), 1);
    json(&blob(folder, &index.manifests[0].digest))
}

fn codes(result: &BuildResult) -> Vec<&str> {
    result.warnings.iter().map(|warning| warning.code.id).collect()
}

#[test]
fn another_root_has_every_step() {
    if !is_able() {
        return;
    }
    for all in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let first = written(folder.path(), STAGES, all);
        let there = empty();
        let second = read(&there, folder.path(), STAGES);
        assert_eq!(there.programs(), Vec::<String>::new());
        assert_eq!((second.steps, second.cached_steps), (5, 5), "{all}");
        assert_eq!(second.image.id, first.image.id);
        assert_eq!(codes(&second), Vec::<&str>::new());
        // Without the layers of the image there are those of the other stage.
        assert_eq!(manifest(folder.path()).layers.len(), if all { 5 } else { 3 });
        // What has come is this root's own from now on.
        std::fs::remove_dir_all(cache(folder.path())).unwrap();
        let third = there.run(&there.request("FROM scratch\nCOPY file /\n"));
        assert!(third.is_ok());
        let last = there.build(&STAGES.replace("/end made", "/end again"));
        assert_eq!(there.programs().last().unwrap(), "write /end again");
        assert!(there.files(&last).contains("copied"));
    }
}

/// A layer comes when something needs its files, and no other does.
#[test]
fn layers_are_fetched_when_they_are_needed() {
    if !is_able() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    written(folder.path(), STAGES, true);
    let there = empty();
    let changed = STAGES.replace("/end made", "/end changed");
    let result = read(&there, folder.path(), &changed);
    assert_eq!(there.programs(), ["write /end changed"]);
    assert_eq!(there.files(&result), there.files(&there.build(&changed)));
    // Two of the image's layers came, one was made, and the two of the other stage stayed where they are.
    let layers = manifest(folder.path()).layers;
    let here = layers.iter().filter(|layer| there.store.has_blob(&layer.digest)).count();
    assert_eq!((layers.len(), here), (5, 2));
}

/// A cache without a step's files still knows what it came to; what needs the files does it again.
#[test]
fn a_small_cache_does_again_what_is_needed() {
    if !is_able() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    written(folder.path(), STAGES, false);
    let there = empty();
    let result = read(&there, folder.path(), &STAGES.replace("/tool /copied", "/other /copied"));
    assert!(there.programs().starts_with(&["write /tool made".into(), "write /other made".into()]));
    assert!(there.files(&result).contains("copied"));
    assert_eq!(codes(&result), Vec::<&str>::new());
}

#[test]
fn a_linked_copy_comes_from_a_cache_too() {
    if !is_able() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let text = "FROM scratch\nRUN write /a made\nCOPY --link file /b\nCOPY --link file /c\nRUN write /d made\n";
    let first = written(folder.path(), text, true);
    let there = empty();
    let second = read(&there, folder.path(), text);
    assert_eq!(there.programs(), Vec::<String>::new());
    assert_eq!(second.image.id, first.image.id);
    let there = empty();
    let third = read(&there, folder.path(), &text.replace("/d made", "/d changed"));
    assert_eq!(there.programs(), ["write /d changed"]);
    assert!(there.files(&third).contains("b \"content\""));
    // A linked copy that cannot be had is made again.
    for layer in manifest(folder.path()).layers {
        std::fs::write(blob(folder.path(), &layer.digest), "lies").unwrap();
    }
    let there = empty();
    let fourth = read(&there, folder.path(), text);
    assert_eq!(there.programs(), ["write /a made", "write /d made"]);
    assert_eq!(there.files(&fourth), there.files(&there.build(text)));
}

/// What is wrong with a cache is a warning and a miss, never a failed or a wrong build.
#[test]
fn bad_caches_are_misses() {
    if !is_able() {
        return;
    }
    let config = |folder: &Path, change: &dyn Fn(&mut Value)| {
        let mut manifest = manifest(folder);
        let mut value: Value = json(&blob(folder, &manifest.config.digest));
        change(&mut value);
        let put = |bytes: Vec<u8>| {
            let digest = Digest::of(&bytes);
            std::fs::write(blob(folder, &digest), bytes).unwrap();
            digest
        };
        manifest.config.digest = put(serde_json::to_vec(&value).unwrap());
        let mut index: Index = json(&cache(folder).join("index.json"));
        index.manifests[0].digest = put(serde_json::to_vec(&manifest).unwrap());
        std::fs::write(cache(folder).join("index.json"), serde_json::to_vec(&index).unwrap()).unwrap();
    };
    let last = |folder: &Path| blob(folder, &manifest(folder).layers.last().unwrap().digest);
    type Damage<'a> = &'a dyn Fn(&Path);
    let damages: [(&str, Damage<'_>, bool); 11] = [
        ("no folder", &|folder| std::fs::remove_dir_all(cache(folder)).unwrap(), true),
        ("no index", &|folder| std::fs::write(cache(folder).join("index.json"), "{").unwrap(), true),
        (
            "a wrong configuration",
            &|folder| std::fs::write(blob(folder, &manifest(folder).config.digest), "{}").unwrap(),
            true,
        ),
        ("a missing layer", &|folder| std::fs::remove_file(last(folder)).unwrap(), true),
        ("a broken layer", &|folder| std::fs::write(last(folder), "no layer").unwrap(), true),
        (
            "no layer at all",
            &|folder| {
                let layers = manifest(folder).layers;
                layers.iter().for_each(|layer| std::fs::remove_file(blob(folder, &layer.digest)).unwrap());
            },
            true,
        ),
        (
            "another layer's files",
            &|folder| {
                config(folder, &|value| {
                    // Each record says that it made what another one's layer holds.
                    let first = value["layers"][0]["blob"].clone();
                    for layer in value["layers"].as_array_mut().unwrap() {
                        layer["blob"] = first.clone();
                    }
                });
            },
            true,
        ),
        (
            "layers under other names",
            &|folder| {
                config(folder, &|value| {
                    for record in value["records"].as_array_mut().unwrap() {
                        record["carrack"]["diffID"] = Digest::of("something else").to_string().into();
                    }
                });
            },
            false,
        ),
        (
            "places out of bounds",
            &|folder| {
                config(folder, &|value| {
                    for record in value["records"].as_array_mut().unwrap() {
                        record["layers"][0]["layer"] = 1000.into();
                    }
                });
            },
            false,
        ),
        (
            "records of another kind",
            &|folder| {
                config(folder, &|value| {
                    value["records"] = serde_json::json!([{"digest": "random:x"}, {"digest": "sha256:00"}])
                })
            },
            false,
        ),
        ("a list of nothing", &|folder| config(folder, &|value| *value = serde_json::json!([1, null])), true),
    ];
    let plain = empty();
    let wanted = plain.build(STAGES);
    for (what, damage, warns) in damages {
        let folder = tempfile::tempdir().unwrap();
        written(folder.path(), STAGES, true);
        damage(folder.path());
        let there = empty();
        let result = read(&there, folder.path(), STAGES);
        assert_eq!(there.files(&result), plain.files(&wanted), "{what}");
        assert_eq!(result.steps, wanted.steps, "{what}");
        let expected: &[&str] = if warns { &["build/cache-unusable"] } else { &[] };
        assert!(
            codes(&result).starts_with(expected) && codes(&result).len() >= expected.len(),
            "{what}: {:?}",
            codes(&result)
        );
        if !warns {
            assert_eq!(codes(&result), expected, "{what}");
        }
    }
}

/// A folder that every build writes to holds what the last one needs, and what is there is not written again.
#[test]
fn a_folder_is_written_again() {
    if !is_able() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let yard = empty();
    let write = |text: &str, compression: Option<Compression>| {
        let mut request = yard.request(text);
        request.cache_to.push(CacheExport { compression, ..to(folder.path(), true) });
        yard.run(&request).unwrap();
        manifest(folder.path())
    };
    let first = write(STAGES, None);
    let same = write(STAGES, None);
    assert_eq!(first, same);
    let zstd = write(STAGES, Some(Compression::Zstd { level: 1 }));
    assert!(zstd.layers.iter().all(|layer| layer.media_type.ends_with("+zstd")));
    let blobs = || std::fs::read_dir(cache(folder.path()).join("blobs/sha256")).unwrap().count();
    assert_eq!(blobs(), zstd.layers.len() + 2);
    let there = empty();
    read(&there, folder.path(), STAGES);
    assert_eq!(there.programs(), Vec::<String>::new());
    write("FROM scratch\nCOPY file /\n", None);
    assert_eq!(blobs(), 3);
}

#[test]
fn a_cache_that_cannot_be_written() {
    if !is_able() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(cache(folder.path()), "a file").unwrap();
    let yard = empty();
    let mut request = yard.request(STAGES);
    request.cache_to.push(to(folder.path(), true));
    let error = yard.run(&request).unwrap_err();
    assert!(error.starts_with("build/cache-not-written"), "{error}");
    request.cache_to[0].ignore_error = true;
    let result = yard.run(&request).unwrap();
    assert_eq!(codes(&result), ["build/cache-not-written"]);
}

/// I-5: a prediction takes results of caches that it can read, and brings nothing.
#[test]
fn a_prediction_reads_caches() {
    if !is_able() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let made = written(folder.path(), STAGES, true);
    let there = empty();
    let mut request = there.request(STAGES);
    request.cache_from.push(from(folder.path()));
    let predicted = predict(&request, &std::collections::BTreeSet::new(), &mut SourceMap::new()).unwrap();
    let Prediction::Image { id, .. } = predicted else { panic!("{predicted:?}") };
    assert_eq!(id, made.image.id);
    assert_eq!(there.store.blobs().unwrap(), []);
}

/// Secrets, arguments and paths are in no cache that is handed on.
#[test]
fn a_cache_says_nothing_of_its_maker() {
    if !is_able() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let yard = Yard::new();
    let text = "FROM scratch\nARG TOKEN\nRUN --mount=type=secret,id=key,env=KEY write /a made\n";
    let mut request = yard.request(text);
    request.build_args.insert("TOKEN".into(), "hunter2".into());
    request.secrets.insert("key".into(), b"swordfish".to_vec());
    request.cache_to.push(to(folder.path(), true));
    yard.run(&request).unwrap();
    let config = std::fs::read_to_string(blob(folder.path(), &manifest(folder.path()).config.digest)).unwrap();
    for word in ["hunter2", "swordfish", "TOKEN", "write", &yard.context().display().to_string()] {
        assert!(!config.contains(word), "{word}");
    }
}
