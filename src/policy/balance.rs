//! Which endpoint takes an attempt.
//!
//! - Least request: of two that are drawn the less loaded (Mitzenmacher, The Power of Two Choices
//!   in Randomized Load Balancing, 2001). It needs no order of all, and workers that do not see
//!   each other's last pick do not all run to the same endpoint.
//! - Round-robin, by a turn that each worker keeps.
//! - Hash: rendezvous hashing (Thaler and Ravishankar, 1998), with bounded loads (Mirrokni, Thorup
//!   and Zadimoghaddam, 2018). Against a ring or Maglev: no table to build when a name resolves
//!   to other addresses, and when one endpoint leaves only its own keys move, each to the
//!   endpoint that is next for it. It looks at each endpoint, as finding those that are up does
//!   anyway.
//!
//! An endpoint that came back or joined takes a part of what falls to it, rising from a tenth to
//! all over `slow_start`; not so by hash, where a key that moved away for a while would be a
//! second change for its client.
//!
//! An endpoint that was tried is not tried again while another is up. When fewer than a share is
//! up all are taken for up (panic): what is left would fall to the load, and checks that fail
//! everywhere tell more about the checks. A share of 0 is never undercut: what is out gets nothing,
//! and without an endpoint that is up there is none (as in Envoy, whose panic mode is off at 0 %).

use std::num::NonZeroUsize;
use std::time::Duration;

use super::random::{Random, mix};
use super::share::Share;

/// How an upstream's endpoints are chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BalanceSpec {
    /// By what.
    pub method: Method,
    /// Below this share up, health is ignored; at [`Share::NONE`] never.
    pub panic: Share,
    /// Over how long an endpoint that came back takes its part; zero is at once.
    pub slow_start: Duration,
}

/// By what an endpoint is chosen. What a key is made of is the caller's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// `least-request`.
    #[default]
    LeastRequest,
    /// `round-robin`.
    RoundRobin,
    /// `hash:...`: equal keys go to the same endpoint.
    Hash,
}

/// Default of `slow_start`.
pub const DEFAULT_SLOW_START: Duration = Duration::from_secs(10);

impl Default for BalanceSpec {
    fn default() -> BalanceSpec {
        BalanceSpec {
            method: Method::default(),
            panic: Share::from_percent(50.0).unwrap_or(Share::NONE),
            slow_start: DEFAULT_SLOW_START,
        }
    }
}

/// Whether health is ever ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Panics {
    /// When fewer than the share are up.
    Below,
    /// The share is 0.
    Never,
}

impl BalanceSpec {
    /// Whether health is ever ignored.
    pub fn panics(&self) -> Panics {
        match self.panic == Share::NONE {
            true => Panics::Never,
            false => Panics::Below,
        }
    }
}

/// An endpoint, as choosing sees it.
pub trait Candidate {
    /// Whether it is up.
    fn place(&self, now: Duration) -> Place;
    /// What it has to do now.
    fn load(&self, now: Duration) -> u32;
    /// A hash of its name that is the same on every gateway.
    fn name(&self) -> u64;
}

impl<C: Candidate + ?Sized> Candidate for std::sync::Arc<C> {
    fn place(&self, now: Duration) -> Place {
        (**self).place(now)
    }

    fn load(&self, now: Duration) -> u32 {
        (**self).load(now)
    }

    fn name(&self) -> u64 {
        (**self).name()
    }
}

/// Whether an endpoint is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It may be chosen.
    Up {
        /// When it came back or joined, if it ever did.
        since: Option<Duration>,
    },
    /// It could not be connected to a moment ago: others are preferred.
    Resting,
    /// Others are chosen.
    Down,
}

/// The endpoints that a request was sent to, by name: they may come and go meanwhile.
#[derive(Clone, Debug, Default)]
pub struct Tried {
    names: [u64; Tried::MOST],
    count: usize,
}

impl Tried {
    /// How many are remembered; of more the oldest are forgotten.
    pub const MOST: usize = 8;

    /// Remembers one.
    pub fn add(&mut self, endpoint: &impl Candidate) {
        self.names[self.count % Tried::MOST] = endpoint.name();
        self.count += 1;
    }

    fn has(&self, name: u64) -> bool {
        self.names[..self.count.min(Tried::MOST)].contains(&name)
    }
}

