//! Reads what is stored again in the background, to find damage while it can still be mended.

use crate::broker::Broker;
use crate::clock;
use std::sync::Arc;
use std::time::Duration;
use tidelog_storage::{Pace, Scrubbed, Volume};
use tokio::time::sleep;

/// How often it is asked whether there is something to do.
const INTERVAL: Duration = Duration::from_secs(60);
/// How far apart rounds over everything begin; one that takes longer is followed by the next.
const PERIOD_MS: i64 = 7 * 24 * 60 * 60 * 1000;
const STEP_BYTES: u64 = 1 << 20;

/// Scrubs the volume, for ever.
pub async fn scrub(broker: Arc<Broker>) {
    let mut pace = Pace::new(broker.shared.settings.scrub_bytes_per_second);
    loop {
        // Not at once: a start has other things to read.
        sleep(INTERVAL).await;
        while let Some(bytes) = step(broker.shared.volume.clone()).await {
            sleep(pace.spend(clock::now(), bytes)).await;
        }
    }
}

/// Checks a little more; `None` when nothing is left to do.
async fn step(volume: Volume) -> Option<u64> {
    let work = move || volume.scrub(clock::unix_ms(), PERIOD_MS, STEP_BYTES);
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(found)) => found.map(|Scrubbed { bytes, damage }| {
            for repair in damage {
                tracing::error!("found in the background: {repair}");
            }
            bytes
        }),
        Ok(Err(error)) => {
            tracing::error!("reading logs again stopped: {error}");
            None
        }
        Err(error) => {
            tracing::error!("reading logs again failed: {error}");
            None
        }
    }
}
