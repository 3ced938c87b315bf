//! `range`: of each topic a run of partitions to each member.

use super::Work;
use crate::group::consumer::Partitions;

/// Static members come first, by instance, so that theirs stay when others come and go.
pub(super) fn assign(work: &Work<'_>) -> Vec<Partitions> {
    let mut parts = vec![Partitions::default(); work.members.len()];
    for (topic, count) in &work.topics {
        let mut members: Vec<usize> = work.subscribers(topic).collect();
        members.sort_by_key(|at| {
            let member = &work.members[*at];
            (member.instance.is_none(), member.instance, member.id)
        });
        let mut next = 0;
        for (place, at) in members.iter().enumerate() {
            let end = next + share(*count, members.len(), place);
            (next..end).for_each(|index| {
                parts[*at].insert((*topic, index));
            });
            next = end;
        }
    }
    parts
}

/// How many of `count` go to the `place`th of so many members: the first get the odd ones.
fn share(count: i32, members: usize, place: usize) -> i32 {
    let count = usize::try_from(count).unwrap_or(0);
    let share = count / members + usize::from(place < count % members);
    i32::try_from(share).unwrap_or(i32::MAX)
}
