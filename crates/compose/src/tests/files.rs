//! Env files, `extends`, `include`, profiles: what needs more than one file.

use super::*;
use crate::dotenv;
use carrack_diag::FileId;

fn parse(text: &str) -> Vec<(String, Option<String>)> {
    let lookup = |name: &str| (name == "OUTSIDE").then(|| "out".to_owned());
    let assignments = dotenv::parse(FileId(0), text, &lookup, &|_| None).expect("a good env file");
    assignments.into_iter().map(|(name, value)| (name.value, value)).collect()
}

/// The examples of the specification, and what people write.
#[test]
fn env_file_syntax() {
    let value = |text: &str| parse(text).pop().and_then(|(_, value)| value);
    for (line, expected) in [
        ("VAR=VAL", "VAL"),
        ("VAR=\"VAL\"", "VAL"),
        ("VAR='VAL'", "VAL"),
        ("VAR=VAL # comment", "VAL"),
        ("VAR=VAL# not a comment", "VAL# not a comment"),
        ("VAR=\"VAL # not a comment\"", "VAL # not a comment"),
        ("VAR=\"VAL\" # comment", "VAL"),
        ("VAR='$OTHER'", "$OTHER"),
        ("VAR='${OTHER}'", "${OTHER}"),
        ("VAR='Let\\'s go!'", "Let's go!"),
        ("VAR=\"{\\\"hello\\\": \\\"json\\\"}\"", "{\"hello\": \"json\"}"),
        ("VAR=\"some\\tvalue\"", "some\tvalue"),
        ("VAR='some\\tvalue'", "some\\tvalue"),
        ("VAR=some\\tvalue", "some\\tvalue"),
        ("VAR=", ""),
        ("VAR= # nothing", ""),
        ("export VAR=x", "x"),
        ("VAR = spaced ", "spaced"),
        ("VAR=\"two\nlines\"", "two\nlines"),
        ("A=1\nVAR=${A}-$OUTSIDE-${NO:-default}", "1-out-default"),
        ("VAR=\"\\$literal\"", "$literal"),
        ("\u{feff}VAR=bom", "bom"),
        ("VAR=crlf\r\n", "crlf"),
        ("VAR=a=b", "a=b"),
    ] {
        assert_eq!(value(line).as_deref(), Some(expected), "{line}");
    }
    assert_eq!(parse("# only\n\n  \nUNSET\n"), [("UNSET".to_owned(), None)]);
}

/// The environment, then what stands above in the file, then earlier files.
#[test]
fn env_files_know_what_was_before_them() {
    let outside = |name: &str| (name == "OUTSIDE").then(|| "out".to_owned());
    let earlier = |name: &str| Some(format!("earlier {name}"));
    let text = "A=${FIRST}\nB=own\nC=${B}\nOUTSIDE=own\nD=${OUTSIDE}\n";
    let read = dotenv::parse(FileId(0), text, &outside, &earlier).expect("a good env file");
    let read: Vec<&str> = read.iter().filter_map(|(_, value)| value.as_deref()).collect();
    assert_eq!(read, ["earlier FIRST", "own", "own", "own", "out"]);
}

#[test]
fn env_files_that_can_not_be_read() {
    let problem = |text: &str| {
        let error = dotenv::parse(FileId(0), text, &|_| None, &|_| None).expect_err("a bad env file");
        (error.code.id, error.labels[0].span.start, error.message.clone())
    };
    assert_eq!(
        problem("A=1\nno good"),
        ("compose/env-file-syntax", 4, "this line of the env file can't be read".to_owned())
    );
    assert_eq!(problem("A=\"open\nB=2").2, "a quoted value is never closed");
    assert_eq!(problem("A='a' b").1, 6);
    assert_eq!(problem("A=${B:?needed}").0, "compose/required-variable");
}

