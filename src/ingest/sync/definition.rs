//! A sync as its owner writes it: the body of `PUT /v1/syncs/{sync}`, and the same as it is stored.

use super::super::json::Object;
use super::super::mapping::{Naming, Rules};
use super::super::name::Collection;
use super::Error;
use crate::topic::{Change, Config};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A sync.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::ingest) struct Definition {
    /// What people call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Where the records come from: `stripe`, `salesforce`, or any word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// What it is in the owner's own books.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// Anything else of the owner's, a JSON object that is kept as it came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Box<RawValue>>,
    /// How columns and tables are named where nothing else is said.
    #[serde(default, skip_serializing_if = "is_default")]
    pub naming: Naming,
    /// What the first record of a collection that is not there does.
    #[serde(default, skip_serializing_if = "is_default")]
    pub new_collections: NewCollections,
    /// The collections, by slug.
    #[serde(default)]
    pub collections: BTreeMap<String, CollectionDefinition>,
}

/// What the first record of a collection that is not there does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::ingest) enum NewCollections {
    /// It makes the collection and its topic.
    #[default]
    Create,
    /// It is refused, so that a misspelt name does not become a collection.
    Refuse,
}

/// A collection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::ingest) struct CollectionDefinition {
    /// The destination table; the collection's slug under the naming rule when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// How its columns and table are named; the sync's rule when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub naming: Option<Naming>,
    /// What columns are called in the table.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub columns: BTreeMap<String, String>,
    /// The only columns taken over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub select: Option<BTreeSet<String>>,
    /// Columns left out.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub drop: BTreeSet<String>,
    /// Columns that are kept whatever the rules become, and the names they keep. Written as a list,
    /// they keep the names they have now.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "locks")]
    pub lock: BTreeMap<String, Option<String>>,
    /// Partitions of the topic, when it is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitions: Option<i32>,
    /// How long the topic keeps events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
    /// Whether the topic keeps each record's last event only.
    #[serde(default, skip_serializing_if = "is_default")]
    pub compaction: bool,
    /// Whether a null value follows each deleted event, so that compaction drops the record; so by
    /// default where there is compaction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tombstones: Option<bool>,
}

/// How long events are kept: `7days`, `12h`, or `forever`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(in crate::ingest) struct Retention(Option<Duration>);

/// Bytes of a name, provider or external id, and of a column or table.
pub(in crate::ingest) const TEXT_BYTES_MAX: usize = 256;
/// Bytes of metadata.
pub(in crate::ingest) const METADATA_BYTES_MAX: usize = 16 << 10;
/// Collections of one sync.
pub(in crate::ingest) const COLLECTIONS_MAX: usize = 1000;

impl Definition {
    /// Refuses what is too long or too much, and names that cannot be.
    pub(super) fn check(&self) -> Result<(), Error> {
        let texts = [
            ("name", &self.name),
            ("provider", &self.provider),
            ("external_id", &self.external_id),
        ];
        for (field, text) in texts {
            check_text(field, text.as_deref())?;
        }
        if let Some(metadata) = &self.metadata {
            let bytes = metadata.get().len();
            if bytes > METADATA_BYTES_MAX {
                let text = format!("{bytes} bytes, at most {METADATA_BYTES_MAX} are possible");
                return Err(Error::field("metadata", text));
            }
            Object::parse(metadata.get().as_bytes())
                .map_err(|error| Error::field("metadata", error.to_string()))?;
        }
        if self.collections.len() > COLLECTIONS_MAX {
            return Err(Error::Collections(self.collections.len()));
        }
        self.collections.iter().try_for_each(|(slug, collection)| collection.check(slug))
    }
}

impl CollectionDefinition {
    fn check(&self, slug: &str) -> Result<(), Error> {
        Collection::parse(slug).map_err(|error| Error::Collection(slug.to_owned(), error))?;
        let field = |name: &str| format!("collections.{slug}.{name}");
        check_text(&field("table"), self.table.as_deref())?;
        let renamed = self.columns.values().map(|it| ("columns", it));
        let locked = self.lock.values().flatten().map(|it| ("lock", it));
        let columns = self.columns.keys().map(|it| ("columns", it));
        for (name, text) in renamed.chain(locked).chain(columns) {
            if text.len() > TEXT_BYTES_MAX {
                check_text(&field(name), Some(text))?;
            }
        }
        Ok(())
    }

