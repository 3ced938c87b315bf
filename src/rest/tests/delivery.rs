//! Answers that do not arrive.

use super::*;
use crate::http::Connection;
use crate::room::Taken;
use futures_util::FutureExt;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// One answer has one of them, and takes several pieces.
const LARGE_BYTES: usize = 700_000;

impl Server {
    async fn with_large_records(dir: &Path) -> Self {
        let server = Self::with_topics(dir).await;
        for _ in 0..2 {
            let large = json!({ "partition": 0, "value": "x".repeat(LARGE_BYTES) });
            server.ok("POST /produce/red", large).await;
        }
        server
    }

    /// The body of a consume of red from the start, as far as it has come.
    async fn begin_to_consume(&self, headers: &[(&str, &str)]) -> Body {
        let mut all = vec![("kafka-auto-offset-reset", "earliest")];
        all.extend(headers);
        let request = self.request("GET /consume/g/i/red", &all, "");
        let mut body = self.router.clone().oneshot(request).await.unwrap().into_body();
        let piece = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert!(piece.len() < LARGE_BYTES, "all came at once");
        body
    }

    /// The offsets that another consume gives.
    async fn consume_offsets(&self) -> Vec<i64> {
        let answer = self.ok("GET /consume/g/i/red?timeout=0", Value::Null).await;
        answer.as_array().unwrap().iter().map(|it| it["offset"].as_i64().unwrap()).collect()
    }
}

#[tokio::test]
async fn an_answer_that_is_cut_off_comes_again_and_none_of_it_is_committed() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::with_large_records(dir.path()).await;
    drop(server.begin_to_consume(&[]).await);
    server.ok("POST /delete-consumer/g/i", Value::Null).await;
    assert_eq!(server.committed().await, 0);

    drop(server.begin_to_consume(&[]).await);
    assert_eq!(server.consume_offsets().await, [0]);
    assert_eq!(server.consume_offsets().await, [1]);
    server.ok("POST /delete-consumer/g/i", Value::Null).await;
    assert_eq!(server.committed().await, 2);
    server.stop().await;
}

#[tokio::test]
async fn the_automatic_commit_waits_for_an_answer_to_be_sent() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::with_large_records(dir.path()).await;
    let body = server.begin_to_consume(&[("kafka-auto-commit-interval", "1")]).await;
    while server.committed().await < 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(server.committed().await, 0);
    body.collect().await.unwrap();
    while server.committed().await != 1 {
        tokio::task::yield_now().await;
    }
    server.stop().await;
}

#[tokio::test]
async fn what_the_kernel_took_and_lost_with_the_connection_comes_again() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::with_large_records(dir.path()).await;
    let seen = Arc::new(Mutex::new(Connection::default()));
    let note = {
        let seen = seen.clone();
        move |connection: Connection, request: Request<Body>| {
            *seen.lock() = connection;
            std::future::ready(request)
        }
    };
    let router = server.router.clone().layer(axum::middleware::map_request(note));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(crate::http::serve(listener, None, router));

    let headers = [("host", "a"), ("kafka-auto-offset-reset", "earliest")];
    let request = server.request("GET /consume/g/i/red", &headers, "");
    let headers = request.headers().iter();
    let headers: String =
        headers.map(|(name, value)| format!("{name}: {}\r\n", value.to_str().unwrap())).collect();
    let mut client = TcpStream::connect(address).await.unwrap();
    let request = format!("GET /consume/g/i/red HTTP/1.1\r\n{headers}\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    client.read_exact(&mut [0; 80]).await.unwrap();
    // Who closes before all is read resets the connection.
    drop(client);
    while !seen.lock().is_broken() {
        tokio::task::yield_now().await;
    }
    assert_eq!(server.consume_offsets().await, [0]);
    assert_eq!(server.consume_offsets().await, [1]);
    serving.abort();
    server.stop().await;
}

#[tokio::test]
async fn answers_take_memory_until_they_are_sent_and_wait_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::with_large_records(dir.path()).await;
    let room = server.broker.clusters()[0].answer_room.clone();
    let all = room.left();
    let place = r#"{"topic":"red","partition":0,"offset":0}"#;
    let fetch = || server.router.clone().oneshot(server.request("POST /fetch", &[], place));
    let (fetched, consumed) = (fetch().await.unwrap(), server.begin_to_consume(&[]).await);
    let kept = all.0 - room.left().0;
    assert!((2 * LARGE_BYTES..5 * LARGE_BYTES).contains(&kept), "{kept} bytes");

    let mut others = [(); 2].map(|()| Taken::default());
    room.take(&mut others[0], all.0 - kept).await;
    // The reserve.
    room.take(&mut others[1], 1).await;
    let mut waiting = Box::pin(fetch());
    assert!(waiting.as_mut().now_or_never().is_none());
    let nothing = r#"{"topic":"red","partition":1,"offset":0,"timeout":0}"#;
    let (status, empty) = server.send(server.request("POST /fetch", &[], nothing)).await;
    assert_eq!((status.as_u16(), empty), (200, json!([])), "what reads nothing does not wait");
    drop(others);
    drop((waiting.await.unwrap(), fetched, consumed));
    assert_eq!(room.left(), all);
    server.stop().await;
}
