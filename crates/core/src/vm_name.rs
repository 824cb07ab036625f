//! VM and image names: the rules, one error per rule, and generated names.

use serde::{Deserialize, Serialize};
use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

/// Why a text cannot be a name. Each rule has its own message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing was given.
    #[error("a name must not be empty")]
    Empty,
    /// Longer than a DNS label.
    #[error("`{name}` has {length} characters; a name has at most {max}", max = VmName::MAX)]
    TooLong {
        /// The text that was refused.
        name: String,
        /// Its length in characters.
        length: usize,
    },
    /// A character outside the alphabet.
    #[error("`{name}` has {character:?} in it; a name is made of a-z, 0-9 and `-`")]
    Character {
        /// The text that was refused.
        name: String,
        /// The first character that is not allowed.
        character: char,
    },
    /// A hyphen at an end.
    #[error("`{name}` has a `-` at its {end}")]
    Hyphen {
        /// The text that was refused.
        name: String,
        /// `start` or `end`.
        end: &'static str,
    },
}

/// A VM's name: a DNS label of 1 to 63 of a-z, 0-9 and `-`, with no `-` at either end (RFC 1123,
/// section 2.1, lower case only).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VmName(String);

impl VmName {
    /// The longest name in characters (RFC 1035, section 2.3.4: a label has 63 octets or less).
    pub const MAX: usize = 63;

    /// An adjective and a noun picked by `entropy`, as `brisk-otter`.
    pub fn generate(entropy: u64) -> Self {
        let pick = |words: &[&'static str], entropy: u64| {
            let count = u64::try_from(words.len()).expect("a word list is short");
            words[usize::try_from(entropy % count).expect("a remainder of a short list")]
        };
        Self(format!(
            "{}-{}",
            pick(&ADJECTIVES, entropy >> 32),
            pick(&NOUNS, entropy & 0xffff_ffff)
        ))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// So that a map can be asked with a plain text; both are hashed and compared alike.
impl Borrow<str> for VmName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl FromStr for VmName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let name = || text.to_owned();
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        let allowed = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '-');
        if let Some(character) = text.chars().find(|&c| !allowed(c)) {
            return Err(NameError::Character { name: name(), character });
        }
        if text.len() > Self::MAX {
            return Err(NameError::TooLong { name: name(), length: text.len() });
        }
        for (wrong, end) in [(text.starts_with('-'), "start"), (text.ends_with('-'), "end")] {
            if wrong {
                return Err(NameError::Hyphen { name: name(), end });
            }
        }
        Ok(Self(name()))
    }
}

impl TryFrom<String> for VmName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<VmName> for String {
    fn from(name: VmName) -> String {
        name.0
    }
}

impl fmt::Display for VmName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An image's name. The rules are those of a VM's name.
pub type ImageName = VmName;

const ADJECTIVES: [&str; 32] = [
    "amber", "bold", "brisk", "calm", "clear", "clever", "crisp", "dapper", "eager", "fair",
    "fleet", "gentle", "golden", "happy", "jolly", "keen", "kind", "lively", "lucky", "merry",
    "mild", "neat", "nimble", "plucky", "proud", "quick", "quiet", "sharp", "spry", "sunny",
    "swift", "witty",
];

const NOUNS: [&str; 32] = [
    "badger", "beaver", "bison", "crane", "curlew", "deer", "dipper", "egret", "falcon", "ferret",
    "finch", "fox", "gannet", "hare", "heron", "ibex", "jay", "kestrel", "lark", "lynx", "marten",
    "merlin", "newt", "osprey", "otter", "owl", "plover", "raven", "robin", "stoat", "swift",
    "wren",
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_rule_has_its_own_message() {
        let message = |text: &str| text.parse::<VmName>().unwrap_err().to_string();
        assert_eq!(message(""), "a name must not be empty");
        assert_eq!(message("Otter"), "`Otter` has 'O' in it; a name is made of a-z, 0-9 and `-`");
        assert_eq!(message("-a"), "`-a` has a `-` at its start");
        assert_eq!(message("a-"), "`a-` has a `-` at its end");
        assert!(message(&"a".repeat(64)).ends_with("has 64 characters; a name has at most 63"));
        assert!("a".repeat(63).parse::<VmName>().is_ok());
    }

    proptest! {
        #[test]
        fn generated_names_obey_the_rules(entropy: u64) {
            let name = VmName::generate(entropy);
            prop_assert_eq!(name.as_str().parse::<VmName>().unwrap(), name);
        }

        #[test]
        fn an_accepted_name_is_a_dns_label(text in ".{0,70}") {
            if let Ok(name) = text.parse::<VmName>() {
                let label = name.as_str();
                prop_assert!((1..=63).contains(&label.len()));
                prop_assert!(!label.starts_with('-') && !label.ends_with('-'));
            }
        }
    }
}
