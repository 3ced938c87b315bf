//! What a mutation makes of its record, which is held meanwhile. Cheap looks come first: a text
//! that is the record's letter by letter changes nothing, and of a whole record only what is
//! written otherwise is read. What is left is compared column by column.

use super::diff::{Change, changes_since, diff};
use super::json::Object;
use super::mapping::{self, COLUMNS_MAX};
use super::mutation::{Error, Operation};
use super::name::RecordId;
use super::order::{self, Compared};
use super::patch;
use super::state::Row;
use super::sync::Defined;
use super::version::Version;
use crate::topic::Partition;
use std::borrow::Cow;
use std::cmp::Ordering;

/// What a mutation brings.
pub(super) struct Incoming<'a> {
    pub operation: Operation,
    /// The record, or some of its columns; nothing when it is deleted.
    pub data: Option<Object<'a>>,
    /// See [`Mutation::follows`](super::mutation::Mutation::follows).
    pub follows: Option<Object<'a>>,
    /// See [`Mutation::keeps`](super::mutation::Mutation::keeps).
    pub keeps: &'a [String],
    /// The record's id and the mutation's name, if it has one.
    pub name: Option<(&'a RecordId, &'a str)>,
    /// The record's version after it.
    pub version: Option<Version>,
}

/// What a mutation makes of its record.
pub(super) enum Made<'a> {
    /// What it was.
    Same,
    /// Nothing: it came before the record's last event.
    Past,
    /// What changed, and the record's text, or what that last was.
    Changed(Change<'a>, Cow<'a, str>),
}

/// A record that mutations are compared with.
pub(super) struct Compare<'a> {
    pub defined: &'a Defined,
    pub partition: &'a Partition,
    pub row: &'a Row,
    /// Bytes of a record that is compared, which takes many times the memory of its text.
    pub bytes_max: usize,
}

/// What a whole record, a patch or a deletion brings, under the present names.
struct Renamed<'a> {
    data: Option<Object<'a>>,
    /// The text, if it is the whole record.
    whole: Option<Cow<'a, str>>,
    /// What it was before, if the record was written under an earlier mapping: its columns are
    /// known by what the API calls them.
    before: Option<Object<'a>>,
}

