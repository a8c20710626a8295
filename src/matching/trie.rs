//! The patterns as a tree of segments, so that the cost of a match depends on the path and not
//! on the number of routes.
//!
//! A search tries at each node the literal child, then `{name}`, then the rest: the order of
//! specificity. It may come back from a branch, but the way to a node is one alone, so that it
//! enters each node at most once: no path makes it visit more nodes than the patterns have
//! segments, however the patterns overlap.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Range;

use super::PathPattern;
use super::path::decode_all;
use super::pattern::{Segment, Tail};

/// No node has this index.
pub(super) const NONE: u32 = u32::MAX;

/// Every node of every host; each host has a root of its own.
#[derive(Debug, Default)]
pub(super) struct Trie {
    nodes: Vec<Node>,
}

/// Smaller than a cache line.
#[derive(Debug)]
struct Node {
    literals: HashMap<Box<[u8]>, u32, SegmentHash>,
    param: u32,
    /// The routes whose pattern ends here.
    end: Chain,
    /// The routes that take a slash and whatever follows.
    rest: Chain,
}

/// Candidates that stand next to each other, the most specific first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Chain {
    start: u32,
    end: u32,
}

/// The place of a pattern: patterns that differ in nothing but names share it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Slot {
    node: u32,
    rest: bool,
}

impl Chain {
    /// Adds the candidate that was stored last, at `index`.
    fn extend(&mut self, index: u32) {
        if self.start == self.end {
            self.start = index;
        }
        self.end = index + 1;
    }

    /// Positions among the candidates.
    pub(super) fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

impl Trie {
    /// A node without routes.
    pub(super) fn add_node(&mut self) -> u32 {
        let index = self.nodes.len() as u32;
        self.nodes.push(Node {
            literals: HashMap::default(),
            param: NONE,
            end: Chain::default(),
            rest: Chain::default(),
        });
        index
    }

    /// The place of `pattern` below `root`, made when it is new.
    pub(super) fn slot(&mut self, root: u32, pattern: &PathPattern) -> Slot {
        let mut node = root;
        for segment in pattern.segments() {
            node = match segment {
                Segment::Literal(text) => self.literal(node, text),
                Segment::Param(_) => self.param(node),
            };
        }
        let rest = matches!(pattern.tail(), Tail::Rest(_));
        Slot { node, rest }
    }

    /// Notes that the candidate stored at `index` belongs to `slot`. Candidates of one slot come
    /// one after the other.
    pub(super) fn extend(&mut self, slot: Slot, index: u32) {
        let node = &mut self.nodes[slot.node as usize];
        let chain = if slot.rest {
            &mut node.rest
        } else {
            &mut node.end
        };
        chain.extend(index);
    }

    fn param(&mut self, parent: u32) -> u32 {
        let child = self.nodes[parent as usize].param;
        if child != NONE {
            return child;
        }
        let child = self.add_node();
        self.nodes[parent as usize].param = child;
        child
    }

    /// A segment is found as written and wholly decoded: the lenient reading of a path must
    /// meet the same route (`/caf%C3%A9` and `/café`).
    fn literal(&mut self, parent: u32, text: &str) -> u32 {
        let decoded = decode_all(text);
        let known = &self.nodes[parent as usize].literals;
        let child = known
            .get(text.as_bytes())
            .or_else(|| known.get(decoded.as_bytes()))
            .copied();
        let child = child.unwrap_or_else(|| self.add_node());
        let known = &mut self.nodes[parent as usize].literals;
        known.insert(text.as_bytes().into(), child);
        known.insert(decoded.as_bytes().into(), child);
        child
    }

