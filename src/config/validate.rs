//! From files to settings: tree, merge, decode. Every error is reported, not only the first.

use super::cursor::{Cursor, Path};
use super::error::Problem;
use super::file::{Environment, SourceFile};
use super::keys;
use super::merge::merge;
use super::report::Report;
use super::routes;
use super::server::{admin, server, telemetry};
use super::settings::Settings;
use super::tree::{self, Node, Place};
use super::upstreams::upstreams;

/// A configuration that may be used.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What it says.
    pub settings: Settings,
    /// What somebody should look at.
    pub warnings: Vec<Problem>,
}

/// What was read of a configuration, whether or not it may be used.
pub(crate) struct Examined {
    /// Complete only without errors; but every route that is named is there.
    pub(crate) settings: Settings,
    /// Every error of every file, in their order.
    pub(crate) errors: Vec<Problem>,
    /// What somebody should look at.
    pub(crate) warnings: Vec<Problem>,
}

/// Validates the structure files, as [`super::read_structure`] gives them.
///
/// # Errors
/// Every error of every file, in their order.
pub fn load(files: &[SourceFile], environment: &Environment) -> Result<Loaded, Vec<Problem>> {
    let examined = examine(files, environment);
    if !examined.errors.is_empty() {
        return Err(examined.errors);
    }
    Ok(Loaded {
        settings: examined.settings,
        warnings: examined.warnings,
    })
}

/// The same for a report that goes on after errors.
pub(crate) fn examine(files: &[SourceFile], environment: &Environment) -> Examined {
    let report = Report::new(files);
    let trees = files
        .iter()
        .enumerate()
        .map(|(index, file)| tree::read(index, file, environment, &report));
    let root = merge(trees.collect(), &report);
    let at = (Path::ROOT, Place::default());
    let settings = settings(&Cursor::open(&root, keys::ROOT, at, &report), environment);
    let (errors, warnings) = report.finish();
    Examined {
        settings,
        errors,
        warnings,
    }
}

fn settings(root: &Cursor<'_>, environment: &Environment) -> Settings {
    let server = server(root.table("server", keys::SERVER).as_ref(), environment);
    let admin = admin(root.table("admin", keys::ADMIN).as_ref(), &server);
    let telemetry = telemetry(root.table("telemetry", keys::TELEMETRY).as_ref());
    let upstreams = root
        .free_table("upstreams")
        .map(|cursor| upstreams(&cursor))
        .unwrap_or_default();
    if let Some(cursor) = root.table("defaults", keys::ROUTE) {
        routes::defaults(&cursor, &upstreams);
    }
    let defaults = root.read("defaults", Ok).and_then(Node::as_table);
    let routes = root
        .free_table("routes")
        .map(|cursor| routes::routes(&cursor, defaults, &upstreams))
        .unwrap_or_default();
    Settings {
        server,
        admin,
        telemetry,
        upstreams,
        routes,
    }
}
