//! What does not fit together: pure, from metadata to findings. The rules are those of `pip check`: each
//! requirement whose marker holds wants its package to be there, in a version that it allows, where a
//! pre-release that is installed counts. Beyond that, the extras that a workspace declares are looked at.

use std::collections::{BTreeMap, BTreeSet};

use pep508_rs::{ExtraName, MarkerEnvironment, PackageName, VersionOrUrl};

use super::declared::Declared;
use super::installed::Distribution;
use super::need::Need;
use crate::domain::code::Code;
use crate::domain::finding::{Finding, Severity};

type Installed = BTreeMap<PackageName, Distribution>;

/// How an installed set meets one requirement.
enum Fit<'a> {
    Good,
    Missing,
    Other(&'a Distribution),
}

fn fit<'a>(need: &Need, installed: &'a Installed) -> Fit<'a> {
    let Some(found) = installed.get(&need.name) else {
        return Fit::Missing;
    };
    match (&need.version_or_url, &found.version) {
        (Some(VersionOrUrl::VersionSpecifier(wanted)), Some(version))
            if !wanted.contains(version) =>
        {
            Fit::Other(found)
        }
        _ => Fit::Good,
    }
}

/// `starlette<0.39,>=0.37.2`, without its marker.
fn shown(need: &Need) -> String {
    match &need.version_or_url {
        Some(VersionOrUrl::VersionSpecifier(wanted)) => {
            format!("{}{}", need.name, wanted.to_string().replace(", ", ","))
        }
        _ => need.name.to_string(),
    }
}

/// What the workspace declares against what is installed.
pub(super) fn of_declared(
    declared: &[Declared],
    installed: &Installed,
    markers: &MarkerEnvironment,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for one in declared {
        let need = &one.need;
        if !need.evaluate_markers(markers, &[]) {
            continue;
        }
        let at = |finding: Finding| finding.at(one.file.as_str(), one.line, 0);
        match fit(need, installed) {
            Fit::Missing if !one.constraint => findings.push(at(missing(
                need,
                need.name.as_ref(),
                &format!("{} is declared, but not installed", need.name),
            ))),
            Fit::Other(found) => findings.push(at(conflict(
                need,
                found,
                need.name.as_ref(),
                &format!("{} is declared", shown(need)),
                &format!("or change what {} declares", one.file),
            ))),
            Fit::Missing | Fit::Good => {}
        }
        let Some(found) = installed.get(&need.name) else {
            continue;
        };
        for inner in needs_of_extras(found, &need.extras, markers) {
            let who = format!("{}[{}]", found.name, names(&need.extras));
            let subject = format!("{} -> {}", found.name, inner.name);
            match fit(inner, installed) {
                Fit::Good => {}
                Fit::Missing => findings.push(at(missing(
                    inner,
                    &subject,
                    &format!(
                        "{who} is declared and needs {}, which is not installed",
                        shown(inner)
                    ),
                ))),
                Fit::Other(other) => findings.push(at(conflict(
                    inner,
                    other,
                    &subject,
                    &format!("{who} is declared and needs {}", shown(inner)),
                    &format!("or another version of {}", found.name),
                ))),
            }
        }
    }
    findings
}

/// What the installed distributions need of each other, with the name of who needs it.
pub(super) fn of_installed(
    installed: &Installed,
    markers: &MarkerEnvironment,
) -> Vec<(PackageName, Finding)> {
    let mut findings = Vec::new();
    for (name, distribution) in installed {
        for need in &distribution.needs {
            if !need.evaluate_markers(markers, &[]) {
                continue;
            }
            let who = format!("{} {}", distribution.name, distribution.version_text);
            let subject = format!("{} -> {}", distribution.name, need.name);
            let finding = match fit(need, installed) {
                Fit::Good => continue,
                Fit::Missing => missing(
                    need,
                    &subject,
                    &format!("{who} needs {}, which is not installed", shown(need)),
                ),
                Fit::Other(found) => conflict(
                    need,
                    found,
                    &subject,
                    &format!("{who} needs {}", shown(need)),
                    &format!("or another version of {}", distribution.name),
                ),
            };
            findings.push((name.clone(), finding));
        }
    }
    findings
}

fn missing(need: &Need, subject: &str, message: &str) -> Finding {
    Finding::new(
        Code::RehearsalMissingPackage,
        Severity::Warning,
        subject,
        message,
    )
    .remedy(format!(
        "install '{}' with the application's interpreter",
        shown(need)
    ))
    .fact("package", need.name.to_string())
}

fn conflict(
    need: &Need,
    found: &Distribution,
    subject: &str,
    wanted: &str,
    otherwise: &str,
) -> Finding {
    Finding::of(
        Code::RehearsalDependencyConflict,
        subject,
        format!(
            "{wanted}, but {} {} is installed",
            found.name, found.version_text
        ),
    )
    .remedy(format!(
        "install '{}' with the application's interpreter, {otherwise}",
        shown(need)
    ))
    .fact("package", need.name.to_string())
    .fact("requirement", shown(need))
    .fact("installed", found.version_text.as_str())
}

fn names(extras: &[ExtraName]) -> String {
    let names: Vec<&str> = extras.iter().map(AsRef::as_ref).collect();
    names.join(",")
}

/// What a distribution needs only because of these extras.
fn needs_of_extras<'a>(
    distribution: &'a Distribution,
    extras: &'a [ExtraName],
    markers: &'a MarkerEnvironment,
) -> impl Iterator<Item = &'a Need> {
    distribution.needs.iter().filter(move |need| {
        !extras.is_empty()
            && need.evaluate_markers(markers, extras)
            && !need.evaluate_markers(markers, &[])
    })
}

/// The installed packages that the declared and the imported ones lead to.
pub(super) fn reached(
    declared: &[Declared],
    imported: &[&PackageName],
    installed: &Installed,
    markers: &MarkerEnvironment,
) -> BTreeSet<PackageName> {
    let mut reached = BTreeSet::new();
    let mut waiting: Vec<(&PackageName, &[ExtraName])> = declared
        .iter()
        .filter(|one| !one.constraint && one.need.evaluate_markers(markers, &[]))
        .map(|one| (&one.need.name, one.need.extras.as_slice()))
        .collect();
    waiting.extend(imported.iter().map(|name| (*name, [].as_slice())));
    let mut seen: BTreeSet<(&PackageName, &[ExtraName])> = waiting.iter().copied().collect();
    while let Some((name, extras)) = waiting.pop() {
        let Some(distribution) = installed.get(name) else {
            continue;
        };
        reached.insert(name.clone());
        for need in &distribution.needs {
            let next = (&need.name, need.extras.as_slice());
            if need.evaluate_markers(markers, extras) && seen.insert(next) {
                waiting.push(next);
            }
        }
    }
    reached
}
