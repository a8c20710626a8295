//! The policies of a route and of an upstream: limits, attempts, breakers and balancing.

use super::super::keys;
use super::kill::MODE;
use super::kind::Kind::{
    Boolean, Count, Duration, Either, List, Number, OneOf, Pattern, PositiveDuration, Table,
};
use super::kind::{Doc, Kind, NAME, Presence, Shape, doc};

const OFF: Kind = OneOf(&["off"]);
const RATE: Kind = Pattern(r"^0*[1-9][0-9]{0,7}/[smh]$");
const AT_ONCE: u32 = 1_000_000;
const IN_A_ROW: u32 = 1000;
const ANY: Presence = Presence::Any;

pub(super) const SPLIT: Doc = doc(
    "split",
    List(&PARTS),
    "Several upstreams in the place of one, each with its weight: [{ upstream = \"stats\", weight = 95 }, { upstream = \"stats-next\", weight = 5 }]. A client stays with its upstream; kill_switch.sticky says what a client is.",
);

static PARTS: Kind = Table(&PART);

static PART: Shape = Shape {
    section: keys::SPLIT,
    docs: &[
        doc(
            "upstream",
            Pattern(NAME),
            "Required: the upstream, by name.",
        ),
        doc(
            "weight",
            Count(0, 1_000_000),
            "Required: its part of the requests, as a share of the sum of weights; 0 is none.",
        ),
    ],
    presence: ANY,
};

pub(super) const RATE_LIMIT: Doc = doc(
    "rate_limit",
    Either(&RATE_LIMIT_FORMS),
    "How often the route may be called, over all workers. What is beyond it is answered 429 with Retry-After.",
)
.or("\"off\"");

static RATE_LIMIT_FORMS: [Kind; 2] = [OFF, Table(&RATE_LIMIT_KEYS)];

static RATE_LIMIT_KEYS: Shape = Shape {
    section: keys::RATE_LIMIT,
    docs: &[
        doc(
            "rate",
            RATE,
            "Required: requests for each second, minute or hour, such as \"500/s\" or \"30/m\".",
        ),
        doc(
            "burst",
            Count(1, 10_000_000),
            "Requests that may come at once. Default: those of one second, at least 1.",
        ),
        doc(
            "key",
            Either(&[
                OneOf(&["route", "client-ip"]),
                Pattern(r"^header:[!#$%&'*+.^_`|~0-9A-Za-z-]+$"),
            ]),
            "What is counted apart: \"client-ip\" is each address (each /64 of IPv6), \"header:NAME\" each value of a header, \"route\" nothing: all requests share the limit.",
        )
        .or("\"client-ip\""),
        doc(
            "dry_run",
            Boolean,
            "Only count in seawall_rate_limited_total what would be refused.",
        )
        .or("false"),
        doc(
            "max_keys",
            Count(1, 16_777_216),
            "Clients that can be counted at once; 16 bytes each. Beyond it they share. No meaning for key \"route\".",
        )
        .or("65536"),
    ],
    presence: ANY,
};

pub(super) const CONCURRENCY: Doc = doc(
    "concurrency",
    Either(&CONCURRENCY_FORMS),
    "How many of the route's requests may be in progress at once, until their responses have been sent. What is beyond it waits or is answered 503 with Retry-After.",
)
.or("\"off\"");

static CONCURRENCY_FORMS: [Kind; 2] = [OFF, Table(&CONCURRENCY_KEYS)];

static CONCURRENCY_KEYS: Shape = Shape {
    section: keys::CONCURRENCY,
    docs: &[
        doc("max", Count(1, AT_ONCE), "Required: requests at once."),
        doc(
            "queue",
            Count(0, AT_ONCE),
            "Requests that wait for their turn, first come, first served; 0 is no queue.",
        )
        .or("0"),
        doc(
            "queue_timeout",
            PositiveDuration,
            "Longest wait in the queue.",
        )
        .or("\"100ms\""),
    ],
    presence: ANY,
};

pub(super) const RETRY: Doc = doc(
    "retry",
    Either(&RETRY_FORMS),
    "When a failed attempt is made once more, within retry_budget. \"off\" is one attempt. Default: two attempts, the second after a failed connection or a reset.",
);

static RETRY_FORMS: [Kind; 2] = [OFF, Table(&RETRY_KEYS)];

