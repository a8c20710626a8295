//! A set of ids, exact and compact.

use std::collections::BTreeMap;

use super::super::id::Ulid;

/// Ids, kept as runs without a gap. A run stands for every number in it: the writer numbers the
/// records of one millisecond one after the other, so a run is exact, and an id that nobody
/// inserted is never in the set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdSet {
    /// First and last of each run.
    runs: BTreeMap<u128, u128>,
}

impl IdSet {
    /// Adds an id.
    pub fn insert(&mut self, id: Ulid) {
        self.insert_run(id.0, id.0);
    }

    fn insert_run(&mut self, mut first: u128, mut last: u128) {
        // The run that begins before, if it reaches this one.
        if let Some((&start, &end)) = self.runs.range(..=first).next_back()
            && end.saturating_add(1) >= first
        {
            (first, last) = (start, last.max(end));
        }
        // Runs that begin inside, or right behind.
        while let Some((&start, &end)) = self.runs.range(first..=last.saturating_add(1)).next() {
            self.runs.remove(&start);
            last = last.max(end);
        }
        self.runs.insert(first, last);
    }

    /// True for an id that was added.
    pub fn contains(&self, id: Ulid) -> bool {
        let run = self.runs.range(..=id.0).next_back();
        run.is_some_and(|(_, last)| id.0 <= *last)
    }

    /// How many ids it has.
    pub fn len(&self) -> u64 {
        let lengths = self.runs.iter().map(|(first, last)| last - first + 1);
        u64::try_from(lengths.sum::<u128>()).unwrap_or(u64::MAX)
    }

    /// True without any id.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Runs: what the set takes in memory and in the store.
    pub fn runs(&self) -> usize {
        self.runs.len()
    }

    /// The lowest and the highest id.
    pub fn ends(&self) -> Option<(Ulid, Ulid)> {
        let first = self.runs.first_key_value()?.0;
        let last = self.runs.last_key_value()?.1;
        Some((Ulid(*first), Ulid(*last)))
    }

    /// The set in parts of at most so many runs.
    pub(super) fn parts(&self, runs: usize) -> impl Iterator<Item = IdSet> + '_ {
        let mut rest = self.runs.iter().peekable();
        std::iter::from_fn(move || {
            rest.peek()?;
            let part = rest.by_ref().take(runs);
            Some(IdSet {
                runs: part.map(|(first, last)| (*first, *last)).collect(),
            })
        })
    }

    /// Each run as text: its first id, and `+N` where N more follow it.
    pub(super) fn to_texts(&self) -> Vec<String> {
        let runs = self.runs.iter();
        runs.map(|(first, last)| match last - first {
            0 => Ulid(*first).to_string(),
            more => format!("{}+{more}", Ulid(*first)),
        })
        .collect()
    }

    /// Reads what `to_texts` gave; `None` for anything else.
    pub(super) fn from_texts<'a>(texts: impl IntoIterator<Item = &'a str>) -> Option<IdSet> {
        let mut ids = IdSet::default();
        for text in texts {
            let (first, more) = text.split_once('+').unwrap_or((text, "0"));
            let first = Ulid::from_string(first).ok()?.0;
            // More than any gateway numbers: a longer run could pass for every id there is.
            let last = first.checked_add(u128::from(more.parse::<u64>().ok()?))?;
            ids.insert_run(first, last);
        }
        Some(ids)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_ends_of_the_numbers_are_ids_like_others() {
        let mut ids = IdSet::default();
        assert_eq!((ids.len(), ids.ends()), (0, None));
        for id in [u128::MAX, 0, u128::MAX - 1, 1] {
            ids.insert(Ulid(id));
        }
        assert_eq!((ids.runs(), ids.len()), (2, 4));
        assert_eq!(ids.ends(), Some((Ulid(0), Ulid(u128::MAX))));
        assert_eq!(IdSet::from_texts(["x"]), None);
        assert_eq!(
            IdSet::from_texts([&*format!("{}+1", Ulid(u128::MAX))]),
            None
        );
        let all = format!("{}+{}", Ulid(0), u128::MAX);
        assert_eq!(IdSet::from_texts([&*all]), None);
    }

    proptest! {
        #[test]
        fn it_has_what_was_inserted_and_nothing_else(
            numbers in proptest::collection::vec(0_u8..80, 0..60),
            part in 1_usize..5,
        ) {
            let mut ids = IdSet::default();
            let mut model = BTreeSet::new();
            for number in numbers {
                ids.insert(Ulid(u128::from(number)));
                model.insert(u128::from(number));
            }
            let texts = ids.to_texts();
            let read = IdSet::from_texts(texts.iter().map(String::as_str)).unwrap();
            prop_assert_eq!(&read, &ids);
            let parts: Vec<IdSet> = ids.parts(part).collect();
            prop_assert!(parts.iter().all(|p| (1..=part).contains(&p.runs())));
            for number in 0..90_u128 {
                let id = Ulid(number);
                prop_assert_eq!(ids.contains(id), model.contains(&number));
                let in_parts = parts.iter().filter(|p| p.contains(id)).count();
                prop_assert_eq!(in_parts, usize::from(model.contains(&number)));
            }
            prop_assert_eq!(ids.len(), model.len() as u64);
            // Runs are as few as they can be.
            let starts = model.iter().filter(|n| **n == 0 || !model.contains(&(**n - 1)));
            prop_assert_eq!(ids.runs(), starts.count());
        }
    }
}
