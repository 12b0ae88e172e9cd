//! What is said about one layer's dry run.

use std::collections::BTreeSet;

use crate::checks::advice::{
    Advice, Step, advise, damaged, is_in_workspace, missing, reinstall, remedy_of, settling,
};
use crate::checks::as_run::AsRun;
use crate::checks::context::CheckContext;
use crate::checks::edits::raised_fix;
use crate::checks::packages::{Packages, package_of};
use crate::checks::python::NoAnswer;
use crate::checks::raised::{DETAIL_BYTES_MAX, Raised, clip_middle};
use crate::checks::view::SandboxCause;
use crate::domain::code::Code;
use crate::domain::finding::{Finding, Location, ModuleTime, Severity};
use crate::domain::remedy::{Cause, NEEDS_APPROVAL, Remedy};
use crate::manifest::Layer;
use crate::source::near_names;

/// Imports that take longer are worth a word.
const SLOW_IMPORT_MS: u64 = 5_000;
/// Modules that are named as the slowest.
const SLOWEST_MAX: usize = 5;

/// Findings about one layer.
pub(super) struct LayerFailures<'a> {
    pub context: &'a CheckContext<'a>,
    pub layer: &'a Layer,
    /// How its service runs.
    pub as_run: &'a AsRun,
    /// What is installed, if the interpreter came so far as to say where.
    pub packages: Option<&'a Packages>,
}

