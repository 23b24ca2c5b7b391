//! What the driver `local` is told by options: something that is mounted on the volume's folder, as Docker does it.

use std::collections::BTreeMap;
use std::net::ToSocketAddrs as _;

use carrack_diag::{Diagnostic, Result};
use rustix::mount::{MountFlags, MountPropagationFlags};

use crate::codes;

/// What mount(2) is given for a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LocalMount {
    /// `nfs`, `tmpfs`, `none` for a bind.
    pub(crate) kind: String,
    /// What is mounted.
    pub(crate) device: String,
    pub(crate) flags: MountFlags,
    /// Set afterwards, as the kernel wants it.
    pub(crate) propagation: Vec<MountPropagationFlags>,
    /// The file system's own options.
    pub(crate) data: String,
}

impl LocalMount {
    /// None where there are no options: the volume is a folder.
    ///
    /// # Errors
    /// `engine/invalid-volume-option`.
    pub(crate) fn read(volume: &str, options: &BTreeMap<String, String>) -> Result<Option<Self>> {
        if options.is_empty() {
            return Ok(None);
        }
        let wrong = |what: String| Diagnostic::error(&codes::INVALID_VOLUME_OPTION, format!("volume {volume}: {what}"));
        for key in options.keys() {
            match key.as_str() {
                "type" | "device" | "o" => {}
                "size" => {
                    return Err(wrong("the option size is refused".into())
                        .cause("a folder has no size of its own: the kernel has quotas of projects on some file systems only")
                        .hint("use a tmpfs, whose size is an option of its own: -o type=tmpfs -o device=tmpfs -o o=size=100m")
                        .boxed());
                }
                other => return Err(wrong(format!("invalid option: {other:?}")).boxed()),
            }
        }
        let of = |key: &str| match options.get(key) {
            Some(value) if !value.is_empty() => Ok(value.clone()),
            _ => Err(wrong(format!("missing required option: {key:?}"))
                .hint("type, device and o go together: -o type=tmpfs -o device=tmpfs -o o=size=100m,uid=1000")
                .boxed()),
        };
        let (device, kind) = (of("device")?, of("type")?);
        let mut mount = Self { kind, device, flags: MountFlags::empty(), propagation: Vec::new(), data: String::new() };
        let mut data = Vec::new();
        for option in options.get("o").map_or("", String::as_str).split(',').filter(|option| !option.is_empty()) {
            match of_option(option) {
                Known::Set(flags) => mount.flags.insert(flags),
                Known::Clear(flags) => mount.flags.remove(flags),
                Known::Propagate(flags) => mount.propagation.push(flags),
                Known::Nothing => {}
                Known::Not => data.push(option),
            }
        }
        mount.data = data.join(",");
        Ok(Some(mount))
    }

    /// With the address of a server that is named: the kernel knows no names.
    pub(crate) fn resolved(mut self, volume: &str) -> Result<Self> {
        if !matches!(self.kind.as_str(), "nfs" | "nfs4" | "cifs" | "smb3") {
            return Ok(self);
        }
        let Some(host) = self.data.split(',').find_map(|option| option.strip_prefix("addr=")).map(str::to_owned) else {
            return Ok(self);
        };
        if host.parse::<std::net::IpAddr>().is_err() {
            // Of IPv4 where there is one, as in Docker.
            let found =
                (host.as_str(), 0).to_socket_addrs().ok().and_then(|found| found.min_by_key(|one| one.is_ipv6()));
            let Some(address) = found else {
                let message = format!("can't mount the volume {volume}: nobody knows the address of {host}");
                return Err(Diagnostic::error(&codes::VOLUME_MOUNT, message).boxed());
            };
            self.data = self.data.replace(&format!("addr={host}"), &format!("addr={}", address.ip()));
        }
        Ok(self)
    }
}

/// Options of mount(8) for messages, as Docker shows them.
pub(crate) fn without_password(options: &str) -> String {
    let hidden = |option: &str| match option.split_once('=') {
        Some((name @ ("password" | "pass"), _)) => format!("{name}=********"),
        _ => option.to_owned(),
    };
    options.split(',').map(hidden).collect::<Vec<_>>().join(",")
}

enum Known {
    Set(MountFlags),
    Clear(MountFlags),
    Propagate(MountPropagationFlags),
    Nothing,
    Not,
}

