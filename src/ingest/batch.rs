//! Many mutations in one request: a JSON array, or one JSON object a line.
//!
//! `POST .../collections/{collection}/records` is about one collection, `POST
//! /v1/syncs/{sync}/records` about any of the sync, which each item names. Every item has its own
//! outcome, and one bad item does not sink the others; with `?atomic=true` all are carried out or
//! none ([`atomic`](super::atomic)).
//!
//! **The body is carried out as it arrives**, in [`Part`]s, so memory does not grow with it; only
//! the answers are kept until it ends. Without a key the parts [overlap](super::overlap); under one
//! each has its answer stored before the next begins. An atomic batch is one part. A body that
//! stops being a list of items ends the batch there: what came before is carried out, and the last
//! result says what is wrong; if nothing came before, the whole request is refused.

use super::Ingest;
use super::answers::{Answer, Ticket, Under, fingerprint};
use super::atomic;
use super::items::{Broken, Full, Part, Splitter};
use super::json::{self, Object};
use super::mutation::{Mutation, Operation};
use super::name::RecordId;
use super::outcomes::{Outcomes, Results};
use super::overlap::Overlap;
use super::records::{idempotency_key, respond};
use super::scan::{Scan, unquote};
use super::shares::Shares;
use super::snapshot::Page;
use super::target::{Target, find_sync};
use super::version::Version;
use crate::cluster::Cluster;
use crate::http::{Account, ApiError, Arriving, Query, Segments};
use crate::room::Held;
use crate::task::{blocking, to_the_end};
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::uri::PathAndQuery;
use axum::response::Response;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::sync::Arc;
use tokio::runtime::Handle;

/// Items of one request.
pub(super) const ITEMS_MAX: usize = 100_000;
/// Bytes of one request.
pub(super) const BYTES_MAX: usize = 256 << 20;
/// What is carried out at a time under a key, where each part costs a row that is synced.
const PART: Full = Full { items: 1000, bytes: 1 << 20 };
/// What is carried out at a time without one. Both fit [`ITEMS_MAX`], where a batch ends, exactly.
const SMALL: Full = Full { items: 125, bytes: 256 << 10 };
/// What an atomic batch stays below.
pub(super) const ATOMIC: Full = Full { items: 10_000, bytes: 16 << 20 };

/// What a batch's path may be asked.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Options {
    #[serde(default)]
    atomic: bool,
}

/// An item, its record as a `D`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Item<'a, D> {
    op: Operation,
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(default = "none")]
    data: Option<D>,
    #[serde(borrow, default)]
    collection: Option<Cow<'a, str>>,
    #[serde(default)]
    version: Option<Version>,
}

fn none<D>() -> Option<D> {
    None
}

/// Reads an item with its record in one go; nothing if there is anything to be said of it.
fn read_at_once(text: &[u8]) -> Option<Item<'_, Object<'_>>> {
    let text = std::str::from_utf8(text).ok().filter(|text| !json::may_be_deep(text))?;
    let (mut op, mut id, mut data, mut collection, mut version) = (None, None, None, None, None);
    let mut scan = Scan::new(text);
    scan.object(|scan, name| match name {
        r#""op""# => once(&mut op, operation(scan.value()?)),
        r#""id""# => once(&mut id, string(scan.value()?)),
        r#""data""# => once(&mut data, Object::scan(scan)),
        r#""collection""# => once(&mut collection, string(scan.value()?)),
        r#""version""# => once(&mut version, serde_json::from_str(scan.value()?).ok()),
        _ => None,
    })?;
    scan.is_at_end().then_some(Item { op: op?, id: id?, data, collection, version })
}

/// Holds what a member says, unless it says nothing or there was another.
fn once<T>(member: &mut Option<T>, says: Option<T>) -> Option<()> {
    (says.is_some() && member.is_none()).then(|| *member = says)
}

/// What comes along with a deletion need not be a record, so that is not read at once.
fn operation(text: &str) -> Option<Operation> {
    match text {
        r#""upsert""# => Some(Operation::Upsert),
        r#""patch""# => Some(Operation::Patch),
        _ => None,
    }
}

fn string(text: &str) -> Option<Cow<'_, str>> {
    text.starts_with('"').then(|| unquote(text)).flatten()
}

