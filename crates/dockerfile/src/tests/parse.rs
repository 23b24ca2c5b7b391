use insta::assert_snapshot;

use super::parsed;
use crate::ast::{Command, CommandLine, CopySource, Healthcheck, MountKind, Network};

fn diagnostics(text: &str) -> String {
    parsed(text).1.join("\n")
}

fn commands(text: &str) -> Vec<Command> {
    let (dockerfile, diagnostics) = parsed(&format!("FROM a\n{text}"));
    assert!(diagnostics.is_empty(), "{diagnostics:?}");
    dockerfile.stages[0].instructions.iter().map(|instruction| instruction.command.clone()).collect()
}

fn shell(text: &str) -> String {
    match commands(text).remove(0) {
        Command::Run(run) => match run.command {
            CommandLine::Shell(line) => line.value,
            CommandLine::Exec(arguments) => format!("{:?}", arguments.iter().map(|a| &a.value).collect::<Vec<_>>()),
        },
        other => panic!("{other:?}"),
    }
}

#[test]
fn stages_arguments_and_directives() {
    let (dockerfile, diagnostics) = parsed(
        "\u{feff}# syntax=docker/dockerfile:1\r\n# Escape = `\r\nARG V=1\r\nFROM --platform=linux/amd64 a:$V AS Build\r\nRUN a `\r\n b\r\nFROM build\r\n",
    );
    assert!(diagnostics.is_empty(), "{diagnostics:?}");
    assert_eq!(dockerfile.directives.escape, '`');
    assert_eq!(dockerfile.directives.syntax.as_ref().unwrap().value, "docker/dockerfile:1");
    assert_eq!(dockerfile.global_args.len(), 1);
    assert_eq!(dockerfile.stages[0].from.name.as_ref().unwrap().value, "build");
    assert_eq!(dockerfile.stages[0].from.platform.as_ref().unwrap().value, "linux/amd64");
    assert_eq!(dockerfile.stages[0].instructions[0].text, "RUN a  b");
    assert_eq!(dockerfile.stage("BUILD", 2), Some(0));
    assert_eq!(dockerfile.stage("1", 2), Some(1));
    assert_eq!(dockerfile.stage("1", 1), None);
}

#[test]
fn a_directive_after_a_comment_is_a_comment() {
    assert_eq!(parsed("# hello\n# escape=`\nFROM a\n").0.directives.escape, '\\');
}

#[test]
fn continuations() {
    assert_eq!(shell("RUN a \\\n  # comment\n  && b \\  \n&& c"), "a   && b && c");
    assert_eq!(shell("RUN echo \\\\\nRUN b"), "echo \\\\");
    assert_eq!(shell("RUN a \\"), "a");
    assert_eq!(shell("  run [ \"a\", \"b c\", \"\\u00e9\" ]"), "[\"a\", \"b c\", \"é\"]");
    assert_eq!(shell("RUN [ -f /x ] && y"), "[ -f /x ] && y");
    assert_eq!(shell("RUN [\"a\", \"b\"] && c"), "[\"a\", \"b\"] && c");
}

#[test]
fn spans_lead_through_continuations() {
    let text = "FROM a\nRUN x \\\n  # c\n  --y\nEXPOSE 1 \\\n   nope\n";
    assert_eq!(
        diagnostics(text),
        "dockerfile/invalid-port Dockerfile:6:4 EXPOSE cannot read `nope` [write PORT[-PORT][/PROTOCOL], for example 8080 or 53/udp]"
    );
    let span = parsed(text).0.stages[0].instructions[0].span;
    assert_eq!(&text[span.start as usize..span.end as usize], "RUN x \\\n  # c\n  --y");
}

#[test]
fn heredocs() {
    let Command::Run(run) = commands("RUN <<EOF sh && cat <<-'B'\none $x\nEOF\n\ttwo\n\tB\n").remove(0) else {
        panic!()
    };
    assert_eq!(run.heredocs.len(), 2);
    assert_eq!(run.heredocs[0].content.value, "one $x\n");
    assert!(run.heredocs[0].expand);
    assert_eq!(run.heredocs[1].stripped(), "two\n");
    assert!(!run.heredocs[1].expand);
    let Command::Copy(copy) = commands("COPY a <<x <<\"y\" /z/\n1\nx\n2\ny\n").remove(0) else { panic!() };
    let kinds: Vec<_> = copy.sources.iter().map(|source| matches!(source, CopySource::Heredoc(_))).collect();
    assert_eq!(kinds, [false, true, true]);
    let Command::Onbuild(inner) = commands("ONBUILD RUN <<E\nx\nE\n").remove(0) else { panic!() };
    assert!(matches!(&inner.command, Command::Run(run) if run.heredocs[0].content.value == "x\n"));
    assert_eq!(shell("RUN cat <<< word"), "cat <<< word", "a here-string belongs to the shell");
    assert_eq!(shell("RUN echo $((1<<2))"), "echo $((1<<2))");
}

