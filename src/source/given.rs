//! Values that a program hands to its server and to Flask-SQLAlchemy: the port of `uvicorn.run(app, port=8000)`,
//! the URL of `SQLALCHEMY_DATABASE_URI = os.environ.get("DATABASE_URL") or "sqlite:///" + os.path.join(here, "a.db")`.

use std::collections::BTreeSet;

use ruff_python_ast::{BoolOp, Expr, ExprCall, Operator};
use ruff_text_size::Ranged;

use super::facts::{DatabaseUri, GivenValue, Place, ServerCall};
use super::literals::literal_text;
use super::scope::Scope;

/// The key of Flask-SQLAlchemy's database.
const URI: &str = "SQLALCHEMY_DATABASE_URI";
/// Calls of `run` that start no server.
const NO_SERVERS: [&str; 4] = ["asyncio", "subprocess", "anyio", "trio"];

/// What one file gives.
#[derive(Debug, Default)]
pub(super) struct GivenFacts {
    pub servers: Vec<ServerCall>,
    pub uris: Vec<DatabaseUri>,
    pub template_directories: Vec<(Place, String)>,
}

/// Collects it.
#[derive(Debug, Default)]
pub(super) struct GivenCollector {
    facts: GivenFacts,
    /// Names that are bound to the directory of the file.
    own_directory: BTreeSet<String>,
}

impl GivenCollector {
    pub(super) fn finish(self) -> GivenFacts {
        self.facts
    }

    pub(super) fn assign(&mut self, scope: &Scope<'_>, targets: &[Expr], value: &Expr) {
        for target in targets {
            let is_uri = match target {
                Expr::Name(name) => {
                    if is_own_directory(scope, value) {
                        self.own_directory.insert(name.id.as_str().to_owned());
                    }
                    name.id.as_str() == URI
                }
                // `app.config["..."] = `
                Expr::Subscript(item) => {
                    matches!(&*item.slice, Expr::StringLiteral(key) if key.value == *URI)
                }
                _ => false,
            };
            if is_uri {
                self.push_uri(scope, value);
            }
        }
    }

    pub(super) fn read_call(&mut self, scope: &Scope<'_>, call: &ExprCall) {
        if let Some(keyword) = call.arguments.find_keyword(URI) {
            self.push_uri(scope, &keyword.value);
        }
        self.read_templates(scope, call);
        let Expr::Attribute(attribute) = &*call.func else {
            if matches!(&*call.func, Expr::Name(_)) {
                // `from uvicorn import run`.
                let function = scope.dotted(&call.func);
                if let Some(function) = function.filter(|name| name == "uvicorn.run") {
                    self.push_server(scope, call, "uvicorn", &function);
                }
            }
            return;
        };
        let method = attribute.attr.as_str();
        if !matches!(method, "run" | "run_app") {
            return;
        }
        let Some(owner) = scope.dotted(&attribute.value) else {
            return;
        };
        let owner = owner.rsplit('.').next().unwrap_or_default();
        if !NO_SERVERS.contains(&owner) {
            self.push_server(scope, call, owner, method);
        }
    }

    /// `Jinja2Templates(directory="templates")`, `FileSystemLoader("templates")`.
    fn read_templates(&mut self, scope: &Scope<'_>, call: &ExprCall) {
        let last = match &*call.func {
            Expr::Name(name) => name.id.as_str(),
            Expr::Attribute(attribute) => attribute.attr.as_str(),
            _ => return,
        };
        let keyword = match last {
            "Jinja2Templates" => "directory",
            "FileSystemLoader" => "searchpath",
            _ => return,
        };
        let directory = call.arguments.find_argument_value(keyword, 0);
        let directory = directory.and_then(|expr| scope.text_of(expr));
        if let Some(directory) = directory.filter(|_| !scope.is_never()) {
            let place = scope.place(call.range());
            self.facts.template_directories.push((place, directory));
        }
    }

