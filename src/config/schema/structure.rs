//! The top level, `[server]`, `[admin]`, `[telemetry]`, `[upstreams]` and `[plans]`.

use super::super::keys;
use super::kind::Kind::{
    self, ByteRate, Count, Duration, Either, List, Map, OneOf, Pattern, PositiveDuration,
    PositiveSize, Switches, Table, Words,
};
use super::kind::{HEADER, Names, Plans, Presence, Shape, doc};
use super::policies;
use super::route::ROUTE;

const ADDRESS: Kind = Pattern(r"^([0-9.]+|\[[0-9A-Fa-f:.%]+\]):[0-9]{1,5}$");
/// A directory, or a bucket or container with a prefix; or none.
const STORE: Kind = Pattern("^(off|file:.+|(s3|az|gs)://[^/@:]+(/.*)?)$");
/// An address, with a port or without one.
const NAME_SERVER: Kind = Pattern(r"^([0-9A-Fa-f:.]+|\[[0-9A-Fa-f:.%]+\]:[0-9]{1,5})$");
/// A range of addresses, or one address.
pub(super) const RANGE: Kind = Pattern("^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$");

/// The top level of the structure files.
pub(super) static ROOT: Shape = Shape {
    section: keys::ROOT,
    docs: &[
        doc(
            "server",
            Table(&SERVER),
            "Where clients connect, and the limits of their connections.",
        ),
        doc(
            "admin",
            Table(&ADMIN),
            "Where status, routes and metrics are served.",
        ),
        doc("telemetry", Table(&TELEMETRY), "Logs and the access log."),
        doc(
            "archive",
            Table(&ARCHIVE),
            "Where mode archive keeps the payloads of killed requests.",
        ),
        doc(
            "upstreams",
            Map(Names::Own, &Table(&UPSTREAM)),
            "The services behind the gateway, by name.",
        ),
        doc(
            "defaults",
            Table(&ROUTE),
            "What every route starts from: any key of a route. Tables of the two are merged key by key.",
        ),
        doc(
            "routes",
            Map(Names::Own, &Table(&ROUTE)),
            "The routes, by name: which requests they take, where those go, and under which policies.",
        ),
        doc(
            "plans",
            Map(Names::Own, &Table(&PLAN)),
            "Sets of switches decided before launch, by name. Thrown in one line of switches.toml: \"plan:NAME\" = \"on\".",
        ),
    ],
    presence: Presence::Any,
};

/// The top level of `switches.toml`.
pub(super) static SWITCHES: Shape = Shape {
    section: keys::SWITCHES,
    docs: &[
        doc(
            "kill",
            Switches(Plans::Allowed),
            "What is switched off now; only in switches.toml. One key a switch: a route, \"tier:NAME\", or `all`. An empty table restores everything, an empty file nothing.",
        ),
        doc(
            "breaker",
            Map(Names::Own, &OneOf(&["tripped", "passing"])),
            "Breakers held by hand, by route; only in switches.toml. \"tripped\" refuses every request with 503 breaker_open, \"passing\" lets every request through whatever its breaker says. Without a line the breaker decides by itself.",
        ),
    ],
    presence: Presence::Any,
};

static PLAN: Shape = Shape {
    section: keys::PLAN,
    docs: &[doc(
        "kill",
        Switches(Plans::Refused),
        "The switches that the plan throws: the keys and values of [kill], without plans.",
    )],
    presence: Presence::Any,
};

static ARCHIVE: Shape = Shape {
    section: keys::ARCHIVE,
    docs: &[
        doc(
            "journal",
            Either(&[Words, List(&Words)]),
            "Directories of the journal, tried in order; one process each. Changes at a restart only.",
        )
        .or("[\"data/journal\"]"),
        doc(
            "copies",
            Count(1, 16),
            "Directories that must hold a record before its request is answered. Changes at a restart only.",
        )
        .or("1"),
        doc(
            "durability",
            OneOf(&["fsync", "written"]),
            "When a record counts as kept: fsync, once it is on the disk; written, once the kernel has it.",
        )
        .or("\"fsync\""),
        doc(
            "max_bytes",
            PositiveSize,
            "What all files of the journal may take together, each copy counted.",
        )
        .or("\"10GiB\""),
        doc(
            "max_buffer",
            PositiveSize,
            "What payloads on their way to the journal may take in memory; beyond it kill_switch.when_full answers.",
        )
        .or("\"64MiB\""),
        doc(
            "seal_after",
            PositiveDuration,
            "The age at which a segment is closed and gets no more records.",
        )
        .or("\"60s\""),
        doc(
            "redact_headers",
            List(&Pattern(HEADER)),
            "Headers whose values are left out of records.",
        )
        .or("[\"authorization\", \"cookie\", \"proxy-authorization\", \"x-api-key\"]"),
        doc(
            "redact_query",
            List(&Words),
            "Query parameters whose values are left out of records.",
        )
        .or("[\"token\"]"),
        doc(
            "store",
            STORE,
            "Where segments of the journal go once they are sealed: file:DIRECTORY, s3://BUCKET/PREFIX, az://CONTAINER/PREFIX or gs://BUCKET/PREFIX, with credentials from the environment; off keeps records in the journal.",
        )
        .or("\"file:data/archive\""),
        doc(
            "retain",
            Either(&[PositiveDuration, OneOf(&["forever"])]),
            "How long objects stay in the store.",
        )
        .or("\"30d\""),
    ],
    presence: Presence::Any,
};

