//! Things named more than once in a request. A name costs a client a few bytes and its answer us
//! many more, so **what is described is described once**, and looking for repeats is linear.

use std::collections::HashSet;
use std::hash::Hash;

/// Those that are there more than once.
pub(super) fn repeated<'a, T: Clone + Eq + Hash + 'a>(
    items: impl Iterator<Item = &'a T>,
) -> HashSet<T> {
    let mut seen = HashSet::new();
    items.filter(|item| !seen.insert(*item)).cloned().collect()
}

/// Keeps the first of those with the same key, in order.
pub(super) fn keep_first<T, K: Eq + Hash>(items: &mut Vec<T>, key: impl Fn(&T) -> K) {
    let mut seen = HashSet::with_capacity(items.len());
    items.retain(|item| seen.insert(key(item)));
}
