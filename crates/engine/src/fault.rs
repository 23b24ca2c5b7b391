//! Faults put into an apply by its own tests: an error, a delay or the death of the process, before or after a node.
//!
//! Compiled into debug builds only, so that no environment of a user's can make the released binary fail.

use carrack_diag::Result;
use carrack_plan::Operation;

/// When a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// The journal says that the node is started; nothing is done.
    Before,
    /// The node is done; the journal does not say so yet.
    After,
}

/// Names and match from one table. The match is exhaustive, so that a new operation can't be left out of the kill tests.
macro_rules! kinds {
    ($($variant:ident: $name:literal,)*) => {
        /// The stable names of all kinds of operations.
        pub const KINDS: &[&str] = &[$($name),*];

        /// The stable name of an operation's kind.
        pub fn kind(operation: &Operation) -> &'static str {
            match operation {
                $(Operation::$variant { .. } => $name,)*
            }
        }
    };
}

kinds! {
    StoreFile: "store-file",
    CreateNetwork: "create-network",
    RemoveNetwork: "remove-network",
    CreateVolume: "create-volume",
    RemoveVolume: "remove-volume",
    CreateContainer: "create-container",
    StartContainer: "start-container",
    WaitFor: "wait-for",
    AnnounceNames: "announce-names",
    WithdrawNames: "withdraw-names",
    StopContainer: "stop-container",
    RenameContainer: "rename-container",
    RemoveContainer: "remove-container",
    RecordRelease: "record-release",
    RetireRelease: "retire-release",
}

/// Strikes where `CARRACK_FAULT` asks for it: `kill:before:start-container`, `error:after:wait-for`,
/// `delay:before:stop-container`.
#[cfg(debug_assertions)]
pub(crate) fn inject(operation: &Operation, moment: Moment) -> Result<()> {
    let Ok(wanted) = std::env::var("CARRACK_FAULT") else { return Ok(()) };
    let moment = match moment {
        Moment::Before => "before",
        Moment::After => "after",
    };
    let Some((action, place)) = wanted.split_once(':') else { return Ok(()) };
    if place != format!("{moment}:{}", kind(operation)) {
        return Ok(());
    }
    match action {
        "kill" => {
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
            Ok(())
        }
        "delay" => {
            let pause = rustix::thread::Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
            let _ = rustix::thread::clock_nanosleep_relative(rustix::thread::ClockId::Monotonic, &pause);
            Ok(())
        }
        _ => {
            Err(carrack_diag::Diagnostic::error(&crate::codes::HOST, format!("injected fault at `{operation}`"))
                .boxed())
        }
    }
}

/// The released binary has no faults but its own.
#[cfg(not(debug_assertions))]
pub(crate) fn inject(_: &Operation, _: Moment) -> Result<()> {
    Ok(())
}
