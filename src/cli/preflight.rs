//! `ubs preflight`: the checks and the decision, no boot. Changes nothing in the workspace.

use std::collections::BTreeMap;
use std::time::Instant;

use serde::Serialize;
use serde_json::{Value, json};

use super::ci::{Format, for_ci};
use super::context::{AppPaths, CliError, Ui};
use super::exit;
use super::options::{Chosen, Global};
use super::render;
use crate::domain::boot::BootState;
use crate::domain::finding::{
    CheckName, CheckReport, CheckStatus, Decision, Finding, LayerRehearsal, Measured, Severity,
    UNPROVEN, decide_go, grounds,
};
use crate::fix::{CheckPlace, checks_of, list_gaps, read_earlier, run_checks};
use crate::kernel::{ScratchDirectory, sweep_scratch};
use crate::manifest::Manifest;

/// Run the checks and decide GO or NO-GO, without a boot.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    chosen: Chosen,
    /// Only these checks: config, schema, rehearsal, registration, declared, or the name of a declared one
    #[arg(long, value_delimiter = ',', value_name = "CHECK,...")]
    only: Vec<String>,
    /// All checks but these
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "CHECK,...",
        conflicts_with = "only"
    )]
    skip: Vec<String>,
    /// Print the findings for a CI: sarif (2.1.0), junit (XML) or github (annotations)
    #[arg(long, value_enum, conflicts_with = "json", value_name = "FORMAT")]
    format: Option<Format>,
    /// Exit with 3 if the decision is GO (degraded) or GO (unproven)
    #[arg(long)]
    strict: bool,
}

/// Leaves in the manifest the `[[check]]`s that run, and gives the checks that do.
fn choose(manifest: &mut Manifest, args: &Args) -> Result<Vec<CheckName>, CliError> {
    let all = checks_of(manifest);
    let known = || {
        let built_in = all.iter().map(|check| check.as_str());
        built_in.chain(manifest.checks.iter().map(|check| check.name.as_str()))
    };
    for name in args.only.iter().chain(&args.skip) {
        if !known().any(|known| known == name) {
            let names: Vec<&str> = known().collect();
            return Err(CliError::usage(
                format!("there is no check {name:?}"),
                format!("the checks here are: {}", names.join(", ")),
            ));
        }
    }
    let is_wanted = |name: &str, whole: bool| {
        let is_in = |list: &[String]| {
            list.iter().any(|listed| listed == name)
                || !whole
                    && list
                        .iter()
                        .any(|listed| listed == CheckName::Declared.as_str())
        };
        (args.only.is_empty() || is_in(&args.only)) && !is_in(&args.skip)
    };
    manifest
        .checks
        .retain(|check| is_wanted(&check.name, false));
    let has_declared = !manifest.checks.is_empty();
    let checks: Vec<CheckName> = all
        .into_iter()
        .filter(|check| match check {
            CheckName::Declared => has_declared,
            built_in => is_wanted(built_in.as_str(), true),
        })
        .collect();
    if checks.is_empty() {
        return Err(CliError::usage(
            "no check is left to run",
            "take a name out of --skip",
        ));
    }
    Ok(checks)
}

/// What the names of our temporary directories begin with.
const SCRATCH: &str = "ubs-preflight-";

