//! The entries of a tar archive, one after another, with bounds on everything that is held in memory.
//!
//! The tar crate knows the headers. Walking over them is done here, since it reads extended headers
//! of any length into memory and splits their values at line ends, which binary attributes have.

use super::error::TarError;
use super::extended::Records;
use super::name::lossy;
use super::sparse::{self, Map};
use rustix::fs::Timespec;
use std::collections::BTreeMap;
use std::io::{self, Read};
use tar::{EntryType, Header};

const BLOCK: u64 = 512;
/// A path has 4 KiB at most, an attribute 64 KiB.
const MAX_RECORD: u64 = 1 << 20;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Directory,
    Symlink,
    HardLink,
    Fifo,
    CharDevice { major: u32, minor: u32 },
    BlockDevice { major: u32, minor: u32 },
    Unknown(u8),
}

/// An entry without its content.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) name: Vec<u8>,
    /// The target of a link.
    pub(crate) link: Vec<u8>,
    pub(crate) kind: Kind,
    pub(crate) meta: Meta,
    /// Where the content belongs.
    pub(crate) map: Map,
}

/// What a file has beside its content.
#[derive(Debug, Clone)]
pub(crate) struct Meta {
    /// The twelve bits of permissions.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) modified: Timespec,
    pub(crate) attributes: BTreeMap<String, Vec<u8>>,
}

/// What the reader of an archive goes by beside names and content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    /// Owners, modes, times, and the numbers of devices.
    Meta,
    /// Nothing: what of these makes no sense is zero.
    Content,
}

/// An archive that is read once, from the beginning to the end.
#[derive(Debug)]
pub(crate) struct Entries<R> {
    reader: R,
    /// How much of the current entry's content was not read yet.
    left: u64,
    /// What fills the block after it.
    padding: u64,
    global: Records,
    needs: Needs,
}

impl<R: Read> Entries<R> {
    pub(crate) fn new(reader: R, needs: Needs) -> Self {
        Self { reader, left: 0, padding: 0, global: Records::default(), needs }
    }

    /// The next entry, or `None` at the end mark. What was not read of the last one is skipped.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>, TarError> {
        let mut records = self.global.clone();
        loop {
            self.skip(self.left.saturating_add(self.padding))?;
            (self.left, self.padding) = (0, 0);
            let mut block = [0; 512];
            read_exactly(&mut self.reader, &mut block)?;
            if block.iter().all(|&byte| byte == 0) {
                return Ok(None);
            }
            let header = Header::from_byte_slice(&block);
            check_sum(header)?;
            match header.entry_type() {
                EntryType::XGlobalHeader => {
                    let bytes = self.record(header)?;
                    self.global.read(&bytes)?;
                    records.read(&bytes)?;
                }
                EntryType::XHeader => records.read(&self.record(header)?)?,
                EntryType::GNULongName => records.path = Some(until_zero(self.record(header)?)),
                EntryType::GNULongLink => records.link = Some(until_zero(self.record(header)?)),
                _ => return self.entry(header, records).map(Some),
            }
        }
    }

    /// Reads to the end of what the archive is in, so that all of it was seen.
    pub(super) fn finish(mut self) -> Result<R, TarError> {
        io::copy(&mut self.reader, &mut io::sink()).map_err(TarError::Read)?;
        Ok(self.reader)
    }

    /// What the archive is read from, wherever that is.
    pub(super) fn into_reader(self) -> R {
        self.reader
    }

    /// Reads on in the content of the current entry.
    pub(crate) fn read_content(&mut self, buffer: &mut [u8]) -> Result<(), TarError> {
        read_exactly(&mut self.reader, buffer)?;
        self.left = self.left.saturating_sub(u64::try_from(buffer.len()).unwrap_or(u64::MAX));
        Ok(())
    }

    fn skip(&mut self, length: u64) -> Result<(), TarError> {
        let copied = io::copy(&mut self.reader.by_ref().take(length), &mut io::sink());
        if copied.map_err(TarError::Read)? == length { Ok(()) } else { Err(TarError::CutOff) }
    }

    /// The content of an extended header.
    fn record(&mut self, header: &Header) -> Result<Vec<u8>, TarError> {
        let field = |_invalid| TarError::Field { field: "size", entry: name_of(header) };
        let length = header.entry_size().map_err(field)?;
        if length > MAX_RECORD {
            return Err(TarError::RecordSize { limit: MAX_RECORD });
        }
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        read_exactly(&mut self.reader, &mut bytes)?;
        self.padding = padding(length);
        Ok(bytes)
    }

    fn entry(&mut self, header: &Header, mut records: Records) -> Result<Entry, TarError> {
        let path = records.path.take();
        let mut name = path.unwrap_or_else(|| header.path_bytes().into_owned());
        let link = records.link.take();
        let link = link.or_else(|| header.link_name_bytes().map(|link| link.into_owned()));
        let kind = kind(header, &name, self.needs)?;
        let mut map = Map::default();
        // As all common readers have it, only files have content.
        if kind == Kind::File {
            map = self.content(header, &records, &name)?;
            if let Some(real) = records.sparse.remove("name") {
                name = real;
            }
        }
        let meta = meta(header, records, &name, self.needs)?;
        Ok(Entry { link: link.unwrap_or_default(), kind, meta, map, name })
    }

    fn content(
        &mut self,
        header: &Header,
        records: &Records,
        name: &[u8],
    ) -> Result<Map, TarError> {
        let field = |_invalid| TarError::Field { field: "size", entry: lossy(name) };
        let stored = match records.size {
            Some(size) => size,
            None => header.entry_size().map_err(field)?,
        };
        self.padding = padding(stored);
        self.left = stored;
        let map = if header.entry_type() == EntryType::GNUSparse {
            sparse::read_gnu(header, stored, &mut self.reader).map(Some)
        } else {
            sparse::read_pax(records, &mut self.left, &mut self.reader)
        };
        Ok(map.map_err(|error| error.of(name))?.unwrap_or_else(|| Map::whole(stored)))
    }
}

