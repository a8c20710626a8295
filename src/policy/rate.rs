//! Rate limits: GCRA, the generic cell rate algorithm of ATM (ITU-T I.371, annex A), one atomic
//! word for each key, shared by all workers.
//!
//! Over any time t a key passes at most rate * t + burst requests, whatever the number of workers
//! and keys; time is read in 256ths of 1/rate, so that one may come early by that much. `seats`
//! says what a full table costs, `pace` how a changed quota keeps what each key has used. A
//! request that is limited is not charged.
//!
//! `now` out of order between workers: the bound holds for the latest `now` seen; an older one
//! only sees more debt.

mod pace;
mod seats;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use http::{HeaderMap, HeaderName};

use self::pace::{Pace, UNIT};
use self::seats::{Charge, Seat, Table};
use crate::vocab::Rate;

/// A route's `rate_limit`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimitSpec {
    /// How many requests of a key pass in the long run.
    pub rate: Rate,
    /// How many may come at once: 1 to [`RateLimitSpec::MOST_BURST`].
    pub burst: u32,
    /// What is counted apart.
    pub key: RateKey,
    /// How many keys can be in debt at once before newcomers share: 1 to
    /// [`RateLimitSpec::MOST_KEYS`]. A key is in debt for 1/rate after each request.
    pub max_keys: u32,
    /// Only counts what it would refuse: whoever asks for the verdict lets the request pass.
    pub dry_run: bool,
}

impl RateLimitSpec {
    /// Largest `burst`.
    pub const MOST_BURST: u32 = Rate::MOST;
    /// Default of `max_keys`: 1 MiB.
    pub const DEFAULT_MAX_KEYS: u32 = 65_536;
    /// Largest `max_keys`: 256 MiB.
    pub const MOST_KEYS: u32 = 16_777_216;
}

/// What a rate limit counts apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RateKey {
    /// Nothing: all requests of the route share the limit.
    Route,
    /// Each client address; each /64 of IPv6.
    #[default]
    ClientIp,
    /// Each value of a header; the client's address where it is missing.
    Header(HeaderName),
}

impl fmt::Display for RateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RateKey::Route => f.write_str("route"),
            RateKey::ClientIp => f.write_str("client-ip"),
            RateKey::Header(name) => write!(f, "header:{name}"),
        }
    }
}

/// For whom a request is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Counted<'a> {
    /// The route as a whole.
    Route,
    /// An IPv4 address.
    Address(u32),
    /// The upper half of an IPv6 address: hosts choose the lower half themselves.
    Network(u64),
    /// The value of a header, as received.
    Value(&'a [u8]),
}

impl RateKey {
    /// For whom a request with these headers counts. `client` is asked only when it matters.
    pub fn counted<'a>(
        &self,
        headers: &'a HeaderMap,
        client: impl FnOnce() -> IpAddr,
    ) -> Counted<'a> {
        match self {
            RateKey::Route => Counted::Route,
            RateKey::ClientIp => Counted::of_address(client()),
            RateKey::Header(name) => match headers.get(name) {
                Some(value) => Counted::Value(value.as_bytes()),
                None => Counted::of_address(client()),
            },
        }
    }
}

impl Counted<'_> {
    fn of_address(address: IpAddr) -> Counted<'static> {
        match address.to_canonical() {
            IpAddr::V4(address) => Counted::Address(address.to_bits()),
            IpAddr::V6(address) => Counted::Network((address.to_bits() >> 64) as u64),
        }
    }
}

/// Whether a request is within its rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateVerdict {
    /// It is, and was charged.
    Passed {
        /// Requests that its key has left at once: `r` of the `RateLimit` header.
        remaining: u32,
    },
    /// It is not, and was not charged. `r` is 0.
    Limited {
        /// Until one passes, if no other of its key comes: `t`, and the least `Retry-After`.
        retry_after: Duration,
        /// Whose requests it was too many for.
        by: LimitedBy,
    },
}

/// Whose requests filled a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitedBy {
    /// The key's own.
    Key,
    /// Those of other keys: more are in debt than the table has seats for. `max_keys` is too small.
    Crowd,
}

/// `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-10): `"name";q=QUOTA;w=WINDOW`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RatePolicy {
    /// Requests in each window; never less than the burst.
    pub quota: u64,
    /// Whole seconds: the time in which a burst is earned back.
    pub window: u64,
}

/// A route's rate limit, compiled. Immutable; what is counted is shared with those before and
/// after it.
#[derive(Clone, Debug)]
pub struct RateLimit {
    spec: RateLimitSpec,
    pace: Pace,
    state: Arc<State>,
}

#[derive(Debug)]
enum State {
    One(One),
    Keyed(Table),
}

/// A cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
struct One([AtomicU64; 1]);

/// The tag of the only seat of a limit on a route.
const ONE: u64 = 1;

impl RateLimit {
    /// Compiles a limit. While `key` and `max_keys` stay as in `before`, each key keeps what it
    /// has used: of a larger burst it has so much more left, of a smaller one what it had left.
    pub fn compile(spec: &RateLimitSpec, before: Option<&RateLimit>, now: Duration) -> RateLimit {
        let same =
            |other: &&RateLimit| other.spec.key == spec.key && other.spec.max_keys == spec.max_keys;
        let before = before.filter(same);
        let state = || match spec.key {
            RateKey::Route => State::One(One::default()),
            RateKey::ClientIp | RateKey::Header(_) => State::Keyed(Table::new(spec.max_keys)),
        };
        RateLimit {
            spec: spec.clone(),
            pace: Pace::compile(spec.rate, spec.burst, before.map(|other| &other.pace), now),
            state: before.map_or_else(|| Arc::new(state()), |other| Arc::clone(&other.state)),
        }
    }

    /// What it was compiled from.
    pub fn spec(&self) -> &RateLimitSpec {
        &self.spec
    }

    /// Decides about one request, and charges it if it passes.
    pub fn check(&self, counted: Counted<'_>, now: Duration) -> RateVerdict {
        let (clock, burst) = (self.pace.at(now), self.pace.burst);
        let charge = match &*self.state {
            State::One(One(seat)) => seats::charge(seat, ONE, clock, burst).0,
            State::Keyed(table) => table.charge(counted, clock, burst),
        };
        match charge {
            Charge::Passed { debt } => RateVerdict::Passed {
                remaining: ((burst - debt) / UNIT) as u32,
            },
            Charge::Limited { missing, own } => RateVerdict::Limited {
                retry_after: self.pace.time_for(missing),
                by: match own {
                    Seat::Own => LimitedBy::Key,
                    Seat::Others => LimitedBy::Crowd,
                },
            },
        }
    }

    /// What `RateLimit-Policy` says.
    pub fn policy(&self) -> RatePolicy {
        let (count, period) = (u64::from(self.spec.rate.count()), self.spec.rate.period());
        let seconds = u64::from(self.spec.burst) * period.as_secs();
        let window = seconds.div_ceil(count).max(1);
        RatePolicy {
            quota: window * count / period.as_secs(),
            window,
        }
    }

    /// Requests that met the debt of other keys because more keys are in debt than there is room
    /// for. Rising: `max_keys` is too small.
    pub fn crowded(&self) -> u64 {
        match &*self.state {
            State::One(_) => 0,
            State::Keyed(table) => table.crowded(),
        }
    }

    /// Memory of what is counted; it never changes.
    pub fn bytes(&self) -> usize {
        match &*self.state {
            State::One(one) => std::mem::size_of_val(one),
            State::Keyed(table) => table.bytes(),
        }
    }
}

#[cfg(test)]
mod tests;
