//! The compression formats of Linux's kernels and modules, told by their first bytes.

pub(crate) mod stream;

use std::fmt;
use std::io::{self, Read};

/// A format, supported or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Gzip,
    Xz,
    Zstd,
    /// `lz4 -l`, which is what the kernel's build uses.
    Lz4Legacy,
    Bzip2,
    Lzma,
    Lzo,
    Lz4Frame,
}

/// The first bytes of each format, from lib/decompress.c of Linux and the formats' own documents.
const MAGICS: [(&[u8], Format); 9] = [
    (&[0x1f, 0x8b], Format::Gzip),
    (&[0xfd, b'7', b'z', b'X', b'Z', 0], Format::Xz),
    (&[0x28, 0xb5, 0x2f, 0xfd], Format::Zstd),
    (&[0x02, 0x21, 0x4c, 0x18], Format::Lz4Legacy),
    (b"BZh", Format::Bzip2),
    (&[0x5d, 0, 0], Format::Lzma),
    (&[0x89, b'L', b'Z', b'O'], Format::Lzo),
    (&[0x04, 0x22, 0x4d, 0x18], Format::Lz4Frame),
    (&[0x1f, 0x9e], Format::Gzip),
];

/// What an unpacked block of the legacy format holds at most, in bytes.
const LZ4_BLOCK: usize = 8 << 20;
/// How much memory an XZ dictionary may take, in KiB. The kernel's build uses 32 MiB.
const XZ_MEMORY_KIB: u32 = 256 << 10;

impl Format {
    /// Tells the format by the first bytes; `None` if they are of none that Linux uses.
    pub(crate) fn of(bytes: &[u8]) -> Option<Self> {
        MAGICS.iter().find(|(magic, _)| bytes.starts_with(magic)).map(|&(_, format)| format)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Xz => "XZ",
            Self::Zstd => "Zstandard",
            Self::Lz4Legacy => "LZ4 (legacy)",
            Self::Bzip2 => "bzip2",
            Self::Lzma => "LZMA",
            Self::Lzo => "LZO",
            Self::Lz4Frame => "LZ4 (frame)",
        })
    }
}

/// Why data could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// A format that is known by name only.
    #[error("{format} compression is not supported; gzip, XZ, Zstandard and LZ4 are")]
    Unsupported {
        /// The format's name.
        format: String,
    },
    /// Damaged or cut off.
    #[error("the {format} data is damaged")]
    Damaged {
        /// The format's name.
        format: String,
        /// What the decoder says.
        #[source]
        source: io::Error,
    },
    /// Larger than anything sensible.
    #[error("the {format} data unpacks to more than {limit} bytes")]
    TooLarge {
        /// The format's name.
        format: String,
        /// The bound.
        limit: usize,
    },
}

/// Unpacks one stream to at most `limit` bytes; what follows the stream is ignored.
pub(crate) fn unpack(format: Format, bytes: &[u8], limit: usize) -> Result<Vec<u8>, UnpackError> {
    let damaged = |source| UnpackError::Damaged { format: format.to_string(), source };
    let unpacked = match format {
        Format::Gzip => read_bounded(flate2::read::GzDecoder::new(bytes), limit),
        Format::Xz => {
            read_bounded(lzma_rust2::XzReader::new_mem_limit(bytes, false, XZ_MEMORY_KIB), limit)
        }
        Format::Zstd => ruzstd::decoding::StreamingDecoder::new(bytes)
            .map_err(io::Error::other)
            .and_then(|decoder| read_bounded(decoder, limit)),
        Format::Lz4Legacy => unpack_lz4_legacy(bytes, limit),
        Format::Bzip2 | Format::Lzma | Format::Lzo | Format::Lz4Frame => {
            return Err(UnpackError::Unsupported { format: format.to_string() });
        }
    };
    unpacked
        .map_err(damaged)?
        .ok_or_else(|| UnpackError::TooLarge { format: format.to_string(), limit })
}

/// Reads to the end; `None` if that is more than `limit` bytes.
fn read_bounded(reader: impl Read, limit: usize) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    let bound = u64::try_from(limit).unwrap_or(u64::MAX);
    reader.take(bound.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok((bytes.len() <= limit).then_some(bytes))
}

