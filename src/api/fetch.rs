//! Fetch: whole batches from the log's maps, waiting until there are enough.

mod session;

pub use session::SessionSlot;

use super::{READ_COMMITTED, Session, log_error};
use crate::clock;
use crate::cluster::Cluster;
use crate::task::blocking;
use crate::topic::{LEADER_EPOCH, Partition, Topic};
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::sync::Arc;
use std::time::Duration;
use tidelog_protocol::messages::{
    AbortedTransaction, FetchPartition, FetchPartitionResponse, FetchRequest, FetchResponse,
    FetchTopic, FetchTopicResponse,
};
use tidelog_protocol::records::Compression;
use tidelog_protocol::{ErrorCode, Str};
use tokio::time::timeout;

/// Bytes of one answer, whatever the client allows: Kafka's `fetch.max.bytes` of the broker.
const ANSWER_BYTES_MAX: usize = 55 << 20;
/// The longest a fetch waits, whatever the client asks.
const WAIT_MAX: Duration = Duration::from_secs(300);
/// Topics go by id since this version.
const TOPIC_IDS_SINCE: i16 = 13;
/// Clients of older versions do not know Zstandard (KIP-110).
const ZSTD_SINCE: i16 = 10;

/// One topic of the request, found.
struct Asked {
    topic: Result<Arc<Topic>, ErrorCode>,
    request: FetchTopic,
}

/// Answers a fetch; the session's turn is taken before it returns.
pub(super) fn fetch(
    cluster: &Arc<Cluster>,
    session: &Session,
    mut request: FetchRequest,
    version: i16,
) -> impl Future<Output = FetchResponse> + use<> {
    let (cluster, slot) = (cluster.clone(), session.fetch.clone());
    let turn = slot.begin(&cluster, &mut request, new_session_id());
    // The rest is slices of the frame, too.
    let FetchRequest { topics, max_wait_ms, min_bytes, max_bytes, isolation_level, .. } = request;
    let asked = FetchRequest {
        topics,
        max_wait_ms,
        min_bytes,
        max_bytes,
        isolation_level,
        ..Default::default()
    };
    async move {
        match turn {
            Ok(turn) => {
                let mut response = read(&cluster, asked, version).await;
                response.session_id = slot.finish(turn, &mut response.responses);
                response
            }
            Err(error_code) => FetchResponse { error_code, ..Default::default() },
        }
    }
}

/// Positive, and no small number that another session is likely to have had.
fn new_session_id() -> i32 {
    (i32::from_be_bytes(clock::random()) & i32::MAX).max(1)
}

/// Reads, and reads again when records came, until there is enough or time is up.
async fn read(cluster: &Cluster, request: FetchRequest, version: i16) -> FetchResponse {
    let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0)).min(WAIT_MAX);
    let deadline = clock::now() + wait;
    let isolation_level = request.isolation_level;
    let find = |request: &FetchTopic| find(cluster, request, version);
    let asked = request.topics.into_iter();
    let mut asked: Vec<_> = asked.map(|request| Asked { topic: find(&request), request }).collect();
    let partitions = asked.iter().map(|it| it.request.partitions.len()).sum();
    let bytes_max = usize::try_from(request.max_bytes).unwrap_or(0).min(ANSWER_BYTES_MAX);
    // More than an answer holds would never be there.
    let min_bytes = usize::try_from(request.min_bytes).unwrap_or(0).min(bytes_max);
    let mut waiting = None;
    loop {
        let mut read = Reading::new(bytes_max, isolation_level, false).read(&asked);
        if read.waits_for_disk {
            let work = move || {
                let read = Reading::new(bytes_max, isolation_level, true).read(&asked);
                (asked, read)
            };
            (asked, read) = blocking(work).await;
        }
        let left = deadline.saturating_sub(clock::now());
        // Nothing ever comes to a fetch of nothing, as of a consumer that ends its session.
        let is_over = left.is_zero() || partitions == 0;
        if read.bytes >= min_bytes || read.failed || is_over {
            return FetchResponse { responses: read.responses, ..Default::default() };
        }
        let (changes, _held) = match &mut waiting {
            Some(waiting) => waiting,
            None => {
                let Some(held) = cluster.waiting_fetches.try_take(partitions) else {
                    // The account waits for as much as it may.
                    return FetchResponse { responses: read.responses, ..Default::default() };
                };
                for asked in &mut asked {
                    // A slice of the frame would keep all of it in memory.
                    asked.request.topic = Str::from(&*asked.request.topic);
                }
                // From here on no topic goes unnoticed, but one may have gone before.
                let waiting = waiting.insert((cluster.topics.watch(), held));
                if find_again(&mut asked, find) {
                    continue;
                }
                waiting
            }
        };
        let changed = async {
            tokio::select! {
                () = more(&asked, read.responses) => false,
                Ok(()) = changes.changed() => true,
            }
        };
        // Time being up is not an error: what is there is the answer.
        if timeout(left, changed).await.unwrap_or(false) {
            find_again(&mut asked, find);
        }
    }
}

