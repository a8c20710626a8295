//! Names of endpoints, resolved again and again.
//!
//! One task for each name, on the control thread: it looks the name up, tells its
//! [`Origin`], and sleeps until the answer is no longer valid. Workers only ever see lists of
//! addresses. A name that cannot be resolved keeps the addresses that it has.

mod lookup;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::chance::random;
use super::errand::Errand;
use super::watch::Stamp;
use crate::policy::health::pause;
use crate::snapshot::{Live, RouteTable};
use crate::upstream::{Change, Origin, Upstream};
use crate::vocab::Clock;
use lookup::{Answer, Lookup, LookupError};

/// An answer holds for so long at least, and is asked for again so often at least.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);
/// After a failure the next try comes that soon; the wait doubles with each further one.
const FIRST_TRY: Duration = Duration::from_secs(1);
const LAST_TRY: Duration = Duration::from_secs(10);

/// What the system's configuration of names is read from.
const FILES: [&str; 2] = ["/etc/hosts", "/etc/resolv.conf"];

/// Whoever connects to a name that is new waits for its first answer. To be called before the
/// table is published, by whoever lets [`follow`] run.
pub(super) fn expect(table: &RouteTable) {
    for (_, origin) in named(table) {
        origin.await_answer();
    }
}

/// Whether there is any name to resolve.
pub(super) fn is_needed(live: &Live) -> bool {
    named(&live.load().table).next().is_some()
}

/// Resolves every name once, side by side, before anything is served; what takes longer goes on
/// with [`follow`].
pub(super) async fn first(live: &Live, within: Duration) {
    let snapshot = live.load();
    let names: Vec<_> = named(&snapshot.table).collect();
    let Some(lookup) = lookup(&snapshot.settings().server.resolvers) else {
        return;
    };
    let each = names.iter().map(|(upstream, origin)| {
        let lookup = &lookup;
        async move {
            let answer = lookup.resolve(&origin.spec).await;
            told(upstream, origin, answer);
        }
    });
    let all = futures_util::future::join_all(each);
    if tokio::time::timeout(within, all).await.is_err() {
        tracing::warn!("resolving names takes long; routes are served meanwhile");
    }
}

/// Keeps every name of the published snapshot resolved, whichever that is. Never ends.
pub(super) async fn follow(live: Arc<Live>, mut published: watch::Receiver<()>) {
    let mut names = Names {
        source: Source::default(),
        lookups: watch::Sender::new(None),
        followed: BTreeMap::new(),
    };
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    loop {
        names.look(&live);
        tokio::select! {
            _ = seconds.tick() => {}
            _ = published.changed() => {}
        }
    }
}

/// Where answers come from.
#[derive(Clone, Debug, Default, PartialEq)]
struct Source {
    servers: Vec<SocketAddr>,
    stamps: Vec<Option<Stamp>>,
}

/// The names that are kept resolved.
struct Names {
    source: Source,
    lookups: watch::Sender<Option<Arc<Lookup>>>,
    followed: BTreeMap<Key, Followed>,
}

/// An upstream's name, and an endpoint as configured.
type Key = (Arc<str>, Arc<str>);

/// One name, and the task that keeps it resolved.
struct Followed {
    origin: Arc<Origin>,
    errand: Errand,
}

impl Names {
    fn look(&mut self, live: &Arc<Live>) {
        let snapshot = live.load();
        let table = &snapshot.table;
        let wanted: BTreeMap<Key, Arc<Origin>> = named(table)
            .map(|(upstream, origin)| {
                // A table compiled while an answer came may have missed it.
                upstream.gather();
                let key = (
                    Arc::clone(&upstream.spec.name),
                    Arc::clone(&origin.spec.text),
                );
                (key, Arc::clone(origin))
            })
            .collect();
        self.followed.retain(|key, followed| {
            let same = |now: &Arc<Origin>| Arc::ptr_eq(now, &followed.origin);
            wanted.get(key).is_some_and(same) && !followed.errand.is_over()
        });
        if wanted.is_empty() {
            return;
        }
        self.renew(&snapshot.settings().server.resolvers);
        for (key, origin) in wanted {
            let name = Arc::clone(&key.0);
            self.followed.entry(key).or_insert_with(|| {
                let lookups = self.lookups.subscribe();
                let task = keep_resolved(Arc::clone(live), name, Arc::clone(&origin), lookups);
                let errand = Errand::start(task);
                Followed { origin, errand }
            });
        }
    }

