//! What is known at a statement: where it stands, under which circumstances it runs, and what names mean.
//!
//! The walker keeps it up to date; collectors only read it.

use std::collections::{BTreeMap, BTreeSet};

use ruff_python_ast::visitor::{Visitor, walk_pattern};
use ruff_python_ast::{self as ast, CmpOp, Expr, Number, UnaryOp};
use ruff_text_size::{TextRange, TextSize};

use super::facts::{Guard, ModuleScope, Place, Unjudged};
use super::lines::Lines;

/// Which file, and for which Python.
#[derive(Debug, Clone, Copy)]
pub(super) struct FileName<'a> {
    pub shown: &'a str,
    pub module: &'a str,
    pub is_package: bool,
    pub target: Option<(u8, u8)>,
}

/// The circumstances of a statement.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Circumstances {
    pub never: bool,
    pub tried_import: bool,
    pub tried_key: bool,
    pub conditional: bool,
    /// Within `try` with a handler; a statement before it may have failed.
    pub tried: bool,
    /// Within `try` with a handler that catches anything.
    pub caught: bool,
    pub class_depth: u32,
    /// Within `if __name__ == "__main__"`: who imports the module does not get what is bound there.
    pub main: bool,
    /// An earlier statement of the module may have left it.
    pub may_have_left: bool,
}

/// The scope that the walker is in.
pub(super) struct Scope<'a> {
    pub name: FileName<'a>,
    pub lines: Lines<'a>,
    /// What the module binds.
    pub module: ModuleScope,
    /// What local names stand for: `np` → `numpy`, `environ` → `os.environ`.
    pub aliases: BTreeMap<String, String>,
    /// Names that are bound to one text.
    constants: BTreeMap<String, String>,
    /// Names that are bound to a list of names, and variables of loops over one.
    lists: BTreeMap<String, Vec<String>>,
    pub circumstances: Circumstances,
    /// Functions and lambdas around the statement.
    pub function_depth: u32,
    /// The value of the statement, where it is a call.
    pub direct: Option<TextRange>,
}

impl<'a> Scope<'a> {
    pub(super) fn new(name: FileName<'a>, lines: Lines<'a>, module: ModuleScope) -> Self {
        Self {
            name,
            lines,
            module,
            aliases: BTreeMap::new(),
            constants: BTreeMap::new(),
            lists: BTreeMap::new(),
            circumstances: Circumstances::default(),
            function_depth: 0,
            direct: None,
        }
    }

    pub(super) fn place(&self, range: TextRange) -> Place {
        self.lines.place(self.name.shown, range.start())
    }

    fn guard_with(&self, tried: bool) -> Guard {
        if self.circumstances.never {
            Guard::TypeChecking
        } else if tried {
            Guard::Tried
        } else if self.function_depth > 0 {
            Guard::Function
        } else if self.circumstances.conditional || self.circumstances.may_have_left {
            Guard::Conditional
        } else {
            Guard::Always
        }
    }

    /// For imports.
    pub(super) fn guard(&self) -> Guard {
        self.guard_with(self.circumstances.tried_import)
    }

    /// For reads of variables.
    pub(super) fn read_guard(&self) -> Guard {
        self.guard_with(self.circumstances.tried_key)
    }

    /// The statement runs whenever the module is imported, in a class too.
    pub(super) fn is_certain(&self) -> bool {
        let state = &self.circumstances;
        self.function_depth == 0
            && !(state.conditional || state.tried || state.tried_import || state.never)
    }

    /// For imports, of which those that only fail for want of a module count.
    pub(super) fn is_certain_import(&self) -> bool {
        let state = &self.circumstances;
        self.function_depth == 0 && !(state.conditional || state.caught || state.never)
    }

    /// The statement never runs.
    pub(super) fn is_never(&self) -> bool {
        self.circumstances.never
    }

    /// The call is all of the statement's value.
    pub(super) fn is_direct(&self, call: TextRange) -> bool {
        self.direct == Some(call)
    }

