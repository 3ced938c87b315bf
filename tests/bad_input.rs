//! Bad input, and that nothing which was accepted before it is lost by it.

use crate::support::http::Http;
use crate::support::kafka::{self, Record};
use crate::support::process::{Tidelog, command};
use crate::support::raw::{self, Raw};
use crate::support::wait;
use bytes::Bytes;
use rdkafka::consumer::{BaseConsumer, Consumer};
use reqwest::Method;
use std::path::Path;
use tidelog_protocol::messages::{
    ApiVersionsRequest, MetadataRequest, PartitionProduceData, ProduceRequest,
    SaslHandshakeRequest, TopicProduceData,
};
use tidelog_protocol::records::{BatchBuilder, Compression};
use tidelog_protocol::{ApiKey, ErrorCode, Request, Response, Str};

/// A broker with a record in it, which must stay.
struct Accepted {
    tidelog: Tidelog,
    http: Http,
    records: Vec<Record>,
}

const TOPIC: &str = "sequin.sync_1a107d79.contact";
const RECORD: &str = "/v1/syncs/sync_1a107d79/collections/contact/records/003";

impl Accepted {
    fn new(dir: &Path) -> Self {
        let tidelog = Tidelog::dev_without_auto_create(dir);
        let http = Http::dev(&tidelog.ready);
        let sync = r#"{"new_collections":"refuse","collections":{"contact":{},"lead":{}}}"#;
        http.put("/v1/syncs/sync_1a107d79", sync).json();
        assert_eq!(http.put(RECORD, r#"{"a":1}"#).json()["event"], "inserted");
        http.post("/v1/topics", r#"{"name":"red"}"#).json();
        let records = kafka::read_all(&kafka::dev(&tidelog.ready), TOPIC);
        Self { tidelog, http, records }
    }

    fn raw(&self) -> Raw {
        Raw::connect(&self.tidelog.ready.kafka)
    }

    /// The broker still serves, and has what it accepted.
    fn still_serves(&self) {
        let ready = &self.tidelog.ready;
        assert_eq!(kafka::read_all(&kafka::dev(ready), TOPIC), self.records);
        assert_eq!(self.http.get(RECORD).body, r#"{"a":1}"#);
    }
}

#[test]
fn a_malformed_frame_closes_its_connection_with_one_line_that_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Accepted::new(dir.path());
    let metadata = |body: &[u8]| framed(&[&[0, 3, 0, 1, 0, 0, 0, 7, 0, 1, b'x'], body].concat());
    let table: [(&str, Vec<u8>, &str); 8] = [
        ("a negative length", vec![0xff; 4], "frame of 4294967295 bytes is over the limit"),
        ("a length over the limit", vec![0x7f; 4], "is over the limit of 104857600"),
        ("an empty frame", framed(b""), "malformed API -1 version -1"),
        ("an unknown API", framed(&[3, 0xe7, 0, 0, 0, 0, 0, 7, 0, 0]), "malformed API 999"),
        (
            "an array longer than the frame",
            metadata(&[0x7f, 0xff, 0xff, 0xff]),
            "Metadata version 1",
        ),
        ("a string past the frame", metadata(&[0, 0, 0, 1, 0x7f, 0xff]), "Metadata version 1"),
        ("an unknown version", framed(&[0, 3, 0, 99, 0, 0, 0, 7, 0, 0]), "Metadata version 99"),
        ("an API that is not served", not_served(), "WriteTxnMarkers version 1 is not served"),
    ];
    for (what, bytes, reason) in table {
        let mut raw = broker.raw();
        let (name, version) = (Str::from_static("tester"), Str::from_static("1.2"));
        let software = ApiVersionsRequest {
            client_software_name: name,
            client_software_version: version,
            ..Default::default()
        };
        raw.call(software, 3);
        raw.send(&bytes);
        assert_eq!(raw.answer(), None, "{what} has no answer");
        broker.tidelog.wait_for_log(&["closing", &raw.peer(), "(tester 1.2)", reason]);
    }
    broker.still_serves();
}

#[test]
fn a_bare_token_with_a_wrong_password_is_hung_up_on_and_the_log_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Accepted::new(dir.path());
    let mut raw = broker.raw();
    raw.call(SaslHandshakeRequest { mechanism: Str::from_static("PLAIN") }, 0);
    raw.send(&framed(b"\0nobody\0guess"));
    assert_eq!(raw.answer(), None);
    broker.tidelog.wait_for_log(&["closing", &raw.peer(), "Invalid username or password"]);
    broker.still_serves();
}

fn framed(frame: &[u8]) -> Vec<u8> {
    [&u32::try_from(frame.len()).unwrap().to_be_bytes(), frame].concat()
}

fn not_served() -> Vec<u8> {
    framed(&[0, 27, 0, 1, 0, 0, 0, 7, 0, 1, b'x', 0, 1, 0])
}

#[test]
fn an_unknown_version_of_api_versions_is_told_the_known_ones() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Accepted::new(dir.path());
    let mut raw = broker.raw();
    raw.send(&framed(&[0, 18, 0, 99, 0, 0, 0, 7, 0, 1, b'x', 1, 2, 3]));
    let answer = raw.answer().unwrap();
    let Response::ApiVersions(answer) = raw::read(ApiKey::ApiVersions, 0, answer, 7) else {
        panic!()
    };
    assert_eq!(answer.error_code, ErrorCode::UNSUPPORTED_VERSION);
    let known = answer.api_keys.iter().find(|it| it.api_key == ApiKey::ApiVersions as i16).unwrap();
    assert_eq!((known.min_version, known.max_version), (0, 5));
    // The same connection goes on with a version that is known.
    let request = ApiVersionsRequest {
        client_software_name: "test".into(),
        client_software_version: "1".into(),
        ..Default::default()
    };
    let Response::ApiVersions(answer) = raw.call(request, 3) else { panic!() };
    assert_eq!(answer.error_code, ErrorCode::NONE);
    broker.still_serves();
}

#[test]
fn other_protocols_on_the_kafka_port_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Accepted::new(dir.path());
    let mut raw = broker.raw();
    raw.send(b"GET /topics HTTP/1.1\r\nHost: tidelog\r\n\r\n");
    let answer = String::from_utf8(raw.rest()).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.contains(&broker.tidelog.ready.http), "{answer}");
    broker.tidelog.wait_for_log(&["closing", &raw.peer(), "HTTP"]);

    let mut raw = broker.raw();
    raw.send(&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]);
    assert!(raw.rest().is_empty());
    broker.tidelog.wait_for_log(&["closing", &raw.peer(), "TLS"]);
    broker.still_serves();
}

