//! A systemd-resolved and the bus that it is on, as far as the daemon speaks to them: one peer at
//! the other end of a socket.

use banger_host::resolved::{Resolved, ResolvedError};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::net::UnixStream;
use zbus::fdo;
use zbus::object_server::SignalEmitter;
use zbus::zvariant::{ObjectPath, OwnedObjectPath};
use zbus::{Connection, Guid, connection, interface};

/// The verb that names the server.
pub(crate) const OURS: &str = "SetLinkDNSEx";
const RESOLVED: &str = "org.freedesktop.resolve1";
const BUS_PATH: &str = "/org/freedesktop/DBus";
/// `AF_INET`.
const IPV4: i32 = 2;

type Server = (i32, Vec<u8>, u16, String);
type Domain = (String, bool);

/// What resolved holds of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) servers: Vec<Server>,
    pub(crate) domains: Vec<Domain>,
    pub(crate) default_route: bool,
    pub(crate) dnssec: String,
    pub(crate) tls: String,
}

impl Default for Link {
    fn default() -> Self {
        let [dnssec, tls] = ["allow-downgrade", "opportunistic"].map(str::to_owned);
        Self { servers: Vec::new(), domains: Vec::new(), default_route: true, dnssec, tls }
    }
}

impl Link {
    /// As the daemon would have it.
    pub(crate) fn told() -> Self {
        Self {
            servers: vec![(IPV4, vec![127, 0, 0, 1], 42_069, String::new())],
            domains: ["vm", "0.16.172.in-addr.arpa"].map(|name| (name.to_owned(), true)).into(),
            default_route: false,
            dnssec: "no".to_owned(),
            tls: "no".to_owned(),
        }
    }
}

#[derive(Debug, Default)]
struct World {
    hidden: bool,
    running: bool,
    elsewhere: bool,
    refused: &'static str,
    links: BTreeMap<i32, Link>,
    calls: Vec<String>,
    /// The daemon's ends; they are told of names, and closed with the bus.
    peers: Vec<Connection>,
}

/// The bus; clones are the same one.
#[derive(Debug, Clone)]
pub(crate) struct Bus(Arc<Mutex<World>>);

impl Bus {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(World { running: true, ..World::default() })))
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }

    pub(crate) async fn connect(&self) -> Result<Resolved, ResolvedError> {
        if self.world().hidden {
            let nobody = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
            return Err(ResolvedError::Bus(nobody.into()));
        }
        let (ours, theirs) = UnixStream::pair().unwrap();
        let peer = connection::Builder::unix_stream(ours)
            .server(Guid::generate())
            .unwrap()
            .p2p()
            .serve_at(BUS_PATH, Names(self.clone()))
            .unwrap()
            .serve_at("/org/freedesktop/resolve1", Manager(self.clone()))
            .unwrap();
        let client = connection::Builder::unix_stream(theirs).p2p();
        let (peer, client) = tokio::try_join!(peer.build(), client.build()).unwrap();
        self.world().peers.push(peer);
        Resolved::on(client).await.map_err(ResolvedError::Bus)
    }

    pub(crate) fn link(&self, number: u32) -> Link {
        let number = i32::try_from(number).unwrap();
        self.world().links.get(&number).cloned().unwrap_or_default()
    }

    pub(crate) fn set_link(&self, number: u32, link: Link) {
        self.world().links.insert(i32::try_from(number).unwrap(), link);
    }

    /// What was set so far.
    pub(crate) fn calls(&self) -> Vec<String> {
        self.world().calls.clone()
    }

    pub(crate) fn refuse(&self, verb: &'static str) {
        self.world().refused = verb;
    }

    pub(crate) fn move_resolved_elsewhere(&self) {
        self.world().elsewhere = true;
    }

    pub(crate) fn hide(&self) {
        self.world().hidden = true;
    }

    pub(crate) fn show(&self) {
        self.world().hidden = false;
    }

    /// It forgets everything.
    pub(crate) async fn end_resolved(&self) {
        self.world().links.clear();
        self.set_running(false).await;
    }

    pub(crate) async fn start_resolved(&self) {
        self.set_running(true).await;
    }

    async fn set_running(&self, running: bool) {
        self.world().running = running;
        let peers = self.world().peers.clone();
        let (old, new) = if running { ("", ":1.2") } else { (":1.2", "") };
        for peer in peers {
            let emitter = SignalEmitter::new(&peer, BUS_PATH).unwrap();
            Names::name_owner_changed(&emitter, RESOLVED, old, new).await.unwrap();
        }
    }

    /// Takes note of a verb, and changes a link.
    fn change(&self, verb: &str, number: i32, how: impl FnOnce(&mut Link)) -> fdo::Result<()> {
        let mut world = self.world();
        if world.refused == verb {
            return Err(fdo::Error::AccessDenied("not today".to_owned()));
        }
        world.calls.push(verb.to_owned());
        how(world.links.entry(number).or_default());
        Ok(())
    }
}

