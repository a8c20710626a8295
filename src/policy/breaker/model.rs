//! A breaker without other workers in mind, and that the real one does the same.

use std::time::Duration;

use proptest::prelude::*;

use crate::policy::breaker::{
    Breaker, BreakerAsk, BreakerPosition, BreakerSpec, BreakerVerdict, RatioSpec,
};
use crate::policy::outcome::{Failures, Outcome};
use crate::policy::share::Share;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// The breaker as one would write it without other workers in mind.
struct Model {
    spec: BreakerSpec,
    position: At,
    doublings: u32,
    /// Requests that passed carry it; it rises with each change.
    era: u64,
    streak: u32,
    /// Steps of half a second in which requests of this era ended, and whether they failed.
    ended: Vec<(u64, bool)>,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum At {
    Passing,
    Tripped { until: u64 },
    Probing { since: u64 },
    Returning { since: u64 },
}

impl Model {
    fn ramp(&self) -> u64 {
        self.spec.ramp.as_millis() as u64
    }

    fn settle(&mut self, now: u64) {
        if let At::Returning { since } = self.position
            && now >= since + self.ramp()
        {
            self.position = At::Passing;
            self.doublings = 0;
        }
    }

    fn open(&self) -> u64 {
        let first = self.spec.open_for.as_millis() as u64;
        (first << self.doublings).min(first.max(300_000))
    }

    /// `Ok`: passes, in which era and whether as the probe.
    fn check(&mut self, now: u64, random: u64) -> Result<(u64, bool), u64> {
        self.settle(now);
        match self.position {
            At::Passing => Ok((self.era, false)),
            At::Returning { since } => {
                let share = 0.1 + 0.9 * (now - since) as f64 / self.ramp() as f64;
                match (random as f64) < share * u64::MAX as f64 {
                    true => Ok((self.era, false)),
                    false => Err(since + self.ramp() - now),
                }
            }
            At::Tripped { until } if now < until => Err(until - now),
            At::Probing { since } if now < since + self.spec.open_for.as_millis() as u64 => {
                Err(1_000)
            }
            At::Tripped { .. } | At::Probing { .. } => {
                self.position = At::Probing { since: now };
                self.era += 1;
                Ok((self.era, true))
            }
        }
    }

    fn trip(&mut self, now: u64) {
        self.position = At::Tripped {
            until: now + self.open(),
        };
        self.era += 1;
    }

    fn record(&mut self, (era, probe): (u64, bool), outcome: Outcome, now: u64) {
        self.settle(now);
        if era != self.era || outcome == Outcome::Unknown && !probe {
            return;
        }
        let failed = outcome == Outcome::Failure;
        if let At::Probing { .. } = self.position {
            match outcome {
                Outcome::Success => {
                    self.position = At::Returning { since: now };
                    self.streak = 0;
                    self.ended.clear();
                    self.era += 1;
                }
                Outcome::Failure => {
                    self.doublings += 1;
                    self.trip(now);
                }
                Outcome::Unknown => {
                    self.position = At::Tripped { until: now };
                    self.era += 1;
                }
            }
            return;
        }
        self.ended.push((now / 500, failed));
        if !failed {
            self.streak = 0;
            return;
        }
        self.streak += 1;
        let by_streak = self
            .spec
            .consecutive_failures
            .is_some_and(|n| self.streak >= n);
        let by_ratio = self.spec.ratio.is_some_and(|ratio| {
            let first = (now / 500).saturating_sub(ratio.window.as_millis() as u64 / 500);
            let lately: Vec<_> = self
                .ended
                .iter()
                .filter(|(step, _)| *step >= first)
                .collect();
            let failed = lately.iter().filter(|(_, failed)| *failed).count();
            lately.len() >= ratio.min_requests as usize
                && failed as f64 >= lately.len() as f64 * ratio.failures.fraction()
        });
        if by_streak || by_ratio {
            if matches!(self.position, At::Returning { .. }) {
                self.doublings += 1;
            }
            self.trip(now);
        }
    }

    fn shown(&mut self, now: u64) -> BreakerPosition {
        self.settle(now);
        match self.position {
            At::Passing => BreakerPosition::Passing,
            At::Tripped { .. } => BreakerPosition::Tripped,
            At::Probing { .. } | At::Returning { .. } => BreakerPosition::Probing,
        }
    }
}

#[derive(Clone, Debug)]
enum Act {
    Ask(u64),
    End(prop::sample::Index, Outcome),
    Wait(u64),
}

fn act() -> impl Strategy<Value = Act> {
    let outcome = prop_oneof![
        5 => Just(Outcome::Failure),
        3 => Just(Outcome::Success),
        1 => Just(Outcome::Unknown),
    ];
    prop_oneof![
        6 => any::<u64>().prop_map(Act::Ask),
        6 => (any::<prop::sample::Index>(), outcome).prop_map(|(at, how)| Act::End(at, how)),
        2 => (0_u64..800).prop_map(Act::Wait),
        1 => (800_u64..20_000).prop_map(Act::Wait),
    ]
}

fn any_spec() -> impl Strategy<Value = BreakerSpec> {
    let ratio = (1_u32..=100, 1_u32..12, 1_u64..20);
    let streak = prop::option::of(1_u32..6);
    (streak, prop::option::of(ratio), 1_u64..3_000, 1_u64..5_000).prop_map(
        |(consecutive_failures, ratio, open_for, ramp)| BreakerSpec {
            on: Failures::default(),
            consecutive_failures,
            ratio: ratio.map(|(percent, min_requests, window)| RatioSpec {
                failures: Share::from_percent(f64::from(percent)).unwrap(),
                min_requests,
                window: Duration::from_secs(window),
            }),
            open_for: ms(open_for),
            ramp: ms(ramp),
        },
    )
}

proptest! {
    #[test]
    fn a_breaker_does_what_its_model_does(
        spec in any_spec(),
        acts in prop::collection::vec(act(), 1..300),
    ) {
        let breaker = Breaker::default();
        let mut model = Model {
            spec,
            position: At::Passing,
            doublings: 0,
            era: 0,
            streak: 0,
            ended: Vec::new(),
        };
        let (mut now, mut out) = (1_000_000_u64, Vec::new());
        for act in acts {
            match act {
                Act::Ask(random) => {
                    let ask = BreakerAsk { forced: None, now: ms(now), random };
                    match (breaker.check(&spec, &ask), model.check(now, random)) {
                        (BreakerVerdict::Passed(pass), Ok(ticket)) => out.push((pass, ticket)),
                        (BreakerVerdict::Refused { retry_after }, Err(wait)) => {
                            prop_assert_eq!(retry_after, ms(wait));
                        }
                        (verdict, wanted) => prop_assert!(false, "{verdict:?}, not {wanted:?}"),
                    }
                }
                Act::End(which, outcome) if !out.is_empty() => {
                    let (pass, ticket) = out.swap_remove(which.index(out.len()));
                    breaker.record(&spec, pass, outcome, ms(now));
                    model.record(ticket, outcome, now);
                }
                Act::End(..) => {}
                Act::Wait(ms) => now += ms,
            }
            prop_assert_eq!(breaker.position(&spec, None, ms(now)), model.shown(now));
        }
    }
}
