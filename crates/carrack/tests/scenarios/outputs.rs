//! What builds leave: archives, tars, folders, and the same bytes for the same inputs (D1 A5).

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use serde_json::Value;

use crate::machine::Machine;

const DOCKERFILE: &str = "FROM scratch AS files\nCOPY --chown=7:7 bin /opt/bin\n\
                          FROM busybox\nCOPY bin /opt/bin\nRUN head -c 100000 /dev/zero > /zeros && ln -s zeros /link\nCMD [\"true\"]\n";

fn names(tar: &Path) -> Vec<String> {
    let listed = std::process::Command::new("tar").arg("-tf").arg(tar).output().unwrap();
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    String::from_utf8(listed.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn a_build_goes_to_archives_tars_and_folders() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("going");
    project.write("bin/tool", "tool").write("bin/deep/file", "file").write("Dockerfile", DOCKERFILE);
    std::fs::set_permissions(project.dir.join("bin/tool"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let images = || project.json(&["images"]).as_array().unwrap().len();

    // Files alone, to the caller, beside what is there; no image is left.
    project.write("out/own", "own");
    project.ok(&["build", "--target", "files", "-o", "out", "."]);
    let tool = std::fs::metadata(project.dir.join("out/opt/bin/tool")).unwrap();
    assert_eq!((tool.mode() & 0o7777, tool.uid()), (0o755, rustix::process::geteuid().as_raw()));
    assert_eq!(std::fs::read_to_string(project.dir.join("out/own")).unwrap(), "own");
    project.ok(&["build", "--target", "files", "--output", "type=tar,dest=files.tar", "."]);
    assert_eq!(
        names(&project.dir.join("files.tar")),
        ["opt/", "opt/bin/", "opt/bin/deep/", "opt/bin/deep/file", "opt/bin/tool"]
    );
    let stream = project.carrack(&["build", "--target", "files", "-o", "-", "."]).stdout;
    assert_eq!(stream, std::fs::read(project.dir.join("files.tar")).unwrap(), "the tar and nothing else");
    assert_eq!(images(), 1, "busybox alone");

    // Archives: several at once, compressed in each way, loaded on another root as the same image.
    let mut ids = Vec::new();
    for (kind, compression, suffix) in [
        ("oci", "gzip,compression-level=9", "tar+gzip"),
        ("docker", "zstd", "tar+zstd"),
        ("oci", "uncompressed,force-compression=true", "v1.tar"),
    ] {
        let output = format!("type={kind},dest=archive.tar,name=packed:1,compression={compression}");
        let built = project.json(&["build", "-o", &output, "-o", "type=tar,dest=all.tar", "."]);
        let archive = project.dir.join("archive.tar");
        let first = std::fs::read(&archive).unwrap();
        project.ok(&["build", "-o", &output, "."]);
        assert_eq!(std::fs::read(&archive).unwrap(), first, "the same bytes");
        let unpacked = project.dir.join(suffix);
        std::fs::create_dir(&unpacked).unwrap();
        let tar = std::process::Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(&unpacked).status().unwrap();
        assert!(tar.success());
        let read =
            |path: &str| -> Value { serde_json::from_slice(&std::fs::read(unpacked.join(path)).unwrap()).unwrap() };
        let index = read("index.json");
        let digest = index["manifests"][0]["digest"].as_str().unwrap().replace(':', "/");
        let manifest = read(&format!("blobs/{digest}"));
        let types: Vec<&str> =
            manifest["layers"].as_array().unwrap().iter().map(|layer| layer["mediaType"].as_str().unwrap()).collect();
        assert!(types.len() == 3 && types.iter().all(|kind| kind.ends_with(suffix)), "{types:?}");
        ids.push(built["id"].clone());
        assert!(names(&project.dir.join("all.tar")).contains(&"link".to_owned()));
        if suffix != "tar+zstd" {
            let other = machine.path().join(format!("other-{suffix}")).display().to_string();
            let run_root = format!("{other}-run");
            let on = |arguments: &[&'static str]| [&["--root", &other, "--run-root", &run_root], arguments].concat();
            assert_eq!(project.ok(&on(&["load", "-i", "archive.tar"])), "Loaded image: packed:1");
            assert_eq!(project.json(&on(&["image", "inspect", "packed:1"]))[0]["Id"], built["id"]);
        }
    }
    assert!(ids.iter().all(|id| *id == ids[0]));
    assert_eq!(images(), 1);
    // With an image beside it.
    let built =
        project.json(&["build", "-t", "kept", "-o", "type=image,name=also:2", "-o", "type=docker,dest=kept.tar", "."]);
    assert_eq!((project.json(&["image", "inspect", "also:2"])[0]["Id"].clone(), images()), (built["id"].clone(), 3));

    // A build that fails leaves the file that was there, and no half of one.
    project.write("Dockerfile", "FROM busybox\nRUN false\n").write("archive.tar", "before");
    assert_eq!(project.fails(&["build", "-o", "type=oci,dest=archive.tar", "."]).code(), "build/run-failed");
    assert_eq!(std::fs::read_to_string(project.dir.join("archive.tar")).unwrap(), "before");
    assert!(!project.dir.join("archive.tar.part").exists());
    for (wrong, code) in [
        ("type=image,push=true", "cli/invalid-value"),
        ("type=registry", "cli/invalid-value"),
        ("type=tar,push=true,dest=x", "cli/invalid-value"),
        ("type=oci,compression=estargz,dest=x", "cli/not-yet"),
        ("type=local", "cli/invalid-value"),
        ("type=cake,dest=x", "cli/invalid-value"),
        ("type=oci,dest=x,compression-level=10", "cli/invalid-value"),
        ("type=tar,dest=/nowhere/x", "cli/unreadable-file"),
    ] {
        assert_eq!(project.fails(&["build", "-o", wrong, "."]).code(), code, "{wrong}");
    }
    machine.finish();
}

/// One context at several paths, of several users, written at several times, built under several masks on roots that keep
/// layers in either form: one digest.
#[test]
fn the_same_inputs_give_the_same_image() {
    let Some(machine) = Machine::new() else { return };
    let archive = machine.path().join("busybox.tar");
    let build = |name: &str, owner: u32, seconds: u64, mask: &str, output: &str| {
        let project = machine.project(name);
        project.write("bin/tool", "tool").write("bin/deep/file", "file").write("Dockerfile", DOCKERFILE);
        let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        for (path, mode) in [("bin/tool", 0o755), ("bin/deep/file", 0o644), ("bin/deep", 0o755), ("bin", 0o755)] {
            let path = project.dir.join(path);
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            std::os::unix::fs::chown(&path, Some(owner), Some(owner)).unwrap();
            std::fs::File::open(&path).unwrap().set_modified(time).unwrap();
        }
        let roots = machine.path().join(format!("root-{name}"));
        let line = format!(
            "umask {mask}; carrack() {{ {} --root {root} --run-root {root}-run \"$@\"; }}\n\
             carrack import {} busybox && carrack --json build -o {output} -t same . && carrack network prune -f >&2",
            env!("CARGO_BIN_EXE_carrack"),
            archive.display(),
            root = roots.display(),
        );
        let mut command = std::process::Command::new("sh");
        command
            .arg("-ec")
            .arg(line)
            .current_dir(&project.dir)
            .env("SOURCE_DATE_EPOCH", "1000000000")
            .stdin(std::process::Stdio::null());
        if name == "kept" {
            command.env("CARRACK_SNAPSHOTTER", "unpacked");
        }
        let output = command.output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let envelope: Value = serde_json::from_str(text.lines().last().unwrap_or_default())
            .unwrap_or_else(|_| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)));
        assert_eq!(envelope["ok"], true, "{envelope}");
        (envelope["result"]["id"].clone(), std::fs::read(project.dir.join("out.tar")).ok())
    };
    let output = "type=oci,dest=out.tar,rewrite-timestamp=true";
    let (first, archive_of_first) = build("here", 0, 1_500_000_000, "022", output);
    let (second, archive_of_second) = build("there", 1234, 1_600_000_000, "077", output);
    assert_eq!(first, second);
    assert_eq!(archive_of_first, archive_of_second, "the archive too");
    let (kept, _) = build("kept", 5, 1_700_000_000, "000", "type=image,rewrite-timestamp=true");
    assert_eq!(kept, first, "an image of the store too");
    machine.finish();
}

/// What is told of a build as it goes, in each form.
#[test]
fn progress_for_people_and_programs() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("told");
    project.write("Dockerfile", "FROM busybox\nRUN echo said; printf 'half\\rwhole\\n' >&2\nCMD x\n");
    let told = |arguments: &[&str], progress: &str| {
        let mut command = project.command(&[&["build", "--no-cache"], arguments, &["."]].concat());
        let output = command.env("BUILDKIT_PROGRESS", progress).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    };
    let (_, out, plain) = told(&[], "");
    assert!(out.is_empty(), "{out}");
    for line in ["#2 [2/2] RUN echo said", " said", " whole", "#2 DONE 0.", "check/JSONArgsRecommended"] {
        assert!(plain.contains(line), "{line}: {plain}");
    }
    let written: Vec<&str> = plain.lines().filter(|line| line.starts_with("#2 0.")).collect();
    assert_eq!(written.len(), 2, "a line that was written again counts once: {plain}");
    // The flag stands above the variable.
    assert!(told(&["--progress=plain"], "quiet").2.contains("#2 DONE"));
    let (_, id, nothing) = told(&[], "quiet");
    assert!(id.starts_with("sha256:") && nothing.is_empty(), "{nothing}");
    let (_, _, raw) = told(&["--progress", "rawjson"], "");
    let lines: Vec<Value> = raw.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let vertex = lines[0]["vertexes"][1].clone();
    assert!(vertex["name"].as_str().unwrap().starts_with("[2/2] RUN"), "{vertex}");
    assert_eq!(vertex["inputs"], serde_json::json!([lines[0]["vertexes"][0]["digest"]]), "what it begins with");
    assert!(lines[0]["vertexes"][0]["inputs"].is_null());
    let of = |key: &str| lines.iter().filter(|line| line[key][0]["vertex"] == vertex["digest"]).count();
    assert_eq!(of("logs"), 2, "standard output and error: {raw}");
    let ended = lines.iter().flat_map(|line| line["vertexes"].as_array().into_iter().flatten());
    assert!(
        ended
            .filter(|one| one["digest"] == vertex["digest"])
            .any(|one| one["completed"].is_string() && one["inputs"] == vertex["inputs"])
    );
    assert!(lines.iter().any(|line| line["warnings"].is_array()));
    assert_eq!((told(&["--progress=tty"], "").0, told(&[], "nonsense").0, told(&[], "tty").0), (1, 1, 0));

    // On a terminal, where there is a program that makes one.
    let line = format!("stty cols 60; {} build --no-cache .", env!("CARGO_BIN_EXE_carrack"));
    let mut script = project.command(&[]);
    let script = std::process::Command::new("script")
        .args(["-qec", &line, "/dev/null"])
        .current_dir(&project.dir)
        .envs(script.stdin(std::process::Stdio::null()).get_envs().filter_map(|(name, value)| Some((name, value?))))
        .stdin(std::process::Stdio::null())
        .output();
    match script {
        Err(error) => eprintln!("skipped: script(1): {error}"),
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(text.contains(" => [2/2] RUN echo said") && text.contains("(2/2) FINISHED"), "{text}");
            assert!(
                text.lines().filter(|line| line.starts_with(" =>")).all(|line| line.trim_end().len() <= 60),
                "{text}"
            );
            assert!(!text.contains("\x1b[1m"), "NO_COLOR: {text}");
        }
    }
    machine.finish();
}