pub(crate) fn run(ui: &Ui, global: &Global, args: Args) -> Result<u8, CliError> {
    let place = AppPaths::find(global)?;
    let mut manifest = place.manifest()?;
    args.chosen.apply(&mut manifest)?;
    let checks = choose(&mut manifest, &args)?;
    let temporary = std::env::temp_dir();
    sweep_scratch(&temporary, SCRATCH);
    let scratch = ScratchDirectory::new_in(&temporary, SCRATCH).map_err(|error| {
        CliError::usage(
            format!("cannot make a temporary directory: {error}"),
            "make sure that $TMPDIR (or /tmp) is writable and has free space",
        )
    })?;
    if ui.progress {
        ui.note(&format!(
            "running {} side by side ...",
            render::count(checks.len(), "check")
        ));
    }
    let begun = Instant::now();
    // The same comparison with the last boot that was up as a boot makes.
    let earlier = match place.reader()? {
        Some(reader) => read_earlier(&reader, &place.state_dir)?,
        None => Default::default(),
    };
    let process_env = AppPaths::process_env();
    let checked = CheckPlace {
        manifest: &manifest,
        root: &manifest.workspace,
        scratch: scratch.path(),
        state: Some(&place.state_dir),
        process_env: &process_env,
        overrides: BTreeMap::new(),
        before_boot: true,
        is_live: false,
        earlier: &earlier,
    };
    let reports = run_checks(&checked, &checks)?;
    let gaps: Vec<NoLook> = list_gaps(&checked)
        .into_iter()
        .map(|gap| NoLook {
            what: gap.what,
            name: gap.name,
            why: gap.why,
            acknowledged: gap.acknowledged,
        })
        .collect();
    let decision = decide_go(&reports);
    if let Some(format) = args.format {
        ui.print(&for_ci(format, &manifest.name, &reports, decision))?;
    } else if ui.json {
        ui.print_json(&PreflightReport {
            app: &manifest.name,
            workspace: manifest.workspace.display().to_string(),
            decision: decision.as_str(),
            because: match decision {
                Decision::GoUnproven => vec![UNPROVEN.to_owned()],
                _ => because(&reports),
            },
            coverage: Coverage::of(&reports, &gaps),
            duration_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            checks: reports.iter().map(check_json).collect(),
        })?;
    } else {
        ui.print(&text(ui, &manifest.name, &reports, &gaps, decision))?;
    }
    Ok(exit::of_decision(decision, args.strict))
}

#[derive(Serialize)]
struct PreflightReport<'a> {
    app: &'a str,
    workspace: String,
    decision: &'static str,
    because: Vec<String>,
    coverage: Coverage<'a>,
    duration_ms: u64,
    checks: Vec<Value>,
}

/// What the decision rests on.
#[derive(Serialize)]
struct Coverage<'a> {
    /// Names; of a declared check, `check.NAME`.
    looked_at: Vec<String>,
    not_looked_at: Vec<NotLookedAt<'a>>,
    gaps: &'a [NoLook],
}

/// A service that nothing probes, a layer that is not rehearsed.
#[derive(Serialize)]
struct NoLook {
    what: &'static str,
    name: String,
    why: String,
    /// Not shown in text any more.
    acknowledged: bool,
}

#[derive(Serialize)]
struct NotLookedAt<'a> {
    check: String,
    why: &'a str,
}

impl<'a> Coverage<'a> {
    fn of(reports: &'a [CheckReport], gaps: &'a [NoLook]) -> Self {
        let mut coverage = Self {
            looked_at: Vec::new(),
            not_looked_at: Vec::new(),
            gaps,
        };
        let mut add = |check: String, status, why| match status {
            CheckStatus::Skipped => coverage.not_looked_at.push(NotLookedAt { check, why }),
            _ => coverage.looked_at.push(check),
        };
        for report in reports {
            match &report.measured {
                Measured::Declared { checks } => {
                    for run in checks {
                        add(
                            format!("check.{}", run.name),
                            run.status,
                            run.summary.as_str(),
                        );
                    }
                }
                _ => add(report.name.to_string(), report.status, &report.summary),
            }
        }
        coverage
    }
}

/// Codes and subjects of the critical findings.
pub(super) fn because(reports: &[CheckReport]) -> Vec<String> {
    reports
        .iter()
        .flat_map(|report| &report.findings)
        .filter(|finding| finding.severity == Severity::Critical)
        .map(|finding| format!("{} {}", finding.code, finding.subject))
        .collect()
}

