//! A sync of the log that fails, under the whole broker: the process ends with a line that says so,
//! and the next start serves all that was acknowledged, as whatever a power cut leaves after it.

use super::*;
use crate::faulty::Faulty;
use crate::iterations::iterations;
use crate::settings::Layer;
use fastrand::Rng;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const SEEDS: u64 = 6;
const PARTITIONS: i64 = 2;
const WRITERS: usize = 4;
const TOPIC: &str = "red";
const RECORD: &str = "/v1/syncs/sync_a/collections/deal/records";
const EVENTS: &str = "sequin.sync_a.deal";

/// The values that were acknowledged, by topic, partition and offset.
type Said = BTreeMap<(&'static str, i64, i64), String>;

/// A start, up to its end.
struct Life {
    broker: Arc<Broker>,
    client: reqwest::Client,
    url: String,
    username: String,
    password: String,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<Result<()>>,
}

impl Life {
    async fn start(fs: &Faulty, dir: &Path) -> Self {
        let any = Some(([127, 0, 0, 1], 0).into());
        let data_dir = Some(dir.to_owned());
        let layer = Layer { data_dir, kafka_listen: any, http_listen: any, ..Layer::default() };
        let settings = layer.settings(true).unwrap();
        let (stop, stopped) = oneshot::channel();
        let (tell, ready) = oneshot::channel();
        let ready_to = async move |ready: Ready| {
            drop(tell.send(ready));
            Ok(())
        };
        let stopped = async move { drop(stopped.await) };
        let ended = tokio::spawn(run_on(Arc::new(fs.clone()), settings, ready_to, stopped));
        let Ready { broker, http: url, .. } = ready.await.unwrap();
        let (principal, password) = broker.dev_account().await.unwrap();
        let client = crate::http_client::new().unwrap();
        Self { broker, client, url, username: principal.username, password, stop, ended }
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.ended.await.unwrap().unwrap();
    }

    /// The answer to a request, if it is a success.
    async fn ask(&self, method: Method, path: &str, body: Value) -> Option<Value> {
        let request =
            self.client.request(method, format!("{}{path}", self.url)).body(body.to_string());
        let answer = request.basic_auth(&self.username, Some(&self.password)).send().await.ok()?;
        if !answer.status().is_success() {
            return None;
        }
        serde_json::from_slice(&answer.bytes().await.ok()?).ok()
    }

    /// All values of both topics.
    async fn read(&self) -> Said {
        let mut found = Said::new();
        for topic in [TOPIC, EVENTS] {
            for partition in 0..PARTITIONS {
                let mut next = 0;
                loop {
                    let at = json!({ "topic": topic, "partition": partition, "offset": next, "timeout": 0 });
                    let records = self.ask(Method::POST, "/fetch", at).await.unwrap();
                    let records = records.as_array().unwrap();
                    for record in records {
                        assert_eq!(record["offset"], next, "{topic}-{partition} is dense");
                        let value = record["value"].as_str().unwrap().to_owned();
                        found.insert((topic, partition, next), value);
                        next += 1;
                    }
                    if records.is_empty() {
                        break;
                    }
                }
            }
        }
        found
    }
}

/// Writes until it is not answered with a success, records and mutations in turn.
async fn write(life: Arc<Life>, writer: usize, said: Arc<Mutex<Said>>) {
    for number in 0.. {
        let text = format!("{writer}/{number}");
        let at = if number % 2 == 0 {
            let partition = number / 2 % PARTITIONS;
            let record = json!({ "topic": TOPIC, "partition": partition, "value": text });
            let Some(answer) = life.ask(Method::POST, "/produce", record).await else { return };
            (TOPIC, partition, answer[0]["offset"].as_i64().unwrap())
        } else {
            let path = format!("{RECORD}/{writer}");
            let record = json!({ "text": text });
            let Some(answer) = life.ask(Method::PUT, &path, record).await else { return };
            let place = [&answer["partition"], &answer["offset"]].map(|it| it.as_i64().unwrap());
            (EVENTS, place[0], place[1])
        };
        assert_eq!(said.lock().unwrap().insert(at, text), None, "an offset twice");
    }
}

/// What was acknowledged is among what there is, each at its place.
fn check(said: &Said, found: &Said, when: &str) {
    for (at, text) in said {
        let is_it = |it: &String| it == text || it.contains(&format!(r#"{{"text":"{text}"}}"#));
        assert!(found.get(at).is_some_and(is_it), "{when}: {text} at {at:?}");
    }
}

async fn survive(seed: u64) {
    let dir = tempfile::tempdir().unwrap();
    let (fs, mut random) = (Faulty::new(seed), Rng::with_seed(seed));
    let life = Arc::new(Life::start(&fs, dir.path()).await);
    let topic = json!({ "name": TOPIC, "partitions": PARTITIONS });
    life.ask(Method::POST, "/v1/topics", topic).await.unwrap();
    let sync = json!({ "collections": { "deal": { "partitions": PARTITIONS } } });
    life.ask(Method::PUT, "/v1/syncs/sync_a", sync).await.unwrap();
    life.ask(Method::PUT, &format!("{RECORD}/first"), json!({})).await.unwrap();

    let said = Arc::new(Mutex::new(Said::new()));
    let writer = |it| tokio::spawn(write(life.clone(), it, said.clone()));
    let writers: Vec<_> = (0..WRITERS).map(writer).collect();
    // A sync of the checkpoint may be the one that fails, which nothing rests on.
    while !life.ended.is_finished() {
        let enough = said.lock().unwrap().len() + random.usize(..40);
        while said.lock().unwrap().len() < enough && !life.ended.is_finished() {
            tokio::task::yield_now().await;
        }
        fs.fail_next_sync();
    }
    for writer in writers {
        // What waits for the log waits for ever: a process ends here.
        writer.abort();
        let _ended = writer.await;
    }
    let Life { broker, ended, .. } = Arc::into_inner(life).unwrap();
    let error = ended.await.unwrap().unwrap_err().to_string();
    assert!(error.starts_with("the log cannot be synced: "), "{error}");
    assert!(error.ends_with("; restart to recover what the disk holds"), "{error}");
    let said = Arc::into_inner(said).unwrap().into_inner().unwrap();

    // What a start has let be read is on the disk, whatever the failed sync has not written.
    fs.revive();
    let dir = moved(&fs, dir);
    // Until then, since its end would change files that are copied.
    drop(broker);
    let life = Life::start(&fs, dir.path()).await;
    let found = life.read().await;
    check(&said, &found, &format!("seed {seed}, restarted"));
    let left = fs.crash(seed);
    life.stop().await;
    let dir = moved(&left, dir);
    let life = Life::start(&left, dir.path()).await;
    assert_eq!(life.read().await, found, "seed {seed}, after a power cut");
    life.stop().await;
}

/// The directory as a process that ended leaves it, in another place: here it did not end, and
/// holds on to its own.
fn moved(fs: &Faulty, from: TempDir) -> TempDir {
    let to = tempfile::tempdir().unwrap();
    let copied = Command::new("cp").arg("-a").arg(from.path().join(".")).arg(to.path()).status();
    assert!(copied.unwrap().success());
    fs.rename(from.path(), to.path()).unwrap();
    to
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_sync_ends_the_process_and_the_next_start_has_all_that_was_acknowledged() {
    for seed in 0..iterations(SEEDS) {
        survive(seed).await;
    }
}
