//! Several random numbers out of the one that the caller gives, and the mixing of two hashes.

use std::num::NonZeroUsize;

/// SplitMix64 (Steele, Lea and Flood, Fast Splittable Pseudorandom Number Generators, 2014).
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        finish(self.0)
    }

    /// A number from 0 to below the bound.
    pub(super) fn below(&mut self, bound: NonZeroUsize) -> usize {
        ((u128::from(self.next()) * bound.get() as u128) >> 64) as usize
    }
}

/// A hash of two hashes, the same on every gateway.
pub(super) fn mix(one: u64, other: u64) -> u64 {
    finish((one ^ other).wrapping_add(0x9e37_79b9_7f4a_7c15))
}

/// The finisher of SplitMix64: each bit that goes in changes half of those that come out.
fn finish(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first numbers of the published generator for seed 1234567.
    #[test]
    fn numbers_are_those_of_the_published_generator() {
        let mut random = Random::new(1_234_567);
        assert_eq!(random.next(), 6_457_827_717_110_365_317);
        assert_eq!(random.next(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn numbers_below_a_bound_are_spread_over_it() {
        let (mut random, bound) = (Random::new(1), NonZeroUsize::new(7).unwrap());
        let mut counts = [0_u32; 7];
        (0..70_000).for_each(|_| counts[random.below(bound)] += 1);
        assert!(
            counts.iter().all(|count| (9_500..10_500).contains(count)),
            "{counts:?}"
        );
    }
}
