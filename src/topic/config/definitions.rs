//! Every topic config a client of Kafka 4 may ask about: Kafka's names, defaults, bounds and types
//! (its `LogConfig`), and what each means here.

use super::Kind::{self, Boolean, Double, Int, IntOr, List, Long, Word};
use std::borrow::Cow;
use tidelog_storage::Flush;

/// A topic config.
#[derive(Clone, Copy, Debug)]
pub struct ConfigDefinition {
    /// Kafka's name.
    pub name: &'static str,
    /// What Kafka calls the broker's default for it.
    pub broker_name: &'static str,
    /// What it is when nobody set it.
    pub default: &'static str,
    /// What it may be in Kafka.
    pub kind: Kind,
    /// Whether it is honoured here; one that is not cannot be set to anything but its default.
    pub honoured: bool,
    /// What it means.
    pub documentation: &'static str,
}

impl ConfigDefinition {
    /// The definition of the config with this name.
    pub fn find(name: &str) -> Option<&'static Self> {
        DEFINITIONS.iter().find(|known| known.name == name)
    }

    /// What it is when nobody set it, in a broker that flushes like this.
    pub fn default_with(&self, flush: Flush) -> Cow<'static, str> {
        let any = || Cow::from(LONG.to_string());
        match (self.name, flush) {
            ("flush.messages", Flush::Interval(_) | Flush::Never) => any(),
            ("flush.ms", Flush::Interval(interval)) => interval.as_millis().to_string().into(),
            _ => self.default.into(),
        }
    }

    const fn honoured(self) -> Self {
        Self { honoured: true, ..self }
    }
}

const INT: i64 = i32::MAX as i64;
const LONG: i64 = i64::MAX;
const CODECS: &[&str] = &["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"];
const TIMESTAMP_TYPES: &[&str] = &["CreateTime", "LogAppendTime"];