/// As mount(8) names them.
fn of_option(option: &str) -> Known {
    use Known::{Clear, Propagate, Set};
    let recursive = MountPropagationFlags::REC;
    match option {
        "ro" => Set(MountFlags::RDONLY),
        "rw" => Clear(MountFlags::RDONLY),
        "nosuid" => Set(MountFlags::NOSUID),
        "suid" => Clear(MountFlags::NOSUID),
        "nodev" => Set(MountFlags::NODEV),
        "dev" => Clear(MountFlags::NODEV),
        "noexec" => Set(MountFlags::NOEXEC),
        "exec" => Clear(MountFlags::NOEXEC),
        "sync" => Set(MountFlags::SYNCHRONOUS),
        "async" => Clear(MountFlags::SYNCHRONOUS),
        "dirsync" => Set(MountFlags::DIRSYNC),
        "mand" => Set(MountFlags::PERMIT_MANDATORY_FILE_LOCKING),
        "nomand" => Clear(MountFlags::PERMIT_MANDATORY_FILE_LOCKING),
        "noatime" => Set(MountFlags::NOATIME),
        "atime" => Clear(MountFlags::NOATIME),
        "nodiratime" => Set(MountFlags::NODIRATIME),
        "diratime" => Clear(MountFlags::NODIRATIME),
        "relatime" => Set(MountFlags::RELATIME),
        "norelatime" => Clear(MountFlags::RELATIME),
        "strictatime" => Set(MountFlags::STRICTATIME),
        "nostrictatime" => Clear(MountFlags::STRICTATIME),
        "bind" => Set(MountFlags::BIND),
        "rbind" => Set(MountFlags::BIND | MountFlags::REC),
        "private" => Propagate(MountPropagationFlags::PRIVATE),
        "rprivate" => Propagate(MountPropagationFlags::PRIVATE | recursive),
        "shared" => Propagate(MountPropagationFlags::SHARED),
        "rshared" => Propagate(MountPropagationFlags::SHARED | recursive),
        "slave" => Propagate(MountPropagationFlags::DOWNSTREAM),
        "rslave" => Propagate(MountPropagationFlags::DOWNSTREAM | recursive),
        "unbindable" => Propagate(MountPropagationFlags::UNBINDABLE),
        "runbindable" => Propagate(MountPropagationFlags::UNBINDABLE | recursive),
        "defaults" => Known::Nothing,
        _ => Known::Not,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(options: &[(&str, &str)]) -> Result<Option<LocalMount>> {
        let options = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        LocalMount::read("v", &options)
    }

    #[test]
    fn options_are_those_of_mount() {
        assert_eq!(read(&[]).unwrap(), None);
        let mount = read(&[("type", "tmpfs"), ("device", "tmpfs"), ("o", "size=1m,ro,nosuid,suid,,uid=5")]).unwrap();
        let mount = mount.unwrap();
        assert_eq!((mount.kind.as_str(), mount.data.as_str()), ("tmpfs", "size=1m,uid=5"));
        assert_eq!(mount.flags, MountFlags::RDONLY);
        let bind = read(&[("type", "none"), ("device", "/srv"), ("o", "rbind,rslave")]).unwrap().unwrap();
        assert_eq!(bind.flags, MountFlags::BIND | MountFlags::REC);
        assert_eq!(bind.propagation, [MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC]);
        let nfs = read(&[("type", "nfs"), ("device", ":/x"), ("o", "addr=localhost,rw")]).unwrap().unwrap();
        assert_eq!(nfs.resolved("v").unwrap().data.split('.').count(), 4, "an address of IPv4");
    }

    /// What Docker 28.5 was seen to hand to mount(2) for the same options.
    #[test]
    fn shares_of_the_network_are_mounted_as_by_docker() {
        let nfs = "addr=127.0.0.1,rw,nolock,soft,timeo=1,retrans=1,nfsvers=4.1,port=1";
        let cifs = "username=u,password=p,vers=3.0,uid=1000,nosuid,addr=127.0.0.1";
        for (kind, device, options, flags, data) in [
            (
                "nfs",
                ":/srv/x",
                nfs,
                MountFlags::empty(),
                "addr=127.0.0.1,nolock,soft,timeo=1,retrans=1,nfsvers=4.1,port=1",
            ),
            (
                "nfs4",
                "127.0.0.1:/x",
                "addr=127.0.0.1,ro,noatime",
                MountFlags::RDONLY | MountFlags::NOATIME,
                "addr=127.0.0.1",
            ),
            (
                "cifs",
                "//127.0.0.1/share",
                cifs,
                MountFlags::NOSUID,
                "username=u,password=p,vers=3.0,uid=1000,addr=127.0.0.1",
            ),
            ("nfs", ":/x", "nfsvers=4", MountFlags::empty(), "nfsvers=4"),
        ] {
            let mount = read(&[("type", kind), ("device", device), ("o", options)]).unwrap().unwrap();
            let mount = mount.resolved("v").unwrap();
            assert_eq!((mount.kind.as_str(), mount.device.as_str()), (kind, device));
            assert_eq!((mount.flags, mount.data.as_str()), (flags, data));
        }
        assert_eq!(without_password(cifs), cifs.replace("password=p", "password=********"));
    }

    #[test]
    fn what_is_missing_or_unknown_is_named() {
        for (options, word) in [
            (&[("device", "tmpfs")][..], "type"),
            (&[("o", "ro")], "device"),
            (&[("type", "tmpfs")], "device"),
            (&[("type", "tmpfs"), ("device", "")], "device"),
            (&[("color", "red")], "color"),
            (&[("type", "tmpfs"), ("device", "tmpfs"), ("size", "1m")], "size"),
        ] {
            let error = read(options).unwrap_err();
            assert_eq!(error.code.id, "engine/invalid-volume-option");
            assert!(error.message.contains(word), "{}", error.message);
        }
    }
}
