//! The codecs of record batches, and their bounded decoders.
//!
//! The attributes of a batch name its codec by number; what is compressed is all its records in
//! one piece, not the header. Zstandard came last, with KIP-110, which keeps it out of Produce
//! below version 7 and Fetch below 10: older clients would not know what it is.
//!
//! **A decoder never holds more than the caller's limit and its own window**, whatever the bytes
//! claim: output grows as bytes really come out, and the first byte too many ends it. The windows
//! are the formats' own: 64 KiB for gzip and snappy, at most 12 MiB for LZ4 with 4 MiB blocks, and
//! for Zstandard the limit rounded up to a power of two, but not below [`ZSTD_WINDOW_LOG_MIN`].
//!
//! What is written is what the Java client can read: LZ4 frames of independent 64 KiB blocks
//! (KIP-57) and snappy in xerial framing. What is read is what any client writes.

use super::snappy;
use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;
use lz4::block::{CompressionMode, compress_to_buffer};
use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};
use std::fmt::{self, Display, Formatter};
use std::io::{self, Read, Write};

/// How the records of a batch are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// RFC 1952, one member or several.
    Gzip,
    /// Snappy, raw or in xerial framing.
    Snappy,
    /// The LZ4 frame format.
    Lz4,
    /// Zstandard (KIP-110).
    Zstd,
}

/// Why bytes could not be decompressed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompressionError {
    /// There are more bytes inside than the caller wants.
    #[error("more than {0} bytes when decompressed")]
    LimitExceeded(usize),
    /// The bytes are not what the codec writes.
    #[error("invalid {compression} data: {reason}")]
    Corrupt {
        /// The codec that was tried.
        compression: Compression,
        /// What its decoder says.
        reason: String,
    },
}

impl Compression {
    /// All codecs, each at the index that is its number.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// The codec with this number in a batch's attributes.
    pub fn from_codec(codec: i16) -> Option<Self> {
        Self::ALL.get(usize::try_from(codec).ok()?).copied()
    }

    /// The number in a batch's attributes.
    pub const fn codec(self) -> i16 {
        self as i16
    }

    /// The codec with this name. A producer calls no compression `none`, a topic's
    /// `compression.type` calls it `uncompressed`.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "uncompressed" => Some(Self::None),
            _ => Self::ALL.into_iter().find(|it| it.name() == name),
        }
    }

    /// The name as Kafka's `compression.type` has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// Compresses `bytes` at the codec's default level.
    pub fn compress(self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len() / 2);
        self.compress_into(bytes, None, &mut out);
        out
    }

    /// Appends `bytes`, compressed at this level or the codec's default one, to `out`. Gzip has the
    /// levels -1 (its default) and 1 to 9, LZ4 1 to 17 (9 is its default), Zstandard negative ones
    /// and those up to 22; the others have one each.
    pub fn compress_into(self, bytes: &[u8], level: Option<i32>, out: &mut Vec<u8>) {
        let written = match self {
            Self::None => out.write_all(bytes),
            Self::Gzip => write_gzip(bytes, level, out),
            Self::Snappy => snappy::compress_into(bytes, out),
            Self::Lz4 => write_lz4(bytes, level, out),
            Self::Zstd => write_zstd(bytes, level, out),
        };
        written.expect("a codec fails only where its output does, and memory does not");
    }

    /// Gives back what was compressed, of at most `limit` bytes. Uncompressed bytes are passed on
    /// without a copy. The limit also holds for them.
    pub fn decompress(self, bytes: Bytes, limit: usize) -> Result<Bytes, CompressionError> {
        let decompressed = match self {
            Self::None if bytes.len() <= limit => return Ok(bytes),
            Self::None => Err(Failure::LimitExceeded),
            Self::Gzip => read_bounded(&mut MultiGzDecoder::new(&bytes[..]), bytes.len(), limit),
            Self::Snappy => snappy::decompress(&bytes, limit),
            Self::Lz4 => read_lz4(&bytes, limit),
            Self::Zstd => read_zstd(&bytes, limit),
        };
        match decompressed {
            Ok(decompressed) => Ok(decompressed.into()),
            Err(Failure::LimitExceeded) => Err(CompressionError::LimitExceeded(limit)),
            Err(Failure::Corrupt(reason)) => {
                Err(CompressionError::Corrupt { compression: self, reason })
            }
        }
    }
}

