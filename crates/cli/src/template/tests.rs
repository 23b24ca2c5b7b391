use proptest::prelude::*;
use serde_json::json;

use super::*;

fn data() -> Json {
    json!({
        "Names": "web", "ID": "d7619cc2b3ec", "State": { "Pid": 7, "Running": true, "a/b.c": { "d": [1, 2] } },
        "Config": { "Labels": { "a": "b", "c": "d" }, "Env": ["A=1", "B=2"], "Cmd": null, "Image": "x" },
        "Ports": { "80/tcp": [{ "HostPort": "8080" }], "443/tcp": null }, "Empty": [], "Float": 1.5, "Nothing": null,
    })
}

/// What Docker 28 prints for the same template over the same data.
#[test]
fn templates_are_go_s() {
    let data = data();
    for (template, expected) in [
        (
            "{{.Names}}\\t{{ .State.Pid }} {{json .State}}",
            "web\\t7 {\"Pid\":7,\"Running\":true,\"a/b.c\":{\"d\":[1,2]}}",
        ),
        ("{{ json (index .State \"a/b.c\").d }} {{index .State \"Pid\"}}", "[1,2] 7"),
        ("{{range $i, $e := .Config.Env}}{{if $i}},{{end}}{{$i}}={{$e}}{{end}}", "0=A=1,1=B=2"),
        ("{{range .Empty}}x{{else}}none{{end}}", "none"),
        ("{{range $k, $v := .Config.Labels}}{{$k}}:{{$v}} {{end}}", "a:b c:d "),
        (
            "{{range .Config.Env}}{{.}} {{break}}{{end}}{{range .Config.Env}}{{if eq . \"A=1\"}}{{continue}}{{end}}{{.}}{{end}}",
            "A=1 B=2",
        ),
        ("{{range $p, $c := .Ports}}{{$p}}={{if $c}}{{(index $c 0).HostPort}}{{end}};{{end}}", "443/tcp=;80/tcp=8080;"),
        ("{{(index (index .Ports \"80/tcp\") 0).HostPort}}", "8080"),
        ("{{with .Nothing}}m{{else}}no{{end}} {{- \" trimmed\" -}} !", "no trimmed!"),
        ("{{with $x := .Names}}{{$x}}{{.}}{{end}} {{with \"\"}}{{else with .ID}}{{slice . 0 4}}{{end}}", "webweb d761"),
        ("{{if false}}a{{else if 0}}b{{else if .Names}}c{{else}}d{{end}}", "c"),
        (
            "{{/* c */}}{{printf \"%q %v %d %5d|%-5d|%05d %x %t %s\" \"a\" .Names 3 4 5 6 255 true 7}}",
            "\"a\" web 3     4|5    |00006 ff true %!s(int=7)",
        ),
        (
            "{{printf \"%d %s\" \"x\" 1}} {{printf \"%d\" }} {{printf \"a\" 1}}",
            "%!d(string=x) %!s(int=1) %!d(MISSING) a%!(EXTRA int=1)",
        ),
        (
            "{{printf \"%v %T\" (split \"a b\" \" \") 1}} {{printf \"%5.2f|%e|%g\" 3.14159 1234.5 0.00001}}",
            "[a b] int  3.14|1.234500e+03|1e-05",
        ),
        ("{{printf \"%*d\" 5 3}} {{printf \"%[2]d %[1]d\" 1 2}}", "    3 2 1"),
        (
            "{{eq .Names \"fmt1\" \"web\"}} {{lt 1 2}} {{and 1 0 2}} {{or 0 \"\" \"z\"}} {{not 1}}",
            "true true 0 z false",
        ),
        ("{{ne 1 2}}{{le \"a\" \"b\"}}{{gt 2 1}}{{ge 1.5 1.5}}", "truetruetruetrue"),
        ("{{print 1 2 \"a\" \"b\" 3}} {{println \"x\" 1}}", "1 2ab3 x 1\n"),
        (
            "{{html \"<a&b>'\"}} {{urlquery \"a b&c\"}} {{js \"it's <x>\"}}",
            "&lt;a&amp;b&gt;&#39; a+b%26c it\\'s \\u003Cx\\u003E",
        ),
        ("{{define \"T\"}}[{{.}}]{{end}}{{template \"T\" .Names}}{{block \"B\" .ID}}{{slice . 0 2}}{{end}}", "[web]d7"),
        ("{{json .Names}} {{json (split \"a<b\" \"<\")}} {{split \"a,b\" \",\"}}", "\"web\" [\"a\",\"b\"] [a b]"),
        ("{{$x := 1}}{{$x = 2}}{{$x}} {{1.5}} {{1e3}} {{0x10}} {{'a'}} {{true}} {{-3}}", "2 1.5 1000 16 97 true -3"),
        (
            "{{range 3}}{{.}}{{end}} {{len .Names}}{{len .Config.Env}}{{len .Config.Labels}}{{len .Config.Cmd}}",
            "012 3220",
        ),
        ("{{.Names | printf \"%s-%s\" \"x\"}} {{.Config.Env | json}}", "x-web [\"A=1\",\"B=2\"]"),
        (
            "{{pad \"\" 2 2}}|{{pad \"x\" 1 1}}|{{truncate \"abc\" 10}}|{{truncate \"abcdef\" 4}}|{{title \"hello wOrld-x y_z\"}}",
            "| x |abc|abcd|Hello WOrld-X Y_z",
        ),
        ("{{upper .Names}} {{lower \"AbC\"}} {{join .Config.Env \";\"}}", "WEB abc A=1;B=2"),
        ("{{\"a\\tb\"}} {{`raw\\n`}}", "a\tb raw\\n"),
        // What JSON leaves open is told by the names of Docker's fields.
        (
            "{{.Config.Labels}} {{.Config.Env}} {{.Config.Cmd}} {{json .Config.Cmd}} {{.Nothing}} {{.Float}}",
            "map[a:b c:d] [A=1 B=2] [] null <nil> 1.5",
        ),
        (
            "{{.Config.Labels.missing}} {{index .Config.Labels \"missing\"}} {{with .State.Health}}x{{end}}",
            "<no value> <no value> ",
        ),
        ("{{if and .State.Health .State.Health.Status}}x{{else}}none{{end}}", "none"),
        ("{{ $.Names }}{{range .Config.Env}}{{$.ID}}{{end}}", "webd7619cc2b3ecd7619cc2b3ec"),
    ] {
        assert_eq!(render(template, &data).unwrap(), expected, "{template}");
    }
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    let data = data();
    for (template, named, place) in [
        ("{{index .State x}}", "`x`", "column 16"),
        ("{{(index .State \"Pid\"}}", "paren", "column 22"),
        ("{{foo .Names}}", "`foo`", "column 3"),
        ("{{.Nmaes}}", "`Nmaes`", "column 3"),
        ("a\n {{.State.Pid.Deep}}", "`Deep`", "line 2, column 4"),
        ("{{.Names", "unclosed action", "the end"),
        ("{{.Label \"a\"}}", "Label", "column 3"),
        ("{{.Names \"x\"}}", "wrong number of args", "column 3"),
        ("{{eq 1 1.0}}", "incompatible types", "column 3"),
        ("{{$y}}", "undefined variable", "column 3"),
        ("{{if true}}{{$y := 1}}{{else}}{{$y}}{{end}}", "undefined variable", "column 33"),
        ("{{nil}}", "nil is not a command", "column 3"),
        ("{{range \"abc\"}}{{.}}{{end}}", "range can't iterate", "column 9"),
        ("{{len 3}}", "len of type int", "column 3"),
        ("{{slice \"abc\" 5}}", "index out of range: 5", "column 3"),
        ("{{index .Config.Env 7}}", "index out of range: 7", "column 3"),
        ("{{if}}x{{end}}", "missing value for if", "column 5"),
        ("{{}}", "missing value", "column 3"),
        ("{{end}}", "unexpected {{end}}", "column 1"),
        ("{{range .Names}}", "{{range}} has no {{end}}", "column 1"),
        ("{{break}}", "outside {{range}}", "column 1"),
        ("{{template \"nope\"}}", "`nope` not defined", "column 1"),
        ("{{define \"x\"}}{{$a := 1}}{{template \"x\"}}{{end}}{{template \"x\"}}", "calls itself", "column 26"),
        ("{{join \"a\" \",\"}}", "can't handle", "column 3"),
        ("{{upper 1}}", "expected string", "column 3"),
        ("{{1 | 2}}", "is to be a function", "column 7"),
        ("{{\"x}}", "unterminated quoted string", "column 3"),
        ("{{/* x }}", "unclosed comment", "column 1"),
    ] {
        let error = render(template, &data).expect_err(template);
        assert!(error.message.contains(named), "{template}: {}", error.message);
        assert!(error.causes[0].contains(place), "{template}: {:?}", error.causes);
    }
}

