//! Floor 2: metrics and logs.

mod collect;
mod counters;
mod lines;
mod logging;
mod metrics;

pub use counters::{Duration4, Histogram, Sample};
pub use lines::{LineSink, LineWriter};
pub use logging::{Logs, init, log_panics};
pub use metrics::{
    AttemptOutcome, EndpointMetrics, GatewayMetrics, KillOutcome, ListenerKind, Mode3,
    ReloadResult, RouteMetrics, UpstreamMetrics,
};
