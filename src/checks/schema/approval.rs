//! What mends a difference and is a person's to decide: it fills rows with a value that nobody gave, or changes what
//! is there. The finding carries the exact statements, and says what they do and lose in words and numbers; no policy
//! lets them run by themselves.

use std::time::{Duration, Instant};

use super::comparison::Comparison;
use super::proposed::one_line;
use super::statements::accepts;
use crate::database::model::{Column, Dialect, Table};
use crate::database::postgres::ddl;
use crate::database::sql::addition::postgres_change;
use crate::database::sql::quote::{identifier, literal};
use crate::database::sqlite::add_column::add_column;
use crate::database::sqlite::rebuild::{rebuild, with_type, without_not_null};
use crate::domain::code::Code;
use crate::domain::finding::{Finding, Severity};
use crate::domain::redact::truncate;
use crate::domain::remedy::{
    FILLS_NOTHING, NEEDS_APPROVAL, NO_ROWS, PROPOSED, REWRITES, Remedy, STAYS_NULL,
};
use crate::domain::words::count;

/// Rows that are counted; of more, it is said that there are more.
const ROWS_MAX: u64 = 1_000_000;
/// Once counting has taken this long, nothing more is counted, and nothing more proposed that needs it.
const COUNTING_MAX: Duration = Duration::from_secs(5);
/// How much of the first statement stands in a remedy.
const SHOWN_BYTES_MAX: usize = 200;

/// Statements for a person to approve.
pub(super) struct Asked {
    pub statements: Vec<String>,
    /// What they do and what is lost by it.
    pub what: String,
    /// Why a person decides.
    pub why: String,
    /// They change what is there.
    pub rewrites: bool,
}

/// The finding with what a person may approve, if the database takes it.
pub(super) fn for_approval(comparison: &Comparison<'_>, finding: Finding, asked: Asked) -> Finding {
    let accepted = match comparison.live.dialect {
        Dialect::Sqlite => accepts(comparison, &asked.statements).map(|()| asked.statements),
        Dialect::Postgres => match &comparison.rights.refused {
            Some(why) => Err(why.clone()),
            None => asked
                .statements
                .iter()
                .map(|one| postgres_change(one))
                .collect(),
        },
    };
    let Ok(statements) = accepted else {
        return finding;
    };
    let first = one_line(statements.first().map_or("", String::as_str));
    let more = match statements.len() {
        0 | 1 => String::new(),
        n => format!("; and {} more", count(n - 1, "statement")),
    };
    let schema = comparison.schema.to_owned();
    let finding = finding
        .remedy(format!(
            "{}: {}{more}",
            asked.what,
            truncate(&first, SHOWN_BYTES_MAX)
        ))
        .fix(Remedy::RunStatements { schema, statements })
        .fact(PROPOSED, asked.what)
        .fact(NEEDS_APPROVAL, asked.why);
    match asked.rewrites {
        true => finding.fact(REWRITES, "true"),
        false => finding,
    }
}

/// The table as statements name it.
fn place(table: &Table) -> String {
    match &table.schema {
        Some(schema) if !schema.is_empty() => {
            format!("{}.{}", identifier(schema), identifier(&table.name))
        }
        _ => identifier(&table.name),
    }
}

/// How many rows there are for which a condition holds, among the first ones of a large table; `None` if that cannot
/// be asked.
fn rows(comparison: &Comparison<'_>, table: &Table, condition: &str) -> Option<u64> {
    let asked = comparison.asked?;
    if comparison.spent.get() >= COUNTING_MAX {
        return None;
    }
    let sql = format!(
        "SELECT count(*) FROM (SELECT * FROM {} LIMIT {}) AS counted WHERE {condition}",
        place(table),
        ROWS_MAX + 1
    );
    let begun = Instant::now();
    let answer = asked.try_column(&sql);
    comparison
        .spent
        .set(comparison.spent.get() + begun.elapsed());
    answer.ok()?.first()?.parse().ok()
}

/// `2 rows`, `more than 1000000 rows`.
fn shown_rows(rows: u64) -> String {
    match usize::try_from(rows) {
        Ok(rows) if rows as u64 <= ROWS_MAX => count(rows, "row"),
        _ => format!("more than {ROWS_MAX} rows"),
    }
}

