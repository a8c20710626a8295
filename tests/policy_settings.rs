//! What limits, attempts, breakers and balancing are when nothing is written, and when `[defaults]`
//! and a route both say something.

use std::time::Duration;

use seawall::config::{RouteSettings, Settings, SourceFile, Target, load};
use seawall::policy::balance::Method;
use seawall::policy::kill::Mode;
use seawall::policy::outcome::{Failure, Failures};
use seawall::policy::rate::RateKey;
use seawall::policy::retry::{Resend, RetrySpec, Trigger, Triggers};
use seawall::policy::share::{Share, Sticky};
use seawall::upstream::{EndpointKind, UpstreamLimit};

/// The settings of a `seawall.toml` that begins with an upstream `up`.
fn settings(text: &str) -> Settings {
    let text = format!("[upstreams.up]\nendpoints = [\"http://a\"]\n{text}");
    let files = [SourceFile::new("seawall.toml", &text)];
    match load(&files, &|_| None) {
        Ok(loaded) => loaded.settings,
        Err(problems) => panic!("{problems:#?}"),
    }
}

/// The route `x` with these keys, after these defaults.
fn route(defaults: &str, keys: &str) -> RouteSettings {
    let text =
        format!("[defaults]\n{defaults}\n[routes.x]\npath = \"/x\"\nupstream = \"up\"\n{keys}\n");
    settings(&text).routes.remove(0)
}

#[test]
fn limits_are_off_unless_written_and_retries_on() {
    let plain = route("", "");
    assert_eq!((plain.rate_limit, plain.concurrency), (None, None));
    assert_eq!(
        (plain.breaker, plain.client_retry_budget, plain.auto_kill),
        (None, None, None)
    );
    let on = Triggers::new(&[Trigger::Connect, Trigger::Reset]);
    assert_eq!((plain.retry.attempts, plain.retry.on), (2, on));
    assert_eq!(plain.retry_budget.share, Share::from_percent(20.0).unwrap());
    let up = &settings("").upstreams["up"];
    assert_eq!(
        (up.balance.method, up.concurrency),
        (Method::LeastRequest, UpstreamLimit::Off)
    );
    assert_eq!(up.balance.slow_start, Duration::from_secs(10));
    assert!(up.health.is_none() && up.outlier.is_none());
}

#[test]
fn a_burst_that_is_not_written_is_one_second_of_the_rate() {
    for (rate, burst) in [
        ("500/s", 500),
        ("30/m", 1),
        ("600/m", 10),
        ("10/h", 1),
        ("7200/h", 2),
    ] {
        let limit = route("", &format!("rate_limit = {{ rate = \"{rate}\" }}"))
            .rate_limit
            .unwrap();
        assert_eq!(
            (limit.rate.to_string(), limit.burst),
            (rate.to_owned(), burst)
        );
        assert_eq!(
            (limit.key, limit.max_keys, limit.dry_run),
            (RateKey::ClientIp, 65_536, false)
        );
    }
}