#[test]
fn wrong_credentials_are_refused_at_every_door() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Accepted::new(dir.path());
    let ready = &broker.tidelog.ready;
    let (user, password) = (ready.username.as_str(), ready.password.as_str());
    for (username, password) in [(user, "wrong"), (user, ""), ("nobody", password), ("", "")] {
        let code = broker.raw().authenticate(username, password);
        assert_eq!(code, ErrorCode::SASL_AUTHENTICATION_FAILED, "{username}");
        Http::account(&ready.http, username, password).get("/topics").refusal(401);
    }
    let mut raw = broker.raw();
    raw.authenticate(user, "wrong");
    assert_eq!(raw.answer(), None, "the connection is closed");
    broker.tidelog.wait_for_log(&[&raw.peer(), "Invalid username or password"]);

    for path in ["/topics", "/v1/topics", "/v1/connection", "/v1/syncs", "/v1/webhooks", RECORD] {
        Http::nobody(ready).get(path).refusal(401);
    }
    Http::nobody(ready).post("/v1/accounts", r#"{"name":"a"}"#).refusal(401);
    broker.http.post("/v1/accounts", r#"{"name":"a"}"#).refusal(401);
    let config = kafka::sasl(&ready.kafka, user, "wrong");
    let consumer: BaseConsumer = config.create().unwrap();
    assert!(consumer.fetch_metadata(None, std::time::Duration::from_secs(2)).is_err());
    broker.still_serves();
}

#[test]
fn bad_requests_over_http_say_what_is_wrong_and_what_would_be_right() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Accepted::new(dir.path());
    let batch = "/v1/syncs/sync_1a107d79/collections/contact/records";
    let oversized = format!("{{\"a\":\"{}\"}}", "x".repeat(2 << 20));
    let body = " ".repeat((16 << 20) + 1);
    let none = String::new;
    let text = str::to_owned;
    let table: &[Refused<'_>] = &[
        (Method::PUT, RECORD, text("{\"a\":1,\n \"b\":}"), 400, &["line 2", "column"]),
        (Method::PUT, RECORD, text("[1]"), 400, &["object"]),
        (Method::PUT, RECORD, none(), 400, &["nothing", "line 1"]),
        (Method::PATCH, RECORD, text("nope"), 400, &["line 1", "column"]),
        (Method::POST, batch, text("[{\"op\":1}"), 400, &["line 1", "column"]),
        (
            Method::POST,
            "/v1/topics",
            text("{\"name\":\"a\",\"partition\":3}"),
            400,
            &["`partition`", "did you mean `partitions`?", "line 1", "column"],
        ),
        (Method::POST, "/v1/topics", text("{\"name\":\"a b\"}"), 400, &["'a b'"]),
        (Method::POST, "/v1/topics", text("{\"name\":\"red\"}"), 409, &["'red'"]),
        (Method::POST, "/produce/red", text("{\"value\""), 400, &["line 1", "column"]),
        (Method::POST, "/produce/blue", text("{\"value\":\"1\"}"), 404, &["blue"]),
        (Method::POST, "/webhook?topic=red", oversized.clone(), 413, &["1048588"]),
        (
            Method::PUT,
            "/v1/syncs/sync_00000000/collections/contact/records/1",
            text("{}"),
            404,
            &["sync_00000000", "sync_1a107d79"],
        ),
        (
            Method::PUT,
            "/v1/syncs/sync_1a107d79/collections/contacts/records/1",
            text("{}"),
            404,
            &["'contacts'", "refuses new collections", "contact, lead"],
        ),
        (Method::PUT, RECORD, oversized.clone(), 413, &["1048588"]),
        (Method::PUT, RECORD, body, 413, &["16777216"]),
        (Method::GET, "/v1/nowhere", none(), 404, &["/v1/nowhere"]),
        (Method::PUT, "/v1/topics", none(), 405, &["PUT", "/v1/topics"]),
    ];
    refuses_each(&broker.http, table);
    broker.still_serves();
}

