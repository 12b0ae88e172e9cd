//! Whether two expressions are the same: asked of the database itself where their words differ.
//!
//! Both are given to the planner, which does not run them, and what it makes of them is compared: casts,
//! brackets, `IN` and `= ANY`, names and constants are then in one form. A temporary table would do too, but
//! PostgreSQL creates none in a transaction that cannot write
//! (postgresql.org/docs/current/sql-set-transaction.html).

use rusqlite::Connection;

use crate::database::handle::Live;
use crate::database::model::{Column, Dialect, Table};
use crate::database::sql::quote::identifier;
use crate::database::sql::text::Token;
use crate::database::sql::words::{demands, same_words, words};

/// Parts of one expression that are compared with each other.
const PARTS_MAX: usize = 16;

/// How two expressions stand to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Equivalence {
    Same,
    Different,
    /// The words differ, and the database does not understand one of them.
    Unclear,
    /// One cannot be written, or was not asked for.
    Unknown,
}

/// The database that is asked.
#[derive(Clone, Copy)]
pub(crate) struct Judge<'a> {
    pub dialect: Dialect,
    /// The server, for PostgreSQL.
    pub server: Option<&'a Live>,
}

impl Judge<'_> {
    /// Two conditions or values over the columns of a live table.
    pub(crate) fn same(&self, table: &Table, expected: &str, live: &str) -> Equivalence {
        if expected.trim().is_empty() || live.trim().is_empty() {
            return Equivalence::Unknown;
        }
        match self.ask(table, None, expected, live) {
            Equivalence::Different
                if ["AND", "OR"]
                    .iter()
                    .any(|word| self.same_set(table, expected, live, word)) =>
            {
                Equivalence::Same
            }
            verdict => verdict,
        }
    }

    /// Two defaults, as values of the live column.
    pub(crate) fn same_default(
        &self,
        table: &Table,
        column: &Column,
        expected: &str,
        live: &str,
    ) -> Equivalence {
        match (self.dialect, column.kind.as_deref()) {
            (Dialect::Postgres, Some(kind)) if !expected.is_empty() => {
                self.ask(table, Some(kind), expected, live)
            }
            _ => Equivalence::Unknown,
        }
    }

    /// The same demands in another order.
    fn same_set(&self, table: &Table, expected: &str, live: &str, keyword: &str) -> bool {
        let wanted = demands(self.dialect, expected, keyword);
        let mut found = demands(self.dialect, live, keyword);
        if wanted.len() < 2 || wanted.len() != found.len() || wanted.len() > PARTS_MAX {
            return false;
        }
        wanted.iter().all(|one| {
            let other = found
                .iter()
                .position(|other| self.same(table, one, other) == Equivalence::Same);
            other.map(|at| found.swap_remove(at)).is_some()
        })
    }

    fn ask(&self, table: &Table, kind: Option<&str>, expected: &str, live: &str) -> Equivalence {
        if same_words(self.dialect, expected, live) {
            return Equivalence::Same;
        }
        let printed = match (self.dialect, self.server) {
            (Dialect::Sqlite, _) => Ok(on_sqlite(table, expected, live)),
            (Dialect::Postgres, Some(Live::Postgres(server))) => {
                // One statement stays one. Nothing else is looked for: what is explained is not run.
                if expected.contains([';', '\0']) || live.contains([';', '\0']) {
                    return Equivalence::Unknown;
                }
                let Some(statement) = statement(table, kind, expected, live) else {
                    return Equivalence::Unknown;
                };
                server
                    .explained(&statement)
                    .map(|output| match output.as_deref() {
                        Some([one, other]) => Some(even(one) == even(other)),
                        _ => None,
                    })
            }
            _ => return Equivalence::Unknown,
        };
        match printed {
            Ok(Some(true)) => Equivalence::Same,
            Ok(Some(false)) => Equivalence::Different,
            Ok(None) => Equivalence::Unclear,
            Err(_) => Equivalence::Unknown,
        }
    }
}

