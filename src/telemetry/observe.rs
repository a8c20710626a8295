//! Who is it? The most frequent values of what a route observes, over the last ten seconds.

use std::collections::VecDeque;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName};
use serde::Serialize;

use super::sketch::{COUNTERS, Counter, Sketch, Summary};

/// What is looked back on.
const WINDOW: Duration = Duration::from_secs(10);

/// Summaries that the window is made of, one a second.
const STEPS: usize = 10;

/// Values that are told of each key.
const TOP: usize = 10;

/// Stands for a header that is not there: no header can have this value.
const ABSENT: &[u8] = &[0];

/// What of a request is observed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObserveKey {
    /// The client's address.
    ClientIp,
    /// The first value of a header.
    Header(HeaderName),
}

impl fmt::Display for ObserveKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ObserveKey::ClientIp => f.write_str("client-ip"),
            ObserveKey::Header(name) => write!(f, "header:{name}"),
        }
    }
}

/// Observes the requests of one route.
///
/// Each worker counts in a slot of its own, which only control touches besides, for a moment
/// once a second. A worker never waits for it: if control is there just then, the request is
/// not counted.
///
/// Memory of each key, at most: a sketch for each worker and ten summaries, of 11 KiB each; with
/// two workers 132 KiB. A route without requests for ten seconds has given it all back but 64 bytes
/// for each worker; a route that never had a request has nothing.
#[derive(Debug)]
pub struct Observer {
    keys: Vec<ObserveKey>,
    workers: usize,
    slots: OnceLock<Box<[Slot]>>,
    ring: Mutex<Ring>,
}

/// What one worker counted since control last took it: a sketch for each key. On a cache line
/// of its own, so that workers do not slow each other down.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Slot(Mutex<Vec<Sketch>>);

#[derive(Debug, Default)]
struct Ring {
    /// Observed since then.
    since: Option<Instant>,
    /// A summary for each key, and when control made them.
    steps: VecDeque<(Instant, Vec<Summary>)>,
}

/// One value, and how often it came within the window. Where more values came than are counted
/// one by one, its count is known only within bounds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ObservedValue {
    /// Its first 128 bytes; `None`: the header was not there.
    pub value: Option<String>,
    /// It came at least so often.
    pub count: u64,
    /// It came at most so often.
    pub at_most: u64,
    /// `count` a second.
    pub per_second: f64,
    /// `count` as a share of the requests counted, 0 to 1.
    pub share: f64,
}

impl Observer {
    /// Observes these keys, for so many workers.
    pub fn new(keys: Vec<ObserveKey>, workers: usize) -> Observer {
        Observer {
            keys,
            workers: workers.max(1),
            slots: OnceLock::new(),
            ring: Mutex::default(),
        }
    }

    /// What it observes.
    pub fn keys(&self) -> &[ObserveKey] {
        &self.keys
    }

    /// Counts a request, which `worker` serves; workers are numbered from 0. Never waits.
    pub fn note(&self, worker: usize, headers: &HeaderMap, client: impl Fn() -> IpAddr) {
        let make = || (0..self.workers).map(|_| Slot::default()).collect();
        let slots = self.slots.get_or_init(make);
        // More workers than were expected share slots, and miss a request now and then.
        let mut sketches = match slots[worker % slots.len()].0.try_lock() {
            Ok(sketches) => sketches,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        if sketches.is_empty() {
            sketches.resize_with(self.keys.len(), Sketch::default);
        }
        for (key, sketch) in self.keys.iter().zip(sketches.iter_mut()) {
            match key {
                ObserveKey::ClientIp => match client() {
                    IpAddr::V4(ip) => sketch.offer(&ip.octets()),
                    IpAddr::V6(ip) => sketch.offer(&ip.octets()),
                },
                ObserveKey::Header(name) => {
                    let value = headers.get(name).map(|value| value.as_bytes());
                    sketch.offer(value.unwrap_or(ABSENT));
                }
            }
        }
    }

    /// Takes what the workers counted into the window, and forgets what left it. Called by
    /// control, once a second.
    pub fn gather(&self, now: Instant) {
        let mut ring = self.lock();
        ring.since.get_or_insert(now);
        let expired = |at: Instant| now.saturating_duration_since(at) >= WINDOW;
        while ring.steps.front().is_some_and(|(at, _)| expired(*at)) {
            ring.steps.pop_front();
        }
        let mut taken = self.take();
        if taken.is_empty() {
            if ring.steps.is_empty() {
                ring.steps.shrink_to_fit();
            }
            return;
        }
        let of_key = |key: usize| {
            let parts = taken.iter().filter_map(|summaries| summaries.get(key));
            Summary::merge(parts).cut(COUNTERS)
        };
        let summaries = match taken.len() {
            1 => taken.swap_remove(0),
            _ => (0..self.keys.len()).map(of_key).collect(),
        };
        if ring.steps.len() == STEPS {
            ring.steps.pop_front();
        }
        ring.steps.push_back((now, summaries));
    }

    /// What each worker that served requests counted since the last time.
    fn take(&self) -> Vec<Vec<Summary>> {
        let slots = self.slots.get().into_iter().flatten();
        let taken = slots.map(|slot| {
            // A worker holds it for the time of one request's counting.
            let mut sketches = slot.0.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *sketches)
        });
        taken
            .filter(|sketches| !sketches.is_empty())
            .map(|sketches| sketches.into_iter().map(Sketch::into_summary).collect())
            .collect()
    }

