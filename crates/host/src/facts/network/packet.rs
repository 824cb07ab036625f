//! The packets whose fate is asked for, and what can be said of one: yes, no or maybe.

use super::NetworkQuestion;
use crate::linux::BEYOND;
use banger_core::net::Protocol;
use std::net::Ipv4Addr;

/// Whether something holds of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Truth {
    Yes,
    No,
    /// The packet is not known that well, or the question is not understood.
    Maybe,
}

impl Truth {
    pub(super) fn of(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
    }

    pub(super) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Yes, Self::Yes) => Self::Yes,
            _ => Self::Maybe,
        }
    }

    pub(super) fn or(self, other: Self) -> Self {
        self.not().and(other.not()).not()
    }

    pub(super) fn not(self) -> Self {
        match self {
            Self::Yes => Self::No,
            Self::No => Self::Yes,
            Self::Maybe => Self::Maybe,
        }
    }
}

/// Where chains are met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hook {
    Forward,
    Input,
}

/// Whether a packet is the first of its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    New,
    Established,
}

/// What is known of a packet; `None` is anything.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packet<'a> {
    pub(super) hook: Hook,
    pub(super) input: Option<&'a str>,
    pub(super) output: Option<&'a str>,
    pub(super) from: Ipv4Addr,
    pub(super) to: Ipv4Addr,
    pub(super) protocol: Protocol,
    /// The port that it is for.
    pub(super) port: Option<u16>,
    pub(super) stage: Stage,
    /// Whether banger's own table has turned it to another port, which is a DNAT.
    pub(super) is_turned: bool,
}

impl<'a> Packet<'a> {
    /// A guest calls somebody beyond the host; `leaves` is the interface by which that leaves.
    pub(super) fn call(question: &'a NetworkQuestion, leaves: Option<&'a str>) -> Self {
        Self {
            hook: Hook::Forward,
            input: Some(question.bridge.as_str()),
            output: leaves,
            from: question.guest(),
            to: BEYOND,
            protocol: Protocol::Tcp,
            port: Some(443),
            stage: Stage::New,
            is_turned: false,
        }
    }

    /// The answer to that.
    pub(super) fn answer(question: &'a NetworkQuestion, comes: Option<&'a str>) -> Self {
        Self {
            hook: Hook::Forward,
            input: comes,
            output: Some(question.bridge.as_str()),
            from: BEYOND,
            to: question.guest(),
            protocol: Protocol::Tcp,
            port: None,
            stage: Stage::Established,
            is_turned: false,
        }
    }

    /// A guest asks for a name at the bridge's address.
    pub(super) fn query(question: &'a NetworkQuestion) -> Option<Self> {
        Some(Self {
            hook: Hook::Input,
            input: Some(question.bridge.as_str()),
            output: None,
            from: question.guest(),
            to: question.subnet.gateway(),
            protocol: Protocol::Udp,
            port: Some(question.dns_port?.get()),
            stage: Stage::New,
            is_turned: true,
        })
    }

    /// Whether the packet comes in at an interface of this name, `wildcard` standing for any end.
    pub(super) fn comes_in_at(&self, name: &str, wildcard: char) -> Truth {
        named(self.input, name, wildcard)
    }

    /// Whether it leaves by one. What is for the host leaves by none.
    pub(super) fn leaves_by(&self, name: &str, wildcard: char) -> Truth {
        match self.hook {
            Hook::Input => Truth::No,
            Hook::Forward => named(self.output, name, wildcard),
        }
    }

    /// Whether its connection is in a state of that name. One that was turned is in two.
    pub(super) fn is_in_state(&self, state: &str) -> Truth {
        match state.to_ascii_lowercase().as_str() {
            "new" => Truth::of(self.stage == Stage::New),
            "established" => Truth::of(self.stage == Stage::Established),
            "related" | "invalid" | "untracked" => Truth::No,
            "dnat" => Truth::of(self.is_turned),
            _ => Truth::Maybe,
        }
    }

    /// Whether its transport has that name or number.
    pub(super) fn is_of(&self, protocol: &str) -> Truth {
        let number = match self.protocol {
            Protocol::Tcp => "6",
            Protocol::Udp => "17",
        };
        Truth::of(protocol == self.protocol.as_str() || protocol == number)
    }

    /// Whether the port that it is for is one from `first` to `last`.
    pub(super) fn is_for(&self, first: u16, last: u16) -> Truth {
        self.port.map_or(Truth::Maybe, |port| Truth::of((first..=last).contains(&port)))
    }
}

fn named(is: Option<&str>, name: &str, wildcard: char) -> Truth {
    match (is, name.strip_suffix(wildcard)) {
        (_, Some("")) => Truth::Yes,
        (None, _) => Truth::Maybe,
        (Some(is), Some(beginning)) => Truth::of(is.starts_with(beginning)),
        (Some(is), None) => Truth::of(is == name),
    }
}

/// Whether the address is in a network, as `10.0.0.0/8` or as one address.
pub(super) fn is_in(address: Ipv4Addr, network: &str) -> Truth {
    let (network, prefix) = network.split_once('/').unwrap_or((network, "32"));
    let (Ok(network), Ok(prefix)) = (network.parse::<Ipv4Addr>(), prefix.parse::<u32>()) else {
        return Truth::Maybe;
    };
    let Some(rest) = 32u32.checked_sub(prefix) else { return Truth::Maybe };
    let mask = u32::MAX.checked_shl(rest).unwrap_or(0);
    Truth::of((address.to_bits() ^ network.to_bits()) & mask == 0)
}
