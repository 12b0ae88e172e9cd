//! Reads JUnit's XML: the few things of XML that it needs, and nothing that leads outside of the text.

use super::answer::{Answer, Found};

/// Deeper is no report.
const DEPTH_MAX: usize = 64;

/// A piece of XML.
#[derive(Debug, PartialEq, Eq)]
enum Piece<'x> {
    Open {
        name: &'x str,
        attributes: &'x str,
        is_empty: bool,
    },
    Close(&'x str),
    Text(&'x str),
    Verbatim(&'x str),
}

/// A report of JUnit: `testcase`s, those with a `failure` or an `error` are findings.
pub(super) fn read(answer: &str) -> Result<Answer, String> {
    let not_xml = |why: &str| format!("what it printed is not JUnit's XML: {why}");
    let mut rest = answer.trim_start_matches('\u{feff}').trim();
    let mut open: Vec<&str> = Vec::new();
    let mut seen_root = false;
    let (mut tests, mut skipped, mut declared) = (0_usize, 0_usize, None);
    let mut found: Vec<Found> = Vec::new();
    let mut case = Found::default();
    let mut in_failure = false;
    while !rest.is_empty() {
        let (piece, after) = next(rest).map_err(not_xml)?;
        rest = after;
        match piece {
            None => {}
            Some(Piece::Open {
                name,
                attributes,
                is_empty,
            }) => {
                let attribute = |key| attribute(attributes, key).unwrap_or_default();
                if !seen_root && !matches!(name, "testsuites" | "testsuite") {
                    return Err(not_xml(&format!(
                        "it begins with <{}>",
                        name.escape_debug()
                    )));
                }
                if open.is_empty() {
                    if seen_root {
                        return Err(not_xml("there is something behind its end"));
                    }
                    declared = attribute("tests").parse::<usize>().ok();
                }
                seen_root = true;
                match name {
                    "testcase" => {
                        tests += 1;
                        let (class, title) = (attribute("classname"), attribute("name"));
                        let subject = match class.is_empty() {
                            true => title,
                            false => format!("{class}.{title}"),
                        };
                        let line = attribute("line").parse().unwrap_or(0);
                        case = Found::new("failure", subject, "").at(&attribute("file"), line, 0);
                    }
                    "failure" | "error" if open.last() == Some(&"testcase") => {
                        let message = attribute("message");
                        let kind = attribute("type");
                        let message = match (message.is_empty(), kind.is_empty()) {
                            (false, _) => message,
                            (true, false) => kind,
                            (true, true) => String::new(),
                        };
                        found.push(Found {
                            rule: name.to_owned(),
                            message,
                            ..case.clone()
                        });
                        in_failure = !is_empty;
                    }
                    // A suite that could not be set up.
                    "error" if matches!(open.last(), Some(&"testsuite" | &"testsuites")) => {
                        return Err(format!("a suite failed: {}", attribute("message")));
                    }
                    "skipped" => skipped += 1,
                    _ => {}
                }
                if !is_empty {
                    open.push(name);
                    if open.len() > DEPTH_MAX {
                        return Err(not_xml("it is too deep"));
                    }
                }
            }
            Some(Piece::Close(name)) => {
                if open.pop() != Some(name) {
                    let name = name.escape_debug();
                    return Err(not_xml(&format!("</{name}> closes what is not open")));
                }
                if in_failure && matches!(name, "failure" | "error") {
                    in_failure = false;
                }
            }
            Some(Piece::Text(text)) if in_failure => add(&mut found, &unescape(text)),
            Some(Piece::Verbatim(text)) if in_failure => add(&mut found, text),
            Some(Piece::Text(_) | Piece::Verbatim(_)) => {}
        }
    }
    if !seen_root || !open.is_empty() {
        return Err(not_xml("it ends early"));
    }
    if declared.is_some_and(|declared| declared > 0 && tests == 0) {
        return Err("it counts tests and has none".to_owned());
    }
    for failure in &mut found {
        if failure.message.trim().is_empty() {
            let first = failure.detail.lines().find(|line| !line.trim().is_empty());
            failure.message = first.unwrap_or("it failed").trim().to_owned();
        }
    }
    Ok(Answer::with_results(found, tests - skipped.min(tests)))
}

fn add(found: &mut [Found], text: &str) {
    if let Some(last) = found.last_mut() {
        last.detail.push_str(text);
    }
}

/// The next piece and what follows it; no piece: a comment, a declaration.
fn next(text: &str) -> Result<(Option<Piece<'_>>, &str), &'static str> {
    let skip = |begin: &str, end: &str, why: &'static str| {
        let inside = &text[begin.len()..];
        let at = inside.find(end).ok_or(why)?;
        Ok::<_, &'static str>((&inside[..at], &inside[at + end.len()..]))
    };
    if !text.starts_with('<') {
        let end = text.find('<').unwrap_or(text.len());
        return Ok((Some(Piece::Text(&text[..end])), &text[end..]));
    }
    if text.starts_with("<!--") {
        let (_, rest) = skip("<!--", "-->", "a comment does not end")?;
        return Ok((None, rest));
    }
    if text.starts_with("<![CDATA[") {
        let (inside, rest) = skip("<![CDATA[", "]]>", "a CDATA section does not end")?;
        return Ok((Some(Piece::Verbatim(inside)), rest));
    }
    if text.starts_with("<?") {
        let (_, rest) = skip("<?", "?>", "a declaration does not end")?;
        return Ok((None, rest));
    }
    if text.starts_with("<!") {
        return Err("it has a document type, which is not read");
    }
    // The end of a tag: not a `>` in quotes.
    let mut quote = None;
    let end = text.char_indices().find(|&(_, c)| match (quote, c) {
        (None, '>') => true,
        (None, '"' | '\'') => {
            quote = Some(c);
            false
        }
        (Some(open), c) if open == c => {
            quote = None;
            false
        }
        _ => false,
    });
    let (end, _) = end.ok_or("a tag does not end")?;
    let (tag, rest) = (&text[1..end], &text[end + 1..]);
    if let Some(name) = tag.strip_prefix('/') {
        return Ok((Some(Piece::Close(name.trim())), rest));
    }
    let (tag, is_empty) = match tag.strip_suffix('/') {
        Some(tag) => (tag, true),
        None => (tag, false),
    };
    let (name, attributes) = tag.split_once(char::is_whitespace).unwrap_or((tag, ""));
    if name.is_empty() {
        return Err("a tag has no name");
    }
    let piece = Piece::Open {
        name,
        attributes,
        is_empty,
    };
    Ok((Some(piece), rest))
}

fn attribute(attributes: &str, key: &str) -> Option<String> {
    let mut rest = attributes.trim_start();
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=')?;
        let after = after.trim_start();
        let quote = after.chars().next().filter(|c| matches!(c, '"' | '\''))?;
        let (value, behind) = after[1..].split_once(quote)?;
        if name.trim() == key {
            return Some(unescape(value));
        }
        rest = behind.trim_start();
    }
    None
}

/// The five entities that every document has, and numbers; others stay as they are.
fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        plain.push_str(&rest[..at]);
        rest = &rest[at..];
        let end = rest.find(';').filter(|end| *end <= 10);
        let replaced = end.and_then(|end| entity(&rest[1..end]));
        match (replaced, end) {
            (Some(c), Some(end)) => {
                plain.push(c);
                rest = &rest[end + 1..];
            }
            _ => {
                plain.push('&');
                rest = &rest[1..];
            }
        }
    }
    plain.push_str(rest);
    plain
}

fn entity(name: &str) -> Option<char> {
    Some(match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code)?
        }
    })
}
