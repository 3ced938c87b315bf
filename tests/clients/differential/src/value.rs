//! An answer as a tree, made from its `Debug` form, so that every message can be compared field
//! by field without a second description of any of them.

use std::fmt::Debug;

/// A field's value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Value {
    /// A number, a text, an absent value, an empty list.
    Leaf(String),
    /// The fields of a message.
    Fields(Vec<(String, Value)>),
    /// The items of a list.
    Items(Vec<Value>),
}

/// Fields that name an item of a list.
const NAMES: &[&str] = &[
    "name",
    "topic",
    "topic_name",
    "group_id",
    "key",
    "api_key",
    "resource_name",
    "partition",
    "partition_index",
    "partition_id",
    "index",
    "user",
    "entity_type",
];

impl Value {
    /// The tree of a message.
    pub(crate) fn of(message: &impl Debug) -> Self {
        let text = format!("{message:#?}");
        let mut lines = text.lines().map(str::trim);
        let first = lines.next().unwrap_or_default();
        read(first.trim_end_matches(','), &mut lines)
    }

    /// What names this item among its neighbours, if anything does.
    pub(crate) fn name(&self) -> Option<String> {
        let Self::Fields(fields) = self else { return None };
        let names = fields.iter().filter(|(name, _)| NAMES.contains(&name.as_str()));
        names.map(|(_, value)| value.to_string()).reduce(|all, name| all + "/" + &name)
    }
}

impl std::fmt::Display for Value {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Leaf(text) => out.write_str(text),
            Self::Fields(fields) => {
                let fields: Vec<_> =
                    fields.iter().map(|(name, it)| format!("{name}: {it}")).collect();
                write!(out, "{{{}}}", fields.join(", "))
            }
            Self::Items(items) => {
                let items: Vec<_> = items.iter().map(Self::to_string).collect();
                write!(out, "[{}]", items.join(", "))
            }
        }
    }
}

/// Reads a value that starts with `first`, up to the line that closes it.
fn read<'a>(first: &str, lines: &mut impl Iterator<Item = &'a str>) -> Value {
    if first.ends_with('{') {
        let mut fields = Vec::new();
        while let Some(line) = inner(lines) {
            let (name, rest) = line.split_once(": ").unwrap_or((line, ""));
            fields.push((name.to_owned(), read(rest, lines)));
        }
        Value::Fields(fields)
    } else if first.ends_with('[') {
        let mut items = Vec::new();
        while let Some(line) = inner(lines) {
            items.push(read(line, lines));
        }
        Value::Items(items)
    } else if first.ends_with('(') {
        // `Some(…)` and the like hold one value, and add nothing to it.
        let mut held = Value::Leaf(first.trim_end_matches('(').to_owned());
        while let Some(line) = inner(lines) {
            held = read(line, lines);
        }
        held
    } else {
        Value::Leaf(first.to_owned())
    }
}

/// The next line, or nothing if it closes what is being read.
fn inner<'a>(lines: &mut impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let line = lines.next()?.trim_end_matches(',');
    (!["}", "]", ")"].contains(&line)).then_some(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    #[allow(dead_code, reason = "read through Debug")]
    struct Message {
        name: &'static str,
        none: Option<i32>,
        some: Option<Vec<i32>>,
        inner: Vec<(Option<i32>, &'static str)>,
    }

    #[test]
    fn a_debug_form_becomes_a_tree() {
        let message =
            Message { name: "a: {,", none: None, some: Some(vec![1, 2]), inner: Vec::new() };
        let value = Value::of(&message);
        assert_eq!(value.to_string(), r#"{name: "a: {,", none: None, some: [1, 2], inner: []}"#);
        assert_eq!(value.name().as_deref(), Some(r#""a: {,""#));
    }
}
