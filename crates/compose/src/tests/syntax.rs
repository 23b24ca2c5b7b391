//! Interpolation, words, durations, sizes, YAML scalars.

use super::*;
use crate::interpolate::interpolate;
use crate::{split_words, units};

fn expand(text: &str) -> Result<String, String> {
    let lookup = |name: &str| match name {
        "SET" => Some("value".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    };
    interpolate(text, &lookup).map(|result| result.text.into_owned()).map_err(|(failure, place)| {
        let failure = match failure {
            crate::interpolate::Failure::Syntax(reason) => reason.to_owned(),
            crate::interpolate::Failure::Required { name, message } => format!("{name}: {message}"),
        };
        format!("{failure} at {}", &text[place])
    })
}

/// The specification's table, all operators.
#[test]
fn interpolation() {
    for (text, expected) in [
        ("$SET", "value"),
        ("${SET}", "value"),
        ("a$SET-b", "avalue-b"),
        ("${UNSET}", ""),
        ("${UNSET:-d}", "d"),
        ("${EMPTY:-d}", "d"),
        ("${EMPTY-d}", ""),
        ("${UNSET-d}", "d"),
        ("${SET:-d}", "value"),
        ("${SET:+r}", "r"),
        ("${EMPTY:+r}", ""),
        ("${EMPTY+r}", "r"),
        ("${UNSET+r}", ""),
        ("${SET:?e}", "value"),
        ("${EMPTY?e}", ""),
        ("${UNSET:-${SET}}", "value"),
        ("${UNSET:-${EMPTY:-deep}}", "deep"),
        ("${UNSET:-a b:c}", "a b:c"),
        ("${SET:-${UNSET:?never asked}}", "value"),
        ("$$SET", "$SET"),
        ("$$$SET", "$value"),
        ("${UNSET:-$$x}", "$x"),
        ("costs 5$", "costs 5$"),
        ("$1 $- $(x)", "$1 $- $(x)"),
        ("${UNSET:-}", ""),
        ("ä$SET€", "ävalue€"),
    ] {
        assert_eq!(expand(text).as_deref(), Ok(expected), "{text}");
    }
    assert_eq!(expand("x ${UNSET:?why $SET} y").expect_err("required"), "UNSET: why value at ${UNSET:?why $SET}");
    assert_eq!(expand("${EMPTY:?}").expect_err("required"), "EMPTY:  at ${EMPTY:?}");
    for malformed in ["${", "${SET", "${}", "${SET:}", "${SET:x}", "${SET/a/b}", "${-d}", "${UNSET:-${SET}"] {
        assert!(expand(malformed).is_err(), "{malformed}");
    }
}

#[test]
fn words() {
    let words = |text: &str| split_words(text).expect("closed quotes");
    assert_eq!(words("a  'b c' \"d \\\"e\\\"\" f\\ g"), ["a", "b c", "d \"e\"", "f g"]);
    assert_eq!(words("bundle exec thin -p 3000"), ["bundle", "exec", "thin", "-p", "3000"]);
    assert_eq!(words("sh -c 'echo \"$HOME\"'"), ["sh", "-c", "echo \"$HOME\""]);
    assert_eq!(words("''"), [""]);
    assert_eq!(words(" \n"), Vec::<String>::new());
    assert_eq!(split_words("a 'b"), Err(2));
}

#[test]
fn durations_and_sizes() {
    for (text, ns) in [
        ("10ms", Some(10_000_000)),
        ("1m30s", Some(90_000_000_000)),
        ("1h5m30s20ms", Some(3_930_020_000_000)),
        ("1.5s", Some(1_500_000_000)),
        ("0", Some(0)),
        ("500us", Some(500_000)),
        ("10", None),
        ("", None),
        ("s", None),
        ("1x", None),
        ("-1s", None),
        ("99999999999999h", None),
    ] {
        assert_eq!(units::duration_ns(text), ns, "{text}");
    }
    for (text, bytes) in [
        ("2b", Some(2)),
        ("1024kb", Some(1 << 20)),
        ("300m", Some(300 << 20)),
        ("1gb", Some(1 << 30)),
        ("1.5GiB", Some(3 << 29)),
        ("50M", Some(50 << 20)),
        ("512", Some(512)),
        ("1 g", Some(1 << 30)),
        ("1e3", None),
        ("m", None),
        ("-1", None),
        ("99999999p", None),
    ] {
        assert_eq!(units::size_bytes(text), bytes, "{text}");
    }
    assert_eq!(units::nano_cpus("0.50"), Some(500_000_000));
    for (ns, text) in [(0, "0s"), (1_500_000, "1.5ms"), (90_000_000_000, "1m30s"), (3_600_000_000_000, "1h0m0s")] {
        assert_eq!(units::format_duration(ns), text);
    }
}

/// Scalars stay as they were written: a version is not a number.
#[test]
fn scalars_keep_their_text() {
    let text = "services:\n  web:\n    image: a\n    environment: {A: 1.10, B: true, C: 0x10, D: yes, E: 'null', F: 1e3, G: ~}\n    labels: {n: 007}\n";
    let web = project(text).services.remove("web").expect("web");
    let values: Vec<Option<&str>> = web.environment.values().map(|value| value.value.as_deref()).collect();
    assert_eq!(values, [Some("1.10"), Some("true"), Some("0x10"), Some("yes"), Some("null"), Some("1e3"), None]);
    assert_eq!(web.labels["n"].value, "007");
}

#[test]
fn block_scalars_anchors_and_merge_keys() {
    let text = "x-env: &env\n  A: '1'\n  B: '2'\nx-more: &more {B: '3', C: '4'}\nservices:\n  web:\n    image: a\n    command: >\n      one\n      two\n    \
                environment:\n      <<: [*env, *more]\n      A: own\nconfigs:\n  c:\n    content: |\n      line $$1\n      end\n";
    let project = project(text);
    let web = &project.services["web"];
    let environment: Vec<&str> = web.environment.values().filter_map(|value| value.value.as_deref()).collect();
    assert_eq!(environment, ["own", "2", "4"]);
    assert_eq!(web.command.as_ref().map(|words| words.value.len()), Some(2));
    let crate::project::Content::Inline(content) = &project.configs["c"].content else { panic!("inline") };
    assert_eq!(content.value, "line $1\nend\n");
}

/// Places are right after characters of several bytes, Windows line ends, a byte order mark, block scalars.
#[test]
fn places_after_unusual_text() {
    for text in [
        "# é€😀 comment\r\nservices:\r\n  web:\r\n    image: a\r\n    bogus: 1\r\n",
        "services:\n  web:\n    image: a\n    # ünïcödé\n    bogus: 1\n",
        "\u{feff}services:\n  web:\n    image: a\n\n    bogus: 1\n",
        "services:\n  web:\n    image: a\n    command: 'ä'\n    bogus: 1\n",
        "services:\n  web: {image: a, command: |\n",
    ] {
        let said = said(text);
        let place = "compose.yaml:5:5: `services.web` has no key `bogus`";
        assert!(said.contains(place) || !text.contains("bogus"), "{text:?}: {said}");
    }
    let block = "services:\n  web:\n    image: a\n    command: >-\n      é one\n      two\n    bogus: 1\n";
    assert!(said(block).contains("compose.yaml:7:5:"), "{}", said(block));
}
