//! What several files assert.

use super::client::Response;

/// An answer that the gateway made because it would not or could not proxy.
pub fn assert_refusal(response: &Response, status: u16, reason: &str) {
    let shown = format!("{} {}", response.head.start, response.text());
    assert_eq!(response.status, status, "{shown}");
    assert!(!response.from_upstream(), "{shown}");
    let header = |name: &str| response.header(name).unwrap_or_default();
    assert!(
        header("content-type").starts_with("application/problem+json"),
        "{shown}"
    );
    assert_eq!(header("cache-control"), "no-store", "{shown}");
    let problem = response.json();
    assert_eq!(problem["reason"], reason, "{shown}");
    assert!(!header("x-request-id").is_empty(), "{shown}");
    assert_eq!(problem["request_id"], header("x-request-id"), "{shown}");
}

/// The `reason` of a refusal; empty when the answer is none.
pub fn reason_of(response: &Response) -> String {
    let problem: serde_json::Value = serde_json::from_slice(&response.body).unwrap_or_default();
    problem["reason"].as_str().unwrap_or_default().to_owned()
}

/// An answer of a switch in mode `drop` without a configured body.
pub fn assert_killed(response: &Response) {
    let shown = format!("{} {}", response.head.start, response.text());
    assert!(!response.from_upstream(), "{shown}");
    assert_eq!(response.status, 200, "{shown}");
    assert_eq!(response.text(), "", "{shown}");
    let caching = response.header("cache-control");
    assert_eq!(caching.as_deref(), Some("no-store"), "{shown}");
}

/// An answer of the scripted upstream.
pub fn assert_passed(response: &Response) {
    let shown = format!("{} {}", response.head.start, response.text());
    assert!(response.from_upstream(), "{shown}");
    assert_eq!(response.status, 200, "{shown}");
}
