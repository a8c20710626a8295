//! From files to the published snapshot.
//!
//! A look goes through the switches first, over the structure that holds: a broken or a large
//! `seawall.toml` never delays a flip. Then the structure; if it changed, the switches are
//! stated again under it and both are published with one swap. Only then is it said what is
//! wrong, so that an entry for a route that came with the same look is no error.

mod judging;
mod telling;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::audit::{log_errors, log_warnings};
use super::automatic::Automatic;
use super::breakers::{Breakers, breaks};
use super::resolver;
use super::status::Status;
use super::structure::{Identity, StructureFiles, Unsettled, removes};
use super::switches::{Ground, Moment, Switches};
use super::switchfile::SwitchFile;
use super::watch::{Depth, Look};
use super::{Options, StartError};
use crate::config::{Loaded, Problem, RouteSettings, Settings, SourceFile, load, read_structure};
use crate::snapshot::{Before, Board, Live, RouteTable, Snapshot, Thrown};
use crate::telemetry::{GatewayMetrics, ReloadResult};
use crate::vocab::Clock;
use telling::hash_of;

/// Everything that turns files into snapshots.
pub(super) struct Reloader {
    options: Options,
    live: Arc<Live>,
    status: Arc<Status>,
    /// The settings that sockets and workers were made from.
    running: Arc<Settings>,
    structure: StructureFiles,
    applied: Identity,
    structure_hash: u32,
    file: SwitchFile,
    switches: Switches,
    breakers: Breakers,
    automatic: Automatic,
    switches_due: Option<Instant>,
    /// Until when it is told what switches did by themselves, and when they next do something.
    told_until: Duration,
    turns: Option<Duration>,
    reported: Vec<Problem>,
}

/// Longest sleep towards something that the wall clock decides: it may be set in between.
const LONGEST: Duration = Duration::from_secs(60);

/// A structure that was read and is free of errors.
struct Good {
    settings: Arc<Settings>,
    identity: Identity,
    hash: u32,
    took: Duration,
}

impl Reloader {
    /// The first load.
    pub(super) fn start(
        options: Options,
        metrics: Arc<GatewayMetrics>,
    ) -> Result<Reloader, StartError> {
        let begun = Clock::now();
        let files = read_structure(&options.dir).map_err(StartError::Problems)?;
        let loaded = load_amended(&files, &options).map_err(StartError::Problems)?;
        let settings = Arc::new(loaded.settings);
        let dir = options.dir.clone();
        let file = SwitchFile::open(dir, options.no_switches, &settings, begun);
        if let Some(refusal) = file.refusal() {
            return Err(StartError::Switches(refusal));
        }
        log_warnings(&loaded.warnings);
        let mut switches = Switches::default();
        let now = Moment {
            steady: begun,
            unix: Clock::unix(),
        };
        let mut breakers = Breakers::default();
        let automatic = Automatic::default();
        let ground = Ground {
            routes: &settings.routes,
            auto: automatic.entries(),
        };
        let dues = [
            switches.observe(file.seen(), ground, now),
            breakers.observe(file.seen(), |_| false, begun),
        ];
        let table = Arc::new(RouteTable::compile(Arc::clone(&settings), None));
        resolver::expect(&table);
        let thrown = Thrown {
            kill: switches.entries().clone(),
            breakers: breakers.entries().clone(),
            ..Thrown::default()
        };
        let board = Arc::new(Board::compile(&table, thrown, None, now.unix));
        let live = Arc::new(Live::new(Snapshot { table, board }, metrics));
        let status = Arc::new(Status::new(Clock::unix(), Arc::clone(&live.metrics)));
        let identity = Identity::of(&files);
        let mut reloader = Reloader {
            structure: StructureFiles::new(&options.dir, &files, begun),
            structure_hash: hash_of(&files),
            applied: identity,
            running: settings,
            options,
            live,
            status,
            file,
            switches,
            breakers,
            automatic,
            switches_due: dues.into_iter().flatten().min(),
            told_until: now.unix,
            turns: None,
            reported: Vec::new(),
        };
        reloader.started(begun);
        Ok(reloader)
    }

