//! Where the TATs of a rate limit are kept: eight seats of one word each in a cache line.
//!
//! A key's hash names its row and its tag. A word is the tag (20 bits) and the TAT (44 bits, of
//! the clock of `pace`). Everything is one compare-and-swap of one word; no lock, no allocation.
//!
//! 1. A request whose tag has a seat in the row is charged there.
//! 2. Otherwise it takes the seat with the smallest TAT, an empty one first, and **takes over its
//!    debt**, if that is still ahead of the clock (as the newcomers of Space-Saving take over the
//!    smallest count: Metwally et al., 2005).
//!
//! What follows from the second rule:
//! - The seat of an idle key carries no debt: whoever takes it begins fresh, and who lost it, too.
//! - A key that lost its seat while in debt finds, whenever it comes back, that the smallest debt
//!   of its row is no less than its own would be. So no key ever passes more than rate * t +
//!   burst, whatever leaves or collides. The price: when more than eight keys of a row are in
//!   debt at once, newcomers begin with the debt of another. [`Table::crowded`] counts them.
//! - A seat's TAT only grows. So two workers that look for the same key at once cannot give it
//!   two seats: both would take the seat with the smallest TAT, and one of them sees that its
//!   word has changed. (A worker that chose another seat saw another TAT in one of the two, and
//!   its own exchange fails.) This orders accesses to several words; hence `SeqCst`.
//! - Two keys of one tag in one row are one key: 8 in a million do so in a full table. The hash is
//!   seeded for each process, so that nobody can choose with whom.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use super::pace::UNIT;

/// Seats in a row: a cache line.
const SEATS: usize = 8;

/// Seats for each key that can be in debt at once. With half of the seats taken, two rows in a
/// hundred are full.
const SPARE: usize = 2;

const TAT_BITS: u32 = 44;
const TAT: u64 = (1 << TAT_BITS) - 1;

/// A TAT further ahead than any burst is one from before the clock's 44 bits came round: after
/// 2^36 requests' time, two years at 1,000/s. A key that comes back just then, within one part in
/// 2,000, is taken for one in debt.
const AHEAD: u64 = 1 << 33;

/// A part of the table.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Row([AtomicU64; SEATS]);

/// The seats of the keys of one rate limit.
#[derive(Debug)]
pub(super) struct Table {
    rows: Box<[Row]>,
    seed: RandomState,
    crowded: AtomicU64,
}

/// What came of a request; the units of `pace`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Charge {
    /// It passes; the key now has that debt.
    Passed { debt: u64 },
    /// It does not: so much must be earned back first.
    Limited { missing: u64, own: Seat },
}

/// Whose debt it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seat {
    /// The key's own.
    Own,
    /// The smallest in a row whose seats are all in debt.
    Others,
}

impl Table {
    /// Seats for that many keys in debt at once, rounded up to a power of two; 16 bytes for each.
    pub(super) fn new(keys: u32) -> Table {
        let rows = (keys as usize * SPARE).div_ceil(SEATS).next_power_of_two();
        Table {
            rows: (0..rows).map(|_| Row::default()).collect(),
            seed: RandomState::new(),
            crowded: AtomicU64::new(0),
        }
    }

    /// Charges a key; `clock` and `burst` in units.
    pub(super) fn charge(&self, key: impl Hash, clock: u64, burst: u64) -> Charge {
        let hash = self.seed.hash_one(key);
        let row = &self.rows[hash as usize & (self.rows.len() - 1)];
        let tag = (hash >> TAT_BITS).max(1);
        let (charge, debtor) = charge(&row.0, tag, clock, burst);
        match debtor {
            Seat::Own => {}
            Seat::Others => _ = self.crowded.fetch_add(1, Relaxed),
        }
        charge
    }

    /// Requests that found all seats of their row in debt to other keys.
    pub(super) fn crowded(&self) -> u64 {
        self.crowded.load(Relaxed)
    }

    /// Memory of the seats.
    pub(super) fn bytes(&self) -> usize {
        std::mem::size_of_val(&*self.rows)
    }
}

/// Charges the seat of a tag, or takes the one with the smallest TAT. Also says whose debt it met.
pub(super) fn charge(seats: &[AtomicU64], tag: u64, clock: u64, burst: u64) -> (Charge, Seat) {
    loop {
        let (index, word) = choose(seats, tag, clock);
        let debt = debt(word, clock);
        let seat = match word >> TAT_BITS == tag || debt == 0 {
            true => Seat::Own,
            false => Seat::Others,
        };
        let charged = debt + UNIT;
        if charged > burst {
            let missing = charged - burst;
            return (Charge::Limited { missing, own: seat }, seat);
        }
        let next = tag << TAT_BITS | clock.wrapping_add(charged) & TAT;
        let taken = seats[index].compare_exchange(word, next, SeqCst, SeqCst);
        // Whoever was faster made progress; what he changed is looked at again.
        if taken.is_ok() {
            return (Charge::Passed { debt: charged }, seat);
        }
    }
}

/// The seat of the tag, else the one with the smallest TAT; the first of several.
fn choose(seats: &[AtomicU64], tag: u64, clock: u64) -> (usize, u64) {
    let mut oldest = (0, 0);
    let mut age = None;
    for (index, seat) in seats.iter().enumerate() {
        let word = seat.load(SeqCst);
        if word >> TAT_BITS == tag {
            return (index, word);
        }
        let this = behind(word, clock);
        if age.is_none_or(|age| this > age) {
            age = Some(this);
            oldest = (index, word);
        }
    }
    oldest
}

/// How far ahead of the clock the TAT of a word is; 0 if it is not.
fn debt(word: u64, clock: u64) -> u64 {
    AHEAD.saturating_sub(behind(word, clock))
}

/// Orders words by TAT, the smallest TAT last: below [`AHEAD`] those ahead of the clock, then
/// those behind it, then the empty seat.
fn behind(word: u64, clock: u64) -> u64 {
    match word {
        0 => u64::MAX,
        _ => clock.wrapping_add(AHEAD).wrapping_sub(word) & TAT,
    }
}
