//! Sets up `tracing`: JSON lines on standard error, one event a line.

use std::path::Path;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, reload};

use super::lines::{LineSink, LineWriter};

/// The writers behind the log and the access log; dropping it flushes both.
#[derive(Debug)]
pub struct Logs {
    _events: LineWriter,
    filter: reload::Handle<EnvFilter, Registry>,
    access: Option<LineWriter>,
}

impl Logs {
    /// Changes what is logged; a filter that cannot be read changes nothing.
    pub fn set_filter(&self, filter: &str) {
        if let Ok(filter) = EnvFilter::try_new(filter) {
            // Fails only when another subscriber was there first, as in tests.
            let _ = self.filter.reload(filter);
        }
    }

    /// Where access log lines go, if anywhere.
    pub fn access(&self) -> Option<LineSink> {
        self.access.as_ref().and_then(LineWriter::sink)
    }

    /// Opens the access log on standard output.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn access_to_stdout(&mut self) -> std::io::Result<()> {
        self.access = Some(LineWriter::start("access-log", std::io::stdout())?);
        Ok(())
    }

    /// Opens the access log on a file, to which it appends.
    ///
    /// # Errors
    /// When the file cannot be opened or no thread can be started.
    pub fn access_to_file(&mut self, path: &Path) -> std::io::Result<()> {
        let file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)?;
        self.access = Some(LineWriter::start("access-log", file)?);
        Ok(())
    }
}

/// Makes panics log lines like any other; a backtrace across many lines is for a debugger.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        let thread = std::thread::current();
        let message = panic.payload_as_str().unwrap_or("no message");
        let thread = thread.name().unwrap_or("unnamed");
        tracing::error!(place, thread, panic = message, "panic");
    }));
}

/// Installs the process's subscriber. `filter` is a tracing filter such as `info` or
/// `seawall=debug`; a second call in one process keeps the first subscriber.
///
/// # Errors
/// When no writer thread can be started.
pub fn init(filter: &str) -> std::io::Result<Logs> {
    let events = LineWriter::start("log", std::io::stderr())?;
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let (filter, handle) = reload::Layer::new(filter);
    let layer = events.sink().map(|sink| {
        tracing_subscriber::fmt::layer()
            .json()
            .flatten_event(true)
            .with_target(false)
            .with_current_span(false)
            .with_span_list(false)
            .with_writer(sink)
    });
    // Fails only when a subscriber is there already, as in tests.
    let _ = tracing_subscriber::registry()
        .with(filter)
        .with(layer)
        .try_init();
    Ok(Logs {
        _events: events,
        filter: handle,
        access: None,
    })
}
