use std::path::Path;

use carrack_diag::{Diagnostic, Result};
use carrack_runtime::event::{Event, Reader, Reading};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;
use rustix::io::Errno;

use super::EVENTS_FILE;
use crate::codes;
use crate::engine::{Engine, host_error};

/// Which events are told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EventSpan {
    /// From then on; none is from now on.
    pub since: Option<jiff::Timestamp>,
    /// Until then, and no longer; none is for ever.
    pub until: Option<jiff::Timestamp>,
}

impl EventSpan {
    fn holds(&self, event: &Event) -> bool {
        // A time that nobody can read is no reason to hide an event.
        let Ok(time) = event.time.parse::<jiff::Timestamp>() else { return true };
        self.since.is_none_or(|since| time >= since) && self.until.is_none_or(|until| time <= until)
    }
}

impl Engine {
    /// Tells what happens on the root, and what has, as it is written; false ends it. Reads only (I-5), and no process is
    /// needed that collects: a root that does not exist yet is waited for.
    ///
    /// # Errors
    /// `engine/events-missed` where the reader was so slow that more was written than is kept.
    pub fn events(&self, span: EventSpan, sink: &mut dyn FnMut(Event) -> bool) -> Result<()> {
        let failed = |error: std::io::Error| host_error("can't read the events", error);
        let path = self.roots().run.join(EVENTS_FILE);
        // Watched before it is read, so that nothing comes in between.
        let mut watch = watch(&self.roots().run)?;
        let mut reader = Reader::open(&path, span.since.is_some()).map_err(failed)?;
        loop {
            let now = jiff::Timestamp::now();
            loop {
                match reader.read().map_err(failed)? {
                    Reading::End => break,
                    Reading::Missed => return Err(missed()),
                    Reading::Event(event) if span.holds(&event) => {
                        if !sink(event) {
                            return Ok(());
                        }
                    }
                    Reading::Event(_) => {}
                }
            }
            let left = match span.until {
                Some(until) if until <= now => return Ok(()),
                Some(until) => Some(until.duration_since(now)),
                None => None,
            };
            let left = left.map(|left| Timespec { tv_sec: left.as_secs(), tv_nsec: left.subsec_nanos().into() });
            match poll(&mut [PollFd::new(&watch, PollFlags::IN)], left.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(failed(error.into())),
            }
            let mut buffer = [0; 4096];
            let mut is_gone = false;
            while let Ok(read) = rustix::io::read(&watch, &mut buffer)
                && read > 0
            {
                // A folder that came or went moves the place to watch.
                is_gone |= !path.exists();
            }
            if is_gone || !self.roots().run.exists() {
                watch = self::watch(&self.roots().run)?;
            }
        }
    }
}

/// Hears of every line and rotation in `folder`, or of folders that come on the way there.
fn watch(folder: &Path) -> Result<std::os::fd::OwnedFd> {
    use inotify::WatchFlags as On;

    let failed = |error: Errno| host_error(format!("can't watch {}", folder.display()), error);
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK).map_err(failed)?;
    let wanted = On::MODIFY | On::CREATE | On::MOVED_TO | On::DELETE_SELF | On::MOVE_SELF | On::ONLYDIR;
    for place in folder.ancestors() {
        match inotify::add_watch(&watch, place, wanted) {
            Ok(_) => break,
            Err(Errno::NOENT) => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(watch)
}

fn missed() -> Box<Diagnostic> {
    Diagnostic::error(&codes::EVENTS_MISSED, "events were missed")
        .cause("they came faster than they were read, and only the youngest are kept")
        .hint("repeat with --since to go on from the last one that was shown; what is gone by then is gone")
        .boxed()
}
