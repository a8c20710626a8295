//! The journal against a model, over a disk that fails and crashes: what was acknowledged is
//! there afterwards, once.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::sim::{Chances, Condition, Leaves, SimDisk};
use super::trial::{self, Content};
use super::{Answer, Durability, Growth, Journal, Options, Removal, SegmentId, Ulid};

/// Numbers for a test that must take the same way again.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound
    }
}

/// What must be, and what may be, in the journal.
#[derive(Default)]
struct Model {
    acknowledged: BTreeMap<u64, Ulid>,
    /// Uploaded and removed: a crash may bring them back.
    removed: BTreeSet<u64>,
    submitted: u64,
}

impl Model {
    fn check(&self, content: &Content) {
        content.assert_sound();
        let found: BTreeMap<u64, Ulid> = content.records.iter().map(|(id, n)| (*n, *id)).collect();
        for (number, id) in &self.acknowledged {
            assert_eq!(found.get(number), Some(id), "{number} was acknowledged");
        }
        for number in found.keys() {
            assert!(*number < self.submitted, "{number} was never submitted");
        }
    }
}

struct Trial {
    disk: SimDisk,
    options: Options,
    dice: Dice,
    model: Model,
}

/// What a life of the journal ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Faults {
    None,
    Some,
}

impl Trial {
    fn new(seed: u64, durability: Durability) -> Trial {
        let mut dice = Dice(seed);
        let directories = 1 + dice.below(3) as usize;
        let mut options = trial::options(directories);
        options.copies = 1 + dice.below(directories as u64) as usize;
        options.segment_bytes = 600 + dice.below(6000);
        options.batch_bytes = 1024 + dice.below(8192);
        options.dense = 1 + dice.below(8) as usize;
        options.limits.durability = durability;
        Trial {
            disk: SimDisk::new(seed),
            options,
            dice,
            model: Model::default(),
        }
    }

    async fn wave(&mut self, journal: &Journal) {
        let count = 1 + self.dice.below(12);
        let records: Vec<(u64, usize)> = (0..count)
            .map(|offset| {
                let bound = if self.dice.below(10) == 0 { 9000 } else { 200 };
                let body = self.dice.below(bound);
                (self.model.submitted + offset, body as usize)
            })
            .collect();
        self.model.submitted += count;
        let answers = trial::store_all(journal, &records).await;
        for ((number, _), answer) in records.iter().zip(answers) {
            if let Answer::Stored { id } = answer {
                self.model.acknowledged.insert(*number, id);
            }
        }
    }

    /// As the uploader does it: the oldest closed segment, once it was read whole.
    async fn upload(&mut self, journal: &Journal) {
        let segments = journal.segments();
        let closed = segments.iter().find(|info| info.growth == Growth::Closed);
        let Some(info) = closed.filter(|_| !self.disk.has_crashed()) else {
            return;
        };
        let numbers = match trial::try_read(&self.disk, vec![info.clone()]) {
            Ok(content) if content.damaged == 0 => content.numbers(),
            Ok(_) | Err(_) => return,
        };
        if journal.remove(info.id).await == Ok(Removal::Done) {
            for number in numbers {
                self.model.acknowledged.remove(&number);
                self.model.removed.insert(number);
            }
        }
    }

    fn trouble(&mut self) {
        let rare = |dice: &mut Dice| {
            if dice.below(3) == 0 {
                dice.below(150)
            } else {
                0
            }
        };
        let dice = &mut self.dice;
        self.disk.set_chances(Chances {
            short_write: rare(dice),
            write: rare(dice),
            sync: rare(dice),
            truncate: rare(dice),
            create: rare(dice),
            remove: rare(dice),
            sync_directory: rare(dice),
        });
        if dice.below(4) == 0 {
            self.disk.set_capacity(Some(2000 + dice.below(30_000)));
        }
    }

    /// Until the crash, or the end of the waves.
    async fn live(&mut self, faults: Faults, crash: Leaves) {
        // Recovery too meets faults, and does not always come to its end.
        let early = self.dice.below(4) == 0;
        if early {
            self.trouble_and_crash(faults, crash, 25);
        }
        let (journal, _heard) = trial::open(&self.disk, &self.options);
        if !early {
            self.trouble_and_crash(faults, crash, 150);
        }
        for _ in 0..2 + self.dice.below(25) {
            match self.dice.below(12) {
                0 => drop(journal.seal().await),
                1 => self.upload(&journal).await,
                2 if faults == Faults::Some => self.unplug(),
                _ => self.wave(&journal).await,
            }
            if self.disk.has_crashed() {
                break;
            }
        }
        if crash != Leaves::All {
            // Wherever it stands: now.
            self.disk.crash_after(0);
        }
        journal.close().await;
        self.disk.restart(crash);
    }