    /// Reads the system's files again when they changed; every name is then resolved at once.
    fn renew(&mut self, servers: &[SocketAddr]) {
        let source = Source {
            servers: servers.to_vec(),
            stamps: FILES
                .iter()
                .map(|path| Stamp::of(Path::new(path)))
                .collect(),
        };
        if source != self.source
            && let Some(lookup) = lookup(servers)
        {
            self.source = source;
            self.lookups.send_replace(Some(Arc::new(lookup)));
        }
    }
}

fn lookup(servers: &[SocketAddr]) -> Option<Lookup> {
    Lookup::new(servers)
        .inspect_err(|error| tracing::error!(%error, "names cannot be resolved"))
        .ok()
}

fn named(table: &RouteTable) -> impl Iterator<Item = (&Arc<Upstream>, &Arc<Origin>)> {
    table.upstreams.values().flat_map(|upstream| {
        let origins = upstream.origins.iter();
        let named = origins.filter(|origin| origin.is_named());
        named.map(move |origin| (upstream, origin))
    })
}

async fn keep_resolved(
    live: Arc<Live>,
    upstream: Arc<str>,
    origin: Arc<Origin>,
    mut lookups: watch::Receiver<Option<Arc<Lookup>>>,
) {
    loop {
        let due = origin.resolution().due;
        let wait = due.saturating_sub(Clock::uptime(Clock::now()));
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            changed = lookups.changed() => if changed.is_err() { return },
        }
        let lookup = lookups.borrow_and_update().clone();
        let Some(lookup) = lookup else { return };
        let answer = lookup.resolve(&origin.spec).await;
        let snapshot = live.load();
        match snapshot.table.upstreams.get(&upstream) {
            Some(upstream) => told(upstream, &origin, answer),
            None => return,
        }
    }
}

/// Takes an answer over, logs what it changes, and says when to ask again.
fn told(upstream: &Upstream, origin: &Origin, answer: Result<Answer, LookupError>) {
    let now = Clock::uptime(Clock::now());
    let (name, endpoint) = (&*upstream.spec.name, &*origin.spec.text);
    let mut resolution = origin.resolution();
    match answer {
        Ok(answer) => {
            // A name without an answer has one endpoint, which has no address.
            let known = origin.endpoints();
            let before = known.iter().filter(|e| e.address().is_some()).count();
            let change = origin.found(&answer.targets, now);
            if change != Change::None {
                upstream.gather();
                let addresses = words(&answer);
                tracing::info!(
                    upstream = name,
                    endpoint,
                    addresses,
                    before,
                    "name resolved"
                );
            } else if resolution.failures > 0 {
                tracing::info!(upstream = name, endpoint, "name resolved again");
            }
            resolution.error = None;
            resolution.failures = 0;
            resolution.due = now + answer.ttl.clamp(SHORTEST, LONGEST);
        }
        Err(error) => {
            origin.not_found();
            upstream.gather();
            if resolution.failures == 0 {
                let kept = origin.endpoints().len();
                tracing::warn!(
                    upstream = name,
                    endpoint,
                    %error,
                    kept,
                    "name cannot be resolved; its addresses stay, and it is tried again"
                );
            }
            resolution.error = Some(error.to_string().into());
            resolution.failures = resolution.failures.saturating_add(1);
            resolution.due = now + pause(backoff(resolution.failures), random());
        }
    }
}

fn words(answer: &Answer) -> String {
    let each = answer
        .targets
        .iter()
        .map(|target| target.address.to_string());
    each.collect::<Vec<_>>().join(", ")
}

/// The wait after so many failures in a row.
fn backoff(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(8);
    (FIRST_TRY * (1 << doublings)).min(LAST_TRY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_after_failures_doubles_up_to_a_bound() {
        let seconds: Vec<u64> = (1..=6).map(|n| backoff(n).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 10, 10]);
        assert_eq!(backoff(u32::MAX), LAST_TRY);
    }
}
