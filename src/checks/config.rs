//! The config check: the variables that the manifest declares against the environment that the
//! application would get, and the environment files against the example file.
//!
//! The value of a secret never leaves this file: findings say what is wrong with it, not what it is.

use std::collections::{BTreeMap, BTreeSet};

use super::{CheckContext, Outcome, count};
use crate::domain::finding::{Finding, Measured, Severity};
use crate::domain::redact::truncate;
use crate::manifest::{Config, EnvFile, Environment, Manifest, Origin, Var, VarKind};

/// Longest value that is shown, in bytes.
const VALUE_BYTES_MAX: usize = 60;
/// Secrets of at least that many characters are measured; shorter ones are a matter of `min_length`.
const ENTROPY_LENGTH_MIN: usize = 8;
/// Shannon entropy of a character below which a secret is a pattern, not a secret: `aaaaaaaa` has 0,
/// `abababab` 1, `hunter2hunter2` more than 2.
const ENTROPY_BITS_MIN: f64 = 1.5;

/// Values that stand where a secret should be, compared in lower case.
const PLACEHOLDERS: [&str; 28] = [
    "change-me",
    "changeme",
    "change_me",
    "change me",
    "changethis",
    "change-this",
    "change_this",
    "replace-me",
    "replaceme",
    "replace_me",
    "placeholder",
    "todo",
    "tbd",
    "fixme",
    "secret",
    "mysecret",
    "my-secret",
    "supersecret",
    "super-secret",
    "secretkey",
    "secret-key",
    "password",
    "passwd",
    "example",
    "default",
    "dummy",
    "none",
    "null",
];
/// Beginnings of such values.
const PLACEHOLDER_STARTS: [&str; 12] = [
    "your-",
    "your_",
    "your ",
    "changeme",
    "change-me",
    "change_me",
    "replace-me",
    "replace_me",
    "replace-with",
    "insert-",
    "insert_",
    "example-",
];

/// Runs the check.
pub(super) fn check(context: &CheckContext<'_>) -> Outcome {
    let config = &context.manifest.config;
    if config.vars.is_empty() {
        return Outcome::skipped("the manifest declares no variables");
    }
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
    let mut findings = Vec::new();
    let mut present = 0;
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
        findings.extend(variable.finding(value));
    }
    findings.extend(file_findings(context, example.as_ref(), &examples));
    let declared = config.vars.len();
    Outcome {
        summary: format!("{present} of {} are set", count(declared, "variable")),
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
            return Some(self.about("config.placeholder", severity, message));
        }
        let why = invalid(self.var, value).or_else(|| self.weak(value))?;
        let severity = if self.var.required {
            Severity::Critical
        } else {
            Severity::Warning
        };
        let shown = if self.var.secret {
            String::new()
        } else {
            format!(" ({})", truncate(value, VALUE_BYTES_MAX))
        };
        let message = format!("{}{shown} {why}", self.name);
        Some(self.about("config.invalid", severity, message))
    }

    fn missing(&self, is_empty: bool) -> Option<Finding> {
        let state = if is_empty { "is empty" } else { "is not set" };
        if self.var.required {
            let message = format!("{} {state}, and the application requires it", self.name);
            return Some(self.about("config.missing", Severity::Critical, message));
        }
        // An optional variable that is set to nothing was set to nothing on purpose.
        if is_empty {
            return None;
        }
        let message = format!("{} {state}; it is optional", self.name);
        Some(self.about("config.missing", Severity::Info, message))
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
        let weak = self.var.secret
            && value.chars().count() >= ENTROPY_LENGTH_MIN
            && entropy_bits(value) < ENTROPY_BITS_MIN;
        weak.then(|| "repeats so few characters that anybody could guess it".to_owned())
    }

    /// A finding with the place of the variable and what a fixer may do about it.
    fn about(&self, code: &str, severity: Severity, message: String) -> Finding {
        let finding = Finding::new(code, severity, self.name, message);
        let origin = self.context.environment.values.get(self.name);
        let finding = match origin.map(|(_, origin)| origin) {
            Some(Origin::File(file, line)) => finding.at(file.display().to_string(), *line, 0),
            _ => finding.at(self.manifest_name(), self.var.line, 0),
        };
        if matches!(origin, Some((_, Origin::Process))) {
            // The process environment wins over every file.
            return finding.remedy(format!(
                "set {} to a proper value where ubs is started, or take it out of that environment",
                self.name
            ));
        }
        let remedy = self.remedy();
        let mut finding = finding.remedy(remedy);
        let Some(file) = self.context.manifest.config.files.last() else {
            return finding;
        };
        finding = finding.fact("name", self.name).fact("file", file.as_str());
        if self.var.secret {
            finding = finding.fact("secret", "true");
            if self.var.generate {
                finding = finding.fact("generate", "true");
            }
        } else if let Some(default) = &self.var.default {
            finding = finding.fact("default", default.as_str());
        }
        finding
    }

    fn remedy(&self) -> String {
        let target = match self.context.manifest.config.files.last() {
            Some(file) => format!("in {file}"),
            None => "in the environment of ubs".to_owned(),
        };
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

    fn manifest_name(&self) -> String {
        let manifest = self.context.manifest;
        manifest
            .path
            .strip_prefix(&manifest.workspace)
            .unwrap_or(&manifest.path)
            .display()
            .to_string()
    }
}

