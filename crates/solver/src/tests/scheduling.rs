use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use carrack_diag::Diagnostic;
use carrack_llb::{Edge, Op, Vertex, VertexId};

use crate::codes;
use crate::schedule::run;

fn vertices(inputs: &[&[usize]]) -> Vec<Vertex> {
    let vertex = |inputs: &&[usize]| Vertex {
        op: Op::Merge,
        inputs: inputs.iter().map(|input| Edge { vertex: VertexId(*input) }).collect(),
        origin: Vec::new(),
        name: String::new(),
    };
    inputs.iter().map(vertex).collect()
}

/// D3: inputs come first, each result is made once.
#[test]
fn inputs_come_before_their_users() {
    let graph = vertices(&[&[], &[0], &[0], &[1, 2, 1], &[]]);
    for parallelism in [1, 2, 8] {
        let cancel = AtomicBool::new(false);
        let sums = run(&graph, parallelism, &cancel, |id, inputs| {
            Ok(inputs.iter().map(|input| **input).sum::<usize>() + (id.0 + 1))
        });
        let sums: Vec<usize> = sums.unwrap().unwrap().iter().map(|sum| **sum).collect();
        assert_eq!(sums, [1, 3, 4, 14, 5]);
    }
}

#[test]
fn after_an_error_nothing_begins() {
    let graph = vertices(&[&[], &[0], &[1]]);
    let (cancel, begun) = (AtomicBool::new(false), AtomicUsize::new(0));
    let errors = run(&graph, 4, &cancel, |id, _| {
        begun.fetch_add(1, Ordering::SeqCst);
        if id.0 == 1 { Err(Diagnostic::error(&codes::STEP_FAILED, "no").boxed()) } else { Ok(()) }
    });
    assert_eq!(errors.unwrap_err().len(), 1);
    assert_eq!(begun.into_inner(), 2);
    assert!(cancel.into_inner());
}

#[test]
fn cancelled_from_outside_it_has_no_results() {
    let cancel = AtomicBool::new(true);
    assert!(run(&vertices(&[&[]]), 1, &cancel, |_, _| Ok(())).unwrap().is_none());
}

/// A panic ends the build instead of leaving the others waiting.
#[test]
fn a_panic_does_not_hang() {
    let graph = vertices(&[&[], &[0], &[]]);
    let caught = std::panic::catch_unwind(|| {
        run(&graph, 3, &AtomicBool::new(false), |id, _| {
            assert_ne!(id.0, 0);
            Ok(())
        })
    });
    assert!(caught.is_err());
}

/// D3: what only waits does not wait for a processor, and the limit holds.
#[test]
fn independent_vertices_meet_up_to_the_limit() {
    let graph = vertices(&[&[], &[], &[], &[], &[0, 1, 2, 3]]);
    for (parallelism, expected) in [(4, 4), (2, 2), (1, 1)] {
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let together = std::sync::Barrier::new(expected);
        let cancel = AtomicBool::new(false);
        let done = run(&graph, parallelism, &cancel, |id, _| {
            let count = now.fetch_add(1, Ordering::SeqCst) + 1;
            most.fetch_max(count, Ordering::SeqCst);
            if id.0 < 4 {
                together.wait();
            }
            now.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        });
        assert_eq!(done.unwrap().unwrap().len(), 5);
        assert_eq!(most.into_inner(), expected);
    }
}
