//! Answers that the gateway makes: `respond`, `kill_switch`, and those of `[kill]` entries.

use bytes::Bytes;
use http::{HeaderValue, StatusCode};

use super::cursor::{Cursor, Decoded};
use super::keys::{self, NOT_YET};
use super::report::Complaint;
use super::settings::RespondSpec;
use super::tree::Node;
use super::value::{content_type, expected, none_of, status, text};
use crate::policy::kill::{AnswerSpec, KillSwitchSpec, Mode};

fn body(node: &Node<'_>) -> Decoded<Bytes> {
    Ok(Bytes::copy_from_slice(text(node)?.as_bytes()))
}

/// A mode that acts in this release.
pub(super) fn mode(node: &Node<'_>) -> Decoded<Mode> {
    match Mode::from_name(text(node).map_err(|_| expected("a mode", node))?) {
        Some(Mode::Archive) => Err(Complaint::new(format!("mode \"archive\" is {NOT_YET}"))
            .hint("use \"drop\" (200, the payload is lost) or \"reject\" (503)")),
        Some(mode @ (Mode::Drop | Mode::Reject)) => Ok(mode),
        None => Err(none_of(&["drop", "reject"], node)),
    }
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
pub(super) fn kill_switch(route: &Cursor<'_>) -> KillSwitchSpec {
    let Some(cursor) = route.table("kill_switch", keys::KILL_SWITCH) else {
        return KillSwitchSpec::default();
    };
    KillSwitchSpec {
        mode: cursor.read("mode", mode),
        answer: answer(&cursor),
        ..KillSwitchSpec::default()
    }
}