    fn started(&mut self, begun: Instant) {
        let now = Clock::unix();
        self.live.metrics.loaded(now.as_secs());
        self.status.told().reload_time = now;
        self.tell_changes(&Snapshot {
            table: Arc::clone(&self.live.load().table),
            board: Arc::default(),
        });
        log_warnings(self.file.warnings());
        self.tell_switches(begun);
        self.turns = self.live.load().board.next_change(self.told_until);
        let none = Identity::Files(Vec::new());
        self.tell_applied(&self.applied.differing(&none), Clock::now() - begun);
    }

    /// What is published.
    pub(super) fn live(&self) -> &Arc<Live> {
        &self.live
    }

    /// What is told about it.
    pub(super) fn status(&self) -> &Arc<Status> {
        &self.status
    }

    /// The configuration directory.
    pub(super) fn dir(&self) -> &Path {
        &self.options.dir
    }

    /// When to look again although nothing may have changed.
    pub(super) fn due(&self) -> Option<Instant> {
        let turn = self.turns.map(|at| {
            let left = at.saturating_sub(Clock::unix());
            Clock::now() + left.min(LONGEST)
        });
        let storm = self.automatic.due();
        let all = [self.switches_due, self.structure.due(), storm, turn];
        all.into_iter().flatten().min()
    }

    /// Looks at the files and publishes what they say. `asked`: somebody wants the result,
    /// even if it is that nothing changed.
    pub(super) fn look(&mut self, look: Look, asked: bool, now: Instant) {
        let moment = Moment {
            steady: now,
            unix: Clock::unix(),
        };
        // Before what expired is told: what goes on is renewed at its end.
        if self.automatic.is_due(now) {
            self.look_for_storms(moment);
        }
        self.pass_time(moment.unix);
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let deep = |due| if due { Depth::Digest } else { Depth::Stamp };
        let switches_due = due(self.switches_due);
        let depth = look.switches.max(deep(switches_due));
        let held = Arc::clone(&self.live.load().table);
        let changed = self.file.look(depth, &held.settings, now);
        if changed || switches_due {
            // Should this panic, the next look does it again.
            self.switches_due = Some(now);
            self.flip(moment);
        }
        let depth = look.structure.max(deep(due(self.structure.due())));
        if let Some(unsettled) = self.structure.look(depth, asked, now) {
            self.decide(unsettled, asked, moment);
        }
        if changed {
            log_warnings(self.file.warnings());
        }
        self.tell_switches(now);
        self.turns = self.live.load().board.next_change(moment.unix);
    }

    /// What is thrown now.
    fn thrown(&self) -> Thrown {
        Thrown {
            kill: self.switches.entries().clone(),
            breakers: self.breakers.entries().clone(),
            auto: self.automatic.entries().clone(),
        }
    }

    fn publish_board(&self, before: &Snapshot, now: Duration) {
        let board = Board::compile(&before.table, self.thrown(), Some(held(before)), now);
        self.live.publish(before.with_board(board));
    }

    /// Takes in what `switches.toml` says under these routes; returns when to look again.
    fn observe(&mut self, routes: &[RouteSettings], now: Moment) -> Option<Instant> {
        let seen = self.file.seen();
        let auto = self.automatic.entries();
        let ground = Ground { routes, auto };
        let switches = self.switches.observe(seen, ground, now);
        let table = &self.live.load().table;
        let trips = |route: &str| breaks(table, route, now.steady);
        let breakers = self.breakers.observe(seen, trips, now.steady);
        [switches, breakers].into_iter().flatten().min()
    }

    /// Throws what is asked for too much, and lets go of it.
    fn look_for_storms(&mut self, now: Moment) {
        let before = self.live.load();
        let kill = self.switches.entries();
        let events = self.automatic.look(&before.table, kill, now);
        if before.board.auto != *self.automatic.entries() {
            self.publish_board(&before, now.unix);
        }
        self.tell_automatic(&events);
        // What is held because of a kill that has ended restores nothing any more.
        if !self.switches.held().is_empty() && !before.board.auto.is_empty() {
            self.switches_due = Some(now.steady);
        }
    }

    /// Takes in what `switches.toml` says; publishes if that changes anything.
    fn flip(&mut self, now: Moment) {
        let before = self.live.load();
        let due = self.observe(&before.settings().routes, now);
        let same = before.board.settings == *self.switches.entries()
            && before.board.breakers == *self.breakers.entries();
        if !same {
            let lifted = self
                .automatic
                .lift(&before.table, self.switches.entries(), now.unix);
            self.publish_board(&before, now.unix);
            self.tell_changes(&before);
            self.tell_automatic(&lifted);
        }
        self.switches_due = due;
        self.tell_hash();
    }

