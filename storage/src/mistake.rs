//! Mistakes that this crate's tests have an engine make, to see that they would be found.
//!
//! **Only with the feature `mistakes`, which nothing but these tests turns on**: without it no
//! engine makes any, and the compiler leaves the questions out.

#[cfg(feature = "mistakes")]
use std::sync::OnceLock;

/// What an engine may do wrong.
#[cfg_attr(not(feature = "mistakes"), expect(unreachable_pub, reason = "only tests name it"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// The high watermark moves before the sync, not after it.
    AcknowledgesBeforeSync,
    /// Directories in which files were made are not synced.
    SkipsDirectorySync,
    /// What an ended process wrote is believed as it reads, without a sync.
    SkipsRecoverySync,
    /// Recovery leaves the last batch out.
    DropsTheLastBatch,
    /// A batch that is sent again is appended again.
    AppendsARetry,
    /// A failed sync of a log passes for one that worked.
    IgnoresASyncError,
    /// A batch can be read as soon as it is appended.
    PublishesBeforeSync,
    /// Reads start where the index leads, which is one entry too far.
    FollowsAStaleIndex,
}

/// The mistake that the engine of a volume makes, if any.
#[derive(Default)]
pub(crate) struct Mistakes(#[cfg(feature = "mistakes")] OnceLock<Mistake>);

impl Mistakes {
    /// Whether it is this one.
    #[cfg(feature = "mistakes")]
    pub(crate) fn made(&self, mistake: Mistake) -> bool {
        self.0.get() == Some(&mistake)
    }

    /// It is not.
    #[cfg(not(feature = "mistakes"))]
    pub(crate) const fn made(&self, _: Mistake) -> bool {
        false
    }

    /// Has this one made from now on.
    #[cfg(feature = "mistakes")]
    pub(crate) fn seed(&self, mistake: Mistake) {
        let _only_one = self.0.set(mistake);
    }
}