static RETRY_KEYS: Shape = Shape {
    section: keys::RETRY,
    docs: &[
        doc("attempts", Count(1, 10), "Attempts of a request, the first included; 1 is no retry.").or("2"),
        doc(
            "on",
            List(&Either(&[
                OneOf(&["connect", "reset", "timeout", "502", "503", "504"]),
                Count(502, 504),
            ])),
            "The failures that are retried: connect, reset and timeout of an attempt, or the upstream's answer 502, 503, 504. An upstream that answers 503 is seldom helped by more requests.",
        )
        .or("[\"connect\", \"reset\"]"),
        doc(
            "backoff",
            Duration,
            "Bound of the first wait, which is random below it and doubles with each retry.",
        )
        .or("\"25ms\""),
        doc(
            "max_backoff",
            Duration,
            "What that bound never exceeds. Default: \"250ms\", or backoff if that is longer.",
        ),
        doc(
            "non_idempotent",
            Boolean,
            "Whether POST and PATCH are retried too after something was sent: the upstream may act on them twice.",
        )
        .or("false"),
    ],
    presence: ANY,
};

pub(super) const RETRY_BUDGET: Doc = doc(
    "retry_budget",
    Table(&RETRY_BUDGET_KEYS),
    "How many retries the route may add, for each of its upstreams.",
);

static RETRY_BUDGET_KEYS: Shape = Shape {
    section: keys::RETRY_BUDGET,
    docs: &[
        doc(
            "percent",
            Number(0, 100),
            "Retries as a share of the requests of the window.",
        )
        .or("20"),
        doc(
            "min_per_second",
            Count(0, 1_000_000),
            "Retries allowed besides, for each second of the window.",
        )
        .or("1"),
        doc(
            "window",
            PositiveDuration,
            "How long a request counts, from \"1s\" to \"60s\".",
        )
        .or("\"10s\""),
    ],
    presence: ANY,
};

pub(super) const BREAKER: Doc = doc(
    "breaker",
    Either(&BREAKER_FORMS),
    "When the route leaves its upstream alone: requests are then answered 503 with Retry-After at once. {} is a breaker with the defaults below.",
)
.or("\"off\"");

static BREAKER_FORMS: [Kind; 2] = [OFF, Table(&BREAKER_KEYS)];

static BREAKER_KEYS: Shape = Shape {
    section: keys::BREAKER,
    docs: &[
        doc(
            "on",
            List(&Either(&[
                OneOf(&[
                    "connect", "reset", "timeout", "500", "501", "502", "503", "504",
                ]),
                Count(500, 504),
            ])),
            "What counts as a failure: connect, reset and timeout of an attempt, or the upstream's answer 500 to 504. A list takes the place of the default, which leaves out 500: one client's bad request may cause it.",
        )
        .or("[\"connect\", \"reset\", \"timeout\", \"502\", \"503\", \"504\"]"),
        doc(
            "consecutive_failures",
            Either(&[OFF, Count(1, 1_000_000)]),
            "It trips after so many failures in a row. \"off\": that alone trips nothing.",
        )
        .or("10"),
        doc(
            "failure_percent",
            Either(&[OFF, Number(0, 100)]),
            "It trips at this share of failures in the window. \"off\": that alone trips nothing.",
        )
        .or("50"),
        doc(
            "min_requests",
            Count(1, 1_000_000),
            "Requests that the window must hold before that share counts.",
        )
        .or("20"),
        doc("window", PositiveDuration, "How long a request counts, from \"1s\" to \"60s\".").or("\"10s\""),
        doc(
            "open_for",
            PositiveDuration,
            "How long it refuses before it lets one request probe the upstream; doubles with each probe that fails, up to 5 minutes. At most \"24h\".",
        )
        .or("\"30s\""),
        doc(
            "ramp",
            Duration,
            "Over how long traffic comes back after a probe that succeeded; \"0s\" is at once. At most \"24h\".",
        )
        .or("\"10s\""),
    ],
    presence: ANY,
};

pub(super) const CLIENT_RETRY_BUDGET: Doc = doc(
    "client_retry_budget",
    Either(&CLIENT_RETRY_BUDGET_FORMS),
    "How many repeated requests of clients go upstream. What is beyond it is answered as the kill switch would, which needs kill_switch.mode.",
)
.or("\"off\"");

static CLIENT_RETRY_BUDGET_FORMS: [Kind; 2] = [OFF, Table(&CLIENT_RETRY_BUDGET_KEYS)];

static CLIENT_RETRY_BUDGET_KEYS: Shape = Shape {
    section: keys::CLIENT_RETRY_BUDGET,
    docs: &[doc(
        "percent",
        Number(0, 100),
        "Required: repeated requests as a share of the others, over 10 s; one a second is allowed besides.",
    )],
    presence: ANY,
};

