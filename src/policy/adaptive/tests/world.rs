//! An upstream in simulation: so many servers, a line before them, and requests of three tiers
//! that pass an adaptive gate. Times in nanoseconds; nothing is random but for a fixed seed.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::policy::adaptive::{Adaptive, AdaptiveSpec, Ending, Learned};
use crate::policy::concurrency::{ConcurrencySpec, Entry, Gate, Permit, Ticket};
use crate::policy::shed::part;
use crate::vocab::Tier;

/// What goes on, from a second on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Phase {
    pub(super) from: u64,
    /// Requests offered, in parts of what the servers can do.
    pub(super) load: f64,
    /// Times the usual service time, with as many more servers.
    pub(super) slowness: f64,
}

/// What was seen in the last quarter of the last phase.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Answers, in parts of what the servers can do.
    pub(super) goodput: f64,
    /// Requests of tier `core` that were answered.
    pub(super) core: f64,
    /// Their latency, waiting included, that one in a hundred exceeds, in service times.
    pub(super) core_p99: f64,
    /// The limit at the end.
    pub(super) limit: u32,
}

struct Request {
    tier: Tier,
    arrived: u64,
    sent: u64,
    /// Held for as long as the request lives.
    _permit: Permit<Arc<Gate>>,
}

pub(super) struct World {
    servers: usize,
    service: f64,
    spec: AdaptiveSpec,
    adaptive: Adaptive,
    gate: Arc<Gate>,
    line: VecDeque<Request>,
    busy: BTreeMap<u64, Request>,
    done: BinaryHeap<Reverse<(u64, u64)>>,
    waiting: VecDeque<(Ticket<Arc<Gate>>, u64)>,
    random: u64,
    started: u64,
    core: (u64, u64),
    answers: u64,
    latencies: Vec<u64>,
}

const CORE_LINE: u32 = 100;

fn gate_of(max: u32) -> ConcurrencySpec {
    ConcurrencySpec {
        max,
        queue: CORE_LINE,
        queue_timeout: Duration::from_millis(100),
    }
}

impl World {
    /// So many servers that take `service` seconds for a request, exponentially distributed.
    pub(super) fn new(servers: usize, service: f64) -> World {
        let spec = AdaptiveSpec::default();
        let adaptive = Adaptive::new(&spec);
        let gate = Arc::new(Gate::new(&gate_of(adaptive.limit(&spec))));
        World {
            servers,
            service,
            spec,
            adaptive,
            gate,
            line: VecDeque::new(),
            busy: BTreeMap::new(),
            done: BinaryHeap::new(),
            waiting: VecDeque::new(),
            random: 0x9e37_79b9_7f4a_7c15,
            started: 0,
            core: (0, 0),
            answers: 0,
            latencies: Vec::new(),
        }
    }

    /// Lets `seconds` pass, and says what the last of them were like.
    pub(super) fn run(mut self, phases: &[Phase], seconds: u64) -> Seen {
        let end = seconds * 1_000_000_000;
        let last = phases.last().map_or(0, |phase| phase.from) * 1_000_000_000;
        let watched = end - (end - last) / 4;
        let capacity = self.servers as f64 / self.service;
        let mut now = 0;
        while now < end {
            let begun = phases
                .iter()
                .rev()
                .find(|phase| phase.from * 1_000_000_000 <= now);
            let phase = begun.unwrap_or(&phases[0]);
            match self.done.peek() {
                Some(Reverse((at, _))) if *at <= now => self.finish(phase.slowness, watched),
                _ => {
                    self.arrive(now, phase.slowness, watched);
                    now += self.wait(1.0 / (capacity * phase.load));
                }
            }
        }
        self.latencies.sort_unstable();
        let p99 = self.latencies[self.latencies.len() * 99 / 100];
        Seen {
            goodput: self.answers as f64 / ((end - watched) as f64 / 1e9) / capacity,
            core: self.core.1 as f64 / self.core.0 as f64,
            core_p99: p99 as f64 / 1e9 / self.service,
            limit: self.adaptive.limit(&self.spec),
        }
    }

    fn arrive(&mut self, now: u64, slowness: f64, watched: u64) {
        let tier = match self.uniform() {
            part if part < 0.1 => Tier::Core,
            part if part < 0.5 => Tier::Standard,
            _ => Tier::Sheddable,
        };
        if tier == Tier::Core && now > watched {
            self.core.0 += 1;
        }
        let part = part(tier, self.adaptive.limit(&self.spec), CORE_LINE);
        match Gate::enter_within(Arc::clone(&self.gate), part) {
            Entry::Admitted(permit) => {
                self.line.push_back(Request {
                    tier,
                    arrived: now,
                    sent: now,
                    _permit: permit,
                });
                self.serve(now, slowness);
            }
            Entry::Queued(ticket) => self.waiting.push_back((ticket, now)),
            Entry::Full(_) => {}
        }
    }

    fn serve(&mut self, now: u64, slowness: f64) {
        let places = self.servers as f64 * slowness;
        while (self.busy.len() as f64) < places {
            let Some(request) = self.line.pop_front() else {
                return;
            };
            self.started += 1;
            let finish = now + self.wait(self.service * slowness);
            self.done.push(Reverse((finish, self.started)));
            self.busy.insert(self.started, request);
        }
    }

    fn finish(&mut self, slowness: f64, watched: u64) {
        let Some(Reverse((now, number))) = self.done.pop() else {
            return;
        };
        let request = self.busy.remove(&number).unwrap();
        if now > watched {
            self.answers += 1;
            if request.tier == Tier::Core {
                self.core.1 += 1;
                self.latencies.push(now - request.arrived);
            }
        }
        let latency = Ending::Answered(Duration::from_nanos(now - request.sent));
        let in_flight = self.gate.load().in_flight;
        let at = Duration::from_nanos(now);
        match self.adaptive.note(&self.spec, latency, in_flight, at) {
            Learned::Window { to, .. } => self.gate.adopt(&gate_of(to)),
            Learned::Nothing => {}
        }
        drop(request);
        self.let_in(now);
        self.serve(now, slowness);
    }

    /// Those who waited and may go on; those who waited too long give up.
    fn let_in(&mut self, now: u64) {
        let mut context = Context::from_waker(Waker::noop());
        while let Some((ticket, arrived)) = self.waiting.front_mut() {
            match Pin::new(ticket).poll(&mut context) {
                Poll::Ready(permit) => self.line.push_back(Request {
                    tier: Tier::Core,
                    arrived: *arrived,
                    sent: now,
                    _permit: permit,
                }),
                Poll::Pending if now - *arrived > 100_000_000 => {}
                Poll::Pending => return,
            }
            self.waiting.pop_front();
        }
    }

    /// Xorshift (Marsaglia, 2003), 0 to 1.
    fn uniform(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Exponentially distributed nanoseconds of that mean in seconds.
    fn wait(&mut self, mean: f64) -> u64 {
        (-mean * (1.0 - self.uniform()).ln() * 1e9) as u64
    }
}
