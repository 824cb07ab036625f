//! Archives that the kernel unpacks as its initrd: cpio in the `newc` form.
//!
//! The format is that of Documentation/driver-api/early-userspace/buffer-format.rst of Linux: per
//! entry a header of 110 characters, the name and the content, each padded to four bytes. Archives
//! may stand one after another, so each ends on a full 512 bytes, as cpio(1) writes it. The same
//! entries give the same bytes: owners are root, times are zero.

use std::collections::BTreeSet;
use std::ops::Range;

/// The permission bits and, for a device, its type.
const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;
const CHAR_DEVICE: u32 = 0o020_000;
const TRAILER: &str = "TRAILER!!!";
const BLOCK: usize = 512;

/// Why an entry cannot be written.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NewcError {
    /// The format has 32 bits for a size.
    #[error("`{path}` is larger than the 4 GiB that a file in an initrd can have")]
    TooLarge {
        /// The entry.
        path: String,
    },
    /// The kernel would unpack it elsewhere, or end the name early.
    #[error("`{path}` is no absolute path that an initrd can hold")]
    Path {
        /// The entry.
        path: String,
    },
}

/// An archive in the making. Directories above an entry are added before it.
#[derive(Debug, Default)]
pub struct Archive {
    bytes: Vec<u8>,
    entries: u32,
    directories: BTreeSet<String>,
}

/// What an entry is besides its name and content.
#[derive(Debug, Default)]
struct Header {
    mode: u32,
    links: u32,
    device: (u32, u32),
}

impl Archive {
    /// An archive without entries.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a directory, which may have been added before. `mode` is its permission bits.
    ///
    /// # Errors
    ///
    /// When the path is not absolute and plain.
    pub fn directory(&mut self, path: &str, mode: u32) -> Result<(), NewcError> {
        let name = self.parents(path)?;
        if self.directories.insert(name.clone()) {
            let header = Header { mode: DIRECTORY | mode, links: 2, ..Header::default() };
            self.entry(&name, &header, &[])?;
        }
        Ok(())
    }

    /// Adds a regular file. `mode` is its permission bits.
    ///
    /// # Errors
    ///
    /// When the path is not absolute and plain, or the content has 4 GiB or more.
    pub fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> Result<(), NewcError> {
        let name = self.parents(path)?;
        self.entry(&name, &Header { mode: FILE | mode, links: 1, ..Header::default() }, content)
    }

    /// Adds a symbolic link.
    ///
    /// # Errors
    ///
    /// When the path is not absolute and plain.
    pub fn symlink(&mut self, path: &str, target: &str) -> Result<(), NewcError> {
        let name = self.parents(path)?;
        let header = Header { mode: SYMLINK | 0o777, links: 1, ..Header::default() };
        self.entry(&name, &header, target.as_bytes())
    }

    /// Adds a character device of the given major and minor number.
    ///
    /// # Errors
    ///
    /// When the path is not absolute and plain.
    pub fn char_device(
        &mut self,
        path: &str,
        mode: u32,
        device: (u32, u32),
    ) -> Result<(), NewcError> {
        let name = self.parents(path)?;
        self.entry(&name, &Header { mode: CHAR_DEVICE | mode, links: 1, device }, &[])
    }

    /// Ends the archive.
    pub fn finish(mut self) -> Vec<u8> {
        self.write(0, TRAILER, &Header { links: 1, ..Header::default() }, &[], 0);
        self.pad(BLOCK);
        self.bytes
    }

    /// Checks a path, adds the directories above it and returns it as the archive names it.
    fn parents(&mut self, path: &str) -> Result<String, NewcError> {
        let refused = || NewcError::Path { path: path.to_owned() };
        let name = path.strip_prefix('/').ok_or_else(refused)?;
        let plain = |part: &str| !matches!(part, "" | "." | "..");
        if name.contains('\0') || !name.split('/').all(plain) {
            return Err(refused());
        }
        for (end, _) in name.match_indices('/') {
            let parent = &name[..end];
            if self.directories.insert(parent.to_owned()) {
                let header = Header { mode: DIRECTORY | 0o755, links: 2, ..Header::default() };
                self.entry(parent, &header, &[])?;
            }
        }
        Ok(name.to_owned())
    }

    fn entry(&mut self, name: &str, header: &Header, content: &[u8]) -> Result<(), NewcError> {
        let size = u32::try_from(content.len())
            .map_err(|_overflow| NewcError::TooLarge { path: format!("/{name}") })?;
        self.entries += 1;
        self.write(self.entries, name, header, content, size);
        Ok(())
    }

