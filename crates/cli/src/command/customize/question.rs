//! The question whether to save, asked on a terminal until there is an answer.

use crate::failure::Failure;
use crate::output::Output;
use banger_core::vm_name::ImageName;
use rustix::io::Errno;
use rustix::termios::{QueueSelector, tcflush};
use std::io::{self, stdin};
use std::os::fd::{AsFd, OwnedFd};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// How often the end of the input is no answer. Whoever ends a session with Ctrl-D may have typed it
/// once too often; a terminal that is gone says so for ever.
const SILENCES: usize = 3;
/// More than an answer takes.
const ANSWER_MAX: usize = 1024;

/// What is to become of the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    Save,
    Discard,
}

impl Choice {
    /// What was meant, if it is one of the two.
    fn parse(answer: &str) -> Option<Self> {
        match answer.trim().to_ascii_lowercase().as_str() {
            "save" | "s" | "yes" | "y" => Some(Self::Save),
            "discard" | "d" | "no" | "n" => Some(Self::Discard),
            _ => None,
        }
    }
}

/// Asks. Safe to cancel: the terminal is not read then.
pub(super) async fn ask(output: &Output, name: &ImageName) -> Result<Choice, Failure> {
    let failed =
        |error: io::Error| Failure::internal(&format!("the terminal cannot be read: {error}"));
    // What was typed in the session, as with a Ctrl-D that was held down, is no answer.
    if let Err(error) = tcflush(stdin(), QueueSelector::IFlush) {
        return match error {
            // Nobody has the other side open any more.
            Errno::IO => Ok(Choice::Discard),
            error => Err(failed(error.into())),
        };
    }
    let mut silences = 0;
    while silences < SILENCES {
        output.aside(&format!("save the image as `{name}`, or discard it? [save/discard]"));
        let answer = line().await.map_err(failed)?;
        silences = if answer.is_empty() { silences + 1 } else { 0 };
        if let Some(choice) = Choice::parse(&answer) {
            return Ok(choice);
        }
    }
    Ok(Choice::Discard)
}

/// The next line; empty at the end of the input. The terminal is read only once there is something,
/// since a read that waits could not be ended.
async fn line() -> io::Result<String> {
    // Made anew each time: so lines that are there already are seen.
    let terminal = readable(stdin().as_fd().try_clone_to_owned()?)?;
    let mut bytes = [0; ANSWER_MAX];
    let read = |terminal: &OwnedFd| Ok(rustix::io::read(terminal, &mut bytes)?);
    match terminal.async_io(Interest::READABLE, read).await {
        Ok(count) => Ok(String::from_utf8_lossy(&bytes[..count]).into_owned()),
        // Nobody has the other side of the terminal open any more.
        Err(error) if error.raw_os_error() == Some(Errno::IO.raw_os_error()) => Ok(String::new()),
        Err(error) => Err(error),
    }
}

/// Has the runtime watch for the descriptor to be readable.
fn readable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is an open descriptor, stays one as long as the `AsyncFd` owns it, and
    // always gives the same number.
    #[expect(unsafe_code, reason = "the crate asks for this promise")]
    let watched = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
    Ok(watched?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_a_word_or_its_first_letter() {
        for answer in ["save\n", "S", " yes\r\n", "y"] {
            assert_eq!(Choice::parse(answer), Some(Choice::Save), "{answer:?}");
        }
        for answer in ["discard\n", "D", "no", "N"] {
            assert_eq!(Choice::parse(answer), Some(Choice::Discard), "{answer:?}");
        }
        for answer in ["", "\n", "sav", "exit", "save it", "q"] {
            assert_eq!(Choice::parse(answer), None, "{answer:?}");
        }
    }
}
