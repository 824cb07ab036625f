//! The host's name servers: for guests, and for whom their queries are passed on to.

use banger_core::net::Subnet;
use banger_dns::Upstreams;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::path::{Path, PathBuf};

/// Where a host's resolver configuration can be, best first. The others have the real servers where
/// the first names one of the host's own: systemd-resolved's or NetworkManager's.
const FILES: [&str; 3] = [
    "/etc/resolv.conf",
    "/run/systemd/resolve/resolv.conf",
    "/run/NetworkManager/no-stub-resolv.conf",
];

/// Where the kernel tells an interface's number.
const LINKS: &str = "/sys/class/net";
const PORT: u16 = 53;
/// A resolver uses no more (resolv.conf(5), MAXNS).
const MOST: usize = 3;

/// Name servers that guests can reach: those of the first file that names any. A file that cannot
/// be read names none.
pub fn host_nameservers() -> Vec<Ipv4Addr> {
    let v4 = |server: SocketAddr| match server.ip() {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    };
    let read = |path: &&str| std::fs::read_to_string(path).unwrap_or_default();
    let lists = FILES.iter().map(|path| parse(&read(path)).filter_map(v4).take(MOST).collect());
    lists.into_iter().find(|servers: &Vec<_>| !servers.is_empty()).unwrap_or_default()
}

/// The servers that the host asks at this moment.
///
/// The files are read anew for each query that is passed on. That takes some ten microseconds,
/// next to a question to another machine; and whoever rewrites, replaces or relinks them, as a VPN
/// does, is followed by the next query.
#[derive(Debug)]
pub struct HostServers {
    files: Vec<PathBuf>,
    own: Subnet,
}

impl HostServers {
    /// The host's, without what is in the bridge's own subnet: a query must not come back to us.
    pub fn new(own: Subnet) -> Self {
        Self { files: FILES.map(PathBuf::from).into(), own }
    }
}

impl Upstreams for HostServers {
    fn servers(&self) -> Vec<SocketAddr> {
        let lists = self.files.iter().map(|path| {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            let others = parse(&text).filter(|server| !is_within(self.own, server.ip()));
            others.take(MOST).collect()
        });
        lists.into_iter().find(|servers: &Vec<_>| !servers.is_empty()).unwrap_or_default()
    }
}

/// Servers of the configuration's.
#[derive(Debug)]
pub struct FixedServers(Vec<SocketAddr>);

impl FixedServers {
    /// These servers.
    pub fn new(servers: &[Ipv4Addr]) -> Self {
        Self(servers.iter().map(|address| SocketAddr::from((*address, PORT))).collect())
    }
}

impl Upstreams for FixedServers {
    fn servers(&self) -> Vec<SocketAddr> {
        self.0.clone()
    }
}

fn is_within(subnet: Subnet, address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(address) if subnet.contains(address))
}

/// The servers of a resolv.conf(5) that are not the host itself.
fn parse(text: &str) -> impl Iterator<Item = SocketAddr> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            (words.next()? == "nameserver").then(|| words.next()).flatten()
        })
        .filter_map(parse_server)
        .filter(|server| !server.ip().is_loopback() && !server.ip().is_unspecified())
}

/// An address; one of a link's own, as a router gives, has the interface's name behind it.
fn parse_server(text: &str) -> Option<SocketAddr> {
    let Some((address, link)) = text.split_once('%') else {
        return Some(SocketAddr::new(text.parse().ok()?, PORT));
    };
    let address: Ipv6Addr = address.parse().ok()?;
    let number = Path::new(LINKS).join(link).join("ifindex");
    let index = std::fs::read_to_string(number).ok()?.trim().parse().ok()?;
    Some(SocketAddrV6::new(address, PORT, 0, index).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn shown(servers: impl IntoIterator<Item = SocketAddr>) -> Vec<String> {
        servers.into_iter().map(|server| server.to_string()).collect()
    }

    #[test]
    fn servers_that_are_the_host_itself_are_left_out() {
        let text = "# nameserver 1.1.1.1\nsearch lan\nnameserver 127.0.0.53\nnameserver ::1\n\
                    nameserver fe80::1%no-such-link\nnameserver 9.9.9.9\nnameserver fe80::1%lo\n\
                    nameserver 0.0.0.0\nnameserver\t10.0.0.1 # lan\nnameserver\nnameserver 1.1\n";
        let found = shown(parse(text));
        assert_eq!(found, ["9.9.9.9:53", "[fe80::1%1]:53", "10.0.0.1:53"]);
        assert_eq!(shown(parse("")), [""; 0]);
    }

    #[test]
    fn a_changed_file_is_followed_and_an_own_address_is_not_asked() {
        let dir = tempfile::tempdir().unwrap();
        let files = ["resolv.conf", "real.conf"].map(|name| dir.path().join(name));
        let own = "172.16.0.1/24".parse().unwrap();
        let servers = HostServers { files: files.clone().into(), own };
        assert_eq!(shown(servers.servers()), [""; 0], "there are no files");
        fs::write(&files[1], "nameserver 10.0.0.1\n").unwrap();
        fs::write(&files[0], "nameserver 127.0.0.53\nnameserver 172.16.0.1\n").unwrap();
        assert_eq!(shown(servers.servers()), ["10.0.0.1:53"], "the stub's own servers");
        fs::write(&files[1], "nameserver 10.8.0.1\n").unwrap();
        assert_eq!(shown(servers.servers()), ["10.8.0.1:53"]);
        let next = dir.path().join("next");
        fs::write(&next, "nameserver 9.9.9.9\n").unwrap();
        fs::rename(&next, &files[0]).unwrap();
        assert_eq!(shown(servers.servers()), ["9.9.9.9:53"], "replaced, as most do it");
    }
}
