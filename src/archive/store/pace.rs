//! How fast the uploader goes: puts side by side, and waits between tries.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use super::super::options::Backoff;

/// Puts at the same time, at most.
pub(super) const MOST_PUTS: usize = 4;

/// How many puts may run at the same time: one more after as many successes as run now, half
/// as many after a failure (AIMD, Chiu and Jain 1989).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    size: usize,
    successes: usize,
}

impl Window {
    pub(super) fn new() -> Window {
        Window {
            size: 1,
            successes: 0,
        }
    }

    pub(super) fn size(&self) -> usize {
        self.size
    }

    pub(super) fn succeeded(&mut self) {
        self.successes += 1;
        if self.successes >= self.size {
            self.size = (self.size + 1).min(MOST_PUTS);
            self.successes = 0;
        }
    }

    pub(super) fn failed(&mut self) {
        self.size = (self.size / 2).max(1);
        self.successes = 0;
    }
}

/// The wait after the n-th failure in a row, n from 1: full jitter in [0, min(longest, first
/// doubled n - 1 times)] (AWS Builders' Library).
pub(super) fn wait(backoff: Backoff, failures: u32, random: f64) -> Duration {
    let doublings = failures.saturating_sub(1).min(31);
    let most = backoff.first.saturating_mul(1 << doublings);
    most.min(backoff.longest).mul_f64(random)
}

/// A number in [0, 1), good enough for jitter: std seeds each state anew.
pub(super) fn random() -> f64 {
    let bits = RandomState::new().build_hasher().finish();
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_grows_by_one_and_halves() {
        let mut window = Window::new();
        let mut sizes = Vec::new();
        for _ in 0..12 {
            window.succeeded();
            sizes.push(window.size());
        }
        assert_eq!(sizes, [2, 2, 3, 3, 3, 4, 4, 4, 4, 4, 4, 4]);
        window.failed();
        assert_eq!(window.size(), 2);
        window.succeeded();
        window.failed();
        window.failed();
        assert_eq!(window.size(), 1);
    }

    #[test]
    fn waits_double_up_to_the_longest_and_are_spread_from_zero() {
        let backoff = Backoff {
            first: Duration::from_millis(500),
            longest: Duration::from_secs(60),
        };
        let most = [1, 2, 3, 8, 9, 1000, u32::MAX].map(|n| wait(backoff, n, 1.0).as_millis());
        assert_eq!(most, [500, 1000, 2000, 60_000, 60_000, 60_000, 60_000]);
        assert_eq!(wait(backoff, 5, 0.0), Duration::ZERO);
        let drawn: Vec<f64> = (0..100).map(|_| random()).collect();
        assert!(drawn.iter().all(|x| (0.0..1.0).contains(x)));
        assert!(drawn.iter().any(|x| *x < 0.3) && drawn.iter().any(|x| *x > 0.7));
    }
}
