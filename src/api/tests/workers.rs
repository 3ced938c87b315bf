//! What may take long, and holds up no other connection meanwhile.

use super::{Client, batch};
use crate::topic::{Config, NewTopic};
use std::fs::OpenOptions;
use std::process::Command;
use std::time::Duration;
use tidelog_protocol::ErrorCode;
use tidelog_protocol::records::{BatchBuilder, Compression};
use tokio::runtime::{Builder, Runtime};

fn one_worker() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

#[test]
fn a_batch_that_takes_long_to_compress_holds_up_no_other_task() {
    let runtime = one_worker();
    let client = runtime.block_on(async {
        let client = Client::new().await;
        let set = [("compression.type", "zstd"), ("compression.zstd.level", "19")];
        let set = set.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let config = Config::new(set).unwrap();
        let new = NewTopic { name: "red".to_owned(), partitions: 1, config, sync: None };
        client.cluster.topics.create(new).await.unwrap();
        // The first append may hold up a worker for reasons of its own.
        client.produce("red", batch(1)).await;
        client
    });
    let text = (0..100_000).map(|n: u32| n.wrapping_mul(2_654_435_761).to_string());
    let mut builder = BatchBuilder::new(Compression::None, 2 << 20);
    builder.append(0, None, Some(text.collect::<String>().as_bytes()), &[]).unwrap();
    let large = builder.finish().unwrap();
    let (sender, turn) = std::sync::mpsc::channel();
    let red = client.cluster.topics.get("red").unwrap();
    let produced = runtime.spawn(async move {
        let appended = move || red.partition(0).unwrap().log().log_end_offset();
        tokio::spawn(async move { sender.send(appended()) });
        client.produce("red", large).await
    });
    assert_eq!(turn.recv(), Ok(1), "the only worker was held up until it was appended");
    let produced = runtime.block_on(produced).unwrap();
    assert_eq!(produced.responses[0].partition_responses[0].error_code, ErrorCode::NONE);
}

#[test]
fn a_first_append_that_waits_for_the_disk_holds_up_no_other_task() {
    let runtime = one_worker();
    let (client, snapshot) = runtime.block_on(async {
        let client = Client::new().await;
        client.topic("red", 1).await;
        client.produce("red", batch(1)).await;
        client.session.broker.close().await.unwrap();
        let Client { cluster, session, dir } = client;
        let log = dir.path().join("accounts").join(&cluster.account.id).join("red-0");
        drop((cluster, session));
        // What the first append reads is a pipe: it opens once somebody writes to it.
        let snapshot = log.join(format!("{:020}.snapshot", 1));
        std::fs::remove_file(&snapshot).unwrap();
        assert!(Command::new("mkfifo").arg(&snapshot).status().unwrap().success());
        (Client::open(dir).await, snapshot)
    });
    let produced = runtime.spawn(async move { client.produce("red", batch(1)).await });
    let (sender, turn) = std::sync::mpsc::channel();
    runtime.spawn(async move { sender.send(()) });
    let turn = turn.recv_timeout(Duration::from_secs(30));
    assert!(!produced.is_finished());
    let opened = OpenOptions::new().read(true).write(true).open(snapshot).unwrap();
    turn.expect("the only worker was held up");
    let produced = runtime.block_on(produced).unwrap();
    let partition = &produced.responses[0].partition_responses[0];
    assert_eq!((partition.error_code, partition.base_offset), (ErrorCode::NONE, 1));
    drop(opened);
}
