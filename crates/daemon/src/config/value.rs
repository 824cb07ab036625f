//! The types of values, and how each is read from text.

use super::error::ValueError;
use banger_api::LogLevel;
use banger_core::names::IfName;
use banger_core::net::Subnet;
use banger_core::resource::HostAccess;
use banger_core::unit::{MiB, VcpuCount};
use banger_core::vm::{OverlayMethod, VmmKind};
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// Which VMM runs new VMs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VmmSetting {
    /// Firecracker where it can run, else QEMU.
    Auto,
    /// This one, whatever the host says.
    Only(VmmKind),
}

impl VmmSetting {
    /// The word in the file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Only(kind) => kind.as_str(),
        }
    }
}

/// How the root disk of a new VM is layered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverlaySetting {
    /// The best method that the host can do.
    Auto,
    /// This one, whatever the host says.
    Only(OverlayMethod),
}

impl OverlaySetting {
    /// The word in the file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Only(method) => method.as_str(),
        }
    }
}

/// Name servers for the guests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Nameservers {
    /// Those of the host.
    Auto,
    /// These; none leaves the image's own resolver file alone.
    List(Vec<Ipv4Addr>),
}

impl fmt::Display for Nameservers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::List(servers) => {
                let texts: Vec<String> = servers.iter().map(Ipv4Addr::to_string).collect();
                f.write_str(&texts.join(", "))
            }
        }
    }
}

/// Where something is served beside the daemon's socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listen {
    /// Nowhere.
    Off,
    /// At this address.
    At(SocketAddr),
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::At(address) => address.fmt(f),
        }
    }
}

/// Whom the guests ask for names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuestDns {
    /// The daemon, at the bridge's address. It asks the name servers for what it does not know.
    Auto,
    /// The name servers; so guests do not know each other's names.
    Off,
    /// This server, which has to know VMs' names itself.
    At(Ipv4Addr),
}

impl fmt::Display for GuestDns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Off => f.write_str("off"),
            Self::At(server) => server.fmt(f),
        }
    }
}

/// The longest time to live of a record: a day, in seconds.
const LONGEST_TTL: u32 = 86_400;

fn word<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, ValueError> {
    let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
    found.ok_or_else(|| {
        let allowed: Vec<String> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
        ValueError::Word { text: text.to_owned(), allowed: allowed.join(", ") }
    })
}

pub(super) fn vcpu(text: &str) -> Result<VcpuCount, ValueError> {
    let count = text.parse().ok().ok_or_else(|| ValueError::Count { text: text.to_owned() })?;
    Ok(VcpuCount::new(count)?)
}

pub(super) fn size(text: &str) -> Result<MiB, ValueError> {
    Ok(text.parse()?)
}

pub(super) fn switch(text: &str) -> Result<bool, ValueError> {
    word(text, &[("true", true), ("false", false)])
}

pub(super) fn vmm(text: &str) -> Result<VmmSetting, ValueError> {
    let only = |kind: VmmKind| (kind.as_str(), VmmSetting::Only(kind));
    word(text, &[("auto", VmmSetting::Auto), only(VmmKind::Firecracker), only(VmmKind::Qemu)])
}

pub(super) fn overlay(text: &str) -> Result<OverlaySetting, ValueError> {
    let only = |method: OverlayMethod| (method.as_str(), OverlaySetting::Only(method));
    word(
        text,
        &[
            ("auto", OverlaySetting::Auto),
            only(OverlayMethod::Reflink),
            only(OverlayMethod::DmSnapshot),
            only(OverlayMethod::Copy),
        ],
    )
}

pub(super) fn interface(text: &str) -> Result<IfName, ValueError> {
    Ok(IfName::try_from(text.to_owned())?)
}

pub(super) fn subnet(text: &str) -> Result<Subnet, ValueError> {
    Ok(text.parse()?)
}

pub(super) fn host_access(text: &str) -> Result<HostAccess, ValueError> {
    Ok(if switch(text)? { HostAccess::Any } else { HostAccess::Gateway })
}

pub(super) fn path(text: &str) -> Result<PathBuf, ValueError> {
    let path = PathBuf::from(text);
    if path.is_absolute() { Ok(path) } else { Err(ValueError::Path { text: text.to_owned() }) }
}

/// `auto`, or addresses with commas between them.
pub(super) fn nameservers(text: &str) -> Result<Nameservers, ValueError> {
    if text == "auto" {
        return Ok(Nameservers::Auto);
    }
    let server = |part: &str| {
        let part = part.trim();
        part.parse().ok().ok_or_else(|| ValueError::Nameserver { text: part.to_owned() })
    };
    let parts = text.split(',').filter(|part| !part.trim().is_empty());
    Ok(Nameservers::List(parts.map(server).collect::<Result<_, _>>()?))
}

/// `off`, or an address with a port.
pub(super) fn listen(text: &str) -> Result<Listen, ValueError> {
    if text == "off" {
        return Ok(Listen::Off);
    }
    let address = text.parse().ok().ok_or_else(|| ValueError::Listen { text: text.to_owned() })?;
    Ok(Listen::At(address))
}

/// The same for what nobody beyond this machine is to reach.
pub(super) fn listen_on_loopback(text: &str) -> Result<Listen, ValueError> {
    match listen(text)? {
        Listen::At(address) if !address.ip().is_loopback() => {
            Err(ValueError::NotLoopback { text: text.to_owned() })
        }
        listen => Ok(listen),
    }
}

/// `auto`, `off`, or an address.
pub(super) fn guest_dns(text: &str) -> Result<GuestDns, ValueError> {
    match text {
        "auto" => Ok(GuestDns::Auto),
        "off" => Ok(GuestDns::Off),
        _ => {
            let server = text.parse().ok();
            server.map(GuestDns::At).ok_or_else(|| ValueError::GuestDns { text: text.to_owned() })
        }
    }
}

/// Seconds.
pub(super) fn ttl(text: &str) -> Result<u32, ValueError> {
    let seconds = text.parse().ok().filter(|seconds| *seconds <= LONGEST_TTL);
    seconds.ok_or_else(|| ValueError::Seconds { text: text.to_owned(), max: LONGEST_TTL })
}

pub(super) fn log_level(text: &str) -> Result<LogLevel, ValueError> {
    word(text, &LogLevel::ALL.map(|level| (level.as_str(), level)))
}
