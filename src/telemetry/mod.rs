//! Floor 2: metrics, logs, and what routes observe.

mod archive;
mod branch;
mod collect;
mod counters;
mod lines;
mod logging;
mod metrics;
mod observe;
mod sketch;

pub use archive::{ArchiveMetrics, UploadResult};
pub use branch::{BranchMetrics, RetryOutcome};
pub use counters::{Duration4, Histogram, Sample};
pub use lines::{LineSink, LineWriter};
pub use logging::{Logs, init, log_panics};
pub use metrics::{
    AttemptOutcome, EndpointMetrics, Enforced, GatewayMetrics, KillOutcome, ListenerKind, Mode3,
    ReloadResult, RouteMetrics, UpstreamMetrics,
};
pub use observe::{ObserveKey, ObservedValue, Observer};
