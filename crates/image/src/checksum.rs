//! SHA-256 checksums of files and streams, as `sha256sum` prints them.

use sha2::{Digest, Sha256};
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};

/// How much of a file is read at a time, in bytes.
const CHUNK: usize = 1 << 20;

/// A SHA-256 checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Checksum([u8; 32]);

/// A text that is no checksum.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no SHA-256 checksum, which has 64 hexadecimal digits")]
pub struct ChecksumError {
    /// The text that was refused.
    pub text: String,
}

impl Checksum {
    /// The checksum of a whole file, holes included.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, and with [`io::ErrorKind::Interrupted`] once `cancel` is set.
    pub fn of_file(path: &Path, cancel: &AtomicBool) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let mut summing = Summing::default();
        let mut chunk = vec![0; CHUNK];
        loop {
            if cancel.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            match file.read(&mut chunk) {
                Ok(0) => return Ok(summing.finish()),
                Ok(length) => summing.add(&chunk[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The first eight digits, which tell two archives apart well enough for a name.
    pub(crate) fn short(&self) -> String {
        self.to_string()[..8].to_owned()
    }
}

impl FromStr for Checksum {
    type Err = ChecksumError;

    /// Reads 64 hexadecimal digits; `sha256:` may stand before them.
    fn from_str(text: &str) -> Result<Self, ChecksumError> {
        let refused = || ChecksumError { text: text.to_owned() };
        let digits = text.strip_prefix("sha256:").unwrap_or(text);
        if digits.len() != 64 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(refused());
        }
        let mut bytes = [0; 32];
        for (index, byte) in bytes.iter_mut().enumerate() {
            let pair = &digits[2 * index..2 * index + 2];
            *byte = u8::from_str_radix(pair, 16).ok().ok_or_else(refused)?;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl TryFrom<String> for Checksum {
    type Error = ChecksumError;

    fn try_from(text: String) -> Result<Self, ChecksumError> {
        text.parse()
    }
}

impl From<Checksum> for String {
    fn from(sum: Checksum) -> Self {
        sum.to_string()
    }
}

/// A checksum under way.
#[derive(Debug, Default)]
pub(crate) struct Summing(Sha256);

impl Summing {
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> Checksum {
        Checksum(self.0.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first example of FIPS 180-2, appendix B: the text `abc`.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_file_has_the_checksum_of_the_standard_and_reading_it_can_be_broken_off() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"abc").unwrap();
        let sum = Checksum::of_file(file.path(), &AtomicBool::new(false)).unwrap();
        assert_eq!(sum.to_string(), ABC);
        let error = Checksum::of_file(file.path(), &AtomicBool::new(true)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Interrupted);
    }

    #[test]
    fn a_text_is_a_checksum_with_and_without_its_prefix_and_nothing_else_is() {
        let sum: Checksum = ABC.parse().unwrap();
        assert_eq!(format!("sha256:{}", ABC.to_uppercase()).parse(), Ok(sum));
        for text in ["", "abc", &ABC[1..], &format!("{ABC}0"), &"é".repeat(32)] {
            assert!(text.parse::<Checksum>().unwrap_err().to_string().contains("64 hexadecimal"));
        }
    }
}
