//! Scripts in virtual time, and a seeded random run with the invariants of the machine.

use super::*;
use fastrand::Rng;

const MIDDLE: f64 = 0.5;

/// Runs a script, a step a line, and checks the effects that are listed under each step.
///
/// A record is `offset`, `offset:key` or `offset:key/KiB`. Attempts are named `source/offset`.
#[track_caller]
fn check(script: &str) {
    let lines: Vec<&str> = script.lines().map(str::trim).filter(|it| !it.is_empty()).collect();
    let mut machine = Delivery::<&'static str>::new(Schedule::parse(&["5s", "5m"]).unwrap());
    let mut attempts = BTreeMap::new();
    let mut got = Vec::new();
    for line in lines.iter().filter(|line| !line.starts_with('>')) {
        let mut out = Vec::new();
        step(&mut machine, &attempts, line, &mut out);
        got.push((*line).to_owned());
        for effect in out {
            if let Effect::Send { id, source, offset, .. } = effect {
                attempts.insert(format!("{source}/{offset}"), id);
            }
            got.push(format!("> {}", describe(&effect)));
        }
    }
    assert_eq!(got.join("\n"), lines.join("\n"));
}

fn step(
    machine: &mut Delivery<&'static str>,
    attempts: &BTreeMap<String, AttemptId>,
    line: &str,
    out: &mut Vec<Effect<&'static str>>,
) {
    let words: Vec<&str> = line.split_whitespace().collect();
    let now = humantime::parse_duration(words[0]).unwrap();
    let number = |text: &str| text.parse::<i64>().unwrap();
    match &words[1..] {
        ["assign", source, at] => machine.assign(number(source) as u32, number(at), out),
        ["revoke", source] => machine.revoke(number(source) as u32, out),
        ["fetched", source, from, next, records @ ..] => {
            let records = records.iter().map(|text| record(text)).collect();
            machine.fetched(number(source) as u32, number(from), records, number(next), out);
        }
        ["ok", attempt] => {
            machine.outcome(now, attempts[*attempt], Outcome::Delivered, MIDDLE, out);
        }
        ["gone", attempt] => machine.outcome(now, attempts[*attempt], Outcome::Gone, MIDDLE, out),
        ["fail", attempt, retry_after @ ..] => {
            let retry_after = retry_after.first().map(|it| humantime::parse_duration(it).unwrap());
            let outcome = Outcome::Failed { retry_after };
            machine.outcome(now, attempts[*attempt], outcome, MIDDLE, out);
        }
        ["tick"] => machine.expire(now, out),
        ["let-go"] => machine.let_go(out),
        ["deadline", want] => {
            let deadline = machine.deadline().map(|it| humantime::format_duration(it).to_string());
            assert_eq!(deadline.as_deref().unwrap_or("none"), *want, "at {line}");
        }
        other => panic!("unknown step {other:?}"),
    }
}

fn record(text: &str) -> Record<&'static str> {
    let (text, bytes) = match text.split_once('/') {
        Some((text, kib)) => (text, kib.parse::<usize>().unwrap() << 10),
        None => (text, 1),
    };
    let (offset, key) = match text.split_once(':') {
        Some((offset, key)) => (offset, Some(Bytes::copy_from_slice(key.as_bytes()))),
        None => (text, None),
    };
    Record { offset: offset.parse().unwrap(), key, bytes, ticket: "it" }
}

fn describe(effect: &Effect<&'static str>) -> String {
    match effect {
        Effect::Send { source, offset, attempt, .. } => {
            format!("send {source}/{offset} #{attempt}")
        }
        Effect::Wait { source, offset, attempt, at } => {
            format!("wait {source}/{offset} #{attempt} until {}", humantime::format_duration(*at))
        }
        Effect::Commit { source, offset } => format!("commit {source} {offset}"),
        Effect::Fetch { source, from, records, .. } => format!("fetch {source} {from} {records}"),
        Effect::Disable => "disable".to_owned(),
    }
}

#[test]
fn a_failing_record_holds_up_its_key_and_the_commit_and_nothing_else() {
    check(
        "0s assign 0 0
        > fetch 0 0 256
        0s fetched 0 0 5 0:a 1:b 2:a 3:c 4:a
        > send 0/0 #1
        > fetch 0 5 251
        > send 0/1 #1
        > send 0/3 #1
        1s ok 0/1
        1s ok 0/3
        1s fail 0/0
        > wait 0/0 #2 until 6s
        1s deadline 6s
        5s tick
        6s tick
        > send 0/0 #2
        6s deadline none
        7s fail 0/0
        > wait 0/0 #3 until 5m 7s
        307s tick
        > send 0/0 #3
        308s fail 0/0
        > wait 0/0 #4 until 10m 8s
        608s tick
        > send 0/0 #4
        609s ok 0/0
        > commit 0 2
        > send 0/2 #1
        610s ok 0/2
        > commit 0 4
        > send 0/4 #1
        611s ok 0/4
        > commit 0 5
        611s deadline none",
    );
}

