//! A share of the disk's bandwidth for work that can wait.

use std::time::Duration;

/// Spreads bytes read and written over time; the clock is the caller's.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    bytes_per_second: u64,
    /// When what was spent so far is paid for.
    paid_at: Duration,
}

impl Pace {
    /// At most this many bytes a second, in the long run.
    pub const fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second, paid_at: Duration::ZERO }
    }

    /// Notes that `bytes` were read or written until `now`, on a clock that only goes forward;
    /// returns how long to wait before the next. Time in which nothing was spent is not saved up.
    #[must_use]
    pub fn spend(&mut self, now: Duration, bytes: u64) -> Duration {
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second.max(1));
        let cost = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        self.paid_at = self.paid_at.max(now).saturating_add(cost);
        self.paid_at.saturating_sub(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_take_their_time_and_idleness_saves_nothing_up() {
        let mut pace = Pace::new(1000);
        let [at, ms] = [Duration::from_secs, Duration::from_millis];
        assert_eq!(pace.spend(at(5), 500), ms(500));
        assert_eq!(pace.spend(at(5), 250), ms(750), "who does not wait owes more");
        assert_eq!(pace.spend(at(6), 100), ms(100));
        assert_eq!(pace.spend(at(60), 100), ms(100));
        assert_eq!(Pace::new(0).spend(at(0), 2), at(2), "never by nothing");
    }
}
