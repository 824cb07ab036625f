//! systemd-resolved, over the system's bus: whom the host asks for the names of some domains
//! (org.freedesktop.resolve1(5)).
//!
//! What is set belongs to one link. resolved forgets it with the link, so it cannot be left behind,
//! and it is no `Resource`.

use crate::Change;
use futures_util::StreamExt;
use rustix::net::{AddressFamily, SocketType, netdevice, socket};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use zbus::message::Type;
use zbus::zvariant::{DynamicType, OwnedObjectPath, OwnedValue, Type as Signature};
use zbus::{Connection, MatchRule, Message, MessageStream};

const BUS: &str = "org.freedesktop.DBus";
const BUS_PATH: &str = "/org/freedesktop/DBus";
const RESOLVED: &str = "org.freedesktop.resolve1";
const PATH: &str = "/org/freedesktop/resolve1";
const MANAGER: &str = "org.freedesktop.resolve1.Manager";
const LINK: &str = "org.freedesktop.resolve1.Link";
/// What resolved answers about a link that it does not know, or not yet.
const NO_SUCH_LINK: &str = "org.freedesktop.resolve1.NoSuchLink";

/// How long an answer may take: resolved does nothing slow for any of this.
const LIMIT: Duration = Duration::from_secs(5);

/// A server as resolved has it: family, address, port, and a name for TLS.
type Server = (i32, Vec<u8>, u16, String);
/// A domain as resolved has it, and whether it is for routing alone.
type Domain = (String, bool);

/// Why resolved did not do as it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ResolvedError {
    /// There is no bus, or it broke.
    #[error("the system's D-Bus cannot be reached")]
    Bus(#[source] zbus::Error),
    /// It answered with an error.
    #[error("systemd-resolved refused `{verb}`")]
    Refused {
        /// What it was asked for.
        verb: &'static str,
        /// What it said.
        #[source]
        source: zbus::Error,
    },
}

/// Whether there is a resolved that concerns this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// None is on the bus.
    Absent,
    /// The one on the bus lives in another network, as it does for a process in a container: its
    /// links are not ours, though their numbers are the same. Also where that cannot be told.
    Elsewhere,
    /// It is there.
    Here,
}

/// Whom resolved is to ask for these domains, and all below them; for nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkDns {
    /// The server.
    pub server: SocketAddr,
    /// The domains, without a dot at the end.
    pub domains: Vec<String>,
}

/// The number of a link in this process's network; `None` if there is none of that name.
pub fn link_number(name: &str) -> Option<u32> {
    let any = socket(AddressFamily::INET, SocketType::DGRAM, None).ok()?;
    netdevice::name_to_index(any, name).ok()
}

/// A connection to the bus that resolved is or may be on.
#[derive(Debug)]
pub struct Resolved {
    bus: Connection,
    owners: MessageStream,
}

impl Resolved {
    /// Connects to the system's bus. Needs a Tokio runtime.
    pub async fn connect() -> Result<Self, ResolvedError> {
        let builder = zbus::connection::Builder::system().map_err(ResolvedError::Bus)?;
        let bus = builder.method_timeout(LIMIT).build().await.map_err(ResolvedError::Bus)?;
        Self::on(bus).await.map_err(ResolvedError::Bus)
    }

    /// Over a connection that there is.
    pub async fn on(bus: Connection) -> Result<Self, zbus::Error> {
        // Whoever sends it, no more comes of it than a look.
        let rule = MatchRule::builder()
            .msg_type(Type::Signal)
            .interface(BUS)?
            .member("NameOwnerChanged")?
            .add_arg(RESOLVED)?
            .build();
        let owners = MessageStream::for_match_rule(rule, &bus, None).await?;
        Ok(Self { bus, owners })
    }

    /// Completes when resolved has started or ended, or the bus has.
    pub async fn changed(&mut self) {
        // What it became is for `presence` to say.
        self.owners.next().await;
    }

    /// Whether resolved is there. It is not started by being asked for.
    pub async fn presence(&self) -> Result<Presence, ResolvedError> {
        if !self.ask_bus::<bool>("NameHasOwner", RESOLVED).await? {
            return Ok(Presence::Absent);
        }
        let resolved: u32 = self.ask_bus("GetConnectionUnixProcessID", RESOLVED).await?;
        // Where the bus numbers processes otherwise than we do, its number of resolved is of no use.
        if let Some(own) = self.bus.unique_name() {
            let own: u32 = self.ask_bus("GetConnectionUnixProcessID", own.as_str()).await?;
            if own != std::process::id() {
                return Ok(Presence::Elsewhere);
            }
        }
        let network = |process: &str| fs::read_link(format!("/proc/{process}/ns/net"));
        match (network(&resolved.to_string()), network("self")) {
            (Ok(of_resolved), Ok(own)) if of_resolved == own => Ok(Presence::Here),
            _ => Ok(Presence::Elsewhere),
        }
    }