#[test]
fn tables_merge_key_by_key_and_off_leaves_them_out() {
    let defaults = r#"
rate_limit = { rate = "5/s", key = "route" }
concurrency = { max = 5, queue = 6 }
retry = { attempts = 3, on = ["timeout", 503] }
retry_budget = { percent = 10 }
breaker = { open_for = "5s", failure_percent = "off", on = [500] }
kill_switch = { mode = "drop", restore = "7s" }
client_retry_budget = { percent = 30 }
auto_kill = { above = "9/s", hold = "1m" }"#;
    let x = route(
        defaults,
        r#"rate_limit = { rate = "9/s" }
concurrency = { max = 9 }
retry = { non_idempotent = true }
retry_budget = { window = "30s" }
breaker = { ramp = "0s" }
client_retry_budget = { percent = 5 }
auto_kill = { mode = "archive" }"#,
    );
    let limit = x.rate_limit.unwrap();
    assert_eq!(
        (limit.rate.to_string(), limit.key),
        ("9/s".to_owned(), RateKey::Route)
    );
    let gate = x.concurrency.unwrap();
    assert_eq!(
        (gate.max, gate.queue, gate.queue_timeout),
        (9, 6, Duration::from_millis(100))
    );
    assert_eq!((x.retry.attempts, x.retry.resend), (3, Resend::All));
    assert_eq!(
        x.retry.on,
        Triggers::new(&[Trigger::Timeout, Trigger::Unavailable])
    );
    assert_eq!(
        (x.retry_budget.share.percent(), x.retry_budget.window),
        (10.0, Duration::from_secs(30))
    );
    let breaker = x.breaker.unwrap();
    assert_eq!(breaker.on, Failures::new(&[Failure::InternalError]));
    assert_eq!(
        (breaker.ratio, breaker.consecutive_failures),
        (None, Some(10))
    );
    assert_eq!(
        (breaker.open_for, breaker.ramp),
        (Duration::from_secs(5), Duration::ZERO)
    );
    assert_eq!(x.client_retry_budget.unwrap().share.percent(), 5.0);
    let auto = x.auto_kill.unwrap();
    assert_eq!(
        (auto.mode, auto.spec.above.to_string()),
        (Mode::Archive, "9/s".to_owned())
    );
    assert_eq!(
        (auto.spec.hold, auto.spec.restore),
        (Duration::from_secs(60), Duration::from_secs(7))
    );

    let off = [
        "rate_limit",
        "concurrency",
        "retry",
        "breaker",
        "client_retry_budget",
        "auto_kill",
    ];
    let off = off.map(|key| format!("{key} = \"off\"")).join("\n");
    let x = route(defaults, &off);
    assert_eq!(
        (x.rate_limit, x.concurrency, x.retry.attempts),
        (None, None, 1)
    );
    assert_eq!(
        (x.breaker, x.client_retry_budget, x.auto_kill),
        (None, None, None)
    );
    // Off by default, and on again where a route says how.
    let x = route(
        &off,
        "rate_limit = { rate = \"1/s\" }\nbreaker = {}\nretry = {}",
    );
    assert!(x.rate_limit.is_some() && x.breaker.is_some() && x.concurrency.is_none());
    assert_eq!(x.retry, RetrySpec::default());
}

#[test]
fn a_longer_backoff_raises_the_bound_that_is_not_written() {
    let retry = route("", "retry = { backoff = \"2s\" }").retry;
    assert_eq!(
        (retry.backoff, retry.max_backoff),
        (Duration::from_secs(2), Duration::from_secs(2))
    );
    let retry = route("", "retry = { backoff = \"0s\" }").retry;
    assert_eq!(
        (retry.backoff, retry.max_backoff),
        (Duration::ZERO, Duration::from_millis(250))
    );
}

#[test]
fn what_kills_by_itself_passes_by_core_routes_and_answers_of_the_gateway() {
    let defaults = "kill_switch = { mode = \"drop\" }\nauto_kill = { above = \"9/s\" }";
    assert!(route(defaults, "").auto_kill.is_some());
    assert!(route(defaults, "tier = \"core\"").auto_kill.is_none());
    let text = "[defaults]\nclient_retry_budget = { percent = 5 }\n\
                [routes.mock]\npath = \"/mock\"\nrespond = {}\n";
    assert!(settings(text).routes[0].client_retry_budget.is_none());
}

#[test]
fn a_route_has_its_own_target_and_not_that_of_the_defaults() {
    let text = r#"[upstreams.next]
endpoints = ["http+srv://_next._tcp.internal"]
balance = "hash:header:x-player-id"
health = { path = "/healthz?deep=1", panic_percent = 25 }
concurrency = "adaptive"
slow_start = "0s"
[defaults]
split = [{ upstream = "up", weight = 95 }, { upstream = "next", weight = 5 }]
[routes.divided]
path = "/a"
[routes.mock]
path = "/b"
respond = {}
[routes.whole]
path = "/c"
upstream = "next"
"#;
    let settings = settings(text);
    let targets: Vec<&Target> = settings.routes.iter().map(|route| &route.target).collect();
    assert!(
        matches!(targets[..], [Target::Split(parts), Target::Respond(_), Target::Upstream(_)]
        if parts.iter().map(|part| part.weight).eq([95, 5]))
    );
    let next = &settings.upstreams["next"];
    assert_eq!(
        (next.endpoints[0].kind, next.endpoints[0].port),
        (EndpointKind::Srv, 0)
    );
    assert_eq!(
        (next.balance.method, &next.hash),
        (
            Method::Hash,
            &Sticky::Header("x-player-id".parse().unwrap())
        )
    );
    assert_eq!(
        (next.balance.panic.percent(), next.balance.slow_start),
        (25.0, Duration::ZERO)
    );
    assert_eq!(next.health.as_ref().unwrap().path, "/healthz?deep=1");
    assert!(matches!(next.concurrency, UpstreamLimit::Adaptive(_)));
}
