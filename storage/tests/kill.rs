//! SIGKILL at random moments, of a process that appends from several threads.
//!
//! The process is this test binary, run again for one test only. It prints a line for each batch
//! that was acknowledged; what it printed outlives it in the pipe.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};

use tidelog_protocol::records::Batch;
use tidelog_storage::fs::Disk;
use tidelog_storage::{Action, Flush, PartitionOptions, Volume};

use crate::support::{Random, TOPIC, batch, batch_of, iterations, open_volume, read_all};

const DIR_VARIABLE: &str = "TIDELOG_KILL_TEST_DIR";
const LIFE_VARIABLE: &str = "TIDELOG_KILL_TEST_LIFE";
const PARTITIONS: u64 = 3;
/// Two of them idempotent.
const PRODUCERS: u64 = 4;
const ACKNOWLEDGED_MAX: u64 = 200;
const CYCLES: u64 = 20;
const OPTIONS: PartitionOptions = PartitionOptions {
    segment_bytes: 60_000,
    index_interval_bytes: 1000,
    ..PartitionOptions::DEFAULT
};

/// A batch by who sent it: of each producer's batches in one partition, the numbers are dense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Sent {
    life: u64,
    producer: u64,
    partition: u64,
    number: u64,
}

impl Sent {
    fn count(&self) -> i32 {
        1 + (self.number % 3) as i32
    }

    /// Its parts, then bytes that only it has.
    fn payload(&self) -> Vec<u8> {
        let parts = [self.life, self.producer, self.partition, self.number];
        let mut bytes: Vec<u8> = parts.iter().flat_map(|part| part.to_be_bytes()).collect();
        let seed = parts.iter().fold(7, |seed, part| seed * 1009 + part);
        let mut random = Random::new(seed);
        let len = random.below(900) as usize;
        bytes.extend(random.bytes(len));
        bytes
    }

    fn of(payload: &[u8]) -> Option<Self> {
        let part =
            |n: usize| Some(u64::from_be_bytes(payload.get(n * 8..n * 8 + 8)?.try_into().unwrap()));
        let sent =
            Self { life: part(0)?, producer: part(1)?, partition: part(2)?, number: part(3)? };
        (sent.payload() == payload).then_some(sent)
    }

    fn batch(&self) -> Batch {
        if self.producer >= 2 {
            return batch(self.count(), self.number as i64, &self.payload());
        }
        let producer = (self.life * PRODUCERS + self.producer) as i64;
        let sequence: i32 = (0..self.number).map(|number| Self { number, ..*self }.count()).sum();
        batch_of((producer, 0, sequence), self.count(), self.number as i64, &self.payload())
    }
}

fn dir(partition: u64) -> PathBuf {
    PathBuf::from(format!("accounts/dev/topic-{partition}"))
}

/// Appends until it is killed, when it is run for that.
#[test]
fn the_process_that_is_killed() {
    let Some(root) = std::env::var_os(DIR_VARIABLE) else { return };
    let life = std::env::var(LIFE_VARIABLE).unwrap().parse().unwrap();
    let volume = open_volume(Arc::new(Disk), Path::new(&root), Flush::Commit);
    std::thread::scope(|scope| {
        for partition in 0..PARTITIONS {
            let waiting = Arc::new(Mutex::new(Vec::<(i64, mpsc::Sender<()>)>::new()));
            let waiters = waiting.clone();
            let on_advance = Box::new(move |high_watermark| {
                let mut waiters = waiters.lock().unwrap();
                waiters.retain(|(offset, durable)| {
                    *offset >= high_watermark || durable.send(()).is_err()
                });
            });
            let opened = volume.open_partition(&dir(partition), TOPIC, OPTIONS, on_advance);
            let (log, _) = opened.unwrap();
            for producer in 0..PRODUCERS {
                let (log, waiting) = (log.clone(), waiting.clone());
                scope.spawn(move || {
                    for number in 0.. {
                        let sent = Sent { life, producer, partition, number };
                        let (durable, wait) = mpsc::channel();
                        let appended = {
                            let mut waiting = waiting.lock().unwrap();
                            let appended = log.append(&sent.batch(), 0).unwrap();
                            waiting.push((appended.last_offset, durable));
                            appended
                        };
                        if log.high_watermark() <= appended.last_offset {
                            wait.recv().unwrap();
                        }
                        if producer < 2 && number % 5 == 0 {
                            assert_eq!(log.append(&sent.batch(), 0).unwrap(), appended);
                        }
                        let line = format!(
                            "ack {life} {producer} {partition} {number} {}\n",
                            appended.base_offset
                        );
                        std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
                    }
                });
            }
        }
    });
}

