//! Floor 6: from files to validated settings. Every error at once, each with its place.
//!
//! Files become trees in which every key and value knows its place; trees are merged by key;
//! a cursor decodes them key by key. `switches.toml` is read apart, and survives being broken.

mod answer;
mod archive;
mod attempts;
mod breakers;
mod cursor;
mod damage;
mod diff;
mod edit;
mod editor;
mod entries;
mod entry_text;
mod environment;
mod error;
mod file;
mod headers;
mod keys;
mod limits;
mod merge;
mod moment;
mod observe;
mod plans;
mod proposals;
mod report;
mod routes;
mod salvage;
mod schema;
mod server;
mod settings;
mod statements;
mod switches;
mod target;
mod tokens;
mod tree;
mod upstream_policies;
mod upstreams;
mod validate;
mod value;
mod warnings;
mod when;

pub use breakers::BreakersRead;
pub use edit::{Change, Difference, EditError, Edited, edit};
pub use entry_text::{EntryText, JsonRefusal};
pub use error::{Problem, Severity};
pub use file::{
    Environment, SourceFile, ignored_files, process_environment, read_structure, read_switches,
    unreadable_hint,
};
pub(crate) use report::did_you_mean;
pub use schema::json_schema;
pub use settings::{
    AccessLog, AdminSettings, ArchiveSettings, AutoKill, HeaderEdits, HostRewrite, OnFailure,
    RespondSpec, RouteSettings, ServerSettings, Settings, SplitPart, Target, TelemetrySettings,
};
pub use switches::{SwitchesRead, UnknownKey, read_switch_entries};
pub use validate::{Loaded, load};
pub(crate) use validate::{examine, warn_of_journal};
