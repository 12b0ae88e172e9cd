//! The pass over one file: parse it, walk over its tree once, and hand each statement and expression to
//! those who look for something in it, with the circumstances under which it runs.

use std::collections::{BTreeMap, BTreeSet};

use ruff_python_ast::visitor::{Visitor, walk_body, walk_expr, walk_stmt};
use ruff_python_ast::{
    self as ast, CmpOp, ExceptHandler, Expr, ExprContext, Number, PythonVersion, Stmt, UnaryOp,
};
use ruff_python_parser::{Mode, ParseOptions, parse_unchecked};
use ruff_text_size::{Ranged, TextRange, TextSize};

use super::decode::{NoText, decode};
use super::environment::{Candidate, ReaderObject};
use super::facts::{
    Application, EnvRead, Guard, Import, ModuleScope, Place, RouterDefinition, SyntaxError,
    Unjudged, ValueKind,
};
use super::nesting::{TooDeep, measure};
use super::settings::ClassFacts;
use super::tables::{Bound, BoundNames, TableCandidate, TableClass};
use super::web::{AssignedCall, BaseCandidate, IncludeCandidate};

/// What one file says; what needs other files is resolved when all are read.
#[derive(Debug, Default)]
pub(super) struct FileFacts {
    pub lines: usize,
    pub syntax_errors: Vec<SyntaxError>,
    pub unjudged: Vec<Unjudged>,
    pub imports: Vec<Import>,
    pub env_reads: Vec<EnvRead>,
    pub candidates: Vec<Candidate>,
    pub readers: BTreeMap<String, ReaderObject>,
    pub applications: Vec<Application>,
    pub assigned_calls: Vec<AssignedCall>,
    pub bases: Vec<BaseCandidate>,
    pub routers: Vec<RouterDefinition>,
    pub includes: Vec<IncludeCandidate>,
    pub classes: Vec<ClassFacts>,
    /// Dotted names of what tables are bound to: base classes of classes, `metadata` of `Table(...)`.
    pub table_owners: Vec<String>,
    pub tables: Vec<TableCandidate>,
    pub table_classes: Vec<TableClass>,
    /// What the module binds its own names to.
    pub bound: BoundNames,
    pub scope: ModuleScope,
    /// Names of the module that are imported: what they stand for.
    pub aliases: BTreeMap<String, String>,
}

/// Which file, and for which Python.
#[derive(Debug, Clone, Copy)]
pub(super) struct FileName<'a> {
    pub shown: &'a str,
    pub module: &'a str,
    pub is_package: bool,
    pub target: Option<(u8, u8)>,
}

/// Reads one file.
pub(super) fn read_file(name: FileName<'_>, bytes: &[u8]) -> FileFacts {
    let mut facts = FileFacts {
        lines: bytes.iter().filter(|byte| **byte == b'\n').count()
            + usize::from(bytes.last().is_some_and(|byte| *byte != b'\n')),
        ..FileFacts::default()
    };
    facts.scope.module = name.module.to_owned();
    facts.scope.file = name.shown.to_owned();
    facts.scope.is_package = name.is_package;
    let whole = |line| Place {
        file: name.shown.to_owned(),
        line,
        column: 0,
    };
    let text = match decode(bytes) {
        Ok(text) => text,
        Err(no_text) => {
            facts.scope.is_dynamic = true;
            match no_text {
                NoText::Refused(at, message) => {
                    let before = bytes.iter().take(at);
                    let line = before.filter(|byte| **byte == b'\n').count() + 1;
                    let place = whole(u32::try_from(line).unwrap_or(u32::MAX));
                    facts.syntax_errors.push(SyntaxError { place, message });
                }
                NoText::Unknown(why) => facts.unjudged.push(Unjudged {
                    place: whole(1),
                    why,
                }),
            }
            return facts;
        }
    };
    if let Err(too_deep) = measure(&text) {
        facts.scope.is_dynamic = true;
        match too_deep {
            TooDeep::Refused(message) => facts.syntax_errors.push(SyntaxError {
                place: whole(0),
                message: message.to_owned(),
            }),
            TooDeep::Unjudged => facts.unjudged.push(Unjudged {
                place: whole(0),
                why: "an expression is nested too deeply to be read".to_owned(),
            }),
        }
        return facts;
    }
    let version = name
        .target
        .map_or(PythonVersion::latest_preview(), |(major, minor)| {
            PythonVersion { major, minor }
        });
    let options = ParseOptions::from(Mode::Module).with_target_version(version);
    let Some(parsed) = parse_unchecked(&text, options).try_into_module() else {
        return facts;
    };
    let lines = Lines::of(&text);
    let broken = parsed
        .errors()
        .first()
        .map(|error| (error.location.start(), error.error.to_string()));
    // What an older Python lacks counts only where it was told which Python it is.
    let unsupported = name.target.and_then(|_| {
        let error = parsed.unsupported_syntax_errors().first()?;
        Some((error.range.start(), error.to_string()))
    });
    let error = [broken, unsupported]
        .into_iter()
        .flatten()
        .min_by_key(|(at, _)| *at);
    if let Some((at, message)) = error {
        facts.scope.is_dynamic = true;
        facts.syntax_errors.push(SyntaxError {
            place: lines.place(name.shown, at),
            message,
        });
    }
    let mut pass = Pass {
        name,
        lines,
        out: facts,
        aliases: BTreeMap::new(),
        constants: BTreeMap::new(),
        lists: BTreeMap::new(),
        state: State::default(),
        functions: Vec::new(),
        prefixes: Vec::new(),
        hint: None,
        direct: None,
    };
    walk_body(&mut pass, &parsed.syntax().body);
    pass.out.aliases = pass.aliases;
    pass.out
}

