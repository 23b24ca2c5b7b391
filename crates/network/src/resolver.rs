use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use carrack_diag::{Diagnostic, Result};

use crate::{DNS_ADDRESS, codes};

const RESOLV_CONF: &str = "/etc/resolv.conf";

/// What systemd-resolved itself asks, where the host's file names only its stub.
const BEHIND_SYSTEMD: &str = "/run/systemd/resolve/resolv.conf";
const SYSTEMD_STUB: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 53));

/// What a resolver's configuration says (resolv.conf(5)).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resolvers {
    /// In the order of asking.
    pub servers: Vec<IpAddr>,
    /// Domains that short names are tried in.
    pub search: Vec<String>,
    /// As written, `ndots:2`.
    pub options: Vec<String>,
}

impl Resolvers {
    /// Reads a file's text. What is malformed or unknown counts for nothing, as in the C library; of several `search` or
    /// `domain` lines the last one counts. A server's `%interface` is left out.
    pub fn parse(text: &str) -> Self {
        let mut read = Self::default();
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") => {
                    let address = words.next().and_then(|word| word.split('%').next()?.parse::<IpAddr>().ok());
                    read.servers.extend(address);
                }
                Some("search" | "domain") => read.search = words.map(str::to_owned).collect(),
                Some("options") => read.options.extend(words.map(str::to_owned)),
                _ => {}
            }
        }
        read
    }
}

/// The resolvers of this host, to be asked from its own network namespace.
///
/// # Errors
/// `network/no-resolvers`.
pub fn host_resolvers() -> Result<Resolvers> {
    resolvers_of(Path::new(RESOLV_CONF), Path::new(BEHIND_SYSTEMD))
}

pub(crate) fn resolvers_of(path: &Path, behind_systemd: &Path) -> Result<Resolvers> {
    let error = |cause: String| {
        let message = format!("can't find out the host's resolvers from {}", path.display());
        let error = Diagnostic::error(&codes::NO_RESOLVERS, message).cause(cause);
        error.hint("name a server there, or give one with --dns").boxed()
    };
    let text = std::fs::read_to_string(path).map_err(|cause| error(cause.to_string()))?;
    let found = Resolvers::parse(&text);
    if !found.servers.is_empty() && found.servers.iter().all(|server| *server == SYSTEMD_STUB) {
        let behind = std::fs::read_to_string(behind_systemd).map(|text| Resolvers::parse(&text));
        if let Ok(behind) = behind
            && !behind.servers.is_empty()
        {
            return Ok(behind);
        }
    }
    if found.servers.is_empty() { Err(error("it names no server".into())) } else { Ok(found) }
}

/// A container's /etc/resolv.conf: our resolver, and the asked-for or the host's search domains and options. A name
/// without a dot is a container's and is asked for as it stands (`ndots:0`), unless an option says otherwise.
pub fn resolv_conf(search: &[String], options: &[String]) -> String {
    let mut text = format!("nameserver {DNS_ADDRESS}\n");
    if !search.is_empty() {
        text.push_str(&format!("search {}\n", search.join(" ")));
    }
    let mut options = options.to_vec();
    if !options.iter().any(|option| option.starts_with("ndots:")) {
        options.push("ndots:0".into());
    }
    text.push_str(&format!("options {}\n", options.join(" ")));
    text
}

/// A container's /etc/hosts: the loopback names, its own hostname at its addresses, then what was asked for.
pub fn hosts_file(names: &[&str], addresses: &[IpAddr], extra: &[(String, IpAddr)]) -> String {
    let mut text = String::from(
        "127.0.0.1\tlocalhost\n\
         ::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::\tip6-localnet\n\
         ff00::\tip6-mcastprefix\n\
         ff02::1\tip6-allnodes\n\
         ff02::2\tip6-allrouters\n",
    );
    for (name, address) in extra {
        text.push_str(&format!("{address}\t{name}\n"));
    }
    if !names.is_empty() {
        for address in addresses {
            text.push_str(&format!("{address}\t{}\n", names.join(" ")));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_is_read(text in "\\PC{0,60}(\n(nameserver|search|domain|options)?\\PC{0,30}){0,4}") {
            let read = Resolvers::parse(&text);
            prop_assert!(read.servers.len() <= text.lines().count());
        }
    }

    #[test]
    fn resolv_conf_is_read_as_the_c_library_does() {
        let text = "# here\n; and here\nnameserver 10.0.0.1 rest\nnameserver fe80::1%eth0\nnameserver nonsense\n\
                    domain a\nsearch b.example c.example\noptions ndots:2 rotate\noptions edns0\n";
        let read = Resolvers::parse(text);
        assert_eq!(read.servers, ["10.0.0.1".parse::<IpAddr>().unwrap(), "fe80::1".parse().unwrap()]);
        assert_eq!(read.search, ["b.example", "c.example"]);
        assert_eq!(read.options, ["ndots:2", "rotate", "edns0"]);
    }

    #[test]
    fn stub_of_systemd_is_looked_behind_and_a_file_without_servers_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let (stub, behind) = (folder.path().join("stub"), folder.path().join("behind"));
        std::fs::write(&stub, "nameserver 127.0.0.53\n").unwrap();
        let servers = |found: Result<Resolvers>| found.unwrap().servers[0].to_string();
        assert_eq!(servers(resolvers_of(&stub, &behind)), "127.0.0.53");
        std::fs::write(&behind, "nameserver 192.0.2.1\n").unwrap();
        assert_eq!(servers(resolvers_of(&stub, &behind)), "192.0.2.1");
        std::fs::write(&stub, "search x\n").unwrap();
        assert_eq!(resolvers_of(&stub, &behind).unwrap_err().code.id, "network/no-resolvers");
    }

    #[test]
    fn files_of_a_container() {
        insta::assert_snapshot!(resolv_conf(&["corp.example".into()], &["rotate".into()]), @r"
        nameserver 127.0.0.11
        search corp.example
        options rotate ndots:0
        ");
        let extra = [("gateway".to_owned(), "172.18.0.1".parse().unwrap())];
        insta::assert_snapshot!(hosts_file(&["web", "3f00"], &["172.18.0.2".parse().unwrap()], &extra).replace('\t', " "), @r"
        127.0.0.1 localhost
        ::1 localhost ip6-localhost ip6-loopback
        fe00:: ip6-localnet
        ff00:: ip6-mcastprefix
        ff02::1 ip6-allnodes
        ff02::2 ip6-allrouters
        172.18.0.1 gateway
        172.18.0.2 web 3f00
        ");
    }
}
