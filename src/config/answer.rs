//! Answers that the gateway makes: `respond`, `kill_switch`, and those of `[kill]` entries.

use bytes::Bytes;
use http::{HeaderValue, StatusCode};

use super::cursor::{Cursor, Decoded};
use super::keys::{self, NOT_YET};
use super::report::{Complaint, did_you_mean};
use super::settings::RespondSpec;
use super::tree::Node;
use super::value::{
    boolean, content_type, duration, expected, header_name_text, none_of, status, text,
};
use crate::policy::kill::{AnswerSpec, DEFAULT_RESTORE, KillSwitchSpec, Mode};
use crate::policy::share::Sticky;

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
        sticky: cursor.read("sticky", sticky).unwrap_or_default(),
        restore: cursor.read("restore", duration).unwrap_or(DEFAULT_RESTORE),
        close_tunnels: cursor.read("close_tunnels", boolean).unwrap_or_default(),
    }
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