    fn push_server(&mut self, scope: &Scope<'_>, call: &ExprCall, owner: &str, method: &str) {
        if scope.is_never() {
            return;
        }
        let method = method.rsplit('.').next().unwrap_or(method);
        let arguments = &call.arguments;
        let expr = match (owner, method) {
            ("uvicorn", _) | (_, "run_app") => arguments.find_keyword("port").map(|k| &k.value),
            ("socketio", _) => arguments.find_argument_value("port", 2),
            _ => arguments.find_argument_value("port", 1),
        };
        let is_spread = arguments.keywords.iter().any(|k| k.arg.is_none())
            || arguments.args.iter().any(Expr::is_starred_expr);
        self.facts.servers.push(ServerCall {
            place: scope.place(call.range()),
            owner: owner.to_owned(),
            method: method.to_owned(),
            is_known: !is_spread && expr.is_none_or(|expr| self.value(scope, expr).is_some()),
            port: expr.and_then(|expr| self.value(scope, expr)),
        });
    }

    fn push_uri(&mut self, scope: &Scope<'_>, value: &Expr) {
        if !scope.is_never() {
            self.facts.uris.push(DatabaseUri {
                place: scope.place(value.range()),
                value: self.value(scope, value),
            });
        }
    }

    /// `None` if it is computed in another way.
    fn value(&self, scope: &Scope<'_>, expr: &Expr) -> Option<GivenValue> {
        if let Some(text) = literal_text(expr).or_else(|| scope.text_of(expr)) {
            return Some(GivenValue {
                text: Some(text),
                ..GivenValue::default()
            });
        }
        match expr {
            Expr::Call(call) => self.called(scope, call),
            Expr::Subscript(item) if scope.dotted(&item.value)? == "os.environ" => {
                Some(GivenValue {
                    variable: Some(scope.text_of(&item.slice)?),
                    ..GivenValue::default()
                })
            }
            Expr::BoolOp(either) if either.op == BoolOp::Or => {
                let [first, second] = either.values.as_slice() else {
                    return None;
                };
                let (first, second) = (self.value(scope, first)?, self.value(scope, second)?);
                (first.variable.is_some() && first.text.is_none() && second.variable.is_none())
                    .then_some(GivenValue {
                        variable: first.variable,
                        ..second
                    })
            }
            Expr::BinOp(sum) if sum.op == Operator::Add => {
                let scheme = scope
                    .text_of(&sum.left)
                    .filter(|text| text.ends_with("///"))?;
                let Expr::Call(call) = &*sum.right else {
                    return None;
                };
                let (first, rest) = call.arguments.args.split_first()?;
                let is_here = is_own_directory(scope, first)
                    || matches!(first, Expr::Name(name) if self.own_directory.contains(name.id.as_str()));
                if scope.dotted(&call.func)? != "os.path.join" || !is_here {
                    return None;
                }
                let parts: Option<Vec<String>> = rest.iter().map(|e| scope.text_of(e)).collect();
                Some(GivenValue {
                    text: Some(format!("{scheme}{}", parts?.join("/"))),
                    is_beside: true,
                    ..GivenValue::default()
                })
            }
            _ => None,
        }
    }

    /// `int(...)`, `os.getenv("X", ...)`, `os.environ.get("X", ...)`.
    fn called(&self, scope: &Scope<'_>, call: &ExprCall) -> Option<GivenValue> {
        let arguments = &call.arguments;
        if let Expr::Name(name) = &*call.func
            && matches!(name.id.as_str(), "int" | "str")
            && arguments.len() == 1
        {
            return self.value(scope, arguments.args.first()?);
        }
        let function = scope.dotted(&call.func)?;
        if !matches!(function.as_str(), "os.getenv" | "os.environ.get") {
            return None;
        }
        let variable = scope.text_of(arguments.args.first()?)?;
        let default = match arguments.find_argument_value("default", 1) {
            None | Some(Expr::NoneLiteral(_)) => GivenValue::default(),
            Some(default) => self.value(scope, default)?,
        };
        default.variable.is_none().then_some(GivenValue {
            variable: Some(variable),
            ..default
        })
    }
}