/// In the order of their names, as Kafka's documentation has them.
pub const DEFINITIONS: &[ConfigDefinition] = &[
    define(
        "cleanup.policy",
        "log.cleanup.policy",
        "delete",
        List(&["compact", "delete"]),
        "How old records go: with their segments (delete), or when a newer one has their key \
         (compact).",
    )
    .honoured(),
    define(
        "compression.gzip.level",
        "compression.gzip.level",
        "-1",
        IntOr(-1, 1, 9),
        "Level of gzip where the broker compresses.",
    )
    .honoured(),
    define(
        "compression.lz4.level",
        "compression.lz4.level",
        "9",
        Int(1, 17),
        "Level of lz4 where the broker compresses; 9 is the fast one.",
    )
    .honoured(),
    define(
        "compression.type",
        "compression.type",
        "producer",
        Word(CODECS),
        "Codec that batches are stored in; producer keeps them as they were sent.",
    )
    .honoured(),
    define(
        "compression.zstd.level",
        "compression.zstd.level",
        "3",
        // Unlike Kafka: not 20 to 22, at which a batch takes hundreds of MiB to compress.
        Int(-131_072, 19),
        "Level of zstd where the broker compresses.",
    )
    .honoured(),
    define(
        "delete.retention.ms",
        "log.cleaner.delete.retention.ms",
        "86400000",
        Long(0, LONG),
        "How long a compacted topic keeps a tombstone.",
    )
    .honoured(),
    define(
        "errors.deadletterqueue.group.enable",
        "errors.deadletterqueue.group.enable",
        "false",
        Boolean,
        "Whether share groups may put what they cannot deliver into the topic.",
    ),
    define(
        "file.delete.delay.ms",
        "log.segment.delete.delay.ms",
        "60000",
        Long(0, LONG),
        "How long a removed file stays on disk; here readers keep what they hold without it.",
    ),
    define(
        "flush.messages",
        "log.flush.interval.messages",
        "1",
        Long(1, LONG),
        "After how many records a log is synced. Unlike Kafka: 1 unless the broker's flush is \
         weaker, and then a record is synced before it is acknowledged or read; with more, a power \
         cut may take back acknowledged records.",
    )
    .honoured(),
    define(
        "flush.ms",
        "log.flush.interval.ms",
        "9223372036854775807",
        Long(0, LONG),
        "How long a record that flush.messages lets wait goes without a sync at most.",
    )
    .honoured(),
    define(
        "follower.replication.throttled.replicas",
        "follower.replication.throttled.replicas",
        "",
        List(&[]),
        "Followers whose replication is throttled.",
    ),
    define(
        "index.interval.bytes",
        "log.index.interval.bytes",
        "4096",
        Int(0, INT),
        "Bytes of log between two entries of its index.",
    ),
    define(
        "leader.replication.throttled.replicas",
        "leader.replication.throttled.replicas",
        "",
        List(&[]),
        "Leaders whose replication is throttled.",
    ),
    define(
        "local.retention.bytes",
        "log.local.retention.bytes",
        "-2",
        Long(-2, LONG),
        "Bytes kept here of a log that is in tiered storage too; -2 is retention.bytes.",
    ),
    define(
        "local.retention.ms",
        "log.local.retention.ms",
        "-2",
        Long(-2, LONG),
        "Time for which records in tiered storage are kept here too; -2 is retention.ms.",
    ),
    define(
        "max.compaction.lag.ms",
        "log.cleaner.max.compaction.lag.ms",
        "9223372036854775807",
        Long(1, LONG),
        "The longest a record escapes compaction.",
    )
    .honoured(),
    define(
        "max.decompressed.message.bytes",
        "max.decompressed.message.bytes",
        "2147483639",
        Int(1, 2_147_483_639),
        "The largest a record may be once it is decompressed.",
    ),
    define(
        "max.message.bytes",
        "message.max.bytes",
        "1048588",
        Int(0, INT),
        "The largest batch a producer may send, compressed, in bytes.",
    )
    .honoured(),
    define(
        "message.timestamp.after.max.ms",
        "log.message.timestamp.after.max.ms",
        "3600000",
        Long(0, LONG),
        "How far ahead of the broker's time a record's timestamp may be.",
    )
    .honoured(),
    define(
        "message.timestamp.before.max.ms",
        "log.message.timestamp.before.max.ms",
        "9223372036854775807",
        Long(0, LONG),
        "How far behind the broker's time a record's timestamp may be. Unless it is the default, \
         the broker decompresses every batch to look.",
    )
    .honoured(),
    define(
        "message.timestamp.type",
        "log.message.timestamp.type",
        "CreateTime",
        Word(TIMESTAMP_TYPES),
        "Whether records keep the producer's time or get the broker's.",
    )
    .honoured(),
    define(
        "min.cleanable.dirty.ratio",
        "log.cleaner.min.cleanable.ratio",
        "0.5",
        Double(0, 1),
        "Share of a log that is not compacted yet at which compaction starts.",
    )
    .honoured(),
    define(
        "min.compaction.lag.ms",
        "log.cleaner.min.compaction.lag.ms",
        "0",
        Long(0, LONG),
        "The shortest a record escapes compaction.",
    )
    .honoured(),
    define(
        "min.insync.replicas",
        "min.insync.replicas",
        "1",
        Int(1, INT),
        "Replicas that must have a record before acks=all acknowledges it; here there is one.",
    ),
    define(
        "preallocate",
        "log.preallocate",
        "false",
        Boolean,
        "Whether a segment's file gets its full size at once; here it grows in steps.",
    ),
    define(
        "remote.copy.lag.bytes",
        "log.remote.copy.lag.bytes",
        "0",
        Long(-1, LONG),
        "Bytes by which copying to tiered storage lags.",
    ),
    define(
        "remote.copy.lag.ms",
        "log.remote.copy.lag.ms",
        "0",
        Long(-1, LONG),
        "Time by which copying to tiered storage lags.",
    ),
    define(
        "remote.log.copy.disable",
        "remote.log.copy.disable",
        "false",
        Boolean,
        "Whether nothing more is copied to tiered storage.",
    ),
    define(
        "remote.log.delete.on.disable",
        "remote.log.delete.on.disable",
        "false",
        Boolean,
        "Whether turning tiered storage off deletes what is there.",
    ),
    define(
        "remote.storage.enable",
        "remote.storage.enable",
        "false",
        Boolean,
        "Whether the log goes to tiered storage.",
    ),
    define(
        "retention.bytes",
        "log.retention.bytes",
        "-1",
        Long(i64::MIN, LONG),
        "Bytes of a partition beyond which its oldest segments go; -1 is no bound.",
    )
    .honoured(),
    define(
        "retention.ms",
        "log.retention.ms",
        "604800000",
        Long(-1, LONG),
        "Age at which segments go; -1 keeps them for ever.",
    )
    .honoured(),
    define(
        "segment.bytes",
        "log.segment.bytes",
        "1073741824",
        Int(1 << 20, INT),
        "Size at which a log starts its next segment file.",
    )
    .honoured(),
    define(
        "segment.index.bytes",
        "log.index.size.max.bytes",
        "10485760",
        Int(4, INT),
        "The largest a segment's index may get.",
    ),
    define(
        "segment.jitter.ms",
        "log.roll.jitter.ms",
        "0",
        Long(0, LONG),
        "Bound of the time taken off segment.ms, so that segments do not all start at once.",
    )
    .honoured(),
    define(
        "segment.ms",
        "log.roll.ms",
        "604800000",
        Long(1, LONG),
        "Age at which a log starts its next segment file, by its records' timestamps.",
    )
    .honoured(),
    define(
        "unclean.leader.election.enable",
        "unclean.leader.election.enable",
        "false",
        Boolean,
        "Whether a replica that lacks records may lead.",
    ),
];

const fn define(
    name: &'static str,
    broker_name: &'static str,
    default: &'static str,
    kind: Kind,
    documentation: &'static str,
) -> ConfigDefinition {
    ConfigDefinition { name, broker_name, default, kind, honoured: false, documentation }
}
