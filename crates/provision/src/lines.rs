//! Cutting what a program writes into lines that can be shown.

/// The most that one line has; what is longer is cut into several.
const LONGEST: usize = 4096;
/// How many of the last lines are kept.
const TAIL: usize = 20;

/// One stream of bytes that becomes lines.
#[derive(Debug, Default)]
pub(crate) struct Splitter {
    open: Vec<u8>,
}

impl Splitter {
    /// Takes more bytes; calls `line` for each line that they complete. A carriage return ends a
    /// line as well: what comes after it would overwrite it on a terminal.
    pub(crate) fn take(&mut self, bytes: &[u8], line: &mut dyn FnMut(&str)) {
        for &byte in bytes {
            match byte {
                b'\n' | b'\r' => self.finish(line),
                _ => self.open.push(byte),
            }
            if self.open.len() >= LONGEST {
                self.finish(line);
            }
        }
    }

    /// Ends the last line, if there is one that nothing has ended.
    pub(crate) fn finish(&mut self, line: &mut dyn FnMut(&str)) {
        if !self.open.is_empty() {
            let text = showable(&String::from_utf8_lossy(&self.open));
            self.open.clear();
            line(&text);
        }
    }
}

/// The text without what would have a terminal do something: escape sequences and other control
/// characters. A guest's output must not be able to write elsewhere on the user's screen.
fn showable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\x1b' if characters.peek() == Some(&'[') => {
                // A control sequence ends with a character from `@` to `~` (ECMA-48, 5.4).
                characters.next();
                while characters.next_if(|c| !('@'..='~').contains(c)).is_some() {}
                characters.next();
            }
            '\t' => shown.push(character),
            _ if character.is_control() => {}
            _ => shown.push(character),
        }
    }
    shown
}

/// The last lines.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    lines: std::collections::VecDeque<String>,
}

impl Tail {
    pub(crate) fn push(&mut self, line: &str) {
        if self.lines.len() == TAIL {
            self.lines.pop_front();
        }
        self.lines.push_back(line.to_owned());
    }

    pub(crate) fn into_lines(self) -> Vec<String> {
        self.lines.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(pieces: &[&[u8]]) -> Vec<String> {
        let (mut splitter, mut lines) = (Splitter::default(), Vec::new());
        for piece in pieces {
            splitter.take(piece, &mut |line| lines.push(line.to_owned()));
        }
        splitter.finish(&mut |line| lines.push(line.to_owned()));
        lines
    }

    #[test]
    fn lines_come_whole_whatever_the_pieces() {
        assert_eq!(split(&[b"on", b"e\ntw", b"o\r\nthree"]), ["one", "two", "three"]);
        assert_eq!(split(&["ö".as_bytes().split_at(1).0, "ö".as_bytes().split_at(1).1]), ["ö"]);
    }

    #[test]
    fn colours_go_and_text_stays() {
        assert_eq!(split(&[b"\x1b[1;31mred\x1b[0m \x1b]0;title\x07text\n"]), ["red ]0;titletext"]);
    }

    #[test]
    fn only_the_last_lines_are_kept() {
        let mut tail = Tail::default();
        (0..50).for_each(|n| tail.push(&n.to_string()));
        let lines = tail.into_lines();
        assert_eq!((lines.len(), lines[0].as_str(), lines[19].as_str()), (20, "30", "49"));
    }

    proptest! {
        #[test]
        fn no_line_is_too_long_or_has_a_control_character(bytes: Vec<u8>, cut in 0usize..64) {
            let at = cut.min(bytes.len());
            for line in split(&[&bytes[..at], &bytes[at..]]) {
                prop_assert!(line.len() <= 3 * LONGEST);
                prop_assert!(line.chars().all(|c| c == '\t' || !c.is_control()));
            }
        }
    }
}
