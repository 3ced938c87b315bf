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

mod consumers;
mod membership;
mod migrations;
mod offsets;
mod random;
mod random_consumers;
mod rebalances;
mod records;
mod statics;

use super::*;
use crate::iterations::iterations;
use bytes::Bytes;
use fastrand::Rng;
use tidelog_protocol::messages::{
    ConsumerProtocolAssignment, ConsumerProtocolSubscription, ConsumerProtocolTopic,
};
use tidelog_protocol::{Version, Wire, Writer};

/// What a random client does next, unless it waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Next {
    Join,
    Sync,
    Work,
}

struct Script {
    group: Group<String>,
    options: Options,
    records: Vec<Record>,
    replica: Group<String>,
    now: Now<'static>,
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
        self.now = Now { since_start, unix_ms, ..self.now };
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
            "topics" => self.now.topics = topics(self.now.topics.version() + 1, args.0),
            "beat" => group.consumer_heartbeat(now, &args.beat(), ticket, &mut out),
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
            let owned = self.value("owns");
            let metadata = owned.map_or_else(|| subscription(topics), |it| owning(topics, it));
            protocols.push(Protocol { name: text("range"), metadata });
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
            assignments: self.assignments(),
        }
    }

    /// A member and its epoch; joining, it tells everything.
    fn beat(&self) -> ConsumerHeartbeat {
        let joins = self.generation() == 0;
        let owned = self.value("owns").map(partitions).or(joins.then(Partitions::default));
        let topics = self.value("topics").map(|topics| match topics {
            "" => Vec::new(),
            topics => topics.split(',').map(text).collect(),
        });
        ConsumerHeartbeat {
            member_id: self.member(),
            member_epoch: self.generation(),
            instance_id: self.text("instance"),
            rack_id: None,
            rebalance_timeout_ms: joins.then(|| self.ms("rebalance", "60s")),
            topics,
            regex: self.text("regex"),
            assignor: self.text("assignor"),
            owned,
            client_id: text("client"),
            client_host: text("/127.0.0.1"),
        }
    }

    /// `member:part` as it is, and `member=red-0,red-1` as consumers write it.
    fn assignments(&self) -> Vec<(Str, Bytes)> {
        let opaque = self.pairs().map(|(member, part)| (text(member), blob(part)));
        let ours = self.0.iter().filter_map(|word| word.split_once('='));
        let ours = ours.filter(|(member, _)| !["instance", "type", "protocol"].contains(member));
        let ours = ours.map(|(member, part)| {
            let assigned_partitions = by_topic(part);
            let it = ConsumerProtocolAssignment { assigned_partitions, user_data: None };
            (text(member), it.to_bytes(1))
        });
        opaque.chain(ours).collect()
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
            has_member_epoch: !self.flag("v8"),
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

/// The topics in words such as `red:3`: a name and how many partitions. A `#2` behind it makes it
/// another topic of that name.
fn topics(version: u64, words: &[&str]) -> &'static Topics {
    let topic = |word: &&str| {
        let (topic, partitions) = word.split_once(':').unwrap();
        let name = topic.split('#').next().unwrap();
        (text(name), Shape { id: topic_id(topic), partitions: partitions.parse().unwrap() })
    };
    Box::leak(Box::new(Topics::new(version, words.iter().map(topic))))
}

fn topic_id(topic: &str) -> tidelog_protocol::Uuid {
    let mut id = [0; 16];
    id[..topic.len()].copy_from_slice(topic.as_bytes());
    id
}

fn topic_name(id: &tidelog_protocol::Uuid) -> String {
    String::from_utf8_lossy(id).trim_end_matches('\0').to_owned()
}

/// Words such as `red-0,red-1`.
fn partitions(words: &str) -> Partitions {
    let words = words.split(',').filter(|word| !word.is_empty());
    words.map(|word| (topic_id(&partition(word).0), partition(word).1)).collect()
}

