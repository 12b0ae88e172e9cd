//! The edit that mounts a router as its siblings are mounted: the statement of a sibling with the other name in it.
//!
//! Beyond doubt only where each sibling's statements are those of every other one with its name in them.

use ruff_python_ast::visitor::{Visitor, walk_body, walk_stmt};
use ruff_python_ast::{self as ast, Expr, Stmt};
use ruff_text_size::{Ranged, TextRange};

use super::edit::{Edit, line_end, said, sorted, whole_lines, with_tree};
use super::lines::Lines;

/// A router that the application mounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sibling {
    /// 1-based line of the call.
    pub line: u32,
    /// What it is called, where the other one is called otherwise.
    pub name: String,
}

/// The part in which two dotted names differ, if it is one: of the first, of the second.
pub(crate) fn differing_part<'a>(a: &'a str, b: &'a str) -> Option<(&'a str, &'a str)> {
    if a.split('.').count() != b.split('.').count() {
        return None;
    }
    let mut differing = a.split('.').zip(b.split('.')).filter(|(a, b)| a != b);
    let found = differing.next()?;
    differing.next().is_none().then_some(found)
}

/// Imports and mounts what is called `name` beside its siblings.
pub(crate) fn mount_like(text: &str, siblings: &[Sibling], name: &str) -> Option<Vec<Edit>> {
    let edits = with_tree(text, |body| {
        let lines = Lines::of(text);
        let mut calls = Calls {
            lines: &lines,
            siblings,
            bodies: 0,
            found: Vec::new(),
        };
        calls.visit_body(body);
        let first = calls.found.first()?.body;
        let is_one_place = calls.found.iter().all(|call| call.body == first);
        if !is_one_place || calls.found.len() != siblings.len() {
            return None;
        }
        let mut mounted: Vec<(&str, &Call<'_>)> = Vec::new();
        for call in &calls.found {
            mounted.push((siblings.get(call.sibling)?.name.as_str(), call));
        }
        let statements: Vec<(&str, &str)> = mounted
            .iter()
            .filter_map(|(name, call)| Some((*name, said(text, call.range)?)))
            .collect();
        let new = same_way(&statements, name)?;
        let (_, last) = mounted.last()?;
        let mut edits = vec![after(text, last.range, &new)?];
        edits.extend(import_edit(text, body, &mounted, name)?);
        sorted(edits)
    })?;
    // What no parser takes is no edit.
    let mut result = text.to_owned();
    for (range, new) in edits.iter().rev() {
        result.replace_range(range.clone(), new);
    }
    with_tree(&result, |_| Some(()))?;
    Some(edits)
}

/// The text of the new one, if each of these is every other one with its own name.
fn same_way(texts: &[(&str, &str)], name: &str) -> Option<String> {
    let (first_name, first) = texts.first()?;
    let is_alike = texts
        .iter()
        .all(|(other, text)| with_name(first, first_name, other) == *text);
    let new = with_name(first, first_name, name);
    (is_alike && new != *first).then_some(new)
}

/// The text with another name in it, also as titles and paths spell it.
fn with_name(text: &str, old: &str, new: &str) -> String {
    let spellings = |name: &str| {
        let mut title = name.replace('_', " ");
        if let Some(first) = title.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        [name.to_owned(), name.replace('_', "-"), title]
    };
    let mut result = text.to_owned();
    let mut done = Vec::new();
    for (old, new) in spellings(old).into_iter().zip(spellings(new)) {
        if !done.contains(&old) {
            result = with_word(&result, &old, &new);
            done.push(old);
        }
    }
    result
}

fn with_word(text: &str, old: &str, new: &str) -> String {
    let mut result = String::new();
    let mut rest = text;
    let is_part = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    while let Some(at) = rest.find(old) {
        let (before, found) = rest.split_at(at);
        let after = &found[old.len()..];
        result.push_str(before);
        let inside = is_part(result.chars().next_back()) || is_part(after.chars().next());
        result.push_str(if inside { old } else { new });
        rest = after;
    }
    result.push_str(rest);
    result
}

/// A line of its own after the statement.
fn after(text: &str, range: TextRange, statement: &str) -> Option<Edit> {
    let (from, to) = whole_lines(text, range)?;
    let indent = indent_of(text, from, range)?;
    let end = line_end(text);
    let line = if text.get(from..to)?.ends_with('\n') {
        format!("{indent}{statement}{end}")
    } else {
        format!("{end}{indent}{statement}")
    };
    Some((to..to, line))
}

fn indent_of(text: &str, from: usize, range: TextRange) -> Option<&str> {
    Some(
        text.get(from..range.start().to_usize())?
            .trim_start_matches('\u{feff}'),
    )
}

/// The statement of a call that mounts a sibling.
struct Call<'a> {
    body: usize,
    sibling: usize,
    range: TextRange,
    /// The first name of what is mounted.
    head: &'a str,
}

struct Calls<'a, 'l> {
    lines: &'l Lines<'l>,
    siblings: &'l [Sibling],
    bodies: usize,
    found: Vec<Call<'a>>,
}

