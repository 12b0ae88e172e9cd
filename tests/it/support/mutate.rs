//! Seeded random mutations of a live database: the changes that hands, half-run migrations and restored
//! backups make.
//!
//! A mutation is made by the database's own statements, and what it did is read back from the catalog; it
//! counts only if it changed what was meant and nothing that has nothing to do with it.

use std::collections::BTreeSet;
use std::path::Path;

use rusqlite::Connection;

use super::catalog::{Catalog, Place, Table};
use super::definition::Definition;
use super::postgres::Server;

/// Tries until a mutation of a kind is given up: a small database may have nothing left of it.
const TRIES_MAX: usize = 400;

/// splitmix64: the same seed gives the same mutations everywhere.
pub struct Rng(pub u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        let len = u64::try_from(of.len()).ok().filter(|len| *len > 0)?;
        of.get(usize::try_from(self.next() % len).ok()?)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    DropColumn,
    AddColumn,
    RenameColumn,
    DropTable,
    ChangeType,
    ChangeNullability,
    DropIndex,
    DropUnique,
    DropForeignKey,
}

impl Kind {
    pub const ALL: [Self; 9] = [
        Self::DropColumn,
        Self::AddColumn,
        Self::RenameColumn,
        Self::DropTable,
        Self::ChangeType,
        Self::ChangeNullability,
        Self::DropIndex,
        Self::DropUnique,
        Self::DropForeignKey,
    ];
}

/// What was done to a database.
#[derive(Debug, Clone)]
pub struct Mutation {
    pub kind: Kind,
    /// What was meant: `table.thing`.
    pub target: String,
    /// Everything that is not as before, by the catalog.
    pub changed: BTreeSet<Place>,
}

/// What may be mutated.
pub struct Field<'a> {
    pub before: &'a Catalog,
    /// What the code knows: nobody misses anything else.
    pub known: &'a BTreeSet<Place>,
    /// What differs already.
    pub avoid: &'a BTreeSet<Place>,
}

/// A mutation that is meant, not yet made.
struct Plan {
    table: String,
    thing: String,
    statements: Vec<String>,
}

