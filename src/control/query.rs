//! The part of a path after `?`.

use percent_encoding::percent_decode_str;

/// Its parameters; only those that are known.
///
/// # Errors
/// One that is not known, or no text.
pub(super) fn query_of<'q>(
    query: &'q str,
    known: &[&str],
) -> Result<Vec<(&'q str, String)>, String> {
    let parts = query.split('&').filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            if !known.contains(&name) {
                let known = known.join("`, `");
                return Err(format!("only `{known}` is known here, after the `?`"));
            }
            let value = percent_decode_str(value).decode_utf8();
            let value = value.map_err(|_| format!("the value of `{name}` is not UTF-8 text"))?;
            Ok((name, value.into_owned()))
        })
        .collect()
}

/// The value of a switch, `false` if it is not there.
///
/// # Errors
/// It is neither `true` nor `false`.
pub(super) fn switch(query: &[(&str, String)], name: &str) -> Result<bool, String> {
    match value(query, name) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(format!("`{name}` is `true` or `false`")),
    }
}

/// A number, at most `most`.
///
/// # Errors
/// It is no such number.
pub(super) fn number(
    query: &[(&str, String)],
    name: &str,
    default: u32,
    most: u32,
) -> Result<u32, String> {
    let Some(text) = value(query, name) else {
        return Ok(default);
    };
    let number = text.parse().ok().filter(|number| *number <= most);
    number.ok_or_else(|| format!("`{name}` is a number, at most {most}"))
}

fn value<'q>(query: &'q [(&str, String)], name: &str) -> Option<&'q str> {
    let found = query.iter().rev().find(|(known, _)| *known == name);
    found.map(|(_, value)| value.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_known_is_taken() {
        let query = query_of("lines=7&follow=true&", &["lines", "follow"]).unwrap();
        assert_eq!(number(&query, "lines", 100, 1000), Ok(7));
        assert_eq!(switch(&query, "follow"), Ok(true));
        assert_eq!(switch(&query, "other"), Ok(false));
        assert!(number(&query, "lines", 100, 6).is_err());
        for bad in ["x=1", "lines=%ff"] {
            assert!(query_of(bad, &["lines"]).is_err(), "{bad}");
        }
    }
}
