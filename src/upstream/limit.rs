//! How many requests may be in flight to an upstream: its `concurrency`.

use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use super::spec::UpstreamLimit;
use crate::policy::adaptive::{Adaptive, AdaptiveSpec, Ending, Learned};
use crate::policy::concurrency::{ConcurrencySpec, Gate, Load};
use crate::policy::shed;
use crate::vocab::Tier;

/// How many requests of tier `core` may wait for a place at an upstream that is full. They come
/// in bursts, and of a small limit only a few places are kept for them.
const LINE: u32 = 100;

/// How long each of them waits at most: a burst is over by then, or it is none.
pub const LINE_TIMEOUT: Duration = Duration::from_millis(100);

/// The limit of one upstream. Survives reloads with the upstream's name.
#[derive(Debug)]
pub struct Limit {
    /// Who is in flight, of all tiers; nobody goes through it while the limit is off.
    pub gate: Gate,
    adaptive: Adaptive,
    /// The limit that the newest configuration gives, or [`FOLLOWS`].
    given: AtomicU32,
}

/// The limit follows latency.
const FOLLOWS: u32 = 0;
/// There is none.
const OFF: u32 = u32::MAX;

impl Limit {
    /// A limit that knows nothing yet.
    pub fn new(spec: UpstreamLimit) -> Limit {
        let bounds = match spec {
            UpstreamLimit::Adaptive(bounds) => bounds,
            UpstreamLimit::Off | UpstreamLimit::Fixed(_) => AdaptiveSpec::default(),
        };
        let adaptive = Adaptive::new(&bounds);
        Limit {
            gate: Gate::new(&spec_of(most(spec, &adaptive))),
            adaptive,
            given: AtomicU32::new(given(spec)),
        }
    }

    /// Most requests in flight now; `None`: any number.
    pub fn most(&self, spec: UpstreamLimit) -> Option<u32> {
        most(spec, &self.adaptive)
    }

    /// The part of it that requests of this tier may use; `None`: it is off.
    pub fn part(&self, spec: UpstreamLimit, tier: Tier) -> Option<Load> {
        Some(shed::part(tier, self.most(spec)?, LINE))
    }

    /// Applies the limit as it is now, and says which that is.
    pub fn adopt(&self, spec: UpstreamLimit) -> Option<u32> {
        let most = self.most(spec);
        self.given.store(given(spec), SeqCst);
        self.gate.adopt(&spec_of(most));
        most
    }

    /// Applies what was learned, and says which limit holds. Whoever learned it may do so under a
    /// configuration that is gone: the newest is what counts.
    pub fn follow(&self, bounds: &AdaptiveSpec) -> Option<u32> {
        loop {
            let given = self.given.load(SeqCst);
            let most = match given {
                FOLLOWS => Some(self.adaptive.limit(bounds)),
                OFF => None,
                fixed => Some(fixed),
            };
            self.gate.adopt(&spec_of(most));
            if self.given.load(SeqCst) == given {
                return most;
            }
        }
    }

    /// Takes note of how an attempt ended, at `now` in uptime.
    pub fn note(&self, bounds: &AdaptiveSpec, ending: Ending, now: Duration) -> Learned {
        let in_flight = self.gate.load().in_flight;
        self.adaptive.note(bounds, ending, in_flight, now)
    }
}

fn most(spec: UpstreamLimit, adaptive: &Adaptive) -> Option<u32> {
    match spec {
        UpstreamLimit::Off => None,
        UpstreamLimit::Fixed(most) => Some(most),
        UpstreamLimit::Adaptive(bounds) => Some(adaptive.limit(&bounds)),
    }
}

fn given(spec: UpstreamLimit) -> u32 {
    match spec {
        UpstreamLimit::Off => OFF,
        UpstreamLimit::Fixed(most) => most.max(1),
        UpstreamLimit::Adaptive(_) => FOLLOWS,
    }
}

