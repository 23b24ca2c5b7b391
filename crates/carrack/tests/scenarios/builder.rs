//! The build cache: what it takes, and what of it is let go (D1 I-5).

use serde_json::Value;

use crate::machine::{Machine, Project};

/// Descriptions of the cache's entries, last used first.
fn cached(project: &Project) -> Vec<String> {
    descriptions(&project.json(&["builder", "du"]))
}

fn descriptions(result: &Value) -> Vec<String> {
    let entries = result["entries"].as_array().unwrap().iter();
    entries.map(|entry| entry["description"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_cache_is_shown_and_pruned_by_what_images_have_age_and_budget() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("pruned");
    project.write("file", "1").write(
        "Dockerfile",
        "FROM busybox AS tools\nRUN head -c 300000 /dev/urandom > /tool\nRUN --mount=type=cache,target=/kept,id=wheels head -c 200000 /dev/zero > /kept/wheel\n\
         FROM busybox\nCOPY file /\nCOPY --from=tools /tool /\n",
    );
    let build = || project.json(&["build", "-t", "app", "."]);
    let first = build();
    assert_eq!(cached(&project).len(), 5, "four steps and a mount");

    // Without a terminal nobody can be asked.
    let refused = project.fails(&["builder", "prune"]);
    assert_eq!((refused.code(), refused.status), ("cli/confirm", 11));
    assert!(refused.hints().contains("builder prune --force"), "{}", refused.text());
    for wrong in ["colour=red", "until=soon", "type=frontend", "id="] {
        assert_eq!(
            project.fails(&["builder", "prune", "-f", "--filter", wrong]).code(),
            "cli/invalid-value",
            "{wrong}"
        );
    }
    assert_eq!(cached(&project).len(), 5, "nothing was taken away");

    // Used a moment ago; and a budget that everything fits in.
    for flags in
        [&["--filter", "until=1h"][..], &["--keep-storage", "1g"], &["--max-used-space=1GB", "--filter", "until=0s"]]
    {
        let pruned = project.json(&[&["builder", "prune", "-f", "-a"], flags].concat());
        assert_eq!((descriptions(&pruned), &pruned["freed_bytes"]), (vec![], &0.into()), "{flags:?}");
    }
    // A budget that only what was used last fits in: the stage's two steps were used before the copy.
    let pruned = project.json(&["builder", "prune", "-f", "--keep-storage", "250k"]);
    assert!(descriptions(&pruned).iter().any(|name| name.contains("/tool")), "{pruned}");
    assert!(pruned["freed_bytes"].as_u64().unwrap() >= 300_000);

    // What images have stays, and the image is whole.
    project.ok(&["builder", "prune", "-f"]);
    let left = cached(&project);
    assert!(left.len() == 2 && left.iter().all(|name| name.contains("COPY")), "{left:?}");
    assert_eq!(project.json(&["image", "inspect", "app"])[0]["Id"], first["id"]);
    project.ok(&["builder", "prune", "-f", "--all"]);
    assert_eq!(cached(&project), Vec::<String>::new());
    assert_eq!(project.ok(&["run", "--rm", "--network", "none", "app", "cat", "/file"]), "1");
    assert_eq!(build()["cached_steps"], 0, "built again from nothing");
    machine.finish();
}

/// What runs keeps its folder, and an image that a stopped container was made of stays without its name.
#[test]
fn a_prune_leaves_what_is_in_use() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("busy");
    project.write("Dockerfile", "FROM busybox\nRUN echo made > /made\n");
    project.ok(&["build", "-t", "app", "."]);
    project.ok(&["create", "--name", "box", "--network", "none", "app", "cat", "/made"]);
    project.ok(&["rmi", "--force", "app"]);
    project.ok(&["builder", "prune", "-f", "-a"]);
    assert_eq!(project.ok(&["start", "-a", "box"]), "made");
    project.ok(&["rm", "box"]);

    project.write(
        "Dockerfile",
        "FROM busybox\nRUN --mount=type=cache,target=/kept,id=busy echo x > /kept/x; echo begun; while ! [ -e /kept/go ]; do sleep 0.05; done\n",
    );
    let mut child = project.command(&["build", "."]).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stderr.take().unwrap()));
    assert!(lines.any(|line| line.unwrap().ends_with(" begun")));
    let entry = project.json(&["builder", "du", "--filter", "type=exec.cachemount"])["entries"][0].clone();
    assert_eq!((&entry["description"], &entry["in_use"]), (&"busy".into(), &true.into()));
    project.ok(&["builder", "prune", "-f", "-a"]);
    let folder = machine.data().join("build/mounts").join(entry["id"].as_str().unwrap());
    std::fs::write(folder.join("go"), "").expect("the folder is there");
    lines.for_each(drop);
    assert!(child.wait().unwrap().success());
    project.ok(&["builder", "prune", "-f"]);
    assert!(!folder.exists());
    assert_eq!(std::fs::read_dir(machine.data().join("build/mounts")).unwrap().count(), 0, "nothing is left beside it");
    machine.finish();
}