/// What the planner tells, with numeric constants in one form: `0.0` and `'0'::numeric` are the same.
fn even(output: &str) -> Vec<String> {
    let all = words(Dialect::Postgres, output);
    let is_numeric = |at: usize| matches!(all.get(at..at + 2), Some([cast, kind]) if cast.is_sign("::") && kind.is("NUMERIC"));
    let mut even = Vec::with_capacity(all.len());
    let mut at = 0;
    while let Some(word) = all.get(at) {
        at += 1;
        let is_constant = match word.token {
            Token::Number(text) => text.contains('.') && !text.contains(['e', 'E']),
            Token::Text(_) => is_numeric(at),
            _ => false,
        };
        if !is_constant {
            even.push(word.text.to_owned());
            continue;
        }
        if is_numeric(at) {
            at += 2;
        }
        let number = word.text.trim_matches('\'');
        even.push(match number.split_once('.') {
            Some(_) => number
                .trim_end_matches('0')
                .trim_end_matches('.')
                .to_owned(),
            None => number.to_owned(),
        });
        even.push("numeric".to_owned());
    }
    with_at_time_zone(even)
}

/// `timezone(zone, moment)` as `(moment AT TIME ZONE zone)`, which is the same call.
fn with_at_time_zone(mut printed: Vec<String>) -> Vec<String> {
    let mut at = 0;
    while let Some(found) = printed[at..]
        .windows(2)
        .position(|pair| pair[0] == "timezone" && pair[1] == "(")
    {
        at += found;
        let (mut depth, mut comma, mut end) = (0, None, None);
        for (place, word) in printed.iter().enumerate().skip(at + 1) {
            match word.as_str() {
                "(" => depth += 1,
                ")" => depth -= 1,
                "," if depth == 1 => comma = comma.or(Some(place)),
                _ => {}
            }
            if depth == 0 {
                end = Some(place);
                break;
            }
        }
        if let (Some(comma), Some(end)) = (comma, end) {
            let zone: Vec<String> = printed[at + 2..comma].to_vec();
            let mut call = vec!["(".to_owned()];
            call.extend_from_slice(&printed[comma + 1..end]);
            call.extend(["AT", "TIME", "ZONE"].map(str::to_owned));
            call.extend(zone);
            call.push(")".to_owned());
            printed.splice(at..=end, call);
        }
        at += 1;
    }
    printed
}

/// A query of both over a row of the table's types: it needs no right to read the table, and neither a
/// policy nor a partition changes it.
fn statement(table: &Table, kind: Option<&str>, expected: &str, live: &str) -> Option<String> {
    let columns: Vec<String> = table
        .columns
        .iter()
        .map(|column| {
            Some(format!(
                "{} {}",
                identifier(&column.name),
                column.kind.as_deref()?
            ))
        })
        .collect::<Option<_>>()?;
    // A comment at the end ends with its line.
    let value = |text: &str| match kind {
        Some(kind) => format!("CAST((\n{text}\n) AS {kind})"),
        None => format!("(\n{text}\n)"),
    };
    Some(format!(
        "SELECT {}, {} FROM json_to_record('{{}}') AS {}({})",
        value(expected),
        value(live),
        identifier(&table.name),
        columns.join(", ")
    ))
}

