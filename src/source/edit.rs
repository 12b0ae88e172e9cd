//! Exact edits of one source file, by the ranges of the parser: every other byte stays.
//!
//! In doubt there is none. Each function gives the ranges to replace and what to put there, in the order of the file.

use std::ops::Range;

use ruff_python_ast::visitor::{Visitor, walk_body, walk_expr, walk_parameter, walk_stmt};
use ruff_python_ast::{self as ast, ExceptHandler, Expr, ExprContext, Identifier, Pattern, Stmt};
use ruff_python_parser::parse_module;
use ruff_text_size::{Ranged, TextRange};

use super::lines::Lines;
use super::nesting::{STACK_BYTES, measure};

/// Bytes to replace, and by what.
pub(crate) type Edit = (Range<usize>, String);

/// One name is the other, but for one letter: left out, put in, another one, or two that changed places.
///
/// What differs in a digit, in a plural or in being private means something else.
pub(crate) fn is_one_letter_off(wrong: &str, right: &str) -> bool {
    const LENGTH_MIN: usize = 5;
    let marks = |name: &str| name.len() - name.trim_start_matches('_').len();
    let digits = |name: &str| -> String { name.chars().filter(char::is_ascii_digit).collect() };
    let is_plural = |a: &str, b: &str| a.strip_suffix('s') == Some(b);
    wrong.chars().count() >= LENGTH_MIN
        && marks(wrong) == marks(right)
        && digits(wrong) == digits(right)
        && !is_plural(wrong, right)
        && !is_plural(right, wrong)
        && strsim::osa_distance(wrong, right) == 1
}

/// The letter that is off makes another word of a name more likely than a slip: `get_rate` and `set_rate`,
/// `run_sync` and `run_async`, `load` and `loan`. Slips keep the first letter of a word, and short words have many
/// neighbours.
pub(crate) fn is_another_word(wrong: &str, right: &str) -> bool {
    const LETTERS_MIN: usize = 5;
    let words = |name: &str| -> Vec<String> {
        let mut words = vec![String::new()];
        for c in name.chars() {
            let is_end = c == '_' || c.is_uppercase();
            match words.last_mut() {
                Some(word) if !is_end || word.chars().all(char::is_uppercase) => word.push(c),
                _ => words.push(c.to_string()),
            }
        }
        words
            .iter()
            .map(|word| word.trim_matches('_').to_lowercase())
            .collect()
    };
    let (before, after) = (words(wrong), words(right));
    // An underscore too many or too few.
    if before.concat() == after.concat() || before.len() != after.len() {
        return false;
    }
    before.iter().zip(&after).any(|(a, b)| {
        let length = a.chars().count().max(b.chars().count());
        let is_plural = a.strip_suffix('s') == Some(b) || b.strip_suffix('s') == Some(a);
        a != b && (length < LETTERS_MIN || is_plural || a.chars().next() != b.chars().next())
    })
}

/// What is near enough to be meant instead of `wrong`: several are no answer.
pub(crate) fn near_names<'a>(
    wrong: &str,
    names: impl IntoIterator<Item = &'a str>,
) -> Vec<&'a str> {
    let mut near: Vec<&str> = names
        .into_iter()
        .filter(|name| *name != wrong && strsim::osa_distance(wrong, name) <= 1)
        .collect();
    near.sort_unstable();
    near.dedup();
    near
}

