//! A folder of SQL migrations against the database: which of its files the tool has not applied, and which
//! changed since.
//!
//! Names alone do not tell the tools apart; the table that the tool keeps in the database does. Without
//! one, the files are what a plain list of SQL files is: the expected schema.

use super::applied_migrations::AppliedMigrations;
use super::pending::{PendingMigration, pending};
use super::sql_tools::{Tool, script_of};
use super::status::Migrated;
use super::upgrader::Upgrader;
use crate::checks::context::CheckContext;
use crate::checks::schema::sql_files::sql_files;
use crate::checks::schema::sql_names::{Script, ScriptKind, from_nothing, read_folder, shown};
use crate::domain::code::Code;
use crate::domain::finding::{Finding, Severity};
use crate::manifest::Schema;

/// One folder, one database.
struct Folder<'a> {
    schema: &'a Schema,
    root: std::path::PathBuf,
    place: String,
    scripts: Vec<Script>,
    tool: Tool,
}

/// Everything about one folder and one database. `None` if no tool records in the database what it applied.
pub(super) fn examine(
    context: &CheckContext<'_>,
    schema: &Schema,
    pattern: &str,
) -> Option<Migrated> {
    // That no file matches, or too many do, is reported where they are applied.
    let files = sql_files(context.root, pattern).ok()?;
    let scripts = read_folder(&files)?;
    let applied = AppliedMigrations::open(context, schema)?;
    let tool = Tool::recognise(&applied, scripts.first()?.prefixed);
    if let Some(unreadable) = applied.unreadable(schema) {
        return Some(Migrated {
            findings: vec![unreadable],
            ..Migrated::default()
        });
    }
    let tool = tool?;
    let folder = Folder {
        schema,
        root: context.root.canonicalize().ok()?,
        place: applied.shown,
        scripts,
        tool,
    };
    let mut migrated = Migrated {
        findings: folder.history(),
        ..Migrated::default()
    };
    let waiting = folder.waiting();
    migrated.findings.extend(folder.refused(&waiting));
    let is_broken = migrated
        .findings
        .iter()
        .any(|found| found.severity == Severity::Critical);
    let steps: Vec<PendingMigration> = waiting
        .iter()
        .map(|script| PendingMigration {
            name: match script.kind {
                ScriptKind::Repeatable => script.name.clone(),
                _ => shown(&script.version),
            },
            file: folder.file(script),
            line: 1,
        })
        .collect();
    if steps.is_empty() {
        migrated.is_current = true;
        migrated.at_head = !is_broken;
    } else {
        let found = pending(
            context.root,
            schema,
            &folder.place,
            &steps,
            folder.tool.command(),
            &Upgrader::Person(None),
        );
        migrated.findings.push(found);
    }
    Some(migrated)
}

impl Folder<'_> {
    fn file(&self, script: &Script) -> String {
        let inside = script.path.strip_prefix(&self.root).unwrap_or(&script.path);
        inside.display().to_string()
    }

    fn finding(&self, code: Code, severity: Severity, message: String) -> Finding {
        let name = self.schema.name.as_str();
        Finding::new(code, severity, name, message).fact("schema", name)
    }

    /// What the rows of the tool's table say.
    fn history(&self) -> Vec<Finding> {
        let (place, tool) = (&self.place, self.tool.shown());
        let failed = |what: String| {
            let message = format!("{place}: {what} failed half-way, so {tool} refuses to go on");
            self.finding(Code::SchemaBrokenHistory, Severity::Critical, message)
                .remedy(format!(
                    "undo by hand what it has done, then {}",
                    self.tool.clearing()
                ))
        };
        let mut findings = Vec::new();
        if self.tool.failed_at_nothing {
            findings.push(failed(
                "the step back to before the first migration".to_owned(),
            ));
        }
        for (version, applied) in &self.tool.applied {
            let name = shown(version);
            if applied.failed {
                findings.push(failed(format!("migration {name}")));
            }
            let Some(script) = script_of(&self.scripts, version) else {
                if applied.has_file {
                    let message = format!(
                        "{place} is at migration {name}, which no file defines: newer code ran here, or a file is missing"
                    );
                    findings.push(
                        self.finding(Code::SchemaUnknownRevision, Severity::Critical, message)
                            .remedy(
                                "deploy the code that has this migration, or bring its file back",
                            ),
                    );
                }
                continue;
            };
            if let Ok(bytes) = std::fs::read(&script.path)
                && self.tool.differs(script, applied, &bytes)
            {
                let file = self.file(script);
                let message = format!(
                    "{file} changed after {tool} applied it to {place}; {tool} applies nothing more until that is settled"
                );
                let mut changed = self
                    .finding(Code::SchemaChangedMigration, Severity::Warning, message)
                    .remedy("take the change back, and write it as a new migration")
                    .at(file.clone(), 1, 0);
                changed.subject = file;
                findings.push(changed);
            }
        }
        findings
    }

    /// What the tool would apply next.
    fn waiting(&self) -> Vec<&Script> {
        let wanted: Vec<Script> = if self.tool.is_new() {
            from_nothing(self.scripts.clone())
        } else {
            let mut scripts = self.scripts.clone();
            scripts.retain(|script| script.kind != ScriptKind::Baseline);
            scripts
        };
        self.scripts
            .iter()
            .filter(|script| wanted.contains(script))
            .filter(|script| match script.kind {
                ScriptKind::Down => false,
                ScriptKind::Repeatable => self.tool.must_repeat(script),
                ScriptKind::Up | ScriptKind::Unversioned | ScriptKind::Baseline => {
                    !self.tool.has(&script.version)
                }
            })
            .collect()
    }

    /// Those that come too late for the tool.
    fn refused(&self, waiting: &[&Script]) -> Vec<Finding> {
        let Some(last) = self.tool.refuses_below() else {
            return Vec::new();
        };
        waiting
            .iter()
            .filter(|script| script.kind == ScriptKind::Up && script.version < *last)
            .map(|script| {
                let message = format!(
                    "migration {} ({}) was never applied to {}, which is at {} already, so {} refuses to go on",
                    shown(&script.version),
                    self.file(script),
                    self.place,
                    shown(last),
                    self.tool.shown()
                );
                self.finding(Code::SchemaBrokenHistory, Severity::Critical, message)
                    .remedy(format!("give the file a version above {}", shown(last)))
                    .at(self.file(script), 1, 0)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests;