fn text(
    ui: &Ui,
    app: &str,
    reports: &[CheckReport],
    gaps: &[NoLook],
    decision: Decision,
) -> String {
    let mut text = String::new();
    if !ui.quiet {
        let rule = ui
            .paint
            .tone(render::Tone::Accent, &render::rule(ui.width, '='));
        text = format!(
            "{rule}\n{}\n{rule}\n",
            ui.paint.tone(
                render::Tone::Strong,
                &format!("  PRE-FLIGHT · {}", render::cut(app, 40))
            )
        );
        text.push_str(&checks_text(ui, reports));
        let unknown: Vec<&NoLook> = gaps.iter().filter(|gap| !gap.acknowledged).collect();
        if !unknown.is_empty() {
            let all: Vec<String> = unknown
                .iter()
                .map(|gap| format!("{} {} ({})", gap.what, gap.name, gap.why))
                .collect();
            let line = format!("[COVERAGE] without a look: {}", all.join(", "));
            let line = render::wrap("", &line, ui.width);
            text.push('\n');
            text.push_str(&ui.paint.tone(render::Tone::Dim, &line));
            text.push('\n');
        }
        text.push('\n');
    }
    let because = match decision {
        Decision::NoGo => because(reports).join(", "),
        Decision::GoDegraded => {
            let layers: Vec<&str> = reports
                .iter()
                .flat_map(CheckReport::failed_layers)
                .collect();
            format!("will not start: {}", layers.join(", "))
        }
        Decision::Go => grounds(reports),
        Decision::GoUnproven => UNPROVEN.to_owned(),
    };
    text.push_str(&render::decision(ui.paint, ui.width, decision, &because));
    text
}

/// Each report, an empty line before each.
pub(super) fn checks_text(ui: &Ui, reports: &[CheckReport]) -> String {
    let all = reports.len();
    let of = |(index, report)| {
        let text = render::check(ui.paint, ui.width, index + 1, all, report, ui.verbose);
        format!("\n{text}")
    };
    reports.iter().enumerate().map(of).collect()
}

/// The newest report of each check that a boot ran, in their order.
pub(super) fn reports_of(state: &BootState) -> Vec<CheckReport> {
    let checks = state.plan.checks.iter();
    let newest = checks.filter_map(|check| state.reports.get(check));
    newest.cloned().collect()
}

/// A check as programs read it.
pub(crate) fn check_json(report: &CheckReport) -> Value {
    let mut check = json!({
        "name": report.name.as_str(),
        "status": report.status.as_str(),
        "duration_ms": report.duration_ms,
        "summary": report.summary,
        "findings": report.findings.iter().map(finding_json).collect::<Vec<_>>(),
    });
    let measured = match &report.measured {
        Measured::Nothing => return check,
        Measured::Config { declared, present } => {
            json!({ "declared": declared, "present": present })
        }
        Measured::Schema {
            tables_expected,
            tables_live,
        } => json!({ "tables_expected": tables_expected, "tables_live": tables_live }),
        Measured::Rehearsal {
            layers_tested,
            layers_passed,
            issues,
            layers,
            isolation,
        } => json!({
            "layers_tested": layers_tested,
            "layers_passed": layers_passed,
            "issues": issues,
            "layers": layers.iter().map(layer_json).collect::<Vec<_>>(),
            "isolation": isolation,
        }),
        Measured::Registration {
            expected,
            mounted,
            routes,
            coverage_per_mille,
        } => json!({
            "expected": expected,
            "mounted": mounted,
            "routes": routes,
            "coverage_percent": f64::from(*coverage_per_mille) / 10.0,
        }),
        Measured::Declared { checks } => json!({ "checks": checks }),
    };
    check[report.name.as_str()] = measured;
    check
}

/// The dry run of a layer as programs read it. What was seen of it is known where it was run.
fn layer_json(layer: &LayerRehearsal) -> Value {
    let mut json = json!({
        "layer": layer.layer,
        "outcome": layer.outcome,
        "duration_ms": layer.duration_ms,
    });
    if let Some(seen) = &layer.seen {
        json["slowest_modules"] = json!(seen.slowest_modules);
        json["printed"] = json!(seen.printed);
        json["side_effects"] = json!(seen.side_effects);
    }
    json
}

/// A finding as programs read it.
pub(crate) fn finding_json(finding: &Finding) -> Value {
    json!({
        "code": finding.code,
        "severity": finding.severity,
        "subject": finding.subject,
        "message": finding.message,
        "location": finding.location,
        "remedy": finding.remedy,
        "layer": finding.layer,
        "detail": finding.detail,
    })
}

#[cfg(test)]
mod tests;
