//! What assignors promise, on random subscriptions that come, go and change.

use super::*;
use fastrand::Rng;
use std::collections::HashMap;

/// A group whose members hold what they were given last.
#[derive(Default)]
struct World {
    topics: BTreeMap<Uuid, i32>,
    members: BTreeMap<Str, (BTreeSet<Uuid>, Partitions)>,
}

impl World {
    fn assign(&mut self, assignor: Assignor) {
        let mut work = Work::default();
        work.topics.clone_from(&self.topics);
        for (id, (topics, last)) in &self.members {
            let known = work.subscriptions.iter().position(|other| other == topics);
            let subscription = known.unwrap_or_else(|| {
                work.subscriptions.push(topics.clone());
                work.subscriptions.len() - 1
            });
            work.members.push(Subscriber { id, instance: None, subscription, last });
        }
        let parts = assignor.assign(&work);
        for ((_, last), part) in self.members.values_mut().zip(parts) {
            *last = part;
        }
    }

    fn check_owners(&self) {
        let mut owners = HashMap::new();
        for (id, (topics, part)) in &self.members {
            for partition in part.iter() {
                assert!(topics.contains(&partition.0), "{id} does not subscribe to {partition:?}");
                assert!(partition.1 < self.topics[&partition.0], "{partition:?} does not exist");
                assert!(owners.insert(partition, id).is_none(), "{partition:?} is owned twice");
            }
        }
        let subscribed =
            |topic: &Uuid| self.members.values().any(|(topics, _)| topics.contains(topic));
        for (topic, count) in self.topics.iter().filter(|(topic, _)| subscribed(topic)) {
            for index in 0..*count {
                assert!(owners.contains_key(&(*topic, index)), "{topic:?}-{index} has no owner");
            }
        }
    }

    /// Nobody has two more than another that could have one of them.
    fn check_balance(&self) {
        for (id, (_, part)) in &self.members {
            for (other, (topics, less)) in &self.members {
                let movable = part.topics().any(|(topic, _)| topics.contains(topic));
                assert!(
                    !movable || part.len() <= less.len() + 1,
                    "{id} has {}, {other} {}",
                    part.len(),
                    less.len()
                );
            }
        }
    }

    fn owners(&self) -> BTreeMap<(Uuid, i32), Str> {
        let owned = self.members.iter();
        owned.flat_map(|(id, (_, part))| part.iter().map(|it| (it, id.clone()))).collect()
    }
}

fn topic(number: usize) -> Uuid {
    [number as u8; 16]
}

#[test]
fn whatever_changes_every_partition_has_one_owner_and_uniform_is_balanced() {
    for assignor in Assignor::ALL {
        for seed in 0..60 {
            let mut random = Rng::with_seed(seed);
            let mut world = World::default();
            for _ in 0..30 {
                let id = Str::from(format!("m{}", random.u64(..8)));
                match random.u64(..4) {
                    0 => drop(world.members.remove(&id)),
                    1 => {
                        let topic = topic(random.usize(..6));
                        let count = world.topics.get(&topic).copied().unwrap_or(0);
                        world.topics.insert(topic, count + 1 + random.u64(..5) as i32);
                    }
                    2 => drop(world.topics.remove(&topic(random.usize(..6)))),
                    _ => {
                        let topics = (0..6).filter(|_| random.u64(..2) == 0).map(topic).collect();
                        world.members.entry(id).or_default().0 = topics;
                    }
                }
                // Topics that are gone are not subscribed to.
                for (topics, _) in world.members.values_mut() {
                    topics.retain(|topic| world.topics.contains_key(topic));
                }
                world.assign(*assignor);
                world.check_owners();
                if *assignor == Assignor::Uniform {
                    world.check_balance();
                }
                let before = world.owners();
                world.assign(*assignor);
                assert_eq!(world.owners(), before, "seed {seed}: it moves without need");
            }
        }
    }
}

#[test]
fn uniform_moves_no_more_than_a_newcomer_or_a_leaver_makes_necessary() {
    for (members, partitions) in [(1, 10), (3, 10), (4, 12), (9, 100), (10, 3)] {
        let topics = BTreeMap::from([(topic(1), partitions), (topic(2), partitions)]);
        let mut world = World { topics, ..World::default() };
        let all: BTreeSet<Uuid> = world.topics.keys().copied().collect();
        for at in 0..members {
            world.members.insert(Str::from(format!("m{at}")), (all.clone(), Partitions::NONE));
        }
        world.assign(Assignor::Uniform);
        let before = world.owners();
        world.members.insert(Str::from("new"), (all, Partitions::NONE));
        world.assign(Assignor::Uniform);
        let moved: Vec<_> =
            world.owners().into_iter().filter(|(it, owner)| before[it] != *owner).collect();
        assert!(moved.iter().all(|(_, owner)| owner == "new"), "{moved:?}");
        assert!(moved.len() <= 2 * partitions as usize / (members + 1), "{moved:?}");

        let before = world.owners();
        let leaver = Str::from("m0");
        world.members.remove(&leaver);
        world.assign(Assignor::Uniform);
        let stays =
            |(it, owner): (&(Uuid, i32), &Str)| before[it] == leaver || before[it] == *owner;
        assert!(world.owners().iter().all(stays), "only the leaver's partitions move");
    }
}

#[test]
fn range_gives_the_same_indexes_of_every_topic_to_the_same_member_static_ones_first() {
    let topics = BTreeMap::from([(topic(1), 5), (topic(2), 5)]);
    let (none, ids) = (Partitions::NONE, ["a", "b", "c"].map(Str::from));
    let instance = Str::from("i");
    let subscriber = |at: usize| Subscriber {
        id: &ids[at],
        instance: (at == 2).then_some(&instance),
        subscription: 0,
        last: &none,
    };
    let subscriptions = vec![topics.keys().copied().collect()];
    let work = Work { topics, subscriptions, members: (0..3).map(subscriber).collect() };
    let shown = |part: &Partitions| -> Vec<(u8, i32)> {
        part.iter().map(|(topic, index)| (topic[0], index)).collect()
    };
    let parts: Vec<_> = Assignor::Range.assign(&work).iter().map(shown).collect();
    let (a, b, c) = (
        vec![(1, 2), (1, 3), (2, 2), (2, 3)],
        vec![(1, 4), (2, 4)],
        [(1, 0), (1, 1), (2, 0), (2, 1)],
    );
    assert_eq!(parts, [a, b, c.to_vec()]);
}
