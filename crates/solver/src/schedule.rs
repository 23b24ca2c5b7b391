//! Order and parallelism: each vertex runs once all of its inputs are there, independent ones at the same time.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use carrack_diag::{Diagnostic, Result};
use carrack_llb::{Vertex, VertexId};

struct State<T> {
    ready: VecDeque<usize>,
    /// Inputs that are not there yet, by vertex.
    missing: Vec<usize>,
    results: Vec<Option<Arc<T>>>,
    errors: Vec<Diagnostic>,
    unfinished: usize,
    running: usize,
}

/// Evaluates every vertex, at most `parallelism` at once. After an error nothing new begins, and `cancel` is set for what
/// runs already.
pub(crate) fn run<T: Send + Sync>(
    vertices: &[Vertex],
    parallelism: usize,
    cancel: &AtomicBool,
    evaluate: impl Fn(VertexId, &[Arc<T>]) -> Result<T> + Sync,
) -> Result<Vec<Arc<T>>, Vec<Diagnostic>> {
    let missing: Vec<usize> = vertices.iter().map(|vertex| vertex.inputs.len()).collect();
    let ready = (0..vertices.len()).filter(|index| missing[*index] == 0).collect();
    let results = vertices.iter().map(|_| None).collect();
    let state = State { ready, missing, results, errors: Vec::new(), unfinished: vertices.len(), running: 0 };
    let (state, changed) = (Mutex::new(state), Condvar::new());
    std::thread::scope(|scope| {
        for _ in 0..parallelism.clamp(1, vertices.len().max(1)) {
            scope.spawn(|| work(vertices, &state, &changed, cancel, &evaluate));
        }
    });
    let state = state.into_inner().unwrap_or_else(PoisonError::into_inner);
    if state.errors.is_empty() { Ok(state.results.into_iter().flatten().collect()) } else { Err(state.errors) }
}

fn work<T>(
    vertices: &[Vertex],
    state: &Mutex<State<T>>,
    changed: &Condvar,
    cancel: &AtomicBool,
    evaluate: &(impl Fn(VertexId, &[Arc<T>]) -> Result<T> + Sync),
) {
    let mut guard = lock(state);
    loop {
        let is_over = guard.unfinished == 0 || !guard.errors.is_empty();
        let Some(index) = guard.ready.pop_front().filter(|_| !is_over) else {
            if is_over || guard.running == 0 {
                changed.notify_all();
                return;
            }
            guard = changed.wait(guard).unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        guard.running += 1;
        let inputs: Vec<Arc<T>> =
            vertices[index].inputs.iter().filter_map(|edge| guard.results[edge.vertex.0].clone()).collect();
        drop(guard);
        let result = evaluate(VertexId(index), &inputs);
        guard = lock(state);
        guard.running -= 1;
        match result {
            Ok(result) => finish(vertices, &mut guard, index, result),
            Err(diagnostic) => {
                // What was killed because of another failure has nothing to say of its own.
                if !cancel.swap(true, Ordering::SeqCst) {
                    guard.errors.push(*diagnostic);
                }
            }
        }
        changed.notify_all();
    }
}

fn finish<T>(vertices: &[Vertex], state: &mut State<T>, index: usize, result: T) {
    state.results[index] = Some(Arc::new(result));
    state.unfinished -= 1;
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

fn lock<T>(state: &Mutex<State<T>>) -> MutexGuard<'_, State<T>> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