/// Whether both become one program of SQLite's virtual machine; `None` if one does not compile.
fn on_sqlite(table: &Table, expected: &str, live: &str) -> Option<bool> {
    let connection = Connection::open_in_memory().ok()?;
    let columns: Vec<String> = table
        .columns
        .iter()
        .map(|column| {
            let collation = column.collation.as_ref();
            let collation =
                collation.map_or_else(String::new, |name| format!(" COLLATE {}", identifier(name)));
            format!(
                "{} {}{collation}",
                identifier(&column.name),
                column.kind.as_deref().unwrap_or_default()
            )
        })
        .collect();
    let name = identifier(&table.name);
    connection
        .execute_batch(&format!("CREATE TABLE {name} ({})", columns.join(", ")))
        .ok()?;
    let program = |text: &str| -> rusqlite::Result<Vec<Vec<rusqlite::types::Value>>> {
        // A comparison shows the collation.
        let mut statement = connection.prepare(&format!(
            "EXPLAIN SELECT (\n{text}\n), (\n{text}\n) < (\n{text}\n) FROM {name}"
        ))?;
        let width = statement.column_count().min(7);
        let rows = statement.query_map([], |row| (0..width).map(|at| row.get(at)).collect())?;
        rows.collect()
    };
    Some(program(expected).ok()? == program(live).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sqlite_tells_what_it_takes_for_the_same() {
        let column = |name: &str, kind: &str, collation: Option<&str>| Column {
            name: name.into(),
            kind: Some(kind.into()),
            collation: collation.map(str::to_owned),
            ..Column::default()
        };
        let table = Table {
            name: "t".into(),
            columns: vec![
                column("a", "TEXT", None),
                column("b", "INTEGER", None),
                column("c", "TEXT", Some("NOCASE")),
            ],
            ..Table::default()
        };
        let judge = Judge {
            dialect: Dialect::Sqlite,
            server: None,
        };
        use Equivalence::{Different, Same, Unclear, Unknown};
        for (expected, live, verdict) in [
            ("b > 1 AND a <> 'x'", "((\"b\" > 1) and (t.a != 'x'))", Same),
            ("b > 1 AND a <> 'x'", "(a <> 'x') AND (b > (1))", Same),
            ("b > 1 OR a = 'x'", "(a = 'x') OR b > 1", Same),
            ("b > 1 AND a <> 'x'", "a <> 'x' AND b > 2", Different),
            ("b > 1 AND a <> 'x'", "b > 1", Different),
            ("lower(a)", "LOWER ([a])", Same),
            ("lower(a)", "upper(a)", Different),
            ("b IN (1, 2)", "b in (1,2)", Same),
            ("b IN (1, 2)", "b IN (1, 3)", Different),
            ("a COLLATE NOCASE", "a collate \"nocase\"", Same),
            ("a COLLATE NOCASE", "a", Different),
            ("c", "c COLLATE NOCASE", Same),
            ("a IS NOT NULL", "a NOTNULL", Same),
            ("a IS NOT NULL", "a IS NULL", Different),
            ("nothing_there(a)", "lower(a)", Unclear),
            ("a; DROP TABLE t", "lower(a)", Unclear),
            ("", "lower(a)", Unknown),
        ] {
            assert_eq!(
                judge.same(&table, expected, live),
                verdict,
                "{expected} and {live}"
            );
        }
    }

    #[test]
    fn what_the_planner_tells_in_two_ways_is_made_one() {
        for (a, b, same) in [
            ("(p > 0.0)", "(p > '0'::numeric)", true),
            ("'-1.500'::numeric", "'-1.5'::numeric", true),
            ("1.50::numeric(10,2)", "1.5::numeric(10,2)", true),
            ("'10'::numeric", "'1'::numeric", false),
            (
                "timezone('utc'::text, now())",
                "(now() AT TIME ZONE 'utc'::text)",
                true,
            ),
            (
                "timezone('a'::text, timezone('b'::text, now()))",
                "((now() AT TIME ZONE 'b'::text) AT TIME ZONE 'a'::text)",
                true,
            ),
            (
                "timezone('utc'::text, now())",
                "(now() AT TIME ZONE 'cet'::text)",
                false,
            ),
            ("timezone('utc'::text, now(", "timezone('utc'::text", false),
            ("'0.0'::text", "'0'::text", false),
            ("(p > 1.5e-10)", "(p > 1.5e-1)", false),
            ("(p > 0)", "(p > 0.0)", false),
            ("'x 0.0'::text", "'x 0'::text", false),
        ] {
            assert_eq!(even(a) == even(b), same, "{a} and {b}");
        }
    }
}
