//! The handlers, through the router, on a broker in a directory of its own.

mod damage;
mod delivery;
mod produce;
mod recreation;

use super::*;
use crate::group::damage_or_mend;
use crate::settings::Layer;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::FutureExt;
use http_body_util::BodyExt;
use std::path::Path;
use std::time::Duration;
use tower::ServiceExt;

/// A broker that serves one account over HTTP.
struct Server {
    broker: Arc<Broker>,
    rest: Arc<Rest>,
    router: Router,
    username: String,
    password: String,
}

impl Server {
    async fn start(dir: &Path) -> Self {
        let layer = Layer { data_dir: Some(dir.to_owned()), ..Layer::default() };
        let mut settings = layer.settings(true).unwrap();
        settings.auto_create_topics = false;
        let (broker, _) = Broker::open(settings).await.unwrap();
        let deadlines = broker.shared.deadlines.clone();
        tokio::spawn(async move { deadlines.run().await });
        let (principal, password) = broker.dev_account().await.unwrap();
        let context = Context { broker: broker.clone(), url: "".into(), kafka: "".into() };
        let rest = Rest::open(&broker).await;
        let router = crate::manage::router(context.clone()).merge(router(context, rest.clone()));
        Self { broker, rest, router, username: principal.username, password }
    }

    /// With the topics red and blue, of three partitions each.
    async fn with_topics(dir: &Path) -> Self {
        let server = Self::start(dir).await;
        for topic in ["red", "blue"] {
            server.ok("POST /v1/topics", json!({ "name": topic, "partitions": 3 })).await;
        }
        server
    }

    async fn stop(self) {
        self.rest.close().await;
        self.broker.close().await.unwrap();
    }

    async fn send(&self, request: Request<Body>) -> (StatusCode, Value) {
        let response: Response<Body> = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let text = String::from_utf8_lossy(&bytes);
        (status, serde_json::from_slice(&bytes).unwrap_or_else(|_| panic!("no JSON: {text}")))
    }

