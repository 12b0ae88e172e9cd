//! The statements that add to a PostgreSQL database what it lacks, and why a person has to run those that
//! are not run automatically.

use std::collections::BTreeSet;

use crate::database::model::{Column, DatabaseSchema, Dialect, Rule, Table};
use crate::database::postgres::connection::Postgres;
use crate::database::postgres::user_rights::UserRights;
use crate::database::sql::addition::is_constant;
use crate::database::sql::quote::{identifier, literal};
use crate::database::unreachable::Unreachable;

/// What the server lets its user do.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rights {
    /// Why nothing can be changed automatically, if so; the end of a sentence.
    pub refused: Option<String>,
    /// Enumeration types, as they are written: `mood`, `shop.mood`.
    enums: BTreeSet<String>,
    /// A kill may have left a database of ours.
    pub has_leftovers: bool,
}

impl Rights {
    pub(crate) fn read(server: &Postgres) -> Result<Self, Unreachable> {
        let user = UserRights::ask(server)?;
        let rows = server
            .rows("SELECT current_schema(), has_schema_privilege(current_schema(), 'CREATE')")?;
        let of = |at: usize| rows.first().and_then(|row| row.get(at)).unwrap_or_default();
        let refused = user.why_no_clone().or_else(|| match (of(0), of(1)) {
            (_, "t") => None,
            ("", _) => Some("no schema of the search path is there".to_owned()),
            (schema, _) => Some(format!(
                "the user {} may not create anything in schema {schema}",
                user.name
            )),
        });
        let mut enums = BTreeSet::new();
        for row in server.rows(
            "SELECT format_type(t.oid, NULL), quote_ident(n.nspname) || '.' || quote_ident(t.typname) \
             FROM pg_type AS t JOIN pg_namespace AS n ON n.oid = t.typnamespace WHERE t.typtype = 'e'",
        )? {
            enums.extend((0..2).filter_map(|at| row.get(at).map(str::to_owned)));
        }
        let left = server.rows(
            "SELECT 1 FROM pg_database WHERE datname ~ '^ubs_(trial|scratch)_[0-9]+_[0-9a-f]{16}$' LIMIT 1",
        )?;
        Ok(Self {
            refused,
            enums,
            has_leftovers: !left.is_empty(),
        })
    }
}

/// Statements, and why they are left to a person, if they are.
pub(crate) struct Proposed {
    pub statements: Vec<String>,
    pub why_not: Option<String>,
}

impl From<Result<Vec<String>, String>> for Proposed {
    fn from(result: Result<Vec<String>, String>) -> Self {
        match result {
            Ok(statements) => Self {
                statements,
                why_not: None,
            },
            Err(why) => Self {
                statements: Vec::new(),
                why_not: Some(why),
            },
        }
    }
}

/// Creates a table, after the tables and types that it needs and that are missing too.
pub(crate) fn create_table(
    live: &DatabaseSchema,
    table: &Table,
    expected: &[Table],
    rights: &Rights,
) -> Proposed {
    let mut statements = Vec::new();
    let mut done: Vec<*const Table> = Vec::new();
    let mut open = Vec::new();
    let why_not = add_table(
        live,
        table,
        expected,
        rights,
        &mut statements,
        &mut done,
        &mut open,
    );
    Proposed {
        statements,
        why_not: why_not.err(),
    }
}

fn add_table(
    live: &DatabaseSchema,
    table: &Table,
    expected: &[Table],
    rights: &Rights,
    statements: &mut Vec<String>,
    done: &mut Vec<*const Table>,
    open: &mut Vec<*const Table>,
) -> Result<(), String> {
    let this = std::ptr::from_ref(table);
    if done.contains(&this) {
        return Ok(());
    }
    if open.contains(&this) {
        return Err("missing tables refer to each other in a circle".to_owned());
    }
    open.push(this);
    for constraint in &table.constraints {
        let Rule::ForeignKey {
            schema, table: to, ..
        } = &constraint.rule
        else {
            continue;
        };
        let needed = expected
            .iter()
            .find(|other| other.name == *to && other.schema == *schema);
        match needed {
            Some(needed)
                if std::ptr::from_ref(needed) != this
                    && live.table(schema.as_deref(), to).is_none() =>
            {
                add_table(live, needed, expected, rights, statements, done, open)?;
            }
            _ => {}
        }
    }
    for column in &table.columns {
        add_enum(column, rights, statements);
    }
    let ddl = table
        .ddl
        .clone()
        .ok_or_else(|| match table.problem.as_str() {
            "" => "its definition is not known as one statement".to_owned(),
            problem => format!("PostgreSQL's dialect cannot write its definition: {problem}"),
        })?;
    statements.push(ddl);
    statements.extend(table.indexes.iter().filter_map(|index| index.ddl.clone()));
    done.push(this);
    Ok(())
}