fn is_placeholder(value: &str) -> bool {
    let value = value.trim().to_lowercase();
    let repeats_x = value.len() >= 3 && value.chars().all(|c| c == 'x' || c == '*' || c == '.');
    let in_brackets = (value.starts_with('<') && value.ends_with('>'))
        || (value.starts_with("{{") && value.ends_with("}}"));
    repeats_x
        || in_brackets
        || PLACEHOLDERS.contains(&value.as_str())
        || PLACEHOLDER_STARTS
            .iter()
            .any(|start| value.starts_with(start))
        || value.ends_with("-here")
        || value.ends_with("_here")
}

/// Shannon entropy of a character, in bits, estimated from how often each one occurs.
fn entropy_bits(text: &str) -> f64 {
    let mut counts: BTreeMap<char, f64> = BTreeMap::new();
    for c in text.chars() {
        *counts.entry(c).or_default() += 1.0;
    }
    let total: f64 = counts.values().sum();
    counts
        .values()
        .map(|n| {
            let share = n / total;
            -share * share.log2()
        })
        .sum()
}

/// Why the value is not what the declaration says; never says the value.
fn invalid(var: &Var, value: &str) -> Option<String> {
    let measured = match var.kind {
        VarKind::Int => match value.trim().parse::<i128>() {
            // Numbers as large as that are compared well enough as floating point.
            #[allow(clippy::cast_precision_loss)]
            Ok(number) => Some((number as f64, "")),
            Err(_) => return Some("is no whole number".to_owned()),
        },
        VarKind::Float => match value.trim().parse::<f64>() {
            Ok(number) if number.is_finite() => Some((number, "")),
            _ => return Some("is no number".to_owned()),
        },
        VarKind::Duration => match parse_duration_s(value) {
            Some(seconds) => Some((seconds, " s")),
            None => return Some("is no duration such as 90, 30s or 5m".to_owned()),
        },
        VarKind::Bool => {
            let known = [
                "true", "false", "1", "0", "yes", "no", "on", "off", "t", "f", "y", "n",
            ];
            if !known.contains(&value.trim().to_lowercase().as_str()) {
                return Some("is neither true nor false".to_owned());
            }
            None
        }
        VarKind::Url => {
            if !is_url(value) {
                return Some("is no URL such as scheme://host/path".to_owned());
            }
            None
        }
        VarKind::Path => {
            if value.contains('\0') {
                return Some("is no path".to_owned());
            }
            None
        }
        VarKind::String | VarKind::Enum => None,
    };
    if let Some((number, unit)) = measured {
        if let Some(min) = var.min.filter(|min| number < *min) {
            return Some(format!("is less than {min}{unit}"));
        }
        if let Some(max) = var.max.filter(|max| number > *max) {
            return Some(format!("is more than {max}{unit}"));
        }
    }
    if !var.one_of.is_empty() && !var.one_of.iter().any(|allowed| allowed == value) {
        return Some(format!("is none of {}", var.one_of.join(", ")));
    }
    let length = value.chars().count();
    if let Some(min) = var.min_length.filter(|min| length < *min) {
        return Some(format!(
            "has {}, and must have at least {min}",
            count(length, "character")
        ));
    }
    let pattern = var.pattern.as_deref()?;
    match regex::Regex::new(pattern) {
        Ok(regex) if regex.is_match(value) => None,
        Ok(_) => Some(format!("does not match the pattern {pattern}")),
        Err(_) => Some(format!("cannot be compared: {pattern} is no pattern")),
    }
}

