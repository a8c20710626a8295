//! Routes, switches and requests for the tests of the policy: a small world, so that random
//! choices meet.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, StatusCode};
use proptest::collection::{btree_map, vec};
use proptest::option::{self, weighted};
use proptest::prelude::*;
use proptest::sample::select;

use super::clause::KillOrder;
use super::kill::{
    AnswerSpec, KillEntry, KillKey, KillSettings, KillSwitchSpec, Mode, Plan, PlanUse, Position,
    Setting,
};
use super::rules::{Decision, Rules, Subject, Verdict};
use super::share::{Share, Sticky};
use crate::matching::{Asker, HeaderMatch, QueryMatch, ValueTest, When};
use crate::vocab::Tier;

pub(super) const NOW: Duration = Duration::from_millis(1_000_500);

/// A route, owned.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) name: Arc<str>,
    pub(super) tier: Tier,
    pub(super) own: KillSwitchSpec,
}

impl Sample {
    pub(super) fn of(tier: Tier) -> Sample {
        Sample {
            name: "r".into(),
            tier,
            own: KillSwitchSpec::default(),
        }
    }

    pub(super) fn subject(&self) -> Subject<'_> {
        Subject {
            name: &self.name,
            tier: self.tier,
            own: &self.own,
            auto: None,
        }
    }

    pub(super) fn rules(&self, settings: &KillSettings) -> Option<Rules> {
        Rules::compile(self.subject(), settings, None, NOW)
    }
}

/// A request, owned.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) headers: HeaderMap,
    pub(super) client: IpAddr,
    pub(super) query: Option<&'static str>,
    pub(super) id: u32,
}

impl Request {
    pub(super) fn new(version: Option<&'static str>, player: Option<&str>, host: u8) -> Request {
        let mut headers = HeaderMap::new();
        if let Some(version) = version {
            headers.insert("x-v", HeaderValue::from_static(version));
        }
        if let Some(player) = player {
            headers.insert("x-player", player.parse().unwrap());
        }
        Request {
            headers,
            client: IpAddr::from([10, 0, 0, host]),
            query: None,
            id: u32::from(host),
        }
    }

    pub(super) fn asker(&self) -> Asker<'_> {
        Asker {
            headers: &self.headers,
            client: self.client,
            query: self.query,
        }
    }

    pub(super) fn id(&self) -> [u8; 4] {
        self.id.to_be_bytes()
    }

    pub(super) fn decide(&self, rules: Option<&Rules>, now: Duration) -> Decision {
        match rules {
            Some(rules) => rules.decide(&self.asker(), &self.id(), now),
            None => Decision {
                verdict: Verdict::Pass,
                rehearsed: None,
            },
        }
    }

    pub(super) fn order<'r>(
        &self,
        rules: Option<&'r Rules>,
        now: Duration,
    ) -> Option<&'r KillOrder> {
        match self.decide(rules, now).verdict {
            Verdict::Kill(at) => Some(rules?.order(at).expect("an order that decided")),
            Verdict::Pass => None,
        }
    }

    pub(super) fn killed(&self, rules: Option<&Rules>, now: Duration) -> bool {
        self.order(rules, now).is_some()
    }
}

pub(super) fn word(mode: Mode) -> KillEntry {
    KillEntry::word(Position::Thrown(Some(mode)))
}

pub(super) fn off() -> KillEntry {
    KillEntry::word(Position::Off)
}

pub(super) fn percent(percent: f64) -> Share {
    Share::from_percent(percent).unwrap()
}

pub(super) fn version(test: ValueTest) -> When {
    When {
        headers: vec![HeaderMatch::new("x-v", test).unwrap()],
        ..When::default()
    }
}

pub(super) fn exact(value: &str) -> ValueTest {
    ValueTest::Exact(value.to_owned())
}

pub(super) fn whens() -> impl Strategy<Value = When> {
    let beta = QueryMatch {
        name: "beta".to_owned(),
        test: exact("1"),
    };
    let low = When {
        client_ip: vec!["10.0.0.0/25".parse().unwrap()],
        ..When::default()
    };
    let beta = When {
        query: vec![beta],
        ..When::default()
    };
    let all = [
        When::default(),
        version(exact("1")),
        version(ValueTest::Present(true)),
        low,
        beta,
    ];
    prop_oneof![Just(When::default()), select(all.to_vec())]
}

