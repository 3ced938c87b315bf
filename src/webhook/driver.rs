//! Delivers one webhook: feeds [`Delivery`] and carries out what it decides.
//!
//! A webhook is one task. Its attempts and reads are futures in it, as many as [`Delivery`] lets
//! run: nothing is queued beside them. Until an endpoint has accepted a record, and again when it
//! seems to be down, its attempts go one at a time.

use super::cursor::{Cursor, committed};
use super::delivery::{AttemptId, Delivery, Effect, Outcome, Source};
use super::instance::Webhook;
use super::message::Message;
use super::quota::Quota;
use super::reader::{self, Fetch, Fetched};
use super::sender::{Answer, Endpoint, Sender};
use super::status::Standing;
use super::subscription::{Subscription, TopicPartition};
use super::window::Window;
use crate::clock;
use futures_util::StreamExt;
use futures_util::future::{AbortHandle, Abortable, BoxFuture};
use futures_util::stream::FuturesUnordered;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot};

/// The task of one webhook.
pub(super) struct Driver {
    webhook: Arc<Webhook>,
    sender: Arc<Sender>,
    quota: Arc<Quota>,
    subscription: Subscription,
    delivery: Delivery<Arc<Message>>,
    effects: Vec<Effect<Arc<Message>>>,
    cursor: Cursor,
    attempts: FuturesUnordered<BoxFuture<'static, Attempt>>,
    fetches: FuturesUnordered<Abortable<BoxFuture<'static, Fetched>>>,
    /// Ends the fetch of a source.
    fetching: HashMap<Source, AbortHandle>,
    window: Arc<Window>,
    /// Taken by attempts that go one at a time.
    turn: Arc<Semaphore>,
    /// Partitions whose cursors are not known yet, and when to ask again for them.
    unassigned: Vec<Source>,
    ask_again: Option<Duration>,
    /// Why the webhook ends, if it does.
    gone: Option<String>,
}

/// An attempt that ended.
struct Attempt {
    id: AttemptId,
    message: Arc<Message>,
    attempt: u32,
    answer: Answer,
    took: Duration,
}

/// What the task waits for.
enum Event {
    Stop,
    Topics,
    Attempt(Attempt),
    Fetched(Fetched),
    /// A fetch was broken off, a commit ended, or a record is due.
    Other,
}

/// How long a group that cannot be read is left alone.
const PAUSE: Duration = Duration::from_secs(30);
/// How long a webhook that is stopped waits for its attempts.
const STOP_GRACE: Duration = Duration::from_secs(1);

impl Driver {
    /// A driver that has read nothing yet.
    pub(super) fn new(webhook: Arc<Webhook>, sender: Arc<Sender>) -> Self {
        let quota = sender.quota(&webhook.cluster.account.id);
        Self {
            cursor: Cursor::new(webhook.cluster.clone(), &webhook.id),
            delivery: Delivery::new(webhook.definition.retry.schedule.clone()),
            webhook,
            sender,
            subscription: Subscription::default(),
            effects: Vec::new(),
            attempts: FuturesUnordered::new(),
            fetches: FuturesUnordered::new(),
            fetching: HashMap::new(),
            window: Window::new(quota.memory.clone()),
            quota,
            turn: Arc::new(Semaphore::new(1)),
            unassigned: Vec::new(),
            ask_again: None,
            gone: None,
        }
    }

