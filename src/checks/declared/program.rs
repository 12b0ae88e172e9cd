//! Runs the program of a declared check in the sandbox, and hands what it printed to its format.

use std::path::Path;

use super::answer::{Answer, Printed};
use super::formats::read;
use crate::checks::as_run::AsRun;
use crate::checks::context::CheckContext;
use crate::checks::python::{ProbeError, clean_output, no_answer, run_directory, run_environment};
use crate::checks::raised::{DETAIL_BYTES_MAX, clip_middle};
use crate::domain::event::ExitKind;
use crate::manifest::{CheckFormat, CheckWhen, DeclaredCheck};
use crate::sandbox::{OUTPUT_KEPT_MAX, SandboxOutcome, SandboxSpec, run_sandboxed};

/// Of what a program reads on its standard input.
const PROTOCOL: u32 = 1;

/// Runs it. The reason of an error is the rest of a sentence that begins with the check.
pub(super) fn run(
    context: &CheckContext<'_>,
    check: &DeclaredCheck,
    command: &[String],
    format: CheckFormat,
) -> Result<Answer, String> {
    let argv: Vec<String> = command
        .iter()
        .map(|word| context.environment.expand(word))
        .collect::<Result<_, _>>()
        .map_err(|error| format!("cannot be run: {error}"))?;
    let directory = run_directory(context).map_err(|error: ProbeError| error.to_string())?;
    let question = serde_json::json!({
        "protocol": PROTOCOL,
        "workspace": context.seen_root(),
        "app": context.manifest.name,
        "check": check.name,
        "when": if context.is_live { "live" } else { "preflight" },
        "layer": check.layer,
        "inputs": check.inputs,
        "timeout_ms": check.timeout_ms,
    });
    let outcome = run_sandboxed(&SandboxSpec {
        argv,
        cwd: context.root.to_owned(),
        env: run_environment(context, &AsRun::default()),
        view: Some(context.view()),
        writable: Vec::new(),
        home: Some(directory.path().to_owned()),
        network: check.network,
        limits: context.manifest.heal.sandbox_limits,
        timeout_ms: check.timeout_ms,
        stdin: format!("{question}\n").into_bytes(),
        stdin_more: None,
        loopback: None,
    })
    .map_err(|error| error.to_string())?;
    let status = match outcome.exit {
        ExitKind::Code(status) if !outcome.timed_out && outcome.exceeded.is_none() => status,
        _ => {
            return Err(no_answer(&outcome, check.timeout_ms, context).why);
        }
    };
    let answer = answer_of(context, &outcome, format)?;
    let all = all_of(context, &outcome);
    let mut answer = read(
        format,
        Printed {
            status,
            answer: &answer,
            all: &all,
        },
    )?;
    for found in &mut answer.found {
        let place = found.location.as_mut();
        let files = place.map(|place| &mut place.file).into_iter();
        for file in files.chain([&mut found.subject]) {
            if let Ok(below) = Path::new(file.as_str()).strip_prefix(context.seen_root()) {
                *file = below.display().to_string();
            }
        }
        found.detail = clip_middle(
            &context.redactor.clean(&found.detail, usize::MAX),
            DETAIL_BYTES_MAX / 4,
        );
    }
    Ok(answer)
}

/// What it wrote to its descriptor for results, or printed.
fn answer_of(
    context: &CheckContext<'_>,
    outcome: &SandboxOutcome,
    format: CheckFormat,
) -> Result<String, String> {
    if outcome.result_truncated {
        return Err("answered with more than is read".to_owned());
    }
    if !outcome.result.is_empty() {
        return Ok(String::from_utf8_lossy(&outcome.result).into_owned());
    }
    // An exit status needs nothing of the rest, and a plugin's first line is enough.
    let needs_all = !matches!(format, CheckFormat::Exit | CheckFormat::Nagios);
    if !needs_all {
        return Ok(clean_output(&outcome.stdout, context));
    }
    if outcome.stdout.len() >= OUTPUT_KEPT_MAX {
        return Err(format!(
            "printed more than {} KiB; a longer answer goes to the descriptor in UBS_RESULT_FD",
            OUTPUT_KEPT_MAX >> 10
        ));
    }
    Ok(String::from_utf8_lossy(&outcome.stdout).into_owned())
}

fn all_of(context: &CheckContext<'_>, outcome: &SandboxOutcome) -> String {
    let text = |raw: &[u8]| clean_output(raw, context).trim_end().to_owned();
    let (stdout, stderr) = (text(&outcome.stdout), text(&outcome.stderr));
    match (stdout.is_empty(), stderr.is_empty()) {
        (true, _) => stderr,
        (_, true) => stdout,
        _ => format!("{stdout}\n{stderr}"),
    }
}

/// It runs now.
pub(super) fn is_due(check: &DeclaredCheck, is_live: bool) -> bool {
    match check.when {
        CheckWhen::Both => true,
        CheckWhen::Live => is_live,
        CheckWhen::Preflight => !is_live,
    }
}
