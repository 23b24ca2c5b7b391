use crate::expand::Lexer;

fn variables(name: &str) -> Option<String> {
    let value = match name {
        "hi" => "hi",
        "space" => "abc  def",
        "lead" => "  ab c",
        "trail" => "ab c   ",
        "empty" => "",
        "path" => "/usr/local/lib/lib.tar.gz",
        "star" => "a*b*c",
        _ => return None,
    };
    Some(value.to_owned())
}

fn word(text: &str) -> String {
    Lexer::new('\\').word(text, &variables).unwrap_or_else(|error| format!("error: {error}"))
}

fn words(text: &str) -> Vec<String> {
    Lexer::new('\\').words(text, &variables).unwrap_or_else(|error| vec![format!("error: {error}")])
}

/// D1: quoting and splitting.
#[test]
fn words_split_where_nothing_is_quoted() {
    assert_eq!(words("a${nothing}b"), ["ab"]);
    assert_eq!(words("a${space}b"), ["aabc", "defb"]);
    assert_eq!(words("a\"${space}\"b"), ["aabc  defb"]);
    assert_eq!(words("a${lead}b"), ["a", "ab", "cb"]);
    assert_eq!(words("a${trail}b"), ["aab", "c", "b"]);
    assert_eq!(words("a\"${trail}\""), ["aab c   "]);
    assert_eq!(words("a  b"), ["a", "b"]);
    assert_eq!(words(r"a\ b"), ["a b"]);
    assert_eq!(words("'' \"\""), Vec::<String>::new());
}

#[test]
fn quotes_and_escapes() {
    assert_eq!(word(r#""\\x""#), r"\x");
    assert_eq!(word(r#""\x""#), r"\x");
    assert_eq!(word(r"'\\x'"), r"\\x");
    assert_eq!(word("'$hi'"), "$hi");
    assert_eq!(word(r"\$hi"), "$hi");
    assert_eq!(word(r#""\$hi""#), "$hi");
    assert_eq!(word("$"), "$");
    assert_eq!(word("$/"), "$/");
    assert_eq!(word("x\\"), "x");
    assert_eq!(Lexer::new('`').word(r"C:\$hi`$", &variables).unwrap(), r"C:\hi$");
    assert_eq!(word("\"open"), "error: a double quote is not closed");
    assert_eq!(word("'open"), "error: a single quote is not closed");
}

/// D1: every operator.
#[test]
fn operators() {
    for (text, expected) in [
        ("${hi}", "hi"),
        ("${nothing:-x}", "x"),
        ("${empty:-x}", "x"),
        ("${empty-x}", ""),
        ("${nothing-x}", "x"),
        ("${hi:+x}", "x"),
        ("${empty:+x}", ""),
        ("${empty+x}", "x"),
        ("${nothing+x}", ""),
        ("${hi?x}", "hi"),
        ("${empty?x}", ""),
        ("${nothing:-${empty:-${hi}}}", "hi"),
        ("${nothing:-\"a } b\"}", "a } b"),
        ("${path#*/}", "usr/local/lib/lib.tar.gz"),
        ("${path##*/}", "lib.tar.gz"),
        ("${path%.*}", "/usr/local/lib/lib.tar"),
        ("${path%%.*}", "/usr/local/lib/lib"),
        ("${path%/*}", "/usr/local/lib"),
        ("${path/lib/LIB}", "/usr/local/LIB/lib.tar.gz"),
        ("${path//lib/LIB}", "/usr/local/LIB/LIB.tar.gz"),
        ("${path//\\//:}", ":usr:local:lib:lib.tar.gz"),
        ("${path/l*l/x}", "/usr/xib.tar.gz"),
        ("${path/l??/x}", "/usr/xal/lib/lib.tar.gz"),
        ("${star//\\*/-}", "a-b-c"),
        ("${hi#x}", "hi"),
        ("${hi##*}", ""),
        ("${nothing#x}", ""),
        ("${nothing/a/b}", ""),
    ] {
        assert_eq!(word(text), expected, "{text}");
    }
}

#[test]
fn what_cannot_be_expanded_says_why() {
    for (text, expected) in [
        ("${hi", "the matching `}` is missing"),
        ("${", "the matching `}` is missing"),
        ("${}", "bad substitution: a variable's name is missing"),
        ("${:x}", "bad substitution: a variable's name is missing"),
        ("${hi:x}", "`:x` is not an operator"),
        ("${hi^}", "`^` is not an operator"),
        ("${nothing:?set it}", "nothing: set it"),
        ("${nothing?}", "nothing is required and not set"),
        ("${empty:?}", "empty is required and empty"),
        ("${hi:-x", "the matching `}` is missing"),
        ("${hi/a}", "the matching `/` is missing"),
        ("${hi#\\a}", "`\\a` is not an escape in a pattern"),
    ] {
        assert_eq!(word(text), format!("error: {expected}"), "{text}");
    }
    assert!(word(&"${a:-".repeat(500)).contains("braces"), "depth is bounded");
}

#[test]
fn names_are_those_looked_up() {
    assert_eq!(Lexer::new('\\').names("$a-${b:-$c}'$d'"), ["a", "c", "b"]);
}

#[test]
fn heredoc_contents_keep_quotes() {
    let lexer = Lexer { keep_quotes: true, ..Lexer::new('\\') };
    assert_eq!(lexer.word("it's \"$hi\"", &variables).unwrap(), "it's \"hi\"");
}
