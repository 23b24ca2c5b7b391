use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use carrack_diag::{Diagnostic, Result};
use serde::{Deserialize, Serialize};

use crate::codes;

/// A range of addresses, `172.17.0.0/16` or `fd00:1::/64`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Subnet {
    first: IpAddr,
    prefix: u8,
}

impl Subnet {
    /// The range of `prefix` bits that `address` lies in. A prefix over the address's length counts as that.
    pub fn containing(address: impl Into<IpAddr>, prefix: u8) -> Self {
        let address = address.into();
        let prefix = prefix.min(length(address));
        Self { first: address_of(number(address) & !host_mask(address, prefix), address), prefix }
    }

    /// Reads `ADDRESS/PREFIX`.
    ///
    /// # Errors
    /// `network/invalid-subnet`, with what was probably meant where the host part is not zero.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = || Diagnostic::error(&codes::INVALID_SUBNET, format!("`{text}` is not an address range"));
        let parts = text.split_once('/').and_then(|(address, prefix)| {
            let digits = prefix.bytes().all(|byte| byte.is_ascii_digit());
            let address = address.parse::<IpAddr>().ok()?;
            Some((address, prefix.parse::<u8>().ok().filter(|prefix| digits && *prefix <= length(address))?))
        });
        let Some((address, prefix)) = parts else {
            let example = if text.contains(':') { "fd00:1::/64" } else { "172.20.0.0/16" };
            return Err(wrong().hint(format!("write it as {example}")).boxed());
        };
        let subnet = Self::containing(address, prefix);
        if subnet.first != address {
            return Err(wrong().cause("its host part is not zero").hint(format!("did you mean `{subnet}`?")).boxed());
        }
        Ok(subnet)
    }

    /// Whether its addresses are IPv4.
    pub fn is_ipv4(self) -> bool {
        self.first.is_ipv4()
    }

    /// The first address, which stands for the range itself.
    pub fn first(self) -> IpAddr {
        self.first
    }

    /// The last address, which in IPv4 is the broadcast address.
    pub fn last(self) -> IpAddr {
        address_of(number(self.first) | host_mask(self.first, self.prefix), self.first)
    }

    /// The address that many places after the first; the last one where it has fewer.
    pub fn nth(self, places: u128) -> IpAddr {
        let last = number(self.last());
        address_of(number(self.first).saturating_add(places).min(last), self.first)
    }

    /// How many leading bits all its addresses share.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// Whether the address lies in it.
    pub fn contains(self, address: impl Into<IpAddr>) -> bool {
        let address = address.into();
        address.is_ipv4() == self.is_ipv4() && (self.first..=self.last()).contains(&address)
    }

    /// Whether the address is one of a host in it: neither the range's own nor the broadcast address.
    pub fn has_host(self, address: impl Into<IpAddr>) -> bool {
        let address = address.into();
        self.contains(address) && address != self.first && (!self.is_ipv4() || address != self.last())
    }

    /// Whether an address lies in both.
    pub fn overlaps(self, other: Self) -> bool {
        self.is_ipv4() == other.is_ipv4() && self.first <= other.last() && other.first <= self.last()
    }

    /// Whether every address of `other` lies in it.
    pub fn covers(self, other: Self) -> bool {
        self.contains(other.first) && self.contains(other.last())
    }
}

fn length(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => address.into(),
    }
}

/// A number of the same family as `like`.
fn address_of(number: u128, like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => Ipv4Addr::from(number as u32).into(),
        IpAddr::V6(_) => Ipv6Addr::from(number).into(),
    }
}

fn host_mask(like: IpAddr, prefix: u8) -> u128 {
    let bits = u32::from(length(like) - prefix);
    1_u128.checked_shl(bits).map_or(u128::MAX, |end| end - 1)
}

/// Where networks without a subnet of their own get one, in this order; Docker's.
pub(crate) fn pools() -> impl Iterator<Item = Subnet> {
    let large = (17..=31).map(|second| Subnet::containing(Ipv4Addr::new(172, second, 0, 0), 16));
    let small = (0..16).map(|fraction| Subnet::containing(Ipv4Addr::new(192, 168, fraction << 4, 0), 20));
    large.chain(small)
}

