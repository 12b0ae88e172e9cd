//! Application objects and their factories, routers and where they are mounted.

use ruff_python_ast::{Expr, ExprCall, StmtFunctionDef};
use ruff_text_size::Ranged;

use super::facts::{ApplicationObject, Framework, IgnoredHandler, Place, RouterDefinition};
use super::scope::Scope;

/// `name = function(...)` in a module: an application, if the function makes one.
#[derive(Debug, Clone)]
pub(super) struct AssignedCall {
    pub place: Place,
    pub name: String,
    /// Dotted name of what is called.
    pub function: String,
}

/// A call that mounts something, with dotted names.
#[derive(Debug, Clone)]
pub(super) struct IncludeCandidate {
    pub place: Place,
    pub includer: Option<String>,
    pub included: Option<String>,
    pub prefix: String,
}

/// Decorators of a router that make an endpoint.
const VERBS: [&str; 14] = [
    "get",
    "post",
    "put",
    "delete",
    "patch",
    "head",
    "options",
    "trace",
    "route",
    "api_route",
    "websocket",
    "websocket_route",
    "errorhandler",
    "query",
];

/// What one file says of applications and routers.
#[derive(Debug, Default)]
pub(super) struct WebFacts {
    pub applications: Vec<ApplicationObject>,
    pub assigned_calls: Vec<AssignedCall>,
    pub routers: Vec<RouterDefinition>,
    pub includes: Vec<IncludeCandidate>,
    pub ignored: Vec<IgnoredHandler>,
}

/// A function that is being walked.
#[derive(Debug)]
struct Function {
    name: String,
    /// It can be called without arguments.
    needs_nothing: bool,
    place: Place,
    /// Nested in no other function or class.
    is_top_level: bool,
    /// Applications that it binds to a name.
    made: Vec<(String, Framework)>,
    returned: Option<Framework>,
}

/// Collects the applications and routers of one file.
#[derive(Debug, Default)]
pub(super) struct WebCollector {
    facts: WebFacts,
    /// Those around the statement, outermost first.
    functions: Vec<Function>,
    /// Applications of the module that have a lifespan.
    with_lifespan: Vec<String>,
    handlers: Vec<IgnoredHandler>,
}

impl WebCollector {
    pub(super) fn finish(mut self) -> WebFacts {
        let with_lifespan = &self.with_lifespan;
        self.handlers
            .retain(|handler| with_lifespan.contains(&handler.app));
        self.facts.ignored = self.handlers;
        self.facts
    }

    /// `name = FastAPI(...)`, `APIRouter(...)`, or a call that may make an application.
    pub(super) fn assign(&mut self, scope: &Scope<'_>, name: &str, call: &ExprCall) {
        let place = scope.place(call.range());
        let module = scope.name.module.to_owned();
        if let Some(framework) = framework(scope, call) {
            if let Some(function) = self.functions.last_mut() {
                function.made.push((name.to_owned(), framework));
            } else if scope.binds_attributes() {
                let lifespan = call.arguments.find_keyword("lifespan");
                if lifespan.is_some_and(|given| !given.value.is_none_literal_expr()) {
                    self.with_lifespan.push(name.to_owned());
                }
                self.facts.applications.push(ApplicationObject {
                    place,
                    framework,
                    module,
                    attribute: name.to_owned(),
                    is_factory: false,
                });
            }
            return;
        }
        if !scope.is_at_module_level() {
            return;
        }
        let Some(function) = scope.dotted(&call.func) else {
            return;
        };
        let last = function.rsplit('.').next().unwrap_or_default();
        if !matches!(last, "APIRouter" | "Blueprint") {
            self.facts.assigned_calls.push(AssignedCall {
                place,
                name: name.to_owned(),
                function,
            });
            return;
        }
        if function.starts_with("fastapi.") || function.starts_with("flask.") {
            let key = if last == "Blueprint" {
                "url_prefix"
            } else {
                "prefix"
            };
            self.facts.routers.push(RouterDefinition {
                place,
                module,
                name: name.to_owned(),
                prefix: keyword_text(scope, call, key),
                endpoints: 0,
            });
        }
    }

    /// A decorator of a function: `@router.get("/")`.
    pub(super) fn endpoint(&mut self, scope: &Scope<'_>, function: &str, decorator: &Expr) {
        if let Expr::Call(call) = decorator
            && let Expr::Attribute(method) = &*call.func
            && method.attr.as_str() == "on_event"
            && let Expr::Name(app) = &*method.value
        {
            self.handlers.push(IgnoredHandler {
                place: scope.place(call.range()),
                app: app.id.as_str().to_owned(),
                function: function.to_owned(),
            });
        }
        if let Expr::Call(call) = decorator
            && let Expr::Attribute(method) = &*call.func
            && VERBS.contains(&method.attr.as_str())
        {
            self.count_endpoint(&method.value);
        }
    }

    fn count_endpoint(&mut self, router: &Expr) {
        if let Expr::Name(name) = router {
            let name = name.id.as_str();
            let found = self.facts.routers.iter_mut().rev().find(|r| r.name == name);
            if let Some(router) = found {
                router.endpoints = router.endpoints.saturating_add(1);
            }
        }
    }

