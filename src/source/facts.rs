//! The facts of one pass: plain data, in the order of the files and of the lines in them.

use std::collections::BTreeSet;

/// A place in a source file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct Place {
    /// Relative to the workspace, with `/`.
    pub file: String,
    /// 1-based.
    pub line: u32,
    /// In characters, 1-based; 0 if not known.
    pub column: u32,
}

/// Everything that one pass saw.
#[derive(Debug, Clone, Default)]
pub(crate) struct SourceFacts {
    /// Files that were read.
    pub files: usize,
    /// Their lines.
    pub lines: usize,
    /// More files than the pass reads; what is listed is not everything.
    pub truncated: bool,
    /// Dotted name of each module, with its file, sorted by name.
    pub modules: Vec<(String, String)>,
    /// Files that Python could not parse.
    pub syntax_errors: Vec<SyntaxError>,
    /// What could not be read or told, and why: nothing is left out silently.
    pub unjudged: Vec<Unjudged>,
    /// Every import.
    pub imports: Vec<Import>,
    /// Every read of an environment variable, also by settings classes.
    pub env_reads: Vec<EnvRead>,
    /// Application objects: `FastAPI()`, `Flask(__name__)`, a Django settings module.
    pub applications: Vec<ApplicationObject>,
    /// Declarative bases and `MetaData` objects.
    pub bases: Vec<Base>,
    /// Routers and blueprints that a module binds to a name.
    pub routers: Vec<RouterDefinition>,
    /// Calls that mount a router, a blueprint or a sub-application.
    pub includes: Vec<Include>,
    /// What each module binds; in the order of the files.
    pub scopes: Vec<ModuleScope>,
    /// Tables of SQLAlchemy, in the order of the files.
    pub tables: Vec<TableDefinition>,
    /// Start-up handlers of applications that have a lifespan: with one, they are never called.
    pub ignored_handlers: Vec<IgnoredHandler>,
    /// Names that functions read and nothing binds.
    pub undefined: Vec<UndefinedName>,
    /// Calls of `create_all`: the application makes its tables itself.
    pub created: Vec<CreateAll>,
    /// Calls that may start a server.
    pub servers: Vec<ServerCall>,
    /// Directories of templates, as literals: relative to where the application runs.
    pub template_directories: Vec<(Place, String)>,
    /// What `SQLALCHEMY_DATABASE_URI` is set to.
    pub database_uris: Vec<DatabaseUri>,
}

/// A value as the sources give it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct GivenValue {
    /// The environment variable that decides first.
    pub variable: Option<String>,
    /// The literal; with a variable, what holds where that is not set.
    pub text: Option<String>,
    /// The path in `text` lies below the directory of the file.
    pub is_beside: bool,
}

/// `uvicorn.run(app, port=8000)`, `app.run()`, `web.run_app(app)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerCall {
    /// Where.
    pub place: Place,
    /// What is run, by its last name: `uvicorn`, the name of an application.
    pub owner: String,
    /// `run` or `run_app`.
    pub method: String,
    /// The port is what `port` says, or the server's own if that says nothing.
    pub is_known: bool,
    /// As it is given.
    pub port: Option<GivenValue>,
}

/// A value of `SQLALCHEMY_DATABASE_URI`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DatabaseUri {
    /// Where.
    pub place: Place,
    /// `None` if it is computed.
    pub value: Option<GivenValue>,
}

/// A name that a function reads and nothing in its file binds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UndefinedName {
    /// Where, the first time in that function.
    pub place: Place,
    /// The name.
    pub name: String,
    /// The function.
    pub function: String,
    /// The one name that is a letter off.
    pub near: Option<String>,
}

/// `@app.on_event(...)` beside `FastAPI(lifespan=...)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IgnoredHandler {
    /// Where.
    pub place: Place,
    /// The name of the application in its module.
    pub app: String,
    /// The function that is not called.
    pub function: String,
}

/// A call of `metadata.create_all(...)` that the application may reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CreateAll {
    /// Where.
    pub place: Place,
    /// Dotted name of its module.
    pub module: String,
    /// The function around it, the outermost one; empty where the import itself runs it.
    pub function: String,
    /// Something refers to that function, or a decorator takes it: it is not left for a person to call.
    pub is_called: bool,
}

/// A column as its definition spells it.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ColumnDefinition {
    /// Name of the column.
    pub name: String,
    /// Annotation and arguments, without spaces.
    pub kind: String,
}

/// A class with `__tablename__`, or a call of `Table` with columns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TableDefinition {
    /// With its schema: `audit.events`.
    pub table: String,
    /// Relative to the workspace, with `/`.
    pub file: String,
    /// Dotted name of its module.
    pub module: String,
    /// 1-based; of the word `class`, or of the call.
    pub line: u32,
    /// In bytes of UTF-8, 0-based, as Python's `ast` counts.
    pub column: u32,
    /// With its decorators.
    pub first_line: u32,
    /// Where it ends.
    pub end_line: u32,
    /// Empty for a call.
    pub class: String,
    /// Which `MetaData` it belongs to, by a name that is its own; empty where that cannot be told.
    pub metadata: String,
    /// It is certainly defined, for that `MetaData`, whenever its module is imported.
    pub sure: bool,
    /// It extends or keeps an earlier definition.
    pub extends: bool,
    /// A base class brings `__table_args__`.
    pub inherits_args: bool,
    /// The columns that it spells out, sorted by name.
    pub columns: Vec<ColumnDefinition>,
    /// Last names of the base classes, which may bring more columns.
    pub bases: Vec<String>,
}

