//! A migration that Django's own `makemigrations` would write, as it came back from the project's interpreter: what it
//! does to the rows that are there, in words and numbers, and the finding that proposes it.

use serde::Deserialize;

use super::upgrader::Upgrader;
use crate::checks::schema::approval::{unfit_in_postgres, unfit_in_sqlite};
use crate::database::sql::quote::identifier;
use crate::domain::finding::Finding;
use crate::domain::redact::truncate;
use crate::domain::remedy::{MIGRATES_WITH, NEEDS_APPROVAL, PROPOSED, Remedy};
use crate::domain::words::count;

/// How much of a value stands in words.
const VALUE_BYTES_MAX: usize = 60;

/// A file of a migration that is not there yet.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
pub(super) struct Written {
    pub file: String,
    pub name: String,
    pub text: String,
    pub steps: Vec<Planned>,
    /// What several branches that it merges change.
    pub both: Vec<String>,
}

/// One operation of it.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
pub(super) struct Planned {
    kind: String,
    /// As Django describes it.
    text: String,
    table: String,
    column: String,
    #[serde(rename = "type")]
    kind_now: String,
    before: String,
    null: bool,
    was_null: bool,
    /// What the rows that exist get.
    value: String,
    /// Nothing says that it should be this value.
    made_up: bool,
    /// Why no value does for them.
    why_not: String,
}

/// The rows of the database that it is for.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    pub is_server: bool,
    /// How many rows of a table, called `t`, a condition holds for; `None` if that cannot be asked.
    pub count: &'a dyn Fn(&str, &str) -> Option<u64>,
}

/// What a migration does, or why a person has to write another one.
pub(super) fn words(rows: Rows<'_>, written: &Written) -> Result<String, String> {
    let steps: Result<Vec<String>, String> =
        written.steps.iter().map(|step| step.words(rows)).collect();
    let mut words = steps?;
    words.dedup();
    Ok(words.join("; "))
}

impl Planned {
    fn count(&self, rows: Rows<'_>, condition: &str) -> Result<u64, String> {
        let found = (rows.count)(&self.table, condition);
        found.ok_or_else(|| format!("the rows of {} cannot be counted", self.table))
    }

    /// The column in a condition; SQLite would take an unknown name in quotes for a text.
    fn place(&self) -> String {
        format!("t.{}", identifier(&self.column))
    }

    fn words(&self, rows: Rows<'_>) -> Result<String, String> {
        let name = format!("{}.{}", self.table, self.column);
        match self.kind.as_str() {
            "create" => Ok(format!("create table {}; nothing is lost", self.table)),
            "delete" => {
                let all = shown(self.count(rows, "true")?);
                Ok(format!(
                    "drop table {} with its {all}, which are lost",
                    self.table
                ))
            }
            "drop" => {
                let is_set = format!("{} IS NOT NULL", self.place());
                let (all, set) = (self.count(rows, "true")?, self.count(rows, &is_set)?);
                Ok(format!(
                    "drop column {name}: of {}, {set} have a value in it, which is lost",
                    shown(all)
                ))
            }
            "add" => self.added(rows, &name),
            "alter" => self.altered(rows, &name),
            _ => Ok(self.text.clone()),
        }
    }

    fn added(&self, rows: Rows<'_>, name: &str) -> Result<String, String> {
        if self.null && self.value.is_empty() {
            return Ok(format!(
                "add column {name}, which may be NULL; nothing is lost"
            ));
        }
        let all = self.count(rows, "true")?;
        if all == 0 {
            return Ok(format!(
                "add column {name}; the table has no row, so nothing needs a value"
            ));
        }
        self.filled(all, name)
            .map(|given| format!("add column {name} and give its {given}; nothing is lost"))
    }

    /// `2 rows 0, a value that is made up ...`.
    fn filled(&self, rows: u64, name: &str) -> Result<String, String> {
        let shown = shown(rows);
        if !self.why_not.is_empty() || self.value.is_empty() {
            let why = match self.why_not.as_str() {
                "" => "no value is known for them",
                why => why,
            };
            return Err(format!(
                "{name} must not be NULL, and its {shown} need a value: {why}"
            ));
        }
        let value = truncate(&self.value, VALUE_BYTES_MAX);
        let whose = match self.made_up {
            true => "a value that is made up",
            false => "which the code gives new ones",
        };
        Ok(format!("{shown} {value}, {whose}"))
    }

