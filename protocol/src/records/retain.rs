//! A batch with some of its records, as compaction leaves it: offsets, producer and sequence are
//! those of the whole batch, so that what is gone leaves a gap and nothing moves.

use super::builder::{Fields, zigzag};
use super::{Attributes, Batch, Compression, HEADER_BYTES, Header, LOG_OVERHEAD_BYTES, Record};
use bytes::Bytes;

impl Batch {
    /// The batch with `records` only, which are some of its own, in order. A `delete_horizon` is
    /// the time, in ms since 1970, from which on compaction may drop the tombstones (KIP-534).
    ///
    /// Without records the header stays: it says which offsets and sequence numbers were used.
    pub fn retaining(&self, records: &[Record], delete_horizon: Option<i64>) -> Self {
        let mut header = *self.header();
        let mut attributes = header.attributes.0;
        if let Some(horizon) = delete_horizon {
            attributes |= Attributes::DELETE_HORIZON;
            header.base_timestamp = horizon;
        }
        let mut payload = Vec::new();
        for record in records {
            let fields = Fields {
                timestamp_delta: zigzag(record.timestamp.wrapping_sub(header.base_timestamp)),
                offset_delta: zigzag(record.offset - header.base_offset),
                key: record.key.as_deref(),
                value: record.value.as_deref(),
                headers: &record.headers,
            };
            fields.put(fields.bytes(), &mut payload);
        }
        let compression = Compression::from_codec(header.attributes.codec());
        let compressed = compression.map(|it| it.compress(&payload));
        match compressed.filter(|compressed| compressed.len() < payload.len()) {
            Some(compressed) => payload = compressed,
            None => attributes &= !Attributes::CODEC,
        }
        if !header.attributes.is_log_append_time()
            && let Some(latest) = records.iter().map(|record| record.timestamp).max()
        {
            header.max_timestamp = latest;
        }
        header.attributes = Attributes(attributes);
        header.record_count = i32::try_from(records.len()).expect("some of an i32's count");
        Self::assemble(header, &payload)
    }

    /// A batch without records, time or producer: it stands for offsets whose records are lost,
    /// from `base_offset` to `last_offset_delta` after it. Kafka's log cleaner leaves such batches
    /// too, so that its clients step over them and its tools take them.
    ///
    /// `None` if these are no offsets.
    pub fn without_records(base_offset: i64, last_offset_delta: i32) -> Option<Self> {
        base_offset.checked_add(i64::from(last_offset_delta) + 1)?;
        let header = Header {
            base_offset,
            batch_length: 0,
            leader_epoch: -1,
            crc: 0,
            attributes: Attributes(0),
            last_offset_delta,
            base_timestamp: -1,
            max_timestamp: -1,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            record_count: 0,
        };
        (base_offset >= 0 && last_offset_delta >= 0).then(|| Self::assemble(header, &[]))
    }

    /// A batch of this header, but for length and checksum, and this payload.
    pub(super) fn assemble(mut header: Header, payload: &[u8]) -> Self {
        let length = HEADER_BYTES - LOG_OVERHEAD_BYTES + payload.len();
        header.batch_length = i32::try_from(length).expect("records are bounded by their reader");
        let mut bytes = Bytes::from([&header.seal(payload)[..], payload].concat());
        Self::split_from(&mut bytes).expect("the header was just written")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::BatchBuilder;

    #[test]
    fn lost_records_leave_a_batch_of_a_header_alone() {
        let batch = Batch::without_records(7, 3).unwrap();
        batch.header().verify(batch.bytes()).unwrap();
        assert_eq!((batch.header().last_offset(), batch.bytes().len()), (10, HEADER_BYTES));
        assert_eq!(batch.records(1 << 16).unwrap().count(), 0);
        for (base_offset, delta) in [(-1, 0), (0, -1), (i64::MAX, 0)] {
            assert!(Batch::without_records(base_offset, delta).is_none());
        }
    }

    #[test]
    fn what_is_retained_is_as_it_was_and_the_rest_is_a_gap() {
        for compression in Compression::ALL {
            let mut builder = BatchBuilder::new(compression, 1 << 16).producer(7, 1, 40);
            for n in 0..10_i64 {
                let value = [b'x'; 100];
                let value = (n != 4).then_some(&value[..]);
                builder.append(1000 - n, Some(n.to_string().as_bytes()), value, &[]).unwrap();
            }
            let whole = builder.finish().unwrap();
            let all: Vec<_> = whole.records(1 << 16).unwrap().map(Result::unwrap).collect();
            let some = [all[2].clone(), all[4].clone(), all[9].clone()];
            for horizon in [None, Some(5000)] {
                let batch = whole.retaining(&some, horizon);
                batch.header().verify(batch.bytes()).unwrap();
                let found: Vec<_> = batch.records(1 << 16).unwrap().map(Result::unwrap).collect();
                assert_eq!(found, some);
                assert_eq!(batch.header().attributes.has_delete_horizon(), horizon.is_some());
                assert_eq!(batch.header().last_offset(), whole.header().last_offset());
                assert_eq!(batch.header().base_sequence, 40);
                assert_eq!(batch.header().max_timestamp, 998);
            }
            let none = whole.retaining(&[], None);
            assert_eq!((none.bytes().len(), none.header().record_count), (HEADER_BYTES, 0));
            assert_eq!(none.records(1 << 16).unwrap().count(), 0);
        }
    }
}
