//! Random values of everything that crosses the wire, for tests (feature `sample`).
//!
//! A sample has content in every field its version carries and the default in the others, so it
//! must come back equal from a round trip. The same seed gives the same values.

use crate::error_code::ErrorCode;
use crate::wire::{Str, Uuid, Version};
use bytes::Bytes;

/// Where samples get their randomness: SplitMix64.
#[derive(Clone, Debug)]
pub struct Source(u64);

impl Source {
    /// A source that gives the same values for the same seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number below `bound`, which must not be zero.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next_u64() % bound as u64) as usize
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// A type with random values.
pub trait Sample: Sized {
    /// A value that `version` can carry.
    fn sample(source: &mut Source, version: Version) -> Self;
}

macro_rules! sample {
    ($($ty:ty: $source:ident => $sample:expr;)*) => {$(
        impl Sample for $ty {
            fn sample($source: &mut Source, _: Version) -> Self { $sample }
        }
    )*};
}

sample! {
    bool: source => source.one_in(2);
    i8: source => source.next_u64() as i8;
    i16: source => source.next_u64() as i16;
    u16: source => source.next_u64() as u16;
    i32: source => source.next_u64() as i32;
    u32: source => source.next_u64() as u32;
    i64: source => source.next_u64() as i64;
    f64: source => source.next_u64() as f64 / 3.0;
    ErrorCode: source => ErrorCode(source.next_u64() as i16);
    Uuid: source => std::array::from_fn(|_| source.next_u64() as u8);
    Str: source => text(source);
    Bytes: source => blob(source);
}

impl<T: Sample> Sample for Option<T> {
    fn sample(source: &mut Source, version: Version) -> Self {
        (!source.one_in(4)).then(|| T::sample(source, version))
    }
}

impl<T: Sample> Sample for Vec<T> {
    fn sample(source: &mut Source, version: Version) -> Self {
        // Now and then a count that takes two bytes in compact form.
        let len = if source.one_in(200) { 127 + source.below(3) } else { source.below(4) };
        (0..len).map(|_| T::sample(source, version)).collect()
    }
}

/// Mostly short, sometimes past the one-byte compact length, with one to four bytes a letter.
fn text(source: &mut Source) -> Str {
    let len = if source.one_in(20) { 120 + source.below(20) } else { source.below(12) };
    let letters = ['a', 'Z', '0', '-', '\0', 'ß', '漢', '🌊'];
    (0..len).map(|_| letters[source.below(letters.len())]).collect::<String>().into()
}

/// Sometimes large enough to become a part of its own in a writer.
fn blob(source: &mut Source) -> Bytes {
    let len = if source.one_in(20) { 1020 + source.below(10) } else { source.below(40) };
    (0..len).map(|_| source.next_u64() as u8).collect::<Vec<_>>().into()
}
