//! How much one webhook holds in memory, over all its partitions.
//!
//! [`super::delivery`] bounds each partition; this bounds their sum, which a topic with many
//! partitions would let grow. **A partition of which nothing is held is read whatever the others
//! hold**, one record at a time, so that a record that fails holds up no other partition; when the
//! [`Memory`] of all webhooks is used up, only while nothing at all is held.

use super::delivery::{DOWN_BYTES, Source};
use super::memory::Memory;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use tokio::sync::watch;

/// What a webhook holds; messages take their share of it and give it back when they are dropped.
pub(super) struct Window {
    state: watch::Sender<State>,
    memory: Arc<Memory>,
}

/// What is to be read of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// As much as it has room for.
    Many,
    /// A few records.
    Little,
    /// One record, since none can be delivered.
    One,
}

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
/// The same, when nothing can be delivered: what is left when the rest is let go of, which is read
/// again when something can.
const BYTES_MAX_DOWN: usize = DOWN_BYTES;

impl Held {
    fn is_full(self) -> bool {
        self.bytes >= if self.down { BYTES_MAX_DOWN } else { BYTES_MAX }
    }
}

impl Window {
    /// A window with nothing in it.
    pub(super) fn new(memory: Arc<Memory>) -> Arc<Self> {
        Arc::new(Self { state: watch::Sender::new(State::default()), memory })
    }

    /// What is held now.
    pub(super) fn held(&self) -> Held {
        self.state.borrow().held
    }

    /// What is to be read of a partition now, if anything.
    pub(super) fn room_now(&self, source: Source) -> Option<Room> {
        let scarce = self.memory.is_full();
        let State { held, by_source } = &*self.state.borrow();
        let little = if held.down { Room::One } else { Room::Little };
        match (scarce, held.is_full()) {
            (false, false) => Some(Room::Many),
            (true, _) => by_source.is_empty().then_some(little),
            (false, true) => (!by_source.contains_key(&source)).then_some(little),
        }
    }

    /// Waits until more of a partition is to be read.
    pub(super) async fn room(&self, source: Source) {
        let (mut own, mut all) = (self.state.subscribe(), self.memory.watch());
        while self.room_now(source).is_none() {
            // The sender is `self`, so it is there.
            tokio::select! {
                _ = own.changed() => {}
                () = all.changed() => {}
            }
        }
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
        self.memory.take(bytes);
        Share { window: self.clone(), source, bytes }
    }

    /// Wakes those who wait only when there is room again, or nothing of a partition any more.
    fn change(&self, change: impl FnOnce(&mut State)) {
        self.state.send_if_modified(|state| {
            let (was_full, sources) = (state.held.is_full(), state.by_source.len());
            change(state);
            (was_full && !state.held.is_full()) || state.by_source.len() < sources
        });
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.window.memory.give(self.bytes);
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
        let window = Window::new(Memory::of_all());
        let shares =
            [BYTES_MAX_DOWN, BYTES_MAX - BYTES_MAX_DOWN].map(|bytes| window.take(1, bytes));
        let mut room = Box::pin(window.room(1));
        assert!(window.held().is_full() && room.as_mut().now_or_never().is_none());
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
        let window = Window::new(Memory::of_all());
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

    #[test]
    fn when_an_accounts_memory_is_used_up_each_of_its_webhooks_holds_a_little_and_others_much() {
        let all = Memory::new(16, None);
        let [one, other] = [10; 2].map(|max| Memory::new(max, Some(all.clone())));
        let [greedy, modest] = [(); 2].map(|()| Window::new(one.clone()));
        let theirs = Window::new(other.clone());
        // What goes beyond its share is not the others'.
        let held = [greedy.take(1, 4), greedy.take(1, 20)];
        assert_eq!(modest.room_now(1), Some(Room::Little));
        modest.set_down(true);
        assert_eq!(modest.room_now(1), Some(Room::One));
        modest.set_down(false);
        assert_eq!((greedy.room_now(2), theirs.room_now(1)), (None, Some(Room::Many)));
        let record = modest.take(1, 1);
        let mut rooms = [2, 3].map(|source| Box::pin(modest.room(source)));
        assert!(rooms[0].as_mut().now_or_never().is_none());
        drop(record);
        assert!(rooms[0].as_mut().now_or_never().is_some());

        // The process's memory is used up, too: the other account waits for the first.
        let theirs_held = theirs.take(1, 6);
        let mut room = Box::pin(theirs.room(1));
        let mut own = Box::pin(greedy.room(1));
        assert!(room.as_mut().now_or_never().is_none() && own.as_mut().now_or_never().is_none());
        drop(held);
        assert!(room.as_mut().now_or_never().is_some() && own.as_mut().now_or_never().is_some());
        assert!(!one.is_full());
        drop(theirs_held);
        let _fits = [theirs.take(1, 9), greedy.take(1, 6)];
        assert_eq!([&all, &one, &other].map(|it| it.is_full()), [false; 3]);
    }
}