/// The reasons of every step that is not cached, as text, by the step's instruction.
fn misses(result: &Value) -> Vec<(String, Vec<String>)> {
    let steps = result["steps"].as_array().or_else(|| result["explanation"].as_array()).unwrap().iter();
    let missed = steps.filter(|step| step["cached"] == false).map(|step| {
        let name = step["name"].as_str().unwrap();
        let reasons =
            step["reasons"].as_array().unwrap().iter().map(|reason| reason["text"].as_str().unwrap().to_owned());
        (name.split_once("] ").unwrap().1.to_owned(), reasons.collect())
    });
    missed.collect()
}

/// Each class of mutation is named, before the build and after it, and nothing else is (D3 I-5).
#[test]
fn a_miss_names_the_input_that_changed() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    let Some(machine) = Machine::new() else { return };
    let project = machine.project("explained");
    let dockerfile = |middle: &str| {
        format!(
            "FROM busybox AS tools\nARG TOOL=1\nRUN echo \"tool $TOOL\" > /tool\n\
             FROM busybox\nARG FLAVOUR=plain\nENV KIND=small\n{middle}\nCOPY src /src\nCOPY --from=tools /tool /\nRUN true\n"
        )
    };
    project
        .write("src/a", "a")
        .write("src/b", "b")
        .write("unused", "1")
        .write("Dockerfile", dockerfile("RUN echo $FLAVOUR $KIND > /flavour"));
    let flags: &mut Vec<&str> = &mut vec!["-t", "app"];
    let foretold = |flags: &[&str]| project.json(&[&["build", "--dry-run"], flags, &["."]].concat());
    let built = |flags: &[&str]| project.json(&[&["build", "--explain"], flags, &["."]].concat());
    // What is foretold is what happens; of later steps it is known only when the earlier ones are done.
    let check = |flags: &[&str], step: &str, reasons: &[&str]| {
        for told in [foretold(flags), built(flags)] {
            let first = misses(&told).into_iter().next().unwrap_or_else(|| panic!("nothing missed, not {reasons:?}"));
            assert_eq!(
                (first.0.as_str(), first.1.iter().map(String::as_str).collect::<Vec<_>>()),
                (step, reasons.to_vec())
            );
        }
        assert_eq!(misses(&foretold(flags)), vec![], "and then all is cached");
    };
    let disk = || std::fs::read_dir(machine.data().join("build/steps")).map_or(0, Iterator::count);
    assert!(misses(&foretold(flags)).iter().all(|(_, reasons)| reasons[0] == "no earlier build has done it"));
    assert_eq!(disk(), 0, "nothing is written");
    assert!(misses(&built(flags)).iter().all(|(_, reasons)| reasons[0] == "no earlier build has done it"));

    let copy = "COPY src /src";
    project.write("src/a", "changed");
    check(flags, copy, &["src/a has another content"]);
    std::fs::set_permissions(project.dir.join("src/a"), std::fs::Permissions::from_mode(0o755)).unwrap();
    check(flags, copy, &["src/a has mode 755, had 644"]);
    project.write("src/c", "new");
    check(flags, copy, &["src/c is new"]);
    std::fs::remove_file(project.dir.join("src/b")).unwrap();
    check(flags, copy, &["src/b is gone"]);
    std::fs::remove_file(project.dir.join("src/c")).unwrap();
    symlink("a", project.dir.join("src/c")).unwrap();
    check(flags, copy, &["src/c is a link, was a file"]);
    std::fs::remove_file(project.dir.join("src/c")).unwrap();
    symlink("b", project.dir.join("src/c")).unwrap();
    check(flags, copy, &["src/c leads elsewhere"]);
    std::fs::rename(project.dir.join("src/a"), project.dir.join("src/d")).unwrap();
    check(flags, copy, &["src/d was called src/a"]);
    project.write(".dockerignore", "src/d\n");
    check(flags, copy, &["src/d is left out by .dockerignore"]);
    std::fs::remove_file(project.dir.join(".dockerignore")).unwrap();
    std::fs::rename(project.dir.join("src/d"), project.dir.join("src/a")).unwrap();
    built(flags);
    // Neither a file that nothing takes nor another time is a reason.
    project.write("unused", "2").write("src/a", "changed");
    assert_eq!(misses(&foretold(flags)), vec![]);

    // The final stage's own argument; one of another stage; a variable.
    flags.extend(["--build-arg", "FLAVOUR=salty"]);
    check(flags, "RUN echo $FLAVOUR $KIND > /flavour", &["ARG FLAVOUR is `salty`, was `plain`"]);
    flags.extend(["--build-arg", "TOOL=2"]);
    check(flags, "RUN echo \"tool $TOOL\" > /tool", &["ARG TOOL is `2`, was `1`"]);
    let text = dockerfile("RUN echo $FLAVOUR $KIND > /flavour").replace("KIND=small", "KIND=large");
    project.write("Dockerfile", &text);
    check(flags, "RUN echo $FLAVOUR $KIND > /flavour", &["ENV KIND is `large`, was `small`"]);
    project.write("Dockerfile", text.replace("ENV KIND", "USER 0:0\nENV KIND"));
    check(flags, "RUN echo $FLAVOUR $KIND > /flavour", &["its user (USER) is `0:0`, was not given"]);
    project.write("Dockerfile", &text);
    project.write("Dockerfile", text.replace("echo $FLAVOUR", "echo very $FLAVOUR"));
    check(
        flags,
        "RUN echo very $FLAVOUR $KIND > /flavour",
        &["the instruction was `RUN echo $FLAVOUR $KIND > /flavour`"],
    );
    // What follows from an earlier step names it, and what changed beside it.
    project.write("Dockerfile", &text).write("src/a", "once more");
    project.write("Dockerfile", text.replace("echo $FLAVOUR", "echo once $FLAVOUR"));
    let told = misses(&foretold(flags));
    let copied = &told.iter().find(|(step, _)| step == copy).unwrap().1;
    assert!(copied[0].contains("RUN echo once") && copied[1] == "src/a has another content", "{told:?}");
    built(flags);

    // Another base image, by its manifest's digest.
    project.write("base/Dockerfile", "FROM busybox\nRUN echo new > /new\n");
    project.ok(&["build", "-t", "busybox", "base"]);
    let told = misses(&foretold(flags));
    assert!(
        told.iter().any(|(_, reasons)| reasons[0].starts_with("the image docker.io/library/busybox:latest is ")),
        "{told:?}"
    );
    built(flags);
    let told = misses(&built(&[&flags[..], &["--no-cache"]].concat()));
    assert!(
        told.len() == 5 && told.iter().all(|(_, reasons)| *reasons == ["the cache is not to be used for it"]),
        "{told:?}"
    );
    project.ok(&["builder", "prune", "-f", "-a"]);
    assert!(misses(&foretold(flags)).iter().all(|(_, reasons)| reasons[0] == "no earlier build has done it"));
    assert!(std::fs::read_dir(machine.data().join("build/lists")).unwrap().next().is_none(), "lists go too");
    machine.finish();
}