/// `scheme:` and something behind it, RFC 3986, section 3.
fn is_url(value: &str) -> bool {
    let Some((scheme, rest)) = value.split_once(':') else {
        return false;
    };
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
        && rest.starts_with("//")
        && !value.contains(char::is_whitespace)
}

/// Seconds: a bare number, or a number with `ms`, `s`, `m`, `h` or `d`.
fn parse_duration_s(value: &str) -> Option<f64> {
    let value = value.trim();
    let split = value
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(value.len());
    let (number, unit) = value.split_at(split);
    let number: f64 = number.parse().ok()?;
    let seconds = match unit.trim() {
        "" | "s" => 1.0,
        "ms" => 0.001,
        "m" | "min" => 60.0,
        "h" => 3_600.0,
        "d" => 86_400.0,
        _ => return None,
    };
    Some(number * seconds)
}

/// What is wrong with the environment files themselves.
fn file_findings(
    context: &CheckContext<'_>,
    example: Option<&(&str, Option<EnvFile>)>,
    examples: &BTreeMap<&str, &str>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let config = &context.manifest.config;
    let mut in_files: BTreeSet<&str> = BTreeSet::new();
    let mut unused: BTreeMap<&str, (&str, u32)> = BTreeMap::new();
    for (file, parsed) in &context.environment.files {
        let Some(parsed) = parsed else { continue };
        for (line, why) in &parsed.malformed {
            findings.push(
                Finding::new(
                    "config.env_file_syntax",
                    Severity::Warning,
                    format!("{file}:{line}"),
                    format!("line {line} of {file} is no assignment: {why}"),
                )
                .at(file.as_str(), *line, 0)
                .remedy("write it as NAME=value, or begin it with # to make it a comment"),
            );
        }
        let mut lines: BTreeMap<&str, u32> = BTreeMap::new();
        for entry in &parsed.entries {
            let name = entry.name.as_str();
            in_files.insert(name);
            if let Some(first) = lines.insert(name, entry.line) {
                findings.push(
                    Finding::new(
                        "config.env_file_syntax",
                        Severity::Warning,
                        name,
                        format!(
                            "{name} is set twice in {file}, in lines {first} and {}; the later one counts",
                            entry.line
                        ),
                    )
                    .at(file.as_str(), entry.line, 0)
                    .remedy(format!("remove one of the two lines that set {name}")),
                );
            }
            if !config.vars.contains_key(name) && !examples.contains_key(name) {
                unused.entry(name).or_insert((file, entry.line));
            }
        }
    }
    for (name, (file, line)) in unused {
        findings.push(
            Finding::new(
                "config.unused",
                Severity::Info,
                name,
                format!("{name} is set in {file}, but declared nowhere"),
            )
            .at(file, line, 0)
            .remedy(format!("declare it as [config.vars.{name}], or remove it")),
        );
    }
    let Some((example_name, parsed)) = example else {
        return findings;
    };
    let Some(parsed) = parsed else {
        findings.push(
            Finding::new(
                "config.env_file_drift",
                Severity::Info,
                *example_name,
                format!("the example file {example_name} does not exist"),
            )
            .remedy("create it, or take config.example out of the manifest"),
        );
        return findings;
    };
    for entry in &parsed.entries {
        let name = entry.name.as_str();
        // A declared variable that is missing has its own finding.
        if config.vars.contains_key(name)
            || in_files.contains(name)
            || context.environment.values.contains_key(name)
        {
            continue;
        }
        findings.push(
            Finding::new(
                "config.env_file_drift",
                Severity::Info,
                name,
                format!("{name} is in {example_name}, but set nowhere"),
            )
            .at(*example_name, entry.line, 0)
            .remedy(format!(
                "set {name}, or remove it from {example_name} if nothing reads it"
            )),
        );
    }
    findings
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
