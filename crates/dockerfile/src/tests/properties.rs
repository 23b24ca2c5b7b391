use carrack_diag::{FileId, SourceFile};
use proptest::prelude::*;

use crate::ast::Dockerfile;
use crate::expand::Lexer;
use crate::{IgnoreFile, pattern};

const SAMPLE: &str = "# syntax=docker/dockerfile:1\n# escape=\\\nARG V=1\nFROM --platform=$P a:${V} AS b\nENV A=b C=\"d e\" \\\n# c\n  F='g'\n\
RUN --mount=type=cache,target=/x --network=none <<EOF cat <<-'E2' && \\\n  echo\nx\nEOF\n\ty\n\tE2\n\
COPY --from=b --chown=1:2 [\"a b\", \"/c/\"]\nHEALTHCHECK --interval=1m30s CMD curl\nONBUILD RUN [\"x\"]\nEXPOSE 80/tcp 1-2/udp\nSHELL [\"/bin/sh\"]\n";

fn parse(text: &str) -> Dockerfile {
    let source = SourceFile { path: "Dockerfile".into(), text: text.into() };
    let (dockerfile, diagnostics) = crate::parse(FileId(0), &source);
    for label in diagnostics.iter().flat_map(|diagnostic| &diagnostic.labels) {
        assert!(label.span.start <= label.span.end && label.span.end as usize <= text.len(), "{label:?}");
        assert!(text.get(label.span.start as usize..label.span.end as usize).is_some(), "{label:?} cuts a character");
    }
    for instruction in dockerfile.stages.iter().flat_map(|stage| &stage.instructions) {
        assert!(text.get(instruction.span.start as usize..instruction.span.end as usize).is_some());
    }
    dockerfile
}

proptest! {
    #[test]
    fn any_text_is_parsed(text in "(?s).{0,300}") {
        parse(&text);
    }

    #[test]
    fn any_bytes_are_parsed(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        parse(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn fragments_in_any_order_are_parsed(parts in proptest::collection::vec(prop_oneof![
        Just("FROM "), Just("RUN "), Just("COPY "), Just("ENV "), Just("ONBUILD "), Just("HEALTHCHECK "), Just("--mount="),
        Just("--from="), Just("<<EOF "), Just("<<-'E' "), Just("EOF\n"), Just("\\\n"), Just("\\"), Just("\n"), Just("[\""),
        Just("\"]"), Just("="), Just("é"), Just("\r\n"), Just("#"), Just("$"), Just("${"), Just("}"), Just("'"), Just(","), Just(" a "),
    ], 0..60)) {
        parse(&parts.concat());
    }

    #[test]
    fn mutations_of_a_file_are_parsed(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), 0u8..3, any::<char>()), 1..8),
    ) {
        let mut characters: Vec<char> = SAMPLE.chars().collect();
        for (index, kind, character) in edits {
            let at = index.index(characters.len());
            match kind {
                0 => { characters.remove(at); }
                1 => characters.insert(at, character),
                _ => characters[at] = character,
            }
        }
        parse(&characters.into_iter().collect::<String>());
    }

    #[test]
    fn a_trigger_never_panics(text in "(?s).{0,100}") {
        crate::parse_trigger(&text, carrack_diag::Span::new(FileId(0), 0, 0));
    }

    #[test]
    fn any_word_is_expanded_or_refused(text in r#"[$\{\}:a-c\-+?#%/*'"\\ ]{0,60}"#, value in "[ab/*]{0,10}") {
        let variables = |name: &str| (name != "c").then(|| value.clone());
        let _ = Lexer::new('\\').words(&text, &variables);
        Lexer::new('\\').names(&text);
    }

    #[test]
    fn any_pattern_ends(pattern in r"[a*?/\[\]\\!^-]{0,80}", path in "[a/]{0,200}") {
        if let Ok(ignore) = IgnoreFile::from_patterns([pattern.as_str()]) {
            ignore.is_ignored(&path);
            ignore.has_exceptions_below(&path);
        }
        let _ = pattern::matches(&pattern, &path);
    }

    #[test]
    fn any_ignore_file_is_read(text in "(?s)[a-c*?/.!#\\[\\]\\\\ \r\n\u{feff}\u{0}é-]{0,200}", path in "[a-c/.]{0,40}") {
        let source = SourceFile { path: ".dockerignore".into(), text: text.as_str().into() };
        let (ignore, diagnostics) = IgnoreFile::parse(FileId(0), &source);
        for label in diagnostics.iter().flat_map(|diagnostic| &diagnostic.labels) {
            prop_assert!(text.get(label.span.start as usize..label.span.end as usize).is_some(), "{label:?}");
        }
        ignore.is_ignored(&path);
        ignore.has_exceptions_below(&path);
    }

    #[test]
    fn a_literal_pattern_matches_itself_only(path in "[a-z]{1,8}(/[a-z]{1,8}){0,3}", other in "[a-z]{1,8}") {
        let ignore = IgnoreFile::from_patterns([path.as_str()]).unwrap();
        prop_assert!(ignore.is_ignored(&path));
        prop_assert!(ignore.is_ignored(&format!("{path}/{other}")), "and what lies in it");
        prop_assert_eq!(ignore.is_ignored(&other), other == path);
    }
}

