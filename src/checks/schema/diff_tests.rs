//! The rules that need no database.

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

#[test]
fn constants_are_literals_only() {
    for text in [
        "0",
        "-1.5",
        "'a''b'",
        "''",
        "NULL",
        "true",
        "1e3",
        "'CURRENT_TIMESTAMP'",
    ] {
        assert!(is_constant(text), "{text}");
    }
    for text in [
        "CURRENT_TIMESTAMP",
        "(1)",
        "'a' || 'b'",
        "now()",
        "",
        "''a'",
        "1; DROP",
        "0x",
    ] {
        assert!(!is_constant(text), "{text}");
    }
}
