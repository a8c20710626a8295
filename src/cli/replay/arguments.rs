//! The options of `replay`, and how their values are read.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use http::{HeaderName, HeaderValue};

use crate::policy::pace::{NoRate, ReplayRate};
use crate::vocab::parse_duration;

/// Options of `replay`.
#[derive(Args, Debug)]
pub(in crate::cli) struct ReplayArguments {
    /// Records of this route; may be repeated. Default: of every route.
    #[arg(long, value_name = "ROUTE")]
    pub(super) route: Vec<String>,
    /// Requests received from then on: an RFC 3339 time, or how long ago ("15m").
    #[arg(long, value_name = "TIME")]
    pub(super) since: Option<String>,
    /// Requests received before then. Default: the start of the run.
    #[arg(long, value_name = "TIME")]
    pub(super) until: Option<String>,
    /// Send to this address instead of the route's upstream, the path as it was received:
    /// http://HOST[:PORT][/PREFIX].
    #[arg(long, value_name = "URL")]
    pub(super) to: Option<String>,
    /// Records a second or a minute, such as 500/s or 30/m.
    #[arg(long, value_name = "RATE", default_value = "100/s", value_parser = rate)]
    pub(super) rate: ReplayRate,
    /// Read this journal instead of the configured ones, beside the store; may be repeated.
    #[arg(long, value_name = "DIR")]
    pub(super) journal: Vec<PathBuf>,
    /// Read this store instead of what the configuration names, and no journal but by --journal.
    #[arg(long, value_name = "URL")]
    pub(super) store: Option<String>,
    /// Read records from this file instead: what `archive cat` prints, or the refused records of
    /// an earlier run; plain or compressed with zstd; may be repeated.
    #[arg(long, value_name = "FILE")]
    pub(super) from: Vec<PathBuf>,
    /// Send this header with every request, in place of the one recorded; @FILE reads the value
    /// from a file. May be repeated.
    #[arg(long, value_name = "NAME=VALUE", value_parser = header)]
    pub(super) header: Vec<(HeaderName, HeaderValue)>,
    /// The value of a query parameter that was left out of records; may be repeated.
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    pub(super) query: Vec<(String, String)>,
    /// Send records without the values that were left out of them.
    #[arg(long)]
    pub(super) without_redacted: bool,
    /// Also send records that an earlier run got accepted by the same target.
    #[arg(long)]
    pub(super) again: bool,
    /// Most requests under way at once; those of one client follow each other.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=400))]
    pub(super) concurrency: u16,
    /// Longest wait for the head of an answer.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = span)]
    pub(super) timeout: Duration,
    /// End the run when the target has done nothing but fail for so long; a record that it
    /// answers with 500 for so long is passed over.
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = span)]
    pub(super) give_up_after: Duration,
    /// The file that an interrupted run goes on from. Default: below data/replay, named after
    /// what is replayed.
    #[arg(long, value_name = "FILE")]
    pub(super) checkpoint: Option<PathBuf>,
    /// The file that refused records are appended to. Default: beside the checkpoint.
    #[arg(long, value_name = "FILE")]
    pub(super) refused: Option<PathBuf>,
    /// Say what would be sent, and send nothing.
    #[arg(long)]
    pub(super) dry_run: bool,
    /// The ledger as a JSON document on standard output, for scripts.
    #[arg(long)]
    pub(super) json: bool,
}

fn rate(text: &str) -> Result<ReplayRate, NoRate> {
    ReplayRate::parse(text)
}

fn span(text: &str) -> Result<Duration, String> {
    let span = parse_duration(text).map_err(|error| format!("expected {error}"))?;
    match span.is_zero() {
        true => Err("expected more than 0".to_owned()),
        false => Ok(span),
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = split(text)?;
    Ok((name.to_owned(), value))
}

/// `NAME=VALUE` or `NAME=@FILE`.
fn split(text: &str) -> Result<(&str, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    match value.strip_prefix('@') {
        None => Ok((name, value.to_owned())),
        Some(path) => match std::fs::read_to_string(path) {
            Ok(text) => Ok((name, text.trim_end_matches(['\r', '\n']).to_owned())),
            Err(error) => Err(format!("{path}: {error}")),
        },
    }
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    const FRAMING: [&str; 9] = [
        "connection",
        "content-length",
        "expect",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    let (name, value) = split(text)?;
    let header: HeaderName = name
        .parse()
        .map_err(|_| format!("{name:?} is no name of a header"))?;
    if FRAMING.contains(&header.as_str()) || header.as_str().starts_with("x-seawall-") {
        return Err(format!("{header} is set by the replay itself"));
    }
    let mut value: HeaderValue = value
        .parse()
        .map_err(|_| format!("the value of {header} has a character that no header may have"))?;
    // It is a credential more often than not.
    value.set_sensitive(true);
    Ok((header, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_given_as_text_or_in_a_file_and_none_that_frames() {
        let (name, value) = header("Authorization=Bearer a=b").unwrap();
        assert_eq!(
            (name.as_str(), value.to_str().unwrap()),
            ("authorization", "Bearer a=b")
        );
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("token");
        std::fs::write(&path, "secret\n").unwrap();
        let (_, value) = header(&format!("x-api-key=@{}", path.display())).unwrap();
        assert_eq!(value, "secret");
        for text in [
            "authorization",
            "=x",
            "a b=c",
            "x=\u{7}",
            "x=@/nonexistent/file",
            "content-length=3",
            "Connection=close",
            "x-seawall-replay=1",
        ] {
            assert!(header(text).is_err(), "{text}");
        }
    }
}
