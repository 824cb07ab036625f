//! Reading `/proc` (proc(5)).

use crate::facts::ThisProcess;
use banger_core::unit::Bytes;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

/// What `/proc/<pid>/stat` says of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    /// `R`, `S`, `D`, `Z`, …
    pub(super) state: u8,
    /// The session's id: the pid of its leader.
    pub(super) session: u32,
    /// User and kernel time together, in clock ticks.
    pub(super) cpu_ticks: u64,
    /// Since boot, in clock ticks.
    pub(super) start_time: u64,
}

impl Stat {
    /// Whether the process has ended and waits to be reaped.
    pub(super) fn is_over(self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x')
    }

    /// Processor time used so far, in user and kernel mode together.
    pub(super) fn cpu(self) -> Duration {
        let ticks = rustix::param::clock_ticks_per_second().max(1);
        Duration::from_millis(self.cpu_ticks.saturating_mul(1000) / ticks)
    }
}

/// The process's state; `None` if there is no such process.
pub(super) fn stat(pid: u32) -> io::Result<Option<Stat>> {
    match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(text) => parse_stat(&text).map(Some).ok_or_else(|| io::ErrorKind::InvalidData.into()),
        Err(error) if is_gone(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn parse_stat(text: &str) -> Option<Stat> {
    // The second field is the program's name in parentheses, which may itself have any character.
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // Field n of the manual is at n - 3.
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    Some(Stat {
        state: *fields.first()?.as_bytes().first()?,
        session: u32::try_from(number(6)?).ok()?,
        cpu_ticks: number(14)?.checked_add(number(15)?)?,
        start_time: number(22)?,
    })
}

/// The process's arguments, each ended by a NUL; empty for a kernel thread, for a process that is
/// over or has begun to exit, and for none.
pub(super) fn cmdline(pid: u32) -> Vec<u8> {
    let Ok(mut file) = File::open(format!("/proc/{pid}/cmdline")) else { return Vec::new() };
    // In one read if at all possible: a process that exits between two has half its arguments.
    let mut buffer = [0; 16 << 10];
    let mut cmdline = Vec::new();
    while let Ok(count @ 1..) = file.read(&mut buffer) {
        cmdline.extend_from_slice(&buffer[..count]);
        if count < buffer.len() {
            break;
        }
    }
    cmdline
}

/// The process's resident memory; nothing if there is no such process.
pub(super) fn resident(pid: u32) -> Bytes {
    let text = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    let pages = text.split_ascii_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    let page = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
    Bytes(pages.unwrap_or(0) * page)
}

/// What this process uses; `None` where `/proc` does not tell.
pub(crate) fn this_process() -> Option<ThisProcess> {
    let pid = std::process::id();
    let stat = stat(pid).ok().flatten()?;
    let open_files = fs::read_dir("/proc/self/fd").ok()?.count();
    let open_files = u64::try_from(open_files).ok()?;
    Some(ThisProcess { resident: resident(pid), cpu: stat.cpu(), open_files })
}

/// The pids of all processes.
pub(super) fn pids() -> io::Result<impl Iterator<Item = u32>> {
    let entries = fs::read_dir("/proc")?;
    Ok(entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()))
}

/// Whether the process could be one that this daemon or an earlier one has started: it leads a
/// session, as every VMM does, and it has this user. That leaves out a `curl` or `socat` at the
/// prompt with the same socket among its arguments.
pub(super) fn is_detached_and_ours(pid: u32, stat: Stat) -> bool {
    let own = rustix::process::geteuid().as_raw();
    stat.session == pid && fs::metadata(format!("/proc/{pid}")).is_ok_and(|meta| meta.uid() == own)
}

/// Whether an argument is the path, or has it as a value: `unix:<path>,server=on`, `path=<path>`.
pub(super) fn mentions(cmdline: &[u8], path: &Path) -> bool {
    let path = path.as_os_str().as_bytes();
    !path.is_empty()
        && cmdline.split(|byte| *byte == 0).any(|arg| {
            arg.windows(path.len()).enumerate().any(|(at, window)| {
                let before = at.checked_sub(1).map(|at| arg[at]);
                let after = arg.get(at + path.len());
                window == path
                    && matches!(before, None | Some(b'=' | b':'))
                    && matches!(after, None | Some(b','))
            })
        })
}

/// What stands between `prefix` and `suffix` in the first argument that has both as
/// [`mentions`] wants them, and no slash in between.
pub(super) fn between<'a>(cmdline: &'a [u8], prefix: &OsStr, suffix: &str) -> Option<&'a str> {
    let prefix = prefix.as_bytes();
    cmdline.split(|byte| *byte == 0).find_map(|arg| {
        let at = arg.windows(prefix.len()).position(|window| window == prefix)?;
        let rest = std::str::from_utf8(&arg[at + prefix.len()..]).ok()?;
        let (name, end) = rest.split_once('/')?;
        let is_whole = end == suffix || end.strip_prefix(suffix)?.starts_with(',');
        let is_start = at == 0 || matches!(arg[at - 1], b'=' | b':');
        (is_whole && is_start).then_some(name)
    })
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_with_parentheses_and_blanks_does_not_shift_the_fields() {
        let text = "7 (a) R (b) S 1 7 7 0 -1 0 1 2 3 4 50 60 0 0 20 0 1 0 4711 1 2 3";
        let stat = parse_stat(text).unwrap();
        let expected = Stat { state: b'S', session: 7, cpu_ticks: 110, start_time: 4711 };
        assert_eq!(stat, expected);
    }

    #[test]
    fn this_process_is_there_and_running() {
        let stat = stat(std::process::id()).unwrap().unwrap();
        assert!(!stat.is_over() && stat.start_time > 0);
        let own = this_process().unwrap();
        assert!(own.resident > Bytes(0) && own.open_files > 0);
        assert!(pids().unwrap().any(|pid| pid == std::process::id()));
    }

    #[test]
    fn a_path_counts_only_as_a_whole_value() {
        let path = Path::new("/r/vms/x/api.sock");
        for yes in [
            "fc\0--api-sock\0/r/vms/x/api.sock\0",
            "q\0-qmp\0unix:/r/vms/x/api.sock,server=on\0",
            "q\0-chardev\0socket,path=/r/vms/x/api.sock,id=a\0",
        ] {
            assert!(mentions(yes.as_bytes(), path), "{yes}");
            let found = between(yes.as_bytes(), OsStr::new("/r/vms/"), "api.sock");
            assert_eq!(found, Some("x"), "{yes}");
        }
        for no in [
            "fc\0/r/vms/x/api.sock2\0",
            "fc\0/other/r/vms/x/api.sock\0",
            "fc\0/r/vms/x/\0api.sock\0",
            "",
        ] {
            assert!(!mentions(no.as_bytes(), path), "{no}");
            assert_eq!(between(no.as_bytes(), OsStr::new("/r/vms/"), "api.sock"), None, "{no}");
        }
    }

    proptest! {
        #[test]
        fn any_stat_is_read_without_a_panic(text in "\\PC{0,80}") {
            let _outcome = parse_stat(&text);
        }
    }
}
