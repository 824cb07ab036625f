//! What a machine listens on, read from its kernel's tables of sockets (proc_net_tcp(5)).

use crate::net::Protocol;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU16;

/// The tables, in one text one after the other. Those of IPv6 are not there where it is off.
pub const TABLES: [&str; 4] =
    ["/proc/net/tcp", "/proc/net/tcp6", "/proc/net/udp", "/proc/net/udp6"];

/// A port that something listens on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listener {
    /// Its number.
    pub port: NonZeroU16,
    /// How it is spoken to.
    pub protocol: Protocol,
    /// Who reaches it.
    pub reach: Reach,
    /// The addresses on which it is open, `0.0.0.0` and `::` for all.
    pub addresses: BTreeSet<IpAddr>,
}

/// Who reaches a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// Only the machine itself: it is open on loopback addresses alone.
    Loopback,
    /// Others too.
    Network,
}

/// A text that is not the kernel's tables.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TablesError {
    /// None of them is there.
    #[error("the kernel's tables of sockets are not there")]
    Missing,
    /// A line cannot be read.
    #[error("this is not a line of a table of sockets: `{line}`")]
    Line {
        /// The line.
        line: String,
    },
}

/// Reads the tables, and returns the ports in order. A table tells by its header whose it is: that
/// of UDP counts dropped packets.
///
/// A UDP socket without a peer counts as listening; one that only ever sends is among them.
pub fn read_tables(text: &str) -> Result<Vec<Listener>, TablesError> {
    let mut table = None;
    let mut found: BTreeMap<(NonZeroU16, Protocol), BTreeSet<IpAddr>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        if line.trim_start().starts_with("sl ") {
            let is_udp = line.trim_end().ends_with("drops");
            table = Some(if is_udp { Protocol::Udp } else { Protocol::Tcp });
            continue;
        }
        let protocol = table.ok_or(TablesError::Missing)?;
        let socket = Socket::read(line).ok_or_else(|| TablesError::Line { line: line.into() })?;
        if let Some((address, port)) = socket.listening(protocol) {
            found.entry((port, protocol)).or_default().insert(address);
        }
    }
    table.ok_or(TablesError::Missing)?;
    Ok(found.into_iter().map(listener).collect())
}

fn listener(found: ((NonZeroU16, Protocol), BTreeSet<IpAddr>)) -> Listener {
    let ((port, protocol), addresses) = found;
    let reach =
        if addresses.iter().all(IpAddr::is_loopback) { Reach::Loopback } else { Reach::Network };
    Listener { port, protocol, reach, addresses }
}

/// One line of a table.
#[derive(Debug)]
struct Socket<'a> {
    address: IpAddr,
    port: u16,
    peer_port: u16,
    state: &'a str,
}

impl<'a> Socket<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (address, port) = end_point(fields.next()?)?;
        let (_, peer_port) = end_point(fields.next()?)?;
        Some(Self { address, port, peer_port, state: fields.next()? })
    }

    /// Where it listens, if it does.
    fn listening(&self, protocol: Protocol) -> Option<(IpAddr, NonZeroU16)> {
        let port = NonZeroU16::new(self.port)?;
        (self.state == listening_state(protocol) && self.peer_port == 0)
            .then_some((self.address, port))
    }
}

/// How a table shows the state of a socket that listens: of TCP `LISTEN`, and of UDP, which knows
/// no such state, that it has no peer.
pub const fn listening_state(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "0A",
        Protocol::Udp => "07",
    }
}

