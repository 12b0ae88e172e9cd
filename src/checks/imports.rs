//! Imports that cannot be resolved and files that cannot be parsed, from the static scan.
//!
//! It runs beside the dry runs and finds all such places at once, where a dry run stops at the first. It
//! is sure only of what every import of an entry module must run through; all else is a warning or less,
//! and what a dry run got through is no finding at all.

mod entries;
mod resolve;

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use self::entries::{Reached, reached_files};
use self::resolve::{Missing, ModuleIndex, ModuleOrigin};
use super::advice::{standard_remedy, taken_away};
use super::as_run::AsRun;
use super::context::CheckContext;
use super::edits::{module_fix, name_fix};
use super::packages::{ADD_TO_REQUIREMENTS, package_of};
use super::python::{PROBE_TIMEOUT_MS, ProbeAnswer, ProbeProgram, run_probe};
use crate::domain::code::Code;
use crate::domain::finding::{Finding, Severity};
use crate::domain::remedy::Cause;
use crate::domain::words::count;
use crate::source::{Guard, IgnoredHandler, Import, Place, SourceFacts, UndefinedName};

/// First places of what could not be judged.
const PLACES_SHOWN: usize = 3;
/// More names are not asked for; an application has a few hundred.
const NAMES_MAX: usize = 5_000;

/// What `interpreter.py` answers.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Known {
    found: BTreeMap<String, ModuleOrigin>,
}

/// A finding, and who is sure to meet it.
#[derive(Debug)]
struct SourceFinding {
    finding: Finding,
    reached: Vec<Reached>,
    /// It runs whenever its file is imported.
    always: bool,
}

/// What the scan found, before the dry runs are asked.
#[derive(Debug, Default)]
pub(super) struct StaticFindings {
    seen: Vec<SourceFinding>,
    unjudged: Option<Finding>,
}

/// Looks at the sources. Without any, or without an interpreter, less is found and nothing fails.
pub(super) fn look(context: &CheckContext<'_>) -> StaticFindings {
    let facts = context.facts();
    if facts.files == 0 {
        return StaticFindings::default();
    }
    let index = ModuleIndex::new(context.root, &context.manifest.python.path, facts);
    let known = ask(context, facts);
    let reached = reached_files(context.manifest, &index, facts);
    let reach = |file: &str| reached.get(file).cloned().unwrap_or_default();
    let mut seen = Vec::new();
    for error in &facts.syntax_errors {
        let place = &error.place;
        let finding = Finding::new(
            Code::RehearsalSyntaxError,
            ordinary(place, Guard::Always),
            place.file.as_str(),
            format!("{} cannot be parsed: {}", place.file, error.message),
        )
        .at(place.file.as_str(), place.line, place.column)
        .remedy("correct the syntax there")
        .cause(Cause::Exception(format!("SyntaxError: {}", error.message)));
        seen.push(SourceFinding {
            finding,
            reached: reach(&place.file),
            always: true,
        });
    }
    let mut packages: BTreeMap<&str, Vec<&Import>> = BTreeMap::new();
    for import in &facts.imports {
        if matches!(import.guard, Guard::Tried | Guard::TypeChecking) {
            continue;
        }
        match index.missing(import, &known) {
            None => {}
            Some(Missing::Package(top)) => packages.entry(top).or_default().push(import),
            Some(missing) => seen.push(SourceFinding {
                finding: with_fix(context, import, &missing, local_finding(import, &missing)),
                reached: reach(&import.place.file),
                always: import.guard == Guard::Always,
            }),
        }
    }
    seen.extend(packages.iter().map(|(top, imports)| {
        // The gravest place speaks for all.
        let rank = |import: &Import| {
            let is_sure = import.guard == Guard::Always && !reach(&import.place.file).is_empty();
            let weight = ordinary(&import.place, import.guard);
            (is_sure, weight, std::cmp::Reverse(import.place.clone()))
        };
        let first = imports
            .iter()
            .max_by_key(|import| rank(import))
            .unwrap_or(&imports[0]);
        SourceFinding {
            finding: package_finding(top, first, imports.len()),
            reached: reach(&first.place.file),
            always: first.guard == Guard::Always,
        }
    }));
    let not_aside = |handler: &&IgnoredHandler| !is_aside(&handler.place.file);
    let ignored = facts.ignored_handlers.iter().filter(not_aside);
    seen.extend(ignored.map(|handler| SourceFinding {
        finding: ignored_handler(handler),
        reached: Vec::new(),
        always: false,
    }));
    let undefined = facts
        .undefined
        .iter()
        .filter(|name| !is_aside(&name.place.file));
    seen.extend(undefined.take(NAMES_MAX).map(|name| SourceFinding {
        finding: undefined_name(name),
        reached: Vec::new(),
        always: false,
    }));
    StaticFindings {
        seen,
        unjudged: unjudged(facts),
    }
}

