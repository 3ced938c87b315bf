//! All of a batch or nothing of it.
//!
//! Every partition it touches is locked, in one order for all, and every mutation is compared with
//! its record. If one is refused, nothing was published. Otherwise each partition gets what it is
//! to get: where that is more than one record batch, [`Intent`] says first what is to come, so that
//! a crash between two appends ends with all of them in the logs. All events are in memory before
//! the first is appended, at most [`HELD_BYTES_MAX`] bytes of them.

use super::Ingest;
use super::answers::Ticket;
use super::intents::Intent;
use super::mutation::{Done, Error, HELD_BYTES_MAX, Mutation};
use super::outcomes::Outcomes;
use super::run::Run;
use super::shares::{Refusal, Share, Shares};
use super::target::Target;
use std::collections::{BTreeMap, HashSet};
use tokio::runtime::Handle;

/// Carries out all mutations or none. The intent, if there is one, is to be forgotten once the
/// outcomes are durable. Reads the store and writes the logs: not for an async worker.
///
/// # Errors
/// Why nothing was published.
pub(super) fn mutate(
    ingest: &Ingest,
    shares: Shares<'_>,
    ticket: Option<&Ticket>,
) -> Result<(Outcomes, Option<Intent>), Outcomes> {
    let is_refused = shares.is_refused();
    let (mut shares, mut outcomes) = shares.into_parts();
    let carried_out = match carried_out_before(&mut shares, ticket.filter(|_| !is_refused)) {
        Ok(None) => carry_out(ingest, &mut shares, is_refused),
        before => before.map(|done| (done.unwrap_or_default(), None)),
    };
    let targets = shares.into_iter().map(|(target, _)| target).collect();
    match carried_out {
        Ok((done, intent)) => {
            done.into_iter().for_each(|(at, done)| outcomes[at] = Some(Ok(done)));
            Ok((Outcomes::new(targets, outcomes), intent))
        }
        Err(errors) => {
            errors.into_iter().for_each(|(at, error)| outcomes[at] = Some(Err(error)));
            // The others would have been carried out.
            let sound = |it: Option<_>| it.or(Some(Ok((0, Done::NOTHING))));
            Err(Outcomes::new(targets, outcomes.into_iter().map(sound).collect()))
        }
    }
}

/// By their place in the request.
type Each<T> = Vec<(usize, T)>;

/// What was carried out, of which share, and the intent that is to be forgotten.
type Carried = (Each<(usize, Done)>, Option<Intent>);

/// What a batch does in one partition.
struct InPartition<'m, 't> {
    share: usize,
    target: &'t Target,
    mutations: Each<Mutation<'m>>,
}

/// Carries out all, unless something is refused or an item was before: then all are touched, as a
/// refused mutation is no proof that its record is gone.
fn carry_out(
    ingest: &Ingest,
    shares: &mut [Share<'_>],
    is_refused: bool,
) -> Result<Carried, Each<Refusal>> {
    // A topic's id and the partition's index: the order in which all lock.
    let mut by_partition: BTreeMap<_, InPartition<'_, '_>> = BTreeMap::new();
    for (share, (target, mutations)) in shares.iter_mut().enumerate() {
        for (at, mutation) in std::mem::take(mutations) {
            let place = (target.stream.topic().id, target.stream.partition_of(&mutation.id));
            let new = || InPartition { share, target: &*target, mutations: Vec::new() };
            by_partition.entry(place).or_insert_with(new).mutations.push((at, mutation));
        }
    }
    let mut plan = Plan::default();
    for ((_, index), its) in by_partition {
        plan.add(index, its);
    }
    let Plan { runs, done, refused, .. } = plan;
    if is_refused || !refused.is_empty() {
        runs.into_iter().for_each(Run::refuse);
        return Err(refused);
    }
    match append(ingest, runs) {
        Ok(intent) => Ok((done, intent)),
        Err(error) => {
            let each = |(at, (share, _))| (at, Refusal::new(share, error.clone()));
            Err(done.into_iter().map(each).collect())
        }
    }
}

/// What is to be appended, and what is said of items.
#[derive(Default)]
struct Plan<'a> {
    runs: Vec<Run<'a>>,
    done: Each<(usize, Done)>,
    refused: Each<Refusal>,
    /// Of the events so far.
    bytes: usize,
}

