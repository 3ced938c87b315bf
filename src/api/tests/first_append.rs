//! The first append to a log after a start, which may have to read it.

use super::{Client, batch};
use std::fs::OpenOptions;
use std::process::Command;
use std::time::Duration;
use tidelog_protocol::ErrorCode;
use tokio::runtime::Builder;

#[test]
fn a_first_append_that_waits_for_the_disk_holds_up_no_other_task() {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
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
