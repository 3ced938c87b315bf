//! A file system in memory that can lose, reorder and refuse.
//!
//! It keeps what programs see (live) apart from what a crash leaves (durable). Until a sync, each
//! write waits in pieces of one block, and each changed entry of a directory waits too. A crash
//! keeps any version of each block and each entry: later blocks without earlier ones, too. A failed
//! sync drops what it should have written and, as Linux does, reports success the next time.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind, IoSlice};
use std::ops::Range;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use tidelog_storage::Map;
use tidelog_storage::Space;
use tidelog_storage::fs::{Entry, File, Fs};

use super::random::Random;

#[derive(Clone)]
pub(crate) struct Faulty(Arc<Mutex<State>>);

struct State {
    nodes: Vec<Node>,
    /// Calls that change something, so far.
    calls: u64,
    syncs: u64,
    reservations: u64,
    reads: u64,
    unreadable: Option<usize>,
    /// Each with the call that meets it.
    faults: Vec<(u64, Fault)>,
    random: Random,
    /// Where the last write was cut short.
    short: Option<(usize, usize)>,
    sync_fails: bool,
    /// Whether all files can be synced at once.
    has_syncfs: bool,
    bug: Option<Bug>,
    /// Done while the next file is synced.
    during_sync: Option<Deed>,
    /// Done before the next such call for this file.
    before: Option<(Call, usize, Deed)>,
    /// Bytes it has, and those that its files may take.
    space: (u64, u64),
}

/// What a test does beside the program.
type Deed = Box<dyn FnOnce() + Send>;

/// What happens at a certain call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It fails once, and a write or sync may have done a part.
    Fails(ErrorKind),
    /// It and all after it fail: the process is dead.
    Dies,
}

/// A call that changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Open,
    Map,
    Read,
}

/// A mistake that programs make, put between the program and its files: what tests that find
/// mistakes have to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// Files are not synced before it is said that they are.
    FileNotSynced,
    /// A failed sync passes for one that worked.
    FailureIgnored,
    /// A segment has its name from the start, before the one before it is durable.
    NamedTooEarly,
}

enum Node {
    Dir { live: Entries, durable: Entries },
    File { live: Vec<u8>, durable: Vec<u8>, pending: Vec<Change> },
}

type Entries = BTreeMap<String, usize>;

#[derive(Clone)]
enum Change {
    Write { position: usize, bytes: Vec<u8> },
    SetLen(usize),
}

const BLOCK: usize = 4096;
const ROOT: usize = 0;

impl Faulty {
    pub(crate) fn new(seed: u64) -> Self {
        let root = Node::Dir { live: Entries::new(), durable: Entries::new() };
        Self(Arc::new(Mutex::new(State::new(vec![root], seed))))
    }

    /// One on a system that cannot sync all files at once.
    pub(crate) fn without_syncfs(seed: u64) -> Self {
        let fs = Self::new(seed);
        fs.state().has_syncfs = false;
        fs
    }

    /// Has the call after the next `calls` ones fail.
    pub(crate) fn fault_after(&self, calls: u64, fault: Fault) {
        let mut state = self.state();
        state.faults = vec![(state.calls + calls + 1, fault)];
    }

    /// Has one more call fail, after that.
    pub(crate) fn then_fault_after(&self, calls: u64, fault: Fault) {
        let mut state = self.state();
        let last = state.faults.last().expect("a fault before it").0;
        state.faults.push((last + calls + 1, fault));
    }

    /// Calls so far.
    pub(crate) fn calls(&self) -> u64 {
        self.state().calls
    }

    /// Syncs of files and directories so far.
    pub(crate) fn syncs(&self) -> u64 {
        self.state().syncs
    }

    /// How often space was reserved so far.
    pub(crate) fn reservations(&self) -> u64 {
        self.state().reservations
    }

    /// Reads so far, but for maps.
    pub(crate) fn reads(&self) -> u64 {
        self.state().reads
    }

    /// Has every read of a file fail. Who maps it ends, as who touches such a page of a map does.
    pub(crate) fn unreadable(&self, path: &Path) {
        let mut state = self.state();
        state.unreadable = Some(state.find(path).unwrap());
    }

