//! Alembic: the history of its files against the version that the database names.

use std::path::Path;

use super::applied_migrations::AppliedMigrations;
use super::draft::Draft;
use super::environment::{Environment, find_environment};
use super::graph::{Defect, Graph};
use super::pending::{PendingMigration, listed, pending, with_pending};
use super::revision::{UnreadRevision, read_revision};
use super::status::{Migrated, RevisionPlace};
use super::text_file::read_text;
use super::upgrader::Upgrader;
use crate::checks::context::CheckContext;
use crate::database::sql::quote::{identifier, literal};
use crate::database::url::{Database, parse_url};
use crate::domain::code::Code;
use crate::domain::finding::{Finding, Severity};
use crate::domain::remedy::{MigrationTool, NEEDS_APPROVAL, PROPOSED, REWRITES, Remedy, STAMP};
use crate::domain::words::count;
use crate::manifest::Schema;

/// How a person runs the upgrade, from the top of the workspace.
fn command(
    root: &Path,
    environment: &Environment,
    config: &str,
    section: &str,
    target: &str,
) -> String {
    if environment.is_flask {
        let directory = Path::new(config).parent().unwrap_or(Path::new(""));
        let directory = match directory.to_str() {
            Some("migrations") | None => String::new(),
            Some(other) => format!(" -d {other}"),
        };
        let target = if target == "head" { "" } else { " heads" };
        return format!("flask db upgrade{directory}{target}");
    }
    let directory = environment.directory.strip_prefix(root);
    let (enter, config) = match directory.ok().filter(|d| !d.as_os_str().is_empty()) {
        Some(directory) => (
            format!("cd {} && ", directory.display()),
            config.rsplit('/').next().unwrap_or(config),
        ),
        None => (String::new(), config),
    };
    let file = if matches!(config, "alembic.ini" | "pyproject.toml") {
        String::new()
    } else {
        format!(" -c {config}")
    };
    let name = if section == "alembic" {
        String::new()
    } else {
        format!(" -n {section}")
    };
    format!("{enter}alembic{file}{name} upgrade {target}")
}

/// Everything about one environment and one database.
pub(super) fn examine(
    context: &CheckContext<'_>,
    schema: &Schema,
    config: &str,
    section: &str,
) -> Migrated {
    let mut migrated = Migrated::default();
    let broken = |subject: &str, message: String, remedy: &str| {
        Finding::of(Code::SchemaBrokenHistory, subject, message)
            .remedy(remedy)
            .fact("schema", schema.name.as_str())
    };
    let environment =
        match find_environment(context.root, &context.manifest.python.path, config, section) {
            Ok(environment) => environment,
            Err(why) => {
                let remedy = "correct the file, or `expect` in the manifest";
                let message = format!("the migrations of {} cannot be read: {why}", schema.name);
                migrated.findings.push(broken(config, message, remedy));
                return migrated;
            }
        };
    let mut revisions = Vec::new();
    for file in &environment.files {
        let shown = file
            .strip_prefix(context.root)
            .unwrap_or(file)
            .display()
            .to_string();
        let read = match read_text(file) {
            Ok(text) => read_revision(&text, &shown),
            Err(why) => Err(UnreadRevision::Syntax(0, why)),
        };
        match read {
            Ok(revision) => revisions.push(revision),
            Err(UnreadRevision::NoRevision) => {
                migrated.is_unknown = true;
                let message = format!(
                    "{shown} lies among the revisions and assigns no `revision`, at which Alembic stops"
                );
                let remedy = "move the file elsewhere, or give it its revision";
                migrated
                    .findings
                    .push(broken(&shown, message, remedy).at(shown.clone(), 1, 0));
            }
            Err(UnreadRevision::Syntax(line, why)) => {
                migrated.is_unknown = true;
                let message = format!("the revision file {shown} cannot be parsed: {why}");
                migrated
                    .findings
                    .push(broken(&shown, message, "correct the file").at(shown.clone(), line, 0));
            }
            Err(UnreadRevision::Computed(line, name)) => {
                migrated.is_unknown = true;
                migrated.findings.push(
                    Finding::of(
                        Code::SchemaNotCompared,
                        schema.name.as_str(),
                        format!("{shown} computes `{name}`, so the history is not known without running it"),
                    )
                    .at(shown.clone(), line, 0),
                );
            }
        }
    }
    if migrated.is_unknown {
        return migrated;
    }
    let graph = Graph::new(revisions);
    for defect in &graph.defects {
        migrated
            .findings
            .push(defect_finding(&graph, defect, &broken));
    }
    if !graph.defects.is_empty() {
        return migrated;
    }
    let heads = graph.heads();
    let several = heads.len() > 1;
    let target = if several { "heads" } else { "head" };
    let run = command(context.root, &environment, config, section, target);
    let is_meant = !several || graph.has_labelled_branches();
    compare(
        context,
        schema,
        &environment,
        &graph,
        &run,
        is_meant,
        &mut migrated,
    );
    if !is_meant {
        migrated.at_head = false;
        let names: Vec<String> = heads
            .iter()
            .map(|&at| format!("{} ({})", graph.revisions[at].id, graph.revisions[at].file))
            .collect();
        let blocks = !migrated.is_current;
        let severity = if blocks {
            Severity::Critical
        } else {
            Severity::Warning
        };
        let ids: Vec<&str> = heads
            .iter()
            .map(|&at| graph.revisions[at].id.as_str())
            .collect();
        let first = &graph.revisions[heads[0]];
        let flask = if environment.is_flask {
            "flask db"
        } else {
            "alembic"
        };
        let finding = Finding::new(
            Code::SchemaMultipleHeads,
            severity,
            schema.name.as_str(),
            format!(
                "the migrations of {} have {} heads, so `upgrade head` fails: {}",
                schema.name,
                heads.len(),
                listed(&names)
            ),
        )
        .remedy(format!(
            "run `{flask} merge -m \"merge heads\" {}`",
            ids.join(" ")
        ))
        .at(first.file.clone(), first.line, 0)
        .fact("schema", schema.name.as_str());
        let draft = Draft {
            message: format!("merge {}", ids.join(" and ")),
            ..Draft::default()
        };
        let waiting = match migrated.waiting {
            0 => "nothing else is run".to_owned(),
            n => format!("{} that wait are run with it", count(n, "migration")),
        };
        let lost = format!("it joins the heads and changes nothing itself; {waiting}");
        let place = may_write(context, schema, &environment, graph);
        let mut finding = finding;
        if let Some(place) = place.filter(|_| migrated.is_known) {
            let by_hand = finding.remedy.clone().unwrap_or_default();
            let why = "the branches may be meant to stay apart";
            finding = place.attach(context.root, finding, &draft, &lost, why);
            if matches!(finding.fix, Some(Remedy::EditText { .. })) {
                let proposed = finding.remedy.unwrap_or_default();
                finding.remedy = Some(format!("{by_hand}; or approve: {proposed}"));
            }
        }
        migrated.findings.push(finding);
    } else if migrated.at_head {
        migrated.revision = may_write(context, schema, &environment, graph);
    } else if migrated.is_unknown() {
        migrated.past = may_write(context, schema, &environment, graph);
    }
    migrated
}

