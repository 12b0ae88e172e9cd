//! Reads `[config]`: the environment files and the declared variables.

use std::collections::BTreeMap;

use super::keys::{CONFIG, VAR};
use super::measure::duration_ms;
use super::probe::pattern;
use super::problem::{Fault, shown};
use super::section::{Section, Spanned, values};
use super::types::{Config, Var, VarKind};
use super::words::{inside_or_absolute_path, inside_path, one_of, variable_name};

/// Most declared variables.
const VARS_MAX: usize = 1000;
/// Most environment files.
const FILES_MAX: usize = 32;
/// Longest value that can be asked for.
const MIN_LENGTH_MAX: u32 = 4096;
/// Characters of a value that the fixer generates: 32 random bytes in hexadecimal.
const GENERATED_CHARS: u32 = 64;
/// A secret of more bits than a key of the largest usual cipher has makes no sense.
const MIN_ENTROPY_MAX: f64 = 256.0;
/// Read where the manifest names no environment file.
const DEFAULT_FILE: &str = ".env";

const KINDS: [(&str, VarKind); 8] = [
    ("string", VarKind::String),
    ("int", VarKind::Int),
    ("float", VarKind::Float),
    ("bool", VarKind::Bool),
    ("url", VarKind::Url),
    ("path", VarKind::Path),
    ("enum", VarKind::Enum),
    ("duration", VarKind::Duration),
];

/// `[config]`, or its defaults.
pub(super) fn read_config(root: &Section<'_>) -> Config {
    let mut config = Config {
        files: vec![DEFAULT_FILE.to_owned()],
        ..Config::default()
    };
    let Some(section) = root.section("config", &CONFIG) else {
        return config;
    };
    if let Some(files) = read_files(&section) {
        config.files = files;
    }
    config.example = section.parse("example", inside_path);
    config.vars = read_vars(&section);
    if let Some(scan) = section.list("scan", inside_path) {
        config.scan = scan.into_iter().map(|directory| directory.value).collect();
    }
    config
}

fn read_files(section: &Section<'_>) -> Option<Vec<String>> {
    let mut first = true;
    let files = section.list("files", |text| {
        // Fixers write into the first one.
        if std::mem::take(&mut first) {
            inside_path(text)
        } else {
            inside_or_absolute_path(text)
        }
    })?;
    let mut seen: Vec<String> = Vec::new();
    for file in files {
        if seen.contains(&file.value) {
            let message = format!("`{}` is named twice", shown(&file.value));
            let fault = Fault::new("again", message, "name each file once; later ones win");
            section.faults().report(file.span, fault);
        } else {
            seen.push(file.value);
        }
        if seen.len() > FILES_MAX {
            let message = format!("more than {FILES_MAX} environment files");
            let fault = Fault::new(
                "too many",
                message,
                "put variables that belong together into one file",
            );
            section.fault("files", fault);
            break;
        }
    }
    Some(seen)
}

fn read_vars(config: &Section<'_>) -> BTreeMap<String, Var> {
    let Some(item) = config.item("vars") else {
        return BTreeMap::new();
    };
    let Some(table) = item.as_table_like() else {
        let fault = super::scalar::wrong_type(
            item,
            "vars",
            "a table",
            "[config.vars.NAME] for each variable",
        );
        config.fault("vars", fault);
        return BTreeMap::new();
    };
    if table.len() > VARS_MAX {
        let message = format!("more than {VARS_MAX} variables are declared");
        config.fault(
            "vars",
            Fault::new("too many", message, "declare those that can be wrong"),
        );
        return BTreeMap::new();
    }
    let mut vars = BTreeMap::new();
    for (name, item) in table.iter() {
        let span = table
            .key(name)
            .and_then(toml_edit::Key::span)
            .unwrap_or_else(|| config.value_span("vars"));
        if let Err(fault) = variable_name(name) {
            config.faults().report(span.clone(), fault);
        }
        if let Some(section) = config.named(name, item, span, &VAR) {
            vars.insert(name.to_owned(), read_var(&section));
        }
    }
    vars
}

fn read_var(section: &Section<'_>) -> Var {
    let kind = section.parse("kind", |text| one_of(text, &KINDS));
    let one_of = section.list_of_scalars("one_of");
    let var = Var {
        required: section.boolean("required").unwrap_or(false),
        secret: section.boolean("secret").unwrap_or(false),
        kind: kind.unwrap_or_default(),
        min: bound(section, "min", kind),
        max: bound(section, "max", kind),
        min_length: section
            .integer("min_length", 0..=MIN_LENGTH_MAX)
            .map(|length| length as usize),
        pattern: section.parse_lines("pattern", pattern),
        one_of: one_of.iter().flatten().map(|v| v.value.clone()).collect(),
        reject: section.list_of_scalars("reject").map_or(vec![], values),
        default: section.scalar_text("default"),
        generate: section.boolean("generate").unwrap_or(false),
        min_entropy: entropy(section),
        line: section.line(),
    };
    check_bounds(section, &var);
    check_choices(section, &var, one_of.as_deref().unwrap_or_default());
    check_default(section, &var);
    check_secrecy(section, &var);
    var
}

