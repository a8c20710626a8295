//! Which endpoint takes an attempt, and what follows from how it ends. The rules themselves are
//! `policy::balance` and `policy::outlier`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::client::Client;
use super::endpoints::{Endpoint, Upstream};
use crate::policy::balance::{self, Choice, Draw, Method, Panics, Tried};
use crate::policy::outcome::Outcome;
use crate::policy::outlier::Ejection;
use crate::vocab::Clock;

/// What an attempt brings to the choice of its endpoint.
#[derive(Clone, Copy, Debug)]
pub struct Aim<'a> {
    /// The endpoints its request has been to.
    pub tried: &'a Tried,
    /// Hash of what the upstream's `balance = "hash:..."` names; not asked otherwise.
    pub hash: u64,
    /// Every bit of it random.
    pub random: u64,
    /// The clock when something was last waited for.
    pub now: Instant,
}

impl Client {
    /// The endpoint that takes an attempt: one that is up and was not tried, if there is one.
    /// `None` when the upstream has no endpoint at all, or none that is up and health is never
    /// ignored.
    pub fn choose(&self, upstream: &Upstream, aim: &Aim<'_>) -> Option<Arc<Endpoint>> {
        let endpoints = upstream.endpoints();
        let spec = &upstream.spec.balance;
        let key = match (spec.method, endpoints.as_slice()) {
            (_, []) => return None,
            (_, [only]) if spec.panics() == Panics::Below => return Some(Arc::clone(only)),
            (Method::RoundRobin, [first, ..]) => self.pool().next_turn(first.slot) as u64,
            (Method::Hash, _) => aim.hash,
            (Method::LeastRequest, _) => 0,
        };
        let draw = Draw {
            tried: aim.tried,
            now: Clock::uptime(aim.now),
            key,
            random: aim.random,
        };
        match balance::choose(spec, &endpoints, &draw) {
            Choice::Up(index) => endpoints.get(index).cloned(),
            Choice::Panic(index) => {
                upstream.panic.tell(&upstream.spec.name, draw.now);
                endpoints.get(index).cloned()
            }
            Choice::None => None,
        }
    }
}

impl Upstream {
    /// Takes note of how an attempt at one of its endpoints ended. Without `outlier` one that
    /// fails looks busier for a moment, and no more: failing fast is no sign of little to do.
    pub fn attempted(&self, endpoint: &Endpoint, outcome: Outcome, now: Instant) {
        let now = Clock::uptime(now);
        let outlier = &endpoint.state.outlier;
        let Some(spec) = &self.spec.outlier else {
            outlier.note(outcome, now);
            return;
        };
        let (name, text) = (&*self.spec.name, &*endpoint.spec.text);
        let address = endpoint.address().map(tracing::field::display);
        if outlier.take_return(now).is_some() {
            tracing::info!(
                upstream = name,
                endpoint = text,
                address,
                "endpoint is back"
            );
        }
        let endpoints = self.endpoints();
        let all = endpoints.iter().map(|one| &one.state.outlier);
        match outlier.record(spec, outcome, now, all) {
            Ejection::None | Ejection::Spared => {}
            Ejection::Ejected { time } => tracing::warn!(
                upstream = name,
                endpoint = text,
                address,
                failures = spec.consecutive_failures,
                ejection_ms = time.as_millis() as u64,
                "endpoint ejected"
            ),
        }
    }
}

/// When too few endpoints were last up.
#[derive(Debug, Default)]
pub(super) struct Panic(AtomicU64);

impl Panic {
    /// It has ended when it was not seen for so long.
    const CALM: Duration = Duration::from_secs(60);

    /// Logs that it begins.
    fn tell(&self, upstream: &str, now: Duration) {
        let last = Duration::from_millis(self.0.swap(now.as_millis() as u64, Relaxed));
        if last.is_zero() || now.saturating_sub(last) > Panic::CALM {
            tracing::warn!(
                upstream,
                "too few endpoints are up: all are used, whatever is known of them"
            );
        }
    }
}
