//! One revision file of Alembic, read without running it.

use ruff_python_ast::{Expr, Stmt};
use ruff_text_size::Ranged;

use super::graph::Revision;

/// Names that make a revision; the others may be left out.
const REVISION: &str = "revision";

/// Why a file says nothing that can be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum UnreadRevision {
    /// It cannot be parsed: line and what the parser says.
    Syntax(u32, String),
    /// It assigns no `revision`.
    NoRevision,
    /// It computes what should be a literal: line and name.
    Computed(u32, &'static str),
}

/// Reads `revision`, `down_revision`, `branch_labels` and `depends_on`.
pub(super) fn read_revision(text: &str, file: &str) -> Result<Revision, UnreadRevision> {
    let parsed = ruff_python_parser::parse_module(text).map_err(|error| {
        let line = line_at(text, error.location.start().to_usize());
        UnreadRevision::Syntax(line, error.error.to_string())
    })?;
    let mut revision = Revision {
        file: file.to_owned(),
        ..Revision::default()
    };
    for statement in parsed.syntax().body.iter() {
        let (targets, value): (Vec<&Expr>, &Expr) = match statement {
            Stmt::Assign(assign) => (assign.targets.iter().collect(), &assign.value),
            Stmt::AnnAssign(assign) => match &assign.value {
                Some(value) => (vec![&assign.target], value),
                None => continue,
            },
            _ => continue,
        };
        let line = line_at(text, statement.range().start().to_usize());
        for target in targets {
            let Expr::Name(name) = target else { continue };
            let computed = |name| UnreadRevision::Computed(line, name);
            match name.id.as_str() {
                "revision" => {
                    let ids = literals(value).ok_or(computed(REVISION))?;
                    let [id] = ids.as_slice() else {
                        return Err(computed(REVISION));
                    };
                    revision.id.clone_from(id);
                    revision.line = line;
                }
                "down_revision" => {
                    revision.down = literals(value).ok_or(computed("down_revision"))?;
                }
                "depends_on" => {
                    revision.depends = literals(value).ok_or(computed("depends_on"))?;
                }
                "branch_labels" => {
                    revision.labels = literals(value).ok_or(computed("branch_labels"))?;
                }
                _ => {}
            }
        }
    }
    if revision.id.is_empty() {
        return Err(UnreadRevision::NoRevision);
    }
    Ok(revision)
}

/// A keyword argument, such as `version_table="..."`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Argument {
    /// No call has it.
    Absent,
    /// A literal, or a name that the file binds to one.
    Text(String),
    /// `config.get_main_option("...")`: that option.
    Option(String),
    /// Anything else, in that line.
    Computed(u32),
}

/// The keyword argument of the last call in the file that has it.
pub(super) fn keyword_argument(text: &str, name: &str) -> Argument {
    use ruff_python_ast::visitor::{Visitor, walk_expr};
    struct Search<'a> {
        name: &'a str,
        found: Option<&'a Expr>,
    }
    impl<'a> Visitor<'a> for Search<'a> {
        fn visit_expr(&mut self, expr: &'a Expr) {
            if let Expr::Call(call) = expr
                && let Some(keyword) = call.arguments.find_keyword(self.name)
            {
                self.found = Some(&keyword.value);
            }
            walk_expr(self, expr);
        }
    }
    let Ok(parsed) = ruff_python_parser::parse_module(text) else {
        return Argument::Absent;
    };
    let body = &parsed.syntax().body;
    let mut search = Search { name, found: None };
    search.visit_body(body);
    let Some(value) = search.found else {
        return Argument::Absent;
    };
    match value {
        Expr::StringLiteral(literal) => Argument::Text(literal.value.to_str().to_owned()),
        Expr::NoneLiteral(_) => Argument::Absent,
        Expr::Name(wanted) => {
            let bound: Vec<&Expr> = body
                .iter()
                .filter_map(|statement| match statement {
                    Stmt::Assign(assign) => match &assign.targets[..] {
                        [Expr::Name(name)] if name.id == wanted.id => Some(&*assign.value),
                        _ => None,
                    },
                    Stmt::AnnAssign(assign) => match &*assign.target {
                        Expr::Name(name) if name.id == wanted.id => assign.value.as_deref(),
                        _ => None,
                    },
                    _ => None,
                })
                .collect();
            match &bound[..] {
                [Expr::StringLiteral(literal)] => Argument::Text(literal.value.to_str().to_owned()),
                [Expr::Call(call)] => option_of(call).unwrap_or_else(|| computed(text, value)),
                _ => computed(text, value),
            }
        }
        Expr::Call(call) => option_of(call).unwrap_or_else(|| computed(text, value)),
        _ => computed(text, value),
    }
}

