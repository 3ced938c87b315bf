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