impl Display for Compression {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A decoder's failure, before it is known to be this codec's.
pub(super) enum Failure {
    LimitExceeded,
    Corrupt(String),
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Corrupt(error.to_string())
    }
}

fn write_gzip(bytes: &[u8], level: Option<i32>, out: &mut Vec<u8>) -> io::Result<()> {
    let level = level.and_then(|level| u32::try_from(level).ok());
    let level = level.map_or(flate2::Compression::default(), flate2::Compression::new);
    let mut encoder = GzEncoder::new(out, level);
    encoder.write_all(bytes)?;
    encoder.finish().map(drop)
}

/// The level (KIP-390) at which Kafka compresses fast, since it did before there were levels; at
/// any other it compresses well, be it above or below.
const LZ4_LEVEL_FAST: i32 = 9;

fn write_lz4(bytes: &[u8], level: Option<i32>, out: &mut Vec<u8>) -> io::Result<()> {
    match level {
        None | Some(LZ4_LEVEL_FAST) => write_lz4_fast(bytes, out),
        Some(level) => {
            write_lz4_well(bytes, level, out);
            Ok(())
        }
    }
}

fn write_lz4_fast(bytes: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let info = FrameInfo::new().block_size(BlockSize::Max64KB).block_mode(BlockMode::Independent);
    let mut encoder = FrameEncoder::with_frame_info(info, out);
    encoder.write_all(bytes)?;
    encoder.finish().map(drop).map_err(io::Error::other)
}

/// The magic number of a frame, its flags (version 1, independent blocks), 64 KiB as the largest
/// block, and the second byte of the XXH32 of flags and size.
const LZ4_FRAME: [u8; 7] = [0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82];
const LZ4_BLOCK_BYTES: usize = 64 << 10;
/// In a block's length: it is stored as it was.
const LZ4_STORED: u32 = 1 << 31;

/// The same frames as [`write_lz4_fast`] makes, with blocks by LZ4's own library: the decoder's has
/// no high compression.
fn write_lz4_well(bytes: &[u8], level: i32, out: &mut Vec<u8>) {
    out.extend(LZ4_FRAME);
    let mut room = vec![0; LZ4_BLOCK_BYTES];
    for block in bytes.chunks(LZ4_BLOCK_BYTES) {
        let mode = Some(CompressionMode::HIGHCOMPRESSION(level));
        // A block has to shrink, or it does not fit.
        let compressed = compress_to_buffer(block, mode, false, &mut room[..block.len() - 1]);
        let (length, block) = match compressed {
            Ok(length) => (length as u32, &room[..length]),
            Err(_) => (block.len() as u32 | LZ4_STORED, block),
        };
        out.extend(length.to_le_bytes());
        out.extend(block);
    }
    out.extend(0_u32.to_le_bytes());
}

fn write_zstd(bytes: &[u8], level: Option<i32>, out: &mut Vec<u8>) -> io::Result<()> {
    let mut encoder = zstd::Encoder::new(out, level.unwrap_or(zstd::DEFAULT_COMPRESSION_LEVEL))?;
    encoder.set_pledged_src_size(Some(bytes.len() as u64))?;
    encoder.write_all(bytes)?;
    encoder.finish().map(drop)
}

fn read_lz4(bytes: &[u8], limit: usize) -> Result<Vec<u8>, Failure> {
    let mut decoder = FrameDecoder::new(bytes);
    let out = read_bounded(&mut decoder, bytes.len(), limit)?;
    match decoder.get_ref().len() {
        0 => Ok(out),
        left => Err(Failure::Corrupt(format!("{left} bytes after the frame"))),
    }
}

/// The window that every Zstandard decoder must be ready for is 8 MiB (RFC 8878, 3.1.1.1.2), more
/// than levels up to 19 ask for.
///
/// Unlike Kafka: a frame of level 20 to 22 that asks for a window well beyond the limit is
/// refused, even if what is in it would be within.
const ZSTD_WINDOW_LOG_MIN: u32 = 23;
/// The largest window that Zstandard's own decoder takes unless told otherwise.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

