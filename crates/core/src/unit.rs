//! Quantities: memory and disk sizes, sectors, processors.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A size that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    /// The text has none of the accepted forms.
    #[error(
        "`{text}` is not a size; write it as `512M`, `512MiB`, `8G`, `8GiB`, or a bare number of MiB"
    )]
    Form {
        /// The text that was refused.
        text: String,
    },
    /// Zero is never meant.
    #[error("a size must be at least 1 MiB")]
    Zero,
    /// More than fits.
    #[error("`{text}` is larger than any size that banger handles")]
    Overflow {
        /// The text that was refused.
        text: String,
    },
}

/// A size in mebibytes (2^20 bytes), at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct MiB(u32);

impl MiB {
    /// Checks that the size is not zero.
    pub const fn new(mebibytes: u32) -> Result<Self, SizeError> {
        if mebibytes == 0 { Err(SizeError::Zero) } else { Ok(Self(mebibytes)) }
    }

    /// A size that is known to be right when the program is compiled.
    ///
    /// # Panics
    ///
    /// On zero, which in a constant is a compile error.
    pub const fn of(mebibytes: u32) -> Self {
        assert!(mebibytes > 0, "a size is at least 1 MiB");
        Self(mebibytes)
    }

    /// The number of mebibytes.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The same size in bytes.
    pub const fn bytes(self) -> Bytes {
        Bytes((self.0 as u64) << 20)
    }
}

impl TryFrom<u32> for MiB {
    type Error = SizeError;

    fn try_from(mebibytes: u32) -> Result<Self, SizeError> {
        Self::new(mebibytes)
    }
}

impl From<MiB> for u32 {
    fn from(size: MiB) -> u32 {
        size.0
    }
}

impl FromStr for MiB {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let form = || SizeError::Form { text: text.to_owned() };
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (digits, suffix) = text.split_at(end);
        let factor: u32 = match suffix {
            "" | "M" | "MiB" => 1,
            "G" | "GiB" => 1024,
            _ => return Err(form()),
        };
        if digits.is_empty() {
            return Err(form());
        }
        let overflow = |_| SizeError::Overflow { text: text.to_owned() };
        let number: u32 = digits.parse().map_err(overflow)?;
        let mebibytes = number
            .checked_mul(factor)
            .ok_or_else(|| SizeError::Overflow { text: text.to_owned() })?;
        Self::new(mebibytes)
    }
}

impl fmt::Display for MiB {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_multiple_of(1024) {
            write!(f, "{} GiB", self.0 / 1024)
        } else {
            write!(f, "{} MiB", self.0)
        }
    }
}

/// A number of bytes.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Bytes(pub u64);

impl Bytes {
    /// The whole 512-byte sectors in this many bytes; a rest is dropped, as device-mapper does.
    pub const fn sectors(self) -> Sectors {
        Sectors(self.0 / Sectors::BYTES)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(&str, u32); 3] = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
        for (unit, shift) in UNITS {
            if self.0 >> shift > 0 {
                let tenths = (self.0 * 10) >> shift;
                return write!(f, "{}.{} {unit}", tenths / 10, tenths % 10);
            }
        }
        write!(f, "{} B", self.0)
    }
}

/// A duration in milliseconds with three decimals, for the field `elapsed_ms` of a log line.
pub fn elapsed_ms(elapsed: std::time::Duration) -> f64 {
    (elapsed.as_secs_f64() * 1e6).round() / 1e3
}

/// A number of 512-byte sectors, the unit of device-mapper tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sectors(pub u64);

impl Sectors {
    /// The bytes in one sector.
    pub const BYTES: u64 = 512;
}

/// A processor count that no VMM would take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{count} vCPUs cannot be had; give 1 to {max}", max = VcpuCount::MAX)]
pub struct VcpuError {
    /// The count that was refused.
    pub count: u32,
}

/// A number of virtual processors, 1 to 32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct VcpuCount(u8);

impl VcpuCount {
    /// Firecracker's limit (`vcpu_count` in its machine configuration).
    pub const MAX: u8 = 32;

    /// Checks the range.
    pub fn new(count: u32) -> Result<Self, VcpuError> {
        match u8::try_from(count) {
            Ok(small @ 1..=Self::MAX) => Ok(Self(small)),
            _ => Err(VcpuError { count }),
        }
    }

    /// The count.
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl TryFrom<u32> for VcpuCount {
    type Error = VcpuError;

    fn try_from(count: u32) -> Result<Self, VcpuError> {
        Self::new(count)
    }
}

impl From<VcpuCount> for u32 {
    fn from(count: VcpuCount) -> u32 {
        u32::from(count.0)
    }
}

impl fmt::Display for VcpuCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_accepted_forms_are_read() {
        for (text, mebibytes) in
            [("512", 512), ("512M", 512), ("512MiB", 512), ("8G", 8192), ("8GiB", 8192)]
        {
            assert_eq!(text.parse::<MiB>().unwrap().get(), mebibytes, "{text}");
        }
    }

    #[test]
    fn everything_else_is_refused_with_the_forms_named() {
        for text in ["", "G", "8g", "8 G", "8GB", "8T", "-1", "+1", "1.5G", "0x10", "８G", "8G "] {
            let message = text.parse::<MiB>().unwrap_err().to_string();
            assert!(
                message.contains("`512M`") && message.contains("bare number"),
                "{text}: {message}"
            );
        }
        assert_eq!("0".parse::<MiB>().unwrap_err(), SizeError::Zero);
        assert_eq!("0G".parse::<MiB>().unwrap_err(), SizeError::Zero);
        for text in ["4294967296", "99999999999999999999G", "4194304G"] {
            assert!(matches!(text.parse::<MiB>(), Err(SizeError::Overflow { .. })), "{text}");
        }
    }

    #[test]
    fn bytes_read_well() {
        assert_eq!(Bytes(512).to_string(), "512 B");
        assert_eq!(Bytes(1536).to_string(), "1.5 KiB");
        assert_eq!(MiB::of(8192).bytes().to_string(), "8.0 GiB");
    }

    #[test]
    fn vcpus_have_both_bounds() {
        assert!(VcpuCount::new(0).is_err() && VcpuCount::new(33).is_err());
        assert_eq!(VcpuCount::new(32).unwrap().get(), 32);
    }

    proptest! {
        #[test]
        fn any_text_parses_or_is_refused_without_a_panic(text in "\\PC{0,24}") {
            let _outcome = text.parse::<MiB>();
        }

        #[test]
        fn what_is_shown_without_its_space_parses_back(mebibytes in 1u32..) {
            let size = MiB::new(mebibytes).unwrap();
            let text = size.to_string().replace(' ', "");
            prop_assert_eq!(text.parse::<MiB>().unwrap(), size);
        }
    }
}
