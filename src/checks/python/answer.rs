//! What came back of a run: the answer, if there is exactly one, or why there is none, in words.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::checks::context::CheckContext;
use crate::checks::raised::{DETAIL_BYTES_MAX, clean_whole, clip_middle};
use crate::domain::event::ExitKind;
use crate::domain::finding::Location;
use crate::sandbox::{OUTPUT_KEPT_MAX, SandboxOutcome};

/// Why a program gave no answer.
#[derive(Debug)]
pub(in crate::checks) struct NoAnswer {
    /// `exited with exit status 3 before it was done`, cleaned.
    pub why: String,
    /// It was killed because its time was up.
    pub timed_out: bool,
    /// Native code crashed.
    pub crashed: bool,
    /// End of its standard error (or output), cleaned.
    pub output: String,
    /// Where it hung, if it said so.
    pub location: Option<Location>,
}

/// An interpreter, as the prelude introduces it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(in crate::checks) struct PythonHost {
    /// `sys.path` with the application's directories.
    pub path: Vec<String>,
    /// It is no virtual environment: what is installed there may be for others.
    pub shared: bool,
    /// Values of the variables in markers (PEP 508).
    pub markers: BTreeMap<String, String>,
}

/// Standard error and standard output, as far as they were kept.
pub(in crate::checks) fn printed(outcome: &SandboxOutcome, context: &CheckContext<'_>) -> String {
    let clean = |raw: &[u8]| clip_middle(&clean_output(raw, context), DETAIL_BYTES_MAX / 4);
    let (stderr, stdout) = (clean(&outcome.stderr), clean(&outcome.stdout));
    let between = if stderr.is_empty() || stderr.ends_with('\n') {
        ""
    } else {
        "\n"
    };
    format!("{stderr}{between}{stdout}")
}

/// What a program printed, for a person: redacted before anything is cut off.
pub(in crate::checks) fn clean_output(raw: &[u8], context: &CheckContext<'_>) -> String {
    let text = String::from_utf8_lossy(raw);
    clean_whole(context.redactor, &text, raw.len() >= OUTPUT_KEPT_MAX)
}

/// Why there is no answer in what came over the channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotAnswered {
    Silent,
    Twice,
}

/// The only line that begins with the nonce. The probe ends with its answer, so a second one is not its own.
pub(super) fn parse_answer<T: DeserializeOwned>(
    result: &[u8],
    nonce: &str,
) -> Result<T, NotAnswered> {
    parse_marked(result, nonce, "")
}

/// [`parse_answer`] of the lines with this mark.
pub(super) fn parse_marked<T: DeserializeOwned>(
    result: &[u8],
    nonce: &str,
    mark: &str,
) -> Result<T, NotAnswered> {
    let begin = format!("{nonce}{mark} ");
    let mut answers = result
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.strip_prefix(begin.as_bytes()));
    let answer = answers.next().ok_or(NotAnswered::Silent)?;
    if answers.next().is_some() {
        return Err(NotAnswered::Twice);
    }
    serde_json::from_slice(answer).map_err(|_| NotAnswered::Silent)
}

/// The first line that begins with the nonce and `!`: nothing of the application ran before it.
pub(super) fn parse_introduction(result: &[u8], nonce: &str) -> Option<PythonHost> {
    result
        .split(|byte| *byte == b'\n')
        .find_map(|line| line.strip_prefix(nonce.as_bytes())?.strip_prefix(b"! "))
        .and_then(|json| serde_json::from_slice(json).ok())
}

