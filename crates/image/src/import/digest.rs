//! Digests as OCI writes them, and checking them while data is read.

use super::error::ImportError;
use crate::checksum::Summing;
use std::io::{self, Read};

/// The digest of a part of an image, which is SHA-256.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Sha256Digest(String);

impl Sha256Digest {
    /// Reads `sha256:` and 64 digits.
    pub(super) fn parse(text: &str) -> Result<Self, ImportError> {
        let unknown = || ImportError::DigestAlgorithm { digest: text.to_owned() };
        let digits = text.strip_prefix("sha256:").ok_or_else(unknown)?;
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if digits.len() != 64 || !digits.bytes().all(is_digit) {
            return Err(unknown());
        }
        Ok(Self(text.to_owned()))
    }

    /// Of bytes that are all there.
    pub(super) fn of(bytes: &[u8]) -> Self {
        let mut hashing = Hashing::new(bytes);
        // A slice is read without an error.
        let _length = io::copy(&mut hashing, &mut io::sink());
        hashing.digest()
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// The path of the blob in an image layout. It has no part that could lead elsewhere.
    pub(super) fn blob(&self) -> String {
        format!("blobs/{}", self.0.replacen(':', "/", 1))
    }

    /// Checks what was found against what was announced.
    pub(super) fn check(&self, found: &Self, part: &str) -> Result<(), ImportError> {
        if self == found {
            return Ok(());
        }
        let (wanted, found) = (self.0.clone(), found.0.clone());
        Err(ImportError::Digest { part: part.to_owned(), wanted, found })
    }
}

/// A reader that takes the digest of what goes through it.
#[derive(Debug)]
pub(super) struct Hashing<R> {
    reader: R,
    sum: Summing,
}

impl<R> Hashing<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader, sum: Summing::default() }
    }

    /// The digest of what was read.
    pub(super) fn digest(self) -> Sha256Digest {
        Sha256Digest(format!("sha256:{}", self.sum.finish()))
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.reader.read(buffer)?;
        self.sum.add(&buffer[..length]);
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_names_its_blob_and_nothing_else() {
        let digest = Sha256Digest::of(b"abc");
        // The first example of FIPS 180-2, appendix B.
        let digits = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest.as_str(), format!("sha256:{digits}"));
        assert_eq!(digest.blob(), format!("blobs/sha256/{digits}"));
        assert_eq!(Sha256Digest::parse(digest.as_str()).unwrap(), digest);
        let upper = format!("sha256:{}", digits.to_uppercase());
        for wrong in ["sha256:../../etc", "sha256:", "md5:00", digits, &upper] {
            assert!(Sha256Digest::parse(wrong).is_err(), "{wrong}");
        }
    }
}
