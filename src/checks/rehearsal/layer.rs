//! The dry run of one layer: its imports and its call in an interpreter, then its command.

use std::sync::OnceLock;

use serde::Deserialize;

use super::effects::{self, ObservedEffect};
use super::findings::LayerFailures;
use super::first_use::ToldAfter;
use crate::checks::as_run::{AsRun, STARTUP_S_MAX};
use crate::checks::context::CheckContext;
use crate::checks::packages::Packages;
use crate::checks::python::{
    ProbeAnswer, ProbeError, ProbeProgram, ProbeRun, no_answer, printed, run_directory,
    run_environment, run_hosting_probe, run_probe,
};
use crate::checks::raised::Raised;
use crate::domain::code::Code;
use crate::domain::finding::{DryRun, Finding, RehearsalOutcome, Severity};
use crate::manifest::{Layer, Rehearse};
use crate::sandbox::{Isolation, SandboxSpec, run_sandboxed};

/// A start-up that takes longer is not decided.
const STARTUP_MS_MAX: u64 = STARTUP_S_MAX * 1000;
/// Lines of what was printed that a report quotes.
const PRINTED_LINES_MAX: usize = 10;
/// Length of each.
const PRINTED_BYTES_MAX: usize = 300;

/// What `rehearse.py` answers.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Rehearsed {
    /// Each module of the manifest that was imported, with its milliseconds.
    times: Vec<(String, u64)>,
    /// The modules whose own import took longest, with their milliseconds.
    slowest: Vec<(String, u64)>,
    effects: Vec<ObservedEffect>,
    /// Effects that are not listed.
    effects_more: usize,
    /// The application's own files that were imported.
    files: Vec<String>,
    /// What was being done when it failed.
    step: String,
    raised: Option<Raised>,
    /// The start-up began.
    starting: bool,
    /// Its time was up before anything was decided.
    undecided: bool,
}

/// The dry run of one layer.
pub(super) struct LayerRun {
    pub outcome: RehearsalOutcome,
    pub duration_ms: u64,
    pub findings: Vec<Finding>,
    pub isolation: Option<Isolation>,
    pub seen: DryRun,
}

/// The end of clean text.
fn last_lines(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    lines[lines.len().saturating_sub(PRINTED_LINES_MAX)..]
        .iter()
        .map(|line| crate::domain::redact::truncate(line.trim_end(), PRINTED_BYTES_MAX))
        .collect()
}

/// Fit to be compared and quoted: the application answered it.
fn is_plain_path(file: &str) -> bool {
    file.len() <= PRINTED_BYTES_MAX && !file.chars().any(char::is_control)
}

pub(super) fn rehearse_layer(
    context: &CheckContext<'_>,
    layer: &Layer,
    rehearse: &Rehearse,
    packages: &OnceLock<Packages>,
) -> Result<LayerRun, ProbeError> {
    let as_run = AsRun::of_layer(context, layer, &rehearse.imports);
    let mut failures = LayerFailures {
        context,
        layer,
        as_run: &as_run,
        packages: None,
    };
    let mut run = LayerRun {
        outcome: RehearsalOutcome::Pass,
        duration_ms: 0,
        findings: Vec::new(),
        isolation: None,
        seen: DryRun::default(),
    };
    if !rehearse.imports.is_empty() || rehearse.call.is_some() {
        let host = context.shared.host_of(&layer.name);
        let startup = rehearse.startup.then(|| as_run.startup(context)).flatten();
        let input = serde_json::json!({
            "imports": rehearse.imports,
            "call": rehearse.call.as_deref().unwrap_or(""),
            "serve": host.map_or(0, |host| host.wanted),
            "scripts": as_run.scripts(&rehearse.imports),
            "celery": as_run.celery_module(),
            "named": as_run.worker_object(),
            "tasks": as_run.is_celery_worker,
            "startup": startup,
            "tool": as_run.program.tool,
            "serves": as_run.program.serves && !as_run.words.iter().any(|w| w.starts_with("--settings")),
        });
        let program = ProbeProgram::Rehearse;
        let mut timeout_ms = rehearse.timeout_ms;
        if startup.is_some() {
            timeout_ms = timeout_ms.saturating_add(STARTUP_MS_MAX);
        }
        let ran: ProbeRun<Rehearsed> = match host {
            Some(host) => run_hosting_probe(context, &as_run, program, input, timeout_ms, host)?,
            None => run_probe(
                context,
                &as_run,
                program,
                input,
                timeout_ms,
                rehearse.network,
            )?,
        };
        run.duration_ms = ran.duration_ms;
        run.isolation = Some(ran.isolation);
        run.seen.printed = last_lines(&ran.printed);
        if let Some(host) = &ran.host {
            failures.packages = Some(packages.get_or_init(|| Packages::read(context, host)));
        }
        match ran.answer {
            ProbeAnswer::Given(mut rehearsed) => {
                rehearsed.files.retain(|file| is_plain_path(file));
                run.seen.files = std::mem::take(&mut rehearsed.files);
                let slowest = &rehearsed.slowest;
                run.seen.slowest_modules = failures.slowest_modules(slowest);
                run.findings
                    .extend(failures.slow_import(&rehearsed.times, &run.seen.slowest_modules));
                run.seen.side_effects = effects::clean(&rehearsed.effects, context.redactor);
                let more = rehearsed.effects_more;
                run.findings
                    .extend(failures.side_effects(&run.seen.side_effects, more));
                if rehearsed.undecided {
                    run.outcome = RehearsalOutcome::Degraded;
                    run.findings.push(if rehearsed.starting {
                        failures.slow_start()
                    } else {
                        failures.unguarded(&rehearsed.step)
                    });
                }
                if let Some(raised) = &rehearsed.raised {
                    let start = || rehearsed.starting.then(|| context.start_cause(raised));
                    let cause = context.sandbox_cause(raised).or_else(|| start().flatten());
                    run.outcome = match cause {
                        Some(_) => RehearsalOutcome::Degraded,
                        None => RehearsalOutcome::Failed,
                    };
                    let step = &rehearsed.step;
                    let step = if rehearsed.starting {
                        format!("the start-up of {step}")
                    } else {
                        step.clone()
                    };
                    let finding = failures.raised(&step, raised, cause.as_ref(), &ran.printed);
                    run.findings.push(finding);
                }
                let after: ToldAfter = ran
                    .after
                    .and_then(|after| serde_json::from_value(after).ok())
                    .unwrap_or_default();
                for told in &after.told {
                    let finding = failures.first_use(told);
                    if finding.severity == Severity::Critical {
                        run.outcome = RehearsalOutcome::Failed;
                    }
                    run.findings.push(finding);
                }
            }
            ProbeAnswer::None(why) if ran.has_started && why.timed_out => {
                run.outcome = RehearsalOutcome::Degraded;
                run.findings.push(failures.slow_start());
            }
            ProbeAnswer::None(why) => {
                run.outcome = RehearsalOutcome::Failed;
                run.findings.push(failures.no_answer("the dry run", &why));
            }
        }
    }
    if !rehearse.command.is_empty() && run.outcome == RehearsalOutcome::Pass {
        run_command(context, rehearse, &failures, &mut run)?;
    }
    Ok(run)
}

