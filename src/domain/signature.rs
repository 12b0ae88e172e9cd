//! The signature of a failure: same cause, same signature, whatever the process id, the time, the
//! path prefix or the line number.
//!
//! Pure. A failure that comes from an exception is signed by the exception alone, so that one
//! broken model seen by three checks and five layers is one mission, not eight.

use std::sync::LazyLock;

use regex::Regex;

use super::finding::Finding;
use super::ids::{Digest, Signature};
use super::remedy::Cause;

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
        None => sign(&["finding", code, subject]),
    }
}

/// The signature of a layer that failed while it ran: the layer, the service, and the error.
#[must_use]
pub(crate) fn sign_layer_failure(layer: &str, service: &str, error: &str) -> Signature {
    sign(&["layer", layer, service, &normalise(error)])
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

    proptest! {
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