/// Nor is anything else that a step is made of passed over: options, mounts, what the command line says, other contexts (D3).
#[test]
fn a_miss_names_settings_mounts_and_other_contexts() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("named");
    let step = "RUN --mount=type=cache,target=/kept,id=$ID --mount=type=secret,id=key true";
    project.write("src/a", "a").write("more/b", "b").write("key", "1").write(
        "Dockerfile",
        format!(
            "FROM busybox\nARG ID=one\nARG OWNER=1\nARG MODE=644\n\
             COPY --chown=$OWNER --chmod=$MODE src/a /a\nCOPY --from=deps b /b\n{step}\nARG TARGETARCH\nRUN echo $TARGETARCH\n"
        ),
    );
    let always = ["-t", "app", "--build-context", "deps=more"];
    let reasons = |flags: &[&str], step: &str| {
        let told = project.json(&[&["build", "--explain"], &always[..], flags, &["."]].concat());
        let missed = misses(&told).into_iter().find(|(name, _)| name.starts_with(step));
        missed.unwrap_or_else(|| panic!("{step}: {told}")).1
    };
    let none = |flags: &[&str]| {
        assert_eq!(misses(&project.json(&[&["build", "--dry-run"], &always[..], flags, &["."]].concat())), []);
    };
    project.ok(&[&["build"], &always[..], &["."]].concat());
    none(&[]);
    // A secret, there or not, is no part of a result.
    none(&["--secret", "id=key,src=key"]);
    project.write("key", "2");
    none(&["--secret", "id=key,src=key"]);
    // Nor is what a cache mount holds.
    project.write("Other", "FROM busybox\nRUN --mount=type=cache,target=/kept,id=one echo more > /kept/more\n");
    project.ok(&["build", "-f", "Other", "."]);
    none(&[]);
    // What limits a step and does not show in it is none either.
    none(&["--memory", "1g"]);
    let run = "RUN --mount";
    let add = ["--add-host", "db:10.0.0.1"];
    assert_eq!(reasons(&add, run), ["the address of db (--add-host) is `10.0.0.1`, was not given"]);
    project.ok(&[&["build"], &always[..], &["."]].concat());
    assert_eq!(reasons(&["--shm-size", "1m"], run)[0], "the size of /dev/shm (--shm-size) is `1048576`, was not given");
    project.ok(&[&["build"], &always[..], &["."]].concat());
    assert_eq!(reasons(&["--ulimit", "nofile=9"], run), ["the limit nofile (--ulimit) is `[9,9]`, was not given"]);
    project.ok(&[&["build"], &always[..], &["."]].concat());
    assert_eq!(reasons(&["--network", "none"], run), ["its network (--network) is `None`, was `Default`"]);
    project.ok(&[&["build"], &always[..], &["."]].concat());
    let told = reasons(&["--build-arg", "ID=two"], run);
    assert_eq!(told, ["ARG ID is `two`, was `one`", "id of the mount at /kept is `two`, was `one`"]);
    let copy = "COPY --chown";
    assert_eq!(reasons(&["--build-arg", "OWNER=2"], copy), ["its owner (--chown) is `2`, was `1`"]);
    assert!(
        reasons(&["--build-arg", "OWNER=2", "--build-arg", "MODE=600"], copy)[0].starts_with("its mode (--chmod) is ")
    );
    project.ok(&[&["build"], &always[..], &["."]].concat());
    project.write("more/b", "changed");
    assert_eq!(reasons(&[], "COPY --from=deps"), ["the context `deps`: b has another content"]);
    machine.finish();
}

