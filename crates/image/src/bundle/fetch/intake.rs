//! The archive as it comes in: counted, summed, and broken off when that is asked for.

use super::FetchProgress;
use super::place::Source;
use crate::checksum::{Checksum, Summing};
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};

/// After so many bytes the progress is told.
const TELL_AFTER: u64 = 4 << 20;
/// How much is read at a time when nobody needs it, in bytes.
const CHUNK: usize = 1 << 16;

/// A source that is being read.
pub(super) struct Intake<'a> {
    source: Source,
    summing: Summing,
    done: u64,
    told: u64,
    cancel: &'a AtomicBool,
    progress: &'a dyn Fn(FetchProgress),
    /// Why the source itself could not be read on; a decoder may say something else about it.
    failed: Option<io::Error>,
}

impl<'a> Intake<'a> {
    pub(super) fn new(
        source: Source,
        cancel: &'a AtomicBool,
        progress: &'a dyn Fn(FetchProgress),
    ) -> Self {
        let summing = Summing::default();
        let intake = Self { source, summing, done: 0, told: 0, cancel, progress, failed: None };
        intake.tell();
        intake
    }

    fn tell(&self) {
        (self.progress)(FetchProgress::Read { done: self.done, total: self.source.length });
    }

    /// Reads what is left, so that the checksum is that of the whole.
    ///
    /// # Errors
    ///
    /// When the source could not be read, now or before.
    pub(super) fn drain(&mut self) -> io::Result<()> {
        let mut chunk = vec![0; CHUNK];
        while self.failed.is_none() && self.read(&mut chunk)? > 0 {}
        self.tell();
        match self.failed.take() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    pub(super) fn finish(self) -> Checksum {
        self.summing.finish()
    }
}

impl Read for Intake<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.cancel.load(Ordering::Relaxed) {
            // Not `Interrupted`, after which readers try again.
            return Err(io::Error::other("it was ended early"));
        }
        let length = match self.source.reader.read(into) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
            Err(error) => {
                let told = io::Error::new(error.kind(), error.to_string());
                self.failed = Some(error);
                return Err(told);
            }
        };
        self.summing.add(&into[..length]);
        self.done += u64::try_from(length).unwrap_or_default();
        if self.done - self.told >= TELL_AFTER {
            self.told = self.done;
            self.tell();
        }
        Ok(length)
    }
}
