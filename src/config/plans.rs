//! `[plans]`: switches decided before launch, and `"plan:NAME"` under `[kill]`, which throws them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::cursor::{Cursor, Decoded};
use super::entries::{Keyed, Scope, entries, resolve, until};
use super::keys;
use super::report::{Complaint, did_you_mean};
use super::tree::{Entry, Node};
use super::value::{bad_name, boolean, expected, none_of, words};
use crate::policy::kill::{Mode, Plan, PlanUse};

/// Plans by name.
pub(super) type Plans = BTreeMap<Arc<str>, Arc<Plan>>;

/// Every plan. One with errors is there without the keys that have them, so that switches
/// which name it are not reported as well.
pub(super) fn plans<'a>(cursor: &'a Cursor<'a>, scope: Scope<'a>) -> Plans {
    let mut plans = Plans::new();
    for (entry, _) in cursor.entries() {
        if let Some(complaint) = bad_name(&entry.key) {
            cursor.complain(&entry.key, entry.key_place, complaint);
            continue;
        }
        let plan = plan(cursor, entry, scope);
        plans.insert(entry.key.as_ref().into(), Arc::new(plan));
    }
    plans
}

fn plan(cursor: &Cursor<'_>, entry: &Entry<'_>, scope: Scope<'_>) -> Plan {
    let mut plan = Plan::new();
    let Some(table) = entry.value.as_table() else {
        let complaint = expected("a table", &entry.value);
        cursor.complain(&entry.key, entry.value.place, complaint);
        return plan;
    };
    let at = (cursor.path.join(&entry.key), entry.key_place);
    let own = Cursor::open(table, keys::PLAN, at, scope.report);
    let Some(kill) = own.free_table("kill") else {
        if !own.has("kill") {
            let complaint = Complaint::new("a plan needs `kill`");
            own.missing(complaint.hint("add kill = { ROUTE = \"drop\" }"));
        }
        return plan;
    };
    for (entry, _) in kill.entries() {
        let path = kill.path.join(&entry.key);
        let key = match key_in_plan(&entry.key, scope) {
            Ok(key) => key,
            Err(complaint) => {
                let report = scope.report;
                report.missing(entry.key_place, path.to_string(), complaint);
                continue;
            }
        };
        let at = Keyed {
            key: &key,
            path,
            place: entry.key_place,
        };
        if let Some(entries) = entries(&entry.value, at, scope) {
            plan.insert(key, entries);
        }
    }
    plan
}

fn key_in_plan(key: &str, scope: Scope<'_>) -> Decoded<crate::policy::kill::KillKey> {
    if key.starts_with("plan:") {
        let complaint = Complaint::new("a plan cannot throw another plan");
        return Err(complaint.hint("name its routes and tiers here, or throw both plans"));
    }
    resolve(key, scope.routes)
}

/// The plan that is named after `plan:`.
pub(super) fn named<'p>(name: &str, plans: &'p Plans) -> Decoded<(&'p Arc<str>, &'p Arc<Plan>)> {
    plans.get_key_value(name).ok_or_else(|| {
        let names = plans.keys().map(AsRef::as_ref);
        if name.is_empty() {
            let hint = "write plan:NAME, the NAME of a table [plans.NAME]";
            return Complaint::new("`plan:` names no plan").hint(hint);
        }
        let hint = did_you_mean(name, names)
            .unwrap_or_else(|| format!("add [plans.{name}] to seawall.toml or routes.d/*.toml"));
        Complaint::new(format!("there is no plan `{name}`")).hint(hint)
    })
}

/// The value of `"plan:NAME"`; `None`: it has an error, which is reported.
pub(super) fn plan_use(
    entry: &Entry<'_>,
    plan: &Arc<Plan>,
    at: Keyed<'_>,
    scope: Scope<'_>,
) -> Option<PlanUse> {
    let whole = |on| PlanUse {
        on,
        plan: Arc::clone(plan),
        until: None,
        dry_run: false,
        reason: None,
        owner: None,
    };
    let before = scope.report.errors();
    let Some(table) = entry.value.as_table() else {
        return match on(&entry.value) {
            Ok(on) => Some(whole(on)),
            Err(complaint) => {
                let key = at.path.to_string();
                scope.report.error(entry.value.place, key, complaint);
                None
            }
        };
    };
    let cursor = Cursor::open(table, keys::PLAN_USE, (at.path, at.place), scope.report);
    let used = table_use(&cursor, scope.now);
    let used = PlanUse {
        plan: Arc::clone(plan),
        ..used
    };
    (scope.report.errors() == before).then_some(used)
}

/// A table without `mode` throws the plan, as one of a route does.
fn table_use(cursor: &Cursor<'_>, now: Duration) -> PlanUse {
    PlanUse {
        on: cursor.read("mode", on).unwrap_or(true),
        plan: Arc::default(),
        until: until(cursor, now),
        dry_run: cursor.read("dry_run", boolean).unwrap_or_default(),
        reason: cursor.read("reason", words),
        owner: cursor.read("owner", words),
    }
}

fn on(node: &Node<'_>) -> Decoded<bool> {
    match node.as_text() {
        Some("on") => Ok(true),
        Some("off") => Ok(false),
        Some(name) if Mode::from_name(name).is_some() => {
            let complaint = expected("\"on\" or \"off\"", node);
            Err(complaint.hint("the plan says itself what is done to which route"))
        }
        Some(_) => Err(none_of(&["on", "off"], node)),
        None => Err(expected("\"on\", \"off\" or a table", node)),
    }
}