/// A column that must not be NULL, is missing, and has no default that would do for the rows that are there.
pub(super) fn missing_column(
    comparison: &Comparison<'_>,
    finding: Finding,
    table: &Table,
    column: &Column,
    live: &Table,
) -> Finding {
    if column.nullable || column.primary_key || column.generated || live.is_view {
        return finding;
    }
    let Some(rows) = rows(comparison, live, "true") else {
        return finding;
    };
    let name = format!("{}.{}", live.name, column.name);
    let shown = shown_rows(rows);
    let add = |column: &Column| match comparison.live.dialect {
        Dialect::Sqlite => add_column(table, column, live),
        Dialect::Postgres => {
            let proposed = ddl::add_column(table, column, live, comparison.rights);
            match proposed.why_not {
                None => Ok(proposed.statements),
                Some(why) => Err(why),
            }
        }
    };
    if rows == 0 {
        // Nothing needs a value: without rows, the databases take NOT NULL without a default.
        let nullable = Column {
            nullable: true,
            ..column.clone()
        };
        let Ok(mut statements) = add(&nullable) else {
            return finding;
        };
        if let Some(first) = statements
            .iter_mut()
            .find(|one| one.starts_with("ALTER TABLE"))
        {
            let kind = column.kind.as_deref().unwrap_or_default();
            let defined = format!("ADD COLUMN {} {kind}", column.quoted);
            let with = format!("{defined} NOT NULL");
            *first = first.replacen(&defined, &with, 1);
        }
        let asked = for_approval(
            comparison,
            finding,
            Asked {
                statements,
                what: format!(
                    "add column {name}, NOT NULL; the table has no row, so nothing needs a value"
                ),
                why: "a row that is written meanwhile would lack it".to_owned(),
                rewrites: false,
            },
        );
        return filling_nothing(asked, NO_ROWS);
    }
    let fillable = !(column.unique && rows > 1) && column.references.is_none();
    if let Some(filler) = column.filler.as_ref().filter(|_| fillable) {
        let filled = Column {
            default: Some(filler.value.clone()),
            ..column.clone()
        };
        if let Ok(statements) = add(&filled) {
            let value = truncate(&filler.value, 60);
            let (whose, why) = match filler.given {
                true => (
                    "which the code gives new ones",
                    "the rows that exist may need another value",
                ),
                false => (
                    "a value that is made up, because nothing says which one they should have",
                    "nothing says which value the rows that exist should have",
                ),
            };
            let what = format!(
                "add column {name}, NOT NULL, and give its {shown} {value}, {whose}; nothing is lost"
            );
            return for_approval(
                comparison,
                finding,
                Asked {
                    statements,
                    what,
                    why: why.to_owned(),
                    rewrites: false,
                },
            );
        }
    }
    let because = if column.references.is_some() {
        "which row each of them belongs to is not known"
    } else if column.unique {
        "each of them needs a value of its own"
    } else {
        "no value of its type is known"
    };
    let nullable = Column {
        nullable: true,
        ..column.clone()
    };
    match add(&nullable) {
        Ok(statements) => {
            let asked = for_approval(
                comparison,
                finding,
                Asked {
                    statements,
                    what: format!(
                        "add column {name} without NOT NULL: its {shown} stay without a value, because \
                         {because}; fill them, then add NOT NULL"
                    ),
                    why: "the rows that exist need a value that only a person knows".to_owned(),
                    rewrites: false,
                },
            );
            filling_nothing(asked, STAYS_NULL)
        }
        Err(_) => finding,
    }
}

/// What was proposed for a column gives no row a value, for this reason.
fn filling_nothing(finding: Finding, why: &str) -> Finding {
    match finding.facts.contains_key(PROPOSED) {
        true => finding.fact(FILLS_NOTHING, why),
        false => finding,
    }
}

/// What creates the indexes and triggers of a table of SQLite.
fn beside(comparison: &Comparison<'_>, live: &Table) -> Option<Vec<String>> {
    let sql = format!(
        "SELECT sql FROM main.sqlite_schema WHERE tbl_name = {} COLLATE NOCASE AND type IN ('index', 'trigger') \
         AND sql IS NOT NULL ORDER BY type, rowid",
        literal(&live.name)
    );
    comparison.asked?.try_column(&sql).ok()
}

fn rebuilt(comparison: &Comparison<'_>, live: &Table, ddl: Option<String>) -> Option<Vec<String>> {
    let beside = beside(comparison, live)?;
    rebuild(live, &ddl?, &beside).ok()
}

