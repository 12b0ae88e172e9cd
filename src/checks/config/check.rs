//! Judges the declared variables, and gathers what the other parts of the check say.

use std::collections::{BTreeMap, BTreeSet};

use super::drivers::driver_findings;
use super::files::{file_findings, foreign_findings};
use super::mend::{
    EXAMPLE_FILES, close_quote_of, from_example, has_unread_line, misspelt, near_choice,
    near_of_kind, rename, replace_beginning, with_edit,
};
use super::reads::read_findings;
use super::services::service_findings;
use super::value::{BITS_MIN_DEFAULT, estimated_bits, is_connection, is_pattern, is_placeholder};
use crate::checks::context::CheckContext;
use crate::checks::outcome::CheckOutcome;
use crate::checks::vault;
use crate::domain::code::Code;
use crate::domain::finding::{Finding, Measured, Severity, VAULT_STATE};
use crate::domain::redact::truncate;
use crate::domain::remedy::{IN_USE, NEEDS_APPROVAL, Remedy};
use crate::domain::words::count;
use crate::manifest::{Config, EnvFile, Environment, Manifest, Origin, Var, VarKind};

/// Longest value that is shown, in bytes.
const VALUE_BYTES_MAX: usize = 60;
/// Names in one message.
const NAMES_MAX: usize = 12;

/// Runs the check.
pub(in crate::checks) fn check(context: &CheckContext<'_>) -> CheckOutcome {
    let Some(declared) = &context.manifest.vault else {
        return check_variables(context);
    };
    // Asking a vault is waiting, and nothing here waits for it.
    let (mut outcome, findings) = std::thread::scope(|scope| {
        let asked = scope.spawn(|| vault::check(context, declared));
        let outcome = check_variables(context);
        let findings = asked.join();
        let findings = findings.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (outcome, findings)
    });
    if outcome.skipped {
        outcome = CheckOutcome {
            summary: "no variables are declared".to_owned(),
            ..CheckOutcome::default()
        };
    }
    let is_well = !findings.iter().any(|f| f.severity >= Severity::Warning);
    let keys = count(declared.keys.len(), "key");
    outcome.summary += VAULT_STATE;
    outcome.summary += &if is_well {
        format!("Accessible ({keys})")
    } else {
        "has problems".to_owned()
    };
    outcome.findings.extend(findings);
    outcome
}

