use std::sync::atomic::AtomicU64;
use std::time::Duration;

use crate::process;

#[test]
fn a_descriptor_is_claimed_once() {
    let taken = AtomicU64::new(0);
    for number in 0..64 {
        assert!(process::claim(&taken, number), "{number}");
    }
    for number in -1..=65 {
        assert!(!process::claim(&taken, number), "{number} is taken or no number of ours");
    }
}

#[test]
fn a_filter_of_broken_instructions_is_refused() {
    assert_eq!(crate::seccomp::set_filter(&[0; 7], 0), Err(rustix::io::Errno::INVAL));
}

#[test]
fn the_current_directory_is_absolute() {
    assert!(process::current_directory().is_ok_and(|path| path.starts_with(b"/")));
}

#[test]
fn the_program_goes_on_after_a_wait_without_its_code() {
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    assert_eq!(process::wait_without_code(&reader, Some(Duration::from_millis(1))), Ok(()), "time is up");
    rustix::io::write(&writer, b"x").unwrap();
    assert_eq!(process::wait_without_code(&reader, None), Ok(()));
    assert!(process::current_directory().is_ok());
}
