//! Whether an attempt that failed is followed by another, and after how long.
//!
//! The rules, in the order asked: the failure is one the route lists; an attempt is left; the
//! request may be sent once more; the wait ends before the request's deadline; the budget has a
//! retry left. The budget is asked last, because asking takes from it.
//!
//! The wait is "full jitter" (AWS Architecture Blog, Exponential Backoff And Jitter): anything
//! between nothing and a bound that doubles. What may be sent once more is RFC 9110, 9.2.2.

use std::time::Duration;

use http::Method;

use super::budget::{BudgetVerdict, RetryBudget, RetryBudgetSpec};
use super::outcome::Failure;
use crate::vocab::Reason;

/// A failure that may be listed in `on`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// No connection could be made.
    Connect,
    /// The connection broke before a whole response head.
    Reset,
    /// The attempt had no response head in time.
    Timeout,
    /// The upstream answered 502.
    BadGateway,
    /// The upstream answered 503: it is throttled, and more requests seldom help it.
    Unavailable,
    /// The upstream answered 504.
    GatewayTimeout,
}

impl Trigger {
    /// Every trigger, in the order of their bits in [`Triggers`].
    pub const ALL: [Trigger; 6] = [
        Trigger::Connect,
        Trigger::Reset,
        Trigger::Timeout,
        Trigger::BadGateway,
        Trigger::Unavailable,
        Trigger::GatewayTimeout,
    ];

    /// The name in configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Trigger::Connect => "connect",
            Trigger::Reset => "reset",
            Trigger::Timeout => "timeout",
            Trigger::BadGateway => "502",
            Trigger::Unavailable => "503",
            Trigger::GatewayTimeout => "504",
        }
    }

    /// The trigger of that name.
    pub fn from_name(name: &str) -> Option<Trigger> {
        Trigger::ALL
            .into_iter()
            .find(|trigger| trigger.as_str() == name)
    }

    fn of(failure: Failure) -> Option<Trigger> {
        match failure {
            Failure::Connect => Some(Trigger::Connect),
            Failure::Reset => Some(Trigger::Reset),
            Failure::Timeout => Some(Trigger::Timeout),
            Failure::BadGateway => Some(Trigger::BadGateway),
            Failure::Unavailable => Some(Trigger::Unavailable),
            Failure::GatewayTimeout => Some(Trigger::GatewayTimeout),
            Failure::InternalError | Failure::NotImplemented => None,
        }
    }

    /// The trigger that a status is.
    pub fn of_status(status: u16) -> Option<Trigger> {
        Trigger::of(Failure::of_status(status)?)
    }

    /// The trigger of an attempt without a usable answer, by the reason the client would get. An
    /// answer that is not HTTP is none: the upstream has most likely acted on the request.
    pub fn of_reason(reason: Reason) -> Option<Trigger> {
        match reason {
            Reason::UpstreamInvalid => None,
            reason => Trigger::of(Failure::of_reason(reason)?),
        }
    }
}

/// The failures of a route's `on`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Triggers(u8);

impl Triggers {
    /// The set of a list.
    pub fn new(listed: &[Trigger]) -> Triggers {
        let bits = listed.iter().map(|trigger| 1 << *trigger as u8);
        Triggers(bits.fold(0, |set, bit: u8| set | bit))
    }

    /// Those in the set, in the order of [`Trigger::ALL`].
    pub fn listed(self) -> impl Iterator<Item = Trigger> {
        let held = move |trigger: &Trigger| self.holds(*trigger);
        Trigger::ALL.into_iter().filter(held)
    }

    fn holds(self, trigger: Trigger) -> bool {
        self.0 & 1 << trigger as u8 != 0
    }
}

/// A route's `retry`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetrySpec {
    /// Most attempts of one request, the first included; 1 is none but the first.
    pub attempts: u32,
    /// After which failures.
    pub on: Triggers,
    /// Bound of the first wait; it doubles with each retry.
    pub backoff: Duration,
    /// What the bound never exceeds.
    pub max_backoff: Duration,
    /// Which requests may be sent again although the upstream may have acted on them.
    pub resend: Resend,
}

/// Which requests may be sent again although the upstream may have acted on them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Resend {
    /// Those of an idempotent method.
    #[default]
    Idempotent,
    /// All: `non_idempotent = true`, the route says that its requests may be repeated.
    All,
}

impl Default for RetrySpec {
    fn default() -> RetrySpec {
        RetrySpec {
            attempts: 2,
            on: Triggers::new(&[Trigger::Connect, Trigger::Reset]),
            backoff: Duration::from_millis(25),
            max_backoff: Duration::from_millis(250),
            resend: Resend::Idempotent,
        }
    }
}

/// Most bytes of a request body that are kept for a retry.
pub const MOST_KEPT: u64 = 64 << 10;

