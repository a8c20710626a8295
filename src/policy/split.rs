//! Which upstream of a `split` takes a request: by weight, and the same one for the same client.
//!
//! Weighted rendezvous hashing (Schindelhauer and Schomaker, Weighted Distributed Hash Tables,
//! 2005): each upstream draws a number from the client's hash and its own name, stretched by its
//! weight; the highest has it. A changed weight moves clients to or from that upstream alone,
//! never between the others, and each gateway of a fleet gives the same answer. The number does
//! not follow from the client's hash alone, so that a kill switch with a `percent` takes its
//! share of each upstream's clients.

use super::random::mix;
use super::share;

/// One upstream of a split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Portion {
    /// A hash of the upstream's name.
    name: u64,
    /// Its part of the requests, as a share of the sum of weights.
    weight: u32,
}

impl Portion {
    /// The portion of an upstream.
    pub fn new(name: &str, weight: u32) -> Portion {
        Portion {
            name: share::hash(name.as_bytes()),
            weight,
        }
    }

    fn score(&self, client: u64) -> f64 {
        let drawn = mix(self.name, client) >> 11;
        // Above nothing and below one, so that its logarithm is a negative number.
        let drawn = (drawn as f64 + 0.5) / (1_u64 << 53) as f64;
        f64::from(self.weight) / -drawn.ln()
    }
}

/// The place of the portion that has this client; `None` when no portion has any weight.
pub fn choose(portions: &[Portion], client: u64) -> Option<usize> {
    let weighted = portions
        .iter()
        .enumerate()
        .filter(|(_, one)| one.weight > 0);
    let scored = weighted.map(|(place, portion)| (place, portion.score(client)));
    let best = scored.max_by(|(_, one), (_, other)| one.total_cmp(other));
    best.map(|(place, _)| place)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::share::{Share, hash};
    use proptest::prelude::*;

    fn client(number: u32) -> u64 {
        hash(&number.to_be_bytes())
    }

    #[test]
    fn each_upstream_has_its_part() {
        let portions = [
            Portion::new("stats", 95),
            Portion::new("stats-next", 5),
            Portion::new("none", 0),
        ];
        let mut counts = [0_u32; 3];
        for number in 0..100_000 {
            counts[choose(&portions, client(number)).unwrap()] += 1;
        }
        assert!((94_700..=95_300).contains(&counts[0]), "{counts:?}");
        assert_eq!(counts[2], 0);
        assert_eq!(choose(&[], 1), None);
        assert_eq!(choose(&[Portion::new("a", 0)], 1), None);
    }

    #[test]
    fn a_kill_switch_takes_its_share_of_each_part() {
        let portions = [Portion::new("a", 1), Portion::new("b", 1)];
        let tenth = Share::from_percent(10.0).unwrap();
        let killed = (0..100_000)
            .map(client)
            .filter(|client| tenth.takes(*client));
        let of_first = killed.filter(|client| choose(&portions, *client) == Some(0));
        let count = of_first.count();
        assert!((4_700..=5_300).contains(&count), "{count}");
    }

    /// Other gateways and later versions must agree with these.
    #[test]
    fn choices_are_what_they_always_were() {
        let portions = [Portion::new("stats", 50), Portion::new("stats-next", 50)];
        let places: Vec<_> = (0..16)
            .filter_map(|n| choose(&portions, client(n)))
            .collect();
        assert_eq!(places, [0, 1, 1, 1, 1, 1, 0, 0, 0, 1, 1, 0, 1, 1, 1, 1]);
    }

    proptest! {
        #[test]
        fn a_changed_weight_moves_clients_to_or_from_that_upstream_alone(
            weights in prop::collection::vec(0_u32..100, 2..6),
            changed in any::<prop::sample::Index>(),
            weight in 0_u32..100,
        ) {
            let portions = |weights: &[u32]| -> Vec<Portion> {
                let numbered = weights.iter().enumerate();
                numbered.map(|(n, weight)| Portion::new(&format!("u{n}"), *weight)).collect()
            };
            let changed = changed.index(weights.len());
            let before = portions(&weights);
            let mut other = weights.clone();
            other[changed] = weight;
            let after = portions(&other);
            for number in 0..300 {
                let (was, is) = (choose(&before, client(number)), choose(&after, client(number)));
                if was != is {
                    let grows = weight > weights[changed];
                    prop_assert_eq!(if grows { is } else { was }, Some(changed));
                }
            }
        }
    }
}
