//! Addresses: the bridge's subnet, guest addresses and hardware addresses; and protocols.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// A text that is not a subnet for the bridge.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubnetError {
    /// Not `address/prefix`.
    #[error("`{text}` is not an address with a prefix, such as `172.16.0.1/24`")]
    Form {
        /// The text that was refused.
        text: String,
    },
    /// Outside the prefixes that make sense for a bridge.
    #[error("a prefix of {prefix} bits cannot serve a bridge; use 16 to 30")]
    Prefix {
        /// The prefix that was refused.
        prefix: u8,
    },
    /// The network or broadcast address, or one that no interface may have.
    #[error("`{address}` cannot be the bridge's own address")]
    Address {
        /// The address that was refused.
        address: Ipv4Addr,
    },
}

/// The bridge's own address with the prefix of its subnet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subnet {
    gateway: Ipv4Addr,
    prefix: u8,
}

impl Subnet {
    /// Checks the prefix (16 to 30) and that the address can be an interface's.
    pub fn new(gateway: Ipv4Addr, prefix: u8) -> Result<Self, SubnetError> {
        if !(16..=30).contains(&prefix) {
            return Err(SubnetError::Prefix { prefix });
        }
        let subnet = Self { gateway, prefix };
        let unusable = gateway.is_loopback() || gateway.is_multicast() || gateway.is_unspecified();
        if unusable || gateway == subnet.network() || gateway == subnet.broadcast() {
            return Err(SubnetError::Address { address: gateway });
        }
        Ok(subnet)
    }

    /// The bridge's address: the guests' gateway.
    pub const fn gateway(self) -> Ipv4Addr {
        self.gateway
    }

    /// The prefix length in bits.
    pub const fn prefix(self) -> u8 {
        self.prefix
    }

    fn mask(self) -> u32 {
        u32::MAX << (32 - u32::from(self.prefix))
    }

    /// The subnet's first address.
    pub fn network(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.gateway.to_bits() & self.mask())
    }

    /// The subnet's last address.
    pub fn broadcast(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.gateway.to_bits() | !self.mask())
    }

    /// Whether the address lies in the subnet.
    pub fn contains(self, address: Ipv4Addr) -> bool {
        address.to_bits() & self.mask() == self.network().to_bits()
    }

    /// How many guests there is room for: all addresses but the network's, the broadcast and the
    /// bridge's.
    pub fn guests(self) -> u32 {
        (1 << (32 - u32::from(self.prefix))) - 3
    }

    /// Whether two subnets have an address in common.
    pub fn overlaps(self, other: Self) -> bool {
        self.contains(other.network()) || other.contains(self.network())
    }

    /// The lowest address that `is_taken` does not hold, or `None` when all are taken.
    ///
    /// The network, broadcast and bridge addresses are never given out.
    pub fn allocate(self, is_taken: impl Fn(GuestIp) -> bool) -> Option<GuestIp> {
        (self.network().to_bits() + 1..self.broadcast().to_bits())
            .map(Ipv4Addr::from_bits)
            .filter(|&address| address != self.gateway)
            .map(GuestIp)
            .find(|&ip| !is_taken(ip))
    }
}

impl FromStr for Subnet {
    type Err = SubnetError;

    fn from_str(text: &str) -> Result<Self, SubnetError> {
        let form = || SubnetError::Form { text: text.to_owned() };
        let (address, prefix) = text.split_once('/').ok_or_else(form)?;
        let address = address.parse().ok().ok_or_else(form)?;
        Self::new(address, prefix.parse().ok().ok_or_else(form)?)
    }
}

impl TryFrom<String> for Subnet {
    type Error = SubnetError;

    fn try_from(text: String) -> Result<Self, SubnetError> {
        text.parse()
    }
}

impl From<Subnet> for String {
    fn from(subnet: Subnet) -> String {
        subnet.to_string()
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.gateway, self.prefix)
    }
}

/// A guest's address, given at create and kept for life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GuestIp(Ipv4Addr);

impl GuestIp {
    /// The plain address.
    pub const fn address(self) -> Ipv4Addr {
        self.0
    }
}

impl From<Ipv4Addr> for GuestIp {
    fn from(address: Ipv4Addr) -> Self {
        Self(address)
    }
}