    /// Has all files be readable.
    pub(crate) fn readable(&self) {
        self.state().unreadable = None;
    }

    /// Has the next sync of a file fail.
    pub(crate) fn fail_next_sync(&self) {
        self.state().sync_fails = true;
    }

    /// Has the program make a mistake from now on, after crashes too.
    pub(crate) fn seed(&self, bug: Bug) {
        self.state().bug = Some(bug);
    }

    /// Does something else while the next file is synced.
    pub(crate) fn during_sync(&self, what: impl FnOnce() + Send + 'static) {
        self.state().during_sync = Some(Box::new(what));
    }

    /// Does something else before the next such call for a file.
    pub(crate) fn before(&self, call: Call, path: &Path, what: impl FnOnce() + Send + 'static) {
        let mut state = self.state();
        let node = state.find(path).unwrap();
        state.before = Some((call, node, Box::new(what)));
    }

    /// Has it be one of `total` bytes, of which `free` are free now. What goes past them is written
    /// all the same.
    pub(crate) fn leave_free(&self, free: u64, total: u64) {
        let mut state = self.state();
        state.space = (total, free + state.used(ROOT));
    }

    /// A new process on the same machine: nothing is lost, and nothing fails any more.
    pub(crate) fn revive(&self) {
        let mut state = self.state();
        state.faults.clear();
        state.unreadable = None;
        state.sync_fails = false;
    }

    /// Whether the fault was met.
    pub(crate) fn faulted(&self) -> bool {
        let state = self.state();
        state.faults.iter().any(|(at, _)| state.calls >= *at)
    }

    /// What the disk may hold after a power cut now.
    pub(crate) fn crash(&self, seed: u64) -> Self {
        let mut random = Random::new(seed);
        // Some crashes keep nearly all, some nearly nothing, so that both ends are met.
        let keep_of_8 = random.below(9);
        let mut kept = || random.below(8) < keep_of_8;
        let nodes = self.state().nodes.iter().map(|node| node.crash(&mut kept)).collect();
        let mut crashed = State::new(nodes, seed.wrapping_add(1));
        {
            let State { has_syncfs, bug, space, .. } = *self.state();
            (crashed.has_syncfs, crashed.bug, crashed.space) = (has_syncfs, bug, space);
        }
        Self(Arc::new(Mutex::new(crashed)))
    }

    /// The live bytes of a file.
    pub(crate) fn contents(&self, path: &Path) -> Vec<u8> {
        let mut state = self.state();
        let node = state.find(path).unwrap();
        state.file(node).0.clone()
    }

    /// Changes a file behind everyone's back, durably.
    pub(crate) fn overwrite(&self, path: &Path, contents: Vec<u8>) {
        let mut state = self.state();
        let node = state.find(path).unwrap();
        let durable = contents.clone();
        state.nodes[node] = Node::File { live: contents, durable, pending: Vec::new() };
    }

    /// Removes a file behind everyone's back, durably.
    pub(crate) fn remove(&self, path: &Path) {
        let mut state = self.state();
        let (live, durable, name) = state.parent(path).unwrap();
        live.remove(&name);
        durable.remove(&name);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Does what is to be done before this call.
    fn met(&self, call: Call, node: usize) {
        let before = self.state().before.take_if(|it| (it.0, it.1) == (call, node));
        if let Some((_, _, what)) = before {
            what();
        }
    }

    /// Where a file is that the program has at `path`.
    fn place(&self, path: &Path) -> PathBuf {
        let early = self.state().bug == Some(Bug::NamedTooEarly);
        let next = path.extension().is_some_and(|extension| extension == "next");
        if early && next { path.with_extension("") } else { path.to_owned() }
    }

    fn open(&self, node: usize) -> Arc<dyn File> {
        Arc::new(Opened { fs: self.clone(), node })
    }
}

impl Node {
    fn crash(&self, kept: &mut impl FnMut() -> bool) -> Self {
        match self {
            Self::Dir { live, durable } => {
                let mut entries = durable.clone();
                for name in live.keys().chain(durable.keys()) {
                    if live.get(name) != durable.get(name) && kept() {
                        match live.get(name) {
                            Some(node) => entries.insert(name.clone(), *node),
                            None => entries.remove(name),
                        };
                    }
                }
                Self::Dir { live: entries.clone(), durable: entries }
            }
            Self::File { durable, pending, .. } => {
                let mut bytes = durable.clone();
                let mut lost = BTreeSet::new();
                for change in pending {
                    if lost.contains(&change.block()) || !kept() {
                        lost.insert(change.block());
                    } else {
                        change.apply(&mut bytes);
                    }
                }
                Self::File { live: bytes.clone(), durable: bytes, pending: Vec::new() }
            }
        }
    }
}

impl Change {
    /// The block it is in. A block reaches the disk as it was at some time: with one change, all
    /// earlier ones. Lengths are in the journal.
    fn block(&self) -> Option<usize> {
        match self {
            Self::SetLen(_) => None,
            Self::Write { position, .. } => Some(position / BLOCK),
        }
    }

