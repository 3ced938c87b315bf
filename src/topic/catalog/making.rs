//! Topics that come and go, many at once: one transaction of the control database for all, and
//! their partitions side by side. What is wrong with one of them does not keep the others from it.

use super::super::index::plain;
use super::{Catalog, Error, NewTopic, Topic, check_room, without_partitions};
use crate::control::{self, TopicRow};
use crate::id;
use crate::task::{blocking, to_the_end};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use tidelog_protocol::Uuid;
use tidelog_storage as storage;
use tokio::sync::MutexGuard;

/// What happened to each topic asked for, in order; the error outside is what happened to all.
pub type OfEach<T> = Result<Vec<Result<T, Error>>, Error>;

/// Which topic is to be deleted.
#[derive(Clone, Debug)]
pub struct ToDelete {
    /// Its name.
    pub name: String,
    /// Its id, unless whatever topic has the name is meant.
    pub id: Option<Uuid>,
}

impl ToDelete {
    fn is(&self, topic: &Topic) -> bool {
        self.id.is_none_or(|id| id == topic.id)
    }
}

impl From<&str> for ToDelete {
    fn from(name: &str) -> Self {
        Self { name: name.to_owned(), id: None }
    }
}

impl Catalog {
    /// Creates a topic: stored, on disk and ready for records when this returns.
    pub async fn create(self: &Arc<Self>, new: NewTopic) -> Result<Arc<Topic>, Error> {
        self.create_all(vec![new]).await?.pop().expect("one for each")
    }

    /// The same of many.
    pub async fn create_all(self: &Arc<Self>, new: Vec<NewTopic>) -> OfEach<Arc<Topic>> {
        let catalog = self.clone();
        to_the_end(async move { catalog.do_create_all(new).await }).await
    }

    async fn do_create_all(&self, all: Vec<NewTopic>) -> OfEach<Arc<Topic>> {
        let _editing = self.editing.lock().await;
        let mut kept = self.clear(all.iter().map(|new| &*new.name)).await?;
        let (mut checked, mut topics) = (Vec::with_capacity(all.len()), Vec::new());
        let mut beside = Beside::default();
        for new in all {
            let fits = match kept.remove(&new.name) {
                Some(error) => Err(error),
                None => self.check(&new).and_then(|()| beside.check(&new, self.partitions())),
            };
            if fits.is_ok() {
                let count = new.partitions;
                topics.push((without_partitions(new, id::random_uuid()), 0..count));
            }
            checked.push(fits);
        }
        if topics.is_empty() {
            return Ok(checked.into_iter().filter_map(Result::err).map(Err).collect());
        }
        let mut made = self.make(topics).await?.into_iter();
        let of_each = checked.into_iter().map(|fits| match fits {
            Ok(()) => made.next().expect("one for each that fits"),
            Err(error) => Err(error),
        });
        let of_each: Vec<_> = of_each.collect();
        self.publish_all(of_each.iter().flatten().cloned());
        Ok(of_each)
    }

    /// Stores topics and adds these partitions to them, of each topic all or none.
    async fn make(&self, topics: Vec<(Topic, Range<i32>)>) -> OfEach<Arc<Topic>> {
        self.home.volume.check_spare()?;
        let rows = topics.iter().map(|(topic, indexes)| TopicRow {
            partitions: i64::from(indexes.end),
            ..self.row(topic)
        });
        self.control.add_topics(&rows.collect::<Vec<_>>()).await?;
        let home = self.home.clone();
        let stored: Vec<_> = topics.iter().map(|(topic, _)| topic.clone()).collect();
        let added = blocking(move || home.add(topics)).await;
        let mut made = Vec::with_capacity(added.len());
        for (topic, added) in stored.into_iter().zip(added) {
            if added.is_err() {
                self.leftovers.lock().insert(topic.name.clone(), Arc::new(topic.clone()));
            }
            made.push((topic.name, added));
        }
        let failed = made.iter().filter(|(_, added)| added.is_err()).map(|(name, _)| &**name);
        // Not acknowledged. If their rows stay, the next attempt removes them.
        if let Err(error) = self.clear(failed).await {
            tracing::error!("topics that did not come about are still stored: {error}");
        }
        let made = made.into_iter().map(|(_, added)| added.map(Arc::new).map_err(Error::from));
        Ok(made.collect())
    }

