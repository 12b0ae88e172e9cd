//! JSON, and of JavaScript only `module.exports = { ... }` with a literal: texts, numbers, lists, tables, comments.
//! Anything that would have to be run is refused.

use super::yaml::{Node, Value};

/// Most values of a file.
const NODES_MAX: usize = 50_000;
/// Deepest nesting.
const DEPTH_MAX: usize = 64;

/// Why a file is no literal, with its line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoLiteral {
    pub line: u32,
    pub why: String,
}

/// The object of the file.
pub(super) fn parse(text: &str) -> Result<Node, NoLiteral> {
    let mut reader = LiteralReader {
        rest: text,
        line: 1,
        nodes: 0,
    };
    let read = reader.file();
    let line = reader.line;
    read.map_err(|why| NoLiteral { line, why })
}

struct LiteralReader<'t> {
    rest: &'t str,
    line: u32,
    nodes: usize,
}

impl<'t> LiteralReader<'t> {
    fn file(&mut self) -> Result<Node, String> {
        self.skip()?;
        for strict in ["\"use strict\"", "'use strict'"] {
            if self.rest.starts_with(strict) {
                self.advance(strict.len());
                self.skip()?;
                self.accept(';');
                self.skip()?;
            }
        }
        if self.word("module") {
            for part in [".", "exports", "="] {
                self.skip()?;
                if !self.rest.starts_with(part) {
                    return Err("only `module.exports = {` can begin it".to_owned());
                }
                self.advance(part.len());
            }
        } else if self.word("export") {
            self.skip()?;
            if !self.word("default") {
                return Err("only `export default {` can begin it".to_owned());
            }
        }
        let node = self.value(0)?;
        self.skip()?;
        self.accept(';');
        self.skip()?;
        if self.rest.is_empty() {
            Ok(node)
        } else {
            Err(format!(
                "something stands behind the object: {}",
                self.shown()
            ))
        }
    }

    fn shown(&self) -> String {
        let line = self.rest.lines().next().unwrap_or("");
        line.chars().take(40).collect()
    }

    fn advance(&mut self, bytes: usize) {
        let (gone, rest) = self.rest.split_at(bytes);
        let lines = gone.bytes().filter(|byte| *byte == b'\n').count();
        self.line = self
            .line
            .saturating_add(u32::try_from(lines).unwrap_or(u32::MAX));
        self.rest = rest;
    }

    fn accept(&mut self, c: char) -> bool {
        let found = self.rest.starts_with(c);
        if found {
            self.advance(c.len_utf8());
        }
        found
    }

    /// A whole word.
    fn word(&mut self, word: &str) -> bool {
        let behind = self.rest.strip_prefix(word);
        let found = behind.is_some_and(|rest| !rest.starts_with(is_of_name));
        if found {
            self.advance(word.len());
        }
        found
    }

    /// Blanks and comments.
    fn skip(&mut self) -> Result<(), String> {
        loop {
            let blank = self.rest.len() - self.rest.trim_start().len();
            self.advance(blank);
            if self.rest.starts_with("//") {
                let end = self.rest.find('\n').unwrap_or(self.rest.len());
                self.advance(end);
            } else if self.rest.starts_with("/*") {
                let end = self.rest.find("*/").ok_or("a comment without its end")?;
                self.advance(end + 2);
            } else {
                return Ok(());
            }
        }
    }

    fn value(&mut self, depth: usize) -> Result<Node, String> {
        self.skip()?;
        self.nodes += 1;
        if depth > DEPTH_MAX || self.nodes > NODES_MAX {
            return Err("it is nested too deeply or too large".to_owned());
        }
        let line = self.line;
        let value = match self.rest.chars().next() {
            Some('{') => self.table(depth)?,
            Some('[') => self.list(depth)?,
            Some('"' | '\'' | '`') => Value::Text(self.text()?),
            Some(c) if c.is_ascii_digit() || matches!(c, '-' | '+' | '.') => {
                let end = self
                    .rest
                    .find(|c: char| !(c.is_ascii_alphanumeric() || "+-._".contains(c)));
                let number = &self.rest[..end.unwrap_or(self.rest.len())];
                // `60_000`
                let value = number.replace('_', "");
                if value.parse::<f64>().is_err() {
                    return Err(format!("not a literal: {}", self.shown()));
                }
                self.advance(number.len());
                Value::Text(value)
            }
            _ if self.word("true") => Value::Text("true".to_owned()),
            _ if self.word("false") => Value::Text("false".to_owned()),
            // The directory of the file, which is the workspace.
            _ if self.word("__dirname") => Value::Text(".".to_owned()),
            _ if self.word("null") || self.word("undefined") => Value::Null,
            _ => return Err(format!("not a literal: {}", self.shown())),
        };
        // `"a" + b`, `x ? y : z`, a call.
        self.skip()?;
        match self.rest.chars().next() {
            None | Some(',' | '}' | ']' | ';') => Ok(Node::new(value, line)),
            Some(_) if depth == 0 => Ok(Node::new(value, line)),
            Some(_) => Err(format!("not a literal: {}", self.shown())),
        }
    }

