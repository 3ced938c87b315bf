//! Scripts in virtual time: one step a line, what comes of it under it.
//!
//! ```text
//! 0s join a            a new member that gets the id a (version 3 or older; `v4` asks for its id)
//! 1s rejoin a          the member a, under that id
//! 2s tick              time passes; it also passes, and timers fire, before every other step
//! ```
//!
//! After every step a second group, which is given nothing but the records, by way of their bytes,
//! must hold the same durable state; and while a request waits there must be a deadline.

mod membership;
mod offsets;
mod random;
mod rebalances;
mod records;
mod statics;

use super::*;
use bytes::Bytes;
use tidelog_protocol::{Version, Wire, Writer};

struct Script {
    group: Group<String>,
    options: Options,
    records: Vec<Record>,
    replica: Group<String>,
    now: Now,
}

impl Script {
    fn new(options: Options) -> Self {
        let (group, replica) = (Group::new(options), Group::new(options));
        Self { group, options, records: Vec::new(), replica, now: Now::default() }
    }

    /// Lets time pass up to `since_start`, firing timers at their deadlines.
    fn advance(&mut self, since_start: Duration, out: &mut Vec<Effect<String>>) {
        while let Some(deadline) = self.group.deadline().filter(|at| *at <= since_start) {
            self.set_time(deadline.max(self.now.since_start));
            self.group.expire(self.now, out);
        }
        self.set_time(since_start);
    }

    fn set_time(&mut self, since_start: Duration) {
        let unix_ms = 1_000_000 + since_start.as_millis() as i64;
        self.now = Now { since_start, unix_ms };
    }

    fn step(&mut self, line: &str) -> Vec<Effect<String>> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let mut out = Vec::new();
        self.advance(duration(words[0]), &mut out);
        self.observe(&out);
        let fired = out.len();
        let (now, group) = (self.now, &mut self.group);
        let args = Args(&words[2..]);
        let ticket = args.first().to_owned();
        match words[1] {
            "tick" | "describe" => {}
            "join" | "rejoin" => {
                group.join(now, args.join(words[1] == "rejoin"), ticket, &mut out);
            }
            "sync" => group.sync(now, args.sync(), ticket, &mut out),
            "heartbeat" => group.heartbeat(now, args.heartbeat(), ticket, &mut out),
            "leave" => group.leave(now, args.leaving(), ticket, &mut out),
            "commit" => group.commit_offsets(now, args.commit(), ticket, &mut out),
            "delete" => group.delete("admin".into(), &mut out),
            "delete-offsets" => {
                let partitions: Vec<_> = args.0.iter().map(|word| partition(word)).collect();
                group.delete_offsets(now, &partitions, "admin".into(), &mut out);
            }
            "drop-topic" => group.remove_topic_offsets(now, &[text(args.first())], &mut out),
            "restart" => self.group = Group::load(self.options, now, &self.records),
            other => panic!("unknown step {other}"),
        }
        self.observe(&out[fired..]);
        out
    }

    /// Checks what must hold after any step.
    fn observe(&mut self, out: &[Effect<String>]) {
        for effect in out {
            let Effect::Append(record) = effect else { continue };
            let (key, value) = record.encode(&text("g"));
            let (group, read) = Record::decode(key, value).unwrap();
            assert_eq!((&*group, &read), ("g", record));
            self.replica.apply(&read);
            self.records.push(read);
        }
        assert_eq!(self.replica.durable(), self.group.durable());
        assert!(self.group.parked() == 0 || self.group.deadline().is_some(), "waits for ever");
    }
}

impl<T> Group<T> {
    fn parked(&self) -> usize {
        match &self.state {
            State::PreparingRebalance(preparing) => preparing.joined.len(),
            State::CompletingRebalance { syncing } => syncing.len(),
            _ => 0,
        }
    }
}

