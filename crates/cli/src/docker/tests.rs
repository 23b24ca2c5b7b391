use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::page::{State, flag_state, grammar, has, page};
use super::*;

fn said(line: &str) -> Option<Diagnostic> {
    let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
    match arguments.last()?.to_str()? {
        flag if flag.starts_with('-') => flag_answer(&arguments, flag),
        _ => verb_answer(&arguments),
    }
}

#[test]
fn what_is_refused_or_not_yet_is_answered_by_name_and_reason() {
    for (line, code, named) in [
        ("carrack swarm init", "cli/refused", "Swarm"),
        ("carrack swarm", "cli/refused", "Swarm"),
        ("carrack --json plugin ls", "cli/refused", "daemon"),
        ("carrack run --isolation", "cli/refused", "Windows"),
        ("carrack container create --cpu-count", "cli/refused", "Windows"),
        ("carrack node ls --filter", "cli/refused", "Swarm"),
        ("carrack --root /x --host", "cli/refused", "daemon"),
        ("carrack -c", "cli/refused", "daemon"),
        ("carrack -H", "cli/refused", "daemon"),
        ("carrack run --gpus", "cli/refused", "CDI"),
        ("carrack create --storage-opt", "cli/refused", "file system"),
    ] {
        let diagnostic = said(line).unwrap_or_else(|| panic!("{line}"));
        assert_eq!(diagnostic.code.id, code, "{line}");
        assert!(
            diagnostic.causes.iter().any(|cause| cause.contains(named)) || named.is_empty(),
            "{line}: {diagnostic:?}"
        );
    }
    for line in [
        "carrack frobnicate",
        "carrack run --frobnicate",
        "carrack compose up --host",
        "carrack up --isolation",
        "carrack ps -c",
    ] {
        assert_eq!(said(line), None, "{line}");
    }
}

/// What is refused is not also done, and nobody is told a reason that is not there.
#[test]
fn the_table_and_the_grammar_do_not_contradict_each_other() {
    let grammar = grammar();
    let mut faults = Vec::new();
    let mut names = BTreeSet::new();
    for verb in verbs() {
        faults.extend(
            verb.names.iter().filter(|name| !names.insert(**name)).map(|name| format!("`{name}` stands twice")),
        );
        if verb.reason == Some("") || verb.flags.iter().any(|flag| flag.standing == Standing::Refused("")) {
            faults.push(format!("{:?}: a reason that the table does not have", verb.names));
        }
        for (name, command) in verb.names.iter().filter_map(|name| Some((name, command(&grammar, name)?))) {
            // `carrack config` is no verb of Docker's, but has the name of a group.
            if verb.reason.is_some() && *name != "config" {
                faults.push(format!("`{name}` is refused, and the grammar has it"));
            }
            for flag in verb.flags.iter().filter(|flag| flag.standing != Standing::AsGrammar && has(command, flag)) {
                let long = flag.long.trim_start_matches('-');
                if command.get_arguments().any(|argument| argument.get_long() == Some(long) && !argument.is_hide_set())
                {
                    faults.push(format!("`{name} {}` is refused or not yet, and the grammar has it", flag.long));
                }
            }
        }
    }
    assert_eq!(faults, Vec::<String>::new(), "correct crates/cli/src/docker/verbs.txt");
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn the_page_is_that_of_table_and_grammar() {
    let path = root().join("docs/docker-verbs.md");
    let page = page();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    let differing = written.lines().zip(page.lines()).find(|(written, made)| written != made);
    assert!(written == page, "{differing:?}: make the page again: UPDATE=1 cargo test -p carrack-cli docker::");
}

/// Docker's reference names the verbs and flags of the table, and no others: CARRACK_DOCKER_REFERENCE is its folder.
#[test]
fn the_table_is_that_of_dockers_reference() {
    let folder = std::env::var_os("CARRACK_DOCKER_REFERENCE")
        .map_or_else(|| root().join("../shared/reference/docker-cli/docs/reference/commandline"), PathBuf::from);
    let Ok(entries) = std::fs::read_dir(&folder) else {
        eprintln!("skipped: no reference of Docker's command line");
        return;
    };
    let line = |names: &[String], flags: &mut Vec<String>| {
        flags.sort();
        format!("{}: {}", names.first().map_or("", String::as_str), flags.join(" "))
    };
    let quoted = |text: &str| -> Vec<String> { text.split('`').skip(1).step_by(2).map(str::to_owned).collect() };
    let mut reference = BTreeSet::new();
    for entry in entries {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().replace('_', " ");
        if name == "index" {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let made =
            text.split("MARKER_GEN_START-->").nth(1).and_then(|text| text.split("MARKER_GEN_END").next()).unwrap();
        let aliases = made.split("### Aliases\n\n").nth(1).and_then(|text| text.lines().next());
        let mut names: Vec<String> = aliases.map(quoted).unwrap_or_default();
        names.iter_mut().for_each(|alias| *alias = alias.trim_start_matches("docker ").to_owned());
        if names.is_empty() {
            names = vec![if name == "docker" { String::new() } else { name }];
        }
        let rows = made.split("### Options\n\n").nth(1).and_then(|text| text.split("\n\n").next()).unwrap_or_default();
        let cells = rows.lines().skip(2).filter_map(|row| row.split('|').nth(1));
        let mut flags: Vec<String> = cells.map(|cell| quoted(cell).join(",")).collect();
        reference.insert(line(&names, &mut flags));
    }
    let table: BTreeSet<String> = verbs()
        .iter()
        .map(|verb| {
            let flags = verb
                .flags
                .iter()
                .map(|flag| flag.short.map(|short| format!("{short},")).unwrap_or_default() + flag.long);
            line(&verb.names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>(), &mut flags.collect())
        })
        .collect();
    assert_eq!(table.symmetric_difference(&reference).collect::<Vec<_>>(), Vec::<&String>::new());
}

#[test]
fn done_is_what_the_grammar_has() {
    let grammar = grammar();
    let verbs = verbs();
    let state = |name: &str, long: &str| {
        let verb = verbs.iter().find(|verb| verb.names.contains(&name)).unwrap();
        flag_state(&grammar, verb, verb.flags.iter().find(|flag| flag.long == long).unwrap())
    };
    assert_eq!(state("run", "--publish"), State::Done);
    assert_eq!(state("build", "--squash"), state("image build", "--squash"));
    assert!(matches!(state("run", "--isolation"), State::Refused(_)));
}
