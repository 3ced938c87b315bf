//! The task that keeps a member in its group.

use super::{Assignment, Claim, Error, Shared, Status};
use crate::consumer::membership::{Membership, Next};
use crate::consumer::subscription::Partitions;
use crate::{clock, id};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tidelog_protocol::Str;
use tokio::sync::watch;

/// A heartbeat costs no more than a lock, and between two of them a rebalance goes unnoticed.
const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(200);
const RETRY_PAUSE: Duration = Duration::from_millis(100);

type Wanted = watch::Receiver<Arc<BTreeSet<Str>>>;

/// Runs until it is told to stop or cannot go on; leaves the group at the end.
pub(super) async fn run(
    shared: Arc<Shared>,
    mut stopping: watch::Receiver<bool>,
    _alive: watch::Sender<()>,
) {
    let mut wanted = shared.wanted.subscribe();
    let topics = wanted.borrow_and_update().clone();
    let (client_id, instance) = (&shared.options.client_id, &shared.options.instance);
    let mut membership = Membership::new(client_id.clone(), instance.clone(), topics);
    let end = tokio::select! {
        error = shared.take_part(&mut membership, &mut wanted) => error,
        // The member itself gone is as good as being told.
        _ = stopping.wait_for(|stop| *stop) => Error::Closed,
    };
    shared.revoke(Status::Ended(end)).await;
    if let Some(leaving) = membership.leave() {
        shared.cluster.groups.leave(&shared.options.group, vec![leaving]).await;
    }
}

impl Shared {
    async fn take_part(&self, membership: &mut Membership, wanted: &mut Wanted) -> Error {
        let groups = &self.cluster.groups;
        let group = &self.options.group;
        let count = |topic: &str| Some(self.cluster.topics.get(topic)?.count());
        loop {
            match membership.next() {
                Next::Join { pause } => {
                    if pause {
                        tokio::time::sleep(RETRY_PAUSE).await;
                    }
                    let stem = self.options.instance.as_ref().unwrap_or(&self.options.client_id);
                    let fresh = format!("{stem}-{}", id::dashed_uuid(&id::random_uuid()));
                    let join = membership.join(fresh.into());
                    membership.joined(groups.join(group, join).await, count);
                }
                Next::Sync => {
                    let sync = membership.sync();
                    let synced = membership.synced(groups.sync(group, sync).await);
                    if let Some(partitions) = synced
                        && let Err(error) = self.take_on(membership, partitions).await
                    {
                        return error;
                    }
                }
                Next::Stay => {
                    self.stay(membership, wanted).await;
                    if membership.next() != Next::Stay {
                        self.revoke(Status::Joining).await;
                    }
                }
                Next::End(error) => return Error::Refused(error),
            }
        }
    }

    /// One heartbeat, or whatever comes before it is due.
    async fn stay(&self, membership: &mut Membership, wanted: &mut Wanted) {
        let mut catalog = self.cluster.topics.watch();
        let count = |topic: &str| Some(self.cluster.topics.get(topic)?.count());
        tokio::select! {
            () = tokio::time::sleep(HEARTBEAT_INTERVAL) => {
                let beat = membership.heartbeat();
                membership.beaten(&self.cluster.groups.heartbeat(&self.options.group, beat).await);
                let due = |every| self.cursors.lock().commit_due(every);
                let due = self.options.auto_commit.and_then(due);
                if due.is_some_and(|due| due <= clock::now()) {
                    self.commit_automatically().await;
                }
            }
            _ = wanted.changed() => {}
            _ = catalog.changed() => {}
        }
        let topics = wanted.borrow_and_update().clone();
        if topics != *membership.topics() || membership.is_outdated(count) || self.is_outdated() {
            membership.rejoin(topics);
        }
    }

    /// Whether an assigned topic came, went, or is another by now under its name. Whoever assigns
    /// may see no difference in that.
    fn is_outdated(&self) -> bool {
        let status = self.status.borrow().clone();
        let Status::Assigned(assignment) = status else { return false };
        let id = |topic: &Str| Some(self.cluster.topics.get(topic)?.id);
        assignment.topic_ids.iter().any(|(topic, then)| id(topic) != *then)
    }

    /// Finds where to go on in every partition, and lets readers at them.
    async fn take_on(&self, membership: &Membership, assigned: Partitions) -> Result<(), Error> {
        let (mut claims, mut topic_ids) = (Vec::new(), BTreeMap::new());
        for (name, partitions) in assigned {
            let topic = self.cluster.topics.get(&name);
            topic_ids.insert(name, topic.as_ref().map(|topic| topic.id));
            // A topic may be deleted while the group assigns it.
            let Some(topic) = topic else { continue };
            // Nor is one that is offline read, and the others do not wait for it.
            let partitions = partitions.into_iter().filter(|it| topic.partition(*it).is_ok());
            claims.extend(partitions.map(|partition| Claim { topic: topic.clone(), partition }));
        }
        // After the topics: what was committed for one goes before another has its name.
        let offsets = self.cluster.groups.offsets(&self.options.group).await;
        let offsets = offsets.map_err(Error::Refused)?;
        let committed: HashMap<(Str, i32), i64> = offsets
            .into_iter()
            .map(|(topic, partition, committed)| ((topic, partition), committed.offset))
            .collect();
        let mut cursors = self.cursors.lock();
        cursors.retain(|(topic, _), id| {
            self.cluster.topics.get(topic).is_some_and(|topic| topic.id == *id)
        });
        for claim in &claims {
            let place = claim.place();
            let committed = committed.get(&place).copied();
            let cursor = cursors.assign(place, claim.topic.id, committed, self.reset(claim));
            cursor.ok_or_else(|| self.no_offset(claim))?;
        }
        cursors.note_uncommitted(clock::now());
        self.status.send_replace(Status::Assigned(Arc::new(Assignment {
            topics: membership.topics().clone(),
            claims,
            topic_ids,
            member_id: membership.member_id().clone(),
            generation: membership.generation(),
        })));
        Ok(())
    }

    /// Takes the partitions away from readers. What was delivered is committed while this member
    /// still may.
    async fn revoke(&self, next: Status) {
        let last = {
            let _cursors = self.cursors.lock();
            self.status.send_replace(next)
        };
        if let (Status::Assigned(assignment), Some(_)) = (last, self.options.auto_commit) {
            self.commit_last(&assignment).await;
        }
    }

    async fn commit_automatically(&self) {
        let status = self.status.borrow().clone();
        if let Status::Assigned(assignment) = status {
            self.commit_last(&assignment).await;
        }
    }

    /// A commit that fails is made up for by the next one; at the worst records come twice.
    async fn commit_last(&self, assignment: &Assignment) {
        let offsets = self.uncommitted(assignment);
        if let Err(error) = self.commit(assignment, offsets).await {
            tracing::debug!(group = &*self.options.group, "automatic commit failed: {error}");
            self.cursors.lock().note_uncommitted(clock::now());
        }
    }
}
