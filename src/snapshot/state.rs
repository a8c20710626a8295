//! What a route knows of its own requests: its limits, and who is counted under them.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use http::HeaderValue;

use super::Route;
use crate::config::RouteSettings;
use crate::policy::concurrency::{ConcurrencySpec, Gate};
use crate::policy::rate::RateLimit;

/// A warning that its cause repeats is logged this often at most.
const SILENCE: Duration = Duration::from_secs(60);

/// A route's state. Survives reloads with the route's name.
#[derive(Debug)]
pub struct RouteState {
    /// How many of its requests are in progress, and who waits. Nobody goes through it while the
    /// route has no `concurrency`.
    pub gate: Gate,
    /// When somebody was last told that a rate limit has too few places, as `Clock::uptime` in
    /// milliseconds; 0: never.
    crowd_told: AtomicU64,
}

/// Whether a repeated warning is logged now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tell {
    /// It is.
    Now,
    /// It was a moment ago.
    NotAgain,
}

impl RouteState {
    pub(super) fn new(spec: &RouteSettings) -> RouteState {
        RouteState {
            gate: Gate::new(&bounds(spec)),
            crowd_told: AtomicU64::new(0),
        }
    }

    /// Takes over another configuration.
    pub(super) fn adopt(&self, spec: &RouteSettings) {
        self.gate.adopt(&bounds(spec));
    }

    /// Whether it is told at `now` that the rate limit has more keys than places: once a minute,
    /// whichever worker comes first.
    pub fn tell_crowd(&self, now: Duration) -> Tell {
        let now = now.as_millis() as u64;
        let told = self.crowd_told.load(Relaxed);
        if told != 0 && now.saturating_sub(told) < SILENCE.as_millis() as u64 {
            return Tell::NotAgain;
        }
        match self
            .crowd_told
            .compare_exchange(told, now.max(1), Relaxed, Relaxed)
        {
            Ok(_) => Tell::Now,
            Err(_) => Tell::NotAgain,
        }
    }
}

/// Who waits while the limit is taken away goes on.
fn bounds(spec: &RouteSettings) -> ConcurrencySpec {
    spec.concurrency.unwrap_or(ConcurrencySpec {
        max: u32::MAX,
        queue: 0,
        queue_timeout: Duration::ZERO,
    })
}

/// A route's rate limit, with what its answers say of it.
#[derive(Debug)]
pub struct RouteRate {
    /// The limit; what it has counted is shared with that of the previous snapshot.
    pub limit: RateLimit,
    /// The value of `RateLimit-Policy`.
    pub policy: HeaderValue,
}

impl RouteRate {
    pub(super) fn compile(
        spec: &RouteSettings,
        before: Option<&Route>,
        now: Duration,
    ) -> Option<RouteRate> {
        let wanted = spec.rate_limit.as_ref()?;
        let before = before.and_then(last_limit);
        let limit = match before.filter(|before| before.spec() == wanted) {
            Some(same) => same.clone(),
            None => RateLimit::compile(wanted, before, now),
        };
        let policy = limit.policy();
        let text = format!("\"{}\";q={};w={}", spec.name, policy.quota, policy.window);
        Some(RouteRate {
            limit,
            // The name of a route has only characters that a header value may have.
            policy: HeaderValue::try_from(text)
                .unwrap_or_else(|_| HeaderValue::from_static("\"route\"")),
        })
    }
}

fn last_limit(route: &Route) -> Option<&RateLimit> {
    let former = || route.former_rate.as_deref().map(|former| &former.limit);
    route.rate.as_ref().map(|rate| &rate.limit).or_else(former)
}

/// The rate limit that a route had: whoever takes it out and puts it back forgives nobody.
#[derive(Clone, Debug)]
pub(super) struct FormerRate {
    limit: RateLimit,
    /// When all that was used has been earned back. Only then is its memory let go, by the next
    /// reload.
    until: Duration,
}

impl FormerRate {
    /// Of a route that has none now.
    pub(super) fn of(before: Option<&Route>, now: Duration) -> Option<Box<FormerRate>> {
        let before = before?;
        if let Some(rate) = &before.rate {
            let window = Duration::from_secs(rate.limit.policy().window);
            return Some(Box::new(FormerRate {
                limit: rate.limit.clone(),
                until: now + window,
            }));
        }
        let former = before.former_rate.clone();
        former.filter(|former| now < former.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{SourceFile, load};

    fn state() -> RouteState {
        let text = "[routes.a]\npath = \"/a\"\nrespond = {}\n";
        let settings = load(&[SourceFile::new("seawall.toml", text)], &|_| None)
            .unwrap()
            .settings;
        RouteState::new(&settings.routes[0])
    }

    #[test]
    fn a_crowd_is_told_of_once_a_minute() {
        let state = state();
        let at = Duration::from_secs;
        assert_eq!(state.tell_crowd(at(5)), Tell::Now);
        assert_eq!(state.tell_crowd(at(5)), Tell::NotAgain);
        assert_eq!(state.tell_crowd(at(64)), Tell::NotAgain);
        assert_eq!(state.tell_crowd(at(65)), Tell::Now);
        assert_eq!(state.tell_crowd(at(3)), Tell::NotAgain);
    }
}
