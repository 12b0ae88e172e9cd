//! What failed, what was proposed, and what a trial showed.

use std::collections::BTreeMap;

use super::report::{Cause, CheckName, CheckStatus, Location, MigrationTool, Remedy, TextEdit};

mirror! {
    struct Failure of mission {
        check: Option<CheckName>,
        code: String,
        subject: String,
        layer: Option<String>,
        critical: bool,
        error: String,
        remedy: Option<String>,
        fix: Option<Remedy>,
        cause: Option<Cause>,
        traceback: String,
        location: Option<Location>,
        criteria: Vec<String>,
        facts: BTreeMap<String, String>,
    }

    enum Risk of mission { Additive, Edit, Open, Destructive, Guarded }

    enum Change of mission {
        Insert { path: String, before: [u8; 32], offset: u64, text: String },
        Write { path: String, before: Option<[u8; 32]>, text: String },
        SetVariable { path: String, name: String, value: String },
        GenerateSecret { path: String, name: String, bytes: u32 },
        Sql { schema: String, statements: Vec<String> },
        Migrate { schema: String, tool: MigrationTool, target: String },
        Edit { path: String, before: [u8; 32], edits: Vec<TextEdit> },
        Packages { environment: String, install: Vec<String> },
        Delete { path: String, before: [u8; 32] },
        MakeDirectory { path: String },
        AddMode { path: String, bits: u32 },
        MoveAside { path: String },
        Run { command: Vec<String> },
        Wait { ms: u64 },
        Restart { services: Vec<String> },
    }

    struct Proposal of mission {
        fixer: String,
        summary: String,
        risk: Risk,
        changes: Vec<Change>,
    }

    struct FileChange of event {
        path: String,
        before: Option<[u8; 32]>,
        after: [u8; 32],
    }

    struct CheckChange of event {
        check: CheckName,
        before: CheckStatus,
        after: CheckStatus,
    }

    struct Verdict of event {
        holds: bool,
        reason: String,
        checks: Vec<CheckChange>,
        isolation: Vec<String>,
        duration_ms: u64,
    }
}