/// Where lines begin.
pub(super) struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn of(text: &'a str) -> Self {
        let bytes = text.as_bytes();
        let mut starts = vec![0];
        for (at, byte) in bytes.iter().enumerate() {
            let ends = *byte == b'\n' || (*byte == b'\r' && bytes.get(at + 1) != Some(&b'\n'));
            if ends {
                starts.push(at + 1);
            }
        }
        Self { text, starts }
    }

    fn line_and_bytes(&self, at: TextSize) -> (u32, u32) {
        let at = at.to_usize().min(self.text.len());
        let line = self.starts.partition_point(|start| *start <= at);
        let start = self.starts.get(line.saturating_sub(1)).copied();
        let narrow = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        (narrow(line), narrow(at - start.unwrap_or(0).min(at)))
    }

    fn place(&self, file: &str, at: TextSize) -> Place {
        let at = at.to_usize().min(self.text.len());
        let line = self.starts.partition_point(|start| *start <= at);
        let start = self
            .starts
            .get(line.saturating_sub(1))
            .copied()
            .unwrap_or(0);
        let column = self
            .text
            .get(start..at)
            .map_or(0, |s| s.chars().count() + 1);
        Place {
            file: file.to_owned(),
            line: u32::try_from(line).unwrap_or(u32::MAX),
            column: u32::try_from(column).unwrap_or(u32::MAX),
        }
    }
}

/// The circumstances of a statement.
#[derive(Debug, Clone, Copy, Default)]
struct State {
    never: bool,
    tried_import: bool,
    tried_key: bool,
    conditional: bool,
    /// Within `try` with a handler; a statement before it may have failed.
    tried: bool,
    /// Within `try` with a handler that catches anything.
    caught: bool,
    class_depth: u32,
    /// An earlier statement of the module may have left it.
    may_have_left: bool,
}

/// A function that is being walked.
#[derive(Debug, Default)]
pub(super) struct Function {
    pub name: String,
    /// It can be called without arguments.
    pub needs_nothing: bool,
    pub place: Place,
    /// Nested in no other function or class.
    pub is_top_level: bool,
    /// Applications that it binds to a name.
    pub made: Vec<(String, super::facts::Framework)>,
    pub returned: Option<super::facts::Framework>,
}

pub(super) struct Pass<'a> {
    pub name: FileName<'a>,
    lines: Lines<'a>,
    pub out: FileFacts,
    /// What local names stand for: `np` → `numpy`, `environ` → `os.environ`.
    pub aliases: BTreeMap<String, String>,
    /// Names that are bound to one text.
    pub constants: BTreeMap<String, String>,
    /// Names that are bound to a list of names, and variables of loops over one.
    pub lists: BTreeMap<String, Vec<String>>,
    state: State,
    pub functions: Vec<Function>,
    /// `with env.prefixed("APP_")`.
    pub prefixes: Vec<String>,
    /// What the value that is being read is turned into: `int(...)`.
    pub hint: Option<ValueKind>,
    /// The value of the statement, where it is a call.
    direct: Option<TextRange>,
}

impl<'a> Pass<'a> {
    pub(super) fn place(&self, range: TextRange) -> Place {
        self.lines.place(self.name.shown, range.start())
    }

