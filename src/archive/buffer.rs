//! `max_buffer`: the bytes of requests on their way to the journal, counted before they are
//! read. A channel alone would count requests, and 1,000 of 1 MiB are 1 GiB.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::options::Busy;

/// Counted for each record beside its body: what a small record holds in memory.
const RECORD_BYTES: u64 = 1024;

#[derive(Debug)]
pub(crate) struct Buffer {
    taken: AtomicU64,
    limit: AtomicU64,
}

impl Buffer {
    pub(crate) fn new(limit: u64) -> Arc<Buffer> {
        Arc::new(Buffer {
            taken: AtomicU64::new(0),
            limit: AtomicU64::new(limit),
        })
    }

    pub(crate) fn set_limit(&self, limit: u64) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    pub(crate) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    pub(crate) fn reserve(self: &Arc<Buffer>, bytes: u64) -> Result<Reservation, Busy> {
        let mut reservation = Reservation {
            buffer: self.clone(),
            bytes: 0,
        };
        reservation.grow(bytes.saturating_add(RECORD_BYTES))?;
        Ok(reservation)
    }
}

/// Room in the buffer; given back on drop.
#[derive(Debug)]
pub struct Reservation {
    buffer: Arc<Buffer>,
    bytes: u64,
}

impl Reservation {
    /// Takes more room: before the next chunk of a body of unknown length is read.
    ///
    /// # Errors
    /// There is none. What was taken stays taken.
    pub fn grow(&mut self, bytes: u64) -> Result<(), Busy> {
        let limit = self.buffer.limit.load(Ordering::Relaxed);
        let add = |taken: u64| taken.checked_add(bytes).filter(|sum| *sum <= limit);
        let taken = &self.buffer.taken;
        match taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add) {
            Ok(_) => {
                self.bytes += bytes;
                Ok(())
            }
            Err(_) => Err(Busy),
        }
    }

    /// Bytes taken, with what is counted for each record.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.buffer.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_bounded_grows_and_is_given_back() {
        let buffer = Buffer::new(2 * RECORD_BYTES + 100);
        let mut first = buffer.reserve(50).unwrap();
        let second = buffer.reserve(50).unwrap();
        assert_eq!(first.grow(1), Err(Busy));
        assert!(buffer.reserve(0).is_err());
        assert!(buffer.reserve(u64::MAX).is_err());
        drop(second);
        assert_eq!(first.grow(50), Ok(()));
        assert_eq!(first.bytes(), RECORD_BYTES + 100);
        drop(first);
        assert_eq!(buffer.taken(), 0);
    }
}
