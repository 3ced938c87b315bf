//! Real API objects, as text: what goes in must come out byte for byte.

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::fmt;

/// The objects of Stripe's own test fixtures, by resource.
pub(crate) fn stripe() -> BTreeMap<String, Box<RawValue>> {
    #[derive(Deserialize)]
    struct Fixtures {
        resources: BTreeMap<String, Box<RawValue>>,
    }
    let text = include_str!("../fixtures/stripe-objects.json");
    serde_json::from_str::<Fixtures>(text).unwrap().resources
}

/// A JSON object's members in their order, each value as its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Members(pub Vec<(String, String)>);

impl Members {
    pub(crate) fn of(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    pub(crate) fn names(&self) -> Vec<&str> {
        self.0.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// The text of a member.
    pub(crate) fn raw(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str()).unwrap_or_else(|| panic!("no {name} in {self:?}"))
    }

    /// Gives a member a new text; a new one comes last.
    pub(crate) fn set(&mut self, name: &str, text: &str) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, value)) => text.clone_into(value),
            None => self.0.push((name.to_owned(), text.to_owned())),
        }
    }

    /// A member that is a string.
    pub(crate) fn text(&self, name: &str) -> String {
        serde_json::from_str(self.raw(name)).unwrap()
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Members;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, Box<RawValue>>()? {
                    members.push((name, value.get().to_owned()));
                }
                Ok(Members(members))
            }
        }
        input.deserialize_map(InOrder)
    }
}