impl fmt::Display for GuestIp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A guest's hardware address, derived from its IP address so that it needs no allocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddr([u8; 6]);

impl MacAddr {
    /// `06:00` and the four bytes of the address. 06 is locally administered and unicast (IEEE
    /// 802, section 8.4).
    pub fn for_ip(ip: GuestIp) -> Self {
        let [a, b, c, d] = ip.0.octets();
        Self([0x06, 0x00, a, b, c, d])
    }

    /// The six bytes.
    pub const fn octets(self) -> [u8; 6] {
        self.0
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// A text that is not a hardware address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a hardware address, such as `06:00:ac:10:00:02`")]
pub struct MacError {
    /// The text that was refused.
    pub text: String,
}

impl TryFrom<String> for MacAddr {
    type Error = MacError;

    fn try_from(text: String) -> Result<Self, MacError> {
        let bytes: Option<Vec<u8>> = text
            .split(':')
            .map(|part| (part.len() == 2).then(|| u8::from_str_radix(part, 16).ok()).flatten())
            .collect();
        match bytes.and_then(|bytes| <[u8; 6]>::try_from(bytes).ok()) {
            Some(octets) => Ok(Self(octets)),
            None => Err(MacError { text }),
        }
    }
}

impl From<MacAddr> for String {
    fn from(mac: MacAddr) -> String {
        mac.to_string()
    }
}

/// How a port is spoken to.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// Connections.
    #[default]
    Tcp,
    /// Datagrams.
    Udp,
}

impl Protocol {
    /// The word, as on the command line and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn subnet(text: &str) -> Subnet {
        text.parse().unwrap()
    }

    #[test]
    fn allocation_skips_the_ends_and_the_bridge_and_then_runs_out() {
        let net = subnet("172.16.0.2/29");
        let mut taken = BTreeSet::new();
        while let Some(ip) = net.allocate(|ip| taken.contains(&ip)) {
            assert!(taken.insert(ip));
        }
        let last: Vec<u8> = taken.iter().map(|ip| ip.address().octets()[3]).collect();
        assert_eq!(last, [1, 3, 4, 5, 6]);
        assert_eq!(usize::try_from(net.guests()).unwrap(), taken.len());
    }

    #[test]
    fn bad_subnets_are_refused_each_with_its_reason() {
        let message = |text: &str| text.parse::<Subnet>().unwrap_err().to_string();
        assert!(message("172.16.0.1").contains("such as `172.16.0.1/24`"));
        assert!(message("172.16.0.1/8").contains("use 16 to 30"));
        assert!(message("172.16.0.0/24").contains("cannot be the bridge's own address"));
        assert!(message("172.16.0.255/24").contains("cannot be"));
        assert!(message("127.0.0.1/24").contains("cannot be"));
    }

    #[test]
    fn overlap_is_symmetric() {
        let (wide, narrow) = (subnet("172.16.0.1/16"), subnet("172.16.9.1/24"));
        assert!(wide.overlaps(narrow) && narrow.overlaps(wide));
        assert!(!narrow.overlaps(subnet("172.16.8.1/24")));
    }

    proptest! {
        #[test]
        fn a_mac_names_its_address_and_parses_back(bits: u32) {
            let mac = MacAddr::for_ip(Ipv4Addr::from_bits(bits).into());
            prop_assert_eq!(&mac.octets()[2..], &Ipv4Addr::from_bits(bits).octets());
            prop_assert_eq!(MacAddr::try_from(mac.to_string()).unwrap(), mac);
        }

        #[test]
        fn an_allocated_address_is_free_and_inside(
            host in 1u32..0xfffe,
            prefix in 16u8..=30,
            taken in proptest::collection::btree_set(0u32..64, 0..64),
        ) {
            let Ok(net) = Subnet::new(Ipv4Addr::from_bits(0xac10_0000 | host), prefix) else {
                return Ok(());
            };
            let base = net.network().to_bits();
            let is_taken = |ip: GuestIp| taken.contains(&(ip.address().to_bits() - base));
            if let Some(ip) = net.allocate(is_taken) {
                prop_assert!(net.contains(ip.address()) && !is_taken(ip));
                prop_assert!(![net.gateway(), net.network(), net.broadcast()].contains(&ip.address()));
            }
        }
    }
}