/// The same for IPv6: the networks of a unique local prefix (RFC 4193) that follows from what identifies this host.
pub(crate) fn ipv6_pools(identity: &[u8; 5]) -> impl Iterator<Item = Subnet> {
    let [a, b, c, d, e] = identity.map(u16::from);
    (0..=u16::MAX).map(move |network| {
        let first = Ipv6Addr::new(0xfd00 | a, b << 8 | c, d << 8 | e, network, 0, 0, 0, 0);
        Subnet::containing(first, 64)
    })
}

impl std::fmt::Display for Subnet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

impl std::fmt::Debug for Subnet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for Subnet {
    type Err = Box<Diagnostic>;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl From<Subnet> for String {
    fn from(subnet: Subnet) -> Self {
        subnet.to_string()
    }
}

impl TryFrom<String> for Subnet {
    type Error = Box<Diagnostic>;

    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_text_is_read_or_refused(text in "[0-9a-f./:]{0,24}") {
            if let Ok(subnet) = Subnet::parse(&text) {
                prop_assert_eq!(Subnet::parse(&subnet.to_string()), Ok(subnet));
            }
        }

        #[test]
        fn a_range_holds_its_ends_and_nothing_around(address: u32, prefix in 0u8..=32) {
            let subnet = Subnet::containing(Ipv4Addr::from(address), prefix);
            prop_assert!(subnet.contains(Ipv4Addr::from(address)) && subnet.contains(subnet.first()) && subnet.contains(subnet.last()));
            if let Some(before) = number(subnet.first()).checked_sub(1) {
                prop_assert!(!subnet.contains(Ipv4Addr::from(before as u32)));
            }
            if let Ok(after) = u32::try_from(number(subnet.last()) + 1) {
                prop_assert!(!subnet.contains(Ipv4Addr::from(after)));
            }
        }

        #[test]
        fn a_range_of_ipv6_holds_its_ends_and_nothing_around(address: u128, prefix in 0u8..=128) {
            let subnet = Subnet::containing(Ipv6Addr::from(address), prefix);
            prop_assert!(subnet.contains(Ipv6Addr::from(address)) && subnet.contains(subnet.first()));
            prop_assert!(subnet.contains(subnet.last()) && !subnet.contains(Ipv4Addr::LOCALHOST));
            if let Some(before) = number(subnet.first()).checked_sub(1) {
                prop_assert!(!subnet.contains(Ipv6Addr::from(before)));
            }
            if let Some(after) = number(subnet.last()).checked_add(1) {
                prop_assert!(!subnet.contains(Ipv6Addr::from(after)));
            }
        }

        #[test]
        fn overlap_is_mutual_and_means_that_one_covers_the_other(a: u32, b: u32, p in 0u8..=32, q in 0u8..=32) {
            let (a, b) = (Subnet::containing(Ipv4Addr::from(a), p), Subnet::containing(Ipv4Addr::from(b), q));
            prop_assert_eq!(a.overlaps(b), b.overlaps(a));
            prop_assert_eq!(a.overlaps(b), a.covers(b) || b.covers(a));
        }
    }

    #[test]
    fn host_part_must_be_zero_and_the_hint_says_what_was_meant() {
        let error = Subnet::parse("172.20.0.1/16").unwrap_err();
        assert_eq!(error.code.id, "network/invalid-subnet");
        assert_eq!(error.hints, ["did you mean `172.20.0.0/16`?"]);
        for wrong in ["", "/", "10.0.0.0", "10.0.0.0/33", "10.0.0.0/+8", "10.0.0/8", "fd00::/129", "fd00::1/64"] {
            assert!(Subnet::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn pools_are_dockers() {
        let pools: Vec<String> = pools().map(|subnet| subnet.to_string()).collect();
        assert_eq!(pools.len(), 31);
        assert_eq!((pools[0].as_str(), pools[14].as_str()), ("172.17.0.0/16", "172.31.0.0/16"));
        assert_eq!((pools[15].as_str(), pools[30].as_str()), ("192.168.0.0/20", "192.168.240.0/20"));
    }
}
