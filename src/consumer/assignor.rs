//! Kafka's range assignor: of each topic, every subscriber gets a run of partitions.
//!
//! The order of members is that of Kafka's `RangeAssignor`: static members first, by instance id,
//! then the others by member id; the first ones get one partition more when the division leaves a
//! rest.

use super::subscription::Partitions;
use std::collections::BTreeMap;
use tidelog_protocol::Str;

/// A member that wants topics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Subscriber {
    pub(super) member_id: Str,
    /// Set for static members.
    pub(super) instance: Option<Str>,
    pub(super) topics: Vec<Str>,
}

/// The assignor's name, under which members offer it.
pub(super) const RANGE: &str = "range";

/// Who gets what. `counts` has how many partitions each topic has that exists; the others are
/// passed over.
pub(super) fn range(
    mut subscribers: Vec<Subscriber>,
    counts: &BTreeMap<Str, i32>,
) -> BTreeMap<Str, Partitions> {
    subscribers.sort_by(|a, b| {
        let dynamic = |it: &Subscriber| it.instance.is_none();
        let order = dynamic(a).cmp(&dynamic(b)).then_with(|| a.instance.cmp(&b.instance));
        order.then_with(|| a.member_id.cmp(&b.member_id))
    });
    let mut by_topic: BTreeMap<&Str, Vec<&Str>> = BTreeMap::new();
    for subscriber in &subscribers {
        for topic in &subscriber.topics {
            let members = by_topic.entry(topic).or_default();
            // A topic may be named twice.
            if members.last() != Some(&&subscriber.member_id) {
                members.push(&subscriber.member_id);
            }
        }
    }
    let everyone = subscribers.iter().map(|it| (it.member_id.clone(), Partitions::new()));
    let mut assigned: BTreeMap<Str, Partitions> = everyone.collect();
    for (topic, members) in by_topic {
        let Some(count) = counts.get(topic).map(|count| usize::try_from(*count).unwrap_or(0))
        else {
            continue;
        };
        let (each, rest) = (count / members.len(), count % members.len());
        let mut partitions = 0..i32::try_from(count).unwrap_or(i32::MAX);
        for (place, member) in members.into_iter().enumerate() {
            let run = each + usize::from(place < rest);
            let run: Vec<i32> = partitions.by_ref().take(run).collect();
            if let Some(of_member) = assigned.get_mut(member)
                && !run.is_empty()
            {
                of_member.insert(topic.clone(), run);
            }
        }
    }
    assigned
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscriber(member_id: &str, instance: Option<&str>, topics: &[&str]) -> Subscriber {
        let topics = topics.iter().map(|topic| Str::from(*topic)).collect();
        Subscriber { member_id: member_id.into(), instance: instance.map(Str::from), topics }
    }

    fn assign(subscribers: &[Subscriber], counts: &[(&str, i32)]) -> Vec<String> {
        let counts = counts.iter().map(|(topic, count)| (Str::from(*topic), *count)).collect();
        let assigned = range(subscribers.to_vec(), &counts);
        let line = |(member, partitions): (Str, Partitions)| {
            let parts = partitions.iter().map(|(topic, of)| format!("{topic}{of:?}"));
            format!("{member}: {}", parts.collect::<Vec<_>>().join(" "))
        };
        assigned.into_iter().map(line).collect()
    }

    #[test]
    fn runs_are_even_and_the_first_members_get_the_rest() {
        let both = ["red", "blue"];
        let members = [subscriber("b", None, &both), subscriber("a", None, &both)];
        let counts = [("red", 3), ("blue", 4)];
        assert_eq!(assign(&members, &counts), ["a: blue[0, 1] red[0, 1]", "b: blue[2, 3] red[2]"]);
    }

    #[test]
    fn static_members_come_first_by_instance_id() {
        let red = ["red"];
        let members = [
            subscriber("a", None, &red),
            subscriber("y", Some("2"), &red),
            subscriber("z", Some("1"), &red),
        ];
        assert_eq!(assign(&members, &[("red", 4)]), ["a: red[3]", "y: red[2]", "z: red[0, 1]"]);
    }

    #[test]
    fn only_subscribers_share_a_topic_and_every_partition_has_one_owner() {
        let members = [
            subscriber("a", None, &["red", "red"]),
            subscriber("b", None, &["blue", "red", "gone"]),
            subscriber("c", None, &[]),
        ];
        let counts = [("red", 1), ("blue", 2)];
        assert_eq!(assign(&members, &counts), ["a: red[0]", "b: blue[0, 1]", "c: "]);
    }
}