/// A revision may be added to this history, and its tool upgrades the database.
fn may_write(
    context: &CheckContext<'_>,
    schema: &Schema,
    environment: &Environment,
    graph: Graph,
) -> Option<RevisionPlace> {
    let tool = match environment.is_flask {
        true => MigrationTool::Flask,
        false => MigrationTool::Alembic,
    };
    let applied = AppliedMigrations::open(context, schema)?;
    match applied.upgrader(Some((tool, "heads".to_owned()))) {
        Upgrader::Tool(..) => Some(RevisionPlace {
            graph,
            tool,
            why_not: None,
        }),
        Upgrader::Person(why_not) => Some(RevisionPlace {
            graph,
            tool,
            why_not: Some(why_not?),
        }),
    }
}

fn defect_finding(
    graph: &Graph,
    defect: &Defect,
    broken: &dyn Fn(&str, String, &str) -> Finding,
) -> Finding {
    let of = |at: usize| &graph.revisions[at];
    match defect {
        Defect::Duplicate { first, second } => {
            let (first, second) = (of(*first), of(*second));
            let message = format!(
                "revision {} is defined twice: in {} and in {}",
                first.id, first.file, second.file
            );
            broken(
                &first.id,
                message,
                "give one of the files another revision, or remove it",
            )
            .at(second.file.clone(), second.line, 0)
        }
        Defect::Missing { revision, wanted } => {
            let revision = of(*revision);
            let message = format!(
                "{} ({}) follows {wanted}, which no file defines",
                revision.id, revision.file
            );
            broken(
                &revision.id,
                message,
                "bring the missing file back, or correct down_revision or depends_on",
            )
            .at(revision.file.clone(), revision.line, 0)
        }
        Defect::Cycle { revisions } => {
            let names: Vec<String> = revisions
                .iter()
                .map(|&at| format!("{} ({})", of(at).id, of(at).file))
                .collect();
            let first = of(revisions[0]);
            let message = format!(
                "revisions follow each other in a circle: {}",
                listed(&names)
            );
            broken(
                &first.id,
                message,
                "correct down_revision in one of the files",
            )
            .at(first.file.clone(), first.line, 0)
        }
    }
}

/// The finding with what makes the newest revision the present one, for a person to approve where the database is as
/// that one leaves it.
fn with_stamp(finding: Finding, schema: &Schema, table: &str, row: &str, head: &str) -> Finding {
    let statement = format!(
        "UPDATE {} SET version_num = {} WHERE version_num = {}",
        identifier(table),
        literal(head),
        literal(row)
    );
    finding
        .fix(Remedy::RunStatements {
            schema: schema.name.clone(),
            statements: vec![statement],
        })
        .fact(
            PROPOSED,
            format!(
                "say that the database is at {head} instead of {row}: the models find what they expect and nothing else, \
                 so nothing changes but this mark"
            ),
        )
        .fact(
            NEEDS_APPROVAL,
            format!("code that has {row} would run it again, should it come back"),
        )
        .fact(REWRITES, "true")
}