/// Runs `work` on the file's tree, with the stack that a walk over it may need.
pub(super) fn with_tree<T: Send>(
    text: &str,
    work: impl FnOnce(&[Stmt]) -> Option<T> + Send,
) -> Option<T> {
    measure(text).ok()?;
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, || {
                let parsed = parse_module(text).ok()?;
                work(&parsed.syntax().body)
            })
            .ok()?
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// `from module import wrong`, at that line, takes `right` instead, and so does every use of the name.
///
/// None where the name may mean anything else in the file, or `right` is in use there.
pub(crate) fn rename_imported(
    text: &str,
    line: u32,
    wrong: &str,
    right: &str,
) -> Option<Vec<Edit>> {
    with_tree(text, |body| {
        let lines = Lines::of(text);
        let mut found = Imported::default();
        let mut names = Names::of(wrong);
        let mut others = Names::of(right);
        walk_body(&mut names, body);
        walk_body(&mut others, body);
        found.look(body, &lines, line, wrong);
        let [alias] = found.aliases.as_slice() else {
            return None;
        };
        let mut edits = vec![edit(text, alias.name.range(), wrong, right)?];
        if alias.asname.is_none() {
            // The import itself binds it once.
            if names.bound != 1 || names.in_texts || others.bound > 0 || !others.uses.is_empty() {
                return None;
            }
            for range in names.uses {
                edits.push(edit(text, range, wrong, right)?);
            }
        }
        sorted(edits)
    })
}

/// The import at that line, whose module has `wrong` as one of its parts, has `right` there.
pub(crate) fn correct_module(text: &str, line: u32, wrong: &str, right: &str) -> Option<Vec<Edit>> {
    with_tree(text, |body| {
        let lines = Lines::of(text);
        let mut found = Imported::default();
        found.look(body, &lines, line, "");
        let mut ranges: Vec<TextRange> = Vec::new();
        for module in found.modules {
            let start = module.range().start().to_usize();
            let mut at = 0;
            for part in module.as_str().split('.') {
                if part == wrong {
                    let begin = u32::try_from(start + at).ok()?;
                    ranges.push(TextRange::at(
                        begin.into(),
                        u32::try_from(part.len()).ok()?.into(),
                    ));
                }
                at += part.len() + 1;
            }
        }
        let [range] = ranges.as_slice() else {
            return None;
        };
        Some(vec![edit(text, *range, wrong, right)?])
    })
}

/// `something.wrong` at that line is `something.right`.
pub(crate) fn correct_attribute(
    text: &str,
    line: u32,
    wrong: &str,
    right: &str,
) -> Option<Vec<Edit>> {
    struct Attributes<'a> {
        name: &'a str,
        ranges: Vec<TextRange>,
    }
    impl<'a> Visitor<'a> for Attributes<'_> {
        fn visit_expr(&mut self, expr: &'a Expr) {
            if let Expr::Attribute(attribute) = expr
                && attribute.attr.as_str() == self.name
            {
                self.ranges.push(attribute.attr.range());
            }
            walk_expr(self, expr);
        }
    }
    with_tree(text, |body| {
        let lines = Lines::of(text);
        let mut found = Attributes {
            name: wrong,
            ranges: Vec::new(),
        };
        walk_body(&mut found, body);
        found
            .ranges
            .retain(|range| lines.line_and_bytes(range.start()).0 == line);
        let [range] = found.ranges.as_slice() else {
            return None;
        };
        Some(vec![edit(text, *range, wrong, right)?])
    })
}

/// The import of `name` at that line, alone in its statement, goes into the one function that uses it: what a circle
/// of imports waits for is there when the function is called.
pub(crate) fn import_in_function(text: &str, line: u32, name: &str) -> Option<Vec<Edit>> {
    with_tree(text, |body| {
        let lines = Lines::of(text);
        let is_it = |stmt: &&Stmt| {
            matches!(stmt, Stmt::ImportFrom(import)
            if import.names.len() == 1 && import.names[0].name.as_str() == name
                && import.names[0].asname.is_none() && covers(&lines, stmt.range(), line))
        };
        let import = body.iter().find(is_it)?;
        let mut names = Names::of(name);
        walk_body(&mut names, body);
        if names.bound != 1 || names.in_texts || names.uses.is_empty() {
            return None;
        }
        let function = body.iter().find_map(|stmt| match stmt {
            Stmt::FunctionDef(function) => {
                let inside = TextRange::new(function.body.first()?.start(), stmt.end());
                let is_inside = |range: &TextRange| inside.contains_range(*range);
                names.uses.iter().all(is_inside).then_some(function)
            }
            _ => None,
        })?;
        // After what documents it.
        let is_text =
            |stmt: &Stmt| matches!(stmt, Stmt::Expr(e) if e.value.is_string_literal_expr());
        let first = match function.body.as_slice() {
            [first, second, ..] if is_text(first) => second,
            [first, ..] if !is_text(first) => first,
            _ => return None,
        };
        let (from, to) = whole_lines(text, import.range())?;
        let (at, _) = whole_lines(text, TextRange::empty(first.start()))?;
        let indent = text.get(at..first.start().to_usize())?;
        if !indent.chars().all(char::is_whitespace) {
            return None;
        }
        let moved = said(text, import.range())?;
        sorted(vec![
            (from..to, String::new()),
            (at..at, format!("{indent}{moved}{}", line_end(text))),
        ])
    })
}

