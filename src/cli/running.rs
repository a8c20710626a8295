//! A gateway in this process: configuration, control, sockets and workers put together.

use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use crate::archive::store::Finish;
use crate::config::{AccessLog, process_environment};
use crate::control::admin::{self, Admin, Scope};
use crate::control::{Amend, Control, Options, Status, Uploads};
use crate::server::{self, Ending, Server, Signals};
use crate::snapshot::{Live, Phase};
use crate::telemetry::{self, GatewayMetrics, ListenerKind, Logs};
use crate::vocab::Clock;

/// What a gateway is started with.
pub(super) struct Start {
    pub(super) dir: PathBuf,
    pub(super) no_switches: bool,
    pub(super) share_port: bool,
    pub(super) amend: Option<Amend>,
    /// A log filter over the configured one.
    pub(super) log: Option<&'static str>,
}

/// How long reading the journal may hold up the start, and sealing it the end.
const OPENING: Duration = Duration::from_secs(10);
/// How long the first resolution of names may hold it up.
const RESOLVING: Duration = Duration::from_secs(1);
const CLOSING: Duration = Duration::from_secs(10);

/// A gateway that accepts connections.
pub(super) struct Running {
    logs: Logs,
    control: Control,
    server: Server,
    admin: TcpListener,
    probe: Option<TcpListener>,
    pub(super) live: Arc<Live>,
    pub(super) status: Arc<Status>,
    /// Where clients connect.
    pub(super) addresses: Vec<SocketAddr>,
    /// Where the admin listener is.
    pub(super) admin_address: SocketAddr,
}

impl Running {
    /// Loads the configuration, binds every address, starts the workers. What goes wrong is one
    /// text for standard error.
    pub(super) fn start(start: Start) -> Result<Running, String> {
        let mut logs = telemetry::init(start.log.unwrap_or("info")).map_err(|e| e.to_string())?;
        telemetry::log_panics();
        count_on_file_descriptors();
        let options = Options {
            dir: start.dir,
            no_switches: start.no_switches,
            environment: process_environment(),
            amend: start.amend,
        };
        let metrics = Arc::new(GatewayMetrics::default());
        let mut control = Control::start(options, metrics).map_err(|e| e.to_string())?;
        let (live, status) = (control.live(), control.status());
        let snapshot = live.load();
        let settings = snapshot.settings();
        if start.log.is_none() {
            logs.set_filter(&settings.telemetry.log);
        }
        open_access_log(&mut logs, &settings.telemetry.access_log)?;
        let listen = &settings.server.listen;
        let listeners = server::bind(listen, settings.server.workers, start.share_port)
            .map_err(|e| e.to_string())?;
        let admin =
            server::bind_plain(settings.admin.listen, "admin.listen").map_err(|e| e.to_string())?;
        let bind_probe = |address| server::bind_plain(address, "admin.probe_listen");
        let probe = settings.admin.probe_listen.map(bind_probe);
        let probe = probe.transpose().map_err(|e| e.to_string())?;
        // Nothing is accepted before it is known what the journal holds.
        control.open_archive(OPENING);
        control.resolve_names(RESOLVING);
        let addresses = listeners.addresses.clone();
        let admin_address = admin.local_addr().map_err(|e| e.to_string())?;
        let server = server::start(listeners, &live, logs.access().as_ref())
            .map_err(|e| format!("workers cannot be started: {e}"))?;
        let running = Running {
            logs,
            control,
            server,
            admin,
            probe,
            live,
            status,
            addresses,
            admin_address,
        };
        running.log_addresses();
        Ok(running)
    }

    fn log_addresses(&self) {
        let log = |kind: ListenerKind, address: SocketAddr| {
            tracing::info!(listener = kind.as_str(), %address, "listening");
        };
        for address in &self.addresses {
            log(ListenerKind::Client, *address);
        }
        log(ListenerKind::Admin, self.admin_address);
        let probe = self
            .probe
            .as_ref()
            .and_then(|probe| probe.local_addr().ok());
        if let Some(address) = probe {
            log(ListenerKind::Probe, address);
        }
    }

    /// Runs control and the admin listener on this thread until a signal has drained the workers.
    pub(super) fn until_drained(self) -> Result<ExitCode, String> {
        self.until_drained_beside(std::future::pending())
    }