    fn write(&mut self, inode: u32, name: &str, header: &Header, content: &[u8], size: u32) {
        let name_size = u32::try_from(name.len() + 1).expect("a path is shorter than 4 GiB");
        let (major, minor) = header.device;
        // In the order of the format; owner, group, time, the archive's own device and the checksum
        // are zero.
        let fields =
            [inode, header.mode, 0, 0, header.links, 0, size, 0, 0, major, minor, name_size, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad(4);
        self.bytes.extend_from_slice(content);
        self.pad(4);
    }

    fn pad(&mut self, to: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(to), 0);
    }
}

/// Where the content of the file `path` lies in an archive, or in several one after another; the
/// last one counts, as for the kernel.
pub fn find_file(archive: &[u8], path: &str) -> Option<Range<usize>> {
    let wanted = path.strip_prefix('/')?;
    let mut at = 0;
    let mut found = None;
    while let Some(entry) = archive.get(at..) {
        if entry.first() == Some(&0) {
            // Padding between archives.
            at += 1;
            continue;
        }
        if !entry.starts_with(b"070701") {
            break;
        }
        let field = |index: usize| {
            let text = entry.get(6 + index * 8..14 + index * 8)?;
            usize::from_str_radix(std::str::from_utf8(text).ok()?, 16).ok()
        };
        let (Some(size), Some(name_size)) = (field(6), field(11)) else { break };
        let name = entry.get(110..(110 + name_size).checked_sub(1)?)?;
        let content = (at + 110 + name_size).next_multiple_of(4);
        if name == wanted.as_bytes() {
            found = Some(content..content + size);
        }
        at = (content + size).next_multiple_of(4);
    }
    found.filter(|range| range.end <= archive.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> Vec<u8> {
        let mut archive = Archive::new();
        archive.file("/etc/issue", 0o644, b"hello").unwrap();
        archive.directory("/etc", 0o755).unwrap();
        archive.symlink("/bin", "usr/bin").unwrap();
        archive.char_device("/dev/console", 0o600, (5, 1)).unwrap();
        archive.finish()
    }

    #[test]
    fn archives_are_deterministic_and_end_on_a_block() {
        assert_eq!(sample(), sample());
        assert_eq!(sample().len() % BLOCK, 0);
    }

    #[test]
    fn the_header_is_as_the_format_says() {
        let bytes = sample();
        let text = String::from_utf8_lossy(&bytes);
        // The directory comes first, since the kernel creates none on its own.
        let directory = "070701000000010000\
            41ed00000000000000000000000200000000000000000000000000000000000000000000000000000004\
            00000000etc\0";
        assert!(text.starts_with(directory), "{}", &text[..120]);
        let device = text.find("dev/console").unwrap();
        let header = &text[device - 110..device];
        assert_eq!(&header[14..22], "00002180");
        assert_eq!(&header[78..94], "0000000500000001");
    }

    #[test]
    fn files_are_found_across_archives_and_the_last_one_counts() {
        let mut second = Archive::new();
        second.file("/etc/issue", 0o644, b"hello again").unwrap();
        let both = [sample(), second.finish()].concat();
        assert_eq!(&both[find_file(&both, "/etc/issue").unwrap()], b"hello again");
        assert_eq!(find_file(&both, "/etc/passwd"), None);
    }

    #[test]
    fn a_path_that_leads_elsewhere_is_refused() {
        for path in ["relative", "/", "/a/../b", "/a//b", "/a/", "/a\0b"] {
            let error = Archive::new().file(path, 0o644, b"").unwrap_err();
            assert_eq!(error, NewcError::Path { path: path.into() });
        }
    }

    proptest! {
        #[test]
        fn any_content_is_found_again(content: Vec<u8>, name in "[a-z]{1,9}(/[a-z]{1,9}){0,3}") {
            let path = format!("/{name}");
            let mut archive = Archive::new();
            archive.file(&path, 0o600, &content).unwrap();
            let bytes = archive.finish();
            prop_assert_eq!(&bytes[find_file(&bytes, &path).unwrap()], content.as_slice());
        }

        #[test]
        fn looking_into_arbitrary_bytes_never_panics(bytes: Vec<u8>) {
            let _outcome = find_file(&[b"070701".as_slice(), &bytes].concat(), "/init");
        }
    }
}