/// The words of a step: positional ones, `key=value`, flags, and `name:value` lists.
struct Args<'a>(&'a [&'a str]);

impl<'a> Args<'a> {
    fn first(&self) -> &'a str {
        self.0.first().copied().unwrap_or_default()
    }

    fn flag(&self, flag: &str) -> bool {
        self.0.contains(&flag)
    }

    fn value(&self, key: &str) -> Option<&'a str> {
        self.0.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
    }

    fn text(&self, key: &str) -> Option<Str> {
        self.value(key).map(text)
    }

    fn ms(&self, key: &str, default: &'a str) -> i32 {
        duration(self.value(key).unwrap_or(default)).as_millis() as i32
    }

    fn pairs(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.0.iter().filter_map(|word| word.split_once(':'))
    }

    /// `-` is no member.
    fn member(&self) -> Str {
        text(self.first().trim_matches('-'))
    }

    fn generation(&self) -> i32 {
        self.0[1].parse().unwrap()
    }

    fn join(&self, known: bool) -> Join {
        let mut protocols: Vec<Protocol> = self
            .pairs()
            .map(|(name, metadata)| Protocol { name: text(name), metadata: blob(metadata) })
            .collect();
        if let Some(topics) = self.value("topics") {
            protocols.push(Protocol { name: text("range"), metadata: subscription(topics) });
        }
        if protocols.is_empty() {
            protocols.push(Protocol { name: text("range"), metadata: blob("m") });
        }
        Join {
            member_id: if known { self.member() } else { Str::default() },
            new_member_id: self.member(),
            group_instance_id: self.text("instance"),
            requires_known_member_id: self.flag("v4"),
            can_skip_assignment: self.flag("v9"),
            client_id: text("client"),
            client_host: text("/127.0.0.1"),
            session_timeout_ms: self.ms("session", "10s"),
            rebalance_timeout_ms: self.ms("rebalance", "60s"),
            protocol_type: self.text("type").unwrap_or(text("consumer")),
            protocols,
        }
    }

    fn sync(&self) -> Sync {
        Sync {
            member_id: self.member(),
            group_instance_id: self.text("instance"),
            generation: self.generation(),
            protocol_type: self.text("type"),
            protocol: self.text("protocol"),
            assignments: self.pairs().map(|(member, part)| (text(member), blob(part))).collect(),
        }
    }

    fn heartbeat(&self) -> Heartbeat {
        Heartbeat {
            member_id: self.member(),
            group_instance_id: self.text("instance"),
            generation: self.generation(),
        }
    }

    /// Each word a member id, an `@instance`, or `id@instance`.
    fn leaving(&self) -> Vec<LeavingMember> {
        let member = |word: &&str| {
            let (id, instance) = word.split_once('@').unwrap_or((word, ""));
            let group_instance_id = (!instance.is_empty()).then(|| text(instance));
            LeavingMember { member_id: text(id), group_instance_id }
        };
        self.0.iter().map(member).collect()
    }

    fn commit(&self) -> Commit {
        let partitions = self.pairs().map(|(name, offset)| {
            let (topic, partition) = partition(name);
            CommitPartition {
                topic,
                partition,
                offset: offset.parse().unwrap(),
                leader_epoch: self.value("epoch").map_or(-1, |epoch| epoch.parse().unwrap()),
                metadata: self.text("note").unwrap_or_default(),
            }
        });
        Commit {
            member_id: self.member(),
            group_instance_id: self.text("instance"),
            generation: self.generation(),
            retention_ms: self.value("retention").map(|_| i64::from(self.ms("retention", ""))),
            partitions: partitions.collect(),
        }
    }
}

fn text(text: &str) -> Str {
    Str::from(text.to_owned())
}

