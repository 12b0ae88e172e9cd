//! What a finding says about the statements that would mend it: run by a fixer, or left to a person, and why.

use crate::database::postgres::ddl::{Proposed, Rights};
use crate::database::sql::addition::postgres_addition;
use crate::domain::finding::Finding;
use crate::domain::redact::truncate;

/// How much of the statements stands in a remedy; a fact of the finding has them all.
const REMEDY_BYTES_MAX: usize = 600;

/// The finding with the statements that mend it, for a fixer or for a person.
pub(super) fn propose(
    proposed: Proposed,
    finding: Finding,
    rights: &Rights,
    by_hand: &str,
) -> Finding {
    let one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let why_not = proposed.why_not.or_else(|| rights.refused.clone());
    let accepted = match why_not {
        Some(why) => Err(why),
        None => proposed
            .statements
            .iter()
            .map(|statement| postgres_addition(statement))
            .collect::<Result<Vec<String>, String>>(),
    };
    let json = |statements: &[String]| serde_json::to_string(statements).unwrap_or_default();
    match accepted {
        Ok(statements) => {
            let first = statements.first().map_or("", String::as_str);
            let shown = truncate(&one_line(first), 200);
            finding
                .fact("ddl", json(&statements))
                .remedy(format!("run {shown}"))
        }
        Err(why) => {
            let script: Vec<String> = proposed.statements.iter().map(|s| one_line(s)).collect();
            let script = script.join("; ");
            let remedy = format!("{by_hand}; not automatically, because {why}");
            let finding = finding.fact("left_to_a_person", why);
            if script.is_empty() {
                return finding.remedy(remedy);
            }
            let shown = truncate(&script, REMEDY_BYTES_MAX);
            finding
                .remedy(format!("{remedy}: {shown}"))
                .fact("statements", script)
        }
    }
}
