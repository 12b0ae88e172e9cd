//! Names that a function reads and nothing in its file binds: calling it raises `NameError`.
//!
//! Where a name is bound does not matter, so what is reported is sure: a file that takes over names by `*`, or makes
//! some while it runs, is not judged.

use std::collections::HashSet;
use std::sync::LazyLock;

use ruff_python_ast::visitor::{
    Visitor, walk_body, walk_except_handler, walk_expr, walk_parameter, walk_pattern, walk_stmt,
    walk_type_param,
};
use ruff_python_ast::{
    Alias, ExceptHandler, Expr, ExprContext, Parameter, Pattern, Stmt, TypeParam,
};
use ruff_text_size::{Ranged, TextSize};

static BUILTINS: LazyLock<HashSet<&str>> =
    LazyLock::new(|| BUILTIN_NAMES.split_ascii_whitespace().collect());

/// What every module finds: the functions, exceptions and constants of `builtins` up to Python 3.14, and what a module
/// and a class have by themselves. `_` is what gettext installs.
const BUILTIN_NAMES: &str = "ArithmeticError AssertionError AttributeError BaseException BaseExceptionGroup BlockingIOError \
    BrokenPipeError BufferError BytesWarning ChildProcessError ConnectionAbortedError ConnectionError \
    ConnectionRefusedError ConnectionResetError DeprecationWarning EOFError Ellipsis EncodingWarning EnvironmentError \
    Exception ExceptionGroup False FileExistsError FileNotFoundError FloatingPointError FutureWarning GeneratorExit \
    IOError ImportError ImportWarning IndentationError IndexError InterruptedError IsADirectoryError KeyError \
    KeyboardInterrupt LookupError MemoryError ModuleNotFoundError NameError None NotADirectoryError NotImplemented \
    NotImplementedError OSError OverflowError PendingDeprecationWarning PermissionError ProcessLookupError \
    PythonFinalizationError RecursionError ReferenceError ResourceWarning RuntimeError RuntimeWarning StopAsyncIteration \
    StopIteration SyntaxError SyntaxWarning SystemError SystemExit TabError TimeoutError True TypeError \
    UnboundLocalError UnicodeDecodeError UnicodeEncodeError UnicodeError UnicodeTranslateError UnicodeWarning UserWarning \
    ValueError Warning WindowsError ZeroDivisionError __build_class__ __debug__ __doc__ __import__ __loader__ __name__ \
    __package__ __spec__ __file__ __path__ __builtins__ __annotations__ __cached__ __dict__ __class__ __module__ \
    __qualname__ abs aiter all anext any ascii bin bool breakpoint bytearray bytes callable chr classmethod compile \
    complex copyright credits delattr dict dir divmod enumerate eval exec exit filter float format frozenset getattr \
    globals hasattr hash help hex id input int isinstance issubclass iter len license list locals map max memoryview min \
    next object oct open ord pow print property quit range repr reversed round set setattr slice sorted staticmethod str \
    sum super tuple type vars zip _ reveal_type";

/// Calls after which a module may have any name.
const MAKERS: [&str; 4] = ["exec", "globals", "locals", "vars"];

/// Most names of one file.
const NAMES_MAX: usize = 100;

/// A name that nothing binds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unbound {
    pub name: String,
    pub at: TextSize,
    /// The function that reads it, the innermost one.
    pub function: String,
    /// The one name of the file, or of Python, that is a letter off.
    pub near: Option<String>,
}

/// The names of a module's functions that nothing binds, each once a function.
pub(super) fn unbound_names(module: &[Stmt]) -> Vec<Unbound> {
    let mut names = Names::default();
    walk_body(&mut names, module);
    if names.any_name {
        return Vec::new();
    }
    let mut told = HashSet::new();
    let mut found = Vec::new();
    for (name, at, function) in names.read {
        if found.len() >= NAMES_MAX {
            break;
        }
        let is_known = names.bound.contains(name) || BUILTINS.contains(name);
        if !is_known && told.insert((name, function)) {
            let others = names.bound.iter().chain(BUILTINS.iter()).copied();
            found.push(Unbound {
                name: name.to_owned(),
                at,
                function: function.to_owned(),
                near: near(name, others),
            });
        }
    }
    found
}

/// Short names are near too many others.
fn near<'a>(name: &str, others: impl Iterator<Item = &'a str>) -> Option<String> {
    if name.len() < 4 {
        return None;
    }
    let mut near = others.filter(|other| strsim::osa_distance(name, other) == 1);
    let first = near.next()?;
    near.next().is_none().then(|| first.to_owned())
}

#[derive(Default)]
struct Names<'a> {
    bound: HashSet<&'a str>,
    /// With the innermost function.
    read: Vec<(&'a str, TextSize, &'a str)>,
    function: Option<&'a str>,
    /// Names come from elsewhere, or while it runs.
    any_name: bool,
}

