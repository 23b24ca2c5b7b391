//! Build caches go to registries and folders, and a machine that has nothing builds nothing again (D4).

use std::path::Path;

use carrack_testkit::registry::Registry;
use serde_json::Value;

use crate::machine::{Machine, Project};

const DOCKERFILE: &str = "FROM busybox AS tools\nRUN cat /proc/sys/kernel/random/uuid > /tool\n\
    FROM busybox\nCOPY --from=tools /tool /\nCOPY file /\nRUN cat /tool /file > /both\n";

fn project<'a>(machine: &'a Machine, dockerfile: &str) -> Project<'a> {
    let project = machine.project("cached");
    project.write("file", "content").write("Dockerfile", dockerfile);
    project
}

/// How many steps were cached, of how many.
fn steps(result: &Value) -> (u64, u64) {
    (result["cached_steps"].as_u64().unwrap(), result["steps"].as_u64().unwrap())
}

fn layers(project: &Project, image: &str) -> Value {
    project.json(&["image", "inspect", image])[0]["RootFS"]["Layers"].clone()
}

#[test]
fn a_cache_at_a_registry_serves_another_machine() {
    let registry = Registry::start();
    let cache = format!("{}/team/cache:main", registry.host());
    let image = format!("{}/team/app:1", registry.host());
    let (to, from) = (format!("type=registry,ref={cache},mode=max"), format!("type=registry,ref={cache}"));
    let Some(machine) = Machine::new() else { return };
    let one = project(&machine, DOCKERFILE);
    // The first build of all has no cache yet.
    let first =
        one.json(&["build", "-t", &image, "--cache-from", &from, "--cache-to", &to, "--cache-to", "type=inline", "."]);
    assert_eq!(steps(&first), (0, 4));
    let layers = layers(&one, &image);
    one.ok(&["push", &image]);
    machine.finish();

    let Some(machine) = Machine::new() else { return };
    let two = project(&machine, DOCKERFILE);
    registry.take_seen();
    let second = two.json(&["build", "-t", "app", "--cache-from", &from, "--cache-to", "type=inline", "."]);
    assert_eq!((steps(&second), self::layers(&two, "app")), ((4, 4), layers.clone()));
    // The layers of the image came, and not that of the other stage.
    let fetched =
        registry.take_seen().iter().filter(|seen| seen.method == "GET" && seen.path.contains("/blobs/")).count();
    assert_eq!(fetched, 1 + 3, "the configuration and three layers");
    // Now it is this machine's own; of the other stage the cache still has to say what it came to.
    let third = two.json(&["build", "-t", "app", "--cache-from", &from, "--cache-to", "type=inline", "."]);
    assert_eq!((steps(&third), registry.take_seen().len()), ((4, 4), 2));
    assert_eq!(third["id"], second["id"], "what an image carries of the cache is the same for the same steps");
    machine.finish();

    // From the image itself, by its name alone; the other stage is not built.
    let Some(machine) = Machine::new() else { return };
    let three = project(&machine, DOCKERFILE);
    let fourth =
        three.json(&["build", "-t", "app", "--cache-from", &image, "--build-arg", "BUILDKIT_INLINE_CACHE=1", "."]);
    assert_eq!((steps(&fourth), self::layers(&three, "app")), ((4, 4), layers));
    // And what has changed since is done on what has not.
    three.write("file", "changed");
    three.ok(&["builder", "prune", "-a", "-f"]);
    let fifth = three.json(&["build", "-t", "app", "--cache-from", &image, "."]);
    assert_eq!(steps(&fifth), (2, 4));
    let both = three.ok(&["run", "--rm", "--network", "none", "app", "cat", "/both"]);
    assert!(both.ends_with("changed"), "{both}");
    machine.finish();
}