/// All but the vault.
fn check_variables(context: &CheckContext<'_>) -> CheckOutcome {
    let config = &context.manifest.config;
    let example = config
        .example
        .as_deref()
        .map(|name| (name, read_example(context, name)));
    let examples: BTreeMap<&str, &str> = example
        .iter()
        .filter_map(|(_, file)| file.as_ref())
        .flat_map(|file| &file.entries)
        .map(|entry| (entry.name.as_str(), entry.value.as_str()))
        .collect();
    let documented: BTreeSet<&str> = examples.keys().copied().collect();
    let read = read_findings(context, &documented);
    if config.vars.is_empty() && read.is_empty() {
        let mut findings = foreign_findings(context);
        findings.extend(driver_findings(context));
        findings.extend(service_findings(context, &BTreeSet::new()));
        if findings.is_empty() {
            return CheckOutcome::skipped("the manifest declares no variables");
        }
        return CheckOutcome {
            summary: "no variables are declared".to_owned(),
            findings,
            ..CheckOutcome::default()
        };
    }
    let mut findings = foreign_findings(context);
    let mut present = 0;
    let mut absent: Vec<&str> = Vec::new();
    for (name, var) in &config.vars {
        let variable = Variable {
            context,
            name,
            var,
            example: examples.get(name.as_str()).copied(),
        };
        let set = context.environment.values.get(name);
        let value = set.map(|(value, _)| value.as_str());
        if value.is_some_and(|value| !value.is_empty() || !var.required) {
            present += 1;
        }
        if value.is_none() && !var.required {
            absent.push(name);
            continue;
        }
        findings.extend(variable.finding(value));
    }
    // Once: what one proposal writes, another one cannot write too.
    let of_example = from_example(context, &|name| read_example(context, name));
    let is_waiting = |finding: &&mut Finding| {
        let is_given = match &of_example {
            Some(Remedy::EditText { edits, .. }) => edits.iter().any(|edit| {
                let mut lines = edit.text.lines();
                lines.any(|line| line.starts_with(&format!("{}=", finding.subject)))
            }),
            _ => false,
        };
        finding.code == Code::ConfigMissing && finding.fix.is_none() && is_given
    };
    if let Some(finding) = findings.iter_mut().find(is_waiting) {
        let why = "what an example says may not be meant here";
        *finding = with_edit(finding.clone(), of_example.clone(), why);
    }
    findings.extend(misspelt_options(context, &absent));
    findings.extend(optional(context, &absent));
    if !config.vars.is_empty() {
        findings.extend(file_findings(context, example.as_ref(), &examples));
    }
    // An open quote that keeps a variable from being set is closed for that variable.
    let closed: Vec<Remedy> = findings
        .iter()
        .filter(|finding| finding.code == Code::ConfigMissing)
        .filter_map(|finding| finding.fix.clone())
        .collect();
    for finding in &mut findings {
        let is_syntax = finding.code == Code::ConfigEnvFileSyntax;
        if is_syntax && finding.fix.as_ref().is_some_and(|fix| closed.contains(fix)) {
            finding.fix = None;
            finding.facts.remove(NEEDS_APPROVAL);
        }
    }
    // What the code reads is not unused, though nobody declares it.
    findings.retain(|finding| {
        !read.iter().any(|other| {
            other.subject == finding.subject && other.code.masks_same_subject(&finding.code)
        })
    });
    let of_drivers = driver_findings(context);
    let is_new = |finding: &Finding| !findings.iter().any(|f| f.subject == finding.subject);
    let of_drivers: Vec<Finding> = of_drivers.into_iter().filter(is_new).collect();
    findings.extend(of_drivers);
    let reported = findings.iter().filter(|f| f.severity == Severity::Critical);
    let reported: BTreeSet<String> = reported.map(|finding| finding.subject.clone()).collect();
    findings.extend(service_findings(context, &reported));
    findings.extend(read);
    let declared = config.vars.len();
    CheckOutcome {
        summary: format!(
            "{present} of {} {} set",
            count(declared, "variable"),
            if declared == 1 { "is" } else { "are" }
        ),
        findings,
        measured: Measured::Config {
            declared: u32::try_from(declared).unwrap_or(u32::MAX),
            present,
        },
        skipped: false,
    }
}

/// The example file, read as any environment file is.
fn read_example(context: &CheckContext<'_>, name: &str) -> Option<EnvFile> {
    let manifest = Manifest {
        config: Config {
            files: vec![name.to_owned()],
            ..Config::default()
        },
        ..context.manifest.clone()
    };
    Environment::load(&manifest, context.root, std::iter::empty())
        .ok()?
        .files
        .pop()?
        .1
}

/// Optional variables that are not set, while a name one letter off is.
fn misspelt_options(context: &CheckContext<'_>, absent: &[&str]) -> Vec<Finding> {
    let found = absent.iter().filter_map(|name| {
        let (file, entry) = misspelt(context, name)?;
        let message = format!(
            "{} is set in {file} and declared nowhere; {name}, one letter off, is declared and not set",
            entry.name
        );
        let finding = Finding::new(Code::ConfigMissing, Severity::Warning, *name, message)
            .at(file, entry.line, 0)
            .remedy(format!("rename {} to {name}, if that is meant", entry.name));
        let fix = rename(context, file, &entry.name, name);
        Some(with_edit(finding, fix, "the other name may be meant"))
    });
    found.collect()
}

/// Optional variables that are not set, once and together.
fn optional(context: &CheckContext<'_>, absent: &[&str]) -> Option<Finding> {
    let first = context.manifest.config.vars.get(*absent.first()?)?;
    let mut names = absent[..absent.len().min(NAMES_MAX)].join(", ");
    if absent.len() > NAMES_MAX {
        names += &format!(" and {} more", absent.len() - NAMES_MAX);
    }
    let number = count(absent.len(), "optional variable");
    let (verb, them) = if absent.len() == 1 {
        ("is", "it")
    } else {
        ("are", "them")
    };
    let message = format!("{number} {verb} not set: {names}");
    let severity = Severity::Warning;
    let finding = Finding::new(Code::ConfigMissing, severity, "optional variables", message);
    Some(
        finding
            .at(context.manifest_name(), first.line, 0)
            .remedy(format!(
                "set {them} where the default is not meant, or take {them} out of [config.vars]"
            )),
    )
}

/// Why a default is not written by itself.
const HAD_ANOTHER: &str = "the last boot that was up had another value";

