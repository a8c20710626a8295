//! From files to settings: tree, merge, decode. Every error is reported, not only the first.

use super::archive::{archive, place_of_journal};
use super::cursor::{Cursor, Path};
use super::entries::Scope;
use super::error::{Problem, Severity};
use super::file::{Environment, SourceFile};
use super::keys;
use super::merge::merge;
use super::plans::plans;
use super::report::{Complaint, Report};
use super::routes;
use super::server::{admin, server, telemetry};
use super::settings::Settings;
use super::tree::{self, Node, Place, Table};
use super::upstreams::upstreams;
use crate::vocab::Clock;

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
    let root = merged((files, environment), &report);
    let at = (Path::ROOT, Place::default());
    let settings = settings(&Cursor::open(&root, keys::ROOT, at, &report), environment);
    let (errors, mut warnings) = report.finish();
    if let Some(file) = files.first()
        && settings.routes.is_empty()
        && errors.is_empty()
    {
        let message = "there is no route: every request is answered 404";
        let mut problem = Problem::placeless(&file.path, message);
        problem.severity = Severity::Warning;
        warnings.push(problem.with_hint("add [routes.NAME] here or in routes.d/*.toml"));
    }
    Examined {
        settings,
        errors,
        warnings,
    }
}

/// All files as one tree.
fn merged<'t>(
    (files, environment): (&'t [SourceFile], &Environment),
    report: &Report<'_>,
) -> Table<'t> {
    let trees = files
        .iter()
        .enumerate()
        .map(|(index, file)| tree::read(index, file, environment, report));
    merge(trees.collect(), report)
}

/// A warning about a directory of the journal, where it is written: what is wrong with it shows
/// a look at the disk, which reading a configuration does not take.
pub(crate) fn warn_of_journal(
    (files, environment): (&[SourceFile], &Environment),
    directory: &std::path::Path,
    (message, hint): (String, &str),
) -> Option<Problem> {
    let report = Report::new(files);
    let root = merged((files, environment), &report);
    // Its errors were reported when it was read for the first time.
    let unheard = Report::new(files);
    let root = Cursor::open(&root, keys::ROOT, (Path::ROOT, Place::default()), &unheard);
    let archive = root.table("archive", keys::ARCHIVE);
    let place = archive.and_then(|archive| place_of_journal(&archive, directory));
    let Some(place) = place else {
        let mut problem = Problem::placeless(&files.first()?.path, message).with_hint(hint);
        problem.severity = Severity::Warning;
        return Some(problem);
    };
    let report = Report::new(files);
    let complaint = Complaint::new(message).hint(hint);
    report.warning(place, "archive.journal".to_owned(), complaint);
    report.finish().1.pop()
}

