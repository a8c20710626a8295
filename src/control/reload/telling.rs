//! What the reloader says of what it did: status, metrics and log.

use std::path::Path;
use std::time::{Duration, Instant};

use super::super::audit::{Writer, changes, cut, log_changes, log_errors};
use super::super::automatic::Event;
use super::super::breakers::{release, tell_changes as tell_breakers};
use super::super::status::{FileTold, Noted};
use super::super::timeline;
use super::Reloader;
use crate::config::{Problem, Settings, SourceFile};
use crate::snapshot::Snapshot;
use crate::telemetry::ReloadResult;
use crate::vocab::Clock;

impl Reloader {
    /// Tells what switches did by themselves since the last look.
    pub(super) fn pass_time(&mut self, now: Duration) {
        let last = std::mem::replace(&mut self.told_until, now);
        // After the clock was set back, what expired may take requests again.
        let set_back = now < last;
        if !set_back && self.turns.is_none_or(|at| now < at) {
            return;
        }
        let before = self.live.load();
        for event in timeline::events(&before, last, now) {
            let noted = self.status.told().noted.get(&event.key()).cloned();
            let writer = noted.map_or_else(|| self.writer(), |noted| noted.writer);
            event.line().log(event.passed.message(), &writer);
        }
        if timeline::is_stale(&before, now) {
            self.publish_board(&before, now);
        } else {
            self.live.announce_switches();
        }
    }

    pub(super) fn tell_restart(&self, settings: &Settings) {
        let mut waiting = self.running.needs_restart(settings);
        if let Some(opened) = self.live.archive.opened() {
            waiting.extend(opened.settings.needs_restart(&settings.archive));
        }
        if !waiting.is_empty() && self.status.told().needs_restart != waiting {
            let keys = waiting.join(",");
            tracing::warn!(%keys, "these settings hold after a restart; the others hold now");
        }
        self.status.told().needs_restart = waiting;
    }

    pub(super) fn tell_reload(&self, result: ReloadResult, errors: Vec<Problem>) {
        let now = Clock::unix();
        self.live.metrics.reloaded(result, now.as_secs());
        let mut told = self.status.told();
        told.reload_time = now;
        told.reload_result = Some(result);
        told.reload_errors = errors;
    }

    pub(super) fn tell_applied(&self, changed: &[String], took: Duration) {
        let snapshot = self.live.load();
        let hash = self.tell_hash();
        let changed: Vec<&str> = changed.iter().map(String::as_str).collect();
        tracing::info!(
            hash = %format!("{hash:08x}"),
            routes = snapshot.table.routes.len(),
            upstreams = snapshot.table.upstreams.len(),
            duration_ms = took.as_secs_f64() * 1e3,
            changed = %cut(&changed),
            "configuration applied"
        );
    }

    /// The hash covers the structure that holds and the switches as written.
    pub(super) fn tell_hash(&self) -> u32 {
        let hash = hash_file(self.structure_hash, &self.file.path(), self.file.text());
        self.live.metrics.set_config_hash(hash);
        self.status.told().config_hash = hash;
        hash
    }

    /// The file that is looked at, and who wrote it.
    fn writer(&self) -> Writer {
        let digest = self.file.seen().map(|seen| seen.digest);
        Writer {
            digest,
            token: digest.and_then(|digest| self.status.editor(digest)),
        }
    }

    /// Logs which switches differ from `before`, and notes since when.
    pub(super) fn tell_changes(&self, before: &Snapshot) {
        let now = self.live.load();
        let changes = changes(&before.board.settings, &now.board.settings);
        let writer = self.writer();
        log_changes(&changes, &now.settings().routes, &writer);
        release(before, &now);
        let since = Clock::unix();
        let mut told = self.status.told();
        let breakers = (&before.board.breakers, &now.board.breakers);
        tell_breakers(breakers.0, breakers.1, (&writer, &mut told.breakers));
        for change in changes {
            let writer = writer.clone();
            match change.to {
                Some(_) => told.noted.insert(change.key, Noted { since, writer }),
                None => told.noted.remove(&change.key),
            };
        }
    }

    /// Logs what the gateway threw by itself, and what it let go of, and notes since when.
    pub(super) fn tell_automatic(&self, events: &[Event]) {
        let mut told = self.status.told();
        for event in events {
            event.line().log(event.message(), &Writer::default());
            event.note(&mut told.automatic);
        }
    }

    /// States what is wrong with `switches.toml`, and logs it if it is news.
    pub(super) fn tell_switches(&mut self, now: Instant) {
        let problems = self.file.problems(now);
        if problems != self.reported {
            log_errors(&problems);
            if problems.is_empty() {
                tracing::info!("switches.toml is free of errors again");
            } else {
                tracing::error!(
                    errors = problems.len(),
                    "switches.toml has errors; entries without one hold, what was thrown stays thrown"
                );
            }
            self.live.metrics.set_switch_errors(problems.len());
            self.reported = problems;
        }
        let digest = self.file.seen().map(|seen| seen.digest);
        let mut told = self.status.told();
        if told.switch_errors != self.reported {
            told.switch_errors = self.reported.clone();
        }
        let read_at = match told.file.digest == digest {
            true => told.file.read_at,
            false => Clock::unix(),
        };
        told.breakers.held.clone_from(self.breakers.held());
        told.file = FileTold {
            path: self.file.path(),
            digest,
            read_at,
            held: self.switches.held().clone(),
            settles: self.switches_due,
        };
    }
}

/// CRC32C of all files in order, names included, so that gateways can be compared wherever
/// their directories are.
pub(super) fn hash_of(files: &[SourceFile]) -> u32 {
    let add = |hash, file: &SourceFile| hash_file(hash, &file.path, &file.text);
    files.iter().fold(0, add)
}

fn hash_file(hash: u32, path: &Path, text: &str) -> u32 {
    let name = path.file_name().unwrap_or_default();
    let hash = crc32c::crc32c_append(hash, name.as_encoded_bytes());
    let hash = crc32c::crc32c_append(hash, &(text.len() as u64).to_le_bytes());
    crc32c::crc32c_append(hash, text.as_bytes())
}
