use insta::assert_snapshot;
use proptest::prelude::*;

use super::*;

static SAMPLE: Code = Code { id: "test/sample", title: "sample", cause: "", check: "", fix: "" };

fn sources() -> (SourceMap, FileId) {
    let mut sources = SourceMap::new();
    let file = sources.add("compose.yaml", "services:\n  wéb:\n    imag: nginx\n");
    (sources, file)
}

#[test]
fn positions_count_characters_not_bytes() {
    let (sources, file) = sources();
    let position = sources.position(Span::new(file, 15, 17));
    assert_eq!((position.line, position.column), (2, 5), "é is two bytes and one character");
}

#[test]
fn text_shows_line_label_causes_and_hints() {
    let (sources, file) = sources();
    let diagnostic = Diagnostic::error(&SAMPLE, "service `wéb` has an unknown key `imag`")
        .at(Span::new(file, 22, 26), "not a key of a service")
        .cause("the schema closes services")
        .hint("did you mean `image`?");
    assert_snapshot!(text(&diagnostic, &sources, Rendering::default()), @r"
    error[test/sample]: service `wéb` has an unknown key `imag`
     --> compose.yaml:3:5
      |
    3 |     imag: nginx
      |     ^^^^ not a key of a service
      |
      = because: the schema closes services
      = help: did you mean `image`?
    ");
}

/// Lines far from what is shown make no difference, but for their number.
#[test]
fn a_long_file_is_shown_like_a_short_one() {
    let mut sources = SourceMap::new();
    let source = format!("{}FROM a AS b\n{}FROM c AS b\n\n", "\n".repeat(40), "RUN x\n".repeat(5));
    let second = source.rfind('b').unwrap();
    let file = sources.add("Dockerfile", source);
    let diagnostic = Diagnostic::error(&SAMPLE, "twice")
        .at(Span::new(file, second, second + 1), "again")
        .at(Span::new(file, 50, 51), "first");
    assert_snapshot!(text(&diagnostic, &sources, Rendering::default()), @r"
    error[test/sample]: twice
      --> Dockerfile:47:11
       |
    41 | FROM a AS b
       |           - first
    ...
    47 | FROM c AS b
       |           ^ again
    ");
}

#[test]
fn control_characters_from_outside_do_not_reach_the_terminal() {
    let diagnostic = Diagnostic::error(&SAMPLE, "bad \u{1b}[2Jname");
    assert!(!text(&diagnostic, &SourceMap::new(), Rendering::default()).contains('\u{1b}'));
}

#[test]
fn json_has_positions() {
    let (sources, file) = sources();
    let diagnostic = Diagnostic::warning(&SAMPLE, "m").at(Span::new(file, 22, 26), "here");
    let value = json(&diagnostic, &sources);
    assert_eq!(value["severity"], "warning");
    assert_eq!((&value["labels"][0]["line"], &value["labels"][0]["column"]), (&3.into(), &5.into()));
}

#[test]
fn nearest_forgives_small_slips_only() {
    let keys = ["image", "build", "ports"];
    assert_eq!(nearest("imgae", keys), Some("image"));
    assert_eq!(nearest("prots", keys), Some("ports"));
    assert_eq!(nearest("volumes", keys), None);
}

proptest! {
    #[test]
    fn rendering_survives_any_span(source in ".*", start in 0usize..200, length in 0usize..200) {
        let mut sources = SourceMap::new();
        let file = sources.add("f", source);
        let diagnostic = Diagnostic::error(&SAMPLE, "m").at(Span::new(file, start, start + length), "l");
        prop_assert!(text(&diagnostic, &sources, Rendering::default()).contains("test/sample"));
        json(&diagnostic, &sources);
    }
}