/// What an attempt brings along.
#[derive(Clone, Copy, Debug)]
pub struct Draw<'a> {
    /// Where the request has been.
    pub tried: &'a Tried,
    /// The moment.
    pub now: Duration,
    /// The hash of what `hash:...` names, or the worker's turn; unused by least request.
    pub key: u64,
    /// Every bit of it random.
    pub random: u64,
}

/// Which endpoint takes the attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The one at this place, which is up, or would be but for its rest where all rest.
    Up(usize),
    /// The one at this place, although so few are up that it may not be.
    Panic(usize),
    /// There is none.
    None,
}

/// Most endpoints of an upstream; those beyond are never chosen.
pub const MOST_ENDPOINTS: usize = 1024;

/// By hash an endpoint takes at most this many times the mean load.
const MOST_ABOVE_MEAN: f64 = 1.25;

/// And any load up to this: keys do not move while there is little to do.
const FREE_LOAD: u32 = 16;

/// The part that an endpoint takes when its slow start begins.
const FIRST_PART: f64 = 0.1;

/// Places of endpoints.
#[derive(Clone, Copy)]
struct Set {
    bits: [u64; MOST_ENDPOINTS / 64],
    count: usize,
    /// Words that may have bits; the others need not be looked at.
    words: usize,
}

impl Set {
    const EMPTY: Set = Set {
        bits: [0; MOST_ENDPOINTS / 64],
        count: 0,
        words: 0,
    };

    /// The first `count` places.
    fn all(count: usize) -> Set {
        let mut set = Set::EMPTY;
        (0..count).for_each(|place| set.add(place));
        set
    }

    fn add(&mut self, place: usize) {
        self.bits[place / 64] |= 1 << (place % 64);
        self.count += 1;
        self.words = self.words.max(place / 64 + 1);
    }

    fn has(&self, place: usize) -> bool {
        self.bits[place / 64] & (1 << (place % 64)) != 0
    }

    fn without(mut self, place: usize) -> Set {
        if self.has(place) {
            self.bits[place / 64] &= !(1 << (place % 64));
            self.count -= 1;
        }
        self
    }

    fn places(&self) -> impl Iterator<Item = usize> {
        let words = self.bits[..self.words].iter().enumerate();
        words.flat_map(|(at, word)| {
            let mut left = *word;
            std::iter::from_fn(move || {
                let place = (left != 0).then(|| at * 64 + left.trailing_zeros() as usize)?;
                left &= left - 1;
                Some(place)
            })
        })
    }

    /// The one with that many before it.
    fn at(&self, position: usize) -> Option<usize> {
        let mut before = position;
        for (at, word) in self.bits[..self.words].iter().enumerate() {
            let count = word.count_ones() as usize;
            if before < count {
                let left = (0..before).fold(*word, |left, _| left & (left - 1));
                return Some(at * 64 + left.trailing_zeros() as usize);
            }
            before -= count;
        }
        None
    }
}

/// Chooses an endpoint for an attempt.
pub fn choose<C: Candidate>(spec: &BalanceSpec, endpoints: &[C], draw: &Draw<'_>) -> Choice {
    // Most upstreams have one.
    if let [only] = endpoints {
        return match (only.place(draw.now), spec.panics()) {
            (Place::Up { .. }, _) | (Place::Resting, Panics::Never) => Choice::Up(0),
            (Place::Resting | Place::Down, Panics::Below) => Choice::Panic(0),
            (Place::Down, Panics::Never) => Choice::None,
        };
    }
    let count = endpoints.len().min(MOST_ENDPOINTS);
    let (mut up, mut slow) = (Set::EMPTY, Set::EMPTY);
    for (place, endpoint) in endpoints[..count].iter().enumerate() {
        match endpoint.place(draw.now) {
            Place::Up { since: None } => up.add(place),
            Place::Up { since: Some(since) } => {
                up.add(place);
                if draw.now < since + spec.slow_start {
                    slow.add(place);
                }
            }
            Place::Resting | Place::Down => {}
        }
    }
    let few = (up.count as f64) < count as f64 * spec.panic.fraction();
    let (set, found): (Set, fn(usize) -> Choice) = match spec.panics() {
        Panics::Below if few || up.count == 0 => (Set::all(count), Choice::Panic),
        Panics::Never if up.count == 0 => (resting(&endpoints[..count], draw.now), Choice::Up),
        Panics::Below | Panics::Never => (up, Choice::Up),
    };
    let set = untried(set, endpoints, draw.tried);
    let mut chooser = Chooser {
        spec,
        endpoints,
        draw,
        random: Random::new(draw.random),
    };
    match chooser.choose(&set, &slow) {
        Some(place) => found(place),
        None => Choice::None,
    }
}

