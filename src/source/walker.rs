//! The walk over one file's tree: it knows the tree, keeps the scope, and shows each collector the nodes that
//! it reads. What the collectors found comes back as one value.

use std::collections::BTreeMap;

use ruff_python_ast::visitor::{Visitor, walk_body, walk_expr, walk_stmt};
use ruff_python_ast::{self as ast, ExceptHandler, Expr, ExprContext, Stmt};
use ruff_text_size::Ranged;

use super::bases::{BaseCollector, BaseFacts};
use super::created::{CreatedCollector, CreatedFacts};
use super::environment::{EnvironmentCollector, EnvironmentFacts};
use super::facts::ModuleScope;
use super::given::{GivenCollector, GivenFacts};
use super::imports::{ImportCollector, ImportFacts};
use super::scope::{Circumstances, Scope};
use super::settings::{SettingsCollector, SettingsFacts};
use super::tables::{Bound, TableCollector, TableFacts};
use super::web::{WebCollector, WebFacts};

/// What the collectors found in one file.
pub(super) struct Walked {
    pub scope: ModuleScope,
    pub aliases: BTreeMap<String, String>,
    pub imports: ImportFacts,
    pub environment: EnvironmentFacts,
    pub settings: SettingsFacts,
    pub tables: TableFacts,
    pub bases: BaseFacts,
    pub created: CreatedFacts,
    pub web: WebFacts,
    pub given: GivenFacts,
}

/// Walks over a module once, with every collector.
pub(super) fn walk(scope: Scope<'_>, module: &[Stmt]) -> Walked {
    let mut walker = Walker {
        scope,
        imports: ImportCollector::default(),
        environment: EnvironmentCollector::default(),
        settings: SettingsCollector::default(),
        tables: TableCollector::default(),
        bases: BaseCollector::default(),
        created: CreatedCollector::default(),
        web: WebCollector::default(),
        given: GivenCollector::default(),
    };
    walk_body(&mut walker, module);
    Walked {
        scope: walker.scope.module,
        aliases: walker.scope.aliases,
        imports: walker.imports.finish(),
        environment: walker.environment.finish(),
        settings: walker.settings.finish(),
        tables: walker.tables.finish(),
        bases: walker.bases.finish(),
        created: walker.created.finish(),
        web: walker.web.finish(),
        given: walker.given.finish(),
    }
}

struct Walker<'a> {
    scope: Scope<'a>,
    imports: ImportCollector,
    environment: EnvironmentCollector,
    settings: SettingsCollector,
    tables: TableCollector,
    bases: BaseCollector,
    created: CreatedCollector,
    web: WebCollector,
    given: GivenCollector,
}

/// `__name__ == "__main__"`.
fn is_main_guard(test: &Expr) -> bool {
    let Expr::Compare(compare) = test else {
        return false;
    };
    let is_name = |expr: &Expr| matches!(expr, Expr::Name(name) if name.id.as_str() == "__name__");
    let is_main =
        |expr: &Expr| matches!(expr, Expr::StringLiteral(text) if text.value == *"__main__");
    let sides = || std::iter::once(&*compare.left).chain(&*compare.comparators);
    matches!(&*compare.ops, [ast::CmpOp::Eq]) && sides().any(is_name) && sides().any(is_main)
}

impl<'a> Walker<'a> {
    /// Walks with other circumstances.
    fn within(&mut self, change: impl FnOnce(&mut Circumstances), walk: impl FnOnce(&mut Self)) {
        let before = self.scope.circumstances;
        change(&mut self.scope.circumstances);
        walk(self);
        self.scope.circumstances = Circumstances {
            may_have_left: self.scope.circumstances.may_have_left,
            ..before
        };
    }

