//! Random scripts: clients that join, crash, leave and commit, and a broker that restarts.
//!
//! **No partition is owned twice in a generation, generations only grow, every ticket is answered
//! exactly once or waits with a deadline, and clients left in peace come to share all the work.**

use super::*;

const CLIENTS: usize = 5;
const PARTITIONS: usize = 7;
const STEPS: usize = 250;

#[test]
fn whatever_clients_do_the_group_keeps_its_promises() {
    for seed in 0..iterations(40) {
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            world.chaos();
        }
        world.settle();
    }
}

#[derive(Debug)]
struct Client {
    instance: Option<Str>,
    id: Str,
    next: Next,
    generation: i32,
    plan: Vec<(Str, Bytes)>,
    owned: Vec<String>,
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
    generation: i32,
    /// Who owns a partition in a generation.
    owners: BTreeMap<(i32, String), usize>,
}

impl World {
    fn new(seed: u64) -> Self {
        let delay = Duration::from_secs(3 * (seed % 2));
        let options = Options { initial_rebalance_delay: delay, ..Default::default() };
        let client = |slot: usize| Client {
            instance: (slot % 2 == 1).then(|| text(&format!("i{slot}"))),
            id: Str::default(),
            next: Next::Join,
            generation: 0,
            plan: Vec::new(),
            owned: Vec::new(),
            waits_for: None,
        };
        Self {
            seed,
            random: Rng::with_seed(seed),
            script: Script::new(options),
            clients: (0..CLIENTS).map(client).collect(),
            open: BTreeMap::new(),
            tickets: 0,
            generation: 0,
            owners: BTreeMap::new(),
        }
    }

    fn chaos(&mut self) {
        let slot = self.random.usize(..CLIENTS);
        match self.random.u64(..100) {
            0..70 => self.act(slot),
            70..75 => self.restart_client(slot),
            75..80 => self.leave(slot),
            80..82 => self.restart_broker(),
            82..83 => self.delete(),
            83..85 => self.pass(Duration::from_secs(20)),
            _ => {
                let wait = Duration::from_millis(self.random.u64(..4000));
                self.pass(wait);
            }
        }
    }

    /// Clients that only do what they should come to own everything between them.
    fn settle(&mut self) {
        for _ in 0..240 {
            (0..CLIENTS).for_each(|slot| self.act(slot));
            self.pass(Duration::from_secs(1));
        }
        let seed = self.seed;
        assert_eq!(self.script.group.state(), StateName::Stable, "seed {seed}");
        assert_eq!(self.open, BTreeMap::new(), "seed {seed}");
        let mut owned: Vec<_> = self.clients.iter().flat_map(|it| it.owned.clone()).collect();
        owned.sort();
        let all: Vec<_> = (0..PARTITIONS).map(|partition| format!("p{partition}")).collect();
        assert_eq!(owned, all, "seed {seed}");
    }