/// The bus's own object.
struct Names(Bus);

#[interface(name = "org.freedesktop.DBus")]
impl Names {
    fn name_has_owner(&self, name: &str) -> bool {
        name == RESOLVED && self.0.world().running
    }

    #[zbus(name = "GetConnectionUnixProcessID")]
    fn process(&self, _name: &str) -> u32 {
        // Of process 0 there is nothing in /proc.
        if self.0.world().elsewhere { 0 } else { std::process::id() }
    }

    #[zbus(signal)]
    async fn name_owner_changed(
        emitter: &SignalEmitter<'_>,
        name: &str,
        old: &str,
        new: &str,
    ) -> zbus::Result<()>;
}

/// resolved's first object. Those of the links are made when they are asked for.
struct Manager(Bus);

#[interface(name = "org.freedesktop.resolve1.Manager")]
impl Manager {
    async fn get_link(
        &self,
        number: i32,
        #[zbus(object_server)] server: &zbus::ObjectServer,
    ) -> fdo::Result<OwnedObjectPath> {
        let path = ObjectPath::try_from(format!("/org/freedesktop/resolve1/link/_3{number}"))
            .map_err(|error| fdo::Error::Failed(error.to_string()))?;
        server.at(&path, LinkObject { bus: self.0.clone(), number }).await?;
        Ok(path.into())
    }

    #[zbus(name = "SetLinkDNSEx")]
    fn set_servers(&self, number: i32, servers: Vec<Server>) -> fdo::Result<()> {
        self.0.change("SetLinkDNSEx", number, |link| link.servers = servers)
    }

    fn set_link_domains(&self, number: i32, domains: Vec<Domain>) -> fdo::Result<()> {
        self.0.change("SetLinkDomains", number, |link| link.domains = domains)
    }

    fn set_link_default_route(&self, number: i32, is_default: bool) -> fdo::Result<()> {
        self.0.change("SetLinkDefaultRoute", number, |link| link.default_route = is_default)
    }

    #[zbus(name = "SetLinkDNSSEC")]
    fn set_dnssec(&self, number: i32, mode: String) -> fdo::Result<()> {
        self.0.change("SetLinkDNSSEC", number, |link| link.dnssec = mode)
    }

    #[zbus(name = "SetLinkDNSOverTLS")]
    fn set_tls(&self, number: i32, mode: String) -> fdo::Result<()> {
        self.0.change("SetLinkDNSOverTLS", number, |link| link.tls = mode)
    }

    fn revert_link(&self, number: i32) -> fdo::Result<()> {
        self.0.change("RevertLink", number, |link| *link = Link::default())
    }
}

struct LinkObject {
    bus: Bus,
    number: i32,
}

impl LinkObject {
    fn link(&self) -> Link {
        self.bus.world().links.get(&self.number).cloned().unwrap_or_default()
    }
}

#[interface(name = "org.freedesktop.resolve1.Link")]
impl LinkObject {
    #[zbus(property, name = "DNSEx")]
    fn servers(&self) -> Vec<Server> {
        self.link().servers
    }

    #[zbus(property)]
    fn domains(&self) -> Vec<Domain> {
        self.link().domains
    }

    #[zbus(property)]
    fn default_route(&self) -> bool {
        self.link().default_route
    }
}