fn read_zstd(bytes: &[u8], limit: usize) -> Result<Vec<u8>, Failure> {
    let mut decoder = zstd::Decoder::with_buffer(bytes)?;
    let window_log = limit.checked_next_power_of_two().map_or(usize::BITS, usize::ilog2);
    decoder.window_log_max(window_log.clamp(ZSTD_WINDOW_LOG_MIN, ZSTD_WINDOW_LOG_MAX))?;
    read_bounded(&mut decoder, bytes.len(), limit)
}

/// Records seldom shrink to less than a quarter.
const EXPECTED_RATIO: usize = 4;
/// Below this, growing is dearer than having.
const CAPACITY_BYTES_MIN: usize = 4 << 10;

/// Reads to the end of a decoder whose input is `input_bytes` long.
fn read_bounded(
    decoder: &mut impl Read,
    input_bytes: usize,
    limit: usize,
) -> Result<Vec<u8>, Failure> {
    let expected = input_bytes.saturating_mul(EXPECTED_RATIO).max(CAPACITY_BYTES_MIN);
    let mut out = vec![0; expected.min(limit)];
    let mut len = 0;
    loop {
        if len == limit {
            // Full to the brim: fine if this is the end.
            return match read(decoder, &mut [0])? {
                0 => Ok(out),
                _ => Err(Failure::LimitExceeded),
            };
        }
        if len == out.len() {
            let grown = len.saturating_mul(2).min(limit);
            out.reserve_exact(grown - len);
            out.resize(grown, 0);
        }
        match read(decoder, &mut out[len..])? {
            0 => {
                out.truncate(len);
                out.shrink_to_fit(); // records keep the whole of it
                return Ok(out);
            }
            count => len += count,
        }
    }
}

