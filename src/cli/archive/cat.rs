//! `seawall archive cat`: records, oldest first, from the journal and the store together.

use std::io::Write;
use std::sync::Arc;

use clap::Args;
use jiff::Timestamp;

use super::places::Places;
use super::{Found, Stop, in_order, moment};
use crate::archive::RealDisk;
use crate::archive::source::{Source, SourceOptions, Wanted};

#[derive(Args, Debug)]
pub(super) struct CatArguments {
    /// Records of this route alone; may be repeated.
    #[arg(long, value_name = "ROUTE")]
    route: Vec<String>,
    /// Requests received from then on: an RFC 3339 time, or how long ago ("15m").
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<Timestamp>,
    /// Requests received before then.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<Timestamp>,
    /// At most so many records.
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
}

impl CatArguments {
    /// Whether the span asked for has anything in it.
    pub(super) fn in_order(&self) -> Result<(), String> {
        in_order(self.since, self.until)
    }
}

/// Prints what is wanted. Damage and errors go to standard error, and the rest is printed.
pub(super) async fn cat(
    places: &Places,
    out: &mut impl Write,
    arguments: &CatArguments,
) -> Result<Found, Stop> {
    let mut found = places.found;
    let options = SourceOptions {
        store: places.store.clone(),
        journals: places.journals.clone(),
        wanted: Wanted {
            routes: arguments.route.clone(),
            since: arguments.since,
            until: arguments.until,
        },
        ..SourceOptions::new()
    };
    let mut source = match Source::open(options, Arc::new(RealDisk)).await {
        Ok(source) => source,
        Err(error) => {
            found.fault(error);
            return Ok(found);
        }
    };
    let mut left = arguments.limit.unwrap_or(u64::MAX);
    while left > 0 {
        let next = source.next().await;
        for damage in source.take_damage() {
            found.fault(damage);
        }
        match next {
            Ok(Some(sourced)) => {
                out.write_all(&sourced.line)?;
                out.write_all(b"\n")?;
                left -= 1;
            }
            Ok(None) => break,
            Err(error) => {
                found.fault(format_args!("{error}; not all records were read"));
                break;
            }
        }
    }
    Ok(found)
}
