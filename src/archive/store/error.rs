//! What goes wrong with the store, and what an operator sets to mend it.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::vocab::format_duration;

/// What is wrong with the text of `archive.store`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UrlProblem {
    /// No scheme, or none of the known ones.
    Scheme,
    /// `file:` without a directory.
    NoDirectory,
    /// `file://name/...`: there is no such thing as another machine.
    Machine,
    /// No bucket or container.
    NoBucket,
    /// `name:secret@bucket`.
    Credentials,
    /// A query, a fragment, an empty or a relative part of the path.
    Path,
}

/// A request to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// An upload.
    Put,
    /// A list of objects.
    List,
    /// A download.
    Get,
    /// A deletion.
    Delete,
}

/// An error of the store; its text names the key and what to set.
#[derive(Debug)]
#[non_exhaustive]
pub enum StoreError {
    /// The key's text is no address of a store.
    Url {
        /// As given.
        given: String,
        /// Why.
        problem: UrlProblem,
    },
    /// The directory cannot be used.
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The settings in the environment do not make a client.
    Settings {
        /// The store.
        url: String,
        /// Why.
        source: object_store::Error,
    },
    /// A request failed.
    Request {
        /// The store.
        url: String,
        /// Which.
        act: Act,
        /// Why.
        source: object_store::Error,
    },
    /// A request was given up.
    Slow {
        /// The store.
        url: String,
        /// Which.
        act: Act,
        /// After how long.
        within: Duration,
    },
    /// An object is damaged, or none of ours.
    Object {
        /// Its path.
        path: String,
        /// Why.
        source: io::Error,
    },
}

/// Characters of a service's answer that are told.
const LONGEST: usize = 500;

/// What `archive.store` takes.
pub const FORMS: &str = "\"file:data/archive\", \"s3://bucket/prefix\", \"az://container/prefix\" \
    or \"gs://bucket/prefix\"";

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::Url { given, problem } => {
                write!(f, "archive.store = {given:?}: {problem}; expected {FORMS}")
            }
            StoreError::Directory { path, source } => write!(
                f,
                "archive.store = \"file:{}\": {source}; the gateway's user must be able to make \
                 the directory and write to it",
                path.display()
            ),
            StoreError::Settings { url, source } => {
                let source = plain(source);
                write!(f, "archive.store = {url:?}: {source}; {}", settings(url))
            }
            StoreError::Request { url, act, source } => {
                let text = plain(source);
                write!(f, "archive.store = {url:?}: {act} failed: {text}")?;
                match advice(source) {
                    Advice::Credentials => write!(f, "; {}", settings(url)),
                    Advice::Bucket => write!(f, "; does the bucket or container exist?"),
                    Advice::None => Ok(()),
                }
            }
            StoreError::Slow { url, act, within } => {
                let within = format_duration(*within);
                write!(
                    f,
                    "archive.store = {url:?}: {act} gave no answer within {within}"
                )
            }
            StoreError::Object { path, source } => write!(f, "object {path}: {source}"),
        }
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            StoreError::Url { .. } | StoreError::Slow { .. } => None,
            StoreError::Directory { source, .. } | StoreError::Object { source, .. } => {
                Some(source)
            }
            StoreError::Settings { source, .. } | StoreError::Request { source, .. } => {
                Some(source)
            }
        }
    }
}

impl fmt::Display for UrlProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            UrlProblem::Scheme => "unknown kind of store",
            UrlProblem::NoDirectory => "no directory after file:",
            UrlProblem::Machine => "file:// takes an absolute path: file:///data/archive",
            UrlProblem::NoBucket => "no bucket or container",
            UrlProblem::Credentials => {
                "credentials are read from the environment, not from the address"
            }
            UrlProblem::Path => "a path has no query, no fragment, no empty part and no \"..\"",
        })
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Act::Put => "an upload",
            Act::List => "a list",
            Act::Get => "a download",
            Act::Delete => "a deletion",
        })
    }
}