/// The legacy format: after the magic, blocks of a length and that many bytes, each unpacking to
/// 8 MiB or, the last one, less. The kernel's build appends the unpacked size in four bytes.
fn unpack_lz4_legacy(bytes: &[u8], limit: usize) -> io::Result<Option<Vec<u8>>> {
    let invalid = |text: &str| io::Error::new(io::ErrorKind::InvalidData, text.to_owned());
    let mut rest = bytes.get(4..).unwrap_or_default();
    let mut unpacked = Vec::new();
    while rest.len() > 4 {
        let (length, after) = rest.split_first_chunk().expect("more than four bytes are left");
        let length = usize::try_from(u32::from_le_bytes(*length)).map_err(io::Error::other)?;
        let block = after.get(..length).ok_or_else(|| invalid("a block is cut off"))?;
        let filled = unpacked.len();
        unpacked.resize(filled + LZ4_BLOCK, 0);
        let written = lz4_flex::block::decompress_into(block, &mut unpacked[filled..])
            .map_err(io::Error::other)?;
        unpacked.truncate(filled + written);
        if unpacked.len() > limit {
            return Ok(None);
        }
        rest = &after[length..];
    }
    if let Ok(size) = <[u8; 4]>::try_from(rest)
        && usize::try_from(u32::from_le_bytes(size)) != Ok(unpacked.len())
    {
        return Err(invalid("the size at the end is another one than what was unpacked"));
    }
    Ok(Some(unpacked))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    const LIMIT: usize = 1 << 20;

    /// Compresses as the kernel's build would.
    pub(crate) fn pack(format: Format, bytes: &[u8]) -> Vec<u8> {
        match format {
            Format::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Default::default());
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
            Format::Xz => {
                let mut options = lzma_rust2::XzOptions::with_preset(1);
                options.set_check_sum_type(lzma_rust2::CheckType::Crc32);
                options.prepend_pre_filter(lzma_rust2::FilterType::BcjX86, 0);
                let mut writer = lzma_rust2::XzWriter::new(Vec::new(), options).unwrap();
                writer.write_all(bytes).unwrap();
                with_size(writer.finish().unwrap(), bytes)
            }
            Format::Zstd => {
                let level = ruzstd::encoding::CompressionLevel::Fastest;
                with_size(ruzstd::encoding::compress_to_vec(bytes, level), bytes)
            }
            Format::Lz4Legacy => {
                let mut packed = vec![0x02, 0x21, 0x4c, 0x18];
                for block in bytes.chunks(LZ4_BLOCK) {
                    let block = lz4_flex::block::compress(block);
                    packed.extend(u32::try_from(block.len()).unwrap().to_le_bytes());
                    packed.extend(block);
                }
                with_size(packed, bytes)
            }
            other => panic!("no encoder for {other}"),
        }
    }

    fn with_size(mut packed: Vec<u8>, bytes: &[u8]) -> Vec<u8> {
        packed.extend(u32::try_from(bytes.len()).unwrap().to_le_bytes());
        packed
    }

    pub(crate) const SUPPORTED: [Format; 4] =
        [Format::Gzip, Format::Xz, Format::Zstd, Format::Lz4Legacy];

    #[test]
    fn every_supported_format_comes_back() {
        let bytes: Vec<u8> = (0..200_000u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        for format in SUPPORTED {
            let packed = pack(format, &bytes);
            assert_eq!(Format::of(&packed), Some(format));
            assert!(unpack(format, &packed, LIMIT).unwrap() == bytes, "{format}");
        }
    }

    #[test]
    fn several_lz4_blocks_are_joined() {
        let bytes = vec![7; LZ4_BLOCK + 5];
        let packed = pack(Format::Lz4Legacy, &bytes);
        assert!(unpack(Format::Lz4Legacy, &packed, 2 * LZ4_BLOCK).unwrap() == bytes);
    }

    #[test]
    fn a_bomb_stops_at_the_limit() {
        let bytes = vec![0; LIMIT + 1];
        for format in SUPPORTED {
            let error = unpack(format, &pack(format, &bytes), LIMIT).unwrap_err();
            assert!(matches!(error, UnpackError::TooLarge { .. }), "{format}: {error}");
        }
    }

    #[test]
    fn data_that_is_cut_off_is_damaged() {
        for format in SUPPORTED {
            let packed = pack(format, &[1, 2, 3, 4, 5, 6, 7, 8].repeat(64));
            let error = unpack(format, &packed[..packed.len() / 2], LIMIT).unwrap_err();
            assert!(matches!(error, UnpackError::Damaged { .. }), "{format}: {error}");
        }
    }

    #[test]
    fn a_format_without_a_decoder_is_named() {
        let error = unpack(Format::Bzip2, b"BZh9", LIMIT).unwrap_err().to_string();
        assert!(error.starts_with("bzip2 compression is not supported"), "{error}");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(index in 0..SUPPORTED.len(), bytes: Vec<u8>) {
            let format = SUPPORTED[index];
            let (magic, _) = MAGICS.iter().find(|(_, known)| *known == format).unwrap();
            let _outcome = unpack(format, &[magic, bytes.as_slice()].concat(), LIMIT);
        }

        #[test]
        fn a_flipped_byte_never_panics(
            index in 0..SUPPORTED.len(),
            position: prop::sample::Index,
            value: u8,
        ) {
            let mut packed = pack(SUPPORTED[index], &[1, 2, 3, 4, 5, 6, 7, 8].repeat(64));
            let position = position.index(packed.len());
            packed[position] = value;
            let _outcome = unpack(SUPPORTED[index], &packed, LIMIT);
        }
    }
}
