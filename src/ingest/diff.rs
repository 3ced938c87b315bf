//! What a mutation changed: the event it makes, if any, and the columns' prior values.
//!
//! Columns are compared by [`value::equal`], so a number written otherwise or
//! an object in another order changes nothing.
//!
//! **An absent column and an explicit `null` are the same.** A record's columns become a table's,
//! and a row has no third state beside a value and NULL; an event whose `changes` and `data` both
//! say `null` would claim a change that no reader could see. So a column that appears with a value
//! has prior value `null`, one that disappears has its prior value, and one that goes from absent
//! to `null` or back has not changed.

use super::json::{Column, Object, Raw, is_plain};
use super::value;

/// What happened to a record.
#[derive(Clone, Debug)]
pub enum Change<'a> {
    Inserted,
    /// The prior value of every column whose value changed: first the columns the record has now,
    /// in their order, then those it has no more.
    Updated {
        changes: Vec<Column<'a>>,
    },
    Deleted,
}

/// Compares a record before and after a mutation; `None` if nothing changed.
pub fn diff<'a>(prior: Option<&Object<'a>>, next: Option<&Object<'a>>) -> Option<Change<'a>> {
    match (prior, next) {
        (None, None) => None,
        (None, Some(_)) => Some(Change::Inserted),
        (Some(_), None) => Some(Change::Deleted),
        (Some(prior), Some(next)) => {
            let changes = changes(prior, next);
            (!changes.is_empty()).then_some(Change::Updated { changes })
        }
    }
}

/// The prior value of every column whose value changed; see [`Change::Updated`].
pub fn changes<'a>(prior: &Object<'a>, next: &Object<'a>) -> Vec<Column<'a>> {
    // A record mostly has the columns it had, in their order.
    let before = |at: usize, name: &str| prior.get_near(at, name).unwrap_or(Raw::NULL);
    let changed = (0..)
        .zip(next.columns())
        .map(|(at, (name, now))| (name, before(at, name), *now))
        .filter(|(_, before, now)| !value::equal(*before, *now))
        .map(|(name, before, _)| (name.clone(), before));
    let is_gone = |at: usize, name: &str| next.get_near(at, name).is_none();
    let removed = (0..)
        .zip(prior.columns())
        .filter(|(at, (name, before))| is_gone(*at, name) && before.get() != "null")
        .map(|(_, (name, before))| (name.clone(), *before));
    changed.chain(removed).collect()
}

/// The same for a record in its text, of which is read only what is not as `next` has it; nothing
/// if that is no JSON.
///
/// Columns that are alike letter by letter are left out from both ends. That a column ends where
/// the other text's does is clear from the front. It is from the back too, since a text that is
/// JSON ends outside of strings: read from inside of one, the same letters would end inside.
pub fn changes_since<'a>(prior: &'a str, next: &Object<'a>) -> Option<Vec<Column<'a>>> {
    let mut members = prior.strip_prefix('{')?.strip_suffix('}')?;
    let mut columns = next.columns();
    while let [first, rest @ ..] = columns
        && let Some(after) = after_first(members, first)
    {
        (members, columns) = (after, rest);
    }
    while let [rest @ .., last] = columns
        && let Some(before) = before_last(members, last)
    {
        (members, columns) = (before, rest);
    }
    let prior = Object::parse_members(members)?;
    Some(changes(&prior, &Object::from_columns(columns.to_vec())))
}

/// What comes after the first of some members, if it is this column.
fn after_first<'m>(members: &'m str, (name, value): &Column<'_>) -> Option<&'m str> {
    let named = members.strip_prefix('"')?.strip_prefix(&**name)?.strip_prefix("\":")?;
    let after = named.strip_prefix(value.get())?;
    let after = if after.is_empty() { after } else { after.strip_prefix(',')? };
    is_plain(name).then_some(after)
}