    /// Delivers until the other end of `stop` is dropped or the endpoint is gone.
    pub(super) async fn run(mut self, stop: &mut oneshot::Receiver<()>) {
        let mut topics = self.webhook.cluster.topics.watch();
        topics.mark_unchanged();
        self.look_at_topics().await;
        while self.gone.is_none() {
            self.carry_out();
            let event = tokio::select! {
                biased;
                _ = &mut *stop => Event::Stop,
                _ = topics.changed() => Event::Topics,
                () = until(self.ask_again) => Event::Topics,
                Some(attempt) = self.attempts.next() => Event::Attempt(attempt),
                Some(fetched) = self.fetches.next() => fetched.map_or(Event::Other, Event::Fetched),
                () = self.cursor.ended() => Event::Other,
                () = until(self.delivery.deadline()) => Event::Other,
            };
            match event {
                Event::Stop => {
                    // Time being up is no error: what has not ended is sent again.
                    let _ = tokio::time::timeout(STOP_GRACE, self.finish_attempts()).await;
                    break;
                }
                Event::Topics => self.look_at_topics().await,
                Event::Attempt(attempt) => self.attempted(attempt),
                Event::Fetched(Fetched { source, from, records, next }) => {
                    self.fetching.remove(&source);
                    self.delivery.fetched(source, from, records, next, &mut self.effects);
                }
                Event::Other => {}
            }
            self.delivery.expire(clock::now(), &mut self.effects);
        }
        if let Some(reason) = self.gone.take() {
            self.webhook.disable(reason).await;
        }
        self.cursor.flush(&self.subscription).await;
        let mut status = self.webhook.status.lock();
        (status.in_flight, status.held, status.next_attempt) = (0, 0, None);
    }

    /// Lets attempts in flight end, so that they need not be repeated.
    async fn finish_attempts(&mut self) {
        while let Some(attempt) = self.attempts.next().await {
            self.attempted(attempt);
            for effect in self.effects.drain(..) {
                if let Effect::Commit { source, offset } = effect {
                    self.cursor.set(source, offset);
                }
            }
        }
    }

    /// Reads what matches now, each partition from its cursor on.
    async fn look_at_topics(&mut self) {
        let mut topics = self.webhook.cluster.topics.all();
        topics.retain(|topic| self.webhook.definition.matches(&topic.name));
        let change = self.subscription.set(topics);
        for source in change.went {
            self.delivery.revoke(source, &mut self.effects);
            if let Some(fetch) = self.fetching.remove(&source) {
                fetch.abort();
            }
        }
        self.unassigned.extend(change.came);
        self.unassigned.retain(|source| self.subscription.get(*source).is_some());
        match self.unassigned.is_empty() {
            true => self.ask_again = None,
            false => self.assign().await,
        }
    }

    /// Starts to read the partitions that came, unless the group cannot be read: it may be deleted,
    /// and the webhook begins anew then.
    async fn assign(&mut self) {
        let committed = match committed(&self.webhook.cluster, &self.webhook.group()).await {
            Ok(committed) => committed,
            Err(error) => {
                if self.ask_again.replace(clock::now() + PAUSE).is_none() {
                    let (id, group) = (&self.webhook.id, self.webhook.group());
                    tracing::error!("webhook {id}: nothing is sent: group {group}: {error}");
                }
                return;
            }
        };
        self.ask_again = None;
        for source in std::mem::take(&mut self.unassigned) {
            let Some(at) = self.subscription.get(source) else { continue };
            let stored = committed.get(&(at.topic.name.clone(), at.index)).copied();
            let Some(from) = self.first_offset(at, stored) else { continue };
            if stored != Some(from) {
                self.cursor.set(source, from);
            }
            self.delivery.assign(source, from, &mut self.effects);
        }
    }

    /// Where a partition is read from: its committed offset, if the log still has it; nowhere while
    /// it is offline, and its cursor stays.
    fn first_offset(&self, at: &TopicPartition, committed: Option<i64>) -> Option<i64> {
        let Some(partition) = at.partition() else {
            let (id, topic, index) = (&self.webhook.id, &at.topic.name, at.index);
            tracing::error!("webhook {id}: {topic}-{index} is offline, and nothing of it is sent");
            return None;
        };
        let (first, end) = (partition.log().log_start_offset(), partition.high_watermark());
        match committed {
            Some(offset) if !(first..=end).contains(&offset) => {
                let (id, topic, index) = (&self.webhook.id, &at.topic.name, at.index);
                tracing::warn!(
                    "webhook {id}: {topic}-{index} has offsets {first} to {end}, the cursor \
                     stood at {offset} and goes to {first}"
                );
                Some(first)
            }
            committed => Some(committed.unwrap_or(first)),
        }
    }

