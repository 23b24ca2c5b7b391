//! Containers without a limit of processes that fork as fast as they are killed: the host stays usable, and every verb
//! that ends them gets through (I7).

use std::time::{Duration, Instant};

use crate::machine::{Machine, eventually};

/// How many there are of each of the three that watch over one another.
const CHAINS: usize = 150;
/// What a verb may take; a second on an idle machine.
const SECONDS: Duration = Duration::from_secs(30);

/// Bounded, unlike a real one: each chain is a program, who starts it again, and who starts that one again. None of them
/// listens to SIGTERM.
fn bomb(mark: &str) -> String {
    format!(
        "trap '' TERM; keep() {{ while :; do sleep {mark} & wait $!; done; }}; \
         watch() {{ while :; do keep & wait $!; done; }}; \
         n=0; while test $n -lt {CHAINS}; do watch & n=$((n+1)); done; while :; do wait; done"
    )
}

/// The processes of this bomb, wherever they are.
fn count(mark: &str) -> usize {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let words = processes.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    words.filter(|words| String::from_utf8_lossy(words).contains(mark)).count()
}

#[test]
fn they_are_ended_by_every_verb_that_ends() {
    let Some(machine) = Machine::new() else { return };
    for (number, (flags, verb)) in [
        (&[][..], &["kill"][..]),
        (&[], &["stop", "-t", "1"]),
        (&[], &["rm", "-f"]),
        // No first process of a namespace takes them along.
        (&["--pid", "host"], &["rm", "-f"]),
        (&["--pid", "host"], &["stop", "-t", "1"]),
    ]
    .into_iter()
    .enumerate()
    {
        let mark = format!("{}{number:03}", 1_000_000 + std::process::id());
        let name = format!("bomb{number}");
        let run = ["run", "-d", "--network", "none", "--name", &name];
        machine.ok(&[&run[..], flags, &["busybox", "sh", "-c", &bomb(&mark)]].concat());
        eventually("the bomb", || (count(&mark) >= 3 * CHAINS).then_some(()));
        assert_eq!(machine.ok(&["run", "--rm", "busybox", "echo", "usable"]), "usable");
        assert_eq!(machine.ok(&["exec", &name, "echo", "usable"]), "usable");
        let begun = Instant::now();
        machine.ok(&[verb, &[name.as_str()]].concat());
        // `kill` sends, and does not wait.
        eventually("its end", || (count(&mark) == 0).then_some(()));
        assert!(begun.elapsed() < SECONDS, "{flags:?} {verb:?}: {:?}", begun.elapsed());
    }
    machine.finish();
}
