//! The topics of one account. **A topic is in the catalog only while it can be written and read**:
//! it is stored and its partitions are open before it appears (unlike Kafka, where a new topic
//! answers UNKNOWN_TOPIC_OR_PARTITION for a while).
//!
//! **A change that has begun goes on to its end**, whoever asked for it and left meanwhile: half of
//! one would be a topic that is stored and cannot be found, or the other way round.

use super::{Config, ConfigError, Partition};
use crate::clock;
use crate::control::{self, Control, TopicRow};
use crate::task::{blocking, to_the_end};
use parking_lot::RwLock;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use tidelog_protocol::Uuid;
use tidelog_storage as storage;
use tokio::sync::watch;

/// A topic and its partitions, as they are at a moment: a change publishes another.
#[derive(Clone)]
pub struct Topic {
    /// Kafka's topic name.
    pub name: String,
    /// Never reused: a topic made anew under an old name has another.
    pub id: Uuid,
    /// Its partitions, by index.
    pub partitions: Vec<Partition>,
    /// What was set on it.
    pub config: Config,
    /// The sync that feeds it; nobody else may write to it.
    pub sync: Option<String>,
}

impl Topic {
    fn without_partitions(new: &NewTopic, id: Uuid) -> Self {
        let NewTopic { name, config, sync, .. } = new.clone();
        Self { name, id, partitions: Vec::new(), config, sync }
    }

    /// The partition with this index, if there is one.
    pub fn partition(&self, index: i32) -> Option<&Partition> {
        self.partitions.get(usize::try_from(index).ok()?)
    }

    /// Creates these partitions, which come next, or none of them.
    fn add_partitions(
        &mut self,
        volume: &storage::Volume,
        account: &str,
        indexes: std::ops::Range<i32>,
    ) -> storage::Result<()> {
        let before = self.partitions.len();
        let added = self.open_partitions(volume, account, indexes);
        if added.is_err() {
            self.partitions.drain(before..).for_each(discard);
        }
        added
    }

    /// Opens these partitions, which come next, side by side: each waits for the disk. On an error
    /// those that could be opened are there, and their files are left alone.
    fn open_partitions(
        &mut self,
        volume: &storage::Volume,
        account: &str,
        indexes: std::ops::Range<i32>,
    ) -> storage::Result<()> {
        let options = self.config.partition_options();
        let open = |index: &i32| {
            let dir =
                PathBuf::from("accounts").join(account).join(format!("{}-{index}", self.name));
            Partition::open(volume, &dir, self.id, options)
        };
        let indexes: Vec<_> = indexes.collect();
        let share = indexes.len().div_ceil(PARALLEL_OPENS).max(OPENED_IN_TURN);
        let open_all = |share: &[i32]| share.iter().map(open).collect::<Vec<_>>();
        let opened: Vec<_> = thread::scope(|scope| {
            let (first, rest) = indexes.split_at(share.min(indexes.len()));
            let rest: Vec<_> =
                rest.chunks(share).map(|share| scope.spawn(move || open_all(share))).collect();
            let rest = rest.into_iter().flat_map(|it| it.join().expect("opening does not panic"));
            open_all(first).into_iter().chain(rest).collect()
        });
        let mut failed = Ok(());
        for partition in opened {
            match partition {
                Ok(partition) => self.partitions.push(partition),
                Err(error) => failed = failed.and(Err(error)),
            }
        }
        failed
    }
}

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
/// Partitions of a topic opened at a time.
const PARALLEL_OPENS: usize = 8;
/// So few are not worth a thread.
const OPENED_IN_TURN: usize = 16;
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

#[derive(Default)]
struct Index {
    by_name: BTreeMap<String, Arc<Topic>>,
    by_id: HashMap<Uuid, Arc<Topic>>,
}

/// The topics of one account.
pub struct Catalog {
    account: String,
    control: Control,
    volume: storage::Volume,
    index: RwLock<Index>,
    /// Counts changes, so that pattern subscriptions know when to look again.
    changes: watch::Sender<u64>,
    /// Held while topics are made or removed, so that two requests do not make the same one.
    editing: tokio::sync::Mutex<()>,
}

impl Catalog {
    /// A catalog with nothing in it.
    pub fn new(account: &str, control: Control, volume: storage::Volume) -> Self {
        Self {
            account: account.to_owned(),
            control,
            volume,
            index: RwLock::default(),
            changes: watch::Sender::new(0),
            editing: tokio::sync::Mutex::default(),
        }
    }

    /// Opens a stored topic's partitions; called at start, before anyone can connect.
    pub fn open(&self, row: TopicRow) -> Result<(), Error> {
        let pairs: BTreeMap<String, String> =
            serde_json::from_str(&row.configs).unwrap_or_default();
        let new = NewTopic {
            name: row.name,
            partitions: i32::try_from(row.partitions.saturating_abs()).unwrap_or(0),
            config: Config::new(pairs)?,
            sync: row.sync,
        };
        let id = row.id.try_into().unwrap_or_default();
        let mut topic = Topic::without_partitions(&new, id);
        topic.open_partitions(&self.volume, &self.account, 0..new.partitions)?;
        self.publish(topic);
        Ok(())
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
        match self.get(&new.name) {
            Some(_) => Err(Error::Exists(new.name.clone())),
            None => check_room(self.partitions(), new.partitions),
        }
    }

