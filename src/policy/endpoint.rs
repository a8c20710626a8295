//! What is known of one endpoint: its load, its health, and when it came back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use super::balance::{Candidate, Place};
use super::health::{Condition, Health};
use super::outlier::{Outlier, Standing};
use super::share;

/// The state of an endpoint. Kept by its name and address across reloads and resolutions.
#[derive(Debug)]
pub struct EndpointState {
    name: u64,
    /// When it joined an upstream that had others; `None`: it was there from the start.
    joined: Option<Duration>,
    /// In milliseconds.
    resting_until: AtomicU64,
    /// What its checks say.
    pub health: Health,
    /// What its requests say.
    pub outlier: Outlier,
    load: Load,
}

/// On a line of its own: it changes with each request, and the rest is read with each.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Load(AtomicU32);

/// A request in flight at an endpoint, until it is dropped.
#[derive(Debug)]
pub struct Busy(Arc<EndpointState>);

/// Why an endpoint is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Its checks fail.
    Unhealthy,
    /// Its requests failed.
    Ejected,
    /// The last connection to it could not be made.
    Resting,
}

impl Trouble {
    /// Its name, for people and scripts.
    pub fn as_str(self) -> &'static str {
        match self {
            Trouble::Unhealthy => "unhealthy",
            Trouble::Ejected => "ejected",
            Trouble::Resting => "resting",
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.load.0.fetch_sub(1, SeqCst);
    }
}

/// A recent failure in a row weighs as much as a request in flight, up to so many: an endpoint that
/// fails fast must not look idle.
const MOST_WEIGHED: u32 = 64;

impl EndpointState {
    /// An endpoint that is there when the gateway starts.
    pub fn new(name: &str) -> EndpointState {
        EndpointState {
            name: share::hash(name.as_bytes()),
            joined: None,
            resting_until: AtomicU64::new(0),
            health: Health::default(),
            outlier: Outlier::default(),
            load: Load::default(),
        }
    }

    /// An endpoint that joins others: it starts slowly.
    pub fn joining(name: &str, now: Duration) -> EndpointState {
        EndpointState {
            joined: Some(now),
            ..EndpointState::new(name)
        }
    }

    /// Counts a request in flight.
    pub fn begin(self: &Arc<Self>) -> Busy {
        self.load.0.fetch_add(1, SeqCst);
        Busy(Arc::clone(self))
    }

    /// Requests in flight.
    pub fn in_flight(&self) -> u32 {
        self.load.0.load(SeqCst)
    }

    /// Why it is down; `None` while it is up. Of several troubles the one that lasts.
    pub fn trouble(&self, now: Duration) -> Option<Trouble> {
        if let Condition::Unhealthy = self.health.condition() {
            return Some(Trouble::Unhealthy);
        }
        if let Standing::Out { .. } = self.outlier.standing(now) {
            return Some(Trouble::Ejected);
        }
        let resting = self.resting_until.load(SeqCst) > now.as_millis() as u64;
        resting.then_some(Trouble::Resting)
    }

    /// No connection could be made: prefer others until then.
    pub fn rest(&self, until: Duration) {
        self.resting_until.store(until.as_millis() as u64, SeqCst);
    }
}

impl Candidate for EndpointState {
    fn place(&self, now: Duration) -> Place {
        let resting_until = self.resting_until.load(SeqCst);
        // As good as always, and asked of each endpoint with each request.
        if resting_until == 0
            && self.joined.is_none()
            && self.health.is_up_since_ever()
            && self.outlier.is_in_since_ever()
        {
            return Place::Up { since: None };
        }
        let checked = match self.health.condition() {
            Condition::Unhealthy => return Place::Down,
            Condition::Unchecked => None,
            Condition::Healthy { since } => since,
        };
        let ejected = match self.outlier.standing(now) {
            Standing::Out { .. } => return Place::Down,
            Standing::In { since } => since,
        };
        if resting_until != 0 && resting_until > now.as_millis() as u64 {
            return Place::Resting;
        }
        Place::Up {
            since: self.joined.max(checked).max(ejected),
        }
    }

