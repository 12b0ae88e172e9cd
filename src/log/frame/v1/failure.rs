//! Failures that have facts instead of a typed remedy and cause.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::facts::{cause_of, remedy_of};
use crate::log::frame::v2::{self, CheckName, Location};

#[derive(Debug, Deserialize)]
pub(crate) struct Failure {
    check: Option<CheckName>,
    code: String,
    subject: String,
    layer: Option<String>,
    critical: bool,
    error: String,
    remedy: Option<String>,
    traceback: String,
    location: Option<Location>,
    criteria: Vec<String>,
    facts: BTreeMap<String, String>,
}

impl From<Failure> for v2::Failure {
    fn from(old: Failure) -> Self {
        Self {
            fix: remedy_of(&old.code, &old.facts),
            cause: cause_of(&old.facts),
            check: old.check,
            code: old.code,
            subject: old.subject,
            layer: old.layer,
            critical: old.critical,
            error: old.error,
            remedy: old.remedy,
            traceback: old.traceback,
            location: old.location,
            criteria: old.criteria,
            facts: old.facts,
        }
    }
}
