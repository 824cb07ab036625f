//! Who holds a port of this machine, as far as `/proc` tells.

use banger_core::listen::{end_point, listening_state};
use banger_core::net::Protocol;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

/// A process that listens on a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its process id.
    pub pid: u32,
    /// Its program's name.
    pub program: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` (pid {})", self.program, self.pid)
    }
}

/// The tables of sockets (proc_net_tcp(5)).
const TABLES: [(&str, Protocol); 4] = [
    ("/proc/self/net/udp", Protocol::Udp),
    ("/proc/self/net/udp6", Protocol::Udp),
    ("/proc/self/net/tcp", Protocol::Tcp),
    ("/proc/self/net/tcp6", Protocol::Tcp),
];

/// Who holds something, for the end of a sentence.
pub fn holder_in_words(holder: Option<Holder>) -> String {
    holder.map_or_else(|| "a process that cannot be seen".to_owned(), |holder| holder.to_string())
}

/// The process that listens on the address, or on its port of all addresses, by one of the
/// protocols. `None` also where it is another user's and so cannot be seen.
///
/// Reads all of `/proc`, which takes milliseconds.
pub fn port_holder(protocols: &[Protocol], address: SocketAddr) -> Option<Holder> {
    let mut inodes = BTreeSet::new();
    for (path, protocol) in TABLES.into_iter().filter(|(_, known)| protocols.contains(known)) {
        let text = fs::read_to_string(path).unwrap_or_default();
        inodes.extend(text.lines().filter_map(|line| inode_of(line, protocol, address)));
    }
    if inodes.is_empty() {
        return None;
    }
    let mut pids =
        fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| pid_of(&entry.file_name()));
    let pid = pids.find(|pid| has_socket(*pid, &inodes))?;
    let program = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(Holder { pid, program: program.trim_end().to_owned() })
}

fn pid_of(name: &OsStr) -> Option<u32> {
    name.to_str()?.parse().ok()
}

/// The inode of a line's socket, if it stands in the address's way.
fn inode_of(line: &str, protocol: Protocol, wanted: SocketAddr) -> Option<String> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let [_, local, _, state, _, _, _, _, _, inode, ..] = *fields else { return None };
    let (ip, port) = end_point(local)?;
    let is_ip = ip == wanted.ip() || ip.is_unspecified() || wanted.ip().is_unspecified();
    let listens = state == listening_state(protocol);
    (port == wanted.port() && is_ip && listens).then(|| inode.to_owned())
}

fn has_socket(pid: u32, inodes: &BTreeSet<String>) -> bool {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    descriptors
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .any(|target| socket_inode(&target).is_some_and(|inode| inodes.contains(inode)))
}

fn socket_inode(target: &Path) -> Option<&str> {
    target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, UdpSocket};

    #[test]
    fn a_port_that_this_process_holds_is_found_by_its_own_protocol_alone() {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let tcp = TcpListener::bind("[::]:0").unwrap();
        let is_ours = |protocols: &[Protocol], address: SocketAddr| {
            let asked = SocketAddr::from(([127, 0, 0, 1], address.port()));
            let holder = port_holder(protocols, asked);
            assert!(holder.iter().all(|holder| !holder.program.is_empty()));
            holder.is_some_and(|holder| holder.pid == std::process::id())
        };
        let (by_udp, by_tcp) = (udp.local_addr().unwrap(), tcp.local_addr().unwrap());
        for (protocol, own, other) in
            [(Protocol::Udp, by_udp, by_tcp), (Protocol::Tcp, by_tcp, by_udp)]
        {
            assert!(is_ours(&[protocol], own), "{own}");
            assert!(is_ours(&[Protocol::Udp, Protocol::Tcp], own), "{own}");
            // The two are the same number once in a while.
            let is_same = own.port() == other.port();
            assert_eq!(is_ours(&[protocol], other), is_same, "{other}");
        }
        drop(udp);
        assert!(!is_ours(&[Protocol::Udp], by_udp));
    }

    #[test]
    fn a_socket_is_in_the_way_on_the_same_address_or_on_all() {
        let line =
            "  1: 0100007F:A455 00000000:0000 07 00000000:00000000 00:00000000 00000000 0 0 4711 2";
        let wanted = |address: &str| inode_of(line, Protocol::Udp, address.parse().unwrap());
        assert_eq!(wanted("127.0.0.1:42069").as_deref(), Some("4711"));
        assert_eq!(wanted("0.0.0.0:42069").as_deref(), Some("4711"));
        assert_eq!(wanted("127.0.0.2:42069"), None);
        assert_eq!(wanted("127.0.0.1:42070"), None);
        assert_eq!(inode_of(line, Protocol::Tcp, "127.0.0.1:42069".parse().unwrap()), None);
        let all = line.replace("0100007F", "00000000000000000000000000000000");
        assert!(inode_of(&all, Protocol::Udp, "127.0.0.1:42069".parse().unwrap()).is_some());
    }
}
