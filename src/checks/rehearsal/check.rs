//! Rehearses every layer, side by side, and sums up.

use std::collections::BTreeSet;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::first_use::told_once;
use super::layer::{LayerRun, rehearse_layer};
use crate::checks::context::CheckContext;
use crate::checks::imports;
use crate::checks::outcome::CheckOutcome;
use crate::checks::packages::{Packages, normalise};
use crate::checks::python::ProbeError;
use crate::checks::shared::ReleaseOnDrop;
use crate::domain::code::Code;
use crate::domain::finding::{Finding, LayerRehearsal, Measured, RehearsalOutcome, Severity};
use crate::domain::words::count;
use crate::manifest::{Layer, Rehearse};
use crate::sandbox::host_isolation;

/// Dry runs at once, at least: most of their time goes into reading files.
const THREADS_MIN: usize = 2;

/// Runs the check.
pub(in crate::checks) fn check(context: &CheckContext<'_>) -> Result<CheckOutcome, ProbeError> {
    let _released = ReleaseOnDrop(context.shared);
    let layers: Vec<(&Layer, &Rehearse)> = context
        .manifest
        .layers
        .iter()
        .filter_map(|layer| Some((layer, layer.rehearse.as_ref()?)))
        .collect();
    // Read once, by the first dry run that knows its interpreter.
    let packages = OnceLock::new();
    // The sources are read beside the dry runs, not before them.
    let (runs, in_sources) = std::thread::scope(|scope| {
        let looked = scope.spawn(|| imports::look(context));
        let runs = run_all(context, &layers, &packages);
        let looked = looked.join();
        (
            runs,
            looked.unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
        )
    });
    let runs = runs?;
    let isolation = runs.iter().find_map(|run| run.isolation.clone());
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
            seen: Some(run.seen.clone()),
        })
        .collect();
    let went_through: BTreeSet<&str> = layers
        .iter()
        .zip(&runs)
        .filter(|(_, run)| run.outcome == RehearsalOutcome::Pass)
        .map(|((layer, _), _)| layer.name.as_str())
        .collect();
    let mut findings: Vec<Finding> = runs.into_iter().flat_map(|run| run.findings).collect();
    told_once(&mut findings);
    let in_sources = in_sources.beside(&findings, &went_through);
    if layers.is_empty() && in_sources.is_empty() {
        return Ok(CheckOutcome::skipped("no layer has a rehearsal"));
    }
    // Costs processes: not asked where nothing is to be said of it.
    let isolation =
        isolation.unwrap_or_else(|| host_isolation(context.manifest.heal.sandbox_limits));
    findings.extend(in_sources);
    if let Some(packages) = packages.get() {
        let more = packages.findings();
        findings.extend(unless_reported(more, &findings));
        for finding in &mut findings {
            packages.mend(context, finding);
        }
    }
    let issues = findings
        .iter()
        .filter(|finding| finding.severity >= Severity::Warning)
        .map(|finding| context.redactor.clean(&finding.message, 512))
        .collect();
    let layers_count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Ok(CheckOutcome {
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

/// Without the missing packages that a layer already fails for.
fn unless_reported(more: Vec<Finding>, reported: &[Finding]) -> Vec<Finding> {
    let missing = |finding: &Finding| {
        let package = finding.facts.get("package")?;
        (finding.code == Code::RehearsalMissingPackage).then(|| normalise(package))
    };
    let reported: Vec<String> = reported.iter().filter_map(missing).collect();
    more.into_iter()
        .filter(|finding| missing(finding).is_none_or(|package| !reported.contains(&package)))
        .collect()
}

/// All layers, as many at once as there are processors.
fn run_all(
    context: &CheckContext<'_>,
    layers: &[(&Layer, &Rehearse)],
    packages: &OnceLock<Packages>,
) -> Result<Vec<LayerRun>, ProbeError> {
    let threads = std::thread::available_parallelism()
        .map_or(THREADS_MIN, usize::from)
        .clamp(THREADS_MIN, layers.len().max(THREADS_MIN));
    let next = AtomicUsize::new(0);
    // First those that other checks wait for.
    let mut order: Vec<usize> = (0..layers.len()).collect();
    order.sort_by_key(|index| context.shared.host_of(&layers[*index].0.name).is_none());
    let work = || {
        let mut done = Vec::new();
        loop {
            let Some(&index) = order.get(next.fetch_add(1, Ordering::Relaxed)) else {
                return done;
            };
            let (layer, rehearse) = layers[index];
            done.push((index, rehearse_layer(context, layer, rehearse, packages)));
        }
    };
    let mut runs: Vec<(usize, Result<LayerRun, ProbeError>)> = std::thread::scope(|scope| {
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
