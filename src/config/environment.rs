//! `${NAME}` and `${NAME:-default}` inside strings.

use super::file::Environment;
use super::report::Complaint;

/// The text with every `${NAME}` replaced. What a variable holds is not looked at again.
///
/// # Errors
/// A variable that is not set and has no default, or `${` without an end or a name.
pub(super) fn substitute(text: &str, environment: &Environment) -> Result<String, Complaint> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        out.push_str(&rest[..at]);
        let inner = &rest[at + 2..];
        let Some(end) = inner.find('}') else {
            return Err(Complaint::new("`${` without its `}`").hint("write ${NAME}"));
        };
        out.push_str(&variable(&inner[..end], environment)?);
        rest = &inner[end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

fn variable(inner: &str, environment: &Environment) -> Result<String, Complaint> {
    let (name, default) = match inner.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inner, None),
    };
    let valid = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || !name.chars().all(valid) {
        let message = format!("`${{{inner}}}` does not name a variable of the environment");
        return Err(Complaint::new(message).hint("write ${NAME} or ${NAME:-default}"));
    }
    // As in a shell, `:-` also stands in for a variable that is empty.
    let value = environment(name).filter(|value| default.is_none() || !value.is_empty());
    value.or_else(|| default.map(str::to_owned)).ok_or_else(|| {
        Complaint::new(format!("the environment variable {name} is not set"))
            .hint(format!("set it, or give a default: ${{{name}:-default}}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sub(text: &str) -> Result<String, Complaint> {
        substitute(text, &|name| match name {
            "A" => Some("1".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        })
    }

    #[test]
    fn variables_and_defaults_are_replaced() {
        assert_eq!(sub("x${A}y${A}").unwrap(), "x1y1");
        assert_eq!(sub("${NO:-b}").unwrap(), "b");
        assert_eq!(sub("${NO:-}").unwrap(), "");
        assert_eq!(sub("${EMPTY:-b}").unwrap(), "b");
        assert_eq!(sub("${EMPTY}").unwrap(), "");
        assert_eq!(sub("$A $ {A} é").unwrap(), "$A $ {A} é");
    }

    #[test]
    fn what_cannot_be_replaced_is_refused() {
        for text in ["${NO}", "${A", "${}", "${A B}", "a${"] {
            assert!(sub(text).is_err(), "{text}");
        }
    }
}
