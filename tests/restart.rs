//! A stop, and the start after it: nothing that was given out is taken for delivered too early.

use crate::support::http::Http;
use crate::support::process::Tidelog;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use std::io::{Read, Write};
use std::net::TcpStream;

#[test]
fn an_answer_that_a_stop_cuts_off_comes_again() {
    // Together more than the kernel takes before the client reads.
    let (partitions, value) = (8, "x".repeat(1_000_000));
    let dir = tempfile::tempdir().unwrap();
    let mut tidelog = Tidelog::dev(dir.path());
    let http = Http::dev(&tidelog.ready);
    let topic = json!({"name": "large", "partitions": partitions});
    http.post("/v1/topics", topic.to_string()).json();
    for partition in 0..partitions {
        let message = json!({"partition": partition, "value": value});
        http.post("/produce/large", message.to_string()).json();
    }
    let ready = &tidelog.ready;
    let token = STANDARD.encode(format!("{}:{}", ready.username, ready.password));
    let mut client = TcpStream::connect(ready.http.strip_prefix("http://").unwrap()).unwrap();
    let request = format!(
        "GET /consume/g/i/large HTTP/1.1\r\nhost: a\r\nauthorization: Basic {token}\r\n\
         kafka-auto-offset-reset: earliest\r\n\r\n"
    );
    client.write_all(request.as_bytes()).unwrap();
    client.read_exact(&mut [0; 80]).unwrap();
    assert!(tidelog.stop().success());

    let tidelog = Tidelog::dev(dir.path());
    let http = Http::dev(&tidelog.ready);
    let committed = http.post("/committed/g/i", "").json();
    assert!(committed.as_array().unwrap().iter().all(|it| it["offset"] == 0), "{committed}");
    let again = http.get("/consume/g/i/large?timeout=10000").json();
    assert_eq!(again.as_array().unwrap().len(), partitions);
}
