//! The text of the tables.
//!
//! | who | reaches |
//! |---|---|
//! | a guest with NAT | the bridge's address, other guests with NAT, the world; the host's other addresses if that is allowed |
//! | a guest without | the bridge's address |
//! | either | nothing at 169.254.0.0/16, nothing but IPv4 and ARP, nothing as somebody else |
//!
//! What answers the host is let through; a guest without NAT is asked by ssh that way.

use super::super::nftable::{self, Family};
use banger_core::names::{IfName, TableName};
use banger_core::net::Subnet;
use banger_core::resource::{HostAccess, Member};
use std::fmt::{Display, Write};
use std::num::NonZeroU16;

/// The families that have a table, by their words in a script.
pub(super) const FAMILIES: [(&str, Family); 2] = [("ip", Family::Ip), ("bridge", Family::Bridge)];

/// What the tables say.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Rules<'a> {
    /// The tables.
    pub(in super::super) table: &'a TableName,
    /// The bridge that the guests are on.
    pub(in super::super) bridge: &'a IfName,
    /// Its subnet.
    pub(in super::super) subnet: Subnet,
    /// What the names of all TAPs of the instance begin with.
    pub(in super::super) taps: &'a str,
    /// The guests, sorted.
    pub(in super::super) members: &'a [Member],
    /// Which of the host's addresses they reach.
    pub(in super::super) host_access: HostAccess,
    /// Where queries for the bridge's own address are answered.
    pub(in super::super) dns_port: Option<NonZeroU16>,
}

/// `delete` fails for a table that is not there; adding it first makes the script idempotent.
pub(super) fn render_absence(family: &str, table: &TableName) -> String {
    format!("add table {family} {table}\ndelete table {family} {table}\n")
}

/// A table that asks for no more than the hooks that are needed.
pub(super) fn render_probe(family: &str) -> String {
    let chain =
        "  chain c {\n    type filter hook prerouting priority filter; policy accept;\n  }\n";
    format!("table {family} banger_probe {{\n{chain}}}\n")
}

impl Rules<'_> {
    /// Whether a guest reaches beyond the bridge.
    pub(super) fn has_nat(&self) -> bool {
        self.members.iter().any(|member| member.nat)
    }

    /// The comment that tells tables with these rules from others.
    pub(super) fn fingerprint(&self) -> String {
        let text = self.routed() + &self.bridged();
        format!("banger {:016x}", nftable::fingerprint(&text))
    }

    /// For tables that are not there; it fails if one is after all. Making them absent first would
    /// be as right, but a deletion has the kernel wait for every reader of the old rules (an RCU
    /// grace period): 12 ms of 18 on Linux 6.18, while a VM starts.
    ///
    /// nft 1.0.6 takes a whole table after `create` and leaves out all of it but the comment.
    pub(super) fn render_creation(&self, comment: &str) -> String {
        let Self { table, .. } = self;
        let mut script = String::new();
        for (family, body) in self.bodies() {
            write!(
                script,
                "create table {family} {table} {{\n  comment \"{comment}\"\n}}\n\
                 table {family} {table} {{\n{body}}}\n"
            )
            .expect(STRING);
        }
        script
    }

    pub(super) fn render_replacement(&self, comment: &str) -> String {
        let Self { table, .. } = self;
        let mut script = String::new();
        for (family, body) in self.bodies() {
            let absence = render_absence(family, table);
            write!(
                script,
                "{absence}table {family} {table} {{\n  comment \"{comment}\"\n{body}}}\n"
            )
            .expect(STRING);
        }
        script
    }

    fn bodies(&self) -> [(&'static str, String); 2] {
        let [(routed, _), (bridged, _)] = FAMILIES;
        [(routed, self.routed()), (bridged, self.bridged())]
    }

    fn with_nat(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| member.nat)
    }

    /// Family `ip`: what goes to the host and through it.
    ///
    /// With br_netfilter, frames between two guests come through `forward` as well.
    fn routed(&self) -> String {
        let Self { bridge, subnet, .. } = self;
        let guests = render_set("guests", "ipv4_addr", self.with_nat().map(|member| member.ip));
        let gateway = subnet.gateway();
        let network = format!("{}/{}", subnet.network(), subnet.prefix());
        let names = self.names();
        let outsiders = match self.host_access {
            HostAccess::Gateway => "",
            HostAccess::Any => " ip saddr != @guests",
        };
        format!(
            r#"{guests}  chain forward {{
    type filter hook forward priority filter; policy accept;
    iifname "{bridge}" ip daddr 169.254.0.0/16 drop
    iifname "{bridge}" oifname "{bridge}" ip saddr @guests ip daddr @guests accept
    iifname "{bridge}" oifname != "{bridge}" ip saddr @guests accept
    iifname != "{bridge}" oifname "{bridge}" ip daddr @guests ct state established,related accept
    iifname "{bridge}" drop
    oifname "{bridge}" drop
  }}
  chain input {{
    type filter hook input priority filter; policy accept;
    iifname "{bridge}" ct state established,related accept
    iifname "{bridge}"{outsiders} ip daddr != {gateway} drop
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr @guests oifname != "{bridge}" ip daddr != {network} masquerade
  }}
{names}"#
        )
    }

    /// Turns guests' DNS queries to where they are answered, since the daemon may not have a port
    /// below 1024. A resolver file can name no port, so the guests ask the usual one.
    ///
    /// Another server on the bridge's port 53 is not reached by guests while this stands.
    fn names(&self) -> String {
        let Self { bridge, .. } = self;
        let Some(port) = self.dns_port else { return String::new() };
        let gateway = self.subnet.gateway();
        let turn = |transport: &str| {
            format!(
                "    iifname \"{bridge}\" ip daddr {gateway} {transport} dport 53 redirect to :{port}\n"
            )
        };
        format!(
            "  chain prerouting {{\n    type nat hook prerouting priority dstnat; policy accept;\n\
             {}{}  }}\n",
            turn("udp"),
            turn("tcp"),
        )
    }

    /// Family `bridge`: what may enter it from a TAP, and between which TAPs.
    ///
    /// A TAP is told by its name and not by the bridge that it is on (`meta ibrname`), which needs
    /// a part of the kernel more, and so one that is on no list of members is guarded too.
    fn bridged(&self) -> String {
        let Self { taps, .. } = self;
        let addresses = self
            .members
            .iter()
            .map(|Member { ip, mac, tap, .. }| format!("\"{tap}\" . {mac} . {ip}"));
        let members = render_set("members", "ifname . ether_addr . ipv4_addr", addresses);
        let neighbours = self.with_nat().map(|member| format!("\"{}\"", member.tap));
        let neighbours = render_set("neighbours", "ifname", neighbours);
        format!(
            r#"{members}{neighbours}  chain prerouting {{
    type filter hook prerouting priority filter; policy accept;
    iifname != "{taps}*" accept
    ether type ip iifname . ether saddr . ip saddr @members accept
    ether type arp arp htype 1 arp ptype ip arp hlen 6 arp plen 4 jump claims
    drop
  }}
  chain claims {{
    iifname . ether saddr . arp saddr ip != @members drop
    iifname . arp saddr ether . arp saddr ip @members accept
  }}
  chain forward {{
    type filter hook forward priority filter; policy accept;
    iifname "{taps}*" iifname != @neighbours drop
    oifname "{taps}*" oifname != @neighbours drop
  }}