    fn visit_if(&mut self, stmt: &'a ast::StmtIf) {
        self.visit_expr(&stmt.test);
        let mut truth = self.scope.truth(&stmt.test);
        let mut never = truth == Some(false);
        let is_main = is_main_guard(&stmt.test);
        self.within(
            |s| {
                s.main |= is_main;
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
                truth = self.scope.truth(test);
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
                self.scope.bind(name.as_str());
            }
            let may_have_left = self.scope.circumstances.may_have_left;
            // A handler that imports something else instead is half of an alternative.
            self.within(
                |s| {
                    s.conditional = true;
                    s.tried_import |= imports;
                },
                |p| p.visit_body(&handler.body),
            );
            // Only if the body failed.
            self.scope.circumstances.may_have_left = may_have_left;
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
        let name = stmt.name.as_str();
        self.scope.bind(name);
        self.tables.bind_meaning(&self.scope, name, Bound::Other);
        for decorator in &stmt.decorator_list {
            self.web.endpoint(&self.scope, name, &decorator.expression);
            self.visit_decorator(decorator);
        }
        self.visit_parameters(&stmt.parameters);
        if let Some(returns) = &stmt.returns {
            self.visit_annotation(returns);
        }
        if name == "__getattr__" && self.scope.is_at_module_level() {
            self.scope.module.is_dynamic = true;
        }
        self.web.enter_function(&self.scope, stmt);
        self.created.enter_function(&self.scope, stmt);
        self.scope.function_depth += 1;
        let class_depth = std::mem::take(&mut self.scope.circumstances.class_depth);
        self.visit_body(&stmt.body);
        self.scope.circumstances.class_depth = class_depth;
        self.scope.function_depth -= 1;
        self.web.leave_function(&self.scope);
        self.created.leave_function(&self.scope);
    }

    fn visit_class(&mut self, stmt: &'a ast::StmtClassDef) {
        self.scope.bind(stmt.name.as_str());
        for decorator in &stmt.decorator_list {
            self.visit_decorator(decorator);
        }
        if let Some(arguments) = &stmt.arguments {
            self.visit_arguments(arguments);
        }
        self.settings.read_class(&self.scope, stmt);
        self.bases.read_class(&self.scope, stmt);
        self.tables.table_class(&self.scope, stmt);
        self.within(|s| s.class_depth += 1, |p| p.visit_body(&stmt.body));
    }

    fn visit_assignment(&mut self, targets: &'a [Expr], value: &'a Expr) {
        for target in targets {
            self.scope.bind_target(target);
            if let Expr::Name(name) = target {
                self.tables.bind_value(&self.scope, name.id.as_str(), value);
            }
        }
        self.given.assign(&self.scope, targets, value);
        if let [Expr::Name(name)] = targets {
            let name = name.id.as_str();
            self.environment.assign_reader(&self.scope, name, value);
            if let Expr::Call(call) = value
                && !self.bases.assign(&self.scope, name, call)
            {
                self.web.assign(&self.scope, name, call);
            }
            if self.scope.circumstances.class_depth == 0 {
                self.scope.assign_meaning(name, value);
            }
        }
        self.visit_expr(value);
        for target in targets {
            self.visit_expr(target);
        }
    }

    fn visit_for(&mut self, stmt: &'a ast::StmtFor) {
        self.scope.bind_target(&stmt.target);
        self.visit_expr(&stmt.iter);
        if let Expr::Name(variable) = &*stmt.target {
            let names = match &*stmt.iter {
                Expr::List(ast::ExprList { elts, .. })
                | Expr::Tuple(ast::ExprTuple { elts, .. }) => {
                    elts.iter().filter_map(|e| self.scope.dotted(e)).collect()
                }
                Expr::Name(list) => self
                    .scope
                    .list(list.id.as_str())
                    .cloned()
                    .unwrap_or_default(),
                _ => Vec::new(),
            };
            self.scope.bind_list(variable.id.as_str(), names);
        }
        self.within(|s| s.conditional = true, |p| p.visit_body(&stmt.body));
        self.visit_body(&stmt.orelse);
    }

    fn visit_with(&mut self, stmt: &'a ast::StmtWith) {
        let mut suppressed = false;
        let prefixes = self.environment.prefixes();
        for item in &stmt.items {
            if let Expr::Call(call) = &item.context_expr {
                suppressed |= self
                    .scope
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
                self.environment.enter_prefix(&self.scope, call);
            }
            self.visit_expr(&item.context_expr);
            if let Some(target) = &item.optional_vars {
                self.scope.bind_target(target);
                self.visit_expr(target);
            }
        }
        self.within(
            |s| s.tried_import |= suppressed,
            |p| p.visit_body(&stmt.body),
        );
        self.environment.leave_prefixes(prefixes);
    }
}

impl<'a> Visitor<'a> for Walker<'a> {
    fn visit_stmt(&mut self, stmt: &'a Stmt) {
        self.scope.direct = value_of(stmt)
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
                    self.scope.module.all = None;
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
                    self.scope.bind_pattern(&case.pattern);
                }
                self.within(|s| s.conditional = true, |p| walk_stmt(p, stmt));
            }
            Stmt::With(stmt) => self.visit_with(stmt),
            Stmt::Import(stmt) => self.imports.read_import(&mut self.scope, stmt),
            Stmt::ImportFrom(stmt) => self.imports.read_import_from(&mut self.scope, stmt),
            Stmt::Global(global) => {
                for name in &global.names {
                    self.scope.module.names.insert(name.as_str().to_owned());
                }
            }
            Stmt::TypeAlias(alias) => {
                self.scope.bind_target(&alias.name);
                walk_stmt(self, stmt);
            }
            Stmt::Return(returned) => {
                if let Some(value) = &returned.value {
                    self.web.returned(&self.scope, value);
                }
                walk_stmt(self, stmt);
            }
            _ => walk_stmt(self, stmt),
        }
        if self.scope.is_at_module_level() && leaves(stmt) {
            self.scope.circumstances.may_have_left = true;
        }
    }

    fn visit_expr(&mut self, expr: &'a Expr) {
        match expr {
            Expr::Named(named) => self.scope.bind_target(&named.target),
            Expr::Call(call) => {
                if let Expr::Name(name) = &*call.func
                    && matches!(
                        name.id.as_str(),
                        "globals" | "locals" | "vars" | "exec" | "setattr" | "__import__"
                    )
                    && self.scope.function_depth == 0
                {
                    self.scope.module.is_dynamic = true;
                }
                self.environment.read_call(&self.scope, call);
                self.web.read_call(&self.scope, call);
                self.created.read_call(&self.scope, call);
                self.given.read_call(&self.scope, call);
                if is_table(call) {
                    self.tables.table_of_call(&self.scope, call);
                    self.bases.table_of_call(&self.scope, call);
                }
                let outer = self.environment.enter_call(call);
                walk_expr(self, expr);
                self.environment.leave(outer);
                return;
            }
            Expr::Subscript(subscript) if subscript.ctx == ExprContext::Load => {
                self.environment.read_subscript(&self.scope, subscript);
            }
            Expr::Compare(compare) => {
                self.environment.read_compare(&self.scope, compare);
                let outer = self.environment.enter_compare(compare);
                walk_expr(self, expr);
                self.environment.leave(outer);
                return;
            }
            Expr::Attribute(attribute)
                if attribute.attr.as_str() == "modules"
                    && self
                        .scope
                        .dotted(&attribute.value)
                        .is_some_and(|name| name == "sys") =>
            {
                self.scope.module.is_dynamic = true;
            }
            Expr::Name(name) if matches!(name.id.as_str(), "__path__" | "__getattr__") => {
                self.scope.module.is_dynamic = true;
            }
            Expr::Lambda(lambda) => {
                self.scope.function_depth += 1;
                self.visit_expr(&lambda.body);
                self.scope.function_depth -= 1;
                return;
            }
            _ => {}
        }
        walk_expr(self, expr);
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

/// `Table(...)`, `sqlalchemy.Table(...)`.
fn is_table(call: &ast::ExprCall) -> bool {
    match &*call.func {
        Expr::Attribute(method) => method.attr.as_str() == "Table",
        Expr::Name(name) => name.id.as_str() == "Table",
        _ => false,
    }
}
