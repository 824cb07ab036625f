//! Archives for tests. The tar crate checks the names that it writes, so these go in as they are.

use rustix::process::{getegid, geteuid};
use tar::{Builder, EntryType, Header};

/// An archive in the making. Owners are whoever runs the test, so that it needs no privilege.
pub(super) struct Archive(Builder<Vec<u8>>);

impl Archive {
    pub(super) fn new() -> Self {
        Self(Builder::new(Vec::new()))
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }

    /// Any entry. A name that does not fit the header goes in as it is in an extended one.
    pub(super) fn entry(
        mut self,
        kind: EntryType,
        name: &[u8],
        change: impl FnOnce(&mut Header),
        content: &[u8],
    ) -> Self {
        let mut header = header(kind, name, content.len());
        if name.len() > 100 {
            self.extended([("path", name)]);
        }
        change(&mut header);
        header.set_cksum();
        self.0.append(&header, content).unwrap();
        self
    }

    pub(super) fn file(self, name: &str, content: &[u8]) -> Self {
        self.entry(EntryType::Regular, name.as_bytes(), |_| {}, content)
    }

    pub(super) fn file_with(self, name: &str, change: impl FnOnce(&mut Header)) -> Self {
        self.entry(EntryType::Regular, name.as_bytes(), change, b"content")
    }

    pub(super) fn directory(self, name: &str) -> Self {
        self.entry(EntryType::Directory, name.as_bytes(), |header| header.set_mode(0o755), b"")
    }

    pub(super) fn symlink(self, name: &str, target: &str) -> Self {
        self.link(EntryType::Symlink, name, target)
    }

    pub(super) fn hard_link(self, name: &str, target: &str) -> Self {
        self.link(EntryType::Link, name, target)
    }

    fn link(self, kind: EntryType, name: &str, target: &str) -> Self {
        let set = |header: &mut Header| header.set_link_name_literal(target).unwrap();
        self.entry(kind, name.as_bytes(), set, b"")
    }

    pub(super) fn device(self, kind: EntryType, name: &str, device: (u32, u32)) -> Self {
        let set = |header: &mut Header| {
            header.set_device_major(device.0).unwrap();
            header.set_device_minor(device.1).unwrap();
        };
        self.entry(kind, name.as_bytes(), set, b"")
    }

    /// Records of an extended header for the entry that comes next.
    pub(super) fn records<'a>(
        mut self,
        records: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> Self {
        self.extended(records);
        self
    }

    fn extended<'a>(&mut self, records: impl IntoIterator<Item = (&'a str, &'a [u8])>) {
        self.0.append_pax_extensions(records).unwrap();
    }
}

fn header(kind: EntryType, name: &[u8], length: usize) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    let field = &mut header.as_old_mut().name;
    let fits = name.len().min(field.len());
    field[..fits].copy_from_slice(&name[..fits]);
    header.set_size(length.try_into().unwrap());
    header.set_mode(0o644);
    header.set_uid(geteuid().as_raw().into());
    header.set_gid(getegid().as_raw().into());
    header.set_mtime(1_000_000_000);
    header
}