impl<'a> Plan<'a> {
    fn add(&mut self, index: i32, its: InPartition<'_, 'a>) {
        let InPartition { share, target, mutations } = its;
        let mut run = match target.stream.run(target.destination(), index) {
            Ok(run) => run,
            Err(error) => {
                let each = |(at, _)| (at, Refusal::new(share, error.clone()));
                return self.refused.extend(mutations.into_iter().map(each));
            }
        };
        for (at, mutation) in mutations {
            if self.bytes + run.bytes() > HELD_BYTES_MAX {
                run.touch(&mutation);
                continue;
            }
            // What the batch itself would have made of the record is not so then.
            let is_its_own = run.has_planned(&mutation.id);
            match run.plan(mutation) {
                Ok(done) => self.done.push((at, (share, done))),
                Err(error) if is_its_own => {
                    self.refused.push((at, Refusal { error: error.into(), tells: None }));
                }
                Err(error) => self.refused.push((at, Refusal::new(share, error))),
            }
            if self.bytes + run.bytes() > HELD_BYTES_MAX {
                self.refused.push((at, Refusal::new(share, Error::TooMuch)));
            }
        }
        self.bytes += run.bytes();
        self.runs.push(run);
    }
}

fn append(ingest: &Ingest, mut runs: Vec<Run<'_>>) -> Result<Option<Intent>, Error> {
    let batches: usize = runs.iter_mut().map(|run| run.batches().2.len()).sum();
    if batches <= 1 {
        let appended = runs.into_iter().try_for_each(Run::append);
        return appended.map(|()| None).map_err(|(_, error)| error);
    }
    for run in &runs {
        let partition = run.partition();
        Handle::current().block_on(partition.past(partition.log().log_end_offset()));
    }
    let state = &ingest.broker.shared.state;
    let intent = Intent::write(state, runs.iter_mut().map(Run::batches));
    // Each is tried: what is appended now need not be at the next start.
    let appended: Vec<_> = runs.into_iter().map(Run::append_promised).collect();
    match appended.into_iter().find_map(Result::err) {
        None => Ok(Some(intent)),
        Some(error) => Err(Error::HalfWritten(Box::new(error))),
    }
}

/// If a crash took away the answer of this batch, what it did: all of it was carried out, and what
/// has no event had changed nothing. The versions of those are held now, as they may not have been.
fn carried_out_before(
    shares: &mut [Share<'_>],
    ticket: Option<&Ticket>,
) -> Result<Option<Each<(usize, Done)>>, Each<Refusal>> {
    let mut outcomes = Vec::new();
    for (share, (target, mutations)) in shares.iter().enumerate() {
        for (at, mutation) in mutations {
            let noted =
                target.noted(mutation, ticket).map_err(|error| vec![(*at, error.into())])?;
            outcomes.extend(noted.map(|done| (*at, (share, done))));
        }
    }
    if outcomes.is_empty() {
        return Ok(None);
    }
    let has_event: HashSet<_> = outcomes.iter().map(|(at, _)| *at).collect();
    for (share, (target, mutations)) in shares.iter_mut().enumerate() {
        let rest = std::mem::take(mutations).into_iter().filter(|(at, _)| !has_event.contains(at));
        let over = |(at, mutation)| (at, Mutation { is_over: true, ..mutation });
        let (places, rest): (Vec<_>, Vec<_>) = rest.map(over).unzip();
        for (at, done) in places.into_iter().zip(target.mutate(rest)) {
            let done = done.map_err(|error| vec![(at, Refusal::new(share, error))])?;
            outcomes.push((at, (share, done)));
        }
    }
    Ok(Some(outcomes))
}
