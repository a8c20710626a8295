//! `PUT` and `DELETE /api/v1/kill/{key}`: the edits of `seawall kill` and `seawall restore`, over
//! HTTP. The file stays the one truth; the answer comes once the gateway has acted on it.

use std::sync::Arc;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Request, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::access::{Access, Refusal, access};
use super::admin::{Admin, aside};
use super::confirmation::{self, Edited, Outcome};
use super::switchedit::{Done, SwitchEdit, plain_entry};
use super::switchwriter::WriteError;
use crate::config::{Change, EditError, EntryText, Problem, Settings, read_switches};
use crate::policy::kill::KillKey;
use crate::vocab::Clock;

/// Largest body.
const MAX_BODY: usize = 64 << 10;

/// Whether a DELETE takes the key away or writes `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Restoring {
    Remove,
    Exempt,
}

/// What follows `?` of a DELETE, if it is known.
fn restoring(query: Option<&str>) -> Option<Restoring> {
    match query.unwrap_or_default() {
        "" | "exempt=false" => Some(Restoring::Remove),
        "exempt=true" => Some(Restoring::Exempt),
        _ => None,
    }
}

/// `PUT /api/v1/kill/{key}`: the body is the entry, as TOML has it, in JSON.
pub(super) async fn put(
    State(admin): State<Admin>,
    Path(key): Path<String>,
    request: Request<Body>,
) -> Response {
    let token = match authorised(&admin, request.headers()) {
        Ok(token) => token,
        Err(refusal) => return refusal.into_response(),
    };
    let Ok(body) = to_bytes(request.into_body(), MAX_BODY).await else {
        return problem(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", Value::Null);
    };
    act(admin, token, move |settings| {
        let known = known(settings, &key)?;
        let entry = entry(&body, &known, settings)?;
        Ok((known.to_string(), Change::Set(entry)))
    })
    .await
}

/// `DELETE /api/v1/kill/{key}`, or with `?exempt=true` the entry `off`.
pub(super) async fn delete(
    State(admin): State<Admin>,
    Path(key): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let token = match authorised(&admin, &headers) {
        Ok(token) => token,
        Err(refusal) => return refusal.into_response(),
    };
    let Some(restoring) = restoring(uri.query()) else {
        let hint = json!({ "hint": "the only parameter is exempt, true or false" });
        return problem(StatusCode::BAD_REQUEST, "invalid", hint);
    };
    act(admin, token, move |settings| {
        let known = known(settings, &key)?;
        let change = match restoring {
            Restoring::Exempt => Change::Set(EntryText::word("off")),
            Restoring::Remove => Change::Remove,
        };
        Ok((known.to_string(), change))
    })
    .await
}

fn authorised(admin: &Admin, headers: &HeaderMap) -> Result<Arc<str>, Refused> {
    let snapshot = admin.live.load();
    match access(headers, &snapshot.settings().admin) {
        Access::Granted(name) => Ok(name),
        Access::Refused(refusal) => {
            tracing::warn!(
                reason = refusal.as_str(),
                "an edit of the switches was refused"
            );
            Err(Refused(refusal))
        }
    }
}

struct Refused(Refusal);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let Refused(refusal) = self;
        let hint = json!({ "hint": refusal.hint() });
        let mut response = problem(refusal.status(), refusal.as_str(), hint);
        if refusal == Refusal::Token {
            let scheme = header::HeaderValue::from_static("Bearer");
            let headers = response.headers_mut();
            headers.insert(header::WWW_AUTHENTICATE, scheme);
        }
        response
    }
}

/// What cannot even be tried.
enum Unfit {
    /// There is no such key.
    Unknown(String, Option<String>),
    /// The body is no entry.
    Body(String),
}

fn known(settings: &Settings, key: &str) -> Result<KillKey, Unfit> {
    let unknown = settings.kill_key(key);
    unknown.map_err(|unknown| Unfit::Unknown(unknown.message, unknown.hint))
}

/// The entry of a body; an empty one, or `{}`, is the route's own mode.
fn entry(body: &Bytes, key: &KillKey, settings: &Settings) -> Result<EntryText, Unfit> {
    if body.trim_ascii().is_empty() {
        return Ok(plain_entry(key, settings));
    }
    let json: Value = serde_json::from_slice(body)
        .map_err(|error| Unfit::Body(format!("the body is no JSON: {error}")))?;
    if json.as_object().is_some_and(|fields| fields.is_empty()) {
        return Ok(plain_entry(key, settings));
    }
    EntryText::from_json(&json).map_err(|refusal| Unfit::Body(refusal.to_string()))
}

