//! Automatic kill: a route that is asked for too much for too long is killed for a while.
//!
//! `auto_kill = { above = "2000/s", for = "5s", mode = "archive", hold = "10m" }`. A pure state
//! machine of one owner, the control thread, which shows it the route's count of requests about
//! once a second:
//!
//! ```text
//! Watching --above for `for`--> Holding --`hold` is over--> Returning --`restore` is over--> Watching
//!                                  ^ |                          |
//!                                  +-+--- above for `for` ------+
//! ```
//!
//! - What is measured is what is offered, killed requests included: killing does not make a storm
//!   look over. If it still rages when the hold ends, the hold is renewed; nothing comes back into
//!   the storm.
//! - A look that is above says nothing of when it became so: `for` begins with its end, and ends
//!   with a look that is above as well. What is thrown was asked for too much all that time.
//! - While traffic returns, linearly over `restore`, the route is watched as ever, and killed
//!   whole again by the same rule.
//! - Never a route of tier `core`, and none that `[kill]` exempts with `"off"`: either ends an
//!   order at once, and what was seen until then counts no more.
//!
//! Nothing is written to a file; a restart of the gateway forgets.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::kill::KillEntry;
use super::share::Share;
use crate::vocab::{Rate, Tier};

/// A route's `auto_kill`, without the mode: that is the order's, and nothing here depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AutoKillSpec {
    /// More than so many requests are too many.
    pub above: Rate,
    /// How long there must be too many: `for`.
    pub lasting: Duration,
    /// How long the route is killed.
    pub hold: Duration,
    /// Over how long traffic comes back: the route's `kill_switch.restore`.
    pub restore: Duration,
}

impl AutoKillSpec {
    /// Default of `for`.
    pub const DEFAULT_LASTING: Duration = Duration::from_secs(5);
    /// Default of `hold`.
    pub const DEFAULT_HOLD: Duration = Duration::from_secs(600);
}

/// What was thrown without a person's hand, by route: an entry behind all that are written.
pub type AutoEntries = BTreeMap<Arc<str>, KillEntry>;

/// Whether a route may be killed without a person's hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// It may.
    Given,
    /// It never is.
    Denied(Denial),
}

/// Why a route is never killed automatically.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// It is of tier `core`.
    Core,
    /// `[kill]` says `"off"` for it.
    Off,
}

/// What `[kill]` says of a route, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exemption {
    /// Nothing that exempts it.
    Nothing,
    /// `"off"`, by its own key or its tier's.
    Off,
}

impl Permission {
    /// For a route of that tier; `core` is asked first.
    pub fn of(tier: Tier, exemption: Exemption) -> Permission {
        match (tier, exemption) {
            (Tier::Core, Exemption::Nothing | Exemption::Off) => Permission::Denied(Denial::Core),
            (Tier::Standard | Tier::Sheddable, Exemption::Off) => Permission::Denied(Denial::Off),
            (Tier::Standard | Tier::Sheddable, Exemption::Nothing) => Permission::Given,
        }
    }
}

/// What has changed; each is one line in the log, with source `auto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    None,
    /// The route is killed, until then.
    Thrown {
        /// On the caller's clock.
        until: Duration,
    },
    /// It would have ended, but there are still too many.
    Renewed {
        /// On the caller's clock.
        until: Duration,
    },
    /// Traffic begins to come back.
    Ended,
    /// Traffic is back.
    Restored,
    /// It ended at once: the route is not to be killed automatically.
    Lifted(Denial),
}

/// One look at a route.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Requests of the route since it exists, killed ones included.
    pub total: u64,
    /// Monotonic.
    pub now: Duration,
}

/// The state of one route. Belongs to it by name, across reloads.
#[derive(Clone, Debug, Default)]
pub struct AutoKill {
    phase: Phase,
    last: Option<Look>,
    /// Since when there are too many for certain: the end of the first look that was above.
    above_since: Option<Duration>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Watching,
    Holding {
        until: Duration,
    },
    Returning {
        since: Duration,
    },
}

