//! Whether delivered records have reached whoever asked for them.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

/// Written by who sends the records on, read by who commits them.
pub struct Receipt {
    sent: AtomicBool,
    is_lost: Box<dyn Fn() -> bool + Send + Sync>,
}

impl Receipt {
    /// For records that are not sent yet; `is_lost` says whether they are lost after all when they
    /// were.
    pub fn new(is_lost: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self { sent: AtomicBool::new(false), is_lost: Box::new(is_lost) }
    }

    /// All is sent.
    pub fn sent(&self) {
        self.sent.store(true, Ordering::Release);
    }

    /// Whether all is sent, and not lost as far as is known.
    pub fn has_arrived(&self) -> bool {
        self.sent.load(Ordering::Acquire) && !(self.is_lost)()
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receipt").field("has_arrived", &self.has_arrived()).finish()
    }
}
