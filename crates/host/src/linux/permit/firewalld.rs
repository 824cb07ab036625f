//! The bridge in firewalld's zone `trusted`, over the system's bus (firewalld.dbus(5)).
//!
//! firewalld may own its table so that nobody else can change it, and lays it anew at each reload; a
//! zone is the one thing in it that stays ours to set. It is set until firewalld reloads, not for good:
//! what banger forgets to undo ends with that. `firewall-cmd` would start an interpreter for each
//! question, and a daemon that starts waits for the answers.

use crate::{Change, HostError};
use banger_core::names::IfName;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;
use tokio::runtime;
use tokio::time::timeout;
use zbus::Connection;
use zbus::connection::Builder;
use zbus::zvariant::{DynamicType, Type};

const BUS: &str = "org.freedesktop.DBus";
const BUS_PATH: &str = "/org/freedesktop/DBus";
const FIREWALLD: &str = "org.fedoraproject.FirewallD1";
const PATH: &str = "/org/fedoraproject/FirewallD1";
const ZONES: &str = "org.fedoraproject.FirewallD1.zone";
const ZONE: &str = "trusted";
/// How long all of it may take: firewalld reads nothing for it, but may be laying its rules anew.
const LIMIT: Duration = Duration::from_secs(20);

/// `file` says which interface was put into the zone; it is there before the interface is.
pub(super) fn ensure(file: &Path, bridge: &IfName) -> Result<Change, HostError> {
    let before = find(file)?;
    if before.as_deref().is_some_and(|name| name != bridge.as_str()) {
        let _old_one = remove(file)?;
    }
    let name = bridge.as_str();
    let is_in_zone = talk("look for in zone `trusted`", bridge, async |firewalld| {
        match firewalld.runs().await? {
            true => firewalld.has(name).await,
            // Asked for, it might be started, which nobody has wanted.
            false => Err(io::Error::new(io::ErrorKind::NotConnected, "firewalld does not run")),
        }
    })?;
    if before.as_deref() == Some(name) && is_in_zone {
        return Ok(Change::Unchanged);
    }
    fs::write(file, name).map_err(HostError::io("write", file.display()))?;
    if !is_in_zone {
        talk("put into zone `trusted`", bridge, async |firewalld| {
            firewalld.zone::<String>("addInterface", name).await
        })?;
    }
    Ok(Change::Changed)
}

/// Where firewalld does not run, or somebody has taken the interface out, there is nothing to take
/// away.
pub(super) fn remove(file: &Path) -> Result<Change, HostError> {
    let Some(name) = find(file)? else { return Ok(Change::Unchanged) };
    talk("take from zone `trusted`", &name, async |firewalld| {
        if firewalld.runs().await? && firewalld.has(&name).await? {
            firewalld.zone::<String>("removeInterface", &name).await?;
        }
        Ok(())
    })?;
    fs::remove_file(file).map_err(HostError::io("remove", file.display()))?;
    Ok(Change::Changed)
}

/// The interface that was put into the zone.
pub(super) fn find(file: &Path) -> Result<Option<String>, HostError> {
    match fs::read_to_string(file) {
        Ok(name) => Ok(Some(name.trim().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(HostError::io("read", file.display())(error)),
    }
}

/// Says something to firewalld, and waits for what comes of it. Blocks.
fn talk<T>(
    action: &'static str,
    object: impl std::fmt::Display,
    say: impl AsyncFnOnce(&Firewalld) -> io::Result<T>,
) -> Result<T, HostError> {
    let conversation = async {
        let said = timeout(LIMIT, async { say(&Firewalld::on(Builder::system()).await?).await });
        said.await.unwrap_or_else(|_late| Err(io::ErrorKind::TimedOut.into()))
    };
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    let said = runtime.and_then(|runtime| runtime.block_on(conversation));
    said.map_err(HostError::io(action, object))
}

/// firewalld, or the bus that it would be on.
struct Firewalld(Option<Connection>);

impl Firewalld {
    /// Where there is no bus, there is no firewalld.
    async fn on(bus: zbus::Result<Builder<'_>>) -> io::Result<Self> {
        match bus.map_err(io::Error::other)?.build().await {
            Ok(bus) => Ok(Self(Some(bus))),
            Err(zbus::Error::Connection(error, _) | zbus::Error::InputOutput(error))
                if is_absence(error.kind()) =>
            {
                Ok(Self(None))
            }
            Err(error) => Err(io::Error::other(error)),
        }
    }

    async fn runs(&self) -> io::Result<bool> {
        match &self.0 {
            Some(bus) => ask(bus, BUS, BUS_PATH, BUS, "NameHasOwner", &FIREWALLD).await,
            None => Ok(false),
        }
    }

    /// Whether an interface is in the zone.
    async fn has(&self, interface: &str) -> io::Result<bool> {
        self.zone("queryInterface", interface).await
    }

    async fn zone<T: DeserializeOwned + Type>(&self, verb: &str, interface: &str) -> io::Result<T> {
        let Some(bus) = &self.0 else {
            return Err(io::Error::new(io::ErrorKind::NotFound, "there is no D-Bus"));
        };
        ask(bus, FIREWALLD, PATH, ZONES, verb, &(ZONE, interface)).await
    }
}

/// What a socket answers that is not there, or that nobody listens on.
fn is_absence(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

async fn ask<T: DeserializeOwned + Type>(
    bus: &Connection,
    name: &str,
    path: &str,
    interface: &str,
    verb: &str,
    about: &(impl Serialize + DynamicType),
) -> io::Result<T> {
    let answer = bus.call_method(Some(name), path, Some(interface), verb, about).await;
    answer.and_then(|answer| answer.body().deserialize()).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[tokio::test]
    async fn without_a_bus_there_is_no_firewalld() {
        let dir = tempfile::tempdir().unwrap();
        let bus = dir.path().join("bus");
        let address = format!("unix:path={}", bus.display());
        let absent = Firewalld::on(Builder::address(address.as_str())).await.unwrap();
        assert!(!absent.runs().await.unwrap());
        // The socket of one that has ended.
        drop(UnixListener::bind(&bus).unwrap());
        let ended = Firewalld::on(Builder::address(address.as_str())).await.unwrap();
        assert!(!ended.runs().await.unwrap());
        assert!(ended.has("banger0").await.is_err());
    }

    #[test]
    fn what_was_put_there_by_nobody_needs_no_bus_to_be_removed() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(remove(&dir.path().join("zone")).unwrap(), Change::Unchanged);
    }
}
