//! The syncs of every account: made, found, changed and deleted, with the topics they feed.
//!
//! A collection needs no set-up: [`Ingest::add_collection`] is what its first record does. **A
//! change of a sync goes on to its end**, and those of an account come one after the other.

use super::Ingest;
use super::name::{Collection, SyncId};
use super::stream::Stream;
use super::sync::{
    CollectionDefinition, Defined, Definition, Error, NewCollections, SYNCS_MAX, Sync,
};
use super::target::known_names;
use crate::clock;
use crate::cluster::Cluster;
use crate::http::ApiError;
use crate::task::{blocking, to_the_end};
use crate::topic::{self, Config, NewTopic, Topic};
use std::ops::Bound;
use std::sync::Arc;
use tokio::sync::OwnedMutexGuard;

/// What becomes of a sync's topics when it is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Topics {
    /// They stay with their events, as topics that no sync feeds.
    #[default]
    Keep,
    /// They are deleted.
    Delete,
}

impl Ingest {
    /// Held while a sync of the account is made, changed or deleted.
    async fn editing(&self, cluster: &Cluster) -> OwnedMutexGuard<()> {
        let of_account = self.editing.lock().entry(cluster.account.id.clone()).or_default().clone();
        of_account.lock_owned().await
    }

    /// An account's syncs after an id, by id.
    pub(super) fn syncs(&self, cluster: &Cluster, after: &str, limit: usize) -> Vec<Arc<Sync>> {
        let first = (cluster.account.id.clone(), after.to_owned());
        let syncs = self.syncs.read();
        let rest = syncs.range((Bound::Excluded(first), Bound::Unbounded));
        let mine = rest.take_while(|((account, _), _)| *account == cluster.account.id);
        mine.take(limit).map(|(_, sync)| sync.clone()).collect()
    }

    /// An account's sync.
    pub(super) fn sync(&self, cluster: &Cluster, id: &str) -> Option<Arc<Sync>> {
        self.syncs.read().get(&(cluster.account.id.clone(), id.to_owned())).cloned()
    }

    /// Refuses a sync that is there and cannot be read: what it was may be what a later start makes
    /// of it, so nothing takes its place, and only deleting it removes it.
    ///
    /// # Errors
    /// [`Error::Unreadable`] if it is one.
    pub(super) fn check_readable(&self, cluster: &Cluster, id: &str) -> Result<(), Error> {
        let key = (cluster.account.id.clone(), id.to_owned());
        let reason = self.unreadable.read().get(&key).cloned();
        reason.map_or(Ok(()), |reason| Err(Error::Unreadable(reason)))
    }

    /// How many there are that cannot be read.
    pub fn unreadable(&self) -> usize {
        self.unreadable.read().len()
    }

    /// Makes a sync under an id that no other has.
    pub(super) async fn create_sync(
        self: &Arc<Self>,
        cluster: &Arc<Cluster>,
        definition: Definition,
    ) -> Result<Arc<Sync>, Error> {
        let mut id = SyncId::from_random(clock::random());
        while self.sync(cluster, id.as_str()).is_some() {
            id = SyncId::from_random(clock::random());
        }
        self.put_sync(cluster, id, definition).await
    }

    /// Stores a sync, and makes its collections' topics, so that consumers find them at once. The
    /// collections it had and that are not mentioned stay, as far as they have a topic, with
    /// nothing said about them.
    pub(super) async fn put_sync(
        self: &Arc<Self>,
        cluster: &Arc<Cluster>,
        id: SyncId,
        definition: Definition,
    ) -> Result<Arc<Sync>, Error> {
        self.put(cluster, id, definition, false).await
    }

    /// The same, if there is no sync of this id yet.
    pub(super) async fn put_new_sync(
        self: &Arc<Self>,
        cluster: &Arc<Cluster>,
        id: SyncId,
        definition: Definition,
    ) -> Result<Arc<Sync>, Error> {
        self.put(cluster, id, definition, true).await
    }

    async fn put(
        self: &Arc<Self>,
        cluster: &Arc<Cluster>,
        id: SyncId,
        definition: Definition,
        is_new: bool,
    ) -> Result<Arc<Sync>, Error> {
        let (ingest, cluster) = (self.clone(), cluster.clone());
        let put = async move {
            let _editing = ingest.editing(&cluster).await;
            if is_new && ingest.sync(&cluster, id.as_str()).is_some() {
                return Err(Error::Exists(id));
            }
            ingest.do_put(&cluster, id, definition).await
        };
        to_the_end(put).await
    }

