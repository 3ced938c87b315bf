//! The closing of a snapshot: every record without a mark is deleted, some at a time.

use super::super::Ingest;
use super::super::mutation::{self, Condition, Done, Mutation, Operation};
use super::super::name::RecordId;
use super::super::stream::Stream;
use super::super::target::Target;
use super::{Id, Phase};
use crate::http::ApiError;
use crate::task::blocking;
use std::collections::BTreeMap;

/// Carries out the closing of the collection's snapshot, if it is closing; waits for whoever does
/// so already.
///
/// # Errors
/// What kept a record from being deleted. The snapshot stays closing, and this can be called again.
pub(in super::super) async fn finish(target: Target) -> Result<(), ApiError> {
    let snapshots = target.stream.snapshots.clone();
    let alone = snapshots.clone();
    let _alone = alone.closing.lock().await;
    let Some((snapshot, _)) = snapshots.current() else { return Ok(()) };
    if snapshot.phase != Phase::Closing {
        return Ok(());
    }
    if let Some(partition) = target.stream.first_damaged() {
        let error = ApiError::from(mutation::Error::Damaged(partition));
        snapshots.deleted(snapshot.id, 0, Some(error.message.clone()))?;
        return Err(error);
    }
    // The scan sees what is in the store, so all that was before the opening has to be there.
    for (partition, end) in (0..).zip(&snapshot.ends) {
        target.stream.durable(partition, end.checked_sub(1)).await;
    }
    let ends = snapshot.ends.clone().into();
    target.stream.settled(&ends).await.map_err(mutation::Error::from)?;

    let mut after = None;
    loop {
        let work = target.clone();
        let step = blocking(move || sweep(&work, snapshot.id, after.as_deref())).await?;
        for (partition, offset) in &step.rest_on {
            target.stream.durable(*partition, Some(*offset)).await;
        }
        let problem = step.problem.as_ref().map(|error| error.message.clone());
        snapshots.deleted(snapshot.id, step.deleted, problem)?;
        match (step.problem, step.next) {
            (Some(error), _) => return Err(error),
            (None, None) => break,
            (None, next) => after = next,
        }
    }
    let ended = target.stream.clone();
    blocking(move || ended.between_mutations(|_| ended.snapshots.closed(snapshot.id))).await?;
    snapshots.synced().await;
    blocking(move || snapshots.sweep_marks(snapshot.id)).await?;
    Ok(())
}

/// Goes on with what was under way when the process ended, in tasks of its own.
pub(in super::super) async fn resume(ingest: &Ingest) {
    for cluster in ingest.broker.clusters() {
        for topic in cluster.topics.all() {
            let found = ingest.snapshots.get(&topic.id);
            let Some((snapshot, _)) = found.and_then(|it| it.current()) else { continue };
            // Also an open one's stream is watched from now on, in case it was forgotten.
            let stream = ingest.stream(topic.clone());
            if snapshot.phase != Phase::Closing {
                let work = move || stream.snapshots.sweep_marks(snapshot.id);
                if let Err(error) = blocking(work).await {
                    tracing::warn!("marks of snapshot '{}' stay: {error}", snapshot.id);
                }
                continue;
            }
            let sync = topic.sync.as_deref().unwrap_or_default();
            let collection =
                topic.name.strip_prefix(&format!("sequin.{sync}.")).unwrap_or_default();
            match Target::known(ingest, &cluster, sync, collection) {
                Ok(target) => drop(tokio::spawn(async move {
                    if let Err(error) = finish(target).await {
                        tracing::error!(
                            "snapshot '{}' stays closing: {}",
                            snapshot.id,
                            error.message
                        );
                    }
                })),
                Err(error) => {
                    tracing::error!("snapshot '{}' stays closing: {}", snapshot.id, error.message);
                }
            }
        }
    }
}

/// Ends the collection's snapshot if it was forgotten. Not for an async worker.
pub(in super::super) fn expire(stream: &Stream, now_ms: i64) {
    let snapshots = &stream.snapshots;
    if !snapshots.is_forgotten(now_ms) {
        return;
    }
    let ended = stream.between_mutations(|_| snapshots.expire(now_ms));
    let swept = ended.and_then(|ended| ended.map_or(Ok(()), |id| snapshots.sweep_marks(id)));
    if let Err(error) = swept {
        tracing::warn!("a forgotten snapshot of '{}' stays: {error}", stream.topic().name);
    }
}

/// What became of some records.
struct Step {
    deleted: u64,
    /// The last event of each partition.
    rest_on: BTreeMap<i32, i64>,
    /// Why one of them could not be deleted.
    problem: Option<ApiError>,
    /// The last record looked at, if there may be more.
    next: Option<String>,
}

fn sweep(target: &Target, id: Id, after: Option<&str>) -> Result<Step, ApiError> {
    let (records, next) = target.stream.snapshots.untouched(id, after)?;
    let mut step = Step { deleted: 0, rest_on: BTreeMap::new(), problem: None, next };
    for outcome in target.mutate(records.into_iter().map(deletion).collect()) {
        match outcome {
            Ok(Done { published: Some(event), partition, .. }) => {
                step.deleted += 1;
                step.rest_on.insert(partition, event.offset);
            }
            // Gone already, or touched.
            Ok(_) | Err(mutation::Error::Condition { .. }) => {}
            Err(error) => step.problem = Some(error.into()),
        }
    }
    Ok(step)
}

fn deletion(id: RecordId) -> Mutation<'static> {
    let condition = Condition::Untouched;
    Mutation { condition, ..Mutation::new(id, Operation::Delete, None) }
}
