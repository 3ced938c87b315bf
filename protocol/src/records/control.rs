//! Control records: the markers that end transactions (KIP-98).
//!
//! ```text
//! key:   version i16 = 0 | type i16: 0 abort, 1 commit; others are the KRaft log's own
//! value: version i16 = 0 | coordinator_epoch i32
//! ```
//!
//! A marker is the one record of a transactional control batch, never compressed. It takes an
//! offset as any record does. A later version may append fields, so more bytes than we know are
//! passed over.

use super::{Batch, BatchBuilder, Compression, Record};
use nom::number::complete::{be_i16, be_i32};
use nom::{IResult, Parser};

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionResult {
    /// Its records are void.
    Abort,
    /// Its records count.
    Commit,
}

/// The end of one producer's transaction in one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndTxnMarker {
    /// How it ended.
    pub result: TransactionResult,
    /// Epoch of the transaction coordinator that wrote the marker; a lower one later is a zombie.
    pub coordinator_epoch: i32,
}

/// Why a record is not a control record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// Key or value is missing or too short.
    #[error("control record is cut short")]
    Truncated,
    /// A version below 0.
    #[error("control record version {0} is negative")]
    InvalidVersion(i16),
}

impl EndTxnMarker {
    /// The marker in a record of a control batch, or `None` if it is another kind of control
    /// record.
    pub fn read(record: &Record) -> Result<Option<Self>, ControlError> {
        let (version, kind) = parse(record.key.as_deref(), (be_i16, be_i16))?;
        check_version(version)?;
        let result = match kind {
            0 => TransactionResult::Abort,
            1 => TransactionResult::Commit,
            _ => return Ok(None),
        };
        let (version, coordinator_epoch) = parse(record.value.as_deref(), (be_i16, be_i32))?;
        check_version(version)?;
        Ok(Some(Self { result, coordinator_epoch }))
    }

    /// The batch that ends the transaction of a producer; `timestamp` is in ms since 1970.
    pub fn batch(self, timestamp: i64, producer_id: i64, producer_epoch: i16) -> Batch {
        let kind: i16 = match self.result {
            TransactionResult::Abort => 0,
            TransactionResult::Commit => 1,
        };
        let key = [[0; 2], kind.to_be_bytes()].concat();
        let value = [&[0; 2][..], &self.coordinator_epoch.to_be_bytes()].concat();
        let mut builder = BatchBuilder::new(Compression::None, BATCH_BYTES_MAX)
            .producer(producer_id, producer_epoch, -1)
            .transactional()
            .control();
        let appended = builder.append(timestamp, Some(&key), Some(&value), &[]);
        debug_assert!(appended.is_ok());
        builder.finish().expect("a marker fits a batch of this size")
    }
}

/// A batch with a marker in it takes 78 bytes.
const BATCH_BYTES_MAX: usize = 128;

fn parse<'a, T>(
    bytes: Option<&'a [u8]>,
    mut parser: impl Parser<&'a [u8], Output = T, Error = nom::error::Error<&'a [u8]>>,
) -> Result<T, ControlError> {
    let parsed: IResult<_, T> = parser.parse(bytes.ok_or(ControlError::Truncated)?);
    parsed.map(|(_, value)| value).map_err(|_| ControlError::Truncated)
}

fn check_version(version: i16) -> Result<(), ControlError> {
    match version {
        0.. => Ok(()),
        _ => Err(ControlError::InvalidVersion(version)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn read(key: Option<&'static [u8]>, value: Option<&'static [u8]>) -> String {
        let (key, value) = (key.map(Bytes::from_static), value.map(Bytes::from_static));
        match EndTxnMarker::read(&Record { key, value, ..Record::default() }) {
            Ok(None) => "other".to_owned(),
            Ok(Some(it)) => format!("{:?} {}", it.result, it.coordinator_epoch),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn markers_are_read_leniently_towards_later_versions_only() {
        let value: Option<&'static [u8]> = Some(&[0, 0, 0, 0, 1, 2]);
        assert_eq!(read(Some(&[0, 0, 0, 0]), value), "Abort 258");
        assert_eq!(read(Some(&[0, 1, 0, 1, 9]), Some(&[0, 7, 0, 0, 0, 1, 9])), "Commit 1");
        assert_eq!(read(Some(&[0, 0, 0, 2]), None), "other");
        assert_eq!(read(Some(&[0, 0, 0xff, 0xff]), value), "other");
        assert_eq!(read(Some(&[0xff, 0xff, 0, 0]), value), "control record version -1 is negative");
        for (key, value) in [
            (None, value),
            (Some(&[0, 0, 0][..]), value),
            (Some(&[0, 0, 0, 1][..]), None),
            (Some(&[0, 0, 0, 1][..]), Some(&[0, 0, 0, 0, 1][..])),
        ] {
            assert_eq!(read(key, value), "control record is cut short");
        }
    }
}
