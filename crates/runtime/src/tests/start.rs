use super::fixture::{Bundle, Outcome, can_run, execute, run, small_plan};

/// F1: a container is a Linux process started from the image.
#[test]
fn true_exits_with_zero() {
    if !can_run() {
        return;
    }
    let bundle = Bundle::new();
    let outcome = run(&small_plan(&bundle, vec![], vec![execute(&["true"])]));
    assert_eq!(outcome, Ok(Outcome { status: 0, output: String::new() }));
}

#[test]
fn a_missing_program_is_127() {
    if !can_run() {
        return;
    }
    let bundle = Bundle::new();
    let failure = run(&small_plan(&bundle, vec![], vec![execute(&["nothing"])])).expect_err("no such program");
    assert_eq!(failure.exit_status(), 127);
    assert_eq!(failure.to_string(), "execute \"nothing\": executable file not found in $PATH: No such file or directory (os error 2)");
}