/// Edits, waits and answers, off the thread that serves.
async fn act(
    admin: Admin,
    token: Arc<str>,
    make: impl FnOnce(&Settings) -> Result<(String, Change), Unfit> + Send + 'static,
) -> Response {
    let answer = aside(move || {
        let snapshot = admin.live.load();
        match make(snapshot.settings()) {
            Ok((key, change)) => change_switch(&admin, &token, &key, &change),
            Err(Unfit::Unknown(message, hint)) => {
                let more = json!({ "message": message, "hint": hint });
                problem(StatusCode::NOT_FOUND, "unknown_key", more)
            }
            Err(Unfit::Body(message)) => {
                let more = json!({ "message": message });
                problem(StatusCode::BAD_REQUEST, "invalid", more)
            }
        }
    });
    answer.await.unwrap_or_else(IntoResponse::into_response)
}

fn change_switch(admin: &Admin, token: &Arc<str>, key: &str, change: &Change) -> Response {
    let begun = Clock::now();
    let snapshot = admin.live.load();
    let edit = SwitchEdit {
        dir: &admin.dir,
        settings: snapshot.settings(),
        key,
        change,
    };
    let note = |digest| admin.status.note_edit(digest, Arc::clone(token));
    let done = match edit.write(note) {
        Ok(done) => done,
        Err(error) => return unwritten(&error),
    };
    let status = || serde_json::to_value(admin.status.switches(&admin.live)).ok();
    let agreeing = || {
        let file = read_switches(&admin.dir).ok().flatten()?;
        edit.agrees(&file, &done).then_some(file.digest)
    };
    let edited = Edited {
        key,
        digest: done.written.digest,
    };
    let outcome = confirmation::wait(edited, status, agreeing);
    let took = Clock::now() - begun;
    let mut answer = json!({
        "key": key,
        "digest": format!("{:016x}", done.written.digest),
        "took_ms": took.as_secs_f64() * 1e3,
        "switches": [],
    });
    match outcome {
        Outcome::Acted(switches) => {
            answer["switches"] = Value::Array(switches);
            json_answer(StatusCode::OK, "application/json", &answer)
        }
        Outcome::Held(switches) => {
            answer["switches"] = Value::Array(switches);
            answer["errors"] = errors(&done);
            answer["hint"] = json!(
                "the file is written, but has errors: what was thrown stays thrown until they are gone"
            );
            problem(StatusCode::CONFLICT, "held", answer)
        }
        Outcome::Overtaken => problem(StatusCode::CONFLICT, "overtaken", answer),
        Outcome::Unread | Outcome::Silent => {
            problem(StatusCode::GATEWAY_TIMEOUT, "not_confirmed", answer)
        }
    }
}

fn errors(done: &Done) -> Value {
    serde_json::to_value(&done.after.problems).unwrap_or_default()
}

/// Nothing was written; the message says what to do by hand, if that is all there is.
fn unwritten(error: &WriteError<EditError>) -> Response {
    let problems = |problems: &[Problem]| json!({ "errors": serde_json::to_value(problems).unwrap_or_default() });
    let message = json!({ "message": error.to_string() });
    match error {
        WriteError::Edit(EditError::Invalid(invalid)) => {
            problem(StatusCode::BAD_REQUEST, "invalid", problems(invalid))
        }
        WriteError::Edit(EditError::WouldDisturb { .. }) => {
            problem(StatusCode::CONFLICT, "would_disturb", message)
        }
        WriteError::Mounted { .. } => problem(StatusCode::CONFLICT, "mounted", message),
        WriteError::ReadOnly { .. } => problem(StatusCode::CONFLICT, "read_only", message),
        WriteError::Busy { .. } | WriteError::Unsettled { .. } => {
            problem(StatusCode::SERVICE_UNAVAILABLE, "busy", message)
        }
        WriteError::Failed { .. } => problem(StatusCode::SERVICE_UNAVAILABLE, "failed", message),
    }
}

fn problem(status: StatusCode, reason: &str, more: Value) -> Response {
    let mut body = json!({ "status": status.as_u16(), "reason": reason });
    if let (Value::Object(body), Value::Object(more)) = (&mut body, more) {
        body.extend(more);
    }
    json_answer(status, "application/problem+json", &body)
}

fn json_answer(status: StatusCode, kind: &'static str, body: &Value) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (status, headers, body.to_string()).into_response()
}
