//! Order and parallelism: each vertex runs once all of its inputs are there, independent ones at the same time.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, Scope};

use carrack_diag::{Diagnostic, Result};
use carrack_llb::{Vertex, VertexId};

use crate::codes;

struct State<T> {
    ready: VecDeque<usize>,
    /// Inputs that are not there yet, by vertex.
    missing: Vec<usize>,
    results: Vec<Option<Arc<T>>>,
    errors: Vec<Diagnostic>,
    running: usize,
    threads: usize,
}

/// How many steps run at once where nobody says. More than processors: steps also wait, for servers, locks and clocks.
pub(crate) fn default_parallelism() -> usize {
    const LEAST: usize = 16;
    std::thread::available_parallelism().map_or(LEAST, |count| count.get().max(LEAST))
}

/// Evaluates every vertex, at most `parallelism` at once. After an error, or once `cancel` is set, nothing new begins;
/// an error sets `cancel` for what runs already. Without errors and without all results, it was cancelled.
pub(crate) fn run<T: Send + Sync>(
    vertices: &[Vertex],
    parallelism: usize,
    cancel: &AtomicBool,
    evaluate: impl Fn(VertexId, &[Arc<T>]) -> Result<T> + Sync,
) -> Result<Option<Vec<Arc<T>>>, Vec<Diagnostic>> {
    let missing: Vec<usize> = vertices.iter().map(|vertex| vertex.inputs.len()).collect();
    let ready = (0..vertices.len()).filter(|index| missing[*index] == 0).collect();
    let results = vertices.iter().map(|_| None).collect();
    let state = State { ready, missing, results, errors: Vec::new(), running: 0, threads: 1 };
    let shared = Shared { vertices, evaluate, parallelism, state: Mutex::new(state), changed: Condvar::new(), cancel };
    std::thread::scope(|scope| work(scope, &shared));
    let state = shared.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    if state.errors.is_empty() { Ok(state.results.into_iter().collect()) } else { Err(state.errors) }
}

struct Shared<'a, T, F> {
    vertices: &'a [Vertex],
    evaluate: F,
    parallelism: usize,
    state: Mutex<State<T>>,
    changed: Condvar,
    cancel: &'a AtomicBool,
}

impl<T, F> Shared<'_, T, F> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts a vertex as running. Dropped by a panic too, so that the others do not wait for it.
struct Running<'a, 'b, T, F>(&'a Shared<'b, T, F>);

impl<T, F> Drop for Running<'_, '_, T, F> {
    fn drop(&mut self) {
        self.0.lock().running -= 1;
        self.0.changed.notify_all();
    }
}

/// A vertex, its inputs, and that it runs.
type Work<'a, 'b, T, F> = (usize, Vec<Arc<T>>, Running<'a, 'b, T, F>);

fn work<'scope, T, F>(scope: &'scope Scope<'scope, '_>, shared: &'scope Shared<'_, T, F>)
where
    T: Send + Sync,
    F: Fn(VertexId, &[Arc<T>]) -> Result<T> + Sync,
{
    while let Some((index, inputs, running)) = next(scope, shared) {
        let result = (shared.evaluate)(VertexId(index), &inputs);
        let mut state = shared.lock();
        match result {
            Ok(result) => finish(shared.vertices, &mut state, index, result),
            // It is begun anew: what runs is not in vain.
            Err(diagnostic) if diagnostic.code == &codes::CACHE_LOST => state.errors.push(*diagnostic),
            Err(diagnostic) => {
                // What was killed because of another failure has nothing to say of its own.
                if !shared.cancel.swap(true, Ordering::SeqCst) {
                    state.errors.push(*diagnostic);
                }
            }
        }
        drop(state);
        drop(running);
    }
}

/// Waits for a vertex that can be evaluated; none where there will be no more. Whoever takes one and leaves another sees
/// to it that there is a thread for that.
fn next<'scope, 'b, T, F>(
    scope: &'scope Scope<'scope, '_>,
    shared: &'scope Shared<'b, T, F>,
) -> Option<Work<'scope, 'b, T, F>>
where
    T: Send + Sync,
    F: Fn(VertexId, &[Arc<T>]) -> Result<T> + Sync,
{
    let mut state = shared.lock();
    loop {
        if shared.cancel.load(Ordering::SeqCst) || !state.errors.is_empty() {
            return None;
        }
        if let Some(index) = state.ready.pop_front() {
            state.running += 1;
            if !state.ready.is_empty() && state.threads < shared.parallelism {
                // Where a limit of the host allows no more threads, those that there are do it.
                let spawned = Builder::new().spawn_scoped(scope, || work(scope, shared));
                state.threads += usize::from(spawned.is_ok());
            }
            let edges = &shared.vertices[index].inputs;
            let inputs = edges.iter().filter_map(|edge| state.results[edge.vertex.0].clone()).collect();
            return Some((index, inputs, Running(shared)));
        }
        if state.running == 0 {
            return None;
        }
        state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
    }
}

fn finish<T>(vertices: &[Vertex], state: &mut State<T>, index: usize, result: T) {
    state.results[index] = Some(Arc::new(result));
    for (user, vertex) in vertices.iter().enumerate() {
        let uses = vertex.inputs.iter().filter(|edge| edge.vertex.0 == index).count();
        if uses > 0 {
            state.missing[user] -= uses;
            if state.missing[user] == 0 {
                state.ready.push_back(user);
            }
        }
    }
}
