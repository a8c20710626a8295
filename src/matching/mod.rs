//! Floor 3: which route a request belongs to.
//!
//! # The rule
//!
//! A path is first normalised ([`normalise`]); patterns are compared with that reading, segment
//! by segment. `{name}` takes exactly one segment that is not empty; `{*rest}`, last in a
//! pattern, takes zero or more segments after its slash: `/files/{*rest}` takes `/files/` and
//! `/files/a/b`, but not `/files`. A pattern that ends in `/` takes everything below it, as if
//! it ended in `/{*rest}`.
//!
//! Of the routes that take a request, the most specific one gets it. In this order:
//!
//! 1. the host: an exact name, then `*.example.com` (the longest first), then none;
//! 2. the path, segment by segment from the left: a literal, then `{name}`, then the rest;
//! 3. more header matchers before fewer;
//! 4. a list of methods before all methods;
//! 5. the name of the route.
//!
//! A route whose headers or method do not match falls through to the next one. A route that
//! takes GET takes HEAD too.

mod host;
mod lookup;
mod method;
mod path;
mod pattern;
mod predicate;
mod rewrite;
mod table;
mod trie;
mod when;

#[cfg(test)]
mod reference;

pub use host::HostPattern;
pub use lookup::Lookup;
pub use path::{Normalised, PathError, normalise};
pub use pattern::{PathPattern, PatternError};
pub use predicate::{HeaderMatch, ValueTest};
pub use rewrite::PathTemplate;
pub use table::{Match, MatchSpec, Matcher};
pub use when::{Asker, QueryMatch, When};