/// `os.path.abspath(os.path.dirname(__file__))`, `os.path.dirname(os.path.abspath(__file__))`.
fn is_own_directory(scope: &Scope<'_>, expr: &Expr) -> bool {
    let mut expr = expr;
    let mut directories = 0;
    // Each round takes one call off; deeper is not this.
    for _ in 0..4 {
        match expr {
            Expr::Name(name) => return name.id.as_str() == "__file__" && directories == 1,
            Expr::Call(call) => {
                let function = scope.dotted(&call.func).unwrap_or_default();
                match function.as_str() {
                    "os.path.dirname" => directories += 1,
                    "os.path.abspath" | "os.path.realpath" => {}
                    _ => return false,
                }
                let Some(inner) = call.arguments.args.first() else {
                    return false;
                };
                expr = inner;
            }
            _ => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use crate::source::{GivenValue, SourceFacts};

    fn facts(text: &str) -> SourceFacts {
        crate::source::tests::read(&[("a.py", text)])
    }

    fn given(variable: Option<&str>, text: Option<&str>, is_beside: bool) -> GivenValue {
        GivenValue {
            variable: variable.map(str::to_owned),
            text: text.map(str::to_owned),
            is_beside,
        }
    }

    #[test]
    fn the_database_of_flask_is_read_however_it_is_given() {
        let here = "import os\nhere = os.path.abspath(os.path.dirname(__file__))\n";
        for (line, expected) in [
            (
                "app.config['SQLALCHEMY_DATABASE_URI'] = 'sqlite:///a.db'",
                Some(given(None, Some("sqlite:///a.db"), false)),
            ),
            (
                "app.config.from_mapping(SQLALCHEMY_DATABASE_URI=os.getenv('DB', 'sqlite:///b.db'))",
                Some(given(Some("DB"), Some("sqlite:///b.db"), false)),
            ),
            (
                "class Config:\n    SQLALCHEMY_DATABASE_URI = os.environ.get('DATABASE_URL') or \\\n        \
                 'sqlite:///' + os.path.join(here, 'data', 'c.db')",
                Some(given(
                    Some("DATABASE_URL"),
                    Some("sqlite:///data/c.db"),
                    true,
                )),
            ),
            (
                "SQLALCHEMY_DATABASE_URI = os.environ['DATABASE_URL']",
                Some(given(Some("DATABASE_URL"), None, false)),
            ),
            ("SQLALCHEMY_DATABASE_URI = f'sqlite:///{here}/d.db'", None),
            (
                "SQLALCHEMY_DATABASE_URI = 'sqlite:///' + os.path.join(there, 'd.db')",
                None,
            ),
        ] {
            let facts = facts(&format!("{here}{line}\n"));
            let [uri] = facts.database_uris.as_slice() else {
                panic!("{line}: {:?}", facts.database_uris);
            };
            assert_eq!(uri.value, expected, "{line}");
        }
    }

    #[test]
    fn servers_and_their_ports() {
        let servers = |text: &str| {
            let facts = facts(&format!("import os, asyncio, uvicorn\n{text}\n"));
            let servers = facts.servers.into_iter();
            let parts = servers.map(|s| (s.owner, s.method, s.is_known, s.port, s.place.line));
            parts.collect::<Vec<_>>()
        };
        let one = |owner: &str, method: &str, known, port| {
            vec![(owner.to_owned(), method.to_owned(), known, port, 2)]
        };
        assert_eq!(
            servers("uvicorn.run('a:b', host='0.0.0.0', port=8123)"),
            one(
                "uvicorn",
                "run",
                true,
                Some(given(None, Some("8123"), false))
            )
        );
        assert_eq!(
            servers("app.run(debug=True)"),
            one("app", "run", true, None)
        );
        assert_eq!(
            servers("app.run('0.0.0.0', int(os.environ.get('PORT', 5050)))"),
            one(
                "app",
                "run",
                true,
                Some(given(Some("PORT"), Some("5050"), false))
            )
        );
        assert_eq!(
            servers("app.run(port=settings.port)"),
            one("app", "run", false, None)
        );
        assert_eq!(
            servers("uvicorn.run(app, **options)"),
            one("uvicorn", "run", false, None)
        );
        assert_eq!(servers("asyncio.run(main())\n'app.run(1)'"), vec![]);
    }
}