pub(super) const AUTO_KILL: Doc = doc(
    "auto_kill",
    Either(&AUTO_KILL_FORMS),
    "When the route is killed without a person's hand. Never on tier core, which leaves out what [defaults] has.",
)
.or("\"off\"");

static AUTO_KILL_FORMS: [Kind; 2] = [OFF, Table(&AUTO_KILL_KEYS)];

static AUTO_KILL_KEYS: Shape = Shape {
    section: keys::AUTO_KILL,
    docs: &[
        doc(
            "above",
            RATE,
            "Required: more requests than this are too many, such as \"2000/s\".",
        ),
        doc("for", PositiveDuration, "How long there must be too many.").or("\"5s\""),
        doc(
            "mode",
            MODE,
            "What is done with the route's requests then. Default: kill_switch.mode; one of the two is required.",
        ),
        doc(
            "hold",
            PositiveDuration,
            "How long the route is killed before traffic comes back.",
        )
        .or("\"10m\""),
    ],
    presence: ANY,
};

pub(super) const BALANCE: Doc = doc(
    "balance",
    Either(&[
        OneOf(&["least-request", "round-robin", "hash:client-ip"]),
        Pattern(r"^hash:header:[!#$%&'*+.^_`|~0-9A-Za-z-]+$"),
    ]),
    "Which endpoint takes a request: the less loaded of two that are drawn, one after the other, or the same one for the same client (\"hash:client-ip\") or value of a header (\"hash:header:NAME\").",
)
.or("\"least-request\"");

pub(super) const SLOW_START: Doc = doc(
    "slow_start",
    Duration,
    "Over how long an endpoint that came back takes its whole part again; \"0s\" is at once. Not for balance \"hash:...\".",
)
.or("\"10s\"");

pub(super) const HEALTH: Doc = doc(
    "health",
    Either(&HEALTH_FORMS),
    "Checks of each endpoint: one that fails several in a row gets no requests until it has passed several.",
)
.or("\"off\"");

static HEALTH_FORMS: [Kind; 2] = [OFF, Table(&HEALTH_KEYS)];

static HEALTH_KEYS: Shape = Shape {
    section: keys::HEALTH,
    docs: &[
        doc(
            "path",
            Pattern("^/"),
            "Required: the path that is asked for, such as \"/healthz\"; 200 to 299 passes.",
        ),
        doc(
            "interval",
            PositiveDuration,
            "From one check to the next, from \"50ms\" to \"1h\".",
        )
        .or("\"2s\""),
        doc(
            "healthy",
            Count(1, IN_A_ROW),
            "Checks passed in a row that bring an endpoint back.",
        )
        .or("2"),
        doc(
            "unhealthy",
            Count(1, IN_A_ROW),
            "Checks failed in a row that take it out.",
        )
        .or("3"),
        doc(
            "panic_percent",
            Number(0, 100),
            "With fewer of the endpoints up than this share, all are used as if they were up; 0 is never.",
        )
        .or("50"),
    ],
    presence: ANY,
};

pub(super) const OUTLIER: Doc = doc(
    "outlier",
    Either(&OUTLIER_FORMS),
    "An endpoint whose requests fail several times in a row gets none for a while. {} is with the defaults below.",
)
.or("\"off\"");

static OUTLIER_FORMS: [Kind; 2] = [OFF, Table(&OUTLIER_KEYS)];

static OUTLIER_KEYS: Shape = Shape {
    section: keys::OUTLIER,
    docs: &[
        doc(
            "consecutive_failures",
            Count(1, IN_A_ROW),
            "Failures in a row: no connection, reset, timeout, 502 to 504.",
        )
        .or("5"),
        doc(
            "ejection",
            PositiveDuration,
            "For how long, multiplied by the ejections in a row, up to ten; from \"100ms\" to \"24h\".",
        )
        .or("\"30s\""),
        doc(
            "max_ejected_percent",
            Number(0, 100),
            "Most of the endpoints that are out at once.",
        )
        .or("50"),
    ],
    presence: ANY,
};

pub(super) const UPSTREAM_CONCURRENCY: Doc = doc(
    "concurrency",
    Either(&[OneOf(&["off", "adaptive"]), Count(1, AT_ONCE)]),
    "Requests in flight at once: a number, or \"adaptive\" for as many as the latency allows. Near it routes of tier sheddable are refused first, core last.",
)
.or("\"off\"");