/// Some over for long, some just over, some about to be.
fn ends() -> impl Strategy<Value = Option<Duration>> {
    let seconds = select(vec![900, 975, 990, 1_000, 1_010, 1_100]);
    weighted(0.4, seconds.prop_map(Duration::from_secs))
}

pub(super) fn modes() -> impl Strategy<Value = Mode> {
    select(Mode::ALL.to_vec())
}

prop_compose! {
    fn answers()(
        status in weighted(0.2, select(vec![202, 204, 429])),
        body in weighted(0.2, select(vec!["a", "b"])),
    ) -> AnswerSpec {
        AnswerSpec {
            status: status.map(|status| StatusCode::from_u16(status).unwrap()),
            body: body.map(|body| body.as_bytes().into()),
            content_type: body.map(HeaderValue::from_static),
        }
    }
}

prop_compose! {
    pub(super) fn entries()(
        position in prop_oneof![
            4 => modes().prop_map(|mode| Position::Thrown(Some(mode))),
            1 => Just(Position::Thrown(None)),
            1 => Just(Position::Off),
        ],
        share in select(vec![0.0, 10.0, 50.0, 100.0, 100.0]),
        when in whens(),
        until in ends(),
        dry_run in prop::bool::weighted(0.2),
        answer in answers(),
        retry_after in weighted(0.2, (1_u64..9).prop_map(Duration::from_secs)),
        owner in weighted(0.2, select(vec!["amy", "bob"])),
    ) -> KillEntry {
        KillEntry {
            position,
            share: percent(share),
            when,
            until,
            dry_run,
            answer,
            retry_after,
            reason: None,
            owner: owner.map(Into::into),
        }
    }
}

fn keys() -> impl Strategy<Value = KillKey> {
    select(vec![
        KillKey::Route("r".into()),
        KillKey::Route("r".into()),
        KillKey::Route("other".into()),
        KillKey::Tier(Tier::Core),
        KillKey::Tier(Tier::Standard),
        KillKey::All,
    ])
}

prop_compose! {
    fn plans()(
        on in prop::bool::weighted(0.8),
        plan in btree_map(keys(), vec(entries(), 1..3), 0..4),
        until in ends(),
        dry_run in prop::bool::weighted(0.1),
        owner in weighted(0.3, select(vec!["cleo"])),
    ) -> Setting {
        Setting::Plan(PlanUse {
            on,
            plan: Arc::<Plan>::new(plan),
            until,
            dry_run,
            reason: Some("a plan".into()),
            owner: owner.map(Into::into),
        })
    }
}

prop_compose! {
    pub(super) fn settings()(
        own in btree_map(keys(), vec(entries(), 1..4).prop_map(Setting::Entries), 0..4),
        plans in btree_map(
            select(vec!["a", "b", "z"]).prop_map(|name| KillKey::Plan(name.into())),
            plans(),
            0..3,
        ),
    ) -> KillSettings {
        own.into_iter().chain(plans).collect()
    }
}

prop_compose! {
    pub(super) fn routes()(
        tier in select(vec![Tier::Core, Tier::Standard, Tier::Sheddable]),
        mode in option::of(modes()),
        answer in answers(),
        restore in select(vec![0, 30, 60]),
        sticky in select(vec![
            Sticky::ClientIp,
            Sticky::Header("x-player".parse().unwrap()),
            Sticky::Request,
        ]),
    ) -> Sample {
        let own = KillSwitchSpec {
            mode,
            answer,
            sticky,
            restore: Duration::from_secs(restore),
            ..KillSwitchSpec::default()
        };
        Sample { own, ..Sample::of(tier) }
    }
}

prop_compose! {
    pub(super) fn requests()(
        version in option::of(select(vec!["1", "2"])),
        player in option::of("[a-z]{1,3}"),
        host in any::<u8>(),
        beta in any::<bool>(),
        id in any::<u32>(),
    ) -> Request {
        Request {
            query: beta.then_some("beta=1"),
            id,
            ..Request::new(version, player.as_deref(), host)
        }
    }
}
