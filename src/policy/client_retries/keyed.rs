//! A keyed hash that costs a few nanoseconds for a request.

use std::hash::{BuildHasher, Hasher, RandomState};

/// Secrets of this process.
#[derive(Clone, Debug)]
pub struct Keys {
    start: u64,
    factor: u64,
}

impl Keys {
    /// Keys that nobody knows, from the source that the standard library's maps use.
    pub fn random() -> Keys {
        let source = RandomState::new();
        Keys::new(source.hash_one(1), source.hash_one(2))
    }

    /// Keys that are known, for tests.
    pub fn new(start: u64, factor: u64) -> Keys {
        Keys {
            start,
            // Bits at both ends, so that a product spreads to both sides.
            factor: factor | 1 | (1 << 63),
        }
    }
}

impl BuildHasher for Keys {
    type Hasher = Fold;

    fn build_hasher(&self) -> Fold {
        Fold {
            state: self.start,
            factor: self.factor,
        }
    }
}

/// Words are multiplied to twice their width, and the halves folded, as wyhash does (Wang Yi).
///
/// Not a cryptographic hash. Somebody who found collisions without seeing a hash could only have
/// another's request counted as repeated.
#[derive(Debug)]
pub struct Fold {
    state: u64,
    factor: u64,
}

impl Fold {
    fn word(&mut self, word: u64) {
        let product = u128::from(self.state ^ word) * u128::from(self.factor);
        // The rotation keeps a state of nothing from staying nothing.
        let folded = product as u64 ^ (product >> 64) as u64;
        self.state = folded.rotate_left(23).wrapping_add(self.factor);
    }
}

impl Hasher for Fold {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.word(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        // Without the length a text and the same with a zero behind it would be one.
        self.word(u64::from_le_bytes(last) ^ ((bytes.len() as u64) << 56));
    }

    fn write_u8(&mut self, number: u8) {
        self.word(u64::from(number));
    }

    fn write_u32(&mut self, number: u32) {
        self.word(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        self.word(number);
    }

    fn write_usize(&mut self, number: usize) {
        self.word(number as u64);
    }

    fn write_isize(&mut self, number: isize) {
        self.word(number as u64);
    }

    fn finish(&self) -> u64 {
        let product = u128::from(self.state) * u128::from(self.factor);
        product as u64 ^ (product >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn texts_that_differ_little_have_hashes_that_differ_everywhere() {
        let keys = Keys::new(0x1234, 0x9e37_79b9_7f4a_7c15);
        let hash = |number: u32| keys.hash_one(format!("/v1/stats/player-{number}"));
        let hashes: Vec<u64> = (0..200_000).map(hash).collect();
        for bit in 0..64 {
            let set = hashes.iter().filter(|hash| *hash >> bit & 1 == 1).count();
            assert!((98_000..102_000).contains(&set), "bit {bit}: {set}");
        }
        let low: HashSet<u64> = hashes.iter().map(|hash| hash & 0x3fff_ffff).collect();
        // Of 200,000 in a thousand million about 19 meet.
        assert!(low.len() > 199_930, "{}", low.len());
        for pair in hashes.windows(2) {
            let differ = (pair[0] ^ pair[1]).count_ones();
            assert!((8..=56).contains(&differ), "{differ}");
        }
    }

    #[test]
    fn length_order_and_keys_make_another_hash() {
        let keys = Keys::new(1, 2);
        let texts: [&[u8]; 6] = [b"", b"\0", b"\0\0", b"ab", b"ba", b"abcdefgh"];
        let hashes: HashSet<u64> = texts.iter().map(|text| keys.hash_one(text)).collect();
        assert_eq!(hashes.len(), 6);
        assert_ne!(keys.hash_one(7_u64), Keys::new(1, 4).hash_one(7_u64));
        assert_ne!(keys.hash_one(7_u64), Keys::new(3, 2).hash_one(7_u64));
        assert_ne!(
            Keys::random().hash_one(7_u64),
            Keys::random().hash_one(7_u64)
        );
    }
}
