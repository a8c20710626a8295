//! What a key may hold, and how a table of keys is documented.

use super::super::keys::Section;

/// What a value may be. The decoders decide; this tells editors, and may be more lenient than
/// they are, never stricter.
#[derive(Debug)]
pub(super) enum Kind {
    /// Any string.
    Text,
    /// A string that is not empty.
    Words,
    /// A string that matches.
    Pattern(&'static str),
    /// One of a few words.
    OneOf(&'static [&'static str]),
    /// A duration, 0 included.
    Duration,
    /// A duration above 0.
    PositiveDuration,
    /// A size, 0 included.
    Size,
    /// A size above 0.
    PositiveSize,
    /// A size for each second.
    ByteRate,
    /// A whole number within bounds.
    Count(u32, u32),
    /// A number within bounds, whole or not.
    Number(u32, u32),
    /// `true` or `false`.
    Boolean,
    /// A time with its offset, without quotes.
    Time,
    /// A list.
    List(&'static Kind),
    /// One of several kinds.
    Either(&'static [Kind]),
    /// A table with known keys.
    Table(&'static Shape),
    /// A table whose keys are names of that kind, which users choose.
    Map(Names, &'static Kind),
    /// A table of switches.
    Switches(Plans),
}

/// Whether a table of switches may name plans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plans {
    /// It may.
    Allowed,
    /// A plan has none of its own.
    Refused,
}

/// Names that users choose.
#[derive(Clone, Copy, Debug)]
pub(super) enum Names {
    /// Of routes, upstreams and plans.
    Own,
    /// Of headers.
    Header,
    /// Anything.
    Free,
}

/// A name of a route, an upstream or a plan.
pub(super) const NAME: &str = "^[A-Za-z0-9_.-]+$";
/// A name of a header.
pub(super) const HEADER: &str = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$";

/// The keys of one kind of table, with what they hold.
#[derive(Debug)]
pub(super) struct Shape {
    /// Names and status.
    pub(super) section: Section,
    /// One for each key that may be used; those of later keys wait here for their release.
    pub(super) docs: &'static [Doc],
    /// How many of the keys may be there.
    pub(super) presence: Presence,
}

/// How many keys of a table may be there.
#[derive(Clone, Copy, Debug)]
pub(super) enum Presence {
    /// Any number. Nothing is required: a table may be spread over files, or inherit.
    Any,
    /// Exactly one.
    One,
}

/// What one key holds and means.
#[derive(Debug)]
pub(super) struct Doc {
    /// As written.
    pub(super) name: &'static str,
    /// What it may hold.
    pub(super) kind: Kind,
    /// What it means, in sentences, for who operates the gateway.
    pub(super) text: &'static str,
    /// What holds when the key is left out, as TOML.
    pub(super) default: Option<&'static str>,
}

/// A key without a default that could be written out.
pub(super) const fn doc(name: &'static str, kind: Kind, text: &'static str) -> Doc {
    Doc {
        name,
        kind,
        text,
        default: None,
    }
}

impl Doc {
    /// The same with its default, as TOML.
    pub(super) const fn or(self, default: &'static str) -> Doc {
        Doc {
            default: Some(default),
            ..self
        }
    }
}
