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
use zbus::Connection;
use zbus::connection::Builder;
use zbus::zvariant::{DynamicType, Type};

const BUS: &str = "org.freedesktop.DBus";
const BUS_PATH: &str = "/org/freedesktop/DBus";
const FIREWALLD: &str = "org.fedoraproject.FirewallD1";
const PATH: &str = "/org/fedoraproject/FirewallD1";
const ZONES: &str = "org.fedoraproject.FirewallD1.zone";
const ZONE: &str = "trusted";
/// How long an answer may take: it reads nothing for it, but may be laying its rules anew.
const LIMIT: Duration = Duration::from_secs(20);

/// `file` says which interface was put into the zone; it is there before the interface is.
pub(super) fn ensure(file: &Path, bridge: &IfName) -> Result<Change, HostError> {
    let before = find(file)?;
    if before.as_deref().is_some_and(|name| name != bridge.as_str()) {
        let _old_one = remove(file)?;
    }
    talk("put into zone `trusted`", bridge, async |firewalld| {
        let is_in_zone = firewalld.has(bridge.as_str()).await?;
        if before.as_deref() == Some(bridge.as_str()) && is_in_zone {
            return Ok(Change::Unchanged);
        }
        fs::write(file, bridge.as_str())?;
        if !is_in_zone {
            firewalld.zone::<String>("addInterface", bridge.as_str()).await?;
        }
        Ok(Change::Changed)
    })
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
    let said = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .and_then(|runtime| runtime.block_on(async { say(&Firewalld::find().await?).await }));
    said.map_err(HostError::io(action, object))
}

/// firewalld, or the bus that it would be on.
struct Firewalld(Option<Connection>);

impl Firewalld {
    /// Where there is no bus, there is no firewalld.
    async fn find() -> io::Result<Self> {
        let builder = Builder::system().map_err(io::Error::other)?;
        match builder.method_timeout(LIMIT).build().await {
            Ok(bus) => Ok(Self(Some(bus))),
            Err(zbus::Error::InputOutput(error)) if error.kind() == io::ErrorKind::NotFound => {
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
