//! The topics of one account. **A topic is in the catalog once it can be written and read**: it is
//! stored and its partitions are open before it appears, but for what a start finds that it cannot
//! open (unlike Kafka, where a new topic answers UNKNOWN_TOPIC_OR_PARTITION for a while).
//!
//! **A change that has begun goes on to its end**, whoever asked for it and left meanwhile: half of
//! one would be a topic that is stored and cannot be found, or the other way round.

mod making;

pub use making::{OfEach, ToDelete};

use super::index::Index;
use super::partitions::{Home, discard, open_all};
use super::{Config, ConfigError, Topic};
use crate::control::{self, Control, TopicRow};
use crate::task::{blocking, to_the_end};
use parking_lot::{Mutex, RwLock};
use std::collections::HashMap;
use std::sync::Arc;
use tidelog_protocol::Uuid;
use tidelog_storage as storage;
use tokio::sync::watch;

/// What a new topic is to be.
#[derive(Clone, Debug)]
pub struct NewTopic {
    /// Kafka's topic name.
    pub name: String,
    /// How many partitions, 1 to [`PARTITIONS_MAX`].
    pub partitions: i32,
    /// What is set on it.
    pub config: Config,
    /// The sync that feeds it, if one does.
    pub sync: Option<String>,
}

/// Why a topic cannot be created, found or deleted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not a name Kafka would accept.
    #[error(
        "topic name '{0}' is invalid: 1 to 249 letters, digits, '.', '_' or '-', and neither '.' nor '..'"
    )]
    InvalidName(String),
    /// Too few or too many partitions.
    #[error("{0} partitions are not possible: 1 to {PARTITIONS_MAX} are")]
    InvalidPartitions(i32),
    /// A config that is unknown or has no such value.
    #[error(transparent)]
    InvalidConfig(#[from] ConfigError),
    /// The account has as many partitions as it may have.
    #[error(
        "{asked} more partition(s) are not possible: an account has at most \
         {PARTITIONS_OF_ACCOUNT_MAX}, and {have} are in use"
    )]
    AccountFull {
        /// How many partitions its topics have.
        have: usize,
        /// How many more were asked for.
        asked: usize,
    },
    /// A topic only grows.
    #[error(
        "The topic {name} currently has {partitions} partition(s); {asked} would not be an increase."
    )]
    NotAnIncrease {
        /// The topic.
        name: String,
        /// How many partitions it has.
        partitions: usize,
        /// How many were asked for.
        asked: i32,
    },
    /// A sync's topic does not grow: the state it compares with is kept by partition.
    #[error("topic '{0}' is fed by a sync, and growing it would move its keys")]
    Synced(String),
    /// What partitions it would get is not known.
    #[error("topic '{0}' is offline, since its configs cannot be read: set them anew, and restart")]
    Unreadable(String),
    /// Kafka's metrics would not tell the two apart.
    #[error("topic '{name}' collides with existing topic: {other}")]
    Collides {
        /// What was to be created.
        name: String,
        /// What differs from it only in dots and underscores.
        other: String,
    },
    /// There is one already.
    #[error("topic '{0}' already exists")]
    Exists(String),
    /// There is none.
    #[error("topic '{0}' does not exist")]
    Unknown(String),
    /// The topics' table could not be changed.
    #[error("the control database failed: {0}")]
    Control(#[from] control::Error),
    /// The partitions' files could not be made or removed.
    #[error("the data directory failed: {0}")]
    Storage(#[from] storage::Error),
}

/// Partitions of one topic.
pub const PARTITIONS_MAX: i32 = 10_000;
/// Partitions of an account's topics together: each costs files, and memory at every start.
const PARTITIONS_OF_ACCOUNT_MAX: usize = 100_000;
/// Kafka's bound: a partition's directory must fit in a file name.
pub const NAME_BYTES_MAX: usize = 249;

/// Whether Kafka would accept this as a topic's name.
pub fn is_valid_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(allowed)
        && name != "."
        && name != ".."
}

/// The topics of one account.
pub struct Catalog {
    control: Control,
    home: Home,
    index: RwLock<Index>,
    /// Topics that nobody can find any more, or yet, and of which something is still stored, by
    /// name: an attempt at removing it failed. Who next wants the name has it removed first.
    leftovers: Mutex<HashMap<String, Arc<Topic>>>,
    /// Counts changes, so that pattern subscriptions know when to look again.
    changes: watch::Sender<u64>,
    /// Held while topics are made or removed, so that two requests do not make the same one.
    editing: tokio::sync::Mutex<()>,
}

impl Catalog {
    /// A catalog with nothing in it.
    pub fn new(account: &str, control: Control, volume: storage::Volume) -> Self {
        Self {
            control,
            home: Home { volume, account: account.to_owned() },
            index: RwLock::default(),
            leftovers: Mutex::default(),
            changes: watch::Sender::new(0),
            editing: tokio::sync::Mutex::default(),
        }
    }