/// Reads an item, or says what is wrong with it; or with its record alone, which is an item then
/// all the same.
fn read(text: &[u8]) -> Result<(Item<'_, Object<'_>>, Option<Box<str>>), ApiError> {
    let item: Item<'_, &RawValue> = serde_json::from_slice(text)
        .map_err(|error| ApiError::bad_request(format!("invalid item: {error}")))?;
    let Item { op, id, data, collection, version } = item;
    let data = data.filter(|_| op != Operation::Delete);
    let data = data.map(|data| Object::parse(data.get().as_bytes())).transpose();
    let (data, refused) = match data {
        Ok(data) => (data, None),
        Err(error) => (None, Some(format!("invalid item: data: {error}").into())),
    };
    Ok((Item { op, id, data, collection, version }, refused))
}

/// `POST .../collections/{collection}/records`
pub(super) async fn post(
    Account(principal): Account,
    State(ingest): State<Arc<Ingest>>,
    Segments((sync, collection)): Segments<(String, String)>,
    query: Query<Options>,
    request: axum::extract::Request,
) -> Result<Response, ApiError> {
    // A wrong path is refused before the body is read.
    Target::find(&ingest, &principal.cluster, &sync, &collection).await?;
    let collection = Some(collection);
    let batch = Batch { ingest, cluster: principal.cluster, sync, collection, _page: None };
    stream(batch, query.0, request).await
}

/// `POST /v1/syncs/{sync}/records`
pub(super) async fn post_mixed(
    Account(principal): Account,
    State(ingest): State<Arc<Ingest>>,
    Segments(sync): Segments<String>,
    query: Query<Options>,
    request: axum::extract::Request,
) -> Result<Response, ApiError> {
    find_sync(&ingest, &principal.cluster, &sync)?;
    let cluster = principal.cluster;
    let batch = Batch { ingest, cluster, sync, collection: None, _page: None };
    stream(batch, query.0, request).await
}

/// Where a batch's mutations go.
pub(super) struct Batch {
    pub ingest: Arc<Ingest>,
    pub cluster: Arc<Cluster>,
    pub sync: String,
    /// The one collection, if the path names it.
    pub collection: Option<String>,
    /// The page of a snapshot that the batch is: it ends with the last of its parts, also when the
    /// client hangs up.
    pub _page: Option<Page>,
}

/// A mutation, and the collection it is of.
type Parsed<'a> = (Cow<'a, str>, Mutation<'a>);

/// Carries out a batch as its body arrives.
pub(super) async fn stream(
    batch: Batch,
    options: Options,
    request: axum::extract::Request,
) -> Result<Response, ApiError> {
    // A URI may also say where it was sent, as a proxy is asked.
    let path = request.uri().path_and_query().map_or("/", PathAndQuery::as_str).to_owned();
    let batch = Arc::new(batch);
    let ticket = batch.ticket(request.headers())?;
    let full = match (options.atomic, &ticket) {
        (true, _) => ATOMIC,
        (false, Some(_)) => PART,
        (false, None) => SMALL,
    };
    let (splitter, body) = (Splitter::new(full), Arriving::new(request));
    let source = Source { splitter, body, bytes: 0, items: 0 };
    match options.atomic {
        true => all_or_nothing(batch, source, path, ticket).await,
        false => each_part(batch, source, path, ticket).await,
    }
}

/// Carries out parts as they arrive.
async fn each_part(
    batch: Arc<Batch>,
    mut source: Source,
    path: String,
    ticket: Option<Arc<Ticket>>,
) -> Result<Response, ApiError> {
    let mut results = Results::default();
    let mut overlap = Overlap::new(batch.clone());
    for number in 0_u32.. {
        let first = source.items;
        let (part, end) = source.part().await?;
        let last = matches!(end, End::Last);
        if let (End::Broken(error), 0) = (&end, number) {
            return Err(error.clone());
        }
        if let Some(ticket) = ticket.clone() {
            let named = format!("{path} {number}");
            let batch = batch.clone();
            let permit = batch.cluster.batch_parts.take().await;
            // Once begun it ends with a stored answer, also when the client hangs up.
            let share = to_the_end(async move {
                let fingerprint = fingerprint(&[&named], part.bytes());
                let carry_out = |under| batch.clone().carry_out((part, permit), first, under);
                ticket.once((number, last), &fingerprint, &batch.cluster, carry_out).await
            });
            let (answer, replayed) = share.await?;
            results.extend(&answer.body, replayed);
        } else {
            overlap.begin(part, first, &mut results).await?;
        }
        match end {
            End::More => continue,
            End::Last => overlap.end(&mut results).await?,
            End::Broken(error) => {
                overlap.end(&mut results).await?;
                results.push_error(&error, source.items);
            }
        }
        break;
    }
    Ok(results.respond())
}

