//! Checks of the files that a VM boots from, each with a reason that names what the file is instead.

use crate::kernel::{self, KernelError};
use banger_core::error::{ErrorCode, Explain};
use banger_core::image::Image;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// A file that a VM cannot boot from.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// It is not there.
    #[error("the {role} `{}` does not exist", path.display())]
    Missing {
        /// `kernel`, `initrd` or `root file system`.
        role: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// It cannot be read.
    #[error("cannot read the {role} `{}`", path.display())]
    Read {
        /// `kernel`, `initrd` or `root file system`.
        role: &'static str,
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// The kernel is none that can be booted.
    #[error("`{}` is no kernel that can be booted", path.display())]
    Kernel {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: KernelError,
    },
    /// The root file system is none.
    #[error("`{}` is no ext4 file system{}", path.display(), found.map_or(String::new(), |found| format!(": it is {found}")))]
    Rootfs {
        /// The file.
        path: PathBuf,
        /// What it is instead, if that is known.
        found: Option<&'static str>,
    },
}

impl Explain for ArtifactError {
    fn code(&self) -> ErrorCode {
        ErrorCode::ImageUnusable
    }

    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::Missing { .. } => {
                "check the path, or rebuild the bundle with `banger bundle build`"
            }
            Self::Read { .. } => "make the file readable for the daemon's user",
            Self::Kernel { .. } => "give an ELF `vmlinux` or a `bzImage` for x86-64",
            Self::Rootfs { found: Some(PARTITIONED), .. } => {
                "give an image of the root partition alone, for instance with \
                 `dd` from its first sector"
            }
            Self::Rootfs { .. } => "give a raw image with an ext4 file system from its first byte",
        };
        vec![hint.to_owned()]
    }
}

const PARTITIONED: &str = "a disk with a partition table";
/// How much of a file the checks look at: the magic of btrfs lies furthest behind.
const HEAD: usize = 0x1_0048;

/// What other images begin with: offset, bytes, name. The partition tables come last, since a file
/// system may have a boot sector before it.
const OTHERS: [(usize, &[u8], &str); 11] = [
    (0, b"QFI\xfb", "a qcow2 disk image"),
    (0, b"KDMV", "a VMDK disk image"),
    (0, b"hsqs", "a squashfs file system"),
    (0, b"XFSB", "an XFS file system"),
    (0, &[0x1f, 0x8b], "compressed with gzip"),
    (0, &[0xfd, b'7', b'z', b'X', b'Z'], "compressed with XZ"),
    (0, &[0x28, 0xb5, 0x2f, 0xfd], "compressed with Zstandard"),
    (0x101, b"ustar", "a tar archive"),
    (0x1_0040, b"_BHRfS_M", "a btrfs file system"),
    (0x200, b"EFI PART", PARTITIONED),
    (0x1fe, &[0x55, 0xaa], PARTITIONED),
];

/// Checks every file of an image.
///
/// # Errors
///
/// For the first of kernel, initrd and root file system that is missing, unreadable or something
/// else.
pub fn check_image(image: &Image) -> Result<(), ArtifactError> {
    check_boot_files(image)?;
    check_rootfs(&image.rootfs)
}

/// Checks the files of an image that every start needs: kernel and initrd.
///
/// # Errors
///
/// For the first that is missing, unreadable or something else.
pub fn check_boot_files(image: &Image) -> Result<(), ArtifactError> {
    check_kernel(&image.kernel)?;
    image.initrd.as_deref().map_or(Ok(()), check_initrd)
}

/// Checks that the file is an uncompressed kernel, by its first bytes.
///
/// # Errors
///
/// When it is missing, unreadable or something else.
pub fn check_kernel(path: &Path) -> Result<(), ArtifactError> {
    let head = read_head("kernel", path)?;
    kernel::check_vmlinux(&head)
        .map_err(|source| ArtifactError::Kernel { path: path.to_owned(), source })
}

/// Checks that the file holds an ext4 file system from its first byte.
///
/// # Errors
///
/// When it is missing, unreadable or something else, which is named if it is known.
pub fn check_rootfs(path: &Path) -> Result<(), ArtifactError> {
    let head = read_head("root file system", path)?;
    // s_magic, 0x38 into the superblock at 0x400. The magic alone is not much: a partition table
    // before it wins.
    let at = |offset: usize, magic: &[u8]| head.get(offset..offset + magic.len()) == Some(magic);
    if at(0x438, &[0x53, 0xef]) && !at(0x200, b"EFI PART") {
        return Ok(());
    }
    let found = OTHERS.iter().find(|(offset, magic, _)| at(*offset, magic));
    Err(ArtifactError::Rootfs { path: path.to_owned(), found: found.map(|&(_, _, name)| name) })
}

/// Checks that the file is there and can be read.
///
/// # Errors
///
/// When it is not.
pub fn check_initrd(path: &Path) -> Result<(), ArtifactError> {
    read_head("initrd", path).map(drop)
}

fn read_head(role: &'static str, path: &Path) -> Result<Vec<u8>, ArtifactError> {
    let read = || {
        let mut head = Vec::with_capacity(HEAD);
        let limit = u64::try_from(HEAD).unwrap_or(u64::MAX);
        File::open(path)?.take(limit).read_to_end(&mut head)?;
        Ok(head)
    };
    read().map_err(|source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => ArtifactError::Missing { role, path: path.to_owned() },
        _ => ArtifactError::Read { role, path: path.to_owned(), source },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(parts: &[(usize, &[u8])]) -> String {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut bytes = vec![0; 0x2_0000];
        for (offset, content) in parts {
            bytes[*offset..*offset + content.len()].copy_from_slice(content);
        }
        std::fs::write(file.path(), bytes).unwrap();
        match check_rootfs(file.path()) {
            Ok(()) => "ext4".to_owned(),
            Err(error) => error.to_string().rsplit("system").next().unwrap_or_default().to_owned(),
        }
    }

    #[test]
    fn an_image_that_is_no_ext4_is_named_for_what_it_is() {
        assert_eq!(verdict(&[(0x438, &[0x53, 0xef])]), "ext4");
        assert_eq!(verdict(&[]), "");
        assert_eq!(verdict(&[(0, b"QFI\xfb")]), ": it is a qcow2 disk image");
        assert_eq!(verdict(&[(0x1fe, &[0x55, 0xaa])]), ": it is a disk with a partition table");
        assert_eq!(
            verdict(&[(0x1fe, &[0x55, 0xaa]), (0x200, b"EFI PART"), (0x438, &[0x53, 0xef])]),
            ": it is a disk with a partition table"
        );
    }

    #[test]
    fn a_short_file_is_refused_and_not_overrun() {
        for length in [0, 1, 0x438, 0x439] {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), vec![0x53; length]).unwrap();
            assert!(matches!(check_rootfs(file.path()), Err(ArtifactError::Rootfs { .. })));
            assert!(matches!(check_kernel(file.path()), Err(ArtifactError::Kernel { .. })));
        }
    }

    #[test]
    fn a_missing_file_and_a_directory_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let missing = check_kernel(&dir.path().join("vmlinux")).unwrap_err();
        assert!(matches!(missing, ArtifactError::Missing { .. }));
        assert!(matches!(check_initrd(dir.path()), Err(ArtifactError::Read { .. })));
    }
}
