use carrack_diag::{FileId, SourceFile};

use crate::IgnoreFile;
use crate::pattern;

fn ignore(text: &str) -> IgnoreFile {
    let source = SourceFile { path: ".dockerignore".into(), text: text.into() };
    let (ignore, diagnostics) = IgnoreFile::parse(FileId(0), &source);
    assert!(diagnostics.is_empty(), "{diagnostics:?}");
    ignore
}

/// D7: one pattern against one path.
#[test]
fn single_patterns() {
    for (pattern, path, expected) in [
        ("**", "a", true),
        ("**", "a/b/c", true),
        ("**/", "a/b", true),
        ("a/**", "a/b/c", true),
        ("a/**", "a", false),
        ("**/a", "a", true),
        ("**/a", "x/y/a", true),
        ("**/a", "x/ya", false),
        ("**/a", "a/b", true),
        ("**a", "xa", true),
        ("a**", "abc/d", true),
        ("a/**/b", "a/b", true),
        ("a/**/b", "a/x/y/b", true),
        ("a/**/b", "a/xb", false),
        ("*.go", "a.go", true),
        ("*.go", "x/a.go", false),
        ("**/*.go", "x/y/a.go", true),
        ("**/*.go", "a.go", true),
        ("*/a", "x/a", true),
        ("*/a", "x/y/a", false),
        ("a?", "ab", true),
        ("a?", "a/", false),
        ("[a-c]x", "bx", true),
        ("[^a-c]x", "bx", false),
        ("[^a-c]x", "dx", true),
        ("a.b", "axb", false),
        ("a(b", "a(b", true),
        ("\\*", "*", true),
        ("\\*", "a", false),
        ("/a", "a", true),
        ("./a/", "a", true),
        ("a/../b", "b", true),
        ("node_modules", "node_modules/x/y", true),
        ("node_modules", "x/node_modules", false),
        ("a", "ab", false),
        ("**/**/x", "a/x", true),
        ("**/.git*", "a/.gitignore", true),
        (".", "a", false),
    ] {
        assert_eq!(ignore(pattern).is_ignored(path), expected, "{pattern} against {path}");
    }
}

/// D7: a pattern that could not change what was decided of a folder says nothing of what is in it, as in the reference.
#[test]
fn a_pattern_that_was_not_asked_of_a_folder() {
    let file = ignore("**\n!x/**/1\nx/?\n");
    for (path, expected) in [("x", true), ("x/y", true), ("x/y/z/1", false), ("x/1", true), ("x/y/4", true)] {
        assert_eq!(file.is_ignored(path), expected, "{path}");
    }
}

/// D7: the last match decides, and exceptions reach into folders.
#[test]
fn order_and_exceptions() {
    let file = ignore("# comment\n\n*.md\n!README*.md\nREADME-secret.md\r\n  docs  \n!docs/keep\n");
    for (path, expected) in [
        ("a.md", true),
        ("README.md", false),
        ("README-secret.md", true),
        ("docs/a", true),
        ("docs/keep", false),
        ("docs/keep/x", false),
        ("src/a.md", false),
    ] {
        assert_eq!(file.is_ignored(path), expected, "{path}");
    }
    assert!(ignore("*\n!src").is_ignored("a"));
    assert!(!ignore("*\n!src").is_ignored("src/main.rs"));
    assert!(!ignore("!src\n*.x").is_ignored("src"));
    assert!(ignore("\u{feff}a").is_ignored("a"), "a byte order mark is no part of the pattern");
}

#[test]
fn folders_with_exceptions_below_are_known() {
    assert!(ignore("*\n!src/lib").has_exceptions_below("src"));
    assert!(ignore("*\n!**/x").has_exceptions_below("any"));
    assert!(!ignore("*\n!src/lib").has_exceptions_below("docs"));
    assert!(!ignore("node_modules").has_exceptions_below("node_modules"));
}

#[test]
fn a_malformed_pattern_is_reported_with_its_place() {
    let mut sources = carrack_diag::SourceMap::new();
    let file = sources.add(".dockerignore", "ok\n  [a\n");
    let (ignore, diagnostics) = IgnoreFile::parse(file, sources.get(file));
    assert!(ignore.is_ignored("ok"));
    assert_eq!(
        super::line(&diagnostics[0], &sources),
        "dockerfile/invalid-pattern .dockerignore:2:1 `[a` is not a pattern [close the bracket, or escape it with a backslash]"
    );
}

#[test]
fn go_path_match() {
    for (pattern, path, expected) in [
        ("*", "a", Some(true)),
        ("*", "a/b", Some(false)),
        ("a*/b", "axx/b", Some(true)),
        ("a*b*c", "aXbYc", Some(true)),
        ("[]a]", "]", None),
        ("[-]", "-", None),
        ("[x-]", "x", None),
        ("[\\-x]", "-", Some(true)),
        ("[", "a", None),
        ("a[", "a", None),
        ("a\\", "a", None),
        ("[a-b-c]", "a", None),
        ("[^a]", "/", Some(true)),
        ("", "", Some(true)),
    ] {
        assert_eq!(pattern::matches(pattern, path).ok(), expected, "{pattern} against {path}");
    }
    assert!(pattern::has_wildcard("a*"));
    assert!(!pattern::has_wildcard("a\\*"));
}
