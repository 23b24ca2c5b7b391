use std::time::Duration;

use crate::testing::Scene;
use crate::{DEFAULT_WAIT, Lock, Sharing};

const NONE: Duration = Duration::ZERO;

fn container(id: &str) -> Lock {
    Lock::Container(id.into())
}

#[test]
fn locks_are_taken_in_their_order_only() {
    let scene = Scene::new();
    let stack = scene.store.lock(Lock::Stack("shop".into()), NONE).unwrap();
    let first = scene.store.lock(container("a"), NONE).unwrap();
    let second = scene.store.lock(container("b"), NONE).unwrap();
    let network = scene.store.lock(Lock::Network, NONE).unwrap();
    for lower in [Lock::Stack("z".into()), container("a"), container("c"), Lock::Volume("v".into()), Lock::Network] {
        assert_eq!(scene.store.lock(lower.clone(), NONE).unwrap_err().code.id, "store/lock-order", "{lower}");
    }
    drop(network);
    scene.store.lock(container("c"), NONE).unwrap();
    drop((stack, first, second));
    scene.store.lock(Lock::Stack("a".into()), NONE).unwrap();
}

#[test]
fn the_order_is_one_a_thread() {
    let scene = Scene::new();
    let _network = scene.store.lock(Lock::Network, NONE).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| scene.store.lock(container("a"), NONE).map(drop).unwrap());
    });
}

#[test]
fn waiting_is_bounded_and_the_holder_is_named() {
    let scene = Scene::new();
    let _held = scene.store.lock(container("a"), NONE).unwrap();
    let error = std::thread::scope(|scope| {
        scope
            .spawn(|| scene.store.lock(container("a"), Duration::from_millis(20)).map(drop).unwrap_err())
            .join()
            .unwrap()
    });
    assert_eq!(error.code.id, "store/locked");
    assert_eq!(error.message, "the lock of container a was not free within 20 ms");
    let holder = format!("process {} holds it:", std::process::id());
    assert!(error.causes[0].starts_with(&holder), "{error}");
}

#[test]
fn a_lock_is_had_when_it_is_let_go() {
    let scene = Scene::new();
    let held = scene.store.lock(container("a"), NONE).unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| scene.store.lock(container("a"), DEFAULT_WAIT).map(drop));
        drop(held);
        waiting.join().unwrap().unwrap();
    });
}

#[test]
fn shared_locks_are_shared() {
    let scene = Scene::new();
    let held = scene.store.lock_as(Lock::Content, Sharing::Shared, NONE).unwrap();
    std::thread::scope(|scope| {
        let others = scope.spawn(|| {
            scene.store.lock_as(Lock::Content, Sharing::Shared, NONE).map(drop).unwrap();
            scene.store.lock(Lock::Content, NONE).map(drop).unwrap_err()
        });
        assert_eq!(others.join().unwrap().code.id, "store/locked");
    });
    drop(held);
    scene.store.lock(Lock::Content, NONE).unwrap();
}

#[test]
fn names_of_locks_are_no_paths() {
    let scene = Scene::new();
    assert_eq!(scene.store.lock(Lock::Stack("../x".into()), NONE).unwrap_err().code.id, "store/invalid-name");
}

/// A lock that is forgotten while others wait for it still is held by one at a time.
#[test]
fn a_forgotten_lock_leaves_no_file_and_lets_one_in() {
    let scene = Scene::new();
    let path = scene.store.roots().run.join("locks/container-a");
    let inside = std::sync::atomic::AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let _held = scene.store.lock(container("a"), DEFAULT_WAIT).unwrap();
                    assert_eq!(inside.fetch_add(1, std::sync::atomic::Ordering::SeqCst), 0);
                    // Whoever forgets a lock lets others in, so it is the last thing that is done under it.
                    inside.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                    scene.store.forget_lock(&container("a")).unwrap();
                }
            });
        }
    });
    assert!(!path.exists());
}
