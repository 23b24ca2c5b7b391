use std::net::Ipv4Addr;

use carrack_diag::{Diagnostic, Result};
use serde::{Deserialize, Serialize};

use crate::codes;

/// A range of IPv4 addresses, `172.17.0.0/16`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Subnet {
    first: Ipv4Addr,
    prefix: u8,
}

impl Subnet {
    /// The range of `prefix` bits that `address` lies in. A prefix over 32 counts as 32.
    pub fn containing(address: Ipv4Addr, prefix: u8) -> Self {
        let prefix = prefix.min(32);
        Self { first: (u32::from(address) & mask(prefix)).into(), prefix }
    }

    /// Reads `ADDRESS/PREFIX`.
    ///
    /// # Errors
    /// `network/invalid-subnet`, with what was probably meant where the host part is not zero.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = || Diagnostic::error(&codes::INVALID_SUBNET, format!("`{text}` is not an address range"));
        let parts = text.split_once('/').and_then(|(address, prefix)| {
            let digits = prefix.bytes().all(|byte| byte.is_ascii_digit());
            Some((
                address.parse::<Ipv4Addr>().ok()?,
                prefix.parse::<u8>().ok().filter(|prefix| digits && *prefix <= 32)?,
            ))
        });
        let Some((address, prefix)) = parts else {
            return Err(match text.contains(':') {
                true => wrong().cause("IPv6 ranges are not implemented yet"),
                false => wrong().hint("write it as 172.20.0.0/16"),
            }
            .boxed());
        };
        let subnet = Self::containing(address, prefix);
        if subnet.first != address {
            return Err(wrong().cause("its host part is not zero").hint(format!("did you mean `{subnet}`?")).boxed());
        }
        Ok(subnet)
    }

    /// The first address, which stands for the range itself.
    pub fn first(self) -> Ipv4Addr {
        self.first
    }

    /// The last address, which is the broadcast address.
    pub fn last(self) -> Ipv4Addr {
        (u32::from(self.first) | !mask(self.prefix)).into()
    }

    /// How many leading bits all its addresses share.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// Whether the address lies in it.
    pub fn contains(self, address: Ipv4Addr) -> bool {
        (self.first..=self.last()).contains(&address)
    }

    /// Whether an address lies in both.
    pub fn overlaps(self, other: Self) -> bool {
        self.first <= other.last() && other.first <= self.last()
    }

    /// Whether every address of `other` lies in it.
    pub fn covers(self, other: Self) -> bool {
        self.contains(other.first) && self.contains(other.last())
    }
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

/// Where networks without a subnet of their own get one, in this order; Docker's.
pub(crate) fn pools() -> impl Iterator<Item = Subnet> {
    let large = (17..=31).map(|second| Subnet::containing(Ipv4Addr::new(172, second, 0, 0), 16));
    let small = (0..16).map(|fraction| Subnet::containing(Ipv4Addr::new(192, 168, fraction << 4, 0), 20));
    large.chain(small)
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
        fn every_text_is_read_or_refused(text in "[0-9./:]{0,24}") {
            if let Ok(subnet) = Subnet::parse(&text) {
                prop_assert_eq!(Subnet::parse(&subnet.to_string()), Ok(subnet));
            }
        }

        #[test]
        fn a_range_holds_its_ends_and_nothing_around(address: u32, prefix in 0u8..=32) {
            let subnet = Subnet::containing(address.into(), prefix);
            prop_assert!(subnet.contains(address.into()) && subnet.contains(subnet.first()) && subnet.contains(subnet.last()));
            if let Some(before) = u32::from(subnet.first()).checked_sub(1) {
                prop_assert!(!subnet.contains(before.into()));
            }
            if let Some(after) = u32::from(subnet.last()).checked_add(1) {
                prop_assert!(!subnet.contains(after.into()));
            }
        }

        #[test]
        fn overlap_is_mutual_and_means_that_one_covers_the_other(a: u32, b: u32, p in 0u8..=32, q in 0u8..=32) {
            let (a, b) = (Subnet::containing(a.into(), p), Subnet::containing(b.into(), q));
            prop_assert_eq!(a.overlaps(b), b.overlaps(a));
            prop_assert_eq!(a.overlaps(b), a.covers(b) || b.covers(a));
        }
    }

    #[test]
    fn host_part_must_be_zero_and_the_hint_says_what_was_meant() {
        let error = Subnet::parse("172.20.0.1/16").unwrap_err();
        assert_eq!(error.code.id, "network/invalid-subnet");
        assert_eq!(error.hints, ["did you mean `172.20.0.0/16`?"]);
        for wrong in ["", "/", "10.0.0.0", "10.0.0.0/33", "10.0.0.0/+8", "10.0.0/8", "fd00::/64"] {
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
