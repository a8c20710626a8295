use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use crate::policy::balance::{BalanceSpec, Candidate, Choice, Draw, Method, Place, Tried, choose};
use crate::policy::endpoint::EndpointState;
use crate::policy::outcome::Outcome;
use crate::policy::outlier::OutlierSpec;
use crate::policy::share::{Share, hash};

#[derive(Clone, Debug)]
struct Fixed {
    name: u64,
    place: Place,
    load: u32,
}

impl Candidate for Fixed {
    fn place(&self, _: Duration) -> Place {
        self.place
    }

    fn load(&self, _: Duration) -> u32 {
        self.load
    }

    fn name(&self) -> u64 {
        self.name
    }
}

const UP: Place = Place::Up { since: None };

fn some(places: &[Place]) -> Vec<Fixed> {
    let numbered = places.iter().enumerate();
    numbered
        .map(|(number, place)| Fixed {
            name: hash(format!("http://10.0.0.{number}").as_bytes()),
            place: *place,
            load: 0,
        })
        .collect()
}

fn spec(method: Method) -> BalanceSpec {
    BalanceSpec {
        method,
        ..BalanceSpec::default()
    }
}

const NOW: Duration = Duration::from_secs(1_000);

fn pick(spec: &BalanceSpec, endpoints: &[Fixed], tried: &Tried, number: u64) -> Choice {
    let draw = Draw {
        tried,
        now: NOW,
        key: match spec.method {
            Method::Hash => hash(&number.to_be_bytes()),
            Method::RoundRobin | Method::LeastRequest => number,
        },
        random: hash(&number.to_le_bytes()),
    };
    choose(spec, endpoints, &draw)
}

fn counts(spec: &BalanceSpec, endpoints: &[Fixed], turns: u64) -> Vec<u64> {
    let mut counts = vec![0; endpoints.len()];
    for number in 0..turns {
        match pick(spec, endpoints, &Tried::default(), number) {
            Choice::Up(place) | Choice::Panic(place) => counts[place] += 1,
            Choice::None => {}
        }
    }
    counts
}

#[test]
fn endpoints_take_turns() {
    let endpoints = some(&[UP, UP, Place::Down, UP]);
    let spec = spec(Method::RoundRobin);
    let picks: Vec<_> = (0..6)
        .map(|number| pick(&spec, &endpoints, &Tried::default(), number))
        .collect();
    assert_eq!(picks, [0, 1, 3, 0, 1, 3].map(Choice::Up));
}

#[test]
fn each_method_spreads_evenly_over_those_that_are_up() {
    let endpoints = some(&[UP, Place::Down, UP, UP, UP, UP]);
    for method in [Method::LeastRequest, Method::RoundRobin, Method::Hash] {
        let counts = counts(&spec(method), &endpoints, 50_000);
        assert_eq!(counts[1], 0);
        for place in [0, 2, 3, 4, 5] {
            assert!(
                (9_600..=10_400).contains(&counts[place]),
                "{method:?} {counts:?}"
            );
        }
    }
}

#[test]
fn of_two_the_less_loaded_is_taken_and_the_most_loaded_of_all_never() {
    let mut endpoints = some(&[UP; 5]);
    for (load, endpoint) in endpoints.iter_mut().enumerate() {
        endpoint.load = load as u32;
    }
    let counts = counts(&spec(Method::LeastRequest), &endpoints, 20_000);
    assert_eq!(counts[4], 0);
    // The k-th of n is the lesser of a pair in 2(n-k)/(n(n-1)) of the draws.
    for (place, wanted) in [(0, 8_000), (1, 6_000), (2, 4_000), (3, 2_000)] {
        assert!(counts[place].abs_diff(wanted) < 300, "{counts:?}");
    }
}

#[test]
fn the_same_key_goes_to_the_same_endpoint_and_a_loss_moves_only_its_own_keys() {
    let endpoints = some(&[UP; 10]);
    let spec = spec(Method::Hash);
    let mut fewer = endpoints.clone();
    fewer.remove(3);
    for key in 0..5_000 {
        let Choice::Up(before) = pick(&spec, &endpoints, &Tried::default(), key) else {
            panic!("all are up");
        };
        let Choice::Up(after) = pick(&spec, &fewer, &Tried::default(), key) else {
            panic!("all are up");
        };
        let (before, after) = (endpoints[before].name, fewer[after].name);
        assert!(before == after || before == endpoints[3].name);
    }
}