    /// Stores what `change` makes of a sync's definition.
    pub(super) async fn change_sync(
        self: &Arc<Self>,
        cluster: &Arc<Cluster>,
        id: SyncId,
        change: impl FnOnce(&Definition) -> Result<Definition, ApiError> + Send + 'static,
    ) -> Result<Arc<Sync>, ApiError> {
        let (ingest, cluster) = (self.clone(), cluster.clone());
        let changed = async move {
            let _editing = ingest.editing(&cluster).await;
            let Some(sync) = ingest.sync(&cluster, id.as_str()) else {
                return Err(Error::Unknown(id).into());
            };
            let definition = change(&sync.definition)?;
            Ok(ingest.do_put(&cluster, id, definition).await?)
        };
        to_the_end(changed).await
    }

    /// The collection of this name, made with its topic if it is not there and the sync takes new
    /// ones; and its topic, if that alone is not there. Topics are made by whoever edits syncs, so
    /// none is made of a sync that is deleted meanwhile.
    pub(super) async fn add_collection(
        self: &Arc<Self>,
        cluster: &Arc<Cluster>,
        id: &SyncId,
        collection: &Collection,
    ) -> Result<Arc<Sync>, Error> {
        let (ingest, cluster) = (self.clone(), cluster.clone());
        let (id, slug) = (id.clone(), collection.to_string());
        let added = async move {
            let _editing = ingest.editing(&cluster).await;
            let Some(sync) = ingest.sync(&cluster, id.as_str()) else {
                return Err(Error::Unknown(id));
            };
            if let Some(defined) = sync.collections.get(&slug) {
                ingest.topic(&cluster, &sync, defined).await?;
                return Ok(sync);
            }
            if sync.definition.new_collections == NewCollections::Refuse {
                let known = known_names("it has", sync.collections.keys().map(String::as_str));
                return Err(Error::Refused(slug, known));
            }
            let mut definition = sync.definition.clone();
            // The table stays what the first record made it.
            let naming = definition.naming;
            let table = Some(naming.apply(slug.as_str().into()).into_owned());
            let new = CollectionDefinition { table, ..CollectionDefinition::default() };
            definition.collections.insert(slug, new);
            ingest.do_put(&cluster, id, definition).await
        };
        to_the_end(added).await
    }

    /// Deletes a sync and the state of its records. Mutations that are under way are refused from
    /// then on. The definition goes last, so that whoever is interrupted can do it again.
    pub(super) async fn delete_sync(
        self: &Arc<Self>,
        cluster: &Arc<Cluster>,
        id: &SyncId,
        topics: Topics,
    ) -> Result<Vec<String>, Error> {
        let (ingest, cluster, id) = (self.clone(), cluster.clone(), id.clone());
        let deleted = async move {
            let _editing = ingest.editing(&cluster).await;
            ingest.do_delete(&cluster, &id, topics).await
        };
        to_the_end(deleted).await
    }

    async fn do_put(
        &self,
        cluster: &Arc<Cluster>,
        id: SyncId,
        mut definition: Definition,
    ) -> Result<Arc<Sync>, Error> {
        self.check_readable(cluster, id.as_str())?;
        let before = self.sync(cluster, id.as_str());
        if before.is_none() && self.syncs(cluster, "", SYNCS_MAX).len() == SYNCS_MAX {
            return Err(Error::Syncs(SYNCS_MAX));
        }
        for (slug, defined) in before.iter().flat_map(|sync| &sync.collections) {
            let name = super::name::topic_name(&id, &defined.collection);
            if cluster.topics.get(&name).is_some() {
                definition.collections.entry(slug.clone()).or_default();
            }
        }
        let sync = Arc::new(Sync::new(id, definition, before.as_deref())?);
        for defined in sync.collections.values() {
            check_topic(cluster, &sync, defined)?;
        }
        for (slug, defined) in &sync.collections {
            let topic = self.topic(cluster, &sync, defined).await?;
            let nothing = CollectionDefinition::default();
            let before = before.as_ref().and_then(|sync| sync.collections.get(slug));
            let before = before.map_or(nothing, |defined| defined.definition.clone());
            let after = defined.definition.clone();
            // What cannot be read is given up by whoever sets it anew, not by the way.
            let change = move |config: &Config| match config.is_readable() {
                true => after.reconfigure(&before, config),
                false => Ok(config.clone()),
            };
            cluster.topics.configure(&topic.name, change, false).await?;
        }
        let row = sync.row(&cluster.account.id);
        self.broker.shared.control.put_sync(&row).await?;
        self.syncs.write().insert((row.account, row.id), sync.clone());
        Ok(sync)
    }

