//! The way out: SIGTERM drains, SIGINT drains without delay, a second signal forces.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::shard::Server;
use crate::snapshot::{Live, Phase};
use crate::telemetry::ListenerKind;

/// How the process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Every request finished.
    Drained,
    /// This many connections were cut, by a second signal or past `shutdown_grace`.
    Forced(i64),
}

/// The signals that end the process.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Takes the signals over; until then they end the process at once.
    ///
    /// # Errors
    /// When they cannot be received.
    pub fn take_over() -> std::io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for one; its name.
    pub async fn any(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Waits for a signal, then takes the workers through the phases to their end.
pub async fn drain(live: &Live, server: &Server, mut signals: Signals) -> Ending {
    let first = signals.any().await;
    let settings = live.load();
    let settings = &settings.settings().server;
    let delay = match first {
        "SIGTERM" => settings.drain_delay,
        _ => Duration::ZERO,
    };
    tracing::info!(
        signal = first,
        delay_ms = delay.as_millis() as u64,
        "draining"
    );
    live.advance(Phase::Draining);
    let forced = tokio::select! {
        () = tokio::time::sleep(delay) => false,
        second = signals.any() => {
            tracing::warn!(signal = second, "second signal: forced");
            true
        }
    };
    live.advance(Phase::Stopping);
    if !forced {
        tokio::select! {
            () = server.ended() => return Ending::Drained,
            () = tokio::time::sleep(settings.shutdown_grace) => {
                tracing::warn!("shutdown_grace is over: forced");
            }
            second = signals.any() => tracing::warn!(signal = second, "second signal: forced"),
        }
    }
    let cut = live.metrics.open_connections(ListenerKind::Client);
    live.advance(Phase::Forced);
    server.ended().await;
    Ending::Forced(cut)
}