/// What a file says there.
pub(super) fn said(text: &str, range: TextRange) -> Option<&str> {
    text.get(range.to_std_range())
}

/// The whole lines of a range, with their end; none where something else stands on them.
pub(super) fn whole_lines(text: &str, range: TextRange) -> Option<(usize, usize)> {
    let (start, end) = (range.start().to_usize(), range.end().to_usize());
    let from = text.get(..start)?.rfind('\n').map_or(0, |at| at + 1);
    let to = text
        .get(end..)?
        .find('\n')
        .map_or(text.len(), |at| end + at + 1);
    let before = text.get(from..start)?.trim_start_matches('\u{feff}');
    let after = text.get(end..to)?.trim();
    let is_alone = range.is_empty() || after.is_empty() || after.starts_with('#');
    (before.trim().is_empty() && is_alone).then_some((from, to))
}

/// As the file ends its lines.
pub(super) fn line_end(text: &str) -> &'static str {
    match text.find('\n') {
        Some(at) if text[..at].ends_with('\r') => "\r\n",
        _ => "\n",
    }
}

fn covers(lines: &Lines<'_>, range: TextRange, line: u32) -> bool {
    let (first, _) = lines.line_and_bytes(range.start());
    let (last, _) = lines.line_and_bytes(range.end());
    (first..=last).contains(&line)
}

/// One replacement, if the file says there what it is meant to say.
fn edit(text: &str, range: TextRange, wrong: &str, right: &str) -> Option<Edit> {
    (said(text, range)? == wrong).then(|| (range.to_std_range(), right.to_owned()))
}

pub(super) fn sorted(mut edits: Vec<Edit>) -> Option<Vec<Edit>> {
    edits.sort_by_key(|(range, _)| (range.start, range.end));
    let is_apart = |pair: &[Edit]| pair[0].0.end <= pair[1].0.start;
    edits.windows(2).all(is_apart).then_some(edits)
}

/// What the imports at a line name.
#[derive(Default)]
struct Imported<'a> {
    aliases: Vec<&'a ast::Alias>,
    modules: Vec<&'a Identifier>,
}

impl<'a> Imported<'a> {
    fn look(&mut self, body: &'a [Stmt], lines: &Lines<'_>, line: u32, name: &str) {
        struct At<'l, 'a, 'f> {
            lines: &'l Lines<'l>,
            line: u32,
            name: &'l str,
            found: &'f mut Imported<'a>,
        }
        impl<'a> Visitor<'a> for At<'_, 'a, '_> {
            fn visit_stmt(&mut self, stmt: &'a Stmt) {
                if !covers(self.lines, stmt.range(), self.line) {
                    return;
                }
                match stmt {
                    Stmt::ImportFrom(import) => {
                        let named = import.names.iter();
                        self.found
                            .aliases
                            .extend(named.filter(|alias| alias.name.as_str() == self.name));
                        self.found.modules.extend(&import.module);
                    }
                    // Without another name, the file uses it by the whole one.
                    Stmt::Import(import) => {
                        let renamed = import.names.iter().filter(|alias| alias.asname.is_some());
                        self.found.modules.extend(renamed.map(|alias| &alias.name));
                    }
                    _ => walk_stmt(self, stmt),
                }
            }
        }
        let mut at = At {
            lines,
            line,
            name,
            found: self,
        };
        walk_body(&mut at, body);
    }
}