static SERVER: Shape = Shape {
    section: keys::SERVER,
    docs: &[
        doc(
            "listen",
            Either(&[ADDRESS, List(&ADDRESS)]),
            "Where clients connect: an IP address and a port, or a list of them. Port 0 takes a free one, named in the log. Changes at a restart only.",
        )
        .or("\"0.0.0.0:8080\""),
        doc(
            "instance",
            Pattern("^[A-Za-z0-9_.-]{1,255}$"),
            "This gateway's name in records, logs and object names.",
        )
        .or("\"${HOSTNAME:-seawall}\""),
        doc(
            "workers",
            Count(0, 1024),
            "Worker threads; 0 is one for each CPU. Changes at a restart only.",
        )
        .or("0"),
        doc(
            "trusted_proxies",
            List(&RANGE),
            "Address ranges of load balancers whose forwarding headers are believed. The client is the rightmost address of X-Forwarded-For that is in none of them.",
        )
        .or("[]"),
        doc(
            "resolvers",
            List(&NAME_SERVER),
            "Name servers that the names of endpoints are looked up at: IP addresses, with a port if it is not 53. /etc/hosts is read first, and the search list of /etc/resolv.conf holds. None: those of /etc/resolv.conf.",
        )
        .or("[]"),
        doc(
            "header_timeout",
            PositiveDuration,
            "The whole request head must arrive within it.",
        )
        .or("\"10s\""),
        doc(
            "body_timeout",
            PositiveDuration,
            "Longest silence of a client inside a request body.",
        )
        .or("\"10s\""),
        doc(
            "min_body_rate",
            ByteRate,
            "Average rate that a request body must keep, from the second body_timeout on.",
        )
        .or("\"256B/s\""),
        doc(
            "write_timeout",
            PositiveDuration,
            "Longest time a client may refuse to read.",
        )
        .or("\"30s\""),
        doc(
            "idle_timeout",
            PositiveDuration,
            "How long a connection is kept between two requests.",
        )
        .or("\"75s\""),
        doc("max_header_bytes", PositiveSize, "Largest request head.").or("\"32KiB\""),
        doc(
            "max_headers",
            Count(1, 10_000),
            "Most header fields of a request.",
        )
        .or("100"),
        doc(
            "max_connections",
            Count(1, 10_000_000),
            "Most client connections at once. One more is accepted, answered 503 and closed.",
        )
        .or("20000"),
        doc(
            "drain_delay",
            Duration,
            "After SIGTERM: how long /readyz says 503 while new connections are still accepted.",
        )
        .or("\"5s\""),
        doc(
            "shutdown_grace",
            Duration,
            "After drain_delay: how long requests in flight may take to finish.",
        )
        .or("\"20s\""),
    ],
    presence: Presence::Any,
};

static ADMIN: Shape = Shape {
    section: keys::ADMIN,
    docs: &[
        doc(
            "listen",
            ADDRESS,
            "Where the admin listener is: an IP address and a port. Keep it on loopback. Changes at a restart only.",
        )
        .or("\"127.0.0.1:9901\""),
        doc(
            "probe_listen",
            ADDRESS,
            "A second address with /livez, /readyz and /metrics alone, for kubelet and Prometheus. Default: none.",
        ),
        doc(
            "tokens",
            Map(Names::Own, &Pattern("^[!-~]{16,}$")),
            "Who may change switches over HTTP: for each name a token of at least 16 characters, best from the environment, such as \"${SEAWALL_TOKEN_AMY}\". Without one the admin listener only reads.",
        ),
    ],
    presence: Presence::Any,
};

static TELEMETRY: Shape = Shape {
    section: keys::TELEMETRY,
    docs: &[
        doc(
            "log",
            Either(&[
                OneOf(&["off", "error", "warn", "info", "debug", "trace"]),
                // A filter; a lone lower-case word that is no level is a slip.
                Pattern("[^a-z0-9_]"),
            ]),
            "What is logged: a level, or a tracing filter such as \"info,seawall=debug\". Changes at a restart only.",
        )
        .or("\"info\""),
        doc(
            "access_log",
            Either(&[OneOf(&["off", "stdout"]), Words]),
            "One JSON line a request: \"off\", \"stdout\", or the path of a file to append to. Changes at a restart only.",
        )
        .or("\"off\""),
        doc(
            "log_headers",
            List(&Pattern(HEADER)),
            "Names of request headers that log lines carry as fields.",
        )
        .or("[]"),
    ],
    presence: Presence::Any,
};

static UPSTREAM: Shape = Shape {
    section: keys::UPSTREAM,
    docs: &[
        doc(
            "endpoints",
            List(&Pattern(r"^http(://[^/?#@\s]+|\+srv://[^/?#@:\s]+)$")),
            "Required: where the service is, a list such as [\"http://stats.internal:9001\"]. Names are resolved again and again. \"http+srv://NAME\" asks for the SRV records of a name.",
        ),
        policies::BALANCE,
        policies::SLOW_START,
        policies::HEALTH,
        policies::OUTLIER,
        policies::UPSTREAM_CONCURRENCY,
        doc(
            "connect_timeout",
            PositiveDuration,
            "Longest time to make a connection.",
        )
        .or("\"1s\""),
        doc(
            "read_timeout",
            PositiveDuration,
            "Longest silence inside a response body.",
        )
        .or("\"30s\""),
        doc(
            "keepalive",
            Table(&KEEPALIVE),
            "Idle connections that are kept for the next request.",
        ),
    ],
    presence: Presence::Any,
};

static KEEPALIVE: Shape = Shape {
    section: keys::KEEPALIVE,
    docs: &[
        doc(
            "max_idle",
            Count(0, 1_000_000),
            "Most idle connections for each worker and endpoint.",
        )
        .or("256"),
        doc(
            "max_idle_time",
            PositiveDuration,
            "How long an idle connection is kept.",
        )
        .or("\"60s\""),
    ],
    presence: Presence::Any,
};