#[test]
fn flags() {
    let Command::Run(run) = commands(
        "RUN --mount=type=cache,target=/c,sharing=locked --mount=type=secret,id=s,required --network=none make",
    )
    .remove(0) else {
        panic!()
    };
    assert_eq!(run.mounts[0].kind, MountKind::Cache);
    assert!(run.mounts[1].required);
    assert_eq!(run.network.unwrap().value, Network::None);
    let Command::Copy(copy) = commands("COPY --from=0 --chown=a:b --link --exclude=x --exclude=y a b c/").remove(0)
    else {
        panic!()
    };
    assert!(copy.link && copy.exclude.len() == 2 && copy.sources.len() == 2);
    let Command::Healthcheck(Healthcheck::Cmd { interval_ns, retries, .. }) =
        commands("HEALTHCHECK --interval=1m30s --retries=3 CMD x").remove(0)
    else {
        panic!()
    };
    assert_eq!((interval_ns, retries), (Some(90_000_000_000), Some(3)));
}

#[test]
fn assignments() {
    let Command::Env(env) = commands("ENV a=\"b c\" d=e\\ f \\\n g='h'").remove(0) else { panic!() };
    let pairs: Vec<_> = env.iter().map(|a| (a.name.value.as_str(), a.value.value.as_str())).collect();
    assert_eq!(pairs, [("a", "\"b c\""), ("d", "e\\ f"), ("g", "'h'")]);
    let (dockerfile, warnings) = parsed("FROM a\nENV name some words = x\n");
    assert!(warnings.is_empty(), "{warnings:?}");
    let Command::Env(env) = &dockerfile.stages[0].instructions[0].command else { panic!() };
    assert_eq!(env[0].value.value, "some words = x");
}

