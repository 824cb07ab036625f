//! The host for the time of one task, which runs as root.

use super::entry;
use super::place::Place;
use crate::root;
use crate::workspace::{Profile, Workspace};
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

/// For a command that only looks.
const LOOK: Duration = Duration::from_secs(60);

/// The host, up. It is for the task to call [`Session::end`], whatever happens.
#[derive(Debug)]
pub(crate) struct Session {
    place: Place,
    was_up: bool,
}

impl Session {
    /// Brings the host up with what `fill` adds to the directory that it sees as [`Session::SHARE`].
    /// A bundle that is not current is built with programs of the profile.
    pub(crate) fn begin(
        workspace: &Workspace,
        profile: Profile,
        fill: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<Self> {
        let mut all = Self::begin_all(workspace, profile, 1, fill)?;
        all.pop().context("there is one host")
    }

    /// Brings several hosts up, which know nothing of each other.
    pub(crate) fn begin_all(
        workspace: &Workspace,
        profile: Profile,
        count: usize,
        fill: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<Vec<Self>> {
        let places: Vec<Place> = (1..=count).map(|n| Place::of_host(workspace, n)).collect();
        let first = Place::new(workspace);
        let _one_at_a_time = first.lock_task()?;
        let were_up: Vec<bool> =
            places.iter().map(|place| Ok(place.read_record()?.is_some())).collect::<Result<_>>()?;
        let disks = super::prepare(workspace, &first, profile)?;
        fill(&first.share())?;
        super::ensure_all_up(&places, &disks)?;
        let sessions = places.into_iter().zip(were_up);
        Ok(sessions.map(|(place, was_up)| Self { place, was_up }).collect())
    }

    /// Where the host has a copy of the directory.
    pub(crate) const SHARE: &str = "/opt/banger";

    /// Runs a command. Its input ends when the user wants to end.
    pub(crate) fn run(&self, command: &[String], limit: Duration) -> Result<Ran> {
        entry::observe(&self.place, command, limit)
    }

    /// What a command writes that only looks; nothing if it fails.
    pub(crate) fn look(&self, command: &[&str]) -> Result<Option<String>> {
        let command: Vec<String> = command.iter().map(|word| (*word).to_owned()).collect();
        entry::look(&self.place, &command, LOOK)
    }

    /// Waits for a host that is being started again.
    pub(crate) fn await_up(&self) -> Result<()> {
        super::await_up(&self.place)
    }

    /// Ends the host, unless it was up before or is to be kept.
    pub(crate) fn end(self, after: After) -> Result<()> {
        if self.was_up || after == After::Keep {
            return Ok(());
        }
        let _one_at_a_time = self.place.lock_task()?;
        super::take_down(&self.place)
    }
}

/// What becomes of a host that was not up before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    /// It ends.
    End,
    /// It stays, for somebody to look at.
    Keep,
}

/// What came of a command.
#[derive(Debug)]
pub(crate) struct Ran {
    /// How it ended.
    pub(crate) end: End,
    /// What it wrote until then.
    pub(crate) stdout: String,
}

/// How a command in the host ended.
#[derive(Debug)]
pub(crate) enum End {
    /// By itself.
    Exited(ExitStatus),
    /// The host was ended or started again meanwhile; with the reason.
    Lost(String),
}

impl Ran {
    /// What it wrote, if it ended well.
    pub(crate) fn check(self, what: &str) -> Result<String> {
        match self.end {
            End::Exited(status) => root::told(status, what).map(|()| self.stdout),
            End::Lost(why) => bail!("{what}: {why}"),
        }
    }
}
