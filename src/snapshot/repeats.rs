//! What a route does about requests that its clients send again.

use std::sync::Arc;

use super::Route;
use crate::config::RouteSettings;
use crate::policy::budget::RetryBudgetSpec;
use crate::policy::clause::KillOrder;
use crate::policy::client_retries::ClientRetries;
use crate::policy::kill::{KillEntry, Position};

/// A route that remembers requests: one with `client_retry_budget` or `observe`. Of any other
/// those alone are known to be repeated whose headers say so.
#[derive(Debug)]
pub struct Repeats {
    /// The budget, if there is one.
    pub budget: Option<RepeatBudget>,
}

/// `client_retry_budget`.
#[derive(Debug)]
pub struct RepeatBudget {
    /// How many may be added.
    pub spec: RetryBudgetSpec,
    /// What those beyond are answered: what the route's kill switch would.
    pub order: KillOrder,
    /// What came; shared with the route of that name in the previous snapshot.
    pub state: Arc<ClientRetries>,
}

impl Repeats {
    pub(super) fn compile(spec: &RouteSettings, before: Option<&Route>) -> Option<Box<Repeats>> {
        let budget = spec.client_retry_budget.and_then(|budget| {
            let percent = budget.share.percent();
            let entry = KillEntry {
                reason: Some(format!("client retries beyond {percent} %").into()),
                ..KillEntry::word(Position::Thrown(spec.kill_switch.mode))
            };
            let known = before.and_then(|route| route.repeats.as_ref()?.budget.as_ref());
            Some(RepeatBudget {
                spec: budget,
                order: KillOrder::of(spec.kill_switch.mode?, &entry, &spec.kill_switch),
                state: known
                    .map(|known| Arc::clone(&known.state))
                    .unwrap_or_default(),
            })
        });
        let remembers = budget.is_some() || !spec.observe.is_empty();
        remembers.then(|| Box::new(Repeats { budget }))
    }
}
