//! The host's name servers, for guests.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

/// Where a host's resolver configuration can be, best first. The second has the real servers where
/// the first names systemd-resolved's own address, which guests cannot reach.
const FILES: [&str; 2] = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];

/// Name servers that guests can reach: those of the first file that names any. A file that cannot
/// be read names none.
pub fn host_nameservers() -> Vec<Ipv4Addr> {
    let read = |path: &str| std::fs::read_to_string(Path::new(path)).unwrap_or_default();
    let lists = FILES.iter().map(|path| parse(&read(path)));
    lists.into_iter().find(|servers| !servers.is_empty()).unwrap_or_default()
}

/// The IPv4 servers of a resolv.conf(5) that are not the host itself; at most three, as a resolver
/// uses no more.
fn parse(text: &str) -> Vec<Ipv4Addr> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            (words.next()? == "nameserver").then(|| words.next()).flatten()
        })
        .filter_map(|address| match address.parse() {
            Ok(IpAddr::V4(address)) if !address.is_loopback() && !address.is_unspecified() => {
                Some(address)
            }
            _ => None,
        })
        .take(3)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_that_a_guest_cannot_reach_are_left_out() {
        let text = "# nameserver 1.1.1.1\nsearch lan\nnameserver 127.0.0.53\n\
                    nameserver fe80::1%eth0\nnameserver 9.9.9.9\nnameserver\t10.0.0.1 # lan\n";
        assert_eq!(parse(text), [Ipv4Addr::new(9, 9, 9, 9), Ipv4Addr::new(10, 0, 0, 1)]);
        assert_eq!(parse(""), [] as [Ipv4Addr; 0]);
    }
}
