//! What became of a batch's items, and how that is answered.

use super::answers::Answer;
use super::mutation::Done;
use super::records::{RecordAnswer, respond};
use super::shares::{ByItem, Outcome};
use super::target::Target;
use crate::http::ApiError;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::borrow::Cow;
use tidelog_protocol::Uuid;

/// Bytes of what is said of one item; an answer has one for each.
const ERROR_BYTES_MAX: usize = 400;

/// What became of a part's items.
pub(super) struct Outcomes {
    targets: Vec<Target>,
    /// In order; a share is a target's.
    items: Vec<Outcome>,
}

/// What an item answers.
#[derive(Serialize)]
#[serde(untagged)]
enum ItemAnswer<'a> {
    Done(RecordAnswer),
    Failed { error: Cow<'a, str>, code: &'static str, index: usize },
}

impl Outcomes {
    /// Every item has an outcome.
    pub(super) fn new(targets: Vec<Target>, items: ByItem) -> Self {
        let missing = || Err(ApiError::internal("a mutation had no outcome").into());
        Self { targets, items: items.into_iter().map(|it| it.unwrap_or_else(missing)).collect() }
    }

    /// Moves what has become durable into the store where these mutations were; see
    /// [`Stream::settle_after`](super::stream::Stream::settle_after).
    pub(super) fn settle(&self) {
        for (index, target) in self.targets.iter().enumerate() {
            let done = self.items.iter().flatten().filter(|(of, _)| *of == index);
            target.stream.settle_after(done.map(|(_, done)| done));
        }
    }

    /// Waits until the outcomes may be answered.
    pub(super) async fn confirm(&self) {
        for (index, target) in self.targets.iter().enumerate() {
            target.stream.confirm(self.told(index)).await;
        }
    }

    /// What is told of a target's records, also by those that were refused.
    fn told(&self, target: usize) -> impl Iterator<Item = &Done> + Send {
        let told = self.items.iter().filter_map(|item| match item {
            Ok((of, done)) => Some((*of, done)),
            Err(refused) => refused.tells.as_ref().map(|(of, record)| (*of, &**record)),
        });
        told.filter(move |(of, _)| *of == target).map(|(_, done)| done)
    }

    /// The ids of the topics of the mutations.
    pub(super) fn topics(&self) -> Vec<Uuid> {
        self.targets.iter().map(|it| it.stream.topic().id).collect()
    }

    /// The items' answers, a comma after each; the first of them has number `first`.
    pub(super) fn results(&self, first: usize) -> Vec<u8> {
        let topics: Vec<_> = self.targets.iter().map(|it| it.stream.topic()).collect();
        let mut json = Vec::with_capacity(self.items.len() * 128);
        for (index, item) in (first..).zip(&self.items) {
            match item {
                Ok((target, done)) => {
                    let answer = RecordAnswer::new(&topics[*target].name, done);
                    push(&mut json, &ItemAnswer::Done(answer));
                }
                Err(refused) => push(&mut json, &failed(&refused.error, index)),
            }
        }
        json
    }

    /// The answer when all were refused because some were: what is wrong with those.
    pub(super) fn refusal(&self) -> Response {
        let refused = (0..)
            .zip(&self.items)
            .filter_map(|(index, item)| item.as_ref().err().map(|it| (index, &it.error)));
        let refused: Vec<_> = refused.collect();
        let status = refused.first().map_or(StatusCode::BAD_REQUEST, |(_, error)| error.status);
        let body = serde_json::json!({
            "result": "Error",
            "error": format!(
                "the batch is atomic and {} of its {} items are refused; nothing was published",
                refused.len(),
                self.items.len(),
            ),
            "code": "atomic_refused",
            "status": status.as_u16(),
            "results": refused.iter().map(|(at, error)| failed(error, *at)).collect::<Vec<_>>(),
        });
        (status, axum::Json(body)).into_response()
    }
}

/// The answers of a batch so far.
#[derive(Default)]
pub(super) struct Results {
    /// A comma after each.
    json: Vec<u8>,
    replayed: bool,
}

impl Results {
    /// Adds a part's; `replayed` if they were given before.
    pub(super) fn extend(&mut self, json: &[u8], replayed: bool) {
        self.json.extend_from_slice(json);
        self.replayed |= replayed;
    }

    /// Adds why the batch goes no further.
    pub(super) fn push_error(&mut self, error: &ApiError, index: usize) {
        push(&mut self.json, &failed(error, index));
    }

    /// The whole answer's JSON.
    pub(super) fn finish(self) -> Vec<u8> {
        let results = self.json.strip_suffix(b",").unwrap_or(&self.json);
        [b"{\"results\":[", results, b"]}"].concat()
    }

    /// The answer.
    pub(super) fn respond(self) -> Response {
        let replayed = self.replayed;
        respond(Answer { etag: None, body: self.finish(), topics: Vec::new() }, replayed)
    }
}

fn failed(error: &ApiError, index: usize) -> ItemAnswer<'_> {
    ItemAnswer::Failed { error: cut(&error.message), code: error.code, index }
}

/// Some errors say what the item has, which may be any size.
fn cut(error: &str) -> Cow<'_, str> {
    match error.len() > ERROR_BYTES_MAX {
        true => format!("{}...", &error[..error.floor_char_boundary(ERROR_BYTES_MAX)]).into(),
        false => error.into(),
    }
}

fn push(json: &mut Vec<u8>, answer: &ItemAnswer<'_>) {
    serde_json::to_writer(&mut *json, answer).expect("names and numbers are always JSON");
    json.push(b',');
}