impl<'a> Compare<'a> {
    /// What a mutation makes of the record; `merged` is where a patch is merged. May read the log:
    /// not for an async worker.
    pub(super) fn made(
        &self,
        mut incoming: Incoming<'a>,
        merged: &'a mut String,
    ) -> Result<Made<'a>, Error> {
        let data = incoming.data.take();
        let is_present = self.row.mapping == self.defined.version();
        let before = if is_present { None } else { data.clone() };
        let data = data.map(|data| self.defined.mapping.apply(data)).transpose()?;
        let is_whole = incoming.operation == Operation::Upsert && incoming.keeps.is_empty();
        let whole = data.as_ref().filter(|_| is_whole).map(Object::text);
        let state = self.row.data.as_deref().filter(|_| before.is_none());
        if whole.is_some() && whole.as_deref().map(str::as_bytes) == state {
            return Ok(Made::Same);
        }
        let (needed, max) = (whole.as_ref().map_or(0, |it| it.len()), self.bytes_max);
        if needed > max {
            return Err(Error::TooLarge { needed, max });
        }
        let changes = match (&whole, state, &data) {
            (Some(_), Some(state), Some(record)) if incoming.follows.is_none() => {
                std::str::from_utf8(state).ok().and_then(|it| changes_since(it, record))
            }
            _ => None,
        };
        match (changes, whole) {
            (Some(changes), _) if changes.is_empty() => Ok(Made::Same),
            (Some(changes), Some(text)) => Ok(Made::Changed(Change::Updated { changes }, text)),
            (_, whole) => self.by_columns(incoming, Renamed { data, whole, before }, merged),
        }
    }

    fn by_columns(
        &self,
        incoming: Incoming<'a>,
        Renamed { data, whole, before }: Renamed<'a>,
        merged: &'a mut String,
    ) -> Result<Made<'a>, Error> {
        let replaces = incoming.operation != Operation::Patch && incoming.keeps.is_empty();
        let prior = self.prior(before.as_ref(), replaces)?;
        if incoming.version.is_some()
            && incoming.version == self.row.version
            && let Some(follows) = incoming.follows
        {
            let states = prior.as_ref().zip(data.as_ref()).filter(|_| before.is_none());
            if self.is_past(incoming.name, states, follows) {
                return Ok(Made::Past);
            }
        }
        let next = match data {
            Some(patch) if incoming.operation == Operation::Patch => {
                let onto = prior.clone().unwrap_or_default();
                *merged = patch::merge(&onto, &patch).map_err(Error::Patch)?;
                let merged: &'a str = merged;
                Some(Object::parse(merged.as_bytes()).map_err(Error::Patch)?)
            }
            Some(record) if whole.is_none() => {
                Some(self.keep(record, prior.as_ref(), incoming.keeps))
            }
            data => data,
        };
        if let Some(record) = next.as_ref().filter(|it| it.columns().len() > COLUMNS_MAX) {
            return Err(mapping::Error::Columns(record.columns().len()).into());
        }
        // `diff` finds no change where there is neither a record before nor after.
        let change = diff(prior.as_ref(), next.as_ref());
        let (Some(change), Some(record)) = (change, next.as_ref().or(prior.as_ref())) else {
            return Ok(Made::Same);
        };
        Ok(Made::Changed(change, whole.unwrap_or_else(|| record.text())))
    }

    /// Whether a mutation of the version that the record has came before its last event; `states`
    /// are what the record is and is to be, if both have the present names.
    fn is_past(
        &self,
        name: Option<(&RecordId, &str)>,
        states: Option<(&Object<'_>, &Object<'_>)>,
        follows: Object<'_>,
    ) -> bool {
        if name.is_some_and(|(id, key)| order::has_come(self.partition, self.row, id, key)) {
            return true;
        }
        match (states, self.defined.mapping.apply(follows)) {
            (Some((record, next)), Ok(follows)) => order::is_earlier(
                self.partition,
                self.row,
                &Compared { record, next, follows: &follows },
            ),
            _ => false,
        }
    }

    /// A record with those columns from its last state that are not known of it.
    fn keep(
        &self,
        record: Object<'a>,
        prior: Option<&Object<'a>>,
        columns: &[String],
    ) -> Object<'a> {
        let columns = columns.iter().map(|name| Cow::Borrowed(&**name));
        let mapping = &self.defined.mapping;
        patch::keep(record, prior, &columns.filter_map(|name| mapping.name(name)).collect())
    }

    /// What the record was, under the names of the present mapping if those fit; where some of it
    /// stays they have to.
    fn prior(
        &self,
        incoming: Option<&Object<'_>>,
        replaces: bool,
    ) -> Result<Option<Object<'a>>, Error> {
        let Some(data) = self.row.data.as_deref() else { return Ok(None) };
        let state = Object::parse(data).map_err(Error::Unreadable)?;
        if self.row.mapping == self.defined.version() {
            return Ok(Some(state));
        }
        match carry_over(self.defined, self.row, state.clone(), incoming) {
            // Its columns have the names they had.
            Err(Error::Mapping(_)) if replaces => Ok(Some(state)),
            carried => carried.map(Some),
        }
    }
}

/// A record's last state under the names of the present mapping; `incoming` is what comes next.
pub(super) fn carry_over<'a>(
    defined: &Defined,
    row: &Row,
    state: Object<'a>,
    incoming: Option<&Object<'_>>,
) -> Result<Object<'a>, Error> {
    match row.mapping.cmp(&defined.version()) {
        Ordering::Equal => Ok(state),
        Ordering::Less => {
            let from = defined.mapping_of(row.mapping);
            Ok(defined.mapping.carry_over(state, from, incoming)?)
        }
        Ordering::Greater => Err(Error::Remapped),
    }
}
