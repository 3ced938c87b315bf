//! Record mutations in, change events out.
//!
//! A [`sync`] says which collections there are and how their columns are named; the [`registry`]
//! has them all, and makes a collection when its first record comes. A [`stream`] is one
//! collection, live: a [`run`] has each [`mutation`] [compared](compare) with the record's last
//! [`state`] and [`version`], and appends what changed to the topic, in [`batches`]. [`replay`]
//! brings the state up to the log at start. [`answers`] are kept for those who send a write again.
//! The rest needs no IO:
//!
//! A mutation's JSON is read as an [`json::Object`], its columns are chosen and named by the
//! collection's [`mapping::Mapping`], a PATCH is merged into the last state by [`patch::merge`],
//! and [`diff::diff`] says what changed. If anything did, [`event::NewEvent`] writes the value that
//! is appended to the topic, in the partition that
//! [`partition_for`](crate::topic::partition_for) names.
//!
//! **Text passes through.** A column is never parsed into a number or re-encoded: it is a slice of
//! the request, and its bytes reach the topic as they came. Only equality looks at what the text
//! means ([`value::equal`]).

mod answers;
mod atomic;
mod backfill;
mod batch;
mod batches;
mod compare;
pub mod diff;
mod doors;
mod etag;
pub mod event;
mod first;
mod intents;
mod items;
pub mod json;
mod listing;
pub mod mapping;
mod mutation;
pub mod name;
mod number;
mod order;
mod outcomes;
mod overlap;
mod page;
pub mod patch;
mod records;
mod registry;
mod replay;
mod routes;
mod run;
mod scan;
mod sequin;
mod settle;
mod shares;
mod snapshot;
mod state;
mod stream;
mod sync;
mod tail;
mod target;
#[cfg(test)]
mod tests;
mod travel;
pub mod value;
mod verify;
mod version;

pub use routes::router;

use crate::broker::Broker;
use crate::task::blocking;
use crate::topic::Topic;
use answers::Answers;
use backfill::Backfill;
use parking_lot::{Mutex, RwLock};
use snapshot::Snapshots;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use stream::Stream;
use sync::Sync;
use tidelog_protocol::Uuid;
use tokio::sync::Notify;

/// The syncs of every account, and their collections' streams.
pub struct Ingest {
    broker: Arc<Broker>,
    /// By account id and sync id.
    syncs: RwLock<BTreeMap<(String, String), Arc<Sync>>>,
    /// Those whose definition cannot be read, and why, by the same.
    unreadable: RwLock<BTreeMap<(String, String), String>>,
    /// By account id; see [`Ingest::editing`].
    editing: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    /// By topic id.
    streams: Mutex<HashMap<Uuid, Arc<Stream>>>,
    /// Told when a stream has much that is not in the state store.
    unsettled: Arc<Notify>,
    answers: Arc<Answers>,
    /// Where the records' state is not known, since the log is damaged.
    damaged: replay::Partitions,
    /// The snapshots that were found at the start, by topic id.
    snapshots: HashMap<Uuid, Arc<Snapshots>>,
    /// The last backfill each collection had at the start, likewise.
    backfills: HashMap<Uuid, Backfill>,
}

impl Ingest {
    /// Reads the syncs, and brings the state of their records up to the log.
    ///
    /// # Errors
    /// When the control database or the state store fails.
    pub async fn open(broker: &Arc<Broker>) -> anyhow::Result<Arc<Self>> {
        let (mut syncs, mut unreadable) = (BTreeMap::new(), BTreeMap::new());
        for row in broker.shared.control.syncs().await? {
            match Sync::stored(&row) {
                Ok(sync) => drop(syncs.insert((row.account, row.id), Arc::new(sync))),
                Err(error) => {
                    tracing::error!("account {}, {error}; it takes nothing", row.account);
                    unreadable.insert((row.account, row.id), error.to_string());
                }
            }
        }
        let replayed = broker.clone();
        let recover = move || -> anyhow::Result<_> {
            let unkept = intents::complete(&replayed)?;
            let mut replayed = replay::replay(&replayed)?;
            replayed.damaged.extend(unkept);
            Ok(replayed)
        };
        let replayed = blocking(recover).await?;
        let ingest = Arc::new(Self {
            broker: broker.clone(),
            syncs: RwLock::new(syncs),
            unreadable: RwLock::new(unreadable),
            editing: Mutex::default(),
            streams: Mutex::default(),
            unsettled: Arc::default(),
            answers: Answers::new(broker.shared.state.clone()),
            damaged: replayed.damaged,
            snapshots: replayed.snapshots,
            backfills: replayed.backfills,
        });
        snapshot::resume(&ingest).await;
        backfill::resume(&ingest);
        Ok(ingest)
    }

    /// The live stream of a collection.
    fn stream(&self, topic: Arc<Topic>) -> Arc<Stream> {
        let mut streams = self.streams.lock();
        if let Some(stream) = streams.get(&topic.id) {
            stream.set_topic(topic);
            return stream.clone();
        }
        let id = topic.id;
        let damaged = self.damaged.iter().filter(|(of, _)| *of == id).map(|(_, index)| *index);
        let state = self.broker.shared.state.clone();
        let none = || Arc::new(Snapshots::none(state.clone(), id));
        let snapshots = self.snapshots.get(&id).cloned().unwrap_or_else(none);
        let unsettled = self.unsettled.clone();
        let kept = (snapshots, self.backfills.get(&id).cloned());
        let stream = Stream::new(topic, state, &damaged.collect(), kept, unsettled);
        let stream = Arc::new(stream);
        streams.insert(id, stream.clone());
        stream
    }
}
