//! What a topic's configs make of a batch.

use super::{Client, ask, batch};
use crate::api::{Outcome, dispatch};
use crate::clock;
use crate::topic::{Config, NewTopic};
use tidelog_protocol::header::RequestHeader;
use tidelog_protocol::messages::{
    PartitionProduceData, PartitionProduceResponse, ProduceRequest, TopicProduceData,
};
use tidelog_protocol::records::{Batch, BatchBuilder, Compression};
use tidelog_protocol::{ApiKey, ErrorCode};

/// Produces to a topic that has this one config.
async fn produce(config: (&str, &str), batch: Batch) -> (Client, PartitionProduceResponse) {
    let client = Client::new().await;
    let config = Config::new([(config.0.to_owned(), config.1.to_owned())]).unwrap();
    let new = NewTopic { name: "red".to_owned(), partitions: 1, config, sync: None };
    client.cluster.topics.create(new).await.unwrap();
    let mut answer = client.produce("red", batch).await;
    let partition = answer.responses.remove(0).partition_responses.remove(0);
    (client, partition)
}

/// The topic's first batch, checked.
fn stored(client: &Client) -> Batch {
    let topic = client.cluster.topics.get("red").unwrap();
    let mut bytes = topic.partition(0).unwrap().log().read(0, 1 << 20, i64::MAX).unwrap();
    let stored = Batch::split_from(&mut bytes).unwrap();
    stored.check().unwrap();
    stored
}

#[tokio::test]
async fn a_compacted_topic_takes_only_records_with_keys() {
    let compact = ("cleanup.policy", "compact,delete");
    let (_client, refused) = produce(compact, batch(2)).await;
    assert_eq!(refused.error_code, ErrorCode::INVALID_RECORD);
    let mut keyed = BatchBuilder::new(Compression::Zstd, 1 << 10);
    keyed.append(0, Some(b"key"), None, &[]).unwrap();
    let (_client, taken) = produce(compact, keyed.finish().unwrap()).await;
    assert_eq!((taken.error_code, taken.log_append_time_ms), (ErrorCode::NONE, -1));
}

#[tokio::test]
async fn what_is_sent_without_waiting_for_an_answer_is_held_until_it_is_durable() {
    let client = Client::new().await;
    let topic = client.topic("red", 1).await;
    let log = topic.partition(0).unwrap().log();
    let (key, client_id) = (ApiKey::Produce, None);
    let header = RequestHeader { key, version: key.version(9), correlation_id: 1, client_id };
    for (other, fails) in [(None, false), (Some(1), true)] {
        let data = |index| PartitionProduceData { index, records: Some(batch(3).bytes().clone()) };
        let partition_data = [0].into_iter().chain(other).map(data).collect();
        let name = "red".into();
        let topic_data = vec![TopicProduceData { name, partition_data, ..Default::default() }];
        let request = ProduceRequest { acks: 0, topic_data, ..Default::default() };
        let outcome = dispatch(&client.cluster, &client.session, &header, request.into()).await;
        let Outcome::Silence { failed, held } = outcome else { panic!("it was answered") };
        assert_eq!(failed, fails);
        held.await;
        assert_eq!(log.high_watermark(), log.log_end_offset());
    }
    assert_eq!(log.high_watermark(), 6);
}

#[tokio::test]
async fn log_append_time_is_answered_and_stored() {
    let before = clock::unix_ms();
    let (client, taken) = produce(("message.timestamp.type", "LogAppendTime"), batch(3)).await;
    let time = taken.log_append_time_ms;
    assert!((before..=clock::unix_ms()).contains(&time), "{time}");
    let topic = client.cluster.topics.get("red").unwrap();
    let log = topic.partition(0).unwrap().log();
    assert_eq!(log.offset_for_time(time).unwrap(), Some((0, time)));
    assert_eq!(log.offset_for_time(time + 1).unwrap(), None);
}

#[tokio::test]
async fn a_topic_with_a_codec_stores_every_batch_in_it_and_one_without_as_it_came() {
    let own = [("uncompressed", 0), ("gzip", 1), ("snappy", 2), ("lz4", 3), ("zstd", 4)];
    for (name, codec) in own.into_iter().chain([("producer", -1)]) {
        for sent in Compression::ALL {
            let mut builder = BatchBuilder::new(sent, 1 << 16);
            (0..40).for_each(|n| builder.append(n, None, Some(&[7; 100]), &[]).unwrap());
            let batch = builder.finish().unwrap();
            let (client, taken) = produce(("compression.type", name), batch.clone()).await;
            assert_eq!(taken.error_code, ErrorCode::NONE);
            let stored = stored(&client);
            let expected = if codec < 0 { sent.codec() } else { codec };
            assert_eq!(stored.header().attributes.codec(), expected, "{sent} to {name}");
            let values = |it: &Batch| {
                it.records(1 << 16).unwrap().map(|it| it.unwrap().value).collect::<Vec<_>>()
            };
            assert_eq!(values(&stored), values(&batch));
        }
    }
}

