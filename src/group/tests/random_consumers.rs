//! Random scripts with clients of both protocols: they join, crash, leave, change protocol and
//! subscription while topics come, go and grow and the broker restarts.
//!
//! **No partition is owned by two members at once, epochs and generations only grow, every request
//! is answered exactly once, the records in any order rebuild the live state, and clients left in
//! peace come to share all the work.**

use super::*;
use bytes::Bytes;

const CLIENTS: usize = 6;
const STEPS: usize = 250;

#[test]
fn whatever_clients_of_both_protocols_do_the_group_keeps_its_promises() {
    for seed in 0..iterations(12) {
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            world.chaos();
        }
        world.settle();
    }
}

#[derive(Debug)]
struct Client {
    /// Whether it speaks the consumer protocol.
    is_new: bool,
    instance: Option<Str>,
    by_regex: bool,
    id: Str,
    epoch: i32,
    next: Next,
    plan: Vec<(Str, Bytes)>,
    /// What it was told that it may read, and does not yet.
    assigned: Option<Partitions>,
    owned: Partitions,
    waits_for: Option<String>,
}

struct World {
    seed: u64,
    random: Rng,
    script: Script,
    clients: Vec<Client>,
    /// Tickets not answered yet, with the client that they are of.
    open: BTreeMap<String, usize>,
    tickets: usize,
    epoch: i32,
}

impl World {
    fn new(seed: u64) -> Self {
        let client = |slot: usize| Client {
            is_new: slot < CLIENTS / 2,
            instance: (slot % 3 == 1).then(|| text(&format!("i{slot}"))),
            by_regex: false,
            id: Str::default(),
            epoch: 0,
            next: Next::Join,
            plan: Vec::new(),
            assigned: None,
            owned: Partitions::default(),
            waits_for: None,
        };
        let options = Options { initial_rebalance_delay: Duration::ZERO, ..Default::default() };
        let mut world = Self {
            seed,
            random: Rng::with_seed(seed),
            script: Script::new(options),
            clients: (0..CLIENTS).map(client).collect(),
            open: BTreeMap::new(),
            tickets: 0,
            epoch: 0,
        };
        world.set_topics(&["red:4", "blue:3"]);
        world
    }

    fn set_topics(&mut self, words: &[&str]) {
        let version = self.script.now.topics.version() + 1;
        self.script.now.topics = topics(version, words);
    }

    fn chaos(&mut self) {
        let slot = self.random.usize(..CLIENTS);
        match self.random.u64(..100) {
            0..70 => self.act(slot),
            70..74 => self.restart_client(slot),
            74..79 => self.leave(slot),
            79..81 => self.restart_broker(),
            81..84 => {
                let worlds =
                    [&["red:4", "blue:3"][..], &["red:6"], &["red:4", "blue#2:2", "tan:1"]];
                let at = self.random.usize(..3);
                self.set_topics(worlds[at]);
            }
            84..86 => self.pass(Duration::from_secs(50)),
            _ => {
                let wait = Duration::from_millis(self.random.u64(..4000));
                self.pass(wait);
            }
        }
    }

    /// Clients that only do what they should come to own everything between them.
    fn settle(&mut self) {
        self.set_topics(&["red:4", "blue:3"]);
        for _ in 0..120 {
            (0..CLIENTS).for_each(|slot| self.act(slot));
            self.pass(Duration::from_secs(1));
        }
        let (seed, group) = (self.seed, &self.script.group);
        assert_eq!(group.state(), StateName::Stable, "seed {seed}: {}", described(group));
        assert_eq!(self.open, BTreeMap::new(), "seed {seed}");
        let owned = self.clients.iter().flat_map(|it| it.owned.iter());
        let mut owned: Vec<_> = owned.collect();
        owned.sort();
        let all = partitions("red-0,red-1,red-2,red-3,blue-0,blue-1,blue-2");
        assert_eq!(owned, all.iter().collect::<Vec<_>>(), "seed {seed}: {}", described(group));
    }

    fn act(&mut self, slot: usize) {
        if self.clients[slot].waits_for.is_some() {
            return;
        }
        match self.clients[slot].is_new {
            true => self.beat(slot),
            false => self.act_as_classic(slot),
        }
    }

    /// A heartbeat; now and then the client takes over what it was told to first, or commits.
    fn beat(&mut self, slot: usize) {
        let (obeys, tells) = (self.random.bool(), self.random.u64(..3) == 0);
        let ticket = self.ticket(slot);
        let client = &mut self.clients[slot];
        if let Some(assigned) = client.assigned.take_if(|_| obeys) {
            client.owned = assigned;
        }
        let joins = client.next == Next::Join;
        if joins && client.id.is_empty() {
            client.id = text(&format!("m{ticket}"));
        }
        let names = vec![text("red"), text("blue")];
        let beat = ConsumerHeartbeat {
            member_id: client.id.clone(),
            member_epoch: if joins { 0 } else { client.epoch },
            instance_id: client.instance.clone(),
            rebalance_timeout_ms: joins.then_some(20_000),
            topics: joins.then(|| if client.by_regex { Vec::new() } else { names }),
            regex: (joins && client.by_regex).then(|| text("red|blu[a-z]*|tan")),
            // What it was told last it says at once, or else the coordinator cannot go on.
            owned: (joins || tells || obeys).then(|| client.owned.clone()),
            ..Default::default()
        };
        let (now, mut out) = (self.script.now, Vec::new());
        self.script.group.consumer_heartbeat(now, &beat, ticket, &mut out);
        self.take(out);
    }