    /// The destination table.
    pub(super) fn table(&self, slug: &str, naming: Naming) -> String {
        match &self.table {
            Some(table) => table.clone(),
            None => self.naming.unwrap_or(naming).apply(Cow::Borrowed(slug)).into_owned(),
        }
    }

    /// What it says about columns, in a sync of this rule.
    pub(super) fn rules(&self, naming: Naming) -> Rules {
        let locked = |(column, name): (&String, &Option<String>)| {
            Some((column.clone(), name.as_ref()?.clone()))
        };
        Rules {
            naming: self.naming.unwrap_or(naming),
            columns: self.columns.clone(),
            select: self.select.clone(),
            drop: self.drop.clone(),
            lock: self.lock.iter().filter_map(locked).collect(),
        }
    }

    /// Whether a null value follows each deleted event.
    pub(in crate::ingest) fn has_tombstones(&self) -> bool {
        self.tombstones.unwrap_or(self.compaction)
    }

    /// What its topic is configured with.
    pub(in crate::ingest) fn topic_configs(&self) -> BTreeMap<String, String> {
        let mut configs = BTreeMap::new();
        if let Some(retention) = self.retention {
            configs.insert("retention.ms".to_owned(), retention.ms().to_string());
        }
        if self.compaction {
            let policy = if self.retention.is_some() { "compact,delete" } else { "compact" };
            configs.insert("cleanup.policy".to_owned(), policy.to_owned());
        }
        configs
    }

    /// The configs of a topic, after its collection was `before` and is this. What somebody else
    /// set meanwhile stays, unless the definition changed just there.
    pub(in crate::ingest) fn reconfigure(
        &self,
        before: &Self,
        config: &Config,
    ) -> Result<Config, crate::topic::ConfigError> {
        let (before, after) = (before.topic_configs(), self.topic_configs());
        let gone = before.keys().filter(|name| !after.contains_key(*name));
        let gone = gone.map(|name| (name.clone(), Change::Delete));
        let set = after.iter().filter(|(name, value)| before.get(*name) != Some(value));
        let set = set.map(|(name, value)| (name.clone(), Change::Set(value.clone())));
        config.changed(gone.chain(set).collect::<Vec<_>>())
    }
}

impl Retention {
    /// In ms; -1 is for ever.
    fn ms(self) -> i64 {
        self.0.map_or(-1, |it| i64::try_from(it.as_millis()).unwrap_or(i64::MAX))
    }
}

impl TryFrom<String> for Retention {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == "forever" {
            return Ok(Self(None));
        }
        match humantime::parse_duration(&text) {
            Ok(duration) => Ok(Self(Some(duration))),
            Err(error) => Err(format!(
                "retention: expected a duration such as \"7days\" or \"12h\", or \"forever\", found {text:?}: {error}"
            )),
        }
    }
}

impl From<Retention> for String {
    fn from(retention: Retention) -> Self {
        match retention.0 {
            Some(duration) => humantime::format_duration(duration).to_string(),
            None => "forever".to_owned(),
        }
    }
}

/// Locks as `["AccountId"]`, or as `{"AccountId":"account_id"}`.
fn locks<'de, D: Deserializer<'de>>(
    input: D,
) -> Result<BTreeMap<String, Option<String>>, D::Error> {
    struct Locks;

    impl<'de> serde::de::Visitor<'de> for Locks {
        type Value = BTreeMap<String, Option<String>>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a list of columns, or an object of columns and the names they keep")
        }

        fn visit_seq<A: serde::de::SeqAccess<'de>>(
            self,
            mut columns: A,
        ) -> Result<Self::Value, A::Error> {
            let mut locks = BTreeMap::new();
            while let Some(column) = columns.next_element()? {
                locks.insert(column, None);
            }
            Ok(locks)
        }

        fn visit_map<A: serde::de::MapAccess<'de>>(
            self,
            mut names: A,
        ) -> Result<Self::Value, A::Error> {
            let mut locks = BTreeMap::new();
            while let Some((column, name)) = names.next_entry()? {
                locks.insert(column, Some(name));
            }
            Ok(locks)
        }
    }

    input.deserialize_any(Locks)
}