impl Field<'_> {
    /// Copies `base` to `copy` and makes one mutation of that kind in it; `None` if the database has
    /// nothing of the kind.
    pub fn mutate_sqlite(
        &self,
        rng: &mut Rng,
        kind: Kind,
        base: &Path,
        copy: &Path,
    ) -> Option<Mutation> {
        for _ in 0..TRIES_MAX {
            let Some(plan) = self.plan(rng, kind, Made::Sqlite) else {
                continue;
            };
            std::fs::copy(base, copy).expect("a copy of the database");
            let connection = Connection::open(copy).expect("the copy");
            let script = format!(
                "PRAGMA foreign_keys = OFF; PRAGMA legacy_alter_table = ON; PRAGMA synchronous = OFF; BEGIN; {}; COMMIT",
                plan.statements.join("; ")
            );
            if connection.execute_batch(&script).is_err() {
                continue;
            }
            let after = Catalog::of_sqlite(&connection).expect("the catalog");
            drop(connection);
            if let Some(mutation) = self.made(kind, &plan, &after) {
                return Some(mutation);
            }
        }
        None
    }

    /// As [`Self::mutate_sqlite`], in a new database that has `base` for its template.
    pub fn mutate_postgres(
        &self,
        rng: &mut Rng,
        kind: Kind,
        server: &Server,
        base: &str,
        copy: &str,
    ) -> Option<Mutation> {
        let clone = format!("CREATE DATABASE {copy} TEMPLATE {base} STRATEGY file_copy");
        server.sql("postgres", &clone);
        for _ in 0..TRIES_MAX {
            let Some(plan) = self.plan(rng, kind, Made::Postgres) else {
                continue;
            };
            // psql runs one -c in one transaction.
            if server.try_sql(copy, &plan.statements.join("; ")).is_err() {
                continue;
            }
            let after = Catalog::of_postgres(server, copy);
            if let Some(mutation) = self.made(kind, &plan, &after) {
                return Some(mutation);
            }
            server.sql("postgres", &format!("DROP DATABASE {copy}"));
            server.sql("postgres", &clone);
        }
        server.sql("postgres", &format!("DROP DATABASE {copy}"));
        None
    }

    fn made(&self, kind: Kind, plan: &Plan, after: &Catalog) -> Option<Mutation> {
        let changed = self.before.changed(after);
        let meant = (plan.table.clone(), plan.thing.clone());
        // Elsewhere, only what leads to a thing that is gone may change.
        let is_contained = changed.iter().all(|(table, _)| {
            *table == plan.table
                || self
                    .before
                    .tables
                    .get(table)
                    .is_some_and(|other| other.foreign_keys.iter().any(|k| k.to == plan.table))
        });
        (changed.contains(&meant) && is_contained).then(|| Mutation {
            kind,
            target: format!("{}.{}", plan.table, plan.thing),
            changed,
        })
    }

    fn may(&self, table: &Table, thing: &str) -> bool {
        let place = (table.name.clone(), thing.to_owned());
        self.known.contains(&place) && !self.avoid.contains(&place)
    }

    fn plan(&self, rng: &mut Rng, kind: Kind, made: Made) -> Option<Plan> {
        let tables: Vec<&Table> = self
            .before
            .tables
            .values()
            .filter(|table| self.may(table, ""))
            .collect();
        let table = *rng.pick(&tables)?;
        // The key is left alone: without it, nothing of the table is as before.
        let columns: Vec<_> = table
            .columns
            .iter()
            .filter(|column| !column.in_key && self.may(table, &column.name))
            .collect();
        let quoted = quote(&table.name);
        let (thing, statements) = match kind {
            Kind::DropTable => {
                let cascade = made.word("", " CASCADE");
                (String::new(), vec![format!("DROP TABLE {quoted}{cascade}")])
            }
            Kind::AddColumn => {
                let name = format!("{}_{}", rng.pick(&NAMES)?, rng.next() % 100);
                let kind = rng.pick(&["INTEGER", "VARCHAR(40)", "TEXT", "BOOLEAN", "TIMESTAMP"])?;
                let statement = format!("ALTER TABLE {quoted} ADD COLUMN {} {kind}", quote(&name));
                (name, vec![statement])
            }
            Kind::RenameColumn => {
                let column = *rng.pick(&columns)?;
                let old = &column.name;
                let new = match rng.next() % 3 {
                    0 => format!("{old}_{}", rng.pick(&NAMES)?),
                    1 => format!("{}_{old}", rng.pick(&NAMES)?),
                    _ => format!("{}_{}", rng.pick(&NAMES)?, rng.next() % 100),
                };
                let statement = format!(
                    "ALTER TABLE {quoted} RENAME COLUMN {} TO {}",
                    quote(old),
                    quote(&new)
                );
                // SQLite renames in other tables too, unless told to do as it did of old.
                let modern = made.word("PRAGMA legacy_alter_table = OFF", "SELECT 1");
                (old.clone(), vec![modern.to_owned(), statement])
            }
            Kind::DropColumn => {
                let column = *rng.pick(&columns)?;
                let statements = match made {
                    Made::Postgres => vec![format!(
                        "ALTER TABLE {quoted} DROP COLUMN {} CASCADE",
                        quote(&column.name)
                    )],
                    Made::Sqlite => {
                        let mut definition = Definition::parse(&table.sql)?;
                        definition.drop_column(&column.name)?;
                        let others = table.columns.iter().filter(|c| c.name != column.name);
                        rebuild(table, &definition, others.map(|c| &*c.name))
                    }
                };
                (column.name.clone(), statements)
            }
            Kind::ChangeType => {
                let column = *rng.pick(&columns)?;
                let types = made.other_types(&column.kind);
                let kind = *rng.pick(types)?;
                let statements = match made {
                    Made::Postgres => {
                        let cast = format!("USING {}::text::{kind}", quote(&column.name));
                        vec![format!(
                            "ALTER TABLE {quoted} ALTER COLUMN {} TYPE {kind} {cast}",
                            quote(&column.name)
                        )]
                    }
                    Made::Sqlite => {
                        redefined(table, |definition| definition.set_type(&column.name, kind))?
                    }
                };
                (column.name.clone(), statements)
            }
            Kind::ChangeNullability => {
                let column = *rng.pick(&columns)?;
                let statements = match made {
                    Made::Postgres => vec![format!(
                        "ALTER TABLE {quoted} ALTER COLUMN {} {} NOT NULL",
                        quote(&column.name),
                        if column.not_null { "DROP" } else { "SET" }
                    )],
                    Made::Sqlite => redefined(table, |definition| {
                        definition.set_not_null(&column.name, !column.not_null)
                    })?,
                };
                (column.name.clone(), statements)
            }
            Kind::DropIndex => {
                let indexes: Vec<_> = table
                    .indexes
                    .iter()
                    .filter(|index| !index.unique && self.may(table, &index.name))
                    .collect();
                let name = &rng.pick(&indexes)?.name;
                (name.clone(), vec![format!("DROP INDEX {}", quote(name))])
            }
            Kind::DropUnique => {
                let indexes = table
                    .indexes
                    .iter()
                    .filter(|index| index.unique && self.may(table, &index.name))
                    .map(|index| {
                        let statement = format!("DROP INDEX {}", quote(&index.name));
                        (index.name.clone(), vec![statement])
                    });
                let constraints = table.uniques.iter().filter_map(|unique| {
                    let thing = unique.columns.join(",");
                    if !self.may(table, &thing) {
                        return None;
                    }
                    let statements =
                        constraint_dropped(table, unique.name.as_deref(), |definition| {
                            definition.drop_unique(&unique.columns)
                        })?;
                    Some((thing, statements))
                });
                let all: Vec<_> = indexes.chain(constraints).collect();
                rng.pick(&all)?.clone()
            }
            Kind::DropForeignKey => {
                let keys: Vec<_> = table
                    .foreign_keys
                    .iter()
                    .filter(|key| self.may(table, &key.columns.join(",")))
                    .collect();
                let key = *rng.pick(&keys)?;
                let statements = constraint_dropped(table, key.name.as_deref(), |definition| {
                    definition.drop_foreign_key(&key.columns)
                })?;
                (key.columns.join(","), statements)
            }
        };
        Some(Plan {
            table: table.name.clone(),
            thing,
            statements,
        })
    }
}