/// The text of an error on one line, cut, and without the queries of addresses: they may hold
/// a signature.
fn plain(error: &object_store::Error) -> String {
    let text = error.to_string();
    let words = text
        .split_whitespace()
        .map(|word| match word.split_once('?') {
            Some((address, _)) if address.contains("://") => address,
            Some(_) | None => word,
        });
    let mut plain = words.collect::<Vec<_>>().join(" ");
    if let Some((cut, _)) = plain.char_indices().nth(LONGEST) {
        plain.truncate(cut);
        plain.push_str("...");
    }
    plain
}

enum Advice {
    Credentials,
    Bucket,
    None,
}

fn advice(error: &object_store::Error) -> Advice {
    match error {
        object_store::Error::Unauthenticated { .. }
        | object_store::Error::PermissionDenied { .. } => Advice::Credentials,
        object_store::Error::NotFound { .. } => Advice::Bucket,
        // Without credentials in the environment the clients ask the machine's metadata
        // service, which is not there outside of that cloud.
        other if format!("{other:?}").contains("169.254.169.254") => Advice::Credentials,
        other if format!("{other:?}").contains("metadata.google.internal") => Advice::Credentials,
        _ => Advice::None,
    }
}

/// What to set, by the scheme.
fn settings(url: &str) -> &'static str {
    match url.split(':').next() {
        Some("s3") => {
            "set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION, or \
             AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ROLE_ARN; for another server than AWS also \
             AWS_ENDPOINT, and AWS_ALLOW_HTTP=true where it speaks plain HTTP"
        }
        Some("az") => {
            "set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY or \
             AZURE_STORAGE_SAS_KEY, or AZURE_CLIENT_ID, AZURE_TENANT_ID and \
             AZURE_FEDERATED_TOKEN_FILE or AZURE_CLIENT_SECRET; for the emulator \
             AZURE_STORAGE_USE_EMULATOR=true"
        }
        Some("gs") => {
            "set GOOGLE_APPLICATION_CREDENTIALS or GOOGLE_SERVICE_ACCOUNT to the path of a key, \
             or GOOGLE_SERVICE_ACCOUNT_KEY to its text"
        }
        Some(_) | None => "see the documentation of archive.store",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_set_is_named_when_credentials_are_missing_and_not_otherwise() {
        let request = |url: &str, source| StoreError::Request {
            url: url.to_owned(),
            act: Act::Put,
            source,
        };
        let denied = || object_store::Error::PermissionDenied {
            path: "x".to_owned(),
            source: "denied".into(),
        };
        for (url, variable) in [
            ("s3://b", "AWS_ACCESS_KEY_ID"),
            ("az://b", "AZURE_STORAGE_ACCOUNT_NAME"),
            ("gs://b", "GOOGLE_APPLICATION_CREDENTIALS"),
        ] {
            let text = request(url, denied()).to_string();
            assert!(text.starts_with("archive.store = "), "{text}");
            assert!(text.contains(variable), "{text}");
        }
        let other = object_store::Error::Generic {
            store: "S3",
            source: "busy".into(),
        };
        let text = request("s3://b", other).to_string();
        assert!(!text.contains("AWS_"), "{text}");
        let secret = object_store::Error::Generic {
            store: "MicrosoftAzure",
            source: format!(
                "GET https://a/b?sig=x%20y gave\n<Error>{}",
                "e".repeat(9999)
            )
            .into(),
        };
        let text = request("az://b", secret).to_string();
        assert!(text.contains("https://a/b gave <Error>e"), "{text}");
        assert!(!text.contains("sig=") && text.len() < 1000, "{text}");
        let metadata = object_store::Error::Generic {
            store: "S3",
            source: "PUT http://169.254.169.254/latest/api/token".into(),
        };
        let text = request("s3://b", metadata).to_string();
        assert!(text.contains("AWS_ACCESS_KEY_ID"), "{text}");
    }
}
