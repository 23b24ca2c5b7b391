use std::io::{Read as _, Write as _};
use std::net::UdpSocket;

use super::*;
use crate::DNS_ADDRESS;

// I7 G14
#[test]
fn port_53_leads_to_the_resolver_and_stays_free_for_programs() {
    on_both_hosts(|host| {
        let container = host.container("a", &["bridge"]);
        let bind = || {
            let udp = UdpSocket::bind((DNS_ADDRESS, 0)).unwrap();
            udp.set_read_timeout(Some(LONG_PATIENCE)).unwrap();
            Ok((udp, TcpListener::bind((DNS_ADDRESS, 0)).unwrap()))
        };
        let (udp, tcp) = container.namespace.run(bind).unwrap();
        let port = |address: std::io::Result<SocketAddr>| address.unwrap().port();
        container.namespace.redirect_dns(port(udp.local_addr()), port(tcp.local_addr())).unwrap();

        let ask = || {
            let own = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 53)).unwrap();
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
            socket.set_read_timeout(Some(LONG_PATIENCE)).unwrap();
            // Connected: an answer that comes from another port than 53 would not be received.
            socket.connect((DNS_ADDRESS, 53)).unwrap();
            socket.send(b"question").unwrap();
            Ok((socket, own))
        };
        let (socket, _own) = container.namespace.run(ask).unwrap();
        let mut buffer = [0; 64];
        let (length, asker) = udp.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"question");
        udp.send_to(b"answer", asker).unwrap();
        let length = socket.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"answer");

        let mut stream = assert_reaches(&container.namespace, DNS_ADDRESS.into(), 53);
        stream.write_all(b"question").unwrap();
        let (mut accepted, _) = tcp.accept().unwrap();
        accepted.read_exact(&mut buffer[..8]).unwrap();
        assert_eq!(&buffer[..8], b"question");
    });
}

#[test]
fn asking_for_the_redirection_again_moves_it() {
    on_a_host(|_| {
        let namespace = Namespace::create().unwrap();
        namespace.redirect_dns(40000, 40000).unwrap();
        let tcp = namespace.run(|| Ok(TcpListener::bind((DNS_ADDRESS, 0)).unwrap())).unwrap();
        namespace.redirect_dns(40000, tcp.local_addr().unwrap().port()).unwrap();
        assert_reaches(&namespace, DNS_ADDRESS.into(), 53);
    });
}
