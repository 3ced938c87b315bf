//! A sync: where records come from, and what becomes of their columns.
//!
//! **A collection's mapping is versioned.** Each change of it makes another version, and those
//! before are kept, since records are stored under the one their last event was made with.

pub(super) mod definition;
pub(super) mod routes;

use definition::COLLECTIONS_MAX;
pub(super) use definition::{CollectionDefinition, Definition, NewCollections};

use super::mapping::{self, Mapping, Rules};
use super::name::{self, Collection, SyncId, topic_name};
use crate::control::{self, SyncRow};
use crate::topic;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A sync, checked.
#[derive(Debug)]
pub(super) struct Sync {
    /// `sync_` and hex digits, or what its owner chose.
    pub id: SyncId,
    /// As its owner wrote it; locked columns have the names they keep.
    pub definition: Definition,
    /// The collections, by slug.
    pub collections: BTreeMap<String, Arc<Defined>>,
}

/// A collection, checked.
#[derive(Debug)]
pub(super) struct Defined {
    /// Its slug.
    pub collection: Collection,
    /// The destination table.
    pub table: String,
    /// The names its columns get.
    pub mapping: Mapping,
    /// The mappings there were before, from version 1 on.
    past: Vec<Mapping>,
    /// As its owner wrote it.
    pub definition: CollectionDefinition,
}

impl Defined {
    /// The version of the mapping, counted from 1.
    pub(super) fn version(&self) -> u32 {
        u32::try_from(self.past.len() + 1).unwrap_or(u32::MAX)
    }

