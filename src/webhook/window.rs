//! How much one webhook holds in memory, over all its partitions.
//!
//! [`super::delivery`] bounds each partition; this bounds their sum, which a topic with many
//! partitions would let grow. **A partition of which nothing is held is read whatever the others
//! hold**, one record at a time, so that a record that fails holds up no other partition.

use std::sync::Arc;
use tokio::sync::watch;

/// What a webhook holds; messages take their share of it and give it back when they are dropped.
pub(super) struct Window(watch::Sender<Held>);

/// What is held.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Held {
    pub(super) messages: usize,
    pub(super) bytes: usize,
    /// The endpoint seems to be down: reading on would only fill memory.
    down: bool,
}

/// A message's part of what is held.
pub(super) struct Share {
    window: Arc<Window>,
    bytes: usize,
}

/// Bytes that are held before a webhook is read for no further, and what a last read brings.
const BYTES_MAX: usize = 16 << 20;
/// The same, when nothing can be delivered.
const BYTES_MAX_DOWN: usize = 1 << 20;

impl Held {
    fn is_full(self) -> bool {
        self.bytes >= if self.down { BYTES_MAX_DOWN } else { BYTES_MAX }
    }
}

impl Window {
    /// A window with nothing in it.
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(watch::Sender::new(Held::default())))
    }

    /// What is held now.
    pub(super) fn held(&self) -> Held {
        *self.0.borrow()
    }

    /// Whether no more is to be read.
    pub(super) fn is_full(&self) -> bool {
        self.held().is_full()
    }

    /// Waits until more is to be read.
    pub(super) async fn room(&self) {
        // The sender is `self`, so it is there.
        let _ = self.0.subscribe().wait_for(|held| !held.is_full()).await;
    }

    /// Notes whether the endpoint seems to be down.
    pub(super) fn set_down(&self, down: bool) {
        self.change(|held| held.down = down);
    }

    /// Takes room for a message, if there is any or not.
    pub(super) fn take(self: &Arc<Self>, bytes: usize) -> Share {
        self.change(|held| {
            held.messages += 1;
            held.bytes += bytes;
        });
        Share { window: self.clone(), bytes }
    }

    /// Wakes those who wait only when there is room again.
    fn change(&self, change: impl FnOnce(&mut Held)) {
        self.0.send_if_modified(|held| {
            let was_full = held.is_full();
            change(held);
            was_full && !held.is_full()
        });
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.window.change(|held| {
            held.messages -= 1;
            held.bytes -= self.bytes;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn a_full_window_has_room_when_messages_are_dropped_or_the_endpoint_is_back() {
        let window = Window::new();
        let shares = [BYTES_MAX_DOWN, BYTES_MAX - BYTES_MAX_DOWN].map(|bytes| window.take(bytes));
        let mut room = Box::pin(window.room());
        assert!(window.is_full() && room.as_mut().now_or_never().is_none());
        let [first, second] = shares;
        drop(second);
        assert!(room.as_mut().now_or_never().is_some());
        window.set_down(true);
        let mut room = Box::pin(window.room());
        assert!(room.as_mut().now_or_never().is_none());
        window.set_down(false);
        assert!(room.as_mut().now_or_never().is_some());
        drop(first);
        assert_eq!((window.held().messages, window.held().bytes), (0, 0));
    }
}
