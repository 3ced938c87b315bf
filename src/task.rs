//! Work handed to another thread or task, with its panic handed back to whoever waits for it.

use std::panic::resume_unwind;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::block_in_place;

/// Runs what reads, writes or syncs files on one of the blocking threads, so that the async
/// workers go on serving sockets meanwhile.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    begin_blocking(work).await
}

/// The same, begun at once: what is begun first gets its thread first, and all of it is carried
/// out, also if nobody waits for it.
pub fn begin_blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> impl Future<Output = T> + Send + 'static {
    let begun = tokio::task::spawn_blocking(work);
    async {
        match begun.await {
            Ok(value) => value,
            // Started or not, such work is never cancelled: what is left is a panic.
            Err(error) => resume_unwind(error.into_panic()),
        }
    }
}

/// Runs what waits for files here and now, since what comes next must not come before it. The other
/// tasks of an async worker go on in another thread meanwhile, which costs more than [`blocking`]:
/// for what is rare.
pub fn in_place<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => block_in_place(work),
        // One of a single thread has none to go on in.
        _ => work(),
    }
}

/// Runs a change in a task of its own, which ends with the change and not with a caller who hangs
/// up in the middle of it.
pub async fn to_the_end<T: Send + 'static>(change: impl Future<Output = T> + Send + 'static) -> T {
    match tokio::spawn(change).await {
        Ok(value) => value,
        // Cancelled: the process is ending, and with it the caller.
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            Err(_) => std::future::pending().await,
        },
    }
}