    /// `app.include_router(...)`, `setdefault("DJANGO_SETTINGS_MODULE", ...)`.
    pub(super) fn read_call(&mut self, scope: &Scope<'_>, call: &ExprCall) {
        let arguments = &call.arguments;
        match &*call.func {
            Expr::Attribute(method) => match method.attr.as_str() {
                "include_router" => self.include(
                    scope,
                    call,
                    arguments.find_argument_value("router", 0),
                    "prefix",
                ),
                "register_blueprint" => {
                    self.include(
                        scope,
                        call,
                        arguments.find_argument_value("blueprint", 0),
                        "url_prefix",
                    );
                }
                "mount" => self.include(scope, call, arguments.find_argument_value("app", 1), ""),
                "add_api_route" | "add_url_rule" | "add_api_websocket_route" => {
                    self.count_endpoint(&method.value);
                }
                "setdefault" => self.django_settings(scope, call),
                _ => {}
            },
            // `Mount("/path", app=...)`, `Include(router)` of a list of routes.
            Expr::Name(name) if name.id.as_str() == "Mount" => {
                self.include(scope, call, arguments.find_argument_value("app", 1), "");
            }
            _ => {}
        }
    }

    fn django_settings(&mut self, scope: &Scope<'_>, call: &ExprCall) {
        let key = call.arguments.args.first().and_then(|e| scope.text_of(e));
        let value = call.arguments.args.get(1).and_then(|e| scope.text_of(e));
        if key.as_deref() == Some("DJANGO_SETTINGS_MODULE")
            && let Some(module) = value
        {
            let place = scope.place(call.range());
            self.facts.applications.push(ApplicationObject {
                place,
                framework: Framework::Django,
                module,
                attribute: String::new(),
                is_factory: false,
            });
        }
    }

    fn include(
        &mut self,
        scope: &Scope<'_>,
        call: &ExprCall,
        included: Option<&Expr>,
        prefix_key: &str,
    ) {
        let includer = match &*call.func {
            Expr::Attribute(method) => scope.dotted(&method.value),
            _ => None,
        };
        let prefix = match prefix_key {
            "" => call
                .arguments
                .find_argument_value("path", 0)
                .and_then(|e| scope.text_of(e))
                .unwrap_or_default(),
            key => keyword_text(scope, call, key),
        };
        let place = scope.place(call.range());
        // The variable of a loop stands for each element.
        let looped = match included {
            Some(Expr::Name(name)) => scope.list(name.id.as_str()).cloned(),
            _ => None,
        };
        let targets: Vec<Option<String>> = match looped {
            Some(names) if !names.is_empty() => names.into_iter().map(Some).collect(),
            _ => vec![included.and_then(|e| scope.dotted(e))],
        };
        for included in targets {
            self.facts.includes.push(IncludeCandidate {
                place: place.clone(),
                includer: includer.clone(),
                included,
                prefix: prefix.clone(),
            });
        }
    }

    /// `return app`, `return FastAPI()` in a function.
    pub(super) fn returned(&mut self, scope: &Scope<'_>, value: &Expr) {
        let framework = match value {
            Expr::Call(call) => framework(scope, call),
            Expr::Name(name) => {
                let name = name.id.as_str();
                self.functions.last().and_then(|function| {
                    let found = function.made.iter().find(|(made, _)| made == name);
                    found.map(|(_, framework)| *framework)
                })
            }
            _ => None,
        };
        if let (Some(framework), Some(function)) = (framework, self.functions.last_mut()) {
            function.returned = Some(framework);
        }
    }

    /// The body of this function is walked next.
    pub(super) fn enter_function(&mut self, scope: &Scope<'_>, stmt: &StmtFunctionDef) {
        let needs_nothing = stmt
            .parameters
            .iter_non_variadic_params()
            .all(|parameter| parameter.default.is_some());
        self.functions.push(Function {
            name: stmt.name.as_str().to_owned(),
            needs_nothing,
            place: scope.place(stmt.name.range()),
            is_top_level: scope.is_at_module_level(),
            made: Vec::new(),
            returned: None,
        });
    }

    /// A function that returns an application makes one.
    pub(super) fn leave_function(&mut self, scope: &Scope<'_>) {
        let Some(function) = self.functions.pop() else {
            return;
        };
        if let Some(framework) = function.returned.filter(|_| function.is_top_level) {
            // What needs arguments is no factory that a server could call, but may be called by a module.
            self.facts.applications.push(ApplicationObject {
                place: function.place,
                framework,
                module: scope.name.module.to_owned(),
                attribute: if function.needs_nothing {
                    function.name
                } else {
                    format!("{}(", function.name)
                },
                is_factory: true,
            });
        }
    }
}

fn framework(scope: &Scope<'_>, call: &ExprCall) -> Option<Framework> {
    Some(match scope.dotted(&call.func)?.as_str() {
        "fastapi.FastAPI" | "fastapi.applications.FastAPI" => Framework::FastApi,
        "starlette.applications.Starlette" => Framework::Starlette,
        "flask.Flask" | "flask.app.Flask" => Framework::Flask,
        _ => return None,
    })
}

fn keyword_text(scope: &Scope<'_>, call: &ExprCall, key: &str) -> String {
    call.arguments
        .find_keyword(key)
        .and_then(|keyword| scope.text_of(&keyword.value))
        .unwrap_or_default()
}
