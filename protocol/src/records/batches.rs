//! Batches one after the other, as a Fetch answer or a segment file has them.
//!
//! A Fetch answer is cut at a byte count, so that its last batch may be cut short; it is then as
//! if it were not there (KIP-74). Any other damage is an error, and the end.

use super::{Batch, BatchError};
use bytes::Bytes;
use std::iter::FusedIterator;

/// The whole batches at the start of `bytes`; checksums are not looked at.
pub fn batches(bytes: Bytes) -> Batches {
    Batches { rest: bytes }
}

/// Consecutive batches. Ends after the first error, or quietly at a batch that is cut short.
#[derive(Clone, Debug)]
pub struct Batches {
    rest: Bytes,
}

impl Batches {
    /// What is not read yet: at the end, the batch that is cut short.
    pub fn rest(&self) -> &Bytes {
        &self.rest
    }
}

impl Iterator for Batches {
    type Item = Result<Batch, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        match Batch::split_from(&mut self.rest) {
            Ok(batch) => Some(Ok(batch)),
            Err(BatchError::Truncated { .. }) => None,
            Err(error) => {
                self.rest.clear();
                Some(Err(error))
            }
        }
    }
}

impl FusedIterator for Batches {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::{BatchBuilder, Compression};

    fn batch(value: &[u8]) -> Bytes {
        let mut builder = BatchBuilder::new(Compression::None, 1 << 10);
        builder.append(0, None, Some(value), &[]).unwrap();
        builder.finish().unwrap().bytes().clone()
    }

    #[test]
    fn a_cut_last_batch_is_passed_over_and_left_in_the_rest() {
        let (first, second) = (batch(b"one"), batch(b"two and more"));
        let both = Bytes::from([&first[..], &second].concat());
        for end in 0..=both.len() {
            let mut found = batches(both.slice(..end));
            let bytes: Vec<_> = found.by_ref().map(|it| it.unwrap().bytes().clone()).collect();
            let whole = usize::from(end >= first.len()) + usize::from(end == both.len());
            assert_eq!(bytes, [first.clone(), second.clone()][..whole]);
            assert_eq!(found.rest(), &both[bytes.concat().len()..end]);
        }
    }

    #[test]
    fn damage_is_reported_once() {
        let mut damaged = batch(b"one").repeat(3);
        let second = damaged.len() / 3;
        damaged[second + 16] = 1;
        let mut found = batches(damaged.into());
        assert!(found.next().unwrap().is_ok());
        assert_eq!(found.next().unwrap().unwrap_err(), BatchError::InvalidMagic(1));
        assert!(found.next().is_none());

        let mut short = batch(b"one").to_vec();
        short[8..12].copy_from_slice(&48i32.to_be_bytes());
        let error = batches(short.into()).next().unwrap().unwrap_err();
        assert_eq!(error, BatchError::InvalidLength(48));
    }
}
