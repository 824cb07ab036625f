//! How a simulator is set up.

use super::fault::Fault;
use super::guest::GuestScript;
use banger_core::names::IfName;
use banger_core::net::Subnet;
use banger_core::resource::Gatekeeper;
use banger_core::unit::Bytes;
use std::path::PathBuf;
use std::time::Duration;

/// How a simulator is set up; [`SimOptions::new`] gives a host on which everything works at once.
#[derive(Debug, Clone)]
pub struct SimOptions {
    /// The file that keeps the objects. Its directory must exist. One simulator may have it open;
    /// one that is opened later takes the file over, and what an earlier one still writes is lost.
    pub journal: PathBuf,
    /// What the disks of all VMs may measure together; beyond it there is no space left.
    pub capacity: Bytes,
    /// Whether images, programs and the like must be there.
    pub artifacts: Artifacts,
    /// How guests behave.
    pub guest: GuestScript,
    /// How long guests take.
    pub pace: Pace,
    /// Interfaces that are somebody else's.
    pub foreign_links: Vec<ForeignLink>,
    /// Firewalls of others that let nothing of guests through.
    pub gatekeepers: Vec<Gatekeeper>,
    /// What goes wrong.
    pub faults: Vec<Fault>,
}

impl SimOptions {
    /// No limits, no faults, and guests that boot at once, with the objects kept in `journal`.
    pub fn new(journal: PathBuf) -> Self {
        Self {
            journal,
            capacity: Bytes(u64::MAX),
            artifacts: Artifacts::Assumed,
            guest: GuestScript::Normal,
            pace: Pace::INSTANT,
            foreign_links: Vec::new(),
            gatekeepers: Vec::new(),
            faults: Vec::new(),
        }
    }
}

/// What a resource only reads: the image, the initrd's parts, the VMM program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Artifacts {
    /// They are taken to be there.
    Assumed,
    /// A resource that reads a file which is not there is refused.
    Checked,
}

/// How long guests take. With zero it has happened before the call that asks for it returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// From the order to boot until the guest is up; its lines are spread over it.
    pub boot: Duration,
    /// From the request to end until it has ended.
    pub shutdown: Duration,
}

impl Pace {
    /// No time at all.
    pub const INSTANT: Self = Self { boot: Duration::ZERO, shutdown: Duration::ZERO };
}

/// An interface that the daemon did not make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignLink {
    /// Its name, which nobody else can have.
    pub name: IfName,
    /// Its address, if it has one.
    pub subnet: Option<Subnet>,
}
