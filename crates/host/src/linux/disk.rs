//! Disks that start empty: sparse files, with or without an ext4 file system.

use super::file;
use crate::cmd::Cmd;
use crate::{Change, HostError};
use banger_core::unit::Bytes;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The work disk's label, by which a guest can mount it.
const LABEL: &str = "banger-work";

/// Makes the file, or grows the one that is there. A larger one stays as it is.
pub(super) fn ensure_sparse(path: &Path, size: Bytes) -> Result<Change, HostError> {
    if let Some(is) = file::size(path)? {
        return file::grow(path, is, size);
    }
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|file| file.set_len(size.0))
        .map_err(HostError::io("create", path.display()))?;
    Ok(Change::Changed)
}

/// Makes the file and a file system in it, or grows the file that is there; the file system in it
/// is left as it is.
pub(super) fn ensure_ext4(path: &Path, size: Bytes) -> Result<Change, HostError> {
    if let Some(is) = file::size(path)? {
        return grow(path, is, size);
    }
    file::write_whole(path, |file, part| {
        file.set_len(size.0).map_err(HostError::io("create", path.display()))?;
        // The guest zeroes inode tables and journal when it first mounts; a new file needs no
        // discard.
        Cmd::new("mke2fs")
            .args(["-q", "-F", "-t", "ext4", "-m", "0", "-L", LABEL])
            .args(["-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard"])
            .arg(part)
            .run()
            .map_err(HostError::program("make a file system in", path.display()))?;
        Ok(())
    })?;
    Ok(Change::Changed)
}

fn grow(path: &Path, is: Bytes, wanted: Bytes) -> Result<Change, HostError> {
    if is > wanted {
        return Err(HostError::Shrink { path: path.to_owned(), is, wanted });
    }
    file::grow(path, is, wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};

    #[test]
    fn a_sparse_file_takes_no_room_grows_and_does_not_shrink() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cow");
        assert_eq!(ensure_sparse(&path, Bytes(1 << 30)).unwrap(), Change::Changed);
        assert_eq!(ensure_sparse(&path, Bytes(1 << 30)).unwrap(), Change::Unchanged);
        assert_eq!(ensure_sparse(&path, Bytes(2 << 30)).unwrap(), Change::Changed);
        let meta = path.metadata().unwrap();
        assert_eq!((meta.len(), meta.blocks()), (2 << 30, 0));
        assert_eq!(meta.permissions().mode() & 0o777, 0o600);
        assert_eq!(ensure_sparse(&path, Bytes(1 << 30)).unwrap(), Change::Unchanged);
        assert_eq!(path.metadata().unwrap().len(), 2 << 30);
    }

    #[test]
    fn a_work_disk_grows_and_a_shorter_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("work.img");
        File::create(&path).unwrap().set_len(1 << 30).unwrap();
        assert_eq!(ensure_ext4(&path, Bytes(2 << 30)).unwrap(), Change::Changed);
        let error = ensure_ext4(&path, Bytes(1 << 30)).unwrap_err();
        assert!(error.to_string().ends_with("measures 2.0 GiB and cannot shrink to 1.0 GiB"));
        assert_eq!(path.metadata().unwrap().len(), 2 << 30);
    }

    #[test]
    fn a_new_work_disk_is_a_sound_and_sparse_file_system() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("work.img");
        assert_eq!(ensure_ext4(&path, Bytes(1 << 30)).unwrap(), Change::Changed);
        assert_eq!(ensure_ext4(&path, Bytes(1 << 30)).unwrap(), Change::Unchanged);
        Cmd::new("e2fsck").arg("-fn").arg(&path).run().unwrap();
        let meta = path.metadata().unwrap();
        assert!(meta.blocks() * 512 < 64 << 20, "{} blocks", meta.blocks());
        assert_eq!(meta.permissions().mode() & 0o777, 0o600);
        // The superblock is at 1024; the label is at 120 in it (struct ext4_super_block).
        let mut label = [0; LABEL.len()];
        File::open(&path).unwrap().read_exact_at(&mut label, 1024 + 120).unwrap();
        assert_eq!(label, LABEL.as_bytes());
    }

    #[test]
    fn a_link_in_place_of_a_disk_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (target, path) = (dir.path().join("target"), dir.path().join("cow"));
        std::fs::write(&target, b"x").unwrap();
        std::os::unix::fs::symlink(&target, &path).unwrap();
        let outcome = ensure_sparse(&path, Bytes(1 << 20));
        assert!(matches!(outcome, Err(HostError::Foreign { .. })), "{outcome:?}");
        assert_eq!(target.metadata().unwrap().len(), 1);
    }
}
