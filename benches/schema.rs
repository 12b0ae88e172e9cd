//! The schema check on 500 tables of 20 columns in SQLite: the comparison alone, and the whole check against
//! Alembic's `compare_metadata` in a fresh interpreter that imports the same models, in turn in one run.
//!
//! `cargo bench --bench schema`. The best of several rounds of each counts: nothing but a disturbance makes
//! one slower.

#![allow(missing_docs)]

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use ubs::ExpectedSchema;

#[path = "../tests/it/support/venv.rs"]
mod venv;

const TABLES: usize = 500;
const COLUMNS: usize = 20;
const ROUNDS: usize = 9;

const COMPARE: &str = "\
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from models import Base

with sqlalchemy.create_engine('sqlite:///app.db').connect() as connection:
    options = {'compare_type': True, 'compare_server_default': True}
    context = MigrationContext.configure(connection, opts=options)
    print(len(compare_metadata(context, Base.metadata)))
";

fn main() {
    // `cargo test --benches` calls this too: one round shows that it works.
    let testing = !std::env::args().any(|argument| argument == "--bench");
    let rounds = if testing { 1 } else { ROUNDS };
    let Some(python) = venv::application_python() else {
        return;
    };
    let workspace = tempfile::tempdir().expect("a directory");
    let root = workspace.path();
    std::fs::write(root.join("models.py"), models()).expect("a file");
    std::fs::write(root.join("compare.py"), COMPARE).expect("a file");
    std::fs::write(
        root.join("ubs.toml"),
        format!(
            "[app]\nname = \"bench\"\n\n[python]\ninterpreter = \"{}\"\n\n[[layer]]\nname = \"data\"\n\n\
             [[schema]]\nname = \"main\"\ndatabase = \"sqlite:///app.db\"\nexpect = \"sqlalchemy:models:Base\"\n",
            python.display()
        ),
    )
    .expect("a file");
    let make = "import sqlalchemy, models\n\
                models.Base.metadata.create_all(sqlalchemy.create_engine('sqlite:///app.db'))";
    ran(Command::new(&python).args(["-c", make]).current_dir(root));
    std::fs::copy(root.join("app.db"), root.join("expected.db")).expect("a copy");
    // Some drift: a comparison that finds nothing might not have looked.
    let drift = "import sqlite3; c = sqlite3.connect('app.db')\n\
                 c.execute('ALTER TABLE t7 DROP COLUMN c19'); c.execute('DROP INDEX ix_t9_c1'); c.commit()";
    ran(Command::new(&python).args(["-c", drift]).current_dir(root));

    let expected = ExpectedSchema::of_database(&root.join("expected.db")).expect("a database");
    let (mut alone, mut whole, mut reference) = (Duration::MAX, Duration::MAX, Duration::MAX);
    for _ in 0..rounds {
        let begun = Instant::now();
        let findings = expected
            .differences(&root.join("app.db"))
            .expect("a database");
        alone = alone.min(begun.elapsed());
        assert_eq!(findings.len(), 2, "{findings:?}");
        whole = whole.min(timed(
            Command::new(env!("CARGO_BIN_EXE_ubs")).args(["preflight", "--only", "schema"]),
            root,
            1,
        ));
        reference = reference.min(timed(
            Command::new(&python).args(["-B", "compare.py"]),
            root,
            0,
        ));
    }
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    println!("{TABLES} tables of {COLUMNS} columns on SQLite");
    println!(
        "reading the live schema and comparing: {:.1} ms (at most 50)",
        ms(alone)
    );
    println!(
        "whole check: {:.0} ms; compare_metadata in a fresh interpreter: {:.0} ms; {:.2} of it (at most 0.60)",
        ms(whole),
        ms(reference),
        whole.as_secs_f64() / reference.as_secs_f64()
    );
}

/// Types, defaults, keys and indexes as applications have them.
fn models() -> String {
    let mut text = String::from(
        "from sqlalchemy import (Boolean, Column, DateTime, Float, ForeignKey, Integer, Numeric, String, Text,\n    \
         UniqueConstraint, text)\nfrom sqlalchemy.orm import declarative_base\n\nBase = declarative_base()\n",
    );
    let types = [
        "String(80), nullable=False",
        "Text",
        "Integer, nullable=False, server_default=text('0')",
        "DateTime",
        "Boolean",
        "Float",
        "Numeric(12, 2)",
    ];
    for table in 0..TABLES {
        let _ = write!(
            text,
            "\n\nclass T{table}(Base):\n    __tablename__ = 't{table}'\n    \
             __table_args__ = (UniqueConstraint('c1', 'c2'),)\n    id = Column(Integer, primary_key=True)\n"
        );
        for column in 1..COLUMNS {
            let kind = types[column % types.len()];
            let index = if column == 1 { ", index=True" } else { "" };
            let _ = match column {
                2 if table > 0 => writeln!(
                    text,
                    "    c2 = Column(Integer, ForeignKey('t{}.id'))",
                    table - 1
                ),
                _ => writeln!(text, "    c{column} = Column({kind}{index})"),
            };
        }
    }
    text
}

fn ran(command: &mut Command) -> Output {
    let output = command.output().expect("it runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {told}");
    output
}

fn timed(command: &mut Command, root: &Path, exit: i32) -> Duration {
    command
        .current_dir(root)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let begun = Instant::now();
    let status = command.status().expect("it runs");
    let taken = begun.elapsed();
    assert_eq!(status.code(), Some(exit), "{command:?}");
    taken
}