#[test]
fn caches_that_are_not_there_are_warnings_and_those_that_cannot_be_written_errors() {
    let Some(machine) = Machine::new() else { return };
    let registry = Registry::start();
    let here = project(&machine, "FROM busybox\nRUN echo made > /made\n");
    let nowhere = "type=registry,ref=127.0.0.1:1/cache";
    let built =
        here.carrack(&["build", "-t", "app", "--cache-from", nowhere, "--cache-from", "type=local,src=missing", "."]);
    let said = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success() && said.matches("build/cache-unusable").count() == 2, "{said}");
    // An image without a cache.
    let plain = format!("{}/plain:1", registry.host());
    here.ok(&["tag", "busybox", &plain]);
    here.ok(&["push", &plain]);
    let built = here.carrack(&["build", "--no-cache-filter", "0", "--cache-from", &plain, "."]);
    assert!(built.status.success());
    here.write("Dockerfile", "FROM busybox\nRUN echo other > /made\n");
    let built = here.carrack(&["build", "--cache-from", &plain, "."]);
    let said = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success() && said.contains("carries no cache"), "{said}");

    assert_eq!(here.fails(&["build", "--cache-to", nowhere, "."]).code(), "build/cache-not-written");
    let ignored = format!("{nowhere},ignore-error=true");
    assert_eq!(here.code(&["build", "--cache-to", &ignored, "."]), 0);
    for (wrong, code) in [
        (["--cache-from", "type=gha"], "cli/not-yet"),
        (["--cache-to", "type=s3,region=x"], "cli/not-yet"),
        (["--cache-from", "type=inline"], "cli/invalid-value"),
        (["--cache-from", "type=registry"], "cli/invalid-value"),
        (["--cache-from", "type=local,dest=x"], "cli/invalid-value"),
        (["--cache-to", "type=local,dest=x,mode=most"], "cli/invalid-value"),
        (["--cache-to", "type=local,dest=x,colour=red"], "cli/invalid-value"),
        (["--cache-to", "type=inline,mode=max"], "cli/invalid-value"),
        (["--cache-to", "type=local,dest=x,compression=zstd,compression-level=40"], "cli/invalid-value"),
        (["--cache-to", "type=local,dest=x,image-manifest=false"], "cli/not-yet"),
    ] {
        assert_eq!(here.fails(&[&["build"], &wrong[..], &["."]].concat()).code(), code, "{wrong:?}");
    }
    assert!(!machine.path().join("cached/x").exists());
    machine.finish();
}

#[test]
fn a_project_keeps_its_cache_in_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let compose = format!(
        "services:\n  app:\n    build:\n      context: .\n      cache_from: [\"type=local,src={0}\"]\n      \
         cache_to: [\"type=local,dest={0},mode=max\"]\n",
        folder.path().join("kept").display()
    );
    for cached in [0, 4] {
        let Some(machine) = Machine::new() else { return };
        let here = project(&machine, DOCKERFILE);
        here.write("compose.yaml", &compose);
        let built = here.json(&["compose", "build"]);
        assert_eq!(steps(&built[0]), (cached, 4));
        assert!(here.ok(&["config"]).contains("cache_from"));
        machine.finish();
    }
}

