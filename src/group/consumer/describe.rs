//! What ConsumerGroupDescribe shows of a group.

use super::state::{AWAY, ConsumerMember, ConsumerState, Current};
use super::{Assignor, Partitions};
use crate::group::{Error, Group, State, StateName};
use tidelog_protocol::Str;

/// A consumer group in detail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerDescription {
    /// The state.
    pub state: StateName,
    /// The group's epoch.
    pub epoch: i32,
    /// The epoch that the targets are of.
    pub assignment_epoch: i32,
    /// The assignor in use.
    pub assignor: Assignor,
    /// The members, by id.
    pub members: Vec<ConsumerMemberDescription>,
}

/// A member in detail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerMemberDescription {
    /// Its id.
    pub member_id: Str,
    /// What it is and asks for.
    pub member: ConsumerMember,
    /// What it has.
    pub current: Current,
    /// What it is to have.
    pub target: Partitions,
}

impl<T> Group<T> {
    /// The group in detail, if it is one of the consumer protocol.
    pub fn describe_consumer(&self) -> Option<ConsumerDescription> {
        let State::Consumer(_) = self.state else { return None };
        let state = &self.durable.consumer;
        let members = state.members.iter().map(|(id, member)| ConsumerMemberDescription {
            member_id: id.clone(),
            member: member.clone(),
            current: state.current(id).clone(),
            target: state.target(id).clone(),
        });
        Some(ConsumerDescription {
            state: state.name(),
            epoch: state.epoch,
            assignment_epoch: state.assignment_epoch,
            assignor: state.preferred_assignor(),
            members: members.collect(),
        })
    }

    /// Whether a member of this epoch may be told what the group committed (OffsetFetch 9): any
    /// asker that names none, and any of a classic group.
    pub fn check_fetch(&self, member_id: Option<&str>, member_epoch: i32) -> Result<(), Error> {
        let State::Consumer(_) = self.state else { return Ok(()) };
        match member_id {
            None if member_epoch < 0 => Ok(()),
            id => self.durable.consumer.check_epoch(id.unwrap_or_default(), member_epoch),
        }
    }
}

impl ConsumerState {
    /// The state by name.
    pub(in crate::group) fn name(&self) -> StateName {
        let reconciled = |id| self.current(id).is_reconciled(self.assignment_epoch);
        if self.members.is_empty() {
            StateName::Empty
        } else if self.epoch > self.assignment_epoch {
            StateName::Assigning
        } else if self.members.keys().all(|id| reconciled(id)) {
            StateName::Stable
        } else {
            StateName::Reconciling
        }
    }

    /// Whether this is a member at this epoch.
    pub(in crate::group) fn check_epoch(&self, id: &str, epoch: i32) -> Result<(), Error> {
        let member = self.members.get(id).ok_or(Error::UnknownMemberId)?;
        let known = self.current(id).epoch;
        match &member.classic {
            _ if known == epoch && epoch != AWAY => Ok(()),
            Some(_) => Err(Error::IllegalGeneration),
            None => Err(Error::StaleMemberEpoch),
        }
    }
}
