//! What a check says.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::finding;
use crate::log::frame::mirror::Mirror;

mirror! {
    enum CheckName of finding { Config, Schema, Rehearsal, Registration, Declared }

    enum Severity of finding { Info, Warning, Critical }

    enum CheckStatus of finding { Skipped, Healthy, Warning, Critical, Error }

    enum Decision of finding { Go, GoDegraded, NoGo, GoUnproven }

    struct Location of finding {
        file: String,
        line: u32,
        column: u32,
    }

    struct Finding of finding {
        code: String,
        severity: Severity,
        subject: String,
        message: String,
        location: Option<Location>,
        remedy: Option<String>,
        fix: Option<Remedy>,
        cause: Option<Cause>,
        layer: Option<String>,
        detail: String,
        facts: BTreeMap<String, String>,
    }

    enum Remedy of remedy {
        RunStatements { schema: String, statements: Vec<String> },
        InsertText { file: String, before: [u8; 32], offset: u64, text: String },
        SetDefault { file: String, name: String, value: String },
        GenerateSecret { file: String, name: String },
        Migrate { schema: String, tool: MigrationTool, target: String },
        ByHand { reason: String, statements: Option<String> },
        EditText { file: String, before: Option<[u8; 32]>, edits: Vec<TextEdit>, what: String },
        Packages {
            environment: String,
            requirements: Vec<String>,
            vary: Option<String>,
            module: String,
            what: String,
        },
        MakeDirectory { path: String },
        AddMode { path: String, bits: u32 },
        MoveAside { path: String },
    }

    struct TextEdit of remedy { offset: u64, length: u64, text: String }

    enum MigrationTool of remedy { Alembic, Flask, Django }

    enum Cause of remedy { Exception(text: String), Pending(digest: String) }

    enum RehearsalOutcome of finding { Pass, Degraded, Failed }

    enum Measured of finding {
        Nothing,
        Config { declared: u32, present: u32 },
        Schema { tables_expected: u32, tables_live: u32 },
        Rehearsal {
            layers_tested: u32,
            layers_passed: u32,
            issues: Vec<String>,
            layers: Vec<LayerRehearsal>,
            isolation: Vec<String>,
        },
        Registration { expected: u32, mounted: u32, routes: u32, coverage_per_mille: u32 },
        Declared { checks: Vec<DeclaredRun> },
    }

    struct DeclaredRun of finding {
        name: String,
        status: CheckStatus,
        duration_ms: u64,
        results: u32,
        summary: String,
    }

    struct CheckReport of finding {
        name: CheckName,
        status: CheckStatus,
        duration_ms: u64,
        summary: String,
        findings: Vec<Finding>,
        measured: Measured,
    }
}

/// Without what was seen beside the outcome, which is not part of the event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct LayerRehearsal {
    layer: String,
    outcome: RehearsalOutcome,
    duration_ms: u64,
}

impl Mirror<finding::LayerRehearsal> for LayerRehearsal {
    fn of(value: &finding::LayerRehearsal) -> Self {
        Self {
            layer: value.layer.clone(),
            outcome: Mirror::of(&value.outcome),
            duration_ms: value.duration_ms,
        }
    }

    fn into_domain(self) -> finding::LayerRehearsal {
        finding::LayerRehearsal {
            layer: self.layer,
            outcome: self.outcome.into_domain(),
            duration_ms: self.duration_ms,
            seen: None,
        }
    }
}