impl LayerFailures<'_> {
    pub(super) fn failed(&self, code: Code, what: &str) -> Finding {
        let severity = if self.layer.critical {
            Severity::Critical
        } else {
            Severity::Warning
        };
        self.finding(code, severity, what)
    }

    pub(super) fn finding(&self, code: Code, severity: Severity, what: &str) -> Finding {
        let name = &self.layer.name;
        let mut finding = Finding::new(
            code,
            severity,
            name.as_str(),
            format!("layer {name}: {what}"),
        );
        finding.layer = Some(name.clone());
        finding
    }

    pub(super) fn no_answer(&self, what: &str, why: &NoAnswer) -> Finding {
        let code = if why.timed_out {
            Code::RehearsalTimeout
        } else {
            Code::RehearsalFailed
        };
        let place = why.location.as_ref().map_or_else(String::new, in_brackets);
        let mut finding = self.failed(code, &format!("{what} {}{place}", why.why));
        finding.location = why.location.clone();
        finding.detail = why.output.clone();
        if why.crashed
            && let Some(packages) = self.packages
            && let Some((damaged, fix)) = packages.damaged_fix(self.context)
        {
            finding.remedy = Some(reinstall(&damaged));
            finding.fix = fix;
        }
        if why.timed_out {
            finding.remedy = Some(
                "look at what it waits for (the network is not reachable in a dry run unless \
                 rehearse.network = true), or allow more time with rehearse.timeout"
                    .to_owned(),
            );
        }
        finding
    }

    /// The start-up took longer than it is watched.
    pub(super) fn slow_start(&self) -> Finding {
        self.finding(
            Code::RehearsalUnjudged,
            Severity::Info,
            "its start-up did not end within 20 s, so this is not decided",
        )
        .remedy("look at what it waits for: the network is not reachable in a dry run; or take `startup` out")
    }

    /// A script without a main guard runs as a whole.
    pub(super) fn unguarded(&self, script: &str) -> Finding {
        let script = self.context.redactor.clean(script, 256);
        let what = format!(
            "{script} has no `if __name__ == \"__main__\"`, so all of it ran, and was stopped after 5 s: not decided"
        );
        self.finding(Code::RehearsalUnjudged, Severity::Info, &what)
            .remedy(format!(
                "put what {script} does when it is run behind a main guard"
            ))
    }

    pub(super) fn raised(
        &self,
        step: &str,
        raised: &Raised,
        cause: Option<&SandboxCause>,
        printed: &str,
    ) -> Finding {
        let redactor = self.context.redactor;
        let location = raised.location(redactor);
        let place = location.as_ref().map_or_else(String::new, in_brackets);
        let step = redactor.clean(step, 256);
        let missing = missing(self.context, raised);
        let asked = Step {
            name: &step,
            named_in: "`rehearse` of the layer",
        };
        let is_named_in_manifest = asked.is_missing(self.context, raised);
        let line = raised.line(redactor);
        let advice = match cause {
            Some(_) => None,
            None => advise(self.context, self.as_run, self.packages, raised),
        };
        let (code, remedy) = if let Some(cause) = cause {
            let code = match cause {
                SandboxCause::NotShown(_) => Code::RehearsalOutsidePath,
                SandboxCause::Refused
                | SandboxCause::ReadOnly
                | SandboxCause::NoNetwork
                | SandboxCause::NoDirectory
                | SandboxCause::NoTables => Code::RehearsalFailed,
            };
            let remedy = cause.remedy("layer").unwrap_or_else(|| {
                "the dry run is read-only: it may write nothing in the workspace; let the layer write \
                 when it runs and not while it is imported, or create what it needs beforehand"
                    .to_owned()
            });
            (code, remedy)
        } else {
            remedy_of(self.context, self.packages, raised, &asked, advice.as_ref())
        };
        let mut finding = if let Some(cause) = cause {
            let why = cause.why("dry run", redactor);
            self.finding(code, Severity::Warning, &format!("{line}{place}; {why}"))
        } else {
            let root = raised
                .root(redactor)
                .map_or_else(String::new, |root| format!("; {root}"));
            let importer = missing
                .map_or_else(
                    || self.raiser(raised),
                    |module| self.importer(raised, module),
                )
                .map_or_else(String::new, |who| format!("; {who}"));
            let more = match &advice {
                Some(Advice { more, .. }) if !more.is_empty() => format!("; {more}"),
                _ => String::new(),
            };
            self.failed(code, &format!("{line}{place}{more}{importer}{root}"))
        };
        let (place, fix, asks) = advice.map_or((None, None, None), |advice| {
            (advice.place, advice.fix, advice.asks)
        });
        finding.location = place.or(location);
        if cause.is_none() {
            finding.fix = fix;
            if let Some(why) = asks.filter(|_| finding.fix.is_some()) {
                finding = finding.fact(NEEDS_APPROVAL, why);
            }
        }
        finding.remedy = Some(remedy);
        finding.detail = raised.detail(redactor);
        if !printed.trim().is_empty() {
            finding.detail.push_str("\nIt printed:\n");
            finding.detail.push_str(printed);
            finding.detail = clip_middle(&finding.detail, DETAIL_BYTES_MAX);
        }
        finding = finding
            .cause(Cause::Exception(raised.text(redactor)))
            .fact("module", step);
        if cause.is_none()
            && !is_named_in_manifest
            && let Some(fix) = raised_fix(self.context, raised)
        {
            finding = fix.add_to(finding);
        } else if cause.is_none() && !is_named_in_manifest && finding.fix.is_none() {
            finding.fix = self.other_version_fix(raised);
        }
        if is_named_in_manifest {
            finding = finding.at(self.context.manifest_name(), self.layer.line, 0);
        } else if let Some(module) =
            missing.filter(|_| finding.code == Code::RehearsalMissingPackage)
        {
            finding = finding.fact("package", self.package_of(&redactor.clean(module, 256)));
        }
        finding
    }

    /// The package that brings a module, in the spelling of who declares it.
    fn package_of(&self, module: &str) -> String {
        match self.packages {
            Some(packages) => packages.providing(module),
            None => package_of(module),
        }
    }

    /// Which package imports what is missing, if it is not the application itself.
    fn importer(&self, raised: &Raised, module: &str) -> Option<String> {
        let packages = self.packages?;
        let by = raised.raised_in.as_str();
        if by.is_empty() || self.is_in_workspace(by) {
            return None;
        }
        let (name, version) = packages.owner_of(by)?;
        let declares = if packages.needs(name, &self.package_of(module)) {
            "declares that it needs it"
        } else {
            "does not declare that it needs it"
        };
        Some(format!("{name} {version} imports it and {declares}"))
    }

    /// Which package raised it, if no line of the application had a part in it.
    fn raiser(&self, raised: &Raised) -> Option<String> {
        if raised.location(self.context.redactor).is_some() {
            return None;
        }
        let (name, version) = self.packages?.owner_of(&raised.raised_in)?;
        Some(format!(
            "raised by {name} {version}, in {} line {}",
            self.context.redactor.clean(&raised.raised_in, 256),
            raised.raised_line
        ))
    }

    /// An installed package that others, or the application, cannot live with in this version: what is known to be to
    /// blame, else the one that lacks a name, else the innermost one that had a part in it.
    fn other_version_fix(&self, raised: &Raised) -> Option<Remedy> {
        let packages = self.packages?;
        let is_theirs = |module: &str| !module.is_empty() && !self.is_in_workspace(module);
        let below = || {
            raised
                .below
                .iter()
                .map(String::as_str)
                .filter(|m| is_theirs(m))
        };
        if let Some((package, within)) = settling(raised) {
            let module = below().next().unwrap_or(package);
            return packages.known_fix(self.context, (package, &within), module);
        }
        let damaged = damaged(self.context, packages, raised).map(|(module, ..)| module);
        if let Some(fix) = damaged.and_then(|module| packages.vary_fix(self.context, module)) {
            return Some(fix);
        }
        let lacking = match raised.kind.as_str() {
            // A name that is misspelt is no matter of versions.
            "ImportError" if self.is_near_miss(raised) => return None,
            "ImportError" | "ModuleNotFoundError" => raised.name.as_deref(),
            "AttributeError" => raised.lacking_module(),
            "TypeError" => None,
            _ => return None,
        };
        if lacking.is_none() && !self.is_between_packages(raised) {
            return None;
        }
        // What a module that is missing needs is installed, not what imports it made older.
        let is_missing = raised.kind == "ModuleNotFoundError";
        let modules = lacking.into_iter().chain(below().filter(|_| !is_missing));
        modules
            .filter(|module| is_theirs(module))
            .find_map(|module| packages.vary_fix(self.context, module))
    }

    /// The application's own code imports a name to which the module has a near one.
    fn is_near_miss(&self, raised: &Raised) -> bool {
        let names = raised.names.iter().map(String::as_str);
        let is_near = |wrong| !near_names(wrong, names).is_empty();
        raised.below.is_empty() && raised.lacking_name().is_some_and(is_near)
    }

    /// What was raised is not about what the application itself gave to a package: it happened while a package was
    /// imported, or between two of them.
    fn is_between_packages(&self, raised: &Raised) -> bool {
        if raised.direct || raised.message.contains("'NoneType' object") {
            return false;
        }
        let owner = |module: &String| Some(self.packages?.owner_of(module)?.0);
        let owners: BTreeSet<&str> = raised.below.iter().filter_map(owner).collect();
        raised.importing || owners.len() > 1
    }

    fn is_in_workspace(&self, module: &str) -> bool {
        is_in_workspace(self.context, module)
    }

    /// Modules with their own time, cleaned.
    pub(super) fn slowest_modules(&self, slowest: &[(String, u64)]) -> Vec<ModuleTime> {
        slowest
            .iter()
            .take(SLOWEST_MAX)
            .map(|(module, ms)| ModuleTime {
                module: self.context.redactor.clean(&module.replace('\n', " "), 256),
                self_ms: *ms,
            })
            .collect()
    }

    pub(super) fn slow_import(
        &self,
        times: &[(String, u64)],
        slowest: &[ModuleTime],
    ) -> Option<Finding> {
        let total = times
            .iter()
            .fold(0_u64, |sum, (_, ms)| sum.saturating_add(*ms));
        if total <= SLOW_IMPORT_MS {
            return None;
        }
        let named: Vec<String> = slowest
            .iter()
            .map(|module| format!("{} {} ms", module.module, module.self_ms))
            .collect();
        let mut what = format!("its imports take {total} ms");
        if !named.is_empty() {
            what.push_str(&format!(" (slowest: {})", named.join(", ")));
        }
        let finding = self.finding(Code::RehearsalSlowImport, Severity::Info, &what);
        Some(finding.remedy("import rarely used modules where they are used"))
    }
}

pub(super) fn in_brackets(location: &Location) -> String {
    format!(" ({}:{})", location.file, location.line)
}
