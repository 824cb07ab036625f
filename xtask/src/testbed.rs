//! `cargo xtask testbed`: a host of its own, with KVM and device-mapper, on any machine.
//!
//! ```text
//! xtask testbed up ─ starts ─> keeper ─ starts, watches ─> QEMU: the host
//!                              │ in a private network        ├─ /dev/vda  Debian, kept unchanged
//! xtask testbed ssh ── enters ─┘                             ├─ /dev/vdb  the runtime bundle
//!                                                            └─ 9p        the programs
//! ```
//!
//! The host forgets everything when it ends: what it writes goes to a file without a name. Where the
//! machine's KVM cannot run guests of guests, QEMU emulates a processor that can.

mod bundle_disk;
mod entry;
mod host_disk;
mod keeper;
mod machine;
mod place;
mod process;
mod programs;
mod record;
mod session;

pub(crate) use session::{After, End, Session};

use crate::workspace::{Profile, Workspace};
use crate::{bundle, firecracker, packages, root};
use anyhow::{Context, Result, anyhow, bail};
use clap::Subcommand;
use place::{Disks, Place};
use record::Phase;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// For a keeper to say its first word, and for it to end.
const KEEPER: Duration = Duration::from_secs(30);
/// For the host to come up, with the boots that the keeper tries again.
const UP: Duration = Duration::from_secs(1200);

/// What to do with the testbed.
#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Build what is not current, and bring the host up.
    Up,
    /// Enter the host, or run a command in it.
    Ssh {
        /// How many seconds the command may take.
        #[arg(long, default_value_t = 600)]
        timeout: u64,
        /// The command; a shell when there is none.
        #[arg(last = true)]
        command: Vec<String>,
    },
    /// Bring the host up with current programs, and run a command in it.
    Run {
        /// How many seconds the command may take.
        #[arg(long, default_value_t = 600)]
        timeout: u64,
        /// The command.
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Say how the host is.
    Status,
    /// End the host.
    Down,
    /// Keep the host running.
    #[command(hide = true)]
    Keep {
        /// The name of its directory.
        #[arg(long)]
        run: String,
        #[command(flatten)]
        disks: Disks,
    },
}

