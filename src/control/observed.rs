//! Who is it? What routes observe, gathered once a second and told in the status.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use tokio::task::JoinHandle;

use crate::snapshot::{Live, Route};
use crate::telemetry::ObservedValue;
use crate::vocab::Clock;

/// The most frequent values by route and by key, both as configured. Routes without requests in
/// the window are not there.
pub(super) type Observed = BTreeMap<String, BTreeMap<String, Vec<ObservedValue>>>;

/// Takes what workers counted, once a second. Thousands of busy routes take a while, so it is
/// done beside the looks at the files, for which a flip of a switch would have to wait.
#[derive(Debug, Default)]
pub(super) struct Gathering(Option<JoinHandle<()>>);

impl Gathering {
    /// Begins the next round, unless the last one still goes on.
    pub(super) fn go_on(&mut self, live: &Arc<Live>) {
        if self.0.as_ref().is_none_or(JoinHandle::is_finished) {
            let live = Arc::clone(live);
            self.0 = Some(tokio::task::spawn_blocking(move || gather(&live)));
        }
    }
}

fn gather(live: &Live) {
    let snapshot = live.load();
    let now = Clock::now();
    let routes = snapshot.table.routes.iter();
    for observer in routes.filter_map(|route| route.observer.as_ref()) {
        observer.gather(now);
    }
}

/// What came within the last ten seconds.
pub(super) fn observed(routes: &[Route], now: Instant) -> Observed {
    let of_route = |route: &Route| {
        let top = route.observer.as_ref()?.top(now);
        let keys: BTreeMap<_, _> = top
            .into_iter()
            .map(|(key, values)| (key.to_string(), values))
            .collect();
        (!keys.is_empty()).then(|| (route.spec.name.to_string(), keys))
    };
    routes.iter().filter_map(of_route).collect()
}
