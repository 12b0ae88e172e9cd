//! When not to heal: a database that is empty where one with content was before, one that is another
//! application's, one that went back, and one whose tables the application makes itself.
//!
//! What a fixer would do is taken back here, after the comparison: the statements stay, for a person.

use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

use super::diff::is_kept_by_tool;
use super::maker::{Maker, MakerKind};
use crate::checks::config::replace_part;
use crate::checks::context::CheckContext;
use crate::checks::earlier::EarlierDatabase;
use crate::database::model::Table;
use crate::database::summary::PendingSummary;
use crate::database::url::{Database, parse_url};
use crate::domain::code::Code;
use crate::domain::finding::{Finding, Severity};
use crate::domain::redact::truncate;
use crate::domain::remedy::{MIGRATES_WITH, NEEDS_APPROVAL, Remedy, one_script};
use crate::domain::words::count;
use crate::kernel::near_path;
use crate::manifest::Schema;

/// A database with that many tables, none of which the code knows, is taken for another application's.
const FOREIGN_TABLES_MIN: usize = 3;
/// Files beside a database that are looked at.
const FILES_MAX: usize = 1_000;
/// How long a database is asked whether it has rows.
const ROWS_WITHIN: Duration = Duration::from_secs(5);
/// How much of the statements stands in a remedy; the finding's `fix` has them all.
const STATEMENTS_BYTES_MAX: usize = 600;

/// One database after the comparison.
pub(super) struct Compared<'a> {
    pub schema: &'a Schema,
    /// Its tables, neither views nor partitions.
    pub live: &'a [Table],
    /// Tables that the code expects; empty where they are not known.
    pub expected: &'a [Table],
    /// Tables in which its migrations keep what they did.
    pub versions: &'a [String],
    /// Who makes its tables, if not `ubs`.
    pub maker: Option<Maker>,
}

/// The findings of one database, without what should not be healed.
pub(super) fn hold_back(
    context: &CheckContext<'_>,
    compared: &Compared<'_>,
    mut findings: Vec<Finding>,
) -> Vec<Finding> {
    let schema = compared.schema;
    let is_unreachable = |finding: &Finding| finding.code == Code::SchemaUnreachable;
    let not_there = match context.environment.expand_url(&schema.database) {
        // Of what is known from before, more is said below.
        Ok(url)
            if findings.iter().any(is_unreachable)
                || !(context.earlier.database(&schema.name, &url))
                    .is_some_and(|earlier| earlier.was_not_empty()) =>
        {
            not_there(context, schema, &url)
        }
        _ => None,
    };
    if let Some(finding) = not_there {
        // Its directory is not there either.
        findings.retain(|other| !is_unreachable(other));
        let reason = "the database is not where it was, or is another one";
        return instead(finding, reason, findings);
    }
    // Nobody looked into it.
    let is_unseen = |finding: &Finding| {
        matches!(
            finding.code,
            Code::SchemaUnreachable | Code::SchemaUnsupportedDatabase
        )
    };
    if findings.iter().any(is_unseen) {
        return findings;
    }
    let Ok(url) = context.environment.expand_url(&schema.database) else {
        return findings;
    };
    if matches!(parse_url(&url, context.root), Database::Memory) {
        return findings;
    }
    let is_own =
        |table: &&Table| !is_kept_by_tool(&table.name) && !compared.versions.contains(&table.name);
    let own: Vec<&Table> = compared.live.iter().filter(is_own).collect();
    let earlier = context.earlier.database(&schema.name, &url);
    if let Some(earlier) = &earlier {
        if own.is_empty() && earlier.was_not_empty() {
            return changed(context, schema, earlier, findings);
        }
        let is_other = earlier.is_elsewhere == Some(true) && earlier.has_rows == Some(true);
        if is_other && has_no_row(&url, context) {
            findings = left_to_person(
                findings,
                "the database is another one than before, and has no row",
            );
            findings.push(without_rows(schema, earlier));
        } else {
            findings = without_way_back(findings, earlier);
        }
    }
    // What `create_all` makes it makes where it is missing, and nothing is in its way.
    let is_careful =
        |maker: &&Maker| maker.kind == MakerKind::ByPerson || maker.migrates || own.is_empty();
    if let Some(maker) = compared.maker.as_ref().filter(is_careful) {
        return left_to_maker(schema, maker, own.is_empty(), findings);
    }
    let knows = |table: &&&Table| {
        let mut expected = compared.expected.iter();
        expected.any(|expected| expected.name.eq_ignore_ascii_case(&table.name))
    };
    let is_foreign = !compared.expected.is_empty()
        && own.len() >= FOREIGN_TABLES_MIN
        && !own.iter().any(|table| knows(&table));
    let has_rename = findings
        .iter()
        .any(|finding| finding.code == Code::SchemaLikelyRename);
    if is_foreign && !has_rename {
        return foreign(schema, &own, findings);
    }
    findings
}

