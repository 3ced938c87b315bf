//! What an account's webhooks have of what all webhooks share: attempts, reads, lookups and memory.
//!
//! What an account does waits for its own before it waits for another account's. Endpoints
//! wait only for those that are known alike: one that is down takes long to say so, one that is new
//! may be, and one that is slow may take all the time that there is.

use super::memory::Memory;
use super::status::Standing;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::{Arc, Weak};
use tokio::sync::{Semaphore, SemaphorePermit};

/// What all webhooks share.
pub(super) struct Quotas {
    attempts: Arc<Attempts>,
    reads: Arc<Semaphore>,
    memory: Arc<Memory>,
    /// Those of accounts with webhooks that run.
    accounts: Mutex<HashMap<String, Weak<Quota>>>,
}

/// What the webhooks of one account have of it.
pub(super) struct Quota {
    all: Arc<Attempts>,
    own: Attempts,
    all_reads: Arc<Semaphore>,
    own_reads: Semaphore,
    /// Names that are looked up at once.
    pub(super) lookups: Arc<Semaphore>,
    pub(super) memory: Arc<Memory>,
}

/// Room for attempts, by the endpoint's standing.
struct Attempts {
    up: Semaphore,
    new: Semaphore,
    slow: Semaphore,
    down: Semaphore,
}

/// Attempts of all webhooks that run at once. Each is a connection, so their sum has to stay well
/// below the usual limit of 1024 open files.
const UP_MAX: usize = 256;
const NEW_MAX: usize = 128;
const SLOW_MAX: usize = 128;
const DOWN_MAX: usize = 128;
/// An account has one of so many parts of each. One webhook has a quarter of its account's part
/// (`delivery::IN_FLIGHT_MAX`), and one attempt at a time unless its endpoint is up.
const PARTS: usize = 4;
/// Reads of all webhooks that run at once: each may decompress a large batch.
const READS_MAX: usize = 4;
/// Those of one account.
const ACCOUNT_READS_MAX: usize = 2;
/// Lookups of one account's names that run at once.
const LOOKUPS_MAX: usize = 8;

impl Quotas {
    pub(super) fn new() -> Self {
        Self {
            attempts: Arc::new(Attempts::new(1)),
            reads: Arc::new(Semaphore::new(READS_MAX)),
            memory: Memory::of_all(),
            accounts: Mutex::default(),
        }
    }

    /// The quota of an account: the same one for all its webhooks.
    pub(super) fn of(&self, account: &str) -> Arc<Quota> {
        let mut accounts = self.accounts.lock();
        if let Some(quota) = accounts.get(account).and_then(Weak::upgrade) {
            return quota;
        }
        accounts.retain(|_, quota| quota.strong_count() > 0);
        let quota = Arc::new(Quota {
            all: self.attempts.clone(),
            own: Attempts::new(PARTS),
            all_reads: self.reads.clone(),
            own_reads: Semaphore::new(ACCOUNT_READS_MAX),
            lookups: Arc::new(Semaphore::new(LOOKUPS_MAX)),
            memory: Memory::of_account(&self.memory),
        });
        accounts.insert(account.to_owned(), Arc::downgrade(&quota));
        quota
    }
}

impl Quota {
    /// Room for an attempt: first among the account's, then among all.
    pub(super) async fn permit(&self, standing: Standing) -> [SemaphorePermit<'_>; 2] {
        [self.own.permit(standing).await, self.all.permit(standing).await]
    }

    /// Room for a read, likewise.
    pub(super) async fn read_permit(&self) -> [SemaphorePermit<'_>; 2] {
        [acquire(&self.own_reads).await, acquire(&self.all_reads).await]
    }
}

impl Attempts {
    fn new(parts: usize) -> Self {
        let [up, new, slow, down] =
            [UP_MAX, NEW_MAX, SLOW_MAX, DOWN_MAX].map(|max| Semaphore::new(max / parts));
        Self { up, new, slow, down }
    }

    async fn permit(&self, standing: Standing) -> SemaphorePermit<'_> {
        let permits = match standing {
            Standing::Up => &self.up,
            Standing::New => &self.new,
            Standing::Slow => &self.slow,
            Standing::Down => &self.down,
        };
        acquire(permits).await
    }
}

async fn acquire(permits: &Semaphore) -> SemaphorePermit<'_> {
    permits.acquire().await.expect("the semaphore is never closed")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test panics")]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    const KINDS: [Standing; 4] = [Standing::Up, Standing::New, Standing::Slow, Standing::Down];

    #[test]
    fn an_account_whose_attempts_all_hang_leaves_room_for_others_and_for_those_of_another_kind() {
        let quotas = Quotas::new();
        let [one, same, other] = ["acct_1", "acct_1", "acct_2"].map(|it| quotas.of(it));
        for (standing, max) in KINDS.into_iter().zip([UP_MAX, NEW_MAX, SLOW_MAX, DOWN_MAX]) {
            let hanging: Vec<_> =
                std::iter::from_fn(|| one.permit(standing).now_or_never()).take(max).collect();
            assert_eq!(hanging.len(), max / PARTS, "{standing:?}");
            assert!(same.permit(standing).now_or_never().is_none());
            assert!(other.permit(standing).now_or_never().is_some());
            let rest = KINDS.into_iter().filter(|it| *it != standing);
            assert!(rest.into_iter().all(|it| same.permit(it).now_or_never().is_some()));
        }
    }

    #[test]
    fn an_account_that_reads_as_much_as_it_may_leaves_room_for_others() {
        let quotas = Quotas::new();
        let [one, same, other] = ["acct_1", "acct_1", "acct_2"].map(|it| quotas.of(it));
        let reads = [&one, &same].map(|it| it.read_permit().now_or_never().unwrap());
        assert!(one.read_permit().now_or_never().is_none());
        let theirs = [&other, &other].map(|it| it.read_permit().now_or_never().unwrap());
        drop(reads);
        assert!(same.read_permit().now_or_never().is_some());
        drop(theirs);
    }

    #[test]
    fn quotas_are_forgotten_with_the_webhooks_they_are_of() {
        let quotas = Quotas::new();
        for account in 0..10 {
            drop(quotas.of(&account.to_string()));
        }
        assert_eq!(quotas.accounts.lock().len(), 1);
    }
}