#[tokio::test]
async fn what_the_topics_codec_makes_too_large_or_cannot_read_is_refused() {
    let mut builder = BatchBuilder::new(Compression::Gzip, 4 << 20);
    builder.append(0, None, Some(&vec![7; 2 << 20]), &[]).unwrap();
    let bomb = builder.finish().unwrap();
    let (_client, refused) = produce(("compression.type", "uncompressed"), bomb).await;
    assert_eq!(refused.error_code, ErrorCode::MESSAGE_TOO_LARGE);
    assert!(refused.error_message.unwrap().contains("max.message.bytes"));
}

/// Bytes of a batch with some changed, and the checksum made anew unless that was the change.
fn changed(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut batch = batch(3).bytes().to_vec();
    batch[at..at + bytes.len()].copy_from_slice(bytes);
    if at != 17 {
        sign(&mut batch);
    }
    batch
}

fn sign(batch: &mut [u8]) {
    let crc = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
}

/// The same with other records, and a length that fits them.
fn with_records(records: &[u8]) -> Vec<u8> {
    let mut batch = batch(3).bytes()[..61].to_vec();
    batch.extend(records);
    let length = i32::try_from(batch.len() - 12).unwrap();
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    sign(&mut batch);
    batch
}

#[tokio::test]
async fn nothing_of_a_batch_that_is_not_sound_is_appended() {
    use ErrorCode as Code;
    let producer = |id: i64, epoch: i16, sequence: i32| {
        changed(
            43,
            &[&id.to_be_bytes()[..], &epoch.to_be_bytes(), &sequence.to_be_bytes()].concat(),
        )
    };
    let three = &batch(3).bytes()[61..].to_vec();
    let each = three.len() / 3;
    let swapped = [&three[each..2 * each], &three[..each], &three[2 * each..]].concat();
    let twice = [&three[..each], &three[..each], &three[2 * each..]].concat();
    let mut endless = three.clone();
    endless[0] = 0x7e;
    let far = (clock::unix_ms() + 10 * 24 * 3_600_000).to_be_bytes();
    let cases: &[(&str, Vec<u8>, Code)] = &[
        ("no bytes", Vec::new(), Code::INVALID_RECORD),
        ("half a header", batch(3).bytes()[..40].to_vec(), Code::INVALID_RECORD),
        ("a batch cut short", batch(3).bytes()[..70].to_vec(), Code::INVALID_RECORD),
        ("two batches", batch(3).bytes().repeat(2), Code::INVALID_RECORD),
        ("a length below the header's", changed(8, &48_i32.to_be_bytes()), Code::CORRUPT_MESSAGE),
        ("a negative length", changed(8, &(-1_i32).to_be_bytes()), Code::CORRUPT_MESSAGE),
        ("an offset", changed(0, &7_i64.to_be_bytes()), Code::INVALID_RECORD),
        ("format 1", changed(16, &[1]), Code::INVALID_RECORD),
        ("format 3", changed(16, &[3]), Code::CORRUPT_MESSAGE),
        ("a wrong checksum", changed(17, &[1, 2, 3, 4]), Code::CORRUPT_MESSAGE),
        ("codec 5", changed(21, &[0, 5]), Code::UNSUPPORTED_COMPRESSION_TYPE),
        ("codec 7", changed(21, &[0, 7]), Code::UNSUPPORTED_COMPRESSION_TYPE),
        ("the broker's time", changed(21, &[0, 0x08]), Code::INVALID_RECORD),
        ("outside of a transaction", changed(21, &[0, 0x10]), Code::INVALID_TXN_STATE),
        ("a marker", changed(21, &[0, 0x20]), Code::INVALID_RECORD),
        ("a marker of a transaction", changed(21, &[0, 0x30]), Code::INVALID_RECORD),
        ("a delete horizon", changed(21, &[0, 0x40]), Code::INVALID_RECORD),
        ("a last offset too high", changed(23, &3_i32.to_be_bytes()), Code::INVALID_RECORD),
        ("a last offset too low", changed(23, &(-1_i32).to_be_bytes()), Code::INVALID_RECORD),
        ("no records", changed(57, &0_i32.to_be_bytes()), Code::INVALID_RECORD),
        ("fewer than none", changed(57, &(-3_i32).to_be_bytes()), Code::INVALID_RECORD),
        ("a time to come", changed(27, &far), Code::INVALID_TIMESTAMP),
        ("a producer without a sequence", producer(7, 0, -1), Code::INVALID_RECORD),
        ("a producer without an epoch", producer(7, -1, 0), Code::INVALID_PRODUCER_EPOCH),
        ("one record too few", with_records(&three[..2 * each]), Code::INVALID_RECORD),
        ("one too many", with_records(&three.repeat(2)[..4 * each]), Code::INVALID_RECORD),
        ("bytes left over", with_records(&[three, &[0][..]].concat()), Code::INVALID_RECORD),
        ("a record past the end", with_records(&endless), Code::INVALID_RECORD),
        ("an offset twice", with_records(&twice), Code::INVALID_RECORD),
        ("offsets out of order", with_records(&swapped), Code::INVALID_RECORD),
        ("no end of a length", with_records(&[0xff; 30]), Code::INVALID_RECORD),
        ("too large", with_records(&vec![0; 1_048_588]), Code::MESSAGE_TOO_LARGE),
    ];
    let client = Client::new().await;
    let topic = client.topic("red", 1).await;
    let send = async |records: Vec<u8>| {
        let data = PartitionProduceData { index: 0, records: Some(records.into()) };
        let partition_data = vec![data];
        let topic = TopicProduceData { name: "red".into(), partition_data, ..Default::default() };
        let (acks, topic_data) = (-1, vec![topic]);
        let request = ProduceRequest { acks, topic_data, ..Default::default() };
        ask!(client, 9, Produce, request).responses.remove(0).partition_responses.remove(0)
    };
    for (what, bytes, code) in cases {
        let refused = send(bytes.clone()).await;
        assert_eq!((refused.error_code, refused.base_offset), (*code, -1), "{what}: {refused:?}");
        assert_eq!(topic.partition(0).unwrap().log().log_end_offset(), 0, "{what}");
    }
    // Some clients say so of a producer that they are not.
    for bytes in [batch(3).bytes().to_vec(), producer(-1, 0, 0), with_records(three)] {
        assert_eq!(send(bytes).await.error_code, Code::NONE);
    }
}