#[test]
fn a_table_has_headings_and_even_columns() {
    let row = |name: &str, id: &str| Row {
        fields: json!({ "Names": name, "ID": id, "Image": "busybox" }),
        labels: BTreeMap::from([("com.example.my-label".to_owned(), format!("of {name}"))]),
    };
    let rows_of = [row("web", "1"), row("database-of-all", "2")];
    let headings = [("Names", "NAMES"), ("ID", "CONTAINER ID"), ("Image", "IMAGE")];
    let table = |template: &str| Template::of_list(template).unwrap().lines(&rows_of, &headings).unwrap();
    assert_eq!(
        table("table {{.Names}}\\t{{.ID}}"),
        "NAMES             CONTAINER ID\nweb               1\ndatabase-of-all   2\n"
    );
    assert_eq!(
        table("table {{upper .Image}}\\t{{truncate .Names 4}}\\t{{json .ID}}\\t{{.Label \"com.example.my-label\"}}"),
        "IMAGE     NAMES     CONTAINER ID   my label\nBUSYBOX   web       \"1\"            of web\n\
         BUSYBOX   data      \"2\"            of database-of-all\n"
    );
    assert_eq!(table("{{.ID}}"), "1\n2\n");
    assert_eq!(
        table("{{.ID}} {{json .}}").lines().next(),
        Some("1 {\"ID\":\"1\",\"Image\":\"busybox\",\"Names\":\"web\"}")
    );
    assert_eq!(rows("table {{.ID}}", &[], &headings).unwrap(), "CONTAINER ID\n");
    assert_eq!(rows("{{.ID}}", &[json!({ "ID": 1 })], &headings).unwrap(), "1\n");
    let error = Template::of_list("table {{.ID}}\\t{{.Foo}}").unwrap().lines(&[], &headings).unwrap_err();
    assert!(error.message.contains("`Foo`"), "{}", error.message);
}