/// Whether a copy of a request's body is kept until its response head is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeping {
    /// Up to [`MOST_KEPT`] bytes of it; a longer one is let go.
    Copy,
    /// No retry could use it.
    Nothing,
}

/// What of a request an attempt left to be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remains {
    /// Nothing of it was sent: all of it is there, and the upstream has not acted on it.
    Unsent,
    /// It was sent, at least in part, and can be sent again: it had no body, or a copy is kept.
    Kept,
    /// It was sent, and its body is gone.
    Gone,
}

/// A failed attempt, and what is left of its request.
#[derive(Clone, Copy, Debug)]
pub struct FailedAttempt<'a> {
    /// How it failed; `None` if in a way that is never retried.
    pub trigger: Option<Trigger>,
    /// Attempts made so far, this one included.
    pub attempts: u32,
    /// The request's method.
    pub method: &'a Method,
    /// What of the request is there.
    pub remains: Remains,
    /// The wait that the upstream asked for, if it answered with one.
    pub retry_after: Option<Duration>,
    /// Time until the request's deadline; `timeout` bounds all attempts together.
    pub time_left: Duration,
}

/// The budget that a retry is taken from.
#[derive(Clone, Copy, Debug)]
pub struct Purse<'a> {
    /// What is allowed.
    pub spec: &'a RetryBudgetSpec,
    /// What was used.
    pub budget: &'a RetryBudget,
    /// The moment.
    pub now: Duration,
}

/// What follows a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryVerdict {
    /// Another attempt, after this wait. The budget has been charged.
    Retry {
        /// How long to wait first.
        wait: Duration,
    },
    /// The client gets this failure, and the route had nothing else in mind.
    Final,
    /// The client gets this failure, although the route would have retried it.
    Withheld(Withheld),
}

/// Why a retry that the route asks for is not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Withheld {
    /// The budget is spent.
    NoBudget,
    /// The request cannot or must not be sent again.
    NotReplayable,
    /// The wait would not end before the request's deadline.
    Deadline,
}

impl Withheld {
    /// The `outcome` label of `seawall_retries_total`.
    pub fn as_str(self) -> &'static str {
        match self {
            Withheld::NoBudget => "no_budget",
            Withheld::NotReplayable => "not_replayable",
            Withheld::Deadline => "deadline",
        }
    }
}

impl RetrySpec {
    /// Whether a body is copied while it is first sent. `length` is what its head announces.
    pub fn keeping(&self, method: &Method, length: Option<u64>) -> Keeping {
        // After a failed connection nothing was sent, and no copy is needed.
        let sent = Triggers(self.on.0 & !Triggers::new(&[Trigger::Connect]).0);
        let useful = self.attempts > 1 && sent.0 != 0 && self.may_resend(method);
        match useful && length.is_none_or(|length| length <= MOST_KEPT) {
            true => Keeping::Copy,
            false => Keeping::Nothing,
        }
    }

    /// Decides what follows a failed attempt. Every bit of `random` should be random.
    pub fn decide(
        &self,
        failed: &FailedAttempt<'_>,
        purse: &Purse<'_>,
        random: u64,
    ) -> RetryVerdict {
        let listed = failed.trigger.is_some_and(|trigger| self.on.holds(trigger));
        if !listed || failed.attempts >= self.attempts {
            return RetryVerdict::Final;
        }
        let replayable = match failed.remains {
            Remains::Unsent => true,
            Remains::Kept => self.may_resend(failed.method),
            Remains::Gone => false,
        };
        if !replayable {
            return RetryVerdict::Withheld(Withheld::NotReplayable);
        }
        let wait = self.wait(failed.attempts, random);
        let wait = wait.max(failed.retry_after.unwrap_or_default());
        if wait >= failed.time_left {
            return RetryVerdict::Withheld(Withheld::Deadline);
        }
        match purse.budget.withdraw(purse.spec, purse.now) {
            BudgetVerdict::Granted { .. } => RetryVerdict::Retry { wait },
            BudgetVerdict::Spent => RetryVerdict::Withheld(Withheld::NoBudget),
        }
    }

    fn may_resend(&self, method: &Method) -> bool {
        match self.resend {
            Resend::Idempotent => method.is_idempotent(),
            Resend::All => true,
        }
    }

    /// The wait after that many attempts: anything from nothing to the bound, both included.
    fn wait(&self, attempts: u32, random: u64) -> Duration {
        let factor = 1_u32.checked_shl(attempts.saturating_sub(1));
        let bound = self.backoff.saturating_mul(factor.unwrap_or(u32::MAX));
        let bound = u64::try_from(bound.min(self.max_backoff).as_nanos()).unwrap_or(u64::MAX);
        let scaled = (u128::from(random) * (u128::from(bound) + 1)) >> 64;
        Duration::from_nanos(scaled as u64)
    }
}

#[cfg(test)]
mod tests;
