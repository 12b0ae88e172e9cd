//! What a transaction lost or changed besides what it gained, in words for whoever has to approve it. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::database::migration_tables::MigrationTables;
use crate::database::sql::text::sql_statements;
use crate::fix::postgres::error::first_line;
use crate::fix::postgres::relay::Recording;
use crate::fix::postgres::transaction::Observed;

/// Reasons in one list.
const REASONS_MAX: usize = 8;

pub(crate) fn first_of<'l>(lines: impl Iterator<Item = &'l String>) -> String {
    let lines: Vec<&str> = lines.take(3).map(|line| shortened(line)).collect();
    lines.join("; ")
}

pub(crate) fn shortened(line: &str) -> &str {
    let end = line
        .char_indices()
        .nth(160)
        .map_or(line.len(), |(at, _)| at);
    &line[..end]
}

/// `column public.users.name varchar` → `column public.users.name`.
fn name_of(line: &str) -> &str {
    let end = match line.split(' ').next() {
        // The name stands within the definition, or has spaces; behind it is one word.
        Some("index" | "function") => line.rfind(' '),
        Some(
            "schema" | "relation" | "column" | "constraint" | "inheritance" | "view" | "trigger"
            | "rule" | "policy" | "sequence" | "extension" | "event_trigger" | "label" | "type",
        ) => second_space(line),
        _ => None,
    };
    &line[..end.unwrap_or(line.len())]
}

/// Outside of quotes.
fn second_space(line: &str) -> Option<usize> {
    let mut is_quoted = false;
    let mut spaces = line.char_indices().filter(|(_, c)| {
        is_quoted ^= *c == '"';
        *c == ' ' && !is_quoted
    });
    spaces.nth(1).map(|(at, _)| at)
}

/// What was lost or changed besides what was gained.
pub(crate) fn side_effects(
    observed: &Observed,
    migration_tables: &MigrationTables,
    existing_migration_tables: &[String],
) -> Vec<String> {
    let mut reasons = Vec::new();
    let (before, after) = (&observed.before.lines, &observed.after.lines);
    let names_after: BTreeSet<&str> = after.iter().map(|line| name_of(line)).collect();
    let is_of_migration_table =
        |line: &str| line.starts_with("version ") || line.starts_with("migration_table ");
    for line in before
        .difference(after)
        .filter(|line| !is_of_migration_table(line))
    {
        let name = name_of(line);
        let what = if names_after.contains(name) {
            "changes"
        } else {
            "is gone"
        };
        let what = format!("{} {what}", shortened(name));
        reasons.push(what);
    }
    let acting = ["trigger ", "event_trigger ", "rule ", "policy "];
    let names_before: BTreeSet<&str> = before.iter().map(|line| name_of(line)).collect();
    for line in after.difference(before) {
        let is_acting = acting.iter().any(|kind| line.starts_with(kind));
        if is_acting && !names_before.contains(name_of(line)) {
            reasons.push(format!("{} is new", shortened(name_of(line))));
        }
    }
    reasons.extend(revoked(observed).map(|line| format!("{} is gone", shortened(line))));
    let is_there = |name: &str| {
        let begin = format!("relation {name} ");
        after
            .range(begin.clone()..)
            .next()
            .is_some_and(|line| line.starts_with(&begin))
    };
    let back = sequences_back(&observed.sequences).filter(|(name, ..)| is_there(name));
    reasons.extend(back.map(describe_set_back));
    reasons.extend(of_migration_tables(observed, migration_tables));
    let is_own = |table: &&String| !existing_migration_tables.contains(table);
    for table in observed.rewritten.iter().filter(is_own) {
        reasons.push(format!("table {table} is written anew"));
    }
    for column in &observed.remade {
        reasons.push(format!("column {column} is dropped and made anew"));
    }
    reasons.extend(of_activity(observed, existing_migration_tables));
    for (table, was) in observed
        .rows_before
        .iter()
        .filter(|(table, _)| is_own(table))
    {
        let Some(now) = observed.rows_after.get(table).filter(|now| *now != was) else {
            continue;
        };
        let count = |rows: &str| rows.split(' ').next().unwrap_or_default().to_owned();
        let (was, now) = (count(was), count(now));
        reasons.push(if was == now {
            format!("rows of table {table} change")
        } else {
            format!("the number of rows of table {table} goes from {was} to {now}")
        });
    }
    if let Some(first) = observed.unseen.first() {
        let more = match observed.unseen.len() {
            1 => String::new(),
            n => format!(" and {} more tables", n - 1),
        };
        reasons.push(format!(
            "what becomes of the rows of {first}{more} was not seen"
        ));
    }
    reasons
}

pub(crate) fn shorten(reasons: &mut Vec<String>) {
    let more = reasons.len().saturating_sub(REASONS_MAX);
    if more > 0 {
        reasons.truncate(REASONS_MAX);
        reasons.push(format!("{more} more"));
    }
}

