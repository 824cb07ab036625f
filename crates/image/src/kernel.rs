//! Kernels: an uncompressed ELF (`vmlinux`) out of what distributions ship (`bzImage`).
//!
//! Firecracker boots an ELF only, and QEMU takes one too. A bzImage is a setup stub, then the
//! protected-mode code, in which the compressed ELF lies. The offsets are those of the Linux/x86 boot
//! protocol (Documentation/arch/x86/boot.rst):
//!
//! | offset | field | here |
//! |---|---|---|
//! | 0x1f1 | `setup_sects` | sectors of the stub after the first; 0 means 4 |
//! | 0x1fe | `boot_flag` | 0xAA55 |
//! | 0x202 | `header` | `HdrS` |
//! | 0x206 | `version` | at least 2.08, which added the payload's place |
//! | 0x248 | `payload_offset` | from the beginning of the protected-mode code |
//! | 0x24c | `payload_length` | with the unpacked size that the build may append |

use crate::compression::{self, Format};
use std::borrow::Cow;

pub use crate::compression::UnpackError;

/// The largest kernel that is unpacked. Debian's are 40 to 80 MB.
const MAX_KERNEL: usize = 1 << 30;
/// What a release has at most, with its end (`__NEW_UTS_LEN`).
const MAX_RELEASE: usize = 65;
const SETUP_SECTS: usize = 0x1f1;
const BOOT_FLAG: usize = 0x1fe;
const HEADER: usize = 0x202;
const VERSION: usize = 0x206;
const PAYLOAD_OFFSET: usize = 0x248;
const PAYLOAD_LENGTH: usize = 0x24c;
const SECTOR: usize = 512;
/// Version 2.08 of the boot protocol.
const OLDEST_VERSION: u16 = 0x0208;

/// Why a file is no kernel that can be booted.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// Neither ELF nor bzImage.
    #[error("it is neither an ELF file nor a bzImage")]
    Unknown,
    /// A bzImage where an ELF file has to be.
    #[error("it is a bzImage, and a VM boots from the ELF file `vmlinux` that is packed in it")]
    Packed,
    /// A bzImage from before 2008.
    #[error("its boot protocol is {major}.{minor:02}; 2.08 or newer is needed")]
    Protocol {
        /// The version before the dot.
        major: u8,
        /// The version after the dot.
        minor: u8,
    },
    /// The header points outside of the file.
    #[error("it is cut off: the compressed kernel should end at byte {end}, the file at {length}")]
    CutOff {
        /// Where the payload should end.
        end: u64,
        /// The file's length.
        length: usize,
    },
    /// The compressed kernel begins with bytes of no known format.
    #[error("its compressed kernel begins with {magic:02x?}, which no known format does")]
    Payload {
        /// The first bytes.
        magic: Vec<u8>,
    },
    /// The compressed kernel cannot be unpacked.
    #[error("its compressed kernel cannot be unpacked")]
    Unpack(#[from] UnpackError),
    /// An ELF file, but not for this machine, or no program.
    #[error("it is an ELF file, but no 64-bit x86 kernel")]
    WrongElf,
    /// The payload is something else.
    #[error("what it unpacks to is no ELF file")]
    NotElf,
}

/// The ELF kernel in a bzImage; an ELF kernel is returned as it is.
///
/// # Errors
///
/// When the bytes are neither, are damaged, or are compressed in a way that is not supported.
pub fn extract_vmlinux(image: &[u8]) -> Result<Cow<'_, [u8]>, KernelError> {
    if is_elf(image) {
        check_elf(image)?;
        return Ok(Cow::Borrowed(image));
    }
    let payload = payload(image)?;
    let format = Format::of(payload)
        .ok_or_else(|| KernelError::Payload { magic: payload.iter().take(6).copied().collect() })?;
    let kernel = compression::unpack(format, payload, MAX_KERNEL)?;
    if !is_elf(&kernel) {
        return Err(KernelError::NotElf);
    }
    check_elf(&kernel)?;
    Ok(Cow::Owned(kernel))
}

