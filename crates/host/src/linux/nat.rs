//! The instance's nft table: which guests reach beyond the bridge.
//!
//! The table is rendered from the set of guests and replaced in one transaction, so no packet ever
//! meets half of it. Its comment is a fingerprint of the rules; a table with the right one is left
//! alone. Rules that somebody edits inside the table are therefore not seen; a table that somebody
//! deleted is.
//!
//! An `accept` here cannot undo a `drop` in another table (nft evaluates every base chain): a host
//! whose own FORWARD policy is `drop` has to let the bridge through itself.

use super::nftable::{self, Table, fingerprint};
use crate::cmd::Cmd;
use crate::{Change, HostError};
use banger_core::names::{IfName, TableName};
use banger_core::net::{GuestIp, Subnet};
use std::fmt::Write;
use std::fs;

const IP_FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";

/// What the table says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules<'a> {
    /// The bridge that the guests are on.
    pub(super) bridge: &'a IfName,
    /// Its subnet.
    pub(super) subnet: Subnet,
    /// The guests that reach beyond it, sorted.
    pub(super) guests: &'a [GuestIp],
}

/// Puts the table in place. With guests in it, the host is made to forward IPv4, which is never
/// undone: others may have come to rely on it.
pub(super) fn ensure(table: &TableName, rules: &Rules<'_>) -> Result<Change, HostError> {
    let body = render_body(rules);
    let comment = format!("banger {:016x}", fingerprint(&body));
    let forwarding = if rules.guests.is_empty() { Change::Unchanged } else { ensure_forwarding()? };
    match find(table)? {
        Some(found) if found.comment.as_ref() == Some(&comment) => return Ok(forwarding),
        Some(_) => replace(table, &comment, &body)?,
        None => match apply(&render_creation(table, &comment, &body)) {
            // Somebody was quicker; the rules still have to be these.
            Err(_) if find(table)?.is_some() => replace(table, &comment, &body)?,
            made => made.map_err(HostError::program("make the nft table", table))?,
        },
    }
    Ok(Change::Changed)
}

/// Removes the table.
pub(super) fn remove(table: &TableName) -> Result<Change, HostError> {
    if find(table)?.is_none() {
        return Ok(Change::Unchanged);
    }
    apply(&render_absence(table)).map_err(HostError::program("delete the nft table", table))?;
    Ok(Change::Changed)
}

fn find(table: &TableName) -> Result<Option<Table>, HostError> {
    nftable::find(table).map_err(HostError::io("look at the nft table", table))
}

fn replace(table: &TableName, comment: &str, body: &str) -> Result<(), HostError> {
    apply(&render_replacement(table, comment, body))
        .map_err(HostError::program("replace the nft table", table))
}

fn apply(script: &str) -> Result<(), crate::cmd::CmdError> {
    Cmd::new("nft").args(["-f", "-"]).stdin_bytes(script.as_bytes().to_vec()).run().map(drop)
}

fn ensure_forwarding() -> Result<Change, HostError> {
    let is = fs::read_to_string(IP_FORWARD).map_err(HostError::io("read", IP_FORWARD))?;
    if is.trim() != "0" {
        return Ok(Change::Unchanged);
    }
    fs::write(IP_FORWARD, "1").map_err(HostError::io("enable forwarding in", IP_FORWARD))?;
    tracing::info!("IPv4 forwarding is now on");
    Ok(Change::Changed)
}

/// `delete` fails for a table that is not there; adding it first makes the script idempotent.
fn render_absence(table: &TableName) -> String {
    format!("add table ip {table}\ndelete table ip {table}\n")
}

/// For a table that is not there; it fails if there is one after all. Making it absent first would
/// be as right, but a deletion has the kernel wait for every reader of the old rules (an RCU grace
/// period): 12 ms of 18 on Linux 6.18, while a VM starts.
///
/// nft 1.0.6 takes a whole table after `create` and leaves out all of it but the comment.
fn render_creation(table: &TableName, comment: &str, body: &str) -> String {
    format!(
        "create table ip {table} {{\n  comment \"{comment}\"\n}}\ntable ip {table} {{\n{body}}}\n"
    )
}