#[test]
fn by_hash_one_hot_key_overflows_to_others_within_the_bound() {
    let mut endpoints = some(&[UP; 4]);
    let spec = spec(Method::Hash);
    for _ in 0..400 {
        let Choice::Up(place) = pick(&spec, &endpoints, &Tried::default(), 7) else {
            panic!("all are up");
        };
        endpoints[place].load += 1;
        let total: u32 = endpoints.iter().map(|endpoint| endpoint.load).sum();
        let bound = (f64::from(total) * 1.25 / 4.0).ceil().max(16.0);
        assert!(endpoints.iter().all(|one| f64::from(one.load) <= bound));
    }
    let total: u32 = endpoints.iter().map(|endpoint| endpoint.load).sum();
    assert_eq!(total, 400);
}

#[test]
fn one_that_came_back_takes_a_part_that_rises() {
    for (method, seconds, least, most) in [
        (Method::RoundRobin, 0, 400, 600),
        (Method::RoundRobin, 5, 2_300, 2_700),
        (Method::RoundRobin, 10, 5_000, 5_000),
        (Method::LeastRequest, 0, 400, 600),
        (Method::LeastRequest, 5, 2_300, 2_700),
        (Method::LeastRequest, 10, 4_800, 5_200),
        (Method::Hash, 0, 4_800, 5_200),
    ] {
        let since = Some(NOW - Duration::from_secs(seconds));
        let endpoints = some(&[UP, Place::Up { since }]);
        let counts = counts(&spec(method), &endpoints, 10_000);
        assert!(
            (least..=most).contains(&counts[1]),
            "{method:?} {seconds} s: {counts:?}"
        );
    }
    // All of them have just come back: none is spared.
    let since = Some(NOW);
    let endpoints = some(&[Place::Up { since }; 2]);
    let counts = counts(&spec(Method::RoundRobin), &endpoints, 1_000);
    assert_eq!(counts, [500, 500]);
}

#[test]
fn below_the_share_up_health_is_ignored() {
    let down = Place::Down;
    let (half, less) = (some(&[UP, UP, down, down]), some(&[UP, down, down, down]));
    let spec = spec(Method::LeastRequest);
    assert_eq!(counts(&spec, &half, 1_000)[2..], [0, 0]);
    assert!(counts(&spec, &less, 1_000).iter().all(|count| *count > 150));
    let panics = |endpoints| match pick(&spec, endpoints, &Tried::default(), 1) {
        Choice::Panic(_) => true,
        Choice::Up(_) | Choice::None => false,
    };
    assert!(!panics(&half));
    assert!(panics(&less));
    let never = BalanceSpec {
        panic: Share::NONE,
        ..spec
    };
    assert_eq!(counts(&never, &less, 100), [100, 0, 0, 0]);
}

#[test]
fn with_a_share_of_none_health_is_never_ignored() {
    let never = BalanceSpec {
        panic: Share::NONE,
        ..spec(Method::LeastRequest)
    };
    let (rests, down) = (Place::Resting, Place::Down);
    let choice = |places: &[Place]| pick(&never, &some(places), &Tried::default(), 1);
    assert_eq!(choice(&[down]), Choice::None);
    assert_eq!(choice(&[down, down]), Choice::None);
    // A connection that could not be made is no verdict.
    assert_eq!(choice(&[rests]), Choice::Up(0));
    assert_eq!(choice(&[down, rests]), Choice::Up(1));
    assert_eq!(choice(&[rests, UP]), Choice::Up(1));
}

#[test]
fn without_endpoints_there_is_none_and_a_thousand_are_all_found() {
    for (method, count, turns) in [
        (Method::LeastRequest, 200, 4_000),
        (Method::RoundRobin, 1_024, 1_024),
        (Method::Hash, 200, 4_000),
    ] {
        let none = pick(&spec(method), &[], &Tried::default(), 1);
        assert_eq!(none, Choice::None);
        let counts = counts(&spec(method), &some(&vec![UP; count]), turns);
        assert!(counts.iter().all(|count| *count > 0), "{method:?}");
    }
}

fn any_place() -> impl Strategy<Value = Place> {
    prop_oneof![
        3 => Just(UP),
        1 => (0_u64..20).prop_map(|s| Place::Up { since: Some(NOW - Duration::from_secs(s)) }),
        1 => Just(Place::Resting),
        2 => Just(Place::Down),
    ]
}

