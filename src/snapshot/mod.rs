//! Floor 7: the compiled configuration, and the place where it is published.

mod archive;
mod board;
mod branch;
mod live;
mod repeats;
mod route;
mod state;

pub use archive::{Archive, Opened};
pub use board::{Before, Board, Thrown};
pub use branch::{Branch, BranchState};
pub use live::{Live, Phase};
pub use repeats::RepeatBudget;
pub use route::{Route, RouteTable};
pub use state::{RouteRate, RouteState, Tell};

use std::sync::Arc;

use crate::config::Settings;
use crate::policy::rules::Rules;
use crate::vocab::RouteId;

/// The compiled, immutable form of one configuration.
///
/// Structure and switches are two shared parts, so that a flip builds the second alone.
#[derive(Debug)]
pub struct Snapshot {
    /// Routes, upstreams, limits.
    pub table: Arc<RouteTable>,
    /// What is thrown.
    pub board: Arc<Board>,
}

impl Snapshot {
    /// The settings this was compiled from.
    pub fn settings(&self) -> &Settings {
        &self.table.settings
    }

    /// The route at an id.
    pub fn route(&self, id: RouteId) -> &Route {
        &self.table.routes[id.index()]
    }

    /// What the switches say about this route, if anything.
    pub fn rules(&self, id: RouteId) -> Option<&Rules> {
        self.board.rules(id)
    }

    /// The same structure under other switches.
    #[must_use]
    pub fn with_board(&self, board: Board) -> Snapshot {
        Snapshot {
            table: Arc::clone(&self.table),
            board: Arc::new(board),
        }
    }
}
