//! What a finding says about the statements that would mend it: run by a fixer, or left to a person, and why.

use crate::database::postgres::ddl::{Proposed, Rights};
use crate::database::sql::addition::postgres_addition;
use crate::domain::finding::Finding;
use crate::domain::redact::truncate;
use crate::domain::remedy::Remedy;

/// How much of the statements stands in a remedy; the finding's `fix` has them all.
const REMEDY_BYTES_MAX: usize = 600;

/// On one line.
pub(super) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The finding with the statements that mend it, for a fixer or for a person.
pub(super) fn propose(
    proposed: Proposed,
    finding: Finding,
    rights: &Rights,
    schema: &str,
    by_hand: &str,
) -> Finding {
    let why_not = proposed.why_not.or_else(|| rights.refused.clone());
    let accepted = match why_not {
        Some(why) => Err(why),
        None => proposed
            .statements
            .iter()
            .map(|statement| postgres_addition(statement))
            .collect::<Result<Vec<String>, String>>(),
    };
    match accepted {
        Ok(statements) => {
            let first = statements.first().map_or("", String::as_str);
            let shown = truncate(&one_line(first), 200);
            let remedy = format!("run {shown}");
            let schema = schema.to_owned();
            finding
                .fix(Remedy::RunStatements { schema, statements })
                .remedy(remedy)
        }
        Err(why) => {
            let script: Vec<String> = proposed.statements.iter().map(|s| one_line(s)).collect();
            let script = script.join("; ");
            let remedy = format!("{by_hand}; not automatically, because {why}");
            let remedy = if script.is_empty() {
                remedy
            } else {
                format!("{remedy}: {}", truncate(&script, REMEDY_BYTES_MAX))
            };
            let by_hand = Remedy::ByHand {
                reason: why,
                statements: (!script.is_empty()).then_some(script),
            };
            finding.fix(by_hand).remedy(remedy)
        }
    }
}
