//! Topic configs: what is set on a topic, checked against Kafka's definitions.
//!
//! **A config that is not honoured here has its default**: it is listed, setting it to the default
//! does nothing, and anything else is refused rather than ignored.

mod definitions;
mod kind;

pub use definitions::{ConfigDefinition, DEFINITIONS};
pub use kind::Kind;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;
use tidelog_protocol::records::Compression;
use tidelog_storage::{Compaction, Flush, PartitionOptions};

/// Keys one pass of compaction takes: 128 MiB of memory at most, while it runs, as with Kafka's
/// `log.cleaner.dedupe.buffer.size`.
const COMPACTION_KEYS_MAX: usize = 128 * 32_768;

/// Why a config is refused, in Kafka's words where it has any.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// No such config.
    #[error("Unknown topic config name: {0}")]
    Unknown(String),
    /// Not a value of its kind.
    #[error("Invalid value {value} for configuration {name}: {reason}")]
    Invalid {
        /// The config.
        name: &'static str,
        /// What was asked for.
        value: String,
        /// What would be right.
        reason: String,
    },
    /// Right in Kafka, but only the default is supported here.
    #[error(
        "Invalid value {value} for configuration {name}: only the default, '{default}', is supported here"
    )]
    Unsupported {
        /// The config.
        name: &'static str,
        /// What was asked for.
        value: String,
        /// What it is.
        default: &'static str,
    },
    /// Records would have to be compacted before they may be.
    #[error(
        "conflict topic config setting min.compaction.lag.ms ({min_ms}) > max.compaction.lag.ms ({max_ms})"
    )]
    Lags {
        /// What is asked for of the one.
        min_ms: i64,
        /// What is asked for of the other.
        max_ms: i64,
    },
    /// Only a list can be appended to or subtracted from.
    #[error("Can't {verb} to key {name} because its type is not LIST.")]
    NotAList {
        /// The config.
        name: String,
        /// What was asked for.
        verb: &'static str,
    },
}

/// One change of a config (KIP-339).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// To this value.
    Set(String),
    /// To its default.
    Delete,
    /// These entries are added to the list, unless they are in it.
    Append(String),
    /// These entries are taken out of the list.
    Subtract(String),
}

/// The configs set on a topic; the others have their defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    set: BTreeMap<String, String>,
    for_batches: ForBatches,
    /// What is stored of them, if some of it cannot be read; that has its default.
    unreadable: Option<Arc<str>>,
}

/// What every batch that is produced meets, looked up once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ForBatches {
    max_message_bytes: usize,
    log_append_time: bool,
    timestamp_before_max_ms: i64,
    timestamp_after_max_ms: i64,
    is_compacted: bool,
    compression: Option<Compression>,
    compression_level: Option<i32>,
}

impl Default for Config {
    fn default() -> Self {
        Self::of(BTreeMap::new())
    }
}

impl Config {
    /// Takes the configs as they were asked for.
    pub fn new(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let set: BTreeMap<_, _> = pairs.into_iter().collect();
        set.iter().try_for_each(|(name, value)| check(name, value))?;
        let config = Self::of(set);
        let Compaction { lag_min_ms, lag_max_ms, .. } = config.compaction();
        match lag_min_ms <= lag_max_ms {
            true => Ok(config),
            false => Err(ConfigError::Lags { min_ms: lag_min_ms, max_ms: lag_max_ms }),
        }
    }

    fn of(set: BTreeMap<String, String>) -> Self {
        let value = |name: &str| match set.get(name) {
            Some(value) => value.trim(),
            None => ConfigDefinition::find(name).map_or("", |definition| definition.default),
        };
        let compression = Compression::from_name(value("compression.type"));
        let level = compression.and_then(level_config).and_then(|name| set.get(name));
        let for_batches = ForBatches {
            max_message_bytes: value("max.message.bytes").parse().unwrap_or(0),
            log_append_time: value("message.timestamp.type") == "LogAppendTime",
            timestamp_before_max_ms: value("message.timestamp.before.max.ms")
                .parse()
                .unwrap_or(i64::MAX),
            timestamp_after_max_ms: value("message.timestamp.after.max.ms").parse().unwrap_or(-1),
            is_compacted: kind::split(value("cleanup.policy")).any(|policy| policy == "compact"),
            compression,
            compression_level: level.and_then(|level| level.trim().parse().ok()),
        };
        Self { set, for_batches, unreadable: None }
    }

