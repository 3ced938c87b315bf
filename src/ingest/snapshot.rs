//! Snapshots: the whole of a collection as its source has it, sent in pages. Closing one deletes
//! the records that were not in it.
//!
//! One snapshot of a collection is open at a time. While it is, **every mutation leaves a mark on
//! its record**, whoever sent it and whatever became of it: an upsert that changed nothing was in
//! the snapshot too, and a refused one is no proof that the record is gone, whether its own record
//! cannot be read or another item of an atomic batch is wrong. So a page is a batch
//! like any other, "was in it" and "was touched later" are the same question, and closing deletes
//! the records without a mark. Marks are rows of the state store ([`marks`]), so memory does not
//! grow with the collection; without an open snapshot there are none and nothing is looked up.
//!
//! **What a crash leaves.** A mark is written under its partition's lock, after the mutation's
//! event went to the log and before the record's row may go to the store, and it is on disk before
//! the mutation is answered. So after a crash
//!
//! - an answered mutation has its mark;
//! - an event that reached the store has its mark, since the store keeps a prefix of its writes;
//! - an event that did not is replayed from the log, and marked then if it came after the opening
//!   ([`Snapshot::ends`] tells; what came before it is no sign of life);
//! - a mark without an event is of a mutation that changed nothing.
//!
//! That a snapshot closes is on disk before its first deletion. A deletion is decided and appended
//! under the partition's lock, and a record that is gone cannot be deleted again: a closing that
//! was interrupted begins anew at the next start, and each deletion is published once.

mod closing;
mod marks;
mod progress;
mod routes;
#[cfg(test)]
mod tests;

pub(super) use closing::{expire, finish, resume};
pub(super) use marks::Touched;
pub(super) use progress::{Error, Id, Phase, Snapshot};
pub(super) use routes::router;

use crate::state::State;
use marks::Marks;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tidelog_protocol::Uuid;

/// A collection's snapshot: the one that is open, or else the last there was.
pub(super) struct Snapshots {
    state: State,
    marks: Marks,
    /// The id of the snapshot that mutations are marked for; 0 when there is none. Changes only
    /// while no mutation is under way.
    marking: AtomicU64,
    /// Mutations marked since the start, which are not in `current` yet.
    touched: AtomicU64,
    /// A mark could not be stored.
    failed: AtomicBool,
    current: Mutex<Current>,
    /// Held by whoever carries out the closing.
    closing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Current {
    snapshot: Option<Snapshot>,
    /// Pages under way.
    pages: usize,
    /// Why the closing stopped.
    problem: Option<String>,
}

/// A page under way: the snapshot cannot be closed before it is dropped.
pub(super) struct Page {
    snapshots: Arc<Snapshots>,
    id: Id,
}

impl Snapshots {
    /// Reads what the store has of a topic's snapshot.
    pub(super) fn load(state: State, topic_id: Uuid) -> Result<Self, Error> {
        let marks = Marks::new(state.clone(), topic_id);
        let snapshot = match state.records.get(marks.snapshot_key())? {
            Some(row) => Some(Snapshot::parse(&row)?),
            None => None,
        };
        let marking = snapshot.as_ref().filter(|it| it.is_marking()).map_or(0, |it| it.id.0);
        let current = Mutex::new(Current { snapshot, ..Current::default() });
        Ok(Self { marking: AtomicU64::new(marking), current, ..Self::none(state, topic_id) })
    }

    /// A new topic's.
    pub(super) fn none(state: State, topic_id: Uuid) -> Self {
        Self {
            marks: Marks::new(state.clone(), topic_id),
            state,
            marking: AtomicU64::new(0),
            touched: AtomicU64::new(0),
            failed: AtomicBool::new(false),
            current: Mutex::default(),
            closing: tokio::sync::Mutex::default(),
        }
    }

    /// The snapshot, and why its closing stopped, if it did.
    pub(super) fn current(&self) -> Option<(Snapshot, Option<String>)> {
        let current = self.current.lock();
        let snapshot = current.snapshot.as_ref()?;
        let touched = snapshot.touched + self.touched.load(Ordering::Relaxed);
        Some((Snapshot { touched, ..snapshot.clone() }, current.problem.clone()))
    }

