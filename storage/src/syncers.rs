//! Threads that write and sync files side by side: each waits for the disk, which takes many at
//! once.
//!
//! They are started when a round first has more than one file, and kept: a round is shorter than
//! starting a thread for each of its files.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread;

use parking_lot::Mutex;

use crate::deferred::Share;
use crate::error::{Context, Result};
use crate::fs::File;
use crate::partition::Inner;
use crate::segment::Segment;

/// Syncs at a time, that of the calling thread included.
const PARALLEL_SYNCS: usize = 4;
/// Files that are written without a sync, for each thread that takes part.
const WRITES_MIN: usize = 32;

/// The file of a segment that is written to.
pub(crate) struct Dirty {
    pub inner: Arc<Inner>,
    pub file: Arc<dyn File>,
    pub segment: Arc<Segment>,
    /// What no commit covers yet begins here,
    pub from: u64,
    /// and ends here.
    pub end: u64,
    /// What is to be written before the sync.
    pub share: Mutex<Share>,
}

impl Dirty {
    /// Bytes that no commit covers yet.
    pub(crate) fn bytes(&self) -> u64 {
        self.end - self.from
    }

    /// Writes what is to be written.
    pub(crate) fn write(&self) -> Result<()> {
        let mut share = self.share.lock();
        match &*share {
            Share::Taken(unwritten) => unwritten.write(&*self.file)?,
            Share::Noted { .. } => self.inner.write_deferred()?,
            Share::Nothing => {}
        }
        *share = Share::Nothing;
        Ok(())
    }

    /// The same, unless it is little.
    fn write_much(&self) -> Result<()> {
        if self.is_little() { Ok(()) } else { self.write() }
    }

    fn is_little(&self) -> bool {
        matches!(*self.share.lock(), Share::Noted { little: true })
    }

    /// A path is put together only for an error to name.
    fn sync(&self) -> Result<()> {
        self.write()?;
        self.file.sync_data().or_else(|error| Err(error).context("sync", &self.segment.path()))
    }
}

/// They end when this is dropped.
#[derive(Default)]
pub(crate) struct Syncers(OnceLock<Vec<Sender<Job>>>);

type Job = (Arc<Round>, Sender<Result<()>>);

/// What is to be done with each of some files, by whoever comes to it first.
struct Round {
    files: Arc<[Dirty]>,
    work: fn(&Dirty) -> Result<()>,
    next: AtomicUsize,
}

impl Syncers {
    /// Writes and syncs the data of all files; when it returns, no sync is under way.
    ///
    /// # Errors
    /// That of one file that failed; others may not have been synced either.
    pub(crate) fn sync(&self, files: &Arc<[Dirty]>) -> Result<()> {
        match &files[..] {
            [one] => one.sync(),
            _ => self.each(files, Dirty::sync, files.len(), || ()).1,
        }
    }

    /// Writes what is to be written to all files, where it is `much` only, while this thread does
    /// `meanwhile`.
    ///
    /// # Errors
    /// That of one file that failed; others may not have been written either.
    pub(crate) fn write<T>(
        &self,
        files: &Arc<[Dirty]>,
        much: bool,
        meanwhile: impl FnOnce() -> T,
    ) -> (T, Result<()>) {
        let writes = files.iter().filter(|file| !(much && file.is_little())).count();
        let work = if much { Dirty::write_much } else { Dirty::write };
        self.each(files, work, writes / WRITES_MIN, meanwhile)
    }

    /// Has up to `threads`, this one included, do the work.
    fn each<T>(
        &self,
        files: &Arc<[Dirty]>,
        work: fn(&Dirty) -> Result<()>,
        threads: usize,
        meanwhile: impl FnOnce() -> T,
    ) -> (T, Result<()>) {
        let others = threads.min(PARALLEL_SYNCS).saturating_sub(1);
        let round = Arc::new(Round { files: files.clone(), work, next: AtomicUsize::new(0) });
        let (done, results) = channel();
        let threads = self.0.get_or_init(start).iter().take(others);
        let ask = |thread: &&Sender<Job>| thread.send((round.clone(), done.clone())).is_ok();
        let asked = threads.filter(ask).count();
        let other = meanwhile();
        let own = round.run();
        let answer = || results.recv().expect("a sync does not panic");
        (other, (0..asked).map(|_| answer()).fold(own, Result::and))
    }
}

impl Round {
    fn run(&self) -> Result<()> {
        while let Some(file) = self.files.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            (self.work)(file)?;
        }
        Ok(())
    }
}

/// As many as the system gives; what they do not do, the calling thread does.
fn start() -> Vec<Sender<Job>> {
    let thread = |_| {
        let (jobs, asked) = channel();
        let thread = thread::Builder::new().name("log-sync".into());
        thread.spawn(move || serve(&asked)).is_ok().then_some(jobs)
    };
    (1..PARALLEL_SYNCS).map_while(thread).collect()
}

fn serve(jobs: &Receiver<Job>) {
    for (round, done) in jobs {
        // Whoever asked waits for this.
        let _ = done.send(round.run());
    }
}