    /// The chains whose patterns take what follows the slash below `root`, most specific
    /// first, until `visit` gives a result.
    pub(super) fn visit<T>(
        &self,
        root: u32,
        below: &[u8],
        visit: &mut impl FnMut(Chain) -> Option<T>,
    ) -> Option<T> {
        let node = self.nodes.get(root as usize)?;
        if node.param != NONE || !node.literals.is_empty() {
            let slash = memchr::memchr(b'/', below);
            let (segment, below) = match slash {
                Some(slash) => (&below[..slash], Some(&below[slash + 1..])),
                None => (below, None),
            };
            let literal = node.literals.get(segment).copied().unwrap_or(NONE);
            let param = if segment.is_empty() { NONE } else { node.param };
            for child in [literal, param] {
                let found = match below {
                    Some(below) => self.visit(child, below, visit),
                    None => self
                        .nodes
                        .get(child as usize)
                        .and_then(|node| visit(node.end)),
                };
                if found.is_some() {
                    return found;
                }
            }
        }
        visit(node.rest)
    }
}

/// Hashes names and segments that the configuration wrote.
///
/// Requests look up and never insert, so that who sends them cannot make long chains; the hash
/// needs no secret and may be a fast one.
pub(super) type SegmentHash = BuildHasherDefault<SegmentHasher>;

/// Multiplies to 128 bits and folds, eight bytes a step.
#[derive(Default)]
pub(super) struct SegmentHasher(u64);

impl SegmentHasher {
    fn mix(&mut self, word: u64) {
        const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
        let product = u128::from(self.0.rotate_left(23) ^ word ^ ODD) * u128::from(ODD);
        self.0 = (product as u64) ^ (product >> 64) as u64;
    }
}

impl Hasher for SegmentHasher {
    fn write(&mut self, mut bytes: &[u8]) {
        while let Some((word, left)) = bytes.split_first_chunk() {
            self.mix(u64::from_le_bytes(*word));
            bytes = left;
        }
        let word = match (bytes.first_chunk(), bytes.last_chunk(), bytes) {
            (Some(first), Some(last), _) => {
                u64::from(u32::from_le_bytes(*first)) << 32 | u64::from(u32::from_le_bytes(*last))
            }
            (_, _, [first, .., last]) => {
                let middle = bytes[bytes.len() / 2];
                u64::from(*first) << 16 | u64::from(middle) << 8 | u64::from(*last)
            }
            (_, _, [only]) => u64::from(*only),
            (_, _, []) => return,
        };
        self.mix(word);
    }

    fn write_usize(&mut self, length: usize) {
        // The length comes first, so that it needs no mixing of its own.
        self.0 ^= length as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::hash::BuildHasher;

    #[test]
    fn a_node_fits_into_a_cache_line() {
        assert!(size_of::<Node>() <= 64, "{}", size_of::<Node>());
    }

    #[test]
    fn segments_spread_over_high_and_low_bits() {
        let hashes: Vec<u64> = (0..10_000)
            .map(|n| SegmentHash::default().hash_one(format!("r{n}").as_bytes()))
            .collect();
        let distinct = |bits: &dyn Fn(u64) -> u64| {
            hashes
                .iter()
                .map(|&hash| bits(hash))
                .collect::<HashSet<_>>()
                .len()
        };
        assert_eq!(distinct(&|hash| hash), 10_000);
        // Of 16,384 buckets, 10,000 random values meet about 7,500.
        assert!(distinct(&|hash| hash & 0x3fff) > 7_000);
        assert_eq!(distinct(&|hash| hash >> 57), 128);
    }

    #[test]
    fn overlapping_patterns_are_each_visited_once() {
        // Every mix of a literal and a parameter over twelve segments.
        let mut trie = Trie::default();
        let root = trie.add_node();
        for mix in 0..1 << 12 {
            let segments = (0..12).map(|bit| match mix >> bit & 1 {
                0 => "/a".to_owned(),
                _ => format!("/{{p{bit}}}"),
            });
            let text: String = segments.collect();
            trie.slot(root, &PathPattern::parse(&text).unwrap());
        }
        let mut visits = 0;
        let path = "a/".repeat(1000);
        let found = trie.visit(root, path.as_bytes(), &mut |_| {
            visits += 1;
            None::<()>
        });
        assert!(found.is_none());
        assert!(visits <= trie.nodes.len());
    }
}