fn blob(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn partition(name: &str) -> TopicPartition {
    let (topic, partition) = name.rsplit_once('-').unwrap();
    (text(topic), partition.parse().unwrap())
}

/// A number and `ms`, `s`, `m` or `d`.
fn duration(word: &str) -> Duration {
    let digits = word.trim_end_matches(char::is_alphabetic);
    let unit_ms = match &word[digits.len()..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "d" => 86_400_000,
        unit => panic!("unknown unit {unit} in {word}"),
    };
    Duration::from_millis(digits.parse::<u64>().unwrap() * unit_ms)
}

/// The metadata of a consumer that subscribes to these topics (ConsumerProtocolSubscription 0).
fn subscription(topics: &str) -> Bytes {
    let plain = Version { number: 0, flexible: false };
    let mut out = Writer::default();
    0i16.write(&mut out, plain);
    topics.split(',').map(text).collect::<Vec<Str>>().write(&mut out, plain);
    None::<Bytes>.write(&mut out, plain);
    out.into_bytes()
}

/// Runs a script; returns it with each step's effects under it.
fn run(options: Options, script: &str) -> String {
    let mut run = Script::new(options);
    let mut log = String::new();
    for line in lines(script).filter(|line| !line.starts_with('>')) {
        log += &format!("{line}\n");
        for effect in run.step(line) {
            log += &format!("> {}\n", show(&effect));
        }
        if line.ends_with("describe") {
            log += &format!("> {}\n", described(&run.group));
        }
    }
    log
}

fn lines(script: &str) -> impl Iterator<Item = &str> {
    script.lines().map(str::trim).filter(|line| !line.is_empty())
}

/// Runs a script without an initial rebalance delay.
#[track_caller]
fn check(script: &str) {
    check_with(Options { initial_rebalance_delay: Duration::ZERO, ..Default::default() }, script);
}

#[track_caller]
fn check_with(options: Options, script: &str) {
    let want: String = lines(script).map(|line| format!("{line}\n")).collect();
    let got = run(options, script);
    assert!(got == want, "the script went otherwise:\n{got}");
}

fn show(effect: &Effect<String>) -> String {
    match effect {
        Effect::Append(Record::Group(None)) => "append group gone".into(),
        Effect::Append(Record::Group(Some(metadata))) => format!("append {}", formed(metadata)),
        Effect::Append(Record::Offset { topic, partition, committed }) => {
            let offset = committed.as_ref().map_or("gone".into(), |it| it.offset.to_string());
            format!("append {topic}-{partition} {offset}")
        }
        Effect::Reply(to, reply) => format!("{to}: {}", answered(reply)),
    }
}

fn formed(metadata: &Metadata) -> String {
    let members = metadata.members.iter().map(|(id, member)| match &member.assignment[..] {
        [] => id.to_string(),
        part => format!("{id}={}", String::from_utf8_lossy(part)),
    });
    let (leader, protocol) = (metadata.leader.as_deref(), metadata.protocol.as_deref());
    let members = members.collect::<Vec<_>>().join(" ");
    let (leader, protocol) = (leader.unwrap_or("none"), protocol.unwrap_or("none"));
    format!("gen={} {protocol} leader={leader} [{members}]", metadata.generation)
}

fn answered(reply: &Reply) -> String {
    match reply {
        Reply::Joined(joined) => {
            let members = joined.members.iter().map(|member| {
                let metadata = String::from_utf8_lossy(&member.metadata);
                let binary = metadata.contains(char::is_control);
                format!("{}:{}", member.member_id, if binary { "topics" } else { &metadata })
            });
            let members = members.collect::<Vec<_>>().join(" ");
            let skip = if joined.skip_assignment { " skip" } else { "" };
            let Joined { generation, protocol, leader, member_id, .. } = joined;
            format!(
                "joined as {member_id} gen={generation} {protocol} leader={leader} [{members}]{skip}"
            )
        }
        Reply::MemberIdRequired(id) => format!("is to join as {id}"),
        Reply::Synced(synced) => match &synced.assignment[..] {
            [] => "synced nothing".into(),
            part => format!("synced {}", String::from_utf8_lossy(part)),
        },
        Reply::Done => "ok".into(),
        Reply::Each(outcomes) => {
            let outcomes = outcomes.iter().map(|it| match it {
                Ok(()) => "ok".into(),
                Err(error) => format!("{error:?}"),
            });
            format!("[{}]", outcomes.collect::<Vec<_>>().join(" "))
        }
        Reply::Failed(error) => format!("{error:?}"),
    }
}

fn described(group: &Group<String>) -> String {
    let description = group.describe();
    let members = description.members.iter().map(|member| {
        let part = String::from_utf8_lossy(&member.assignment);
        format!("{}={part}", member.member_id)
    });
    let members = members.collect::<Vec<_>>().join(" ");
    let Description { state, protocol_type, protocol, .. } = &description;
    format!("{state:?} type={protocol_type} protocol={protocol} [{members}]")
}
