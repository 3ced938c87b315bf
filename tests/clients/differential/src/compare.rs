//! Where two answers differ.

use crate::allowed::ONLY_WHETHER_SET;
use crate::peer::Asked;
use crate::value::Value;

/// A difference: where, and what each broker says there.
pub(crate) struct Difference {
    /// `Api v1 what: path.of[item].field`.
    pub(crate) place: String,
    pub(crate) kafka: String,
    pub(crate) tidelog: String,
}

impl Difference {
    fn new(place: &str, kafka: &Value, tidelog: &Value) -> Self {
        let (kafka, tidelog) = (kafka.to_string(), tidelog.to_string());
        Self { place: place.to_owned(), kafka, tidelog }
    }
}

impl std::fmt::Display for Difference {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} = {} | {}", self.place, self.kafka, self.tidelog)
    }
}

/// The differences between the answers of both brokers to one script.
pub(crate) fn all(kafka: &[Asked], tidelog: &[Asked]) -> Vec<Difference> {
    assert_eq!(kafka.len(), tidelog.len(), "the script went two ways");
    let mut found = Vec::new();
    for (left, right) in kafka.iter().zip(tidelog) {
        assert_eq!(left.to_string(), right.to_string(), "the script went two ways");
        let value = |asked: &Asked| match &asked.answer {
            Some(answer) => Value::of(answer),
            None => Value::Leaf("hung up".to_owned()),
        };
        fields(&format!("{left}:"), &value(left), &value(right), &mut found);
    }
    found
}

fn fields(place: &str, left: &Value, right: &Value, found: &mut Vec<Difference>) {
    match (left, right) {
        (Value::Fields(left), Value::Fields(right)) => {
            for ((name, left), (_, right)) in left.iter().zip(right) {
                let separator = if place.ends_with(':') { " " } else { "." };
                let whether = ONLY_WHETHER_SET.iter().any(|(field, _)| field == name);
                let place = format!("{place}{separator}{name}");
                match whether {
                    true if is_set(left) == is_set(right) => {}
                    true => found.push(Difference::new(&place, left, right)),
                    false => fields(&place, left, right, found),
                }
            }
        }
        (Value::Items(left), Value::Items(right)) if !are_plain(left) || !are_plain(right) => {
            items(place, left, right, found);
        }
        (left, right) if left == right => {}
        (left, right) => found.push(Difference::new(place, left, right)),
    }
}

/// Whether these are numbers or texts, not messages.
fn are_plain(items: &[Value]) -> bool {
    items.iter().all(|item| matches!(item, Value::Leaf(_)))
}

/// Items with a name are compared by name: Kafka's lists often come out of hash maps, so their
/// order means nothing. Others are compared in order.
fn items(place: &str, left: &[Value], right: &[Value], found: &mut Vec<Difference>) {
    let (left, right) = (named(left), named(right));
    let absent = Value::Leaf("absent".to_owned());
    for (name, value) in &left {
        let place = format!("{place}[{name}]");
        match right.iter().find(|(other, _)| other == name) {
            Some((_, other)) => fields(&place, value, other, found),
            None => found.push(Difference::new(&place, value, &absent)),
        }
    }
    for (name, value) in right {
        if !left.iter().any(|(other, _)| *other == name) {
            found.push(Difference::new(&format!("{place}[{name}]"), &absent, value));
        }
    }
}

/// The items with what tells them apart: a name, and a number where that comes again.
fn named(items: &[Value]) -> Vec<(String, &Value)> {
    let mut named: Vec<(String, &Value)> = Vec::with_capacity(items.len());
    for item in items {
        let name = item.name().unwrap_or_default().replace('"', "");
        let again = named.iter().filter(|(other, _)| other.split('#').next() == Some(&name));
        let name = match again.count() {
            0 if !name.is_empty() => name,
            count => format!("{name}#{count}"),
        };
        named.push((name, item));
    }
    named
}

/// Whether there is a value, rather than what stands for none: -1, null, nothing, only zeros.
fn is_set(value: &Value) -> bool {
    match value {
        Value::Leaf(text) => !["-1", "0", "\"\"", "None", "[]"].contains(&text.as_str()),
        Value::Items(items) => items.iter().any(is_set),
        Value::Fields(fields) => fields.iter().any(|(_, it)| is_set(it)),
    }
}
