//! One file: its bytes become text and a tree, and what the walker's collectors say of it becomes its facts.

use std::collections::BTreeMap;

use ruff_python_ast::PythonVersion;
use ruff_python_parser::{Mode, ParseOptions, parse_unchecked};

use super::bases::BaseFacts;
use super::created::CreatedFacts;
use super::decode::{NoText, decode};
use super::environment::EnvironmentFacts;
use super::facts::{Import, ModuleScope, Place, SyntaxError, UndefinedName, Unjudged};
use super::given::GivenFacts;
use super::lines::Lines;
use super::nesting::{TooDeep, measure};
use super::scope::{FileName, Scope};
use super::settings::ClassFacts;
use super::tables::TableFacts;
use super::undefined::unbound_names;
use super::walker::walk;
use super::web::WebFacts;

/// What one file says; what needs other files is resolved when all are read.
#[derive(Debug, Default)]
pub(super) struct FileFacts {
    pub lines: usize,
    pub syntax_errors: Vec<SyntaxError>,
    /// By place.
    pub unjudged: Vec<Unjudged>,
    pub imports: Vec<Import>,
    pub environment: EnvironmentFacts,
    /// Classes that may be settings.
    pub classes: Vec<ClassFacts>,
    pub web: WebFacts,
    pub bases: BaseFacts,
    pub tables: TableFacts,
    pub created: CreatedFacts,
    pub given: GivenFacts,
    pub undefined: Vec<UndefinedName>,
    pub scope: ModuleScope,
    /// Names of the module that are imported: what they stand for.
    pub aliases: BTreeMap<String, String>,
}

/// Reads one file.
pub(super) fn read_file(name: FileName<'_>, bytes: &[u8]) -> FileFacts {
    let mut facts = FileFacts {
        lines: bytes.iter().filter(|byte| **byte == b'\n').count()
            + usize::from(bytes.last().is_some_and(|byte| *byte != b'\n')),
        ..FileFacts::default()
    };
    facts.scope.module = name.module.to_owned();
    facts.scope.file = name.shown.to_owned();
    facts.scope.is_package = name.is_package;
    let whole = |line| Place {
        file: name.shown.to_owned(),
        line,
        column: 0,
    };
    let text = match decode(bytes) {
        Ok(text) => text,
        Err(no_text) => {
            facts.scope.is_dynamic = true;
            match no_text {
                NoText::Refused(at, message) => {
                    let before = bytes.iter().take(at);
                    let line = before.filter(|byte| **byte == b'\n').count() + 1;
                    let place = whole(u32::try_from(line).unwrap_or(u32::MAX));
                    facts.syntax_errors.push(SyntaxError { place, message });
                }
                NoText::Unknown(why) => facts.unjudged.push(Unjudged {
                    place: whole(1),
                    why,
                }),
            }
            return facts;
        }
    };
    if let Err(too_deep) = measure(&text) {
        facts.scope.is_dynamic = true;
        match too_deep {
            TooDeep::Refused(message) => facts.syntax_errors.push(SyntaxError {
                place: whole(0),
                message: message.to_owned(),
            }),
            TooDeep::Unjudged => facts.unjudged.push(Unjudged {
                place: whole(0),
                why: "an expression is nested too deeply to be read".to_owned(),
            }),
        }
        return facts;
    }
    let version = name
        .target
        .map_or(PythonVersion::latest_preview(), |(major, minor)| {
            PythonVersion { major, minor }
        });
    let options = ParseOptions::from(Mode::Module).with_target_version(version);
    let Some(parsed) = parse_unchecked(&text, options).try_into_module() else {
        return facts;
    };
    let lines = Lines::of(&text);
    let broken = parsed
        .errors()
        .first()
        .map(|error| (error.location.start(), error.error.to_string()));
    // What an older Python lacks counts only where the version of Python is given.
    let unsupported = name.target.and_then(|_| {
        let error = parsed.unsupported_syntax_errors().first()?;
        Some((error.range.start(), error.to_string()))
    });
    let error = [broken, unsupported]
        .into_iter()
        .flatten()
        .min_by_key(|(at, _)| *at);
    if let Some((at, message)) = error {
        facts.scope.is_dynamic = true;
        facts.syntax_errors.push(SyntaxError {
            place: lines.place(name.shown, at),
            message,
        });
    }
    // In a file that cannot be parsed names are missing.
    let unbound = if facts.syntax_errors.is_empty() {
        unbound_names(&parsed.syntax().body)
    } else {
        Vec::new()
    };
    let undefined = unbound
        .into_iter()
        .map(|one| UndefinedName {
            place: lines.place(name.shown, one.at),
            name: one.name,
            function: one.function,
            near: one.near,
        })
        .collect();
    let scope = Scope::new(name, lines, std::mem::take(&mut facts.scope));
    let walked = walk(scope, &parsed.syntax().body);
    let mut environment = walked.environment;
    let mut unjudged = walked.imports.unjudged;
    unjudged.append(&mut environment.unjudged);
    unjudged.extend(walked.settings.unjudged);
    unjudged.sort_by(|a, b| a.place.cmp(&b.place));
    FileFacts {
        lines: facts.lines,
        syntax_errors: facts.syntax_errors,
        unjudged,
        imports: walked.imports.imports,
        environment,
        classes: walked.settings.classes,
        web: walked.web,
        bases: walked.bases,
        tables: walked.tables,
        created: walked.created,
        given: walked.given,
        undefined,
        scope: walked.scope,
        aliases: walked.aliases,
    }
}
