//! A member of a consumer group inside the process, on the same coordinator as wire clients, so
//! that both share a group's partitions.
//!
//! A task keeps the member in its group: it joins, assigns if it leads, sends heartbeats, rejoins
//! when the group rebalances, commits what was delivered if it is to, and leaves. Readers call
//! [`Member::poll`] and, as the records set out, [`Member::deliver`].
//! **The position moves forward in `deliver` and nowhere else, and only while the assignment stands
//! that the records were read under.** It moves back if they did not arrive.

mod reading;
mod task;

use super::cursors::{Cursors, Place, Reset};
use super::membership::CLIENT_HOST;
use super::reader::{Read, Undecoded};
use super::receipt::Receipt;
use crate::clock;
use crate::cluster::Cluster;
use crate::group::{
    self, Commit, CommitPartition, LeavingMember, MemberDescription, Reply, StateName,
};
use crate::room::Taken;
use crate::topic::{LEADER_EPOCH, Topic};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tidelog_protocol::{Str, Uuid};
use tidelog_storage as storage;
use tokio::sync::watch;

/// How a member behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// The group.
    pub group: Str,
    /// Set for a static member (KIP-345), which takes the place of an older one of this name.
    pub instance: Option<Str>,
    /// What the member calls itself.
    pub client_id: Str,
    /// Where to start when nothing is committed.
    pub reset: Reset,
    /// How long a delivery may stay uncommitted; without it, only [`Member::commit`] commits.
    pub auto_commit: Option<Duration>,
}

/// How much one poll gives.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Records of all partitions.
    pub records_max: usize,
    /// About as many bytes of one partition.
    pub partition_bytes_max: usize,
    /// About as many bytes of all partitions.
    pub bytes_max: usize,
}

/// One partition that a member is to read.
#[derive(Clone)]
pub struct Claim {
    /// The topic.
    pub topic: Arc<Topic>,
    /// The partition's index.
    pub partition: i32,
}

impl Claim {
    fn place(&self) -> Place {
        (self.topic.name.as_str().into(), self.partition)
    }
}

/// A member's part of the work in a generation.
pub struct Assignment {
    /// The subscription it answers.
    pub topics: Arc<BTreeSet<Str>>,
    /// The partitions, by topic and index.
    pub claims: Vec<Claim>,
    /// The assigned topics as they were then; none for one that did not exist.
    topic_ids: BTreeMap<Str, Option<Uuid>>,
    member_id: Str,
    generation: i32,
}

/// Why a member cannot go on.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// It was closed.
    #[error("the consumer is closed")]
    Closed,
    /// The coordinator does not let it.
    #[error("the group's coordinator refused: {0}")]
    Refused(group::Error),
    /// Nothing is committed for a partition, and nobody said where to start.
    #[error(
        "group '{group}' has no committed offset for partition {partition} of topic '{topic}', \
         and the offset reset policy is none"
    )]
    NoOffset {
        /// The group.
        group: Str,
        /// The topic.
        topic: Str,
        /// The partition.
        partition: i32,
    },
    /// A log does not have the offset to go on at, and nobody said where to go on instead.
    #[error(
        "group '{group}' is at offset {offset} of partition {partition} of topic '{topic}', which \
         has {start} to {end}, and the offset reset policy is none"
    )]
    OutOfRange {
        /// The group.
        group: Str,
        /// The topic.
        topic: Str,
        /// The partition.
        partition: i32,
        /// The offset.
        offset: i64,
        /// Where the log starts.
        start: i64,
        /// Where it ends.
        end: i64,
    },
    /// A partition has records that cannot be read, and no other has any.
    #[error("partition {partition} of topic '{topic}' cannot be read: {cause}")]
    Unreadable {
        /// The topic.
        topic: Str,
        /// The partition.
        partition: i32,
        /// Why.
        cause: Arc<storage::Error>,
    },
    /// A batch cannot be decoded, and no other partition has records. Who commits an offset after
    /// it goes on there.
    #[error("partition {partition} of topic '{topic}': {batch}")]
    Undecoded {
        /// The topic.
        topic: Str,
        /// The partition.
        partition: i32,
        /// The batch.
        batch: Undecoded,
    },
}

/// Records of one partition.
pub struct Part {
    /// Where they are from.
    pub claim: Claim,
    /// The records.
    pub read: Read,
}

/// What a poll found; empty when time was up.
#[derive(Default)]
pub struct Polled {
    /// Records by partition.
    pub parts: Vec<Part>,
    /// What they take of [`Cluster::answer_room`], or more.
    pub taken: Taken,
    assignment: Option<Arc<Assignment>>,
}

/// A member of a consumer group.
pub struct Member {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    /// Closed when the task has left the group.
    running: watch::Receiver<()>,
}

struct Shared {
    cluster: Arc<Cluster>,
    options: Options,
    wanted: watch::Sender<Arc<BTreeSet<Str>>>,
    status: watch::Sender<Status>,
    /// Held while `status` changes, so that a delivery belongs to one assignment.
    cursors: Mutex<Cursors>,
    /// Where the next poll begins, so that no partition starves another.
    turn: Mutex<usize>,
}