/// Carries out the whole body or nothing of it.
async fn all_or_nothing(
    batch: Arc<Batch>,
    mut source: Source,
    path: String,
    ticket: Option<Arc<Ticket>>,
) -> Result<Response, ApiError> {
    let part = match source.part().await? {
        (part, End::Last) => part,
        (_, End::Broken(error)) => return Err(error),
        (_, End::More) => {
            let Full { items, bytes } = ATOMIC;
            let text = format!("an atomic batch has fewer than {items} items and {bytes} bytes");
            return Err(ApiError::too_large(text));
        }
    };
    let permit = batch.cluster.batch_parts.take().await;
    let whole = to_the_end(async move {
        let Some(ticket) = ticket else {
            return Ok((batch.carry_out_atomic((part, permit), None).await?, false));
        };
        let fingerprint = fingerprint(&[&path], part.bytes());
        let carry_out = |under| batch.clone().carry_out_atomic((part, permit), Some(under));
        ticket.once((0, true), &fingerprint, &batch.cluster, carry_out).await
    });
    match whole.await {
        Ok((answer, replayed)) => Ok(respond(answer, replayed)),
        Err(Refused::Request(error)) => Err(error),
        Err(Refused::Items(outcomes)) => Ok(outcomes.refusal()),
    }
}

/// Why nothing of an atomic batch was carried out.
enum Refused {
    Request(ApiError),
    Items(Outcomes),
}

impl From<ApiError> for Refused {
    fn from(error: ApiError) -> Self {
        Self::Request(error)
    }
}

impl Batch {
    /// What the request is carried out under, if it has a key.
    fn ticket(&self, headers: &HeaderMap) -> Result<Option<Arc<Ticket>>, ApiError> {
        let key = idempotency_key(headers)?;
        let begin = |key: String| self.ingest.answers.begin(&self.cluster.account.id, &key);
        Ok(key.map(begin).transpose()?.map(Arc::new))
    }

    /// Carries out a part's items, each for itself, and gives their results.
    async fn carry_out(
        self: Arc<Self>,
        (part, permit): (Part, Held),
        first: usize,
        under: Under,
    ) -> Result<Answer, ApiError> {
        let outcomes = blocking(move || {
            let _permit = permit;
            let shares = self.shares(&part, first, Some(&under));
            shares.mutate(Some(&under.0)).inspect(Outcomes::settle)
        });
        let outcomes = outcomes.await?;
        outcomes.confirm().await;
        Ok(Answer { etag: None, body: outcomes.results(first), topics: outcomes.topics() })
    }

    /// Carries out a part's items or none of them.
    async fn carry_out_atomic(
        self: Arc<Self>,
        (part, permit): (Part, Held),
        under: Option<Under>,
    ) -> Result<Answer, Refused> {
        let batch = self.clone();
        let carried = blocking(move || {
            let _permit = permit;
            let shares = batch.shares(&part, 0, under.as_ref());
            let ticket = under.as_ref().map(|(ticket, _)| &**ticket);
            let carried = atomic::mutate(&batch.ingest, shares, ticket);
            carried.inspect(|(outcomes, _)| outcomes.settle())
        });
        let (outcomes, intent) = match carried.await {
            Ok(carried) => carried,
            Err(refused) => {
                refused.confirm().await;
                return Err(Refused::Items(refused));
            }
        };
        outcomes.confirm().await;
        if let Some(intent) = intent {
            let state = self.ingest.broker.shared.state.clone();
            blocking(move || intent.forget(&state)).await;
        }
        let mut results = Results::default();
        results.extend(&outcomes.results(0), false);
        Ok(Answer { etag: None, body: results.finish(), topics: outcomes.topics() })
    }

    /// A part's mutations by collection. Looks up collections: not for an async worker.
    pub(super) fn shares<'a>(
        &'a self,
        part: &'a Part,
        first: usize,
        under: Option<&Under>,
    ) -> Shares<'a> {
        let mut shares = Shares::new(part.items().len());
        for (at, text) in part.items().enumerate() {
            let parsed = self.parse(text).and_then(|(collection, mutation)| {
                let key = under.map(|(ticket, hold)| ticket.key(Some(first + at), hold));
                let find = || self.find(&collection);
                shares.push(at, &collection, Mutation { key, ..mutation }, find)
            });
            if let Err(error) = parsed {
                shares.refuse(at, error);
            }
        }
        shares
    }

    /// Waits for the control database, if the collection is new.
    fn find(&self, collection: &str) -> Result<Target, ApiError> {
        let find = Target::find(&self.ingest, &self.cluster, &self.sync, collection);
        Handle::current().block_on(find)
    }

    fn parse<'a>(&'a self, text: &'a [u8]) -> Result<Parsed<'a>, ApiError> {
        let (item, refused) = read_at_once(text).map_or_else(|| read(text), |it| Ok((it, None)))?;
        let collection = match (item.collection, self.collection.as_deref()) {
            (None, Some(of_path)) => Cow::Borrowed(of_path),
            (Some(its), None) => its,
            (Some(its), Some(of_path)) if its == of_path => its,
            (Some(its), Some(of_path)) => {
                let text = format!(
                    "invalid item: collection: '{its}' is not '{of_path}', which the path names; \
                     POST /v1/syncs/{}/records takes items of any collection",
                    self.sync
                );
                return Err(ApiError::bad_request(text));
            }
            (None, None) => {
                let text = "invalid item: missing field `collection`, since the path names none";
                return Err(ApiError::bad_request(text));
            }
        };
        let id = RecordId::parse(&item.id)
            .map_err(|error| ApiError::bad_request(format!("invalid item: id: {error}")))?;
        let mutation = Mutation::new(id, item.op, item.data);
        Ok((collection, Mutation { version: item.version, refused, ..mutation }))
    }
}

