//! Firewalls of others, as far as they can be told to let guests through.

use super::Role;
use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// A firewall of somebody else's that can be told to let guests' packets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gatekeeper {
    /// The tables of iptables over nf_tables, which Docker and ufw use on today's distributions.
    IptablesNft,
    /// The tables of iptables as they were before, beside the others.
    IptablesLegacy,
    /// firewalld.
    Firewalld,
}

impl Gatekeeper {
    /// Every gatekeeper.
    pub const ALL: [Self; 3] = [Self::IptablesNft, Self::IptablesLegacy, Self::Firewalld];

    /// The role of what has it let guests through.
    pub const fn role(self) -> Role {
        match self {
            Self::IptablesNft => Role::PermitNft,
            Self::IptablesLegacy => Role::PermitLegacy,
            Self::Firewalld => Role::PermitFirewalld,
        }
    }

    /// The program that it is told by.
    pub const fn program(self) -> &'static str {
        match self {
            Self::IptablesNft => "iptables-nft",
            Self::IptablesLegacy => "iptables-legacy",
            Self::Firewalld => "firewall-cmd",
        }
    }
}

/// A text that names no gatekeeper.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no firewall; it is one of `iptables-nft`, `iptables-legacy` and `firewalld`")]
pub struct GatekeeperError {
    /// The text that was refused.
    pub text: String,
}

impl FromStr for Gatekeeper {
    type Err = GatekeeperError;

    fn from_str(text: &str) -> Result<Self, GatekeeperError> {
        match text {
            "iptables-nft" => Ok(Self::IptablesNft),
            "iptables-legacy" => Ok(Self::IptablesLegacy),
            "firewalld" => Ok(Self::Firewalld),
            _ => Err(GatekeeperError { text: text.to_owned() }),
        }
    }
}

/// Whether a gatekeeper has to let guests' DNS queries through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DnsGate {
    /// It does so by itself.
    Open,
    /// It refuses them.
    Closed,
}
