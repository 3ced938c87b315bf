//! One account's virtual Kafka cluster. **Whoever holds a `Cluster` sees this account and no
//! other**: topics, groups and offsets are reached through it, so no handler compares names or
//! prefixes to keep accounts apart.

use crate::account::Account;
use crate::control::{self, Control, GroupConfigRow};
use crate::group::{self, ConfigSet, Groups};
use crate::producer_ids::ProducerIds;
use crate::room::{Allowance, Room};
use crate::settings::Settings;
use crate::state::State;
use crate::task::{blocking, to_the_end};
use crate::topic::{Catalog, Config, Error, NewTopic, OfEach, ToDelete, Topic, is_valid_name};
use parking_lot::Mutex;
use std::sync::Arc;
use tidelog_storage::Volume;
use tokio::sync::Semaphore;

/// What every cluster of this process shares.
#[derive(Clone)]
pub struct Shared {
    /// What the operator set.
    pub settings: Arc<Settings>,
    /// The control database.
    pub control: Control,
    /// The data directory's logs.
    pub volume: Volume,
    /// Gives out producer ids.
    pub producer_ids: Arc<ProducerIds>,
    /// Groups, offsets and record state.
    pub state: State,
    /// Deadlines of groups.
    pub deadlines: crate::group::Deadlines,
    /// See [`Cluster::fetch_sessions`].
    pub fetch_sessions: Allowance,
    /// See [`Cluster::waiting_fetches`].
    pub waiting_fetches: Allowance,
    /// See [`Cluster::batch_parts`].
    pub batch_parts: Allowance,
    /// Memory for requests; its share is of those that are no account's.
    pub request_room: Room,
    /// See [`Cluster::answer_room`].
    pub answer_room: Room,
}

/// An account with its topics and groups.
pub struct Cluster {
    /// Whose cluster it is.
    pub account: Account,
    /// Its topics.
    pub topics: Arc<Catalog>,
    /// Its consumer groups.
    pub groups: Groups,
    /// One change of what is set on groups at a time.
    configuring: tokio::sync::Mutex<()>,
    /// Partitions that fetch sessions may have.
    pub fetch_sessions: Allowance,
    /// Partitions that fetches may wait for.
    pub waiting_fetches: Allowance,
    /// Memory for its requests.
    pub request_room: Room,
    /// Memory for what is read for its REST consumers and not sent yet.
    pub answer_room: Room,
    /// Turns at looking through logs for a time.
    pub time_lookups: Arc<Semaphore>,
    /// Parts of batches of mutations that may be carried out at a time.
    pub batch_parts: Allowance,
    /// What all clusters share.
    pub shared: Shared,
}

/// Partitions in fetch sessions at a time, of one account and of all: some 200 bytes each.
const SESSION_PARTITIONS_MAX: usize = 100_000;
const SESSION_PARTITIONS_OF_ALL_MAX: usize = 1_000_000;
/// Partitions that fetches wait for at a time, of one account and of all: some 350 bytes each. An
/// account with all the partitions it may have can have three consumers wait for all of them.
const WAITED_PARTITIONS_MAX: usize = 300_000;
const WAITED_PARTITIONS_OF_ALL_MAX: usize = 1_000_000;

/// See [`Cluster::fetch_sessions`].
pub(crate) fn fetch_sessions() -> Allowance {
    Allowance::new(SESSION_PARTITIONS_MAX, SESSION_PARTITIONS_OF_ALL_MAX)
}

/// See [`Cluster::waiting_fetches`].
pub(crate) fn waiting_fetches() -> Allowance {
    Allowance::new(WAITED_PARTITIONS_MAX, WAITED_PARTITIONS_OF_ALL_MAX)
}

/// Logs that one account has looked through for a time at once: each may take a thread for long,
/// and the memory of a batch decompressed.
const TIME_LOOKUPS_MAX: usize = 4;

/// Parts of batches of mutations that are carried out at a time, of one account and of all. Each
/// has one of the runtime's 512 blocking threads, and may wait there for the part before it, or for
/// a new collection, whose topic takes another thread.
const BATCH_PARTS_MAX: usize = 16;
const BATCH_PARTS_OF_ALL_MAX: usize = 64;

/// See [`Cluster::batch_parts`].
pub(crate) fn batch_parts() -> Allowance {
    Allowance::new(BATCH_PARTS_MAX, BATCH_PARTS_OF_ALL_MAX)
}

/// Gives the topics as groups see them, taken anew when the catalog has changed.
fn shapes(catalog: Arc<Catalog>) -> group::TopicsNow {
    let changes = catalog.watch();
    let last: Mutex<Option<Arc<group::Topics>>> = Mutex::default();
    Arc::new(move || {
        // Read first: what changes meanwhile is seen twice rather than not at all.
        let version = *changes.borrow();
        let mut last = last.lock();
        if let Some(topics) = last.as_ref().filter(|it| it.version() == version) {
            return topics.clone();
        }
        let shape = |topic: &Arc<Topic>| {
            let shape = group::Shape { id: topic.id, partitions: topic.count() };
            (topic.name.as_str().into(), shape)
        };
        let topics = Arc::new(group::Topics::new(version, catalog.all().iter().map(shape)));
        *last = Some(topics.clone());
        topics
    })
}

