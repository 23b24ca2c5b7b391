//! The pseudo-terminal of a container, opened in its own devpts so that its name means something there.

use std::os::fd::AsFd;

use rustix::fs::{Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

use super::channel::Message;
use super::inside::{self, Kind};
use super::interpret::{Done, Failure, State};
use super::mounts;

pub(super) fn open(state: &mut State, columns: u16, rows: u16, console: bool) -> Done {
    let flags = OFlags::RDWR | OFlags::NOCTTY;
    let master = inside::open_plain(state.root()?, "/dev/pts/ptmx", flags)
        .map_err(|errno| Failure::new(errno, "/dev/pts/ptmx"))?;
    // Something else in the place of devpts could hand us any device (CVE-2025-52565).
    if inside::file_system(&master)? != inside::DEVPTS_SUPER_MAGIC {
        return Err(Failure::new(Errno::XDEV, "/dev/pts is not a devpts"));
    }
    rustix::pty::unlockpt(&master)?;
    let peer = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, peer)?;
    if columns > 0 && rows > 0 {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&slave, size)?;
    }
    rustix::fs::fchown(&slave, Some(Uid::from_raw(state.identity.uid)), None::<Gid>)?;
    rustix::fs::fchmod(&slave, Mode::from_raw_mode(0o620))?;
    if console {
        // Made by us in our own /dev, or the image's file: a link would have the terminal cover what it leads to.
        let root = state.root()?;
        let target = match inside::open_plain(root, "/dev/console", OFlags::PATH) {
            Err(Errno::NOENT) => inside::ensure(root, "/dev/console", Kind::File)?,
            opened => opened.map_err(|errno| Failure::new(errno, "/dev/console"))?,
        };
        mounts::attach(&mounts::clone_tree(&slave, false)?, &target)?;
    }
    rustix::process::ioctl_tiocsctty(&slave)?;
    rustix::stdio::dup2_stdin(&slave)?;
    rustix::stdio::dup2_stdout(&slave)?;
    rustix::stdio::dup2_stderr(&slave)?;
    Ok(state.say(&Message::Terminal, Some(master.as_fd()))?)
}
