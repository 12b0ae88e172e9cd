//! A database's schema as both sides speak of it: what the code expects, and what is there.

use serde::Deserialize;

/// Whose rules decide what is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) enum Dialect {
    #[default]
    Sqlite,
    Postgres,
}

impl Dialect {
    /// For people.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
        }
    }

    /// As SQLAlchemy calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgresql",
        }
    }

    /// SQLite does not tell names apart by case; PostgreSQL has folded what was not quoted.
    pub(crate) fn same_name(self, a: &str, b: &str) -> bool {
        match self {
            Self::Sqlite => a.eq_ignore_ascii_case(b),
            Self::Postgres => a == b,
        }
    }
}

/// One database.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct DatabaseSchema {
    pub dialect: Dialect,
    /// Of the database: what columns have that name none. Of PostgreSQL.
    pub collation: Option<String>,
    pub tables: Vec<Table>,
}

impl DatabaseSchema {
    /// The table that a statement of the application means: in the schema it names, or else on the search
    /// path.
    pub(crate) fn table(&self, schema: Option<&str>, name: &str) -> Option<&Table> {
        self.tables.iter().find(|table| {
            self.dialect.same_name(&table.name, name)
                && match schema {
                    Some(schema) if self.dialect == Dialect::Postgres => {
                        table.schema.as_deref() == Some(schema)
                    }
                    _ => !table.is_hidden,
                }
        })
    }
}

/// One table or view.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Table {
    pub name: String,
    pub schema: Option<String>,
    /// Live and off the search path: only by the name of its schema.
    pub is_hidden: bool,
    pub is_view: bool,
    /// A part of another table.
    pub is_partition: bool,
    /// Something of its own gives values before a row is written.
    pub has_triggers: bool,
    /// Of SQLite: its rows have no number of their own.
    pub is_without_rowid: bool,
    /// The statement that creates it.
    pub ddl: Option<String>,
    /// Why there is no `ddl`.
    pub problem: String,
    pub columns: Vec<Column>,
    pub indexes: Vec<Index>,
    pub constraints: Vec<Constraint>,
}

impl Table {
    pub(crate) fn column(&self, dialect: Dialect, name: &str) -> Option<&Column> {
        self.columns
            .iter()
            .find(|column| dialect.same_name(&column.name, name))
    }
}

/// One column, hidden and generated ones included.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Column {
    pub name: String,
    /// In the database's words; `None` if it has none for it.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// What a live domain stands for.
    pub base: Option<String>,
    /// Of an enumeration type of the database.
    pub labels: Option<Vec<String>>,
    pub nullable: bool,
    pub primary_key: bool,
    pub unique: bool,
    /// Computed, or an identity.
    pub generated: bool,
    /// The expression that computes it; empty if it has one that cannot be written.
    pub computed: Option<String>,
    /// `always` or `by default`.
    pub identity: Option<String>,
    /// The database has to number the rows: the code gives no value.
    pub autoincrement: bool,
    /// The code says that the database gives a value, and not which one.
    pub fetched: bool,
    /// Where it is not the type's own; on the expected side it stands in `kind`.
    pub collation: Option<String>,
    /// SQL text of the database's own default; empty if it has one that cannot be written.
    pub server_default: Option<String>,
    /// SQL literal of the default that the code gives.
    pub default: Option<String>,
    /// The type as a revision of Alembic writes it: `sa.String(length=40)`.
    pub python: Option<String>,
    /// A value for rows that exist.
    pub filler: Option<Filler>,
    /// `REFERENCES ...`.
    pub references: Option<String>,
    /// A constraint of the table is about it, which `ADD COLUMN` cannot bring.
    pub checked: bool,
    /// `CHECK (...)` of the column itself.
    pub own_checks: String,
    /// The name, quoted where it must be.
    pub quoted: String,
}

/// A value for the rows that exist, as a literal.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Filler {
    pub value: String,
    /// The code gives it; otherwise it is the least one of its type, and made up.
    pub given: bool,
}

/// One index; `None` among the columns is an expression.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Index {
    pub name: Option<String>,
    pub columns: Vec<Option<String>>,
    /// At the place of each expression its text; empty if it has one that cannot be written.
    pub expressions: Vec<Option<String>>,
    pub unique: bool,
    pub partial: bool,
    /// Of a partial index; empty if it has one that cannot be written.
    pub condition: Option<String>,
    /// Of PostgreSQL; `None` is a B-tree.
    pub method: Option<String>,
    pub nulls_not_distinct: bool,
    /// A constraint made it.
    pub is_implied: bool,
    pub ddl: Option<String>,
}

/// One constraint of a table.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Constraint {
    pub name: Option<String>,
    /// Whether a transaction may put it off, and does so unasked.
    #[serde(default)]
    pub deferrable: bool,
    #[serde(default)]
    pub deferred: bool,
    /// Of a unique constraint: NULL is there once only.
    #[serde(default)]
    pub nulls_not_distinct: bool,
    #[serde(flatten)]
    pub rule: Rule,
}

impl Constraint {
    /// A constraint with nothing special.
    pub(crate) fn new(name: Option<String>, rule: Rule) -> Self {
        Self {
            name,
            deferrable: false,
            deferred: false,
            nulls_not_distinct: false,
            rule,
        }
    }
}

/// What a constraint demands.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Rule {
    PrimaryKey {
        columns: Vec<String>,
    },
    Unique {
        columns: Vec<String>,
    },
    ForeignKey {
        columns: Vec<String>,
        schema: Option<String>,
        table: String,
        /// Empty: the primary key there.
        targets: Vec<String>,
        on_delete: Option<String>,
        on_update: Option<String>,
    },
    Check {
        columns: Vec<String>,
        /// `None` if it has one that cannot be written.
        text: Option<String>,
    },
}

impl Rule {
    /// The columns of its own table.
    pub(crate) fn columns(&self) -> &[String] {
        match self {
            Self::PrimaryKey { columns }
            | Self::Unique { columns }
            | Self::ForeignKey { columns, .. }
            | Self::Check { columns, .. } => columns,
        }
    }

    /// For people.
    pub(crate) fn title(&self) -> &'static str {
        match self {
            Self::PrimaryKey { .. } => "primary key",
            Self::Unique { .. } => "unique constraint",
            Self::ForeignKey { .. } => "foreign key",
            Self::Check { .. } => "check constraint",
        }
    }
}
