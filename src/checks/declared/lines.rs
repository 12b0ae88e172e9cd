//! What a program that only has an exit status says beside it: one line a problem, as compilers and linters do.

use std::sync::LazyLock;

use regex::Regex;

use super::answer::{Answer, FOUND_MAX, Found, Printed};

/// `app/main.py:3:8: DEP001 'x' imported but missing`, `.env:2 DuplicatedKey: The FOO key is duplicated`.
static PLACED: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^(?P<file>[^\s:][^:]{0,500}):(?P<line>\d{1,9})(?::(?P<column>\d{1,9}))?:?\s+(?:(?P<rule>[A-Z]+\d+|[A-Z][a-z]+[A-Z][A-Za-z]+)(?::|\s)\s*)?(?P<message>\S.*)$")
        .expect("a constant pattern")
});
/// About a file as a whole: `pyproject.toml: DEP002 'alembic' defined as a dependency but not used in the codebase`.
static OF_FILE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^(?P<file>[^\s:][^:]{0,500}): (?P<rule>[A-Z]+\d+) (?P<message>\S.*)$")
        .expect("a constant pattern")
});
/// `?: (security.W004) You have not set a value for the SECURE_HSTS_SECONDS setting.`
static DJANGO: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^(?P<subject>\S{1,200}): \((?P<rule>[A-Za-z_]\w*\.[A-Z]\d+)\) (?P<message>\S.*)$")
        .expect("a constant pattern")
});

/// The last line with something in it.
pub(super) fn last(text: &str) -> Option<&str> {
    text.lines()
        .rev()
        .map(str::trim)
        .find(|line| !line.is_empty())
}

/// An exit status is an answer by itself: 0 is good. Of another, the lines that name a place or a rule are the
/// findings; without such a line, there is one, with the last line.
pub(super) fn exit(printed: Printed<'_>) -> Answer {
    if printed.status == 0 {
        return Answer::with_results(Vec::new(), 1);
    }
    let mut found: Vec<Found> = printed
        .all
        .lines()
        .filter_map(problem)
        .take(10 * FOUND_MAX)
        .collect();
    if found.is_empty() {
        let why = last(printed.all).map_or(String::new(), |line| format!(": {line}"));
        found.push(Found {
            detail: printed.all.to_owned(),
            ..Found::new("failed", "", format!("exited with {}{why}", printed.status))
        });
    }
    Answer {
        results: Some(1),
        ..Answer::of(found)
    }
}

fn problem(line: &str) -> Option<Found> {
    let line = line.trim_end();
    if let Some(parts) = DJANGO.captures(line) {
        let subject = Some(&parts["subject"]).filter(|subject| *subject != "?");
        return Some(Found::new(
            &parts["rule"],
            subject.unwrap_or_default(),
            &parts["message"],
        ));
    }
    let parts = PLACED.captures(line).or_else(|| OF_FILE.captures(line))?;
    let number = |name| {
        parts
            .name(name)
            .and_then(|n| n.as_str().parse().ok())
            .unwrap_or(0)
    };
    let rule = parts.name("rule").map_or("failed", |rule| rule.as_str());
    let file = &parts["file"];
    Some(Found::new(rule, file, &parts["message"]).at(file, number("line"), number("column")))
}
