//! Waiting for conditions, with a bound.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

/// How long a test waits for what must happen. Far beyond what anything takes, because the
/// machine may be busy with something else.
pub const PATIENCE: Duration = Duration::from_secs(10);

const POLL: Duration = Duration::from_millis(5);

/// The time. Tests measure from outside, so they read the real clock.
#[allow(clippy::disallowed_methods)]
pub fn now() -> Instant {
    Instant::now()
}

/// Waits until `condition` holds; panics with `what` when it never does.
pub fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let start = now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "waited in vain for: {what}");
        std::thread::sleep(POLL);
    }
}

/// Asks again and again for `span`; panics with `what` as soon as the condition fails.
pub fn holds_for(span: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let start = now();
    while start.elapsed() < span {
        assert!(condition(), "did not hold: {what}");
        std::thread::sleep(POLL);
    }
}

/// Sets a flag at its end, also when the test panics: threads that go on until then would
/// otherwise keep a failed test from ending.
pub struct StopAtEnd<'a>(pub &'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A gate that a test opens once; whoever waits at it goes on.
#[derive(Default)]
pub struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    /// Lets everyone through, now and later.
    pub fn open(&self) {
        *self.open.lock().expect("gate") = true;
        self.opened.notify_all();
    }

    /// Waits until the gate is open, but not for ever.
    pub fn wait(&self) {
        let open = self.open.lock().expect("gate");
        drop(
            self.opened
                .wait_timeout_while(open, PATIENCE, |open| !*open)
                .expect("gate"),
        );
    }
}
