//! How much the webhooks of an account hold in memory, and those of all accounts together.
//!
//! When it is used up, **a webhook that holds nothing still reads a little at a time**, so that
//! what cannot be delivered holds up no other webhook. So all webhooks hold what is said here, and
//! a little each beyond it (`reader`). What an account holds beyond its share is not counted
//! against the others.

use std::sync::Arc;
use tokio::sync::watch;

/// Bytes of messages that are held.
pub(super) struct Memory {
    held: watch::Sender<usize>,
    max: usize,
    above: Option<Arc<Memory>>,
}

/// Tells when there is room again that there was not.
pub(super) struct Changes {
    own: watch::Receiver<usize>,
    above: Option<watch::Receiver<usize>>,
}

/// Bytes that all webhooks hold before they are read for no further.
const PROCESS_BYTES_MAX: usize = 256 << 20;
/// The same, of one account.
const ACCOUNT_BYTES_MAX: usize = 64 << 20;

impl Memory {
    /// The memory of the process.
    pub(super) fn of_all() -> Arc<Self> {
        Self::new(PROCESS_BYTES_MAX, None)
    }

    /// The share of one account.
    pub(super) fn of_account(all: &Arc<Self>) -> Arc<Self> {
        Self::new(ACCOUNT_BYTES_MAX, Some(all.clone()))
    }

    /// `max` bytes, and part of what is `above`.
    pub(super) fn new(max: usize, above: Option<Arc<Self>>) -> Arc<Self> {
        Arc::new(Self { held: watch::Sender::new(0), max, above })
    }

    /// Whether no more is to be read.
    pub(super) fn is_full(&self) -> bool {
        *self.held.borrow() >= self.max || self.above.as_ref().is_some_and(|it| it.is_full())
    }

    /// Takes note of a message, if there is room or not.
    pub(super) fn take(&self, bytes: usize) {
        self.count(0, bytes);
    }

    /// Takes note that a message is dropped.
    pub(super) fn give(&self, bytes: usize) {
        self.count(bytes, 0);
    }

    /// Tells of room from now on.
    pub(super) fn watch(&self) -> Changes {
        let above = self.above.as_ref().map(|it| it.held.subscribe());
        Changes { own: self.held.subscribe(), above }
    }

    /// Counts bytes in place of those `before`. Wakes those who wait only when there is room again.
    fn count(&self, before: usize, bytes: usize) {
        let (mut was, mut is) = (0, 0);
        self.held.send_if_modified(|held| {
            was = *held;
            *held = was + bytes - before;
            is = *held;
            was >= self.max && is < self.max
        });
        // What is beyond its share is its own.
        let (was, is) = (was.min(self.max), is.min(self.max));
        if let Some(above) = self.above.as_ref().filter(|_| was != is) {
            above.count(was, is);
        }
    }
}

impl Changes {
    /// Waits until there may be room again. Cancel safe.
    pub(super) async fn changed(&mut self) {
        let above = async {
            match &mut self.above {
                Some(above) => above.changed().await,
                None => std::future::pending().await,
            }
        };
        // Whoever waits has the senders.
        tokio::select! {
            _ = self.own.changed() => {}
            _ = above => {}
        }
    }
}
