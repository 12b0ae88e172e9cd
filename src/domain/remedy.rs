//! What a fixer can do about a finding, and what signs a failure: typed, as the check measured it.
//!
//! Pure data. A fixer reads a [`Remedy`] and nothing else; the facts of a finding only describe it.

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::ids::Digest;

/// Fact of a finding whose fix replaces a value that may be in use.
pub(crate) const IN_USE: &str = "in_use";
/// Fact of a finding whose fix a person has to look at, whatever policy says; its value says why.
pub(crate) const NEEDS_APPROVAL: &str = "needs_approval";
/// Fact of a finding whose fix needs approval: what the fix does and what is lost by it, in words and numbers.
pub(crate) const PROPOSED: &str = "proposed";
/// Fact of a finding about what a migrated database lacks: the file of the migration that should have brought it.
pub(crate) const BROUGHT_BY: &str = "brought_by";
/// Fact of a finding: the command with which a person says at which revision a database is.
pub(crate) const STAMP: &str = "stamp";
/// Fact of a finding whose fix adds a column that must not be NULL, and gives no row a value: why not, [`NO_ROWS`] or
/// [`STAYS_NULL`].
pub(crate) const FILLS_NOTHING: &str = "fills_nothing";
/// The table has no row.
pub(crate) const NO_ROWS: &str = "no_rows";
/// The column comes without NOT NULL, because which value its rows need is not known.
pub(crate) const STAYS_NULL: &str = "stays_null";
/// Fact of a finding whose statements change what is there, and do not only add to it.
pub(crate) const REWRITES: &str = "rewrites";
/// Fact of a finding whose fix makes a revision of migrations: who runs them on its database then, and up to which target
/// if not `heads`.
pub(crate) const MIGRATES_WITH: &str = "migrates_with";
/// Fact of a finding: its package is declared nowhere.
pub(crate) const UNDECLARED: &str = "undeclared";
/// Fact of a finding that has several causes under one code: which; it is a part of the signature.
pub(crate) const WHY: &str = "why";
/// Fact of a finding that may pass by itself: a boot tries again.
pub(crate) const MAY_PASS: &str = "may_pass";

/// Fact of a foreign key that is missing: the table that it leads to. While that is missing, the key is not reported.
pub(crate) const LEADS_TO: &str = "leads_to";

/// What can be done about a finding, exactly as the check measured it. JSON: `{"kind": "...", ...}`.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Remedy {
    /// Run statements that only add.
    RunStatements {
        /// Name of the manifest's `[[schema]]`.
        schema: String,
        /// The statements, in order.
        statements: Vec<String>,
    },
    /// Insert text into a source file; every other byte stays.
    InsertText {
        /// File, relative to the workspace.
        file: String,
        /// Digest of the file that was read.
        before: Digest,
        /// Byte offset.
        offset: u64,
        /// What is inserted.
        text: String,
    },
    /// Write the manifest's default of a variable to an environment file.
    SetDefault {
        /// File, relative to the workspace.
        file: String,
        /// Name of the variable.
        name: String,
        /// The default.
        value: String,
    },
    /// Write a random value of a secret to an environment file.
    GenerateSecret {
        /// File, relative to the workspace.
        file: String,
        /// Name of the variable.
        name: String,
    },
    /// Run the application's own migrations on one database.
    Migrate {
        /// Name of the manifest's `[[schema]]`.
        schema: String,
        /// Who runs them.
        tool: MigrationTool,
        /// How far: `heads`, or a revision; for Django the alias of a database that is not its
        /// default one.
        target: String,
    },
    /// No fixer may do it.
    ByHand {
        /// Why not.
        reason: String,
        /// The statements for a person, if they are known.
        statements: Option<String>,
    },
    /// Replace parts of a source file, or make one; every other byte stays.
    EditText {
        /// File, relative to the workspace.
        file: String,
        /// Digest of the file that was read; `None` if it must not exist.
        before: Option<Digest>,
        /// What is replaced, in the order of the file.
        edits: Vec<TextEdit>,
        /// What that does, in a few words.
        what: String,
    },
    /// Install exact versions into the environment of the application's interpreter.
    Packages {
        /// Directory of the environment, relative to the workspace.
        environment: String,
        /// What has to be there, as pip's requirements.
        requirements: Vec<String>,
        /// The distribution whose version is varied, if one is installed and does not do.
        vary: Option<String>,
        /// The module whose import failed.
        module: String,
        /// What that does, in a few words.
        what: String,
    },
    /// Create a directory of the workspace.
    MakeDirectory {
        /// Directory, relative to the workspace.
        path: String,
    },
    /// Add permissions of its owner to a file or directory of the workspace.
    AddMode {
        /// File or directory, relative to the workspace.
        path: String,
        /// Permission bits.
        bits: u32,
    },
    /// Move aside what a process that is gone left behind.
    MoveAside {
        /// Pid file, lock directory or socket, relative to the workspace.
        path: String,
    },
}