/// What would fill the database, as statements.
fn filling(finding: &Finding) -> bool {
    matches!(
        finding.code,
        Code::SchemaMissingTable
            | Code::SchemaPendingMigration
            | Code::SchemaNotMigrated
            | Code::SchemaMissingColumn
            | Code::SchemaMissingIndex
    )
}

/// All that a fixer or a person would run for these.
fn script_of(findings: &[Finding]) -> String {
    let scripts = findings.iter().filter_map(|finding| match &finding.fix {
        Some(Remedy::RunStatements { statements, .. }) => Some(statements.join("; ")),
        Some(Remedy::ByHand { statements, .. }) => statements.clone(),
        _ => None,
    });
    let scripts: Vec<String> = scripts.collect();
    one_script(scripts.iter().map(String::as_str))
}

/// One finding for a person instead of those that a fixer would fill the database for.
fn instead(finding: Finding, reason: &str, findings: Vec<Finding>) -> Vec<Finding> {
    let (fills, mut rest): (Vec<Finding>, Vec<Finding>) = findings.into_iter().partition(filling);
    let script = script_of(&fills);
    // Which database was meant is known: nothing has to fill this one.
    if finding.fix.is_some() {
        rest.push(finding);
        return rest;
    }
    rest.push(finding.fix(Remedy::ByHand {
        reason: reason.to_owned(),
        statements: (!script.is_empty()).then_some(script),
    }));
    rest
}

fn was(earlier: &EarlierDatabase) -> String {
    let rows = match earlier.has_rows {
        Some(true) => " with rows",
        _ => "",
    };
    let tables = match earlier.tables {
        0 => "a database whose tables were not counted".to_owned(),
        tables => format!("{}{rows}", count(tables as usize, "table")),
    };
    format!("the last boot that was up ({}) had {tables}", earlier.up_at)
}

fn changed(
    context: &CheckContext<'_>,
    schema: &Schema,
    earlier: &EarlierDatabase,
    findings: Vec<Finding>,
) -> Vec<Finding> {
    let name = &schema.name;
    let how = match earlier.is_elsewhere {
        Some(true) => "and its URL was another one",
        Some(false) => "at the same URL, so its content is gone",
        None => "and whether its URL changed is not known",
    };
    let message = format!("database {name} is empty: {}, {how}", was(earlier));
    let check = if schema.database.contains("${") {
        format!("correct {}", schema.database)
    } else {
        "correct `database` in the manifest".to_owned()
    };
    let finding = Finding::of(Code::SchemaDatabaseChanged, name.as_str(), message)
        .remedy(format!(
            "{check}, or bring the old database back; if the empty one is meant: `ubs boot \
             --accept-new-database {name}`"
        ))
        .fact("schema", name.as_str());
    let finding = match earlier.is_elsewhere {
        Some(true) => way_back(context, schema, finding),
        _ => finding,
    };
    instead(
        finding,
        "the database is empty, and the one before it was not",
        findings,
    )
}