    fn decide(&mut self, unsettled: Unsettled, asked: bool, now: Moment) {
        let Unsettled {
            files,
            identity,
            calm,
        } = unsettled;
        if identity == self.applied {
            self.structure.settle();
            self.log_unchanged(asked);
            return self.tell_reload(ReloadResult::Unchanged, Vec::new());
        }
        let files = match files {
            // A file is missing for a moment while an editor saves it.
            Err(_) if !calm && !asked => return self.structure.wait(),
            Err(problems) => return self.reject(problems),
            Ok(files) => files,
        };
        let begun = Clock::now();
        match load_amended(&files, &self.options) {
            Err(problems) => self.reject(problems),
            Ok(loaded) if !calm && removes(self.live.load().settings(), &loaded.settings) => {
                tracing::debug!("routes or upstreams are gone; waiting for the files to settle");
                self.structure.wait();
            }
            Ok(loaded) if !calm && self.lets_go(&loaded.settings, now) => {
                tracing::debug!(
                    "requests held back now would pass; waiting for the files to settle"
                );
                self.structure.wait();
            }
            Ok(loaded) if self.loses_every_route(&loaded.settings) => {
                // A full disk empties files; nobody means to answer 404 to everything.
                let path = self.options.dir.join("seawall.toml");
                let problem = Problem::placeless(path, "no route is left");
                self.reject(vec![problem.with_hint(
                    "bring the routes back; to serve nothing, stop the gateway",
                )]);
            }
            Ok(loaded) => {
                log_warnings(&loaded.warnings);
                let good = Good {
                    settings: Arc::new(loaded.settings),
                    identity,
                    hash: hash_of(&files),
                    took: Clock::now() - begun,
                };
                self.apply(good, now);
            }
        }
    }

    /// Says so to whoever asked, or waits for the errors to end.
    fn log_unchanged(&self, asked: bool) {
        let rejected = self.status.told().reload_result == Some(ReloadResult::Rejected);
        if rejected {
            tracing::info!("configuration is free of errors again, and as it was before them");
        } else if asked {
            tracing::info!("configuration unchanged");
        }
    }

    fn reject(&mut self, problems: Vec<Problem>) {
        self.structure.settle();
        log_errors(&problems);
        let errors = problems.len();
        tracing::error!(errors, "configuration rejected; the one before stays");
        self.tell_reload(ReloadResult::Rejected, problems);
    }

    fn apply(&mut self, good: Good, now: Moment) {
        let begun = Clock::now();
        self.structure.settle();
        let before = self.live.load();
        let table = RouteTable::compile(Arc::clone(&good.settings), Some(&before.table));
        let table = Arc::new(table);
        resolver::expect(&table);
        // Entries for routes that came or went mean something else now, and what the structure
        // itself let go of keeps none of them waiting.
        let mut lifted = self.automatic.forget(&table, now.unix);
        self.file.restate(&good.settings);
        self.switches_due = self.observe(&good.settings.routes, now);
        let kill = self.switches.entries();
        lifted.extend(self.automatic.lift(&table, kill, now.unix));
        let board = Board::compile(&table, self.thrown(), Some(held(&before)), now.unix);
        let board = Arc::new(board);
        self.live.publish(Snapshot { table, board });
        let changed = good.identity.differing(&self.applied);
        self.applied = good.identity;
        self.structure_hash = good.hash;
        self.tell_changes(&before);
        self.tell_automatic(&lifted);
        self.tell_restart(&good.settings);
        self.tell_reload(ReloadResult::Applied, Vec::new());
        self.tell_applied(&changed, good.took + (Clock::now() - begun));
    }
}

fn held(snapshot: &Snapshot) -> Before<'_> {
    Before {
        table: &snapshot.table,
        board: &snapshot.board,
    }
}

fn load_amended(files: &[SourceFile], options: &Options) -> Result<Loaded, Vec<Problem>> {
    let mut loaded = load(files, &*options.environment)?;
    if let Some(amend) = &options.amend {
        amend(&mut loaded.settings);
    }
    Ok(loaded)
}
