//! The regular expressions that a group's members subscribe by, and the topics that match.

use super::Pattern;
use super::state::ConsumerMember;
use crate::group::Topics;
use std::collections::{BTreeMap, BTreeSet};
use tidelog_protocol::{Str, Uuid};

/// Each expression, compiled once, and matched once with the topics as they are: that takes long,
/// and is done under the group's lock.
#[derive(Debug, Default)]
pub(in crate::group) struct Patterns {
    by_text: BTreeMap<Str, Matched>,
    /// Of the topics that they were matched with.
    version: Option<u64>,
}

#[derive(Debug)]
struct Matched {
    pattern: Pattern,
    topics: BTreeSet<Uuid>,
}

impl Patterns {
    /// Takes in the expressions and the topics as they are now.
    pub(super) fn refresh(&mut self, topics: &Topics, members: &BTreeMap<Str, ConsumerMember>) {
        let used: BTreeSet<&Str> = members.values().filter_map(|it| it.regex.as_ref()).collect();
        self.by_text.retain(|text, _| used.contains(text));
        if self.version.replace(topics.version()) != Some(topics.version()) {
            for matched in self.by_text.values_mut() {
                matched.topics = matching(&matched.pattern, topics);
            }
        }
        for text in used {
            if self.by_text.contains_key(text) {
                continue;
            }
            // It was compiled before, when the member sent it.
            let Ok(pattern) = Pattern::new(text) else { continue };
            let topics = matching(&pattern, topics);
            self.by_text.insert(text.clone(), Matched { pattern, topics });
        }
    }

    /// The topics that match, as of the last refresh.
    pub(super) fn topics(&self, text: &Str) -> Option<&BTreeSet<Uuid>> {
        self.by_text.get(text).map(|matched| &matched.topics)
    }

    /// The expression, if it is one.
    pub(in crate::group) fn pattern(&self, text: &Str) -> Option<Pattern> {
        let known = self.by_text.get(text).map(|matched| matched.pattern.clone());
        known.or_else(|| Pattern::new(text).ok())
    }
}

fn matching(pattern: &Pattern, topics: &Topics) -> BTreeSet<Uuid> {
    let matching = topics.iter().filter(|(name, _)| pattern.matches(name));
    matching.map(|(_, shape)| shape.id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::Shape;

    #[test]
    fn an_expression_is_matched_once_for_a_version_of_the_topics_and_goes_with_its_last_member() {
        let topics = |version, names: &[&'static str]| {
            let shape = |name: &&'static str| {
                let id = [name.len() as u8; 16];
                (Str::from(*name), Shape { id, partitions: 1 })
            };
            Topics::new(version, names.iter().map(shape))
        };
        let member = || ConsumerMember { regex: Some("re.*".into()), ..ConsumerMember::default() };
        let mut members = BTreeMap::from([("a".into(), member()), ("b".into(), member())]);
        let mut patterns = Patterns::default();
        let count = |patterns: &Patterns| patterns.topics(&"re.*".into()).map(BTreeSet::len);
        patterns.refresh(&topics(1, &["red", "blue"]), &members);
        assert_eq!(count(&patterns), Some(1));
        // Other topics of the same version do not exist: they show that nobody looks.
        patterns.refresh(&topics(1, &["red", "redder"]), &members);
        assert_eq!(count(&patterns), Some(1));
        members.remove("a");
        patterns.refresh(&topics(2, &["red", "redder"]), &members);
        assert_eq!(count(&patterns), Some(2));
        members.clear();
        patterns.refresh(&topics(2, &["red", "redder"]), &members);
        assert_eq!(count(&patterns), None);
    }
}
