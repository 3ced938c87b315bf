//! Carries out what a delivery says, and answers part by part.

use super::{Change, NoChange, Read};
use crate::cluster::Cluster;
use crate::http::{ApiError, Json};
use crate::ingest::Ingest;
use crate::ingest::json::Object;
use crate::ingest::mutation::{Done, Hold, Key, Mutation};
use crate::ingest::records::RecordAnswer;
use crate::ingest::shares::Refusal;
use crate::ingest::sync::routes::COLLECTION_REFUSED;
use crate::ingest::target::{Target, find_sync};
use crate::task::blocking;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a delivery answers: a result for each of its changes, in their order.
#[derive(Serialize)]
struct Answer {
    results: Vec<ItemAnswer>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum ItemAnswer {
    Done {
        collection: String,
        id: String,
        #[serde(flatten)]
        record: RecordAnswer,
    },
    Passed {
        event: Option<&'static str>,
        passed: String,
    },
    Failed {
        error: String,
        code: &'static str,
        index: usize,
    },
}

/// Changes of one collection, each with its place in the delivery.
type Share = Vec<(usize, Change)>;

/// Carries out what was read. The status is that of the first part that failed.
///
/// # Errors
/// When there is no such sync.
pub(super) async fn publish(
    ingest: &Arc<Ingest>,
    cluster: &Arc<Cluster>,
    sync: &str,
    reads: Vec<Read>,
) -> Result<Response, ApiError> {
    find_sync(ingest, cluster, sync)?;
    let mut answers: Vec<Option<Result<ItemAnswer, ApiError>>> = Vec::new();
    let mut shares: BTreeMap<String, Share> = BTreeMap::new();
    for (index, read) in reads.into_iter().enumerate() {
        answers.push(match read {
            Ok(change) => {
                shares.entry(change.collection.clone()).or_default().push((index, change));
                None
            }
            Err(NoChange::Passed(passed)) => Some(Ok(ItemAnswer::Passed { event: None, passed })),
            Err(NoChange::Refused(error)) => Some(Err(error)),
        });
    }
    for (collection, share) in shares {
        match Target::find(ingest, cluster, sync, &collection).await {
            Ok(target) => {
                for (index, id, outcome) in carry_out(&target, share).await {
                    let topic = target.stream.topic();
                    let record = outcome.map(|done| RecordAnswer::new(&topic.name, &done));
                    let collection = collection.clone();
                    let done = record.map(|record| ItemAnswer::Done { collection, id, record });
                    answers[index] = Some(done.map_err(|refused| refused.error));
                }
            }
            Err(error) => {
                for (index, _) in share {
                    let passed = error.message.clone();
                    answers[index] = Some(match wants_no_other(&error) {
                        true => Ok(ItemAnswer::Passed { event: None, passed }),
                        false => Err(error.clone()),
                    });
                }
            }
        }
    }
    let failed = answers.iter().flatten().find_map(|answer| answer.as_ref().err());
    let status = failed.map_or(StatusCode::OK, |error| error.status);
    // Every change was in a share, which gave it an answer.
    let results = answers.into_iter().flatten().enumerate().map(|(index, answer)| {
        answer.unwrap_or_else(|error| {
            let ApiError { message: error, code, .. } = error;
            ItemAnswer::Failed { error, code, index }
        })
    });
    Ok((status, Json(Answer { results: results.collect() })).into_response())
}

/// Whether the sync has its collections and wants no other.
fn wants_no_other(error: &ApiError) -> bool {
    error.code == COLLECTION_REFUSED
}

/// What became of each change, once that may be answered.
async fn carry_out(target: &Target, share: Share) -> Vec<(usize, String, Result<Done, Refusal>)> {
    let work = target.clone();
    let outcomes = blocking(move || {
        let mut outcomes = Vec::with_capacity(share.len());
        let mut mutations = Vec::with_capacity(share.len());
        for (index, change) in &share {
            let id = change.id.as_str().to_owned();
            match mutation(change) {
                Ok(mutation) => {
                    mutations.push(mutation);
                    outcomes.push((*index, id, None));
                }
                Err(error) => outcomes.push((*index, id, Some(Err(error.into())))),
            }
        }
        let mut done = work.mutate(mutations).into_iter();
        let mut next = || match done.next() {
            Some(outcome) => outcome.map_err(|error| Refusal::new(0, error)),
            None => Err(ApiError::internal("a mutation had no outcome").into()),
        };
        let fill = |(index, id, refused): (usize, String, Option<_>)| {
            (index, id, refused.unwrap_or_else(&mut next))
        };
        outcomes.into_iter().map(fill).collect::<Vec<_>>()
    })
    .await;
    let told = outcomes.iter().filter_map(|(_, _, outcome)| match outcome {
        Ok(done) => Some(done),
        Err(refused) => refused.tells.as_ref().map(|(_, record)| &**record),
    });
    target.stream.confirm(told).await;
    outcomes
}

fn mutation(change: &Change) -> Result<Mutation<'_>, ApiError> {
    let data = change.data.as_deref().map(|data| Object::parse(data.as_bytes())).transpose();
    let data = data.map_err(|error| ApiError::bad_request(format!("the record: {error}")))?;
    let follows = change.follows.as_deref().map(|columns| Object::parse(columns.as_bytes()));
    let follows = follows.transpose();
    let follows =
        follows.map_err(|error| ApiError::bad_request(format!("previous_attributes: {error}")))?;
    let named = |text: &String| Key { text: text.clone(), hold: Hold::default() };
    let key = change.key.as_ref().map(named);
    let mutation = Mutation::new(change.id.clone(), change.operation, data);
    let Change { version, revives, is_reading, ref keeps, .. } = *change;
    Ok(Mutation { version, follows, keeps, revives, is_reading, key, ..mutation })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::mutation;
    use crate::ingest::name::SyncId;
    use crate::ingest::sync::Error;

    #[test]
    fn a_change_is_passed_over_where_its_collection_is_not_wanted_and_for_nothing_else() {
        let refused = Error::Refused("contact".to_owned(), "it has none".to_owned());
        assert!(wants_no_other(&refused.into()));
        // What was deleted meanwhile is no reason to tell a sender that all is well.
        let unknown = Error::Unknown(SyncId::parse("sync_a").unwrap());
        assert!(!wants_no_other(&unknown.into()));
        assert!(!wants_no_other(&mutation::Error::Retired.into()));
    }
}