/// D6, D7: where time and bytes went.
#[test]
fn a_build_reports_where_time_and_bytes_went() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("reported");
    project
        .write(
            "Dockerfile",
            "FROM busybox AS tools\nRUN head -c 500000 /dev/zero > /compiler; sleep 0.2\nCOPY big small /src/\n\
                              FROM busybox\nCOPY --from=tools /src/small /small\n",
        )
        .write("big", "x".repeat(100_000))
        .write("small", "x")
        .write("unused", "x".repeat(200_000));
    let report = |flags: &[&str]| project.json(&[&["build", "--report"], flags, &["."]].concat())["report"].clone();
    let first = report(&[]);
    let step = |report: &Value, text: &str| -> Value {
        let steps = report["steps"].as_array().unwrap();
        steps.iter().find(|step| step["name"].as_str().unwrap().contains(text)).expect(text).clone()
    };
    let run = step(&first, "RUN head");
    assert!(run["cached"] == false && run["seconds"].as_f64().unwrap() >= 0.2, "{run}");
    let bytes = |report: &Value, key: &str| report[key].as_u64().unwrap();
    let saved = bytes(&first, "single_stage_bytes") - bytes(&first, "size_bytes");
    // Without the copy, with the compiler and the sources; sizes are those on disk.
    assert!(bytes(&run, "size_bytes") >= 500_000 && (600_000..800_000).contains(&saved), "{first}");
    assert_eq!(first["context"]["size_bytes"], 100_001);
    assert_eq!(first["context"]["largest"][0]["path"], "big");
    // The second time the cache saves what the first has taken.
    let second = report(&[]);
    let run = step(&second, "RUN head");
    assert!(run["cached"] == true && run["saved_seconds"].as_f64().unwrap() >= 0.2, "{run}");
    assert!(
        second["saved_seconds"].as_f64().unwrap() >= 0.2 && bytes(&second, "size_bytes") == bytes(&first, "size_bytes")
    );
    let text = project.ok(&["build", "--report", "."]);
    for words in ["The cache saved 0.", "as a single stage", "100kB in 2 entries", "  100kB  big"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert_eq!(project.json(&["build", "."])["report"], Value::Null);
    machine.finish();
}
