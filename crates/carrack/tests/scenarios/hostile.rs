//! Dockerfiles, contexts and images that want more than they are given (X6 X7 D1).

use std::os::unix::fs::symlink;
use std::process::{Command, Output};

use crate::machine::{Machine, Project, feed};

/// What an image has at these paths, each on a line: the kind, and where a link leads.
fn listing(project: &Project<'_>, image: &str, paths: &str) -> String {
    let line = format!("for path in {paths}; do stat -c '%F %N' $path 2>/dev/null || echo none; done");
    project.ok(&["run", "--rm", "--network", "none", image, "sh", "-c", &line])
}

/// Links of contexts, stages and images lead nowhere but inside: as sources of mounts and copies, as their targets, and as
/// working directories (the classes of CVE-2024-21626 and CVE-2024-9675).
#[test]
fn links_lead_out_of_nothing() {
    let Some(machine) = Machine::new() else { return };
    let outside = machine.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("file"), "the host's").unwrap();
    let host = outside.display().to_string();
    let project = machine.project("links");
    project.write("file", "the context's");
    let links = [
        ("absolute", host.clone()),
        ("above", "../../../../../../../../../../etc".into()),
        ("magic", format!("/proc/self/root{host}")),
        ("init", format!("/proc/1/root{host}")),
        ("loop", "loop".into()),
    ];
    for (name, target) in &links {
        symlink(target, project.dir.join(name)).unwrap();
    }
    let refused = |dockerfile: String, codes: &[&str]| {
        project.write("Dockerfile", &dockerfile);
        let failure = project.fails(&["build", "-t", "never", "."]);
        assert!(codes.contains(&failure.code()), "{dockerfile}: {}", failure.text());
        assert_ne!(failure.error()["labels"][0]["line"], serde_json::Value::Null, "{dockerfile}");
    };
    let missing = ["build/source-not-found", "build/step-failed", "build/copy-failed"];
    for (name, _) in &links {
        refused(format!("FROM busybox\nRUN --mount=type=bind,source={name},target=/m cat /m/file\n"), &missing);
        refused(format!("FROM scratch\nCOPY {name} /m\n"), &missing);
    }
    refused("FROM busybox\nRUN --mount=type=bind,source=../../outside,target=/m cat /m/file\n".into(), &missing);

    // The same links made by a stage; where they lead to, the step's own files would be found.
    let made: String = links.iter().map(|(name, target)| format!("ln -s {target} /{name}; ")).collect();
    let stage = format!("FROM busybox AS links\nRUN {made} true\n");
    for (name, _) in links.iter().filter(|(name, _)| *name != "above") {
        let bound = format!("{stage}FROM busybox\nRUN --mount=type=bind,from=links,source=/{name},target=/m true\n");
        refused(bound, &missing);
        refused(format!("{stage}FROM busybox\nCOPY --from=links /{name} /m\n"), &missing);
        refused(
            format!("{stage}FROM busybox\nRUN --mount=type=cache,target=/m,from=links,source=/{name} true\n"),
            &missing,
        );
    }
    let strange = ["build/run-failed", "build/step-failed"];
    for name in ["magic", "init", "loop"] {
        refused(format!("{stage}RUN --mount=type=tmpfs,target=/{name}/x true\n"), &strange);
    }
    for folder in (3..12).map(|number| format!("/proc/self/fd/{number}")).chain(["/proc/1/cwd".into()]) {
        refused(format!("FROM busybox\nWORKDIR {folder}\nRUN true\n"), &["build/run-failed"]);
    }

    // Targets behind links are in the image, and so is what is copied there.
    let dockerfile = format!(
        "{stage}COPY file /absolute/copied/\nRUN --mount=type=cache,target=/absolute/cache touch /absolute/cache/x /absolute/made\n"
    );
    project.write("Dockerfile", dockerfile).ok(&["build", "-t", "app", "."]);
    let paths = format!("{host}/copied/file {host}/made {host}/cache");
    let found = listing(&project, "app", &paths);
    assert_eq!(found, format!("regular file {host}/copied/file\nregular empty file {host}/made\nnone"));
    let left: Vec<_> = std::fs::read_dir(&outside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["file"], "nothing was written outside");
    machine.finish();
}

/// What a mount needed to be there is taken away again, behind links too, and never something of the host's (the class of
/// CVE-2024-23652).
#[test]
fn places_for_mounts_are_taken_away_inside_only() {
    let Some(machine) = Machine::new() else { return };
    let outside = machine.path().join("outside");
    std::fs::create_dir_all(outside.join("y/z")).unwrap();
    let host = outside.display();
    let project = machine.project("places");
    project.write(
        "Dockerfile",
        format!(
            "FROM busybox\nRUN mkdir -p /real; ln -s real /link; ln -s /dangling/deep /nowhere\n\
             RUN --mount=type=secret,id=s,target=/link/run/secret --mount=type=tmpfs,target=/nowhere/tmp test -s /link/run/secret\n\
             RUN --mount=type=tmpfs,target=/x/y/z mv /x/y /x/moved && ln -s {host}/y /x/y\n\
             RUN --mount=type=tmpfs,target=/w/y mv /w /v && ln -s {host} /w\n"
        ),
    );
    project.write("secret", "word").ok(&["build", "-t", "app", "--secret", "id=s,src=secret", "."]);
    let found = listing(&project, "app", "/real/run /dangling /x/y /x/moved /w /v");
    let expected = format!(
        "none\nnone\nsymbolic link '/x/y' -> '{host}/y'\ndirectory /x/moved\nsymbolic link '/w' -> '{host}'\ndirectory /v"
    );
    assert_eq!(found, expected);
    assert!(outside.join("y/z").is_dir());
    machine.finish();
}

