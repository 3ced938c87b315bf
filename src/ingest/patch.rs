//! JSON merge patch (RFC 7396) over text: what a PATCH makes of a record.
//!
//! A `null` in the patch removes the member, an object is merged into the member of that name, any
//! other value takes its place. Members keep their order and new ones come last; text that the
//! patch does not touch stays as it is.
//!
//! Each level of objects that both sides have reads its text once more, so the cost is at most
//! [`DEPTH_MAX`](super::json::DEPTH_MAX) times the length of the text.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::json::{Error, Object, write_members};

/// `prior` with `patch` merged into it, as JSON. Never deeper than the deeper of the two.
///
/// Fails only where a name inside a merged object is not Unicode (half a surrogate pair).
pub fn merge(prior: &Object<'_>, patch: &Object<'_>) -> Result<String, Error> {
    let mut out = String::new();
    write_merged(prior, patch, &mut out)?;
    Ok(out)
}

/// `record` with these columns as `prior` has them, and without those that it does not have.
pub(super) fn keep<'a>(
    record: Object<'a>,
    prior: Option<&Object<'a>>,
    columns: &BTreeSet<Cow<'_, str>>,
) -> Object<'a> {
    let known = record.into_columns().into_iter().filter_map(|(name, value)| {
        match columns.contains(&*name) {
            true => prior?.get(&name).map(|kept| (name, kept)),
            false => Some((name, value)),
        }
    });
    Object::from_columns(known.collect())
}

fn write_merged(prior: &Object<'_>, patch: &Object<'_>, out: &mut String) -> Result<(), Error> {
    let mut merged: BTreeMap<&str, String> = BTreeMap::new();
    for (name, value) in patch.columns() {
        if value.get().starts_with('{') {
            let prior = match prior.get(name) {
                Some(value) if value.get().starts_with('{') => Object::parse_checked(value.get())?,
                _ => Object::default(),
            };
            let mut text = String::new();
            write_merged(&prior, &Object::parse_checked(value.get())?, &mut text)?;
            merged.insert(name, text);
        }
    }
    let kept =
        prior.columns().iter().map(|(name, value)| (name, patch.get(name).unwrap_or(*value)));
    let added = patch.columns().iter().filter(|(name, _)| prior.get(name).is_none());
    let members = kept
        .chain(added.map(|(name, value)| (name, *value)))
        .filter(|(name, value)| value.get() != "null" || patch.get(name).is_none())
        .map(|(name, value)| (&**name, merged.get(&**name).map_or(value.get(), String::as_str)));
    write_members(members, out);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(prior: &str, patch: &str) -> String {
        let prior = Object::parse(prior.as_bytes()).unwrap();
        merge(&prior, &Object::parse(patch.as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn a_patch_merges_as_the_rfc_says() {
        let table = [
            // RFC 7396, appendix A, those whose both sides are objects.
            (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"a":null}"#, "{}"),
            (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
            (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a":["b"]}"#),
            (r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#),
            (r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#),
            (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"e":null,"a":1}"#),
            ("{}", r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#),
            // Ours: text passes through, nulls of the prior record stay, arrays are not merged.
            (r#"{"n":1.00,"o":{ "x" : null }}"#, "{}", r#"{"n":1.00,"o":{ "x" : null }}"#),
            (r#"{"o":{"x":null,"y":1}}"#, r#"{"o":{"y":2.0}}"#, r#"{"o":{"x":null,"y":2.0}}"#),
            (r#"{"o":7}"#, r#"{"o":{"x":{"y":null},"z":[null]}}"#, r#"{"o":{"x":{},"z":[null]}}"#),
            (r#"{"b":1,"a":2}"#, r#"{"c":3,"a":4,"d":null}"#, r#"{"b":1,"a":4,"c":3}"#),
            (r#"{"a":1}"#, r#"{"a":null,"a":2}"#, r#"{"a":2}"#),
            ("{}", "{}", "{}"),
        ];
        for (prior, patch, want) in table {
            assert_eq!(merged(prior, patch), want, "{prior} with {patch}");
        }
    }

    #[test]
    fn a_name_that_is_not_unicode_is_an_error_and_not_a_panic() {
        let prior = Object::parse(br#"{"a":{"\ud800":1}}"#).unwrap();
        let patch = Object::parse(br#"{"a":{"b":1}}"#).unwrap();
        assert!(merge(&prior, &patch).is_err());
        assert!(merge(&prior, &Object::default()).is_ok());
    }

    #[test]
    fn a_merge_nests_as_deep_as_objects_may() {
        let nested =
            |leaf: &str| format!("{}{{\"a\":{leaf}}}{}", r#"{"a":"#.repeat(98), "}".repeat(98));
        assert_eq!(merged(&nested("1"), &nested("2")), nested("2"));
        assert_eq!(merged("{}", &nested("[ ]")), nested("[ ]"));
    }
}
