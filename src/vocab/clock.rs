//! The only place that reads a clock.

use std::sync::LazyLock;
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

    /// A moment as the time since a fixed one of this process, for state that keeps moments in
    /// one atomic word. Never zero: that stands for "never" there.
    pub fn uptime(moment: Instant) -> Duration {
        static START: LazyLock<Instant> = LazyLock::new(Clock::now);
        // One second more, for moments read just before the first call.
        const HEAD_START: Duration = Duration::from_secs(1);
        (moment + HEAD_START)
            .checked_duration_since(*START)
            .unwrap_or(Duration::from_nanos(1))
    }

    /// Wall-clock time since the Unix epoch, for what people and dashboards read.
    #[allow(clippy::disallowed_methods)]
    pub fn unix() -> Duration {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
    }
}
