//! The aborted transactions of a segment: in memory while it is appended to, in its `.txnindex`
//! once it is sealed.
//!
//! What is not known is found in the batches, which takes those of earlier segments too: see the
//! `txn_recovery` module.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::RwLock;
use tidelog_protocol::records::EndTxnMarker;

use super::{Segment, file_name};
use crate::error::{Context, Result};
use crate::files::{Files, Kind};
use crate::fs::{Durability, read_all, remove_if_there, replace_with};
use crate::txn_index::{self, AbortedTxn, Entry};

/// Where the entries are.
#[derive(Clone, Debug)]
pub(crate) enum Aborted {
    /// To be found in the batches.
    Unknown,
    /// Here; the file, if there is one, is an older one.
    Memory(Vec<Entry>),
    /// In the file.
    File,
}

/// The entries, and what is known of their file.
pub(super) struct Place {
    aborted: RwLock<Aborted>,
    /// Whether there may be a file.
    has_file: AtomicBool,
    /// Whether the file was found to hold.
    checked: AtomicBool,
}

impl Place {
    pub(super) fn new(aborted: Aborted, has_file: bool) -> Self {
        let (has_file, checked) = (AtomicBool::new(has_file), AtomicBool::new(false));
        Self { aborted: RwLock::new(aborted), has_file, checked }
    }
}

impl Segment {
    /// Whether nothing has to be looked for in the batches.
    pub(crate) fn knows_aborted(&self) -> bool {
        !matches!(*self.aborted.aborted.read(), Aborted::Unknown)
    }

    /// Whether there are entries, as far as that is known.
    pub(crate) fn has_aborted(&self) -> bool {
        match &*self.aborted.aborted.read() {
            Aborted::Unknown => false,
            Aborted::Memory(entries) => !entries.is_empty(),
            Aborted::File => true,
        }
    }

    /// Whether there may be a `.txnindex`.
    pub(crate) fn has_txn_index(&self) -> bool {
        self.aborted.has_file.load(Ordering::Acquire)
    }

    /// Whether [`Segment::aborted_between`] waits for no file.
    pub(crate) fn is_aborted_resident(&self, files: &Files) -> bool {
        match &*self.aborted.aborted.read() {
            Aborted::Unknown => false,
            Aborted::Memory(_) => true,
            Aborted::File => {
                let map = files.mapped(self.key, Kind::TxnIndex);
                map.is_some_and(|map| {
                    self.aborted.checked.load(Ordering::Acquire) && map.is_resident(0..map.len())
                })
            }
        }
    }

    /// Adds to `found` the transactions with records in `from..until` whose marker is here; true if
    /// later segments have none. `None` when that is not known: the file was removed, or does not
    /// hold.
    pub(crate) fn aborted_between(
        &self,
        files: &Files,
        range: (i64, i64),
        found: &mut Vec<AbortedTxn>,
    ) -> Option<bool> {
        let map = match &*self.aborted.aborted.read() {
            Aborted::Unknown => return None,
            Aborted::Memory(entries) => return Some(txn_index::search(entries, range, found)),
            // Before the entries can come into memory: then the file is to be replaced, and its map
            // must not be found afterwards.
            Aborted::File => self.map_index(files, Kind::TxnIndex, &self.txn_index_path()),
        };
        if let Ok(map) = map {
            let bytes = map.all();
            if self.txn_index_holds(files, &bytes) {
                return Some(txn_index::search(bytes.as_chunks().0, range, found));
            }
        }
        self.doubt_file();
        None
    }

    /// How many entries are in memory.
    pub(crate) fn aborted_len(&self) -> usize {
        match &*self.aborted.aborted.read() {
            Aborted::Memory(entries) => entries.len(),
            Aborted::Unknown | Aborted::File => 0,
        }
    }

    /// Takes the entries into memory, to add to them.
    pub(crate) fn load_aborted(&self, files: &Files) -> Result<()> {
        if !matches!(*self.aborted.aborted.read(), Aborted::File) {
            return Ok(());
        }
        let bytes = read_all(&*files.fs, &self.txn_index_path()).unwrap_or_default();
        if !self.txn_index_holds(files, &bytes) {
            self.doubt_file();
            return Ok(());
        }
        *self.aborted.aborted.write() = Aborted::Memory(bytes.as_chunks().0.to_vec());
        Ok(())
    }

    /// Notes one more, which is below the published length only later. The entries are in memory.
    pub(crate) fn add_aborted(&self, transaction: &AbortedTxn) {
        if let Aborted::Memory(entries) = &mut *self.aborted.aborted.write() {
            entries.push(transaction.encode());
        }
    }

    /// Notes what was found in the batches.
    pub(crate) fn set_aborted(&self, transactions: &[AbortedTxn]) {
        let entries = transactions.iter().map(AbortedTxn::encode).collect();
        *self.aborted.aborted.write() = Aborted::Memory(entries);
    }

    /// Writes the entries, or removes a file where there are none. Durable when it returns, unless
    /// that is to be later, since the `.index` that is written next says that it is right. False if
    /// it must not say so: the entries are not known, or there is no room for them.
    pub(super) fn store_aborted(&self, files: &Files, durability: Durability) -> Result<bool> {
        let entries = match &*self.aborted.aborted.read() {
            Aborted::Unknown => return Ok(false),
            Aborted::File => return Ok(true),
            Aborted::Memory(entries) => entries.as_flattened().to_vec(),
        };
        let path = self.txn_index_path();
        if !entries.is_empty() {
            let written = replace_with(&*files.fs, &path, &entries, durability);
            match written.context("write", &path) {
                Err(error) if error.is_disk_full() => return Ok(false),
                written => written?,
            }
            files.forget_indexes(self.key);
        } else if self.has_txn_index() {
            remove_if_there(&*files.fs, &path).context("remove", &path)?;
        } else {
            return Ok(true);
        }
        if durability == Durability::Now {
            files.fs.sync_dir(&self.dir).context("sync", &self.dir)?;
        }
        self.aborted.has_file.store(!entries.is_empty(), Ordering::Release);
        if !entries.is_empty() {
            self.aborted.checked.store(true, Ordering::Release);
            *self.aborted.aborted.write() = Aborted::File;
        }
        Ok(true)
    }

    /// Whether a file can be this segment's: its format has no checksum, so the last entry's marker
    /// is looked for.
    fn txn_index_holds(&self, files: &Files, bytes: &[u8]) -> bool {
        if self.aborted.checked.load(Ordering::Acquire) {
            return true;
        }
        let last = txn_index::last_of(bytes, self.base_offset);
        let holds = last.is_some_and(|last| {
            let mut found = None;
            let walked = self.each_from(files, last.last_offset, |batch, marker| {
                found = found.or(Some((batch.last_offset(), batch.producer_id, marker)));
            });
            let is_its_marker =
                |(offset, producer_id, marker): (i64, i64, Option<EndTxnMarker>)| {
                    (offset, producer_id) == (last.last_offset, last.producer_id)
                        && marker.is_some_and(|marker| txn_index::is_abort(&marker))
                };
            walked.is_ok() && found.is_some_and(is_its_marker)
        });
        self.aborted.checked.store(holds, Ordering::Release);
        holds
    }

    /// Has the entries looked for in the batches, unless they came into memory meanwhile.
    fn doubt_file(&self) {
        let mut aborted = self.aborted.aborted.write();
        if matches!(*aborted, Aborted::File) {
            *aborted = Aborted::Unknown;
        }
    }

    pub(super) fn txn_index_path(&self) -> PathBuf {
        self.dir.join(file_name(self.base_offset, "txnindex"))
    }
}
