//! Fetch sessions (KIP-227): full at first, then only what changed.

use super::{Client, ask, batch};
use futures_util::FutureExt;
use tidelog_protocol::messages::*;
use tidelog_protocol::{ErrorCode, Str, Uuid};

fn topic(name: &str, topic_id: Uuid, offsets: &[(i32, i64)]) -> FetchTopic {
    let partition = |(partition, fetch_offset): &(i32, i64)| FetchPartition {
        partition: *partition,
        fetch_offset: *fetch_offset,
        partition_max_bytes: 1 << 20,
        ..Default::default()
    };
    let partitions = offsets.iter().map(partition).collect();
    FetchTopic { topic: Str::from(name), topic_id, partitions }
}

fn request(session: (i32, i32), topics: Vec<FetchTopic>) -> FetchRequest {
    let (session_id, session_epoch) = session;
    FetchRequest { session_id, session_epoch, topics, min_bytes: 1, ..Default::default() }
}

/// `red0:3` for records up to offset 3 of partition 0 of red, `red0` for news without records.
fn news(answer: &FetchResponse) -> String {
    let partitions = answer.responses.iter().flat_map(|topic| {
        topic.partitions.iter().map(|it| {
            let records = it.records.as_ref().is_some_and(|records| !records.is_empty());
            let upto = if records { format!(":{}", it.high_watermark) } else { String::new() };
            let error = if it.error_code.is_error() { "!" } else { "" };
            format!("{}{}{upto}{error}", topic.topic, it.partition_index)
        })
    });
    partitions.collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn a_session_answers_in_full_once_and_then_with_the_news() {
    let client = Client::new().await;
    client.topic("red", 3).await;
    client.topic("blue", 1).await;
    client.produce("red", batch(3)).await;
    let none = [0; 16];
    let all =
        || vec![topic("red", none, &[(0, 0), (1, 0), (2, 0)]), topic("blue", none, &[(0, 0)])];

    let full = ask!(client, 11, Fetch, request((0, 0), all()));
    let id = full.session_id;
    assert!(id > 0);
    assert_eq!(news(&full), "red0:3 red1 red2 blue0");
    // The client moves on; nothing else changed.
    let next = ask!(client, 11, Fetch, request((id, 1), vec![topic("red", none, &[(0, 3)])]));
    assert_eq!((next.session_id, news(&next).as_str()), (id, ""));
    client.produce("blue", batch(2)).await;
    client.produce("red", batch(1)).await;
    let next = ask!(client, 11, Fetch, request((id, 2), Vec::new()));
    assert_eq!(news(&next), "blue0:2 red0:4", "what gave records last time comes last");

    // Not consumed: it is there again. A forgotten partition is not, nor is a deleted topic quiet.
    let mut forget = request((id, 3), Vec::new());
    let partitions = vec![0, 1];
    forget.forgotten_topics_data =
        vec![ForgottenTopic { topic: "red".into(), topic_id: none, partitions }];
    assert_eq!(news(&ask!(client, 11, Fetch, forget)), "blue0:2");
    assert_eq!(client.session.fetch.len(), 2);
    client.cluster.delete_topic("blue").await.unwrap();
    for epoch in [4, 5] {
        let next = ask!(client, 11, Fetch, request((id, epoch), Vec::new()));
        assert_eq!(news(&next), "blue0!");
    }
}

#[tokio::test]
async fn a_session_out_of_step_is_refused_and_a_closed_one_is_gone() {
    let client = Client::new().await;
    let id_of_red = client.topic("red", 1).await.id;
    let all = || vec![topic("", id_of_red, &[(0, 0)])];
    let room = client.cluster.fetch_sessions.left();
    let id = ask!(client, 13, Fetch, request((0, 0), all())).session_id;
    assert_eq!(client.cluster.fetch_sessions.left(), room - 1);
    let code = async |session, topics, version| {
        let answer = ask!(client, version, Fetch, request(session, topics));
        assert!(answer.error_code.is_none() || answer.responses.is_empty());
        (answer.error_code, answer.session_id)
    };
    let epoch = (ErrorCode::INVALID_FETCH_SESSION_EPOCH, 0);
    let missing = (ErrorCode::FETCH_SESSION_ID_NOT_FOUND, 0);
    assert_eq!(code((id, 2), Vec::new(), 13).await, epoch);
    assert_eq!(code((id ^ 1, 1), Vec::new(), 13).await, missing);
    let by_name = vec![topic("red", [0; 16], &[(0, 0)])];
    assert_eq!(code((id, 1), by_name, 12).await, (ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR, 0));
    assert_eq!(code((id, 1), Vec::new(), 13).await, (ErrorCode::NONE, id));
    // Without a session beside it, and then closing it.
    assert_eq!(code((0, -1), all(), 13).await, (ErrorCode::NONE, 0));
    assert_eq!(code((id, 2), Vec::new(), 13).await, (ErrorCode::NONE, id));
    assert_eq!(code((id, -1), all(), 13).await, (ErrorCode::NONE, 0));
    assert_eq!(code((id, 3), Vec::new(), 13).await, missing);
    assert_eq!(client.cluster.fetch_sessions.left(), room);
}

#[tokio::test]
async fn without_room_there_is_no_session_and_nothing_is_left_out() {
    let client = Client::new().await;
    client.topic("red", 2).await;
    let room = &client.cluster.fetch_sessions;
    let _others = room.try_take(room.left() - 1).unwrap();
    let none = [0; 16];
    let two = || vec![topic("red", none, &[(0, 0), (1, 0)])];
    let full = ask!(client, 11, Fetch, request((0, 0), two()));
    assert_eq!((full.session_id, news(&full).as_str()), (0, "red0 red1"));
    let one = vec![topic("red", none, &[(0, 0)])];
    let id = ask!(client, 11, Fetch, request((0, 0), one)).session_id;
    assert!(id > 0);
    let more = vec![topic("red", none, &[(1, 0)])];
    let last = ask!(client, 11, Fetch, request((id, 1), more));
    assert_eq!((last.session_id, news(&last).as_str()), (0, "red0 red1"));
    assert_eq!(room.left(), 1);
}

#[tokio::test]
async fn a_fetch_of_nothing_does_not_wait_for_records() {
    let client = Client::new().await;
    client.topic("red", 1).await;
    let all = vec![topic("red", [0; 16], &[(0, 0)])];
    let id = ask!(client, 11, Fetch, request((0, 0), all)).session_id;
    // How Java's consumer ends its session when it is closed.
    let closing = FetchRequest { max_wait_ms: 60_000, ..request((id, -1), Vec::new()) };
    let answer = async { ask!(client, 11, Fetch, closing) }.now_or_never();
    assert_eq!(answer.expect("an answer at once").error_code, ErrorCode::NONE);
}

#[tokio::test]
async fn a_fetch_that_waits_is_answered_when_its_topic_goes_and_when_another_takes_its_name() {
    let client = Client::new().await;
    for (version, made_again) in [(11, false), (11, true), (13, false), (13, true)] {
        let found = client.topic("red", 1).await;
        client.produce("red", batch(5)).await;
        let mut asked = request((0, -1), vec![topic("red", found.id, &[(0, 5)])]);
        // Far more than the test takes.
        asked.max_wait_ms = 60_000;
        let changes = async {
            client.cluster.delete_topic("red").await.unwrap();
            if made_again {
                client.topic("red", 1).await;
            }
        };
        let (answer, ()) = tokio::join!(async { ask!(client, version, Fetch, asked) }, changes);
        let partition = &answer.responses[0].partitions[0];
        let codes = match (version, made_again) {
            (11, false) => vec![ErrorCode::UNKNOWN_TOPIC_OR_PARTITION],
            // It may have looked between the two.
            (11, true) => {
                vec![ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, ErrorCode::OFFSET_OUT_OF_RANGE]
            }
            _ => vec![ErrorCode::UNKNOWN_TOPIC_ID],
        };
        assert!(codes.contains(&partition.error_code), "{version}: {:?}", partition.error_code);
        if made_again {
            client.cluster.delete_topic("red").await.unwrap();
        }
    }
}
