//! `admin.tokens`: who may change switches over HTTP. What a token is never reaches a message.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use super::cursor::{Cursor, Decoded};
use super::error::Problem;
use super::report::Complaint;
use super::tree::Node;
use super::value::bad_name;
use crate::vocab::Secret;

/// Fewest characters of a token: 16 random letters and digits cannot be guessed over HTTP.
const LEAST: usize = 16;

/// The tokens by name. Off loopback they would cross the network as plain text.
pub(super) fn tokens(admin: &Cursor<'_>, listen: SocketAddr) -> BTreeMap<Arc<str>, Secret> {
    let mut tokens: BTreeMap<Arc<str>, Secret> = BTreeMap::new();
    let table = admin.read("tokens", |node| match node.as_table() {
        Some(_) => Ok(()),
        None => Err(Complaint::new("expected a table of names and tokens")
            .hint("write tokens = { NAME = \"${VARIABLE}\" }")),
    });
    let Some(cursor) = table.and_then(|()| admin.free_table("tokens")) else {
        return tokens;
    };
    for (entry, own) in cursor.entries() {
        let token = cursor.read_entry((entry, own), |node| {
            if let Some(complaint) = bad_name(&entry.key) {
                return Err(complaint);
            }
            let token = token(node)?;
            match tokens.iter().find(|(_, other)| **other == token) {
                Some((other, _)) => Err(Complaint::new(format!(
                    "is the token of `{other}` too: nobody could tell the two apart"
                ))),
                None => Ok(token),
            }
        });
        if let Some(token) = token {
            tokens.insert(entry.key.as_ref().into(), token);
        }
    }
    if !listen.ip().is_loopback() && cursor.entries().next().is_some() {
        let message = "off loopback tokens need tls, which is not supported yet: anybody on the \
                       way could read them";
        let hint = "listen on 127.0.0.1, or remove the tokens";
        admin.complain("tokens", cursor.place, Complaint::new(message).hint(hint));
    }
    tokens
}

fn token(node: &Node<'_>) -> Decoded<Secret> {
    const HINT: &str = "such as the output of `openssl rand -hex 16`, given as \"${VARIABLE}\"";
    let wrong = |what: String| Err(Complaint::new(what).hint(HINT));
    let Some(text) = node.as_text() else {
        return wrong("expected a string".to_owned());
    };
    let length = text.chars().count();
    if !text.chars().all(|c| c.is_ascii_graphic()) {
        return wrong("a token is made of visible ASCII characters, without spaces".to_owned());
    }
    if length < LEAST {
        return wrong(format!(
            "expected at least {LEAST} characters, found {length}"
        ));
    }
    Ok(Secret::new(text))
}

/// Takes what may be a token out of the source line of a problem.
pub(super) fn hide_token(problem: &mut Problem, text: &str) {
    let before = text.split_inclusive('\n').take(problem.line - 1);
    let before: usize = before.map(str::len).sum();
    if !may_hold_token(&text[..before], &problem.source_line) {
        return;
    }
    let key = problem.source_line.split('=').next().unwrap_or_default();
    let shown = match problem.source_line.contains('=') {
        true => format!("{}= ...", &key),
        false => "...".to_owned(),
    };
    let end = shown.len();
    problem.mark = problem.mark.start.min(end)..problem.mark.end.min(end);
    problem.source_line = shown;
}

/// Whether a source line may hold a token, so that no error may show it. The reader of a broken
/// file cannot know; when in doubt it may.
fn may_hold_token(before: &str, line: &str) -> bool {
    let plain = line.trim_start();
    if plain.starts_with("listen") || plain.starts_with("probe_listen") || plain.starts_with('[') {
        return false;
    }
    let header = |line: &&str| line.trim_start().starts_with('[');
    let inside = before.lines().rev().find(header).unwrap_or_default();
    let admin = inside.trim_start().trim_start_matches('[').trim_start();
    admin.starts_with("admin") || plain.contains("token")
}

#[cfg(test)]
mod tests {
    use crate::config::{Settings, SourceFile, load};

    const TOKEN: &str = "s3cr3t-0123456789abcdef";

    fn read(text: &str) -> Result<Settings, Vec<String>> {
        let files = [SourceFile::new("seawall.toml", text)];
        let environment = |name: &str| (name == "AMY").then(|| TOKEN.to_owned());
        match load(&files, &environment) {
            Ok(loaded) => Ok(loaded.settings),
            Err(problems) => Err(problems
                .iter()
                .map(|problem| format!("{problem}\n{}", problem.render(false)))
                .collect()),
        }
    }

    #[test]
    fn tokens_come_from_the_environment_and_are_not_shown() {
        let settings = read("[admin]\ntokens = { amy = \"${AMY}\" }\n").unwrap();
        let token = &settings.admin.tokens["amy"];
        assert!(bool::from(token.equals(TOKEN.as_bytes())));
        assert!(!format!("{settings:?}").contains("s3cr3t"));
        assert!(
            read("[admin]\ntokens = {}\n")
                .unwrap()
                .admin
                .tokens
                .is_empty()
        );
    }

    #[test]
    fn no_error_shows_a_token() {
        for (text, expected) in [
            (
                "[admin]\ntokens = { amy = \"s3cr3t\" }\n",
                "at least 16 characters, found 6",
            ),
            ("[admin.tokens]\namy = \"s3cr3t\"\n", "at least 16"),
            (
                "[admin.tokens]\namy = \"s3cr3t 0123456789abcdef\"\n",
                "without spaces",
            ),
            (
                "[admin.tokens]\namy = \"s3cr3t-0123456789abcdef\nbob = 1\n",
                "seawall.toml:2",
            ),
            (
                "[admin]\ntokens.amy = [\"s3cr3t-0123456789abcdef\"]\n",
                "expected a string",
            ),
            (
                "[admin]\ntokens = \"s3cr3t-0123456789abcdef\"\n",
                "expected a table of names",
            ),
            ("admin = { tokens = { amy = \"s3cr3t\" } }\n", "at least 16"),
            (
                "[admin.tokens]\na = \"s3cr3t-0123456789abcdef\"\nb = \"s3cr3t-0123456789abcdef\"\n",
                "is the token of `a` too",
            ),
            (
                "[admin]\nlisten = \"0.0.0.0:1\"\ntokens.a = \"s3cr3t-0123456789abcdef\"\n",
                "need tls",
            ),
        ] {
            let errors = read(text).unwrap_err().join("\n");
            assert!(errors.contains(expected), "{text}: {errors}");
            assert!(!errors.contains("s3cr3t"), "{text}: {errors}");
        }
    }
}
