//! The keys that detach a terminal from a program.

use std::borrow::Cow;

/// A sequence of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetachKeys(Vec<u8>);

/// Docker's: control and p, control and q.
impl Default for DetachKeys {
    fn default() -> Self {
        Self(vec![0x10, 0x11])
    }
}

impl DetachKeys {
    /// From Docker's notation: keys separated by commas, each a character or `ctrl-` and one of `a`–`z @ [ \ ] ^ _`. None
    /// where it is none. The empty text detaches never.
    pub fn parse(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self(Vec::new()));
        }
        text.split(',').map(key).collect::<Option<Vec<u8>>>().map(Self)
    }

    /// No keys: nothing detaches.
    pub fn never() -> Self {
        Self(Vec::new())
    }
}

fn key(text: &str) -> Option<u8> {
    let control = text.strip_prefix("ctrl-");
    match (control.unwrap_or(text).as_bytes(), control) {
        ([key @ b'a'..=b'z'], Some(_)) => Some(key - b'a' + 1),
        ([key @ (b'@' | b'['..=b'_')], Some(_)) => Some(key - b'@'),
        ([key], None) if key.is_ascii() => Some(*key),
        _ => None,
    }
}

/// Looks for the keys in what is typed, and holds their beginning back until it is clear.
#[derive(Debug)]
pub(crate) struct Detacher<'a> {
    keys: &'a [u8],
    held: usize,
}

impl<'a> Detacher<'a> {
    pub(crate) fn new(keys: &'a DetachKeys) -> Self {
        Self { keys: &keys.0, held: 0 }
    }

    /// What goes on to the program, and whether the keys are complete.
    pub(crate) fn pass<'b>(&mut self, typed: &'b [u8]) -> (Cow<'b, [u8]>, bool) {
        if self.keys.is_empty() {
            return (Cow::Borrowed(typed), false);
        }
        let mut passed = Vec::with_capacity(typed.len());
        for byte in typed {
            while self.held > 0 && self.keys.get(self.held) != Some(byte) {
                self.release_one(&mut passed);
            }
            if self.keys.get(self.held) == Some(byte) {
                self.held += 1;
                if self.held == self.keys.len() {
                    return (Cow::Owned(passed), true);
                }
            } else {
                passed.push(*byte);
            }
        }
        (Cow::Owned(passed), false)
    }

    /// The held bytes are no beginning of the keys: the first goes on, and perhaps the rest is one.
    fn release_one(&mut self, passed: &mut Vec<u8>) {
        let held = self.keys.get(..self.held).unwrap_or_default();
        let keep = (0..self.held).rev().find(|keep| held.ends_with(self.keys.get(..*keep).unwrap_or_default()));
        let keep = keep.unwrap_or(0);
        passed.extend(held.iter().take(self.held - keep));
        self.held = keep;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keys_are_read_in_dockers_notation() {
        assert_eq!(DetachKeys::parse("ctrl-p,ctrl-q"), Some(DetachKeys::default()));
        assert_eq!(DetachKeys::parse("ctrl-@,a,ctrl-_"), Some(DetachKeys(vec![0, b'a', 0x1f])));
        assert_eq!(DetachKeys::parse(""), Some(DetachKeys(vec![])));
        for wrong in ["ctrl-", "ctrl-A", "ab", ",", "é"] {
            assert_eq!(DetachKeys::parse(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn everything_before_the_keys_goes_through(
            typed in prop::collection::vec(0u8..3, 0..40), keys in prop::collection::vec(0u8..3, 1..4), cut in 1usize..5,
        ) {
            let sequence = DetachKeys(keys.clone());
            let mut detacher = Detacher::new(&sequence);
            let mut passed = Vec::new();
            let mut detached = false;
            for chunk in typed.chunks(cut) {
                let (bytes, complete) = detacher.pass(chunk);
                passed.extend_from_slice(&bytes);
                detached = complete;
                if detached {
                    break;
                }
            }
            let found = typed.windows(keys.len()).position(|window| window == keys);
            prop_assert_eq!(detached, found.is_some());
            match found {
                Some(position) => prop_assert_eq!(&passed, &typed[..position]),
                None => prop_assert_eq!([&passed[..], &keys[..detacher.held]].concat(), typed),
            }
        }
    }
}