/// The database against the history.
fn compare(
    context: &CheckContext<'_>,
    schema: &Schema,
    environment: &Environment,
    graph: &Graph,
    run: &str,
    is_meant: bool,
    migrated: &mut Migrated,
) {
    let Some(applied) = AppliedMigrations::open(context, schema) else {
        return;
    };
    let tool = match environment.is_flask {
        true => MigrationTool::Flask,
        false => MigrationTool::Alembic,
    };
    let upgrader = || applied.upgrader(is_meant.then(|| (tool, "heads".to_owned())));
    let table = match &environment.version_table {
        Ok(table) => table.as_str(),
        Err(line) => {
            let file = environment.location.join("env.py");
            let shown = file.strip_prefix(context.root).unwrap_or(&file).display();
            migrated.findings.push(
                Finding::of(
                    Code::SchemaNotCompared,
                    schema.name.as_str(),
                    format!("{shown} computes `version_table`, so what was applied is not known without running it"),
                )
                .at(shown.to_string(), *line, 0),
            );
            return;
        }
    };
    let read = applied.rows_in(
        environment.version_schema.as_deref(),
        table,
        &["version_num"],
    );
    let has_table = read.is_some();
    let rows = read.unwrap_or_default();
    if let Some(unreadable) = applied.unreadable(schema) {
        migrated.findings.push(unreadable);
        return;
    }
    let current: Vec<&str> = rows.iter().map(|row| row[0].as_str()).collect();
    let (known, unknown): (Vec<&str>, Vec<&str>) =
        current.iter().partition(|id| graph.position(id).is_some());
    if !unknown.is_empty() {
        let finding = Finding::of(
            Code::SchemaUnknownRevision,
            schema.name.as_str(),
            format!(
                "{} is at revision {}, which no file defines: newer code ran here, or a file is missing",
                applied.shown,
                unknown.join(", ")
            ),
        )
        .remedy("deploy the code that has this revision, or bring its file back")
        .fact("schema", schema.name.as_str());
        let tool = run
            .rsplit_once(" upgrade")
            .map_or("alembic", |(tool, _)| tool);
        let mut finding = finding.fact(STAMP, format!("{tool} stamp --purge heads"));
        let url = context.environment.expand_url(&schema.database);
        let is_file =
            url.is_ok_and(|url| matches!(parse_url(&url, context.root), Database::File(_)));
        if let ([row], [head]) = (current.as_slice(), graph.heads().as_slice())
            && is_file
            && environment.version_schema.is_none()
        {
            finding = with_stamp(finding, schema, table, row, &graph.revisions[*head].id);
        }
        migrated.findings.push(finding);
        return;
    }
    let positions: Vec<usize> = known.iter().filter_map(|id| graph.position(id)).collect();
    let steps: Vec<PendingMigration> = graph
        .pending(&positions)
        .into_iter()
        .map(|at| &graph.revisions[at])
        .map(|revision| PendingMigration {
            name: revision.id.clone(),
            file: revision.file.clone(),
            line: revision.line,
        })
        .collect();
    migrated.is_known = true;
    migrated.waiting = steps.len();
    if steps.is_empty() {
        migrated.is_current = true;
        migrated.at_head = true;
        return;
    }
    if !current.is_empty() {
        let place = format!("{}, at {},", applied.shown, current.join(", "));
        migrated.findings.push(pending(
            context.root,
            schema,
            &place,
            &steps,
            run,
            &upgrader(),
        ));
        return;
    }
    let others = applied.other_tables(&[table]);
    let finding = |message: String| {
        Finding::of(Code::SchemaNotMigrated, schema.name.as_str(), message)
            .at(steps[0].file.clone(), steps[0].line, 0)
            .fact("schema", schema.name.as_str())
    };
    let waiting = count(steps.len(), "migration");
    migrated.findings.push(if others == 0 {
        let message = format!("{} is empty, and {waiting} wait to be applied", applied.shown);
        let found = upgrader().attach(schema, finding(message).remedy(format!("run `{run}`")));
        with_pending(found, context.root, &steps)
    } else {
        let why = if has_table { "whose row is gone" } else { "which is missing" };
        finding(format!(
            "{} has {} but no version: the version belongs in table {table}, {why}",
            applied.shown,
            count(others, "table")
        ))
        .remedy(format!(
            "if the tables were made by the migrations, run `{}` with the revision that they have; otherwise empty \
             the database and run `{run}`",
            run.rsplit_once(" upgrade").map_or("alembic", |(tool, _)| tool).to_owned() + " stamp REVISION"
        ))
    });
}