    /// Begins to delete topics: nobody finds them any more, and nobody gets their names before
    /// [`remove`](Self::remove) is done. Those too that an earlier attempt left are among them: it
    /// may have ended at any point. A topic with another id that has got the name of one stays.
    ///
    /// **The rows say that the topics are being deleted before anything of them goes, and go
    /// last**: what a crash leaves is deleted at the next start, and no topic comes back without
    /// records.
    pub async fn hide(&self, asked: &[ToDelete]) -> Result<Going<'_>, Error> {
        let editing = self.editing.lock().await;
        let found = |asked: &ToDelete| self.get(&asked.name).filter(|topic| asked.is(topic));
        let found: Vec<_> = asked.iter().filter_map(found).collect();
        let rows = found.iter().map(|topic| self.row(topic));
        let rows = rows.map(|row| TopicRow { partitions: -row.partitions, ..row });
        self.control.update_topics(&rows.collect::<Vec<_>>()).await?;
        let (mut index, mut leftovers) = (self.index.write(), self.leftovers.lock());
        for topic in found {
            index.remove(&topic.name);
            leftovers.insert(topic.name.clone(), topic);
        }
        drop(index);
        self.changes.send_modify(|count| *count += 1);
        let of_each = asked.iter().map(|asked| {
            let left = leftovers.get(&asked.name).filter(|topic| asked.is(topic));
            left.cloned().ok_or_else(|| Error::Unknown(asked.name.clone()))
        });
        Ok(Going { of_each: of_each.collect(), _editing: editing })
    }

    /// Removes what is stored of topics. Readers that hold some of them may finish.
    pub async fn remove(&self, going: Going<'_>) -> OfEach<()> {
        let mut kept = self.remove_stored(going.topics().cloned().collect()).await?;
        let removed = |topic: Result<Arc<Topic>, Error>| match kept.remove(&topic?.name) {
            Some(error) => Err(error),
            None => Ok(()),
        };
        Ok(going.of_each.into_iter().map(removed).collect())
    }

    /// Removes what is left of topics with these names; says why of those of which some stays.
    async fn clear(
        &self,
        names: impl Iterator<Item = &str>,
    ) -> control::Result<HashMap<String, Error>> {
        let left: Vec<_> = {
            let leftovers = self.leftovers.lock();
            names.filter_map(|name| leftovers.get(name).cloned()).collect()
        };
        self.remove_stored(left).await
    }

    /// Removes the files, and then the rows of those of which none are left; says why of others.
    async fn remove_stored(
        &self,
        topics: Vec<Arc<Topic>>,
    ) -> control::Result<HashMap<String, Error>> {
        let home = self.home.clone();
        let deleted = blocking(move || home.delete(&topics).into_iter().zip(topics).collect());
        let deleted: Vec<(storage::Result<()>, Arc<Topic>)> = deleted.await;
        let (mut gone, mut kept) = (Vec::new(), HashMap::new());
        for (deleted, topic) in deleted {
            match deleted {
                Ok(()) => gone.push(topic.name.clone()),
                Err(error) => drop(kept.insert(topic.name.clone(), error.into())),
            }
        }
        if !gone.is_empty() {
            self.control.remove_topics(&self.home.account, &gone).await?;
            let mut leftovers = self.leftovers.lock();
            gone.iter().for_each(|name| drop(leftovers.remove(name)));
        }
        Ok(kept)
    }
}

/// Topics that are being deleted; while this is held, no topic is made or removed.
pub struct Going<'a> {
    of_each: Vec<Result<Arc<Topic>, Error>>,
    _editing: MutexGuard<'a, ()>,
}

impl Going<'_> {
    /// Those that are there.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.of_each.iter().flatten()
    }
}

/// The topics that are to be made in the same go.
#[derive(Default)]
struct Beside {
    /// By what their names are in metrics.
    names: HashMap<String, String>,
    partitions: usize,
}

impl Beside {
    fn check(&mut self, new: &NewTopic, have: usize) -> Result<(), Error> {
        let name = &new.name;
        match self.names.get(&plain(name)) {
            Some(other) if other == name => return Err(Error::Exists(name.clone())),
            Some(other) => {
                return Err(Error::Collides { name: name.clone(), other: other.clone() });
            }
            None => {}
        }
        check_room(have + self.partitions, new.partitions)?;
        self.partitions += usize::try_from(new.partitions).unwrap_or(0);
        self.names.insert(plain(name), name.clone());
        Ok(())
    }
}