#[test]
fn what_would_not_end_is_stopped() {
    let data = json!({ "L": vec![1; 1000], "S": "x".repeat(1000) });
    for template in [
        "{{range $.L}}{{range $.L}}{{range $.L}}{{range $.L}}{{end}}{{end}}{{end}}{{end}}",
        "{{range 9223372036854775807}}{{end}}",
        "{{$x := .S}}{{range .L}}{{$x = printf \"%s%s\" $x $x}}{{end}}",
        "{{range .L}}{{range $.L}}{{printf \"%1000000d\" 1}}{{end}}{{end}}",
        "{{define \"a\"}}{{template \"b\" .}}{{end}}{{define \"b\"}}{{template \"a\" .}}{{template \"a\" .}}{{end}}{{template \"a\" .}}",
        "{{printf \"%1000000d\" .L}}",
        "{{pad .S 1000000000000 1}}",
    ] {
        render(template, &data).expect_err(template);
    }
    for deep in ["(", "{{if 1}}", "{{range 1}}", "{{if 0}}{{else if 1}}", "{{block \"x\" 1}}"] {
        let text = if deep == "(" { format!("{{{{{}", deep.repeat(5000)) } else { deep.repeat(5000) };
        render(&text, &data).expect_err(deep);
    }
    let tabs = "\t".repeat(10_000);
    assert!(columns(&format!("{tabs}\n{tabs}\n")).len() > 20_000);
}

proptest! {
    /// No template panics or goes on for ever, whatever it is made of.
    #[test]
    fn no_template_panics(parts in proptest::collection::vec(prop_oneof![
        proptest::sample::select(vec![
            "{{", "}}", "{{- ", " -}}", "if ", "else ", "end", "range ", "with ", "define \"x\"", "template \"x\" .", "block \"x\" .",
            "break", "continue", ".", ".Names", ".Config.Env", ".Config.Labels", ".Ports", "$", "$x", " := ", " = ", ", ", " | ", "(", ")", "\"a\"",
            "`b`", "'c'", "1", "-2", "1.5", "1e400", "0x", "true", "nil", "index ", "slice ", "printf ", "\"%[3]*.[2]*[1]f %-+#09.3v%!%q\"",
            "print ", "len ", "json ", "split ", "join ", "pad ", "truncate ", "title ", "eq ", "lt ", "and ", "or ", "not ", "html ", "/* ", " */", "\\n", "\t", "é",
        ]).prop_map(str::to_owned),
        "[ -~é]{0,4}",
    ], 0..40), list in any::<bool>()) {
        let text = parts.concat();
        if list {
            if let Ok(template) = Template::of_list(&text) {
                let _ = template.lines(&[Row { fields: data(), labels: BTreeMap::new() }], &[("Names", "NAMES")]);
            }
        } else {
            let _ = render(&text, &data());
        }
    }

    /// The formatting of numbers and texts takes every flag.
    #[test]
    fn no_format_panics(format in "%[-+# 0]{0,3}[0-9*]{0,3}(\\.[0-9*]{0,2})?(\\[[0-9]\\])?[a-zA-Z%]", number in any::<i64>(), float in any::<f64>(), text in ".{0,8}") {
        let values = [json!(number), json!(float), json!(text), json!([number, text]), json!({ "k": float }), Json::Null];
        for value in &values {
            let value = Value::Json(Cow::Borrowed(value));
            let _ = print::format(&format, &[value.clone(), value]);
        }
    }
}