#[test]
fn records_without_a_key_go_one_by_one_and_partitions_go_their_own_way() {
    check(
        "0s assign 0 10
        > fetch 0 10 256
        0s assign 1 0
        > fetch 1 0 256
        0s fetched 0 10 13 10 11 12:a
        > send 0/10 #1
        > fetch 0 13 253
        > send 0/12 #1
        0s fetched 1 0 1 0
        > send 1/0 #1
        > fetch 1 1 255
        1s fail 0/10
        > wait 0/10 #2 until 6s
        1s ok 1/0
        > commit 1 1
        2s ok 0/12
        6s tick
        > send 0/10 #2
        6s ok 0/10
        > commit 0 11
        > send 0/11 #1
        6s ok 0/11
        > commit 0 13",
    );
}

#[test]
fn offsets_with_nothing_to_deliver_are_committed_over() {
    check(
        "0s assign 0 0
        > fetch 0 0 256
        0s fetched 0 0 7
        > commit 0 7
        > fetch 0 7 256
        0s fetched 0 7 20 9:a 12:b
        > commit 0 9
        > send 0/9 #1
        > fetch 0 20 254
        > send 0/12 #1
        0s ok 0/12
        0s ok 0/9
        > commit 0 20
        0s fetched 0 20 20
        > fetch 0 20 256",
    );
}

#[test]
fn a_fetch_that_was_not_asked_for_and_records_from_before_it_are_passed_over() {
    check(
        "0s fetched 0 0 1 0:a
        0s assign 0 5
        > fetch 0 5 256
        0s fetched 0 4 6 4:a 5:a
        0s fetched 0 5 7 3:a 4:a 5:a 6:a
        > send 0/5 #1
        > fetch 0 7 254
        0s ok 0/5
        > commit 0 6
        > send 0/6 #1",
    );
}

#[test]
fn retry_after_lengthens_the_wait() {
    check(
        "0s assign 0 0
        > fetch 0 0 256
        0s fetched 0 0 1 0:a
        > send 0/0 #1
        > fetch 0 1 255
        0s fail 0/0 1m
        > wait 0/0 #2 until 1m
        60s tick
        > send 0/0 #2
        60s fail 0/0 1s
        > wait 0/0 #3 until 6m
        6m tick
        > send 0/0 #3
        6m fail 0/0 90h
        > wait 0/0 #4 until 2h 11m",
    );
}

#[test]
fn gone_ends_the_machine_and_what_is_in_flight_still_counts() {
    check(
        "0s assign 0 0
        > fetch 0 0 256
        0s fetched 0 0 4 0:a 1:b 2:c 3:a
        > send 0/0 #1
        > fetch 0 4 252
        > send 0/1 #1
        > send 0/2 #1
        0s fail 0/2
        > wait 0/2 #2 until 5s
        1s gone 0/1
        > disable
        1s deadline none
        1s ok 0/0
        > commit 0 1
        9s tick
        9s fetched 0 4 5 4:z
        9s assign 1 0",
    );
}

#[test]
fn a_revoked_partition_is_forgotten_and_its_late_outcomes_too() {
    check(
        "0s assign 0 0
        > fetch 0 0 256
        0s fetched 0 0 3 0:a 1:b 2:a
        > send 0/0 #1
        > fetch 0 3 253
        > send 0/1 #1
        0s fail 0/1
        > wait 0/1 #2 until 5s
        1s revoke 0
        1s deadline none
        2s ok 0/0
        3s assign 0 0
        > fetch 0 0 256
        3s fetched 0 0 1 0:a
        > send 0/0 #1
        > fetch 0 1 255
        3s ok 0/0
        > commit 0 1",
    );
}

