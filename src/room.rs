//! Memory for requests while they arrive and until they are carried out, on both listeners, and for
//! answers of REST from when they are read until they are sent; and allowances of what else
//! accounts hold.
//!
//! A request takes memory **as its bytes arrive**, from its account's share and from the process:
//! what is announced and not sent holds up nobody, and an account's requests wait for each other
//! before they wait for another account's.
//!
//! Requests that each have part of what they need could wait for each other forever. So when there
//! is none left, one at a time goes on from a reserve in which any request fits.

use bytes::Bytes;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The longest request: Kafka's `socket.request.max.bytes`.
pub const REQUEST_BYTES_MAX: usize = 100 << 20;
/// KiB of requests at a time, of all accounts: 512 MiB with the reserve.
const PROCESS_KIB: usize = (512 << 10) - REQUEST_BYTES_MAX / 1024;
/// KiB of requests at a time, of one account.
const SHARE_KIB: usize = 128 << 10;
/// The same of answers that are read from logs and sent over REST.
const ANSWERS_PROCESS_KIB: usize = 1 << 20;
const ANSWERS_SHARE_KIB: usize = 256 << 10;

/// An account's share, and the process's memory behind it.
#[derive(Clone, Debug)]
pub struct Room {
    share_kib: usize,
    share: Store,
    process: Store,
}

impl Default for Room {
    /// The room of a process for requests.
    fn default() -> Self {
        Self::new(SHARE_KIB, PROCESS_KIB)
    }
}

impl Room {
    fn new(share_kib: usize, process_kib: usize) -> Self {
        Self { share_kib, share: Store::new(share_kib), process: Store::new(process_kib) }
    }

    /// The room of a process for answers.
    pub fn for_answers() -> Self {
        Self::new(ANSWERS_SHARE_KIB, ANSWERS_PROCESS_KIB)
    }

    /// The room of a further account of this process.
    pub fn of_another(&self) -> Self {
        Self { share: Store::new(self.share_kib), ..self.clone() }
    }

    /// Waits until there is memory for the first `bytes` of a request. Cancel safe.
    pub async fn take(&self, taken: &mut Taken, bytes: usize) {
        // Who goes on from the process's reserve must wait for nobody, or all may wait for it.
        if taken.process.reserve.is_some() {
            return;
        }
        let kib = u32::try_from(bytes.div_ceil(1 << 10)).unwrap_or(u32::MAX);
        self.share.take(&mut taken.share, kib).await;
        self.process.take(&mut taken.process, kib).await;
    }

    /// Gives back what was taken over `bytes`, and waits for what is lacking.
    pub async fn fit(&self, taken: &mut Taken, bytes: usize) {
        self.take(taken, bytes).await;
        for part in [&mut taken.share, &mut taken.process] {
            part.shrink(bytes.div_ceil(1 << 10));
        }
    }
}

/// What a request has taken; returned when dropped.
#[derive(Debug, Default)]
pub struct Taken {
    share: Part,
    process: Part,
}

impl Taken {
    /// Bytes that have this until the last slice of them is dropped.
    pub fn held_by(self: Arc<Self>, bytes: Bytes) -> Bytes {
        Bytes::from_owner(Holding { bytes, _taken: self })
    }
}

struct Holding {
    bytes: Bytes,
    _taken: Arc<Taken>,
}

impl AsRef<[u8]> for Holding {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Memory in KiB, and a reserve beside it.
#[derive(Clone, Debug)]
struct Store {
    kib: Arc<Semaphore>,
    /// One permit: who has it has the whole reserve.
    reserve: Arc<Semaphore>,
}

/// What one request has taken of a store.
#[derive(Debug, Default)]
struct Part {
    permit: Option<OwnedSemaphorePermit>,
    reserve: Option<OwnedSemaphorePermit>,
}

impl Part {
    fn shrink(&mut self, kib: usize) {
        if let Some(permit) = &mut self.permit {
            // What is split off goes back at once.
            drop(permit.split(permit.num_permits().saturating_sub(kib)));
        }
    }
}

impl Store {
    fn new(kib: usize) -> Self {
        let [kib, reserve] = [kib, 1].map(|it| Arc::new(Semaphore::new(it)));
        Self { kib, reserve }
    }

    /// Has `part` grow to so many KiB.
    async fn take(&self, part: &mut Part, kib: u32) {
        let here = part.permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = kib.saturating_sub(u32::try_from(here).unwrap_or(u32::MAX));
        if more == 0 || part.reserve.is_some() {
            return;
        }
        // Neither is ever closed; without a permit a request would only be uncounted.
        tokio::select! {
            biased;
            more = self.kib.clone().acquire_many_owned(more) => {
                match (&mut part.permit, more.ok()) {
                    (Some(permit), Some(more)) => permit.merge(more),
                    (permit, more) => *permit = more.or(permit.take()),
                }
            }
            reserve = self.reserve.clone().acquire_owned() => part.reserve = reserve.ok(),
        }
    }
}

/// How many of something an account may hold at a time, and all accounts together.
#[derive(Clone, Debug)]
pub struct Allowance {
    share_max: usize,
    share: Arc<Semaphore>,
    process: Arc<Semaphore>,
}

impl Allowance {
    /// The allowance of a process: so many for each account, so many for all.
    pub fn new(share_max: usize, process_max: usize) -> Self {
        let [share, process] = [share_max, process_max].map(|it| Arc::new(Semaphore::new(it)));
        Self { share_max, share, process }
    }