#[test]
fn a_pattern_of_many_stars_does_not_hang() {
    let ignore = IgnoreFile::from_patterns(["*a".repeat(2_000).as_str()]).unwrap();
    assert!(!ignore.is_ignored(&format!("{}b", "a".repeat(2_000))));
}

#[test]
fn the_sample_has_no_errors() {
    let source = SourceFile { path: "Dockerfile".into(), text: SAMPLE.into() };
    let (_, diagnostics) = crate::parse(FileId(0), &source);
    assert!(diagnostics.is_empty(), "{diagnostics:?}");
}

/// A file of 10,000 instructions, and words whose braces stand inside of each other, end soon and never on the stack.
#[test]
fn long_files_and_deep_words() {
    let text = format!("FROM a\n{}", "ENV A=$A:b \\\n  C=d\n".repeat(10_000));
    assert_eq!(parse(&text).stages[0].instructions.len(), 10_000);
    let one = format!("FROM a\nRUN x{}", " \\\n  && y".repeat(10_000));
    assert_eq!(parse(&one).stages[0].instructions.len(), 1);
    let deep = format!("{}x{}", "${A:-".repeat(100_000), "}".repeat(100_000));
    assert!(Lexer::new('\\').word(&deep, &|_: &str| None::<String>).is_err());
    let onbuild = format!("FROM a\n{}RUN x\n", "ONBUILD ".repeat(100_000));
    parse(&onbuild);
}

/// Words, values and patterns that would outgrow every machine are refused instead.
#[test]
fn words_that_grow_without_end() {
    let value = std::cell::RefCell::new("x".to_owned());
    let mut refused = None;
    for round in 0..64 {
        let lookup = |_: &str| Some(value.borrow().clone());
        match Lexer::new('\\').word("${A}$A", &lookup) {
            Ok(longer) => value.replace(longer),
            Err(error) => {
                refused = Some((round, error));
                break;
            }
        };
    }
    let (round, error) = refused.unwrap();
    assert!(round <= 21 && error.0.contains("grows"), "{round} {error}");
    let long = |_: &str| Some("a".repeat(1 << 19));
    for word in ["${A//a/$A}", "\"$A$A$A\"", "${A:-$B}$A$A"] {
        assert!(Lexer::new('\\').word(word, &long).is_err(), "{word}");
    }
    // A pattern against each place of a long text.
    let error = Lexer::new('\\').word("${A//*a*a*b/x}", &long).unwrap_err();
    assert!(error.0.contains("too long"), "{error}");
}

/// Every prefix of a file, as an editor that saves while it is written would leave it.
#[test]
fn beginnings_of_a_file_are_parsed() {
    for end in (0..=SAMPLE.len()).filter(|end| SAMPLE.is_char_boundary(*end)) {
        parse(&SAMPLE[..end]);
        parse(&SAMPLE[..end].replace('\n', "\r\n"));
    }
}

/// Of a text that is no Dockerfile only the beginning is complained about.
#[test]
fn mistakes_without_end() {
    let source = SourceFile { path: "Dockerfile".into(), text: "FRM a\n".repeat(200_000).into() };
    assert_eq!(crate::parse(FileId(0), &source).1.len(), 100);
    let source =
        SourceFile { path: "Dockerfile".into(), text: format!("FROM a\nRUN {}\n", "<<E ".repeat(200_000)).into() };
    assert_eq!(crate::parse(FileId(0), &source).1.len(), 1);
}

/// Many stages, many ignore patterns, and lines without end.
#[test]
fn large_files() {
    let stages: String = (0..10_000).map(|index| format!("FROM a AS s{index}\nCOPY --from=s0 a b\n")).collect();
    assert_eq!(parse(&stages).stages.len(), 10_000);
    let line = format!("FROM a\nENV {}\n", "A=b ".repeat(50_000));
    assert_eq!(parse(&line).stages[0].instructions.len(), 1);
    let heredocs = format!("FROM a\nRUN {}\n{}", "<<E ".repeat(2_000), "x\nE\n".repeat(2_000));
    assert_eq!(parse(&heredocs).stages[0].instructions.len(), 1);
    let patterns: Vec<String> = (0..5_000).map(|index| format!("**/a{index}*/**/b")).collect();
    let ignore = IgnoreFile::from_patterns(patterns.iter().map(String::as_str)).unwrap();
    assert!(ignore.is_ignored("x/a4999y/z/b") && !ignore.is_ignored("x/y/z"));
}
