//! Two definitions of one table: seen when the models are imported, and found in the source where it is
//! beyond doubt, so that all of them are reported at once.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::definitions::TableScan;
use crate::checks::as_run::AsRun;
use crate::checks::context::CheckContext;
use crate::checks::edits::read_source;
use crate::checks::python::{PROBE_TIMEOUT_MS, ProbeAnswer, ProbeError, ProbeProgram, run_probe};
use crate::checks::raised::Raised;
use crate::domain::code::Code;
use crate::domain::finding::{Finding, Severity};
use crate::domain::ids::Digest;
use crate::domain::remedy::{Cause, Remedy};
use crate::source::TableDefinition;

/// Fact of a finding: the columns of two definitions that overlap.
const COLUMNS_OF_BOTH: &str = "columns_of_both";

/// The table that an exception says is defined already.
pub(super) fn table_of(raised: &Raised) -> Option<&str> {
    if raised.kind != "InvalidRequestError" {
        return None;
    }
    let rest = raised.message.strip_prefix("Table '")?;
    let (table, rest) = rest.split_once('\'')?;
    rest.starts_with(" is already defined for this MetaData instance")
        .then_some(table)
}

/// What SQLAlchemy (1.4 and 2) says of a second definition.
fn exception_for(table: &str) -> String {
    format!(
        "InvalidRequestError: Table '{table}' is already defined for this MetaData instance.  Specify \
         'extend_existing=True' to redefine options and columns on an existing Table object."
    )
}

/// Definitions that a finding is about.
struct Pair<'a> {
    first: Option<&'a TableDefinition>,
    second: &'a TableDefinition,
}

/// A finding for the exception, with the edit that would mend it.
pub(super) fn raised_duplicate(
    context: &CheckContext<'_>,
    scan: &TableScan,
    raised: &Raised,
    table: &str,
) -> Result<Finding, ProbeError> {
    let redactor = context.redactor;
    let definitions: Vec<&TableDefinition> = scan
        .tables
        .iter()
        .filter(|definition| is_named(definition, table))
        .collect();
    // The innermost frame that is a definition of that table; a base class of the application may have
    // frames of its own behind it.
    let second = raised.frames.iter().rev().find_map(|frame| {
        definitions
            .iter()
            .filter(|d| d.file == frame.file && (d.first_line..=d.end_line).contains(&frame.line))
            .max_by_key(|d| d.first_line)
            .copied()
    });
    let finding = |message: String| {
        Finding::of(Code::SchemaDuplicateTable, table, message)
            .cause(Cause::Exception(raised.text(redactor)))
            .fact("table", table)
    };
    let mut finding = match second {
        Some(second) if raised.twice.contains(&second.file) => finding(format!(
            "table {table} is defined once ({}), but its module is imported by two names",
            place(second)
        ))
        .at(second.file.as_str(), second.line, 0)
        .remedy("import the module by one name everywhere: imported by two, it runs twice"),
        Some(second) => {
            let is_other = |d: &&&TableDefinition| **d != second;
            let same_metadata =
                |d: &&&TableDefinition| d.metadata == second.metadata || d.metadata.is_empty();
            let first = definitions
                .iter()
                .filter(is_other)
                .find(same_metadata)
                .or_else(|| definitions.iter().find(is_other))
                .copied();
            let pair = Pair { first, second };
            let mut finding = describe(finding(reported(table, &pair)), &pair);
            add_edits(context, std::slice::from_mut(&mut finding), &[&pair])?;
            finding
        }
        None => finding(format!("table {table} is defined twice"))
            .remedy("rename one of the two tables, or let the second one extend the first"),
    };
    if finding.location.is_none() {
        finding.location = raised.location(redactor);
    }
    finding.detail = raised.detail(redactor);
    Ok(finding)
}