/// The release of an uncompressed kernel, as `uname -r` prints it and its modules' directory is called;
/// `None` where the kernel does not say.
pub fn release(vmlinux: &[u8]) -> Option<&str> {
    // `linux_banner` (init/version-timestamp.c). `linux_proc_banner` has a `%s` in the release's place.
    const BANNER: &[u8] = b"Linux version ";
    memchr::memmem::find_iter(vmlinux, BANNER).find_map(|at| {
        let rest = &vmlinux[at + BANNER.len()..];
        let end = rest.iter().take(MAX_RELEASE).position(|byte| *byte == b' ')?;
        let release = std::str::from_utf8(&rest[..end]).ok()?;
        release.starts_with(|c: char| c.is_ascii_digit()).then_some(release)
    })
}

/// Checks that a file which begins with these bytes (1024 are enough) is an ELF kernel for x86-64.
///
/// # Errors
///
/// [`KernelError::Packed`] for a bzImage, [`KernelError::Unknown`] when it is no ELF file,
/// [`KernelError::WrongElf`] when it is another.
pub fn check_vmlinux(start: &[u8]) -> Result<(), KernelError> {
    if is_elf(start) {
        return check_elf(start);
    }
    let is_packed = start.get(HEADER..HEADER + 4) == Some(b"HdrS");
    Err(if is_packed { KernelError::Packed } else { KernelError::Unknown })
}

fn is_elf(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x7fELF")
}

/// Class, byte order, type and machine, as elf(5) places them.
fn check_elf(bytes: &[u8]) -> Result<(), KernelError> {
    let fits = bytes.len() >= 64
        && bytes[4] == 2
        && bytes[5] == 1
        && matches!(read_u16(bytes, 16), Some(2 | 3))
        && read_u16(bytes, 18) == Some(62);
    if fits { Ok(()) } else { Err(KernelError::WrongElf) }
}

/// The compressed kernel in a bzImage.
fn payload(image: &[u8]) -> Result<&[u8], KernelError> {
    let has_header = read_u16(image, BOOT_FLAG) == Some(0xaa55)
        && image.get(HEADER..HEADER + 4) == Some(b"HdrS");
    let version = read_u16(image, VERSION).filter(|_| has_header).ok_or(KernelError::Unknown)?;
    if version < OLDEST_VERSION {
        let [major, minor] = version.to_be_bytes();
        return Err(KernelError::Protocol { major, minor });
    }
    let cut_off = |end| KernelError::CutOff { end, length: image.len() };
    let header_end = PAYLOAD_LENGTH + 4;
    let [offset, length] = [PAYLOAD_OFFSET, PAYLOAD_LENGTH].map(|at| read_u32(image, at));
    let (Some(offset), Some(length)) = (offset, length) else {
        return Err(cut_off(u64::try_from(header_end).unwrap_or(u64::MAX)));
    };
    let setup_sectors = match image[SETUP_SECTS] {
        0 => 4,
        sectors => usize::from(sectors),
    };
    let code = (setup_sectors + 1) * SECTOR;
    let begin = u64::try_from(code).unwrap_or(u64::MAX) + u64::from(offset);
    let end = begin + u64::from(length);
    let range = usize::try_from(begin).ok().zip(usize::try_from(end).ok());
    range.and_then(|(begin, end)| image.get(begin..end)).ok_or_else(|| cut_off(end))
}

fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::compression::tests::{SUPPORTED, pack};
    use proptest::prelude::*;

    /// An ELF header for x86-64 and some bytes after it.
    pub(crate) fn elf() -> Vec<u8> {
        let mut bytes = vec![0; 4096];
        bytes[..4].copy_from_slice(b"\x7fELF");
        [bytes[4], bytes[5], bytes[16], bytes[18]] = [2, 1, 2, 62];
        bytes
    }

    #[test]
    fn the_release_is_the_one_in_the_kernels_banner() {
        let kernel = |text: &str| [elf(), text.as_bytes().to_vec(), vec![0; 9]].concat();
        let banner = "%s version %s\0Linux version %s (x)\0Linux version 6.1.0-9-amd64 (gcc) #1";
        assert_eq!(release(&kernel(banner)), Some("6.1.0-9-amd64"));
        for without in ["", "Linux version ", "Linux version 6.1.0-9-amd64", "Linux version x (y)"]
        {
            assert_eq!(release(&kernel(without)), None, "{without}");
        }
        let endless = format!("Linux version {} ", "6".repeat(65));
        assert_eq!(release(&kernel(&endless)), None);
    }

    /// A bzImage with a stub of `setup_sects` and the payload 100 bytes into the code.
    fn bz_image(setup_sects: u8, payload: &[u8]) -> Vec<u8> {
        let sectors = if setup_sects == 0 { 4 } else { usize::from(setup_sects) };
        let mut image = vec![0; (sectors + 1) * SECTOR + 100];
        image[SETUP_SECTS] = setup_sects;
        image[BOOT_FLAG..][..2].copy_from_slice(&[0x55, 0xaa]);
        image[HEADER..][..4].copy_from_slice(b"HdrS");
        image[VERSION..][..2].copy_from_slice(&0x020f_u16.to_le_bytes());
        image[PAYLOAD_OFFSET..][..4].copy_from_slice(&100_u32.to_le_bytes());
        let length = u32::try_from(payload.len()).unwrap();
        image[PAYLOAD_LENGTH..][..4].copy_from_slice(&length.to_le_bytes());
        image.extend_from_slice(payload);
        image.extend_from_slice(b"what follows the payload");
        image
    }

    #[test]
    fn each_compression_gives_the_kernel_back() {
        for format in SUPPORTED {
            for setup_sects in [0, 4, 27] {
                let image = bz_image(setup_sects, &pack(format, &elf()));
                assert!(*extract_vmlinux(&image).unwrap() == elf(), "{format}");
            }
        }
    }

    #[test]
    fn an_elf_kernel_passes_through() {
        let kernel = elf();
        assert!(matches!(extract_vmlinux(&kernel), Ok(Cow::Borrowed(_))));
    }

    #[test]
    fn what_is_no_kernel_is_refused_with_the_reason() {
        let reason = |bytes: &[u8]| extract_vmlinux(bytes).unwrap_err().to_string();
        assert_eq!(reason(b"#!/bin/sh\n"), "it is neither an ELF file nor a bzImage");
        let mut arm = elf();
        arm[18] = 183;
        assert_eq!(reason(&arm), "it is an ELF file, but no 64-bit x86 kernel");
        assert_eq!(
            reason(&bz_image(4, b"\0\0\0\0\0\0\0")),
            "its compressed kernel begins with [00, 00, 00, 00, 00, 00], which no known format does"
        );
        let other = pack(SUPPORTED[0], b"no kernel");
        assert_eq!(reason(&bz_image(4, &other)), "what it unpacks to is no ELF file");
        let mut old = bz_image(4, b"");
        old[VERSION..][..2].copy_from_slice(&0x0207_u16.to_le_bytes());
        assert_eq!(reason(&old), "its boot protocol is 2.07; 2.08 or newer is needed");
    }

    #[test]
    fn a_compression_without_a_decoder_is_refused_by_name() {
        for (magic, name) in [(&b"BZh9"[..], "bzip2"), (b"\x5d\0\0\0", "LZMA"), (b"\x89LZO", "LZO")]
        {
            let Err(KernelError::Unpack(error)) = extract_vmlinux(&bz_image(4, magic)).map(drop)
            else {
                panic!("{name} is not supported")
            };
            assert!(error.to_string().starts_with(name), "{error}");
        }
    }

    #[test]
    fn a_file_that_is_cut_off_is_named_so() {
        let image = bz_image(4, &pack(SUPPORTED[0], &elf()));
        for length in [0x24a, 0x250, 2700] {
            let error = extract_vmlinux(&image[..length]).unwrap_err();
            assert!(matches!(error, KernelError::CutOff { .. }), "{length}: {error}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _outcome = extract_vmlinux(&bytes);
        }

        #[test]
        fn an_arbitrary_header_never_panics(
            header in proptest::collection::vec(any::<u8>(), SETUP_SECTS..0x260),
            payload: Vec<u8>,
        ) {
            let mut image = bz_image(4, &payload);
            let length = header.len().min(0x260);
            image[SETUP_SECTS..length].copy_from_slice(&header[SETUP_SECTS..length]);
            image[BOOT_FLAG..][..2].copy_from_slice(&[0x55, 0xaa]);
            image[HEADER..][..4].copy_from_slice(b"HdrS");
            let _outcome = extract_vmlinux(&image);
        }
    }
}