    fn request(&self, line: &str, headers: &[(&str, &str)], body: &str) -> Request<Body> {
        let (method, path) = line.split_once(' ').unwrap();
        let token = STANDARD.encode(format!("{}:{}", self.username, self.password));
        let mut request = Request::builder().method(method).uri(path);
        request = request.header("authorization", format!("Basic {token}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Body::from(body.to_owned())).unwrap()
    }

    async fn call(&self, line: &str, body: Value) -> (StatusCode, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.send(self.request(line, &[], &body)).await
    }

    async fn ok(&self, line: &str, body: Value) -> Value {
        let (status, answer) = self.call(line, body).await;
        assert!(status.is_success(), "{line}: {status} {answer}");
        answer
    }

    /// The status and error text of a refusal.
    async fn refused(&self, line: &str, body: Value) -> (u16, String) {
        let (status, answer) = self.call(line, body).await;
        assert_eq!(answer["status"], status.as_u16(), "{answer}");
        assert_eq!(answer["result"], "Error", "{answer}");
        (status.as_u16(), answer["error"].as_str().unwrap().to_owned())
    }

    /// Consumes red from the start; gives the values.
    async fn consume(&self, instance: &str, headers: &[(&str, &str)]) -> Vec<String> {
        let mut all = vec![("kafka-auto-offset-reset", "earliest")];
        all.extend(headers);
        let line = format!("POST /consume/g/{instance}");
        let request = self.request(&line, &all, r#"{"topic":"red","timeout":300}"#);
        let (status, answer) = self.send(request).await;
        assert_eq!(status, 200, "{answer}");
        values(&answer)
    }

    async fn produce(&self, values: &[&str]) {
        let messages: Vec<_> = values.iter().map(|value| json!({ "value": value })).collect();
        self.ok("POST /produce/red", json!(messages)).await;
    }

    /// What group g has committed for red, over all partitions; -1 for none.
    async fn committed(&self) -> i64 {
        let asked: Vec<_> = (0..3).map(|it| json!({ "topic": "red", "partition": it })).collect();
        let answer = self.ok("POST /committed/g/any", json!(asked)).await;
        let offsets = answer.as_array().unwrap().iter().map(|it| it["offset"].as_i64().unwrap());
        assert_eq!(offsets.clone().count(), 3);
        let committed: Vec<_> = offsets.filter(|offset| *offset >= 0).collect();
        if committed.is_empty() { -1 } else { committed.iter().sum() }
    }
}

fn values(messages: &Value) -> Vec<String> {
    let mut values: Vec<_> = messages
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["value"].as_str().unwrap().to_owned())
        .collect();
    values.sort();
    values
}

const MANUAL: (&str, &str) = ("kafka-enable-auto-commit", "false");

#[tokio::test]
async fn a_message_in_the_path_is_answered_as_an_object_and_others_as_arrays() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::with_topics(dir.path()).await;
    let one = server.ok("GET /produce/red/%7B%22a%22:1%7D/b%2Fc?key=k", Value::Null).await;
    assert_eq!((&one["topic"], &one["offset"]), (&json!("red"), &json!(0)));
    let request = server.request("GET /produce/blue/", &[], r#"{"value":"x","partition":2}"#);
    let (_, array) = server.send(request).await;
    assert_eq!((&array[0]["partition"], &array[0]["offset"]), (&json!(2), &json!(0)));
    let many = json!([
        { "topic": "blue", "partition": 2, "value": "y", "timestamp": 12345 },
        { "topic": "red", "key": "k", "value": { "n": 1 }, "headers": { "h": "v" } },
    ]);
    let many = server.ok("POST /produce", many).await;
    assert_eq!((&many[0]["offset"], &many[0]["timestamp"]), (&json!(1), &json!(12345)));
    // The same key goes to the same partition, and so to the next offset.
    assert_eq!((&many[1]["offset"], &many[1]["partition"]), (&json!(1), &one["partition"]));
    assert_eq!(server.ok("POST /produce", json!([])).await, json!([]));

    let from = json!({ "topic": "red", "partition": one["partition"], "offset": 0 });
    let found = server.ok("POST /fetch/", from).await;
    assert_eq!((&found[0]["key"], &found[0]["value"]), (&json!("k"), &json!("{\"a\":1}/b/c")));
    assert_eq!((&found[0]["headers"], &found[1]["value"]), (&json!([]), &json!("{\"n\":1}")));
    assert_eq!(found[1]["headers"], json!([{ "key": "h", "value": "v" }]));
    server.stop().await;
}

#[tokio::test]
async fn a_request_that_is_refused_appends_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::with_topics(dir.path()).await;
    let large = "x".repeat(1_048_588);
    let kept = json!({ "name": "kept", "configs": { "cleanup.policy": "compact" } });
    server.ok("POST /v1/topics", kept).await;
    for (message, status, text) in [
        (json!({ "topic": "green", "value": "" }), 404, "'green'"),
        (json!({ "topic": "red", "value": "", "partition": 3 }), 404, "no partition 3"),
        (json!({ "topic": "red", "value": large }), 413, "1048588"),
        (json!({ "topic": "red" }), 400, "value"),
        (json!({ "value": "" }), 400, "topic"),
        (json!({ "topic": "red", "value": "", "timestamp": -1 }), 400, "negative"),
        (json!({ "topic": "red", "value": "", "timestamp": i64::MAX }), 400, "message 1"),
        (json!({ "topic": "kept", "value": "" }), 400, "'kept': Compacted topic"),
    ] {
        let body = json!([{ "topic": "red", "value": "good" }, message]);
        let (got, error) = server.refused("POST /produce", body).await;
        assert!(got == status && error.contains(text), "{got} {error}");
    }
    let ends: Vec<_> = (0..3).map(|it| json!({ "topic": "red", "partition": it })).collect();
    for end in server.ok("POST /offsets/latest", json!(ends)).await.as_array().unwrap() {
        assert_eq!(end["offset"], 0);
    }
    let (status, _) = server.refused("POST /produce", Value::Null).await;
    assert_eq!(status, 400);
    let many = json!(vec![json!({ "value": "" }); 10_001]);
    let (status, error) = server.refused("POST /produce/red", many).await;
    assert!(status == 400 && error.contains("more than 10000 items"), "{status} {error}");
    server.stop().await;
}

#[tokio::test]
async fn the_events_of_a_sync_are_written_by_its_ingest_only() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let cluster = server.broker.cluster_by_name("dev").unwrap();
    let new = crate::topic::NewTopic {
        name: "sequin.s.c".into(),
        partitions: 1,
        config: crate::topic::Config::default(),
        sync: Some("s".into()),
    };
    cluster.topics.create(new).await.unwrap();
    let (status, error) = server.refused("GET /produce/sequin.s.c/x", Value::Null).await;
    assert!(status == 403 && error.contains("sync 's'"), "{error}");
    server.stop().await;
}

