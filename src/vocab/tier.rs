//! How much a route matters, which one it is, and who answered.

use std::fmt;

/// Index of a route in its table. Stable within one structure, not across reloads: what
/// survives a reload is keyed by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteId(pub u32);

impl RouteId {
    /// The position in the route table.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// How much a route matters. Decided before launch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Tier {
    /// Needed to play; killed by its own name only.
    Core,
    /// The default.
    #[default]
    Standard,
    /// May be sacrificed first.
    Sheddable,
}

impl Tier {
    /// Every tier, most important first.
    pub const ALL: [Tier; 3] = [Tier::Core, Tier::Standard, Tier::Sheddable];

    /// The name in configuration, metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Tier::Core => "core",
            Tier::Standard => "standard",
            Tier::Sheddable => "sheddable",
        }
    }

    /// The tier of that name.
    pub fn from_name(name: &str) -> Option<Tier> {
        Tier::ALL.into_iter().find(|tier| tier.as_str() == name)
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who answered a request: the `by` label of metrics and logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum By {
    /// The upstream's answer was passed on.
    Upstream,
    /// The gateway made the answer: a refusal, or a route with `respond`.
    Gateway,
    /// A thrown kill switch answered.
    Kill,
    /// The client went away before an answer was complete.
    Client,
}

impl By {
    /// Every value, in the order of [`By::index`].
    pub const ALL: [By; 4] = [By::Upstream, By::Gateway, By::Kill, By::Client];

    /// The label.
    pub fn as_str(self) -> &'static str {
        match self {
            By::Upstream => "upstream",
            By::Gateway => "gateway",
            By::Kill => "kill",
            By::Client => "client",
        }
    }

    /// Position in tables with one slot for each value.
    pub fn index(self) -> usize {
        match self {
            By::Upstream => 0,
            By::Gateway => 1,
            By::Kill => 2,
            By::Client => 3,
        }
    }
}
