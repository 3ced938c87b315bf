//! What a group member does next: a pure state machine over the coordinator's replies.
//!
//! ```text
//!         joined               synced
//!   Out ---------> Joined ---------------> Assigned
//!    ^               |                        |
//!    '--- rebalance, lost generation or id ---'      fenced or refused: Ended
//! ```

use super::assignor::{RANGE, Subscriber, range};
use super::subscription::{
    Partitions, read_assignment, read_topics, write_assignment, write_topics,
};
use crate::group::{Error, Heartbeat, Join, Joined, LeavingMember, Protocol, Reply, Sync};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tidelog_protocol::Str;

/// A place in a group, or the way to one.
#[derive(Debug)]
pub(super) struct Membership {
    client_id: Str,
    instance: Option<Str>,
    topics: Arc<BTreeSet<Str>>,
    member_id: Str,
    generation: i32,
    /// Partitions of all topics of the group when this member assigned them, as its leader.
    counts: Option<BTreeMap<Str, i32>>,
    stage: Stage,
}

#[derive(Debug, PartialEq)]
enum Stage {
    Out,
    /// The coordinator forgot the group; it makes it anew, but not for a client in a hurry.
    Waiting,
    Joined {
        assignments: Vec<(Str, Bytes)>,
    },
    Assigned,
    Ended(Error),
}

/// What to do.
#[derive(Debug, PartialEq)]
pub(super) enum Next {
    /// Join, now or after a pause.
    Join { pause: bool },
    /// Ask for the assignment.
    Sync,
    /// Read, and send heartbeats.
    Stay,
    /// Give up.
    End(Error),
}

/// How long the coordinator waits for a sign of life, and for the member in a rebalance. Members
/// in the process are quick or gone with it, so this is the least a group allows.
const SESSION_TIMEOUT_MS: i32 = 6_000;
/// In place of a client's address; no wire client can have it.
pub(super) const CLIENT_HOST: &str = "/in-process";
/// What consumers share.
const CONSUMER: &str = "consumer";

impl Membership {
    /// Outside of the group.
    pub(super) fn new(client_id: Str, instance: Option<Str>, topics: Arc<BTreeSet<Str>>) -> Self {
        Self {
            client_id,
            instance,
            topics,
            member_id: Str::new(),
            generation: -1,
            counts: None,
            stage: Stage::Out,
        }
    }

    pub(super) fn next(&self) -> Next {
        match &self.stage {
            Stage::Out => Next::Join { pause: false },
            Stage::Waiting => Next::Join { pause: true },
            Stage::Joined { .. } => Next::Sync,
            Stage::Assigned => Next::Stay,
            Stage::Ended(error) => Next::End(*error),
        }
    }

    pub(super) fn member_id(&self) -> &Str {
        &self.member_id
    }

    pub(super) fn generation(&self) -> i32 {
        self.generation
    }

    pub(super) fn topics(&self) -> &Arc<BTreeSet<Str>> {
        &self.topics
    }

    /// Leaves the assignment to get a new one, for these topics.
    pub(super) fn rejoin(&mut self, topics: Arc<BTreeSet<Str>>) {
        self.topics = topics;
        self.stage = Stage::Out;
    }

    /// The request to join; `fresh_id` is taken on by a member that has no id.
    pub(super) fn join(&mut self, fresh_id: Str) -> Join {
        let known = self.member_id.clone();
        if known.is_empty() {
            // So that the member can leave even if it never hears the answer.
            self.member_id = fresh_id.clone();
        }
        Join {
            member_id: known,
            group_instance_id: self.instance.clone(),
            new_member_id: fresh_id,
            requires_known_member_id: false,
            can_skip_assignment: true,
            client_id: self.client_id.clone(),
            client_host: CLIENT_HOST.into(),
            session_timeout_ms: SESSION_TIMEOUT_MS,
            rebalance_timeout_ms: SESSION_TIMEOUT_MS,
            protocol_type: CONSUMER.into(),
            protocols: vec![Protocol { name: RANGE.into(), metadata: write_topics(&self.topics) }],
        }
    }