impl<'a> Visitor<'a> for Calls<'a, '_> {
    fn visit_body(&mut self, body: &'a [Stmt]) {
        self.bodies += 1;
        let number = self.bodies;
        for stmt in body {
            if let Stmt::Expr(expr) = stmt
                && let Expr::Call(call) = &*expr.value
            {
                let (line, _) = self.lines.line_and_bytes(call.start());
                let known = self.siblings.iter().position(|s| s.line == line);
                let what = call.arguments.args.first();
                if let (Some(sibling), Some(head)) = (known, what.and_then(head_of)) {
                    self.found.push(Call {
                        body: number,
                        sibling,
                        range: stmt.range(),
                        head,
                    });
                }
            }
            walk_stmt(self, stmt);
        }
    }
}

fn head_of(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Name(name) => Some(name.id.as_str()),
        Expr::Attribute(attribute) => head_of(&attribute.value),
        _ => None,
    }
}

/// Every import, also in functions.
#[derive(Default)]
struct Imports<'a> {
    found: Vec<(TextRange, &'a [ast::Alias])>,
}

impl<'a> Visitor<'a> for Imports<'a> {
    fn visit_stmt(&mut self, stmt: &'a Stmt) {
        match stmt {
            Stmt::Import(import) => self.found.push((stmt.range(), &import.names)),
            Stmt::ImportFrom(import) => self.found.push((stmt.range(), &import.names)),
            _ => walk_stmt(self, stmt),
        }
    }
}

fn bound_by(alias: &ast::Alias) -> &str {
    let name = alias.name.as_str();
    match &alias.asname {
        Some(asname) => asname.as_str(),
        None => name.split('.').next().unwrap_or(name),
    }
}