proptest! {
    #[test]
    fn what_is_chosen_is_up_and_untried_if_any_is(
        places in prop_oneof![
            1 => prop::collection::vec(any_place(), 1..3),
            3 => prop::collection::vec(any_place(), 1..100),
        ],
        loads in prop::collection::vec(0_u32..100, 100),
        method in prop::sample::select(vec![Method::LeastRequest, Method::RoundRobin, Method::Hash]),
        tries in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        panic in 0_u32..=100,
        number in any::<u64>(),
    ) {
        let mut endpoints = some(&places);
        for (endpoint, load) in endpoints.iter_mut().zip(loads) {
            endpoint.load = load;
        }
        let mut tried = Tried::default();
        let tries: Vec<usize> = tries.iter().map(|index| index.index(places.len())).collect();
        tries.iter().for_each(|place| tried.add(&endpoints[*place]));
        let spec = BalanceSpec {
            panic: Share::from_percent(f64::from(panic)).unwrap(),
            ..spec(method)
        };
        let all = 0..places.len();
        let is_up = |at: &usize| matches!(places[*at], Place::Up { .. });
        let up: Vec<usize> = all.clone().filter(is_up).collect();
        let few = up.is_empty() || up.len() * 100 < places.len() * panic as usize;
        let panics = panic > 0 && few;
        let base: Vec<usize> = match (panics, up.is_empty()) {
            (true, _) => all.collect(),
            (false, true) => all.filter(|at| places[*at] == Place::Resting).collect(),
            (false, false) => up,
        };
        let fresh: Vec<usize> = base.iter().copied().filter(|at| !tries.contains(at)).collect();
        let allowed = if fresh.is_empty() { base } else { fresh };
        match pick(&spec, &endpoints, &tried, number) {
            Choice::Up(place) => prop_assert!(!panics && allowed.contains(&place)),
            Choice::Panic(place) => prop_assert!(panics && allowed.contains(&place)),
            Choice::None => prop_assert!(allowed.is_empty(), "there are endpoints"),
        }
    }
}

/// One that fails fast never has anything in flight. Without ejection it still gets less than
/// the others, instead of all that finds them busy.
#[test]
fn an_endpoint_that_fails_fast_does_not_look_idle() {
    let endpoints: Vec<Arc<EndpointState>> = (0..3)
        .map(|number| Arc::new(EndpointState::new(&format!("http://10.0.0.{number}"))))
        .collect();
    let never = OutlierSpec {
        max_ejected: Share::NONE,
        ..OutlierSpec::default()
    };
    let (mut counts, mut busy) = ([0_u32; 3], VecDeque::new());
    for turn in 0..9_000_u64 {
        let draw = Draw {
            tried: &Tried::default(),
            now: NOW,
            key: 0,
            random: hash(&turn.to_be_bytes()),
        };
        let Choice::Up(place) = choose(&spec(Method::LeastRequest), &endpoints, &draw) else {
            panic!("all are up");
        };
        counts[place] += 1;
        let all = endpoints.iter().map(|endpoint| &endpoint.outlier);
        if place == 0 {
            endpoints[0]
                .outlier
                .record(&never, Outcome::Failure, NOW, all);
        } else {
            busy.push_back(endpoints[place].begin());
        }
        if busy.len() > 20 {
            busy.pop_front();
        }
    }
    assert!(counts[0] < 500, "{counts:?}");
}

#[test]
fn four_threads_keep_endpoints_within_little_of_each_other() {
    let endpoints: Vec<Arc<EndpointState>> = (0..8)
        .map(|number| Arc::new(EndpointState::new(&format!("http://10.0.0.{number}"))))
        .collect();
    let spec = spec(Method::LeastRequest);
    std::thread::scope(|scope| {
        for worker in 0..4_u64 {
            let endpoints = &endpoints;
            scope.spawn(move || {
                let mut held = Vec::new();
                for turn in 0..5_000_u64 {
                    let draw = Draw {
                        tried: &Tried::default(),
                        now: NOW,
                        key: 0,
                        random: hash(&(worker << 32 | turn).to_be_bytes()),
                    };
                    let Choice::Up(place) = choose(&spec, endpoints, &draw) else {
                        panic!("all are up");
                    };
                    held.push(endpoints[place].begin());
                    if held.len() == 200 {
                        let loads = endpoints.iter().map(|endpoint| endpoint.in_flight());
                        let (least, most) = (loads.clone().min(), loads.max());
                        assert!(most.unwrap() - least.unwrap() < 60, "{least:?} {most:?}");
                        held.clear();
                    }
                }
            });
        }
    });
    assert!(endpoints.iter().all(|endpoint| endpoint.in_flight() == 0));
}
