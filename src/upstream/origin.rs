//! One endpoint as configured, and the addresses that it stands for.
//!
//! An address stands for itself. A name stands for what it resolves to: whoever resolves tells
//! [`Origin::found`] or [`Origin::not_found`], again and again, and the endpoints follow. Until
//! the first answer a name has one endpoint without an address, and connecting to it waits.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use tokio::sync::watch;

use super::endpoints::{Endpoint, Where};
use super::spec::EndpointSpec;
use super::target::Target;
use crate::telemetry::EndpointMetrics;

/// An endpoint of the configuration. Kept over reloads while it is configured.
#[derive(Debug)]
pub struct Origin {
    /// As configured.
    pub spec: EndpointSpec,
    /// Whether its addresses are up.
    pub metrics: Arc<EndpointMetrics>,
    named: bool,
    endpoints: ArcSwap<Vec<Arc<Endpoint>>>,
    stage: watch::Sender<Stage>,
    resolution: Mutex<Resolution>,
}

/// How far the resolution of a name is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nobody resolves it: whoever connects does.
    Alone,
    /// The first answer is on its way.
    Awaited,
    /// It has, or had, these addresses.
    Found(Vec<Target>),
    /// It never had an address.
    Nothing,
}

/// What became of resolving a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolution {
    /// Why the last try failed; `None` when it did not.
    pub error: Option<Arc<str>>,
    /// Tries that failed in a row.
    pub failures: u32,
    /// When it is resolved again, by [`Clock::uptime`](crate::vocab::Clock::uptime).
    pub due: Duration,
}

/// What an answer changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The addresses are as they were.
    None,
    /// The name has addresses for the first time.
    First,
    /// Addresses came or went.
    Other,
}

impl Origin {
    /// Nothing is known of it yet.
    pub(super) fn new(spec: EndpointSpec) -> Origin {
        let stage = watch::Sender::new(Stage::Alone);
        let at = match spec.literal() {
            Some(address) => Where::Address(address),
            None => Where::Name(stage.subscribe()),
        };
        let only = Arc::new(Endpoint::at(&spec, at));
        Origin {
            named: spec.literal().is_none(),
            spec,
            metrics: Arc::default(),
            endpoints: ArcSwap::from_pointee(vec![only]),
            stage,
            resolution: Mutex::default(),
        }
    }

    /// Whether it has to be resolved.
    pub fn is_named(&self) -> bool {
        self.named
    }

    /// Its addresses now.
    pub fn endpoints(&self) -> Guard<Arc<Vec<Arc<Endpoint>>>> {
        self.endpoints.load()
    }

    /// The share of its addresses that are up, 0 to 1.
    pub fn share_up(&self, now: Duration) -> f64 {
        let all = self.endpoints();
        let up = all.iter().filter(|endpoint| endpoint.is_up(now)).count();
        match all.len() {
            0 => 0.0,
            all => up as f64 / all as f64,
        }
    }

    /// From now on somebody resolves it: connections wait for the first answer.
    pub fn await_answer(&self) {
        self.stage.send_if_modified(|stage| {
            let alone = *stage == Stage::Alone;
            if alone {
                *stage = Stage::Awaited;
            }
            alone
        });
    }

    /// It stands for these, in this order; there must be one. Addresses that it had keep their
    /// state. Others start slowly, unless they are the first that it has.
    pub fn found(&self, targets: &[Target], now: Duration) -> Change {
        let before = self.endpoints.load();
        let had = |target: &Target| {
            let same = |endpoint: &&Arc<Endpoint>| endpoint.is_at(target);
            before.iter().find(same).cloned()
        };
        let first = matches!(*self.stage.borrow(), Stage::Alone | Stage::Awaited);
        let endpoint = |target: &Target| {
            had(target).unwrap_or_else(|| {
                let joined = (!first).then_some(now);
                Arc::new(Endpoint::resolved(&self.spec, target, joined))
            })
        };
        let after: Vec<Arc<Endpoint>> = targets.iter().map(endpoint).collect();
        let same = |(a, b): (&Arc<Endpoint>, &Arc<Endpoint>)| Arc::ptr_eq(a, b);
        if after.len() == before.len() && after.iter().zip(before.iter()).all(same) {
            return Change::None;
        }
        let never = !matches!(*self.stage.borrow(), Stage::Found(_));
        self.endpoints.store(Arc::new(after));
        self.stage.send_replace(Stage::Found(targets.to_vec()));
        match never {
            true => Change::First,
            false => Change::Other,
        }
    }

