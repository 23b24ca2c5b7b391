//! Published ports, from the host's side.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use carrack_specgen::container::Protocol;
use rustix::io::Errno;

use super::fixture::{Fixture, Namespace, can_run};
use crate::shim::{Prepared, PublishedPort, Seed, ShimRequest, StartError};

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const WAIT: Option<Duration> = Some(Duration::from_secs(20));

/// Inside it is the container's loopback, as there is no network between the two in these tests.
fn published(protocol: Protocol, port: u16, address: Option<IpAddr>) -> PublishedPort {
    PublishedPort { host_address: LOCALHOST, host_port: 0, protocol, address, ipv6: None, container_port: port }
}

fn prepared(fixture: &Fixture, namespace: &Namespace) -> Result<Prepared, StartError> {
    Seed::sow(None)?.prepare(&ShimRequest {
        config: &fixture.config,
        plan: &fixture.plan,
        network_namespace: Some(namespace.descriptor()),
    })
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(WAIT).unwrap();
    stream
}

#[test]
fn megabytes_and_half_closes_pass_both_ways() {
    // I1, I-4: a forwarded connection is as good as one.
    let Some(namespace) = Namespace::new().filter(|_| can_run()) else { return };
    let server = namespace.inside(|| TcpListener::bind("127.0.0.1:0").unwrap());
    let port = server.local_addr().unwrap().port();
    let mut fixture = Fixture::new("sleep 600");
    fixture.config.ports = vec![published(Protocol::Tcp, port, None)];
    let prepared = prepared(&fixture, &namespace).unwrap();
    let host = prepared.ports()[0].host;

    const SIZE: usize = 20_000_000;
    let data: Vec<u8> = (0..SIZE).map(|position| (position % 251) as u8).collect();
    let answer: Vec<u8> = data.iter().rev().copied().collect();
    let expected = data.clone();
    let serving = std::thread::spawn(move || {
        let (mut stream, _) = server.accept().unwrap();
        stream.set_read_timeout(WAIT).unwrap();
        let mut received = Vec::new();
        stream.read_to_end(&mut received).unwrap();
        assert!(received == expected, "what was sent, to its end");
        // Only after the client's end: its half is closed, this one is not.
        stream.write_all(&answer).unwrap();
    });
    let mut client = connect(host);
    client.write_all(&data).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut received = Vec::new();
    client.read_to_end(&mut received).unwrap();
    serving.join().unwrap();
    assert!(received.iter().rev().eq(data.iter()));
}

#[test]
fn many_connections_at_once_each_get_their_own_answer() {
    let Some(namespace) = Namespace::new().filter(|_| can_run()) else { return };
    let server = namespace.inside(|| TcpListener::bind("127.0.0.1:0").unwrap());
    let port = server.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in server.incoming().flatten() {
            std::thread::spawn(move || {
                let mut byte = [0; 4];
                while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
            });
        }
    });
    let mut fixture = Fixture::new("sleep 600");
    fixture.config.ports = vec![published(Protocol::Tcp, port, None)];
    let prepared = prepared(&fixture, &namespace).unwrap();
    let host = prepared.ports()[0].host;
    let mut clients: Vec<TcpStream> = (0..100).map(|_| connect(host)).collect();
    for round in 0..3u32 {
        for (number, client) in clients.iter_mut().enumerate() {
            client.write_all(&(number as u32 * 3 + round).to_be_bytes()).unwrap();
        }
        for (number, client) in clients.iter_mut().enumerate() {
            let mut answer = [0; 4];
            client.read_exact(&mut answer).unwrap();
            assert_eq!(u32::from_be_bytes(answer), number as u32 * 3 + round);
        }
    }
}

#[test]
fn nobody_listening_ends_the_connection() {
    let Some(namespace) = Namespace::new().filter(|_| can_run()) else { return };
    let mut fixture = Fixture::new("sleep 600");
    // The second address can't be reached from here: the way through the container's loopback is tried.
    let nowhere: IpAddr = "203.0.113.1".parse().unwrap();
    let server = namespace.inside(|| TcpListener::bind("127.0.0.1:0").unwrap());
    let port = server.local_addr().unwrap().port();
    fixture.config.ports = vec![published(Protocol::Tcp, 1, None), published(Protocol::Tcp, port, Some(nowhere))];
    let prepared = prepared(&fixture, &namespace).unwrap();
    let mut byte = [0; 1];
    let read = connect(prepared.ports()[0].host).read(&mut byte);
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
}

#[test]
fn datagrams_find_their_way_back_to_each_speaker() {
    let Some(namespace) = Namespace::new().filter(|_| can_run()) else { return };
    let server = namespace.inside(|| UdpSocket::bind("127.0.0.1:0").unwrap());
    let port = server.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut buffer = [0; 2000];
        while let Ok((length, from)) = server.recv_from(&mut buffer) {
            let _ = server.send_to(&[b"you said ", &buffer[..length]].concat(), from);
        }
    });
    let mut fixture = Fixture::new("sleep 600");
    fixture.config.ports = vec![published(Protocol::Udp, port, None)];
    let prepared = prepared(&fixture, &namespace).unwrap();
    let host = prepared.ports()[0].host;
    let speakers: Vec<UdpSocket> = (0..10).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
    for (number, speaker) in speakers.iter().enumerate() {
        speaker.set_read_timeout(WAIT).unwrap();
        speaker.send_to(format!("{number}").as_bytes(), host).unwrap();
    }
    for (number, speaker) in speakers.iter().enumerate() {
        let mut buffer = [0; 2000];
        let (length, from) = speaker.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..length], from), (format!("you said {number}").as_bytes(), host));
    }
}

#[test]
fn a_busy_port_is_named_and_leaves_nothing_bound() {
    let Some(namespace) = Namespace::new().filter(|_| can_run()) else { return };
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let busy = taken.local_addr().unwrap();
    let mut fixture = Fixture::new("sleep 600");
    let mut port = published(Protocol::Tcp, 80, None);
    port.host_port = busy.port();
    fixture.config.ports = vec![port];
    let error = prepared(&fixture, &namespace).unwrap_err();
    let expected = StartError::Port { host: busy, protocol: Protocol::Tcp, errno: Errno::ADDRINUSE.raw_os_error() };
    assert_eq!(error, expected);
    assert_eq!(error.diagnostic().code.id, "runtime/port");
    assert!(!fixture.path("shim.sock").exists());
}

#[test]
fn any_free_port_is_the_same_in_both_families() {
    let Some(namespace) = Namespace::new().filter(|_| can_run()) else { return };
    let mut fixture = Fixture::new("sleep 600");
    let four = published(Protocol::Tcp, 80, None);
    let mut six = four.clone();
    six.host_address = Ipv6Addr::LOCALHOST.into();
    fixture.config.ports = vec![four, six];
    match prepared(&fixture, &namespace) {
        Ok(prepared) => assert_eq!(prepared.ports()[0].host.port(), prepared.ports()[1].host.port()),
        Err(error) => eprintln!("skipped: no IPv6 here: {error}"),
    }
}
