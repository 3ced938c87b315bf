//! The storage crate from outside: one binary for all of its tests.

#![allow(clippy::unwrap_used, reason = "a failed test panics, its helpers too")]

mod ahead;
mod compaction;
mod corrupt;
mod crash;
mod deferred;
mod disk;
mod faulty;
mod flush;
mod formats;
mod full;
mod inspect;
mod journal;
mod kill;
mod model;
mod producers;
mod random;
mod repair;
mod retention;
mod roll;
mod scrub;
mod support;
mod times;
mod transactions;
mod unwritten;
