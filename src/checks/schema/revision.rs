//! What the models have and a migrated database has not, as the operations of one revision of Alembic.
//!
//! The application's own migrations bring it: nothing is changed behind their back. All of a database is one revision,
//! at the first finding; the others say so.

use std::cell::LazyCell;

use crate::checks::context::CheckContext;
use crate::database::model::{Column, Dialect, Index, Rule, Table};
use crate::domain::code::Code;
use crate::domain::finding::{Finding, Severity};
use crate::domain::redact::truncate;
use crate::domain::remedy::{
    BROUGHT_BY, FILLS_NOTHING, NEEDS_APPROVAL, NO_ROWS, PROPOSED, Remedy, STAYS_NULL,
};

use super::migrations::{Draft, RevisionPlace};

/// A longer message of a revision is cut.
const MESSAGE_MAX: usize = 60;
/// Differences that one revision brings.
const STEPS_MAX: usize = 40;

/// One difference as operations.
struct Step {
    upgrade: Vec<String>,
    downgrade: Vec<String>,
    message: String,
    lost: String,
}

/// What a revision is written from.
pub(super) struct Sides<'a> {
    pub dialect: Dialect,
    pub expected: &'a [Table],
    pub live: &'a [Table],
}

/// The findings, the first of those that a revision mends with that revision.
pub(super) fn write_revision(
    context: &CheckContext<'_>,
    place: &RevisionPlace,
    sides: &Sides<'_>,
    mut findings: Vec<Finding>,
) -> Vec<Finding> {
    let upgrades = LazyCell::new(|| place.upgrades(context.root));
    for finding in &mut findings {
        let brought =
            missing(finding).and_then(|(table, column)| upgrades.brought_by(table, column));
        let Some(file) = brought else {
            continue;
        };
        let subject = &finding.subject;
        let why = format!(
            "the database is past {file}, which makes it: it was stamped without being run, or changed by hand"
        );
        let what = format!("add {subject} to this database, as {file} does elsewhere");
        finding.message.push_str(&format!("; {why}"));
        if !finding.facts.contains_key(NEEDS_APPROVAL) {
            let statements = finding.remedy.take().unwrap_or_default();
            finding.remedy = Some(format!("{what}: {statements}"));
            finding.facts.insert(PROPOSED.to_owned(), what);
            finding.facts.insert(NEEDS_APPROVAL.to_owned(), why);
        }
        finding.facts.insert(BROUGHT_BY.to_owned(), file.to_owned());
    }
    let mut steps: Vec<(usize, Step)> = findings
        .iter()
        .enumerate()
        .filter(|(_, finding)| finding.severity >= Severity::Warning)
        .filter(|(_, finding)| !finding.facts.contains_key(BROUGHT_BY))
        .filter_map(|(at, finding)| Some((at, sides.step(finding)?)))
        .take(STEPS_MAX)
        .collect();
    // A table is made before what leads to it; the findings come in that order.
    steps.sort_by_key(|(at, _)| findings[*at].code != Code::SchemaMissingTable);
    let gravest = steps.iter().max_by_key(|(at, _)| {
        let finding = &findings[*at];
        (finding.severity, std::cmp::Reverse(*at))
    });
    let Some(first) = gravest.map(|(at, _)| *at) else {
        return findings;
    };
    let all = || steps.iter().map(|(_, step)| step);
    let mut message = match steps.as_slice() {
        [(_, one)] => one.message.clone(),
        [(_, one), ..] => format!("{} and {} more", one.message, steps.len() - 1),
        [] => return findings,
    };
    message = truncate(&message, MESSAGE_MAX);
    let draft = Draft {
        message,
        upgrade: all().flat_map(|step| step.upgrade.clone()).collect(),
        downgrade: all()
            .collect::<Vec<_>>()
            .into_iter()
            .rev()
            .flat_map(|step| step.downgrade.clone())
            .collect(),
    };
    let lost: Vec<&str> = all().map(|step| step.lost.as_str()).collect();
    let written = place.attach(
        context.root,
        findings[first].clone(),
        &draft,
        &lost.join("; "),
        "a revision is a part of the application's sources",
    );
    if written.fix == findings[first].fix {
        return findings;
    }
    findings[first] = written;
    if !matches!(findings[first].fix, Some(Remedy::EditText { .. })) {
        return findings;
    }
    for (at, _) in steps.iter().filter(|(at, _)| *at != first) {
        let reason = format!(
            "the revision that is proposed for {} brings it too",
            findings[first].subject
        );
        let finding = &mut findings[*at];
        finding.remedy = Some(reason.clone());
        finding.fix = Some(Remedy::ByHand {
            reason,
            statements: None,
        });
        finding.facts.remove(PROPOSED);
        finding.facts.remove(FILLS_NOTHING);
    }
    findings
}

