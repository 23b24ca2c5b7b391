use proptest::prelude::*;

use super::*;
use crate::interpolate::interpolate;
use crate::node::{Node, Value};
use crate::{dotenv, merge, parse, split_words, units};
use carrack_diag::FileId;

/// Texts that look like Compose files often enough to get past the first line.
fn near_compose() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "services",
        "web",
        "image",
        "ports",
        "volumes",
        "environment",
        "depends_on",
        "networks",
        "build",
        "deploy",
        "extends",
        "include",
        "secrets",
        "healthcheck",
        "test",
        "x-a",
        "<<",
        "name",
        "replicas",
        "8080:80",
        "./a:/b:ro",
        "${A:-${B}}",
        "$",
        "${",
        "~",
        "null",
        "- ",
        "[",
        "]",
        "{",
        "}",
        ":",
        ": ",
        ",",
        "\n",
        "\n  ",
        "\n    ",
        "\n      ",
        "&a ",
        "*a",
        "!reset ",
        "!override ",
        "'",
        "\"",
        "|",
        ">",
        "#",
        "\t",
        "é",
        "\u{feff}",
        "0",
        "-1",
        "true",
        "1m30s",
        "%",
        "---\n",
        "? ",
        "@",
    ]);
    prop::collection::vec(word, 0..60).prop_map(|words| words.concat())
}

/// A mapping tree below one service, of the keys whose rules are associative by the specification.
fn service() -> impl Strategy<Value = String> {
    let name = || prop::sample::select(vec!["A", "B", "C"]);
    let value = || prop::sample::select(vec!["1", "2", "3"]);
    let pairs = move || prop::collection::btree_map(name(), value(), 0..3);
    (pairs(), any::<bool>(), pairs(), prop::option::of(value()), prop::collection::vec(value(), 0..3), any::<bool>())
        .prop_map(|(environment, listed, labels, user, dns, replace)| {
            let quoted = |value: &str| format!("'{value}'");
            let entries: Vec<String> = environment
                .iter()
                .map(
                    |(name, value)| {
                        if listed { format!("{name}={value}") } else { format!("{name}: {}", quoted(value)) }
                    },
                )
                .collect();
            let (open, close) = if listed { ('[', ']') } else { ('{', '}') };
            let mut text =
                format!("services:\n  web:\n    image: a\n    environment: {open}{}{close}\n", entries.join(", "));
            let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}: {}", quoted(value))).collect();
            text.push_str(&format!("    labels: {{{}}}\n", labels.join(", ")));
            if let Some(user) = user {
                text.push_str(&format!("    user: '{user}'\n"));
            }
            let dns: Vec<String> = dns.iter().map(|server| format!("10.0.0.{server}")).collect();
            text.push_str(&format!("    dns: [{}]\n", dns.join(", ")));
            if replace {
                text.push_str("    command: [x]\n");
            }
            text
        })
}

fn tree(text: &str) -> Node {
    let mut diagnostics = Vec::new();
    let documents = parse::documents(FileId(0), text, &mut diagnostics);
    assert_eq!(diagnostics, []);
    documents.into_iter().next().unwrap_or(Node::new(Value::Null, carrack_diag::Span::new(FileId(0), 0, 0)))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn loading_never_panics(text in any::<String>()) {
        said(&text);
    }

    #[test]
    fn loading_what_looks_like_compose_never_panics(first in near_compose(), second in near_compose()) {
        let files = &[("a.yaml", first.as_str()), ("b.yaml", second.as_str())];
        let others = &[("/srv/shop/.env", second.as_str()), ("/srv/shop/web", first.as_str())];
        let outcome = Fixture { files, others, ..Fixture::default() }.load();
        // Every place can be shown, and what loads can be rendered.
        for diagnostic in &outcome.diagnostics {
            carrack_diag::text(diagnostic, &outcome.sources, carrack_diag::Rendering::default());
        }
        if let Some(project) = outcome.project {
            crate::render::yaml(&project);
        }
    }

    #[test]
    fn small_parsers_never_panic(text in any::<String>()) {
        let _ = dotenv::parse(FileId(0), &text, &|_| None, &|_| None);
        let _ = dotenv::parse_raw(FileId(0), &text);
        let _ = split_words(&text);
        units::duration_ns(&text);
        units::size_bytes(&text);
        units::nano_cpus(&text);
        let _ = interpolate(&text, &|name| Some(name.to_owned()));
    }

    #[test]
    fn text_without_a_dollar_sign_stays(text in "[^$]*") {
        let result = interpolate(&text, &|_| None);
        prop_assert_eq!(result.map(|result| result.text.into_owned()).ok(), Some(text));
    }

    #[test]
    fn doubled_dollar_signs_give_the_text(text in any::<String>()) {
        let result = interpolate(&text.replace('$', "$$"), &|_| None).map(|result| result.text.into_owned());
        prop_assert_eq!(result.ok(), Some(text));
    }

    /// Three files give the same in whichever order neighbours are merged.
    #[test]
    fn merging_is_associative(a in service(), b in service(), c in service()) {
        let [a, b, c] = [a, b, c].map(|text| tree(&text));
        let mut diagnostics = Vec::new();
        let left = merge::files(merge::files(a.clone(), b.clone(), &mut diagnostics), c.clone(), &mut diagnostics);
        let right = merge::files(a, merge::files(b, c, &mut diagnostics), &mut diagnostics);
        prop_assert_eq!(diagnostics, []);
        prop_assert_eq!(left.to_json(), right.to_json());
    }

    #[test]
    fn merging_with_nothing_changes_nothing(text in service()) {
        let base = tree("services: {}\n");
        let own = tree(&text);
        let merged = merge::files(base, own.clone(), &mut Vec::new());
        prop_assert_eq!(merged.to_json(), own.to_json());
    }

    /// What a duration or size is written as is read as the same.
    #[test]
    fn durations_survive_being_written(ns in 0..u64::MAX / 2) {
        prop_assert_eq!(units::duration_ns(&units::format_duration(ns)), Some(ns));
    }

    /// Any text survives the canonical YAML.
    #[test]
    fn texts_survive_being_rendered(value in "\\PC*", key in "[a-zA-Z_. :#-]{1,8}") {
        let mut sample = project("services: {web: {image: a}}");
        let web = sample.services.get_mut("web").expect("web");
        let span = web.span;
        web.labels.insert(key, carrack_diag::Spanned::new(value, span));
        let rendered = crate::render::yaml(&sample);
        prop_assert_eq!(project(&rendered).services["web"].labels.len(), 1);
        prop_assert_eq!(crate::render::yaml(&project(&rendered)), rendered);
    }
}
