//! The digest of a file of which most is a hole.
//!
//! A root file system of 8 GiB may hold a few hundred MiB. So what is hashed is each block of 4 KiB that
//! is not all zeroes, after its number, and the file's length behind the last. Two files have one
//! digest exactly when they read the same, whether their zeroes are holes or not.

use crate::checksum::Summing;
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// What is left out where it is all zeroes. Holes begin and end between two of them on every file
/// system that is in use.
const BLOCK: usize = 4096;
/// How much is read at a time.
const CHUNK: usize = 1 << 20;

/// Reads what is not a hole; the result is `sparse-sha256:` and 64 hexadecimal digits.
///
/// # Errors
///
/// When the file cannot be read, and with [`io::ErrorKind::Interrupted`] once `cancel` is set.
pub fn digest_file(path: &Path, cancel: &AtomicBool) -> io::Result<String> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut sum = Summing::default();
    let mut chunk = Vec::with_capacity(CHUNK);
    let mut offset = 0;
    while let Some(start) = next_data(&file, offset)? {
        if cancel.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let first = start - start % BLOCK as u64;
        seek(&file, SeekFrom::Start(first))?;
        chunk.clear();
        (&file).take(CHUNK as u64).read_to_end(&mut chunk)?;
        for (number, block) in (first / BLOCK as u64..).zip(chunk.chunks(BLOCK)) {
            if block.iter().any(|byte| *byte != 0) {
                sum.add(&number.to_le_bytes());
                sum.add(block);
            }
        }
        offset = first + chunk.len() as u64;
    }
    sum.add(&length.to_le_bytes());
    Ok(format!("sparse-sha256:{}", sum.finish()))
}

/// Where the next data begins; `None` where there is nothing but a hole up to the end (lseek(2)).
fn next_data(file: &File, offset: u64) -> io::Result<Option<u64>> {
    match seek(file, SeekFrom::Data(offset)) {
        Ok(start) => Ok(Some(start)),
        Err(Errno::NXIO) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};
    use std::os::unix::fs::FileExt;
    use tempfile::NamedTempFile;

    fn digest(file: &NamedTempFile) -> String {
        digest_file(file.path(), &AtomicBool::new(false)).unwrap()
    }

    /// Data in the first, the 512th and the last, short block.
    fn sparse() -> NamedTempFile {
        let file = NamedTempFile::new().unwrap();
        file.as_file().set_len((4 << 20) + 100).unwrap();
        for at in [10, 2 << 20, (4 << 20) + 90] {
            file.as_file().write_all_at(b"otter", at).unwrap();
        }
        file
    }

    #[test]
    fn a_digest_is_of_the_blocks_with_their_numbers_and_of_the_length() {
        let file = NamedTempFile::new().unwrap();
        file.as_file().set_len(8192).unwrap();
        file.as_file().write_all_at(b"abc", 4096).unwrap();
        let mut hash = Sha256::new();
        hash.update(1u64.to_le_bytes());
        hash.update(b"abc");
        hash.update([0; 4093]);
        hash.update(8192u64.to_le_bytes());
        let digits: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digest(&file), format!("sparse-sha256:{digits}"));
    }

    #[test]
    fn holes_and_zeroes_are_the_same_and_nothing_else_is() {
        let file = sparse();
        let written = NamedTempFile::new().unwrap();
        std::fs::write(written.path(), std::fs::read(file.path()).unwrap()).unwrap();
        let known = digest(&file);
        assert_eq!(digest(&written), known);
        written.as_file().write_all_at(b"x", 3 << 20).unwrap();
        assert_ne!(digest(&written), known);
        file.as_file().set_len((4 << 20) + 200).unwrap();
        assert_ne!(digest(&file), known);
    }

    #[test]
    fn a_digest_can_be_broken_off() {
        let error = digest_file(sparse().path(), &AtomicBool::new(true)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Interrupted);
    }
}
