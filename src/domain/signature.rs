//! The signature of a failure: same cause, same signature, whatever the process id, the time, the
//! path prefix or the line number.
//!
//! Pure. A failure that comes from an exception is signed by the exception alone, so that one
//! broken model seen by three checks and five layers is one mission, not eight.

use std::sync::LazyLock;

use regex::Regex;

use super::finding::Finding;
use super::ids::{Digest, Signature};
use super::remedy::{Cause, WHY};

struct SignatureRule {
    pattern: Regex,
    replacement: &'static str,
}

static RULES: LazyLock<Vec<SignatureRule>> = LazyLock::new(|| {
    // The order matters: the longer shapes first, bare numbers last.
    [
        // Where the module lies is not known to who only reads the source.
        (r"(cannot import name '[^']*' from '[^']*') \([^)]*\)", "$1"),
        (
            r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}(?:[.,]\d+)?(?:Z|[+-]\d{2}:?\d{2})?",
            "<time>",
        ),
        (
            r"(?i)\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b",
            "<uuid>",
        ),
        (r"\b0x[0-9a-fA-F]+\b", "<address>"),
        // Only the last two components of an absolute path say what it is.
        (
            r"(?:/[\w.@+-]+)+?((?:/[\w.@+-]+){1,2})(?:[^\w./@+-]|$)",
            "<path>$1 ",
        ),
        (r"\bline \d+\b", "line <n>"),
        (r"\b\d+(?:\.\d+)?\s?(?:ms|s|us|MiB|KiB|bytes)\b", "<amount>"),
        (r"\b\d+\b", "<n>"),
        (r"\s+", " "),
    ]
    .into_iter()
    .map(|(pattern, replacement)| SignatureRule {
        pattern: Regex::new(pattern).expect("a constant pattern, compiled in a test"),
        replacement,
    })
    .collect()
});

/// Longest text that is normalised, in bytes; more says nothing more about the cause.
const TEXT_BYTES_MAX: usize = 4096;

/// The text without what changes from run to run.
#[must_use]
pub(crate) fn normalise(text: &str) -> String {
    let end = text.floor_char_boundary(TEXT_BYTES_MAX);
    let mut text = text[..end].to_owned();
    for rule in RULES.iter() {
        text = rule
            .pattern
            .replace_all(&text, rule.replacement)
            .into_owned();
    }
    text.trim().to_owned()
}

fn sign(parts: &[&str]) -> Signature {
    let text = parts.join("\u{1f}");
    let mut digits = Digest::of(text.as_bytes()).to_string();
    digits.truncate(16);
    Signature(digits)
}

/// The signature of a finding: of its exception if it has one, else of its code and subject, with
/// what migrations wait.
#[must_use]
pub(crate) fn sign_finding(finding: &Finding) -> Signature {
    let (code, subject) = (finding.code.as_str(), finding.subject.as_str());
    match &finding.cause {
        Some(Cause::Exception(exception)) => sign(&["exception", &normalise(exception)]),
        Some(Cause::Pending(digest)) => sign(&["finding", code, subject, digest]),
        None => match finding.facts.get(WHY) {
            Some(why) => sign(&["finding", code, subject, why]),
            None => sign(&["finding", code, subject]),
        },
    }
}

/// The signature of a layer that failed while it ran: the layer, the service, and the last exception that it printed
/// with the application's own innermost frame; without one, the error.
#[must_use]
pub(crate) fn sign_layer_failure(
    layer: &str,
    service: &str,
    error: &str,
    output: &str,
) -> Signature {
    match last_exception(output) {
        Some((exception, frame)) => sign(&[
            "layer",
            layer,
            service,
            "exception",
            &normalise(exception),
            &normalise(&frame),
        ]),
        None => sign(&["layer", layer, service, &normalise(error)]),
    }
}

/// Parts of a path that are not the application's own.
const FOREIGN: [&str; 4] = [
    "/site-packages/",
    "/dist-packages/",
    "/lib/python",
    "<frozen ",
];

