//! The partition of a key, as Kafka's Java client picks it, so that a record's events keep their
//! order whoever produces them. Every front end that writes records picks partitions here.

/// The partition that `key` belongs to, of the `partitions` (at least one) a topic has.
pub fn partition_for(key: &[u8], partitions: i32) -> i32 {
    (murmur2(key) & i32::MAX) % partitions.max(1)
}

/// The 32-bit MurmurHash2 of `org.apache.kafka.common.utils.Utils.murmur2`.
pub(super) fn murmur2(key: &[u8]) -> i32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;

    // Java's lengths are i32; longer keys cannot come in a record.
    let mut hash = SEED ^ key.len() as u32;
    let (words, tail) = key.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> R;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !tail.is_empty() {
        for (at, byte) in tail.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * at);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    (hash ^ hash >> 15).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From Kafka's own tests of `Utils.murmur2`.
    const VECTORS: [(&str, i32); 6] = [
        ("21", -973_932_308),
        ("foobar", -790_332_482),
        ("a-little-bit-long-string", -985_981_536),
        ("a-little-bit-longer-string", -1_486_304_829),
        ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
        ("abc", 479_470_107),
    ];

    #[test]
    fn hashes_are_the_java_clients() {
        for (key, want) in VECTORS {
            assert_eq!(murmur2(key.as_bytes()), want, "{key}");
        }
    }

    #[test]
    fn a_negative_hash_loses_its_sign_bit_and_is_not_negated() {
        assert_eq!(partition_for(b"21", i32::MAX), i32::MAX & -973_932_308);
        assert_eq!(partition_for(b"abc", 3), 479_470_107 % 3);
        assert_eq!(partition_for(b"abc", 1), 0);
        assert_eq!(partition_for(b"", 0), 0);
    }
}