    fn apply(&self, file: &mut Vec<u8>) {
        match self {
            Self::SetLen(len) => file.resize(*len, 0),
            Self::Write { position, bytes } => {
                let end = position + bytes.len();
                if file.len() < end {
                    file.resize(end, 0);
                }
                file[*position..end].copy_from_slice(bytes);
            }
        }
    }
}

impl State {
    /// These files on a disk of a TiB, with which nothing has happened yet.
    fn new(nodes: Vec<Node>, seed: u64) -> Self {
        Self {
            nodes,
            calls: 0,
            syncs: 0,
            reservations: 0,
            reads: 0,
            unreadable: None,
            faults: Vec::new(),
            random: Random::new(seed),
            short: None,
            sync_fails: false,
            has_syncfs: true,
            bug: None,
            during_sync: None,
            before: None,
            space: (1 << 40, 1 << 40),
        }
    }

    /// Counts a call; the fault if it is this one's.
    fn call(&mut self) -> io::Result<()> {
        self.calls += 1;
        let failed = self.faults.iter().find_map(|(at, fault)| match fault {
            Fault::Dies => (self.calls >= *at).then(|| io::Error::other("dead")),
            Fault::Fails(kind) => (self.calls == *at).then(|| (*kind).into()),
        });
        failed.map_or(Ok(()), Err)
    }

    /// Bytes in a file, or in all that a directory holds.
    fn used(&self, node: usize) -> u64 {
        match &self.nodes[node] {
            Node::Dir { live, .. } => live.values().map(|node| self.used(*node)).sum(),
            Node::File { live, .. } => live.len() as u64,
        }
    }

    fn find(&self, path: &Path) -> io::Result<usize> {
        let mut node = ROOT;
        for component in path.components() {
            let Component::Normal(name) = component else { continue };
            let Node::Dir { live, .. } = &self.nodes[node] else {
                return Err(ErrorKind::NotADirectory.into());
            };
            node = *live.get(name.to_str().unwrap()).ok_or(ErrorKind::NotFound)?;
        }
        Ok(node)
    }

    /// The entries of the directory that holds `path`, and the name there.
    fn parent(&mut self, path: &Path) -> io::Result<(&mut Entries, &mut Entries, String)> {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let node = self.find(path.parent().unwrap())?;
        match &mut self.nodes[node] {
            Node::Dir { live, durable } => Ok((live, durable, name)),
            Node::File { .. } => Err(ErrorKind::NotADirectory.into()),
        }
    }

    fn add(&mut self, path: &Path, node: Node) -> io::Result<usize> {
        let number = self.nodes.len();
        let (live, _, name) = self.parent(path)?;
        live.insert(name, number);
        self.nodes.push(node);
        Ok(number)
    }

    fn file(&mut self, node: usize) -> (&mut Vec<u8>, &mut Vec<u8>, &mut Vec<Change>) {
        match &mut self.nodes[node] {
            Node::File { live, durable, pending } => (live, durable, pending),
            Node::Dir { .. } => panic!("not a file"),
        }
    }