/// The import that the new one needs beside those of its siblings; empty if it is there.
fn import_edit(
    text: &str,
    body: &[Stmt],
    mounted: &[(&str, &Call<'_>)],
    name: &str,
) -> Option<Vec<Edit>> {
    let mut imports = Imports::default();
    walk_body(&mut imports, body);
    // The import of each sibling: the statement, and the name in it.
    let mut statements: Vec<(&str, TextRange)> = Vec::new();
    let mut aliases: Vec<(&str, TextRange)> = Vec::new();
    for (sibling, call) in mounted {
        let mut all = imports.found.iter().flat_map(|(range, names)| {
            let bound = names.iter().filter(|alias| bound_by(alias) == call.head);
            bound.map(move |alias| (*range, alias.range(), names.len()))
        });
        // `import a.b` and `import a.c` both bind `a`: the one that names the sibling.
        let names_it = |range: TextRange| {
            said(text, range).is_some_and(|said| with_word(said, sibling, "\0") != said)
        };
        let (statement, alias, _) = all.find(|(statement, ..)| names_it(*statement))?;
        if all.any(|(statement, ..)| names_it(statement)) {
            return None;
        }
        statements.push((sibling, statement));
        aliases.push((sibling, alias));
    }
    let texts = |of: &[(&'_ str, TextRange)]| -> Option<Vec<(String, String)>> {
        of.iter()
            .map(|(name, range)| Some(((*name).to_owned(), said(text, *range)?.to_owned())))
            .collect()
    };
    let like = |of: &[(&'_ str, TextRange)]| -> Option<String> {
        let owned = texts(of)?;
        let pairs: Vec<(&str, &str)> = owned
            .iter()
            .map(|(name, text)| (name.as_str(), text.as_str()))
            .collect();
        same_way(&pairs, name)
    };
    let (_, first) = statements.first()?;
    let shared = statements.iter().all(|(_, range)| range == first);
    let (_, names) = imports.found.iter().find(|(range, _)| range == first)?;
    // One statement takes all of them from one module; with one sibling, it may be either.
    if shared && let Some(new) = like(&aliases) {
        let head = text.get(first.start().to_usize()..names.first()?.start().to_usize())?;
        if mounted
            .iter()
            .any(|(s, _)| with_word(head, s, "\0") != head)
        {
            // The module differs with the sibling.
        } else if names
            .iter()
            .any(|alias| said(text, alias.range()) == Some(new.as_str()))
        {
            return Some(Vec::new());
        } else {
            return is_unbound(&imports, &new).then_some(vec![into_list(text, names, &new)?]);
        }
    }
    let new = like(&statements)?;
    let is_there =
        |(range, _): &(TextRange, &[ast::Alias])| said(text, *range) == Some(new.as_str());
    if imports.found.iter().any(is_there) {
        return Some(Vec::new());
    }
    let is_plain = new.starts_with("import ") && !new.contains(" as ");
    if !(is_plain || is_unbound(&imports, &new)) {
        return None;
    }
    statements.sort_by_key(|(_, range)| range.start());
    let texts: Vec<&str> = statements
        .iter()
        .filter_map(|(_, range)| said(text, *range))
        .collect();
    let next = texts.iter().position(|text| *text > new.as_str());
    match next {
        Some(next) if texts.is_sorted() => {
            let (_, range) = statements.get(next)?;
            let (from, _) = whole_lines(text, *range)?;
            let indent = indent_of(text, from, *range)?;
            let at = range.start().to_usize();
            Some(vec![(at..at, format!("{new}{}{indent}", line_end(text)))])
        }
        _ => {
            let (_, last) = statements.last()?;
            Some(vec![after(text, *last, &new)?])
        }
    }
}

/// Nothing in the file is imported by the name that this binds.
fn is_unbound(imports: &Imports<'_>, import: &str) -> bool {
    let bound = import.rsplit([' ', ',']).next().unwrap_or(import);
    let mut all = imports.found.iter().flat_map(|(_, names)| names.iter());
    !all.any(|alias| bound_by(alias) == bound)
}

/// One more name in the list of an import: in its order, if it has one, else at the end.
fn into_list(text: &str, names: &[ast::Alias], new: &str) -> Option<Edit> {
    let listed: Vec<&str> = names
        .iter()
        .filter_map(|alias| said(text, alias.range()))
        .collect();
    let between = |at: usize| -> Option<&str> {
        let (a, b) = (names.get(at)?, names.get(at + 1)?);
        let gap = text.get(a.end().to_usize()..b.start().to_usize())?;
        (!gap.contains('#')).then_some(gap)
    };
    let next = listed
        .iter()
        .position(|name| *name > new)
        .filter(|_| listed.is_sorted());
    match next {
        Some(at) => {
            let gap = match names.len() {
                1 => ", ",
                _ => between(at.saturating_sub(1))?,
            };
            let start = names.get(at)?.start().to_usize();
            Some((start..start, format!("{new}{gap}")))
        }
        None => {
            let gap = match names.len() {
                1 => ", ",
                many => between(many - 2)?,
            };
            let end = names.last()?.end().to_usize();
            Some((end..end, format!("{gap}{new}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::edit::edited;
    use super::*;

    fn mount(text: &str, siblings: &[(u32, &str)], name: &str) -> Option<String> {
        let siblings: Vec<Sibling> = siblings
            .iter()
            .map(|(line, name)| Sibling {
                line: *line,
                name: (*name).to_owned(),
            })
            .collect();
        mount_like(text, &siblings, name).map(|edits| edited(text, &edits))
    }

    #[test]
    fn a_router_is_mounted_as_its_siblings_are() {
        // A list of modules, sorted, over several lines.
        let text = "from api import (\n    bills,\n    users,\n)\n\napp = F()\napp.include_router(users.router)\n\
                    app.include_router(bills.router)\n";
        let siblings = [(7, "users"), (8, "bills")];
        assert_eq!(
            mount(text, &siblings, "chat").unwrap(),
            "from api import (\n    bills,\n    chat,\n    users,\n)\n\napp = F()\napp.include_router(users.router)\n\
             app.include_router(bills.router)\napp.include_router(chat.router)\n"
        );
        // Aliases, prefixes and titles, in a factory.
        let text = "from api.bills import router as bills_router\r\nfrom api.users import router as users_router\r\n\
                    def create():\r\n    app = F()\r\n\
                    \x20   app.include_router(bills_router, prefix='/api/bills', tags=['Bills'])\r\n\
                    \x20   app.include_router(users_router, prefix='/api/users', tags=['Users'])  # last\r\n    return app";
        let healed = mount(text, &[(5, "bills"), (6, "users")], "old_chat").unwrap();
        assert!(
            healed.starts_with(
                "from api.bills import router as bills_router\r\nfrom api.old_chat import router as old_chat_router\r\n"
            ),
            "{healed}"
        );
        assert!(
            healed.ends_with(
                "# last\r\n    app.include_router(old_chat_router, prefix='/api/old_chat', tags=['Old chat'])\r\n    return app"
            ),
            "{healed}"
        );
        // Imported already; by whole names.
        let text = "import api.a\nimport api.b\nimport api.c\nx.register_blueprint(api.a.bp)\nx.register_blueprint(api.b.bp)";
        assert_eq!(
            mount(text, &[(4, "a"), (5, "b")], "c").unwrap(),
            format!("{text}\nx.register_blueprint(api.c.bp)")
        );
    }

    #[test]
    fn what_is_not_one_place_or_not_one_way_is_left_alone() {
        for text in [
            // One has a prefix of its own.
            "from api import a, b\nx.include_router(a.router, prefix='/v1')\nx.include_router(b.router)\n",
            // One is mounted under a condition.
            "from api import a, b\nx.include_router(a.router)\nif y: x.include_router(b.router)\n",
            // The name means something else.
            "from api import a, b\nfrom z import c\nfrom o import c as c\nx.include_router(a.router)\n",
            // Two statements on a line.
            "from api import a, b\nx.include_router(a.router)\nx.include_router(b.router); y()\n",
        ] {
            assert_eq!(mount(text, &[(2, "a"), (3, "b")], "c"), None, "{text}");
        }
        let text = "from api import a, b\nfrom z import c\nx.include_router(a.router)\nx.include_router(b.router)\n";
        assert_eq!(mount(text, &[(3, "a"), (4, "b")], "c"), None);
    }
}