    /// The same, with something else to run on the thread meanwhile.
    pub(super) fn until_drained_beside(
        self,
        beside: impl Future<Output = ()>,
    ) -> Result<ExitCode, String> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| e.to_string())?;
        let Running {
            logs,
            control,
            server,
            admin,
            probe,
            live,
            status,
            ..
        } = self;
        let shown = Admin {
            live: Arc::clone(&live),
            status,
            dir: control.dir().to_owned(),
        };
        let uploads = control.uploads();
        let ending = runtime.block_on(async {
            let serve = |listener: TcpListener, scope| {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                tokio::spawn(admin::serve(listener, scope, shown.clone()));
                std::io::Result::Ok(())
            };
            serve(admin, Scope::Full)?;
            if let Some(probe) = probe {
                serve(probe, Scope::Probe)?;
            }
            let signals = Signals::take_over()?;
            let controlling = control.run();
            tracing::info!(version = env!("CARGO_PKG_VERSION"), "ready");
            tokio::select! {
                ending = drained(&live, &server, signals) => Ok(ending),
                () = controlling => Ok((Ending::Drained, Duration::ZERO)),
                () = async { beside.await; std::future::pending().await } => {
                    Ok((Ending::Drained, Duration::ZERO))
                }
            }
        });
        let ending = ending.map_err(|e: std::io::Error| format!("cannot run: {e}"));
        if ending.is_ok() {
            server.join();
        }
        let left = ending.as_ref().map_or(Duration::ZERO, |(_, left)| *left);
        runtime.block_on(close_archive(&live, &uploads, left));
        // Reading a configuration beside the control thread must not hold up the end.
        runtime.shutdown_background();
        let (ending, _) = ending?;
        let code = tell_ending(ending);
        drop(logs);
        Ok(code)
    }
}

fn tell_ending(ending: Ending) -> ExitCode {
    match ending {
        Ending::Drained | Ending::Forced(0) => {
            tracing::info!("drained");
            ExitCode::SUCCESS
        }
        Ending::Forced(cut) => {
            tracing::warn!(connections = cut, "stopped; connections were cut");
            ExitCode::FAILURE
        }
    }
}

/// Drains, and says how much of `shutdown_grace` is left then.
async fn drained(live: &Live, server: &Server, signals: Signals) -> (Ending, Duration) {
    let mut phases = live.watch_phase();
    let stopping = async {
        let _ = phases.wait_for(|phase| *phase >= Phase::Stopping).await;
        Clock::now()
    };
    let (ending, begun) = tokio::join!(server::drain(live, server, signals), stopping);
    let grace = live.load().settings().server.shutdown_grace;
    let left = match ending {
        Ending::Drained => grace.saturating_sub(Clock::now().saturating_duration_since(begun)),
        // Whoever forces the end does not wait for a store.
        Ending::Forced(_) => Duration::ZERO,
    };
    (ending, left)
}

/// Stores what is queued and seals, so that the next process finds whole segments, and brings
/// what is sealed into the store, for `within` at most and not after another signal.
async fn close_archive(live: &Live, uploads: &Uploads, within: Duration) {
    let Some(opened) = live.archive.opened() else {
        return;
    };
    if let Ok(Ok(_)) = tokio::time::timeout(CLOSING, opened.journal.seal()).await {
        let signal = async {
            match Signals::take_over() {
                Ok(mut signals) => signals.any().await,
                Err(_) => std::future::pending().await,
            }
        };
        tokio::select! {
            finish = uploads.finish(within) => tell_finish(finish),
            signal = signal => tracing::warn!(
                signal,
                "stopped amid uploads; what is in the journal goes to the store after the next start"
            ),
        }
    }
    match tokio::time::timeout(CLOSING, opened.journal.close()).await {
        Ok(()) => tracing::info!("journal closed"),
        Err(_) => tracing::error!("the journal does not end: what was acknowledged is kept"),
    }
}

fn tell_finish(finish: Option<Finish>) {
    match finish {
        None => {}
        Some(Finish::Done) => tracing::info!("every record of the journal is in the store"),
        Some(Finish::Left { segments }) => tracing::warn!(
            segments,
            "segments stay in the journal; they go to the store after the next start"
        ),
    }
}

fn open_access_log(logs: &mut Logs, target: &AccessLog) -> Result<(), String> {
    match target {
        AccessLog::Off => Ok(()),
        AccessLog::Stdout => logs.access_to_stdout().map_err(|e| e.to_string()),
        AccessLog::File(path) => logs.access_to_file(path).map_err(|error| {
            let path = path.display();
            format!("{path} cannot be opened ({error}); change telemetry.access_log")
        }),
    }
}

/// Each proxied connection takes two file descriptors; shells start programs with few.
fn count_on_file_descriptors() {
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) if limit >= 4096 => {}
        Ok(limit) => tracing::warn!(limit, "few file descriptors: raise the limit (ulimit -n)"),
        Err(error) => tracing::warn!(%error, "the file descriptor limit stays as it is"),
    }
}
