//! For fuzzing and for the tests of its corpora: one function over bytes for each door through which something hostile may
//! come. Each panics where a promise is broken. And what the benches measure. No part of the public API.

#![allow(missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::database::sql::{addition, statement, text};
use crate::domain::event::Event;
use crate::log::{Body, FRAME_VERSION};
pub use crate::log::{decode_frame, encode_frame};
use crate::manifest::{EnvEntry, EnvFile, Manifest, SandboxLimits, WebFramework, set_variable};
use crate::sandbox::{SandboxSpec, View, run_sandboxed};
use crate::source::{ScanOptions, read_sources};

/// A failure as a program reports it; a bench files it.
#[must_use]
pub fn reported_failure(subject: &str) -> crate::domain::mission::Failure {
    crate::domain::mission::Failure {
        check: None,
        code: crate::domain::code::Code::ReportedFailure,
        subject: subject.to_owned(),
        layer: None,
        critical: false,
        error: format!("{subject} answers 500"),
        remedy: None,
        traceback: String::new(),
        location: None,
        criteria: vec!["whoever filed it says that it is gone".to_owned()],
        fix: None,
        cause: None,
        facts: BTreeMap::new(),
    }
}

/// What is done with an input.
pub type Target = fn(&[u8]);

/// Every target: the name of its directories under `fuzz`, and what is done with an input.
pub const TARGETS: [(&str, Target); 8] = [
    ("compose", compose),
    ("env_file", env_file),
    ("frame", frame),
    ("manifest", manifest),
    ("proposal", proposal),
    ("relay_message", relay_message),
    ("source", source),
    ("sql_text", sql_text),
];

/// Any text is a compose file or a clear error, whatever its aliases stand for.
pub fn compose(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        crate::init::read_any_compose(text);
    }
}

/// Any text is an environment file, and a variable that was set is read back as it was given. The value is what follows
/// the first zero byte.
pub fn env_file(bytes: &[u8]) {
    let Ok(input) = std::str::from_utf8(bytes) else {
        return;
    };
    let (text, value) = input.split_once('\0').unwrap_or((input, "x"));
    let none = BTreeMap::new();
    let before = EnvFile::parse(text, &none, &none);
    let after_text = set_variable(text, "FUZZED", value);
    let after = EnvFile::parse(&after_text, &none, &none);
    if after_text == text {
        return;
    }
    let is_other = |entry: &&EnvEntry| entry.name != "FUZZED";
    let set = after.entries.iter().rev().find(|entry| !is_other(entry));
    assert_eq!(set.expect("it was set").value, value);
    if text.contains("${") {
        // What is put into others may grow past the bounds.
        return;
    }
    assert_eq!(before.malformed.len(), after.malformed.len());
    let others = |file: &EnvFile| file.entries.iter().filter(is_other).count();
    assert_eq!(others(&before), others(&after));
}

/// Any bytes are a frame or opaque: never a panic, never an allocation beyond the codec's limit; and what was understood is
/// written and read again as the same event. The first byte picks the kind, so that a fuzzer need not guess names.
pub fn frame(bytes: &[u8]) {
    let Some((kind, frame)) = bytes.split_first() else {
        return;
    };
    let kind = Event::KINDS[usize::from(*kind) % Event::KINDS.len()];
    for version in 0..=FRAME_VERSION + 1 {
        frame_of(kind, version, frame);
    }
}

/// See [`frame`].
pub fn frame_of(kind: &str, version: u16, frame: &[u8]) {
    match decode_frame(kind, version, frame) {
        Body::Opaque { payload, .. } => assert_eq!(payload, frame),
        Body::Known(event) => {
            assert_eq!(event.kind(), kind);
            // Not always the same bytes: an integer may have been written longer than it must.
            let again = encode_frame(&event).expect("what was read fits");
            assert_eq!(
                decode_frame(kind, FRAME_VERSION, &again),
                Body::Known(event)
            );
        }
    }
}

/// Any text is a manifest or a clear error: no panic, and every problem has its place in the text.
pub fn manifest(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Err(error) = Manifest::parse(text, Path::new("ubs.toml")) {
        assert!(!error.to_string().contains('\n'));
        let lines = text.split('\n').count();
        for problem in error.problems() {
            assert!(problem.line >= 1 && problem.line as usize <= lines);
            assert!(problem.column >= 1);
        }
    }
}

