//! The only place that reads a clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Reads the machine's clocks. Everything below takes time as an argument.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock;

impl Clock {
    /// Monotonic time, for durations and deadlines.
    #[allow(clippy::disallowed_methods)]
    pub fn now() -> Instant {
        Instant::now()
    }

    /// Wall-clock time since the Unix epoch, for what people and dashboards read.
    #[allow(clippy::disallowed_methods)]
    pub fn unix() -> Duration {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
    }
}