/// A batch of records a minute apart whose header says that the largest timestamp is another.
fn mistimed(compression: Compression, max_timestamp: i64) -> (Batch, i64) {
    let first = clock::unix_ms() - 3_600_000;
    let mut builder = BatchBuilder::new(compression, 1 << 16);
    for n in [0, 2, 1] {
        builder.append(first + n * 60_000, None, Some(b"value"), &[]).unwrap();
    }
    (builder.finish().unwrap().with_max_timestamp(max_timestamp), first + 120_000)
}

/// Sarama before 1.45.2 says -1.
#[tokio::test]
async fn the_largest_timestamp_is_that_of_the_records_whatever_the_producer_says() {
    for compression in Compression::ALL {
        for said in [-1, 0] {
            let (sent, largest) = mistimed(compression, said);
            let (client, taken) = produce(("retention.ms", "7200000"), sent.clone()).await;
            assert_eq!(taken.error_code, ErrorCode::NONE);
            let stored = stored(&client);
            assert_eq!(stored.header().max_timestamp, largest, "{compression}: {said}");
            assert_eq!(stored.payload(), sent.payload());
            let topic = client.cluster.topics.get("red").unwrap();
            let log = topic.partition(0).unwrap().log();
            assert_eq!(log.offset_for_time(largest - 1).unwrap(), Some((1, largest)));
        }
    }
    // Nor is what is too far ahead hidden behind what is not.
    let (sent, largest) = mistimed(Compression::None, 1);
    let ahead = (clock::unix_ms() - largest + 10).to_string();
    let limit = ("message.timestamp.before.max.ms", ahead.as_str());
    assert_eq!(produce(limit, sent).await.1.error_code, ErrorCode::INVALID_TIMESTAMP);
}

#[tokio::test]
async fn what_takes_too_much_to_decompress_is_too_large_and_what_came_as_it_is_is_not() {
    let compact = ("cleanup.policy", "compact");
    let large = |compression| {
        let mut builder = BatchBuilder::new(compression, 100 << 20);
        for n in 0..65 {
            builder.append(n, Some(b"key"), Some(&vec![0; 1 << 20]), &[]).unwrap();
        }
        builder.finish().unwrap()
    };
    let (_client, refused) = produce(compact, large(Compression::Zstd)).await;
    assert_eq!(refused.error_code, ErrorCode::MESSAGE_TOO_LARGE);
    let batch = large(Compression::None);
    let configs = [compact, ("max.message.bytes", "100000000")];
    let configs = configs.map(|(name, value)| (name.to_owned(), value.to_owned()));
    Config::new(configs).unwrap().admit(batch).unwrap();
}

#[tokio::test]
async fn zstandard_is_taken_from_the_version_on_that_knows_it() {
    let client = Client::new().await;
    client.topic("red", 1).await;
    let mut builder = BatchBuilder::new(Compression::Zstd, 1 << 10);
    // What does not shrink is left as it is.
    builder.append(0, None, Some(&[7; 500]), &[]).unwrap();
    let batch = builder.finish().unwrap();
    assert_eq!(batch.header().attributes.codec(), Compression::Zstd.codec());
    for (version, code) in [
        (3, ErrorCode::UNSUPPORTED_COMPRESSION_TYPE),
        (6, ErrorCode::UNSUPPORTED_COMPRESSION_TYPE),
        (7, ErrorCode::NONE),
    ] {
        let data = PartitionProduceData { index: 0, records: Some(batch.bytes().clone()) };
        let topic_data = vec![TopicProduceData {
            name: "red".into(),
            partition_data: vec![data],
            ..Default::default()
        }];
        let request = ProduceRequest { acks: -1, topic_data, ..Default::default() };
        let answer = ask!(client, version, Produce, request);
        assert_eq!(answer.responses[0].partition_responses[0].error_code, code, "{version}");
    }
}