    fn guard_with(&self, tried: bool) -> Guard {
        if self.state.never {
            Guard::TypeChecking
        } else if tried {
            Guard::Tried
        } else if !self.functions.is_empty() {
            Guard::Function
        } else if self.state.conditional || self.state.may_have_left {
            Guard::Conditional
        } else {
            Guard::Always
        }
    }

    /// For imports.
    pub(super) fn guard(&self) -> Guard {
        self.guard_with(self.state.tried_import)
    }

    /// For reads of variables.
    pub(super) fn read_guard(&self) -> Guard {
        self.guard_with(self.state.tried_key)
    }

    /// The statement runs whenever the module is imported, in a class too.
    pub(super) fn is_certain(&self) -> bool {
        let state = &self.state;
        self.functions.is_empty()
            && !(state.conditional || state.tried || state.tried_import || state.never)
    }

    /// For imports, of which those that only fail for want of a module count.
    pub(super) fn is_certain_import(&self) -> bool {
        let state = &self.state;
        self.functions.is_empty() && !(state.conditional || state.caught || state.never)
    }

    /// The statement never runs.
    pub(super) fn is_never(&self) -> bool {
        self.state.never
    }

    /// The call is all of the statement's value.
    pub(super) fn is_direct(&self, call: TextRange) -> bool {
        self.direct == Some(call)
    }

