//! Idle connections of one worker: a stack for each endpoint, so that the warmest is used first
//! and the rest can age out.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use hyper::client::conn::http1::SendRequest;

use super::body::RequestBody;
use super::slot::Slot;
use super::spec::KeepaliveSpec;

/// The sending half of a connection.
pub(crate) type Sender = SendRequest<RequestBody>;

/// One worker's idle connections. Its lock is never held by another worker.
#[derive(Debug, Default)]
pub struct Pool {
    shelves: Mutex<Vec<Shelf>>,
}

#[derive(Debug, Default)]
struct Shelf {
    idle: Vec<Idle>,
    turn: usize,
}

#[derive(Debug)]
struct Idle {
    sender: Sender,
    slot: Arc<Slot>,
    since: Instant,
    until: Instant,
}

impl Pool {
    /// The next turn of the upstream whose first endpoint has this slot.
    pub(crate) fn next_turn(&self, slot: usize) -> usize {
        let mut shelves = self.shelf(slot);
        let turn = &mut shelves[slot].turn;
        *turn = turn.wrapping_add(1);
        *turn
    }

    /// The connection used last, if it is still open, and since when it was idle.
    pub(super) fn take(&self, slot: usize, now: Instant) -> Option<(Sender, Arc<Slot>, Instant)> {
        let mut shelves = self.shelf(slot);
        let idle = &mut shelves[slot].idle;
        while let Some(candidate) = idle.pop() {
            if !candidate.sender.is_closed() && candidate.until > now {
                return Some((candidate.sender, candidate.slot, candidate.since));
            }
        }
        None
    }

    /// Keeps a connection whose last response has ended.
    pub(super) fn put(
        &self,
        (sender, slot): (Sender, Arc<Slot>),
        keep: KeepaliveSpec,
        now: Instant,
    ) {
        if sender.is_closed() || slot.is_retired() {
            return;
        }
        let mut shelves = self.shelf(slot.index());
        let idle = &mut shelves[slot.index()].idle;
        if idle.len() >= keep.max_idle {
            return;
        }
        idle.push(Idle {
            sender,
            slot,
            since: now,
            until: now + keep.max_idle_time,
        });
    }

    /// Closes what has been idle for too long, was closed by the other side, or leads to an
    /// endpoint that is gone.
    pub fn sweep(&self, now: Instant) {
        for shelf in self.lock().iter_mut() {
            shelf.idle.retain(|idle| {
                idle.until > now && !idle.sender.is_closed() && !idle.slot.is_retired()
            });
        }
    }

    /// Idle connections, and the moment since which the oldest is.
    pub fn idle(&self) -> (usize, Option<Instant>) {
        let shelves = self.lock();
        let all = shelves.iter().flat_map(|shelf| &shelf.idle);
        (all.clone().count(), all.map(|idle| idle.since).min())
    }

    fn shelf(&self, slot: usize) -> MutexGuard<'_, Vec<Shelf>> {
        let mut shelves = self.lock();
        if shelves.len() <= slot {
            shelves.resize_with(slot + 1, Shelf::default);
        }
        shelves
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Shelf>> {
        self.shelves.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