/// Finds topics once more: one of them may be gone, or another have its name. Whether that is so.
fn find_again(
    asked: &mut [Asked],
    find: impl Fn(&FetchTopic) -> Result<Arc<Topic>, ErrorCode>,
) -> bool {
    let mut is_other = false;
    for Asked { topic, request } in asked {
        let before = std::mem::replace(topic, find(request));
        is_other |= match (&before, &*topic) {
            (Ok(before), Ok(topic)) => !Arc::ptr_eq(before, topic),
            (before, topic) => before.as_ref().err() != topic.as_ref().err(),
        };
    }
    is_other
}

fn find(cluster: &Cluster, request: &FetchTopic, version: i16) -> Result<Arc<Topic>, ErrorCode> {
    let topic = match version >= TOPIC_IDS_SINCE {
        true => cluster.topics.by_id(&request.topic_id).ok_or(ErrorCode::UNKNOWN_TOPIC_ID)?,
        false => {
            let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
            cluster.topics.get(&request.topic).ok_or(unknown)?
        }
    };
    match topic.config.compression() {
        Some(Compression::Zstd) if version < ZSTD_SINCE => {
            Err(ErrorCode::UNSUPPORTED_COMPRESSION_TYPE)
        }
        _ => Ok(topic),
    }
}

/// Waits until a partition reaches past where it stood in `seen`, which is let go of first: it has
/// maps of the log's files, and takes more memory than the waiting does.
async fn more(asked: &[Asked], seen: Vec<FetchTopicResponse>) {
    let mut advances = FuturesUnordered::new();
    for (asked, seen) in asked.iter().zip(&seen) {
        let Ok(topic) = &asked.topic else { continue };
        for answer in &seen.partitions {
            if let Ok(partition) = topic.partition(answer.partition_index) {
                advances.push(partition.past(answer.high_watermark + 1));
            }
        }
    }
    drop(seen);
    if advances.next().await.is_none() {
        std::future::pending::<()>().await;
    }
}

/// One pass over the partitions asked for.
///
/// **The first is on an async worker, and ends where it would wait for the disk.** All of it is
/// then done again on a blocking thread, which has the records in memory before they go out.
struct Reading {
    may_wait: bool,
    waits_for_disk: bool,
    bytes_left: usize,
    isolation_level: i8,
    bytes: usize,
    failed: bool,
    responses: Vec<FetchTopicResponse>,
}

impl Reading {
    fn new(bytes_left: usize, isolation_level: i8, may_wait: bool) -> Self {
        Self {
            may_wait,
            waits_for_disk: false,
            bytes_left,
            isolation_level,
            bytes: 0,
            failed: false,
            responses: Vec::new(),
        }
    }

    fn read(mut self, asked: &[Asked]) -> Self {
        for Asked { topic, request } in asked {
            let partitions = request.partitions.iter().map(|partition| match topic {
                Ok(topic) => self.partition(topic, partition),
                Err(code) => self.unknown(partition.partition, *code),
            });
            let partitions = partitions.collect();
            self.responses.push(FetchTopicResponse {
                topic: request.topic.clone(),
                topic_id: request.topic_id,
                partitions,
            });
        }
        self
    }

