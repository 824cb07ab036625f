//! The packages that are asked for: a list as people write it, and the one that it comes to.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// The longest name that is taken for one, with a version.
const LONGEST: usize = 200;

/// A package's name, with a version where a package manager takes one (`curl=8.5.0-2`).
///
/// Two names are the same when they differ in case alone; what was written first is what most
/// package managers are told in lower case, and dnf as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PackageName(String);

/// A text that names no package.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// It is no name.
    #[error(
        "`{text}` cannot name a package: a name begins with a letter or a digit, has at most \
         {LONGEST} bytes, and has letters, digits and `+ - . _ : = ~ / @ ^` only"
    )]
    Name {
        /// The text that was refused.
        text: String,
    },
    /// A line of a list is no name.
    #[error("line {number} names no package")]
    Line {
        /// The line, from 1 on.
        number: usize,
        /// What is wrong with it.
        #[source]
        source: Box<ListError>,
    },
}

impl PackageName {
    /// As it was written.
    pub fn as_written(&self) -> &str {
        &self.0
    }

    /// In lower case, but for the version.
    pub fn folded(&self) -> String {
        match self.0.split_once('=') {
            Some((name, version)) => format!("{}={version}", name.to_ascii_lowercase()),
            None => self.0.to_ascii_lowercase(),
        }
    }
}

impl FromStr for PackageName {
    type Err = ListError;

    fn from_str(text: &str) -> Result<Self, ListError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"+-._:=~/@^".contains(&b);
        // No name begins with `-`, so none is taken for an option.
        let begins = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
        if begins && text.len() <= LONGEST && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ListError::Name { text: text.chars().take(LONGEST).collect() })
        }
    }
}

impl TryFrom<String> for PackageName {
    type Error = ListError;

    fn try_from(text: String) -> Result<Self, ListError> {
        text.parse()
    }
}

impl From<PackageName> for String {
    fn from(name: PackageName) -> String {
        name.0
    }
}

impl fmt::Display for PackageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The packages of a request: each once, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PackageList {
    names: BTreeMap<String, PackageName>,
}

impl PackageList {
    /// Reads a list: names separated by white space, `#` begins a comment. Blank lines and
    /// duplicates count for nothing.
    ///
    /// ```
    /// use banger_provision::PackageList;
    ///
    /// let list = PackageList::parse("# tools\ncurl git\n\nGit # again\n")?;
    /// assert_eq!(list.normalised(), ["curl", "git"]);
    /// # Ok::<(), banger_provision::ListError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// When a word cannot be a package's name; the line's number is told.
    pub fn parse(text: &str) -> Result<Self, ListError> {
        let mut list = Self::default();
        for (index, line) in text.lines().enumerate() {
            let names = line.split('#').next().unwrap_or_default();
            for word in names.split_ascii_whitespace() {
                let name = word.parse().map_err(|source| ListError::Line {
                    number: index + 1,
                    source: Box::new(source),
                })?;
                list.add(name);
            }
        }
        Ok(list)
    }

    /// Adds a package, unless it is there already.
    pub fn add(&mut self, name: PackageName) {
        self.names.entry(name.folded()).or_insert(name);
    }

    /// Whether no package is asked for.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The names, folded and sorted: what two lists that ask for the same have in common.
    pub fn normalised(&self) -> Vec<String> {
        self.names.keys().cloned().collect()
    }

    /// The names as they were written, in the same order.
    pub fn as_written(&self) -> Vec<String> {
        self.names.values().map(PackageName::to_string).collect()
    }

    /// The SHA-256 of the normalised list, one name a line, in lower-case hexadecimal.
    pub fn sha256(&self) -> String {
        let text: String = self.names.keys().map(|name| format!("{name}\n")).collect();
        crate::upload::hexadecimal(&Sha256::digest(text.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn comments_blank_lines_case_and_duplicates_count_for_nothing() {
        let text = "\n# all of this\n  Curl\tgit # two\r\n\ngit\nlibstdc++6\ncurl\n";
        let list = PackageList::parse(text).unwrap();
        assert_eq!(list.normalised(), ["curl", "git", "libstdc++6"]);
        assert_eq!(list.as_written(), ["Curl", "git", "libstdc++6"]);
        let same = PackageList::parse("libstdc++6 git curl").unwrap();
        assert_eq!(list.sha256(), same.sha256());
    }

    #[test]
    fn a_version_keeps_its_case() {
        let list = PackageList::parse("Curl=8.5-1Ubuntu2").unwrap();
        assert_eq!(list.normalised(), ["curl=8.5-1Ubuntu2"]);
    }

    #[test]
    fn the_digest_is_that_of_the_lines() {
        // printf 'curl\ngit\n' | sha256sum
        let list = PackageList::parse("git curl").unwrap();
        assert_eq!(
            list.sha256(),
            "df574881062cc77e62923d5628a1ed3a53afb1509ea8ff9a0598ddbe3d470eab"
        );
    }

    #[test]
    fn what_could_be_an_option_or_a_command_is_refused_with_its_line() {
        for text in ["-o", "--yes", "a;b", "$(x)", "a b'", "../x", "é", "a\0b", &"a".repeat(201)] {
            let refused = PackageList::parse(&format!("curl\n\n{text}")).unwrap_err();
            assert_eq!(refused.to_string(), "line 3 names no package", "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_without_a_panic(text: String) {
            if let Ok(list) = PackageList::parse(&text) {
                for name in list.normalised() {
                    prop_assert!(name.parse::<PackageName>().is_ok(), "{name}");
                    prop_assert!(!name.starts_with('-'));
                }
            }
        }

        #[test]
        fn reading_what_was_normalised_changes_nothing(
            words in prop::collection::vec("[A-Za-z0-9][A-Za-z0-9+.-]{0,8}(=[A-Za-z0-9.~-]{1,6})?", 0..12),
            order in any::<prop::sample::Index>(),
        ) {
            let list = PackageList::parse(&words.join("\n")).unwrap();
            let again = PackageList::parse(&list.normalised().join(" # x\n")).unwrap();
            prop_assert_eq!(list.normalised(), again.normalised());
            let mut turned = words.clone();
            if !turned.is_empty() {
                let at = order.index(turned.len());
                turned.rotate_left(at);
            }
            prop_assert_eq!(PackageList::parse(&turned.join(" ")).unwrap().sha256(), list.sha256());
        }
    }
}