/// One end of a socket as a table shows it, `0100007F:0016`: the address as words in the byte order of the machine, which is the little
/// endian one on all that banger runs on, and the port.
pub fn end_point(text: &str) -> Option<(IpAddr, u16)> {
    let (address, port) = text.split_once(':')?;
    let word = |at: usize| u32::from_str_radix(address.get(at..at + 8)?, 16).ok();
    let ip = match address.len() {
        8 => IpAddr::from(Ipv4Addr::from(word(0)?.to_le_bytes())),
        32 => {
            let mut bytes = [0; 16];
            for (index, part) in bytes.chunks_exact_mut(4).enumerate() {
                part.copy_from_slice(&word(index * 8)?.to_le_bytes());
            }
            IpAddr::from(Ipv6Addr::from(bytes)).to_canonical()
        }
        _ => return None,
    };
    Some((ip, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// From a Debian guest, but for what comes after the state.
    const TEXT: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 900 1
   1: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 901 1
   2: 3600007F:0035 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 902 1
   3: 020010AC:0016 010010AC:D2F0 01 00000000:00000000 00:00000000 00000000     0        0 903 1
  sl  local_address                         remote_address                        st tx_queue inode
   0: 00000000000000000000000000000000:0016 00000000000000000000000000000000:0000 0A 00000000 904
   1: 00000000000000000000000001000000:0277 00000000000000000000000000000000:0000 0A 00000000 905
   2: 0000000000000000FFFF00000100007F:1F91 00000000000000000000000000000000:0000 0A 00000000 906
   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid inode ref drops
  10: 3600007F:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000   101        0 907 2 0
  11: 020010AC:B1C2 08080808:0035 01 00000000:00000000 00:00000000 00000000   101        0 908 2 0
  12: 020010AC:14E9 00000000:0000 07 00000000:00000000 00:00000000 00000000   101        0 909 2 0
";

    fn read(text: &str) -> Vec<String> {
        let shown = |it: Listener| {
            let addresses: Vec<String> = it.addresses.iter().map(IpAddr::to_string).collect();
            format!("{}/{} {:?} {}", it.port, it.protocol, it.reach, addresses.join(" "))
        };
        read_tables(text).unwrap().into_iter().map(shown).collect()
    }

    #[test]
    fn what_listens_is_told_with_who_reaches_it() {
        assert_eq!(
            read(TEXT),
            [
                "22/tcp Network 0.0.0.0 ::",
                "53/tcp Loopback 127.0.0.54",
                "53/udp Loopback 127.0.0.54",
                "631/tcp Loopback ::1",
                "5353/udp Network 172.16.0.2",
                "8080/tcp Loopback 127.0.0.1",
                "8081/tcp Loopback 127.0.0.1",
            ]
        );
    }

    #[test]
    fn a_port_that_is_open_to_one_other_address_is_not_the_machines_own() {
        let header = TEXT.lines().next().unwrap();
        let open = |address: &str| format!("0: {address}:1F90 00000000:0000 0A\n");
        let text = format!("{header}\n{}{}", open("0100007F"), open("020010AC"));
        assert_eq!(read(&text), ["8080/tcp Network 127.0.0.1 172.16.0.2"]);
    }

    #[test]
    fn a_machine_without_ipv6_has_the_others_and_one_without_tables_has_none() {
        let old: Vec<&str> = TEXT.lines().take(2).collect();
        assert_eq!(read(&old.join("\n")), ["22/tcp Network 0.0.0.0"]);
        assert_eq!(read_tables(""), Err(TablesError::Missing));
        assert_eq!(read_tables("cat: not found\n"), Err(TablesError::Missing));
    }

    #[test]
    fn a_line_that_is_torn_is_an_error_and_no_port_is_left_out_in_silence() {
        let torn = &TEXT[..TEXT.find(" 0A").unwrap()];
        let line = torn.lines().last().unwrap().to_owned();
        assert_eq!(read_tables(torn), Err(TablesError::Line { line }));
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in "(.{0,40}\n){0,3}") {
            let header = TEXT.lines().next().unwrap();
            let _outcome = read_tables(&format!("{header}\n{text}"));
        }

        #[test]
        fn any_address_is_read_without_a_panic(text in "[0-9A-Fé:]{0,40}") {
            let _outcome = end_point(&text);
        }
    }
}
