//! Unpacking data of any length as it is read.

use super::{Format, UnpackError, XZ_MEMORY_KIB};
use flate2::bufread::MultiGzDecoder;
use lzma_rust2::XzReader;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use std::io::{self, BufRead, Read};

/// The unpacked bytes of all streams or frames in `source`, one after another.
///
/// # Errors
///
/// For a format that is known by name only. Damaged data is an error of the result.
pub(crate) fn reader<'a>(
    format: Format,
    source: impl BufRead + 'a,
) -> Result<Box<dyn Read + 'a>, UnpackError> {
    Ok(match format {
        Format::Gzip => Box::new(MultiGzDecoder::new(source)),
        Format::Xz => Box::new(XzReader::new_mem_limit(source, true, XZ_MEMORY_KIB)),
        Format::Zstd => Box::new(ZstdFrames::new(source)),
        _ => return Err(UnpackError::Unsupported { format: format.to_string() }),
    })
}

/// Zstandard frames. Some writers cut their output into many, with frames to be skipped in between
/// (RFC 8878, 3.1.2).
struct ZstdFrames<R> {
    source: R,
    decoder: FrameDecoder,
    place: Place,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Between,
    Inside,
}

impl<R: BufRead> ZstdFrames<R> {
    fn new(source: R) -> Self {
        Self { source, decoder: FrameDecoder::new(), place: Place::Between }
    }

    /// Begins the next frame. Returns false at the end.
    fn begin(&mut self) -> io::Result<bool> {
        loop {
            if self.source.fill_buf()?.is_empty() {
                return Ok(false);
            }
            match self.decoder.init(&mut self.source) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => self.skip(u64::from(length))?,
                Err(error) => return Err(io::Error::other(error)),
            }
        }
    }

    fn skip(&mut self, length: u64) -> io::Result<()> {
        let skipped = io::copy(&mut self.source.by_ref().take(length), &mut io::sink())?;
        if skipped == length { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    fn check_sum(&self) -> io::Result<()> {
        let wanted = self.decoder.get_checksum_from_data();
        if wanted.is_none() || wanted == self.decoder.get_calculated_checksum() {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, "a frame's checksum is wrong"))
    }
}

impl<R: BufRead> Read for ZstdFrames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if self.place == Place::Between {
                if !self.begin()? {
                    return Ok(0);
                }
                self.place = Place::Inside;
            }
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                self.decoder
                    .decode_blocks(&mut self.source, BlockDecodingStrategy::UptoBlocks(1))
                    .map_err(io::Error::other)?;
            }
            match self.decoder.read(buffer)? {
                0 => {
                    self.check_sum()?;
                    self.place = Place::Between;
                }
                length => return Ok(length),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::pack;
    use super::*;

    const FORMATS: [Format; 3] = [Format::Gzip, Format::Xz, Format::Zstd];

    fn sample() -> Vec<u8> {
        (0..400_000u32).flat_map(|n| (n / 7).to_le_bytes()).collect()
    }

    /// Without the size that the kernel's build appends to what it compresses.
    fn packed(format: Format, bytes: &[u8]) -> Vec<u8> {
        let mut packed = pack(format, bytes);
        if format != Format::Gzip {
            packed.truncate(packed.len() - 4);
        }
        packed
    }

    fn unpacked(format: Format, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        reader(format, bytes).unwrap().read_to_end(&mut all)?;
        Ok(all)
    }

    #[test]
    fn streams_one_after_another_are_read_as_one() {
        for format in FORMATS {
            let one = packed(format, &sample());
            let both = [one.clone(), one].concat();
            assert!(unpacked(format, &both).unwrap() == sample().repeat(2), "{format}");
        }
    }

    #[test]
    fn a_frame_to_be_skipped_is_skipped() {
        let skipped = [0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3];
        let frame = packed(Format::Zstd, b"otter");
        let all = [frame.as_slice(), &skipped, &frame, &skipped].concat();
        assert_eq!(unpacked(Format::Zstd, &all).unwrap(), b"otterotter");
        assert!(unpacked(Format::Zstd, &all[..all.len() - 1]).is_err());
    }

    #[test]
    fn data_that_is_cut_off_or_changed_is_an_error() {
        for format in FORMATS {
            let whole = packed(format, &sample());
            for length in [7, whole.len() / 2, whole.len() - 1] {
                assert!(unpacked(format, &whole[..length]).is_err(), "{format} {length}");
            }
            let mut changed = whole.clone();
            let middle = changed.len() / 2;
            changed[middle] ^= 0x55;
            let outcome = unpacked(format, &changed);
            assert!(outcome.is_err() || outcome.is_ok_and(|bytes| bytes != sample()), "{format}");
        }
    }

    #[test]
    fn a_format_that_is_not_supported_is_named() {
        let error = reader(Format::Bzip2, &b"BZh9"[..]).map(drop).unwrap_err();
        assert!(error.to_string().contains("bzip2"), "{error}");
    }
}
