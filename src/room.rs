//! Memory for requests while they arrive and until they are carried out, on both listeners.
//!
//! A request first takes its whole length from its account's share, where it waits for that
//! account's other requests and nobody else's. From the process it takes memory **as its bytes
//! arrive**: what is announced and not sent holds up the account that announced it, and no other.
//!
//! Requests that each have part of what they need could wait for each other forever. So when there
//! is none left, one request at a time goes on from a reserve in which any request fits.

use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The longest request: Kafka's `socket.request.max.bytes`.
pub const REQUEST_BYTES_MAX: usize = 100 << 20;
/// KiB of requests at a time, of all accounts: 512 MiB with the reserve.
const PROCESS_KIB: usize = (512 << 10) - REQUEST_BYTES_MAX / 1024;
/// KiB of requests at a time, of one account.
const SHARE_KIB: usize = 128 << 10;

/// An account's share, and the process's memory behind it.
#[derive(Clone, Debug)]
pub struct Room {
    share: Arc<Semaphore>,
    process: Arc<Semaphore>,
    /// One permit: who has it has the whole reserve.
    reserve: Arc<Semaphore>,
}

impl Default for Room {
    /// The room of a process.
    fn default() -> Self {
        Self::new(SHARE_KIB, PROCESS_KIB)
    }
}

impl Room {
    fn new(share: usize, process: usize) -> Self {
        let [share, process, reserve] = [share, process, 1].map(|it| Arc::new(Semaphore::new(it)));
        Self { share, process, reserve }
    }

    /// The room of a further account of this process.
    pub fn of_another(&self) -> Self {
        Self { share: Arc::new(Semaphore::new(SHARE_KIB)), ..self.clone() }
    }

    /// Waits until the account may have a request of `bytes` more, of which none is here.
    pub async fn admit(&self, bytes: usize) -> Taken {
        let share = permits(&self.share, kib(bytes)).await;
        Taken { share, process: None, reserve: None, kib: 0 }
    }

    /// Waits until there is memory for the first `bytes` of an admitted request. Cancel safe.
    pub async fn take(&self, taken: &mut Taken, bytes: usize) {
        let more = kib(bytes).saturating_sub(taken.kib);
        if more == 0 || taken.reserve.is_some() {
            return;
        }
        let (process, reserve) = tokio::select! {
            biased;
            process = permits(&self.process, more) => (process, None),
            reserve = permits(&self.reserve, 1) => (None, reserve),
        };
        match (&mut taken.process, process) {
            (Some(taken), Some(more)) => taken.merge(more),
            (taken, more) => *taken = more.or(taken.take()),
        }
        taken.reserve = reserve;
        taken.kib += more;
    }
}

/// What a request has taken; returned when dropped.
#[derive(Debug)]
#[expect(dead_code, reason = "held, not read")]
pub struct Taken {
    share: Option<OwnedSemaphorePermit>,
    process: Option<OwnedSemaphorePermit>,
    reserve: Option<OwnedSemaphorePermit>,
    /// What the process has given.
    kib: u32,
}

fn kib(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1 << 10)).unwrap_or(u32::MAX)
}

/// No semaphore here is ever closed; without a permit a request would only be uncounted.
async fn permits(of: &Arc<Semaphore>, count: u32) -> Option<OwnedSemaphorePermit> {
    of.clone().acquire_many_owned(count).await.ok()
}

#[cfg(test)]
impl Room {
    /// Bytes left to the account and to the process, but for the reserve.
    pub fn left(&self) -> (usize, usize) {
        (self.share.available_permits() << 10, self.process.available_permits() << 10)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test panics")]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    const KIB: usize = 1 << 10;

    #[test]
    fn what_one_account_announces_leaves_others_their_room() {
        let one = Room::new(8, 8);
        let other = Room { share: Arc::new(Semaphore::new(8)), ..one.clone() };
        let announced = one.admit(8 * KIB).now_or_never().unwrap();
        assert!(one.admit(1).now_or_never().is_none(), "its share is used up");
        let mut taken = other.admit(8 * KIB).now_or_never().unwrap();
        other.take(&mut taken, 8 * KIB).now_or_never().unwrap();
        assert!(taken.reserve.is_none());
        drop(announced);
        assert!(one.admit(8 * KIB).now_or_never().is_some());
    }

    #[test]
    fn of_requests_that_fill_the_memory_one_at_a_time_goes_on() {
        let one = Room::new(8, 8);
        let other = Room { share: Arc::new(Semaphore::new(8)), ..one.clone() };
        let [mut first, mut second] =
            [&one, &other].map(|room| room.admit(8 * KIB).now_or_never().unwrap());
        one.take(&mut first, 4 * KIB).now_or_never().unwrap();
        other.take(&mut second, 4 * KIB).now_or_never().unwrap();
        for step in 5..=8 {
            one.take(&mut first, step * KIB).now_or_never().unwrap();
            assert!(other.take(&mut second, 5 * KIB).now_or_never().is_none());
        }
        drop(first);
        other.take(&mut second, 8 * KIB).now_or_never().unwrap();
        assert_eq!(other.process.available_permits(), 0);
        drop(second);
        assert_eq!((one.process.available_permits(), one.share.available_permits()), (8, 8));
        assert_eq!((one.reserve.available_permits(), other.share.available_permits()), (1, 8));
    }
}