/// A table that is missing, or a column of it, which statements would bring. A revision that should have brought it
/// counts more: another one would bring it twice elsewhere.
fn missing(finding: &Finding) -> Option<(&str, Option<&str>)> {
    let is_mendable = matches!(finding.fix, Some(Remedy::RunStatements { .. }));
    let table = finding.facts.get("table").filter(|_| is_mendable)?;
    match finding.code {
        Code::SchemaMissingTable => Some((table, None)),
        Code::SchemaMissingColumn => Some((table, Some(finding.facts.get("column")?))),
        _ => None,
    }
}

/// A text in Python.
fn py(text: &str) -> String {
    let escaped: String = text
        .chars()
        .flat_map(|c| match c {
            '\\' | '"' => vec!['\\', c],
            '\n' => vec!['\\', 'n'],
            '\r' => vec!['\\', 'r'],
            c => vec![c],
        })
        .collect();
    format!("\"{escaped}\"")
}

/// A piece of SQL in Python, where SQLAlchemy would take `:name` for a parameter (`sqlalchemy.text`). The colons of a
/// cast are none.
fn clause(sql: &str) -> String {
    let mut escaped = String::with_capacity(sql.len());
    let mut chars = sql.chars().peekable();
    let mut before = None;
    while let Some(c) = chars.next() {
        if c == ':' && before != Some(':') && chars.peek() != Some(&':') {
            escaped.push('\\');
        }
        escaped.push(c);
        before = Some(c);
    }
    py(&escaped)
}

fn list(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| py(name)).collect();
    format!("[{}]", names.join(", "))
}

