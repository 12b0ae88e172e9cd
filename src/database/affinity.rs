//! When SQLite considers two declared types the same. Pure.

/// Type affinity (sqlite.org/datatype3.html, 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Affinity {
    Integer,
    Text,
    Blob,
    Real,
    Numeric,
}

fn affinity(kind: &str) -> Affinity {
    let kind = kind.to_uppercase();
    let has = |words: &[&str]| words.iter().any(|word| kind.contains(word));
    if has(&["INT"]) {
        Affinity::Integer
    } else if has(&["CHAR", "CLOB", "TEXT"]) {
        Affinity::Text
    } else if kind.trim().is_empty() || has(&["BLOB"]) {
        Affinity::Blob
    } else if has(&["REAL", "FLOA", "DOUB"]) {
        Affinity::Real
    } else {
        Affinity::Numeric
    }
}

/// What is written through one type comes back through the other.
pub(crate) fn are_compatible(expected: &str, live: &str) -> bool {
    use Affinity as A;
    if expected.eq_ignore_ascii_case(live) {
        return true;
    }
    let (a, b) = (affinity(expected), affinity(live));
    if a == b || live.trim().is_empty() || live.eq_ignore_ascii_case("ANY") {
        return true;
    }
    match (a, b) {
        // Numeric affinity stores whole numbers and fractions as what they are.
        (A::Numeric, A::Integer | A::Real) | (A::Integer | A::Real, A::Numeric) => {
            !is_text_in_numeric(expected) && !is_text_in_numeric(live)
                || is_text_in_numeric(expected) == is_text_in_numeric(live)
        }
        // Dates, times and JSON are text in a column whose name gives it numeric affinity.
        (A::Numeric, A::Text) => is_text_in_numeric(expected),
        (A::Text, A::Numeric) => is_text_in_numeric(live),
        _ => false,
    }
}

fn is_text_in_numeric(kind: &str) -> bool {
    let kind = kind.to_uppercase();
    ["DATE", "TIME", "JSON", "UUID", "STRING"]
        .iter()
        .any(|word| kind.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_that_hold_the_same_are_no_difference() {
        for (expected, live, same) in [
            ("VARCHAR(20)", "TEXT", true),
            ("INTEGER", "BIGINT", true),
            ("BOOLEAN", "INTEGER", true),
            ("BOOLEAN", "TINYINT(1)", true),
            ("DATETIME", "TEXT", true),
            ("DATETIME", "TIMESTAMP", true),
            ("JSON", "TEXT", true),
            ("TEXT", "JSON", true),
            ("NUMERIC(10, 2)", "REAL", true),
            ("FLOAT", "DOUBLE PRECISION", true),
            ("CHAR(32)", "UUID", true),
            ("INTEGER", "", true),
            ("INTEGER", "ANY", true),
            ("BLOB", "TEXT", false),
            ("INTEGER", "TEXT", false),
            ("INTEGER", "REAL", false),
            ("NUMERIC(10, 2)", "TEXT", false),
            ("DATETIME", "INTEGER", false),
            ("DATETIME", "BLOB", false),
        ] {
            assert_eq!(
                are_compatible(expected, live),
                same,
                "{expected} and {live}"
            );
        }
    }
}