    /// Reads what [`Config::stored`] gave. What cannot be read stays stored as it is until configs
    /// are set anew, and the second value says why.
    pub(super) fn read(stored: &str) -> (Self, anyhow::Result<()>) {
        let pairs = serde_json::from_str::<BTreeMap<String, String>>(stored);
        let readable = pairs.iter().flatten().filter(|(name, value)| check(name, value).is_ok());
        let readable =
            Self::of(readable.map(|(name, value)| (name.clone(), value.clone())).collect());
        match pairs.map_err(anyhow::Error::from).and_then(|pairs| Ok(Self::new(pairs)?)) {
            Ok(config) => (config, Ok(())),
            Err(error) => (Self { unreadable: Some(stored.into()), ..readable }, Err(error)),
        }
    }

    /// A text to store.
    pub(super) fn stored(&self) -> String {
        match &self.unreadable {
            Some(stored) => stored.to_string(),
            None => serde_json::json!(self.set).to_string(),
        }
    }

    /// Whether what is stored could be read.
    pub fn is_readable(&self) -> bool {
        self.unreadable.is_none()
    }

    /// The configs after some changes. Deleting one that is unknown does nothing. Those that could
    /// not be read are given up, and no others.
    pub fn changed(
        &self,
        changes: impl IntoIterator<Item = (String, Change)>,
    ) -> Result<Self, ConfigError> {
        let mut set = self.set.clone();
        for (name, change) in changes {
            let value = match change {
                Change::Set(value) => value,
                Change::Delete => {
                    set.remove(&name);
                    continue;
                }
                Change::Append(added) => {
                    let mut entries = self.list(&name, "APPEND")?;
                    let added: Vec<_> =
                        kind::split(&added).filter(|it| !entries.contains(it)).collect();
                    entries.extend(added);
                    entries.join(",")
                }
                Change::Subtract(removed) => {
                    let mut entries = self.list(&name, "SUBTRACT")?;
                    entries.retain(|entry| kind::split(&removed).all(|it| it != *entry));
                    entries.join(",")
                }
            };
            set.insert(name, value);
        }
        Self::new(set)
    }

    fn list(&self, name: &str, verb: &'static str) -> Result<Vec<&str>, ConfigError> {
        match ConfigDefinition::find(name) {
            Some(ConfigDefinition { kind: Kind::List(_), .. }) => {
                Ok(kind::split(self.value(name)).collect())
            }
            _ => Err(ConfigError::NotAList { name: name.to_owned(), verb }),
        }
    }

    /// The configs that were set, to their defaults or anything else.
    pub fn set(&self) -> &BTreeMap<String, String> {
        &self.set
    }

    /// Every config and its value in a broker that flushes like this, and whether it was set.
    pub fn all(
        &self,
        flush: Flush,
    ) -> impl Iterator<Item = (&'static ConfigDefinition, Cow<'_, str>, bool)> {
        DEFINITIONS.iter().map(move |it| match self.set.get(it.name) {
            Some(value) => (it, value.into(), true),
            None => (it, it.default_with(flush), false),
        })
    }

    /// The value of a config of [`DEFINITIONS`].
    pub fn value(&self, name: &str) -> &str {
        match self.set.get(name) {
            Some(value) => value,
            None => ConfigDefinition::find(name).map_or("", |definition| definition.default),
        }
    }

    fn number(&self, name: &str) -> i64 {
        self.value(name).trim().parse().unwrap_or(-1)
    }

    /// A number that was set; the default of others is not the topic's to say.
    fn own(&self, name: &str) -> Option<u64> {
        self.set.get(name)?.trim().parse().ok()
    }

    /// The largest batch a producer may send, in bytes.
    pub fn max_message_bytes(&self) -> usize {
        self.for_batches.max_message_bytes
    }

    /// How long records are kept at least, in ms; `None` is for ever.
    pub fn retention_ms(&self) -> Option<i64> {
        Some(self.number("retention.ms")).filter(|ms| *ms >= 0)
    }

    /// How many bytes a partition keeps at least; `None` is no bound.
    pub fn retention_bytes(&self) -> Option<u64> {
        u64::try_from(self.number("retention.bytes")).ok()
    }

    /// Whether records get the broker's time in place of the producer's.
    pub fn log_append_time(&self) -> bool {
        self.for_batches.log_append_time
    }

    /// How far ahead of the broker's time a record may be, in ms.
    fn timestamp_after_max_ms(&self) -> i64 {
        self.for_batches.timestamp_after_max_ms
    }

    /// How far behind the broker's time a record may be, in ms; `None` is any time.
    pub fn timestamp_before_max_ms(&self) -> Option<i64> {
        Some(self.for_batches.timestamp_before_max_ms).filter(|ms| *ms < i64::MAX)
    }

