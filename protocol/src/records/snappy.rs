//! Snappy as Kafka's clients use it: xerial framing around raw blocks, or one raw block.
//!
//! ```text
//! 0 magic 82 53 4e 41 50 50 59 00 | 8 version i32 = 1 | 12 compatible version i32 = 1
//! 16 (block_bytes i32 | block)*
//! ```
//!
//! The framing is that of the snappy-java library, hence of the Java client, which reads nothing
//! else. librdkafka and franz-go write one raw block. The two cannot be mixed up: read as a raw
//! block, the magic starts with a copy from before the beginning. Framed streams may follow each
//! other, each with its own header; as a block's length the magic is negative, so that this is
//! not ambiguous either.

use super::compression::Failure;
use snap::raw::{Decoder, Encoder, decompress_len, max_compress_len};
use std::io;

const MAGIC: [u8; 8] = *b"\x82SNAPPY\0";
const HEADER_BYTES: usize = 16;
const VERSION: i32 = 1;
/// Bytes in a block that is written, as snappy-java cuts them.
const BLOCK_BYTES: usize = 32 << 10;
/// Bytes out for each byte in, at most: the densest element is a copy of 64 bytes in 3.
const RATIO_MAX: usize = 22;

pub(super) fn compress_into(bytes: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_be_bytes());
    out.extend_from_slice(&VERSION.to_be_bytes());
    let mut encoder = Encoder::new();
    let mut block = vec![0; max_compress_len(bytes.len().min(BLOCK_BYTES))];
    for chunk in bytes.chunks(BLOCK_BYTES) {
        let len = encoder.compress(chunk, &mut block)?;
        out.extend_from_slice(&i32::try_from(len).map_err(io::Error::other)?.to_be_bytes());
        out.extend_from_slice(&block[..len]);
    }
    Ok(())
}

pub(super) fn decompress(bytes: &[u8], limit: usize) -> Result<Vec<u8>, Failure> {
    let mut out = Vec::new();
    if !bytes.starts_with(&MAGIC) {
        append_block(bytes, &mut out, limit)?;
        return Ok(out);
    }
    let mut rest = bytes;
    while !rest.is_empty() {
        if rest.starts_with(&MAGIC) {
            rest = rest.get(HEADER_BYTES..).ok_or_else(truncated)?;
            continue;
        }
        let (len, after) = rest.split_first_chunk().ok_or_else(truncated)?;
        let len = usize::try_from(i32::from_be_bytes(*len))?;
        let (block, after) = after.split_at_checked(len).ok_or_else(truncated)?;
        append_block(block, &mut out, limit)?;
        rest = after;
    }
    Ok(out)
}

/// Decompresses one raw block. Its first bytes claim how long it will be; memory is taken only
/// for a claim that its length can bear out.
fn append_block(block: &[u8], out: &mut Vec<u8>, limit: usize) -> Result<(), Failure> {
    let claimed = decompress_len(block)?;
    if claimed > block.len().saturating_mul(RATIO_MAX) {
        return Err(Failure::Corrupt(format!("{claimed} bytes cannot be in {}", block.len())));
    }
    let start = out.len();
    if claimed > limit - start {
        return Err(Failure::LimitExceeded);
    }
    out.resize(start + claimed, 0);
    Decoder::new().decompress(block, &mut out[start..])?;
    Ok(())
}

fn truncated() -> Failure {
    Failure::Corrupt("cut short".to_owned())
}