    async fn do_delete(
        &self,
        cluster: &Arc<Cluster>,
        id: &SyncId,
        topics: Topics,
    ) -> Result<Vec<String>, Error> {
        let key = (cluster.account.id.clone(), id.to_string());
        let sync = self.syncs.write().remove(&key);
        if sync.is_none() && self.check_readable(cluster, id.as_str()).is_ok() {
            return Err(Error::Unknown(id.clone()));
        }
        let mut names = Vec::new();
        let removed = match self.remove_topics(cluster, id, topics, &mut names).await {
            Ok(()) => {
                self.broker.shared.control.remove_sync(&key.0, &key.1).await.map_err(Error::from)
            }
            Err(error) => Err(error),
        };
        if let Err(error) = removed {
            self.syncs.write().extend(sync.map(|sync| (key, sync)));
            return Err(error);
        }
        self.unreadable.write().remove(&key);
        Ok(names)
    }

    /// Stops the sync's streams, removes what is known of records, and lets go of the topics or
    /// deletes them.
    async fn remove_topics(
        &self,
        cluster: &Arc<Cluster>,
        id: &SyncId,
        topics: Topics,
        names: &mut Vec<String>,
    ) -> Result<(), Error> {
        let feeds = |topic: &Arc<Topic>| topic.sync.as_deref() == Some(id.as_str());
        for topic in cluster.topics.all().into_iter().filter(feeds) {
            let stream = self.streams.lock().get(&topic.id).cloned();
            if let Some(stream) = stream.clone() {
                blocking(move || stream.take_mutations(false)).await;
            }
            let done = match topics {
                Topics::Delete => cluster.delete_topic(&topic.name).await.map_err(Error::from),
                Topics::Keep => cluster.topics.release(&topic.name).await.map_err(Error::from),
            };
            if let Some(stream) = stream {
                let is_done = done.is_ok();
                // What is not in the store yet is forgotten once nobody can need it any more.
                let end = move || match is_done {
                    true => stream.retire(),
                    false => stream.take_mutations(true),
                };
                blocking(end).await;
            }
            done?;
            self.streams.lock().remove(&topic.id);
            names.push(topic.name.clone());
            let (state, id) = (self.broker.shared.state.clone(), topic.id);
            blocking(move || state.remove_prefix(&state.records, &id)).await?;
        }
        Ok(())
    }

    /// The topic of a collection, made if it is not there.
    async fn topic(
        &self,
        cluster: &Cluster,
        sync: &Sync,
        defined: &Defined,
    ) -> Result<Arc<Topic>, Error> {
        let name = sync.topic(&defined.collection);
        let partitions = defined.definition.partitions;
        let configs = Config::new(defined.definition.topic_configs());
        let new = NewTopic {
            name: name.clone(),
            partitions: partitions.unwrap_or(self.broker.shared.settings.default_partitions),
            config: configs.map_err(topic::Error::from)?,
            sync: Some(sync.id.to_string()),
        };
        let topic = cluster.topics.get_or_create(new).await?;
        match topic.sync.as_deref() == Some(sync.id.as_str()) {
            true => Ok(topic),
            false => Err(Error::TopicTaken(name)),
        }
    }

    /// The live stream of a collection that has a topic, if the sync is still there.
    pub(super) fn known_stream(
        &self,
        cluster: &Cluster,
        sync: &Sync,
        defined: &Defined,
    ) -> Option<Arc<Stream>> {
        let topic = cluster.topics.get(&sync.topic(&defined.collection))?;
        if topic.sync.as_deref() != Some(sync.id.as_str()) {
            return None;
        }
        let stream = self.stream(topic);
        // Whoever deletes the sync removes it from the others first, and stops the streams that
        // there are then: not one that was made since.
        self.sync(cluster, sync.id.as_str()).map(|_| stream)
    }
}

/// Refuses what a topic that is there could not become.
fn check_topic(cluster: &Cluster, sync: &Sync, defined: &Defined) -> Result<(), Error> {
    let name = sync.topic(&defined.collection);
    let Some(topic) = cluster.topics.get(&name) else { return Ok(()) };
    if topic.sync.as_deref() != Some(sync.id.as_str()) {
        return Err(Error::TopicTaken(name));
    }
    let have = topic.count();
    match defined.definition.partitions {
        Some(asked) if asked != have => {
            let collection = defined.collection.to_string();
            Err(Error::Partitions { collection, topic: name, have, asked })
        }
        _ => Ok(()),
    }
}