    fn change(&mut self, node: usize, change: Change) {
        let short = self.short.take();
        let (live, _, pending) = self.file(node);
        change.apply(live);
        // The rest of a short write follows at once: no version of the block lies in between.
        if let (Some(last), Change::Write { position, bytes }) = (pending.last_mut(), &change)
            && short == Some((node, *position))
            && last.block() == change.block()
            && let Change::Write { bytes: start, .. } = last
        {
            start.extend_from_slice(bytes);
            return;
        }
        pending.push(change);
    }

    fn sync(&mut self, node: usize) {
        match &mut self.nodes[node] {
            Node::Dir { live, durable } => *durable = live.clone(),
            Node::File { live, durable, pending } => {
                *durable = live.clone();
                pending.clear();
            }
        }
    }

    /// A failed sync: some of it reached the disk, and the rest never will.
    fn drop_pending(&mut self, node: usize) {
        let mut random = Random::new(self.random.next());
        let mut kept = || random.below(2) == 0;
        if let Node::File { live, .. } = &self.nodes[node] {
            let live = live.clone();
            let mut crashed = self.nodes[node].crash(&mut kept);
            if let Node::File { live: seen, .. } = &mut crashed {
                *seen = live;
            }
            self.nodes[node] = crashed;
        }
    }
}

impl Fs for Faulty {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let path = &self.place(path);
        let mut state = self.state();
        state.call()?;
        let node = match state.find(path) {
            Ok(node) => node,
            Err(_) => {
                let (live, durable, pending) = (Vec::new(), Vec::new(), Vec::new());
                state.add(path, Node::File { live, durable, pending })?
            }
        };
        Ok(self.open(node))
    }
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let path = &self.place(path);
        let node = self.state().find(path)?;
        self.met(Call::Open, node);
        let node = self.state().find(path)?;
        Ok(self.open(node))
    }
    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Fs::open(self, path)
    }
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        if state.find(path).is_ok() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        state.parent(path)?;
        state.call()?;
        let (live, durable) = (Entries::new(), Entries::new());
        state.add(path, Node::Dir { live, durable }).map(|_| ())
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let from = &self.place(from);
        let mut state = self.state();
        state.call()?;
        if from == to {
            return Ok(());
        }
        let node = state.find(from)?;
        // Moving a directory to another is one step of the journal.
        let journaled = matches!(state.nodes[node], Node::Dir { .. });
        let (live, durable, name) = state.parent(from)?;
        live.remove(&name);
        if journaled {
            durable.remove(&name);
        }
        let (live, durable, name) = state.parent(to)?;
        live.insert(name.clone(), node);
        if journaled {
            durable.insert(name, node);
        }
        Ok(())
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.call()?;
        let (live, _, name) = state.parent(path)?;
        live.remove(&name).map(|_| ()).ok_or(ErrorKind::NotFound.into())
    }
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.remove_file(path)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let state = self.state();
        let node = state.find(dir)?;
        let Node::Dir { live, .. } = &state.nodes[node] else {
            return Err(ErrorKind::NotADirectory.into());
        };
        let entry = |(name, node): (&String, &usize)| match &state.nodes[*node] {
            Node::Dir { .. } => Entry { name: name.clone(), len: 0, is_dir: true },
            Node::File { live, .. } => {
                Entry { name: name.clone(), len: live.len() as u64, is_dir: false }
            }
        };
        Ok(live.iter().map(entry).collect())
    }
    fn space(&self, _path: &Path) -> io::Result<Space> {
        let state = self.state();
        let (total_bytes, most) = state.space;
        Ok(Space { usable_bytes: most.saturating_sub(state.used(ROOT)), total_bytes })
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        let node = state.find(dir)?;
        state.call()?;
        state.syncs += 1;
        state.sync(node);
        Ok(())
    }
    fn lock(&self, _path: &Path) -> io::Result<Option<Box<dyn Any + Send + Sync>>> {
        Ok(Some(Box::new(())))
    }
}

struct Opened {
    fs: Faulty,
    node: usize,
}

