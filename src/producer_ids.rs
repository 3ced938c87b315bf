//! Producer ids: unique for the life of the data directory.
//!
//! Ids are taken from blocks; **a block is stored before its first id is given out**, so a crash
//! loses the rest of a block and never repeats an id.

use crate::control::{self, Control};
use tokio::sync::Mutex;

/// Ids of a block, as in Kafka.
const BLOCK: i64 = 1000;
const SETTING: &str = "producer_ids_reserved";

/// Gives out producer ids.
pub struct ProducerIds {
    control: Control,
    left: Mutex<std::ops::Range<i64>>,
}

impl ProducerIds {
    /// Nothing is reserved before it is asked for.
    pub fn new(control: Control) -> Self {
        Self { control, left: Mutex::new(0..0) }
    }

    /// An id nobody had before.
    ///
    /// # Errors
    /// When the next block cannot be stored, or the end of the last one not be read.
    pub async fn next(&self) -> control::Result<i64> {
        let mut left = self.left.lock().await;
        if left.is_empty() {
            let stored = self.control.setting(SETTING).await?;
            let first = stored.map_or(Ok(0), |text| read(&text))?;
            let block = first..first + BLOCK;
            self.control.set_settings(&[(SETTING, &block.end.to_string())]).await?;
            *left = block;
        }
        let id = left.start;
        left.start += 1;
        Ok(id)
    }
}

/// Where the last block ended. What is damaged is no start: ids would be given out again, and their
/// producers refuse each other.
fn read(text: &str) -> control::Result<i64> {
    let first = text.parse().ok().filter(|first| (0..=i64::MAX - BLOCK).contains(first));
    let unread = || format!("the setting {SETTING} has to be a number of ids, and is '{text}'");
    first.ok_or_else(|| control::Error::Decode(unread().into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn ids_never_repeat_across_restarts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.db");
        let mut seen = std::collections::HashSet::new();
        for _ in 0..3 {
            let control = Control::open(&path).await.unwrap();
            let ids = ProducerIds::new(control.clone());
            for _ in 0..BLOCK + 10 {
                assert!(seen.insert(ids.next().await.unwrap()));
            }
            control.close().await;
        }
    }

    #[tokio::test]
    async fn no_id_is_given_out_while_it_cannot_be_read_which_are_left() {
        let dir = tempfile::tempdir().unwrap();
        let control = Control::open(&dir.path().join("control.db")).await.unwrap();
        for damaged in ["", "1e3", "-1", "9223372036854775807"] {
            control.set_settings(&[(SETTING, damaged)]).await.unwrap();
            let error = ProducerIds::new(control.clone()).next().await.unwrap_err();
            assert!(error.to_string().contains(SETTING), "{error}");
            assert_eq!(control.setting(SETTING).await.unwrap().as_deref(), Some(damaged));
        }
    }
}