#[tokio::test]
async fn a_first_consume_gives_what_is_there_and_the_next_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::with_topics(dir.path()).await;
    server.produce(&["1", "2"]).await;
    assert_eq!(server.consume("i", &[MANUAL]).await, ["1", "2"]);
    server.produce(&["3"]).await;
    assert_eq!(server.consume("i", &[MANUAL]).await, ["3"]);
    assert_eq!(server.consume("i", &[MANUAL]).await, [""; 0]);
    let consumers = server.ok("GET /consumers", Value::Null).await;
    let topics = json!([{ "topic": "red", "partitions": [0, 1, 2] }]);
    let want = json!([{ "name": "g", "instances": [{ "name": "i", "topics": topics }] }]);
    assert_eq!(consumers, want);
    server.stop().await;
}

#[tokio::test]
async fn a_consume_waits_for_records_and_one_that_is_dropped_loses_none() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::with_topics(dir.path()).await;
    let waiting = server.ok("POST /consume/g/i", json!({ "topic": "red", "timeout": 20_000 }));
    {
        // The client goes away while it waits.
        let mut waiting = std::pin::pin!(waiting);
        let assigned = async {
            while server.ok("GET /consumers", Value::Null).await[0]["instances"][0]["topics"]
                .as_array()
                .is_none_or(Vec::is_empty)
            {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            _ = &mut waiting => panic!("nothing was produced yet"),
            () = assigned => {}
        }
    }
    let again = server.ok("POST /consume/g/i", json!({ "topic": "red", "timeout": 20_000 }));
    let (answer, ()) = tokio::join!(again, server.produce(&["late"]));
    assert_eq!(values(&answer), ["late"]);
    server.stop().await;
}

#[tokio::test]
async fn a_bodyless_commit_is_what_was_delivered_and_an_offset_is_stored_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::with_topics(dir.path()).await;
    server.produce(&["1", "2", "3"]).await;
    let (status, _) = server.refused("POST /commit/g/i", Value::Null).await;
    assert_eq!(status, 404);
    assert_eq!(server.consume("i", &[MANUAL]).await.len(), 3);
    assert_eq!(server.committed().await, -1);
    let success = json!({ "result": "Success", "error": "", "status": 200 });
    assert_eq!(server.ok("POST /commit/g/i", Value::Null).await, success);
    assert_eq!(server.committed().await, 3);
    let several = json!([
        { "topic": "red", "partition": 0, "offset": 85 },
        { "topic": "red", "partition": 0, "offset": 7 },
    ]);
    server.ok("POST /commit/g/i", several).await;
    let asked = json!({ "topic": "red", "partition": 0 });
    assert_eq!(server.ok("POST /committed/g/i", asked).await[0]["offset"], 7);
    let wrong = json!({ "topic": "red", "partition": 9, "offset": 0 });
    assert_eq!(server.refused("POST /commit/g/i", wrong).await.0, 404);
    let alone = json!({ "topic": "red", "partition": 0, "offset": 1 });
    assert_eq!(server.refused("POST /commit/g/other", alone.clone()).await.0, 409);
    assert_eq!(server.refused("POST /commit/none/i", alone.clone()).await.0, 404);
    server.ok("POST /delete-consumer/g/i", Value::Null).await;
    server.ok("POST /commit/g/other", alone).await;
    server.stop().await;
}

