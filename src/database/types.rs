//! When a database considers two types, or two defaults, the same. Pure.

use std::sync::LazyLock;

use regex::Regex;

use crate::database::affinity::are_compatible;
use crate::database::model::{Column, Dialect};

/// What is written through one type comes back through the other.
pub(crate) fn same_type(dialect: Dialect, expected: &Column, live: &Column) -> bool {
    let (Some(kind), Some(found)) = (&expected.kind, &live.kind) else {
        return true;
    };
    if dialect == Dialect::Sqlite {
        return are_compatible(kind, found);
    }
    if let Some(labels) = &expected.labels {
        // The name of an enumeration may be qualified or not; what it allows is what counts.
        let same_name = last_name(&canonical(kind)) == last_name(&canonical(found));
        let allowed = live.labels.as_deref().unwrap_or_default();
        return same_name && labels.iter().all(|label| allowed.contains(label));
    }
    let wanted = canonical(kind);
    let is_same = |found: &String| {
        let found = canonical(found);
        // `public.citext` is `citext`; a built-in type has no schema.
        found == wanted || last_name(&found) == wanted || found == last_name(&wanted)
    };
    is_same(found) || live.base.as_ref().is_some_and(is_same)
}

fn last_name(kind: &str) -> &str {
    kind.rsplit('.').next().unwrap_or(kind)
}

/// A PostgreSQL type by the name that `format_type` gives it
/// (postgresql.org/docs/current/datatype.html, table 8.1).
fn canonical(kind: &str) -> String {
    static COLLATE: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r#"(?i)\s+collate\s+("[^"]*"|\S+)"#).ok());
    let mut text = kind.trim().to_owned();
    if let Some(collate) = COLLATE.as_ref() {
        text = collate.replace_all(&text, "").into_owned();
    }
    // What is in quotes keeps its case.
    let text = if text.contains('"') {
        text.replace('"', "")
    } else {
        text.to_lowercase()
    };
    // An array has no fixed number of dimensions.
    let (text, array) = match text.find('[') {
        Some(at) => (text[..at].to_owned(), "[]"),
        None => (text, ""),
    };
    let (name, args, rest) = match text.split_once('(') {
        Some((name, rest)) => {
            let (args, rest) = rest.split_once(')').unwrap_or((rest, ""));
            (name.trim(), args.replace(' ', ""), rest.trim())
        }
        None => {
            let split = text.find(" with");
            let (name, rest) = split.map_or((text.as_str(), ""), |at| text.split_at(at));
            (name.trim(), String::new(), rest.trim())
        }
    };
    let (name, args) = match name {
        "int" | "int4" | "serial" => ("integer", args),
        "int8" | "bigserial" => ("bigint", args),
        "int2" | "smallserial" => ("smallint", args),
        "bool" => ("boolean", args),
        "varchar" | "national character varying" => ("character varying", args),
        "char" | "bpchar" | "character" if args.is_empty() => ("character", "1".to_owned()),
        "char" => ("character", args),
        "decimal" | "numeric" => (
            "numeric",
            args.strip_suffix(",0").unwrap_or(&args).to_owned(),
        ),
        "float4" => ("real", args),
        "float8" => ("double precision", args),
        // The argument of FLOAT is bits of the mantissa.
        "float" if args.parse::<u32>().is_ok_and(|bits| bits <= 24) => ("real", String::new()),
        "float" => ("double precision", String::new()),
        "timestamptz" => return format!("timestamp with time zone{array}"),
        "timetz" => return format!("time with time zone{array}"),
        "varbit" => ("bit varying", args),
        "bit" if args.is_empty() => ("bit", "1".to_owned()),
        other => (other, args),
    };
    let zone = match (name, rest) {
        ("timestamp" | "time", "") => " without time zone".to_owned(),
        (_, "") => String::new(),
        (_, rest) => format!(" {rest}"),
    };
    if args.is_empty() {
        format!("{name}{zone}{array}")
    } else {
        format!("{name}({args}){zone}{array}")
    }
}

/// How two defaults stand to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Defaults {
    Same,
    /// Two expressions that are written differently, which may mean the same.
    Unclear,
    Different,
}