fn computed(text: &str, value: &Expr) -> Argument {
    Argument::Computed(line_at(text, value.range().start().to_usize()))
}

/// `config.get_main_option("name")`, without a default.
fn option_of(call: &ruff_python_ast::ExprCall) -> Option<Argument> {
    let Expr::Attribute(method) = &*call.func else {
        return None;
    };
    let is_getter = matches!(
        method.attr.as_str(),
        "get_main_option" | "get_alembic_option"
    );
    match (&call.arguments.args[..], call.arguments.keywords.is_empty()) {
        ([Expr::StringLiteral(name)], true) if is_getter => {
            Some(Argument::Option(name.value.to_str().to_lowercase()))
        }
        _ => None,
    }
}

/// The strings of a literal: one, several in a tuple, list or set, or none.
fn literals(value: &Expr) -> Option<Vec<String>> {
    let all = |parts: &[Expr]| {
        parts
            .iter()
            .map(|part| match part {
                Expr::StringLiteral(literal) => Some(literal.value.to_str().to_owned()),
                _ => None,
            })
            .collect()
    };
    match value {
        Expr::NoneLiteral(_) => Some(Vec::new()),
        Expr::StringLiteral(_) => all(std::slice::from_ref(value)),
        Expr::Tuple(tuple) => all(&tuple.elts),
        Expr::List(list) => all(&list.elts),
        Expr::Set(set) => all(&set.elts),
        _ => None,
    }
}

fn line_at(text: &str, offset: usize) -> u32 {
    let before = text.as_bytes().iter().take(offset);
    u32::try_from(before.filter(|b| **b == b'\n').count() + 1).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_and_annotated_assignments_are_read() {
        let text = "\"\"\"Add users\n\nRevision ID: x\n\"\"\"\nfrom typing import Union\n\nrevision: str = 'b2'\n\
                    down_revision: Union[str, None] = ('a1', 'a2')\nbranch_labels = {'left'}\ndepends_on = None\n";
        let revision = read_revision(text, "v/b2.py").unwrap();
        assert_eq!((revision.id.as_str(), revision.line), ("b2", 7));
        assert_eq!(revision.down, ["a1", "a2"]);
        assert_eq!(revision.labels, ["left"]);
        assert!(revision.depends.is_empty());
    }

    #[test]
    fn what_is_no_literal_is_not_guessed() {
        let read = |text| read_revision(text, "x.py").unwrap_err();
        assert_eq!(
            read("import x\nrevision = x.y()\n"),
            UnreadRevision::Computed(2, "revision")
        );
        assert_eq!(
            read("revision = 'a'\ndown_revision = revision\n"),
            UnreadRevision::Computed(2, "down_revision")
        );
        assert_eq!(read("x = 1\n"), UnreadRevision::NoRevision);
        assert!(matches!(
            read("revision = 'a'\ndef (\n"),
            UnreadRevision::Syntax(2, _)
        ));
    }

    #[test]
    fn the_version_table_is_found_in_any_call() {
        let find = |value: &str, head: &str| {
            let text = format!(
                "{head}\ndef run():\n    with x:\n        context.configure(connection=c, version_table={value})\n"
            );
            assert_eq!(
                keyword_argument(&text, "version_table_schema"),
                Argument::Absent
            );
            keyword_argument(&text, "version_table")
        };
        let text = |text: &str| Argument::Text(text.to_owned());
        assert_eq!(find("'ver'", ""), text("ver"));
        assert_eq!(find("TABLE", "TABLE: str = 'ver'"), text("ver"));
        assert_eq!(find("None", ""), Argument::Absent);
        let option = Argument::Option("version_table".to_owned());
        assert_eq!(find("config.get_main_option('version_table')", ""), option);
        assert_eq!(
            find("T", "T = config.get_main_option('version_table')"),
            option
        );
        assert_eq!(find("f'{x}_v'", ""), Argument::Computed(4));
        assert_eq!(find("TABLE", "TABLE = x()"), Argument::Computed(4));
    }
}