    /// The file's text.
    pub(super) fn text(&self) -> &'a str {
        self.lines.text
    }

    /// Line, and bytes from its begin: as Python's `ast` counts.
    pub(super) fn line_and_bytes(&self, at: TextSize) -> (u32, u32) {
        self.lines.line_and_bytes(at)
    }

    /// Directly in the module: not in a function or class.
    pub(super) fn is_at_module_level(&self) -> bool {
        self.functions.is_empty() && self.state.class_depth == 0
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

    pub(super) fn unjudged(&mut self, range: TextRange, why: &str) {
        let place = self.place(range);
        self.out.unjudged.push(Unjudged {
            place,
            why: why.to_owned(),
        });
    }

    fn bind(&mut self, name: &str) {
        if self.functions.is_empty() && self.state.class_depth == 0 {
            self.out.scope.names.insert(name.to_owned());
        }
    }

    fn bind_target(&mut self, target: &'a Expr) {
        match target {
            Expr::Name(name) => self.bind(name.id.as_str()),
            Expr::Tuple(tuple) => tuple.elts.iter().for_each(|e| self.bind_target(e)),
            Expr::List(list) => list.elts.iter().for_each(|e| self.bind_target(e)),
            Expr::Starred(starred) => self.bind_target(&starred.value),
            _ => {}
        }
    }

    /// Walks with other circumstances.
    fn within(&mut self, change: impl FnOnce(&mut State), walk: impl FnOnce(&mut Self)) {
        let before = self.state;
        change(&mut self.state);
        walk(self);
        self.state = State {
            may_have_left: self.state.may_have_left,
            ..before
        };
    }

    fn visit_if(&mut self, stmt: &'a ast::StmtIf) {
        self.visit_expr(&stmt.test);
        let mut truth = self.truth(&stmt.test);
        let mut never = truth == Some(false);
        self.within(
            |s| {
                s.never |= never;
                s.conditional |= truth.is_none();
            },
            |p| p.visit_body(&stmt.body),
        );
        // Some branch before is always taken.
        let mut taken = truth == Some(true);
        let mut doubtful = truth.is_none();
        for clause in &stmt.elif_else_clauses {
            if let Some(test) = &clause.test {
                self.visit_expr(test);
                truth = self.truth(test);
            } else {
                truth = Some(true);
            }
            never = taken || truth == Some(false);
            self.within(
                |s| {
                    s.never |= never;
                    s.conditional |= doubtful || truth.is_none();
                },
                |p| p.visit_body(&clause.body),
            );
            taken |= truth == Some(true);
            doubtful |= truth.is_none();
        }
    }

    /// What a test comes to, if that is known beforehand.
    fn truth(&self, test: &Expr) -> Option<bool> {
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

    fn visit_try(&mut self, stmt: &'a ast::StmtTry) {
        let catches = |names: &[&str]| {
            stmt.handlers.iter().any(|handler| {
                let ExceptHandler::ExceptHandler(handler) = handler;
                let caught = handler
                    .type_
                    .as_deref()
                    .is_none_or(|kind| exception_names(kind).any(|name| names.contains(&name)));
                caught && !handler.body.iter().any(leaves)
            })
        };
        let imports = catches(&[
            "ImportError",
            "ModuleNotFoundError",
            "Exception",
            "BaseException",
        ]);
        let keys = catches(&[
            "KeyError",
            "LookupError",
            "Exception",
            "BaseException",
            "ImproperlyConfigured",
            "EnvError",
            "UndefinedValueError",
        ]);
        let tried = !stmt.handlers.is_empty();
        let caught = catches(&[
            "Exception",
            "BaseException",
            "InvalidRequestError",
            "SQLAlchemyError",
        ]);
        self.within(
            |s| {
                s.tried_import |= imports;
                s.tried_key |= keys;
                s.tried |= tried;
                s.caught |= caught;
            },
            |p| p.visit_body(&stmt.body),
        );
        for handler in &stmt.handlers {
            let ExceptHandler::ExceptHandler(handler) = handler;
            if let Some(kind) = &handler.type_ {
                self.visit_expr(kind);
            }
            if let Some(name) = &handler.name {
                self.bind(name.as_str());
            }
            let may_have_left = self.state.may_have_left;
            // A handler that imports something else instead is half of an alternative.
            self.within(
                |s| {
                    s.conditional = true;
                    s.tried_import |= imports;
                },
                |p| p.visit_body(&handler.body),
            );
            // Only if the body failed.
            self.state.may_have_left = may_have_left;
        }
        // Runs only if the body got through.
        self.within(
            |s| {
                s.conditional |= imports || keys;
                s.tried |= tried;
            },
            |p| p.visit_body(&stmt.orelse),
        );
        self.visit_body(&stmt.finalbody);
    }

    fn visit_function(&mut self, stmt: &'a ast::StmtFunctionDef) {
        self.bind(stmt.name.as_str());
        self.bind_meaning(stmt.name.as_str(), Bound::Other);
        for decorator in &stmt.decorator_list {
            self.endpoint(&decorator.expression);
            self.visit_decorator(decorator);
        }
        self.visit_parameters(&stmt.parameters);
        if let Some(returns) = &stmt.returns {
            self.visit_annotation(returns);
        }
        let place = self.place(stmt.name.range());
        let top = self.is_at_module_level();
        if top && stmt.name.as_str() == "__getattr__" {
            self.out.scope.is_dynamic = true;
        }
        let needs_nothing = stmt
            .parameters
            .iter_non_variadic_params()
            .all(|parameter| parameter.default.is_some());
        self.functions.push(Function {
            name: stmt.name.as_str().to_owned(),
            needs_nothing,
            place,
            is_top_level: top,
            ..Function::default()
        });
        let class_depth = std::mem::take(&mut self.state.class_depth);
        self.visit_body(&stmt.body);
        self.state.class_depth = class_depth;
        if let Some(function) = self.functions.pop() {
            self.finish_function(function);
        }
    }

    fn visit_class(&mut self, stmt: &'a ast::StmtClassDef) {
        self.bind(stmt.name.as_str());
        for decorator in &stmt.decorator_list {
            self.visit_decorator(decorator);
        }
        if let Some(arguments) = &stmt.arguments {
            self.visit_arguments(arguments);
        }
        self.read_class(stmt);
        self.class_base(stmt);
        self.table_class(stmt);
        self.within(|s| s.class_depth += 1, |p| p.visit_body(&stmt.body));
    }

    fn visit_assignment(&mut self, targets: &'a [Expr], value: &'a Expr) {
        for target in targets {
            self.bind_target(target);
            if let Expr::Name(name) = target {
                self.bind_value(name.id.as_str(), value);
            }
        }
        if let [Expr::Name(name)] = targets {
            let name = name.id.as_str();
            self.assign_reader(name, value);
            self.assign_web(name, value);
            if self.state.class_depth == 0 {
                self.assign_meaning(name, value);
            }
        }
        self.visit_expr(value);
        for target in targets {
            self.visit_expr(target);
        }
    }

    /// Remembers what a name is another name of.
    fn assign_meaning(&mut self, name: &str, value: &'a Expr) {
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
                    self.out.scope.all = None;
                } else if name == "__all__" {
                    self.out.scope.all = elts.iter().map(|e| self.text_of(e)).collect();
                }
                if !names.is_empty() && names.len() == elts.len() {
                    self.lists.insert(name.to_owned(), names);
                }
            }
            _ => {}
        }
    }

    fn visit_for(&mut self, stmt: &'a ast::StmtFor) {
        self.bind_target(&stmt.target);
        self.visit_expr(&stmt.iter);
        if let Expr::Name(variable) = &*stmt.target {
            let names = match &*stmt.iter {
                Expr::List(ast::ExprList { elts, .. })
                | Expr::Tuple(ast::ExprTuple { elts, .. }) => {
                    elts.iter().filter_map(|e| self.dotted(e)).collect()
                }
                Expr::Name(list) => self
                    .lists
                    .get(list.id.as_str())
                    .cloned()
                    .unwrap_or_default(),
                _ => Vec::new(),
            };
            self.lists.insert(variable.id.as_str().to_owned(), names);
        }
        self.within(|s| s.conditional = true, |p| p.visit_body(&stmt.body));
        self.visit_body(&stmt.orelse);
    }

    fn visit_with(&mut self, stmt: &'a ast::StmtWith) {
        let mut suppressed = false;
        let prefixes = self.prefixes.len();
        for item in &stmt.items {
            if let Expr::Call(call) = &item.context_expr {
                suppressed |= self
                    .dotted(&call.func)
                    .is_some_and(|n| n == "contextlib.suppress")
                    && call
                        .arguments
                        .args
                        .iter()
                        .flat_map(exception_names)
                        .any(|name| {
                            matches!(name, "ImportError" | "ModuleNotFoundError" | "Exception")
                        });
                self.enter_prefix(call);
            }
            self.visit_expr(&item.context_expr);
            if let Some(target) = &item.optional_vars {
                self.bind_target(target);
                self.visit_expr(target);
            }
        }
        self.within(
            |s| s.tried_import |= suppressed,
            |p| p.visit_body(&stmt.body),
        );
        self.prefixes.truncate(prefixes);
    }
}

