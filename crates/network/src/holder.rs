use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

/// TCP or UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Transport {
    /// Transmission Control Protocol.
    Tcp,
    /// User Datagram Protocol.
    Udp,
}

/// Who holds a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The address it is bound to; unspecified for all.
    pub address: IpAddr,
    /// Its process; none where that can't be found out (another user's, another pid namespace's).
    pub pid: Option<u32>,
    /// Name of the program as the kernel has it, at most 15 bytes.
    pub command: Option<String>,
    /// Id of its container, where its control group names one (ours, Docker's, Podman's).
    pub container: Option<String>,
}

/// `nginx (process 311, container 3f2a91bc77d0) on 0.0.0.0`
impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.command.as_deref().unwrap_or("an unknown program"))?;
        match (self.pid, &self.container) {
            (Some(pid), Some(container)) => {
                write!(f, " (process {pid}, container {})", container.get(..12).unwrap_or(container))?;
            }
            (Some(pid), None) => write!(f, " (process {pid})")?,
            _ => {}
        }
        write!(f, " on {}", self.address)
    }
}

/// The holder of a port on this thread's network namespace that stands in the way of binding `address`: it is bound to
/// the same address, or one of the two to all. None where nobody is, or /proc can't be read.
pub fn who_listens(address: IpAddr, port: u16, transport: Transport) -> Option<Holder> {
    let name = match transport {
        Transport::Tcp => "tcp",
        Transport::Udp => "udp",
    };
    let sockets = ["", "6"]
        .into_iter()
        .filter_map(|family| std::fs::read_to_string(format!("/proc/thread-self/net/{name}{family}")).ok());
    let found = sockets.flat_map(|table| sockets_of(&table, transport)).find(|socket| {
        let all = |address: IpAddr| address.is_unspecified();
        socket.port == port && (socket.address == address || all(socket.address) || all(address))
    })?;
    let pid = process_of(found.inode);
    Some(Holder {
        address: found.address,
        pid,
        command: pid.and_then(|pid| std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()).map(trimmed),
        container: pid.and_then(|pid| container_of(&std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?)),
    })
}

fn trimmed(text: String) -> String {
    text.trim_end().to_owned()
}

#[derive(Debug, PartialEq, Eq)]
struct BoundSocket {
    address: IpAddr,
    port: u16,
    inode: u64,
}

/// The listening (TCP) or unconnected (UDP) sockets of a table of /proc/net.
fn sockets_of(table: &str, transport: Transport) -> Vec<BoundSocket> {
    let wanted_state = match transport {
        Transport::Tcp => "0A",
        Transport::Udp => "07",
    };
    let read = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let (address, port) = fields.get(1)?.split_once(':')?;
        if *fields.get(3)? != wanted_state {
            return None;
        }
        let port = u16::from_str_radix(port, 16).ok()?;
        Some(BoundSocket { address: address_of(address)?, port, inode: fields.get(9)?.parse().ok()? })
    };
    table.lines().skip(1).filter_map(read).collect()
}

/// Words of 32 bits in the host's byte order, as the kernel prints them. An IPv4 address in IPv6's clothes is IPv4's.
fn address_of(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| Some(u32::from_str_radix(hex.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    match hex.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let mut bytes = [0; 16];
            for (index, chunk) in bytes.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(index * 8)?);
            }
            Some(Ipv6Addr::from(bytes).to_canonical())
        }
        _ => None,
    }
}

/// The first process that has the socket open.
fn process_of(inode: u64) -> Option<u32> {
    let wanted = format!("socket:[{inode}]");
    let processes = std::fs::read_dir("/proc").ok()?;
    processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()).find(|pid| {
        let files = std::fs::read_dir(format!("/proc/{pid}/fd"));
        let holds = |file: std::io::Result<std::fs::DirEntry>| {
            file.and_then(|file| std::fs::read_link(file.path())).is_ok_and(|target| target == Path::new(&wanted))
        };
        files.is_ok_and(|mut files| files.any(holds))
    })
}

/// The 64 hexadecimal digits in the path of a control group.
fn container_of(cgroups: &str) -> Option<String> {
    let is_id = |part: &&str| part.len() == 64 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    cgroups.split(|byte: char| !byte.is_ascii_alphanumeric()).find(is_id).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_table_is_read(table in "(\\PC{0,40}\n){0,4}", line in "[0-9A-F: ]{0,120}") {
            let _ = sockets_of(&table, Transport::Tcp);
            let _ = sockets_of(&format!("head\n{line}"), Transport::Udp);
            let _ = container_of(&table);
        }
    }

    #[test]
    fn port_of_this_process_is_found_for_its_own_address_and_for_all() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        for address in ["127.0.0.1", "0.0.0.0"] {
            let holder = who_listens(address.parse().unwrap(), port, Transport::Tcp).unwrap();
            assert_eq!((holder.pid, holder.address), (Some(std::process::id()), "127.0.0.1".parse().unwrap()));
            assert!(holder.to_string().contains(&format!("(process {}", std::process::id())), "{holder}");
        }
        assert_eq!(who_listens("127.0.0.2".parse().unwrap(), port, Transport::Tcp), None);
        drop(listener);
        assert_eq!(who_listens("127.0.0.1".parse().unwrap(), port, Transport::Tcp), None);
    }

    #[test]
    fn udp_and_the_unspecified_address_of_ipv6_stand_in_the_way_too() {
        let socket = UdpSocket::bind("[::]:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let holder = who_listens("127.0.0.1".parse().unwrap(), port, Transport::Udp).unwrap();
        assert!(holder.address.is_unspecified());
    }

    #[test]
    fn container_is_read_from_the_control_group() {
        let id = "3f".repeat(32);
        for path in [format!("1:name=x:/carrack-0a1b2c3d/{id}"), format!("0::/system.slice/docker-{id}.scope/x")] {
            assert_eq!(container_of(&path).as_deref(), Some(id.as_str()));
        }
        assert_eq!(container_of("0::/user.slice/user-0.slice"), None);
    }
}
