//! How long a record waits after a failed attempt.
//!
//! The schedule is a list of delays, one for each failure; **after its end the last delay repeats
//! until the record is delivered**. Each delay is spread by a tenth either way, so that records
//! which failed together do not come back together. An endpoint's `Retry-After` may lengthen a
//! delay, by no more than [`RETRY_AFTER_EXTRA_MAX`], and never shortens it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How much longer than the schedule an endpoint may make a record wait.
pub const RETRY_AFTER_EXTRA_MAX: Duration = Duration::from_secs(2 * 3600);

const DELAYS_MAX: usize = 32;
/// Below this a failing endpoint would keep a core busy.
const DELAY_MIN: Duration = Duration::from_millis(10);
const DELAY_MAX: Duration = Duration::from_secs(24 * 3600);
const JITTER: f64 = 0.1;

/// The delays after the first failure, the second, and so on. Never empty.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct Schedule(Vec<Duration>);

/// Why a schedule is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("expected 1 to {DELAYS_MAX} delays, found {found}")]
    Count { found: usize },
    #[error("expected a duration such as \"5s\", \"30m\" or \"2h\", found {found:?}: {reason}")]
    Duration { found: String, reason: String },
    #[error("expected a delay from 10ms to 24h, found {found:?}")]
    Range { found: String },
}

impl Schedule {
    /// Reads durations such as `5s`, `30m`, `2h` or `1h 30m`.
    pub fn parse<S: AsRef<str>>(delays: &[S]) -> Result<Schedule, Error> {
        if delays.is_empty() || delays.len() > DELAYS_MAX {
            return Err(Error::Count { found: delays.len() });
        }
        delays.iter().map(|text| parse_delay(text.as_ref())).collect::<Result<_, _>>().map(Schedule)
    }

    /// The delays as [`Schedule::parse`] reads them.
    pub fn to_strings(&self) -> Vec<String> {
        self.0.iter().map(|&delay| humantime::format_duration(delay).to_string()).collect()
    }

    /// How long to wait after `failures` (at least one) failed attempts.
    ///
    /// `jitter`, from 0 to 1, chooses a point from a tenth below the delay to a tenth above.
    pub fn delay(&self, failures: u32, retry_after: Option<Duration>, jitter: f64) -> Duration {
        let at = (failures.max(1) as usize - 1).min(self.0.len() - 1);
        let jitter = if jitter.is_finite() { jitter.clamp(0.0, 1.0) } else { 0.5 };
        let delay = self.0[at].mul_f64(1.0 - JITTER + 2.0 * JITTER * jitter);
        delay.max(retry_after.unwrap_or_default().min(delay + RETRY_AFTER_EXTRA_MAX))
    }
}

impl TryFrom<Vec<String>> for Schedule {
    type Error = Error;

    fn try_from(delays: Vec<String>) -> Result<Schedule, Error> {
        Schedule::parse(&delays)
    }
}

impl From<Schedule> for Vec<String> {
    fn from(schedule: Schedule) -> Vec<String> {
        schedule.to_strings()
    }
}

impl Default for Schedule {
    /// The first seven delays of the Standard Webhooks schedule.
    fn default() -> Schedule {
        const MINUTE: u64 = 60;
        const HOUR: u64 = 60 * MINUTE;
        let delays = [5, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 10 * HOUR];
        Schedule(delays.map(Duration::from_secs).to_vec())
    }
}

fn parse_delay(text: &str) -> Result<Duration, Error> {
    let delay = humantime::parse_duration(text)
        .map_err(|error| Error::Duration { found: text.into(), reason: error.to_string() })?;
    if !(DELAY_MIN..=DELAY_MAX).contains(&delay) {
        return Err(Error::Range { found: text.into() });
    }
    Ok(delay)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_last_delay_repeats_until_delivered() {
        let schedule = Schedule::default();
        let delays: Vec<u64> = (1..=9).map(|n| schedule.delay(n, None, 0.5).as_secs()).collect();
        assert_eq!(delays, [5, 300, 1800, 7200, 18000, 36000, 36000, 36000, 36000]);
        assert_eq!(schedule.delay(u32::MAX, None, 0.5).as_secs(), 36000);
        assert_eq!(schedule.delay(0, None, 0.5).as_secs(), 5);
    }

    #[test]
    fn jitter_spreads_a_delay_by_a_tenth_either_way() {
        let schedule = Schedule::parse(&["100s"]).unwrap();
        let table = [(0.0, 90), (0.5, 100), (1.0, 110), (-3.0, 90), (9.0, 110), (f64::NAN, 100)];
        for (jitter, want) in table {
            assert_eq!(schedule.delay(1, None, jitter), want * SECOND, "{jitter}");
        }
    }

    #[test]
    fn retry_after_lengthens_a_delay_by_two_hours_at_most() {
        let schedule = Schedule::parse(&["100s"]).unwrap();
        let table = [(0, 100), (99, 100), (101, 101), (7300, 7300), (7301, 7300), (u64::MAX, 7300)];
        for (retry_after, want) in table {
            let delay = schedule.delay(1, Some(Duration::from_secs(retry_after)), 0.5);
            assert_eq!(delay, want * SECOND, "{retry_after}");
        }
    }

    #[test]
    fn schedules_are_read_and_written() {
        let schedule = Schedule::parse(&["10ms", "5s", "5m", "90m", "24h"]).unwrap();
        assert_eq!(schedule.to_strings(), ["10ms", "5s", "5m", "1h 30m", "1day"]);
        assert_eq!(Schedule::parse(&schedule.to_strings()).unwrap(), schedule);
        assert_eq!(
            Schedule::parse(&Schedule::default().to_strings()).unwrap(),
            Schedule::default()
        );

        let error = |delays: &[&str]| Schedule::parse(delays).unwrap_err().to_string();
        assert_eq!(error(&[]), "expected 1 to 32 delays, found 0");
        assert_eq!(error(&["1s"; 33]), "expected 1 to 32 delays, found 33");
        assert_eq!(error(&["5s", "0s"]), "expected a delay from 10ms to 24h, found \"0s\"");
        assert_eq!(error(&["25h"]), "expected a delay from 10ms to 24h, found \"25h\"");
        for bad in ["", "5", "s", "5 parsecs", "-5s", "99999999999999999999h"] {
            assert!(error(&[bad]).starts_with("expected a duration such as \"5s\""), "{bad}");
        }
    }
}
