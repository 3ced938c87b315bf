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
    /// When the next block cannot be stored.
    pub async fn next(&self) -> control::Result<i64> {
        let mut left = self.left.lock().await;
        if left.is_empty() {
            let stored = self.control.setting(SETTING).await?;
            let first = stored.and_then(|text| text.parse().ok()).unwrap_or(0);
            let block = first..first + BLOCK;
            self.control.set_settings(&[(SETTING, &block.end.to_string())]).await?;
            *left = block;
        }
        let id = left.start;
        left.start += 1;
        Ok(id)
    }
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
}