impl<'a> Visitor<'a> for Names<'a> {
    fn visit_stmt(&mut self, stmt: &'a Stmt) {
        match stmt {
            Stmt::FunctionDef(function) => {
                self.bound.insert(&function.name);
                for decorator in &function.decorator_list {
                    self.visit_decorator(decorator);
                }
                if let Some(params) = &function.type_params {
                    self.visit_type_params(params);
                }
                self.visit_parameters(&function.parameters);
                let outer = self.function.replace(&function.name);
                self.visit_body(&function.body);
                self.function = outer;
                return;
            }
            Stmt::ClassDef(class) => {
                self.bound.insert(&class.name);
            }
            Stmt::Global(global) => self.bound.extend(global.names.iter().map(|n| n.as_str())),
            Stmt::ImportFrom(import) => {
                self.any_name |= import.names.iter().any(|alias| alias.name.as_str() == "*");
            }
            _ => {}
        }
        walk_stmt(self, stmt);
    }

    fn visit_alias(&mut self, alias: &'a Alias) {
        let name = alias.asname.as_ref().unwrap_or(&alias.name).as_str();
        self.bound.insert(name.split('.').next().unwrap_or(name));
    }

    // An annotation need not be evaluated.
    fn visit_annotation(&mut self, _: &'a Expr) {}

    fn visit_parameter(&mut self, parameter: &'a Parameter) {
        self.bound.insert(&parameter.name);
        walk_parameter(self, parameter);
    }

    fn visit_except_handler(&mut self, handler: &'a ExceptHandler) {
        let ExceptHandler::ExceptHandler(caught) = handler;
        if let Some(name) = &caught.name {
            self.bound.insert(name);
        }
        walk_except_handler(self, handler);
    }

    fn visit_pattern(&mut self, pattern: &'a Pattern) {
        let name = match pattern {
            Pattern::MatchAs(pattern) => pattern.name.as_ref(),
            Pattern::MatchStar(pattern) => pattern.name.as_ref(),
            Pattern::MatchMapping(pattern) => pattern.rest.as_ref(),
            _ => None,
        };
        self.bound.extend(name.map(|name| name.as_str()));
        walk_pattern(self, pattern);
    }

    fn visit_type_param(&mut self, param: &'a TypeParam) {
        self.bound.insert(param.name());
        walk_type_param(self, param);
    }

    fn visit_expr(&mut self, expr: &'a Expr) {
        match expr {
            Expr::Name(name) if name.ctx != ExprContext::Load => {
                self.bound.insert(&name.id);
            }
            Expr::Name(name) => {
                // A file that catches it, or makes names, may count on it.
                let id = name.id.as_str();
                self.any_name |= id == "NameError" || MAKERS.contains(&id);
                if let Some(function) = self.function {
                    self.read.push((id, name.range().start(), function));
                }
            }
            _ => {}
        }
        walk_expr(self, expr);
    }
}

#[cfg(test)]
mod tests {
    use ruff_python_parser::parse_module;

    use super::*;

    fn told(source: &str) -> Vec<String> {
        let module = parse_module(source).unwrap();
        let found = unbound_names(module.suite());
        let near = |near: Option<String>| near.map_or(String::new(), |near| format!(" ({near})"));
        found
            .into_iter()
            .map(|one| format!("{}: {}{}", one.function, one.name, near(one.near)))
            .collect()
    }

    #[test]
    fn what_nothing_binds_is_told_once_a_function() {
        let source = "import json\nfrom os import path as p\nLIMIT = 3\n\n\
            def handle(request, *rest, key=LIMIT, **more):\n    row = jsn.loads(request)\n    row = jsn.loads(row)\n\
            \x20   return render(row, p, LIMT)\n\n\
            class Shop:\n    async def total(self):\n        def inner():\n            return totals\n        return inner\n";
        assert_eq!(
            told(source),
            [
                "handle: jsn",
                "handle: render",
                "handle: LIMT (LIMIT)",
                "inner: totals (total)"
            ]
        );
    }

    #[test]
    fn every_way_to_bind_a_name_counts() {
        let source = "import a.b\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from x import Hidden\n\
            def f[T: int](one, /, two, *, three: Unknown = 1) -> Unknown:\n    global counter\n\
            \x20   with open(one) as (left, *right), open(two):\n        pass\n\
            \x20   try:\n        pass\n    except* ValueError as error:\n        print(error)\n\
            \x20   for i, [j, k] in three:\n        print(i, j, k, left, right, counter, a, T, later, Hidden)\n\
            \x20   print([x for x, y in one if y], {z: w for z, w in two}, (lambda u, *v: u + v), (t := 1), t)\n\
            \x20   match one:\n        case {'k': m, **others}:\n            print(m, others)\n\
            \x20       case [first, *middle] as whole:\n            print(first, middle, whole)\n\
            \x20   local: Unknown = 1\n    print(local, f'{one!r:>{two}}', __name__, __class__, _('x'))\n    del local\n\
            def later():\n    import c.d as e, g.h\n    return e, g, f\n";
        assert_eq!(told(source), [""; 0]);
    }

    #[test]
    fn files_that_may_have_any_name_are_not_judged() {
        let body = "def f():\n    return nobody\n";
        assert_eq!(told(body), ["f: nobody"]);
        for before in [
            "from x import *\n",
            "globals().update(names)\n",
            "exec(code)\n",
            "try:\n    x\nexcept NameError:\n    x = 1\n",
        ] {
            assert_eq!(told(&format!("{before}{body}")), [""; 0], "{before}");
        }
        // At the level of the module the import itself would say so.
        assert_eq!(told("print(nobody)\n"), [""; 0]);
    }
}