/// The task, as the user started it.
pub(crate) fn run(workspace: &Workspace, action: Action) -> Result<ExitCode> {
    let place = Place::new(workspace);
    match action {
        Action::Up => {
            up(workspace)?;
            println!("{}", status(&place)?);
        }
        Action::Run { timeout, command } => {
            up(workspace)?;
            return entry::run(&place, &command, Duration::from_secs(timeout));
        }
        Action::Ssh { command, .. } if command.is_empty() => return entry::shell(&place),
        Action::Ssh { timeout, command } => {
            return entry::run(&place, &command, Duration::from_secs(timeout));
        }
        Action::Status => {
            println!("{}", status(&place)?);
            let up = place.read_record()?.is_some_and(|record| record.phase == Phase::Up);
            return Ok(if up { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Action::Down => root::run(workspace, ["testbed-down"])?,
        Action::Keep { run, disks } => keeper::keep(&Place::of_run(workspace, &run), &disks)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn up(workspace: &Workspace) -> Result<()> {
    packages::install_with(&firecracker::PACKAGES)?;
    crate::programs::build(workspace, Profile::Release)?;
    root::run(workspace, ["testbed-up"])
}

/// Builds the disks and starts the host; the part that needs root.
pub(crate) fn up_as_root(workspace: &Workspace) -> Result<()> {
    let place = Place::new(workspace);
    let _one_at_a_time = place.lock_task()?;
    let done = programs::share(workspace, &place)
        .and_then(|()| prepare(workspace, &place, Profile::Release))
        .and_then(|disks| ensure_all_up(&[place], &disks));
    done.and(bundle::give_back(workspace))
}

/// Builds what is not current. The bundle, if it is not, is built with programs of this profile.
fn prepare(workspace: &Workspace, place: &Place, profile: Profile) -> Result<Disks> {
    let host = host_disk::ensure(place)?;
    let in_use = bundle::ensure(workspace, profile, bundle::Rebuild::IfStale)?;
    let bundle = bundle_disk::ensure(place, &workspace.bundle())?;
    drop(in_use);
    programs::share_firecracker(workspace, place)?;
    Ok(Disks { host, bundle })
}

/// Starts hosts with these disks where there is none, all at once. If one does not come up, those
/// that were not up before are ended.
fn ensure_all_up(places: &[Place], disks: &Disks) -> Result<()> {
    let Some(first) = places.first() else { return Ok(()) };
    let mut fresh = Vec::new();
    for place in places {
        if place.read_record()?.is_none() {
            fresh.push(place);
        }
    }
    if first.all_used()?.len() == fresh.len() {
        first.remove_disks_but(disks)?;
    }
    let up = std::thread::scope(|scope| {
        let all: Vec<_> =
            places.iter().map(|place| scope.spawn(|| ensure_up(place, disks))).collect();
        // The scope waits for all of them, whatever one of them says.
        all.into_iter()
            .try_for_each(|one| one.join().map_err(|_payload| anyhow!("a thread panicked"))?)
    });
    if up.is_err() {
        fresh.iter().try_for_each(|place| take_down(place))?;
    }
    up
}

/// Starts a host with these disks unless there is one.
fn ensure_up(place: &Place, disks: &Disks) -> Result<()> {
    if let Some(record) = place.read_record()? {
        if record.disks == *disks && record.phase != Phase::Failed {
            await_up(place)?;
            return entry::refresh_programs(place);
        }
        eprintln!("the host's disks have changed: it is started again");
        take_down(place)?;
    }
    place.clear_run()?;
    let started = keeper::start(place, disks).and_then(|()| await_up(place));
    if started.is_err() {
        // Also when the user wants to end: nothing goes on behind their back.
        place.save_console()?;
        take_down(place)?;
    }
    started
}

fn await_up(place: &Place) -> Result<()> {
    let (begin, mut told) = (Instant::now(), 0);
    loop {
        crate::interrupt::check()?;
        let Some(record) = place.read_record()? else {
            bail!("the host's keeper has ended; it said:\n{}", place.keeper_said());
        };
        for restart in record.restarts.iter().skip(told) {
            eprintln!("the host is started again: {}", restart.why);
        }
        told = record.restarts.len();
        match record.phase {
            Phase::Up => return Ok(()),
            Phase::Failed => {
                bail!("the host does not come up; see {}", place.console_kept().display())
            }
            Phase::Booting if begin.elapsed() > UP => bail!("the host does not come up in time"),
            Phase::Booting => std::thread::park_timeout(Duration::from_millis(200)),
        }
    }
}

/// Ends the host; the part that needs root.
pub(crate) fn down_as_root(workspace: &Workspace) -> Result<()> {
    let place = Place::new(workspace);
    let _one_at_a_time = place.lock_task()?;
    let was_up = place.read_record()?.is_some();
    place.all_used()?.iter().try_for_each(take_down)?;
    eprintln!("{}", if was_up { "the host is down" } else { "the host was not up" });
    Ok(())
}

/// Ends the keeper and with it the host, and removes what they kept.
fn take_down(place: &Place) -> Result<()> {
    if let Some(record) = place.read_record()? {
        record.keeper.end(KEEPER).context("cannot end the host's keeper")?;
        // The kernel has killed it with its keeper, if that could not do it.
        record.qemu.iter().try_for_each(|qemu| qemu.end(KEEPER)).context("cannot end the host")?;
    }
    place.clear_run()
}

fn status(place: &Place) -> Result<String> {
    let Some(record) = place.read_record()? else {
        return Ok("the host is down; `cargo xtask testbed up` brings it up".to_owned());
    };
    Ok(record.render() + &format!("  console  {}\n", place.console(record.boot).display()))
}
