//! Each class of mutation is named for what it is, and what is none is not told (D3).

use carrack_oci::Platform;

use super::fetched::{Server, git, publish};
use super::{Yard, is_able};
use crate::{BuildRequest, explain};

/// Of the steps that were not cached, without their places: `STEP: REASON; REASON`.
fn misses(steps: &[crate::StepExplanation]) -> Vec<String> {
    let missed = steps.iter().filter(|step| !step.is_cached);
    let line = |step: &crate::StepExplanation| {
        let text = step.name.split_once("] ").map_or(step.name.as_str(), |(_, text)| text);
        let reasons: Vec<String> = step.reasons.iter().map(ToString::to_string).collect();
        format!("{text}: {}", reasons.join("; "))
    };
    missed.map(line).collect()
}

fn told(yard: &Yard, request: &BuildRequest) -> Vec<String> {
    let request = BuildRequest { explain: true, ..request.clone() };
    misses(&yard.run(&request).unwrap_or_else(|errors| panic!("{errors}")).explanation)
}

/// What is foretold, and then what is told; they are the same.
fn both(yard: &Yard, request: &BuildRequest) -> Vec<String> {
    let foretold = explain(request, &mut carrack_diag::SourceMap::new()).unwrap();
    let told = told(yard, request);
    assert_eq!(misses(&foretold), told);
    told
}

fn none() -> Vec<String> {
    Vec::new()
}

/// A file that is there all the time, and is taken or not as the ignore file says.
#[test]
fn the_ignore_file_is_named() {
    if !is_able() {
        return;
    }
    let yard = Yard::new();
    let request = yard.write("src/a", "a").write("src/logs/b", "b").request("FROM scratch\nCOPY src /src\n");
    told(&yard, &request);
    yard.write(".dockerignore", "src/logs\n");
    assert_eq!(
        both(&yard, &request),
        ["COPY src /src: src/logs is left out by .dockerignore; src/logs/b is left out by .dockerignore"]
    );
    assert_eq!(both(&yard, &request), none());
    // Another ignore file, which goes before; a file that is gone is not there to be left out.
    yard.write("Dockerfile.dockerignore", "src/a\nsrc/c\n");
    assert_eq!(
        both(&yard, &request),
        [
            "COPY src /src: src/a is left out by Dockerfile.dockerignore; src/logs is no longer left out by .dockerignore; \
          src/logs/b is no longer left out by .dockerignore"
        ]
    );
    std::fs::remove_file(yard.context().join("src/logs/b")).unwrap();
    yard.write("Dockerfile.dockerignore", "").write("src/new", "new");
    assert_eq!(
        both(&yard, &request),
        ["COPY src /src: src/a is no longer left out by Dockerfile.dockerignore; src/new is new; src/logs/b is gone"]
    );
    // A context with a name has one of its own.
    let more = yard.folder.path().join("more");
    std::fs::create_dir(&more).unwrap();
    for name in ["x", "y"] {
        std::fs::write(more.join(name), name).unwrap();
    }
    let mut request = yard.request("FROM scratch\nCOPY --from=deps . /\n");
    request.contexts.insert("deps".into(), crate::NamedContext::Folder(more.clone()));
    told(&yard, &request);
    std::fs::write(more.join(".dockerignore"), "y\n.dockerignore\n").unwrap();
    assert_eq!(both(&yard, &request), ["COPY --from=deps . /: the context `deps`: y is left out by .dockerignore"]);
}

#[test]
fn what_lies_elsewhere_is_told_by_its_address() {
    if !is_able() || !crate::tests::has_git() {
        return;
    }
    let yard = Yard::new();
    let work = yard.folder.path().join("served/work");
    std::fs::create_dir_all(&work).unwrap();
    std::fs::write(work.join("../file.txt"), "one").unwrap();
    std::fs::write(work.join("top"), "top").unwrap();
    std::fs::write(work.join("same"), "same").unwrap();
    git(&work, "init --quiet");
    git(&work, "add .");
    git(&work, "commit --quiet -m first");
    publish(&work);
    let server = Server::new(&yard.folder.path().join("served"));
    let (file, repository) = (server.url("file.txt"), server.url("work.git"));
    let request = yard.request(&format!("FROM scratch\nADD {file} /\nADD {repository} /d/\n"));
    told(&yard, &request);
    assert_eq!(told(&yard, &request), none());
    std::fs::write(work.join("../file.txt"), "two").unwrap();
    let at = |lines: &[String]| lines.iter().map(|line| line.replace(&server.url(""), "URL/")).collect::<Vec<_>>();
    assert_eq!(
        at(&told(&yard, &request)),
        [
            "ADD URL/file.txt /: file.txt has another content",
            "ADD URL/work.git /d/: the step `[2/3] ADD URL/file.txt /` gives something else or has to be done first"
        ]
    );
    std::fs::write(work.join("top"), "later").unwrap();
    git(&work, "commit --quiet -a -m second");
    git(&work, "push --quiet ../work.git main");
    git(&work.join("../work.git"), "update-server-info");
    assert_eq!(at(&told(&yard, &request)), ["ADD URL/work.git /d/: top has another content"]);
    // A commit that changes nothing is no reason; a forecast cannot know that.
    git(&work, "commit --quiet --allow-empty -m third");
    git(&work, "push --quiet ../work.git main");
    git(&work.join("../work.git"), "update-server-info");
    assert_eq!(told(&yard, &request), none());
    let foretold = explain(&request, &mut carrack_diag::SourceMap::new()).unwrap();
    assert_eq!(
        at(&misses(&foretold)),
        [
            "ADD URL/file.txt /: what URL/file.txt holds is known once it is asked for",
            "ADD URL/work.git /d/: the step `[2/3] ADD URL/file.txt /` gives something else or has to be done first; what URL/work.git \
             holds is known once it is asked for"
        ]
    );
}

