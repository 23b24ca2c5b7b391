use carrack_diag::{Diagnostic, SourceMap};
use insta::assert_snapshot;
use proptest::prelude::*;

use crate::{Bake, Format, Override, Plan, parse};

fn line(diagnostic: &Diagnostic, sources: &SourceMap) -> String {
    let place = diagnostic.labels.first().map_or(String::new(), |label| {
        let position = sources.position(label.span);
        format!(" {}:{}:{}", position.path, position.line, position.column)
    });
    format!("{}{place} {} [{}]", diagnostic.code.id, diagnostic.message, diagnostic.hints.join("; "))
}

/// Files by name, targets, `--set`, and the environment.
struct Case<'a> {
    files: &'a [(&'a str, &'a str)],
    names: &'a [&'a str],
    set: &'a [&'a str],
    environment: &'a [(&'a str, &'a str)],
}

const NOTHING: Case<'_> = Case { files: &[], names: &[], set: &[], environment: &[] };

fn resolve(case: &Case<'_>) -> Result<Plan, String> {
    let mut sources = SourceMap::new();
    let mut bake = Bake::default();
    for (name, text) in case.files {
        let id = sources.add(*name, *text);
        let format = if name.ends_with("json") { Format::Json } else { Format::Hcl };
        let parsed = parse(id, sources.get(id), format).map_err(|error| line(&error, &sources))?;
        bake.add(parsed);
    }
    let names: Vec<String> = case.names.iter().map(|name| (*name).to_owned()).collect();
    let overrides: Result<Vec<Override>, _> = case.set.iter().map(|text| Override::parse(text)).collect();
    let overrides = overrides.map_err(|error| line(&error, &sources))?;
    let environment =
        |name: &str| case.environment.iter().find(|(other, _)| *other == name).map(|(_, value)| (*value).to_owned());
    bake.resolve(&names, &overrides, &environment).map_err(|error| line(&error, &sources))
}

fn flags(text: &str, name: &str) -> Vec<String> {
    let plan = resolve(&Case { files: &[("f.hcl", text)], names: &[name], ..NOTHING }).unwrap();
    plan.targets[name].flags()
}

fn error(text: &str) -> String {
    resolve(&Case { files: &[("f.hcl", text)], names: &["x"], ..NOTHING }).unwrap_err()
}

const FILE: &str = r#"
variable "TAG" { default = "latest" }
variable "DEBUG" { default = false }
variable "PORT" { default = 80 }
NAME = "example/${TAG == "latest" ? "dev" : "prod"}"
group "default" { targets = ["app", "all"] }
group "all" {
  targets     = ["tools", "app"]
  description = "Everything"
}
target "_common" {
  labels = { "org.example" = "y", port = PORT + 1 }
  args   = { A = "1", B = null, MODE = DEBUG ? "debug" : "release" }
}
target "base" { inherits = ["_common"] }
target "app" {
  inherits   = ["_common"]
  context    = "app"
  dockerfile = "Dockerfile.app"
  contexts   = { base = "target:base", tool = "docker-image://tool:1" }
  args       = { A = "2" }
  tags       = ["${NAME}:${TAG}"]
  output     = [{ type = "local", dest = "out" }]
}
target "tools" {
  inherits  = ["app", "_common"]
  contexts  = {}
  platforms = ["linux/amd64", "linux/arm64"]
}
"#;

#[test]
fn targets_groups_inheritance_and_variables() {
    let plan = resolve(&Case { files: &[("f.hcl", FILE)], ..NOTHING }).unwrap();
    assert_eq!(plan.targets.keys().collect::<Vec<_>>(), ["app", "base", "tools"], "what others need is there");
    assert_eq!(plan.asked.iter().collect::<Vec<_>>(), ["app", "tools"]);
    assert_eq!(plan.groups["default"], ["all", "app"]);
    let app = &plan.targets["app"];
    assert_eq!((app.context(), app.dockerfile()), ("app", "Dockerfile.app"));
    assert_eq!(app.links().collect::<Vec<_>>(), [("base", "base")]);
    let flags = app.flags();
    assert_eq!(
        flags,
        [
            "--tag=example/dev:latest",
            "--output=type=local,dest=out",
            "--build-arg=A=2",
            "--build-arg=MODE=release",
            "--label=org.example=y",
            "--label=port=81",
            "--build-context=tool=docker-image://tool:1"
        ]
    );
    // The later one of those that it inherits from wins.
    assert!(plan.targets["tools"].flags().contains(&"--build-arg=A=1".to_owned()));
    assert_eq!(plan.targets["tools"].platforms().len(), 2);

    let environment = &[("TAG", "v1"), ("DEBUG", "true"), ("PORT", "8080"), ("NAME", "no variable of the environment")];
    let plan = resolve(&Case { files: &[("f.hcl", FILE)], names: &["app"], environment, ..NOTHING }).unwrap();
    let flags = plan.targets["app"].flags();
    for flag in ["--tag=example/prod:v1", "--build-arg=MODE=debug", "--label=port=8081"] {
        assert!(flags.contains(&flag.to_owned()), "{flag}: {flags:?}");
    }
    assert_eq!(plan.groups["default"], ["app"]);
}

