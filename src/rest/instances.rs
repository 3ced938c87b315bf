//! Every account's consumer instances, by group and name.
//!
//! **Who holds a slot's lock decides what becomes of its session**: consumes of one instance wait
//! for each other, and an instance that closes has committed and left before its name is used
//! again. A slot of a deleted instance stays for a while, so that a client that retries the
//! deletion hears that it succeeded.

use super::session::{Session, Settings};
use crate::clock;
use crate::cluster::Cluster;
use crate::consumer::Error;
use crate::group;
use crate::http::ApiError;
use axum::http::StatusCode;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tidelog_protocol::Str;
use tokio::sync::{MutexGuard, watch};

/// Instances of one account. Each is a task with a heartbeat.
pub(super) const INSTANCES_MAX: usize = 1_000;
/// How long the deletion of an instance is remembered.
const DELETED_RETENTION: Duration = Duration::from_secs(60);
const EXPIRY_INTERVAL: Duration = Duration::from_millis(250);
/// How long the end of the process waits for one instance's last commit.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Group and instance.
type Name = (String, String);

/// All instances.
#[derive(Default)]
pub(super) struct Instances {
    accounts: Mutex<BTreeMap<String, BTreeMap<Name, Arc<Slot>>>>,
    /// Tells when a slot was added.
    added: watch::Sender<()>,
}

/// The place of one instance.
#[derive(Default)]
pub(super) struct Slot {
    /// Held while the instance consumes, starts or closes.
    turn: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

#[derive(Clone, Default)]
enum State {
    #[default]
    Vacant,
    Live(Arc<Session>),
    Deleted(Duration),
}

impl Slot {
    /// The instance, if there is one.
    pub(super) fn session(&self) -> Option<Arc<Session>> {
        match &*self.state.lock() {
            State::Live(session) => Some(session.clone()),
            _ => None,
        }
    }

    /// Waits for other requests on this instance until `deadline`.
    pub(super) async fn turn(&self, deadline: Duration) -> Option<MutexGuard<'_, ()>> {
        let left = deadline.saturating_sub(clock::now());
        tokio::time::timeout(left, self.turn.lock()).await.ok()
    }

    /// The instance, which starts if there is none; the caller has the turn.
    pub(super) fn session_or_start(
        &self,
        cluster: &Arc<Cluster>,
        name: (&str, &str),
        settings: impl FnOnce() -> Result<Settings, ApiError>,
        topics: Option<BTreeSet<Str>>,
    ) -> Result<Arc<Session>, ApiError> {
        let live = self.session().filter(|session| !session.member.has_ended());
        let session = match (live, topics) {
            (Some(session), None) => session,
            (Some(session), Some(topics)) => {
                session.member.subscribe(topics);
                session
            }
            (None, Some(topics)) => Arc::new(Session::start(cluster, name, settings()?, topics)),
            (None, None) => {
                let text = "the first consume of an instance needs \"topic\" or \"topics\"";
                return Err(ApiError::bad_request(text));
            }
        };
        session.touch();
        *self.state.lock() = State::Live(session.clone());
        Ok(session)
    }

    /// Ends the instance; the caller has the turn.
    async fn end(&self, next: State) {
        if let Some(session) = self.session() {
            session.member.close().await;
        }
        *self.state.lock() = next;
    }

    /// An instance that cannot go on makes place for a new one.
    pub(super) async fn clear(&self) {
        self.end(State::Vacant).await;
    }

    fn is_vacant(&self, now: Duration) -> bool {
        match &*self.state.lock() {
            State::Vacant => true,
            State::Live(_) => false,
            State::Deleted(at) => now.saturating_sub(*at) >= DELETED_RETENTION,
        }
    }
}

impl Instances {
    /// The slot of this name.
    pub(super) fn get(&self, account: &str, group: &str, instance: &str) -> Option<Arc<Slot>> {
        let accounts = self.accounts.lock();
        accounts.get(account)?.get(&(group.to_owned(), instance.to_owned())).cloned()
    }