    fn act_as_classic(&mut self, slot: usize) {
        let commits = self.random.u64(..4) == 0;
        let ticket = self.ticket(slot);
        let client = &mut self.clients[slot];
        client.waits_for = Some(ticket.clone());
        let (member_id, generation) = (client.id.clone(), client.epoch);
        let group_instance_id = client.instance.clone();
        let (now, group, mut out) = (self.script.now, &mut self.script.group, Vec::new());
        match client.next {
            Next::Join => {
                client.owned = Partitions::default();
                let join = Join {
                    member_id,
                    group_instance_id,
                    new_member_id: text(&format!("m{ticket}")),
                    requires_known_member_id: slot == 3,
                    ..Args(&["", "rebalance=20s", "topics=red,blue"]).join(false)
                };
                group.join(now, join, ticket, &mut out);
            }
            Next::Sync => {
                let assignments = std::mem::take(&mut client.plan);
                let sync = Sync {
                    member_id,
                    group_instance_id,
                    generation,
                    assignments,
                    ..Default::default()
                };
                group.sync(now, sync, ticket, &mut out);
            }
            Next::Work if commits => {
                let commit = Args(&["", "0", "red-0:1"]).commit();
                let commit = Commit { member_id, group_instance_id, generation, ..commit };
                group.commit_offsets(now, commit, ticket, &mut out);
            }
            Next::Work => {
                let beat = Heartbeat { member_id, group_instance_id, generation };
                group.heartbeat(now, beat, ticket, &mut out);
            }
        }
        self.take(out);
    }

    fn leave(&mut self, slot: usize) {
        let for_a_while = self.random.bool();
        let ticket = self.ticket(slot);
        let client = &self.clients[slot];
        let (now, mut out) = (self.script.now, Vec::new());
        let (member_id, instance) = (client.id.clone(), client.instance.clone());
        if client.is_new {
            let member_epoch = if for_a_while && instance.is_some() { -2 } else { -1 };
            let beat = ConsumerHeartbeat {
                member_id,
                member_epoch,
                instance_id: instance,
                ..Default::default()
            };
            self.script.group.consumer_heartbeat(now, &beat, ticket, &mut out);
        } else {
            let member = LeavingMember { member_id, group_instance_id: instance };
            self.script.group.leave(now, vec![member], ticket, &mut out);
        }
        self.restart_client(slot);
        self.take(out);
    }

    /// The client forgets everything, and may come back with the other protocol; what it waited
    /// for is answered to nobody.
    fn restart_client(&mut self, slot: usize) {
        let (is_new, by_regex) = (self.random.bool(), self.random.bool());
        let client = &mut self.clients[slot];
        let instance = client.instance.take();
        *client = Client {
            is_new,
            by_regex,
            instance,
            id: Str::default(),
            epoch: 0,
            next: Next::Join,
            plan: Vec::new(),
            assigned: None,
            owned: Partitions::default(),
            waits_for: None,
        };
    }

    fn restart_broker(&mut self) {
        self.open.clear();
        for client in self.clients.iter_mut().filter(|client| client.waits_for.is_some()) {
            (client.waits_for, client.next) = (None, Next::Join);
        }
        self.script.group = Group::load(self.script.options, self.script.now, &self.kept_records());
        assert_eq!(self.script.group.durable(), self.script.replica.durable());
        self.take(Vec::new());
    }

    /// The last record of each key, by key: what a store or a compacted log keeps.
    fn kept_records(&self) -> Vec<Record> {
        let encoded = self.script.records.iter().map(|record| record.encode(&text("g")));
        let last: BTreeMap<Bytes, Option<Bytes>> = encoded.collect();
        let kept = last.into_iter().filter(|(_, value)| value.is_some());
        kept.map(|(key, value)| Record::decode(key, value).unwrap().1).collect()
    }

    fn pass(&mut self, time: Duration) {
        let mut out = Vec::new();
        let then = self.script.now.since_start + time;
        self.script.advance(then, &mut out);
        self.take(out);
    }

    fn ticket(&mut self, slot: usize) -> String {
        self.tickets += 1;
        let ticket = self.tickets.to_string();
        self.open.insert(ticket.clone(), slot);
        ticket
    }