    /// The allowance of a further account of this process.
    pub fn of_another(&self) -> Self {
        Self { share: Arc::new(Semaphore::new(self.share_max)), ..self.clone() }
    }

    /// Waits until there is one, for the account's own before another account's: whoever holds its
    /// share keeps none from the others.
    pub async fn take(&self) -> Held {
        // Neither is ever closed; without a permit it would only be uncounted.
        let _share = self.share.clone().acquire_owned().await.ok();
        Held { _share, _process: self.process.clone().acquire_owned().await.ok() }
    }

    /// Takes `count`, if there are as many.
    pub fn try_take(&self, count: usize) -> Option<Held> {
        let count = u32::try_from(count).ok()?;
        let take = |from: &Arc<Semaphore>| from.clone().try_acquire_many_owned(count).ok();
        let (share, process) = (take(&self.share)?, take(&self.process)?);
        Some(Held { _share: Some(share), _process: Some(process) })
    }
}

/// What is held of an [`Allowance`]; returned when dropped.
#[derive(Debug)]
pub struct Held {
    _share: Option<OwnedSemaphorePermit>,
    _process: Option<OwnedSemaphorePermit>,
}

#[cfg(test)]
impl Allowance {
    /// How many are left to the account.
    pub fn left(&self) -> usize {
        self.share.available_permits()
    }
}

#[cfg(test)]
impl Room {
    /// Bytes left to the account and to the process, but for the reserves.
    pub fn left(&self) -> (usize, usize) {
        (self.share.kib.available_permits() << 10, self.process.kib.available_permits() << 10)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test panics")]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    const KIB: usize = 1 << 10;

    fn takes(room: &Room, taken: &mut Taken, kib: usize) -> bool {
        room.take(taken, kib * KIB).now_or_never().is_some()
    }

    /// Two accounts whose shares and whose process have 8 KiB.
    fn accounts() -> [Room; 2] {
        let (process, share) = (Store::new(8), || Store::new(8));
        [(); 2].map(|()| Room { share_kib: 8, share: share(), process: process.clone() })
    }

    #[test]
    fn of_an_accounts_requests_one_at_a_time_goes_on_when_its_share_is_used_up() {
        let [mut one, mut other] = accounts();
        let process = Store::new(100);
        (one.process, other.process) = (process.clone(), process);
        let [mut first, mut second, mut third] = [(); 3].map(|()| Taken::default());
        assert!(takes(&one, &mut first, 4) && takes(&one, &mut second, 4));
        assert!(takes(&one, &mut first, 5) && takes(&one, &mut first, 9));
        assert!(!takes(&one, &mut second, 5) && !takes(&one, &mut third, 1));
        // The process has memory, so nobody else waits.
        assert!(takes(&other, &mut third, 8));
        drop(first);
        assert!(takes(&one, &mut second, 8));
    }

    #[test]
    fn an_account_that_has_its_share_waits_for_itself_and_keeps_none_from_others() {
        let one = Allowance::new(2, 4);
        let other = one.of_another();
        let mut held = vec![one.try_take(1).unwrap(), one.try_take(1).unwrap()];
        let mut waiters: Vec<_> = (0..4).map(|_| Box::pin(one.take())).collect();
        assert!(waiters.iter_mut().all(|it| it.now_or_never().is_none()));
        assert!(other.take().now_or_never().is_some());
        held.pop();
        let next = Box::pin(one.take()).now_or_never();
        assert!(next.is_none(), "those before it have their turn first");
    }

    #[test]
    fn what_is_taken_is_made_to_fit() {
        let [one, _] = accounts();
        let (all, mut taken) = (one.left(), Taken::default());
        assert!(takes(&one, &mut taken, 6));
        for (bytes, kib) in [(2 * KIB, 2), (2 * KIB + 1, 3), (7 * KIB, 7), (0, 0)] {
            assert!(one.fit(&mut taken, bytes).now_or_never().is_some());
            assert_eq!(one.left(), (all.0 - kib * KIB, all.1 - kib * KIB));
        }
    }

    #[test]
    fn of_all_requests_one_at_a_time_goes_on_when_the_memory_is_used_up() {
        let [one, other] = accounts();
        let all = one.left();
        let [mut first, mut second, mut third] = [(); 3].map(|()| Taken::default());
        assert!(takes(&one, &mut first, 4) && takes(&other, &mut second, 3));
        assert!(takes(&other, &mut third, 1));
        // The second goes on, also when its account's share is used up and the reserve of that is
        // with one that waits for the process.
        assert!(takes(&other, &mut second, 7));
        assert!(!takes(&other, &mut third, 2) && !takes(&one, &mut first, 5));
        assert!(third.share.reserve.is_some());
        assert!(takes(&other, &mut second, 20));
        drop(second);
        assert!(takes(&one, &mut first, 7) && takes(&one, &mut first, 20));
        assert!(!takes(&other, &mut third, 2));
        drop(first);
        assert!(takes(&other, &mut third, 8));
        drop(third);
        assert_eq!((one.left(), other.left()), (all, all));
        assert_eq!(one.process.reserve.available_permits(), 1);
    }
}
