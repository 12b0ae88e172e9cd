//! What SQLite keeps in the text of a definition only: check constraints, the expressions of computed
//! columns, collations, foreign keys that wait for the end of a transaction, the parts and the condition
//! of an index. Pure.

use crate::database::model::Dialect;
use crate::database::sql::words::{Word, change, split, unwrapped, words, written};

/// What the text of a table says.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct TableText {
    /// Name and condition.
    pub checks: Vec<(Option<String>, String)>,
    pub columns: Vec<ColumnText>,
    /// The columns of the foreign keys that wait for the end of a transaction.
    pub deferred: Vec<Vec<String>>,
    pub without_rowid: bool,
}

#[derive(Debug, Default, PartialEq)]
pub(crate) struct ColumnText {
    pub name: String,
    pub collation: Option<String>,
    pub computed: Option<String>,
}

impl TableText {
    /// What is certain; a text that defines no columns says nothing.
    pub(crate) fn of(sql: &str) -> Self {
        let mut text = Self::default();
        let all = words(Dialect::Sqlite, sql);
        let Some(open) = all.iter().position(|word| word.is_sign("(")) else {
            return text;
        };
        let is_table = all
            .get(1)
            .is_some_and(|word| word.token.is_any(&["TABLE", "TEMP", "TEMPORARY"]));
        let inner = group(&all[open..]);
        if !is_table {
            return text;
        }
        let after = &all[(open + inner.len() + 2).min(all.len())..];
        text.without_rowid = after.iter().any(|word| word.is("ROWID"));
        for definition in split(inner, |word| word.is_sign(",")) {
            text.read(sql, definition);
        }
        text
    }

    fn read(&mut self, sql: &str, definition: &[Word<'_>]) {
        const TABLE_WIDE: [&str; 5] = ["CONSTRAINT", "CHECK", "UNIQUE", "PRIMARY", "FOREIGN"];
        // Whatever begins another constraint than the one before.
        const OTHERS: [&str; 6] = ["PRIMARY", "UNIQUE", "NOT", "NULL", "DEFAULT", "COLLATE"];
        let Some(first) = definition.first() else {
            return;
        };
        let mut column = None;
        if !first.token.is_any(&TABLE_WIDE) {
            column = Some(ColumnText {
                name: first.name(),
                ..ColumnText::default()
            });
        }
        let mut at = usize::from(column.is_some());
        let mut name = None;
        let mut owners: Vec<String> = column.iter().map(|c| c.name.clone()).collect();
        while let Some(word) = definition.get(at) {
            at += 1;
            let rest = &definition[at..];
            if word.is("CONSTRAINT") {
                name = rest.first().map(Word::name);
                at += 1;
            } else if word.is("CHECK") {
                self.checks
                    .push((name.take(), written(sql, group(rest)).to_owned()));
            } else if word.is("FOREIGN") {
                name = None;
                let list = rest.iter().position(|word| word.is_sign("("));
                let list = list.map_or(&[][..], |open| group(&rest[open..]));
                owners = list
                    .iter()
                    .filter(|w| w.is_name())
                    .map(Word::name)
                    .collect();
            } else if word.is("DEFERRABLE") {
                let is_negated = at >= 2 && definition[at - 2].is("NOT");
                let is_late = rest.first().is_some_and(|w| w.is("INITIALLY"))
                    && rest.get(1).is_some_and(|w| w.is("DEFERRED"));
                if is_late && !is_negated {
                    self.deferred.push(owners.clone());
                }
            } else if let Some(column) = &mut column {
                if word.is("COLLATE") {
                    // SQLite takes a string for a name here.
                    let name = rest.first().map(Word::name);
                    column.collation = name.map(|name| name.trim_matches('\'').to_owned());
                } else if word.is("AS") {
                    column.computed = Some(written(sql, group(rest)).to_owned());
                }
                if word.token.is_any(&OTHERS) {
                    name = None;
                }
            }
            // What stands in brackets belongs to the word before.
            if definition.get(at).is_some_and(|word| word.is_sign("(")) {
                at += group(&definition[at..]).len() + 2;
            }
        }
        self.columns.extend(column);
    }

    pub(crate) fn column(&self, name: &str) -> Option<&ColumnText> {
        let mut columns = self.columns.iter();
        columns.find(|column| column.name.eq_ignore_ascii_case(name))
    }
}

/// The words within the brackets that open a list of words.
pub(super) fn group<'w, 't>(list: &'w [Word<'t>]) -> &'w [Word<'t>] {
    if !list.first().is_some_and(|word| word.is_sign("(")) {
        return &[];
    }
    let mut depth = 0;
    let end = list.iter().position(|word| {
        depth += change(word);
        depth == 0
    });
    &list[1..end.unwrap_or(list.len()).max(1)]
}

/// The parts and the condition of an index.
pub(crate) fn index_text(sql: &str) -> (Vec<String>, Option<String>) {
    let all = words(Dialect::Sqlite, sql);
    let on = all.iter().position(|word| word.is("ON")).unwrap_or(0);
    let Some(open) = all[on..].iter().position(|word| word.is_sign("(")) else {
        return (Vec::new(), None);
    };
    let inner = group(&all[on + open..]);
    let parts = split(inner, |word| word.is_sign(","))
        .into_iter()
        .map(|part| written(sql, part).to_owned())
        .collect();
    let after = &all[(on + open + inner.len() + 2).min(all.len())..];
    let condition = match after {
        [first, rest @ ..] if first.is("WHERE") => Some(written(sql, rest).to_owned()),
        _ => None,
    };
    (parts, condition)
}

