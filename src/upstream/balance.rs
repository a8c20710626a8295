//! Which endpoint takes an attempt. The choice itself is `policy::balance`.

use std::sync::Arc;
use std::time::Instant;

use super::client::Client;
use super::endpoints::{Endpoint, Upstream};
use crate::policy::balance::{self, Choice, Draw, Method, Tried};
use crate::vocab::Clock;

/// What an attempt brings to the choice of its endpoint.
#[derive(Clone, Copy, Debug)]
pub struct Aim<'a> {
    /// The endpoints its request has been to.
    pub tried: &'a Tried,
    /// Hash of what the upstream's `balance = "hash:..."` names; not asked otherwise.
    pub hash: u64,
    /// Every bit of it random.
    pub random: u64,
    /// The clock when something was last waited for.
    pub now: Instant,
}

impl Client {
    /// The endpoint that takes an attempt: one that is up and was not tried, if there is one.
    /// `None` when the upstream has no endpoint at all.
    pub fn choose(&self, upstream: &Upstream, aim: &Aim<'_>) -> Option<Arc<Endpoint>> {
        let endpoints = upstream.endpoints();
        let key = match (upstream.spec.balance.method, endpoints.as_slice()) {
            (_, []) => return None,
            (_, [only]) => return Some(Arc::clone(only)),
            (Method::RoundRobin, [first, ..]) => self.pool().next_turn(first.slot) as u64,
            (Method::Hash, _) => aim.hash,
            (Method::LeastRequest, _) => 0,
        };
        let draw = Draw {
            tried: aim.tried,
            now: Clock::uptime(aim.now),
            key,
            random: aim.random,
        };
        match balance::choose(&upstream.spec.balance, &endpoints, &draw) {
            Choice::Up(index) | Choice::Panic(index) => endpoints.get(index).cloned(),
            Choice::None => None,
        }
    }
}
