//! The environment files themselves, and how they differ from the example file.

use std::collections::{BTreeMap, BTreeSet};

use super::mend::{close_quote, with_edit};
use crate::checks::context::CheckContext;
use crate::domain::code::Code;
use crate::domain::finding::{Finding, Severity};
use crate::manifest::EnvFile;

/// python-dotenv takes a byte-order mark for a part of the first name, also through pydantic-settings.
fn mark(file: &str, parsed: &EnvFile) -> Option<Finding> {
    let first = parsed.entries.first().filter(|_| parsed.has_mark)?;
    let message = format!(
        "{file} begins with a byte-order mark: what reads the file itself, like python-dotenv, takes it for a part of \
         the first name and does not find {}",
        first.name
    );
    let finding = Finding::of(Code::ConfigEnvFileSyntax, format!("{file}:1"), message);
    Some(finding.at(file, 1, 0).remedy(format!(
        "save {file} as UTF-8 without the mark (`sed -i '1s/^\\xEF\\xBB\\xBF//' {file}`)"
    )))
}

/// What is wrong with the environment files themselves.
pub(super) fn file_findings(
    context: &CheckContext<'_>,
    example: Option<&(&str, Option<EnvFile>)>,
    examples: &BTreeMap<&str, &str>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let config = &context.manifest.config;
    let mut in_files: BTreeSet<&str> = BTreeSet::new();
    let mut undocumented: BTreeMap<&str, (&str, u32)> = BTreeMap::new();
    let mut unused: BTreeMap<&str, (&str, u32)> = BTreeMap::new();
    for (file, parsed) in &context.environment.files {
        let Some(parsed) = parsed else { continue };
        findings.extend(mark(file, parsed));
        for (line, why) in &parsed.malformed {
            let finding = Finding::of(
                Code::ConfigEnvFileSyntax,
                format!("{file}:{line}"),
                format!("line {line} of {file} is not an assignment: {why}"),
            )
            .at(file.as_str(), *line, 0)
            .remedy("write it as NAME=value, or begin it with # to make it a comment");
            let fix = close_quote(context, file, *line);
            findings.push(with_edit(
                finding,
                fix,
                "the value may go on in the next line",
            ));
        }
        let mut differs: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
        for (line, why) in &parsed.docker_differs {
            differs.entry(why).or_default().push(*line);
        }
        for (why, lines) in differs {
            let more = match lines.len() {
                1 => String::new(),
                n => format!(" (and {} more such lines)", n - 1),
            };
            findings.push(
                Finding::new(
                    Code::ConfigEnvFileSyntax,
                    Severity::Info,
                    format!("{file}:{}", lines[0]),
                    format!("line {} of {file} has {why}{more}", lines[0]),
                )
                .at(file.as_str(), lines[0], 0)
                .remedy("write it without, if the file is given to `docker run --env-file` too"),
            );
        }
        let mut lines: BTreeMap<&str, u32> = BTreeMap::new();
        for entry in &parsed.entries {
            let name = entry.name.as_str();
            in_files.insert(name);
            if let Some(first) = lines.insert(name, entry.line) {
                findings.push(
                    Finding::of(
                        Code::ConfigEnvFileSyntax,
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
            let has_example = example.is_some_and(|(_, parsed)| parsed.is_some());
            if has_example && config.vars.contains_key(name) && !examples.contains_key(name) {
                undocumented.entry(name).or_insert((file, entry.line));
            }
            if !config.vars.contains_key(name) && !examples.contains_key(name) {
                unused.entry(name).or_insert((file, entry.line));
            }
        }
    }
    for (name, (file, line)) in undocumented {
        let example = example.map_or("the example file", |(name, _)| name);
        findings.push(
            Finding::of(
                Code::ConfigEnvFileDrift,
                name,
                format!("{name} is set in {file}, but {example} does not name it"),
            )
            .at(file, line, 0)
            .remedy(format!(
                "add {name} to {example}, with an empty or harmless value"
            )),
        );
    }
    for (name, (file, line)) in unused {
        findings.push(
            Finding::of(
                Code::ConfigUnused,
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
            Finding::of(
                Code::ConfigEnvFileDrift,
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
            Finding::of(
                Code::ConfigEnvFileDrift,
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
