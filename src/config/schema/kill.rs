//! `[kill]`: its entries, and what answers are made of.

use super::super::keys;
use super::kind::Kind::{
    self, Boolean, Count, Either, List, Map, Number, OneOf, Pattern, PositiveDuration, Table, Text,
    Time, Words,
};
use super::kind::{Names, Presence, Shape, doc};
use super::route::CONDITION;
use super::structure::RANGE;

/// A mode.
pub(super) const MODE: Kind = OneOf(&["drop", "archive", "reject"]);
/// The status of an answer.
pub(super) const STATUS: Kind = Count(200, 599);
/// The body of an answer.
pub(super) const BODY: Kind = Text;
/// A media type.
pub(super) const CONTENT_TYPE: Kind = Pattern("/");

/// An entry that is one word.
pub(super) static WORD: Kind = OneOf(&["drop", "archive", "reject", "off"]);
/// What the word of a plan may be.
pub(super) static PLAN_WORD: Kind = OneOf(&["on", "off"]);
/// An entry that says more.
pub(super) static TABLE: Kind = Table(&ENTRY);
/// Several entries for one key.
pub(super) static SEVERAL: Kind = List(&Either(&[
    OneOf(&["drop", "archive", "reject", "off"]),
    Table(&ENTRY),
]));
/// What is said of a plan in more than a word.
pub(super) static PLAN_TABLE: Kind = Table(&PLAN_USE);

/// What an entry is.
pub(super) const ENTRY_TEXT: &str = "A switch: a route by name, \"tier:NAME\", or `all` (every route but those of tier core). \"drop\" answers 200 and throws the payload away, \"archive\" answers 200 once it is kept, \"reject\" answers 503 with Retry-After, \"off\" exempts; a table says more.";
/// What `plan:NAME` is.
pub(super) const PLAN_TEXT: &str =
    "A plan of [plans]: \"on\" throws its switches, \"off\" does not; a table says more.";

const UNTIL: &str = "When it ends by itself: a time with its offset and without quotes, such as 2026-11-06T09:00:00Z. Default: never.";

const REASON: &str = "Why, for whoever reads log and status at night. Default: none.";

const DRY_RUN: &str = "true counts what would have been killed, and kills nothing.";

const OWNER: &str = "Who threw it. Default: none.";

static ENTRY: Shape = Shape {
    section: keys::KILL_ENTRY,
    docs: &[
        doc(
            "mode",
            OneOf(&["drop", "archive", "reject", "off"]),
            "drop answers 200 and throws the payload away, archive answers 200 once it is kept, reject answers 503 with Retry-After, off exempts. Default: the mode of the route's kill_switch; one of the two must name it.",
        ),
        doc(
            "percent",
            Number(0, 100),
            "The share of clients that is killed, in percent; the others pass. Raising it only adds clients.",
        )
        .or("100"),
        doc(
            "when",
            Table(&WHEN),
            "Conditions that must all hold, or the entry is passed over. Default: none.",
        ),
        doc(
            "status",
            STATUS,
            "The status of the answer, from 200 to 599; here it holds for reject as well. Default: that of the route's kill_switch, else 200.",
        ),
        doc(
            "body",
            BODY,
            "The body of the answer. Default: that of the route's kill_switch, else empty.",
        ),
        doc(
            "content_type",
            CONTENT_TYPE,
            "The media type of that body. Default: that of the route's kill_switch.",
        ),
        doc(
            "retry_after",
            PositiveDuration,
            "Mode reject: when clients are told to come back, before up to 100 % of jitter. Default: \"10s\".",
        ),
        doc("reason", Words, REASON),
        doc("owner", Words, OWNER),
        doc("until", Time, UNTIL),
        doc("dry_run", Boolean, DRY_RUN)
        .or("false"),
    ],
    presence: Presence::Any,
};

static WHEN: Shape = Shape {
    section: keys::WHEN,
    docs: &[
        doc(
            "headers",
            Map(Names::Header, &CONDITION),
            "Conditions on request headers: a string is the exact value, a table has one of prefix, suffix, regex and present.",
        ),
        doc(
            "client_ip",
            Either(&[RANGE, List(&RANGE)]),
            "The client's address is in this range, such as \"10.0.0.0/8\", or in one of a list.",
        ),
        doc(
            "query",
            Map(Names::Free, &CONDITION),
            "Conditions on query parameters, written as those on headers.",
        ),
    ],
    presence: Presence::Any,
};

static PLAN_USE: Shape = Shape {
    section: keys::PLAN_USE,
    docs: &[
        doc(
            "mode",
            OneOf(&["on", "off"]),
            "on throws the switches of the plan, off does not.",
        )
        .or("\"on\""),
        doc("until", Time, UNTIL),
        doc("reason", Words, REASON),
        doc("owner", Words, OWNER),
        doc("dry_run", Boolean, DRY_RUN).or("false"),
    ],
    presence: Presence::Any,
};
