//! SSH agents for steps: a socket that hands connections on to the caller's agent, whoever the step's user is.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

/// Connections that a step may have at a time. Each costs two threads and two descriptors of a build that also serves others.
const CONNECTIONS_MAX: usize = 64;
/// What is short on the machine comes back no sooner for being asked for at once.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(50);

/// A socket that is served until this value is dropped.
#[derive(Debug)]
pub(crate) struct Forward {
    listener: Arc<UnixListener>,
    server: Option<JoinHandle<()>>,
}

impl Forward {
    /// Serves connections to `path` with ones to `agent`.
    pub(crate) fn start(agent: &Path, path: &Path) -> io::Result<Self> {
        // A socket's path may be 108 bytes long; through the folder's descriptor it always fits.
        let folder = File::open(path.parent().unwrap_or(Path::new("/")))?;
        let short = format!("/proc/self/fd/{}", folder.as_raw_fd());
        let listener = Arc::new(UnixListener::bind(Path::new(&short).join(path.file_name().unwrap_or_default()))?);
        let (agent, served) = (agent.to_owned(), listener.clone());
        let server = Builder::new().spawn(move || serve(&served, &agent))?;
        Ok(Self { listener, server: Some(server) })
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        // Unlike a connection, this needs no descriptor and no place in the queue that the step may have filled.
        if rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both).is_ok()
            && let Some(server) = self.server.take()
        {
            // It has nothing to say.
            let _ = server.join();
        }
    }
}

fn serve(listener: &UnixListener, agent: &Path) {
    // Each connection holds one until it ends.
    let permit = Arc::new(());
    loop {
        let step = match listener.accept() {
            Ok((step, _)) => step,
            // The socket is shut down.
            Err(error) if error.kind() == ErrorKind::InvalidInput => return,
            Err(_) => {
                std::thread::sleep(SHORTAGE_PAUSE);
                continue;
            }
        };
        // Who cannot be served finds the connection closed, as with an agent that has ended.
        if Arc::strong_count(&permit) <= CONNECTIONS_MAX
            && let Ok(agent) = UnixStream::connect(agent)
        {
            let held = permit.clone();
            let _ = Builder::new().spawn(move || {
                relay(&step, &agent);
                drop(held);
            });
        }
    }
}

fn relay(step: &UnixStream, agent: &UnixStream) {
    std::thread::scope(|scope| {
        if Builder::new().spawn_scoped(scope, || pass(step, agent)).is_ok() {
            pass(agent, step);
        }
    });
}

/// Until one side ends; the other is told.
fn pass(mut from: &UnixStream, mut to: &UnixStream) {
    let mut buffer = [0; 1 << 14];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    // A side that is gone needs not be told.
    let _ = (to.shutdown(Shutdown::Write), from.shutdown(Shutdown::Read));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One byte there and back, which an agent that echoes gives; none where the connection is closed.
    fn echoed(mut stream: &UnixStream) -> Option<u8> {
        let mut answer = [0];
        stream.write_all(b"x").and_then(|()| stream.read_exact(&mut answer)).ok().map(|()| answer[0])
    }

    /// X23: what a step opens is bounded, and what it gives back can be had again.
    #[test]
    fn a_step_has_a_bounded_number_of_connections() {
        let folder = tempfile::tempdir().unwrap();
        let (agent, path) = (folder.path().join("agent"), folder.path().join("step"));
        let listener = UnixListener::bind(&agent).unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                std::thread::spawn(move || pass(&stream, &stream));
            }
        });
        let forward = Forward::start(&agent, &path).unwrap();
        let connect = || UnixStream::connect(&path).unwrap();
        let mut held: Vec<UnixStream> = Vec::new();
        for _ in 0..CONNECTIONS_MAX {
            held.push(connect());
            assert_eq!(echoed(held.last().unwrap()), Some(b'x'));
        }
        for _ in 0..3 * CONNECTIONS_MAX {
            assert_eq!(echoed(&connect()), None);
        }
        held.clear();
        // The relays learn of it in threads of their own.
        while echoed(&connect()).is_none() {
            std::thread::yield_now();
        }
        drop(forward);
        assert!(UnixStream::connect(&path).is_err(), "nobody serves it any more");
    }

    /// With the queue full of connections that nobody reads, the end still comes.
    #[test]
    fn a_forward_ends_whatever_the_step_does() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("step");
        let forward = Forward::start(&folder.path().join("no-agent"), &path).unwrap();
        let held: Vec<UnixStream> = (0..2 * CONNECTIONS_MAX).map(|_| UnixStream::connect(&path).unwrap()).collect();
        std::fs::remove_file(&path).unwrap();
        drop(forward);
        assert!(held.iter().all(|stream| echoed(stream).is_none()));
    }
}