#[test]
fn later_files_win_and_json_means_the_same() {
    let json = r#"{"variable": {"TAG": {"default": "two"}},
        "target": {"app": {"tags": ["json:${TAG}"], "args": {"C": "3"}, "labels": {"org.example": "z"}},
                   "new": {"inherits": ["tools"], "platforms": []}},
        "group": {"all": {"targets": ["new"]}}}"#;
    let plan = resolve(&Case { files: &[("f.hcl", FILE), ("f.json", json)], ..NOTHING }).unwrap();
    let flags = plan.targets["app"].flags();
    for flag in ["--tag=json:two", "--build-arg=A=2", "--build-arg=C=3", "--label=org.example=z"] {
        assert!(flags.contains(&flag.to_owned()), "{flag}: {flags:?}");
    }
    assert_eq!(plan.groups["all"], ["new"]);
    assert!(plan.targets["new"].platforms().is_empty());
}

#[test]
fn overrides() {
    let set = [
        "*.args.A=9",
        "app.tags=one:1",
        "app.tags=two:2",
        "app.tags+=three:3",
        "t*.platform=linux/arm64",
        "app.pull=true",
        "app.args.HOME",
        "app.contexts.tool=docker-image://other",
    ];
    let environment = &[("HOME", "/root")];
    let case = Case { files: &[("f.hcl", FILE)], names: &["all"], set: &set, environment };
    let plan = resolve(&case).unwrap();
    let flags = plan.targets["app"].flags();
    let wanted = [
        "--tag=one:1",
        "--tag=two:2",
        "--tag=three:3",
        "--pull",
        "--build-arg=A=9",
        "--build-arg=HOME=/root",
        "--build-context=tool=docker-image://other",
    ];
    for flag in wanted {
        assert!(flags.contains(&flag.to_owned()), "{flag}: {flags:?}");
    }
    assert_eq!(flags.iter().filter(|flag| flag.starts_with("--tag")).count(), 3);
    assert_eq!(plan.targets["tools"].platforms(), ["linux/arm64"]);
    assert!(plan.targets["base"].flags().contains(&"--build-arg=A=9".to_owned()), "of linked ones too");

    // What a target says of its outputs is not doubled.
    let pushed = |text: &str| {
        let case = Case { files: &[("f.hcl", text)], names: &["x"], set: &["*.push=true"], ..NOTHING };
        resolve(&case).unwrap().targets["x"].flags()
    };
    assert_eq!(pushed("target \"x\" {}\n"), ["--output=type=image,push=true"]);
    assert_eq!(pushed("target \"x\" {\n output = [\"type=image\"]\n}\n"), ["--output=type=image,push=true"]);
    assert_eq!(pushed("target \"x\" {\n output = [\"type=local,dest=o\"]\n}\n"), ["--output=type=local,dest=o"]);

    for wrong in ["app", "app.tags", "app.tga=1", "app.args=1", "app.pull=maybe", "app.tags.x=1", "app.push=maybe"] {
        let error = resolve(&Case { files: &[("f.hcl", FILE)], set: &[wrong], ..NOTHING }).unwrap_err();
        assert!(error.starts_with("bake/invalid-override"), "{wrong}: {error}");
    }
    let nobody = resolve(&Case { files: &[("f.hcl", FILE)], set: &["nobody.tags=a"], ..NOTHING }).unwrap_err();
    assert_snapshot!(nobody, @"bake/unknown-target --set: no target of this build is `nobody` [they are app, base, tools]");
}

#[test]
fn expressions() {
    let tag = |expression: &str| {
        flags(&format!("A = \"a\"\nN = 3\nL = [\"x\", \"y\"]\nM = {{ k = \"v\" }}\ntarget \"x\" {{\n tags = [{expression}]\n}}\n"), "x").remove(0)
    };
    for (expression, value) in [
        ("\"${A}-${N}\"", "a-3"),
        ("A == \"a\" && N > 2 ? \"yes\" : \"no\"", "yes"),
        ("!(N != 3) || false ? \"yes\" : \"no\"", "yes"),
        ("\"${N * 2 + 1 - 4 / 2}\"", "5"),
        ("L[1]", "y"),
        ("M.k", "v"),
        ("\"$${A}\"", "${A}"),
        ("<<E\ntext ${A}\nE\n", "text a\n"),
        ("\"é\\n\"", "é\n"),
        ("-N", "-3"),
        ("N % 2 == 1 ? 1.5 : 2", "1.5"),
    ] {
        assert_eq!(tag(expression), format!("--tag={value}"), "{expression}");
    }
}

