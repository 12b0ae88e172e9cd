//! The schema of a PostgreSQL database, from its catalog (postgresql.org/docs/current/catalogs.html).
//! PostgreSQL 12 or newer.

use std::collections::HashMap;

use tokio_postgres::SimpleQueryRow;

use crate::database::model::{Column, Constraint, DatabaseSchema, Dialect, Index, Rule, Table};
use crate::database::postgres::connection::Postgres;
use crate::database::sql::quote::literal;
use crate::database::unreachable::Unreachable;

/// Tables that are read from a database.
const TABLES_MAX: usize = 10_000;

/// Reads what the search path leads to, and what lies in the schemas `wanted`.
pub(crate) fn read_schema(
    server: &Postgres,
    wanted: &[&str],
) -> Result<DatabaseSchema, Unreachable> {
    let mut named: Vec<String> = wanted.iter().map(|name| literal(name)).collect();
    named.sort();
    named.dedup();
    let named = named.join(", ");
    // Tables of extensions are theirs.
    let ours = format!(
        "c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname <> 'information_schema' \
         AND n.nspname NOT LIKE 'pg\\_%' AND (pg_table_is_visible(c.oid) OR n.nspname = ANY (ARRAY[{named}]::text[])) \
         AND NOT EXISTS (SELECT 1 FROM pg_depend AS e WHERE e.classid = 'pg_class'::regclass \
         AND e.objid = c.oid AND e.deptype = 'e')"
    );
    let from = "pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace";
    let mut tables: Vec<Table> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for row in server.rows(&format!(
        "SELECT c.oid, n.nspname, c.relname, c.relkind IN ('v', 'm'), pg_table_is_visible(c.oid), c.relispartition, \
         EXISTS (SELECT 1 FROM pg_trigger AS g WHERE g.tgrelid = c.oid AND NOT g.tgisinternal AND g.tgtype & 7 = 7) \
         FROM {from} WHERE {ours} ORDER BY n.nspname, c.relname LIMIT {TABLES_MAX}"
    ))? {
        places.insert(text(&row, 0), tables.len());
        tables.push(Table {
            schema: Some(text(&row, 1)),
            name: text(&row, 2),
            is_view: is_true(&row, 3),
            is_hidden: !is_true(&row, 4),
            is_partition: is_true(&row, 5),
            has_triggers: is_true(&row, 6),
            ..Table::default()
        });
    }
    for row in server.rows(&format!(
        "SELECT a.attrelid, a.attname, format_type(a.atttypid, a.atttypmod), \
         a.attnotnull OR t.typtype = 'd' AND t.typnotnull, \
         coalesce(pg_get_expr(d.adbin, d.adrelid), CASE WHEN t.typtype = 'd' THEN t.typdefault END), a.attgenerated <> '' OR a.attidentity <> '', \
         CASE WHEN t.typtype = 'd' THEN format_type(t.typbasetype, t.typtypmod) END, \
         (SELECT json_agg(l.enumlabel ORDER BY l.enumsortorder) FROM pg_enum AS l \
          WHERE l.enumtypid = CASE WHEN t.typcategory = 'A' THEN t.typelem ELSE t.oid END), \
         a.attgenerated <> '', a.attidentity, o.collname \
         FROM {from} JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
         JOIN pg_type AS t ON t.oid = a.atttypid \
         LEFT JOIN pg_collation AS o ON o.oid = a.attcollation AND a.attcollation <> t.typcollation \
         LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum \
         WHERE {ours} ORDER BY a.attrelid, a.attnum"
    ))? {
        if let Some(table) = table_of(&mut tables, &places, &row) {
            table.columns.push(Column {
                name: text(&row, 1),
                kind: row.get(2).map(str::to_owned),
                nullable: !is_true(&row, 3),
                server_default: row.get(4).map(str::to_owned),
                generated: is_true(&row, 5),
                base: row.get(6).map(str::to_owned),
                labels: row.get(7).and_then(|json| serde_json::from_str(json).ok()),
                computed: row.get(4).filter(|_| is_true(&row, 8)).map(str::to_owned),
                identity: match row.get(9) {
                    Some("a") => Some("always".to_owned()),
                    Some("d") => Some("by default".to_owned()),
                    _ => None,
                },
                collation: row.get(10).map(str::to_owned),
                ..Column::default()
            });
        }
    }
    for row in server.rows(&format!(
        "SELECT k.conrelid, k.conname, k.contype, {own}, fn.nspname, f.relname, {other}, k.confdeltype, k.confupdtype, \
         k.condeferrable, k.condeferred, pg_get_expr(k.conbin, k.conrelid) \
         FROM {from} JOIN pg_constraint AS k ON k.conrelid = c.oid AND k.contype IN ('p', 'u', 'f', 'c') \
         LEFT JOIN pg_class AS f ON f.oid = k.confrelid LEFT JOIN pg_namespace AS fn ON fn.oid = f.relnamespace \
         WHERE {ours} AND NOT (k.contype = 'f' AND k.conparentid <> 0 AND f.relispartition AND NOT c.relispartition) \
         ORDER BY k.conrelid, k.conname",
        own = names_of("k.conrelid", "k.conkey"),
        other = names_of("k.confrelid", "k.confkey"),
    ))? {
        if let Some(table) = table_of(&mut tables, &places, &row) {
            let columns = names(&row, 3);
            let rule = match row.get(2) {
                Some("p") => {
                    for column in &mut table.columns {
                        column.primary_key = columns.contains(&column.name);
                    }
                    Rule::PrimaryKey { columns }
                }
                Some("u") => Rule::Unique { columns },
                Some("f") => Rule::ForeignKey {
                    columns,
                    schema: row.get(4).map(str::to_owned),
                    table: text(&row, 5),
                    targets: names(&row, 6),
                    on_delete: action(&row, 7),
                    on_update: action(&row, 8),
                },
                _ => Rule::Check {
                    columns,
                    text: row.get(11).map(str::to_owned),
                },
            };
            table.constraints.push(Constraint {
                deferrable: is_true(&row, 9),
                deferred: is_true(&row, 10),
                ..Constraint::new(row.get(1).map(str::to_owned), rule)
            });
        }
    }
    for row in server.rows(&format!(
        "SELECT i.indrelid, x.relname, i.indisunique, i.indpred IS NOT NULL, \
         EXISTS (SELECT 1 FROM pg_constraint AS k WHERE k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x')) \
         OR x.relispartition, \
         (SELECT json_agg(a.attname ORDER BY s.at) FROM generate_series(0, i.indnkeyatts - 1) AS s(at) \
          LEFT JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[s.at] AND a.attnum <> 0), \
         (SELECT json_agg(CASE WHEN i.indkey[s.at] = 0 THEN pg_get_indexdef(i.indexrelid, s.at + 1, false) END \
          ORDER BY s.at) FROM generate_series(0, i.indnkeyatts - 1) AS s(at)), \
         pg_get_expr(i.indpred, i.indrelid), m.amname, to_jsonb(i) ->> 'indnullsnotdistinct' \
         FROM {from} JOIN pg_index AS i ON i.indrelid = c.oid JOIN pg_class AS x ON x.oid = i.indexrelid \
         JOIN pg_am AS m ON m.oid = x.relam \
         WHERE i.indisvalid AND {ours} ORDER BY i.indrelid, x.relname"
    ))? {
        if let Some(table) = table_of(&mut tables, &places, &row) {
            table.indexes.push(Index {
                name: row.get(1).map(str::to_owned),
                unique: is_true(&row, 2),
                partial: is_true(&row, 3),
                is_implied: is_true(&row, 4),
                columns: list(&row, 5),
                expressions: list(&row, 6),
                condition: row.get(7).map(str::to_owned),
                method: row.get(8).filter(|name| *name != "btree").map(str::to_owned),
                // Before version 15 there is no such thing.
                nulls_not_distinct: row.get(9) == Some("true"),
                ddl: None,
            });
        }
    }
    let collation =
        server.rows("SELECT datcollate FROM pg_database WHERE datname = current_database()")?;
    Ok(DatabaseSchema {
        dialect: Dialect::Postgres,
        collation: collation.first().map(|row| text(row, 0)),
        tables,
    })
}

