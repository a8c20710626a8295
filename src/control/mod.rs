//! Floor 9: what happens beside the requests. Reload, switches, the admin listener.
//!
//! `watch` notices, `structure` and `switchfile` read, `switches` decides what is thrown,
//! `breakers` which breakers are held by hand, `automatic` what the gateway throws by itself.
//! `reload` publishes, `timeline` knows what ends by itself, `audit` logs it, `status`, `reports`
//! and `routes` tell it, `admin` serves that. `switchedit` changes one entry and `switchwriter`
//! writes `switches.toml`, for the commands and for `kill_api`, which asks `access` first;
//! `confirmation` waits until an edit acts. `resolver` keeps the names of endpoints resolved,
//! `health` checks them, `endpoints` tells it. Everything runs on the control thread; files are
//! read and snapshots freed beside it, so that a slow disk does not keep a probe waiting. Workers
//! share nothing with it but the snapshot, the counters and what routes observe.

mod access;
pub mod admin;
mod archive;
mod audit;
mod automatic;
mod breakers;
mod chance;
pub mod confirmation;
mod endpoints;
mod errand;
mod figures;
mod health;
mod kill_api;
mod ledger;
mod listing;
mod observed;
mod policies;
mod reload;
pub mod replay;
mod reports;
mod resolver;
mod routes;
mod status;
mod structure;
mod switchdisk;
mod switchedit;
mod switches;
mod switchfile;
mod switchwriter;
mod timeline;
mod watch;

pub use archive::{FlushRequest, Uploads, flush_request};
pub use figures::{ByShare, Figures, RouteFigures};
pub use status::{Status, StatusReport};
pub use switchedit::{Done, SwitchEdit, own_mode, plain_entry};
pub use switchwriter::{LOCK_WAIT, Location, Manner, WriteError, Written, rewrite};

use std::fmt;
use std::future::{Future, pending};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::MissedTickBehavior;

use crate::config::{Environment, Problem, Settings};
use crate::snapshot::Live;
use crate::telemetry::GatewayMetrics;
use crate::vocab::Clock;
use archive::Keeper;
use observed::Gathering;
use reload::Reloader;
use watch::{Look, Watch};

/// What control is started with.
pub struct Options {
    /// The configuration directory.
    pub dir: PathBuf,
    /// `switches.toml` may be missing.
    pub no_switches: bool,
    /// Where `${NAME}` is looked up.
    pub environment: Box<Environment>,
    /// Applied to the settings of each load.
    pub amend: Option<Amend>,
}

/// Changes settings after they were validated: `demo` puts its own addresses in.
pub type Amend = Box<dyn Fn(&mut Settings) + Send + Sync>;

/// Why the gateway did not start. Its text is ready for standard error.
#[derive(Debug)]
pub enum StartError {
    /// The structure has errors.
    Problems(Vec<Problem>),
    /// `switches.toml` is missing or says nothing; one line that says what to do.
    Switches(String),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Problems(problems) => {
                // What has no source line to show is one line.
                if let [problem] = &problems[..]
                    && problem.line == 0
                {
                    return write!(f, "{problem}");
                }
                for problem in problems {
                    writeln!(f, "{}", problem.render(false))?;
                }
                match problems.len() {
                    1 => write!(f, "1 error"),
                    n => write!(f, "{n} errors"),
                }
            }
            StartError::Switches(line) => f.write_str(line),
        }
    }
}

impl std::error::Error for StartError {}

/// The first configuration is loaded; [`Control::run`] keeps up with the next ones.
pub struct Control {
    live: Arc<Live>,
    status: Arc<Status>,
    reloader: Reloader,
    keeper: Keeper,
}

/// The poll that backs up the watch.
const SECOND: Duration = Duration::from_secs(1);

/// Every so many seconds the poll does not trust the times of files.
const DEEP_EVERY: u64 = 5;

impl Control {
    /// Loads the configuration for the first time.
    ///
    /// # Errors
    /// When the structure has errors, or `switches.toml` is missing or says nothing.
    pub fn start(options: Options, metrics: Arc<GatewayMetrics>) -> Result<Control, StartError> {
        let reloader = Reloader::start(options, metrics)?;
        Ok(Control {
            keeper: Keeper::new(Arc::clone(reloader.live()), reloader.status().uploads()),
            live: Arc::clone(reloader.live()),
            status: Arc::clone(reloader.status()),
            reloader,
        })
    }

    /// Opens the journal, if something may archive. A disk that hangs holds up the start for
    /// `patience` at most.
    pub fn open_archive(&mut self, patience: Duration) {
        if let Some(opened) = self.keeper.look()
            && opened.recv_timeout(patience).is_err()
        {
            tracing::error!("opening the journal takes long; routes are served meanwhile");
        }
    }

