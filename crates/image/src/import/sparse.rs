//! Which parts of a sparse file an archive has: GNU tar's own form, and the ones that it writes in
//! the pax format (GNU tar manual, "Storing Sparse Files").

use super::entries::read_exactly;
use super::error::TarError;
use super::extended::{Records, number};
use super::name::lossy;
use std::io::Read;
use tar::{GnuExtSparseHeader, GnuSparseHeader, Header};

/// More regions than any file that is worth being sparse.
const MAX_REGIONS: usize = 1 << 20;
const BLOCK: u64 = 512;

/// A part of a file that is not a hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Region {
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// The regions of a file, in the order of their content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Map {
    pub(crate) regions: Vec<Region>,
    /// The length of the file.
    pub(crate) size: u64,
}

impl Map {
    /// A file without holes.
    pub(super) fn whole(size: u64) -> Self {
        Self { regions: vec![Region { offset: 0, length: size }], size }
    }

    fn add(&mut self, offset: u64, length: u64) -> Result<(), MapError> {
        if self.regions.len() >= MAX_REGIONS {
            return Err(MapError::Nonsense);
        }
        self.regions.push(Region { offset, length });
        Ok(())
    }

    /// Checks that the regions are in order, inside of the file, and together as long as the content.
    fn check(self, content: u64) -> Result<Self, MapError> {
        let (mut end, mut sum) = (0_u64, 0_u64);
        for region in &self.regions {
            if region.offset < end {
                return Err(MapError::Nonsense);
            }
            end = region.offset.checked_add(region.length).ok_or(MapError::Nonsense)?;
            sum = sum.checked_add(region.length).ok_or(MapError::Nonsense)?;
        }
        if end > self.size || sum != content { Err(MapError::Nonsense) } else { Ok(self) }
    }
}

/// Why there is no map.
#[derive(Debug)]
pub(super) enum MapError {
    /// It contradicts itself.
    Nonsense,
    /// It cannot be read.
    Read(TarError),
}

impl From<TarError> for MapError {
    fn from(error: TarError) -> Self {
        Self::Read(error)
    }
}

impl MapError {
    /// Names the entry.
    pub(super) fn of(self, entry: &[u8]) -> TarError {
        match self {
            Self::Nonsense => TarError::Sparse { entry: lossy(entry) },
            Self::Read(error) => error,
        }
    }
}

/// Reads the map of GNU tar's own form: some regions are in the header, more in blocks behind it.
pub(super) fn read_gnu(
    header: &Header,
    content: u64,
    reader: &mut impl Read,
) -> Result<Map, MapError> {
    let gnu = header.as_gnu().ok_or(MapError::Nonsense)?;
    let size = gnu.real_size().map_err(|_invalid| MapError::Nonsense)?;
    let mut map = Map { regions: Vec::new(), size };
    add_all(&mut map, &gnu.sparse)?;
    let mut more = gnu.is_extended();
    while more {
        let mut block = GnuExtSparseHeader::new();
        read_exactly(reader, block.as_mut_bytes())?;
        add_all(&mut map, block.sparse())?;
        more = block.is_extended();
    }
    map.check(content)
}

fn add_all(map: &mut Map, regions: &[GnuSparseHeader]) -> Result<(), MapError> {
    let nonsense = |_invalid| MapError::Nonsense;
    for region in regions.iter().filter(|region| !region.is_empty()) {
        map.add(region.offset().map_err(nonsense)?, region.length().map_err(nonsense)?)?;
    }
    Ok(())
}