fn read(decoder: &mut impl Read, into: &mut [u8]) -> io::Result<usize> {
    loop {
        match decoder.read(into) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 1 << 20;

    fn text(len: usize) -> Vec<u8> {
        (0..len).map(|i| b"what is compressed"[i * i % 18]).collect()
    }

    #[test]
    fn bytes_of_any_length_come_back_and_the_limit_is_exact() {
        for compression in Compression::ALL {
            for len in [0, 1, 61, 4096, (32 << 10) - 1, 32 << 10, (64 << 10) + 1, 300_000] {
                let original = text(len);
                let compressed = Bytes::from(compression.compress(&original));
                let back = compression.decompress(compressed.clone(), len).unwrap();
                assert_eq!(back, original, "{compression} {len}");
                if len > 0 {
                    let short = compression.decompress(compressed, len - 1);
                    assert_eq!(short, Err(CompressionError::LimitExceeded(len - 1)));
                }
            }
        }
    }

    #[test]
    fn a_bomb_ends_at_the_limit() {
        let zeros = vec![0; 8 * LIMIT];
        for compression in Compression::ALL {
            let mut bomb = compression.compress(&zeros);
            if compression == Compression::Gzip {
                bomb = bomb.repeat(3); // members follow each other
            }
            assert_eq!(
                compression.decompress(bomb.into(), LIMIT),
                Err(CompressionError::LimitExceeded(LIMIT))
            );
        }
        let raw = snap::raw::Encoder::new().compress_vec(&zeros).unwrap();
        assert_eq!(
            Compression::Snappy.decompress(raw.into(), LIMIT),
            Err(CompressionError::LimitExceeded(LIMIT))
        );
    }

    #[test]
    fn a_claim_that_the_bytes_cannot_bear_out_is_refused() {
        // A raw snappy block of 4 GiB in five bytes.
        let claim = Bytes::from_static(&[0xff, 0xff, 0xff, 0xff, 0x0f]);
        let refused = Compression::Snappy.decompress(claim, usize::MAX);
        assert!(matches!(refused, Err(CompressionError::Corrupt { .. })));

        // A Zstandard frame with one run of five bytes, that asks for a window of 2 to the power
        // of 10 plus what is in its sixth byte.
        let frame = |window_log: u8| {
            let descriptor = (window_log - 10) << 3;
            Bytes::from(vec![0x28, 0xb5, 0x2f, 0xfd, 0, descriptor, 5 << 3 | 3, 0, 0, b'x'])
        };
        assert_eq!(Compression::Zstd.decompress(frame(23), LIMIT).unwrap(), "xxxxx");
        assert!(Compression::Zstd.decompress(frame(24), LIMIT).is_err());
        assert_eq!(Compression::Zstd.decompress(frame(26), 64 * LIMIT).unwrap(), "xxxxx");
        assert!(Compression::Zstd.decompress(frame(28), usize::MAX).is_err());
    }

    #[test]
    fn snappy_is_read_raw_framed_and_framed_again() {
        let original = text(100_000);
        let framed = Compression::Snappy.compress(&original);
        let raw = snap::raw::Encoder::new().compress_vec(&original).unwrap();
        let read = |bytes: Vec<u8>| Compression::Snappy.decompress(bytes.into(), LIMIT);
        assert_eq!(read(raw).unwrap(), original);
        assert_eq!(read(framed.repeat(2)).unwrap(), original.repeat(2));
        for end in 8..21 {
            let whole = end == 16; // a header and no blocks
            assert_eq!(read(framed[..end].to_vec()).is_ok(), whole, "{end}");
        }
        let mut negative = framed;
        negative[16] = 0xff;
        assert!(read(negative).is_err());
    }

    #[test]
    fn lz4_frames_of_linked_blocks_are_read_and_survive_damage() {
        let original = text(200_000);
        let info = FrameInfo::new()
            .block_size(BlockSize::Max64KB)
            .block_mode(BlockMode::Linked)
            .content_checksum(true);
        let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
        encoder.write_all(&original).unwrap();
        let frame = encoder.finish().unwrap();
        let read = |bytes: Vec<u8>| Compression::Lz4.decompress(bytes.into(), LIMIT);
        assert_eq!(read(frame.clone()).unwrap(), original);
        let mut trailing = frame.clone();
        trailing.push(0);
        assert!(read(trailing).is_err());
        for at in (0..frame.len()).step_by(frame.len().div_ceil(300)) {
            let mut damaged = frame.clone();
            damaged[at] ^= 0x55;
            let wrong = read(damaged).is_ok_and(|bytes| !bytes.is_empty());
            assert!(!wrong, "the frame has a checksum, byte {at}");
        }
    }

    #[test]
    fn lz4_has_kafkas_levels_and_its_default_is_the_fast_one() {
        let random =
            |len: u32| (0..len).map(|n| (n.wrapping_mul(0x9e37_79b1) >> 13) as u8).collect();
        for original in [Vec::new(), vec![7], text(200_000), random(LZ4_BLOCK_BYTES as u32 + 9)] {
            let at = |level| {
                let mut out = b"before".to_vec();
                Compression::Lz4.compress_into(&original, level, &mut out);
                out.split_off(6)
            };
            for level in 1..=17 {
                let frame = at(Some(level));
                assert!(frame.starts_with(&LZ4_FRAME), "{level}");
                assert!(frame.len() <= original.len() + 8 * 4, "{level}");
                let read = Compression::Lz4.decompress(frame.into(), LIMIT);
                assert_eq!(read.unwrap(), original, "{level}");
            }
            assert_eq!(at(None), at(Some(9)));
        }
        let sizes = [Some(9), Some(3), Some(12)].map(|level| {
            let mut out = Vec::new();
            Compression::Lz4.compress_into(&text(200_000), level, &mut out);
            out.len()
        });
        assert!(sizes[0] > sizes[1] && sizes[1] >= sizes[2], "{sizes:?}");
    }

    #[test]
    fn uncompressed_bytes_are_passed_on_without_a_copy() {
        let bytes = Bytes::from(text(100));
        let same = Compression::None.decompress(bytes.clone(), 100).unwrap();
        assert_eq!(same.as_ptr(), bytes.as_ptr());
    }

    #[test]
    fn codecs_have_kafkas_numbers_and_names() {
        let names = ["none", "gzip", "snappy", "lz4", "zstd"];
        for (codec, name) in (0..).zip(names) {
            let compression = Compression::from_codec(codec).unwrap();
            assert_eq!((compression.codec(), compression.name()), (codec, name));
            assert_eq!(Compression::from_name(name), Some(compression));
        }
        assert_eq!(Compression::from_name("uncompressed"), Some(Compression::None));
        assert_eq!(Compression::from_name("producer"), None);
        assert_eq!([-1, 5, 7].map(Compression::from_codec), [None; 3]);
    }
}
