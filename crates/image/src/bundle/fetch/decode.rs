//! Decompressing an archive while it is read.

use crate::compression::{Format, stream};
use std::io::{self, BufRead, Read};

/// What is in the archive, whatever it is compressed with; what is compressed with nothing is passed
/// on.
pub(super) fn decoder<'a>(mut source: impl BufRead + 'a) -> io::Result<Box<dyn Read + 'a>> {
    match Format::of(source.fill_buf()?) {
        None => Ok(Box::new(source)),
        Some(format) => stream::reader(format, source)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error)),
    }
}