/// Each says code, file, line, column and hint.
#[test]
fn errors() {
    assert_snapshot!(diagnostics("FROM a\nRNU make\n"), @"dockerfile/unknown-instruction Dockerfile:2:1 `RNU` is not an instruction [did you mean RUN?]");
    assert_snapshot!(diagnostics("FROM a\nRUN x\n  && make\n"), @"dockerfile/unknown-instruction Dockerfile:3:3 `&&` is not an instruction [if it belongs to the instruction above, end that line with a backslash]");
    assert_snapshot!(diagnostics("FROM a\nCOPY --chwon=1 a b\n"), @"dockerfile/unknown-flag Dockerfile:2:6 COPY has no flag --chwon [did you mean --chown?]");
    assert_snapshot!(diagnostics("FROM a\nCMD --x [\"a\"]\n"), @"dockerfile/unknown-flag Dockerfile:2:5 CMD has no flag --x [CMD takes no flags]");
    assert_snapshot!(diagnostics("FROM a\nCOPY --from=a --from=b c d\n"), @"dockerfile/duplicate-flag Dockerfile:2:22 --from is given twice [keep one of them]");
    assert_snapshot!(diagnostics("FROM a\nCOPY --from x d\n"), @"dockerfile/invalid-flag Dockerfile:2:6 --from needs a value [write --from=VALUE, without a blank]");
    assert_snapshot!(diagnostics("FROM a\nCOPY --link=x y d\n"), @"dockerfile/invalid-flag Dockerfile:2:6 --link is true or false, not `x` [write --link or --link=false]");
    assert_snapshot!(diagnostics("FROM a\nRUN --network=lan x\n"), @"dockerfile/invalid-flag Dockerfile:2:15 --network cannot be `lan` [write one of default, none, host]");
    assert_snapshot!(diagnostics("FROM a\nHEALTHCHECK --interval=5 CMD x\n"), @"dockerfile/invalid-flag Dockerfile:2:24 --interval cannot be `5` [write a number and its unit, for example 30s or 1m30s]");
    assert_snapshot!(diagnostics("FROM a\nRUN --mount=type=cash,target=/x y\n"), @"dockerfile/invalid-mount Dockerfile:2:13 there is no mount of type `cash` [write one of bind, cache, tmpfs, secret, ssh]");
    assert_snapshot!(diagnostics("FROM a\nRUN --mount=type=cache,traget=/x y\n"), @"dockerfile/invalid-mount Dockerfile:2:24 --mount has no key `traget` [did you mean `target`?]");
    assert_snapshot!(diagnostics("FROM a\nRUN --mount=type=bind,target=/x,mode=0700 y\n"), @"dockerfile/invalid-mount Dockerfile:2:33 a mount of type bind has no `mode` [leave it out]");
    assert_snapshot!(diagnostics("FROM a\nRUN --mount=type=cache,target=/x,env=E y\n"), @"dockerfile/invalid-mount Dockerfile:2:34 a mount of type cache has no `env` [leave it out]");
    assert_snapshot!(diagnostics("FROM a\nRUN --mount=type=secret,id=a,source=b y\n"), @"dockerfile/invalid-mount Dockerfile:2:13 the secret has both id and source, which mean the same [keep id=NAME]");
    assert_snapshot!(diagnostics("FROM a\nRUN --mount=from=$x,target=/x y\n"), @"dockerfile/invalid-mount Dockerfile:2:13 `from` of --mount takes no variables [name the image in a FROM with AS, and mount from that stage]");
    assert_snapshot!(diagnostics("FROM a\nCOPY a\n"), @"dockerfile/wrong-arguments Dockerfile:2:1 COPY lacks its arguments [COPY takes at least one source and a destination, for example `COPY src/ /app/`]");
    assert_snapshot!(diagnostics("FROM\n"), @"dockerfile/wrong-arguments Dockerfile:1:1 FROM takes an image, and a name after AS [write `FROM image` or `FROM image AS name`]");
    assert_snapshot!(diagnostics("FROM a b c\n"), @"dockerfile/wrong-arguments Dockerfile:1:8 FROM takes an image, and a name after AS [write `FROM image` or `FROM image AS name`]");
    assert_snapshot!(diagnostics("FROM a\nHEALTHCHECK CONNECT x\n"), @"dockerfile/wrong-arguments Dockerfile:2:13 HEALTHCHECK has no form `CONNECT` [write `HEALTHCHECK CMD command` or `HEALTHCHECK NONE`]");
    assert_snapshot!(diagnostics("FROM a\nSHELL bash\n"), @r#"dockerfile/wrong-arguments Dockerfile:2:1 SHELL takes a JSON array of strings [write SHELL ["/bin/bash", "-c"]]"#);
    assert_snapshot!(diagnostics("FROM a\nENV A=b c\n"), @r#"dockerfile/invalid-assignment Dockerfile:2:9 `c` of ENV is not NAME=VALUE [quote a value that holds blanks: NAME="some words"]"#);
    assert_snapshot!(diagnostics("FROM a\nENV PATH\n"), @"dockerfile/wrong-arguments Dockerfile:2:1 ENV lacks its arguments [ENV takes NAME=VALUE]");
    assert_snapshot!(diagnostics("# escape=x\nFROM a\n"), @r"dockerfile/invalid-directive Dockerfile:1:10 `x` cannot be the escape character [write `# escape=\` or a backtick]");
    assert_snapshot!(diagnostics("# escape=`\n# escape=`\nFROM a\n"), @"dockerfile/invalid-directive Dockerfile:2:10 the parser directive `escape` is given twice [keep one of them]");
    assert_snapshot!(diagnostics("# nothing\n"), @"dockerfile/no-stage Dockerfile:1:10 Dockerfile has no FROM [start with `FROM image`, or `FROM scratch` for an empty base]");
    assert_snapshot!(diagnostics("RUN x\nFROM a\n"), @"dockerfile/before-from Dockerfile:1:1 RUN stands before the first FROM [only ARG may stand before FROM]");
    assert_snapshot!(diagnostics("FROM a AS 1x\n"), @"dockerfile/invalid-stage-name Dockerfile:1:11 `1x` is not a stage name [start with a letter; go on with letters, digits, `.`, `-`, `_`]");
    assert_snapshot!(diagnostics("FROM a\nRUN <<EOF\nx\n EOF\n"), @"dockerfile/unterminated-heredoc Dockerfile:2:5 the here-document `EOF` never ends [end it with a line that holds `EOF` alone]");
    assert_snapshot!(diagnostics("FROM a\nEXPOSE 80/tpc\n"), @"dockerfile/invalid-port Dockerfile:2:8 EXPOSE cannot read `80/tpc` [write PORT[-PORT][/PROTOCOL], for example 8080 or 53/udp]");
    assert_snapshot!(diagnostics("FROM a\nEXPOSE 70000 9-8 x\n").lines().count(), @"3");
    assert_snapshot!(diagnostics("FROM a\nCMD [\"a\", [1, {\"b\": null}]]\n"), @"dockerfile/not-strings Dockerfile:2:5 a JSON array of an instruction holds strings only [put every element in double quotes, and no array into another]");
    assert_snapshot!(diagnostics("FROM a\nONBUILD FROM b\n"), @"dockerfile/invalid-trigger Dockerfile:2:9 ONBUILD cannot defer FROM [write it in the Dockerfile that builds on this image]");
}

#[test]
fn warnings() {
    assert_snapshot!(diagnostics("FROM a\nRUN [ \"$a\" == \"b\" ]\nRUN [ \"$(cat x)\" = \"y, z\" ]\n"), @"");
    assert_snapshot!(diagnostics("FROM a\nCMD ['a', 'b']\n"), @r#"dockerfile/not-json Dockerfile:2:5 this is taken as a line for the shell, not as the exec form [write ["program", "argument"], with double quotes and commas]"#);
}

#[test]
fn a_trigger_has_the_place_that_made_it_run() {
    let origin = carrack_diag::Span::new(carrack_diag::FileId(0), 3, 9);
    let (instruction, diagnostics) = crate::parse_trigger("COPY --from=x a /b/", origin);
    assert!(diagnostics.is_empty());
    assert_eq!(instruction.unwrap().span, origin);
    let (_, diagnostics) = crate::parse_trigger("ONBUILD RUN x", origin);
    assert_eq!(diagnostics[0].labels[0].span, origin);
}

/// What a variable will hold is not asked of a mount before it is known.
#[test]
fn variables_in_mounts() {
    let text = "RUN --mount=type=$T,target=$X,sharing=${S:-locked},ro=$R y";
    let Command::Run(run) = commands(text).remove(0) else { panic!() };
    let with = |kind: &'static str| {
        run.mounts[0].expanded(&mut move |word: &crate::ast::Word| {
            Some(
                word.value.replace("$T", kind).replace("$X", "/x").replace("${S:-locked}", "locked").replace("$R", "0"),
            )
        })
    };
    let mount = with("cache").unwrap();
    assert_eq!((mount.kind, mount.sharing), (MountKind::Cache, crate::ast::Sharing::Locked));
    assert_eq!((mount.target.unwrap().value.as_str(), mount.read_only), ("/x", Some(false)));
    assert_eq!(with("tmpfs").unwrap_err().unwrap().message, "a mount of type tmpfs has no `sharing`");
    assert_eq!(with("cash").unwrap_err().unwrap().message, "there is no mount of type `cash`");
    assert_eq!(run.mounts[0].expanded(&mut |_: &crate::ast::Word| None), Err(None), "told already");
}

/// X23: a small file must not take gigabytes.
#[test]
fn words_have_a_limit_that_heredocs_and_blank_lines_do_not_reach() {
    for many in ["ARG a\n".repeat(300_000), format!("COPY {}/\n", "a ".repeat(600_000)), {
        format!("CMD [{}\"a\"]\n", "\"a\",".repeat(600_000))
    }] {
        let (_, diagnostics) = parsed(&format!("FROM scratch\n{many}"));
        assert_eq!(diagnostics.len(), 1, "{diagnostics:?}");
        assert!(diagnostics[0].starts_with("dockerfile/too-many-words Dockerfile:"), "{diagnostics:?}");
    }
    let (words, blank) = ("a ".repeat(600_000), "\n".repeat(600_000));
    let text = format!("FROM scratch\n# {words}\nRUN a \\\n{blank}b\nCOPY <<E /a\n{words}\nE\n");
    let (dockerfile, diagnostics) = parsed(&text);
    assert_eq!((diagnostics, dockerfile.empty_continuations.len()), (Vec::new(), 1));
}
