//! Targets of `fuzz/` as ordinary tests: each over its seeds and some hundreds of mutations of them, always the same ones.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// A reader of what strangers write, by the name of its folder in `fuzz/seeds`. It fails by a panic.
pub type Target = (&'static str, fn(&[u8]));

/// Of each seed.
const MUTATIONS: u64 = 300;
/// What parsers trip over more often than over anything else.
const SPECIAL: &[&[u8]] = &[
    b"\0",
    b"\n",
    b"\r\n",
    b" ",
    b"\t",
    b"\"",
    b"'",
    b"\\",
    b"/",
    b"..",
    b":",
    b"=",
    b",",
    b"{",
    b"}",
    b"[",
    b"]",
    b"$",
    b"${",
    b"%",
    b"#",
    b"-",
    b"-1",
    b"0",
    b"9223372036854775808",
    b"18446744073709551615",
    b"1e400",
    b"NaN",
    b"\xef\xbb\xbf",
    b"\xe2\x80\xa8",
    b"\xc3\xa9",
    b"\xff",
    b"\xff\xff\xff\xff",
    b"\x80\0\0\0",
    b"\x7f\xff\xff\xff",
];

/// Feeds every target.
///
/// # Panics
/// Where a target does, after its input was written to `target/fuzz`; and where one has no seeds.
pub fn check(targets: &[Target]) {
    for (name, target) in targets {
        let seeds = seeds(name);
        assert!(!seeds.is_empty(), "fuzz/seeds/{name} is empty");
        for seed in &seeds {
            feed(name, *target, seed);
        }
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        for seed in &seeds {
            for _ in 0..MUTATIONS {
                let other = &seeds[random.below(seeds.len())];
                feed(name, *target, &mutated(seed, other, &mut random));
            }
        }
    }
}

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn seeds(name: &str) -> Vec<Vec<u8>> {
    let folder = top().join("fuzz/seeds").join(name);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).expect("a seed")).collect()
}

fn feed(name: &str, target: fn(&[u8]), input: &[u8]) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| target(input))) {
        let folder = top().join("target/fuzz");
        let path = folder.join(name);
        let _ = std::fs::create_dir_all(folder);
        let _ = std::fs::write(&path, input);
        let said = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        let said = said.unwrap_or_default();
        panic!(
            "the target {name} fails with what is in {}, {:?}: {said}",
            path.display(),
            input.escape_ascii().to_string()
        );
    }
}

/// Some changes, one after the other.
fn mutated(seed: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    let mut input = seed.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(input.len() + 1);
        let end = at + random.below((input.len() - at).min(32) + 1);
        match random.below(7) {
            0 => input.truncate(at),
            1 => drop(input.splice(at..end, SPECIAL[random.below(SPECIAL.len())].iter().copied())),
            2 => drop(input.drain(at..end)),
            3 => {
                let again = input[at..end].repeat(1 + random.below(8));
                drop(input.splice(at..at, again));
            }
            4 => {
                let from = random.below(other.len() + 1);
                let to = from + random.below(other.len() - from + 1);
                drop(input.splice(at..end, other[from..to].iter().copied()));
            }
            5 if at < input.len() => input[at] ^= 1 << random.below(8),
            _ => input.insert(at, random.next() as u8),
        }
    }
    input
}

/// SplitMix64: the same numbers everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}
