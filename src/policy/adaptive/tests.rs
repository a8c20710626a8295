//! The adaptive limit, step by step, under threads, and before a simulated upstream.

mod world;

use std::sync::atomic::AtomicUsize;
use std::thread;

use proptest::collection::vec;
use proptest::prelude::*;

use self::world::{Phase, Seen, World};
use super::*;
use crate::policy::shed::most;
use crate::vocab::Tier;

const SPEC: AdaptiveSpec = AdaptiveSpec {
    initial: 20,
    min: 8,
    max: 100,
};

fn answered(millis: u64) -> Ending {
    Ending::Answered(Duration::from_millis(millis))
}

/// An adaptive limit and its time.
struct Story {
    adaptive: Adaptive,
    now: Duration,
}

impl Story {
    /// Of a limit that has met a queue before.
    fn new() -> Story {
        let adaptive = Adaptive::new(&SPEC);
        adaptive.queued.store(true, Relaxed);
        let now = Duration::from_secs(5);
        Story { adaptive, now }
    }

    /// One window of that ending.
    fn window(&mut self, ending: Ending, in_flight: u32) -> Learned {
        self.now += LONGEST;
        let note = || self.adaptive.note(&SPEC, ending, in_flight, self.now);
        let before: Vec<_> = (1..ANSWERS).map(|_| note()).collect();
        assert!(before.iter().all(|learned| *learned == Learned::Nothing));
        note()
    }

    fn windows(&mut self, count: u32, ending: Ending, in_flight: u32) -> u32 {
        for _ in 0..count {
            self.window(ending, in_flight);
        }
        self.adaptive.limit(&SPEC)
    }
}

#[test]
fn it_grows_while_latency_stays_and_shrinks_when_it_rises() {
    let mut story = Story::new();
    assert_eq!(story.adaptive.limit(&SPEC), 20);
    assert_eq!(story.adaptive.usual_latency(), None);
    let grown = story.windows(20, answered(10), 50);
    assert!((40..60).contains(&grown), "{grown}");
    assert_eq!(
        story.adaptive.usual_latency(),
        Some(Duration::from_millis(10))
    );
    let Learned::Window { from, to } = story.window(answered(100), 50) else {
        panic!("a window is over");
    };
    assert!(
        from == grown && to < from && to >= from - from / 10 - 1,
        "{from} {to}"
    );
    let shrunk = story.windows(6, answered(100), 50);
    assert!(shrunk < grown * 2 / 3, "{shrunk} of {grown}");
    assert!(story.windows(6, answered(10), 50) > shrunk);
}

#[test]
fn it_doubles_until_requests_queue_for_the_first_time() {
    let mut story = Story::new();
    story.adaptive.queued.store(false, Relaxed);
    assert_eq!(story.windows(9, answered(10), 9), 20, "half is not in use");
    assert_eq!(
        story.windows(1, answered(14), 16),
        32,
        "twice what there is"
    );
    assert_eq!(story.windows(1, answered(10), 32), 64);
    assert!(story.windows(1, answered(20), 64) < 64);
    let slowly = story.windows(1, answered(10), 64);
    assert!(slowly < 67, "{slowly}");
}

#[test]
fn clients_that_come_all_at_once_are_let_in_within_a_few_windows() {
    let spec = AdaptiveSpec::default();
    let adaptive = Adaptive::new(&spec);
    let mut story = Story {
        adaptive,
        now: Duration::from_secs(5),
    };
    let let_in = |story: &Story| most(Tier::Standard, story.adaptive.limit(&spec)).min(64);
    assert_eq!(let_in(&story), 16);
    for _ in 0..3 {
        let in_flight = let_in(&story);
        story.now += SHORTEST;
        for _ in 0..ANSWERS {
            let note = (answered(10), in_flight, story.now);
            story.adaptive.note(&spec, note.0, note.1, note.2);
        }
    }
    assert_eq!(let_in(&story), 64);
}

#[test]
fn it_stays_within_its_bounds() {
    let mut story = Story::new();
    assert_eq!(story.windows(200, answered(10), 1000), SPEC.max);
    let mut story = Story::new();
    story.windows(10, answered(1), 9);
    assert_eq!(story.windows(1, answered(1000), 20), 18);
    for _ in 0..24 {
        // Always slower than ever.
        let usual = story.adaptive.usual_latency().unwrap();
        story.window(Ending::Answered(usual * 3), 20);
    }
    assert_eq!(story.adaptive.limit(&SPEC), SPEC.min);
    let bounds = AdaptiveSpec { min: 30, ..SPEC };
    assert_eq!(
        story.adaptive.limit(&bounds),
        30,
        "other bounds hold at once"
    );
    let eager = AdaptiveSpec {
        initial: 500,
        ..SPEC
    };
    assert_eq!(Adaptive::new(&eager).limit(&SPEC), SPEC.max);
}

#[test]
fn it_does_not_grow_while_little_is_in_flight() {
    let mut story = Story::new();
    assert_eq!(story.windows(50, answered(10), 9), 20);
    assert!(story.windows(5, answered(10), 15) > 20);
}

