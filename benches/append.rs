//! What it costs to append 16 KiB, and to have it on disk.

#![allow(clippy::unwrap_used, missing_docs, reason = "a failed benchmark panics")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;
use tidelog_protocol::records::{Batch, BatchBuilder, Compression};
use tidelog_storage::fs::Disk;
use tidelog_storage::{Flush, PartitionOptions, Volume, VolumeOptions};

/// 16 records of about 1 KiB.
fn batch() -> Batch {
    let mut builder = BatchBuilder::new(Compression::None, 1 << 20);
    for key in 0_u32..16 {
        builder.append(0, Some(&key.to_be_bytes()), Some(&[b'x'; 1010]), &[]).unwrap();
    }
    builder.finish().unwrap()
}

/// Appends, and waits until the high watermark has passed what was appended.
fn append(criterion: &mut Criterion) {
    let batch = batch();
    let mut group = criterion.benchmark_group("append");
    group.throughput(Throughput::Bytes(batch.bytes().len() as u64));
    for (name, flush) in [("written", Flush::Never), ("synced", Flush::Commit)] {
        let dir = tempfile::tempdir().unwrap();
        let failed = Box::new(|error: &tidelog_storage::Error| panic!("{error}"));
        let volume =
            Volume::open(Arc::new(Disk), dir.path(), VolumeOptions { flush }, failed).unwrap();
        let (sender, advanced) = channel();
        let on_advance = Box::new(move |offset| {
            // The measuring thread may have seen enough.
            let _ = sender.send(offset);
        });
        let options = PartitionOptions { segment_bytes: 64 << 20, ..Default::default() };
        let opened = volume.open_partition(Path::new("red-0"), [1; 16], options, on_advance);
        let (partition, _) = opened.unwrap();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let appended = partition.append(&batch, 0).unwrap();
                while advanced.recv().unwrap() <= appended.last_offset {}
            });
        });
        drop(partition);
        volume.close().unwrap();
    }
    group.finish();
}

criterion_group!(benches, append);
criterion_main!(benches);
