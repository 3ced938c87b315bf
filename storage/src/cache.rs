//! A bounded cache of open files and maps: what lets ten thousand idle partitions cost nothing.
//!
//! **An entry that is evicted while in use stays valid for its holder**: values are handles.

use std::collections::HashMap;
use std::io;

use parking_lot::Mutex;

/// The least recently used entries go when there are more than `capacity`.
pub(crate) struct Cache<V> {
    capacity: usize,
    state: Mutex<State<V>>,
}

struct State<V> {
    entries: HashMap<u64, (V, u64)>,
    tick: u64,
}

impl<V: Clone> Cache<V> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity, state: Mutex::new(State { entries: HashMap::new(), tick: 0 }) }
    }

    /// The entry of `key` if it is there and `fits`, else what `open` gives.
    pub(crate) fn get(
        &self,
        key: u64,
        fits: impl FnOnce(&V) -> bool,
        open: impl FnOnce() -> io::Result<V>,
    ) -> io::Result<V> {
        if let Some(value) = self.peek(key).filter(fits) {
            return Ok(value);
        }
        let value = open()?;
        let evicted = self.insert(key, value.clone());
        drop(evicted);
        Ok(value)
    }

    /// The entry of `key`, if it is there.
    pub(crate) fn peek(&self, key: u64) -> Option<V> {
        let mut state = self.state.lock();
        state.tick += 1;
        let tick = state.tick;
        state.entries.get_mut(&key).map(|(value, used)| {
            *used = tick;
            value.clone()
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.state.lock().entries.len()
    }

    pub(crate) fn remove(&self, key: u64) {
        let removed = self.state.lock().entries.remove(&key);
        drop(removed);
    }

    /// Returns what had to go, so that files are closed and maps unmapped outside of the lock.
    fn insert(&self, key: u64, value: V) -> Vec<(V, u64)> {
        let mut state = self.state.lock();
        let tick = state.tick;
        let mut evicted: Vec<_> = state.entries.insert(key, (value, tick)).into_iter().collect();
        if state.entries.len() > self.capacity {
            // An eighth at once, so that the sort is paid once in many insertions.
            let mut ages: Vec<_> =
                state.entries.iter().map(|(key, (_, used))| (*used, *key)).collect();
            ages.sort_unstable();
            for (_, key) in ages.into_iter().take(self.capacity / 8 + 1) {
                evicted.extend(state.entries.remove(&key));
            }
        }
        evicted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_entries_go_and_the_bound_holds() {
        let cache = Cache::new(16);
        let fetch = |key: u64| cache.get(key, |_| true, || Ok(key)).unwrap();
        for key in 0..100 {
            fetch(key);
            fetch(0);
            assert!(cache.state.lock().entries.len() <= 16);
        }
        let missed = std::cell::Cell::new(false);
        let open = || {
            missed.set(true);
            Ok(0)
        };
        cache.get(0, |_| true, open).unwrap();
        assert!(!missed.get(), "the entry used all the time was evicted");
    }
}
