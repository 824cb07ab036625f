//! Starting a program that outlives the daemon.

use super::{CmdError, SYSTEM_PATH, command, find_program};
use rustix::process::{Pid, PidfdFlags, pidfd_open, setsid, umask};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Stdio;

/// A program that was started and is not waited for.
#[derive(Debug)]
pub struct Spawned {
    /// Its process id.
    pub pid: u32,
    /// A handle on the process that stays valid after its end. As long as this process lives, it
    /// is the program's parent and has to reap it.
    pub pidfd: OwnedFd,
}

/// The signals whose disposition may have come to the daemon as "ignore" and would go on to the
/// program: `nohup` ignores SIGHUP, a shell's background job SIGINT and SIGQUIT.
const RESET: [libc::c_int; 10] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGPIPE,
    libc::SIGALRM,
    libc::SIGTERM,
    libc::SIGCHLD,
    libc::SIGTSTP,
];

/// Starts a program in a session of its own: no controlling terminal, an empty signal mask and
/// default dispositions, no environment but `PATH` and `LC_ALL`, working directory `/`, umask 077,
/// standard input empty, and no other file descriptor than the two outputs.
pub fn spawn_detached(
    program: &Path,
    args: &[String],
    stdout: File,
    stderr: File,
) -> Result<Spawned, CmdError> {
    let path =
        find_program(program).ok_or_else(|| CmdError::NotFound { program: program.to_owned() })?;
    let failed = |source| CmdError::Spawn { program: path.clone(), source };
    let mut command = command(&path);
    command
        .args(args)
        .env_clear()
        .env("PATH", SYSTEM_PATH)
        .env("LC_ALL", "C")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(stderr);
    // SAFETY: `detach` runs between fork and exec and makes only system calls; it neither allocates
    // nor takes a lock.
    #[expect(unsafe_code, reason = "a session is made in the child")]
    unsafe {
        command.pre_exec(detach);
    }
    let child = command.spawn().map_err(failed)?;
    let pid = child.id();
    // Nobody has reaped it, so the number is still its own.
    let pidfd = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .ok_or(rustix::io::Errno::INVAL)
        .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()))
        .map_err(|errno| failed(errno.into()))?;
    tracing::debug!(program = %path.display(), ?args, pid, "program started");
    Ok(Spawned { pid, pidfd })
}

/// Runs in the child. The standard library has emptied its signal mask already.
fn detach() -> io::Result<()> {
    setsid()?;
    umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    // SAFETY: both calls take plain numbers and touch no memory of this program. Descriptors are
    // marked, not closed, because the standard library reports a failed exec through one of them.
    #[expect(unsafe_code, reason = "neither call has a safe interface")]
    unsafe {
        for signal in RESET {
            if libc::signal(signal, libc::SIG_DFL) == libc::SIG_ERR {
                return Err(io::Error::last_os_error());
            }
        }
        let cloexec = libc::CLOSE_RANGE_CLOEXEC.cast_signed();
        if libc::close_range(3, libc::c_uint::MAX, cloexec) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}
