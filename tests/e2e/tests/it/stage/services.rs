//! The services of a host that have a say in its names and its network: the real programs, in the
//! namespaces of the calling thread, where their files and sockets are nobody else's.

use super::program::{Call, Running, tool};
use super::site::QUICK;
use super::until;
use rustix::mount::{MountFlags, mount, mount_bind};
use rustix::process::Signal;
use std::ffi::CStr;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

/// Where the bus listens.
const BUS: &str = "/run/dbus/system_bus_socket";
/// Where resolved keeps what it has been told, also for its next start.
const RESOLVED: &str = "/run/systemd/resolve";
/// How long a service may have run when it is told to end: longer than a test may.
const LIFE: Duration = Duration::from_secs(1800);
/// NetworkManager's own link: without one that has a server it starts no dnsmasq.
const UPLINK: &str = "uplink0";

/// A program that a host runs all the time. It ends with this.
#[derive(Debug)]
pub(crate) struct Service(Option<Running>);

impl Service {
    fn start(program: &str, args: &[&str]) -> Self {
        Self(Some(Call::new(program, args).start()))
    }

    /// Ends it in good order.
    #[track_caller]
    pub(crate) fn end(mut self) {
        let running = self.0.take().unwrap();
        running.signal(Signal::TERM);
        running.within(LIFE);
    }
}

/// Has a directory be an empty one of the test's own.
pub(crate) fn own_dir(path: &str) {
    fs::create_dir_all(path).unwrap();
    mount("tmpfs", path, "tmpfs", MountFlags::empty(), None::<&CStr>).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
}

/// The file that says whom a host's programs ask, for this test.
#[derive(Debug)]
pub(crate) struct ResolvConf(TempDir);

impl ResolvConf {
    /// One that names this server.
    pub(crate) fn naming(server: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        let conf = Self(dir);
        conf.name(server);
        mount_bind(conf.0.path().join("resolv.conf"), "/etc/resolv.conf").unwrap();
        conf
    }

    /// Programs that start from now on ask this server.
    pub(crate) fn name(&self, server: &str) {
        fs::write(self.0.path().join("resolv.conf"), format!("nameserver {server}\n")).unwrap();
    }
}

/// The system's bus.
pub(crate) fn start_bus() -> Service {
    own_dir("/run/dbus");
    let bus = Service::start("dbus-daemon", &["--system", "--nofork", "--nopidfile"]);
    until("the bus is there", QUICK, || Path::new(BUS).exists());
    bus
}

/// firewalld as Debian configures it, with none of what an earlier one was told. It needs the bus.
pub(crate) fn start_firewalld(limit: Duration) -> Service {
    let firewalld = Service::start("firewalld", &["--nofork", "--nopid"]);
    until("firewalld runs", limit, || {
        let state = Call::new("firewall-cmd", &["--state"]).start().within(QUICK);
        state.stdout() == "running\n"
    });
    firewalld
}

/// systemd-resolved, which knows nothing of an earlier one.
pub(crate) fn start_resolved() -> Service {
    own_dir(RESOLVED);
    tool("chown", &["systemd-resolve:systemd-resolve", RESOLVED]);
    Service::start("/lib/systemd/systemd-resolved", &[])
}

/// dnsmasq with all that is in its directory.
pub(crate) fn start_dnsmasq() -> Service {
    let args = [
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--conf-dir=/etc/dnsmasq.d",
        "--no-resolv",
        "--bind-interfaces",
        "--listen-address=127.0.0.1",
        "--pid-file",
    ];
    Service::start("dnsmasq", &args)
}

/// unbound as Debian configures it, with all that is in its directory.
pub(crate) fn start_unbound() -> Service {
    Service::start("unbound", &["-d", "-p"])
}

/// NetworkManager with a link to look after, which has a name server that nobody asks.
pub(crate) fn start_network_manager() -> Service {
    for dir in ["/run/NetworkManager", "/var/lib/NetworkManager", "/run/udev"] {
        own_dir(dir);
    }
    tool("ip", &["link", "add", UPLINK, "type", "veth", "peer", "name", "beyond0"]);
    for link in [UPLINK, "beyond0"] {
        tool("ip", &["link", "set", link, "up"]);
    }
    // There is no udev in this network, and NetworkManager waits until it has seen a link.
    let number = fs::read_to_string(format!("/sys/class/net/{UPLINK}/ifindex")).unwrap();
    fs::create_dir("/run/udev/data").unwrap();
    fs::write("/run/udev/control", "").unwrap();
    let seen = Path::new("/run/udev/data").join(format!("n{}", number.trim()));
    fs::write(seen, format!("E:ID_NET_NAME={UPLINK}\n")).unwrap();
    let managed = format!("[device-uplink]\nmatch-device=interface-name:{UPLINK}\nmanaged=1\n");
    fs::write("/etc/NetworkManager/conf.d/uplink.conf", managed).unwrap();
    own_dir("/etc/NetworkManager/system-connections");
    let connection = "/etc/NetworkManager/system-connections/uplink.nmconnection";
    let text = format!(
        "[connection]\nid=uplink\ntype=ethernet\ninterface-name={UPLINK}\n\
         [ipv4]\nmethod=manual\naddress1=10.9.9.2/24\ndns=10.9.9.9;\n[ipv6]\nmethod=disabled\n"
    );
    fs::write(connection, text).unwrap();
    fs::set_permissions(connection, Permissions::from_mode(0o600)).unwrap();
    Service::start("NetworkManager", &["--no-daemon"])
}

/// Ends NetworkManager, which leaves its dnsmasq running, and removes its link.
#[track_caller]
pub(crate) fn end_network_manager(service: Service) {
    service.end();
    let dnsmasq = fs::read_to_string("/run/NetworkManager/dnsmasq.pid").unwrap();
    tool("kill", &[dnsmasq.trim()]);
    tool("ip", &["link", "del", UPLINK]);
}

/// What programs take for the address of a name, if they know it.
pub(crate) fn address_of(name: &str) -> Option<String> {
    let asked = Call::new("getent", &["ahostsv4", name]).start().within(QUICK);
    asked.stdout().split_whitespace().next().map(str::to_owned)
}
