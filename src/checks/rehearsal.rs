//! The rehearsal check: what each layer imports and calls, in a fresh interpreter in the sandbox, side
//! by side.
//!
//! A dry run may write nothing in the workspace. A layer that fails only because of that is degraded,
//! not failed: whether it starts is then known only when it starts.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::Deserialize;

use super::advice::{import_remedy, package_of};
use super::python::{
    Answer, NoAnswer, ProbeError, Program, no_answer, run_directory, run_environment, run_probe,
};
use super::raised::Raised;
use super::{CheckContext, Outcome, count, imports};
use crate::domain::finding::{
    Finding, LayerRehearsal, Location, Measured, RehearsalOutcome, Severity,
};
use crate::domain::signature::FACT_EXCEPTION;
use crate::manifest::{Layer, Rehearse};
use crate::sandbox::{Isolation, SandboxSpec, host_isolation, run_sandboxed};

/// Imports that take longer are worth a word.
const SLOW_IMPORT_MS: u64 = 5_000;
/// Dry runs at once, at least: most of their time goes into reading files.
const THREADS_MIN: usize = 2;
/// What `rehearse.py` answers.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Rehearsed {
    /// Each module that was imported, with its milliseconds.
    times: Vec<(String, u64)>,
    /// What was being done when it failed.
    step: String,
    raised: Option<Raised>,
}

/// The dry run of one layer.
struct Run {
    outcome: RehearsalOutcome,
    duration_ms: u64,
    findings: Vec<Finding>,
    isolation: Option<Isolation>,
}

/// Runs the check.
pub(super) fn check(context: &CheckContext<'_>) -> Result<Outcome, ProbeError> {
    let layers: Vec<(&Layer, &Rehearse)> = context
        .manifest
        .layers
        .iter()
        .filter_map(|layer| Some((layer, layer.rehearse.as_ref()?)))
        .collect();
    // Beside the dry runs, not before them.
    let (runs, seen) = std::thread::scope(|scope| {
        let seen = scope.spawn(|| imports::look(context));
        let runs = run_all(context, &layers);
        let seen = seen.join();
        (
            runs,
            seen.unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
        )
    });
    let runs = runs?;
    let isolation = runs
        .iter()
        .find_map(|run| run.isolation.clone())
        .unwrap_or_else(|| host_isolation(context.manifest.heal.sandbox_limits));
    let passed = runs
        .iter()
        .filter(|run| run.outcome == RehearsalOutcome::Pass)
        .count();
    let results: Vec<LayerRehearsal> = layers
        .iter()
        .zip(&runs)
        .map(|((layer, _), run)| LayerRehearsal {
            layer: layer.name.clone(),
            outcome: run.outcome,
            duration_ms: run.duration_ms,
        })
        .collect();
    let went_through: BTreeSet<&str> = layers
        .iter()
        .zip(&runs)
        .filter(|(_, run)| run.outcome == RehearsalOutcome::Pass)
        .map(|((layer, _), _)| layer.name.as_str())
        .collect();
    let mut findings: Vec<Finding> = runs.into_iter().flat_map(|run| run.findings).collect();
    let in_sources = seen.beside(&findings, &went_through);
    if layers.is_empty() && in_sources.is_empty() {
        return Ok(Outcome::skipped("no layer has a rehearsal"));
    }
    findings.extend(in_sources);
    let issues = findings
        .iter()
        .filter(|finding| finding.severity >= Severity::Warning)
        .map(|finding| context.redactor.clean(&finding.message, 512))
        .collect();
    let layers_count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Ok(Outcome {
        summary: if layers.is_empty() {
            "no layer has a rehearsal; the sources were looked at".to_owned()
        } else {
            format!("{passed} of {} passed", count(layers.len(), "layer"))
        },
        findings,
        measured: Measured::Rehearsal {
            layers_tested: layers_count(layers.len()),
            layers_passed: layers_count(passed),
            issues,
            layers: results,
            isolation: isolation.lines,
        },
        skipped: false,
    })
}

/// All layers, as many at once as there are processors.
fn run_all(
    context: &CheckContext<'_>,
    layers: &[(&Layer, &Rehearse)],
) -> Result<Vec<Run>, ProbeError> {
    let threads = std::thread::available_parallelism()
        .map_or(THREADS_MIN, usize::from)
        .clamp(THREADS_MIN, layers.len().max(THREADS_MIN));
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some((layer, rehearse)) = layers.get(index) else {
                return done;
            };
            done.push((index, rehearse_layer(context, layer, rehearse)));
        }
    };
    let mut runs: Vec<(usize, Result<Run, ProbeError>)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .flat_map(|worker| {
                worker
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect()
    });
    runs.sort_by_key(|(index, _)| *index);
    runs.into_iter().map(|(_, run)| run).collect()
}

