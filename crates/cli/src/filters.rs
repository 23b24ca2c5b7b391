//! `--filter key=value` of lists: values of one key are alternatives, keys go together, labels all together.

use std::collections::BTreeMap;

use carrack_diag::{Diagnostic, Result};
use regex_lite::Regex;

use crate::{codes, flags};

/// What has no `=` is wrong usage in Docker, whatever the list; a key that it does not know is not.
pub(crate) fn no_filter(text: &str, form: &str) -> Box<Diagnostic> {
    Diagnostic::error(&codes::NO_FILTER, format!("--filter: `{text}` is no filter"))
        .hint(format!("write {form}"))
        .boxed()
}

/// Whether it is a key of some list, as which those who don't know it give it a flag of its own.
pub(crate) fn is_key(word: &str) -> bool {
    const KEYS: [&str; 16] = [
        "ancestor",
        "before",
        "dangling",
        "driver",
        "exited",
        "expose",
        "health",
        "label",
        "name",
        "network",
        "publish",
        "reference",
        "scope",
        "since",
        "status",
        "volume",
    ];
    KEYS.contains(&word)
}

/// What was asked for, by key.
#[derive(Debug, Default)]
pub(crate) struct Filters {
    values: BTreeMap<String, Vec<String>>,
}

impl Filters {
    /// Reads filters whose keys are among `known`; those of `refused` have a reason.
    pub(crate) fn parse(given: &[String], known: &[&str], refused: &[(&str, &str)]) -> Result<Self> {
        let mut filters = Self::default();
        for text in given {
            let form = || format!("one of {} with = and a value", known.join(", "));
            let (key, value) = text.split_once('=').ok_or_else(|| no_filter(text, &form()))?;
            let key = key.trim().to_lowercase();
            if let Some((_, reason)) = refused.iter().find(|(name, _)| *name == key) {
                return Err(Diagnostic::error(&codes::REFUSED, format!("--filter {text} is refused"))
                    .cause(*reason)
                    .hint("leave it out")
                    .boxed());
            }
            if !known.contains(&key.as_str()) {
                return Err(flags::invalid("--filter", text, &form()));
            }
            filters.values.entry(key).or_default().push(value.trim().to_owned());
        }
        Ok(filters)
    }

    pub(crate) fn values(&self, key: &str) -> &[String] {
        self.values.get(key).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    /// Whether nothing is asked of the key, or one of its values is true of the thing.
    pub(crate) fn any(&self, key: &str, is: impl Fn(&str) -> bool) -> bool {
        let values = self.values(key);
        values.is_empty() || values.iter().any(|value| is(value))
    }

    /// Whether all `label=KEY` and `label=KEY=VALUE` are among the labels.
    pub(crate) fn labels(&self, labels: &BTreeMap<String, String>) -> bool {
        self.values("label").iter().all(|wanted| match wanted.split_once('=') {
            Some((key, value)) => labels.get(key).is_some_and(|found| found == value),
            None => labels.contains_key(wanted),
        })
    }

    /// The values of a key as patterns, as Docker takes names; what is no pattern is looked for as it is.
    pub(crate) fn patterns(&self, key: &str) -> Patterns {
        let pattern = |value: &String| {
            let value = value.trim_start_matches('/');
            // A name has no slash in front here, and may be asked for with it.
            let value = value.strip_prefix("^/").map_or_else(|| value.to_owned(), |rest| format!("^{rest}"));
            Regex::new(&value).map_err(|_| value)
        };
        Patterns(self.values(key).iter().map(pattern).collect())
    }

    /// Refuses values of a key that nothing can have: they would hide everything without a word.
    pub(crate) fn check(&self, key: &str, known: &[&str]) -> Result<()> {
        match self.values(key).iter().find(|value| !known.contains(&value.as_str())) {
            Some(value) => Err(flags::invalid("--filter", &format!("{key}={value}"), &known.join(", "))),
            None => Ok(()),
        }
    }

    /// A truth of Go's: `dangling=true`. None where it is not asked for.
    pub(crate) fn truth(&self, key: &str) -> Result<Option<bool>> {
        let Some(value) = self.values(key).last() else { return Ok(None) };
        match value.as_str() {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Some(true)),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Some(false)),
            _ => Err(flags::invalid("--filter", &format!("{key}={value}"), "true or false")),
        }
    }
}

/// Names that are wanted.
pub(crate) struct Patterns(Vec<std::result::Result<Regex, String>>);

impl Patterns {
    /// Whether any name is wanted, or this one.
    pub(crate) fn matches(&self, name: &str) -> bool {
        self.0.is_empty()
            || self.0.iter().any(|pattern| match pattern {
                Ok(pattern) => pattern.is_match(name),
                Err(text) => name.contains(text.as_str()),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(given: &[&str]) -> Result<Filters> {
        let given: Vec<String> = given.iter().map(|text| (*text).to_owned()).collect();
        Filters::parse(&given, &["name", "label", "status"], &[("is-task", "tasks belong to Swarm")])
    }

    #[test]
    fn names_are_patterns_and_labels_go_together() {
        for (wanted, name, is) in [
            ("name=web", "my-web-1", true),
            ("name=^web$", "web-1", false),
            ("name=^/web$", "web", true),
            ("name=/web", "web", true),
            ("name=w[ae]b", "web", true),
            ("name=(", "a(b", true),
            ("name=(", "ab", false),
        ] {
            assert_eq!(filters(&[wanted]).unwrap().patterns("name").matches(name), is, "{wanted} {name}");
        }
        let two = filters(&["name=a", "name=b"]).unwrap();
        assert!(two.patterns("name").matches("b") && !two.patterns("name").matches("c"));
        let labels = BTreeMap::from([("a".to_owned(), "1".to_owned()), ("b".to_owned(), String::new())]);
        for (wanted, is) in [
            (["label=a", "label=b"], true),
            (["label=a=1", "label=b="], true),
            (["label=a", "label=c"], false),
            (["label=a=2", "label=b"], false),
        ] {
            assert_eq!(filters(&wanted).unwrap().labels(&labels), is, "{wanted:?}");
        }
    }

    #[test]
    fn what_nothing_can_have_is_refused() {
        assert_eq!(filters(&["status"]).unwrap_err().code.id, "cli/no-filter");
        assert_eq!(filters(&["bogus=1"]).unwrap_err().code.id, "cli/invalid-value");
        assert_eq!(filters(&["is-task=true"]).unwrap_err().code.id, "cli/refused");
        let status = filters(&["status=asleep"]).unwrap();
        assert!(status.check("status", &["running"]).unwrap_err().message.contains("asleep"));
        assert!(status.truth("status").is_err());
        assert_eq!(status.truth("name").unwrap(), None);
    }
}
