//! Where a breaker stands, by itself or by hand.

use std::collections::BTreeMap;
use std::sync::Arc;

/// `[breaker] route = "tripped" | "passing"` in `switches.toml`: held there by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forced {
    /// Every request is refused.
    Tripped,
    /// Every request passes.
    Passing,
}

impl Forced {
    /// The name in configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Forced::Tripped => "tripped",
            Forced::Passing => "passing",
        }
    }

    /// The position of that name.
    pub fn from_name(name: &str) -> Option<Forced> {
        [Forced::Tripped, Forced::Passing]
            .into_iter()
            .find(|forced| forced.as_str() == name)
    }
}

/// Breakers held by hand, by route.
pub type ForcedBreakers = BTreeMap<Arc<str>, Forced>;

/// Where a breaker stands: the value of `seawall_breaker_state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerPosition {
    /// Every request passes.
    Passing,
    /// A probe is out, or traffic comes back.
    Probing,
    /// No request passes.
    Tripped,
}

impl BreakerPosition {
    /// For people.
    pub fn as_str(self) -> &'static str {
        match self {
            BreakerPosition::Passing => "passing",
            BreakerPosition::Probing => "probing",
            BreakerPosition::Tripped => "tripped",
        }
    }

    /// The value in metrics.
    pub fn gauge(self) -> i64 {
        match self {
            BreakerPosition::Passing => 0,
            BreakerPosition::Probing => 1,
            BreakerPosition::Tripped => 2,
        }
    }
}
