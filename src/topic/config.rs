//! Topic configs: Kafka's names, defaults and types, for those this broker honours.

use std::collections::BTreeMap;
use tidelog_storage::PartitionOptions;

/// What a config may be set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A whole number within bounds, both included.
    Number(i64, i64),
    /// One or more of these words, separated by commas.
    List(&'static [&'static str]),
}

/// A config this broker honours.
#[derive(Clone, Copy, Debug)]
pub struct ConfigDefinition {
    /// Kafka's name.
    pub name: &'static str,
    /// What it is when nobody set it.
    pub default: &'static str,
    /// What it may be.
    pub kind: Kind,
}

/// Every config this broker honours.
pub(super) const DEFINITIONS: &[ConfigDefinition] = &[
    define("cleanup.policy", "delete", Kind::List(&["delete"])),
    define("max.message.bytes", "1048588", Kind::Number(0, i32::MAX as i64)),
    define("retention.bytes", "-1", Kind::Number(-1, i64::MAX)),
    define("retention.ms", "604800000", Kind::Number(-1, i64::MAX)),
    define("segment.bytes", "1073741824", Kind::Number(1 << 20, i32::MAX as i64)),
];

const fn define(name: &'static str, default: &'static str, kind: Kind) -> ConfigDefinition {
    ConfigDefinition { name, default, kind }
}

/// Why a config is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// No such config.
    #[error("Unknown topic config name: {0}; known are {known}", known = known())]
    Unknown(String),
    /// Not a value of its kind.
    #[error("Invalid value {value} for configuration {name}: {expected}")]
    Invalid {
        /// The config.
        name: &'static str,
        /// What was asked for.
        value: String,
        /// What would be right.
        expected: String,
    },
}

fn known() -> String {
    DEFINITIONS.iter().map(|definition| definition.name).collect::<Vec<_>>().join(", ")
}

impl ConfigDefinition {
    fn check(&self, value: &str) -> Result<(), ConfigError> {
        let expected = match self.kind {
            Kind::Number(min, max) => match value.trim().parse::<i64>() {
                Ok(number) if (min..=max).contains(&number) => return Ok(()),
                _ => format!("a whole number from {min} to {max}"),
            },
            Kind::List(words) => {
                if value.split(',').all(|word| words.contains(&word.trim())) {
                    return Ok(());
                }
                format!("one or more of {}", words.join(", "))
            }
        };
        Err(ConfigError::Invalid { name: self.name, value: value.to_owned(), expected })
    }
}

/// The configs set on a topic; the others have their defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    set: BTreeMap<String, String>,
}

impl Config {
    /// Takes the configs as they were asked for.
    pub fn new(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let mut set = BTreeMap::new();
        for (name, value) in pairs {
            let Some(definition) = DEFINITIONS.iter().find(|known| known.name == name) else {
                return Err(ConfigError::Unknown(name));
            };
            definition.check(&value)?;
            set.insert(name, value);
        }
        Ok(Self { set })
    }

    /// The configs that differ from their defaults.
    pub fn set(&self) -> &BTreeMap<String, String> {
        &self.set
    }

    /// Every config, its value, and whether it was set.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, &str, bool)> {
        DEFINITIONS.iter().map(|it| (it.name, self.value(it.name), self.set.contains_key(it.name)))
    }

    /// The value of a config of [`DEFINITIONS`].
    pub fn value(&self, name: &str) -> &str {
        let default = || DEFINITIONS.iter().find(|known| known.name == name);
        match self.set.get(name) {
            Some(value) => value,
            None => default().map_or("", |definition| definition.default),
        }
    }

    fn number(&self, name: &str) -> i64 {
        self.value(name).trim().parse().unwrap_or(-1)
    }

    /// The largest batch a producer may send, in bytes.
    pub fn max_message_bytes(&self) -> usize {
        usize::try_from(self.number("max.message.bytes")).unwrap_or(0)
    }

    /// How long records are kept at least, in ms; `None` is for ever.
    pub fn retention_ms(&self) -> Option<i64> {
        Some(self.number("retention.ms")).filter(|ms| *ms >= 0)
    }

    /// How many bytes a partition keeps at least; `None` is no bound.
    pub fn retention_bytes(&self) -> Option<u64> {
        u64::try_from(self.number("retention.bytes")).ok()
    }

    /// What the log needs to know.
    pub fn partition_options(&self) -> PartitionOptions {
        PartitionOptions {
            segment_bytes: u64::try_from(self.number("segment.bytes")).unwrap_or(1 << 30),
            ..PartitionOptions::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(name: &str, value: &str) -> Result<Config, ConfigError> {
        Config::new([(name.to_owned(), value.to_owned())])
    }

    #[test]
    fn every_default_is_a_value_its_own_check_accepts() {
        for definition in DEFINITIONS {
            definition.check(definition.default).unwrap();
        }
    }

    #[test]
    fn a_refusal_names_the_config_and_what_would_be_right() {
        let unknown = config("retention", "1").unwrap_err().to_string();
        assert!(unknown.contains("retention;") && unknown.contains("retention.ms"), "{unknown}");
        let invalid = config("segment.bytes", "12").unwrap_err().to_string();
        assert!(invalid.contains("segment.bytes") && invalid.contains("1048576"), "{invalid}");
        config("cleanup.policy", "shred").unwrap_err();
    }

    #[test]
    fn unset_configs_have_their_defaults() {
        let set = config("retention.ms", "60000").unwrap();
        assert_eq!(set.retention_ms(), Some(60_000));
        assert_eq!(set.retention_bytes(), None);
        assert_eq!(set.max_message_bytes(), 1_048_588);
    }
}
