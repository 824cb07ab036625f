//! The names of running VMs as one immutable table, and what is known of a name by it.
//!
//! ```text
//!   vm.                            apex
//!   otter.vm.  app.otter.vm.       a VM, and whatever is below its name
//!   16.172.in-addr.arpa.           apex of the subnet's reverse zone
//!   2.0.16.172.in-addr.arpa.       a VM's address
//! ```
//!
//! The table also says who is told others' names. It knows no packets, no time to live and no
//! sockets. It is never changed: the next one takes its place.

use crate::net::{GuestIp, Subnet};
use crate::vm_name::VmName;
use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;

/// The zone of VMs' names.
pub const ZONE: &str = "vm";

/// The zones of the addresses of a subnet, each as large as fits into it: one for a subnet that
/// begins at a whole byte.
pub fn reverse_zones(subnet: Subnet) -> impl Iterator<Item = String> {
    let fixed = usize::from(subnet.prefix().div_ceil(8));
    let size = 1_u32 << (32 - 8 * fixed);
    let [first, last] = [subnet.network(), subnet.broadcast()].map(|end| end.to_bits() / size);
    (first..=last).map(move |zone| {
        let bytes = Ipv4Addr::from_bits(zone * size).octets();
        let labels = bytes[..fixed].iter().rev().map(|byte| format!("{byte}."));
        labels.collect::<String>() + "in-addr.arpa"
    })
}

/// The kinds of records that are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordKind {
    /// An IPv4 address.
    A,
    /// The name that belongs to an address.
    Ptr,
    /// A zone's head.
    Soa,
    /// A zone's name server.
    Ns,
    /// All that there are.
    Any,
    /// A whole zone, or what has changed of it.
    Transfer,
    /// One that no name here has, such as AAAA or MX.
    Other,
}

/// Where a zone begins: it is named by so many of the last labels of the name that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Apex {
    /// How many labels.
    pub labels: u8,
}

/// What is known of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer<'a> {
    /// The VM's address.
    Address(GuestIp),
    /// The VM that has the address.
    Pointer(&'a VmName),
    /// The zone's SOA record.
    Soa(Apex),
    /// The zone's NS record.
    Ns(Apex),
    /// Both of them.
    Head(Apex),
    /// The name exists and has no such record.
    NoData(Apex),
    /// There is no such name.
    NoName(Apex),
    /// It lies in no zone of ours, or it is nothing that we tell.
    Refused,
}

const VM_APEX: Apex = Apex { labels: 1 };

/// Which names a guest is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Ours alone. Others' names would be a way out: who answers for a name learns what is asked.
    Ours,
    /// Others' too.
    All,
}

/// A VM that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: VmName,
    /// Its address.
    pub ip: GuestIp,
    /// Which names its guest is told.
    pub scope: Scope,
}

/// The names of the VMs that run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    subnet: Subnet,
    serial: u32,
    addresses: HashMap<VmName, GuestIp>,
    entries: BTreeMap<GuestIp, Entry>,
}

impl Table {
    /// A table of these VMs. Each name and each address is one VM's; `serial` has to grow with
    /// each table that takes another's place (RFC 1035, section 3.3.13).
    pub fn new(subnet: Subnet, serial: u32, running: impl IntoIterator<Item = Entry>) -> Self {
        let entries: BTreeMap<_, _> = running.into_iter().map(|entry| (entry.ip, entry)).collect();
        let addresses = entries.values().map(|entry| (entry.name.clone(), entry.ip)).collect();
        Self { subnet, serial, addresses, entries }
    }

    /// How many VMs it has.
    pub fn len(&self) -> usize {
        self.addresses.len()
    }