    /// Opens stored topics, each for its catalog; called at start, before anyone can connect. A
    /// topic whose configs cannot be read is offline, with all of its partitions, and does not keep
    /// the others from starting; nor does a partition that cannot be opened. One that was being
    /// deleted is not opened: see [`Catalog::leftovers`].
    pub fn open_all(stored: Vec<(&Self, TopicRow)>) {
        let (mut catalogs, mut topics) = (Vec::new(), Vec::new());
        for (catalog, row) in stored {
            let is_going = row.partitions < 0;
            let (mut topic, count, readable) = read_row(row);
            if is_going {
                topic.partitions = (0..count).map(|_| None).collect();
                catalog.leftovers.lock().insert(topic.name.clone(), Arc::new(topic));
                continue;
            }
            if let Err(error) = readable {
                let account = &catalog.home.account;
                tracing::error!(
                    account,
                    topic = topic.name,
                    "topic is offline, and its files are left as they are, until a start after its \
                     configs are set anew: what is set cannot be read: {error}"
                );
                topic.partitions = (0..count).map(|_| None).collect();
                catalog.publish(topic);
                continue;
            }
            topics.push((catalog.home.clone(), topic, count));
            catalogs.push(catalog);
        }
        for (catalog, topic) in catalogs.into_iter().zip(open_all(topics)) {
            catalog.publish(topic);
        }
    }

    /// The topics that nobody can find any more, and of which something is still stored:
    /// to be deleted again.
    pub fn leftovers(&self) -> Vec<ToDelete> {
        self.leftovers.lock().keys().map(|name| name.as_str().into()).collect()
    }

    /// Waits until no topic is being made or removed; while what this gives is held, none is.
    pub async fn hold_still(&self) -> impl Drop + '_ {
        self.editing.lock().await
    }

    /// The topic of this name.
    pub fn get(&self, name: &str) -> Option<Arc<Topic>> {
        self.index.read().by_name.get(name).cloned()
    }

    /// The topic with this id.
    pub fn by_id(&self, id: &Uuid) -> Option<Arc<Topic>> {
        self.index.read().by_id.get(id).cloned()
    }

    /// Every topic, by name.
    pub fn all(&self) -> Vec<Arc<Topic>> {
        self.index.read().by_name.values().cloned().collect()
    }

    /// A receiver that sees a new number whenever a topic came or went.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Whether a topic could be created, without creating it.
    pub fn check(&self, new: &NewTopic) -> Result<(), Error> {
        if !is_valid_name(&new.name) {
            return Err(Error::InvalidName(new.name.clone()));
        }
        if !(1..=PARTITIONS_MAX).contains(&new.partitions) {
            return Err(Error::InvalidPartitions(new.partitions));
        }
        let index = self.index.read();
        if index.by_name.contains_key(&new.name) {
            return Err(Error::Exists(new.name.clone()));
        }
        // Unlike Kafka: a sync's topics are called what its collections are, which nobody can call
        // something else.
        let other = index.colliding(&new.name).filter(|_| new.sync.is_none());
        if let Some(other) = other {
            return Err(Error::Collides { name: new.name.clone(), other: other.to_owned() });
        }
        check_room(index.partitions, new.partitions)
    }

    /// How many partitions the account's topics have.
    fn partitions(&self) -> usize {
        self.index.read().partitions
    }

    /// The topic of this name, created with these partitions if there is none.
    pub async fn get_or_create(self: &Arc<Self>, new: NewTopic) -> Result<Arc<Topic>, Error> {
        if let Some(topic) = self.get(&new.name) {
            return Ok(topic);
        }
        match self.create(new).await {
            Err(Error::Exists(name)) => self.get(&name).ok_or(Error::Unknown(name)),
            created => created,
        }
    }

    /// Changes what is set on a topic, stored and in force when this returns; with `dry_run`, only
    /// checks.
    pub async fn configure(
        self: &Arc<Self>,
        name: &str,
        change: impl FnOnce(&Config) -> Result<Config, ConfigError> + Send + 'static,
        dry_run: bool,
    ) -> Result<(), Error> {
        let (catalog, name) = (self.clone(), name.to_owned());
        to_the_end(async move { catalog.do_configure(&name, change, dry_run).await }).await
    }

    async fn do_configure(
        &self,
        name: &str,
        change: impl FnOnce(&Config) -> Result<Config, ConfigError>,
        dry_run: bool,
    ) -> Result<(), Error> {
        let _editing = self.editing.lock().await;
        let Some(topic) = self.get(name) else { return Err(Error::Unknown(name.to_owned())) };
        let config = change(&topic.config)?;
        if dry_run || config == topic.config {
            return Ok(());
        }
        self.home.volume.check_spare()?;
        let topic = Topic { config, ..Topic::clone(&topic) };
        self.control.update_topic(&self.row(&topic)).await?;
        let topic = self.publish(topic);
        let options = topic.config.partition_options();
        topic.online().for_each(|(_, partition)| partition.log().configure(options));
        Ok(())
    }

    /// Makes a sync's topic one like any other: it keeps its records, and anyone may write to it.
    pub async fn release(self: &Arc<Self>, name: &str) -> Result<(), Error> {
        let (catalog, name) = (self.clone(), name.to_owned());
        to_the_end(async move { catalog.do_release(&name).await }).await
    }

    async fn do_release(&self, name: &str) -> Result<(), Error> {
        let _editing = self.editing.lock().await;
        let Some(topic) = self.get(name) else { return Err(Error::Unknown(name.to_owned())) };
        let topic = Topic { sync: None, ..Topic::clone(&topic) };
        self.control.update_topic(&self.row(&topic)).await?;
        self.publish(topic);
        Ok(())
    }

    /// Adds partitions, so that there are `count`; with `dry_run`, only checks.
    pub async fn grow(
        self: &Arc<Self>,
        name: &str,
        count: i32,
        dry_run: bool,
    ) -> Result<(), Error> {
        let (catalog, name) = (self.clone(), name.to_owned());
        to_the_end(async move { catalog.do_grow(&name, count, dry_run).await }).await
    }

    async fn do_grow(&self, name: &str, count: i32, dry_run: bool) -> Result<(), Error> {
        let _editing = self.editing.lock().await;
        let Some(topic) = self.get(name) else { return Err(Error::Unknown(name.to_owned())) };
        let partitions = topic.partitions.len();
        let have = topic.count();
        if topic.sync.is_some() {
            return Err(Error::Synced(name.to_owned()));
        }
        if !topic.config.is_readable() {
            return Err(Error::Unreadable(name.to_owned()));
        }
        if count <= have {
            return Err(Error::NotAnIncrease { name: name.to_owned(), partitions, asked: count });
        }
        if count > PARTITIONS_MAX {
            return Err(Error::InvalidPartitions(count));
        }
        check_room(self.partitions(), count - have)?;
        if dry_run {
            return Ok(());
        }
        self.home.volume.check_spare()?;
        let (home, topic) = (self.home.clone(), Topic::clone(&topic));
        let added = blocking(move || home.add(vec![(topic, have..count)]).pop()).await;
        let topic = added.expect("one for each")?;
        if let Err(error) = self.control.update_topic(&self.row(&topic)).await {
            let added = topic.partitions[partitions..].to_vec();
            blocking(move || added.into_iter().flatten().for_each(discard)).await;
            return Err(error.into());
        }
        self.publish(topic);
        Ok(())
    }

    fn row(&self, topic: &Topic) -> TopicRow {
        TopicRow {
            account: self.home.account.clone(),
            name: topic.name.clone(),
            id: topic.id.to_vec(),
            partitions: i64::try_from(topic.partitions.len()).unwrap_or(i64::MAX),
            configs: topic.config.stored(),
            sync: topic.sync.clone(),
        }
    }

    fn publish(&self, topic: Topic) -> Arc<Topic> {
        let topic = Arc::new(topic);
        self.publish_all([topic.clone()].into_iter());
        topic
    }

    fn publish_all(&self, topics: impl Iterator<Item = Arc<Topic>>) {
        let mut index = self.index.write();
        topics.for_each(|topic| index.insert(topic));
        drop(index);
        self.changes.send_modify(|count| *count += 1);
    }
}