/// Shortest time over which a rate is measured: below it, one request more or less is many a
/// second. Looks that come sooner are put together.
const SHORTEST_LOOK: Duration = Duration::from_millis(500);

impl AutoKill {
    /// Looks at a route.
    pub fn look(&mut self, spec: &AutoKillSpec, permission: Permission, look: Look) -> Change {
        match permission {
            Permission::Denied(denial) => self.lift(denial),
            Permission::Given => {
                self.measure(spec, look);
                self.step(spec, look.now)
            }
        }
    }

    /// The share of requests to kill. Between two looks it falls by itself.
    pub fn share(&self, spec: &AutoKillSpec, now: Duration) -> Share {
        match self.phase {
            Phase::Watching => Share::NONE,
            Phase::Holding { .. } => Share::WHOLE,
            Phase::Returning { since } => {
                let back = now.saturating_sub(since);
                if back >= spec.restore {
                    return Share::NONE;
                }
                Share::WHOLE.times(1.0 - back.as_secs_f64() / spec.restore.as_secs_f64())
            }
        }
    }

    /// Until when the route is killed, if it is.
    pub fn until(&self) -> Option<Duration> {
        match self.phase {
            Phase::Holding { until } => Some(until),
            Phase::Watching | Phase::Returning { .. } => None,
        }
    }

    /// When a look at a route that is asked for too much is enough to kill it; `None` as long as
    /// nothing is to be expected of one.
    pub fn due(&self, spec: &AutoKillSpec) -> Option<Duration> {
        match self.phase {
            Phase::Watching | Phase::Returning { .. } => {
                let (since, last) = self.above_since.zip(self.last)?;
                let enough = since.saturating_add(spec.lasting);
                Some(enough.max(last.now.saturating_add(SHORTEST_LOOK)))
            }
            Phase::Holding { .. } => None,
        }
    }

    fn lift(&mut self, denial: Denial) -> Change {
        match std::mem::take(self).phase {
            Phase::Watching => Change::None,
            Phase::Holding { .. } | Phase::Returning { .. } => Change::Lifted(denial),
        }
    }

    /// Notes since when there are too many, by what came since the last look.
    fn measure(&mut self, spec: &AutoKillSpec, look: Look) {
        let Some(last) = self.last else {
            self.last = Some(look);
            return;
        };
        let elapsed = look.now.saturating_sub(last.now);
        if elapsed < SHORTEST_LOOK {
            return;
        }
        // A count that went down is one that began anew: nothing is known of this time.
        let came = look.total.saturating_sub(last.total);
        let too_many = u128::from(came) * spec.above.period().as_nanos()
            > u128::from(spec.above.count()) * elapsed.as_nanos();
        self.above_since = match too_many {
            true => self.above_since.or(Some(look.now)),
            false => None,
        };
        self.last = Some(look);
    }

    fn step(&mut self, spec: &AutoKillSpec, now: Duration) -> Change {
        // Nothing is known of what came after the last look that was measured.
        let measured = self.above_since.zip(self.last);
        let storm =
            measured.is_some_and(|(since, last)| last.now.saturating_sub(since) >= spec.lasting);
        let until = now + spec.hold;
        match self.phase {
            Phase::Watching | Phase::Returning { .. } if storm => {
                self.phase = Phase::Holding { until };
                Change::Thrown { until }
            }
            Phase::Holding { until: end } if now >= end && storm => {
                self.phase = Phase::Holding { until };
                Change::Renewed { until }
            }
            Phase::Holding { until: end } if now >= end => {
                self.phase = Phase::Returning { since: now };
                Change::Ended
            }
            Phase::Returning { since } if now.saturating_sub(since) >= spec.restore => {
                self.phase = Phase::Watching;
                Change::Restored
            }
            Phase::Watching | Phase::Holding { .. } | Phase::Returning { .. } => Change::None,
        }
    }
}

#[cfg(test)]
mod tests;