    /// The times of a producer, in ms since 1970, that are taken at `now_ms`: those from too far in
    /// the future would never be reached by retention by time. Where records get the broker's time
    /// it does not matter.
    pub fn times_at(&self, now_ms: i64) -> RangeInclusive<i64> {
        if self.log_append_time() {
            return i64::MIN..=i64::MAX;
        }
        let before = self.timestamp_before_max_ms().unwrap_or(i64::MAX);
        now_ms.saturating_sub(before)..=now_ms.saturating_add(self.timestamp_after_max_ms())
    }

    /// Whether old segments go.
    pub fn is_deleted(&self) -> bool {
        kind::split(self.value("cleanup.policy")).any(|policy| policy == "delete")
    }

    /// Whether records with the key of a newer one go.
    pub fn is_compacted(&self) -> bool {
        self.for_batches.is_compacted
    }

    /// The codec that batches are stored in; `None` leaves them as they were sent.
    pub fn compression(&self) -> Option<Compression> {
        self.for_batches.compression
    }

    /// The level of that codec, if one was set (KIP-390).
    pub fn compression_level(&self) -> Option<i32> {
        self.for_batches.compression_level
    }

    /// How the log is compacted.
    pub fn compaction(&self) -> Compaction {
        Compaction {
            dirty_ratio_min: self.value("min.cleanable.dirty.ratio").trim().parse().unwrap_or(0.5),
            lag_min_ms: self.number("min.compaction.lag.ms"),
            lag_max_ms: self.number("max.compaction.lag.ms"),
            delete_retention_ms: self.number("delete.retention.ms"),
            keys_max: COMPACTION_KEYS_MAX,
            until: i64::MAX,
        }
    }

    /// Records of a compacted topic that are overdue do not wait for their segment, as in Kafka.
    fn segment_ms(&self) -> i64 {
        let own = self.number("segment.ms");
        if self.is_compacted() { own.min(self.number("max.compaction.lag.ms")) } else { own }
    }

    /// What the log needs to know.
    pub fn partition_options(&self) -> PartitionOptions {
        PartitionOptions {
            segment_bytes: u64::try_from(self.number("segment.bytes")).unwrap_or(1 << 30),
            segment_ms: self.segment_ms(),
            segment_jitter_ms: self.number("segment.jitter.ms"),
            flush_messages: self.own("flush.messages"),
            flush_interval: self.own("flush.ms").map(Duration::from_millis),
            ..PartitionOptions::default()
        }
    }
}

/// The config that has this codec's level.
fn level_config(compression: Compression) -> Option<&'static str> {
    match compression {
        Compression::Gzip => Some("compression.gzip.level"),
        Compression::Zstd => Some("compression.zstd.level"),
        Compression::Lz4 => Some("compression.lz4.level"),
        Compression::None | Compression::Snappy => None,
    }
}