fn check_text(field: &str, text: Option<&str>) -> Result<(), Error> {
    let Some(text) = text else { return Ok(()) };
    match text.len() {
        1..=TEXT_BYTES_MAX => Ok(()),
        found => {
            let text = format!("expected 1 to {TEXT_BYTES_MAX} bytes, found {found}");
            Err(Error::field(field, text))
        }
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Definition, String> {
        let read: Definition = serde_json::from_str(text).map_err(|error| error.to_string())?;
        read.check().map_err(|error| error.to_string())?;
        Ok(read)
    }

    #[test]
    fn a_definition_is_stored_as_it_was_written_and_without_what_was_not() {
        for text in [
            r#"{"collections":{}}"#,
            r#"{"name":"CRM","provider":"salesforce","external_id":"7","metadata":{"big":12345678901234567890.10},"naming":"snake_case","new_collections":"refuse","collections":{"contact":{"table":"contacts","naming":"as-is","columns":{"LastName":"last_name"},"select":["Id"],"drop":["Secret"],"lock":{"Id":"id"},"partitions":3,"retention":"7days","compaction":true,"tombstones":false}}}"#,
        ] {
            assert_eq!(serde_json::to_string(&read(text).unwrap()).unwrap(), text);
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let long = format!(r#"{{"name":"{}"}}"#, "x".repeat(257));
        let heavy = format!(r#"{{"metadata":{{"a":"{}"}}}}"#, "x".repeat(16 << 10));
        let many: Vec<_> = (0..=1000).map(|it| format!(r#""c{it}":{{}}"#)).collect();
        let many = format!(r#"{{"collections":{{{}}}}}"#, many.join(","));
        let table = [
            (r#"{"naming":"camel"}"#, "unknown variant `camel`, expected `as-is` or `snake_case`"),
            (r#"{"metadata":[1]}"#, "metadata: expected a JSON object, found array"),
            (r#"{"name":""}"#, "name: expected 1 to 256 bytes, found 0"),
            (&long, "name: expected 1 to 256 bytes, found 257"),
            (&heavy, "metadata: 16392 bytes, at most 16384"),
            (&many, "1001 collections are more than 1000"),
            (r#"{"collections":{"a b":{}}}"#, "collection 'a b': "),
            (r#"{"collections":{"a":{"table":""}}}"#, "collections.a.table: expected 1 to 256"),
            (r#"{"collections":{"a":{"lock":1}}}"#, "expected a list of columns, or an object"),
            (r#"{"collections":{"a":{"retention":"soon"}}}"#, "expected a duration such as"),
            (r#"{"collections":{"a":{"colums":{}}}}"#, "unknown field `colums`"),
        ];
        for (text, want) in table {
            let error = read(text).unwrap_err();
            assert!(error.contains(want), "{text}: {error}");
        }
    }

    #[test]
    fn a_topic_is_reconfigured_only_where_the_definition_changed() {
        let read = |text: &str| serde_json::from_str::<CollectionDefinition>(text).unwrap();
        let config = |pairs: &[(&str, &str)]| {
            Config::new(pairs.iter().map(|(a, b)| (a.to_string(), b.to_string()))).unwrap()
        };
        let plain = read("{}");
        let week = read(r#"{"retention":"7days"}"#);
        let compacted = read(r#"{"retention":"forever","compaction":true}"#);
        assert!(compacted.has_tombstones() && !week.has_tombstones());
        let own = config(&[("retention.ms", "5"), ("segment.bytes", "1048576")]);
        assert_eq!(plain.reconfigure(&plain, &own).unwrap(), own);
        assert_eq!(week.reconfigure(&week, &own).unwrap(), own);
        let set = config(&[("retention.ms", "604800000"), ("segment.bytes", "1048576")]);
        assert_eq!(week.reconfigure(&plain, &own).unwrap(), set);
        let both = [("retention.ms", "-1"), ("cleanup.policy", "compact,delete")];
        assert_eq!(compacted.reconfigure(&week, &config(&[])).unwrap(), config(&both));
        assert_eq!(plain.reconfigure(&compacted, &config(&both)).unwrap(), config(&[]));
    }
}
