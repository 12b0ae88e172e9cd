//! Application objects and their factories, routers and where they are mounted, declarative bases and the
//! tables bound to them.

use ruff_python_ast::{Expr, ExprCall, Stmt, StmtClassDef};
use ruff_text_size::Ranged;

use super::facts::{Application, Base, Framework, Place, RouterDefinition};
use super::pass::{Function, Pass};

/// `name = function(...)` in a module: an application, if the function makes one.
#[derive(Debug, Clone)]
pub(super) struct AssignedCall {
    pub place: Place,
    pub name: String,
    /// Dotted name of what is called.
    pub function: String,
}

/// A base, and the names by which tables are bound to it.
#[derive(Debug, Clone)]
pub(super) struct BaseCandidate {
    pub base: Base,
    pub owners: Vec<String>,
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

impl<'a> Pass<'a> {
    fn framework(&self, call: &ExprCall) -> Option<Framework> {
        Some(match self.dotted(&call.func)?.as_str() {
            "fastapi.FastAPI" | "fastapi.applications.FastAPI" => Framework::FastApi,
            "starlette.applications.Starlette" => Framework::Starlette,
            "flask.Flask" | "flask.app.Flask" => Framework::Flask,
            _ => return None,
        })
    }

    /// `name = FastAPI(...)`, `APIRouter(...)`, `declarative_base()`.
    pub(super) fn assign_web(&mut self, name: &str, value: &'a Expr) {
        let Expr::Call(call) = value else { return };
        let place = self.place(value.range());
        let module = self.name.module.to_owned();
        if let Some(framework) = self.framework(call) {
            if let Some(function) = self.functions.last_mut() {
                function.made.push((name.to_owned(), framework));
            } else if self.is_at_module_level() {
                self.out.applications.push(Application {
                    place,
                    framework,
                    module,
                    attribute: name.to_owned(),
                    is_factory: false,
                });
            }
            return;
        }
        if !self.is_at_module_level() {
            return;
        }
        let Some(function) = self.dotted(&call.func) else {
            return;
        };
        let last = function.rsplit('.').next().unwrap_or_default();
        match last {
            "APIRouter" | "Blueprint" => {
                if function.starts_with("fastapi.") || function.starts_with("flask.") {
                    let key = if last == "Blueprint" {
                        "url_prefix"
                    } else {
                        "prefix"
                    };
                    let prefix = self.keyword_text(call, key);
                    self.out.routers.push(RouterDefinition {
                        place,
                        module,
                        name: name.to_owned(),
                        prefix,
                        endpoints: 0,
                    });
                }
                return;
            }
            "declarative_base" | "automap_base" | "MetaData"
                if function.starts_with("sqlalchemy.") => {}
            // `registry().generate_base()`, `mapper_registry.generate_base()`.
            "generate_base" => {}
            "SQLAlchemy" if function.starts_with("flask_sqlalchemy.") => {}
            _ => {
                self.out.assigned_calls.push(AssignedCall {
                    place,
                    name: name.to_owned(),
                    function,
                });
                return;
            }
        }
        let full = self.local(name);
        let owners = match last {
            "SQLAlchemy" => vec![format!("{full}.Model"), format!("{full}.metadata"), full],
            _ => vec![format!("{full}.metadata"), full],
        };
        self.push_base(place, name, owners);
    }

    fn push_base(&mut self, place: Place, attribute: &str, owners: Vec<String>) {
        self.out.bases.push(BaseCandidate {
            base: Base {
                place,
                module: self.name.module.to_owned(),
                attribute: attribute.to_owned(),
                tables: 0,
            },
            owners,
        });
    }

    /// `class Base(DeclarativeBase)`, and classes that are tables.
    pub(super) fn class_base(&mut self, stmt: &'a StmtClassDef) {
        let Some(arguments) = &stmt.arguments else {
            return;
        };
        let bases: Vec<String> = arguments
            .args
            .iter()
            .filter_map(|b| self.dotted(b))
            .collect();
        let declares = bases.iter().any(|base| {
            matches!(
                base.as_str(),
                "sqlalchemy.orm.DeclarativeBase"
                    | "sqlalchemy.orm.DeclarativeBaseNoMeta"
                    | "sqlalchemy.ext.asyncio.AsyncAttrs.DeclarativeBase"
                    | "sqlalchemy.orm.decl_api.DeclarativeBase"
                    | "advanced_alchemy.base.DeclarativeBase"
            )
        });
        if declares && self.is_at_module_level() {
            let place = self.place(stmt.name.range());
            let full = self.local(stmt.name.as_str());
            let owners = vec![format!("{full}.metadata"), full];
            self.push_base(place, stmt.name.as_str(), owners);
            return;
        }
        let is_table = arguments
            .find_keyword("table")
            .is_some_and(|keyword| matches!(&keyword.value, Expr::BooleanLiteral(b) if b.value));
        if is_table && bases.iter().any(|base| base.starts_with("sqlmodel.")) {
            self.out.table_owners.push("sqlmodel.SQLModel".to_owned());
            return;
        }
        let has_name = stmt.body.iter().any(|inner| match inner {
            Stmt::Assign(assign) => assign.targets.iter().any(is_table_name),
            Stmt::AnnAssign(assign) => is_table_name(&assign.target),
            _ => false,
        });
        // Flask's `db.Model` gives each class the name of its table.
        let is_model = bases.iter().any(|base| base.ends_with(".Model"));
        if has_name || is_table || is_model {
            self.out.table_owners.extend(bases);
        }
    }