/// What a module binds at its own level.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ModuleScope {
    /// Dotted name.
    pub module: String,
    /// Relative to the workspace, with `/`.
    pub file: String,
    /// It is a package's `__init__`.
    pub is_package: bool,
    /// Names that it binds, under whatever circumstances.
    pub names: BTreeSet<String>,
    /// Modules that it takes all names of.
    pub stars: Vec<String>,
    /// `__all__`, if it is a literal.
    pub all: Option<Vec<String>>,
    /// It may bind names that cannot be seen: `__getattr__`, `globals()`, `sys.modules`, a syntax error.
    pub is_dynamic: bool,
}

/// A file that cannot be parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    /// Where.
    pub place: Place,
    /// What the parser says.
    pub message: String,
}

/// A file, or a part of one, that the pass could not judge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unjudged {
    /// Where.
    pub place: Place,
    /// Why: `unknown encoding koi9`, `the name of the variable is computed`.
    pub why: String,
}

/// Under which circumstances a statement runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) enum Guard {
    /// Whenever the module is imported.
    #[default]
    Always,
    /// Within `if` or `match`, or after a statement that may leave the module.
    Conditional,
    /// Within a function: when it is called.
    Function,
    /// Within `try`, with a handler that catches its failure: optional.
    Tried,
    /// Within `if TYPE_CHECKING`: never.
    TypeChecking,
}

/// One imported module or name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Import {
    /// Of the name in the statement.
    pub place: Place,
    /// Dotted name of the importing module.
    pub from: String,
    /// Absolute dotted name of the imported module; relative imports are resolved.
    pub module: String,
    /// `from module import name`; `*` for all.
    pub name: Option<String>,
    /// When it runs.
    pub guard: Guard,
    /// It runs whenever the module is imported, and what it raises is not caught for the most part: not within
    /// a function, `if`, or `try` that catches everything.
    pub is_certain: bool,
}

/// The kind of a variable's value, as its default or its conversion tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub(crate) enum ValueKind {
    #[default]
    String,
    Int,
    Float,
    Bool,
    Url,
    Path,
    Duration,
}

/// One read of an environment variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EnvRead {
    /// Where.
    pub place: Place,
    /// Name of the variable, with the prefix of its settings class.
    pub name: String,
    /// Other names that are read instead of it (`AliasChoices`).
    pub aliases: Vec<String>,
    /// Without it the application does not start (or raises where it reads it).
    pub required: bool,
    /// The default as text, if it is a literal.
    pub default: Option<String>,
    /// Kind of the value.
    pub kind: ValueKind,
    /// Only these values (`Literal`, an enum of the same file).
    pub one_of: Vec<String>,
    /// Declared as a secret (`SecretStr`) or named like one.
    pub secret: bool,
    /// How it is read: `os.environ`, `pydantic-settings`, `environs`, `decouple`, `django-environ`,
    /// `starlette`.
    pub reader: &'static str,
    /// When it runs.
    pub guard: Guard,
}

/// What an application object is made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub(crate) enum Framework {
    FastApi,
    Starlette,
    Flask,
    Django,
}

/// An application object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApplicationObject {
    /// Where.
    pub place: Place,
    /// Made with.
    pub framework: Framework,
    /// Dotted name of its module; for Django that of the settings.
    pub module: String,
    /// The name that the module binds it to, or the function that makes it; empty for Django.
    pub attribute: String,
    /// `attribute` is a function that returns the application.
    pub is_factory: bool,
}

/// A declarative base, or a `MetaData`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Base {
    /// Where.
    pub place: Place,
    /// Dotted name of its module.
    pub module: String,
    /// The name that the module binds it to; what `sqlalchemy:module:attribute` takes.
    pub attribute: String,
    /// Classes of the sources that inherit from it directly, and tables bound to it.
    pub tables: u32,
}

/// A router (`APIRouter`), blueprint (`Blueprint`) or sub-application that a module binds to a name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RouterDefinition {
    /// Where.
    pub place: Place,
    /// Dotted name of its module.
    pub module: String,
    /// The name that it is bound to.
    pub name: String,
    /// `prefix=` or `url_prefix=`, if it is a literal.
    pub prefix: String,
    /// Functions decorated with it.
    pub endpoints: u32,
}

/// `includer.include_router(router, prefix=...)`, `register_blueprint`, `mount`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Include {
    /// Where.
    pub place: Place,
    /// Module and name of the router or application that includes, as far as it is known.
    pub includer: Option<(String, String)>,
    /// Module and name of what is included, as far as it is known.
    pub included: Option<(String, String)>,
    /// `prefix=`, if it is a literal.
    pub prefix: String,
}