/// Compares the defaults that the database itself gives.
pub(crate) fn compare_defaults(expected: &Column, live: &Column) -> Defaults {
    if expected.generated || live.generated || expected.server_default == live.server_default {
        return Defaults::Same;
    }
    let kind = expected.kind.as_deref().unwrap_or_default();
    let of = |column: &Column| {
        let text = column.server_default.as_deref()?;
        let value = canonical_default(text, kind);
        (value != "null").then_some(value)
    };
    match (of(expected), of(live)) {
        (None, None) => Defaults::Same,
        // SERIAL is a default that SQLAlchemy does not speak of.
        (None, Some(found)) if found.starts_with("nextval(") => Defaults::Same,
        (Some(wanted), Some(found)) if wanted == found => Defaults::Same,
        // A default that could not be written for this database.
        (Some(wanted), Some(_)) if wanted.is_empty() => Defaults::Same,
        (Some(wanted), Some(found)) if is_date(kind) && are_one_moment(&wanted, &found) => {
            Defaults::Same
        }
        (Some(wanted), Some(found)) if is_expression(&wanted) && is_expression(&found) => {
            Defaults::Unclear
        }
        _ => Defaults::Different,
    }
}

fn is_date(kind: &str) -> bool {
    let kind = kind.to_uppercase();
    kind.contains("DATE") || kind.contains("TIME")
}

/// `'2020-01-01'` is `'2020-01-01 00:00:00'`.
fn are_one_moment(a: &str, b: &str) -> bool {
    let core = |text: &str| text.trim_matches('\'').replace('T', " ");
    let (a, b) = (core(a), core(b));
    let rest = a
        .strip_prefix(b.as_str())
        .or_else(|| b.strip_prefix(a.as_str()));
    rest.is_some_and(|rest| {
        rest.chars()
            .all(|c| matches!(c, '0' | ':' | '.' | '+' | ' '))
    })
}

/// More than a literal or one word.
fn is_expression(text: &str) -> bool {
    let is_string = text.len() > 1
        && text.starts_with('\'')
        && text.ends_with('\'')
        && !text[1..text.len() - 1].replace("''", "").contains('\'');
    !is_string && text.contains(|c: char| !c.is_alphanumeric() && !matches!(c, '_' | '.' | '-'))
}

/// A default in one spelling: no casts, brackets around it, spaces or case outside of strings.
fn canonical_default(text: &str, kind: &str) -> String {
    let mut value = without_casts(text);
    while let Some(inner) = unwrapped(&value) {
        value = inner;
    }
    for (spelling, meant) in [
        ("now()", "current_timestamp"),
        ("transaction_timestamp()", "current_timestamp"),
        ("current_timestamp()", "current_timestamp"),
    ] {
        value = value.replace(spelling, meant);
    }
    let kind = kind.to_uppercase();
    let bare = value.trim_matches('\'').to_lowercase();
    if kind.starts_with("BOOL") {
        match bare.as_str() {
            "t" | "true" | "1" | "y" | "yes" | "on" => return "true".to_owned(),
            "f" | "false" | "0" | "n" | "no" | "off" => return "false".to_owned(),
            _ => {}
        }
    }
    let is_number = ["INT", "NUM", "DEC", "REAL", "FLOA", "DOUB", "SERIAL"];
    if is_number.iter().any(|word| kind.contains(word))
        && let Ok(number) = bare.parse::<f64>()
    {
        return number.to_string();
    }
    value
}

fn without_casts(text: &str) -> String {
    static CAST: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(
            r#"(?i)^::\s*("[^"]*"|[\w.]+)(\."[^"]*")?(\s+(varying|precision))?(\s*\(\s*\d+(\s*,\s*\d+)?\s*\))?(\s+with(out)?\s+time\s+zone)?(\[\d*\])*"#,
        )
        .ok()
    });
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if first == '\'' {
            let end = rest[1..].find('\'').map_or(rest.len(), |at| at + 2);
            out.push_str(&rest[..end]);
            rest = &rest[end..];
        } else if let Some(cast) = CAST.as_ref().and_then(|cast| cast.find(rest)) {
            rest = &rest[cast.end()..];
        } else {
            if !first.is_whitespace() {
                out.extend(first.to_lowercase());
            }
            rest = &rest[first.len_utf8()..];
        }
    }
    out
}