#[tokio::test]
async fn an_automatic_commit_covers_what_was_delivered_at_the_interval_and_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::with_topics(dir.path()).await;
    server.produce(&["1", "2"]).await;
    server.consume("i", &[("kafka-auto-commit-interval", "1")]).await;
    while server.committed().await != 2 {
        tokio::task::yield_now().await;
    }
    server.produce(&["3"]).await;
    server.ok("DELETE /delete-consumer/g/i", Value::Null).await;
    assert_eq!(server.consume("i", &[]).await, ["3"]);
    server.stop().await;
    // The interval of five seconds is not over: the end of the process commits.
    let server = Server::start(dir.path()).await;
    assert_eq!(server.committed().await, 3);
    assert_eq!(server.consume("other", &[]).await, [""; 0]);
    server.stop().await;
}

#[tokio::test]
async fn an_instance_that_is_found_ended_while_it_is_deleted_was_there() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::with_topics(dir.path()).await;
    server.consume("i", &[]).await;
    let account = server.broker.cluster_by_name("dev").unwrap().account.id.clone();
    let instances = &server.rest.instances;
    let slot = instances.get(&account, "g", "i").unwrap();
    let (session, turn) = (slot.session().unwrap(), slot.turn(Duration::MAX).await.unwrap());
    let clear = async {
        while !session.member.has_ended() {
            tokio::task::yield_now().await;
        }
        slot.clear().await;
        drop(turn);
    };
    let (was_there, ()) = tokio::join!(instances.delete(&account, "g", "i"), clear);
    assert!(was_there);
    server.stop().await;
}

#[tokio::test]
async fn a_group_that_cannot_be_read_is_refused_until_it_can() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::with_topics(dir.path()).await;
    server.produce(&["1", "2"]).await;
    assert_eq!(server.consume("i", &[]).await, ["1", "2"]);
    server.ok("POST /delete-consumer/g/i", Value::Null).await;
    damage_or_mend(&server.broker.shared.state, "g");
    server.stop().await;
    let server = Server::start(dir.path()).await;
    let offset = json!({ "topic": "red", "partition": 0, "offset": 0 });
    for (line, body) in [
        ("POST /consume/g/i", json!({ "topic": "red" })),
        ("POST /commit/g/i", offset),
        ("POST /committed/g/i", Value::Null),
    ] {
        let (status, answer) = server.call(line, body).await;
        assert_eq!((status.as_u16(), &answer["code"]), (503, &json!("group_unreadable")), "{line}");
    }
    damage_or_mend(&server.broker.shared.state, "g");
    server.stop().await;
    let server = Server::start(dir.path()).await;
    assert_eq!(server.committed().await, 2);
    server.stop().await;
}

#[tokio::test]
async fn without_commits_a_new_instance_gets_everything_again() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::with_topics(dir.path()).await;
    server.produce(&["1", "2"]).await;
    assert_eq!(server.consume("i", &[MANUAL]).await, ["1", "2"]);
    server.ok("POST /delete-consumer/g/i", Value::Null).await;
    // A client that lost the answer retries and hears the same.
    server.ok("POST /delete-consumer/g/i", Value::Null).await;
    assert_eq!(server.refused("POST /delete-consumer/g/no", Value::Null).await.0, 404);
    assert_eq!(server.consume("i", &[MANUAL]).await, ["1", "2"]);
    server.stop().await;
}

#[tokio::test]
async fn an_idle_instance_closes_and_its_partitions_go_to_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::with_topics(dir.path()).await;
    server.produce(&["1"]).await;
    let short = ("kafka-session-timeout-ms", "1");
    assert_eq!(server.consume("i", &[short]).await, ["1"]);
    while server.ok("GET /consumers", Value::Null).await != json!([]) {
        tokio::task::yield_now().await;
    }
    assert_eq!(server.committed().await, 1);
    server.stop().await;
}

