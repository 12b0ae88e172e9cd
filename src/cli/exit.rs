//! Exit codes, stable from the first version.

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

/// The exit code of a command on a mission that was refused, by the stable name of the error; docs/missions.md has the
/// table. What is not in it is wrong use.
pub(crate) fn of_mission_error(code: &str) -> u8 {
    match code {
        "not_found" => 10,
        "ambiguous" => 11,
        "held" => 12,
        "not_holder" => 13,
        "too_early" => 14,
        "wrong_status" => 15,
        "bad_lease" => 16,
        "bad_proposal" => 17,
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
        for code in [
            "not_found",
            "ambiguous",
            "held",
            "not_holder",
            "too_early",
            "wrong_status",
            "bad_lease",
            "bad_proposal",
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