    /// The mapping of a version.
    pub(super) fn mapping_of(&self, version: u32) -> &Mapping {
        let index = usize::try_from(version).unwrap_or(usize::MAX).saturating_sub(1);
        self.past.get(index).unwrap_or(&self.mapping)
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
    /// A field that cannot be so.
    #[error("{field}: {reason}")]
    Field {
        /// Where it is.
        field: String,
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// Too many collections.
    #[error("{0} collections are more than {COLLECTIONS_MAX}, the most a sync may have")]
    Collections(usize),
    /// Too many syncs.
    #[error("the account has {0} syncs, the most it may have; delete one first")]
    Syncs(usize),
    /// A mapping that was changed too often.
    #[error("the mapping of collection '{0}' was changed {MAPPINGS_MAX} times, the most possible")]
    Mappings(String),
    /// A definition that is too long, or what its mappings were.
    #[error("{what} of the sync takes {bytes} bytes, at most {max} are possible")]
    Long {
        /// Which.
        what: &'static str,
        /// Bytes it takes.
        bytes: usize,
        /// Bytes there may be.
        max: usize,
    },
    /// There is a sync of this id, and only a new one is wanted.
    #[error("sync '{0}' exists already: change it (PATCH, `tidelog sync update`) or delete it")]
    Exists(SyncId),
    /// There is no such sync.
    #[error("sync '{0}' does not exist")]
    Unknown(SyncId),
    /// The sync takes no new collections.
    #[error("collection '{0}' does not exist, and the sync refuses new collections; {1}")]
    Refused(String, String),
    /// A topic of this name is there, and not this sync's.
    #[error(
        "topic '{0}' exists and is not this sync's; delete it, or name the collection otherwise"
    )]
    TopicTaken(String),
    /// A sync's topic keeps its partitions, since the record state is kept by partition.
    #[error(
        "collections.{collection}.partitions: topic '{topic}' has {have} partition(s) and keeps them, found {asked}"
    )]
    Partitions {
        /// The collection.
        collection: String,
        /// Its topic.
        topic: String,
        /// How many there are.
        have: i32,
        /// How many were asked for.
        asked: i32,
    },
    /// The topic cannot be made, changed or deleted.
    #[error(transparent)]
    Topic(#[from] topic::Error),
    /// The definition cannot be stored.
    #[error("the control database failed: {0}")]
    Control(#[from] control::Error),
    /// The record state cannot be removed.
    #[error("the state store failed: {0}")]
    State(#[from] fjall::Error),
    /// The stored definition cannot be read.
    #[error("the definition of sync '{0}' is not readable: {1}")]
    Stored(String, String),
    /// The same, found when the broker started.
    #[error("{0}; the sync takes nothing until a start can read it, or it is deleted")]
    Unreadable(String),
}

impl Error {
    fn field(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Field { field: field.into(), reason: reason.into() }
    }
}

/// Syncs of one account.
pub(super) const SYNCS_MAX: usize = 1000;
/// Versions of one collection's mapping.
pub(super) const MAPPINGS_MAX: usize = 1000;
/// Bytes of a definition, which is written anew with every collection that is added.
pub(super) const DEFINITION_BYTES_MAX: usize = 1 << 20;
/// Bytes of all versions of a sync's mappings.
pub(super) const HISTORY_BYTES_MAX: usize = 16 << 20;

/// The rules of a collection's mappings that are no longer in force, by collection, the first
/// first.
type History = BTreeMap<String, Vec<Rules>>;

impl Sync {
    /// Checks a definition, which takes the place of `before`.
    ///
    /// # Errors
    /// Names that cannot be part of a topic's, mappings that contradict themselves, too many or
    /// too long.
    pub(super) fn new(
        id: SyncId,
        definition: Definition,
        before: Option<&Self>,
    ) -> Result<Self, Error> {
        let past = |slug: &str| {
            let defined = before?.collections.get(slug)?;
            Some((&defined.mapping, &defined.past[..]))
        };
        let sync = Self::checked(id, definition, past)?;
        // Not of one that is stored: what there is can be read.
        let row = sync.row("");
        let texts = [
            ("the definition", row.definition.len(), DEFINITION_BYTES_MAX),
            ("the history of the mappings", row.history.len(), HISTORY_BYTES_MAX),
        ];
        match texts.into_iter().find(|(_, bytes, max)| bytes > max) {
            Some((what, bytes, max)) => Err(Error::Long { what, bytes, max }),
            None => Ok(sync),
        }
    }

    /// A sync from the control database.
    ///
    /// # Errors
    /// When it is not readable, naming it.
    pub(super) fn stored(row: &SyncRow) -> Result<Self, Error> {
        let unreadable = |reason: String| Error::Stored(row.id.clone(), reason);
        let id = SyncId::parse(&row.id).map_err(|error| unreadable(error.to_string()))?;
        let definition: Definition =
            serde_json::from_str(&row.definition).map_err(|error| unreadable(error.to_string()))?;
        let history: History =
            serde_json::from_str(&row.history).map_err(|error| unreadable(error.to_string()))?;
        let mut past: BTreeMap<String, Vec<Mapping>> = BTreeMap::new();
        for (slug, rules) in history {
            let mappings = rules.into_iter().map(Mapping::new).collect::<Result<_, _>>();
            past.insert(slug, mappings.map_err(|error| unreadable(error.to_string()))?);
        }
        let stored = |slug: &str| {
            let (last, earlier) = past.get(slug)?.split_last()?;
            Some((last, earlier))
        };
        Self::checked(id, definition, stored)
    }

    /// `past` gives a collection's last mapping, and those before it.
    fn checked<'a>(
        id: SyncId,
        mut definition: Definition,
        past: impl Fn(&str) -> Option<(&'a Mapping, &'a [Mapping])>,
    ) -> Result<Self, Error> {
        definition.check()?;
        let naming = definition.naming;
        let mut collections = BTreeMap::new();
        for (slug, definition) in &mut definition.collections {
            let wrong = |error| Error::Mapping(slug.clone(), error);
            let collection =
                Collection::parse(slug).map_err(|error| Error::Collection(slug.clone(), error))?;
            let last = past(slug);
            let mut rules = definition.rules(naming);
            lock(&mut rules, definition, last.map(|(mapping, _)| mapping)).map_err(wrong)?;
            let mapping = Mapping::new(rules).map_err(wrong)?;
            let past = match last {
                None => Vec::new(),
                Some((last, earlier)) if *last == mapping => earlier.to_vec(),
                Some((last, earlier)) => [earlier, std::slice::from_ref(last)].concat(),
            };
            if past.len() >= MAPPINGS_MAX {
                return Err(Error::Mappings(slug.clone()));
            }
            let (table, definition) = (definition.table(slug, naming), definition.clone());
            let defined = Defined { collection, table, mapping, past, definition };
            collections.insert(slug.clone(), Arc::new(defined));
        }
        Ok(Self { id, definition, collections })
    }

    /// The sync for the control database.
    pub(super) fn row(&self, account: &str) -> SyncRow {
        let rules = |mapping: &Mapping| mapping.rules().clone();
        let history = self.collections.iter().map(|(slug, defined)| {
            let mappings = defined.past.iter().chain([&defined.mapping]);
            (slug.clone(), mappings.map(rules).collect())
        });
        let history: History = history.collect();
        SyncRow {
            account: account.to_owned(),
            id: self.id.to_string(),
            definition: text(&self.definition),
            history: text(&history),
        }
    }

    /// The topic of a collection.
    pub(super) fn topic(&self, collection: &Collection) -> String {
        topic_name(&self.id, collection)
    }
}

/// Gives locked columns the names they keep: those they had, or get now.
fn lock(
    rules: &mut Rules,
    definition: &mut CollectionDefinition,
    before: Option<&Mapping>,
) -> Result<(), mapping::Error> {
    if definition.lock.values().all(Option::is_some) {
        return Ok(());
    }
    let now = Mapping::new(rules.clone())?;
    for (column, name) in definition.lock.iter_mut().filter(|(_, name)| name.is_none()) {
        let name_in = |mapping: &Mapping| mapping.name(column.into()).map(|it| it.into_owned());
        let kept = before.and_then(name_in).or_else(|| name_in(&now));
        let kept = kept.unwrap_or_else(|| column.clone());
        rules.lock.insert(column.clone(), kept.clone());
        *name = Some(kept);
    }
    Ok(())
}

fn text(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("names and text always become JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sync(definition: &str, before: Option<&Sync>) -> Sync {
        let definition = serde_json::from_str(definition).unwrap();
        Sync::new(SyncId::parse("sync_a").unwrap(), definition, before).unwrap()
    }

    #[test]
    fn each_change_of_a_mapping_is_a_version_and_survives_the_database() {
        let first = sync(r#"{"collections":{"c":{"columns":{"a":"b"}},"d":{}}}"#, None);
        let table = r#"{"collections":{"c":{"columns":{"a":"b"},"table":"t"},"d":{}}}"#;
        let same = sync(table, Some(&first));
        assert_eq!(same.collections["c"].version(), 1, "another table is no other mapping");
        let snake = r#"{"naming":"snake_case","collections":{"c":{"naming":"as-is"},"d":{}}}"#;
        let third = sync(snake, Some(&same));
        let stored = Sync::stored(&third.row("a")).unwrap();
        for sync in [&third, &stored] {
            let (c, d) = (&sync.collections["c"], &sync.collections["d"]);
            assert_eq!((c.version(), d.version()), (2, 2));
            assert_eq!(c.mapping_of(1), &first.collections["c"].mapping);
            assert_eq!(c.mapping_of(2), &c.mapping);
            assert_eq!(d.mapping_of(1), &first.collections["d"].mapping);
        }
        assert_eq!(sync(snake, Some(&stored)).collections["c"].version(), 2);
    }

    #[test]
    fn a_mapping_has_a_thousand_versions_and_no_more() {
        let renamed =
            |to: usize| format!(r#"{{"collections":{{"c":{{"columns":{{"a":"b{to}"}}}}}}}}"#);
        let mut last = sync(&renamed(1), None);
        for version in 2..=MAPPINGS_MAX {
            last = sync(&renamed(version), Some(&last));
        }
        assert_eq!(last.collections["c"].version() as usize, MAPPINGS_MAX);
        let definition = serde_json::from_str(&renamed(0)).unwrap();
        let refused = Sync::new(last.id.clone(), definition, Some(&last)).unwrap_err();
        let text = "the mapping of collection 'c' was changed 1000 times, the most possible";
        assert_eq!(refused.to_string(), text);
        // What is no other mapping is still taken.
        sync(&renamed(MAPPINGS_MAX), Some(&last));
    }

    #[test]
    fn a_definition_and_what_its_mappings_were_have_a_bound_of_bytes() {
        let dropping = |columns: usize, mark: usize| {
            let columns: Vec<_> = (0..columns).map(|it| format!(r#""{it:0220}""#)).collect();
            let columns = columns.join(",");
            format!(
                r#"{{"collections":{{"c":{{"table":"t{mark}","drop":[{columns},"{mark}"]}}}}}}"#
            )
        };
        let refusal = |definition: &str, before: Option<&Sync>| {
            let definition = serde_json::from_str(definition).unwrap();
            let sync = Sync::new(SyncId::parse("sync_a").unwrap(), definition, before);
            sync.map_err(|error| error.to_string())
        };
        let long = refusal(&dropping(4_900, 0), None).unwrap_err();
        assert!(long.starts_with("the definition of the sync takes 1092"), "{long}");
        assert!(long.ends_with(" bytes, at most 1048576 are possible"), "{long}");
        let mut last = sync(&dropping(4_500, 0), None);
        let full = (1..).find_map(|mark| match refusal(&dropping(4_500, mark), Some(&last)) {
            Ok(next) => {
                last = next;
                None
            }
            Err(text) => Some(text),
        });
        let full = full.unwrap();
        assert!(full.starts_with("the history of the mappings of the sync takes 1706"), "{full}");
        // What is stored is read, and what has no other mapping is taken.
        let stored = Sync::stored(&last.row("a")).unwrap();
        let mark = last.collections["c"].version() as usize - 1;
        assert_eq!(mark, 15);
        refusal(&dropping(4_500, mark).replace("\"t15\"", "\"u\""), Some(&stored)).unwrap();
    }

    #[test]
    fn a_lock_keeps_the_name_a_column_had_when_it_was_locked() {
        let first = sync(r#"{"collections":{"c":{}}}"#, None);
        let locked = r#"{"naming":"snake_case","collections":{"c":{"lock":["LastName"]}}}"#;
        let kept = |sync: &Sync| {
            let name = sync.collections["c"].mapping.name("LastName".into()).unwrap();
            name.into_owned()
        };
        let second = sync(locked, Some(&first));
        assert_eq!(kept(&second), "LastName");
        assert_eq!(kept(&sync(locked, None)), "last_name");
        let written = text(&second.definition);
        assert!(written.contains(r#""lock":{"LastName":"LastName"}"#), "{written}");
        let dropped = r#"{"collections":{"c":{"select":[],"lock":{"LastName":"LastName"}}}}"#;
        assert_eq!(kept(&sync(dropped, Some(&second))), "LastName");
    }
}