/// Tables that the source defines twice for one `MetaData`, other than `seen`: those that importing an
/// entry module is sure to meet are critical, with the exception that it will raise; others are warnings.
///
/// `loaded` are the entry modules that were imported without an exception: there the source was read
/// wrongly, and nothing is said.
pub(super) fn source_duplicates(
    context: &CheckContext<'_>,
    scan: &TableScan,
    entries: &[&str],
    loaded: &[&str],
    seen: &[String],
) -> Result<Vec<Finding>, ProbeError> {
    let mut certain: BTreeMap<&str, Pair<'_>> = BTreeMap::new();
    let mut refuted: Vec<&str> = Vec::new();
    for (entry, order) in entries.iter().zip(&scan.reached) {
        let tables = order.iter().filter_map(|index| scan.tables.get(*index));
        for pair in pairs(tables) {
            let table = pair.second.table.as_str();
            if loaded.contains(entry) {
                refuted.push(table);
            } else {
                certain.entry(table).or_insert(pair);
            }
        }
    }
    let mut possible: BTreeMap<&str, Pair<'_>> = BTreeMap::new();
    for pair in pairs(scan.tables.iter()) {
        possible.entry(pair.second.table.as_str()).or_insert(pair);
    }
    let was_seen = |table: &str| {
        let in_schema = |seen: &String| seen.rsplit_once('.').is_some_and(|(_, t)| t == table);
        seen.iter().any(|seen| seen == table || in_schema(seen))
    };
    let is_new = |table: &str| !refuted.contains(&table) && !was_seen(table);
    let mut findings = Vec::new();
    let mut edited = Vec::new();
    for (table, pair) in certain.iter().filter(|(table, _)| is_new(table)) {
        let finding = Finding::of(Code::SchemaDuplicateTable, *table, reported(table, pair))
            .cause(Cause::Exception(exception_for(table)))
            .fact("table", *table);
        findings.push(describe(finding, pair));
        edited.push(pair);
    }
    add_edits(context, &mut findings, &edited)?;
    for (table, pair) in possible {
        if is_new(table) && !certain.contains_key(table) {
            let message = format!(
                "{}; it fails as soon as both modules are imported",
                reported(table, &pair)
            );
            let finding = Finding::new(
                Code::SchemaDuplicateTable,
                Severity::Warning,
                table,
                message,
            )
            .fact("table", table);
            findings.push(describe(finding, &pair));
        }
    }
    Ok(findings)
}

/// Later definitions of a table that do not extend the earlier one of the same `MetaData`.
fn pairs<'a>(tables: impl Iterator<Item = &'a TableDefinition>) -> Vec<Pair<'a>> {
    let mut first: BTreeMap<(&str, &str), &TableDefinition> = BTreeMap::new();
    let mut pairs = Vec::new();
    for table in tables.filter(|table| table.sure) {
        match first.get(&(table.table.as_str(), table.metadata.as_str())) {
            None => {
                first.insert((&table.table, &table.metadata), table);
            }
            // If the first one has the option, it may be the second one in another order.
            Some(known) if !table.extends && !known.extends && *known != table => {
                pairs.push(Pair {
                    first: Some(known),
                    second: table,
                });
            }
            Some(_) => {}
        }
    }
    pairs
}

/// The definition is of that table; a `MetaData` may have a schema of its own, which SQLAlchemy names and the
/// definition does not.
fn is_named(definition: &TableDefinition, table: &str) -> bool {
    let plain = table.rsplit('.').next().unwrap_or(table);
    definition.table == table || definition.table == plain
}

fn place(definition: &TableDefinition) -> String {
    let place = format!("{}:{}", definition.file, definition.line);
    if definition.class.is_empty() {
        place
    } else {
        format!("class {}, {place}", definition.class)
    }
}

fn reported(table: &str, pair: &Pair<'_>) -> String {
    let second = place(pair.second);
    match pair.first {
        Some(first) => format!(
            "table {table} is defined twice: {}, and again {second}",
            place(first)
        ),
        None => format!("table {table} is defined twice, the second time {second}"),
    }
}

fn describe(finding: Finding, pair: &Pair<'_>) -> Finding {
    let second = pair.second;
    let mut finding = finding
        .at(second.file.as_str(), second.line, 0)
        .remedy(format!(
            "rename one of the two tables, or let the second one extend the first with \
             __table_args__ = {{\"extend_existing\": True}} ({})",
            place(second)
        ))
        .fact("second", format!("{}:{}", second.file, second.line));
    if let Some(first) = pair.first {
        finding = finding.fact("first", format!("{}:{}", first.file, first.line));
    }
    finding
}

/// Whether two definitions mean the same table.
enum Agreement {
    /// The same columns of the same types.
    Same,
    /// Each has columns that the other lacks, and what both have is of the same type: all of them.
    Overlap(Vec<String>),
    /// They do not, and why, in words.
    Different(String),
}

