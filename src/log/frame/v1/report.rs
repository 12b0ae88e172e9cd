//! Reports whose findings have facts instead of a typed remedy and cause.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::facts::{cause_of, remedy_of};
use crate::log::frame::v2::{self, CheckName, CheckStatus, Location, Measured, Severity};

#[derive(Debug, Deserialize)]
struct Finding {
    code: String,
    severity: Severity,
    subject: String,
    message: String,
    location: Option<Location>,
    remedy: Option<String>,
    layer: Option<String>,
    detail: String,
    facts: BTreeMap<String, String>,
}

impl From<Finding> for v2::Finding {
    fn from(old: Finding) -> Self {
        Self {
            fix: remedy_of(&old.code, &old.facts),
            cause: cause_of(&old.facts),
            code: old.code,
            severity: old.severity,
            subject: old.subject,
            message: old.message,
            location: old.location,
            remedy: old.remedy,
            layer: old.layer,
            detail: old.detail,
            facts: old.facts,
        }
    }
}

#[derive(Debug, Deserialize)]
pub(crate) struct CheckReport {
    name: CheckName,
    status: CheckStatus,
    duration_ms: u64,
    summary: String,
    findings: Vec<Finding>,
    measured: Measured,
}

impl From<CheckReport> for v2::CheckReport {
    fn from(old: CheckReport) -> Self {
        Self {
            name: old.name,
            status: old.status,
            duration_ms: old.duration_ms,
            summary: old.summary,
            findings: old.findings.into_iter().map(Into::into).collect(),
            measured: old.measured,
        }
    }
}
