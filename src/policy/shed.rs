//! Shedding by tier: as an upstream fills up, what matters least is refused first.
//!
//! Up to 60 % of the upstream's limit is open to every tier, up to 80 % to `standard` and `core`,
//! the rest to `core` alone (Beyer et al., Site Reliability Engineering, chapter 21, "Criticality";
//! Netflix, "Prioritized Load Shedding"). So when a request is shed, every request of a lower tier
//! would be, and no amount of them keeps `core` out.
//!
//! An upstream's limit is a [`Gate`](super::concurrency::Gate), so that what is in flight is exact
//! across workers. Requests of tier `core` that find it full may wait in line for a moment: with a
//! limit of ten two places are kept for them, and they come in bursts. Nobody of a lower tier
//! goes in while one of them waits.

use super::concurrency::Load;
use crate::vocab::Tier;

/// Percentage of an upstream's limit up to which requests of a tier are let in.
pub fn percent(tier: Tier) -> u32 {
    match tier {
        Tier::Core => 100,
        Tier::Standard => 80,
        Tier::Sheddable => 60,
    }
}

/// Most requests in flight after one of this tier was let in. At least 1: an idle upstream takes
/// any.
pub fn most(tier: Tier, limit: u32) -> u32 {
    let most = u64::from(limit) * u64::from(percent(tier)) / 100;
    (most as u32).max(1)
}

/// The part of an upstream's gate that a tier may use. `line`: how many of tier `core` may wait.
pub fn part(tier: Tier, limit: u32, line: u32) -> Load {
    Load {
        in_flight: most(tier, limit),
        waiting: match tier {
            Tier::Core => line,
            Tier::Standard | Tier::Sheddable => 0,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
    use std::thread;
    use std::time::Duration;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::policy::concurrency::{ConcurrencySpec, Entry, Gate, Permit};

    fn gate(limit: u32, line: u32) -> Arc<Gate> {
        Arc::new(Gate::new(&ConcurrencySpec {
            max: limit,
            queue: line,
            queue_timeout: Duration::from_millis(100),
        }))
    }

    fn admitted(gate: &Arc<Gate>, tier: Tier, limit: u32) -> Option<Permit<Arc<Gate>>> {
        match Gate::enter_within(Arc::clone(gate), part(tier, limit, 0)) {
            Entry::Admitted(permit) => Some(permit),
            Entry::Queued(_) => panic!("nobody may wait"),
            Entry::Full(_) => None,
        }
    }

    #[test]
    fn each_tier_has_its_share() {
        assert_eq!(Tier::ALL.map(|tier| most(tier, 200)), [200, 160, 120]);
        assert_eq!(Tier::ALL.map(|tier| most(tier, 1)), [1, 1, 1]);
        assert_eq!(most(Tier::Sheddable, u32::MAX), 2_576_980_377);
    }

    #[test]
    fn core_waits_and_the_others_do_not() {
        let gate = gate(1, 5);
        let enter = |tier| Gate::enter_within(Arc::clone(&gate), part(tier, 1, 5));
        let Entry::Admitted(first) = enter(Tier::Sheddable) else {
            panic!("it is empty");
        };
        let Entry::Queued(core) = enter(Tier::Core) else {
            panic!("core waits");
        };
        assert!(matches!(enter(Tier::Standard), Entry::Full(_)));
        drop(first);
        assert_eq!(gate.load().in_flight, 1, "core went in");
        assert!(matches!(enter(Tier::Standard), Entry::Full(_)));
        drop(core);
        assert!(matches!(enter(Tier::Sheddable), Entry::Admitted(_)));
    }

    proptest! {
        #[test]
        fn who_is_shed_is_shed_after_all_lower_tiers(
            limit in 1..300_u32,
            steps in vec(
                (prop::sample::select(Tier::ALL.to_vec()), prop::option::weighted(0.3, any::<usize>())),
                1..400,
            ),
        ) {
            let gate = gate(limit, 0);
            let mut permits = Vec::new();
            for (tier, leave) in steps {
                let before = gate.load().in_flight;
                match admitted(&gate, tier, limit) {
                    Some(permit) => {
                        prop_assert!(before < most(tier, limit));
                        permits.push(permit);
                    }
                    None => {
                        prop_assert!(before >= most(tier, limit));
                        for other in Tier::ALL.into_iter().filter(|other| *other > tier) {
                            let let_in = admitted(&gate, other, limit).is_some();
                            prop_assert!(!let_in, "{tier} was shed, {other} was not");
                        }
                    }
                }
                if let Some(which) = leave.filter(|_| !permits.is_empty()) {
                    permits.swap_remove(which % permits.len());
                }
                prop_assert_eq!(gate.load().in_flight as usize, permits.len());
            }
        }

        #[test]
        fn lower_tiers_never_take_what_is_kept_for_core(
            limit in 2..300_u32,
            crowd in vec(prop::sample::select(vec![Tier::Standard, Tier::Sheddable]), 1000),
        ) {
            let gate = gate(limit, 0);
            let crowd: Vec<_> = crowd.into_iter().map(|tier| admitted(&gate, tier, limit)).collect();
            prop_assert!(admitted(&gate, Tier::Core, limit).is_some(), "{}", crowd.len());
        }
    }

    #[test]
    fn threads_together_stay_within_the_share_of_each_tier() {
        let gate = gate(5, 0);
        let peak = AtomicU32::new(0);
        thread::scope(|scope| {
            for number in 0..4 {
                let (gate, peak) = (&gate, &peak);
                scope.spawn(move || {
                    for turn in 0..20_000 {
                        let permit = admitted(gate, Tier::ALL[(turn + number) % 3], 5);
                        peak.fetch_max(gate.load().in_flight, SeqCst);
                        if turn % 64 == 0 {
                            thread::yield_now();
                        }
                        drop(permit);
                    }
                });
            }
        });
        assert_eq!(gate.load().in_flight, 0);
        assert!((1..=5).contains(&peak.into_inner()));
    }
}