/// What comes before the last of some members, if it is this column.
fn before_last<'m>(members: &'m str, (name, value): &Column<'_>) -> Option<&'m str> {
    let named = members.strip_suffix(value.get())?.strip_suffix("\":")?;
    let before = named.strip_suffix(&**name)?.strip_suffix('"')?;
    let before = if before.is_empty() { before } else { before.strip_suffix(',')? };
    is_plain(name).then_some(before)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The change in one line: `updated {"column":prior}`.
    fn summary(prior: Option<&str>, next: Option<&str>) -> String {
        let prior = prior.map(|text| Object::parse(text.as_bytes()).unwrap());
        let next = next.map(|text| Object::parse(text.as_bytes()).unwrap());
        match diff(prior.as_ref(), next.as_ref()) {
            None => "nothing".to_owned(),
            Some(Change::Inserted) => "inserted".to_owned(),
            Some(Change::Deleted) => "deleted".to_owned(),
            Some(Change::Updated { changes }) => {
                format!("updated {}", Object::from_columns(changes))
            }
        }
    }

    #[test]
    fn a_record_appears_and_goes() {
        assert_eq!(summary(None, None), "nothing");
        assert_eq!(summary(None, Some("{}")), "inserted");
        assert_eq!(summary(Some("{}"), None), "deleted");
    }

    #[test]
    fn changes_hold_the_prior_values_of_changed_columns_and_nothing_else() {
        let table = [
            ("{}", "{}", "nothing"),
            (r#"{"a":1}"#, r#"{"a":1}"#, "nothing"),
            (r#"{"a":1,"b":2}"#, r#"{"b":2.0,"a":10e-1}"#, "nothing"),
            (r#"{"a":{"x":1,"y":2}}"#, r#"{"a":{"y":2,"x":1}}"#, "nothing"),
            (r#"{"a":1,"b":2}"#, r#"{"a":1,"b":3}"#, r#"updated {"b":2}"#),
            (r#"{"a":1.50}"#, r#"{"a":2}"#, r#"updated {"a":1.50}"#),
            (
                r#"{"a":9007199254740993}"#,
                r#"{"a":9007199254740992}"#,
                r#"updated {"a":9007199254740993}"#,
            ),
            // A change deep inside gives the whole prior column.
            (
                r#"{"address":{"city":"A","geo":{"lat":1.0}}}"#,
                r#"{"address":{"city":"A","geo":{"lat":2.0}}}"#,
                r#"updated {"address":{"city":"A","geo":{"lat":1.0}}}"#,
            ),
            (r#"{"a":[1,2]}"#, r#"{"a":[2,1]}"#, r#"updated {"a":[1,2]}"#),
            (r#"{"a":"1"}"#, r#"{"a":1}"#, r#"updated {"a":"1"}"#),
            // Any other type is another value, an empty one too.
            (r#"{"a":{}}"#, r#"{"a":[]}"#, r#"updated {"a":{}}"#),
            (r#"{"a":""}"#, r#"{"a":null}"#, r#"updated {"a":""}"#),
            (r#"{"a":true}"#, r#"{"a":"true"}"#, r#"updated {"a":true}"#),
            (r#"{"a":0}"#, r#"{"a":false}"#, r#"updated {"a":0}"#),
            // However it is written, and however long it is.
            (r#"{"\u00e9":"\u00e9\/"}"#, r#"{"é":"é/"}"#, "nothing"),
            (r#"{"a":1e400}"#, r#"{"a":10e399}"#, "nothing"),
            (r#"{"a":0.1}"#, r#"{"a":0.10000000000000000001}"#, r#"updated {"a":0.1}"#),
            (
                r#"{"a":123456789012345678901234567890}"#,
                r#"{"a":123456789012345678901234567891}"#,
                r#"updated {"a":123456789012345678901234567890}"#,
            ),
            // Of a repeated name the last value counts.
            (r#"{"a":1,"a":2}"#, r#"{"a":2}"#, "nothing"),
            // Absent is NULL.
            ("{}", r#"{"a":1}"#, r#"updated {"a":null}"#),
            (r#"{"a":null}"#, r#"{"a":1}"#, r#"updated {"a":null}"#),
            (r#"{"a":1}"#, "{}", r#"updated {"a":1}"#),
            (r#"{"a":1}"#, r#"{"a":null}"#, r#"updated {"a":1}"#),
            ("{}", r#"{"a":null}"#, "nothing"),
            (r#"{"a":null}"#, "{}", "nothing"),
            // Only as a column: inside a value, absent and null differ.
            (r#"{"a":{"b":null}}"#, r#"{"a":{}}"#, r#"updated {"a":{"b":null}}"#),
            (r#"{"a":false}"#, "{}", r#"updated {"a":false}"#),
            // The order: columns there now, then columns gone.
            (
                r#"{"gone":1,"b":2,"a":3}"#,
                r#"{"new":0,"a":4,"b":5}"#,
                r#"updated {"new":null,"a":3,"b":2,"gone":1}"#,
            ),
        ];
        for (prior, next, want) in table {
            assert_eq!(summary(Some(prior), Some(next)), want, "{prior} to {next}");
        }
    }

    #[test]
    fn columns_that_look_alike_where_they_are_not_are_read() {
        for (prior, next) in [
            (r#"{"a":1}"#, r#"{"a":12}"#),
            (r#"{"a":12,"b":1}"#, r#"{"a":1,"b":1}"#),
            (r#"{"a":"1","b":"x"}"#, r#"{"a":"1\",\"b\":\"x"}"#),
            (r#"{"a":"1\",\"b\":\"x"}"#, r#"{"a":"1","b":"x"}"#),
            (r#"{"a":0,"c":{"b":1}}"#, r#"{"b":1}"#),
            (r#"{"a\",\"b":1}"#, r#"{"a":2,"b":1}"#),
            (r#"{"":",","":1}"#, r#"{"":1}"#),
            (r#"{"x":",","y":":"}"#, r#"{"y":":"}"#),
            ("{}", r#"{"a":1}"#),
            (r#"{"a":1}"#, "{}"),
            (r#"{"a":1,"b":2,"c":3}"#, r#"{"a":1,"c":3}"#),
            (r#"{"a":1,"c":3}"#, r#"{"a":1,"b":2,"c":3}"#),
            (r#"{"a":1,"b":1}"#, r#"{"b":1,"a":1}"#),
        ] {
            let [was, is] = [prior, next].map(|text| Object::parse(text.as_bytes()).unwrap());
            let stored = was.text();
            let found = changes_since(&stored, &is);
            assert_eq!(found, Some(changes(&was, &is)), "{prior} to {next}");
        }
    }

    /// Some columns in any order, some of them twice.
    fn random(random: &mut fastrand::Rng) -> Vec<(String, serde_json::Value)> {
        let values = ["null", "1", "true", "\"x\"", "[1]", r#"{"b":1,"c":[null]}"#];
        let column = |random: &mut fastrand::Rng| {
            let value = serde_json::from_str(random.choice(values).unwrap()).unwrap();
            (format!("c{}", random.u8(..8)), value)
        };
        (0..random.u8(..10)).map(|_| column(random)).collect()
    }

    #[test]
    fn a_diff_is_what_a_naive_model_makes_of_random_records() {
        let mut rng = fastrand::Rng::with_seed(7);
        for round in 0..20_000 {
            let [prior, next] = [random(&mut rng), random(&mut rng)];
            let text = |columns: &[(String, serde_json::Value)]| {
                let members: Vec<_> =
                    columns.iter().map(|(name, value)| format!("\"{name}\": {value}")).collect();
                format!("{{{}}}", members.join(" , "))
            };
            let model = |columns: &[(String, serde_json::Value)]| {
                columns.iter().cloned().collect::<std::collections::BTreeMap<_, _>>()
            };
            let (before, after) = (model(&prior), model(&next));
            let value = |model: &std::collections::BTreeMap<String, _>, name: &str| {
                model.get(name).cloned().unwrap_or(serde_json::Value::Null)
            };
            let names: std::collections::BTreeSet<_> = before.keys().chain(after.keys()).collect();
            let changed =
                names.into_iter().filter(|name| value(&before, name) != value(&after, name));
            let want: Vec<_> = changed.map(|name| (name.clone(), value(&before, name))).collect();
            let [prior, next] = [prior, next].map(|columns| text(&columns));
            let [was, is] = [&prior, &next].map(|text| Object::parse(text.as_bytes()).unwrap());
            let found = changes(&was, &is);
            // As it is stored, which is how `changes_since` wants it.
            let stored = was.text();
            assert_eq!(changes_since(&stored, &is), Some(found.clone()), "{prior} to {next}");
            let mut found: Vec<_> = found
                .into_iter()
                .map(|(name, value)| {
                    (name.into_owned(), serde_json::from_str(value.get()).unwrap())
                })
                .collect();
            found.sort_by(|(a, _), (b, _)| a.cmp(b));
            assert_eq!(found, want, "{round}: {prior} to {next}");
        }
    }

    #[test]
    fn real_objects_differ_from_their_mutated_copies_in_the_mutated_columns_only() {
        let fixture = include_bytes!("../../tests/fixtures/stripe-objects.json");
        let fixture = Object::parse(fixture).unwrap();
        let resources = Object::parse(fixture.get("resources").unwrap().get().as_bytes()).unwrap();
        let mut mutations = 0;
        for (resource, text) in resources.columns() {
            let prior = Object::parse(text.get().as_bytes()).unwrap();
            // The same value in another order and with other whitespace.
            let value: serde_json::Value = serde_json::from_str(text.get()).unwrap();
            let respelt = serde_json::to_string_pretty(&value).unwrap();
            assert_eq!(summary(Some(text.get()), Some(&respelt)), "nothing", "{resource}");

            for (at, (name, value)) in prior.columns().iter().enumerate() {
                let mut columns = prior.columns().to_vec();
                columns[at].1 = serde_json::from_str(r#"{"mutated":true}"#).unwrap();
                let replaced = Object::from_columns(columns.clone()).to_string();
                columns.remove(at);
                let removed = Object::from_columns(columns).to_string();

                let column = Object::from_columns(vec![(name.clone(), *value)]);
                let changed = format!("updated {column}");
                let appeared = format!("updated {{\"{name}\":null}}");
                let null = value.get() == "null";
                let unless_null = |text: String| if null { "nothing".to_owned() } else { text };
                let prior = text.get();
                assert_eq!(summary(Some(prior), Some(&replaced)), changed, "{resource}.{name}");
                let got = summary(Some(prior), Some(&removed));
                assert_eq!(got, unless_null(changed), "{resource}.{name} removed");
                let got = summary(Some(&removed), Some(prior));
                assert_eq!(got, unless_null(appeared), "{resource}.{name} added");
                mutations += 1;
            }
        }
        assert!(mutations > 500, "{mutations}");
    }
}
