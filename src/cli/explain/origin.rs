//! Where the value of a route's key comes from.

use toml::{Table, Value};

use crate::config::SourceFile;

/// The tables that the keys of a route or an upstream come from.
pub(super) struct Origins {
    own: Vec<Table>,
    defaults: Vec<Table>,
    /// What `own` is.
    name: &'static str,
}

impl Origins {
    /// Of a route of these files, which are free of errors.
    pub(super) fn of(files: &[SourceFile], route: &str) -> Origins {
        Origins {
            own: below(files, &["routes", route]),
            defaults: below(files, &["defaults"]),
            name: "route",
        }
    }

    /// Of an upstream of these files, which are free of errors.
    pub(super) fn of_upstream(files: &[SourceFile], upstream: &str) -> Origins {
        Origins {
            own: below(files, &["upstreams", upstream]),
            defaults: Vec::new(),
            name: "upstream",
        }
    }

    /// Whether the key is written anywhere.
    pub(super) fn has(&self, key: &str) -> bool {
        let mut tables = self.own.iter().chain(&self.defaults);
        tables.any(|table| find(table, key).is_some())
    }

    /// `route`, `defaults`, both, `upstream`, or `built in`. A key of a table is written with a dot.
    pub(super) fn of_key(&self, key: &str) -> &'static str {
        let has = |tables: &[Table]| tables.iter().any(|table| find(table, key).is_some());
        let is_table = |value: Option<&Value>| value.is_some_and(Value::is_table);
        let merges = self.own.iter().any(|table| is_table(find(table, key)));
        match (has(&self.own), has(&self.defaults)) {
            (true, true) if merges => "route and defaults",
            (true, _) => self.name,
            (false, true) => "defaults",
            (false, false) => "built in",
        }
    }
}

/// The tables at that path, one of each file that has it.
fn below(files: &[SourceFile], path: &[&str]) -> Vec<Table> {
    let tables = files.iter().filter_map(|file| {
        let mut table = file.text.parse::<Table>().ok()?;
        for name in path {
            let Value::Table(inner) = table.remove(*name)? else {
                return None;
            };
            table = inner;
        }
        Some(table)
    });
    tables.collect()
}

fn find<'t>(table: &'t Table, key: &str) -> Option<&'t Value> {
    match key.split_once('.') {
        None => table.get(key),
        Some((first, rest)) => find(table.get(first)?.as_table()?, rest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_comes_from_the_route_or_from_defaults_or_from_nowhere() {
        let files = [
            "[defaults]\ntimeout = \"1s\"\nheaders = { a = \"1\" }\nkill_switch.mode = \"drop\"",
            "[routes.x]\nheaders = { b = \"1\" }\nkill_switch = { body = \"\" }\ntier = \"core\"",
        ];
        let files = files.map(|text| SourceFile::new("a.toml", text));
        let origins = Origins::of(&files, "x");
        for (key, from) in [
            ("tier", "route"),
            ("timeout", "defaults"),
            ("owner", "built in"),
            ("headers", "route and defaults"),
            ("kill_switch.mode", "defaults"),
            ("kill_switch.body", "route"),
            ("kill_switch.status", "built in"),
        ] {
            assert_eq!(origins.of_key(key), from, "{key}");
        }
        let upstream = SourceFile::new("b.toml", "[upstreams.u]\nhealth = { path = \"/\" }");
        let origins = Origins::of_upstream(&[upstream], "u");
        assert_eq!(origins.of_key("health.path"), "upstream");
        assert_eq!(origins.of_key("health.interval"), "built in");
    }
}
