//! Permits to carry out parts of batches, each of which takes a thread: **an account's parts wait
//! for each other before they wait for another account's**.

use crate::cluster::Cluster;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

/// Parts carried out at a time, of all accounts. Each has one of the runtime's 512 blocking
/// threads, and may wait there for the part before it, or for a new collection, whose topic takes
/// another thread.
const CARRIED_OUT_MAX: usize = 64;
static CARRIED_OUT: Semaphore = Semaphore::const_new(CARRIED_OUT_MAX);

/// What a part is carried out under; the next may be once this is dropped.
pub(super) struct Permit {
    _of_account: OwnedSemaphorePermit,
    _of_all: SemaphorePermit<'static>,
}

impl Permit {
    /// Waits until an account may have one more part carried out. Whoever has a permit waits for
    /// no other.
    pub(super) async fn of(cluster: &Cluster) -> Self {
        Self::within(&cluster.batch_parts).await
    }

    async fn within(share: &Arc<Semaphore>) -> Self {
        let of_account = share.clone().acquire_owned().await.expect("it is never closed");
        let of_all = CARRIED_OUT.acquire().await.expect("it is never closed");
        Self { _of_account: of_account, _of_all: of_all }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::BATCH_PARTS_MAX;
    use futures_util::FutureExt;
    use futures_util::future::join_all;

    #[tokio::test]
    async fn an_account_that_has_its_share_waits_for_itself_and_keeps_none_from_others() {
        let [one, other] = [(); 2].map(|()| Arc::new(Semaphore::new(BATCH_PARTS_MAX)));
        let mut permits = join_all((0..BATCH_PARTS_MAX).map(|_| Permit::within(&one))).await;
        let waiters: Vec<_> = (0..CARRIED_OUT_MAX).map(|_| Permit::within(&one)).collect();
        let mut waiters = join_all(waiters).boxed();
        assert!((&mut waiters).now_or_never().is_none());
        Permit::within(&other).await;
        permits.pop();
        let mut next = Permit::within(&one).boxed();
        assert!((&mut next).now_or_never().is_none(), "those before it have their turn first");
    }
}