/// A file of SQLite that does not exist, and was there or is misspelt: a new one is not put in its place.
fn not_there(context: &CheckContext<'_>, schema: &Schema, url: &str) -> Option<Finding> {
    let Database::File(path) = parse_url(url, context.root) else {
        return None;
    };
    if context.earlier.is_accepted(&schema.name, url) || path.symlink_metadata().is_ok() {
        return None;
    }
    let name = &schema.name;
    let shown = |path: &Path| {
        path.strip_prefix(context.root)
            .unwrap_or(path)
            .display()
            .to_string()
    };
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let log = Path::new(&log);
    let meant = format!("if a new one is meant: `ubs boot --accept-new-database {name}`");
    if log.metadata().is_ok_and(|about| about.len() > 0) {
        let (file, log) = (shown(&path), shown(log));
        let message = format!(
            "database {name} ({file}) does not exist, and its log {log} does: the file was moved or removed, and what \
             was written last is in the log, which a new file would make useless"
        );
        let finding = Finding::of(Code::SchemaDatabaseChanged, name.as_str(), message).remedy(
            format!("bring {file} back beside its log; {meant}, after moving the log away"),
        );
        return Some(finding.fact("schema", name.as_str()));
    }
    let near = near_path(&path)?;
    if !is_sqlite(&near) {
        return None;
    }
    let (wrong, near) = (shown(&path), shown(&near));
    let message =
        format!("database {name} ({wrong}) does not exist, and {near}, one letter off, does");
    let finding = Finding::of(Code::SchemaDatabaseChanged, name.as_str(), message)
        .fact("schema", name.as_str());
    let by_hand = format!("correct {}; {meant}", schema.database);
    let variable = schema
        .database
        .strip_prefix("${")
        .and_then(|rest| rest.strip_suffix('}'));
    let origin = variable.and_then(|name| Some((name, &context.environment.values.get(name)?.1)));
    Some(
        match origin.and_then(|(name, origin)| replace_part(context, name, origin, &wrong, &near)) {
            Some(fix) => finding
                .remedy(format!(
                    "write {near} instead of {wrong}; or else {by_hand}"
                ))
                .fix(fix)
                .fact(NEEDS_APPROVAL, "another database may be meant"),
            None => finding.remedy(by_hand),
        },
    )
}

fn is_sqlite(path: &Path) -> bool {
    let mut head = [0; 16];
    let read = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut head));
    read.is_ok() && head == *b"SQLite format 3\0"
}

/// The finding with the edit that leads back to the file of before, if that still lies beside the present one: the
/// keyed digest of its URL is that of the last boot that was up.
fn way_back(context: &CheckContext<'_>, schema: &Schema, finding: Finding) -> Finding {
    let name = schema
        .database
        .strip_prefix("${")
        .and_then(|rest| rest.strip_suffix('}'));
    let value = name.and_then(|name| Some((name, context.environment.values.get(name)?)));
    let Some((name, (value, origin))) = value else {
        return finding;
    };
    let Database::File(path) = parse_url(value, context.root) else {
        return finding;
    };
    let shown = path.file_name().and_then(|name| name.to_str());
    let directory = path.parent().map(std::fs::read_dir);
    let (Some(shown), Some(Ok(entries))) = (shown, directory) else {
        return finding;
    };
    let files = entries
        .flatten()
        .take(FILES_MAX)
        .filter(|entry| entry.path().is_file());
    let urls = files.filter_map(|entry| {
        let other = entry.file_name().into_string().ok()?;
        let at = value.rfind(shown)?;
        let url = format!("{}{other}{}", &value[..at], &value[at + shown.len()..]);
        (other != shown && context.earlier.was_at(&schema.name, &url)).then_some(other)
    });
    let found: Vec<String> = urls.collect();
    let [file] = found.as_slice() else {
        return finding;
    };
    match replace_part(context, name, origin, shown, file) {
        Some(fix) => {
            let remedy = finding.remedy.clone().unwrap_or_default();
            finding
                .remedy(format!(
                    "write {file} instead of {shown} in {name}, as in that boot; or else {remedy}"
                ))
                .fix(fix)
                .fact(NEEDS_APPROVAL, "another database may be meant")
        }
        None => finding,
    }
}

fn without_rows(schema: &Schema, earlier: &EarlierDatabase) -> Finding {
    let name = &schema.name;
    let message = format!(
        "database {name} has tables and no row: {}, and its URL was another one",
        was(earlier)
    );
    Finding::new(
        Code::SchemaDatabaseChanged,
        Severity::Warning,
        name.as_str(),
        message,
    )
    .remedy(format!(
        "correct {}; if this database is meant: `ubs boot --accept-new-database {name}`",
        schema.database
    ))
    .fact("schema", name.as_str())
}

fn has_no_row(url: &str, context: &CheckContext<'_>) -> bool {
    let asked = PendingSummary::ask(url, context.root);
    let summary = asked.by(Instant::now() + ROWS_WITHIN);
    summary.is_some_and(|summary| !summary.has_rows)
}