/// One part of an index: a plain column, or an expression.
#[derive(Debug, PartialEq)]
pub(crate) enum IndexPart {
    Column(String),
    Expression(String),
}

/// A part without its direction. A collation makes it an expression on SQLite; on PostgreSQL neither it
/// nor an operator class is looked at.
pub(crate) fn index_part(dialect: Dialect, text: &str) -> IndexPart {
    let all = words(dialect, text);
    let mut part = &all[..];
    while let [rest @ .., last] = part {
        let is_direction = last.token.is_any(&["ASC", "DESC"]);
        let is_place = rest.last().is_some_and(|word| word.is("NULLS"))
            && last.token.is_any(&["FIRST", "LAST"]);
        if rest.is_empty() || !(is_direction || is_place) {
            break;
        }
        part = if is_place {
            &rest[..rest.len() - 1]
        } else {
            rest
        };
    }
    let is_column = match unwrapped(part) {
        [one] => one.is_name(),
        [one, rest @ ..] if dialect == Dialect::Postgres && one.is_name() => {
            rest.iter().all(|word| word.is_name() || word.is_sign("."))
        }
        _ => false,
    };
    match unwrapped(part).first() {
        Some(first) if is_column && (dialect == Dialect::Sqlite || first.text.starts_with('"')) => {
            IndexPart::Column(first.name())
        }
        Some(first) if is_column => IndexPart::Column(first.text.to_lowercase()),
        _ => IndexPart::Expression(written(text, part).to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_the_text_of_a_table_says_is_read() {
        let text = TableText::of(
            "CREATE TABLE \"t (x)\" (id INTEGER PRIMARY KEY, -- CHECK (no)\n\
             \"full name\" TEXT COLLATE nocase CONSTRAINT longer CHECK (length(\"full name\") > 2) NOT NULL,\n\
             a NUMERIC(10, 2) DEFAULT (1 + 2) CHECK (a > 0) REFERENCES o (id) DEFERRABLE INITIALLY DEFERRED,\n\
             b TEXT GENERATED ALWAYS AS (a || ', CHECK (x)') STORED, c INT AS (a + 1),\n\
             CONSTRAINT unrelated UNIQUE (a, b), CONSTRAINT [of table] CHECK (a IN (1, 2) AND (b <> ')')),\n\
             FOREIGN KEY (a, \"b\") REFERENCES p (x, y) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,\n\
             FOREIGN KEY (c) REFERENCES p (x) NOT DEFERRABLE INITIALLY DEFERRED) WITHOUT ROWID",
        );
        let checks: Vec<_> = text
            .checks
            .iter()
            .map(|(name, text)| (name.as_deref(), text.as_str()))
            .collect();
        assert_eq!(
            checks,
            [
                (Some("longer"), "length(\"full name\") > 2"),
                (None, "a > 0"),
                (Some("of table"), "a IN (1, 2) AND (b <> ')')"),
            ]
        );
        let full = text.column("FULL NAME").unwrap();
        assert_eq!(full.collation.as_deref(), Some("nocase"));
        let computed = |name| text.column(name).unwrap().computed.as_deref();
        assert_eq!(computed("b"), Some("a || ', CHECK (x)'"));
        assert_eq!(computed("c"), Some("a + 1"));
        assert_eq!(computed("a"), None);
        assert_eq!(
            text.deferred,
            [vec!["a".to_owned()], vec!["a".into(), "b".into()]]
        );
        assert!(text.without_rowid);
        for none in [
            "",
            "CREATE VIRTUAL TABLE x USING fts5(a, b)",
            "CREATE TABLE t",
            "CREATE TABLE t (",
        ] {
            assert_eq!(TableText::of(none), TableText::default(), "{none}");
        }
    }

    #[test]
    fn an_index_has_parts_and_a_condition() {
        let (parts, condition) = index_text(
            "CREATE UNIQUE INDEX \"ix on (x)\" ON t (a DESC, lower(b), substr(c, 1, 2) ASC) WHERE a IS NOT NULL",
        );
        assert_eq!(parts, ["a DESC", "lower(b)", "substr(c, 1, 2) ASC"]);
        assert_eq!(condition.as_deref(), Some("a IS NOT NULL"));
        assert_eq!(
            index_text("CREATE INDEX i ON t(a)"),
            (vec!["a".to_owned()], None)
        );
        let column = |name: &str| IndexPart::Column(name.to_owned());
        let expression = |text: &str| IndexPart::Expression(text.to_owned());
        for (dialect, text, part) in [
            (Dialect::Sqlite, "a DESC", column("a")),
            (Dialect::Sqlite, "\"A b\" ASC NULLS LAST", column("A b")),
            (
                Dialect::Sqlite,
                "a COLLATE NOCASE DESC",
                expression("a COLLATE NOCASE"),
            ),
            (Dialect::Sqlite, "lower(a) DESC", expression("lower(a)")),
            (Dialect::Postgres, "Name gin_trgm_ops", column("name")),
            (
                Dialect::Postgres,
                "\"Name\" COLLATE \"C\" DESC NULLS FIRST",
                column("Name"),
            ),
            (Dialect::Postgres, "(a || b)", expression("(a || b)")),
        ] {
            assert_eq!(index_part(dialect, text), part, "{text}");
        }
    }
}