/// Whose statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Made {
    Sqlite,
    Postgres,
}

impl Made {
    fn word(self, sqlite: &'static str, postgres: &'static str) -> &'static str {
        match self {
            Self::Sqlite => sqlite,
            Self::Postgres => postgres,
        }
    }

    /// Types that hold something else than `kind` does. For SQLite, whose types are hints, only those
    /// under which the same value comes back as another one.
    fn other_types(self, kind: &str) -> &'static [&'static str] {
        let kind = kind.to_lowercase();
        let has = |words: &[&str]| words.iter().any(|word| kind.contains(word));
        match self {
            Self::Sqlite if has(&["int", "bool"]) => &["TEXT", "VARCHAR(50)", "BLOB"],
            Self::Sqlite if has(&["date", "time"]) => &["INTEGER", "BLOB"],
            Self::Sqlite if has(&["char", "text", "clob", "json", "uuid"]) => &["INTEGER", "FLOAT"],
            Self::Sqlite if has(&["blob", "binary"]) => &["INTEGER", "TEXT"],
            Self::Sqlite => &["TEXT", "BLOB"],
            Self::Postgres if has(&["smallint"]) => &["integer", "text"],
            Self::Postgres if has(&["bigint"]) => &["integer", "text"],
            Self::Postgres if has(&["int"]) && !has(&["interval", "point"]) => {
                &["bigint", "smallint", "text"]
            }
            Self::Postgres if has(&["varying"]) => &["character varying(7)", "text", "integer"],
            Self::Postgres if kind == "text" => &["character varying(77)", "json", "integer"],
            Self::Postgres if has(&["with time zone"]) => &["timestamp without time zone", "date"],
            Self::Postgres if has(&["timestamp"]) => &["timestamp with time zone", "date"],
            Self::Postgres if has(&["jsonb"]) => &["json", "text"],
            Self::Postgres if has(&["json"]) => &["jsonb", "text"],
            Self::Postgres if has(&["bool"]) => &["text", "integer"],
            Self::Postgres if has(&["double"]) => &["real", "numeric"],
            Self::Postgres if has(&["bytea"]) => &["text"],
            Self::Postgres => &["text", "character varying(99)"],
        }
    }
}

/// Words that columns are called by.
const NAMES: [&str; 8] = [
    "legacy", "old", "tmp", "backup", "note", "external", "flag", "region",
];

fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The statements that drop a constraint: by its name where the catalog has names (PostgreSQL), or by another
/// definition.
fn constraint_dropped(
    table: &Table,
    name: Option<&str>,
    edit: impl FnOnce(&mut Definition) -> Option<()>,
) -> Option<Vec<String>> {
    match name {
        Some(name) => Some(vec![format!(
            "ALTER TABLE {} DROP CONSTRAINT {}",
            quote(&table.name),
            quote(name)
        )]),
        None => redefined(table, edit),
    }
}

/// The statements that give a SQLite table an edited definition with the same columns.
fn redefined(
    table: &Table,
    edit: impl FnOnce(&mut Definition) -> Option<()>,
) -> Option<Vec<String>> {
    let mut definition = Definition::parse(&table.sql)?;
    edit(&mut definition)?;
    let columns = table.columns.iter().map(|column| &*column.name);
    Some(rebuild(table, &definition, columns))
}

/// The statements that give a SQLite table another definition and keep its rows
/// (sqlite.org/lang_altertable.html, 7).
fn rebuild<'a>(
    table: &'a Table,
    definition: &Definition,
    columns: impl Iterator<Item = &'a str>,
) -> Vec<String> {
    let columns: Vec<&str> = columns.collect();
    let list: Vec<String> = columns.iter().map(|name| quote(name)).collect();
    let list = list.join(", ");
    let (name, new) = (quote(&table.name), quote("mutated table"));
    let mut statements = vec![
        definition.text(&new),
        format!("INSERT INTO {new} ({list}) SELECT {list} FROM {name}"),
        format!("DROP TABLE {name}"),
        format!("ALTER TABLE {new} RENAME TO {name}"),
    ];
    // They went with the table, and are made again as they were.
    for index in &table.indexes {
        let keeps = index
            .columns
            .iter()
            .flatten()
            .all(|c| columns.contains(&c.as_str()));
        if keeps {
            statements.push(index.sql.clone());
        }
    }
    statements
}
