//! Waiting for a container without asking again and again: the kernel tells when its state file is replaced.

use std::time::{Duration, Instant};

use carrack_diag::Result;
use carrack_runtime::state::State;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;

use crate::engine::{Engine, host_error};

impl Engine {
    /// The state of a container; none where it never ran.
    pub(crate) fn state(&self, id: &str) -> Result<Option<State>> {
        match State::read(&self.store.container_run_dir(id)?)? {
            Some(state) => Ok(Some(state)),
            None => self.last_run(id),
        }
    }

    /// Looks at the state now and after each change until `check` answers, or the time is over.
    pub(crate) fn wait_for_state<T>(
        &self,
        id: &str,
        timeout: Option<Duration>,
        mut check: impl FnMut(Option<State>) -> Option<T>,
    ) -> Result<Option<T>> {
        let failed = |error: rustix::io::Errno| host_error("can't watch a container's state", error);
        let folder = self.store.container_run_dir(id)?;
        let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK).map_err(failed)?;
        let flags = inotify::WatchFlags::MOVED_TO | inotify::WatchFlags::DELETE_SELF | inotify::WatchFlags::ONLYDIR;
        let watched = inotify::add_watch(&watch, &folder, flags).is_ok();
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        loop {
            if let Some(answer) = check(self.state(id)?) {
                return Ok(Some(answer));
            }
            if !watched || !folder.exists() {
                return Ok(check(None));
            }
            let left = match deadline {
                None => None,
                Some(deadline) => match deadline.checked_duration_since(Instant::now()) {
                    Some(left) if !left.is_zero() => Some(left),
                    _ => return Ok(None),
                },
            };
            let left = left.map(|left| Timespec {
                tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            });
            match poll(&mut [PollFd::new(&watch, PollFlags::IN)], left.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(failed(error)),
            }
            let mut buffer = [0; 4096];
            while matches!(rustix::io::read(&watch, &mut buffer), Ok(read) if read > 0) {}
        }
    }
}
