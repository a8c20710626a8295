//! A task beside control that ends with whoever started it.

use std::future::Future;

use tokio::task::JoinHandle;

/// Aborted when dropped.
#[derive(Debug)]
pub(super) struct Errand(JoinHandle<()>);

impl Errand {
    /// Starts it on the runtime of the caller.
    pub(super) fn start(task: impl Future<Output = ()> + Send + 'static) -> Errand {
        Errand(tokio::spawn(task))
    }

    /// Whether it has ended, or panicked.
    pub(super) fn is_over(&self) -> bool {
        self.0.is_finished()
    }
}

impl Drop for Errand {
    fn drop(&mut self) {
        self.0.abort();
    }
}
