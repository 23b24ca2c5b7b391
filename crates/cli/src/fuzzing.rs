//! Targets of `fuzz/`: what command lines and the files that they name say.

use std::path::Path;

use serde_json::json;

use crate::{commands, container_flags, filters, flags, mount_flags, network_flags, template};

/// The name of its seeds, and what is fed with them.
pub type Target = (&'static str, fn(&[u8]));

/// What `fuzz/` and a test feed.
pub const TARGETS: &[Target] = &[
    ("env-file", environment),
    ("filter", filter),
    ("flag", flag),
    ("mount", mount),
    ("port", port),
    ("template", format),
    ("time", time),
];

/// What a template may write, in bytes: what its bounds come to, for a few rows.
const OUTPUT_MAX_BYTES: usize = 256 << 20;

fn text(data: &[u8]) -> Option<&str> {
    std::str::from_utf8(data).ok()
}

/// A word of a command line ends with a zero byte.
fn word(data: &[u8]) -> Option<&str> {
    text(data).filter(|text| !text.contains('\0'))
}

/// Go's templates, over what a list shows and what an inspection does.
fn format(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let value = json!({
        "Names": "web", "ID": "d7619cc2b3ec", "State": { "Pid": 7, "Running": true, "a/b.c": { "d": [1, 2] } },
        "Config": { "Labels": { "a": "b" }, "Env": ["A=1", "B=2"], "Cmd": null }, "Empty": [], "Float": 1.5,
    });
    let written = [template::render(text, &value), template::rows(text, &[value], &[("Names", "NAMES")])];
    assert!(written.iter().flatten().all(|written| written.len() <= OUTPUT_MAX_BYTES));
}

/// Lines of `--env-file` and `--label-file`.
fn environment(data: &[u8]) {
    let Some(text) = text(data) else { return };
    if let Ok(entries) = container_flags::entries(Path::new("a.env"), text) {
        for (name, value) in entries {
            assert!(!name.is_empty() && !name.contains(char::is_whitespace) && !name.contains('='), "{name:?}");
            assert!(value.is_none_or(|value| !value.contains('\n')), "{name:?}");
        }
    }
}

/// `--mount`, `-v`, `--tmpfs`: what is mounted is mounted at a path of the container's.
fn mount(data: &[u8]) {
    let Some(text) = word(data) else { return };
    let folder = Path::new("/p");
    let read = [mount_flags::mount(text, folder), mount_flags::volume(text, folder), mount_flags::tmpfs(text)];
    for mount in read.into_iter().flatten() {
        assert!(mount.target.starts_with('/'), "{mount:?}");
    }
}

/// `-p`, `--expose`: no more ports than there are.
fn port(data: &[u8]) {
    let Some(text) = word(data) else { return };
    if let Ok(ports) = flags::ports(text) {
        assert!(!ports.is_empty() && ports.len() <= 1 << 16, "{text:?}");
    }
    let _ = flags::expose(text);
}

/// `--since`, `--until` and durations.
fn time(data: &[u8]) {
    let Some(text) = word(data) else { return };
    let now = jiff::Timestamp::from_second(1_800_000_000).expect("a time");
    let _ = (flags::time("--since", text, now), flags::duration_ns("--timeout", text));
    let _ = (flags::size_bytes("--memory", text), flags::printed_size_bytes("--size", text));
    let _ = (flags::nano_cpus("--cpus", text), commands::log_options(false, text));
}

/// `--filter`, one a line.
fn filter(data: &[u8]) {
    let Some(text) = word(data) else { return };
    let given: Vec<String> = text.lines().map(str::to_owned).collect();
    if let Ok(filters) = filters::Filters::parse(&given, &["name", "label", "status", "dangling"], &[("volume", "no")])
    {
        let _ = (filters.patterns("name").matches("web-1"), filters.labels(&Default::default()));
        let _ = (filters.check("status", &["running"]), filters.truth("dangling"));
    }
    let _ = commands::prune_filter(&given);
}

/// The other flags that have a form.
fn flag(data: &[u8]) {
    let Some(text) = word(data) else { return };
    let _ = (flags::restart(text), flags::ulimit(text), flags::device(text), flags::link(text), flags::mac(text));
    let _ = (flags::env(text), flags::add_host(text), network_flags::attachment(text));
}

#[cfg(test)]
#[test]
fn no_input_breaks_what_reads_it() {
    carrack_testkit::fuzz::check(TARGETS);
}