/// What is said on the command line holds for every step, and where it can change the result it is part of the key (I-6).
#[test]
fn steps_get_what_the_command_line_says() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("said");
    project.write("token", "from a file").write(
        "Dockerfile",
        "FROM busybox AS first\nRUN cat /proc/sys/kernel/random/uuid > /first\n\
         FROM busybox AS second\nRUN cat /proc/sys/kernel/random/uuid > /second\n\
         FROM busybox\nCOPY --from=first /first /\nCOPY --from=second /second /\n\
         RUN ulimit -n > /limit; grep db /etc/hosts > /hosts; df -k /dev/shm | tail -1 | awk '{print $2}' > /shm; ls /sys/class/net > /links\n\
         RUN --mount=type=secret,id=token --mount=type=secret,id=word cat /run/secrets/* > /secrets\n",
    );
    let both: &[&str] = &["--secret", "id=token,src=token", "--secret", "id=word,env=WORD"];
    let flags = ["--ulimit", "nofile=77:88", "--add-host", "db:192.0.2.7", "--shm-size", "1m", "--network", "none"];
    let build = |extra: &[&str]| {
        let arguments = [&["--json", "build", "-t", "said"], both, &flags[..], extra, &["."]].concat();
        let output = project.command(&arguments).env("WORD", "from a variable").output().unwrap();
        let envelope: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(envelope["ok"], true, "{envelope}");
        envelope["result"].clone()
    };
    let read = |file: &str| project.ok(&["run", "--rm", "--network", "none", "said", "cat", file]);
    let metadata = project.dir.join("metadata.json");
    let built = build(&[
        "--metadata-file",
        "metadata.json",
        "--annotation",
        "manifest:org.example=yes",
        "--memory",
        "64m",
        "--load",
    ]);
    assert_eq!((read("/limit"), read("/hosts"), read("/shm")), ("77".into(), "192.0.2.7\tdb".into(), "1024".into()));
    assert_eq!(read("/links"), "lo");
    assert_eq!(read("/secrets"), "from a filefrom a variable");
    let told: Value = serde_json::from_slice(&std::fs::read(metadata).unwrap()).unwrap();
    assert_eq!(
        (&told["containerimage.config.digest"], &told["image.name"]),
        (&built["id"], &"docker.io/library/said:latest".into())
    );
    let digest = told["containerimage.digest"].as_str().unwrap().trim_start_matches("sha256:");
    let manifest = std::fs::read(machine.data().join("content/blobs/sha256").join(digest)).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&manifest).unwrap()["annotations"]["org.example"], "yes");

    // A limit of memory changes no result; what programs can see does.
    assert_eq!(build(&["--memory", "128m"])["cached_steps"], 6);
    assert_eq!(build(&["--ulimit", "core=0"])["cached_steps"], 0);
    let (first, second) = (read("/first"), read("/second"));
    build(&["--ulimit", "core=0", "--no-cache-filter", "second"]);
    assert_eq!(read("/first"), first);
    assert_ne!(read("/second"), second);

    assert_eq!(
        project.ok(&["build", "--progress", "quiet", "-f", "Dockerfile", "--target", "first", "."]).len(),
        71,
        "the id"
    );
    for (wrong, code) in [
        (&["--no-cache-filter", "secnod"][..], "build/unknown-stage"),
        (&["--secret", "id=x,src=missing"], "cli/unreadable-file"),
        (&["--secret", "colour=red"], "cli/invalid-value"),
        (&["--secret", "id=x,env=UNSET"], "cli/invalid-value"),
        (&["--network", "somewhere"], "cli/invalid-value"),
        (&["--add-host", "db:gateway"], "cli/invalid-value"),
        (&["--annotation", "index:a=b"], "cli/not-yet"),
        (&["--annotation", "a"], "cli/invalid-value"),
    ] {
        assert_eq!(project.fails(&[&["build"], wrong, &["."]].concat()).code(), code, "{wrong:?}");
    }

    // The host as a step reaches it, and the name of the step's machine.
    let line = "RUN set -- $(grep 'up$' /etc/hosts); ip route | grep \"^default via $1 \"; echo $(hostname) $(grep -c \" $(hostname)$\" /etc/hosts) > /name";
    project.write("Dockerfile", format!("FROM busybox\n{line}\n"));
    let named = ["--add-host", "up=host-gateway", "--build-arg", "BUILDKIT_SANDBOX_HOSTNAME=here", "-t", "said", "."];
    project.ok(&[&["build"][..], &named].concat());
    assert_eq!(read("/name"), "here 1");
    machine.finish();
}