    /// The coordinator answered the join. A leader shares out the partitions, of which `count`
    /// knows how many a topic has.
    pub(super) fn joined(&mut self, reply: Reply, count: impl Fn(&str) -> Option<i32>) {
        match reply {
            Reply::Joined(joined) => {
                self.counts = None;
                let leads = joined.leader == joined.member_id;
                let assignments = match leads && !joined.skip_assignment {
                    true => self.share_out(&joined, count),
                    false => Vec::new(),
                };
                (self.member_id, self.generation) = (joined.member_id, joined.generation);
                self.stage = Stage::Joined { assignments };
            }
            Reply::MemberIdRequired(id) => self.member_id = id,
            reply => self.refused(&reply),
        }
    }

    fn share_out(
        &mut self,
        joined: &Joined,
        count: impl Fn(&str) -> Option<i32>,
    ) -> Vec<(Str, Bytes)> {
        let subscriber = |member: &crate::group::JoinedMember| Subscriber {
            member_id: member.member_id.clone(),
            instance: member.group_instance_id.clone(),
            topics: read_topics(member.metadata.clone()),
        };
        let subscribers: Vec<_> = joined.members.iter().map(subscriber).collect();
        let topics = subscribers.iter().flat_map(|it| it.topics.iter().cloned());
        let counts = topics.map(|topic| (count(&topic).unwrap_or(0), topic));
        let counts: BTreeMap<_, _> = counts.map(|(count, topic)| (topic, count)).collect();
        let assigned = range(subscribers, &counts);
        self.counts = Some(counts);
        assigned.into_iter().map(|(id, partitions)| (id, write_assignment(partitions))).collect()
    }

    /// Whether this member has to assign anew because topics came, went or grew.
    pub(super) fn is_outdated(&self, count: impl Fn(&str) -> Option<i32>) -> bool {
        let counts = self.counts.iter().flatten();
        counts.into_iter().any(|(topic, then)| count(topic).unwrap_or(0) != *then)
    }

    /// The request for the assignment.
    pub(super) fn sync(&mut self) -> Sync {
        let assignments = match &mut self.stage {
            Stage::Joined { assignments } => std::mem::take(assignments),
            _ => Vec::new(),
        };
        Sync {
            member_id: self.member_id.clone(),
            group_instance_id: self.instance.clone(),
            generation: self.generation,
            protocol_type: Some(CONSUMER.into()),
            protocol: Some(RANGE.into()),
            assignments,
        }
    }

    /// The coordinator answered with this member's partitions, or with a refusal.
    pub(super) fn synced(&mut self, reply: Reply) -> Option<Partitions> {
        match reply {
            Reply::Synced(synced) => {
                self.stage = Stage::Assigned;
                Some(read_assignment(synced.assignment))
            }
            reply => {
                self.refused(&reply);
                None
            }
        }
    }

    /// A sign of life.
    pub(super) fn heartbeat(&self) -> Heartbeat {
        Heartbeat {
            member_id: self.member_id.clone(),
            group_instance_id: self.instance.clone(),
            generation: self.generation,
        }
    }

    /// The coordinator answered a heartbeat.
    pub(super) fn beaten(&mut self, reply: &Reply) {
        if !matches!(reply, Reply::Done | Reply::Failed(Error::Behind)) {
            self.refused(reply);
        }
    }

    /// The request to leave, of a member that has ever asked to join.
    pub(super) fn leave(&self) -> Option<LeavingMember> {
        let (member_id, group_instance_id) = (self.member_id.clone(), self.instance.clone());
        (!member_id.is_empty()).then_some(LeavingMember { member_id, group_instance_id })
    }

