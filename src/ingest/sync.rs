//! A sync: where records come from, and what becomes of their columns.

use super::mapping::{self, Mapping};
use super::name::{self, Collection, SyncId, topic_name};
use crate::control::{self, SyncRow};
use crate::topic;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A sync as its owner wrote it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Definition {
    /// Where the records come from: `stripe`, `salesforce`, or any word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The collections, by slug.
    #[serde(default)]
    pub collections: BTreeMap<String, CollectionDefinition>,
}

/// A collection as its owner wrote it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CollectionDefinition {
    /// The destination table; the collection's slug when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// What columns are called in it; the others keep their names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub columns: BTreeMap<String, String>,
    /// Partitions of the topic, when it is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitions: Option<i32>,
}

/// A sync, checked.
#[derive(Debug)]
pub(super) struct Sync {
    /// `sync_` and hex digits, or what its owner chose.
    pub id: SyncId,
    /// Where the records come from.
    pub provider: Option<String>,
    /// The collections, by slug.
    pub collections: BTreeMap<String, Defined>,
}

/// A collection, checked.
#[derive(Debug)]
pub(super) struct Defined {
    /// Its slug.
    pub collection: Collection,
    /// The names its columns get.
    pub mapping: Mapping,
    /// As its owner wrote it.
    pub definition: CollectionDefinition,
}

impl Defined {
    /// The destination table.
    pub(super) fn table(&self) -> &str {
        self.definition.table.as_deref().unwrap_or(self.collection.as_str())
    }
}

/// Why a sync cannot be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A collection's slug cannot be part of a topic's name.
    #[error("collection '{0}': {1}")]
    Collection(String, name::Error),
    /// A column mapping that contradicts itself.
    #[error("collection '{0}': {1}")]
    Mapping(String, mapping::Error),
    /// The topic's name is too long.
    #[error("the topic name {0} would be over {max} bytes", max = name::TOPIC_BYTES_MAX)]
    LongTopic(String),
    /// Too many collections.
    #[error("{0} collections are more than {COLLECTIONS_MAX}")]
    Collections(usize),
    /// A topic of this name is there, and not this sync's.
    #[error(
        "topic '{0}' exists and is not this sync's; delete it, or name the collection otherwise"
    )]
    TopicTaken(String),
    /// The topic cannot be made.
    #[error(transparent)]
    Topic(#[from] topic::Error),
    /// The definition cannot be stored.
    #[error("the control database failed: {0}")]
    Control(#[from] control::Error),
    /// The stored definition cannot be read.
    #[error("the definition of sync '{0}' is not readable: {1}")]
    Stored(String, String),
}

/// Collections of one sync.
const COLLECTIONS_MAX: usize = 1000;

impl Sync {
    /// Checks a definition.
    ///
    /// # Errors
    /// Names that cannot be part of a topic's, mappings that contradict themselves, too many.
    pub(super) fn new(id: SyncId, definition: Definition) -> Result<Self, Error> {
        if definition.collections.len() > COLLECTIONS_MAX {
            return Err(Error::Collections(definition.collections.len()));
        }
        let mut collections = BTreeMap::new();
        for (slug, definition) in definition.collections {
            let collection =
                Collection::parse(&slug).map_err(|error| Error::Collection(slug.clone(), error))?;
            let topic = topic_name(&id, &collection);
            if topic.len() > name::TOPIC_BYTES_MAX {
                return Err(Error::LongTopic(topic));
            }
            let mapping = Mapping::new(definition.columns.clone())
                .map_err(|error| Error::Mapping(slug.clone(), error))?;
            collections.insert(slug, Defined { collection, mapping, definition });
        }
        Ok(Self { id, provider: definition.provider, collections })
    }

    /// A sync from the control database.
    ///
    /// # Errors
    /// When it is not readable, naming it.
    pub(super) fn stored(row: &SyncRow) -> Result<Self, Error> {
        let unreadable = |reason: String| Error::Stored(row.id.clone(), reason);
        let id = SyncId::parse(&row.id).map_err(|error| unreadable(error.to_string()))?;
        let definition =
            serde_json::from_str(&row.definition).map_err(|error| unreadable(error.to_string()))?;
        Self::new(id, definition)
    }

    /// The sync as it was written.
    pub(super) fn definition(&self) -> Definition {
        let collections =
            self.collections.iter().map(|(slug, it)| (slug.clone(), it.definition.clone()));
        Definition { provider: self.provider.clone(), collections: collections.collect() }
    }

    /// The sync for the control database.
    pub(super) fn row(&self, account: &str) -> SyncRow {
        SyncRow {
            account: account.to_owned(),
            id: self.id.to_string(),
            definition: serde_json::json!(self.definition()).to_string(),
        }
    }

    /// The topic of a collection.
    pub(super) fn topic(&self, collection: &str) -> String {
        format!("sequin.{}.{collection}", self.id)
    }
}