fn rehearse_layer(
    context: &CheckContext<'_>,
    layer: &Layer,
    rehearse: &Rehearse,
) -> Result<Run, ProbeError> {
    let failures = LayerFailures { context, layer };
    let mut run = Run {
        outcome: RehearsalOutcome::Pass,
        duration_ms: 0,
        findings: Vec::new(),
        isolation: None,
    };
    if !rehearse.imports.is_empty() || rehearse.call.is_some() {
        let input = serde_json::json!({
            "imports": rehearse.imports,
            "call": rehearse.call.as_deref().unwrap_or(""),
        });
        let ran = run_probe::<Rehearsed>(
            context,
            Program::Rehearse,
            input,
            rehearse.timeout_ms,
            rehearse.network,
        )?;
        run.duration_ms = ran.duration_ms;
        run.isolation = Some(ran.isolation);
        match ran.answer {
            Answer::Given(rehearsed) => {
                run.findings.extend(failures.slow_import(&rehearsed.times));
                if let Some(raised) = &rehearsed.raised {
                    run.outcome = if raised.read_only {
                        RehearsalOutcome::Degraded
                    } else {
                        RehearsalOutcome::Failed
                    };
                    run.findings.push(failures.raised(&rehearsed.step, raised));
                }
            }
            Answer::None(why) => {
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
    run: &mut Run,
) -> Result<(), ProbeError> {
    let argv: Result<Vec<String>, _> = rehearse
        .command
        .iter()
        .map(|word| context.environment.expand(word))
        .collect();
    let shown = rehearse.command.first().map_or("", String::as_str);
    let mut fail = |finding| {
        run.outcome = RehearsalOutcome::Failed;
        run.findings.push(finding);
    };
    let argv = match argv {
        Ok(argv) => argv,
        Err(error) => {
            fail(failures.failed("rehearsal.failed", &format!("{shown}: {error}")));
            return Ok(());
        }
    };
    let directory = run_directory(context)?;
    let outcome = run_sandboxed(&SandboxSpec {
        argv,
        cwd: context.root.to_owned(),
        env: run_environment(context, directory.path()),
        writable: vec![directory.path().to_owned()],
        network: rehearse.network,
        limits: context.manifest.heal.sandbox_limits,
        timeout_ms: rehearse.timeout_ms,
        stdin: Vec::new(),
    });
    match outcome {
        // A command that does not exist is the layer's failure, not the check's.
        Err(error) => fail(failures.failed("rehearsal.failed", &error.to_string())),
        Ok(outcome) if outcome.exit.is_success() && !outcome.timed_out => {
            run.duration_ms += outcome.duration_ms;
            run.isolation.get_or_insert(outcome.isolation);
        }
        Ok(outcome) => {
            let mut why = no_answer(&outcome, rehearse.timeout_ms, context);
            why.why = why.why.replace(" before it was done", "");
            // The last thing that it said is most often the reason.
            if let Some(said) = why.output.lines().rev().find(|l| !l.trim().is_empty()) {
                why.why = format!("{}: {}", why.why, said.trim());
            }
            fail(failures.no_answer(&format!("the command {shown}"), &why));
            run.duration_ms += outcome.duration_ms;
            run.isolation.get_or_insert(outcome.isolation);
        }
    }
    Ok(())
}

/// Findings about one layer.
struct LayerFailures<'a> {
    context: &'a CheckContext<'a>,
    layer: &'a Layer,
}

impl LayerFailures<'_> {
    fn failed(&self, code: &str, what: &str) -> Finding {
        let severity = if self.layer.critical {
            Severity::Critical
        } else {
            Severity::Warning
        };
        self.finding(code, severity, what)
    }

    fn finding(&self, code: &str, severity: Severity, what: &str) -> Finding {
        let name = &self.layer.name;
        let mut finding = Finding::new(
            code,
            severity,
            name.as_str(),
            format!("layer {name}: {what}"),
        );
        finding.layer = Some(name.clone());
        finding
    }

    fn no_answer(&self, what: &str, why: &NoAnswer) -> Finding {
        let code = if why.timed_out {
            "rehearsal.timeout"
        } else {
            "rehearsal.failed"
        };
        let place = why.location.as_ref().map_or_else(String::new, in_brackets);
        let mut finding = self.failed(code, &format!("{what} {}{place}", why.why));
        finding.location = why.location.clone();
        finding.detail = why.output.clone();
        if why.timed_out {
            finding.remedy = Some(
                "look at what it waits for (the network is not reachable in a dry run unless \
                 rehearse.network = true), or allow more time with rehearse.timeout"
                    .to_owned(),
            );
        }
        finding
    }

    fn raised(&self, step: &str, raised: &Raised) -> Finding {
        let redactor = self.context.redactor;
        let location = raised.location(redactor);
        let place = location.as_ref().map_or_else(String::new, in_brackets);
        let step = redactor.clean(step, 256);
        let missing = (raised.kind == "ModuleNotFoundError")
            .then(|| raised.name.as_deref().unwrap_or_default())
            .filter(|name| !name.is_empty() && !self.is_in_workspace(name));
        let is_named_in_manifest = raised.frames.is_empty()
            && missing.is_some_and(|name| step.split(['.', ':']).next() == Some(name));
        let line = raised.line(redactor);
        let (code, remedy) = if raised.read_only {
            (
                "rehearsal.failed",
                "the dry run is read-only: it may write nothing in the workspace; let the layer write \
                 when it runs and not while it is imported, or create what it needs beforehand"
                    .to_owned(),
            )
        } else if raised.syntax.is_some() {
            (
                "rehearsal.syntax_error",
                "mend the syntax at that place".to_owned(),
            )
        } else if is_named_in_manifest {
            (
                "rehearsal.import_error",
                format!(
                    "correct {step} in `rehearse` of the layer, or add its directory to python.path"
                ),
            )
        } else if let Some(module) = missing {
            let package = package_of(module);
            (
                "rehearsal.missing_package",
                format!(
                    "install {package} with the application's interpreter, and add it to its requirements"
                ),
            )
        } else if matches!(raised.kind.as_str(), "ImportError" | "ModuleNotFoundError") {
            ("rehearsal.import_error", import_remedy(raised))
        } else {
            (
                "rehearsal.failed",
                format!("read the traceback; {step} does not get through"),
            )
        };
        let mut finding = if raised.read_only {
            self.finding(
                code,
                Severity::Warning,
                &format!("{line}{place}; the dry run is read-only, so this may be its fault"),
            )
        } else {
            self.failed(code, &format!("{line}{place}"))
        };
        finding.location = location;
        finding.remedy = Some(remedy);
        finding.detail = raised.detail(redactor);
        finding = finding
            .fact(FACT_EXCEPTION, raised.text(redactor))
            .fact("module", step);
        if is_named_in_manifest {
            finding = finding.at(self.context.manifest_name(), self.layer.line, 0);
        } else if let Some(module) = missing {
            finding = finding.fact("package", package_of(&redactor.clean(module, 256)));
        }
        finding
    }

    /// The module's first part lies on the application's import path.
    fn is_in_workspace(&self, module: &str) -> bool {
        let top = module.split('.').next().unwrap_or(module);
        let bases = &self.context.manifest.python.path;
        let here = [".".to_owned()];
        let bases = if bases.is_empty() { &here[..] } else { bases };
        !top.contains('/')
            && bases.iter().any(|base| {
                let base: &Path = &self.context.root.join(base);
                base.join(format!("{top}.py")).is_file() || base.join(top).is_dir()
            })
    }

    fn slow_import(&self, times: &[(String, u64)]) -> Option<Finding> {
        let total: u64 = times.iter().map(|(_, ms)| *ms).sum();
        if total <= SLOW_IMPORT_MS {
            return None;
        }
        let mut slowest: Vec<&(String, u64)> = times.iter().collect();
        slowest.sort_by_key(|(_, ms)| std::cmp::Reverse(*ms));
        let named: Vec<String> = slowest
            .iter()
            .take(3)
            .map(|(module, ms)| format!("{module} {ms} ms"))
            .collect();
        let what = format!(
            "its imports take {total} ms (slowest: {})",
            named.join(", ")
        );
        let finding = self.finding("rehearsal.slow_import", Severity::Info, &what);
        Some(finding.remedy("import what is rarely used where it is used"))
    }
}

fn in_brackets(location: &Location) -> String {
    format!(" ({}:{})", location.file, location.line)
}

#[cfg(test)]
#[path = "rehearsal_tests.rs"]
mod tests;