fn check(name: &str, value: &str) -> Result<(), ConfigError> {
    let definition =
        ConfigDefinition::find(name).ok_or_else(|| ConfigError::Unknown(name.to_owned()))?;
    let ConfigDefinition { name, default, kind, honoured, .. } = *definition;
    match kind.check(value) {
        Err(reason) => {
            let value = kind.fault(value).to_owned();
            Err(ConfigError::Invalid { name, value, reason })
        }
        Ok(()) if !honoured && !kind.same(value, default) => {
            Err(ConfigError::Unsupported { name, value: value.to_owned(), default })
        }
        Ok(()) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidelog_protocol::records::BatchBuilder;

    fn config(name: &str, value: &str) -> Result<Config, ConfigError> {
        Config::new([(name.to_owned(), value.to_owned())])
    }

    #[test]
    fn every_default_may_be_set_and_the_table_is_in_order() {
        for definition in DEFINITIONS {
            config(definition.name, definition.default).unwrap();
        }
        assert!(DEFINITIONS.is_sorted_by_key(|definition| definition.name));
    }

    #[test]
    fn refusals_are_worded_as_kafka_words_them() {
        let cases = [
            ("retention", "1", "Unknown topic config name: retention"),
            (
                "segment.bytes",
                "12",
                "Invalid value 12 for configuration segment.bytes: Value must be at least 1048576",
            ),
            (
                "retention.ms",
                "soon",
                "Invalid value soon for configuration retention.ms: Not a number of type LONG",
            ),
            (
                "max.message.bytes",
                "2147483648",
                "Invalid value 2147483648 for configuration max.message.bytes: Not a number of type INT",
            ),
            (
                "cleanup.policy",
                "delete,shred",
                "Invalid value shred for configuration cleanup.policy: String must be one of: compact, delete",
            ),
            (
                "min.cleanable.dirty.ratio",
                "1.5",
                "Invalid value 1.5 for configuration min.cleanable.dirty.ratio: Value must be no more than 1",
            ),
            (
                "preallocate",
                "yes",
                "Invalid value yes for configuration preallocate: Expected value to be either true or false",
            ),
            (
                "compression.type",
                "brotli",
                "Invalid value brotli for configuration compression.type: String must be one of: uncompressed, zstd, lz4, snappy, gzip, producer",
            ),
            (
                "compression.lz4.level",
                "18",
                "Invalid value 18 for configuration compression.lz4.level: Value must be no more than 17",
            ),
            (
                "compression.zstd.level",
                "20",
                "Invalid value 20 for configuration compression.zstd.level: Value must be no more than 19",
            ),
            (
                "compression.gzip.level",
                "0",
                "Invalid value 0 for configuration compression.gzip.level: Value must be between 1 and 9 or equal to -1",
            ),
        ];
        for (name, value, text) in cases {
            assert_eq!(config(name, value).unwrap_err().to_string(), text);
        }
        config("min.cleanable.dirty.ratio", "NaN").unwrap_err();
        // Records are then kept for ever.
        assert!(!config("cleanup.policy", "").unwrap().is_deleted());
        let lags = [("min.compaction.lag.ms", "10"), ("max.compaction.lag.ms", "5")];
        let lags = Config::new(lags.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(
            lags.unwrap_err().to_string(),
            "conflict topic config setting min.compaction.lag.ms (10) > max.compaction.lag.ms (5)"
        );
    }

    #[test]
    fn unset_configs_have_their_defaults() {
        let set = config("retention.ms", "60000").unwrap();
        assert_eq!(set.retention_ms(), Some(60_000));
        assert_eq!(set.retention_bytes(), None);
        assert_eq!(set.max_message_bytes(), 1_048_588);
        config("min.cleanable.dirty.ratio", "0.50").unwrap();
    }

    #[test]
    fn a_codec_compresses_at_its_own_level_and_no_others() {
        let mut sent = BatchBuilder::new(Compression::None, 1 << 20);
        for n in 0..2000_i64 {
            let value = format!("{} and {}", n * n % 7919, n * n * n % 104_729);
            sent.append(n, None, Some(value.as_bytes()), &[]).unwrap();
        }
        let sent = sent.finish().unwrap();
        let bytes = |codec: &str, levels: &[(&str, &str)]| {
            let own = [("compression.type", codec)];
            let pairs = levels.iter().chain(&own);
            let pairs = pairs.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            let admitted = Config::new(pairs).unwrap().admit(sent.clone()).unwrap();
            admitted.check().unwrap();
            admitted.bytes().len()
        };
        let (gzip, zstd) = ("compression.gzip.level", "compression.zstd.level");
        let lz4 = "compression.lz4.level";
        assert!(bytes("lz4", &[(lz4, "12")]) < bytes("lz4", &[(lz4, "9")]));
        assert_eq!(bytes("lz4", &[(lz4, "9"), (gzip, "1")]), bytes("lz4", &[]));
        assert!(bytes("gzip", &[(gzip, "9")]) < bytes("gzip", &[(gzip, "1")]));
        assert_eq!(bytes("gzip", &[(gzip, "-1"), (zstd, "19")]), bytes("gzip", &[]));
        assert!(bytes("zstd", &[(zstd, "19")]) < bytes("zstd", &[(zstd, "-50")]));
        assert_eq!(bytes("zstd", &[(zstd, "3"), (gzip, "1")]), bytes("zstd", &[]));
    }

    #[test]
    fn changes_apply_to_what_is_there_and_only_lists_grow_and_shrink() {
        let before = config("retention.ms", "1").unwrap();
        let change = |name: &str, change| before.changed([(name.to_owned(), change)]);
        let policy = |it| change("cleanup.policy", it).map(|it| it.set["cleanup.policy"].clone());
        assert_eq!(policy(Change::Append("delete".into())).unwrap(), "delete");
        assert_eq!(policy(Change::Subtract("compact".into())).unwrap(), "delete");
        assert_eq!(policy(Change::Append("compact".into())).unwrap(), "delete,compact");
        assert_eq!(policy(Change::Subtract("delete".into())).unwrap(), "");
        assert_eq!(change("retention.ms", Change::Delete).unwrap(), Config::default());
        assert_eq!(change("no.such", Change::Delete).unwrap(), before);
        let error = change("retention.ms", Change::Append("2".into())).unwrap_err();
        assert_eq!(
            error.to_string(),
            "Can't APPEND to key retention.ms because its type is not LIST."
        );
    }
}