/// Two builds that change what one cache mount holds, each with links where the other expects folders (the class of
/// CVE-2024-23651).
#[test]
fn builds_that_share_a_cache_mount_race() {
    let Some(machine) = Machine::new() else { return };
    let outside = machine.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("file"), "the host's").unwrap();
    let project = machine.project("race");
    let cache = "--mount=type=cache,target=/c,id=shared";
    let swap = format!(
        "FROM busybox\nRUN {cache} i=0; while [ $i -lt 300 ]; do rm -rf /c/sub; mkdir /c/sub; touch /c/sub/file; rm -rf /c/sub; ln -s {} /c/sub; i=$((i+1)); done\n",
        outside.display()
    );
    project.write("swap/Dockerfile", swap);
    let mut swapping = project.command(&["build", "--no-cache", "swap"]);
    let mut child = swapping.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
    for round in 0..8 {
        let text = format!(
            "FROM busybox\nRUN {cache} --mount=type=cache,target=/c/sub/deep,id=other --mount=type=bind,source=/sub,target=/b,from=busybox true; exit 0 # {round}\n"
        );
        project.write("other/Dockerfile", text);
        project.carrack(&["build", "other"]);
        let text = format!("FROM busybox\nRUN {cache} cat /c/sub/file; cp -r /c /taken # {round}\n");
        project.write("taken/Dockerfile", text);
        let built = project.carrack(&["build", "-t", "taken", "taken"]);
        assert!(!String::from_utf8_lossy(&built.stderr).contains("the host's"), "{built:?}");
    }
    assert!(child.wait().unwrap().success());
    let left: Vec<_> = std::fs::read_dir(&outside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["file"]);
    assert_eq!(std::fs::read_to_string(outside.join("file")).unwrap(), "the host's");
    project.ok(&["builder", "prune", "-fa"]);
    assert_eq!(std::fs::read_to_string(outside.join("file")).unwrap(), "the host's");
    machine.finish();
}

/// A secret is in what the step sees, and nowhere else: not in the store, a cache, an archive, and nothing that is printed.
#[test]
fn secrets_are_told_to_nobody() {
    const SECRET: &str = "S3CR3T-W0RD-0F-A-T3ST";
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("secrets");
    project.write("word", SECRET).write(
        "Dockerfile",
        "FROM busybox\nRUN --mount=type=secret,id=file --mount=type=secret,id=env,env=WORD --mount=type=secret,id=file,target=/a/b \\\n\
           test \"$(cat /run/secrets/file)\" = \"$WORD\" && test \"$(cat /a/b)\" = \"$WORD\" && echo ${#WORD}\n\
         RUN --mount=type=secret,id=file,required=true true\n",
    );
    let secrets = ["--secret", "id=file,src=word", "--secret", "id=env,env=GIVEN"];
    let run = |flags: &[&str]| -> Output {
        project.command(&[&["build"], flags, &secrets, &["."]].concat()).env("GIVEN", SECRET).output().unwrap()
    };
    let silent = |output: &Output| {
        let text = [output.stdout.as_slice(), &output.stderr].concat();
        assert!(!String::from_utf8_lossy(&text).contains(SECRET), "{}", String::from_utf8_lossy(&text));
    };
    for flags in [
        &["--dry-run"][..],
        &["-t", "app", "--provenance=mode=max", "--sbom=true", "--metadata-file", "told.json", "--progress=plain"],
        &["--no-cache", "--explain", "--report", "--progress=rawjson"],
        &["--cache-to", "type=local,dest=kept,mode=max", "-o", "type=oci,dest=app.tar"],
    ] {
        let output = run(flags);
        assert!(output.status.success(), "{flags:?}: {}", String::from_utf8_lossy(&output.stderr));
        silent(&output);
    }
    project.write("Dockerfile", "FROM busybox\nRUN --mount=type=secret,id=file,env=WORD test -n \"$WORD\" && exit 7\n");
    for flags in [&[][..], &["--progress=rawjson"]] {
        let output = run(flags);
        assert!(!output.status.success());
        silent(&output);
    }
    for image in [&["history", "--no-trunc", "app"][..], &["image", "inspect", "app"]] {
        silent(&project.carrack(image));
    }
    std::fs::remove_file(project.dir.join("word")).unwrap();
    let found = Command::new("grep").args(["-rlF", SECRET]).arg(machine.path()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "", "on the disk");
    machine.finish();
}