impl Sides<'_> {
    fn step(&self, finding: &Finding) -> Option<Step> {
        let table = finding.facts.get("table")?;
        let same = |name: &str| self.dialect.same_name(name, table);
        let expected = self.expected.iter().find(|one| same(&one.name))?;
        if expected
            .schema
            .as_ref()
            .is_some_and(|name| !name.is_empty())
        {
            return None;
        }
        if finding.code == Code::SchemaMissingTable {
            return self.create_table(expected);
        }
        let live = self.live.iter().find(|one| same(&one.name))?;
        if finding.code == Code::SchemaMissingIndex {
            let index = finding.facts.get("index")?;
            let named = |one: &&Index| one.name.as_ref() == Some(index);
            let index = expected.indexes.iter().find(named)?;
            return Some(Step {
                upgrade: vec![create_index(expected, index)?],
                downgrade: vec![drop_index(expected, index)?],
                message: format!("add index {}", index.name.as_deref()?),
                lost: format!("index {} is made", index.name.as_deref()?),
            });
        }
        let column = finding.facts.get("column")?;
        let lost = finding.facts.get(PROPOSED).cloned();
        let wanted = expected.column(self.dialect, column);
        match finding.code {
            Code::SchemaMissingColumn => {
                let unfilled = finding.facts.get(FILLS_NOTHING).map(String::as_str);
                self.add_column(expected, wanted?, lost, unfilled)
            }
            Code::SchemaExtraColumn | Code::SchemaNullableMismatch => {
                let lost = lost?;
                let to = |nullable: &str| {
                    self.alter(&live.name, column, &format!("nullable={nullable}"))
                };
                Some(Step {
                    upgrade: to("True"),
                    downgrade: to("False"),
                    message: format!("let {}.{column} be null", live.name),
                    lost,
                })
            }
            Code::SchemaTypeMismatch => {
                let (wanted, lost) = (wanted?, lost?);
                if let Some(Remedy::RunStatements { statements, .. }) = &finding.fix
                    && wanted.labels.is_some()
                {
                    return Some(Step {
                        upgrade: statements
                            .iter()
                            .map(|one| format!("op.execute({})", clause(one)))
                            .collect(),
                        downgrade: Vec::new(),
                        message: format!("add values of {}.{column}", live.name),
                        lost,
                    });
                }
                let kind = wanted.python.as_ref()?;
                let mut change = format!("type_={kind}");
                if self.dialect == Dialect::Postgres {
                    let cast = format!("\"{column}\"::{}", wanted.kind.as_deref()?);
                    change.push_str(&format!(", postgresql_using={}", py(&cast)));
                }
                Some(Step {
                    upgrade: self.alter(&live.name, column, &change),
                    downgrade: Vec::new(),
                    message: format!("change type of {}.{column}", live.name),
                    lost,
                })
            }
            _ => None,
        }
    }

    /// `op.alter_column`; on SQLite within a batch, which makes the table anew.
    fn alter(&self, table: &str, column: &str, change: &str) -> Vec<String> {
        match self.dialect {
            Dialect::Postgres => vec![format!(
                "op.alter_column({}, {}, {change})",
                py(table),
                py(column)
            )],
            Dialect::Sqlite => vec![
                format!("with op.batch_alter_table({}) as batch_op:", py(table)),
                format!("\tbatch_op.alter_column({}, {change})", py(column)),
            ],
        }
    }

    /// `unfilled`: why no row gets a value, if so ([`FILLS_NOTHING`]).
    fn add_column(
        &self,
        table: &Table,
        column: &Column,
        lost: Option<String>,
        unfilled: Option<&str>,
    ) -> Option<Step> {
        if column.primary_key || column.generated || !column.own_checks.is_empty() {
            return None;
        }
        let key = table.constraints.iter().find(|one| match &one.rule {
            Rule::ForeignKey { columns, .. } => columns.as_slice() == [column.name.clone()],
            _ => false,
        });
        let is_empty = unfilled == Some(NO_ROWS);
        let stays_null = unfilled == Some(STAYS_NULL);
        let given = column
            .server_default
            .clone()
            .filter(|text| !text.is_empty());
        let filler = column.filler.as_ref().map(|filler| filler.value.clone());
        let fills = !column.nullable && !stays_null && !is_empty && given.is_none();
        let default = match fills {
            true => Some(column.default.clone().or(filler)?),
            false => given.clone(),
        };
        let nullable = column.nullable || stays_null;
        let kind = column.python.as_ref()?;
        let mut defined = format!("sa.Column({}, {kind}", py(&column.name));
        if let Some(default) = &default {
            defined.push_str(&format!(", server_default=sa.text({})", clause(default)));
        }
        defined.push_str(match nullable {
            true => ", nullable=True)",
            false => ", nullable=False)",
        });
        let name = py(&table.name);
        let mut after = Vec::new();
        let mut before_drop = Vec::new();
        for index in &table.indexes {
            if index
                .columns
                .iter()
                .flatten()
                .any(|one| *one == column.name)
            {
                after.push(create_index(table, index)?);
                before_drop.push(drop_index(table, index)?);
            }
        }
        let is_unique_alone = table.constraints.iter().any(|one| match &one.rule {
            Rule::Unique { columns } => columns.contains(&column.name),
            _ => false,
        });
        if is_unique_alone || column.checked {
            return None;
        }
        // Without rows, and on SQLite for whatever is more than the column itself, the table is made anew.
        let needs_batch =
            self.dialect == Dialect::Sqlite && (key.is_some() || !nullable && default.is_none());
        let mut upgrade = Vec::new();
        if needs_batch {
            upgrade.push(format!("with op.batch_alter_table({name}) as batch_op:"));
            upgrade.push(format!("\tbatch_op.add_column({defined})"));
        } else {
            upgrade.push(format!("op.add_column({name}, {defined})"));
        }
        if let Some(key) = key
            && let Rule::ForeignKey {
                table: to,
                targets,
                columns,
                schema,
                on_delete,
                on_update,
            } = &key.rule
        {
            if schema.as_ref().is_some_and(|name| !name.is_empty()) {
                return None;
            }
            let named = key
                .name
                .clone()
                .unwrap_or_else(|| format!("fk_{}_{}_{to}", table.name, column.name));
            let mut options = String::new();
            for (option, value) in [("ondelete", on_delete), ("onupdate", on_update)] {
                if let Some(value) = value {
                    options.push_str(&format!(", {option}={}", py(value)));
                }
            }
            let (columns, targets, to) = (list(columns), list(targets), py(to));
            upgrade.push(match needs_batch {
                true => format!(
                    "\tbatch_op.create_foreign_key({}, {to}, {columns}, {targets}{options})",
                    py(&named)
                ),
                false => format!(
                    "op.create_foreign_key({}, {name}, {to}, {columns}, {targets}{options})",
                    py(&named)
                ),
            });
        }
        upgrade.extend(after);
        if fills && self.dialect == Dialect::Postgres {
            // It is for the rows that exist.
            upgrade.push(format!(
                "op.alter_column({name}, {}, server_default=None)",
                py(&column.name)
            ));
        }
        let mut downgrade = before_drop;
        match self.dialect {
            Dialect::Postgres => {
                downgrade.push(format!("op.drop_column({name}, {})", py(&column.name)));
            }
            Dialect::Sqlite => {
                downgrade.push(format!("with op.batch_alter_table({name}) as batch_op:"));
                downgrade.push(format!("\tbatch_op.drop_column({})", py(&column.name)));
            }
        }
        Some(Step {
            upgrade,
            downgrade,
            message: format!("add {} to {}", column.name, table.name),
            lost: lost.unwrap_or_else(|| {
                format!("add column {}.{}; nothing is lost", table.name, column.name)
            }),
        })
    }

    fn create_table(&self, table: &Table) -> Option<Step> {
        let mut parts = Vec::new();
        for column in &table.columns {
            if column.generated {
                return None;
            }
            let kind = column.python.as_ref()?;
            let default = column
                .server_default
                .as_ref()
                .map_or_else(String::new, |text| {
                    format!(", server_default=sa.text({})", clause(text))
                });
            let nullable = match column.nullable {
                true => "True",
                false => "False",
            };
            parts.push(format!(
                "sa.Column({}, {kind}{default}, nullable={nullable})",
                py(&column.name)
            ));
        }
        for constraint in &table.constraints {
            let mut options = constraint
                .name
                .as_ref()
                .map_or_else(String::new, |name| format!(", name={}", py(name)));
            let plain = |names: &[String]| {
                let names: Vec<String> = names.iter().map(|name| py(name)).collect();
                names.join(", ")
            };
            parts.push(match &constraint.rule {
                Rule::PrimaryKey { columns } => {
                    format!("sa.PrimaryKeyConstraint({}{options})", plain(columns))
                }
                Rule::Unique { columns } => {
                    format!("sa.UniqueConstraint({}{options})", plain(columns))
                }
                Rule::Check { text, .. } => {
                    format!("sa.CheckConstraint({}{options})", clause(text.as_ref()?))
                }
                Rule::ForeignKey {
                    columns,
                    schema,
                    table,
                    targets,
                    on_delete,
                    on_update,
                } => {
                    if schema.as_ref().is_some_and(|name| !name.is_empty()) {
                        return None;
                    }
                    for (option, value) in [("ondelete", on_delete), ("onupdate", on_update)] {
                        if let Some(value) = value {
                            options.push_str(&format!(", {option}={}", py(value)));
                        }
                    }
                    let targets: Vec<String> =
                        targets.iter().map(|one| format!("{table}.{one}")).collect();
                    format!(
                        "sa.ForeignKeyConstraint({}, {}{options})",
                        list(columns),
                        list(&targets)
                    )
                }
            });
        }
        let mut upgrade = vec![
            "op.create_table(".to_owned(),
            format!("\t{},", py(&table.name)),
        ];
        upgrade.extend(parts.iter().map(|part| format!("\t{part},")));
        upgrade.push(")".to_owned());
        for index in &table.indexes {
            upgrade.push(create_index(table, index)?);
        }
        Some(Step {
            upgrade,
            downgrade: vec![format!("op.drop_table({})", py(&table.name))],
            message: format!("create {}", table.name),
            lost: format!("create table {}; nothing is lost", table.name),
        })
    }
}