    /// The slot of this name, made if the account has room for one more.
    pub(super) fn get_or_add(
        &self,
        account: &str,
        group: &str,
        instance: &str,
    ) -> Result<Arc<Slot>, ApiError> {
        let mut accounts = self.accounts.lock();
        let slots = accounts.entry(account.to_owned()).or_default();
        let name = (group.to_owned(), instance.to_owned());
        if let Some(slot) = slots.get(&name) {
            return Ok(slot.clone());
        }
        if slots.len() >= INSTANCES_MAX {
            slots.retain(|_, slot| Arc::strong_count(slot) > 1 || slot.session().is_some());
        }
        if slots.len() >= INSTANCES_MAX {
            let text =
                format!("the account has {INSTANCES_MAX} consumer instances, which is the limit");
            return Err(ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_instances", text));
        }
        let slot = Arc::<Slot>::default();
        slots.insert(name, slot.clone());
        self.added.send_replace(());
        Ok(slot)
    }

    /// An account's live instances, by group and name.
    pub(super) fn list(&self, account: &str) -> Vec<(Name, Arc<Session>)> {
        let accounts = self.accounts.lock();
        let slots = accounts.get(account).into_iter().flatten();
        slots.filter_map(|(name, slot)| Some((name.clone(), slot.session()?))).collect()
    }

    /// Closes an instance on request; says whether there was one, or was a moment ago.
    pub(super) async fn delete(&self, account: &str, group: &str, instance: &str) -> bool {
        let Some(slot) = self.get(account, group, instance) else { return false };
        let session = slot.session();
        if let Some(session) = &session {
            // A consume under way ends with this, and gives its turn back.
            session.member.close().await;
        }
        let _turn = slot.turn.lock().await;
        let state = slot.state.lock().clone();
        match state {
            State::Vacant if session.is_none() => false,
            State::Deleted(_) => true,
            // Who saw it end may have cleared the slot before we had the turn.
            State::Vacant | State::Live(_) => {
                slot.end(State::Deleted(clock::now())).await;
                true
            }
        }
    }

    /// Closes everything.
    pub(super) async fn close(&self) {
        let accounts = std::mem::take(&mut *self.accounts.lock());
        let slots = accounts.into_values().flat_map(BTreeMap::into_values);
        let close = |slot: Arc<Slot>| async move {
            let closed = tokio::time::timeout(CLOSE_TIMEOUT, slot.clear());
            if closed.await.is_err() {
                tracing::warn!("a consumer instance did not close in time");
            }
        };
        futures_util::future::join_all(slots.map(close)).await;
    }

    fn all(&self) -> Vec<Arc<Slot>> {
        self.accounts.lock().values().flat_map(|slots| slots.values().cloned()).collect()
    }

    /// Forgets slots without an instance that nobody holds.
    fn forget_vacant(&self, now: Duration) {
        let mut accounts = self.accounts.lock();
        for slots in accounts.values_mut() {
            // Others get hold of a slot only through the map, which is locked.
            slots.retain(|_, slot| Arc::strong_count(slot) > 1 || !slot.is_vacant(now));
        }
        accounts.retain(|_, slots| !slots.is_empty());
    }
}

/// Closes instances that nobody uses any more, until the instances themselves are gone. While there
/// are none it waits for the first.
pub(super) async fn expire(instances: Weak<Instances>) {
    let Some(mut added) = instances.upgrade().map(|it| it.added.subscribe()) else { return };
    loop {
        let is_empty = |it: Arc<Instances>| it.accounts.lock().is_empty();
        if instances.upgrade().is_none_or(is_empty) && added.changed().await.is_err() {
            return;
        }
        tokio::time::sleep(EXPIRY_INTERVAL).await;
        let Some(instances) = instances.upgrade() else { return };
        let now = clock::now();
        for slot in instances.all() {
            let idle = |session: &Arc<Session>| session.is_idle(now) || session.member.has_ended();
            if !slot.session().is_some_and(|session| idle(&session)) {
                continue;
            }
            // One whose turn is taken is in use, however long that takes.
            if let Ok(_turn) = slot.turn.try_lock()
                && slot.session().is_some_and(|session| idle(&session))
            {
                slot.clear().await;
            }
        }
        instances.forget_vacant(now);
    }
}

/// Whether an instance that failed in this way must start anew.
pub(super) fn is_final(error: &Error) -> bool {
    match error {
        Error::Closed | Error::NoOffset { .. } | Error::OutOfRange { .. } => true,
        Error::Refused(
            group::Error::RebalanceInProgress | group::Error::Behind | group::Error::NoRoom,
        ) => false,
        Error::Refused(_) => true,
        Error::Unreadable { .. } | Error::Undecoded { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_has_a_bounded_number_of_instances_and_others_have_theirs() {
        let instances = Instances::default();
        let add = |account: &str, name: &str| instances.get_or_add(account, "g", name);
        let held: Vec<_> =
            (0..INSTANCES_MAX).map(|it| add("a", &it.to_string()).ok().unwrap()).collect();
        let error = add("a", "one more").err().unwrap();
        assert_eq!(error.status, StatusCode::TOO_MANY_REQUESTS);
        add("a", "7").ok().unwrap();
        add("b", "7").ok().unwrap();
        // Names that nobody uses any more make room.
        drop(held);
        add("a", "one more").ok().unwrap();
        instances.forget_vacant(Duration::ZERO);
        assert!(instances.accounts.lock().is_empty());
    }
}
