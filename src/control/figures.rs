//! Live figures of each route over the last ten seconds.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::snapshot::Route;
use crate::telemetry::{RouteMetrics, Sample};
use crate::vocab::By;

/// Seconds that figures look back.
const WINDOW: usize = 10;

/// What one route did over the last ten seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RouteFigures {
    /// Requests that ended, a second.
    pub requests_per_second: f64,
    /// Half of the answers were faster; `None` without answers.
    pub p50_ms: Option<f64>,
    /// All but one in a hundred were faster.
    pub p99_ms: Option<f64>,
    /// Share of answers that the upstream or the gateway made with a 5xx status, 0 to 1;
    /// clients that went away count neither way.
    pub error_share: f64,
    /// Share of requests that clients sent again, 0 to 1. Killed requests are not looked at.
    pub client_retry_share: f64,
    /// Requests that clients sent again, a second.
    pub client_retries_per_second: f64,
    /// Who answered.
    pub by: ByShare,
}

/// Share of requests by who answered, 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct ByShare {
    /// The upstream.
    pub upstream: f64,
    /// The gateway itself.
    pub gateway: f64,
    /// A kill switch.
    pub kill: f64,
    /// Nobody: the client went away.
    pub client: f64,
}

/// The figures of every route, sampled once a second.
#[derive(Debug, Default)]
pub struct Figures(Mutex<Rings>);

#[derive(Debug, Default)]
struct Rings {
    /// When the samples of the window were taken, and the one before it.
    taken: VecDeque<Instant>,
    tick: u64,
    routes: HashMap<Arc<str>, Ring>,
}

/// What one route had counted, and what it counted in each second of the window in which it
/// counted anything: an idle route costs one comparison.
#[derive(Debug)]
struct Ring {
    last: Counts,
    total: u64,
    steps: VecDeque<(u64, Counts)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    by: [u64; 4],
    errors: u64,
    client_retries: u64,
    latency: Sample,
}

impl Counts {
    fn read(metrics: &RouteMetrics) -> Counts {
        let mut counts = Counts {
            client_retries: metrics.client_retries(),
            ..Counts::default()
        };
        for (by, code, n) in metrics.requests() {
            counts.by[by.index()] += n;
            if code >= 500 && matches!(by, By::Upstream | By::Gateway) {
                counts.errors += n;
            }
        }
        // A client that went away says nothing of how fast the route answers.
        for by in [By::Upstream, By::Gateway, By::Kill] {
            counts.latency = counts.latency.plus(&metrics.latency(by));
        }
        counts
    }

    fn since(&self, earlier: &Counts) -> Counts {
        Counts {
            by: std::array::from_fn(|i| self.by[i].saturating_sub(earlier.by[i])),
            errors: self.errors.saturating_sub(earlier.errors),
            client_retries: self.client_retries.saturating_sub(earlier.client_retries),
            latency: self.latency.since(&earlier.latency),
        }
    }

    fn plus(&self, other: &Counts) -> Counts {
        Counts {
            by: std::array::from_fn(|i| self.by[i] + other.by[i]),
            errors: self.errors + other.errors,
            client_retries: self.client_retries + other.client_retries,
            latency: self.latency.plus(&other.latency),
        }
    }
}

impl Figures {
    /// Takes a sample of every route. Routes that are gone are forgotten.
    pub fn sample(&self, routes: &[Route], now: Instant) {
        let mut rings = self.lock();
        let mut before = std::mem::take(&mut rings.routes);
        rings.tick += 1;
        rings.taken.push_back(now);
        if rings.taken.len() > WINDOW + 1 {
            rings.taken.pop_front();
        }
        let tick = rings.tick;
        rings.routes = HashMap::with_capacity(routes.len());
        for route in routes {
            let name = Arc::clone(&route.spec.name);
            let ring = match before.remove(&name) {
                Some(ring) => ring.advance(&route.metrics, tick),
                None => Ring::new(&route.metrics),
            };
            rings.routes.insert(name, ring);
        }
    }

    /// The figures of a route; `None` for a name that no sample was taken of.
    pub fn of(&self, route: &str) -> Option<RouteFigures> {
        let rings = self.lock();
        let ring = rings.routes.get(route)?;
        Some(figures(&ring.sum(), rings.span()))
    }

    /// Routes with requests that clients sent again, by name, and their figures.
    pub fn client_retries(&self) -> BTreeMap<Arc<str>, RouteFigures> {
        let rings = self.lock();
        let all = rings.routes.iter();
        let repeated = all.filter_map(|(name, ring)| {
            let sum = ring.sum();
            let figures = || figures(&sum, rings.span());
            (sum.client_retries > 0).then(|| (Arc::clone(name), figures()))
        });
        repeated.collect()
    }

