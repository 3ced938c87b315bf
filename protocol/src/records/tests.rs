//! Batches as whole: against other implementations, and against damage.
//!
//! The vectors are what the Java client 4.3.1, kafka-python 3.0.12 and librdkafka 2.16.0 write for
//! [`sample`], one file a codec.

use super::*;
use crate::sample::Source;
use bytes::{Bytes, BytesMut};
use kafka_protocol::records as oracle;

const LIMIT: usize = 1 << 20;
const T: i64 = 1_700_000_000_000;

/// Null, empty, or up to `len_max` bytes, some of them alike.
fn random_blob(random: &mut Source, len_max: usize) -> Option<Bytes> {
    let kind = random.below(6);
    let len = random.below(len_max) + 1;
    match kind {
        0 => None,
        1 => Some(Bytes::new()),
        2 => Some(vec![b'x'; len].into()),
        _ => Some((0..len).map(|_| random.next_u64() as u8).collect()),
    }
}

fn random_record(random: &mut Source, offset: i64) -> Record {
    let count = if random.one_in(3) { random.below(5) } else { 0 };
    let headers = (0..count).map(|i| header(&format!("h{i}"), random_blob(random, 20))).collect();
    let timestamp = match random.one_in(20) {
        true => random.next_u64() as i64,
        false => T + random.below(100_000) as i64 - 50_000,
    };
    let len_max = if random.one_in(40) { 20_000 } else { 200 };
    let (key, value) = (random_blob(random, 40), random_blob(random, len_max));
    Record { offset, timestamp, key, value, headers }
}

/// How often random tests run: few times, unless TIDELOG_TEST_ITERATIONS multiplies it.
fn iterations(few: usize) -> usize {
    match std::env::var("TIDELOG_TEST_ITERATIONS").as_deref() {
        Ok("forever") => usize::MAX,
        Ok(factor) => few * factor.parse::<usize>().unwrap(),
        Err(_) => few,
    }
}

fn header(key: &str, value: Option<Bytes>) -> RecordHeader {
    RecordHeader { key: key.into(), value }
}

fn sample(base_offset: i64) -> Vec<Record> {
    let blob = |text: &'static str| Some(Bytes::from_static(text.as_bytes()));
    let traces = vec![
        header("trace", Some(Bytes::from_static(b"\x00\xff"))),
        header("trace", blob("")),
        header("empty", None),
    ];
    let mut records = vec![
        (T, blob("key-0"), blob("{\"id\":0}"), vec![]),
        (T - 1500, None, Some(Bytes::from(vec![b'x'; 100])), traces),
        (T + 86_400_000, blob("key-2"), None, vec![]),
        (T + 1, blob(""), blob(""), vec![header("grüße", blob("1"))]),
    ];
    records.extend((4..40).map(|i| {
        let (key, value) = (format!("key-{i}"), format!("value-{}", i % 7));
        (T + i, Some(key.into()), Some(value.into()), vec![])
    }));
    let numbered = (base_offset..).zip(records);
    numbered
        .map(|(offset, (timestamp, key, value, headers))| Record {
            offset,
            timestamp,
            key,
            value,
            headers,
        })
        .collect()
}

fn append_all(mut builder: BatchBuilder, records: &[Record]) -> Batch {
    for it in records {
        builder.append(it.timestamp, it.key.as_deref(), it.value.as_deref(), &it.headers).unwrap();
    }
    builder.finish().unwrap()
}

fn build(compression: Compression, records: &[Record]) -> Batch {
    append_all(BatchBuilder::new(compression, LIMIT), records)
}

fn read(batch: &Batch) -> Result<Vec<Record>, RecordError> {
    batch.records(LIMIT)?.collect()
}

