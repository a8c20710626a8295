//! Concurrency limits: so many requests at once, so many more in line, first come first served.
//!
//! One atomic word holds how many are in flight and how many wait. While nobody waits, to enter
//! and to leave are one compare-and-swap each. Only with a line does a worker take a lock, for the
//! time of a push or a pop: it guards who is next, never the word, so that no worker with a way
//! in or out past an empty line can be held up. What it costs: a worker descheduled within those
//! instructions holds up the others that meet the same line; with a thread for each CPU that
//! takes a busier neighbour. Wakers are called after the lock is free.
//!
//! What holds at every moment, across workers:
//! 1. In flight is at most `max`, but while a smaller one comes into force.
//! 2. Waiting is at most `queue`, likewise, and nobody waits while there is room.
//! 3. Nobody overtakes: while one waits, whoever comes goes to the end of the line.
//! 4. A permit that is dropped goes to the first in line before anybody else can see it.

use std::collections::VecDeque;
use std::future::Future;
use std::mem;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::atomic::{
    AtomicU64,
    Ordering::{AcqRel, Acquire, Release},
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// A route's `concurrency`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConcurrencySpec {
    /// Most requests at once; at least 1.
    pub max: u32,
    /// Most that wait; 0 is no line.
    pub queue: u32,
    /// Longest time in line. Whoever waits for a [`Ticket`] keeps it.
    pub queue_timeout: Duration,
}

/// How many are in a gate, or may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// In flight.
    pub in_flight: u32,
    /// In line.
    pub waiting: u32,
}

impl Load {
    fn of(word: u64) -> Load {
        Load {
            in_flight: (word >> 32) as u32,
            waiting: word as u32,
        }
    }

    fn word(self) -> u64 {
        u64::from(self.in_flight) << 32 | u64::from(self.waiting)
    }
}

/// The state of one limit. It outlives a reload: [`Gate::adopt`].
#[derive(Debug)]
#[repr(align(64))]
pub struct Gate {
    load: AtomicU64,
    /// What [`Load`] may be; written under the lock of `line`.
    bounds: AtomicU64,
    line: Mutex<Line>,
}

/// Who waits. Its length is the `waiting` of `load`; both change under its lock.
#[derive(Debug, Default)]
struct Line {
    places: VecDeque<(u64, Arc<Place>)>,
    next: u64,
}

/// How the wait of one goes on.
type Place = Mutex<Wait>;

#[derive(Debug)]
enum Wait {
    Waiting(Option<Waker>),
    Admitted,
}

/// What came of a request.
#[derive(Debug)]
pub enum Entry<G: Deref<Target = Gate>> {
    /// It goes on.
    Admitted(Permit<G>),
    /// It waits in line.
    Queued(Ticket<G>),
    /// So many are in flight, and so many wait.
    Full(Load),
}

/// The right to be in flight, until dropped. `G` is how its owner keeps the gate: an `Arc`, or
/// a handle of a worker's own that spares the count which all workers share.
#[derive(Debug)]
pub struct Permit<G: Deref<Target = Gate>> {
    gate: G,
}

/// A place in line; a future of the permit. Dropped, the place is free. It has no timer.
#[derive(Debug)]
pub struct Ticket<G: Deref<Target = Gate>> {
    /// `None` once the permit was given out.
    gate: Option<G>,
    number: u64,
    place: Arc<Place>,
}

impl Gate {
    /// An empty gate.
    pub fn new(spec: &ConcurrencySpec) -> Gate {
        Gate {
            load: AtomicU64::new(0),
            bounds: AtomicU64::new(bounds(spec)),
            line: Mutex::default(),
        }
    }

    /// Applies other limits. Who is in flight stays; who waits stays in line, also beyond a
    /// smaller `queue`; for whom there is room now goes on.
    pub fn adopt(&self, spec: &ConcurrencySpec) {
        let line = self.lock();
        self.bounds.store(bounds(spec), Release);
        self.admit(line);
    }

    /// How many are in flight and in line.
    pub fn load(&self) -> Load {
        Load::of(self.load.load(Acquire))
    }

    /// Lets a request in, or in line, or neither.
    pub fn enter<G: Deref<Target = Gate>>(gate: G) -> Entry<G> {
        let all = Load {
            in_flight: u32::MAX,
            waiting: u32::MAX,
        };
        Gate::enter_within(gate, all)
    }

    /// The same for one that may use a part of the gate only: it goes in while fewer than
    /// `part.in_flight` are, and to the line while fewer than `part.waiting` wait. Who is in line
    /// goes on as soon as the gate has room, whatever the part.
    pub fn enter_within<G: Deref<Target = Gate>>(gate: G, part: Load) -> Entry<G> {
        match gate.decide(part) {
            Decision::Admitted => Entry::Admitted(Permit { gate }),
            Decision::Queued(number, place) => Entry::Queued(Ticket {
                gate: Some(gate),
                number,
                place,
            }),
            Decision::Full(load) => Entry::Full(load),
        }
    }

    fn decide(&self, part: Load) -> Decision {
        match self.step(part) {
            Step::Admitted => return Decision::Admitted,
            Step::Full(load) => return Decision::Full(load),
            Step::Line(_) => {}
        }
        let mut line = self.lock();
        loop {
            match self.step(part) {
                Step::Admitted => return Decision::Admitted,
                Step::Full(load) => return Decision::Full(load),
                Step::Line(word) => {
                    // Fails when one left in between: then there is room.
                    if self.swap(word, word + 1) {
                        let (number, place) = line.join();
                        return Decision::Queued(number, place);
                    }
                }
            }
        }
    }