/// The last exception of a Python program's output: its line, and `file in function` of the innermost frame that is
/// the application's own, or of the innermost of all.
fn last_exception(output: &str) -> Option<(&str, String)> {
    let lines: Vec<&str> = output.lines().collect();
    let begin = lines.iter().rposition(|line| {
        line.trim_end()
            .ends_with("Traceback (most recent call last):")
    })?;
    let is_nested = |line: &str| line.starts_with([' ', '\t', '|', '+']);
    let traceback = &lines[begin + 1..];
    let end = traceback
        .iter()
        .position(|line| !line.trim().is_empty() && !is_nested(line))?;
    let mut frame = None;
    let mut own_frame = None;
    for line in &traceback[..end] {
        let Some(rest) = line.trim_start().strip_prefix("File \"") else {
            continue;
        };
        let Some((file, place)) = rest.split_once('"') else {
            continue;
        };
        let function = place.split_once(" in ").map_or("", |(_, name)| name);
        let found = format!("{file} in {function}");
        if !FOREIGN.iter().any(|part| file.contains(part)) {
            own_frame = Some(found.clone());
        }
        frame = Some(found);
    }
    Some((
        traceback[end].trim_end(),
        own_frame.or(frame).unwrap_or_default(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::finding::Severity;
    use proptest::prelude::*;

    #[test]
    fn other_migrations_that_wait_are_another_failure() {
        let finding = |pending: &str| {
            Finding::new(
                "schema.pending_migration",
                Severity::Critical,
                "main",
                "behind",
            )
            .cause(Cause::Pending(pending.to_owned()))
        };
        assert_eq!(sign_finding(&finding("a")), sign_finding(&finding("a")));
        assert_ne!(sign_finding(&finding("a")), sign_finding(&finding("b")));
    }

    #[test]
    fn an_import_that_was_read_and_one_that_was_run_fail_alike() {
        let text = "ImportError: cannot import name 'parse' from 'backend.parsers'";
        let run = format!("{text} (/srv/shop/backend/parsers.py)");
        assert_eq!(normalise(&run), normalise(text));
        assert_eq!(normalise(text), text);
    }

    #[test]
    fn what_changes_from_run_to_run_does_not_change_the_text() {
        let monday = "pid 4711 at 2026-11-23 10:00:01,123: object at 0x7f3a12 in \
                      /home/ann/app/backend/db.py, line 12 after 31 ms";
        let tuesday = "pid 99 at 2026-11-24T11:22:33.5Z: object at 0xdeadbeef in \
                       /srv/releases/42/backend/db.py, line 19 after 7 ms";
        assert_eq!(normalise(monday), normalise(tuesday));
    }

    #[test]
    fn what_names_the_cause_stays() {
        assert_ne!(
            normalise("no such table: users2"),
            normalise("no such table: users3")
        );
        assert_ne!(
            normalise("cannot import /x/app/models/a.py"),
            normalise("cannot import /x/app/models/b.py")
        );
    }

    #[test]
    fn one_exception_seen_by_two_checks_is_one_signature() {
        let error = "InvalidRequestError: Table 'm' is already defined";
        let schema = Finding::new("schema.duplicate_table", Severity::Critical, "m", "twice")
            .cause(Cause::Exception(error.to_owned()));
        let rehearsal = Finding::new("rehearsal.failed", Severity::Critical, "database", "no")
            .cause(Cause::Exception(error.to_owned()));
        assert_eq!(sign_finding(&schema), sign_finding(&rehearsal));
    }

    /// The missions of logs that are there are found by these.
    #[test]
    fn signatures_stay_what_they_were() {
        let finding = || Finding::new("schema.not_migrated", Severity::Critical, "main", "no");
        let of = |cause: Cause| sign_finding(&finding().cause(cause)).to_string();
        let exception = |text: &str| of(Cause::Exception(text.to_owned()));
        assert_eq!(exception("E: line 7"), "fa25bed0cd7c151d");
        assert_eq!(exception("E: line 9"), "fa25bed0cd7c151d");
        assert_eq!(of(Cause::Pending("0123".to_owned())), "30b4a573185e4f3c");
        assert_eq!(sign_finding(&finding()).to_string(), "b6019edb6fecd25a");
        // Facts describe, and sign nothing.
        let described = finding().fact("exception", "E: x").fact("pending", "0123");
        assert_eq!(sign_finding(&described), sign_finding(&finding()));
    }

    #[test]
    fn a_run_time_failure_is_signed_by_its_last_exception_and_own_frame() {
        let sign = |output: &str| sign_layer_failure("api", "web", "ended with code 1", output);
        let traceback = |root: &str, function: &str, line: u32, said: &str| {
            format!(
                "starting\nTraceback (most recent call last):\n  File \"{root}/app/db.py\", line {line}, in {function}\n    \
                 connect()\n  File \"/venv/lib/python3.12/site-packages/sqlalchemy/pool.py\", line {line}, in checkout\n\
                 sqlalchemy.exc.OperationalError: {said}\n\nbye\n"
            )
        };
        let monday = sign(&traceback("/srv/1", "start", 3, "no such table: users"));
        assert_eq!(
            monday,
            sign(&traceback("/srv/2", "start", 9, "no such table: users"))
        );
        assert_ne!(
            monday,
            sign(&traceback("/srv/1", "start", 3, "no such table: orders"))
        );
        assert_ne!(
            monday,
            sign(&traceback("/srv/1", "stop", 3, "no such table: users"))
        );
        // An exception that came of another: the last one counts.
        let first = traceback("/srv/1", "start", 3, "first");
        assert_eq!(
            sign(&format!(
                "{first}{}",
                traceback("/srv/1", "start", 3, "no such table: users")
            )),
            monday
        );
        // Without one, the error, as ever.
        assert_eq!(sign("plain words"), sign("other words"));
        assert_ne!(sign("plain words"), monday);
    }

    proptest! {
        #[test]
        fn any_output_is_signed(output in "(Traceback \\(most recent call last\\):|File \"|\"| in |\n|[a-z ]{0,9}){0,40}") {
            let _ = sign_layer_failure("a", "b", "c", &output);
        }

        #[test]
        fn any_text_is_normalised_once_and_for_all(text in ".{0,200}") {
            let once = normalise(&text);
            prop_assert!(once.len() <= text.len() * 8 + 16);
        }

        #[test]
        fn pids_do_not_matter(a in 1u32..9_999_999, b in 1u32..9_999_999) {
            let text = |pid: u32| format!("worker (pid {pid}) died");
            prop_assert_eq!(normalise(&text(a)), normalise(&text(b)));
        }
    }
}
