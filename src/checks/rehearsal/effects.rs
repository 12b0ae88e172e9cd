//! Side effects that a dry run should not have: what the interpreter's audit events say (PEP 578), made
//! into findings. They are advice: what an import does beside defining things is slow, cannot be tested,
//! and happens again in every process that imports it.

use serde::Deserialize;

use super::findings::{LayerFailures, in_brackets};
use crate::domain::code::Code;
use crate::domain::finding::{Finding, Location, Severity, SideEffect};
use crate::domain::redact::Redactor;

/// Effects of one layer that are kept.
const EFFECTS_MAX: usize = 64;
/// Effects that one finding names.
const NAMED_MAX: usize = 3;

/// One effect, as `rehearse.py` notes it. Hostile text.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ObservedEffect {
    kind: String,
    what: String,
    file: String,
    line: u32,
    package: String,
}

/// What each kind is called, in the order of the report; `true` if the application's own code should
/// not do it while it is imported.
const KINDS: [(&str, &str, bool); 6] = [
    ("process", "starts a process", true),
    ("connect", "connects to", true),
    ("resolve", "looks up the address of", false),
    ("listen", "opens a socket on", false),
    ("write", "writes to", false),
    ("thread", "leaves a thread running", false),
];

/// The known kinds, cleaned.
pub(super) fn clean(effects: &[ObservedEffect], redactor: &Redactor) -> Vec<SideEffect> {
    let text = |text: &str, max| redactor.clean(&text.replace(['\n', '\t'], " "), max);
    effects
        .iter()
        .filter(|effect| KINDS.iter().any(|(kind, ..)| *kind == effect.kind))
        .take(EFFECTS_MAX)
        .map(|effect| SideEffect {
            kind: effect.kind.clone(),
            what: text(&effect.what, 300),
            location: (!effect.file.is_empty()).then(|| Location {
                file: text(&effect.file, 512),
                line: effect.line,
                column: 0,
            }),
            package: (!effect.package.is_empty()).then(|| text(&effect.package, 128)),
        })
        .collect()
}

impl LayerFailures<'_> {
    /// One finding for each kind of effect and who caused it: the application's own code, or a package.
    pub(super) fn side_effects(&self, effects: &[SideEffect], more: usize) -> Vec<Finding> {
        let mut findings = Vec::new();
        for (kind, verb, matters) in KINDS {
            for own in [true, false] {
                let these: Vec<&SideEffect> = effects
                    .iter()
                    .filter(|effect| effect.kind == kind && effect.package.is_none() == own)
                    .collect();
                if !these.is_empty() {
                    findings.push(self.side_effect(verb, matters && own, &these));
                }
            }
        }
        if more > 0
            && let Some(last) = findings.last_mut()
        {
            last.message
                .push_str(&format!("; {more} more of all kinds are not listed"));
        }
        findings
    }

    fn side_effect(&self, verb: &str, matters: bool, these: &[&SideEffect]) -> Finding {
        let named: Vec<String> = these
            .iter()
            .take(NAMED_MAX)
            .map(|effect| {
                let place = effect
                    .location
                    .as_ref()
                    .map_or_else(String::new, in_brackets);
                match &effect.package {
                    Some(package) => format!("{} (by {package}){place}", effect.what),
                    None => format!("{}{place}", effect.what),
                }
            })
            .collect();
        let more = match these.len().saturating_sub(NAMED_MAX) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let severity = if matters {
            Severity::Warning
        } else {
            Severity::Info
        };
        let what = format!("the dry run {verb}: {}{more}", named.join(", "));
        let mut finding = self
            .finding(Code::RehearsalSideEffect, severity, &what)
            .remedy("do this when the application runs, not while it is imported");
        finding.location = these.iter().find_map(|effect| effect.location.clone());
        finding
    }
}
