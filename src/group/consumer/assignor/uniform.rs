//! `uniform`: as even as subscriptions allow, and sticky.
//!
//! Members keep what they had. What nobody has goes to whoever has least; then partitions move,
//! one at a time, from a member to one that has at least two fewer. **In the end no partition is
//! with a member that has more than one partition more than another that could have it.**

use super::Work;
use crate::group::consumer::partitions::{Partition, Partitions};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use tidelog_protocol::Uuid;

pub(super) fn assign(work: &Work<'_>) -> Vec<Partitions> {
    let mut deal = Deal::new(work);
    let left = deal.keep();
    deal.hand_out(left);
    deal.level();
    deal.parts.into_iter().map(|part| part.into_iter().flat_map(of_topic).collect()).collect()
}

fn of_topic((topic, indexes): (Uuid, BTreeSet<i32>)) -> impl Iterator<Item = Partition> {
    indexes.into_iter().map(move |index| (topic, index))
}

struct Deal<'a> {
    work: &'a Work<'a>,
    parts: Vec<BTreeMap<Uuid, BTreeSet<i32>>>,
    loads: Vec<usize>,
    /// The members of each subscription, by how much they have.
    by_load: Vec<BTreeSet<(usize, usize)>>,
    /// All members, likewise.
    all_by_load: BTreeSet<(usize, usize)>,
    /// The subscriptions that have a topic.
    subscriptions: BTreeMap<Uuid, Vec<usize>>,
}

impl<'a> Deal<'a> {
    fn new(work: &'a Work<'a>) -> Self {
        let mut by_load = vec![BTreeSet::new(); work.subscriptions.len()];
        for (at, member) in work.members.iter().enumerate() {
            by_load[member.subscription].insert((0, at));
        }
        let mut subscriptions: BTreeMap<Uuid, Vec<usize>> = BTreeMap::new();
        for (at, topics) in work.subscriptions.iter().enumerate() {
            let known = topics.iter().filter(|topic| work.topics.contains_key(*topic));
            known.for_each(|topic| subscriptions.entry(*topic).or_default().push(at));
        }
        Self {
            work,
            parts: vec![BTreeMap::new(); work.members.len()],
            loads: vec![0; work.members.len()],
            by_load,
            all_by_load: (0..work.members.len()).map(|at| (0, at)).collect(),
            subscriptions,
        }
    }

    /// Gives each member what it had and may still have; what is left over comes back, topics
    /// that few subscribe to first.
    fn keep(&mut self) -> Vec<Partition> {
        let mut kept = HashSet::new();
        for (at, member) in self.work.members.iter().enumerate() {
            let topics = &self.work.subscriptions[member.subscription];
            for partition in member.last.iter() {
                let (topic, index) = partition;
                let exists = self.work.topics.get(&topic).is_some_and(|count| index < *count);
                if exists && topics.contains(&topic) && kept.insert(partition) {
                    self.give(at, partition);
                }
            }
        }
        let subscribers = |topic: &Uuid| -> usize {
            let subscriptions = self.subscriptions.get(topic).into_iter().flatten();
            subscriptions.map(|it| self.by_load[*it].len()).sum()
        };
        let mut topics: Vec<(usize, Uuid, i32)> = self
            .work
            .topics
            .iter()
            .map(|(topic, count)| (subscribers(topic), *topic, *count))
            .collect();
        topics.sort_unstable();
        let all =
            topics.into_iter().flat_map(|(_, topic, count)| (0..count).map(move |it| (topic, it)));
        all.filter(|partition| !kept.contains(partition)).collect()
    }

    fn hand_out(&mut self, left: Vec<Partition>) {
        for partition in left {
            if let Some((_, at)) = self.least(&partition.0) {
                self.give(at, partition);
            }
        }
    }

    /// Each move brings two members closer to each other, so there is a last one.
    fn level(&mut self) {
        while let Some((from, to, partition)) = self.next_move() {
            self.take(from, partition);
            self.give(to, partition);
        }
    }

    fn next_move(&self) -> Option<(usize, usize, Partition)> {
        let (lowest, _) = *self.all_by_load.first()?;
        let heavy = self.all_by_load.iter().rev().take_while(|(load, _)| *load >= lowest + 2);
        for (load, from) in heavy {
            for (topic, indexes) in &self.parts[*from] {
                let Some((least, to)) = self.least(topic) else { continue };
                if let Some(index) = indexes.last().filter(|_| least + 2 <= *load) {
                    return Some((*from, to, (*topic, *index)));
                }
            }
        }
        None
    }

    /// The member that has least of those that subscribe to a topic, and how much it has.
    fn least(&self, topic: &Uuid) -> Option<(usize, usize)> {
        let subscriptions = self.subscriptions.get(topic)?;
        subscriptions.iter().filter_map(|it| self.by_load[*it].first()).min().copied()
    }

    fn give(&mut self, at: usize, (topic, index): Partition) {
        self.parts[at].entry(topic).or_default().insert(index);
        self.set_load(at, self.loads[at] + 1);
    }

    fn take(&mut self, at: usize, (topic, index): Partition) {
        if let Some(indexes) = self.parts[at].get_mut(&topic) {
            indexes.remove(&index);
            if indexes.is_empty() {
                self.parts[at].remove(&topic);
            }
        }
        self.set_load(at, self.loads[at] - 1);
    }

    fn set_load(&mut self, at: usize, load: usize) {
        let last = std::mem::replace(&mut self.loads[at], load);
        for set in [&mut self.by_load[self.work.members[at].subscription], &mut self.all_by_load] {
            set.remove(&(last, at));
            set.insert((load, at));
        }
    }
}
