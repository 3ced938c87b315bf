//! Where the answers may differ, and why.

/// Fields of which only whether they are set is compared, by name.
pub(crate) const ONLY_WHETHER_SET: &[(&str, &str)] = &[
    ("cluster_id", "each cluster has its own"),
    ("topic_id", "random"),
    ("member_id", "random"),
    ("leader", "a member's id"),
    ("session_id", "random"),
    ("producer_id", "each broker counts its own"),
    ("host", "each broker has its own address"),
    ("port", "each broker has its own address"),
    ("client_host", "Kafka puts a slash before it"),
    ("log_dir", "each broker has its own disk"),
    ("total_bytes", "and what is left on it"),
    ("usable_bytes", "and what is left on it"),
    ("documentation", "in our own words"),
    ("log_append_time_ms", "the broker's clock"),
    ("last_timestamp", "the broker's clock"),
    ("member_epoch", "Kafka 4.4 begins at 2"),
    ("group_epoch", "Kafka 4.4 begins at 2"),
    ("assignment_epoch", "Kafka 4.4 begins at 2"),
];

/// Differences, as `place = kafka | tidelog`: `*` stands for anything.
pub(crate) const ALLOWED: &[(&str, &str)] = &[
    ("*error_message = \"\" | *", "Kafka has nothing to say, in whichever way it says so"),
    ("*error_message = None | *", "Kafka has nothing to say, in whichever way it says so"),
    ("*error_message = \"NONE\" | None", "Kafka has nothing to say, in whichever way it says so"),
    ("* an epoch to come: error_message = *", "it tells the epoch, and Kafka 4.4 begins at 2"),
    ("* not an expression: error_message = *", "ours says where it fails"),
    ("*error_message = \"This most likely occurs *", "Kafka says nothing in particular; we do"),
    // What is not served.
    ("ApiVersions * all: api_keys[*] = * | absent", "transactions, share groups, tokens, quotas"),
    ("ApiVersions * all: api_keys[1].max_version = *", "Fetch 18 is for replicas (KIP-1166)"),
    ("ApiVersions * all: api_keys[*].min_version = * | 0", "clients older than Kafka 4 take"),
    ("ApiVersions *_features[*.version] = * | absent", "tools must not find what is not there"),
    ("ApiVersions * finalized_features_epoch = *", "each broker counts its own"),
    ("DescribeConfigs * client metrics: *.configs = *", "clients' metrics are declined"),
    ("ApiVersions * supported_features[group.version]*", "versions before 4 cannot read a 0"),
    // One broker, whose settings are the operator's and whose metadata is not in a log.
    ("DescribeQuorum * the quorum: *", "the metadata is not in a replicated log"),
    ("*[flush.messages].value = *", "acknowledged means synced"),
    ("*.read_only = false | true", "what is not honoured cannot be set"),
    ("*[min.insync.replicas]*", "Kafka sets it for all brokers when ELR is on; there is one"),
    ("* the default of brokers: *.configs = *", "likewise: Kafka has set min.insync.replicas"),
    ("*[remote.copy.lag*", "of Kafka's next release"),
    ("*.synonyms*", "Kafka lists no broker config whose default is null; we list the default"),
    ("*[log.retention.ms].value = None | *", "Kafka has it in log.retention.hours"),
    ("*[num.partitions].config_source = 5 | 4", "it is always set here"),
    ("* two replicas: *error_message = *", "Kafka's goes on about directories we do not have"),
    // Where Kafka trips, or says less.
    ("Metadata * by nothing: *", "Kafka fails on a topic with neither name nor id"),
    ("DescribeTopicPartitions * invalid: *", "Kafka fails on an invalid name"),
    ("IncrementalAlterConfigs * an unknown operation: *", "Kafka fails on it"),
    ("Produce * an unknown codec: *", "Kafka fails on it"),
    ("Produce * magic 3: *error_message = *", "ours says what would be right"),
    ("Produce * length*: *error_message = *", "ours says what would be right"),
    ("* unknown topic and config: *", "which of two errors is told"),
    // Where nothing depends on it.
    ("CreateTopics *.topic_id = * | [0, *", "an id for a topic that is only checked"),
    ("DescribeConfigs * a topic twice: *", "answers are larger than questions: each comes once"),
    ("OffsetCommit v10 good and bad: *", "Kafka's order differs, and ids are random"),
    (
        "Produce * again: *.log_append_time_ms = *",
        "a repeated batch's time, which no client asked for",
    ),
    ("* too late: *.batch_index_error_message = *", "the broker's clock"),
    ("Fetch * a batch and a half: *.records = *", "we send whole batches, Kafka cuts the last"),
];

/// Whether a place is of a pattern in which `*` stands for anything.
pub(crate) fn is_like(pattern: &str, place: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == place,
        Some((start, rest)) => place.strip_prefix(start).is_some_and(|place| {
            place
                .char_indices()
                .map(|(at, _)| at)
                .chain([place.len()])
                .any(|at| is_like(rest, &place[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::is_like;

    #[test]
    fn a_star_stands_for_anything() {
        let place = "Fetch v4 old: responses[a].partitions[0].error_code";
        for pattern in [place, "*", "Fetch *", "*.error_code", "Fetch * old: *[a].*[0].error_code"]
        {
            assert!(is_like(pattern, place), "{pattern}");
        }
        for pattern in ["", "Fetch", "*error", "Fetch * new: *", "*[b]*"] {
            assert!(!is_like(pattern, place), "{pattern}");
        }
    }
}
