//! Answers that the gateway makes itself, from the one table in [`Reason`].

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{Method, Response, StatusCode};

use super::correlation;
use super::exchange::Exchange;
use super::headers::X_REQUEST_ID;
use super::reply::ReplyBody;
use super::worker::Worker;
use crate::policy::kill::DEFAULT_RETRY_AFTER;
use crate::upstream::BodyFault;
use crate::vocab::{By, Clock, Reason, RetryAfter};

/// A limit that is full has places again soon; before jitter.
const OVERLOADED_RETRY_AFTER: Duration = Duration::from_secs(1);

/// A refusal on its way to its answer.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) reason: Reason,
    /// For `method_not_allowed`.
    pub(crate) allow: Vec<Method>,
    /// The connection ends with this answer, whatever the table says.
    pub(crate) close: bool,
    /// For mode `reject`: another status, and the delay before jitter.
    pub(crate) status: Option<StatusCode>,
    pub(crate) retry_after: Duration,
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Refusal {
        Refusal {
            reason,
            allow: Vec::new(),
            close: reason.row().closes,
            status: None,
            retry_after: match reason == Reason::Overloaded {
                true => OVERLOADED_RETRY_AFTER,
                false => DEFAULT_RETRY_AFTER,
            },
        }
    }
}

impl Refusal {
    /// The answer. `by` is the kill switch for mode `reject`, otherwise the gateway.
    pub(crate) fn answer(self, by: By, mut exchange: Exchange) -> Response<ReplyBody> {
        let fault = exchange
            .progress
            .as_ref()
            .and_then(|progress| progress.fault());
        if fault == Some(BodyFault::Gone) {
            // Nobody is there to be answered: the record says so when it is dropped here.
            return Response::new(ReplyBody::unrecorded(Bytes::new()));
        }
        let row = self.reason.row();
        let status = self.status.map_or(row.status, |status| status.as_u16());
        let random = exchange.worker.random();
        let rate = self.rate_fields(&exchange);
        exchange.answered(by, status);
        exchange.reason = Some(self.reason);
        let body = problem(self.reason, status, &exchange.request_id);
        let id = exchange.request_id.clone();
        let close = self.close || exchange.closes();
        let mut response = Response::new(ReplyBody::full(body, exchange));
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, PROBLEM_JSON);
        headers.insert(header::CACHE_CONTROL, NO_STORE);
        headers.insert(X_REQUEST_ID, id);
        if !self.allow.is_empty() {
            headers.insert(header::ALLOW, allow(&self.allow));
        }
        if row.retry_after == RetryAfter::Sent {
            headers.insert(header::RETRY_AFTER, retry_after(self.retry_after, random));
        }
        if let Some((policy, limit)) = rate {
            headers.insert(RATE_LIMIT_POLICY, policy);
            headers.insert(RATE_LIMIT, limit);
        }
        if close {
            headers.insert(header::CONNECTION, CLOSE);
        }
        response
    }

    /// `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-10) of a request
    /// that its route's rate limit refused.
    fn rate_fields(&self, exchange: &Exchange) -> Option<(HeaderValue, HeaderValue)> {
        if self.reason != Reason::RateLimited {
            return None;
        }
        let route = exchange.view.snapshot.route(exchange.route?);
        let policy = route.rate.as_ref()?.policy.clone();
        let wait = whole_seconds(self.retry_after);
        let limit = format!("\"{}\";r=0;t={wait}", route.spec.name);
        Some((policy, HeaderValue::try_from(limit).ok()?))
    }
}

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");
pub(crate) const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
pub(crate) const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// The answer after a panic, whose record was closed while the stack unwound.
pub(crate) fn after_panic(worker: &Worker, id: Option<HeaderValue>) -> Response<ReplyBody> {
    let id = id.unwrap_or_else(|| correlation::make(worker));
    let status = Reason::Internal.row().status;
    let body = problem(Reason::Internal, status, &id);
    let mut response = Response::new(ReplyBody::unrecorded(body));
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, PROBLEM_JSON);
    headers.insert(header::CACHE_CONTROL, NO_STORE);
    headers.insert(X_REQUEST_ID, id);
    headers.insert(header::CONNECTION, CLOSE);
    response
}

