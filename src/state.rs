//! Data-plane state in an embedded key-value store: group metadata, committed offsets, and the
//! last state of every ingested record.
//!
//! **A commit's callback runs after the store has synced it**, and commits become durable in the
//! order in which they were submitted. One writer thread gathers what came in during the last
//! sync and syncs it as one (group commit, no timer). Record state is written without a sync:
//! the log is its write-ahead log, and start-up replays what is missing.

mod fresh;

use crate::room::{Allowance, Held};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode, Snapshot, UserKey};
use parking_lot::Mutex;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};

/// Commits that may wait for the writer, of all accounts and of one, beside those of threads that
/// wait with them.
const QUEUE_MAX: usize = 4096;
const QUEUE_SHARE_MAX: usize = 1024;
/// Rows removed at a time.
const REMOVE_ROWS_MAX: usize = 10_000;
/// The store's block cache.
const CACHE_BYTES: u64 = 32 << 20;

/// The embedded store.
#[derive(Clone)]
pub struct State {
    db: Database,
    /// Group metadata and committed offsets: `account 0 record-key`.
    pub groups: Keyspace,
    /// Last state of ingested records.
    pub records: Keyspace,
    queue: Sender<Commit>,
    places: Allowance,
    has_room: HasRoom,
    unsynced: Arc<Unsynced>,
}

/// What was applied without a sync, by count.
struct Unsynced {
    applied: AtomicU64,
    /// Held while it is synced.
    synced: Mutex<u64>,
}

/// Asks whether the store may grow.
pub type HasRoom = Arc<dyn Fn() -> bool + Send + Sync>;

/// Changes to one keyspace: a key, and its new value or `None` to remove it.
pub type Changes = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// Called once the changes are durable.
pub type Done = Box<dyn FnOnce() + Send>;

/// A place in the queue of the writer, for one commit.
pub struct Place {
    _held: Option<Held>,
}

struct Commit {
    keyspace: Keyspace,
    place: Place,
    changes: Changes,
    done: Done,
}

/// Called once if the store cannot sync, or a defect ends its writer; nothing that waits is
/// acknowledged after that.
pub type OnFailure = Arc<dyn Fn(&fjall::Error) + Send + Sync>;

impl State {
    /// Opens the store in `path`, creating it if it is not there.
    pub fn open(path: &Path, on_failure: OnFailure) -> fjall::Result<Self> {
        if let Err(error) = fresh::create(path, |path| open(path).map(drop)) {
            // A small or full file system in memory is no reason not to start.
            tracing::warn!(
                "the state store is made on disk, since it cannot be in memory: {error}"
            );
        }
        let (db, groups, records) = open(path)?;
        let (queue, commits) = channel();
        let places = Allowance::new(QUEUE_SHARE_MAX, QUEUE_MAX);
        let writer = db.clone();
        std::thread::Builder::new()
            .name("state-writer".into())
            .spawn(move || {
                // Nobody would hear of a panic, and all that is committed from then on would wait.
                let written = catch_unwind(AssertUnwindSafe(|| write(&writer, &commits)));
                if let Err(error) = written.unwrap_or(Err(fjall::Error::Poisoned)) {
                    on_failure(&error);
                }
            })
            .map_err(fjall::Error::Io)?;
        // What a process that was killed had applied is one more: nobody knows that it is synced.
        let unsynced = Unsynced { applied: AtomicU64::new(1), synced: Mutex::new(0) };
        let (has_room, unsynced) = (Arc::new(|| true), Arc::new(unsynced));
        Ok(Self { db, groups, records, queue, places, has_room, unsynced })
    }

    /// The same store, which asks here whether it may grow.
    pub fn with_room(self, has_room: HasRoom) -> Self {
        Self { has_room, ..self }
    }

    /// The same store for an account, which has a share of the queue.
    pub fn of_account(&self) -> Self {
        Self { places: self.places.of_another(), ..self.clone() }
    }

    /// Whether there is room for more. **A write that meets the end of the disk ends the process**,
    /// since nobody knows then what of it is stored; so what can be refused is refused before.
    pub fn has_room(&self) -> bool {
        (self.has_room)()
    }

