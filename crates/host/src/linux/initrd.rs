//! The initrd that one VM boots: shared archives and its own, one after the other.

use super::file;
use crate::{Change, HostError};
use banger_core::resource::Payload;
use std::fs::File;
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};

/// Linux looks for the next archive at a multiple of 4 bytes (`init/initramfs.c`).
const ALIGNMENT: u64 = 4;

/// Writes the file anew.
pub(super) fn ensure(path: &Path, parts: &[PathBuf], tail: &Payload) -> Result<Change, HostError> {
    file::write_whole(path, |to, _| {
        for part in parts {
            let mut from = File::open(part).map_err(HostError::io("open", part.display()))?;
            append(to, &mut from).map_err(HostError::io("write", path.display()))?;
        }
        to.write_all(&tail.0).map_err(HostError::io("write", path.display()))
    })?;
    Ok(Change::Changed)
}

fn append(to: &mut File, from: &mut File) -> io::Result<()> {
    io::copy(from, to)?;
    let end = to.stream_position()?;
    let padded = end.next_multiple_of(ALIGNMENT);
    let padding = [0; 3];
    let count = usize::try_from(padded - end).map_err(io::Error::other)?;
    to.write_all(&padding[..count])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn parts_are_padded_and_the_tail_comes_last_each_time_anew() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two, path) =
            (dir.path().join("one"), dir.path().join("two"), dir.path().join("initrd"));
        std::fs::write(&one, b"12345").unwrap();
        std::fs::write(&two, b"1234").unwrap();
        let parts = [one, two];
        for tail in [b"long tail".as_slice(), b"t"] {
            assert_eq!(ensure(&path, &parts, &Payload(tail.to_vec())).unwrap(), Change::Changed);
            let expected = [b"12345\0\0\x001234".as_slice(), tail].concat();
            assert_eq!(std::fs::read(&path).unwrap(), expected);
        }
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
}
