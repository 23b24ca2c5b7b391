use std::time::Duration;

use crate::process;

#[test]
fn descriptor_zero_to_two_are_taken_once() {
    let first = process::take_inherited(60);
    assert_eq!(first.err(), Some(rustix::io::Errno::BADF), "not open");
    assert_eq!(process::take_inherited(60).err(), Some(rustix::io::Errno::BADF), "taken");
    assert_eq!(process::take_inherited(-1).err(), Some(rustix::io::Errno::BADF));
    assert_eq!(process::take_inherited(64).err(), Some(rustix::io::Errno::BADF));
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