#[test]
fn a_path_that_is_no_text_is_refused_in_the_apis_own_form() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Accepted::new(dir.path());
    let (http, operator) = (&broker.http, Http::operator(&broker.tidelog.ready));
    let sync = "/v1/syncs/sync_1a107d79";
    let contact = format!("{sync}/collections/contact");
    let table = [
        (http, Method::DELETE, "/v1/topics/%FF".to_owned()),
        (http, Method::PUT, "/v1/syncs/%FF".to_owned()),
        (http, Method::GET, format!("{sync}/collections/%FF/records")),
        (http, Method::PUT, format!("{contact}/records/%FF")),
        (http, Method::POST, format!("{sync}/collections/%FF/records")),
        (http, Method::POST, format!("{sync}/collections/%FF/backfill")),
        (http, Method::POST, format!("{sync}/collections/%FF/snapshots")),
        (http, Method::GET, "/v1/webhooks/%FF".to_owned()),
        (http, Method::POST, "/produce/%FF".to_owned()),
        (&operator, Method::POST, "/v1/accounts/%FF/credentials".to_owned()),
    ];
    for (http, method, path) in table {
        let refusal = http.send(method, &path, "{}").refusal(400);
        assert!(refusal.contains("UTF-8"), "{path}: {refusal}");
    }
    broker.still_serves();
}

/// Requests that must be refused, each with its status and what its refusal must say.
type Refused<'a> = (Method, &'a str, String, u16, &'a [&'a str]);

