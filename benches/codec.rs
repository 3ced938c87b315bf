//! What a request costs before the log is touched, and what an answer costs after it.

#![allow(clippy::unwrap_used, missing_docs, reason = "a failed benchmark panics")]

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use tidelog_protocol::messages::{
    FetchPartitionResponse, FetchResponse, FetchTopicResponse, PartitionProduceData,
    ProduceRequest, TopicProduceData,
};
use tidelog_protocol::records::{Batch, BatchBuilder, Compression};
use tidelog_protocol::{ApiKey, Reader, Request, Response, Writer};

/// A batch of 16 KiB: 16 records of about 1 KiB.
fn batch() -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None, 1 << 20);
    for key in 0_u32..16 {
        builder.append(0, Some(&key.to_be_bytes()), Some(&[b'x'; 1010]), &[]).unwrap();
    }
    builder.finish().unwrap().bytes().clone()
}

fn produce(criterion: &mut Criterion) {
    let partition = PartitionProduceData { index: 0, records: Some(batch()) };
    let topic =
        TopicProduceData { name: "red".into(), partition_data: vec![partition], ..<_>::default() };
    let request = ProduceRequest { acks: -1, topic_data: vec![topic], ..Default::default() };
    let version = ApiKey::Produce.version(9);
    let mut out = Writer::default();
    Request::from(request).write(&mut out, version);
    let frame = out.into_bytes();
    let mut group = criterion.benchmark_group("produce");
    group.throughput(Throughput::Bytes(frame.len() as u64));
    group.bench_function("decode", |bencher| {
        bencher.iter(|| {
            let mut input = Reader::new(frame.clone());
            Request::read(ApiKey::Produce, version, &mut input).unwrap()
        });
    });
    group.bench_function("check the batch", |bencher| {
        let batch = Batch::split_from(&mut batch()).unwrap();
        bencher.iter(|| black_box(&batch).check().unwrap());
    });
    group.finish();
}

fn fetch(criterion: &mut Criterion) {
    const PARTITIONS: i32 = 10;
    let records = batch();
    let version = ApiKey::Fetch.version(12);
    let partition = |partition_index| FetchPartitionResponse {
        partition_index,
        records: Some(records.clone()),
        ..Default::default()
    };
    let partitions = (0..PARTITIONS).map(partition).collect();
    let topic = FetchTopicResponse { topic: "red".into(), partitions, ..Default::default() };
    let response = Response::from(FetchResponse { responses: vec![topic], ..Default::default() });
    let mut group = criterion.benchmark_group("fetch");
    group.throughput(Throughput::Bytes(records.len() as u64 * PARTITIONS as u64));
    group.bench_function("encode", |bencher| {
        bencher.iter(|| {
            let mut out = Writer::default();
            black_box(&response).write(&mut out, version);
            out.into_frame()
        });
    });
    group.finish();
}

criterion_group!(benches, produce, fetch);
criterion_main!(benches);
