//! Someone at work with syncs: a Tidelog of their own, and what they do over and over.

use super::http::Http;
use super::kafka;
use super::process::Tidelog;
use serde_json::Value;

/// A running Tidelog and its account.
pub(crate) struct Desk {
    pub tidelog: Tidelog,
    pub http: Http,
    _dir: tempfile::TempDir,
}

impl Desk {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let tidelog = Tidelog::dev(dir.path());
        let http = Http::dev(&tidelog.ready);
        Self { tidelog, http, _dir: dir }
    }

    /// What a sync is after it was put so.
    pub(crate) fn put_sync(&self, id: &str, definition: Value) -> Value {
        self.http.put(&format!("/v1/syncs/{id}"), definition.to_string()).json()
    }

    /// Puts a record, and gives the event it made, if any.
    pub(crate) fn put(&self, path: &str, record: Value) -> Value {
        let answer = self.http.put(&records(path), record.to_string()).json();
        answer["event"].clone()
    }

    /// A topic's values in order; a null value is null.
    pub(crate) fn values(&self, topic: &str) -> Vec<Value> {
        let records = kafka::read_all(&kafka::dev(&self.tidelog.ready), topic);
        let value = |value: &Option<String>| match value {
            Some(text) => serde_json::from_str(text).unwrap(),
            None => Value::Null,
        };
        records.iter().map(|record| value(&record.value)).collect()
    }
}

/// `sync/collection/id` as a path.
pub(crate) fn records(path: &str) -> String {
    let [sync, collection, id] = path.split('/').collect::<Vec<_>>()[..] else { panic!("{path}") };
    format!("/v1/syncs/{sync}/collections/{collection}/records/{id}")
}
