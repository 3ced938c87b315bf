//! A part of a batch by collection, and what became of its items.

use super::answers::Ticket;
use super::mutation::{Done, Error, Mutation};
use super::outcomes::Outcomes;
use super::target::Target;
use crate::http::ApiError;
use std::collections::BTreeMap;

/// Mutations of one collection, each with its place in the part.
pub(super) type Share<'a> = (Target, Vec<(usize, Mutation<'a>)>);

/// Of which share an item is and what became of it.
pub(super) type Outcome = Result<(usize, Done), Refusal>;

/// In order, if anything became of an item.
pub(super) type ByItem = Vec<Option<Outcome>>;

/// Why an item is not carried out.
pub(super) struct Refusal {
    pub error: ApiError,
    /// What that tells of a record, and of which share.
    pub tells: Option<(usize, Box<Done>)>,
}

impl Refusal {
    /// Of an item of a share.
    pub(super) fn new(share: usize, error: Error) -> Self {
        let tells = error.tells().map(|record| (share, Box::new(record.clone())));
        Self { error: error.into(), tells }
    }
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self { error, tells: None }
    }
}

/// Mutations by collection.
pub(super) struct Shares<'a> {
    shares: Vec<Share<'a>>,
    /// Where a collection's share is, or why it has none.
    by_collection: BTreeMap<String, Result<usize, ApiError>>,
    /// Items that were refused already.
    outcomes: ByItem,
}

impl<'a> Shares<'a> {
    /// Of a part of so many items.
    pub(super) fn new(items: usize) -> Self {
        let outcomes = (0..items).map(|_| None).collect();
        Self { shares: Vec::new(), by_collection: BTreeMap::new(), outcomes }
    }

    /// Adds an item's mutation; `find` looks up the collection, once.
    pub(super) fn push(
        &mut self,
        at: usize,
        collection: &str,
        mutation: Mutation<'a>,
        find: impl FnOnce() -> Result<Target, ApiError>,
    ) -> Result<(), ApiError> {
        if !self.by_collection.contains_key(collection) {
            let found = find().map(|target| {
                self.shares.push((target, Vec::new()));
                self.shares.len() - 1
            });
            self.by_collection.insert(collection.to_owned(), found);
        }
        match &self.by_collection[collection] {
            Ok(share) => {
                self.shares[*share].1.push((at, mutation));
                Ok(())
            }
            Err(error) => Err(error.clone()),
        }
    }

    /// Says why an item is refused.
    pub(super) fn refuse(&mut self, at: usize, error: ApiError) {
        self.outcomes[at] = Some(Err(error.into()));
    }

    /// Carries out what was not refused, each for itself.
    ///
    /// # Errors
    /// When the state store cannot say what a crash left carried out.
    pub(super) fn mutate(mut self, ticket: Option<&Ticket>) -> Result<Outcomes, ApiError> {
        let mut targets = Vec::with_capacity(self.shares.len());
        for (share, (target, mutations)) in self.shares.into_iter().enumerate() {
            let (places, mutations): (Vec<_>, Vec<_>) = mutations.into_iter().unzip();
            for (at, outcome) in places.into_iter().zip(target.mutate_once(mutations, ticket)?) {
                let refused = |error| Refusal::new(share, error);
                self.outcomes[at] = Some(outcome.map(|done| (share, done)).map_err(refused));
            }
            targets.push(target);
        }
        Ok(Outcomes::new(targets, self.outcomes))
    }

    /// Whether an item was refused already.
    pub(super) fn is_refused(&self) -> bool {
        self.outcomes.iter().flatten().any(Result::is_err)
    }

    /// The shares, and what became of items so far.
    pub(super) fn into_parts(self) -> (Vec<Share<'a>>, ByItem) {
        (self.shares, self.outcomes)
    }
}
