//! What `banger doctor` finds, as it is on the wire.

use banger_core::error::ErrorCode;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use utoipa::{IntoParams, ToSchema};

/// What a check concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// The daemon itself.
    Daemon,
    /// The start of a VM.
    Vm,
    /// The network of VMs and what lies beyond it.
    Nat,
    /// What stands between VMs and the world: other firewalls of the host, routes, VPNs.
    Network,
    /// Entering VMs.
    Ssh,
    /// The runtime bundle.
    Bundle,
    /// Images beside the bundle's.
    Image,
    /// Importing images.
    Import,
    /// Disks and the room for them.
    Disk,
    /// Making a work disk larger.
    Growth,
    /// The names of VMs.
    Dns,
    /// Whether ledger and host agree.
    Leaks,
}

impl Scope {
    /// Every scope, in the order of a report.
    pub const ALL: [Self; 12] = [
        Self::Daemon,
        Self::Vm,
        Self::Nat,
        Self::Network,
        Self::Ssh,
        Self::Bundle,
        Self::Image,
        Self::Import,
        Self::Disk,
        Self::Growth,
        Self::Dns,
        Self::Leaks,
    ];

    /// The scope's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Daemon => "daemon",
            Self::Vm => "vm",
            Self::Nat => "nat",
            Self::Network => "network",
            Self::Ssh => "ssh",
            Self::Bundle => "bundle",
            Self::Image => "image",
            Self::Import => "import",
            Self::Disk => "disk",
            Self::Growth => "growth",
            Self::Dns => "dns",
            Self::Leaks => "leaks",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no scope; it is one of {}", Scope::ALL.map(|scope| format!("`{scope}`")).join(", "))]
pub struct ScopeError {
    /// The text that was refused.
    pub text: String,
}

impl FromStr for Scope {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Self, ScopeError> {
        let found = Self::ALL.into_iter().find(|scope| scope.as_str() == text);
        found.ok_or_else(|| ScopeError { text: text.to_owned() })
    }
}

/// What came of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// All is well.
    Pass,
    /// It works, but not as it could.
    Warn,
    /// It does not work.
    Fail,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Check {
    /// What it concerns.
    pub scope: Scope,
    /// What was looked at, in a word: `kvm`, `nft`.
    pub name: String,
    /// What came of it.
    pub verdict: Verdict,
    /// For a failure, the code of the error with which a command that needs this ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub code: Option<ErrorCode>,
    /// What was found, one line for each thing.
    pub found: Vec<String>,
    /// What to do, most useful first.
    #[serde(default)]
    pub hints: Vec<String>,
    /// Where the value came from that led there: `vmm (default)`, `bundle_dir (/etc/b/config.toml:3)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

impl Check {
    /// A check that all is well with.
    pub fn pass(scope: Scope, name: &str, found: impl Into<String>) -> Self {
        Self {
            scope,
            name: name.to_owned(),
            verdict: Verdict::Pass,
            code: None,
            found: vec![found.into()],
            hints: Vec::new(),
            source: None,
        }
    }

    /// A check of something that works, but not as it could.
    pub fn warn(
        scope: Scope,
        name: &str,
        found: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        let hints = vec![hint.into()];
        Self { verdict: Verdict::Warn, hints, ..Self::pass(scope, name, found) }
    }

    /// A check of something that does not work.
    pub fn fail(
        scope: Scope,
        name: &str,
        code: ErrorCode,
        found: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        let warned = Self::warn(scope, name, found, hint);
        Self { verdict: Verdict::Fail, code: Some(code), ..warned }
    }

    /// The same check with the origin of the value that led there.
    #[must_use]
    pub fn from(self, source: impl Into<String>) -> Self {
        Self { source: Some(source.into()), ..self }
    }
}

/// What was looked at, in the order of [`Scope::ALL`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DoctorReport {
    /// The checks.
    pub checks: Vec<Check>,
}

/// What was changed on the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FixReport {
    /// One line for each thing; none if there was nothing to do. How everything stands now, and
    /// what is left to do by hand, is for the doctor's checks to say.
    pub done: Vec<String>,
}

/// Which checks to make.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DoctorQuery {
    /// Only those of this scope: `vm`, `nat`, `network`, `ssh`, `bundle`, `image`, `import`, `disk` or
    /// `growth`.
    pub scope: Option<Scope>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_the_same_word_everywhere() {
        for scope in Scope::ALL {
            assert_eq!(serde_json::to_value(scope).unwrap(), scope.as_str());
            assert_eq!(scope.as_str().parse(), Ok(scope));
        }
        let refused = "kvm".parse::<Scope>().unwrap_err().to_string();
        assert!(refused.starts_with("`kvm` is no scope; it is one of `daemon`, `vm`"), "{refused}");
    }
}
