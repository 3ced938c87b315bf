//! How often random tests are run: a few times, or many.

/// `count` runs, times what `TIDELOG_TEST_ITERATIONS` says; without end if it says `forever`.
pub(crate) fn iterations(count: u64) -> u64 {
    match std::env::var("TIDELOG_TEST_ITERATIONS").as_deref() {
        Ok("forever") => u64::MAX,
        Ok(factor) => count * factor.parse::<u64>().expect("a number, or forever"),
        Err(_) => count,
    }
}
