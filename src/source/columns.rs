//! The columns that a table's definition spells out: the name and the type of each, as they are written.
//!
//! Enough to say whether two definitions mean the same table. What a base class or a loop adds is not seen;
//! whoever compares looks at the bases too.

use ruff_python_ast::{Expr, ExprCall, Stmt};
use ruff_text_size::Ranged;

use super::facts::ColumnDefinition;

/// What makes a column in a class body or in a call of `Table`.
const COLUMN_CALLS: [&str; 4] = ["Column", "mapped_column", "deferred", "Field"];
/// Packages that a type is written with: `sa.Integer` and `Integer` are one type.
const TYPE_PREFIXES: [&str; 4] = ["sqlalchemy.", "sa.", "db.", "orm."];

/// Columns of a class body.
pub(super) fn columns_of_class(body: &[Stmt], source: &str) -> Vec<ColumnDefinition> {
    let column = |statement: &Stmt| match statement {
        Stmt::AnnAssign(assign) => {
            let name = name_of(&assign.target)?;
            let annotation = compact(source, &*assign.annotation);
            if annotation.contains("ClassVar") {
                return None;
            }
            let Some(value) = assign.value.as_deref() else {
                return Some(ColumnDefinition {
                    name,
                    kind: annotation,
                });
            };
            let call = column_call(value)?;
            let (given, kind) = named_kind(call, source);
            Some(ColumnDefinition {
                name: given.unwrap_or(name),
                kind: format!("{annotation} {kind}"),
            })
        }
        Stmt::Assign(assign) => {
            let name = assign.targets.first().and_then(name_of)?;
            let (given, kind) = named_kind(column_call(&assign.value)?, source);
            Some(ColumnDefinition {
                name: given.unwrap_or(name),
                kind,
            })
        }
        _ => None,
    };
    sorted(body.iter().filter_map(column).collect())
}

/// Columns of `Table("name", metadata, Column(...), ...)`.
pub(super) fn columns_of_call(call: &ExprCall, source: &str) -> Vec<ColumnDefinition> {
    let column = |argument: &Expr| {
        let (name, kind) = named_kind(column_call(argument)?, source);
        Some(ColumnDefinition { name: name?, kind })
    };
    sorted(call.arguments.args.iter().filter_map(column).collect())
}

fn sorted(mut columns: Vec<ColumnDefinition>) -> Vec<ColumnDefinition> {
    columns.sort();
    columns
}

fn name_of(target: &Expr) -> Option<String> {
    match target {
        Expr::Name(name) if !name.id.as_str().starts_with("__") => Some(name.id.to_string()),
        _ => None,
    }
}

fn column_call(value: &Expr) -> Option<&ExprCall> {
    let Expr::Call(call) = value else {
        return None;
    };
    let name = match &*call.func {
        Expr::Name(name) => name.id.as_str(),
        Expr::Attribute(attribute) => attribute.attr.as_str(),
        _ => return None,
    };
    COLUMN_CALLS.contains(&name).then_some(call)
}

/// The name that the call gives, if any, and its type: what is not a keyword, and whether it is a key.
fn named_kind(call: &ExprCall, source: &str) -> (Option<String>, String) {
    let mut arguments = call.arguments.args.iter().peekable();
    let name = arguments.next_if(|first| matches!(first, Expr::StringLiteral(_)));
    let name = name.and_then(|name| match name {
        Expr::StringLiteral(text) => Some(text.value.to_str().to_owned()),
        _ => None,
    });
    let mut kinds: Vec<String> = arguments.map(|kind| compact(source, kind)).collect();
    let is_true = |value: &Expr| matches!(value, Expr::BooleanLiteral(literal) if literal.value);
    for keyword in &call.arguments.keywords {
        match keyword.arg.as_ref().map(|name| name.as_str()) {
            Some("primary_key") if is_true(&keyword.value) => kinds.push("primary key".to_owned()),
            Some("type_") => kinds.push(compact(source, &keyword.value)),
            _ => {}
        }
    }
    (name, kinds.join(" "))
}

/// The text without spaces, packages of types and empty brackets.
fn compact(source: &str, part: &impl Ranged) -> String {
    let range = part.range();
    let text = source
        .get(range.start().to_usize()..range.end().to_usize())
        .unwrap_or_default();
    let mut text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    for prefix in TYPE_PREFIXES {
        text = text.replace(prefix, "");
    }
    text.replace("()", "")
}
