//! Exit codes, stable from the first version.

use crate::domain::finding::Decision;

/// GO, healthy, done.
pub(crate) const GOOD: u8 = 0;
/// NO-GO, unhealthy, a problem was found.
pub(crate) const BAD: u8 = 1;
/// Wrong use, bad manifest, bad file.
pub(crate) const USAGE: u8 = 2;
/// Being brought up, or up and not stable yet.
pub(crate) const STARTING: u8 = 4;
/// Degraded, with `--strict`.
pub(crate) const DEGRADED: u8 = 3;

/// What a decision is for who asked for it alone; `strict`: what would run without everything counts, too.
pub(crate) fn of_decision(decision: Decision, strict: bool) -> u8 {
    match decision {
        Decision::Go => GOOD,
        Decision::GoDegraded | Decision::GoUnproven if strict => DEGRADED,
        Decision::GoDegraded | Decision::GoUnproven => GOOD,
        Decision::NoGo => BAD,
    }
}

/// The exit code of a command on a mission that was refused, by the stable name of the error; docs/missions.md has the
/// table. What the caller has to write differently is wrong use, as everywhere; what others or the time can change
/// has a code of its own.
pub(crate) fn of_mission_error(code: &str) -> u8 {
    match code {
        "held" => 12,
        "not_holder" => 13,
        "too_early" => 14,
        "wrong_status" => 15,
        "changed_meanwhile" => 18,
        "no_trial" => 19,
        "not_applied" => 20,
        _ => USAGE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_table_has_every_code() {
        let page = include_str!("../../docs/missions.md");
        let mut seen = std::collections::BTreeSet::new();
        for code in ["not_found", "ambiguous", "bad_lease", "bad_proposal"] {
            assert_eq!(of_mission_error(code), USAGE);
            assert!(page.contains(&format!("| `{code}` | 2 |")), "{code}");
        }
        for code in [
            "held",
            "not_holder",
            "too_early",
            "wrong_status",
            "changed_meanwhile",
            "no_trial",
            "not_applied",
        ] {
            let exit = of_mission_error(code);
            assert!(seen.insert(exit), "{exit} twice");
            assert!(page.contains(&format!("| `{code}` | {exit} |")), "{code}");
        }
    }
}
