use proptest::prelude::*;

use super::route::{self, Mac};
use super::*;

/// Runs `work` in a network namespace of its own, or says why not.
fn in_new_namespace(work: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        scope.spawn(|| match route::unshare_network() {
            Ok(()) => work(),
            Err(error) => println!("skipped: no network namespace: {error}"),
        });
    });
}

fn finished(message: &Message) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.append_to(&mut bytes, 7, 0).unwrap();
    bytes
}

proptest! {
    #[test]
    fn readers_take_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for reply in replies(&bytes) {
            let _ = reply.map(|reply| acknowledgement(&reply));
        }
        prop_assert!(attributes(&bytes).count() <= bytes.len() / ATTRIBUTE_HEADER_BYTES);
    }

    #[test]
    fn attributes_come_back(values in proptest::collection::vec((0u16..1000, proptest::collection::vec(any::<u8>(), 0..40)), 0..8)) {
        let mut message = Message::new(16, 0, &[0; 16]);
        message.nested(5, |nest| for (kind, value) in &values { nest.attribute(*kind, value); });
        let bytes = finished(&message);
        let read: Vec<_> = replies(&bytes).collect::<Result<_>>().unwrap();
        prop_assert_eq!(read.len(), 1);
        prop_assert_eq!(read[0].sequence, 7);
        let nest = attribute(&read[0].payload[16..], 5).unwrap();
        let back: Vec<_> = attributes(nest).map(|(kind, value)| (kind, value.to_vec())).collect();
        prop_assert_eq!(back, values);
    }

    #[test]
    fn hardware_addresses_read_what_they_write(bytes: [u8; 6]) {
        prop_assert_eq!(Mac(bytes).to_string().parse(), Ok(Mac(bytes)));
    }
}

#[test]
fn attribute_of_64_kib_is_refused_before_it_is_sent() {
    let mut message = Message::new(16, 0, &[]);
    message.attribute(1, &vec![0; 65536]);
    let mut socket = Socket::route().unwrap();
    assert_eq!(socket.execute(&[message]), Err(Refusal { index: 0, error: Errno::MSGSIZE }));
}

#[test]
fn hardware_address_follows_from_the_address() {
    assert_eq!(Mac::of("172.17.0.2".parse().unwrap()).to_string(), "02:42:ac:11:00:02");
    assert!("02:42:ac:11:00".parse::<Mac>().is_err());
    assert!("02:42:ac:11:00:02:03".parse::<Mac>().is_err());
    assert!("02:42:ac:11:00:+2".parse::<Mac>().is_err());
}

#[test]
fn bridge_with_address_is_made_listed_and_deleted() {
    in_new_namespace(|| {
        let mut socket = Socket::route().unwrap();
        let mac = Mac::of("10.9.0.1".parse().unwrap());
        socket.execute(&[route::create_bridge("ckt0", mac, 1400), route::set_up_by_name("ckt0")]).unwrap();
        let link = socket.link("ckt0").unwrap().unwrap();
        assert_eq!(
            (link.kind.as_deref(), link.mac, link.mtu_bytes, link.is_up),
            (Some("bridge"), Some(mac), 1400, true)
        );
        socket.execute(&[route::add_address(link.index, "10.9.0.1".parse().unwrap(), 24)]).unwrap();
        let addresses = socket.addresses().unwrap();
        assert!(addresses.iter().any(|found| found.index == link.index && found.prefix == 24));
        let routes = socket.routes().unwrap();
        assert!(routes.iter().any(|found| found.output == Some(link.index) && found.prefix == 24), "{routes:?}");
        socket.execute(&[route::delete_link(link.index)]).unwrap();
        assert_eq!(socket.link("ckt0").unwrap(), None);
    });
}

#[test]
fn first_refused_message_of_a_batch_is_named_and_the_socket_stays_usable() {
    in_new_namespace(|| {
        let mut socket = Socket::route().unwrap();
        let mac = Mac([2, 0, 0, 0, 0, 1]);
        let bridge = route::create_bridge("ckt0", mac, 1500);
        let refusal = socket.execute(&[bridge.clone(), bridge.clone(), bridge]).unwrap_err();
        assert_eq!(refusal, Refusal { index: 1, error: Errno::EXIST });
        assert!(socket.link("ckt0").unwrap().is_some());
    });
}
