//! Requests that a client sends again: recognised, counted, and held to a budget.
//!
//! A retry storm that clients make looks like load. What tells it apart is that the same requests
//! come back: the same client, method, target and body within 30 s, or a header that says so. The
//! table that remembers them is one for all routes, of a fixed size, without a lock: places of
//! eight, a line of the cache each, whose oldest leaves when another comes. It forgets under more
//! requests than it was made for, so that counts are then too low, never too high; two equal
//! requests in the same moment on two workers may both count as the first.
//!
//! The body comes after the head, in pieces, and nobody waits for it here: what the head says is
//! kept as one number ([`Recent::asked`]), until the digest of the body is there
//! ([`Recent::see`]).
//!
//! A heartbeat that repeats itself within 30 s is counted too: nothing tells it from a retry.

mod keyed;

use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use http::{HeaderMap, HeaderName, Method};

use super::budget::RetryBudgetSpec;
use super::history::{Addition, History};
use super::share::{Share, Sticky};
pub use keyed::Keys;

/// How long a request is remembered.
pub const MEMORY: Duration = Duration::from_secs(30);

/// The window of [`ClientRetries::share`].
pub const SHARE_WINDOW: Duration = Duration::from_secs(10);

/// What makes two requests the same, besides their bodies.
#[derive(Clone, Copy, Debug, Hash)]
pub struct Request<'a> {
    /// Its route.
    pub route: &'a str,
    /// Who sent it.
    pub client: Client<'a>,
    /// Its method.
    pub method: &'a Method,
    /// Path and query.
    pub target: &'a str,
}

/// A [`Request`] in one number.
#[derive(Clone, Copy, Debug, Hash)]
pub struct Asked(u64);

/// What tells clients apart: what [`Sticky`] names of their requests.
#[derive(Clone, Copy, Debug, Hash)]
pub enum Client<'a> {
    /// The client's address.
    Address(IpAddr),
    /// The value of a header.
    Named(&'a [u8]),
}

impl<'a> Client<'a> {
    /// Who sent a request with these headers. Where each request has a fate of its own, clients
    /// are their addresses.
    pub fn of(
        sticky: &Sticky,
        headers: &'a HeaderMap,
        address: impl FnOnce() -> IpAddr,
    ) -> Client<'a> {
        let name = match sticky {
            Sticky::Header(name) => headers.get(name),
            Sticky::ClientIp | Sticky::Request => None,
        };
        match name {
            Some(value) => Client::Named(value.as_bytes()),
            None => Client::Address(address()),
        }
    }
}

/// Whether a request was there before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Not lately, as far as is known.
    First,
    /// It was.
    Again,
}

/// The requests of the last half a minute.
#[derive(Debug)]
pub struct Recent<S = Keys> {
    /// Keyed, so that nobody can send requests that are taken for another's.
    hasher: S,
    pages: Box<[OnceLock<Box<Page>>]>,
    /// Of the number of a line; there are so many, less one.
    mask: usize,
}

/// Lines that are made together when the first of them is needed, so that a gateway with little
/// to remember holds little.
#[derive(Debug)]
struct Page([Places; LINES]);

const LINES: usize = 64;

/// Words of 40 bits of a request's hash, and when it last came, in eighths of a second.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Places([AtomicU64; PLACES]);

const PLACES: usize = 8;
const TIME_BITS: u32 = 24;
const TIME_MASK: u64 = (1 << TIME_BITS) - 1;
const UNITS_PER_SECOND: u64 = 8;

/// Other workers may change a place between looking and writing; so often it is tried again.
const MOST_TRIES: usize = 4;

impl Recent {
    /// A table for about that many requests in 30 s: 8 bytes each, rounded up to a power of two,
    /// and taken as they come.
    pub fn new(requests: usize) -> Recent {
        Recent::with_hasher(requests, Keys::random())
    }
}

impl<S: BuildHasher> Recent<S> {
    /// The same, with a hasher of the caller's.
    pub fn with_hasher(requests: usize, hasher: S) -> Recent<S> {
        let count = requests.div_ceil(PLACES).next_power_of_two();
        Recent {
            hasher,
            pages: (0..count.div_ceil(LINES))
                .map(|_| OnceLock::new())
                .collect(),
            mask: count - 1,
        }
    }

    /// The memory that it takes at most, whatever comes.
    pub fn most_bytes(&self) -> usize {
        self.pages.len() * size_of::<Page>()
    }

    /// The memory that it takes now.
    pub fn bytes(&self) -> usize {
        let made = self.pages.iter().filter(|page| page.get().is_some());
        made.count() * size_of::<Page>()
    }

    /// What is asked for.
    pub fn asked(&self, request: &Request<'_>) -> Asked {
        Asked(self.hasher.hash_one(request))
    }

    /// Whether the same was asked for lately, with a body of the same digest over all of it (0: of
    /// nothing); from now on it was.
    pub fn see(&self, asked: Asked, body: u64, now: Duration) -> Seen {
        let hash = self.hasher.hash_one((asked, body));
        let places = &self.line(hash as usize & self.mask).0;
        // The lowest bit set: no request's word is that of an empty place.
        let tag = hash >> TIME_BITS | 1;
        let unit = (now.as_millis() as u64 * UNITS_PER_SECOND / 1_000) & TIME_MASK;
        let word = tag << TIME_BITS | unit;
        for _ in 0..MOST_TRIES {
            let words: [u64; PLACES] = std::array::from_fn(|at| places[at].load(SeqCst));
            let known = words.iter().position(|word| word >> TIME_BITS == tag);
            let at = known.unwrap_or_else(|| oldest(&words, unit));
            if words[at] == word {
                // Nothing to write: of a storm of one request the workers share the line.
                return Seen::Again;
            }
            let written = places[at].compare_exchange(words[at], word, SeqCst, SeqCst);
            let recent = known.is_some() && age(words[at], unit) <= OLDEST;
            match (recent, written) {
                // Whoever was faster has written the same, or put another in its place.
                (true, _) => return Seen::Again,
                (false, Ok(_)) => return Seen::First,
                (false, Err(_)) => {}
            }
        }
        Seen::First
    }