    fn act(&mut self, slot: usize) {
        if self.clients[slot].waits_for.is_some() {
            return;
        }
        let commits = self.random.u64(..3) == 0;
        let can_skip_assignment = self.random.bool();
        let ticket = self.ticket(slot);
        let client = &mut self.clients[slot];
        client.waits_for = Some(ticket.clone());
        let (member_id, generation) = (client.id.clone(), client.generation);
        let group_instance_id = client.instance.clone();
        let (now, group, mut out) = (self.script.now, &mut self.script.group, Vec::new());
        match client.next {
            Next::Join => {
                let join = Join {
                    member_id,
                    group_instance_id,
                    new_member_id: text(&format!("m{ticket}")),
                    requires_known_member_id: slot == 0,
                    can_skip_assignment,
                    ..Args(&["", "rebalance=20s"]).join(false)
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
                let commit = Args(&["", "0", "t-0:1", "t-1:2"]).commit();
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
        let ticket = self.ticket(slot);
        let client = &self.clients[slot];
        let member = LeavingMember {
            member_id: client.id.clone(),
            group_instance_id: client.instance.clone(),
        };
        let (now, mut out) = (self.script.now, Vec::new());
        self.script.group.leave(now, vec![member], ticket, &mut out);
        self.restart_client(slot);
        self.take(out);
    }

    /// The client forgets everything; what it waited for is answered to nobody.
    fn restart_client(&mut self, slot: usize) {
        let client = &mut self.clients[slot];
        (client.id, client.next, client.waits_for) = (Str::default(), Next::Join, None);
        client.owned.clear();
    }

    fn restart_broker(&mut self) {
        self.open.clear();
        for client in self.clients.iter_mut().filter(|client| client.waits_for.is_some()) {
            (client.waits_for, client.next) = (None, Next::Join);
        }
        let Script { options, now, records, .. } = &self.script;
        self.script.group = Group::load(*options, *now, records);
        self.take(Vec::new());
    }

    fn delete(&mut self) {
        let (ticket, mut out) = (self.ticket(0), Vec::new());
        self.script.group.delete(ticket, &mut out);
        self.take(out);
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
                Effect::Append(Record::Group(Some(metadata))) => {
                    let step = metadata.generation - self.generation;
                    assert!((0..=1).contains(&step), "seed {}: generation {step:+}", self.seed);
                    self.generation = metadata.generation;
                }
                Effect::Append(_) => {}
                Effect::Reply(ticket, reply) => {
                    let slot = self.open.remove(&ticket);
                    let slot = slot.unwrap_or_else(|| panic!("seed {}: twice", self.seed));
                    if self.clients[slot].waits_for.as_ref() == Some(&ticket) {
                        self.clients[slot].waits_for = None;
                        self.answer(slot, reply);
                    }
                }
            }
        }
        assert_eq!(self.open.len(), self.script.group.parked(), "seed {}", self.seed);
        if self.script.group.state() == StateName::Dead {
            self.script.group = Group::new(self.script.options);
            self.owners.clear();
            self.generation = 0;
        }
    }

    fn answer(&mut self, slot: usize, reply: Reply) {
        let client = &mut self.clients[slot];
        match reply {
            Reply::Joined(joined) => {
                client.plan =
                    if joined.skip_assignment { Vec::new() } else { plan(&joined.members) };
                (client.id, client.generation) = (joined.member_id, joined.generation);
                client.next = Next::Sync;
            }
            Reply::MemberIdRequired(id) => client.id = id,
            Reply::Synced(synced) => {
                client.next = Next::Work;
                let parts = String::from_utf8(synced.assignment.to_vec()).unwrap();
                client.owned = parts.split_terminator('+').map(str::to_owned).collect();
                for part in &client.owned {
                    let owner =
                        self.owners.entry((client.generation, part.clone())).or_insert(slot);
                    assert_eq!(*owner, slot, "seed {}: {part} is owned twice", self.seed);
                }
            }
            Reply::Done | Reply::Each(_) => {}
            Reply::Beaten(_) | Reply::Refused(..) => panic!("of another protocol"),
            Reply::Failed(Error::RebalanceInProgress) if client.next == Next::Work => {
                client.next = Next::Join;
            }
            Reply::Failed(Error::RebalanceInProgress | Error::IllegalGeneration) => {
                client.next = Next::Join;
                client.owned.clear();
            }
            Reply::Failed(_) => self.restart_client(slot),
        }
    }
}

/// Deals the partitions out to the members in turn.
fn plan(members: &[JoinedMember]) -> Vec<(Str, Bytes)> {
    let part = |at: usize| {
        let parts =
            (at..PARTITIONS).step_by(members.len()).map(|partition| format!("p{partition}"));
        blob(&parts.collect::<Vec<_>>().join("+"))
    };
    members.iter().enumerate().map(|(at, member)| (member.member_id.clone(), part(at))).collect()
}
