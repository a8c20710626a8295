//! Which record is sent next: the oldest, but never one of a client of whom another is not
//! answered yet.
//!
//! A client is in one of three places, so that its records keep their order: nowhere, with one
//! record that may be sent, or with one under way or waiting to be sent again. Its further
//! records queue behind.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Instant;

/// A record in the order of reading.
pub(super) trait Lane {
    /// Whose it is.
    fn client(&self) -> IpAddr;
    /// How often it was tried.
    fn tries(&self) -> u32;
}

/// Records that were read and are not settled.
#[derive(Debug)]
pub(super) struct Lanes<T> {
    /// Never sent, and may be sent now; by the order of reading.
    fresh: BTreeMap<u64, T>,
    /// May be sent again now; by the order of reading.
    again: BTreeMap<u64, T>,
    /// May be sent again from then on.
    resting: BTreeMap<(Instant, u64), T>,
    /// Behind a record of the same client; a client without an entry has nothing anywhere.
    behind: HashMap<IpAddr, VecDeque<(u64, T)>>,
    next: u64,
    count: usize,
}

impl<T: Lane> Lanes<T> {
    pub(super) fn new() -> Lanes<T> {
        Lanes {
            fresh: BTreeMap::new(),
            again: BTreeMap::new(),
            resting: BTreeMap::new(),
            behind: HashMap::new(),
            next: 0,
            count: 0,
        }
    }

    /// Records in here, those under way included.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Takes in the next record that was read.
    pub(super) fn push(&mut self, record: T) {
        let order = self.next;
        self.next += 1;
        self.count += 1;
        match self.behind.get_mut(&record.client()) {
            Some(queue) => queue.push_back((order, record)),
            None => {
                self.behind.insert(record.client(), VecDeque::new());
                self.fresh.insert(order, record);
            }
        }
    }

    /// The oldest that was never sent.
    pub(super) fn take_fresh(&mut self) -> Option<(u64, T)> {
        self.fresh.pop_first()
    }

    /// The oldest that may be sent again at `now`.
    pub(super) fn take_again(&mut self, now: Instant) -> Option<(u64, T)> {
        self.wake(now);
        self.again.pop_first()
    }

    /// Of those that may be sent again the one tried least: a record that makes the target fail
    /// must not be the only one that asks whether the target works.
    pub(super) fn take_least_tried(&mut self, now: Instant) -> Option<(u64, T)> {
        self.wake(now);
        let tries = |(order, record): &(&u64, &T)| (record.tries(), **order);
        let order = *self.again.iter().min_by_key(tries)?.0;
        let record = self.again.remove(&order)?;
        Some((order, record))
    }

    /// A record that was taken is to be sent again from `from` on.
    pub(super) fn again(&mut self, (order, record): (u64, T), from: Instant) {
        self.resting.insert((from, order), record);
    }

    /// A record that was taken is settled: the next one of its client may be sent.
    pub(super) fn settled(&mut self, client: IpAddr) {
        self.count -= 1;
        let Some(queue) = self.behind.get_mut(&client) else {
            return;
        };
        match queue.pop_front() {
            Some((order, record)) => drop(self.fresh.insert(order, record)),
            None => drop(self.behind.remove(&client)),
        }
    }

    /// Whether there is one that was never sent.
    pub(super) fn has_fresh(&self) -> bool {
        !self.fresh.is_empty()
    }

    /// From when on a record may be sent again, if any is to be.
    pub(super) fn again_from(&self, now: Instant) -> Option<Instant> {
        if !self.again.is_empty() {
            return Some(now);
        }
        self.resting.first_key_value().map(|((from, _), _)| *from)
    }

    fn wake(&mut self, now: Instant) {
        while let Some(entry) = self.resting.first_entry() {
            if entry.key().0 > now {
                return;
            }
            let ((_, order), record) = entry.remove_entry();
            self.again.insert(order, record);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocab::Clock;
    use proptest::prelude::*;
    use std::time::Duration;

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Numbered {
        number: u64,
        client: u8,
        tries: u32,
    }

    impl Lane for Numbered {
        fn client(&self) -> IpAddr {
            IpAddr::from([10, 0, 0, self.client])
        }

        fn tries(&self) -> u32 {
            self.tries
        }
    }

    #[test]
    fn of_those_to_be_sent_again_the_one_tried_least_can_be_asked_for() {
        let (mut lanes, now) = (Lanes::new(), Clock::now());
        for (number, tries) in [(0, 3), (1, 1), (2, 1)] {
            let client = number as u8;
            lanes.push(Numbered {
                number,
                client,
                tries,
            });
            let taken = lanes.take_fresh().unwrap();
            lanes.again(taken, now);
        }
        assert_eq!(lanes.take_least_tried(now).unwrap().0, 1);
        assert_eq!(lanes.take_again(now).unwrap().0, 0);
    }

    fn take(lanes: &mut Lanes<Numbered>, now: Instant) -> Option<(u64, Numbered)> {
        lanes.take_again(now).or_else(|| lanes.take_fresh())
    }

    /// One step of whoever uses the lanes.
    #[derive(Clone, Copy, Debug)]
    enum Act {
        Push(u8),
        Take,
        Settle(usize),
        Again(usize),
        Later,
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            4 => (0_u8..4).prop_map(Act::Push),
            4 => Just(Act::Take),
            3 => (0_usize..8).prop_map(Act::Settle),
            1 => (0_usize..8).prop_map(Act::Again),
            1 => Just(Act::Later),
        ]
    }

    proptest! {
        #[test]
        fn a_clients_records_follow_each_other_and_none_is_lost(
            acts in proptest::collection::vec(act(), 0..200),
        ) {
            let mut lanes = Lanes::new();
            let mut now = Clock::now();
            let (mut pushed, mut settled) = (0, Vec::<Numbered>::new());
            let mut under_way: Vec<(u64, Numbered)> = Vec::new();
            for act in acts.into_iter().chain([Act::Later; 400]) {
                match act {
                    Act::Push(client) => {
                        lanes.push(Numbered { number: pushed, client, tries: 0 });
                        pushed += 1;
                    }
                    Act::Take => under_way.extend(take(&mut lanes, now)),
                    Act::Settle(at) if at < under_way.len() => {
                        let (_, record) = under_way.remove(at);
                        lanes.settled(record.client());
                        settled.push(record);
                    }
                    Act::Again(at) if at < under_way.len() => {
                        let taken = under_way.remove(at);
                        lanes.again(taken, now + Duration::from_millis(1));
                    }
                    Act::Settle(_) | Act::Again(_) => {}
                    Act::Later => {
                        now += Duration::from_millis(1);
                        under_way.extend(take(&mut lanes, now));
                        if let Some((_, record)) = under_way.pop() {
                            lanes.settled(record.client());
                            settled.push(record);
                        }
                    }
                }
                let mut clients: Vec<u8> = under_way.iter().map(|(_, r)| r.client).collect();
                clients.sort_unstable();
                prop_assert!(clients.windows(2).all(|pair| pair[0] != pair[1]));
            }
            prop_assert_eq!(settled.len() as u64, pushed);
            prop_assert_eq!(lanes.len(), 0);
            prop_assert!(lanes.behind.is_empty());
            for client in 0..4 {
                let own: Vec<u64> = settled
                    .iter()
                    .filter(|r| r.client == client)
                    .map(|r| r.number)
                    .collect();
                prop_assert!(own.windows(2).all(|pair| pair[0] < pair[1]), "{own:?}");
            }
        }
    }
}
