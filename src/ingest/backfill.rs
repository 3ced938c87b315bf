//! A backfill publishes what a collection's records are once more: under another mapping, or for
//! readers who came late.
//!
//! Each record gets an `updated` event under the present mapping. Its `changes` is what it always
//! is, the prior value of each column that is otherwise than in the record's last event: that is
//! nothing, unless the mapping changed. The header `backfill` has the backfill's id, for readers
//! that pass such events over. Deleted records are not mentioned.
//!
//! **A record that has an event since the backfill began needs none**: that says all of it. So a
//! backfill and mutations do not race, since both are under the partition's lock; and one that a
//! crash interrupts goes on at the next start and publishes nothing twice, since the log knows who
//! had an event. It holds some records at a time, and lets mutations pass in between.

pub(super) mod routes;

use super::Ingest;
use super::mutation::Error;
use super::name::RecordId;
use super::state::{self, Rows};
use super::stream::Stream;
use super::target::Target;
use crate::clock;
use crate::cluster::Cluster;
use crate::http::ApiError;
use crate::task::blocking;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Records of one step; fewer, if they are large.
const STEP_RECORDS: usize = 500;
/// Room for steps under way, of all backfills; each holds its records and their events.
static STEPS: Semaphore = Semaphore::const_new(4);

/// A backfill, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Backfill {
    /// `bf_` and 16 hex digits.
    pub id: String,
    pub phase: Phase,
    /// When it began, in ms since 1970.
    pub began_ms: i64,
    /// The end of each partition then: later events are of later mutations, or its own.
    pub ends: Vec<i64>,
    /// The last record it came to.
    pub after: String,
    /// Records it came to.
    pub records: u64,
    /// Events it published; after a crash some may be missing here.
    pub published: u64,
    /// Why it failed.
    pub problem: Option<String>,
}

/// How far a backfill is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Phase {
    Running,
    Done,
    Cancelled,
    Failed,
}

/// Why a backfill does not begin or end.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    /// One is enough.
    #[error("backfill '{0}' of this collection is running: wait for it, or cancel it first")]
    Running(String),
    /// There is none.
    #[error("this collection had no backfill yet")]
    None,
    /// The state store.
    #[error(transparent)]
    State(#[from] state::Error),
}

/// Begins a backfill of a collection, durably. Waits for the store: not for an async worker.
pub(super) fn begin(stream: &Stream, now_ms: i64) -> Result<Backfill, Refused> {
    if let Some(partition) = stream.first_damaged() {
        tracing::warn!("{}-{partition} is damaged; a backfill fails there", stream.topic().name);
    }
    let mut current = stream.backfill.lock();
    if let Some(running) = current.as_ref().filter(|it| it.phase == Phase::Running) {
        return Err(Refused::Running(running.id.clone()));
    }
    let backfill = Backfill {
        id: format!("bf_{:016x}", u64::from_be_bytes(clock::random())),
        phase: Phase::Running,
        began_ms: now_ms,
        ends: stream.between_mutations(|ends| ends),
        after: String::new(),
        records: 0,
        published: 0,
        problem: None,
    };
    stream.rows().write_backfill(&backfill.row())?;
    *current = Some(backfill.clone());
    Ok(backfill)
}

/// Ends a backfill before it is done. What it published stays.
pub(super) fn cancel(stream: &Stream) -> Result<Backfill, Refused> {
    let mut current = stream.backfill.lock();
    let backfill = current.as_mut().ok_or(Refused::None)?;
    if backfill.phase == Phase::Running {
        let cancelled = Backfill { phase: Phase::Cancelled, ..backfill.clone() };
        stream.rows().write_backfill(&cancelled.row())?;
        *backfill = cancelled;
    }
    Ok(backfill.clone())
}

/// What the store has of a topic's backfill.
pub(super) fn stored(rows: &Rows) -> Result<Option<Backfill>, state::Error> {
    let Some(row) = rows.backfill()? else { return Ok(None) };
    serde_json::from_slice(&row).map(Some).map_err(|_| state::Error::Cut)
}

/// Goes on with the backfills that were running when the process ended.
pub(super) fn resume(ingest: &Arc<Ingest>) {
    for cluster in ingest.broker.clusters() {
        for topic in cluster.topics.all() {
            let Some(sync) = topic.sync.clone() else { continue };
            let running = ingest.backfills.get(&topic.id).filter(|it| it.phase == Phase::Running);
            let collection = topic.name.strip_prefix(&format!("sequin.{sync}."));
            if let Some((collection, running)) = collection.zip(running) {
                let (collection, id) = (collection.to_owned(), running.id.clone());
                let of = Of { sync, collection, id };
                tokio::spawn(run(ingest.clone(), cluster.clone(), of));
            }
        }
    }
}