/// The columns of a table that let no row be without a value while the code gives none: the first of their findings
/// gets the statements for all, since on SQLite the table is made anew.
pub(super) fn lift_not_null(comparison: &Comparison<'_>, live: &Table, findings: &mut [Finding]) {
    let is_meant = |finding: &Finding| {
        finding.severity == Severity::Warning
            && matches!(
                finding.code,
                Code::SchemaExtraColumn | Code::SchemaNullableMismatch
            )
    };
    let mut places = Vec::new();
    for (at, finding) in findings.iter().enumerate().filter(|(_, f)| is_meant(f)) {
        let name = finding.facts.get("column");
        let column = name.and_then(|name| live.column(comparison.live.dialect, name));
        places.extend(column.map(|column| (at, column)));
    }
    let Some((first, _)) = places.first().copied() else {
        return;
    };
    let names: Vec<String> = places
        .iter()
        .map(|(_, column)| format!("{}.{}", live.name, column.name))
        .collect();
    let (statements, how) = match comparison.live.dialect {
        Dialect::Postgres => {
            let lift = |(_, column): &(usize, &Column)| {
                let (table, column) = (place(live), identifier(&column.name));
                format!("ALTER TABLE {table} ALTER COLUMN {column} DROP NOT NULL")
            };
            (Some(places.iter().map(lift).collect()), "")
        }
        Dialect::Sqlite => {
            let lifted = live.ddl.clone().and_then(|ddl| {
                let mut columns = places.iter().map(|(_, column)| column.name.as_str());
                columns.try_fold(ddl, |ddl, name| without_not_null(&ddl, name))
            });
            let how =
                ", for which SQLite needs the table made anew, with its rows, indexes and triggers";
            (rebuilt(comparison, live, lifted), how)
        }
    };
    let (Some(statements), Some(rows)) = (statements, rows(comparison, live, "true")) else {
        return;
    };
    let what = format!(
        "let {} be NULL{how}; nothing in its {} changes, and nothing is lost",
        names.join(" and "),
        shown_rows(rows)
    );
    let asked = Asked {
        statements,
        what,
        why: "other programs may rely on a value in each row".to_owned(),
        rewrites: true,
    };
    findings[first] = for_approval(comparison, findings[first].clone(), asked);
    if findings[first].fix.is_none() {
        return;
    }
    let subject = findings[first].subject.clone();
    for (at, column) in &places[1..] {
        let reason = format!("what is proposed for {subject} lifts it too");
        let lost = format!("let {}.{} be NULL; nothing is lost", live.name, column.name);
        let finding = findings[*at].clone().remedy(reason.as_str());
        findings[*at] = finding
            .fix(Remedy::ByHand {
                reason,
                statements: None,
            })
            .fact(PROPOSED, lost);
    }
}

/// A column of another type than the code expects.
pub(super) fn change_type(
    comparison: &Comparison<'_>,
    finding: Finding,
    live: &Table,
    expected: &Column,
    found: &Column,
) -> Finding {
    let Some(kind) = expected.kind.as_deref().filter(|kind| !kind.is_empty()) else {
        return finding;
    };
    if live.is_view || found.generated || found.primary_key || found.references.is_some() {
        return finding;
    }
    if comparison.live.dialect == Dialect::Postgres
        && let (Some(wanted), Some(there)) = (&expected.labels, &found.labels)
    {
        return add_labels(comparison, finding, found, wanted, there);
    }
    // A type of the database that is not there yet is no cast away.
    if expected.labels.is_some() {
        return finding;
    }
    let name = format!("{}.{}", live.name, found.name);
    let column = identifier(&found.name);
    let is_set = format!("{column} IS NOT NULL");
    let Some(rows_set) = rows(comparison, live, &is_set) else {
        return finding;
    };
    let there = found.kind.as_deref().unwrap_or_default();
    let ((unfit, respelt), statements) = match comparison.live.dialect {
        Dialect::Postgres => (
            (
                format!("{is_set} AND {}", unfit_in_postgres(kind, there, &column)),
                "false".to_owned(),
            ),
            Some(vec![format!(
                "ALTER TABLE {} ALTER COLUMN {column} TYPE {kind} USING {column}::{kind}",
                place(live)
            )]),
        ),
        Dialect::Sqlite => {
            let ddl = live.ddl.as_deref();
            let ddl = ddl.and_then(|ddl| with_type(ddl, &found.name, kind));
            (
                unfit_in_sqlite(kind, &column),
                rebuilt(comparison, live, ddl),
            )
        }
    };
    let Some(statements) = statements else {
        return finding;
    };
    // Versions before 16 cannot say without failing; then the trial does. Not all of a large table was looked at.
    let is_whole = rows(comparison, live, "true").is_some_and(|all| all <= ROWS_MAX);
    let unfit = rows(comparison, live, &unfit).filter(|_| is_whole);
    let (unfit, respelt) = match rows(comparison, live, &respelt) {
        Some(respelt) => (unfit, respelt),
        None => (None, 0),
    };
    let shown = shown_rows(rows_set);
    match (unfit, comparison.live.dialect) {
        (Some(unfit), Dialect::Postgres) if unfit > 0 => {
            let reason = format!(
                "of {shown} with a value in {name}, {unfit} have one that is no {kind}, or that it would cut or \
                 round: the change fails or loses until they are corrected"
            );
            let remedy = finding.remedy.clone().unwrap_or_default();
            finding
                .remedy(format!("{remedy}; not automatically, because {reason}"))
                .fix(Remedy::ByHand {
                    reason,
                    statements: Some(statements.join("; ")),
                })
        }
        (unfit, _) => {
            let kept = match respelt {
                0 => "nothing is lost".to_owned(),
                respelt => format!(
                    "{respelt} are numbers that lose how they are written (leading zeros, 1.50)"
                ),
            };
            let lost = match unfit {
                Some(0) => format!("all {shown} with a value have one that fits, and {kept}"),
                Some(unfit) => format!(
                    "of {shown} with a value, {unfit} have one that is no {kind} and stay as they are; {kept}"
                ),
                None => format!(
                    "{shown} have a value; one that does not fit is cut, rounded, or lets the change fail"
                ),
            };
            let what = format!("change column {name} from {there} to {kind}; {lost}");
            for_approval(
                comparison,
                finding,
                Asked {
                    statements,
                    what,
                    why: "the type may be right in the database and wrong in the code".to_owned(),
                    rewrites: true,
                },
            )
        }
    }
}

