//! How many of the requests that its clients send again a route lets go on.

use std::sync::Arc;

use super::Route;
use crate::config::RouteSettings;
use crate::policy::budget::RetryBudgetSpec;
use crate::policy::clause::KillOrder;
use crate::policy::client_retries::ClientRetries;
use crate::policy::kill::{KillEntry, Position};

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

impl RepeatBudget {
    pub(super) fn compile(
        spec: &RouteSettings,
        before: Option<&Route>,
    ) -> Option<Box<RepeatBudget>> {
        let budget = spec.client_retry_budget?;
        let percent = budget.share.percent();
        let entry = KillEntry {
            reason: Some(format!("client retries beyond {percent} %").into()),
            ..KillEntry::word(Position::Thrown(spec.kill_switch.mode))
        };
        let known = before.and_then(|route| route.repeat_budget.as_ref());
        Some(Box::new(RepeatBudget {
            spec: budget,
            order: KillOrder::of(spec.kill_switch.mode?, &entry, &spec.kill_switch),
            state: known
                .map(|known| Arc::clone(&known.state))
                .unwrap_or_default(),
        }))
    }
}