/// A project's builds run at once, do what they share once, and wait for those that they begin with (D3).
#[test]
fn a_project_is_built_at_once() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("together");
    // Each ends only when the other has begun.
    let meet = |own: &str, other: &str| {
        format!(
            "FROM shared AS {own}\nRUN --mount=type=cache,id=meeting,target=/meeting touch /meeting/{own}; \
             for i in $(seq 600); do [ -e /meeting/{other} ] && exit 0; sleep 0.1; done; exit 1\n"
        )
    };
    let shared = "FROM busybox AS shared\nRUN cat /proc/sys/kernel/random/uuid > /once\n";
    project.write("Dockerfile", [shared, &meet("left", "right"), &meet("right", "left")].concat()).write(
        "compose.yaml",
        "services:\n\
         \x20 after:\n    build: {context: ., dockerfile_inline: \"FROM together-right\\nRUN cp /once /twice\\n\"}\n\
         \x20 left:\n    build: {context: ., target: left}\n\
         \x20 right:\n    build: {context: ., target: right}\n",
    );
    let output = project.carrack(&["build"]);
    let lines = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{lines}");
    assert!(
        ["left #", "right #", "after #"].iter().all(|label| lines.lines().any(|line| line.starts_with(label))),
        "{lines}"
    );
    let once = |image: &str, file: &str| project.ok(&["run", "--rm", "--network", "none", image, "cat", file]);
    let left = once("together-left", "/once");
    assert_eq!(
        (once("together-right", "/once"), once("together-after", "/twice")),
        (left.clone(), left.clone()),
        "made once"
    );
    // Without the cache it is made anew, and still once.
    project.ok(&["compose", "build", "--no-cache"]);
    let again = once("together-left", "/once");
    assert_ne!(again, left);
    assert_eq!((once("together-right", "/once"), once("together-after", "/twice")), (again.clone(), again));

    // The first failure ends the others, and is what is told.
    project
        .write("Dockerfile", "FROM busybox AS left\nRUN sleep 1000\nFROM busybox AS right\nRUN echo broken; exit 3\n");
    let failure = project.fails(&["build"]);
    assert_eq!(failure.code(), "build/run-failed");
    assert!(failure.text().contains("exit status 3") && failure.diagnostics.len() == 1, "{}", failure.text());
    machine.finish();
}

