//! The extended headers of the pax format (POSIX.1-2017, pax, "pax Extended Header"), as far as a
//! root file system needs them.
//!
//! A record is `length key=value\n`; the value may have any byte in it, so the length is what counts.

use super::error::TarError;
use rustix::fs::Timespec;
use std::collections::BTreeMap;

/// No entry has as many attributes or regions of a sparse file.
const MAX_RECORDS: usize = 4096;

const ATTRIBUTE: &str = "SCHILY.xattr.";
const SPARSE: &str = "GNU.sparse.";

/// What extended headers say of an entry.
#[derive(Debug, Default, Clone)]
pub(super) struct Records {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) modified: Option<Timespec>,
    pub(super) attributes: BTreeMap<String, Vec<u8>>,
    /// What is behind `GNU.sparse.`.
    pub(super) sparse: BTreeMap<String, Vec<u8>>,
}

impl Records {
    /// Takes what a header says. It wins over what was there.
    pub(super) fn read(&mut self, mut bytes: &[u8]) -> Result<(), TarError> {
        while !bytes.is_empty() {
            let (key, value, rest) = split_record(bytes).ok_or(TarError::Record)?;
            self.set(key, value)?;
            bytes = rest;
        }
        if self.attributes.len() > MAX_RECORDS || self.sparse.len() > MAX_RECORDS {
            return Err(TarError::Record);
        }
        Ok(())
    }

    fn set(&mut self, key: &str, value: &[u8]) -> Result<(), TarError> {
        match key {
            "path" => self.path = Some(value.to_owned()),
            "linkpath" => self.link = Some(value.to_owned()),
            "size" => self.size = Some(number(value)?),
            "uid" => self.uid = Some(number(value)?),
            "gid" => self.gid = Some(number(value)?),
            "mtime" => self.modified = Some(time(value)?),
            // Once for each region, so that a map of keys cannot hold it; GNU tar writes it no longer.
            "GNU.sparse.offset" | "GNU.sparse.numbytes" => return Err(TarError::Record),
            _ => {
                let (into, name) = match (key.strip_prefix(ATTRIBUTE), key.strip_prefix(SPARSE)) {
                    (Some(name), _) => (&mut self.attributes, name),
                    (_, Some(name)) => (&mut self.sparse, name),
                    // Comments, access times, names of users: a tree has no use for them.
                    _ => return Ok(()),
                };
                into.insert(name.to_owned(), value.to_owned());
            }
        }
        Ok(())
    }
}

fn split_record(bytes: &[u8]) -> Option<(&str, &[u8], &[u8])> {
    let space = bytes.iter().take(20).position(|&byte| byte == b' ')?;
    let length: usize = std::str::from_utf8(&bytes[..space]).ok()?.parse().ok()?;
    if length > bytes.len() {
        return None;
    }
    let (record, rest) = bytes.split_at(length);
    let record = record.get(space + 1..)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|&byte| byte == b'=')?;
    let key = std::str::from_utf8(&record[..equals]).ok()?;
    Some((key, &record[equals + 1..], rest))
}

pub(super) fn number(value: &[u8]) -> Result<u64, TarError> {
    let text = std::str::from_utf8(value).map_err(|_invalid| TarError::Record)?;
    text.parse().map_err(|_invalid| TarError::Record)
}

/// Seconds since 1970, with a fraction or without, which may be negative.
fn time(value: &[u8]) -> Result<Timespec, TarError> {
    let text = std::str::from_utf8(value).map_err(|_invalid| TarError::Record)?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut seconds: i64 = whole.parse().map_err(|_invalid| TarError::Record)?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(TarError::Record);
    }
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let mut nanos: i64 = digits.parse().map_err(|_invalid| TarError::Record)?;
    if whole.starts_with('-') && nanos > 0 {
        seconds = seconds.checked_sub(1).ok_or(TarError::Record)?;
        nanos = 1_000_000_000 - nanos;
    }
    Ok(Timespec { tv_sec: seconds, tv_nsec: nanos })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(key: &str, value: &[u8]) -> Vec<u8> {
        let rest = [b" ", key.as_bytes(), b"=", value, b"\n"].concat();
        let mut length = rest.len() + 1;
        while length.to_string().len() + rest.len() != length {
            length += 1;
        }
        [length.to_string().as_bytes(), &rest].concat()
    }

    #[test]
    fn a_value_may_have_line_ends_and_any_other_byte() {
        let capability = b"\x01\0\0\x02\n=\n\xff";
        let bytes =
            [record("SCHILY.xattr.security.capability", capability), record("path", b"a/b")];
        let mut records = Records::default();
        records.read(&bytes.concat()).unwrap();
        assert_eq!(records.attributes["security.capability"], capability);
        assert_eq!(records.path.as_deref(), Some(&b"a/b"[..]));
    }

    #[test]
    fn a_record_that_is_not_as_long_as_it_says_is_refused() {
        for wrong in ["13 path=a/b\n", "11 path=a/b\n", "12 path:a/b\n", "x", "0 =\n", " a=b\n"] {
            assert!(Records::default().read(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_have_fractions_and_may_be_before_1970() {
        let of = |text: &str| time(text.as_bytes()).map(|time| (time.tv_sec, time.tv_nsec)).ok();
        assert_eq!(of("12"), Some((12, 0)));
        assert_eq!(of("12.5"), Some((12, 500_000_000)));
        assert_eq!(of("12.1234567899"), Some((12, 123_456_789)));
        assert_eq!(of("-1.25"), Some((-2, 750_000_000)));
        assert_eq!(of("-2"), Some((-2, 0)));
        for wrong in ["", ".5", "x", "1.x", "1.-5"] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused_without_a_panic(bytes: Vec<u8>) {
            let _outcome = Records::default().read(&bytes);
        }
    }
}