#[test]
fn fast_failures_say_nothing_and_timeouts_do() {
    let mut story = Story::new();
    story.windows(10, answered(10), 20);
    let before = story.adaptive.limit(&SPEC);
    story.now += LONGEST;
    for _ in 0..1000 {
        let learned = story.adaptive.note(&SPEC, Ending::Failed, 20, story.now);
        assert_eq!(learned, Learned::Nothing);
    }
    let late = Ending::TimedOut(Duration::from_secs(3));
    assert!(story.windows(5, late, 20) < before);
}

#[test]
fn a_window_waits_for_its_time_and_its_answers() {
    let mut story = Story::new();
    story.window(answered(10), 20);
    for _ in 0..100 {
        let soon = story.now + SHORTEST / 2;
        assert_eq!(
            story.adaptive.note(&SPEC, answered(10), 20, soon),
            Learned::Nothing
        );
    }
    let then = story.now + SHORTEST;
    let learned = story.adaptive.note(&SPEC, answered(10), 20, then);
    assert!(matches!(learned, Learned::Window { .. }));
    let ages = story.now + LONGEST * 1000;
    let notes: Vec<_> = (0..ANSWERS)
        .map(|_| story.adaptive.note(&SPEC, answered(10), 20, ages))
        .collect();
    let (last, rest) = notes.split_last().unwrap();
    assert!(rest.iter().all(|learned| *learned == Learned::Nothing));
    assert!(matches!(last, Learned::Window { .. }));
}

#[test]
fn a_full_window_takes_no_more_answers() {
    let adaptive = Adaptive::new(&SPEC);
    adaptive
        .window
        .store(FULL | (SLOWEST * FULL) << COUNT_BITS, Relaxed);
    adaptive.ends.store(u64::MAX, Relaxed);
    let before = adaptive.window.load(Relaxed);
    adaptive.note(&SPEC, answered(1), 1, Duration::ZERO);
    assert_eq!(adaptive.window.load(Relaxed), before);
}

proptest! {
    #[test]
    fn whatever_comes_it_is_a_limit(
        notes in vec((0..100_000_000_u64, 0..2000_u32, 0..3_000_u64), 1..2000),
    ) {
        let adaptive = Adaptive::new(&SPEC);
        let mut now = Duration::ZERO;
        for (micros, in_flight, step) in notes {
            now += Duration::from_millis(step);
            let ending = Ending::Answered(Duration::from_micros(micros));
            let queued = adaptive.queued.load(Relaxed);
            if let Learned::Window { from, to } = adaptive.note(&SPEC, ending, in_flight, now) {
                prop_assert_eq!(to, adaptive.limit(&SPEC));
                prop_assert!((SPEC.min..=SPEC.max).contains(&to));
                // At most a tenth down, and up by a fifth of the root, or double at first.
                let most = match queued {
                    true => from + 3,
                    false => 2 * from + 1,
                };
                prop_assert!(to + from / 10 + 1 >= from && to <= most, "{from} {to}");
            }
        }
        prop_assert!(adaptive.estimate().is_finite());
    }
}

#[test]
fn threads_close_each_window_once() {
    let adaptive = Adaptive::new(&SPEC);
    adaptive.queued.store(true, Relaxed);
    let windows = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                // Ten seconds, in steps of 100 us.
                for step in 0..100_000_u64 {
                    let now = Duration::from_micros(step * 100);
                    if let Learned::Window { from, to } = adaptive.note(&SPEC, answered(1), 20, now)
                    {
                        assert!(to >= from && to <= from + 2, "{from} {to}");
                        windows.fetch_add(1, Relaxed);
                    }
                }
            });
        }
    });
    // One that was interrupted in its sums makes the others miss windows, never end one twice.
    let windows = windows.into_inner();
    assert!((1..=101).contains(&windows), "{windows}");
    assert_eq!(adaptive.usual_latency(), Some(Duration::from_millis(1)));
}

fn phase(from: u64, load: f64, slowness: f64) -> Phase {
    Phase {
        from,
        load,
        slowness,
    }
}

/// One in a hundred takes 4.6 times the mean where nothing waits.
const UNLOADED: f64 = 4.6;

#[test]
fn before_five_times_too_many_requests_the_upstream_stays_busy_and_core_is_served() {
    let phases = [phase(0, 0.5, 1.0), phase(20, 5.0, 1.0)];
    let seen = World::new(10, 0.01).run(&phases, 60);
    let Seen {
        goodput,
        core,
        core_p99,
        ..
    } = seen;
    assert!(
        goodput > 0.95 && core > 0.99 && core_p99 < 2.0 * UNLOADED,
        "{seen:?}"
    );
}

#[test]
fn a_long_overload_is_not_taken_for_the_usual() {
    let phases = [phase(0, 0.5, 1.0), phase(20, 2.0, 1.0)];
    let seen = World::new(50, 0.05).run(&phases, 600);
    assert!(
        seen.goodput > 0.95 && seen.core_p99 < 1.5 * UNLOADED,
        "{seen:?}"
    );
    assert!(seen.limit < 150, "{seen:?}");
}

#[test]
fn an_upstream_that_becomes_slower_for_good_is_used_again() {
    let phases = [phase(0, 0.5, 1.0), phase(30, 0.5, 3.0)];
    let seen = World::new(50, 0.05).run(&phases, 130);
    assert!(seen.goodput > 0.45, "{seen:?}");
}