/// Without the brackets around all of it.
fn unwrapped(text: &str) -> Option<String> {
    let inner = text.strip_prefix('(')?.strip_suffix(')')?;
    let (mut depth, mut in_string) = (0_i32, false);
    for c in inner.chars() {
        match c {
            '\'' => in_string = !in_string,
            '(' if !in_string => depth += 1,
            ')' if !in_string => depth -= 1,
            _ => {}
        }
        if depth < 0 {
            return None;
        }
    }
    Some(inner.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(kind: &str, default: Option<&str>) -> Column {
        Column {
            kind: Some(kind.to_owned()),
            server_default: default.map(str::to_owned),
            ..Column::default()
        }
    }

    #[test]
    fn what_postgresql_calls_otherwise_is_the_same_type_and_nothing_else_is() {
        for (expected, live, same) in [
            ("VARCHAR(20)", "character varying(20)", true),
            ("VARCHAR", "text", false),
            ("VARCHAR(20)", "character varying(30)", false),
            ("SERIAL", "integer", true),
            ("FLOAT", "double precision", true),
            ("FLOAT(24)", "real", true),
            ("NUMERIC(10, 2)", "numeric(10,2)", true),
            ("NUMERIC(10)", "numeric(10,0)", true),
            ("NUMERIC", "numeric(10,2)", false),
            (
                "TIMESTAMP WITHOUT TIME ZONE",
                "timestamp without time zone",
                true,
            ),
            (
                "TIMESTAMP WITH TIME ZONE",
                "timestamp without time zone",
                false,
            ),
            (
                "TIMESTAMP(3) WITH TIME ZONE",
                "timestamp(3) with time zone",
                true,
            ),
            ("JSON", "jsonb", false),
            ("INTEGER[]", "integer[]", true),
            ("INTEGER[][]", "integer[]", true),
            ("INTEGER", "integer[]", false),
            ("CHAR", "character(1)", true),
            ("VARCHAR(9) COLLATE \"C\"", "character varying(9)", true),
            ("CITEXT", "public.citext", true),
            ("BIGINT", "integer", false),
        ] {
            let found = same_type(
                Dialect::Postgres,
                &column(expected, None),
                &column(live, None),
            );
            assert_eq!(found, same, "{expected} and {live}");
        }
    }

    #[test]
    fn an_enumeration_is_the_same_if_it_has_every_label() {
        let of = |name: &str, labels: &[&str]| Column {
            labels: Some(labels.iter().map(|label| (*label).to_owned()).collect()),
            ..column(name, None)
        };
        let wanted = of("mood", &["sad", "glad"]);
        let same = |live: &Column| same_type(Dialect::Postgres, &wanted, live);
        assert!(same(&of("public.mood", &["glad", "sad", "mad"])));
        assert!(!same(&of("mood", &["sad"])));
        assert!(!same(&of("other", &["sad", "glad"])));
        assert!(!same(&column("character varying", None)));
    }

    #[test]
    fn defaults_are_compared_by_what_they_give() {
        use Defaults::{Different, Same, Unclear};
        for (kind, expected, live, how) in [
            ("VARCHAR", Some("'x'"), Some("'x'::character varying"), Same),
            ("VARCHAR", Some("'a b'"), Some("'a B'::text"), Different),
            ("TIMESTAMP", Some("now()"), Some("CURRENT_TIMESTAMP"), Same),
            ("DATETIME", Some("CURRENT_TIMESTAMP"), Some("(now())"), Same),
            ("BOOLEAN", Some("1"), Some("true"), Same),
            ("BOOLEAN", Some("'t'"), Some("false"), Different),
            ("INTEGER", Some("'0'"), Some("0"), Same),
            ("INTEGER", None, Some("nextval('t_id_seq'::regclass)"), Same),
            ("INTEGER", None, Some("5"), Different),
            ("INTEGER", Some("5"), None, Different),
            ("INTEGER", Some("NULL"), None, Same),
            (
                "DATE",
                Some("'2020-01-01'"),
                Some("'2020-01-01 00:00:00'::timestamp without time zone"),
                Same,
            ),
            ("TEXT", Some("a(1) || b"), Some("(b(2) + c)"), Unclear),
            ("JSONB", Some("'{}'"), Some("'{}'::jsonb"), Same),
        ] {
            let found = compare_defaults(&column(kind, expected), &column(kind, live));
            assert_eq!(found, how, "{expected:?} and {live:?}");
        }
    }
}
