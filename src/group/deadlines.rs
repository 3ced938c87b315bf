//! The deadlines of every group, in one queue with one task.

use super::driver::Slot;
use crate::clock;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::Notify;

/// What is due when; cheap to clone. A group has one live entry, and an earlier one for each time
/// its deadline moved forward, which goes when it is due.
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
    due: BTreeMap<(Duration, u64), Weak<Slot>>,
    count: u64,
}

impl Deadlines {
    pub(super) fn schedule(&self, at: Duration, slot: Weak<Slot>) {
        let mut queue = self.shared.queue.lock();
        let first = queue.due.first_key_value().map(|((at, _), _)| *at);
        queue.count += 1;
        let key = (at, queue.count);
        queue.due.insert(key, slot);
        if first.is_none_or(|first| at < first) {
            self.shared.earlier.notify_one();
        }
    }

    /// Fires deadlines as they come due, for ever.
    pub async fn run(&self) {
        loop {
            let next = match self.pop(clock::now()) {
                Ok(slot) => {
                    slot.iter().for_each(|slot| slot.expire());
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
    fn pop(&self, now: Duration) -> Result<Option<Arc<Slot>>, Option<Duration>> {
        let mut queue = self.shared.queue.lock();
        match queue.due.first_entry() {
            Some(entry) if entry.key().0 <= now => Ok(entry.remove().upgrade()),
            Some(entry) => Err(Some(entry.key().0)),
            None => Err(None),
        }
    }
}
