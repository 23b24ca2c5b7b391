//! Rules about the text of the sources.

use std::fs;
use std::path::{Path, PathBuf};

/// Past this nobody keeps a file in mind.
const LINES_MAX: usize = 900;

/// Never in the sources, tests included.
const BANNED: &[(&str, &str)] = &[
    ("#[ignore", "a test runs, or prints why it is skipped"),
    ("todo!(", "finish it, or answer with a diagnostic"),
    ("unimplemented!(", "answer with a diagnostic"),
];

/// Sleeping hides what one waits for. Where the kernel offers no event, the wait is bounded, and its file stands here with the
/// reason.
const SLEEPS: &[(&str, &str)] = &[
    ("crates/registry/src/http.rs", "a registry that is busy or cut a connection announces nothing when it is ready"),
    ("crates/network/src/host_lock.rs", "flock with a time limit has no event"),
    ("crates/runtime/src/cgroup.rs", "version 1 has no event for a group that becomes empty"),
    ("crates/runtime/src/cgroup/systemd.rs", "a unit that is about to end is asked after, not subscribed to"),
    ("crates/runtime/src/init/interpret.rs", "a delay that a test injects"),
    ("crates/store/src/lock.rs", "flock with a time limit has no event"),
];

/// Clocks that people set are for showing, in what waits for a time: everything else there counts on those that nobody sets.
const CLOCKS: &[&str] = &["crates/runtime/src/time.rs", "crates/runtime/src/shim/probe/own.rs"];

/// Where timers run: health, back-off, time-outs, leases of addresses.
const TIMED: &[&str] = &["crates/runtime/src/", "crates/network/src/"];

pub(crate) fn faults(root: &Path) -> Result<Vec<String>, String> {
    let mut faults = Vec::new();
    let architecture = read(&root.join("ARCHITECTURE.md"))?;
    for folder in entries(&root.join("crates"))? {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !architecture.contains(&format!("`crates/{name}`")) {
            faults.push(format!("crates/{name}: has no paragraph in ARCHITECTURE.md"));
        }
        let library = folder.join("src/lib.rs");
        if library.exists() {
            faults.extend(never_sentence(&format!("crates/{name}"), &read(&library)?));
        }
    }
    let mut files = Vec::new();
    for folder in ["crates", "xtask"] {
        sources(&root.join(folder), &mut files)?;
    }
    for file in files {
        let path = file.strip_prefix(root).unwrap_or(&file).to_string_lossy().into_owned();
        // This file names what it bans.
        if path != "xtask/src/tidy.rs" {
            faults.extend(file_faults(&path, &read(&file)?));
        }
    }
    for (path, _) in SLEEPS {
        if !fs::read_to_string(root.join(path)).is_ok_and(|text| text.contains("thread::sleep")) {
            faults.push(format!("xtask/src/tidy.rs: {path} sleeps no more: take it off the list"));
        }
    }
    Ok(faults)
}

fn never_sentence(name: &str, library: &str) -> Option<String> {
    let head: Vec<&str> = library.lines().take_while(|line| line.starts_with("//!")).collect();
    let says = head.iter().any(|line| line.starts_with("//! This crate never "));
    (!says).then(|| format!("{name}/src/lib.rs: its head lacks the sentence \"This crate never …\""))
}

fn file_faults(path: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let lines = text.lines().count();
    if lines > LINES_MAX {
        faults.push(format!("{path}: {lines} lines, more than {LINES_MAX}"));
    }
    let shipped = shipped_lines(path, text);
    let may_sleep = SLEEPS.iter().any(|(known, _)| *known == path);
    for (number, line) in text.lines().enumerate() {
        for (word, instead) in BANNED.iter().filter(|(word, _)| line.contains(word)) {
            faults.push(format!("{path}:{}: {word}: {instead}", number + 1));
        }
        if number < shipped && line.contains("thread::sleep") && !may_sleep {
            faults.push(format!("{path}:{}: thread::sleep: wait for the event itself", number + 1));
        }
        let is_timed = TIMED.iter().any(|folder| path.starts_with(folder)) && !CLOCKS.contains(&path);
        if number < shipped && is_timed && line.contains("SystemTime") {
            faults.push(format!("{path}:{}: SystemTime: count on a clock that nobody sets", number + 1));
        }
    }
    faults
}

/// How many lines from the start are part of the product: test modules stand in files of their own or at the end.
fn shipped_lines(path: &str, text: &str) -> usize {
    if path.ends_with("/tests.rs") || path.contains("/tests/") || path.starts_with("crates/testkit/") {
        return 0;
    }
    let all = text.lines().count();
    text.lines().position(|line| line == "#[cfg(test)]").unwrap_or(all)
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) -> Result<(), String> {
    for path in entries(folder)? {
        if path.is_dir() {
            sources(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    Ok(())
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut paths: Vec<PathBuf> = entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
    paths.sort();
    Ok(paths)
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_finds_its_fault() {
        assert_eq!(never_sentence("x", "//! A crate.\n//!\n//! This crate never lies.\n"), None);
        assert!(never_sentence("x", "//! A crate.\n\n// This crate never lies.\n").is_some());
        assert_eq!(
            file_faults("crates/x/src/a.rs", &"\n".repeat(901)),
            ["crates/x/src/a.rs: 901 lines, more than 900"]
        );
        assert_eq!(file_faults("crates/x/src/a.rs", "#[ignore]\n").len(), 1);
        assert_eq!(file_faults("crates/x/src/a.rs", "std::thread::sleep(x);\n").len(), 1);
        assert_eq!(
            file_faults("crates/x/src/a.rs", "#[cfg(test)]\nmod tests { fn f() { thread::sleep(x) } }\n").len(),
            0
        );
        assert_eq!(file_faults("crates/x/src/tests.rs", "thread::sleep(x)\n").len(), 0);
        assert_eq!(file_faults("crates/network/src/a.rs", "SystemTime::now()\n").len(), 1);
        assert_eq!(file_faults("crates/runtime/src/time.rs", "SystemTime::now()\n").len(), 0);
    }
}
