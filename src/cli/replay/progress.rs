//! How far a replay is: a bar on a terminal, a line every few seconds elsewhere.

use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::control::replay::{Earlier, Phase, Progress, Watch};
use crate::vocab::Clock;

/// From one line to the next.
const EVERY: Duration = Duration::from_secs(5);

/// Whoever watches a replay, on standard error.
pub(super) struct Shown {
    total: u64,
    /// Settled before this process began.
    before: u64,
    bar: Option<ProgressBar>,
    told: Instant,
    phase: Phase,
}

impl Shown {
    pub(super) fn start(total: u64, earlier: Option<&Earlier>) -> Shown {
        let bar = io::stderr().is_terminal().then(|| {
            let bar =
                ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(5));
            let template = "{bar:30} {pos}/{len} {eta} {wide_msg}";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar
        });
        Shown {
            total,
            before: earlier.map_or(0, |earlier| earlier.accepted + earlier.refused),
            bar,
            told: Clock::now(),
            phase: Phase::Sending,
        }
    }

    /// Leaves the terminal as it was.
    pub(super) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn settled(&self, progress: &Progress) -> u64 {
        let counts = &progress.counts;
        (counts.accepted + counts.refused).saturating_sub(self.before)
    }
}

fn phase_text(progress: &Progress) -> String {
    match progress.phase {
        Phase::Sending => format!("at most {:.0}/s", progress.pace),
        Phase::Waiting(failing) => format!("waiting for the target: {failing}"),
        Phase::Finishing => "waiting for what is under way".to_owned(),
    }
}

impl Watch for Shown {
    fn progress(&mut self, progress: &Progress) {
        let counts = &progress.counts;
        let text = phase_text(progress);
        if let Some(bar) = &self.bar {
            bar.set_position(self.settled(progress));
            bar.set_message(format!("{} refused, {text}", counts.refused));
            return;
        }
        let now = Clock::now();
        // A change of the target's state is told at once, but not each flicker.
        let waits = |phase| matches!(phase, Phase::Waiting(_));
        let changed = waits(progress.phase) && !waits(self.phase);
        if changed || now.saturating_duration_since(self.told) >= EVERY {
            self.told = now;
            self.phase = progress.phase;
            eprintln!(
                "seawall: {} of {}: {} accepted, {} refused; {text}",
                self.settled(progress),
                self.total,
                counts.accepted,
                counts.refused
            );
        }
    }
}
