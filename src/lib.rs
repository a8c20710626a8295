//! Seawall: an HTTP API gateway with a kill switch on every route.
//!
//! # The life of a request
//!
//! `server` accepts the connection and reads a bounded head; `proxy::handle` walks: route,
//! correlation id, **kill switch**, body bound, attempt, response. What each step needs was
//! computed when the snapshot was compiled; nothing is looked up by name on the way. A request
//! that waited, or would be sent again, asks the switches that hold by then.
//!
//! # The floors
//!
//! Imports point down only, and siblings of one floor do not import each other; the test
//! `tests/house.rs` reads every `use crate::` and fails on one that points up.
//!
//! | floor | module | holds |
//! |---|---|---|
//! | 10 | [`cli`] | one file a command |
//! | 9 | [`server`], [`control`] | sockets and workers; reload, switches, admin |
//! | 8 | [`proxy`] | the walk |
//! | 7 | [`snapshot`] | the compiled configuration and its swap |
//! | 6 | [`config`] | files, validation, settings |
//! | 5 | [`upstream`], [`archive`] | endpoints, pool, client; journal of kept payloads |
//! | 4 | [`policy`] | decisions without I/O, clock or metrics |
//! | 3 | [`matching`] | paths, hosts, headers, addresses, queries |
//! | 2 | [`telemetry`] | metrics, logs, who sends requests |
//! | 1 | [`vocab`] | quantities, reasons, secrets, clock |
//!
//! # What never happens
//!
//! A worker never takes a lock that another worker can hold, never blocks on disk, and never
//! compiles or frees a snapshot. A broken file never restores a thrown switch. A response that
//! broke off is never made to look complete.

pub mod archive;
pub mod cli;
pub mod config;
pub mod control;
pub mod matching;
pub mod policy;
pub mod proxy;
pub mod server;
pub mod snapshot;
pub mod telemetry;
pub mod upstream;
pub mod vocab;