fn vector(name: &str) -> Bytes {
    let path = format!("{}/tests/vectors/batches/{name}.hex", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let digits: Vec<_> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}

fn parse(mut bytes: Bytes) -> Batch {
    let batch = Batch::split_from(&mut bytes).unwrap();
    assert!(bytes.is_empty());
    batch
}

/// The batch with other records in it, its length and checksum made to fit.
fn with_payload(batch: &Batch, payload: &[u8]) -> Batch {
    let mut bytes = [&batch.bytes()[..HEADER_BYTES], payload].concat();
    let length = (bytes.len() - LOG_OVERHEAD_BYTES) as i32;
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    seal(bytes)
}

fn seal(mut bytes: Vec<u8>) -> Batch {
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    parse(bytes.into())
}

#[test]
fn what_other_clients_wrote_is_what_is_read() {
    for client in ["java", "kafka-python", "librdkafka"] {
        for compression in Compression::ALL {
            let batch = parse(vector(&format!("{client}-{compression}")));
            batch.check().unwrap();
            assert_eq!(batch.header().attributes.codec(), compression.codec());
            assert_eq!(read(&batch).unwrap(), sample(0), "{client} {compression}");
        }
    }
}

#[test]
fn uncompressed_batches_are_javas_byte_for_byte() {
    assert_eq!(build(Compression::None, &sample(0)).bytes(), &vector("java-none"));

    let builder = BatchBuilder::new(Compression::None, LIMIT).producer(4001, 3, 17).transactional();
    let batch = append_all(builder, &sample(0));
    let assigned = [&batch.assigned_prefix(100, 5)[..], &batch.bytes()[16..]].concat();
    assert_eq!(assigned, vector("java-transactional"));
    assert_eq!(read(&parse(assigned.into())).unwrap(), sample(100));

    for (name, result) in
        [("java-abort", TransactionResult::Abort), ("java-commit", TransactionResult::Commit)]
    {
        let marker = EndTxnMarker { result, coordinator_epoch: 9 };
        let batch = marker.batch(T, 4001, 3);
        let assigned = [&batch.assigned_prefix(140, 5)[..], &batch.bytes()[16..]].concat();
        assert_eq!(assigned, vector(name));
        let batch = parse(assigned.into());
        assert!(batch.header().attributes.is_control());
        let records = read(&batch).unwrap();
        assert_eq!(records.len(), 1);
        assert_eq!(EndTxnMarker::read(&records[0]), Ok(Some(marker)));
    }
}

#[test]
fn log_append_time_is_every_records_timestamp() {
    let stamped = |time| -> Vec<_> {
        sample(7).into_iter().map(|record| Record { timestamp: time, ..record }).collect()
    };
    let java = parse(vector("java-log-append-time"));
    assert_eq!(read(&java).unwrap(), stamped(java.header().max_timestamp));

    for compression in Compression::ALL {
        let batch = build(compression, &sample(0));
        let prefix = batch.restamped_header(7, 3, T + 99);
        let restamped = parse([&prefix[..], &batch.payload()].concat().into());
        restamped.check().unwrap();
        let expected = Header {
            base_offset: 7,
            leader_epoch: 3,
            crc: restamped.header().crc,
            attributes: Attributes(batch.header().attributes.0 | 8),
            max_timestamp: T + 99,
            ..*batch.header()
        };
        assert_eq!(restamped.header(), &expected);
        assert_eq!(read(&restamped).unwrap(), stamped(T + 99));
    }
}

#[test]
fn random_records_come_back_from_every_codec() {
    let mut random = Source::new(1);
    for _ in 0..iterations(40) {
        let count = random.below(60) + 1;
        let records: Vec<_> =
            (0..count).map(|offset| random_record(&mut random, offset as i64)).collect();
        for compression in Compression::ALL {
            let batch = build(compression, &records);
            let header = batch.header();
            let largest = (header.attributes.codec() == 0).then_some(header.max_timestamp);
            assert_eq!(batch.check(), Ok(largest));
            assert_eq!((header.base_offset, header.leader_epoch), (0, -1));
            assert_eq!(header.base_timestamp, records[0].timestamp);
            assert_eq!(Some(header.max_timestamp), records.iter().map(|it| it.timestamp).max());
            assert_eq!(read(&batch).unwrap(), records);
        }
    }
}

#[test]
fn an_independent_codec_agrees_on_random_records() {
    let mut random = Source::new(2);
    for _ in 0..iterations(40) {
        let count = random.below(60) + 1;
        let mut records: Vec<_> =
            (0..count).map(|offset| random_record(&mut random, offset as i64)).collect();
        // The oracle takes a record's distance from the first without minding overflow.
        records.iter_mut().for_each(|it| it.timestamp = T + it.timestamp % 100_000);

        let mut ours = build(Compression::None, &records).bytes().clone();
        let theirs = oracle::RecordBatchDecoder::decode(&mut ours).unwrap().records;
        let translated: Vec<_> = theirs.iter().map(from_oracle).collect();
        assert_eq!(translated, records);

        let mut encoded = BytesMut::new();
        let options =
            oracle::RecordEncodeOptions { version: 2, compression: oracle::Compression::None };
        oracle::RecordBatchEncoder::encode(&mut encoded, &theirs, &options).unwrap();
        assert_eq!(read(&parse(encoded.freeze())).unwrap(), records);
    }
}

fn from_oracle(record: &oracle::Record) -> Record {
    let headers = record.headers.iter().map(|(key, value)| header(key, value.clone()));
    Record {
        offset: record.offset,
        timestamp: record.timestamp,
        key: record.key.clone(),
        value: record.value.clone(),
        headers: headers.collect(),
    }
}

#[test]
fn a_batch_cut_anywhere_is_refused() {
    for compression in Compression::ALL {
        let batch = build(compression, &sample(0));
        for end in 0..batch.bytes().len() {
            let cut = Batch::split_from(&mut batch.bytes().slice(..end));
            assert!(matches!(cut, Err(BatchError::Truncated { .. })), "{compression} {end}");
        }
        // Cut inside the records, with a header that knows no better.
        for end in 0..batch.payload().len() {
            let cut = with_payload(&batch, &batch.payload()[..end]);
            match (compression, cut.check()) {
                (Compression::None, Err(BatchError::InvalidRecord { .. })) => {}
                (_, checked) => _ = checked.unwrap(),
            }
            // The end mark of an LZ4 frame is not missed; all the records are there.
            if compression == Compression::Lz4 && batch.payload().len() - end <= 4 {
                assert_eq!(read(&cut).unwrap(), sample(0));
            } else {
                assert!(read(&cut).is_err(), "{compression} {end}");
            }
        }
    }
}

#[test]
fn every_flipped_bit_is_found_by_the_checksum_and_read_without_panic() {
    let few = sample(0)[..6].to_vec();
    for compression in Compression::ALL {
        let batch = build(compression, &few);
        for bit in 0..batch.bytes().len() * 8 {
            let mut bytes = batch.bytes().to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let Ok(damaged) = Batch::split_from(&mut Bytes::from(bytes)) else {
                assert!((8..17).contains(&(bit / 8)), "only length and magic are checked here");
                continue;
            };
            let checked = damaged.check();
            // Base offset and leader epoch are the broker's to set, and not covered.
            match bit / 8 {
                0..8 | 12..16 => _ = checked.unwrap(),
                _ => assert!(checked.is_err(), "{compression} bit {bit}"),
            }
            let _ = read(&damaged);
        }
    }
}

#[test]
fn damage_behind_a_valid_checksum_neither_panics_nor_exceeds_the_limit() {
    let mut random = Source::new(3);
    let limit = 8 << 10;
    let batches: Vec<_> = ["java", "kafka-python", "librdkafka"]
        .iter()
        .flat_map(|client| Compression::ALL.map(|it| parse(vector(&format!("{client}-{it}")))))
        .chain(Compression::ALL.map(|compression| build(compression, &sample(0))))
        .collect();
    for _ in 0..iterations(2_000) {
        let batch = &batches[random.below(batches.len())];
        let mut bytes = batch.bytes().to_vec();
        for _ in 0..random.below(4) + 1 {
            let at = 21 + random.below(bytes.len() - 21);
            bytes[at] = random.next_u64() as u8;
        }
        let damaged = seal(bytes);
        let Ok(records) = damaged.records(limit) else { continue };
        let mut offset_min = i64::MIN;
        let mut bytes = 0;
        for record in records.flatten() {
            assert!((offset_min..=damaged.header().last_offset()).contains(&record.offset));
            offset_min = record.offset + 1;
            let blobs = [&record.key, &record.value];
            bytes += blobs.into_iter().flatten().map(Bytes::len).sum::<usize>();
        }
        assert!(bytes <= limit);
    }
}

#[test]
fn hostile_lengths_are_refused_before_memory_is_taken() {
    let batch = build(Compression::None, &sample(0)[..1]);
    // One record: length, attributes, timestamp delta, offset delta, then the fields at stake.
    let first = |fields: &[u8]| {
        let length = (3 + fields.len()) as u8 * 2;
        let payload = [&[length, 0, 0, 0][..], fields].concat();
        batch_records(&with_payload(&batch, &payload))
    };
    const MAX: [u8; 5] = [0xfe, 0xff, 0xff, 0xff, 0x0f];
    const MIN: [u8; 5] = [0xff, 0xff, 0xff, 0xff, 0x0f];
    let max = i32::MAX as usize;

    assert!(first(&[1, 1, 0]).is_ok());
    assert_eq!(first(&MAX), Err(RecordError::Truncated { needed: max, left: 0 }));
    assert_eq!(first(&MIN), Err(RecordError::InvalidLength(i32::MIN)));
    assert_eq!(
        first(&[&[1][..], &MAX].concat()),
        Err(RecordError::Truncated { needed: max, left: 0 })
    );
    assert_eq!(
        first(&[&[1, 1][..], &MAX].concat()),
        Err(RecordError::InvalidHeaderCount(i32::MAX))
    );
    assert_eq!(first(&[1, 1, 1]), Err(RecordError::InvalidHeaderCount(-1)));
    assert_eq!(first(&[1, 1, 4, 0, 1]), Err(RecordError::InvalidHeaderCount(2)));
    assert_eq!(first(&[1, 1, 2, 1, 1]), Err(RecordError::InvalidLength(-1)), "null header key");
    assert_eq!(first(&[1, 1, 2, 2, 0xff, 1]), Err(RecordError::InvalidHeaderKey));
    assert_eq!(first(&[1, 1, 0, 7]), Err(RecordError::TrailingBytes(1)));
    assert_eq!(first(&[0xff, 0xff, 0xff, 0xff, 0x1f, 1, 0]), Err(RecordError::InvalidVarint));
    assert_eq!(first(&[0x80; 9]), Err(RecordError::InvalidVarint));
    assert_eq!(first(&[0x81, 0x80, 0, 1, 0]).unwrap().key, None, "a longer way to say null");

    let whole = |payload: &[u8]| batch_records(&with_payload(&batch, payload));
    assert_eq!(whole(&[]), Err(RecordError::Truncated { needed: 1, left: 0 }));
    assert_eq!(whole(&[1]), Err(RecordError::InvalidLength(-1)));
    assert_eq!(whole(&MAX), Err(RecordError::Truncated { needed: max, left: 0 }));
    assert_eq!(whole(&[0]), Err(RecordError::Truncated { needed: 1, left: 0 }));
    assert_eq!(
        whole(&[12, 0, 0, 2, 1, 1, 0]),
        Err(RecordError::InvalidOffsetDelta { delta: 1, min: 0, max: 0 })
    );
    let overlong_timestamp = [[26, 0].as_slice(), &[0xff; 9], &[2, 0, 1, 1, 0]].concat();
    assert_eq!(whole(&overlong_timestamp), Err(RecordError::InvalidVarint));
}

fn batch_records(batch: &Batch) -> Result<Record, RecordError> {
    let mut records = batch.records(LIMIT)?;
    let first = records.next().unwrap();
    if first.is_err() {
        assert_eq!(records.next(), None, "an error is the end");
    }
    first
}

#[test]
fn a_count_other_than_the_records_is_an_error() {
    let batch = build(Compression::None, &sample(0));
    for (count, delta) in [(39, 39), (41, 40), (41, 39), (0, 39), (-1, 39), (i32::MAX, 39)] {
        let mut bytes = batch.bytes().to_vec();
        bytes[57..61].copy_from_slice(&i32::to_be_bytes(count));
        bytes[23..27].copy_from_slice(&i32::to_be_bytes(delta));
        assert!(read(&seal(bytes)).is_err(), "{count}");
    }
    let mut unknown = batch.bytes().to_vec();
    unknown[22] = 5;
    assert_eq!(read(&seal(unknown)), Err(RecordError::UnknownCompression(5)));
}

#[test]
fn a_record_has_as_many_headers_as_are_allowed_and_no_more() {
    let with_headers = |count| {
        let headers = vec![RecordHeader::default(); count];
        build(Compression::None, &[Record { headers, ..sample(0).remove(0) }])
    };
    let allowed = read(&with_headers(Record::HEADERS_MAX)).unwrap();
    assert_eq!(allowed[0].headers.len(), Record::HEADERS_MAX);
    let refused = read(&with_headers(Record::HEADERS_MAX + 1));
    assert_eq!(refused, Err(RecordError::InvalidHeaderCount(Record::HEADERS_MAX as i32 + 1)));
}
