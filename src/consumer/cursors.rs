//! How far a group member has read, and how much of that is committed.
//!
//! **A position outlives a rebalance as long as the committed offset it rests on stands**: if
//! nobody else has committed for the partition, nobody else has got further with it, and what was
//! delivered here is not delivered again. Unlike Kafka, whose eager consumers go back to the
//! committed offset at every rebalance.
//!
//! **Of a delivery that has not arrived nothing is committed, and the next request takes it back.**

use super::receipt::Receipt;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tidelog_protocol::{Str, Uuid};

/// Where to start in a partition that nothing is committed for (`auto.offset.reset`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    /// At the first record there is.
    Earliest,
    /// At what is produced from now on.
    Latest,
    /// Nowhere: it is an error.
    None,
}

/// A partition by topic and index.
pub(super) type Place = (Str, i32);

/// One partition's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    /// The next offset to deliver.
    pub(super) position: i64,
    /// What the group has committed, as far as is known here.
    pub(super) committed: Option<i64>,
    /// A topic made anew under an old name has another.
    topic_id: Uuid,
}

/// The cursors of a member, those of partitions that it does not have now included.
#[derive(Debug, Default)]
pub(super) struct Cursors {
    by_place: BTreeMap<Place, Cursor>,
    /// When the first delivery was made that is not committed.
    uncommitted_since: Option<Duration>,
    /// The last delivery, until it is known to have arrived or was taken back.
    last: Option<Delivery>,
}

/// Records that are on their way.
#[derive(Debug)]
struct Delivery {
    receipt: Arc<Receipt>,
    /// Where their partitions were before.
    from: BTreeMap<Place, i64>,
}

impl Cursors {
    /// Finds where to go on in a partition that is now the member's: where it was, else at the
    /// committed offset, else at `reset`.
    pub(super) fn assign(
        &mut self,
        place: Place,
        topic_id: Uuid,
        committed: Option<i64>,
        reset: Option<i64>,
    ) -> Option<Cursor> {
        let known = self.by_place.get(&place);
        let known = known.filter(|it| it.topic_id == topic_id && it.committed == committed);
        let position = known.map(|it| it.position).or(committed).or(reset)?;
        let cursor = Cursor { position, committed, topic_id };
        self.by_place.insert(place, cursor);
        Some(cursor)
    }

    /// Forgets partitions that are gone.
    pub(super) fn retain(&mut self, exists: impl Fn(&Place, &Uuid) -> bool) {
        self.by_place.retain(|place, cursor| exists(place, &cursor.topic_id));
    }

    pub(super) fn get(&self, place: &Place) -> Option<Cursor> {
        self.by_place.get(place).copied()
    }

    /// Records up to `position` were delivered, or are gone.
    pub(super) fn advance(&mut self, place: &Place, position: i64, now: Duration) {
        if let Some(cursor) = self.by_place.get_mut(place) {
            cursor.position = position;
            self.note_uncommitted(now);
        }
    }

    /// The same, with the records on their way to whoever writes the receipt.
    pub(super) fn deliver(
        &mut self,
        nexts: impl Iterator<Item = (Place, i64)>,
        receipt: Arc<Receipt>,
        now: Duration,
    ) {
        let mut from = BTreeMap::new();
        for (place, next) in nexts {
            let Some(cursor) = self.get(&place) else { continue };
            self.advance(&place, next, now);
            from.insert(place, cursor.position);
        }
        self.last = Some(Delivery { receipt, from });
    }

    /// Ends the last delivery, since more is asked for: if it did not arrive, its partitions go
    /// back to where it began, but for those that the group has committed further for.
    pub(super) fn settle(&mut self) {
        let Some(last) = self.last.take().filter(|last| !last.receipt.has_arrived()) else {
            return;
        };
        for (place, from) in last.from {
            if let Some(cursor) = self.by_place.get_mut(&place)
                && cursor.committed.is_none_or(|committed| committed <= from)
            {
                cursor.position = cursor.position.min(from);
            }
        }
    }

    /// There may be something to commit, if only where an unread partition was begun.
    pub(super) fn note_uncommitted(&mut self, now: Duration) {
        self.uncommitted_since.get_or_insert(now);
    }

    /// Takes in what was committed for a partition whose log ends at `end`. The position moves
    /// there if it is behind.
    pub(super) fn committed(&mut self, place: &Place, offset: i64, end: i64) {
        if let Some(cursor) = self.by_place.get_mut(place) {
            cursor.committed = Some(offset);
            if offset <= end {
                cursor.position = cursor.position.max(offset);
            }
        }
    }

    /// When an automatic commit is due.
    pub(super) fn commit_due(&self, interval: Duration) -> Option<Duration> {
        self.uncommitted_since.map(|since| since + interval)
    }

    /// A commit of all that [`Cursors::uncommitted`] gives begins.
    pub(super) fn committing(&mut self, now: Duration) {
        self.last.take_if(|last| last.receipt.has_arrived());
        // What is on its way is left to another commit.
        self.uncommitted_since = self.last.as_ref().map(|_| now);
    }