    fn trouble_and_crash(&mut self, faults: Faults, crash: Leaves, within: u64) {
        if faults == Faults::Some {
            self.trouble();
        }
        if crash != Leaves::All {
            self.disk.crash_after(self.dice.below(within));
        }
    }

    fn unplug(&mut self) {
        let directory = self.dice.below(self.options.directories.len() as u64);
        let condition = match self.dice.below(3) {
            0 => Condition::ReadOnly,
            1 => Condition::Gone,
            _ => Condition::Sound,
        };
        let path = &self.options.directories[directory as usize];
        self.disk.set_condition(path, condition);
    }

    async fn verify(&mut self) {
        let (journal, _heard) = trial::open(&self.disk, &self.options);
        let content = trial::read(&self.disk, journal.segments());
        self.model.check(&content);
        journal.close().await;
        // What came back is there to stay, for the next check of ids too.
        self.model.removed.clear();
    }
}

/// How many crashes there were, and how many records had been acknowledged and not removed.
fn crashes(seeds: std::ops::Range<u64>, faults: Faults) -> (u64, usize) {
    let (mut crashes, mut acknowledged) = (0, 0);
    for seed in seeds {
        trial::run(async {
            let mut trial = Trial::new(seed, Durability::Fsync);
            for _ in 0..4 {
                let leaves = match trial.dice.below(2) {
                    0 => Leaves::Nothing,
                    _ => Leaves::Some,
                };
                trial.live(faults, leaves).await;
                crashes += 1;
                trial.verify().await;
            }
            acknowledged += trial.model.acknowledged.len();
        });
    }
    (crashes, acknowledged)
}

#[test]
fn what_was_acknowledged_survives_1000_losses_of_power_once_and_with_rising_ids() {
    let (crashes, acknowledged) = crashes(0..250, Faults::None);
    assert_eq!(crashes, 1000);
    assert!(acknowledged > 10_000, "{acknowledged}");
}

#[test]
fn what_was_acknowledged_survives_1000_losses_of_power_on_disks_that_also_fail() {
    let (crashes, acknowledged) = crashes(1000..1250, Faults::Some);
    assert_eq!(crashes, 1000);
    assert!(acknowledged > 5000, "{acknowledged}");
}

#[test]
fn what_was_written_survives_the_end_of_the_process_whatever_fails() {
    for seed in 2000..2060 {
        trial::run(async {
            let mut trial = Trial::new(seed, Durability::Written);
            for _ in 0..4 {
                trial.live(Faults::Some, Leaves::All).await;
                for directory in trial.options.directories.clone() {
                    trial.disk.set_condition(&directory, Condition::Sound);
                }
                trial.verify().await;
            }
        });
    }
}

/// A journal of one directory with some segments, the last one unsealed, and its content.
async fn filled(seed: u64) -> (Trial, Content, Vec<(SegmentId, u64)>) {
    let mut trial = Trial::new(seed, Durability::Fsync);
    trial.options.directories.truncate(1);
    trial.options.copies = 1;
    let (journal, _heard) = trial::open(&trial.disk, &trial.options);
    for _ in 0..8 {
        trial.wave(&journal).await;
    }
    let segments = journal.segments();
    let content = trial::read(&trial.disk, segments.clone());
    trial.disk.crash_after(0);
    journal.close().await;
    trial.disk.restart(Leaves::Nothing);
    let ends = segments.iter().map(|info| (info.id, info.copies[0].end));
    (trial, content, ends.collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn damage_anywhere_costs_only_the_records_it_touches_and_is_counted(
        seed in 0_u64..1_000_000,
        which in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        length in 1_usize..400,
    ) {
        trial::run(async {
            let (trial, before, _) = filled(seed).await;
            let files = trial.disk.files_in(&trial.options.directories[0]);
            let path = which.get(&files);
            let size = trial.disk.length_of(path);
            let from = at.index(size);
            let to = (from + length).min(size);
            trial.disk.spoil(path, from..to);

            let (journal, heard) = trial::open(&trial.disk, &trial.options);
            let after = trial::read(&trial.disk, journal.segments());
            after.assert_sound();
            let kept: BTreeSet<u64> = after.numbers().into_iter().collect();
            let lost = before.numbers().iter().filter(|n| !kept.contains(n)).count();
            // A record is longer than 250 bytes, so this many can be touched at most.
            assert!(lost <= length / 250 + 2, "{lost} lost to {length} bytes");
            let told = !heard.events.lock().unwrap().is_empty();
            assert!(lost == 0 || told || after.damaged > 0, "{lost} lost and not told");
            trial::stored(trial::store(&journal, 999_999, 10).await);
            journal.close().await;
        });
    }
}
