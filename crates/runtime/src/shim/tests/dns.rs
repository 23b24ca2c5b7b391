//! Names inside of a container.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use carrack_specgen::container::Protocol;

use super::fixture::{Fixture, Namespace, can_run};
use crate::shim::dns::Code;
use crate::shim::dns::tests::{addresses, query};
use crate::shim::{DnsConfig, DnsPorts, PublishedPort, Seed, ShimRequest};

const WAIT: Option<Duration> = Some(Duration::from_secs(20));

/// A server of the host that knows one address for everything, by both ways.
fn upstream(address: [u8; 4]) -> SocketAddr {
    let (udp, tcp) = loop {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()) {
            break (udp, tcp);
        }
    };
    let here = udp.local_addr().unwrap();
    let answer = move |question: &[u8]| {
        let query = crate::shim::dns::parse(question).unwrap().unwrap();
        query.answer(Code::NoError, &[crate::shim::dns::Record::Address(address.into())], 1, 512)
    };
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((length, from)) = udp.recv_from(&mut buffer) {
            let _ = udp.send_to(&answer(&buffer[..length]), from);
        }
    });
    std::thread::spawn(move || {
        for mut stream in tcp.incoming().flatten() {
            let question = read_message(&mut stream);
            write_message(&mut stream, &answer(&question));
        }
    });
    here
}

fn read_message(stream: &mut TcpStream) -> Vec<u8> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut message = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut message).unwrap();
    message
}

fn write_message(stream: &mut TcpStream, message: &[u8]) {
    let length = (message.len() as u16).to_be_bytes();
    stream.write_all(&[&length[..], message].concat()).unwrap();
}

fn ask(namespace: &Namespace, ports: DnsPorts, name: &str, kind: u16) -> Vec<u8> {
    namespace.inside(|| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(WAIT).unwrap();
        socket.connect(("127.0.0.11", ports.udp)).unwrap();
        socket.send(&query(7, name, kind)).unwrap();
        let mut buffer = [0; 4096];
        let length = socket.recv(&mut buffer).unwrap();
        assert_eq!(buffer[..2], [0, 7]);
        buffer[..length].to_vec()
    })
}

fn code(message: &[u8]) -> u8 {
    message[3] & 0xf
}

#[test]
fn names_are_answered_and_the_rest_is_asked_for() {
    // G3, I-4.
    let Some(namespace) = Namespace::new().filter(|_| can_run()) else { return };
    let mut fixture = Fixture::new("sleep 600");
    std::fs::write(fixture.path("names"), "own 10.9.0.2 web web.project\nown 10.9.0.3 web\nown fd09::4 six\n").unwrap();
    // The first never answers and the second does not exist: neither keeps the third from being heard.
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let nobody = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    fixture.config.dns = Some(DnsConfig {
        address: Ipv4Addr::new(127, 0, 0, 11).into(),
        ports: None,
        names: fixture.path("names"),
        upstreams: vec![silent.local_addr().unwrap(), nobody, upstream([192, 0, 2, 7])],
    });
    fixture.config.ports = vec![PublishedPort {
        host_address: Ipv4Addr::LOCALHOST.into(),
        host_port: 0,
        protocol: Protocol::Tcp,
        address: None,
        ipv6: None,
        container_port: 80,
    }];
    let request = || ShimRequest {
        config: &fixture.config,
        plan: &fixture.plan,
        network_namespace: Some(namespace.descriptor()),
    };
    let prepared = Seed::sow(None).unwrap().prepare(&request()).unwrap();
    let ports = prepared.dns().unwrap();
    let published = prepared.ports().to_vec();
    let started = prepared.go().unwrap();

    let ask_for = |name: &str, kind: u16| ask(&namespace, ports, name, kind);
    let mut web: Vec<Vec<IpAddr>> = (0..2).map(|_| addresses(&ask_for("Web", 1))).collect();
    assert_ne!(web[0], web[1], "addresses take turns");
    web[0].sort_unstable();
    assert_eq!(web[0], [IpAddr::from([10, 9, 0, 2]), IpAddr::from([10, 9, 0, 3])]);
    assert_eq!(
        (code(&ask_for("web", 28)), addresses(&ask_for("web", 28))),
        (0, vec![]),
        "no such address, yet the name"
    );
    assert_eq!(addresses(&ask_for("six", 28)), ["fd09::4".parse::<IpAddr>().unwrap()]);
    assert!(ask_for("2.0.9.10.in-addr.arpa", 12).windows(4).any(|window| window == b"\x03web"));
    assert_eq!(addresses(&ask_for("elsewhere.test", 1)), [IpAddr::from([192, 0, 2, 7])]);

    let mut stream = namespace.inside(|| TcpStream::connect(("127.0.0.11", ports.tcp)).unwrap());
    stream.set_read_timeout(WAIT).unwrap();
    write_message(&mut stream, &query(8, "web.project", 1));
    assert_eq!(addresses(&read_message(&mut stream)), [IpAddr::from([10, 9, 0, 2])]);
    write_message(&mut stream, &query(9, "elsewhere.test", 1));
    assert_eq!(addresses(&read_message(&mut stream)), [IpAddr::from([192, 0, 2, 7])]);

    // A new shim answers where the rules lead already, and has the port that people know.
    super::fixture::kill(started.shim_pid);
    super::fixture::eventually("the shim's death", || (!fixture.state().has_shim()).then_some(()));
    Seed::sow(None).unwrap().adopt(&request(), &fixture.state()).unwrap();
    assert_eq!((fixture.state().dns, fixture.state().ports), (Some(ports), published));
    assert_eq!(addresses(&ask_for("web.project", 1)), [IpAddr::from([10, 9, 0, 2])]);
    fixture.client().signal(9).unwrap();
    fixture.wait_for_shims_end();
}

#[test]
fn an_internal_network_asks_nobody() {
    let Some(namespace) = Namespace::new().filter(|_| can_run()) else { return };
    let mut fixture = Fixture::new("sleep 600");
    let outside = UdpSocket::bind("127.0.0.1:0").unwrap();
    outside.set_nonblocking(true).unwrap();
    fixture.config.dns = Some(DnsConfig {
        address: Ipv4Addr::new(127, 0, 0, 11).into(),
        ports: None,
        names: fixture.path("names"),
        upstreams: vec![outside.local_addr().unwrap()],
    });
    let prepared = Seed::sow(None)
        .unwrap()
        .prepare(&ShimRequest {
            config: &fixture.config,
            plan: &fixture.plan,
            network_namespace: Some(namespace.descriptor()),
        })
        .unwrap();
    let ports = prepared.dns().unwrap();
    assert_eq!(code(&ask(&namespace, ports, "elsewhere.test", 1)), Code::ServerFailure as u8);
    assert!(outside.recv(&mut [0; 1]).is_err());
}