/// Reads the map of a pax entry, if it is sparse. The map of the later form is the beginning of the
/// content: `left` is how much content there is, and will be.
pub(super) fn read_pax(
    records: &Records,
    left: &mut u64,
    reader: &mut impl Read,
) -> Result<Option<Map>, MapError> {
    let sparse = &records.sparse;
    let value = |key: &str| sparse.get(key).map(|value| number(value)).transpose();
    let major = value("major")?;
    if major == Some(1) {
        let size = value("realsize")?.ok_or(MapError::Nonsense)?;
        return read_leading_map(size, left, reader).map(Some);
    }
    let Some(list) = sparse.get("map") else {
        // None at all, or a version that is not known.
        return if sparse.is_empty() { Ok(None) } else { Err(MapError::Nonsense) };
    };
    let size = value("size")?.ok_or(MapError::Nonsense)?;
    let mut map = Map { regions: Vec::new(), size };
    let numbers: Result<Vec<u64>, _> = list.split(|&byte| byte == b',').map(number).collect();
    let numbers = numbers?;
    let (pairs, rest) = numbers.as_chunks::<2>();
    for &[offset, length] in pairs {
        map.add(offset, length)?;
    }
    if rest.is_empty() { map.check(*left).map(Some) } else { Err(MapError::Nonsense) }
}

/// The number of regions, then offset and length of each, one number a line, up to a full block.
fn read_leading_map(size: u64, left: &mut u64, reader: &mut impl Read) -> Result<Map, MapError> {
    let mut lines = Lines { left, block: Vec::new(), at: 0 };
    let mut map = Map { regions: Vec::new(), size };
    for _ in 0..lines.number(reader)? {
        map.add(lines.number(reader)?, lines.number(reader)?)?;
    }
    map.check(*left)
}

/// Numbers in blocks of text.
struct Lines<'a> {
    left: &'a mut u64,
    block: Vec<u8>,
    at: usize,
}

impl Lines<'_> {
    fn number(&mut self, reader: &mut impl Read) -> Result<u64, MapError> {
        let mut value: Option<u64> = None;
        loop {
            match self.byte(reader)? {
                byte @ b'0'..=b'9' => {
                    let next = value.unwrap_or(0).checked_mul(10);
                    value = next.and_then(|value| value.checked_add(u64::from(byte - b'0')));
                    if value.is_none() {
                        return Err(MapError::Nonsense);
                    }
                }
                b'\n' => return value.ok_or(MapError::Nonsense),
                _ => return Err(MapError::Nonsense),
            }
        }
    }

    fn byte(&mut self, reader: &mut impl Read) -> Result<u8, MapError> {
        if self.at == self.block.len() {
            *self.left = self.left.checked_sub(BLOCK).ok_or(MapError::Nonsense)?;
            self.block = vec![0; 512];
            read_exactly(reader, &mut self.block)?;
            self.at = 0;
        }
        self.at += 1;
        Ok(self.block[self.at - 1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leading(text: &str, content: u64, size: u64) -> Option<Map> {
        let mut block = text.as_bytes().to_vec();
        block.resize(512, 0);
        let mut left = 512 + content;
        read_leading_map(size, &mut left, &mut block.as_slice()).ok()
    }

    #[test]
    fn a_map_before_the_content_is_read() {
        let map = leading("2\n0\n10\n4096\n5\n", 15, 8192).unwrap();
        let regions: Vec<_> = map.regions.iter().map(|it| (it.offset, it.length)).collect();
        assert_eq!((regions, map.size), (vec![(0, 10), (4096, 5)], 8192));
    }

    #[test]
    fn a_map_that_contradicts_itself_is_refused() {
        for (text, content, size) in [
            ("1\n0\n10\n", 9, 8192),
            ("1\n0\n10\n", 10, 9),
            ("2\n100\n10\n0\n5\n", 15, 8192),
            ("1\n18446744073709551615\n1\n", 1, 8192),
            ("1\n18446744073709551616\n1\n", 1, 8192),
            ("2\n0\n10\n", 10, 8192),
            ("9999999\n", 0, 0),
            ("\n", 0, 0),
            ("x", 0, 0),
        ] {
            assert_eq!(leading(text, content, size), None, "{text}");
        }
    }
}
