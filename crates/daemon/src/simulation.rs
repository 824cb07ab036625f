//! How a simulated host is set up by whoever starts the daemon: what it lacks, and what goes wrong.

use crate::doctor::Facts;
use banger_core::resource::Gatekeeper;
use banger_core::unit::{Bytes, MiB};
use banger_host::facts::Memory;
use banger_host::{Fault, ForeignLink, GuestScript, Pace, ProgramScript, SimOptions};
use banger_vmm::KvmStatus;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// How to simulate the host.
#[derive(Debug, Clone, Default)]
pub struct Simulation {
    /// What goes wrong.
    pub faults: Vec<Fault>,
    /// How guests behave.
    pub guest: GuestScript,
    /// How long a guest takes to boot and to end.
    pub pace: Duration,
    /// Firewalls of others that let nothing of guests through.
    pub gatekeepers: Vec<Gatekeeper>,
    /// What the host lacks.
    pub lacks: Vec<Lack>,
    /// Interfaces that are somebody else's.
    pub links: Vec<ForeignLink>,
    /// What all disks may measure together; no limit when absent.
    pub capacity: Option<MiB>,
    /// Programs in guests that do not succeed.
    pub programs: Vec<ProgramScript>,
    /// Where images come from.
    pub boots_from: BootsFrom,
}

/// Where the images of a simulation come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BootsFrom {
    /// From nowhere: there is a `default` image without files.
    #[default]
    Nothing,
    /// From the runtime bundle, whose files are looked at as on a real host.
    Bundle,
}

impl Simulation {
    /// The options of the host that keeps its objects in `journal`.
    pub(crate) fn options(&self, journal: PathBuf) -> SimOptions {
        let usual = SimOptions::new(journal);
        SimOptions {
            faults: self.faults.clone(),
            guest: self.guest,
            gatekeepers: self.gatekeepers.clone(),
            pace: Pace { boot: self.pace, shutdown: self.pace },
            foreign_links: self.links.clone(),
            capacity: self.capacity.map_or(usual.capacity, MiB::bytes),
            programs: self.programs.clone(),
            ..usual
        }
    }
}

/// Something that a simulated host lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lack {
    /// `/dev/kvm`.
    Kvm,
    /// The VMM's program.
    Vmm,
    /// `/dev/net/tun`.
    Tun,
    /// The program `nft`.
    Nft,
    /// The program `mke2fs`.
    Mke2fs,
    /// Root's privileges.
    Root,
    /// Memory for a VM.
    Memory,
    /// Room for disks.
    Room,
}

impl Lack {
    /// Each of them.
    pub const ALL: [Self; 8] = [
        Self::Kvm,
        Self::Vmm,
        Self::Tun,
        Self::Nft,
        Self::Mke2fs,
        Self::Root,
        Self::Memory,
        Self::Room,
    ];

    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Vmm => "vmm",
            Self::Tun => "tun",
            Self::Nft => "nft",
            Self::Mke2fs => "mke2fs",
            Self::Root => "root",
            Self::Memory => "memory",
            Self::Room => "room",
        }
    }

    /// Makes the facts those of a host that lacks it.
    pub fn take_from(self, facts: &mut Facts) {
        let gone = "No such file or directory (os error 2)";
        let host = &mut facts.host;
        match self {
            Self::Kvm => {
                facts.kvm = KvmStatus::Unusable { reason: "`/dev/kvm` does not exist".to_owned() };
                host.kvm_opens = false;
            }
            Self::Vmm => facts.has_program = false,
            Self::Tun => host.tun = Err(format!("/dev/net/tun cannot be opened: {gone}")),
            Self::Nft => host.nft = None,
            Self::Mke2fs => host.mke2fs = None,
            Self::Root => host.root = false,
            Self::Memory => {
                let all = Bytes(256 << 20);
                host.memory = Some(Memory { total: all, available: all });
            }
            Self::Room => host.room = Ok(Bytes(1 << 20)),
        }
    }
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names nothing that a host can lack.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is none of {}", Lack::ALL.map(|lack| format!("`{lack}`")).join(", "))]
pub struct LackError {
    /// The text that was refused.
    pub text: String,
}

impl FromStr for Lack {
    type Err = LackError;

    fn from_str(text: &str) -> Result<Self, LackError> {
        let found = Self::ALL.into_iter().find(|lack| lack.as_str() == text);
        found.ok_or_else(|| LackError { text: text.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::tests::complete;
    use crate::doctor::{SCOPES, examine};
    use banger_api::{Scope, Verdict};

    #[test]
    fn each_lack_makes_one_check_fail() {
        for lack in Lack::ALL {
            assert_eq!(lack.to_string().parse(), Ok(lack));
            let mut facts = complete();
            lack.take_from(&mut facts);
            // Imports and growth have some of the checks again.
            let again = |scope: &Scope| !matches!(scope, Scope::Import | Scope::Growth);
            let scopes = SCOPES.into_iter().filter(again);
            let checks = scopes.flat_map(|scope| examine(&facts, scope));
            let failed = checks.filter(|check| check.verdict == Verdict::Fail);
            assert_eq!(failed.count(), 1, "{lack}");
        }
        let refused = "moon".parse::<Lack>().unwrap_err().to_string();
        assert!(refused.starts_with("`moon` is none of `kvm`, `vmm`"), "{refused}");
    }
}