/// Where a name is used in a file, and how often it is bound.
struct Names<'n> {
    name: &'n str,
    uses: Vec<TextRange>,
    bound: usize,
    /// A text is or may be that name: `__all__`, `getattr`, an annotation.
    in_texts: bool,
}

impl<'n> Names<'n> {
    fn of(name: &'n str) -> Self {
        Self {
            name,
            uses: Vec::new(),
            bound: 0,
            in_texts: false,
        }
    }

    fn binds(&mut self, name: &str) {
        self.bound += usize::from(name == self.name);
    }
}

impl<'a> Visitor<'a> for Names<'_> {
    fn visit_stmt(&mut self, stmt: &'a Stmt) {
        match stmt {
            Stmt::FunctionDef(function) => self.binds(&function.name),
            Stmt::ClassDef(class) => self.binds(&class.name),
            Stmt::Global(global) => global.names.iter().for_each(|name| self.binds(name)),
            Stmt::Nonlocal(nonlocal) => nonlocal.names.iter().for_each(|name| self.binds(name)),
            Stmt::Import(import) => {
                for alias in &import.names {
                    let top = alias.name.as_str().split('.').next().unwrap_or_default();
                    self.binds(alias.asname.as_deref().unwrap_or(top));
                }
            }
            Stmt::ImportFrom(import) => {
                for alias in &import.names {
                    self.binds(alias.asname.as_deref().unwrap_or(&alias.name));
                    // It may bring any name.
                    self.in_texts |= alias.name.as_str() == "*";
                }
            }
            _ => {}
        }
        walk_stmt(self, stmt);
    }

    fn visit_expr(&mut self, expr: &'a Expr) {
        match expr {
            Expr::Name(name) if name.id.as_str() == self.name => match name.ctx {
                ExprContext::Load => self.uses.push(name.range()),
                _ => self.bound += 1,
            },
            Expr::StringLiteral(text) => {
                let words = |c: char| !c.is_alphanumeric() && c != '_';
                let value = text.value.to_str();
                // A sentence may have the word; a bare name or an expression means it.
                self.in_texts |= !value.contains(' ') && value.split(words).any(|w| w == self.name);
            }
            _ => {}
        }
        walk_expr(self, expr);
    }

    fn visit_parameter(&mut self, parameter: &'a ast::Parameter) {
        self.binds(&parameter.name);
        walk_parameter(self, parameter);
    }

    fn visit_except_handler(&mut self, handler: &'a ExceptHandler) {
        let ExceptHandler::ExceptHandler(inner) = handler;
        if let Some(name) = &inner.name {
            self.binds(name);
        }
        ast::visitor::walk_except_handler(self, handler);
    }

    fn visit_pattern(&mut self, pattern: &'a Pattern) {
        let name = match pattern {
            Pattern::MatchAs(inner) => inner.name.as_ref(),
            Pattern::MatchStar(inner) => inner.name.as_ref(),
            Pattern::MatchMapping(inner) => inner.rest.as_ref(),
            _ => None,
        };
        if let Some(name) = name {
            self.binds(name);
        }
        ast::visitor::walk_pattern(self, pattern);
    }
}

