//! What is set on groups by name, whether there are such groups or not (KIP-848).
//!
//! Who sets a config has checked it. It is in force from a member's next heartbeat on.

use super::{Group, Options};
use std::collections::BTreeMap;
use std::time::Duration;

/// The configs set on a group, by Kafka's names.
pub type ConfigSet = BTreeMap<String, String>;

/// `consumer.session.timeout.ms`: how long a member may be silent.
pub const SESSION_TIMEOUT: &str = "consumer.session.timeout.ms";
/// `consumer.heartbeat.interval.ms`: how often a member is to heartbeat.
pub const HEARTBEAT_INTERVAL: &str = "consumer.heartbeat.interval.ms";

impl Options {
    /// The options of a group on which this is set.
    pub fn with(self, set: &ConfigSet) -> Self {
        let ms = |name| set.get(name)?.trim().parse().ok().map(Duration::from_millis);
        Self {
            consumer_session_timeout: ms(SESSION_TIMEOUT).unwrap_or(self.consumer_session_timeout),
            consumer_heartbeat_interval: ms(HEARTBEAT_INTERVAL)
                .unwrap_or(self.consumer_heartbeat_interval),
            ..self
        }
    }
}

impl<T> Group<T> {
    /// Goes on with these options.
    pub fn configure(&mut self, options: Options) {
        self.options = options;
    }
}