#[test]
fn what_is_let_go_is_read_again_and_what_was_delivered_ahead_is_not_sent_twice() {
    check(
        "0s assign 0 0
        > fetch 0 0 256
        0s fetched 0 0 6 0:a/160 1:b/160 2:c 3:a 4:d 5:c
        > send 0/0 #1
        > fetch 0 6 250
        > send 0/1 #1
        > send 0/2 #1
        > send 0/4 #1
        1s ok 0/4
        1s fail 0/2
        > wait 0/2 #2 until 6s
        1s fail 0/0
        > wait 0/0 #2 until 6s
        2s let-go
        > fetch 0 2 254
        2s let-go
        3s fetched 0 6 7 6:e
        3s fetched 0 2 7 2:c 3:a 4:d 5:c 6:e
        > send 0/2 #2
        > fetch 0 7 250
        > send 0/6 #1
        3s let-go
        > fetch 0 3 252
        4s ok 0/6
        4s ok 0/1
        4s ok 0/2
        6s tick
        > send 0/0 #2
        6s ok 0/0
        > commit 0 3
        7s fetched 0 3 9 3:a 5:c 6:e 7:e 8:f
        > send 0/3 #1
        > fetch 0 9 252
        > send 0/5 #1
        > send 0/7 #1
        > send 0/8 #1
        8s ok 0/8
        8s ok 0/7
        8s ok 0/5
        8s ok 0/3
        > commit 0 9",
    );
}

#[test]
fn attempts_in_flight_are_bounded_and_a_freed_one_goes_to_the_next_in_line() {
    let mut machine = Delivery::new(Schedule::default());
    let mut out = Vec::new();
    machine.assign(0, 0, &mut out);
    let records = (0..40).map(|offset| record(&format!("{offset}:{offset}"))).collect();
    machine.fetched(0, 0, records, 40, &mut out);
    let sends = |out: &[Effect<&str>]| -> Vec<(AttemptId, i64)> {
        out.iter()
            .filter_map(|effect| match effect {
                Effect::Send { id, offset, .. } => Some((*id, *offset)),
                _ => None,
            })
            .collect()
    };
    let first = sends(&out);
    assert_eq!(first.len(), IN_FLIGHT_MAX);
    assert_eq!(machine.in_flight(), IN_FLIGHT_MAX);
    // 24 records are free to be sent, so the partition is not read on yet.
    assert_eq!(out.iter().filter(|it| matches!(it, Effect::Fetch { .. })).count(), 1);
    out.clear();
    machine.outcome(Now::ZERO, first[3].0, Outcome::Delivered, MIDDLE, &mut out);
    assert_eq!(sends(&out), [(AttemptId(16), 16)]);
    out.clear();
    machine.outcome(Now::ZERO, first[3].0, Outcome::Delivered, MIDDLE, &mut out);
    assert_eq!(out, []);
}

#[test]
fn a_partition_taken_back_sends_each_record_once_whatever_was_in_line_before() {
    let mut machine = Delivery::new(Schedule::default());
    let mut out = Vec::new();
    let records = || (0..40).map(|offset| record(&format!("{offset}:{offset}"))).collect();
    machine.assign(0, 0, &mut out);
    machine.fetched(0, 0, records(), 40, &mut out);
    machine.assign(0, 0, &mut out);
    let (mut sent, mut ended) = (Vec::new(), 0);
    machine.fetched(0, 0, records(), 40, &mut out);
    // The sixteen attempts of before run on and take every slot; then each record goes once.
    for effect in std::mem::take(&mut out) {
        if let Effect::Send { id, .. } = effect {
            machine.outcome(Now::ZERO, id, Outcome::Delivered, MIDDLE, &mut out);
            ended += 1;
        }
    }
    while let Some(effect) = out.pop() {
        if let Effect::Send { id, offset, .. } = effect {
            sent.push(offset);
            machine.outcome(Now::ZERO, id, Outcome::Delivered, MIDDLE, &mut out);
        }
    }
    sent.sort_unstable();
    assert_eq!(ended, IN_FLIGHT_MAX);
    assert_eq!(sent, (0..40).collect::<Vec<i64>>());
    assert_eq!(machine.in_flight(), 0);
}

#[test]
fn a_full_window_is_not_read_on_until_it_has_room() {
    let fetches = |out: &[Effect<&'static str>]| -> Vec<(usize, usize)> {
        out.iter()
            .filter_map(|effect| match effect {
                Effect::Fetch { records, bytes, .. } => Some((*records, *bytes)),
                _ => None,
            })
            .collect()
    };
    for (count, bytes) in [(WINDOW_RECORDS as i64, 1), (2, WINDOW_BYTES / 2 + 1)] {
        let mut machine = Delivery::new(Schedule::default());
        let mut out = Vec::new();
        machine.assign(0, 0, &mut out);
        assert_eq!(fetches(&out), [(WINDOW_RECORDS, WINDOW_BYTES)]);
        out.clear();
        let of = |offset| Record { bytes, ..record(&format!("{offset}:a")) };
        machine.fetched(0, 0, (0..count).map(of).collect(), count, &mut out);
        assert_eq!(fetches(&out), []);
        machine.outcome(Now::ZERO, AttemptId(0), Outcome::Delivered, MIDDLE, &mut out);
        let left = count as usize - 1;
        assert_eq!(fetches(&out), [(WINDOW_RECORDS - left, WINDOW_BYTES - left * bytes)]);
    }
}

