//! What there is: topics, and the consumer instances of this process.

use super::Shared;
use crate::http::{Account, Json};
use axum::extract::State;
use serde::Serialize;
use std::collections::BTreeMap;

/// `/topics`: each topic and how many partitions it has.
pub(super) async fn topics(Account(principal): Account) -> Json<BTreeMap<String, i32>> {
    let topics = principal.cluster.topics.all();
    Json(topics.iter().map(|topic| (topic.name.clone(), topic.count())).collect())
}

/// A group with REST instances.
#[derive(Serialize)]
pub(super) struct Group {
    name: String,
    instances: Vec<Instance>,
}

#[derive(Serialize)]
struct Instance {
    name: String,
    topics: Vec<Assigned>,
}

#[derive(Serialize)]
struct Assigned {
    topic: String,
    partitions: Vec<i32>,
}

/// `/consumers`: the instances, and what each reads; members over the wire are not among them.
pub(super) async fn consumers(
    Account(principal): Account,
    State(shared): State<Shared>,
) -> Json<Vec<Group>> {
    let mut groups: Vec<Group> = Vec::new();
    for ((group, name), session) in shared.rest.instances.list(&principal.cluster.account.id) {
        let mut topics: BTreeMap<String, Vec<i32>> = BTreeMap::new();
        for claim in session.member.assignment().iter().flat_map(|it| &it.claims) {
            topics.entry(claim.topic.name.clone()).or_default().push(claim.partition);
        }
        let assigned = |(topic, partitions)| Assigned { topic, partitions };
        let instance = Instance { name, topics: topics.into_iter().map(assigned).collect() };
        match groups.last_mut().filter(|last| last.name == group) {
            Some(last) => last.instances.push(instance),
            None => groups.push(Group { name: group, instances: vec![instance] }),
        }
    }
    Json(groups)
}
