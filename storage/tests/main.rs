//! The storage crate from outside: one binary for all of its tests.

mod disk;
mod support;