/// The names of a list of column numbers, as JSON.
fn names_of(table: &str, numbers: &str) -> String {
    format!(
        "(SELECT json_agg(a.attname ORDER BY s.at) FROM unnest({numbers}) WITH ORDINALITY AS s(number, at) \
         JOIN pg_attribute AS a ON a.attrelid = {table} AND a.attnum = s.number)"
    )
}

fn table_of<'t>(
    tables: &'t mut [Table],
    places: &HashMap<String, usize>,
    row: &SimpleQueryRow,
) -> Option<&'t mut Table> {
    tables.get_mut(*places.get(row.get(0)?)?)
}

fn text(row: &SimpleQueryRow, at: usize) -> String {
    row.get(at).unwrap_or_default().to_owned()
}

fn is_true(row: &SimpleQueryRow, at: usize) -> bool {
    row.get(at) == Some("t")
}

fn names(row: &SimpleQueryRow, at: usize) -> Vec<String> {
    list(row, at)
}

/// A list in JSON.
fn list<T: serde::de::DeserializeOwned>(row: &SimpleQueryRow, at: usize) -> Vec<T> {
    row.get(at)
        .and_then(|json| serde_json::from_str(json).ok())
        .unwrap_or_default()
}

/// `pg_constraint.confdeltype` in SQL's words.
fn action(row: &SimpleQueryRow, at: usize) -> Option<String> {
    let word = match row.get(at)? {
        "r" => "RESTRICT",
        "c" => "CASCADE",
        "n" => "SET NULL",
        "d" => "SET DEFAULT",
        _ => return None,
    };
    Some(word.to_owned())
}