    /// Of these partitions, what a commit would change.
    pub(super) fn uncommitted<'a>(
        &'a self,
        places: impl Iterator<Item = Place> + 'a,
    ) -> impl Iterator<Item = (Place, i64)> + 'a {
        places.filter_map(|place| {
            let cursor = self.by_place.get(&place)?;
            let last = self.last.as_ref().and_then(|last| last.from.get(&place));
            let arrived = last.map_or(cursor.position, |from| cursor.position.min(*from));
            (cursor.committed != Some(arrived)).then_some((place, arrived))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: Uuid = [1; 16];

    fn place() -> Place {
        ("red".into(), 0)
    }

    fn start(cursors: &mut Cursors, committed: Option<i64>, reset: Option<i64>) -> Option<i64> {
        cursors.assign(place(), ID, committed, reset).map(|cursor| cursor.position)
    }

    #[test]
    fn a_partition_starts_at_the_committed_offset_else_where_the_policy_says() {
        assert_eq!(start(&mut Cursors::default(), Some(7), Some(0)), Some(7));
        assert_eq!(start(&mut Cursors::default(), None, Some(3)), Some(3));
        assert_eq!(start(&mut Cursors::default(), None, None), None);
    }

    #[test]
    fn a_position_outlives_a_rebalance_unless_someone_else_committed() {
        let mut cursors = Cursors::default();
        start(&mut cursors, None, Some(0));
        cursors.advance(&place(), 5, Duration::ZERO);
        assert_eq!(start(&mut cursors, None, Some(0)), Some(5));
        assert_eq!(start(&mut cursors, Some(9), Some(0)), Some(9));
        cursors.advance(&place(), 12, Duration::ZERO);
        cursors.committed(&place(), 12, 12);
        assert_eq!(start(&mut cursors, Some(12), Some(0)), Some(12));
    }

    #[test]
    fn a_topic_made_anew_is_read_from_its_own_start() {
        let mut cursors = Cursors::default();
        start(&mut cursors, None, Some(0));
        cursors.advance(&place(), 5, Duration::ZERO);
        let anew = cursors.assign(place(), [2; 16], None, Some(0));
        assert_eq!(anew.map(|cursor| cursor.position), Some(0));
        cursors.retain(|_, id| *id == ID);
        assert_eq!(cursors.get(&place()), None);
    }

    #[test]
    fn a_commit_is_due_an_interval_after_the_first_delivery_it_covers() {
        let mut cursors = Cursors::default();
        start(&mut cursors, Some(2), None);
        let second = Duration::from_secs(1);
        assert_eq!(cursors.commit_due(second), None);
        assert_eq!(cursors.uncommitted([place()].into_iter()).next(), None);
        cursors.advance(&place(), 3, second);
        cursors.advance(&place(), 4, second * 9);
        assert_eq!(cursors.commit_due(second), Some(second * 2));
        assert_eq!(cursors.uncommitted([place()].into_iter()).next(), Some((place(), 4)));
        cursors.committing(second * 9);
        cursors.committed(&place(), 4, 9);
        assert_eq!(cursors.commit_due(second), None);
        assert_eq!(cursors.uncommitted([place()].into_iter()).next(), None);
    }

    #[test]
    fn a_commit_ahead_of_the_position_moves_it_unless_the_log_ends_before() {
        let mut cursors = Cursors::default();
        start(&mut cursors, None, Some(3));
        for (offset, position) in [(2, 3), (7, 7), (10, 7), (9, 9)] {
            cursors.committed(&place(), offset, 9);
            assert_eq!(cursors.get(&place()).map(|cursor| cursor.position), Some(position));
        }
    }

    #[test]
    fn what_has_not_arrived_is_not_committed_and_goes_back_unless_someone_else_committed() {
        let receipt = || Arc::new(Receipt::new(|| false));
        let mut cursors = Cursors::default();
        let second = Duration::from_secs(1);
        start(&mut cursors, Some(2), None);
        let on_its_way = receipt();
        cursors.deliver([(place(), 5)].into_iter(), on_its_way.clone(), second);
        cursors.committing(second * 2);
        assert_eq!(cursors.uncommitted([place()].into_iter()).next(), None);
        assert_eq!(cursors.commit_due(second), Some(second * 3));
        on_its_way.sent();
        cursors.committing(second * 3);
        assert_eq!(cursors.uncommitted([place()].into_iter()).next(), Some((place(), 5)));
        cursors.settle();
        cursors.deliver([(place(), 9)].into_iter(), receipt(), second);
        cursors.settle();
        assert_eq!(cursors.get(&place()).map(|cursor| cursor.position), Some(5));
        cursors.deliver([(place(), 9)].into_iter(), receipt(), second);
        assert_eq!(start(&mut cursors, Some(7), None), Some(7));
        cursors.settle();
        assert_eq!(cursors.get(&place()).map(|cursor| cursor.position), Some(7));
    }
}
