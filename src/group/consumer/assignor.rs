//! The assignors that the coordinator knows: who is to have which partition.
//!
//! **Every partition of a topic that a member subscribes to goes to exactly one of those members,
//! and the same input gives the same assignment.**

mod range;
#[cfg(test)]
mod tests;
mod uniform;

use super::partitions::Partitions;
use std::collections::{BTreeMap, BTreeSet};
use tidelog_protocol::{Str, Uuid};

/// A way to deal out partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assignor {
    /// Even over all topics, and moves as little as it can. The default.
    Uniform,
    /// The same indexes of every topic to the same member, so that topics can be joined.
    Range,
}

/// What is to be dealt out, and to whom.
#[derive(Debug, Default)]
pub(super) struct Work<'a> {
    /// The partition counts of topics subscribed to.
    pub(super) topics: BTreeMap<Uuid, i32>,
    /// The different subscriptions that members have.
    pub(super) subscriptions: Vec<BTreeSet<Uuid>>,
    /// The members, by id.
    pub(super) members: Vec<Subscriber<'a>>,
}

/// A member as assignors see it.
#[derive(Debug)]
pub(super) struct Subscriber<'a> {
    pub(super) id: &'a Str,
    /// Set for static members, which keep their place when their id changes.
    pub(super) instance: Option<&'a Str>,
    /// Its place in [`Work::subscriptions`].
    pub(super) subscription: usize,
    /// Its last target.
    pub(super) last: &'a Partitions,
}

impl Assignor {
    /// Every assignor; the first is the default, and wins when votes are even.
    pub const ALL: &[Self] = &[Self::Uniform, Self::Range];

    /// As clients call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Range => "range",
        }
    }

    /// The assignor of this name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|it| it.name() == name)
    }

    /// Each member's part, in the order of [`Work::members`].
    pub(super) fn assign(self, work: &Work<'_>) -> Vec<Partitions> {
        match self {
            Self::Uniform => uniform::assign(work),
            Self::Range => range::assign(work),
        }
    }
}

impl Work<'_> {
    /// The members that subscribe to a topic.
    fn subscribers(&self, topic: &Uuid) -> impl Iterator<Item = usize> {
        let subscribed: Vec<bool> =
            self.subscriptions.iter().map(|topics| topics.contains(topic)).collect();
        let members = self.members.iter().enumerate();
        members.filter(move |(_, it)| subscribed[it.subscription]).map(|(at, _)| at)
    }
}