/// Why a sandboxed program is not done, in words.
pub(in crate::checks) fn no_answer(
    outcome: &SandboxOutcome,
    timeout_ms: u64,
    context: &CheckContext<'_>,
) -> NoAnswer {
    let why = if outcome.timed_out {
        format!("did not finish within {timeout_ms} ms and was stopped")
    } else if let Some(what) = &outcome.exceeded {
        format!("used {what}, the bound in `heal.sandbox.limits`, and was stopped")
    } else if outcome.result_truncated {
        "answered with more than is read".to_owned()
    } else {
        match outcome.exit {
            ExitKind::Code(code) => format!("exited with status {code} before it was done"),
            ExitKind::Signal(signal) => format!("was killed by {}", signal_words(signal)),
            ExitKind::Unknown => "ended in an unknown way".to_owned(),
        }
    };
    let raw = if outcome.stderr.is_empty() {
        &outcome.stdout
    } else {
        &outcome.stderr
    };
    let text = String::from_utf8_lossy(raw);
    let location = if outcome.timed_out || matches!(outcome.exit, ExitKind::Signal(_)) {
        hang_location(&text, context)
    } else {
        None
    };
    NoAnswer {
        why,
        timed_out: outcome.timed_out,
        crashed: !outcome.timed_out && is_native_crash(outcome.exit),
        output: clip_middle(&clean_output(raw, context), DETAIL_BYTES_MAX / 2),
        location,
    }
}

fn is_native_crash(exit: ExitKind) -> bool {
    let ExitKind::Signal(signal) = exit else {
        return false;
    };
    matches!(
        signal,
        libc::SIGSEGV | libc::SIGABRT | libc::SIGBUS | libc::SIGILL | libc::SIGFPE
    )
}

fn signal_words(signal: i32) -> String {
    let meaning = match signal {
        libc::SIGSEGV => " (SIGSEGV: a crash in native code)",
        libc::SIGABRT => " (SIGABRT: native code gave up)",
        libc::SIGBUS => " (SIGBUS: a crash in native code)",
        libc::SIGILL => " (SIGILL: a crash in native code)",
        libc::SIGFPE => " (SIGFPE: a crash in native code)",
        libc::SIGKILL => " (SIGKILL: a memory or CPU limit, or another process)",
        libc::SIGXCPU => " (SIGXCPU: its CPU time ran out)",
        libc::SIGXFSZ => " (SIGXFSZ: a file grew too large)",
        libc::SIGTERM => " (SIGTERM: another process stopped it)",
        _ => "",
    };
    format!("signal {signal}{meaning}")
}

/// The innermost frame of the application in what `faulthandler` wrote: `File "...", line N in f`.
fn hang_location(stderr: &str, context: &CheckContext<'_>) -> Option<Location> {
    let root = context.seen_root().canonicalize().ok()?;
    stderr.lines().find_map(|line| {
        let rest = line.trim().strip_prefix("File \"")?;
        let (file, rest) = rest.split_once("\", line ")?;
        let inside = Path::new(file)
            .strip_prefix(&root)
            .or_else(|_| Path::new(file).strip_prefix(context.root))
            .ok()?;
        let is_package = inside.components().any(|part| {
            matches!(
                part.as_os_str().to_str(),
                Some("site-packages" | "dist-packages" | ".venv" | "venv" | "node_modules")
            )
        });
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        (!is_package).then(|| Location {
            file: context.redactor.clean(&inside.display().to_string(), 512),
            line: digits.parse().unwrap_or(0),
            column: 0,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_line_with_the_nonce_is_an_answer() {
        let parse = |bytes: &[u8]| parse_answer::<u32>(bytes, "abc").ok();
        assert_eq!(parse(b"\nabc 7\n"), Some(7));
        assert_eq!(parse(b"5\n{}\nabc 7\nrubbish\xff"), Some(7));
        assert_eq!(parse(b"7\n"), None);
        assert_eq!(parse(b"\nabd 7\n"), None);
        assert_eq!(parse(b"\nabc 7"), Some(7));
        assert_eq!(parse(b""), None);
        assert_eq!(parse(b"\nabc! {}\n\nabc 7\n"), Some(7));
        assert_eq!(parse(b"\nabc! 7\n"), None);
        assert_eq!(parse(b"\nabc7\n"), None);
        // Who answers twice is not believed once.
        assert_eq!(parse(b"\nabc 7\n\nabc 8\n"), None);
    }
}