    fn load(&self, now: Duration) -> u32 {
        self.in_flight() + self.outlier.recent_streak(now).min(MOST_WEIGHED)
    }

    fn name(&self) -> u64 {
        self.name
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::health::{Check, HealthSpec};
    use crate::policy::outcome::Outcome;
    use crate::policy::outlier::OutlierSpec;
    use crate::policy::share::Share;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_request_is_in_flight_until_its_guard_is_dropped() {
        let endpoint = Arc::new(EndpointState::new("a"));
        let (first, second) = (endpoint.begin(), endpoint.begin());
        assert_eq!(endpoint.in_flight(), 2);
        drop(first);
        assert_eq!(endpoint.in_flight(), 1);
        let gone = std::thread::spawn(move || {
            let _held = second;
            panic!("a panic counts it down too");
        });
        assert!(gone.join().is_err());
        assert_eq!(endpoint.in_flight(), 0);
    }

    #[test]
    fn one_that_fails_fast_looks_busy_for_a_moment_although_nothing_ejects_it() {
        let endpoint = EndpointState::new("a");
        for failure in 1..=100 {
            endpoint.outlier.note(Outcome::Failure, at(7));
            assert_eq!(endpoint.load(at(7)), failure.min(MOST_WEIGHED));
        }
        assert_eq!(endpoint.place(at(7)), Place::Up { since: None });
        assert_eq!(endpoint.load(at(8)), 0);
        endpoint.outlier.note(Outcome::Unknown, at(8));
        endpoint.outlier.note(Outcome::Failure, at(8));
        assert_eq!(endpoint.load(at(8)), MOST_WEIGHED);
        endpoint.outlier.note(Outcome::Success, at(8));
        assert_eq!(endpoint.load(at(8)), 0);
    }

    #[test]
    fn it_is_down_while_any_of_its_troubles_lasts_and_back_since_the_last_of_them() {
        let (checks, failures) = (HealthSpec::default(), OutlierSpec::default());
        let whole = OutlierSpec {
            max_ejected: Share::WHOLE,
            ..failures
        };
        let endpoint = EndpointState::new("a");
        let up = |since| Place::Up { since };
        assert_eq!(endpoint.place(at(1)), up(None));
        endpoint.rest(at(3));
        assert_eq!(endpoint.place(at(2)), Place::Resting);
        assert_eq!(endpoint.trouble(at(2)), Some(Trouble::Resting));
        assert_eq!(endpoint.place(at(3)), up(None));
        endpoint.health.record(&checks, Check::Failed, at(4));
        assert_eq!(endpoint.place(at(4)), Place::Down);
        endpoint.rest(at(5));
        assert_eq!(endpoint.place(at(4)), Place::Down);
        assert_eq!(endpoint.trouble(at(4)), Some(Trouble::Unhealthy));
        endpoint.health.record(&checks, Check::Passed, at(5));
        endpoint.health.record(&checks, Check::Passed, at(6));
        assert_eq!(endpoint.place(at(6)), up(Some(at(6))));
        let all = [&endpoint.outlier];
        for failure in 1..=5 {
            assert_eq!(endpoint.load(at(7)), failure - 1);
            assert_eq!(endpoint.load(at(8)), 0);
            let all = all.into_iter();
            endpoint
                .outlier
                .record(&whole, Outcome::Failure, at(7), all);
        }
        assert_eq!(endpoint.place(at(36)), Place::Down);
        assert_eq!(endpoint.trouble(at(36)), Some(Trouble::Ejected));
        assert_eq!(endpoint.trouble(at(37)), None);
        assert_eq!(endpoint.place(at(37)), up(Some(at(37))));
        assert_eq!(
            EndpointState::joining("b", at(9)).place(at(9)),
            up(Some(at(9)))
        );
    }
}
