//! Answers waiting to be written: a queue of byte slices that goes out in vectored writes.

use bytes::{Buf, Bytes};
use std::collections::VecDeque;
use std::io::IoSlice;

/// Slices in order; each is dropped once it is written.
#[derive(Debug, Default)]
pub(super) struct Parts {
    queue: VecDeque<Bytes>,
    remaining: usize,
}

impl Parts {
    /// Appends slices; empty ones are left out.
    pub(super) fn extend(&mut self, parts: impl IntoIterator<Item = Bytes>) {
        for part in parts {
            if !part.is_empty() {
                self.remaining += part.len();
                self.queue.push_back(part);
            }
        }
    }
}

impl Buf for Parts {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn chunk(&self) -> &[u8] {
        self.queue.front().map_or(&[], |part| part)
    }

    fn chunks_vectored<'a>(&'a self, into: &mut [IoSlice<'a>]) -> usize {
        let slices = into.iter_mut().zip(&self.queue);
        slices.map(|(slot, part)| *slot = IoSlice::new(part)).count()
    }

    fn advance(&mut self, mut count: usize) {
        self.remaining -= count;
        while let Some(part) = self.queue.front_mut() {
            if part.len() > count {
                return part.advance(count);
            }
            count -= part.len();
            self.queue.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_goes_out_once_whatever_the_kernel_takes() {
        for step in 1..8 {
            let mut parts = Parts::default();
            parts.extend(["ab", "", "cde", "f"].map(|part| Bytes::from_static(part.as_bytes())));
            let mut sent = Vec::new();
            while parts.has_remaining() {
                let mut slices = [IoSlice::new(&[]); 4];
                let count = parts.chunks_vectored(&mut slices);
                let all: Vec<u8> = slices[..count].iter().flat_map(|it| it.to_vec()).collect();
                let taken = step.min(all.len());
                sent.extend_from_slice(&all[..taken]);
                parts.advance(taken);
            }
            assert_eq!(sent, b"abcdef");
        }
    }
}
