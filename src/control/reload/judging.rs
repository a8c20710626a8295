//! Which structures wait until their files are calm, and which are no structure at all.

use super::super::breakers::unguards;
use super::super::structure::redirects;
use super::super::switches::{Ground, Moment, Seen, restores};
use super::Reloader;
use crate::config::Settings;

impl Reloader {
    /// Whether a structure would let something through that is killed: a plan that lost entries,
    /// a route of another tier, or one without the `auto_kill` that kills it. Or without the
    /// breaker that holds its requests back.
    pub(super) fn lets_go(&self, settings: &Settings, now: Moment) -> bool {
        let before = self.live.load();
        if unguards(&before.table, settings, now.steady) {
            return true;
        }
        if self.switches.entries().is_empty() && self.automatic.entries().is_empty() {
            return false;
        }
        if before.board.concerns_routes() && redirects(before.settings(), settings) {
            return true;
        }
        let read = self.file.under(settings);
        let seen = read.as_ref().map(|(digest, read)| Seen {
            digest: *digest,
            read,
        });
        let held = Ground {
            routes: &before.settings().routes,
            auto: self.automatic.entries(),
        };
        let next = Ground {
            routes: &settings.routes,
            auto: &self.automatic.under(&settings.routes),
        };
        let entries = self.switches.under(seen, next, now);
        let held = (held, self.switches.entries());
        restores(held, (next, &entries), now.unix)
    }

    pub(super) fn loses_every_route(&self, settings: &Settings) -> bool {
        settings.routes.is_empty() && !self.live.load().settings().routes.is_empty()
    }
}