impl Agreement {
    fn of(pair: &Pair<'_>) -> Self {
        let second = pair.second;
        let Some(first) = pair.first else {
            return Self::Different("the first definition was not found in the sources".to_owned());
        };
        let kind_in = |definition: &TableDefinition, name: &str| {
            let mut columns = definition.columns.iter();
            columns
                .find(|column| column.name == name)
                .map(|column| column.kind.clone())
        };
        if let Some(column) = first
            .columns
            .iter()
            .find(|column| kind_in(second, &column.name).is_some_and(|kind| kind != column.kind))
        {
            return Self::Different(format!(
                "column {} is of another type in each of the two classes",
                column.name
            ));
        }
        // A call of `Table` has none; beside it, a class has its declarative base only.
        let same_bases = match (first.class.is_empty(), second.class.is_empty()) {
            (true, true) => true,
            (false, false) => first.bases == second.bases,
            _ => first.bases.len() + second.bases.len() == 1,
        };
        if !same_bases {
            return Self::Different("the two classes have other base classes".to_owned());
        }
        let names = |definition: &TableDefinition| -> Vec<String> {
            definition
                .columns
                .iter()
                .map(|column| column.name.clone())
                .collect()
        };
        let (of_first, of_second) = (names(first), names(second));
        if of_first == of_second {
            return Self::Same;
        }
        let shared = of_first.iter().any(|name| of_second.contains(name));
        let mut both = of_first;
        both.extend(of_second);
        both.sort();
        both.dedup();
        if shared {
            Self::Overlap(both)
        } else {
            Self::Different("the two classes have no column in common".to_owned())
        }
    }
}

/// The finding without an edit: merging two tables that are not one lets one read the rows of the other.
fn left_to_person(mut finding: Finding, why: &str) -> Finding {
    let reason = format!("{why}: they may be two tables");
    let first = finding.facts.get("first").cloned().unwrap_or_default();
    let second = finding.facts.get("second").cloned().unwrap_or_default();
    finding.remedy = Some(format!(
        "not automatically, because {reason}; rename one of them ({first} or {second}), or, if they are one table, \
         define it once"
    ));
    finding.facts.remove(COLUMNS_OF_BOTH);
    finding.fix(Remedy::ByHand {
        reason,
        statements: None,
    })
}

/// Definitions that overlap mean one table only where a database already has the columns of both in it.
///
/// `has_columns(table, columns)` says so.
pub(super) fn require_live_columns(
    findings: &mut [Finding],
    has_columns: impl Fn(&str, &[&str]) -> bool,
) {
    for finding in findings {
        let Some(columns) = finding.facts.get(COLUMNS_OF_BOTH) else {
            continue;
        };
        let columns: Vec<&str> = columns.split(", ").collect();
        if !has_columns(&finding.subject, &columns) {
            let why = "the columns of the two classes differ, and no database has those of both";
            *finding = left_to_person(finding.clone(), why);
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Edits {
    edits: Vec<Edit>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Edit {
    offset: usize,
    text: String,
    /// Why there is none.
    unclear: String,
}

/// Adds to each finding the one insertion that lets its definition extend the first, where both are one table and
/// there is one place beyond doubt.
fn add_edits(
    context: &CheckContext<'_>,
    findings: &mut [Finding],
    pairs: &[&Pair<'_>],
) -> Result<(), ProbeError> {
    let mut wanted = Vec::new();
    let mut sources = Vec::new();
    for (index, pair) in pairs.iter().enumerate() {
        let definition = pair.second;
        match (Agreement::of(pair), findings.get_mut(index)) {
            (Agreement::Different(why), Some(finding)) => {
                *finding = left_to_person(finding.clone(), &why);
                continue;
            }
            (Agreement::Overlap(columns), Some(finding)) => {
                *finding = finding.clone().fact(COLUMNS_OF_BOTH, columns.join(", "));
            }
            _ => {}
        }
        // Its own `__table_args__` would hide those of the base class.
        if definition.inherits_args {
            continue;
        }
        let Some(text) = read_source(context.root, &definition.file) else {
            continue;
        };
        wanted.push(serde_json::json!({
            "text": text,
            "line": definition.line,
            "column": definition.column,
        }));
        sources.push((index, text));
    }
    if wanted.is_empty() {
        return Ok(());
    }
    let input = serde_json::json!({ "edits": wanted });
    let ran = run_probe::<Edits>(
        context,
        &AsRun::default(),
        ProbeProgram::Edit,
        input,
        PROBE_TIMEOUT_MS,
        false,
    )?;
    let ProbeAnswer::Given(Edits { edits }) = ran.answer else {
        return Ok(());
    };
    for ((index, source), edit) in sources.iter().zip(edits) {
        let (Some(finding), Some(pair)) = (findings.get_mut(*index), pairs.get(*index)) else {
            continue;
        };
        let definition = pair.second;
        if edit.text.is_empty() || !source.is_char_boundary(edit.offset) {
            tracing::debug!(
                table = definition.table,
                why = edit.unclear,
                "there is no edit beyond doubt"
            );
            continue;
        }
        *finding = finding.clone().fix(Remedy::InsertText {
            file: definition.file.clone(),
            before: Digest::of(source.as_bytes()),
            offset: edit.offset as u64,
            text: edit.text,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
