//! Calls of `create_all`, and whether anything calls the function around them.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use ruff_python_ast::{Expr, ExprCall, StmtFunctionDef};
use ruff_text_size::Ranged;

use super::facts::{CreateAll, Guard, Import};
use super::scope::Scope;

/// Decorators that have a function run when the application starts.
const RUN_AT_START: [&str; 9] = [
    "on_event",
    "on_startup",
    "startup",
    "before_first_request",
    "before_serving",
    "before_server_start",
    "main_process_start",
    "while_serving",
    "listens_for",
];

/// What one file says of tables that the application creates.
#[derive(Debug, Default)]
pub(super) struct CreatedFacts {
    pub created: Vec<CreateAll>,
    /// Digests of the names that are called or handed on: a name for each would be much to keep.
    pub called: BTreeSet<u64>,
}

/// Collects them.
#[derive(Debug, Default)]
pub(super) struct CreatedCollector {
    facts: CreatedFacts,
    /// The outermost function that is being read: its name, and whether a decorator takes it.
    function: Option<(String, bool)>,
}

impl CreatedCollector {
    pub(super) fn finish(self) -> CreatedFacts {
        self.facts
    }

    pub(super) fn enter_function(&mut self, scope: &Scope<'_>, stmt: &StmtFunctionDef) {
        if scope.function_depth == 0 {
            let is_taken = stmt.decorator_list.iter().any(|decorator| {
                let name = match &decorator.expression {
                    Expr::Call(call) => last_name(&call.func),
                    other => last_name(other),
                };
                name.is_some_and(|name| RUN_AT_START.contains(&name))
            });
            self.function = Some((stmt.name.as_str().to_owned(), is_taken));
        }
    }

    pub(super) fn leave_function(&mut self, scope: &Scope<'_>) {
        if scope.function_depth == 0 {
            self.function = None;
        }
    }

    pub(super) fn read_call(&mut self, scope: &Scope<'_>, call: &ExprCall) {
        let arguments = call.arguments.args.iter();
        let keywords = call.arguments.keywords.iter().map(|keyword| &keyword.value);
        for expr in std::iter::once(&*call.func)
            .chain(arguments)
            .chain(keywords)
        {
            self.hand_on(expr);
        }
        // `metadata.create_all(engine)`, `connection.run_sync(Base.metadata.create_all)`, `db.create_all()`.
        let is_create_all = std::iter::once(&*call.func)
            .chain(call.arguments.args.iter())
            .any(|expr| last_name(expr) == Some("create_all"));
        if !is_create_all || scope.is_never() {
            return;
        }
        let (function, is_taken) = self.function.clone().unwrap_or_default();
        let is_import = function.is_empty() && scope.guard() == Guard::Always;
        self.facts.created.push(CreateAll {
            place: scope.place(call.range()),
            module: scope.name.module.to_owned(),
            function,
            is_called: is_import || is_taken,
        });
    }

    fn hand_on(&mut self, expr: &Expr) {
        match expr {
            Expr::List(list) => list.elts.iter().for_each(|item| self.hand_on(item)),
            other => {
                if let Some(name) = last_name(other) {
                    self.facts.called.insert(digest(name));
                }
            }
        }
    }
}

/// Marks those whose function something of the application calls or hands on. Tests and the files that only
/// they reach do not count.
pub(super) fn mark_called(all: &mut [CreateAll], called: &BTreeSet<u64>, imports: &[Import]) {
    for create in all {
        if is_aside(&create.place.file) {
            create.is_called = false;
            continue;
        }
        if create.is_called || create.function.is_empty() {
            continue;
        }
        create.is_called = called.contains(&digest(&create.function))
            || imports.iter().any(|import| {
                import.module == create.module
                    && import.guard != Guard::TypeChecking
                    && import.name.as_deref() == Some(create.function.as_str())
                    && !is_aside(&import.place.file)
            });
    }
}

/// The file is one of tests, or one that a person runs: what it calls, a start of the application does not.
pub(super) fn is_aside(file: &str) -> bool {
    const DIRECTORIES: [&str; 9] = [
        "tests",
        "test",
        "scripts",
        "tools",
        "examples",
        "docs",
        "alembic",
        "migrations",
        "commands",
    ];
    let mut parts = file.split('/').rev();
    let name = parts.next().unwrap_or_default();
    ["test_", "conftest", "seed", "cli.", "manage."]
        .iter()
        .any(|start| name.starts_with(start))
        || name.ends_with("_test.py")
        || parts.any(|part| DIRECTORIES.contains(&part))
}

fn last_name(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Name(name) => Some(name.id.as_str()),
        Expr::Attribute(attribute) => Some(attribute.attr.as_str()),
        _ => None,
    }
}

fn digest(name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}
