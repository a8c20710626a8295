//! The picture of the demo: once a second, one line a route.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use crate::policy::rules::Rules;
use crate::snapshot::{Live, Route, Snapshot};
use crate::telemetry::Sample;
use crate::vocab::{By, Clock};

/// What a route had counted a second ago.
#[derive(Clone, Copy, Default)]
struct Before {
    answers: [u64; 4],
    latency: Sample,
}

/// Prints until it is dropped. On a terminal each picture replaces the last.
pub(super) async fn show(live: Arc<Live>, terminal: bool) {
    let mut before = HashMap::new();
    let mut second = tokio::time::interval(Duration::from_secs(1));
    let mut lines = 0;
    second.tick().await;
    loop {
        second.tick().await;
        let text = draw(&live.load(), &mut before);
        let mut out = std::io::stdout().lock();
        if terminal && lines > 0 {
            // Up to the first line of the last picture, and clear from there.
            let _ = write!(out, "\x1b[{lines}A\x1b[J");
        }
        lines = text.lines().count();
        // A closed terminal ends the picture, not the gateway.
        let _ = writeln!(out, "{}", text.trim_end());
        let _ = out.flush();
    }
}

fn draw(snapshot: &Snapshot, before: &mut HashMap<Arc<str>, Before>) -> String {
    let mut text = format!(
        "{:<22} {:<10} {:>7} {:>9} {:>8} {:>6} {:>9}  {}\n",
        "route", "tier", "req/s", "upstream", "gateway", "kill", "p99 ms", "switch"
    );
    for route in &snapshot.table.routes {
        let last = before.entry(Arc::clone(&route.spec.name)).or_default();
        let now = Before::of(route);
        let delta: [u64; 4] = std::array::from_fn(|i| now.answers[i] - last.answers[i]);
        let p99 = now.latency.since(&last.latency).quantile(0.99);
        *last = now;
        let rules = snapshot.rules(route.id);
        let switch = rules.map_or_else(|| "off".to_owned(), |rules| switch(rules, Clock::unix()));
        let p99 = p99.map_or("-".to_owned(), |seconds| format!("{:.1}", seconds * 1e3));
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{:<22} {:<10} {:>7} {:>9} {:>8} {:>6} {:>9}  {}",
            route.spec.name,
            route.spec.tier.as_str(),
            delta.iter().sum::<u64>(),
            delta[By::Upstream.index()],
            delta[By::Gateway.index()],
            delta[By::Kill.index()],
            p99,
            switch,
        );
    }
    text
}

impl Before {
    fn of(route: &Route) -> Before {
        let mut now = Before::default();
        for (by, _, count) in route.metrics.requests() {
            now.answers[by.index()] += count;
        }
        for by in By::ALL {
            now.latency = now.latency.plus(&route.metrics.latency(by));
        }
        now
    }
}

/// What the switches do to a route: `drop (leaderboard)`, `drop 50 % (all)`, `off`.
fn switch(rules: &Rules, now: Duration) -> String {
    let live = rules.clauses.iter().find(|clause| clause.is_live(now));
    let live = live.map(|clause| (clause, clause.share));
    let fading = || {
        rules
            .fadings(now)
            .next()
            .map(|(_, clause, share)| (clause, share))
    };
    let Some((clause, share)) = live.or_else(fading) else {
        return "off".to_owned();
    };
    let mode = clause
        .order
        .as_ref()
        .map_or("off", |order| order.mode.as_str());
    match share.percent() {
        100.0 => format!("{mode} ({})", clause.origin.key),
        percent => format!("{mode} {percent:.0} % ({})", clause.origin.key),
    }
}