fn create_index(table: &Table, index: &Index) -> Option<String> {
    let columns: Option<Vec<String>> = index.columns.iter().cloned().collect();
    if index.partial || index.method.is_some() {
        return None;
    }
    let unique = match index.unique {
        true => "True",
        false => "False",
    };
    Some(format!(
        "op.create_index({}, {}, {}, unique={unique})",
        py(index.name.as_deref()?),
        py(&table.name),
        list(&columns?)
    ))
}

fn drop_index(table: &Table, index: &Index) -> Option<String> {
    Some(format!(
        "op.drop_index({}, table_name={})",
        py(index.name.as_deref()?),
        py(&table.name)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_colon_of_sql_is_no_parameter_and_a_cast_stays_one() {
        for (sql, expected) in [
            ("'{\"a\": :b}'", r#""'{\"a\"\\: \\:b}'""#),
            ("'12:30'::time", r#""'12\\:30'::time""#),
            ("'x'::text", r#""'x'::text""#),
        ] {
            assert_eq!(clause(sql), expected);
        }
    }

    #[test]
    fn a_column_of_an_empty_table_gets_no_default_by_the_fact_and_not_by_the_words() {
        let column = Column {
            name: "a".to_owned(),
            python: Some("sa.Integer()".to_owned()),
            ..Column::default()
        };
        let table = Table {
            name: "t".to_owned(),
            ..Table::default()
        };
        let sides = Sides {
            dialect: Dialect::Postgres,
            expected: &[],
            live: &[],
        };
        let added = |unfilled| {
            let lost = Some("whatever is said".to_owned());
            let step = sides.add_column(&table, &column, lost, unfilled);
            step.map(|step| step.upgrade.join("\n"))
        };
        assert!(added(Some(NO_ROWS)).unwrap().contains("nullable=False"));
        assert!(added(Some(STAYS_NULL)).unwrap().contains("nullable=True"));
        // Rows that exist need a value, and none is known.
        assert_eq!(added(None), None);
    }
}
