//! Answers that the gateway makes: `respond`, `kill_switch`, and those of `[kill]` entries.

use bytes::Bytes;
use http::{HeaderValue, StatusCode};

use super::cursor::{Cursor, Decoded};
use super::keys;
use super::report::{Complaint, did_you_mean};
use super::settings::{OnFailure, RespondSpec};
use super::target::{Chosen, chosen};
use super::tree::Node;
use super::value::{
    boolean, content_type, duration, expected, header_name_text, none_of, status, text,
};
use crate::policy::kill::{AnswerSpec, DEFAULT_RESTORE, KillSwitchSpec, Mode, Quota, WhenFull};
use crate::policy::share::{Share, Sticky};
use crate::vocab::{ByteSize, Tier};

fn body(node: &Node<'_>) -> Decoded<Bytes> {
    Ok(Bytes::copy_from_slice(text(node)?.as_bytes()))
}

/// A mode.
pub(super) fn mode(node: &Node<'_>) -> Decoded<Mode> {
    let name = text(node).map_err(|_| expected("a mode", node))?;
    Mode::from_name(name).ok_or_else(|| none_of(&Mode::ALL.map(Mode::as_str), node))
}

fn when_full(node: &Node<'_>) -> Decoded<WhenFull> {
    match node.as_text() {
        Some("reject") => Ok(WhenFull::Reject),
        Some("drop") => Ok(WhenFull::Drop),
        _ => Err(none_of(&["reject", "drop"], node)),
    }
}

/// A share of `archive.max_bytes`, or a size.
fn archive_quota(node: &Node<'_>) -> Decoded<Quota> {
    let complaint = || expected("a share such as \"25%\", or a size such as \"2GiB\"", node);
    let text = text(node).map_err(|_| complaint())?;
    let quota = match text.strip_suffix('%') {
        Some(number) => {
            let plain = number.starts_with(|c: char| c.is_ascii_digit())
                && number.ends_with(|c: char| c.is_ascii_digit());
            let number = number.parse::<f64>().ok();
            let share = number.filter(|number| plain && *number > 0.0);
            share.and_then(Share::from_percent).map(Quota::Share)
        }
        None => {
            let size = ByteSize::parse(text).ok().filter(|size| size.0 > 0);
            size.map(|size| Quota::Bytes(size.0))
        }
    };
    quota.ok_or_else(complaint)
}

/// `status`, `body` and `content_type` of a table.
pub(super) fn answer(cursor: &Cursor<'_>) -> AnswerSpec {
    let answer = AnswerSpec {
        status: cursor.read("status", status),
        body: cursor.read("body", body),
        content_type: cursor.read("content_type", content_type),
    };
    let bodiless = [
        StatusCode::NO_CONTENT,
        StatusCode::RESET_CONTENT,
        StatusCode::NOT_MODIFIED,
    ];
    if let (Some(status), Some(body)) = (answer.status, &answer.body)
        && bodiless.contains(&status)
        && !body.is_empty()
    {
        let message = format!("a {} has no body", status.as_u16());
        let complaint = Complaint::new(message).hint("remove the body, or use status 200");
        cursor.complain("body", cursor.place_of("body"), complaint);
    }
    answer
}

/// `respond` of a route.
pub(super) fn respond(route: &Cursor<'_>) -> Option<RespondSpec> {
    let cursor = route.table("respond", keys::RESPOND)?;
    let answer = answer(&cursor);
    let body = answer.body.unwrap_or_default();
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    let default = (!body.is_empty()).then_some(plain);
    Some(RespondSpec {
        status: answer.status.unwrap_or(StatusCode::OK),
        body,
        content_type: answer.content_type.or(default),
    })
}

/// `kill_switch` of a route.
pub(super) fn kill_switch(route: &Cursor<'_>, tier: Tier) -> KillSwitchSpec {
    let default = match tier {
        Tier::Core | Tier::Standard => WhenFull::Reject,
        Tier::Sheddable => WhenFull::Drop,
    };
    let Some(cursor) = route.table("kill_switch", keys::KILL_SWITCH) else {
        return KillSwitchSpec {
            when_full: default,
            ..KillSwitchSpec::default()
        };
    };
    KillSwitchSpec {
        mode: cursor.read("mode", mode),
        answer: answer(&cursor),
        sticky: cursor.read("sticky", sticky).unwrap_or_default(),
        restore: cursor.read("restore", duration).unwrap_or(DEFAULT_RESTORE),
        close_tunnels: cursor.read("close_tunnels", boolean).unwrap_or_default(),
        when_full: cursor.read("when_full", when_full).unwrap_or(default),
        archive_quota: cursor
            .read("archive_quota", archive_quota)
            .unwrap_or_default(),
    }
}

/// `on_failure` of a route whose switch has this mode.
pub(super) fn on_failure(route: &Cursor<'_>, mode: Option<Mode>) -> OnFailure {
    let decode = |node: &Node<'_>| match node.as_text() {
        Some("closed") => Ok(OnFailure::Closed),
        Some("open") => Ok(OnFailure::Open),
        _ => Err(none_of(&["closed", "open"], node)),
    };
    let on_failure = route.read("on_failure", decode).unwrap_or_default();
    // A route that answers itself has nothing that fails.
    let fails = chosen(route) != Chosen::Respond;
    if fails && on_failure == OnFailure::Open && mode != Some(Mode::Archive) {
        let complaint = Complaint::new("\"open\" keeps what the upstream fails to take, as mode \"archive\" does, and needs it")
            .hint("add kill_switch = { mode = \"archive\" }, which throws nothing by itself");
        route.complain("on_failure", route.place_of("on_failure"), complaint);
    }
    on_failure
}

/// What tells clients apart.
fn sticky(node: &Node<'_>) -> Decoded<Sticky> {
    let complaint = || expected("\"client-ip\", \"header:NAME\" or \"request\"", node);
    let text = text(node).map_err(|_| complaint())?;
    match text.split_once(':') {
        None if text == "client-ip" => Ok(Sticky::ClientIp),
        None if text == "request" => Ok(Sticky::Request),
        Some(("header", name)) => header_name_text(name.trim())
            .map(Sticky::Header)
            .ok_or_else(|| complaint().hint("the name of a header goes after `header:`")),
        _ => {
            let near = did_you_mean(text, ["client-ip", "request"]);
            let header = || {
                text.starts_with("header")
                    .then(|| "write \"header:NAME\"".to_owned())
            };
            Err(complaint().maybe_hint(near.or_else(header)))
        }
    }
}
