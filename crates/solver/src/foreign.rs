//! Whether this machine runs programs of another platform: natively, or by a handler that the kernel was given for them.

use std::fs;
use std::path::PathBuf;

use carrack_oci::Platform;

/// Where the kernel shows its handlers (`Documentation/admin-guide/binfmt-misc.rst`).
const HANDLERS: &str = "/proc/sys/fs/binfmt_misc";

/// A program's first bytes, as much as handlers look at.
type Header = [u8; 20];

/// Why programs of a platform can't be run on a root file system of these layers; none where they can.
pub(crate) fn obstacle(platform: &Platform, host: &Platform, layers: &[PathBuf]) -> Option<String> {
    if platform.os != host.os {
        return Some(format!("this machine runs programs of {} only", host.os));
    }
    let is_native = platform.architecture == host.architecture
        || matches!((host.architecture.as_str(), platform.architecture.as_str()), ("amd64", "386") | ("arm64", "arm"));
    if is_native {
        return None;
    }
    let Some(header) = header(&platform.architecture) else {
        return Some(format!("nothing is known of programs of {}", platform.architecture));
    };
    let entries = fs::read_dir(HANDLERS).into_iter().flatten().flatten();
    let texts = entries.filter_map(|entry| fs::read_to_string(entry.path()).ok());
    let handlers: Vec<Handler> = texts.filter_map(|text| Handler::parse(&text)).collect();
    obstacle_with(&handlers, &header, |interpreter| {
        let below = interpreter.trim_start_matches('/');
        layers.iter().any(|layer| layer.join(below).symlink_metadata().is_ok())
    })
}

fn obstacle_with(handlers: &[Handler], header: &Header, is_there: impl Fn(&str) -> bool) -> Option<String> {
    let Some(handler) = handlers.iter().find(|handler| handler.takes(header)) else {
        return Some(format!("the kernel has no handler for them below {HANDLERS}"));
    };
    // Without the flag F the kernel looks the interpreter up in the container.
    let is_usable = handler.is_open || is_there(&handler.interpreter);
    (!is_usable).then(|| {
        format!(
            "the handler for them, {}, was registered without the flag F and is not in the image",
            handler.interpreter
        )
    })
}

/// A handler as the kernel tells of it.
#[derive(Debug, PartialEq, Eq)]
struct Handler {
    interpreter: String,
    /// Whether it was opened when it was registered (the flag F).
    is_open: bool,
    offset: usize,
    magic: Vec<u8>,
    mask: Vec<u8>,
}

impl Handler {
    /// None for one that is switched off, or that looks at names.
    fn parse(text: &str) -> Option<Self> {
        let mut handler =
            Self { interpreter: String::new(), is_open: false, offset: 0, magic: Vec::new(), mask: Vec::new() };
        let mut lines = text.lines();
        if lines.next() != Some("enabled") {
            return None;
        }
        for line in lines {
            let (key, value) = line.split_once(' ').unwrap_or((line, ""));
            match key {
                "interpreter" => handler.interpreter = value.to_owned(),
                "flags:" => handler.is_open = value.contains('F'),
                "offset" => handler.offset = value.parse().ok()?,
                "magic" => handler.magic = bytes(value)?,
                "mask" => handler.mask = bytes(value)?,
                _ => {}
            }
        }
        (!handler.magic.is_empty()).then_some(handler)
    }

    fn takes(&self, header: &Header) -> bool {
        let Some(part) = header.get(self.offset..self.offset + self.magic.len()) else { return false };
        let mask = self.mask.iter().copied().chain(std::iter::repeat(0xff));
        part.iter().zip(&self.magic).zip(mask).all(|((byte, magic), mask)| byte & mask == magic & mask)
    }
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let digits = hex.as_bytes().chunks(2);
    digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

/// How programs of an architecture begin (ELF: class, byte order, `ET_EXEC`, machine).
fn header(architecture: &str) -> Option<Header> {
    let (is_wide, is_big, machine): (_, _, u16) = match architecture {
        "386" => (false, false, 3),
        "mips" => (false, true, 8),
        "mipsle" => (false, false, 8),
        "mips64" => (true, true, 8),
        "mips64le" => (true, false, 8),
        "ppc64" => (true, true, 21),
        "ppc64le" => (true, false, 21),
        "s390x" => (true, true, 22),
        "arm" => (false, false, 40),
        "amd64" => (true, false, 62),
        "arm64" => (true, false, 183),
        "riscv64" => (true, false, 243),
        "loong64" => (true, false, 258),
        _ => return None,
    };
    let mut header = [0; 20];
    header[..4].copy_from_slice(b"\x7fELF");
    header[4] = if is_wide { 2 } else { 1 };
    header[5] = if is_big { 2 } else { 1 };
    header[6] = 1;
    let order = |number: u16| if is_big { number.to_be_bytes() } else { number.to_le_bytes() };
    header[16..18].copy_from_slice(&order(2));
    header[18..].copy_from_slice(&order(machine));
    Some(header)
}

/// What to do about an obstacle.
pub(crate) fn cure(platform: &Platform) -> String {
    format!(
        "install qemu-user-static and binfmt-support on this machine, build for {} on one of its own, or let the stage \
         run here: `FROM --platform=$BUILDPLATFORM`",
        platform.architecture
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARM64: &str = "enabled\ninterpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P\nflags: POCF\noffset 0\n\
                         magic 7f454c460201010000000000000000000200b700\n\
                         mask ffffffffffffff00fffffffffffffffffeffffff\n";

    #[test]
    fn handlers_are_told_by_their_magic() {
        let handler = Handler::parse(ARM64).unwrap();
        assert!(handler.is_open && handler.interpreter.ends_with("aarch64-binfmt-P"));
        assert!(handler.takes(&header("arm64").unwrap()));
        for other in ["arm", "amd64", "riscv64", "s390x"] {
            assert!(!handler.takes(&header(other).unwrap()), "{other}");
        }
        assert_eq!(Handler::parse(&ARM64.replace("enabled", "disabled")), None);
        assert_eq!(Handler::parse("enabled\ninterpreter /usr/bin/cli\nflags: \nextension .exe\n"), None);
        assert_eq!(Handler::parse(&ARM64.replace("7f454c46", "7f454c4x")), None);
    }

    #[test]
    fn obstacles() {
        let header = header("arm64").unwrap();
        let none = |_: &str| false;
        assert!(obstacle_with(&[], &header, none).unwrap().contains("no handler"));
        assert_eq!(obstacle_with(&[Handler::parse(ARM64).unwrap()], &header, none), None);
        let closed = [Handler::parse(&ARM64.replace("POCF", "POC")).unwrap()];
        assert!(obstacle_with(&closed, &header, none).unwrap().contains("flag F"));
        assert_eq!(obstacle_with(&closed, &header, |path| path.ends_with("aarch64-binfmt-P")), None);
        let platform = |text: &str| text.parse::<Platform>().unwrap();
        assert!(obstacle(&platform("windows/amd64"), &platform("linux/amd64"), &[]).unwrap().contains("linux only"));
        assert_eq!(obstacle(&platform("linux/386"), &platform("linux/amd64"), &[]), None);
        assert_eq!(obstacle(&platform("linux/arm/v7"), &platform("linux/arm64"), &[]), None);
        assert!(obstacle(&platform("linux/vax"), &platform("linux/amd64"), &[]).unwrap().contains("vax"));
    }
}
