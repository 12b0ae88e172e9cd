//! `ubs diff`: what was different between two boots.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::context::{AppPaths, CliError, Ui, find_boot};
use super::exit;
use super::options::Global;
use super::render::{self, Tone};
use crate::domain::boot::{BootState, Outcome};
use crate::domain::finding::Decision;
use crate::domain::ids::{BootId, Digest};
use crate::log::{Reader, read_fixes};

/// Show what was different between two boots: what they ran on, findings, timings, outcome.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The one: an id, its beginning, `last`, `last~1` or `last-good`
    boot_a: String,
    /// The other
    boot_b: String,
}

/// One thing that is different.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Difference {
    /// `fingerprint`, `finding`, `check`, `layer`, `service`, `outcome`, `fix`.
    about: &'static str,
    name: String,
    a: Option<String>,
    b: Option<String>,
}

pub(crate) fn run(ui: &Ui, global: &Global, args: Args) -> Result<u8, CliError> {
    let place = AppPaths::find(global)?;
    let reader = place.existing_reader()?;
    let (id_a, a) = load(&reader, &args.boot_a)?;
    let (id_b, b) = load(&reader, &args.boot_b)?;
    let mut differences = differences(&a, &b);
    differences.extend(fixes_between(&reader, id_a, id_b)?);
    if ui.json {
        ui.print_json(&serde_json::json!({
            "boot_a": id_a,
            "boot_b": id_b,
            "differences": differences,
        }))?;
        return Ok(exit::GOOD);
    }
    if differences.is_empty() {
        ui.print("no difference\n")?;
    }
    for difference in &differences {
        let side = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
        ui.print(&render::labelled(
            ui.paint,
            ui.width,
            &format!(
                "{} {}: ",
                difference.about,
                render::cut(&difference.name, 50)
            ),
            Tone::Strong,
            &format!("{} → {}", side(&difference.a), side(&difference.b)),
        ))?;
    }
    Ok(exit::GOOD)
}

/// What was applied from the one boot's beginning to the other's end.
fn fixes_between(reader: &Reader, a: BootId, b: BootId) -> Result<Vec<Difference>, CliError> {
    let boots = reader.boots(u32::MAX)?;
    let span = |id| boots.iter().find(|boot| boot.boot_id == id);
    let (Some(a), Some(b)) = (span(a), span(b)) else {
        return Ok(vec![]);
    };
    let is_forward = a.seq_first < b.seq_first;
    let (from, to) = if is_forward { (a, b) } else { (b, a) };
    let fixes = read_fixes(reader, None)?.into_iter();
    let between = fixes.filter(|fix| {
        from.boot_id != to.boot_id && fix.id > from.seq_first && fix.id < to.seq_last
    });
    Ok(between
        .map(|fix| {
            let applied = Some(format!(
                "{}, {}",
                fix.status.as_str(),
                super::fixes::line(&fix)
            ));
            let (a, b) = if is_forward {
                (None, applied)
            } else {
                (applied, None)
            };
            Difference {
                about: "fix",
                name: fix.slug,
                a,
                b,
            }
        })
        .collect())
}

fn load(reader: &Reader, name: &str) -> Result<(BootId, BootState), CliError> {
    let id = find_boot(reader, name)?;
    Ok((id, reader.boot(id)?.unwrap_or_default()))
}