/// Which values a cast of PostgreSQL does not take, cuts or rounds.
pub(super) fn unfit_in_postgres(kind: &str, there: &str, column: &str) -> String {
    // Every value is a text, also where a version cannot say so.
    if kind == "text" {
        return "false".to_owned();
    }
    let is_taken = format!("pg_input_is_valid({column}::text, {})", literal(kind));
    // A text says the same in another spelling.
    let is_text = ["text", "character", "varchar", "citext"]
        .iter()
        .any(|text| there.to_lowercase().starts_with(text));
    let differs = match is_text {
        true => "false".to_owned(),
        false => format!("({column}::{kind})::{there} IS DISTINCT FROM {column}"),
    };
    format!("CASE WHEN {is_taken} THEN {differs} ELSE true END")
}

/// Which values SQLite leaves as they are though they are none of the type, and which numbers in texts it writes anew, so
/// that leading zeros go (sqlite.org/datatype3.html, 3.1: what is no text and no BLOB has the affinity of numbers).
pub(super) fn unfit_in_sqlite(kind: &str, column: &str) -> (String, String) {
    let kind = kind.to_uppercase();
    let has = |words: &[&str]| words.iter().any(|word| kind.contains(word));
    let never = || "false".to_owned();
    let is_blob = format!("typeof({column}) = 'blob'");
    let is_integer = kind.contains("INT");
    if !is_integer && has(&["CHAR", "CLOB", "TEXT"]) {
        return (is_blob, never());
    }
    if !is_integer && (kind.is_empty() || kind.contains("BLOB")) {
        return (never(), never());
    }
    // A text that looks like a number is compared as one.
    let is_number = format!("{column} = CAST({column} AS NUMERIC)");
    let respelt = format!(
        "typeof({column}) = 'text' AND {is_number} AND CAST(CAST({column} AS NUMERIC) AS TEXT) <> {column}"
    );
    if is_integer || has(&["REAL", "FLOA", "DOUB", "NUM", "DEC", "BOOL"]) {
        let unfit = format!("{is_blob} OR typeof({column}) = 'text' AND NOT ({is_number})");
        return (unfit, respelt);
    }
    (never(), respelt)
}

/// The values that an enumeration lacks, each at its place in the order of the code.
fn add_labels(
    comparison: &Comparison<'_>,
    finding: Finding,
    found: &Column,
    wanted: &[String],
    there: &[String],
) -> Finding {
    let Some(kind) = found
        .kind
        .as_deref()
        .map(|kind| kind.trim_end_matches("[]"))
    else {
        return finding;
    };
    let mut known: Vec<&String> = there.iter().collect();
    let mut statements = Vec::new();
    let mut added = Vec::new();
    for (at, label) in wanted.iter().enumerate() {
        if known.contains(&label) {
            continue;
        }
        let before = wanted[..at].iter().rev().find(|one| known.contains(one));
        let after = wanted[at..].iter().find(|one| known.contains(one));
        let place = match (before, after) {
            (Some(before), _) => format!(" AFTER {}", literal(before)),
            (None, Some(after)) => format!(" BEFORE {}", literal(after)),
            (None, None) => String::new(),
        };
        statements.push(format!(
            "ALTER TYPE {kind} ADD VALUE IF NOT EXISTS {}{place}",
            literal(label)
        ));
        added.push(truncate(label, 60));
        known.push(label);
    }
    if statements.is_empty() {
        return finding;
    }
    let what = format!(
        "give the enumeration {kind} {}; no row changes, and PostgreSQL cannot take a value back",
        added.join(", ")
    );
    for_approval(
        comparison,
        finding,
        Asked {
            statements,
            what,
            why: "other programs may not know the value".to_owned(),
            rewrites: true,
        },
    )
}
