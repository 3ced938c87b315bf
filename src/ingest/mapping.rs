//! The column mapping of a collection: which of the API's fields become columns, and what they are
//! called in the database.
//!
//! A locked column is kept, under the name it was locked with. Any other is left out if it is
//! dropped, or if some are selected and it is not; a renamed one has its new name; all others are
//! named by the [`Naming`] rule. Columns keep their places. **No two columns of a record land on
//! one name:** rules that would always do so are refused when they are made, a record in which it
//! happens is refused when it comes.
//!
//! **A record is not changed because its mapping was.** Its last state has the names of the mapping
//! it was written under; before it is compared it is carried over to the present one
//! ([`Mapping::carry_over`]), so that what is only named otherwise is no change.

mod naming;

pub use naming::Naming;

use super::json::Object;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What is said about a collection's columns, by the API's names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rules {
    /// How columns are named of which nothing else is said.
    pub naming: Naming,
    /// Database names.
    pub columns: BTreeMap<String, String>,
    /// The only columns there are, if there are any here.
    pub select: Option<BTreeSet<String>>,
    /// Columns left out.
    pub drop: BTreeSet<String>,
    /// Columns that are kept, and the names they keep.
    pub lock: BTreeMap<String, String>,
}

/// Rules that do not contradict themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mapping {
    rules: Rules,
}

/// Columns of one record, and columns that one collection's rules may name.
pub const COLUMNS_MAX: usize = 5_000;

/// Why a mapping, or a record under it, is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("columns {first:?} and {second:?} both map to {target:?}: give each its own name")]
    Collision { first: String, second: String, target: String },
    #[error("column {source_name:?} maps to an empty name: give it one")]
    Empty { source_name: String },
    #[error(
        "column {column:?} is locked as {locked:?}, and {said}: say only one of both, or unlock it"
    )]
    Locked { column: String, locked: String, said: String },
    #[error("the rules name {0} columns, at most {COLUMNS_MAX} are possible")]
    Rules(usize),
    #[error("the record has {0} columns, at most {COLUMNS_MAX} are possible")]
    Columns(usize),
}

impl Mapping {
    /// A mapping by these rules.
    ///
    /// # Errors
    /// When two columns get one name, a name is empty, or a locked column is to be otherwise.
    pub fn new(rules: Rules) -> Result<Mapping, Error> {
        let named = rules.columns.len() + rules.drop.len() + rules.lock.len();
        let named = named + rules.select.as_ref().map_or(0, BTreeSet::len);
        if named > COLUMNS_MAX {
            return Err(Error::Rules(named));
        }
        let mut sources: BTreeMap<&str, &str> = BTreeMap::new();
        let unlocked = rules.columns.iter().filter(|(source, _)| !rules.lock.contains_key(*source));
        for (source, target) in unlocked.chain(&rules.lock) {
            if target.is_empty() {
                return Err(Error::Empty { source_name: source.clone() });
            }
            if let Some(first) = sources.insert(target, source) {
                return Err(Error::collision(first, source, target));
            }
        }
        for (column, locked) in &rules.lock {
            let said = match rules.columns.get(column) {
                Some(target) if target != locked => format!("renamed to {target:?}"),
                _ if rules.drop.contains(column) => "dropped".to_owned(),
                _ => continue,
            };
            return Err(Error::Locked { column: column.clone(), locked: locked.clone(), said });
        }
        Ok(Mapping { rules })
    }

    /// What it was made of.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The database name of a column; nothing if it is left out.
    pub fn name<'a>(&'a self, column: Cow<'a, str>) -> Option<Cow<'a, str>> {
        let Rules { naming, columns, select, drop, lock } = &self.rules;
        if let Some(locked) = lock.get(&*column) {
            return Some(Cow::Borrowed(locked));
        }
        let selected = select.as_ref().is_none_or(|select| select.contains(&*column));
        if !selected || drop.contains(&*column) {
            return None;
        }
        match columns.get(&*column) {
            Some(target) => Some(Cow::Borrowed(target)),
            None => Some(naming.apply(column)),
        }
    }

    /// `record` under its database names. Works on a whole record and on a patch alike.
    ///
    /// # Errors
    /// When two of its columns get one name, or it has too many.
    pub fn apply<'a>(&'a self, record: Object<'a>) -> Result<Object<'a>, Error> {
        if record.columns().len() > COLUMNS_MAX {
            return Err(Error::Columns(record.columns().len()));
        }
        if self.rules == Rules::default() {
            return Ok(record);
        }
        let columns = record.columns().iter();
        let mapped: Vec<_> =
            columns.filter_map(|(name, value)| Some((self.name(name.clone())?, *value))).collect();
        let count = mapped.len();
        let mapped = Object::from_columns(mapped);
        match mapped.columns().len() == count {
            true => Ok(mapped),
            false => Err(self.collision_in(&record)),
        }
    }