/// The only broker's id.
pub const NODE_ID: i32 = 1;

impl Cluster {
    /// A cluster with nothing in it yet.
    pub fn new(account: Account, shared: Shared) -> Self {
        let topics = Catalog::new(&account.id, shared.control.clone(), shared.volume.clone());
        let options = group::Options {
            initial_rebalance_delay: shared.settings.group_initial_rebalance_delay,
            consumer_session_timeout: shared.settings.group_consumer_session_timeout,
            consumer_heartbeat_interval: shared.settings.group_consumer_heartbeat_interval,
            ..Default::default()
        };
        let (state, deadlines) = (shared.state.clone(), shared.deadlines.clone());
        let topics = Arc::new(topics);
        let groups = Groups::new(&account.id, options, state, deadlines, shapes(topics.clone()));
        let fetch_sessions = shared.fetch_sessions.of_another();
        let waiting_fetches = shared.waiting_fetches.of_another();
        let request_room = shared.request_room.of_another();
        let answer_room = shared.answer_room.of_another();
        let configuring = tokio::sync::Mutex::default();
        Self {
            account,
            topics,
            groups,
            configuring,
            fetch_sessions,
            waiting_fetches,
            request_room,
            answer_room,
            time_lookups: Arc::new(Semaphore::new(TIME_LOOKUPS_MAX)),
            batch_parts: shared.batch_parts.of_another(),
            shared,
        }
    }

    /// The topic, created with defaults if it does not exist and the operator allows that.
    pub async fn topic_or_auto_create(&self, name: &str) -> Result<Arc<Topic>, Error> {
        if let Some(topic) = self.topics.get(name) {
            return Ok(topic);
        }
        if !is_valid_name(name) {
            return Err(Error::InvalidName(name.to_owned()));
        }
        if !self.shared.settings.auto_create_topics {
            return Err(Error::Unknown(name.to_owned()));
        }
        let partitions = self.shared.settings.default_partitions;
        let config = Config::default();
        let new = NewTopic { name: name.to_owned(), partitions, config, sync: None };
        self.topics.get_or_create(new).await
    }

    /// Changes what is set on a group, unless the change is refused: stored and in force when this
    /// returns.
    pub async fn configure_group<E: Send + 'static>(
        self: &Arc<Self>,
        name: &str,
        change: impl FnOnce(&ConfigSet) -> Result<ConfigSet, E> + Send + 'static,
    ) -> control::Result<Result<(), E>> {
        let (cluster, name) = (self.clone(), name.to_owned());
        to_the_end(async move { cluster.do_configure_group(name, change).await }).await
    }

    async fn do_configure_group<E>(
        &self,
        name: String,
        change: impl FnOnce(&ConfigSet) -> Result<ConfigSet, E>,
    ) -> control::Result<Result<(), E>> {
        let _configuring = self.configuring.lock().await;
        let before = self.groups.config(&name);
        let set = match change(&before) {
            Ok(set) if set == before => return Ok(Ok(())),
            Ok(set) => set,
            Err(error) => return Ok(Err(error)),
        };
        let (control, account) = (&self.shared.control, self.account.id.clone());
        if set.is_empty() {
            control.remove_group_config(&account, &name).await?;
        } else {
            let configs = serde_json::json!(set).to_string();
            control
                .set_group_config(&GroupConfigRow { account, name: name.clone(), configs })
                .await?;
        }
        self.groups.configure(&name, set);
        Ok(Ok(()))
    }

    /// Deletes a topic, and what groups remember of it.
    pub async fn delete_topic(self: &Arc<Self>, name: &str) -> Result<(), Error> {
        self.delete_topics(vec![name.into()]).await?.pop().expect("one for each")
    }

    /// The same of many.
    pub async fn delete_topics(self: &Arc<Self>, topics: Vec<ToDelete>) -> OfEach<()> {
        let cluster = self.clone();
        to_the_end(async move { cluster.do_delete_topics(&topics).await }).await
    }

    async fn do_delete_topics(&self, topics: &[ToDelete]) -> OfEach<()> {
        let going = self.topics.hide(topics).await?;
        self.forget(going.topics().cloned().collect()).await;
        self.topics.remove(going).await
    }

    /// Removes what is stored of topics elsewhere than in the catalog.
    async fn forget(&self, topics: Vec<Arc<Topic>>) {
        for topic in &topics {
            self.groups.forget_topic(&topic.name).await;
        }
        // The rows of records begin with their topic's id. If they stay, for whatever reason,
        // nobody reads them: a new topic has a new id.
        let state = self.shared.state.clone();
        let work = move || {
            for topic in topics {
                if let Err(error) = state.remove_prefix(&state.records, &topic.id) {
                    tracing::warn!("the record state of '{}' stays: {error}", topic.name);
                }
            }
        };
        blocking(work).await;
    }
}
