//! Starting the daemon.

use super::ConnectError;
use crate::launch;
use banger_api::Version;
use banger_api::client::Client;
use rustix::fs::{FlockOperation, flock};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// How long a start may take. The daemon settles what a crash left before it answers.
const DEADLINE: Duration = Duration::from_secs(60);
/// How often to see whether it answers.
const INTERVAL: Duration = Duration::from_millis(10);
/// As much of what a daemon said is shown.
const LONGEST_SPEECH: u64 = 16 << 10;

/// Starts `program` unless a daemon answers by then, and waits until one does.
///
/// Of several clients that want to start one at the same time, one does and the others wait for it.
pub(super) async fn start(
    client: &Client,
    runtime_dir: &Path,
    program: &Path,
    state_dir: Option<&Path>,
) -> Result<Version, ConnectError> {
    let deadline = Instant::now() + DEADLINE;
    let _turn = take_turn(runtime_dir, deadline).await?;
    if let Ok(version) = client.version().await {
        return Ok(version);
    }
    let mut words = open(&runtime_dir.join("bangerd.stderr"))?;
    words.set_len(0).map_err(in_dir(runtime_dir))?;
    let theirs = words.try_clone().map_err(in_dir(runtime_dir))?;
    let mut child = launch::start_daemon(program, state_dir, theirs)?;
    let mut ticks = ticks();
    loop {
        ticks.tick().await;
        match client.version().await {
            Ok(version) => return Ok(version),
            // It listens before it has all that it needs, and may still give up.
            Err(error) if error.is_unreachable() || error.is_broken_off() => {}
            Err(error) => return Err(error.into()),
        }
        if let Ok(Some(status)) = child.try_wait() {
            return Err(ConnectError::Ended { status, said: read(&mut words) });
        }
        if Instant::now() >= deadline {
            return Err(ConnectError::Silent {
                seconds: DEADLINE.as_secs(),
                said: read(&mut words),
            });
        }
    }
}

fn ticks() -> tokio::time::Interval {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

fn in_dir(path: &Path) -> impl FnOnce(io::Error) -> ConnectError {
    move |source| ConnectError::RuntimeDir { path: path.to_owned(), source }
}

fn open(path: &Path) -> Result<File, ConnectError> {
    // Appending, so that what the daemon says later does not overwrite what it said first.
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true).mode(0o600);
    options.open(path).map_err(in_dir(path))
}

/// Waits until no other client is starting a daemon. The turn ends when the file is closed.
async fn take_turn(runtime_dir: &Path, deadline: Instant) -> Result<File, ConnectError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(runtime_dir);
    made.and_then(|()| check_owner(runtime_dir)).map_err(in_dir(runtime_dir))?;
    let file = open(&runtime_dir.join("start.lock"))?;
    let mut ticks = ticks();
    loop {
        ticks.tick().await;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < deadline => {}
            Err(errno) => return Err(in_dir(runtime_dir)(errno.into())),
        }
    }
}

/// In a directory that everybody can write to, anybody could have made ours.
fn check_owner(dir: &Path) -> io::Result<()> {
    let (owner, user) = (dir.symlink_metadata()?.uid(), rustix::process::geteuid().as_raw());
    if owner == user {
        return Ok(());
    }
    let message = format!("it belongs to user {owner}, and this is user {user}");
    Err(io::Error::new(io::ErrorKind::PermissionDenied, message))
}

/// What the daemon has said.
fn read(words: &mut File) -> String {
    let mut bytes = Vec::new();
    let read = words
        .seek(SeekFrom::Start(0))
        .and_then(|_| words.take(LONGEST_SPEECH).read_to_end(&mut bytes));
    match read {
        Ok(_) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => format!("what it said cannot be read: {error}"),
    }
}