/// What has no part in a result is no reason, and is not told beside one.
#[test]
fn what_does_not_count_is_not_told() {
    if !is_able() {
        return;
    }
    let yard = Yard::new();
    yard.write("file", "1");
    let text =
        "FROM scratch\nCOPY file /\nRUN --mount=type=secret,id=key write /made yes\nARG LATER=1\nLABEL a=$LATER\n";
    let mut request = yard.request(text);
    request.secrets.insert("key".into(), b"first-hush".to_vec());
    told(&yard, &request);
    request.secrets.insert("key".into(), b"second-hush".to_vec());
    assert_eq!(both(&yard, &request), none());
    request.build_args.insert("LATER".into(), "2".into());
    request.build_args.insert("UNDECLARED".into(), "2".into());
    request.build_args.insert("HTTP_PROXY".into(), "http://proxy".into());
    request.labels.insert("b".into(), "c".into());
    assert_eq!(both(&yard, &request), none());
    // Files of a context belong to root, whoever has them, and times are no content.
    std::os::unix::fs::chown(yard.context().join("file"), Some(7), Some(8)).unwrap();
    let file = std::fs::File::options().write(true).open(yard.context().join("file")).unwrap();
    file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(both(&yard, &request), none());
    yard.write("file", "2");
    let told = format!("{:?}", both(&yard, &request));
    assert!(told.contains("file has another content") && !told.contains("hush") && !told.contains("LATER"), "{told}");
}

#[test]
fn owners_and_attributes_of_stages_are_told() {
    if !is_able() {
        return;
    }
    let yard = Yard::new();
    let text = "FROM scratch AS a\nARG OWNER=7\nCOPY --chown=$OWNER file /\nFROM scratch\nCOPY --from=a /file /\n";
    let mut request = yard.write("file", "1").request(text);
    told(&yard, &request);
    request.build_args.insert("OWNER".into(), "8:9".into());
    assert_eq!(
        told(&yard, &request),
        [
            "COPY --chown=$OWNER file /: its owner (--chown) is `8:9`, was `7`",
            "COPY --from=a /file /: file belongs to 8:9, did to 7:7"
        ]
    );
}

/// What was pruned in the middle is done again, and only that.
#[test]
fn a_cache_that_is_half_gone_says_which_half() {
    if !is_able() {
        return;
    }
    let yard = Yard::new();
    let request = yard.request("FROM scratch\nRUN write /a 1\nRUN write /b 2\nRUN write /c 3\n");
    told(&yard, &request);
    let records = crate::cache::records(&yard.store);
    for (key, record) in records.list().unwrap() {
        if record.name.contains("/b 2") {
            records.remove(&key).unwrap();
        }
    }
    let foretold = explain(&request, &mut carrack_diag::SourceMap::new()).unwrap();
    let gone = [
        "RUN write /b 2: its result is gone from the cache",
        "RUN write /c 3: the step `[3/4] RUN write /b 2` gives something else or has to be done first",
    ];
    assert_eq!(misses(&foretold), gone);
    assert_eq!(told(&yard, &request), gone);
    assert_eq!(told(&yard, &request), none());
    // Without the lists of files it is known all the same that they have changed.
    let request = yard.write("file", "1").request("FROM scratch\nCOPY file /\n");
    told(&yard, &request);
    std::fs::remove_dir_all(yard.store.roots().data.join("build/lists")).unwrap();
    yard.write("file", "2");
    assert_eq!(both(&yard, &request), ["COPY file /: files that it takes have changed"]);
}

/// A program's result on one platform is not that on another, also where nothing names the platform.
#[test]
fn another_platform_is_told() {
    if !is_able() {
        return;
    }
    let yard = Yard::new();
    let mut request = yard.write("file", "1").request("FROM scratch\nCOPY file /\nRUN write /made yes\n");
    request.platform = Some(Platform::host());
    told(&yard, &request);
    request.platform = Some(format!("{}/v9", Platform::host()).parse().unwrap());
    assert_eq!(
        misses(&explain(&request, &mut carrack_diag::SourceMap::new()).unwrap()),
        [format!("RUN write /made yes: its platform (--platform) is `{0}/v9`, was `{0}`", Platform::host())]
    );
}