/// A body as it arrives.
struct Source {
    splitter: Splitter,
    body: Arriving,
    /// Bytes so far.
    bytes: usize,
    /// Items so far.
    items: usize,
}

/// What follows a part.
enum End {
    More,
    Last,
    Broken(ApiError),
}

impl Source {
    /// The next part, which has the room that was taken for it.
    ///
    /// # Errors
    /// When the body does not arrive in time.
    async fn part(&mut self) -> Result<(Part, End), ApiError> {
        let (part, end) = loop {
            match self.splitter.next() {
                Ok(Some(part)) => break (part, End::More),
                Ok(None) => {}
                Err(broken) => break self.broken(&broken),
            }
            match self.body.piece(self.splitter.kept()).await? {
                Some(data) => {
                    self.bytes += data.len();
                    if self.bytes > BYTES_MAX {
                        let text = format!("a batch is at most {BYTES_MAX} bytes; send several");
                        break (Part::default(), End::Broken(ApiError::too_large(text)));
                    }
                    self.splitter.feed(&data);
                }
                None => match self.splitter.finish() {
                    Ok(part) => break (part, End::Last),
                    Err(broken) => break self.broken(&broken),
                },
            }
        };
        if self.items + part.items().len() > ITEMS_MAX {
            let text = format!("a batch has at most {ITEMS_MAX} items; send several");
            return Ok((Part::default(), End::Broken(ApiError::too_large(text))));
        }
        self.items += part.items().len();
        Ok((part.held(|bytes| self.body.hold(bytes)), end))
    }

    fn broken(&mut self, broken: &Broken) -> (Part, End) {
        let error = ApiError::bad_request(format!("invalid batch: {broken}"));
        (self.splitter.rest(), End::Broken(error))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test panics")]
mod tests {
    use super::*;
    use crate::room::Room;
    use axum::body::Body;
    use axum::extract::Request;

    #[tokio::test]
    async fn a_batch_ends_at_its_limits_and_says_which() {
        let refused = async |bytes, items| {
            let body = Arriving::new(Request::new(Body::from("{}\n{}\n")));
            let splitter = Splitter::new(PART);
            let mut source = Source { splitter, body, bytes, items };
            match source.part().await.unwrap() {
                (part, End::Broken(error)) => Some((part.items().len(), error.message)),
                _ => None,
            }
        };
        assert_eq!(refused(BYTES_MAX - 6, ITEMS_MAX - 2).await, None);
        let bytes = "a batch is at most 268435456 bytes; send several";
        assert_eq!(refused(BYTES_MAX - 5, 0).await, Some((0, bytes.to_owned())));
        let items = "a batch has at most 100000 items; send several";
        assert_eq!(refused(0, ITEMS_MAX - 1).await, Some((0, items.to_owned())));
    }

    #[tokio::test]
    async fn a_part_has_its_room_until_it_is_carried_out_though_its_client_hung_up() {
        let room = Room::default();
        let all = room.left();
        let text = format!(r#"[{{"op":"delete","id":"{}"}}]"#, "x".repeat(3 << 20));
        let request = Request::builder().extension(room.clone());
        let body = Arriving::new(request.body(Body::from(text)).unwrap());
        let splitter = Splitter::new(ATOMIC);
        let mut source = Source { splitter, body, bytes: 0, items: 0 };
        let (part, _) = source.part().await.unwrap();
        drop(source);
        assert!(room.left().0 <= all.0 - (3 << 20), "{:?} of {all:?} is left", room.left());
        drop(part);
        assert_eq!(room.left(), all);
    }
}