    /// How many partitions the account's topics have.
    fn partitions(&self) -> usize {
        self.index.read().by_name.values().map(|topic| topic.partitions.len()).sum()
    }

    /// Creates a topic: stored, on disk and ready for records when this returns.
    pub async fn create(self: &Arc<Self>, new: NewTopic) -> Result<Arc<Topic>, Error> {
        let catalog = self.clone();
        to_the_end(async move { catalog.do_create(new).await }).await
    }

    async fn do_create(&self, new: NewTopic) -> Result<Arc<Topic>, Error> {
        let _editing = self.editing.lock().await;
        self.check(&new)?;
        let id = clock::random_uuid();
        let configs = serde_json::json!(new.config.set()).to_string();
        let row = TopicRow {
            account: self.account.clone(),
            name: new.name.clone(),
            id: id.to_vec(),
            partitions: i64::from(new.partitions),
            configs,
            sync: new.sync.clone(),
        };
        self.control.add_topic(&row).await?;
        let (volume, account) = (self.volume.clone(), self.account.clone());
        let mut topic = Topic::without_partitions(&new, id);
        let partitions = 0..new.partitions;
        let added =
            blocking(move || topic.add_partitions(&volume, &account, partitions).map(|()| topic));
        match added.await {
            Ok(topic) => Ok(self.publish(topic)),
            Err(error) => {
                // Not acknowledged; without the row, a retry may make it again.
                self.control.remove_topic(&row.account, &row.name).await?;
                Err(error.into())
            }
        }
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
        let topic = Topic { config, ..Topic::clone(&topic) };
        self.control.update_topic(&self.row(&topic)).await?;
        let topic = self.publish(topic);
        let options = topic.config.partition_options();
        topic.partitions.iter().for_each(|partition| partition.log().configure(options));
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
        let have = i32::try_from(partitions).unwrap_or(i32::MAX);
        if topic.sync.is_some() {
            return Err(Error::Synced(name.to_owned()));
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
        let (volume, account) = (self.volume.clone(), self.account.clone());
        let mut topic = Topic::clone(&topic);
        let topic =
            blocking(move || topic.add_partitions(&volume, &account, have..count).map(|()| topic));
        let topic = topic.await?;
        if let Err(error) = self.control.update_topic(&self.row(&topic)).await {
            let added = topic.partitions[partitions..].to_vec();
            blocking(move || added.into_iter().for_each(discard)).await;
            return Err(error.into());
        }
        self.publish(topic);
        Ok(())
    }

    fn row(&self, topic: &Topic) -> TopicRow {
        TopicRow {
            account: self.account.clone(),
            name: topic.name.clone(),
            id: topic.id.to_vec(),
            partitions: i64::try_from(topic.partitions.len()).unwrap_or(i64::MAX),
            configs: serde_json::json!(topic.config.set()).to_string(),
            sync: topic.sync.clone(),
        }
    }

    /// Deletes a topic and its records. Readers that hold some of them may finish.
    /// `forget` is run with its id once nobody can find it, and before another topic can have its
    /// name.
    ///
    /// **The row says that the topic is being deleted before anything of it goes, and goes last**:
    /// what a crash leaves is deleted at the next start, and no topic comes back without records.
    pub async fn delete(&self, name: &str, forget: impl AsyncFnOnce(Uuid)) -> Result<(), Error> {
        let _editing = self.editing.lock().await;
        let Some(topic) = self.get(name) else { return Err(Error::Unknown(name.to_owned())) };
        let row = self.row(&topic);
        self.control.update_topic(&TopicRow { partitions: -row.partitions, ..row }).await?;
        {
            let mut index = self.index.write();
            index.by_name.remove(name);
            index.by_id.remove(&topic.id);
        }
        self.changes.send_modify(|count| *count += 1);
        let logs: Vec<_> = topic.partitions.iter().map(|it| it.log().clone()).collect();
        blocking(move || logs.into_iter().try_for_each(storage::Partition::delete)).await?;
        forget(topic.id).await;
        self.control.remove_topic(&self.account, name).await?;
        Ok(())
    }

    fn publish(&self, topic: Topic) -> Arc<Topic> {
        let topic = Arc::new(topic);
        let mut index = self.index.write();
        index.by_name.insert(topic.name.clone(), topic.clone());
        index.by_id.insert(topic.id, topic.clone());
        drop(index);
        self.changes.send_modify(|count| *count += 1);
        topic
    }
}

/// Closes and removes a new partition whose topic did not come about.
fn discard(partition: Partition) {
    // It is empty: what cannot be removed now is taken over by the next attempt.
    let _ = partition.log().clone().delete();
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