/// `min` or `max`: a number, for a duration also with its unit.
fn bound(section: &Section<'_>, key: &str, kind: Option<VarKind>) -> Option<f64> {
    let item = section.item(key)?;
    let numeric = matches!(
        kind,
        Some(VarKind::Int | VarKind::Float | VarKind::Duration)
    );
    // A bad `kind` is reported already.
    if !numeric && (kind.is_some() || !section.has("kind")) {
        section.faults().report(
            section.key_span(key),
            Fault::new(
                "needs a number",
                format!("`{key}` has no meaning for a variable that is no number"),
                "add `kind = \"int\"`, \"float\" or \"duration\", or use `min_length` or `pattern`",
            ),
        );
        return None;
    }
    if kind == Some(VarKind::Duration) && item.is_str() {
        #[allow(clippy::cast_precision_loss)] // At most a year in milliseconds.
        return section.parse(key, |text| Ok(duration_ms(text)? as f64 / 1000.0));
    }
    section.number(key)
}

/// `min_entropy`, for secrets.
fn entropy(section: &Section<'_>) -> Option<f64> {
    let bits = section.number("min_entropy")?;
    let fault = if section.boolean("secret") != Some(true) {
        Fault::new(
            "for secrets only",
            "`min_entropy` is for secrets only",
            "add `secret = true`, or take it out",
        )
    } else if !(0.0..=MIN_ENTROPY_MAX).contains(&bits) {
        Fault::new(
            "out of range",
            format!("`min_entropy` cannot be {bits}"),
            format!("write bits from 0 (not judged) to {MIN_ENTROPY_MAX}"),
        )
    } else {
        return Some(bits);
    };
    section.fault("min_entropy", fault);
    None
}

fn check_bounds(section: &Section<'_>, var: &Var) {
    if let (Some(min), Some(max)) = (var.min, var.max)
        && min > max
    {
        section.fault(
            "min",
            Fault::new(
                "larger than `max`",
                format!("`min` is {min} and `max` is {max}: no value is right"),
                "exchange the two, or take one out",
            ),
        );
    }
}

fn check_choices(section: &Section<'_>, var: &Var, choices: &[Spanned<String>]) {
    if var.kind == VarKind::Enum && choices.is_empty() && !section.has("one_of") {
        section.missing("one_of", "[\"first\", \"second\"]");
    }
    if section.has("one_of") && choices.is_empty() {
        section.fault(
            "one_of",
            Fault::new(
                "empty",
                "`one_of` allows no value at all",
                "name the values that are allowed, or take the key out",
            ),
        );
    }
    for choice in choices {
        if let Err(why) = var.kind.check(&choice.value) {
            section.faults().report(
                choice.span.clone(),
                Fault::new(
                    "not of this kind",
                    format!("`{}` in `one_of` {why}", shown(&choice.value)),
                    "correct the value, or change `kind`",
                ),
            );
        }
    }
}

fn check_default(section: &Section<'_>, var: &Var) {
    let Some(default) = &var.default else {
        return;
    };
    if var.secret {
        section.faults().report(
            section.key_span("default"),
            Fault::new(
                "a secret has no default",
                "a secret cannot have a default: it would be the same everywhere, and known to all who read this file",
                "take `default` out; with `generate = true` a random value is written",
            ),
        );
    } else if let Err(why) = var.check(default) {
        section.fault(
            "default",
            Fault::new(
                "not a right value itself",
                format!("the default {why}"),
                "correct the default, or what is declared about the variable",
            ),
        );
    }
}

fn check_secrecy(section: &Section<'_>, var: &Var) {
    if !var.generate {
        return;
    }
    let why = if !var.secret {
        "`generate` is for secrets only"
    } else if var.kind != VarKind::String {
        "a generated value is text, and `kind` asks for something else"
    } else if !var.one_of.is_empty() {
        "a generated value is random, and `one_of` allows only a few"
    } else if var.min_length > Some(GENERATED_CHARS as usize) {
        "a generated value has 64 characters, and `min_length` asks for more"
    } else {
        return;
    };
    let help = if var.secret {
        "take `generate` out, or what contradicts it"
    } else {
        "add `secret = true`, or give a `default` instead"
    };
    section.faults().report(
        section.key_span("generate"),
        Fault::new("cannot be generated", why, help),
    );
}
