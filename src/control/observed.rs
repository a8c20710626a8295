//! Who is it? What routes observe, gathered once a second and told in the status.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::snapshot::Route;
use crate::telemetry::ObservedValue;

/// The most frequent values by route and by key, both as configured. Routes without requests in
/// the window are not there.
pub(super) type Observed = BTreeMap<String, BTreeMap<String, Vec<ObservedValue>>>;

/// Takes what workers counted since the last time.
pub(super) fn gather(routes: &[Route], now: Instant) {
    for observer in routes.iter().filter_map(|route| route.observer.as_ref()) {
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
