//! The groups of an account whose records cannot be read.
//!
//! **Such a group costs nobody else anything.** Whatever is asked of it is refused, as for a
//! partition that is offline, and what is stored of it stays as it is: a start that can read it
//! finds it where it was. A commit in its place would say that it never was anywhere else. Who
//! wants to begin anew deletes the group.

use super::driver::store_key;
use super::{Error, GroupType, Listing, Record, RecordError, StateName};
use crate::state::{Changes, State};
use crate::task::blocking;
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use tidelog_protocol::Str;

/// What of an account's groups could not be read at start.
pub(super) struct Unreadable {
    account: String,
    state: State,
    /// Some of the account's records are out of reach, of whichever group.
    all: AtomicBool,
    names: Mutex<BTreeSet<Str>>,
    /// Held while rows are removed, so that none goes of a group that was deleted and is new.
    removing: tokio::sync::Mutex<()>,
}

impl Unreadable {
    /// None so far.
    pub(super) fn new(account: &str, state: State) -> Self {
        let (all, names, removing) = Default::default();
        Self { account: account.to_owned(), state, all, names, removing }
    }

    /// The records of every group that can be read; the others are unreadable from now on.
    pub(super) fn read_all(&self) -> BTreeMap<Str, Vec<Record>> {
        let mut groups = BTreeMap::new();
        match self.read_into(&mut groups) {
            Ok(()) => groups.retain(|name, _| self.check(name).is_ok()),
            Err(error) => {
                let account = &self.account;
                tracing::error!(
                    "no group of account {account} can be read, and all of them are refused and \
                     left as they are: {error}"
                );
                self.all.store(true, Ordering::Release);
                groups.clear();
            }
        }
        groups
    }

    fn read_into(&self, groups: &mut BTreeMap<Str, Vec<Record>>) -> fjall::Result<()> {
        let prefix = store_key(&self.account, &[]);
        for row in self.state.groups.prefix(&prefix) {
            let (key, value) = row.into_inner()?;
            let key = Bytes::copy_from_slice(&key[prefix.len()..]);
            match Record::decode(key.clone(), Some(Bytes::copy_from_slice(&value))) {
                Ok((name, record)) => groups.entry(name).or_default().push(record),
                Err(error) => self.refuse(key, &error),
            }
        }
        Ok(())
    }

    fn refuse(&self, key: Bytes, error: &RecordError) {
        let (account, shown) = (&self.account, key.escape_ascii().to_string());
        let Ok(name) = Record::group(key) else {
            tracing::error!(
                "a record of account {account} is left as it is, and nobody knows of which group \
                 it is: key {shown}: {error}"
            );
            return;
        };
        // Once for a group: the others of its records are likely no better.
        if self.names.lock().insert(name.clone()) {
            tracing::error!(
                "group {name} of account {account} cannot be read, and is refused and left as it \
                 is until it is deleted: record {shown}: {error}"
            );
        }
    }

    /// Their names, as far as they are known.
    pub(super) fn names(&self) -> BTreeSet<Str> {
        self.names.lock().clone()
    }

    /// Refuses a group that cannot be read.
    pub(super) fn check(&self, group: &str) -> Result<(), Error> {
        let unreadable = self.all.load(Ordering::Acquire) || self.names.lock().contains(group);
        if unreadable { Err(Error::Unreadable) } else { Ok(()) }
    }

    /// What a list shows of them. Their protocol is not known; the classic one is asked for by
    /// every tool.
    pub(super) fn list(&self) -> impl Iterator<Item = (Str, Listing)> {
        let (group_type, state) = (GroupType::Classic, StateName::Unknown);
        let listing = Listing { group_type, protocol_type: Str::new(), state };
        self.names().into_iter().map(move |name| (name, listing.clone()))
    }

    /// Deletes a group that cannot be read, with all that is stored of it; none if it is not one.
    pub(super) async fn delete(&self, group: &str) -> Option<Result<(), Error>> {
        self.check(group).err()?;
        let _removing = self.removing.lock().await;
        let name = self.names.lock().get(group).cloned();
        // It was deleted meanwhile, or the store cannot even tell its rows.
        let Some(name) = name else { return self.check(group).err().map(Err) };
        let wanted = name.clone();
        let is_of_it = move |key| Record::group(key).is_ok_and(|group| group == wanted);
        let removed = self.remove(is_of_it).await;
        if removed.is_ok() {
            self.names.lock().remove(&name);
        }
        Some(removed)
    }

