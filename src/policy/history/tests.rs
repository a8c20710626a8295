use std::time::Duration;

use proptest::prelude::*;

use crate::policy::history::{Addition, History, STEP};

fn at(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[derive(Clone, Debug)]
enum Act {
    Add,
    AddBelow(u64),
    Wait(u64),
    Forget,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        5 => Just(Act::Add),
        3 => (0_u64..30).prop_map(Act::AddBelow),
        4 => (0_u64..3_000).prop_map(Act::Wait),
        1 => (3_000_u64..200_000).prop_map(Act::Wait),
        1 => Just(Act::Forget),
    ]
}

/// Every addition by the number of its step.
#[derive(Default)]
struct Model {
    steps: Vec<u64>,
}

impl Model {
    fn within(&self, window: Duration, now: u64) -> u64 {
        let step = STEP.as_millis() as u64;
        let first =
            (now / step).saturating_sub(window.as_millis().div_ceil(STEP.as_millis()) as u64);
        self.steps.iter().filter(|at| **at >= first).count() as u64
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn a_history_counts_as_a_list_of_moments_does(
        acts in prop::collection::vec(act(), 1..300),
        windows in prop::collection::vec(500_u64..60_000, 1..4),
        start in 0_u64..10_000_000_000,
    ) {
        let (history, mut model, mut now) = (History::default(), Model::default(), start);
        let mut turn = windows.iter().cycle();
        for act in acts {
            let window = at(*turn.next().unwrap());
            match act {
                Act::Add => {
                    history.add(at(now));
                    model.steps.push(now / 500);
                }
                Act::AddBelow(limit) => {
                    let held = model.within(window, now);
                    let wanted = match held < limit {
                        true => Addition::Added(held + 1),
                        false => Addition::Full(held),
                    };
                    prop_assert_eq!(history.add_below(limit, window, at(now)), wanted);
                    if held < limit {
                        model.steps.push(now / 500);
                    }
                }
                Act::Wait(ms) => now += ms,
                Act::Forget => {
                    history.forget();
                    model.steps.clear();
                }
            }
            prop_assert_eq!(history.within(window, at(now)), model.within(window, now));
        }
    }

    #[test]
    fn a_worker_whose_clock_is_late_never_hides_what_was_counted(
        additions in prop::collection::vec((0_u64..20_000, 0_u64..4_000), 1..100),
    ) {
        // Moments rise, but each worker may have read the clock up to 4 s before it counts.
        let history = History::default();
        let mut moments: Vec<(u64, u64)> = additions;
        moments.sort_unstable();
        for (done, (moment, late)) in moments.iter().enumerate() {
            history.add(at(100_000 + moment - late.min(moment)));
            prop_assert_eq!(history.within(at(30_000), at(100_000 + moment)), done as u64 + 1);
        }
    }
}

#[test]
fn a_million_additions_by_four_threads_are_all_counted_over_the_end_of_steps() {
    let history = History::default();
    std::thread::scope(|scope| {
        for worker in 0..4_u64 {
            let history = &history;
            scope.spawn(move || {
                for turn in 0..50_000_u64 {
                    history.add(at(7_000 + turn / 10 + worker * 3));
                }
            });
        }
    });
    assert_eq!(history.within(at(10_000), at(12_100)), 200_000);
}

#[test]
fn a_worker_that_slept_longer_than_the_ring_counts_nothing_as_lately() {
    let history = History::default();
    history.add(at(1_000));
    for second in 70..200 {
        history.add(at(second * 1_000));
    }
    assert_eq!(history.within(at(10_000), at(1_000)), 0);
    assert_eq!(history.within(at(9_500), at(199_000)), 10);
}