/// A package manager's cache goes with the job: by its id, within a size (D4).
#[test]
fn cache_mounts_go_to_another_machine() {
    let dockerfile = |line: &str| {
        format!(
            "FROM busybox\nRUN --mount=type=cache,target=/w,id=wheels,uid=7,mode=0750 --mount=type=cache,target=/a,id=apt {line}\n"
        )
    };
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("kept").display().to_string();
    let fates = |result: &Value| -> Vec<String> {
        let mounts = result["mounts"].as_array().unwrap().iter();
        let mut fates: Vec<_> =
            mounts.map(|mount| format!("{} {}", mount["id"], mount["fate"]).replace('"', "")).collect();
        fates.sort();
        fates
    };
    let Some(machine) = Machine::new() else { return };
    let one =
        project(&machine, &dockerfile("head -c 300000 /dev/zero > /w/big; echo one > /a/file; ln -s file /a/link"));
    one.ok(&["build", "."]);
    let small = one.json(&["builder", "mounts", "export", &kept, "--max-size", "100k"]);
    assert_eq!(fates(&small), ["apt done", "wheels too-large"]);
    assert_eq!(std::fs::read_dir(&kept).unwrap().count(), 2, "nothing is left of what was too large");
    assert_eq!(fates(&one.json(&["builder", "mounts", "export", &kept])), ["apt done", "wheels done"]);
    assert_eq!(one.fails(&["builder", "mounts", "export", &kept, "--id", "npm"]).code(), "cli/invalid-value");
    machine.finish();

    let Some(machine) = Machine::new() else { return };
    let two = project(&machine, &dockerfile("stat -c '%u %a %s' /w /w/big; cat /a/link; echo two > /a/file"));
    assert_eq!(fates(&two.json(&["builder", "mounts", "import", &kept, "--id", "apt"])), ["apt done"]);
    assert_eq!(fates(&two.json(&["builder", "mounts", "import", &kept])), ["apt kept", "wheels done"]);
    let built = two.carrack(&["build", "--progress", "plain", "."]);
    let said = String::from_utf8_lossy(&built.stderr);
    assert!(said.contains("7 750 ") && said.contains("0 644 300000") && said.contains(" one\n"), "{said}");
    assert_eq!(fates(&two.json(&["builder", "mounts", "import", &kept, "--replace", "--id", "apt"])), ["apt done"]);
    two.write("Dockerfile", dockerfile("cat /a/file; false"));
    assert!(two.fails(&["build", "."]).text().contains("one"));

    // What is not what it claims to be is refused, and changes nothing.
    let tar = std::fs::read_dir(&kept).unwrap().map(|entry| entry.unwrap().path());
    for path in tar.filter(|path| path.extension().is_some_and(|kind| kind == "tar")) {
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, vec![1; bytes.len()]).unwrap();
    }
    assert_eq!(two.fails(&["builder", "mounts", "import", &kept, "--replace"]).code(), "store/invalid-tar");
    assert!(two.fails(&["build", "."]).text().contains("one"));
    let names = std::fs::read_dir(machine.data().join("build/mounts")).unwrap();
    assert!(names.map(|entry| entry.unwrap().file_name()).all(|name| !name.to_string_lossy().starts_with('.')));
    machine.finish();
}

/// A build needs as much memory for a large file, layer or cache as for a small one: less than any of them here.
#[test]
fn memory_does_not_grow_with_what_is_built() {
    const SIZE: u64 = 150 << 20;
    let Some(machine) = Machine::new() else { return };
    let here = project(&machine, "FROM busybox\nCOPY . /all/\nRUN cp /all/large /copy\n");
    std::fs::File::create(here.dir.join("large")).unwrap().set_len(SIZE).unwrap();
    for number in 0..2000 {
        here.write(&format!("many/{number}"), number.to_string());
    }
    // Everything that a process writes to in its own memory, in KiB.
    let line = "ulimit -d 100000; exec \"$0\" \"$@\"";
    let build = [
        "build",
        "--network",
        "none",
        "--cache-to",
        "type=local,dest=../kept,mode=max",
        "-o",
        "type=oci,dest=../out.tar",
        ".",
    ];
    let mut limited = std::process::Command::new("sh");
    let command = here.command(&build);
    limited.args(["-c", line]).arg(command.get_program()).args(command.get_args()).current_dir(&here.dir);
    limited.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = limited.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    machine.finish();
}