    /// Whether no VM runs.
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty()
    }

    /// The subnet of the VMs, and so of the reverse zone.
    pub const fn subnet(&self) -> Subnet {
        self.subnet
    }

    /// The number by which a secondary server would see that something has changed.
    pub const fn serial(&self) -> u32 {
        self.serial
    }

    /// Which names the guest with the address is told. Who is no VM that runs is told ours.
    pub fn scope(&self, guest: GuestIp) -> Scope {
        self.entries.get(&guest).map_or(Scope::Ours, |entry| entry.scope)
    }

    /// What is known of a name. The labels come in the order of the name, without the root's;
    /// the case of their letters does not matter.
    pub fn lookup<'l>(
        &self,
        labels: impl DoubleEndedIterator<Item = &'l [u8]>,
        kind: RecordKind,
    ) -> Answer<'_> {
        if kind == RecordKind::Transfer {
            return Answer::Refused;
        }
        let mut from_root = labels.rev();
        match from_root.next() {
            Some(top) if top.eq_ignore_ascii_case(ZONE.as_bytes()) => {
                self.forward(from_root.next(), kind)
            }
            Some(top) if top.eq_ignore_ascii_case(b"arpa") => self.reverse(from_root, kind),
            _ => Answer::Refused,
        }
    }

    /// Below `vm.`: only the label next to it matters.
    fn forward(&self, label: Option<&[u8]>, kind: RecordKind) -> Answer<'_> {
        let Some(label) = label else { return head(VM_APEX, kind) };
        match (self.address(label), kind) {
            (Some(ip), RecordKind::A | RecordKind::Any) => Answer::Address(ip),
            (Some(_), _) => Answer::NoData(VM_APEX),
            (None, _) => Answer::NoName(VM_APEX),
        }
    }

    fn address(&self, label: &[u8]) -> Option<GuestIp> {
        let mut lower = [0; VmName::MAX];
        let lower = lower.get_mut(..label.len())?;
        lower.copy_from_slice(label);
        lower.make_ascii_lowercase();
        self.addresses.get(std::str::from_utf8(lower).ok()?).copied()
    }

    /// Below `arpa.`: an address's bytes as labels, the first byte nearest to the root.
    ///
    /// A reverse zone begins at a whole byte. A subnet that does not is a few zones, each as large
    /// as fits into it; so nobody else's addresses are ever answered for.
    fn reverse<'l>(
        &self,
        mut from_root: impl Iterator<Item = &'l [u8]>,
        kind: RecordKind,
    ) -> Answer<'_> {
        if !from_root.next().is_some_and(|label| label.eq_ignore_ascii_case(b"in-addr")) {
            return Answer::Refused;
        }
        let fixed = usize::from(self.subnet.prefix().div_ceil(8));
        let apex = Apex { labels: 2 + self.subnet.prefix().div_ceil(8) };
        let mut bytes = [0; 4];
        let mut given = 0;
        for label in from_root {
            match (bytes.get_mut(given), parse_byte(label)) {
                (Some(byte), Some(value)) => *byte = value,
                _ if given < fixed => return Answer::Refused,
                _ => return Answer::NoName(apex),
            }
            given += 1;
            if given == fixed && !self.subnet.contains(bytes.into()) {
                return Answer::Refused;
            }
        }
        if given < fixed {
            return Answer::Refused;
        }
        self.pointer(bytes, given, apex, kind)
    }

    /// The answer for the first `given` bytes of an address, which lie in the zone.
    fn pointer(&self, bytes: [u8; 4], given: usize, apex: Apex, kind: RecordKind) -> Answer<'_> {
        let name = match given {
            4 => self.entries.get(&Ipv4Addr::from(bytes).into()).map(|entry| &entry.name),
            _ => None,
        };
        match (name, kind) {
            (Some(name), RecordKind::Ptr | RecordKind::Any) => Answer::Pointer(name),
            _ if given + 2 == usize::from(apex.labels) => head(apex, kind),
            (Some(_), _) => Answer::NoData(apex),
            // What others are below exists, though it has no record (RFC 8020).
            (None, _) if given < 4 && self.has_within(bytes, given) => Answer::NoData(apex),
            (None, _) => Answer::NoName(apex),
        }
    }

    /// Whether a VM's address begins with the given bytes.
    fn has_within(&self, first: [u8; 4], given: usize) -> bool {
        let mut last = first;
        last[given..].fill(u8::MAX);
        let [first, last] = [first, last].map(|bytes| GuestIp::from(Ipv4Addr::from(bytes)));
        self.entries.range(first..=last).next().is_some()
    }
}

