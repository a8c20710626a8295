//! The most frequent values of a stream, in bounded memory.
//!
//! Space-saving: Metwally, Agrawal, El Abbadi, "Efficient Computation of Frequent and Top-k
//! Elements in Data Streams", 2005. Summaries are put together as in Agarwal et al., "Mergeable
//! Summaries", 2012: adding what each knows, and what it may have missed, keeps the bounds.
//!
//! With N values offered and k counters, in a sketch as in any merge of sketches cut back to k:
//! a value offered more than N/k times is there; its true count lies between `least` and `most`;
//! and these are at most N/k apart.

use std::cmp::Reverse;
use std::collections::HashMap;

/// Counters of one sketch, and of one summary that is kept: k.
pub(super) const COUNTERS: usize = 64;

/// Longest part of a value that is kept, in bytes; values that differ only beyond it are one.
pub(super) const LONGEST: usize = 128;

/// Counts the values of one stream.
///
/// At most [`COUNTERS`] values of [`LONGEST`] bytes: 11 KiB with their counters, however many
/// values are offered. A sketch that saw few values is as small as those.
#[derive(Debug, Default)]
pub(super) struct Sketch {
    /// In step with `values`; what is searched is kept close together. A checksum will do:
    /// values made to collide cost a comparison each, and there are at most `COUNTERS`.
    hashes: Vec<u32>,
    counts: Vec<u32>,
    values: Vec<Held>,
    total: u64,
}

#[derive(Debug)]
struct Held {
    value: Vec<u8>,
    /// What the counter had counted for the value that had it before.
    inherited: u32,
}

impl Sketch {
    /// Counts a value.
    pub(super) fn offer(&mut self, value: &[u8]) {
        let value = &value[..value.len().min(LONGEST)];
        let hash = crc32c::crc32c(value);
        self.total += 1;
        let mut from = 0;
        while let Some(at) = self.hashes[from..].iter().position(|h| *h == hash) {
            let at = from + at;
            if self.values[at].value == value {
                self.counts[at] = self.counts[at].saturating_add(1);
                return;
            }
            from = at + 1;
        }
        if self.hashes.len() < COUNTERS {
            self.hashes.push(hash);
            self.counts.push(1);
            self.values.push(Held {
                value: value.to_vec(),
                inherited: 0,
            });
        } else {
            self.replace(hash, value);
        }
    }

    /// The value with the smallest count makes room, and leaves its count behind.
    fn replace(&mut self, hash: u32, value: &[u8]) {
        let smallest = self.counts.iter().enumerate().min_by_key(|(_, n)| **n);
        let Some((at, &count)) = smallest else {
            return;
        };
        self.hashes[at] = hash;
        self.counts[at] = count.saturating_add(1);
        let held = &mut self.values[at];
        held.inherited = count;
        held.value.clear();
        held.value.extend_from_slice(value);
    }

    /// What was counted.
    pub(super) fn into_summary(self) -> Summary {
        let full = self.counts.len() == COUNTERS;
        let floor = self.counts.iter().min().filter(|_| full);
        let counters = self.values.into_iter().zip(&self.counts);
        Summary {
            total: self.total,
            floor: u64::from(floor.copied().unwrap_or(0)),
            counters: counters
                .map(|(held, count)| Counter {
                    value: held.value.into_boxed_slice(),
                    least: u64::from(count - held.inherited),
                    most: u64::from(*count),
                })
                .collect(),
        }
    }
}

/// What one sketch counted, or several together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Summary {
    /// How many values were offered.
    pub(super) total: u64,
    /// No value that is missing here was offered more often.
    pub(super) floor: u64,
    /// The values, in no particular order.
    pub(super) counters: Vec<Counter>,
}

/// One value and what is known of how often it was offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Counter {
    /// Its first [`LONGEST`] bytes.
    pub(super) value: Box<[u8]>,
    /// It was offered at least so often.
    pub(super) least: u64,
    /// It was offered at most so often.
    pub(super) most: u64,
}

