//! When the recovery checkpoint is written: a second after something changed, on a thread of its
//! own.
//!
//! Writing it takes two syncs, of the file and of its directory. No commit waits with it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::clock::now;
use crate::volume::Shared;

/// How old the recovery checkpoint may get: what recovery has to check, and the time in which
/// damage may pass for a torn tail.
const INTERVAL: Duration = Duration::from_secs(1);

/// Whether the checkpoint on disk is behind, and who waits to hear of it.
#[derive(Default)]
pub(crate) struct Checkpointer {
    behind: AtomicBool,
    /// Whether it is wanted before its time.
    hurried: AtomicBool,
    stopped: Mutex<bool>,
    wake: Condvar,
}

impl Checkpointer {
    /// Notes that the checkpoint on disk is behind.
    pub(crate) fn note_change(&self) {
        if !self.behind.swap(true, Ordering::AcqRel) {
            let _awaited = self.stopped.lock();
            self.wake.notify_one();
        }
    }

    /// Has the checkpoint written soon, since what waits for it gets too much.
    pub(crate) fn hurry(&self) {
        if !self.hurried.swap(true, Ordering::AcqRel) {
            let _awaited = self.stopped.lock();
            self.wake.notify_one();
        }
    }

    /// Notes that what was noted before is about to be written.
    pub(crate) fn catch_up(&self) {
        self.behind.store(false, Ordering::Release);
        self.hurried.store(false, Ordering::Release);
    }

    /// Ends the thread.
    pub(crate) fn stop(&self) {
        *self.stopped.lock() = true;
        self.wake.notify_one();
    }

    /// Waits until the checkpoint is to be written; false when stopped.
    fn wait(&self) -> bool {
        let mut stopped = self.stopped.lock();
        while !*stopped && !self.behind.load(Ordering::Acquire) {
            self.wake.wait(&mut stopped);
        }
        let due = now() + INTERVAL;
        while !*stopped && !self.hurried.load(Ordering::Acquire) && now() < due {
            self.wake.wait_until(&mut stopped, due);
        }
        !*stopped
    }
}

/// The thread: ends when the volume is closed, dropped or poisoned.
pub(crate) fn run(shared: &Shared) {
    while shared.checkpointer.wait() {
        match shared.write_checkpoint(false) {
            // The next one may find room.
            Err(error) if error.is_disk_full() => {}
            Err(_) => return,
            Ok(()) => {}
        }
    }
}