impl<'a> Visitor<'a> for Pass<'a> {
    fn visit_stmt(&mut self, stmt: &'a Stmt) {
        self.direct = value_of(stmt)
            .filter(|value| value.is_call_expr())
            .map(Ranged::range);
        match stmt {
            Stmt::If(stmt) => self.visit_if(stmt),
            Stmt::Try(stmt) => self.visit_try(stmt),
            Stmt::FunctionDef(stmt) => self.visit_function(stmt),
            Stmt::ClassDef(stmt) => self.visit_class(stmt),
            Stmt::Assign(stmt) => self.visit_assignment(&stmt.targets, &stmt.value),
            Stmt::AnnAssign(stmt) => {
                self.visit_annotation(&stmt.annotation);
                match &stmt.value {
                    Some(value) => {
                        self.visit_assignment(std::slice::from_ref(&stmt.target), value);
                    }
                    None => self.visit_expr(&stmt.target),
                }
            }
            Stmt::AugAssign(augmented) => {
                if matches!(&*augmented.target, Expr::Name(n) if n.id.as_str() == "__all__") {
                    self.out.scope.all = None;
                }
                walk_stmt(self, stmt);
            }
            Stmt::For(stmt) => self.visit_for(stmt),
            Stmt::While(looped) => {
                self.visit_expr(&looped.test);
                self.within(|s| s.conditional = true, |p| p.visit_body(&looped.body));
                self.visit_body(&looped.orelse);
            }
            Stmt::Match(matched) => {
                for case in &matched.cases {
                    self.bind_pattern(&case.pattern);
                }
                self.within(|s| s.conditional = true, |p| walk_stmt(p, stmt));
            }
            Stmt::With(stmt) => self.visit_with(stmt),
            Stmt::Import(stmt) => self.read_import(stmt),
            Stmt::ImportFrom(stmt) => self.read_import_from(stmt),
            Stmt::Global(global) => {
                for name in &global.names {
                    self.out.scope.names.insert(name.as_str().to_owned());
                }
            }
            Stmt::TypeAlias(alias) => {
                self.bind_target(&alias.name);
                walk_stmt(self, stmt);
            }
            Stmt::Return(returned) => {
                if let Some(value) = &returned.value {
                    self.returned(value);
                }
                walk_stmt(self, stmt);
            }
            _ => walk_stmt(self, stmt),
        }
        if self.is_at_module_level() && leaves(stmt) {
            self.state.may_have_left = true;
        }
    }

    fn visit_expr(&mut self, expr: &'a Expr) {
        match expr {
            Expr::Named(named) => self.bind_target(&named.target),
            Expr::Call(call) => {
                if let Expr::Name(name) = &*call.func
                    && matches!(
                        name.id.as_str(),
                        "globals" | "locals" | "vars" | "exec" | "setattr" | "__import__"
                    )
                    && self.functions.is_empty()
                {
                    self.out.scope.is_dynamic = true;
                }
                self.read_call(call);
                self.web_call(call);
                let before = self.hint;
                self.hint = self.conversion(call);
                walk_expr(self, expr);
                self.hint = before;
                return;
            }
            Expr::Subscript(subscript) if subscript.ctx == ExprContext::Load => {
                self.read_subscript(subscript);
            }
            Expr::Compare(compare) => {
                self.read_compare(compare);
                let before = self.hint.take();
                self.hint = compared_kind(compare);
                walk_expr(self, expr);
                self.hint = before;
                return;
            }
            Expr::Attribute(attribute)
                if attribute.attr.as_str() == "modules"
                    && self
                        .dotted(&attribute.value)
                        .is_some_and(|name| name == "sys") =>
            {
                self.out.scope.is_dynamic = true;
            }
            Expr::Name(name) if matches!(name.id.as_str(), "__path__" | "__getattr__") => {
                self.out.scope.is_dynamic = true;
            }
            Expr::Lambda(lambda) => {
                self.functions.push(Function::default());
                self.visit_expr(&lambda.body);
                self.functions.pop();
                return;
            }
            _ => {}
        }
        walk_expr(self, expr);
    }
}

