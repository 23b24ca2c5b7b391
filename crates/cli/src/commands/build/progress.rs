//! A build as plain lines: `#3 [build 2/5] RUN make`, its output, how it ended.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Instant;

use carrack_engine::build::{Event, Progress};

use crate::output::note;

/// Writes lines on standard error, as steps go.
pub(super) struct Lines {
    quiet: bool,
    /// Before each line: whose build of several it is.
    label: String,
    began: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    names: Vec<String>,
    /// What a step has written behind its last newline.
    partial: BTreeMap<usize, Vec<u8>>,
}

impl Lines {
    pub(super) fn new(quiet: bool, label: Option<&str>) -> Self {
        let label = label.map(|label| format!("{label} ")).unwrap_or_default();
        Self { quiet, label, began: Instant::now(), state: Mutex::new(State::default()) }
    }

    fn output(&self, state: &mut State, vertex: usize, bytes: &[u8]) {
        let mut pending = state.partial.remove(&vertex).unwrap_or_default();
        pending.extend_from_slice(bytes);
        let whole = pending.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        let rest = pending.split_off(whole);
        let seconds = self.began.elapsed().as_secs_f64();
        for line in String::from_utf8_lossy(&pending).lines() {
            // A progress bar rewrites its line: only what it ends as is shown.
            let line = line.rsplit('\r').find(|part| !part.is_empty()).unwrap_or("");
            note(&format!("{}#{} {seconds:.3} {line}\n", self.label, vertex + 1));
        }
        if !rest.is_empty() {
            state.partial.insert(vertex, rest);
        }
    }
}

impl Progress for Lines {
    fn event(&self, event: Event<'_>) {
        if self.quiet {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match event {
            Event::Planned { names } => state.names = names.into_iter().map(str::to_owned).collect(),
            Event::Started { vertex } => {
                let name = state.names.get(vertex).cloned().unwrap_or_default();
                note(&format!("{}#{} {name}\n", self.label, vertex + 1));
            }
            Event::Output { vertex, bytes, .. } => self.output(&mut state, vertex, bytes),
            Event::Done { vertex, is_cached, duration } => {
                if state.partial.contains_key(&vertex) {
                    self.output(&mut state, vertex, b"\n");
                }
                let number = vertex + 1;
                if is_cached {
                    note(&format!("{}#{number} CACHED\n", self.label));
                } else {
                    note(&format!("{}#{number} DONE {:.1}s\n", self.label, duration.as_secs_f64()));
                }
            }
            Event::Failed { vertex, duration } => {
                note(&format!("{}#{} FAILED after {:.1}s\n", self.label, vertex + 1, duration.as_secs_f64()));
            }
            Event::Context { .. } | Event::Image { .. } => {}
        }
    }
}
