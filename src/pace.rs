//! How fast a request has to arrive once it has begun: **whoever sends too slowly is given up**,
//! since what has arrived takes memory until the rest is there.

use std::time::Duration;
use tokio::time::Instant;

/// A request may arrive at any pace for this long: after that Kafka's clients give it up
/// themselves, by their `request.timeout.ms`.
const GRACE: Duration = Duration::from_secs(30);
/// What has arrived by then buys more time at this rate: 100 MiB are there within a minute.
const BYTES_A_MS: usize = 3_500;

/// The time of one request, of which that is not counted in which we did not read.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    begun: Instant,
    paused: Option<Instant>,
}

impl Pace {
    /// A request that begins now.
    pub fn begin() -> Self {
        Self { begun: tokio::time::Instant::now(), paused: None }
    }

    /// When the next byte must be there at the latest, of a request of which this many are.
    pub fn deadline(&self, arrived: usize) -> Instant {
        self.begun + GRACE + Duration::from_millis((arrived / BYTES_A_MS) as u64)
    }

    /// From here on it is not the client's turn.
    pub fn pause(&mut self) {
        self.paused.get_or_insert_with(tokio::time::Instant::now);
    }

    /// It is the client's turn again.
    pub fn go_on(&mut self) {
        if let Some(paused) = self.paused.take() {
            self.begun += paused.elapsed();
        }
    }
}

#[cfg(test)]
impl Pace {
    /// As if all that was noted had been this much earlier.
    pub fn age(&mut self, by: Duration) {
        self.begun -= by;
        self.paused = self.paused.map(|paused| paused - by);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_arrived_buys_time_and_100_mib_have_a_minute() {
        let pace = Pace::begin();
        assert_eq!(pace.deadline(0), pace.begun + GRACE);
        assert_eq!(pace.deadline(7_000_000), pace.begun + GRACE + Duration::from_secs(2));
        let whole = pace.deadline(100 << 20) - pace.begun;
        assert!((59..=60).contains(&whole.as_secs()), "{whole:?}");
    }

    #[test]
    fn time_in_which_we_did_not_read_is_not_the_clients() {
        let mut pace = Pace::begin();
        pace.pause();
        let before = pace.deadline(0);
        pace.age(3 * GRACE);
        // Once paused, it is paused since then.
        pace.pause();
        pace.go_on();
        assert!(pace.deadline(0) >= before);
        let after = pace.deadline(0);
        pace.go_on();
        assert_eq!(pace.deadline(0), after);
    }
}