/// What an apex answers.
const fn head(apex: Apex, kind: RecordKind) -> Answer<'static> {
    match kind {
        RecordKind::Soa => Answer::Soa(apex),
        RecordKind::Ns => Answer::Ns(apex),
        RecordKind::Any => Answer::Head(apex),
        _ => Answer::NoData(apex),
    }
}

/// A byte in decimal, as it is written in a reverse name: without leading zeros.
fn parse_byte(label: &[u8]) -> Option<u8> {
    let plain = label.iter().all(u8::is_ascii_digit) && (label.len() == 1 || label[0] != b'0');
    std::str::from_utf8(label).ok().filter(|_| plain)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn entry(name: &str, ip: impl Into<Ipv4Addr>, scope: Scope) -> Entry {
        Entry { name: name.parse().unwrap(), ip: ip.into().into(), scope }
    }

    fn table(subnet: &str, running: &[(&str, [u8; 4])]) -> Table {
        let running = running.iter().map(|(name, ip)| entry(name, *ip, Scope::Ours));
        Table::new(subnet.parse().unwrap(), 7, running)
    }

    fn two() -> Table {
        table("172.16.0.1/24", &[("otter", [172, 16, 0, 2]), ("heron", [172, 16, 0, 3])])
    }

    fn ask<'t>(table: &'t Table, name: &str, kind: RecordKind) -> Answer<'t> {
        table.lookup(name.split('.').filter(|label| !label.is_empty()).map(str::as_bytes), kind)
    }

    fn address(last: u8) -> Answer<'static> {
        Answer::Address(Ipv4Addr::new(172, 16, 0, last).into())
    }

    #[test]
    fn a_vm_is_found_by_its_name_and_by_any_below_it_in_any_case() {
        let table = two();
        for name in ["otter.vm", "OTTER.Vm.", "app.otter.vm", "a.b.c.oTTer.vm", "_x._y.otter.vm"] {
            assert_eq!(ask(&table, name, RecordKind::A), address(2), "{name}");
            assert_eq!(ask(&table, name, RecordKind::Any), address(2), "{name}");
        }
        assert_eq!(ask(&table, "heron.vm", RecordKind::A), address(3));
    }

    #[test]
    fn a_name_without_a_vm_is_no_name_and_a_kind_without_a_record_is_no_data() {
        let table = two();
        let apex = Apex { labels: 1 };
        for name in ["lynx.vm", "otter.lynx.vm", "vm.vm", "ott.vm", "otterr.vm", "ot\u{e9}r.vm"] {
            assert_eq!(ask(&table, name, RecordKind::A), Answer::NoName(apex), "{name}");
            assert_eq!(ask(&table, name, RecordKind::Other), Answer::NoName(apex), "{name}");
        }
        for kind in [RecordKind::Other, RecordKind::Ptr, RecordKind::Soa, RecordKind::Ns] {
            assert_eq!(ask(&table, "otter.vm", kind), Answer::NoData(apex), "{kind:?}");
        }
    }

    #[test]
    fn others_names_are_for_guests_that_may_have_them() {
        let running = [("otter", 2, Scope::All), ("heron", 3, Scope::Ours)]
            .map(|(name, last, scope)| entry(name, [172, 16, 0, last], scope));
        let table = Table::new("172.16.0.1/24".parse().unwrap(), 1, running);
        let scopes = [1, 2, 3, 4].map(|last| table.scope(Ipv4Addr::new(172, 16, 0, last).into()));
        assert_eq!(scopes, [Scope::Ours, Scope::All, Scope::Ours, Scope::Ours]);
    }

    #[test]
    fn an_apex_has_a_head_and_no_address() {
        let table = two();
        for (name, labels) in [("vm", 1), ("0.16.172.in-addr.arpa", 5)] {
            let apex = Apex { labels };
            assert_eq!(ask(&table, name, RecordKind::Soa), Answer::Soa(apex));
            assert_eq!(ask(&table, name, RecordKind::Ns), Answer::Ns(apex));
            assert_eq!(ask(&table, name, RecordKind::Any), Answer::Head(apex));
            assert_eq!(ask(&table, name, RecordKind::A), Answer::NoData(apex));
        }
    }

    #[test]
    fn what_is_not_ours_is_refused_and_so_is_a_transfer() {
        let table = two();
        for name in
            ["", "example.org", "vm.org", "arpa", "in-addr.arpa", "ip6.arpa", "x.in-addr.arpa"]
        {
            assert_eq!(ask(&table, name, RecordKind::A), Answer::Refused, "{name}");
        }
        assert_eq!(ask(&table, "vm", RecordKind::Transfer), Answer::Refused);
    }

    #[test]
    fn an_address_is_found_by_its_reverse_name() {
        let table = two();
        let (name, apex) = ("otter".parse().unwrap(), Apex { labels: 5 });
        let reverse = "2.0.16.172.In-Addr.ARPA";
        assert_eq!(ask(&table, reverse, RecordKind::Ptr), Answer::Pointer(&name));
        assert_eq!(ask(&table, reverse, RecordKind::A), Answer::NoData(apex));
        let absent = ["9.0.16.172", "02.0.16.172", "256.0.16.172", "x.0.16.172", "1.2.0.16.172"];
        for bytes in absent {
            let reverse = format!("{bytes}.in-addr.arpa");
            assert_eq!(ask(&table, &reverse, RecordKind::Ptr), Answer::NoName(apex), "{bytes}");
        }
        for bytes in ["2.1.16.172", "16.172", "172", "2.0.16.10", "2.0.016.172"] {
            let reverse = format!("{bytes}.in-addr.arpa");
            assert_eq!(ask(&table, &reverse, RecordKind::Ptr), Answer::Refused, "{bytes}");
        }
    }

    #[test]
    fn a_wide_subnet_is_one_zone_in_which_a_byte_with_vms_below_exists() {
        let table = table("172.16.0.1/16", &[("otter", [172, 16, 9, 2])]);
        let apex = Apex { labels: 4 };
        let kind = RecordKind::Ptr;
        assert_eq!(ask(&table, "16.172.in-addr.arpa", RecordKind::Soa), Answer::Soa(apex));
        assert_eq!(ask(&table, "9.16.172.in-addr.arpa", kind), Answer::NoData(apex));
        assert_eq!(ask(&table, "8.16.172.in-addr.arpa", kind), Answer::NoName(apex));
        assert!(matches!(ask(&table, "2.9.16.172.in-addr.arpa", kind), Answer::Pointer(_)));
    }

    #[test]
    fn a_narrow_subnet_leaves_its_neighbours_alone() {
        let table = table("172.16.0.17/28", &[("otter", [172, 16, 0, 18])]);
        let kind = RecordKind::Ptr;
        assert!(matches!(ask(&table, "18.0.16.172.in-addr.arpa", kind), Answer::Pointer(_)));
        let apex = Apex { labels: 6 };
        assert_eq!(ask(&table, "19.0.16.172.in-addr.arpa", kind), Answer::NoData(apex));
        assert_eq!(ask(&table, "x.19.0.16.172.in-addr.arpa", kind), Answer::NoName(apex));
        assert_eq!(ask(&table, "33.0.16.172.in-addr.arpa", kind), Answer::Refused);
        assert_eq!(ask(&table, "0.16.172.in-addr.arpa", kind), Answer::Refused);
    }

    #[test]
    fn a_subnets_zones_are_as_large_as_fit_into_it() {
        let zones = |subnet: &str| reverse_zones(subnet.parse().unwrap()).collect::<Vec<_>>();
        assert_eq!(zones("172.16.9.1/16"), ["16.172.in-addr.arpa"]);
        assert_eq!(zones("172.16.9.1/24"), ["9.16.172.in-addr.arpa"]);
        assert_eq!(zones("172.16.8.1/23"), ["8.16.172.in-addr.arpa", "9.16.172.in-addr.arpa"]);
        assert_eq!(zones("172.16.0.17/30")[0], "16.0.16.172.in-addr.arpa");
        // Each is one that the table answers for.
        for subnet in ["172.16.9.1/16", "172.16.8.1/22", "172.16.0.17/28"] {
            let table = Table::new(subnet.parse().unwrap(), 1, []);
            let heads = reverse_zones(table.subnet())
                .map(|zone| matches!(ask(&table, &zone, RecordKind::Soa), Answer::Soa(_)));
            assert!(heads.collect::<Vec<_>>().iter().all(|is_head| *is_head), "{subnet}");
        }
    }

    fn kinds() -> impl Strategy<Value = RecordKind> {
        prop::sample::select(vec![
            RecordKind::A,
            RecordKind::Ptr,
            RecordKind::Soa,
            RecordKind::Ns,
            RecordKind::Any,
            RecordKind::Transfer,
            RecordKind::Other,
        ])
    }

    proptest! {
        #[test]
        fn any_labels_are_answered_and_an_apex_is_within_the_name(
            labels in prop::collection::vec(prop_oneof![
                prop::collection::vec(any::<u8>(), 1..64),
                prop::sample::select(vec!["vm", "arpa", "in-addr", "otter", "172", "16", "0", "2"])
                    .prop_map(|label| label.as_bytes().to_vec()),
            ], 0..10),
            prefix in 16u8..=30,
            kind in kinds(),
        ) {
            let table =
                table(&format!("172.16.0.1/{prefix}"), &[("otter", [172, 16, 0, 2])]);
            match table.lookup(labels.iter().map(Vec::as_slice), kind) {
                Answer::Soa(apex) | Answer::Ns(apex) | Answer::Head(apex)
                | Answer::NoData(apex) | Answer::NoName(apex) => {
                    prop_assert!((1..=labels.len()).contains(&usize::from(apex.labels)));
                }
                Answer::Address(_) | Answer::Pointer(_) | Answer::Refused => {}
            }
        }

        #[test]
        fn every_vm_is_found_both_ways_and_no_other_is(
            running in prop::collection::btree_map("[a-z]([a-z0-9-]{0,61}[a-z0-9])?", any::<u16>(), 0..40),
            stranger in "[a-z]{1,8}",
        ) {
            let mut seen = BTreeSet::new();
            let running: Vec<Entry> = running
                .iter()
                .filter(|(_, low)| seen.insert(**low))
                .map(|(name, low)| entry(name, Ipv4Addr::from_bits(0xac10_0000 | u32::from(*low)), Scope::All))
                .collect();
            let table = Table::new("172.16.0.1/16".parse().unwrap(), 1, running.clone());
            prop_assert_eq!(table.len(), running.len());
            for Entry { name, ip, .. } in &running {
                let asked = format!("{name}.vm");
                prop_assert_eq!(ask(&table, &asked.to_uppercase(), RecordKind::A), Answer::Address(*ip));
                let [a, b, c, d] = ip.address().octets();
                let reverse = format!("{d}.{c}.{b}.{a}.in-addr.arpa");
                prop_assert_eq!(ask(&table, &reverse, RecordKind::Ptr), Answer::Pointer(name));
            }
            if running.iter().all(|entry| entry.name.as_str() != stranger) {
                let asked = format!("{stranger}.vm");
                prop_assert_eq!(ask(&table, &asked, RecordKind::A), Answer::NoName(VM_APEX));
            }
        }
    }
}