    /// A record's last state, written under another mapping, as this one would have it. A name that
    /// a rule gave to one column (renamed, locked) is that column's. Of others the names of
    /// `incoming`, the record as it comes from the API, say what they are called there; without it
    /// a name that a naming rule made stays as it is.
    ///
    /// # Errors
    /// When two columns get one name.
    pub fn carry_over<'a>(
        &self,
        state: Object<'a>,
        from: &Mapping,
        incoming: Option<&Object<'_>>,
    ) -> Result<Object<'a>, Error> {
        if self == from {
            return Ok(state);
        }
        let mut sources: HashMap<Cow<'_, str>, &str> = HashMap::new();
        let said = from.said().chain(self.said());
        let present = incoming.map(Object::columns).unwrap_or_default().iter();
        let given = from.rules.columns.keys().chain(from.rules.lock.keys()).map(String::as_str);
        // Later ones count: what the record has is surer than what the rules say of any, and a
        // column that only kept its own name was not there beside one that was given it.
        for source in said.chain(present.map(|(name, _)| &**name)).chain(given) {
            if let Some(name) = from.name(Cow::Borrowed(source)) {
                sources.insert(name, source);
            }
        }
        let mut carried = Vec::with_capacity(state.columns().len());
        let mut befores = HashMap::with_capacity(state.columns().len());
        for (before, value) in state.columns() {
            let source = sources.get(before).copied().unwrap_or(before);
            let Some(name) = self.name(Cow::Borrowed(source)) else { continue };
            if let Some(first) = befores.insert(name.clone().into_owned(), before) {
                return Err(Error::collision(first, before, &name));
            }
            carried.push((Cow::Owned(name.into_owned()), *value));
        }
        Ok(Object::from_columns(carried))
    }

    /// The columns that the rules name.
    fn said(&self) -> impl Iterator<Item = &str> {
        let Rules { columns, select, drop, lock, .. } = &self.rules;
        let names = columns.keys().chain(select.iter().flatten()).chain(drop).chain(lock.keys());
        names.map(String::as_str)
    }

    /// The first two columns of a record that get one name.
    fn collision_in(&self, record: &Object<'_>) -> Error {
        let mut sources: BTreeMap<Cow<'_, str>, &str> = BTreeMap::new();
        for (source, _) in record.columns() {
            let Some(target) = self.name(source.clone()) else { continue };
            if let Some(first) = sources.get(&target) {
                return Error::collision(first, source, &target);
            }
            sources.insert(target, source);
        }
        Error::Columns(record.columns().len())
    }
}