    fn keyword_text(&self, call: &ExprCall, key: &str) -> String {
        call.arguments
            .find_keyword(key)
            .and_then(|keyword| self.text_of(&keyword.value))
            .unwrap_or_default()
    }

    /// A decorator of a function: `@router.get("/")`.
    pub(super) fn endpoint(&mut self, decorator: &'a Expr) {
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
            let found = self.out.routers.iter_mut().rev().find(|r| r.name == name);
            if let Some(router) = found {
                router.endpoints = router.endpoints.saturating_add(1);
            }
        }
    }

    /// `app.include_router(...)`, `Table("name", metadata)`, `setdefault("DJANGO_SETTINGS_MODULE", ...)`.
    pub(super) fn web_call(&mut self, call: &'a ExprCall) {
        let arguments = &call.arguments;
        match &*call.func {
            Expr::Attribute(method) => match method.attr.as_str() {
                "include_router" => {
                    self.include(call, arguments.find_argument_value("router", 0), "prefix")
                }
                "register_blueprint" => {
                    self.include(
                        call,
                        arguments.find_argument_value("blueprint", 0),
                        "url_prefix",
                    );
                }
                "mount" => self.include(call, arguments.find_argument_value("app", 1), ""),
                "add_api_route" | "add_url_rule" | "add_api_websocket_route" => {
                    self.count_endpoint(&method.value);
                }
                "setdefault" => self.django_settings(call),
                "Table" => self.table(call),
                _ => {}
            },
            Expr::Name(name) if name.id.as_str() == "Table" => self.table(call),
            // `Mount("/path", app=...)`, `Include(router)` of a list of routes.
            Expr::Name(name) if name.id.as_str() == "Mount" => {
                self.include(call, arguments.find_argument_value("app", 1), "");
            }
            _ => {}
        }
    }

    fn table(&mut self, call: &'a ExprCall) {
        self.table_of_call(call);
        let owner = call.arguments.find_argument_value("metadata", 1);
        if let Some(owner) = owner.and_then(|owner| self.dotted(owner)) {
            self.out.table_owners.push(owner);
        }
    }

    fn django_settings(&mut self, call: &'a ExprCall) {
        let key = call.arguments.args.first().and_then(|e| self.text_of(e));
        let value = call.arguments.args.get(1).and_then(|e| self.text_of(e));
        if key.as_deref() == Some("DJANGO_SETTINGS_MODULE")
            && let Some(module) = value
        {
            let place = self.place(call.range());
            self.out.applications.push(Application {
                place,
                framework: Framework::Django,
                module,
                attribute: String::new(),
                is_factory: false,
            });
        }
    }

    fn include(&mut self, call: &'a ExprCall, included: Option<&'a Expr>, prefix_key: &str) {
        let includer = match &*call.func {
            Expr::Attribute(method) => self.dotted(&method.value),
            _ => None,
        };
        let prefix = match prefix_key {
            "" => call
                .arguments
                .find_argument_value("path", 0)
                .and_then(|e| self.text_of(e))
                .unwrap_or_default(),
            key => self.keyword_text(call, key),
        };
        let place = self.place(call.range());
        // The variable of a loop stands for each element.
        let looped = match included {
            Some(Expr::Name(name)) => self.lists.get(name.id.as_str()).cloned(),
            _ => None,
        };
        let targets: Vec<Option<String>> = match looped {
            Some(names) if !names.is_empty() => names.into_iter().map(Some).collect(),
            _ => vec![included.and_then(|e| self.dotted(e))],
        };
        for included in targets {
            self.out.includes.push(IncludeCandidate {
                place: place.clone(),
                includer: includer.clone(),
                included,
                prefix: prefix.clone(),
            });
        }
    }

    /// `return app`, `return FastAPI()` in a function.
    pub(super) fn returned(&mut self, value: &'a Expr) {
        let framework = match value {
            Expr::Call(call) => self.framework(call),
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

    /// A function that returns an application makes one.
    pub(super) fn finish_function(&mut self, function: Function) {
        if let Some(framework) = function.returned.filter(|_| function.is_top_level) {
            // What needs arguments is no factory that a server could call, but may be called by a module.
            self.out.applications.push(Application {
                place: function.place,
                framework,
                module: self.name.module.to_owned(),
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

fn is_table_name(target: &Expr) -> bool {
    matches!(target, Expr::Name(name) if matches!(name.id.as_str(), "__tablename__" | "__table__"))
}