"#
        )
    }
}

const STRING: &str = "a string takes all";

fn render_set(name: &str, kind: &str, elements: impl Iterator<Item = impl Display>) -> String {
    let mut set = format!("  set {name} {{\n    type {kind}\n");
    let elements: Vec<String> = elements.map(|element| element.to_string()).collect();
    if !elements.is_empty() {
        writeln!(set, "    elements = {{ {} }}", elements.join(", ")).expect(STRING);
    }
    set + "  }\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use banger_core::id::VmId;
    use banger_core::names::Layout;
    use banger_core::net::MacAddr;
    use std::net::Ipv4Addr;

    fn layout() -> Layout {
        Layout::new("/state".into(), "/run/b".into()).unwrap()
    }

    fn member(last: u8, nat: bool) -> Member {
        let ip = Ipv4Addr::new(172, 16, 0, last).into();
        let tap = layout().tap(&VmId::from_entropy(last.into()));
        Member { ip, mac: MacAddr::for_ip(ip), tap, nat }
    }

    fn with<T>(members: &[Member], host_access: HostAccess, see: impl Fn(&Rules<'_>) -> T) -> T {
        let layout = layout();
        see(&Rules {
            table: &layout.nft_table(),
            bridge: &IfName::try_from("banger0".to_owned()).unwrap(),
            subnet: "172.16.0.1/24".parse().unwrap(),
            taps: &layout.tap_prefix(),
            members,
            host_access,
            dns_port: None,
        })
    }

    /// The same rules with a port on which names are answered.
    fn with_names<T>(port: u16, see: impl Fn(&Rules<'_>) -> T) -> T {
        with(&[member(2, true)], HostAccess::Gateway, |rules| {
            see(&Rules { dns_port: NonZeroU16::new(port), ..*rules })
        })
    }

    fn replacement(members: &[Member], host_access: HostAccess) -> String {
        with(members, host_access, |rules| rules.render_replacement("banger 0"))
    }

    #[test]
    fn the_tables_are_replaced_in_one_transaction() {
        let members = [member(2, true), member(3, true), member(4, false)];
        insta::assert_snapshot!(replacement(&members, HostAccess::Gateway), @r#"
        add table ip banger_v3r02
        delete table ip banger_v3r02
        table ip banger_v3r02 {
          comment "banger 0"
          set guests {
            type ipv4_addr
            elements = { 172.16.0.2, 172.16.0.3 }
          }
          chain forward {
            type filter hook forward priority filter; policy accept;
            iifname "banger0" ip daddr 169.254.0.0/16 drop
            iifname "banger0" oifname "banger0" ip saddr @guests ip daddr @guests accept
            iifname "banger0" oifname != "banger0" ip saddr @guests accept
            iifname != "banger0" oifname "banger0" ip daddr @guests ct state established,related accept
            iifname "banger0" drop
            oifname "banger0" drop
          }
          chain input {
            type filter hook input priority filter; policy accept;
            iifname "banger0" ct state established,related accept
            iifname "banger0" ip daddr != 172.16.0.1 drop
          }
          chain postrouting {
            type nat hook postrouting priority srcnat; policy accept;
            ip saddr @guests oifname != "banger0" ip daddr != 172.16.0.0/24 masquerade
          }
        }
        add table bridge banger_v3r02
        delete table bridge banger_v3r02
        table bridge banger_v3r02 {
          comment "banger 0"
          set members {
            type ifname . ether_addr . ipv4_addr
            elements = { "bv3r02t00000002" . 06:00:ac:10:00:02 . 172.16.0.2, "bv3r02t00000003" . 06:00:ac:10:00:03 . 172.16.0.3, "bv3r02t00000004" . 06:00:ac:10:00:04 . 172.16.0.4 }
          }
          set neighbours {
            type ifname
            elements = { "bv3r02t00000002", "bv3r02t00000003" }
          }
          chain prerouting {
            type filter hook prerouting priority filter; policy accept;
            iifname != "bv3r02t*" accept
            ether type ip iifname . ether saddr . ip saddr @members accept
            ether type arp arp htype 1 arp ptype ip arp hlen 6 arp plen 4 jump claims
            drop
          }
          chain claims {
            iifname . ether saddr . arp saddr ip != @members drop
            iifname . arp saddr ether . arp saddr ip @members accept
          }
          chain forward {
            type filter hook forward priority filter; policy accept;
            iifname "bv3r02t*" iifname != @neighbours drop
            oifname "bv3r02t*" oifname != @neighbours drop
          }
        }
        "#);
    }

    #[test]
    fn new_tables_are_made_without_a_deletion_and_have_the_same_rules() {
        let members = [member(2, true)];
        let script = with(&members, HostAccess::Gateway, |rules| rules.render_creation("banger 0"));
        assert!(!script.contains("delete"), "{script}");
        for family in ["ip", "bridge"] {
            let heads = format!(
                "create table {family} banger_v3r02 {{\n  comment \"banger 0\"\n}}\n\
                 table {family} banger_v3r02 {{\n  set"
            );
            assert!(script.contains(&heads), "{script}");
        }
        let rules = |text: &str| -> Vec<String> {
            let lines = text.lines().filter(|line| line.starts_with("    "));
            lines.map(str::to_owned).collect()
        };
        assert_eq!(rules(&script), rules(&replacement(&members, HostAccess::Gateway)));
    }

    #[test]
    fn without_guests_nothing_passes() {
        let text = replacement(&[], HostAccess::Gateway);
        assert!(!text.contains("elements"), "{text}");
        assert!(text.contains("iifname \"banger0\" drop"), "{text}");
    }

    #[test]
    fn with_access_to_the_host_only_guests_without_nat_are_held_to_the_bridges_address() {
        let text = replacement(&[member(2, true)], HostAccess::Any);
        let rule = "iifname \"banger0\" ip saddr != @guests ip daddr != 172.16.0.1 drop";
        assert!(text.contains(rule), "{text}");
    }

    #[test]
    fn queries_for_the_bridges_address_are_turned_to_who_answers() {
        let text = with_names(42_069, |rules| rules.render_replacement("banger 0"));
        let (_, rest) = text.split_once("  chain prerouting {\n").unwrap();
        let (chain, _) = rest.split_once("  }\n").unwrap();
        insta::assert_snapshot!(chain, @r#"
        type nat hook prerouting priority dstnat; policy accept;
        iifname "banger0" ip daddr 172.16.0.1 udp dport 53 redirect to :42069
        iifname "banger0" ip daddr 172.16.0.1 tcp dport 53 redirect to :42069
        "#);
        assert!(!replacement(&[member(2, true)], HostAccess::Gateway).contains("redirect"));
    }

    #[test]
    fn the_fingerprint_follows_guests_their_nat_the_access_and_the_port() {
        let print = |members: &[Member], access| with(members, access, |rules| rules.fingerprint());
        let first = print(&[member(2, true)], HostAccess::Gateway);
        assert_eq!(first, print(&[member(2, true)], HostAccess::Gateway));
        for (members, access) in [
            ([member(3, true)], HostAccess::Gateway),
            ([member(2, false)], HostAccess::Gateway),
            ([member(2, true)], HostAccess::Any),
        ] {
            assert_ne!(first, print(&members, access));
        }
        let ports = [1, 2].map(|port| with_names(port, |rules| rules.fingerprint()));
        assert!(ports[0] != ports[1] && !ports.contains(&first));
    }
}
