//! `/v1/webhooks` as a client sees it.

use super::endpoint::Endpoint;
use super::{Rig, numbered};
use crate::account::Secret;
use crate::http::{self, Context};
use crate::webhook::router;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

struct Client {
    url: String,
    http: reqwest::Client,
    _server: JoinSet<()>,
}

impl Client {
    async fn start(rig: &Rig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let context =
            Context { broker: rig.broker.clone(), url: url.as_str().into(), kafka: "".into() };
        let mut server = JoinSet::new();
        server.spawn(http::serve(listener, None, router(context, rig.webhooks.clone())));
        Self { url, http: crate::http_client::new().unwrap(), _server: server }
    }

    async fn call(&self, as_: &Secret, method: Method, path: &str, body: Value) -> (u16, Value) {
        let request = self.http.request(method, format!("{}/v1/webhooks{path}", self.url));
        let request = request.basic_auth(&as_.username, Some(&as_.password)).json(&body);
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_is_created_shown_and_deleted_by_its_account_only() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::open(dir.path()).await;
    rig.topic("events", 2).await;
    let client = Client::start(&rig).await;
    let acme = rig.broker.create_credential(&rig.cluster).await.unwrap();
    let (_, other) = rig.broker.create_account("other").await.unwrap();
    let mut endpoint = Endpoint::answering(503).await;

    let new = json!({ "url": endpoint.url, "topics": ["ev*"], "retry": { "schedule": ["1h"] } });
    let (status, created) = client.call(&acme, Method::POST, "", new.clone()).await;
    assert_eq!(status, 201, "{created}");
    let id = created["id"].as_str().unwrap();
    let mut shown = created.clone();
    let secret = shown.as_object_mut().unwrap().remove("secret").unwrap();
    assert!(secret.as_str().unwrap().starts_with("whsec_"));
    let want = json!({
        "id": id, "url": endpoint.url, "topics": ["ev*"], "start": "end",
        "retry": { "schedule": ["1h"] }, "disabled": null,
    });
    assert_eq!(shown, want);
    assert_eq!(client.call(&acme, Method::GET, "", json!(null)).await, (200, json!([want])));
    let path = format!("/{id}");
    let told = client.call(&acme, Method::GET, &format!("{path}/secret"), json!(null)).await;
    assert_eq!(told, (200, json!({ "secret": secret })));

    rig.produce("events", 1, &numbered("a", 0..1)).await;
    endpoint.next().await;
    let described = loop {
        let (_, described) = client.call(&acme, Method::GET, &path, json!(null)).await;
        if described["status"]["next_attempt_at"].is_string() {
            break described;
        }
    };
    let failure = &described["status"]["last_error"];
    assert_eq!(failure["error"], "the endpoint answered 503 Service Unavailable");
    assert_eq!((&failure["partition"], &failure["attempt"]), (&json!(1), &json!(1)));
    assert_eq!(described["group"], format!("webhook.{id}"));
    let lags: Vec<_> = [0, 1].map(|it| described["partitions"][it]["lag"].clone()).into();
    assert_eq!(lags, [0, 1]);
    assert!(!described.to_string().contains(secret.as_str().unwrap()));

    // Enabling is asking for the next attempt now.
    let (status, _) =
        client.call(&acme, Method::POST, &format!("{path}/enable"), json!(null)).await;
    assert_eq!((status, endpoint.next().await.body.as_str()), (200, "0"));

    assert_eq!(client.call(&other, Method::GET, "", json!(null)).await, (200, json!([])));
    let foreign = [
        (Method::GET, path.clone()),
        (Method::GET, format!("{path}/secret")),
        (Method::POST, format!("{path}/enable")),
        (Method::DELETE, path.clone()),
    ];
    for (method, path) in foreign {
        let absent = path.replace(id, "wh_0");
        let (status, answer) = client.call(&other, method.clone(), &path, json!(null)).await;
        let (_, like) = client.call(&other, method, &absent, json!(null)).await;
        assert_eq!(status, 404, "{path}");
        assert_eq!(answer.to_string().replace(id, "wh_0"), like.to_string());
    }

    let deleted = client.call(&acme, Method::DELETE, &path, json!(null)).await;
    assert_eq!(deleted, (200, json!({ "deleted": id })));
    assert_eq!(client.call(&acme, Method::GET, &path, json!(null)).await.0, 404);
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_that_makes_no_sense_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::open(dir.path()).await;
    let client = Client::start(&rig).await;
    let acme = rig.broker.create_credential(&rig.cluster).await.unwrap();
    let table = [
        (json!({ "url": "http://127.0.0.1/", "topics": ["a"], "strat": "end" }), "`strat`"),
        (json!({ "url": "http://169.254.169.254/", "topics": ["a"] }), "url: expected a public"),
        (json!({ "url": "http://127.0.0.1/", "topics": [] }), "topics: expected 1 to 100"),
        (json!({ "topics": ["a"] }), "missing field `url`"),
    ];
    for (new, want) in table {
        let (status, answer) = client.call(&acme, Method::POST, "", new).await;
        let error = answer["error"].as_str().unwrap();
        assert!(status == 400 && error.contains(want), "{status} {error}");
    }
    let nobody = Secret { username: acme.username, password: "wrong".into() };
    assert_eq!(client.call(&nobody, Method::GET, "", json!(null)).await.0, 401);
    rig.close().await;
}