    fn lock(&self) -> MutexGuard<'_, Rings> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rings {
    fn span(&self) -> Duration {
        match (self.taken.front(), self.taken.back()) {
            (Some(first), Some(last)) => last.saturating_duration_since(*first),
            _ => Duration::ZERO,
        }
    }
}

impl Ring {
    fn new(metrics: &RouteMetrics) -> Ring {
        Ring {
            total: metrics.requests_total(),
            last: Counts::read(metrics),
            steps: VecDeque::new(),
        }
    }

    fn advance(mut self, metrics: &RouteMetrics, tick: u64) -> Ring {
        let horizon = tick.saturating_sub(WINDOW as u64);
        while self.steps.front().is_some_and(|(at, _)| *at <= horizon) {
            self.steps.pop_front();
        }
        if self.steps.is_empty() {
            self.steps.shrink_to_fit();
        }
        let total = metrics.requests_total();
        if total != self.total {
            let now = Counts::read(metrics);
            self.steps.push_back((tick, now.since(&self.last)));
            self.last = now;
            self.total = total;
        }
        self
    }

    fn sum(&self) -> Counts {
        let add = |sum: Counts, (_, step): &(u64, Counts)| sum.plus(step);
        self.steps.iter().fold(Counts::default(), add)
    }
}

fn figures(counts: &Counts, span: Duration) -> RouteFigures {
    let requests: u64 = counts.by.iter().sum();
    let answered = requests - counts.by[By::Client.index()];
    let share = |by: By| ratio(counts.by[by.index()], requests);
    let ms = |q| counts.latency.quantile(q).map(|s| s * 1e3);
    let per_second = |count: u64| match span.is_zero() {
        true => 0.0,
        false => count as f64 / span.as_secs_f64(),
    };
    RouteFigures {
        requests_per_second: per_second(requests),
        // A request is known to be repeated before it has ended.
        client_retry_share: ratio(counts.client_retries, requests).min(1.0),
        client_retries_per_second: per_second(counts.client_retries),
        p50_ms: ms(0.5),
        p99_ms: ms(0.99),
        error_share: ratio(counts.errors, answered),
        by: ByShare {
            upstream: share(By::Upstream),
            gateway: share(By::Gateway),
            kill: share(By::Kill),
            client: share(By::Client),
        },
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocab::Clock;

    fn second_by_second(ring: Ring, metrics: &RouteMetrics, ticks: std::ops::Range<u64>) -> Ring {
        ticks.fold(ring, |ring, tick| ring.advance(metrics, tick))
    }

    #[test]
    fn figures_hold_what_the_window_saw_and_forget_what_left_it() {
        let metrics = RouteMetrics::default();
        metrics.end(By::Upstream, 200, Duration::from_millis(40));
        let mut ring = Ring::new(&metrics);
        for _ in 0..6 {
            metrics.end(By::Upstream, 200, Duration::from_millis(4));
        }
        for _ in 0..2 {
            metrics.end(By::Gateway, 502, Duration::from_millis(4));
        }
        metrics.end(By::Kill, 503, Duration::from_millis(4));
        metrics.end(By::Client, 499, Duration::from_secs(5));
        ring = second_by_second(ring, &metrics, 2..5);
        let got = figures(&ring.sum(), Duration::from_secs(10));
        assert!((got.requests_per_second - 1.0).abs() < 1e-9, "{got:?}");
        assert!((got.error_share - 2.0 / 9.0).abs() < 1e-9, "{got:?}");
        assert!((got.by.upstream - 0.6).abs() < 1e-9, "{got:?}");
        assert!(got.p99_ms.is_some_and(|ms| ms <= 5.0), "{got:?}");
        ring = second_by_second(ring, &metrics, 5..13);
        assert_eq!(ring.steps.len(), 0);
        assert_eq!(
            figures(&ring.sum(), Duration::from_secs(10)),
            RouteFigures::default()
        );
    }

    #[test]
    fn a_busy_route_keeps_a_bounded_ring() {
        let metrics = RouteMetrics::default();
        let mut ring = Ring::new(&metrics);
        for tick in 1..100 {
            metrics.end(By::Upstream, 200, Duration::from_millis(1));
            ring = ring.advance(&metrics, tick);
        }
        assert_eq!(ring.steps.len(), WINDOW);
    }

    #[test]
    fn a_name_that_was_never_sampled_has_no_figures() {
        let figures = Figures::default();
        figures.sample(&[], Clock::now());
        assert_eq!(figures.of("nothing"), None);
    }
}
