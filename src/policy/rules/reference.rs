//! The rules against a slow and naive reading of what is promised: which entry decides, for
//! whom, and how traffic comes back. It shares no code with the rules but the hash, the shares
//! and the conditions.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::policy::kill::{KillEntry, KillKey, KillSettings, Mode, Position, Setting};
use crate::policy::samples::{NOW, Request, Sample, requests, routes, settings};
use crate::policy::share::{self, Share, Sticky};
use crate::vocab::Tier;

/// An entry that concerns the route, in the order of precedence.
struct Entry<'a> {
    entry: &'a KillEntry,
    until: Option<Duration>,
    dry_run: bool,
    reason: Option<&'a str>,
    owner: Option<&'a str>,
}

/// "Order: route, tier, all; within each `[kill]` itself, then plans by name"; "all: every route
/// but those of tier core"; "a mode must be named in the entry or in the route's kill_switch".
fn listed<'a>(settings: &'a KillSettings, route: &Sample) -> Vec<Entry<'a>> {
    let mut keys = vec![
        KillKey::Route(route.name.clone()),
        KillKey::Tier(route.tier),
    ];
    if route.tier != Tier::Core {
        keys.push(KillKey::All);
    }
    let mut plans: Vec<(String, &_)> = Vec::new();
    for (key, setting) in settings {
        if let (KillKey::Plan(name), Setting::Plan(plan)) = (key, setting) {
            plans.push((name.to_string(), plan));
        }
    }
    plans.sort_by(|a, b| a.0.cmp(&b.0));
    let mut listed = Vec::new();
    for key in keys {
        if let Some(Setting::Entries(entries)) = settings.get(&key) {
            listed.extend(entries.iter().map(|entry| Entry {
                entry,
                until: entry.until,
                dry_run: entry.dry_run,
                reason: entry.reason.as_deref(),
                owner: entry.owner.as_deref(),
            }));
        }
        for (_, plan) in plans.iter().filter(|(_, plan)| plan.on) {
            for entry in plan.plan.get(&key).into_iter().flatten() {
                let until = match (entry.until, plan.until) {
                    (Some(a), Some(b)) => Some(a.min(b)),
                    (Some(a), None) | (None, Some(a)) => Some(a),
                    (None, None) => None,
                };
                listed.push(Entry {
                    entry,
                    until,
                    dry_run: entry.dry_run || plan.dry_run,
                    reason: entry.reason.as_deref().or(plan.reason.as_deref()),
                    owner: entry.owner.as_deref().or(plan.owner.as_deref()),
                });
            }
        }
    }
    listed.retain(|listed| mode(listed.entry, route).is_some() || off(listed.entry));
    listed
}

fn off(entry: &KillEntry) -> bool {
    entry.position == Position::Off
}

fn mode(entry: &KillEntry, route: &Sample) -> Option<Mode> {
    match entry.position {
        Position::Thrown(mode) => mode.or(route.own.mode),
        Position::Off => None,
    }
}