/// Bytes of a file that are replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextEdit {
    /// Byte offset in the file as it was read.
    pub offset: u64,
    /// Bytes that go.
    pub length: u64,
    /// What comes there.
    pub text: String,
}

impl Remedy {
    /// Replaces those parts of the file with this text, in its order.
    pub(crate) fn edit_text(
        file: &str,
        text: &str,
        edits: impl IntoIterator<Item = (Range<usize>, String)>,
        what: String,
    ) -> Self {
        let edits = edits.into_iter().map(|(range, text)| TextEdit {
            offset: range.start as u64,
            length: range.len() as u64,
            text,
        });
        Self::EditText {
            file: file.to_owned(),
            before: Some(Digest::of(text.as_bytes())),
            edits: edits.collect(),
            what,
        }
    }

    /// Makes a file that is not there, with this text.
    pub(crate) fn new_file(file: &str, text: String, what: String) -> Self {
        let whole = TextEdit {
            offset: 0,
            length: 0,
            text,
        };
        Self::EditText {
            file: file.to_owned(),
            before: None,
            edits: vec![whole],
            what,
        }
    }

    /// Every text in it, for whoever has to look for secrets or to bound sizes.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        let (fields, list): (Vec<&String>, &[String]) = match self {
            Self::RunStatements { schema, statements } => (vec![schema], statements),
            Self::InsertText { file, text, .. } => (vec![file, text], &[]),
            Self::SetDefault { file, name, value } => (vec![file, name, value], &[]),
            Self::GenerateSecret { file, name } => (vec![file, name], &[]),
            Self::Migrate { schema, target, .. } => (vec![schema, target], &[]),
            Self::MakeDirectory { path }
            | Self::AddMode { path, .. }
            | Self::MoveAside { path } => (vec![path], &[]),
            Self::ByHand { reason, statements } => {
                let mut fields = vec![reason];
                fields.extend(statements);
                (fields, &[])
            }
            Self::EditText {
                file, edits, what, ..
            } => {
                let mut fields = vec![file, what];
                fields.extend(edits.iter().map(|edit| &edit.text));
                (fields, &[])
            }
            Self::Packages {
                environment,
                requirements,
                vary,
                module,
                what,
            } => {
                let mut fields = vec![environment, module, what];
                fields.extend(vary);
                (fields, requirements)
            }
        };
        fields.into_iter().chain(list).map(String::as_str)
    }
}

/// Scripts for a person as one: what several of them create comes once, where it is first needed.
#[must_use]
pub(crate) fn one_script<'a>(scripts: impl IntoIterator<Item = &'a str>) -> String {
    let mut all: Vec<&str> = Vec::new();
    for statement in scripts.into_iter().flat_map(statements_in) {
        if !all.contains(&statement) {
            all.push(statement);
        }
    }
    all.join("; ")
}