/// What was done to rows that are not looked at, because the role may not see them or what only grows is in them.
fn of_activity(observed: &Observed, existing_migration_tables: &[String]) -> Vec<String> {
    let was_there = |table: &str| {
        let begin = format!("relation {table} ");
        observed
            .before
            .lines
            .iter()
            .any(|line| line.starts_with(&begin))
            || table.starts_with("pg_")
    };
    let is_version = |table: &str| {
        let begin = format!("version {table} ");
        let mut lines = observed.before.lines.iter().chain(&observed.after.lines);
        lines.any(|line| line.starts_with(&begin))
    };
    let mut reasons = Vec::new();
    for (table, rows) in observed
        .activity
        .iter()
        .filter(|(table, _)| was_there(table))
    {
        let only_gains = rows.ends_with(" 0 updated, 0 deleted");
        let is_unexpected = if existing_migration_tables.contains(table) {
            !is_version(table) && !only_gains
        } else if table.starts_with("pg_") {
            !only_gains
        } else {
            !observed.rows_before.contains_key(table) && !observed.unseen.contains(table)
        };
        if is_unexpected {
            reasons.push(format!("rows of table {table}: {rows}"));
        }
    }
    reasons
}

/// What no comparison shows; the statements themselves do.
pub(crate) fn by_statement(recording: &Recording) -> Option<String> {
    let revokes = |sql: &str| {
        sql_statements(sql).flatten().any(|statement| {
            let is = |at: usize, word| statement.outline.get(at).is_some_and(|t| t.is_word(word));
            is(0, "ALTER")
                && is(1, "DEFAULT")
                && statement.outline.iter().any(|t| t.is_word("REVOKE"))
        })
    };
    let found = recording.statements.iter().find(|one| revokes(&one.sql))?;
    Some(format!(
        "`{}` takes rights away",
        shortened(first_line(&found.sql))
    ))
}

/// A merge of two heads leaves one version of two; none at all is a downgrade to nothing. What only grows, grows.
fn of_migration_tables(observed: &Observed, migration_tables: &MigrationTables) -> Vec<String> {
    let rows_of = |lines: &BTreeSet<String>| {
        let mut rows: BTreeMap<String, u64> = BTreeMap::new();
        for line in lines {
            let mut words = line.splitn(3, ' ');
            match (words.next(), words.next(), words.next()) {
                (Some("version"), Some(table), _) => {
                    *rows.entry(table.to_owned()).or_default() += 1
                }
                (Some("migration_table"), Some(table), Some(count)) => {
                    rows.insert(table.to_owned(), count.parse().unwrap_or_default());
                }
                _ => {}
            }
        }
        rows
    };
    let (was, now) = (
        rows_of(&observed.before.lines),
        rows_of(&observed.after.lines),
    );
    let grows = |table: &str| {
        migration_tables
            .growing
            .iter()
            .any(|name| table.ends_with(name.as_str()))
    };
    was.into_iter()
        .filter_map(|(table, was)| {
            let now = now.get(&table).copied().unwrap_or_default();
            let is_lost = if grows(&table) { now < was } else { now == 0 };
            (is_lost && was > 0)
                .then(|| format!("the number of rows of table {table} goes from {was} to {now}"))
        })
        .collect()
}

/// Sequences that would give a number again: what they had come to, and to what they are set, which is nothing if
/// that is their beginning.
pub(crate) fn sequences_back(
    [before, after]: &[BTreeMap<String, i64>; 2],
) -> impl Iterator<Item = (&String, i64, Option<i64>)> {
    before.iter().filter_map(|(name, was)| {
        let now = after.get(name).copied();
        now.is_none_or(|now| now < *was)
            .then_some((name, *was, now))
    })
}

pub(crate) fn describe_set_back((name, was, now): (&String, i64, Option<i64>)) -> String {
    let now = now.map_or("its beginning".to_owned(), |now| now.to_string());
    format!("sequence {name} goes back from {was} to {now}")
}

/// What others may no longer do with what is still there.
pub(crate) fn revoked(observed: &Observed) -> impl Iterator<Item = &String> {
    let after = &observed.after;
    let lost = observed.before.privileges.difference(&after.privileges);
    lost.filter(move |line| {
        let name = line.split(' ').nth(1);
        after.lines.iter().any(|l| l.split(' ').nth(1) == name)
    })
}

/// Whether a text that somebody approved reports this. How many rows come and go may have changed meanwhile, if
/// some are left.
pub(crate) fn is_reported_in(text: &str, reason: &str) -> bool {
    without_counts(text).contains(&without_counts(reason))
}

fn without_counts(text: &str) -> String {
    let mut before = "";
    let words = text.split(' ').map(|word| {
        let number = word.trim_end_matches(|c: char| c.is_ascii_punctuation());
        let is_count =
            matches!(before, "from" | "to") && number.parse::<u64>().is_ok_and(|n| n > 0);
        before = word;
        if is_count {
            word.replace(number, "#")
        } else {
            word.to_owned()
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_approved_is_what_is_lost() {
        let text =
            "proved: the number of rows of table a goes from 9 to 8, rows of table b change; tried";
        for (reason, expected) in [
            ("rows of table b change", true),
            ("rows of table a change", false),
            ("the number of rows of table a goes from 10 to 9", true),
            ("the number of rows of table a goes from 10 to 0", false),
            ("the number of rows of table c goes from 9 to 8", false),
        ] {
            assert_eq!(is_reported_in(text, reason), expected, "{reason}");
        }
    }
}
