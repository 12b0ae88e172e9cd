//! A SQLite table's CREATE statement, taken apart as far as the mutation tests need it.

/// `CREATE TABLE name (element, element, ...) rest`.
pub struct Definition {
    elements: Vec<Vec<String>>,
    rest: String,
}

/// What may follow a column's type.
const AFTER_TYPE: [&str; 10] = [
    "CONSTRAINT",
    "PRIMARY",
    "NOT",
    "NULL",
    "UNIQUE",
    "CHECK",
    "DEFAULT",
    "COLLATE",
    "REFERENCES",
    "GENERATED",
];

impl Definition {
    pub fn parse(sql: &str) -> Option<Self> {
        let tokens = tokens(sql)?;
        let body = tokens.iter().position(|token| token.starts_with('('))?;
        let inner = tokens[body].strip_prefix('(')?.strip_suffix(')')?;
        let mut elements = vec![Vec::new()];
        for token in self::tokens(inner)? {
            if token == "," {
                elements.push(Vec::new());
            } else {
                elements.last_mut()?.push(token);
            }
        }
        let rest = tokens[body + 1..].join(" ");
        Some(Self { elements, rest })
    }

    pub fn text(&self, name: &str) -> String {
        let elements: Vec<String> = self.elements.iter().map(|e| e.join(" ")).collect();
        format!(
            "CREATE TABLE {name} ({}) {}",
            elements.join(", "),
            self.rest
        )
    }

    fn column(&mut self, name: &str) -> Option<&mut Vec<String>> {
        self.elements
            .iter_mut()
            .find(|e| !is_constraint(e) && e.first().is_some_and(|first| bare(first) == name))
    }

    /// With the constraints that name it; `None` if a CHECK might.
    pub fn drop_column(&mut self, name: &str) -> Option<()> {
        self.column(name)?;
        let names_it = |element: &Vec<String>| {
            let mut groups = element.iter().filter(|token| token.starts_with('('));
            groups.any(|group| columns_in(group).iter().any(|column| column == name))
        };
        let has_check = |element: &Vec<String>| is_constraint(element) && has(element, "CHECK");
        if self.elements.iter().any(|e| {
            let text = e.join(" ");
            has_check(e) && text.contains(name) || has(e, "GENERATED") && text.contains(name)
        }) {
            return None;
        }
        self.elements.retain(|element| {
            if is_constraint(element) {
                !names_it(element)
            } else {
                element.first().is_none_or(|first| bare(first) != name)
            }
        });
        Some(())
    }

    pub fn set_type(&mut self, name: &str, kind: &str) -> Option<()> {
        let column = self.column(name)?;
        let end = column[1..]
            .iter()
            .position(|token| AFTER_TYPE.contains(&&*token.to_uppercase()))
            .map_or(column.len(), |at| at + 1);
        column.splice(1..end, [kind.to_owned()]);
        Some(())
    }

    pub fn set_not_null(&mut self, name: &str, not_null: bool) -> Option<()> {
        let column = self.column(name)?;
        let place = column
            .windows(2)
            .position(|pair| pair[0].to_uppercase() == "NOT" && pair[1].to_uppercase() == "NULL");
        match (place, not_null) {
            (Some(at), false) => {
                column.drain(at..at + 2);
            }
            (None, true) => column.extend(["NOT".to_owned(), "NULL".to_owned()]),
            _ => return None,
        }
        Some(())
    }

    pub fn drop_unique(&mut self, columns: &[String]) -> Option<()> {
        if let [column] = columns
            && let Some(column) = self.column(column)
            && let Some(at) = column.iter().position(|t| t.to_uppercase() == "UNIQUE")
        {
            column.remove(at);
            return Some(());
        }
        self.drop_constraint("UNIQUE", columns)
    }

    pub fn drop_foreign_key(&mut self, columns: &[String]) -> Option<()> {
        if let [column] = columns
            && let Some(column) = self.column(column)
            && let Some(at) = column.iter().position(|t| t.to_uppercase() == "REFERENCES")
        {
            let mut end = at + 2;
            let word = |at: usize| column.get(at).map(|token| token.to_uppercase());
            while let Some(next) = word(end) {
                end += match next.as_str() {
                    next if next.starts_with('(') => 1,
                    "ON" if matches!(word(end + 2).as_deref(), Some("SET" | "NO")) => 4,
                    "ON" => 3,
                    "MATCH" | "INITIALLY" => 2,
                    "DEFERRABLE" => 1,
                    "NOT" if word(end + 1).as_deref() == Some("DEFERRABLE") => 2,
                    _ => break,
                };
            }
            let named = at >= 2 && column[at - 2].to_uppercase() == "CONSTRAINT";
            column.drain(if named { at - 2 } else { at }..end.min(column.len()));
            return Some(());
        }
        self.drop_constraint("FOREIGN", columns)
    }

