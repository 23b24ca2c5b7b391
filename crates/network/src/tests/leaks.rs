use carrack_sys::nftables::{Batch, Family};

use super::*;
use crate::Leak;

/// Plants one kind, sees it named, sees it swept.
fn planted(plant: impl Fn(&Host) -> Leak + Send + Sync) {
    on_a_host(|host| {
        assert_eq!(host.networks.leaks(&|_| true).unwrap(), []);
        let leak = plant(host);
        let holds = |id: &str| id != "gone";
        assert_eq!(host.networks.leaks(&holds).unwrap(), std::slice::from_ref(&leak));
        assert_eq!(host.networks.sweep(&holds).unwrap(), [leak]);
        assert_eq!(host.networks.leaks(&holds).unwrap(), []);
    });
}

#[test]
fn link_of_ours_without_a_record() {
    planted(|host| {
        let name = format!("{}abcde", host.networks.link_prefix());
        let mut socket = Socket::route().unwrap();
        socket.execute(&[route::create_bridge(&name, Mac([2, 0, 0, 0, 0, 1]), 1500)]).unwrap();
        Leak::Link(name)
    });
}

#[test]
fn table_of_ours_without_a_network() {
    planted(|host| {
        let mut batch = Batch::new();
        batch.add_table(&host.networks.table());
        batch.commit(&mut Socket::netfilter().unwrap()).unwrap();
        Leak::Table(host.networks.table().name)
    });
}

#[test]
fn guard_of_forwarding_without_a_root() {
    planted(|_| {
        let mut batch = Batch::new();
        batch.add_table(&crate::forwarding::table(Family::Ip));
        batch.commit(&mut Socket::netfilter().unwrap()).unwrap();
        Leak::Table("carrack".into())
    });
}

#[test]
fn address_of_a_container_that_is_gone() {
    planted(|host| {
        let container = host.container("gone", &["bridge"]);
        let leases = host.networks.leases("bridge").unwrap();
        host.networks.detach("gone").unwrap();
        drop(container);
        host.networks.put_leases("bridge", &leases).unwrap();
        Leak::Address { network: "bridge".into(), container: "gone".into() }
    });
}

#[test]
fn attach_that_was_killed_is_swept_with_its_port() {
    on_a_host(|host| {
        let container = host.container("gone", &["bridge"]);
        let port = container.endpoints[0].port.clone();
        let holds = |id: &str| id != "gone";
        let expected = [Leak::Link(port), Leak::Address { network: "bridge".into(), container: "gone".into() }];
        assert_eq!(host.networks.leaks(&holds).unwrap(), expected);
        assert_eq!(host.networks.sweep(&holds).unwrap(), expected);
        assert_eq!(host.networks.leaks(&holds).unwrap(), []);
    });
}

#[test]
fn rules_in_dockers_chain_without_a_network() {
    on_a_host(|host| {
        if output("iptables-nft", &["-w", "-N", "DOCKER-USER"]).is_none() {
            return;
        }
        let pattern = format!("{}+", host.networks.link_prefix());
        output("iptables-nft", &["-w", "-A", "DOCKER-USER", "-i", &pattern, "-j", "ACCEPT"]).unwrap();
        assert_eq!(host.networks.sweep(&|_| true).unwrap(), [Leak::DockerRules]);
        assert_eq!(host.networks.leaks(&|_| true).unwrap(), []);
        assert_eq!(output("iptables-nft", &["-S", "DOCKER-USER"]).unwrap(), "-N DOCKER-USER\n");
    });
}

/// A root whose folder was deleted while its networks were up: only its table can say whose it was.
#[test]
fn what_a_deleted_root_has_left_is_named_with_what_removes_it() {
    on_a_host(|host| {
        host.container("gone", &["bridge"]);
        assert_eq!(host.networks.orphans().unwrap(), []);
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots { data: folder.path().join("data"), run: folder.path().join("run") };
        let other = Networks::new(&Store::open(roots.clone()).unwrap());
        let network = other.create(&Wanted { name: "left".into(), ..Wanted::default() }).unwrap();
        assert_eq!(host.networks.orphans().unwrap(), []);
        folder.close().unwrap();
        let [orphan] = &host.networks.orphans().unwrap()[..] else { panic!("one root is gone") };
        assert_eq!((&orphan.root, &orphan.links), (&roots.data, &vec![network.bridge.clone()]));
        let removal = orphan.removal();
        assert_eq!(
            removal,
            format!("nft delete table inet carrack-{}; ip link delete {}", roots.tag(), network.bridge)
        );
        let done = std::process::Command::new("sh").args(["-e", "-c", &removal]).status();
        if done.is_ok_and(|status| status.success()) {
            assert_eq!(host.networks.orphans().unwrap(), []);
            assert_eq!(Socket::route().unwrap().link(&network.bridge).unwrap(), None);
        } else {
            println!("skipped: nft or ip is not installed: what removes it was not tried");
        }
    });
}
