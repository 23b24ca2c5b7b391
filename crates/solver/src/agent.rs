//! SSH agents for steps: a socket that hands connections on to the caller's agent, whoever the step's user is.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// A socket that is served until this value is dropped.
#[derive(Debug)]
pub(crate) struct Forward {
    path: PathBuf,
    folder: File,
    is_over: Arc<AtomicBool>,
    server: Option<JoinHandle<()>>,
}

impl Forward {
    /// Serves connections to `path` with ones to `agent`.
    pub(crate) fn start(agent: &Path, path: &Path) -> io::Result<Self> {
        // A socket's path may be 108 bytes long; through the folder's descriptor it always fits.
        let folder = File::open(path.parent().unwrap_or(Path::new("/")))?;
        let short = short(&folder, path);
        let listener = UnixListener::bind(&short)?;
        let is_over = Arc::new(AtomicBool::new(false));
        let (agent, over) = (agent.to_owned(), is_over.clone());
        let server = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                // Who cannot be served finds the connection closed, as with an agent that has ended.
                if let (Ok(stream), Ok(agent)) = (stream, UnixStream::connect(&agent)) {
                    std::thread::spawn(move || relay(&stream, &agent));
                }
            }
        });
        Ok(Self { path: path.to_owned(), folder, is_over, server: Some(server) })
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        // Wakes the server, which then looks.
        if UnixStream::connect(short(&self.folder, &self.path)).is_ok()
            && let Some(server) = self.server.take()
        {
            // It has nothing to say.
            let _ = server.join();
        }
    }
}

fn short(folder: &File, path: &Path) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(path.file_name().unwrap_or_default())
}

fn relay(step: &UnixStream, agent: &UnixStream) {
    std::thread::scope(|scope| {
        scope.spawn(|| pass(step, agent));
        pass(agent, step);
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
