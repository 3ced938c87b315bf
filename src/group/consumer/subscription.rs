//! What members subscribe to, resolved against the topics there are.

use super::Patterns;
use super::assignor::{Subscriber, Work};
use super::state::{ConsumerMember, ConsumerState};
use crate::group::Topics;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use tidelog_protocol::{Str, Uuid};

/// The subscriptions of a group's members, each different one resolved once.
pub(super) struct Resolved {
    subscriptions: Vec<BTreeSet<Uuid>>,
    /// Each member's subscription, in the order of members.
    of_member: Vec<usize>,
}

impl Resolved {
    pub(super) fn new(
        topics: &Topics,
        members: &BTreeMap<Str, ConsumerMember>,
        patterns: &mut Patterns,
    ) -> Self {
        patterns.refresh(topics, members);
        let mut known: BTreeMap<(&[Str], Option<&Str>), usize> = BTreeMap::new();
        let mut subscriptions = Vec::new();
        let of_member = members.values().map(|member| {
            let (names, regex) = (member.topics.as_slice(), member.regex.as_ref());
            *known.entry((names, regex)).or_insert_with(|| {
                subscriptions.push(resolve(topics, names, regex, patterns));
                subscriptions.len() - 1
            })
        });
        let of_member = of_member.collect();
        Self { subscriptions, of_member }
    }

    /// What tells whether the topics subscribed to are still the same: their names, ids and
    /// partition counts. Zero when there are none.
    pub(super) fn hash(&self, topics: &Topics) -> i64 {
        let ids: BTreeSet<&Uuid> = self.subscriptions.iter().flatten().collect();
        let names: BTreeSet<&Str> = ids.into_iter().filter_map(|id| topics.name(id)).collect();
        let mut hash = Sha256::new();
        for (name, shape) in names.iter().filter_map(|name| Some((name, topics.get(name)?))) {
            hash.update(name.as_bytes());
            hash.update([0]);
            hash.update(shape.id);
            hash.update(shape.partitions.to_be_bytes());
        }
        let mut first = [0; 8];
        first.copy_from_slice(&hash.finalize()[..8]);
        if names.is_empty() { 0 } else { i64::from_be_bytes(first) }
    }

    /// The work to be dealt out.
    pub(super) fn work<'a>(self, topics: &Topics, state: &'a ConsumerState) -> Work<'a> {
        let ids: BTreeSet<Uuid> = self.subscriptions.iter().flatten().copied().collect();
        let counted = |id: Uuid| Some((id, topics.get(topics.name(&id)?)?.partitions));
        let members = state.members.iter().zip(self.of_member);
        let members = members.map(|((id, member), subscription)| Subscriber {
            id,
            instance: member.instance_id.as_ref(),
            subscription,
            last: state.target(id),
        });
        Work {
            topics: ids.into_iter().filter_map(counted).collect(),
            members: members.collect(),
            subscriptions: self.subscriptions,
        }
    }
}

fn resolve(
    topics: &Topics,
    names: &[Str],
    regex: Option<&Str>,
    patterns: &Patterns,
) -> BTreeSet<Uuid> {
    let named = names.iter().filter_map(|name| Some(topics.get(name)?.id));
    let matching = regex.and_then(|regex| patterns.topics(regex));
    named.chain(matching.into_iter().flatten().copied()).collect()
}
