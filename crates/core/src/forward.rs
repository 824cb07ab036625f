//! Ports of the host that lead into a guest.

use crate::net::Protocol;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;

/// A port of the host's loopback address: only one VM can have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostPort {
    /// How it is spoken to.
    pub protocol: Protocol,
    /// Its number.
    pub host_port: NonZeroU16,
}

impl HostPort {
    /// As it is given on the command line: `8080` or `8080/udp`.
    pub fn argument(&self) -> String {
        match self.protocol {
            Protocol::Tcp => self.host_port.to_string(),
            Protocol::Udp => format!("{}/udp", self.host_port),
        }
    }
}

impl fmt::Display for HostPort {
    /// `127.0.0.1:8080/tcp`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "127.0.0.1:{}/{}", self.host_port, self.protocol)
    }
}

/// A port of the host's loopback address, and the guest's port that it leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Forward {
    /// The host's side.
    #[serde(flatten)]
    pub from: HostPort,
    /// The guest's port.
    pub guest_port: NonZeroU16,
}

/// A text that is not a forward.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a forward; write it as `8080`, `8080:80` or `8080:80/udp`")]
pub struct ForwardError {
    /// The text that was refused.
    pub text: String,
}

impl FromStr for Forward {
    type Err = ForwardError;

    /// Reads `host[:guest][/protocol]`.
    fn from_str(text: &str) -> Result<Self, ForwardError> {
        let refused = || ForwardError { text: text.to_owned() };
        let (ports, protocol) = match text.split_once('/') {
            Some((ports, "tcp")) => (ports, Protocol::Tcp),
            Some((ports, "udp")) => (ports, Protocol::Udp),
            Some(_) => return Err(refused()),
            None => (text, Protocol::Tcp),
        };
        let port = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse::<NonZeroU16>().ok().filter(|_| digits).ok_or_else(refused)
        };
        let (host, guest) = ports.split_once(':').unwrap_or((ports, ports));
        let from = HostPort { protocol, host_port: port(host)? };
        Ok(Self { from, guest_port: port(guest)? })
    }
}

impl fmt::Display for Forward {
    /// As it is read, with nothing left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from: HostPort { protocol, host_port }, guest_port } = self;
        write!(f, "{host_port}:{guest_port}/{protocol}")
    }
}

/// A change of a VM's forwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardChange {
    /// The host's port leads there from now on.
    Add(Forward),
    /// The host's port leads nowhere from now on.
    Remove(HostPort),
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> String {
        text.parse::<Forward>().map_or_else(|error| error.to_string(), |it| it.to_string())
    }

    #[test]
    fn what_is_left_out_is_the_same_port_and_tcp() {
        assert_eq!(read("8080"), "8080:8080/tcp");
        assert_eq!(read("8080:80"), "8080:80/tcp");
        assert_eq!(read("53/udp"), "53:53/udp");
        assert_eq!(read("5353:53/udp"), "5353:53/udp");
    }

    #[test]
    fn everything_else_is_refused_with_the_forms_named() {
        for text in
            ["", "0", "80:0", "65536", "80:", ":80", "+80", "80/", "80/sctp", "1:2:3", " 80"]
        {
            let refused = format!("`{text}` is not a forward; write it as `8080`, ");
            assert!(read(text).starts_with(&refused), "{text}: {}", read(text));
        }
    }

    #[test]
    fn a_record_is_flat() {
        let forward: Forward = "8080:80/udp".parse().unwrap();
        let text = serde_json::to_string(&forward).unwrap();
        assert_eq!(text, r#"{"protocol":"udp","host_port":8080,"guest_port":80}"#);
        assert_eq!(serde_json::from_str::<Forward>(&text).unwrap(), forward);
    }

    proptest! {
        #[test]
        fn a_forward_parses_back(host in 1u16.., guest in 1u16.., udp: bool) {
            let text = format!("{host}:{guest}/{}", if udp { "udp" } else { "tcp" });
            prop_assert_eq!(read(&text), text);
        }

        #[test]
        fn any_text_is_read_without_a_panic(text in ".{0,20}") {
            let _outcome = text.parse::<Forward>();
        }
    }
}
