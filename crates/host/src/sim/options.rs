//! How a simulator is set up.

use super::fault::Fault;
use super::guest::GuestScript;
use banger_core::names::{IfName, IfNameError};
use banger_core::net::{Subnet, SubnetError};
use banger_core::resource::Gatekeeper;
use banger_core::unit::Bytes;
use std::path::PathBuf;
use std::str::FromStr;
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
    /// Programs in guests that do not succeed.
    pub programs: Vec<ProgramScript>,
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
            programs: Vec::new(),
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

/// A text that is no interface.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ForeignLinkError {
    /// Its name cannot be one.
    #[error(transparent)]
    Name(#[from] IfNameError),
    /// Its address cannot be one.
    #[error(transparent)]
    Subnet(#[from] SubnetError),
}

/// `theirs0`, or with an address `theirs0=10.0.0.1/24`.
impl FromStr for ForeignLink {
    type Err = ForeignLinkError;

    fn from_str(text: &str) -> Result<Self, ForeignLinkError> {
        let (name, subnet) = match text.split_once('=') {
            Some((name, subnet)) => (name, Some(subnet.parse()?)),
            None => (text, None),
        };
        Ok(Self { name: IfName::try_from(name.to_owned())?, subnet })
    }
}

/// What a program in a guest comes to that does not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramScript {
    /// It is told by these words in its command line.
    pub words: String,
    /// Its exit code.
    pub exit: u32,
    /// The last line that it says.
    pub says: String,
}

/// A text that says nothing of a program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` says nothing of a program; write `WORDS=EXIT:LINE`, as `script-1=3:no otter`")]
pub struct ProgramScriptError {
    /// The text that was refused.
    pub text: String,
}

impl FromStr for ProgramScript {
    type Err = ProgramScriptError;

    fn from_str(text: &str) -> Result<Self, ProgramScriptError> {
        let parts = || {
            let (words, rest) = text.split_once('=')?;
            let (exit, says) = rest.split_once(':')?;
            let exit = exit.parse().ok()?;
            let (words, says) = (words.to_owned(), says.to_owned());
            (!words.is_empty()).then_some(Self { words, exit, says })
        };
        parts().ok_or_else(|| ProgramScriptError { text: text.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_has_a_name_and_may_have_an_address() {
        let link = |text: &str| text.parse::<ForeignLink>().map_err(|error| error.to_string());
        assert_eq!(link("theirs0").unwrap().subnet, None);
        let subnet = Some("10.0.0.1/24".parse().unwrap());
        assert_eq!(link("theirs0=10.0.0.1/24").unwrap().subnet, subnet);
        for text in ["", "an interface", "theirs0=", "theirs0=10.0.0.1"] {
            assert!(link(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_program_is_told_by_words_and_has_an_end_and_a_last_line() {
        let script = |text: &str| text.parse::<ProgramScript>();
        let ProgramScript { words, exit, says } = script("apt-get=100:E: no otter").unwrap();
        assert_eq!((words.as_str(), exit, says.as_str()), ("apt-get", 100, "E: no otter"));
        for text in ["", "apt-get", "=1:x", "apt-get=x:y", "apt-get=1"] {
            let refused = script(text).unwrap_err().to_string();
            assert!(refused.contains("`WORDS=EXIT:LINE`"), "{refused}");
        }
    }
}