/// A topic that its partitions are still to be added to.
fn without_partitions(new: NewTopic, id: Uuid) -> Topic {
    let NewTopic { name, config, sync, .. } = new;
    Topic { name, id, partitions: Vec::new(), config, sync }
}

/// What is stored of a topic, how many partitions it has, and whether what is set on it could be
/// read: if not, it has the defaults, by which nothing may be removed.
fn read_row(row: TopicRow) -> (Topic, i32, anyhow::Result<()>) {
    let (config, readable) = Config::read(&row.configs);
    let partitions = i32::try_from(row.partitions.saturating_abs()).unwrap_or(0);
    let new = NewTopic { name: row.name, partitions, config, sync: row.sync };
    let id = row.id.try_into().unwrap_or_default();
    (without_partitions(new, id), partitions, readable)
}

/// Whether an account that has some partitions may have so many more.
fn check_room(have: usize, more: i32) -> Result<(), Error> {
    let asked = usize::try_from(more).unwrap_or(0);
    match asked <= PARTITIONS_OF_ACCOUNT_MAX.saturating_sub(have) {
        true => Ok(()),
        false => Err(Error::AccountFull { have, asked }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_names_are_those_kafka_accepts() {
        for good in ["a", "sequin.sync_1a107d79.contact", "A-b_c.9", &"x".repeat(249)] {
            assert!(is_valid_name(good), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a b", "ä", "a\0", &"x".repeat(250)] {
            assert!(!is_valid_name(bad), "{bad}");
        }
    }

    #[test]
    fn an_account_has_room_up_to_its_last_partition() {
        check_room(PARTITIONS_OF_ACCOUNT_MAX - 1, 1).unwrap();
        let full = check_room(PARTITIONS_OF_ACCOUNT_MAX - 1, 2).unwrap_err();
        assert_eq!(
            full.to_string(),
            "2 more partition(s) are not possible: an account has at most 100000, and 99999 are in use"
        );
    }
}
