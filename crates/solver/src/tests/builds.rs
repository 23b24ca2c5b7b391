use insta::assert_snapshot;

use super::{Yard, is_able, tag};
use crate::{BuildRequest, DockerfileSource};

/// D1: the result of a small build, files and configuration.
#[test]
fn a_build_makes_an_image() {
    if !is_able() {
        return;
    }
    let yard = Yard::new();
    yard.write("app/main.py", "print(1)").write("app/sub/x", "x").write("notes.md", "n");
    let mut request = yard.request(
        "FROM scratch\nWORKDIR /srv\nCOPY app/ code\nCOPY notes.md /doc/\nRUN write /srv/made yes\nCMD [\"/srv/run\"]\n",
    );
    request.tags = vec![tag("demo:1")];
    request.labels = [("build".to_owned(), "7".to_owned())].into();
    let result = yard.run(&request).unwrap();
    assert_snapshot!(yard.files(&result), @r#"
    755 0:0 doc/
    644 0:0 doc/notes.md "n"
    755 0:0 srv/
    755 0:0 srv/code/
    644 0:0 srv/code/main.py "print(1)"
    755 0:0 srv/code/sub/
    644 0:0 srv/code/sub/x "x"
    644 0:0 srv/made "yes"
    "#);
    let config = &result.image.config;
    assert_eq!(config.config.working_dir, "/srv");
    assert_eq!(config.config.labels["build"], "7");
    assert_eq!(config.history.iter().filter(|entry| !entry.empty_layer).count(), config.rootfs.diff_ids.len());
    assert_eq!(yard.store.image("demo:1").unwrap().id, result.image_id());
    assert_eq!((result.context.entries, result.context.size_bytes), (5, 10));
    assert_eq!(result.context.largest[0], ("app/main.py".to_owned(), 8));
}

/// D4: what is cached and what is not.
#[test]
fn the_cache_holds_until_something_changes() {
    if !is_able() {
        return;
    }
    let yard = Yard::new();
    yard.write("a", "1").write("b", "1");
    let text = "FROM scratch\nCOPY a /a\nRUN write /x 1\nCOPY b /b\nRUN write /y 2\n";
    let first = yard.build(text);
    assert_eq!((first.cached_steps, yard.programs().len()), (0, 2));
    let again = yard.build(text);
    assert_eq!((again.cached_steps, again.steps), (4, 4));
    assert_eq!(again.image_id(), first.image_id(), "the same inputs give the same image");
    assert!(yard.programs().is_empty());
    let file = std::fs::File::open(yard.context().join("a")).unwrap();
    file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(yard.build(text).cached_steps, 4, "times are no part of the key");
    yard.write("b", "2");
    let changed = yard.build(text);
    assert_eq!((changed.cached_steps, yard.programs()), (2, vec!["write /y 2".to_owned()]));
    assert_ne!(changed.image_id(), first.image_id());
    yard.write("b", "1");
    assert_eq!(yard.build(text).image_id(), first.image_id(), "what was built before is found again");
    std::fs::set_permissions(yard.context().join("a"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    assert_eq!(yard.build(text).cached_steps, 0, "the mode is part of it");
    yard.programs();
    let request = BuildRequest { no_cache: true, ..yard.request(text) };
    assert_eq!((yard.run(&request).unwrap().cached_steps, yard.programs().len()), (0, 2));
}

/// D4: a build after a failing step goes on where it failed.
#[test]
fn a_failed_step_is_not_cached() {
    if !is_able() {
        return;
    }
    let yard = Yard::new();
    let error = yard.fail("FROM scratch\nRUN write /a 1\nRUN print one; \\\n    print two; exit 3\n");
    assert_snapshot!(error, @"
    build/run-failed Dockerfile:3:1 the RUN step `print one;     print two; exit 3` failed | its program ended with exit status 3 | its last output was:
    one
    two [correct the command; the steps above are cached, so the next try starts here]
    ");
    yard.programs();
    yard.fail("FROM scratch\nRUN write /a 1\nRUN print one; \\\n    print two; exit 3\n");
    assert_eq!(yard.programs().len(), 1, "the failing step ran again, the one above did not");
    let killed = yard.fail("FROM scratch\nRUN exit 137\n");
    assert!(
        killed.contains("killed by signal 9, SIGKILL (exit status 137)") && killed.contains("want of memory"),
        "{killed}"
    );
}

/// D2, D4: stages, and a copy whose content is the same though its stage was built anew.
#[test]
fn copies_from_stages_follow_content() {
    if !is_able() {
        return;
    }
    let yard = Yard::new();
    let text = |comment: &str| {
        format!(
            "FROM scratch AS tools\nRUN write /t {comment}; write /out same\nFROM scratch\nCOPY --from=tools /out /o\nRUN write /z 1\n"
        )
    };
    let first = yard.build(&text("1"));
    yard.programs();
    let second = yard.build(&text("2"));
    assert_eq!(yard.programs().len(), 1, "only the changed stage ran");
    assert_eq!(first.image_id(), second.image_id());
}

/// D3: independent stages run at the same time: each waits for the other.
#[test]
fn independent_stages_run_in_parallel() {
    if !is_able() {
        return;
    }
    let mut yard = Yard::new();
    yard.executor.rendezvous = Some(std::sync::Barrier::new(2));
    let request = BuildRequest {
        parallelism: 2,
        ..yard.request(
            "FROM scratch AS a\nRUN meet; write /a 1\nFROM scratch AS b\nRUN meet; write /b 1\nFROM scratch\nCOPY --from=a /a /\nCOPY --from=b /b /\n",
        )
    };
    let result = yard.run(&request).unwrap();
    assert_eq!(yard.files(&result), "644 0:0 a \"1\"\n644 0:0 b \"1\"\n");
}

/// D1: removals, and places that mounts needed, in a layer.
#[test]
fn removed_files_are_gone_and_mount_points_leave_no_trace() {
    if !is_able() {
        return;
    }
    let yard = Yard::new();
    let base = yard.request("FROM scratch\nRUN write /a 1; write /b 2\n");
    yard.run(&BuildRequest { tags: vec![tag("base")], ..base }).unwrap();
    let result = yard.build("FROM base\nRUN remove /a; write /etc/app.conf x\nRUN write /c 3\n");
    assert_eq!(yard.files(&result), "644 0:0 b \"2\"\n644 0:0 c \"3\"\n755 0:0 etc/\n644 0:0 etc/app.conf \"x\"\n");
    assert_eq!(result.image.layers.len(), 3);
}

/// A step that changes nothing makes no layer and says so in the history.
#[test]
fn an_empty_step_has_no_layer() {
    if !is_able() {
        return;
    }
    let yard = Yard::new();
    let result = yard.build("FROM scratch\nRUN write /a 1\nRUN print nothing\nWORKDIR /\n");
    assert_eq!(result.image.layers.len(), 1);
    let empty: Vec<bool> = result.image.config.history.iter().map(|entry| entry.empty_layer).collect();
    assert_eq!(empty, [false, true, true]);
    assert_eq!(
        yard.build("FROM scratch\nRUN write /a 1\nRUN print nothing\nWORKDIR /\n").image_id(),
        result.image_id()
    );
}

/// A file that does not end is an error: neither the whole memory nor a part of the file is taken for it.
#[test]
fn texts_without_an_end() {
    if !is_able() {
        return;
    }
    let yard = Yard::new();
    let endless = std::path::PathBuf::from("/dev/zero");
    let request = BuildRequest { dockerfile: DockerfileSource::Path(endless), ..yard.request("") };
    assert_snapshot!(yard.run(&request).unwrap_err(), @"build/unreadable read the Dockerfile /dev/zero | it is larger than 16 MiB, and than any text that somebody has written [write it there, or name another one: with `--file`, in Compose with `dockerfile:`]");
    let request = yard.request("FROM scratch\nCOPY . /\n");
    std::fs::write(yard.context().join(".dockerignore"), vec![b'\n'; (16 << 20) + 1]).unwrap();
    assert!(yard.run(&request).unwrap_err().starts_with("build/unreadable"));
}

/// What is written while a RUN's mounts are made ready is not taken for what it was before.
#[test]
fn a_context_that_changes_while_it_is_bound_is_an_error() {
    if !is_able() {
        return;
    }
    let yard = Yard::new();
    yard.write("src/a", "1");
    let request = yard.request(
        "FROM scratch\nRUN --mount=source=src,target=/m --mount=type=cache,id=c,sharing=locked,target=/c cat /m\n",
    );
    // The cache is taken after the context has been copied: whoever holds it stops the step in between.
    let path = crate::mounts::lock_path(&yard.store, &carrack_oci::Digest::of("c").hex());
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let held = std::fs::File::create(path).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let is_copied = || {
        let steps = std::fs::read_dir(yard.folder.path().join("data/snapshots/new")).unwrap();
        steps.flatten().any(|step| step.path().join("mounts/0/a").exists())
    };
    let error = std::thread::scope(|scope| {
        let build = scope.spawn(|| yard.run(&request).err());
        while !is_copied() && !build.is_finished() {
            std::thread::yield_now();
        }
        yard.write("src/a", "22");
        drop(held);
        build.join().unwrap()
    });
    assert_snapshot!(error.unwrap(), @"build/copy-failed Dockerfile:2:1 `src/a` changed while it was copied [build again when nothing writes there, or leave it out with .dockerignore]");
    assert!(yard.programs().is_empty(), "its program has not run");
    yard.run(&request).unwrap();
}

/// D4, F-like mounts: context, stage, cache, secret, file.
#[test]
fn mounts_of_run() {
    if !is_able() {
        return;
    }
    let yard = Yard::new();
    yard.write("src/a", "1").write("src/ignored", "2").write(".dockerignore", "**/ignored");
    let mut request = yard.request(
        "FROM scratch AS s\nRUN write /t/u tool\nFROM scratch\n\
         RUN --mount=source=src,target=/m --mount=from=s,source=/t/u,target=/u --mount=type=secret,id=k,target=/k cat /m; cat /u; cat /k\n\
         RUN --mount=type=cache,target=/c append /c one; cat /c\nRUN --mount=type=cache,target=/c append /c two; cat /c\n\
         RUN --mount=type=secret,id=k,env=KEY secret\n",
    );
    request.parallelism = 1;
    request.secrets = [("k".to_owned(), b"hush".to_vec())].into();
    let result = yard.run(&request).unwrap();
    let log = yard.programs();
    for expected in ["[\"a\"]", "tool", "hush", "[\"one\"]", "[\"one\", \"two\"]", "KEY=hush"] {
        assert!(log.iter().any(|line| line == expected), "{expected} in {log:?}");
    }
    assert_eq!(yard.files(&result), "", "mounts leave no trace");
    yard.write("src/ignored", "3");
    assert_eq!(yard.run(&request).unwrap().cached_steps, result.steps, "what is ignored is no part of the key");
    request.secrets = [("k".to_owned(), b"other".to_vec())].into();
    assert_eq!(yard.run(&request).unwrap().cached_steps, result.steps, "nor is a secret");
    yard.write("src/a", "4");
    assert!(yard.run(&request).unwrap().cached_steps < result.steps);
    let missing = yard.fail("FROM scratch\nRUN --mount=type=secret,id=none,required print x\n");
    assert_snapshot!(missing, @"build/missing-secret Dockerfile:2:1 the build was not given the secret `none` [pass it: --secret id=none,src=FILE]");
    // A cache that can't be begun is not begun.
    let from = yard.fail(
        "FROM scratch AS s\nRUN write /t tool\n\
         FROM scratch\nRUN --mount=type=cache,target=/d,from=s,source=/none print x\n",
    );
    assert!(from.starts_with("build/source-not-found"), "{from}");
    let caches = std::fs::read_dir(yard.folder.path().join("data/build/mounts")).unwrap();
    let folders = caches.flatten().filter(|entry| entry.path().is_dir()).count();
    assert_eq!(folders, 1, "of /c alone");
    let leftovers = std::fs::read_dir(yard.folder.path().join("run/build")).unwrap().count();
    assert_eq!(leftovers, 0, "nothing of a step stays on the run root");
}

/// Each says code, file, line, column and hint.
#[test]
fn mistakes() {
    if !is_able() {
        return;
    }
    let yard = Yard::new();
    yard.write("server.py", "").write(".dockerignore", "secret*").write("secret.key", "");
    assert_snapshot!(yard.fail("FROM scratch\nCOPY sever.py /\n"), @"build/source-not-found Dockerfile:2:6 `sever.py` is not in the build context [did you mean `server.py`?]");
    assert_snapshot!(yard.fail("FROM scratch\nCOPY secret.key /\n"), @"build/source-not-found Dockerfile:2:6 `secret.key` is not in the build context | .dockerignore leaves it out [add `!secret.key` to the end of .dockerignore]");
    assert_snapshot!(yard.fail("FROM scratch AS s\nFROM scratch\nCOPY --from=s /x /\n"), @"build/source-not-found Dockerfile:3:15 `x` is not in what is copied from [the path counts from the root of what --from names, and links do not lead out of it]");
    assert_snapshot!(yard.fail("FROM debain:12\n"), @"build/image-not-found Dockerfile:1:6 there is no image `debain:12` [get it first: `carrack load`, or `carrack image bootstrap debain:12`]");
    assert_snapshot!(yard.fail("FROM scratch AS build\nFROM scratch\nCOPY --from=biuld a b\n"), @"build/image-not-found Dockerfile:3:13 there is no image `biuld:latest` [did you mean the stage `build`?]");
    assert_snapshot!(yard.fail("FROM scratch\nCOPY --chown=app server.py /\n"), @"build/unknown-owner Dockerfile:2:1 cannot find the owner `app` in the image | unable to find user app: no matching entries in /etc/passwd [add the user in a RUN above, or give numbers]");
    assert_snapshot!(yard.fail("FROM scratch\nCOPY server.py /d/\nCOPY server.py /d/server.py/\n"), @"build/copy-failed Dockerfile:3:1 cannot write /d/server.py | not a directory [a file or link stands where a folder is needed: copy elsewhere, or remove it]");
    assert_snapshot!(yard.fail("FORM scratch\n"), @"dockerfile/unknown-instruction Dockerfile:1:1 `FORM` is not an instruction [did you mean FROM?]");
    let mut request = yard.request("");
    request.dockerfile = DockerfileSource::Path(yard.context().join("none"));
    assert!(yard.run(&request).unwrap_err().starts_with("build/unreadable"));
    let warned = yard.build("FROM scratch\nCOPY *.none /\n");
    assert_eq!(warned.warnings[0].code.id, "build/no-match");
}

#[test]
fn the_dockerfile_s_own_ignore_file_comes_first() {
    if !is_able() {
        return;
    }
    let yard = Yard::new();
    yard.write("a", "").write("b", "").write(".dockerignore", "a").write("Dockerfile.dockerignore", "b\nDocker*\n.d*");
    let result = yard.build("FROM scratch\nCOPY . /\n");
    assert_eq!(yard.files(&result), "644 0:0 a \"\"\n");
}

#[test]
fn a_linked_copy_lies_above_whatever_base() {
    if !is_able() {
        return;
    }
    let yard = Yard::new();
    yard.write("f", "linked");
    let one = yard.build("FROM scratch\nRUN write /base 1\nCOPY --link f /d/f\n");
    yard.programs();
    let two = yard.build("FROM scratch\nRUN write /base 2\nCOPY --link f /d/f\n");
    assert_eq!(one.image.layers[1].diff_id, two.image.layers[1].diff_id);
    assert_eq!(yard.files(&two), "644 0:0 base \"2\"\n755 0:0 d/\n644 0:0 d/f \"linked\"\n");
    assert_eq!(two.cached_steps, 1);
}

/// I-3: what a prune beside a build may not take.
#[test]
fn a_pruned_cache_is_built_again() {
    if !is_able() {
        return;
    }
    let yard = Yard::new();
    let text = "FROM scratch\nRUN write /a 1\n";
    let first = yard.build(text);
    yard.store.prune(carrack_store::Scope::Unused).unwrap();
    let again = yard.build(text);
    assert_eq!(yard.files(&first), yard.files(&again));
}

/// I-5: what a build would give is told without writing anything.
#[test]
fn a_prediction_writes_nothing() {
    if !is_able() {
        return;
    }
    let yard = Yard::new();
    yard.write("f", "1").write(".dockerignore", "Dockerfile");
    let text = "FROM scratch AS a\nRUN write /a 1\nFROM scratch\nCOPY --from=a /a /a\nCOPY --link f /f\nCOPY . /all/\nCMD [\"x\"]\n";
    let predicted = |text: &str, changing: &[&str]| {
        let store = carrack_store::Store::open_read_only(yard.store.roots().clone()).unwrap();
        let request = BuildRequest { store, ..yard.request(text) };
        let changing = changing.iter().map(|name| tag(name)).collect();
        crate::predict(&request, &changing, &mut carrack_diag::SourceMap::new())
    };
    let looking = |text: &str| match predicted(text, &[]).unwrap() {
        crate::Prediction::Image { id, .. } => id.to_string(),
        crate::Prediction::Unknown(missing) => missing.message,
    };
    assert_eq!(looking(text), "the step `[a 2/2] RUN write /a 1` is not cached");
    let built = yard.build(text);
    let files = || {
        let mut open = vec![yard.folder.path().join("data"), yard.folder.path().join("run")];
        let mut found = Vec::new();
        while let Some(folder) = open.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let entry = entry.unwrap();
                found.push((entry.path(), entry.metadata().unwrap().modified().unwrap()));
                if entry.file_type().unwrap().is_dir() {
                    open.push(entry.path());
                }
            }
        }
        found.sort();
        found
    };
    let before = files();
    assert_eq!(looking(text), built.image_id().to_string());
    assert_eq!(files(), before);
    yard.write("f", "2");
    assert_eq!(looking(text), "the step `[stage-1 3/4] COPY --link f /f` is not cached");
    yard.run(&BuildRequest { tags: vec![tag("base")], ..yard.request(text) }).unwrap();
    match predicted("FROM base\nCMD [\"y\"]\n", &["base"]).unwrap() {
        crate::Prediction::Unknown(missing) => assert_eq!(missing.message, "its base image base:latest is built first"),
        known => panic!("{known:?}"),
    }
    // A registry may have it.
    match predicted("FROM base\nCOPY --from=elsewhere /a /a\n", &[]).unwrap() {
        crate::Prediction::Unknown(missing) => {
            assert_eq!(missing.message, "there is no image `elsewhere:latest` here yet")
        }
        known => panic!("{known:?}"),
    }
    let errors = predicted("FROM base\nCOPY --from=9 /a /a\n", &["base"]).unwrap_err();
    assert!(errors.iter().any(|error| error.code.id == "build/unknown-stage"), "what fails anyway is said: {errors:?}");
}

#[test]
fn a_forgotten_cache_is_built_anew() {
    if !is_able() {
        return;
    }
    let yard = Yard::new();
    let text = "FROM scratch\nRUN write /a 1\nRUN write /b 1\n";
    yard.build(text);
    let everything = crate::PruneRequest { all: true, ..crate::PruneRequest::default() };
    assert_eq!(crate::prune_cache(&yard.store, &everything).unwrap().entries.len(), 2);
    assert_eq!(yard.build(text).cached_steps, 0);
}

/// Of many steps that are the first to use one cache, all have the same.
#[test]
fn steps_meet_in_a_new_cache() {
    if !is_able() {
        return;
    }
    const STEPS: usize = 8;
    let mut yard = Yard::new();
    yard.executor.rendezvous = Some(std::sync::Barrier::new(STEPS));
    let mut text = String::from("FROM scratch AS base\nCOPY Dockerfile /\n");
    for step in 0..STEPS {
        text += &format!(
            "FROM base AS s{step}\nRUN --mount=type=cache,target=/c meet; append /c {step}; write /{step} x\n"
        );
    }
    text += "FROM base\n";
    (0..STEPS).for_each(|step| text += &format!("COPY --from=s{step} /{step} /\n"));
    text += "RUN --mount=type=cache,target=/c cat /c\n";
    let request = BuildRequest { parallelism: STEPS, ..yard.request(&text) };
    yard.run(&request).unwrap();
    let names: Vec<String> = (0..STEPS).map(|step| step.to_string()).collect();
    assert_eq!(yard.programs().pop().unwrap(), format!("{names:?}"));
}