/// Each says code, file, line, column and hint.
#[test]
fn errors() {
    assert_snapshot!(error("target \"x\" {\n  tags = [\n}\n"), @r#"bake/invalid-file f.hcl:3:1 f.hcl cannot be read [strings stand in double quotes, lists in brackets, blocks are `target "name" { … }`]"#);
    assert_snapshot!(error("target \"x\" {\n  tag = \"a\"\n}\n"), @"bake/unknown-key f.hcl:2:3 a target has no key `tag` [did you mean `tags`?]");
    assert_snapshot!(error("taget \"x\" {}\n"), @"bake/unknown-key f.hcl:1:1 bake files have no block `taget` [did you mean `target`?]");
    assert_snapshot!(error("target {}\n"), @r#"bake/invalid-file f.hcl:1:1 a block `target` has one name [write target "name" { … }]"#);
    assert_snapshot!(error("target \"x\" {\n  tags = \"a\"\n}\n"), @"bake/wrong-type f.hcl:2:10 `tags` is a list of texts [write tags as a list of texts]");
    assert_snapshot!(error("target \"x\" {\n  args = [\"a\"]\n}\n"), @"bake/wrong-type f.hcl:2:10 `args` is a map of texts [write args as a map of texts]");
    assert_snapshot!(error("target \"x\" {\n  tags = [TGA]\n}\nTAG = 1\n"), @"bake/unknown-variable f.hcl:2:11 there is no variable `TGA` [did you mean `TAG`?]");
    assert_snapshot!(error("target \"x\" {\n  tags = [regex(\"a\", \"b\")]\n}\n"), @"bake/not-yet f.hcl:2:11 the function `regex` is not there yet [write the value out]");
    for (pattern, time) in [("YYY", "2023-01-02T03:04:05Z"), ("YY", "nope"), ("'a", "2023-01-02T03:04:05Z"), ("Y", "é")]
    {
        let error = error(&format!("target \"x\" {{\n  tags = [formatdate(\"{pattern}\", \"{time}\")]\n}}\n"));
        assert!(error.starts_with("bake/invalid-expression f.hcl:2:"), "{error}");
    }
    assert_snapshot!(error("target \"x\" {\n  tags = [uper(\"a\")]\n}\n"), @"bake/unknown-function f.hcl:2:11 there is no function `uper` [did you mean `upper`?]");
    assert_snapshot!(error("target \"x\" {\n  tags = [tostring(1)]\n}\n"), @"bake/unknown-function f.hcl:2:11 there is no function `tostring` [bake files say convert(value, string), convert(value, list(string)) and so on]");
    assert_snapshot!(error("target \"x\" {\n  tags = [upper(\"a\", \"b\")]\n}\n"), @"bake/invalid-expression f.hcl:2:11 `upper` takes one value [look at what it is given]");
    assert_snapshot!(error("target \"x\" {\n  tags = [join(\",\", \"b\")]\n}\n"), @"bake/invalid-expression f.hcl:2:21 a list belongs here [look at the types of both sides]");
    assert_snapshot!(error("target \"x\" {\n  tags = [format(\"%d\", \"b\")]\n}\n"), @"bake/invalid-expression f.hcl:2:11 `format` takes a number for %d [look at what it is given]");
    assert_snapshot!(error("function \"f\" {\n  params = [a]\n}\ntarget \"x\" {\n  tags = [f(1)]\n}\n"), @"bake/unknown-key f.hcl:1:10 the function `f` has no result [write params = [a, b], variadic_params = rest if there are more, and result]");
    assert_snapshot!(error("function \"f\" {\n  params = [a]\n  result = a\n}\ntarget \"x\" {\n  tags = [f(1, 2)]\n}\n"), @"bake/invalid-expression f.hcl:6:11 `f` takes one value, and gets 2 [give as many as it has `params`]");
    assert_snapshot!(error("function \"f\" {\n  params = [a]\n  result = f(a)\n}\ntarget \"x\" {\n  tags = [f(1)]\n}\n"), @"bake/invalid-expression f.hcl:3:12 the function `f` leads to itself [take one of the calls out of the circle]");
    assert_snapshot!(error("target \"x\" {\n  matrix = { a = [1, 2] }\n}\n"), @r#"bake/invalid-matrix f.hcl:1:8 two targets of the matrix are called `x` [write name = "app-${version}" and matrix = { version = ["1", "2"] }]"#);
    assert_snapshot!(error("target \"x\" {\n  matrix = { a = [1.5] }\n  name = \"x-${a}\"\n}\n"), @"bake/invalid-matrix f.hcl:3:10 `x-1.5` is no name of a target [sanitize(…) makes a text fit]");
    assert_snapshot!(error("target \"x\" {\n  matrix = { a = 1 }\n  name = \"x-${a}\"\n}\n"), @r#"bake/invalid-matrix f.hcl:2:12 `a` of a matrix is a list [write name = "app-${version}" and matrix = { version = ["1", "2"] }]"#);
    assert_snapshot!(error("target \"x\" {\n  name = \"y\"\n}\n"), @r#"bake/invalid-matrix f.hcl:2:10 `name` of a target is for a matrix [write name = "app-${version}" and matrix = { version = ["1", "2"] }]"#);
    assert_snapshot!(error("target \"a.b\" {\n}\n"), @"bake/invalid-matrix f.hcl:1:8 `a.b` is no name of a target [sanitize(…) makes a text fit]");
    assert_snapshot!(error("target \"x\" {\n  args = { for a in [1, 1] : \"k\" => a }\n}\n"), @"bake/invalid-expression f.hcl:2:30 the loop makes `k` twice [write `...` behind the value to have lists of them]");
    assert_snapshot!(error("target \"x\" {\n  tags = target.y.tags\n}\n"), @"bake/unknown-variable f.hcl:2:10 there is no target.y.tags [what another inherits has to be named there]");
    assert_snapshot!(error("variable \"V\" {\n  type = list(sring)\n}\ntarget \"x\" {\n  tags = V\n}\n"), @"bake/invalid-expression f.hcl:2:15 a type belongs here [types are string, number, bool, any, list(…), set(…), map(…), tuple([…]), object({…})]");
    assert_snapshot!(error("variable \"V\" {\n  type = number\n  default = \"a\"\n}\ntarget \"x\" {\n  tags = [V]\n}\n"), @"bake/refused-variable f.hcl:3:13 the default of `V` is not of its type [correct the default or the type]");
    assert_snapshot!(error("A = B\nB = A\ntarget \"x\" {\n  tags = [A]\n}\n"), @"bake/invalid-expression f.hcl:2:5 the value of `A` leads to itself [take one of the names out of the circle]");
    assert_snapshot!(error("target \"x\" {\n  inherits = [\"y\"]\n}\ntarget \"y\" {\n  inherits = [\"x\"]\n}\n"), @"bake/cycle f.hcl:5:14 `x` leads to itself [take one of the names out of the circle]");
    assert_snapshot!(error("target \"x\" {\n  contexts = { a = \"target:x\" }\n}\n"), @"bake/cycle f.hcl:1:8 `x` leads to itself [take one of the names out of the circle]");
    assert_snapshot!(error("target \"x\" {\n  contexts = { a = \"target:z\" }\n}\n"), @"bake/unknown-target f.hcl:1:8 there is no target or group `z` [did you mean `x`?]");
    assert_snapshot!(error("group \"x\" {\n  targets = [\"x\"]\n}\n"), @"bake/cycle f.hcl:2:13 `x` leads to itself [take one of the names out of the circle]");
    assert_snapshot!(error("group \"x\" {\n  targets = [\"appp\"]\n}\ntarget \"app\" {}\n"), @"bake/unknown-target f.hcl:2:13 there is no target or group `appp` [did you mean `app`?]");
    assert_snapshot!(error("target \"x\" {\n  tags = [\"${1 + \"b\"}\"]\n}\n"), @"bake/invalid-expression f.hcl:2:18 a number belongs here [look at the types of both sides]");
    assert_snapshot!(error("target \"x\" {\n  tags = [\"${1 / 0}\"]\n}\n"), @"bake/invalid-expression f.hcl:2:18 a number other than 0 belongs here [look at the types of both sides]");
    assert_snapshot!(error("variable \"V\" {\n  default = 1\n  validation {\n    condition = V > 1\n    error_message = \"too small\"\n  }\n}\ntarget \"x\" {\n  tags = [\"${V}\"]\n}\n"), @"bake/refused-variable f.hcl:4:17 the value of `V` is refused [set V in the environment]");
    let json = |text: &str| resolve(&Case { files: &[("f.json", text)], names: &["x"], ..NOTHING }).unwrap_err();
    assert_snapshot!(json("{\"target\": {\n  \"x\": {\"tags\": [}}}"), @r#"bake/invalid-file f.json:2:18 f.json cannot be read [it is {"target": {"name": { … }}}, and groups and variables likewise]"#);
    assert_snapshot!(json("{\"target\": {\n  \"x\": {\"tgas\": []}}}"), @"bake/unknown-key f.json:2:9 a target has no key `tgas` [did you mean `tags`?]");
    assert_snapshot!(json("{\"target\": {\n  \"x\": {\"tags\": [\"${\"]}}}"), @"bake/invalid-file f.json:2:9 `${` is not a template [write a variable as ${NAME}, and a literal `${` as `$${`]");
    let environment = &[("V", "many")];
    let text = "variable \"V\" {\n  default = 1\n}\ntarget \"x\" {\n  tags = [\"${V}\"]\n}\n";
    assert_snapshot!(resolve(&Case { files: &[("f.hcl", text)], names: &["x"], environment, ..NOTHING }).unwrap_err(), @"bake/refused-variable f.hcl:1:10 V=`many` of the environment is not a number [unset it, or give another value]");
}

const MATRIX: &str = r#"
variable "TAG" { default = "latest" }
variable "PYTHONS" { default = ["3.11", "3.12"] }
function "tags" {
  params          = [name, version]
  variadic_params = more
  result          = concat(["r/${name}:${version}-${TAG}"], [for one in more : "r/${name}:${one}"])
}
target "base" {
  args = { BASE = "debian" }
}
target "py" {
  name     = "py-${sanitize(version)}-${kind.name}"
  matrix   = { version = PYTHONS, kind = [{ name = "slim" }, { name = "full", tag = "whole" }] }
  inherits = ["base"]
  target   = kind.name
  args     = { VERSION = version, BASE = target.base.args.BASE == "debian" ? "d" : "o" }
  tags     = kind.name == "full" ? tags("py", version, kind.tag) : tags("py", version)
}
target "all" {
  contexts = { for version in PYTHONS : "py${version}" => "target:py-${sanitize(version)}-slim" }
}
group "default" { targets = ["py"] }
"#;

#[test]
fn a_matrix_makes_targets_and_a_group_of_them() {
    let plan = resolve(&Case { files: &[("f.hcl", MATRIX)], ..NOTHING }).unwrap();
    assert_eq!(plan.groups["default"], ["py"]);
    assert_eq!(plan.groups["py"], ["py-3_11-slim", "py-3_11-full", "py-3_12-slim", "py-3_12-full"]);
    let mut flags = plan.targets["py-3_12-full"].flags();
    flags.sort();
    let wanted = [
        "--build-arg=BASE=d",
        "--build-arg=VERSION=3.12",
        "--tag=r/py:3.12-latest",
        "--tag=r/py:whole",
        "--target=full",
    ];
    assert_eq!(flags, wanted);
    let all = resolve(&Case { files: &[("f.hcl", MATRIX)], names: &["all"], ..NOTHING }).unwrap();
    assert_eq!(all.targets.keys().collect::<Vec<_>>(), ["all", "py-3_11-slim", "py-3_12-slim"]);
    // One of them alone, with what is set for some of them.
    let set = &["py-*-full.args.VERSION=9", "*.args.X=1"];
    let one = resolve(&Case { files: &[("f.hcl", MATRIX)], names: &["py-3_11-full"], set, ..NOTHING }).unwrap();
    let flags = one.targets["py-3_11-full"].flags();
    assert!(flags.contains(&"--build-arg=VERSION=9".to_owned()) && flags.contains(&"--build-arg=X=1".to_owned()));
    // The same in JSON, whose list may come from the environment.
    let json = r#"{"variable": {"VS": {"type": "list(string)", "default": ["1"]}},
        "function": {"up": {"params": ["a"], "result": "${upper(a)}"}},
        "target": {"x": {"name": "x-${v}", "matrix": {"v": "${VS}"}, "args": {"V": "${up(v)}", "${v}": "k"}}}}"#;
    let environment = &[("VS", "a,b")];
    let case = Case { files: &[("f.json", json)], names: &["x"], environment, ..NOTHING };
    let plan = resolve(&case).unwrap();
    assert_eq!(plan.groups["x"], ["x-a", "x-b"]);
    assert_eq!(plan.targets["x-b"].flags(), ["--build-arg=V=B", "--build-arg=b=k"]);
    let environment = &[(crate::NOW, "2026-01-02T03:04:05Z")];
    let text = "target \"x\" {\n target = formatdate(\"YYYYMMDD\", timestamp())\n}\n";
    let plan = resolve(&Case { files: &[("f.hcl", text)], names: &["x"], environment, ..NOTHING }).unwrap();
    assert_eq!(plan.targets["x"].flags(), ["--target=20260102"]);
    let empty = MATRIX.replace(r#"["3.11", "3.12"]"#, "[]");
    let error = resolve(&Case { files: &[("f.hcl", &empty)], names: &["py"], ..NOTHING }).unwrap_err();
    assert!(error.starts_with("bake/unknown-target"), "{error}");
}

/// What buildx 0.29 gives for each.
#[test]
fn functions_give_what_buildx_gives() {
    let one =
        |expression: &str| flags(&format!("target \"x\" {{\n target = jsonencode({expression})\n}}\n"), "x").remove(0);
    for (expression, value) in [
        (r#"flatten([["a"], [["b"]], "c"])"#, r#"["a","b","c"]"#),
        (r#"merge({ a = 1 }, { a = 2, b = 3 })"#, r#"{"a":2,"b":3}"#),
        (r#"[keys({ b = 1, a = 2 }), values({ b = 1, a = 2 })]"#, r#"[["a","b"],[2,1]]"#),
        (r#"[coalesce(null, "", "x"), coalescelist([], ["a"]), compact(["a", "", "b"])]"#, r#"["",["a"],["a","b"]]"#),
        (
            r#"[distinct(["a", "b", "a"]), element(["a", "b"], 3), lookup({ a = "1" }, "z", "d")]"#,
            r#"[["a","b"],"b","d"]"#,
        ),
        (
            r#"[zipmap(["a"], [1]), chunklist(["a", "b", "c"], 2), range(1, 7, 2)]"#,
            r#"[{"a":1},[["a","b"],["c"]],[1,3,5]]"#,
        ),
        (
            r#"[slice(["a", "b", "c"], 1, 2), title("hello world"), indent(2, "a\nb")]"#,
            r#"[["b"],"Hello World","a\n  b"]"#,
        ),
        (
            r#"[reverse("abc"), reverselist([1, 2]), sanitize("a.b/c@d:é"), urlencode("a b&c/é")]"#,
            r#"["cba",[2,1],"a_b_c_d__","a+b%26c%2F%C3%A9"]"#,
        ),
        (
            r#"[trim("xxaxx", "x"), chomp("a\n\n"), substr("hello", 1, 3), substr("hello", -3, -1), strlen("é")]"#,
            r#"["a","a","ell","llo",1]"#,
        ),
        (
            r#"[formatlist("%s-%s", ["a", "b"], "c"), format("%5.2f|%-3s|%q|%03d", 1.234, "a", "b", 7)]"#,
            r#"[["a-c","b-c"]," 1.23|a  |\"b\"|007"]"#,
        ),
        (
            r#"[parseint("ff", 16), pow(2, 10), signum(-3), int(3.7), ceil(1.2), modulo(7, 3), absolute(-2)]"#,
            "[255,1024,-1,3,2,1,2]",
        ),
        (
            r#"[setproduct(["a", "b"], ["c"]), setunion(["b"], ["a"]), setsubtract(["a", "b"], ["a"])]"#,
            r#"[[["a","c"],["b","c"]],["a","b"],["b"]]"#,
        ),
        (
            r#"[contains(["a"], "a"), hasindex(["a"], 0), indexof(["a", "b"], "b"), dirname("/a/b"), basename("/a/b")]"#,
            r#"[true,true,1,"/a","b"]"#,
        ),
        (
            r#"[split(",", "a,b"), join(",", ["a", 1], [true]), replace("1.2", ".", "-"), base64decode(base64encode("hé"))]"#,
            r#"[["a","b"],"a,1,true","1-2","hé"]"#,
        ),
        (
            r#"[equal(1, "1"), 1 == 1.0, and(true, false), or(true, "false"), max(1, 3, 2), 0.1 + 0.2, 10 / 4]"#,
            "[false,true,false,true,3,0.3,2.5]",
        ),
        (
            r#"[try(nothing.here, "d"), can(nothing), convert("1", number) + 1, convert([1, 2], list(string))]"#,
            r#"["d",false,2,["1","2"]]"#,
        ),
        (r#"{ for x in ["a", "b"] : x => upper(x) if x != "b" }"#, r#"{"a":"A"}"#),
        (r#"{ for k, v in { b = 1, a = 2 } : "k" => v... }"#, r#"{"k":[2,1]}"#),
        (r#"[for k, v in { b = 1, a = 2 } : "${k}=${v}"]"#, r#"["a=2","b=1"]"#),
        (r#"[[{ a = 1 }, { a = 2 }][*].a, [{ a = 1 }].*.a]"#, "[[1,2],[1]]"),
        (
            r#"["%{ for x in [1, 2] ~} ${x} %{~ endfor }", "a ${~ 1 ~} b", "%{ if 1 > 2 }y%{ else }n%{ endif }"]"#,
            r#"["12","a1b","n"]"#,
        ),
        (
            r#"formatdate("YYYY-MM-DD hh:mm:ss ZZZZZ ZZZ", "2023-01-02T03:04:05Z")"#,
            r#""2023-01-02 03:04:05 +00:00 UTC""#,
        ),
        (
            r#"formatdate("EEEE, DD-MMM-YY HH:mmaa Z", "2023-11-12T13:04:05+02:00")"#,
            r#""Sunday, 12-Nov-23 01:04pm +02:00""#,
        ),
        (
            r#"formatdate("YYYYMMDD'T'hhmmss EEE MMMM D M h H m s AA ZZZ ZZZZ", "2023-11-02T00:04:05.5-00:30")"#,
            r#""20231102T000405 Thu November 2 11 0 12 4 5 AM -0030 -0030""#,
        ),
        (r#"formatdate("'it''s' YYYY", "2024-02-29T03:04:05Z")"#, r#""it's 2024""#),
        (r#"[concat(["a"], ["b", 1]), min([3, 2]...), 9007199254740993]"#, r#"[["a","b",1],2,9007199254740993]"#),
    ] {
        assert_eq!(one(expression), format!("--target={value}"), "{expression}");
    }
}

#[test]
fn variables_have_types() {
    let text = "variable \"L\" {\n type = list(number)\n default = [\"1\"]\n}\nvariable \"O\" {\n type = object({ a = string })\n \
                default = { a = 1, b = 2 }\n}\ntarget \"x\" {\n args = { S = length(L), O = jsonencode(O) }\n}\n";
    let of = |environment: &[(&str, &str)]| {
        let case = Case { files: &[("f.hcl", text)], names: &["x"], environment, ..NOTHING };
        resolve(&case).map(|plan| plan.targets["x"].flags().join(" "))
    };
    assert_eq!(of(&[]).unwrap(), r#"--build-arg=O={"a":"1"} --build-arg=S=1"#);
    assert_eq!(
        of(&[("L", "1,\"2\",3"), ("O_JSON", r#"{"a": "é"}"#)]).unwrap(),
        r#"--build-arg=O={"a":"é"} --build-arg=S=3"#
    );
    assert_snapshot!(of(&[("L", "1,x")]).unwrap_err(), @"bake/refused-variable f.hcl:1:10 L=`1,x` of the environment is not a list of the type [unset it, or give another value]");
    assert_snapshot!(of(&[("O", "x")]).unwrap_err(), @"bake/refused-variable f.hcl:5:10 O=`x` of the environment is not a text for this type: set O_JSON [unset it, or give another value]");
    assert_snapshot!(of(&[("O_JSON", "[]")]).unwrap_err(), @"bake/refused-variable f.hcl:5:10 O_JSON=`[]` of the environment is not JSON of its type [unset it, or give another value]");
}

/// Functions that call each other to any depth.
#[test]
fn deep_calls_end() {
    let chain: String = (0..500)
        .map(|index| format!("function \"f{index}\" {{\n params = [a]\n result = [f{}([[a]])][0]\n}}\n", index + 1))
        .collect();
    let end = error(&format!("{chain}target \"x\" {{\n tags = [f0(1)]\n}}\n"));
    assert!(end.starts_with("bake/invalid-expression"), "{end}");
    let loops = format!("A = {}1{}\n", "[for a in [1] : ".repeat(90), "]".repeat(90));
    assert!(error(&format!("{loops}target \"x\" {{\n tags = [jsonencode(A)]\n}}\n")).starts_with("bake/"));
}

/// A few lines that stand for more than there is end soon: names that each are twice the next, groups and parents likewise.
#[test]
fn what_doubles_ends() {
    let doubled = |line: &dyn Fn(usize) -> String| (0..60).map(line).collect::<String>();
    let texts = doubled(&|index| format!("V{index} = \"${{V{0}}}${{V{0}}}\"\n", index + 1));
    let lists = doubled(&|index| format!("V{index} = [V{0}, V{0}]\n", index + 1));
    let calls = doubled(&|index| {
        format!("function \"f{index}\" {{\n params = [a]\n result = \"${{f{0}(a)}}${{f{0}(a)}}\"\n}}\n", index + 1)
    });
    let long = "V0 = join(\"\", [for a in range(1000) : join(\"\", [for b in range(1000) : format(\"%900s\", b)])])\n"
        .to_owned();
    for (text, name) in
        [(texts + "V60 = \"x\"\n", "V0"), (lists + "V60 = 1\n", "length(V0)"), (calls, "f0(1)"), (long, "V0")]
    {
        let error = error(&format!("{text}target \"x\" {{\n tags = [\"${{{name}}}\"]\n}}\n"));
        assert!(error.starts_with("bake/invalid-expression") || error.starts_with("bake/unknown-function"), "{error}");
    }
    let groups = doubled(&|index| format!("group \"g{index}\" {{\n targets = [\"g{0}\", \"g{0}\"]\n}}\n", index + 1));
    let case = format!("{groups}group \"g60\" {{\n targets = [\"x\"]\n}}\ntarget \"x\" {{}}\n");
    assert_eq!(resolve(&Case { files: &[("f.hcl", &case)], names: &["g0"], ..NOTHING }).unwrap().targets.len(), 1);
    let heirs = doubled(&|index| format!("target \"t{index}\" {{\n inherits = [\"t{0}\", \"t{0}\"]\n}}\n", index + 1));
    let case = format!("{heirs}target \"t60\" {{}}\n");
    assert_eq!(resolve(&Case { files: &[("f.hcl", &case)], names: &["t0"], ..NOTHING }).unwrap().targets.len(), 1);
    let many = "target \"x\" {\n matrix = { a = range(1000), b = range(1000) }\n name = \"x${a}-${b}\"\n}\n";
    assert!(error(many).starts_with("bake/invalid-matrix"));
}

#[test]
fn printed_as_the_field_prints_it() {
    let text = "target \"x\" {\n  secret = [\"id=a,env=HOME\"]\n  ssh = [\"default\", \"k=/a\"]\n  cache-from = [\"user/app:cache\"]\n  output = [\"out\"]\n  contexts = { b = \"target:b\" }\n}\ntarget \"b\" {}\n";
    let plan = resolve(&Case { files: &[("f.hcl", text)], names: &["x"], ..NOTHING }).unwrap();
    assert_snapshot!(plan.to_json().to_string(), @r#"{"group":{"default":{"targets":["x"]}},"target":{"b":{"context":".","dockerfile":"Dockerfile","output":[{"type":"cacheonly"}]},"x":{"context":".","contexts":{"b":"target:b"},"dockerfile":"Dockerfile","cache-from":[{"ref":"user/app:cache","type":"registry"}],"secret":[{"id":"a","env":"HOME"}],"ssh":[{"id":"default"},{"id":"k","paths":["/a"]}],"output":[{"dest":"out","type":"local"}]}}}"#);
}

#[test]
fn codes_are_unique_and_of_this_area() {
    let mut ids: Vec<_> = crate::codes::ALL.iter().map(|code| code.id).collect();
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count);
    assert!(ids.iter().all(|id| id.starts_with("bake/")));
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "(?s).{0,200}") {
        let _ = resolve(&Case { files: &[("f.hcl", &text)], names: &["x"], ..NOTHING });
        let _ = resolve(&Case { files: &[("f.json", &text)], names: &["x"], ..NOTHING });
        let _ = Override::parse(&text);
    }

    #[test]
    fn mutations_of_a_file_are_read_or_refused(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), 0u8..3, any::<char>()), 1..6),
    ) {
        let mut characters: Vec<char> = [FILE, MATRIX].concat().chars().collect();
        for (index, kind, character) in edits {
            let at = index.index(characters.len());
            match kind {
                0 => { characters.remove(at); }
                1 => characters.insert(at, character),
                _ => characters[at] = character,
            }
        }
        let text: String = characters.into_iter().collect();
        let _ = resolve(&Case { files: &[("f.hcl", &text)], ..NOTHING });
    }

    #[test]
    fn any_pattern_ends(pattern in r"[a*?]{0,60}", text in "[ab]{0,60}") {
        crate::overrides::matches(pattern.as_bytes(), text.as_bytes());
    }
}

/// Deep and long texts end soon, and never on the stack.
#[test]
fn deep_and_long_files() {
    let deep = format!("A = {}1{}\n", "[".repeat(100_000), "]".repeat(100_000));
    assert!(resolve(&Case { files: &[("f.hcl", &deep)], ..NOTHING }).unwrap_err().starts_with("bake/invalid-file"));
    let json = format!("{{\"a\": {}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(resolve(&Case { files: &[("f.json", &json)], ..NOTHING }).unwrap_err().starts_with("bake/invalid-file"));
    let mut long = String::from("V0 = \"x\"\n");
    (1..2_000).for_each(|index| long.push_str(&format!("V{index} = \"${{V{}}}\"\n", index - 1)));
    long.push_str("target \"x\" {\n  tags = [V1999]\n}\n");
    let end = resolve(&Case { files: &[("f.hcl", &long)], names: &["x"], ..NOTHING }).unwrap_err();
    assert!(end.starts_with("bake/invalid-expression"), "{end}");
    let sum = format!("A = 0{}\ntarget \"x\" {{\n  tags = [\"${{A}}\"]\n}}\n", " + 1".repeat(5_000));
    assert!(resolve(&Case { files: &[("f.hcl", &sum)], names: &["x"], ..NOTHING }).is_err());
    let mut heirs = String::from("target \"x\" {\n  inherits = [\"t0\"]\n}\n");
    (0..2_000).for_each(|index| {
        heirs.push_str(&format!("target \"t{index}\" {{\n  inherits = [\"t{}\"]\n}}\n", index + 1));
    });
    let end = resolve(&Case { files: &[("f.hcl", &heirs)], names: &["x"], ..NOTHING }).unwrap_err();
    assert!(end.starts_with("bake/cycle"), "{end}");
}
