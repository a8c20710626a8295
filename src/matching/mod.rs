//! Floor 3: which route a request belongs to.

mod host;
mod path;
mod pattern;
mod predicate;
mod rewrite;
mod table;

pub use host::HostPattern;
pub use path::{Normalised, PathError, normalise};
pub use pattern::{PathPattern, PatternError};
pub use predicate::{HeaderMatch, ValueTest};
pub use rewrite::PathTemplate;
pub use table::{Match, MatchSpec, Matcher};
