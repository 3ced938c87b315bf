//! The deadlines of every group, in one queue with one task.

use super::driver::Slot;
use crate::clock;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::Notify;

/// What is due when; cheap to clone. **A group has at most one entry**: the next takes its place,
/// and none is left of a group that is gone.
#[derive(Clone, Default)]
pub struct Deadlines {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    earlier: Notify,
}

#[derive(Default)]
struct Queue {
    due: BTreeMap<Entry, Weak<Slot>>,
    count: u64,
}

/// When something is due, and a number that makes it unique.
pub(super) type Entry = (Duration, u64);

impl Deadlines {
    /// Puts an entry in place of the group's last one.
    pub(super) fn schedule(&self, last: Option<Entry>, at: Duration, slot: Weak<Slot>) -> Entry {
        let mut queue = self.shared.queue.lock();
        if let Some(last) = last {
            queue.due.remove(&last);
        }
        let first = queue.due.first_key_value().map(|((at, _), _)| *at);
        queue.count += 1;
        let key = (at, queue.count);
        queue.due.insert(key, slot);
        if first.is_none_or(|first| at < first) {
            self.shared.earlier.notify_one();
        }
        key
    }

    /// Forgets an entry.
    pub(super) fn cancel(&self, entry: Entry) {
        self.shared.queue.lock().due.remove(&entry);
    }

    /// Fires deadlines as they come due, for ever.
    pub async fn run(&self) {
        loop {
            let next = match self.pop(clock::now()) {
                Ok((entry, slot)) => {
                    if let Some(slot) = slot {
                        let place = slot.place().await;
                        slot.expire(entry, place);
                    }
                    continue;
                }
                Err(next) => next,
            };
            let due = async {
                match next {
                    Some(at) => tokio::time::sleep(at.saturating_sub(clock::now())).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => {}
                () = self.shared.earlier.notified() => {}
            }
        }
    }

    /// The next group that is due, if it still exists; or when something will be.
    fn pop(&self, now: Duration) -> Result<(Entry, Option<Arc<Slot>>), Option<Duration>> {
        let mut queue = self.shared.queue.lock();
        match queue.due.first_entry() {
            Some(entry) if entry.key().0 <= now => {
                let (key, slot) = entry.remove_entry();
                Ok((key, slot.upgrade()))
            }
            Some(entry) => Err(Some(entry.key().0)),
            None => Err(None),
        }
    }
}

#[cfg(test)]
impl Deadlines {
    pub(super) fn len(&self) -> usize {
        self.shared.queue.lock().due.len()
    }
}