    /// Goes in past an empty line, or says where else.
    fn step(&self, part: Load) -> Step {
        loop {
            let word = self.load.load(Acquire);
            let (load, most) = (Load::of(word), self.most());
            if load.waiting == 0 && load.in_flight < most.in_flight.min(part.in_flight) {
                if self.swap(word, word + FLIGHT) {
                    return Step::Admitted;
                }
            } else if load.waiting < most.waiting.min(part.waiting) {
                return Step::Line(word);
            } else {
                return Step::Full(load);
            }
        }
    }

    /// One that was in flight is no more.
    fn leave(&self) {
        loop {
            let word = self.load.load(Acquire);
            if Load::of(word).waiting > 0 {
                break;
            }
            if self.swap(word, word - FLIGHT) {
                return;
            }
        }
        let line = self.lock();
        self.load.fetch_sub(FLIGHT, AcqRel);
        self.admit(line);
    }

    /// Lets in the first in line, as many as there is room for.
    fn admit<'a>(&'a self, mut line: MutexGuard<'a, Line>) {
        while let Next::Admitted(waker) = self.next(&mut line) {
            drop(line);
            if let Some(waker) = waker {
                waker.wake();
            }
            if !self.has_next() {
                return;
            }
            line = self.lock();
        }
    }

    fn has_next(&self) -> bool {
        let load = self.load();
        load.waiting > 0 && load.in_flight < self.most().in_flight
    }

    fn next(&self, line: &mut Line) -> Next {
        // While one waits, the word changes only under the lock.
        while self.has_next() {
            let word = self.load.load(Acquire);
            if self.swap(word, word + FLIGHT - 1) {
                let first = line.places.pop_front();
                return Next::Admitted(first.and_then(|(_, place)| {
                    match mem::replace(&mut *lock(&place), Wait::Admitted) {
                        Wait::Waiting(waker) => waker,
                        Wait::Admitted => None,
                    }
                }));
            }
        }
        Next::Nobody
    }

    fn most(&self) -> Load {
        Load::of(self.bounds.load(Acquire))
    }

    fn swap(&self, from: u64, to: u64) -> bool {
        let swapped = self.load.compare_exchange(from, to, AcqRel, Acquire);
        swapped.is_ok()
    }

    fn lock(&self) -> MutexGuard<'_, Line> {
        lock(&self.line)
    }
}

/// One in flight, in the word of a load; one in line is 1.
const FLIGHT: u64 = 1 << 32;

/// What the word says of a request.
enum Step {
    Admitted,
    /// To the line, if the word is still this one.
    Line(u64),
    Full(Load),
}

enum Decision {
    Admitted,
    Queued(u64, Arc<Place>),
    Full(Load),
}

/// Whether the first in line was let in.
enum Next {
    Nobody,
    Admitted(Option<Waker>),
}

fn bounds(spec: &ConcurrencySpec) -> u64 {
    let most = Load {
        in_flight: spec.max.max(1),
        waiting: spec.queue,
    };
    most.word()
}

/// Nothing panics while it holds a lock, and if so, what is guarded is whole at every step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Line {
    fn join(&mut self) -> (u64, Arc<Place>) {
        let (number, place) = (self.next, Arc::new(Mutex::new(Wait::Waiting(None))));
        self.next += 1;
        self.places.push_back((number, Arc::clone(&place)));
        (number, place)
    }

    fn remove(&mut self, number: u64) -> Removed {
        match self.places.binary_search_by_key(&number, |place| place.0) {
            Ok(index) => {
                self.places.remove(index);
                Removed::FromLine
            }
            Err(_) => Removed::Earlier,
        }
    }
}

enum Removed {
    FromLine,
    /// It was let in before.
    Earlier,
}

impl<G: Deref<Target = Gate>> Drop for Permit<G> {
    fn drop(&mut self) {
        self.gate.leave();
    }
}

/// Ready once; not to be polled again then.
impl<G: Deref<Target = Gate> + Unpin> Future for Ticket<G> {
    type Output = Permit<G>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Permit<G>> {
        match &mut *lock(&self.place) {
            Wait::Admitted => {}
            Wait::Waiting(waker) => {
                match waker {
                    Some(waker) => waker.clone_from(context.waker()),
                    None => *waker = Some(context.waker().clone()),
                }
                return Poll::Pending;
            }
        }
        match self.gate.take() {
            Some(gate) => Poll::Ready(Permit { gate }),
            None => Poll::Pending,
        }
    }
}

impl<G: Deref<Target = Gate>> Drop for Ticket<G> {
    fn drop(&mut self) {
        let Some(gate) = self.gate.take() else {
            return;
        };
        let mut line = gate.lock();
        let removed = line.remove(self.number);
        match removed {
            Removed::FromLine => _ = gate.load.fetch_sub(1, AcqRel),
            Removed::Earlier => {}
        }
        drop(line);
        match removed {
            Removed::FromLine => {}
            Removed::Earlier => gate.leave(),
        }
    }
}

#[cfg(test)]
mod tests;