impl Error {
    fn collision(first: &str, second: &str, target: &str) -> Error {
        Error::Collision { first: first.into(), second: second.into(), target: target.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(rules: &str) -> Result<Mapping, String> {
        Mapping::new(serde_json::from_str(rules).unwrap()).map_err(|error| error.to_string())
    }

    fn apply(rules: &str, record: &str) -> Result<String, String> {
        let mapping = mapping(rules)?;
        let record = Object::parse(record.as_bytes()).unwrap();
        mapping.apply(record).map(|it| it.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn columns_are_renamed_in_place_and_others_pass_through() {
        let table = [
            ("{}", r#"{"A":1}"#, r#"{"A":1}"#),
            (
                r#"{"columns":{"LastName":"last_name","Gone":"gone"}}"#,
                r#"{"Id":"1","LastName":"B","x":{"LastName":1}}"#,
                r#"{"Id":"1","last_name":"B","x":{"LastName":1}}"#,
            ),
            (r#"{"columns":{"a":"b","b":"a"}}"#, r#"{"a":1,"b":2}"#, r#"{"b":1,"a":2}"#),
            (r#"{"columns":{"a":"b","b":"c"}}"#, r#"{"a":1,"b":2}"#, r#"{"b":1,"c":2}"#),
            (r#"{"columns":{"a":"a"}}"#, r#"{"a":1}"#, r#"{"a":1}"#),
            (r#"{"columns":{"a":"b"}}"#, r#"{"b":1}"#, r#"{"b":1}"#),
            (r#"{"naming":"snake_case"}"#, r#"{"Id":1,"a":{"B":2}}"#, r#"{"id":1,"a":{"B":2}}"#),
            (r#"{"drop":["a"]}"#, r#"{"a":1,"b":2}"#, r#"{"b":2}"#),
            (r#"{"select":["a","c"]}"#, r#"{"a":1,"b":2}"#, r#"{"a":1}"#),
            (r#"{"select":["a","b"],"drop":["a"]}"#, r#"{"a":1,"b":2}"#, r#"{"b":2}"#),
            (
                r#"{"naming":"snake_case","select":[],"lock":{"AccountId":"AccountId"}}"#,
                r#"{"AccountId":1,"B":2}"#,
                r#"{"AccountId":1}"#,
            ),
            // What is left out takes no name.
            (r#"{"columns":{"a":"b"},"drop":["b"]}"#, r#"{"a":1,"b":2}"#, r#"{"b":1}"#),
        ];
        for (rules, record, want) in table {
            assert_eq!(apply(rules, record).unwrap(), want, "{rules}");
        }
    }

    #[test]
    fn two_columns_never_land_on_one_name() {
        let both = r#"columns "a" and "b" both map to "c": give each its own name"#;
        assert_eq!(mapping(r#"{"columns":{"a":"c","b":"c"}}"#).unwrap_err(), both);
        assert_eq!(mapping(r#"{"columns":{"a":"c"},"lock":{"b":"c"}}"#).unwrap_err(), both);
        let meets = r#"columns "b" and "a" both map to "b": give each its own name"#;
        let renamed = r#"{"columns":{"a":"b"}}"#;
        assert_eq!(apply(renamed, r#"{"b":1,"a":2}"#).unwrap_err(), meets);
        let meets = r#"columns "Name" and "name" both map to "name": give each its own name"#;
        let snake = r#"{"naming":"snake_case"}"#;
        assert_eq!(apply(snake, r#"{"Name":1,"name":2}"#).unwrap_err(), meets);
        let empty = r#"column "a" maps to an empty name: give it one"#;
        assert_eq!(mapping(r#"{"columns":{"a":""}}"#).unwrap_err(), empty);
    }

    #[test]
    fn a_locked_column_is_not_renamed_or_dropped_beside() {
        let error = mapping(r#"{"columns":{"a":"b"},"lock":{"a":"c"}}"#).unwrap_err();
        assert!(error.contains(r#"locked as "c", and renamed to "b""#), "{error}");
        let error = mapping(r#"{"drop":["a"],"lock":{"a":"a"}}"#).unwrap_err();
        assert!(error.contains(r#"locked as "a", and dropped"#), "{error}");
    }

    #[test]
    fn a_state_is_carried_over_to_the_names_of_another_mapping() {
        let snake = r#"{"naming":"snake_case"}"#;
        let table = [
            // From, to, the state, what comes from the API, the state carried over.
            (snake, snake, r#"{"x":1}"#, "{}", r#"{"x":1}"#),
            ("{}", snake, r#"{"LastName":"B","a":1}"#, "{}", r#"{"last_name":"B","a":1}"#),
            // A rule is undone with the names of the record.
            (snake, "{}", r#"{"last_name":"B"}"#, r#"{"LastName":"C"}"#, r#"{"LastName":"B"}"#),
            (snake, "{}", r#"{"last_name":"B"}"#, "{}", r#"{"last_name":"B"}"#),
            (
                r#"{"columns":{"a":"b"}}"#,
                r#"{"columns":{"a":"c"}}"#,
                r#"{"b":1,"x":2}"#,
                "{}",
                r#"{"c":1,"x":2}"#,
            ),
            ("{}", r#"{"drop":["a"]}"#, r#"{"a":1,"b":2}"#, "{}", r#"{"b":2}"#),
            (snake, r#"{"drop":["LastName"]}"#, r#"{"last_name":1,"b":2}"#, "{}", r#"{"b":2}"#),
            // Two columns that would have met: the one that was given the name had it.
            (
                r#"{"columns":{"Email":"email"}}"#,
                r#"{"columns":{"Email":"email_address"}}"#,
                r#"{"email":"x@y"}"#,
                r#"{"Email":"x@y","email":"private"}"#,
                r#"{"email_address":"x@y"}"#,
            ),
            (
                r#"{"naming":"snake_case","lock":{"Name":"name"}}"#,
                "{}",
                r#"{"name":"B"}"#,
                r#"{"Name":"B","name":"b"}"#,
                r#"{"Name":"B"}"#,
            ),
            // A column that was left out was not there.
            (r#"{"drop":["a"]}"#, "{}", r#"{"b":2}"#, r#"{"a":1,"b":2}"#, r#"{"b":2}"#),
        ];
        for (from, to, state, incoming, want) in table {
            let (from, to) = (mapping(from).unwrap(), mapping(to).unwrap());
            let incoming = Object::parse(incoming.as_bytes()).unwrap();
            let state = Object::parse(state.as_bytes()).unwrap();
            assert_eq!(to.carry_over(state, &from, Some(&incoming)).unwrap().to_string(), want);
        }
        let snake = mapping(snake).unwrap();
        let state = Object::parse(br#"{"Name":1,"name":2}"#).unwrap();
        let error = snake.carry_over(state, &Mapping::default(), None).unwrap_err();
        let meets = r#"columns "Name" and "name" both map to "name": give each its own name"#;
        assert_eq!(error.to_string(), meets);
    }
}
