//! Work that was given to a task of its own and is waited for as if it were done here.

use std::{future::pending, panic::resume_unwind};

use tokio::task::JoinHandle;

/// What the task comes to. It runs on when whoever waits goes away. A panic of it goes
/// on here.
pub(crate) async fn joined<T>(task: JoinHandle<T>) -> T {
    match task.await {
        Ok(value) => value,
        Err(lost) => match lost.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            // Nobody aborts it: the runtime ends, and whoever waits with it.
            Err(_) => pending().await,
        },
    }
}
