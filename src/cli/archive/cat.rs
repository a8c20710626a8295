//! `seawall archive cat`: records, oldest first, from the journal and the store together.

use std::io::Write;
use std::sync::Arc;

use clap::Args;
use jiff::Timestamp;

use super::places::Places;
use super::{Found, Stop, in_order, moment};
use crate::archive::RealDisk;
use crate::archive::source::{Source, SourceOptions, Wanted};
use crate::config::did_you_mean;

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
    known(places, &arguments.route).await?;
    let mut found = places.found;
    let wanted = Wanted {
        routes: arguments.route.clone(),
        since: arguments.since,
        until: arguments.until,
    };
    let options = options(places, wanted);
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

fn options(places: &Places, wanted: Wanted) -> SourceOptions {
    SourceOptions {
        store: places.store.clone(),
        journals: places.journals.clone(),
        wanted,
        ..SourceOptions::new()
    }
}

/// Whether the routes that were typed are configured, or have a record: a route may be gone
/// since.
async fn known(places: &Places, routes: &[String]) -> Result<(), Stop> {
    let Some(configured) = &places.routes else {
        return Ok(());
    };
    for route in routes {
        if !configured.contains(route) && !has_record(places, route).await {
            let names = configured.iter().map(String::as_str);
            let hint = did_you_mean(route, names).map_or(String::new(), |hint| format!("; {hint}"));
            return Err(Stop::Usage(format!(
                "--route {route}: the configuration has no such route, and no record is of it{hint}"
            )));
        }
    }
    Ok(())
}

/// Whether a record is of that route. What cannot be read may be.
async fn has_record(places: &Places, route: &str) -> bool {
    let wanted = Wanted {
        routes: vec![route.to_owned()],
        since: None,
        until: None,
    };
    let source = Source::open(options(places, wanted), Arc::new(RealDisk));
    let Ok(mut source) = source.await else {
        return true;
    };
    let next = source.next().await;
    !matches!(next, Ok(None)) || !source.take_damage().is_empty()
}