#[tokio::test]
async fn members_that_a_crash_left_in_a_group_hold_up_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::with_topics(dir.path()).await;
    let cluster = server.broker.cluster_by_name("dev").unwrap();
    let join = crate::group::Join {
        new_member_id: "left".into(),
        client_id: session::CLIENT_ID.into(),
        client_host: "/in-process".into(),
        session_timeout_ms: 1_800_000,
        rebalance_timeout_ms: 1_800_000,
        protocol_type: "consumer".into(),
        protocols: vec![crate::group::Protocol { name: "range".into(), metadata: "".into() }],
        ..Default::default()
    };
    cluster.groups.join("g", join).await;
    let members = || cluster.groups.describe("g").unwrap().members.len();
    assert_eq!(members(), 1);
    Member::leave_remains(&cluster, "another client").await;
    assert_eq!(members(), 1);
    Member::leave_remains(&cluster, session::CLIENT_ID).await;
    assert_eq!(members(), 0);
    assert_eq!(server.consume("i", &[]).await, [""; 0]);
    server.stop().await;
}

#[tokio::test]
async fn two_instances_share_a_topic_and_get_each_record_once() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::with_topics(dir.path()).await;
    assert_eq!(server.consume("a", &[MANUAL]).await, [""; 0]);
    assert_eq!(server.consume("b", &[MANUAL]).await, [""; 0]);
    let message = |it: i32| json!({ "partition": it % 3, "value": it.to_string() });
    server.ok("POST /produce/red", (0..9).map(message).collect()).await;
    let (mut seen, mut readers) = (Vec::new(), std::collections::BTreeSet::new());
    while seen.len() < 9 {
        for instance in ["a", "b"] {
            let got = server.consume(instance, &[MANUAL]).await;
            readers.extend((!got.is_empty()).then_some(instance));
            seen.extend(got);
        }
    }
    seen.sort();
    assert_eq!(seen, (0..9).map(|it| it.to_string()).collect::<Vec<_>>());
    assert_eq!(readers.len(), 2);
    server.stop().await;
}

#[tokio::test]
async fn other_topics_replace_the_subscription_and_keep_positions() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::with_topics(dir.path()).await;
    server.produce(&["1"]).await;
    server.ok("GET /produce/blue/2", Value::Null).await;
    assert_eq!(server.consume("i", &[MANUAL]).await, ["1"]);
    let blue = json!({ "topics": ["blue"], "timeout": 500 });
    assert_eq!(values(&server.ok("POST /consume/g/i", blue).await), ["2"]);
    assert_eq!(server.consume("i", &[MANUAL]).await, [""; 0]);
    server.produce(&["3"]).await;
    assert_eq!(values(&server.ok("GET /consume/g/i/red/?timeout=500", Value::Null).await), ["3"]);
    server.stop().await;
}

