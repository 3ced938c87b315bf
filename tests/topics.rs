//! Topics are there when their creation is answered.

use crate::support::process::Tidelog;
use crate::support::raw::{self, Raw};
use std::collections::BTreeSet;
use tidelog_protocol::messages::{
    CreatableTopic, CreateTopicsRequest, MetadataRequest, MetadataRequestTopic,
};
use tidelog_protocol::{ErrorCode, Request, Response};

const ROUNDS: usize = 40;

/// Kafka's brokers learn of a new topic one by one, and until then refuse it.
#[test]
fn a_new_topic_takes_a_record_at_once_on_every_connection_however_it_was_created() {
    let dir = tempfile::tempdir().unwrap();
    let tidelog = Tidelog::dev(dir.path());
    let [mut creator, mut producer] = [(); 2].map(|()| Raw::connect(&tidelog.ready.kafka));
    let mut told = BTreeSet::new();
    for round in 0..ROUNDS {
        let name = format!("topic-{round}");
        match round % 2 {
            0 => drop(creator.call(create(&name), 5)),
            _ => drop(creator.call(look(&name), 9)),
        }
        let Response::Produce(answer) = producer.call(raw::produce(&name), 9) else { panic!() };
        told.insert(answer.responses[0].partition_responses[0].error_code);
    }
    assert_eq!(told, BTreeSet::from([ErrorCode::NONE]));
}

fn create(name: &str) -> Request {
    let partitions = CreatableTopic {
        name: name.into(),
        num_partitions: 12,
        replication_factor: 1,
        ..Default::default()
    };
    let patient = CreateTopicsRequest { timeout_ms: 10_000, ..Default::default() };
    CreateTopicsRequest { topics: vec![partitions], ..patient }.into()
}

/// A look at its metadata creates a topic, in `dev`.
fn look(name: &str) -> Request {
    let topic = MetadataRequestTopic { name: Some(name.into()), ..Default::default() };
    let asked = MetadataRequest { allow_auto_topic_creation: true, ..Default::default() };
    MetadataRequest { topics: Some(vec![topic]), ..asked }.into()
}
