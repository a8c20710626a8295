//! How the switches of a route come to their decision, step by step, for people who ask why.

use std::time::Duration;

use super::clause::Clause;
use super::rules::Rules;
use super::share::{self, Share, Sticky};
use crate::matching::Asker;

/// What one clause says to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It takes the request.
    Takes,
    /// It takes a share of all requests, and nobody can say which: `sticky = "request"`.
    TakesSome,
    /// It decides, and this client is outside its share.
    Outside,
    /// It decides, and lets everything pass: `"off"`.
    Exempts,
    /// Passed over: its conditions do not hold.
    OtherRequests,
    /// Passed over: it has ended by itself.
    Expired,
    /// Passed over: a dry run, which would have taken the request.
    WouldTake,
    /// Passed over: a dry run, which would not have taken the request.
    WouldPass,
    /// Never asked: one before it decides.
    NotAsked,
}

impl Outcome {
    /// Whether this clause decides alone.
    pub fn decides(self) -> bool {
        match self {
            Outcome::Takes | Outcome::TakesSome | Outcome::Outside | Outcome::Exempts => true,
            Outcome::OtherRequests
            | Outcome::Expired
            | Outcome::WouldTake
            | Outcome::WouldPass
            | Outcome::NotAsked => false,
        }
    }
}

impl Rules {
    /// What each clause says to a request, in order of precedence: [`Rules::decide`] in slow
    /// motion, for a request without an id. `now` is since the Unix epoch.
    pub fn trace<'r>(
        &'r self,
        asker: &Asker<'_>,
        now: Duration,
    ) -> impl Iterator<Item = (&'r Clause, Outcome)> {
        let mut decided = false;
        let hash = match self.sticky {
            Sticky::ClientIp | Sticky::Header(_) => Some(self.hash(asker, b"")),
            Sticky::Request => None,
        };
        self.clauses.iter().map(move |clause| {
            let outcome = match decided {
                true => Outcome::NotAsked,
                false => outcome(clause, asker, hash, now),
            };
            decided |= outcome.decides();
            (clause, outcome)
        })
    }

    /// Where this client stands among all, 0 to 100: a switch takes those below its `percent`.
    /// `None` when requests, not clients, are told apart.
    pub fn standing(&self, asker: &Asker<'_>) -> Option<f64> {
        match self.sticky {
            Sticky::ClientIp | Sticky::Header(_) => Some(share::standing(self.hash(asker, b""))),
            Sticky::Request => None,
        }
    }
}

fn outcome(clause: &Clause, asker: &Asker<'_>, hash: Option<u64>, now: Duration) -> Outcome {
    if clause.expired(now) {
        return Outcome::Expired;
    }
    if !clause.when.holds(asker) {
        return Outcome::OtherRequests;
    }
    let taken = clause.order.is_some().then_some(clause.share);
    match (taken, hash, clause.dry_run) {
        (None, _, false) => Outcome::Exempts,
        (None, _, true) => Outcome::WouldPass,
        (Some(Share::WHOLE), _, false) => Outcome::Takes,
        (Some(Share::WHOLE), _, true) => Outcome::WouldTake,
        (Some(Share::NONE), _, false) => Outcome::Outside,
        (Some(Share::NONE), _, true) => Outcome::WouldPass,
        (Some(_), None, false) => Outcome::TakesSome,
        (Some(_), None, true) => Outcome::WouldTake,
        (Some(share), Some(hash), false) if share.takes(hash) => Outcome::Takes,
        (Some(share), Some(hash), true) if share.takes(hash) => Outcome::WouldTake,
        (Some(_), Some(_), false) => Outcome::Outside,
        (Some(_), Some(_), true) => Outcome::WouldPass,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::matching::When;
    use crate::policy::kill::{
        KillEntry, KillKey, KillSettings, KillSwitchSpec, Mode, Position, Setting,
    };
    use crate::policy::rules::{Subject, Verdict};
    use crate::vocab::Tier;

    const NOW: Duration = Duration::from_secs(1000);

    /// Every entry of a small world: modes, off, shares, ends, conditions, dry runs.
    fn entry(seed: u64) -> KillEntry {
        let position = match seed % 4 {
            0 => Position::Off,
            1 => Position::Thrown(Some(Mode::Reject)),
            _ => Position::Thrown(Some(Mode::Drop)),
        };
        let mut when = When::default();
        if seed & 16 != 0 {
            when.client_ip = vec!["10.0.0.0/31".parse().unwrap()];
        }
        let percents = [0.0, 20.0, 50.0, 100.0];
        KillEntry {
            share: Share::from_percent(percents[(seed >> 5) as usize % 4]).unwrap(),
            when,
            until: (seed & 128 != 0).then(|| Duration::from_secs(900 + (seed >> 8) % 200)),
            dry_run: seed & 4096 != 0,
            ..KillEntry::word(position)
        }
    }

    #[test]
    fn the_trace_agrees_with_the_decision() {
        let own = KillSwitchSpec::default();
        let name = "r".into();
        let route = Subject {
            name: &name,
            tier: Tier::Standard,
            own: &own,
            auto: None,
        };
        let mut kills = 0;
        for case in 0..2_000_u64 {
            let seed = |n: u64| share::hash(&(case * 7 + n).to_be_bytes());
            let settings = KillSettings::from([
                (
                    KillKey::Route("r".into()),
                    Setting::Entries(vec![entry(seed(1)), entry(seed(2))]),
                ),
                (KillKey::All, Setting::Entries(vec![entry(seed(3))])),
            ]);
            let Some(rules) = Rules::compile(route, &settings, None, NOW) else {
                continue;
            };
            let headers = http::HeaderMap::new();
            let client = IpAddr::V4(Ipv4Addr::new(10, 0, 0, (case % 4) as u8));
            let asker = Asker {
                headers: &headers,
                client,
                query: None,
            };
            let decision = rules.decide(&asker, b"", NOW);
            let steps: Vec<_> = rules.trace(&asker, NOW).collect();
            let deciding = steps.iter().find(|(_, outcome)| outcome.decides());
            // What ended and fades is not part of the trace.
            if let Verdict::Kill(at) = decision.verdict
                && !rules.fadings(NOW).any(|(faded, ..)| faded == at)
            {
                let (clause, outcome) = deciding.unwrap();
                assert_eq!(*outcome, Outcome::Takes);
                assert_eq!(clause.order.as_ref(), rules.order(at));
                kills += 1;
            } else if let Some((_, outcome)) = deciding {
                assert_ne!(*outcome, Outcome::Takes);
            }
            let mut dry = steps.iter().filter(|(clause, _)| clause.dry_run);
            let rehearsed =
                dry.find(|(_, outcome)| matches!(outcome, Outcome::WouldTake | Outcome::WouldPass));
            let would = matches!(rehearsed, Some((_, Outcome::WouldTake)));
            assert_eq!(decision.rehearsed.is_some(), would);
        }
        assert!(kills > 200, "{kills}");
    }
}
