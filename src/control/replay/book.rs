//! Which records of a run are settled, in a form that stays small.
//!
//! Of each instance all records up to `through` were read, and those of them that are not
//! settled are listed: never more than the window holds. An instance gives its ids in rising
//! order and the source keeps that order, so these few words say of any record whether it is
//! settled.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::ledger::{Counts, Ledger};
use crate::archive::Ulid;

/// How a record was settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settled {
    Accepted,
    Refused,
    Skipped,
}

/// What was read of one instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Page {
    /// The last record read.
    through: Option<Ulid>,
    /// Those up to it that are not settled.
    open: BTreeSet<Ulid>,
    counts: Counts,
}

/// What is settled, by instance; what a checkpoint holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Book {
    pages: BTreeMap<String, Page>,
    refused_for: BTreeMap<String, u64>,
}

impl Book {
    /// Whether a record is settled.
    pub(super) fn covers(&self, instance: &str, id: Ulid) -> bool {
        let page = self.pages.get(instance);
        page.is_some_and(|page| page.through >= Some(id) && !page.open.contains(&id))
    }

    /// A run that goes on reads what is not settled once more.
    pub(super) fn reopened(mut self) -> Book {
        for page in self.pages.values_mut() {
            page.counts.read -= page.counts.left();
            // Those under way at the end were counted as sent, and are sent again.
            page.counts.sent = page
                .counts
                .sent
                .min(page.counts.accepted + page.counts.refused);
        }
        self
    }

    /// A record was read.
    pub(super) fn read(&mut self, instance: &str, id: Ulid) {
        let page = self.page(instance);
        page.through = page.through.max(Some(id));
        page.open.insert(id);
        page.counts.read += 1;
    }

    /// A record is sent for the first time.
    pub(super) fn sent(&mut self, instance: &str) {
        self.page(instance).counts.sent += 1;
    }

    /// A record is sent again.
    pub(super) fn retried(&mut self, instance: &str) {
        self.page(instance).counts.retries += 1;
    }

    /// A record that was read is settled.
    pub(super) fn settle(&mut self, instance: &str, id: Ulid, how: Settled) {
        let page = self.page(instance);
        if !page.open.remove(&id) {
            return;
        }
        match how {
            Settled::Accepted => page.counts.accepted += 1,
            Settled::Refused => page.counts.refused += 1,
            Settled::Skipped => page.counts.skipped += 1,
        }
    }

    /// How many records of an instance are settled.
    pub(super) fn settled(&self, instance: &str) -> u64 {
        let counts = self.pages.get(instance).map(|page| page.counts);
        counts.map_or(0, |c| c.accepted + c.refused + c.skipped)
    }

    /// The same of each instance.
    pub(super) fn settled_by_instance(&self) -> impl Iterator<Item = (String, u64)> {
        let names = self.pages.keys();
        names.map(|name| (name.clone(), self.settled(name)))
    }

    /// Why a record was refused.
    pub(super) fn refused_for(&mut self, why: String) {
        *self.refused_for.entry(why).or_default() += 1;
    }

    /// All instances together.
    pub(super) fn total(&self) -> Counts {
        let mut total = Counts::default();
        for page in self.pages.values() {
            total += page.counts;
        }
        total
    }

    /// The counts, where `surveyed` records of each instance are known to be there: of those
    /// that were not read any more the survey knows.
    pub(super) fn ledger(&self, surveyed: &BTreeMap<String, u64>) -> Ledger {
        let mut ledger = Ledger {
            refused_for: self.refused_for.clone(),
            ..Ledger::default()
        };
        for (instance, page) in &self.pages {
            ledger.instances.insert(instance.clone(), page.counts);
        }
        for (instance, records) in surveyed {
            let counts = ledger.instances.entry(instance.clone()).or_default();
            counts.read = counts.read.max(*records);
        }
        ledger
    }

    fn page(&mut self, instance: &str) -> &mut Page {
        self.pages.entry(instance.to_owned()).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_was_read_and_is_not_settled_is_not_covered() {
        let mut book = Book::default();
        for id in [1, 2, 3] {
            book.read("a", Ulid(id));
        }
        book.settle("a", Ulid(2), Settled::Accepted);
        let covered: Vec<u128> = (0..5).filter(|id| book.covers("a", Ulid(*id))).collect();
        // Nothing with a lower id was there when the instance was read.
        assert_eq!(covered, [0, 2]);
        assert!(!book.covers("b", Ulid(1)));
    }

    proptest! {
        #[test]
        fn a_run_that_is_interrupted_anywhere_reads_each_record_that_is_not_settled_once(
            settled in proptest::collection::vec(0_usize..3, 1..60),
            cut in 0_usize..60,
        ) {
            let ids = || (0..settled.len()).map(|at| Ulid(10 + at as u128));
            let mut book = Book::default();
            let mut done = Vec::new();
            for (id, how) in ids().zip(&settled).take(cut) {
                book.read("a", id);
                if let Some(how) = [Settled::Accepted, Settled::Refused].get(*how) {
                    book.sent("a");
                    book.settle("a", id, *how);
                    done.push(id);
                }
            }
            let text = serde_json::to_string(&book).unwrap();
            let stored: Book = serde_json::from_str(&text).unwrap();
            let mut book = stored.clone().reopened();
            for id in ids().filter(|id| !stored.covers("a", *id)) {
                prop_assert!(!done.contains(&id));
                book.read("a", id);
                book.sent("a");
                book.settle("a", id, Settled::Accepted);
                done.push(id);
            }
            prop_assert_eq!(done.len(), settled.len());
            let total = book.total();
            prop_assert_eq!(total.read, settled.len() as u64);
            prop_assert_eq!(total.left(), 0);
            prop_assert_eq!(total.sent, total.accepted + total.refused);
        }
    }
}