/// What the two say differently; each fact by its name.
fn differences(a: &BootState, b: &BootState) -> Vec<Difference> {
    let sides = [facts(a), facts(b)];
    let names: BTreeSet<&(&'static str, String)> = sides.iter().flat_map(|s| s.keys()).collect();
    names
        .into_iter()
        .filter_map(|name| {
            let [a, b] = [&sides[0], &sides[1]].map(|side| side.get(name).cloned());
            (a != b).then(|| Difference {
                about: name.0,
                name: name.1.clone(),
                a,
                b,
            })
        })
        .collect()
}

fn facts(state: &BootState) -> BTreeMap<(&'static str, String), String> {
    let mut facts = BTreeMap::new();
    let mut say = |about, name: &str, value: String| {
        facts.insert((about, name.to_owned()), value);
    };
    let print = &state.fingerprint;
    say("fingerprint", "ubs", print.ubs_version.clone());
    say("fingerprint", "manifest", print.manifest.short());
    for (name, value) in [
        ("revision", &print.revision),
        ("interpreter", &print.interpreter),
    ] {
        if let Some(value) = value {
            say("fingerprint", name, value.clone());
        }
    }
    for (file, digest) in &print.lock_files {
        say("fingerprint", file, digest.short());
    }
    for (name, digest) in &print.variables {
        // A keyed digest: says that the value is another one, never what it is.
        say("fingerprint", &format!("variable {name}"), digest.clone());
    }
    for (file, digest) in &print.changed_files {
        let digest = match digest {
            removed if *removed == Digest::default() => "removed".to_owned(),
            digest => digest.short(),
        };
        say("fingerprint", &format!("changed {file}"), digest);
    }
    for (name, version) in &print.packages {
        say("fingerprint", &format!("package {name}"), version.clone());
    }
    for (name, database) in &print.databases {
        for (what, value) in [
            ("URL", database.url.clone()),
            ("revision", database.revision.clone()),
            ("tables", database.tables.map(|count| count.to_string())),
            ("has rows", database.has_rows.map(|rows| rows.to_string())),
        ] {
            if let Some(value) = value {
                say("fingerprint", &format!("database {name} {what}"), value);
            }
        }
    }
    for (name, value) in &print.host {
        say("fingerprint", &format!("host {name}"), value.clone());
    }
    for report in state.reports.values() {
        say(
            "check",
            report.name.as_str(),
            report.status.as_str().to_owned(),
        );
        for finding in &report.findings {
            say(
                "finding",
                &format!("{} {}", finding.code, finding.subject),
                finding.message.clone(),
            );
        }
    }
    for layer in &state.layers {
        say("layer", &layer.name, layer.status.as_str().to_owned());
        if let (Some(from), Some(to)) = (layer.started_at, layer.up_at) {
            say(
                "timing",
                &format!("layer {}", layer.name),
                render::duration(to.ms_since(from)),
            );
        }
    }
    say("outcome", "mode", state.plan.mode.as_str().to_owned());
    say("outcome", "attempts", state.attempt.to_string());
    if let Some(decision) = state.decision {
        say("outcome", "decision", Decision::as_str(decision).to_owned());
    }
    if let Some(outcome) = state.outcome {
        say("outcome", "outcome", Outcome::as_str(outcome).to_owned());
    }
    if let Some(up) = state.up_at {
        say(
            "timing",
            "up after",
            render::duration(up.ms_since(state.started_at)),
        );
    }
    facts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::DatabasePrint;

    #[test]
    fn changed_files_packages_and_databases_are_facts() {
        let mut a = BootState::default();
        let print = &mut a.fingerprint;
        print.packages.insert("fastapi".into(), "0.115.0".into());
        print
            .changed_files
            .insert("app.py".into(), Digest::default());
        let database = DatabasePrint {
            tables: Some(12),
            has_rows: Some(true),
            ..DatabasePrint::default()
        };
        print.databases.insert("main".into(), database);
        let mut b = a.clone();
        b.fingerprint
            .packages
            .insert("fastapi".into(), "0.116.0".into());
        b.fingerprint.changed_files.clear();
        if let Some(database) = b.fingerprint.databases.get_mut("main") {
            database.has_rows = Some(false);
        }
        let told: Vec<String> = differences(&a, &b)
            .into_iter()
            .map(|d| format!("{} {:?} {:?}", d.name, d.a, d.b))
            .collect();
        assert_eq!(
            told,
            [
                r#"changed app.py Some("removed") None"#,
                r#"database main has rows Some("true") Some("false")"#,
                r#"package fastapi Some("0.115.0") Some("0.116.0")"#,
            ]
        );
    }
}