/// The text with the edits made.
#[cfg(test)]
pub(super) fn edited(text: &str, edits: &[Edit]) -> String {
    let mut text = text.to_owned();
    for (range, new) in edits.iter().rev() {
        text.replace_range(range.clone(), new);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_one_letter_off_are_near_and_no_others() {
        for (wrong, right) in [
            ("parse_markdwn", "parse_markdown"),
            ("pares_text", "parse_text"),
            ("conect", "connect"),
        ] {
            assert!(is_one_letter_off(wrong, right), "{wrong} {right}");
        }
        for (wrong, right) in [
            ("load_v3", "load_v2"),
            ("get_users", "get_user"),
            ("_parse", "parse"),
            ("set", "get"),
            ("encode", "decode"),
        ] {
            assert!(!is_one_letter_off(wrong, right), "{wrong} {right}");
        }
        for (wrong, right) in [
            ("get_rate", "set_rate"),
            ("run_async", "run_sync"),
            ("users_of", "user_of"),
            ("tidy_loan", "tidy_load"),
            ("getRate", "setRate"),
        ] {
            assert!(is_one_letter_off(wrong, right), "{wrong} {right}");
            assert!(is_another_word(wrong, right), "{wrong} {right}");
        }
        for (wrong, right) in [
            ("parse_markdwn", "parse_markdown"),
            ("make_labl", "make_label"),
            ("make_label", "makelabel"),
            ("HTTPErorr", "HTTPError"),
        ] {
            assert!(!is_another_word(wrong, right), "{wrong} {right}");
        }
        let names = ["parse_texts", "parse_text", "other"];
        assert_eq!(near_names("parse_texs", names).len(), 2);
    }

    #[test]
    fn an_imported_name_is_corrected_wherever_it_is_used() {
        let text = "# caf\u{e9}\r\nfrom a import (\r\n    wrng,\r\n    other,\r\n)\r\nX = {1: wrng, 2: o.wrng}\r\nprint(f'{wrng}')\r\n";
        let edits = rename_imported(text, 2, "wrng", "wrong").unwrap();
        let expected = text
            .replace("    wrng,", "    wrong,")
            .replace("1: wrng", "1: wrong")
            .replace("{wrng}", "{wrong}");
        assert_eq!(edited(text, &edits), expected);
        let renamed = "from a import wrng as w\nwrng = w\n";
        let edits = rename_imported(renamed, 1, "wrng", "wrong").unwrap();
        assert_eq!(
            edited(renamed, &edits),
            "from a import wrong as w\nwrng = w\n"
        );
        // The name means something else too, is exported, or the right one is in use.
        for text in [
            "from a import wrng\ndef f(wrng): ...\n",
            "from a import wrng\n__all__ = ['wrng']\n",
            "from a import wrng\nwrong = 1\n",
            "from a import wrng\nfrom b import *\n",
            "from a import wrng, wrng\n",
            "import wrng\n",
        ] {
            assert_eq!(rename_imported(text, 1, "wrng", "wrong"), None, "{text}");
        }
    }

    #[test]
    fn modules_and_attributes_are_corrected_where_one_is_meant() {
        let text = "from .ingestoin.parsers import x\nimport a.b.c\nimport a.bb.c as c\n";
        let edits = correct_module(text, 1, "ingestoin", "ingestion").unwrap();
        assert!(edited(text, &edits).starts_with("from .ingestion.parsers import x\n"));
        assert_eq!(correct_module(text, 2, "b", "d"), None);
        assert!(correct_module(text, 3, "bb", "d").is_some());
        let text = "a.pth + b.pth\na.pth(x)\n";
        assert_eq!(correct_attribute(text, 1, "pth", "path"), None);
        let edits = correct_attribute(text, 2, "pth", "path").unwrap();
        assert_eq!(edited(text, &edits), "a.pth + b.pth\na.path(x)\n");
    }

    #[test]
    fn an_import_moves_into_the_one_function_that_needs_it() {
        let text = "import os\nfrom b import thing\n\n\ndef f():\n    '''Does it.'''\n    return thing()\n";
        let edits = import_in_function(text, 2, "thing").unwrap();
        assert_eq!(
            edited(text, &edits),
            "import os\n\n\ndef f():\n    '''Does it.'''\n    from b import thing\n    return thing()\n"
        );
        for text in [
            "from b import thing\nx = thing\n",
            "from b import thing\ndef f(): return thing\ndef g(): return thing\n",
            "from b import thing, other\ndef f():\n    return thing\n",
        ] {
            assert_eq!(import_in_function(text, 1, "thing"), None, "{text}");
        }
    }
}