fn render_replacement(table: &TableName, comment: &str, body: &str) -> String {
    let absence = render_absence(table);
    format!("{absence}table ip {table} {{\n  comment \"{comment}\"\n{body}}}\n")
}

fn render_body(Rules { bridge, subnet, guests }: &Rules<'_>) -> String {
    let mut body = String::from("  set guests {\n    type ipv4_addr\n");
    if !guests.is_empty() {
        let list: Vec<String> = guests.iter().map(GuestIp::to_string).collect();
        writeln!(body, "    elements = {{ {} }}", list.join(", ")).expect("a string takes all");
    }
    let gateway = subnet.gateway();
    let network = format!("{}/{}", subnet.network(), subnet.prefix());
    write!(
        body,
        r#"  }}
  chain forward {{
    type filter hook forward priority filter; policy accept;
    iifname "{bridge}" oifname "{bridge}" accept
    iifname "{bridge}" ip daddr 169.254.0.0/16 drop
    iifname "{bridge}" ip saddr @guests accept
    oifname "{bridge}" ip daddr @guests ct state established,related accept
    iifname "{bridge}" drop
    oifname "{bridge}" drop
  }}
  chain input {{
    type filter hook input priority filter; policy accept;
    iifname "{bridge}" ip saddr != @guests ip daddr != {gateway} drop
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr @guests oifname != "{bridge}" ip daddr != {network} masquerade
  }}
"#
    )
    .expect("a string takes all");
    body
}

#[cfg(test)]
mod tests {
    use super::*;
    use banger_core::names::Layout;
    use std::net::Ipv4Addr;

    fn rendered(guests: &[GuestIp]) -> String {
        let bridge = IfName::try_from("banger0".to_owned()).unwrap();
        let layout = Layout::new("/state".into(), "/run/b".into()).unwrap();
        let subnet = "172.16.0.1/24".parse().unwrap();
        let body = render_body(&Rules { bridge: &bridge, subnet, guests });
        render_replacement(&layout.nat_table(), "banger 0", &body)
    }

    fn guest(last: u8) -> GuestIp {
        Ipv4Addr::new(172, 16, 0, last).into()
    }

    #[test]
    fn the_table_is_replaced_in_one_transaction() {
        insta::assert_snapshot!(rendered(&[guest(2), guest(3)]), @r#"
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
            iifname "banger0" oifname "banger0" accept
            iifname "banger0" ip daddr 169.254.0.0/16 drop
            iifname "banger0" ip saddr @guests accept
            oifname "banger0" ip daddr @guests ct state established,related accept
            iifname "banger0" drop
            oifname "banger0" drop
          }
          chain input {
            type filter hook input priority filter; policy accept;
            iifname "banger0" ip saddr != @guests ip daddr != 172.16.0.1 drop
          }
          chain postrouting {
            type nat hook postrouting priority srcnat; policy accept;
            ip saddr @guests oifname != "banger0" ip daddr != 172.16.0.0/24 masquerade
          }
        }
        "#);
    }

    #[test]
    fn a_new_table_is_made_without_a_deletion_and_has_the_same_rules() {
        let table = Layout::new("/state".into(), "/run/b".into()).unwrap().nat_table();
        let script = render_creation(&table, "banger 0", "  chain forward {\n  }\n");
        insta::assert_snapshot!(script, @r#"
        create table ip banger_v3r02 {
          comment "banger 0"
        }
        table ip banger_v3r02 {
          chain forward {
          }
        }
        "#);
    }

    #[test]
    fn without_guests_nothing_passes() {
        let text = rendered(&[]);
        assert!(!text.contains("elements"), "{text}");
        assert!(text.contains("iifname \"banger0\" drop"), "{text}");
    }

    #[test]
    fn the_fingerprint_follows_the_guests() {
        let print = |guests: &[GuestIp]| fingerprint(&rendered(guests));
        assert_ne!(print(&[guest(2)]), print(&[guest(3)]));
        assert_eq!(print(&[guest(2)]), print(&[guest(2)]));
    }
}
