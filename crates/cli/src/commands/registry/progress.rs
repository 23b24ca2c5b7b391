//! A transfer as lines: what becomes of each layer, and on a terminal how far all of them are.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};

use carrack_engine::registry::{Event, Watch};
use carrack_oci::Digest;

use crate::output::{human_size, note, print};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Pull,
    Push,
}

/// Docker's words for what happens to a layer.
pub(super) struct Lines {
    verb: Verb,
    quiet: bool,
    /// Where standard output belongs to somebody else.
    on_stderr: bool,
    is_terminal: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Done and whole, in bytes.
    layers: BTreeMap<Digest, (u64, u64)>,
    has_status: bool,
}

impl Lines {
    pub(super) fn new(verb: Verb, quiet: bool, on_stderr: bool) -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        Self { verb, quiet, on_stderr, is_terminal, state: Mutex::new(State::default()) }
    }

    /// Takes the status line away.
    pub(super) fn end(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.clear(&mut state);
    }

    fn clear(&self, state: &mut State) {
        if std::mem::take(&mut state.has_status) {
            note("\r\x1b[K");
        }
    }

    fn line(&self, state: &mut State, digest: &Digest, words: &str) {
        self.clear(state);
        let line = format!("{}: {words}\n", digest.short());
        if self.on_stderr { note(&line) } else { print(&line) }
    }

    fn status(&self, state: &mut State) {
        if !self.is_terminal {
            return;
        }
        let done: u64 = state.layers.values().map(|(done, _)| done).sum();
        let whole: u64 = state.layers.values().map(|(_, whole)| whole).sum();
        note(&format!("\r\x1b[K{} of {}", human_size(done), human_size(whole)));
        state.has_status = true;
    }
}

impl Watch for Lines {
    fn event(&self, event: Event<'_>) {
        if self.quiet {
            return;
        }
        let mut guard = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *guard;
        let pulls = self.verb == Verb::Pull;
        match event {
            Event::Waiting { digest, size_bytes } => {
                state.layers.insert(digest, (0, size_bytes));
                self.line(state, &digest, if pulls { "Pulling fs layer" } else { "Preparing" });
            }
            Event::Present { digest } => {
                state.layers.remove(&digest);
                self.line(state, &digest, if pulls { "Already exists" } else { "Layer already exists" });
            }
            Event::Moved { digest, done_bytes, size_bytes } => {
                state.layers.insert(digest, (done_bytes, size_bytes));
                self.status(state);
            }
            Event::Interrupted { digest, reason } => self.line(state, &digest, &format!("Retrying: {reason}")),
            Event::Mounted { digest, from } => {
                state.layers.remove(&digest);
                self.line(state, &digest, &format!("Mounted from {from}"));
            }
            Event::Done { digest } => self.line(state, &digest, if pulls { "Download complete" } else { "Pushed" }),
            Event::Ready { digest } => self.line(state, &digest, if pulls { "Pull complete" } else { "Compressed" }),
            _ => {}
        }
    }
}
