//! What consumers of a classic group tell each other: JoinGroup's `metadata` and SyncGroup's
//! `assignment`, which the broker passes on as bytes.
//!
//! ```text
//! version i16 | subscription or assignment
//! ```
//!
//! Fields are only ever appended, so a version beyond ours is read as our highest and what
//! follows is passed over.

use crate::wire::{Reader, Reason, Result, Str, Version, Wire, Writer};
use bytes::Bytes;

messages! {
    /// What a member wants to read, and what it reads now.
    ConsumerProtocolSubscription {
        topics: Vec<Str>, user_data: Option<Bytes>,
        owned_partitions: Vec<ConsumerProtocolTopic> [1..],
        generation_id: i32 [2..] = -1,
        rack_id: Option<Str> [3..],
    }
    /// What a member is to read.
    ConsumerProtocolAssignment {
        assigned_partitions: Vec<ConsumerProtocolTopic>, user_data: Option<Bytes>,
    }
    ConsumerProtocolTopic { topic: Str, partitions: Vec<i32> }
}

/// The highest version of both formats that we know.
pub const CONSUMER_PROTOCOL_VERSION_MAX: i16 = 3;

macro_rules! versioned {
    ($($name:ident),*) => {$(
        impl $name {
            /// Reads version and content, and gives both.
            pub fn from_bytes(bytes: Bytes) -> Result<(i16, Self)> {
                from_bytes(bytes)
            }

            /// Writes version and content; the version must be one we know.
            pub fn to_bytes(&self, version: i16) -> Bytes {
                to_bytes(self, version)
            }
        }
    )*};
}

versioned!(ConsumerProtocolSubscription, ConsumerProtocolAssignment);

fn from_bytes<T: Wire>(bytes: Bytes) -> Result<(i16, T)> {
    let mut input = Reader::new(bytes);
    let number = i16::read(&mut input, plain(0))?;
    if number < 0 {
        return Err(Reason::InvalidVersion(number).into());
    }
    let value = T::read(&mut input, plain(number.min(CONSUMER_PROTOCOL_VERSION_MAX)))?;
    Ok((number, value))
}

fn to_bytes<T: Wire>(value: &T, version: i16) -> Bytes {
    let mut out = Writer::default();
    version.write(&mut out, plain(0));
    value.write(&mut out, plain(version));
    out.into_bytes()
}

fn plain(number: i16) -> Version {
    Version { number, flexible: false }
}