/// Any text is a proposal or a clear error; what was read is written and read again as the same one.
pub fn proposal(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let root = Path::new("/nonexistent");
    if let Ok(proposal) = crate::fix::parse_proposal(text, "fuzz", root) {
        let written = serde_json::to_string(&proposal).expect("a proposal is JSON");
        let again = serde_json::from_str(&written).expect("what was written is read");
        assert_eq!(proposal, again);
    }
}

/// Any bytes are messages of a client, or not: no panic.
pub fn relay_message(bytes: &[u8]) {
    let count = crate::fix::read_any_relay_message(bytes);
    assert!(count <= bytes.len());
}

/// Any bytes are a Python source or say why not: no panic, and no stack that runs out.
pub fn source(bytes: &[u8]) {
    // With the stack of the threads that read an application's sources.
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .stack_size(crate::source::STACK_BYTES)
            .spawn_scoped(scope, || crate::source::read_text_of_one_file(bytes))
            .expect("a thread");
    });
}

/// Any text is taken apart as SQL or refused: what is found lies in the text, and only what the whole of is understood is
/// an addition.
pub fn sql_text(bytes: &[u8]) {
    let Ok(sql) = std::str::from_utf8(bytes) else {
        return;
    };
    match text::statements(sql) {
        Ok(statements) => {
            for one in &statements {
                assert!(
                    one.iter()
                        .all(|token| token.begin < token.end && token.end <= sql.len())
                );
                let _ = statement::judge(sql, one);
            }
        }
        Err((place, _)) => assert!(place <= sql.len() && addition::postgres_addition(sql).is_err()),
    }
    for one in text::sql_statements(sql).flatten() {
        assert!(sql.contains(one.text));
    }
    let _ = addition::postgres_addition(sql);
    let _ = addition::created_type(sql);
    let _ = statement::place_of(sql);
}

/// Runs `true` in a sandbox that shows the workspace.
///
/// # Panics
/// It could not be run, or failed.
pub fn run_true_in_sandbox(workspace: &Path) {
    let limits = SandboxLimits::default();
    let outcome = run_sandboxed(&SandboxSpec {
        argv: vec!["/usr/bin/true".to_owned()],
        cwd: workspace.to_owned(),
        env: BTreeMap::new(),
        view: Some(View::new(workspace, workspace)),
        writable: Vec::new(),
        home: Some(workspace.to_owned()),
        network: false,
        limits,
        timeout_ms: limits.time_ms,
        stdin: Vec::new(),
        stdin_more: None,
        loopback: None,
    });
    assert!(outcome.expect("it runs").exit.is_success());
}

/// Everything that the pre-flight imports, one statement a process.
pub fn imports(manifest: &Manifest) -> BTreeSet<String> {
    let rehearsals = manifest.layers.iter().filter_map(|l| l.rehearse.as_ref());
    let mut statements: BTreeSet<String> = rehearsals
        .filter(|rehearse| !rehearse.imports.is_empty())
        .map(|rehearse| format!("import {}", rehearse.imports.join(", ")))
        .collect();
    statements.extend(
        manifest
            .registration
            .iter()
            .filter_map(|registration| registration.app.as_ref())
            .map(|app| match app.framework {
                WebFramework::Django => format!(
                    "import os; os.environ['DJANGO_SETTINGS_MODULE'] = '{}'\nimport django; django.setup()\n\
                     from django.urls import get_resolver; get_resolver().url_patterns",
                    app.module
                ),
                _ => format!("import {}", app.module),
            }),
    );
    statements
}

/// What a pass over the Python sources of a directory found.
pub struct Scanned {
    pub files: usize,
    pub lines: usize,
    pub imports: usize,
    pub env_reads: usize,
    pub syntax_errors: usize,
}

/// One pass over the sources below `root`, by this many threads.
pub fn scan(root: &Path, threads: usize) -> Scanned {
    let options = ScanOptions {
        threads,
        ..ScanOptions::default()
    };
    let facts = read_sources(root, &[], &options);
    Scanned {
        files: facts.files,
        lines: facts.lines,
        imports: facts.imports.len(),
        env_reads: facts.env_reads.len(),
        syntax_errors: facts.syntax_errors.len(),
    }
}
