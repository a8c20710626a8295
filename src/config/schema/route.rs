//! `[routes.NAME]` and `[defaults]`.

use super::super::keys;
use super::kill::{BODY, CONTENT_TYPE, MODE, STATUS};
use super::kind::Kind::{
    self, Boolean, Duration, Either, List, Map, OneOf, Pattern, PositiveDuration, PositiveSize,
    Size, Table, Text, Words,
};
use super::kind::{HEADER, NAME, Names, Presence, Shape, doc};
use super::policies;

const METHOD: Kind = Either(&[
    OneOf(&["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]),
    Pattern("^[!#$%&'*+.^_`|~0-9A-Z-]+$"),
]);
/// The value of a header, as what tells clients apart.
const HEADER_KEY: Kind = Pattern(r"^header:\s*[!#$%&'*+.^_`|~0-9A-Za-z-]+\s*$");
const HEADER_VALUE: Kind = Pattern(r"^(\S(.*\S)?)?$");

/// A condition on the value of a header or a query parameter.
pub(super) static CONDITION: Kind = Either(&[Text, Table(&MATCHER)]);

/// A route.
pub(super) static ROUTE: Shape = Shape {
    section: keys::ROUTE,
    docs: &[
        doc(
            "path",
            Pattern("^/"),
            "The path it takes: \"/v1/stats/{player}\" with {name} for one segment, {*rest} at the end for all that follows. Required unless host is given.",
        ),
        doc(
            "methods",
            List(&METHOD),
            "The methods it takes, such as [\"GET\", \"POST\"]; GET takes HEAD too. Default: all.",
        ),
        doc(
            "host",
            Pattern(r"^[^\s/]+$"),
            "The host it takes: \"stats.example.com\", or \"*.example.com\" for every name below. Default: any.",
        ),
        doc(
            "headers",
            Map(Names::Header, &CONDITION),
            "Conditions on request headers that must all hold: a string is the exact value, a table has one of prefix, suffix, regex and present. Default: none.",
        ),
        doc(
            "upstream",
            Pattern(NAME),
            "The upstream that its requests go to, by name. A route needs one of upstream, split and respond.",
        ),
        doc(
            "respond",
            Table(&RESPOND),
            "An answer that the gateway gives itself, in the place of an upstream.",
        ),
        doc(
            "tier",
            OneOf(&["core", "standard", "sheddable"]),
            "How much it matters: core is needed to play and never reached by the switch `all`, sheddable goes first.",
        )
        .or("\"standard\""),
        doc(
            "owner",
            Words,
            "Who owns it, and is called when it breaks. Shown wherever it can be killed. Default: none.",
        ),
        doc(
            "runbook",
            Words,
            "Where it is written what to do when it breaks, such as a URL. Default: none.",
        ),
        doc(
            "impact",
            Words,
            "What users lose while it is killed, in a few words. Default: none.",
        ),
        doc(
            "timeout",
            PositiveDuration,
            "From the request received whole to the response head, every attempt included.",
        )
        .or("\"3s\""),
        doc(
            "attempt_timeout",
            PositiveDuration,
            "The same for one attempt; at most timeout. Default: none.",
        ),
        doc(
            "stream_idle_timeout",
            PositiveDuration,
            "Longest silence inside a response body. Default: the upstream's read_timeout.",
        ),
        doc(
            "max_body",
            Either(&[OneOf(&["none"]), Size]),
            "Largest request body, such as \"64KiB\"; \"none\" streams without bound.",
        )
        .or("\"10MiB\""),
        doc(
            "path_rewrite",
            Pattern("^/"),
            "The path sent upstream, with the names of path, such as \"/stats/{player}\". Default: the path as matched.",
        ),
        doc(
            "host_rewrite",
            Either(&[OneOf(&["upstream"]), Pattern("^[A-Za-z0-9_.:\\[\\]-]+$")]),
            "The Host sent upstream: \"upstream\" is the endpoint's own name, anything else is sent as it stands. Default: the client's.",
        ),
        doc(
            "request_headers",
            Table(&EDITS),
            "Edits of request headers on their way upstream: removed first, then set, then added.",
        ),
        doc(
            "response_headers",
            Table(&EDITS),
            "Edits of response headers on their way to the client: removed first, then set, then added.",
        ),
        doc(
            "kill_switch",
            Table(&KILL_SWITCH),
            "What happens when its switch is thrown, decided before anyone has to. Throws nothing by itself.",
        ),
        doc(
            "on_failure",
            OneOf(&["closed", "open"]),
            "What the client sees when the upstream fails: closed is the error, open the answer of mode archive once the request is kept. Open needs kill_switch.mode = \"archive\".",
        )
        .or("\"closed\""),
        doc(
            "observe",
            Either(&[
                OneOf(&["client-ip"]),
                HEADER_KEY,
                List(&Either(&[OneOf(&["client-ip"]), HEADER_KEY])),
            ]),
            "Whose most frequent values over 10 s status and `seawall top` show: \"client-ip\", \"header:NAME\", or a list of up to four.",
        )
        .or("[]"),
        policies::SPLIT,
        policies::RATE_LIMIT,
        policies::CONCURRENCY,
        policies::RETRY,
        policies::RETRY_BUDGET,
        policies::BREAKER,
        policies::CLIENT_RETRY_BUDGET,
        policies::AUTO_KILL,
    ],
    presence: Presence::Any,
};

static MATCHER: Shape = Shape {
    section: keys::MATCHER,
    docs: &[
        doc("prefix", Text, "The value begins with this."),
        doc("suffix", Text, "The value ends with this."),
        doc(
            "regex",
            Text,
            "The whole value matches this regular expression.",
        ),
        doc(
            "present",
            Boolean,
            "true: it is there, whatever its value; false: it is not.",
        ),
    ],
    presence: Presence::One,
};

static RESPOND: Shape = Shape {
    section: keys::RESPOND,
    docs: &[
        doc("status", STATUS, "The status, from 200 to 599.").or("200"),
        doc("body", BODY, "The body.").or("\"\""),
        doc(
            "content_type",
            CONTENT_TYPE,
            "The media type of the body. Default: \"text/plain; charset=utf-8\" for a body that is not empty.",
        ),
    ],
    presence: Presence::Any,
};

static EDITS: Shape = Shape {
    section: keys::EDITS,
    docs: &[
        doc(
            "remove",
            List(&Pattern(HEADER)),
            "Names of headers to remove, every line of them.",
        )
        .or("[]"),
        doc(
            "set",
            Map(Names::Header, &HEADER_VALUE),
            "Headers to set to one line, in the place of what was there.",
        )
        .or("{}"),
        doc(
            "add",
            Map(Names::Header, &HEADER_VALUE),
            "Headers to add one line of, beside what is there.",
        )
        .or("{}"),
    ],
    presence: Presence::Any,
};

static KILL_SWITCH: Shape = Shape {
    section: keys::KILL_SWITCH,
    docs: &[
        doc(
            "mode",
            MODE,
            "The mode for entries of [kill] that name none: drop answers 200 and throws the payload away, archive answers 200 once the payload is kept, reject answers 503 with Retry-After. Default: none.",
        ),
        doc(
            "status",
            STATUS,
            "The status of modes drop and archive, from 200 to 599. Default: 200.",
        ),
        doc("body", BODY, "The body of modes drop and archive. Default: empty."),
        doc(
            "content_type",
            CONTENT_TYPE,
            "The media type of that body, such as \"application/json\". Default: none.",
        ),
        doc(
            "restore",
            Duration,
            "How long traffic takes to come back, growing evenly, when a switch ends; \"0s\" is at once.",
        )
        .or("\"30s\""),
        doc(
            "sticky",
            Either(&[
                OneOf(&["client-ip", "request"]),
                HEADER_KEY,
            ]),
            "What decides who is in the share of an entry with percent: \"client-ip\", \"header:NAME\", or \"request\" for each request anew.",
        )
        .or("\"client-ip\""),
        doc(
            "when_full",
            OneOf(&["reject", "drop"]),
            "What mode archive answers when no journal takes the payload: reject is 503, and the client keeps it; drop is the usual answer, and it is lost. Default: \"reject\"; \"drop\" for tier sheddable.",
        ),
        doc(
            "archive_quota",
            Either(&[
                Pattern(r"^[0-9]+(\.[0-9]+)?%$"),
                PositiveSize,
            ]),
            "What records of the route may take in the journal: a share of archive.max_bytes, or a size.",
        )
        .or("\"25%\""),
        doc(
            "close_tunnels",
            Boolean,
            "Whether throwing the switch closes the tunnels that are open.",
        )
        .or("false"),
    ],
    presence: Presence::Any,
};