/// One reference holds what the builds for all platforms have made, as BuildKit's does; either of them finds its own (D4, D8).
#[test]
fn a_cache_is_of_all_platforms() {
    const CROSS: &str = "FROM --platform=$BUILDPLATFORM busybox AS build\nRUN cat /proc/sys/kernel/random/uuid > /tool\n\
        ARG TARGETARCH\nRUN echo \"for $TARGETARCH\" > /out\nFROM scratch\nCOPY --from=build /out /tool /\n";
    let registry = Registry::start();
    let folder = tempfile::tempdir().unwrap();
    let (at, kept) = (format!("{}/team/cache:all", registry.host()), folder.path().join("kept"));
    let (local, bake) = (kept.display().to_string(), folder.path().join("bake").display().to_string());
    let places = [
        (format!("type=registry,ref={at},mode=max"), format!("type=registry,ref={at}")),
        (format!("type=local,dest={local},mode=max"), format!("type=local,src={local}")),
    ];
    let list = "--platform=linux/amd64,linux/arm64,linux/riscv64";
    let counts =
        |built: &Value| -> Vec<(u64, u64)> { built["platforms"].as_array().unwrap().iter().map(steps).collect() };
    let ids = |built: &Value| -> Vec<Value> {
        built["platforms"].as_array().unwrap().iter().map(|one| one["id"].clone()).collect()
    };
    let Some(machine) = Machine::new() else { return };
    let one = project(&machine, CROSS);
    let first = one.json(&["build", list, "--cache-to", &places[0].0, "--cache-to", &places[1].0, "."]);
    // The targets of a bake file, too; a build that fails leaves what is there.
    let json = format!(
        r#"{{"target":{{"default":{{"platforms":["linux/amd64","linux/arm64"],"cache-to":["type=local,dest={bake},mode=max"]}}}}}}"#
    );
    one.write("docker-bake.json", &json).ok(&["bake"]);
    one.write("Failing", CROSS.replace("echo", "test $TARGETARCH = amd64 && echo"));
    one.fails(&["build", "-f", "Failing", list, "--cache-to", &places[1].0, "."]);
    machine.finish();

    for from in [&places[0].1, &places[1].1, &format!("type=local,src={bake}")] {
        let Some(machine) = Machine::new() else { return };
        let two = project(&machine, CROSS);
        let is_bake = from.contains(&bake);
        let wanted = if is_bake { "--platform=linux/amd64,linux/arm64" } else { list };
        let single = two.json(&["build", "--platform=linux/arm64", "--cache-from", from, "."]);
        assert_eq!((steps(&single), &single["id"]), ((3, 3), &ids(&first)[1]), "{from}");
        let all = two.json(&["build", wanted, "--cache-from", from, "."]);
        assert_eq!(counts(&all), vec![(3, 3); if is_bake { 2 } else { 3 }], "{from}");
        assert_eq!(ids(&all), ids(&first)[..if is_bake { 2 } else { 3 }]);
        // What is handed on without having been fetched is whole, too.
        if from == &places[1].1 {
            let again = folder.path().join("again").display().to_string();
            two.ok(&["builder", "prune", "-a", "-f"]);
            let to = format!("type=local,dest={again},mode=max");
            two.ok(&["build", list, "--cache-from", from, "--cache-to", &to, "."]);
            let blobs = |folder: &str| -> Vec<String> {
                let config = newest_config(Path::new(folder));
                let mut blobs: Vec<String> =
                    config["layers"].as_array().unwrap().iter().map(|layer| layer["blob"].to_string()).collect();
                blobs.sort();
                blobs
            };
            assert_eq!(blobs(&again), blobs(&local));
            assert_eq!(blobs(&again).len(), 1 + 3 * 2, "the tool once, and for each platform what differs");
        }
        machine.finish();
    }
}

fn newest_config(folder: &Path) -> Value {
    let read = |path: std::path::PathBuf| -> Value { serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap() };
    let blob = |digest: &Value| folder.join("blobs").join(digest.as_str().unwrap().replace(':', "/"));
    let index = read(folder.join("index.json"));
    let manifest = read(blob(&index["manifests"][0]["digest"]));
    read(blob(&manifest["config"]["digest"]))
}