/// Which of the imported top-level names the interpreter would find.
fn ask(context: &CheckContext<'_>, facts: &SourceFacts) -> BTreeMap<String, ModuleOrigin> {
    let names: BTreeSet<&str> = facts
        .imports
        .iter()
        .filter(|import| !matches!(import.guard, Guard::Tried | Guard::TypeChecking))
        .filter_map(|import| import.module.split('.').next())
        .filter(|name| !name.is_empty())
        .take(NAMES_MAX)
        .collect();
    let input = serde_json::json!({ "names": names });
    let ran = run_probe::<Known>(
        context,
        &AsRun::default(),
        ProbeProgram::Interpreter,
        input,
        PROBE_TIMEOUT_MS,
        false,
    );
    match ran.map(|ran| ran.answer) {
        Ok(ProbeAnswer::Given(known)) => known.found,
        Ok(ProbeAnswer::None(why)) => {
            tracing::debug!(why = why.why, "the interpreter was not asked for modules");
            BTreeMap::new()
        }
        Err(error) => {
            tracing::debug!(%error, "the interpreter was not asked for modules");
            BTreeMap::new()
        }
    }
}

/// How bad it is where nothing is known of who imports the file.
fn ordinary(place: &Place, guard: Guard) -> Severity {
    if guard == Guard::Always && !is_aside(&place.file) {
        Severity::Warning
    } else {
        Severity::Info
    }
}

/// Tests, documents, examples and templates: the application boots without them.
pub(super) fn is_aside(file: &str) -> bool {
    let name = file.rsplit('/').next().unwrap_or(file);
    let mut directories: Vec<&str> = file.split('/').collect();
    directories.pop();
    matches!(
        name,
        "conftest.py" | "setup.py" | "noxfile.py" | "tasks.py" | "fabfile.py"
    ) || name.starts_with("test_")
        || name.ends_with("_test.py")
        || directories.iter().any(|part| {
            matches!(
                *part,
                "tests"
                    | "test"
                    | "testing"
                    | "docs"
                    | "doc"
                    | "examples"
                    | "example"
                    | "benchmarks"
                    | "scripts"
                    | "migrations"
                    | "versions"
                    | "alembic"
                    | "templates"
            ) || part.contains("{{")
        })
}

fn local_finding(import: &Import, missing: &Missing<'_>) -> Finding {
    let place = &import.place;
    let (message, exception, remedy) = match missing {
        Missing::Module(module) => (
            format!(
                "{} imports {module}, and there is no such module in the workspace",
                place.file
            ),
            format!("ModuleNotFoundError: No module named '{module}'"),
            format!("correct the name {module}, or add the module"),
        ),
        Missing::Name {
            module,
            name,
            nearest,
        } => (
            format!(
                "{} imports {name} from {module}, which does not define it",
                place.file
            ),
            format!("ImportError: cannot import name '{name}' from '{module}'"),
            match nearest {
                Some(near) => format!("{module} has no {name}, but {near}: correct one of the two"),
                None => format!("define {name} in {module}, or import it from where it is"),
            },
        ),
        Missing::Package(top) => return package_finding(top, import, 1),
    };
    Finding::new(
        Code::RehearsalImportError,
        ordinary(place, import.guard),
        import.module.as_str(),
        message,
    )
    .at(place.file.as_str(), place.line, place.column)
    .remedy(remedy)
    .cause(Cause::Exception(exception))
    .fact("module", import.from.as_str())
}

/// The finding with the edit that mends it, if there is one beyond doubt.
fn with_fix(
    context: &CheckContext<'_>,
    import: &Import,
    missing: &Missing<'_>,
    finding: Finding,
) -> Finding {
    let (file, line) = (import.place.file.as_str(), import.place.line);
    let fix = match missing {
        Missing::Module(module) => module_fix(context, file, line, module),
        Missing::Name { module, name, .. } => {
            name_fix(context, file, line, (module, name), std::iter::empty())
        }
        Missing::Package(_) => None,
    };
    match fix {
        Some(fix) => fix.add_to(finding),
        None => finding,
    }
}

