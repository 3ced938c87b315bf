//! The storage crate from outside: one binary for all of its tests.

mod corrupt;
mod crash;
mod disk;
mod faulty;
mod formats;
mod model;
mod support;