    fn line(&self, number: usize) -> &Places {
        let page = &self.pages[number / LINES];
        let page = match page.get() {
            Some(page) => page,
            None => {
                // Made before it is put there: nobody waits for another who makes it.
                let new = Box::new(Page(std::array::from_fn(|_| Places::default())));
                page.get_or_init(|| new)
            }
        };
        &page.0[number % LINES]
    }
}

const OLDEST: u64 = MEMORY.as_secs() * UNITS_PER_SECOND;

/// How long ago a word was written. A time that is still to come was written by a worker whose
/// clock reading is newer: it is none.
fn age(word: u64, unit: u64) -> u64 {
    let age = unit.wrapping_sub(word) & TIME_MASK;
    match age > TIME_MASK / 2 {
        true => 0,
        false => age,
    }
}

/// An empty place, or the one that was not asked for the longest.
fn oldest(words: &[u64; PLACES], unit: u64) -> usize {
    let key = |at: &usize| match words[*at] {
        0 => u64::MAX,
        word => age(word, unit),
    };
    // Of several the first, so that two workers with the same request meet in one place.
    (0..PLACES).rev().max_by_key(key).unwrap_or_default()
}

/// What a header counts.
#[derive(Clone, Copy)]
enum Counts {
    /// The attempts before this one.
    Before,
    /// The attempts, this one included.
    All,
}

/// Headers by which clients, and proxies before us, tell a retry.
static HEADERS: [(HeaderName, Counts); 4] = [
    // gRPC, proposal A6.
    (
        HeaderName::from_static("grpc-previous-rpc-attempts"),
        Counts::Before,
    ),
    // No standard, but widely set by hand.
    (HeaderName::from_static("x-retry-count"), Counts::Before),
    // Envoy.
    (
        HeaderName::from_static("x-envoy-attempt-count"),
        Counts::All,
    ),
    // The AWS SDKs: `attempt=2; max=3`.
    (HeaderName::from_static("amz-sdk-request"), Counts::All),
];

/// Whether [`marked`] looks at a header of this name, in lower case. Asked in one pass over all of
/// them, it spares most requests the look.
pub fn is_looked_at(name: &str) -> bool {
    // A comparison with constants, which costs less than with the list.
    matches!(
        name,
        "grpc-previous-rpc-attempts"
            | "x-retry-count"
            | "x-envoy-attempt-count"
            | "amz-sdk-request"
    )
}

/// Whether the headers say that this is a retry.
pub fn marked(headers: &HeaderMap) -> Seen {
    let says = |(name, counts): &(HeaderName, Counts)| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        let number = value.and_then(number).unwrap_or_default();
        number
            > match counts {
                Counts::Before => 0,
                Counts::All => 1,
            }
    };
    match HEADERS.iter().any(says) {
        true => Seen::Again,
        false => Seen::First,
    }
}

/// A number alone, or that of `attempt=`.
fn number(value: &str) -> Option<u32> {
    let attempt = |part: &str| part.trim().strip_prefix("attempt=")?.trim().parse().ok();
    let alone = value.trim().parse().ok();
    alone.or_else(|| value.split(';').find_map(attempt))
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientRetryVerdict {
    /// It goes on.
    Passed,
    /// A repeated request beyond `client_retry_budget`: answered as the kill switch would.
    OverBudget,
}

/// What clients repeated on a route. Kept by its name across reloads; a changed budget holds at
/// once.
#[derive(Debug, Default)]
pub struct ClientRetries {
    first: History,
    again: History,
    /// Of those the ones that went on.
    passed: History,
}

impl ClientRetries {
    /// Counts a request, and holds a repeated one to the budget, if there is one: so many for
    /// the requests that were not repeated. Of repeated requests that compete for the last place
    /// one gets it.
    pub fn admit(
        &self,
        budget: Option<&RetryBudgetSpec>,
        seen: Seen,
        now: Duration,
    ) -> ClientRetryVerdict {
        match seen {
            Seen::First => {
                self.first.add(now);
                return ClientRetryVerdict::Passed;
            }
            Seen::Again => self.again.add(now),
        }
        let Some(spec) = budget else {
            self.passed.add(now);
            return ClientRetryVerdict::Passed;
        };
        let allowed = spec.allowed(self.first.within(spec.window, now));
        match self.passed.add_below(allowed, spec.window, now) {
            Addition::Added(_) => ClientRetryVerdict::Passed,
            Addition::Full(_) => ClientRetryVerdict::OverBudget,
        }
    }

    /// The share of repeated requests among all of the last 10 s.
    pub fn share(&self, now: Duration) -> Share {
        let again = self.again.within(SHARE_WINDOW, now) as f64;
        let all = again + self.first.within(SHARE_WINDOW, now) as f64;
        match all > 0.0 {
            true => Share::WHOLE.times(again / all),
            false => Share::NONE,
        }
    }
}

#[cfg(test)]
mod tests;