impl<'a> Pass<'a> {
    fn bind_pattern(&mut self, pattern: &'a ast::Pattern) {
        struct Names(BTreeSet<String>);
        impl<'a> Visitor<'a> for Names {
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
                ast::visitor::walk_pattern(self, pattern);
            }
        }
        let mut names = Names(BTreeSet::new());
        names.visit_pattern(pattern);
        for name in names.0 {
            self.bind(&name);
        }
    }
}

/// The value of a simple statement.
fn value_of(stmt: &Stmt) -> Option<&Expr> {
    match stmt {
        Stmt::Assign(assign) => Some(&assign.value),
        Stmt::AnnAssign(assign) => assign.value.as_deref(),
        Stmt::Expr(expr) => Some(&expr.value),
        _ => None,
    }
}

/// `value.lower() == "true"`, `value in ("1", "yes")`: the text is a truth value.
fn compared_kind(compare: &ast::ExprCompare) -> Option<ValueKind> {
    let is_word = |expr: &Expr| {
        matches!(expr, Expr::StringLiteral(text) if matches!(
            text.value.to_str().to_ascii_lowercase().as_str(),
            "true" | "false" | "yes" | "no" | "on" | "off" | "1" | "0" | "t" | "y"
        ))
    };
    let [other] = &*compare.comparators else {
        return None;
    };
    let words = match other {
        Expr::Tuple(ast::ExprTuple { elts, .. }) | Expr::List(ast::ExprList { elts, .. }) => {
            &elts[..]
        }
        Expr::Set(ast::ExprSet { elts, .. }) => &elts[..],
        one => std::slice::from_ref(one),
    };
    words.iter().any(is_word).then_some(ValueKind::Bool)
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

/// Last names of the exceptions of a handler.
fn exception_names(kind: &Expr) -> Box<dyn Iterator<Item = &str> + '_> {
    match kind {
        Expr::Name(name) => Box::new(std::iter::once(name.id.as_str())),
        Expr::Attribute(attribute) => Box::new(std::iter::once(attribute.attr.as_str())),
        Expr::Tuple(tuple) => Box::new(tuple.elts.iter().flat_map(exception_names)),
        _ => Box::new(std::iter::empty()),
    }
}

/// A statement that may leave its module: `raise`, `sys.exit()`, also below an `if`.
fn leaves(stmt: &Stmt) -> bool {
    match stmt {
        Stmt::Raise(_) => true,
        Stmt::Expr(expr) => match &*expr.value {
            Expr::Call(call) => match &*call.func {
                Expr::Name(name) => matches!(name.id.as_str(), "exit" | "quit"),
                Expr::Attribute(attribute) => matches!(
                    attribute.attr.as_str(),
                    "exit" | "_exit" | "skip" | "importorskip" | "execv" | "execvp"
                ),
                _ => false,
            },
            _ => false,
        },
        Stmt::If(stmt) => {
            stmt.body.iter().any(leaves)
                || stmt
                    .elif_else_clauses
                    .iter()
                    .any(|c| c.body.iter().any(leaves))
        }
        _ => false,
    }
}