/// Runs the process until it has acknowledged this many batches, and kills it; gives all that it
/// acknowledged, each with its offset.
fn run_and_kill(root: &Path, life: u64, acknowledged: u64) -> Vec<(Sent, i64)> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::the_process_that_is_killed", "--nocapture", "--test-threads=1"])
        .env(DIR_VARIABLE, root)
        .env(LIFE_VARIABLE, life.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).split(b'\n');
    let mut found = Vec::new();
    for line in lines {
        let line = String::from_utf8(line.unwrap()).unwrap();
        // The harness writes before the first one, and the last one may be cut.
        let Some((_, line)) = line.split_once("ack ") else { continue };
        let Ok(numbers) = line.split(' ').map(str::parse).collect::<Result<Vec<u64>, _>>() else {
            continue;
        };
        if let [life, producer, partition, number, offset] = numbers[..] {
            found.push((Sent { life, producer, partition, number }, offset as i64));
        }
        if found.len() as u64 == acknowledged {
            child.kill().unwrap();
        }
    }
    let status = child.wait().unwrap();
    assert!(!status.success() && found.len() as u64 >= acknowledged, "{status}");
    found
}

/// Base offset, count and payload of each batch.
type Found = Vec<(i64, i32, Vec<u8>)>;

/// What is wrong with what was found in a partition, given what was acknowledged there.
fn check(found: &[(i64, i32, Vec<u8>)], acknowledged: &[(Sent, i64)]) -> Result<(), String> {
    let mut next_offset = 0;
    let mut next_number = BTreeMap::new();
    let mut by_offset = BTreeMap::new();
    for (offset, count, payload) in found {
        if *offset != next_offset {
            return Err(format!("offset {offset} where {next_offset} follows"));
        }
        let sent = Sent::of(payload).ok_or(format!("bytes at {offset} that nobody sent"))?;
        if sent.count() != *count {
            return Err(format!("{count} records at {offset}, not those of {sent:?}"));
        }
        next_offset += i64::from(*count);
        let number = next_number.entry((sent.life, sent.producer)).or_insert(0);
        if sent.number != *number {
            return Err(format!("{sent:?} where {number} follows"));
        }
        *number += 1;
        by_offset.insert(*offset, sent);
    }
    match acknowledged.iter().find(|(sent, offset)| by_offset.get(offset) != Some(sent)) {
        Some((sent, offset)) => {
            Err(format!("{sent:?} was acknowledged at {offset}, and is not there"))
        }
        None => Ok(()),
    }
}

fn read(volume: &Volume, partition: u64) -> Found {
    let opened = volume.open_partition(&dir(partition), TOPIC, OPTIONS, Box::new(|_| {}));
    let (log, recovered) = opened.unwrap();
    // A fatal signal stops a write between two pages, so the last batch may be torn. It was not
    // acknowledged, and nothing else is.
    let torn = recovered.repairs.iter().all(|repair| repair.action == Action::Cut);
    assert!(torn && recovered.repairs.len() <= 1, "{:?}", recovered.repairs);
    let batches = read_all(&log, 0);
    let read = |batch: &Batch| {
        let header = batch.header();
        (header.base_offset, header.record_count, batch.payload().to_vec())
    };
    batches.iter().map(read).collect()
}

#[test]
fn every_acknowledged_batch_survives_kills() {
    let root = tempfile::tempdir().unwrap();
    let mut random = Random::new(1);
    let mut acknowledged = Vec::new();
    for life in 0..iterations(CYCLES) {
        acknowledged.extend(run_and_kill(root.path(), life, random.below(ACKNOWLEDGED_MAX) + 1));
        // Now and then the next process meets what this one left, untouched.
        if random.below(3) == 0 && life + 1 < iterations(CYCLES) {
            continue;
        }
        let volume = open_volume(Arc::new(Disk), root.path(), Flush::Manual);
        for partition in 0..PARTITIONS {
            let mut here = acknowledged.clone();
            here.retain(|(sent, _): &(Sent, i64)| sent.partition == partition);
            check(&read(&volume, partition), &here).unwrap();
        }
    }
}

#[test]
fn the_checker_finds_what_it_is_there_for() {
    let sent = |number| Sent { life: 0, producer: 0, partition: 0, number };
    let mut offset = 0;
    let (mut sound, mut acknowledged) = (Vec::new(), Vec::new());
    for number in 0..20 {
        let sent = sent(number);
        sound.push((offset, sent.count(), sent.payload()));
        acknowledged.push((sent, offset));
        offset += i64::from(sent.count());
    }
    check(&sound, &acknowledged).unwrap();
    check(&sound, &acknowledged[..15]).unwrap();
    let distorted = |distort: fn(&mut Found)| {
        let mut found = sound.clone();
        distort(&mut found);
        check(&found, &acknowledged).unwrap_err()
    };
    assert!(distorted(|found| drop(found.pop())).contains("is not there"));
    assert!(distorted(|found| drop(found.remove(7))).contains("follows"));
    assert!(distorted(|found| found.swap(3, 6)).contains("follows"));
    assert!(distorted(|found| found[5].2[40] ^= 1).contains("nobody sent"));
    let twice = |found: &mut Found| {
        let (last, count, payload) = found.last().unwrap().clone();
        found.push((last + i64::from(count), count, payload));
    };
    assert!(distorted(twice).contains("where 20 follows"));
}