    fn carry_out(&mut self) {
        for effect in std::mem::take(&mut self.effects) {
            match effect {
                Effect::Send { id, attempt, ticket, .. } => self.send(id, attempt, ticket),
                Effect::Fetch { source, from, records, bytes } => {
                    self.fetch(Fetch { source, from, records, bytes });
                }
                Effect::Commit { source, offset } => self.cursor.set(source, offset),
                // Attempts report their ends themselves, and the last one sets `gone`.
                Effect::Wait { .. } | Effect::Disable => {}
            }
        }
        self.cursor.start(&self.subscription);
        let mut status = self.webhook.status.lock();
        status.in_flight = self.delivery.in_flight();
        status.held = self.window.held().messages;
        status.next_attempt = self.delivery.deadline();
    }

    fn send(&mut self, id: AttemptId, attempt: u32, message: Arc<Message>) {
        let (webhook, sender) = (self.webhook.clone(), self.sender.clone());
        let (turn, quota) = (self.turn.clone(), self.quota.clone());
        self.attempts.push(Box::pin(async move {
            let standing = || webhook.status.lock().standing();
            let _turn = match standing() {
                Standing::Up | Standing::Slow => None,
                Standing::New | Standing::Down => Some(turn.acquire().await),
            };
            let _permits = quota.permit(standing()).await;
            let endpoint = Endpoint {
                webhook: &webhook.id,
                url: &webhook.definition.url,
                secret: &webhook.secret,
                quota: &quota,
            };
            let begin = clock::now();
            let answer = sender.send(&endpoint, &message, attempt).await;
            Attempt { id, message, attempt, answer, took: clock::now() - begin }
        }));
    }

    fn fetch(&mut self, fetch: Fetch) {
        let source = fetch.source;
        let Some(at) = self.subscription.get(source) else { return };
        let (webhook, window, quota) =
            (self.webhook.clone(), self.window.clone(), self.quota.clone());
        let reading: BoxFuture<'static, _> =
            Box::pin(reader::fetch(webhook, at.clone(), fetch, window, quota));
        let (handle, registration) = AbortHandle::new_pair();
        self.fetches.push(Abortable::new(reading, registration));
        if let Some(before) = self.fetching.insert(source, handle) {
            before.abort();
        }
    }

    fn attempted(&mut self, Attempt { id, message, attempt, answer, took }: Attempt) {
        let mut status = self.webhook.status.lock();
        status.took(took);
        match answer.error {
            None => status.succeeded(&self.webhook.id),
            Some(error) => {
                status.failed(&message, attempt, &error);
                match answer.outcome {
                    // The log is told when the webhook is disabled.
                    Outcome::Gone => self.gone = Some(format!("{error} at {}", clock::timestamp())),
                    _ => status.log_failure(&self.webhook.id, &error),
                }
            }
        }
        let is_down = status.standing() == Standing::Down;
        drop(status);
        self.window.set_down(is_down);
        self.delivery.outcome(clock::now(), id, answer.outcome, jitter(), &mut self.effects);
        if is_down {
            self.delivery.let_go(&mut self.effects);
        }
    }
}

/// Resolves at `deadline`, in time since the process started; never without one.
async fn until(deadline: Option<Duration>) {
    match deadline {
        Some(deadline) => tokio::time::sleep(deadline.saturating_sub(clock::now())).await,
        None => std::future::pending().await,
    }
}

/// A random number from 0 to 1.
fn jitter() -> f64 {
    f64::from(u32::from_be_bytes(clock::random())) / f64::from(u32::MAX)
}
