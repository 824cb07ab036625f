//! Files that users name, opened so that nothing but a regular file is ever waited for or read.
//!
//! A named pipe without a writer blocks who opens it, and a device may have no end.

use rustix::fs::{Mode, OFlags, open as open_with};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Opens a regular file, or a link to one, for reading.
///
/// # Errors
///
/// When it cannot be opened, or is something else. It never blocks: a pipe is opened without waiting
/// for its writer (`O_NONBLOCK`, fifo(7)), which means nothing to a regular file.
pub fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(open_with(path, flags, Mode::empty())?);
    let kind = file.metadata()?.file_type();
    match kind.is_file() {
        true => Ok(file),
        false if kind.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        false => Err(io::Error::other("it is no regular file")),
    }
}

/// Reads a whole file that has at most so many bytes.
///
/// # Errors
///
/// As [`open`]; and when it is larger, of which no more is read than shows it.
pub fn read(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    open(path)?.take(limit).read_to_end(&mut bytes)?;
    match bytes.len() <= most {
        true => Ok(bytes),
        false => Err(io::Error::other(format!("it has more than {most} bytes"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, FileType, mknodat};
    use std::fs;

    #[test]
    fn a_pipe_is_refused_and_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        mknodat(CWD, &pipe, FileType::Fifo, Mode::from(0o600), 0).unwrap();
        assert_eq!(open(&pipe).unwrap_err().to_string(), "it is no regular file");
    }

    #[test]
    fn a_directory_and_a_device_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(open(dir.path()).unwrap_err().kind(), io::ErrorKind::IsADirectory);
        let device = read(Path::new("/dev/zero"), 10).unwrap_err();
        assert_eq!(device.to_string(), "it is no regular file");
    }

    #[test]
    fn a_file_is_read_up_to_its_bound_and_not_beyond() {
        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (dir.path().join("file"), dir.path().join("link"));
        fs::write(&path, "12345").unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert_eq!(read(&link, 5).unwrap(), b"12345");
        assert_eq!(read(&path, 4).unwrap_err().to_string(), "it has more than 4 bytes");
    }
}