#[derive(Clone)]
enum Status {
    Joining,
    Assigned(Arc<Assignment>),
    Ended(Error),
}

impl Member {
    /// Starts to join. Needs a Tokio runtime.
    pub fn start(cluster: Arc<Cluster>, options: Options, topics: BTreeSet<Str>) -> Self {
        let shared = Arc::new(Shared {
            cluster,
            options,
            wanted: watch::Sender::new(Arc::new(topics)),
            status: watch::Sender::new(Status::Joining),
            cursors: Mutex::default(),
            turn: Mutex::new(0),
        });
        let (stop, stopping) = watch::channel(false);
        let (alive, running) = watch::channel(());
        tokio::spawn(task::run(shared.clone(), stopping, alive));
        Self { shared, stop, running }
    }

    /// Takes out of their groups the members of this `client_id` that an earlier process had when
    /// it crashed, which nobody else need wait for. Called before the first of this one starts.
    pub async fn leave_remains(cluster: &Cluster, client_id: &str) {
        let is_ours =
            |it: &MemberDescription| it.client_host == CLIENT_HOST && it.client_id == client_id;
        for (group, listing) in cluster.groups.list() {
            if listing.state == StateName::Empty {
                continue;
            }
            let members = cluster.groups.describe(&group).map(|it| it.members).unwrap_or_default();
            let leaving = members.into_iter().filter(is_ours).map(|it| LeavingMember {
                member_id: it.member_id,
                group_instance_id: it.group_instance_id,
            });
            let leaving: Vec<_> = leaving.collect();
            if !leaving.is_empty() {
                cluster.groups.leave(&group, leaving).await;
            }
        }
    }

    /// Reads these topics from now on; positions in topics that stay are kept.
    pub fn subscribe(&self, topics: BTreeSet<Str>) {
        self.shared.wanted.send_if_modified(|wanted| {
            let differs = **wanted != topics;
            if differs {
                *wanted = Arc::new(topics);
            }
            differs
        });
    }

    /// What the member reads now, if it is not just joining.
    pub fn assignment(&self) -> Option<Arc<Assignment>> {
        match &*self.shared.status.borrow() {
            Status::Assigned(assignment) => Some(assignment.clone()),
            _ => None,
        }
    }

    /// Whether it is closed or refused for good.
    pub fn has_ended(&self) -> bool {
        matches!(&*self.shared.status.borrow(), Status::Ended(_))
    }

    /// Waits until the member reads what it subscribes to, until `deadline` on [`clock::now`].
    pub async fn assigned(&self, deadline: Duration) -> Result<Option<Arc<Assignment>>, Error> {
        let mut status = self.shared.status.subscribe();
        let settled = |status: &Status| match status {
            Status::Joining => false,
            Status::Assigned(it) => *it.topics == **self.shared.wanted.borrow(),
            Status::Ended(_) => true,
        };
        let left = deadline.saturating_sub(clock::now());
        match tokio::time::timeout(left, status.wait_for(settled)).await {
            Ok(Ok(status)) => match &*status {
                Status::Assigned(assignment) => Ok(Some(assignment.clone())),
                Status::Ended(error) => Err(error.clone()),
                Status::Joining => Ok(None),
            },
            Ok(Err(_)) => Err(Error::Closed),
            Err(_) => Ok(None),
        }
    }

    /// Reads what is there, or waits for it until `deadline` on [`clock::now`]. Nothing is
    /// delivered yet: the same records come again until [`Member::deliver`], and after it too if
    /// they have not arrived by now.
    pub async fn poll(&self, limits: Limits, deadline: Duration) -> Result<Polled, Error> {
        self.shared.cursors.lock().settle();
        loop {
            let Some(assignment) = self.assigned(deadline).await? else {
                return Ok(Polled::default());
            };
            let mut status = self.shared.status.subscribe();
            let polled = self.shared.read(&assignment, limits).await?;
            if polled.parts.iter().any(|part| !part.read.records.is_empty()) {
                return Ok(polled);
            }
            let has_passed = !polled.parts.is_empty();
            if has_passed {
                // Markers and gaps are nothing to deliver.
                self.pass(&polled, None);
            }
            let left = deadline.saturating_sub(clock::now());
            if left.is_zero() {
                return Ok(Polled::default());
            }
            if has_passed {
                continue;
            }
            let more = self.shared.more(&assignment);
            // Time being up is not an error: the next turn of the loop says so.
            let _ = tokio::time::timeout(left, async {
                tokio::select! {
                    () = more => {}
                    _ = status.wait_for(|now| !now.is(&assignment)) => {}
                }
            })
            .await;
        }
    }

    /// Moves the positions past what was polled, unless the assignment has changed: then the
    /// records may be another member's by now. They are on their way until `receipt` says
    /// otherwise, and not committed before.
    pub fn deliver(&self, polled: &Polled, receipt: &Arc<Receipt>) -> bool {
        self.pass(polled, Some(receipt))
    }