/// G11: `.env` gives defaults, the environment wins; `environment` over `env_file`, later files over earlier.
#[test]
fn environments_and_their_precedence() {
    let text = "services:\n  web:\n    image: nginx:${TAG}\n    env_file: [a.env, {path: b.env, required: false}, {path: c.env, required: false}]\n    \
                environment: {OWN: own, FROM_SHELL: , NOWHERE: }\n";
    let fixture = Fixture {
        files: &[("compose.yaml", text)],
        others: &[
            ("/srv/shop/.env", "TAG=1\nUSER=dotenv\n"),
            ("/srv/shop/a.env", "OWN=a\nBOTH=a\nUSED=$USER\n"),
            ("/srv/shop/b.env", "BOTH=b\n"),
        ],
        env: &[("USER", "shell"), ("FROM_SHELL", "x")],
        ..Fixture::default()
    };
    let outcome = fixture.load();
    assert_eq!((outcome.environment["TAG"].as_str(), outcome.environment["USER"].as_str()), ("1", "shell"));
    let web = outcome.project.expect("no errors").services.remove("web").expect("web");
    assert_eq!(web.image.map(|image| image.value).as_deref(), Some("nginx:1"));
    let environment: Vec<(&str, Option<&str>)> =
        web.environment.iter().map(|(name, value)| (name.as_str(), value.value.as_deref())).collect();
    assert_eq!(
        environment,
        [
            ("BOTH", Some("b")),
            ("FROM_SHELL", Some("x")),
            ("NOWHERE", None),
            ("OWN", Some("own")),
            ("USED", Some("shell"))
        ]
    );
    let missing = Fixture { others: &[], ..fixture }.load().said();
    assert!(missing.contains(
        "error compose/env-file-missing compose.yaml:4:16: the env file /srv/shop/a.env does not exist or can't be read"
    ), "{missing}");
}

#[test]
fn an_env_file_of_a_service_knows_the_one_before_it() {
    let fixture = Fixture {
        files: &[("compose.yaml", "services: {web: {image: a, env_file: [a.env, b.env]}}")],
        others: &[("/srv/shop/a.env", "HOST=db\n"), ("/srv/shop/b.env", "URL=tcp://${HOST}:1\n")],
        ..Fixture::default()
    };
    assert_eq!(fixture.project().services["web"].environment["URL"].value.as_deref(), Some("tcp://db:1"));
}

#[test]
fn a_raw_env_file_is_taken_as_it_stands() {
    let fixture = Fixture {
        files: &[("compose.yaml", "services: {web: {image: a, env_file: [{path: raw.env, format: raw}]}}")],
        others: &[("/srv/shop/raw.env", "# no\nA='$B' # c\n")],
        ..Fixture::default()
    };
    let web = fixture.project().services.remove("web").expect("web");
    assert_eq!(web.environment["A"].value.as_deref(), Some("'$B' # c"));
}

#[test]
fn extends_within_and_across_files() {
    let text = "services:\n  web:\n    extends: {file: common/base.yaml, service: app}\n    environment: {PORT: '8080'}\n    command: [b]\n  \
                cli:\n    extends: web\n    tty: true\n";
    let common = "services:\n  app:\n    extends: root\n    build: .\n    command: [a]\n    env_file: app.env\n    environment: [PORT=80, TZ=utc]\n  root:\n    user: nobody\n";
    let fixture = Fixture {
        files: &[("compose.yaml", text)],
        others: &[("/srv/shop/common/base.yaml", common), ("/srv/shop/common/app.env", "APP=1")],
        ..Fixture::default()
    };
    let project = fixture.project();
    let cli = &project.services["cli"];
    assert!(cli.tty);
    assert_eq!(cli.user.as_ref().map(|user| user.value.as_str()), Some("nobody"));
    assert_eq!(cli.command.as_ref().map(|words| words.value.clone()), Some(vec!["b".to_owned()]));
    assert_eq!(cli.build.as_ref().map(|build| build.context.value.as_str()), Some("/srv/shop/common"));
    let environment: Vec<&str> = cli.environment.keys().map(String::as_str).collect();
    assert_eq!(environment, ["APP", "PORT", "TZ"]);
    assert_eq!(cli.environment["PORT"].value.as_deref(), Some("8080"));
}

