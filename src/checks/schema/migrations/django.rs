//! Django: the migrations of the project's apps against the table of those that were applied.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::applied_migrations::AppliedMigrations;
use super::django_draft::{Rows, Written, by_hand, propose, words};
use super::pending::{PendingMigration, listed, pending, with_pending};
use super::status::Migrated;
use super::upgrader::Upgrader;
use crate::checks::as_run::AsRun;
use crate::checks::context::CheckContext;
use crate::checks::python::{PROBE_TIMEOUT_MS, ProbeAnswer, ProbeError, ProbeProgram, run_probe};
use crate::checks::raised::Raised;
use crate::checks::schema::expected::{raised_otherwise, unanswered};
use crate::database::url::sqlite_path;
use crate::domain::code::Code;
use crate::domain::finding::{Finding, Severity};
use crate::domain::remedy::MigrationTool;
use crate::domain::words::count;
use crate::manifest::{Expect, Schema};

const TABLE: &str = "django_migrations";
const COMMAND: &str = "python manage.py migrate";
const DEFAULT: &str = "default";

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Project {
    /// The name of the database in the settings.
    alias: String,
    /// Apps that have migrations.
    apps: Vec<String>,
    /// In an order in which they can be applied.
    migrations: Vec<Migration>,
    conflicts: Vec<Conflict>,
    changes: Vec<Changed>,
    raised: Option<Box<Raised>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Migration {
    app: String,
    name: String,
    file: String,
    line: u32,
    replaces: Vec<(String, String)>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Conflict {
    app: String,
    leaves: Vec<String>,
    /// What merges them, as `makemigrations --merge` writes it.
    written: Option<Written>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Changed {
    app: String,
    steps: Vec<String>,
    /// The app lies in the workspace.
    ours: bool,
    /// What brings it, as `makemigrations` writes it.
    written: Option<Written>,
    /// Why it is not written here.
    why_not: String,
}

/// Everything about one project and one database.
pub(super) fn examine(
    context: &CheckContext<'_>,
    schema: &Schema,
    settings: &str,
) -> Result<Migrated, ProbeError> {
    let url = context.environment.expand_url(&schema.database).ok();
    let database = url.and_then(|url| sqlite_path(&url, context.root));
    let input = serde_json::json!({"settings": settings, "database": database});
    let ran = run_probe::<Project>(
        context,
        &AsRun::of_django(context),
        ProbeProgram::Django,
        input,
        PROBE_TIMEOUT_MS,
        false,
    )?;
    let mut migrated = Migrated::default();
    let mut project = match ran.answer {
        ProbeAnswer::Given(Project {
            raised: Some(raised),
            ..
        }) => {
            let unloadable = raised_otherwise(context, settings, &raised);
            migrated.findings.push(unloadable);
            return Ok(migrated);
        }
        ProbeAnswer::Given(project) => project,
        ProbeAnswer::None(why) => {
            migrated.findings.push(unanswered(settings, &why));
            return Ok(migrated);
        }
    };
    let finding = |code: Code, severity, subject: &str, message: String| {
        Finding::new(code, severity, subject, message).fact("schema", schema.name.as_str())
    };
    let drafts = Drafts::take(context, settings, &mut project);
    for conflict in &project.conflicts {
        migrated.findings.push(
            finding(
                Code::SchemaMultipleHeads,
                Severity::Critical,
                &conflict.app,
                format!(
                    "the migrations of app {} have {} leaves, so `migrate` refuses: {}",
                    conflict.app,
                    conflict.leaves.len(),
                    listed(&conflict.leaves)
                ),
            )
            .remedy("run `python manage.py makemigrations --merge`"),
        );
    }
    for changed in &project.changes {
        let (severity, remedy) = if changed.ours {
            let remedy = format!("run `python manage.py makemigrations {}`", changed.app);
            (Severity::Warning, remedy)
        } else {
            let remedy = "an installed app: its settings or its version do not fit its migrations";
            (Severity::Info, remedy.to_owned())
        };
        migrated.findings.push(
            finding(
                Code::SchemaMissingMigration,
                severity,
                &changed.app,
                format!(
                    "the models of app {} changed without a migration: {}",
                    changed.app,
                    listed(&changed.steps)
                ),
            )
            .remedy(remedy),
        );
    }
    let Some(applied) = AppliedMigrations::open(context, schema) else {
        return Ok(migrated);
    };
    let rows = applied.rows(TABLE, &["app", "name"]).unwrap_or_default();
    if let Some(unreadable) = applied.unreadable(schema) {
        migrated.findings.push(unreadable);
        return Ok(migrated);
    }
    let recorded: BTreeSet<(&str, &str)> = rows
        .iter()
        .map(|row| (row[0].as_str(), row[1].as_str()))
        .collect();
    migrated
        .findings
        .extend(unknown(&project, &recorded, &applied, &finding));
    let steps = unapplied(&project, &recorded);
    let is_default = project.alias.is_empty() || project.alias == DEFAULT;
    let target = match is_default {
        true => "heads",
        false => project.alias.as_str(),
    };
    let django = || (MigrationTool::Django, target.to_owned());
    // What waits is run first, unless it waits for the merge.
    if steps.is_empty() || !project.conflicts.is_empty() && !recorded.is_empty() {
        let upgrader = applied.upgrader(Some(django()));
        drafts.attach(&mut migrated.findings, &applied, &upgrader, steps.len());
    }
    if steps.is_empty() {
        migrated.is_current = true;
        migrated.at_head = project.conflicts.is_empty();
        return Ok(migrated);
    }
    let command = if is_default {
        COMMAND.to_owned()
    } else {
        format!("{COMMAND} --database {}", project.alias)
    };
    let upgrader = || applied.upgrader(project.conflicts.is_empty().then(django));
    let others = applied.other_tables(&[TABLE]);
    if !recorded.is_empty() {
        let found = pending(
            context.root,
            schema,
            &applied.shown,
            &steps,
            &command,
            &upgrader(),
        );
        migrated.findings.push(found);
        return Ok(migrated);
    }
    let found = if others == 0 {
        let waiting = count(steps.len(), "migration");
        let message = format!(
            "{} is empty, and {waiting} wait to be applied",
            applied.shown
        );
        let found = finding(
            Code::SchemaNotMigrated,
            Severity::Critical,
            &schema.name,
            message,
        )
        .remedy(format!("run `{command}`"));
        with_pending(upgrader().attach(schema, found), context.root, &steps)
    } else {
        let message = format!(
            "{} has {} but none of its migrations is recorded in {TABLE}",
            applied.shown,
            count(others, "table")
        );
        finding(Code::SchemaNotMigrated, Severity::Critical, &schema.name, message).remedy(format!(
            "if the tables were made by the migrations, run `{command} --fake-initial`; otherwise empty the database \
             and run `{command}`"
        ))
    };
    migrated.findings.push(found);
    Ok(migrated)
}

/// The migrations that would mend what was found, by app.
struct Drafts {
    merges: Vec<(String, Written)>,
    changes: Vec<(String, Result<Written, String>)>,
}

impl Drafts {
    /// None, where one file could not be run on all that it is for.
    fn take(context: &CheckContext<'_>, settings: &str, project: &mut Project) -> Self {
        let is_same = |schema: &&Schema| match &schema.expect {
            Expect::Django { settings: other } => other == settings,
            _ => false,
        };
        let is_one = context.manifest.schemas.iter().filter(is_same).count() == 1;
        let conflicts = project.conflicts.iter_mut();
        let mut merges: Vec<(String, Written)> = conflicts
            .filter_map(|conflict| Some((conflict.app.clone(), conflict.written.take()?)))
            .collect();
        if !is_one || project.conflicts.len() != 1 {
            merges.clear();
        }
        let ours = project.changes.iter_mut().filter(|changed| changed.ours);
        let changes = ours.map(|changed| {
            let written = changed.written.take();
            let written = written.filter(|_| is_one).ok_or_else(|| match is_one {
                true => changed.why_not.clone(),
                false => "several databases of the manifest have these migrations".to_owned(),
            });
            (changed.app.clone(), written)
        });
        let changes = changes.collect();
        Self { merges, changes }
    }

    /// `waiting`: how many migrations wait.
    fn attach(
        self,
        findings: &mut [Finding],
        applied: &AppliedMigrations,
        upgrader: &Upgrader,
        waiting: usize,
    ) {
        let mut of = |code: Code, app: &str, with: &dyn Fn(Finding) -> Finding| {
            let mut found = findings.iter_mut();
            if let Some(found) = found.find(|one| one.code == code && one.subject == app) {
                *found = with(found.clone());
            }
        };
        for (app, written) in self.merges {
            let waiting = match waiting {
                0 => "nothing else is run".to_owned(),
                n => format!("{} that wait are run with it", count(n, "migration")),
            };
            let both = match written.both.as_slice() {
                [] => String::new(),
                both => format!(
                    "; more than one branch changes {}, so look at what comes last",
                    listed(both)
                ),
            };
            let lost = format!("it joins the leaves and changes nothing itself; {waiting}{both}");
            let why = "the branches may be meant to stay apart";
            of(Code::SchemaMultipleHeads, &app, &|finding| {
                propose(finding, written.clone(), upgrader, &lost, why)
            });
        }
        let count = |table: &str, condition: &str| applied.count(table, condition);
        let rows = Rows {
            is_server: applied.is_server(),
            count: &count,
        };
        for (app, written) in self.changes {
            let drafted = written.and_then(|written| Ok((words(rows, &written)?, written)));
            of(Code::SchemaMissingMigration, &app, &|finding| {
                let why = "a migration is a part of the application's sources";
                match &drafted {
                    Ok((lost, written)) => propose(finding, written.clone(), upgrader, lost, why),
                    Err(why) if why.is_empty() => finding,
                    Err(why) => by_hand(finding, why),
                }
            });
        }
    }
}

/// Recorded for an app that is installed, and in no file.
fn unknown(
    project: &Project,
    recorded: &BTreeSet<(&str, &str)>,
    applied: &AppliedMigrations,
    finding: &dyn Fn(Code, Severity, &str, String) -> Finding,
) -> Vec<Finding> {
    let mut known: BTreeSet<(&str, &str)> = BTreeSet::new();
    for migration in &project.migrations {
        known.insert((&migration.app, &migration.name));
        let replaced = migration.replaces.iter();
        known.extend(replaced.map(|(app, name)| (app.as_str(), name.as_str())));
    }
    let mut missing: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (app, name) in recorded.difference(&known) {
        if project.apps.iter().any(|installed| installed == app) {
            missing.entry(app).or_default().push((*name).to_owned());
        }
    }
    missing
        .into_iter()
        .map(|(app, names)| {
            let message = format!(
                "{} has migrations of app {app} that no file defines: {}; newer code ran here, or files are missing",
                applied.shown,
                listed(&names)
            );
            // Django itself goes on with it.
            finding(Code::SchemaUnknownRevision, Severity::Warning, app, message)
                .remedy("deploy the code that has these migrations, or bring their files back")
        })
        .collect()
}

/// What `migrate` would apply. A squashed migration counts as applied when all that it replaces is; when
/// only some of that is, the rest is applied instead of it.
fn unapplied(project: &Project, recorded: &BTreeSet<(&str, &str)>) -> Vec<PendingMigration> {
    let is_recorded = |app: &str, name: &str| recorded.contains(&(app, name));
    let mut left_out: BTreeSet<(&str, &str)> = BTreeSet::new();
    for squashed in project.migrations.iter().filter(|m| !m.replaces.is_empty()) {
        let applied = squashed
            .replaces
            .iter()
            .filter(|(app, name)| is_recorded(app, name))
            .count();
        let partly = applied > 0 && applied < squashed.replaces.len();
        if partly || applied == squashed.replaces.len() {
            left_out.insert((&squashed.app, &squashed.name));
        }
        if !partly {
            let replaced = squashed.replaces.iter();
            left_out.extend(replaced.map(|(app, name)| (app.as_str(), name.as_str())));
        }
    }
    project
        .migrations
        .iter()
        .filter(|m| !is_recorded(&m.app, &m.name))
        .filter(|m| !left_out.contains(&(m.app.as_str(), m.name.as_str())))
        .map(|migration| PendingMigration {
            name: format!("{}.{}", migration.app, migration.name),
            file: migration.file.clone(),
            line: migration.line,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(project: &Project, recorded: &[(&str, &str)]) -> Vec<String> {
        let recorded = recorded.iter().copied().collect();
        let steps = unapplied(project, &recorded);
        steps.into_iter().map(|step| step.name).collect()
    }

    #[test]
    fn a_squashed_migration_stands_for_those_that_it_replaces() {
        let migration = |name: &str, replaces: &[&str]| Migration {
            app: "a".into(),
            name: name.into(),
            replaces: replaces.iter().map(|r| ("a".into(), (*r).into())).collect(),
            ..Migration::default()
        };
        let project = Project {
            migrations: vec![
                migration("1", &[]),
                migration("2", &[]),
                migration("s", &["1", "2"]),
                migration("3", &[]),
            ],
            ..Project::default()
        };
        assert_eq!(names(&project, &[]), ["a.s", "a.3"]);
        assert_eq!(names(&project, &[("a", "s")]), ["a.3"]);
        assert_eq!(names(&project, &[("a", "1"), ("a", "2")]), ["a.3"]);
        assert_eq!(names(&project, &[("a", "1")]), ["a.2", "a.3"]);
    }
}