fn shown(partitions: impl IntoIterator<Item = (tidelog_protocol::Uuid, i32)>) -> String {
    let words = partitions.into_iter().map(|(id, index)| format!("{}-{index}", topic_name(&id)));
    words.collect::<Vec<_>>().join(" ")
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

/// The metadata of a cooperative consumer, which tells what it owns (version 1).
fn owning(topics: &str, owned: &str) -> Bytes {
    let topics = topics.split(',').map(text).collect();
    let owned_partitions = by_topic(owned);
    ConsumerProtocolSubscription { topics, owned_partitions, ..Default::default() }.to_bytes(1)
}

fn by_topic(words: &str) -> Vec<ConsumerProtocolTopic> {
    let mut topics = BTreeMap::<Str, Vec<i32>>::new();
    for word in words.split(',').filter(|word| !word.is_empty()) {
        let (topic, index) = partition(word);
        topics.entry(topic).or_default().push(index);
    }
    let topic = |(topic, partitions)| ConsumerProtocolTopic { topic, partitions };
    topics.into_iter().map(topic).collect()
}

/// An assignment as a script shows it: in words, if consumers wrote it.
fn part(bytes: &Bytes) -> String {
    match ConsumerProtocolAssignment::from_bytes(bytes.clone()) {
        Ok((_, it)) if bytes.first() == Some(&0) => {
            let words = it
                .assigned_partitions
                .iter()
                .flat_map(|it| it.partitions.iter().map(|index| format!("{}-{index}", it.topic)));
            format!("({})", words.collect::<Vec<_>>().join(" "))
        }
        _ => String::from_utf8_lossy(bytes).into_owned(),
    }
}

/// Runs a script; returns it with each step's effects under it.
fn run(options: Options, script: &str) -> String {
    let mut run = Script::new(options);
    let mut log = String::new();
    for line in lines(script).filter(|line| !line.starts_with('>')) {
        log += &format!("{line}\n");
        for effect in run.step(line).into_iter().filter(is_shown) {
            log += &format!("> {}\n", show(&effect));
        }
        if line.ends_with("describe") {
            log += &format!("> {}\n", described(&run.group));
        }
    }
    log
}

/// What becomes of a consumer group shows in what members are told and in `describe`.
fn is_shown(effect: &Effect<String>) -> bool {
    !matches!(effect, Effect::Append(Record::Consumer(_)))
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
        Effect::Append(Record::Consumer(record)) => format!("append {record:?}"),
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
        _ => format!("{id}={}", part(&member.assignment)),
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
            _ => format!("synced {}", part(&synced.assignment)),
        },
        Reply::Done => "ok".into(),
        Reply::Each(outcomes) => {
            let outcomes = outcomes.iter().map(|it| match it {
                Ok(()) => "ok".into(),
                Err(error) => format!("{error:?}"),
            });
            format!("[{}]", outcomes.collect::<Vec<_>>().join(" "))
        }
        Reply::Beaten(beaten) => {
            let sooner = beaten.heartbeat_interval < Options::default().consumer_heartbeat_interval;
            let assignment = beaten.assignment.as_ref();
            let assignment =
                assignment.map(|it| format!(" [{}]", shown(it.iter()))).unwrap_or_default();
            format!("at {}{assignment}{}", beaten.member_epoch, if sooner { " soon" } else { "" })
        }
        Reply::Failed(error) | Reply::Refused(error, _) => format!("{error:?}"),
    }
}

fn described_consumers(description: &ConsumerDescription) -> String {
    let members = description.members.iter().map(|it| {
        let sign = |sign: &str, partitions: &Partitions| {
            let words = shown(partitions.iter());
            words.split_whitespace().map(|word| format!(" {sign}{word}")).collect::<String>()
        };
        let current = &it.current;
        let missing =
            it.target.filter(|it| !current.assigned.contains(it) && !current.revoking.contains(it));
        let classic = if it.member.classic.is_some() { "classic " } else { "" };
        let (has, gives, waits) =
            (sign("", &current.assigned), sign("-", &current.revoking), sign("+", &missing));
        format!("{classic}{}@{}:{has}{gives}{waits}", it.member_id, current.epoch)
    });
    let members = members.collect::<Vec<_>>().join(", ");
    let ConsumerDescription { state, epoch, assignment_epoch, assignor, .. } = description;
    format!("{state:?} {epoch}/{assignment_epoch} {} [{members}]", assignor.name())
}

fn described(group: &Group<String>) -> String {
    if let Some(description) = group.describe_consumer() {
        return described_consumers(&description);
    }
    let description = group.describe().unwrap();
    let members = description
        .members
        .iter()
        .map(|member| format!("{}={}", member.member_id, part(&member.assignment)));
    let members = members.collect::<Vec<_>>().join(" ");
    let Description { state, protocol_type, protocol, .. } = &description;
    format!("{state:?} type={protocol_type} protocol={protocol} [{members}]")
}
