//! The one table of keys: what each section may hold, and what waits for a later release.

/// Whether a key may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    /// It may.
    Supported,
    /// The contract has it, this release does not act on it. Accepting it would promise
    /// something that does not happen.
    Later,
    /// It belongs elsewhere; the text says where.
    Elsewhere(&'static str),
}

/// One key of a section.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    /// As written.
    pub(super) name: &'static str,
    /// Whether it may be used.
    pub(super) status: Status,
}

/// The keys of one kind of table.
pub(super) type Section = &'static [Key];

const fn now(name: &'static str) -> Key {
    Key {
        name,
        status: Status::Supported,
    }
}

const fn later(name: &'static str) -> Key {
    Key {
        name,
        status: Status::Later,
    }
}

const fn elsewhere(name: &'static str, place: &'static str) -> Key {
    Key {
        name,
        status: Status::Elsewhere(place),
    }
}

/// The top level of `seawall.toml` and `routes.d/*.toml`.
pub(super) const ROOT: Section = &[
    now("server"),
    now("admin"),
    now("telemetry"),
    now("upstreams"),
    now("defaults"),
    now("routes"),
    now("archive"),
    now("plans"),
    elsewhere("kill", "is read from switches.toml alone; move it there"),
    elsewhere(
        "breaker",
        "is read from switches.toml alone; when a breaker trips stands in `routes.NAME.breaker`",
    ),
];

/// The top level of `switches.toml`.
pub(super) const SWITCHES: Section = &[now("kill"), now("breaker")];

/// `[server]`.
pub(super) const SERVER: Section = &[
    now("listen"),
    now("instance"),
    now("workers"),
    now("trusted_proxies"),
    now("resolvers"),
    now("header_timeout"),
    now("body_timeout"),
    now("min_body_rate"),
    now("write_timeout"),
    now("idle_timeout"),
    now("max_header_bytes"),
    now("max_headers"),
    now("max_connections"),
    now("drain_delay"),
    now("shutdown_grace"),
    later("tls"),
];

/// `[admin]`.
pub(super) const ADMIN: Section = &[now("listen"), now("probe_listen"), now("tokens")];

/// `[telemetry]`.
pub(super) const TELEMETRY: Section = &[
    now("log"),
    now("access_log"),
    now("log_headers"),
    later("otlp"),
];

/// `[archive]`.
pub(super) const ARCHIVE: Section = &[
    now("journal"),
    now("copies"),
    now("durability"),
    now("max_bytes"),
    now("max_buffer"),
    now("seal_after"),
    now("redact_headers"),
    now("redact_query"),
    now("store"),
    now("retain"),
];

/// `[upstreams.NAME]`.
pub(super) const UPSTREAM: Section = &[
    now("endpoints"),
    now("balance"),
    now("connect_timeout"),
    now("read_timeout"),
    now("keepalive"),
    now("concurrency"),
    now("health"),
    now("outlier"),
    now("slow_start"),
];

/// `[upstreams.NAME.health]`.
pub(super) const HEALTH: Section = &[
    now("path"),
    now("interval"),
    now("healthy"),
    now("unhealthy"),
    now("panic_percent"),
];

/// `[upstreams.NAME.outlier]`.
pub(super) const OUTLIER: Section = &[
    now("consecutive_failures"),
    now("ejection"),
    now("max_ejected_percent"),
];

/// `[upstreams.NAME.keepalive]`.
pub(super) const KEEPALIVE: Section = &[now("max_idle"), now("max_idle_time")];

/// `[routes.NAME]` and `[defaults]`.
pub(super) const ROUTE: Section = &[
    now("path"),
    now("methods"),
    now("host"),
    now("headers"),
    now("upstream"),
    now("split"),
    now("respond"),
    now("tier"),
    now("owner"),
    now("runbook"),
    now("impact"),
    now("timeout"),
    now("attempt_timeout"),
    now("stream_idle_timeout"),
    now("max_body"),
    now("path_rewrite"),
    now("host_rewrite"),
    now("request_headers"),
    now("response_headers"),
    now("kill_switch"),
    now("on_failure"),
    now("observe"),
    now("rate_limit"),
    now("concurrency"),
    now("retry"),
    now("retry_budget"),
    now("breaker"),
    now("client_retry_budget"),
    now("auto_kill"),
    later("upgrade"),
    later("allow"),
    later("deny"),
    later("auth"),
];

/// An item of `split`.
pub(super) const SPLIT: Section = &[now("upstream"), now("weight")];

/// `rate_limit`.
pub(super) const RATE_LIMIT: Section = &[
    now("rate"),
    now("burst"),
    now("key"),
    now("dry_run"),
    now("max_keys"),
];

/// `concurrency` of a route.
pub(super) const CONCURRENCY: Section = &[now("max"), now("queue"), now("queue_timeout")];

/// `retry`.
pub(super) const RETRY: Section = &[
    now("attempts"),
    now("on"),
    now("backoff"),
    now("max_backoff"),
    now("non_idempotent"),
];

/// `retry_budget`.
pub(super) const RETRY_BUDGET: Section = &[now("percent"), now("min_per_second"), now("window")];

/// `breaker`.
pub(super) const BREAKER: Section = &[
    now("on"),
    now("consecutive_failures"),
    now("failure_percent"),
    now("min_requests"),
    now("window"),
    now("open_for"),
    now("ramp"),
];

/// `client_retry_budget`.
pub(super) const CLIENT_RETRY_BUDGET: Section = &[now("percent")];

/// `auto_kill`.
pub(super) const AUTO_KILL: Section = &[now("above"), now("for"), now("mode"), now("hold")];

/// A header matcher in its table form.
pub(super) const MATCHER: Section = &[now("prefix"), now("suffix"), now("regex"), now("present")];

/// `respond`.
pub(super) const RESPOND: Section = &[now("status"), now("body"), now("content_type")];

/// `request_headers` and `response_headers`.
pub(super) const EDITS: Section = &[now("set"), now("add"), now("remove")];

/// `kill_switch`.
pub(super) const KILL_SWITCH: Section = &[
    now("mode"),
    now("status"),
    now("body"),
    now("content_type"),
    now("restore"),
    now("sticky"),
    now("when_full"),
    now("archive_quota"),
    now("close_tunnels"),
];

/// The table form of an entry under `[kill]`.
pub(super) const KILL_ENTRY: Section = &[
    now("mode"),
    now("status"),
    now("body"),
    now("content_type"),
    now("retry_after"),
    now("reason"),
    now("owner"),
    now("percent"),
    now("when"),
    now("until"),
    now("dry_run"),
];

/// `when` of an entry.
pub(super) const WHEN: Section = &[now("headers"), now("client_ip"), now("query")];

/// `[plans.NAME]`.
pub(super) const PLAN: Section = &[now("kill")];

/// The table form of `"plan:NAME"` under `[kill]`.
pub(super) const PLAN_USE: Section = &[
    now("mode"),
    now("until"),
    now("reason"),
    now("owner"),
    now("dry_run"),
];

/// What is said of a key whose behaviour comes later.
pub(super) const NOT_YET: &str = "not supported yet, see CHANGELOG";

/// The key of that name.
pub(super) fn find(section: Section, name: &str) -> Option<&'static Key> {
    section.iter().find(|key| key.name == name)
}

/// The names of a section that may be used.
pub(super) fn usable(section: Section) -> impl Iterator<Item = &'static str> {
    section
        .iter()
        .filter(|key| key.status == Status::Supported)
        .map(|key| key.name)
}
