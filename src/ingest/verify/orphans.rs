//! Records that have an event and no row: right if a later event deletes them.
//!
//! **Bounded**: what there is no room for is left to another look at the log. The ids' hashes are
//! cut into shares, and a look takes the first that fit.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

/// Orphans noted at a time, 16 bytes each.
const ORPHANS_MAX: usize = 1 << 20;

/// The last event of each orphan, by the hash of its id.
pub(super) struct Orphans {
    hash: RandomState,
    /// The share of this look.
    first: u64,
    last: u64,
    offsets: HashMap<u64, i64>,
    max: usize,
}

impl Default for Orphans {
    fn default() -> Self {
        Self::new(ORPHANS_MAX)
    }
}

impl Orphans {
    fn new(max: usize) -> Self {
        let (hash, offsets) = (RandomState::new(), HashMap::new());
        Self { hash, first: 0, last: u64::MAX, offsets, max }
    }

    /// Notes an event of a record.
    pub(super) fn add(&mut self, id: &str, offset: i64) {
        let hash = self.hash.hash_one(id);
        if !(self.first..=self.last).contains(&hash) {
            return;
        }
        self.offsets.insert(hash, offset);
        while self.offsets.len() > self.max {
            self.last = self.first + (self.last - self.first) / 2;
            self.offsets.retain(|hash, _| *hash <= self.last);
        }
    }

    /// Forgets a record, which was deleted.
    pub(super) fn remove(&mut self, id: &str) {
        self.offsets.remove(&self.hash.hash_one(id));
    }

    /// Those of this share that were never deleted, in order.
    pub(super) fn left(&mut self) -> Vec<i64> {
        let mut left: Vec<_> = self.offsets.drain().map(|(_, offset)| offset).collect();
        left.sort_unstable();
        left
    }

    /// Goes on to the next share, if there is one.
    pub(super) fn next_share(&mut self) -> bool {
        let Some(first) = self.last.checked_add(1) else { return false };
        (self.first, self.last) = (first, u64::MAX);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_there_is_no_room_for_is_found_in_another_look() {
        let mut orphans = Orphans::new(10);
        let (mut found, mut looks) = (Vec::new(), 0);
        loop {
            for at in 0..100 {
                orphans.add(&at.to_string(), at);
                assert!(orphans.offsets.len() <= 10);
            }
            for at in (0..100).filter(|at| at % 10 != 0) {
                orphans.remove(&at.to_string());
            }
            found.extend(orphans.left());
            looks += 1;
            if !orphans.next_share() {
                break;
            }
        }
        found.sort_unstable();
        assert_eq!(found, (0..100).step_by(10).collect::<Vec<_>>());
        assert!((10..100).contains(&looks), "{looks}");
    }
}
