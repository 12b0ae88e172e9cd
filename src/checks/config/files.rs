//! The environment files themselves, and how they differ from the example file.

use std::collections::{BTreeMap, BTreeSet};

use super::mend::{close_quote, with_edit, write_utf8};
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

/// The environment files that are not UTF-8.
pub(super) fn foreign_findings(context: &CheckContext<'_>) -> Vec<Finding> {
    let files = context.environment.files.iter();
    let files = files.filter_map(|(file, parsed)| foreign(context, file, parsed.as_ref()?));
    files.collect()
}

/// What reads the file as UTF-8, as nearly everything does, fails.
fn foreign(context: &CheckContext<'_>, file: &str, parsed: &EnvFile) -> Option<Finding> {
    let first = parsed.not_utf8.first()?;
    let line = first.line;
    let message = format!(
        "{file} is not UTF-8 text: what reads it fails at line {line}, or gets other letters than were meant"
    );
    let finding = Finding::new(
        Code::ConfigEnvFileSyntax,
        Severity::Critical,
        format!("{file}:{line}"),
        message,
    );
    let finding = finding
        .at(file, line, 0)
        .remedy(format!("save {file} as UTF-8"));
    let fix = write_utf8(context, file, parsed);
    Some(with_edit(finding, fix, "another encoding may be meant"))
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