    /// Resolves the names of endpoints, for `patience` at most: a name server that is silent
    /// does not hold up the start for longer.
    pub fn resolve_names(&self, patience: Duration) {
        if !resolver::is_needed(&self.live) {
            return;
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        match runtime {
            Ok(runtime) => runtime.block_on(resolver::first(&self.live, patience)),
            Err(error) => tracing::error!(%error, "names are resolved later"),
        }
    }

    /// The published snapshot and the phase.
    pub fn live(&self) -> Arc<Live> {
        Arc::clone(&self.live)
    }

    /// What is told about it.
    pub fn status(&self) -> Arc<Status> {
        Arc::clone(&self.status)
    }

    /// The archive's uploads, for the end of the process.
    pub fn uploads(&self) -> Arc<Uploads> {
        self.status.uploads()
    }

    /// The configuration directory.
    pub fn dir(&self) -> &Path {
        self.reloader.dir()
    }

    /// Watches the files and publishes what they say. The future never ends.
    ///
    /// Watching and hearing SIGHUP begin with the call, inside a runtime: whoever says "ready"
    /// afterwards can be signalled at once.
    pub fn run(self) -> impl Future<Output = ()> {
        let watch = Watch::start(self.reloader.dir());
        let hangup = hangup();
        let live = Arc::clone(&self.live);
        let (publishing, published) = tokio::sync::watch::channel(());
        async move {
            tokio::join!(
                self.follow(watch, hangup, publishing),
                resolver::follow(Arc::clone(&live), published.clone()),
                health::follow(live, published),
            );
        }
    }

    async fn follow(
        self,
        watch: Watch,
        mut hangup: Option<Signal>,
        publishing: tokio::sync::watch::Sender<()>,
    ) {
        let events = watch.events();
        let mut seconds = tokio::time::interval(SECOND);
        seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut due = self.reloader.due();
        let mut elapsed = 0;
        let mut gathering = Gathering::default();
        let jobs = Arc::new(Jobs {
            live: self.live,
            status: self.status,
            state: Mutex::new((self.reloader, watch, self.keeper)),
        });
        loop {
            let wake = tokio::select! {
                () = events.next() => Wake::Event,
                () = hung_up(&mut hangup) => Wake::Hangup,
                () = sleep_until(due) => Wake::Event,
                _ = seconds.tick() => {
                    elapsed += 1;
                    gathering.go_on(&jobs.live);
                    if elapsed % DEEP_EVERY == 1 { Wake::Deep } else { Wake::Second }
                }
            };
            let generation = jobs.live.generation();
            due = Jobs::run(&jobs, wake).await;
            if jobs.live.generation() != generation {
                publishing.send_replace(());
            }
        }
    }
}

/// Why there is something to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wake {
    Event,
    Hangup,
    Second,
    Deep,
}

/// What is done beside the control thread, one job at a time.
struct Jobs {
    live: Arc<Live>,
    status: Arc<Status>,
    /// Never contended: jobs follow each other.
    state: Mutex<(Reloader, Watch, Keeper)>,
}

impl Jobs {
    /// Returns when to wake again at the latest.
    async fn run(jobs: &Arc<Jobs>, wake: Wake) -> Option<Instant> {
        let work = Arc::clone(jobs);
        let done = tokio::task::spawn_blocking(move || work.work(wake)).await;
        done.unwrap_or_else(|error| {
            // A panic must not end reloading: the next look starts from the same state.
            tracing::error!(%error, "a look at the configuration failed");
            jobs.live.metrics.panicked();
            None
        })
    }

    fn work(&self, wake: Wake) -> Option<Instant> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (reloader, watch, keeper) = &mut *state;
        let look = match wake {
            Wake::Event | Wake::Second => watch.take(),
            Wake::Hangup | Wake::Deep => watch.take().or(Look::FULL),
        };
        let now = Clock::now();
        reloader.look(look, wake == Wake::Hangup, now);
        // After the switches were published: no flip waits for a disk.
        keeper.look();
        if matches!(wake, Wake::Second | Wake::Deep) {
            self.live.sweep();
            let snapshot = self.live.load();
            self.status.figures.sample(&snapshot.table.routes, now);
        }
        reloader.due()
    }
}

fn hangup() -> Option<Signal> {
    signal(SignalKind::hangup())
        .inspect_err(|error| tracing::warn!(%error, "SIGHUP will not be heard"))
        .ok()
}

async fn hung_up(hangup: &mut Option<Signal>) {
    match hangup {
        Some(signal) => {
            signal.recv().await;
        }
        None => pending().await,
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => pending().await,
    }
}
