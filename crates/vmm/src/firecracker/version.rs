//! Which Firecracker a program is.

use std::fmt;

/// A version of Firecracker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FirecrackerVersion {
    major: u32,
    minor: u32,
    patch: u32,
}

impl FirecrackerVersion {
    /// The first one whose jailer is not the subject of CVE-2026-1386.
    pub const ADVISED: Self = Self { major: 1, minor: 14, patch: 1 };

    /// Reads what `firecracker --version` says first, `Firecracker v1.14.1`. A pre-release counts as
    /// its release.
    pub fn read(line: &str) -> Option<Self> {
        let text = line.trim().strip_prefix("Firecracker v")?;
        let text = text.split(['-', '+', ' ']).next()?;
        let mut numbers = text.split('.').map(str::parse);
        let mut next = || numbers.next()?.ok();
        let version = Self { major: next()?, minor: next()?, patch: next()? };
        numbers.next().is_none().then_some(version)
    }
}

impl fmt::Display for FirecrackerVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_and_compared_by_number() {
        let of = |line| FirecrackerVersion::read(line).unwrap();
        assert_eq!(of("Firecracker v1.12.1\n").to_string(), "1.12.1");
        assert_eq!(of("Firecracker v1.14.1-dev"), FirecrackerVersion::ADVISED);
        assert!(of("Firecracker v1.9.0") < of("Firecracker v1.12.1"));
        assert!(of("Firecracker v1.12.1") < FirecrackerVersion::ADVISED);
        assert!(of("Firecracker v2.0.0") > FirecrackerVersion::ADVISED);
    }

    #[test]
    fn what_is_no_version_is_none() {
        for line in ["", "QEMU emulator version 7.2.0", "Firecracker v1.2", "Firecracker vx.1.2"] {
            assert_eq!(FirecrackerVersion::read(line), None, "{line}");
        }
        assert_eq!(FirecrackerVersion::read("Firecracker v1.2.3.4"), None);
    }
}