fn spec_of(most: Option<u32>) -> ConcurrencySpec {
    ConcurrencySpec {
        max: most.unwrap_or(u32::MAX),
        queue: LINE,
        queue_timeout: LINE_TIMEOUT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::concurrency::{Entry, Permit};
    use std::sync::Arc;

    fn adaptive() -> UpstreamLimit {
        UpstreamLimit::Adaptive(AdaptiveSpec::default())
    }

    #[test]
    fn each_form_has_its_limit() {
        let limit = Limit::new(UpstreamLimit::Off);
        assert_eq!(limit.most(UpstreamLimit::Off), None);
        assert_eq!(limit.part(UpstreamLimit::Off, Tier::Core), None);
        assert_eq!(limit.adopt(UpstreamLimit::Fixed(10)), Some(10));
        let part = limit.part(UpstreamLimit::Fixed(10), Tier::Sheddable);
        assert_eq!(
            part,
            Some(Load {
                in_flight: 6,
                waiting: 0
            })
        );
        assert_eq!(limit.adopt(adaptive()), Some(20));
    }

    /// The limit of the gate that is behind.
    struct Handle(Arc<Limit>);

    impl std::ops::Deref for Handle {
        type Target = Gate;

        fn deref(&self) -> &Gate {
            &self.0.gate
        }
    }

    fn enter(limit: &Arc<Limit>) -> Option<Permit<Handle>> {
        let all = Load {
            in_flight: u32::MAX,
            waiting: 0,
        };
        match Gate::enter_within(Handle(Arc::clone(limit)), all) {
            Entry::Admitted(permit) => Some(permit),
            Entry::Queued(_) | Entry::Full(_) => None,
        }
    }

    #[test]
    fn a_limit_that_comes_and_goes_counts_on() {
        let limit = Arc::new(Limit::new(UpstreamLimit::Fixed(2)));
        let held = [enter(&limit), enter(&limit)];
        assert!(held.iter().all(Option::is_some));
        assert!(enter(&limit).is_none());
        assert_eq!(limit.adopt(UpstreamLimit::Off), None);
        assert!(enter(&limit).is_some());
        assert_eq!(limit.adopt(UpstreamLimit::Fixed(1)), Some(1));
        assert!(enter(&limit).is_none());
        drop(held);
        assert!(enter(&limit).is_some());
    }

    #[test]
    fn what_was_learned_under_an_older_configuration_changes_no_newer_limit() {
        let (limit, bounds) = (Limit::new(adaptive()), AdaptiveSpec::default());
        assert_eq!(limit.follow(&bounds), limit.most(adaptive()));
        limit.adopt(UpstreamLimit::Fixed(500));
        assert_eq!(limit.follow(&bounds), Some(500));
        let limit = Arc::new(limit);
        let held: Vec<_> = (0..500).map(|_| enter(&limit)).collect();
        assert!(held.iter().all(Option::is_some));
        assert!(enter(&limit).is_none());
        limit.adopt(UpstreamLimit::Off);
        assert_eq!(limit.follow(&bounds), None);
    }

    #[test]
    fn latency_that_rises_under_load_takes_places_away() {
        let (limit, bounds) = (Arc::new(Limit::new(adaptive())), AdaptiveSpec::default());
        let (mut held, mut windows) = (Vec::new(), 0);
        let mut now = Duration::from_secs(1);
        let [quick, slow] = [10, 100].map(|took| {
            for _ in 0..400 {
                now += Duration::from_millis(10);
                // Always full: of an upstream with few in flight nothing is learned.
                held.extend(std::iter::from_fn(|| enter(&limit)));
                let ending = Ending::Answered(Duration::from_millis(took));
                match limit.note(&bounds, ending, now) {
                    Learned::Nothing => {}
                    Learned::Window { .. } => {
                        windows += 1;
                        limit.adopt(adaptive());
                    }
                }
            }
            limit.most(adaptive()).unwrap()
        });
        assert!(windows > 10, "{windows}");
        assert!(quick > 20 && slow < quick / 2, "{quick}, {slow}: {limit:?}");
    }
}