/// Files of any size and bytes end soon, with a place or an image.
#[test]
fn dockerfiles_that_are_none() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("odd");
    let refused = |content: Vec<u8>, code: &str| {
        project.write("Dockerfile", content);
        let failure = project.fails(&["build", "."]);
        assert_eq!(failure.code(), code, "{}", failure.text());
        assert!(failure.diagnostics.len() <= 101, "{}", failure.diagnostics.len());
    };
    let mut large = b"FROM busybox\n#".to_vec();
    large.resize(20 << 20, b'x');
    refused(large, "build/unreadable");
    refused(
        [&b"FROM scratch\nARG a="[..], &[b'x'; 900_000], b"\n", &b"LABEL b=$a\nENV c=$a\n".repeat(400)].concat(),
        "build/too-large",
    );
    refused(b"FROM a AS a\nCOPY --from=b / /\nFROM a AS b\nCOPY --from=a / /\n".to_vec(), "build/unknown-stage");
    refused(b"FROM busy\0box\n".to_vec(), "oci/invalid-reference");
    refused(b"FROM busybox\nRUN echo a\0b\n".to_vec(), "build/run-failed");
    refused(b"FROM busybox\rRUN true\r".to_vec(), "dockerfile/wrong-arguments");
    refused(b"FROM scratch\nCOPY <<../../x /\n\n".to_vec(), "dockerfile/unterminated-heredoc");
    let doubled: String = (0..64).map(|number| format!("ARG a{}=$a{number}$a{number}\n", number + 1)).collect();
    refused(format!("FROM busybox\nARG a0=xxxxxxxx\n{doubled}").into_bytes(), "build/invalid-variable");

    refused(b"FROM scratch\nRUN --security=insecure true\n".to_vec(), "build/not-allowed");
    refused(b"FROM scratch\nRUN --network=host true\n".to_vec(), "build/not-allowed");

    // A here-document's name is a file's name in the folder, whatever it says.
    project.write(
        "Dockerfile",
        "FROM busybox\nCOPY <<../../up/name <<\"/etc/named\" /into/\nup\n../../up/name\ndown\n/etc/named\n",
    );
    project.ok(&["build", "-t", "named", "."]);
    assert_eq!(
        project.ok(&[
            "run",
            "--rm",
            "--network",
            "none",
            "named",
            "sh",
            "-c",
            "cd /into; cat name named; test ! -e /up"
        ]),
        "up\ndown"
    );
    // Folders in folders, as deep as the kernel takes them and deeper.
    let deep = |depth: usize| format!("FROM scratch\nWORKDIR /{}\nCOPY Dockerfile .\n", "x/".repeat(depth));
    refused(deep(3_000).into_bytes(), "build/step-failed");
    project.write("Dockerfile", deep(300)).ok(&["build", "."]);
    refused(b"FROM scratch\nCOPY <<.. /\nx\n..\n".to_vec(), "build/invalid-value");
    // Truncated and hostile archives as contexts.
    let tar = carrack_testkit::tar::Builder::new()
        .file("Dockerfile", "FROM scratch\nCOPY a /\n")
        .file("a", "content")
        .build();
    for length in [513, 700, 1100] {
        let output = feed(project.command(&["build", "-"]), &tar[..length]);
        assert!(!output.status.success(), "{length}");
    }
    let out = carrack_testkit::tar::Builder::new().file("Dockerfile", "FROM scratch\n").file("../escaped", "x").build();
    assert!(!feed(project.command(&["build", "-"]), &out).status.success());
    assert!(!machine.path().join("escaped").exists() && !machine.data().join("escaped").exists());
    machine.finish();
}

/// What stands in a mount's way is said, with what to do about it: nothing of it is the host's (D1).
#[test]
fn mounts_that_do_not_fit_say_why() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("mounts");
    let mount = |rest: &str| format!("RUN --network=none --mount={rest} true\n");
    let kinds = "a folder can be mounted on a folder only";
    let links = "a link of the image leads back to itself";
    for (instruction, said) in [
        (mount("type=tmpfs,target=/etc/passwd"), kinds),
        (mount("type=cache,target=/etc/passwd"), kinds),
        (mount("type=cache,target=/etc/passwd/below"), kinds),
        (mount("type=tmpfs,target=/loop"), links),
        (mount("type=cache,target=/loop/below"), links),
        ("WORKDIR /loop/below\n".to_owned(), links),
    ] {
        let base = "FROM busybox\nRUN --network=none ln -s /loop /loop; echo root:x:0:0::/: > /etc/passwd\n";
        project.write("Dockerfile", format!("{base}{instruction}"));
        let built = project.carrack(&["build", "."]);
        let told = String::from_utf8_lossy(&built.stderr);
        assert!(!built.status.success() && told.contains(said), "{instruction}: {told}");
        assert!(told.contains("Dockerfile:3:1") && !told.contains("carrack doctor"), "{instruction}: {told}");
    }
    machine.finish();
}