    /// Has resolved ask that server. The link has no other servers and domains then.
    pub async fn ensure(&self, link: u32, dns: &LinkDns) -> Result<Change, ResolvedError> {
        let server = (family(dns.server.ip()), octets(dns.server.ip()), dns.server.port());
        let servers: Vec<Server> = vec![(server.0, server.1, server.2, String::new())];
        let domains: Vec<Domain> = dns.domains.iter().map(|name| (name.clone(), true)).collect();
        if self.servers(link).await? == servers
            && self.property::<Vec<Domain>>(link, "Domains").await? == domains
            && !self.property::<bool>(link, "DefaultRoute").await?
        {
            return Ok(Change::Unchanged);
        }
        let link = number(link);
        // The server comes last: before it has domains it would be asked for everything. The zone
        // is nobody's but ours, so there is nothing that could vouch for it, and no TLS.
        self.set("SetLinkDefaultRoute", &(link, false)).await?;
        self.set("SetLinkDNSSEC", &(link, "no")).await?;
        self.set("SetLinkDNSOverTLS", &(link, "no")).await?;
        self.set("SetLinkDomains", &(link, domains)).await?;
        self.set("SetLinkDNSEx", &(link, servers)).await?;
        Ok(Change::Changed)
    }

    /// Has resolved ask nobody for the link's sake.
    pub async fn remove(&self, link: u32) -> Result<Change, ResolvedError> {
        match self.servers(link).await {
            Ok(servers) if servers.is_empty() => return Ok(Change::Unchanged),
            Err(error) if is_no_such_link(&error) => return Ok(Change::Unchanged),
            servers => servers?,
        };
        self.set("RevertLink", &(number(link),)).await?;
        Ok(Change::Changed)
    }

    async fn servers(&self, link: u32) -> Result<Vec<Server>, ResolvedError> {
        self.property(link, "DNSEx").await
    }

    async fn property<T>(&self, link: u32, name: &'static str) -> Result<T, ResolvedError>
    where
        T: TryFrom<OwnedValue, Error = zbus::zvariant::Error>,
    {
        let refused = |source| ResolvedError::Refused { verb: name, source };
        let found = self.call(RESOLVED, PATH, MANAGER, "GetLink", &(number(link),)).await;
        let path: OwnedObjectPath = found.and_then(|answer| body(&answer)).map_err(refused)?;
        let interface = "org.freedesktop.DBus.Properties";
        let asked = self.call(RESOLVED, path.as_str(), interface, "Get", &(LINK, name)).await;
        let value: OwnedValue = asked.and_then(|answer| body(&answer)).map_err(refused)?;
        T::try_from(value).map_err(|error| refused(error.into()))
    }

    async fn set<B>(&self, verb: &'static str, arguments: &B) -> Result<(), ResolvedError>
    where
        B: Serialize + DynamicType,
    {
        let done = self.call(RESOLVED, PATH, MANAGER, verb, arguments).await;
        done.map(drop).map_err(|source| ResolvedError::Refused { verb, source })
    }

    async fn ask_bus<T>(&self, verb: &str, name: &str) -> Result<T, ResolvedError>
    where
        T: DeserializeOwned + Signature,
    {
        let answer = self.call(BUS, BUS_PATH, BUS, verb, &(name,)).await;
        answer.and_then(|answer| body(&answer)).map_err(ResolvedError::Bus)
    }

    async fn call<B>(
        &self,
        to: &str,
        path: &str,
        interface: &str,
        verb: &str,
        arguments: &B,
    ) -> Result<Message, zbus::Error>
    where
        B: Serialize + DynamicType,
    {
        self.bus.call_method(Some(to), path, Some(interface), verb, arguments).await
    }
}

fn body<T: DeserializeOwned + Signature>(answer: &Message) -> Result<T, zbus::Error> {
    answer.body().deserialize()
}

/// A link's number as D-Bus has it; the kernel's are positive.
fn number(link: u32) -> i32 {
    i32::try_from(link).unwrap_or_default()
}

fn family(address: IpAddr) -> i32 {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    family.as_raw().into()
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().into(),
        IpAddr::V6(address) => address.octets().into(),
    }
}

/// Whether resolved does not know the link, or not yet: it is told of new ones as we are.
fn is_no_such_link(error: &ResolvedError) -> bool {
    matches!(error, ResolvedError::Refused { source: zbus::Error::MethodError(name, ..), .. }
        if name.as_str() == NO_SUCH_LINK)
}