    fn refused(&mut self, reply: &Reply) {
        let Reply::Failed(error) = reply else {
            self.stage = Stage::Ended(Error::InvalidRequest);
            return;
        };
        self.stage = match error {
            Error::RebalanceInProgress | Error::IllegalGeneration => Stage::Out,
            Error::UnknownMemberId => {
                self.member_id = Str::new();
                Stage::Out
            }
            Error::Behind | Error::NoRoom => Stage::Waiting,
            Error::CoordinatorNotAvailable => {
                self.member_id = Str::new();
                Stage::Waiting
            }
            error => Stage::Ended(*error),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::{JoinedMember, Synced};

    fn topics() -> Arc<BTreeSet<Str>> {
        Arc::new(BTreeSet::from(["red".into()]))
    }

    fn member(id: &str) -> JoinedMember {
        let metadata = write_topics(&topics());
        JoinedMember { member_id: id.into(), group_instance_id: None, metadata }
    }

    fn joined(leader: &str, members: Vec<JoinedMember>) -> Reply {
        Reply::Joined(Joined {
            generation: 4,
            protocol_type: CONSUMER.into(),
            protocol: RANGE.into(),
            leader: leader.into(),
            member_id: "a".into(),
            skip_assignment: false,
            members,
        })
    }

    fn synced(partitions: &[i32]) -> Reply {
        let partitions = Partitions::from([("red".into(), partitions.to_vec())]);
        let assignment = write_assignment(partitions);
        Reply::Synced(Synced { protocol_type: CONSUMER.into(), protocol: RANGE.into(), assignment })
    }

    /// A member "a" that reads red's partition 0 of 3 in generation 4, leading it with "b".
    fn leader() -> Membership {
        let mut membership = Membership::new("test".into(), None, topics());
        assert_eq!(membership.next(), Next::Join { pause: false });
        assert_eq!(membership.join("a".into()).member_id, "");
        membership.joined(joined("a", vec![member("a"), member("b")]), |_| Some(3));
        assert_eq!(membership.next(), Next::Sync);
        let sync = membership.sync();
        assert_eq!((sync.generation, &sync.member_id[..]), (4, "a"));
        let of = |index: usize| read_assignment(sync.assignments[index].1.clone());
        assert_eq!(of(0), Partitions::from([("red".into(), vec![0, 1])]));
        assert_eq!(of(1), Partitions::from([("red".into(), vec![2])]));
        let mine = membership.synced(synced(&[0, 1])).unwrap();
        assert_eq!(mine, Partitions::from([("red".into(), vec![0, 1])]));
        assert_eq!(membership.next(), Next::Stay);
        membership
    }

    #[test]
    fn a_leader_assigns_for_everyone_and_again_when_a_topic_grows() {
        let membership = leader();
        assert!(!membership.is_outdated(|_| Some(3)));
        assert!(membership.is_outdated(|_| Some(4)));
        assert!(membership.is_outdated(|_| None));
    }

    #[test]
    fn a_follower_assigns_nothing() {
        let mut membership = Membership::new("test".into(), None, topics());
        membership.join("a".into());
        membership.joined(joined("b", Vec::new()), |_| Some(3));
        assert!(membership.sync().assignments.is_empty());
        assert!(!membership.is_outdated(|_| Some(9)));
    }

    #[test]
    fn a_member_comes_back_as_itself_after_a_rebalance_and_as_another_once_forgotten() {
        for (error, id, pause) in [
            (Error::RebalanceInProgress, "a", false),
            (Error::IllegalGeneration, "a", false),
            (Error::UnknownMemberId, "", false),
            (Error::CoordinatorNotAvailable, "", true),
            (Error::NoRoom, "a", true),
        ] {
            let mut membership = leader();
            membership.beaten(&Reply::Done);
            assert_eq!(membership.next(), Next::Stay);
            membership.beaten(&Reply::Failed(error));
            assert_eq!(membership.next(), Next::Join { pause }, "{error}");
            assert_eq!(membership.join("c".into()).member_id, id, "{error}");
        }
    }

    #[test]
    fn a_fenced_or_refused_member_gives_up() {
        for error in [Error::FencedInstanceId, Error::InconsistentGroupProtocol] {
            let mut membership = leader();
            membership.beaten(&Reply::Failed(error));
            assert_eq!(membership.next(), Next::End(error));
        }
    }

    #[test]
    fn a_member_that_never_heard_an_answer_can_leave_all_the_same() {
        let mut membership = Membership::new("test".into(), None, topics());
        assert!(membership.leave().is_none());
        membership.join("a".into());
        assert_eq!(membership.leave().unwrap().member_id, "a");
    }
}
