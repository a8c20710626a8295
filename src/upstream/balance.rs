//! Which endpoint takes the next attempt: round-robin, past those that rest or were tried.

use std::sync::Arc;
use std::time::Instant;

use super::endpoints::{Endpoint, Upstream};

/// Endpoints of one upstream that an exchange has tried; a bit each, the first 64.
#[derive(Clone, Copy, Debug, Default)]
struct Tried(u64);

impl Tried {
    fn mark(&mut self, index: usize) {
        self.0 |= 1 << (index % 64);
    }

    fn has(self, index: usize) -> bool {
        self.0 & (1 << (index % 64)) != 0
    }
}

/// The endpoints of one exchange, each tried at most once.
#[derive(Debug)]
pub struct Turn<'a> {
    upstream: &'a Upstream,
    turn: usize,
    tried: Tried,
}

impl<'a> Turn<'a> {
    pub(crate) fn new(upstream: &'a Upstream, turn: usize) -> Turn<'a> {
        Turn {
            upstream,
            turn,
            tried: Tried::default(),
        }
    }

    /// The next endpoint to try, if one is left.
    pub fn next(&mut self, now: Instant) -> Option<&'a Arc<Endpoint>> {
        let (index, endpoint) = pick(self.upstream, self.turn, self.tried, now)?;
        self.tried.mark(index);
        Some(endpoint)
    }
}

/// Picks an endpoint, beginning at `turn`. One that rests is taken only when all others rest or
/// were tried; one that was tried is never taken again.
fn pick(
    upstream: &Upstream,
    turn: usize,
    tried: Tried,
    now: Instant,
) -> Option<(usize, &Arc<Endpoint>)> {
    let count = upstream.endpoints.len();
    let order = (0..count).map(|step| (turn + step) % count);
    let untried = || order.clone().filter(|index| !tried.has(*index));
    let chosen = untried()
        .find(|index| !upstream.endpoints[*index].rests(now))
        .or_else(|| untried().next())?;
    Some((chosen, &upstream.endpoints[chosen]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::{EndpointSpec, KeepaliveSpec, UpstreamSpec};
    use crate::vocab::Clock;
    use std::time::Duration;

    fn upstream(count: u16) -> Arc<Upstream> {
        let endpoint = |port: u16| EndpointSpec {
            text: format!("http://127.0.0.1:{port}").into(),
            host: "127.0.0.1".into(),
            port,
        };
        let spec = UpstreamSpec {
            name: "u".into(),
            endpoints: (1..=count).map(endpoint).collect(),
            connect_timeout: Duration::from_secs(1),
            read_timeout: Duration::from_secs(1),
            keepalive: KeepaliveSpec {
                max_idle: 1,
                max_idle_time: Duration::from_secs(1),
            },
        };
        Upstream::compile(&spec, None)
    }

    #[test]
    fn endpoints_take_turns() {
        let (upstream, now) = (upstream(3), Clock::now());
        let picks: Vec<_> = (0..6)
            .map(|turn| pick(&upstream, turn, Tried::default(), now).unwrap().0)
            .collect();
        assert_eq!(picks, [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn one_that_rests_is_passed_over_until_it_is_the_last() {
        let (upstream, now) = (upstream(2), Clock::now());
        upstream.endpoints[0].rest(now);
        assert_eq!(pick(&upstream, 0, Tried::default(), now).unwrap().0, 1);
        let mut tried = Tried::default();
        tried.mark(1);
        assert_eq!(pick(&upstream, 0, tried, now).unwrap().0, 0);
        tried.mark(0);
        assert!(pick(&upstream, 0, tried, now).is_none());
        let later = now + Duration::from_secs(2);
        assert_eq!(pick(&upstream, 0, Tried::default(), later).unwrap().0, 0);
    }
}