    fn drop_constraint(&mut self, word: &str, columns: &[String]) -> Option<()> {
        let at = self.elements.iter().position(|element| {
            is_constraint(element)
                && has(element, word)
                && element
                    .iter()
                    .find(|token| token.starts_with('('))
                    .is_some_and(|group| columns_in(group) == columns)
        })?;
        self.elements.remove(at);
        Some(())
    }
}

fn has(element: &[String], word: &str) -> bool {
    element.iter().any(|token| token.to_uppercase() == word)
}

fn is_constraint(element: &[String]) -> bool {
    let words = ["CONSTRAINT", "PRIMARY", "UNIQUE", "CHECK", "FOREIGN"];
    element
        .first()
        .is_some_and(|first| words.contains(&&*first.to_uppercase()))
}

/// The names in `(a, "b")`.
fn columns_in(group: &str) -> Vec<String> {
    let inner = group.trim_start_matches('(').trim_end_matches(')');
    inner.split(',').map(|name| bare(name.trim())).collect()
}

/// Without quotes.
fn bare(name: &str) -> String {
    name.trim_matches(['"', '`', '[', ']'])
        .replace("\"\"", "\"")
}

/// Words, quoted texts, commas, and groups in brackets, each whole.
fn tokens(sql: &str) -> Option<Vec<String>> {
    let mut tokens = Vec::new();
    let mut rest = sql.trim_start();
    while let Some(first) = rest.chars().next() {
        let end = match first {
            '(' => group_end(rest)?,
            '\'' | '"' | '`' => quoted_end(rest, first)?,
            '[' => rest.find(']')? + 1,
            ',' => 1,
            '-' if rest.starts_with("--") => {
                rest = rest.find('\n').map_or("", |at| rest[at..].trim_start());
                continue;
            }
            _ => rest
                .find(|c: char| c.is_whitespace() || "(,'\"`".contains(c))
                .unwrap_or(rest.len()),
        };
        tokens.push(rest[..end].to_owned());
        rest = rest[end..].trim_start();
    }
    Some(tokens)
}

fn quoted_end(text: &str, quote: char) -> Option<usize> {
    text[1..].find(quote).map(|at| at + 2)
}

fn group_end(text: &str) -> Option<usize> {
    let mut depth = 0;
    let mut quote: Option<char> = None;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"' | '`') => quote = Some(c),
            (None, '(') => depth += 1,
            (None, ')') => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const SQL: &str = "CREATE TABLE \"t\" (\n\tid INTEGER NOT NULL, -- the key\n\t\"a b\" VARCHAR(20) DEFAULT 'x, y' \
                       NOT NULL UNIQUE,\n\tc CHAR(3) REFERENCES o (id) ON DELETE SET NULL NOT NULL, PRIMARY KEY (id), \
                       CONSTRAINT u UNIQUE (c, \"a b\"), FOREIGN KEY(c) REFERENCES p (q))";

    fn edited(edit: impl FnOnce(&mut Definition) -> Option<()>) -> String {
        let mut definition = Definition::parse(SQL).unwrap();
        edit(&mut definition).unwrap();
        definition.text("t")
    }

    #[test]
    fn one_thing_is_changed_and_the_rest_is_kept() {
        let plain = "CREATE TABLE t (id INTEGER NOT NULL, \"a b\" VARCHAR (20) DEFAULT 'x, y' NOT NULL UNIQUE, c CHAR \
                     (3) REFERENCES o (id) ON DELETE SET NULL NOT NULL, PRIMARY KEY (id), CONSTRAINT u UNIQUE (c, \"a \
                     b\"), FOREIGN KEY (c) REFERENCES p (q)) ";
        assert_eq!(edited(|_| Some(())), plain);
        let without = |part: &str| plain.replacen(part, "", 1);
        let text = edited(|d| d.set_not_null("a b", false));
        assert_eq!(
            text,
            without("NOT NULL UNIQUE").replacen("'x, y' ,", "'x, y' UNIQUE,", 1)
        );
        let text = edited(|d| d.set_type("c", "BLOB"));
        assert_eq!(text, plain.replacen("CHAR (3)", "BLOB", 1));
        let text = edited(|d| d.drop_unique(&["a b".to_owned()]));
        assert_eq!(text, without(" UNIQUE"));
        let text = edited(|d| d.drop_unique(&["c".to_owned(), "a b".to_owned()]));
        assert_eq!(text, without(", CONSTRAINT u UNIQUE (c, \"a b\")"));
        let text = edited(|d| d.drop_foreign_key(&["c".to_owned()]));
        assert_eq!(text, without(" REFERENCES o (id) ON DELETE SET NULL"));
        let text = edited(|d| d.drop_column("c"));
        assert!(text.ends_with("UNIQUE, PRIMARY KEY (id)) "), "{text}");
    }
}