/// What takes room on disk, in Docker's words.
#[test]
fn disk_usage_of_everything() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("room");
    project.write("Dockerfile", "FROM busybox\nRUN --mount=type=cache,target=/c head -c 300000 /dev/zero > /big && head -c 50000 /dev/zero > /c/x\n");
    project.ok(&["build", "-t", "big", "."]);
    let keep = ["run", "--network=none", "--name", "writer", "-v", "kept:/kept", "busybox"];
    project.ok(&[&keep[..], &["sh", "-c", "head -c 200000 /dev/zero | tee /own > /kept/file"]].concat());
    project.ok(&["volume", "create", "unused"]);
    let rows = project.json(&["system", "df"]);
    let row = |index: usize, field: &str| rows[index][field].clone();
    let counts = |index| (row(index, "Type"), row(index, "TotalCount"), row(index, "Active"));
    assert_eq!(counts(0), ("Images".into(), 2.into(), 1.into()));
    assert_eq!(counts(1), ("Containers".into(), 1.into(), 0.into()));
    assert_eq!(counts(2), ("Local Volumes".into(), 2.into(), 1.into()));
    assert_eq!(counts(3), ("Build Cache".into(), 2.into(), 0.into()));
    let all = project.json(&["system", "df", "-v"]);
    let bytes = |value: &Value| value.as_u64().unwrap();
    let image = |name: &str| -> Value {
        let images = all["images"].as_array().unwrap();
        images.iter().find(|image| image["repository"] == name).unwrap().clone()
    };
    let (big, base) = (image("big"), image("busybox"));
    assert!((300_000..400_000).contains(&bytes(&big["unique_bytes"])), "{big}");
    assert_eq!((&big["shared_bytes"], &base["containers"]), (&base["size_bytes"], &1.into()));
    assert!(bytes(&all["containers"][0]["size_bytes"]) >= 200_000);
    let kept = all["volumes"].as_array().unwrap().iter().find(|volume| volume["name"] == "kept").unwrap();
    assert!(kept["links"] == 1 && bytes(&kept["size_bytes"]) >= 200_000, "{kept}");
    assert_eq!((&kept["used_by"][0], &base["used_by"][0]), (&"writer".into(), &"container writer".into()));
    let text = project.ok(&["system", "df"]);
    assert!(text.starts_with("TYPE            TOTAL     ACTIVE    SIZE"), "{text}");
    assert_eq!(
        project.ok(&["system", "df", "--format", "{{.Type}}: {{.TotalCount}}"]).lines().last(),
        Some("Build Cache: 2")
    );
    assert!(project.ok(&["system", "df", "--verbose"]).contains("Local Volumes space usage:"));
    project.ok(&["rm", "writer"]);
    machine.finish();
}

