//! How often random tests are run: a few times, or many.

/// `count` runs, times what `TIDELOG_TEST_ITERATIONS` says.
pub(crate) fn iterations(count: u64) -> u64 {
    let factor = std::env::var("TIDELOG_TEST_ITERATIONS").ok();
    count * factor.and_then(|factor| factor.parse().ok()).unwrap_or(1)
}