fn package_finding(top: &str, import: &Import, places: usize) -> Finding {
    let place = &import.place;
    let package = package_of(&import.module);
    let more = match places {
        0 | 1 => String::new(),
        n => format!(" (and so do {} more)", count(n - 1, "import")),
    };
    let when = match import.guard {
        Guard::Function => " when a function of it is called",
        Guard::Conditional => " under a condition",
        _ => "",
    };
    let (code, remedy) = match (standard_remedy(&import.module), taken_away(&import.module)) {
        (Some(remedy), _) => (Code::RehearsalImportError, remedy),
        (None, Some((package, versions))) => (
            Code::RehearsalMissingPackage,
            format!("pin {package}{versions} in the requirements, or do without {top}"),
        ),
        (None, None) => (
            Code::RehearsalMissingPackage,
            format!("install {package} with the application's interpreter, {ADD_TO_REQUIREMENTS}"),
        ),
    };
    let is_package = code == Code::RehearsalMissingPackage;
    let finding = Finding::new(
        code,
        ordinary(place, import.guard),
        top,
        format!(
            "{} imports {}{when}{more}, and the application's interpreter has no module {top}",
            place.file, import.module
        ),
    )
    .at(place.file.as_str(), place.line, place.column)
    .remedy(remedy)
    .cause(Cause::Exception(format!(
        "ModuleNotFoundError: No module named '{top}'"
    )))
    .fact("module", import.from.as_str());
    if is_package {
        finding.fact("package", package)
    } else {
        finding
    }
}

/// Starlette takes either a lifespan or handlers (starlette, `Router.__init__`), and says nothing.
fn ignored_handler(handler: &IgnoredHandler) -> Finding {
    let IgnoredHandler {
        place,
        app,
        function,
    } = handler;
    let message = format!(
        "{app} of {} has a lifespan, so its on_event handler {function} is never called",
        place.file
    );
    Finding::of(Code::RehearsalIgnoredHandler, function.as_str(), message)
        .at(place.file.as_str(), place.line, place.column)
        .remedy(format!(
            "move what {function} does into the lifespan of {app}"
        ))
}

fn undefined_name(undefined: &UndefinedName) -> Finding {
    let UndefinedName {
        place,
        name,
        function,
        near,
    } = undefined;
    let message = format!(
        "{function} in {} reads {name}, which nothing there defines or imports: calling it raises NameError",
        place.file
    );
    Finding::of(Code::RehearsalUndefinedName, name.as_str(), message)
        .at(place.file.as_str(), place.line, place.column)
        .remedy(match near {
            Some(near) => {
                format!("write {near}, if that is what is meant; else define or import {name}")
            }
            None => format!("define or import {name}"),
        })
}

fn unjudged(facts: &SourceFacts) -> Option<Finding> {
    // Names of variables that are computed are for the config check to tell.
    let places: Vec<_> = facts
        .unjudged
        .iter()
        .filter(|unjudged| !unjudged.why.contains("variable"))
        .collect();
    if places.is_empty() && !facts.truncated {
        return None;
    }
    let shown: Vec<String> = places
        .iter()
        .take(PLACES_SHOWN)
        .map(|u| format!("{}:{} {}", u.place.file, u.place.line, u.why))
        .collect();
    let mut message = format!(
        "{} of the sources could not be judged: {}",
        count(places.len(), "place"),
        shown.join("; ")
    );
    if facts.truncated {
        message = format!("there are more sources than are read; {message}");
    }
    let mut finding = Finding::of(Code::RehearsalUnjudged, "sources", message);
    if let Some(first) = places.first() {
        finding = finding.at(
            first.place.file.as_str(),
            first.place.line,
            first.place.column,
        );
    }
    Some(finding)
}

impl StaticFindings {
    /// What to say beside the findings of the dry runs. `passed` are the layers whose imports went through:
    /// what they must have run is proved to be right.
    pub(super) fn beside(self, dynamic: &[Finding], passed: &BTreeSet<&str>) -> Vec<Finding> {
        let listed = |finding: &Finding| {
            dynamic.iter().any(|other| {
                other.code == finding.code
                    && match (&other.location, &finding.location) {
                        (Some(a), Some(b)) => a.file == b.file && a.line == b.line,
                        _ => false,
                    }
            })
        };
        let mut findings = Vec::new();
        for SourceFinding {
            mut finding,
            reached,
            always,
        } in self.seen
        {
            let is_disproved = always
                && reached.iter().any(|reached| {
                    reached.is_rehearsed
                        && reached.layer.as_deref().is_some_and(|l| passed.contains(l))
                });
            if is_disproved || listed(&finding) {
                continue;
            }
            let gravest = reached
                .iter()
                .filter(|_| always)
                .max_by_key(|r| r.is_critical);
            if let Some(reached) = gravest {
                finding.severity = if reached.is_critical {
                    Severity::Critical
                } else {
                    Severity::Warning
                };
                finding.layer.clone_from(&reached.layer);
                finding.message = format!("{}; {} imports it", finding.message, reached.entry);
                // As a dry run names it, so that both are one failure.
                finding = finding.fact("module", reached.entry.as_str());
            }
            findings.push(finding);
        }
        findings.extend(self.unjudged);
        findings
    }
}

#[cfg(test)]
mod tests;