/// What is asked of a build holds for those of a project, and what is one build's is refused: nothing is built by asking.
#[test]
fn a_project_is_asked_as_one_build_is() {
    let Some(machine) = Machine::new() else { return };
    let registry = carrack_testkit::registry::Registry::start();
    let name = format!("{}/team/web:1", registry.host());
    let project = machine.project("asked");
    project.write(
        "sources/Dockerfile",
        "FROM --platform=$BUILDPLATFORM busybox\nARG TARGETARCH\nRUN --network=none echo $TARGETARCH > /a\n",
    );
    project.write("base/Dockerfile", "FROM scratch as x\nCOPY Dockerfile /\n");
    let compose = |platforms: &str| {
        format!(
            "services:\n  base:\n    build: base\n  web:\n    image: {name}\n    build:\n      context: sources\n{platforms}"
        )
    };
    project.write("compose.yaml", compose(""));
    let told = |steps: &Value| -> Vec<(String, String, bool)> {
        let text = |step: &Value, key: &str| step[key].as_str().unwrap_or_default().to_owned();
        let steps = steps["steps"].as_array().unwrap().iter();
        steps.map(|step| (text(step, "service"), text(step, "platform"), step["cached"] == true)).collect()
    };
    let of = |service: &str, platform: &str, cached| (service.to_owned(), platform.to_owned(), cached);
    let foretold = || told(&project.json(&["build", "--dry-run"]));
    assert_eq!(foretold(), [of("base", "", false), of("web", "", false)]);
    assert_eq!(told(&project.json(&["build", "--dry-run", "web"])), [of("web", "", false)]);
    let checked = project.carrack(&["build", "--check"]);
    let said = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.code() == Some(1) && said.contains("check/FromAsCasing"), "{said}");
    assert_eq!(project.code(&["build", "--check", "web"]), 0);
    assert_eq!(project.ok(&["images", "-q"]).lines().count(), 1, "nothing was built");
    for wrong in [&["--target", "x"][..], &["--tag", "x"], &["--cache-to", "x"], &["--platform", "linux/arm64"]] {
        let refused = project.fails(&[&["build"], wrong, &["web"]].concat());
        assert_eq!(refused.code(), "cli/usage", "{wrong:?}");
    }
    let explained = project.carrack(&["build", "--progress=plain", "--explain"]);
    let said = String::from_utf8_lossy(&explained.stderr);
    assert!(said.contains("missed web [2/2] RUN"), "{said}");
    assert_eq!(foretold(), [of("base", "", true), of("web", "", true)]);

    // What has a name goes out.
    assert!(registry.take_seen().is_empty());
    project.ok(&["compose", "build", "--push"]);
    assert!(
        registry.take_seen().iter().any(|seen| seen.method == "PUT" && seen.path.contains("/team/web/manifests/1"))
    );
    project.write("compose.yaml", compose("      platforms: [linux/amd64, linux/arm64]\n"));
    let foretold = foretold();
    let platforms: Vec<&str> = foretold.iter().map(|(_, platform, _)| platform.as_str()).collect();
    assert_eq!(platforms, ["", "linux/amd64", "linux/arm64"]);
    machine.finish();
}
