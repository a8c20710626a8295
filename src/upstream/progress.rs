//! How far a request body is, and whom it waits for.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::fault::BodyFault;

/// Whom a request body waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// The client, to send more: its own timers hold.
    Client,
    /// The upstream, to take more, since that moment: the attempt's timers hold.
    Upstream(Instant),
}

/// How far a request body is. Shared between the body and the walk.
#[derive(Debug)]
pub struct Progress {
    born: Instant,
    received: AtomicU64,
    since_us: AtomicU64,
    state: AtomicU8,
}

const FLOWING: u8 = 0;
const AWAITS_CLIENT: u8 = 1;
const DONE: u8 = 2;
const FAULT: u8 = 3;

impl Progress {
    /// The body ended well.
    pub(super) fn finish(&self) {
        self.set(DONE);
    }

    pub(super) fn new(now: Instant) -> Progress {
        Progress {
            born: now,
            received: AtomicU64::new(0),
            since_us: AtomicU64::new(0),
            state: AtomicU8::new(FLOWING),
        }
    }

    /// Bytes received so far.
    pub fn received(&self) -> u64 {
        self.received.load(Relaxed)
    }

    /// Whether the body ended well.
    pub fn done(&self) -> bool {
        self.state.load(Relaxed) == DONE
    }

    /// Why the body failed, if it did.
    pub fn fault(&self) -> Option<BodyFault> {
        match self.state.load(Relaxed).checked_sub(FAULT)? {
            0 => Some(BodyFault::TooLarge),
            1 => Some(BodyFault::TooSlow),
            2 => Some(BodyFault::Malformed),
            _ => Some(BodyFault::Gone),
        }
    }

    /// Whom the body waits for.
    pub fn waiting(&self) -> Waiting {
        if self.state.load(Relaxed) == AWAITS_CLIENT {
            return Waiting::Client;
        }
        Waiting::Upstream(self.born + Duration::from_micros(self.since_us.load(Relaxed)))
    }

    /// So many bytes more were received; how many it makes in all.
    pub(super) fn add(&self, bytes: u64) -> u64 {
        let received = self.received() + bytes;
        self.received.store(received, Relaxed);
        received
    }

    /// Nothing more has come from the client.
    pub(super) fn await_client(&self) {
        self.set(AWAITS_CLIENT);
    }

    fn set(&self, state: u8) {
        self.state.store(state, Relaxed);
    }

    /// The client sent something.
    pub(super) fn moved_on(&self, now: Instant) {
        self.set(FLOWING);
        let since = now.saturating_duration_since(self.born);
        self.since_us.store(since.as_micros() as u64, Relaxed);
    }

    /// It did not end well.
    pub(super) fn fail(&self, fault: BodyFault) -> BodyFault {
        self.set(FAULT + fault as u8);
        fault
    }
}
