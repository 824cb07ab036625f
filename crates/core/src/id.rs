//! Short identifiers: VM, image, operation and instance.
//!
//! All are lower-case Crockford base 32 (digits and letters without i, l, o, u), so that they are
//! safe in interface names, paths and SQL, and can be read aloud.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;
use std::path::Path;
use std::str::FromStr;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// A text that is not an identifier of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not {kind} id: it needs {length} characters of 0-9 and a-z without i, l, o, u"
)]
pub struct IdError {
    /// The text that was refused.
    pub text: String,
    /// What it should have been, with its article: `a VM`.
    pub kind: &'static str,
    /// The length that was needed, in characters.
    pub length: usize,
}

/// Writes the low `5 * length` bits of `value` as base 32, most significant first.
fn encode(value: u64, length: usize) -> String {
    (0..length)
        .rev()
        .map(|place| {
            let digit = usize::try_from((value >> (5 * place)) & 31).expect("five bits fit");
            char::from(ALPHABET[digit])
        })
        .collect()
}

macro_rules! short_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $length:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The number of characters of this kind of id.
            pub const LENGTH: usize = $length;

            /// Makes an id from entropy; only the low `5 * LENGTH` bits are used.
            pub fn from_entropy(entropy: u64) -> Self {
                Self(encode(entropy, $length))
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                if text.len() == $length && text.bytes().all(|b| ALPHABET.contains(&b)) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(IdError { text: text.to_owned(), kind: $kind, length: $length })
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }
    };
}

short_id! {
    /// Names one VM for its whole life; 40 bits.
    VmId, "a VM", 8
}
short_id! {
    /// Names one image for its whole life; 40 bits.
    ImageId, "an image", 8
}
short_id! {
    /// Names one operation: a request or a background task; 50 bits. It is in every log line and
    /// every error of that operation.
    OpId, "an operation", 10
}
short_id! {
    /// Names one installation of the daemon on a host; 25 bits of the state directory's SHA-256.
    ///
    /// Two daemons with different state directories never touch each other's objects, because
    /// every host-visible name bears the instance.
    InstanceId, "an instance", 5
}

impl InstanceId {
    /// Derives the instance from the absolute path of its state directory.
    pub fn of_state_dir(path: &Path) -> Self {
        let digest = Sha256::digest(path.as_os_str().as_encoded_bytes());
        let mut low = [0; 8];
        low.copy_from_slice(&digest[..8]);
        Self::from_entropy(u64::from_be_bytes(low))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn instance_depends_on_the_directory_alone() {
        let a = InstanceId::of_state_dir(Path::new("/var/lib/a"));
        assert_eq!(a, InstanceId::of_state_dir(Path::new("/var/lib/a")));
        assert_ne!(a, InstanceId::of_state_dir(Path::new("/var/lib/b")));
    }

    #[test]
    fn a_wrong_id_says_what_is_needed() {
        let error = "otter".parse::<VmId>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "`otter` is not a VM id: it needs 8 characters of 0-9 and a-z without i, l, o, u"
        );
    }

    proptest! {
        #[test]
        fn entropy_makes_ids_that_parse_back(entropy: u64) {
            let id = VmId::from_entropy(entropy);
            prop_assert_eq!(id.as_str().len(), VmId::LENGTH);
            prop_assert_eq!(id.as_str().parse::<VmId>().unwrap(), id);
        }
    }
}