    fn pass(&self, polled: &Polled, receipt: Option<&Arc<Receipt>>) -> bool {
        let Some(assignment) = &polled.assignment else { return true };
        let mut cursors = self.shared.cursors.lock();
        if !self.shared.status.borrow().is(assignment) {
            return false;
        }
        let now = clock::now();
        let nexts = polled.parts.iter().map(|part| (part.claim.place(), part.read.next));
        match receipt {
            Some(receipt) => cursors.deliver(nexts, receipt.clone(), now),
            None => nexts.for_each(|(place, next)| cursors.advance(&place, next, now)),
        }
        true
    }

    /// Commits what was delivered.
    pub async fn commit_delivered(&self, deadline: Duration) -> Result<(), Error> {
        self.commit_with(deadline, |shared, assignment| shared.uncommitted(assignment)).await
    }

    /// Commits these offsets, as they are: the next offset to read, by partition. Where that is
    /// ahead, the member reads on there: whoever commits it has done with what comes before.
    pub async fn commit(
        &self,
        offsets: Vec<(Str, i32, i64)>,
        deadline: Duration,
    ) -> Result<(), Error> {
        self.commit_with(deadline, |_, _| offsets.clone()).await
    }

    /// Commits, and again in the next generation if a rebalance comes in between.
    async fn commit_with(
        &self,
        deadline: Duration,
        offsets: impl Fn(&Shared, &Assignment) -> Vec<(Str, i32, i64)>,
    ) -> Result<(), Error> {
        loop {
            let Some(assignment) = self.assigned(deadline).await? else {
                return Err(Error::Refused(group::Error::RebalanceInProgress));
            };
            let mut status = self.shared.status.subscribe();
            let offsets = offsets(&self.shared, &assignment);
            match self.shared.commit(&assignment, offsets).await {
                Err(
                    group::Error::RebalanceInProgress
                    | group::Error::IllegalGeneration
                    | group::Error::UnknownMemberId,
                ) => {
                    let left = deadline.saturating_sub(clock::now());
                    let changed = status.wait_for(|now| !now.is(&assignment));
                    if tokio::time::timeout(left, changed).await.is_err() {
                        return Err(Error::Refused(group::Error::RebalanceInProgress));
                    }
                }
                committed => return committed.map_err(Error::Refused),
            }
        }
    }

    /// Commits what was delivered if that is automatic, leaves the group, and waits until that is
    /// done. Polls under way end with [`Error::Closed`].
    pub async fn close(&self) {
        self.stop.send_replace(true);
        let mut running = self.running.clone();
        while running.changed().await.is_ok() {}
    }
}

impl Status {
    fn is(&self, assignment: &Arc<Assignment>) -> bool {
        matches!(self, Self::Assigned(now) if Arc::ptr_eq(now, assignment))
    }
}

impl Shared {
    /// What the positions are ahead of the committed offsets. A topic that was deleted is left
    /// out: an offset goes by the name, which may be another's by now.
    fn uncommitted(&self, assignment: &Assignment) -> Vec<(Str, i32, i64)> {
        let mut cursors = self.cursors.lock();
        cursors.committing(clock::now());
        let exists = |claim: &&Claim| self.cluster.topics.by_id(&claim.topic.id).is_some();
        let places = assignment.claims.iter().filter(exists).map(Claim::place);
        let ahead = cursors.uncommitted(places);
        ahead.map(|((topic, partition), offset)| (topic, partition, offset)).collect()
    }

    async fn commit(
        &self,
        assignment: &Assignment,
        offsets: Vec<(Str, i32, i64)>,
    ) -> Result<(), group::Error> {
        if offsets.is_empty() {
            return Ok(());
        }
        let partition = |(topic, partition, offset): &(Str, i32, i64)| CommitPartition {
            topic: topic.clone(),
            partition: *partition,
            offset: *offset,
            leader_epoch: LEADER_EPOCH,
            metadata: Str::new(),
        };
        let commit = Commit {
            member_id: assignment.member_id.clone(),
            group_instance_id: self.options.instance.clone(),
            generation: assignment.generation,
            has_member_epoch: false,
            retention_ms: None,
            partitions: offsets.iter().map(partition).collect(),
        };
        match self.cluster.groups.commit(&self.options.group, commit).await {
            Reply::Each(outcomes) => outcomes.into_iter().collect::<Result<(), _>>()?,
            Reply::Failed(error) => return Err(error),
            _ => return Err(group::Error::InvalidRequest),
        }
        let mut cursors = self.cursors.lock();
        for (topic, partition, offset) in offsets {
            let end = self.log_end(&topic, partition);
            cursors.committed(&(topic, partition), offset, end);
        }
        Ok(())
    }

    /// Where a partition's log ends; at 0 if there is none.
    fn log_end(&self, topic: &str, partition: i32) -> i64 {
        let topic = self.cluster.topics.get(topic);
        let log = topic.as_ref().and_then(|it| it.partition(partition).ok());
        log.map_or(0, |it| it.log().log_end_offset())
    }
}
