//! The column mapping of a collection: what the API's fields are called in the database.
//!
//! A column named in the mapping is renamed, in its place; every other column passes through under
//! its own name. **No two columns of a record land on one name:** a mapping that would always do
//! so is refused when it is made, a record in which it happens is refused when it comes.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::json::Object;

/// Database names by the API's names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mapping {
    renames: BTreeMap<String, String>,
}

/// Why a mapping, or a record under it, is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("columns {first:?} and {second:?} both map to {target:?}: give each its own name")]
    Collision { first: String, second: String, target: String },
    #[error("column {source_name:?} maps to an empty name: give it one")]
    Empty { source_name: String },
}

impl Mapping {
    /// A mapping of these renames, from the API's name to the database's.
    pub fn new(renames: BTreeMap<String, String>) -> Result<Mapping, Error> {
        let mut sources: BTreeMap<&str, &str> = BTreeMap::new();
        for (source, target) in &renames {
            if target.is_empty() {
                return Err(Error::Empty { source_name: source.clone() });
            }
            if let Some(first) = sources.insert(target, source) {
                return Err(Error::collision(first, source, target));
            }
        }
        Ok(Mapping { renames })
    }

    /// The renames, from the API's name to the database's.
    pub fn renames(&self) -> &BTreeMap<String, String> {
        &self.renames
    }

    /// `record` under its database names. Works on a whole record and on a patch alike.
    pub fn apply<'a>(&'a self, record: Object<'a>) -> Result<Object<'a>, Error> {
        if self.renames.is_empty() {
            return Ok(record);
        }
        self.check(&record)?;
        let rename = |name: Cow<'a, str>| match self.renames.get(&*name) {
            Some(target) => Cow::Borrowed(target.as_str()),
            None => name,
        };
        let columns = record.into_columns().into_iter();
        Ok(Object::from_columns(columns.map(|(name, value)| (rename(name), value)).collect()))
    }

    /// Refuses a record in which a renamed column meets one that has the new name already.
    fn check(&self, record: &Object<'_>) -> Result<(), Error> {
        for (source, target) in &self.renames {
            let stays = !self.renames.contains_key(target);
            if stays && record.get(source).is_some() && record.get(target).is_some() {
                return Err(Error::collision(source, target, target));
            }
        }
        Ok(())
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

    fn mapping(renames: &[(&str, &str)]) -> Result<Mapping, Error> {
        Mapping::new(renames.iter().map(|&(a, b)| (a.to_owned(), b.to_owned())).collect())
    }

    fn apply(renames: &[(&str, &str)], record: &str) -> Result<String, String> {
        let mapping = mapping(renames).map_err(|error| error.to_string())?;
        let record = Object::parse(record.as_bytes()).unwrap();
        mapping.apply(record).map(|it| it.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn columns_are_renamed_in_place_and_others_pass_through() {
        type Row = (&'static [(&'static str, &'static str)], &'static str, &'static str);
        let table: &[Row] = &[
            (&[], r#"{"A":1}"#, r#"{"A":1}"#),
            (
                &[("LastName", "last_name"), ("Gone", "gone")],
                r#"{"Id":"1","LastName":"B","x":{"LastName":1}}"#,
                r#"{"Id":"1","last_name":"B","x":{"LastName":1}}"#,
            ),
            (&[("a", "b"), ("b", "a")], r#"{"a":1,"b":2}"#, r#"{"b":1,"a":2}"#),
            (&[("a", "b"), ("b", "c")], r#"{"a":1,"b":2}"#, r#"{"b":1,"c":2}"#),
            (&[("a", "a")], r#"{"a":1}"#, r#"{"a":1}"#),
            (&[("a", "b")], r#"{"b":1}"#, r#"{"b":1}"#),
        ];
        for (renames, record, want) in table {
            assert_eq!(apply(renames, record).unwrap(), *want);
        }
    }

    #[test]
    fn two_columns_never_land_on_one_name() {
        let both = r#"columns "a" and "b" both map to "c": give each its own name"#;
        assert_eq!(mapping(&[("a", "c"), ("b", "c")]).unwrap_err().to_string(), both);
        let meets = r#"columns "a" and "b" both map to "b": give each its own name"#;
        assert_eq!(apply(&[("a", "b")], r#"{"b":1,"a":2}"#).unwrap_err(), meets);
        let empty = r#"column "a" maps to an empty name: give it one"#;
        assert_eq!(mapping(&[("a", "")]).unwrap_err().to_string(), empty);
    }
}