    /// A place in the queue, unless the writer is far behind.
    pub fn try_place(&self) -> Option<Place> {
        Some(Place { _held: Some(self.places.try_take(1)?) })
    }

    /// Waits for a place in the queue.
    pub async fn place(&self) -> Place {
        Place { _held: Some(self.places.take().await) }
    }

    /// Applies `changes` to a keyspace and calls `done` once they are durable. When the store has
    /// failed, `done` is dropped uncalled. **Waits for nothing**, so that it may be called under a
    /// lock: who has no `place` waits for one, or gives up, before.
    pub fn commit(&self, place: Place, keyspace: &Keyspace, changes: Changes, done: Done) {
        let commit = Commit { keyspace: keyspace.clone(), place, changes, done };
        // The writer is gone only after a failure, and then dropping `done` is the answer.
        let _ = self.queue.send(commit);
    }

    /// Applies `changes` at once, without a sync.
    pub fn apply(&self, keyspace: &Keyspace, changes: Changes) -> fjall::Result<()> {
        let mut batch = self.db.batch();
        insert(&mut batch, keyspace, changes);
        batch.commit()?;
        self.unsynced.applied.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// Waits until `changes`, and everything applied so far, are durable. Pends for ever once the
    /// store has failed, since the process then ends without acknowledging anything more.
    pub async fn committed(&self, keyspace: &Keyspace, changes: Changes) {
        let (done, committed) = tokio::sync::oneshot::channel();
        let done = Box::new(move || {
            // Whoever waited may have hung up.
            let _ = done.send(());
        });
        self.commit(self.place().await, keyspace, changes, done);
        if committed.await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// The same for a thread that may block, which needs no place: there are only so many threads.
    /// Never returns once the store has failed.
    pub fn commit_blocking(&self, keyspace: &Keyspace, changes: Changes) {
        let (done, committed) = sync_channel(1);
        let done = Box::new(move || {
            let _ = done.send(());
        });
        self.commit(Place { _held: None }, keyspace, changes, done);
        while committed.recv().is_err() {
            std::thread::park();
        }
    }

    /// Removes every row of a keyspace whose key begins with `prefix`, without a sync.
    pub fn remove_prefix(&self, keyspace: &Keyspace, prefix: &[u8]) -> fjall::Result<()> {
        self.remove_where(keyspace, prefix, |_| true)
    }

    /// The same, of rows whose key goes on as `wanted` says.
    pub fn remove_where(
        &self,
        keyspace: &Keyspace,
        prefix: &[u8],
        wanted: impl Fn(&[u8]) -> bool,
    ) -> fjall::Result<()> {
        let is_mine =
            |key: &fjall::Result<UserKey>| key.as_ref().map_or(true, |key| key.starts_with(prefix));
        let is_wanted = |key: &fjall::Result<UserKey>| {
            key.as_ref().map_or(true, |key| wanted(&key[prefix.len()..]))
        };
        let mut first = Bound::Included(prefix.to_vec());
        loop {
            let keys = keyspace.range((first, Bound::Unbounded)).map(|row| row.key());
            let keys = keys.take_while(is_mine).filter(is_wanted);
            let removal = |key: fjall::Result<UserKey>| Ok((key?.to_vec(), None));
            let changes: fjall::Result<Changes> = keys.map(removal).take(REMOVE_ROWS_MAX).collect();
            let changes = changes?;
            let Some((last, _)) = changes.last() else { return Ok(()) };
            // What was removed stays in the store's files for a while, and is read over each time.
            first = Bound::Excluded(last.clone());
            self.apply(keyspace, changes)?;
        }
    }

    /// The store as it is now, whatever is written after this.
    pub fn view(&self) -> Snapshot {
        self.db.snapshot()
    }

    /// Syncs everything applied so far, unless that has been.
    pub fn sync(&self) -> fjall::Result<()> {
        let mut synced = self.unsynced.synced.lock();
        let applied = self.unsynced.applied.load(Ordering::Acquire);
        if *synced < applied {
            self.db.persist(PersistMode::SyncAll)?;
            *synced = applied;
        }
        Ok(())
    }
}

#[cfg(test)]
impl State {
    /// The store in `path`, which another may have just let go of.
    pub(crate) fn open_again(path: &Path) -> Self {
        loop {
            match Self::open(path, Arc::new(|_| {})) {
                // The writer lets go of the store a moment after its last user has.
                Err(fjall::Error::Locked) => std::thread::yield_now(),
                opened => return opened.expect("the store can be opened"),
            }
        }
    }
}

/// The store in `path` with its keyspaces, of groups and of records.
fn open(path: &Path) -> fjall::Result<(Database, Keyspace, Keyspace)> {
    let db = Database::builder(path).cache_size(CACHE_BYTES).worker_threads(1).open()?;
    let groups = db.keyspace("groups", KeyspaceCreateOptions::default)?;
    let records = db.keyspace("records", KeyspaceCreateOptions::default)?;
    Ok((db, groups, records))
}

fn insert(batch: &mut fjall::OwnedWriteBatch, keyspace: &Keyspace, changes: Changes) {
    for (key, value) in changes {
        match value {
            Some(value) => batch.insert(keyspace, key, value),
            None => batch.remove(keyspace, key),
        }
    }
}

fn write(db: &Database, commits: &Receiver<Commit>) -> fjall::Result<()> {
    while let Ok(first) = commits.recv() {
        let mut batch = db.batch();
        let mut waiting = Vec::new();
        for commit in std::iter::once(first).chain(commits.try_iter().take(QUEUE_MAX)) {
            let Commit { keyspace, place, changes, done } = commit;
            insert(&mut batch, &keyspace, changes);
            waiting.push(done);
            drop(place);
        }
        batch.commit()?;
        db.persist(PersistMode::SyncAll)?;
        waiting.into_iter().for_each(|done| done());
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test panics")]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_cannot_be_made_in_memory_is_made_on_disk() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        // Where the copy from memory would go.
        std::fs::write(path.with_added_extension("new"), "in the way").unwrap();
        fresh::create(&path, |path| open(path).map(drop)).unwrap_err();
        assert!(!path.exists());

        let state = State::open_again(&path);
        let row = (b"key".to_vec(), Some(b"value".to_vec()));
        state.commit_blocking(&state.records, vec![row]);
        drop(state);
        let state = State::open_again(&path);
        assert_eq!(state.records.get("key").unwrap().as_deref(), Some(&b"value"[..]));
    }

    #[test]
    fn all_rows_of_a_prefix_are_removed_and_no_others() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open_again(dir.path());
        let rows = (0..25_000_u32).map(|it| ([b"b", &it.to_be_bytes()[..]].concat(), Some(vec![])));
        let others = [&b"a"[..], b"c"].map(|key| (key.to_vec(), Some(vec![])));
        state.apply(&state.records, rows.chain(others).collect()).unwrap();
        let left = || -> Vec<Vec<u8>> {
            state.records.iter().map(|row| row.key().unwrap().to_vec()).collect()
        };
        state.remove_where(&state.records, b"b", |rest| rest[3] != 7).unwrap();
        assert_eq!(left().len(), 25_000_usize.div_ceil(256) + 2);
        state.remove_prefix(&state.records, b"b").unwrap();
        assert_eq!(left(), [b"a", b"c"]);
    }

    #[test]
    fn a_writer_that_panics_is_a_store_that_has_failed() {
        let dir = tempfile::tempdir().unwrap();
        let (failed, failure) = sync_channel(1);
        let on_failure = move |error: &fjall::Error| failed.send(error.to_string()).unwrap();
        let state = State::open(dir.path(), Arc::new(on_failure)).unwrap();
        let (acknowledge, acknowledged) = sync_channel(1);
        // The store asserts that a key is no longer than 65,535 bytes.
        let row = (vec![0; 1 << 16], Some(Vec::new()));
        let done = Box::new(move || acknowledge.send(()).unwrap());
        state.commit(state.try_place().unwrap(), &state.records, vec![row], done);
        acknowledged.recv().unwrap_err();
        failure.recv().unwrap();
    }
}