    /// Opens a snapshot. Only while no mutation is under way; `ends` are the partitions' ends.
    pub(super) fn open(&self, id: Id, ends: Vec<i64>, now_ms: i64) -> Result<Snapshot, Error> {
        let mut current = self.current.lock();
        if let Some(before) = &current.snapshot {
            before.may_be_followed()?;
            self.marks.remove(before.id)?;
        }
        let snapshot = Snapshot::opened(id, ends, now_ms);
        self.write(&snapshot)?;
        self.touched.store(0, Ordering::Relaxed);
        *current = Current { snapshot: Some(snapshot.clone()), ..Current::default() };
        self.marking.store(id.0, Ordering::Release);
        Ok(snapshot)
    }

    /// Begins a page, if the snapshot takes records.
    pub(super) fn page(self: &Arc<Self>, id: Id, now_ms: i64) -> Result<Page, Error> {
        self.change(id, |snapshot, pages| {
            snapshot.add_page(now_ms)?;
            *pages += 1;
            Ok(())
        })?;
        Ok(Page { snapshots: self.clone(), id })
    }

    /// Begins the closing: no more pages, and no way back. Again for one that is closing or closed
    /// changes nothing.
    pub(super) fn close(&self, id: Id) -> Result<Snapshot, Error> {
        self.change(id, |snapshot, pages| snapshot.close(*pages))
    }

    /// Ends the snapshot without deleting anything; again changes nothing. Only while no mutation
    /// is under way.
    pub(super) fn abandon(&self, id: Id) -> Result<Snapshot, Error> {
        let snapshot = self.change(id, |snapshot, _| snapshot.abandon())?;
        self.marking.store(0, Ordering::Release);
        Ok(snapshot)
    }

    /// Whether it has been left open for so long that it counts as forgotten.
    pub(super) fn is_forgotten(&self, now_ms: i64) -> bool {
        let current = self.current.lock();
        current.pages == 0 && current.snapshot.as_ref().is_some_and(|it| it.is_forgotten(now_ms))
    }

    /// Ends a forgotten snapshot, and gives its id. Only while no mutation is under way.
    pub(super) fn expire(&self, now_ms: i64) -> Result<Option<Id>, Error> {
        // A page may have come since the caller looked.
        if !self.is_forgotten(now_ms) {
            return Ok(None);
        }
        let Some((snapshot, _)) = self.current() else { return Ok(None) };
        self.change(snapshot.id, |snapshot, _| snapshot.expire())?;
        self.marking.store(0, Ordering::Release);
        Ok(Some(snapshot.id))
    }

    /// Counts deletions of the closing, and clears or says why it stopped.
    fn deleted(&self, id: Id, count: u64, problem: Option<String>) -> Result<(), Error> {
        self.change(id, |snapshot, _| {
            snapshot.deleted += count;
            Ok(())
        })?;
        self.current.lock().problem = problem;
        Ok(())
    }

    /// Ends the closing. Only while no mutation is under way.
    fn closed(&self, id: Id) -> Result<Snapshot, Error> {
        let snapshot = self.change(id, |snapshot, _| snapshot.end_closing())?;
        self.marking.store(0, Ordering::Release);
        Ok(snapshot)
    }

    /// Removes the marks of a snapshot that needs them no more.
    pub(super) fn sweep_marks(&self, id: Id) -> Result<(), Error> {
        match self.marking.load(Ordering::Acquire) == id.0 {
            true => Ok(()),
            false => Ok(self.marks.remove(id)?),
        }
    }

    /// Changes the snapshot of this id, in memory and in the store.
    fn change(
        &self,
        id: Id,
        change: impl FnOnce(&mut Snapshot, &mut usize) -> Result<(), Error>,
    ) -> Result<Snapshot, Error> {
        let mut current = self.current.lock();
        let known = current.snapshot.as_ref().map(|it| (it.id, it.phase));
        let mut next = match &current.snapshot {
            Some(snapshot) if snapshot.id == id => snapshot.clone(),
            _ => return Err(Error::Unknown { id, known }),
        };
        let mut pages = current.pages;
        change(&mut next, &mut pages)?;
        let touched = self.touched.swap(0, Ordering::Relaxed);
        next.touched += touched;
        if let Err(error) = self.write(&next) {
            self.touched.fetch_add(touched, Ordering::Relaxed);
            return Err(error);
        }
        (current.snapshot, current.pages) = (Some(next.clone()), pages);
        Ok(next)
    }

    fn write(&self, snapshot: &Snapshot) -> Result<(), Error> {
        let row = (self.marks.snapshot_key(), Some(snapshot.row()));
        Ok(self.state.apply(&self.state.records, vec![row])?)
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        let mut current = self.snapshots.current.lock();
        // It may have been abandoned meanwhile, and another opened.
        if current.snapshot.as_ref().is_some_and(|it| it.id == self.id) {
            current.pages -= 1;
        }
    }
}