#[test]
fn a_partition_is_read_only_so_far_past_a_record_that_fails() {
    let mut machine = Delivery::new(Schedule::default());
    let mut out = Vec::new();
    machine.assign(0, 0, &mut out);
    let (mut reached, mut stuck) = (0, 0);
    // Record 0 never succeeds, the others at once.
    while let Some(effect) = out.pop() {
        match effect {
            Effect::Fetch { from, records, .. } => {
                let next = from + records as i64;
                reached = next;
                let of = |offset| record(&format!("{offset}:{offset}"));
                machine.fetched(0, from, (from..next).map(of).collect(), next, &mut out);
            }
            Effect::Send { offset: 0, .. } => stuck += 1,
            Effect::Send { id, .. } => {
                machine.outcome(Now::ZERO, id, Outcome::Delivered, MIDDLE, &mut out);
            }
            Effect::Commit { .. } => panic!("committed past an undelivered record"),
            Effect::Wait { .. } | Effect::Disable => {}
        }
    }
    assert_eq!(stuck, 1);
    assert!((AHEAD_MAX..AHEAD_MAX + WINDOW_RECORDS as i64).contains(&reached), "{reached}");
    assert_eq!(machine.held(), 1);
}

/// What a record of the random runs has.
const RECORD_BYTES: usize = 8 << 10;

/// A log of several partitions, an endpoint with moods, and a driver that crashes.
struct World {
    random: Rng,
    /// Of each partition, the key of the record at each offset; `None` where there is none.
    logs: Vec<Vec<Option<Option<Bytes>>>>,
    committed: Vec<i64>,
    delivered: Vec<BTreeSet<i64>>,
    /// The same, since the last restart.
    delivered_now: Vec<BTreeSet<i64>>,
    now: Now,
    machine: Delivery<u64>,
    attempts: Vec<(AttemptId, Source, i64)>,
    fetches: Vec<(Source, i64, usize)>,
}

impl World {
    fn new(seed: u64) -> World {
        let mut random = Rng::with_seed(seed);
        let mut logs = Vec::new();
        for _ in 0..1 + random.u64(..3) {
            let length = random.u64(..700);
            let keys = 1 + random.u64(..40);
            let key = |random: &mut Rng| match random.u64(..20) {
                0 => None,
                1 => Some(None),
                _ => Some(Some(Bytes::from(random.u64(..keys).to_string()))),
            };
            logs.push((0..length).map(|_| key(&mut random)).collect());
        }
        let count = logs.len();
        let mut world = World {
            random,
            logs,
            committed: vec![0; count],
            delivered: vec![BTreeSet::new(); count],
            delivered_now: Vec::new(),
            now: Now::ZERO,
            machine: Delivery::new(Schedule::default()),
            attempts: Vec::new(),
            fetches: Vec::new(),
        };
        world.restart();
        world
    }

    fn restart(&mut self) {
        self.machine = Delivery::new(Schedule::parse(&["1s", "30s"]).unwrap());
        self.attempts.clear();
        self.fetches.clear();
        self.delivered_now = vec![BTreeSet::new(); self.logs.len()];
        for source in 0..self.logs.len() {
            let mut out = Vec::new();
            self.machine.assign(source as u32, self.committed[source], &mut out);
            self.carry_out(out);
        }
    }

    fn carry_out(&mut self, out: Vec<Effect<u64>>) {
        for effect in out {
            match effect {
                Effect::Send { id, source, offset, attempt, ticket } => {
                    assert!(attempt >= 1);
                    assert_eq!(ticket, offset as u64, "the ticket of another record");
                    self.check_order(source, offset);
                    let again = self.delivered_now[source as usize].contains(&offset);
                    assert!(!again, "{offset} was sent again");
                    self.attempts.push((id, source, offset));
                }
                Effect::Commit { source, offset } => self.commit(source as usize, offset),
                Effect::Fetch { source, from, records, .. } => {
                    // What is let go is fetched in place of what is being fetched.
                    self.fetches.retain(|it| it.0 != source);
                    self.fetches.push((source, from, records));
                }
                Effect::Wait { at, .. } => assert!(at > self.now),
                Effect::Disable => panic!("nothing was gone"),
            }
        }
        assert!(self.machine.in_flight() <= IN_FLIGHT_MAX);
        assert!(self.machine.held() <= WINDOW_RECORDS * self.logs.len());
        assert_eq!(self.machine.in_flight(), self.attempts.len());
    }