    /// Forgets what they committed for a topic that is gone, as far as it can be told: another
    /// may come under its name before they can be read.
    pub(super) async fn forget_topic(&self, topic: &str) {
        let _removing = self.removing.lock().await;
        let (names, gone) = (self.names(), Str::from(topic.to_owned()));
        if names.is_empty() {
            return;
        }
        let is_of_it = move |key| match Record::decode(key, None) {
            Ok((group, Record::Offset { topic, .. })) => topic == gone && names.contains(&group),
            _ => false,
        };
        // What stays was told to the log, and the topic goes all the same.
        let _ = self.remove(is_of_it).await;
    }

    async fn remove(&self, wanted: impl Fn(Bytes) -> bool + Send + 'static) -> Result<(), Error> {
        let wanted = move |key: &[u8]| wanted(Bytes::copy_from_slice(key));
        let (state, prefix) = (self.state.clone(), store_key(&self.account, &[]));
        let remove = move || state.remove_where(&state.groups, &prefix, wanted);
        blocking(remove).await.map_err(|error| {
            tracing::error!("what is stored of groups cannot be removed: {error}");
            Error::Unreadable
        })?;
        self.state.committed(&self.state.groups, Changes::new()).await;
        Ok(())
    }
}

/// Damages all that is stored of groups of this name, or mends it again.
#[cfg(test)]
pub(crate) fn damage_or_mend(state: &State, group: &str) {
    let mut changes = Vec::new();
    for row in state.groups.iter() {
        let (key, mut value) = row.into_inner().map(|(key, value)| (key, value.to_vec())).unwrap();
        let own = key.iter().position(|byte| *byte == 0).unwrap() + 1;
        if Record::group(Bytes::copy_from_slice(&key[own..])).is_ok_and(|name| &*name == group) {
            // A version that nobody knows.
            value[0] ^= 0x40;
            changes.push((key.to_vec(), Some(value)));
        }
    }
    assert!(!changes.is_empty());
    state.commit_blocking(&state.groups, changes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::{Path, PathBuf};

    fn files(dir: &Path) -> Vec<PathBuf> {
        let paths = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        let below = |path: PathBuf| if path.is_dir() { files(&path) } else { vec![path] };
        paths.flat_map(below).collect()
    }

    fn size(path: &Path) -> u64 {
        path.metadata().unwrap().len()
    }

    #[tokio::test]
    async fn an_account_whose_rows_the_store_cannot_read_is_refused_as_a_whole() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open_again(dir.path());
        let row = |account: &str| {
            let record = Record::Offset { topic: "red".into(), partition: 0, committed: None };
            let key = store_key(account, &record.encode(&"crew".into()).0);
            // So much that each is in a block of its own, however it is compressed.
            let value = (0..2000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes());
            (key, Some(value.collect()))
        };
        state.commit_blocking(&state.groups, vec![row("acme"), row("zeta")]);
        state.groups.rotate_memtable_and_wait().unwrap();
        drop(state);
        // The table of groups begins with the first account's block; others are smaller.
        let table = files(&dir.path().join("keyspaces")).into_iter().max_by_key(|path| size(path));
        let table = table.unwrap();
        let mut bytes = std::fs::read(&table).unwrap();
        bytes[100] ^= 1;
        std::fs::write(&table, bytes).unwrap();
        let unreadable = |account| Unreadable::new(account, State::open_again(dir.path()));
        let acme = unreadable("acme");
        assert!(acme.read_all().is_empty());
        assert_eq!(acme.check("crew"), Err(Error::Unreadable));
        assert_eq!(acme.check("other"), Err(Error::Unreadable), "nobody knows which there are");
        assert_eq!(acme.delete("crew").await, Some(Err(Error::Unreadable)));
        drop(acme);
        let zeta = unreadable("zeta");
        assert!(zeta.read_all().is_empty());
        assert_eq!(zeta.check("other"), Ok(()));
    }
}