    fn altered(&self, rows: Rows<'_>, name: &str) -> Result<String, String> {
        let column = self.place();
        let mut parts = Vec::new();
        if self.kind_now != self.before {
            let is_set = format!("{column} IS NOT NULL");
            let set = shown(self.count(rows, &is_set)?);
            let (unfit, respelt) = match rows.is_server {
                true => {
                    let unfit = unfit_in_postgres(&self.kind_now, &self.before, &column);
                    (format!("{is_set} AND {unfit}"), "false".to_owned())
                }
                false => unfit_in_sqlite(&self.kind_now, &column),
            };
            // Some versions of PostgreSQL cannot say without failing; then the trial shows it.
            let kept = match ((rows.count)(&self.table, &unfit), rows.is_server) {
                (None, _) => format!("{set} have a value; one that does not fit lets it fail"),
                (Some(0), _) => format!("all {set} with a value have one that fits"),
                (Some(unfit), true) => {
                    return Err(format!(
                        "of {set} with a value in {name}, {unfit} have one that is no {}, or that it would cut or \
                         round; correct them first",
                        self.kind_now
                    ));
                }
                (Some(unfit), false) => format!(
                    "of {set} with a value, {unfit} have one that is no {} and stay as they are",
                    self.kind_now
                ),
            };
            let respelt = match (rows.count)(&self.table, &respelt) {
                None | Some(0) => String::new(),
                Some(those) => format!(
                    ", and {those} are numbers that lose how they are written (leading zeros, 1.50)"
                ),
            };
            parts.push(format!(
                "change column {name} from {} to {}; {kept}{respelt}",
                self.before, self.kind_now
            ));
        }
        if self.was_null && !self.null {
            let empty = self.count(rows, &format!("{column} IS NULL"))?;
            parts.push(match empty {
                0 => format!("let {name} no longer be NULL; each of its rows has a value"),
                empty => {
                    let given = self.filled(empty, name)?;
                    format!("let {name} no longer be NULL and give those without a value, {given}")
                }
            });
        }
        if self.null && !self.was_null {
            parts.push(format!("let {name} be NULL; nothing is lost"));
        }
        if parts.is_empty() {
            parts.push(self.text.clone());
        }
        Ok(parts.join("; "))
    }
}

fn shown(rows: u64) -> String {
    count(usize::try_from(rows).unwrap_or(usize::MAX), "row")
}

/// The finding with the migration, which is run once it is written. `lost`: what it does and loses.
pub(super) fn propose(
    finding: Finding,
    written: Written,
    upgrader: &Upgrader,
    lost: &str,
    why: &str,
) -> Finding {
    let target = match upgrader {
        Upgrader::Tool(_, target) => target,
        Upgrader::Person(None) => return finding,
        Upgrader::Person(Some(why)) => return by_hand(finding, why),
    };
    let by_hand = finding.remedy.clone().unwrap_or_default();
    let what = format!("write migration {} and run it: {lost}", written.name);
    let remedy = format!("{by_hand}; or approve: in {}, {what}", written.file);
    finding
        .remedy(remedy)
        .fix(Remedy::new_file(&written.file, written.text, what))
        .fact(MIGRATES_WITH, format!("django {target}"))
        .fact(PROPOSED, lost)
        .fact(NEEDS_APPROVAL, why)
}

/// The finding, with the reason why nothing is proposed.
pub(super) fn by_hand(finding: Finding, why: &str) -> Finding {
    let remedy = finding.remedy.clone().unwrap_or_default();
    finding
        .remedy(format!("{remedy}; not automatically, because {why}"))
        .fix(Remedy::ByHand {
            reason: why.to_owned(),
            statements: None,
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::Connection;

    /// What each step does to a table with the rows (1, 'a', '007') and (2, NULL, '8').
    fn said(step: Planned) -> Result<String, String> {
        let live = Connection::open_in_memory().unwrap();
        live.execute_batch(
            "CREATE TABLE t (id INTEGER, a TEXT, n TEXT); INSERT INTO t VALUES (1, 'a', '007'), (2, NULL, '8')",
        )
        .unwrap();
        let count = |table: &str, condition: &str| {
            let sql = format!("SELECT count(*) FROM {table} AS t WHERE {condition}");
            let found = live.query_row(&sql, [], |row| row.get::<_, i64>(0));
            u64::try_from(found.ok()?).ok()
        };
        let rows = Rows {
            is_server: false,
            count: &count,
        };
        let written = Written {
            steps: vec![Planned {
                table: "t".to_owned(),
                ..step
            }],
            ..Written::default()
        };
        words(rows, &written)
    }

    #[test]
    fn what_a_migration_does_to_the_rows_is_counted_and_what_no_value_fits_is_left() {
        let step = |kind: &str, column: &str| Planned {
            kind: kind.to_owned(),
            column: column.to_owned(),
            ..Planned::default()
        };
        let add = said(Planned {
            value: "0".to_owned(),
            made_up: true,
            ..step("add", "b")
        });
        assert!(
            add.unwrap()
                .starts_with("add column t.b and give its 2 rows 0, a value that is made up")
        );
        let unique = said(Planned {
            why_not: "each of them needs a value of its own".to_owned(),
            ..step("add", "b")
        });
        assert_eq!(
            unique.unwrap_err(),
            "t.b must not be NULL, and its 2 rows need a value: each of them needs a value of its own"
        );
        assert_eq!(
            said(step("drop", "a")).unwrap(),
            "drop column t.a: of 2 rows, 1 have a value in it, which is lost"
        );
        let typed = |column: &str| {
            said(Planned {
                before: "varchar(9)".to_owned(),
                kind_now: "integer".to_owned(),
                ..step("alter", column)
            })
        };
        assert_eq!(
            typed("a").unwrap(),
            "change column t.a from varchar(9) to integer; of 1 row with a value, 1 have one that is no integer and \
             stay as they are"
        );
        let numbers = typed("n").unwrap();
        assert!(
            numbers.contains("all 2 rows with a value have one that fits, and 1 are numbers"),
            "{numbers}"
        );
        let filled = said(Planned {
            was_null: true,
            value: "''".to_owned(),
            ..step("alter", "a")
        });
        assert!(
            filled
                .unwrap()
                .contains("give those without a value, 1 row ''")
        );
        assert!(said(step("drop", "absent")).is_err());
    }
}