impl Summary {
    /// What several streams hold together: every value that one of them knows.
    pub(super) fn merge<'a>(parts: impl IntoIterator<Item = &'a Summary>) -> Summary {
        let (mut total, mut floor) = (0, 0);
        let mut values: HashMap<&[u8], (u64, u64)> = HashMap::new();
        for part in parts {
            total += part.total;
            floor += part.floor;
            for counter in &part.counters {
                let (least, above) = values.entry(&counter.value).or_default();
                *least += counter.least;
                *above += counter.most - part.floor;
            }
        }
        let counters = values.into_iter().map(|(value, (least, above))| Counter {
            value: value.into(),
            least,
            // A part that does not know the value may have missed as much as its floor.
            most: above + floor,
        });
        Summary {
            total,
            floor,
            counters: counters.collect(),
        }
    }

    /// Keeps the `count` values that may be the most frequent.
    #[must_use]
    pub(super) fn cut(mut self, count: usize) -> Summary {
        if self.counters.len() > count {
            let most = |counter: &Counter| Reverse(counter.most);
            let (_, first_gone, _) = self.counters.select_nth_unstable_by_key(count, most);
            self.floor = self.floor.max(first_gone.most);
            self.counters.truncate(count);
            self.counters.shrink_to_fit();
        }
        self
    }

    /// The `count` values that were certainly offered most often, most frequent first.
    pub(super) fn top(&self, count: usize) -> Vec<&Counter> {
        let mut counters: Vec<&Counter> = self.counters.iter().collect();
        counters.sort_unstable_by_key(|c| (Reverse(c.least), Reverse(c.most), &c.value));
        counters.truncate(count);
        counters
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const K: u64 = COUNTERS as u64;

    fn summary<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Summary {
        let mut sketch = Sketch::default();
        values.into_iter().for_each(|value| sketch.offer(value));
        sketch.into_summary()
    }

    fn counter<'a>(summary: &'a Summary, value: &[u8]) -> Option<&'a Counter> {
        summary.counters.iter().find(|c| *c.value == *value)
    }

    /// Every promise of the module's first lines.
    fn keeps_its_promises(summary: &Summary, truth: &HashMap<Vec<u8>, u64>) {
        let offered: u64 = truth.values().sum();
        assert_eq!(summary.total, offered);
        assert!(summary.floor <= offered / K, "{} {offered}", summary.floor);
        for (value, n) in truth {
            match counter(summary, value) {
                Some(found) => {
                    assert!(found.least <= *n && *n <= found.most, "{found:?} {n}");
                    assert!(found.most - found.least <= offered / K, "{found:?}");
                }
                None => assert!(*n <= summary.floor && *n <= offered / K, "{value:?} {n}"),
            }
        }
        let counters = summary.counters.iter();
        assert!(counters.clone().all(|c| truth.contains_key(&*c.value)));
    }

    fn truth(streams: &[Vec<u16>]) -> HashMap<Vec<u8>, u64> {
        let mut truth = HashMap::new();
        for value in streams.iter().flatten() {
            *truth.entry(value.to_be_bytes().to_vec()).or_default() += 1;
        }
        truth
    }

    fn of(stream: &[u16]) -> Summary {
        let bytes: Vec<[u8; 2]> = stream.iter().map(|value| value.to_be_bytes()).collect();
        summary(bytes.iter().map(|value| value.as_slice()))
    }

    /// Streams in which a few values are frequent and many are rare.
    fn stream() -> impl Strategy<Value = Vec<u16>> {
        let value = prop_oneof![2 => 0..4_u16, 2 => 0..80_u16, 3 => 0..2_000_u16];
        prop::collection::vec(value, 0..600)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn a_sketch_keeps_its_promises(stream in stream()) {
            let summary = of(&stream);
            prop_assert!(summary.counters.len() <= COUNTERS);
            keeps_its_promises(&summary, &truth(&[stream]));
        }

        #[test]
        fn merged_and_cut_back_they_keep_them(
            seconds in prop::collection::vec(prop::collection::vec(stream(), 1..4), 1..5),
        ) {
            let of_second = |workers: &Vec<Vec<u16>>| {
                let workers: Vec<Summary> = workers.iter().map(|s| of(s)).collect();
                Summary::merge(&workers).cut(COUNTERS)
            };
            let parts: Vec<Summary> = seconds.iter().map(of_second).collect();
            let whole = Summary::merge(&parts);
            let truth = truth(&seconds.concat());
            keeps_its_promises(&whole, &truth);
            keeps_its_promises(&whole.cut(COUNTERS), &truth);
        }

        #[test]
        fn what_the_top_leaves_out_is_hardly_more_frequent_than_what_it_lists(stream in stream()) {
            let summary = of(&stream);
            let truth = truth(std::slice::from_ref(&stream));
            let top = summary.top(10);
            let rarest = top.iter().map(|c| truth[&*c.value]).min().unwrap_or(0);
            let listed = |value: &[u8]| top.iter().any(|c| *c.value == *value);
            for (value, n) in &truth {
                let slack = stream.len() as u64 / K;
                prop_assert!(listed(value) || top.len() < 10 || *n <= rarest + 2 * slack);
            }
        }
    }

    #[test]
    fn few_values_are_counted_exactly_and_listed_by_count() {
        let summary = summary([&b"b"[..], b"a", b"c", b"a", b"b", b"a"]);
        let top: Vec<_> = summary.top(2);
        assert_eq!(
            (&*top[0].value, top[0].least, top[0].most),
            (&b"a"[..], 3, 3)
        );
        assert_eq!(
            (&*top[1].value, top[1].least, top[1].most),
            (&b"b"[..], 2, 2)
        );
        assert_eq!(summary.floor, 0);
    }

    #[test]
    fn long_values_are_cut_and_what_was_cut_off_does_not_tell_them_apart() {
        let long = [b'x'; LONGEST + 1];
        let longer = [b'x'; 8 * LONGEST];
        let summary = summary([&long[..], &longer]);
        assert_eq!(summary.counters.len(), 1);
        assert_eq!(summary.counters[0].value.len(), LONGEST);
        assert_eq!(summary.counters[0].most, 2);
    }

    #[test]
    fn values_of_one_checksum_are_told_apart() {
        // Of 100,000 random checksums of 32 bits two are probably equal.
        let mut seen: HashMap<u32, Vec<u8>> = HashMap::new();
        let mut pair = None;
        for n in 0..1_u64 << 20 {
            let value = n.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes().to_vec();
            if let Some(other) = seen.insert(crc32c::crc32c(&value), value.clone()) {
                pair = Some((value, other));
                break;
            }
        }
        let (one, other) = pair.unwrap();
        let summary = summary([&one[..], &other, &one]);
        assert_eq!(counter(&summary, &one).unwrap().most, 2);
        assert_eq!(counter(&summary, &other).unwrap().most, 1);
    }

    #[test]
    fn memory_is_bounded_whatever_is_offered() {
        let mut sketch = Sketch::default();
        for n in 0..100_000_u32 {
            let mut value = vec![b'v'; 4_096];
            value[..4].copy_from_slice(&n.to_be_bytes());
            sketch.offer(&value);
        }
        let values: usize = sketch.values.iter().map(|held| held.value.capacity()).sum();
        let entry = size_of::<Held>() + 2 * size_of::<u32>();
        assert!(
            values + sketch.values.capacity() * entry <= 11 << 10,
            "{values}"
        );
        assert_eq!(sketch.values.capacity(), COUNTERS);
    }
}