/// A backfill, and which collection it is of.
pub(super) struct Of {
    pub sync: String,
    pub collection: String,
    pub id: String,
}

/// Carries out a backfill, to its end: not the next one, which has a task of its own.
pub(super) async fn run(ingest: Arc<Ingest>, cluster: Arc<Cluster>, of: Of) {
    loop {
        // Anew for each step, for the mapping that is in force then.
        let Ok(target) = Target::known(&ingest, &cluster, &of.sync, &of.collection) else { return };
        let (work, id) = (target.clone(), of.id.clone());
        let room = STEPS.acquire().await.expect("the semaphore is never closed");
        let (step, next) = match blocking(move || step(&work, &id, STEP_RECORDS)).await {
            Ok(Some(step)) => step,
            Ok(None) => return,
            Err(error) => {
                let name = &target.stream.topic().name;
                tracing::error!("the backfill of {name} failed: {error}");
                let problem = ApiError::from(error).message;
                return note(&target, &of.id, move |it| {
                    (it.phase, it.problem) = (Phase::Failed, Some(problem))
                })
                .await;
            }
        };
        for (partition, offset) in step.rest_on {
            target.stream.durable(partition, Some(offset)).await;
        }
        drop(room);
        let is_done = next.is_none();
        let noted = move |it: &mut Backfill| {
            it.records += step.records;
            it.published += step.published;
            match next {
                Some(next) => it.after = next,
                None => it.phase = Phase::Done,
            }
        };
        note(&target, &of.id, noted).await;
        if is_done {
            return;
        }
    }
}

/// Changes a running backfill, in memory and in the store.
async fn note(target: &Target, id: &str, change: impl FnOnce(&mut Backfill) + Send + 'static) {
    let (stream, id) = (target.stream.clone(), id.to_owned());
    let written = blocking(move || {
        let mut current = stream.backfill.lock();
        match current.as_mut().filter(|it| it.is_running(&id)) {
            Some(backfill) => {
                change(backfill);
                stream.rows().write_backfill(&backfill.row())
            }
            None => Ok(()),
        }
    });
    if let Err(error) = written.await {
        // It goes on from where it was noted last, and finds that those had their events.
        tracing::warn!("how far a backfill is was not stored: {error}");
    }
}

/// What a step did.
#[derive(Debug, Default)]
pub(super) struct Step {
    records: u64,
    published: u64,
    /// The last event of each partition.
    rest_on: BTreeMap<i32, i64>,
}

/// Publishes the records after the last one it came to, and gives where to go on, if anywhere;
/// nothing if this backfill is not running. Reads the store and writes the log: not for an async
/// worker.
pub(super) fn step(
    target: &Target,
    id: &str,
    limit: usize,
) -> Result<Option<(Step, Option<String>)>, Error> {
    let stream = &target.stream;
    let current = stream.backfill.lock().clone();
    let Some(backfill) = current.filter(|it| it.is_running(id)) else { return Ok(None) };
    // What is not in the store comes on top of the limit.
    stream.settle()?;
    let (known, is_all) = stream.known_after(&backfill.after, limit)?;
    let last = known.keys().next_back().cloned();
    let mut by_partition: BTreeMap<i32, Vec<RecordId>> = BTreeMap::new();
    let mut step = Step::default();
    for (id, known) in known {
        step.records += u64::from(known.row.data.is_some());
        if let (Some(_), Ok(id)) = (known.row.data, RecordId::parse(&id)) {
            by_partition.entry(stream.partition_of(&id)).or_default().push(id);
        }
    }
    for (index, ids) in by_partition {
        let end = usize::try_from(index).ok().and_then(|at| backfill.ends.get(at));
        let end = end.copied().unwrap_or(i64::MAX);
        let mut run = stream.run(target.destination(), index)?;
        for id in ids {
            let published = run.republish(&id, end, &backfill.id);
            let named = |error| Error::Record(id.as_str().to_owned(), Box::new(error));
            if let Some(offset) = published.map_err(named)? {
                step.published += 1;
                step.rest_on.insert(index, offset);
            }
        }
        run.append().map_err(|(_, error)| error)?;
    }
    Ok(Some((step, last.filter(|_| !is_all))))
}

impl Backfill {
    fn is_running(&self, id: &str) -> bool {
        self.id == id && self.phase == Phase::Running
    }

    fn row(&self) -> Vec<u8> {
        serde_json::json!(self).to_string().into_bytes()
    }
}