/// The statements of a script that a check wrote: `;` within quotes ends none.
fn statements_in(script: &str) -> Vec<&str> {
    // What stands between dollar quotes has quotes of its own.
    if script.contains("$$") {
        return vec![script];
    }
    let mut quote = None;
    let mut begin = 0;
    let mut statements = Vec::new();
    for (at, c) in script.char_indices() {
        match (quote, c) {
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            (None, ';') => {
                statements.push(script[begin..at].trim());
                begin = at + 1;
            }
            _ => {}
        }
    }
    statements.push(script[begin..].trim());
    statements.retain(|statement| !statement.is_empty());
    statements
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RunStatements { schema, statements } => {
                write!(f, "in database {schema}, run {}", statements.join("; "))
            }
            Self::InsertText {
                file, offset, text, ..
            } => write!(f, "insert {text:?} into {file} at byte {offset}"),
            Self::SetDefault { file, name, .. } => {
                write!(f, "write the default of {name} to {file}")
            }
            Self::GenerateSecret { file, name } => {
                write!(f, "write a random value for {name} to {file}")
            }
            Self::Migrate { schema, .. } => write!(f, "run the migrations of database {schema}"),
            Self::ByHand { reason, statements } => {
                write!(f, "by hand, because {reason}")?;
                match statements {
                    Some(statements) => write!(f, ": {statements}"),
                    None => Ok(()),
                }
            }
            Self::EditText { file, what, .. } => write!(f, "in {file}, {what}"),
            Self::Packages { what, .. } => f.write_str(what),
            Self::MakeDirectory { path } => write!(f, "create the directory {path}"),
            Self::AddMode { path, bits } => write!(f, "add the permissions {bits:03o} to {path}"),
            Self::MoveAside { path } => write!(f, "move {path} aside"),
        }
    }
}

/// What runs an application's migrations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum MigrationTool {
    /// `alembic upgrade`.
    Alembic,
    /// `flask db upgrade`.
    Flask,
    /// `manage.py migrate`.
    Django,
}

impl MigrationTool {
    const ALL: [Self; 3] = [Self::Alembic, Self::Flask, Self::Django];

    /// As facts and JSON name it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Alembic => "alembic",
            Self::Flask => "flask",
            Self::Django => "django",
        }
    }

    /// The tool of that name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tool| tool.as_str() == name)
    }
}

/// What signs a failure beside its code and subject.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The exception that was raised, as `type: message`. It signs alone: one exception that
    /// several checks meet is one failure.
    Exception(String),
    /// Digest of the migrations that wait, or of the tables that are missing together. Others are another failure.
    Pending(String),
}

impl Cause {
    /// The text, whatever it is.
    #[must_use]
    pub fn text(&self) -> &str {
        let (Self::Exception(text) | Self::Pending(text)) = self;
        text
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remedy_names_its_kind_in_json_and_reads_back() {
        let remedy = Remedy::Migrate {
            schema: "main".into(),
            tool: MigrationTool::Django,
            target: "reports".into(),
        };
        let json = serde_json::to_value(&remedy).unwrap();
        let expected = serde_json::json!({
            "kind": "migrate", "schema": "main", "tool": "django", "target": "reports"
        });
        assert_eq!(json, expected);
        assert_eq!(serde_json::from_value::<Remedy>(json).unwrap(), remedy);
        for tool in MigrationTool::ALL {
            assert_eq!(serde_json::to_value(tool).unwrap(), tool.as_str());
            assert_eq!(MigrationTool::named(tool.as_str()), Some(tool));
        }
        let cause = serde_json::to_value(Cause::Pending("0123".into())).unwrap();
        assert_eq!(cause, serde_json::json!({"pending": "0123"}));
    }

    #[test]
    fn what_two_scripts_create_comes_once() {
        let orders =
            "CREATE TYPE mood; CREATE TABLE shops (a TEXT DEFAULT 'x; y'); CREATE TABLE orders";
        let shops = "CREATE TYPE mood; CREATE TABLE shops (a TEXT DEFAULT 'x; y')";
        assert_eq!(one_script([shops]), shops);
        let both = one_script([orders, shops]);
        assert_eq!(both, orders);
    }

    #[test]
    fn every_text_of_a_remedy_is_given() {
        let remedy = Remedy::RunStatements {
            schema: "main".into(),
            statements: vec!["a".into(), "b".into()],
        };
        assert_eq!(remedy.texts().collect::<Vec<_>>(), ["main", "a", "b"]);
        let remedy = Remedy::ByHand {
            reason: "why".into(),
            statements: Some("s".into()),
        };
        assert_eq!(remedy.texts().collect::<Vec<_>>(), ["why", "s"]);
    }
}
