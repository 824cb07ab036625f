//! The simulator's file: one JSON line for each change, so that a change costs one write however
//! many objects there are.
//!
//! The first line names the format. A last line without its line feed is one that a killed daemon
//! was writing: it is dropped. The file is rewritten when it is opened, and when most of its lines
//! are out of date. There is no `fsync`: the objects are to outlive the daemon, not the machine.

use super::world::{Entry, World};
use crate::HostError;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

const HEADER: &str = "{\"banger_sim_host\":1}\n";

/// Below this many lines a rewrite is not worth its cost.
const SMALL: usize = 4096;

#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    bytes: u64,
    lines: usize,
}

/// What the file holds and should not.
#[derive(Debug, thiserror::Error)]
enum FormatError {
    #[error("line {line} is not an entry")]
    Line {
        line: usize,
        #[source]
        source: serde_json::Error,
    },
    #[error("its first line is not `{}`", HEADER.trim_end())]
    Header,
}

impl Journal {
    /// Reads the file into the world, if there is one, and rewrites it.
    pub(super) fn open(path: &Path, world: &mut World) -> Result<Self, HostError> {
        match std::fs::read(path) {
            Ok(content) => read(&content, world)
                .map_err(io::Error::other)
                .map_err(HostError::io("read the simulator's file", path.display()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(HostError::io("read the simulator's file", path.display())(error));
            }
        }
        rewrite(path, world).map_err(HostError::io("write the simulator's file", path.display()))
    }

    /// Adds the entries, all of them or none.
    pub(super) fn append(&mut self, entries: &[Entry]) -> Result<(), HostError> {
        let text = render(entries.iter().cloned());
        let written = self.file.write_all(&text).or_else(|error| {
            // Half a line must not stand before a whole one.
            self.file.set_len(self.bytes)?;
            Err(error)
        });
        written.map_err(HostError::io("write the simulator's file", self.path.display()))?;
        self.bytes += u64::try_from(text.len()).expect("a length fits in 64 bits");
        self.lines += entries.len();
        Ok(())
    }

    /// Rewrites the file if most of it is out of date.
    pub(super) fn tidy(&mut self, world: &World) -> Result<(), HostError> {
        if self.lines > SMALL && self.lines > 4 * world.len() {
            let fresh = rewrite(&self.path, world);
            *self =
                fresh.map_err(HostError::io("write the simulator's file", self.path.display()))?;
        }
        Ok(())
    }
}

fn read(content: &[u8], world: &mut World) -> Result<(), FormatError> {
    let whole = content.iter().rposition(|b| *b == b'\n').map_or(0, |last| last + 1);
    let mut lines = content[..whole].split_inclusive(|b| *b == b'\n');
    match lines.next() {
        Some(header) if header != HEADER.as_bytes() => return Err(FormatError::Header),
        _ => {}
    }
    for (index, line) in lines.enumerate() {
        let entry = serde_json::from_slice(line)
            .map_err(|source| FormatError::Line { line: index + 2, source })?;
        world.apply(entry);
    }
    Ok(())
}

fn render(entries: impl Iterator<Item = Entry>) -> Vec<u8> {
    let mut text = Vec::new();
    for entry in entries {
        serde_json::to_writer(&mut text, &entry).expect("plain data goes into memory");
        text.push(b'\n');
    }
    text
}

/// Writes a new file beside the old one and puts it in its place.
fn rewrite(path: &Path, world: &World) -> io::Result<Journal> {
    let fresh = path.with_added_extension("new");
    let mut text = HEADER.as_bytes().to_owned();
    text.extend(render(world.entries()));
    std::fs::remove_file(&fresh).or_else(|error| match error.kind() {
        io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    })?;
    let mut file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(&fresh)?;
    file.write_all(&text)?;
    std::fs::rename(&fresh, path)?;
    let bytes = u64::try_from(text.len()).expect("a length fits in 64 bits");
    Ok(Journal { path: path.to_owned(), file, bytes, lines: world.len() + 1 })
}