fn refuses_each(http: &Http, table: &[Refused<'_>]) {
    for (method, path, body, status, parts) in table {
        let refusal = http.send(method.clone(), path, body.clone()).refusal(*status);
        for part in *parts {
            assert!(refusal.contains(part), "{method} {path}: {part:?} is not in {refusal:?}");
        }
    }
}

#[test]
fn bad_requests_about_syncs_name_what_was_meant() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Accepted::new(dir.path());
    let none = String::new;
    let text = str::to_owned;
    let table: &[Refused<'_>] = &[
        (
            Method::GET,
            "/v1/syncs/sync_1a107d79/collections/contacts/records/1",
            none(),
            404,
            &["'contacts'", "contact, lead"],
        ),
        (
            Method::PUT,
            "/v1/syncs/sync_1a107d79",
            text(r#"{"collections":{"contact":{"colums":{}}}}"#),
            400,
            &["`colums`", "did you mean `columns`?", "line 1"],
        ),
        (
            Method::DELETE,
            "/v1/syncs/sync_1a107d79?topic=delete",
            none(),
            400,
            &["`topic`", "did you mean `topics`?"],
        ),
        (Method::GET, "/v1/syncs?limit=0", none(), 400, &["limit", "1 to 1000", "found 0"]),
    ];
    refuses_each(&broker.http, table);
    broker.still_serves();
}

#[test]
fn an_oversized_batch_is_refused_with_the_limit_and_the_next_one_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Accepted::new(dir.path());
    let ready = &broker.tidelog.ready;
    let mut raw = Raw::authenticated(&ready.kafka, &ready.username, &ready.password);
    let mut produce = |bytes: usize| {
        let mut builder = BatchBuilder::new(Compression::None, 4 << 20);
        builder.append(0, None, Some(&vec![b'x'; bytes]), &[]).unwrap();
        let records = Some(Bytes::clone(builder.finish().unwrap().bytes()));
        let partition_data = vec![PartitionProduceData { index: 0, records }];
        let topic = TopicProduceData { name: "red".into(), partition_data, ..Default::default() };
        let request = ProduceRequest { acks: -1, topic_data: vec![topic], ..Default::default() };
        match raw.call(request, 9) {
            Response::Produce(it) => it.responses[0].partition_responses[0].clone(),
            other => panic!("{other:?}"),
        }
    };
    let refused = produce(2 << 20);
    assert_eq!(refused.error_code, ErrorCode::MESSAGE_TOO_LARGE);
    assert!(refused.error_message.unwrap().contains("1048588"));
    let taken = produce(100);
    assert_eq!((taken.error_code, taken.base_offset), (ErrorCode::NONE, 0));
    broker.still_serves();
}

#[test]
fn a_second_process_on_the_same_directory_is_told_who_holds_it() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Accepted::new(dir.path());
    let second = command(dir.path())
        .args(["dev", "--kafka-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"])
        .output()
        .unwrap();
    let stderr = String::from_utf8(second.stderr).unwrap();
    assert!(!second.status.success());
    assert!(stderr.contains(dir.path().to_str().unwrap()), "{stderr}");
    assert!(stderr.contains("in use") || stderr.contains("locked"), "{stderr}");
    broker.still_serves();
}

#[test]
fn outside_dev_nothing_is_answered_before_authentication() {
    let dir = tempfile::tempdir().unwrap();
    let mut serve = command(dir.path());
    serve.args(["serve", "--kafka-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"]);
    let tidelog = Tidelog::serve(serve);
    let mut raw = Raw::connect(&tidelog.ready.kafka);
    let request = Request::from(MetadataRequest::default());
    raw.send(&raw.frame(&request, 9));
    assert_eq!(raw.answer(), None);
    tidelog.wait_for_log(&["closing", &raw.peer(), "Metadata version 9 before authentication"]);

    let mut raw = Raw::connect(&tidelog.ready.kafka);
    raw.send(&(16_385_u32).to_be_bytes());
    assert_eq!(raw.answer(), None);
    tidelog.wait_for_log(&["closing", &raw.peer(), "over the limit of 16384"]);

    let acme = Http::operator(&tidelog.ready).post("/v1/accounts", r#"{"name":"acme"}"#).json();
    let (username, password) =
        (acme["username"].as_str().unwrap(), acme["password"].as_str().unwrap());
    let mut raw = Raw::authenticated(&tidelog.ready.kafka, username, password);
    let Response::Metadata(answer) = raw.call(request, 9) else { panic!() };
    assert_eq!(answer.brokers.len(), 1);
    wait::until("the topics of a new account", || {
        let config = kafka::sasl(&tidelog.ready.kafka, username, password);
        kafka::topics(&config).is_empty().then_some(())
    });
}
