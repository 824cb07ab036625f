//! Checks of the files that a VM boots from, each with a reason that names what the file is instead.

use crate::compression::{self, Format};
use crate::kernel::{self, KernelError};
use crate::newc;
use crate::regular;
use banger_core::error::{ErrorCode, Explain, chain};
use banger_core::guest::{MODULES_DIR, MODULES_LIST};
use banger_core::image::Image;
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
    /// The root file system's file ends too early.
    #[error("the file system in `{}` has {wanted} bytes, and the file {found}", path.display())]
    CutShort {
        /// The file.
        path: PathBuf,
        /// What the superblock says.
        wanted: u64,
        /// The file's length.
        found: u64,
    },
    /// The initrd is none, or lacks modules that it lists.
    #[error("`{}` is no initrd that can be used: {reason}", path.display())]
    Initrd {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl ArtifactError {
    /// The file.
    pub fn path(&self) -> &Path {
        match self {
            Self::Missing { path, .. }
            | Self::Read { path, .. }
            | Self::Kernel { path, .. }
            | Self::Rootfs { path, .. }
            | Self::CutShort { path, .. }
            | Self::Initrd { path, .. } => path,
        }
    }
}

impl Explain for ArtifactError {
    fn code(&self) -> ErrorCode {
        ErrorCode::ImageUnusable
    }

    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::Missing { .. } => "check the path; where it was right before, put the file back",
            Self::Read { .. } => "make the file readable for the daemon's user",
            Self::Kernel { source: KernelError::Packed, .. } => {
                "take the `vmlinux` out of it with `extract-vmlinux` from Linux's `scripts`, or \
                 give the bzImage to `banger image import --kernel`, which does that"
            }
            Self::Kernel { .. } => "give an ELF `vmlinux` for x86-64",
            Self::Rootfs { found: Some(PARTITIONED), .. } => {
                "give an image of the root partition alone, for instance with \
                 `dd` from its first sector"
            }
            Self::Rootfs { .. } => "give a raw image with an ext4 file system from its first byte",
            Self::CutShort { .. } => "copy the whole image again",
            Self::Initrd { .. } => {
                "give an archive of the kernel's modules as `banger bundle build` makes it"
            }
        };
        vec![hint.to_owned()]
    }
}

const PARTITIONED: &str = "a disk with a partition table";
/// How much of a file the checks look at: the magic of btrfs lies furthest behind.
const HEAD: usize = 0x1_0048;

/// The largest kernel that is read whole, in bytes. With all of its debug information one has some
/// hundreds of MB.
pub const MAX_KERNEL: usize = 1 << 30;
/// The largest initrd that is looked into, packed or not. Debian's modules for a guest are a few MB.
const MAX_INITRD: usize = 512 << 20;

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

/// Reads a kernel, and checks that it is an uncompressed one.
///
/// # Errors
///
/// When it is missing, unreadable, too large or something else.
pub fn read_kernel(path: &Path) -> Result<Vec<u8>, ArtifactError> {
    let bytes = regular::read(path, MAX_KERNEL).map_err(|source| of_io("kernel", path, source))?;
    kernel::check_vmlinux(&bytes)
        .map_err(|source| ArtifactError::Kernel { path: path.to_owned(), source })?;
    Ok(bytes)
}

/// Reads an initrd.
///
/// # Errors
///
/// When it is missing, unreadable or too large.
pub fn read_initrd(path: &Path) -> Result<Vec<u8>, ArtifactError> {
    regular::read(path, MAX_INITRD).map_err(|source| of_io("initrd", path, source))
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

/// Checks that an ext4 file system is as long as its superblock says.
///
/// # Errors
///
/// When it is missing, unreadable, something else or cut short.
pub fn check_rootfs_whole(path: &Path) -> Result<(), ArtifactError> {
    check_rootfs(path)?;
    let head = read_head("root file system", path)?;
    // s_blocks_count_lo, s_log_block_size, s_feature_incompat and s_blocks_count_hi of the
    // superblock at 0x400; the high half counts only with the 64bit feature (0x80).
    let field = |offset: usize| {
        let bytes = head.get(0x400 + offset..0x404 + offset);
        u64::from(u32::from_le_bytes(
            bytes.map_or([0; 4], |bytes| [bytes[0], bytes[1], bytes[2], bytes[3]]),
        ))
    };
    let high = if field(0x60) & 0x80 == 0 { 0 } else { field(0x150) };
    let block = 1024u64.checked_shl(u32::try_from(field(0x18)).unwrap_or(u32::MAX)).unwrap_or(0);
    let wanted = (high << 32 | field(0x4)).saturating_mul(block);
    let found =
        std::fs::metadata(path).map_err(|source| of_io("root file system", path, source))?.len();
    if found < wanted {
        return Err(ArtifactError::CutShort { path: path.to_owned(), wanted, found });
    }
    Ok(())
}

/// Checks that the file is an archive as the kernel unpacks it, with every module that it lists. One
/// without a list is for a kernel that has everything built in.
///
/// # Errors
///
/// When it is missing, unreadable, something else or incomplete.
pub fn check_modules(path: &Path) -> Result<(), ArtifactError> {
    let bytes = read_initrd(path)?;
    let unfit = |reason: String| ArtifactError::Initrd { path: path.to_owned(), reason };
    let archive = match Format::of(&bytes) {
        Some(format) => {
            compression::unpack(format, &bytes, MAX_INITRD).map_err(|error| unfit(chain(&error)))?
        }
        None => bytes,
    };
    if !archive.starts_with(b"070701") {
        return Err(unfit("it is no cpio archive of the kind `newc`".to_owned()));
    }
    let Some(list) = newc::find_file(&archive, MODULES_LIST) else { return Ok(()) };
    let list = String::from_utf8_lossy(&archive[list]);
    let lost = list.lines().map(str::trim).find(|name| {
        !name.is_empty() && newc::find_file(&archive, &format!("{MODULES_DIR}/{name}")).is_none()
    });
    match lost {
        Some(name) => Err(unfit(format!("it lists the module `{name}`, which it does not hold"))),
        None => Ok(()),
    }
}

fn of_io(role: &'static str, path: &Path, source: io::Error) -> ArtifactError {
    match source.kind() {
        io::ErrorKind::NotFound => ArtifactError::Missing { role, path: path.to_owned() },
        _ => ArtifactError::Read { role, path: path.to_owned(), source },
    }
}

fn read_head(role: &'static str, path: &Path) -> Result<Vec<u8>, ArtifactError> {
    let read = || {
        let mut head = Vec::with_capacity(HEAD);
        let limit = u64::try_from(HEAD).unwrap_or(u64::MAX);
        regular::open(path)?.take(limit).read_to_end(&mut head)?;
        Ok(head)
    };
    read().map_err(|source: io::Error| of_io(role, path, source))
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
    fn a_packed_kernel_is_named_for_what_it_is() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut bytes = vec![0; 4096];
        bytes[0x202..0x206].copy_from_slice(b"HdrS");
        std::fs::write(file.path(), bytes).unwrap();
        let error = check_kernel(file.path()).unwrap_err();
        assert!(matches!(error, ArtifactError::Kernel { source: KernelError::Packed, .. }));
        assert!(error.hints()[0].contains("extract-vmlinux"), "{:?}", error.hints());
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
