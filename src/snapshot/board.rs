//! The switches, resolved to one order a route.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::RouteTable;
use crate::policy::kill::{KillEntry, KillKey, KillOrder, decide};
use crate::vocab::RouteId;

/// What is thrown, by route.
#[derive(Debug, Default)]
pub struct Board {
    /// The entries in effect.
    pub entries: BTreeMap<KillKey, KillEntry>,
    orders: Vec<Option<Arc<KillOrder>>>,
}

impl Board {
    /// Resolves the entries for each route of the table.
    pub fn resolve(table: &RouteTable, entries: BTreeMap<KillKey, KillEntry>) -> Board {
        let orders = if entries.is_empty() {
            Vec::new()
        } else {
            let order = |route: &super::Route| {
                let spec = &route.spec;
                decide(&spec.name, spec.tier, &spec.kill_switch, &entries).map(Arc::new)
            };
            table.routes.iter().map(order).collect()
        };
        Board { entries, orders }
    }

    /// What is done to this route's requests, if anything.
    pub fn order(&self, id: RouteId) -> Option<&Arc<KillOrder>> {
        self.orders.get(id.index())?.as_ref()
    }

    /// States in each route's metrics what the switches take.
    pub fn announce(&self, table: &RouteTable) {
        for route in &table.routes {
            let mut share = [0.0; 3];
            if let Some(order) = self.order(route.id) {
                share[order.mode.index()] = 1.0;
            }
            route.metrics.set_kill_share(share);
        }
    }
}