    /// It could not be resolved. Addresses that it has stay; what waits for the first is told.
    pub fn not_found(&self) {
        let never = matches!(*self.stage.borrow(), Stage::Alone | Stage::Awaited);
        if never {
            self.endpoints.store(Arc::default());
            self.stage.send_replace(Stage::Nothing);
        }
    }

    /// What became of its resolution; for whoever resolves to change.
    pub fn resolution(&self) -> MutexGuard<'_, Resolution> {
        self.resolution
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::balance::{Candidate, Place};
    use crate::policy::health::{Check, HealthSpec};
    use crate::upstream::EndpointKind;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn named() -> Origin {
        Origin::new(EndpointSpec {
            text: "http://u.test:80".into(),
            kind: EndpointKind::Host,
            host: "u.test".into(),
            port: 80,
        })
    }

    fn target(last: u8) -> Target {
        Target {
            address: ([10, 0, 0, last], 80).into(),
            authority: "u.test:80".into(),
        }
    }

    fn joined(origin: &Origin) -> Vec<Option<Duration>> {
        let since = |endpoint: &Arc<Endpoint>| match endpoint.state.place(at(100)) {
            Place::Up { since } => since,
            Place::Resting | Place::Down => panic!("it is up"),
        };
        origin.endpoints().iter().map(since).collect()
    }

    #[test]
    fn the_first_addresses_start_at_once_and_later_ones_slowly() {
        let origin = named();
        origin.await_answer();
        assert_eq!(origin.found(&[target(1)], at(1)), Change::First);
        assert_eq!(joined(&origin), [None]);
        assert_eq!(origin.found(&[target(1), target(2)], at(2)), Change::Other);
        assert_eq!(joined(&origin), [None, Some(at(2))]);
        assert_eq!(origin.found(&[target(1), target(2)], at(3)), Change::None);
    }

    #[test]
    fn an_address_keeps_its_state_while_it_stays_and_no_longer() {
        let origin = named();
        origin.found(&[target(1), target(2)], at(1));
        let sick = Arc::clone(&origin.endpoints()[1]);
        sick.state
            .health
            .record(&HealthSpec::default(), Check::Failed, at(2));
        assert!((origin.share_up(at(2)) - 0.5).abs() < f64::EPSILON);
        origin.found(&[target(2)], at(3));
        assert!(Arc::ptr_eq(&origin.endpoints()[0], &sick));
        assert!(origin.share_up(at(3)).abs() < f64::EPSILON);
        origin.found(&[target(1)], at(4));
        origin.found(&[target(1), target(2)], at(5));
        assert!((origin.share_up(at(5)) - 1.0).abs() < f64::EPSILON);
    }

    #[test]
    fn what_fails_keeps_its_addresses_and_what_never_had_one_has_none() {
        let origin = named();
        assert_eq!(origin.endpoints().len(), 1, "one that waits");
        assert_eq!(origin.endpoints()[0].address(), None);
        origin.not_found();
        assert_eq!(origin.endpoints().len(), 0);
        assert!(origin.share_up(at(1)).abs() < f64::EPSILON);
        assert_eq!(origin.found(&[target(1)], at(2)), Change::First);
        origin.not_found();
        assert_eq!(origin.endpoints().len(), 1);
    }
}