    fn partition(&mut self, topic: &Topic, asked: &FetchPartition) -> FetchPartitionResponse {
        let index = asked.partition;
        let partition = match topic.partition(index) {
            Ok(partition) => partition,
            Err(absent) => return self.unknown(index, absent.code()),
        };
        match asked.current_leader_epoch {
            ..0 | LEADER_EPOCH => {}
            _ => return self.refuse(index, ErrorCode::UNKNOWN_LEADER_EPOCH),
        }
        if asked.last_fetched_epoch > LEADER_EPOCH {
            return self.refuse(index, ErrorCode::OFFSET_OUT_OF_RANGE);
        }
        let (log, offset) = (partition.log(), asked.fetch_offset);
        let is_committed = self.isolation_level == READ_COMMITTED;
        let high_watermark = partition.high_watermark();
        let mut response = FetchPartitionResponse {
            partition_index: index,
            high_watermark,
            last_stable_offset: log.known_last_stable_offset().unwrap_or(-1).min(high_watermark),
            log_start_offset: log.log_start_offset(),
            aborted_transactions: is_committed.then(Vec::new),
            records: Some(bytes::Bytes::new()),
            ..Default::default()
        };
        let max = usize::try_from(asked.partition_max_bytes).unwrap_or(0).min(self.bytes_left);
        let has_all =
            || log.is_resident(offset, max) && (!is_committed || log.knows_transactions(offset));
        let is_resident = response.last_stable_offset >= 0 && (self.is_full() || has_all());
        self.waits_for_disk |= !self.may_wait && !is_resident;
        if self.waits_for_disk {
            return response;
        }
        let read = log.last_stable_offset().and_then(|stable| {
            response.last_stable_offset = stable.min(high_watermark);
            self.records(partition, asked, &mut response)
        });
        if let Err(error) = read {
            self.failed = true;
            response.error_code = log_error(&topic.name, index, &error);
            if response.error_code == ErrorCode::OFFSET_OUT_OF_RANGE {
                return self.refuse(index, response.error_code);
            }
        }
        response
    }

    /// Whether the answer has room for no more: of a partition that is left out nothing is read.
    fn is_full(&self) -> bool {
        self.bytes_left == 0 && self.bytes > 0
    }

    /// Adds the records to the answer, as far as it has room and the isolation level allows.
    fn records(
        &mut self,
        partition: &Partition,
        asked: &FetchPartition,
        response: &mut FetchPartitionResponse,
    ) -> tidelog_storage::Result<()> {
        let (log, offset) = (partition.log(), asked.fetch_offset);
        let until = match response.aborted_transactions {
            Some(_) => response.last_stable_offset,
            None => response.high_watermark,
        };
        // The first batch of an answer comes whole, however large it is (KIP-74).
        if (until..=response.high_watermark).contains(&offset) || self.is_full() {
            return Ok(());
        }
        let max = usize::try_from(asked.partition_max_bytes).unwrap_or(0).min(self.bytes_left);
        let records = match self.may_wait {
            true => log.read(offset, max, until)?,
            false => log.read_resident(offset, max, until)?,
        };
        if records.len() > max && self.bytes > 0 {
            return Ok(());
        }
        if let Some(aborted) = &mut response.aborted_transactions {
            let found = log.aborted_in(offset, &records)?.into_iter();
            aborted.extend(found.map(|it| AbortedTransaction {
                producer_id: it.producer_id,
                first_offset: it.first_offset,
            }));
        }
        self.bytes += records.len();
        self.bytes_left = self.bytes_left.saturating_sub(records.len());
        response.records = Some(records);
        Ok(())
    }

    fn unknown(&mut self, index: i32, code: ErrorCode) -> FetchPartitionResponse {
        let aborted_transactions = Some(Vec::new());
        FetchPartitionResponse { aborted_transactions, ..self.refuse(index, code) }
    }

    fn refuse(&mut self, partition_index: i32, error_code: ErrorCode) -> FetchPartitionResponse {
        self.failed = true;
        FetchPartitionResponse {
            partition_index,
            error_code,
            high_watermark: -1,
            records: Some(bytes::Bytes::new()),
            ..Default::default()
        }
    }
}
