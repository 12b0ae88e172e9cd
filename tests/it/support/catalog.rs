//! What a database has, read without the program's own code: the mutation tests judge by it.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use super::postgres::Server;

/// The tables of one database by their names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Catalog {
    pub tables: BTreeMap<String, Table>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    pub name: String,
    pub columns: Vec<Column>,
    /// Indexes that no constraint made.
    pub indexes: Vec<Index>,
    pub uniques: Vec<Unique>,
    pub foreign_keys: Vec<ForeignKey>,
    /// SQLite: the statement that made it.
    #[serde(default)]
    pub sql: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    pub name: String,
    pub kind: String,
    pub not_null: bool,
    pub default: Option<String>,
    pub in_key: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    pub name: String,
    pub unique: bool,
    /// `None` is an expression.
    pub columns: Vec<Option<String>>,
    /// SQLite: the statement that made it.
    #[serde(default)]
    pub sql: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unique {
    /// PostgreSQL only.
    pub name: Option<String>,
    pub columns: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignKey {
    /// PostgreSQL only.
    pub name: Option<String>,
    pub columns: Vec<String>,
    pub to: String,
    pub targets: Vec<String>,
    #[serde(default)]
    pub on_delete: String,
}

/// Something in a database: a table, and the name or the columns (`a,b`) of what is in it; empty for the
/// table itself.
pub type Place = (String, String);

impl Catalog {
    pub fn of_sqlite(connection: &Connection) -> rusqlite::Result<Self> {
        let mut tables = BTreeMap::new();
        let mut names = connection.prepare(
            "SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'",
        )?;
        let found: Vec<(String, String)> = names
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<rusqlite::Result<_>>()?;
        for (name, sql) in found {
            let mut table = Table {
                name: name.clone(),
                sql,
                ..Table::default()
            };
            let mut columns = connection.prepare_cached(
                "SELECT name, type, \"notnull\", dflt_value, pk > 0 FROM pragma_table_xinfo(?1)",
            )?;
            table.columns = columns
                .query_map([&name], |row| {
                    Ok(Column {
                        name: row.get(0)?,
                        kind: row.get(1)?,
                        not_null: row.get(2)?,
                        default: row.get(3)?,
                        in_key: row.get(4)?,
                    })
                })?
                .collect::<rusqlite::Result<_>>()?;
            let mut indexes = connection.prepare_cached(
                "SELECT l.name, l.\"unique\", l.origin, coalesce(s.sql, '') FROM pragma_index_list(?1) AS l \
                 LEFT JOIN sqlite_schema AS s ON s.type = 'index' AND s.name = l.name ORDER BY l.name",
            )?;
            let found: Vec<(String, bool, String, String)> = indexes
                .query_map([&name], |row| {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
                })?
                .collect::<rusqlite::Result<_>>()?;
            for (index, unique, origin, sql) in found {
                let mut parts = connection
                    .prepare_cached("SELECT name FROM pragma_index_info(?1) ORDER BY seqno")?;
                let columns: Vec<Option<String>> = parts
                    .query_map([&index], |row| row.get(0))?
                    .collect::<rusqlite::Result<_>>()?;
                match origin.as_str() {
                    "c" => table.indexes.push(Index {
                        name: index,
                        unique,
                        columns,
                        sql,
                    }),
                    "u" => table.uniques.push(Unique {
                        name: None,
                        columns: columns.into_iter().flatten().collect(),
                    }),
                    _ => {}
                }
            }
            table.uniques.sort_by(|a, b| a.columns.cmp(&b.columns));
            let mut keys = connection.prepare_cached(
                "SELECT id, \"table\", \"from\", coalesce(\"to\", ''), on_delete FROM pragma_foreign_key_list(?1) \
                 ORDER BY id, seq",
            )?;
            let mut last = -1_i64;
            let mut rows = keys.query([&name])?;
            while let Some(row) = rows.next()? {
                let id: i64 = row.get(0)?;
                if id != last {
                    table.foreign_keys.push(ForeignKey {
                        name: None,
                        columns: Vec::new(),
                        to: row.get(1)?,
                        targets: Vec::new(),
                        on_delete: row.get(4)?,
                    });
                    last = id;
                }
                let key = table.foreign_keys.last_mut().expect("just pushed");
                key.columns.push(row.get(2)?);
                key.targets.push(row.get(3)?);
            }
            table.foreign_keys.sort_by(|a, b| {
                (&a.columns, &a.to, &a.targets).cmp(&(&b.columns, &b.to, &b.targets))
            });
            tables.insert(name, table);
        }
        Ok(Self { tables })
    }

    /// The tables in the schema `public`.
    pub fn of_postgres(server: &Server, database: &str) -> Self {
        let names = |numbers: &str, relation: &str| {
            format!(
                "(SELECT json_agg(a.attname ORDER BY s.at) FROM unnest({numbers}) WITH ORDINALITY AS s(n, at) \
                 JOIN pg_attribute AS a ON a.attrelid = {relation} AND a.attnum = s.n)"
            )
        };
        let text = server.sql(
            database,
            &format!(
                "SELECT coalesce(json_agg(json_build_object('name', c.relname, \
                 'columns', (SELECT coalesce(json_agg(json_build_object('name', a.attname, \
                   'kind', format_type(a.atttypid, a.atttypmod), 'not_null', a.attnotnull, \
                   'default', pg_get_expr(d.adbin, d.adrelid), 'in_key', EXISTS (SELECT 1 FROM pg_constraint AS k \
                     WHERE k.conrelid = c.oid AND k.contype = 'p' AND a.attnum = ANY (k.conkey))) ORDER BY a.attnum), '[]') \
                   FROM pg_attribute AS a LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum \
                   WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped), \
                 'indexes', (SELECT coalesce(json_agg(json_build_object('name', x.relname, 'unique', i.indisunique, \
                   'columns', (SELECT json_agg(a.attname ORDER BY s.at) FROM generate_series(0, i.indnkeyatts - 1) AS s(at) \
                     LEFT JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = i.indkey[s.at] AND a.attnum <> 0)) \
                   ORDER BY x.relname), '[]') FROM pg_index AS i JOIN pg_class AS x ON x.oid = i.indexrelid \
                   WHERE i.indrelid = c.oid AND NOT EXISTS (SELECT 1 FROM pg_constraint AS k WHERE k.conindid = i.indexrelid \
                   AND k.contype IN ('p', 'u', 'x'))), \
                 'uniques', (SELECT coalesce(json_agg(json_build_object('name', k.conname, 'columns', {own}) \
                   ORDER BY k.conname), '[]') FROM pg_constraint AS k WHERE k.conrelid = c.oid AND k.contype = 'u'), \
                 'foreign_keys', (SELECT coalesce(json_agg(json_build_object('name', k.conname, 'columns', {own}, \
                   'to', f.relname, 'targets', {other}, 'on_delete', k.confdeltype) ORDER BY k.conname), '[]') \
                   FROM pg_constraint AS k JOIN pg_class AS f ON f.oid = k.confrelid \
                   WHERE k.conrelid = c.oid AND k.contype = 'f'))), '[]') \
                 FROM pg_class AS c WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace",
                own = names("k.conkey", "k.conrelid"),
                other = names("k.confkey", "k.confrelid"),
            ),
        );
        let tables: Vec<Table> = serde_json::from_str(&text).expect("the catalog as JSON");
        let tables = tables.into_iter().map(|t| (t.name.clone(), t)).collect();
        Self { tables }
    }

    /// Everything that is in one of the two only, or in both and not the same.
    pub fn changed(&self, other: &Self) -> BTreeSet<Place> {
        let mut places = BTreeSet::new();
        let names: BTreeSet<&String> = self.tables.keys().chain(other.tables.keys()).collect();
        for name in names {
            match (self.tables.get(name), other.tables.get(name)) {
                (Some(a), Some(b)) => {
                    let (a, b) = (a.parts(), b.parts());
                    let of_a = a.iter().filter(|part| !b.contains(part));
                    let of_b = b.iter().filter(|part| !a.contains(part));
                    for (_, called) in of_a.chain(of_b) {
                        places.extend(called.iter().map(|c| (name.clone(), c.clone())));
                    }
                }
                (found, _) => {
                    places.insert((name.clone(), String::new()));
                    let parts = found.map(Table::parts).unwrap_or_default();
                    for (_, called) in parts {
                        places.extend(called.into_iter().map(|c| (name.clone(), c)));
                    }
                }
            }
        }
        places
    }
}

impl Table {
    /// Each thing in it, as a text that says all of it, and the names it goes by.
    fn parts(&self) -> Vec<(String, Vec<String>)> {
        let mut parts = Vec::new();
        for column in &self.columns {
            parts.push((format!("{column:?}"), vec![column.name.clone()]));
        }
        for index in &self.indexes {
            let columns: Vec<&str> = index.columns.iter().flatten().map(|c| &**c).collect();
            parts.push((
                format!("{index:?}"),
                vec![index.name.clone(), columns.join(",")],
            ));
        }
        for unique in &self.uniques {
            let mut called = vec![unique.columns.join(",")];
            called.extend(unique.name.clone());
            parts.push((format!("{unique:?}"), called));
        }
        for key in &self.foreign_keys {
            let mut called = vec![key.columns.join(",")];
            called.extend(key.name.clone());
            parts.push((format!("{key:?}"), called));
        }
        parts
    }
}