fn foreign(schema: &Schema, own: &[&Table], findings: Vec<Finding>) -> Vec<Finding> {
    let name = &schema.name;
    let others: Vec<&str> = own
        .iter()
        .take(5)
        .map(|table| table.name.as_str())
        .collect();
    let message = format!(
        "database {name} has none of the tables that the code expects, and {} that it does not know ({}{}): it may \
         be another application's",
        count(own.len(), "table"),
        others.join(", "),
        if own.len() > others.len() {
            ", ..."
        } else {
            ""
        }
    );
    let script = script_of(&findings);
    let finding = Finding::of(Code::SchemaForeignDatabase, name.as_str(), message)
        .remedy(format!(
            "correct {}; if the two applications share it, create the tables by hand: {}",
            schema.database,
            truncate(&script, STATEMENTS_BYTES_MAX)
        ))
        .fact("schema", name.as_str());
    instead(
        finding,
        "the database may be another application's",
        findings,
    )
}

/// No fixer may do it; what it would have done stays, for a person.
fn by_hand(finding: Finding, reason: &str) -> Finding {
    let statements = match &finding.fix {
        Some(Remedy::RunStatements { statements, .. }) => Some(statements.join("; ")),
        Some(Remedy::Migrate { .. }) => None,
        // A revision that would be run.
        Some(Remedy::EditText { .. }) if finding.facts.contains_key(MIGRATES_WITH) => None,
        _ => return finding,
    };
    let remedy = finding.remedy.clone().unwrap_or_default();
    finding
        .remedy(format!("{remedy}; not automatically, because {reason}"))
        .fix(Remedy::ByHand {
            reason: reason.to_owned(),
            statements,
        })
}

fn left_to_person(findings: Vec<Finding>, reason: &str) -> Vec<Finding> {
    findings
        .into_iter()
        .map(|finding| by_hand(finding, reason))
        .collect()
}

/// A migration that the database had before and that waits now was taken back, or an old backup came back.
fn without_way_back(findings: Vec<Finding>, earlier: &EarlierDatabase) -> Vec<Finding> {
    let Some(revision) = earlier.revision.as_deref() else {
        return findings;
    };
    // The message names where it is, then what waits.
    let went_back = |finding: &Finding| {
        let waiting = finding
            .message
            .split_once(" behind: ")
            .map_or("", |(_, steps)| steps);
        finding.code == Code::SchemaPendingMigration
            && waiting.split([' ', ',']).any(|word| word == revision)
    };
    let reason = format!(
        "the last boot that was up ({}) had it at {revision}, which waits now: it went back",
        earlier.up_at
    );
    findings
        .into_iter()
        .map(|finding| {
            if went_back(&finding) {
                by_hand(finding, &reason)
            } else {
                finding
            }
        })
        .collect()
}

/// What the application or its own migrator will do is not done before it.
fn left_to_maker(
    schema: &Schema,
    maker: &Maker,
    is_empty: bool,
    findings: Vec<Finding>,
) -> Vec<Finding> {
    let name = &schema.name;
    match maker.kind {
        MakerKind::AtStart if is_empty => {
            let is_table = |finding: &Finding| finding.code == Code::SchemaMissingTable;
            let (missing, mut rest): (Vec<_>, Vec<_>) = findings.into_iter().partition(is_table);
            if missing.is_empty() {
                return rest;
            }
            let message = format!(
                "database {name} is empty; the application makes its {} itself when it starts ({})",
                count(missing.len(), "table"),
                maker.shown
            );
            let mut finding = Finding::of(Code::SchemaMadeByApplication, name.as_str(), message)
                .fact("schema", name.as_str());
            finding.location.clone_from(&maker.location);
            rest.push(finding);
            rest
        }
        MakerKind::AtStart => findings
            .into_iter()
            .map(|finding| {
                if !matches!(finding.fix, Some(Remedy::RunStatements { .. })) {
                    return finding;
                }
                let mut finding = by_hand(
                    finding,
                    &format!("it is left to {}, which runs at its start", maker.shown),
                );
                // Critical, it would keep from running what brings it.
                finding.severity = finding.severity.min(Severity::Warning);
                finding
            })
            .collect(),
        MakerKind::ByPerson => left_to_person(findings, &maker.shown),
    }
}
