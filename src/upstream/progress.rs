//! How far a request body is, and whom it waits for.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
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
    /// CRC-32C of what was received, as long as it is no more than `digested` bytes.
    checksum: AtomicU32,
    digested: AtomicU32,
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
            checksum: AtomicU32::new(0),
            digested: AtomicU32::new(0),
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

    /// Has a digest made of the body as it passes, if it is no longer than `most` bytes. Asked for
    /// before anything of it is read.
    pub fn digest_up_to(&self, most: u32) {
        self.digested.store(most, Relaxed);
    }

    /// A digest of the body, once all of it came, if one was asked for: its length and its CRC-32C.
    /// That of nothing is 0.
    pub fn digest(&self) -> Option<u64> {
        let (received, most) = (self.received(), self.digested.load(Relaxed));
        let made = most > 0 && received <= u64::from(most);
        (made && self.done()).then(|| received << 32 | u64::from(self.checksum.load(Relaxed)))
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

    /// More was received; how many bytes it makes in all.
    pub(super) fn add(&self, data: &[u8]) -> u64 {
        let received = self.received() + data.len() as u64;
        self.received.store(received, Relaxed);
        if received <= u64::from(self.digested.load(Relaxed)) {
            let before = self.checksum.load(Relaxed);
            let checksum = crc32c::crc32c_append(before, data);
            self.checksum.store(checksum, Relaxed);
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocab::Clock;

    fn digest(digested: u32, pieces: &[&str]) -> Option<u64> {
        let progress = Progress::new(Clock::now());
        progress.digest_up_to(digested);
        for piece in pieces {
            progress.add(piece.as_bytes());
            assert_eq!(progress.digest(), None, "not all of it came");
        }
        progress.finish();
        progress.digest()
    }

    #[test]
    fn a_body_has_one_digest_in_whatever_pieces_it_comes() {
        let whole = digest(8, &["onetwo"]);
        assert!(whole.is_some());
        assert_eq!(digest(8, &["one", "", "two"]), whole);
        assert_eq!(digest(6, &["o", "netwo"]), whole);
        assert_ne!(digest(8, &["onetwO"]), whole);
        assert_ne!(digest(8, &["onetwo\0"]), whole);
        assert_eq!(digest(8, &[]), Some(0));
    }

    #[test]
    fn one_byte_more_than_is_digested_has_none() {
        assert_eq!(digest(5, &["onetwo"]), None);
        assert_eq!(digest(5, &["one", "two"]), None);
        assert_eq!(digest(0, &["one"]), None);
        assert_eq!(digest(0, &[]), None);
    }

    #[test]
    fn a_body_that_did_not_end_well_has_none() {
        let progress = Progress::new(Clock::now());
        progress.digest_up_to(8);
        progress.add(b"one");
        progress.fail(BodyFault::Gone);
        assert_eq!(progress.digest(), None);
    }
}