    fn table(&mut self, depth: usize) -> Result<Value, String> {
        self.advance(1);
        let mut entries: Vec<(String, Node)> = Vec::new();
        loop {
            self.skip()?;
            if self.accept('}') {
                return Ok(Value::Map(entries));
            }
            let line = self.line;
            let key = match self.rest.chars().next() {
                Some('"' | '\'') => self.text()?,
                Some(c) if is_of_name(c) => {
                    let end = self
                        .rest
                        .find(|c: char| !is_of_name(c))
                        .unwrap_or(self.rest.len());
                    let key = self.rest[..end].to_owned();
                    self.advance(end);
                    key
                }
                _ => return Err(format!("not a key: {}", self.shown())),
            };
            self.skip()?;
            if !self.accept(':') {
                return Err(format!("`{key}` has no value that is written there"));
            }
            let node = self.value(depth + 1)?;
            entries.retain(|(known, _)| *known != key);
            entries.push((key, Node::new(node.value, line)));
            self.skip()?;
            if !self.accept(',') && !self.rest.starts_with('}') {
                return Err(format!("a comma is missing: {}", self.shown()));
            }
        }
    }

    fn list(&mut self, depth: usize) -> Result<Value, String> {
        self.advance(1);
        let mut items = Vec::new();
        loop {
            self.skip()?;
            if self.accept(']') {
                return Ok(Value::List(items));
            }
            items.push(self.value(depth + 1)?);
            self.skip()?;
            if !self.accept(',') && !self.rest.starts_with(']') {
                return Err(format!("a comma is missing: {}", self.shown()));
            }
        }
    }

    fn text(&mut self) -> Result<String, String> {
        let quote = self.rest.chars().next().ok_or("a text is missing")?;
        let mut text = String::new();
        let mut chars = self.rest.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                c if c == quote => {
                    self.advance(at + c.len_utf8());
                    return Ok(text);
                }
                '\n' if quote != '`' => break,
                '$' if quote == '`' && self.rest[at + 1..].starts_with('{') => {
                    return Err("a text with ${...} in it has to be run".to_owned());
                }
                '\\' => match chars.next() {
                    Some((_, 'n')) => text.push('\n'),
                    Some((_, 't')) => text.push('\t'),
                    Some((_, 'r')) => text.push('\r'),
                    Some((_, 'u')) => {
                        let digits: String = chars.by_ref().take(4).map(|(_, c)| c).collect();
                        let code = u32::from_str_radix(&digits, 16)
                            .ok()
                            .and_then(char::from_u32);
                        text.push(code.ok_or("an escape that is not known here")?);
                    }
                    Some((_, '\n')) => {}
                    Some((_, c)) if !c.is_ascii_alphanumeric() => text.push(c),
                    _ => return Err("an escape that is not known here".to_owned()),
                },
                c => text.push(c),
            }
        }
        Err("a text without its end".to_owned())
    }
}

fn is_of_name(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '$')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_read_with_comments_and_trailing_commas() {
        let text = "'use strict';\n// apps\nmodule.exports = {\n  apps: [{ name: 'a\\'b', \"n\": -1.5, on: true, off: undefined, t: `x`, /* c */ },],\n};\n";
        let root = parse(text).unwrap();
        let app = &root.get("apps").unwrap().items()[0];
        assert_eq!(app.text_of("name"), Some("a'b"));
        assert_eq!(app.text_of("n"), Some("-1.5"));
        assert_eq!(app.get("off").unwrap().value, Value::Null);
        assert_eq!(app.get("t").unwrap().line, 4);
        assert_eq!(
            parse("{\"a\": [1]}").unwrap().get("a").unwrap().texts(),
            ["1"]
        );
        assert!(parse("export default {a: 1}").is_ok());
        let root = parse("module.exports = { cwd: __dirname, ms: 60_000 }").unwrap();
        assert_eq!(
            (root.text_of("cwd"), root.text_of("ms")),
            (Some("."), Some("60000"))
        );
    }

    #[test]
    fn what_would_have_to_be_run_is_refused_with_its_line() {
        for (text, line) in [
            ("const a = 1;\nmodule.exports = {}", 1),
            ("module.exports = {\n  a: process.env.X,\n}", 2),
            ("module.exports = {\n a: 'x' + y }", 2),
            ("module.exports = { ...base }", 1),
            ("module.exports = { a: __dirname + '/x' }", 1),
            ("module.exports = { a }", 1),
            ("module.exports = { a() {} }", 1),
            ("module.exports = { a: `${x}` }", 1),
            ("module.exports = { a: 1 }\nrequire('child_process')", 2),
            ("module.exports = (() => ({}))()", 1),
            ("module.exports = { a: 'x\n' }", 1),
            ("{", 1),
            ("", 1),
        ] {
            assert_eq!(parse(text).unwrap_err().line, line, "{text}");
        }
        assert!(parse(&"[".repeat(10_000)).is_err());
    }
}
