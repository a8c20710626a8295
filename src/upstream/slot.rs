//! Where each worker's pool keeps the connections to one endpoint.
//!
//! Addresses come and go with each resolution, so places are used again. A place is free only once
//! its endpoint and every connection to it are gone: a connection never reaches another address.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// One place, held by its endpoint and by each connection to it.
#[derive(Debug)]
pub(super) struct Slot {
    index: usize,
    retired: AtomicBool,
}

#[derive(Debug)]
struct Places {
    used: usize,
    free: Vec<usize>,
}

static PLACES: Mutex<Places> = Mutex::new(Places {
    used: 0,
    free: Vec::new(),
});

fn places() -> MutexGuard<'static, Places> {
    PLACES.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Slot {
    /// A place that nobody holds.
    pub(super) fn take() -> Arc<Slot> {
        let mut places = places();
        let index = places.free.pop().unwrap_or_else(|| {
            places.used += 1;
            places.used - 1
        });
        Arc::new(Slot {
            index,
            retired: AtomicBool::new(false),
        })
    }

    /// Its number; small, for an index.
    pub(super) fn index(&self) -> usize {
        self.index
    }

    /// The endpoint is gone: its idle connections need not be kept.
    pub(super) fn retire(&self) {
        self.retired.store(true, Relaxed);
    }

    /// Whether the endpoint is gone.
    pub(super) fn is_retired(&self) -> bool {
        self.retired.load(Relaxed)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        places().free.push(self.index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_used_again_only_once_its_last_connection_is_gone() {
        let endpoint = Slot::take();
        let connection = Arc::clone(&endpoint);
        let index = endpoint.index();
        endpoint.retire();
        drop(endpoint);
        assert!(connection.is_retired());
        let others: Vec<_> = (0..100).map(|_| Slot::take()).collect();
        assert!(others.iter().all(|other| other.index() != index));
        assert!(others.iter().all(|other| !other.is_retired()));
    }
}
