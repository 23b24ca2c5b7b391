use carrack_diag::{Diagnostic, SourceMap};
use carrack_oci::{Digest, ImageConfig, Platform};
use insta::assert_snapshot;
use proptest::prelude::*;

use super::*;

fn platform() -> Platform {
    "linux/amd64".parse().unwrap()
}

fn base_config() -> ImageConfig {
    let mut config = ImageConfig::scratch(&platform());
    config.rootfs.diff_ids = vec![Digest::of("base layer")];
    config.config.env = vec!["PATH=/bin".into(), "LANG=C".into()];
    config.config.cmd = Some(vec!["sh".into()]);
    config
}

fn line(diagnostic: &Diagnostic, sources: &SourceMap) -> String {
    let place = diagnostic.labels.first().map_or(String::new(), |label| {
        let position = sources.position(label.span);
        format!(" {}:{}:{}", position.path, position.line, position.column)
    });
    format!("{}{place} {} [{}]", diagnostic.code.id, diagnostic.message, diagnostic.hints.join("; "))
}

/// Lowers with every image known; errors as text.
fn lower_with(text: &str, change: impl FnOnce(&mut LowerOptions), config: &ImageConfig) -> Result<Graph, String> {
    let mut sources = SourceMap::new();
    let file = sources.add("Dockerfile", text);
    let (dockerfile, diagnostics) = carrack_dockerfile::parse(file, sources.get(file));
    assert!(!diagnostics.iter().any(Diagnostic::is_error), "{diagnostics:?}");
    let mut options = LowerOptions::new(platform());
    change(&mut options);
    loop {
        let lowered = lower(&dockerfile, &options)
            .map_err(|errors| errors.iter().map(|error| line(error, &sources)).collect::<Vec<_>>().join("\n"))?;
        match lowered {
            Lowered::Graph(graph) => return Ok(*graph),
            Lowered::Needs(needs) => options.images.extend(needs.into_iter().map(|need| ResolvedImage {
                manifest: Digest::of(need.reference.to_string()),
                reference: need.reference,
                platform: need.platform,
                config: config.clone(),
            })),
        }
    }
}

fn graph(text: &str) -> Graph {
    lower_with(text, |_| {}, &base_config()).unwrap_or_else(|errors| panic!("{errors}"))
}

fn errors(text: &str) -> String {
    lower_with(text, |_| {}, &base_config()).err().unwrap_or_default()
}

fn with_args(text: &str, arguments: &[(&str, &str)]) -> Graph {
    let change = |options: &mut LowerOptions| {
        options.build_args = arguments.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    };
    lower_with(text, change, &base_config()).unwrap_or_else(|errors| panic!("{errors}"))
}

fn names(graph: &Graph) -> Vec<&str> {
    graph.vertices.iter().map(|vertex| vertex.name.as_str()).collect()
}

fn execs(graph: &Graph) -> Vec<&Exec> {
    let execs = graph.vertices.iter().filter_map(|vertex| match &vertex.op {
        Op::Exec(exec) => Some(&**exec),
        _ => None,
    });
    execs.collect()
}

fn copies(graph: &Graph) -> Vec<&CopyAction> {
    let actions = graph.vertices.iter().filter_map(|vertex| match &vertex.op {
        Op::File(actions) => Some(actions),
        _ => None,
    });
    let copies = actions.flatten().filter_map(|action| match action {
        Action::Copy(copy) => Some(copy),
        _ => None,
    });
    copies.collect()
}

/// D2: what the target does not need is not in the graph.
#[test]
fn unneeded_stages_are_left_out() {
    let text = "FROM a AS base\nRUN one\nFROM base AS unused\nRUN two\nFROM scratch AS out\nCOPY --from=base /x /y\n";
    let graph = graph(text);
    assert_eq!(
        names(&graph),
        ["FROM a:latest", "[base 2/2] RUN one", "FROM scratch", "[out 2/2] COPY --from=base /x /y"]
    );
    let target = lower_with(text, |options| options.target = Some("unused".into()), &base_config()).unwrap();
    assert_eq!(names(&target), ["FROM a:latest", "[base 2/2] RUN one", "[unused 2/2] RUN two"]);
    let by_number = lower_with(text, |options| options.target = Some("0".into()), &base_config()).unwrap();
    assert_eq!(by_number.vertices.len(), 2);
}

#[test]
fn images_are_asked_for_once_and_only_where_needed() {
    let mut sources = SourceMap::new();
    let file = sources.add(
        "Dockerfile",
        "ARG V=3\nFROM base:$V AS a\nFROM never\nFROM --platform=linux/arm64 base:3\nCOPY --from=tool /t /t\nRUN --mount=from=tool,target=/m x\nCOPY --from=a / /\n",
    );
    let (dockerfile, _) = carrack_dockerfile::parse(file, sources.get(file));
    let Ok(Lowered::Needs(needs)) = lower(&dockerfile, &LowerOptions::new(platform())) else { panic!() };
    let mut needs: Vec<_> =
        needs.iter().map(|need| format!("{} {}", need.reference.familiar(), need.platform)).collect();
    needs.sort();
    assert_eq!(needs, ["base:3 linux/amd64", "base:3 linux/arm64", "tool:latest linux/amd64"]);
}

/// D1: scopes of ARG and ENV.
#[test]
fn arguments_and_environment() {
    let text = "ARG G=global\nFROM a\nARG G\nARG D=$G-x\nARG E=hidden\nENV E=\"$D y\" F=$E\nRUN r\nWORKDIR /w/$D\nWORKDIR sub\nUSER ${NOBODY:-app}\n";
    let plain = graph(text);
    let exec = execs(&plain)[0];
    assert_eq!(exec.environment, ["PATH=/bin", "LANG=C", "E=global-x y", "F=hidden", "G=global", "D=global-x"]);
    assert_eq!(plain.config.config.env, ["PATH=/bin", "LANG=C", "E=global-x y", "F=hidden"]);
    assert_eq!(plain.config.config.working_dir, "/w/global-x/sub");
    assert_eq!(plain.config.config.user, "app");
    assert_eq!(execs(&with_args(text, &[("G", "given")]))[0].environment[2], "E=given-x y");
    let no_scope = graph("ARG G=global\nFROM a\nRUN r\n");
    assert_eq!(execs(&no_scope)[0].environment, ["PATH=/bin", "LANG=C"], "an ARG before FROM is not in the stage");
    let inherited = graph("FROM a AS x\nARG V=1\nFROM x\nRUN r\n");
    assert_eq!(execs(&inherited)[0].environment, ["PATH=/bin", "LANG=C", "V=1"]);
    let platform = graph("FROM a\nARG TARGETARCH\nARG BUILDPLATFORM\nRUN r\n");
    assert_eq!(execs(&platform)[0].environment[2..], ["TARGETARCH=amd64", "BUILDPLATFORM=linux/amd64"]);
}