/// The enumeration type of a column, if the database has none of that name.
fn add_enum(column: &Column, rights: &Rights, statements: &mut Vec<String>) {
    let (Some(labels), Some(kind)) = (&column.labels, &column.kind) else {
        return;
    };
    let name = kind.trim_end_matches("[]");
    let labels: Vec<String> = labels.iter().map(|label| literal(label)).collect();
    let statement = format!("CREATE TYPE {name} AS ENUM ({})", labels.join(", "));
    if !rights.enums.contains(name) && !statements.contains(&statement) {
        statements.push(statement);
    }
}

/// Adds a column to a table with rows, without touching one
/// (postgresql.org/docs/current/sql-altertable.html, notes); or what a person does, and why.
pub(crate) fn add_column(
    table: &Table,
    column: &Column,
    live: &Table,
    rights: &Rights,
) -> Proposed {
    let place = match &live.schema {
        Some(schema) => format!("{}.{}", identifier(schema), identifier(&live.name)),
        None => identifier(&live.name),
    };
    let kind = column.kind.clone().unwrap_or_default();
    let name = if column.quoted.is_empty() {
        identifier(&column.name)
    } else {
        column.quoted.clone()
    };
    let mut statements = Vec::new();
    add_enum(column, rights, &mut statements);
    let given = column
        .server_default
        .as_deref()
        .filter(|text| !text.is_empty());
    let is_not_null = |text: &&str| !text.trim().eq_ignore_ascii_case("NULL");
    let default = match given {
        None if !column.nullable => column.default.as_deref(),
        given => given,
    }
    .filter(is_not_null);
    let lacks_value = !column.nullable && default.is_none();
    let mut alter = format!("ALTER TABLE {place} ADD COLUMN {name} {kind}");
    if let Some(default) = default {
        alter.push_str(&format!(" DEFAULT {default}"));
    }
    if !column.nullable && !lacks_value {
        alter.push_str(" NOT NULL");
    }
    if column.unique {
        let named = table.constraints.iter().find_map(|constraint| {
            match (&constraint.rule, &constraint.name) {
                (Rule::Unique { columns }, Some(name)) if *columns == [column.name.clone()] => {
                    Some(name)
                }
                _ => None,
            }
        });
        if let Some(name) = named {
            alter.push_str(&format!(" CONSTRAINT {}", identifier(name)));
        }
        if named.is_some() || !has_unique_index(table, column) {
            alter.push_str(" UNIQUE");
        }
    }
    if let Some(references) = &column.references {
        alter.push_str(&format!(" {references}"));
    }
    if !column.own_checks.is_empty() {
        alter.push_str(&format!(" {}", column.own_checks));
    }
    statements.push(alter);
    if lacks_value {
        statements.push(format!(
            "UPDATE {place} SET {name} = <the value of the rows that exist>"
        ));
        statements.push(format!(
            "ALTER TABLE {place} ALTER COLUMN {name} SET NOT NULL"
        ));
    }
    let mut why_not = why_not(column, live, default, lacks_value);
    for index in &table.indexes {
        let names: Option<Vec<&str>> = index.columns.iter().map(Option::as_deref).collect();
        let is_complete = names.is_some_and(|names| {
            names.contains(&column.name.as_str())
                && names
                    .iter()
                    .all(|n| *n == column.name || live.column(Dialect::Postgres, n).is_some())
        });
        if !is_complete {
            continue;
        }
        match &index.ddl {
            Some(ddl) => statements.push(ddl.clone()),
            None => {
                why_not.get_or_insert_with(|| {
                    "one of its indexes cannot be written for PostgreSQL".to_owned()
                });
            }
        }
    }
    Proposed {
        statements,
        why_not,
    }
}

fn has_unique_index(table: &Table, column: &Column) -> bool {
    table
        .indexes
        .iter()
        .any(|index| index.unique && !index.partial && index.columns == [Some(column.name.clone())])
}

