//! What a literal or a conversion says of a value: its kind, and the text that one would write into an
//! environment file.

use ruff_python_ast::{Expr, Number};

use super::facts::ValueKind;

/// `int`, `bool`, `Path`: what a conversion makes of a text.
pub(super) fn named_kind(expr: &Expr) -> Option<ValueKind> {
    let name = match expr {
        Expr::Name(name) => name.id.as_str(),
        Expr::Attribute(attribute) => attribute.attr.as_str(),
        _ => return None,
    };
    Some(match name {
        "int" | "PositiveInt" | "NonNegativeInt" | "conint" => ValueKind::Int,
        "float" | "Decimal" | "PositiveFloat" | "NonNegativeFloat" => ValueKind::Float,
        "bool" | "strtobool" | "StrictBool" | "str2bool" | "to_bool" | "parse_bool" => {
            ValueKind::Bool
        }
        "Path" | "FilePath" | "DirectoryPath" | "PurePath" => ValueKind::Path,
        "timedelta" => ValueKind::Duration,
        "AnyUrl" | "AnyHttpUrl" | "HttpUrl" | "PostgresDsn" | "RedisDsn" | "AmqpDsn"
        | "MongoDsn" | "KafkaDsn" | "MySQLDsn" | "URL" | "urlparse" | "make_url"
        | "DatabaseURL" => ValueKind::Url,
        _ => return None,
    })
}

/// A literal as the text that one would write into an environment file.
pub(super) fn literal_text(expr: &Expr) -> Option<String> {
    match expr {
        Expr::StringLiteral(text) => Some(text.value.to_str().to_owned()),
        Expr::BooleanLiteral(literal) => Some(literal.value.to_string()),
        Expr::NumberLiteral(literal) => match &literal.value {
            Number::Int(number) => Some(number.to_string()),
            Number::Float(number) => Some(number.to_string()),
            Number::Complex { .. } => None,
        },
        Expr::UnaryOp(unary) if unary.op == ruff_python_ast::UnaryOp::USub => {
            Some(format!("-{}", literal_text(&unary.operand)?))
        }
        Expr::Call(call) => call
            .arguments
            .args
            .first()
            .filter(|_| named_kind(&call.func).is_some() && call.arguments.len() == 1)
            .and_then(literal_text),
        _ => None,
    }
}

pub(super) fn literal_kind(expr: &Expr) -> Option<ValueKind> {
    match expr {
        Expr::BooleanLiteral(_) => Some(ValueKind::Bool),
        Expr::NumberLiteral(literal) => match &literal.value {
            Number::Int(_) => Some(ValueKind::Int),
            Number::Float(_) => Some(ValueKind::Float),
            Number::Complex { .. } => None,
        },
        Expr::UnaryOp(unary) => literal_kind(&unary.operand),
        Expr::Call(call) => named_kind(&call.func),
        _ => None,
    }
}

pub(super) fn is_url(text: &str) -> bool {
    text.split_once("://").is_some_and(|(scheme, rest)| {
        !rest.is_empty()
            && !scheme.is_empty()
            && scheme
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
    })
}
