//! How much one webhook holds in memory, over all its partitions.
//!
//! [`super::delivery`] bounds each partition; this bounds their sum, which a topic with many
//! partitions would let grow. **A partition of which nothing is held is read whatever the others
//! hold**, one record at a time, so that a record that fails holds up no other partition.

use super::delivery::Source;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use tokio::sync::watch;

/// What a webhook holds; messages take their share of it and give it back when they are dropped.
pub(super) struct Window(watch::Sender<State>);

#[derive(Debug, Default)]
struct State {
    held: Held,
    /// Messages of each partition of which any are held.
    by_source: HashMap<Source, usize>,
}

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
    source: Source,
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
        Arc::new(Self(watch::Sender::new(State::default())))
    }

    /// What is held now.
    pub(super) fn held(&self) -> Held {
        self.0.borrow().held
    }

    /// Whether no more is to be read.
    pub(super) fn is_full(&self) -> bool {
        self.held().is_full()
    }

    /// Whether nothing of a partition is held.
    pub(super) fn holds_none_of(&self, source: Source) -> bool {
        !self.0.borrow().by_source.contains_key(&source)
    }

    /// Waits until more of a partition is to be read.
    pub(super) async fn room(&self, source: Source) {
        let has_room = |it: &State| !it.held.is_full() || !it.by_source.contains_key(&source);
        // The sender is `self`, so it is there.
        let _ = self.0.subscribe().wait_for(has_room).await;
    }

    /// Notes whether the endpoint seems to be down.
    pub(super) fn set_down(&self, down: bool) {
        self.change(|state| state.held.down = down);
    }

    /// Takes room for a message, if there is any or not.
    pub(super) fn take(self: &Arc<Self>, source: Source, bytes: usize) -> Share {
        self.change(|State { held, by_source }| {
            held.messages += 1;
            held.bytes += bytes;
            *by_source.entry(source).or_default() += 1;
        });
        Share { window: self.clone(), source, bytes }
    }

    /// Wakes those who wait only when there is room again, or nothing of a partition any more.
    fn change(&self, change: impl FnOnce(&mut State)) {
        self.0.send_if_modified(|state| {
            let (was_full, sources) = (state.held.is_full(), state.by_source.len());
            change(state);
            was_full && (!state.held.is_full() || state.by_source.len() < sources)
        });
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.window.change(|State { held, by_source }| {
            held.messages -= 1;
            held.bytes -= self.bytes;
            if let Entry::Occupied(mut messages) = by_source.entry(self.source) {
                *messages.get_mut() -= 1;
                if *messages.get() == 0 {
                    messages.remove();
                }
            }
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
        let shares =
            [BYTES_MAX_DOWN, BYTES_MAX - BYTES_MAX_DOWN].map(|bytes| window.take(1, bytes));
        let mut room = Box::pin(window.room(1));
        assert!(window.is_full() && room.as_mut().now_or_never().is_none());
        let [first, second] = shares;
        drop(second);
        assert!(room.as_mut().now_or_never().is_some());
        window.set_down(true);
        let mut room = Box::pin(window.room(1));
        assert!(room.as_mut().now_or_never().is_none());
        window.set_down(false);
        assert!(room.as_mut().now_or_never().is_some());
        drop(first);
        assert_eq!((window.held().messages, window.held().bytes), (0, 0));
    }

    #[test]
    fn a_partition_of_which_nothing_is_held_has_room_each_time_whatever_the_others_hold() {
        let window = Window::new();
        let _poison = window.take(1, BYTES_MAX);
        for _ in 0..3 {
            let mut rooms = [1, 2].map(|source| Box::pin(window.room(source)));
            assert_eq!(rooms.each_mut().map(|room| room.now_or_never().is_some()), [false, true]);
            let probe = window.take(2, 1);
            // Asked for while the one before is on its way.
            let mut room = Box::pin(window.room(2));
            assert!(room.as_mut().now_or_never().is_none());
            drop(probe);
            assert!(room.as_mut().now_or_never().is_some());
        }
    }
}