impl File for Opened {
    fn write_at(&self, parts: &[IoSlice<'_>], position: u64) -> io::Result<usize> {
        let mut state = self.fs.state();
        let bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        let start = position as usize;
        let failed = state.call();
        // A write that fails or is cut short did some of its work.
        let whole = failed.is_ok() && state.random.below(4) > 0;
        let written = match (&failed, whole) {
            (_, true) => bytes.len(),
            // An interrupted write did nothing, or it would be a short one.
            (Err(error), _) if error.kind() == ErrorKind::Interrupted => 0,
            (Err(_), _) => state.random.below(bytes.len() as u64) as usize,
            (Ok(()), _) => 1 + state.random.below(bytes.len() as u64) as usize,
        };
        let mut at = 0;
        while at < written {
            let end = written.min(at + BLOCK - (start + at) % BLOCK);
            let change = Change::Write { position: start + at, bytes: bytes[at..end].to_vec() };
            state.change(self.node, change);
            at = end;
        }
        state.short = (written < bytes.len()).then_some((self.node, start + written));
        failed.map(|()| written)
    }
    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        self.fs.met(Call::Read, self.node);
        let mut state = self.fs.state();
        state.reads += 1;
        if state.unreadable == Some(self.node) {
            return Err(io::Error::other("a bad sector"));
        }
        let (live, ..) = state.file(self.node);
        let from = live.len().min(position as usize);
        let len = buf.len().min(live.len() - from);
        buf[..len].copy_from_slice(&live[from..from + len]);
        Ok(len)
    }
    fn size(&self) -> io::Result<u64> {
        Ok(self.fs.state().file(self.node).0.len() as u64)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.fs.state();
        state.call()?;
        state.change(self.node, Change::SetLen(len as usize));
        Ok(())
    }
    fn allocate(&self, range: Range<u64>) -> io::Result<()> {
        let mut state = self.fs.state();
        state.call()?;
        state.reservations += 1;
        if state.file(self.node).0.len() < range.end as usize {
            state.change(self.node, Change::SetLen(range.end as usize));
        }
        Ok(())
    }
    fn sync_data(&self) -> io::Result<()> {
        let during_sync = self.fs.state().during_sync.take();
        let during_sync_ran = during_sync.is_some();
        if let Some(what) = during_sync {
            self.fs.state().sync(self.node);
            what();
        }
        let mut state = self.fs.state();
        state.syncs += 1;
        let refused = std::mem::take(&mut state.sync_fails).then(|| io::Error::other("refused"));
        if let Some(error) = state.call().err().or(refused) {
            state.drop_pending(self.node);
            return if state.bug == Some(Bug::FailureIgnored) { Ok(()) } else { Err(error) };
        }
        // What was written during the sync may have come too late for it.
        if during_sync_ran || state.bug == Some(Bug::FileNotSynced) {
            return Ok(());
        }
        state.sync(self.node);
        Ok(())
    }
    fn sync_filesystem(&self) -> io::Result<()> {
        let mut state = self.fs.state();
        if !state.has_syncfs {
            return Err(ErrorKind::Unsupported.into());
        }
        let failed = state.call();
        for node in 0..state.nodes.len() {
            match &failed {
                Ok(()) => state.sync(node),
                Err(_) => state.drop_pending(node),
            }
        }
        failed
    }
    fn drop_cache(&self, range: Range<u64>) -> io::Result<()> {
        assert!(range.start <= range.end, "{range:?}");
        let mut state = self.fs.state();
        let (live, durable, pending) = state.file(self.node);
        let mut on_disk = durable.clone();
        pending.iter().for_each(|change| change.apply(&mut on_disk));
        on_disk.resize(live.len(), 0);
        let end = live.len().min(range.end as usize);
        let range = end.min(range.start as usize)..end;
        live[range.clone()].copy_from_slice(&on_disk[range]);
        Ok(())
    }
    fn map(&self, published: u64) -> io::Result<Map> {
        self.fs.met(Call::Map, self.node);
        let mut state = self.fs.state();
        let unreadable = state.unreadable == Some(self.node);
        let (live, ..) = state.file(self.node);
        let live = live[..live.len().min(published as usize)].to_vec();
        drop(state);
        match unreadable {
            true => Err(io::Error::other("the disk cannot give it")),
            false => Ok(Map::copied(live)),
        }
    }
}