    /// The file's text.
    pub(super) fn text(&self) -> &'a str {
        self.lines.text()
    }

    /// Line, and bytes from its begin: as Python's `ast` counts.
    pub(super) fn line_and_bytes(&self, at: TextSize) -> (u32, u32) {
        self.lines.line_and_bytes(at)
    }

    /// Directly in the module: not in a function or class.
    pub(super) fn is_at_module_level(&self) -> bool {
        self.function_depth == 0 && self.circumstances.class_depth == 0
    }

    /// What is bound here is an attribute of the module once it was imported.
    pub(super) fn binds_attributes(&self) -> bool {
        self.is_at_module_level() && !self.circumstances.main
    }

    /// `a.b.c`, with what the first name stands for; a name of this module gets the module's.
    pub(super) fn dotted(&self, expr: &Expr) -> Option<String> {
        match expr {
            Expr::Name(name) => {
                let name = name.id.as_str();
                Some(match self.aliases.get(name) {
                    Some(target) => target.clone(),
                    None => self.local(name),
                })
            }
            Expr::Attribute(attribute) => {
                let base = self.dotted(&attribute.value)?;
                Some(format!("{base}.{}", attribute.attr.as_str()))
            }
            _ => None,
        }
    }

    pub(super) fn local(&self, name: &str) -> String {
        format!("{}.{name}", self.name.module)
    }

    /// A literal text, or a name that is bound to one.
    pub(super) fn text_of(&self, expr: &Expr) -> Option<String> {
        match expr {
            Expr::StringLiteral(text) => Some(text.value.to_str().to_owned()),
            Expr::Name(name) => self.constants.get(name.id.as_str()).cloned(),
            Expr::BinOp(sum) if sum.op == ast::Operator::Add => Some(format!(
                "{}{}",
                self.text_of(&sum.left)?,
                self.text_of(&sum.right)?
            )),
            _ => None,
        }
    }

    pub(super) fn unjudged(&self, range: TextRange, why: &str) -> Unjudged {
        Unjudged {
            place: self.place(range),
            why: why.to_owned(),
        }
    }

    /// What the variable of a loop or the name of a list stands for.
    pub(super) fn list(&self, name: &str) -> Option<&Vec<String>> {
        self.lists.get(name)
    }

    pub(super) fn bind_list(&mut self, name: &str, names: Vec<String>) {
        self.lists.insert(name.to_owned(), names);
    }

    pub(super) fn bind(&mut self, name: &str) {
        if self.is_at_module_level() {
            self.module.names.insert(name.to_owned());
        }
    }

    pub(super) fn bind_target(&mut self, target: &Expr) {
        match target {
            Expr::Name(name) => self.bind(name.id.as_str()),
            Expr::Tuple(tuple) => tuple.elts.iter().for_each(|e| self.bind_target(e)),
            Expr::List(list) => list.elts.iter().for_each(|e| self.bind_target(e)),
            Expr::Starred(starred) => self.bind_target(&starred.value),
            _ => {}
        }
    }

    /// A name that an import binds.
    pub(super) fn bind_import(&mut self, bound: &str, target: String) {
        if self.is_at_module_level() {
            self.module.names.insert(bound.to_owned());
            self.aliases.insert(bound.to_owned(), target);
        } else {
            // An import within a function says what a name means too, but not over the module's.
            self.aliases.entry(bound.to_owned()).or_insert(target);
        }
    }

    /// The names that a pattern of `match` binds.
    pub(super) fn bind_pattern(&mut self, pattern: &ast::Pattern) {
        struct PatternNames(BTreeSet<String>);
        impl<'a> Visitor<'a> for PatternNames {
            fn visit_pattern(&mut self, pattern: &'a ast::Pattern) {
                match pattern {
                    ast::Pattern::MatchAs(one) => {
                        self.0.extend(one.name.iter().map(|n| n.to_string()))
                    }
                    ast::Pattern::MatchStar(one) => {
                        self.0.extend(one.name.iter().map(|n| n.to_string()))
                    }
                    ast::Pattern::MatchMapping(one) => {
                        self.0.extend(one.rest.iter().map(|n| n.to_string()))
                    }
                    _ => {}
                }
                walk_pattern(self, pattern);
            }
        }
        let mut names = PatternNames(BTreeSet::new());
        names.visit_pattern(pattern);
        for name in names.0 {
            self.bind(&name);
        }
    }

    /// Remembers what a name is another name of.
    pub(super) fn assign_meaning(&mut self, name: &str, value: &Expr) {
        match value {
            Expr::StringLiteral(text) => {
                // Bound twice: not one text.
                if self.constants.contains_key(name) {
                    self.constants.remove(name);
                } else {
                    self.constants
                        .insert(name.to_owned(), text.value.to_str().to_owned());
                }
            }
            Expr::Attribute(_) => {
                let target = self.dotted(value);
                if let Some(target) = target.filter(|t| {
                    self.aliases
                        .values()
                        .any(|known| t.starts_with(known.as_str()))
                }) {
                    self.aliases.insert(name.to_owned(), target);
                }
            }
            Expr::List(ast::ExprList { elts, .. }) | Expr::Tuple(ast::ExprTuple { elts, .. }) => {
                let names: Vec<String> = elts.iter().filter_map(|e| self.dotted(e)).collect();
                if name == "__all__" && elts.iter().any(|e| self.text_of(e).is_none()) {
                    self.module.all = None;
                } else if name == "__all__" {
                    self.module.all = elts.iter().map(|e| self.text_of(e)).collect();
                }
                if !names.is_empty() && names.len() == elts.len() {
                    self.lists.insert(name.to_owned(), names);
                }
            }
            _ => {}
        }
    }

    /// The absolute name of what a relative import names; `None` above the roots.
    pub(super) fn absolute(&self, level: u32, named: &str) -> Option<String> {
        if level == 0 {
            return Some(named.to_owned());
        }
        let mut parts: Vec<&str> = self.name.module.split('.').collect();
        let up = usize::try_from(level).ok()? - usize::from(self.name.is_package);
        // The module's own name, then a package for each further dot; something must remain.
        if up >= parts.len() {
            return None;
        }
        parts.truncate(parts.len() - up);
        if !named.is_empty() {
            parts.push(named);
        }
        Some(parts.join("."))
    }

    /// What a test comes to, if that is known beforehand.
    pub(super) fn truth(&self, test: &Expr) -> Option<bool> {
        match test {
            Expr::UnaryOp(not) if not.op == UnaryOp::Not => self.truth(&not.operand).map(|t| !t),
            Expr::BooleanLiteral(literal) => Some(literal.value),
            Expr::Name(_) | Expr::Attribute(_) => self
                .dotted(test)
                .filter(|name| name.ends_with("TYPE_CHECKING"))
                .map(|_| false),
            Expr::Compare(compare) => {
                let (major, minor) = self.name.target?;
                let [op] = &*compare.ops else { return None };
                let [Expr::Tuple(wanted)] = &*compare.comparators else {
                    return None;
                };
                if self.dotted(&compare.left)? != "sys.version_info" {
                    return None;
                }
                let wanted: Option<Vec<u8>> = wanted.elts.iter().map(small_number).collect();
                let wanted = wanted.filter(|parts| (1..=2).contains(&parts.len()))?;
                let ours = [major, minor];
                // `sys.version_info` has more parts: equal so far is greater.
                match op {
                    CmpOp::GtE | CmpOp::Gt => Some(ours[..] >= wanted[..]),
                    CmpOp::Lt | CmpOp::LtE => Some(ours[..] < wanted[..]),
                    _ => None,
                }
                .filter(|_| matches!(op, CmpOp::GtE | CmpOp::Lt))
            }
            _ => None,
        }
    }
}

fn small_number(expr: &Expr) -> Option<u8> {
    match expr {
        Expr::NumberLiteral(ast::ExprNumberLiteral {
            value: Number::Int(number),
            ..
        }) => number.as_u8(),
        _ => None,
    }
}