/// Those of which no more is known than that they could not be connected to.
fn resting<C: Candidate>(endpoints: &[C], now: Duration) -> Set {
    let mut set = Set::EMPTY;
    for (place, endpoint) in endpoints.iter().enumerate() {
        match endpoint.place(now) {
            Place::Resting => set.add(place),
            Place::Up { .. } | Place::Down => {}
        }
    }
    set
}

/// The set without those that were tried, unless that leaves none.
fn untried<C: Candidate>(set: Set, endpoints: &[C], tried: &Tried) -> Set {
    if tried.count == 0 {
        return set;
    }
    let others = set.places().fold(set, |others, place| {
        match tried.has(endpoints[place].name()) {
            true => others.without(place),
            false => others,
        }
    });
    match others.count {
        0 => set,
        _ => others,
    }
}

struct Chooser<'a, C> {
    spec: &'a BalanceSpec,
    endpoints: &'a [C],
    draw: &'a Draw<'a>,
    random: Random,
}

impl<C: Candidate> Chooser<'_, C> {
    fn choose(&mut self, set: &Set, slow: &Set) -> Option<usize> {
        let place = self.by_method(set)?;
        if self.spec.method == Method::Hash || !slow.has(place) || self.takes(place) {
            return Some(place);
        }
        // Not its turn yet: one that is warm, if there is any.
        let warm = slow.places().fold(*set, Set::without);
        self.by_method(&warm).or(Some(place))
    }

    /// Whether an endpoint in its slow start takes what falls to it.
    fn takes(&mut self, place: usize) -> bool {
        let Place::Up { since: Some(since) } = self.endpoints[place].place(self.draw.now) else {
            return true;
        };
        let whole = self.spec.slow_start.as_secs_f64();
        let part = self.draw.now.saturating_sub(since).as_secs_f64() / whole;
        Share::WHOLE
            .times(part.max(FIRST_PART))
            .takes(self.random.next())
    }

    fn by_method(&mut self, set: &Set) -> Option<usize> {
        let count = NonZeroUsize::new(set.count)?;
        match self.spec.method {
            Method::LeastRequest => self.less_loaded(set, count),
            Method::RoundRobin => set.at((self.draw.key % count.get() as u64) as usize),
            Method::Hash => self.by_hash(set),
        }
    }

    fn less_loaded(&mut self, set: &Set, count: NonZeroUsize) -> Option<usize> {
        let first = self.random.below(count);
        let one = set.at(first)?;
        let Some(others) = NonZeroUsize::new(count.get() - 1) else {
            return Some(one);
        };
        // Another than the first: drawn from those after it, round the end.
        let step = 1 + self.random.below(others);
        let other = set.at((first + step) % count)?;
        let load = |place: usize| self.endpoints[place].load(self.draw.now);
        Some(if load(other) < load(one) { other } else { one })
    }

    /// The highest score of key and name among those that may take one more.
    fn by_hash(&self, set: &Set) -> Option<usize> {
        let score = |place: usize| mix(self.draw.key, self.endpoints[place].name());
        let best = set.places().max_by_key(|place| score(*place))?;
        if self.endpoints[best].load(self.draw.now) < FREE_LOAD {
            return Some(best);
        }
        let load = |place: usize| u64::from(self.endpoints[place].load(self.draw.now));
        let total: u64 = set.places().map(load).sum();
        let bound = (total + 1) as f64 * MOST_ABOVE_MEAN / set.count as f64;
        let bound = (bound.ceil() as u64).max(u64::from(FREE_LOAD));
        let free = set.places().filter(|place| load(*place) < bound);
        // Loads may have changed since they were summed up.
        free.max_by_key(|place| score(*place)).or(Some(best))
    }
}

#[cfg(test)]
mod tests;