    /// The ten most frequent values of each key within the window, most frequent first. Empty
    /// when there was no request.
    pub fn top(&self, now: Instant) -> Vec<(&ObserveKey, Vec<ObservedValue>)> {
        let ring = self.lock();
        let within = |at: Instant| now.saturating_duration_since(at) < WINDOW;
        let steps: Vec<_> = ring.steps.iter().filter(|(at, _)| within(*at)).collect();
        if steps.is_empty() {
            return Vec::new();
        }
        let since = ring.since.unwrap_or(now);
        // The first look comes up to a second after the first request.
        let span = now
            .saturating_duration_since(since)
            .clamp(Duration::from_secs(1), WINDOW);
        let keys = self.keys.iter().enumerate();
        keys.map(|(index, key)| {
            let whole = Summary::merge(steps.iter().filter_map(|(_, keys)| keys.get(index)));
            let top = whole.top(TOP);
            let tell = |counter| told(key, counter, (whole.total, span));
            (key, top.into_iter().map(tell).collect())
        })
        .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn told(key: &ObserveKey, counter: &Counter, (total, span): (u64, Duration)) -> ObservedValue {
    ObservedValue {
        value: text(key, &counter.value),
        count: counter.least,
        at_most: counter.most,
        per_second: counter.least as f64 / span.as_secs_f64(),
        share: counter.least as f64 / total.max(1) as f64,
    }
}

fn text(key: &ObserveKey, value: &[u8]) -> Option<String> {
    match key {
        ObserveKey::ClientIp => {
            let v4 = <[u8; 4]>::try_from(value).map(Ipv4Addr::from);
            let v6 = <[u8; 16]>::try_from(value).map(Ipv6Addr::from);
            let text = v4.map(|ip| ip.to_string());
            text.or_else(|_| v6.map(|ip| ip.to_string())).ok()
        }
        ObserveKey::Header(_) => {
            (value != ABSENT).then(|| String::from_utf8_lossy(value).into_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sketch::LONGEST;
    use super::*;
    use crate::vocab::Clock;
    use http::HeaderValue;

    const SECOND: Duration = Duration::from_secs(1);
    const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));

    fn observer(workers: usize) -> Observer {
        let version = HeaderName::from_static("x-client-version");
        Observer::new(
            vec![ObserveKey::ClientIp, ObserveKey::Header(version)],
            workers,
        )
    }

    fn version(text: &str) -> HeaderMap {
        let value = HeaderValue::from_str(text).unwrap();
        HeaderMap::from_iter([(HeaderName::from_static("x-client-version"), value)])
    }

    fn counts(observer: &Observer, now: Instant) -> Vec<(Option<String>, u64)> {
        let top = observer.top(now);
        let versions = top.into_iter().nth(1).map(|(_, values)| values);
        let values = versions.into_iter().flatten();
        values.map(|v| (v.value, v.count)).collect()
    }

    #[test]
    fn what_all_workers_saw_is_told_together() {
        let observer = observer(2);
        let now = Clock::now();
        for worker in [0, 1, 0] {
            observer.note(worker, &version("4.2.1"), || CLIENT);
        }
        observer.note(1, &HeaderMap::new(), || Ipv6Addr::LOCALHOST.into());
        observer.gather(now);
        let top = observer.top(now + SECOND);
        assert_eq!(top[0].0, &ObserveKey::ClientIp);
        let first = ObservedValue {
            value: Some("192.0.2.7".to_owned()),
            count: 3,
            at_most: 3,
            per_second: 3.0,
            share: 0.75,
        };
        assert_eq!(top[0].1[0], first);
        assert_eq!(top[0].1[1].value.as_deref(), Some("::1"));
        let versions = counts(&observer, now);
        assert_eq!(versions, [(Some("4.2.1".to_owned()), 3), (None, 1)]);
    }

    #[test]
    fn what_left_the_window_is_forgotten() {
        let observer = observer(1);
        let start = Clock::now();
        observer.note(0, &version("old"), || CLIENT);
        observer.gather(start);
        for second in 1..10 {
            observer.note(0, &version("new"), || CLIENT);
            observer.gather(start + second * SECOND);
        }
        let just_before = start + WINDOW - Duration::from_millis(1);
        let old_and_new = [(Some("new".to_owned()), 9), (Some("old".to_owned()), 1)];
        assert_eq!(counts(&observer, just_before), old_and_new);
        assert_eq!(
            counts(&observer, start + WINDOW),
            [(Some("new".to_owned()), 9)]
        );
        assert!((observer.top(just_before)[1].1[0].per_second - 0.9).abs() < 0.01);
    }

    #[test]
    fn a_quiet_route_gives_its_memory_back_and_an_unused_one_has_none() {
        let observer = observer(2);
        let start = Clock::now();
        observer.gather(start);
        assert!(observer.slots.get().is_none());
        observer.note(0, &version("4"), || CLIENT);
        observer.gather(start + SECOND);
        observer.gather(start + SECOND + WINDOW);
        assert!(observer.top(start + SECOND + WINDOW).is_empty());
        assert_eq!(observer.lock().steps.capacity(), 0);
        let slots = observer.slots.get().unwrap();
        assert!(
            slots
                .iter()
                .all(|slot| slot.0.lock().unwrap().capacity() == 0)
        );
        assert_eq!(size_of_val(&**slots), 2 * 64);
    }

    #[test]
    fn memory_is_bounded_with_a_hundred_thousand_values() {
        let observer = observer(2);
        let start = Clock::now();
        for n in 0..100_000_u32 {
            let value = format!("{n:x<width$}", width = 2 * LONGEST);
            observer.note(n as usize % 2, &version(&value), || {
                Ipv4Addr::from(n).into()
            });
            if n % 1_000 == 999 {
                // More often than promised: the window does not grow.
                observer.gather(start + n / 1_000 * Duration::from_millis(1));
            }
        }
        let ring = observer.lock();
        assert_eq!(ring.steps.len(), STEPS);
        let summaries = || ring.steps.iter().flat_map(|(_, summaries)| summaries);
        assert_eq!(summaries().count(), 2 * STEPS);
        for summary in summaries() {
            let values: usize = summary.counters.iter().map(|c| c.value.len()).sum();
            let counters = summary.counters.capacity() * size_of::<Counter>();
            assert!(values + counters <= 11 << 10, "{values} {counters}");
        }
    }

    #[test]
    fn a_request_is_skipped_rather_than_waited_for() {
        let observer = observer(1);
        observer.note(0, &version("counted"), || CLIENT);
        let held = observer.slots.get().unwrap()[0].0.lock().unwrap();
        observer.note(0, &version("skipped"), || CLIENT);
        drop(held);
        let now = Clock::now();
        observer.gather(now);
        assert_eq!(counts(&observer, now), [(Some("counted".to_owned()), 1)]);
    }

    #[test]
    fn a_worker_beyond_those_expected_is_counted_too() {
        let observer = observer(2);
        observer.note(5, &version("4"), || CLIENT);
        let now = Clock::now();
        observer.gather(now);
        assert_eq!(counts(&observer, now), [(Some("4".to_owned()), 1)]);
    }
}
