//! How much an import may unpack, and whether it is still wanted.

use super::error::{ImportError, TarError};
use banger_core::unit::Bytes;
use std::cell::Cell;
use std::error::Error;
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};

/// Bounds for everything that one import unpacks. What is larger is taken for a trap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Unpacked bytes, of all layers together.
    pub bytes: Bytes,
    /// Files, directories and all else, of all layers together.
    pub entries: u64,
}

impl Limits {
    /// Ten times what a desktop installation takes.
    pub const DEFAULT_BYTES: Bytes = Bytes(64 << 30);
    /// A Debian with everything has less than one million.
    pub const DEFAULT_ENTRIES: u64 = 2_000_000;
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: Self::DEFAULT_BYTES, entries: Self::DEFAULT_ENTRIES }
    }
}

/// What is left of the limits.
#[derive(Debug)]
pub(super) struct Budget<'a> {
    limits: Limits,
    bytes: Cell<u64>,
    entries: Cell<u64>,
    cancel: &'a AtomicBool,
}

/// Why reading was ended from this side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Stop {
    #[error("the import was broken off")]
    Cancelled,
    #[error("it unpacks to more than is allowed")]
    TooLarge,
    #[error("it has more entries than are allowed")]
    TooMany,
}

impl<'a> Budget<'a> {
    pub(super) fn new(limits: Limits, cancel: &'a AtomicBool) -> Self {
        Self { limits, bytes: Cell::new(0), entries: Cell::new(0), cancel }
    }

    /// Whether it is to be ended.
    pub(super) fn cancel(&self) -> &'a AtomicBool {
        self.cancel
    }

    pub(super) fn check(&self) -> Result<(), Stop> {
        if self.cancel.load(Ordering::Relaxed) { Err(Stop::Cancelled) } else { Ok(()) }
    }

    /// Takes unpacked bytes.
    pub(super) fn take_bytes(&self, bytes: u64) -> Result<(), Stop> {
        let all = self.bytes.get().saturating_add(bytes);
        self.bytes.set(all);
        if all > self.limits.bytes.0 { Err(Stop::TooLarge) } else { self.check() }
    }

    /// Takes files or directories.
    pub(super) fn take_entries(&self, entries: u64) -> Result<(), Stop> {
        let all = self.entries.get().saturating_add(entries);
        self.entries.set(all);
        if all > self.limits.entries { Err(Stop::TooMany) } else { self.check() }
    }

    /// Says for which archive it was ended.
    pub(super) fn stopped(&self, stop: Stop, archive: &str) -> ImportError {
        let archive = archive.to_owned();
        match stop {
            Stop::Cancelled => ImportError::Cancelled,
            Stop::TooLarge => ImportError::TooLarge { archive, limit: self.limits.bytes },
            Stop::TooMany => ImportError::TooMany { archive, limit: self.limits.entries },
        }
    }

    /// Tells the causes of a failed read apart: this side ended it, the archive did, or it is damaged.
    pub(super) fn failed(&self, error: TarError, archive: &str) -> ImportError {
        let archive = archive.to_owned();
        match error {
            TarError::CutOff => ImportError::CutOff { archive },
            TarError::Read(source) => match stop_in(&source) {
                Some(stop) => self.stopped(stop, &archive),
                None if is_cut_off(&source) => ImportError::CutOff { archive },
                None => ImportError::Damaged { archive, source: TarError::Read(source) },
            },
            source => ImportError::Damaged { archive, source },
        }
    }
}

fn stop_in(error: &io::Error) -> Option<Stop> {
    error.get_ref()?.downcast_ref().copied()
}

/// Whether a decoder missed the end, which some of them say only in a cause.
fn is_cut_off(error: &io::Error) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        let inner = error.downcast_ref::<io::Error>();
        if inner.is_some_and(|error| error.kind() == io::ErrorKind::UnexpectedEof) {
            return true;
        }
        let held = inner.and_then(io::Error::get_ref).map(|held| held as &(dyn Error + 'static));
        cause = held.or_else(|| error.source());
    }
    false
}

/// A reader whose bytes are taken from the budget.
#[derive(Debug)]
pub(super) struct Metered<'a, R> {
    reader: R,
    budget: &'a Budget<'a>,
}

impl<'a, R> Metered<'a, R> {
    pub(super) fn new(reader: R, budget: &'a Budget<'a>) -> Self {
        Self { reader, budget }
    }

    pub(super) fn into_inner(self) -> R {
        self.reader
    }
}

impl<R: Read> Read for Metered<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.reader.read(buffer)?;
        let taken = u64::try_from(length).unwrap_or(u64::MAX);
        self.budget.take_bytes(taken).map_err(io::Error::other)?;
        Ok(length)
    }
}