/// Why a column is not added automatically.
fn why_not(
    column: &Column,
    live: &Table,
    default: Option<&str>,
    lacks_value: bool,
) -> Option<String> {
    let why = if column.kind.is_none() {
        "PostgreSQL has no type for it"
    } else if live.is_view {
        "it is a view there"
    } else if column.primary_key {
        "a primary key cannot be added to a table that exists"
    } else if column.generated {
        "its value is generated, so every row would be written anew"
    } else if column.checked {
        "a constraint of the table belongs to it, which ADD COLUMN cannot bring"
    } else if column.server_default.as_deref() == Some("") {
        "its default cannot be written for PostgreSQL"
    } else if lacks_value {
        "it must not be NULL and has no constant default for the rows that exist"
    } else if default.is_some_and(|text| !is_constant(text)) {
        "its default is no constant, so every row would be written anew"
    } else if column.unique && default.is_some() {
        "it is unique, and all rows that exist would get the same value"
    } else if column.references.is_some() && default.is_some() {
        "it references another table, and its default might reference nothing there"
    } else {
        return None;
    };
    Some(why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, kind: &str) -> Column {
        Column {
            name: name.into(),
            kind: Some(kind.into()),
            nullable: true,
            quoted: name.into(),
            ..Column::default()
        }
    }

    fn live() -> Table {
        Table {
            name: "t".into(),
            schema: Some("public".into()),
            columns: vec![column("id", "integer")],
            ..Table::default()
        }
    }

    fn added(column: Column) -> (Vec<String>, Option<String>) {
        let mut table = live();
        table.columns.push(column.clone());
        let proposed = add_column(&table, &column, &live(), &Rights::default());
        (proposed.statements, proposed.why_not)
    }

    #[test]
    fn a_column_is_added_where_no_row_is_touched() {
        let (statements, why_not) = added(column("x", "INTEGER"));
        assert_eq!(
            statements,
            ["ALTER TABLE \"public\".\"t\" ADD COLUMN x INTEGER"]
        );
        assert_eq!(why_not, None);
        let filled = Column {
            nullable: false,
            default: Some("0".into()),
            ..column("x", "INTEGER")
        };
        assert_eq!(
            added(filled).0,
            ["ALTER TABLE \"public\".\"t\" ADD COLUMN x INTEGER DEFAULT 0 NOT NULL"]
        );
        let mood = Column {
            labels: Some(vec!["a'b".into()]),
            unique: true,
            ..column("x", "mood[]")
        };
        assert_eq!(
            added(mood).0,
            [
                "CREATE TYPE mood AS ENUM ('a''b')",
                "ALTER TABLE \"public\".\"t\" ADD COLUMN x mood[] UNIQUE"
            ]
        );
    }

    #[test]
    fn what_needs_a_person_says_why_and_what_to_run() {
        let (statements, why) = added(Column {
            nullable: false,
            ..column("x", "INTEGER")
        });
        assert!(statements[1].starts_with("UPDATE") && statements[2].ends_with("SET NOT NULL"));
        assert!(why.unwrap().contains("no constant default"));
        for hard in [
            Column {
                generated: true,
                ..column("x", "INTEGER")
            },
            Column {
                checked: true,
                ..column("x", "INTEGER")
            },
            Column {
                server_default: Some("gen_random_uuid()".into()),
                ..column("x", "UUID")
            },
            Column {
                primary_key: true,
                ..column("x", "INTEGER")
            },
        ] {
            let (statements, why) = added(hard.clone());
            assert!(why.is_some() && !statements.is_empty(), "{hard:?}");
        }
    }

    #[test]
    fn tables_come_after_those_they_refer_to_and_circles_need_a_person() {
        let table = |name: &str, to: &str| Table {
            name: name.into(),
            ddl: Some(format!("CREATE TABLE {name} (x int)")),
            constraints: vec![
                serde_json::from_value(serde_json::json!({
                    "name": null, "kind": "foreign_key", "columns": [], "schema": null, "table": to,
                    "targets": [], "on_delete": null, "on_update": null,
                }))
                .unwrap(),
            ],
            ..Table::default()
        };
        let none = DatabaseSchema {
            dialect: Dialect::Postgres,
            tables: vec![],
            ..DatabaseSchema::default()
        };
        let rights = Rights::default();
        let all = [table("c", "b"), table("b", "a"), table("a", "a")];
        let proposed = create_table(&none, &all[0], &all, &rights);
        let names: Vec<&str> = proposed.statements.iter().map(|s| &s[13..14]).collect();
        assert_eq!((names, proposed.why_not), (vec!["a", "b", "c"], None));
        let all = [table("a", "b"), table("b", "a")];
        let proposed = create_table(&none, &all[0], &all, &rights);
        assert!(proposed.why_not.unwrap().contains("circle"));
    }
}