/// One declared variable.
struct Variable<'a> {
    context: &'a CheckContext<'a>,
    name: &'a str,
    var: &'a Var,
    example: Option<&'a str>,
}

impl Variable<'_> {
    /// What is wrong with it; one finding at most, the gravest.
    fn finding(&self, value: Option<&str>) -> Option<Finding> {
        let Some(value) = value.filter(|v| !v.is_empty()) else {
            return self.missing(value.is_some());
        };
        if let Some(why) = self.placeholder(value) {
            let severity = if self.var.required || self.var.secret {
                Severity::Critical
            } else {
                Severity::Warning
            };
            let message = format!("{} is still a placeholder: {why}", self.name);
            return Some(self.about(Code::ConfigPlaceholder, severity, message));
        }
        let mut is_advice = false;
        let why = match self.var.check(value).err().or_else(|| self.weak(value)) {
            Some(why) => why,
            None => {
                is_advice = self.var.min_entropy.is_none();
                self.guessable(value)?
            }
        };
        let severity = if self.var.required && !is_advice {
            Severity::Critical
        } else {
            Severity::Warning
        };
        let shown = if self.var.secret {
            String::new()
        } else {
            // Cut last: half of a password in a URL would not be recognised.
            let value = self.context.redactor.redact(value);
            format!(" ({})", truncate(&value, VALUE_BYTES_MAX))
        };
        let choice = near_choice(self.var, value).map(str::to_owned);
        let near = choice.clone().or_else(|| near_of_kind(self.var, value));
        let origin = self.context.environment.values.get(self.name);
        let fix = near.as_ref().zip(origin).and_then(|(near, (_, origin))| {
            replace_beginning(self.context, self.name, origin, value, near)
        });
        let meant = match (&choice, &near) {
            (Some(near), _) => format!("; {near} is one letter off"),
            (None, Some(near)) => format!("; {near} is the one near value"),
            (None, None) => String::new(),
        };
        let message = format!("{}{shown} {why}{meant}", self.name);
        let finding = self.about(Code::ConfigInvalid, severity, message);
        Some(with_edit(finding, fix, "another value may be meant"))
    }

    fn missing(&self, is_empty: bool) -> Option<Finding> {
        let state = if is_empty { "is empty" } else { "is not set" };
        if self.var.required {
            let near = misspelt(self.context, self.name).filter(|_| !is_empty);
            let other = near.map_or_else(String::new, |(file, entry)| {
                format!("; {file} sets {}, one letter off", entry.name)
            });
            let message = format!(
                "{} {state}, and the application requires it{other}",
                self.name
            );
            let finding = self.about(Code::ConfigMissing, Severity::Critical, message);
            let Some((file, entry)) = near else {
                let fix = match is_empty {
                    true => None,
                    false => close_quote_of(self.context, self.name),
                };
                return Some(match fix {
                    Some(fix) => {
                        with_edit(finding, Some(fix), "the value may go on in the next line")
                    }
                    None => finding,
                });
            };
            // A default in its place would hide what was meant.
            let fix = rename(self.context, file, &entry.name, self.name);
            let place = (file.to_owned(), entry.line);
            let finding = with_edit(finding, fix, "the other name may be meant");
            return Some(finding.at(place.0, place.1, 0));
        }
        // An optional variable that is set to nothing was set to nothing on purpose.
        None
    }

    fn placeholder(&self, value: &str) -> Option<&'static str> {
        if self.var.reject.iter().any(|rejected| rejected == value) {
            return Some("the manifest rejects this value");
        }
        if !self.var.secret {
            return None;
        }
        if is_placeholder(value) {
            return Some("its value is a well-known one");
        }
        let example = self.example.filter(|example| !example.is_empty());
        (example == Some(value)).then_some("its value is the one of the example file")
    }

    fn weak(&self, value: &str) -> Option<String> {
        (self.var.secret && is_pattern(value))
            .then(|| "repeats so few characters that anybody could guess it".to_owned())
    }

    /// Too few bits. The message gives neither bits nor length: both help whoever guesses.
    fn guessable(&self, value: &str) -> Option<String> {
        if !self.var.secret || self.var.kind != VarKind::String || !self.var.one_of.is_empty() {
            return None;
        }
        let bits_min = self.var.min_entropy.unwrap_or(BITS_MIN_DEFAULT);
        (estimated_bits(value) < bits_min)
            .then(|| format!("is easier to guess than {bits_min} random bits are"))
    }

    /// A finding with the place of the variable and what a fixer may do about it.
    fn about(&self, code: Code, severity: Severity, message: String) -> Finding {
        let fix = self.fix(&code);
        let finding = Finding::new(code, severity, self.name, message);
        let origin = self.context.environment.values.get(self.name);
        let finding = self.context.at_variable(finding, self.name);
        if matches!(origin, Some((_, Origin::Process))) {
            // The process environment wins over every file.
            return finding.remedy(format!(
                "set {} to a proper value where ubs is started, or take it out of that environment",
                self.name
            ));
        }
        let mut finding = finding.remedy(self.remedy());
        if self.var.secret {
            finding = finding.fact("secret", "true");
        }
        if matches!(fix, Some(Remedy::GenerateSecret { .. })) && self.is_in_use(&finding.code) {
            finding = finding.fact(IN_USE, "true");
        }
        if let Some(Remedy::SetDefault { value, .. }) = &fix {
            if self.needs_a_look(value) {
                finding = finding.fact(NEEDS_APPROVAL, "it leads to another system");
            } else if self.context.earlier.had_another_value(self.name, value) {
                finding = finding.fact(NEEDS_APPROVAL, HAD_ANOTHER);
            }
        }
        if finding.facts.contains_key(IN_USE) && finding.code == Code::ConfigMissing {
            finding = finding.remedy(format!(
                "bring back the value that {} had in the last boot that was up; a random one makes useless what was \
                 signed or encrypted with it",
                self.name
            ));
        }
        finding.fix = fix;
        finding
    }

    /// What a fixer may write to the last environment file: a declared default where nothing is set, or a
    /// random secret.
    fn fix(&self, code: &Code) -> Option<Remedy> {
        let file = self.context.manifest.config.files.last()?.clone();
        let name = self.name.to_owned();
        // What nobody could read may be what sets it.
        if *code == Code::ConfigMissing && has_unread_line(self.context) {
            return None;
        }
        match (&self.var.default, code) {
            _ if self.var.secret => self
                .var
                .generate
                .then_some(Remedy::GenerateSecret { file, name }),
            (Some(default), Code::ConfigMissing) => Some(Remedy::SetDefault {
                value: default.clone(),
                file,
                name,
            }),
            _ => None,
        }
    }

    /// A value is there, and something may have been signed or encrypted with it. One that is too weak works; a
    /// placeholder may not have been meant to, but in the last boot that was up it did.
    fn is_in_use(&self, code: &Code) -> bool {
        let set = self.context.environment.values.get(self.name);
        let value = set.map_or("", |(value, _)| value.as_str());
        match code {
            Code::ConfigMissing => self.context.earlier.had_another_value(self.name, ""),
            Code::ConfigPlaceholder => self.context.earlier.had_value(self.name, value),
            _ => true,
        }
    }

    /// A default that leads to another system is a guess about where the data is: it may be that of an example.
    fn needs_a_look(&self, default: &str) -> bool {
        let of_database = format!("${{{}", self.name);
        let mut schemas = self.context.manifest.schemas.iter();
        let is_database = schemas.any(|schema| schema.database.contains(&of_database));
        is_database
            || (is_connection(self.name, default)
                && (self.example == Some(default) || self.is_in_an_example(default)))
    }

    /// An example file that the manifest does not name has that value.
    fn is_in_an_example(&self, default: &str) -> bool {
        EXAMPLE_FILES.iter().any(|name| {
            let file = read_example(self.context, name);
            file.is_some_and(|file| {
                let mut entries = file.entries.iter();
                entries.any(|entry| entry.name == self.name && entry.value == default)
            })
        })
    }

    fn remedy(&self) -> String {
        let mut target = match self.context.manifest.config.files.last() {
            Some(file) => format!("in {file}"),
            None => "in the environment of ubs".to_owned(),
        };
        let mut services = self
            .context
            .manifest
            .layers
            .iter()
            .flat_map(|layer| &layer.services);
        if let Some(service) = services.find(|service| !service.env.is_empty()) {
            target.push_str(&format!(
                ", or in `env` of the service that reads it (as of {})",
                service.name
            ));
        }
        let name = self.name;
        if self.var.secret && self.var.generate {
            format!("set {name} {target} to a random value")
        } else if self.var.secret {
            format!("set {name} {target} to its real value, which only a person knows")
        } else if let Some(default) = &self.var.default {
            format!("set {name} {target}, for example to its default {default}")
        } else {
            format!("set {name} {target}")
        }
    }
}

#[cfg(test)]
mod tests;