/// D1: of an ENV and an ARG of one name the later one counts, and an ARG without a value takes none away, as BuildKit does
/// it whatever the reference says.
#[test]
fn the_later_of_env_and_arg_counts() {
    let plain = graph(
        "FROM a\nARG A=1\nARG A\nENV E=env\nARG E\nRUN one\nARG E=arg\nLABEL e=$E\nRUN two\nENV E=last\nRUN three\n",
    );
    let seen: Vec<_> = execs(&plain).into_iter().map(|exec| exec.environment[2..].join(" ")).collect();
    assert_eq!(seen, ["E=env A=1", "A=1 E=arg", "E=last A=1"]);
    assert_eq!(plain.config.config.env[2..], ["E=last"]);
    assert_eq!(plain.config.config.labels["e"], "arg");
    let history: Vec<_> = plain.history.iter().filter_map(|step| step.entry.created_by.clone()).collect();
    assert!(history.iter().any(|text| text.starts_with("RUN |2 A=1 E=arg ")), "{history:?}");
    let several = graph("FROM a\nARG A=1 B=$A C\n");
    assert_eq!(several.history.last().unwrap().entry.created_by.as_deref(), Some("ARG A=1 B=1 C"));
}

/// D4: what belongs to a key and what does not.
#[test]
fn keys_follow_what_a_step_can_see() {
    let key = |graph: &Graph| {
        let exec = graph.vertices.iter().find(|vertex| matches!(vertex.op, Op::Exec(_))).unwrap();
        cache_key(&exec.op, &[])
    };
    let text = "FROM a\nRUN r\nARG V=1\n";
    assert_eq!(key(&graph(text)), key(&with_args(text, &[("V", "2")])), "declared after the step");
    let text = "FROM a\nARG V=1\nRUN r\n";
    assert_ne!(key(&graph(text)), key(&with_args(text, &[("V", "2")])), "declared before the step");
    let proxy = [("HTTP_PROXY", "http://p")];
    let with_proxy = with_args("FROM a\nRUN r\n", &proxy);
    assert_eq!(key(&graph("FROM a\nRUN r\n")), key(&with_proxy), "proxies are no part of it");
    assert_eq!(execs(&with_proxy)[0].proxy_environment, ["HTTP_PROXY=http://p"]);
    assert!(with_proxy.warnings.is_empty());
    let declared = "FROM a\nARG HTTP_PROXY\nRUN r\n";
    assert_ne!(key(&graph(declared)), key(&with_args(declared, &proxy)), "unless they are declared");
    assert_ne!(key(&graph("FROM a\nRUN r\n")), key(&graph("FROM a\nUSER 1\nRUN r\n")));
    assert_eq!(key(&graph("FROM a\nRUN r\n")), key(&graph("FROM a\nLABEL x=y\n\n\nRUN   r\n")));
    let op = Op::Merge;
    assert_ne!(
        cache_key(&op, &[Digest::of("a"), Digest::of("b")]),
        cache_key(&op, &[Digest::of("b"), Digest::of("a")])
    );
}