#[test]
fn extends_that_leads_nowhere() {
    insta::assert_snapshot!(said("services:\n  a: {extends: b}\n  b: {extends: {service: a}}\n"), @"
    error compose/extends-cycle compose.yaml:2:16: the service `a` extends itself (remove one of these links)
    error compose/extends-cycle compose.yaml:3:16: the service `b` extends itself (remove one of these links)
    ");
    insta::assert_snapshot!(said("services:\n  a: {extends: {service: bse}, image: i}\n  base: {image: i}\n"), @"error compose/unknown-service compose.yaml:2:26: there is no service `bse` to extend (did you mean `base`?)");
    insta::assert_snapshot!(said("services:\n  a: {extends: {file: no.yaml, service: b}}\n"), @"error compose/file-missing compose.yaml:2:23: the Compose file /srv/shop/no.yaml does not exist or can't be read (create it or correct the path, which is relative to this file)");
}

#[test]
fn include_brings_a_project_with_its_own_folder_and_variables() {
    let fixture = Fixture {
        files: &[("compose.yaml", "include: [../infra/compose.yaml]\nservices: {web: {image: w, depends_on: [db]}}\n")],
        others: &[
            (
                "/srv/infra/compose.yaml",
                "services:\n  db:\n    image: postgres:${PG}\n    volumes: ['./init:/init', 'data:/data']\nvolumes: {data: {}}\n",
            ),
            ("/srv/infra/.env", "PG=15"),
        ],
        ..Fixture::default()
    };
    let project = fixture.project();
    let db = &project.services["db"];
    assert_eq!(db.image.as_ref().map(|image| image.value.as_str()), Some("postgres:15"));
    assert!(crate::render::yaml(&project).contains("source: /srv/infra/init"));
    let overridden = Fixture { env: &[("PG", "16")], ..fixture }.project();
    assert_eq!(overridden.services["db"].image.as_ref().map(|image| image.value.as_str()), Some("postgres:16"));
}

#[test]
fn includes_that_do_not_work() {
    let files = &[("compose.yaml", "include:\n  - path: [other.yaml]\nservices: {web: {image: a}}\n")];
    let conflict =
        Fixture { files, others: &[("/srv/shop/other.yaml", "services:\n  web: {image: b}\n")], ..Fixture::default() };
    insta::assert_snapshot!(conflict.load().said(), @"error compose/include-conflict /srv/shop/other.yaml:2:3: an included file defines `services.web` otherwise (rename one of them: `include` does not merge)");
    let ring = Fixture { files, others: &[("/srv/shop/other.yaml", "include: [other.yaml]\n")], ..Fixture::default() };
    insta::assert_snapshot!(ring.load().said(), @"error compose/extends-cycle /srv/shop/other.yaml:1:11: /srv/shop/other.yaml includes itself (remove one of these links)");
    insta::assert_snapshot!(Fixture { files, ..Fixture::default() }.load().said(), @"error compose/file-missing compose.yaml:2:12: the Compose file /srv/shop/other.yaml does not exist or can't be read (create it or correct the path, which is relative to this file)");
}

/// The specification's example.
#[test]
fn profiles() {
    let text = "services:\n  foo: {image: foo}\n  bar: {image: bar, profiles: [test]}\n  baz: {image: baz, depends_on: [bar], profiles: [test]}\n  \
                zot: {image: zot, depends_on: [bar], profiles: [debug]}\n";
    let with = |profiles: &[&str], services: &[&str]| {
        let fixture = Fixture { files: &[("compose.yaml", text)], profiles, services, ..Fixture::default() };
        fixture.load().project.map(|project| project.services.into_keys().collect::<Vec<_>>().join(" "))
    };
    assert_eq!(with(&[], &[]).as_deref(), Some("foo"));
    assert_eq!(with(&["test"], &[]).as_deref(), Some("bar baz foo"));
    assert_eq!(with(&["debug"], &[]), None);
    assert_eq!(with(&["debug", "test"], &[]).as_deref(), Some("bar baz foo zot"));
    assert_eq!(with(&["*"], &[]).as_deref(), Some("bar baz foo zot"));
    assert_eq!(with(&[], &["baz"]).as_deref(), Some("bar baz foo"));
    assert_eq!(with(&[], &["zot"]), None);
    assert_eq!(with(&["test"], &["zot"]).as_deref(), Some("bar baz foo zot"));
    let listed =
        Fixture { files: &[("compose.yaml", text)], env: &[("COMPOSE_PROFILES", "test, debug")], ..Fixture::default() };
    assert_eq!(listed.project().services.len(), 4);
}

#[test]
fn names() {
    assert_eq!(crate::project_name_of("/home/me/My.Shop_2/"), "myshop_2");
    assert_eq!(crate::project_name_of("/-x"), "x");
    let name = |text: &str, env: &[(&str, &str)]| {
        Fixture { files: &[("compose.yaml", text)], env, ..Fixture::default() }.project().name
    };
    let plain = "services: {web: {image: a}}\n";
    assert_eq!(name(plain, &[]), "shop");
    assert_eq!(name(&format!("name: app-${{STAGE:-dev}}\n{plain}"), &[]), "app-dev");
    assert_eq!(name(&format!("name: app\n{plain}"), &[("COMPOSE_PROJECT_NAME", "other")]), "other");
    let text = "name: app\nservices: {web: {image: a, command: 'echo $COMPOSE_PROJECT_NAME'}}\n";
    assert!(crate::render::yaml(&project(text)).contains("- app\n"));
}