/// A whole answer in bytes, counted, for refusals below hyper: the head never became a request.
pub fn raw_refusal(worker: &Arc<Worker>, reason: Reason) -> Bytes {
    let row = reason.row();
    let id = correlation::make(worker);
    let metrics = &worker.live.metrics.unmatched;
    metrics.begin();
    metrics.refused(reason);
    metrics.end(By::Gateway, row.status, Duration::ZERO);
    let id_text = id.to_str().unwrap_or_default();
    tracing::debug!(
        reason = row.name,
        request_id = id_text,
        "refused below HTTP"
    );
    let body = problem(reason, row.status, &id);
    let status = StatusCode::from_u16(row.status).unwrap_or_default();
    let retry = match row.retry_after {
        RetryAfter::Never => String::new(),
        RetryAfter::Sent => {
            let value = retry_after(DEFAULT_RETRY_AFTER, worker.random());
            format!("retry-after: {}\r\n", value.to_str().unwrap_or_default())
        }
    };
    let unix = Clock::unix();
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\n\
         cache-control: no-store\r\nx-request-id: {id_text}\r\n{retry}date: {}\r\n\
         connection: close\r\n\r\n",
        body.len(),
        http_date(unix),
    );
    let mut answer = head.into_bytes();
    answer.extend_from_slice(&body);
    Bytes::from(answer)
}

/// RFC 9110, 5.6.7.
fn http_date(unix: Duration) -> String {
    let time = jiff::Timestamp::from_second(unix.as_secs() as i64).unwrap_or_default();
    time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// RFC 9457. The table's strings need no escaping; an id has visible ASCII only, of which two
/// characters do.
fn problem(reason: Reason, status: u16, id: &HeaderValue) -> Bytes {
    let row = reason.row();
    let id = id.to_str().unwrap_or_default();
    let escaped = match id.contains(['"', '\\']) {
        true => Cow::Owned(id.replace('\\', "\\\\").replace('"', "\\\"")),
        false => Cow::Borrowed(id),
    };
    Bytes::from(format!(
        r#"{{"type":"about:blank","title":"{}","status":{status},"reason":"{}","request_id":"{escaped}"}}"#,
        row.title, row.name,
    ))
}

fn allow(methods: &[Method]) -> HeaderValue {
    let names: Vec<&str> = methods.iter().map(Method::as_str).collect();
    HeaderValue::try_from(names.join(", ")).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// Seconds from `base` to twice that, each as likely, so that clients do not come back together.
/// `random` is in [0, 1).
fn retry_after(base: Duration, random: f64) -> HeaderValue {
    let base = whole_seconds(base);
    let more = (random * (base as f64 + 1.0)) as u64;
    HeaderValue::from(base.saturating_add(more))
}

/// Rounded up: nobody is told to come back too early.
fn whole_seconds(wait: Duration) -> u64 {
    let more = u64::from(wait.subsec_nanos() > 0);
    wait.as_secs().saturating_add(more).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_has_up_to_100_percent_jitter() {
        let base = Duration::from_secs(10);
        assert_eq!(retry_after(base, 0.0), "10");
        assert_eq!(retry_after(base, 0.999), "20");
        assert_eq!(retry_after(Duration::ZERO, 0.0), "1");
        assert_eq!(
            retry_after(Duration::MAX, 0.5),
            u64::MAX.to_string().as_str()
        );
    }

    #[test]
    fn every_second_of_the_jitter_is_as_likely() {
        for (millis, base) in [(300, 1), (1_000, 1), (1_001, 2), (2_000, 2), (10_000, 10)] {
            let values = base + 1;
            let mut counts = vec![0; values];
            for draw in 0..values * 100 {
                let random = (draw as f64 + 0.5) / (values * 100) as f64;
                let told = retry_after(Duration::from_millis(millis), random);
                let told: usize = told.to_str().unwrap().parse().unwrap();
                counts[told - base] += 1;
            }
            assert_eq!(counts, vec![100; values], "{millis} ms");
        }
    }

    #[test]
    fn a_wait_is_told_in_whole_seconds_and_never_too_short() {
        let told = |millis| whole_seconds(Duration::from_millis(millis));
        assert_eq!([0, 1, 999, 1000, 1001].map(told), [1, 1, 1, 1, 2]);
        assert_eq!(whole_seconds(Duration::MAX), u64::MAX);
    }

    #[test]
    fn a_problem_is_json_whatever_the_id_and_the_reason() {
        let id = HeaderValue::from_static(r#"a"b\c"#);
        for row in &Reason::TABLE {
            let body = problem(row.reason, 599, &id);
            let value: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(value["title"], row.title);
            assert_eq!(value["reason"], row.name);
            assert_eq!(value["status"], 599);
            assert_eq!(value["request_id"], r#"a"b\c"#);
        }
    }

    #[test]
    fn dates_are_in_the_form_of_http() {
        let date = http_date(Duration::from_secs(784_111_777));
        assert_eq!(date, "Sun, 06 Nov 1994 08:49:37 GMT");
    }
}