/// D1: what the image says of itself.
#[test]
fn configuration_and_history() {
    let mut config = base_config();
    config.history = vec![carrack_oci::History { created_by: Some("base".into()), ..Default::default() }];
    let graph = lower_with(
        "FROM a\nARG V=1\nLABEL a=b \"c d\"='e f'\nEXPOSE 80 8000-8001/udp\nVOLUME /v [\"x\"]\nVOLUME [\"/j k\"]\n\
         HEALTHCHECK --interval=30s --retries=3 CMD curl -f x\nSTOPSIGNAL SIGQUIT\nSHELL [\"/bin/bash\", \"-c\"]\nRUN make all\n\
         ENTRYPOINT [\"/app\"]\nONBUILD RUN x\nCOPY --chown=1:2 a b c/\nCMD go on\nUSER 1000\n",
        |_| {},
        &config,
    )
    .unwrap();
    let steps = graph.history.iter().map(|step| {
        format!(
            "{} {}",
            if step.vertex.is_some() { "+" } else { " " },
            step.entry.created_by.as_deref().unwrap_or_default()
        )
    });
    assert_snapshot!(steps.collect::<Vec<_>>().join("\n"), @r#"
      base
      ARG V=1
      LABEL a=b c d=e f
      EXPOSE [80/tcp 8000/udp 8001/udp]
      VOLUME [/v [x]]
      VOLUME [/j k]
      HEALTHCHECK &{["CMD-SHELL" "curl -f x"] "30s" "0s" "0s" "0s" '\x03'}
      STOPSIGNAL SIGQUIT
      SHELL [/bin/bash -c]
    + RUN |1 V=1 /bin/bash -c make all # buildkit
      ENTRYPOINT ["/app"]
    + COPY --chown=1:2 a b c/ # buildkit
      CMD ["/bin/bash" "-c" "go on"]
      USER 1000
    "#);
    let config = graph.config.config;
    assert_eq!(config.entrypoint.unwrap(), ["/app"]);
    assert_eq!(config.cmd.unwrap(), ["/bin/bash", "-c", "go on"]);
    assert_eq!(config.exposed_ports.keys().collect::<Vec<_>>(), ["80/tcp", "8000/udp", "8001/udp"]);
    assert_eq!(config.labels["c d"], "e f");
    assert_eq!(config.on_build, ["RUN x"]);
    assert_eq!(config.stop_signal.unwrap(), "SIGQUIT");
    assert_eq!(config.healthcheck.unwrap().interval, 30_000_000_000);
}

#[test]
fn entrypoint_drops_the_cmd_of_the_base_only() {
    assert_eq!(graph("FROM a\n").config.config.cmd.unwrap(), ["sh"]);
    assert_eq!(graph("FROM a\nENTRYPOINT [\"x\"]\n").config.config.cmd, None);
    assert!(graph("FROM a\nCMD [\"y\"]\nENTRYPOINT [\"x\"]\n").config.config.cmd.is_some());
    assert_eq!(graph("FROM a\nCMD []\n").config.config.cmd.unwrap(), Vec::<String>::new());
}

/// The network with what listens on the host's loopback is given to those only that the caller trusts, as in BuildKit.
#[test]
fn the_hosts_network_is_asked_for() {
    let text = "FROM a\nRUN --network=host x\n";
    assert_snapshot!(errors(text), @"build/not-allowed Dockerfile:2:15 RUN --network=host is not allowed to this build [build with --allow network.host if you trust the Dockerfile]");
    assert!(lower_with(text, |options| options.allows_host_network = true, &base_config()).is_ok());
    assert_eq!(graph("FROM a\n").config.config.working_dir, "", "as the base has it");
}

/// D9: a final stage from nothing.
#[test]
fn scratch_has_a_path_and_a_root() {
    let graph = graph("FROM scratch\nCOPY a /\n");
    assert_eq!(graph.config.config.working_dir, "/");
    assert!(graph.config.config.env[0].starts_with("PATH=/usr/local/sbin:"));
    assert!(graph.uses_context());
}

#[test]
fn triggers_of_the_base_run_first() {
    let mut config = base_config();
    config.config.on_build = vec!["COPY . /app".into(), "RUN <<E\nmake\nE".into(), "ENV A=b".into()];
    let graph = lower_with("FROM a\nRUN echo $A\n", |_| {}, &config).unwrap();
    assert_eq!(
        names(&graph),
        ["FROM a:latest", "[internal] build context", "[2/4] COPY . /app", "[3/4] RUN <<E", "[4/4] RUN echo $A"]
    );
    assert_eq!(execs(&graph)[0].arguments, ["/bin/sh", "-c", "make\n"]);
    assert!(graph.config.config.on_build.is_empty(), "triggers run once");
    config.config.on_build = vec!["COPY --from=tools /t /t".into()];
    let late = lower_with("FROM scratch AS tools\nCOPY t /t\nFROM a\n", |_| {}, &config).unwrap();
    assert_eq!(copies(&late).len(), 2, "a stage that only a trigger names is built");
    config.config.on_build = vec!["FROM b".into()];
    assert!(lower_with("FROM a\n", |_| {}, &config).unwrap_err().starts_with("build/invalid-trigger Dockerfile:1:6"));
}

#[test]
fn copy_paths_and_flags() {
    let graph = graph(
        "FROM a\nWORKDIR /w\nCOPY ../../x/./y dst\nCOPY a b sub/\nCOPY --chown=app --chmod=755 --exclude=*.md . .\nADD a.tar /\nCOPY --parents a/./b/c /d/\n",
    );
    let shown: Vec<_> = copies(&graph)
        .iter()
        .map(|copy| format!("{} -> {} {:?} {:?} {}", copy.source, copy.destination, copy.owner, copy.mode, copy.unpack))
        .collect();
    assert_snapshot!(shown.join("\n"), @r#"
    /x/y -> /w/dst None None false
    /a -> /w/sub/ None None false
    /b -> /w/sub/ None None false
    / -> /w/ Some("app") Some(Octal(493)) false
    /a.tar -> / None None true
    /a/./b/c -> /d/ None None false
    "#);
}

#[test]
fn a_linked_copy_is_made_on_nothing() {
    let graph = graph("FROM a\nRUN x\nCOPY --link a /b\nRUN y\n");
    let merge = graph.vertices.iter().position(|vertex| vertex.op == Op::Merge).unwrap();
    let inputs: Vec<_> = graph.vertices[merge].inputs.iter().map(|edge| graph.vertex(edge.vertex)).collect();
    assert!(matches!(inputs[0].op, Op::Exec(_)));
    assert_eq!(graph.vertex(inputs[1].inputs[0].vertex).op, Op::Source(Source::Scratch));
}

#[test]
fn heredocs_in_run_and_copy() {
    let graph = graph(
        "FROM a\nENV V=v\nRUN <<EOF\necho $V\nEOF\nRUN <<EOF\n#!/usr/bin/python3\nprint(1)\nEOF\nRUN python3 <<EOF\nx\nEOF\nCOPY <<A <<\"B\" /d/\n$V \"q\"\nA\n$V\nB\n",
    );
    let execs = execs(&graph);
    assert_eq!(execs[0].arguments, ["/bin/sh", "-c", "echo $V\n"]);
    assert_eq!(execs[1].arguments, ["/dev/pipes/EOF"]);
    assert!(
        matches!(&execs[1].mounts[0].kind, MountKind::File { content, mode: 0o755 } if content.ends_with("print(1)\n"))
    );
    assert_eq!(execs[2].arguments, ["/bin/sh", "-c", "python3 <<EOF\nx\nEOF"]);
    let Op::File(actions) = &graph.vertex(graph.output).op else { panic!() };
    let contents: Vec<_> = actions
        .iter()
        .map(|action| match action {
            Action::MakeFile(file) => (file.name.as_str(), file.content.as_str()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(contents, [("A", "v \"q\"\n"), ("B", "$V\n")]);
}

#[test]
fn mounts_of_run() {
    let graph = graph(
        "FROM scratch AS s\nCOPY x /\nFROM a\nWORKDIR /w\nARG C=cache\nRUN --mount=target=. --mount=type=bind,from=s,source=/x,target=/x,rw \
         --mount=type=cache,target=/root/.$C,uid=5 --mount=type=tmpfs,target=/t,size=64m \
         --mount=type=secret,id=key --mount=type=secret,id=tok,env=TOK make\n",
    );
    let exec = execs(&graph)[0];
    assert_snapshot!(serde_json::to_string(&exec.mounts).unwrap(), @r#"[{"target":"/w","kind":{"Bind":{"input":1,"source":"/","writable":false}}},{"target":"/x","kind":{"Bind":{"input":2,"source":"/x","writable":true}}},{"target":"/root/.cache","kind":{"Cache":{"id":"/root/.cache","sharing":"shared","from":null,"read_only":false,"mode":493,"uid":5,"gid":0}}},{"target":"/t","kind":{"Tmpfs":{"size_bytes":67108864}}},{"target":"/run/secrets/key","kind":{"Secret":{"id":"key","environment":null,"required":false,"mode":256,"uid":0,"gid":0}}},{"target":null,"kind":{"Secret":{"id":"tok","environment":"TOK","required":false,"mode":256,"uid":0,"gid":0}}}]"#);
}

/// Each says code, file, line, column and hint.
#[test]
fn mistakes() {
    assert_snapshot!(errors("FROM a AS build\nFROM b\nCOPY --from=3 x y\n"), @"build/unknown-stage Dockerfile:3:13 there is no stage 3 before this one [stages are counted from 0; 1 stand before this one]");
    assert_snapshot!(errors("FROM a\nCOPY --from=later x y\nFROM b AS later\nCOPY --from=0 x y\n"), @"build/unknown-stage Dockerfile:2:13 the stage `later` does not stand before this one [move the stage up: a stage can only use those above it]");
    assert_snapshot!(errors("FROM a\nCOPY --from=Bad:: x y\n").lines().count(), @"1");
    assert_snapshot!(errors("ARG B\nFROM $B\n"), @"build/empty-base Dockerfile:2:6 the base image's name is empty [give the ARG before the first FROM a default, or pass --build-arg]");
    assert_snapshot!(errors("FROM a\nENV A=${B:?needed}\n"), @"build/invalid-variable Dockerfile:2:7 a word cannot be expanded [close the quote or brace, escape a literal `$`, or pass the variable with --build-arg]");
    assert_snapshot!(errors("FROM a\nENV P=x\nEXPOSE $P\n"), @"build/invalid-value Dockerfile:3:8 EXPOSE cannot read `x` [write PORT[-PORT][/PROTOCOL]]");
    assert_snapshot!(errors("FROM a\nSTOPSIGNAL SIGNOPE\n"), @"build/invalid-value Dockerfile:2:12 `SIGNOPE` is not a signal [write a name such as SIGQUIT, or a number from 1 to 64]");
    assert_snapshot!(errors("FROM a\nCOPY --chmod=9 a b\n"), @"build/invalid-value Dockerfile:2:14 --chmod cannot be `9` [write for example --chmod=0755 or --chmod=u=rwX,go=rX]");
    assert_snapshot!(errors("FROM a\nCOPY --chmod=u+q a b\n"), @"build/invalid-value Dockerfile:2:14 --chmod cannot be `u+q` [write for example --chmod=0755 or --chmod=u=rwX,go=rX]");
    assert_snapshot!(errors("FROM a\nCOPY --link --chown=app a b\n"), @"build/named-owner-with-link Dockerfile:2:21 an owner's name cannot be looked up with --link [give numbers, for example --chown=1000:1000]");
    assert_snapshot!(errors("FROM a\nADD --checksum=md5:1 https://x/y /z\n"), @"build/invalid-value Dockerfile:2:16 --checksum cannot be `md5:1` [write --checksum=sha256: and 64 hexadecimal digits]");
    assert_snapshot!(errors("FROM a\nADD --checksum=sha256:1 y /z\n"), @"build/invalid-value Dockerfile:2:16 --checksum cannot be `sha256:1` [write --checksum=sha256: and 64 hexadecimal digits]");
    assert_snapshot!(errors("FROM a\nADD --checksum=nope https://x/y.git /z\n"), @"build/invalid-value Dockerfile:2:16 --checksum cannot be `nope` [of a repository it is a commit's digits, given once]");
    assert_snapshot!(errors("FROM a\nADD --keep-git-dir y /z\n"), @"build/invalid-value Dockerfile:2:20 --keep-git-dir is for git repositories [leave the flag away]");
    assert_snapshot!(errors("FROM a\nADD https://x/y.git#main:../.. /z\n"), @"build/invalid-value Dockerfile:2:5 `https://x/y.git#main:../..` cannot be used [its folder `../..` leads out of the repository]");
    assert_snapshot!(errors("FROM a\nADD https://x/y.git?branch=a&tag=b /z\n"), @"build/invalid-value Dockerfile:2:5 `https://x/y.git?branch=a&tag=b` cannot be used [it names more than one of ref, branch and tag]");
    assert_snapshot!(errors("FROM a\nADD git@x:y#--upload-pack=z /z\n"), @"build/invalid-value Dockerfile:2:5 `git@x:y#--upload-pack=z` cannot be used [`--upload-pack=z` begins with a hyphen]");
    assert_snapshot!(errors("FROM a\nRUN --security=insecure x\n"), @"build/not-allowed Dockerfile:2:16 RUN --security=insecure is not allowed to this build [build with --allow security.insecure if you trust the Dockerfile]");
    assert_snapshot!(errors("FROM a\nRUN --device=vendor.com/gpu x\n"), @"build/not-allowed Dockerfile:2:14 a build step gets no device of the host [run the step in a container that has the device: `carrack run --device`]");
    assert_snapshot!(errors("FROM a\nRUN --mount=type=tmpfs,target=/ x\n"), @"build/invalid-value Dockerfile:2:13 a mount cannot cover the root [mount it at a folder of its own]");
    assert_snapshot!(errors("# syntax=earthly/dockerfile:1\nFROM a\n"), @"build/foreign-syntax Dockerfile:1:10 `earthly/dockerfile:1` is not the Dockerfile frontend [remove the line if the file is a plain Dockerfile]");
    assert_snapshot!(errors("FROM --platform=$NOPE/ a\n").lines().next().unwrap_or_default(), @"oci/invalid-platform Dockerfile:1:17 `/` is not a platform [write OS/ARCHITECTURE[/VARIANT], for example linux/amd64]");
    let target = lower_with("FROM a AS prod\n", |options| options.target = Some("porod".into()), &base_config());
    assert_snapshot!(target.unwrap_err(), @"build/unknown-stage Dockerfile:1:1 the target `porod` is not a stage of the Dockerfile [did you mean `prod`?]");
    let unused = with_args("FROM a\nARG VERSION\n", &[("VERSOIN", "1")]);
    assert_eq!(
        line(&unused.warnings[0], &SourceMap::new()),
        "build/unused-argument the build argument `VERSOIN` is not used [did you mean `VERSION`?]"
    );
}

/// D1: what an address after ADD means.
#[test]
fn addresses() {
    let source = |text: &str| match &graph(&format!("FROM scratch\nADD {text} /x/\n")).vertices[1].op {
        Op::Source(source) => serde_json::to_string(source).unwrap(),
        other => panic!("{other:?}"),
    };
    assert_snapshot!(source("https://h/a/b%20c.tar?v=1"), @r#"{"Http":{"url":"https://h/a/b%20c.tar?v=1","name":"b c.tar","checksum":null}}"#);
    assert_snapshot!(source("http://h"), @r#"{"Http":{"url":"http://h","name":"__unnamed__","checksum":null}}"#);
    assert_snapshot!(source("http://h/%2e%2e"), @r#"{"Http":{"url":"http://h/%2e%2e","name":"%2e%2e","checksum":null}}"#);
    assert_snapshot!(source("--keep-git-dir https://h/a/b.git#v1:c/d/"), @r#"{"Git":{"repository":"https://h/a/b.git","reference":"v1","folder":"c/d","checksum":null,"keep_git_folder":true,"submodules":true}}"#);
    assert_snapshot!(source("--checksum=0123abc git@h:a/b.git"), @r#"{"Git":{"repository":"git@h:a/b.git","reference":null,"folder":null,"checksum":"0123abc","keep_git_folder":false,"submodules":true}}"#);
    assert_snapshot!(source("https://h/b.git?branch=x&subdir=y&submodules=0"), @r#"{"Git":{"repository":"https://h/b.git","reference":"refs/heads/x","folder":"y","checksum":null,"keep_git_folder":false,"submodules":false}}"#);
    assert_eq!(source("./https://h/b.git"), r#"{"Context":null}"#);
    assert_eq!(source("user@host"), r#"{"Context":null}"#);
}

/// D9: a named context comes before stages and images, whatever form the name has.
/// Neither logs nor images tell the password of an address.
#[test]
fn passwords_of_addresses_are_not_shown() {
    let graph =
        graph("FROM scratch\nARG WORD=secret\nADD https://me:$WORD@example.com/a?b@c https://me@example.com/b /x/\n");
    let names = names(&graph);
    assert!(names.contains(&"[fetch] https://xxxxx:xxxxx@example.com/a?b@c"), "{names:?}");
    assert!(names.contains(&"[fetch] https://me@example.com/b"), "{names:?}");
    let history: Vec<_> = graph.history.iter().filter_map(|step| step.entry.created_by.as_deref()).collect();
    let copied = history.iter().find(|text| text.starts_with("ADD")).unwrap();
    assert!(!copied.contains("secret") && copied.contains("https://xxxxx:xxxxx@example.com/a"), "{copied}");
}

/// Values that every step and stage has again are refused before they fill the machine.
#[test]
fn files_that_become_too_large() {
    let long = "x".repeat(900_000);
    let stages: String = (0..500).map(|number| format!("FROM s{number} AS s{}\n", number + 1)).collect();
    for text in
        [format!("FROM a\nENV a={long}\n{}", "RUN true\n".repeat(500)), format!("FROM a AS s0\nENV a={long}\n{stages}")]
    {
        let errors = errors(&text);
        assert!(errors.starts_with("build/too-large") && errors.lines().count() == 1, "{errors}");
    }
    let usual = format!("FROM a\nENV A={}\n{}", "x".repeat(4_000), "RUN true\n".repeat(5_000));
    assert_eq!(execs(&graph(&usual)).len(), 5_000);
}

#[test]
fn named_contexts() {
    let lowered = |text: &str| {
        let change = |options: &mut LowerOptions| {
            options.contexts.insert("files".into(), NamedContext::Folder);
            options.contexts.insert("alpine".into(), NamedContext::Image("other:1".parse().unwrap()));
        };
        let graph = lower_with(text, change, &base_config()).unwrap_or_else(|errors| panic!("{errors}"));
        graph.vertices.iter().map(|vertex| vertex.name.clone()).collect::<Vec<_>>().join(", ")
    };
    assert_snapshot!(lowered("FROM a\nCOPY --from=Files x y\nRUN --mount=from=files,target=/m z\n"), @"FROM a:latest, [context files], [2/3] COPY --from=Files x y, [3/3] RUN --mount=from=files,target=/m z");
    assert_snapshot!(lowered("FROM scratch AS files\nFROM files\nCOPY --from=docker.io/library/alpine x y\n"), @"[context files], scratch, FROM files, FROM alpine:latest, [stage-1 2/2] COPY --from=docker.io/library/alpine x y");
    assert_snapshot!(lowered("FROM alpine AS b\nFROM b\n"), @"FROM other:1");
}

#[test]
fn agents_have_sockets() {
    let graph = graph("FROM a\nRUN --mount=type=ssh --mount=type=ssh,id=x,target=/s,required,uid=5 y\n");
    let exec = execs(&graph)[0];
    assert_snapshot!(serde_json::to_string(&exec.mounts).unwrap(), @r#"[{"target":"/run/buildkit/ssh_agent.0","kind":{"Ssh":{"id":"default","required":false,"mode":384,"uid":0,"gid":0}}},{"target":"/s","kind":{"Ssh":{"id":"x","required":true,"mode":384,"uid":5,"gid":0}}}]"#);
    assert_eq!(exec.environment.last().unwrap(), "SSH_AUTH_SOCK=/s");
}

#[test]
fn syntax_lines_of_the_usual_frontend_are_fine() {
    for syntax in [
        "docker/dockerfile:1",
        "docker/dockerfile:1.7-labs",
        "mirror:5000/docker/dockerfile",
        "docker.io/docker/dockerfile@sha256:x",
    ] {
        assert_eq!(errors(&format!("# syntax={syntax}\nFROM a\n")), "", "{syntax}");
    }
}

#[test]
fn modes() {
    for (text, before, is_folder, after) in [
        ("755", 0o600, false, 0o755),
        ("0640", 0o777, true, 0o640),
        ("u+x", 0o644, false, 0o744),
        ("a=r", 0o755, false, 0o444),
        ("go-rwx", 0o777, true, 0o700),
        ("u=rwX,go=rX", 0o640, false, 0o644),
        ("u=rwX,go=rX", 0o600, true, 0o755),
        ("u=rwX,go=rX", 0o100, false, 0o755),
        ("g=u", 0o640, false, 0o660),
        ("+w", 0o444, false, 0o666),
        ("u=rw+x", 0o000, false, 0o700),
        ("+t,u+s", 0o755, true, 0o5755),
        ("a=", 0o777, false, 0),
    ] {
        assert_eq!(FileMode::parse(text).unwrap().apply(before, is_folder), after, "{text} of {before:o}");
    }
    for text in ["", "8", "10000", "x", "u", "u+z", "q+x", "u+x,", "+ug"] {
        assert_eq!(FileMode::parse(text), None, "{text}");
    }
}

#[test]
fn codes_are_unique() {
    let mut ids: Vec<_> = codes::ALL.iter().map(|code| code.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), codes::ALL.len());
}

proptest! {
    #[test]
    fn any_mode_is_read_or_refused(text in "[ugoa+=,rwxXst0-9-]{0,12}", mode in any::<u32>()) {
        if let Some(read) = FileMode::parse(&text) {
            prop_assert!(read.apply(mode, false) <= 0o7777);
        }
    }

    #[test]
    fn any_file_is_lowered_or_refused(parts in proptest::collection::vec(prop_oneof![
        Just("FROM a\n"), Just("FROM scratch AS s\n"), Just("FROM s\n"), Just("FROM ${X:-a} AS t\n"), Just("COPY --from=s a b\n"),
        Just("COPY --from=t --link a b\n"), Just("COPY . .\n"), Just("RUN --mount=from=s,target=/x y\n"), Just("ARG X=$Y\n"),
        Just("ENV X=${X}x\n"), Just("WORKDIR ../$X\n"), Just("USER $X\n"), Just("EXPOSE $X\n"), Just("ONBUILD COPY --from=s a b\n"),
        Just("RUN <<E\n#!x\nE\n"), Just("COPY <<E /\n$X\nE\n"), Just("CMD x\n"), Just("VOLUME $X\n"),
    ], 0..20), target in proptest::option::of("[st0-9]")) {
        let text = format!("FROM a\n{}", parts.concat());
        let mut sources = SourceMap::new();
        let file = sources.add("Dockerfile", text);
        let (dockerfile, diagnostics) = carrack_dockerfile::parse(file, sources.get(file));
        prop_assume!(!diagnostics.iter().any(Diagnostic::is_error));
        let mut options = LowerOptions { target, ..LowerOptions::new(platform()) };
        for _ in 0..4 {
            match lower(&dockerfile, &options) {
                Err(errors) => { prop_assert!(errors.iter().any(Diagnostic::is_error)); break }
                Ok(Lowered::Graph(graph)) => {
                    for (index, vertex) in graph.vertices.iter().enumerate() {
                        prop_assert!(vertex.inputs.iter().all(|edge| edge.vertex.0 < index));
                    }
                    prop_assert!(graph.output.0 < graph.vertices.len());
                    break;
                }
                Ok(Lowered::Needs(needs)) => {
                    prop_assert!(!needs.is_empty());
                    options.images.extend(needs.into_iter().map(|need| ResolvedImage {
                        manifest: Digest::of("m"), reference: need.reference, platform: need.platform, config: base_config(),
                    }));
                }
            }
        }
    }
}

/// What the checks find, as `Name line:column`; the message of a single one.
fn findings_with(text: &str, change: impl FnOnce(&mut LowerOptions), ignore: &str) -> String {
    let mut sources = SourceMap::new();
    let file = sources.add("Dockerfile", text);
    let (dockerfile, problems) = carrack_dockerfile::parse(file, sources.get(file));
    assert!(!problems.iter().any(Diagnostic::is_error), "{problems:?}");
    let mut options = LowerOptions::new(platform());
    options.images.push(ResolvedImage {
        reference: "a".parse().unwrap(),
        platform: platform(),
        manifest: Digest::of("a"),
        config: base_config(),
    });
    change(&mut options);
    let ignore = carrack_dockerfile::IgnoreFile::from_patterns(ignore.lines()).unwrap();
    let input =
        CheckInput { dockerfile: &dockerfile, source: sources.get(file), options: &options, ignore: Some(&ignore) };
    let found = check(&input);
    assert!(found.iter().all(is_finding));
    let line = |finding: &Diagnostic| {
        let position = sources.position(finding.labels[0].span);
        let severity = if finding.is_error() { "error " } else { "" };
        format!("{severity}{}:{} {}", position.line, position.column, finding.message)
    };
    found.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn findings(text: &str) -> String {
    findings_with(text, |_| {}, "ignored\n")
}

/// D1: every check of the reference, by its name, with the place.
#[test]
fn checks() {
    assert_snapshot!(findings("FROM a AS Builder\n"), @"1:11 StageNameCasing: Stage name 'Builder' should be lowercase");
    assert_snapshot!(findings("FROM a as b\nFROM a AS c\nfrom a as d\n"), @r#"
    1:1 FromAsCasing: 'as' and 'FROM' keywords' casing do not match
    3:1 ConsistentInstructionCasing: Command 'from' should match the case of the command majority (uppercase)
    "#);
    assert_snapshot!(findings("FROM a\nRUN x \\\n\n  y\n"), @"3:1 NoEmptyContinuation: Empty continuation line found");
    assert_snapshot!(findings("From a\nrun x\nEntRYpOiNT [\"x\"]\n"), @r#"
    1:1 ConsistentInstructionCasing: Command 'From' should match the case of the command majority (lowercase)
    3:1 ConsistentInstructionCasing: Command 'EntRYpOiNT' should match the case of the command majority (lowercase)
    "#);
    assert_snapshot!(findings("FROM a AS b\nFROM a AS b\nFROM a AS scratch\n"), @r#"
    2:11 DuplicateStageName: Duplicate stage name 'b', stage names should be unique
    3:11 ReservedStageName: 'scratch' is reserved and should not be used as a stage name
    "#);
    assert_snapshot!(findings("FROM a\nCMD x\nENTRYPOINT y\n"), @r#"
    2:1 JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended behavior related to OS signals
    3:1 JSONArgsRecommended: JSON arguments recommended for ENTRYPOINT to prevent unintended behavior related to OS signals
    "#);
    assert_snapshot!(findings("FROM a\nSHELL [\"sh\"]\nCMD x\nHEALTHCHECK CMD x\n"), @"");
    assert_snapshot!(findings("FROM a\nMAINTAINER x\n"), @"2:1 MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label");
    assert_snapshot!(findings("ARG TAG=1\nFROM a:${TAG}${VARIANT}\nFROM --platform=$BUILDPLATFROM a\n"), @r#"
    2:6 UndefinedArgInFrom: FROM argument 'VARIANT' is not declared
    3:17 UndefinedArgInFrom: FROM argument 'BUILDPLATFROM' is not declared (did you mean BUILDPLATFORM?)
    "#);
    assert_snapshot!(findings("FROM a AS x\nWORKDIR rel\nWORKDIR /abs\nWORKDIR rel\nFROM x\nWORKDIR more\n"), @r#"2:9 WorkdirRelativePath: Relative workdir "rel" can have unexpected results if the base image changes"#);
    assert_snapshot!(findings("FROM a\nENV PATH=$PAHT:/x\nARG v=${w:-1}\nCOPY $v $foo\nRUN $bar\nENV z=$LANG\n"), @r#"
    2:10 UndefinedVar: Usage of undefined variable '$PAHT' (did you mean $PATH?)
    4:9 UndefinedVar: Usage of undefined variable '$foo'
    "#);
    assert_snapshot!(findings("FROM unknown\nENV PATH=$PAHT:/x\n"), @"");
    assert_snapshot!(findings("FROM a\nENTRYPOINT [\"x\"]\nENTRYPOINT [\"y\"]\nFROM a\nENTRYPOINT [\"z\"]\n"), @"2:1 MultipleInstructionsDisallowed: Multiple ENTRYPOINT instructions should not be used in the same stage because only the last one will be used");
    assert_snapshot!(findings("FROM a\nENV k v w\nLABEL k v\n"), @r#"
    2:5 LegacyKeyValueFormat: "ENV key=value" should be used instead of legacy "ENV key value" format
    3:7 LegacyKeyValueFormat: "LABEL key=value" should be used instead of legacy "LABEL key value" format
    "#);
    assert_snapshot!(findings("FROM --platform=$TARGETPLATFORM a\nFROM --platform=linux/amd64 a\nFROM --platform=linux/amd64 a AS x_amd64\n"), @r#"
    1:17 RedundantTargetPlatform: Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior
    2:17 FromPlatformFlagConstDisallowed: FROM --platform flag should not use constant value "linux/amd64"
    "#);
    assert_snapshot!(findings("FROM a\nARG AWS_SECRET_ACCESS_KEY\nENV TOKEN=x PUBLIC_KEY=y KEYBOARD=z\n"), @r#"
    2:5 SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data (ARG "AWS_SECRET_ACCESS_KEY")
    3:5 SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data (ENV "TOKEN")
    "#);
    assert_snapshot!(findings("ARG T\nARG N\nFROM a:${T}\nFROM ${N}\nFROM a:${T:-1}\n"), @r#"
    3:6 InvalidDefaultArgInFrom: Default value for ARG a:${T} results in empty or invalid base image name
    4:6 InvalidDefaultArgInFrom: Default value for ARG ${N} results in empty or invalid base image name
    "#);
    assert_snapshot!(findings("FROM a\nCOPY ./ignored ok /x/\nADD ignored /y\nCOPY --from=b ignored /z\n"), @r#"
    2:6 CopyIgnoredFile: Attempting to Copy file "./ignored" that is excluded by .dockerignore
    3:5 CopyIgnoredFile: Attempting to Add file "ignored" that is excluded by .dockerignore
    "#);
    assert_snapshot!(findings("FROM a\nEXPOSE 80/TcP 127.0.0.1:81:82 83\n"), @r#"
    2:8 ExposeProtoCasing: Defined protocol '80/TcP' in EXPOSE instruction should be lowercase
    2:15 ExposeInvalidFormat: EXPOSE instruction should not define an IP address or host-port mapping, found '127.0.0.1:81:82'
    "#);
    let comments = "# check=experimental=all\n# other\nFROM a AS b\n# V is it\nARG V\n# no\n\nARG W\n";
    assert_snapshot!(findings(comments), @"3:1 InvalidDefinitionDescription: Comment for build stage or argument should follow the format: `# <arg/stage name> <description>`. If this is not intended to be a description comment, add an empty line or comment between the instruction and the comment.");
    assert_eq!(findings("FROM a AS b\n# no\nARG V\n"), "");
}

#[test]
fn checks_are_skipped_or_made_errors() {
    let text = "FROM a AS B\nCMD x\n";
    assert_eq!(findings(&format!("# check=skip=all\n{text}")), "");
    assert_snapshot!(findings(&format!("# check=skip=JSONArgsRecommended;error=true\n{text}")), @"error 2:11 StageNameCasing: Stage name 'B' should be lowercase");
    let given = |options: &mut LowerOptions| {
        options.build_args.insert("BUILDKIT_DOCKERFILE_CHECK".into(), "skip=StageNameCasing".into());
    };
    assert_snapshot!(findings_with(&format!("# check=error=true\n{text}"), given, ""), @"3:1 JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended behavior related to OS signals");
}

const STOPS: &str = "\
ARG WHO=nobody
FROM base AS build
ENV A=1
RUN one

# a comment
RUN --mount=type=cache,target=/c --network=none \\
    two && \\
    three
SHELL [\"/bin/bash\", \"-ec\"]
USER app
COPY --from=base /x /y
FROM build
WORKDIR /srv
RUN one more
";

/// The shell that a build stops with: what it is on, as what it runs, its mounts.
fn stop(text: &str) -> String {
    let mut sources = SourceMap::new();
    let file = sources.add("Dockerfile", STOPS);
    let (dockerfile, _) = carrack_dockerfile::parse(file, sources.get(file));
    let breakpoint = match Breakpoint::find(text, &dockerfile, sources.get(file)) {
        Ok(breakpoint) => breakpoint,
        Err(error) => return line(&error, &sources),
    };
    match lower_with(STOPS, |options| options.breakpoint = Some(breakpoint), &base_config()) {
        Err(errors) => errors,
        Ok(graph) => {
            let vertex = graph.vertex(graph.output);
            let Op::Exec(exec) = &vertex.op else { panic!("{vertex:?}") };
            let on = &graph.vertex(vertex.inputs[0].vertex).name;
            let environment = exec.environment.last().map_or("", String::as_str);
            let Exec { arguments, user, working_directory, mounts, network, .. } = exec.as_ref();
            let text = format!("{} on {on}: {arguments:?} {user} {working_directory} {environment}", vertex.name);
            let words: Vec<&str> = text.split_whitespace().collect();
            format!("{} {} {network:?}", words.join(" "), mounts.len())
        }
    }
}

/// X23: a step is told by line, number or text; what is there is what the instruction has or leaves.
#[test]
fn a_build_stops_before_and_after_any_step() {
    let all = [
        "2",
        "before:4",
        "4",
        "after:8",
        "before:7",
        "[build 3/4]",
        "before:build:4",
        "0:4",
        "1:2",
        "user app",
        "stage-1 2/3",
        "run one more",
    ];
    assert_snapshot!(all.map(stop).join("\n"), @r#"
    shell after FROM base AS build on FROM base:latest: ["/bin/sh"] / LANG=C 0 Default
    shell before RUN one on FROM base:latest: ["/bin/sh"] / A=1 0 Default
    shell after RUN one on [build 2/4] RUN one: ["/bin/sh"] / A=1 0 Default
    shell after RUN --mount=type=cache,target=/c --network=none two && three on [build 3/4] RUN --mount=type=cache,target=/c --network=none two && three: ["/bin/sh"] / A=1 1 None
    shell before RUN --mount=type=cache,target=/c --network=none two && three on [build 2/4] RUN one: ["/bin/sh"] / A=1 1 None
    shell after RUN --mount=type=cache,target=/c --network=none two && three on [build 3/4] RUN --mount=type=cache,target=/c --network=none two && three: ["/bin/sh"] / A=1 1 None
    shell before COPY --from=base /x /y on [build 3/4] RUN --mount=type=cache,target=/c --network=none two && three: ["/bin/bash"] app / A=1 0 Default
    shell after COPY --from=base /x /y on [build 4/4] COPY --from=base /x /y: ["/bin/bash"] app / A=1 0 Default
    shell after WORKDIR /srv on [stage-1 2/3] WORKDIR /srv: ["/bin/bash"] app /srv A=1 0 Default
    shell after USER app on [build 3/4] RUN --mount=type=cache,target=/c --network=none two && three: ["/bin/bash"] app / A=1 0 Default
    shell after WORKDIR /srv on [stage-1 2/3] WORKDIR /srv: ["/bin/bash"] app /srv A=1 0 Default
    shell after RUN one more on [stage-1 3/3] RUN one more: ["/bin/bash"] app /srv A=1 0 Default
    "#);
    let wrong = ["1", "6", "99", "before:2", "build:9", "nowhere:2", "2/5", "RUN one", "RUN four", "before:"];
    assert_snapshot!(wrong.map(stop).join("\n"), @"
    build/no-such-step line 1 belongs to no step [the next one is `FROM base AS build` in line 2]
    build/no-such-step line 6 belongs to no step [the next one is `RUN --mount=type=cache,target=/c --network=none     two &&     three` in line 7]
    build/no-such-step line 99 belongs to no step [count lines from 1, in the Dockerfile]
    build/no-such-step nothing is there before the FROM of `2` [look at what it begins with: say `after:`]
    build/no-such-step the stage has no step 9 [its steps are 1 to 4, FROM being the first]
    build/no-such-step there is no stage `nowhere` to stop in [give the stage's name or number, as in `build:2`]
    build/no-such-step there is no stage `` to stop in [give the stage's name or number, as in `build:2`]
    build/no-such-step 2 instructions have `RUN one` in them [give the line: one of 4, 15]
    build/no-such-step no instruction has `RUN four` in it [give a line of the Dockerfile (`9`), a step as progress shows it (`build:2`), or a part of an instruction (`RUN make`), after `before:` or `after:`]
    build/no-such-step no instruction has `` in it [give a line of the Dockerfile (`9`), a step as progress shows it (`build:2`), or a part of an instruction (`RUN make`), after `before:` or `after:`]
    ");
}

const DESCRIBED: &str = "# GO_VERSION sets the version\nARG GO_VERSION=1.22\nARG UNUSED=1\n\n# base is what everything starts from\n\
FROM --platform=$BUILDPLATFORM golang:${GO_VERSION} AS base\nARG TARGETARCH\n# not this one\n# MODE how it is built\n\
ARG MODE=release\nRUN --mount=type=secret,id=tok --mount=type=ssh --mount=type=secret,id=tok,required x\n\
FROM scratch AS other\nARG NOTHERE\n\nFROM scratch\nARG GO_VERSION\nCOPY --from=base /x /x\n";

/// What a file offers is told without any image.
#[test]
fn outlines_and_targets() {
    let mut sources = SourceMap::new();
    let file = sources.add("Dockerfile", DESCRIBED);
    let (dockerfile, _) = carrack_dockerfile::parse(file, sources.get(file));
    let names: Vec<_> = targets(&dockerfile, sources.get(file))
        .into_iter()
        .map(|target| (target.name, target.default, target.description))
        .collect();
    assert_eq!(
        names,
        [
            ("base".into(), false, "is what everything starts from".into()),
            ("other".into(), false, String::new()),
            (String::new(), true, String::new()),
        ]
    );
    let outline_of = |target: Option<&str>, given: &[(&str, &str)]| {
        let mut options = LowerOptions { target: target.map(str::to_owned), ..LowerOptions::new(platform()) };
        options.build_args = given.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        outline(&dockerfile, sources.get(file), &options)
    };
    let whole = outline_of(None, &[("MODE", "debug")]).unwrap();
    let args: Vec<_> = whole.args.iter().map(|one| format!("{}={} {}", one.name, one.value, one.description)).collect();
    assert_eq!(args, ["GO_VERSION=1.22 sets the version", "MODE=debug how it is built"]);
    let mounts =
        |mounts: &[MountOutline]| mounts.iter().map(|one| (one.name.clone(), one.required)).collect::<Vec<_>>();
    assert_eq!(mounts(&whole.secrets), [("tok".into(), true)]);
    assert_eq!(mounts(&whole.ssh), [("default".into(), false)]);
    let other = outline_of(Some("other"), &[]).unwrap();
    assert_eq!((other.name.as_str(), other.args.len(), other.secrets.len()), ("other", 1, 0));
    assert_eq!(
        line(&outline_of(Some("none"), &[]).unwrap_err()[0], &sources).split(' ').next(),
        Some("build/unknown-stage")
    );
}

/// Files of 10,000 lines, and arguments that lead to each other, end soon.
#[test]
fn large_files_are_lowered() {
    let steps: String =
        (0..3_300).map(|index| format!("ENV A{}=$A{index}\nRUN x{index}\nCOPY a b{index}\n", index + 1)).collect();
    assert_eq!(execs(&graph(&format!("FROM a\nENV A0=x\n{steps}"))).len(), 3_300);
    let stages: String =
        (1..1_000).map(|index| format!("FROM s{} AS s{index}\nCOPY --from=s0 a b\nRUN x\n", index - 1)).collect();
    assert_eq!(execs(&graph(&format!("FROM a AS s0\n{stages}"))).len(), 999);
    let arguments: String = (1..10_000).map(|index| format!("ARG A{index}=${{A{}}}\n", index - 1)).collect();
    let deep = graph(&format!("ARG A0=base\n{arguments}FROM $A9999\n"));
    assert_eq!(names(&deep), ["FROM base:latest"]);
    // A value that doubles itself is refused with its place.
    let doubled: String = (0..64).map(|_| "ARG A=$A$A\n").collect();
    let refused = errors(&format!("FROM a\nARG A=0123456789\n{doubled}RUN x\n"));
    assert!(
        refused.starts_with("build/invalid-variable Dockerfile:19:7"),
        "{}",
        refused.lines().next().unwrap_or_default()
    );
}

/// What BuildKit takes although the reference asks for more is taken, and said.
#[test]
fn destinations_without_a_slash() {
    let graph = graph("FROM a\nWORKDIR /w\nCOPY a b c\nENV none=\nCOPY a $none\n");
    let destinations = graph.vertices.iter().filter_map(|vertex| match &vertex.op {
        Op::File(actions) => match &actions[0] {
            Action::Copy(copy) => Some(copy.destination.as_str()),
            _ => None,
        },
        _ => None,
    });
    assert_eq!(destinations.collect::<Vec<_>>(), ["/w/c/", "/w/"]);
    let warnings: Vec<_> = graph.warnings.iter().map(|warning| warning.message.as_str()).collect();
    assert_eq!(
        warnings,
        [
            "several sources need a folder as their destination",
            "the destination is empty: the working directory is taken"
        ]
    );
}

/// D1: variables in the options of a mount, and the names that a build's caches are kept apart by.
#[test]
fn variables_in_mounts() {
    let text = "FROM a\nARG S=locked\nARG SIZE=64m\nRUN --mount=type=cache,target=/c,sharing=$S --mount=type=tmpfs,target=/t,size=$SIZE x\n";
    let graph = with_args(text, &[("BUILDKIT_CACHE_MOUNT_NS", "team"), ("BUILDKIT_SYNTAX", "dockerfile.v0")]);
    assert!(graph.warnings.is_empty(), "{:?}", graph.warnings);
    let mounts = &execs(&graph)[0].mounts;
    assert!(matches!(&mounts[0].kind, MountKind::Cache(cache) if cache.sharing == "locked" && cache.id == "team//c"));
    assert!(matches!(&mounts[1].kind, MountKind::Tmpfs { size_bytes: Some(67_108_864) }));
    assert_snapshot!(errors("FROM a\nRUN --mount=type=cache,target=/c,mode=$M x\n"), @"build/invalid-value Dockerfile:2:34 `` is not an octal number [write for example mode=0755 or uid=1000]");
    assert_snapshot!(errors("FROM a\nARG x=b\nCOPY --from=$x /a /b\n"), @"oci/invalid-reference Dockerfile:3:13 `$x` is not an image reference [write [HOST[:PORT]/]PATH[:TAG][@DIGEST]; name the image in a FROM with AS, with an ARG before the first FROM, and take that stage]");
}

/// A secret's file is named for its id, and a source is an id by another word.
#[test]
fn secrets_by_source_and_target() {
    let graph = graph("FROM a\nRUN --mount=type=secret,source=aws/key --mount=type=secret,target=/root/.npmrc x\n");
    let secrets = execs(&graph)[0].mounts.iter().map(|mount| match &mount.kind {
        MountKind::Secret { id, .. } => (id.as_str(), mount.target.as_deref()),
        other => panic!("{other:?}"),
    });
    assert_eq!(secrets.collect::<Vec<_>>(), [("aws/key", Some("/run/secrets/key")), (".npmrc", Some("/root/.npmrc"))]);
}

/// What the builder predefines can be given, as in the reference implementation.
#[test]
fn given_platform_arguments() {
    let text = "FROM a:$TARGETARCH\nARG TARGETARCH\nRUN x\n";
    let graph = with_args(text, &[("TARGETARCH", "riscv64")]);
    assert_eq!(names(&graph)[0], "FROM a:riscv64");
    assert!(execs(&graph)[0].environment.contains(&"TARGETARCH=riscv64".to_owned()));
    let foreign = |name: &'static str| {
        let change = move |options: &mut LowerOptions| {
            options.build_args.insert("BUILDKIT_SYNTAX".into(), name.into());
        };
        lower_with("# syntax=docker/dockerfile:1\nFROM a\n", change, &base_config())
    };
    assert!(foreign("docker/dockerfile:1.7-labs").is_ok());
    assert!(foreign("example/other:1").is_err());
}
