//! What a first request would find at once, and the import does not: mappers that do not go together, types of models
//! that nothing defines, databases and templates that are named and not there.

use serde::Deserialize;

use super::findings::{LayerFailures, in_brackets};
use crate::checks::advice::message_remedy;
use crate::domain::code::Code;
use crate::domain::finding::{Finding, Location, Severity};
use crate::domain::remedy::Cause;
use crate::source::near_names;

/// Name of the fact that tells the same thing in the dry runs of several layers.
pub(super) const TOLD: &str = "first_use";

/// What `rehearse.py` tells after its answer.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ToldAfter {
    pub told: Vec<Told>,
}

/// One thing.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Told {
    /// `mapper`, `key`, `type`, `bind`, `template`, `socket`, `hosts`.
    kind: String,
    /// The name that was not found; empty if it is something else.
    named: String,
    message: String,
    file: String,
    line: u32,
    /// Nothing that the application still does can mend it.
    certain: bool,
}

impl LayerFailures<'_> {
    /// One finding; critical only where nothing that is imported later could bring what is named.
    pub(super) fn first_use(&self, told: &Told) -> Finding {
        let redactor = self.context.redactor;
        let clean = |text: &str| redactor.clean(&text.replace('\n', " "), 600);
        let named = clean(&told.named);
        let name = named.rsplit('.').next().unwrap_or(&named);
        let facts = self.context.facts();
        let tables = || facts.tables.iter().filter(|table| !table.class.is_empty());
        let is_model = matches!(told.kind.as_str(), "mapper" | "key");
        let defined = facts
            .tables
            .iter()
            .find(|table| is_model && (table.class == name || table.table == named))
            .map(|table| {
                (
                    table.module.clone(),
                    format!("{}:{}", table.file, table.line),
                )
            });
        let bound = facts.scopes.iter().any(|scope| scope.names.contains(name));
        let place = Location {
            file: redactor.clean(&told.file, 512),
            line: told.line,
            column: 0,
        };
        let remedy = match (told.kind.as_str(), defined) {
            ("mapper" | "key", Some((module, at))) => format!(
                "import {} where the models are imported: {named} is defined in {}, which nothing had imported when \
                 the application was up",
                clean(&module),
                clean(&at)
            ),
            ("mapper", None) if name.is_empty() => message_remedy(&told.message).map_or_else(
                || "correct what the message names: until then no model of that base can be used".to_owned(),
                str::to_owned,
            ),
            ("mapper" | "key", None) => {
                let names = tables().flat_map(|t| [t.class.as_str(), t.table.as_str()]);
                match near_names(name, names).as_slice() {
                    [near] => format!("write {} instead of {named}", clean(near)),
                    _ => format!("correct the name {named}, or define it"),
                }
            }
            ("type", _) if bound => format!(
                "import {named} there at run time (not under TYPE_CHECKING only), and call model_rebuild() where two \
                 modules need each other"
            ),
            ("type", _) => format!("define or import {named} there, or correct the name"),
            ("bind", _) => format!("add {named} to SQLALCHEMY_BINDS, or correct __bind_key__"),
            ("socket", _) => {
                "install uvicorn[standard] with the application's interpreter, and declare it so".to_owned()
            }
            ("hosts", _) => {
                "list the names of the host in ALLOWED_HOSTS, or set the variable that it is read from".to_owned()
            }
            _ => format!("bring {named}, or correct the name"),
        };
        let is_certain = match told.kind.as_str() {
            // A class that is imported later is found then.
            "mapper" => told.certain && (name.is_empty() || !bound),
            "type" | "bind" | "hosts" => told.certain,
            _ => false,
        };
        let message = clean(&told.message);
        let what = format!("{message}{}", in_brackets(&place));
        let mut finding = if is_certain {
            self.failed(Code::RehearsalFailed, &what)
        } else {
            let code = match told.kind.as_str() {
                "socket" => Code::RehearsalMissingPackage,
                "hosts" => Code::RehearsalFailed,
                _ => Code::RehearsalUndefinedName,
            };
            self.finding(code, Severity::Warning, &what)
        };
        finding.location = Some(place);
        finding
            .remedy(remedy)
            .fact(TOLD, message.clone())
            .cause(Cause::Exception(message))
    }
}

/// Without what another layer's dry run tells as loudly.
pub(super) fn told_once(findings: &mut Vec<Finding>) {
    let told = |finding: &Finding| finding.facts.get(TOLD).cloned();
    let all: Vec<(Option<String>, Severity)> =
        findings.iter().map(|f| (told(f), f.severity)).collect();
    let mut at = 0;
    findings.retain(|finding| {
        let own = told(finding);
        let is_again = |(index, (other, severity)): (usize, &(Option<String>, Severity))| {
            *other == own
                && (*severity > finding.severity || (*severity == finding.severity && index < at))
        };
        let keep = own.is_none() || !all.iter().enumerate().any(is_again);
        at += 1;
        keep
    });
}