    /// Every earlier record of the same key has been delivered when a record is sent.
    fn check_order(&self, source: Source, offset: i64) {
        let log = &self.logs[source as usize];
        let delivered = &self.delivered[source as usize];
        let key = &log[offset as usize];
        assert!(key.is_some(), "no record there");
        let earlier = (0..offset).filter(|&at| log[at as usize] == *key);
        for at in earlier {
            assert!(delivered.contains(&at), "{offset} was sent before {at}");
        }
        assert!(
            !self.attempts.iter().any(|&(_, of, at)| of == source && log[at as usize] == *key),
            "two records of one key in flight"
        );
    }

    fn commit(&mut self, source: usize, offset: i64) {
        assert!(offset > self.committed[source], "a commit that does not move on");
        for at in self.committed[source]..offset {
            let empty = self.logs[source][at as usize].is_none();
            assert!(empty || self.delivered[source].contains(&at), "{at} was not delivered");
        }
        self.committed[source] = offset;
    }

    fn fetch(&mut self) {
        let (source, from, room) = {
            let at = self.random.u64(..self.fetches.len() as u64) as usize;
            self.fetches.swap_remove(at)
        };
        let log = &self.logs[source as usize];
        let length = 1 + self.random.u64(..room as u64) as i64;
        let next = (from + length).min(log.len() as i64).max(from);
        let records: Vec<Record<u64>> = (from..next)
            .filter_map(|offset| {
                let key = log[offset as usize].clone()?;
                let bytes = RECORD_BYTES;
                Some(Record { offset, key, bytes, ticket: offset as u64 })
            })
            .collect();
        let mut out = Vec::new();
        self.machine.fetched(source, from, records, next, &mut out);
        self.carry_out(out);
    }

    fn answer(&mut self, failures_in_ten: u64) {
        let at = self.random.u64(..self.attempts.len() as u64) as usize;
        let (id, source, offset) = self.attempts.swap_remove(at);
        let outcome = if self.random.u64(..10) < failures_in_ten {
            let retry_after = self.random.u64(..2) * self.random.u64(..100);
            Outcome::Failed { retry_after: Some(Duration::from_secs(retry_after)) }
        } else {
            self.delivered[source as usize].insert(offset);
            self.delivered_now[source as usize].insert(offset);
            Outcome::Delivered
        };
        let jitter = self.random.u64(..1001) as f64 / 1000.0;
        let mut out = Vec::new();
        self.machine.outcome(self.now, id, outcome, jitter, &mut out);
        self.carry_out(out);
    }

    fn let_go(&mut self) {
        let mut out = Vec::new();
        self.machine.let_go(&mut out);
        let most = DOWN_BYTES / RECORD_BYTES + self.logs.len() + IN_FLIGHT_MAX;
        assert!(self.machine.held() <= most);
        self.carry_out(out);
    }

    fn wait(&mut self) {
        if let Some(deadline) = self.machine.deadline() {
            self.now = self.now.max(deadline);
            let mut out = Vec::new();
            self.machine.expire(self.now, &mut out);
            self.carry_out(out);
            assert!(self.machine.deadline().is_none_or(|it| it > self.now));
        }
    }

    fn done(&self) -> bool {
        self.committed.iter().zip(&self.logs).all(|(&at, log)| at == log.len() as i64)
    }
}

#[test]
fn over_random_runs_every_record_is_delivered_in_order_within_the_bounds() {
    for seed in 1..=60 {
        let mut world = World::new(seed);
        let mut steps = 0;
        while !world.done() {
            steps += 1;
            assert!(steps < 200_000, "seed {seed} does not come to an end");
            match world.random.u64(..1000) {
                0 if steps < 20_000 => world.restart(),
                900..905 => world.let_go(),
                1..400 if !world.fetches.is_empty() => world.fetch(),
                400..900 if !world.attempts.is_empty() => world.answer(seed % 8),
                _ => world.wait(),
            }
        }
        for (source, log) in world.logs.iter().enumerate() {
            let records = log.iter().filter(|key| key.is_some()).count();
            assert_eq!(world.delivered[source].len(), records, "seed {seed}");
        }
        assert_eq!(world.machine.held(), 0);
    }
}
