//! Private copies of a disk image.
//!
//! They are not synced to the disk: a daemon that ends loses nothing, a power cut within seconds of
//! a VM's creation can.

use super::file;
use crate::{Change, HostError};
use banger_core::resource::CloneMethod;
use banger_core::unit::Bytes;
use rustix::fs::{SeekFrom, ioctl_ficlone, seek};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// How much is copied at a time. Where blocks are not shared `copy_file_range` goes through pipes and
/// took 1.14 times as long; 512 KiB and more took up to five times as long, with much the same least
/// time (1.1 GiB on ext4, Linux 6.18, 25 rounds of each in turn).
const PIECE: usize = 128 << 10;

/// Makes the clone, or grows the one that is there.
pub(super) fn ensure(
    path: &Path,
    source: &Path,
    size: Bytes,
    method: CloneMethod,
) -> Result<Change, HostError> {
    if let Some(is) = file::size(path)? {
        return file::grow(path, is, size);
    }
    let opened = File::open(source).and_then(|file| Ok((file.metadata()?.len(), file)));
    let (length, from) = opened.map_err(HostError::io("open", source.display()))?;
    file::write_whole(path, |to, _| {
        let cloned = match method {
            CloneMethod::Reflink => reflink(to, &from),
            CloneMethod::Copy => copy_data(&from, to, &AtomicBool::new(false)),
        };
        cloned
            .and_then(|()| to.set_len(length.max(size.0)))
            .map_err(HostError::io("clone the image to", path.display()))
    })?;
    Ok(Change::Changed)
}

/// Lets `to` share all of the blocks of `from`. Both must be on one file system that can do so.
pub(crate) fn reflink(to: &File, from: &File) -> io::Result<()> {
    Ok(ioctl_ficlone(to, from)?)
}

/// Makes a new file that reads as another does: one that shares its blocks where the file system can,
/// else a copy with the holes kept.
///
/// # Errors
///
/// When either cannot be read or written, and with [`io::ErrorKind::Interrupted`] once `cancel` is
/// set; what is there of the new file is left to the caller.
pub fn copy_file(source: &Path, target: &Path, cancel: &AtomicBool) -> io::Result<()> {
    let from = File::open(source)?;
    let to = File::create_new(target)?;
    if reflink(&to, &from).is_ok() {
        return Ok(());
    }
    copy_data(&from, &to, cancel)?;
    to.set_len(from.metadata()?.len())
}

/// Copies what is not a hole, to the same offsets. The length is left to the caller.
fn copy_data(from: &File, to: &File, cancel: &AtomicBool) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    let mut offset = 0;
    loop {
        let start = match seek(from, SeekFrom::Data(offset)) {
            Ok(start) => start,
            // No data at or after the offset (lseek(2)).
            Err(Errno::NXIO) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        };
        let end = seek(from, SeekFrom::Hole(start))?;
        offset = start;
        while offset < end {
            if cancel.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let length = usize::try_from(end - offset).map_or(PIECE, |left| left.min(PIECE));
            from.read_exact_at(&mut piece[..length], offset)?;
            to.write_all_at(&piece[..length], offset)?;
            offset += length as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    const MIB: u64 = 1 << 20;

    /// 64 MiB with data at 8 MiB and at the very end.
    fn image(dir: &Path) -> std::path::PathBuf {
        let path = dir.join("image");
        let file = File::create(&path).unwrap();
        file.write_all_at(b"otter", 8 * MIB).unwrap();
        file.write_all_at(b"end", 64 * MIB - 3).unwrap();
        path
    }

    #[test]
    fn a_copy_has_the_data_and_the_holes_and_the_wanted_size() {
        let dir = tempfile::tempdir().unwrap();
        let (source, path) = (image(dir.path()), dir.path().join("clone"));
        let wanted = Bytes(100 * MIB);
        let change = ensure(&path, &source, wanted, CloneMethod::Copy).unwrap();
        assert_eq!(change, Change::Changed);
        let (copy, meta) = (File::open(&path).unwrap(), path.metadata().unwrap());
        assert_eq!((meta.len(), meta.permissions().mode() & 0o777), (wanted.0, 0o600));
        assert!(meta.blocks() * 512 < 2 * MIB, "holes were filled: {}", meta.blocks());
        let mut bytes = [0; 5];
        copy.read_exact_at(&mut bytes, 8 * MIB).unwrap();
        assert_eq!(&bytes, b"otter");
        copy.read_exact_at(&mut bytes, 64 * MIB - 3).unwrap();
        assert_eq!(&bytes, b"end\0\0");
        assert!(!file::part(&path).exists());
    }

    #[test]
    fn an_existing_clone_is_kept_and_grown_and_never_shrinks() {
        let dir = tempfile::tempdir().unwrap();
        let (source, path) = (image(dir.path()), dir.path().join("clone"));
        std::fs::write(&path, b"mine").unwrap();
        let to = |size| ensure(&path, &source, Bytes(size), CloneMethod::Copy).unwrap();
        assert_eq!(to(MIB), Change::Changed);
        assert_eq!(to(MIB), Change::Unchanged);
        assert_eq!(to(10), Change::Unchanged);
        let bytes = std::fs::read(&path).unwrap();
        assert!(bytes.starts_with(b"mine\0") && bytes.len() == 1 << 20);
    }

    #[test]
    fn a_clone_is_at_least_as_large_as_its_source() {
        let dir = tempfile::tempdir().unwrap();
        let (source, path) = (image(dir.path()), dir.path().join("clone"));
        assert_eq!(ensure(&path, &source, Bytes(1), CloneMethod::Copy).unwrap(), Change::Changed);
        assert_eq!(path.metadata().unwrap().len(), 64 * MIB);
    }

    #[test]
    fn a_half_written_clone_is_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let (source, path) = (image(dir.path()), dir.path().join("clone"));
        std::fs::write(file::part(&path), b"half").unwrap();
        assert_eq!(ensure(&path, &source, Bytes(1), CloneMethod::Copy).unwrap(), Change::Changed);
        let mut start = [1; 4];
        File::open(&path).unwrap().read_exact_at(&mut start, 0).unwrap();
        assert_eq!(start, [0; 4]);
    }

    /// The outcome depends on the file system below the temporary directory.
    #[test]
    fn a_reflink_is_a_whole_clone_or_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (source, path) = (image(dir.path()), dir.path().join("clone"));
        let outcome = ensure(&path, &source, Bytes(100 * MIB), CloneMethod::Reflink);
        if crate::facts::reflink_supported(dir.path()) {
            assert_eq!(outcome.unwrap(), Change::Changed);
            let mut bytes = [0; 5];
            File::open(&path).unwrap().read_exact_at(&mut bytes, 8 * MIB).unwrap();
            assert_eq!((&bytes, path.metadata().unwrap().len()), (b"otter", 100 * MIB));
        } else {
            assert!(matches!(outcome, Err(HostError::Io { .. })), "{outcome:?}");
            assert!(!path.exists() && !file::part(&path).exists());
        }
    }

    #[test]
    fn a_missing_image_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("clone");
        let error = ensure(&path, &dir.path().join("no"), Bytes(1), CloneMethod::Copy);
        assert!(matches!(error, Err(HostError::Io { action: "open", .. })), "{error:?}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