#[tokio::test]
async fn consumes_that_make_no_sense_are_refused_and_leave_no_instance() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::with_topics(dir.path()).await;
    let consume = "POST /consume/g/i";
    assert_eq!(server.refused(consume, Value::Null).await.0, 400);
    assert_eq!(server.refused(consume, json!({ "topics": [] })).await.0, 400);
    let (status, error) = server.refused(consume, json!({ "topic": "green" })).await;
    assert!(status == 404 && error == "topic 'green' does not exist", "{error}");
    let none = [("kafka-auto-offset-reset", "none")];
    let (status, answer) = server.send(server.request(consume, &none, r#"{"topic":"red"}"#)).await;
    assert!(status == 400 && answer["error"].as_str().unwrap().contains("none"), "{answer}");
    let wrong = [("kafka-enable-auto-commit", "maybe")];
    let (status, _) = server.send(server.request(consume, &wrong, r#"{"topic":"red"}"#)).await;
    assert_eq!(status, 400);
    assert_eq!(server.ok("GET /consumers", Value::Null).await, json!([]));
    server.stop().await;
}

#[tokio::test]
async fn a_committed_offset_that_the_log_does_not_have_is_named_where_nothing_resets_it() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::with_topics(dir.path()).await;
    assert_eq!(server.consume("i", &[MANUAL]).await, [""; 0]);
    let at = |partition: i32| json!({ "topic": "red", "partition": partition, "offset": 85 });
    server.ok("POST /commit/g/i", json!([at(0), at(1), at(2)])).await;
    server.ok("POST /delete-consumer/g/i", Value::Null).await;
    let none = [("kafka-auto-offset-reset", "none")];
    let (status, answer) = server.send(server.request("GET /consume/g/i/red", &none, "")).await;
    let error = answer["error"].as_str().unwrap();
    assert!(status == 400 && error.contains("offset 85") && error.contains("0 to 0"), "{error}");
    assert_eq!(server.ok("GET /consumers", Value::Null).await, json!([]));
    server.stop().await;
}

#[tokio::test]
async fn offsets_are_found_by_end_and_by_time() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::with_topics(dir.path()).await;
    let at = |timestamp: i64| json!({ "partition": 1, "value": "", "timestamp": timestamp });
    server.ok("POST /produce/red", json!([at(100), at(200), at(300)])).await;
    let asked = json!([{ "topic": "red", "partition": 1 }]);
    for (when, offset) in
        [("earliest", 0), ("latest", 3), ("1", 0), ("150", 1), ("300", 2), ("301", -1)]
    {
        let answer = server.ok(&format!("POST /offsets/{when}"), asked.clone()).await;
        assert_eq!(answer, json!([{ "topic": "red", "partition": 1, "offset": offset }]), "{when}");
    }
    assert_eq!(server.refused("POST /offsets/noon", asked.clone()).await.0, 400);
    let twice = json!([asked[0], { "topic": "red", "partition": 0 }, asked[0]]);
    let answer = server.ok("POST /offsets/latest", twice.clone()).await;
    assert_eq!(answer.as_array().unwrap().len(), 2, "{answer}");
    let (status, error) =
        server.refused("POST /offsets/latest", json!(vec![&asked[0]; 10_001])).await;
    assert!(status == 400 && error.contains("more than 10000 items"), "{status} {error}");
    let cluster = server.broker.cluster_by_name("dev").unwrap();
    let look_up = |asked: &Value| {
        let asked = serde_json::from_value(asked.clone()).unwrap();
        offsets::answers(&cluster, asked, offsets::When::At(150), Duration::ZERO)
    };
    assert_eq!(look_up(&asked).await.unwrap()[0].offset, 1, "the first is, whatever the time");
    look_up(&twice).await.unwrap_err();
    // To look through logs for a time is for few of an account's requests at once.
    let turns = &cluster.time_lookups;
    let all = u32::try_from(turns.available_permits()).unwrap();
    let taken = turns.acquire_many(all).await.unwrap();
    assert_eq!(look_up(&asked).await.unwrap_err().status, 408);
    server.ok("POST /offsets/latest", asked).await;
    drop(taken);
    assert_eq!(server.ok("GET /topics", Value::Null).await, json!({ "blue": 3, "red": 3 }));
    server.stop().await;
}

#[tokio::test]
async fn a_body_takes_no_room_while_its_request_waits_for_records() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::with_topics(dir.path()).await;
    let room = &server.broker.cluster_by_name("dev").unwrap().request_room;
    let all = room.left();
    let place = json!({ "topic": "red", "partition": 0, "offset": 0, "timeout": 20_000 });
    let topic = json!({ "topic": "red", "timeout": 20_000 });
    let timeout = json!({ "timeout": 20_000 });
    let requests = [("/fetch", place), ("/consume/g/i", topic), ("/consume/g/i/red", timeout)];
    for (path, body) in requests {
        let body = format!("{body}{}", " ".repeat(1 << 20));
        let request = server.request(&format!("POST {path}"), &[], &body);
        let mut waiting = Box::pin(server.send(request));
        assert!(waiting.as_mut().now_or_never().is_none());
        assert_eq!(room.left(), all, "{path}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_fetch_reads_every_partition_asked_for_and_waits_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::with_topics(dir.path()).await;
    let place =
        |topic: &str, offset: i64| json!({ "topic": topic, "partition": 0, "offset": offset });
    server.ok("POST /produce/red", json!({ "partition": 0, "value": "r" })).await;
    server.ok("POST /produce/blue", json!({ "partition": 0, "value": "b" })).await;
    let mut both = place("red", -5);
    both["topicPartitionOffsets"] = json!([place("blue", 0), place("blue", 0)]);
    let found = server.ok("POST /fetch", both).await;
    let found: Vec<_> = found.as_array().unwrap().iter().map(|it| &it["value"]).collect();
    assert_eq!(found, ["b", "r"]);
    let mut end = place("red", 1);
    end["timeout"] = json!(20_000);
    let (late, _) = tokio::join!(
        server.ok("POST /fetch", end),
        server.ok("POST /produce/red", json!({ "partition": 0, "value": "late" })),
    );
    assert_eq!(values(&late), ["late"]);
    let mut beyond = place("red", 99);
    beyond["timeout"] = json!(1);
    assert_eq!(server.ok("POST /fetch", beyond).await, json!([]));
    assert_eq!(server.refused("POST /fetch", json!({ "topic": "red" })).await.0, 400);
    server.stop().await;
}

#[tokio::test]
async fn a_webhook_takes_its_password_from_the_query_and_any_body() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::with_topics(dir.path()).await;
    let (user, pass) = (&server.username, &server.password);
    let request = |pass: &str| {
        Request::builder()
            .method("POST")
            .uri(format!("/webhook?topic=red&user={user}&pass={pass}"))
            .header("content-type", "application/x-www-form-urlencoded")
            .header("stripe-signature", "t=1,v1=ab")
            .body(Body::from("a=1&b=%20"))
            .unwrap()
    };
    let (status, produced) = server.send(request(pass)).await;
    assert_eq!(status, 200, "{produced}");
    let found = server.ok("POST /fetch", produced[0].clone()).await;
    assert_eq!(found[0]["value"], "a=1&b=%20");
    let signature = json!([{ "key": "stripe-signature", "value": "t=1,v1=ab" }]);
    assert_eq!(found[0]["headers"], signature);
    // A token of the sender's own is none of ours, but Basic is, and comes first.
    for (own, expected) in [("Bearer abc", 200), ("Basic abc", 401)] {
        let mut request = request(pass);
        request.headers_mut().insert("authorization", own.parse().unwrap());
        assert_eq!(server.send(request).await.0, expected, "{own}");
    }
    let (status, answer) = server.send(request("wrong")).await;
    assert_eq!((status.as_u16(), &answer["status"]), (401, &json!(401)));
    server.stop().await;
}

#[tokio::test]
async fn a_look_at_the_headers_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::with_topics(dir.path()).await;
    server.produce(&["1"]).await;
    let head = async |path: &str| {
        let request = server.request(&format!("HEAD {path}"), &[], "");
        server.router.clone().oneshot(request).await.unwrap().status()
    };
    for path in [
        "/produce/red/x",
        "/produce/red",
        "/produce/",
        "/consume/g/i/red",
        "/consume/g/i/",
        "/commit/g/i",
        "/webhook?topic=red",
        "/delete-consumer/g/i",
    ] {
        assert_eq!(head(path).await, 405, "{path}");
    }
    assert_eq!(head("/topics").await, 200);
    assert_eq!(server.ok("GET /consumers", Value::Null).await, json!([]));
    assert_eq!(server.consume("i", &[]).await, ["1"]);
    server.stop().await;
}

#[tokio::test]
async fn no_request_gets_anywhere_without_the_right_password() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::with_topics(dir.path()).await;
    let right = std::mem::replace(&mut server.password, "wrong".to_owned());
    for line in [
        "GET /produce/red/x",
        "POST /produce/red",
        "POST /produce",
        "POST /fetch",
        "GET /topics",
        "GET /consume/g/i/red",
        "POST /consume/g/i",
        "POST /commit/g/i",
        "POST /committed/g/i",
        "GET /offsets/latest",
        "GET /consumers",
        "POST /delete-consumer/g/i",
        "POST /webhook?topic=red",
    ] {
        assert_eq!(server.refused(line, json!([])).await.0, 401, "{line}");
    }
    server.password = right;
    server.ok("GET /", Value::Null).await;
    server.stop().await;
}
