//! Words for the shell at the other end: sshd hands a command to the user's login shell as one line.

/// The line that a POSIX shell takes apart into exactly these words.
pub(crate) fn quote<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let quoted: Vec<String> = words.into_iter().map(word).collect();
    quoted.join(" ")
}

fn word(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./=:,+@%".contains(&b);
    if !text.is_empty() && text.bytes().all(plain) {
        return text.to_owned();
    }
    // Within single quotes nothing is special but the quote itself.
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn plain_words_stay_as_they_are() {
        assert_eq!(
            quote(["apt-get", "-o", "A::B=1", "it's", ""]),
            r"apt-get -o A::B=1 'it'\''s' ''"
        );
    }

    /// The words of a line, as a POSIX shell takes it apart: quotes and backslashes are all that the
    /// line may have of what is special.
    fn words(line: &str) -> Vec<String> {
        let (mut words, mut open) = (Vec::new(), None::<String>);
        let mut characters = line.chars();
        while let Some(character) = characters.next() {
            match character {
                ' ' => words.extend(open.take()),
                '\'' => {
                    let quoted: String = characters.by_ref().take_while(|c| *c != '\'').collect();
                    open.get_or_insert_default().push_str(&quoted);
                }
                '\\' => open.get_or_insert_default().extend(characters.next()),
                _ => {
                    assert!(!"$`\"*?[]{}()|&;<>#~!\n\t".contains(character), "{line}");
                    open.get_or_insert_default().push(character);
                }
            }
        }
        words.extend(open);
        words
    }

    proptest! {
        #[test]
        fn a_shell_reads_the_words_back(given in prop::collection::vec("[^\0]{0,12}", 1..5)) {
            let line = quote(given.iter().map(String::as_str));
            prop_assert_eq!(words(&line), given);
        }
    }
}