fn run_command(
    context: &CheckContext<'_>,
    rehearse: &Rehearse,
    failures: &LayerFailures<'_>,
    run: &mut LayerRun,
) -> Result<(), ProbeError> {
    let argv: Result<Vec<String>, _> = rehearse
        .command
        .iter()
        .map(|word| context.environment.expand(word))
        .collect();
    let shown = rehearse.command.first().map_or("", String::as_str);
    let fail = |run: &mut LayerRun, finding| {
        run.outcome = RehearsalOutcome::Failed;
        run.findings.push(finding);
    };
    let argv = match argv {
        Ok(argv) => argv,
        Err(error) => {
            fail(
                run,
                failures.failed(Code::RehearsalFailed, &format!("{shown}: {error}")),
            );
            return Ok(());
        }
    };
    let directory = run_directory(context)?;
    let outcome = run_sandboxed(&SandboxSpec {
        argv,
        cwd: context.root.to_owned(),
        env: run_environment(context, failures.as_run),
        view: Some(context.view()),
        writable: Vec::new(),
        home: Some(directory.path().to_owned()),
        network: rehearse.network,
        limits: context.manifest.heal.sandbox_limits,
        timeout_ms: rehearse.timeout_ms,
        stdin: Vec::new(),
        stdin_more: None,
        loopback: None,
    });
    match outcome {
        // A command that does not exist is the layer's failure, not the check's.
        Err(error) => fail(
            run,
            failures.failed(Code::RehearsalFailed, &error.to_string()),
        ),
        Ok(outcome) if outcome.exit.is_success() && !outcome.timed_out => {
            run.seen.printed = last_lines(&printed(&outcome, context));
            run.duration_ms += outcome.duration_ms;
            run.isolation.get_or_insert(outcome.isolation);
        }
        Ok(outcome) => {
            run.seen.printed = last_lines(&printed(&outcome, context));
            let mut why = no_answer(&outcome, rehearse.timeout_ms, context);
            why.why = why.why.replace(" before it was done", "");
            // The last thing that it said is most often the reason.
            let said = why.output.lines().rev().find(|l| !l.trim().is_empty());
            let unshown = said.and_then(|said| context.not_shown_in([said].into_iter(), &[]));
            if let Some(said) = said {
                why.why = format!("{}: {}", why.why, said.trim());
            }
            let what = format!("the command {shown}");
            let mut finding = failures.no_answer(&what, &why);
            run.outcome = RehearsalOutcome::Failed;
            if let Some(unshown) = unshown.filter(|_| !why.timed_out) {
                finding.code = Code::RehearsalOutsidePath;
                finding.severity = Severity::Warning;
                let why = unshown.why(context.redactor);
                finding.message.push_str(&format!("; {why}"));
                finding.remedy = Some(unshown.remedy());
                run.outcome = RehearsalOutcome::Degraded;
            }
            run.findings.push(finding);
            run.duration_ms += outcome.duration_ms;
            run.isolation.get_or_insert(outcome.isolation);
        }
    }
    Ok(())
}
