//! Names as addresses that may be called.
//!
//! The system's own lookup blocks a thread, and nothing can break it off: one of a name whose
//! servers do not answer takes half a minute. Storage runs on the same threads. So **the number of
//! lookups is bounded until their threads are free again**, of all webhooks and of each account's.

use super::target::Policy;
use crate::task::blocking;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

tokio::task_local! {
    /// The lookups of the account whose attempt this is. A resolver is told a name and no more, but
    /// it is asked by the task that sends the request.
    static OF_ACCOUNT: Arc<Semaphore>;
}

/// Resolves names to the addresses that may be called.
pub(super) struct Resolver {
    policy: Policy,
    lookups: Arc<Semaphore>,
    look_up: LookUp,
}

type LookUp = Arc<dyn Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync>;

/// Lookups that run at once: few of the 512 threads there are.
const LOOKUPS_MAX: usize = 64;
/// How long an attempt waits for its name, the wait for other lookups included.
const TIMEOUT: Duration = Duration::from_secs(4);

/// Sends a request whose name is looked up among `lookups`.
pub(super) async fn among<T>(lookups: &Arc<Semaphore>, request: impl Future<Output = T>) -> T {
    OF_ACCOUNT.scope(lookups.clone(), request).await
}

impl Resolver {
    /// The system's resolver, for what `policy` allows.
    pub(super) fn new(policy: Policy) -> Self {
        let look_up = |name: &str| Ok((name, 0).to_socket_addrs()?.collect());
        Self::with(policy, Arc::new(look_up))
    }

    fn with(policy: Policy, look_up: LookUp) -> Self {
        Self { policy, lookups: Arc::new(Semaphore::new(LOOKUPS_MAX)), look_up }
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (policy, look_up) = (self.policy, self.look_up.clone());
        let all = self.lookups.clone();
        let own = OF_ACCOUNT.try_with(Arc::clone).ok();
        Box::pin(async move {
            let found = async {
                let own = match own {
                    Some(own) => Some(own.acquire_owned().await.map_err(io::Error::other)?),
                    None => None,
                };
                let all = all.acquire_owned().await.map_err(io::Error::other)?;
                let work = move || {
                    let _permits = (own, all);
                    look_up(name.as_str())
                };
                blocking(work).await
            };
            let found = tokio::time::timeout(TIMEOUT, found).await;
            let found = found
                .map_err(|_| format!("the name was not resolved within {} s", TIMEOUT.as_secs()))?;
            allowed(policy, found?.into_iter())
        })
    }
}

/// The addresses that may be called, or why the last of them may not.
fn allowed(
    policy: Policy,
    found: impl Iterator<Item = SocketAddr>,
) -> Result<Addrs, Box<dyn std::error::Error + Send + Sync>> {
    let mut refusal = None;
    let mut allowed = Vec::new();
    for address in found {
        match policy.check_address(address.ip()) {
            Ok(()) => allowed.push(address),
            Err(error) => refusal = Some(error),
        }
    }
    match refusal {
        Some(error) if allowed.is_empty() => Err(error.into()),
        _ => Ok(Box::new(allowed.into_iter())),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test panics")]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use std::sync::mpsc;

    const DEV: Policy = Policy { allow_private: true, https_only: false };

    #[tokio::test]
    async fn names_that_hang_hold_up_no_other_accounts_and_are_bounded_until_they_end() {
        let (begun, mut hanging) = tokio::sync::mpsc::unbounded_channel();
        let look_up = move |name: &str| {
            let (end, ended) = mpsc::channel::<()>();
            if name == "hangs" {
                begun.send(end).unwrap();
                let _ = ended.recv();
            }
            Ok(vec![([127, 0, 0, 1], 0).into()])
        };
        let resolver = Resolver::with(DEV, Arc::new(look_up));
        let [one, other] = [2; 2].map(|max| Arc::new(Semaphore::new(max)));
        let resolve = |account: &Arc<Semaphore>, name: &str| {
            OF_ACCOUNT.sync_scope(account.clone(), || resolver.resolve(name.parse().unwrap()))
        };
        let mut ends = Vec::new();
        for _ in 0..2 {
            // Whoever asked has gone, and the thread has not.
            assert!(resolve(&one, "hangs").now_or_never().is_none());
            ends.push(hanging.recv().await.unwrap());
        }
        assert!(resolve(&one, "fine").now_or_never().is_none());
        assert_eq!(resolve(&other, "fine").await.unwrap().count(), 1);
        assert_eq!(resolver.lookups.available_permits(), LOOKUPS_MAX - 2);
        drop(ends);
        assert_eq!(resolve(&one, "fine").await.unwrap().count(), 1);
    }

    #[tokio::test]
    async fn the_resolver_judges_this_machine_as_the_policy_does() {
        for (allow_private, want) in [(false, false), (true, true)] {
            let resolver = Resolver::new(Policy { allow_private, https_only: false });
            let found = resolver.resolve("localhost".parse().unwrap()).await;
            assert_eq!(found.is_ok(), want);
        }
    }

    #[test]
    fn a_name_resolves_to_nothing_but_what_may_be_called() {
        let production = Policy { allow_private: false, https_only: true };
        let allowed = |addresses: &str| {
            let parse = |text: &str| SocketAddr::new(text.parse().unwrap(), 0);
            allowed(production, addresses.split(' ').map(parse))
                .map(|found| found.map(|it| it.ip().to_string()).collect::<Vec<_>>().join(" "))
                .map_err(|error| error.to_string())
        };
        assert_eq!(allowed("10.0.0.1 1.1.1.1 ::1"), Ok("1.1.1.1".to_owned()));
        let refusal = "expected a public address, found 169.254.169.254 (link-local)";
        assert_eq!(allowed("10.0.0.1 169.254.169.254"), Err(refusal.to_owned()));
    }
}
