//! Single values of the manifest: strings without surprises, quantities with a unit, and the words for
//! what a value is when it should have been something else.

use toml_edit::{Item, Value};

use super::problem::{Fault, shown};

/// Longest string, in bytes.
pub(super) const STRING_BYTES_MAX: usize = 64 << 10;

/// Which control characters a string may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Controls {
    None,
    /// Tab, line feed and carriage return.
    Lines,
}

/// What a value is, in words.
pub(super) fn kind(item: &Item) -> &'static str {
    match item.type_name() {
        "string" => "a string",
        "integer" => "a whole number",
        "float" => "a number",
        "boolean" => "a boolean",
        "array" => "a list",
        "array of tables" => "a list of tables",
        "inline table" | "table" => "a table",
        _ => "a date or time",
    }
}

/// The fault of a value that is something else than `wanted`.
pub(super) fn wrong_type(item: &Item, key: &str, wanted: &str, example: &str) -> Fault {
    Fault::new(
        format!("{}, not {wanted}", kind(item)),
        format!(
            "`{}` must be {wanted}, and this is {}",
            shown(key),
            kind(item)
        ),
        format!("write {example}"),
    )
}

fn wrong_value(value: &Value, key: &str, wanted: &str, example: &str) -> Fault {
    wrong_type(&Item::Value(value.clone()), key, wanted, example)
}

/// A string.
pub(super) fn string<'r>(item: &'r Item, key: &str, controls: Controls) -> Result<&'r str, Fault> {
    let value = item
        .as_value()
        .ok_or_else(|| wrong_type(item, key, "a string", "\"text\""))?;
    string_of(value, key, controls)
}

/// A string.
pub(super) fn string_of<'r>(
    value: &'r Value,
    key: &str,
    controls: Controls,
) -> Result<&'r str, Fault> {
    let text = value
        .as_str()
        .ok_or_else(|| wrong_value(value, key, "a string", "it in quotes, for example \"text\""))?;
    check_characters(text, key, controls).map(|()| text)
}

/// The text of a string.
pub(super) fn plain_string<'r>(value: &'r Value, key: &str) -> Result<&'r str, Fault> {
    string_of(value, key, Controls::None)
}

fn check_characters(text: &str, key: &str, controls: Controls) -> Result<(), Fault> {
    if text.len() > STRING_BYTES_MAX {
        return Err(Fault::new(
            "too long",
            format!(
                "`{}` is longer than {} KiB",
                shown(key),
                STRING_BYTES_MAX >> 10
            ),
            "put long texts into a file of their own",
        ));
    }
    let allowed = |c: char| controls == Controls::Lines && matches!(c, '\t' | '\n' | '\r');
    match text.chars().find(|c| c.is_control() && !allowed(*c)) {
        None => Ok(()),
        Some(c) => Err(Fault::new(
            "a control character",
            format!(
                "`{}` has the control character U+{:04X} in it",
                shown(key),
                u32::from(c)
            ),
            "take it out",
        )),
    }
}

/// What the environment would hold for this value.
pub(super) fn scalar_text(item: &Item, key: &str) -> Result<String, Fault> {
    let value = item
        .as_value()
        .ok_or_else(|| wrong_type(item, key, "a string", "\"text\""))?;
    scalar_text_of(value, key)
}

/// What the environment would hold for this value.
pub(super) fn scalar_text_of(value: &Value, key: &str) -> Result<String, Fault> {
    match value {
        Value::Integer(number) => Ok(number.value().to_string()),
        Value::Float(number) => Ok(number.value().to_string()),
        Value::Boolean(truth) => Ok(truth.value().to_string()),
        _ => string_of(value, key, Controls::Lines).map(str::to_owned),
    }
}

/// The text of a number with a unit; a bare number gets a hint.
pub(super) fn quantity<'r>(
    item: &'r Item,
    key: &str,
    unit: &str,
    example: &str,
) -> Result<&'r str, Fault> {
    if let Some(number) = item.as_integer().filter(|number| *number != 0) {
        return Err(Fault::new(
            "no unit",
            format!("`{key}` is a number without a unit"),
            format!(
                "write \"{number}{unit}\" if that is what you mean, in quotes, or for example \"{example}\""
            ),
        ));
    }
    if item.as_integer() == Some(0) {
        return Err(Fault::new(
            "a number",
            format!("`{key}` must be a string with a number and a unit"),
            "write \"0\", in quotes",
        ));
    }
    let fits = item.as_str();
    fits.ok_or_else(|| {
        let wanted = "a string with a number and a unit";
        wrong_type(item, key, wanted, &format!("for example \"{example}\""))
    })
}