    /// Checks effects and hands replies to the clients that still want them.
    fn take(&mut self, out: Vec<Effect<String>>) {
        self.script.observe(&out);
        for effect in out {
            match effect {
                Effect::Append(Record::Group(Some(metadata))) => self.grow(metadata.generation),
                Effect::Append(Record::Consumer(ConsumerRecord::Group(Some(group)))) => {
                    self.grow(group.epoch);
                }
                Effect::Append(_) => {}
                Effect::Reply(ticket, reply) => {
                    let slot = self.open.remove(&ticket);
                    let slot = slot.unwrap_or_else(|| panic!("seed {}: twice", self.seed));
                    let client = &mut self.clients[slot];
                    let waits = client.waits_for.take_if(|it| *it == ticket).is_some();
                    match reply {
                        Reply::Beaten(_) | Reply::Refused(..) => self.answer_beat(slot, reply),
                        reply if waits => self.answer_classic(slot, reply),
                        _ => {}
                    }
                }
            }
        }
        self.check_owners();
        assert_eq!(self.open.len(), self.script.group.parked(), "seed {}", self.seed);
        if self.script.group.state() == StateName::Dead {
            self.script.group = Group::new(self.script.options);
            self.epoch = 0;
        }
    }

    fn grow(&mut self, epoch: i32) {
        assert!(epoch >= self.epoch, "seed {}: {epoch} after {}", self.seed, self.epoch);
        self.epoch = epoch;
    }

    /// Of the members that the coordinator still knows, no two read the same partition.
    fn check_owners(&self) {
        let Some(description) = self.script.group.describe_consumer() else { return };
        let known = |id: &Str| description.members.iter().any(|member| member.member_id == *id);
        let members = self.clients.iter().filter(|client| known(&client.id));
        let mut owners = BTreeMap::new();
        for (partition, id) in members.flat_map(|it| it.owned.iter().map(|part| (part, &it.id))) {
            let other = owners.insert(partition, id);
            let seed = self.seed;
            assert!(other.is_none(), "seed {seed}: {id} and {other:?} both own {partition:?}");
        }
    }

    fn answer_beat(&mut self, slot: usize, reply: Reply) {
        let client = &mut self.clients[slot];
        match reply {
            // The client restarted meanwhile.
            Reply::Beaten(beaten) if beaten.member_id != client.id => {}
            Reply::Beaten(beaten) if beaten.member_epoch >= 0 => {
                (client.epoch, client.next) = (beaten.member_epoch, Next::Work);
                client.assigned = beaten.assignment.or(client.assigned.take());
            }
            Reply::Refused(Error::FencedMemberEpoch, _) => {
                (client.next, client.assigned) = (Next::Join, None);
                client.owned = Partitions::default();
            }
            Reply::Refused(Error::UnreleasedInstanceId, _) => {}
            _ => self.restart_client(slot),
        }
    }

    fn answer_classic(&mut self, slot: usize, reply: Reply) {
        let now = self.script.now;
        let client = &mut self.clients[slot];
        match reply {
            Reply::Joined(joined) => {
                client.plan =
                    if joined.skip_assignment { Vec::new() } else { plan(now, &joined.members) };
                (client.id, client.epoch) = (joined.member_id, joined.generation);
                client.next = Next::Sync;
            }
            Reply::MemberIdRequired(id) => client.id = id,
            Reply::Synced(synced) => {
                client.next = Next::Work;
                client.owned = by_bytes(now, synced.assignment);
            }
            Reply::Failed(Error::RebalanceInProgress | Error::IllegalGeneration) => {
                client.next = Next::Join;
                client.owned = Partitions::default();
            }
            Reply::Failed(_) => self.restart_client(slot),
            _ => {}
        }
    }
}

fn by_bytes(now: Now, assignment: Bytes) -> Partitions {
    if assignment.is_empty() {
        return Partitions::default();
    }
    let (_, assignment) = ConsumerProtocolAssignment::from_bytes(assignment).unwrap();
    let topics = assignment.assigned_partitions.into_iter();
    let known = topics.filter_map(|it| Some((now.topics.get(&it.topic)?.id, it.partitions)));
    known.flat_map(|(id, indexes)| indexes.into_iter().map(move |index| (id, index))).collect()
}

/// Deals the partitions out to the members in turn.
fn plan(now: Now, members: &[JoinedMember]) -> Vec<(Str, Bytes)> {
    let all: Vec<String> = now
        .topics
        .iter()
        .filter(|(name, _)| **name != "tan")
        .flat_map(|(name, it)| (0..it.partitions).map(move |index| format!("{name}-{index}")))
        .collect();
    let part = |at: usize| {
        let words: Vec<&str> =
            all.iter().skip(at).step_by(members.len()).map(String::as_str).collect();
        let assigned_partitions = by_topic(&words.join(","));
        ConsumerProtocolAssignment { assigned_partitions, user_data: None }.to_bytes(1)
    };
    members.iter().enumerate().map(|(at, member)| (member.member_id.clone(), part(at))).collect()
}