fn settings(root: &Cursor<'_>, environment: &Environment) -> Settings {
    let server = server(root.table("server", keys::SERVER).as_ref(), environment);
    let admin = admin(root.table("admin", keys::ADMIN).as_ref(), &server);
    let telemetry = telemetry(root.table("telemetry", keys::TELEMETRY).as_ref());
    let archive = archive(root.table("archive", keys::ARCHIVE).as_ref());
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
    let scope = Scope {
        routes: &routes,
        report: root.report,
        now: Clock::unix(),
    };
    let plans = root
        .free_table("plans")
        .map(|cursor| plans(&cursor, scope))
        .unwrap_or_default();
    Settings {
        server,
        admin,
        telemetry,
        archive,
        upstreams,
        plans,
        routes,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::{Method, StatusCode};

    use super::*;
    use crate::config::{AccessLog, HostRewrite, RouteSettings, Target};
    use crate::policy::kill::Mode;
    use crate::vocab::{ByteRate, ByteSize, Tier};

    fn settings(texts: &[&str]) -> Settings {
        let files: Vec<SourceFile> = texts
            .iter()
            .map(|text| SourceFile::new("seawall.toml", text))
            .collect();
        let environment = |name: &str| (name == "PORT").then(|| "9001".to_owned());
        match load(&files, &environment) {
            Ok(loaded) => loaded.settings,
            Err(problems) => panic!("{problems:#?}"),
        }
    }

    fn route<'s>(settings: &'s Settings, name: &str) -> &'s RouteSettings {
        let named = |route: &&RouteSettings| &*route.name == name;
        settings.routes.iter().find(named).unwrap()
    }

    #[test]
    fn an_empty_file_gives_the_defaults_of_the_contract() {
        let settings = settings(&[""]);
        let server = &settings.server;
        assert_eq!(server.listen, ["0.0.0.0:8080".parse().unwrap()]);
        assert_eq!(&*server.instance, "seawall");
        assert!(server.workers >= 1);
        assert_eq!(server.header_timeout, Duration::from_secs(10));
        assert_eq!(server.min_body_rate, ByteRate(256));
        assert_eq!(server.max_header_bytes, ByteSize(32 << 10));
        assert_eq!((server.max_headers, server.max_connections), (100, 20_000));
        assert_eq!(server.drain_delay, Duration::from_secs(5));
        assert_eq!(settings.admin.listen, "127.0.0.1:9901".parse().unwrap());
        assert_eq!(settings.admin.probe_listen, None);
        assert_eq!(settings.telemetry.log, "info");
        assert_eq!(settings.telemetry.access_log, AccessLog::Off);
    }

    #[test]
    fn a_route_has_the_defaults_of_the_contract() {
        let text = "[upstreams.up]\nendpoints = [\"http://a:${PORT}\"]\n\
                    [routes.x]\npath = \"/x\"\nupstream = \"up\"\n";
        let settings = settings(&[text]);
        let up = &settings.upstreams["up"];
        assert_eq!(
            (&*up.endpoints[0].text, up.endpoints[0].port),
            ("http://a:9001", 9001)
        );
        assert_eq!(up.connect_timeout, Duration::from_secs(1));
        assert_eq!(
            (up.keepalive.max_idle, up.read_timeout),
            (256, Duration::from_secs(30))
        );
        let route = route(&settings, "x");
        assert_eq!(route.target, Target::Upstream("up".into()));
        assert_eq!(
            (route.tier, route.timeout),
            (Tier::Standard, Duration::from_secs(3))
        );
        assert_eq!(route.max_body, Some(ByteSize(10 << 20)));
        assert_eq!(
            (route.attempt_timeout, &route.host_rewrite),
            (None, &HostRewrite::Keep)
        );
        assert_eq!(route.kill_switch.mode, None);
    }

    #[test]
    fn defaults_merge_table_by_table_and_key_by_key() {
        let text = r#"
            [upstreams.up]
            endpoints = ["http://a"]
            [defaults]
            upstream = "up"
            timeout = "1s"
            methods = ["GET"]
            kill_switch = { mode = "drop", body = "{}", status = 202 }
            request_headers = { set = { x-a = "1", x-b = "1" }, remove = ["x-c"] }
            headers = { x-v = "1" }
            [routes.x]
            path = "/x"
            kill_switch = { status = 200, mode = "reject" }
            request_headers = { set = { x-b = "2" } }
            headers = { x-w = { prefix = "2" } }
            max_body = "none"
            [routes.y]
            path = "/y"
            respond = { status = 201 }
        "#;
        let settings = settings(&[text]);
        let x = route(&settings, "x");
        assert_eq!(x.timeout, Duration::from_secs(1));
        assert_eq!(x.matches.methods, [Method::GET]);
        assert_eq!(x.matches.headers.len(), 2);
        assert_eq!(x.kill_switch.mode, Some(Mode::Reject));
        assert_eq!(x.kill_switch.answer.status, Some(StatusCode::OK));
        assert_eq!(x.kill_switch.answer.body.as_deref(), Some(&b"{}"[..]));
        let set = &x.request_headers.set;
        let mut set: Vec<(&str, &[u8])> = set
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_bytes()))
            .collect();
        set.sort_unstable();
        assert_eq!(set, [("x-a", &b"1"[..]), ("x-b", &b"2"[..])]);
        assert_eq!((x.request_headers.remove.len(), x.max_body), (1, None));
        // A route's own answer stands against the upstream of `[defaults]`.
        let y = route(&settings, "y");
        assert!(matches!(&y.target, Target::Respond(respond) if respond.status == 201));
    }

    #[test]
    fn files_merge_by_key() {
        let settings = settings(&[
            "[server]\nmax_headers = 5\n[routes.b]\npath = \"/b\"\nrespond = {}\n",
            "[server]\nworkers = 2\n[routes.a]\nhost = \"a.example\"\nrespond = {}\n",
        ]);
        assert_eq!(
            (settings.server.workers, settings.server.max_headers),
            (2, 5)
        );
        let names: Vec<&str> = settings.routes.iter().map(|route| &*route.name).collect();
        assert_eq!(names, ["a", "b"]);
    }

    #[test]
    fn a_broken_line_hides_no_other_error_and_invents_none() {
        let text = "[upstreams.up]\nendpoints = [\"http://a\"\n\
                    [routes.x]\npath = \"/x\"\nupstream = \"up\"\ntimeout = \"soon\"\n";
        let files = [SourceFile::new("seawall.toml", text)];
        let errors = load(&files, &|_| None).unwrap_err();
        assert_eq!(errors.len(), 1, "{errors:#?}");
        let text =
            "[server]\nworkers = \n[routes.x]\npath = \"/x\"\nrespond = {}\ntimeout = \"soon\"\n";
        let files = [SourceFile::new("seawall.toml", text)];
        let lines: Vec<usize> = load(&files, &|_| None)
            .unwrap_err()
            .iter()
            .map(|e| e.line)
            .collect();
        assert_eq!(lines, [2, 6]);
    }

    /// Every line of an error is a line of its file, and nothing panics.
    fn survives(text: &str) {
        let files = [SourceFile::new("seawall.toml", text)];
        for problem in load(&files, &|_| None).err().unwrap_or_default() {
            assert!(problem.line >= 1 && !problem.render(false).is_empty());
        }
    }

    #[test]
    fn truncated_and_corrupted_files_are_read_without_a_panic() {
        let text = concat!(
            include_str!("../../config/seawall.toml"),
            include_str!("../../config/routes.d/game.toml")
        );
        for cut in (0..text.len())
            .step_by(7)
            .filter(|cut| text.is_char_boundary(*cut))
        {
            survives(&text[..cut]);
        }
        let nasty = "\"'[]{}=,#\n\r\\\0é.$";
        for (at, c) in (0..text.len()).step_by(11).zip(nasty.chars().cycle()) {
            let mut text = text.to_owned();
            text.replace_range(at..at + 1, c.encode_utf8(&mut [0; 4]));
            survives(&text);
        }
    }
}
