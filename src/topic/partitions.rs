//! A topic and its partitions, which are opened side by side.
//!
//! **A partition whose log cannot be opened is offline, and its topic serves the others.** Nothing
//! is appended to it or read from it, and its files stay as they are.

use super::{Absent, Config, Partition};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use tidelog_protocol::Uuid;
use tidelog_storage as storage;

/// A topic and its partitions, as they are at a moment: a change publishes another.
#[derive(Clone)]
pub struct Topic {
    /// Kafka's topic name.
    pub name: String,
    /// Never reused: a topic made anew under an old name has another.
    pub id: Uuid,
    /// Its partitions, by index; none where one is offline.
    pub(crate) partitions: Vec<Option<Partition>>,
    /// What was set on it.
    pub config: Config,
    /// The sync that feeds it; nobody else may write to it.
    pub sync: Option<String>,
}

impl Topic {
    /// How many partitions it has, offline ones too.
    pub fn count(&self) -> i32 {
        i32::try_from(self.partitions.len()).unwrap_or(i32::MAX)
    }

    /// Whether it has a partition with this index, be it offline.
    pub fn has(&self, index: i32) -> bool {
        (0..self.count()).contains(&index)
    }

    /// The partition with this index, if there is one that is open.
    pub fn partition(&self, index: i32) -> Result<&Partition, Absent> {
        let at = usize::try_from(index).map_err(|_| Absent::Unknown)?;
        self.partitions.get(at).ok_or(Absent::Unknown)?.as_ref().ok_or(Absent::Offline)
    }

    /// The partitions that are open, with their indexes.
    pub fn online(&self) -> impl Iterator<Item = (i32, &Partition)> {
        (0..).zip(&self.partitions).filter_map(|(index, it)| Some((index, it.as_ref()?)))
    }

    /// The indexes of those that are not.
    pub fn offline(&self) -> impl Iterator<Item = i32> {
        (0..).zip(&self.partitions).filter(|(_, it)| it.is_none()).map(|(index, _)| index)
    }

    /// Whether it has this partition, and it is offline.
    pub fn is_offline(&self, index: i32) -> bool {
        self.partition(index).err() == Some(Absent::Offline)
    }
}

/// Where an account's partitions are.
#[derive(Clone)]
pub(super) struct Home {
    pub volume: storage::Volume,
    pub account: String,
}

impl Home {
    /// The partition's directory, from the volume's root.
    fn dir(&self, topic: &Topic, index: i32) -> PathBuf {
        PathBuf::from("accounts").join(&self.account).join(format!("{}-{index}", topic.name))
    }

    /// Opens a partition, creating it if it is not there.
    fn open(&self, topic: &Topic, index: i32) -> storage::Result<Partition> {
        let options = topic.config.partition_options();
        Partition::open(&self.volume, &self.dir(topic, index), topic.id, options)
    }

    /// Creates a partition that no topic has. A directory there that holds no records is of one
    /// that did not come about, and makes room.
    fn create(&self, topic: &Topic, index: i32) -> storage::Result<Partition> {
        match self.open(topic, index) {
            Err(storage::Error::WrongTopic { .. })
                if self.volume.delete_empty(&self.dir(topic, index))? =>
            {
                self.open(topic, index)
            }
            opened => opened,
        }
    }

    /// Creates these partitions, which come next in their topics: of each topic all, or none.
    pub(super) fn add(&self, topics: Vec<(Topic, Range<i32>)>) -> Vec<storage::Result<Topic>> {
        let places = topics.iter();
        let places = places.flat_map(|(topic, it)| it.clone().map(move |index| (topic, index)));
        let places: Vec<_> = places.collect();
        let created = side_by_side(&places, |(topic, index)| self.create(topic, *index));
        let mut created = created.into_iter();
        let add = |(mut topic, indexes): (Topic, Range<i32>)| {
            let (mut opened, mut failed) = (Vec::new(), Ok(()));
            for (index, partition) in indexes.zip(created.by_ref()) {
                match partition {
                    Ok(partition) => opened.push(partition),
                    Err(error) => {
                        // What cannot be removed now makes room for the next attempt.
                        let _ = self.volume.delete_empty(&self.dir(&topic, index));
                        failed = failed.and(Err(error));
                    }
                }
            }
            match failed {
                Ok(()) => topic.partitions.extend(opened.into_iter().map(Some)),
                Err(_) => opened.into_iter().for_each(discard),
            }
            failed.map(|()| topic)
        };
        topics.into_iter().map(add).collect()
    }

    /// Removes the partitions of topics and their files; of each, goes on where an attempt that
    /// failed ended.
    pub(super) fn delete(&self, topics: &[Arc<Topic>]) -> Vec<storage::Result<()>> {
        side_by_side(topics, |topic| {
            (0..).zip(&topic.partitions).try_for_each(|(index, partition)| match partition {
                Some(partition) => partition.log().clone().delete(),
                None => self.volume.delete_unopened(&self.dir(topic, index), topic.id),
            })
        })
    }
}

/// Closes and removes a new partition whose topic did not come about.
pub(super) fn discard(partition: Partition) {
    // It is empty: what cannot be removed now makes room for the next attempt.
    let _ = partition.log().clone().delete();
}

/// Opens all of the partitions of all of these topics, each with how many it has.
pub(super) fn open_all(topics: Vec<(Home, Topic, i32)>) -> Vec<Topic> {
    let places: Vec<_> = topics
        .iter()
        .flat_map(|(home, topic, count)| (0..*count).map(move |index| (home, topic, index)))
        .collect();
    let opened = side_by_side(&places, |(home, topic, index)| {
        let opened = home.open(topic, *index);
        opened.inspect_err(|error| {
            let dir = home.volume.root().join(home.dir(topic, *index));
            tracing::error!(
                "partition {} is offline, and its files are left as they are: {error}",
                dir.display()
            );
        })
    });
    let mut opened = opened.into_iter().map(Result::ok);
    let open = |(_, mut topic, count): (_, Topic, i32)| {
        topic.partitions = opened.by_ref().take(count.unsigned_abs() as usize).collect();
        topic
    };
    topics.into_iter().map(open).collect()
}

/// Threads that open partitions: a few more than most machines have cores, since each waits for
/// the disk too.
const OPENING_THREADS: usize = 8;
/// So few are not worth a thread.
const OPENED_IN_TURN: usize = 16;

/// Does work on each of `items`, on several threads if there are many; the results are in order.
fn side_by_side<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let share = || {
        let mut done = Vec::new();
        while let first = next.fetch_add(OPENED_IN_TURN, Ordering::Relaxed)
            && first < items.len()
        {
            let last = items.len().min(first + OPENED_IN_TURN);
            done.push((first, items[first..last].iter().map(&work).collect::<Vec<_>>()));
        }
        done
    };
    let threads = items.len().div_ceil(OPENED_IN_TURN).min(OPENING_THREADS);
    let mut done = thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(share)).collect();
        let mut done = share();
        let join = |it: thread::ScopedJoinHandle<'_, _>| it.join().expect("opening does not panic");
        done.extend(others.into_iter().flat_map(join));
        done
    });
    done.sort_unstable_by_key(|(first, _)| *first);
    done.into_iter().flat_map(|(_, done)| done).collect()
}