/// Fills the buffer; an archive that ends before is cut off.
pub(super) fn read_exactly(reader: &mut impl Read, buffer: &mut [u8]) -> Result<(), TarError> {
    reader.read_exact(buffer).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => TarError::CutOff,
        _ => TarError::Read(error),
    })
}

fn padding(length: u64) -> u64 {
    (BLOCK - length % BLOCK) % BLOCK
}

fn until_zero(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    bytes.truncate(end);
    bytes
}

fn name_of(header: &Header) -> String {
    lossy(&header.path_bytes())
}

/// The sum of all bytes of the header, with spaces for the sum itself.
fn check_sum(header: &Header) -> Result<(), TarError> {
    let bytes = header.as_bytes();
    let sum = |range: &[u8]| range.iter().map(|&byte| u32::from(byte)).sum::<u32>();
    let found = sum(&bytes[..148]) + 8 * 32 + sum(&bytes[156..]);
    match header.cksum() {
        Ok(wanted) if wanted == found => Ok(()),
        _ => Err(TarError::Checksum),
    }
}

fn kind(header: &Header, name: &[u8], needs: Needs) -> Result<Kind, TarError> {
    let device = || {
        if needs == Needs::Content {
            return Ok((0, 0));
        }
        let field = |_invalid| TarError::Field { field: "device number", entry: lossy(name) };
        let major = header.device_major().map_err(field)?;
        let minor = header.device_minor().map_err(field)?;
        Ok((major.unwrap_or(0), minor.unwrap_or(0)))
    };
    Ok(match header.entry_type() {
        // Before ustar a directory was told by its name.
        EntryType::Regular if name.ends_with(b"/") => Kind::Directory,
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => Kind::File,
        EntryType::Directory => Kind::Directory,
        EntryType::Symlink => Kind::Symlink,
        EntryType::Link => Kind::HardLink,
        EntryType::Fifo => Kind::Fifo,
        EntryType::Char => device().map(|(major, minor)| Kind::CharDevice { major, minor })?,
        EntryType::Block => device().map(|(major, minor)| Kind::BlockDevice { major, minor })?,
        other => Kind::Unknown(other.as_byte()),
    })
}

fn meta(header: &Header, records: Records, name: &[u8], needs: Needs) -> Result<Meta, TarError> {
    let field = |field| move || TarError::Field { field, entry: lossy(name) };
    // The highest number means "as it is" to chown(2).
    let id = |from_record: Option<u64>, from_header: io::Result<u64>| {
        let number = from_record.or_else(|| from_header.ok())?;
        u32::try_from(number).ok().filter(|&id| id != u32::MAX)
    };
    let zero = (needs == Needs::Content).then_some(0);
    let modified = match records.modified {
        Some(time) => time,
        None => {
            // GNU tar writes times before 1970 as two's complement.
            let seconds = header.mtime().ok().map(u64::cast_signed);
            let seconds = seconds.or(zero.map(i64::from)).ok_or_else(field("time"))?;
            Timespec { tv_sec: seconds, tv_nsec: 0 }
        }
    };
    Ok(Meta {
        mode: header.mode().ok().or(zero).ok_or_else(field("mode"))? & 0o7777,
        uid: id(records.uid, header.uid()).or(zero).ok_or_else(field("owner"))?,
        gid: id(records.gid, header.gid()).or(zero).ok_or_else(field("group"))?,
        modified,
        attributes: records.attributes,
    })
}