/// "An entry whose `when` fails, that has expired, or that is a dry run is passed over; the first
/// that remains": its place.
fn decider(list: &[Entry<'_>], request: &Request, now: Duration, dry: bool) -> Option<usize> {
    list.iter().position(|listed| {
        let expired = listed.until.is_some_and(|until| now >= until);
        listed.entry.when.holds(&request.asker()) && !expired && (dry || !listed.dry_run)
    })
}

/// "The same client gets the same fate": below the share, of the hash read as a fraction.
fn in_share(fraction: f64, route: &Sample, request: &Request) -> bool {
    let hash = match &route.own.sticky {
        Sticky::Header(name) if request.headers.contains_key(name) => {
            share::hash(request.headers[name].as_bytes())
        }
        Sticky::Header(_) | Sticky::ClientIp => share::hash_ip(request.client),
        Sticky::Request => share::hash(&request.id()),
    };
    let place = (hash >> 11) as f64 / (1_u64 << 53) as f64;
    place < fraction
}

/// What the request gets, and which mode a dry run counts.
fn naive(
    settings: &KillSettings,
    route: &Sample,
    request: &Request,
    now: Duration,
) -> (Option<Said>, Option<Mode>) {
    let list = listed(settings, route);
    let rehearsed = decider(&list, request, now, true)
        .map(|at| &list[at])
        .filter(|listed| listed.dry_run && in_share(listed.entry.share.fraction(), route, request))
        .and_then(|listed| mode(listed.entry, route));
    let live = decider(&list, request, now, false).filter(|at| {
        !off(list[*at].entry) && in_share(list[*at].entry.share.fraction(), route, request)
    });
    let takes = live.or_else(|| {
        (0..list.len()).find(|at| still_coming_back(&list, *at, (route, request), now))
    });
    (takes.map(|at| said(&list[at], route)), rehearsed)
}

/// "When a switch ends, traffic comes back linearly": of the requests that it took at its end.
fn still_coming_back(
    list: &[Entry<'_>],
    at: usize,
    (route, request): (&Sample, &Request),
    now: Duration,
) -> bool {
    let Some(end) = list[at].until.filter(|until| *until <= now) else {
        return false;
    };
    let just_before = end - Duration::from_nanos(1);
    let took = decider(list, request, just_before, false) == Some(at) && !off(list[at].entry);
    let restore = route.own.restore.as_secs_f64();
    let ago = (now - end).as_secs_f64();
    let left = if ago < restore {
        1.0 - ago / restore
    } else {
        0.0
    };
    took && left > 0.0 && in_share(list[at].entry.share.fraction() * left, route, request)
}

/// What is answered: mode, status, body, type, delay, reason, owner.
#[derive(Debug, PartialEq)]
struct Said {
    mode: Mode,
    status: u16,
    body: Bytes,
    content_type: Option<String>,
    retry_after: Duration,
    reason: Option<String>,
    owner: Option<String>,
}

/// "`status`, `body`, `content_type` (default 200, empty) serve drop and archive; reject answers
/// 503 unless the entry itself names a status, with `retry_after` (default 10 s)."
fn said(listed: &Entry<'_>, route: &Sample) -> Said {
    let (answer, own) = (&listed.entry.answer, &route.own.answer);
    let mode = mode(listed.entry, route).expect("a mode");
    let text = |value: &http::HeaderValue| value.to_str().unwrap().to_owned();
    let mut said = Said {
        mode,
        status: 503,
        body: Bytes::new(),
        content_type: None,
        retry_after: listed.entry.retry_after.unwrap_or(Duration::from_secs(10)),
        reason: listed.reason.map(str::to_owned),
        owner: listed.owner.map(str::to_owned),
    };
    if mode != Mode::Reject {
        said.status = own.status.map_or(200, |status| status.as_u16());
        said.body = answer.body.clone().or(own.body.clone()).unwrap_or_default();
        let kind = answer.content_type.as_ref().or(own.content_type.as_ref());
        said.content_type = kind.map(text);
    }
    if let Some(status) = answer.status {
        said.status = status.as_u16();
    }
    said
}

fn compiled(
    settings: &KillSettings,
    route: &Sample,
    request: &Request,
    now: Duration,
) -> (Option<Said>, Option<Mode>) {
    let rules = route.rules(settings);
    let order = request.order(rules.as_ref(), now).map(|order| Said {
        mode: order.mode,
        status: order.status.as_u16(),
        body: order.body.clone(),
        content_type: order
            .content_type
            .as_ref()
            .map(|kind| kind.to_str().unwrap().to_owned()),
        retry_after: order.retry_after,
        reason: order.reason.as_deref().map(str::to_owned),
        owner: order.owner.as_deref().map(str::to_owned),
    });
    (order, request.decide(rules.as_ref(), now).rehearsed)
}

/// The settings with every share of that key raised to at least `least`.
fn raised(settings: &KillSettings, least: Share) -> KillSettings {
    let mut settings = settings.clone();
    for setting in settings.values_mut() {
        if let Setting::Entries(entries) = setting {
            for entry in entries {
                entry.share = if entry.share < least {
                    least
                } else {
                    entry.share
                };
            }
        }
    }
    settings
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn the_rules_do_what_a_naive_reading_of_the_promise_does(
        settings in settings(),
        route in routes(),
        requests in vec(requests(), 8),
        later in prop::sample::select(vec![0, 5, 15, 50, 200]),
    ) {
        let now = NOW + Duration::from_secs(later);
        for request in &requests {
            let expected = naive(&settings, &route, request, now);
            prop_assert_eq!(compiled(&settings, &route, request, now), expected);
        }
    }

    #[test]
    fn what_needs_no_asking_says_what_asking_says(
        settings in settings(),
        route in routes(),
        request in requests(),
    ) {
        let rules = route.rules(&settings);
        if let Some(at) = rules.as_ref().and_then(|rules| rules.plain()) {
            let asked = request.order(rules.as_ref(), NOW);
            prop_assert_eq!(asked, rules.as_ref().and_then(|rules| rules.order(at)));
            prop_assert!(asked.is_some());
        }
    }

    #[test]
    fn raising_a_share_never_lets_through_who_was_killed(
        settings in settings(),
        route in routes(),
        requests in vec(requests(), 8),
        least in 0.0..100.0_f64,
    ) {
        let more = raised(&settings, Share::from_percent(least).unwrap());
        let (before, after) = (route.rules(&settings), route.rules(&more));
        for request in &requests {
            let killed = request.killed(before.as_ref(), NOW);
            prop_assert!(!killed || request.killed(after.as_ref(), NOW));
        }
    }
}

/// The naive reading itself, on a case that can be checked by eye.
#[test]
fn the_naive_reading_reads() {
    let route = Sample::of(Tier::Standard);
    let entry = KillEntry::word(Position::Thrown(Some(Mode::Drop)));
    let settings = KillSettings::from([(KillKey::All, Setting::Entries(vec![entry]))]);
    let request = Request::new(None, None, 1);
    let (said, rehearsed) = naive(&settings, &route, &request, NOW);
    assert_eq!(said.map(|said| said.status), Some(StatusCode::OK.as_u16()));
    assert_eq!(rehearsed, None);
    let core = Sample::of(Tier::Core);
    assert_eq!(naive(&settings, &core, &request, NOW).0, None);
}
