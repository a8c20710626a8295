//! Counters that workers touch: plain atomics, resolved when a snapshot is compiled.
//!
//! The prometheus crate's own vectors cost a hash and a lock for each lookup, and an allocation
//! for each series at start; with 10,000 routes the second is what hurts. Here a route's series
//! are one block of zeroed words, read by `collect` when somebody scrapes.

use std::sync::atomic::{AtomicU16, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::vocab::By;

/// Upper bounds of the latency buckets, in microseconds.
const BOUNDS_US: [u64; 15] = [
    250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000,
];

/// A latency histogram of fixed buckets.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BOUNDS_US.len() + 1],
    sum_us: AtomicU64,
}

impl Histogram {
    /// Counts one observation.
    pub fn observe(&self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_US.iter().position(|bound| us <= *bound);
        self.buckets[bucket.unwrap_or(BOUNDS_US.len())].fetch_add(1, Relaxed);
        self.sum_us.fetch_add(us, Relaxed);
    }

    /// What it holds now.
    pub fn sample(&self) -> Sample {
        Sample {
            buckets: std::array::from_fn(|i| self.buckets[i].load(Relaxed)),
            sum_us: self.sum_us.load(Relaxed),
        }
    }
}

/// One reading of a [`Histogram`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    buckets: [u64; BOUNDS_US.len() + 1],
    sum_us: u64,
}

impl Sample {
    /// Observations in all.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Sum of what was observed, in seconds.
    pub fn sum_seconds(&self) -> f64 {
        self.sum_us as f64 / 1e6
    }

    /// Upper bound in seconds and cumulative count of each finite bucket.
    pub fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        BOUNDS_US
            .iter()
            .zip(&self.buckets)
            .scan(0, |total, (bound, count)| {
                *total += count;
                Some((*bound as f64 / 1e6, *total))
            })
    }

    /// What was observed since an earlier reading.
    pub fn since(&self, earlier: &Sample) -> Sample {
        Sample {
            buckets: std::array::from_fn(|i| self.buckets[i].saturating_sub(earlier.buckets[i])),
            sum_us: self.sum_us.saturating_sub(earlier.sum_us),
        }
    }

    /// Both readings together.
    pub fn plus(&self, other: &Sample) -> Sample {
        Sample {
            buckets: std::array::from_fn(|i| self.buckets[i] + other.buckets[i]),
            sum_us: self.sum_us + other.sum_us,
        }
    }

    /// The quantile in seconds, interpolated within its bucket; `None` without observations.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let rank = (q * count as f64).max(1.0);
        let mut below = 0.0;
        let mut lower = 0.0;
        for (bound, bucket) in BOUNDS_US.iter().zip(&self.buckets) {
            let upper = *bound as f64 / 1e6;
            let here = *bucket as f64;
            if below + here >= rank {
                return Some(lower + (upper - lower) * (rank - below) / here);
            }
            below += here;
            lower = upper;
        }
        Some(lower)
    }
}

/// One histogram for each value of the `by` label.
#[derive(Debug, Default)]
pub struct Duration4([Histogram; 4]);

impl Duration4 {
    /// The histogram of answers made by `by`.
    pub fn of(&self, by: By) -> &Histogram {
        &self.0[by.index()]
    }
}

const SLOTS: usize = 32;

/// Requests by status and who answered: a small table that fills as statuses appear.
///
/// A key is written once, with a compare-and-swap, and never changes, so a reader needs no lock.
/// More than 32 pairs on one route share the status 0.
#[derive(Debug, Default)]
pub(crate) struct CodeCounters {
    keys: [AtomicU16; SLOTS],
    counts: [AtomicU64; SLOTS],
    overflow: AtomicU64,
}

impl CodeCounters {
    pub(crate) fn add(&self, by: By, code: u16, n: u64) {
        let key = (by.index() as u16) * 1000 + code.min(999) + 1;
        for step in 0..SLOTS {
            let slot = (usize::from(key) + step) % SLOTS;
            let seen = self.keys[slot].load(Relaxed);
            let mine = seen == key || (seen == 0 && self.claim(slot, key));
            if mine {
                self.counts[slot].fetch_add(n, Relaxed);
                return;
            }
        }
        self.overflow.fetch_add(n, Relaxed);
    }

    fn claim(&self, slot: usize, key: u16) -> bool {
        match self.keys[slot].compare_exchange(0, key, Relaxed, Relaxed) {
            Ok(_) => true,
            Err(winner) => winner == key,
        }
    }

    pub(crate) fn total(&self) -> u64 {
        let slots: u64 = self.counts.iter().map(|count| count.load(Relaxed)).sum();
        slots + self.overflow.load(Relaxed)
    }

    pub(crate) fn read(&self) -> Vec<(By, u16, u64)> {
        let mut all: Vec<_> = (0..SLOTS)
            .filter_map(|slot| {
                let key = self.keys[slot].load(Relaxed).checked_sub(1)?;
                let by = By::ALL[usize::from(key / 1000)];
                Some((by, key % 1000, self.counts[slot].load(Relaxed)))
            })
            .collect();
        all.sort_unstable_by_key(|(by, code, _)| (by.index(), *code));
        match self.overflow.load(Relaxed) {
            0 => {}
            n => all.push((By::Upstream, 0, n)),
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_lies_within_the_bucket_of_its_rank() {
        let histogram = Histogram::default();
        for ms in 1..=100 {
            histogram.observe(Duration::from_millis(ms));
        }
        let sample = histogram.sample();
        assert_eq!(sample.count(), 100);
        let p50 = sample.quantile(0.5).unwrap();
        assert!((0.045..=0.055).contains(&p50), "{p50}");
        assert_eq!(Sample::default().quantile(0.5), None);
        assert_eq!(sample.since(&sample).count(), 0);
    }

    #[test]
    fn codes_are_counted_apart_and_none_is_lost_when_the_table_is_full() {
        let codes = CodeCounters::default();
        for code in 200..260 {
            codes.add(By::Upstream, code, 1);
            codes.add(By::Kill, 200, 1);
        }
        let all = codes.read();
        assert!(all.contains(&(By::Kill, 200, 60)));
        assert_eq!(all.iter().map(|(_, _, n)| n).sum::<u64>(), 120);
    }
}
